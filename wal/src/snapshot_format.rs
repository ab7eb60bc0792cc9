//! The bytes of a snapshot file. Drawn in `docs/log-format.md`.
//!
//! ```text
//! 0        4096                                          file's end
//! | header | body, padded with zeros to 8 | checksum of each block |
//! ```
//!
//! The header's own checksum seeds those of the blocks, together with each block's number: a block of
//! another snapshot, or of another place in this one, does not pass.

use crate::format::bytes_at;

/// Version of the snapshot file's layout.
pub const SNAPSHOT_VERSION: u32 = 1;
/// Length of a snapshot's header: one page, so that the body is aligned for any use of it in place.
pub const SNAPSHOT_HEADER_BYTES: usize = 4096;
/// What one checksum of a snapshot's body covers.
pub(crate) const SNAPSHOT_BLOCK_BYTES: usize = 64 << 10;
/// No body is ever longer. Far above what a partition can be; keeps sizes from overflowing.
pub const SNAPSHOT_BODY_BYTES_MAX: u64 = 1 << 40;

const MAGIC: [u8; 8] = *b"FRSNAPSH";
const CRC_AT: usize = SNAPSHOT_HEADER_BYTES - 4;
const BODY_ALIGN: usize = 8;

/// Which state a snapshot holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SnapshotMeta {
    /// The caller's partition.
    pub partition: u16,
    /// The last record the state contains.
    pub lsn: u64,
    /// The epoch of that record.
    pub epoch: u32,
    /// The caller's time, in milliseconds.
    pub time_ms: u64,
    /// The caller's hash of the state, to be compared after loading it.
    pub state_hash: u64,
}

/// A snapshot's header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SnapshotHeader {
    pub(crate) meta: SnapshotMeta,
    pub(crate) cluster: u128,
    pub(crate) partitions: u16,
    pub(crate) body_bytes: u64,
}

/// Why bytes are not a snapshot.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum SnapshotError {
    Version(u32),
    Damaged(u64, &'static str),
}

impl SnapshotHeader {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let SnapshotHeader { meta, cluster, partitions, body_bytes } = self;
        let mut page = vec![0; SNAPSHOT_HEADER_BYTES];
        page[0..8].copy_from_slice(&MAGIC);
        page[8..12].copy_from_slice(&SNAPSHOT_VERSION.to_le_bytes());
        page[12..14].copy_from_slice(&meta.partition.to_le_bytes());
        page[14..16].copy_from_slice(&partitions.to_le_bytes());
        page[16..20].copy_from_slice(&meta.epoch.to_le_bytes());
        page[24..40].copy_from_slice(&cluster.to_le_bytes());
        page[40..48].copy_from_slice(&meta.lsn.to_le_bytes());
        page[48..56].copy_from_slice(&meta.time_ms.to_le_bytes());
        page[56..64].copy_from_slice(&meta.state_hash.to_le_bytes());
        page[64..72].copy_from_slice(&body_bytes.to_le_bytes());
        let crc = crc32c::crc32c(&page[..CRC_AT]);
        page[CRC_AT..].copy_from_slice(&crc.to_le_bytes());
        page
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, SnapshotError> {
        let damaged = |at: usize, why| Err(SnapshotError::Damaged(at as u64, why));
        let Some(page) = bytes.get(..SNAPSHOT_HEADER_BYTES) else {
            return damaged(bytes.len(), "the file is shorter than a snapshot header");
        };
        if page[0..8] != MAGIC {
            return damaged(0, "the snapshot header has no magic number");
        }
        if crc32c::crc32c(&page[..CRC_AT]) != u32::from_le_bytes(bytes_at(page, CRC_AT)) {
            return damaged(0, "the checksum of the snapshot header does not match");
        }
        let version = u32::from_le_bytes(bytes_at(page, 8));
        if version != SNAPSHOT_VERSION {
            return Err(SnapshotError::Version(version));
        }
        let header = SnapshotHeader {
            meta: SnapshotMeta {
                partition: u16::from_le_bytes(bytes_at(page, 12)),
                epoch: u32::from_le_bytes(bytes_at(page, 16)),
                lsn: u64::from_le_bytes(bytes_at(page, 40)),
                time_ms: u64::from_le_bytes(bytes_at(page, 48)),
                state_hash: u64::from_le_bytes(bytes_at(page, 56)),
            },
            partitions: u16::from_le_bytes(bytes_at(page, 14)),
            cluster: u128::from_le_bytes(bytes_at(page, 24)),
            body_bytes: u64::from_le_bytes(bytes_at(page, 64)),
        };
        if header.body_bytes > SNAPSHOT_BODY_BYTES_MAX {
            return damaged(64, "the header gives the body a length that none has");
        }
        Ok(header)
    }

    /// Length of the body with its padding.
    fn padded_bytes(&self) -> u64 {
        self.body_bytes.next_multiple_of(BODY_ALIGN as u64)
    }

    /// Length of the whole file.
    pub(crate) fn file_bytes(&self) -> u64 {
        let blocks = self.padded_bytes().div_ceil(SNAPSHOT_BLOCK_BYTES as u64);
        SNAPSHOT_HEADER_BYTES as u64 + self.padded_bytes() + 4 * blocks
    }
}

/// What stands behind a body: its padding and the blocks' checksums. `page` is the encoded header.
pub(crate) fn tail_of(page: &[u8], body: &[u8]) -> Vec<u8> {
    let seed = seed(page);
    let padding = body.len().next_multiple_of(BODY_ALIGN) - body.len();
    let mut tail = vec![0; padding];
    for (number, block) in body.chunks(SNAPSHOT_BLOCK_BYTES).enumerate() {
        // A whole block needs no padding, so the padding is the last block's.
        let mut crc = block_checksum(seed, number, block);
        if block.len() < SNAPSHOT_BLOCK_BYTES {
            crc = crc32c::crc32c_append(crc, &[0; BODY_ALIGN][..padding]);
        }
        tail.extend_from_slice(&crc.to_le_bytes());
    }
    tail
}

/// The header's checksum.
fn seed(page: &[u8]) -> u32 {
    u32::from_le_bytes(bytes_at(page, CRC_AT))
}

fn block_checksum(seed: u32, number: usize, block: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c_append(seed, &(number as u32).to_le_bytes()), block)
}

/// Checks a whole file; gives its header and where its body lies. Lengths are checked before they are used.
pub(crate) fn check(bytes: &[u8]) -> Result<(SnapshotHeader, std::ops::Range<usize>), SnapshotError> {
    let header = SnapshotHeader::decode(bytes)?;
    let len = bytes.len() as u64;
    if len != header.file_bytes() {
        let why = "the file's length is not the one in its header";
        return Err(SnapshotError::Damaged(len.min(header.file_bytes()), why));
    }
    let body_end = SNAPSHOT_HEADER_BYTES + header.padded_bytes() as usize;
    let (body, table) = (&bytes[SNAPSHOT_HEADER_BYTES..body_end], &bytes[body_end..]);
    let seed = seed(bytes);
    for (number, block) in body.chunks(SNAPSHOT_BLOCK_BYTES).enumerate() {
        if block_checksum(seed, number, block) != u32::from_le_bytes(bytes_at(table, 4 * number)) {
            let at = SNAPSHOT_HEADER_BYTES + number * SNAPSHOT_BLOCK_BYTES;
            return Err(SnapshotError::Damaged(at as u64, "the checksum of this block does not match"));
        }
    }
    let end = SNAPSHOT_HEADER_BYTES + header.body_bytes as usize;
    if bytes[end..body_end].iter().any(|&byte| byte != 0) {
        return Err(SnapshotError::Damaged(end as u64, "the padding is not zero"));
    }
    Ok((header, SNAPSHOT_HEADER_BYTES..end))
}

/// Feeds arbitrary bytes to the reader as a snapshot: as they are, and with a header and checksums made
/// good so that a fuzzer gets past them. Never panics.
pub fn fuzz_snapshot(data: &[u8]) {
    let accepts = |bytes: &[u8]| {
        check(bytes).ok().inspect(|(header, body)| {
            assert_eq!(body.len() as u64, header.body_bytes, "the body is what the header says");
            let page = header.encode();
            let whole = [&page, &bytes[body.clone()], &tail_of(&page, &bytes[body.clone()])].concat();
            assert!(whole == bytes, "one state has one spelling");
        })
    };
    accepts(data);
    let number = |at: usize| data.get(at..at + 8).map_or(0, |eight| u64::from_le_bytes(bytes_at(eight, 0)));
    let meta = SnapshotMeta {
        partition: number(0) as u16,
        lsn: number(8),
        epoch: number(16) as u32,
        time_ms: number(24),
        state_hash: number(32),
    };
    let cluster = u128::from(number(40));
    let header = SnapshotHeader { meta, cluster, partitions: 64, body_bytes: data.len() as u64 };
    let page = header.encode();
    let mut whole = [&page, data, &tail_of(&page, data)].concat();
    assert!(accepts(&whole).is_some(), "what is written reads back");
    let bit = number(48) as usize % (whole.len() * 8);
    whole[bit / 8] ^= 1 << (bit % 8);
    assert!(accepts(&whole).is_none(), "a flipped bit passed");
    // Its lengths made up: the header is good, what it says is not.
    let page = SnapshotHeader { body_bytes: number(56), ..header }.encode();
    accepts(&[&page, data].concat());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_length_around_a_block_reads_back_and_nothing_else() {
        for len in [0, 1, 7, 8, 9, SNAPSHOT_BLOCK_BYTES - 1, SNAPSHOT_BLOCK_BYTES, SNAPSHOT_BLOCK_BYTES + 1] {
            let data: Vec<u8> = (0..len).map(|at| (at * 31 % 251) as u8).collect();
            fuzz_snapshot(&data);
        }
        for short in [0, 1, 4095, 4096, 4097] {
            fuzz_snapshot(&vec![0xff; short]);
            assert!(check(&vec![0; short]).is_err());
        }
    }
}
