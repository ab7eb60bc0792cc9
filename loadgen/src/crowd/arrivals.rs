//! When the next person comes.

use super::Nanos;
use super::dice::Dice;
use super::scenario::{Arrivals, Shape};

/// The arrivals of one group on one load thread, in order.
#[derive(Clone, Debug)]
pub(crate) struct Stream {
    shape: Shape,
    dice: Dice,
    /// Which person comes next, of all threads' persons.
    next: u64,
    threads: u64,
    rate_per_s: f64,
    people: u64,
    half_life_s: f64,
    start_s: f64,
    end_s: f64,
    /// When a Poisson stream had its last arrival.
    last_s: f64,
}

impl Stream {
    /// Thread `thread` of `threads` has its share of the group's people.
    pub(crate) fn new(arrivals: &Arrivals, duration_s: f64, dice: Dice, thread: u16, threads: u16) -> Self {
        Self {
            shape: arrivals.shape,
            dice,
            next: u64::from(thread),
            threads: u64::from(threads),
            rate_per_s: arrivals.rate_per_s.unwrap_or(0.0),
            people: u64::from(arrivals.people.unwrap_or(0)),
            half_life_s: arrivals.half_life_s.unwrap_or(1.0),
            start_s: arrivals.start_s,
            end_s: arrivals.end(duration_s),
            last_s: arrivals.start_s,
        }
    }

    /// When the next person comes, counted from the first moment anybody may; `None` when nobody does any more.
    pub(crate) fn next(&mut self) -> Option<Nanos> {
        let at_s = match self.shape {
            Shape::Uniform => self.start_s + self.next as f64 / self.rate_per_s,
            Shape::Poisson => {
                self.last_s += self.dice.exponential() * self.threads as f64 / self.rate_per_s;
                self.last_s
            }
            Shape::Burst if self.next >= self.people => return None,
            Shape::Burst => {
                // The inverse of F(t) = (1 - 2^(-t/h)) / (1 - 2^(-d/h)), one person per n-th of it.
                let share = (self.next as f64 + self.dice.unit()) / self.people as f64;
                let span = self.end_s - self.start_s;
                let all = 1.0 - (-span / self.half_life_s).exp2();
                self.start_s - self.half_life_s * (1.0 - share * all).log2()
            }
        };
        self.next += self.threads;
        (at_s < self.end_s).then_some((at_s * 1e9) as Nanos)
    }

    /// How many of this thread's persons come before `until`, if the next one comes at `next`. A Poisson stream
    /// and a burst say what is to be expected: to draw millions one by one takes longer than the answer is worth.
    pub(crate) fn due(&self, next: Nanos, until: Nanos) -> u64 {
        let (next_s, until_s) = (next as f64 / 1e9, (until as f64 / 1e9).min(self.end_s));
        if next_s >= until_s {
            return 0;
        }
        let after = match self.shape {
            Shape::Uniform | Shape::Poisson => (until_s - next_s) * self.rate_per_s / self.threads as f64,
            Shape::Burst => {
                let share = |at_s: f64| 1.0 - (-(at_s - self.start_s) / self.half_life_s).exp2();
                let more = (share(until_s) - share(next_s)) / share(self.end_s);
                (more * self.people as f64 / self.threads as f64)
                    .min(self.people.saturating_sub(self.next) as f64 / self.threads as f64)
            }
        };
        1 + after as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arrivals(shape: Shape) -> Arrivals {
        let burst = shape == Shape::Burst;
        Arrivals {
            shape,
            rate_per_s: (!burst).then_some(5000.0),
            people: burst.then_some(10_000),
            half_life_s: burst.then_some(1.0),
            start_s: 1.0,
            end_s: None,
        }
    }

    fn times(shape: Shape) -> Vec<Nanos> {
        let mut all: Vec<Nanos> = (0..2)
            .flat_map(|thread| {
                let mut stream =
                    Stream::new(&arrivals(shape), 11.0, Dice::new(5, u64::from(thread)), thread, 2);
                std::iter::from_fn(move || stream.next()).collect::<Vec<_>>()
            })
            .collect();
        all.sort_unstable();
        all
    }

    #[test]
    fn even_arrivals_are_evenly_spaced_over_all_threads() {
        let times = times(Shape::Uniform);
        assert_eq!(times.len(), 50_000);
        assert!(times.windows(2).all(|pair| (199_000..=201_000).contains(&(pair[1] - pair[0]))));
        assert_eq!(times[0], 1_000_000_000);
    }

    #[test]
    fn poisson_arrivals_have_their_rate_and_their_variance() {
        let times = times(Shape::Poisson);
        assert!((49_000..51_000).contains(&times.len()), "{}", times.len());
        let gaps: Vec<f64> = times.windows(2).map(|pair| (pair[1] - pair[0]) as f64).collect();
        let mean = gaps.iter().sum::<f64>() / gaps.len() as f64;
        let variance = gaps.iter().map(|gap| (gap - mean).powi(2)).sum::<f64>() / gaps.len() as f64;
        assert!((variance.sqrt() / mean - 1.0).abs() < 0.03, "exponential gaps vary as much as their mean");
    }

    #[test]
    fn whoever_is_still_to_come_is_counted_without_being_drawn() {
        for shape in [Shape::Uniform, Shape::Poisson, Shape::Burst] {
            let mut stream = Stream::new(&arrivals(shape), 11.0, Dice::new(5, 0), 0, 2);
            let next = stream.next().expect("somebody comes");
            let counted = stream.due(next, 4_000_000_000) as f64;
            let mut drawn = 1.0;
            while stream.next().is_some_and(|at| at < 4_000_000_000) {
                drawn += 1.0;
            }
            assert!((counted / drawn - 1.0).abs() < 0.03, "{shape:?}: {counted} for {drawn}");
            assert_eq!(stream.due(next, next), 0, "not before it is due");
        }
    }

    #[test]
    fn a_burst_halves_with_every_half_life_and_brings_everybody() {
        let times = times(Shape::Burst);
        assert_eq!(times.len(), 10_000);
        let in_second = |s: u64| times.iter().filter(|&&t| t / 1_000_000_000 == s).count() as f64;
        for second in 1..5 {
            let ratio = in_second(second + 1) / in_second(second);
            assert!((ratio - 0.5).abs() < 0.02, "second {second}: {ratio}");
        }
    }
}
