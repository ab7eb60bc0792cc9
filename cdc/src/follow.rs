//! Follows the log: everything that is durable, as changes, those of each partition in its order.
//!
//! A partition's records may lie in several streams, for which core wrote them differs from epoch to epoch. Their LSNs
//! have no gaps, so a record is taken once the one before it has been, wherever that lay.

use crate::change::{Change, Kind};
use crate::derive::{ChangeError, Record, changes};
use crate::sink::{Batch, Begun, Mark, Places};
use frontrow_shard::{Epoch, Lsn, PartitionId};
use frontrow_wal::stream::{Piece, SeekError, SegmentStart, Source, records};
use frontrow_wal::{DataDir, History, Position, SEGMENT_HEADER_BYTES};

/// Why the log cannot be followed any further.
#[derive(Debug, thiserror::Error)]
pub enum FollowError {
    /// The log.
    #[error(transparent)]
    Log(#[from] SeekError),
    /// A record does not say what it changed; see [`FollowError::needs_state`].
    #[error(transparent)]
    Change(#[from] ChangeError),
    /// The log does not go back so far.
    #[error(
        "partition {partition} was followed up to record {last}, and the log goes on at {found}: the state is to be taken \
         from a snapshot"
    )]
    Gap {
        /// The partition.
        partition: PartitionId,
        /// What was taken last.
        last: Lsn,
        /// What comes next in the log.
        found: Lsn,
    },
    /// What was taken over before is not a part of this log's history.
    #[error(
        "record {lsn} of partition {partition} was followed in epoch {taken}, and in this log it is of epoch {found}: what was \
         taken over comes from a node that has been cut to another history"
    )]
    OtherHistory {
        /// The partition.
        partition: PartitionId,
        /// The record.
        lsn: Lsn,
        /// As it was taken over.
        taken: Epoch,
        /// As it is.
        found: Epoch,
    },
}

impl FollowError {
    /// Whether it goes on from a snapshot that stands for what cannot be followed.
    pub fn needs_state(&self) -> bool {
        let untold = |error: &ChangeError| !matches!(error, ChangeError::Record(_));
        match self {
            Self::Gap { .. } | Self::Log(SeekError::Gone { .. }) => true,
            Self::Change(error) => untold(error),
            Self::Log(_) | Self::OtherHistory { .. } => false,
        }
    }
}

/// One stream of the log.
struct Lane {
    source: Source,
    segment: SegmentStart,
    /// Whole records, of which those before `from` are taken; they lie at `offset` of the segment.
    bytes: Vec<u8>,
    from: usize,
    offset: u32,
    /// Behind the last record that was taken.
    at: (Epoch, Position),
    /// Nothing more is durable in it.
    at_end: bool,
}

#[derive(PartialEq, Eq)]
enum Step {
    Further,
    Nothing,
    /// Its next record comes after one that is not taken.
    Waits {
        partition: PartitionId,
        last: Lsn,
        found: Lsn,
    },
}

/// Reads the log of a primary that is being written.
pub struct Follower {
    lanes: Vec<Lane>,
    taken: Vec<Mark>,
    epoch: Epoch,
    /// A record's changes.
    told: Vec<Change>,
}

impl Follower {
    /// Follows `streams` streams of `dir` behind what is there already.
    pub fn new(dir: &DataDir, history: &History, streams: u16, begun: &Begun) -> Self {
        let source = |stream| {
            let place = begun.places.get(&stream).copied().unwrap_or_default();
            let there = match place {
                (0, _) => None,
                // The log may have been trimmed, or cut, since: then all of it is read, and what is there is passed over.
                place => Source::seek(dir.clone(), stream, history.clone(), place).ok(),
            };
            match there {
                Some(source) => (source, place),
                None => (Source::from_start(dir.clone(), stream, history.clone()), (0, 0)),
            }
        };
        let lane = |stream| {
            let (source, at) = source(stream);
            let segment = SegmentStart { epoch: 0, number: 0, first_position: 0, segment_bytes: 0 };
            Lane { source, segment, bytes: Vec::new(), from: 0, offset: 0, at, at_end: false }
        };
        let taken = |of| begun.marks.get(&of).copied().unwrap_or_default();
        let taken = (0..dir.partitions()).map(taken).collect();
        Self { lanes: (0..streams).map(lane).collect(), taken, epoch: history.epoch(), told: Vec::new() }
    }

    /// Adds what is durable to a batch until that has `most` changes; `durable` says by stream up to where the epoch
    /// under way is, `wanted` which kinds are kept. Whether there may be more.
    pub fn take(
        &mut self,
        durable: &dyn Fn(u16) -> Position,
        (wanted, most): (&dyn Fn(Kind) -> bool, usize),
        batch: &mut Batch,
    ) -> Result<bool, FollowError> {
        loop {
            let (mut any, mut waits) = (false, None);
            for (lane, stream) in self.lanes.iter_mut().zip(0..) {
                let have = (self.epoch, durable(stream));
                loop {
                    match step(lane, &mut self.taken, have, (wanted, most), (&mut self.told, batch))? {
                        Step::Further => any = true,
                        Step::Nothing => break,
                        Step::Waits { partition, last, found } => {
                            waits = Some(FollowError::Gap { partition, last, found });
                            break;
                        }
                    }
                    if batch.changes.len() >= most {
                        return Ok(true);
                    }
                }
            }
            match waits {
                _ if any => {}
                // Of earlier epochs everything is there, and in this one a partition has one stream.
                Some(gap) => return Err(gap),
                None => return Ok(false),
            }
        }
    }

    /// By stream, up to where it was taken. `cores` write; a stream of earlier cores is taken as a whole in the end.
    pub fn positions(&self, cores: usize) -> impl Iterator<Item = Position> + '_ {
        let one = move |(number, lane): (usize, &Lane)| {
            if number >= cores && lane.at_end { Position::MAX } else { lane.at.1 }
        };
        self.lanes.iter().enumerate().map(one)
    }

    /// By stream, behind which record everything before was taken.
    pub fn places(&self) -> Places {
        (0..).zip(&self.lanes).map(|(stream, lane)| (stream, lane.at)).filter(|(_, at)| at.0 > 0).collect()
    }

    /// By partition, what was taken last.
    pub fn taken(&self) -> &[Mark] {
        &self.taken
    }
}

/// Takes what a lane has read, or reads more.
fn step(
    lane: &mut Lane,
    taken: &mut [Mark],
    have: (Epoch, Position),
    (wanted, most): (&dyn Fn(Kind) -> bool, usize),
    (told, batch): (&mut Vec<Change>, &mut Batch),
) -> Result<Step, FollowError> {
    if lane.from == lane.bytes.len() {
        match lane.source.next(have)? {
            Piece::End => {
                lane.at_end = true;
                return Ok(Step::Nothing);
            }
            Piece::Segment(start) => lane.segment = start,
            Piece::Data { segment, offset, bytes } => {
                (lane.segment, lane.offset, lane.from) = (segment, offset, 0);
                lane.bytes.clear();
                lane.bytes.extend_from_slice(bytes);
            }
        }
        lane.at_end = false;
        return Ok(Step::Further);
    }
    let before = lane.from;
    let mut waits = None;
    let begin = lane.offset + lane.from as u32;
    for record in records(lane.segment, begin, &lane.bytes[lane.from..]) {
        // One of a partition that does not exist is nobody's.
        let Some(mark) = taken.get_mut(usize::from(record.partition)) else { continue };
        let (partition, lsn, epoch) = (record.partition, record.lsn, record.epoch);
        if lsn > mark.lsn + 1 {
            waits = Some(Step::Waits { partition, last: mark.lsn, found: lsn });
            break;
        }
        if lsn == mark.lsn && epoch != mark.epoch {
            return Err(FollowError::OtherHistory { partition, lsn, taken: mark.epoch, found: epoch });
        }
        if lsn > mark.lsn {
            let (time_ms, kind, payload) = (record.time_ms, record.kind, record.payload);
            told.clear();
            changes(&Record { partition, epoch, lsn, time_ms, kind, payload }, told)?;
            batch.changes.extend(told.drain(..).filter(|change| wanted(change.kind)));
            *mark = Mark { epoch, lsn };
            batch.upto.insert(partition, *mark);
            batch.records += 1;
        }
        lane.at = (lane.segment.epoch, record.position);
        let end = record.position - lane.segment.first_position + SEGMENT_HEADER_BYTES;
        lane.from = (end - u64::from(lane.offset)) as usize;
        if batch.changes.len() >= most {
            return Ok(Step::Further);
        }
    }
    match waits {
        Some(waits) if lane.from == before => Ok(waits),
        Some(_) => Ok(Step::Further),
        // The seal is no record.
        None => {
            lane.from = lane.bytes.len();
            Ok(Step::Further)
        }
    }
}
