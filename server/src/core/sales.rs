//! The off-core side's handle on the cores: operators' operations and the HTTP side's questions.

use super::hints::EventHints;
use super::message::{AdminOps, Arrival, Audit, CoreMessage};
use super::shared::Shared;
use super::start::Threads;
use crate::exposition::Families;
use crate::http::{Adopted, CoreStatus, LiveRow, Sales, Soon};
use frontrow_shard::{
    Answer, ArchiveStep, Code, EventId, EventSpec, EventState, Op, PartitionId, ReadOut, RowRef, Seats,
};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// Sends to the cores and awaits their answers. Cheap to clone.
#[derive(Clone)]
pub struct Handle {
    shared: Arc<Shared>,
    next: Arc<AtomicUsize>,
}

impl Handle {
    /// A handle on running cores.
    pub fn new(threads: &Threads) -> Self {
        Self { shared: Arc::clone(&threads.shared), next: Arc::default() }
    }

    /// The server's time, for who must not keep the cores alive; 0 once they have ended.
    pub fn clock(&self) -> impl Fn() -> u64 + Send + Sync + use<> {
        let shared = Arc::downgrade(&self.shared);
        move || shared.upgrade().map_or(0, |shared| shared.now_ms())
    }

    /// The server's time, ms since 1970.
    pub fn now_ms(&self) -> u64 {
        self.shared.now_ms()
    }

    /// Applies one operation per partition; the first answer that is not `done`, once all are durable.
    async fn on_all(&self, ops: Vec<(PartitionId, Op)>) -> Result<(), Code> {
        let wanted = ops.len();
        let (reply, answers) = flume::bounded(wanted);
        let mut by_core: Vec<Vec<(PartitionId, Op)>> = vec![Vec::new(); self.shared.cores.len()];
        for (partition, op) in ops {
            by_core[usize::from(self.shared.owners[usize::from(partition)])].push((partition, op));
        }
        for (core, ops) in by_core.into_iter().enumerate().filter(|(_, ops)| !ops.is_empty()) {
            self.send(core, CoreMessage::Admin(AdminOps { ops, reply: reply.clone() }))?;
        }
        drop(reply);
        let mut result = Ok(());
        for _ in 0..wanted {
            let (_, answer) = answers.recv_async().await.map_err(|_| Code::Full)?;
            if answer.code != Code::Done && result.is_ok() {
                result = Err(answer.code);
            }
        }
        result
    }

    /// Every partition as its core has it, by number. A core that has not the time says nothing.
    pub async fn audit(&self) -> Vec<Audit> {
        let cores = self.shared.cores.len();
        let (reply, answers) = flume::bounded(cores);
        for core in 0..cores {
            let _ = self.send(core, CoreMessage::Audit { reply: reply.clone() });
        }
        drop(reply);
        let mut all = Vec::new();
        while let Ok(some) = answers.recv_async().await {
            all.extend(some);
        }
        all.sort_unstable_by_key(|one| one.partition);
        all
    }

    fn send(&self, core: usize, message: CoreMessage) -> Result<(), Code> {
        self.shared.cores[core].try_send(message).map_err(|_| Code::Full)
    }
}

/// The most bytes of an event's part in one partition's log: a record must fit in a segment.
const MOST_ROWS: usize = 65_536;

impl Sales for Handle {
    fn create_event(&self, specs: Vec<EventSpec>) -> Soon<'_, Result<(), Code>> {
        Box::pin(async move {
            let Some(first) = specs.first() else { return Err(Code::UnknownEvent) };
            if specs.iter().any(|spec| spec.rows.len() > MOST_ROWS) {
                return Err(Code::Full);
            }
            let (event, hints) = (first.event, EventHints::new(&first.section_rows));
            let ops = (0_u16..).zip(specs).map(|(p, spec)| (p, Op::CreateEvent(Box::new(spec))));
            self.on_all(ops.collect()).await?;
            for core in 0..self.shared.cores.len() {
                self.send(core, CoreMessage::Event(event, Arc::clone(&hints)))?;
            }
            Ok(())
        })
    }

    fn set_state(&self, event: EventId, state: EventState) -> Soon<'_, Result<(), Code>> {
        let ops = (0..self.shared.partitions).map(|p| (p, Op::SetEventState { event, state })).collect();
        Box::pin(self.on_all(ops))
    }

    fn set_blocked(&self, row: RowRef, seats: Seats, blocked: bool) -> Soon<'_, Answer> {
        Box::pin(async move {
            let partition = self.shared.partition_of(row);
            let (reply, answers) = flume::bounded(1);
            let ops = vec![(partition, Op::Block { row, seats, blocked })];
            let core = usize::from(self.shared.owner_of(row));
            if let Err(code) = self.send(core, CoreMessage::Admin(AdminOps { ops, reply })) {
                return Answer::plain(code);
            }
            answers.recv_async().await.map_or(Answer::plain(Code::Full), |(_, answer)| answer)
        })
    }

    fn section_state(&self, event: EventId, section: u16) -> Soon<'_, Result<Vec<LiveRow>, Code>> {
        Box::pin(async move {
            let cores = self.shared.cores.len();
            let (reply, answers) = flume::bounded(cores);
            let section = RowRef::new(event, section, RowRef::SECTION);
            for core in 0..cores {
                self.send(core, CoreMessage::Section { section, reply: reply.clone() })?;
            }
            drop(reply);
            let mut rows = Vec::new();
            while let Ok(some) = answers.recv_async().await {
                rows.extend(some.into_iter().map(|(row, state)| LiveRow { row: row.row, state }));
            }
            rows.sort_unstable_by_key(|row| row.row);
            Ok(rows)
        })
    }

    fn archive(&self, event: EventId, step: ArchiveStep) -> Soon<'_, Result<(), Code>> {
        let ops = (0..self.shared.partitions).map(|p| (p, Op::Archive { event, step })).collect();
        Box::pin(self.on_all(ops))
    }

    fn read_out(&self, event: EventId, whole: bool) -> Soon<'_, Result<Vec<ReadOut>, Code>> {
        Box::pin(async move {
            let mut parts = Vec::with_capacity(usize::from(self.shared.partitions));
            // One after the other: a core serves between them, and waits for no more than one part's copying.
            for partition in 0..self.shared.partitions {
                let (reply, answer) = flume::bounded(1);
                let core = usize::from(self.shared.owners[usize::from(partition)]);
                self.send(core, CoreMessage::ReadOut { partition, event, whole, reply })?;
                let part = answer.recv_async().await.map_err(|_| Code::Full)?;
                parts.push(*part.ok_or(Code::UnknownEvent)?);
            }
            Ok(parts)
        })
    }

    fn forget(&self, event: EventId) {
        for core in 0..self.shared.cores.len() {
            // Hints that stay cost a word for each row, until the next start.
            let _ = self.send(core, CoreMessage::Forget(event));
        }
    }

    fn status(&self) -> Vec<CoreStatus> {
        let cores = (0_u16..).zip(&self.shared.metrics);
        cores
            .map(|(core, metrics)| CoreStatus {
                core,
                ready: metrics.0.ready.load(Relaxed) == 1,
                epoch: self.shared.epoch,
                decided: metrics.0.appended.load(Relaxed),
                durable: metrics.0.durable.load(Relaxed),
            })
            .collect()
    }

    fn metrics(&self, families: &mut Families) {
        super::metrics::read_off(&self.shared.metrics, families);
        self.shared.progress.read_off(families);
        if let Some(hub) = &self.shared.hub {
            hub.read_off(families);
        }
    }

    fn adopt_websocket(&self, socket: Adopted) {
        // Any core will do: the connection goes to where its requests are for.
        let core = self.next.fetch_add(1, Relaxed) % self.shared.cores.len();
        let arrival = Arrival {
            connection: socket.socket.into(),
            websocket: true,
            leftover: socket.leftover,
            identity: socket.identity,
            welcomed: false,
            peer: socket.peer,
            place: Some(socket.place),
        };
        if self.send(core, CoreMessage::Arrival(Box::new(arrival))).is_err() {
            tracing::warn!("a core's inbox is full; a new WebSocket was closed");
        }
    }
}
