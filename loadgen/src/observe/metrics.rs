//! The server's counters: read from its `/metrics` page, core by core, and compared with an earlier reading.
//!
//! Of Prometheus' text format only what the page uses is understood: `name{label="value",…} number` in one
//! line, without escapes in the labels. Lines that are not understood are passed over: a newer server may
//! say more.

use crate::report::model::CoreSample;

/// What one serving core has counted since its start.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct CoreCounters {
    answers: f64,
    connections: f64,
    durable: f64,
    appended: f64,
    busy: f64,
    batched: f64,
    batches: f64,
    /// (upper bound in seconds, commits up to it), ascending; the last bound is infinite.
    commits: Vec<(f64, f64)>,
}

/// Reads a page; the place in the list is the core's number. Empty if it says nothing about cores.
pub fn parse(page: &str) -> Vec<CoreCounters> {
    let mut cores: Vec<CoreCounters> = Vec::new();
    for (name, labels, value) in page.lines().filter_map(split) {
        let Some(core) = label(labels, "core").and_then(|core| core.parse::<usize>().ok()) else { continue };
        // A bound, so that a page of nonsense cannot take all memory.
        if core >= 1024 {
            continue;
        }
        if cores.len() <= core {
            cores.resize(core + 1, CoreCounters::default());
        }
        cores[core].take(name, labels, value);
    }
    cores
}

/// A number that stands without labels: `name value`.
pub fn alone(page: &str, name: &str) -> Option<f64> {
    page.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.trim().parse().ok())
}

/// `name{labels} value`, taken apart.
fn split(line: &str) -> Option<(&str, &str, f64)> {
    let (name, rest) = line.split_once('{')?;
    let (labels, value) = rest.rsplit_once('}')?;
    Some((name, labels, value.trim().parse().ok()?))
}

fn label<'a>(labels: &'a str, name: &str) -> Option<&'a str> {
    labels.split(',').find_map(|pair| {
        let (key, value) = pair.split_once('=')?;
        (key.trim() == name).then(|| value.trim_matches('"'))
    })
}

impl CoreCounters {
    fn take(&mut self, name: &str, labels: &str, value: f64) {
        match name {
            "frontrow_answers_total" => self.answers += value,
            "frontrow_connections" => self.connections = value,
            "frontrow_log_durable_bytes" => self.durable = value,
            "frontrow_log_appended_bytes" => self.appended = value,
            "frontrow_busy_total" => self.busy = value,
            "frontrow_batch_size_sum" => self.batched = value,
            "frontrow_batch_size_count" => self.batches = value,
            "frontrow_commit_seconds_bucket" => {
                let bound = label(labels, "le").and_then(|le| match le {
                    "+Inf" => Some(f64::INFINITY),
                    le => le.parse().ok(),
                });
                self.commits.extend(bound.map(|bound| (bound, value)));
            }
            _ => {}
        }
    }

    /// What happened between `earlier` and this, `seconds` apart. `busy` is left open.
    fn since(&self, earlier: &Self, seconds: f64) -> CoreSample {
        let grown = |now: f64, then: f64| (now - then).max(0.0);
        let batches = grown(self.batches, earlier.batches);
        CoreSample {
            busy: None,
            answers_per_s: grown(self.answers, earlier.answers) / seconds,
            connections: self.connections as u64,
            log_bytes_per_s: grown(self.appended, earlier.appended) / seconds,
            backlog_bytes: grown(self.appended, self.durable) as u64,
            batch: grown(self.batched, earlier.batched) / batches.max(1.0),
            commit_p99_us: self.commit_p99_s(earlier) * 1e6,
            busy_refusals: grown(self.busy, earlier.busy) as u64,
        }
    }

    /// The bound of the first bucket below which 99 of 100 commits since `earlier` ended; 0 without any.
    fn commit_p99_s(&self, earlier: &Self) -> f64 {
        let then = |at: usize| earlier.commits.get(at).map_or(0.0, |&(_, count)| count);
        let counts: Vec<(f64, f64)> =
            self.commits.iter().enumerate().map(|(at, &(le, count))| (le, count - then(at))).collect();
        let all = counts.last().map_or(0.0, |&(_, count)| count);
        if all <= 0.0 {
            return 0.0;
        }
        let at = counts.iter().position(|&(_, count)| count >= 0.99 * all).unwrap_or(counts.len() - 1);
        // Beyond the last finite bound nothing is known but that bound.
        if counts[at].0.is_finite() { counts[at].0 } else { counts[at.saturating_sub(1)].0 }
    }
}

/// Each core from one reading to the next. A core that the earlier reading lacks, or that has counted less
/// since (the server was started anew), counts from zero.
pub fn between(earlier: &[CoreCounters], now: &[CoreCounters], seconds: f64) -> Vec<CoreSample> {
    let none = CoreCounters::default();
    now.iter()
        .enumerate()
        .map(|(core, now)| {
            let then = earlier.get(core).filter(|then| then.answers <= now.answers).unwrap_or(&none);
            now.since(then, seconds.max(1e-3))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_without_labels_is_found() {
        let page =
            "# HELP frontrow_a_limit x\nfrontrow_a{core=\"0\"} 7\nfrontrow_a_limit 20000\nfrontrow_a 9\n";
        assert_eq!((alone(page, "frontrow_a"), alone(page, "frontrow_a_limit")), (Some(9.0), Some(20_000.0)));
        assert_eq!(alone(page, "frontrow"), None);
    }

    const THEN: &str = "\
# TYPE frontrow_answers counter
frontrow_answers_total{core=\"0\",code=\"granted\"} 100
frontrow_answers_total{core=\"0\",code=\"seat_held\"} 50
frontrow_commit_seconds_bucket{core=\"0\",le=\"0.001\"} 10
frontrow_commit_seconds_bucket{core=\"0\",le=\"0.004\"} 10
frontrow_commit_seconds_bucket{core=\"0\",le=\"+Inf\"} 10
frontrow_events 3
# EOF
";
    const NOW: &str = "\
frontrow_answers_total{core=\"0\",code=\"granted\"} 300
frontrow_answers_total{core=\"0\",code=\"seat_held\"} 50
frontrow_answers_total{core=\"1\",code=\"granted\"} 8
frontrow_connections{core=\"0\"} 7
frontrow_connections 7
frontrow_log_durable_bytes{core=\"0\"} 900
frontrow_log_appended_bytes{core=\"0\"} 1000
frontrow_batch_size_sum{core=\"0\"} 60
frontrow_batch_size_count{core=\"0\"} 20
frontrow_commit_seconds_bucket{core=\"0\",le=\"0.001\"} 12
frontrow_commit_seconds_bucket{core=\"0\",le=\"0.004\"} 110
frontrow_commit_seconds_bucket{core=\"0\",le=\"+Inf\"} 110
frontrow_busy_total{core=\"0\"} 4
what is this{} and=that
frontrow_answers_total{core=\"99999\",code=\"granted\"} 1
";

    #[test]
    fn two_readings_make_a_sample_per_core() {
        let (then, now) = (parse(THEN), parse(NOW));
        let samples = between(&then, &now, 2.0);
        assert_eq!(samples.len(), 2, "a number of a core that cannot be is passed over");
        let first = CoreSample {
            busy: None,
            answers_per_s: 100.0,
            connections: 7,
            log_bytes_per_s: 500.0,
            backlog_bytes: 100,
            batch: 3.0,
            commit_p99_us: 4000.0,
            busy_refusals: 4,
        };
        assert_eq!(samples[0], first);
        assert!((samples[1].answers_per_s - 4.0).abs() < 1e-9, "a new core counts from zero");
    }

    #[test]
    fn a_server_started_anew_counts_from_zero() {
        let again = parse("frontrow_answers_total{core=\"0\",code=\"granted\"} 10\n");
        let samples = between(&parse(NOW), &again, 1.0);
        assert!((samples[0].answers_per_s - 10.0).abs() < 1e-9, "{samples:?}");
    }

    #[test]
    fn a_page_of_something_else_says_nothing() {
        assert_eq!(parse("<html><body>It works!</body></html>"), []);
        assert_eq!(parse(""), []);
    }
}
