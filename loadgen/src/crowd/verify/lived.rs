//! What people lived through: how long it took from coming to having a booking, and how long they stood in queues.

use super::super::Nanos;
use hdrhistogram::Histogram;

/// Bounds of what is told apart: a microsecond, and a day.
const SHORTEST: Nanos = 1_000;
const LONGEST: Nanos = 86_400_000_000_000;

/// Times of people, in nanoseconds.
#[derive(Clone, Debug)]
pub struct Lived {
    /// From when a person came first to their booking, of those who got one; later tries included.
    pub to_booked: Histogram<u64>,
    /// From joining a queue to an offer, or to being out of it.
    pub queued: Histogram<u64>,
}

impl Default for Lived {
    fn default() -> Self {
        let times =
            || Histogram::new_with_bounds(SHORTEST, LONGEST, 3).expect("bounds that a histogram can have");
        Self { to_booked: times(), queued: times() }
    }
}

impl Lived {
    pub(crate) fn add(&mut self, to_booked: &[Nanos], queued: &[Nanos]) {
        for (into, times) in [(&mut self.to_booked, to_booked), (&mut self.queued, queued)] {
            for ns in times {
                into.saturating_record(*ns);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_kept_as_long_as_they_were() {
        let mut lived = Lived::default();
        lived.add(&[9_000_000_000, 3_000_000], &[u64::MAX]);
        let (few, most) = (lived.to_booked.min(), lived.to_booked.max());
        assert!(
            (2_990_000..3_010_000).contains(&few) && (8_990_000_000..9_010_000_000).contains(&most),
            "{few} {most}"
        );
        assert_eq!(lived.queued.len(), 1, "longer than a day is a day");
    }
}
