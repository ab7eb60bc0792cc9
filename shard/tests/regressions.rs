//! Faults that were found once, each as the shortest story that shows it.

use frontrow_shard::*;

const EVENT: EventId = 1;
const START: Millis = 1_700_000_000_000;
const SECTION: RowRef = RowRef::new(EVENT, 0, RowRef::SECTION);

struct Story {
    part: Partition,
    out: Effects,
    now: Millis,
    ids: u128,
}

fn row(row: u16, seats: usize) -> RowSpec {
    RowSpec { section: 0, row, categories: vec![0; seats], aisles_after: Vec::new(), accessible: Vec::new() }
}

impl Story {
    fn new(rules: EventRules, rows: Vec<RowSpec>) -> Self {
        let part = Partition::new(0, 1, Limits { requests: 64, parties: 64, queues: 8, tasks: 8 });
        let mut story = Self { part, out: Effects::default(), now: START, ids: 0 };
        let section_seats = rows.iter().map(|row| row.categories.len() as u32).sum();
        let spec = EventSpec {
            event: EVENT,
            rules,
            section_rows: vec![rows.len() as u16],
            section_seats: vec![section_seats],
            rows,
        };
        story.op(&Op::Begin { epoch: 1, secret: 1 });
        story.op(&Op::CreateEvent(Box::new(spec)));
        story.op(&Op::SetEventState { event: EVENT, state: EventState::Open });
        story
    }

    fn op(&mut self, op: &Op) -> Applied {
        self.part.apply(self.now, op, &mut self.out)
    }

    fn ask(&mut self, user: UserId, command: Command) -> Answer {
        self.ids += 1;
        let id = (u128::from(self.now) << 80) | self.ids;
        self.op(&Op::Request(Request { id, user, command })).answer
    }

    fn claim(&mut self, user: UserId, row: u16, places: &[u8]) -> Answer {
        let seats = Seats::from_places(places).unwrap();
        self.ask(user, Command::ClaimSeats(ClaimSeats { row: RowRef::new(EVENT, 0, row), seats }))
    }

    fn join(&mut self, user: UserId, place: RowRef, count: u8, adjacency: Adjacency) -> Answer {
        self.ask(user, Command::Join(Join { place, count, adjacency, accessible: false }))
    }

    /// Delivers the next letter, and whether there was one.
    fn post(&mut self) -> bool {
        let next = self.part.received_from(0) + 1;
        let Some(letter) = self.part.unconfirmed().find(|letter| letter.seq == next).copied() else {
            return false;
        };
        assert!(self.op(&Op::Deliver { from: 0, seq: letter.seq, mail: letter.mail }).recorded);
        true
    }

    fn post_all(&mut self) {
        assert!((0..1_000).any(|_| !self.post()), "letters without end");
    }
}

fn proof(user: UserId, place: RowRef, answer: &Answer) -> Proof {
    Proof { place, fence: Fence::of(user, answer) }
}

#[test]
fn a_cancellation_needs_the_whole_fence() {
    let mut story = Story::new(EventRules::default(), vec![row(0, 4)]);
    let place = RowRef::new(EVENT, 0, 0);
    let grant = story.claim(5, 0, &[1]);
    let longer = story.ask(5, Command::Extend(proof(5, place, &grant)));
    assert_eq!(story.ask(5, Command::Book(proof(5, place, &longer))).code, Code::Booked);
    assert_eq!(story.ask(5, Command::Cancel(proof(5, place, &grant))).code, Code::Fenced);
    assert_eq!(story.ask(5, Command::Cancel(proof(5, place, &longer))).code, Code::Cancelled);
}

#[test]
fn the_fence_of_a_booking_s_answer_cancels_it() {
    let mut story = Story::new(EventRules::default(), vec![row(0, 4)]);
    let place = RowRef::new(EVENT, 0, 0);
    let grant = story.claim(5, 0, &[1]);
    let booked = story.ask(5, Command::Book(proof(5, place, &grant)));
    assert_eq!(story.ask(5, Command::Cancel(proof(5, place, &booked))).code, Code::Cancelled);
}

#[test]
fn what_is_not_recorded_leaves_no_time_behind() {
    let mut story = Story::new(EventRules::default(), vec![row(0, 4)]);
    let before = story.part.state_hash();
    story.now += 50_000;
    let again = story.op(&Op::Deliver {
        from: 0,
        seq: 9,
        mail: Mail::Return { row: RowRef::new(EVENT, 0, 0), loan: 1 },
    });
    assert!(!again.recorded);
    assert_eq!(story.part.state_hash(), before);
}

#[test]
fn an_older_offer_is_not_the_answer_to_a_new_join() {
    let rules = EventRules { max_per_user: 8, orphans: OrphanRule::Off, ..EventRules::default() };
    let mut story = Story::new(rules, vec![row(0, 4)]);
    let place = RowRef::new(EVENT, 0, 0);
    story.join(5, place, 1, Adjacency::Required);
    story.post_all();
    assert_eq!(story.part.status(place, 5).code, Code::Granted);
    assert_eq!(story.join(5, place, 1, Adjacency::Required).code, Code::Pending);
    story.out.clear();
    story.post_all();
    assert_eq!(story.out.answers.len(), 1);
    assert_eq!(story.out.answers[0].answer.code, Code::Granted);
}

#[test]
fn lent_seats_are_nobodys_until_they_are_back() {
    let mut story = Story::new(EventRules::default(), vec![row(0, 4)]);
    assert_eq!(story.claim(1, 0, &[0, 1]).code, Code::Granted);
    // Two more than are free: the party waits, and what is free is lent to the section.
    assert_eq!(story.join(5, SECTION, 4, Adjacency::Required).code, Code::Pending);
    assert!(story.post());
    assert_eq!(story.ask(5, Command::Leave(Leave { place: SECTION })).code, Code::Left);
    while story.post() {
        let state = story.part.row_state(RowRef::new(EVENT, 0, 0)).unwrap();
        if state.free[0] == 0 {
            assert_eq!(story.claim(9, 0, &[2]).code, Code::QueuedFirst);
        }
    }
    assert_eq!(story.claim(9, 0, &[2, 3]).code, Code::Granted);
}

#[test]
fn seats_too_far_apart_for_one_claim_do_not_keep_the_post_busy() {
    let rules = EventRules { max_per_claim: 32, orphans: OrphanRule::Off, ..EventRules::default() };
    let mut story = Story::new(rules, vec![row(0, 130)]);
    let mut grants = Vec::new();
    for first in (0..128).step_by(32) {
        let places: Vec<u8> = (first..first + 32).collect();
        grants.push(story.claim(1, 0, &places));
    }
    assert_eq!(story.claim(1, 0, &[128]).code, Code::Granted);
    // Free are now only place 129 and, after the release, another far away.
    let place = RowRef::new(EVENT, 0, 0);
    story.ask(1, Command::Release(proof(1, place, &grants[0])));
    let places: Vec<u8> = (1..32).collect();
    assert_eq!(story.claim(1, 0, &places).code, Code::Granted);
    story.join(5, SECTION, 2, Adjacency::Any);
    story.post_all();
    assert_eq!(story.part.waiting(), 1, "it waits for two seats within reach of each other");
    story.ask(1, Command::Release(proof(1, place, &grants[3])));
    story.post_all();
    assert_eq!(story.part.waiting(), 0);
}

#[test]
fn a_hold_extended_after_it_came_up_comes_up_again() {
    let mut story = Story::new(EventRules::default(), vec![row(0, 4)]);
    let place = RowRef::new(EVENT, 0, 0);
    let grant = story.claim(5, 0, &[1]);
    let due = story.part.next_due(grant.expires_ms, &mut u32::MAX.clone()).unwrap();
    let longer = story.ask(5, Command::Extend(proof(5, place, &grant)));
    assert_eq!(longer.code, Code::Extended);
    assert_eq!(story.op(&due).answer.code, Code::Fenced);
    story.now = longer.expires_ms + TICK_MS;
    let due = story.part.next_due(story.now, &mut u32::MAX.clone()).expect("it is due");
    assert_eq!(story.op(&due).answer.code, Code::Done);
}

#[test]
fn a_seat_past_the_end_is_named_alone() {
    let mut story = Story::new(EventRules::default(), vec![row(0, 62)]);
    let answer = story.claim(5, 0, &[60, 61, 62, 65]);
    assert_eq!((answer.code, answer.seats.places().collect::<Vec<_>>()), (Code::UnknownSeat, vec![62, 65]));
}
