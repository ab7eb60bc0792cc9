//! One stream of a session, from the primary's log to a copy here.

use super::wire::Wire;
use super::{CONNECT, FollowError};
use crate::replication::behind::Behind;
use crate::replication::link::Check;
use crate::replication::progress::Progress;
use crate::replication::status::{Shared, State};
use frontrow_engine::Clock;
use frontrow_wal::stream::{Hello, Mirror, Received, Receiver, StreamError};
use frontrow_wal::{DataDir, NodeId, Resume, WalError};
use std::sync::Arc;

/// One stream of a session.
pub(in crate::replication) struct Follower {
    pub(in crate::replication) stream: u16,
    pub(in crate::replication) from: Resume,
    pub(super) primary: String,
    pub(super) shared: Arc<Shared>,
    pub(super) dir: DataDir,
    pub(super) node: NodeId,
    pub(super) hello: Hello,
}

impl Follower {
    /// Copies the stream until the connection ends; then the whole session does.
    pub(super) fn run(self) -> Result<(), FollowError> {
        let result = self.copy();
        self.shared.change(State::close);
        result
    }

    fn copy(&self) -> Result<(), FollowError> {
        let mut wire = Wire::open(&self.primary, CONNECT, &self.shared)?;
        let mut receiver = self.ask();
        let hello = wire.hello(&mut receiver)?;
        self.welcome(&mut receiver, &hello)?;
        let mut mirror = Mirror::new(self.dir.clone(), self.stream);
        let mut have = (self.from.epoch, self.from.position);
        loop {
            wire.send(&mut receiver)?;
            if !wire.read_into(&mut receiver)? {
                return Ok(());
            }
            while self.take_one(&mut receiver, &mut mirror, &mut have)? {
                // What is durable is said at once: somebody's answer waits for it.
                wire.send(&mut receiver)?;
            }
            wire.beat(&mut receiver, have);
        }
    }

    /// Asks for the stream.
    pub(in crate::replication) fn ask(&self) -> Receiver {
        Receiver::new(self.stream, self.dir.cluster(), self.node, self.dir.epoch())
    }

    /// The primary has said who it is.
    pub(in crate::replication) fn welcome(
        &self,
        receiver: &mut Receiver,
        hello: &Hello,
    ) -> Result<(), FollowError> {
        if *hello != self.hello {
            return Err(StreamError::Unexpected("it has begun another epoch meanwhile").into());
        }
        receiver.welcome(self.from.epoch, self.from.position, self.from.sealed);
        Ok(())
    }

    /// What writes the stream down, with no thread of its own.
    pub(in crate::replication) fn mirror(&self) -> Mirror {
        Mirror::new(self.dir.clone(), self.stream).without_threads()
    }

    /// The primary has more than is here: noted before any of it is taken, for a part of it would look like all. Or all has come that
    /// there was: noted before the primary hears of it, who says then that this node has caught up.
    fn note_standing(&self) -> Result<(), WalError> {
        let (is_behind, lacks, has_all) = {
            let state = self.shared.lock();
            let lacks = state.streams.get(&self.stream).is_some_and(Progress::lacks_first);
            (state.behind.is_some(), lacks, state.has_caught_up_once())
        };
        if lacks && !is_behind {
            self.shared.note_behind(&self.dir, Behind::Begun)?;
        }
        if is_behind && has_all {
            self.shared.forget_behind(&self.dir)?;
        }
        Ok(())
    }

    /// Takes one thing that has arrived. Whether there was any.
    pub(in crate::replication) fn take_one(
        &self,
        receiver: &mut Receiver,
        mirror: &mut Mirror,
        have: &mut (u32, u64),
    ) -> Result<bool, FollowError> {
        let stream = self.stream;
        let progress = |change: &dyn Fn(&mut Progress)| {
            self.shared.change(|state| state.streams.get_mut(&stream).map(change));
        };
        let mut ack = None;
        match receiver.receive()? {
            None => return Ok(false),
            Some(Received::Segment(start)) => {
                let span = start.segment_bytes - frontrow_wal::SEGMENT_HEADER_BYTES;
                let lasts = start.epoch == self.hello.epoch;
                let end = self.hello.epochs.iter().find(|entry| entry.epoch == start.epoch);
                let end = end.and_then(|entry| entry.ends.get(&stream)).copied().unwrap_or(0);
                mirror.segment(start, lasts || end > start.first_position + span)?;
            }
            Some(Received::Data { segment, offset, bytes, batches, sealed }) => {
                ack = Some((segment.epoch, mirror.write(offset, bytes, &batches, sealed)?));
            }
            Some(Received::Committed { epoch, position }) => {
                progress(&|progress| progress.committed = progress.committed.max((epoch, position)));
            }
            Some(Received::Check { partition, lsn, hash }) => {
                self.shared.change(|state| state.checks.push(Check { partition, lsn, hash }));
            }
            Some(Received::Heartbeat { epoch, durable, .. }) => {
                let now = Clock::monotonic_ns();
                progress(&|progress| progress.heard((epoch, durable), now));
                self.note_standing()?;
            }
            Some(_) => {}
        }
        if let Some((epoch, position)) = ack {
            receiver.ack(epoch, position);
            *have = (epoch, position);
            progress(&|progress| progress.have = (epoch, position));
            if self.shared.lock().behind.is_some() {
                self.note_standing()?;
            }
        }
        Ok(true)
    }
}
