//! First come, first served: nobody is served before who joined the same queue earlier and needs no more, and nobody is
//! passed more often than the event allows.
//!
//! The order of a queue is that of its joinings: by position in the history, and, where one operation answered several,
//! by the position they were told. A party that fits wherever another fits must go before it; so a party of the same
//! kind that joined later and needs at least as many seats may not be served earlier. Several offers of one operation
//! have one position and no order among themselves.

use super::super::slab::{NONE, Slab};
use super::facts::{Joining, Kind, Position};
use super::left::Waited;
use frontrow_shard::RowRef;
use std::collections::{BTreeMap, HashMap, VecDeque};

/// Servings remembered per queue, for joinings that are heard of late.
const RECENT: usize = 32;

/// Place in a queue: the joining's position in the history, then the one told.
type Turn = (Position, u32);

/// A waiting party.
#[derive(Debug)]
struct Party {
    joining: Joining,
    /// The earliest serving of a party that should have been behind it.
    passed_at: Option<(Position, u64)>,
    /// Where it was passed at all while it was the first of those known; at most one more than is allowed.
    passes: Vec<Position>,
}

/// Parties of one kind and size, in turn.
#[derive(Debug)]
struct Class {
    kind: Kind,
    count: u8,
    waiting: BTreeMap<Turn, u32>,
}

/// One serving.
#[derive(Clone, Copy, Debug)]
struct Serving {
    turn: Turn,
    kind: Kind,
    count: u8,
    at: Position,
    user: u64,
}

#[derive(Debug, Default)]
struct Queue {
    classes: Vec<Class>,
    recent: VecDeque<Serving>,
}

/// All queues.
#[derive(Debug, Default)]
pub(crate) struct Queues {
    max_passes: Option<u16>,
    places: HashMap<u64, Queue>,
    parties: Slab<Party>,
    pub(crate) violations: Vec<String>,
    pub(crate) ordered: u64,
    pub(crate) counted: u64,
}

fn turn_of(joining: &Joining) -> Turn {
    (joining.at, joining.position)
}

impl Queues {
    /// `max_passes` of the event's rules, if they are known.
    pub(crate) fn new(max_passes: Option<u16>) -> Self {
        Self { max_passes, ..Self::default() }
    }

    /// How many wait.
    pub(crate) fn waiting(&self) -> u64 {
        self.parties.len() as u64
    }

    /// Who waits, and for what.
    pub(crate) fn all(&self) -> Vec<Waited> {
        let one = |slot| self.parties.get(slot).map(|party| party.joining);
        let waited = |it: Joining| Waited { place: it.place, count: it.count, kind: it.kind };
        self.parties.slots().filter_map(one).map(waited).collect()
    }

    pub(crate) fn join(&mut self, joining: &Joining) -> u32 {
        let turn = turn_of(joining);
        let queue = self.places.entry(joining.place.key()).or_default();
        let before = |serving: &&Serving| {
            serving.turn > turn && serving.kind == joining.kind && serving.count >= joining.count
        };
        let passed_at = queue.recent.iter().filter(before).map(|by| (by.at, by.user)).min();
        let party = self.parties.insert(Party { joining: *joining, passed_at, passes: Vec::new() });
        let same = |class: &&mut Class| class.kind == joining.kind && class.count == joining.count;
        if let Some(class) = queue.classes.iter_mut().find(same) {
            class.waiting.insert(turn, party);
        } else {
            let waiting = BTreeMap::from([(turn, party)]);
            queue.classes.push(Class { kind: joining.kind, count: joining.count, waiting });
        }
        party
    }

    /// A party was served there.
    pub(crate) fn serve(&mut self, party: u32, at: Position) {
        let Some(joining) = self.parties.get(party).map(|party| party.joining) else { return };
        let serving = Serving {
            turn: turn_of(&joining),
            kind: joining.kind,
            count: joining.count,
            at,
            user: joining.user,
        };
        self.pass_oldest(joining.place, Some(party), at);
        if let Some(queue) = self.places.get_mut(&joining.place.key()) {
            let behind = |class: &&Class| class.kind == serving.kind && class.count <= serving.count;
            for class in queue.classes.iter().filter(behind) {
                for &earlier in class.waiting.range(..serving.turn).map(|(_, party)| party) {
                    let Some(earlier) = self.parties.get_mut(earlier) else { continue };
                    let by = (at, serving.user);
                    earlier.passed_at = Some(earlier.passed_at.map_or(by, |known| known.min(by)));
                }
            }
            if queue.recent.len() == RECENT {
                queue.recent.pop_front();
            }
            queue.recent.push_back(serving);
        }
        self.end(party, at, "was served");
    }

    /// A party left, or was sent away, there.
    pub(crate) fn leave(&mut self, party: u32, at: Position) {
        self.end(party, at, "left");
    }

    /// Nobody knows what became of a party.
    pub(crate) fn forget(&mut self, party: u32) {
        let Some(gone) = self.parties.remove(party) else { return };
        if let Some(queue) = self.places.get_mut(&gone.joining.place.key()) {
            let turn = turn_of(&gone.joining);
            for class in &mut queue.classes {
                if class.waiting.get(&turn) == Some(&party) {
                    class.waiting.remove(&turn);
                }
            }
        }
    }

    /// Somebody got seats at a place without waiting there.
    pub(crate) fn direct(&mut self, place: RowRef, at: Position) {
        if self.places.contains_key(&place.key()) {
            self.pass_oldest(place, None, at);
        }
    }

    /// Counts a pass for the first party of a queue, unless it is the one that is served.
    fn pass_oldest(&mut self, place: RowRef, served: Option<u32>, at: Position) {
        let (Some(most), Some(queue)) = (self.max_passes, self.places.get(&place.key())) else { return };
        let firsts = queue.classes.iter().filter_map(|class| class.waiting.first_key_value());
        let oldest = firsts.min().map_or(NONE, |(_, &party)| party);
        let Some(party) = self.parties.get_mut(oldest).filter(|_| served != Some(oldest)) else { return };
        if at > party.joining.at && party.passes.len() <= usize::from(most) {
            party.passes.push(at);
        }
    }

    fn end(&mut self, party: u32, at: Position, how: &str) {
        let Some(it) = self.parties.get(party) else { return };
        let Joining { place, user, count, .. } = it.joining;
        self.ordered += 1;
        if let Some((passed, by)) = it.passed_at.filter(|&(passed, _)| passed < at) {
            self.violations.push(format!(
                "user {user} waited at {place:?} for {count} seats since LSN {} and {how} at LSN {}, but user {by}, who \
                 joined later and needed no fewer, was served before at LSN {}",
                it.joining.at.1, at.1, passed.1
            ));
        }
        if let Some(most) = self.max_passes {
            self.counted += 1;
            let passes = it.passes.iter().filter(|&&passed| passed < at).count();
            if passes > usize::from(most) {
                self.violations.push(format!(
                    "user {user} waited at {place:?} for {count} seats and was passed more than {most} times"
                ));
            }
        }
        self.forget(party);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn joining(user: u64, count: u8, lsn: u64) -> Joining {
        Joining { place: RowRef::new(1, 0, 0), user, count, kind: Kind::Together, at: (1, lsn), position: 1 }
    }

    #[test]
    fn who_needs_no_more_and_came_first_goes_first() {
        let mut queues = Queues::new(Some(2));
        let (a, b, c) = (
            queues.join(&joining(1, 2, 10)),
            queues.join(&joining(2, 2, 11)),
            queues.join(&joining(3, 1, 12)),
        );
        queues.serve(c, (1, 20));
        assert!(queues.violations.is_empty(), "a smaller party may pass larger ones");
        queues.serve(b, (1, 21));
        queues.serve(a, (1, 22));
        assert_eq!(queues.violations.len(), 1, "{:?}", queues.violations);
        assert_eq!(queues.waiting(), 0);
    }

    #[test]
    fn the_order_in_which_facts_come_does_not_matter() {
        let mut queues = Queues::new(None);
        let b = queues.join(&joining(2, 2, 11));
        queues.serve(b, (1, 21));
        // Heard of late: joined before, but left before, too.
        let a = queues.join(&joining(1, 2, 10));
        queues.leave(a, (1, 20));
        assert!(queues.violations.is_empty());
        let c = queues.join(&joining(3, 1, 9));
        queues.serve(c, (1, 30));
        assert_eq!(queues.violations.len(), 1);
    }

    #[test]
    fn one_operation_may_serve_several() {
        let mut queues = Queues::new(Some(0));
        let (a, b) = (queues.join(&joining(1, 2, 10)), queues.join(&joining(2, 2, 11)));
        queues.serve(b, (1, 20));
        queues.serve(a, (1, 20));
        assert!(queues.violations.is_empty());
    }

    #[test]
    fn passes_are_bounded() {
        let mut queues = Queues::new(Some(2));
        let large = queues.join(&joining(1, 4, 10));
        for lsn in 0..2 {
            queues.direct(RowRef::new(1, 0, 0), (1, 20 + lsn));
        }
        let small = queues.join(&joining(2, 1, 30));
        queues.serve(small, (1, 31));
        queues.leave(large, (1, 40));
        assert_eq!(queues.violations.len(), 1, "{:?}", queues.violations);
    }
}
