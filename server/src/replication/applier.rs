//! From the standby's log to its partitions: what recovery does at a start, done all the time.

use super::causes::is_early;
use super::link::Check;
use super::progress::{At, Progress};
use super::status::{Shared, State};
use super::view::{self, Views};
use crate::core::{RecoveryError, load, logged};
use frontrow_plant::{Bug, planted};
use frontrow_shard::{Limits, Lsn, Partition, ReplayError, Replayer, RowRef};
use frontrow_wal::stream::{Piece, SeekError, SegmentStart, Source, records};
use frontrow_wal::{DataDir, History, WalError};
use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

/// How long it waits for news before it looks again.
const TICK: Duration = Duration::from_millis(200);

/// Why applying has stopped. The log is copied all the same.
#[derive(Debug, thiserror::Error)]
pub(super) enum ApplyError {
    #[error(transparent)]
    Log(#[from] WalError),
    #[error("its own log cannot be read from where it was: {0}")]
    Seek(#[from] SeekError),
    #[error(transparent)]
    Record(#[from] ReplayError),
    #[error("its snapshots: {0}")]
    Snapshot(#[from] RecoveryError),
    #[error(
        "partition {partition} is not what the primary has at record {lsn} (state {ours:016x}, there {theirs:016x}); keep both \
         data directories and report it, then make this node anew"
    )]
    Differs { partition: u16, lsn: u64, ours: u64, theirs: u64 },
    #[error(
        "stream {stream} cannot go on: records of partition {partition} between {last} and {found} are in no stream"
    )]
    Gap { stream: u16, partition: u16, last: u64, found: u64 },
}

/// One stream of the standby's own log.
struct Lane {
    source: Source,
    segment: SegmentStart,
    /// What was read and is not applied yet, from `offset` of the segment on.
    bytes: Vec<u8>,
    offset: u32,
    applied: At,
}

impl Lane {
    /// Where what is not applied begins.
    fn next(&self) -> At {
        let offset = u64::from(self.offset) - frontrow_wal::SEGMENT_HEADER_BYTES;
        (self.segment.epoch, self.segment.first_position + offset)
    }
}

/// What became of a step in a lane.
enum Step {
    Applied,
    Nothing,
    /// The next record needs records of its partition from another stream first.
    Blocked {
        partition: u16,
        last: u64,
        found: u64,
    },
    /// The next record is a message whose sender, in another stream, has not written it yet.
    Early,
}

/// Everything that came, applied.
pub(super) struct Applied {
    pub(super) partitions: Vec<Partition>,
    /// By stream, from where on its log rests on what has not come.
    pub(super) cuts: Vec<(u16, At)>,
}

/// Replays what arrives.
pub(super) struct Applier {
    shared: Arc<Shared>,
    limits: Limits,
    partitions: Vec<Partition>,
    lanes: BTreeMap<u16, Lane>,
    history: Option<History>,
    plan: u64,
    checks: Vec<Check>,
    replayer: Replayer,
    /// By partition, the last record handed to the replayer, which applies it by and by.
    last: Vec<Lsn>,
    /// Whether the last turn found nothing to do.
    idle: bool,
    /// Up to where nothing more could be applied the last time.
    swept: BTreeMap<u16, At>,
    /// Those who look at what is applied.
    views: Arc<Views>,
    /// Sections whose rows are told as they change, and the rows that have since the last time.
    watched: HashSet<RowRef>,
    dirty: HashSet<RowRef>,
}

impl Applier {
    pub(super) fn new(shared: Arc<Shared>, limits: Limits, views: Arc<Views>) -> Self {
        let (partitions, lanes): (Vec<Partition>, _) = (Vec::new(), BTreeMap::new());
        let (replayer, last) = (Replayer::new(partitions.as_slice()), Vec::new());
        let (checks, watched, dirty) = (Vec::new(), HashSet::new(), HashSet::new());
        Self {
            shared,
            limits,
            partitions,
            lanes,
            history: None,
            plan: 0,
            checks,
            replayer,
            last,
            idle: true,
            swept: BTreeMap::new(),
            views,
            watched,
            dirty,
        }
    }

    /// Runs until the standby ends; then everything that has come is applied. An error is told at once.
    pub(super) fn run(mut self) -> Result<Applied, ApplyError> {
        loop {
            match self.turn(TICK) {
                Ok(false) => {}
                Ok(true) => {
                    self.views.end();
                    return Ok(self.into_applied());
                }
                Err(error) => {
                    tracing::error!(%error, "the standby does not apply any more; it goes on copying the log");
                    self.shared.change(|state| state.broken = Some(error.to_string()));
                    self.views.end();
                    return Err(error);
                }
            }
        }
    }

    /// Does what there is to do, and waits for it, at most for `time`. True at the end.
    pub(super) fn turn(&mut self, time: Duration) -> Result<bool, ApplyError> {
        let shared = Arc::clone(&self.shared);
        let news = |state: &State| {
            let held = state.hold && state.held;
            state.finish
                || state.stop
                || self.views.is_asked()
                || (!held && (state.hold || !self.idle || self.has_news(state)))
        };
        let mut state = shared.wait(time, news);
        if state.hold && !state.stop {
            drop(state);
            self.idle = true;
            self.let_go();
            return Ok(false);
        }
        let (finish, stop) = (state.finish, state.stop);
        self.checks.append(&mut state.checks);
        let plan = state.plan.as_ref().filter(|(number, ..)| *number != self.plan).cloned();
        let limits: BTreeMap<u16, At> = state
            .streams
            .iter()
            .map(|(stream, p)| (*stream, self.may_apply(p.have, p.committed, finish)))
            .collect();
        drop(state);
        if stop && !finish {
            return Ok(true);
        }
        if let Some((number, dir, history)) = plan {
            self.begin(number, &dir, history, limits.len() as u16)?;
            // The limits are to be seen by the new history.
            self.idle = false;
            return Ok(false);
        }
        self.compare_standing()?;
        self.idle = !self.sweep(&limits, finish)?;
        self.swept = if self.idle { limits } else { BTreeMap::new() };
        self.publish();
        self.show();
        if finish && self.idle {
            self.replayer.reconcile(self.partitions.as_mut_slice());
            return Ok(true);
        }
        Ok(false)
    }

    /// The partitions as far as they are applied.
    pub(super) fn partitions(&self) -> &[Partition] {
        &self.partitions
    }

    /// Whether the last turn found nothing to do.
    pub(super) fn is_idle(&self) -> bool {
        self.idle
    }

    /// Where it stands in each stream, in words.
    pub(super) fn standing(&self) -> String {
        let lane = |(stream, lane): (&u16, &Lane)| {
            format!("stream {stream} at {:?} with {} bytes read", lane.applied, lane.bytes.len())
        };
        self.lanes.iter().map(lane).collect::<Vec<_>>().join(", ")
    }

    /// What it has come to, once it has ended.
    pub(super) fn into_applied(self) -> Applied {
        let last = self.history.as_ref().map_or(0, History::epoch);
        // What ended before is whole.
        let rests = |lane: &Lane| !lane.bytes.is_empty() && lane.segment.epoch == last;
        let lanes = self.lanes.iter().filter(|(_, lane)| rests(lane));
        let cuts = lanes.map(|(&stream, lane)| (stream, lane.next())).collect();
        Applied { partitions: self.partitions, cuts }
    }

    /// The log is about to be another one: nothing of it is held any more, and it is begun anew.
    fn let_go(&mut self) {
        self.hide();
        self.lanes.clear();
        (self.partitions, self.last, self.history) = (Vec::new(), Vec::new(), None);
        self.replayer = Replayer::new(self.partitions.as_slice());
        self.checks.clear();
        self.shared.change(|state| state.held = true);
    }

    fn has_news(&self, state: &State) -> bool {
        let lane = |(stream, p): (&u16, &Progress)| {
            let limit = self.may_apply(p.have, p.committed, false);
            // One that waits for another stream is looked at again when that has come further.
            self.lanes.get(stream).is_some_and(|lane| lane.applied < limit)
                && self.swept.get(stream) != Some(&limit)
        };
        state.plan.as_ref().is_some_and(|(number, ..)| *number != self.plan)
            || !state.checks.is_empty()
            || state.streams.iter().any(lane)
    }

    /// Up to where a stream may be applied: earlier epochs as they ended, the present one as far as it is committed.
    fn may_apply(&self, have: At, committed: At, all: bool) -> At {
        let present = self.history.as_ref().map_or(0, History::epoch);
        if all || have.0 < present {
            return have;
        }
        if committed.0 == have.0 { (have.0, have.1.min(committed.1)) } else { (have.0, 0) }
    }

    /// Goes by a new history: from where it was, if that is part of it, else from the beginning.
    fn begin(
        &mut self,
        number: u64,
        dir: &DataDir,
        history: History,
        streams: u16,
    ) -> Result<(), ApplyError> {
        if !planted(Bug::OldChecksKept) {
            self.checks.clear();
        }
        let same = |epoch: u32| {
            let (old, new) = (self.history.as_ref().and_then(|old| old.entry(epoch)), history.entry(epoch));
            old.zip(new).is_some_and(|(old, new)| old.node == new.node)
        };
        let holds = |(stream, lane): (&u16, &Lane)| {
            let (epoch, position) = lane.applied;
            epoch == 0 || (same(epoch) && history.end(epoch, *stream).is_none_or(|end| position <= end))
        };
        let keep = !self.partitions.is_empty() && self.lanes.iter().all(holds);
        if !keep {
            if !self.partitions.is_empty() {
                tracing::warn!("the history has changed behind what was applied: the state is built anew");
            }
            self.shared.change(|state| state.streams.values_mut().for_each(Progress::begin_anew));
            self.hide();
            self.lanes.clear();
            // One copy at a time.
            self.partitions = Vec::new();
            self.partitions = from_snapshots(dir, self.limits)?;
            self.replayer = Replayer::new(self.partitions.as_slice());
            self.last = self.partitions.iter().map(Partition::lsn).collect();
        }
        for stream in 0..streams {
            let applied = self.lanes.get(&stream).map_or((0, 0), |lane| lane.applied);
            let (dir, history) = (dir.clone(), history.clone());
            let source = match applied.0 {
                0 => Source::from_start(dir, stream, history),
                _ => Source::seek(dir, stream, history, applied)?,
            };
            let segment = SegmentStart { epoch: 0, number: 0, first_position: 0, segment_bytes: 0 };
            self.lanes.insert(stream, Lane { source, segment, bytes: Vec::new(), offset: 0, applied });
        }
        (self.plan, self.history) = (number, Some(history));
        self.shared.change(|state| state.begun = number);
        Ok(())
    }

    /// Applies what there is, in all streams, as often as one of them gets further. Whether any did.
    fn sweep(&mut self, limits: &BTreeMap<u16, At>, finish: bool) -> Result<bool, ApplyError> {
        let (mut any, mut blocked) = (false, None);
        let streams: Vec<u16> = self.lanes.keys().copied().collect();
        for stream in streams {
            let Some(&limit) = limits.get(&stream) else { continue };
            loop {
                let step = self.step(stream, limit)?;
                self.show();
                match step {
                    Step::Applied => any = true,
                    Step::Nothing | Step::Early => break,
                    Step::Blocked { partition, last, found } => {
                        blocked = Some(ApplyError::Gap { stream, partition, last, found });
                        break;
                    }
                }
            }
        }
        self.replayer.finish(self.partitions.as_mut_slice())?;
        match blocked {
            Some(gap) if finish && !any => Err(gap),
            _ => Ok(any),
        }
    }

    /// Reads a piece of a stream, or applies one that was read.
    fn step(&mut self, stream: u16, limit: At) -> Result<Step, ApplyError> {
        let Some(lane) = self.lanes.get_mut(&stream) else { return Ok(Step::Nothing) };
        if lane.bytes.is_empty() {
            match lane.source.next(limit)? {
                Piece::Segment(start) => lane.segment = start,
                Piece::Data { segment, offset, bytes } => {
                    (lane.segment, lane.offset) = (segment, offset);
                    lane.bytes.extend_from_slice(bytes);
                }
                Piece::End => return Ok(Step::Nothing),
            }
        }
        let (mut step, mut done) = (Step::Applied, 0);
        for record in records(lane.segment, lane.offset, &lane.bytes) {
            // A partition that does not exist is for the replayer to tell.
            let last = self.last.get(usize::from(record.partition)).copied().unwrap_or(record.lsn - 1);
            if record.lsn > last + 1 {
                step = Step::Blocked { partition: record.partition, last, found: record.lsn };
                break;
            }
            if record.lsn == last + 1 {
                if is_early(&mut self.replayer, &mut self.partitions, &record)? {
                    step = Step::Early;
                    break;
                }
                self.replayer.push(self.partitions.as_mut_slice(), &logged(&record))?;
                if let Some(last) = self.last.get_mut(usize::from(record.partition)) {
                    *last = record.lsn;
                }
                if !self.checks.is_empty() {
                    self.replayer.finish(self.partitions.as_mut_slice())?;
                    compare(&mut self.checks, &self.partitions, record.partition, &self.shared)?;
                }
            }
            lane.applied = (lane.segment.epoch, record.position);
            let end = record.position - lane.segment.first_position + frontrow_wal::SEGMENT_HEADER_BYTES;
            done = end as u32 - lane.offset;
        }
        match step {
            Step::Blocked { .. } | Step::Early if done == 0 => {}
            Step::Blocked { .. } | Step::Early => {
                lane.bytes.drain(..done as usize);
                lane.offset += done;
                step = Step::Applied;
            }
            _ => lane.bytes.clear(),
        }
        Ok(step)
    }

    /// Compares what stands where the primary says it does.
    fn compare_standing(&mut self) -> Result<(), ApplyError> {
        let mut numbers: Vec<u16> = self.checks.iter().map(|check| check.partition).collect();
        numbers.dedup();
        for number in numbers {
            compare(&mut self.checks, &self.partitions, number, &self.shared)?;
        }
        Ok(())
    }

    fn publish(&self) {
        let mut state = self.shared.lock();
        state.applied.clear();
        state.applied.extend(self.partitions.iter().map(Partition::lsn));
        // An event is made in all partitions.
        state.events.clear();
        state.events.extend(self.partitions.first().iter().flat_map(|partition| partition.events()));
        for (stream, lane) in &self.lanes {
            if let Some(progress) = state.streams.get_mut(stream) {
                progress.reached(lane.applied);
            }
        }
    }
}

impl Applier {
    /// Shows what is asked for, and what has changed of what is watched. Done between two pieces of the log: whoever
    /// looks waits for at most one, and what is shown is a copy.
    fn show(&mut self) {
        if self.views.is_asked() {
            let wanted = self.views.wanted();
            for (section, askers) in wanted.sections {
                let shown = view::read(&self.partitions, section).map(Arc::new);
                for asker in askers {
                    // One who has gone needs no answer.
                    let _ = asker.send(shown.clone());
                }
            }
            for (section, on) in wanted.orders {
                if on {
                    self.watched.insert(section);
                    self.dirty.extend(view::rows(&self.partitions, section));
                } else {
                    self.watched.remove(&section);
                }
            }
            self.replayer.note_rows(!self.watched.is_empty());
        }
        let watched = &self.watched;
        let changed = self.replayer.take_rows().filter(|row| watched.contains(&row.section_of()));
        self.dirty.extend(changed);
        if self.dirty.is_empty() {
            return;
        }
        let partitions = &self.partitions;
        let rows = self.dirty.drain().filter_map(|row| Some((row, view::state(partitions, row)?)));
        self.views.tell(rows.collect());
    }

    /// What is applied is about to be let go of: nobody looks at it any more.
    fn hide(&mut self) {
        self.watched.clear();
        self.dirty.clear();
        self.views.cut();
    }
}

/// The partitions as this node's newest snapshots have them; from their beginning where there is none.
fn from_snapshots(dir: &DataDir, limits: Limits) -> Result<Vec<Partition>, ApplyError> {
    let (files, count) = (dir.snapshots()?, dir.partitions());
    let one = |id| {
        let base = dir.view().newest_snapshot(&files, id)?;
        Ok(load(base.as_ref(), id, count, limits)?)
    };
    (0..count).map(one).collect()
}

/// Compares a partition with what the primary says of it at this record; what is past is dropped.
fn compare(
    checks: &mut Vec<Check>,
    partitions: &[Partition],
    number: u16,
    shared: &Shared,
) -> Result<(), ApplyError> {
    let Some(partition) = partitions.get(usize::from(number)) else { return Ok(()) };
    let (lsn, mut result) = (partition.lsn(), Ok(()));
    checks.retain(|check| {
        if check.partition != number || check.lsn > lsn {
            return true;
        }
        if check.lsn == lsn {
            let ours = partition.state_hash();
            if ours == check.hash {
                shared.lock().checked += 1;
            } else {
                result = Err(ApplyError::Differs { partition: number, lsn, ours, theirs: check.hash });
            }
        }
        false
    });
    result
}
