//! What a core does when it has nothing to do: it sleeps at once, or first looks for work again and again, for a while
//! (`server.busy_poll`). To sleep and to be woken takes tens of microseconds, most of all in a virtual machine.
//!
//! Hazard: what else is to run on this CPU, the kernel's workers that end a commit among them, waits for the scheduler's next
//! tick meanwhile. To give the CPU away in between (`sched_yield`) is worse: others take it for whole ticks.

use super::state::read_clock;
use frontrow_engine::{Engine, LocalNotify};
use std::time::Duration;

pub(crate) struct Idle<E: Engine> {
    /// How long it looks.
    looks_ns: u64,
    /// For [`Engine::turn`]; none if it sleeps at once, as it does on engines that cannot look.
    null: Option<E::LogFile>,
    buffer: Vec<u8>,
}

impl<E: Engine> Idle<E> {
    pub(crate) fn new(looks: Option<Duration>) -> Self {
        let file = looks.filter(|_| E::WRITES_FILES).and_then(|_| std::fs::File::open("/dev/null").ok());
        let null = file.and_then(|file| E::log_file(file).ok());
        let looks_ns = u64::try_from(looks.unwrap_or_default().as_nanos()).unwrap_or(u64::MAX);
        Self { looks_ns, null, buffer: Vec::with_capacity(1) }
    }

    /// Until there is work.
    pub(crate) async fn wait(&mut self, work: &LocalNotify) {
        let Some(null) = &self.null else { return work.wait().await };
        let until = read_clock() + self.looks_ns;
        while !work.take() {
            if read_clock() >= until {
                return work.wait().await;
            }
            self.buffer = E::turn(null, std::mem::take(&mut self.buffer)).await;
        }
    }
}
