//! Frames: a header with checksum, length, number and kind, and a body. Drawn in `docs/replication.md`.

use std::collections::BTreeMap;

use super::error::{RefusalCode, StreamError};
use crate::format::{PAYLOAD_BYTES_MAX, Position, bytes_at};
use crate::history::{EpochEntry, History, NodeId};
use crate::seed::Floor;

/// Version of everything here.
pub const PROTOCOL_VERSION: u32 = 2;
/// The stream number of a connection that carries files and time instead of a stream.
pub const CONTROL: u16 = u16::MAX;
/// No stream either: whoever asks for it takes no follower's place. It says which epoch it has opened, and hears whether that is
/// the last; with epoch 0 it asks no more than whether a primary is there.
pub const CLAIM: u16 = u16::MAX - 1;
/// Longest body before the other end has said who it is.
pub(crate) const HANDSHAKE_BYTES_MAX: usize = 1 << 20;
/// Longest body: the longest record, and room for what stands before it.
pub(crate) const FRAME_BYTES_MAX: usize = PAYLOAD_BYTES_MAX + (64 << 10);
/// Most bytes of a file in one frame.
pub const FILE_PIECE_BYTES: usize = 1 << 20;

const HEADER_BYTES: usize = 16;
const MAGIC: [u8; 8] = *b"FRSTREAM";
/// A buffer that grew for one large frame is given back when it is empty.
const KEPT_BYTES: usize = 4 << 20;
const NAME_BYTES_MAX: usize = 255;

fn seed() -> u32 {
    crc32c::crc32c(b"frontrow-stream 1")
}

/// What a primary says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hello {
    /// The stream this connection is for.
    pub stream: u16,
    /// Partitions of the cluster.
    pub partitions: u16,
    /// Streams there are or were.
    pub streams: u16,
    /// The primary's epoch.
    pub epoch: u32,
    /// The cluster.
    pub cluster: u128,
    /// The primary.
    pub node: NodeId,
    /// When the cluster was made, in milliseconds since 1970.
    pub created_ms: u64,
    /// Its history; the last one is its own epoch.
    pub epochs: Vec<EpochEntry>,
}

/// A refusal, with what it is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Refusal {
    /// Why.
    pub code: RefusalCode,
    /// See the table in `docs/replication.md`.
    pub detail: u64,
    /// Who refuses.
    pub cluster: u128,
}

impl Refusal {
    /// Whoever is refused lacks what both nodes had: a stream of an epoch up to a position. The cluster's field says which.
    pub(crate) fn lacking(epoch: u32, stream: u16, position: u64) -> Self {
        let cluster = u128::from(epoch) << 16 | u128::from(stream);
        Refusal { code: RefusalCode::Lacking, detail: position, cluster }
    }

    /// Epoch, stream and position of what this end is said to lack.
    pub(crate) fn lacked(&self) -> Option<(u32, u16, u64)> {
        let (epoch, stream) = ((self.cluster >> 16) as u32, self.cluster as u16);
        (self.code == RefusalCode::Lacking).then_some((epoch, stream, self.detail))
    }

    /// What it means and what to do, in a sentence.
    pub fn meaning(&self) -> String {
        let Refusal { code, detail, cluster } = self;
        match code {
            RefusalCode::OtherCluster => {
                format!(
                    "it belongs to cluster {cluster:032x}; correct the address; only a new node begins with an \
                     empty data directory"
                )
            }
            RefusalCode::EpochOver => {
                format!("epoch {detail} has begun elsewhere; follow the node that opened it")
            }
            RefusalCode::Version => {
                format!("it speaks version {detail} of replication; run the same version on both nodes")
            }
            RefusalCode::SnapshotNeeded => format!(
                "its log begins at epoch {detail} by now, behind what is here; this node is seeded from its snapshots next"
            ),
            RefusalCode::NoSuchStream => {
                format!("it has {detail} streams; run the same version on both nodes")
            }
            RefusalCode::BadPosition => format!(
                "no record of it begins at position {detail}; this node's log is another one, or damaged: verify both"
            ),
            RefusalCode::Taken => {
                "another standby follows it; stop that one, or wait until its connection has ended".into()
            }
            RefusalCode::Lacking => {
                format!(
                    "it has acknowledged records up to position {detail} that are missing here; see its log"
                )
            }
        }
    }
}

/// Where a segment's data begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SegmentStart {
    /// Its epoch.
    pub epoch: u32,
    /// Its number.
    pub number: u32,
    /// Position of its first record.
    pub first_position: Position,
    /// Length of its file.
    pub segment_bytes: u64,
}

/// A file beside the log, by what is in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileMeta {
    /// Its name.
    pub name: String,
    /// Its length.
    pub len: u64,
    /// CRC-32C of its bytes.
    pub crc: u32,
}

/// One frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Frame<'a> {
    /// A standby asks for a stream.
    Follow {
        /// Which version it speaks.
        version: u32,
        /// Which stream, or [`CONTROL`].
        stream: u16,
        /// Its cluster; 0 if it has none yet.
        cluster: u128,
        /// The standby.
        node: NodeId,
        /// The highest epoch it has seen.
        seen: u32,
    },
    /// The primary answers.
    Hello(Hello),
    /// From where the standby wants the stream.
    Welcome {
        /// The epoch.
        epoch: u32,
        /// The position of the first byte it does not have.
        position: Position,
    },
    /// No.
    Refuse(Refusal),
    /// What follows lies in this segment.
    Segment(SegmentStart),
    /// Whole records.
    Data {
        /// The segment's epoch.
        epoch: u32,
        /// The segment's number.
        number: u32,
        /// Where in its file.
        offset: u32,
        /// The records.
        bytes: &'a [u8],
    },
    /// Durable at the standby.
    Ack {
        /// In this epoch.
        epoch: u32,
        /// Up to here.
        position: Position,
    },
    /// May be applied.
    Committed {
        /// In this epoch.
        epoch: u32,
        /// Up to here.
        position: Position,
    },
    /// What a partition's state is at an LSN.
    Check {
        /// The partition.
        partition: u16,
        /// After this record.
        lsn: u64,
        /// Its digest.
        hash: u64,
    },
    /// A piece of a file.
    File {
        /// The whole file.
        meta: FileMeta,
        /// Where the piece begins.
        offset: u64,
        /// The piece.
        bytes: &'a [u8],
    },
    /// Still here.
    Heartbeat {
        /// The server's time; from a standby, what it says of itself.
        time_ms: u64,
        /// The epoch of the position.
        epoch: u32,
        /// Durable at the sender of this.
        durable: Position,
    },
    /// The files a standby has.
    Files(Vec<FileMeta>),
    /// Everything up to this version of the primary's files has been sent; or, back, is durable.
    FilesDone {
        /// The version.
        version: u64,
    },
    /// A standby cannot go on from what it has: it wants the mark and the snapshots that the log stands on.
    SeedWanted,
    /// All of them have been sent.
    SeedDone {
        /// How many files they were.
        files: u32,
        /// What of the log is in them.
        floor: Floor,
    },
}

impl Frame<'_> {
    fn kind(&self) -> u8 {
        match self {
            Frame::Follow { .. } => 1,
            Frame::Hello(_) => 2,
            Frame::Welcome { .. } => 3,
            Frame::Refuse(_) => 4,
            Frame::Segment(_) => 5,
            Frame::Data { .. } => 6,
            Frame::Ack { .. } => 7,
            Frame::Committed { .. } => 8,
            Frame::Check { .. } => 9,
            Frame::File { .. } => 10,
            Frame::Heartbeat { .. } => 11,
            Frame::Files(_) => 12,
            Frame::FilesDone { .. } => 13,
            Frame::SeedWanted => 14,
            Frame::SeedDone { .. } => 15,
        }
    }
}

/// Appends frames to a buffer, numbered.
#[derive(Debug, Default)]
pub struct Encoder {
    next: u32,
}

impl Encoder {
    /// Appends one frame.
    pub fn put(&mut self, frame: &Frame<'_>, out: &mut Vec<u8>) {
        let start = out.len();
        out.extend_from_slice(&[0; HEADER_BYTES]);
        write_body(frame, out);
        let len = (out.len() - start - HEADER_BYTES) as u32;
        let header = &mut out[start..start + HEADER_BYTES];
        header[4..8].copy_from_slice(&len.to_le_bytes());
        header[8..12].copy_from_slice(&self.next.to_le_bytes());
        header[12] = frame.kind();
        let crc = crc32c::crc32c_append(seed(), &out[start + 4..]);
        out[start..start + 4].copy_from_slice(&crc.to_le_bytes());
        self.next = self.next.wrapping_add(1);
    }
}

fn write_body(frame: &Frame<'_>, out: &mut Vec<u8>) {
    let place = |epoch: u32, position: u64, out: &mut Vec<u8>| {
        out.extend_from_slice(&epoch.to_le_bytes());
        out.extend_from_slice(&[0; 4]);
        out.extend_from_slice(&position.to_le_bytes());
    };
    match frame {
        Frame::Follow { version, stream, cluster, node, seen } => {
            out.extend_from_slice(&MAGIC);
            out.extend_from_slice(&version.to_le_bytes());
            out.extend_from_slice(&stream.to_le_bytes());
            out.extend_from_slice(&[0; 2]);
            out.extend_from_slice(&cluster.to_le_bytes());
            out.extend_from_slice(&node.to_le_bytes());
            out.extend_from_slice(&seen.to_le_bytes());
            out.extend_from_slice(&[0; 4]);
        }
        Frame::Hello(hello) => write_hello(hello, out),
        Frame::Welcome { epoch, position }
        | Frame::Ack { epoch, position }
        | Frame::Committed { epoch, position } => place(*epoch, *position, out),
        Frame::Refuse(Refusal { code, detail, cluster }) => {
            place(code.number(), *detail, out);
            out.extend_from_slice(&cluster.to_le_bytes());
        }
        Frame::Segment(SegmentStart { epoch, number, first_position, segment_bytes }) => {
            out.extend_from_slice(&epoch.to_le_bytes());
            out.extend_from_slice(&number.to_le_bytes());
            out.extend_from_slice(&first_position.to_le_bytes());
            out.extend_from_slice(&segment_bytes.to_le_bytes());
        }
        Frame::Data { epoch, number, offset, bytes } => {
            out.extend_from_slice(&epoch.to_le_bytes());
            out.extend_from_slice(&number.to_le_bytes());
            out.extend_from_slice(&offset.to_le_bytes());
            out.extend_from_slice(&[0; 4]);
            out.extend_from_slice(bytes);
        }
        Frame::Check { partition, lsn, hash } => {
            out.extend_from_slice(&partition.to_le_bytes());
            out.extend_from_slice(&[0; 6]);
            out.extend_from_slice(&lsn.to_le_bytes());
            out.extend_from_slice(&hash.to_le_bytes());
        }
        Frame::File { meta, offset, bytes } => {
            out.extend_from_slice(&meta.len.to_le_bytes());
            out.extend_from_slice(&offset.to_le_bytes());
            out.extend_from_slice(&meta.crc.to_le_bytes());
            write_name(&meta.name, out);
            out.extend_from_slice(bytes);
        }
        Frame::Heartbeat { time_ms, epoch, durable } => {
            out.extend_from_slice(&time_ms.to_le_bytes());
            place(*epoch, *durable, out);
        }
        Frame::Files(files) => {
            out.extend_from_slice(&(files.len() as u32).to_le_bytes());
            for file in files {
                out.extend_from_slice(&file.len.to_le_bytes());
                out.extend_from_slice(&file.crc.to_le_bytes());
                write_name(&file.name, out);
            }
        }
        Frame::FilesDone { version } => out.extend_from_slice(&version.to_le_bytes()),
        Frame::SeedWanted => {}
        Frame::SeedDone { files, floor } => {
            out.extend_from_slice(&files.to_le_bytes());
            out.extend_from_slice(&floor.epoch.to_le_bytes());
            write_positions(&floor.streams, out);
        }
    }
}

fn write_positions(positions: &BTreeMap<u16, Position>, out: &mut Vec<u8>) {
    out.extend_from_slice(&(positions.len() as u32).to_le_bytes());
    for (stream, position) in positions {
        out.extend_from_slice(&stream.to_le_bytes());
        out.extend_from_slice(&position.to_le_bytes());
    }
}

fn write_name(name: &str, out: &mut Vec<u8>) {
    out.extend_from_slice(&(name.len() as u16).to_le_bytes());
    out.extend_from_slice(&[0; 2]);
    out.extend_from_slice(name.as_bytes());
}

fn write_hello(hello: &Hello, out: &mut Vec<u8>) {
    out.extend_from_slice(&PROTOCOL_VERSION.to_le_bytes());
    for short in [hello.stream, hello.partitions, hello.streams, 0] {
        out.extend_from_slice(&short.to_le_bytes());
    }
    out.extend_from_slice(&hello.epoch.to_le_bytes());
    out.extend_from_slice(&hello.cluster.to_le_bytes());
    out.extend_from_slice(&hello.node.to_le_bytes());
    out.extend_from_slice(&hello.created_ms.to_le_bytes());
    out.extend_from_slice(&(hello.epochs.len() as u32).to_le_bytes());
    for entry in &hello.epochs {
        out.extend_from_slice(&entry.epoch.to_le_bytes());
        out.extend_from_slice(&entry.node.to_le_bytes());
        write_positions(&entry.ends, out);
    }
}

/// Takes bytes apart into frames.
#[derive(Debug)]
pub struct Decoder {
    buffer: Vec<u8>,
    at: usize,
    next: u32,
    limit: usize,
}

impl Decoder {
    /// Bodies longer than `limit` are refused before any room is made for them.
    pub(crate) fn new(limit: usize) -> Self {
        Decoder { buffer: Vec::new(), at: 0, next: 0, limit }
    }

    /// From now on bodies may be so long.
    pub(crate) fn set_limit(&mut self, limit: usize) {
        self.limit = limit;
    }

    /// Adds bytes that have arrived.
    pub fn push(&mut self, bytes: &[u8]) {
        if self.at == self.buffer.len() {
            self.buffer.clear();
            self.buffer.shrink_to(KEPT_BYTES);
            self.at = 0;
        } else if self.at > KEPT_BYTES {
            self.buffer.drain(..self.at);
            self.at = 0;
        }
        self.buffer.extend_from_slice(bytes);
    }

    /// The next whole frame, if it has arrived. After an error there is no next one.
    pub fn next_frame(&mut self) -> Result<Option<Frame<'_>>, StreamError> {
        let rest = &self.buffer[self.at..];
        let Some(header) = rest.first_chunk::<HEADER_BYTES>() else { return Ok(None) };
        let len = u32::from_le_bytes(bytes_at(header, 4)) as usize;
        if len > self.limit || header[13..] != [0; 3] {
            return Err(self.bad("a frame's header is none"));
        }
        let Some(whole) = rest.get(..HEADER_BYTES + len) else { return Ok(None) };
        if crc32c::crc32c_append(seed(), &whole[4..]) != u32::from_le_bytes(bytes_at(header, 0)) {
            return Err(self.bad("a frame's checksum does not match"));
        }
        if u32::from_le_bytes(bytes_at(header, 8)) != self.next {
            return Err(StreamError::Damaged("a frame is missing, repeated or out of turn"));
        }
        self.next = self.next.wrapping_add(1);
        let from = self.at + HEADER_BYTES;
        self.at = from + len;
        let kind = header[12];
        read_body(kind, Body(&self.buffer[from..from + len]))
            .map(Some)
            .ok_or(StreamError::Damaged("a frame's body is not what its kind says"))
    }

    /// What is no frame at the very beginning is something else altogether.
    fn bad(&self, why: &'static str) -> StreamError {
        if self.next == 0 { StreamError::Garbage(why) } else { StreamError::Damaged(why) }
    }
}

/// Reads a body from its front. Every read checks what is there.
struct Body<'a>(&'a [u8]);

impl<'a> Body<'a> {
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (head, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*head)
    }
    fn u16(&mut self) -> Option<u16> {
        self.take().map(u16::from_le_bytes)
    }
    fn u32(&mut self) -> Option<u32> {
        self.take().map(u32::from_le_bytes)
    }
    fn u64(&mut self) -> Option<u64> {
        self.take().map(u64::from_le_bytes)
    }
    fn u128(&mut self) -> Option<u128> {
        self.take().map(u128::from_le_bytes)
    }
    fn zero<const N: usize>(&mut self) -> Option<()> {
        (self.take::<N>()? == [0; N]).then_some(())
    }
    fn place(&mut self) -> Option<(u32, u64)> {
        let epoch = self.u32()?;
        self.zero::<4>()?;
        Some((epoch, self.u64()?))
    }
    /// A plain file name: nothing that leads out of a folder.
    fn name(&mut self) -> Option<String> {
        let len = usize::from(self.u16()?);
        self.zero::<2>()?;
        let (name, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b".-_".contains(byte);
        let good = (1..=NAME_BYTES_MAX).contains(&len) && name[0] != b'.' && name.iter().all(plain);
        good.then(|| String::from_utf8_lossy(name).into_owned())
    }
    fn rest(&mut self) -> &'a [u8] {
        std::mem::take(&mut self.0)
    }
    /// How many items follow: no more than the bytes that are left can hold.
    fn count(&mut self, least_bytes: usize) -> Option<usize> {
        let count = self.u32()? as usize;
        (count <= self.0.len() / least_bytes).then_some(count)
    }
    /// Positions by stream. One spelling only: rising, none twice.
    fn positions(&mut self) -> Option<BTreeMap<u16, Position>> {
        let mut found = BTreeMap::new();
        for _ in 0..self.count(10)? {
            let (stream, position) = (self.u16()?, self.u64()?);
            let rising = found.last_key_value().is_none_or(|(last, _)| *last < stream);
            (rising && found.insert(stream, position).is_none()).then_some(())?;
        }
        Some(found)
    }
}

fn read_body(kind: u8, mut body: Body<'_>) -> Option<Frame<'_>> {
    let frame = match kind {
        1 => {
            if body.take::<8>()? != MAGIC {
                return None;
            }
            let (version, stream) = (body.u32()?, body.u16()?);
            body.zero::<2>()?;
            let (cluster, node, seen) = (body.u128()?, body.u64()?, body.u32()?);
            body.zero::<4>()?;
            Frame::Follow { version, stream, cluster, node, seen }
        }
        2 => Frame::Hello(read_hello(&mut body)?),
        3 => body.place().map(|(epoch, position)| Frame::Welcome { epoch, position })?,
        4 => {
            let (code, detail) = body.place()?;
            Frame::Refuse(Refusal { code: RefusalCode::of(code)?, detail, cluster: body.u128()? })
        }
        5 => Frame::Segment(SegmentStart {
            epoch: body.u32()?,
            number: body.u32()?,
            first_position: body.u64()?,
            segment_bytes: body.u64()?,
        }),
        6 => {
            let (epoch, number, offset) = (body.u32()?, body.u32()?, body.u32()?);
            body.zero::<4>()?;
            Frame::Data { epoch, number, offset, bytes: body.rest() }
        }
        7 => body.place().map(|(epoch, position)| Frame::Ack { epoch, position })?,
        8 => body.place().map(|(epoch, position)| Frame::Committed { epoch, position })?,
        9 => {
            let partition = body.u16()?;
            body.zero::<6>()?;
            Frame::Check { partition, lsn: body.u64()?, hash: body.u64()? }
        }
        10 => {
            let (len, offset, crc) = (body.u64()?, body.u64()?, body.u32()?);
            let meta = FileMeta { name: body.name()?, len, crc };
            Frame::File { meta, offset, bytes: body.rest() }
        }
        11 => {
            let time_ms = body.u64()?;
            let (epoch, durable) = body.place()?;
            Frame::Heartbeat { time_ms, epoch, durable }
        }
        12 => {
            let count = body.count(16)?;
            let one = |_| read_file_meta(&mut body);
            Frame::Files((0..count).map(one).collect::<Option<_>>()?)
        }
        13 => Frame::FilesDone { version: body.u64()? },
        14 => Frame::SeedWanted,
        15 => {
            let (files, epoch) = (body.u32()?, body.u32()?);
            Frame::SeedDone { files, floor: Floor { epoch, streams: body.positions()? } }
        }
        _ => return None,
    };
    body.0.is_empty().then_some(frame)
}

fn read_file_meta(body: &mut Body<'_>) -> Option<FileMeta> {
    let (len, crc) = (body.u64()?, body.u32()?);
    Some(FileMeta { name: body.name()?, len, crc })
}

/// The version comes first, and is all that is read of another one.
fn read_hello(body: &mut Body<'_>) -> Option<Hello> {
    let version = body.u32()?;
    let (stream, partitions, streams) = (body.u16()?, body.u16()?, body.u16()?);
    body.zero::<2>()?;
    let (epoch, cluster, node, created_ms) = (body.u32()?, body.u128()?, body.u64()?, body.u64()?);
    let count = body.count(16)?;
    let mut epochs = Vec::with_capacity(count);
    for _ in 0..count {
        let (epoch, node) = (body.u32()?, body.u64()?);
        epochs.push(EpochEntry { epoch, node, ends: body.positions()? });
    }
    let last: Option<&EpochEntry> = epochs.last();
    let good = version == PROTOCOL_VERSION
        && History::in_order(&epochs)
        && last.is_some_and(|last| last.epoch == epoch)
        && cluster != 0
        && partitions > 0;
    good.then_some(Hello { stream, partitions, streams, epoch, cluster, node, created_ms, epochs })
}

/// Splits fuzzer's bytes into frames whose headers are good: the first byte of each says the kind, the
/// second how long the body is.
pub(crate) fn make_good(data: &[u8]) -> Vec<u8> {
    let (mut out, mut rest, mut number) = (Vec::new(), data, 0_u32);
    while let [kind, len, more @ ..] = rest {
        let body = &more[..more.len().min(usize::from(*len))];
        let start = out.len();
        out.extend_from_slice(&[0; HEADER_BYTES]);
        out.extend_from_slice(body);
        out[start + 4..start + 8].copy_from_slice(&(body.len() as u32).to_le_bytes());
        out[start + 8..start + 12].copy_from_slice(&number.to_le_bytes());
        out[start + 12] = *kind;
        let crc = crc32c::crc32c_append(seed(), &out[start + 4..]);
        out[start..start + 4].copy_from_slice(&crc.to_le_bytes());
        (rest, number) = (&more[body.len()..], number + 1);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn samples() -> Vec<Frame<'static>> {
        let epochs = crate::history::tests::sample().epochs;
        let meta = FileMeta { name: "7.plan.json".into(), len: 5, crc: 9 };
        vec![
            Frame::Follow { version: 1, stream: 3, cluster: 0, node: 5, seen: 2 },
            Frame::Hello(Hello {
                stream: 3,
                partitions: 16,
                streams: 4,
                epoch: 100_000,
                cluster: 0xfeed,
                node: 9,
                created_ms: 17,
                epochs,
            }),
            Frame::Welcome { epoch: 2, position: 81_234 },
            Frame::Refuse(Refusal { code: RefusalCode::EpochOver, detail: 7, cluster: 1 }),
            Frame::Refuse(Refusal::lacking(100_000, 3, 90_112)),
            Frame::Segment(SegmentStart { epoch: 2, number: 1, first_position: 9, segment_bytes: 65_536 }),
            Frame::Data { epoch: 2, number: 1, offset: 4096, bytes: &[1, 2, 3] },
            Frame::Ack { epoch: 2, position: 3 },
            Frame::Committed { epoch: 2, position: 2 },
            Frame::Check { partition: 3, lsn: 4, hash: 5 },
            Frame::File { meta: meta.clone(), offset: 0, bytes: b"hello" },
            Frame::Heartbeat { time_ms: 1, epoch: 2, durable: 3 },
            Frame::Files(vec![meta]),
            Frame::FilesDone { version: 6 },
            Frame::SeedWanted,
            Frame::SeedDone {
                files: 3,
                floor: Floor { epoch: 2, streams: BTreeMap::from([(0, 5), (7, 1 << 40)]) },
            },
        ]
    }

    #[test]
    fn frames_come_back_whatever_the_pieces() {
        let (mut encoder, mut bytes) = (Encoder::default(), Vec::new());
        for frame in samples() {
            encoder.put(&frame, &mut bytes);
        }
        for piece in [1, 7, 16, bytes.len()] {
            let (mut decoder, mut found) = (Decoder::new(FRAME_BYTES_MAX), Vec::new());
            for part in bytes.chunks(piece) {
                decoder.push(part);
                while let Some(frame) = decoder.next_frame().unwrap() {
                    found.push(format!("{frame:?}"));
                }
            }
            let wanted: Vec<String> = samples().iter().map(|frame| format!("{frame:?}")).collect();
            assert_eq!(found, wanted);
        }
    }

    #[test]
    fn any_flipped_bit_is_an_error_or_waits_for_more() {
        for frame in samples() {
            let mut bytes = Vec::new();
            Encoder::default().put(&frame, &mut bytes);
            for bit in 0..bytes.len() * 8 {
                let mut flipped = bytes.clone();
                flipped[bit / 8] ^= 1 << (bit % 8);
                let mut decoder = Decoder::new(FRAME_BYTES_MAX);
                decoder.push(&flipped);
                assert!(!matches!(decoder.next_frame(), Ok(Some(_))), "{frame:?}, bit {bit}");
            }
        }
    }

    #[test]
    fn a_frame_out_of_turn_is_refused() {
        let (mut encoder, mut one, mut two) = (Encoder::default(), Vec::new(), Vec::new());
        encoder.put(&Frame::FilesDone { version: 1 }, &mut one);
        encoder.put(&Frame::FilesDone { version: 2 }, &mut two);
        for parts in [[&one, &one], [&two, &one]] {
            let mut decoder = Decoder::new(FRAME_BYTES_MAX);
            for part in &parts {
                decoder.push(part);
            }
            let first = decoder.next_frame().map(|frame| frame.is_some());
            assert!(first.is_err() || decoder.next_frame().is_err());
        }
    }

    #[test]
    fn a_length_is_not_believed_before_the_limit() {
        let mut decoder = Decoder::new(HANDSHAKE_BYTES_MAX);
        let mut header = [0; HEADER_BYTES];
        header[4..8].copy_from_slice(&u32::MAX.to_le_bytes());
        decoder.push(&header);
        assert!(matches!(decoder.next_frame(), Err(StreamError::Garbage(_))));
    }

    #[test]
    fn names_do_not_lead_out_of_the_folder() {
        for name in ["../x", "a/b", "", ".hidden", "a\0b"] {
            let mut bytes = Vec::new();
            let meta = FileMeta { name: name.into(), len: 0, crc: 0 };
            Encoder::default().put(&Frame::File { meta, offset: 0, bytes: &[] }, &mut bytes);
            let mut decoder = Decoder::new(FRAME_BYTES_MAX);
            decoder.push(&bytes);
            assert!(decoder.next_frame().is_err(), "{name:?}");
        }
    }
}
