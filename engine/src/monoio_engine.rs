//! monoio behind the seam: one implementation, two drivers.

use std::fs::File;
use std::future::Future;
use std::io;
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::ops::Range;
use std::os::fd::{AsRawFd, FromRawFd, IntoRawFd};
use std::rc::Rc;
use std::time::Duration;

use monoio::buf::{IoBuf, IoBufMut};
use monoio::io::{AsyncReadRent, AsyncWriteRent, OwnedReadHalf, OwnedWriteHalf, Splitable};
use monoio::net::TcpStream as Stream;
use monoio::time::TimeDriver;
use monoio::{IoUringDriver, LegacyDriver, Runtime, RuntimeBuilder};

use crate::sockets::{self, Carried, Closer, ListenOptions, Open};
use crate::{CoreSpec, Engine, EngineError, enter_core, tasks, yield_now};

/// monoio, on io_uring or on epoll.
#[derive(Debug, Clone, Copy)]
pub struct Monoio<const URING: bool>;

/// monoio on io_uring: the default.
pub type MonoioUring = Monoio<true>;
/// monoio on epoll: for hosts and containers that forbid io_uring.
pub type MonoioEpoll = Monoio<false>;

/// Receives that found data at once after which an epoll task lets the others run.
const YIELD_AFTER: u32 = 32;
/// The same, after which it sleeps one tick: monoio looks at timers only when no task is ready, so
/// one flooding connection would stop every timer of the core.
const SLEEP_AFTER: u32 = 1024;

/// Receiving half of a monoio connection.
#[derive(Debug)]
pub struct Reader {
    open: Rc<Open>,
    half: OwnedReadHalf<Stream>,
    /// An operation was started and has not been seen to end.
    busy: bool,
    /// Receives in a row that did not have to wait (epoll only).
    at_once: u32,
}

/// Sending half of a monoio connection.
#[derive(Debug)]
pub struct Writer {
    open: Rc<Open>,
    half: OwnedWriteHalf<Stream>,
    busy: bool,
}

fn split(stream: Stream) -> (Reader, Writer) {
    let open = Rc::new(Open(stream.as_raw_fd()));
    let (read, write) = stream.into_split();
    (
        Reader { open: open.clone(), half: read, busy: false, at_once: 0 },
        Writer { open, half: write, busy: false },
    )
}

/// Builds an io_uring runtime: with deferred task running where the kernel has it (6.1), so that
/// completions are handled in the one place that waits for them, and plain where not.
fn build_uring(entries: u32) -> io::Result<Runtime<TimeDriver<IoUringDriver>>> {
    let mut deferred = io_uring::IoUring::builder();
    deferred.setup_single_issuer().setup_defer_taskrun();
    let builder = || RuntimeBuilder::<IoUringDriver>::new().with_entries(entries);
    builder().uring_builder(deferred).enable_timer().build().or_else(|_| builder().enable_timer().build())
}

impl<const URING: bool> Engine for Monoio<URING> {
    const NAME: &'static str = if URING { "io_uring" } else { "epoll" };
    type Listener = monoio::net::TcpListener;
    type Reader = Reader;
    type Writer = Writer;
    type LogFile = monoio::fs::File;
    /// On epoll a file write would block the core.
    const WRITES_FILES: bool = URING;

    fn run<F, T>(spec: &CoreSpec, main: impl FnOnce() -> F) -> Result<T, EngineError>
    where
        F: Future<Output = T> + 'static,
        T: 'static,
    {
        enter_core(spec)?;
        let whole = async move {
            let result = main().await;
            tasks::close().await;
            // One turn of the ring: cancelled operations must end before their buffers are freed.
            monoio::time::sleep(Duration::from_millis(1)).await;
            result
        };
        let failed = |source| EngineError::Start { engine: Self::NAME, source };
        if URING {
            Ok(build_uring(spec.ring_entries).map_err(failed)?.block_on(whole))
        } else {
            let built = RuntimeBuilder::<LegacyDriver>::new().enable_timer().build();
            Ok(built.map_err(failed)?.block_on(whole))
        }
    }

    fn spawn(task: impl Future<Output = ()> + 'static) {
        drop(monoio::spawn(tasks::tracked(task)));
    }

    async fn sleep(duration: Duration) {
        monoio::time::sleep(duration).await;
    }

    fn listen(addr: SocketAddr, options: ListenOptions) -> io::Result<Self::Listener> {
        let listener = sockets::listen(addr, options)?;
        listener.set_nonblocking(!URING)?;
        Self::Listener::from_std(listener)
    }

    fn local_addr(listener: &Self::Listener) -> io::Result<SocketAddr> {
        listener.local_addr()
    }

    async fn accept(listener: &Self::Listener) -> io::Result<(Reader, Writer, SocketAddr)> {
        let (stream, peer) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let (reader, writer) = split(stream);
        Ok((reader, writer, peer))
    }

    async fn connect(addr: SocketAddr) -> io::Result<(Reader, Writer)> {
        let stream = Stream::connect_addr(addr).await?;
        stream.set_nodelay(true)?;
        Ok(split(stream))
    }

    fn adopt(connection: Carried) -> io::Result<(Reader, Writer)> {
        let stream = connection.into_socket()?;
        // io_uring answers EAGAIN on a non-blocking socket instead of waiting; epoll would block
        // the core on a blocking one.
        stream.set_nonblocking(!URING)?;
        stream.set_nodelay(true)?;
        Ok(split(Stream::from_std(stream)?))
    }

    fn release(reader: Reader, writer: Writer) -> io::Result<Carried> {
        if reader.busy || writer.busy {
            return Err(sockets::not_idle());
        }
        let stream = reader.half.reunite(writer.half).map_err(|_| sockets::not_idle())?;
        let fd = stream.into_raw_fd();
        // SAFETY: `into_raw_fd` gave up ownership of this open descriptor, so it is ours alone.
        let stream = unsafe { TcpStream::from_raw_fd(fd) };
        stream.set_nonblocking(false)?;
        Ok(stream.into())
    }

    async fn recv(reader: &mut Reader, buffer: Vec<u8>) -> (io::Result<usize>, Vec<u8>) {
        let (filled, capacity) = (buffer.len(), buffer.capacity());
        if filled == capacity {
            return (Err(sockets::no_room()), buffer);
        }
        if !URING {
            reader.take_turns().await;
        }
        reader.busy = true;
        let mut read = std::pin::pin!(reader.half.read(buffer.slice_mut(filled..capacity)));
        let mut waited = false;
        let (result, slice) = std::future::poll_fn(|cx| {
            let polled = read.as_mut().poll(cx);
            waited |= polled.is_pending();
            polled
        })
        .await;
        reader.busy = false;
        reader.at_once = if waited { 0 } else { reader.at_once.saturating_add(1) };
        (result, slice.into_inner())
    }

    async fn send_all(writer: &mut Writer, buffer: Vec<u8>) -> (io::Result<()>, Vec<u8>) {
        let length = buffer.len();
        let (mut sent, mut buffer) = (0, buffer);
        writer.busy = true;
        while sent < length {
            let (result, slice) = writer.half.write(buffer.slice(sent..length)).await;
            buffer = slice.into_inner();
            match result {
                Ok(0) => {
                    writer.busy = false;
                    return (Err(io::ErrorKind::WriteZero.into()), buffer);
                }
                Ok(count) => sent += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    writer.busy = false;
                    return (Err(error), buffer);
                }
            }
        }
        writer.busy = false;
        (Ok(()), buffer)
    }

    fn log_file(file: File) -> io::Result<monoio::fs::File> {
        if URING { monoio::fs::File::from_std(file) } else { Err(io::ErrorKind::Unsupported.into()) }
    }

    async fn write_all_at(
        file: &monoio::fs::File,
        buffer: Vec<u8>,
        range: Range<usize>,
        offset: u64,
    ) -> (io::Result<()>, Vec<u8>) {
        let (result, slice) = file.write_all_at(buffer.slice(range), offset).await;
        (result, slice.into_inner())
    }

    /// Completions come in where the ring waits and nowhere else (`setup_defer_taskrun`), and timers too: so it waits, for a
    /// read that is over as it begins.
    async fn turn(null: Option<&monoio::fs::File>, mut buffer: Vec<u8>) -> Vec<u8> {
        buffer.clear();
        match null {
            Some(null) => null.read_at(buffer, 0).await.1,
            None => tasks::turn::<Self>(buffer).await,
        }
    }

    fn shutdown(writer: &Writer, how: Shutdown) -> io::Result<()> {
        writer.open.shutdown(how)
    }

    fn closer(reader: &Reader) -> Closer {
        Closer::new(&reader.open)
    }
}

impl Reader {
    /// Gives other tasks, and now and then the timers, a turn on a connection that always has data.
    async fn take_turns(&mut self) {
        if self.at_once >= SLEEP_AFTER {
            self.at_once = 0;
            monoio::time::sleep(Duration::from_millis(1)).await;
        } else if self.at_once > 0 && self.at_once.is_multiple_of(YIELD_AFTER) {
            yield_now().await;
        }
    }
}
