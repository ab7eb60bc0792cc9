//! The catalogue's files: written whole or not at all, checked when read.

use std::fs::File;
use std::io::{BufWriter, Read, Write};
use std::path::{Path, PathBuf};

use frontrow_shard::EventId;
use frontrow_wal::regular::{self, no_file};
use memmap2::{Mmap, MmapMut};
use serde_json::Value;

use super::head::{Head, MARK, Stamp};
use super::sealed::{self, Seal};
use super::{CatalogueError, UNSEALED, VERSION};

/// What an unfinished file's name ends in.
const UNFINISHED: &str = ".new";
/// Beside the folder, from when on every head in it has a checksum of its own: one without is damaged since.
const HEADS: &str = "HEADS";
/// The largest head that is read, in bytes.
const HEAD_BYTES_MAX: u64 = 64 << 20;

pub(super) fn head_name(id: EventId) -> String {
    format!("{id}.json")
}

pub(super) fn plan_name(id: EventId) -> String {
    format!("{id}.plan.json")
}

pub(super) fn map_name(id: EventId) -> String {
    format!("{id}.map.json")
}

pub(super) fn archive_name(id: EventId) -> String {
    format!("{id}.archive")
}

/// What is in the folder.
#[derive(Default)]
pub(super) struct Listing {
    pub(super) ids: Vec<EventId>,
    /// Events that have an archive and no head.
    pub(super) headless: Vec<EventId>,
    pub(super) foreign: Vec<CatalogueError>,
    /// What a crash left unfinished: it never was an event.
    leftovers: Vec<PathBuf>,
}

impl Listing {
    /// Removes what a crash left unfinished.
    pub(super) fn clear(&self) {
        self.leftovers.iter().for_each(|path| remove(path));
    }
}

/// Finds the heads. Changes nothing.
pub(super) fn list(folder: &Path) -> Result<Listing, CatalogueError> {
    let failed = |source| CatalogueError::File { path: folder.to_path_buf(), source };
    let mut listing = Listing::default();
    let mut parts = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let id = name.split('.').next().and_then(|stem| stem.parse::<EventId>().ok()).unwrap_or(0);
        if id == 0 {
            let why = "its name does not begin with an event's number".to_owned();
            listing.foreign.push(CatalogueError::Foreign { path, why });
        } else if name == head_name(id) {
            listing.ids.push(id);
        } else if name == archive_name(id) {
            listing.headless.push(id);
        } else if name == plan_name(id) || name == map_name(id) {
            parts.push((id, path));
        } else if name.ends_with(UNFINISHED) {
            listing.leftovers.push(path);
        } else {
            let why = "no file here has such a name".to_owned();
            listing.foreign.push(CatalogueError::Foreign { path, why });
        }
    }
    listing.ids.sort_unstable();
    // No creation leaves an archive: the head was lost, and the bookings in the archive are not to follow it.
    listing.headless.retain(|id| listing.ids.binary_search(id).is_err());
    let headless = parts.into_iter().filter(|(id, _)| listing.ids.binary_search(id).is_err());
    listing.leftovers.extend(headless.map(|(_, path)| path));
    Ok(listing)
}

/// The numbers of the events whose heads are there, by rising number. Nothing is removed; a folder that is not there
/// yet has none.
pub(super) fn heads(folder: &Path) -> Result<Vec<EventId>, CatalogueError> {
    let failed = |source| CatalogueError::File { path: folder.to_path_buf(), source };
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(failed(error)),
    };
    let mut ids = Vec::new();
    for entry in entries {
        let name = entry.map_err(failed)?.file_name();
        let id = name.to_str().and_then(|name| name.strip_suffix(".json")?.parse::<EventId>().ok());
        ids.extend(id.filter(|&id| id != 0));
    }
    ids.sort_unstable();
    Ok(ids)
}

/// Writes a file: under another name, synced, renamed, and the folder synced.
pub(super) fn write(
    folder: &Path,
    name: &str,
    fill: impl FnOnce(&mut BufWriter<Stamped>) -> std::io::Result<()>,
) -> Result<Stamp, CatalogueError> {
    let (path, unfinished) = (folder.join(name), folder.join(format!("{name}{UNFINISHED}")));
    let written = || -> std::io::Result<Stamp> {
        let file = regular::create(&unfinished)?;
        let mut out = BufWriter::with_capacity(1 << 18, Stamped { file, stamp: Stamp::default() });
        fill(&mut out)?;
        let Stamped { file, stamp } = out.into_inner().map_err(std::io::IntoInnerError::into_error)?;
        file.sync_all()?;
        std::fs::rename(&unfinished, &path)?;
        sync_folder(folder)?;
        Ok(stamp)
    };
    written().map_err(|source| {
        remove(&unfinished);
        CatalogueError::File { path: path.clone(), source }
    })
}

/// Makes names durable: a rename is not, until its folder is synced.
pub(super) fn sync_folder(folder: &Path) -> std::io::Result<()> {
    File::open(folder)?.sync_all()
}

pub(super) fn write_head(folder: &Path, head: &Head) -> Result<(), CatalogueError> {
    write(folder, &head_name(head.id), |out| out.write_all(&sealed::seal(serde_json::to_vec(head)?)))
        .map(|_| ())
}

pub(super) fn read_head(folder: &Path, id: EventId) -> Result<Head, CatalogueError> {
    let path = folder.join(head_name(id));
    let file = regular::open(&path).map_err(failed(&path))?;
    if file.metadata().map_err(failed(&path))?.len() > HEAD_BYTES_MAX {
        return Err(CatalogueError::Damaged { path, why: "it is far too large".to_owned() });
    }
    let mut bytes = Vec::new();
    file.take(HEAD_BYTES_MAX).read_to_end(&mut bytes).map_err(failed(&path))?;
    decode_head(&path, id, &bytes)
}

fn are_sealed(folder: &Path) -> bool {
    folder.with_file_name(HEADS).exists()
}

/// Gives each of these heads a checksum if it has none, and notes durably that all have one. Once: what comes later without
/// one was not written by a server of this data.
pub(super) fn seal_all(folder: &Path, ids: &[EventId]) -> Result<(), CatalogueError> {
    if are_sealed(folder) {
        return Ok(());
    }
    for &id in ids {
        if !is_sealed(folder, id)? {
            write_head(folder, &read_head(folder, id)?)?;
        }
    }
    note_sealed(folder)
}

/// For a folder that another node writes: the same note, if there are heads here and all have a checksum. Then a server that
/// knows of checksums writes them.
pub(super) fn note_if_sealed(folder: &Path) -> Result<(), CatalogueError> {
    let ids = if are_sealed(folder) { Vec::new() } else { heads(folder)? };
    for &id in &ids {
        if !is_sealed(folder, id)? {
            return Ok(());
        }
    }
    if ids.is_empty() { Ok(()) } else { note_sealed(folder) }
}

fn is_sealed(folder: &Path, id: EventId) -> Result<bool, CatalogueError> {
    let path = folder.join(head_name(id));
    let bytes = regular::read(&path).map_err(failed(&path))?;
    Ok(sealed::look(&bytes) == Seal::Whole)
}

fn note_sealed(folder: &Path) -> Result<(), CatalogueError> {
    let data = folder.parent().unwrap_or(folder);
    write(data, HEADS, |out| writeln!(out, "frontrow-heads {VERSION}")).map(|_| ())
}

/// The head of event `id` in these bytes, which are those of the file at `path`. A file of this name that is none is
/// a damaged head, not a foreign file: moved away, it would be missed.
pub(super) fn decode_head(path: &Path, id: EventId, bytes: &[u8]) -> Result<Head, CatalogueError> {
    let damaged = |why: &str| CatalogueError::Damaged { path: path.to_path_buf(), why: why.to_owned() };
    let seal = sealed::look(bytes);
    if seal == Seal::Broken {
        return Err(damaged("its checksum does not fit"));
    }
    let mut value: Value = match serde_json::from_slice(bytes) {
        Ok(value) => value,
        Err(error) if error.is_eof() => return Err(damaged("it is cut short")),
        Err(_) => return Err(damaged("it is not JSON")),
    };
    if value.get("frontrow").and_then(Value::as_str) != Some(MARK) {
        return Err(damaged("it is not marked as an event of Frontrow"));
    }
    let version = value.get("version").and_then(Value::as_u64).unwrap_or(0);
    if ![UNSEALED, VERSION].map(u64::from).contains(&version) {
        return Err(CatalogueError::Version { path: path.to_path_buf(), found: version });
    }
    if seal == Seal::Missing && version != u64::from(UNSEALED) {
        return Err(damaged("its checksum is missing"));
    }
    if seal == Seal::Missing && path.parent().is_some_and(are_sealed) {
        return Err(damaged(
            "it is of version 1, without a checksum, and every head here has been given one",
        ));
    }
    if value.get("id").and_then(Value::as_u64) != Some(u64::from(id)) {
        return Err(damaged("the number in it is not that of its name"));
    }
    if let Some(fields) = value.as_object_mut() {
        fields.remove("crc32c");
        fields.insert("version".to_owned(), VERSION.into());
    }
    let head: Result<Head, _> = serde_json::from_value(value);
    head.map_err(|error| damaged(&error.to_string()))
}

/// Opens a file that has as many bytes as were written.
fn open(path: &Path, stamp: Stamp) -> Result<File, CatalogueError> {
    let damaged = |why: String| CatalogueError::Damaged { path: path.to_path_buf(), why };
    let file = regular::open(path).map_err(|source| match source.kind() {
        std::io::ErrorKind::NotFound => damaged("it is missing".to_owned()),
        _ => failed(path)(source),
    })?;
    let length = file.metadata().map_err(failed(path))?.len();
    if length != stamp.bytes {
        return Err(damaged(format!("it has {length} bytes, {} were written", stamp.bytes)));
    }
    Ok(file)
}

/// What is no file is a damaged one: all else that a system refuses may be the disk.
pub(super) fn failed(path: &Path) -> impl FnOnce(std::io::Error) -> CatalogueError {
    move |source| {
        let path = path.to_path_buf();
        match no_file(&source) {
            Some(what) => CatalogueError::Damaged { path, why: what.to_string() },
            None => CatalogueError::File { path, source },
        }
    }
}

/// Checks a file's length and checksum.
pub(super) fn check(path: &Path, stamp: Stamp) -> Result<(), CatalogueError> {
    let mut file = open(path, stamp)?;
    let (mut buffer, mut found) = (vec![0; 1 << 18], Stamp::default());
    loop {
        match file.read(&mut buffer) {
            Ok(0) => break,
            Ok(n) => {
                found.bytes += n as u64;
                found.crc32c = crc32c::crc32c_append(found.crc32c, &buffer[..n]);
            }
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(source) => return Err(CatalogueError::File { path: path.to_path_buf(), source }),
        }
    }
    if found == stamp { Ok(()) } else { Err(unlike(path)) }
}

/// Reads a file whose length and checksum are as written, into memory that nobody else can change.
pub(super) fn read(path: &Path, stamp: Stamp) -> Result<Mmap, CatalogueError> {
    let failed = |source| CatalogueError::File { path: path.to_path_buf(), source };
    let mut file = open(path, stamp)?;
    let mut bytes = MmapMut::map_anon(stamp.bytes as usize).map_err(failed)?;
    file.read_exact(&mut bytes).map_err(|source| match source.kind() {
        std::io::ErrorKind::UnexpectedEof => unlike(path),
        _ => failed(source),
    })?;
    if crc32c::crc32c(&bytes) != stamp.crc32c {
        return Err(unlike(path));
    }
    bytes.make_read_only().map_err(failed)
}

fn unlike(path: &Path) -> CatalogueError {
    CatalogueError::Damaged { path: path.to_path_buf(), why: "its checksum does not fit".to_owned() }
}

/// Removes an event's plan and map.
pub(super) fn remove_parts(folder: &Path, id: EventId) {
    remove(&folder.join(plan_name(id)));
    remove(&folder.join(map_name(id)));
}

pub(super) fn remove(path: &Path) {
    // What cannot be removed now is found again at the next start, and does no harm until then.
    if let Err(error) = std::fs::remove_file(path)
        && error.kind() != std::io::ErrorKind::NotFound
    {
        tracing::warn!(path = %path.display(), %error, "a leftover of the catalogue could not be removed");
    }
}

/// Gives the file at `path` a second name below `data`/`aside`/events, durably, which outlives that it is replaced. What is no
/// file, and so would be in the way, is moved there.
pub(crate) fn keep_aside(data: &Path, path: &Path, name: &str, aside: &str) -> std::io::Result<PathBuf> {
    let folder = data.join(aside).join("events");
    std::fs::create_dir_all(&folder)?;
    for number in 1_u32.. {
        let to = folder.join(format!("{name}-{number:04}"));
        if to.symlink_metadata().is_ok() {
            continue;
        }
        if path.symlink_metadata()?.is_file() {
            match std::fs::hard_link(path, &to) {
                Ok(()) => {}
                Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => continue,
                // Not every file system has second names.
                Err(_) => {
                    std::fs::copy(path, &to)?;
                    File::open(&to)?.sync_all()?;
                }
            }
        } else {
            std::fs::rename(path, &to)?;
        }
        for folder in [&folder, &data.join(aside), data] {
            sync_folder(folder)?;
        }
        return Ok(to);
    }
    Err(std::io::Error::other("all names for what is kept aside are taken; clear them away"))
}

/// A file that counts and sums what is written to it.
pub(super) struct Stamped {
    file: File,
    stamp: Stamp,
}

impl Write for Stamped {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let n = self.file.write(bytes)?;
        self.stamp.bytes += n as u64;
        self.stamp.crc32c = crc32c::crc32c_append(self.stamp.crc32c, &bytes[..n]);
        Ok(n)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.file.flush()
    }
}
