//! The catalogue's files on their way: what there is, what the standby lacks, and how it takes a file in.
//!
//! Neither node trusts a disk. What is sent is checked before, what arrives is checked before it has a name, and what it
//! replaces is kept aside unless it is an older state of the same head. A file that is damaged is spoken of as one of
//! length 0, which no file of a catalogue has: the standby asks for another one by that, and the primary says by it
//! that it has none to give.

use crate::catalogue::keep_aside;
use crate::catalogue::sound::{self, Found, Looked, Part, Said, Shelf, Verdict, part_of};
use frontrow_shard::EventId;
use frontrow_wal::regular::{self, no_file};
use frontrow_wal::stream::FileMeta;
use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// What an unfinished file's name ends in; the catalogue clears such files away.
const UNFINISHED: &str = ".new";
/// The largest file that is taken in: far beyond any plan.
const FILE_BYTES_MAX: u64 = 4 << 30;

/// A file as its name, length and checksum.
pub(super) fn meta_of(found: &Found) -> FileMeta {
    let (len, crc) = found.stamp;
    FileMeta { name: found.name.clone(), len, crc }
}

/// How a damaged file is spoken of.
pub(super) fn damaged(name: &str) -> FileMeta {
    FileMeta { name: name.to_owned(), len: 0, crc: 0 }
}

/// Which files a standby has, to be told to its primary. The shelf is to outlive a connection on which the
/// primary would not wait until all was read: the next one goes on from there.
pub(super) fn listed(shelf: &mut Shelf, folder: &Path) -> io::Result<Vec<FileMeta>> {
    let tell = |found: &Found| match &found.verdict {
        Verdict::Bad(why) => {
            let file = &found.name;
            tracing::error!(%file, %why, "a file of the catalogue is damaged here; the primary is asked for its own");
            damaged(file)
        }
        Verdict::Good | Verdict::Unknown => meta_of(found),
    };
    Ok(shelf.list(folder)?.iter().map(tell).collect())
}

/// What a primary does about one of its files.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Deed {
    /// The standby has it, or it is of an event that is only coming to be.
    Nothing,
    /// It is to be sent.
    Send(FileMeta),
    /// It is damaged here, which the standby is to be told.
    Confess(FileMeta),
}

/// Holds a file of this node against what the standby said of its own, and logs where they differ.
pub(super) fn deed(folder: &Path, found: &Found, there: Option<&FileMeta>) -> Deed {
    let file = &found.name;
    match &found.verdict {
        Verdict::Unknown => Deed::Nothing,
        Verdict::Bad(why) => {
            let (path, data) = (folder.join(file), folder.parent().unwrap_or(folder));
            let at = path.display();
            let aside = data.join(format!("{file}.part"));
            let aside = aside.display();
            if there.is_some_and(|there| there.len > 0) {
                tracing::error!(
                    %file, %why,
                    "a file of the catalogue is damaged here and is not sent; the standby has a good one: copy that from its \
                     events/ folder to {aside}, then `mv {aside} {at}`"
                );
            } else {
                tracing::error!(
                    %file, %why,
                    "a file of the catalogue is damaged here and is not sent, and the standby has no good one: put one from a \
                     backup at {aside}, then `mv {aside} {at}`"
                );
            }
            Deed::Confess(damaged(file))
        }
        Verdict::Good => {
            let meta = meta_of(found);
            match there {
                Some(there) if *there == meta => return Deed::Nothing,
                Some(there) if there.len == 0 => {
                    tracing::warn!(%file, "a file of the catalogue is damaged at the standby; it is sent again");
                }
                // A head changes with its event's state.
                Some(_) if found.place.1 != Part::Head => {
                    tracing::warn!(
                        %file,
                        "the standby has another file of this name: it is sent this one, and keeps what it had in cut/events/"
                    );
                }
                _ => {}
            }
            Deed::Send(meta)
        }
    }
}

/// A file's bytes, if it is still what `meta` says.
pub(super) fn read(folder: &Path, meta: &FileMeta) -> io::Result<Option<Vec<u8>>> {
    match regular::read(&folder.join(&meta.name)) {
        Ok(bytes) => {
            let same = bytes.len() as u64 == meta.len && crc32c::crc32c(&bytes) == meta.crc;
            Ok(same.then_some(bytes))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound || no_file(&error).is_some() => Ok(None),
        Err(error) => Err(error),
    }
}

/// Takes files in, one after the other, piece by piece.
pub(super) struct Intake {
    data: PathBuf,
    folder: PathBuf,
    cluster: u128,
    open: Option<Open>,
    /// Plans and maps that are not what the head here says: they wait, unfinished, for a head that does.
    waiting: HashMap<String, FileMeta>,
}

struct Open {
    meta: FileMeta,
    file: File,
    at: u64,
    crc: u32,
}

impl Intake {
    /// Takes files into `data`/events, of this cluster.
    pub(super) fn new(data: &Path, cluster: u128) -> Self {
        let (data, folder) = (data.to_path_buf(), data.join("events"));
        Self { data, folder, cluster, open: None, waiting: HashMap::new() }
    }

    /// Takes one piece. With the last one the file is whole; if it is good it is made durable and has its name.
    /// What is not good is logged, and what was there stays.
    pub(super) fn take(&mut self, meta: &FileMeta, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let bad =
            |why: &str| Err(io::Error::new(io::ErrorKind::InvalidData, format!("{}: {why}", meta.name)));
        let Some(place) = part_of(&meta.name).filter(|_| meta.len <= FILE_BYTES_MAX) else {
            return bad("no file of a catalogue");
        };
        if meta.len == 0 {
            self.hear_of_damage(&meta.name);
            return Ok(());
        }
        let unfinished = self.unfinished(&meta.name);
        if offset == 0 {
            std::fs::create_dir_all(&self.folder)?;
            let file = regular::create(&unfinished)?;
            self.open = Some(Open { meta: meta.clone(), file, at: 0, crc: 0 });
        }
        let Some(open) = self.open.as_mut().filter(|open| open.meta == *meta && open.at == offset) else {
            return bad("its pieces do not follow on each other");
        };
        open.file.write_all(bytes)?;
        open.at += bytes.len() as u64;
        open.crc = crc32c::crc32c_append(open.crc, bytes);
        if open.at < meta.len {
            return Ok(());
        }
        if open.at > meta.len || open.crc != meta.crc {
            return bad("it is not what it was said to be");
        }
        open.file.sync_all()?;
        self.open = None;
        self.settle(meta, place)
    }

    fn unfinished(&self, name: &str) -> PathBuf {
        self.folder.join(format!("{name}{UNFINISHED}"))
    }

    fn hear_of_damage(&self, file: &str) {
        let path = self.folder.join(file);
        if path.exists() {
            tracing::error!(
                %file,
                "the primary's own is damaged; the one here is kept: copy {} to the primary, its log says where to",
                path.display()
            );
        } else {
            tracing::error!(%file, "the primary's own is damaged, and there is none here");
        }
    }

    /// A file has arrived as it was sent. Whether it is what it should be is looked at before it replaces anything.
    fn settle(&mut self, meta: &FileMeta, place: (EventId, Part)) -> io::Result<()> {
        let (event, part) = place;
        if matches!(part, Part::Plan | Part::Map) {
            if self.head(event)?.is_some_and(|head| head.fits(part, (meta.len, meta.crc))) {
                return self.put(&meta.name, place, None);
            }
            self.waiting.insert(meta.name.clone(), meta.clone());
            return Ok(());
        }
        let unfinished = self.unfinished(&meta.name);
        let looked = sound::look(&unfinished, place, self.cluster)?;
        if let Some(why) = looked.fault {
            let file = &meta.name;
            tracing::error!(%file, %why, "the primary has sent a damaged file: it is not taken, and what was here stays");
            return std::fs::remove_file(unfinished);
        }
        if let Some(head) = looked.said {
            self.put_what_waits(event, &head)?;
        }
        self.put(&meta.name, place, looked.said)
    }

    /// A head has come: the plan and map that came before it are taken if they are what it says.
    fn put_what_waits(&mut self, event: EventId, head: &Said) -> io::Result<()> {
        for (part, name) in
            [(Part::Plan, format!("{event}.plan.json")), (Part::Map, format!("{event}.map.json"))]
        {
            let Some(meta) = self.waiting.remove(&name) else { continue };
            if head.fits(part, (meta.len, meta.crc)) {
                self.put(&name, (event, part), None)?;
            } else {
                tracing::error!(file = %name, "it is not what its event's head says: it is not taken, and what was here stays");
                std::fs::remove_file(self.unfinished(&name))?;
            }
        }
        Ok(())
    }

    /// What the head here says, if there is a good one.
    fn head(&self, event: EventId) -> io::Result<Option<Said>> {
        let path = self.folder.join(format!("{event}.json"));
        Ok(self.look_at(&path, (event, Part::Head))?.and_then(|looked| looked.said))
    }

    fn look_at(&self, path: &Path, place: (EventId, Part)) -> io::Result<Option<Looked>> {
        match sound::look(path, place, self.cluster) {
            Ok(looked) => Ok(Some(looked)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Gives a file its name, durably. What had that name is kept, unless it is a head of the same event that gives way.
    fn put(&self, name: &str, place: (EventId, Part), new: Option<Said>) -> io::Result<()> {
        let (unfinished, path) = (self.unfinished(name), self.folder.join(name));
        let gives_way = |old: &Looked| old.said.zip(new).is_some_and(|(old, new)| old.gives_way_to(&new));
        if let Some(old) = self.look_at(&path, place)?.filter(|old| !gives_way(old)) {
            let head = if place.1 == Part::Head { None } else { self.head(place.0)? };
            let is_bad = matches!(sound::judge(place.1, &old, head.as_ref()), Verdict::Bad(_));
            let kept = keep_aside(&self.data, &path, name, if is_bad { "damaged" } else { "cut" })?;
            let (file, kept) = (name, kept.display());
            if is_bad {
                tracing::warn!(%file, %kept, "the damaged one is replaced by the primary's");
            } else {
                tracing::warn!(%file, %kept, "the primary has another one, which is taken; what was here is kept");
            }
        }
        std::fs::rename(&unfinished, path)?;
        File::open(&self.folder)?.sync_all()
    }
}

#[cfg(test)]
mod tests;
