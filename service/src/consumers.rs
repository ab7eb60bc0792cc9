//! The threads that take bookings over.

use crate::ServiceError;
use frontrow_bookings::consume::{self, Progress, Running, consume};
use frontrow_bookings::postgres::{PostgresTable, Settings};
use frontrow_kafka::Reader;
use frontrow_server::config::Config;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

/// How long they may take to end what is under way. PostgreSQL or Kafka may hang, and what is not committed then is taken over
/// again by whoever comes next.
const FAREWELL: Duration = Duration::from_secs(5);

/// All of this process, each a member of the group.
pub(crate) struct Consumers {
    threads: Vec<(Sender<()>, JoinHandle<()>)>,
    progress: Vec<Arc<Progress>>,
    /// Nothing ever comes: each of them holds the other end until it has ended.
    ended: Receiver<()>,
}

/// Those that were told to end.
pub(crate) struct Ending {
    threads: Vec<JoinHandle<()>>,
    ended: Receiver<()>,
}

impl Consumers {
    pub(crate) fn start(
        config: &Config,
        kafka: &frontrow_kafka::Settings,
        table: &Settings,
    ) -> Result<Self, ServiceError> {
        let (alive, ended) = channel();
        let mut all = Self { threads: Vec::new(), progress: Vec::new(), ended };
        for number in 0..config.service.consumers {
            let progress = Arc::<Progress>::default();
            let (stop, stopped) = channel();
            let topic = Reader::new(kafka.clone(), &config.service.group)?;
            let table = PostgresTable::new(table)?;
            let (own, alive) = (Arc::clone(&progress), alive.clone());
            let thread = std::thread::Builder::new()
                .name(format!("consumer-{number}"))
                .spawn(move || {
                    run(topic, table, &own, &stopped);
                    drop(alive);
                })
                .map_err(ServiceError::Thread)?;
            all.threads.push((stop, thread));
            all.progress.push(progress);
        }
        Ok(all)
    }

    pub(crate) fn progress(&self) -> Vec<Arc<Progress>> {
        self.progress.clone()
    }

    pub(crate) fn stop(self) -> Ending {
        let (stops, threads): (Vec<_>, _) = self.threads.into_iter().unzip();
        drop(stops);
        Ending { threads, ended: self.ended }
    }
}

impl Ending {
    /// Waits for them, but not for long.
    pub(crate) fn wait(self) {
        if self.ended.recv_timeout(FAREWELL) == Err(RecvTimeoutError::Timeout) {
            tracing::warn!(
                "PostgreSQL or Kafka does not answer: a batch that was not committed is taken over again by the next start"
            );
            return;
        }
        for thread in self.threads {
            if thread.join().is_err() {
                tracing::error!("a consumer ended with a panic");
            }
        }
    }
}

fn run(mut topic: Reader, mut table: PostgresTable, progress: &Progress, stopped: &Receiver<()>) {
    let is_over = |time: Duration| match stopped.recv_timeout(time) {
        Err(RecvTimeoutError::Timeout) => false,
        Ok(()) | Err(RecvTimeoutError::Disconnected) => true,
    };
    let running = Running { is_over: &is_over, progress, batch: consume::BATCH };
    if let Err(error) = consume(&mut topic, &mut table, running) {
        // Its partitions go to the next member of the group, who will find the same: what is in the table is served on.
        tracing::error!(%error, "bookings are taken over no more; what is in the table is answered, and nothing is lost");
    }
}
