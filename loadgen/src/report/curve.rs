//! How the people of a run came, and what another rush would be: the curve of arrivals over time, from the scenario.
//!
//! A rush is told by the time within which half of its people came. Those of the run ask for a while after they came, so
//! a rush twice as fast does not ask twice as much in its busiest second. With the arrivals falling off at the rate λ (ln 2 /
//! half) and each person's requests at μ, the busiest second asks λ·x^(-1/(x-1)) of all requests, x = μ/λ. The run's own
//! busiest second gives μ; with that the share follows for another λ.

use super::capacity::Question;
use super::model::RunReport;
use super::words::ratio;
use crate::crowd::Scenario;
use std::f64::consts::LN_2;

/// The arrivals of a run.
pub(super) struct Curve {
    scenario: Scenario,
    /// When half of the people had come.
    pub(super) half_s: f64,
}

impl Curve {
    /// `None` if the report's scenario cannot be read, or brings nobody.
    pub(super) fn of(report: &RunReport) -> Option<Self> {
        let scenario = Scenario::parse(&report.scenario).ok()?;
        let mut curve = Self { scenario, half_s: 0.0 };
        // As long as a person would say it: a burst is cut off at its end, which makes 4.998 s of 5 s.
        let half_s = curve.until(0.5)?;
        curve.half_s = if half_s >= 1.0 { (half_s * 1e2).round() / 1e2 } else { half_s };
        (curve.half_s > 0.0).then_some(curve)
    }

    /// The share of the people who had come by `at_s`.
    pub(super) fn share_by(&self, at_s: f64) -> f64 {
        ratio(self.scenario.come_by(at_s), self.scenario.visits()).min(1.0)
    }

    /// When `share` of the people had come; `None` if so many never do.
    pub(super) fn until(&self, share: f64) -> Option<f64> {
        let (mut from, mut to) = (0.0, self.scenario.duration_s);
        if self.share_by(to) + 1e-9 < share {
            return None;
        }
        for _ in 0..60 {
            let middle = f64::midpoint(from, to);
            if self.share_by(middle) < share { from = middle } else { to = middle }
        }
        Some(to)
    }
}

/// The rush that a question is about.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Rush {
    /// Half of the buyers come within so many seconds; `None` if the run's scenario cannot be read.
    pub(super) half_s: Option<f64>,
    /// Whether that is as in the run.
    pub(super) as_here: bool,
    /// Whether an even crowd would be spread over more than the rush, and so is another answer.
    pub(super) beside_even: bool,
}

impl Rush {
    /// The one asked for; else the run's, unless all are to come within less time than that takes.
    pub(super) fn of(report: &RunReport, question: Question) -> Self {
        let own = Curve::of(report).map(|curve| curve.half_s);
        let even = 30.0 * question.minutes;
        let (Some(own), true) = (own, even > 0.0) else {
            return Self { half_s: own, as_here: true, beside_even: true };
        };
        let wanted = question.half_within_s.unwrap_or_else(|| own.min(even));
        Self { half_s: Some(wanted), as_here: (wanted / own - 1.0).abs() < 0.01, beside_even: wanted < even }
    }

    /// How many times as much as in the run its busiest second asks, of as many people; `all_in_peak` is the share of
    /// all requests that the run's busiest second asked.
    pub(super) fn times(self, own_half_s: f64, all_in_peak: f64) -> f64 {
        match self.half_s {
            Some(half) if !self.as_here => faster(own_half_s, half, all_in_peak),
            _ => 1.0,
        }
    }
}

/// Share of all requests that the busiest second asks where arrivals fall off at 1 and requests at `x`.
fn peak(x: f64) -> f64 {
    if (x - 1.0).abs() < 1e-6 { (-1.0_f64).exp() } else { x.powf(-1.0 / (x - 1.0)) }
}

/// How the busiest second grows if half come within `asked` instead of `own` seconds.
fn faster(own: f64, asked: f64, all_in_peak: f64) -> f64 {
    let (was, is) = (LN_2 / own, LN_2 / asked);
    let wanted = all_in_peak / was;
    // The share grows with x; from nearly nobody at once to everybody's request when they come.
    let (mut low, mut high) = (1e-6_f64, 1e6_f64);
    for _ in 0..200 {
        let middle = (low * high).sqrt();
        if peak(middle) < wanted { low = middle } else { high = middle }
    }
    let rate = high * was;
    ratio(is * peak(rate / is), was * peak(high))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slower_rush_asks_less_but_not_in_proportion() {
        // Requests that fall off at 0.1 a second behind arrivals that halve in 5 s.
        let (own, rate) = (5.0, 0.1);
        let share = |half: f64| LN_2 / half * peak(rate * half / LN_2);
        for asked in [1.0, 5.0, 20.0, 60.0] {
            let times = faster(own, asked, share(own));
            assert!((times - share(asked) / share(own)).abs() < 1e-6, "{asked}: {times}");
        }
        let slower = faster(own, 60.0, share(own));
        assert!(slower > own / 60.0 && slower < 1.0, "{slower}");
        // Who asks all at once when coming asks in proportion.
        let at_once = faster(10.0, 5.0, LN_2 / 10.0);
        assert!((at_once - 2.0).abs() < 0.01, "{at_once}");
    }
}
