//! What all clients were told, and whether it can be true together. Every rule is checked as answers come, or
//! in one walk over the holds at the end: the whole costs O(n log n).
//!
//! A partition's history is one line of LSNs. So, for places that one partition decides about:
//! - a grant that was asked for after an answer had been heard lies behind it: what was acknowledged is never
//!   lost, nor decided again by a later epoch;
//! - epochs rise along the line, and no two grants share a place on it, but those of one handing-on;
//! - of two holds of a seat the first had ended when the second began: by a release before it, or because its
//!   time was over by the server's own clock; a booking ends by being cancelled only;
//! - the same request id brings the same answer;
//! - in the end the server's seats are booked exactly where clients were told so.

use crate::server::Hall;
use frontrow_protocol::Reply;
use frontrow_server::http::LiveRow;
use frontrow_shard::{
    Answer, Code, Lsn, Millis, PartitionId, Parts, RequestId, RowRef, Seats, UserId, flags,
};
use std::collections::BTreeMap;

/// Where a grant stands, and in which slot: it names a hold for all its life.
type HoldId = (PartitionId, Lsn, u32);

#[derive(Debug, Clone)]
struct Hold {
    user: UserId,
    place: RowRef,
    rows: Vec<(u16, Seats)>,
    /// When it was decided, by the server's clock.
    begun_ms: Millis,
    /// Until when, by the last answer about it.
    expires_ms: Millis,
    booked: bool,
    from_queue: bool,
    /// The last LSN at which its seats may have become its own. A row decides in one step; a section's claim is
    /// named after its request and gets its seats later, at the latest where the answer was given. `None` if that
    /// was never heard, as of a section's offer.
    had: Option<Lsn>,
    ended: Option<Lsn>,
}

#[derive(Debug, Clone, Copy)]
struct Asked {
    /// The highest LSN of the partition that anybody had heard of when this was first asked.
    floor: Lsn,
    answer: Option<Answer>,
}

/// Everything that was heard.
#[derive(Debug)]
pub struct History {
    partitions: u16,
    hold_ms: Millis,
    asked: BTreeMap<RequestId, Asked>,
    heard: BTreeMap<PartitionId, Lsn>,
    epochs: BTreeMap<(PartitionId, Lsn), u32>,
    holds: BTreeMap<HoldId, Hold>,
    codes: BTreeMap<&'static str, u64>,
    repeated: u64,
    /// What cannot be true.
    pub violations: Vec<String>,
}

impl History {
    /// Nothing was heard yet. Holds, offers and payments of the hall must all last equally long.
    pub fn new(hall: &Hall, partitions: u16) -> Self {
        let hold_ms = Millis::from(hall.rules.hold_ms);
        Self {
            partitions,
            hold_ms,
            asked: BTreeMap::new(),
            heard: BTreeMap::new(),
            epochs: BTreeMap::new(),
            holds: BTreeMap::new(),
            codes: BTreeMap::new(),
            repeated: 0,
            violations: Vec::new(),
        }
    }

    /// How often each answer was heard.
    pub fn codes(&self) -> &BTreeMap<&'static str, u64> {
        &self.codes
    }

    /// How many requests were answered, and how many answers were repetitions.
    pub fn answered(&self) -> (u64, u64) {
        (self.asked.values().filter(|asked| asked.answer.is_some()).count() as u64, self.repeated)
    }

    /// How many holds were booked.
    pub fn booked(&self) -> u64 {
        self.holds.values().filter(|hold| hold.booked).count() as u64
    }

    /// A request is on its way, for the first time or again.
    pub(crate) fn ask(&mut self, id: RequestId, place: RowRef) {
        let floor = self.heard.get(&place.partition(self.partitions)).copied().unwrap_or(0);
        self.asked.entry(id).or_insert(Asked { floor, answer: None });
    }

    /// An answer was heard.
    pub(crate) fn answer(&mut self, user: UserId, reply: &Reply, proof: Option<(Lsn, u32)>) {
        let Reply { id, place, ref answer, ref parts, durable, .. } = *reply;
        let plain = Answer { flags: answer.flags & !flags::REPEATED, ..*answer };
        self.repeated += u64::from(plain.flags != answer.flags);
        let Some(asked) = self.asked.get_mut(&id) else { return };
        let floor = asked.floor;
        if matches!(plain.code, Code::Full | Code::QueueFull | Code::NotOwner | Code::BadRequestId) {
            // Not decided and not remembered: the same request may succeed later.
            *self.codes.entry(plain.code.name()).or_default() += 1;
            return;
        }
        match asked.answer {
            Some(before) if before == plain => return,
            Some(before) => {
                return self
                    .violations
                    .push(format!("request {id:032x} was answered {before:?}, then {plain:?}"));
            }
            None => asked.answer = Some(plain),
        }
        *self.codes.entry(plain.code.name()).or_default() += 1;
        let partition = place.partition(self.partitions);
        match plain.code {
            Code::Granted => {
                if plain.lsn <= floor {
                    self.violations.push(format!(
                        "user {user}: granted at LSN {} of partition {partition}, asked after {floor} was heard",
                        plain.lsn
                    ));
                }
                self.granted(user, place, &plain, parts, Some(durable));
            }
            Code::Extended | Code::Paying => self.about((partition, plain.lsn, plain.slot), &plain, |hold| {
                hold.expires_ms = hold.expires_ms.max(plain.expires_ms);
            }),
            Code::Booked => {
                self.about((partition, plain.lsn, plain.slot), &plain, |hold| hold.booked = true);
            }
            Code::Released | Code::Cancelled => {
                let (lsn, slot) = proof.unwrap_or_default();
                self.about((partition, lsn, slot), &plain, |hold| hold.ended = Some(plain.lsn));
            }
            _ if plain.lsn < floor => self.violations.push(format!(
                "user {user}: {} at LSN {} of partition {partition}, asked after {floor} was heard",
                plain.code.name(),
                plain.lsn
            )),
            _ => {}
        }
        self.position(partition, &plain);
    }

    /// Seats from a queue were heard of, by news or by asking.
    pub(crate) fn offered(&mut self, user: UserId, place: RowRef, answer: &Answer, parts: &Parts) {
        *self.codes.entry("offered").or_default() += 1;
        self.granted(user, place, answer, parts, None);
        self.position(place.partition(self.partitions), answer);
    }

    /// A hold ran out, and its user heard of it.
    pub(crate) fn expired(&mut self, place: RowRef, answer: &Answer) {
        *self.codes.entry("expired news").or_default() += 1;
        let id = (place.partition(self.partitions), answer.lsn, answer.slot);
        if self.holds.get(&id).is_some_and(|hold| hold.booked) {
            self.violations
                .push(format!("the hold of LSN {} at {place:?} was booked, and ran out", answer.lsn));
        }
    }

    fn position(&mut self, partition: PartitionId, answer: &Answer) {
        let heard = self.heard.entry(partition).or_default();
        *heard = (*heard).max(answer.lsn);
        let known = *self.epochs.entry((partition, answer.lsn)).or_insert(answer.epoch);
        if known != answer.epoch {
            self.violations.push(format!(
                "LSN {} of partition {partition} was decided in epoch {known} and in {}",
                answer.lsn, answer.epoch
            ));
        }
    }

    fn granted(&mut self, user: UserId, place: RowRef, answer: &Answer, parts: &Parts, told: Option<Lsn>) {
        let rows = if place.is_section() {
            parts.as_slice().iter().map(|part| (part.row, part.seats)).collect()
        } else {
            vec![(place.row, answer.seats)]
        };
        let id = (place.partition(self.partitions), answer.lsn, answer.slot);
        let hold = Hold {
            user,
            place,
            rows,
            begun_ms: answer.expires_ms.saturating_sub(self.hold_ms),
            expires_ms: answer.expires_ms,
            booked: false,
            from_queue: answer.flags & flags::FROM_QUEUE != 0,
            had: if place.is_section() { told } else { Some(answer.lsn) },
            ended: None,
        };
        // One release may serve several parties; anything else grants once.
        let same_place = self.holds.range((id.0, id.1, 0)..=(id.0, id.1, u32::MAX));
        let clash =
            same_place
                .filter(|(other, known)| {
                    if **other == id { known.user != user } else { !(known.from_queue && hold.from_queue) }
                })
                .map(|(_, known)| known.user)
                .next();
        if let Some(other) = clash {
            let why = format!("LSN {} of partition {} granted seats to users {other} and {user}", id.1, id.0);
            self.violations.push(why);
        }
        self.holds.entry(id).or_insert(hold);
    }

    fn about(&mut self, id: HoldId, answer: &Answer, change: impl FnOnce(&mut Hold)) {
        match self.holds.get_mut(&id) {
            Some(hold) => change(hold),
            None => self.violations.push(format!(
                "{} for a hold of partition {} that was never granted (LSN {})",
                answer.code.name(),
                id.0,
                id.1
            )),
        }
    }

    /// Everything that needs all answers; `seats` is what the server says in the end, section by section.
    pub fn finish(&mut self, hall: &Hall, seats: &[Vec<LiveRow>]) {
        let mut last: Option<((PartitionId, Lsn), u32)> = None;
        for (&at, &epoch) in &self.epochs {
            if let Some((before, earlier)) = last
                && before.0 == at.0
                && earlier > epoch
            {
                let why = format!(
                    "partition {}: epoch {earlier} at LSN {}, then {epoch} at {}",
                    at.0, before.1, at.1
                );
                self.violations.push(why);
            }
            last = Some((at, epoch));
        }
        let mut of_seat: BTreeMap<(u16, u16, u8), Vec<HoldId>> = BTreeMap::new();
        for (&id, hold) in &self.holds {
            for (row, seats) in &hold.rows {
                for seat in seats.places() {
                    of_seat.entry((hold.place.section, *row, seat)).or_default().push(id);
                }
            }
        }
        for (seat, holds) in &mut of_seat {
            // Of one partition, so in the order of its history; a section's rows are claimed by its home alone.
            // Its claims are named in the order they were asked for, and had their seats in that of their times.
            holds.sort_by_key(|id| {
                let section = self.holds.get(id).filter(|hold| hold.place.is_section());
                (section.map_or(0, |hold| hold.begun_ms), *id)
            });
            for pair in holds.windows(2) {
                if let Some(why) = self.overlap(pair[0], pair[1]) {
                    self.violations.push(format!("seat {seat:?}: {why}"));
                }
            }
        }
        for row in hall.rows() {
            let live = seats
                .get(usize::from(row.section))
                .and_then(|rows| rows.iter().find(|one| one.row == row.row));
            for seat in 0..hall.seats {
                let told = of_seat.get(&(row.section, row.row, seat)).into_iter().flatten();
                let told =
                    told.filter_map(|id| self.holds.get(id)).any(|hold| hold.booked && hold.ended.is_none());
                let is = live.is_some_and(|row| is_booked(row, seat));
                if told != is {
                    let (told, is) = (word(told), word(is));
                    self.violations
                        .push(format!("{row:?}, seat {seat}: {told} by what clients heard, {is} in the end"));
                }
            }
        }
    }

    fn overlap(&self, first: HoldId, second: HoldId) -> Option<String> {
        let (one, two) = (self.holds.get(&first)?, self.holds.get(&second)?);
        let fine = match one.ended {
            Some(end) => two.had.is_none_or(|had| end <= had),
            None => !one.booked && one.expires_ms <= two.begun_ms,
        };
        (!fine).then(|| format!("{one:?} (LSN {}) had not ended before {two:?} (LSN {})", first.1, second.1))
    }
}

fn word(booked: bool) -> &'static str {
    if booked { "booked" } else { "not booked" }
}

fn is_booked(row: &LiveRow, seat: u8) -> bool {
    row.state.booked[usize::from(seat / 64)] & (1 << (seat % 64)) != 0
}
