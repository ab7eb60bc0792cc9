//! What a person does when the server cannot take a request.

use super::Nanos;
use super::people::Crowd;
use super::person::{Asked, Stage};
use super::verify::checks::Check;
use super::verify::facts::Fact;
use frontrow_protocol::WireCode;

/// How often a step is put off by an overloaded server before the person gives up.
const PATIENCE_WITH_SERVER: u8 = 20;
impl Crowd {
    /// The server could not take a request: nothing was decided. The step is taken again, a little later.
    pub(crate) fn put_off(&mut self, asked: &Asked, code: WireCode, retry_after_ms: u32, now: Nanos) {
        let user = self.user_of(asked.connection);
        let fault = !code.retryable() && !matches!(code, WireCode::TokenExpired | WireCode::Unauthenticated);
        self.notes.check(Check::Sense, !fault, || {
            format!("user {user}: {:?}, which is well formed, was refused as {}", asked.question, code.name())
        });
        let slot = asked.visit;
        let Some(visit) = self.visits.get_mut(slot) else { return };
        visit.put_off += 1;
        let give_up =
            visit.put_off >= PATIENCE_WITH_SERVER || !code.retryable() || code == WireCode::Internal;
        let before = match visit.stage {
            Stage::Asking => Stage::Wanting,
            Stage::Leaving | Stage::Looking => Stage::Waiting,
            Stage::Extending | Stage::Paying | Stage::Releasing => Stage::Holding,
            Stage::Booking => Stage::Purchasing,
            Stage::Cancelling => Stage::Owning,
            other => other,
        };
        let unsure = code == WireCode::Internal;
        self.unasked(slot, unsure);
        if before == Stage::Waiting && !give_up {
            self.stage(slot, before);
            return self.arm(slot, now + Nanos::from(retry_after_ms.max(50)) * 1_000_000);
        }
        if give_up || (before == Stage::Wanting && self.winding_down) {
            return self.walk_away(slot, now);
        }
        if before == Stage::Wanting {
            // Whoever asked to wait does not wait.
            if let Some(visit) = self.visits.get_mut(slot) {
                visit.waits = false;
            }
        }
        self.stage(slot, before);
        let wait = Nanos::from(retry_after_ms.max(1)) * 1_000_000;
        let jitter = Nanos::from(self.dice.below((wait / 2).min(1_000_000_000) as u32 + 1));
        self.arm(slot, now + wait + jitter);
    }

    /// Tells the verifier that what was asked was not done (or, `unsure`, leaves it open).
    fn unasked(&mut self, slot: u32, unsure: bool) {
        let Some(visit) = self.visits.get(slot).filter(|_| !unsure) else { return };
        match visit.stage {
            Stage::Booking => self.notes.fact(slot, Fact::NotBooked),
            Stage::Releasing | Stage::Cancelling => self.notes.fact(slot, Fact::NotEnded),
            _ => {}
        }
    }
}
