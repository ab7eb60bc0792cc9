//! What the catalogue says of an event's state, and what the log says: brought together at a start.
//!
//! An operator's word is in the log of all partitions before it is in the event's head. So a head that says something else
//! is behind: a crash came between the two, or an older one was put back. It is ahead only where the log has lost its end: by
//! a promotion of what another node had written, by an accepted loss, or because it is not kept at all.

use crate::catalogue::{self, Catalogue, Event};
use crate::config::Config;
use crate::core::Handle;
use crate::http::Sales;
use crate::running::{StartError, block_on};
use frontrow_shard::{ArchiveStep, Code, EventSpec, EventState, Partition};
use frontrow_wal::History;
use std::collections::HashMap;

/// An event in one partition.
#[derive(Clone, Copy)]
struct Part {
    state: EventState,
    /// Of what it was made of.
    digest: u64,
}

/// Which partitions know which events, and how they stand there.
pub(crate) struct KnownEvents {
    parts: Vec<HashMap<u32, Part>>,
    /// Whether the end of the log was written by this node: then no head is ahead of it.
    own: bool,
}

impl KnownEvents {
    /// `history` is with the epoch that has just begun.
    pub(crate) fn of(partitions: &[Partition], history: &History) -> Self {
        let part = |of: &Partition, event| {
            let ((state, _), digest) = of.event(event).zip(of.event_digest(event))?;
            Some((event, Part { state, digest }))
        };
        let one = |of: &Partition| of.events().filter_map(|event| part(of, event)).collect();
        let written = history.epochs.iter().rfind(|entry| entry.ends.values().any(|end| *end > 0));
        let own = written.is_none_or(|entry| [0, history.node].contains(&entry.node));
        Self { parts: partitions.iter().map(one).collect(), own }
    }

    /// How the event stands in each partition; `None` where it is not known.
    fn states(&self, event: u32) -> impl Iterator<Item = Option<EventState>> {
        self.parts.iter().map(move |known| known.get(&event).map(|part| part.state))
    }

    fn knows(&self, event: u32) -> bool {
        self.states(event).all(|state| state.is_some())
    }

    /// Whether it was made of this wherever it is known: a head may be another event's.
    fn fits(&self, event: u32, specs: &[EventSpec]) -> bool {
        let digests = self.parts.iter().map(|known| known.get(&event).map(|part| part.digest));
        digests.zip(specs).all(|(digest, spec)| digest.is_none_or(|digest| digest == spec.digest()))
    }

    /// Whether every partition knows it, and its archiving has begun somewhere.
    fn is_leaving(&self, event: u32) -> bool {
        let cold = |state| matches!(state, EventState::Archiving | EventState::Archived);
        self.knows(event) && self.states(event).flatten().any(cold)
    }

    /// Whether the log says in all partitions what the event is brought to, so that only its head lacks it.
    fn has_settled(&self, event: u32, head: EventState) -> bool {
        let parts: Option<Vec<EventState>> = self.states(event).collect();
        let settled = parts.filter(|_| head != EventState::Archived && !self.is_leaving(event));
        settled.is_some_and(|parts| self.all_have(event, settled_state(&parts, head, self.own)))
    }

    fn all_have(&self, event: u32, state: EventState) -> bool {
        self.states(event).all(|known| known == Some(state))
    }
}

/// What was found and done.
pub(crate) struct Reconciled {
    /// Events whose archiving had begun: it is ended once HTTP is served.
    pub(crate) unfinished: Vec<u32>,
    /// Some event, known before, is not in the state that its head or its log had it in.
    pub(crate) changed: bool,
}

/// Whether the log may be written: where answers wait for a standby, that waits for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Log {
    /// It may.
    Writes,
    /// Only heads are: what has to be in the log is left for later.
    Stays,
}

/// Brings partitions and catalogue to the same.
pub(crate) fn reconcile(
    handle: &Handle,
    catalogue: &Catalogue,
    known: &KnownEvents,
    (config, log): (&Config, Log),
) -> Result<Reconciled, StartError> {
    let (mut unfinished, mut changed) = (Vec::new(), false);
    for event in catalogue.search("", None) {
        let (id, head) = (event.id(), event.state());
        if known.all_have(id, head) || (log == Log::Stays && !known.has_settled(id, head)) {
            continue;
        }
        if known.is_leaving(id) {
            unfinished.push(id);
            continue;
        }
        let refused = |code| StartError::Refused { event: id, code };
        let rules = event.rules().into();
        let specs = catalogue::specs(id, &catalogue.plan(id)?, &rules, config.partitions.count)?;
        if !known.fits(id, &specs) {
            return Err(refused(Code::EventExists));
        }
        if !known.knows(id) {
            block_on(handle.create_event(specs)).map_err(refused)?;
        }
        match head {
            // The log is behind the catalogue, as after a promotion: archived anew from what the log has.
            EventState::Archived if known.knows(id) => {
                block_on(handle.set_state(id, EventState::Closed)).map_err(refused)?;
                unfinished.push(id);
            }
            // The log is gone, as it is meant to be with durability `memory`: the archive is what is left.
            EventState::Archived => block_on(retire(handle, id)).map_err(refused)?,
            _ => changed |= bring(handle, catalogue, known, &event)?,
        }
    }
    Ok(Reconciled { unfinished, changed })
}

/// Brings an event that is not archived to one state in all partitions and in its head. Whether that was told of.
fn bring(
    handle: &Handle,
    catalogue: &Catalogue,
    known: &KnownEvents,
    event: &Event,
) -> Result<bool, StartError> {
    let (id, head) = (event.id(), event.state());
    let refused = |code| StartError::Refused { event: id, code };
    // One that was just made is a draft.
    let parts: Vec<EventState> = known.states(id).map(|state| state.unwrap_or(EventState::Draft)).collect();
    let state = settled_state(&parts, head, known.own);
    if state == EventState::Paused && parts.contains(&EventState::Draft) {
        // No way leads there from a draft.
        block_on(handle.set_state(id, EventState::Open)).map_err(refused)?;
    }
    // Where the log has it already, nothing is written, and no standby is waited for.
    if state != EventState::Draft && !known.all_have(id, state) {
        block_on(handle.set_state(id, state)).map_err(refused)?;
    }
    if state != head {
        let now = catalogue.set_state(id, state, handle.now_ms())?;
        tracing::warn!(
            event = id,
            head = event.state_name(),
            now = now.state_name(),
            "the event's head is not what the log says, which holds: an older head was put back, or a crash came between the \
             two. If it is to be in another state, pause, open or close it"
        );
    } else if known.knows(id) {
        tracing::warn!(
            event = id,
            state = event.state_name(),
            "the log is not as late as the event's head, which holds: the log has lost its end, or a crash came in between"
        );
    }
    Ok(state != head || known.knows(id))
}

/// The state that an event is brought to: `parts` is how it stands in the partitions, none of which has begun to archive
/// it; `own` whether the end of the log was written by this node.
fn settled_state(parts: &[EventState], head: EventState, own: bool) -> EventState {
    use EventState::{Closed, Draft, Open, Paused};
    let any = |state| parts.contains(&state);
    // Nothing leads back from there.
    if head == Closed || any(Closed) {
        return Closed;
    }
    match (any(Open), any(Paused)) {
        (false, false) => head,
        // An operator's word that reached some partitions, and was not answered: the state in which nothing is sold.
        (_, true) => Paused,
        // Of a log that another node has written the end may be missing: a pause, perhaps.
        (true, false) if head == Paused && !own && !any(Draft) => Paused,
        (true, false) => Open,
    }
}

/// Lets an event that was made anew leave memory, for it stands in its archive.
async fn retire(handle: &Handle, event: u32) -> Result<(), Code> {
    handle.set_state(event, EventState::Open).await?;
    handle.set_state(event, EventState::Closed).await?;
    handle.archive(event, ArchiveStep::Begin).await?;
    handle.archive(event, ArchiveStep::End).await
}

#[cfg(test)]
mod tests {
    use super::*;
    use EventState::{Closed, Draft, Open, Paused};
    use frontrow_wal::{EpochEntry, Role};
    use std::collections::BTreeMap;

    #[test]
    fn the_log_holds_and_nothing_goes_back() {
        let table: [(&[EventState], EventState, bool, EventState); 16] = [
            // An older head.
            (&[Paused, Paused], Open, true, Paused),
            (&[Open, Open], Paused, true, Open),
            (&[Closed, Closed], Open, true, Closed),
            (&[Closed, Closed], Paused, true, Closed),
            (&[Closed, Closed], Draft, true, Closed),
            (&[Open, Open], Draft, true, Open),
            (&[Paused, Paused], Draft, true, Paused),
            // A crash in the middle of an operator's word.
            (&[Open, Paused], Open, true, Paused),
            (&[Open, Paused], Paused, true, Paused),
            (&[Open, Draft], Draft, true, Open),
            (&[Closed, Open], Open, true, Closed),
            // A log that lacks its end, or all of it.
            (&[Open, Open], Paused, false, Paused),
            (&[Paused, Paused], Open, false, Paused),
            (&[Open, Open], Closed, true, Closed),
            (&[Draft, Draft], Open, true, Open),
            (&[Draft, Draft], Paused, true, Paused),
        ];
        for (parts, head, own, want) in table {
            assert_eq!(settled_state(parts, head, own), want, "{parts:?}, head {head:?}, own {own}");
        }
    }

    #[test]
    fn whose_log_it_is_says_the_last_epoch_that_wrote_anything() {
        let entry = |epoch, node, end| EpochEntry { epoch, node, ends: BTreeMap::from([(0, end)]) };
        let of = |epochs| {
            let history = History { epochs, ..History::new(1, 7, Role::Primary) };
            KnownEvents::of(&[], &history).own
        };
        assert!(of(vec![]) && of(vec![entry(1, 7, 90)]) && of(vec![entry(1, 9, 90), entry(2, 7, 91)]));
        assert!(of(vec![entry(1, 0, 90)]), "from before there were histories");
        assert!(!of(vec![entry(1, 7, 90), entry(2, 9, 95)]));
        assert!(!of(vec![entry(1, 9, 90), entry(2, 7, 0)]), "nothing was written since");
    }
}
