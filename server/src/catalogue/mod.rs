//! What is on sale: every event with its plan, kept in the data directory.
//!
//! An event is three files below `events/`: `7.plan.json` (the plan as imported), `7.map.json` (what
//! buyers' seat maps draw) and `7.json` (name, rules, sums, and the checksums of the other two and of itself). An event
//! that is over has a fourth, `7.archive` ([`crate::cold`]). Each is written whole under another name,
//! synced and renamed; `7.json`, the last one, makes the event exist. The plan is not kept in memory; the
//! map is, while the event may be sold ([`held`]).

mod files;
mod head;
mod held;
mod keeper;
mod logged;
mod map;
mod sealed;
pub(crate) mod sound;
mod specs;
mod verify;

#[cfg(test)]
pub(crate) mod no_files;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, RwLock};

use axum::body::Bytes;
use frontrow_shard::{EventId, EventRules, EventState, MAX_EVENT, Millis};
use frontrow_venue::Plan;

pub(crate) use files::keep_aside;
pub use head::{CategorySum, Rules, SectionSum};
use head::{Head, Standing};
use held::SeatMap;
pub use keeper::Keeper;
pub use logged::logged;
pub use specs::{SpecError, recordable, sellable, specs};
pub use verify::{Finding, verify};

/// The version of the heads written here.
const VERSION: u32 = 2;
/// The version of heads without a checksum of their own: read until all have been given one, at the first start.
const UNSEALED: u32 = 1;

/// One event on sale, without its plan.
#[derive(Debug)]
pub struct Event {
    head: Head,
    map: SeatMap,
}

impl Event {
    /// Its number.
    pub fn id(&self) -> EventId {
        self.head.id
    }

    /// What it is called.
    pub fn name(&self) -> &str {
        &self.head.name
    }

    /// What its plan is called.
    pub fn plan_name(&self) -> &str {
        &self.head.plan
    }

    /// When it was created, ms since 1970.
    pub fn created_ms(&self) -> Millis {
        self.head.created_ms
    }

    /// When an operator closed it, ms since 1970.
    pub fn closed_ms(&self) -> Option<Millis> {
        self.head.closed_ms
    }

    /// The state an operator last asked for. The shards have the truth.
    pub fn state(&self) -> EventState {
        self.head.state.into_state()
    }

    /// The state's name.
    pub fn state_name(&self) -> &'static str {
        self.head.state.name()
    }

    /// Its rules.
    pub fn rules(&self) -> Rules {
        self.head.rules
    }

    /// Its sections in order, by name and size.
    pub fn sections(&self) -> &[SectionSum] {
        &self.head.sections
    }

    /// Its categories in order, by name and size.
    pub fn categories(&self) -> &[CategorySum] {
        &self.head.categories
    }

    /// How many seats it has.
    pub fn seats(&self) -> u64 {
        self.head.sections.iter().map(|section| u64::from(section.seats)).sum()
    }

    /// The seat map as JSON, if it is in memory to stay: geometry and labels, nothing that changes. A reference, not a copy.
    /// Else [`Catalogue::map`] reads it.
    pub fn map_in_memory(&self) -> Option<Bytes> {
        self.map.in_memory()
    }

    /// One section of its seat map, if there is such a section. A reference, not a copy.
    pub fn section_of(&self, map: &Bytes, section: u16) -> Option<Bytes> {
        let (from, to) = self.head.map_sections.get(usize::from(section))?;
        (from <= to && *to <= map.len() as u64).then(|| map.slice(*from as usize..*to as usize))
    }

    /// An HTTP entity tag of the map: the same tag, the same bytes.
    pub fn map_tag(&self) -> String {
        format!("\"{}-{:08x}\"", self.head.id, self.head.map_file.crc32c)
    }
}

/// Why the catalogue cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum CatalogueError {
    /// The system refused.
    #[error("{}: {source}; check the disk and that the directory belongs to the server's user", path.display())]
    File {
        /// The file or directory.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// Not a file of this catalogue.
    #[error("{} is not a file of this catalogue ({why}); move it out of the data directory", path.display())]
    Foreign {
        /// The file.
        path: PathBuf,
        /// What is strange about it.
        why: String,
    },
    /// A file of another version.
    #[error("{} is of version {found}, this server reads {UNSEALED} and {VERSION}; start the server that wrote it", path.display())]
    Version {
        /// The file.
        path: PathBuf,
        /// Its version.
        found: u64,
    },
    /// A file that is shorter or longer than it was written, or has other bytes.
    #[error(
        "{} is damaged ({why}); put it back, and the event's other files with it, from the other node's events/ folder or \
         from a backup", path.display()
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What does not fit.
        why: String,
    },
    /// The log knows an event whose head is gone.
    #[error(
        "the log has event {event}, and {} is missing: put it back, and the event's other files with it, from the other node's \
         events/ folder or from a backup", path.display()
    )]
    Lost {
        /// The event.
        event: EventId,
        /// Its head.
        path: PathBuf,
    },
    /// No such event.
    #[error("there is no event {0}; list the events at /v1/events")]
    Unknown(EventId),
    /// All numbers are used.
    #[error("all event numbers are used; start with a new data directory")]
    NoNumbersLeft,
}

/// Everything that kept the catalogue from being read.
#[derive(Debug)]
pub struct LoadErrors(pub Vec<CatalogueError>);

impl std::fmt::Display for LoadErrors {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "the catalogue cannot be read:")?;
        self.0.iter().try_for_each(|error| write!(f, "\n  {error}"))
    }
}

impl std::error::Error for LoadErrors {}

/// All events. Shared between threads of the HTTP side; shard cores never touch it.
#[derive(Debug)]
pub struct Catalogue {
    folder: PathBuf,
    events: RwLock<BTreeMap<EventId, Arc<Event>>>,
    /// The next number. Locked only to take one, and while a head is rewritten.
    next: Mutex<u64>,
    /// Told of every change, once it is durable.
    changed: OnceLock<Changed>,
}

/// Who wants to know of changed files.
struct Changed(Box<dyn Fn() + Send + Sync>);

impl std::fmt::Debug for Changed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Changed")
    }
}

impl Catalogue {
    /// Reads `data`/events, which is made if it is absent. Every file is checked.
    pub fn open(data: &Path) -> Result<Self, LoadErrors> {
        let folder = data.join("events");
        let failed = |source| CatalogueError::File { path: folder.clone(), source };
        std::fs::create_dir_all(&folder)
            .and_then(|()| files::sync_folder(data))
            .map_err(|source| LoadErrors(vec![failed(source)]))?;
        let (listing, events) = load(&folder, true)?;
        files::seal_all(&folder, &listing.ids).map_err(|error| LoadErrors(vec![error]))?;
        listing.clear();
        for &id in &listing.headless {
            let path = folder.join(files::archive_name(id));
            tracing::warn!(path = %path.display(), "an archive of an event that is not known; it is left alone");
        }
        // The number of an archive without an event is not given to another one either.
        let highest = listing.ids.iter().chain(&listing.headless).max().copied().unwrap_or(0);
        Ok(Self {
            folder,
            events: RwLock::new(events),
            next: Mutex::new(u64::from(highest) + 1),
            changed: OnceLock::new(),
        })
    }

    /// [`Self::open`] for a log that has these events. What an unfinished creation has left is not cleared away before
    /// each of them has a head.
    pub fn of_log(data: &Path, logged: impl Iterator<Item = EventId>) -> Result<Self, LoadErrors> {
        let lost = lost(data, logged);
        if lost.is_empty() { Self::open(data) } else { Err(LoadErrors(lost)) }
    }

    /// Whether [`Self::of_log`] would read `data`/events, if it is there. Changes nothing.
    pub fn check(data: &Path, logged: impl Iterator<Item = EventId>) -> Result<(), LoadErrors> {
        let (lost, folder) = (lost(data, logged), data.join("events"));
        if !lost.is_empty() {
            return Err(LoadErrors(lost));
        }
        if folder.exists() { load(&folder, false).map(drop) } else { Ok(()) }
    }

    /// A catalogue whose files somebody else writes into `data`/events: empty until it is [refreshed](Self::refresh).
    /// What is unfinished there is left alone.
    pub fn followed(data: &Path) -> Self {
        Self {
            folder: data.join("events"),
            events: RwLock::default(),
            next: Mutex::new(0),
            changed: OnceLock::new(),
        }
    }

    /// Takes in what has been written into the folder since, for a catalogue that is [followed](Self::followed). The
    /// events that have changed. One that cannot be read stays as it was known. Blocks on the disk.
    pub fn refresh(&self) -> Result<Vec<EventId>, LoadErrors> {
        let ids = files::heads(&self.folder).map_err(|error| LoadErrors(vec![error]))?;
        let (mut changed, mut errors) = (Vec::new(), Vec::new());
        for id in ids {
            match self.take_in(id) {
                Ok(true) => changed.push(id),
                Ok(false) => {}
                Err(error) => errors.push(error),
            }
        }
        if errors.is_empty() { Ok(changed) } else { Err(LoadErrors(errors)) }
    }

    /// Takes in an event as its files have it now; whether that is new. The plan is not looked at: nobody who follows
    /// reads it.
    fn take_in(&self, id: EventId) -> Result<bool, CatalogueError> {
        let head = files::read_head(&self.folder, id)?;
        let known = self.get(id);
        if head.state == Standing::Abandoned {
            let mut events = self.events.write().unwrap_or_else(PoisonError::into_inner);
            return Ok(events.remove(&id).is_some());
        }
        let map = self.map_of(&head, known.as_deref());
        if let Some(known) = known
            && known.head == head
            && known.map.in_memory().is_some() == map.in_memory().is_some()
        {
            return Ok(false);
        }
        let event = Arc::new(Event { head, map });
        self.events.write().unwrap_or_else(PoisonError::into_inner).insert(id, event);
        Ok(true)
    }

    /// The map of an event that gets this head: in memory while it may be sold. One that cannot be read now is read when
    /// somebody asks, who is told then.
    fn map_of(&self, head: &Head, known: Option<&Event>) -> SeatMap {
        if head.state == Standing::Archived {
            return SeatMap::lent();
        }
        let known = known.filter(|known| known.head.map_file == head.map_file);
        let known = known.and_then(|known| known.map.in_memory());
        let read = || files::read(&self.folder.join(files::map_name(head.id)), head.map_file).ok();
        known.or_else(|| read().map(Bytes::from_owner)).map_or_else(SeatMap::lent, SeatMap::kept)
    }

    /// An event's seat map as JSON, as it was written. May block on the disk if it is not [in memory](Event::map_in_memory).
    pub fn map(&self, event: &Event) -> Result<Bytes, CatalogueError> {
        let path = self.folder.join(files::map_name(event.id()));
        event.map.get(|| files::read(&path, event.head.map_file))
    }

    /// Writes a new event, in state draft. Blocks on the disk: not for an async thread, nor a shard.
    pub fn create(
        &self,
        name: &str,
        plan: &Plan,
        rules: EventRules,
        now_ms: Millis,
    ) -> Result<Arc<Event>, CatalogueError> {
        let id = {
            let mut next = self.lock_next();
            let id = EventId::try_from(*next).ok().filter(|id| *id < MAX_EVENT);
            let id = id.ok_or(CatalogueError::NoNumbersLeft)?;
            *next += 1;
            id
        };
        let mut head = Head::new(id, name, plan, rules, now_ms);
        head.plan_file = files::write(&self.folder, &files::plan_name(id), |out| {
            serde_json::to_writer(out, plan).map_err(std::io::Error::from)
        })?;
        let mut spans = Vec::new();
        head.map_file = files::write(&self.folder, &files::map_name(id), |out| {
            spans = map::write(out, &head, plan)?;
            Ok(())
        })?;
        head.map_sections = spans;
        let event = self.commit(head)?;
        self.tell();
        self.events.write().unwrap_or_else(PoisonError::into_inner).insert(id, Arc::clone(&event));
        Ok(event)
    }

    /// Notes the state that an operator asked for, once the shards have taken it. Blocks on the disk.
    pub fn set_state(
        &self,
        id: EventId,
        state: EventState,
        now_ms: Millis,
    ) -> Result<Arc<Event>, CatalogueError> {
        let _one_writer = self.lock_next();
        let old = self.get(id).ok_or(CatalogueError::Unknown(id))?;
        let closed_ms = old.head.closed_ms.or((state == EventState::Closed).then_some(now_ms));
        let head = Head { state: Standing::of(state), closed_ms, ..old.head.clone() };
        files::write_head(&self.folder, &head)?;
        self.tell();
        let map = self.map_of(&head, Some(&old));
        let event = Arc::new(Event { head, map });
        self.events.write().unwrap_or_else(PoisonError::into_inner).insert(id, Arc::clone(&event));
        Ok(event)
    }

    /// The data directory.
    pub(crate) fn data(&self) -> &Path {
        self.folder.parent().unwrap_or(&self.folder)
    }

    /// Where the events' files are.
    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Where an event's head lies.
    pub(crate) fn head_path(&self, id: EventId) -> PathBuf {
        self.folder.join(files::head_name(id))
    }

    /// Writes an event's head anew if the file is not what is known here; what is there now is kept below `damaged/`. What was
    /// wrong with it, if anything was. Blocks on the disk.
    pub(crate) fn mend_head(&self, id: EventId) -> Result<Option<String>, CatalogueError> {
        let _one_writer = self.lock_next();
        // Taken back meanwhile.
        let Some(event) = self.get(id) else { return Ok(None) };
        let why = match files::read_head(&self.folder, id) {
            Ok(head) if head == event.head => return Ok(None),
            Ok(_) => "it is good, and not the one that was written last".to_owned(),
            Err(error) => cause(error),
        };
        self.write_anew(&files::head_name(id), || files::write_head(&self.folder, &event.head))?;
        Ok(Some(why))
    }

    /// The same of an event's map, if it is in memory.
    pub(crate) fn mend_map(&self, id: EventId) -> Result<Option<String>, CatalogueError> {
        use std::io::Write;
        let _one_writer = self.lock_next();
        let Some(event) = self.get(id) else { return Ok(None) };
        let Some(map) = event.map_in_memory() else { return Ok(None) };
        let name = files::map_name(id);
        let Err(error) = files::check(&self.folder.join(&name), event.head.map_file) else { return Ok(None) };
        self.write_anew(&name, || files::write(&self.folder, &name, |out| out.write_all(&map)).map(drop))?;
        Ok(Some(cause(error)))
    }

    /// Lets `write` put a file in the place of what has its name now, whatever that is, which is kept below `damaged/`.
    fn write_anew(
        &self,
        name: &str,
        write: impl FnOnce() -> Result<(), CatalogueError>,
    ) -> Result<(), CatalogueError> {
        let path = self.folder.join(name);
        let failed = |source| CatalogueError::File { path: path.clone(), source };
        std::fs::create_dir_all(&self.folder).map_err(failed)?;
        // A link that leads nowhere is there, too.
        let is_there = || path.symlink_metadata().is_ok();
        let keep = || keep_aside(self.data(), &path, name, "damaged").map_err(failed);
        let kept = is_there().then(keep).transpose()?;
        if let Err(error) = write() {
            // It is tried again and again: one copy of what is there is enough.
            if let Some(kept) = kept.filter(|_| is_there()) {
                files::remove(&kept);
            }
            return Err(error);
        }
        self.tell();
        Ok(())
    }

    /// Where an event's archive lies, if it has one.
    pub fn archive_path(&self, id: EventId) -> PathBuf {
        self.folder.join(files::archive_name(id))
    }

    /// Writes an event's archive, durably, in place of one that may be there. Blocks on the disk.
    pub fn write_archive(&self, id: EventId, header: &[u8], body: &[u8]) -> Result<(), CatalogueError> {
        use std::io::Write;
        files::write(&self.folder, &files::archive_name(id), |out| {
            out.write_all(header)?;
            out.write_all(body)
        })?;
        self.tell();
        Ok(())
    }

    /// Takes back an event that the shards refused. Its number stays used: some shard may know it.
    pub fn abandon(&self, id: EventId) -> Result<(), CatalogueError> {
        let _one_writer = self.lock_next();
        let old = self.get(id).ok_or(CatalogueError::Unknown(id))?;
        files::write_head(&self.folder, &Head { state: Standing::Abandoned, ..old.head.clone() })?;
        self.tell();
        self.events.write().unwrap_or_else(PoisonError::into_inner).remove(&id);
        files::remove_parts(&self.folder, id);
        Ok(())
    }

    /// From now on `changed` is called after every change of a file, before anybody is told of it.
    pub fn on_change(&self, changed: impl Fn() + Send + Sync + 'static) {
        let _ = self.changed.set(Changed(Box::new(changed)));
    }

    fn tell(&self) {
        if let Some(Changed(tell)) = self.changed.get() {
            tell();
        }
    }

    /// The event of this number.
    pub fn get(&self, id: EventId) -> Option<Arc<Event>> {
        self.events.read().unwrap_or_else(PoisonError::into_inner).get(&id).cloned()
    }

    /// The events whose name or plan's name has all words of `text` in it (empty: all), and that are in
    /// `state` (`None`: any), by rising number.
    pub fn search(&self, text: &str, state: Option<EventState>) -> Vec<Arc<Event>> {
        let words: Vec<String> = text.split_whitespace().map(str::to_lowercase).collect();
        let fits = |event: &Event| {
            let names = format!("{} {}", event.name(), event.plan_name()).to_lowercase();
            state.is_none_or(|state| state == event.state()) && words.iter().all(|word| names.contains(word))
        };
        let events = self.events.read().unwrap_or_else(PoisonError::into_inner);
        events.values().filter(|event| fits(event)).cloned().collect()
    }

    /// Reads an event's plan from its file: for giving an event again to shards that do not know it.
    pub fn plan(&self, id: EventId) -> Result<Plan, CatalogueError> {
        let event = self.get(id).ok_or(CatalogueError::Unknown(id))?;
        let path = self.folder.join(files::plan_name(id));
        let bytes = files::read(&path, event.head.plan_file)?;
        serde_json::from_slice(&bytes)
            .map_err(|error| CatalogueError::Damaged { path, why: error.to_string() })
    }

    fn commit(&self, head: Head) -> Result<Arc<Event>, CatalogueError> {
        files::write_head(&self.folder, &head)?;
        let map = files::read(&self.folder.join(files::map_name(head.id)), head.map_file)?;
        Ok(Arc::new(Event { head, map: SeatMap::kept(Bytes::from_owner(map)) }))
    }

    fn lock_next(&self) -> MutexGuard<'_, u64> {
        self.next.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// For a standby that has taken in all of its primary's files: from when on a head of `data`/events must have a checksum.
pub(crate) fn note_if_sealed(data: &Path) -> Result<(), CatalogueError> {
    files::note_if_sealed(&data.join("events"))
}

/// Events of the log whose heads are not in `data`/events, each once.
fn lost(data: &Path, logged: impl Iterator<Item = EventId>) -> Vec<CatalogueError> {
    let logged: BTreeSet<EventId> = logged.collect();
    let head = |event| (event, data.join("events").join(files::head_name(event)));
    // What is there and cannot be read is damaged, not missing.
    let missing = logged.into_iter().map(head).filter(|(_, path)| path.symlink_metadata().is_err());
    missing.map(|(event, path)| CatalogueError::Lost { event, path }).collect()
}

/// What keeps `data`/events from being served from, by file: as [`Catalogue::check`], and cheap to ask again and again, for
/// a file is read only if it has changed.
pub(crate) fn damage(
    shelf: &mut sound::Shelf,
    data: &Path,
    logged: impl Iterator<Item = EventId>,
) -> Vec<String> {
    let folder = data.join("events");
    let foreign = |path| {
        let why = "no file here has such a name".to_owned();
        CatalogueError::Foreign { path, why }.to_string()
    };
    let mut faults = sound::damage(shelf, &folder);
    faults.extend(lost(data, logged).iter().map(ToString::to_string));
    faults.extend(verify::foreign(&folder).into_iter().map(foreign));
    faults
}

/// So many faults are named.
const NAMED: usize = 3;

/// What is wrong, if anything is: the first few, and how many more there are.
pub(crate) fn in_words(faults: &[String]) -> Option<String> {
    let named = faults.iter().take(NAMED).map(String::as_str).collect::<Vec<_>>().join("; ");
    match faults.len() {
        0 => None,
        all @ ..=NAMED => Some(if all == 1 { named } else { format!("{all} files: {named}") }),
        all => {
            Some(format!("{all} files: {named}; and {} more (`frontrow wal verify` names all)", all - NAMED))
        }
    }
}

/// What is wrong with a file, without what to do: it is about to be done.
fn cause(error: CatalogueError) -> String {
    match error {
        CatalogueError::Damaged { why, .. } => why,
        CatalogueError::File { source, .. } => source.to_string(),
        other => other.to_string(),
    }
}

/// Reads all events of a folder and checks their files; changes nothing. `keep`: the maps, too.
fn load(folder: &Path, keep: bool) -> Result<(files::Listing, BTreeMap<EventId, Arc<Event>>), LoadErrors> {
    let mut listing = files::list(folder).map_err(|error| LoadErrors(vec![error]))?;
    let (mut events, mut errors) = (BTreeMap::new(), std::mem::take(&mut listing.foreign));
    for &id in &listing.ids {
        match load_event(folder, id, keep) {
            Ok(Some(event)) => {
                events.insert(id, Arc::new(event));
            }
            Ok(None) => {}
            Err(error) => errors.push(error),
        }
    }
    if errors.is_empty() { Ok((listing, events)) } else { Err(LoadErrors(errors)) }
}

/// `None` for an abandoned event: only its number counts.
fn load_event(folder: &Path, id: EventId, keep: bool) -> Result<Option<Event>, CatalogueError> {
    let head = files::read_head(folder, id)?;
    if head.state == Standing::Abandoned {
        return Ok(None);
    }
    files::check(&folder.join(files::plan_name(id)), head.plan_file)?;
    let path = folder.join(files::map_name(id));
    let map = if keep && head.state != Standing::Archived {
        SeatMap::kept(Bytes::from_owner(files::read(&path, head.map_file)?))
    } else {
        files::check(&path, head.map_file)?;
        SeatMap::lent()
    };
    Ok(Some(Event { head, map }))
}
