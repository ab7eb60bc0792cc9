//! What is checked, by name.

use std::collections::BTreeMap;

/// Declares the checks with their names in one place.
macro_rules! checks {
    ($($(#[$doc:meta])* $name:ident = $text:literal,)*) => {
        /// One kind of check.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[repr(usize)]
        pub(crate) enum Check { $($(#[$doc])* $name,)* }

        const NAMES: &[&str] = &[$($text,)*];
    };
}

checks! {
    /// No seat has two holders at once.
    OneOwner = "one_owner",
    /// Granted is what was asked: these seats, so many, in that row, next to each other.
    SeatsAsked = "seats_asked",
    /// A fence is complete, of the answer's place and time.
    Fence = "fence",
    /// A fence has not been given out before.
    FreshToken = "fresh_token",
    /// Expired no sooner, and booked no later, than the fence says.
    Expiry = "expiry",
    /// What a holder does with a good fence is not refused.
    OwnHold = "own_hold",
    /// An answer to a request that was asked and not answered before.
    AnsweredOnce = "answered_once",
    /// Only what was asked again is answered as a repetition.
    Repeats = "repeats",
    /// Nobody is served before who came earlier and needs no more.
    Fifo = "fifo",
    /// Nobody is passed more often than the event allows.
    Passes = "passes",
    /// An answer that the request can have.
    Sense = "sense",
    /// What the server says of each seat at the end is what its holders were told.
    FinalState = "final_state",
    /// As many seats are booked as winners were told.
    Winners = "winners",
}

/// How often each check was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub(crate) struct Counts([u64; NAMES.len()]);

impl Counts {
    pub(crate) fn add(&mut self, check: Check, times: u64) {
        self.0[check as usize] += times;
    }

    pub(crate) fn merge(&mut self, other: &Self) {
        for (sum, more) in self.0.iter_mut().zip(other.0) {
            *sum += more;
        }
    }

    pub(crate) fn by_name(&self) -> BTreeMap<String, u64> {
        NAMES.iter().zip(self.0).map(|(name, count)| ((*name).to_owned(), count)).collect()
    }
}
