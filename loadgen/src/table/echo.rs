//! The limit: a server that answers without deciding anything, and the load it is measured with.
//!
//! Frames begin with a sequence number of 8 bytes, little-endian, which the reply carries too. Requests
//! and replies have each their own length, so that both match those of the server it stands beside.

use crate::LoadError;
use crate::machine::{ServerTime, Watched};
use crate::table::drive;
use crate::table::meter::{Meter, Window};
use crate::table::{ANSWER_BYTES, CLAIM_BYTES};
use frontrow_engine::{Clock, CoreSpec, Engine, ListenOptions, Notifier, notifier, start};
use std::cell::RefCell;
use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::thread::JoinHandle;
use std::time::Duration;

/// Bytes that a receive has room for, at least.
const BUFFER_BYTES: usize = 64 * 1024;
const SEQUENCE_BYTES: usize = 8;

/// How a load is put on a server, echo or not.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Load {
    pub(crate) connections: usize,
    /// Requests in flight per connection.
    pub(crate) depth: usize,
    pub(crate) warmup: Duration,
    pub(crate) duration: Duration,
    /// How long the whole load may take before it counts as stuck.
    pub(crate) patience: Duration,
    /// The CPU of the load thread.
    pub(crate) core: Option<usize>,
}

impl Load {
    /// The same, as fast as goes.
    pub(crate) fn fast(self) -> Self {
        Self { depth: 64, ..self }
    }
}

/// A running echo server; stops when dropped.
pub(crate) struct EchoServer {
    addr: SocketAddr,
    stop: Notifier,
    thread: Option<JoinHandle<Result<io::Result<()>, frontrow_engine::EngineError>>>,
}

impl EchoServer {
    /// Starts one on a free port of the loopback, pinned to `core` if one is given.
    pub(crate) fn start<E: Engine>(core: Option<usize>) -> Result<Self, LoadError> {
        let (stop, mut stopped) = notifier();
        let (say, listening) = std::sync::mpsc::channel();
        let thread = start::<E, _, _>(CoreSpec::new("echo", core), move || async move {
            let listener = E::listen(SocketAddr::from(([127, 0, 0, 1], 0)), ListenOptions::default())?;
            let _ = say.send(E::local_addr(&listener)?);
            E::spawn(async move {
                while let Ok((reader, writer, _)) = E::accept(&listener).await {
                    E::spawn(async move {
                        // The peer's going away ends the connection; that is all there is to it.
                        let _ = echo::<E>(reader, writer).await;
                    });
                }
            });
            stopped.wait().await;
            Ok(())
        })
        .map_err(LoadError::connection("starting the echo server"))?;
        if let Ok(addr) = listening.recv() {
            return Ok(Self { addr, stop, thread: Some(thread) });
        }
        let ended = thread.join().map_err(|_| LoadError::Panicked)??;
        let source = ended.err().unwrap_or_else(|| io::ErrorKind::BrokenPipe.into());
        Err(LoadError::Connection { doing: "starting the echo server", source })
    }

    /// Puts `load` on the server, and checks every reply.
    pub(crate) fn load<E: Engine>(&self, load: Load) -> Result<Meter, LoadError> {
        let addr = self.addr;
        drive::on_core::<E, _, _>(load.core, move || call_all::<E>(addr, load))
    }
}

impl Drop for EchoServer {
    fn drop(&mut self) {
        self.stop.wake();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Answers one connection until the peer closes it: all whole frames of a receive in one send.
async fn echo<E: Engine>(mut reader: E::Reader, mut writer: E::Writer) -> io::Result<()> {
    let mut buffer = Vec::with_capacity(BUFFER_BYTES);
    let mut out: Vec<u8> = Vec::with_capacity(BUFFER_BYTES / CLAIM_BYTES * ANSWER_BYTES);
    loop {
        let (received, back) = E::recv(&mut reader, buffer).await;
        buffer = back;
        if received? == 0 {
            return Ok(());
        }
        let whole = buffer.len() / CLAIM_BYTES;
        if whole == 0 {
            continue;
        }
        // What is behind the sequence number is whatever was there before: nobody looks at it.
        out.resize(whole * ANSWER_BYTES, 0);
        for (reply, request) in out.chunks_exact_mut(ANSWER_BYTES).zip(buffer.chunks_exact(CLAIM_BYTES)) {
            reply[..SEQUENCE_BYTES].copy_from_slice(&request[..SEQUENCE_BYTES]);
        }
        buffer.drain(..whole * CLAIM_BYTES);
        let (sent, back) = E::send_all(&mut writer, out).await;
        out = back;
        sent?;
    }
}

async fn call_all<E: Engine>(addr: SocketAddr, load: Load) -> Result<Meter, LoadError> {
    let mut connections = Vec::with_capacity(load.connections);
    for _ in 0..load.connections {
        connections.push(E::connect(addr).await.map_err(LoadError::connection("to the echo server"))?);
    }
    let window = Window::after(load.warmup, load.duration);
    let meter = Rc::new(RefCell::new(Meter::new(window)?));
    let calls = connections.into_iter().map(|halves| call::<E>(halves, load.depth, Rc::clone(&meter)));
    let before = ServerTime::of(Watched::Own);
    drive::all::<E>(calls.collect(), load.patience).await?;
    let used = ServerTime::of(Watched::Own).since(before);
    let meter = Rc::into_inner(meter).map(RefCell::into_inner);
    let mut meter = meter.ok_or_else(|| LoadError::Wrong("a conversation outlived its load".to_owned()))?;
    meter.used(used);
    Ok(meter)
}

/// One connection: `depth` frames out, and one more for each that comes back.
async fn call<E: Engine>(
    (mut reader, mut writer): (E::Reader, E::Writer),
    depth: usize,
    meter: Rc<RefCell<Meter>>,
) -> Result<(), LoadError> {
    let window = meter.borrow().window;
    let mut received = Vec::with_capacity(BUFFER_BYTES.max(depth * ANSWER_BYTES));
    let mut out: Vec<u8> = Vec::with_capacity(depth * CLAIM_BYTES);
    // (send time, frames) of each batch in flight, oldest first.
    let mut in_flight: VecDeque<(u64, u64)> = VecDeque::with_capacity(depth + 1);
    let (mut next_out, mut next_back, mut to_send) = (0_u64, 0_u64, depth as u64);
    let mut now_ns = Clock::monotonic_ns();
    loop {
        if to_send > 0 && window.is_open(now_ns) {
            out.resize(to_send as usize * CLAIM_BYTES, 0);
            for frame in out.chunks_exact_mut(CLAIM_BYTES) {
                frame[..SEQUENCE_BYTES].copy_from_slice(&next_out.to_le_bytes());
                next_out += 1;
            }
            in_flight.push_back((now_ns, to_send));
            let (sent, back) = E::send_all(&mut writer, out).await;
            out = back;
            sent.map_err(LoadError::connection("sending to the echo server"))?;
        }
        if next_back == next_out {
            return Ok(());
        }
        let (result, back) = E::recv(&mut reader, received).await;
        received = back;
        if result.map_err(LoadError::connection("receiving from the echo server"))? == 0 {
            return Err(LoadError::Wrong("the echo server closed with frames in flight".to_owned()));
        }
        let frames = received.chunks_exact(ANSWER_BYTES);
        to_send = frames.len() as u64;
        for frame in frames {
            if frame[..SEQUENCE_BYTES] != next_back.to_le_bytes() {
                return Err(LoadError::Wrong(format!("echo frame {next_back} came back wrong")));
            }
            next_back += 1;
        }
        received.drain(..to_send as usize * ANSWER_BYTES);
        now_ns = Clock::monotonic_ns();
        count(&mut meter.borrow_mut(), &mut in_flight, now_ns, to_send);
    }
}

/// Books `frames` replies against the oldest batches in flight.
fn count(meter: &mut Meter, in_flight: &mut VecDeque<(u64, u64)>, now_ns: u64, mut frames: u64) {
    while frames > 0 {
        let Some((sent_ns, left)) = in_flight.front_mut() else { return };
        let done = frames.min(*left);
        meter.replies(now_ns, *sent_ns, done);
        (*left, frames) = (*left - done, frames - done);
        if *left == 0 {
            in_flight.pop_front();
        }
    }
}
