//! What a node that follows another history may not keep: snapshots of what is about to be cut.

use std::collections::BTreeMap;

use crate::agreed::lack;
use crate::dir::DataDir;
use crate::error::WalError;
use crate::history::{EpochEntry, History};
use crate::mark::TrimMark;
use crate::reader::Segment;
use crate::stream::Hello;

impl DataDir {
    /// Whether the history in `hello` has all that both nodes had. If not, whoever says it has lost what was acknowledged,
    /// and nothing may be cut to it: [`WalError::PrimaryLacksAgreed`].
    pub fn keeps_agreed(&self, hello: &Hello) -> Result<(), WalError> {
        let before = self.history()?;
        let next = Next { before: before.as_ref(), epochs: &hello.epochs };
        let end = |epoch, stream| next.end(epoch, stream).unwrap_or(u64::MAX);
        lack(&self.view().agreed()?, end).map_or(Ok(()), |lack| Err(lack.there(self.path())))
    }

    /// Before a log is cut to the history in `hello`: removes, durably, every snapshot that holds a record which is
    /// about to go. Refused before anything is changed, if what was trimmed here, or what is left to begin with, is no
    /// part of that history.
    pub(crate) fn forget_lost(&self, hello: &Hello) -> Result<(), WalError> {
        let (before, mark) = (self.history()?, self.view().mark()?);
        let next = Next { before: before.as_ref(), epochs: &hello.epochs };
        let trimmed = || WalError::TrimmedStandby { path: self.path().into() };
        if !next.has_trimmed(&mark) || !next.has_floor(self)? {
            return Err(trimmed());
        }
        let lost = self.lost(&next)?;
        let files = self.snapshots()?;
        let is_lost = |partition: u16, lsn: u64| lost.get(&partition).is_some_and(|first| lsn >= *first);
        let (gone, left): (Vec<_>, Vec<_>) =
            files.iter().partition(|file| is_lost(file.partition(), file.lsn()));
        // The trim went by the older of two: with both of them, the base of the log is gone.
        let baseless = |partition: u16| {
            let count = gone.iter().filter(|file| file.partition() == partition).count();
            count > 1 || (count == 1 && !left.iter().any(|file| file.partition() == partition))
        };
        if !mark.streams().is_empty() && lost.keys().any(|partition| baseless(*partition)) {
            return Err(trimmed());
        }
        if mark.streams().values().any(|kept| kept.exists) {
            // What it names may be cut, or come anew.
            mark.without_files().write(&**self.disk(), self.path())?;
        }
        for file in &gone {
            let path = file.path();
            self.disk().remove(path).map_err(WalError::io("cannot remove", path))?;
        }
        if !gone.is_empty() {
            let snap = self.view().snap();
            self.disk().sync_dir(&snap).map_err(WalError::io("cannot sync", &snap))?;
        }
        Ok(())
    }

    /// By partition, the first record that the history to come has no place for.
    fn lost(&self, next: &Next<'_>) -> Result<BTreeMap<u16, u64>, WalError> {
        let mut lost = BTreeMap::new();
        for info in self.segments()? {
            let Some(end) = next.end(info.epoch(), info.stream()) else { continue };
            if end >= info.end_position() {
                continue;
            }
            Segment::open(&info)?.for_each(|record| {
                if record.position > end {
                    let first = lost.entry(record.partition).or_insert(record.lsn);
                    *first = record.lsn.min(*first);
                }
            })?;
        }
        Ok(lost)
    }
}

/// The history to come, seen from the one that is here.
struct Next<'a> {
    before: Option<&'a History>,
    epochs: &'a [EpochEntry],
}

impl Next<'_> {
    /// The same epoch there, if there is one: of its number, and opened by the same node.
    fn entry(&self, epoch: u32) -> Option<&EpochEntry> {
        let found = self.epochs.iter().find(|entry| entry.epoch == epoch)?;
        let own = self.before.and_then(|before| before.entry(epoch));
        own.is_none_or(|own| own.node == found.node).then_some(found)
    }

    /// Up to where an epoch counts in a stream: 0 if it does not at all, `None` while it lasts.
    fn end(&self, epoch: u32, stream: u16) -> Option<u64> {
        let Some(entry) = self.entry(epoch) else { return Some(0) };
        let lasts = self.epochs.last().is_some_and(|last| last.epoch == epoch);
        (!lasts).then(|| entry.ends.get(&stream).copied().unwrap_or(0))
    }

    /// Whether all that was trimmed here is in it.
    fn has_trimmed(&self, mark: &TrimMark) -> bool {
        let Some(before) = self.before else { return mark.streams().is_empty() };
        mark.streams().iter().all(|(&stream, kept)| {
            let mut older = before.epochs.iter().filter(|entry| entry.epoch <= kept.epoch);
            let whole = older.all(|entry| {
                let (own, end) = (before.end(entry.epoch, stream), self.end(entry.epoch, stream));
                match (own, end) {
                    // It lasted when this node last heard, or lasts still.
                    (None, end) => end.is_none_or(|end| entry.epoch == kept.epoch && kept.position <= end),
                    (Some(own), Some(end)) if entry.epoch < kept.epoch => own == end,
                    (Some(own), Some(end)) => own.min(kept.position) <= end,
                    (Some(_), None) => false,
                }
            });
            whole && self.entry(kept.epoch).is_some()
        })
    }

    /// Whether what a seed brought is in it, while the log has not come that far.
    fn has_floor(&self, dir: &DataDir) -> Result<bool, WalError> {
        let Some(floor) = dir.floor()? else { return Ok(true) };
        let is_in = |(&stream, &position): (&u16, &u64)| {
            self.end(floor.epoch, stream).is_none_or(|end| position <= end)
        };
        Ok(self.entry(floor.epoch).is_some() && floor.streams.iter().all(is_in))
    }
}
