//! Damaged or missing segments, mended with another node's copies of them. The two nodes of a cluster have the same
//! bytes at the same places, so a good copy that goes as far is as good as the file itself was.

use std::path::{Path, PathBuf};

use crate::agreed::Agreed;
use crate::error::WalError;
use crate::format::{Position, parse_file_name};
use crate::fs::{self, Disk};
use crate::history::History;
use crate::reader::{Segment, Tail};
use crate::regular;
use crate::standby::end_of;
use crate::verify::{Finding, Verdict, verify};
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
    let is_bad = |finding: &Finding| finding.verdict == Verdict::Bad;
    let found: Vec<PathBuf> = verify(view).findings.into_iter().filter(is_bad).map(|it| it.path).collect();
    let is_log = |path: &PathBuf| path.starts_with(view.log()) && *path != view.log();
    let (mut bad, others): (Vec<_>, Vec<_>) = found.into_iter().partition(is_log);
    bad.extend(holes(view, other)?);
    bad.sort();
    bad.dedup();
    let mut mended: Vec<Mended> =
        bad.into_iter().map(|path| mend(view, other, path)).collect::<Result<_, _>>()?;
    // What only followed from segments that were bad or missing is good by now.
    if !others.is_empty() && mended.iter().all(|one| matches!(one, Mended::Replaced { .. })) {
        let left = verify(view).findings.into_iter().filter(is_bad).filter(|it| others.contains(&it.path));
        mended.extend(left.map(|it| Mended::Left { path: it.path, why: it.text }));
    }
    Ok(mended)
}

/// Whether two paths lead to one directory.
fn is_same(one: &Path, other: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    let place = |path: &Path| std::fs::metadata(path).ok().map(|about| (about.dev(), about.ino()));
    place(one).is_some_and(|one| place(other) == Some(one))
}

/// Segments that the other node has, and that are missing here or end too early: beside one that is here, or where the
/// history says, or what both nodes had, that there was more.
fn holes(view: &DirView, other: &DirView) -> Result<Vec<PathBuf>, WalError> {
    let (log, mark) = (view.log(), view.mark()?);
    let own = list_names(&log, parse_file_name)?;
    let past = Past::of(view, other)?;
    let mut holes = Vec::new();
    for info in &other.segments()? {
        let parts = (info.stream(), info.epoch(), info.number());
        let Some(path) = info.path().file_name().map(|name| log.join(name)) else { continue };
        if mark.is_trimmed(info.stream(), (info.epoch(), info.number())) {
            continue;
        }
        let near = |own: &(u16, u32, u32)| (own.0, own.1) == (parts.0, parts.1) && own.2 + 1 >= parts.2;
        let wanted = match own.iter().find(|(_, own)| *own == parts) {
            Some(_) => past.ends_early(view, &path, info),
            // One that was only prepared lacks nothing to whoever has not got it.
            None => is_written(info.path())? && (own.iter().any(|(_, own)| near(own)) || past.had(info)?),
        };
        if wanted {
            holes.push(path);
        }
    }
    Ok(holes)
}

/// What this node knows of epochs that it may have lost.
struct Past {
    own: Option<History>,
    theirs: Option<History>,
    agreed: Agreed,
}

impl Past {
    fn of(view: &DirView, other: &DirView) -> Result<Self, WalError> {
        let own = History::read(view.path(), view.cluster())?;
        let theirs = History::read(other.path(), other.cluster())?;
        // One that cannot be read is told of by `verify`.
        let agreed = view.agreed().unwrap_or_default();
        Ok(Self { own, theirs, agreed })
    }

    /// Whether both nodes mean the same epoch by this number.
    fn is_common(&self, epoch: u32) -> bool {
        let Some(own) = self.own.as_ref().and_then(|own| own.entry(epoch)) else { return false };
        // A copy may be of the log alone.
        self.theirs.as_ref().is_none_or(|theirs| theirs.entry(epoch).is_some_and(|it| it.node == own.node))
    }

    /// Where this node says that an epoch ended; `None` while it does not know.
    fn end(&self, info: &SegmentInfo) -> Option<Position> {
        self.own.as_ref().and_then(|own| own.end(info.epoch(), info.stream()))
    }

    /// Whether this node had some of what is in the other's segment.
    fn had(&self, info: &SegmentInfo) -> Result<bool, WalError> {
        if !self.is_common(info.epoch()) {
            return Ok(false);
        }
        match self.end(info) {
            Some(end) => Ok(info.first_position() < end),
            None => Ok(end_of(info)?.is_some()),
        }
    }

    /// Whether the segment that is here ends before what both nodes had, or before where this node's history says that
    /// its epoch ended, and the other's goes further.
    fn ends_early(&self, view: &DirView, path: &Path, theirs: &SegmentInfo) -> bool {
        let agreed = self.agreed.get(&(theirs.epoch(), theirs.stream())).copied().unwrap_or(0);
        let ended = self.end(theirs);
        let is_over = ended.is_some_and(|end| end < agreed);
        let had = agreed.max(ended.unwrap_or(0));
        if had <= theirs.first_position() || is_over || !self.is_common(theirs.epoch()) {
            return false;
        }
        let parts = (theirs.stream(), theirs.epoch(), theirs.number());
        // One that does not read back is damaged, and on the list already.
        let end = |info: &SegmentInfo| end_of(info).ok().map(|end| end.map_or(0, |(end, _)| end.position));
        let Some(own) = view.read_info(path.into(), parts).ok().as_ref().and_then(end) else {
            return false;
        };
        own < had && end(theirs).is_some_and(|theirs| theirs > own)
    }
}

fn mend(view: &DirView, other: &DirView, path: PathBuf) -> Result<Mended, WalError> {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default().to_owned();
    let Some(parts) = parse_file_name(&name) else {
        let why = "it is no segment; move it out of the data directory".into();
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
    regular::read(copy).map_err(WalError::io("cannot read", copy))
}

fn read_if_there(path: &Path) -> Result<Option<Vec<u8>>, WalError> {
    match regular::read(path) {
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
