use frontrow_shard::{
    ArchiveStep, ClaimBest, Command, Effects, EventRules, EventSpec, EventState, Fence, Op, Partition, Proof,
    Request, RowRef, RowSpec,
};

use super::*;

const CLUSTER: u128 = 0x1234_5678_9abc_def0;

/// A row of twelve seats, three of them booked by user 5.
fn archived(event: u32) -> Vec<u8> {
    let mut part =
        Partition::new(0, 1, frontrow_shard::Limits { requests: 64, parties: 4, queues: 4, tasks: 4 });
    let row = RowSpec {
        section: 0,
        row: 0,
        categories: vec![0; 12],
        aisles_after: Vec::new(),
        accessible: Vec::new(),
    };
    let spec = EventSpec {
        event,
        rules: EventRules::default(),
        section_rows: vec![1],
        section_seats: vec![12],
        rows: vec![row],
    };
    let place = RowRef::new(event, 0, 0);
    let now = 1_700_000_000_000;
    let mut out = Effects::default();
    let mut apply = |op: &Op| part.apply(now, op, &mut out).answer;
    apply(&Op::Begin { epoch: 1, secret: 7 });
    apply(&Op::CreateEvent(Box::new(spec)));
    apply(&Op::SetEventState { event, state: EventState::Open });
    let ask = |id: u128, command| Op::Request(Request { id: (u128::from(now) << 80) | id, user: 5, command });
    let best = ClaimBest { row: place, count: 3, category: u8::MAX, accessible: false, or_join: false };
    let granted = apply(&ask(1, Command::ClaimBest(best)));
    apply(&ask(2, Command::Book(Proof { place, fence: Fence::of(5, &granted) })));
    apply(&Op::SetEventState { event, state: EventState::Closed });
    apply(&Op::Archive { event, step: ArchiveStep::Begin });
    let read = part.read_out(event, true).unwrap();
    assert!(!read.running);
    frontrow_shard::ColdEvent::new(event, 1, now, vec![read]).to_bytes().unwrap().to_vec()
}

/// An archive of this event, as a file.
pub(crate) fn file_of(cluster: u128, event: u32) -> Vec<u8> {
    let body = archived(event);
    [&header(cluster, event, &body)[..], &body].concat()
}

fn file() -> Vec<u8> {
    file_of(CLUSTER, 7)
}

#[test]
fn what_was_written_is_read_in_place() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("7.archive");
    std::fs::write(&path, file()).unwrap();
    let archives = Archives::new(CLUSTER);
    let cold = archives.open(7, &path, 1000).unwrap();
    let (_, state) = cold.view().section(0).next().unwrap();
    assert_eq!((state.seats, state.booked[0].count_ones(), state.free[0].count_ones()), (12, 3, 9));
    let bookings: Vec<_> = cold.view().bookings(Some(5)).collect();
    assert_eq!((bookings.len(), bookings[0].user, bookings[0].parts[0].seats.count()), (1, 5, 3));
    assert_eq!(cold.view().bookings(Some(6)).len(), 0);
    assert_eq!((cold.view().totals().booked, cold.view().totals().bookings), (3, 1));
    archives.sweep(1000 + IDLE_MS - 1);
    assert_eq!(archives.held(), 1);
    archives.sweep(1000 + IDLE_MS);
    assert_eq!(archives.held(), 0, "nobody has asked for it");
}

#[test]
fn another_events_or_clusters_archive_is_refused_and_so_is_none() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("7.archive");
    assert!(matches!(Cold::open(&path, CLUSTER, 7), Err(ColdFileError::Missing { .. })));
    std::fs::write(&path, file()).unwrap();
    assert!(matches!(Cold::open(&path, CLUSTER, 8), Err(ColdFileError::Foreign { .. })));
    assert!(matches!(Cold::open(&path, CLUSTER + 1, 7), Err(ColdFileError::Foreign { .. })));
    let mut newer = file();
    newer[8] = 9;
    let sum = crc32c::crc32c(&newer[..60]);
    newer[60..64].copy_from_slice(&sum.to_le_bytes());
    std::fs::write(&path, newer).unwrap();
    assert!(matches!(Cold::open(&path, CLUSTER, 7), Err(ColdFileError::Version { found: 9, .. })));
}

/// Every bit of the header, 10,000 of the whole file, and every length: never read, and never a panic.
#[test]
fn no_flipped_bit_and_no_cut_is_read() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("7.archive");
    let good = file();
    let refused = |bytes: &[u8], what: usize| {
        std::fs::write(&path, bytes).unwrap();
        assert!(Cold::open(&path, CLUSTER, 7).is_err(), "{what}");
    };
    let mut state = 1_u64;
    let random = (0..10_000).map(|_| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize % (good.len() * 8)
    });
    for bit in (0..64 * 8).chain(random) {
        let mut bad = good.clone();
        bad[bit / 8] ^= 1 << (bit % 8);
        refused(&bad, bit);
    }
    for cut in 0..good.len() {
        refused(&good[..cut], cut);
    }
    // Past the checksum, too, nothing may panic.
    let body = archived(7);
    for at in 0..body.len() * 8 {
        let mut bad = body.clone();
        bad[at / 8] ^= 1 << (at % 8);
        frontrow_shard::cold::fuzz_read(&bad);
    }
}

/// An archive is in use, and its file becomes another one: every answer is of the bytes that were checked, or none.
#[test]
fn a_file_that_changes_under_its_readers_is_read_anew() {
    use std::os::unix::fs::FileExt;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("7.archive");
    let good = file();
    let archives = Archives::new(CLUSTER);
    let booked = || archives.open(7, &path, 1000).map(|cold| cold.view().totals().booked);
    let on_file = |change: &dyn Fn(&std::fs::File)| {
        change(&std::fs::OpenOptions::new().write(true).open(&path).unwrap());
    };
    std::fs::write(&path, &good).unwrap();
    let before = archives.open(7, &path, 1000).unwrap();
    for at in [good.len() - 4, good.len() - 8, good.len() - 12, good.len() / 2, HEADER_BYTES] {
        on_file(&|file| file.write_all_at(&[good[at] ^ 0x40], at as u64).unwrap());
        set_back(&path, at);
        assert!(matches!(booked(), Err(ColdFileError::Damaged { .. })), "{at}");
        on_file(&|file| file.write_all_at(&[good[at]], at as u64).unwrap());
        assert_eq!(booked().unwrap(), 3, "mended at its place, it is read again");
    }
    for bytes in [0, 70] {
        on_file(&|file| file.set_len(bytes).unwrap());
        assert!(matches!(booked(), Err(ColdFileError::Damaged { .. })), "{bytes}");
        on_file(&|file| file.write_all_at(&good, 0).unwrap());
        assert_eq!(booked().unwrap(), 3);
    }
    // Another event's, copied over it; and none.
    std::fs::write(&path, file_of(CLUSTER, 8)).unwrap();
    assert!(matches!(booked(), Err(ColdFileError::Foreign { .. })));
    std::fs::remove_file(&path).unwrap();
    assert!(matches!(booked(), Err(ColdFileError::Missing { .. })));
    // Whoever was reading all the while has what was checked.
    assert_eq!((before.view().totals().booked, before.bytes()), (3, &good[..]));
}

const HEADER_BYTES: usize = 64;

/// Gives the file a time of last writing of its own: the test is faster than the clock of some file systems.
fn set_back(path: &Path, by: usize) {
    let time = std::time::UNIX_EPOCH + std::time::Duration::from_secs(1_600_000_000 + by as u64);
    std::fs::File::options().write(true).open(path).unwrap().set_modified(time).unwrap();
}

#[test]
fn there_is_room_for_so_many_bytes_of_archives() {
    let folder = tempfile::tempdir().unwrap();
    let archives = Archives { room: file().len() * 5 / 2, ..Archives::new(CLUSTER) };
    let open = |event: u32, now_ms| {
        let path = folder.path().join(format!("{event}.archive"));
        std::fs::write(&path, file_of(CLUSTER, event)).unwrap();
        archives.open(event, &path, now_ms).unwrap()
    };
    let first = open(1, 10);
    for event in 2..=5 {
        open(event, 10 + Millis::from(event));
        assert_eq!(archives.held(), 2);
    }
    assert_eq!(first.view().totals().booked, 3, "whoever has it goes on reading");
}
