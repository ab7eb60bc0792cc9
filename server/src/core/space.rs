//! A disk that fills up. The log keeps prepared segments ahead; once no further one can be made, what is left of
//! them is a reserve: purchases, releases and holds that run out may use it, and whoever wants something new is told
//! to come back. Nothing that was promised is lost, and seats go on coming free. When there is space again the
//! core goes on by itself.
//!
//! The same when the log has grown to its limit because somebody who reads it is away ([`crate::feed`]).

use super::message::{Ask, Job};
use super::metrics::Metrics;
use super::pump;
use super::state::{Core, State};
use frontrow_engine::Engine;
use frontrow_protocol::WireCode;
use frontrow_wal::Space;
use std::sync::atomic::Ordering;

/// The class of requests that want something new; see `dispatch::class_of`.
pub(crate) const WANTING: usize = 2;
/// What they are told to wait.
const RETRY_MS: u32 = 2000;

/// Sees whether the log can still grow, and may.
pub(crate) fn look<E: Engine>(core: &Core<E>, state: &mut State<E>) {
    let space = state.appender.space();
    let disk_full = matches!(space, Space::Full(_));
    let read_only = disk_full || core.shared.log_full.load(Ordering::Relaxed);
    if read_only != state.read_only {
        state.read_only = read_only;
        core.counters().read_only.store(u64::from(read_only), Ordering::Relaxed);
    }
    // That the limit is reached, and not any more, is told by whoever counts.
    if disk_full == state.disk_full {
        return;
    }
    state.disk_full = disk_full;
    match space {
        Space::Full(reason) => tracing::error!(
            core = core.me,
            %reason,
            "the disk is full: nothing new is sold; purchases and releases go on with the log's reserve. Make room: the \
             server goes on by itself"
        ),
        Space::Ready => tracing::warn!(core = core.me, "there is room for the log again: selling goes on"),
    }
}

/// Once a second: is there room again?
pub(crate) fn try_again<E: Engine>(state: &mut State<E>) {
    if state.disk_full {
        state.appender.retry_space();
    }
}

/// Refuses what waits in the classes from `first` on, looking excepted.
pub(crate) fn refuse<E: Engine>(core: &Core<E>, state: &mut State<E>, first: usize) {
    for class in first..=WANTING {
        for job in std::mem::take(&mut state.jobs[class]) {
            refuse_one(core, state, &job);
        }
    }
}

fn refuse_one<E: Engine>(core: &Core<E>, state: &mut State<E>, job: &Job) {
    debug_assert!(matches!(job.ask, Ask::Command(_)), "only looking costs no room");
    Metrics::add(&core.counters().refused_full, 1);
    pump::refuse(core, state, job, WireCode::ReadOnly, RETRY_MS);
}
