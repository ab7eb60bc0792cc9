//! By which whoever waits for a look wakes the thread that looks.

use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Duration;

/// Between two looks, and where somebody waits for the next one.
const LOOK: Duration = Duration::from_millis(500);
const SOON: Duration = Duration::from_millis(10);

/// By which the thread that looks is woken.
#[derive(Default)]
pub(super) struct Bell {
    pub(super) rung: Mutex<Rung>,
    heard: Condvar,
}

#[derive(Default)]
pub(super) struct Rung {
    pub(super) look: bool,
    /// Also where the ticks' topic ends.
    pub(super) end: bool,
    pub(super) stop: bool,
}

impl Bell {
    pub(super) fn ring(&self, how: impl FnOnce(&mut Rung)) {
        how(&mut self.rung.lock().unwrap_or_else(PoisonError::into_inner));
        self.heard.notify_all();
    }

    /// Waits until the next look is due: whether the end is wanted, too; none if there is to be no more.
    pub(super) fn wait(&self) -> Option<bool> {
        let rung = self.rung.lock().unwrap_or_else(PoisonError::into_inner);
        let until = |rung, most, is_quiet: fn(&mut Rung) -> bool| {
            self.heard.wait_timeout_while(rung, most, is_quiet).unwrap_or_else(PoisonError::into_inner).0
        };
        // Those who come meanwhile share it.
        let rung = until(rung, SOON, |rung| !rung.stop);
        let mut rung = until(rung, LOOK, |rung| !rung.stop && !rung.look);
        let end = rung.end;
        (rung.look, rung.end) = (false, false);
        (!rung.stop).then_some(end)
    }
}
