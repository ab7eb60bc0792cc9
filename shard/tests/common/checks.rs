//! What must hold once nothing is on its way any more, and once everything has ended.

use super::ledger::Standing;
use super::market::Market;
use super::venue::{EVENT, has};
use frontrow_shard::*;

impl Market {
    /// Brings every letter and every change of state, and checks what must hold then.
    pub(crate) fn quiesce(&mut self) {
        while self.next_state() {}
        let mut letters = 0;
        while self.deliver() {
            letters += 1;
            assert!(letters < 100_000, "letters go back and forth without end");
        }
        self.check_seats();
        self.check_holds();
        assert!(self.ledger.pending.is_empty(), "never answered: {:?}", self.ledger.pending);
        if self.state == EventState::Open {
            self.check_liveness();
        }
    }

    /// Every seat is free, blocked, or one user's.
    fn check_seats(&self) {
        for (row, spec) in self.venue.rows() {
            let state = self.world.state(row);
            for seat in 0..spec.categories.len() {
                let seat = seat as u8;
                let owner = self.ledger.owner.get(&(row, seat)).map(|&i| self.ledger.grants[i].standing);
                let blocked = self.ledger.blocked.contains(&(row, seat));
                let expected = (owner.is_none() && !blocked, owner == Some(Standing::Booked), blocked);
                let shown = (has(&state.free, seat), has(&state.booked, seat), has(&state.blocked, seat));
                assert_eq!(shown, expected, "(free, booked, blocked) of {row:?} {seat}: {owner:?}");
            }
        }
    }

    /// No hold but those that users know of, and their parts.
    fn check_holds(&self) {
        let holds: u64 = self.world.parts.iter().map(Partition::holds).sum();
        let of_grant = |index: usize| -> u64 {
            let grant = &self.ledger.grants[index];
            if !grant.place.is_section() {
                return 1;
            }
            let mut rows: Vec<RowRef> = grant.seats.iter().map(|(row, _)| *row).collect();
            rows.sort_unstable();
            rows.dedup();
            1 + rows.len() as u64
        };
        let expected: u64 = self.ledger.live().map(of_grant).sum();
        assert_eq!(holds, expected, "holds, parts of section claims included");
    }

    /// Whoever waits and fits is served; whoever can never fit is not waiting.
    fn check_liveness(&self) {
        for (&place, waiting) in &self.queues {
            let reach =
                if self.venue.rules.max_passes >= 10_000 { waiting.len() } else { waiting.len().min(1) };
            for (at, (user, _)) in waiting.iter().enumerate() {
                let wish = self.venue.wish(*user);
                assert!(self.possible(place, wish), "{user} waits at {place:?} for {wish:?} in vain");
                let free = |row: RowRef, seat: u8| has(&self.world.state(row).free, seat);
                let fits = self.venue.fits(place, wish, &free);
                assert!(at >= reach || !fits, "{user} fits at {place:?} and is not served: {wish:?}");
            }
        }
    }

    /// Ends everything and looks whether anything is left.
    pub(crate) fn finish(&mut self) {
        self.quiesce();
        self.set_state(EventState::Open);
        self.quiesce();
        for (place, seat) in self.ledger.blocked.drain().collect::<Vec<_>>() {
            let seats = Seats { mask: 1, first: seat };
            let at = place.partition(self.crowd.partitions);
            let happened = self.world.apply(at, Op::Block { row: place, seats, blocked: false });
            assert_eq!(happened.applied.answer.seats, seats);
            self.observe(&happened);
        }
        for _ in 0..40 {
            self.end_everything();
        }
        assert_eq!(self.world.parts.iter().map(Partition::holds).sum::<u64>(), 0, "a hold leaked");
        assert_eq!(self.world.parts.iter().map(Partition::waiting).sum::<usize>(), 0);
        self.claim_up_to_the_cap();
        self.set_state(EventState::Closed);
        self.end_everything();
        self.world.crash_all();
        self.go_cold();
    }

    /// Every partition archives the event, with a crash after every step.
    fn go_cold(&mut self) {
        let event = EVENT;
        for step in [ArchiveStep::Begin, ArchiveStep::Undo, ArchiveStep::Begin, ArchiveStep::End] {
            for at in 0..self.crowd.partitions {
                if step == ArchiveStep::End {
                    let read = self.world.parts[usize::from(at)].read_out(event, true).expect("it is known");
                    let rows = read.rows.len();
                    assert_eq!(rows, self.world.parts[usize::from(at)].rows().count());
                    assert!(read.bookings.is_empty());
                }
                // A step that is repeated, as after a crash between partitions, is done already.
                for _ in 0..2 {
                    let happened = self.world.apply(at, Op::Archive { event, step });
                    assert_eq!(happened.applied.answer.code, Code::Done, "{step:?}");
                }
                self.world.crash_all();
            }
        }
        assert!(self.world.parts.iter().all(|part| part.rows().count() == 0));
    }

    fn end_everything(&mut self) {
        self.quiesce();
        for place in self.queues.keys().copied().collect::<Vec<_>>() {
            for user in self.world.waiting_at(place) {
                self.request(user, Command::Leave(Leave { place }));
            }
        }
        self.quiesce();
        self.world.now += 4_000_000;
        for at in 0..self.crowd.partitions {
            self.sweep(at);
        }
        for index in self.ledger.live().collect::<Vec<_>>() {
            let grant = &self.ledger.grants[index];
            if grant.standing == Standing::Booked {
                let proof = Proof { place: grant.place, fence: grant.fence };
                let code = self.request(grant.user, Command::Cancel(proof));
                assert_eq!(code, Code::Cancelled);
            }
        }
        self.quiesce();
    }

    /// Nothing is held, so direct claims succeed, and every user's account is empty.
    fn claim_up_to_the_cap(&mut self) {
        let rows: Vec<(RowRef, usize)> =
            self.venue.rows().map(|(row, spec)| (row, spec.categories.len())).collect();
        let seats = rows.iter().flat_map(|&(row, n)| (0..n).map(move |seat| (row, seat as u8)));
        let cap = if self.crowd.cap { u32::from(self.venue.rules.max_per_user) } else { 3 };
        for user in 1..=3 {
            let mut had = 0;
            for (row, first) in seats.clone() {
                if had == cap {
                    break;
                }
                let claim = ClaimSeats { row, seats: Seats { mask: 1, first } };
                self.request(user, Command::ClaimSeats(claim));
                while self.deliver() {}
                // The rule about single seats may refuse one; nothing else does.
                had = self.ledger.seats_of.get(&user).copied().unwrap_or(0);
            }
            let all = rows.iter().map(|(_, n)| *n as u32).sum::<u32>();
            let orphans = self.venue.rules.orphans == OrphanRule::Strict;
            assert!(had == cap.min(all) || orphans, "user {user} got {had} of {cap}");
            self.end_everything();
        }
        assert!(self.world.parts[0].event(EVENT).is_some());
    }
}
