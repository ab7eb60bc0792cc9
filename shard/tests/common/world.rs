//! Several partitions, the letters between them under a seeded scheduler, and crashes with replay.

use super::coverage::Coverage;
use super::rng::Rng;
use super::saved::Twin;
use frontrow_shard::record::Encoder;
use frontrow_shard::*;
use std::collections::VecDeque;

/// What an operation caused, with the partition it was applied to.
pub(crate) struct Happened {
    pub(crate) at: PartitionId,
    pub(crate) op: Op,
    pub(crate) applied: Applied,
    pub(crate) answers: Vec<Decided>,
    pub(crate) pushes: Vec<Push>,
    /// The parts of each of `answers`.
    pub(crate) parts: Vec<Parts>,
}

/// A record as the log keeps it.
#[derive(Clone)]
pub(crate) struct Recorded {
    pub(crate) partition: PartitionId,
    pub(crate) epoch: Epoch,
    pub(crate) lsn: Lsn,
    pub(crate) time_ms: Millis,
    pub(crate) kind: u8,
    pub(crate) payload: Vec<u8>,
}

pub(crate) struct World {
    pub(crate) parts: Vec<Partition>,
    logs: Vec<Vec<(Millis, Op)>>,
    /// The records of all partitions in the order of their making, if they are wanted.
    pub(crate) records: Option<Vec<Recorded>>,
    encoder: Encoder,
    /// Letters on their way, by `from * partitions + to`.
    transit: Vec<VecDeque<Letter>>,
    /// Confirmations on their way: sender, receiver, number.
    confirmations: Vec<(PartitionId, PartitionId, u64)>,
    pub(crate) now: Millis,
    pub(crate) rng: Rng,
    pub(crate) cov: Coverage,
    pub(crate) limits: Limits,
    out: Effects,
    ids: u128,
    /// Copies loaded from bytes, which do all that the originals do.
    pub(crate) twins: Vec<Option<Twin>>,
    /// How often a partition was saved and loaded, and how many operations were compared with a copy's.
    pub(crate) saves: u64,
    pub(crate) compared: u64,
    /// Prints every operation, with `FRONTROW_TRACE` set.
    trace: bool,
}

impl World {
    pub(crate) fn new(partitions: u16, limits: Limits, seed: u64, records: bool) -> Self {
        let n = usize::from(partitions);
        let mut world = Self {
            parts: (0..partitions).map(|id| Partition::new(id, partitions, limits)).collect(),
            logs: vec![Vec::new(); n],
            records: records.then(Vec::new),
            encoder: Encoder::default(),
            transit: vec![VecDeque::new(); n * n],
            confirmations: Vec::new(),
            now: 1_700_000_000_000,
            rng: Rng::new(seed ^ 0xb0a7),
            cov: Coverage::default(),
            limits,
            out: Effects::default(),
            ids: 0,
            twins: (0..partitions).map(|_| None).collect(),
            saves: 0,
            compared: 0,
            trace: std::env::var_os("FRONTROW_TRACE").is_some(),
        };
        for at in 0..partitions {
            world.apply(at, Op::Begin { epoch: 1, secret: 77 + u128::from(at) });
        }
        world
    }

    pub(crate) fn count(&self) -> u16 {
        self.parts.len() as u16
    }

    pub(crate) fn apply(&mut self, at: PartitionId, op: Op) -> Happened {
        self.cov.op(&op);
        let part = &mut self.parts[usize::from(at)];
        let applied = part.apply(self.now, &op, &mut self.out);
        if self.trace {
            println!("{at} {} {op:?}\n     {:?}", self.now, applied.answer);
        }
        if let Some(twin) = &mut self.twins[usize::from(at)] {
            twin.follow(part, self.now, &op, &applied, &self.out);
            self.compared += 1;
        }
        if applied.recorded {
            if let Some(records) = &mut self.records {
                let (kind, payload) = self.encoder.encode(&op, &applied.answer, &self.out);
                records.push(Recorded {
                    partition: at,
                    epoch: part.epoch(),
                    lsn: part.lsn(),
                    time_ms: self.now,
                    kind,
                    payload: payload.to_vec(),
                });
            }
            self.logs[usize::from(at)].push((self.now, op.clone()));
        }
        self.cov.code(applied.answer.code);
        for letter in self.out.letters.drain(..) {
            self.transit[usize::from(at) * self.parts.len() + usize::from(letter.to)].push_back(letter);
        }
        let answers = std::mem::take(&mut self.out.answers);
        let pushes = std::mem::take(&mut self.out.pushes);
        for decided in &answers {
            self.cov.code(decided.answer.code);
        }
        for push in &pushes {
            self.cov.push(push.kind);
        }
        let part = &self.parts[usize::from(at)];
        let parts =
            answers.iter().map(|decided| part.parts_of(decided.request).unwrap_or_default()).collect();
        self.out.clear();
        Happened { at, op, applied, answers, pushes, parts }
    }

    /// A request under a new id, applied by the owner of its place.
    pub(crate) fn request(&mut self, user: UserId, command: Command) -> Happened {
        self.ids += 1;
        let id = (u128::from(self.now) << 80) | self.ids;
        let at = command.place().partition(self.count());
        self.apply(at, Op::Request(Request { id, user, command }))
    }

    pub(crate) fn in_transit(&self) -> usize {
        self.transit.iter().map(VecDeque::len).sum()
    }

    /// Brings the next letter of some pair of partitions, if any is on its way.
    pub(crate) fn deliver_one(&mut self) -> Option<Happened> {
        let n = self.transit.len();
        let start = self.rng.below(n as u64) as usize;
        let pair = (0..n).map(|i| (start + i) % n).find(|&i| !self.transit[i].is_empty())?;
        let letter = self.transit[pair].pop_front()?;
        let from = (pair / self.parts.len()) as PartitionId;
        let happened = self.apply(letter.to, Op::Deliver { from, seq: letter.seq, mail: letter.mail });
        assert!(happened.applied.recorded, "letters come in order");
        self.confirmations.push((from, letter.to, letter.seq));
        if self.rng.chance(30) {
            for (from, to, seq) in std::mem::take(&mut self.confirmations) {
                self.confirm(from, to, seq);
            }
        }
        Some(happened)
    }

    /// What is due at a partition, one after another.
    pub(crate) fn due(&mut self, at: PartitionId) -> Option<Op> {
        let due = self.parts[usize::from(at)].next_due(self.now, &mut u32::MAX.clone());
        due.or_else(|| self.due_at_twin(at))
    }

    /// Partition `at` crashes and is rebuilt from its log. What it had sent is sent again, and so is what had
    /// been sent to it.
    pub(crate) fn crash(&mut self, at: PartitionId) {
        let hash = self.parts[usize::from(at)].state_hash();
        let mut fresh = Partition::new(at, self.count(), self.limits);
        for (now, op) in &self.logs[usize::from(at)] {
            assert!(fresh.apply(*now, op, &mut self.out).recorded, "replay records what live did");
            self.out.clear();
        }
        assert_eq!(fresh.state_hash(), hash, "replay went another way than live");
        self.parts[usize::from(at)] = fresh;
        self.twins[usize::from(at)] = None;
        for other in 0..self.count() {
            self.resend(at, other);
            self.resend(other, at);
        }
        if self.rng.chance(50) {
            let epoch = self.parts[usize::from(at)].epoch() + 1;
            let secret = u128::from(self.rng.next());
            self.apply(at, Op::Begin { epoch, secret });
        }
    }

    /// Everything crashes at once.
    pub(crate) fn crash_all(&mut self) {
        for at in 0..self.count() {
            self.crash(at);
        }
    }

    fn resend(&mut self, from: PartitionId, to: PartitionId) {
        let received = self.parts[usize::from(to)].received_from(from);
        self.confirm(from, to, received);
        let sender = &self.parts[usize::from(from)];
        let letters = sender.unconfirmed().filter(|letter| letter.to == to).copied().collect();
        self.transit[usize::from(from) * self.parts.len() + usize::from(to)] = letters;
    }
}
