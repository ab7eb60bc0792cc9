//! The catalogue's files on their way: what there is, what the standby lacks, and how it takes a file in.

use frontrow_wal::stream::FileMeta;
use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// What an unfinished file's name ends in; the catalogue clears such files away.
const UNFINISHED: &str = ".new";
/// The largest file that is taken in: far beyond any plan.
const FILE_BYTES_MAX: u64 = 4 << 30;

/// A folder's files and what is in them; a file is read again only if it has changed.
#[derive(Default)]
pub(super) struct Shelf {
    known: HashMap<String, (u64, SystemTime, FileMeta)>,
}

impl Shelf {
    /// All finished files; of each event the head comes last, for it is what makes the event exist.
    pub(super) fn list(&mut self, folder: &Path) -> io::Result<Vec<FileMeta>> {
        let mut found = Vec::new();
        let entries = match std::fs::read_dir(folder) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(found),
            Err(error) => return Err(error),
        };
        for entry in entries {
            let entry = entry?;
            let Some(name) = entry.file_name().to_str().map(str::to_owned) else { continue };
            if place(&name).is_none() {
                continue;
            }
            match self.look(&entry.path(), &name) {
                Ok(meta) => found.push(meta),
                // Taken back meanwhile.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        found.sort_by_key(|meta| place(&meta.name));
        Ok(found)
    }

    fn look(&mut self, path: &Path, name: &str) -> io::Result<FileMeta> {
        let about = std::fs::metadata(path)?;
        let (len, changed) = (about.len(), about.modified()?);
        if let Some((known_len, known_changed, meta)) = self.known.get(name)
            && (*known_len, *known_changed) == (len, changed)
        {
            return Ok(meta.clone());
        }
        let bytes = std::fs::read(path)?;
        let meta = FileMeta { name: name.to_owned(), len: bytes.len() as u64, crc: crc32c::crc32c(&bytes) };
        self.known.insert(name.to_owned(), (len, changed, meta.clone()));
        Ok(meta)
    }
}

/// The event of a file of the catalogue, and whether it is the head; `None` for any other file.
fn place(name: &str) -> Option<(u32, bool)> {
    let (id, rest) = name.split_once('.')?;
    let id = id.parse().ok()?;
    match rest {
        "json" => Some((id, true)),
        "plan.json" | "map.json" | "archive" => Some((id, false)),
        _ => None,
    }
}

/// A file's bytes, if it is still what `meta` says.
pub(super) fn read(folder: &Path, meta: &FileMeta) -> io::Result<Option<Vec<u8>>> {
    match std::fs::read(folder.join(&meta.name)) {
        Ok(bytes) => {
            let same = bytes.len() as u64 == meta.len && crc32c::crc32c(&bytes) == meta.crc;
            Ok(same.then_some(bytes))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Takes files in, one after the other, piece by piece.
pub(super) struct Intake {
    folder: PathBuf,
    open: Option<Open>,
}

struct Open {
    meta: FileMeta,
    file: File,
    at: u64,
    crc: u32,
}

impl Intake {
    pub(super) fn new(folder: PathBuf) -> Self {
        Self { folder, open: None }
    }

    /// Takes one piece. With the last one the file is whole, checked, durable, and has its name.
    pub(super) fn take(&mut self, meta: &FileMeta, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let bad =
            |why: &str| Err(io::Error::new(io::ErrorKind::InvalidData, format!("{}: {why}", meta.name)));
        if place(&meta.name).is_none() || meta.len > FILE_BYTES_MAX {
            return bad("no file of a catalogue");
        }
        let unfinished = self.folder.join(format!("{}{UNFINISHED}", meta.name));
        if offset == 0 {
            std::fs::create_dir_all(&self.folder)?;
            let file = OpenOptions::new().write(true).create(true).truncate(true).open(&unfinished)?;
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
        std::fs::rename(&unfinished, self.folder.join(&meta.name))?;
        File::open(&self.folder)?.sync_all()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_listed_here_is_taken_in_there() {
        let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        for (name, text) in [("7.json", "head"), ("7.archive", "cold"), ("7.archive.new", "half"), ("x", "")]
        {
            std::fs::write(from.path().join(name), text).unwrap();
        }
        let mut shelf = Shelf::default();
        let files = shelf.list(from.path()).unwrap();
        let names: Vec<&str> = files.iter().map(|meta| meta.name.as_str()).collect();
        assert_eq!(names, ["7.archive", "7.json"], "the head comes last");
        let mut intake = Intake::new(to.path().join("events"));
        for meta in &files {
            let bytes = read(from.path(), meta).unwrap().unwrap();
            intake.take(meta, 0, &bytes[..2]).unwrap();
            intake.take(meta, 2, &bytes[2..]).unwrap();
        }
        assert_eq!(Shelf::default().list(&to.path().join("events")).unwrap(), files);
    }

    #[test]
    fn a_file_that_is_not_what_it_was_said_to_be_gets_no_name() {
        let to = tempfile::tempdir().unwrap();
        let mut intake = Intake::new(to.path().to_path_buf());
        let meta = |name: &str, crc| FileMeta { name: name.into(), len: 4, crc };
        assert!(intake.take(&meta("7.json", 1), 0, b"head").is_err());
        assert!(intake.take(&meta("7.json", 1), 2, b"ad").is_err());
        assert!(intake.take(&meta("MANIFEST", crc32c::crc32c(b"head")), 0, b"head").is_err());
        assert!(Shelf::default().list(to.path()).unwrap().is_empty());
    }
}
