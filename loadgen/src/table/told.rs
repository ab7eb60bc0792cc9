//! The server that tells everything to Kafka: the server in this process, the broker beside the load.

use crate::LoadError;
use crate::table::TableOptions;
use crate::table::subject::Server;
use frontrow_client::Http;
use frontrow_engine::Clock;
use frontrow_services::kafka::{Kafka, Size};
use frontrow_venue::Plan;
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use std::path::Path;
use std::time::Duration;

/// What says how much of the log has not been read for Kafka yet.
const LAG: &str = "frontrow_bookings_lag_bytes{sink=\"kafka\"} ";
/// Between two looks at it.
const LOOK: Duration = Duration::from_millis(50);

/// A server and the Kafka that it tells everything.
pub(crate) struct Told {
    pub(crate) server: Server,
    /// Ended when this is dropped.
    _kafka: Kafka,
}

impl Told {
    /// Starts both, the server with its data in `data`.
    pub(crate) fn start(options: &TableOptions, data: &Path, plan: &Plan) -> Result<Self, LoadError> {
        let kafka = beside(options.server_cpu(), || Kafka::start_of(Size::Large))?;
        let server = Server::start_told(options, data, plan, &kafka.brokers())?;
        Ok(Self { server, _kafka: kafka })
    }

    /// Waits until Kafka has everything: how many seconds that took.
    pub(crate) fn wait(&self, patience: Duration) -> Result<f64, LoadError> {
        let since_ns = Clock::monotonic_ns();
        let lasted = || Duration::from_nanos(Clock::monotonic_ns() - since_ns);
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(LoadError::connection("waiting for Kafka"))?;
        runtime.block_on(async {
            let http = Http::new(&format!("http://{}", self.server.http())).map_err(LoadError::http)?;
            loop {
                let metrics = http.metrics().await.map_err(LoadError::http)?;
                let lag = metrics.lines().find_map(|line| line.strip_prefix(LAG));
                if lag.is_some_and(|lag| lag.trim().parse::<f64>().is_ok_and(|lag| lag <= 0.0)) {
                    return Ok(lasted().as_secs_f64());
                }
                if lasted() > patience {
                    return Err(LoadError::Patience(patience.as_secs()));
                }
                tokio::time::sleep(LOOK).await;
            }
        })
    }

    /// Ends both, the server first: it has something to tell to the last.
    pub(crate) fn stop(self) {
        self.server.stop();
    }
}

/// Starts something that may run on every CPU but `cpu`: what it starts inherits that.
fn beside<T>(cpu: Option<usize>, start: impl FnOnce() -> T) -> T {
    let all = sched_getaffinity(None).ok();
    let others = all.zip(cpu).map(|(all, cpu)| {
        let mut others = all;
        others.unset(cpu);
        others
    });
    let is_set = others.filter(|others: &CpuSet| others.count() > 0).is_some_and(|others| {
        // What cannot be set is left as it is: the figures are noisier then.
        sched_setaffinity(None, &others).is_ok()
    });
    let started = start();
    if let (true, Some(all)) = (is_set, all) {
        let _ = sched_setaffinity(None, &all);
    }
    started
}
