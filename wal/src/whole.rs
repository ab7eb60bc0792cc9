//! Whether a log is all that its own history says it was. A disk that is not mounted, or a folder that somebody has
//! emptied, looks like a log that never was: without this, a server would begin anew and sell everything twice.

use crate::error::WalError;
use crate::format::{Position, RECORD_HEADER_BYTES, parse_file_name};
use crate::history::{HISTORY, History, Role};
use crate::index::SegmentIndex;
use crate::mark::TrimMark;
use crate::reader::{Segment, Tail};
use crate::view::{DirView, SegmentInfo, list_names};
use std::collections::HashMap;

/// What is to be thought of an epoch without files.
pub(crate) const NO_FILES: &str =
    "the last epoch has left nothing in the log: it ended before it began, or its files are gone";

impl DirView {
    /// Whether the manifest is as late as the log. Only names are looked at. Errors: [`WalError::EpochAhead`].
    pub(crate) fn check_epochs(&self) -> Result<(), WalError> {
        let ahead = list_names(&self.log(), parse_file_name)?.into_iter();
        match ahead.filter(|(_, (_, epoch, _))| *epoch > self.epoch()).min_by_key(|(_, name)| *name) {
            None => Ok(()),
            Some((path, (_, found, _))) => Err(WalError::EpochAhead { path, found, manifest: self.epoch() }),
        }
    }

    /// Whether there is a history, or nothing yet that one could be of. Errors: [`WalError::HistoryMissing`].
    pub fn check_has_history(&self) -> Result<(), WalError> {
        let path = self.path();
        if path.join(HISTORY).exists() || (self.segments()?.is_empty() && self.snapshots()?.is_empty()) {
            return Ok(());
        }
        Err(WalError::HistoryMissing { path: path.into() })
    }

    /// Compares the segments with where the history says that epochs ended. Only headers are looked at: what is
    /// missing inside is found by whoever reads. Errors: [`WalError::LogBehindHistory`], [`WalError::HistoryMissing`].
    pub fn check_against_history(&self) -> Result<(), WalError> {
        self.check_has_history()?;
        let history = History::read(self.path(), self.cluster())?;
        // A standby may still lack some of what it knows of.
        let Some(history) = history.filter(|history| history.role == Role::Primary) else { return Ok(()) };
        let (segments, mark) = (self.segments()?, self.mark()?);
        for entry in &history.epochs {
            for (&stream, &end) in entry.ends.iter().filter(|(_, end)| **end > 0) {
                if !is_there(&segments, &mark, (entry.epoch, stream), end) {
                    let (path, epoch) = (self.path().into(), entry.epoch);
                    return Err(WalError::LogBehindHistory { path, epoch, stream, end });
                }
            }
        }
        if let Some(epoch) = self.without_files()? {
            tracing::warn!(epoch, "{NO_FILES}");
        }
        Ok(())
    }

    /// Compares what was read of all segments with where the history says that epochs ended: a disk that loses the end
    /// of a segment leaves its header, and nothing that reads like damage. Errors: [`WalError::EndLost`].
    pub fn check_ends<'a>(
        &self,
        read: impl Iterator<Item = (&'a SegmentInfo, &'a SegmentIndex)>,
    ) -> Result<(), WalError> {
        let history = History::read(self.path(), self.cluster())?;
        let Some(history) = history.filter(|history| history.role == Role::Primary) else { return Ok(()) };
        let mark = self.mark()?;
        let mut ends: HashMap<(u32, u16), Position> = HashMap::new();
        for (info, index) in read {
            let seal = if index.tail == Tail::Sealed { RECORD_HEADER_BYTES as u64 } else { 0 };
            let end = ends.entry((info.epoch(), info.stream())).or_default();
            *end = (*end).max(info.first_position() + index.bytes + seal);
        }
        for entry in &history.epochs {
            for (&stream, &end) in &entry.ends {
                let own = ends.get(&(entry.epoch, stream)).copied().unwrap_or(0);
                let own = own.max(mark.up_to(stream, entry.epoch));
                if own < end {
                    let (path, epoch) = (self.path().into(), entry.epoch);
                    return Err(WalError::EndLost { path, epoch, stream, own, end });
                }
            }
        }
        Ok(())
    }

    /// [`Self::check_ends`] for who has not read the log yet: reads all of it.
    pub fn read_ends(&self) -> Result<(), WalError> {
        let read = |info: SegmentInfo| Ok((SegmentIndex::scan(&Segment::open_at_rest(&info)?)?, info));
        let all = self.segments()?.into_iter().map(read).collect::<Result<Vec<_>, WalError>>()?;
        self.check_ends(all.iter().map(|(index, info)| (info, index)))
    }

    /// The last epoch that was opened here, if the log has no file of it.
    pub(crate) fn without_files(&self) -> Result<Option<u32>, WalError> {
        let history = History::read(self.path(), self.cluster())?;
        let Some(history) = history.filter(|history| history.role == Role::Primary) else { return Ok(None) };
        let (segments, mark) = (self.segments()?, self.mark()?);
        let last = history.epochs.last().filter(|last| {
            !segments.iter().any(|info| info.epoch() == last.epoch)
                && !mark.streams().values().any(|kept| kept.epoch >= last.epoch)
        });
        Ok(last.map(|last| last.epoch))
    }
}

/// Whether some segment goes up to `end` of an epoch in a stream, or was trimmed with it.
fn is_there(segments: &[SegmentInfo], mark: &TrimMark, (epoch, stream): (u32, u16), end: u64) -> bool {
    let trimmed = mark.streams().get(&stream).is_some_and(|kept| {
        kept.epoch > epoch || (kept.epoch == epoch && !kept.exists && kept.position >= end)
    });
    trimmed
        || segments
            .iter()
            .any(|info| (info.epoch(), info.stream()) == (epoch, stream) && info.end_position() >= end)
}
