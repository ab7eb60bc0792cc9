//! A whole partition as bytes, and back.
//!
//! A snapshot is the complete state at one LSN: what is built from it gives the same answers, effects, records and
//! state hashes from then on as the partition that was saved. The bytes are canonical: one state has one form, so a
//! snapshot of what was loaded is the snapshot it was loaded from. What is not state is not in it: indexes, links and
//! timers are built anew, which leaves little that could contradict itself.
//!
//! The layout is written by hand, little-endian, number after number. rkyv, which the log's records are made with,
//! would need every arena mirrored by a type of its own and a second copy of them all in memory, only to be
//! copied into the arenas again; and it could check bytes but not what they mean: that a free list ends, that no
//! seat is held twice. The letters between partitions are the exception: they stand here as the records in which
//! their receivers will log them.
//!
//! A header ([`SnapshotHeader`]) is followed by parts, each with its tag and length, in a fixed order. What
//! belongs to files (checksums, names, which cluster) is not here but where the file is written.
//!
//! Loading trusts nothing: bytes that were damaged, or written by a program with a defect, give a
//! [`SnapshotError`], never a panic; and no more memory is asked for than the bytes account for, until the state
//! hash has agreed.

pub(crate) mod bytes;
mod error;

use crate::ids::{Epoch, Lsn, Millis, PartitionId};
use crate::record::RECORD_VERSION;
pub(crate) use bytes::{Reader, Writer};
pub use error::SnapshotError;

/// Version of the layout; a snapshot of another one is refused.
pub const SNAPSHOT_VERSION: u16 = 1;

const MAGIC: [u8; 8] = *b"FRPARTIT";

/// No position and no time is ever beyond this, so that counting on from them cannot overflow.
pub(crate) const HIGHEST: u64 = 1 << 62;

/// What a snapshot says of itself, in front.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SnapshotHeader {
    /// Which partition it is.
    pub partition: PartitionId,
    /// Of how many.
    pub partitions: u16,
    /// The last operation in it.
    pub lsn: Lsn,
    /// The time of that operation.
    pub now: Millis,
    /// The state's digest: [`crate::Partition::state_hash`].
    pub state_hash: u64,
    /// Where each epoch began.
    pub epochs: Vec<(Lsn, Epoch)>,
}

impl SnapshotHeader {
    /// Reads the header alone. What follows it is not looked at.
    pub fn read(bytes: &[u8]) -> Result<Self, SnapshotError> {
        Self::load(&mut Reader::new(bytes, "header"))
    }

    pub(crate) fn save(&self, out: &mut Writer<'_>) {
        out.bytes(&MAGIC);
        out.u16(SNAPSHOT_VERSION);
        out.u8(RECORD_VERSION);
        out.u8(0);
        out.u16(self.partition);
        out.u16(self.partitions);
        out.u64(self.lsn);
        out.u64(self.now);
        out.u64(self.state_hash);
        out.u32(self.epochs.len() as u32);
        for &(lsn, epoch) in &self.epochs {
            out.u64(lsn);
            out.u32(epoch);
        }
    }

    pub(crate) fn load(input: &mut Reader<'_>) -> Result<Self, SnapshotError> {
        if input.take(MAGIC.len())? != MAGIC {
            return Err(SnapshotError::NotASnapshot);
        }
        let (version, records, zero) = (input.u16()?, input.u8()?, input.u8()?);
        if version != SNAPSHOT_VERSION || records != RECORD_VERSION {
            return Err(SnapshotError::Version { snapshot: version, records });
        }
        let (partition, partitions) = (input.u16()?, input.u16()?);
        let (lsn, now, state_hash) = (input.u64()?, input.u64()?, input.u64()?);
        let mut epochs: Vec<(Lsn, Epoch)> = Vec::new();
        for _ in 0..input.count(12)? {
            let next = (input.u64()?, input.u32()?);
            let last = epochs.last().copied().unwrap_or_default();
            input.check(next.0 <= lsn && next.0 > last.0 && next.1 > last.1, "epochs out of order")?;
            epochs.push(next);
        }
        input.check(zero == 0, "an unused byte is used")?;
        input
            .check(partition < partitions && partitions <= crate::ids::MAX_PARTITIONS, "no such partition")?;
        input.check(lsn < HIGHEST && now < HIGHEST, "a position or time out of all bounds")?;
        Ok(Self { partition, partitions, lsn, now, state_hash, epochs })
    }
}

/// For a fuzzer: loading never panics, and what loads is saved again and the same.
pub fn fuzz_load(data: &[u8]) {
    let limits = crate::Limits { requests: 64, parties: 64, queues: 8, tasks: 8 };
    let Ok(header) = SnapshotHeader::read(data) else { return };
    let load = |bytes: &[u8]| crate::Partition::load(bytes, header.partition, header.partitions, limits);
    let save = |part: &crate::Partition| {
        let mut bytes = Vec::new();
        part.save(&mut bytes).expect("writing to memory does not fail");
        bytes
    };
    // The first time its memory of requests may be cut down to this size.
    let Ok(part) = load(data) else { return };
    let first = save(&part);
    let again = load(&first).expect("what was saved is loaded");
    assert_eq!(again.state_hash(), part.state_hash());
    assert_eq!(save(&again), first);
    let events = crate::Partition::events_in(&first).expect("what was saved is read");
    assert!(events.into_iter().eq(again.events()));
}
