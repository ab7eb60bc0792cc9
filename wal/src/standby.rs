//! A data directory whose epochs others open: what a standby, a promotion and a return need of it.

use frontrow_plant::{Bug, planted};
use rustix::fs::OFlags;
use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::Path;

use crate::dir::{DataDir, DirOptions};
use crate::error::WalError;
use crate::format::{Position, RECORD_HEADER_BYTES, SEGMENT_HEADER_BYTES, file_name};
use crate::history::{EpochEntry, History, NodeId, Role};
use crate::mark::TrimMark;
use crate::reader::{Segment, Tail};
use crate::regular;
use crate::stream::Hello;
use crate::view::SegmentInfo;

/// Where what a history has no place for is kept, for whoever wants to look.
pub(crate) const CUT: &str = "cut";
/// A promotion opens the next multiple of this: restarts, which count by one, stay below.
pub const PROMOTION_STRIDE: u32 = 100_000;

/// How far a stream's log goes in one epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StreamEnd {
    /// The position behind the last good record, a seal included.
    pub position: Position,
    /// Whether that record is a seal.
    pub sealed: bool,
}

/// By (epoch, stream), how far the log goes.
pub type Ends = BTreeMap<(u32, u16), StreamEnd>;

/// From where a standby wants a stream, as [`crate::stream::Receiver::welcome`] takes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Resume {
    /// The epoch; 0: from the stream's beginning.
    pub epoch: u32,
    /// The position.
    pub position: Position,
    /// Whether what is there ends with a seal.
    pub sealed: bool,
}

impl DataDir {
    /// Opens a directory without beginning an epoch. It is made if it is missing, as `options` say; its epoch is
    /// then `epoch`, and is raised to it, durably, if it was lower.
    pub fn attend(path: impl AsRef<Path>, options: DirOptions, epoch: u32) -> Result<Self, WalError> {
        DataDir::open_at(path.as_ref(), options, |found| Ok(found.epoch.max(epoch)))
    }

    /// The same directory at another, not lower epoch; durable on return.
    pub fn at_epoch(&self, epoch: u32) -> Result<Self, WalError> {
        assert!(epoch >= self.epoch(), "an epoch never goes back");
        self.with_epoch(epoch)
    }

    /// The history written here; `None` if there is none yet.
    pub fn history(&self) -> Result<Option<History>, WalError> {
        History::read(self.path(), self.cluster())
    }

    /// Writes the history; durable on return.
    pub fn write_history(&self, history: &History) -> Result<(), WalError> {
        history.write(&**self.disk(), self.path())
    }

    /// For a standby that becomes the primary: opens the next epoch, durably.
    pub fn promote(&self) -> Result<(Self, History), WalError> {
        let seen = self.epoch();
        let next = (seen / PROMOTION_STRIDE + 1).checked_mul(PROMOTION_STRIDE);
        let next = next.ok_or_else(|| WalError::BadManifest {
            path: self.path().into(),
            why: "its epoch is the last one there can be".into(),
        })?;
        let next = if planted(Bug::PromotedInOldEpoch) { seen } else { next };
        self.open_epoch(next, 0, &BTreeMap::new())
    }

    /// For a node that was chosen to be the primary, whatever it was before: opens `epoch`, which is above all that it
    /// has seen, durably. `node` is its name if it has none yet. `have` is how far each stream is known to be here
    /// without a gap; what is known is not read again, for somebody waits.
    pub fn open_epoch(
        &self,
        epoch: u32,
        node: NodeId,
        have: &BTreeMap<u16, (u32, Position)>,
    ) -> Result<(Self, History), WalError> {
        match self.history()? {
            Some(history) => self.check_whole(&history, have)?,
            None if node != 0 => self.write_history(&History::new(self.cluster(), node, Role::Primary))?,
            None => {}
        }
        self.floor_reached()?;
        let history = self.coming_history(epoch, true)?;
        let dir = self.at_epoch(epoch)?;
        dir.write_history(&history)?;
        Ok((dir, history))
    }

    /// Notes durably that this node is not the primary any more: it is served from only after a promotion.
    pub fn step_down(&self) -> Result<(), WalError> {
        match self.history()? {
            Some(history) if history.role == Role::Primary => {
                self.write_history(&History { role: Role::Standby, ..history })
            }
            _ => Ok(()),
        }
    }

    /// Whether what is here can be promoted: nothing that has ended, or that both nodes had, is missing. Changes nothing.
    pub fn check_promotable(&self, have: &BTreeMap<u16, (u32, Position)>) -> Result<(), WalError> {
        if let Some(history) = self.history()? {
            self.check_whole(&history, have)?;
        }
        self.view().check_agreed()
    }

    /// Makes `count` files of zeros ahead of need, of which segments of `bytes` are made at once: a standby that is to be
    /// primary must not write zeros first. They are cleared away when the directory is opened.
    pub fn make_spares(&self, bytes: u64, count: u16) -> Result<(), WalError> {
        for number in 0..count {
            // No segment has this name.
            let path = self.log_path().join(format!("{}.tmp", file_name(number, u32::MAX, 0)));
            let made = self.disk().create(&path).and_then(|file| {
                self.disk().preallocate(&file, &[], bytes)?;
                self.disk().sync_all(&file)
            });
            if let Err(error) = made {
                // The space is needed elsewhere.
                let _ = self.disk().remove(&path);
                return Err(WalError::room("cannot prepare", &path, bytes)(error));
            }
            self.retired().put(path, bytes, true);
        }
        Ok(())
    }

    /// Whether a node that was chosen to be the primary could open an epoch on this log: see [`Self::open_epoch`].
    pub fn is_whole(&self) -> Result<(), WalError> {
        self.view().check_against_history()?;
        self.history()?.map_or(Ok(()), |history| self.check_whole(&history, &BTreeMap::new()))
    }

    /// Every epoch that has ended must be here as a whole: partitions change streams with epochs, so that a stream
    /// which is complete by itself may go on where another one is missing.
    fn check_whole(&self, history: &History, have: &BTreeMap<u16, (u32, Position)>) -> Result<(), WalError> {
        let is_known =
            |epoch, stream, end| end == 0 || have.get(&stream).is_some_and(|have| *have >= (epoch, end));
        let is_doubtful = |info: &SegmentInfo| {
            let end = history.end(info.epoch(), info.stream()).unwrap_or(0);
            !is_known(info.epoch(), info.stream(), end)
        };
        let (ends, mark) = (self.ends(is_doubtful)?, self.view().mark()?);
        for entry in &history.epochs {
            for (&stream, &end) in &entry.ends {
                if is_known(entry.epoch, stream, end) {
                    continue;
                }
                let own = ends.get(&(entry.epoch, stream)).map_or(0, |own| own.position);
                let own = own.max(mark.up_to(stream, entry.epoch));
                if own < end {
                    let (path, epoch) = (self.path().into(), entry.epoch);
                    return Err(WalError::NotCaughtUp { path, epoch, stream, own, end });
                }
            }
        }
        // What it was seeded with must not be ahead of its log.
        let Some(floor) = self.floor()? else { return Ok(()) };
        let ends = self.ends(|info| info.epoch() >= floor.epoch)?;
        for (&stream, &end) in &floor.streams {
            let last = ends.keys().filter(|(_, of)| *of == stream).map(|(epoch, _)| *epoch).max();
            let own = ends.get(&(floor.epoch, stream)).map_or(0, |own| own.position);
            let own = own.max(mark.up_to(stream, floor.epoch));
            if last.is_none_or(|last| last == floor.epoch) && own < end {
                let (path, epoch) = (self.path().into(), floor.epoch);
                return Err(WalError::NotCaughtUp { path, epoch, stream, own, end });
            }
        }
        Ok(())
    }

    /// How far the log goes in every epoch and stream that `wanted` picks.
    pub fn ends(&self, wanted: impl Fn(&SegmentInfo) -> bool) -> Result<Ends, WalError> {
        let mut ends = Ends::new();
        for info in self.segments()?.iter().rev().filter(|info| wanted(info)) {
            let key = (info.epoch(), info.stream());
            if ends.contains_key(&key) {
                continue;
            }
            // Where a tear is all there is, the log ends with the segment before: its seal is not where this one begins.
            if let Some((end, _)) = end_of(info)?.filter(|(end, _)| end.position > info.first_position()) {
                ends.insert(key, end);
            }
        }
        Ok(ends)
    }

    /// By stream, how far the log goes: epoch and position.
    pub fn reached(&self) -> Result<BTreeMap<u16, (u32, Position)>, WalError> {
        let mut reached = BTreeMap::new();
        for (&stream, kept) in self.view().mark()?.streams() {
            reached.insert(stream, (kept.epoch, kept.position));
        }
        for ((epoch, stream), end) in self.ends(|_| true)? {
            let so_far = reached.entry(stream).or_default();
            *so_far = (*so_far).max((epoch, end.position));
        }
        Ok(reached)
    }

    /// Ends a cut that was under way, and writes zeros over what is torn behind the last good records, so that a stream can go on there. For a
    /// standby's directory, which nobody appends to meanwhile.
    pub fn erase_torn(&self) -> Result<(), WalError> {
        self.resume_cuts()?;
        // A cut that was ended in its middle leaves what looks like damage, or like a segment that is missing. What its
        // history says is durable from before it began: it is gone on with.
        if let Some(history) = self.history()?.filter(|history| history.role == Role::Standby) {
            self.cut_to(&history)?;
        }
        for info in self.segments()? {
            if let Some((_, Tail::Torn { offset, bytes })) = end_of(&info)? {
                self.erase(info.path(), offset, bytes)?;
            }
        }
        Ok(())
    }

    /// Makes this directory's log a part of the primary's: its history is taken over, durably; then everything that
    /// it has no place for is moved to `cut/`. `node` is this node's name if it has none yet. By stream, from where to
    /// go on. With [`WalError::TrimmedStandby`] nothing was changed: it must be seeded; with
    /// [`WalError::PrimaryLacksAgreed`] neither: the primary has lost what was acknowledged.
    pub fn follow_history(&self, hello: &Hello, node: NodeId) -> Result<BTreeMap<u16, Resume>, WalError> {
        self.keeps_agreed(hello)?;
        self.forget_lost(hello)?;
        let before = self.history()?;
        let mut history = match &before {
            Some(history) => history.clone(),
            None => History::new(self.cluster(), node, Role::Standby),
        };
        // Epochs of the same number that others opened are other epochs.
        let same = |entry: &EpochEntry| {
            let own = before.as_ref().and_then(|before| before.entry(entry.epoch));
            own.is_none_or(|own| own.node == entry.node)
        };
        let foreign: Vec<u32> =
            hello.epochs.iter().filter(|entry| !same(entry)).map(|entry| entry.epoch).collect();
        for epoch in &foreign {
            self.cut_epochs(|of| of == *epoch)?;
        }
        (history.role, history.alone) = (Role::Standby, false);
        history.adopt(&hello.epochs);
        self.write_history(&history)?;
        self.cut_to(&history)?;
        let (ends, mark) = (self.ends(|_| true)?, self.view().mark()?);
        let from = |stream| (stream, resume(&history, &ends, &mark, stream));
        Ok((0..hello.streams).map(from).collect())
    }

    /// The history of a standby that takes over all of what `hello` says: what a seed is put in place with.
    pub fn history_of(&self, hello: &Hello, node: NodeId) -> Result<History, WalError> {
        let own = self.history()?;
        let mut history = own.unwrap_or_else(|| History::new(self.cluster(), node, Role::Standby));
        (history.role, history.alone) = (Role::Standby, false);
        history.adopt(&hello.epochs);
        Ok(history)
    }

    /// Cuts the log to a history: epochs it does not have, and what lies behind an epoch's end. Again and again has
    /// the same result as once.
    fn cut_to(&self, history: &History) -> Result<(), WalError> {
        self.cut_epochs(|epoch| history.entry(epoch).is_none() && !planted(Bug::ForeignEpochKept))?;
        for info in self.segments()?.iter().rev().filter(|_| !planted(Bug::OwnTailKept)) {
            if let Some(end) = history.end(info.epoch(), info.stream()) {
                self.cut_segment(info, end)?;
            }
        }
        Ok(())
    }

    /// Removes what a stream has behind a place.
    pub(crate) fn cut_stream(&self, stream: u16, (epoch, end): (u32, Position)) -> Result<(), WalError> {
        for info in self.segments()?.iter().rev() {
            if (info.epoch(), info.stream()) == (epoch, stream) {
                self.cut_segment(info, end)?;
            }
        }
        Ok(())
    }

    fn cut_epochs(&self, gone: impl Fn(u32) -> bool) -> Result<(), WalError> {
        // From the back: what is left at any time has no gap.
        for info in self.segments()?.iter().rev().filter(|info| gone(info.epoch())) {
            self.cut_segment(info, 0)?;
        }
        Ok(())
    }

    /// Removes what a segment has at or behind `end`; with nothing before it, the segment.
    fn cut_segment(&self, info: &SegmentInfo, end: Position) -> Result<(), WalError> {
        let first = info.first_position();
        let keep = end > first || (end > 0 && self.follows_a_seal(info, end)?);
        let offset = SEGMENT_HEADER_BYTES + end.saturating_sub(first);
        let written = last_written(info, offset)?;
        if let Some(last) = written {
            self.keep_a_copy(info, offset, last)?;
            if keep {
                self.erase(info.path(), offset, last + 1 - offset)?;
            }
        }
        if !keep {
            let path = info.path();
            self.disk().remove(path).map_err(WalError::io("cannot remove", path))?;
            let log = self.log_path();
            self.disk().sync_dir(log).map_err(WalError::io("cannot sync", log))?;
        }
        Ok(())
    }

    /// Whether the segment before keeps its seal: then this one must stay, empty. The seal may end earlier than where this
    /// segment begins, which is what `end` is if nothing of it is to stay.
    fn follows_a_seal(&self, info: &SegmentInfo, end: Position) -> Result<bool, WalError> {
        let segments = self.segments()?;
        let mut before = segments.iter().filter(|other| {
            (other.epoch(), other.stream()) == (info.epoch(), info.stream())
                && other.number() + 1 == info.number()
        });
        let Some(before) = before.next() else { return Ok(false) };
        Ok(end_of(before)?.is_some_and(|(found, _)| found.sealed && found.position <= end))
    }

    fn keep_a_copy(&self, info: &SegmentInfo, offset: u64, last: u64) -> Result<(), WalError> {
        let (path, folder) = (info.path(), self.path().join(CUT));
        let name = path.file_stem().unwrap_or_default().to_string_lossy();
        let copy = folder.join(format!("{name}-{offset}.bin"));
        let file = regular::open(path).map_err(WalError::io("cannot open", path))?;
        let mut bytes = vec![0; (last + 1 - offset) as usize];
        file.read_exact_at(&mut bytes, offset).map_err(WalError::io("cannot read", path))?;
        std::fs::create_dir_all(&folder).map_err(WalError::io("cannot create", &folder))?;
        // A cut that is gone on with finds less than was there when it began.
        if std::fs::metadata(&copy).is_ok_and(|there| there.len() >= bytes.len() as u64) {
            return Ok(());
        }
        regular::create(&copy)
            .and_then(|mut file| file.write_all(&bytes))
            .map_err(WalError::io("cannot write", &copy))?;
        tracing::warn!(
            from = %path.display(),
            bytes = last + 1 - offset,
            copy = %copy.display(),
            "cut: the cluster's history goes another way from here on"
        );
        Ok(())
    }

    /// Writes zeros over `bytes` from `offset` on, durably. From the back: the reader must never see a hole before
    /// something good.
    fn erase(&self, path: &Path, offset: u64, bytes: u64) -> Result<(), WalError> {
        const PIECE: u64 = 1 << 20;
        let disk = self.disk();
        let file = regular::open_with(path, OFlags::empty(), OpenOptions::new().write(true))
            .map_err(WalError::io("cannot open", path))?;
        let mut end = offset + bytes;
        while end > offset {
            let from = end.saturating_sub(PIECE).max(offset);
            let zeros = vec![0; (end - from) as usize];
            disk.write_at(&file, &zeros, from).map_err(WalError::io("cannot write", path))?;
            disk.sync_data(&file).map_err(WalError::io("cannot sync", path))?;
            end = from;
        }
        Ok(())
    }
}

/// How far a segment's good records go, and how it ends; `None` if nothing was written. With nothing but a tear it goes as
/// far as its beginning.
pub(crate) fn end_of(info: &SegmentInfo) -> Result<Option<(StreamEnd, Tail)>, WalError> {
    let mut last = None;
    let tail = Segment::open_at_rest(info)?.for_each(|record| last = Some(record.position))?;
    let sealed = tail == Tail::Sealed;
    if last.is_none() && !sealed && !matches!(tail, Tail::Torn { .. }) {
        return Ok(None);
    }
    let records = last.unwrap_or(info.first_position());
    let position = records + if sealed { RECORD_HEADER_BYTES as u64 } else { 0 };
    Ok(Some((StreamEnd { position, sealed }, tail)))
}

/// Offset of the last byte of a segment's file, from `offset` on, that is not zero.
fn last_written(info: &SegmentInfo, offset: u64) -> Result<Option<u64>, WalError> {
    let path = info.path();
    let file = regular::open(path).map_err(WalError::io("cannot open", path))?;
    let mut bytes = vec![0; (info.segment_bytes().saturating_sub(offset)) as usize];
    file.read_exact_at(&mut bytes, offset).map_err(WalError::io("cannot read", path))?;
    Ok(bytes.iter().rposition(|byte| *byte != 0).map(|at| offset + at as u64))
}

/// Where a stream's log stops being all that the history says it was.
fn resume(history: &History, ends: &Ends, mark: &TrimMark, stream: u16) -> Resume {
    let mut found = Resume::default();
    let trimmed = mark.streams().get(&stream);
    if let Some(kept) = trimmed {
        // Where nothing is left, it may be a segment's end, which lies behind the last record.
        let position = history.end(kept.epoch, stream).map_or(kept.position, |end| end.min(kept.position));
        found = Resume { epoch: kept.epoch, position, sealed: false };
    }
    let first = trimmed.map_or(0, |kept| kept.epoch);
    for entry in history.epochs.iter().filter(|entry| entry.epoch >= first) {
        let own = ends.get(&(entry.epoch, stream));
        if let Some(own) = own {
            found = Resume { epoch: entry.epoch, position: own.position, sealed: own.sealed };
        }
        let have = if found.epoch == entry.epoch { found.position } else { 0 };
        if have < history.end(entry.epoch, stream).unwrap_or(0) {
            break;
        }
    }
    found
}
