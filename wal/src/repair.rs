//! Damaged or missing segments, mended with another node's copies of them. The two nodes of a cluster have the same
//! bytes at the same places, so a good copy that goes as far is as good as the file itself was.

use std::path::{Path, PathBuf};

use crate::error::WalError;
use crate::format::parse_file_name;
use crate::fs::{self, Disk};
use crate::reader::{Segment, Tail};
use crate::verify::{Verdict, verify};
use crate::view::{DirView, SegmentInfo, is_written, list_names};

/// Where what is replaced is kept.
const ASIDE: &str = "damaged";

/// What became of one bad file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Mended {
    /// A good copy is in its place; what was there is kept, if there was anything.
    Replaced {
        /// The file.
        path: PathBuf,
        /// Where its damaged bytes are now.
        kept: Option<PathBuf>,
    },
    /// It is as it was.
    Left {
        /// The file.
        path: PathBuf,
        /// Why, with the remedy.
        why: String,
    },
}

/// Replaces every segment of `view` that is damaged or missing by `other`'s copy, if that is good and goes at least
/// as far. Each file is durable under its name before the next one is begun; nothing is deleted.
///
/// Errors: the directory is in use, or the copies are of another cluster. What cannot be mended is no error, but
/// [`Mended::Left`].
pub fn repair(view: &DirView, other: &DirView) -> Result<Vec<Mended>, WalError> {
    if let Some(pid) = view.open_by() {
        return Err(WalError::Locked { path: view.path().into(), pid: pid.to_string() });
    }
    if is_same(view.path(), other.path()) {
        return Err(WalError::SameDirectory { path: other.path().into() });
    }
    if view.cluster() != other.cluster() {
        let (path, found, expected) = (other.path().into(), other.cluster(), view.cluster());
        return Err(WalError::ForeignCluster { path, found, expected });
    }
    let mut bad: Vec<PathBuf> = verify(view)
        .findings
        .into_iter()
        .filter(|finding| finding.verdict == Verdict::Bad)
        .map(|finding| finding.path)
        .collect();
    bad.extend(holes(view, other)?);
    bad.sort();
    bad.dedup();
    // What follows from the log being bad needs no mending of its own.
    let only_log = bad.iter().any(|path| path.starts_with(view.log()));
    bad.retain(|path| !only_log || path.starts_with(view.log()));
    bad.into_iter().map(|path| mend(view, other, path)).collect()
}

/// Whether two paths lead to one directory.
fn is_same(one: &Path, other: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    let place = |path: &Path| std::fs::metadata(path).ok().map(|about| (about.dev(), about.ino()));
    place(one).is_some_and(|one| place(other) == Some(one))
}

/// Segments that are not here, though one right before or one behind them is.
fn holes(view: &DirView, other: &DirView) -> Result<Vec<PathBuf>, WalError> {
    let (log, mark) = (view.log(), view.mark()?);
    let own = list_names(&log, parse_file_name)?;
    let hole = |info: &SegmentInfo| {
        let (stream, epoch, number) = (info.stream(), info.epoch(), info.number());
        let near = |own: &(u16, u32, u32)| (own.0, own.1) == (stream, epoch) && own.2 + 1 >= number;
        let here = own.iter().any(|(_, parts)| *parts == (stream, epoch, number));
        !here && !mark.is_trimmed(stream, (epoch, number)) && own.iter().any(|(_, parts)| near(parts))
    };
    let segments = other.segments()?;
    let mut holes = Vec::new();
    for info in segments.iter().filter(|info| hole(info)) {
        // One that was only prepared lacks nothing to whoever has not got it.
        if is_written(info.path())? {
            holes.extend(info.path().file_name().map(|name| log.join(name)));
        }
    }
    Ok(holes)
}

fn mend(view: &DirView, other: &DirView, path: PathBuf) -> Result<Mended, WalError> {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default().to_owned();
    let Some(parts) = parse_file_name(&name) else {
        let why = "it is no segment; see what is said about it by `frontrow wal verify`".into();
        return Ok(Mended::Left { path, why });
    };
    let copy = other.log().join(&name);
    let bytes = match good_copy(other, &copy, parts) {
        Ok(bytes) => bytes,
        Err(error) => {
            let why = format!("the copy {} cannot stand in for it: {error}", copy.display());
            return Ok(Mended::Left { path, why });
        }
    };
    let own = read_if_there(&path)?;
    // Zeros behind the copy's last record: what is here must not go further.
    let end = |bytes: &[u8]| bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
    if let Some(own) = &own
        && end(own) > end(&bytes)
    {
        let why = format!(
            "the copy ends at byte {}, this file goes on up to byte {}: what is only here may have been \
             acknowledged. Let the other node be the primary instead, or copy the file by hand",
            end(&bytes),
            end(own)
        );
        return Ok(Mended::Left { path, why });
    }
    let disk = fs::RealDisk;
    let kept = own.map(|own| keep(&disk, view.path(), &name, &own)).transpose()?;
    fs::replace_file(&disk, &view.log(), &name, &bytes).map_err(WalError::io("cannot write", &path))?;
    Ok(Mended::Replaced { path, kept })
}

/// The bytes of a copy whose header is the named one's and whose records all read back.
fn good_copy(other: &DirView, copy: &Path, parts: (u16, u32, u32)) -> Result<Vec<u8>, WalError> {
    let named = |info: &SegmentInfo| (info.stream(), info.epoch(), info.number()) == parts;
    let info = other.segments()?.into_iter().find(named);
    let info = info.ok_or_else(|| WalError::SegmentMissing { path: copy.into() })?;
    if let Tail::Torn { offset, .. } = Segment::open(&info)?.for_each(|_| {})? {
        let why = "it ends with a commit that was being written";
        return Err(WalError::Corrupt { file: copy.into(), offset, why });
    }
    std::fs::read(copy).map_err(WalError::io("cannot read", copy))
}

fn read_if_there(path: &Path) -> Result<Option<Vec<u8>>, WalError> {
    match std::fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(WalError::io("cannot read", path)(error)),
    }
}

fn keep(disk: &dyn Disk, data: &Path, name: &str, bytes: &[u8]) -> Result<PathBuf, WalError> {
    let folder = data.join(ASIDE);
    std::fs::create_dir_all(&folder).map_err(WalError::io("cannot create", &folder))?;
    fs::replace_file(disk, &folder, name, bytes).map_err(WalError::io("cannot write", &folder))?;
    Ok(folder.join(name))
}
