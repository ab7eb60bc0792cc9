//! The primary's end of one connection: answers who asks for a stream, and frames what it gets.

use super::error::{RefusalCode, StreamError};
use super::frame::{
    CLAIM, CONTROL, Decoder, Encoder, FILE_PIECE_BYTES, FileMeta, Frame, HANDSHAKE_BYTES_MAX, Hello,
    PROTOCOL_VERSION, Refusal, SegmentStart,
};
use crate::format::{Position, SEGMENT_HEADER_BYTES};
use crate::history::NodeId;
use crate::seed::Floor;

/// What a standby has said.
#[derive(Debug, PartialEq, Eq)]
pub enum Heard {
    /// It wants this stream, or [`CONTROL`], and is fit to have it. Answer with [`Sender::hello`] or
    /// [`Sender::refuse`].
    Follow {
        /// The stream.
        stream: u16,
        /// The standby.
        node: NodeId,
    },
    /// It says that it has opened this epoch, which is none that is over, or asks (0) whether a primary is here. Answer with
    /// [`Sender::refuse`].
    Claim {
        /// The epoch.
        epoch: u32,
        /// Who has.
        node: NodeId,
    },
    /// It wants the stream from here on; with epoch 0, from its beginning.
    Welcome {
        /// The epoch.
        epoch: u32,
        /// The position.
        position: Position,
    },
    /// The files it has.
    Files(Vec<FileMeta>),
    /// Durable there.
    Ack {
        /// In this epoch.
        epoch: u32,
        /// Up to here.
        position: Position,
    },
    /// All files up to this version are durable there.
    FilesDone {
        /// The version.
        version: u64,
    },
    /// It cannot go on from what it has: answer with [`Sender::piece`]s and [`Sender::seed_done`].
    SeedWanted,
    /// It lives.
    Heartbeat {
        /// What it says of itself; 0 if it says nothing.
        word: u64,
    },
}

/// The primary's end of one connection.
#[derive(Debug)]
pub struct Sender {
    decoder: Decoder,
    encoder: Encoder,
    out: Vec<u8>,
    cluster: u128,
    epoch: u32,
    state: State,
    /// Whether the other end has said that it belongs to this cluster.
    is_known: bool,
    /// The last byte that was sent: nothing behind it can be acknowledged.
    sent: (u32, Position),
    acked: (u32, Position),
    files_sent: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    AwaitFollow,
    /// The caller has to answer.
    Deciding(u16),
    AwaitWelcome,
    AwaitFiles,
    Streaming,
    Control,
    Refused,
}

impl Sender {
    /// For a connection that has just come in.
    pub fn new(cluster: u128, epoch: u32) -> Self {
        Sender {
            decoder: Decoder::new(HANDSHAKE_BYTES_MAX),
            encoder: Encoder::default(),
            out: Vec::new(),
            cluster,
            epoch,
            state: State::AwaitFollow,
            is_known: false,
            sent: (0, 0),
            acked: (0, 0),
            files_sent: 0,
        }
    }

    /// Bytes to send; what was taken is the caller's. Also after an error: it may hold the reason.
    pub fn take_out(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.out)
    }

    /// Bytes that wait to be sent.
    pub fn out_bytes(&self) -> usize {
        self.out.len()
    }

    /// Adds bytes that have arrived.
    pub fn push(&mut self, bytes: &[u8]) {
        self.decoder.push(bytes);
    }

    /// The next thing the standby has said. After an error the connection is to be closed, once
    /// [`Sender::take_out`] has been sent.
    pub fn hear(&mut self) -> Result<Option<Heard>, StreamError> {
        let Some(frame) = self.decoder.next_frame()? else { return Ok(None) };
        match (self.state, frame) {
            (_, Frame::Refuse(refusal)) => Err(self.refused(refusal)),
            (State::AwaitFollow, Frame::Follow { version, stream, cluster, node, seen }) => {
                self.follow(version, cluster, seen)?;
                self.state = State::Deciding(stream);
                if stream == CLAIM {
                    return Ok(Some(Heard::Claim { epoch: seen, node }));
                }
                Ok(Some(Heard::Follow { stream, node }))
            }
            (State::AwaitFollow, _) => Err(StreamError::Garbage("the first word is not a standby's")),
            (State::AwaitWelcome, Frame::Welcome { epoch, position }) => {
                self.state = State::Streaming;
                (self.sent, self.acked) = ((epoch, position), (epoch, position));
                Ok(Some(Heard::Welcome { epoch, position }))
            }
            (State::AwaitFiles, Frame::Files(files)) => {
                self.state = State::Control;
                Ok(Some(Heard::Files(files)))
            }
            (State::Streaming, Frame::Ack { epoch, position }) => {
                let place = (epoch, position);
                if place > self.sent || place < self.acked {
                    return Err(StreamError::Unexpected("it acknowledges what it was not sent"));
                }
                self.acked = place;
                Ok(Some(Heard::Ack { epoch, position }))
            }
            (State::Control, Frame::FilesDone { version }) if version <= self.files_sent => {
                Ok(Some(Heard::FilesDone { version }))
            }
            (State::Control, Frame::SeedWanted) => Ok(Some(Heard::SeedWanted)),
            (State::Streaming | State::Control, Frame::Heartbeat { time_ms: word, .. }) => {
                Ok(Some(Heard::Heartbeat { word }))
            }
            _ => Err(StreamError::Unexpected("this frame has no place here")),
        }
    }

    fn refused(&self, refusal: Refusal) -> StreamError {
        // Of a stranger it would be no word to end for.
        if !self.is_known {
            return StreamError::Refused(refusal);
        }
        if let Some((epoch, stream, position)) = refusal.lacked() {
            return StreamError::Lacking { epoch, stream, position };
        }
        match u32::try_from(refusal.detail) {
            Ok(newer) if refusal.code == RefusalCode::EpochOver && newer > self.epoch => {
                StreamError::Superseded { newer, ours: self.epoch }
            }
            _ => StreamError::Refused(refusal),
        }
    }

    fn follow(&mut self, version: u32, cluster: u128, seen: u32) -> Result<(), StreamError> {
        let (code, detail, error) = if version != PROTOCOL_VERSION {
            let error = StreamError::Version { found: version, ours: PROTOCOL_VERSION };
            (RefusalCode::Version, u64::from(PROTOCOL_VERSION), error)
        } else if cluster != 0 && cluster != self.cluster {
            let error = StreamError::OtherCluster { found: cluster, expected: self.cluster };
            (RefusalCode::OtherCluster, 0, error)
            // Who belongs to no cluster yet has seen no epoch of this one.
        } else if seen > self.epoch && cluster != 0 {
            let error = StreamError::Superseded { newer: seen, ours: self.epoch };
            (RefusalCode::EpochOver, u64::from(seen), error)
        } else {
            self.is_known = cluster != 0;
            return Ok(());
        };
        self.refuse(code, detail);
        Err(error)
    }

    /// Answers who follows.
    pub fn hello(&mut self, hello: Hello) {
        let State::Deciding(stream) = self.state else { unreachable!("a hello answers a follow, once") };
        self.state = if stream == CONTROL { State::AwaitFiles } else { State::AwaitWelcome };
        self.say(&Frame::Hello(Hello { stream, ..hello }));
    }

    /// Refuses who follows. The connection is to be closed once that is sent.
    pub fn refuse(&mut self, code: RefusalCode, detail: u64) {
        self.state = State::Refused;
        self.say(&Frame::Refuse(Refusal { code, detail, cluster: self.cluster }));
    }

    /// What is sent now lies in this segment.
    pub fn segment(&mut self, start: SegmentStart) {
        self.say(&Frame::Segment(start));
    }

    /// Whole records that continue the last ones.
    pub fn data(&mut self, segment: SegmentStart, offset: u32, bytes: &[u8]) {
        let SegmentStart { epoch, number, first_position, .. } = segment;
        let end = u64::from(offset) + bytes.len() as u64 - SEGMENT_HEADER_BYTES;
        self.sent = (epoch, first_position + end);
        self.say(&Frame::Data { epoch, number, offset, bytes });
    }

    /// May be applied.
    pub fn committed(&mut self, position: Position) {
        self.say(&Frame::Committed { epoch: self.epoch, position });
    }

    /// What a partition's state is after a record that has not been sent yet, or is its last.
    pub fn check(&mut self, partition: u16, lsn: u64, hash: u64) {
        self.say(&Frame::Check { partition, lsn, hash });
    }

    /// A whole file, in pieces.
    pub fn file(&mut self, meta: &FileMeta, contents: &[u8]) {
        let mut offset = 0;
        loop {
            let end = contents.len().min(offset + FILE_PIECE_BYTES);
            let bytes = &contents[offset..end];
            self.piece(meta, offset as u64, bytes);
            offset = end;
            if offset == contents.len() {
                return;
            }
        }
    }

    /// A piece of a file, of at most [`FILE_PIECE_BYTES`].
    pub fn piece(&mut self, meta: &FileMeta, offset: u64, bytes: &[u8]) {
        self.say(&Frame::File { meta: meta.clone(), offset, bytes });
    }

    /// All files of a seed have been sent.
    pub fn seed_done(&mut self, files: u32, floor: Floor) {
        self.say(&Frame::SeedDone { files, floor });
    }

    /// All files up to this version have been sent.
    pub fn files_done(&mut self, version: u64) {
        self.files_sent = version;
        self.say(&Frame::FilesDone { version });
    }

    /// Still here.
    pub fn heartbeat(&mut self, time_ms: u64, durable: Position) {
        self.say(&Frame::Heartbeat { time_ms, epoch: self.epoch, durable });
    }

    fn say(&mut self, frame: &Frame<'_>) {
        self.encoder.put(frame, &mut self.out);
    }
}

/// Bytes from outside, to a primary that grants whatever is asked.
pub(crate) fn fuzz(bytes: &[u8]) {
    let mut sender = Sender::new(1, 1);
    sender.push(bytes);
    loop {
        match sender.hear() {
            Ok(Some(Heard::Follow { stream, .. })) => sender.hello(Hello {
                stream,
                partitions: 1,
                streams: 1,
                epoch: 1,
                cluster: 1,
                node: 1,
                created_ms: 0,
                epochs: Vec::new(),
            }),
            Ok(Some(_)) => {}
            Ok(None) | Err(_) => break,
        }
    }
}
