//! The files of a catalogue that is served from, looked after. All of an event's head is in memory, and its map while it may be
//! sold: one that is damaged, missing or another one is written anew. What memory does not have is told of.

use super::sound::{Shelf, maps_not_good};
use super::{Catalogue, CatalogueError, Event, damage, in_words};
use crate::cold::FileIdentity;
use crate::lookout::{Lookout, Now, Sight};
use frontrow_engine::Clock;
use frontrow_shard::EventId;
use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// See the module.
pub struct Keeper {
    lookout: Lookout,
    sight: Arc<Sight>,
    now: Now,
    mended: Arc<AtomicU64>,
}

impl Keeper {
    /// Nothing has been looked at.
    pub(crate) fn new(catalogue: Arc<Catalogue>) -> Self {
        let (sight, mended) = (Arc::new(Sight::new(catalogue.folder().to_path_buf())), Arc::default());
        let now: Now = Arc::new(Clock::monotonic_ns);
        let mut work = Work::new(catalogue, Arc::clone(&sight), Arc::clone(&mended));
        let lookout = Lookout::new(Arc::clone(&sight), Arc::clone(&now), move || work.look());
        Self { lookout, sight, now, mended }
    }

    /// One that sees what `look` says, at the time that `now` says.
    #[cfg(test)]
    pub(crate) fn seeing(now: Now, look: impl FnMut() -> Option<String> + Send + 'static) -> Self {
        let sight = Arc::new(Sight::new("data/events".into()));
        let lookout = Lookout::new(Arc::clone(&sight), Arc::clone(&now), look);
        Self { lookout, sight, now, mended: Arc::default() }
    }

    /// From now on the files are looked at now and then, for a disk may lose what it had.
    pub(crate) fn begin(&self) {
        self.lookout.begin();
    }

    /// Nothing more is written anew.
    pub(crate) fn end(&self) {
        self.lookout.end();
    }

    /// How many heads and maps were written anew.
    pub(crate) fn mended(&self) -> u64 {
        self.mended.load(Relaxed)
    }

    /// What is wrong, as far as it was looked at. Waits for nobody.
    pub(crate) fn found(&self) -> Option<String> {
        self.sight.why((self.now)())
    }

    /// How old that is.
    pub(crate) fn age_ms(&self) -> Option<u64> {
        self.sight.age_ms((self.now)())
    }

    /// What is wrong now, after what can be was mended. Waits for the disk, though not for good.
    #[cfg(test)]
    pub(crate) fn look(&self) -> Option<String> {
        self.lookout.look()
    }

    /// What is wrong, as it was a moment ago if that is known soon: for who may ask as often as they like. Not for an async thread.
    pub(crate) fn glance(&self) -> Option<String> {
        self.lookout.glance()
    }
}

/// What the thread does that looks.
struct Work {
    catalogue: Arc<Catalogue>,
    sight: Arc<Sight>,
    shelf: Shelf,
    /// Heads that were found to be as they are known here.
    good: HashMap<EventId, (FileIdentity, Arc<Event>)>,
    /// Files that were written anew.
    mended: Arc<AtomicU64>,
    was_bad: bool,
}

impl Work {
    fn new(catalogue: Arc<Catalogue>, sight: Arc<Sight>, mended: Arc<AtomicU64>) -> Self {
        let of = Arc::clone(&sight);
        // Archives, which alone name their cluster, are not looked at.
        let shelf = Shelf::new(0).telling(move || of.comes_on(Clock::monotonic_ns()));
        Self { catalogue, sight, shelf, good: HashMap::new(), mended, was_bad: false }
    }

    /// Mends what can be; what is wrong then.
    fn look(&mut self) -> Option<String> {
        let events = self.catalogue.search("", None);
        let mut faults: Vec<String> = events.iter().filter_map(|event| self.keep_head(event)).collect();
        if faults.is_empty() {
            // By the heads, which are good now.
            let maps = maps_not_good(&mut self.shelf, self.catalogue.folder());
            faults = maps.into_iter().filter_map(|id| self.keep_map(id)).collect();
        }
        if faults.is_empty() {
            let data = self.catalogue.data().to_path_buf();
            let logged = || events.iter().map(|event| event.id());
            faults = damage(&mut self.shelf, &data, logged());
            // An operator's word may be changing files: what is bad is looked at twice.
            if !faults.is_empty() {
                faults = damage(&mut self.shelf, &data, logged());
            }
        }
        let why = in_words(&faults);
        match &why {
            Some(why) if !self.was_bad => {
                tracing::error!(%why, "this node sells on; a restart, and a standby that is new, would miss these files");
            }
            None if self.was_bad => tracing::warn!("the events' files are good again"),
            _ => {}
        }
        self.was_bad = why.is_some();
        why
    }

    /// Why a head that is not what is known here cannot be written anew.
    fn keep_head(&mut self, event: &Arc<Event>) -> Option<String> {
        let (id, path) = (event.id(), self.catalogue.head_path(event.id()));
        let found = identity(&path);
        if let (Some(found), Some((known, of))) = (found, self.good.get(&id))
            && found == *known
            && Arc::ptr_eq(of, event)
        {
            return None;
        }
        match self.mend(|catalogue| catalogue.mend_head(id)) {
            Ok(None) => {
                // As it was before it was read: what comes in between is read once more.
                found.and_then(|found| self.good.insert(id, (found, Arc::clone(event))));
                None
            }
            found => self.said((id, "head"), found),
        }
    }

    /// Why a map that is not what its head says, and is in memory, cannot be written anew.
    fn keep_map(&self, id: EventId) -> Option<String> {
        self.said((id, "map"), self.mend(|catalogue| catalogue.mend_map(id)))
    }

    /// A server that has ended leaves the files to the next one, however late a read has returned.
    fn mend<T: Default>(
        &self,
        mend: impl FnOnce(&Catalogue) -> Result<T, CatalogueError>,
    ) -> Result<T, CatalogueError> {
        let mended = if self.sight.is_over() { Ok(T::default()) } else { mend(&self.catalogue) };
        self.sight.comes_on(Clock::monotonic_ns());
        mended
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
