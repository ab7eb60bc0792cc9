//! One look at everything, once a second.

use crate::crowd::Books;
use crate::drive::Tally;
use crate::observe::cpu::CpuUse;
use crate::observe::metrics::{self, CoreCounters};
use crate::observe::process::{ServerProcess, Usage};
use crate::report::model::{CoreSample, Sample};
use frontrow_client::Http;
use frontrow_engine::Clock;
use hdrhistogram::Histogram;
use std::time::Duration;

/// How long the server may take to show its counters: a sample is not held up by a server under load.
const METRICS_WITHIN: Duration = Duration::from_millis(700);

/// Looks at the load, the server and the machine, and remembers the last look.
#[derive(Debug)]
pub struct Observer {
    http: Http,
    process: Option<ServerProcess>,
    origin_ns: u64,
    last: Look,
}

#[derive(Debug, Default)]
struct Look {
    at_ns: u64,
    cores: Vec<CoreCounters>,
    cores_at_ns: u64,
    usage: Option<Usage>,
    cpu: CpuUse,
}

impl Observer {
    /// Of a server and its process, if that is here. Times count from now.
    pub async fn new(http: Http, process: Option<ServerProcess>) -> Self {
        let mut observer = Self { http, process, origin_ns: Clock::monotonic_ns(), last: Look::default() };
        observer.last = observer.look().await;
        observer
    }

    /// Seconds since it began.
    pub fn seconds(&self) -> f64 {
        Clock::monotonic_ns().saturating_sub(self.origin_ns) as f64 / 1e9
    }

    /// Whether the server shows its metrics.
    pub async fn answers(&self) -> bool {
        self.page().await.is_some()
    }

    /// Resident memory of the server's process in bytes, if it is here.
    pub fn server_rss(&self) -> Option<u64> {
        self.process.as_ref().and_then(ServerProcess::usage).map(|usage| usage.rss)
    }

    async fn page(&self) -> Option<String> {
        let page = tokio::time::timeout(METRICS_WITHIN, self.http.metrics()).await;
        page.ok().and_then(Result::ok)
    }

    async fn look(&self) -> Look {
        let page = self.page().await;
        Look {
            cores: page.as_deref().map(metrics::parse).unwrap_or_default(),
            cores_at_ns: Clock::monotonic_ns(),
            usage: self.process.as_ref().and_then(ServerProcess::usage),
            cpu: CpuUse::now(),
            at_ns: Clock::monotonic_ns(),
        }
    }

    /// What happened since the last look. `tally` counts from then; `in_flight` and `books` are as of now.
    pub async fn sample(&mut self, tally: &Tally, in_flight: u64, books: &Books) -> Sample {
        let now = self.look().await;
        let then = std::mem::take(&mut self.last);
        let seconds = now.at_ns.saturating_sub(then.at_ns) as f64 / 1e9;
        let server_cpus = server_cpus(&then, &now, seconds);
        let inside = self.process.as_ref().is_some_and(ServerProcess::is_inside);
        let share = now.cpu.since(&then.cpu, seconds, server_cpus, inside);
        let sample = Sample {
            t_s: now.at_ns.saturating_sub(self.origin_ns) as f64 / 1e9,
            server_rss: now.usage.as_ref().map(|usage| usage.rss),
            server_cpus,
            load_cpus: share.load,
            others_cpus: share.others,
            cores: cores(&then, &now, seconds),
            in_flight,
            seats_booked: books.seats_booked,
            seats_held: books.seats_held,
            waiting: books.waiting,
            ..counts(tally)
        };
        self.last = now;
        sample
    }
}

fn counts(tally: &Tally) -> Sample {
    Sample {
        intended: tally.intended,
        sent: tally.sent,
        late: Some(tally.sent_late()),
        answered: tally.answered,
        refused: tally.refused,
        granted: tally.granted,
        booked: tally.booked,
        p50_us: quantile_us(&tally.all, 0.5),
        p99_us: quantile_us(&tally.all, 0.99),
        max_us: tally.all.max() as f64 / 1e3,
        ..Sample::default()
    }
}

/// 0 for an empty one.
fn quantile_us(histogram: &Histogram<u64>, quantile: f64) -> f64 {
    if histogram.is_empty() { 0.0 } else { histogram.value_at_quantile(quantile) as f64 / 1e3 }
}

fn server_cpus(then: &Look, now: &Look, seconds: f64) -> Option<f64> {
    let (then, now) = (then.usage.as_ref()?, now.usage.as_ref()?);
    Some(now.cpu_ns.saturating_sub(then.cpu_ns) as f64 / 1e9 / seconds.max(1e-3))
}

fn cores(then: &Look, now: &Look, seconds: f64) -> Vec<CoreSample> {
    // A page that could not be read, then or now, leaves no difference to show.
    if now.cores.is_empty() || then.cores.is_empty() {
        return Vec::new();
    }
    let counted_s = now.cores_at_ns.saturating_sub(then.cores_at_ns) as f64 / 1e9;
    let mut cores = metrics::between(&then.cores, &now.cores, counted_s);
    for (core, sample) in cores.iter_mut().enumerate() {
        let ran = |look: &Look| look.usage.as_ref().and_then(|usage| usage.cores_ns.get(core).copied());
        if let (Some(before), Some(after)) = (ran(then), ran(now)) {
            let busy = after.saturating_sub(before) as f64 / 1e9 / seconds.max(1e-3);
            sample.busy = Some(busy.min(1.0));
        }
    }
    cores
}
