//! A standby becomes the primary.

use super::{FollowError, Standby};
use crate::replication::applier::{Applied, ApplyError};
use crate::replication::causes::recover_caused;
use frontrow_engine::Clock;
use frontrow_shard::Partition;
use frontrow_wal::{DataDir, DirOptions, History, Role, WalError};
use std::collections::BTreeMap;
use std::sync::Arc;
use tokio::sync::Notify;

/// What a promoted standby goes on with.
pub struct Promoted {
    /// Its directory, at the epoch it has opened.
    pub dir: DataDir,
    /// Its history, with that epoch.
    pub history: History,
    /// The partitions as they are after all that arrived; `None` if the log must be replayed.
    pub partitions: Option<Vec<Partition>>,
    /// The old primary's time, as far as it was heard.
    pub now_ms: Option<u64>,
    /// Rung when the process is told to end while it takes over.
    pub told: Arc<Notify>,
}

impl Standby<'_> {
    /// What a standby that has applied nothing is about to serve, before it opens an epoch: one that cannot be replayed
    /// must not keep the node away that could serve. `None` for a primary's directory, which is opened as at any start.
    fn replayed(
        &self,
        dir: &DataDir,
        have: &BTreeMap<u16, (u32, u64)>,
    ) -> Result<Option<Vec<Partition>>, FollowError> {
        if self.role != Some(Role::Standby) {
            return Ok(None);
        }
        dir.check_promotable(have)?;
        Ok(Some(recover_caused(dir, self.limits)?.partitions))
    }

    /// Opens the next epoch, with everything that has arrived applied.
    pub(in crate::replication) fn take_over(
        mut self,
        applied: Result<Applied, ApplyError>,
    ) -> Result<Promoted, FollowError> {
        let now_ms = self.shared.lock().primary_ms();
        let won = self.leader.member().and_then(|member| member.won());
        let dir = match (self.dir.take(), won) {
            (Some(dir), _) => dir,
            // The first primary of a new cluster.
            (None, Some(_)) => {
                let partitions = self.config.partitions.count;
                let options = DirOptions { created_ms: Clock::wall_ms(), ..DirOptions::new(partitions) };
                DataDir::attend(&self.path, options, 0)?
            }
            (None, None) => return Err(WalError::NotInitialised { path: self.path }.into()),
        };
        let mut have: BTreeMap<_, _> =
            self.shared.lock().streams.iter().map(|(&stream, progress)| (stream, progress.have)).collect();
        let partitions = match applied {
            Ok(Applied { partitions, cuts }) if !partitions.is_empty() => {
                for &(stream, at) in &cuts {
                    tracing::warn!(stream, position = at.1, "cut: what follows rests on what has not come");
                    have.insert(stream, at);
                }
                dir.cut_streams(&cuts)?;
                Some(partitions)
            }
            Ok(_) => self.replayed(&dir, &have)?,
            Err(error) => {
                tracing::error!(%error, "the log is replayed before this node serves");
                self.replayed(&dir, &have)?
            }
        };
        // The session's threads are gone, and with them every other handle on the directory but the applier's.
        self.shared.change(|state| state.plan = None);
        let (dir, history) = match won {
            Some(epoch) => dir.open_epoch(epoch, self.node, &have)?,
            None => dir.promote()?,
        };
        self.enroll(&dir)?;
        tracing::warn!(epoch = dir.epoch(), "this node is the primary now");
        Ok(Promoted { dir, history, partitions, now_ms, told: Arc::clone(&self.shared.told) })
    }
}
