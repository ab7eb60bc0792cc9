//! Whether the catalogue's files are what was written: for whoever copies them, and for whoever only looks.
//!
//! A head must be one, an archive has checksums of its own, plan and map are what their head says. Nothing is changed
//! here, and a file that cannot be read is no error but a damaged file.

use std::collections::{HashMap, HashSet};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use frontrow_shard::EventId;
use frontrow_wal::regular;

use super::files;
use super::head::{Head, Stamp, Standing};
use super::sealed::{self, Seal};
use crate::cold::{Cold, ColdFileError, FileIdentity};

/// What to do about a file that is damaged or missing.
pub(super) const REMEDY: &str = "put it back from the other node's events/ folder or from a backup";

/// Which of an event's files. In the order in which they are copied: the head makes the event exist.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Part {
    Plan,
    Map,
    Archive,
    Head,
}

/// The event and part of a file with this name; `None` for any other file.
pub(crate) fn part_of(name: &str) -> Option<(EventId, Part)> {
    let (id, rest) = name.split_once('.')?;
    let event = id.parse().ok().filter(|event: &EventId| *event > 0 && event.to_string() == id)?;
    let part = match rest {
        "json" => Part::Head,
        "plan.json" => Part::Plan,
        "map.json" => Part::Map,
        "archive" => Part::Archive,
        _ => return None,
    };
    Some((event, part))
}

/// What a head says of its event's files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Said {
    created_ms: u64,
    plan: Stamp,
    map: Stamp,
    pub(super) standing: Standing,
    /// Whether it has a checksum of its own.
    sealed: bool,
}

impl Said {
    fn of(head: &Head, bytes: &[u8]) -> Self {
        let (plan, map) = (head.plan_file, head.map_file);
        let sealed = sealed::look(bytes) == Seal::Whole;
        Self { created_ms: head.created_ms, plan, map, standing: head.state, sealed }
    }

    /// Whether `new` may take its place without a copy: these are two states of one event, not two events of one number,
    /// and the new one speaks for itself if the old one did.
    pub(crate) fn gives_way_to(&self, new: &Self) -> bool {
        (self.created_ms, self.plan, self.map) == (new.created_ms, new.plan, new.map)
            && (new.sealed || !self.sealed)
    }

    /// Whether its plan or map has this length and checksum.
    pub(crate) fn fits(&self, part: Part, (len, crc): (u64, u32)) -> bool {
        let stamp = if part == Part::Map { self.map } else { self.plan };
        (stamp.bytes, stamp.crc32c) == (len, crc)
    }
}

/// A file by itself.
#[derive(Clone, Debug)]
pub(crate) struct Looked {
    /// Its length and CRC-32C; zero if it is damaged.
    pub(crate) stamp: (u64, u32),
    /// What it says, if it is a head.
    pub(crate) said: Option<Said>,
    /// What is wrong with it.
    pub(crate) fault: Option<String>,
}

impl Looked {
    fn bad(why: String) -> Self {
        Self { stamp: (0, 0), said: None, fault: Some(why) }
    }
}

/// Reads a file as this part of `event`. Errors: there is none.
pub(crate) fn look(path: &Path, (event, part): (EventId, Part), cluster: u128) -> io::Result<Looked> {
    let good =
        |bytes: &[u8], said| Looked { stamp: (bytes.len() as u64, crc32c::crc32c(bytes)), said, fault: None };
    let bad = |why: String| Ok(Looked::bad(why));
    if part == Part::Archive {
        return match Cold::open(path, cluster, event) {
            Ok(cold) => Ok(good(cold.bytes(), None)),
            Err(ColdFileError::Missing { .. }) => Err(ErrorKind::NotFound.into()),
            Err(error) => bad(error.to_string()),
        };
    }
    let bytes = match regular::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == ErrorKind::NotFound => return Err(error),
        Err(error) => return bad(files::failed(path)(error).to_string()),
    };
    match part {
        Part::Head => match files::decode_head(path, event, &bytes) {
            Ok(head) => Ok(good(&bytes, Some(Said::of(&head, &bytes)))),
            Err(error) => bad(error.to_string()),
        },
        _ => Ok(good(&bytes, None)),
    }
}

/// What is to be thought of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Good,
    /// A plan or map without a good head to say what it should be.
    Unknown,
    Bad(String),
}

/// A file that was found.
#[derive(Debug)]
pub(crate) struct Found {
    pub(crate) name: String,
    pub(crate) place: (EventId, Part),
    pub(crate) stamp: (u64, u32),
    pub(crate) verdict: Verdict,
    pub(crate) said: Option<Said>,
}

/// A folder's files and what is in them; a file is read again only if it has changed.
pub(crate) struct Shelf {
    cluster: u128,
    known: HashMap<String, (FileIdentity, Looked)>,
    /// Called whenever a file has been read.
    tell: Option<Box<dyn Fn() + Send>>,
}

impl Shelf {
    /// A shelf of this cluster's events; nothing has been looked at.
    pub(crate) fn new(cluster: u128) -> Self {
        Self { cluster, known: HashMap::new(), tell: None }
    }

    /// The same, which calls `tell` whenever a file has been read.
    pub(crate) fn telling(self, tell: impl Fn() + Send + 'static) -> Self {
        Self { tell: Some(Box::new(tell)), ..self }
    }

    /// All finished files, by event; of each the head comes last.
    pub(crate) fn list(&mut self, folder: &Path) -> io::Result<Vec<Found>> {
        self.list_of(folder, |_| true)
    }

    /// The same of some parts only: the others are not read.
    fn list_of(&mut self, folder: &Path, wanted: impl Fn(Part) -> bool) -> io::Result<Vec<Found>> {
        let mut looked = Vec::new();
        for (path, place) in names(folder)?.into_iter().filter(|(_, place)| wanted(place.1)) {
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            match self.look(&path, &name, place) {
                Ok(it) => looked.push((name, place, it)),
                // Taken back meanwhile.
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        let heads = looked.iter().filter_map(|(_, (event, _), it)| Some((*event, it.said?)));
        let heads: HashMap<EventId, Said> = heads.collect();
        let found = |(name, place, it): (String, (EventId, Part), Looked)| {
            let verdict = judge(place.1, &it, heads.get(&place.0));
            Found { name, place, stamp: it.stamp, verdict, said: it.said }
        };
        Ok(looked.into_iter().map(found).collect())
    }

    /// Errors: there is none.
    fn look(&mut self, path: &Path, name: &str, place: (EventId, Part)) -> io::Result<Looked> {
        let about = match std::fs::metadata(path) {
            Ok(about) => about,
            // What is there and leads nowhere, or in a circle, or to a disk that does not answer.
            Err(error) if path.symlink_metadata().is_ok() => {
                return Ok(Looked::bad(format!("{}: {error}; {REMEDY}", path.display())));
            }
            Err(error) if error.kind() == ErrorKind::NotFound => return Err(error),
            Err(error) => return Ok(Looked::bad(format!("{}: {error}; check the disk", path.display()))),
        };
        let identity = FileIdentity::of(&about);
        if let Some((known, looked)) = self.known.get(name)
            && *known == identity
        {
            return Ok(looked.clone());
        }
        let looked = look(path, place, self.cluster)?;
        self.tell.iter().for_each(|tell| tell());
        self.known.insert(name.to_owned(), (identity, looked.clone()));
        Ok(looked)
    }
}

/// Events whose map is not what their head in this folder says, or not there.
pub(super) fn maps_not_good(shelf: &mut Shelf, folder: &Path) -> Vec<EventId> {
    // A folder that cannot be read is told of by who looks for all damage.
    let found = shelf.list_of(folder, |part| matches!(part, Part::Head | Part::Map)).unwrap_or_default();
    let good: HashSet<EventId> = found
        .iter()
        .filter(|it| it.place.1 == Part::Map && it.verdict == Verdict::Good)
        .map(|it| it.place.0)
        .collect();
    let is_on = |it: &&Found| it.said.is_some_and(|said| said.standing != Standing::Abandoned);
    found.iter().filter(is_on).map(|it| it.place.0).filter(|event| !good.contains(event)).collect()
}

/// Why a node could not serve from the files in a folder: those that are damaged or missing. Archives are not asked for:
/// only who looks at their events needs them.
pub(super) fn damage(shelf: &mut Shelf, folder: &Path) -> Vec<String> {
    let found = match shelf.list_of(folder, |part| part != Part::Archive) {
        Ok(found) => found,
        Err(error) => return vec![format!("{}: {error}; check the disk", folder.display())],
    };
    let has = |event, part| found.iter().any(|it| it.place == (event, part));
    let missing = |it: &Found| {
        let whole = it.said.is_some_and(|said| said.standing != Standing::Abandoned);
        let event = it.place.0;
        let names = [(Part::Plan, files::plan_name(event)), (Part::Map, files::map_name(event))];
        let lost = names.into_iter().filter(move |(part, _)| whole && !has(event, *part));
        lost.map(|(_, name)| format!("{} is missing; {REMEDY}", folder.join(name).display()))
    };
    let bad = found.iter().filter_map(|it| match &it.verdict {
        Verdict::Bad(why) => Some(named(&folder.join(&it.name), why)),
        _ => None,
    });
    bad.chain(found.iter().flat_map(missing)).collect()
}

/// What is wrong with a file, which is named once: some errors do so themselves.
fn named(path: &Path, why: &str) -> String {
    let name = path.display().to_string();
    if why.starts_with(&name) { why.to_owned() } else { format!("{name}: {why}") }
}

/// The catalogue's files in a folder, by event and part. None, if there is no folder.
fn names(folder: &Path) -> io::Result<Vec<(PathBuf, (EventId, Part))>> {
    let mut found = Vec::new();
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(found),
        Err(error) => return Err(error),
    };
    for entry in entries {
        let path = entry?.path();
        if let Some(place) = path.file_name().and_then(|name| name.to_str()).and_then(part_of) {
            found.push((path, place));
        }
    }
    found.sort_by_key(|(_, place)| *place);
    Ok(found)
}

/// What is to be thought of a file, beside the head of its event.
pub(crate) fn judge(part: Part, it: &Looked, head: Option<&Said>) -> Verdict {
    match (&it.fault, part, head) {
        (Some(why), ..) => Verdict::Bad(why.clone()),
        (None, Part::Plan | Part::Map, None) => Verdict::Unknown,
        (None, Part::Plan | Part::Map, Some(head)) if !head.fits(part, it.stamp) => {
            Verdict::Bad(format!("it has other bytes than its event's head says; {REMEDY}"))
        }
        _ => Verdict::Good,
    }
}
