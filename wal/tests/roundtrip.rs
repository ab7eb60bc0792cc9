//! What was committed is read back, over segments, streams and epochs, in every commit mode.

mod common;

use common::{DURABLE_WAYS, Hand, PARTITIONS, Wakes, append, by, open, read_all, settle_by};
use frontrow_wal::fs::RealDisk;
use frontrow_wal::{Carrier, DataDir, DirOptions, Durability, LogOptions, SegmentInfo, Tail};

#[test]
fn records_come_back_over_segments_streams_and_epochs() {
    for way in DURABLE_WAYS.into_iter().chain([(Durability::Memory, Carrier::Thread)]) {
        let folder = tempfile::tempdir().unwrap();
        let options = by(way, &LogOptions::small());
        let (mut expected, mut lsn, mut last_position) = (Vec::new(), 0, [0; 2]);
        for epoch in 1..=3 {
            let dir = open(folder.path());
            assert_eq!(dir.epoch(), epoch);
            assert_eq!(read_all(&dir).unwrap().0, expected);
            for stream in 0..2 {
                let (wakes, mut hand) = (Wakes::default(), Hand::default());
                let mut log = dir.open_stream(stream, &options, wakes.callback()).unwrap();
                assert_eq!((log.durability(), log.carrier()), way);
                assert!(log.durable() >= last_position[usize::from(stream)], "positions never go back");
                for _ in 0..200 {
                    lsn += 1;
                    let len = (lsn * 37 % 1900) as usize;
                    let record = settle_by(&mut hand, &mut log, &wakes, lsn, len).unwrap();
                    assert!(record.position > last_position[usize::from(stream)]);
                    last_position[usize::from(stream)] = record.position;
                    expected.push(record);
                    if lsn % 9 == 0 {
                        hand.commit(&mut log, &RealDisk).unwrap();
                    }
                }
                assert_eq!(log.flush().unwrap(), log.position());
                assert!(!log.in_flight() && !log.has_pending());
            }
        }
        let dir = open(folder.path());
        let (records, tails) = read_all(&dir).unwrap();
        assert_eq!(records, expected);
        let sealed = tails.iter().filter(|tail| **tail == Tail::Sealed).count();
        assert!(sealed >= 6, "several segments per stream and epoch: {tails:?}");
        assert_eq!(tails.iter().filter(|tail| **tail == Tail::Clean).count(), 6);
        assert_eq!(tails.len(), sealed + 6, "unused segments are removed at a clean end");
    }
}

/// So that whatever is shown of damaged logs holds for every way to write them.
#[test]
fn every_way_leaves_the_same_bytes() {
    let mut images = Vec::new();
    for way in DURABLE_WAYS {
        let (folder, wakes) = (tempfile::tempdir().unwrap(), Wakes::default());
        let made = DirOptions { cluster: Some(7), ..DirOptions::new(PARTITIONS) };
        let dir = DataDir::open(folder.path(), made).unwrap();
        // As many as are needed: no commit is begun at a time that chance decides.
        let options = LogOptions { ready_ahead: 8, ..by(way, &LogOptions::small()) };
        let mut log = dir.open_stream(0, &options, wakes.callback()).unwrap();
        for lsn in 1..=60 {
            let payload = vec![lsn as u8; (lsn * 977 % 9000) as usize];
            wakes.wait_until(|| log.append(1, lsn, 3, 2, &payload).is_ok());
            if lsn % 7 == 0 {
                log.flush().unwrap();
            }
        }
        log.flush().unwrap();
        drop(log);
        let read = |info: &SegmentInfo| (info.number(), std::fs::read(info.path()).unwrap());
        images.push(dir.segments().unwrap().iter().map(read).collect::<Vec<_>>());
    }
    assert!(images[0].len() >= 4, "several segments");
    assert!(images.iter().all(|image| *image == images[0]));
}

/// Some partitions' records alone, up to a position: as a snapshotter reads a log that is being written.
#[test]
fn records_of_some_partitions_come_up_to_a_position() {
    let (folder, wakes) = (tempfile::tempdir().unwrap(), Wakes::default());
    let dir = open(folder.path());
    let mut log = dir.open_stream(0, &LogOptions::small(), wakes.callback()).unwrap();
    let all: Vec<_> = (1..=400).map(|lsn| append(&mut log, &wakes, lsn, lsn as usize)).collect();
    log.flush().unwrap();
    let wanted: Vec<bool> = (0..16).map(|partition| partition % 5 == 2).collect();
    for end in [0, 1, all[7].position, all[200].position, all[399].position] {
        let mut found = Vec::new();
        for info in dir.segments().unwrap() {
            let segment = frontrow_wal::Segment::open(&info).unwrap();
            found.extend(segment.records_of(&wanted, end).map(|record| record.unwrap().lsn));
        }
        let expected = all.iter().filter(|one| one.position <= end && one.partition % 5 == 2);
        let expected: Vec<u64> = expected.map(|one| one.lsn).collect();
        assert_eq!(found, expected, "up to {end}");
    }
}
