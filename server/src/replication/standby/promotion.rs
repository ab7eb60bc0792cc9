//! A standby becomes the primary.

use super::{FollowError, Leader, Standby};
use crate::catalogue::Catalogue;
use crate::core::{Recovered, recover};
use crate::replication::applier::{Applied, ApplyError};
use crate::replication::behind::Behind;
use crate::replication::causes::recover_caused;
use crate::replication::followed;
use frontrow_engine::{Clock, HugePages};
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
    pub recovered: Option<Recovered>,
    /// The events on sale, if they have been looked at.
    pub catalogue: Option<Catalogue>,
    /// The old primary's time, as far as it was heard.
    pub now_ms: Option<u64>,
    /// Rung when the process is told to end while it takes over.
    pub told: Arc<Notify>,
}

/// What is about to be served. No epoch is opened yet.
struct Settled {
    dir: DataDir,
    recovered: Recovered,
    /// By stream, how far the log goes without a gap, as far as that is known.
    have: BTreeMap<u16, (u32, u64)>,
    now_ms: Option<u64>,
    /// The epoch that was won in a cluster.
    won: Option<u32>,
}

impl Standby<'_> {
    /// What a node that has applied nothing is about to serve, before it opens an epoch: one that cannot be replayed
    /// must not keep the node away that could serve.
    fn replayed(&self, dir: &DataDir, have: &BTreeMap<u16, (u32, u64)>) -> Result<Recovered, FollowError> {
        if self.role != Some(Role::Standby) {
            return Ok(HugePages::populated(|| recover(dir, self.limits))?);
        }
        dir.check_promotable(have)?;
        Ok(recover_caused(dir, self.limits)?)
    }

    /// Opens the next epoch, with everything that has arrived applied, where there are no files of a catalogue.
    pub(in crate::replication) fn take_over(
        mut self,
        applied: Result<Applied, ApplyError>,
    ) -> Result<Promoted, FollowError> {
        let settled = self.settle(applied)?;
        self.open(settled, None)
    }

    /// The same; what is on sale must be good before.
    pub(super) fn take_over_catalogue(
        mut self,
        applied: Result<Applied, ApplyError>,
    ) -> Result<Promoted, FollowError> {
        let settled = self.settle(applied)?;
        let logged = settled.recovered.partitions.iter().flat_map(Partition::events);
        let catalogue = Catalogue::of_log(&self.path, logged)?;
        self.open(settled, Some(catalogue))
    }

    /// Everything that has arrived is applied, and what rests on what has not is cut.
    fn settle(&mut self, applied: Result<Applied, ApplyError>) -> Result<Settled, FollowError> {
        let now_ms = self.shared.lock().primary_ms();
        let won = self.leader.member().and_then(|member| member.won());
        let dir = match (self.dir.take(), won) {
            (Some(dir), _) => dir,
            // The first primary of a new cluster.
            (None, Some(_)) => {
                let partitions = self.config.partitions.count;
                let options = DirOptions { created_ms: Clock::wall_ms(), ..DirOptions::new(partitions) };
                DataDir::attend(&self.path, options, 1)?
            }
            (None, None) => return Err(WalError::NotInitialised { path: self.path.clone() }.into()),
        };
        let mut have: BTreeMap<_, _> =
            self.shared.lock().streams.iter().map(|(&stream, progress)| (stream, progress.have)).collect();
        let recovered = match applied {
            Ok(Applied { partitions, cuts }) if !partitions.is_empty() => {
                for &(stream, at) in &cuts {
                    tracing::warn!(stream, position = at.1, "cut: what follows rests on what has not come");
                    have.insert(stream, at);
                }
                dir.cut_streams(&cuts)?;
                Recovered::applied(partitions)
            }
            Ok(_) => self.replayed(&dir, &have)?,
            Err(error) => {
                tracing::error!(%error, "the log is replayed before this node serves");
                self.replayed(&dir, &have)?
            }
        };
        Ok(Settled { dir, recovered, have, now_ms, won })
    }

    /// Opens the next epoch.
    fn open(mut self, settled: Settled, catalogue: Option<Catalogue>) -> Result<Promoted, FollowError> {
        let Settled { dir, recovered, have, now_ms, won } = settled;
        // The session's threads are gone, and with them every other handle on the directory but the applier's.
        self.shared.change(|state| state.plan = None);
        let (dir, history) = match won {
            Some(epoch) => dir.open_epoch(epoch, self.node, &have)?,
            None => dir.promote()?,
        };
        self.enroll(&dir)?;
        Behind::forget(&dir)?;
        if let Leader::At(address) = &self.leader {
            followed::add(&dir, address)?;
        }
        tracing::warn!(epoch = dir.epoch(), "this node is the primary now");
        let (recovered, told) = (Some(recovered), Arc::clone(&self.shared.told));
        Ok(Promoted { dir, history, recovered, catalogue, now_ms, told })
    }
}
