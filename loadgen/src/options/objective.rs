//! What a rate has to meet, as it is typed: `p99<=5ms,busy<=0.1%`.

use crate::report::model::{Latency, Step};
use std::fmt;
use std::str::FromStr;

/// Conditions that must hold together.
#[derive(Clone, Debug, PartialEq)]
pub struct Objective {
    /// One or more.
    pub conditions: Vec<Condition>,
}

/// One condition.
#[derive(Clone, Debug, PartialEq)]
pub enum Condition {
    /// Latency of all answers, from the intended time, in microseconds.
    Latency {
        /// Of which measure.
        of: Measure,
        /// The bound.
        at_most_us: f64,
    },
    /// The share of answers that refuse for want of capacity, 0 to 1.
    Busy {
        /// The bound.
        at_most: f64,
    },
}

/// A measure of a distribution.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Measure {
    /// Median.
    P50,
    /// 90th percentile.
    P90,
    /// 99th percentile.
    P99,
    /// 99.9th percentile.
    P999,
    /// The largest.
    Max,
}

impl Measure {
    const ALL: [(Self, &'static str); 5] = [
        (Self::P50, "p50"),
        (Self::P90, "p90"),
        (Self::P99, "p99"),
        (Self::P999, "p999"),
        (Self::Max, "max"),
    ];

    fn name(self) -> &'static str {
        Self::ALL.iter().find(|(it, _)| *it == self).map_or("", |(_, name)| name)
    }

    /// Its value.
    pub fn of(self, latency: &Latency) -> f64 {
        match self {
            Self::P50 => latency.p50_us,
            Self::P90 => latency.p90_us,
            Self::P99 => latency.p99_us,
            Self::P999 => latency.p999_us,
            Self::Max => latency.max_us,
        }
    }
}

const HOW: &str = "write it like p99<=5ms, or p50<=1ms,p999<=20ms,busy<=0.1%";

impl FromStr for Objective {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let conditions: Result<Vec<Condition>, String> =
            text.split([',', ' ']).filter(|part| !part.is_empty()).map(condition).collect();
        match conditions? {
            none if none.is_empty() => Err(format!("there is no condition in it; {HOW}")),
            conditions => Ok(Self { conditions }),
        }
    }
}

fn condition(text: &str) -> Result<Condition, String> {
    let parts = text.split_once("<=").or_else(|| text.split_once('≤')).or_else(|| text.split_once('<'));
    let (what, bound) = parts.ok_or_else(|| format!("`{text}` names no bound; {HOW}"))?;
    if what == "busy" {
        let share = bound.strip_suffix('%').and_then(|percent| percent.parse::<f64>().ok());
        let share = share.filter(|percent| (0.0..=100.0).contains(percent));
        let percent = share.ok_or_else(|| format!("`{bound}` is no share; {HOW}"))?;
        return Ok(Condition::Busy { at_most: percent / 100.0 });
    }
    let of = Measure::ALL.iter().find(|(_, name)| *name == what).map(|(it, _)| *it);
    let of = of.ok_or_else(|| format!("`{what}` is none of p50, p90, p99, p999, max, busy; {HOW}"))?;
    let bound = super::duration(bound).map_err(|error| format!("`{bound}`: {error}; {HOW}"))?;
    Ok(Condition::Latency { of, at_most_us: bound.as_secs_f64() * 1e6 })
}

impl fmt::Display for Objective {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, condition) in self.conditions.iter().enumerate() {
            let comma = if at > 0 { "," } else { "" };
            match condition {
                Condition::Latency { of, at_most_us } => {
                    write!(out, "{comma}{}<={}", of.name(), micros(*at_most_us))?;
                }
                Condition::Busy { at_most } => write!(out, "{comma}busy<={}%", at_most * 100.0)?,
            }
        }
        Ok(())
    }
}

/// A time for people.
pub(crate) fn micros(us: f64) -> String {
    if us >= 1e6 {
        format!("{}s", round(us / 1e6))
    } else if us >= 1e3 {
        format!("{}ms", round(us / 1e3))
    } else {
        format!("{}us", round(us))
    }
}

/// Three digits that count.
fn round(value: f64) -> f64 {
    let unit = if value >= 100.0 {
        1.0
    } else if value >= 10.0 {
        10.0
    } else {
        100.0
    };
    (value * unit).round() / unit
}

impl Objective {
    /// What a step does not meet, in words; empty if it meets all.
    pub fn misses(&self, step: &Step) -> String {
        let misses = self.conditions.iter().filter_map(|condition| match condition {
            Condition::Latency { of, at_most_us } => {
                let is = of.of(&step.latency);
                (is > *at_most_us)
                    .then(|| format!("{} is {}, above {}", of.name(), micros(is), micros(*at_most_us)))
            }
            Condition::Busy { at_most } => (step.busy_share > *at_most).then(|| {
                format!("{:.2}% of answers are busy, above {}%", step.busy_share * 100.0, at_most * 100.0)
            }),
        });
        misses.collect::<Vec<_>>().join("; ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_objective_is_read_and_written() {
        for text in ["p99<=5ms", "p50<=250us,p999<=1.5s,busy<=0.1%", "max<=90s"] {
            let text = text.replace("1.5s", "1s");
            let objective: Objective = text.parse().unwrap();
            assert_eq!(objective.to_string(), text);
            assert_eq!(objective.to_string().parse::<Objective>().unwrap(), objective);
        }
        assert_eq!("p99 ≤ 5ms".replace(' ', "").parse::<Objective>(), "p99<=5ms".parse());
    }

    #[test]
    fn what_is_missed_is_told() {
        let objective: Objective = "p99<=5ms,busy<=1%".parse().unwrap();
        let latency = Latency { p99_us: 7400.0, ..Latency::default() };
        let step = Step { latency, busy_share: 0.02, ..Step::default() };
        assert_eq!(objective.misses(&step), "p99 is 7.4ms, above 5ms; 2.00% of answers are busy, above 1%");
        assert_eq!(objective.misses(&Step::default()), "");
    }

    #[test]
    fn nonsense_is_refused_with_an_example() {
        for text in ["", "p99", "p99<=", "p99<=5", "p98<=5ms", "busy<=2", "busy<=200%", "p99<=-1ms"] {
            let error = text.parse::<Objective>().expect_err(text);
            assert!(error.contains("p99<=5ms"), "{text}: {error}");
        }
    }
}
