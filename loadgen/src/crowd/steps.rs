//! What a person does next: arriving, asking, deciding, leaving.

use super::inspect::Wanted;
use super::interest::Way;
use super::people::Crowd;
use super::person::{Asked, Question, Stage, Visit};
use super::scenario::{Behaviour, Think};
use super::slab::NONE;
use super::timers::Due;
use super::verify::facts::Fact;
use super::{ConnectionId, Nanos};
use frontrow_shard::{Command, Leave, Proof, RowRef};

/// Draws of a row until one lies on the wanted core, or of a connection until one is not in the queue already.
const DRAWS: usize = 8;

/// Who waits when a run winds down goes home within so long: thousands who leave in the same instant would be a storm of
/// the load's own making.
const GOING_HOME_NS: u32 = 500_000_000;

impl Crowd {
    pub(crate) fn behaviour(&self, visit: &Visit) -> &Behaviour {
        &self.play.roles[usize::from(visit.group)].behaviour
    }

    pub(crate) fn think(&mut self, think: Think) -> Nanos {
        self.dice.think(think)
    }

    pub(crate) fn begin_visit(&mut self, group: u16, at: Nanos) {
        self.notes.visit_begun();
        let wish = self.play.roles[usize::from(group)].wishes.draw(&mut self.dice);
        let slot = self.visits.insert(Visit::new(group, wish, at));
        self.step(slot, at);
    }

    /// Sets when a visit's next step is due.
    pub(crate) fn arm(&mut self, slot: u32, at: Nanos) {
        let Some(visit) = self.visits.get_mut(slot) else { return };
        visit.armed = visit.armed.wrapping_add(1);
        let armed = visit.armed;
        self.timers.set(at, Due::Visit { slot, armed });
    }

    pub(crate) fn stage(&mut self, slot: u32, stage: Stage) {
        if let Some(visit) = self.visits.get_mut(slot) {
            visit.stage = stage;
        }
    }

    /// A visit's next step is due. Without a connection it waits for that.
    pub(crate) fn step(&mut self, slot: u32, at: Nanos) {
        let Some(visit) = self.visits.get_mut(slot) else { return };
        visit.parked = false;
        let (stage, connection) = (visit.stage, visit.connection);
        if stage == Stage::Wanting {
            return self.claim(slot, at);
        }
        if stage == Stage::Gone {
            return self.end_in_vain(slot, at);
        }
        if !self.lines.get(connection).is_some_and(|line| line.open) {
            if let Some(visit) = self.visits.get_mut(slot) {
                visit.parked = true;
            }
            return;
        }
        match stage {
            Stage::Waiting => self.lose_patience(slot, at),
            Stage::Holding => self.decide(slot, at),
            Stage::Purchasing => self.book(slot, at),
            Stage::Owning => self.ask_with_fence(slot, Stage::Cancelling, at),
            // A request is on its way; its answer brings the next step.
            _ => {}
        }
    }

    /// Asks for seats, on a connection chosen now.
    fn claim(&mut self, slot: u32, at: Nanos) {
        let Some(&visit) = self.visits.get(slot) else { return };
        let wish = visit.wish;
        let play = std::sync::Arc::clone(&self.play);
        let wishes = &play.roles[usize::from(visit.group)].wishes;
        let command = wishes.command(wish, &play.hall, &mut self.dice);
        let core = play.core_of_row.as_ref().map(|cores| cores[wish.row as usize]);
        let queues = matches!(wish.way, Way::RowQueue | Way::SectionQueue);
        let mut connection = visit.connection;
        if connection == NONE {
            let mut chosen = None;
            for _ in 0..DRAWS {
                chosen = self.lines.pick(visit.group, core, &mut self.dice);
                let Some(id) = chosen else { break };
                if !queues || !self.waits_already(id, slot, command.place()) {
                    break;
                }
            }
            let Some(id) = chosen else {
                self.homeless.push(slot);
                return;
            };
            connection = id;
            self.link(slot, id);
        } else if !self.lines.get(connection).is_some_and(|line| line.open) {
            if let Some(visit) = self.visits.get_mut(slot) {
                visit.parked = true;
            }
            return;
        }
        if matches!(command, Command::Join(_)) {
            return self.join(slot, connection, command, at);
        }
        self.stage(slot, Stage::Asking);
        self.ask(slot, Question::Command(command), at);
    }

    /// Joins a queue, unless the connection's user is in it already: one may be there once.
    fn join(&mut self, slot: u32, connection: ConnectionId, command: Command, at: Nanos) {
        if self.waits_already(connection, slot, command.place()) {
            return self.end_visit(slot);
        }
        if let Some(visit) = self.visits.get_mut(slot) {
            visit.place = command.place();
            visit.waits = true;
            visit.stage = Stage::Asking;
        }
        self.ask(slot, Question::Command(command), at);
    }

    /// Whether another visit on this connection may be in that queue, or have an offer from it.
    fn waits_already(&self, connection: ConnectionId, slot: u32, place: RowRef) -> bool {
        self.visits_on(connection).any(|other| {
            other != slot
                && self.visits.get(other).is_some_and(|visit| {
                    visit.place == place
                        && (visit.waits || visit.hold.is_some_and(|hold| hold.place == place))
                })
        })
    }

    /// Puts a visit on its connection's list.
    fn link(&mut self, slot: u32, connection: ConnectionId) {
        let Some(line) = self.lines.get_mut(connection) else { return };
        let first = std::mem::replace(&mut line.visits, slot);
        if let Some(other) = self.visits.get_mut(first) {
            other.prev = slot;
        }
        if let Some(visit) = self.visits.get_mut(slot) {
            visit.connection = connection;
            (visit.next, visit.prev) = (first, NONE);
        }
    }

    /// Takes a visit off its connection's list.
    fn unlink(&mut self, slot: u32) {
        let Some(&visit) = self.visits.get(slot) else { return };
        if visit.connection == NONE {
            return;
        }
        if let Some(next) = self.visits.get_mut(visit.next) {
            next.prev = visit.prev;
        }
        if let Some(prev) = self.visits.get_mut(visit.prev) {
            prev.next = visit.next;
        } else if let Some(line) = self.lines.get_mut(visit.connection) {
            line.visits = visit.next;
        }
        if let Some(visit) = self.visits.get_mut(slot) {
            visit.connection = NONE;
            (visit.next, visit.prev) = (NONE, NONE);
        }
    }

    /// Joins the queue (with probability `queue`), wants the same elsewhere, or gives up.
    pub(crate) fn refused(&mut self, slot: u32, asked: &Asked, queue: f64, now: Nanos) {
        let Some(&visit) = self.visits.get(slot) else { return };
        let behaviour = self.behaviour(&visit);
        let (retry, retries) = (behaviour.retry, behaviour.retries);
        let place = asked.question.place();
        let was_claim = !matches!(asked.question, Question::Command(Command::Join(_)));
        if was_claim && !self.winding_down && self.dice.chance(queue) {
            let play = std::sync::Arc::clone(&self.play);
            let wishes = &play.roles[usize::from(visit.group)].wishes;
            let command = wishes.join(place, visit.wish);
            if self.lines.get(visit.connection).is_some_and(|line| line.open) {
                return self.join(slot, visit.connection, command, now);
            }
        }
        if visit.tries >= retries || self.winding_down {
            return self.end_in_vain(slot, now);
        }
        let row = self.another_row(&visit);
        if let Some(visit) = self.visits.get_mut(slot) {
            visit.tries += 1;
            visit.wish.row = row;
            visit.stage = Stage::Wanting;
        }
        let after = self.think(retry);
        self.arm(slot, now + after);
    }

    /// Another row; with routing, one that the visit's connection leads to.
    fn another_row(&mut self, visit: &Visit) -> u32 {
        let play = std::sync::Arc::clone(&self.play);
        let wishes = &play.roles[usize::from(visit.group)].wishes;
        let core = self.lines.get(visit.connection).map(|line| line.core);
        let mut row = wishes.row(visit.wish.accessible, &mut self.dice);
        if let Some(cores) = &play.core_of_row {
            for _ in 0..DRAWS {
                if core == Some(cores[row as usize]) {
                    break;
                }
                row = wishes.row(visit.wish.accessible, &mut self.dice);
            }
        }
        row
    }

    /// Has seats, has thought: what now?
    fn decide(&mut self, slot: u32, at: Nanos) {
        let Some(&visit) = self.visits.get(slot) else { return };
        let b = self.behaviour(&visit);
        let (abandon, release, extend, pay) = (b.abandon, b.release, b.extend, b.pay);
        if !visit.extended && self.dice.chance(extend) {
            if let Some(visit) = self.visits.get_mut(slot) {
                visit.extended = true;
            }
            return self.ask_with_fence(slot, Stage::Extending, at);
        }
        let fate = self.dice.unit();
        if fate < abandon {
            return self.walk_away(slot, at);
        }
        if fate < abandon + release {
            return self.ask_with_fence(slot, Stage::Releasing, at);
        }
        if self.dice.chance(pay) {
            return self.ask_with_fence(slot, Stage::Paying, at);
        }
        self.book(slot, at);
    }

    pub(crate) fn book(&mut self, slot: u32, at: Nanos) {
        self.ask_with_fence(slot, Stage::Booking, at);
    }

    /// Asks for something that the hold's fence proves the right to.
    pub(crate) fn ask_with_fence(&mut self, slot: u32, stage: Stage, at: Nanos) {
        let Some(hold) = self.visits.get(slot).and_then(|visit| visit.hold) else { return };
        let proof = Proof { place: hold.place, fence: hold.fence };
        let command = match stage {
            Stage::Extending => Command::Extend(proof),
            Stage::Paying => Command::BeginPayment(proof),
            Stage::Booking => Command::Book(proof),
            Stage::Cancelling => Command::Cancel(proof),
            _ => Command::Release(proof),
        };
        match stage {
            Stage::Booking => self.notes.fact(slot, Fact::Booking),
            Stage::Releasing | Stage::Cancelling => self.notes.fact(slot, Fact::Ending),
            _ => {}
        }
        self.stage(slot, stage);
        self.ask(slot, Question::Command(command), at);
    }

    /// Leaves the queue.
    fn lose_patience(&mut self, slot: u32, at: Nanos) {
        let Some(&visit) = self.visits.get(slot) else { return };
        self.stage(slot, Stage::Leaving);
        self.ask(slot, Question::Command(Command::Leave(Leave { place: visit.place })), at);
    }

    /// Asks where a waiting visit stands.
    pub(crate) fn look(&mut self, slot: u32, at: Nanos) {
        let Some(&visit) = self.visits.get(slot) else { return };
        if !self.lines.get(visit.connection).is_some_and(|line| line.open) {
            return self.stage(slot, Stage::Waiting);
        }
        self.stage(slot, Stage::Looking);
        self.ask(slot, Question::Status(visit.place), at);
    }

    /// Leaves without a word. What is held runs out by itself.
    pub(crate) fn walk_away(&mut self, slot: u32, now: Nanos) {
        let Some(&visit) = self.visits.get(slot) else { return };
        if visit.waits {
            self.notes.fact(slot, Fact::Strayed);
            self.ghosts.insert((visit.connection, visit.place.key()));
        }
        let Some(hold) = visit.hold else { return self.end_visit(slot) };
        if matches!(visit.stage, Stage::Owning | Stage::Cancelling) {
            return self.end_visit(slot);
        }
        if self.winding_down {
            return self.end_visit(slot);
        }
        // An open offer must be remembered: asked where it stands, the server tells of it again.
        if hold.place != visit.place {
            self.unlink(slot);
        }
        if let Some(visit) = self.visits.get_mut(slot) {
            visit.stage = Stage::Gone;
            visit.waits = false;
        }
        let left_ms = hold.fence.expires_ms.saturating_sub(self.heard_ms);
        self.arm(slot, now + left_ms * 1_000_000);
    }

    /// The visit is over. Its person may come again, later.
    pub(crate) fn end_visit(&mut self, slot: u32) {
        self.unlink(slot);
        let Some(visit) = self.visits.remove(slot) else { return };
        if visit.hold.is_some() {
            self.notes.fact(slot, Fact::Closed);
        }
        // An answer may still be on its way: to nobody.
        if let Some(asked) = self.asked.get_mut(visit.asked) {
            asked.visit = NONE;
        }
    }

    /// Ends a visit without a booking: who has not got anything may come back.
    pub(crate) fn end_in_vain(&mut self, slot: u32, now: Nanos) {
        let Some(&visit) = self.visits.get(slot) else { return };
        let behaviour = self.behaviour(&visit);
        let (come_back, away) = (behaviour.come_back, behaviour.away);
        self.end_visit(slot);
        if !self.winding_down && self.dice.chance(come_back) {
            self.notes.visit_begun();
            let wish = self.play.roles[usize::from(visit.group)].wishes.draw(&mut self.dice);
            let slot = self.visits.insert(Visit::new(visit.group, wish, visit.came));
            let after = self.think(away);
            self.arm(slot, now + after);
        }
    }

    /// Nobody comes any more; who only waits goes home.
    pub(crate) fn send_home(&mut self, now: Nanos) {
        let slots: Vec<u32> = self.visits.slots().collect();
        self.homeless.clear();
        for slot in slots {
            match self.visits.get(slot).map(|visit| visit.stage) {
                Some(Stage::Wanting | Stage::Gone) => self.end_visit(slot),
                Some(Stage::Waiting) => {
                    let after = Nanos::from(self.dice.below(GOING_HOME_NS));
                    self.arm(slot, now + after);
                }
                _ => {}
            }
        }
    }

    /// What a visit's claim or joining wants.
    pub(crate) fn wanted(asked: &Asked) -> Option<Wanted> {
        match &asked.question {
            Question::Command(command) => Wanted::of(command),
            Question::Status(_) => None,
        }
    }
}
