//! A server that does what it is told, however wrong: real protocol over TCP, programmed behaviour, and a
//! record of what it did and when.
//!
//! It is a single server with one queue: requests of all connections are served one after the other, in the
//! order they came, each for the same time.

use crate::LoadError;
use crate::crowd::Nanos;
use frontrow_engine::Clock;
use frontrow_protocol::{
    ClientMessage, ConnectionLimits, DEFAULT_MAX_FRAME, Durability, Reply, ServerMessage, Welcome,
    decode_client, encode_server, split,
};
use frontrow_shard::{Answer, Code, Command, Parts, RequestId, RowRef, Seats};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, mpsc, watch};
use tokio::task::{LocalSet, spawn_local};

/// How the double behaves.
#[derive(Clone, Copy, Debug, Default)]
pub struct Behaviour {
    /// How long it serves each request.
    pub service: Duration,
    /// How long it does nothing, once, and how many requests it has served by then.
    pub stall: Option<(u64, Duration)>,
    /// What it does wrong.
    pub fault: Option<Fault>,
}

/// What a double does wrong. Requests are counted from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Closes the connection of this request instead of answering it.
    Closes(u64),
    /// Never answers this request, nor any after it.
    FallsSilent(u64),
    /// Answers this request twice.
    AnswersTwice(u64),
    /// Grants seats that somebody holds.
    SellsTwice,
    /// Sends bytes that are no message instead of answering this request.
    Babbles(u64),
}

/// One request, as the double knows it. Times are nanoseconds on the process's monotonic clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Served {
    /// Its id.
    pub id: RequestId,
    /// The place it named.
    pub place: RowRef,
    /// When it had arrived.
    pub arrived_ns: Nanos,
    /// When its answer had been given to the socket.
    pub answered_ns: Nanos,
}

/// A running double. Ends when dropped.
pub struct Double {
    addr: SocketAddr,
    record: Arc<Mutex<Vec<Served>>>,
    stop: watch::Sender<bool>,
    thread: Option<JoinHandle<()>>,
}

impl Double {
    /// Starts one on a free port of the loopback.
    pub fn start(behaviour: Behaviour) -> Result<Self, LoadError> {
        let failed = "starting the server double";
        let listener = std::net::TcpListener::bind("127.0.0.1:0").map_err(LoadError::connection(failed))?;
        listener.set_nonblocking(true).map_err(LoadError::connection(failed))?;
        let addr = listener.local_addr().map_err(LoadError::connection(failed))?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(LoadError::connection(failed))?;
        let record = Arc::new(Mutex::default());
        let (stop, stopped) = watch::channel(false);
        let (kept, named) = (Arc::clone(&record), std::thread::Builder::new().name("double".to_owned()));
        let run = move || LocalSet::new().block_on(&runtime, serve(listener, behaviour, kept, stopped));
        let thread = Some(named.spawn(run).map_err(LoadError::connection(failed))?);
        Ok(Self { addr, record, stop, thread })
    }

    /// Where it listens.
    pub const fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// What it has answered so far, in order.
    pub fn served(&self) -> Vec<Served> {
        self.record.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for Double {
    fn drop(&mut self) {
        self.stop.send_replace(true);
        if let Some(thread) = self.thread.take() {
            // It has no result; if it panicked, its message has been printed.
            let _ = thread.join();
        }
    }
}

/// A request that waits to be served.
struct Job {
    id: RequestId,
    command: Option<Command>,
    place: RowRef,
    arrived_ns: Nanos,
    peer: Peer,
}

/// The way back to a connection.
#[derive(Clone)]
struct Peer {
    answers: mpsc::UnboundedSender<(Vec<u8>, Option<Served>)>,
    close: Rc<Notify>,
}

async fn serve(
    listener: std::net::TcpListener,
    behaviour: Behaviour,
    record: Arc<Mutex<Vec<Served>>>,
    mut stopped: watch::Receiver<bool>,
) {
    let Ok(listener) = TcpListener::from_std(listener) else { return };
    let (jobs, queue) = mpsc::unbounded_channel();
    spawn_local(work(queue, behaviour));
    loop {
        tokio::select! {
            _ = stopped.changed() => return,
            accepted = listener.accept() => {
                let Ok((socket, _)) = accepted else { continue };
                meet(socket, jobs.clone(), Arc::clone(&record));
            }
        }
    }
}

fn meet(socket: TcpStream, jobs: mpsc::UnboundedSender<Job>, record: Arc<Mutex<Vec<Served>>>) {
    // Without it answers are only later.
    let _ = socket.set_nodelay(true);
    let (reader, writer) = socket.into_split();
    let (answers, outgoing) = mpsc::unbounded_channel();
    let peer = Peer { answers, close: Rc::new(Notify::new()) };
    spawn_local(write(writer, outgoing, record));
    spawn_local(async move {
        let close = Rc::clone(&peer.close);
        tokio::select! {
            () = close.notified() => {}
            () = read(reader, peer, jobs) => {}
        }
    });
}

async fn read(mut reader: OwnedReadHalf, peer: Peer, jobs: mpsc::UnboundedSender<Job>) {
    let mut received = Vec::new();
    loop {
        if reader.read_buf(&mut received).await.unwrap_or(0) == 0 {
            return;
        }
        let arrived_ns = Clock::monotonic_ns();
        let mut rest = received.as_slice();
        while let Ok(Some((frame, behind))) = split(rest, DEFAULT_MAX_FRAME) {
            rest = behind;
            let Ok(message) = decode_client(frame) else { return };
            let (id, place, command) = match message {
                ClientMessage::Hello(_) => {
                    let mut out = Vec::new();
                    encode_server(&ServerMessage::Welcome(welcome()), &mut out);
                    let _ = peer.answers.send((out, None));
                    continue;
                }
                ClientMessage::Request { id, command } => (id, command.place(), Some(command)),
                ClientMessage::Status { id, place } => (id, place, None),
                _ => continue,
            };
            if jobs.send(Job { id, command, place, arrived_ns, peer: peer.clone() }).is_err() {
                return;
            }
        }
        let used = received.len() - rest.len();
        received.drain(..used);
    }
}

async fn write(
    mut writer: OwnedWriteHalf,
    mut outgoing: mpsc::UnboundedReceiver<(Vec<u8>, Option<Served>)>,
    record: Arc<Mutex<Vec<Served>>>,
) {
    while let Some((bytes, served)) = outgoing.recv().await {
        if writer.write_all(&bytes).await.is_err() {
            return;
        }
        if let Some(served) = served {
            let served = Served { answered_ns: Clock::monotonic_ns(), ..served };
            record.lock().unwrap_or_else(PoisonError::into_inner).push(served);
        }
    }
}

/// Serves one request after the other. Each is done at a time computed from the one before, so that a late
/// wake-up delays one answer and not all that follow.
async fn work(mut queue: mpsc::UnboundedReceiver<Job>, behaviour: Behaviour) {
    let (mut hall, mut count) = (BTreeMap::new(), 0_u64);
    let mut free_ns = 0;
    while let Some(job) = queue.recv().await {
        count += 1;
        if let Some((_, lasts)) = behaviour.stall.filter(|&(after, _)| count == after + 1) {
            free_ns = free_ns.max(Clock::monotonic_ns()) + lasts.as_nanos() as u64;
        }
        let done_ns = free_ns.max(job.arrived_ns) + behaviour.service.as_nanos() as u64;
        free_ns = done_ns;
        let left = done_ns.saturating_sub(Clock::monotonic_ns());
        if left > 0 {
            tokio::time::sleep(Duration::from_nanos(left)).await;
        }
        if behaviour.fault.is_some_and(|fault| matches!(fault, Fault::FallsSilent(at) if count >= at)) {
            continue;
        }
        answer(&job, count, behaviour.fault, &mut hall);
    }
}

fn answer(job: &Job, count: u64, fault: Option<Fault>, hall: &mut BTreeMap<(u64, u8), u64>) {
    let sells_twice = fault == Some(Fault::SellsTwice);
    let answer = decide(job.command.as_ref(), count, sells_twice, hall);
    let reply = Reply {
        id: job.id,
        time_ms: Clock::wall_ms(),
        place: job.place,
        answer,
        parts: Parts::default(),
        durable: answer.lsn,
    };
    let mut out = Vec::new();
    encode_server(&ServerMessage::Answer(reply), &mut out);
    match fault {
        Some(Fault::Closes(at)) if at == count => return job.peer.close.notify_one(),
        Some(Fault::AnswersTwice(at)) if at == count => out.extend_from_within(..),
        Some(Fault::Babbles(at)) if at == count => out = vec![0xff; 64],
        _ => {}
    }
    let served = Served { id: job.id, place: job.place, arrived_ns: job.arrived_ns, answered_ns: 0 };
    let _ = job.peer.answers.send((out, Some(served)));
}

/// Keeps a hall without users and deadlines: a seat is free or taken. Only named seats are to be had.
fn decide(
    command: Option<&Command>,
    count: u64,
    sells_twice: bool,
    hall: &mut BTreeMap<(u64, u8), u64>,
) -> Answer {
    let plain = |code| Answer { lsn: count, epoch: 1, ..Answer::plain(code) };
    match command {
        Some(Command::ClaimSeats(claim)) => {
            let key = |place: u32| (place_key(claim.row), (place / 64) as u8, 1_u64 << (place % 64));
            let places: Vec<u32> = places(claim.seats).collect();
            let taken = places.iter().any(|&place| {
                let (row, word, bit) = key(place);
                hall.get(&(row, word)).is_some_and(|taken| taken & bit != 0)
            });
            if taken && !sells_twice {
                return Answer { seats: claim.seats, ..plain(Code::SeatHeld) };
            }
            for place in places {
                let (row, word, bit) = key(place);
                *hall.entry((row, word)).or_default() |= bit;
            }
            let expires_ms = Clock::wall_ms() + 600_000;
            let (nonce, slot) = (count << 8 | 1, count as u32);
            Answer { seats: claim.seats, expires_ms, nonce, slot, ..plain(Code::Granted) }
        }
        Some(Command::Book(_)) => plain(Code::Booked),
        Some(Command::Release(_)) => plain(Code::Released),
        Some(Command::Cancel(_)) => plain(Code::Cancelled),
        Some(Command::Leave(_)) => plain(Code::Left),
        None => plain(Code::NotQueued),
        Some(_) => plain(Code::NotEnoughTogether),
    }
}

fn place_key(place: RowRef) -> u64 {
    u64::from(place.event) << 32 | u64::from(place.section) << 16 | u64::from(place.row)
}

fn places(seats: Seats) -> impl Iterator<Item = u32> {
    let first = u32::from(seats.first);
    (0..u64::BITS).filter(move |bit| seats.mask >> bit & 1 == 1).map(move |bit| first + bit)
}

fn welcome() -> Welcome {
    Welcome {
        user: 1,
        server_time_ms: Clock::wall_ms(),
        epoch: 1,
        features: 0,
        partitions: 1,
        cores: 1,
        core: 0,
        durability: Durability::Memory,
        limits: ConnectionLimits { max_in_flight: 65_535, ..ConnectionLimits::default() },
    }
}
