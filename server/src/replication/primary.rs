//! The primary's sockets and threads: one that listens, and for every connection one that sends and one that hears.
//! None of them is a shard core.

use super::files::{self, Deed};
use super::hub::{HangUp, Hub};
use super::link::{LIVE_BYTES_MAX, Link, Live, Taken};
use crate::catalogue::sound::{Shelf, Verdict};
use frontrow_engine::Clock;
use frontrow_wal::stream::{
    CONTROL, FILE_PIECE_BYTES, FileMeta, Heard, Piece, RefusalCode, SeekError, SegmentStart, Sender, Source,
    StreamError, whole_records,
};
use frontrow_wal::{NodeId, Position, SeedFile, WalError};
use std::collections::{HashMap, HashSet, VecDeque};
use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

/// From a connection's first byte to the end of its handshake.
const HANDSHAKE: Duration = Duration::from_secs(5);
/// Without a word from the other end, which speaks twice a second unless its disk is stuck.
pub(super) const SILENCE: Duration = Duration::from_secs(10);
/// How often a sender looks up if nobody wakes it.
const TICK: Duration = Duration::from_millis(20);
/// How often it says that it lives.
const HEARTBEAT_NS: u64 = 500_000_000;
/// How often it is noted durably what both nodes have.
pub(super) const NOTE_NS: u64 = 1_000_000_000;
/// Bytes of a batch in one frame; a longer record has a frame of its own.
const PIECE_BYTES: usize = 4 << 20;
/// Bytes that are gathered before they are sent.
const SEND_BYTES: usize = 1 << 20;
/// Connections that have not said yet who they are.
const STRANGERS_MAX: usize = 32;

/// The port cannot be had.
#[derive(Debug, thiserror::Error)]
#[error(
    "cannot listen for a standby on {address}: {source}; choose another replication.listen, or stop what listens there"
)]
pub struct ListenError {
    address: SocketAddr,
    source: io::Error,
}

/// Why a connection ended.
#[derive(Debug, thiserror::Error)]
pub(super) enum Ended {
    #[error(transparent)]
    Stream(#[from] StreamError),
    #[error("the connection: {0}")]
    Socket(#[from] io::Error),
    #[error(transparent)]
    Log(#[from] WalError),
    #[error(transparent)]
    Seek(#[from] SeekError),
    #[error("refused: {0}")]
    Refused(String),
}

/// The listening thread.
pub struct Listening {
    /// Where standbys connect.
    pub address: SocketAddr,
    hub: Arc<Hub>,
    stop: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

impl Listening {
    /// Ends all connections; there are no new ones.
    pub fn stop(self) {
        self.stop.store(true, Ordering::Release);
        self.hub.note_agreed();
        self.hub.close();
        // The thread waits in `accept`: a connection wakes it.
        let _ = TcpStream::connect_timeout(&self.address, Duration::from_secs(1));
        let _ = self.thread.join();
    }
}

/// Where standbys will connect.
pub type Port = (TcpListener, SocketAddr);

/// Takes the port for standbys; nobody is answered there yet.
pub fn bind(address: SocketAddr) -> Result<Port, ListenError> {
    let bound = TcpListener::bind(address).and_then(|listener| {
        let address = listener.local_addr()?;
        Ok((listener, address))
    });
    bound.map_err(|source| ListenError { address, source })
}

/// Listens for standbys.
pub fn listen(hub: Arc<Hub>, (listener, address): Port) -> Result<Listening, ListenError> {
    let failed = |source| ListenError { address, source };
    let stop = Arc::new(AtomicBool::new(false));
    let stopped = Arc::clone(&stop);
    let told = Arc::clone(&hub);
    let thread = std::thread::Builder::new()
        .name("repl-listen".into())
        .spawn(move || accept_all(&listener, &told, &stopped))
        .map_err(failed)?;
    Ok(Listening { address, hub, stop, thread })
}

fn accept_all(listener: &TcpListener, hub: &Arc<Hub>, stop: &AtomicBool) {
    let strangers = Arc::new(AtomicUsize::new(0));
    while !stop.load(Ordering::Acquire) {
        let Ok((socket, peer)) = listener.accept() else {
            // Out of descriptors, most likely: a pause lets some be closed.
            std::thread::park_timeout(Duration::from_millis(50));
            continue;
        };
        if stop.load(Ordering::Acquire) || strangers.load(Ordering::Relaxed) >= STRANGERS_MAX {
            continue;
        }
        strangers.fetch_add(1, Ordering::Relaxed);
        let (hub, known) = (Arc::clone(hub), Arc::clone(&strangers));
        let serve = move || {
            let mut connection = Connection::new(&hub, socket);
            let greeted = connection.greet();
            known.fetch_sub(1, Ordering::Relaxed);
            let ended = greeted.and_then(|(stream, number)| {
                let ended = connection.serve(stream, number);
                hub.note_agreed();
                hub.leave(stream, number);
                ended
            });
            connection.close();
            match ended {
                Err(Ended::Stream(StreamError::Superseded { newer, .. })) => hub.superseded(newer),
                Err(Ended::Stream(ref error @ StreamError::Lacking { epoch, stream, position })) => {
                    hub.lacks((epoch, stream, position), &error.to_string());
                }
                Err(error) => tracing::warn!(%peer, %error, "a standby's connection has ended"),
                Ok(()) => tracing::info!(%peer, "a standby's connection has ended"),
            }
        };
        if std::thread::Builder::new().name("repl-send".into()).spawn(serve).is_err() {
            strangers.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

/// A connection without its socket: what is said on it, and what becomes of what is heard.
pub(super) struct Desk {
    pub(super) hub: Arc<Hub>,
    pub(super) sender: Arc<Mutex<Sender>>,
    beat_ns: Option<u64>,
    noted_ns: u64,
}

impl Desk {
    pub(super) fn new(hub: Arc<Hub>) -> Self {
        let sender = Arc::new(Mutex::new(Sender::new(hub.dir.cluster(), hub.dir.epoch())));
        Self { hub, sender, beat_ns: None, noted_ns: 0 }
    }

    pub(super) fn sender(&self) -> MutexGuard<'_, Sender> {
        lock(&self.sender)
    }

    /// Somebody has said what it wants. The stream, and a number that tells its connections apart.
    pub(super) fn greet(&self, heard: &Heard, hang_up: HangUp) -> Result<(u16, u64), Ended> {
        if let &Heard::Claim { epoch, node } = heard {
            return Err(self.judge(epoch, node));
        }
        let &Heard::Follow { stream, node } = heard else {
            return Err(StreamError::Unexpected("a standby's first word is what it wants").into());
        };
        if stream != CONTROL && stream >= self.hub.streams() {
            return Err(self.refuse(RefusalCode::NoSuchStream, u64::from(self.hub.streams())));
        }
        let Some(number) = self.hub.enter(stream, node, hang_up) else {
            return Err(self.refuse(RefusalCode::Taken, 0));
        };
        self.sender().hello(self.hub.hello(stream));
        Ok((stream, number))
    }

    /// Somebody claims to have opened an epoch, which is none later than this node's: nobody follows for it. Of two that have
    /// opened the same one, which an operator can bring about, one must end: the one whose name is less.
    fn judge(&self, claimed: u32, node: NodeId) -> Ended {
        let (ours, own) = (self.hub.dir.epoch(), self.hub.history().node);
        if claimed < ours {
            return self.refuse(RefusalCode::EpochOver, ours.into());
        }
        if node == own {
            return self.refuse(RefusalCode::NoSuchStream, u64::from(self.hub.streams()));
        }
        tracing::error!(epoch = ours, %claimed, "another node has opened the same epoch: one of the two must end");
        if own > node {
            return self.refuse(RefusalCode::Taken, ours.into());
        }
        self.sender().refuse(RefusalCode::EpochOver, ours.into());
        StreamError::Superseded { newer: claimed, ours }.into()
    }

    fn refuse(&self, code: RefusalCode, detail: u64) -> Ended {
        self.sender().refuse(code, detail);
        Ended::Refused(format!("{code:?}"))
    }

    /// A standby has said from where it wants a stream.
    pub(super) fn shipment(&self, heard: &Heard, stream: u16, number: u64) -> Result<Shipment, Ended> {
        let &Heard::Welcome { epoch, position } = heard else {
            return Err(StreamError::Unexpected("it does not say from where").into());
        };
        let (dir, history) = (self.hub.dir.clone(), self.hub.history());
        let source = match Source::seek(dir, stream, history, (epoch, position)) {
            Ok(source) => source,
            Err(SeekError::Gone { first }) => {
                return Err(self.refuse(RefusalCode::SnapshotNeeded, first.into()));
            }
            Err(SeekError::NoRecord(position)) => return Err(self.refuse(RefusalCode::BadPosition, position)),
            Err(SeekError::Log(error)) => return Err(error.into()),
        };
        self.hub.acked(stream, number, (epoch, position));
        let cores = self.hub.cores();
        // A stream of former cores has no core: there is nothing live in it.
        let link =
            if usize::from(stream) < cores { Arc::clone(self.hub.link(stream)) } else { Arc::default() };
        Ok(Shipment {
            link,
            source,
            number,
            live: VecDeque::new(),
            said: None,
            tapped: false,
            in_memory: false,
            committed: 0,
            idle: false,
        })
    }

    /// Frames a part of a stream: from disk until there is nothing more, then what the core commits, as it does.
    /// Waits for something to do, at most for `wait`, if there was nothing the last time.
    pub(super) fn ship(&mut self, ship: &mut Shipment, wait: Duration) -> Result<(), Ended> {
        // In this order: a check that comes before a record is seen before the record is, and a file as well.
        let have = (self.hub.dir.epoch(), ship.link.durable());
        // What has not been sent yet waits where it is bounded.
        let Taken { live, checks, lost } = if ship.live.is_empty() || !ship.in_memory {
            ship.link.take(ship.number, if ship.idle { wait } else { Duration::ZERO })
        } else {
            Taken::default()
        };
        let files = self.hub.files_are_there();
        // Before there is anything of it: the other end notes what it lacks.
        self.beat(have.1);
        ship.live.extend(live);
        for check in checks {
            self.sender().check(check.partition, check.lsn, check.hash);
        }
        if lost {
            ship.back_to_disk()?;
        }
        ship.idle = !files || !ship.step(&mut lock(&self.sender), have)?;
        let safe = if self.hub.waits() { have.1.min(ship.link.backup()) } else { have.1 };
        if safe > ship.committed {
            ship.committed = safe;
            self.sender().committed(safe);
        }
        Ok(())
    }

    /// Frames the files of a seed; `flush` is called after every piece.
    pub(super) fn send_seed(
        &mut self,
        seed: &[SeedFile],
        mut flush: impl FnMut(&mut Self) -> Result<(), Ended>,
    ) -> Result<(), Ended> {
        // Behind all that is in them.
        let floor = self.hub.seeded();
        let bytes: u64 = seed.iter().map(|file| file.meta().len).sum();
        tracing::info!(files = seed.len(), bytes, "a standby is seeded from the snapshots");
        for file in seed {
            for (piece, at) in file.bytes().chunks(FILE_PIECE_BYTES).zip(0..) {
                self.sender().piece(file.meta(), at * FILE_PIECE_BYTES as u64, piece);
                flush(self)?;
            }
        }
        self.sender().seed_done(seed.len() as u32, floor);
        Ok(())
    }

    /// Notes durably what both nodes have, now and then.
    pub(super) fn note(&mut self) {
        let now = Clock::monotonic_ns();
        if now - self.noted_ns > NOTE_NS {
            self.noted_ns = now;
            self.hub.note_agreed();
        }
    }

    /// At once, for the other end is to know what it lacks, and then now and again: a word that we live.
    pub(super) fn beat(&mut self, durable: Position) {
        let now = Clock::monotonic_ns();
        if self.beat_ns.is_none_or(|then| now - then > HEARTBEAT_NS) {
            self.beat_ns = Some(now);
            let time = self.hub.now_ms();
            self.sender().heartbeat(time, durable);
        }
    }
}

/// What becomes of a word on a stream's connection.
pub(super) fn hear_ack(hub: &Hub, link: &Link, (stream, number): (u16, u64), heard: &Heard) {
    if let &Heard::Ack { epoch, position } = heard {
        hub.acked(stream, number, (epoch, position));
        link.notify();
    }
}

struct Connection {
    desk: Desk,
    socket: TcpStream,
    over: Arc<AtomicBool>,
}

impl Connection {
    fn new(hub: &Arc<Hub>, socket: TcpStream) -> Self {
        Self { desk: Desk::new(Arc::clone(hub)), socket, over: Arc::default() }
    }

    fn sender(&self) -> MutexGuard<'_, Sender> {
        self.desk.sender()
    }

    /// Hears who it is and what it wants.
    fn greet(&mut self) -> Result<(u16, u64), Ended> {
        self.socket.set_nodelay(true)?;
        self.socket.set_read_timeout(Some(HANDSHAKE))?;
        self.socket.set_write_timeout(Some(SILENCE))?;
        let heard = self.hear_one()?;
        let socket = self.socket.try_clone()?;
        let hang_up = Box::new(move || {
            // It is over either way.
            let _ = socket.shutdown(Shutdown::Both);
        });
        let (stream, number) = self.desk.greet(&heard, hang_up)?;
        if let Err(error) = self.flush() {
            self.desk.hub.leave(stream, number);
            return Err(error);
        }
        Ok((stream, number))
    }

    fn serve(&mut self, stream: u16, number: u64) -> Result<(), Ended> {
        if stream == CONTROL {
            return self.serve_files(number);
        }
        let heard = self.hear_one()?;
        let mut ship = self.desk.shipment(&heard, stream, number)?;
        let (hub, link) = (Arc::clone(&self.desk.hub), Arc::clone(&ship.link));
        let ears = self.listen(move |heard| hear_ack(&hub, &link, (stream, number), &heard))?;
        let result = self.ship(&mut ship);
        drop(ship);
        self.end(ears, result)
    }

    fn ship(&mut self, ship: &mut Shipment) -> Result<(), Ended> {
        while !self.over.load(Ordering::Acquire) {
            self.desk.ship(ship, TICK)?;
            self.flush()?;
        }
        Ok(())
    }

    /// Sends what waits, and now and then a word that we live.
    fn beat(&mut self) -> Result<(), Ended> {
        self.desk.beat(0);
        self.flush()
    }

    fn serve_files(&mut self, number: u64) -> Result<(), Ended> {
        let Heard::Files(there) = self.hear_one()? else {
            return Err(StreamError::Unexpected("it does not say which files it has").into());
        };
        let mut there: HashMap<String, FileMeta> =
            there.into_iter().map(|meta| (meta.name.clone(), meta)).collect();
        let hub = Arc::clone(&self.desk.hub);
        let wanted = Arc::new(AtomicBool::new(false));
        let asked = Arc::clone(&wanted);
        let ears = self.listen(move |heard| match heard {
            Heard::FilesDone { version } => hub.files_there(version),
            Heard::SeedWanted => asked.store(true, Ordering::Release),
            Heard::Heartbeat { word } => hub.says(number, word),
            _ => {}
        })?;
        let mut shelf = Shelf::new(self.desk.hub.dir.cluster());
        let mut confessed = HashSet::new();
        let mut sent = 0;
        let mut result = Ok(());
        while result.is_ok() && !self.over.load(Ordering::Acquire) {
            let version = self.desk.hub.files_version(sent, TICK * 10);
            if version != sent {
                result = self.send_files(&mut shelf, &mut there, &mut confessed);
                sent = version;
                self.sender().files_done(version);
            }
            if result.is_ok() && wanted.swap(false, Ordering::AcqRel) {
                result = self.send_seed();
            }
            result = result.and_then(|()| self.beat());
            self.desk.note();
        }
        self.end(ears, result)
    }

    /// Sends what stands in for the part of the log that is gone. The snapshots are open, so they may be replaced.
    fn send_seed(&mut self) -> Result<(), Ended> {
        let seed = self.make_seed()?;
        let socket = &mut self.socket;
        self.desk.send_seed(&seed, |desk| {
            desk.beat(0);
            flush(socket, desk)
        })?;
        self.flush()
    }

    /// Reads and checks all of the snapshots, which may take long: the standby hears that we live.
    fn make_seed(&mut self) -> Result<Vec<SeedFile>, Ended> {
        let dir = self.desk.hub.dir.clone();
        let making = std::thread::Builder::new().name("repl-seed".into()).spawn(move || dir.seed())?;
        while !making.is_finished() {
            self.beat()?;
            std::thread::park_timeout(TICK);
        }
        Ok(making.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?)
    }

    /// Sends what the standby lacks. `confessed`: files that are damaged here, of which it was told.
    fn send_files(
        &mut self,
        shelf: &mut Shelf,
        there: &mut HashMap<String, FileMeta>,
        confessed: &mut HashSet<String>,
    ) -> Result<(), Ended> {
        let hub = Arc::clone(&self.desk.hub);
        let folder = &hub.events;
        for found in shelf.list(folder)? {
            let is_bad = matches!(found.verdict, Verdict::Bad(_));
            if !is_bad {
                confessed.remove(&found.name);
            } else if !confessed.insert(found.name.clone()) {
                continue;
            }
            match files::deed(folder, &found, there.get(&found.name)) {
                Deed::Nothing => {}
                Deed::Confess(meta) => self.sender().file(&meta, &[]),
                Deed::Send(meta) => {
                    match files::read(folder, &meta) {
                        Ok(Some(bytes)) => {
                            self.sender().file(&meta, &bytes);
                            there.insert(meta.name.clone(), meta);
                        }
                        // One that has changed since is sent with the next version.
                        Ok(None) => {}
                        // No reason to end a session on which answers wait.
                        Err(error) => {
                            let file = &meta.name;
                            tracing::error!(%file, %error, "a file of the catalogue cannot be read here and is not sent; check the disk");
                            self.sender().file(&files::damaged(file), &[]);
                        }
                    }
                }
            }
            self.flush()?;
        }
        Ok(())
    }

    /// Hears one thing, during the handshake.
    fn hear_one(&mut self) -> Result<Heard, Ended> {
        let mut buffer = vec![0; 16 << 10];
        loop {
            if let Some(heard) = self.sender().hear()? {
                return Ok(heard);
            }
            match self.socket.read(&mut buffer)? {
                0 => return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into()),
                n => self.sender().push(&buffer[..n]),
            }
        }
    }

    /// Starts a thread that hears from now on.
    fn listen(&self, hear: impl Fn(Heard) + Send + 'static) -> Result<Ears, Ended> {
        let mut socket = self.socket.try_clone()?;
        socket.set_read_timeout(Some(SILENCE))?;
        let (sender, over) = (Arc::clone(&self.desk.sender), Arc::clone(&self.over));
        let run = move || {
            let result = hear_all(&mut socket, &sender, hear);
            over.store(true, Ordering::Release);
            result
        };
        Ok(std::thread::Builder::new().name("repl-hear".into()).spawn(run)?)
    }

    /// Ends both threads; the first reason is the one.
    fn end(&mut self, ears: Ears, result: Result<(), Ended>) -> Result<(), Ended> {
        let _ = self.flush();
        let _ = self.socket.shutdown(Shutdown::Both);
        let heard = ears.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        match (heard, result) {
            // A socket that was shut down here says nothing of interest.
            (Err(Ended::Socket(_)) | Ok(()), result) => result,
            (heard, _) => heard,
        }
    }

    fn flush(&mut self) -> Result<(), Ended> {
        flush(&mut self.socket, &self.desk)
    }

    /// Says last words, if there are any.
    fn close(&mut self) {
        // It is over either way.
        let _ = self.flush();
        let _ = self.socket.shutdown(Shutdown::Write);
    }
}

fn flush(socket: &mut TcpStream, desk: &Desk) -> Result<(), Ended> {
    let out = desk.sender().take_out();
    if !out.is_empty() {
        socket.write_all(&out)?;
    }
    Ok(())
}

type Ears = JoinHandle<Result<(), Ended>>;

fn hear_all(socket: &mut TcpStream, sender: &Mutex<Sender>, hear: impl Fn(Heard)) -> Result<(), Ended> {
    let mut buffer = vec![0; 16 << 10];
    loop {
        loop {
            let heard = lock(sender).hear()?;
            let Some(heard) = heard else { break };
            hear(heard);
        }
        match socket.read(&mut buffer)? {
            0 => return Ok(()),
            n => lock(sender).push(&buffer[..n]),
        }
    }
}

fn lock(sender: &Mutex<Sender>) -> MutexGuard<'_, Sender> {
    sender.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A stream being sent.
pub(super) struct Shipment {
    pub(super) link: Arc<Link>,
    /// Its connection.
    number: u64,
    source: Source,
    /// Batches that were copied and not sent.
    live: VecDeque<Live>,
    /// The segment that was spoken of last.
    said: Option<SegmentStart>,
    tapped: bool,
    /// Whether what is sent comes from the core and not from disk.
    in_memory: bool,
    /// What the standby was told that it may apply.
    committed: Position,
    /// Whether there was nothing to send.
    pub(super) idle: bool,
}

impl Drop for Shipment {
    fn drop(&mut self) {
        if self.tapped {
            self.link.untap(self.number);
        }
    }
}

impl Shipment {
    /// Frames some of what there is to send. Whether there was any.
    fn step(&mut self, sender: &mut Sender, have: (u32, Position)) -> Result<bool, Ended> {
        if self.in_memory {
            let mut some = false;
            while sender.out_bytes() < SEND_BYTES
                && let Some(live) = self.live.pop_front()
            {
                self.send(sender, &live);
                self.link.give_back(live.bytes);
                some = true;
            }
            return Ok(some);
        }
        while sender.out_bytes() < SEND_BYTES {
            let next = self.source.next(have);
            if let Err(SeekError::Gone { first }) = next {
                sender.refuse(RefusalCode::SnapshotNeeded, first.into());
            }
            match next? {
                Piece::Segment(start) => {
                    sender.segment(start);
                    self.said = Some(start);
                }
                Piece::Data { segment, offset, bytes } => sender.data(segment, offset, bytes),
                Piece::End => return Ok(self.change_over(have)),
            }
        }
        Ok(true)
    }

    /// Everything durable has been sent: from here on the core's own copies will do, once they join on.
    fn change_over(&mut self, have: (u32, Position)) -> bool {
        if !self.tapped {
            self.link.tap(self.number);
            self.tapped = true;
            return true;
        }
        // What has been read from disk meanwhile.
        while self.live.front().is_some_and(|live| end_of(live) <= have.1) {
            if let Some(live) = self.live.pop_front() {
                self.link.give_back(live.bytes);
            }
        }
        let joins = |live: &Live| self.source.ends_before(live.segment, live.offset);
        self.in_memory = self.live.front().is_some_and(joins);
        self.in_memory
    }

    /// The core's copies have a gap: goes on from disk, at the last byte that was sent.
    fn back_to_disk(&mut self) -> Result<(), Ended> {
        self.link.untap(self.number);
        (self.tapped, self.live) = (false, VecDeque::new());
        if !self.in_memory {
            return Ok(());
        }
        self.in_memory = false;
        Err(Ended::Refused(format!(
            "it is too slow by more than {} MiB; it goes on from disk when it connects again",
            LIVE_BYTES_MAX >> 20
        )))
    }

    fn send(&mut self, sender: &mut Sender, live: &Live) {
        if self.said != Some(live.segment) {
            sender.segment(live.segment);
            self.said = Some(live.segment);
        }
        let mut from = 0;
        while from < live.bytes.len() {
            let rest = &live.bytes[from..];
            let len = whole_records(rest, PIECE_BYTES);
            sender.data(live.segment, live.offset + from as u32, &rest[..len]);
            from += len;
        }
    }
}

fn end_of(live: &Live) -> Position {
    let header = frontrow_wal::SEGMENT_HEADER_BYTES;
    live.segment.first_position + u64::from(live.offset) - header + live.bytes.len() as u64
}
