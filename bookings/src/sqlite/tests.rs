use super::*;
use frontrow_shard::Lsn;

const CLUSTER: u128 = 0xfeed;

fn change(
    partition: PartitionId,
    lsn: Lsn,
    kind: &str,
    user: u64,
    row: u16,
    seats: &[u8],
    grant: Lsn,
) -> Change {
    let document = serde_json::json!({
        "partition": partition, "epoch": 1, "lsn": lsn, "n": 0, "type": kind, "time_ms": 1000 + lsn, "event": 7,
        "section": 0, "row": row, "seats": seats, "user": user, "request": format!("{lsn:032x}"),
        "hold": {"epoch": 1, "lsn": grant, "slot": 3},
    });
    serde_json::from_value(document).unwrap()
}

fn batch(changes: Vec<Change>) -> Batch {
    let mut upto = Marks::new();
    for change in &changes {
        upto.insert(change.position.partition, Mark { epoch: 1, lsn: change.position.lsn });
    }
    let records = changes.len() as u64;
    let places = Places::from([(0, (1, 4096 * records))]);
    Batch { anew: Vec::new(), changes, upto, places, records }
}

fn opened(folder: &Path) -> (Sqlite, SqliteSink) {
    let (table, mut sink) = Sqlite::open(&folder.join("bookings.db"), CLUSTER).unwrap();
    sink.begin(1).unwrap();
    (table, sink)
}

fn page(
    table: &Sqlite,
    user: UserId,
    event: Option<EventId>,
    after: Option<After>,
    most: usize,
) -> Vec<Booking> {
    table.of_user(user, event, after, most, &Since::default()).unwrap().unwrap()
}

#[test]
fn what_is_booked_and_cancelled_is_read_by_user_by_event_and_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let (table, mut sink) = opened(folder.path());
    sink.write(&batch(vec![
        change(0, 5, "booked", u64::MAX, 1, &[2, 3], 4),
        change(0, 7, "booked", 42, 1, &[4], 6),
        change(1, 3, "claimed", 42, 2, &[1], 3),
        change(1, 9, "booked", 42, 2, &[1, 2, 3], 8),
        change(1, 11, "cancelled", 42, 2, &[1, 2, 3], 8),
    ]))
    .unwrap();
    let mine = page(&table, 42, None, None, 10);
    assert_eq!(mine.iter().map(|it| it.booked_ms).collect::<Vec<_>>(), [1009, 1007], "newest first");
    assert_eq!((mine[0].cancelled_ms, mine[1].cancelled_ms), (Some(1011), None));
    assert_eq!(mine[0].seats, [Seats { row: 2, seats: vec![1, 2, 3] }]);
    assert_eq!(mine[1].request, Some(7));
    let after = After { booked_ms: mine[0].booked_ms, id: mine[0].id };
    assert_eq!(page(&table, 42, Some(7), Some(after), 10), mine[1..]);
    assert!(page(&table, 42, Some(8), None, 10).is_empty());
    assert_eq!(page(&table, u64::MAX, None, None, 10).len(), 1);
    assert_eq!(table.one(42, mine[1].id).unwrap().as_ref(), Some(&mine[1]));
    assert_eq!(table.one(43, mine[1].id).unwrap(), None, "somebody else's");
    let all = table.of_event(7, None, 2).unwrap();
    assert_eq!(all.len(), 2);
    assert_eq!(table.of_event(7, Some(all[1].id), 2).unwrap().len(), 1);
    let sold = SectionSales { section: 0, bookings: 2, seats: 3, cancelled: 1 };
    assert_eq!(table.sales(7).unwrap(), [sold]);
    assert_eq!(table.mark(1).unwrap(), Mark { epoch: 1, lsn: 11 });
    assert!(table.has(1, 11).unwrap() && !table.has(1, 12).unwrap() && !table.has(9, 1).unwrap());
}

#[test]
fn a_batch_that_comes_again_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let (table, mut sink) = opened(folder.path());
    let first =
        batch(vec![change(0, 5, "booked", 42, 1, &[2], 4), change(0, 6, "cancelled", 42, 1, &[2], 4)]);
    sink.write(&first).unwrap();
    let before = table.of_event(7, None, 10).unwrap();
    sink.write(&first).unwrap();
    assert_eq!(table.of_event(7, None, 10).unwrap(), before, "it is not booked again");
    sink.settle().unwrap();
    drop(sink);
    let (_, mut sink) = Sqlite::open(&folder.path().join("bookings.db"), CLUSTER).unwrap();
    let begun = sink.begin(2).unwrap();
    assert_eq!(begun.marks, Marks::from([(0, Mark { epoch: 1, lsn: 6 })]));
    assert_eq!(begun.places, Places::from([(0, (1, 8192))]));
    let Err(SinkError::Fenced { found: 2, own: 1, .. }) = sink.begin(1) else {
        panic!("an earlier epoch is refused")
    };
}

#[test]
fn what_is_said_anew_takes_the_place_of_what_was_said() {
    let folder = tempfile::tempdir().unwrap();
    let (table, mut sink) = opened(folder.path());
    sink.write(&batch(vec![
        change(0, 5, "booked", 42, 1, &[2], 4),
        change(0, 7, "booked", 42, 1, &[3], 6),
        change(1, 7, "booked", 43, 2, &[3], 6),
    ]))
    .unwrap();
    // The log between 7 and 90 is gone: one booking was cancelled in it, and another one made.
    let mut anew =
        batch(vec![change(0, 90, "booked", 42, 1, &[2], 4), change(0, 90, "booked", 42, 1, &[9], 80)]);
    anew.anew = vec![(0, vec![7])];
    sink.write(&anew).unwrap();
    let seats = |it: &Booking| it.seats[0].seats.clone();
    let found: Vec<_> = table.of_event(7, None, 10).unwrap().iter().map(seats).collect();
    assert_eq!(found, [vec![2], vec![9], vec![3]]);
    assert_eq!(table.mark(0).unwrap().lsn, 90);
}

#[test]
fn a_table_of_another_log_or_one_that_is_damaged_is_made_again_and_kept_aside() {
    let folder = tempfile::tempdir().unwrap();
    let (_, mut sink) = opened(folder.path());
    sink.write(&batch(vec![change(0, 5, "booked", 42, 1, &[2], 4)])).unwrap();
    drop(sink);
    let path = folder.path().join("bookings.db");
    let (table, mut sink) = Sqlite::open(&path, CLUSTER + 1).unwrap();
    assert!(sink.begin(1).unwrap().marks.is_empty() && table.of_event(7, None, 10).unwrap().is_empty());
    drop((table, sink));
    assert!(folder.path().join("bookings.db.old").exists());
    std::fs::write(&path, b"this is no table").unwrap();
    let (_, mut sink) = Sqlite::open(&path, CLUSTER).unwrap();
    assert!(sink.begin(1).unwrap().marks.is_empty());
}
