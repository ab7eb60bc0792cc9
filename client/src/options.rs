//! How patient a client is.

use std::time::Duration;

/// Settings of one client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// How long connecting and being welcomed may take.
    pub connect_timeout: Duration,
    /// How long one request may take, repeats and reconnections included.
    pub request_timeout: Duration,
    /// After how long without anything said a ping is sent. A server that then stays silent for as long
    /// again is taken for lost. With several addresses, and `retry`, half of `connect_timeout` if that is less, while an answer
    /// is waited for: then the next address is tried.
    pub keepalive: Duration,
    /// Whether, and how, to connect and ask again. `None`: whatever goes wrong is the caller's to know.
    pub retry: Option<Retry>,
    /// How many updates of a watched section, and how much news, wait for a slow reader before it has to
    /// start again from a snapshot (or is told that it missed some).
    pub backlog: usize,
    /// Whether a standby's view of the seats is good enough: seats can be watched there, and nothing else can be asked.
    /// Without it a standby sends the client on to the primary.
    pub standby: bool,
}

/// How to try again. The n-th pause is a random time from half of `min(first * 2^n, longest)` to all of it,
/// but at least what the server asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retry {
    /// The first pause.
    pub first: Duration,
    /// The longest pause.
    pub longest: Duration,
    /// How often to try in a row before giving up.
    pub attempts: u32,
}

impl Default for Retry {
    fn default() -> Self {
        Self { first: Duration::from_millis(50), longest: Duration::from_secs(2), attempts: 20 }
    }
}

impl Retry {
    /// The pause before attempt `attempt` (from 0), given 64 random bits.
    pub(crate) fn pause(&self, attempt: u32, at_least_ms: u32, random: u64) -> Duration {
        let full = self.first.saturating_mul(1 << attempt.min(16)).min(self.longest);
        let floor = Duration::from_millis(at_least_ms.into());
        // A crowd that was told the same time must not come back in the same millisecond.
        let spread = full.max(floor) / 2;
        let share = (random >> 40) as f64 / (1_u64 << 24) as f64;
        floor.max(full / 2) + spread.mul_f64(share)
    }
}

impl Default for Options {
    fn default() -> Self {
        Self {
            connect_timeout: Duration::from_secs(5),
            request_timeout: Duration::from_secs(30),
            keepalive: Duration::from_secs(20),
            retry: None,
            backlog: 1024,
            standby: false,
        }
    }
}

impl Options {
    /// The same, but connecting and asking again with the same request ids.
    #[must_use]
    pub fn retrying(self) -> Self {
        Self { retry: Some(Retry::default()), ..self }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_are_bounded_and_honour_the_server() {
        let retry = Retry::default();
        for (attempt, at_least_ms, random, want_ms) in [
            (0, 0, 0, 25),
            (1, 0, 0, 50),
            (40, 0, 0, 1000),
            (0, 400, 0, 400),
            (0, 400, u64::MAX, 600),
            (40, 0, u64::MAX, 2000),
        ] {
            let pause = retry.pause(attempt, at_least_ms, random).as_secs_f64() * 1000.0;
            assert!((pause - f64::from(want_ms)).abs() < 1.0, "{attempt} {at_least_ms}: {pause}");
        }
    }
}
