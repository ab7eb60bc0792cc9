//! glommio behind the seam.

use std::cell::RefCell;
use std::convert::Infallible;
use std::fs::File;
use std::future::{Future, poll_fn};
use std::io;
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::ops::Range;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, IntoRawFd};
use std::pin::Pin;
use std::rc::Rc;
use std::time::Duration;

use futures_lite::io::{AsyncRead, AsyncWrite};
use glommio::net::{TcpListener, TcpStream as Stream};
use glommio::{GlommioError, Latency, LocalExecutorBuilder, Placement, Shares};

use crate::sockets::{self, Carried, Closer, ListenOptions, Open};
use crate::{CoreSpec, Engine, EngineError, enter_core, nudge, tasks};

/// glommio: io_uring with task queues that have shares and latency goals. No fallback where
/// io_uring is forbidden; each core is woken from outside now and then, see [`crate::nudge`].
#[derive(Debug, Clone, Copy)]
pub struct Glommio;

/// Registered buffers per executor, bytes. We do no direct file I/O through glommio, so the least it
/// takes; the default of 10 MiB would not fit a usual 8 MiB limit on locked memory.
const IO_MEMORY_BYTES: usize = 64 * 1024;
/// Entries of each of the three rings, at most.
const RING_ENTRIES_MAX: u32 = 4096;
/// Tasks may run so long before glommio looks at its rings again.
const LATENCY_GOAL: Duration = Duration::from_millis(1);
/// Bytes of the per-core receive buffer.
const SCRATCH_BYTES: usize = 64 * 1024;

thread_local! {
    /// glommio reads into initialised memory only. Reading here and appending costs a copy of what
    /// arrived; zeroing a buffer's spare capacity would cost its whole length each time.
    static SCRATCH: RefCell<Box<[u8]>> = RefCell::new(vec![0; SCRATCH_BYTES].into_boxed_slice());
}

/// A connection, shared by its halves. Borrowed within one poll only, never across an await.
type Shared = Rc<RefCell<Stream>>;

/// Receiving half of a glommio connection.
#[derive(Debug)]
pub struct Reader {
    open: Rc<Open>,
    stream: Shared,
    busy: bool,
}

/// Sending half of a glommio connection.
#[derive(Debug)]
pub struct Writer {
    open: Rc<Open>,
    stream: Shared,
    busy: bool,
    released: bool,
}

impl Drop for Writer {
    fn drop(&mut self) {
        if !self.released {
            let _ = self.open.shutdown(Shutdown::Write);
        }
    }
}

fn split(stream: Stream) -> (Reader, Writer) {
    let open = Rc::new(Open(stream.as_raw_fd()));
    let stream = Rc::new(RefCell::new(stream));
    let reader = Reader { open: open.clone(), stream: stream.clone(), busy: false };
    (reader, Writer { open, stream, busy: false, released: false })
}

fn plain(error: GlommioError<()>) -> io::Error {
    error.into()
}

impl Engine for Glommio {
    const NAME: &'static str = "glommio";
    type Listener = TcpListener;
    type Reader = Reader;
    type Writer = Writer;
    /// glommio writes only from buffers of its own, which the log does not have.
    type LogFile = Infallible;
    const WRITES_FILES: bool = false;

    fn run<F, T>(spec: &CoreSpec, main: impl FnOnce() -> F) -> Result<T, EngineError>
    where
        F: Future<Output = T> + 'static,
        T: 'static,
    {
        enter_core(spec)?;
        let failed =
            |error: GlommioError<()>| EngineError::Start { engine: Self::NAME, source: plain(error) };
        // Pinned by `enter_core`, like the other engines; glommio's own placement is left unbound.
        let executor = LocalExecutorBuilder::new(Placement::Unbound)
            .name(&spec.name)
            .io_memory(IO_MEMORY_BYTES)
            .ring_depth(spec.ring_entries.clamp(64, RING_ENTRIES_MAX) as usize)
            .make()
            .map_err(failed)?;
        executor.run(async move {
            // In glommio's first queue, which has no latency goal: its wakes cost a core that is awake no interrupt.
            Self::spawn(nudge::nudged());
            // Tasks inherit their spawner's queue. In a queue without a latency goal, a wake from
            // another thread can wait for the end of a slice of 100 ms.
            let queue = glommio::executor().create_task_queue(
                Shares::default(),
                Latency::Matters(LATENCY_GOAL),
                "core",
            );
            let future = main();
            let whole = async move {
                let result = future.await;
                tasks::close().await;
                result
            };
            Ok(glommio::spawn_local_into(whole, queue).map_err(failed)?.await)
        })
    }

    fn spawn(task: impl Future<Output = ()> + 'static) {
        glommio::spawn_local(tasks::tracked(task)).detach();
    }

    async fn sleep(duration: Duration) {
        glommio::timer::sleep(duration).await;
    }

    fn listen(addr: SocketAddr, options: ListenOptions) -> io::Result<TcpListener> {
        let listener = sockets::listen(addr, options)?;
        // SAFETY: `into_raw_fd` gives up ownership of the open descriptor to the new listener.
        Ok(unsafe { TcpListener::from_raw_fd(listener.into_raw_fd()) })
    }

    fn local_addr(listener: &TcpListener) -> io::Result<SocketAddr> {
        listener.local_addr().map_err(plain)
    }

    async fn accept(listener: &TcpListener) -> io::Result<(Reader, Writer, SocketAddr)> {
        let stream = listener.accept().await.map_err(plain)?;
        stream.set_nodelay(true).map_err(plain)?;
        let peer = stream.peer_addr().map_err(plain)?;
        let (reader, writer) = split(stream);
        Ok((reader, writer, peer))
    }

    async fn connect(addr: SocketAddr) -> io::Result<(Reader, Writer)> {
        let stream = Stream::connect(addr).await.map_err(plain)?;
        stream.set_nodelay(true).map_err(plain)?;
        Ok(split(stream))
    }

    fn adopt(connection: Carried) -> io::Result<(Reader, Writer)> {
        let stream = connection.into_socket()?;
        stream.set_nonblocking(false)?;
        stream.set_nodelay(true)?;
        // SAFETY: `into_raw_fd` gives up ownership of the open descriptor to the new stream.
        Ok(split(unsafe { Stream::from_raw_fd(stream.into_raw_fd()) }))
    }

    fn release(reader: Reader, mut writer: Writer) -> io::Result<Carried> {
        if reader.busy || writer.busy || !Rc::ptr_eq(&reader.stream, &writer.stream) {
            return Err(sockets::not_idle());
        }
        // glommio cannot give a descriptor back: a second one keeps the connection while its own,
        // and the readiness poll that goes with it, is dropped.
        let stream = TcpStream::from(reader.open.as_fd().try_clone_to_owned()?);
        stream.set_nonblocking(false)?;
        writer.released = true;
        Ok(stream.into())
    }

    async fn recv(reader: &mut Reader, mut buffer: Vec<u8>) -> (io::Result<usize>, Vec<u8>) {
        let room = buffer.capacity() - buffer.len();
        if room == 0 {
            return (Err(sockets::no_room()), buffer);
        }
        // A connection that always has data must not keep the others waiting.
        glommio::yield_if_needed().await;
        reader.busy = true;
        let result = poll_fn(|cx| {
            SCRATCH.with_borrow_mut(|scratch| {
                let scratch = &mut scratch[..room.min(SCRATCH_BYTES)];
                let mut stream = reader.stream.borrow_mut();
                let polled = Pin::new(&mut *stream).poll_read(cx, scratch);
                polled.map_ok(|count| {
                    buffer.extend_from_slice(&scratch[..count]);
                    count
                })
            })
        })
        .await;
        reader.busy = false;
        (result, buffer)
    }

    async fn send_all(writer: &mut Writer, buffer: Vec<u8>) -> (io::Result<()>, Vec<u8>) {
        let mut rest = &buffer[..];
        let mut result = Ok(());
        writer.busy = true;
        while !rest.is_empty() {
            let sent = poll_fn(|cx| Pin::new(&mut *writer.stream.borrow_mut()).poll_write(cx, rest)).await;
            match sent {
                Ok(0) => result = Err(io::ErrorKind::WriteZero.into()),
                Ok(count) => rest = &rest[count..],
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => result = Err(error),
            }
            if result.is_err() {
                break;
            }
        }
        writer.busy = false;
        (result, buffer)
    }

    fn log_file(_: File) -> io::Result<Infallible> {
        Err(io::ErrorKind::Unsupported.into())
    }

    async fn write_all_at(
        file: &Infallible,
        _: Vec<u8>,
        _: Range<usize>,
        _: u64,
    ) -> (io::Result<()>, Vec<u8>) {
        match *file {}
    }

    async fn turn(_: Option<&Self::LogFile>, buffer: Vec<u8>) -> Vec<u8> {
        glommio::executor().yield_task_queue_now().await;
        buffer
    }

    fn shutdown(writer: &Writer, how: Shutdown) -> io::Result<()> {
        writer.open.shutdown(how)
    }

    fn closer(reader: &Reader) -> Closer {
        Closer::new(&reader.open)
    }
}
