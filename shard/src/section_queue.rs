//! A section's queue, at its home.
//!
//! While anybody waits for the section, its rows lend whatever comes free to the home before anyone else may
//! have it. The home serves the first who fits, one at a time, and returns what nobody can use. Direct
//! claims meanwhile are told to join; a row's own queue is asked first where its party joined earlier.

use crate::answer::{Answer, Code};
use crate::claims::check_count;
use crate::effects::{Effects, PushKind};
use crate::event::RowNews;
use crate::hold::NONE;
use crate::ids::{Millis, Parts, RequestId, RowRef, UserId};
use crate::op::{CANDIDATES, Join, Mail, NO_ROW, Supply};
use crate::partition::Partition;
use crate::queue::{Kind, Party};
use crate::rules::{EventState, Fairness};
use crate::waiting::kind_of;
use frontrow_plant::{Bug, planted};

/// What a section can give, over all its rows.
#[derive(Clone, Copy, Default)]
struct Stock {
    run: u16,
    accessible_run: u16,
    /// Seats free in the rows that have most: as many rows as one claim may have parts.
    spread: u32,
    ever_run: u16,
    ever_accessible_run: u16,
    /// The same of seats that are not booked.
    ever: u32,
}

/// Puts `seats` among the largest numbers seen.
fn keep_most(most: &mut [u16; CANDIDATES], mut seats: u16) {
    for best in most {
        if seats > *best {
            std::mem::swap(best, &mut seats);
        }
    }
}

impl Stock {
    fn of(news: &[RowNews]) -> Self {
        let mut stock = Self::default();
        let (mut most, mut most_ever) = ([0_u16; CANDIDATES], [0_u16; CANDIDATES]);
        for supply in news.iter().map(|row| row.supply) {
            stock.run = stock.run.max(supply.run);
            stock.accessible_run = stock.accessible_run.max(supply.accessible_run);
            stock.ever_run = stock.ever_run.max(supply.ever_run);
            stock.ever_accessible_run = stock.ever_accessible_run.max(supply.ever_accessible_run);
            keep_most(&mut most, supply.free);
            keep_most(&mut most_ever, supply.ever);
        }
        stock.spread = most.iter().map(|&free| u32::from(free)).sum();
        stock.ever = most_ever.iter().map(|&ever| u32::from(ever)).sum();
        stock
    }

    fn fits(&self, kind: Kind, count: u8) -> bool {
        match kind {
            Kind::Together => self.run >= u16::from(count),
            Kind::Accessible => self.accessible_run >= u16::from(count),
            Kind::Spread => self.spread >= u32::from(count),
        }
    }

    fn ever_fits(&self, kind: Kind, count: u8) -> bool {
        match kind {
            Kind::Together => self.ever_run >= u16::from(count),
            Kind::Accessible => self.ever_accessible_run >= u16::from(count),
            Kind::Spread => self.ever >= u32::from(count),
        }
    }
}

impl Partition {
    pub(crate) fn join_section(
        &mut self,
        request: RequestId,
        user: UserId,
        join: &Join,
        out: &mut Effects,
    ) -> Result<Answer, Answer> {
        let (ev, home) = self.locate_home(join.place)?;
        let rules = self.selling(ev)?;
        check_count(join.count, &rules)?;
        if rules.fairness == Fairness::FreeForAll {
            return Err(Answer::plain(Code::NoQueue));
        }
        if let Some(party) = self.queues.find(join.place, user) {
            return Ok(self.queued(party));
        }
        let old = self.events[ev].homes[home].queue;
        if !self.queues.has_room(old) {
            return Err(Answer::plain(Code::QueueFull));
        }
        let wish = (kind_of(join.adjacency, join.accessible), join.count);
        let rows = self.events[ev].sections[usize::from(join.place.section)].rows;
        if rows == 0 {
            return Err(Answer::plain(Code::SoldOut));
        }
        if self.section_is_known(ev, home, join.place)
            && old != NONE
            && !Stock::of(&self.events[ev].homes[home].news).ever_fits(wish.0, wish.1)
        {
            return Err(Answer::plain(Code::SoldOut));
        }
        let (queue, party) = self.queues.join(old, join.place, user, wish, self.lsn, self.now);
        self.events[ev].homes[home].queue = queue;
        if old == NONE {
            self.begin_watch(ev, home, join.place, out);
        }
        if !self.section_is_known(ev, home, join.place) {
            // Answered once every row has stopped giving seats to strangers.
            self.queues.party_mut(party).request = request;
            return Ok(Answer::plain(Code::Pending));
        }
        let position = self.queues.len(queue);
        self.settle_section(ev, home, join.place, out);
        Ok(Answer { slot: position, ..Answer::plain(Code::Queued) })
    }

    pub(crate) fn leave_section(
        &mut self,
        user: UserId,
        place: RowRef,
        out: &mut Effects,
    ) -> Result<Answer, Answer> {
        let (ev, home) = self.locate_home(place)?;
        let party = self.queues.find(place, user).ok_or(Answer::plain(Code::NotQueued))?;
        let request = self.queues.party(party).request;
        self.leave_home_queue(ev, home, place, party, out);
        if request != 0 {
            self.decide(request, user, place, Answer::plain(Code::Left), None, out);
        }
        self.settle_section(ev, home, place, out);
        Ok(Answer::plain(Code::Left))
    }

    /// Takes a party out of a section's queue; with the last one, the rows stop lending.
    pub(crate) fn leave_home_queue(
        &mut self,
        ev: usize,
        home: usize,
        section: RowRef,
        party: u32,
        out: &mut Effects,
    ) {
        if !self.queues.remove(party) {
            return;
        }
        self.events[ev].homes[home].queue = NONE;
        let round = self.events[ev].homes[home].round;
        self.tell_rows(ev, section, Mail::Watch { section, on: false, round }, out);
        self.return_loans(ev, home, section, out);
    }

    fn begin_watch(&mut self, ev: usize, home: usize, section: RowRef, out: &mut Effects) {
        let rows = usize::from(self.events[ev].sections[usize::from(section.section)].rows);
        let at = &mut self.events[ev].homes[home];
        at.round = at.round.wrapping_add(1);
        at.known = 0;
        at.news.clear();
        at.news.resize(rows, RowNews::default());
        let round = at.round;
        self.tell_rows(ev, section, Mail::Watch { section, on: true, round }, out);
    }

    /// Sends a message to every partition that owns a row of the section, once.
    fn tell_rows(&mut self, ev: usize, section: RowRef, mail: Mail, out: &mut Effects) {
        let mut told = [0_u64; crate::ids::MAX_PARTITIONS as usize / 64];
        for row in 0..self.events[ev].sections[usize::from(section.section)].rows {
            let to = RowRef { row, ..section }.partition(self.partitions);
            let (word, bit) = (usize::from(to / 64), 1 << (to % 64));
            if told[word] & bit == 0 {
                told[word] |= bit;
                self.write(to, mail, out);
            }
        }
    }

    /// Whether every row has reported since the queue began.
    fn section_is_known(&self, ev: usize, home: usize, section: RowRef) -> bool {
        let part = &self.events[ev];
        part.homes[home].known == part.sections[usize::from(section.section)].rows
    }

    /// A row has lent what is free, or reported.
    pub(crate) fn lent(
        &mut self,
        row: RowRef,
        (round, loan): (u32, u32),
        supply: Supply,
        rival_ms: Millis,
        out: &mut Effects,
    ) {
        let section = row.section_of();
        let Ok((ev, home)) = self.locate_home(section) else { return };
        let at = &mut self.events[ev].homes[home];
        if at.queue == NONE || at.round != round {
            let to = row.partition(self.partitions);
            return self.write(to, Mail::Return { row, loan }, out);
        }
        let news = &mut at.news[usize::from(row.row)];
        let was_known = news.known;
        *news = RowNews { supply, rival_ms, loan, lent: true, known: true };
        if !was_known {
            at.known += 1;
            if self.section_is_known(ev, home, section) {
                self.answer_joins(ev, home, section, out);
            }
        }
        self.drop_impossible(ev, home, section, out);
        self.settle_section(ev, home, section, out);
    }

    /// Answers those who joined while the rows were being told.
    fn answer_joins(&mut self, ev: usize, home: usize, section: RowRef, out: &mut Effects) {
        self.drop_impossible(ev, home, section, out);
        let queue = self.events[ev].homes[home].queue;
        let mut next = self.queues.first(queue);
        let mut position = 0;
        while let Some(party) = next {
            position += 1;
            let who = *self.queues.party(party);
            if who.request != 0 {
                self.queues.party_mut(party).request = 0;
                let answer = Answer { slot: position, ..Answer::plain(Code::Queued) };
                self.decide(who.request, who.user, section, answer, None, out);
            }
            next = self.queues.after(party);
        }
    }

    /// Whoever can never fit any more is told so, from the largest party down.
    fn drop_impossible(&mut self, ev: usize, home: usize, section: RowRef, out: &mut Effects) {
        if !self.section_is_known(ev, home, section) {
            return;
        }
        let stock = Stock::of(&self.events[ev].homes[home].news);
        loop {
            let queue = self.events[ev].homes[home].queue;
            let possible = |kind, count| stock.ever_fits(kind, count);
            let Some(party) = self.queues.largest_impossible(queue, possible) else { return };
            let who = *self.queues.party(party);
            self.leave_home_queue(ev, home, section, party, out);
            let sold_out = Answer::plain(Code::SoldOut);
            if who.request == 0 {
                self.push(who.user, section, PushKind::Unfillable, sold_out, Parts::default(), out);
            } else {
                self.decide(who.request, who.user, section, sold_out, None, out);
            }
        }
    }

    /// Serves the first who fits, if nobody is being served; returns what nobody can use.
    pub(crate) fn settle_section(&mut self, ev: usize, home: usize, section: RowRef, out: &mut Effects) {
        let part = &self.events[ev];
        let at = &part.homes[home];
        if at.serving.is_some() || at.queue == NONE || !self.section_is_known(ev, home, section) {
            return;
        }
        // One task per home does not count against the bound on tasks: nothing would call again.
        if part.state == EventState::Open && !part.groups.is_full() {
            let stock = Stock::of(&at.news);
            // Not every row that has seats is open to everybody: see `rows_for`.
            let fits = |who: &Party| stock.fits(who.kind, who.count) && rows_for(&at.news, who)[0] != NO_ROW;
            if let Some(party) = self.queues.first_fit(at.queue, part.rules.max_passes, fits) {
                let rows = rows_for(&at.news, self.queues.party(party));
                let task = self.serve(ev, section, party, rows, out);
                // A task may have ended at once, but not as long as its first row has not answered.
                self.events[ev].homes[home].serving = Some(task);
                return;
            }
        }
        self.return_loans(ev, home, section, out);
    }

    /// A row that looked as if it could serve a party could not: do not ask it again until it reports.
    pub(crate) fn row_had_less(&mut self, row: RowRef, together: bool, accessible: bool, count: u8) {
        let Ok((ev, home)) = self.locate_home(row.section_of()) else { return };
        let Some(news) = self.events[ev].homes[home].news.get_mut(usize::from(row.row)) else { return };
        let less = u16::from(count) - 1;
        let supply = &mut news.supply;
        match (together, accessible) {
            (true, true) => supply.accessible_run = supply.accessible_run.min(less),
            (true, false) => supply.run = supply.run.min(less),
            (false, _) => supply.free = 0,
        }
    }

    fn return_loans(&mut self, ev: usize, home: usize, section: RowRef, out: &mut Effects) {
        for row in 0..self.events[ev].homes[home].news.len() {
            let news = &mut self.events[ev].homes[home].news[row];
            if std::mem::take(&mut news.lent) && !planted(Bug::LoanKept) {
                let loan = news.loan;
                let row = RowRef { row: row as u16, ..section };
                self.write(row.partition(self.partitions), Mail::Return { row, loan }, out);
            }
        }
    }
}

/// The rows to ask for a party: those where nobody who fits in the row's own queue joined before. For seats together, the lowest rows that have them; else the rows that have most.
fn rows_for(news: &[RowNews], who: &Party) -> [u16; CANDIDATES] {
    let mut rows = [NO_ROW; CANDIDATES];
    let mine = |row: &RowNews| row.rival_ms >= who.joined_ms;
    let count = u16::from(who.count);
    let mut put = |wanted: &mut dyn Iterator<Item = u16>| {
        for (slot, row) in rows.iter_mut().zip(wanted) {
            *slot = row;
        }
    };
    let all = || news.iter().enumerate().filter(|(_, row)| mine(row));
    match who.kind {
        Kind::Together => {
            put(&mut all().filter(|(_, row)| row.supply.run >= count).map(|(i, _)| i as u16));
        }
        Kind::Accessible => {
            put(&mut all().filter(|(_, row)| row.supply.accessible_run >= count).map(|(i, _)| i as u16));
        }
        Kind::Spread => {
            let mut by_free: Vec<(std::cmp::Reverse<u16>, u16)> = all()
                .filter(|(_, row)| row.supply.free > 0)
                .map(|(i, row)| (std::cmp::Reverse(row.supply.free), i as u16))
                .collect();
            by_free.sort_unstable();
            let enough: u32 = by_free.iter().take(CANDIDATES).map(|(free, _)| u32::from(free.0)).sum();
            if enough >= u32::from(count) {
                put(&mut by_free.into_iter().map(|(_, row)| row));
            }
        }
    }
    rows
}
