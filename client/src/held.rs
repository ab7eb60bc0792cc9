//! A hold, as its holder knows it.

use frontrow_protocol::{News, Reply, TokenError, format_token, parse_token};
use frontrow_shard::{Answer, Fence, Millis, Parts, Proof, RowRef, Seats, UserId, flags};

/// Seats that are held, being paid for, or booked: with what proves it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Held {
    /// The row, or the section for seats claimed from one.
    pub place: RowRef,
    /// What has to be shown whenever something is to happen to the seats.
    pub fence: Fence,
    /// The seats of the row; empty if they are in `parts`, or not known (a token does not name them).
    pub seats: Seats,
    /// The rows and their seats, if they are spread over several or were claimed from a section.
    pub parts: Parts,
    /// When the hold ends, ms since 1970.
    pub expires_ms: Millis,
    /// Whether all seats are next to each other.
    pub together: bool,
    /// Whether they came through the queue.
    pub from_queue: bool,
}

impl Held {
    /// The hold in an answer to `user`; `None` if there is none in it.
    pub fn of(user: UserId, reply: &Reply) -> Option<Self> {
        Self::from_answer(user, reply.place, &reply.answer, reply.parts)
    }

    /// The hold in an offer to `user`; `None` if the news is of another kind.
    pub fn offered(user: UserId, news: &News) -> Option<Self> {
        (news.kind == frontrow_protocol::NewsKind::Offered)
            .then(|| Self::from_answer(user, news.place, &news.answer, news.parts))?
    }

    fn from_answer(user: UserId, place: RowRef, answer: &Answer, parts: Parts) -> Option<Self> {
        (answer.nonce != 0).then(|| Self {
            place,
            fence: Fence::of(user, answer),
            seats: answer.seats,
            parts,
            expires_ms: answer.expires_ms,
            together: answer.flags & flags::TOGETHER != 0,
            from_queue: answer.flags & flags::FROM_QUEUE != 0,
        })
    }

    /// The same hold with a newer fence; the seats stay those known before if the answer names none.
    pub(crate) fn renewed(&self, user: UserId, reply: &Reply) -> Option<Self> {
        let newer = Self::of(user, reply)?;
        if newer.seats.is_empty() && newer.parts.as_slice().is_empty() {
            return Some(Self { fence: newer.fence, expires_ms: newer.expires_ms, ..*self });
        }
        Some(newer)
    }

    /// Place and fence, as requests show them.
    pub const fn proof(&self) -> Proof {
        Proof { place: self.place, fence: self.fence }
    }

    /// The token: place and fence as one string, the same that JSON clients get.
    pub fn token(&self) -> String {
        format_token(&self.proof())
    }

    /// The hold behind a token, without its seats.
    pub fn from_token(token: &str) -> Result<Self, TokenError> {
        let Proof { place, fence } = parse_token(token)?;
        Ok(Self {
            place,
            fence,
            seats: Seats::NONE,
            parts: Parts::default(),
            expires_ms: fence.expires_ms,
            together: false,
            from_queue: false,
        })
    }

    /// Every row with its seats, whichever way they were claimed.
    pub fn rows(&self) -> Vec<(u16, Seats)> {
        if self.parts.as_slice().is_empty() {
            if self.seats.is_empty() { Vec::new() } else { vec![(self.place.row, self.seats)] }
        } else {
            self.parts.as_slice().iter().map(|part| (part.row, part.seats)).collect()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use frontrow_shard::Part;

    fn fence() -> Fence {
        Fence { user: 7, expires_ms: 1234, lsn: 3, nonce: 4, slot: 5, epoch: 6 }
    }

    #[test]
    fn a_token_is_the_hold_without_its_seats() {
        let held = Held {
            seats: Seats { mask: 3, first: 4 },
            ..Held::from_token(&format_token(&Proof { place: RowRef::new(1, 2, 3), fence: fence() })).unwrap()
        };
        assert_eq!((held.place, held.fence, held.expires_ms), (RowRef::new(1, 2, 3), fence(), 1234));
        assert_eq!(Held::from_token(&held.token()).unwrap().proof(), held.proof());
        assert_eq!(held.rows(), [(3, held.seats)]);
        assert!(Held::from_token("x").unwrap_err().to_string().contains("66 characters"));
    }

    #[test]
    fn rows_of_a_section_are_its_parts() {
        let token = format_token(&Proof { place: RowRef::new(1, 2, RowRef::SECTION), fence: fence() });
        let mut held = Held::from_token(&token).unwrap();
        assert_eq!(held.rows(), []);
        let seats = Seats { mask: 1, first: 9 };
        held.parts.push(Part { row: 4, seats, slot: 0 });
        assert_eq!(held.rows(), [(4, seats)]);
    }
}
