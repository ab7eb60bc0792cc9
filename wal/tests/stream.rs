//! A log on its way to a standby: over a pipe that is cut at any byte, that damages, repeats and loses pieces, the
//! standby's log ends up the same, and nothing wrong is ever taken in.

mod common;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::sync::Arc;

use common::{Wakes, append, read_segment};
use frontrow_wal::fs::Disk;
use frontrow_wal::stream::{
    CONTROL, Heard, Hello, Mirror, Piece, Received, Receiver, RefusalCode, SeekError, Sender, Source,
    StreamError,
};
use frontrow_wal::{DataDir, DirOptions, Durability, History, LogOptions, Position, Resume, Role};

/// Nothing is synced: what is tested here is what is written, not whether a disk keeps it.
struct Quick;

impl Disk for Quick {
    fn sync_data(&self, _: &File) -> std::io::Result<()> {
        Ok(())
    }
    fn sync_all(&self, _: &File) -> std::io::Result<()> {
        Ok(())
    }
    fn sync_dir(&self, _: &Path) -> std::io::Result<()> {
        Ok(())
    }
    fn preallocate(&self, mut file: &File, header: &[u8], bytes: u64) -> std::io::Result<()> {
        file.write_all(header)?;
        file.write_all(&vec![0; bytes as usize - header.len()])
    }
}

fn options(cluster: Option<u128>) -> DirOptions {
    DirOptions { cluster, disk: Arc::new(Quick), ..DirOptions::new(common::PARTITIONS) }
}

fn small() -> LogOptions {
    LogOptions { durability: Durability::Mapped, ..LogOptions::small() }
}

/// A small generator of one's own: the same faults every time.
struct Dice(u64);

impl Dice {
    fn below(&mut self, n: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % n
    }
}

/// A primary at rest: its directory, its history, and up to where its own epoch is durable, by stream.
struct Primary {
    dir: DataDir,
    history: History,
    durable: BTreeMap<u16, Position>,
}

/// Opens the next epoch and writes `records` into each of `streams`, from `lsn` on.
fn serve(path: &Path, streams: u16, lsn: &mut u64, records: u64, per_commit: u64) -> Primary {
    let dir = DataDir::open(path, options(None)).unwrap();
    let history = dir.begin_history(false).unwrap();
    let wakes = Wakes::default();
    let mut durable = BTreeMap::new();
    for stream in 0..streams {
        let mut log = dir.open_stream(stream, &small(), wakes.callback()).unwrap();
        for n in 1..=records {
            *lsn += 1;
            append(&mut log, &wakes, *lsn, (*lsn % 900) as usize);
            if n % per_commit == 0 {
                log.flush().unwrap();
            }
        }
        log.flush().unwrap();
        durable.insert(stream, log.position());
    }
    Primary { dir, history, durable }
}

impl Primary {
    fn hello(&self, stream: u16) -> Hello {
        Hello {
            stream,
            partitions: self.dir.partitions(),
            streams: 3,
            epoch: self.dir.epoch(),
            cluster: self.dir.cluster(),
            node: self.history.node,
            created_ms: 0,
            epochs: self.history.epochs.clone(),
        }
    }
}

/// What a standby has, between two connections.
struct Standby {
    dir: DataDir,
    resume: BTreeMap<u16, Resume>,
}

fn attend(path: &Path, primary: &Primary) -> Standby {
    let dir = DataDir::attend(path, options(Some(primary.dir.cluster())), primary.dir.epoch()).unwrap();
    dir.erase_torn().unwrap();
    let resume = dir.follow_history(&primary.hello(CONTROL), 77).unwrap();
    Standby { dir, resume }
}

/// What the pipe does to what goes to the standby, by piece.
type Fault<'a> = &'a mut dyn FnMut(Vec<u8>) -> Vec<u8>;

/// One connection for one stream. Ends when all is there, or with the error that the faults made.
fn connect(
    primary: &Primary,
    standby: &Standby,
    stream: u16,
    budget: &mut usize,
    fault: Fault<'_>,
) -> Result<(), StreamError> {
    let (cluster, epoch) = (primary.dir.cluster(), primary.dir.epoch());
    let mut sender = Sender::new(cluster, epoch);
    let mut receiver = Receiver::new(stream, cluster, 77, standby.dir.epoch());
    let mut mirror = Mirror::new(standby.dir.clone(), stream);
    let mut source: Option<Source> = None;
    loop {
        let back = receiver.take_out();
        sender.push(&back);
        while let Some(heard) = sender.hear()? {
            match heard {
                Heard::Follow { .. } => sender.hello(primary.hello(stream)),
                Heard::Welcome { epoch, position } => {
                    let (dir, history) = (primary.dir.clone(), primary.history.clone());
                    source = Some(Source::seek(dir, stream, history, (epoch, position)).unwrap());
                }
                Heard::Ack { .. } => {}
                other => panic!("{other:?}"),
            }
        }
        let mut done = false;
        if let Some(source) = &mut source {
            let durable = primary.durable.get(&stream).copied().unwrap_or(0);
            match source.next((primary.dir.epoch(), durable)).unwrap() {
                Piece::Segment(start) => sender.segment(start),
                Piece::Data { segment, offset, bytes } => sender.data(segment, offset, bytes),
                Piece::End => done = true,
            }
        }
        // Something was lost and nobody will say more.
        if source.is_none() && back.is_empty() && sender.out_bytes() == 0 {
            return Ok(());
        }
        let mut bytes = fault(sender.take_out());
        bytes.truncate(*budget);
        *budget -= bytes.len();
        receiver.push(&bytes);
        take_in(&mut receiver, &mut mirror, standby.resume[&stream])?;
        if done || *budget == 0 {
            return Ok(());
        }
    }
}

fn take_in(receiver: &mut Receiver, mirror: &mut Mirror, resume: Resume) -> Result<(), StreamError> {
    loop {
        let Some(received) = receiver.receive()? else { return Ok(()) };
        let mut ack = None;
        match received {
            Received::Hello(_) => receiver.welcome(resume.epoch, resume.position, resume.sealed),
            Received::Segment(start) => mirror.segment(start, true).unwrap(),
            Received::Data { segment, offset, bytes, batches, sealed } => {
                ack = Some((segment.epoch, mirror.write(offset, bytes, &batches, sealed).unwrap()));
            }
            other => panic!("{other:?}"),
        }
        if let Some((epoch, position)) = ack {
            receiver.ack(epoch, position);
        }
    }
}

/// The records of every stream and epoch, and the segments' bytes up to the last one.
fn contents(dir: &DataDir, below: u32) -> Vec<(String, Vec<u8>)> {
    let mut out = Vec::new();
    for info in dir.segments().unwrap().iter().filter(|info| info.epoch() <= below) {
        let (records, _) = read_segment(info).unwrap();
        let end = records.last().map_or(0, |last| last.position - info.first_position() + 4096);
        let bytes = std::fs::read(info.path()).unwrap();
        if end > 0 {
            let name = info.path().file_name().unwrap().to_string_lossy().into_owned();
            out.push((name, bytes[..end as usize].to_vec()));
        }
    }
    out
}

/// Three epochs with another number of streams each; segments are full and torn between.
fn three_epochs(path: &Path) -> Primary {
    let mut lsn = 0;
    drop(serve(path, 2, &mut lsn, 150, 7));
    drop(serve(path, 3, &mut lsn, 40, 40));
    serve(path, 2, &mut lsn, 60, 1)
}

fn same(primary: &Primary, standby: &Standby) {
    let (theirs, ours) = (contents(&primary.dir, u32::MAX), contents(&standby.dir, u32::MAX));
    let names = |all: &[(String, Vec<u8>)]| all.iter().map(|(name, _)| name.clone()).collect::<Vec<_>>();
    assert_eq!(names(&theirs), names(&ours));
    assert!(theirs == ours, "the same bytes");
}

#[test]
fn a_stream_cut_at_any_byte_goes_on_at_the_right_one() {
    let (a, b) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let primary = three_epochs(a.path());
    let mut dice = Dice(11);
    let (mut cuts, mut whole) = (0, 0);
    while whole < 3 {
        let standby = attend(b.path(), &primary);
        whole = 0;
        for stream in 0..3 {
            // Often within a frame's header, sometimes far: progress is certain, and where is not.
            let mut budget = match dice.below(4) {
                0 => dice.below(300) as usize,
                1 => 4096 + dice.below(8000) as usize,
                _ => 10_000 + dice.below(60_000) as usize,
            };
            connect(&primary, &standby, stream, &mut budget, &mut |bytes| bytes).unwrap();
            whole += u32::from(budget > 0);
            cuts += 1;
        }
    }
    let standby = attend(b.path(), &primary);
    same(&primary, &standby);
    println!("{cuts} connections");
    assert!(cuts > 10, "the faults had their chance: {cuts}");
}

/// A segment whose records leave room for its seal and no more: the seal ends where the next segment begins, and belongs
/// to the one before.
#[test]
fn a_stream_goes_on_behind_a_seal_that_ends_where_the_next_segment_begins() {
    const RECORDS: u64 = 5;
    let (a, b) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let dir = DataDir::open(a.path(), options(None)).unwrap();
    let history = dir.begin_history(false).unwrap();
    let wakes = Wakes::default();
    let mut log = dir.open_stream(0, &small(), wakes.callback()).unwrap();
    let (header, span) = (40, small().segment_bytes - frontrow_wal::SEGMENT_HEADER_BYTES);
    let payload = (span - header) / RECORDS - header;
    for lsn in 1..=RECORDS + 1 {
        append(&mut log, &wakes, lsn, payload as usize);
    }
    log.flush().unwrap();
    // The standby has come as far as that seal when the connection ends.
    let mut primary = Primary { dir, history, durable: BTreeMap::from([(0, span)]) };
    let standby = attend(b.path(), &primary);
    connect(&primary, &standby, 0, &mut usize::MAX.clone(), &mut |bytes| bytes).unwrap();
    primary.durable.insert(0, log.position());
    drop(standby);
    let standby = attend(b.path(), &primary);
    assert_eq!(standby.resume[&0], Resume { epoch: 1, position: span, sealed: true });
    connect(&primary, &standby, 0, &mut usize::MAX.clone(), &mut |bytes| bytes).unwrap();
    same(&primary, &standby);
}

/// Power is lost as the first batch of a segment is written: the epoch ends with the seal before, or has nothing.
#[test]
fn an_epoch_whose_last_segment_has_nothing_but_a_tear_is_followed_and_whole() {
    for (records, torn) in [(400, "s0000-e00000002-00000001.seg"), (5, "s0000-e00000002-00000000.seg")] {
        let (a, b) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let mut lsn = 0;
        drop(serve(a.path(), 1, &mut lsn, 5, 1));
        drop(serve(a.path(), 1, &mut lsn, records, 7));
        let path = a.path().join("log").join(torn);
        let mut bytes = std::fs::read(&path).unwrap();
        bytes[4096..].fill(0);
        bytes[5000] = 1;
        std::fs::write(&path, bytes).unwrap();
        let primary = serve(a.path(), 1, &mut lsn, 10, 1);
        let standby = attend(b.path(), &primary);
        connect(&primary, &standby, 0, &mut usize::MAX.clone(), &mut |bytes| bytes).unwrap();
        drop(standby);
        let standby = attend(b.path(), &primary);
        same(&primary, &standby);
        let end = Resume { epoch: 3, position: primary.durable[&0], sealed: false };
        assert_eq!(standby.resume[&0], end, "it goes on where it was");
        standby.dir.promote().unwrap();
    }
}

/// What a standby has applied may end where a segment begins, though the seal of the one before ended earlier. Cut there,
/// the log is whole, and is promoted and followed.
#[test]
fn a_log_that_is_cut_where_a_segment_begins_keeps_it_empty() {
    let (a, b, c) =
        (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let mut lsn = 0;
    let primary = serve(a.path(), 1, &mut lsn, 400, 7);
    let standby = attend(b.path(), &primary);
    connect(&primary, &standby, 0, &mut usize::MAX.clone(), &mut |bytes| bytes).unwrap();
    let span = small().segment_bytes - frontrow_wal::SEGMENT_HEADER_BYTES;
    let seal = |dir: &DataDir| dir.ends(|info| info.number() == 0).unwrap()[&(1, 0)];
    assert!(seal(&standby.dir).sealed && seal(&standby.dir).position < span, "{:?}", seal(&standby.dir));
    standby.dir.cut_streams(&[(0, (1, span))]).unwrap();
    standby.dir.is_whole().unwrap();
    let (dir, history) = standby.dir.promote().unwrap();
    assert_eq!(history.end(1, 0), Some(seal(&dir).position));
    // Twice has the same result as once.
    dir.cut_streams(&[(0, (1, span))]).unwrap();
    dir.is_whole().unwrap();
    let promoted = Primary { dir, history, durable: BTreeMap::from([(0, 0)]) };
    let third = attend(c.path(), &promoted);
    connect(&promoted, &third, 0, &mut usize::MAX.clone(), &mut |bytes| bytes).unwrap();
    third.dir.is_whole().unwrap();
}

/// Power is lost in the middle of a cut: some of what was cut is zeros, some is not.
#[test]
fn a_cut_that_was_under_way_is_gone_on_with() {
    let (a, b) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let mut lsn = 0;
    let primary = serve(a.path(), 1, &mut lsn, 60, 1);
    let standby = attend(b.path(), &primary);
    connect(&primary, &standby, 0, &mut usize::MAX.clone(), &mut |bytes| bytes).unwrap();
    let path = b.path().join("log/s0000-e00000001-00000000.seg");
    let before = std::fs::read(&path).unwrap();
    let note = b.path().join("CUTTING");
    // Where a record begins, with others behind it.
    let ends = |dir: &DataDir| dir.ends(|_| true).unwrap()[&(1, 0)].position;
    let half = {
        let (mut at, bytes) = (0, &before[4096..]);
        while at < 1500 {
            at += frontrow_wal::stream::whole_records(&bytes[at..], 1);
        }
        at as u64
    };
    standby.dir.cut_streams(&[(0, (1, half))]).unwrap();
    assert_eq!((note.exists(), ends(&standby.dir)), (false, half));
    drop(standby);
    // As if only its second sector had been written over.
    let mut torn = before.clone();
    torn[4096 + half as usize + 512..][..512].fill(0);
    std::fs::write(&path, torn).unwrap();
    let dir = DataDir::attend(b.path(), options(Some(primary.dir.cluster())), 1).unwrap();
    assert!(dir.ends(|_| true).is_err(), "it looks like damage");
    let body = format!(
        "frontrow-cutting 1\ncluster {:032x}\nepoch 1 stream 0 position {half}\n",
        primary.dir.cluster()
    );
    for (text, is_good) in [(format!("{body}crc32c 00000000\n"), false), (sealed(&body), true)] {
        std::fs::write(&note, text).unwrap();
        assert_eq!(dir.erase_torn().is_ok(), is_good);
    }
    assert!(!note.exists() && ends(&dir) == half);
    dir.is_whole().unwrap();
    dir.promote().unwrap();
}

fn sealed(body: &str) -> String {
    format!("{body}crc32c {:08x}\n", crc32c::crc32c(body.as_bytes()))
}

/// Counts syncs of data.
#[derive(Default)]
struct Counting(std::sync::atomic::AtomicU64);

impl Disk for Counting {
    fn sync_data(&self, _: &File) -> std::io::Result<()> {
        self.0.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        Ok(())
    }
    fn sync_all(&self, _: &File) -> std::io::Result<()> {
        Ok(())
    }
    fn sync_dir(&self, _: &Path) -> std::io::Result<()> {
        Ok(())
    }
    fn preallocate(&self, file: &File, header: &[u8], bytes: u64) -> std::io::Result<()> {
        Quick.preallocate(file, header, bytes)
    }
}

#[test]
fn many_commits_at_once_take_few_syncs_and_a_crash_between_them_is_made_good() {
    let (a, b) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let mut lsn = 0;
    let primary = serve(a.path(), 1, &mut lsn, 60, 1);
    let disk = Arc::new(Counting::default());
    let counted = DirOptions { disk: disk.clone(), ..options(Some(primary.dir.cluster())) };
    let dir = DataDir::attend(b.path(), counted.clone(), primary.dir.epoch()).unwrap();
    dir.follow_history(&primary.hello(CONTROL), 77).unwrap();
    let mut source = Source::from_start(primary.dir.clone(), 0, primary.history.clone());
    let mut mirror = Mirror::new(dir.clone(), 0);
    // Its pieces, each with where its commits begin.
    let mut last = None;
    loop {
        match source.next((1, primary.durable[&0])).unwrap() {
            Piece::Segment(start) => {
                assert!(last.is_none(), "small enough for one segment: {start:?}");
                mirror.segment(start, false).unwrap();
            }
            Piece::Data { offset, bytes, .. } => {
                let (mut batches, mut at) = (Vec::new(), 0);
                while at < bytes.len() {
                    batches.extend((at > 0).then_some(at));
                    at += frontrow_wal::stream::whole_records(&bytes[at..], 1);
                }
                assert!(batches.len() > 20, "a commit for each record: {}", batches.len());
                mirror.write(offset, bytes, &batches, false).unwrap();
                last = Some((offset as usize, bytes.len()));
            }
            Piece::End => break,
        }
    }
    let syncs = disk.0.load(std::sync::atomic::Ordering::Relaxed);
    assert!(syncs < 10, "{syncs} syncs");
    // A power cut: of the last piece only the second half has reached its place.
    let c = tempfile::tempdir().unwrap();
    std::fs::create_dir(c.path().join("log")).unwrap();
    for file in ["MANIFEST", "HISTORY"] {
        std::fs::copy(b.path().join(file), c.path().join(file)).unwrap();
    }
    for file in std::fs::read_dir(b.path().join("log")).unwrap() {
        let file = file.unwrap();
        std::fs::copy(file.path(), c.path().join("log").join(file.file_name())).unwrap();
    }
    let ((offset, len), whole) = (last.unwrap(), contents(&primary.dir, u32::MAX));
    let path = c.path().join("log").join(&whole[0].0);
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[offset..offset + len / 2].fill(0);
    std::fs::write(&path, bytes).unwrap();
    let cut = DataDir::attend(c.path(), counted, 0).unwrap();
    cut.erase_torn().unwrap();
    assert!(contents(&cut, u32::MAX) == whole, "the same bytes");
    drop(mirror);
    for folder in [&b, &c] {
        let left = std::fs::read_dir(folder.path().join("log")).unwrap();
        assert!(left.map(|file| file.unwrap().path()).all(|file| file.extension().unwrap() == "seg"));
    }
}

#[test]
fn damage_loss_and_repetition_on_the_way_are_errors_and_change_nothing() {
    let a = tempfile::tempdir().unwrap();
    let primary = three_epochs(a.path());
    let mut dice = Dice(5);
    let mut refused = 0;
    for round in 0..120 {
        let b = tempfile::tempdir().unwrap();
        let standby = attend(b.path(), &primary);
        let stream = (round % 3) as u16;
        let mut held: Option<Vec<u8>> = None;
        let kind = dice.below(4);
        let strike = 1 + dice.below(6);
        let mut piece = 0;
        let mut fault = |mut bytes: Vec<u8>| {
            piece += 1;
            if bytes.is_empty() || piece < strike {
                return bytes;
            }
            match kind {
                // One bit.
                0 => {
                    let at = dice.below(bytes.len() as u64 * 8);
                    bytes[(at / 8) as usize] ^= 1 << (at % 8);
                }
                // Lost.
                1 if piece == strike => bytes.clear(),
                // Twice.
                2 => bytes.extend_from_within(..),
                // Exchanged with the next.
                _ => match held.take() {
                    Some(before) => bytes.extend(before),
                    None => held = Some(std::mem::take(&mut bytes)),
                },
            }
            bytes
        };
        // With what came through, the rest comes afterwards.
        let result = connect(&primary, &standby, stream, &mut usize::MAX.clone(), &mut fault);
        refused += u32::from(result.is_err());
        // Whatever came through is the primary's.
        let theirs: BTreeMap<_, _> = contents(&primary.dir, u32::MAX).into_iter().collect();
        for (name, bytes) in contents(&standby.dir, u32::MAX) {
            assert!(theirs[&name].starts_with(&bytes), "{name} in round {round}");
        }
        drop(standby);
        let standby = attend(b.path(), &primary);
        for stream in 0..3 {
            connect(&primary, &standby, stream, &mut usize::MAX.clone(), &mut |bytes| bytes).unwrap();
        }
        same(&primary, &standby);
    }
    assert!(refused > 60, "faults are found: {refused}");
    println!("{refused} of 120 connections ended by their fault");
}

#[test]
fn strangers_and_the_past_are_refused_by_name() {
    let (a, b, c) =
        (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let primary = three_epochs(a.path());
    let (cluster, epoch) = (primary.dir.cluster(), primary.dir.epoch());
    let mut none = |bytes| bytes;
    // Another cluster: both say so.
    let mut sender = Sender::new(cluster, epoch);
    sender.push(&Receiver::new(0, cluster ^ 1, 7, 0).take_out());
    assert_eq!(sender.hear(), Err(StreamError::OtherCluster { found: cluster ^ 1, expected: cluster }));
    let mut receiver = Receiver::new(0, cluster ^ 1, 7, 0);
    receiver.push(&sender.take_out());
    let Err(StreamError::Refused(refusal)) = receiver.receive() else { panic!("it is refused") };
    assert_eq!((refusal.code, refusal.cluster), (RefusalCode::OtherCluster, cluster));
    // A primary whose epoch is over hears so, and a standby does not take its stream.
    let mut sender = Sender::new(cluster, epoch);
    sender.push(&Receiver::new(0, cluster, 7, epoch + 1).take_out());
    assert_eq!(sender.hear(), Err(StreamError::Superseded { newer: epoch + 1, ours: epoch }));
    // What somebody says who belongs to no cluster ends none.
    for (of, seen) in [(0, 0), (0, epoch + 1), (cluster, 0)] {
        let (mut sender, mut other) = (Sender::new(cluster, epoch), Receiver::new(0, of, 7, seen));
        other.refuse(RefusalCode::EpochOver, u64::from(epoch + 1));
        sender.push(&other.take_out());
        assert!(matches!(sender.hear(), Ok(Some(Heard::Follow { .. }))), "{of} {seen}");
        let ends = matches!(sender.hear(), Err(StreamError::Superseded { .. }));
        assert_eq!(ends, of == cluster);
    }
    let mut sender = Sender::new(cluster, epoch);
    sender.push(&Receiver::new(0, cluster, 7, epoch).take_out());
    assert!(matches!(sender.hear(), Ok(Some(Heard::Follow { stream: 0, node: 7 }))));
    sender.hello(primary.hello(0));
    let mut receiver = Receiver::new(0, cluster, 7, epoch + 1);
    receiver.push(&sender.take_out());
    assert_eq!(receiver.receive(), Err(StreamError::EpochOver { found: epoch, seen: epoch + 1 }));
    // Garbage at either end.
    for bytes in [&b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"[..], &[0xff; 64], &[0; 64]] {
        let mut sender = Sender::new(cluster, epoch);
        sender.push(bytes);
        assert!(matches!(sender.hear(), Err(StreamError::Garbage(_))), "{bytes:?}");
        let mut receiver = Receiver::new(0, 0, 7, 0);
        receiver.push(bytes);
        assert!(matches!(receiver.receive(), Err(StreamError::Garbage(_))), "{bytes:?}");
    }
    // A standby with another log of the same cluster asks for what is no record's beginning.
    let standby = attend(b.path(), &primary);
    connect(&primary, &standby, 0, &mut usize::MAX.clone(), &mut none).unwrap();
    let sought = Source::seek(primary.dir.clone(), 0, primary.history.clone(), (1, 8 + 1));
    assert!(matches!(sought, Err(SeekError::NoRecord(9))));
    // A directory of another cluster is not joined.
    drop(common::open(c.path()));
    let joined = DataDir::attend(c.path(), options(Some(cluster)), epoch);
    assert!(matches!(joined, Err(frontrow_wal::WalError::ForeignCluster { .. })));
}

#[test]
fn an_acknowledgement_of_what_was_not_sent_is_refused() {
    let a = tempfile::tempdir().unwrap();
    let primary = three_epochs(a.path());
    let (cluster, epoch) = (primary.dir.cluster(), primary.dir.epoch());
    let mut receiver = Receiver::new(0, cluster, 7, epoch);
    let mut sender = Sender::new(cluster, epoch);
    sender.push(&receiver.take_out());
    sender.hear().unwrap();
    sender.hello(primary.hello(0));
    receiver.push(&sender.take_out());
    receiver.receive().unwrap();
    receiver.welcome(0, 0, false);
    receiver.ack(epoch, 1 << 20);
    sender.push(&receiver.take_out());
    assert!(matches!(sender.hear(), Ok(Some(Heard::Welcome { .. }))));
    assert!(matches!(sender.hear(), Err(StreamError::Unexpected(_))));
}

#[test]
fn an_old_primary_comes_back_and_loses_what_was_its_own() {
    let (a, b, c) =
        (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let old = three_epochs(a.path());
    let mut left = usize::MAX;
    connect(&old, &attend(c.path(), &old), 0, &mut left, &mut |bytes| bytes).unwrap();
    let whole = usize::MAX - left;
    let standby = attend(b.path(), &old);
    // With a stream missing it cannot be promoted.
    connect(&old, &standby, 2, &mut usize::MAX.clone(), &mut |bytes| bytes).unwrap();
    let early = standby.dir.promote().map(drop);
    assert!(matches!(early, Err(frontrow_wal::WalError::NotCaughtUp { stream: 0, epoch: 1, .. })));
    // Of the last epoch it has a part of stream 0, and all of stream 1.
    let mut budget = whole - 2000;
    connect(&old, &standby, 0, &mut budget, &mut |bytes| bytes).unwrap();
    connect(&old, &standby, 1, &mut usize::MAX.clone(), &mut |bytes| bytes).unwrap();
    assert_eq!(budget, 0);
    drop(standby);
    // Not served from before it is promoted.
    let refused = DataDir::open(b.path(), options(None));
    assert!(matches!(refused, Err(frontrow_wal::WalError::IsStandby { .. })));
    let history = DataDir::attend(b.path(), options(None), 0).unwrap().promote().unwrap().1;
    assert_eq!((history.epoch(), history.role), (100_000, Role::Primary));
    let mut lsn = 100_000;
    let new = serve(b.path(), 2, &mut lsn, 90, 4);
    assert_eq!(new.dir.epoch(), 100_001);
    // Meanwhile the old one has started again, and written what nobody will ever know of.
    drop(old);
    let mut own = 500_000;
    drop(serve(a.path(), 2, &mut own, 70, 3));
    let back = attend(a.path(), &new);
    assert!(std::fs::read_dir(a.path().join("cut")).unwrap().count() > 0, "what was cut is kept");
    for stream in 0..3 {
        connect(&new, &back, stream, &mut usize::MAX.clone(), &mut |bytes| bytes).unwrap();
    }
    same(&new, &back);
    // It has seen the new epoch: the old one's streams are over for it, for ever.
    assert_eq!(back.dir.epoch(), 100_001);
    assert_eq!(back.dir.history().unwrap().unwrap().role, Role::Standby);
}

#[test]
fn the_same_number_opened_by_two_is_two_epochs() {
    let (a, b) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let mut lsn = 0;
    let one = serve(a.path(), 1, &mut lsn, 50, 5);
    let standby = attend(b.path(), &one);
    connect(&one, &standby, 0, &mut usize::MAX.clone(), &mut |bytes| bytes).unwrap();
    let both = standby.dir.epoch();
    drop((standby, one));
    // Both go on by themselves at the next number, which a promotion would have left free.
    let mut forged = DataDir::attend(b.path(), options(None), 0).unwrap();
    forged = forged.at_epoch(both + 1).unwrap();
    forged.begin_history(true).unwrap();
    drop(forged);
    let mut own = 900;
    drop(serve(b.path(), 1, &mut own, 30, 3));
    drop(serve(a.path(), 1, &mut lsn, 20, 2));
    let one = serve(a.path(), 1, &mut lsn, 20, 2);
    let back = attend(b.path(), &one);
    for stream in 0..1 {
        connect(&one, &back, stream, &mut usize::MAX.clone(), &mut |bytes| bytes).unwrap();
    }
    same(&one, &back);
}

#[test]
fn arbitrary_bytes_never_panic_at_either_end() {
    let mut dice = Dice(99);
    for _ in 0..20_000 {
        let bytes: Vec<u8> = (0..dice.below(200)).map(|_| dice.below(16) as u8).collect();
        frontrow_wal::stream::fuzz_stream(&bytes);
    }
}
