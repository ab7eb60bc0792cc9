//! Archiving over real partitions, cut off after every one of its operations.

use std::sync::Mutex;

use frontrow_shard::{
    Answer, ClaimBest, Command, Effects, EventRules, EventSpec, Fence, Limits, Op, Partition, Proof, Request,
    RowRef,
};

use super::*;
use crate::catalogue::specs;
use crate::exposition::Families;
use crate::http::tests::{House, house_with};
use crate::http::{Adopted, CoreStatus, Sales, Soon};

const PARTITIONS: u16 = 4;
const NOW_MS: Millis = 1_000_000_000;

/// Partitions as a log would leave them: what was applied stays, and after so many operations nothing happens any more.
#[derive(Default)]
struct Shards {
    parts: Mutex<Vec<Partition>>,
    operations_left: Mutex<usize>,
    crashed: tokio::sync::Notify,
}

impl Shards {
    fn apply(&self, at: u16, op: &Op) -> Answer {
        let mut parts = self.parts.lock().unwrap();
        let part = &mut parts[usize::from(at)];
        let mut out = Effects::default();
        let answer = part.apply(NOW_MS, op, &mut out).answer;
        for letter in &out.letters {
            part.confirm(letter.to, letter.seq);
        }
        answer
    }
}

impl Sales for Arc<Shards> {
    fn create_event(&self, _: Vec<EventSpec>) -> Soon<'_, Result<(), Code>> {
        unimplemented_here()
    }

    fn set_state(&self, _: EventId, _: EventState) -> Soon<'_, Result<(), Code>> {
        unimplemented_here()
    }

    fn set_blocked(&self, _: RowRef, _: Seats, _: bool) -> Soon<'_, Answer> {
        unimplemented_here()
    }

    fn section_state(&self, event: EventId, section: u16) -> Soon<'_, Result<Vec<LiveRow>, Code>> {
        let parts = self.parts.lock().unwrap();
        let rows = parts.iter().flat_map(|part| {
            part.rows()
                .filter(|row| (row.event, row.section) == (event, section))
                .filter_map(|row| Some(LiveRow { row: row.row, state: part.row_state(row)? }))
        });
        let mut rows: Vec<LiveRow> = rows.collect();
        rows.sort_unstable_by_key(|row| row.row);
        Box::pin(async move { Ok(rows) })
    }

    fn archive(&self, event: EventId, step: ArchiveStep) -> Soon<'_, Result<(), Code>> {
        Box::pin(async move {
            let mut result = Ok(());
            for at in 0..PARTITIONS {
                let crashed = {
                    let mut left = self.operations_left.lock().unwrap();
                    let crashed = *left == 0;
                    *left = left.saturating_sub(1);
                    crashed
                };
                if crashed {
                    self.crashed.notify_one();
                    std::future::pending::<()>().await;
                }
                let code = self.apply(at, &Op::Archive { event, step }).code;
                if code != Code::Done && result.is_ok() {
                    result = Err(code);
                }
            }
            result
        })
    }

    fn read_out(&self, event: EventId, whole: bool) -> Soon<'_, Result<Vec<ReadOut>, Code>> {
        let parts = self.parts.lock().unwrap();
        let read = parts.iter().map(|part| part.read_out(event, whole).ok_or(Code::UnknownEvent)).collect();
        Box::pin(async move { read })
    }

    fn forget(&self, _: EventId) {}

    fn status(&self) -> Vec<CoreStatus> {
        Vec::new()
    }

    fn metrics(&self, _: &mut Families) {}

    fn adopt_websocket(&self, _: Adopted) {}
}

fn unimplemented_here<T>() -> T {
    panic!("archiving does not ask for this")
}

/// The sample hall, closed, with a booking in most rows of the first section.
fn sold(operations: usize) -> (House, Arc<Shards>) {
    let (plan, _) = frontrow_venue::pretix::import(frontrow_venue::SAMPLE_HALL.as_bytes()).unwrap();
    let rules = EventRules::default();
    let shards = Arc::new(Shards::default());
    *shards.operations_left.lock().unwrap() = operations;
    let sales = Arc::clone(&shards);
    let house = house_with(|http| {
        http.sales = Arc::new(sales);
        http.partitions = PARTITIONS;
    });
    let event = house.http.catalogue.create("Gala", &plan, rules, 5).unwrap();
    let limits = Limits { requests: 1024, parties: 4, queues: 4, tasks: 4 };
    for (at, spec) in (0..).zip(specs(event.id(), &plan, &rules, PARTITIONS).unwrap()) {
        shards.parts.lock().unwrap().push(Partition::new(at, PARTITIONS, limits));
        shards.apply(at, &Op::Begin { epoch: 1, secret: at.into() });
        shards.apply(at, &Op::CreateEvent(Box::new(spec)));
        shards.apply(at, &Op::SetEventState { event: 1, state: EventState::Open });
    }
    let rows = event.sections()[0].rows as u16;
    for row in 0..rows {
        let (place, user) = (RowRef::new(1, 0, row), UserId::from(row % 3));
        let at = place.partition(PARTITIONS);
        let ask = |n: u128, command| {
            let id = (u128::from(NOW_MS) << 80) | (u128::from(row) << 8) | n;
            shards.apply(at, &Op::Request(Request { id, user, command }))
        };
        let best = ClaimBest { row: place, count: 2, category: u8::MAX, accessible: false, or_join: false };
        let granted = ask(1, Command::ClaimBest(best));
        ask(2, Command::Book(Proof { place, fence: Fence::of(user, &granted) }));
    }
    for at in 0..PARTITIONS {
        shards.apply(at, &Op::SetEventState { event: 1, state: EventState::Closed });
    }
    house.http.catalogue.set_state(1, EventState::Closed, 6).unwrap();
    (house, shards)
}

/// Sections and bookings as anybody sees them.
async fn look(http: &Arc<Http>) -> (Vec<Vec<LiveRow>>, Vec<ColdBooking>) {
    let event = http.catalogue.get(1).unwrap();
    let mut sections = Vec::new();
    for section in 0..event.sections().len() as u16 {
        let ask = |event, section| http.sales.section_state(event, section);
        sections.push(section_rows(http, &event, section, ask).await.unwrap());
    }
    let bookings = if event.state() == EventState::Archived {
        opened(http, 1).await.unwrap().view().bookings(None).collect()
    } else {
        ColdEvent::new(1, PARTITIONS, 0, http.sales.read_out(1, true).await.unwrap()).bookings
    };
    (sections, bookings)
}

#[test]
fn wherever_it_is_cut_off_it_is_ended_and_nothing_is_lost() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let steps = usize::from(PARTITIONS) * 2;
        for operations in 0..=steps {
            let (house, shards) = sold(operations);
            let before = look(&house.http).await;
            assert!(!before.1.is_empty());
            // The process is gone as soon as an operation is asked for that it did not live to see.
            let ended = tokio::select! {
                ended = put_away(&house.http, 1) => Some(ended.map(|_| ())),
                () = shards.crashed.notified() => None,
            };
            assert_eq!(ended.is_some(), operations == steps);
            *shards.operations_left.lock().unwrap() = usize::MAX;
            put_away(&house.http, 1).await.unwrap();
            assert_eq!(house.http.catalogue.get(1).unwrap().state(), EventState::Archived);
            assert_eq!(look(&house.http).await, before, "cut off after {operations}");
            assert!(shards.parts.lock().unwrap().iter().all(|part| part.rows().count() == 0));
        }
    });
}

#[test]
fn an_event_is_due_so_long_after_its_closing() {
    let folder = tempfile::tempdir().unwrap();
    let catalogue = Catalogue::open(folder.path()).unwrap();
    let (plan, _) = frontrow_venue::pretix::import(frontrow_venue::SAMPLE_HALL.as_bytes()).unwrap();
    catalogue.create("Gala", &plan, EventRules::default(), 5).unwrap();
    catalogue.create("Ball", &plan, EventRules::default(), 5).unwrap();
    catalogue.set_state(2, EventState::Closed, 10_000).unwrap();
    let due = |now_ms| due(&catalogue, Duration::from_secs(3), now_ms);
    assert_eq!((due(12_999), due(13_000)), (vec![], vec![2]));
    catalogue.set_state(2, EventState::Archived, 14_000).unwrap();
    assert_eq!(due(99_000), [0; 0]);
}
