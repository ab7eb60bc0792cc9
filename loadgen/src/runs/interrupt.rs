//! Ctrl-C: the first asks a run to end well, the second ends it at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

/// What `kill` and shells call a program that SIGINT ended.
const ENDED_BY_SIGINT: i32 = 130;

/// How often somebody has asked for the end. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Interrupt(Arc<State>);

#[derive(Debug, Default)]
struct State {
    asked: AtomicU32,
    /// The event that was made for the run and is open; 0 for none.
    event: AtomicU32,
}

impl Interrupt {
    /// One that nobody triggers but [`Interrupt::ask`].
    pub fn new() -> Self {
        Self::default()
    }

    /// One that Ctrl-C and SIGTERM trigger. Must be called inside a tokio runtime.
    pub fn by_signals() -> Self {
        let interrupt = Self::new();
        let asked = interrupt.clone();
        tokio::spawn(async move {
            let Ok(mut term) = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())
            else {
                return;
            };
            loop {
                tokio::select! {
                    _ = tokio::signal::ctrl_c() => {}
                    _ = term.recv() => {}
                }
                asked.again();
            }
        });
        interrupt
    }

    /// Asks for the end.
    pub fn ask(&self) {
        self.0.asked.fetch_add(1, Relaxed);
    }

    /// Notes an event that was made for the run: who ends it at once has to know that it stays open.
    pub(crate) fn event_is_open(&self, event: u32) {
        self.0.event.store(event, Relaxed);
    }

    /// Whether somebody has.
    pub fn is_asked(&self) -> bool {
        self.0.asked.load(Relaxed) > 0
    }

    #[allow(clippy::exit, reason = "somebody has asked twice, and means it")]
    fn again(&self) {
        if self.0.asked.fetch_add(1, Relaxed) > 0 {
            eprintln!("\nfrontrow-loadgen: ended at once; there is no report");
            match self.0.event.load(Relaxed) {
                0 => {}
                event => eprintln!(
                    "frontrow-loadgen: event {event}, made for this run, stays open on the server: `frontrow event close {event}` ends its sale"
                ),
            }
            std::process::exit(ENDED_BY_SIGINT);
        }
        eprintln!("\nfrontrow-loadgen: winding down for a partial report; Ctrl-C again ends at once");
    }
}
