//! How an operation and its outcome stand in the log.
//!
//! A record is the operation, archived by rkyv in its fixed little-endian layout, and what came out of it. Replay
//! applies the operation again and compares: two states that drift apart are found at the first
//! operation where they do. The position (partition, epoch, LSN) and the time stand in the log's own
//! header. The kind of a record says which operation it is.
//!
//! Behind both stand the operation's *facts*, if it caused any: see [`Fact`]. [`kind::FACTS`] in the record's kind
//! says so.

mod facts;

use crate::answer::{Answer, Code};
use crate::effects::Effects;
use crate::ids::{Epoch, EventId, Lsn, PartitionId, RequestId, RowRef, Seats, UserId};
use crate::op::{
    ArchiveStep, ClaimBest, ClaimSeats, ClaimSection, Command, Join, Leave, Mail, Op, Proof, Request,
};
use crate::rules::{EventSpec, EventState};
use rkyv::api::high::{HighDeserializer, HighSerializer, HighValidator};
use rkyv::bytecheck::CheckBytes;
use rkyv::rancor::Error;
use rkyv::ser::allocator::ArenaHandle;
use rkyv::util::AlignedVec;
use rkyv::{Archive, Deserialize, Serialize};

pub(crate) use facts::put_like;
pub use facts::{BadFact, DropReason, Fact, Facts, FactsIter, Given, HoldId, most_bytes_of};

/// Version of the payloads; a record of another version is refused.
pub const RECORD_VERSION: u8 = 1;

/// What came of an operation, as far as replay must agree with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Archive, Serialize, Deserialize)]
pub struct Outcome {
    /// Seats granted, freed or in conflict.
    pub seats: Seats,
    /// When the hold ends.
    pub expires_ms: u64,
    /// The hold or the position.
    pub slot: u32,
    /// What became of it.
    pub code: Code,
    /// Remarks.
    pub flags: u8,
}

impl From<&Answer> for Outcome {
    fn from(answer: &Answer) -> Self {
        Self {
            seats: answer.seats,
            expires_ms: answer.expires_ms,
            slot: answer.slot,
            code: answer.code,
            flags: answer.flags,
        }
    }
}

/// Why a payload is not a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RecordError {
    /// No operation has this kind: the log is of a newer version, or of another program.
    UnknownKind(u8),
    /// The payload is not what its kind says, though its checksum was right: a defect, not a bad disk.
    Malformed {
        /// The record's kind.
        kind: u8,
        /// What the validation said.
        reason: String,
    },
}

impl std::fmt::Display for RecordError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::UnknownKind(kind) => {
                write!(f, "log record of unknown kind {kind}: start the version of Frontrow that wrote it")
            }
            Self::Malformed { kind, reason } => write!(
                f,
                "log record of kind {kind} has a good checksum and a bad payload ({reason}): keep the data \
                 directory and report it"
            ),
        }
    }
}

impl std::error::Error for RecordError {}

/// A user's request in the log.
#[derive(Archive, Serialize, Deserialize)]
struct Asked<C> {
    id: [u64; 2],
    user: UserId,
    command: C,
    outcome: Outcome,
}

#[derive(Archive, Serialize, Deserialize)]
struct Begun {
    epoch: Epoch,
    secret: [u64; 2],
}

#[derive(Archive, Serialize, Deserialize)]
struct Ended {
    event: EventId,
    slot: u32,
    lsn: Lsn,
    outcome: Outcome,
}

#[derive(Archive, Serialize, Deserialize)]
struct Delivered {
    from: PartitionId,
    seq: u64,
    mail: Mail,
}

#[derive(Archive, Serialize, Deserialize)]
struct Created {
    spec: EventSpec,
    outcome: Outcome,
}

#[derive(Archive, Serialize, Deserialize)]
struct Changed {
    event: EventId,
    state: EventState,
    outcome: Outcome,
}

#[derive(Archive, Serialize, Deserialize)]
struct Blocked {
    row: RowRef,
    seats: Seats,
    out_of_sale: bool,
    outcome: Outcome,
}

#[derive(Archive, Serialize, Deserialize)]
struct Archiving {
    event: EventId,
    step: ArchiveStep,
    outcome: Outcome,
}

/// Kinds of records, as they stand in the log's header.
pub mod kind {
    /// Set beside the kind of a record that carries facts. In that of [`BEGIN`]: the records that follow carry theirs,
    /// so that one without has none. A log written before there were facts has it nowhere.
    pub const FACTS: u8 = 1 << 7;
    /// [`crate::Op::Begin`].
    pub const BEGIN: u8 = 1;
    /// [`crate::Op::CreateEvent`].
    pub const CREATE_EVENT: u8 = 2;
    /// [`crate::Op::SetEventState`].
    pub const SET_EVENT_STATE: u8 = 3;
    /// [`crate::Op::Block`].
    pub const BLOCK: u8 = 4;
    /// [`crate::Op::Expire`].
    pub const EXPIRE: u8 = 5;
    /// [`crate::Op::Deliver`].
    pub const DELIVER: u8 = 6;
    /// [`crate::Op::Archive`].
    pub const ARCHIVE: u8 = 7;
    /// [`crate::Command::ClaimSeats`], and the other commands behind it in their order.
    pub const CLAIM_SEATS: u8 = 16;
    /// [`crate::Command::ClaimBest`].
    pub const CLAIM_BEST: u8 = 17;
    /// [`crate::Command::ClaimSection`].
    pub const CLAIM_SECTION: u8 = 18;
    /// [`crate::Command::Extend`].
    pub const EXTEND: u8 = 19;
    /// [`crate::Command::BeginPayment`].
    pub const BEGIN_PAYMENT: u8 = 20;
    /// [`crate::Command::Book`].
    pub const BOOK: u8 = 21;
    /// [`crate::Command::Release`].
    pub const RELEASE: u8 = 22;
    /// [`crate::Command::Cancel`].
    pub const CANCEL: u8 = 23;
    /// [`crate::Command::Join`].
    pub const JOIN: u8 = 24;
    /// [`crate::Command::Leave`].
    pub const LEAVE: u8 = 25;
}

/// Writes records; keeps its buffers, so that it does not allocate once warm.
pub struct Encoder {
    bytes: AlignedVec,
    arena: rkyv::ser::allocator::Arena,
    most: usize,
}

impl Default for Encoder {
    /// Of records of any length.
    fn default() -> Self {
        Self::within(usize::MAX)
    }
}

impl Encoder {
    /// Of records whose payload is `most` bytes long at most, as far as that is up to their facts.
    pub fn within(most: usize) -> Self {
        Self { bytes: AlignedVec::new(), arena: rkyv::ser::allocator::Arena::default(), most }
    }

    /// The kind and payload of `op`, of which `answer` came and which caused `effects`.
    pub fn encode(&mut self, op: &Op, answer: &Answer, effects: &Effects) -> (u8, &[u8]) {
        let kind = self.operation(op, answer);
        if !effects.has_facts() && !matches!(op, Op::Begin { .. }) {
            return (kind, &self.bytes);
        }
        let start = self.bytes.len();
        facts::put_within(effects, self.most.saturating_sub(start + LENGTH_BYTES), &mut self.bytes);
        let length = (self.bytes.len() - start) as u32;
        self.bytes.extend_from_slice(&length.to_le_bytes());
        (kind | kind::FACTS, &self.bytes)
    }

    fn operation(&mut self, op: &Op, answer: &Answer) -> u8 {
        let outcome = Outcome::from(answer);
        match op {
            Op::Begin { epoch, secret } => {
                self.put(&Begun { epoch: *epoch, secret: halves(*secret) }, kind::BEGIN)
            }
            Op::Request(request) => self.request(request, outcome),
            Op::Expire { event, slot, lsn } => {
                self.put(&Ended { event: *event, slot: *slot, lsn: *lsn, outcome }, kind::EXPIRE)
            }
            Op::Deliver { from, seq, mail } => {
                self.put(&Delivered { from: *from, seq: *seq, mail: *mail }, kind::DELIVER)
            }
            Op::CreateEvent(spec) => {
                self.put(&Created { spec: (**spec).clone(), outcome }, kind::CREATE_EVENT)
            }
            Op::SetEventState { event, state } => {
                self.put(&Changed { event: *event, state: *state, outcome }, kind::SET_EVENT_STATE)
            }
            Op::Block { row, seats, blocked } => {
                self.put(&Blocked { row: *row, seats: *seats, out_of_sale: *blocked, outcome }, kind::BLOCK)
            }
            Op::Archive { event, step } => {
                self.put(&Archiving { event: *event, step: *step, outcome }, kind::ARCHIVE)
            }
        }
    }

    fn request(&mut self, request: &Request, outcome: Outcome) -> u8 {
        let (id, user) = (halves(request.id), request.user);
        match request.command {
            Command::ClaimSeats(command) => {
                self.put(&Asked { id, user, command, outcome }, kind::CLAIM_SEATS)
            }
            Command::ClaimBest(command) => self.put(&Asked { id, user, command, outcome }, kind::CLAIM_BEST),
            Command::ClaimSection(command) => {
                self.put(&Asked { id, user, command, outcome }, kind::CLAIM_SECTION)
            }
            Command::Extend(command) => self.put(&Asked { id, user, command, outcome }, kind::EXTEND),
            Command::BeginPayment(command) => {
                self.put(&Asked { id, user, command, outcome }, kind::BEGIN_PAYMENT)
            }
            Command::Book(command) => self.put(&Asked { id, user, command, outcome }, kind::BOOK),
            Command::Release(command) => self.put(&Asked { id, user, command, outcome }, kind::RELEASE),
            Command::Cancel(command) => self.put(&Asked { id, user, command, outcome }, kind::CANCEL),
            Command::Join(command) => self.put(&Asked { id, user, command, outcome }, kind::JOIN),
            Command::Leave(command) => self.put(&Asked { id, user, command, outcome }, kind::LEAVE),
        }
    }

    fn put<T>(&mut self, value: &T, kind: u8) -> u8
    where
        T: for<'a> Serialize<HighSerializer<&'a mut AlignedVec, ArenaHandle<'a>, Error>>,
    {
        self.bytes.clear();
        rkyv::api::high::to_bytes_in_with_alloc::<_, _, Error>(value, &mut self.bytes, self.arena.acquire())
            .expect("writing to memory does not fail");
        kind
    }
}

/// What stands in a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decoded<'a> {
    /// The operation.
    pub op: Op,
    /// What came of it. `Begin` and `Deliver` carry none of their own.
    pub outcome: Option<Outcome>,
    /// What it caused, in place; they are looked at when they are read. `None` if none stand in the record.
    pub facts: Option<Facts<'a>>,
}

/// The length of the facts, which ends a record that carries some.
const LENGTH_BYTES: usize = size_of::<u32>();

/// Reads a record.
pub fn decode(kind: u8, payload: &[u8]) -> Result<Decoded<'_>, RecordError> {
    if kind & kind::FACTS == 0 {
        let (op, outcome) = operation(kind, payload)?;
        return Ok(Decoded { op, outcome, facts: None });
    }
    let malformed = |reason: &str| RecordError::Malformed { kind, reason: reason.into() };
    let (rest, length) = payload.split_last_chunk().ok_or_else(|| malformed("no length of its facts"))?;
    let start = rest.len().checked_sub(u32::from_le_bytes(*length) as usize);
    let start = start.ok_or_else(|| malformed("facts longer than the record"))?;
    let (payload, facts) = rest.split_at(start);
    let (op, outcome) = operation(kind & !kind::FACTS, payload)?;
    let event = op.event().unwrap_or_default();
    Ok(Decoded { op, outcome, facts: Some(Facts::new(event, facts)) })
}

fn operation(kind: u8, payload: &[u8]) -> Result<(Op, Option<Outcome>), RecordError> {
    Ok(match kind {
        kind::BEGIN => {
            let begun = get::<Begun>(kind, payload)?;
            (Op::Begin { epoch: begun.epoch, secret: whole(begun.secret) }, None)
        }
        kind::CREATE_EVENT => {
            let created = get::<Created>(kind, payload)?;
            (Op::CreateEvent(Box::new(created.spec)), Some(created.outcome))
        }
        kind::SET_EVENT_STATE => {
            let changed = get::<Changed>(kind, payload)?;
            (Op::SetEventState { event: changed.event, state: changed.state }, Some(changed.outcome))
        }
        kind::BLOCK => {
            let Blocked { row, seats, out_of_sale: blocked, outcome } = get::<Blocked>(kind, payload)?;
            (Op::Block { row, seats, blocked }, Some(outcome))
        }
        kind::ARCHIVE => {
            let Archiving { event, step, outcome } = get::<Archiving>(kind, payload)?;
            (Op::Archive { event, step }, Some(outcome))
        }
        kind::EXPIRE => {
            let Ended { event, slot, lsn, outcome } = get::<Ended>(kind, payload)?;
            (Op::Expire { event, slot, lsn }, Some(outcome))
        }
        kind::DELIVER => {
            let Delivered { from, seq, mail } = get::<Delivered>(kind, payload)?;
            (Op::Deliver { from, seq, mail }, None)
        }
        kind::CLAIM_SEATS => asked::<ClaimSeats>(kind, payload, Command::ClaimSeats)?,
        kind::CLAIM_BEST => asked::<ClaimBest>(kind, payload, Command::ClaimBest)?,
        kind::CLAIM_SECTION => asked::<ClaimSection>(kind, payload, Command::ClaimSection)?,
        kind::EXTEND => asked::<Proof>(kind, payload, Command::Extend)?,
        kind::BEGIN_PAYMENT => asked::<Proof>(kind, payload, Command::BeginPayment)?,
        kind::BOOK => asked::<Proof>(kind, payload, Command::Book)?,
        kind::RELEASE => asked::<Proof>(kind, payload, Command::Release)?,
        kind::CANCEL => asked::<Proof>(kind, payload, Command::Cancel)?,
        kind::JOIN => asked::<Join>(kind, payload, Command::Join)?,
        kind::LEAVE => asked::<Leave>(kind, payload, Command::Leave)?,
        _ => return Err(RecordError::UnknownKind(kind)),
    })
}

fn asked<C: Archive>(
    kind: u8,
    payload: &[u8],
    command: impl FnOnce(C) -> Command,
) -> Result<(Op, Option<Outcome>), RecordError>
where
    <Asked<C> as Archive>::Archived:
        for<'a> CheckBytes<HighValidator<'a, Error>> + Deserialize<Asked<C>, HighDeserializer<Error>>,
{
    let Asked { id, user, command: inner, outcome } = get::<Asked<C>>(kind, payload)?;
    Ok((Op::Request(Request { id: whole(id), user, command: command(inner) }), Some(outcome)))
}

/// Validates in place, then copies out. Payloads in a mapped segment are aligned; others are copied first.
fn get<T: Archive>(kind: u8, payload: &[u8]) -> Result<T, RecordError>
where
    T::Archived: for<'a> CheckBytes<HighValidator<'a, Error>> + Deserialize<T, HighDeserializer<Error>>,
{
    let malformed = |error: Error| RecordError::Malformed { kind, reason: error.to_string() };
    let aligned;
    let bytes = if payload.as_ptr().align_offset(8) == 0 {
        payload
    } else {
        let mut copy: AlignedVec = AlignedVec::with_capacity(payload.len());
        copy.extend_from_slice(payload);
        aligned = copy;
        &aligned
    };
    rkyv::from_bytes::<T, Error>(bytes).map_err(malformed)
}

fn halves(n: RequestId) -> [u64; 2] {
    [n as u64, (n >> 64) as u64]
}

fn whole([low, high]: [u64; 2]) -> RequestId {
    u128::from(low) | (u128::from(high) << 64)
}

/// For a fuzzer: decoding never panics, and what decodes is written again as it was read.
pub fn fuzz_decode(data: &[u8]) {
    let Some((&kind, payload)) = data.split_first() else { return };
    if let Ok((op, outcome)) = operation(kind & !kind::FACTS, payload) {
        let answer = outcome.map_or(Answer::plain(Code::Done), |outcome| Answer {
            seats: outcome.seats,
            expires_ms: outcome.expires_ms,
            slot: outcome.slot,
            flags: outcome.flags,
            ..Answer::plain(outcome.code)
        });
        let mut encoder = Encoder::default();
        let (again, bytes) = encoder.encode(&op, &answer, &Effects::default());
        assert_eq!(again & !kind::FACTS, kind & !kind::FACTS);
        let second = decode(again, bytes).expect("what was written can be read");
        assert_eq!((second.op, second.outcome), (op, outcome));
    }
    if let Ok(Decoded { facts: Some(facts), .. }) = decode(kind, payload) {
        facts.iter().for_each(drop);
    }
}

/// For a fuzzer: reading facts never panics, and what can be read is written again as it was.
pub fn fuzz_facts(data: &[u8]) {
    facts::fuzz_read(data);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::answer::Fence;

    fn round_trip(op: &Op) -> usize {
        let answer = Answer { slot: 7, expires_ms: 99, ..Answer::plain(Code::Granted) };
        let mut encoder = Encoder::default();
        let (kind, bytes) = encoder.encode(op, &answer, &Effects::default());
        let length = bytes.len();
        let Decoded { op: again, outcome, .. } = decode(kind, bytes).unwrap();
        assert_eq!(&again, op);
        assert!(outcome.is_none_or(|outcome| outcome == Outcome::from(&answer)));
        // Every truncation is refused.
        for cut in 0..length {
            assert!(decode(kind, &bytes[..cut]).is_err(), "kind {kind} cut at {cut} of {length}");
        }
        length
    }

    #[test]
    fn operations_survive_the_log() {
        let row = RowRef::new(1, 2, 3);
        let request = |command| Op::Request(Request { id: u128::MAX - 5, user: 42, command });
        let fence = Fence { user: 42, expires_ms: 1, lsn: 2, nonce: 3, slot: 4, epoch: 5 };
        let proof = Proof { place: row, fence };
        let seats = Seats { mask: 7, first: 200 };
        let claim = round_trip(&request(Command::ClaimSeats(ClaimSeats { row, seats })));
        assert!(claim <= 88, "a claim takes {claim} bytes in the log");
        let book = round_trip(&request(Command::Book(proof)));
        assert!(book <= 104, "a booking takes {book} bytes in the log");
        round_trip(&request(Command::Leave(Leave { place: row })));
        round_trip(&Op::Begin { epoch: 3, secret: 1 << 100 });
        round_trip(&Op::Expire { event: 1, slot: 2, lsn: 3 });
        round_trip(&Op::Block { row, seats, blocked: true });
        round_trip(&Op::SetEventState { event: 9, state: EventState::Paused });
        round_trip(&Op::Archive { event: 9, step: ArchiveStep::End });
        round_trip(&Op::Deliver { from: 3, seq: 1, mail: Mail::Credit { event: 1, user: 2, count: 3 } });
    }

    #[test]
    fn garbage_is_refused_without_panic() {
        let mut state = 1_u64;
        for _ in 0..20_000 {
            let bytes: Vec<u8> = (0..120)
                .map(|_| {
                    state = crate::ids::mix(state + 1);
                    state as u8
                })
                .collect();
            fuzz_decode(&bytes);
            fuzz_facts(&bytes);
        }
        assert_eq!(decode(100, &[]), Err(RecordError::UnknownKind(100)));
    }
}
