//! The thread that makes batches durable, one at a time: for mapped commits, and for direct ones where
//! the caller's runtime cannot write files by itself.

use std::fs::File;
use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender};

use memmap2::MmapMut;

use crate::batch::Batch;
use crate::direct::{Plan, Staging, Step};
use crate::format::SEGMENT_HEADER_BYTES;
use crate::fs::Disk;
use crate::preparer::Supply;
use crate::segment::SegmentWriter;
use crate::shared::{PanicGuard, Shared};

/// The syncer's ends of its channels.
pub(crate) struct Syncer {
    pub(crate) shared: Arc<Shared>,
    pub(crate) sink: Sink,
    pub(crate) work: Receiver<Batch>,
    pub(crate) done: SyncSender<Batch>,
    pub(crate) supply: Supply,
}

impl Syncer {
    /// Runs until the appender is gone or a write fails.
    pub(crate) fn run(mut self) {
        let shared = self.shared.clone();
        let _guard = PanicGuard(&shared);
        while let Ok(batch) = self.work.recv() {
            if let Err(error) = self.sink.write(&batch, &self.supply) {
                return shared.poison(&format!("a commit failed: {error}"));
            }
            // In this order: who is woken finds the position moved and the buffer back.
            shared.publish_durable(batch.end);
            let _ = self.done.send(batch);
            shared.wake();
        }
    }
}

/// Writes batches into the segment in use, durably, and waits for it.
pub(crate) struct Sink {
    disk: Arc<dyn Disk>,
    way: Way,
}

enum Way {
    Mapped { file: File, map: MmapMut, sync: bool },
    Direct { file: File, lend: Option<File>, plan: Plan, staging: Staging },
}

impl Sink {
    /// A sink into an unused segment; `sync` says whether mapped commits are flushed.
    pub(crate) fn new(disk: Arc<dyn Disk>, segment: SegmentWriter, sync: bool) -> Self {
        let way = match segment {
            SegmentWriter::Mapped { file, map } => Way::Mapped { file, map, sync },
            SegmentWriter::Direct { file, lend } => {
                Way::Direct { file, lend, plan: Plan::new(), staging: Staging::new() }
            }
        };
        Sink { disk, way }
    }

    fn write(&mut self, batch: &Batch, supply: &Supply) -> io::Result<()> {
        match &mut self.way {
            Way::Mapped { file, map, sync } => write_mapped(&*self.disk, (file, map), *sync, batch, supply),
            Way::Direct { file, lend, plan, staging } => {
                plan.begin(batch);
                write_direct(&*self.disk, (file, lend), (plan, staging), batch, supply)
            }
        }
    }
}

/// Segment by segment, as [`Plan`] does it, through the mapping.
fn write_mapped(
    disk: &dyn Disk,
    (file, map): (&mut File, &mut MmapMut),
    sync: bool,
    batch: &Batch,
    supply: &Supply,
) -> io::Result<()> {
    let (mut from, mut at) = (0, batch.file_offset as usize);
    for roll in 0..=batch.rolls.len() {
        let part = &batch.bytes[from..batch.part_end(roll)];
        if !part.is_empty() {
            map[at..at + part.len()].copy_from_slice(part);
            if sync {
                disk.sync_data(file)?;
            }
        }
        if roll < batch.rolls.len() {
            let SegmentWriter::Mapped { file: next, map: next_map } = next_segment(supply)? else {
                unreachable!("the segments of a stream are opened alike");
            };
            (*file, *map) = (next, next_map);
            (from, at) = (batch.rolls[roll], SEGMENT_HEADER_BYTES as usize);
        }
    }
    Ok(())
}

/// Carries out what `plan` has left of a batch, here and now.
pub(crate) fn write_direct(
    disk: &dyn Disk,
    (file, lend): (&mut File, &mut Option<File>),
    (plan, staging): (&mut Plan, &mut Staging),
    batch: &Batch,
    supply: &Supply,
) -> io::Result<()> {
    loop {
        match plan.step(batch, staging) {
            Step::Write { range, offset } => {
                disk.write_at(file, staging.part(range), offset)?;
                plan.written(staging);
            }
            Step::Roll => {
                let SegmentWriter::Direct { file: next, lend: next_lend } = next_segment(supply)? else {
                    unreachable!("the segments of a stream are opened alike");
                };
                (*file, *lend) = (next, next_lend);
                plan.rolled();
            }
            Step::Done => return Ok(()),
        }
    }
}

fn next_segment(supply: &Supply) -> io::Result<SegmentWriter> {
    supply.take().ok_or_else(|| io::Error::other("no segment was prepared"))
}
