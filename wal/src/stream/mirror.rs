//! Writes a stream's segments down as another node has them, and says what is durable.
//!
//! The order of writes is the one that recovery relies on: a batch only when the one before it is durable, a
//! seal only when the next segment exists. Many batches that come at once are written aside first: see `redo`.

use frontrow_plant::{Bug, planted};
use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::thread::JoinHandle;

use super::frame::SegmentStart;
use super::redo::Redo;
use crate::dir::DataDir;
use crate::error::WalError;
use crate::format::{Position, SEGMENT_HEADER_BYTES, SegmentHeader};
use crate::fs::{create_segment_file, is_full};
use crate::regular;

/// From so many batches in a piece on, it is written aside first: two syncs instead of one for each.
const BATCHES_ASIDE: usize = 4;

/// One stream's segments, being written.
pub struct Mirror {
    dir: DataDir,
    stream: u16,
    current: Option<Open>,
    /// Where pieces of the current segment are written aside.
    redo: Option<Redo>,
    ahead: Option<(SegmentStart, JoinHandle<Result<(), WalError>>)>,
    /// Whether the next segment is made by a thread meanwhile, or where it is needed.
    threads: bool,
}

struct Open {
    start: SegmentStart,
    file: File,
}

impl SegmentStart {
    pub(crate) fn header(&self, cluster: u128, stream: u16) -> SegmentHeader {
        let SegmentStart { epoch, number, first_position, segment_bytes } = *self;
        SegmentHeader { stream, epoch, number, cluster, first_position, segment_bytes }
    }

    fn next(&self) -> Self {
        let span = self.segment_bytes - SEGMENT_HEADER_BYTES;
        SegmentStart { number: self.number + 1, first_position: self.first_position + span, ..*self }
    }
}

impl Mirror {
    /// For one stream of a standby's directory.
    pub fn new(dir: DataDir, stream: u16) -> Self {
        Mirror { dir, stream, current: None, redo: None, ahead: None, threads: true }
    }

    /// The same without a thread of its own: each segment is made when it is needed.
    #[must_use]
    pub fn without_threads(mut self) -> Self {
        self.threads = false;
        self
    }

    /// What is written now lies in this segment, which is made if it is not there. `more`: its successor will be
    /// needed, and is made meanwhile.
    pub fn segment(&mut self, start: SegmentStart, more: bool) -> Result<(), WalError> {
        self.settle(start)?;
        self.drop_redo()?;
        let path = self.dir.log_path().join(start.header(self.dir.cluster(), self.stream).file_name());
        let file = OpenOptions::new().read(true).write(true).open(&path);
        self.current = Some(Open { start, file: file.map_err(WalError::io("cannot open", &path))? });
        if more && self.threads {
            let (next, dir, stream) = (start.next(), self.dir.clone(), self.stream);
            let make = move || make(&dir, stream, next);
            let thread = std::thread::Builder::new().name(format!("wal-mirror-{stream}")).spawn(make);
            let thread = thread.map_err(WalError::io("cannot start a thread for", &path))?;
            self.ahead = Some((next, thread));
        }
        Ok(())
    }

    /// Writes checked records at `offset` of the current segment, batch by batch. Durable on return: the position
    /// behind them.
    pub fn write(
        &mut self,
        offset: u32,
        bytes: &[u8],
        batches: &[usize],
        sealed: bool,
    ) -> Result<Position, WalError> {
        let start = self.current.as_ref().map(|open| open.start).expect("a segment comes before its data");
        if sealed && !planted(Bug::SealBeforeSuccessor) {
            self.settle(start.next())?;
        }
        let aside = batches.len() + 1 >= BATCHES_ASIDE && self.note_aside(start, offset, bytes);
        let Some(Open { file, .. }) = &self.current else { unreachable!("just looked at") };
        let path = self.dir.log_path().join(start.header(self.dir.cluster(), self.stream).file_name());
        let disk = self.dir.disk();
        let mut from = 0;
        let batches = if aside { &[] } else { batches };
        for &to in batches.iter().chain([&bytes.len()]) {
            let at = u64::from(offset) + from as u64;
            disk.write_at(file, &bytes[from..to], at).map_err(WalError::io("cannot write", &path))?;
            if !planted(Bug::StandbyAckBeforeSync) {
                disk.sync_data(file).map_err(WalError::io("cannot sync", &path))?;
            }
            from = to;
        }
        Ok(start.first_position + u64::from(offset) - SEGMENT_HEADER_BYTES + bytes.len() as u64)
    }

    /// Makes a piece durable aside. False if that cannot be done, as on a full disk: it is written batch by batch then.
    fn note_aside(&mut self, start: SegmentStart, offset: u32, bytes: &[u8]) -> bool {
        let (disk, log) = (&**self.dir.disk(), self.dir.log_path());
        let header = start.header(self.dir.cluster(), self.stream);
        if self.redo.is_none() {
            self.redo = Redo::create(disk, log, &header).ok();
        }
        self.redo.as_ref().is_some_and(|redo| redo.note(disk, &header, offset, bytes).is_ok())
    }

    fn drop_redo(&mut self) -> Result<(), WalError> {
        let (disk, log) = (&**self.dir.disk(), self.dir.log_path());
        self.redo.take().map_or(Ok(()), |redo| redo.remove(disk, log))
    }

    /// Sees to it that a segment is there, made by the thread ahead or here.
    fn settle(&mut self, start: SegmentStart) -> Result<(), WalError> {
        if let Some((what, thread)) = self.ahead.take() {
            let made = thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            // One that is not needed after all matters to nobody.
            if what == start {
                return made;
            }
        }
        make(&self.dir, self.stream, start)
    }
}

impl Drop for Mirror {
    fn drop(&mut self) {
        // One that stays is written down once more at the next open, which changes nothing.
        let _ = self.drop_redo();
        if let Some((_, thread)) = self.ahead.take() {
            // Whether it could be made is found out when it is needed.
            let _ = thread.join();
        }
    }
}

/// Makes a segment, or finds that it is there already.
fn make(dir: &DataDir, stream: u16, start: SegmentStart) -> Result<(), WalError> {
    let header = start.header(dir.cluster(), stream);
    let (log, name) = (dir.log_path(), header.file_name());
    let path = log.join(&name);
    if path.exists() {
        let mut page = vec![0; SEGMENT_HEADER_BYTES as usize];
        let file = regular::open(&path).map_err(WalError::io("cannot open", &path))?;
        file.read_exact_at(&mut page, 0).map_err(WalError::io("cannot read", &path))?;
        if SegmentHeader::decode(&page) == Ok(header) {
            return Ok(());
        }
        let why = "its header is not the one the other node has for this segment";
        return Err(WalError::Corrupt { file: path, offset: 0, why });
    }
    let bytes = header.segment_bytes;
    // What trimming took out of this node's log has its space already. The zeros are for a promotion.
    let used = dir.retired().take_used(bytes);
    let made = create_segment_file(&**dir.disk(), log, &name, &header.encode(), bytes, used.as_ref());
    made.map(drop).map_err(|error| {
        if is_full(&error) {
            return WalError::DiskFull { path: path.clone(), bytes };
        }
        WalError::io("cannot make segment", &path)(error)
    })
}
