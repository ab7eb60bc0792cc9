//! What an operation caused, as it stands behind the operation in its record.
//!
//! The log says what was asked and what was answered; whom a freed seat went to, whose hold ran out and which rows a
//! claim of a section got are worked out from the whole state. Facts say it, so that a reader of the log needs no
//! state. The bytes are drawn in `docs/log-format.md`.
//!
//! One operation may push to everybody who waits, so a record may have no room for all of it. Facts about seats go
//! first then, and of the others (who joined, who is out of a queue) only the number is kept; see [`Fact::Unnamed`].

use crate::answer::{Answer, Code};
use crate::effects::{Decided, Effects, Push, PushKind};
use crate::ids::{Epoch, EventId, Lsn, Millis, Part, Parts, RequestId, RowRef, Seats, UserId};
use rkyv::util::AlignedVec;

/// What an offer of seats of one row takes, the largest fact of which one operation can cause many.
const OFFER_BYTES: usize = 47;
/// More than everything else about seats that one operation can cause: the rows of one claim over several, its grant or
/// offer or end, and the count of what is left out.
const OTHER_BYTES: usize = 1024;

/// The most bytes that the facts about seats can take which one operation causes in an event with so many seats in its
/// partition: each seat is given once.
pub const fn most_bytes_of(seats: usize) -> usize {
    seats * OFFER_BYTES + OTHER_BYTES
}

/// A hold, by its grant. Numbers are of its partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct HoldId {
    /// The epoch of the grant.
    pub epoch: Epoch,
    /// The operation that set the seats aside; it may have made several holds.
    pub lsn: Lsn,
    /// The hold's place in its event's arena, which tells those apart.
    pub slot: u32,
}

/// Seats that a user holds from now on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Given {
    /// Who.
    pub user: UserId,
    /// The row, or the section for a claim of one.
    pub place: RowRef,
    /// The hold.
    pub hold: HoldId,
    /// The seats of a row.
    pub seats: Seats,
    /// When it ends.
    pub expires_ms: Millis,
    /// The rows of a hold over several. Their own holds stay where they are: `slot` is 0.
    pub rows: Parts,
}

/// Why a party is out of a queue without seats and without having left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DropReason {
    /// It can never fit any more.
    Unfillable,
    /// The sale is over.
    Closed,
    /// The user has as many seats as one may have.
    HoldCap,
}

/// One thing that an operation caused beside its own answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fact {
    /// The rows of the hold that the operation is about, which is one over several.
    Rows(Parts),
    /// The hold that the operation ended has run out. Which hold it was, and the seats if it was of one row, say
    /// operation and outcome.
    Expired {
        /// Whose.
        user: UserId,
        /// The row or section.
        place: RowRef,
        /// The epoch of its grant.
        epoch: Epoch,
        /// The rows of a hold over several.
        rows: Parts,
    },
    /// An earlier request has been granted.
    Granted {
        /// Which.
        request: RequestId,
        /// What.
        given: Given,
    },
    /// Seats from the queue.
    Offered(Given),
    /// An earlier request has led into the queue.
    Queued {
        /// Which.
        request: RequestId,
        /// Whose.
        user: UserId,
        /// The row or section.
        place: RowRef,
    },
    /// An earlier request has come to nothing.
    Refused {
        /// Which.
        request: RequestId,
        /// Whose.
        user: UserId,
        /// The row or section.
        place: RowRef,
        /// Why; [`Code::Left`] if the user has left the queue meanwhile.
        code: Code,
    },
    /// A party is out of the queue.
    Dropped {
        /// Whose.
        user: UserId,
        /// The row or section.
        place: RowRef,
        /// Why.
        why: DropReason,
    },
    /// The record had no room for so many facts more. Stands first.
    Unnamed {
        /// Whether facts about seats are among them. Never, in an event whose size was looked at when it was created
        /// ([`most_bytes_of`]).
        seats: bool,
        /// How many.
        count: u32,
    },
}

impl Fact {
    /// Whether it says who has which seats.
    pub fn is_about_seats(&self) -> bool {
        match self {
            Self::Rows(_) | Self::Expired { .. } | Self::Granted { .. } | Self::Offered(_) => true,
            Self::Queued { .. } | Self::Refused { .. } | Self::Dropped { .. } => false,
            Self::Unnamed { seats, .. } => *seats,
        }
    }

    fn of_push(push: &Push) -> Self {
        let Push { user, place, kind, answer, parts } = push;
        let dropped = |why| Self::Dropped { user: *user, place: *place, why };
        match kind {
            PushKind::Offered => Self::Offered(Given::of(*user, *place, answer, parts)),
            PushKind::Expired => {
                Self::Expired { user: *user, place: *place, epoch: answer.epoch, rows: *parts }
            }
            PushKind::Unfillable => dropped(DropReason::Unfillable),
            PushKind::Closed => dropped(DropReason::Closed),
            PushKind::HoldCap => dropped(DropReason::HoldCap),
        }
    }

    fn of_decided(decided: &Decided) -> Self {
        let Decided { request, user, place, answer, parts } = *decided;
        match answer.code {
            Code::Granted => Self::Granted { request, given: Given::of(user, place, &answer, &parts) },
            Code::Queued => Self::Queued { request, user, place },
            code => Self::Refused { request, user, place, code },
        }
    }
}

impl Given {
    fn of(user: UserId, place: RowRef, answer: &Answer, rows: &Parts) -> Self {
        let hold = HoldId { epoch: answer.epoch, lsn: answer.lsn, slot: answer.slot };
        Self { user, place, hold, seats: answer.seats, expires_ms: answer.expires_ms, rows: *rows }
    }
}

impl Effects {
    /// Whether there is anything that a reader of the log could not know.
    pub fn has_facts(&self) -> bool {
        !self.answers.is_empty() || !self.pushes.is_empty() || !self.parts.as_slice().is_empty()
    }

    /// What was caused, in the order in which it makes sense: what ended comes before what was given.
    pub fn facts(&self) -> impl Iterator<Item = Fact> + '_ {
        let ended = |push: &&Push| push.kind == PushKind::Expired;
        let rows = (!self.parts.as_slice().is_empty()).then_some(Fact::Rows(self.parts));
        rows.into_iter()
            .chain(self.pushes.iter().filter(ended).map(Fact::of_push))
            .chain(self.answers.iter().map(Fact::of_decided))
            .chain(self.pushes.iter().filter(move |push| !ended(push)).map(Fact::of_push))
    }
}

// ---- bytes ----------------------------------------------------------------------------------

mod tag {
    pub(super) const ROWS: u8 = 1;
    pub(super) const EXPIRED: u8 = 2;
    pub(super) const GRANTED: u8 = 3;
    pub(super) const OFFERED: u8 = 4;
    pub(super) const QUEUED: u8 = 5;
    pub(super) const REFUSED: u8 = 6;
    pub(super) const UNFILLABLE: u8 = 7;
    pub(super) const CLOSED: u8 = 8;
    pub(super) const HOLD_CAP: u8 = 9;
    pub(super) const UNNAMED: u8 = 10;
    pub(super) const UNNAMED_SEATS: u8 = 11;
}

/// How much of the facts is named.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Named {
    All,
    Seats,
    Nothing,
}

impl Named {
    fn takes(self, fact: &Fact) -> bool {
        match self {
            Self::All => true,
            Self::Seats => fact.is_about_seats(),
            Self::Nothing => false,
        }
    }

    /// How much was named in these bytes.
    fn in_bytes(bytes: &[u8]) -> Self {
        match bytes.first() {
            Some(&tag::UNNAMED) => Self::Seats,
            Some(&tag::UNNAMED_SEATS) => Self::Nothing,
            _ => Self::All,
        }
    }
}

/// Appends the facts to `out`, in at most `room` bytes as long as those are more than five.
pub(super) fn put_within(effects: &Effects, room: usize, out: &mut AlignedVec) {
    let start = out.len();
    for named in [Named::All, Named::Seats] {
        if put(effects, named, room, out) {
            return;
        }
        out.resize(start, 0);
    }
    let seats = effects.facts().any(|fact| fact.is_about_seats());
    put(effects, if seats { Named::Nothing } else { Named::Seats }, usize::MAX, out);
}

/// Appends the facts to `out`, naming as much as `like` does.
pub(crate) fn put_like(effects: &Effects, like: &[u8], out: &mut AlignedVec) {
    put(effects, Named::in_bytes(like), usize::MAX, out);
}

/// Whether there was room.
fn put(effects: &Effects, named: Named, room: usize, out: &mut AlignedVec) -> bool {
    let start = out.len();
    let fits = |out: &AlignedVec| out.len() - start <= room;
    if named != Named::All {
        let left = effects.facts().filter(|fact| !named.takes(fact)).count();
        let count = u32::try_from(left).unwrap_or(u32::MAX);
        Fact::Unnamed { seats: named == Named::Nothing, count }.put(out);
    }
    for fact in effects.facts().filter(|fact| named.takes(fact)) {
        fact.put(out);
        if !fits(out) {
            return false;
        }
    }
    fits(out)
}

impl Fact {
    /// Appends its bytes.
    fn put(&self, out: &mut AlignedVec) {
        match self {
            Self::Rows(rows) => {
                out.push(tag::ROWS);
                put_rows(rows, out);
            }
            Self::Expired { user, place, epoch, rows } => {
                put_who(tag::EXPIRED, *user, *place, out);
                out.extend_from_slice(&epoch.to_le_bytes());
                put_rows(rows, out);
            }
            Self::Granted { request, given } => {
                put_who(tag::GRANTED, given.user, given.place, out);
                out.extend_from_slice(&request.to_le_bytes());
                given.put(out);
            }
            Self::Offered(given) => {
                put_who(tag::OFFERED, given.user, given.place, out);
                given.put(out);
            }
            Self::Queued { request, user, place } => {
                put_who(tag::QUEUED, *user, *place, out);
                out.extend_from_slice(&request.to_le_bytes());
            }
            Self::Refused { request, user, place, code } => {
                put_who(tag::REFUSED, *user, *place, out);
                out.extend_from_slice(&request.to_le_bytes());
                out.push(*code as u8);
            }
            Self::Dropped { user, place, why } => {
                let tag = match why {
                    DropReason::Unfillable => tag::UNFILLABLE,
                    DropReason::Closed => tag::CLOSED,
                    DropReason::HoldCap => tag::HOLD_CAP,
                };
                put_who(tag, *user, *place, out);
            }
            Self::Unnamed { seats, count } => {
                out.push(if *seats { tag::UNNAMED_SEATS } else { tag::UNNAMED });
                out.extend_from_slice(&count.to_le_bytes());
            }
        }
    }
}

impl Given {
    /// What follows on who and where.
    fn put(&self, out: &mut AlignedVec) {
        out.extend_from_slice(&self.hold.epoch.to_le_bytes());
        out.extend_from_slice(&self.hold.lsn.to_le_bytes());
        out.extend_from_slice(&self.hold.slot.to_le_bytes());
        put_seats(self.seats, out);
        out.extend_from_slice(&self.expires_ms.to_le_bytes());
        put_rows(&self.rows, out);
    }
}

/// The event is the operation's.
fn put_who(tag: u8, user: UserId, place: RowRef, out: &mut AlignedVec) {
    out.push(tag);
    out.extend_from_slice(&user.to_le_bytes());
    out.extend_from_slice(&place.section.to_le_bytes());
    out.extend_from_slice(&place.row.to_le_bytes());
}

fn put_seats(seats: Seats, out: &mut AlignedVec) {
    out.push(seats.first);
    out.extend_from_slice(&seats.mask.to_le_bytes());
}

fn put_rows(rows: &Parts, out: &mut AlignedVec) {
    out.push(rows.as_slice().len() as u8);
    for part in rows.as_slice() {
        out.extend_from_slice(&part.row.to_le_bytes());
        put_seats(part.seats, out);
    }
}

/// The facts of a record, in place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Facts<'a> {
    event: EventId,
    bytes: &'a [u8],
}

impl<'a> Facts<'a> {
    /// Of an operation on `event`.
    pub(super) const fn new(event: EventId, bytes: &'a [u8]) -> Self {
        Self { event, bytes }
    }

    /// As they stand in the log.
    pub const fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// One after the other. Nothing follows on the first that cannot be read.
    pub fn iter(&self) -> FactsIter<'a> {
        FactsIter { event: self.event, bytes: self.bytes }
    }
}

impl<'a> IntoIterator for &Facts<'a> {
    type Item = Result<Fact, BadFact>;
    type IntoIter = FactsIter<'a>;
    fn into_iter(self) -> FactsIter<'a> {
        self.iter()
    }
}

/// Bytes that are no fact: see [`super::RecordError::Malformed`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadFact;

/// See [`Facts::iter`].
#[derive(Clone, Debug)]
pub struct FactsIter<'a> {
    event: EventId,
    bytes: &'a [u8],
}

impl Iterator for FactsIter<'_> {
    type Item = Result<Fact, BadFact>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.bytes.is_empty() {
            return None;
        }
        let fact = self.fact().ok_or(BadFact);
        if fact.is_err() {
            self.bytes = &[];
        }
        Some(fact)
    }
}

impl FactsIter<'_> {
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (taken, rest) = self.bytes.split_first_chunk::<N>()?;
        self.bytes = rest;
        Some(*taken)
    }

    fn byte(&mut self) -> Option<u8> {
        self.take::<1>().map(|[byte]| byte)
    }

    fn fact(&mut self) -> Option<Fact> {
        let tag = self.byte()?;
        match tag {
            tag::ROWS => return Some(Fact::Rows(self.rows()?)),
            tag::UNNAMED | tag::UNNAMED_SEATS => {
                let count = u32::from_le_bytes(self.take()?);
                return Some(Fact::Unnamed { seats: tag == tag::UNNAMED_SEATS, count });
            }
            _ => {}
        }
        let (user, place) = self.who()?;
        let dropped = |why| Fact::Dropped { user, place, why };
        Some(match tag {
            tag::EXPIRED => {
                Fact::Expired { user, place, epoch: Epoch::from_le_bytes(self.take()?), rows: self.rows()? }
            }
            tag::GRANTED => Fact::Granted { request: self.request()?, given: self.given(user, place)? },
            tag::OFFERED => Fact::Offered(self.given(user, place)?),
            tag::QUEUED => Fact::Queued { request: self.request()?, user, place },
            tag::REFUSED => Fact::Refused {
                request: self.request()?,
                user,
                place,
                code: Code::from_number(self.byte()?)?,
            },
            tag::UNFILLABLE => dropped(DropReason::Unfillable),
            tag::CLOSED => dropped(DropReason::Closed),
            tag::HOLD_CAP => dropped(DropReason::HoldCap),
            _ => return None,
        })
    }

    fn who(&mut self) -> Option<(UserId, RowRef)> {
        let user = UserId::from_le_bytes(self.take()?);
        let section = u16::from_le_bytes(self.take()?);
        let row = u16::from_le_bytes(self.take()?);
        Some((user, RowRef::new(self.event, section, row)))
    }

    fn request(&mut self) -> Option<RequestId> {
        Some(RequestId::from_le_bytes(self.take()?))
    }

    fn given(&mut self, user: UserId, place: RowRef) -> Option<Given> {
        let epoch = Epoch::from_le_bytes(self.take()?);
        let lsn = Lsn::from_le_bytes(self.take()?);
        let slot = u32::from_le_bytes(self.take()?);
        let seats = self.seats()?;
        let expires_ms = Millis::from_le_bytes(self.take()?);
        Some(Given { user, place, hold: HoldId { epoch, lsn, slot }, seats, expires_ms, rows: self.rows()? })
    }

    fn seats(&mut self) -> Option<Seats> {
        let first = self.byte()?;
        let seats = Seats { mask: u64::from_le_bytes(self.take()?), first };
        seats.is_in_reach().then_some(seats)
    }

    fn rows(&mut self) -> Option<Parts> {
        let mut rows = Parts::default();
        for _ in 0..self.byte()? {
            let row = u16::from_le_bytes(self.take()?);
            let seats = self.seats()?;
            rows.push(Part { row, seats, slot: 0 }).then_some(())?;
        }
        Some(rows)
    }
}

/// For a fuzzer: reading never panics, and what can be read is written again as it was.
pub(super) fn fuzz_read(data: &[u8]) {
    let Some((event, bytes)) = data.split_first_chunk() else { return };
    let facts = Facts::new(EventId::from_le_bytes(*event), bytes);
    let mut again: AlignedVec = AlignedVec::new();
    for fact in &facts {
        let Ok(fact) = fact else { return };
        fact.put(&mut again);
    }
    assert_eq!(&*again, bytes, "what was read is written otherwise");
}

#[cfg(test)]
mod tests;
