//! The runtime seam: what Frontrow asks of a thread-per-core runtime, and nothing more.
//!
//! One [`Engine`] runs one executor per core on the calling thread. Three are at hand:
//! [`MonoioUring`] (the default), [`MonoioEpoll`] (the same code where io_uring is forbidden) and
//! [`Glommio`]. Code is written once, generic over `E: Engine`, and chosen at start by
//! [`EngineKind`] and [`dispatch`]. A simulation brings an engine of its own, with connections that are no
//! sockets ([`Carried::of`], [`Closer::of`]) and clocks of its own ([`Clock::simulate`]).
//!
//! # Invariants
//! - Futures are not `Send` and stay on their core. Only [`Notifier`], [`Sender`] and [`Carried`]
//!   cross threads.
//! - **A `recv`, `send_all` or `accept` is never cancelled half-way**: no select over I/O. To end
//!   one early, shut the connection down ([`Engine::shutdown`], [`Closer`]) and await it.
//! - One `recv` and one `send_all` in flight per connection; the `&mut` halves see to it.
//! - Buffers are owned by the operation while it runs, because io_uring reads and writes them
//!   meanwhile. A file write goes on in the device whatever becomes of its task: await it before
//!   `main` ends.
//! - A core does not wait for a disk: an engine that cannot write a file without blocking says so
//!   ([`Engine::WRITES_FILES`]), and its host has a thread for it.
//! - When `main` ends, so do all tasks of the core: each is dropped where it stands.
//! - Only [`Clock`] reads a clock.

use std::fs::File;
use std::future::{Future, poll_fn};
use std::io;
use std::net::{Shutdown, SocketAddr};
use std::ops::Range;
use std::task::Poll;
use std::thread::JoinHandle;
use std::time::Duration;

mod clock;
pub mod echo;
mod glommio_engine;
mod inbox;
mod memory;
mod monoio_engine;
mod notify;
mod nudge;
mod select;
mod sockets;
mod tasks;

pub use clock::{Clock, Simulated};
pub use glommio_engine::Glommio;
pub use inbox::{Receiver, SendError, Sender, inbox};
pub use memory::HugePages;
pub use monoio_engine::{Monoio, MonoioEpoll, MonoioUring};
pub use notify::{LocalNotify, Notified, Notifier, notifier};
pub use select::{Choice, EngineKind, Probe, WithEngine, choose, dispatch, probe};
pub use sockets::{Carried, Closer, ListenOptions, ReservedPort, free_port};

/// How one core's executor runs.
#[derive(Debug, Clone)]
pub struct CoreSpec {
    /// Thread name (the kernel keeps 15 bytes).
    pub name: String,
    /// Pin the thread to this CPU; `None` leaves the thread's affinity alone.
    pub core: Option<usize>,
    /// Entries of the io_uring submission queue (rounded up to a power of two, monoio at least
    /// 256, glommio at most 4096 in each of three rings).
    pub ring_entries: u32,
}

impl CoreSpec {
    /// A core named `name`, pinned to `core` if given.
    pub fn new(name: impl Into<String>, core: Option<usize>) -> Self {
        Self { name: name.into(), core, ring_entries: 1024 }
    }
}

/// Why an executor could not start.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// The configured word names no engine.
    #[error("unknown engine `{0}`: use auto, io_uring, epoll or glommio")]
    Unknown(String),
    /// A forced engine cannot run on this host.
    #[error("engine {engine} cannot run here: {why}. {remedy}")]
    Unavailable {
        /// The engine asked for.
        engine: EngineKind,
        /// What the probe found.
        why: String,
        /// What to change, or what to use instead.
        remedy: String,
    },
    /// The thread could not be pinned.
    #[error(
        "cannot pin to core {core}: {source}; choose a core of the process's affinity mask (taskset -p, cpuset)"
    )]
    Pin {
        /// The CPU asked for.
        core: usize,
        /// The kernel's answer.
        source: io::Error,
    },
    /// The runtime refused to start.
    #[error(
        "engine {engine} did not start: {source}; try `epoll`, or raise the limit on locked memory (ulimit -l)"
    )]
    Start {
        /// [`Engine::NAME`].
        engine: &'static str,
        /// The kernel's answer.
        source: io::Error,
    },
}

/// A thread-per-core runtime.
///
/// All functions but [`Engine::run`] must be called on a thread inside `run`.
pub trait Engine: Sized + 'static {
    /// The word that chooses this engine.
    const NAME: &'static str;
    /// A listening socket.
    type Listener: 'static;
    /// The receiving half of a connection.
    type Reader: 'static;
    /// The sending half of a connection. Dropping it is a half-close.
    type Writer: 'static;
    /// A file that the core writes by itself.
    type LogFile: 'static;
    /// Whether [`Engine::write_all_at`] is to be had: a write that neither blocks the core nor needs
    /// another thread to be woken.
    const WRITES_FILES: bool;

    /// Runs `main` to completion on the calling thread, then ends every task of the core.
    fn run<F, T>(spec: &CoreSpec, main: impl FnOnce() -> F) -> Result<T, EngineError>
    where
        F: Future<Output = T> + 'static,
        T: 'static;

    /// Starts a detached task on this core.
    fn spawn(task: impl Future<Output = ()> + 'static);

    /// Waits at least `duration`, usually up to 1 ms longer.
    fn sleep(duration: Duration) -> impl Future<Output = ()>;

    /// Listens on `addr` (port 0: any free one).
    fn listen(addr: SocketAddr, options: ListenOptions) -> io::Result<Self::Listener>;

    /// Where a listener listens.
    fn local_addr(listener: &Self::Listener) -> io::Result<SocketAddr>;

    /// Waits for a connection; `TCP_NODELAY` is set on it.
    fn accept(
        listener: &Self::Listener,
    ) -> impl Future<Output = io::Result<(Self::Reader, Self::Writer, SocketAddr)>>;

    /// Connects; `TCP_NODELAY` is set.
    fn connect(addr: SocketAddr) -> impl Future<Output = io::Result<(Self::Reader, Self::Writer)>>;

    /// Takes over a connection from another core or from another runtime (in any blocking mode).
    fn adopt(connection: Carried) -> io::Result<(Self::Reader, Self::Writer)>;

    /// Gives a connection away, in blocking mode. Refused (and the connection closed) while an
    /// operation is in flight. Bytes already received are the caller's to hand on.
    fn release(reader: Self::Reader, writer: Self::Writer) -> io::Result<Carried>;

    /// Appends what has arrived to `buffer`'s spare capacity; `Ok(0)` is the peer's close.
    /// A buffer without spare capacity is an `InvalidInput` error.
    fn recv(reader: &mut Self::Reader, buffer: Vec<u8>)
    -> impl Future<Output = (io::Result<usize>, Vec<u8>)>;

    /// Sends the whole buffer and returns it unchanged, for reuse.
    fn send_all(
        writer: &mut Self::Writer,
        buffer: Vec<u8>,
    ) -> impl Future<Output = (io::Result<()>, Vec<u8>)>;

    /// Takes a file over for [`Engine::write_all_at`]; its flags (`O_DIRECT`, `O_DSYNC`) stay as they
    /// are. An `Unsupported` error where the engine does not write files.
    fn log_file(file: File) -> io::Result<Self::LogFile>;

    /// Writes the bytes `range` of `buffer` at `offset` of the file, all of them or an error, and
    /// returns the buffer unchanged. With `O_DSYNC` they are durable then; after an error any of them
    /// may be. With `O_DIRECT` memory, range and offset must be aligned, and a write that the kernel
    /// cut short at an odd place ends as an error. Never cancelled half-way, as a `send_all`.
    fn write_all_at(
        file: &Self::LogFile,
        buffer: Vec<u8>,
        range: Range<usize>,
        offset: u64,
    ) -> impl Future<Output = (io::Result<()>, Vec<u8>)>;

    /// Gives every other task of the core a turn, and takes in what the kernel has ready, without sleeping: for whoever goes on
    /// working. [`yield_now`] from a core's first future does neither. `null` is `/dev/null`, where the engine does files;
    /// `buffer` has room for a byte, and comes back.
    fn turn(null: Option<&Self::LogFile>, buffer: Vec<u8>) -> impl Future<Output = Vec<u8>> {
        let _ = null;
        tasks::turn::<Self>(buffer)
    }

    /// Shuts the connection down: `Write` is a half-close, `Read` or `Both` makes a pending `recv`
    /// return `Ok(0)`.
    fn shutdown(writer: &Self::Writer, how: Shutdown) -> io::Result<()>;

    /// A handle that ends the connection while both halves are busy elsewhere on this core.
    fn closer(reader: &Self::Reader) -> Closer;
}

/// Runs [`Engine::run`] on a new thread named after the core.
pub fn start<E, F, T>(
    spec: CoreSpec,
    main: impl FnOnce() -> F + Send + 'static,
) -> io::Result<JoinHandle<Result<T, EngineError>>>
where
    E: Engine,
    F: Future<Output = T> + 'static,
    T: Send + 'static,
{
    std::thread::Builder::new().name(spec.name.clone()).spawn(move || E::run(&spec, main))
}

/// Lets the core's other ready tasks run once. Not a way to wait: a task that only yields keeps
/// monoio from looking at its timers and at wakes from other threads.
pub async fn yield_now() {
    let mut yielded = false;
    poll_fn(|cx| {
        if yielded {
            return Poll::Ready(());
        }
        yielded = true;
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

/// Names and pins the calling thread.
fn enter_core(spec: &CoreSpec) -> Result<(), EngineError> {
    let short: String = spec.name.chars().filter(|c| c.is_ascii() && *c != '\0').take(15).collect();
    if let Ok(name) = std::ffi::CString::new(short) {
        // A name is a convenience for whoever reads `top`; failing to set one is no reason to stop.
        let _ = rustix::thread::set_name(&name);
    }
    let Some(core) = spec.core else { return Ok(()) };
    let pin = |source| EngineError::Pin { core, source };
    if core >= rustix::thread::CpuSet::MAX_CPU {
        return Err(pin(io::Error::from(io::ErrorKind::InvalidInput)));
    }
    let mut set = rustix::thread::CpuSet::new();
    set.set(core);
    rustix::thread::sched_setaffinity(None, &set).map_err(|errno| pin(errno.into()))
}
