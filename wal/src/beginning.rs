//! How an epoch begins: what it needs of the directory is looked at, and only then is it opened, durably.

use std::collections::BTreeMap;
use std::path::Path;

use crate::agreed::lack;
use crate::dir::{DataDir, DirOptions, next_epoch};
use crate::error::WalError;
use crate::history::{EpochEntry, History, Role};
use crate::view::DirView;

/// A directory that an epoch may begin in, and has not: whoever is about to serve looks first at all that may keep it
/// from serving. An epoch that is opened and leaves nothing looks like one whose files are gone.
pub struct Beginning {
    dir: DataDir,
    epoch: u32,
    history: History,
}

impl Beginning {
    /// The directory as it was left, locked.
    pub fn dir(&self) -> &DataDir {
        &self.dir
    }

    /// The history as it will be, not written yet.
    pub fn history(&self) -> &History {
        &self.history
    }

    /// Opens the epoch, durably.
    pub fn begin(self) -> Result<(DataDir, History), WalError> {
        let dir = self.dir.at_epoch(self.epoch)?;
        dir.write_history(&self.history)?;
        Ok((dir, self.history))
    }
}

impl DataDir {
    /// What [`Self::open`] and [`Self::begin_history`] do, in two steps: locks the directory and checks manifest and
    /// history. Of a directory that was there nothing is changed before [`Beginning::begin`].
    pub fn prepare(path: impl AsRef<Path>, options: DirOptions) -> Result<Beginning, WalError> {
        let (path, mut epoch) = (path.as_ref(), 0);
        let dir = DataDir::open_at(path, options, |manifest| {
            History::refuse_standby(path, manifest.cluster)?;
            DirView::new(path, *manifest).check_epochs()?;
            epoch = next_epoch(manifest.epoch, path)?;
            // One that is made here is at epoch 1 from the beginning: a manifest has no 0.
            Ok(manifest.epoch.max(1))
        })?;
        let history = dir.coming_history(epoch, false)?;
        Ok(Beginning { dir, epoch, history })
    }

    /// For a primary, before it opens its streams: notes durably where the epochs before ended, and that this one
    /// has begun. With `promoted`, a standby becomes a primary by it.
    pub fn begin_history(&self, promoted: bool) -> Result<History, WalError> {
        let history = self.coming_history(self.epoch(), promoted)?;
        self.write_history(&history)?;
        Ok(history)
    }

    /// The history with `epoch` begun; changes nothing.
    pub(crate) fn coming_history(&self, epoch: u32, promoted: bool) -> Result<History, WalError> {
        self.view().check_has_history()?;
        let mut history = match self.history()? {
            Some(history) => history,
            None => History::new(self.cluster(), crate::dir::new_node()?, Role::Primary),
        };
        if history.role == Role::Standby && !promoted {
            return Err(WalError::IsStandby { path: self.path().into() });
        }
        if !promoted {
            self.view().check_against_history()?;
        }
        let node = history.node;
        let ends = self.ends(|info| info.epoch() < epoch && history.end(info.epoch(), 0).is_none())?;
        let known: Vec<u32> = ends.keys().map(|(epoch, _)| *epoch).collect();
        for of in known {
            if history.entry(of).is_none() {
                let at = history.epochs.partition_point(|entry| entry.epoch < of);
                history.epochs.insert(at, EpochEntry { epoch: of, node, ends: BTreeMap::new() });
            }
        }
        for entry in &mut history.epochs {
            let own = ends.range((entry.epoch, 0)..=(entry.epoch, u16::MAX));
            for (&(_, stream), end) in own {
                entry.ends.entry(stream).or_insert(end.position);
            }
        }
        self.end_seeded(&mut history, epoch)?;
        self.has_agreed(&history)?;
        if history.entry(epoch).is_none() {
            history.epochs.push(EpochEntry { epoch, node, ends: BTreeMap::new() });
        }
        history.role = Role::Primary;
        Ok(history)
    }

    /// Before an epoch is opened: whether all that both nodes had is here, as `history` is about to say.
    fn has_agreed(&self, history: &History) -> Result<(), WalError> {
        let mark = self.view().mark()?;
        let end = |epoch, stream| {
            let own = history.entry(epoch).and_then(|entry| entry.ends.get(&stream));
            own.copied().unwrap_or(0).max(mark.up_to(stream, epoch))
        };
        lack(&self.view().agreed()?, end).map_or(Ok(()), |lack| Err(lack.here(self.path())))
    }

    /// Of an epoch that lasted until `epoch`, a stream may have nothing here but what was trimmed: it ended there.
    fn end_seeded(&self, history: &mut History, epoch: u32) -> Result<(), WalError> {
        let mark = self.view().mark()?;
        let last = history.epochs.last_mut().filter(|last| last.epoch < epoch);
        let Some(last) = last else { return Ok(()) };
        for (&stream, kept) in mark.streams() {
            if kept.epoch == last.epoch && kept.number > 0 {
                last.ends.entry(stream).or_insert(kept.position);
            }
        }
        Ok(())
    }
}
