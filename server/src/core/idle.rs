//! How a core lets others go on: the kernel, its other tasks, its timers.
//!
//! With work left it goes on after a turn for everybody: answers leave and commits begin between two batches, however many wait.
//! Without work it sleeps at once, or first looks for some again and again, for a while (`server.busy_poll`): to sleep and to be
//! woken takes tens of microseconds, most of all in a virtual machine.
//!
//! Hazard of looking: what else is to run on this CPU, the kernel's workers that end a commit among them, waits for the scheduler's
//! next tick meanwhile. To give the CPU away in between (`sched_yield`) is worse: others take it for whole ticks.

use super::state::read_clock;
use frontrow_engine::{Engine, LocalNotify};
use std::time::Duration;

pub(crate) struct Idle<E: Engine> {
    /// How long it looks; 0 where it cannot.
    looks_ns: u64,
    /// For [`Engine::turn`].
    null: Option<E::LogFile>,
    buffer: Vec<u8>,
}

impl<E: Engine> Idle<E> {
    pub(crate) fn new(looks: Option<Duration>) -> Self {
        let file = E::WRITES_FILES.then(|| std::fs::File::open("/dev/null").ok()).flatten();
        let null = file.and_then(|file| E::log_file(file).ok());
        let looks = looks.filter(|_| null.is_some()).unwrap_or_default();
        let looks_ns = u64::try_from(looks.as_nanos()).unwrap_or(u64::MAX);
        Self { looks_ns, null, buffer: Vec::with_capacity(1) }
    }

    /// Everybody has a turn.
    pub(crate) async fn turn(&mut self) {
        self.buffer = E::turn(self.null.as_ref(), std::mem::take(&mut self.buffer)).await;
    }

    /// Until there is work.
    pub(crate) async fn wait(&mut self, work: &LocalNotify) {
        if self.looks_ns == 0 {
            return work.wait().await;
        }
        let until = read_clock() + self.looks_ns;
        while !work.take() {
            if read_clock() >= until {
                return work.wait().await;
            }
            self.turn().await;
        }
    }
}
