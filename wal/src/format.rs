//! The bytes: segment header and record header. Drawn in `docs/log-format.md`.
//!
//! All integers are little-endian. The checksum is CRC-32C (Castagnoli).

/// A byte position in a stream: grows for ever, across segments and epochs.
///
/// A segment covers `segment_bytes - SEGMENT_HEADER_BYTES` positions whether or not it was filled.
pub type Position = u64;

/// Version of the directory and segment layout.
pub const FORMAT_VERSION: u32 = 1;
/// Version of the record header.
pub const RECORD_VERSION: u8 = 1;
/// Length of the segment header: one page, so that records start page-aligned.
pub const SEGMENT_HEADER_BYTES: u64 = 4096;
/// Length of a record header.
pub const RECORD_HEADER_BYTES: usize = 40;
/// Records start at multiples of this, and so do payloads.
pub const RECORD_ALIGN: usize = 8;
/// No payload is ever longer.
pub const PAYLOAD_BYTES_MAX: usize = 16 << 20;
/// The kind reserved for the record that ends a full segment. It is never given to a caller.
pub const KIND_SEAL: u8 = u8::MAX;
/// What the disk is assumed to write whole. A torn batch lacks whole sectors of this size.
pub(crate) const SECTOR_BYTES: usize = 512;

/// Offset of the payload's length in a record header.
pub(crate) const RECORD_LEN_AT: usize = 8;

const MAGIC: [u8; 8] = *b"FRLOGSEG";
const CRC_AT: usize = SEGMENT_HEADER_BYTES as usize - 4;

const _: () = assert!(RECORD_HEADER_BYTES.is_multiple_of(RECORD_ALIGN));
const _: () = assert!(SEGMENT_HEADER_BYTES.is_multiple_of(SECTOR_BYTES as u64));
const _: () = assert!(PAYLOAD_BYTES_MAX < u32::MAX as usize);

/// Bytes a record takes with its header and padding.
pub(crate) const fn record_bytes(payload_bytes: usize) -> usize {
    (RECORD_HEADER_BYTES + payload_bytes).next_multiple_of(RECORD_ALIGN)
}

/// Reads `N` bytes at `at`; the caller has checked the length.
pub(crate) fn bytes_at<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    let mut out = [0; N];
    out.copy_from_slice(&bytes[at..at + N]);
    out
}

/// Who a segment is. Found in its header and, except for the position and sizes, in its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SegmentHeader {
    pub(crate) stream: u16,
    pub(crate) epoch: u32,
    pub(crate) number: u32,
    pub(crate) cluster: u128,
    pub(crate) first_position: Position,
    pub(crate) segment_bytes: u64,
}

/// Why a segment header was not accepted.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum HeaderError {
    Version(u32),
    Damaged(&'static str),
}

impl SegmentHeader {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut page = vec![0; SEGMENT_HEADER_BYTES as usize];
        page[0..8].copy_from_slice(&MAGIC);
        page[8..12].copy_from_slice(&FORMAT_VERSION.to_le_bytes());
        page[12..14].copy_from_slice(&self.stream.to_le_bytes());
        page[16..20].copy_from_slice(&self.epoch.to_le_bytes());
        page[20..24].copy_from_slice(&self.number.to_le_bytes());
        page[24..40].copy_from_slice(&self.cluster.to_le_bytes());
        page[40..48].copy_from_slice(&self.first_position.to_le_bytes());
        page[48..56].copy_from_slice(&self.segment_bytes.to_le_bytes());
        let crc = crc32c::crc32c(&page[..CRC_AT]);
        page[CRC_AT..].copy_from_slice(&crc.to_le_bytes());
        page
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, HeaderError> {
        let Some(page) = bytes.get(..SEGMENT_HEADER_BYTES as usize) else {
            return Err(HeaderError::Damaged("the file is shorter than a segment header"));
        };
        if page[0..8] != MAGIC {
            return Err(HeaderError::Damaged("the segment header has no magic number"));
        }
        if crc32c::crc32c(&page[..CRC_AT]) != u32::from_le_bytes(bytes_at(page, CRC_AT)) {
            return Err(HeaderError::Damaged("the checksum of the segment header does not match"));
        }
        let version = u32::from_le_bytes(bytes_at(page, 8));
        if version != FORMAT_VERSION {
            return Err(HeaderError::Version(version));
        }
        Ok(SegmentHeader {
            stream: u16::from_le_bytes(bytes_at(page, 12)),
            epoch: u32::from_le_bytes(bytes_at(page, 16)),
            number: u32::from_le_bytes(bytes_at(page, 20)),
            cluster: u128::from_le_bytes(bytes_at(page, 24)),
            first_position: u64::from_le_bytes(bytes_at(page, 40)),
            segment_bytes: u64::from_le_bytes(bytes_at(page, 48)),
        })
    }

    pub(crate) fn file_name(&self) -> String {
        file_name(self.stream, self.epoch, self.number)
    }

    pub(crate) fn seed(&self) -> CrcSeed {
        CrcSeed::new(self.cluster, self.stream, self.epoch)
    }
}

pub(crate) fn file_name(stream: u16, epoch: u32, number: u32) -> String {
    format!("s{stream:04}-e{epoch:08}-{number:08}.seg")
}

/// `(stream, epoch, number)` of a segment's file name; `None` if it is no such name.
pub(crate) fn parse_file_name(name: &str) -> Option<(u16, u32, u32)> {
    let (stream, rest) = name.strip_prefix('s')?.split_once("-e")?;
    let (epoch, number) = rest.strip_suffix(".seg")?.split_once('-')?;
    let parsed = (stream.parse().ok()?, epoch.parse().ok()?, number.parse().ok()?);
    // Only the one spelling: "s1-e1-1.seg" or "s+001-…" must not stand for a second file.
    (file_name(parsed.0, parsed.1, parsed.2) == name).then_some(parsed)
}

/// Seeds a record's checksum with where it belongs, so that a misplaced or recycled block fails.
///
/// CRC is linear: two different seeds over the same bytes never give the same checksum. Seeds differ
/// for any two positions less than 4 GiB apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct CrcSeed(u32);

impl CrcSeed {
    pub(crate) fn new(cluster: u128, stream: u16, epoch: u32) -> Self {
        let crc = crc32c::crc32c(&cluster.to_le_bytes());
        let crc = crc32c::crc32c_append(crc, &stream.to_le_bytes());
        CrcSeed(crc32c::crc32c_append(crc, &epoch.to_le_bytes()))
    }

    /// The mark of a record that starts at `position`: both a field of its header, which rejects a
    /// wrong place before its length is believed, and the seed of its checksum.
    #[inline]
    pub(crate) fn mark(self, position: Position) -> u32 {
        self.0 ^ (position as u32) ^ ((position >> 32) as u32).rotate_left(16)
    }
}

/// Checksum of a whole record, padding included: of all behind checksum and mark, seeded with the mark.
///
/// What it covers is aligned and a multiple of 8 bytes long, the fast way of the hardware.
#[inline]
pub(crate) fn checksum(mark: u32, record: &[u8]) -> u32 {
    crc32c::crc32c_append(mark, &record[8..])
}

/// The fields of a record header, checksum apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct RecordHeader {
    pub(crate) len: u32,
    pub(crate) kind: u8,
    pub(crate) version: u8,
    pub(crate) partition: u16,
    pub(crate) epoch: u32,
    pub(crate) lsn: u64,
    pub(crate) time_ms: u64,
    /// Bytes from the start of the batch this record was written in to the record.
    pub(crate) batch_offset: u32,
    /// See [`CrcSeed::mark`].
    pub(crate) mark: u32,
}

impl RecordHeader {
    /// What stands behind checksum and mark. In whole words, as the checksum will read it: what was just written
    /// in smaller pieces is not yet there to be read as one.
    #[inline]
    fn words(&self) -> [u64; 4] {
        let label = u64::from(self.len)
            | u64::from(self.kind) << 32
            | u64::from(self.version) << 40
            | u64::from(self.partition) << 48;
        [label, u64::from(self.epoch) | u64::from(self.batch_offset) << 32, self.lsn, self.time_ms]
    }

    #[inline]
    pub(crate) fn decode(bytes: &[u8; RECORD_HEADER_BYTES]) -> Self {
        RecordHeader {
            mark: u32::from_le_bytes(bytes_at(bytes, 4)),
            len: u32::from_le_bytes(bytes_at(bytes, RECORD_LEN_AT)),
            kind: bytes[12],
            version: bytes[13],
            partition: u16::from_le_bytes(bytes_at(bytes, 14)),
            epoch: u32::from_le_bytes(bytes_at(bytes, 16)),
            batch_offset: u32::from_le_bytes(bytes_at(bytes, 20)),
            lsn: u64::from_le_bytes(bytes_at(bytes, 24)),
            time_ms: u64::from_le_bytes(bytes_at(bytes, 32)),
        }
    }
}

/// Writes header and checksum into `record`, which is the whole record: header, payload, padding.
#[inline]
pub(crate) fn write_header(record: &mut [u8], header: &RecordHeader) {
    for (field, word) in record[8..RECORD_HEADER_BYTES].chunks_exact_mut(8).zip(header.words()) {
        field.copy_from_slice(&word.to_le_bytes());
    }
    let crc = checksum(header.mark, record);
    record[..4].copy_from_slice(&crc.to_le_bytes());
    record[4..8].copy_from_slice(&header.mark.to_le_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_have_one_spelling() {
        assert_eq!(parse_file_name("s0003-e00000002-00000017.seg"), Some((3, 2, 17)));
        for name in ["s3-e2-17.seg", "s0003-e00000002-00000017.seg.tmp", "s0003-e00000002-+0000017.seg", "x"]
        {
            assert_eq!(parse_file_name(name), None, "{name}");
        }
    }

    #[test]
    fn a_record_fails_at_every_other_position() {
        let seed = CrcSeed::new(7, 1, 1);
        let at = |position| checksum(seed.mark(position), &[5; 64]);
        assert!((1..100_000).all(|step| at(step * 8) != at(0)));
        assert_ne!(at(1 << 32), at(0));
    }
}
