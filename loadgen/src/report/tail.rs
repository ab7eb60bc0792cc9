//! Where the slowest answers come from, as far as the recording knows: the load generator's own late sends, waiting for a
//! connection's turn, commits of the log, the queue in the server, other programs on the machine; and in which second.
//!
//! A cause is named if it alone makes up half of the time that the slowest answer in a thousand took; a core, if it had no
//! time left; other programs, if no CPU was idle. It is looked for in the seconds in which answers were as slow as that.
//! Nothing is named because nothing else is left.

use super::crowded::{CROWDED_CPUS, none_idle};
use super::model::{Latency, RunReport, Sample};
use super::saturation::{SATURATED, polls};
use super::words::{count, micros, number, percent, plural, ratio, seconds};

/// Why there are fewer latencies than answers.
pub(super) const WITHOUT_LATENCY: &str = "Looks at one's place in a queue are answers without a latency.";

/// How many times the median the slowest answer in a thousand takes at least to be explained.
const MANY: f64 = 10.0;
/// Answers from which on one in a thousand is more than one.
const ANSWERS: u64 = 2_000;
/// The share of it that a cause makes up.
const MOST_OF_IT: f64 = 0.5;

/// How long answers took in the second in which most were asked: what people of a rush see, where a run's own percentiles
/// are those of its long calm end.
pub(super) fn busiest(report: &RunReport) -> Option<String> {
    let most = report.series.iter().max_by_key(|sample| sample.intended).filter(|most| most.intended > 0)?;
    Some(format!(
        "In the busiest {} (at {}, {} requests due) p50 was {}, p99 {}, the slowest {}.",
        if (report.series_step_s - 1.0).abs() < 0.05 { "second" } else { "sample" },
        seconds(most.t_s.round()),
        count(most.intended),
        micros(most.p50_us),
        micros(most.p99_us),
        micros(most.max_us)
    ))
}

/// Where the slow answers of a run come from; `None` if they are not much slower than the others, or too few.
pub(super) fn tail(report: &RunReport) -> Option<String> {
    let all = report.latency.get("all").filter(|all| all.count >= ANSWERS)?;
    let times = ratio(all.p999_us, all.p50_us);
    if times < MANY {
        return None;
    }
    let what = format!(
        "The slow end: one answer in a thousand took {} or more, {} times the median",
        micros(all.p999_us),
        number(times)
    );
    let slow: Vec<&Sample> = report.series.iter().filter(|sample| sample.max_us >= all.p999_us).collect();
    let Some(worst) = slow.iter().copied().max_by(|a, b| a.p99_us.total_cmp(&b.p99_us)) else {
        return Some(format!("{what}. Where that comes from it cannot tell: it has no seconds to look at."));
    };
    let when = format!(
        "; such answers came in {} of {}, most at {} (p99 there {}, the slowest {})",
        slow.len(),
        plural(
            report.series.len() as u64,
            if (report.series_step_s - 1.0).abs() < 0.05 { "second" } else { "sample" }
        ),
        seconds(worst.t_s.round()),
        micros(worst.p99_us),
        micros(worst.max_us)
    );
    let (found, others): (Vec<Part>, Vec<Part>) =
        parts(report, all, &slow).into_iter().partition(|part| part.is_cause);
    let words = |parts: &[Part]| parts.iter().map(|part| part.words.as_str()).collect::<Vec<_>>().join("; ");
    let why = match (found.is_empty(), others.is_empty()) {
        (true, true) => "Where that comes from it cannot tell: nothing of it was watched.".to_owned(),
        (true, false) => {
            format!("Where that comes from it cannot tell; it is none of these: {}.", words(&others))
        }
        (false, true) => format!("It comes from this: {}.", words(&found)),
        (false, false) => {
            format!("It comes from this: {}. Not from these: {}.", words(&found), words(&others))
        }
    };
    Some(format!("{what}{when}. {why}{}", unwatched(report, &slow)))
}

/// Something that can make answers slow.
struct Part {
    is_cause: bool,
    words: String,
}

/// All that was recorded of it, in the order in which a request meets it.
fn parts(report: &RunReport, all: &Latency, slow: &[&Sample]) -> Vec<Part> {
    let much = |us: f64| us >= MOST_OF_IT * all.p999_us;
    let late = report.lateness.as_ref().map(|late| Part {
        is_cause: much(late.p999_us),
        words: format!(
            "the load generator's own late sends ({} for one in a thousand)",
            micros(late.p999_us)
        ),
    });
    let turn = report.uncorrected.as_ref().map(|sent| {
        let before = (all.p999_us - sent.p999_us).max(0.0);
        let own = report.lateness.as_ref().map_or(0.0, |late| late.p999_us);
        Part {
            is_cause: much(before) && !much(own),
            words: format!(
                "waiting for its connection's turn before it was sent (once sent, one in a thousand took {})",
                micros(sent.p999_us)
            ),
        }
    });
    [
        late,
        turn,
        commit(slow, much),
        queue(report, slow, much),
        core(report, slow),
        Some(machine(report, slow)),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// Commits of the log in these seconds.
fn commit(slow: &[&Sample], much: impl Fn(f64) -> bool) -> Option<Part> {
    let commits = slow.iter().flat_map(|sample| &sample.cores).map(|core| core.commit_p99_us);
    let most = commits.filter(|us| *us > 0.0).reduce(f64::max)?;
    Some(Part {
        is_cause: much(most),
        words: format!(
            "the server's log, as far as p99 of its commits tells ({} at most then)",
            micros(most)
        ),
    })
}

/// How long the requests that the server had would have taken at the rate of its answers.
fn queue(report: &RunReport, slow: &[&Sample], much: impl Fn(f64) -> bool) -> Option<Part> {
    let step_s = if report.series_step_s > 0.0 { report.series_step_s } else { 1.0 };
    let waits = slow.iter().filter(|sample| sample.answered > 0);
    let most = waits
        .map(|sample| (sample.in_flight, sample.in_flight as f64 / (sample.answered as f64 / step_s) * 1e6));
    let (in_flight, us) = most.max_by(|a, b| a.1.total_cmp(&b.1))?;
    Some(Part {
        is_cause: much(us),
        words: format!(
            "the queue in the server ({} unanswered at the end of such a second, as many as were answered in {})",
            plural(in_flight, "request"),
            micros(us)
        ),
    })
}

/// A shard core that had no time left; said only where one had none.
fn core(report: &RunReport, slow: &[&Sample]) -> Option<Part> {
    let all = slow.iter().flat_map(|sample| (0_u16..).zip(&sample.cores));
    let seen = all.filter(|(core, _)| !polls(&report.series, *core));
    let (core, busy) =
        seen.filter_map(|(number, core)| Some((number, core.busy?))).max_by(|a, b| a.1.total_cmp(&b.1))?;
    Some(Part {
        is_cause: busy >= SATURATED,
        words: format!("shard core {core}, which ran for {} of the time at most then", percent(busy)),
    })
}

/// Other programs that left no CPU idle.
fn machine(report: &RunReport, slow: &[&Sample]) -> Part {
    let cpus = report.machine.cpus as f64;
    let full = slow.iter().filter(|sample| sample.others_cpus >= CROWDED_CPUS && none_idle(sample, cpus));
    let most = full.map(|sample| sample.others_cpus).reduce(f64::max);
    match most {
        Some(others) => Part {
            is_cause: true,
            words: format!(
                "other programs, which kept {} of {} busy while none was idle",
                number(others.min(cpus)),
                plural(report.machine.cpus as u64, "CPU")
            ),
        },
        None => Part { is_cause: false, words: "other programs on the load's machine".to_owned() },
    }
}

/// What could not be looked at.
fn unwatched(report: &RunReport, slow: &[&Sample]) -> String {
    let cores = || slow.iter().flat_map(|sample| &sample.cores);
    if cores().next().is_none() {
        " The server's cores and its log were not watched then.".to_owned()
    } else if cores().all(|core| core.busy.is_none()) {
        " How busy the server's cores were was not seen: it is on another machine.".to_owned()
    } else if (0..u16::MAX).take(slow[0].cores.len()).all(|core| polls(&report.series, core)) {
        " How busy the server's cores were is not known: their threads poll.".to_owned()
    } else {
        String::new()
    }
}
