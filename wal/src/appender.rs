//! The core's end of a stream: append to RAM, hand over, never wait.

use std::cell::Cell;
use std::marker::PhantomData;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;

use crate::dir::DataDir;
use crate::error::{AppendError, WalError};
use crate::format::{
    CrcSeed, KIND_SEAL, Position, RECORD_HEADER_BYTES, RECORD_VERSION, RecordHeader, SEGMENT_HEADER_BYTES,
    SegmentHeader, record_bytes, write_header,
};
use crate::options::{Durability, LogOptions};
use crate::preparer;
use crate::segment::{SegmentSpec, Sink};
use crate::shared::{Shared, Space};
use crate::syncer::{Batch, Syncer};

/// Room in a buffer beyond the backlog bound: the last accepted record may pass the bound by this
/// much before the buffer has to grow.
const BUFFER_SLACK_BYTES: usize = 64 << 10;
/// Segment changes a batch can hold before its list has to grow.
const ROLLS_RESERVED: usize = 64;

/// Appends records to one stream. Lives on one core; may be sent there, not shared.
///
/// Dropping it waits for the commit in flight and forgets what was not committed: nobody was told
/// it was durable. Use [`Appender::flush`] first to keep it.
pub struct Appender {
    fill: Batch,
    spare: Option<Batch>,
    in_flight_bytes: usize,
    submitted: Position,
    segment: Filling,
    seed: CrcSeed,
    epoch: u32,
    stream: u16,
    max_payload_bytes: usize,
    backlog_bytes: usize,
    durability: Durability,
    shared: Arc<Shared>,
    work: Option<SyncSender<Batch>>,
    done: Receiver<Batch>,
    retry: Option<SyncSender<()>>,
    threads: Vec<JoinHandle<()>>,
    /// Keeps the directory locked until the threads are gone.
    _dir: DataDir,
    not_sync: PhantomData<Cell<()>>,
}

/// The segment that records are being laid out for; the syncer may still be behind.
struct Filling {
    number: u32,
    first_position: Position,
    used: u64,
    /// Bytes of records a segment takes before it must be sealed.
    capacity: u64,
    /// Positions a segment covers.
    span: u64,
}

/// What stands in a record's header besides its payload.
#[derive(Clone, Copy)]
struct Label {
    partition: u16,
    lsn: u64,
    time_ms: u64,
    kind: u8,
}

impl DataDir {
    /// Opens stream `stream` of this epoch for appending: makes its first segment, starts its threads.
    ///
    /// `wake` is called from those threads after each finished commit, when a segment has become
    /// ready, when the disk is full and when the stream is poisoned. It must not block.
    pub fn open_stream(
        &self,
        stream: u16,
        options: &LogOptions,
        wake: impl Fn() + Send + Sync + 'static,
    ) -> Result<Appender, WalError> {
        options.check()?;
        let first = SegmentHeader {
            stream,
            epoch: self.epoch(),
            number: 0,
            cluster: self.cluster(),
            first_position: self.first_position(stream)?,
            segment_bytes: options.segment_bytes,
        };
        let spec = SegmentSpec { log: self.log_path().into(), disk: self.disk().clone(), first };
        let segment = spec.create(0)?;
        let (sink, refused) = Sink::new(self.disk().clone(), segment, options.durability);
        let mut durability = options.durability;
        if let Some(error) = refused {
            durability = Durability::Mapped;
            tracing::warn!(
                stream,
                %error,
                "the filesystem refuses O_DIRECT; commits are mapped instead. Use ext4 or xfs, or set durability = mapped"
            );
        }
        let shared = Arc::new(Shared::new(first.first_position, Box::new(wake)));
        Appender::start(self.clone(), spec, options, durability, sink, shared)
    }
}

impl Appender {
    fn start(
        dir: DataDir,
        spec: SegmentSpec,
        options: &LogOptions,
        durability: Durability,
        sink: Sink,
        shared: Arc<Shared>,
    ) -> Result<Self, WalError> {
        let SegmentHeader { stream, epoch, first_position, .. } = spec.first;
        let (work, work_out) = sync_channel(1);
        let (done_in, done) = sync_channel(1);
        // The preparer itself holds one more while it waits to hand it over.
        let (ready_in, ready) = sync_channel(options.ready_ahead - 1);
        let (retry, retry_out) = sync_channel(1);
        let seed = spec.first.seed();
        let log = spec.log.clone();
        let mut threads = Vec::with_capacity(2);
        let mut spawn = |name: String, run: Box<dyn FnOnce() + Send>| {
            let thread = std::thread::Builder::new().name(name).spawn(run);
            threads.push(thread.map_err(WalError::io("cannot start a thread for", &log))?);
            Ok(())
        };
        let syncer = Syncer { shared: shared.clone(), sink, work: work_out, done: done_in, ready };
        spawn(format!("wal-sync-{stream}"), Box::new(move || syncer.run()))?;
        let told = shared.clone();
        spawn(
            format!("wal-prep-{stream}"),
            Box::new(move || preparer::run(&spec, &told, &ready_in, &retry_out)),
        )?;
        let batch = || new_batch(options.backlog_bytes);
        let mut fill = batch();
        (fill.file_offset, fill.end) = (SEGMENT_HEADER_BYTES, first_position);
        Ok(Appender {
            fill,
            spare: Some(batch()),
            in_flight_bytes: 0,
            submitted: first_position,
            segment: Filling {
                number: 0,
                first_position,
                used: 0,
                capacity: options.capacity(),
                span: options.segment_bytes - SEGMENT_HEADER_BYTES,
            },
            seed,
            epoch,
            stream,
            max_payload_bytes: options.max_payload_bytes,
            backlog_bytes: options.backlog_bytes,
            durability,
            shared,
            work: Some(work),
            done,
            retry: Some(retry),
            threads,
            _dir: dir,
            not_sync: PhantomData,
        })
    }

    /// Appends one record to RAM; returns the position behind it. It is durable once
    /// [`Appender::durable`] has reached that position.
    ///
    /// `lsn`, `time_ms` and `kind` are the caller's; `kind` must not be [`KIND_SEAL`].
    pub fn append(
        &mut self,
        partition: u16,
        lsn: u64,
        time_ms: u64,
        kind: u8,
        payload: &[u8],
    ) -> Result<Position, AppendError> {
        self.check_len(payload.len())?;
        self.append_with(partition, lsn, time_ms, kind, payload.len(), |buffer| {
            buffer.extend_from_slice(payload);
        })
    }

    /// Like [`Appender::append`]; `write` pushes the payload onto the end of the buffer, in place.
    ///
    /// `write` must only add to the buffer. `len_hint` bytes are reserved beforehand.
    pub fn append_with(
        &mut self,
        partition: u16,
        lsn: u64,
        time_ms: u64,
        kind: u8,
        len_hint: usize,
        write: impl FnOnce(&mut Vec<u8>),
    ) -> Result<Position, AppendError> {
        assert_ne!(kind, KIND_SEAL, "this kind ends segments and is the log's own");
        self.check_room()?;
        let start = self.fill.bytes.len();
        let undo = Undo { bytes: &mut self.fill.bytes, len: start };
        undo.bytes.reserve(record_bytes(len_hint.min(self.max_payload_bytes)));
        undo.bytes.extend_from_slice(&[0; RECORD_HEADER_BYTES]);
        write(undo.bytes);
        let payload_bytes = undo.bytes.len().checked_sub(start + RECORD_HEADER_BYTES);
        let payload_bytes = payload_bytes.expect("append_with: the writer removed bytes from the buffer");
        if payload_bytes > self.max_payload_bytes {
            return Err(AppendError::TooLarge {
                len_bytes: payload_bytes,
                limit_bytes: self.max_payload_bytes,
            });
        }
        undo.bytes.resize(start + record_bytes(payload_bytes), 0);
        undo.keep();
        self.finish(start, payload_bytes as u32, Label { partition, lsn, time_ms, kind })
    }

    /// Places the record that begins at `start` of the buffer: into this segment or the next. Inlined, so that
    /// the label stays in registers: read back as a whole right after it was written in pieces it would stall.
    #[inline]
    fn finish(&mut self, start: usize, len: u32, label: Label) -> Result<Position, AppendError> {
        let bytes = (self.fill.bytes.len() - start) as u64;
        let mut start = start;
        if self.segment.used + bytes > self.segment.capacity {
            if let Err(error) = self.check_next_segment() {
                self.fill.bytes.truncate(start);
                return Err(error);
            }
            start = self.roll(start);
        }
        self.label(start, self.fill.bytes.len(), len, label);
        self.segment.used += bytes;
        self.fill.end = self.segment.first_position + self.segment.used;
        Ok(self.fill.end)
    }

    /// Ends the segment before the record at `start`; returns where that record is now.
    #[cold]
    fn roll(&mut self, start: usize) -> usize {
        let end = self.fill.bytes.len();
        let moved = start + RECORD_HEADER_BYTES;
        self.fill.bytes.resize(end + RECORD_HEADER_BYTES, 0);
        self.fill.bytes.copy_within(start..end, moved);
        self.fill.bytes[start..moved].fill(0);
        self.label(start, moved, 0, Label { partition: 0, lsn: 0, time_ms: 0, kind: KIND_SEAL });
        self.fill.rolls.push(moved);
        self.segment.number += 1;
        self.segment.first_position += self.segment.span;
        self.segment.used = 0;
        moved
    }

    /// Writes header and checksum of the record that lies at `start..end` of the buffer.
    #[inline]
    fn label(&mut self, start: usize, end: usize, len: u32, label: Label) {
        let Label { partition, lsn, time_ms, kind } = label;
        let header = RecordHeader {
            len,
            kind,
            version: RECORD_VERSION,
            partition,
            epoch: self.epoch,
            lsn,
            time_ms,
            batch_offset: start as u32,
            mark: self.seed.mark(self.segment.first_position + self.segment.used),
        };
        write_header(&mut self.fill.bytes[start..end], &header);
    }

    fn check_len(&self, len_bytes: usize) -> Result<(), AppendError> {
        if len_bytes <= self.max_payload_bytes {
            return Ok(());
        }
        Err(AppendError::TooLarge { len_bytes, limit_bytes: self.max_payload_bytes })
    }

    fn check_room(&mut self) -> Result<(), AppendError> {
        if let Some(fault) = self.shared.fault() {
            return Err(fault);
        }
        if self.unsynced_bytes() < self.backlog_bytes {
            return Ok(());
        }
        self.take_back();
        let unsynced_bytes = self.unsynced_bytes();
        if unsynced_bytes < self.backlog_bytes {
            return Ok(());
        }
        Err(AppendError::Backlog { unsynced_bytes, limit_bytes: self.backlog_bytes })
    }

    #[cold]
    fn check_next_segment(&self) -> Result<(), AppendError> {
        if self.shared.prepared() > self.segment.number + 1 {
            return Ok(());
        }
        match self.shared.space() {
            Space::Ready => Err(AppendError::NoSegment),
            Space::Full(reason) => Err(AppendError::DiskFull { reason }),
        }
    }

    /// Takes the buffer of a finished commit back.
    fn take_back(&mut self) {
        if self.spare.is_none()
            && let Ok(mut batch) = self.done.try_recv()
        {
            batch.bytes.clear();
            batch.rolls.clear();
            self.in_flight_bytes = 0;
            self.spare = Some(batch);
        }
    }

    /// Hands all appended records to the syncer if no commit is in flight; never waits.
    ///
    /// True if a commit was begun. False if one is in flight or nothing is pending: after the next
    /// wake, call it again.
    pub fn commit(&mut self) -> Result<bool, AppendError> {
        if let Some(fault) = self.shared.fault() {
            return Err(fault);
        }
        if self.fill.bytes.is_empty() {
            return Ok(false);
        }
        self.take_back();
        let (Some(mut next), Some(work)) = (self.spare.take(), &self.work) else {
            return Ok(false);
        };
        (next.file_offset, next.end) = (SEGMENT_HEADER_BYTES + self.segment.used, self.fill.end);
        let batch = std::mem::replace(&mut self.fill, next);
        self.submitted = batch.end;
        self.in_flight_bytes = batch.bytes.len();
        // Fails only if the syncer is gone, and then it has poisoned the stream.
        if work.try_send(batch).is_err() {
            self.shared.poison("the syncer thread ended");
            return Err(self.shared.fault().expect("just poisoned"));
        }
        Ok(true)
    }

    /// Commits all that was appended and waits until it is durable. For start-up, shutdown and tests.
    pub fn flush(&mut self) -> Result<Position, AppendError> {
        loop {
            self.commit()?;
            if self.spare.is_none() {
                let Ok(mut batch) = self.done.recv() else {
                    self.shared.poison("the syncer thread ended");
                    return Err(self.shared.fault().expect("just poisoned"));
                };
                batch.bytes.clear();
                batch.rolls.clear();
                self.in_flight_bytes = 0;
                self.spare = Some(batch);
            }
            if self.fill.bytes.is_empty() {
                return Ok(self.durable());
            }
        }
    }

    /// Everything before this position is durable.
    pub fn durable(&self) -> Position {
        self.shared.durable().load(Ordering::Acquire)
    }

    /// The durable position, for other threads.
    pub fn durable_handle(&self) -> Arc<AtomicU64> {
        self.shared.durable().clone()
    }

    /// The position behind the last appended record.
    pub fn position(&self) -> Position {
        self.fill.end
    }

    /// True while a commit is on its way.
    pub fn in_flight(&self) -> bool {
        !self.shared.is_poisoned() && self.durable() < self.submitted
    }

    /// True if records wait to be handed over by [`Appender::commit`].
    pub fn has_pending(&self) -> bool {
        !self.fill.bytes.is_empty()
    }

    /// Bytes appended and not known to be durable.
    pub fn unsynced_bytes(&self) -> usize {
        self.in_flight_bytes + self.fill.bytes.len()
    }

    /// The final failure, if there was one.
    pub fn fault(&self) -> Option<AppendError> {
        self.shared.fault()
    }

    /// Whether the next segment can be had. Once full, what is left of the prepared segments is the
    /// reserve: the caller decides what may still use it.
    pub fn space(&self) -> Space {
        self.shared.space()
    }

    /// After [`Space::Full`]: try again to prepare the next segment, in the background.
    pub fn retry_space(&self) {
        if let Some(retry) = &self.retry {
            // A try that is already asked for is enough.
            let _ = retry.try_send(());
        }
    }

    /// How commits are made durable in fact: [`Durability::Direct`] may have been refused.
    pub fn durability(&self) -> Durability {
        self.durability
    }

    /// The stream's index.
    pub fn stream(&self) -> u16 {
        self.stream
    }

    /// The epoch records are stamped with.
    pub fn epoch(&self) -> u32 {
        self.epoch
    }
}

impl Drop for Appender {
    fn drop(&mut self) {
        // Closing the channels ends the threads once they have done what they are at.
        (self.work, self.retry) = (None, None);
        for thread in self.threads.drain(..) {
            // A panic there has already poisoned the stream.
            let _ = thread.join();
        }
    }
}

/// An empty batch whose memory is already touched: a first touch in `append` would be a page fault.
fn new_batch(backlog_bytes: usize) -> Batch {
    let mut bytes = Vec::with_capacity(backlog_bytes + BUFFER_SLACK_BYTES);
    bytes.resize(bytes.capacity(), u8::MAX);
    bytes.clear();
    Batch { bytes, file_offset: 0, rolls: Vec::with_capacity(ROLLS_RESERVED), end: 0 }
}

/// Takes a half-written record out again if its writer refuses or panics.
struct Undo<'a> {
    bytes: &'a mut Vec<u8>,
    len: usize,
}

impl Undo<'_> {
    fn keep(mut self) {
        self.len = usize::MAX;
    }
}

impl Drop for Undo<'_> {
    fn drop(&mut self) {
        self.bytes.truncate(self.len);
    }
}
