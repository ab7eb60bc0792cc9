//! What a person makes of an answer, or of news.

use super::inspect::{self, Request, Wanted};
use super::people::Crowd;
use super::person::{Asked, Hold, Question, Stage, digest};
use super::slab::NONE;
use super::verify::checks::Check;
use super::verify::facts::{Fact, Grant, Joining, Kind, Position};
use super::{ConnectionId, Nanos};
use frontrow_protocol::{News, NewsKind, Reply};
use frontrow_shard::{Adjacency, Answer, Code, Command, Fence, Millis, Parts, RowRef, flags};

impl Crowd {
    /// A decision about a request.
    pub(crate) fn answered(&mut self, asked: &Asked, reply: &Reply, now: Nanos) {
        let user = self.user_of(asked.connection);
        let hold = self.visits.get(asked.visit).and_then(|visit| visit.hold);
        let request = Request { asked, user, hold: hold.as_ref() };
        inspect::answer(&mut self.notes, &request, reply);
        let slot = asked.visit;
        let Some(visit) = self.visits.get_mut(slot) else { return };
        visit.put_off = 0;
        match visit.stage {
            Stage::Asking => self.claim_answered(slot, asked, reply, now),
            Stage::Looking | Stage::Leaving => self.queue_answered(slot, asked, reply, now),
            Stage::Extending | Stage::Paying => self.longer(slot, asked, reply, now),
            Stage::Booking => self.booking_answered(slot, asked, reply, now),
            Stage::Releasing | Stage::Cancelling => self.end_answered(slot, asked, reply, now),
            // An offer came while it was asked where it stands, or while it left: the answer is old news.
            _ => {}
        }
    }

    fn claim_answered(&mut self, slot: u32, asked: &Asked, reply: &Reply, now: Nanos) {
        let Some(wanted) = Self::wanted(asked) else { return };
        let answer = &reply.answer;
        match answer.code {
            Code::Granted => {
                self.out_of_queue(slot, now);
                if let Question::Command(Command::Join(join)) = asked.question {
                    // Whoever is served in the moment of joining has stood in the queue, too.
                    let at = (answer.epoch, answer.lsn);
                    self.notes
                        .fact(slot, Fact::Joined(self.joining(asked, reply.place, join.count, u32::MAX, at)));
                    self.notes.fact(slot, Fact::Served(at));
                }
                let told = (answer, &reply.parts, reply.time_ms);
                self.granted(slot, asked.connection, &wanted, told, asked.heard_ms, now);
            }
            Code::Queued => self.queued(slot, asked, reply, now),
            code => {
                self.out_of_queue(slot, now);
                let Some(&visit) = self.visits.get(slot) else { return };
                let behaviour = self.behaviour(&visit);
                let queue = match code {
                    Code::SeatHeld | Code::NotEnoughTogether => behaviour.queue,
                    Code::QueuedFirst => behaviour.queue_behind,
                    _ => 0.0,
                };
                self.refused(slot, asked, queue, now);
            }
        }
    }

    fn queued(&mut self, slot: u32, asked: &Asked, reply: &Reply, now: Nanos) {
        let Question::Command(Command::Join(join)) = asked.question else { return };
        let at = (reply.answer.epoch, reply.answer.lsn);
        let joining = self.joining(asked, reply.place, join.count, reply.answer.slot, at);
        if !self.ghosts.contains(&(asked.connection, reply.place.key())) {
            self.notes.fact(slot, Fact::Joined(joining));
        }
        let Some(&visit) = self.visits.get(slot) else { return };
        let patience = self.behaviour(&visit).patience;
        let ends = now + self.think(patience);
        if let Some(visit) = self.visits.get_mut(slot) {
            visit.stage = Stage::Waiting;
            visit.patience_ends = ends;
            visit.joined.get_or_insert(now);
        }
        if asked.repeated {
            // The offer may have come while the connection was away.
            return self.look(slot, now);
        }
        let ends = if self.winding_down { now } else { ends };
        self.arm(slot, ends);
    }

    fn joining(&self, asked: &Asked, place: RowRef, count: u8, position: u32, at: Position) -> Joining {
        let kind = match asked.question {
            Question::Command(Command::Join(join)) if join.accessible => Kind::Accessible,
            Question::Command(Command::Join(join))
                if join.adjacency != Adjacency::Required && place.is_section() =>
            {
                Kind::Apart
            }
            _ => Kind::Together,
        };
        let user = self.user_of(asked.connection);
        Joining { place, user, count, kind, at, position }
    }

    /// An answer to a leaving, or to a question where the party stands.
    fn queue_answered(&mut self, slot: u32, asked: &Asked, reply: &Reply, now: Nanos) {
        let Some(&visit) = self.visits.get(slot) else { return };
        let answer = &reply.answer;
        match answer.code {
            Code::Left => {
                self.notes.fact(slot, Fact::Left((answer.epoch, answer.lsn)));
                self.out_of_queue(slot, now);
                self.end_in_vain(slot, now);
            }
            Code::Granted => {
                self.offered(slot, asked.connection, (answer, &reply.parts, reply.time_ms), now);
            }
            Code::Queued => {
                self.stage(slot, Stage::Waiting);
                self.arm(slot, if self.winding_down { now } else { visit.patience_ends.max(now) });
            }
            // Left in vain: an offer may have been made before. One word of the server settles it.
            Code::NotQueued if visit.stage == Stage::Leaving => self.look(slot, now),
            _ => {
                self.notes.fact(slot, Fact::Strayed);
                self.out_of_queue(slot, now);
                self.end_in_vain(slot, now);
            }
        }
    }

    fn out_of_queue(&mut self, slot: u32, now: Nanos) {
        let Some(visit) = self.visits.get_mut(slot) else { return };
        visit.waits = false;
        if let Some(joined) = visit.joined.take() {
            self.notes.queued_for(now.saturating_sub(joined));
        }
    }

    /// The answer to an extension, or to the beginning of a payment.
    fn longer(&mut self, slot: u32, asked: &Asked, reply: &Reply, now: Nanos) {
        let Some(&visit) = self.visits.get(slot) else { return };
        let Some(hold) = visit.hold else { return };
        let (answer, behaviour) = (&reply.answer, self.behaviour(&visit));
        let (hesitate, payment) = (behaviour.hesitate, behaviour.payment);
        match answer.code {
            Code::Extended | Code::Paying => {
                let fence = Fence::of(hold.fence.user, answer);
                let same = fence.lsn == hold.fence.lsn && fence.nonce == hold.fence.nonce;
                let later = fence.expires_ms > hold.fence.expires_ms || answer.code == Code::Paying;
                let same_seats = answer.seats == hold.seats || hold.place.is_section();
                self.notes.check(Check::Fence, same && later && same_seats, || {
                    format!("user {}: {:?} renewed the fence {:?} wrongly", fence.user, answer, hold.fence)
                });
                self.notes.fact(slot, Fact::Extended(fence.expires_ms, asked.issued));
                if let Some(visit) = self.visits.get_mut(slot) {
                    visit.hold = Some(Hold { fence, ..hold });
                }
                let (stage, think) = match answer.code {
                    Code::Extended => (Stage::Holding, hesitate),
                    _ => (Stage::Purchasing, payment),
                };
                self.stage(slot, stage);
                let after = self.think(think);
                self.arm(slot, now + after);
            }
            Code::ExtendLimit => {
                self.stage(slot, Stage::Purchasing);
                self.arm(slot, now);
            }
            _ => self.end_in_vain(slot, now),
        }
    }

    fn booking_answered(&mut self, slot: u32, asked: &Asked, reply: &Reply, now: Nanos) {
        let Some(&visit) = self.visits.get(slot) else { return };
        if reply.answer.code != Code::Booked {
            if reply.answer.code != Code::TooOld {
                self.notes.fact(slot, Fact::NotBooked);
            }
            return self.end_in_vain(slot, now);
        }
        self.notes.fact(slot, Fact::Booked(asked.issued, now));
        self.notes.visit_won(now.saturating_sub(visit.came));
        let behaviour = self.behaviour(&visit);
        let (cancel, regret) = (behaviour.cancel, behaviour.regret);
        if !self.winding_down && self.dice.chance(cancel) {
            self.stage(slot, Stage::Owning);
            let after = self.think(regret);
            return self.arm(slot, now + after);
        }
        self.end_visit(slot);
    }

    /// The answer to a release or a cancellation.
    fn end_answered(&mut self, slot: u32, asked: &Asked, reply: &Reply, now: Nanos) {
        let answer = &reply.answer;
        match answer.code {
            Code::Released | Code::Cancelled => {
                self.notes.fact(slot, Fact::Ended((answer.epoch, answer.lsn), asked.issued));
            }
            // What it asked for may have been done long ago.
            Code::TooOld => {}
            _ => self.notes.fact(slot, Fact::NotEnded),
        }
        self.end_in_vain(slot, now);
    }

    /// The visit has seats now, by a claim or by an offer.
    fn granted(
        &mut self,
        slot: u32,
        connection: ConnectionId,
        wanted: &Wanted,
        (answer, parts, time_ms): (&Answer, &Parts, Millis),
        since_ms: Millis,
        now: Nanos,
    ) {
        let user = self.user_of(connection);
        let from_queue = answer.flags & flags::FROM_QUEUE != 0;
        let hall = std::sync::Arc::clone(&self.play.hall);
        let duration = hall.rules().map(|rules| if from_queue { rules.offer_ms } else { rules.hold_ms });
        inspect::grant(&mut self.notes, &hall, user, wanted, (answer, parts, time_ms), (duration, since_ms));
        let begun = duration.map(|ms| answer.expires_ms.saturating_sub(Millis::from(ms)));
        let grant = Grant {
            place: wanted.place,
            seats: answer.seats,
            user,
            at: (answer.epoch, answer.lsn),
            latest_ms: begun.unwrap_or(time_ms).min(time_ms),
            expires_ms: answer.expires_ms,
            nonce: answer.nonce,
            heard_ns: now,
            offered: from_queue,
        };
        self.notes.fact(slot, Fact::Granted(grant));
        for part in parts.as_slice() {
            self.notes.fact(slot, Fact::Part(part.row, part.seats));
        }
        let Some(&visit) = self.visits.get(slot) else { return };
        let hesitate = self.behaviour(&visit).hesitate;
        let fence = Fence::of(user, answer);
        let hold = Hold { place: wanted.place, fence, seats: answer.seats, parts: digest(parts) };
        if let Some(visit) = self.visits.get_mut(slot) {
            visit.hold = Some(hold);
            visit.stage = Stage::Holding;
        }
        let after = self.think(hesitate);
        self.arm(slot, now + after);
    }

    /// The party of a visit has been served.
    fn offered(&mut self, slot: u32, connection: ConnectionId, told: (&Answer, &Parts, Millis), now: Nanos) {
        let Some(&visit) = self.visits.get(slot) else { return };
        self.out_of_queue(slot, now);
        // An answer to a leaving, or to where it stands, has been overtaken.
        if let Some(visit) = self.visits.get_mut(slot) {
            visit.asked = NONE;
        }
        self.notes.fact(slot, Fact::Served((told.0.epoch, told.0.lsn)));
        let role = &self.play.scenario.groups[usize::from(visit.group)];
        let apart = visit.place.is_section() && !visit.wish.accessible;
        let adjacency = if apart { role.interest.adjacency.into() } else { Adjacency::Required };
        let (count, accessible) = (visit.wish.party, visit.wish.accessible);
        let wanted = Wanted { place: visit.place, count, seats: None, adjacency, accessible };
        self.granted(slot, connection, &wanted, told, 0, now);
    }

    /// News for a user.
    pub(crate) fn told(&mut self, connection: ConnectionId, news: &News, now: Nanos) {
        match news.kind {
            NewsKind::Expired => {
                let over = news.time_ms >= news.answer.expires_ms;
                let user = self.user_of(connection);
                self.notes.check(Check::Expiry, over, || {
                    format!("user {user}: told at {} of a hold run out: {:?}", news.time_ms, news.answer)
                });
            }
            NewsKind::Position => {}
            NewsKind::Offered => {
                if let Some(slot) = self.waiting_at(connection, news.place) {
                    self.offered(slot, connection, (&news.answer, &news.parts, news.time_ms), now);
                }
            }
            NewsKind::Unfillable | NewsKind::Closed | NewsKind::HoldCap => {
                if let Some(slot) = self.waiting_at(connection, news.place) {
                    self.notes.fact(slot, Fact::Left((news.answer.epoch, news.answer.lsn)));
                    self.out_of_queue(slot, now);
                    self.end_in_vain(slot, now);
                }
            }
        }
    }

    /// The visit on a connection that waits in a queue, and has been told so.
    fn waiting_at(&self, connection: ConnectionId, place: RowRef) -> Option<u32> {
        self.visits_on(connection).find(|&slot| {
            self.visits.get(slot).is_some_and(|visit| {
                let told = matches!(visit.stage, Stage::Waiting | Stage::Leaving | Stage::Looking);
                visit.waits && visit.place == place && told
            })
        })
    }
}
