//! Each kind of request by name.

use crate::client::{Client, refuse};
use crate::error::ClientError;
use crate::held::Held;
use frontrow_protocol::Reply;
use frontrow_shard::{
    ANY_CATEGORY, Adjacency, CANDIDATES, ClaimBest, ClaimSeats, ClaimSection, Code, Command, Join, Leave,
    NO_ROW, Proof, RowRef, Seats,
};

/// What somebody would like to have, where which seats it is does not matter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wish {
    /// How many seats.
    pub count: u8,
    /// Only seats of this category, or [`ANY_CATEGORY`]. Queues do not look at it.
    pub category: u8,
    /// How close together; a row gives seats together only.
    pub adjacency: Adjacency,
    /// Whether at least one seat must be an accessible one.
    pub accessible: bool,
    /// Whether a claim joins the queue if it cannot be had now.
    pub or_join: bool,
}

impl Wish {
    /// So many seats, together, of any category.
    pub const fn of(count: u8) -> Self {
        Self {
            count,
            category: ANY_CATEGORY,
            adjacency: Adjacency::Required,
            accessible: false,
            or_join: false,
        }
    }

    /// The same, waiting in the queue if it cannot be had now.
    #[must_use]
    pub const fn or_join(self) -> Self {
        Self { or_join: true, ..self }
    }

    /// The same, this close together.
    #[must_use]
    pub const fn with_adjacency(self, adjacency: Adjacency) -> Self {
        Self { adjacency, ..self }
    }
}

/// A place in a queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Waiting {
    /// The row or section that is waited for.
    pub place: RowRef,
    /// The position, from 1.
    pub position: u32,
}

/// What a claim came to.
#[allow(clippy::large_enum_variant, reason = "nearly always the large one, and copied like its parts")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Claim {
    /// The seats are held.
    Held(Held),
    /// They are waited for.
    Waiting(Waiting),
}

impl Claim {
    /// The hold; `None` for somebody who waits.
    pub const fn held(self) -> Option<Held> {
        match self {
            Self::Held(held) => Some(held),
            Self::Waiting(_) => None,
        }
    }
}

impl Client {
    /// Claims these very seats of a row.
    pub async fn claim_seats(&self, row: RowRef, seats: Seats) -> Result<Held, ClientError> {
        let reply = self.request(Command::ClaimSeats(ClaimSeats { row, seats })).await?;
        self.held(&reply)
    }

    /// Claims the best seats of a row.
    pub async fn claim_best(&self, row: RowRef, wish: Wish) -> Result<Claim, ClientError> {
        let Wish { count, category, accessible, or_join, adjacency: _ } = wish;
        let claim = ClaimBest { row, count, category, accessible, or_join };
        self.claim(Command::ClaimBest(claim)).await
    }

    /// Claims the best seats of a section.
    pub async fn claim_section(&self, section: RowRef, wish: Wish) -> Result<Claim, ClientError> {
        self.claim(section_claim(section, wish)).await
    }

    /// Waits in the queue of a row or section. Somebody who fits now gets seats at once.
    pub async fn join(&self, place: RowRef, wish: Wish) -> Result<Claim, ClientError> {
        let Wish { count, adjacency, accessible, .. } = wish;
        self.claim(Command::Join(Join { place, count, adjacency, accessible })).await
    }

    /// Stops waiting.
    pub async fn leave(&self, place: RowRef) -> Result<Reply, ClientError> {
        self.request(Command::Leave(Leave { place })).await
    }

    /// Where this user waits in the queue of a place, or what is held for them from it. For somebody who
    /// does not wait there it is refused with [`Code::NotQueued`].
    pub async fn status(&self, place: RowRef) -> Result<Claim, ClientError> {
        self.outcome(&refuse(self.status_of(place).await?)?)
    }

    /// Holds for longer; the old fence is dead.
    pub async fn extend(&self, held: &Held) -> Result<Held, ClientError> {
        self.renew(held, Command::Extend).await
    }

    /// Pins the hold while a payment is in flight; the old fence is dead.
    pub async fn begin_payment(&self, held: &Held) -> Result<Held, ClientError> {
        self.renew(held, Command::BeginPayment).await
    }

    /// Buys what is held. Keep what it gives: a cancellation needs it.
    pub async fn book(&self, held: &Held) -> Result<Held, ClientError> {
        self.renew(held, Command::Book).await
    }

    /// Gives a hold back.
    pub async fn release(&self, held: &Held) -> Result<Reply, ClientError> {
        self.request(Command::Release(held.proof())).await
    }

    /// Gives a booking back.
    pub async fn cancel(&self, held: &Held) -> Result<Reply, ClientError> {
        self.request(Command::Cancel(held.proof())).await
    }

    async fn claim(&self, command: Command) -> Result<Claim, ClientError> {
        self.outcome(&self.request(command).await?)
    }

    async fn renew(&self, held: &Held, of: fn(Proof) -> Command) -> Result<Held, ClientError> {
        let reply = self.request(of(held.proof())).await?;
        // An answer without a fence leaves the old one in force.
        Ok(held.renewed(self.user(), &reply).unwrap_or(*held))
    }

    fn outcome(&self, reply: &Reply) -> Result<Claim, ClientError> {
        if reply.answer.code == Code::Queued {
            return Ok(Claim::Waiting(Waiting { place: reply.place, position: reply.answer.slot }));
        }
        self.held(reply).map(Claim::Held)
    }

    fn held(&self, reply: &Reply) -> Result<Held, ClientError> {
        Held::of(self.user(), reply).ok_or_else(|| {
            ClientError::Protocol(format!("`{}` came without a fence", reply.answer.code.name()))
        })
    }
}

/// The fields that only a server fills in are left as a client sends them.
pub(crate) fn section_claim(section: RowRef, wish: Wish) -> Command {
    let Wish { count, category, adjacency, accessible, or_join } = wish;
    Command::ClaimSection(ClaimSection {
        section: section.section_of(),
        count,
        category,
        adjacency,
        accessible,
        or_join,
        hopeless: false,
        candidates: [NO_ROW; CANDIDATES],
    })
}
