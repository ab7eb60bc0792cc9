//! What the catalogue and the log say of events is brought together, and a newcomer gets something to buy.

use super::{StartError, block_on};
use crate::catalogue::{self, Catalogue};
use crate::config::Config;
use crate::core::Handle;
use crate::http::Sales as _;
use crate::reconcile::{KnownEvents, Log, Reconciled, reconcile};
use frontrow_shard::EventState;
use std::sync::{Arc, OnceLock};

/// How it came out.
pub(super) struct Settled {
    /// Events whose archiving had begun when the last process ended, once that is known.
    pub(super) unfinished: Arc<OnceLock<Vec<u32>>>,
    /// Whether anything was not as it was left.
    pub(super) changed: bool,
}

/// `waits`: answers wait for a standby, and so does what has to be in the log.
pub(super) fn settle(
    (handle, catalogue): (&Handle, &Arc<Catalogue>),
    known: KnownEvents,
    config: &Config,
    waits: bool,
) -> Result<Settled, StartError> {
    let unfinished = Arc::new(OnceLock::new());
    if waits {
        reconcile(handle, catalogue, &known, (config, Log::Stays))?;
        reconcile_later((handle, catalogue), known, config, &unfinished)?;
        return Ok(Settled { unfinished, changed: true });
    }
    let Reconciled { unfinished: found, changed } =
        reconcile(handle, catalogue, &known, (config, Log::Writes))?;
    unfinished.get_or_init(|| found);
    Ok(Settled { unfinished, changed })
}

/// The rest beside everything else, for answers wait for a standby: what has to be in the log waits for it, too, and who is to
/// give the standby up (`frontrow replication alone`) needs HTTP. What cannot be done is told, and tried again at the next start: an
/// operator's word may have come first.
fn reconcile_later(
    (handle, catalogue): (&Handle, &Arc<Catalogue>),
    known: KnownEvents,
    config: &Config,
    unfinished: &Arc<OnceLock<Vec<u32>>>,
) -> Result<(), StartError> {
    let (handle, catalogue, config) = (handle.clone(), Arc::clone(catalogue), config.clone());
    let unfinished = Arc::clone(unfinished);
    let settle = move || match reconcile(&handle, &catalogue, &known, (&config, Log::Writes)) {
        Ok(Reconciled { unfinished: found, .. }) => drop(unfinished.set(found)),
        Err(error) => tracing::error!(
            %error,
            "an event's head and the log are not brought together; restart once a standby follows, or after \
             `frontrow replication alone`"
        ),
    };
    let thread = std::thread::Builder::new().name("frontrow-settle".into()).spawn(settle);
    thread.map(drop).map_err(StartError::thread)
}

/// The sample hall, on sale, where nothing else is.
pub(super) fn show_sample(
    handle: &Handle,
    catalogue: &Catalogue,
    config: &Config,
    waits: bool,
) -> Result<(), StartError> {
    if !catalogue.search("", None).is_empty() {
        return Ok(());
    }
    if waits {
        tracing::warn!(
            "the sample hall is left out: answers wait for a standby, and there is none yet; start one with \
             `frontrow backup`, or begin with acknowledge = \"local\""
        );
        return Ok(());
    }
    sell_sample(handle, catalogue, config)
}

/// Puts the sample hall on sale.
fn sell_sample(handle: &Handle, catalogue: &Catalogue, config: &Config) -> Result<(), StartError> {
    let sample = |error: &dyn std::fmt::Display| StartError::Sample(error.to_string());
    let (plan, _) = frontrow_venue::pretix::import(frontrow_venue::SAMPLE_HALL.as_bytes())
        .map_err(|error| sample(&error))?;
    let event = catalogue.create("Opening night", &plan, config.events, handle.now_ms())?;
    let id = event.id();
    let refused = |code| StartError::Refused { event: id, code };
    let specs = catalogue::specs(id, &plan, &config.events, config.partitions.count)?;
    block_on(handle.create_event(specs)).map_err(refused)?;
    block_on(handle.set_state(id, EventState::Open)).map_err(refused)?;
    catalogue.set_state(id, EventState::Open, handle.now_ms())?;
    Ok(())
}
