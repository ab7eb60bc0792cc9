//! What somebody sees who watches a run: one line that is rewritten, or, without a terminal, a line every
//! few seconds.

use crate::options::micros;
use crate::report::model::Sample;
use crate::report::words;
use indicatif::{HumanCount, ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::io::IsTerminal;

/// Seconds between lines that stay.
const EVERY_S: f64 = 5.0;

/// The progress of one run.
#[derive(Debug)]
pub struct Progress {
    how: How,
    /// What stands before each line: the step of a search, say.
    stage: String,
    /// When the last sample ended, in seconds of the run: a tiny run's samples are shorter than a second.
    last_s: f64,
}

#[derive(Debug)]
enum How {
    Quiet,
    Live(ProgressBar),
    Lines { next_s: f64 },
}

impl Progress {
    /// On standard error, as it is: a terminal or not. `quiet`: nothing at all.
    pub fn new(quiet: bool) -> Self {
        let how = if quiet {
            How::Quiet
        } else if std::io::stderr().is_terminal() {
            let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
            if let Ok(style) = ProgressStyle::with_template("{spinner} {wide_msg}") {
                bar.set_style(style);
            }
            How::Live(bar)
        } else {
            How::Lines { next_s: 0.0 }
        };
        Self { how, stage: String::new(), last_s: 0.0 }
    }

    /// Says something that stays.
    pub fn say(&self, line: &str) {
        match &self.how {
            How::Quiet => {}
            How::Live(bar) => bar.suspend(|| tell!("{line}")),
            How::Lines { .. } => tell!("{line}"),
        }
    }

    /// Names what comes now.
    pub fn stage(&mut self, stage: &str) {
        stage.clone_into(&mut self.stage);
        if let How::Lines { next_s } = &mut self.how {
            *next_s = 0.0;
        }
    }

    /// Shows a sample. `seats` are on sale in all, `violations` were found so far, `at_s` is the time within the
    /// stage.
    pub fn show(&mut self, sample: &Sample, seats: u64, violations: u64, at_s: f64) {
        let lasted_s = sample.t_s - self.last_s;
        self.last_s = sample.t_s;
        let line = format!("{}{}", self.stage, line(sample, lasted_s, seats, violations, at_s));
        match &mut self.how {
            How::Quiet => {}
            How::Live(bar) => {
                bar.set_message(line);
                bar.tick();
            }
            How::Lines { next_s } => {
                if at_s >= *next_s {
                    *next_s = at_s + EVERY_S - 0.5;
                    tell!("{line}");
                }
            }
        }
    }

    /// Takes the live line away.
    pub fn done(&self) {
        if let How::Live(bar) = &self.how {
            bar.finish_and_clear();
        }
    }
}

fn line(sample: &Sample, lasted_s: f64, seats: u64, violations: u64, at_s: f64) -> String {
    let per_s = if lasted_s > 0.0 { sample.answered as f64 / lasted_s } else { 0.0 };
    let refused = 100.0 * sample.refused as f64 / sample.answered.max(1) as f64;
    // Rounded down: a hall with a seat left is not sold out.
    let sold = 100 * sample.seats_booked / seats.max(1);
    let violations =
        if violations > 0 { format!("  {}", words::violations(violations)) } else { String::new() };
    let waiting = if sample.waiting > 0 { format!("  {} waiting", sample.waiting) } else { String::new() };
    format!(
        "{at_s:>4.0}s  {:>7} answers/s  p50 {:>6}  p99 {:>6}  max {:>6}  {refused:>3.0}% refused  {} in flight  \
         {sold}% sold, {} held, {} left{waiting}{violations}",
        HumanCount(per_s.round() as u64).to_string(),
        micros(sample.p50_us),
        micros(sample.p99_us),
        micros(sample.max_us),
        sample.in_flight,
        HumanCount(sample.seats_held),
        HumanCount(seats.saturating_sub(sample.seats_booked + sample.seats_held)),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_says_what_matters() {
        let sample = Sample {
            answered: 12_345,
            refused: 1234,
            p50_us: 250.0,
            p99_us: 4200.0,
            max_us: 1.5e6,
            in_flight: 8,
            seats_booked: 500,
            seats_held: 100,
            ..Sample::default()
        };
        let text = line(&sample, 1.0, 1000, 0, 7.0);
        for part in ["7s", "12,345 answers/s", "p99  4.2ms", "1.5s", "10% refused", "50% sold", "400 left"] {
            assert!(text.contains(part), "{part} is not in {text}");
        }
        let nearly = Sample { seats_booked: 999, ..Sample::default() };
        assert!(line(&sample, 0.1, 1000, 0, 7.0).contains("123,450 answers/s"), "a tenth of a second");
        assert!(line(&nearly, 1.0, 1000, 0, 7.0).contains("99% sold"));
        assert!(!text.contains("VIOLATIONS") && !text.contains("waiting"), "{text}");
        assert!(line(&sample, 1.0, 1000, 3, 7.0).contains("3 VIOLATIONS"));
    }
}
