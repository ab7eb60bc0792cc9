//! The standby's end of one connection: says what it wants, and lets through only what continues what it has.

use super::error::{RefusalCode, StreamError};
use super::frame::{
    CONTROL, Decoder, Encoder, FRAME_BYTES_MAX, FileMeta, Frame, HANDSHAKE_BYTES_MAX, Hello,
    PROTOCOL_VERSION, Refusal, SegmentStart,
};
use crate::format::{
    CrcSeed, KIND_SEAL, PAYLOAD_BYTES_MAX, Position, RECORD_HEADER_BYTES, RECORD_VERSION, RecordHeader,
    SEGMENT_HEADER_BYTES, bytes_at, checksum, record_bytes,
};
use crate::history::{EpochEntry, NodeId};
use crate::seed::{Floor, is_seed_name};

/// Something that has arrived and is right.
#[derive(Debug, PartialEq, Eq)]
pub enum Received<'a> {
    /// The primary has said who it is. Answer with [`Receiver::welcome`] or [`Receiver::refuse`]; on a control
    /// connection with [`Receiver::files`].
    Hello(Hello),
    /// What comes now lies in this segment.
    Segment(SegmentStart),
    /// Whole, checked records that continue what came before.
    Data {
        /// Their segment.
        segment: SegmentStart,
        /// Where in its file they begin.
        offset: u32,
        /// The records.
        bytes: &'a [u8],
        /// Where in `bytes` a batch begins; the first byte is not among them. Each part is to be durable before
        /// the next is written.
        batches: Vec<usize>,
        /// Whether the last record is the seal that ends the segment.
        sealed: bool,
    },
    /// May be applied.
    Committed {
        /// In this epoch, which is the primary's.
        epoch: u32,
        /// Up to here.
        position: Position,
    },
    /// What a partition's state is.
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
    /// All files up to this version have come. Answer with [`Receiver::files_done`] once they are durable.
    FilesDone {
        /// The version.
        version: u64,
    },
    /// A piece of a file of the seed that was asked for.
    Seed {
        /// The whole file.
        meta: FileMeta,
        /// Where the piece begins.
        offset: u64,
        /// The piece.
        bytes: &'a [u8],
    },
    /// The seed has come.
    SeedDone {
        /// How many files it has.
        files: u32,
        /// What of the log is in it.
        floor: Floor,
    },
    /// The primary lives.
    Heartbeat {
        /// Its time.
        time_ms: u64,
        /// The epoch of the position.
        epoch: u32,
        /// What is durable there.
        durable: Position,
    },
}

/// The standby's end of one connection.
#[derive(Debug)]
pub struct Receiver {
    decoder: Decoder,
    encoder: Encoder,
    out: Vec<u8>,
    gate: Gate,
}

/// What may come, and whether what came is right.
#[derive(Debug)]
struct Gate {
    /// 0 if there is none yet.
    cluster: u128,
    seen: u32,
    stream: u16,
    state: State,
}

#[derive(Debug)]
enum State {
    AwaitHello,
    /// The caller has the hello and has not answered yet.
    Deciding(Known),
    Control {
        /// A seed was asked for and has not come.
        seeding: bool,
    },
    Streaming(Known, Want, Option<Current>),
}

/// What the hello said.
#[derive(Debug, Clone)]
struct Known {
    cluster: u128,
    epoch: u32,
    epochs: Vec<EpochEntry>,
}

/// From where the stream was asked for.
#[derive(Debug, Clone, Copy)]
struct Want {
    epoch: u32,
    position: Position,
    sealed: bool,
}

/// The segment under way.
#[derive(Debug, Clone, Copy)]
struct Current {
    start: SegmentStart,
    /// Offset of the next byte in its file.
    next: u32,
    sealed: bool,
}

impl Receiver {
    /// Asks for `stream`, or for [`CONTROL`]. `cluster` is 0 for a standby that belongs to none yet; `seen` is the
    /// highest epoch it has ever seen.
    pub fn new(stream: u16, cluster: u128, node: NodeId, seen: u32) -> Self {
        let mut receiver = Receiver {
            decoder: Decoder::new(HANDSHAKE_BYTES_MAX),
            encoder: Encoder::default(),
            out: Vec::new(),
            gate: Gate { cluster, seen, stream, state: State::AwaitHello },
        };
        receiver.say(&Frame::Follow { version: PROTOCOL_VERSION, stream, cluster, node, seen });
        receiver
    }

    /// Bytes to send; what was taken is the caller's. Also after an error: it may hold the reason.
    pub fn take_out(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.out)
    }

    /// Adds bytes that have arrived.
    pub fn push(&mut self, bytes: &[u8]) {
        self.decoder.push(bytes);
    }

    /// The next thing that has arrived as a whole. After an error the connection is to be closed.
    pub fn receive(&mut self) -> Result<Option<Received<'_>>, StreamError> {
        let Receiver { decoder, encoder, out, gate } = self;
        let Some(frame) = decoder.next_frame()? else { return Ok(None) };
        match gate.pass(frame) {
            Ok(received) => Ok(Some(received)),
            Err(error) => {
                if let Some(refusal) = refusal_of(&error) {
                    encoder.put(&Frame::Refuse(refusal), out);
                }
                Err(error)
            }
        }
    }

    /// After [`Received::Hello`]: the stream is wanted from `position` of `epoch` on; with epoch 0 from its
    /// beginning. `sealed`: what is there ends with a seal.
    pub fn welcome(&mut self, epoch: u32, position: Position, sealed: bool) {
        let State::Deciding(known) = &self.gate.state else {
            unreachable!("a welcome answers a hello, once");
        };
        let known = known.clone();
        self.gate.state = State::Streaming(known, Want { epoch, position, sealed }, None);
        self.decoder.set_limit(FRAME_BYTES_MAX);
        self.say(&Frame::Welcome { epoch, position });
    }

    /// After [`Received::Hello`] on a control connection: the files that are here.
    pub fn files(&mut self, files: Vec<FileMeta>) {
        self.gate.state = State::Control { seeding: false };
        self.decoder.set_limit(FRAME_BYTES_MAX);
        self.say(&Frame::Files(files));
    }

    /// After [`Receiver::files`]: what is here cannot be gone on with, so the mark and the snapshots that the primary's
    /// log stands on are wanted.
    pub fn want_seed(&mut self) {
        self.gate.state = State::Control { seeding: true };
        self.say(&Frame::SeedWanted);
    }

    /// Refuses the primary. Nothing is taken from it any more.
    pub fn refuse(&mut self, code: RefusalCode, detail: u64) {
        self.gate.state = State::AwaitHello;
        self.say(&Frame::Refuse(Refusal { code, detail, cluster: self.gate.cluster }));
    }

    /// Refuses a primary that lacks what both nodes had: `stream` of `epoch` up to `position`.
    pub fn refuse_lacking(&mut self, epoch: u32, stream: u16, position: Position) {
        self.gate.state = State::AwaitHello;
        self.say(&Frame::Refuse(Refusal::lacking(epoch, stream, position)));
    }

    /// Everything up to here is durable.
    pub fn ack(&mut self, epoch: u32, position: Position) {
        self.say(&Frame::Ack { epoch, position });
    }

    /// All files up to this version are durable.
    pub fn files_done(&mut self, version: u64) {
        self.say(&Frame::FilesDone { version });
    }

    /// Still here. `word` is what this standby says of itself, in the place of a primary's time: an earlier primary does not
    /// look at it, and an earlier standby says 0 there.
    pub fn heartbeat(&mut self, word: u64, epoch: u32, durable: Position) {
        self.say(&Frame::Heartbeat { time_ms: word, epoch, durable });
    }

    fn say(&mut self, frame: &Frame<'_>) {
        self.encoder.put(frame, &mut self.out);
    }
}

/// What the other end is told of an error that is its to mend.
fn refusal_of(error: &StreamError) -> Option<Refusal> {
    let (code, detail, cluster) = match *error {
        StreamError::OtherCluster { expected, .. } => (RefusalCode::OtherCluster, 0, expected),
        StreamError::EpochOver { seen, .. } => (RefusalCode::EpochOver, u64::from(seen), 0),
        StreamError::Version { ours, .. } => (RefusalCode::Version, u64::from(ours), 0),
        _ => return None,
    };
    Some(Refusal { code, detail, cluster })
}

impl Gate {
    fn pass<'a>(&mut self, frame: Frame<'a>) -> Result<Received<'a>, StreamError> {
        if let Frame::Refuse(refusal) = frame {
            return Err(StreamError::Refused(refusal));
        }
        match &mut self.state {
            State::AwaitHello => match frame {
                Frame::Hello(hello) => self.hello(hello),
                _ => Err(StreamError::Unexpected("a primary's first word is its hello")),
            },
            State::Deciding(_) => Err(StreamError::Unexpected("it goes on before it was answered")),
            State::Control { seeding } => match frame {
                Frame::File { meta, offset, bytes } if is_seed_name(&meta.name) => {
                    if !*seeding {
                        return Err(StreamError::Unexpected("a seed that was not asked for"));
                    }
                    Ok(Received::Seed { meta, offset, bytes })
                }
                Frame::SeedDone { files, floor } if *seeding => {
                    *seeding = false;
                    Ok(Received::SeedDone { files, floor })
                }
                Frame::File { meta, offset, bytes } => Ok(Received::File { meta, offset, bytes }),
                Frame::FilesDone { version } => Ok(Received::FilesDone { version }),
                Frame::Heartbeat { time_ms, epoch, durable } => {
                    Ok(Received::Heartbeat { time_ms, epoch, durable })
                }
                _ => Err(StreamError::Unexpected("this frame has no place on a control connection")),
            },
            State::Streaming(known, want, current) => match frame {
                Frame::Segment(start) => {
                    *current = Some(known.segment(self.stream, *want, *current, start)?);
                    Ok(Received::Segment(start))
                }
                Frame::Data { epoch, number, offset, bytes } => {
                    let Some(current) = current else {
                        return Err(StreamError::Unexpected("data before any segment"));
                    };
                    known.data(self.stream, current, (epoch, number, offset), bytes)
                }
                Frame::Committed { epoch, position } if epoch == known.epoch => {
                    Ok(Received::Committed { epoch, position })
                }
                Frame::Check { partition, lsn, hash } => Ok(Received::Check { partition, lsn, hash }),
                Frame::Heartbeat { time_ms, epoch, durable } => {
                    Ok(Received::Heartbeat { time_ms, epoch, durable })
                }
                _ => Err(StreamError::Unexpected("this frame has no place on a stream's connection")),
            },
        }
    }

    fn hello<'a>(&mut self, hello: Hello) -> Result<Received<'a>, StreamError> {
        if self.cluster != 0 && hello.cluster != self.cluster {
            return Err(StreamError::OtherCluster { found: hello.cluster, expected: self.cluster });
        }
        if hello.epoch < self.seen {
            return Err(StreamError::EpochOver { found: hello.epoch, seen: self.seen });
        }
        if hello.stream != self.stream {
            return Err(StreamError::Unexpected("it answers for another stream"));
        }
        if self.stream != CONTROL && self.stream >= hello.streams {
            return Err(StreamError::Unexpected("it answers for a stream it does not have"));
        }
        let Hello { cluster, epoch, .. } = hello;
        self.state = State::Deciding(Known { cluster, epoch, epochs: hello.epochs.clone() });
        Ok(Received::Hello(hello))
    }
}

impl Known {
    /// Where an epoch ended in this stream; `None` for the one that lasts and for one that is not known.
    fn end(&self, epoch: u32, stream: u16) -> Option<Position> {
        let entry = self.epochs.iter().find(|entry| entry.epoch == epoch && epoch < self.epoch)?;
        Some(entry.ends.get(&stream).copied().unwrap_or(0))
    }

    /// Whether nothing was written in this stream in the epochs between two.
    fn nothing_between(&self, stream: u16, before: u32, after: u32) -> bool {
        let between = self.epochs.iter().filter(|entry| before < entry.epoch && entry.epoch < after);
        between.filter_map(|entry| entry.ends.get(&stream)).all(|end| *end == 0)
    }

    fn segment(
        &self,
        stream: u16,
        want: Want,
        current: Option<Current>,
        start: SegmentStart,
    ) -> Result<Current, StreamError> {
        let SegmentStart { epoch, number, first_position, segment_bytes } = start;
        let odd = |why| Err(StreamError::Unexpected(why));
        let sane = segment_bytes > SEGMENT_HEADER_BYTES
            && u32::try_from(segment_bytes).is_ok()
            && segment_bytes.is_multiple_of(SEGMENT_HEADER_BYTES);
        let Some(end) = first_position.checked_add(segment_bytes - SEGMENT_HEADER_BYTES).filter(|_| sane)
        else {
            return odd("a segment of an impossible size");
        };
        if !self.epochs.iter().any(|entry| entry.epoch == epoch) {
            return odd("a segment of an epoch that is not in its history");
        }
        let fresh = Current { start, next: SEGMENT_HEADER_BYTES as u32, sealed: false };
        match current {
            None if want.epoch == 0 => {
                if number != 0 || !self.nothing_between(stream, 0, epoch) {
                    return odd("the stream does not begin at its beginning");
                }
                Ok(fresh)
            }
            // All of the epoch is here: a later one is next.
            None if epoch > want.epoch && self.end(want.epoch, stream) == Some(want.position) => {
                if number != 0 || !self.nothing_between(stream, want.epoch, epoch) {
                    return odd("an epoch does not follow on the one before");
                }
                Ok(fresh)
            }
            None => {
                if epoch != want.epoch || want.position < first_position || want.position > end {
                    return odd("the first segment is not the one that was asked for");
                }
                let next = SEGMENT_HEADER_BYTES + (want.position - first_position);
                // A seal that ends where this one begins is that of the segment before.
                let sealed = want.sealed && want.position > first_position;
                Ok(Current { start, next: next as u32, sealed })
            }
            Some(before) if before.start.epoch == epoch => {
                let last = before.start;
                let span = last.segment_bytes - SEGMENT_HEADER_BYTES;
                if !before.sealed || number != last.number + 1 || first_position != last.first_position + span
                {
                    return odd("a segment does not continue the one before");
                }
                Ok(fresh)
            }
            Some(before) => {
                let last = before.start.epoch;
                if epoch < last || number != 0 || !self.nothing_between(stream, last, epoch) {
                    return odd("an epoch does not follow on the one before");
                }
                if self.end(last, stream) != Some(before.position()) {
                    return odd("an epoch begins before all of the one before has come");
                }
                Ok(fresh)
            }
        }
    }

    fn data<'a>(
        &self,
        stream: u16,
        current: &mut Current,
        (epoch, number, offset): (u32, u32, u32),
        bytes: &'a [u8],
    ) -> Result<Received<'a>, StreamError> {
        let start = current.start;
        if (epoch, number) != (start.epoch, start.number) || offset != current.next {
            return Err(StreamError::Unexpected("data that do not continue the last ones"));
        }
        if current.sealed {
            return Err(StreamError::Unexpected("data behind a seal"));
        }
        let room = start.segment_bytes - u64::from(offset);
        if bytes.is_empty() || bytes.len() as u64 > room {
            return Err(StreamError::Unexpected("data that are empty or do not fit the segment"));
        }
        let position = current.position();
        let Walk { batches, sealed } = walk(self.cluster, stream, epoch, position, bytes)?;
        let end = position + bytes.len() as u64;
        if self.end(epoch, stream).is_some_and(|last| end > last) {
            return Err(StreamError::Unexpected("records behind the end of their epoch"));
        }
        current.next += bytes.len() as u32;
        current.sealed = sealed;
        Ok(Received::Data { segment: start, offset, bytes, batches, sealed })
    }
}

impl Current {
    fn position(&self) -> Position {
        self.start.first_position + (u64::from(self.next) - SEGMENT_HEADER_BYTES)
    }
}

/// What is in a run of records.
pub(crate) struct Walk {
    /// Where a batch begins, but for the first byte.
    pub(crate) batches: Vec<usize>,
    /// Whether it ends with a seal.
    pub(crate) sealed: bool,
}

/// Checks every record of `bytes`, the first of which stands at `position`.
pub(crate) fn walk(
    cluster: u128,
    stream: u16,
    epoch: u32,
    position: Position,
    bytes: &[u8],
) -> Result<Walk, StreamError> {
    let seed = CrcSeed::new(cluster, stream, epoch);
    let mut walk = Walk { batches: Vec::new(), sealed: false };
    let mut at = 0;
    while at < bytes.len() {
        if walk.sealed {
            return Err(StreamError::Damaged("a record behind a seal"));
        }
        let (header, len) = record_at(seed, epoch, position + at as u64, &bytes[at..])?;
        if header.batch_offset == 0 && at > 0 {
            walk.batches.push(at);
        }
        walk.sealed = header.kind == KIND_SEAL;
        at += len;
    }
    Ok(walk)
}

/// The good record at the front of `bytes`, and its length.
pub(crate) fn record_at(
    seed: CrcSeed,
    epoch: u32,
    position: Position,
    bytes: &[u8],
) -> Result<(RecordHeader, usize), StreamError> {
    let Some(head) = bytes.first_chunk::<RECORD_HEADER_BYTES>() else {
        return Err(StreamError::Damaged("a record's header is cut"));
    };
    let header = RecordHeader::decode(head);
    let mark = seed.mark(position);
    if header.mark != mark || header.epoch != epoch || header.len as usize > PAYLOAD_BYTES_MAX {
        return Err(StreamError::Damaged("a record does not belong where it stands"));
    }
    let len = record_bytes(header.len as usize);
    let Some(whole) = bytes.get(..len) else {
        return Err(StreamError::Damaged("a record is cut"));
    };
    if u32::from_le_bytes(bytes_at(whole, 0)) != checksum(mark, whole) {
        return Err(StreamError::Damaged("a record's checksum does not match"));
    }
    if header.version != RECORD_VERSION {
        return Err(StreamError::Unexpected("records of another version"));
    }
    Ok((header, len))
}

/// Bytes from outside, to a standby that asks for what it is told of.
pub(crate) fn fuzz(bytes: &[u8]) {
    for stream in [0, CONTROL] {
        let mut receiver = Receiver::new(stream, 0, 1, 0);
        receiver.push(bytes);
        loop {
            match receiver.receive() {
                Ok(Some(Received::Hello(_))) if stream == CONTROL => {
                    receiver.files(Vec::new());
                    receiver.want_seed();
                }
                Ok(Some(Received::Hello(_))) => receiver.welcome(0, 0, false),
                Ok(Some(_)) => {}
                Ok(None) | Err(_) => break,
            }
        }
    }
}
