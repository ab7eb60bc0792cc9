//! The core's end of a stream: append to RAM, hand over, never wait.

use frontrow_plant::{Bug, planted};
use std::cell::Cell;
use std::io;
use std::marker::PhantomData;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;

use crate::batch::Batch;
use crate::caller::{Caller, Write};
use crate::dir::DataDir;
use crate::error::{AppendError, WalError};
use crate::format::{
    CrcSeed, KIND_SEAL, Position, RECORD_HEADER_BYTES, RECORD_VERSION, RecordHeader, SEGMENT_HEADER_BYTES,
    SegmentHeader, record_bytes, write_header,
};
use crate::options::{Carrier, Durability, LogOptions, Preparer};
use crate::preparer::{self, Here, Orders, Supply};
use crate::segment::{Access, SegmentSpec, SegmentWriter};
use crate::shared::{Shared, Space};
use crate::stream::SegmentStart;
use crate::syncer::{Sink, Syncer};

/// Appends records to one stream. Lives on one core; may be sent there, not shared.
///
/// Dropping it waits for the commit that a thread has in hand, and forgets what was not committed:
/// nobody was told it was durable. Use [`Appender::flush`] first to keep it. A caller that writes ends
/// its [`Write`] first.
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
    /// `None` only while it is dropped.
    carrier: Option<Carry>,
    /// What makes segments ahead, if no thread does.
    here: Option<Box<Here>>,
    retry: Option<SyncSender<()>>,
    threads: Vec<JoinHandle<()>>,
    /// Keeps the directory locked until the threads are gone.
    _dir: DataDir,
    not_sync: PhantomData<Cell<()>>,
}

/// Who writes.
enum Carry {
    Thread { work: SyncSender<Batch>, done: Receiver<Batch> },
    Caller(Box<Caller>),
}

/// The segment that records are being laid out for; what is written may still be behind.
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
    /// `wake` is called from those threads after each commit that a thread finished, when a segment has
    /// become ready, when the disk is full and when the stream is poisoned. It must not block.
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
            first_position: self.view().first_position(stream)?,
            segment_bytes: options.segment_bytes,
        };
        let access = match options.durability {
            Durability::Direct => Access::Direct { lend: options.carrier == Carrier::Caller },
            Durability::Mapped | Durability::Memory => Access::Mapped,
        };
        let (log, disk, retired) = (self.log_path().into(), self.disk().clone(), self.retired().clone());
        let mut spec = SegmentSpec { log, disk, retired, first, access };
        let (segment, refused) = spec.create_first()?;
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
        Appender::start(self.clone(), spec, options, durability, segment, shared)
    }
}

/// The threads of one stream.
struct Threads {
    stream: u16,
    log: PathBuf,
    joins: Vec<JoinHandle<()>>,
}

impl Threads {
    fn spawn(&mut self, what: &str, run: impl FnOnce() + Send + 'static) -> Result<(), WalError> {
        let thread = std::thread::Builder::new().name(format!("wal-{what}-{}", self.stream)).spawn(run);
        self.joins.push(thread.map_err(WalError::io("cannot start a thread for", &self.log))?);
        Ok(())
    }
}

impl Carry {
    /// Takes `segment` into use: by the caller if it has a handle to lend, else by a thread.
    fn start(
        segment: SegmentWriter,
        supply: Supply,
        spec: &SegmentSpec,
        durability: Durability,
        shared: &Arc<Shared>,
        threads: &mut Threads,
    ) -> Result<Self, WalError> {
        match segment {
            SegmentWriter::Direct { file, lend: Some(lend) } => {
                Ok(Carry::Caller(Box::new(Caller::new(spec.disk.clone(), file, lend, supply))))
            }
            segment => {
                let (work, work_out) = sync_channel(1);
                let (done_in, done) = sync_channel(1);
                let sink = Sink::new(spec.disk.clone(), segment, durability != Durability::Memory);
                let syncer = Syncer { shared: shared.clone(), sink, work: work_out, done: done_in, supply };
                threads.spawn("sync", move || syncer.run())?;
                Ok(Carry::Thread { work, done })
            }
        }
    }
}

impl Appender {
    fn start(
        dir: DataDir,
        spec: SegmentSpec,
        options: &LogOptions,
        durability: Durability,
        segment: SegmentWriter,
        shared: Arc<Shared>,
    ) -> Result<Self, WalError> {
        let SegmentHeader { stream, epoch, first_position, .. } = spec.first;
        let (supply, orders): (Supply, Orders) = preparer::supply(options.ready_ahead);
        let (retry, retry_out) = sync_channel(1);
        let seed = spec.first.seed();
        let mut threads = Threads { stream, log: spec.log.clone(), joins: Vec::with_capacity(2) };
        let carrier = Carry::start(segment, supply, &spec, durability, &shared, &mut threads)?;
        let here = match options.preparer {
            Preparer::Caller => {
                let mut here = Box::new(Here::new(spec, orders));
                here.prepare(&shared, false);
                Some(here)
            }
            Preparer::Thread => {
                let told = shared.clone();
                threads.spawn("prep", move || preparer::run(&spec, &told, &orders, &retry_out))?;
                None
            }
        };
        let batch = || Batch::new(options.backlog_bytes);
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
            carrier: Some(carrier),
            here,
            retry: Some(retry),
            threads: threads.joins,
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

    /// Places the record that begins at `start` of the buffer: into this segment or the next.
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
        if planted(Bug::PositionOff) {
            self.segment.first_position += RECORD_HEADER_BYTES as u64;
        }
        self.segment.used = 0;
        moved
    }

    /// Writes header and checksum of the record that lies at `start..end` of the buffer.
    #[allow(
        clippy::inline_always,
        reason = "a label read back as a whole, right after it was written in pieces, stalls"
    )]
    #[inline(always)]
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

    /// Takes the buffer of a commit back that a thread has finished.
    fn take_back(&mut self) {
        if self.spare.is_none()
            && let Some(Carry::Thread { done, .. }) = &self.carrier
            && let Ok(batch) = done.try_recv()
        {
            self.reuse(batch);
        }
    }

    /// A commit is durable: its buffer will be filled next.
    fn reuse(&mut self, mut batch: Batch) {
        batch.clear();
        self.in_flight_bytes = 0;
        self.spare = Some(batch);
    }

    /// What [`Appender::commit`] would hand over now, segment by segment: for whoever sends it elsewhere meanwhile.
    pub fn pending_parts(&self) -> impl Iterator<Item = (SegmentStart, u32, &[u8])> {
        let Filling { number, first_position, span, .. } = self.segment;
        let rolls = &self.fill.rolls;
        (0..=rolls.len()).filter_map(move |part| {
            let from = if part == 0 { 0 } else { rolls[part - 1] };
            let to = rolls.get(part).copied().unwrap_or(self.fill.bytes.len());
            let behind = (rolls.len() - part) as u32;
            let segment = SegmentStart {
                epoch: self.epoch,
                number: number - behind,
                first_position: first_position - u64::from(behind) * span,
                segment_bytes: span + SEGMENT_HEADER_BYTES,
            };
            let offset = if part == 0 { self.fill.file_offset } else { SEGMENT_HEADER_BYTES };
            (from < to).then(|| (segment, offset as u32, &self.fill.bytes[from..to]))
        })
    }

    /// Begins to commit all appended records if no commit is in flight; never waits.
    ///
    /// True if a commit was begun; with [`Carrier::Caller`], [`Appender::next_write`] then says what to
    /// write. False if one is in flight or nothing is pending: call it again when that one is durable.
    pub fn commit(&mut self) -> Result<bool, AppendError> {
        if let Some(here) = &mut self.here {
            here.prepare(&self.shared, false);
        }
        if let Some(fault) = self.shared.fault() {
            return Err(fault);
        }
        if self.fill.bytes.is_empty() {
            return Ok(false);
        }
        self.take_back();
        let (Some(mut next), Some(carrier)) = (self.spare.take(), &mut self.carrier) else {
            return Ok(false);
        };
        (next.file_offset, next.end) = (SEGMENT_HEADER_BYTES + self.segment.used, self.fill.end);
        let batch = std::mem::replace(&mut self.fill, next);
        self.submitted = batch.end;
        self.in_flight_bytes = batch.bytes.len();
        match carrier {
            Carry::Caller(caller) => caller.begin(batch, &self.shared),
            Carry::Thread { work, .. } => {
                // Fails only if the syncer is gone, and then it has poisoned the stream.
                if work.try_send(batch).is_err() {
                    return Err(self.syncer_gone());
                }
            }
        }
        Ok(true)
    }

    /// With [`Carrier::Caller`]: the next write of the commit in flight, to be given back by
    /// [`Appender::written`]. Never waits.
    ///
    /// `None` if nothing is to be written now: no commit is in flight, its write is out, the stream has
    /// failed, or the next segment is not ready. In the last case the wake comes when it is; ask again
    /// at every wake. Always `None` if a thread writes.
    pub fn next_write(&mut self) -> Option<Write> {
        match &mut self.carrier {
            Some(Carry::Caller(caller)) if !self.shared.is_poisoned() => caller.next_write(),
            _ => None,
        }
    }

    /// Gives a write's buffer back, with how the write ended: the commit goes on with
    /// [`Appender::next_write`], or is durable; a failure is final, as any failed sync.
    pub fn written(&mut self, buffer: Vec<u8>, result: io::Result<()>) {
        if let Some(Carry::Caller(caller)) = &mut self.carrier
            && let Some(batch) = caller.written(buffer, result, &self.shared)
        {
            self.reuse(batch);
        }
    }

    /// Commits all that was appended and waits until it is durable. For start-up, shutdown and tests.
    ///
    /// # Panics
    /// If a [`Write`] has not been given back.
    pub fn flush(&mut self) -> Result<Position, AppendError> {
        loop {
            self.commit()?;
            if self.spare.is_none() {
                let batch = match &mut self.carrier {
                    Some(Carry::Caller(caller)) => caller.finish(&self.shared),
                    Some(Carry::Thread { done, .. }) => done.recv().ok(),
                    None => None,
                };
                let Some(batch) = batch else {
                    return Err(self.shared.fault().unwrap_or_else(|| self.syncer_gone()));
                };
                self.reuse(batch);
            }
            if self.fill.bytes.is_empty() {
                return Ok(self.durable());
            }
        }
    }

    #[cold]
    fn syncer_gone(&self) -> AppendError {
        self.shared.poison("the syncer thread ended");
        self.shared.fault().expect("just poisoned")
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

    /// True if records wait to be committed by [`Appender::commit`].
    pub fn has_pending(&self) -> bool {
        !self.fill.bytes.is_empty()
    }

    /// Bytes appended since the last commit began.
    pub fn pending_bytes(&self) -> usize {
        self.fill.bytes.len()
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
    pub fn retry_space(&mut self) {
        if let Some(here) = &mut self.here {
            return here.prepare(&self.shared, true);
        }
        if let Some(retry) = &self.retry {
            // A try that is already asked for is enough.
            let _ = retry.try_send(());
        }
    }

    /// How commits are made durable in fact: [`Durability::Direct`] may have been refused.
    pub fn durability(&self) -> Durability {
        self.durability
    }

    /// Who writes commits in fact: [`Carrier::Caller`] needs direct commits.
    pub fn carrier(&self) -> Carrier {
        match self.carrier {
            Some(Carry::Caller(_)) => Carrier::Caller,
            _ => Carrier::Thread,
        }
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
        (self.carrier, self.retry) = (None, None);
        for thread in self.threads.drain(..) {
            // A panic there has already poisoned the stream.
            let _ = thread.join();
        }
    }
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
