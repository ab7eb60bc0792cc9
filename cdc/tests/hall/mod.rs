//! A table of who has which seats and who waits where, kept by changes alone.

#![allow(dead_code, reason = "each test binary uses its own part of this")]

use crate::common::market::Market;
use crate::common::venue::has;
use frontrow_cdc::{Change, Hold, Kind, Position, Why};
use frontrow_shard::{EventState, Partition, PartitionId, RowRef, Standing, UserId};
use std::collections::{BTreeMap, BTreeSet};

/// What a user has.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Has {
    user: UserId,
    place: RowRef,
    seats: Vec<(RowRef, u8)>,
    booked: bool,
    paying: bool,
    /// None of a booking.
    expires_ms: Option<u64>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Hall {
    holds: BTreeMap<(PartitionId, Hold), Has>,
    blocked: BTreeSet<(RowRef, u8)>,
    waiting: BTreeSet<(RowRef, UserId)>,
    states: BTreeMap<PartitionId, EventState>,
    last: BTreeMap<PartitionId, Position>,
}

fn seats_of(change: &Change) -> Vec<(RowRef, u8)> {
    let place = change.place().expect("seats are somewhere");
    let own = change.seats.iter().map(|&seat| (place, seat));
    let of_row = |row: u16| RowRef { row, ..place };
    let parts =
        change.parts.iter().flat_map(|part| part.seats.iter().map(move |&seat| (of_row(part.row), seat)));
    own.chain(parts).collect()
}

impl Hall {
    pub(crate) fn apply(&mut self, change: &Change) {
        let partition = change.position.partition;
        if let Some(last) = self.last.insert(partition, change.position) {
            assert!(last < change.position, "{change:?} comes after {last:?}");
        }
        let waits = || (change.place().expect("a queue is somewhere"), change.user.expect("somebody waits"));
        match change.kind {
            Kind::Claimed => self.given(change),
            Kind::Offered => {
                self.given(change);
                self.waiting.remove(&waits());
            }
            Kind::Extended | Kind::Paying | Kind::Booked => self.changed(change),
            Kind::Released | Kind::Cancelled | Kind::Expired => self.ended(change),
            Kind::Joined => {
                self.waiting.insert(waits());
            }
            Kind::Left => {
                self.waiting.remove(&waits());
            }
            Kind::Dropped => {
                assert!(change.why.is_some());
                self.waiting.remove(&waits());
            }
            Kind::Unnamed => panic!("nobody is without a name here: {change:?}"),
            Kind::EventCreated => {}
            Kind::EventState => {
                self.states.insert(partition, change.state.expect("it is in some state"));
            }
            Kind::Blocked => {
                for seat in seats_of(change) {
                    assert!(self.blocked.insert(seat), "{change:?}");
                }
            }
            Kind::Unblocked => {
                for seat in seats_of(change) {
                    assert!(self.blocked.remove(&seat), "{change:?}");
                }
            }
        }
        assert_eq!(change.kind == Kind::Dropped, change.why.is_some());
        assert!(change.why != Some(Why::Closed) || self.is_closed(partition), "{change:?}");
    }

    fn is_closed(&self, partition: PartitionId) -> bool {
        self.states.get(&partition) == Some(&EventState::Closed)
    }

    fn key(change: &Change) -> (PartitionId, Hold) {
        (change.position.partition, change.hold.expect("it is about a hold"))
    }

    fn given(&mut self, change: &Change) {
        let has = Has {
            user: change.user.expect("somebody has it"),
            place: change.place().expect("it is somewhere"),
            seats: seats_of(change),
            booked: false,
            paying: false,
            expires_ms: Some(change.expires_ms.expect("it ends")),
        };
        assert!(!has.seats.is_empty(), "{change:?}");
        assert!(self.holds.insert(Self::key(change), has).is_none(), "one hold twice: {change:?}");
    }

    fn known(&mut self, change: &Change) -> &mut Has {
        let has =
            self.holds.get_mut(&Self::key(change)).unwrap_or_else(|| panic!("of what hold? {change:?}"));
        assert_eq!((Some(has.user), Some(has.place)), (change.user, change.place()));
        assert_eq!(has.seats, seats_of(change), "{change:?}");
        has
    }

    fn changed(&mut self, change: &Change) {
        let has = self.known(change);
        assert!(!has.booked, "{change:?}");
        has.paying = change.kind == Kind::Paying;
        has.booked = change.kind == Kind::Booked;
        assert_eq!(has.booked, change.expires_ms.is_none(), "{change:?}");
        has.expires_ms = change.expires_ms;
    }

    fn ended(&mut self, change: &Change) {
        let has = self.known(change);
        assert_eq!(has.booked, change.kind == Kind::Cancelled, "{change:?}");
        self.holds.remove(&Self::key(change));
    }

    /// With what the partitions have. At rest nothing is on its way between them.
    pub(crate) fn compare(&self, market: &Market, at_rest: bool) {
        self.compare_holds(market);
        self.compare_rows(market, at_rest);
        self.compare_queues(market, at_rest);
    }

    fn compare_holds(&self, market: &Market) {
        let mut theirs = BTreeMap::new();
        for part in &market.world.parts {
            for standing in part.standings() {
                let Standing { hold, user, place, seats, rows, expires_ms, paying, booked } = standing;
                let own = seats.places().map(|seat| (place, seat));
                let of_rows = rows.as_slice().iter().flat_map(|part| {
                    part.seats.places().map(move |seat| (RowRef { row: part.row, ..place }, seat))
                });
                let seats = own.chain(of_rows).collect();
                let expires_ms = (!booked).then_some(expires_ms);
                let has = Has { user, place, seats, booked, paying, expires_ms };
                assert!(theirs.insert((part.id(), hold.into()), has).is_none(), "{hold:?} twice");
            }
        }
        assert_eq!(self.holds, theirs);
    }

    fn compare_rows(&self, market: &Market, at_rest: bool) {
        let mut owner = BTreeMap::new();
        for has in self.holds.values() {
            for seat in &has.seats {
                assert!(owner.insert(*seat, has).is_none(), "{seat:?} is two people's");
            }
        }
        for row in market.world.parts.iter().flat_map(Partition::rows) {
            let state = market.world.state(row);
            for seat in (0..state.seats).map(|seat| seat as u8) {
                let owner = owner.get(&(row, seat));
                let blocked = self.blocked.contains(&(row, seat));
                let booked = owner.is_some_and(|has| has.booked);
                let shown = (has(&state.free, seat), has(&state.booked, seat), has(&state.blocked, seat));
                assert_eq!(shown.2, blocked, "{row:?} {seat}");
                assert!(!shown.0 || owner.is_none() && !blocked, "{row:?} {seat} is free and {owner:?}'s");
                // A claim over several rows is decided before its rows hear of it.
                if at_rest || owner.is_some_and(|has| !has.place.is_section()) {
                    let expected = (owner.is_none() && !blocked, booked, blocked);
                    assert_eq!(shown, expected, "(free, booked, blocked) of {row:?} {seat}: {owner:?}");
                }
            }
        }
    }

    fn compare_queues(&self, market: &Market, at_rest: bool) {
        let places = market.venue.rows().map(|(row, _)| row).chain(market.venue.homes());
        let mut waiting = BTreeSet::new();
        for place in places {
            waiting.extend(market.world.waiting_at(place).into_iter().map(|user| (place, user)));
        }
        let missing: Vec<_> = waiting.difference(&self.waiting).collect();
        let gone: Vec<_> = self.waiting.difference(&waiting).collect();
        // With a limit per user a party leaves a row's queue before it is told what becomes of it.
        assert!(gone.is_empty() || (market.crowd.cap && !at_rest), "they do not wait: {gone:?}");
        // Who joins a section's queue first is told so when all rows know; with a limit, see `Kind::Joined`.
        let told = |place: &RowRef| at_rest || !place.is_section();
        assert!(market.crowd.cap || !missing.iter().any(|(place, _)| told(place)), "they wait: {missing:?}");
    }

    /// Each partition's changes for themselves, one partition after the other: it does not matter how far a reader is
    /// in which.
    pub(crate) fn compare_apart(&self, log: &[Change]) {
        let mut apart = Self::default();
        for partition in self.last.keys() {
            for change in log.iter().filter(|change| change.position.partition == *partition) {
                apart.apply(change);
            }
        }
        assert_eq!(&apart, self);
    }
}
