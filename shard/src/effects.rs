//! What an operation causes besides its own answer.

use crate::answer::Answer;
use crate::ids::{Parts, RequestId, RowRef, UserId};
use crate::mail::Letter;

/// An answer to a request that was [`crate::Code::Pending`] until now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decided {
    /// Which request.
    pub request: RequestId,
    /// Whose.
    pub user: UserId,
    /// The place it was about.
    pub place: RowRef,
    /// The answer.
    pub answer: Answer,
    /// The rows of a claim over several rows.
    pub parts: Parts,
}

/// Something a user must hear of without having asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PushKind {
    /// Seats from the queue are held for the user; the answer carries the fence.
    Offered,
    /// A hold ran out.
    Expired,
    /// The party can never fit any more and is out of the queue.
    Unfillable,
    /// The sale ended; the party is out of the queue.
    Closed,
    /// An offer could not be made: the user has as many seats as one may have. Out of the queue.
    HoldCap,
}

/// News for one user.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Push {
    /// Who.
    pub user: UserId,
    /// The row or section it is about.
    pub place: RowRef,
    /// What happened.
    pub kind: PushKind,
    /// Seats, and the fence of an offer.
    pub answer: Answer,
    /// The rows of an offer over several rows.
    pub parts: Parts,
}

/// Collects what operations cause. Cleared and used again, so that it does not allocate once warm.
#[derive(Debug, Default)]
pub struct Effects {
    /// Answers to earlier requests.
    pub answers: Vec<Decided>,
    /// News for users.
    pub pushes: Vec<Push>,
    /// The rows of the hold that the operation was about, if it is one over several rows.
    pub parts: Parts,
    /// Rows whose visible state changed; a row may stand here more than once.
    pub rows: Vec<RowRef>,
    /// Messages to partitions, to be sent once the operation is durable.
    pub letters: Vec<Letter>,
}

impl Effects {
    /// Room for a batch of about `operations`.
    pub fn with_capacity(operations: usize) -> Self {
        Self {
            answers: Vec::with_capacity(operations),
            pushes: Vec::with_capacity(operations),
            parts: Parts::default(),
            rows: Vec::with_capacity(operations * 2),
            letters: Vec::with_capacity(operations),
        }
    }

    /// Forgets everything and keeps the room.
    pub fn clear(&mut self) {
        self.answers.clear();
        self.pushes.clear();
        self.parts.clear();
        self.rows.clear();
        self.letters.clear();
    }
}
