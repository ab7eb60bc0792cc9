//! The report of one run, as it stands in `report.json`. Everything else (page, summary, comparison, the
//! planner's answer) is made from this and from nothing else.
//!
//! Times are seconds from the run's start (`t_s`) or microseconds of latency (`_us`), unless a name says otherwise.

use crate::Machine;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Version of the model; a reader refuses others.
pub const MODEL: u32 = 1;

/// What kind of run it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RunKind {
    /// One scenario at its own pace.
    Run,
    /// Rates in steps, each a stretch of the same run.
    Ramp,
    /// Bisection for the highest rate that meets an objective.
    Search,
    /// One scenario for long: is anything growing?
    Soak,
}

/// One run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RunReport {
    /// [`MODEL`].
    pub model: u32,
    /// What kind of run.
    pub kind: RunKind,
    /// The scenario's name.
    pub name: String,
    /// RFC 3339, UTC.
    pub started: String,
    /// The command line.
    pub command: String,
    /// The commit of the load generator's folder, `-dirty` if changed.
    pub commit: String,
    /// Where the load ran.
    pub machine: Machine,
    /// What was loaded.
    pub target: Target,
    /// The scenario as it ran, as TOML.
    pub scenario: String,
    /// The crowd's seed.
    pub seed: u64,
    /// Connections, transport, load cores, routing.
    pub load: Load,
    /// From the first intended request to the last answer.
    pub duration_s: f64,
    /// Whether it was ended by hand: what stands here is true, but partial.
    pub interrupted: bool,
    /// Sums over the whole run.
    pub totals: Totals,
    /// Latency by class (`claim`, `book`, `release`, `extend`, `pay`, `join`, `leave`, `cancel`, `all`), from the
    /// **intended** send time.
    pub latency: BTreeMap<String, Latency>,
    /// The same from the actual send time: what a closed-loop tool would have claimed. Only `all`.
    pub uncorrected: Option<Latency>,
    /// How long after they were due requests left that their connections would have taken at once: by the load's own
    /// doing.
    #[serde(default)]
    pub lateness: Option<Latency>,
    /// Resident memory of the server's process in bytes before the connections of the load were opened, if it is on this
    /// machine.
    #[serde(default)]
    pub server_rss_before: Option<u64>,
    /// One entry a second (longer runs: one per `series_step_s`).
    pub series: Vec<Sample>,
    /// Seconds per entry of `series`.
    pub series_step_s: f64,
    /// Steps of a ramp or a search; empty otherwise.
    pub steps: Vec<Step>,
    /// Closed-loop measurements of the server by depth and by cores, for the scalability fit; may be empty.
    pub scaling: Vec<ScalingPoint>,
    /// What was checked, and what was wrong.
    pub verified: Verified,
    /// What a search looked for (`p99<=5ms`), and the highest rate of visits per second that met it.
    #[serde(default)]
    pub objective: Option<String>,
    /// See `objective`; `None` if no step met it.
    #[serde(default)]
    pub found_per_s: Option<f64>,
    /// Of a soak: whether anything grew.
    #[serde(default)]
    pub trends: Vec<Trend>,
    /// Why this is not good as a measurement, in whole sentences; empty if nothing stands against it.
    #[serde(default)]
    pub doubts: Vec<String>,
    /// When the server was away: nothing connected, and no word from it.
    #[serde(default)]
    pub away: Vec<Away>,
    /// What was made smaller because of `--quick`, in words; empty in a run of full size. Figures of a quick run mean
    /// nothing.
    #[serde(default)]
    pub quick: Vec<String>,
    /// Why seats were left, in a sentence; `None` if none were, or it was not looked at.
    #[serde(default)]
    pub seats_left: Option<String>,
    /// What people lived through; `None` in reports that did not record it, and of a search or a ramp.
    #[serde(default)]
    pub lived: Option<Lived>,
    /// What the planner asked; the page answers each, or one of its own making if there is none.
    #[serde(default)]
    pub questions: Vec<super::Question>,
}

/// What people lived through.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Lived {
    /// From when a person came first to their booking, of those who got one; later tries included.
    pub to_booked: Latency,
    /// From joining a queue to an offer, or to being out of it.
    pub queued: Latency,
}

/// A stretch of the run in which there was no server. Seconds from the run's start, as in `series`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Away {
    /// When a connection was last open.
    pub from_s: f64,
    /// When one was open again; `None` if the server did not come back, which ended the run.
    pub to_s: Option<f64>,
    /// Connections opened again after it.
    pub reopened: u64,
    /// For how long the run waited for it before it gave up; `None` if it did not, or in reports that did not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gave_up_after_s: Option<f64>,
}

/// A straight line through a series of a soak, by least squares.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Trend {
    /// What: `server_rss_mib`, `p99_us`.
    pub what: String,
    /// Its mean.
    pub mean: f64,
    /// Growth per hour, with the bounds of its 95 % confidence interval.
    pub per_hour: f64,
    /// See `per_hour`.
    pub low: f64,
    /// See `per_hour`.
    pub high: f64,
    /// Whether it counts as flat, and why (not), in words.
    pub flat: bool,
    /// See `flat`.
    pub why: String,
}

/// The server under load.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Target {
    /// HTTP address.
    pub url: String,
    /// Cores that serve.
    pub cores: u16,
    /// Partitions.
    pub partitions: u16,
    /// What answers wait for: `memory`, `local`, `backup`.
    pub durability: String,
    /// Whether it runs on the same machine as the load.
    pub same_machine: bool,
    /// The event's number.
    pub event: u32,
    /// The event's name.
    pub event_name: String,
    /// Seats on sale at the start (free ones).
    pub seats: u64,
    /// Sections and rows.
    pub sections: u32,
    /// See `sections`.
    pub rows: u32,
    /// Connections that the server takes (`limits.connections`), and of them from one address (0: as many as in all);
    /// `None` if it did not say.
    #[serde(default)]
    pub connections_limit: Option<u32>,
    /// See `connections_limit`.
    #[serde(default)]
    pub address_limit: Option<u32>,
}

/// How it was loaded.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Load {
    /// `tcp` or `websocket`.
    pub transport: String,
    /// Connections; each is one user.
    pub connections: u32,
    /// Load threads.
    pub threads: u16,
    /// Most requests in flight per connection; what is due beyond that waits, and its latency counts from when it was due.
    pub depth: u32,
    /// Whether connections were opened at the core that owns what they ask for.
    pub routed: bool,
    /// The intended rate of new visits per second; 0 if the scenario's own shape decides.
    pub rate_per_s: f64,
}

/// Sums.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Totals {
    /// Visits (one person's attempt to get seats) begun, and ended with a booking.
    pub visits: u64,
    /// See `visits`.
    pub visits_won: u64,
    /// People who came; one who tries again later makes another visit. 0 in reports that did not count them.
    #[serde(default)]
    pub people: u64,
    /// People who were to come by the plan, and did not before the run ended: the load could not keep up.
    #[serde(default)]
    pub people_missed: u64,
    /// Requests that were due when the run ended and had not left.
    #[serde(default)]
    pub left_over: u64,
    /// Requests that were due.
    pub intended: u64,
    /// Requests sent.
    pub sent: u64,
    /// Requests answered, refusals included.
    pub answered: u64,
    /// Requests that the server owes an answer: their connection was lost, or patience ended.
    pub unanswered: u64,
    /// Requests in flight on a connection that the crowd dropped: nobody was there to answer to.
    #[serde(default)]
    pub abandoned: u64,
    /// Answers and news by code name: `granted`, `booked`, `seat_held`, …; wire errors as `error:busy`, news as
    /// `news:offered`. Reports of earlier versions have news without `news:`, and `expired`, `closed` and `hold_cap` of both
    /// kinds in one sum.
    pub codes: BTreeMap<String, u64>,
    /// Seats granted (directly or by offer), and booked.
    pub seats_granted: u64,
    /// See `seats_granted`.
    pub seats_booked: u64,
    /// Connections opened, refused, lost.
    pub connected: u64,
    /// See `connected`.
    pub connect_failed: u64,
    /// See `connected`.
    pub connections_lost: u64,
    /// When the last seat was booked, if all were.
    pub sold_out_at_s: Option<f64>,
    /// People who had come when no seat was left for the first time, held ones not counted as left; `None` if some
    /// always were, or in reports that did not count it.
    #[serde(default)]
    pub people_until_gone: Option<u64>,
}

/// A distribution.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Latency {
    /// How many.
    pub count: u64,
    /// Mean and so on, in microseconds.
    pub mean_us: f64,
    /// Median.
    pub p50_us: f64,
    /// 90th percentile.
    pub p90_us: f64,
    /// 99th percentile.
    pub p99_us: f64,
    /// 99.9th percentile.
    pub p999_us: f64,
    /// 99.99th percentile.
    pub p9999_us: f64,
    /// Largest.
    pub max_us: f64,
    /// Points (percentile 0..100, value in µs) for the plot, ascending.
    pub curve: Vec<(f64, f64)>,
}

/// One stretch of time.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Sample {
    /// Its end.
    pub t_s: f64,
    /// Requests that were due in it, sent, answered, refused (answers that are refusals or errors).
    pub intended: u64,
    /// See `intended`.
    pub sent: u64,
    /// Of those sent: more than a millisecond late by the load's own doing. `None` if it was not counted.
    #[serde(default)]
    pub late: Option<u64>,
    /// See `intended`.
    pub answered: u64,
    /// See `intended`.
    pub refused: u64,
    /// Claims granted and offers made; bookings.
    pub granted: u64,
    /// See `granted`.
    pub booked: u64,
    /// Sent and not answered at its end.
    pub in_flight: u64,
    /// Latency from the intended time, of all answers in it.
    pub p50_us: f64,
    /// See `p50_us`.
    pub p99_us: f64,
    /// See `p50_us`.
    pub max_us: f64,
    /// Seats booked so far, as the load's books have it.
    pub seats_booked: u64,
    /// Seats held now (booked ones not counted), as the load's books have it.
    pub seats_held: u64,
    /// Parties waiting in queues, as the load's books have it.
    pub waiting: u64,
    /// Per serving core, from the server's metrics; empty if they could not be read.
    pub cores: Vec<CoreSample>,
    /// Resident memory of the server's process in bytes, if it is on this machine.
    pub server_rss: Option<u64>,
    /// CPUs kept busy by: the server's process, the load, everybody else on the load's machine.
    pub server_cpus: Option<f64>,
    /// See `server_cpus`.
    pub load_cpus: f64,
    /// See `server_cpus`.
    pub others_cpus: f64,
}

/// One serving core in one stretch of time.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct CoreSample {
    /// Share of the stretch that its thread ran on a CPU, 0 to 1; `None` if the server is elsewhere.
    pub busy: Option<f64>,
    /// Answers per second.
    pub answers_per_s: f64,
    /// Connections at its end.
    pub connections: u64,
    /// Log bytes appended per second.
    pub log_bytes_per_s: f64,
    /// Log bytes appended but not durable at its end.
    pub backlog_bytes: u64,
    /// Mean operations per batch.
    pub batch: f64,
    /// 99th percentile of a commit in microseconds, as coarse as the server's buckets.
    pub commit_p99_us: f64,
    /// Requests refused as busy.
    pub busy_refusals: u64,
}

/// One step of a ramp or search.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Step {
    /// Visits per second intended.
    pub rate_per_s: f64,
    /// Requests per second intended and answered.
    pub intended_per_s: f64,
    /// See `intended_per_s`.
    pub answered_per_s: f64,
    /// Claims granted per second.
    pub granted_per_s: f64,
    /// Latency of all answers of the step, from the intended time.
    pub latency: Latency,
    /// Share of answers that were refusals for want of capacity (`busy` and the like).
    pub busy_share: f64,
    /// Whether the objective was met.
    pub met: bool,
    /// Why not, in words.
    pub why: String,
}

/// Throughput of one closed-loop measurement.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ScalingPoint {
    /// Serving cores.
    pub cores: u16,
    /// Requests in flight over all connections.
    pub in_flight: u32,
    /// Answers per second.
    pub answers_per_s: f64,
    /// Their 99th percentile.
    pub p99_us: f64,
}

/// What the verifier says.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Verified {
    /// Checks made, by name (`one_owner`, `fence`, `fifo`, `answered_once`, `seats_asked`, `final_state`, …).
    pub checks: BTreeMap<String, u64>,
    /// Violations: the first hundred, in words.
    pub violations: Vec<String>,
    /// How many there were in all.
    pub violation_count: u64,
}
