//! An event's part in a snapshot. Its rows' free, held and booked seats are worked out from its holds, so that they
//! cannot contradict each other.

use super::{EventPart, Groups, Home, RowNews, Section};
use crate::hold::{Hold, HoldState, Holds, NONE};
use crate::ids::{
    EventId, Lsn, MAX_PARTS, MAX_PARTY, MAX_ROW_SEATS, Millis, Part, PartitionId, Parts, RowRef, Seats,
    UserId,
};
use crate::op::Supply;
use crate::partition::MAX_EVENT;
use crate::queue::Map;
use crate::row::Rows;
use crate::row_index::RowIndex;
use crate::rules::{EventRules, EventState, Fairness, OrphanRule};
use crate::snapshot::{Reader, SnapshotError, Writer};
use std::hash::{Hash, Hasher};

const STATES: [EventState; 6] = [
    EventState::Draft,
    EventState::Open,
    EventState::Paused,
    EventState::Closed,
    EventState::Archiving,
    EventState::Archived,
];
const PART_BYTES: usize = 2 + 8 + 1 + 4;
const NEWS_BYTES: usize = 12 + 8 + 4 + 2;

/// Whose event it is, and where its partition's history stands.
#[derive(Clone, Copy)]
pub(crate) struct Standing {
    pub(crate) own: PartitionId,
    pub(crate) partitions: u16,
    pub(crate) lsn: Lsn,
    pub(crate) now: Millis,
}

impl EventPart {
    pub(crate) fn save(&self, out: &mut Writer<'_>) {
        out.u32(self.id);
        out.u8(self.state as u8);
        save_rules(&self.rules, out);
        out.u64(self.digest);
        out.u32(self.sections.len() as u32);
        for section in &self.sections {
            out.u16(section.rows);
            out.bool(section.watched);
            out.u32(section.round);
        }
        self.rows.save(out);
        out.u32(self.groups.capacity as u32);
        self.holds.save(out);
        for parts in self.live_groups() {
            save_parts(&parts, out);
        }
        for home in &self.homes {
            home.save(out);
        }
        let mut accounts: Vec<(UserId, u16)> =
            self.accounts.iter().map(|(&user, &used)| (user, used)).collect();
        accounts.sort_unstable();
        out.u32(accounts.len() as u32);
        for (user, used) in accounts {
            out.u64(user);
            out.u16(used);
        }
    }

    /// The event without its queues, timers, and room for more.
    pub(crate) fn load(input: &mut Reader<'_>, at: Standing) -> Result<Self, SnapshotError> {
        let id: EventId = input.u32()?;
        input.check(id < MAX_EVENT, "an event number out of all bounds")?;
        let state = input.choice(&STATES, "an event in no known state")?;
        let rules = load_rules(input)?;
        let digest = input.u64()?;
        let (sections, homed) = load_sections(input, id, at)?;
        let rows = Rows::load(input, &sections)?;
        let mut index = RowIndex::with_room_for(rows.slots().count());
        for slot in rows.slots() {
            let line = rows.line(slot);
            index.insert(line.section, line.number, slot);
        }
        let homed_seats = input.u32()? as usize;
        let most = homed.iter().map(|&rows| usize::from(rows) * MAX_ROW_SEATS).sum();
        input.check(homed_seats <= most, "sections of more seats than their rows can have")?;
        let seats: usize = rows.slots().map(|slot| usize::from(rows.len(slot))).sum();
        let holds = Holds::load(input, seats + homed_seats, at.lsn, at.now)?;
        let groups = Groups { capacity: homed_seats, ..Groups::default() };
        let mut part = Self {
            id,
            state,
            rules,
            sections,
            index,
            rows,
            holds,
            handle_base: 0,
            homes: Vec::with_capacity(homed.len()),
            groups,
            accounts: Map::default(),
            digest,
        };
        part.place_holds(input)?;
        for rows in homed {
            part.homes.push(Home::load(input, rows)?);
        }
        part.load_accounts(input)?;
        Ok(part)
    }

    /// Gives every hold its seats, and every section claim its parts.
    fn place_holds(&mut self, input: &mut Reader<'_>) -> Result<(), SnapshotError> {
        for slot in 0..self.holds.slots() {
            let hold = self.holds[slot];
            if hold.state.is_over() {
                continue;
            }
            if hold.is_group() {
                let section = u16::try_from(hold.row).ok().and_then(|at| self.sections.get(usize::from(at)));
                let section = section.filter(|section| section.home_index != NONE);
                input.check(section.is_some(), "a section claim where its section is not coordinated")?;
                let rows = section.map_or(0, |section| section.rows);
                input.check(hold.mask == 0, "a section claim with seats of its own")?;
                input.check(!self.groups.is_full(), "more section claims than there is room for")?;
                let parts = load_parts(input, rows)?;
                self.holds[slot].mask = u64::from(self.groups.insert(parts));
            } else {
                let booked = matches!(hold.state, HoldState::Booked | HoldState::PartBooked);
                let placed = self.rows.occupy(hold.row, hold.seats(), booked);
                input.check(placed, "a hold whose seats are not to be had")?;
            }
        }
        Ok(())
    }

    fn load_accounts(&mut self, input: &mut Reader<'_>) -> Result<(), SnapshotError> {
        let mut last = None;
        for _ in 0..input.count(10)? {
            let (user, used) = (input.u64()?, input.u16()?);
            input.check(last < Some(user) && used > 0, "accounts out of order, or empty")?;
            last = Some(user);
            self.accounts.insert(user, used);
        }
        Ok(())
    }

    /// The parts of every section claim, in the order of their holds.
    fn live_groups(&self) -> impl Iterator<Item = Parts> + '_ {
        let live = |hold: &&Hold| hold.is_group() && !hold.state.is_over();
        self.holds.iter().filter(live).map(|hold| self.groups.get(hold.mask))
    }

    /// Folds the event, but for its queues, into `hash`.
    pub(crate) fn hash_into(&self, hash: &mut impl Hasher) {
        (self.id, self.state, self.rules, self.digest).hash(hash);
        for slot in self.rows.slots() {
            self.rows.hash_into(slot, hash);
        }
        self.holds.hash_into(hash);
        self.groups.capacity.hash(hash);
        for parts in self.live_groups() {
            parts.hash_into(hash);
        }
        for section in &self.sections {
            (section.rows, section.watched, section.round).hash(hash);
        }
        for home in &self.homes {
            (home.known, home.serving, home.round).hash(hash);
            for news in &home.news {
                (news.supply, news.rival_ms, news.loan, news.lent, news.known).hash(hash);
            }
        }
    }
}

impl Home {
    fn save(&self, out: &mut Writer<'_>) {
        out.u32(self.round);
        out.bool(self.serving.is_some());
        out.u32(self.serving.unwrap_or(0));
        out.u32(self.news.len() as u32);
        for news in &self.news {
            let Supply { free, run, accessible_run, ever, ever_run, ever_accessible_run } = news.supply;
            for seats in [free, run, accessible_run, ever, ever_run, ever_accessible_run] {
                out.u16(seats);
            }
            out.u64(news.rival_ms);
            out.u32(news.loan);
            out.bool(news.lent);
            out.bool(news.known);
        }
    }

    fn load(input: &mut Reader<'_>, rows: u16) -> Result<Self, SnapshotError> {
        let round = input.u32()?;
        let (is_serving, task) = (input.bool()?, input.u32()?);
        input.check(is_serving || task == 0, "a task of nobody")?;
        let count = input.count(NEWS_BYTES)?;
        input.check(count == 0 || count == usize::from(rows), "news of another number of rows")?;
        let mut news = Vec::with_capacity(count);
        for _ in 0..count {
            let supply = Supply {
                free: input.u16()?,
                run: input.u16()?,
                accessible_run: input.u16()?,
                ever: input.u16()?,
                ever_run: input.u16()?,
                ever_accessible_run: input.u16()?,
            };
            news.push(RowNews {
                supply,
                rival_ms: input.u64()?,
                loan: input.u32()?,
                lent: input.bool()?,
                known: input.bool()?,
            });
        }
        let known = news.iter().filter(|row| row.known).count() as u16;
        Ok(Self { queue: NONE, round, news, known, serving: is_serving.then_some(task) })
    }
}

/// The sections, and how many rows each of those has that are coordinated here.
fn load_sections(
    input: &mut Reader<'_>,
    event: EventId,
    at: Standing,
) -> Result<(Vec<Section>, Vec<u16>), SnapshotError> {
    let count = input.count(7)?;
    input.check(count < usize::from(u16::MAX), "more sections than an event can have")?;
    let mut sections = Vec::with_capacity(count);
    let mut homed = Vec::new();
    for index in 0..count {
        let (rows, watched, round) = (input.u16()?, input.bool()?, input.u32()?);
        let home = RowRef::new(event, index as u16, RowRef::SECTION).partition(at.partitions);
        let home_index = if home == at.own {
            homed.push(rows);
            homed.len() as u32 - 1
        } else {
            NONE
        };
        sections.push(Section { rows, home, watched, round, home_index });
    }
    Ok((sections, homed))
}

fn save_rules(rules: &EventRules, out: &mut Writer<'_>) {
    out.u32(rules.hold_ms);
    out.u32(rules.offer_ms);
    out.u32(rules.pay_ms);
    out.u16(rules.max_per_user);
    out.u16(rules.max_passes);
    out.bytes(&[rules.max_extensions, rules.max_per_claim, rules.fairness as u8, rules.orphans as u8]);
}

fn load_rules(input: &mut Reader<'_>) -> Result<EventRules, SnapshotError> {
    let (hold_ms, offer_ms, pay_ms) = (input.u32()?, input.u32()?, input.u32()?);
    let (max_per_user, max_passes) = (input.u16()?, input.u16()?);
    let rules = EventRules {
        hold_ms,
        offer_ms,
        pay_ms,
        max_extensions: input.u8()?,
        max_per_claim: input.u8()?,
        max_per_user,
        max_passes,
        fairness: input.choice(&[Fairness::Fifo, Fairness::FreeForAll], "no known fairness")?,
        orphans: input
            .choice(&[OrphanRule::Off, OrphanRule::Prefer, OrphanRule::Strict], "no known rule on orphans")?,
    };
    input.check(rules.mistake().is_none(), "rules that no event can have")?;
    Ok(rules)
}

/// Writes the rows of a section claim.
pub(crate) fn save_parts(parts: &Parts, out: &mut Writer<'_>) {
    out.u32(parts.as_slice().len() as u32);
    for part in parts.as_slice() {
        out.u16(part.row);
        out.u64(part.seats.mask);
        out.u8(part.seats.first);
        out.u32(part.slot);
    }
}

/// Reads the rows of a section claim, of a section with so many.
pub(crate) fn load_parts(input: &mut Reader<'_>, rows: u16) -> Result<Parts, SnapshotError> {
    let count = input.count(PART_BYTES)?;
    input.check(count <= MAX_PARTS, "a claim over too many rows")?;
    let (mut parts, mut seats) = (Parts::default(), 0);
    for _ in 0..count {
        let row = input.u16()?;
        let part = Part { row, seats: Seats { mask: input.u64()?, first: input.u8()? }, slot: input.u32()? };
        input.check(part.row < rows && !part.seats.is_empty(), "a claim over a row that is not there")?;
        input.check(part.seats.is_in_reach(), "seats past a row's end")?;
        seats += u32::from(part.seats.count());
        parts.push(part);
    }
    input.check(seats <= u32::from(MAX_PARTY), "a claim of too many seats")?;
    Ok(parts)
}
