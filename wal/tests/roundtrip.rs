//! What was committed is read back, over segments, streams and epochs, in every commit mode.

mod common;

use common::{Wakes, append, open, read_all};
use frontrow_wal::{Durability, LogOptions, Tail};

#[test]
fn records_come_back_over_segments_streams_and_epochs() {
    for durability in [Durability::Mapped, Durability::Direct, Durability::Memory] {
        let folder = tempfile::tempdir().unwrap();
        let options = LogOptions { durability, ..LogOptions::small() };
        let (mut expected, mut lsn, mut last_position) = (Vec::new(), 0, [0; 2]);
        for epoch in 1..=3 {
            let dir = open(folder.path());
            assert_eq!(dir.epoch(), epoch);
            assert_eq!(read_all(&dir).unwrap().0, expected);
            for stream in 0..2 {
                let wakes = Wakes::default();
                let mut log = dir.open_stream(stream, &options, wakes.callback()).unwrap();
                assert!(log.durable() >= last_position[usize::from(stream)], "positions never go back");
                for _ in 0..200 {
                    lsn += 1;
                    let len = (lsn * 37 % 1900) as usize;
                    let record = append(&mut log, &wakes, lsn, len);
                    assert!(record.position > last_position[usize::from(stream)]);
                    last_position[usize::from(stream)] = record.position;
                    expected.push(record);
                    if lsn % 9 == 0 {
                        log.commit().unwrap();
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
