//! The files of a catalogue that is served from, looked after. All of an event's head is in memory, and its map while it may be
//! sold: one that is damaged, missing or another one is written anew. What memory does not have is told of.

use super::sound::{Shelf, maps_not_good};
use super::{Catalogue, CatalogueError, Event, damage, in_words};
use crate::cold::FileIdentity;
use frontrow_engine::Clock;
use frontrow_shard::EventId;
use std::collections::HashMap;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// Within this time one look serves all who ask.
const GLANCE_NS: u64 = 250_000_000;
/// How often the files are looked at if nobody asks.
pub(crate) const LOOK_EVERY: Duration = Duration::from_secs(5);

/// See the module.
pub struct Keeper {
    catalogue: Arc<Catalogue>,
    desk: Mutex<Desk>,
    /// Files that were written anew.
    mended: AtomicU64,
}

struct Desk {
    shelf: Shelf,
    /// Heads that were found to be as they are known here.
    good: HashMap<EventId, (FileIdentity, Arc<Event>)>,
    /// When everything was looked at, in monotonic nanoseconds; 0: not yet.
    looked_ns: u64,
    why: Option<String>,
}

impl Keeper {
    /// Nothing has been looked at.
    pub(crate) fn new(catalogue: Arc<Catalogue>) -> Self {
        // Archives, which alone name their cluster, are not looked at.
        let desk = Desk { shelf: Shelf::new(0), good: HashMap::new(), looked_ns: 0, why: None };
        Self { catalogue, desk: Mutex::new(desk), mended: AtomicU64::new(0) }
    }

    /// How many heads and maps were written anew.
    pub(crate) fn mended(&self) -> u64 {
        self.mended.load(Relaxed)
    }

    /// What was wrong at the last look.
    pub(crate) fn found(&self) -> Option<String> {
        self.desk.lock().unwrap_or_else(PoisonError::into_inner).why.clone()
    }

    /// Mends what can be; what is wrong then. Blocks on the disk.
    pub(crate) fn look(&self) -> Option<String> {
        self.look_since(Clock::monotonic_ns())
    }

    /// The same as it was a moment ago, for who may ask as often as they like.
    pub(crate) fn glance(&self) -> Option<String> {
        self.look_since(Clock::monotonic_ns().saturating_sub(GLANCE_NS))
    }

    fn look_since(&self, since_ns: u64) -> Option<String> {
        let mut desk = self.desk.lock().unwrap_or_else(PoisonError::into_inner);
        if desk.looked_ns > since_ns {
            return desk.why.clone();
        }
        desk.looked_ns = Clock::monotonic_ns();
        let events = self.catalogue.search("", None);
        let mut faults: Vec<String> =
            events.iter().filter_map(|event| self.keep_head(&mut desk.good, event)).collect();
        if faults.is_empty() {
            // By the heads, which are good now.
            let maps = maps_not_good(&mut desk.shelf, self.catalogue.folder());
            faults = maps.into_iter().filter_map(|id| self.keep_map(id)).collect();
        }
        if faults.is_empty() {
            let data = self.catalogue.data().to_path_buf();
            let logged = || events.iter().map(|event| event.id());
            faults = damage(&mut desk.shelf, &data, logged());
            // An operator's word may be changing files: what is bad is looked at twice.
            if !faults.is_empty() {
                faults = damage(&mut desk.shelf, &data, logged());
            }
        }
        let why = in_words(&faults);
        match &why {
            Some(why) if desk.why.is_none() => {
                tracing::error!(%why, "this node sells on; a restart, and a standby that is new, would miss these files");
            }
            None if desk.why.is_some() => tracing::warn!("the events' files are good again"),
            _ => {}
        }
        desk.why.clone_from(&why);
        why
    }

    /// Why a head that is not what is known here cannot be written anew.
    fn keep_head(
        &self,
        good: &mut HashMap<EventId, (FileIdentity, Arc<Event>)>,
        event: &Arc<Event>,
    ) -> Option<String> {
        let (id, path) = (event.id(), self.catalogue.head_path(event.id()));
        let found = identity(&path);
        if let (Some(found), Some((known, of))) = (found, good.get(&id))
            && found == *known
            && Arc::ptr_eq(of, event)
        {
            return None;
        }
        match self.catalogue.mend_head(id) {
            Ok(None) => {
                // As it was before it was read: what comes in between is read once more.
                found.and_then(|found| good.insert(id, (found, Arc::clone(event))));
                None
            }
            found => self.said((id, "head"), found),
        }
    }

    /// Why a map that is not what its head says, and is in memory, cannot be written anew.
    fn keep_map(&self, id: EventId) -> Option<String> {
        self.said((id, "map"), self.catalogue.mend_map(id))
    }

    fn said(
        &self,
        (event, part): (EventId, &str),
        found: Result<Option<String>, CatalogueError>,
    ) -> Option<String> {
        match found {
            Ok(None) => None,
            Ok(Some(why)) => {
                self.mended.fetch_add(1, Relaxed);
                tracing::error!(event, %why, "an event's {part} was not as it had been written: it is written anew, from memory");
                None
            }
            Err(error) => Some(format!(
                "{error}. It is to be written anew, from memory, and is tried again every few seconds"
            )),
        }
    }
}

fn identity(path: &Path) -> Option<FileIdentity> {
    std::fs::metadata(path).ok().map(|about| FileIdentity::of(&about))
}

#[cfg(test)]
mod tests {
    use super::super::tests::{hall, rules};
    use super::*;
    use frontrow_shard::EventState;
    use std::fs;

    fn kept() -> (tempfile::TempDir, Arc<Catalogue>, Keeper) {
        let folder = tempfile::tempdir().unwrap();
        let catalogue = Arc::new(Catalogue::open(folder.path()).unwrap());
        catalogue.create("Gala", &hall(), rules(), 1).unwrap();
        let keeper = Keeper::new(Arc::clone(&catalogue));
        (folder, catalogue, keeper)
    }

    #[test]
    fn a_head_that_is_damaged_missing_or_another_is_written_anew_and_what_was_there_is_kept() {
        let (folder, catalogue, keeper) = kept();
        let head = catalogue.head_path(1);
        let draft = fs::read(&head).unwrap();
        catalogue.set_state(1, EventState::Open, 2).unwrap();
        let told = Arc::new(AtomicU64::new(0));
        let of = Arc::clone(&told);
        catalogue.on_change(move || {
            of.fetch_add(1, Relaxed);
        });
        let open = fs::read(&head).unwrap();
        assert_eq!((keeper.look(), keeper.mended()), (None, 0));
        let harms: [&dyn Fn(); 4] = [
            &|| fs::write(&head, &open[..open.len() / 2]).unwrap(),
            &|| fs::remove_file(&head).unwrap(),
            // An older one, good by itself.
            &|| fs::write(&head, &draft).unwrap(),
            &|| fs::write(&head, "").unwrap(),
        ];
        for (number, harm) in (1..).zip(harms) {
            harm();
            assert_eq!((keeper.look(), keeper.mended()), (None, number));
            assert_eq!(fs::read(&head).unwrap(), open);
            assert_eq!(told.load(Relaxed), number, "a standby gets it, too");
        }
        let kept = |number: u32| fs::read(folder.path().join(format!("damaged/events/1.json-{number:04}")));
        assert_eq!(kept(1).unwrap(), open[..open.len() / 2]);
        assert_eq!((kept(2).unwrap(), kept(3).unwrap()), (draft, Vec::new()));
        assert!(kept(4).is_err(), "of one that was missing there is nothing");
        assert_eq!((keeper.look(), keeper.mended()), (None, 4));
    }

    #[test]
    fn what_memory_does_not_have_is_told_of_until_it_is_put_back() {
        let (folder, catalogue, keeper) = kept();
        catalogue.create("Ball", &hall(), rules(), 1).unwrap();
        let plans = [1, 2].map(|id| folder.path().join(format!("events/{id}.plan.json")));
        let good = fs::read(&plans[0]).unwrap();
        fs::remove_file(&plans[0]).unwrap();
        fs::write(&plans[1], "{}").unwrap();
        let why = keeper.look().unwrap();
        assert!(why.contains("1.plan.json is missing; put it back") && why.contains("2.plan.json"), "{why}");
        assert_eq!(keeper.found(), Some(why.clone()));
        for plan in plans {
            fs::write(plan, &good).unwrap();
        }
        assert_eq!(keeper.glance(), Some(why), "it was looked at a moment ago");
        assert_eq!((keeper.look(), keeper.found(), keeper.mended()), (None, None, 0));
    }

    #[test]
    fn what_cannot_be_written_anew_is_told_of_and_tried_again() {
        let (folder, catalogue, keeper) = kept();
        let head = catalogue.head_path(1);
        fs::remove_file(&head).unwrap();
        // Where the new one is written first.
        let taken = folder.path().join("events/1.json.new");
        fs::create_dir(&taken).unwrap();
        let why = keeper.look().unwrap();
        assert!(why.contains("1.json") && why.contains("tried again"), "{why}");
        fs::remove_dir(&taken).unwrap();
        assert_eq!((keeper.look(), keeper.mended()), (None, 1));
        assert!(head.exists());
    }
}
