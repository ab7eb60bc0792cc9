//! Beside shard cores: what else would give out under a crowd, and what first.

use super::buyers::Demand;
use super::capacity::Question;
use super::cores::planned_of;
use super::doors;
use super::model::{RunReport, Sample};
use super::rates;
use super::saturation::{Saturation, polls};
use super::words::{bytes, micros, number, percent, plural, ratio};

/// Something that may give out, by how much of what is asked it holds.
struct Bound {
    /// Of the asked load, 1 is just enough.
    holds: f64,
    words: String,
}

/// What would give out first under the crowd that is asked about, with as many cores as in the run.
pub(super) fn first(
    report: &RunReport,
    question: Question,
    demand: Demand,
    (saturation, full_at): (&Saturation, f64),
) -> String {
    let played = rates::busiest(report).map_or(0.0, |second| second.due);
    let times = ratio(demand.headline(), played);
    let core = core(saturation, times, ratio(full_at, played));
    let mut bounds: Vec<Bound> =
        [core, connected(report, question), memory(report, question, demand)].into_iter().flatten().collect();
    bounds.sort_by(|a, b| a.holds.total_cmp(&b.holds));
    let mut words = bounds.iter().map(|bound| bound.words.as_str());
    let Some(first) = words.next() else { return String::new() };
    let rest = words.fold(String::new(), |rest, words| rest + " Then " + words + ".");
    format!(
        "First to give out at what is asked ({} this run's busiest second), with as many shard cores as here: {first}.{rest} \
         {} The network was not watched.",
        if number(times) == "1" { "as much as in".to_owned() } else { format!("{} times", number(times)) },
        log(report)
    )
}

/// A shard core. It is full at `by_cost` times the load that was played, by what answers took in slow seconds, which is what
/// the planner goes by everywhere. By how busy it was in the busiest second it would often hold more, for an answer costs least
/// when many come at once; only if it had more than its part to do it holds less.
fn core(saturation: &Saturation, times: f64, by_cost: f64) -> Option<Bound> {
    let (core, share) = saturation.busiest?;
    let by_peak = ratio(1.0, share);
    let (full, why) = if by_cost > 0.0 && by_cost <= by_peak {
        let why = " by the slow end of what its cores give (an answer costs least at a peak)";
        (by_cost, format!("{why}; {} times are planned with", number(planned_of(by_cost))))
    } else {
        let even = format!("; had the cores had the same to do, at {} times", number(by_cost));
        (by_peak, if by_cost > 0.0 { even } else { String::new() })
    };
    Some(Bound {
        holds: ratio(full, times),
        words: format!(
            "shard core {core}, busy for {} of the time at its peak here: full at {} times this run's load{why}",
            percent(share),
            number(full)
        ),
    })
    .filter(|_| share > 0.0 && times > 0.0)
}

/// Connections, if each buyer has one.
fn connected(report: &RunReport, question: Question) -> Option<Bound> {
    let (most, words) = doors::let_in(report, question);
    (question.buyers > 0).then(|| Bound {
        holds: ratio(f64::from(most), question.buyers as f64),
        words: format!(
            "connections, if all {} have one at the same time: {words}",
            plural(question.buyers, "buyer")
        ),
    })
}

/// The server's memory in bytes: when the run began, and at most.
fn resident(report: &RunReport) -> Option<(f64, f64)> {
    let mut seen = report.series.iter().filter_map(|sample| sample.server_rss).filter(|bytes| *bytes > 0);
    let first = seen.next()?;
    Some((first as f64, seen.max().unwrap_or(first).max(first) as f64))
}

/// Memory, as if what came with people grew with them. Arenas and the event are there before anybody comes.
fn memory(report: &RunReport, question: Question, demand: Demand) -> Option<Bound> {
    let (asked, of) = grown(report, question, demand)?;
    let all = report.machine.memory_mib as f64 * 1024.0 * 1024.0;
    (all > 0.0).then(|| Bound {
        holds: ratio(all, asked),
        words: format!("memory: {} of the machine's {} would be used ({of})", bytes(asked), bytes(all)),
    })
}

/// Memory of the server under the crowd that is asked about, in bytes, and what that comes from. What it took more than before
/// the connections were opened is taken as many times as there are more requests, or more connections, whichever are more: it
/// is not known which of them it was for.
fn grown(report: &RunReport, question: Question, demand: Demand) -> Option<(f64, String)> {
    let (first, used) = resident(report)?;
    let before = report.server_rss_before.map_or(first, |before| (before as f64).min(first));
    let played = rates::busiest(report).map_or(0.0, |second| second.due);
    let load = ratio(demand.headline(), played).max(1.0);
    let opened = report.totals.connected.min(report.load.connections.into());
    let (times, why) = match ratio(question.buyers as f64, opened as f64) {
        more if report.server_rss_before.is_some() && more > load => {
            (more, format!(", as much again for each {}", plural(opened, "connection")))
        }
        _ => (load, String::new()),
    };
    if times < 1.05 {
        return Some((used, "as here".to_owned()));
    }
    let words = format!("{} here, {} of it since people came{why}", bytes(used), bytes(used - before));
    Some((before + (used - before) * times, words))
}

/// The machine that `cores` shard cores are bought with: CPUs in all, like which, and what is known of its memory.
pub(super) fn machine(report: &RunReport, question: Question, (cores, demand): (u32, Demand)) -> String {
    let like = match report.machine.cpu.as_str() {
        cpu if report.target.same_machine && !cpu.is_empty() => format!("of this run's kind ({cpu})"),
        _ => "of the server's kind".to_owned(),
    };
    let memory = grown(report, question, demand).map_or_else(
        || "memory as this run does not tell".to_owned(),
        |(all, of)| format!("{} of memory for the server ({of})", bytes(all)),
    );
    format!("in all a machine with at least {} CPUs {like} and {memory}", cores + 1)
}

/// What the log did at most; what its disk holds is not known.
fn log(report: &RunReport) -> String {
    let most = |pick: fn(&Sample) -> f64| report.series.iter().map(pick).fold(0.0, f64::max);
    let written = most(|sample| sample.cores.iter().map(|core| core.log_bytes_per_s).sum());
    // A second with hardly a commit says what that one met, not what commits take.
    let busiest = most(|sample| sample.answered as f64);
    let commit = report.series.iter().filter(|sample| sample.answered as f64 >= busiest / 4.0);
    let commit = commit.flat_map(|sample| &sample.cores).map(|core| core.commit_p99_us).fold(0.0, f64::max);
    if written <= 0.0 {
        return "The log was not watched.".to_owned();
    }
    format!(
        "The log took {}/s at most, p99 of a commit {} at most while people came; what its disk holds was not measured.",
        bytes(written),
        micros(commit)
    )
}

/// What the machine needs beside shard cores.
pub(super) fn beside(report: &RunReport) -> String {
    let places = report.series.iter().map(|sample| sample.cores.len()).max().unwrap_or(0);
    let seen = !(0..places).any(|core| polls(&report.series, core as u16));
    let other = |sample: &Sample| {
        let shards: f64 = sample.cores.iter().map(|core| core.busy.unwrap_or(0.0)).sum();
        Some((sample.server_cpus? - shards).max(0.0)).filter(|_| seen && shards > 0.0)
    };
    let took = report.series.iter().filter_map(other).reduce(f64::max).map_or_else(String::new, |most| {
        format!(" Here the server's other threads took {} of a CPU at most.", number(most))
    });
    format!(
        "Shard cores are CPUs that do nothing else. Beside them leave one CPU for HTTP, WebSocket handshakes and the log's threads, \
         as a server does by itself (`server.cores` in its frontrow.toml says another number of shard cores); others for whatever \
         else runs on the machine.{took}"
    )
}
