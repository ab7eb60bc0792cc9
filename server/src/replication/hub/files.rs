//! Which of the catalogue's files the standby has: versions, counted up here, and told by it.

use super::Hub;
use std::sync::{MutexGuard, PoisonError};
use std::time::Duration;

#[derive(Default)]
pub(super) struct Files {
    pub(super) here: u64,
    pub(super) there: u64,
    pub(super) numbers: u64,
}

impl Hub {
    /// A file of the catalogue has changed, durably. Called before the log says anything that needs it.
    pub fn files_changed(&self) {
        self.lock_files().here += 1;
        self.files_moved.notify_all();
    }

    /// The version there is; waits at most `time` for another one than `sent`.
    pub(in crate::replication) fn files_version(&self, sent: u64, time: Duration) -> u64 {
        let mut files = self.lock_files();
        if files.here == sent {
            files = self.files_moved.wait_timeout(files, time).unwrap_or_else(PoisonError::into_inner).0;
        }
        files.here
    }

    /// The standby has all files up to this version.
    pub(in crate::replication) fn files_there(&self, version: u64) {
        self.lock_files().there = version;
        self.links.iter().for_each(|link| link.notify());
    }

    /// Whether the standby has every file that what is in the log by now may need.
    pub(in crate::replication) fn files_are_there(&self) -> bool {
        let files = self.lock_files();
        files.there >= files.here
    }

    pub(super) fn lock_files(&self) -> MutexGuard<'_, Files> {
        self.files.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
