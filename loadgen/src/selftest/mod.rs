//! Is what the load generator measures true?
//!
//! A server double with one queue, a known service time and one long stall is loaded open-loop at a known
//! rate. What every request really waited is known twice:
//!
//! - from the double's own record: when each answer went into its socket, less when the request was due;
//! - from the queue's model, Lindley's recursion (D. V. Lindley, "The theory of queues with a single server",
//!   1952): a request is done at `done(n) = max(done(n-1), due(n)) + service`, plus the stall where it falls.
//!
//! The measured percentiles must agree with the record within [`TOLERANCE`]. Then the same double is measured
//! as a closed-loop tool would: the next request is sent when the one before was answered, and latency counts
//! from there. It sees one slow request where a crowd of people had to wait.

mod double;
mod script;

pub use double::{Behaviour, Double, Fault, Served};

use crate::LoadError;
use crate::drive::{DrivePlan, Tally, Transport, empty_histogram, start};
use frontrow_engine::EngineKind;
use hdrhistogram::Histogram;
use script::{Pace, Script};
use std::fmt;
use std::time::Duration;

/// How far a measured percentile may be from the truth.
pub const TOLERANCE: f64 = 0.05;
/// The percentiles that are compared.
const PERCENTILES: [(&str, f64); 4] = [("p50", 0.5), ("p99", 0.99), ("p99.9", 0.999), ("max", 1.0)];

/// The queue of the test.
#[derive(Clone, Copy, Debug)]
pub struct Setting {
    /// Requests.
    pub requests: u64,
    /// Between two of them.
    pub interval: Duration,
    /// For each.
    pub service: Duration,
    /// Requests served before the stall.
    pub stall_after: u64,
    /// How long it lasts.
    pub stall: Duration,
}

impl Default for Setting {
    /// 160 requests a second for 4.5 s, served in 5 ms each, and a second of standstill after 0.5 s: the queue
    /// is not empty again before the end, so that every percentile tells of the stall, and no millisecond of a
    /// busy machine matters.
    fn default() -> Self {
        Self {
            requests: 720,
            interval: Duration::from_micros(6250),
            service: Duration::from_millis(5),
            stall_after: 80,
            stall: Duration::from_secs(1),
        }
    }
}

/// Latencies of one percentile, in nanoseconds.
#[derive(Clone, Copy, Debug)]
pub struct Line {
    /// The percentile's name.
    pub name: &'static str,
    /// What people waited, by the double's record.
    pub truth: u64,
    /// What the model says.
    pub model: u64,
    /// What was measured from the intended time.
    pub corrected: u64,
    /// What was measured closed-loop.
    pub closed_loop: u64,
}

impl Line {
    /// How far the measurement is from the truth, as a share of it.
    pub fn error(&self) -> f64 {
        self.corrected.abs_diff(self.truth) as f64 / self.truth.max(1) as f64
    }

    /// How many times too small the closed-loop measurement is.
    pub fn closed_loop_factor(&self) -> f64 {
        self.truth as f64 / self.closed_loop.max(1) as f64
    }
}

/// What came of the test.
#[derive(Clone, Debug)]
pub struct SelfTest {
    /// The queue.
    pub setting: Setting,
    /// By percentile.
    pub lines: Vec<Line>,
    /// Answers of the open-loop and the closed-loop measurement.
    pub answered: (u64, u64),
    /// The load's own lateness: median, in nanoseconds.
    pub late_p50: u64,
}

impl SelfTest {
    /// Whether every corrected percentile is within [`TOLERANCE`] of the truth.
    pub fn passed(&self) -> bool {
        let all = (self.setting.requests, self.setting.requests);
        self.answered == all && self.lines.iter().all(|line| line.error() <= TOLERANCE)
    }
}

impl fmt::Display for SelfTest {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Setting { requests, interval, service, stall, .. } = self.setting;
        let rate = 1.0 / interval.as_secs_f64();
        writeln!(
            out,
            "{requests} requests at {rate:.0}/s, served in {service:?} each, one stall of {stall:?}"
        )?;
        writeln!(
            out,
            "ms       what people waited   by the model   measured   error   closed loop   too small by"
        )?;
        for line in &self.lines {
            let ms = |ns: u64| ns as f64 / 1e6;
            writeln!(
                out,
                "{:<6} {:>20.1} {:>14.1} {:>10.1} {:>6.2}% {:>13.1} {:>13.0}x",
                line.name,
                ms(line.truth),
                ms(line.model),
                ms(line.corrected),
                line.error() * 100.0,
                ms(line.closed_loop),
                line.closed_loop_factor(),
            )?;
        }
        writeln!(out, "the load itself was late by {:.2} ms (median)", self.late_p50 as f64 / 1e6)?;
        let verdict = if self.passed() { "right" } else { "WRONG" };
        write!(
            out,
            "corrected latency is {verdict} (within {:.0} % of what people waited)",
            TOLERANCE * 100.0
        )
    }
}

/// Runs the test with its usual queue: about six seconds.
pub fn run() -> Result<SelfTest, LoadError> {
    run_with(Setting::default())
}

/// Runs the test. Both measurements go on beside each other, each with a double of its own.
pub fn run_with(setting: Setting) -> Result<SelfTest, LoadError> {
    let behaviour = Behaviour {
        service: setting.service,
        stall: Some((setting.stall_after, setting.stall)),
        fault: None,
    };
    let (open, closed) = (Double::start(behaviour)?, Double::start(behaviour)?);
    let begin = |double: &Double, pace| {
        let script = Script::new(setting.requests, setting.interval, pace);
        start(vec![script], plan(double, setting.requests))
    };
    let open_loop = begin(&open, Pace::Open)?;
    let closed_loop = begin(&closed, Pace::Closed)?;
    let (scripts, tally) = open_loop.finish()?;
    let (_, closed_tally) = closed_loop.finish()?;
    let intended = scripts.first().map(Script::intended).unwrap_or_default();
    let truth = recorded(&open.served(), &intended);
    let model = lindley(&intended, &setting);
    let answered = (tally.answered, closed_tally.answered);
    let lines = compare(&truth, &model, &tally, &closed_tally);
    Ok(SelfTest { setting, lines, answered, late_p50: tally.late.value_at_quantile(0.5) })
}

fn compare(truth: &Histogram<u64>, model: &Histogram<u64>, open: &Tally, closed: &Tally) -> Vec<Line> {
    let line = |&(name, quantile): &(&'static str, f64)| Line {
        name,
        truth: truth.value_at_quantile(quantile),
        model: model.value_at_quantile(quantile),
        corrected: open.all.value_at_quantile(quantile),
        closed_loop: closed.uncorrected.value_at_quantile(quantile),
    };
    PERCENTILES.iter().map(line).collect()
}

/// What people waited, by what the double wrote down. `intended` are times on the process's clock.
fn recorded(served: &[Served], intended: &[u64]) -> Histogram<u64> {
    let mut waited = empty_histogram();
    for served in served {
        let due = intended.get(usize::from(served.place.row)).copied().unwrap_or(served.arrived_ns);
        waited.saturating_record(served.answered_ns.saturating_sub(due));
    }
    waited
}

/// What they wait by Lindley's recursion.
fn lindley(intended: &[u64], setting: &Setting) -> Histogram<u64> {
    let mut waited = empty_histogram();
    let mut done = 0;
    for (number, &due) in intended.iter().enumerate() {
        let stalls = number as u64 == setting.stall_after;
        let stall = if stalls { setting.stall.as_nanos() as u64 } else { 0 };
        done = u64::max(done, due) + stall + setting.service.as_nanos() as u64;
        waited.saturating_record(done - due);
    }
    waited
}

fn plan(double: &Double, requests: u64) -> DrivePlan {
    DrivePlan {
        transport: Transport::Tcp,
        engine: EngineKind::Auto,
        cpus: vec![None],
        tcp: vec![double.addr()],
        ws: Vec::new(),
        core_of: Vec::new(),
        tokens: vec!["double".to_owned()],
        depth: requests as u32,
        patience: Duration::from_secs(60),
        connect_rate: 0,
    }
}
