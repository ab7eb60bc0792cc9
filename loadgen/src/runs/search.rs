//! The highest rate that meets an objective, by bisection; and rates in even steps.
//!
//! Rates are doubled from the lowest until one fails, then the geometric middle between the highest that met
//! the objective and the lowest that did not is tried, until they are as close as wanted. A rate that fails is
//! tried once more before it counts as failed: on a machine that others use too, one bad second is
//! enough to miss a 99th percentile.

use crate::LoadError;
use crate::options::{RampOptions, SearchOptions};
use crate::report::model::RunKind;
use crate::runs::assemble::Outcome;
use crate::runs::interrupt::Interrupt;
use crate::runs::scaling;
use crate::runs::steps::Steps;

/// The most steps of a search: a bound, not an aim.
const MOST_STEPS: usize = 40;
/// The most steps with `--quick`.
const QUICK_STEPS: usize = 3;

/// What a search knows: rates between which the answer lies.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Between {
    /// The highest that met the objective.
    good: Option<f64>,
    /// The lowest that did not.
    bad: Option<f64>,
}

impl Between {
    /// The rate to try next; `None` if the answer is known closely enough.
    fn next(self, from: f64, to: Option<f64>, precision: f64) -> Option<f64> {
        match (self.good, self.bad) {
            (None, None) => Some(from),
            (Some(good), None) => match to {
                Some(to) if good >= to => None,
                Some(to) => Some((good * 2.0).min(to)),
                None => Some(good * 2.0),
            },
            (Some(good), Some(bad)) if bad / good > 1.0 + precision => Some((good * bad).sqrt()),
            // Nothing below the lowest is looked at.
            (_, Some(_)) => None,
        }
    }

    fn learn(&mut self, rate: f64, met: bool) {
        if met {
            self.good = Some(self.good.map_or(rate, |good| good.max(rate)));
        } else {
            self.bad = Some(self.bad.map_or(rate, |bad| bad.min(rate)));
        }
    }
}

/// Searches.
pub(crate) async fn search(options: &SearchOptions, interrupt: &Interrupt) -> Result<Outcome, LoadError> {
    check(options)?;
    let what = (options.scenario.as_str(), options.step);
    let mut steps = Steps::begin(RunKind::Search, &options.load, what, &options.objective, interrupt).await?;
    let most = if options.load.quick { QUICK_STEPS } else { MOST_STEPS };
    let mut between = Between { good: None, bad: None };
    while let Some(rate) = between.next(options.from, options.to, options.precision / 100.0) {
        if steps.is_over() || steps.report.steps.len() >= most {
            break;
        }
        let mut met = steps.hold(rate).await?;
        if !met && !steps.is_over() {
            met = steps.hold(rate).await?;
        }
        between.learn(rate, met);
    }
    if !options.no_scaling && !steps.is_over() {
        steps.report.scaling = scaling::measure(&steps.site, &steps.plan, &mut steps.watch).await?;
    }
    let mut outcome = steps.end();
    if outcome.report.found_per_s.is_none() && !outcome.report.interrupted {
        outcome.report.doubts.push(format!(
            "Not even {} visits/s met {}: try a lower --from, or a wider --objective.",
            options.from, options.objective
        ));
    }
    Ok(outcome)
}

fn check(options: &SearchOptions) -> Result<(), LoadError> {
    let mistake = if !(options.from.is_finite() && options.from > 0.0) {
        "--from is a positive number of visits per second (each makes a few requests): --from 100"
    } else if options.to.is_some_and(|to| !to.is_finite() || to < options.from) {
        "--to is a number of visits per second, not below --from"
    } else if !(0.1..=100.0).contains(&options.precision) {
        "--precision is a number of percent from 0.1 to 100"
    } else if options.load.rate.is_some() || options.load.event.is_some() {
        "a search sets its own rates, each on an event of its own; leave --rate and --event out"
    } else {
        return Ok(());
    };
    Err(LoadError::Option(mistake.to_owned()))
}

/// Raises the rate evenly from step to step.
pub(crate) async fn ramp(options: &RampOptions, interrupt: &Interrupt) -> Result<Outcome, LoadError> {
    let rates = rates(options)?;
    let what = (options.scenario.as_str(), options.step);
    let mut steps = Steps::begin(RunKind::Ramp, &options.load, what, &options.objective, interrupt).await?;
    for rate in rates {
        steps.hold(rate).await?;
        if steps.is_over() {
            break;
        }
    }
    Ok(steps.end())
}

fn rates(options: &RampOptions) -> Result<Vec<f64>, LoadError> {
    let fine = options.from.is_finite() && options.to.is_finite() && 0.0 < options.from;
    if !fine || options.to < options.from || !(2..=100).contains(&options.steps) {
        let message =
            "--from and --to are visits per second, above 0 and rising; --steps is a number from 2 to 100";
        return Err(LoadError::Option(message.to_owned()));
    }
    if options.load.rate.is_some() || options.load.event.is_some() {
        let message = "a ramp sets its own rates, each on an event of its own; leave --rate and --event out";
        return Err(LoadError::Option(message.to_owned()));
    }
    let steps = if options.load.quick { options.steps.min(2) } else { options.steps };
    let width = (options.to - options.from) / f64::from(steps - 1);
    Ok((0..steps).map(|step| options.from + width * f64::from(step)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Searches a machine that holds exactly `capacity`.
    fn find(capacity: f64, from: f64, to: Option<f64>) -> (Between, usize) {
        let (mut between, mut tries) = (Between { good: None, bad: None }, 0);
        while let Some(rate) = between.next(from, to, 0.05) {
            tries += 1;
            assert!(tries < 100);
            between.learn(rate, rate <= capacity);
        }
        (between, tries)
    }

    #[test]
    fn the_answer_is_found_closely_and_soon() {
        for capacity in [100.0, 137.0, 5000.0, 123_456.0] {
            let (between, tries) = find(capacity, 100.0, None);
            let (good, bad) = (between.good.expect("found"), between.bad.expect("bounded"));
            assert!(good <= capacity && capacity < bad && bad / good <= 1.05, "{capacity}: {between:?}");
            assert!(tries <= 20, "{tries}");
        }
    }

    #[test]
    fn the_ends_of_the_range_end_the_search() {
        assert_eq!(find(10.0, 100.0, None), (Between { good: None, bad: Some(100.0) }, 1));
        assert_eq!(find(1e9, 100.0, Some(300.0)).0, Between { good: Some(300.0), bad: None });
    }
}
