//! Commits that the caller carries out by its own means, on its own thread: what to write comes out as
//! [`Write`]s, one at a time, and goes back with how it ended. No thread is woken for a commit.

use frontrow_plant::{Bug, planted};
use std::fs::File;
use std::io;
use std::ops::Range;
use std::sync::Arc;

use crate::batch::Batch;
use crate::direct::{Plan, Staging, Step};
use crate::fs::Disk;
use crate::preparer::Supply;
use crate::segment::SegmentWriter;
use crate::shared::Shared;
use crate::syncer::write_direct;

/// One write of a commit, owned, to be carried out in full and given back with
/// [`Appender::written`](crate::Appender::written).
///
/// It is block-aligned in memory and in the file, whose handle is `O_DIRECT | O_DSYNC`: a write that is
/// complete is durable. `buffer` is the stream's only one, reused for every commit: it has to come back,
/// unchanged, after a failure too.
#[derive(Debug)]
#[must_use = "the commit waits until the write is given back"]
pub struct Write {
    /// The file that this and the following writes go to, if it is another than before. The one before
    /// is done with and may be closed.
    pub file: Option<File>,
    /// Memory that must neither move nor change while the write is under way.
    pub buffer: Vec<u8>,
    /// Which bytes of it.
    pub range: Range<usize>,
    /// Where in the file.
    pub offset: u64,
}

/// The core's side of a stream without a syncer thread.
pub(crate) struct Caller {
    disk: Arc<dyn Disk>,
    supply: Supply,
    /// For [`Caller::finish`]; the caller has a handle of its own.
    file: File,
    /// The caller's, until it is handed over with a write.
    lend: Option<File>,
    plan: Plan,
    staging: Staging,
    flying: Option<Batch>,
}

impl Caller {
    pub(crate) fn new(disk: Arc<dyn Disk>, file: File, lend: File, supply: Supply) -> Self {
        Caller {
            disk,
            supply,
            file,
            lend: Some(lend),
            plan: Plan::new(),
            staging: Staging::new(),
            flying: None,
        }
    }

    /// Begins a commit; none may be in flight.
    pub(crate) fn begin(&mut self, batch: Batch, shared: &Shared) {
        shared.begin_commit();
        if planted(Bug::AckBeforeSync) {
            shared.publish_durable(batch.end);
        }
        self.plan.begin(&batch);
        self.flying = Some(batch);
    }

    /// What the commit in flight needs written now. `None` if there is none, its write is out, or the
    /// next segment is not ready yet: then the stream's wake comes when it is.
    pub(crate) fn next_write(&mut self) -> Option<Write> {
        let batch = self.flying.as_ref()?;
        if self.staging.is_lent() {
            return None;
        }
        loop {
            match self.plan.step(batch, &mut self.staging) {
                Step::Write { range, offset } => {
                    let (file, buffer) = (self.lend.take(), self.staging.lend());
                    return Some(Write { file, buffer, range, offset });
                }
                Step::Roll => {
                    let SegmentWriter::Direct { file, lend } = self.supply.try_take()? else {
                        unreachable!("the segments of a stream are opened alike");
                    };
                    (self.file, self.lend) = (file, lend);
                    self.plan.rolled();
                }
                // Not met here: `written` has taken the batch out.
                Step::Done => return None,
            }
        }
    }

    /// Takes a write back. The batch, if it is durable now.
    pub(crate) fn written(
        &mut self,
        buffer: Vec<u8>,
        result: io::Result<()>,
        shared: &Shared,
    ) -> Option<Batch> {
        if !self.staging.take_back(buffer) {
            shared.poison("a commit's buffer was not given back");
            return None;
        }
        if let Err(error) = result
            && !planted(Bug::FailedWriteIgnored)
        {
            shared.poison(&format!("a commit failed: {error}"));
            return None;
        }
        self.plan.written(&mut self.staging);
        let whole = self.plan.is_done(self.flying.as_ref()?);
        if whole { self.publish(shared) } else { None }
    }

    /// Carries the commit in flight out here and now, waiting for the disk. The batch, if there was one
    /// and it is durable now.
    pub(crate) fn finish(&mut self, shared: &Shared) -> Option<Batch> {
        assert!(!self.staging.is_lent(), "flush: a write of this stream is still with the caller");
        let batch = self.flying.as_ref()?;
        let stage = (&mut self.plan, &mut self.staging);
        // A segment taken here has a handle for the caller too, which the next write will carry.
        match write_direct(&*self.disk, (&mut self.file, &mut self.lend), stage, batch, &self.supply) {
            Ok(()) => self.publish(shared),
            Err(error) => {
                shared.poison(&format!("a commit failed: {error}"));
                None
            }
        }
    }

    fn publish(&mut self, shared: &Shared) -> Option<Batch> {
        let batch = self.flying.take()?;
        shared.publish_durable(batch.end);
        Some(batch)
    }
}
