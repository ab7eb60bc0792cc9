//! The third engine: a core of a simulated node.

use crate::disk::LogFile;
use crate::net::Side;
use crate::trace::{Event, digest};
use crate::world::{Options, State, World, with};
use frontrow_engine::{Carried, Closer, CoreSpec, Engine, EngineError, ListenOptions};
use std::cell::{Cell, RefCell};
use std::fs::File;
use std::future::{Future, poll_fn};
use std::io::{self, Error, ErrorKind};
use std::net::{Shutdown, SocketAddr};
use std::ops::Range;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

/// Code that is generic over [`Engine`] runs on this one inside a [`World`].
#[derive(Debug, Clone, Copy)]
pub struct Sim;

/// A listening socket.
#[derive(Debug)]
pub struct Listener {
    id: u64,
    addr: SocketAddr,
}

/// Receiving half of a connection.
#[derive(Debug)]
pub struct Reader {
    at: (u64, Side),
    busy: bool,
    given_away: bool,
}

/// Sending half of a connection.
#[derive(Debug)]
pub struct Writer {
    at: (u64, Side),
    busy: bool,
    given_away: bool,
}

/// A connection between two cores.
struct Moved(Option<(u64, Side)>);

thread_local! {
    static SEED: Cell<u64> = const { Cell::new(0) };
}

impl Sim {
    /// The seed of worlds that [`Engine::run`] makes on this thread.
    pub fn seed(seed: u64) {
        SEED.set(seed);
    }

    /// Starts one more core on the node of the running task; see [`World::start`].
    ///
    /// # Panics
    /// Outside of tasks.
    pub fn start_core<F: Future<Output = ()> + 'static>(main: impl FnOnce() -> F + 'static) {
        here(|state, _, node| {
            let core = state.add_core(node);
            state.spawn(core, true, Box::pin(async move { main().await }));
        })
        .expect("a core is started by a task");
    }

    /// 128 bits that a real process would take from the system.
    pub fn secret() -> u128 {
        with(State::secret).unwrap_or_default()
    }
}

fn no_world() -> Error {
    Error::other("no simulated core runs here: call this from a task inside a World")
}

/// Does something with the world as the running core.
fn here<R>(f: impl FnOnce(&mut State, usize, usize) -> R) -> io::Result<R> {
    with(|state| state.here().map(|(core, node)| f(state, core, node))).flatten().ok_or_else(no_world)
}

fn halves(at: (u64, Side)) -> (Reader, Writer) {
    (Reader { at, busy: false, given_away: false }, Writer { at, busy: false, given_away: false })
}

/// What ends a connection from anywhere.
pub(crate) fn hang_up(reader: &Reader) -> Box<dyn Fn() + Send> {
    let at = reader.at;
    Box::new(move || {
        with(|state| state.on_net(|net, around| net.shutdown(around, at, Shutdown::Both)));
    })
}

fn drop_half(at: (u64, Side), writer: bool) {
    with(|state| {
        state.note(Event::Close, at.0, at.1 as u64 * 2 + u64::from(writer));
        state.on_net(|net, around| net.drop_half(around, at, writer));
    });
}

impl Drop for Reader {
    fn drop(&mut self) {
        if !self.given_away {
            drop_half(self.at, false);
        }
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        if !self.given_away {
            drop_half(self.at, true);
        }
    }
}

impl Drop for Moved {
    fn drop(&mut self) {
        if let Some(at) = self.0.take() {
            drop_half(at, false);
            drop_half(at, true);
        }
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        with(|state| state.on_net(|net, around| net.unlisten(around, self.id)));
    }
}

/// Ends an attempt to connect whose future is dropped half-way.
struct Attempting(u64);

impl Drop for Attempting {
    fn drop(&mut self) {
        with(|state| state.on_net(|net, around| net.abandon(around, self.0)));
    }
}

impl Engine for Sim {
    const NAME: &'static str = "simulated";
    type Listener = Listener;
    type Reader = Reader;
    type Writer = Writer;
    type LogFile = LogFile;
    const WRITES_FILES: bool = true;

    /// A world with one node of one core. In a world that there is already, [`World::start`] starts cores.
    fn run<F, T>(_spec: &CoreSpec, main: impl FnOnce() -> F) -> Result<T, EngineError>
    where
        F: Future<Output = T> + 'static,
        T: 'static,
    {
        let world = World::new(Options::new(SEED.get()));
        let core = world.add_core(world.node());
        let result = Rc::new(RefCell::new(None));
        let out = Rc::clone(&result);
        let future = world.as_core(core, main);
        world.start_on(core, async move {
            let value = future.await;
            *out.borrow_mut() = Some(value);
        });
        world.run_until(Duration::MAX, || result.borrow().is_some());
        let taken = result.borrow_mut().take();
        taken.ok_or_else(|| EngineError::Start {
            engine: Self::NAME,
            source: Error::other("the main task never ends: nothing is left that could wake it"),
        })
    }

    fn spawn(task: impl Future<Output = ()> + 'static) {
        let spawned = here(|state, core, _| state.spawn(core, false, Box::pin(task)));
        assert!(spawned.is_ok(), "a task is spawned by a task");
    }

    async fn sleep(duration: Duration) {
        let Some(now) = with(|state| state.local_ns()) else { return };
        let until = now.saturating_add(duration.as_nanos() as u64);
        poll_fn(|context| {
            with(|state| {
                if state.local_ns() >= until {
                    state.note(Event::Timer, until, 0);
                    return Poll::Ready(());
                }
                state.wake_at_local(until, context.waker().clone());
                Poll::Pending
            })
            .unwrap_or(Poll::Pending)
        })
        .await;
    }

    fn listen(addr: SocketAddr, options: ListenOptions) -> io::Result<Listener> {
        here(|state, _, node| {
            let backlog = usize::try_from(options.backlog).unwrap_or(0).max(1);
            let id = state.net.listen(node, addr, options.reuse_port, backlog)?;
            let addr = state.net.listening.get(&id).map_or(addr, |listening| listening.addr);
            Ok(Listener { id, addr })
        })?
    }

    fn local_addr(listener: &Listener) -> io::Result<SocketAddr> {
        Ok(listener.addr)
    }

    async fn accept(listener: &Listener) -> io::Result<(Reader, Writer, SocketAddr)> {
        let polled = |context: &mut Context<'_>| {
            with(|state| state.net.accept(listener.id, context.waker()))
                .unwrap_or_else(|| Poll::Ready(Err(no_world())))
        };
        let (id, peer) = poll_fn(polled).await?;
        with(|state| state.note(Event::Connect, id, 1));
        let (reader, writer) = halves((id, 1));
        Ok((reader, writer, peer))
    }

    async fn connect(addr: SocketAddr) -> io::Result<(Reader, Writer)> {
        let attempt =
            here(|state, _, node| state.on_net(|net, around| net.begin_connect(around, node, addr)))?;
        // A settled attempt is forgotten, and then dropping this does nothing.
        let attempt = Attempting(attempt);
        let polled = |context: &mut Context<'_>| {
            with(|state| state.net.poll_connect(attempt.0, context.waker()))
                .unwrap_or_else(|| Poll::Ready(Err(no_world())))
        };
        let connected = poll_fn(polled).await;
        with(|state| state.note(Event::Connect, connected.as_ref().map_or(0, |id| *id), 0));
        Ok(halves((connected?, 0)))
    }

    fn adopt(connection: Carried) -> io::Result<(Reader, Writer)> {
        let mut moved: Moved = connection.into_other()?;
        moved.0.take().map(halves).ok_or_else(no_world)
    }

    fn release(mut reader: Reader, mut writer: Writer) -> io::Result<Carried> {
        if reader.busy || writer.busy || reader.at != writer.at {
            return Err(Error::new(
                ErrorKind::ResourceBusy,
                "the two halves are not one idle connection: await the pending recv and send_all before release",
            ));
        }
        (reader.given_away, writer.given_away) = (true, true);
        Ok(Carried::of(Moved(Some(reader.at))))
    }

    async fn recv(reader: &mut Reader, mut buffer: Vec<u8>) -> (io::Result<usize>, Vec<u8>) {
        if buffer.len() == buffer.capacity() {
            let error = Error::new(ErrorKind::InvalidInput, "no spare capacity to receive into");
            return (Err(error), buffer);
        }
        reader.busy = true;
        let (at, start) = (reader.at, buffer.len());
        let received = poll_fn(|context| {
            with(|state| state.on_net(|net, around| net.receive(around, at, &mut buffer, context.waker())))
                .unwrap_or(Poll::Ready(Ok(0)))
        })
        .await;
        reader.busy = false;
        with(|state| state.note(Event::Receive, at.0 * 2 + at.1 as u64, digest(&buffer[start..])));
        (received.map_err(Error::from), buffer)
    }

    async fn send_all(writer: &mut Writer, buffer: Vec<u8>) -> (io::Result<()>, Vec<u8>) {
        writer.busy = true;
        let (at, mut sent) = (writer.at, 0);
        with(|state| state.note(Event::Send, at.0 * 2 + at.1 as u64, digest(&buffer)));
        while sent < buffer.len() {
            let rest = &buffer[sent..];
            let some = poll_fn(|context| {
                with(|state| state.on_net(|net, around| net.send(around, at, rest, context.waker())))
                    .unwrap_or(Poll::Ready(Err(ErrorKind::BrokenPipe)))
            })
            .await;
            match some {
                Ok(count) => sent += count,
                Err(error) => {
                    writer.busy = false;
                    return (Err(error.into()), buffer);
                }
            }
        }
        writer.busy = false;
        (Ok(()), buffer)
    }

    fn log_file(file: File) -> io::Result<LogFile> {
        LogFile::new(&file)
    }

    async fn write_all_at(
        file: &LogFile,
        buffer: Vec<u8>,
        range: Range<usize>,
        offset: u64,
    ) -> (io::Result<()>, Vec<u8>) {
        let begun = here(|state, _, node| state.begin_write(node, file, &buffer[range], offset));
        let Ok(id) = begun else { return (Err(no_world()), buffer) };
        let polled = |context: &mut Context<'_>| {
            with(|state| state.disks.poll(id, context.waker()))
                .unwrap_or_else(|| Poll::Ready(Err(no_world())))
        };
        (poll_fn(polled).await, buffer)
    }

    fn shutdown(writer: &Writer, how: Shutdown) -> io::Result<()> {
        with(|state| state.on_net(|net, around| net.shutdown(around, writer.at, how))).ok_or_else(no_world)
    }

    fn closer(reader: &Reader) -> Closer {
        let at = reader.at;
        Closer::of(move || {
            with(|state| state.on_net(|net, around| net.shutdown(around, at, Shutdown::Both)));
        })
    }
}
