//! Ctrl-C: the first asks a run to end well, the second ends it at once.

use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::signal::unix::{SignalKind, signal};

/// What `kill` and shells call a program that SIGINT ended.
const ENDED_BY_SIGINT: i32 = 130;

/// How often somebody has asked for the end. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Interrupt(Arc<State>);

#[derive(Debug, Default)]
struct State {
    asked: AtomicU32,
    /// What to say of the event that was made for the run and is open, if one is.
    open: Mutex<Option<String>>,
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
            // One stream for all of them: a second one that comes while the first is answered is not lost.
            let (Ok(mut term), Ok(mut interrupt)) =
                (signal(SignalKind::terminate()), signal(SignalKind::interrupt()))
            else {
                return;
            };
            loop {
                tokio::select! {
                    _ = interrupt.recv() => {}
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

    /// Notes an event that was made for the run, and the command that ends its sale: whoever ends the run at once, or finds
    /// it cut short, has to know that it stays open.
    pub(crate) fn event_is_open(&self, event: u32, close: &str) {
        *self.open() = Some(format!(
            "frontrow-loadgen: event {event}, made for this run, stays open on the server: `{close}` ends its sale"
        ));
    }

    /// The event that was made for the run is closed.
    pub(crate) fn event_is_closed(&self) {
        *self.open() = None;
    }

    /// Says which event stays open, if one does.
    pub(crate) fn tell_open(&self) {
        if let Some(open) = self.open().as_ref() {
            tell!("{open}");
        }
    }

    fn open(&self) -> MutexGuard<'_, Option<String>> {
        self.0.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether somebody has.
    pub fn is_asked(&self) -> bool {
        self.0.asked.load(Relaxed) > 0
    }

    #[allow(clippy::exit, reason = "somebody has asked twice, and means it")]
    fn again(&self) {
        if self.0.asked.fetch_add(1, Relaxed) > 0 {
            tell!("\nfrontrow-loadgen: ended at once; there is no report");
            self.tell_open();
            std::process::exit(ENDED_BY_SIGINT);
        }
        tell!("\nfrontrow-loadgen: winding down for a partial report; Ctrl-C again ends at once");
    }
}
