//! A bare echo server and its load client, on any engine: the limit that real servers are
//! measured against, in the same run.
//!
//! Frames have a fixed size and begin with a sequence number (8 bytes, little-endian). The server
//! returns all complete frames of a receive in one send; the client keeps `depth` frames in flight
//! per connection and checks that sequence numbers come back in order.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::thread::JoinHandle;
use std::time::Duration;

use hdrhistogram::Histogram;

use crate::{Clock, CoreSpec, Engine, EngineError, ListenOptions, LocalNotify, Notifier, notifier, start};

/// Bytes a connection's receive buffer holds.
const BUFFER_BYTES: usize = 64 * 1024;
/// Bytes of the sequence number at the start of a frame.
const SEQUENCE_BYTES: usize = 8;

/// A running echo server; stops when dropped.
#[derive(Debug)]
pub struct EchoServer {
    /// Where it listens.
    pub addr: SocketAddr,
    stop: Notifier,
    thread: Option<JoinHandle<Result<io::Result<()>, EngineError>>>,
}

impl EchoServer {
    /// Starts a server of `frame_bytes`-sized frames on a core of its own, on a free port of `addr`'s
    /// address if its port is 0.
    pub fn start<E: Engine>(spec: CoreSpec, addr: SocketAddr, frame_bytes: usize) -> io::Result<Self> {
        let (stop, mut stopped) = notifier();
        let (say, listening) = std::sync::mpsc::channel();
        let thread = start::<E, _, _>(spec, move || async move {
            let listener = E::listen(addr, ListenOptions::default())?;
            let _ = say.send(E::local_addr(&listener)?);
            E::spawn(serve::<E>(listener, frame_bytes));
            stopped.wait().await;
            Ok(())
        })?;
        let Ok(addr) = listening.recv() else {
            let why = thread.join().map_err(|_| io::Error::other("the echo server panicked"))?;
            return Err(why
                .map_err(io::Error::other)?
                .err()
                .unwrap_or_else(|| io::ErrorKind::BrokenPipe.into()));
        };
        Ok(Self { addr, stop, thread: Some(thread) })
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

/// Accepts and echoes until the core ends.
pub async fn serve<E: Engine>(listener: E::Listener, frame_bytes: usize) {
    while let Ok((reader, writer, _)) = E::accept(&listener).await {
        E::spawn(async move {
            // The peer's going away ends the connection; that is all there is to it.
            let _ = echo::<E>(reader, writer, frame_bytes).await;
        });
    }
}

/// Echoes one connection until the peer closes it.
async fn echo<E: Engine>(mut reader: E::Reader, mut writer: E::Writer, frame_bytes: usize) -> io::Result<()> {
    let mut buffer = Vec::with_capacity(BUFFER_BYTES);
    let mut spare = Vec::with_capacity(BUFFER_BYTES);
    loop {
        let (received, mut back) = E::recv(&mut reader, buffer).await;
        if received? == 0 {
            return Ok(());
        }
        let complete = back.len() / frame_bytes * frame_bytes;
        if complete == 0 {
            buffer = back;
            continue;
        }
        // What is complete goes out from where it was received; a cut frame moves to the other
        // buffer.
        spare.extend_from_slice(&back[complete..]);
        back.truncate(complete);
        let (sent, mut back) = E::send_all(&mut writer, back).await;
        sent?;
        back.clear();
        (buffer, spare) = (spare, back);
    }
}

/// What a load client does.
#[derive(Debug, Clone, Copy)]
pub struct Load {
    /// Connections, all from one core.
    pub connections: usize,
    /// Frames in flight per connection.
    pub depth: usize,
    /// Bytes of a frame, at least 8.
    pub frame_bytes: usize,
    /// How long frames are sent; what is in flight then is still awaited.
    pub duration: Duration,
}

/// What a load client saw.
#[derive(Debug, Clone)]
pub struct Measured {
    /// Frames that came back, in order and complete.
    pub messages: u64,
    /// From the first send to the last reply.
    pub elapsed_ns: u64,
    /// From the send of a frame to its reply, in nanoseconds.
    pub latency_ns: Histogram<u64>,
}

impl Measured {
    /// Frames per second.
    pub fn per_second(&self) -> f64 {
        self.messages as f64 * 1e9 / self.elapsed_ns.max(1) as f64
    }

    /// Latency in microseconds that `quantile` (0 to 1) of the frames met.
    pub fn latency_us(&self, quantile: f64) -> f64 {
        self.latency_ns.value_at_quantile(quantile) as f64 / 1e3
    }
}

/// Loads the echo server at `addr` from the calling thread. An error if a reply is wrong or a
/// connection fails.
pub fn load<E: Engine>(spec: &CoreSpec, addr: SocketAddr, load: Load) -> io::Result<Measured> {
    if load.frame_bytes < SEQUENCE_BYTES || load.depth == 0 || load.connections == 0 {
        let what = "an echo load needs frames of at least 8 bytes, a depth and connections of at least 1";
        return Err(io::Error::new(io::ErrorKind::InvalidInput, what));
    }
    E::run(spec, move || drive::<E>(addr, load)).map_err(io::Error::other)?
}

/// What the connections of one load share.
struct Tally {
    running: usize,
    messages: u64,
    latency_ns: Histogram<u64>,
    failed: Option<io::Error>,
}

async fn drive<E: Engine>(addr: SocketAddr, load: Load) -> io::Result<Measured> {
    let latency_ns = Histogram::new_with_bounds(1, 60_000_000_000, 3).map_err(io::Error::other)?;
    let tally = Rc::new(RefCell::new(Tally { running: 0, messages: 0, latency_ns, failed: None }));
    let ended = LocalNotify::new();
    let mut connections = Vec::with_capacity(load.connections);
    for _ in 0..load.connections {
        connections.push(E::connect(addr).await?);
    }
    let start_ns = Clock::monotonic_ns();
    let until_ns = start_ns + u64::try_from(load.duration.as_nanos()).unwrap_or(u64::MAX / 2);
    for (reader, writer) in connections {
        let (tally, ended) = (tally.clone(), ended.clone());
        tally.borrow_mut().running += 1;
        E::spawn(async move {
            let result = converse::<E>(reader, writer, load, until_ns, &tally).await;
            let mut tally = tally.borrow_mut();
            tally.running -= 1;
            tally.failed = tally.failed.take().or(result.err());
            ended.wake();
        });
    }
    while tally.borrow().running > 0 {
        ended.wait().await;
    }
    let elapsed_ns = Clock::monotonic_ns() - start_ns;
    let mut tally = tally.borrow_mut();
    match tally.failed.take() {
        Some(error) => Err(error),
        None => Ok(Measured { messages: tally.messages, elapsed_ns, latency_ns: tally.latency_ns.clone() }),
    }
}

/// One connection of the load: `depth` frames out, and one more for each that comes back.
async fn converse<E: Engine>(
    mut reader: E::Reader,
    mut writer: E::Writer,
    load: Load,
    until_ns: u64,
    tally: &RefCell<Tally>,
) -> io::Result<()> {
    let Load { depth, frame_bytes, .. } = load;
    let mut received = Vec::with_capacity(BUFFER_BYTES.max(depth * frame_bytes));
    let mut out = Vec::with_capacity(depth * frame_bytes);
    // (send time, frames) of each batch in flight, oldest first.
    let mut in_flight: VecDeque<(u64, usize)> = VecDeque::with_capacity(depth + 1);
    let (mut next_out, mut next_back, mut to_send) = (0u64, 0u64, depth);
    loop {
        let now_ns = Clock::monotonic_ns();
        if to_send > 0 && now_ns < until_ns {
            for _ in 0..to_send {
                let at = out.len();
                out.resize(at + frame_bytes, 0);
                out[at..at + SEQUENCE_BYTES].copy_from_slice(&next_out.to_le_bytes());
                next_out += 1;
            }
            in_flight.push_back((now_ns, to_send));
            let (sent, back) = E::send_all(&mut writer, out).await;
            sent?;
            out = back;
            out.clear();
        }
        if next_back == next_out {
            return Ok(());
        }
        let (result, back) = E::recv(&mut reader, received).await;
        received = back;
        if result? == 0 {
            return Err(io::Error::new(
                io::ErrorKind::UnexpectedEof,
                "the echo server closed with frames in flight",
            ));
        }
        let frames = received.chunks_exact(frame_bytes);
        to_send = frames.len();
        for frame in frames {
            if frame[..SEQUENCE_BYTES] != next_back.to_le_bytes() {
                let what = format!("frame {next_back} came back wrong: the server lost or mixed frames");
                return Err(io::Error::new(io::ErrorKind::InvalidData, what));
            }
            next_back += 1;
        }
        count(&mut tally.borrow_mut(), &mut in_flight, to_send);
        received.drain(..to_send * frame_bytes);
    }
}

/// Books `frames` replies against the oldest batches in flight.
fn count(tally: &mut Tally, in_flight: &mut VecDeque<(u64, usize)>, mut frames: usize) {
    let now_ns = Clock::monotonic_ns();
    tally.messages += frames as u64;
    while frames > 0 {
        let Some((sent_ns, left)) = in_flight.front_mut() else { return };
        let done = frames.min(*left);
        tally.latency_ns.saturating_record_n(now_ns - *sent_ns, done as u64);
        (*left, frames) = (*left - done, frames - done);
        if *left == 0 {
            in_flight.pop_front();
        }
    }
}
