//! Which changes a record makes.

use crate::change::{Change, Hold, Kind, Position, Why};
use frontrow_shard::record::{self, Decoded, Fact, Given, HoldId, Outcome, RecordError};
use frontrow_shard::{
    ArchiveStep, Code, Command, Epoch, EventId, EventState, Lsn, Millis, Op, PartitionId, Parts, Proof,
    Request, RowRef, Seats,
};

/// A record of the log: what stands in its header, and its payload. Fastest at an address that is a multiple of eight.
#[derive(Clone, Copy, Debug)]
pub struct Record<'a> {
    /// The partition.
    pub partition: PartitionId,
    /// The epoch.
    pub epoch: Epoch,
    /// The record's number in the partition's history.
    pub lsn: Lsn,
    /// When.
    pub time_ms: Millis,
    /// Which operation.
    pub kind: u8,
    /// The operation, its outcome and its facts.
    pub payload: &'a [u8],
}

/// Why a record's changes cannot be told.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChangeError {
    /// It is not a record.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// The epoch was written by a version of Frontrow whose records do not say what operations cause.
    #[error(
        "partition {partition}, record {lsn}: epoch {epoch} was written by a version whose log does not say whom seats \
         went to; take the state from a snapshot behind it, and follow the log from there"
    )]
    NoFacts {
        /// The partition.
        partition: PartitionId,
        /// The epoch.
        epoch: Epoch,
        /// The record that shows it.
        lsn: Lsn,
    },
    /// The record had no room for everything it should say about seats.
    #[error(
        "partition {partition}, record {lsn} changed seats in {count} ways, for which it had no room: take the state from a \
         snapshot behind it, and follow the log from there. Larger segments (log.segment) prevent it"
    )]
    LeftOut {
        /// The partition.
        partition: PartitionId,
        /// The record.
        lsn: Lsn,
        /// How many facts are missing.
        count: u32,
    },
}

/// Adds to `out` what the record changed, in its order: what ended comes before what was given. Nothing is added if it
/// cannot be told. Refusals, messages between partitions and beginnings of epochs change nothing.
pub fn changes(record: &Record<'_>, out: &mut Vec<Change>) -> Result<(), ChangeError> {
    let before = out.len();
    let result = Deriving { record, before, out }.all();
    if result.is_err() {
        out.truncate(before);
    }
    result
}

struct Deriving<'a, 'b> {
    record: &'a Record<'a>,
    /// How many changes were there already.
    before: usize,
    out: &'b mut Vec<Change>,
}

impl Deriving<'_, '_> {
    fn all(&mut self) -> Result<(), ChangeError> {
        let &Record { kind, payload, .. } = self.record;
        let Decoded { op, outcome, facts } = record::decode(kind, payload)?;
        let malformed = |reason: &str| RecordError::Malformed { kind, reason: reason.to_owned() };
        if outcome.is_some_and(|it| Seats::new(it.seats.first, it.seats.mask).is_none()) {
            return Err(malformed("seats beyond the longest row").into());
        }
        let mut named = Vec::new();
        for fact in facts.iter().flat_map(record::Facts::iter) {
            named.push(fact.map_err(|_| malformed("facts that are none"))?);
        }
        let left_out = |fact: &Fact| match fact {
            Fact::Unnamed { seats: true, count } => Some(*count),
            _ => None,
        };
        if let Some(count) = named.iter().find_map(left_out) {
            let &Record { partition, lsn, .. } = self.record;
            return Err(ChangeError::LeftOut { partition, lsn, count });
        }
        self.own(&op, outcome, &named, facts.is_some())?;
        for fact in &named {
            self.fact(&op, outcome, fact);
        }
        Ok(())
    }

    fn put(&mut self, kind: Kind, event: EventId, fill: impl FnOnce(Change) -> Change) {
        let &Record { partition, epoch, lsn, time_ms, .. } = self.record;
        let n = (self.out.len() - self.before) as u32;
        self.out.push(fill(Change::of_event(Position { partition, epoch, lsn, n }, time_ms, kind, event)));
    }

    fn no_facts(&self) -> ChangeError {
        let &Record { partition, epoch, lsn, .. } = self.record;
        ChangeError::NoFacts { partition, epoch, lsn }
    }

    /// What the operation itself changed.
    fn own(
        &mut self,
        op: &Op,
        outcome: Option<Outcome>,
        facts: &[Fact],
        carries: bool,
    ) -> Result<(), ChangeError> {
        if matches!(op, Op::Begin { .. }) {
            return if carries { Ok(()) } else { Err(self.no_facts()) };
        }
        // Messages between partitions have no outcome of their own: what they change is all in the facts.
        let Some(outcome) = outcome.filter(|outcome| !outcome.code.is_refusal()) else { return Ok(()) };
        match op {
            Op::Request(request) => return self.request(request, &outcome, facts),
            Op::Expire { .. } if !facts.iter().any(|fact| matches!(fact, Fact::Expired { .. })) => {
                return Err(self.no_facts());
            }
            Op::CreateEvent(spec) => self.put(Kind::EventCreated, spec.event, |change| change),
            Op::SetEventState { event, state } => self.state(*event, *state),
            Op::Archive { event, step } => {
                let state = match step {
                    ArchiveStep::Begin => EventState::Archiving,
                    ArchiveStep::Undo => EventState::Closed,
                    ArchiveStep::End => EventState::Archived,
                };
                self.state(*event, state);
            }
            Op::Block { row, blocked, .. } if !outcome.seats.is_empty() => {
                let kind = if *blocked { Kind::Blocked } else { Kind::Unblocked };
                self.put(kind, row.event, |change| change.at(*row).seats(outcome.seats, &Parts::default()));
            }
            _ => {}
        }
        Ok(())
    }

    fn state(&mut self, event: EventId, state: EventState) {
        self.put(Kind::EventState, event, |change| Change { state: Some(state), ..change });
    }

    fn request(&mut self, request: &Request, outcome: &Outcome, facts: &[Fact]) -> Result<(), ChangeError> {
        let kind = match outcome.code {
            Code::Granted => Kind::Claimed,
            Code::Extended => Kind::Extended,
            Code::Paying => Kind::Paying,
            Code::Booked => Kind::Booked,
            Code::Released => Kind::Released,
            Code::Cancelled => Kind::Cancelled,
            Code::Queued => Kind::Joined,
            Code::Left => Kind::Left,
            _ => return Ok(()),
        };
        let place = request.command.place();
        let rows = facts.iter().find_map(|fact| if let Fact::Rows(rows) = fact { Some(*rows) } else { None });
        let (rows, hold) = match (&request.command, kind) {
            (_, Kind::Joined | Kind::Left) => (Parts::default(), None),
            (
                Command::Extend(Proof { fence, .. })
                | Command::BeginPayment(Proof { fence, .. })
                | Command::Book(Proof { fence, .. })
                | Command::Release(Proof { fence, .. })
                | Command::Cancel(Proof { fence, .. }),
                _,
            ) => {
                let rows =
                    if place.is_section() { rows.ok_or_else(|| self.no_facts())? } else { Parts::default() };
                (rows, Some(Hold { epoch: fence.epoch, lsn: fence.lsn, slot: fence.slot }))
            }
            // What is granted at once is granted here.
            _ => {
                let &Record { epoch, lsn, .. } = self.record;
                (Parts::default(), Some(Hold { epoch, lsn, slot: outcome.slot }))
            }
        };
        let runs = matches!(kind, Kind::Claimed | Kind::Extended | Kind::Paying);
        let seats = if hold.is_some() { outcome.seats } else { Seats::NONE };
        self.put(kind, place.event, |change| Change {
            user: Some(request.user),
            request: Some(request.id),
            hold,
            expires_ms: runs.then_some(outcome.expires_ms),
            ..change.at(place).seats(seats, &rows)
        });
        Ok(())
    }

    /// What it caused.
    fn fact(&mut self, op: &Op, outcome: Option<Outcome>, fact: &Fact) {
        match fact {
            // Already told with the operation.
            Fact::Rows(_) => {}
            Fact::Refused { request, user, place, code } => {
                let why = match code {
                    Code::SoldOut => Why::Unfillable,
                    Code::Closed => Why::Closed,
                    // It never came to a queue, or `left` tells of it.
                    _ => return,
                };
                self.put(Kind::Dropped, place.event, |change| Change {
                    user: Some(*user),
                    request: Some(*request),
                    why: Some(why),
                    ..change.at(*place)
                });
            }
            Fact::Expired { user, place, epoch, rows } => {
                let (&Op::Expire { slot, lsn, .. }, Some(outcome)) = (op, outcome) else { return };
                let hold = HoldId { epoch: *epoch, lsn, slot };
                self.put(Kind::Expired, place.event, |change| Change {
                    user: Some(*user),
                    hold: Some(hold.into()),
                    ..change.at(*place).seats(outcome.seats, rows)
                });
            }
            Fact::Granted { request, given } => self.given(Kind::Claimed, Some(*request), given),
            Fact::Offered(given) => self.given(Kind::Offered, None, given),
            Fact::Queued { request, user, place } => self.put(Kind::Joined, place.event, |change| Change {
                user: Some(*user),
                request: Some(*request),
                ..change.at(*place)
            }),
            Fact::Dropped { user, place, why } => self.put(Kind::Dropped, place.event, |change| Change {
                user: Some(*user),
                why: Some((*why).into()),
                ..change.at(*place)
            }),
            Fact::Unnamed { count, .. } => {
                let event = op.event().unwrap_or_default();
                self.put(Kind::Unnamed, event, |change| Change { others: Some(*count), ..change });
            }
        }
    }

    fn given(&mut self, kind: Kind, request: Option<u128>, given: &Given) {
        let place: RowRef = given.place;
        self.put(kind, place.event, |change| Change {
            user: Some(given.user),
            request,
            hold: Some(given.hold.into()),
            expires_ms: Some(given.expires_ms),
            ..change.at(place).seats(given.seats, &given.rows)
        });
    }
}

/// For a fuzzer: whatever the bytes, changes are told or refused.
pub fn fuzz_changes(data: &[u8]) -> Vec<Change> {
    let mut out = Vec::new();
    if let Some((&kind, payload)) = data.split_first() {
        let record = Record { partition: 1, epoch: 2, lsn: 3, time_ms: 4, kind, payload };
        if changes(&record, &mut out).is_err() {
            assert!(out.is_empty(), "what cannot be told is not told by halves");
        }
    }
    out
}
