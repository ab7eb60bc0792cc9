//! Partitions to bytes and back, with what must hold of every such way.

use super::world::World;
use frontrow_shard::*;

pub(crate) fn bytes_of(part: &Partition) -> Vec<u8> {
    let mut bytes = Vec::new();
    part.save(&mut bytes).expect("writing to memory does not fail");
    bytes
}

/// The partition that its bytes give. It has the same digest, and the same bytes again.
pub(crate) fn reload(part: &Partition, partitions: u16, limits: Limits) -> Partition {
    let bytes = bytes_of(part);
    let loaded = match Partition::load(&bytes, part.id(), partitions, limits) {
        Ok(loaded) => loaded,
        Err(error) => panic!("what was saved is not loaded: {error}"),
    };
    assert_eq!(loaded.state_hash(), part.state_hash());
    assert!(bytes_of(&loaded) == bytes, "another state for the same bytes");
    loaded
}

/// A copy that was loaded goes the same way as the original.
pub(crate) struct Twin {
    part: Partition,
    out: Effects,
}

impl Twin {
    /// Applies what the original has just applied, and compares everything that came of it.
    pub(crate) fn follow(
        &mut self,
        original: &Partition,
        now: Millis,
        op: &Op,
        said: &Applied,
        out: &Effects,
    ) {
        self.out.clear();
        let applied = self.part.apply(now, op, &mut self.out);
        assert_eq!(&applied, said, "{op:?}");
        assert_eq!(self.out.answers, out.answers, "{op:?}");
        assert_eq!(self.out.pushes, out.pushes, "{op:?}");
        assert_eq!(self.out.parts, out.parts, "{op:?}");
        assert_eq!(self.out.rows, out.rows, "{op:?}");
        assert_eq!(self.out.letters, out.letters, "{op:?}");
        let parts = |part: &Partition| -> Vec<_> {
            let decided = out.answers.iter().map(|decided| part.parts_of(decided.request));
            let own = if let Op::Request(request) = op { part.parts_of(request.id) } else { None };
            decided.chain([own]).collect()
        };
        assert_eq!(parts(&self.part), parts(original), "{op:?}");
        assert_eq!(self.part.state_hash(), original.state_hash(), "{op:?}");
    }
}

impl World {
    /// Partition `at` is replaced by what its bytes give.
    pub(crate) fn reload(&mut self, at: PartitionId) {
        let loaded = reload(&self.parts[usize::from(at)], self.count(), self.limits);
        self.parts[usize::from(at)] = loaded;
        self.saves += 1;
    }

    /// From now on a copy of partition `at` that was loaded from bytes does all that the original does.
    pub(crate) fn twin(&mut self, at: PartitionId) {
        let original = &self.parts[usize::from(at)];
        if let Some(twin) = &self.twins[usize::from(at)] {
            assert!(bytes_of(&twin.part) == bytes_of(original), "the copy has come to another state");
        }
        let part = reload(original, self.count(), self.limits);
        self.twins[usize::from(at)] = Some(Twin { part, out: Effects::default() });
        self.saves += 1;
    }

    /// What is due at the copy: it may be found a tick sooner or later than at the original.
    pub(crate) fn due_at_twin(&mut self, at: PartitionId) -> Option<Op> {
        let twin = self.twins[usize::from(at)].as_mut()?;
        twin.part.next_due(self.now, &mut u32::MAX.clone())
    }

    /// Partition `at` and its copy hear that `to` has everything up to `seq`.
    pub(crate) fn confirm(&mut self, at: PartitionId, to: PartitionId, seq: u64) {
        self.parts[usize::from(at)].confirm(to, seq);
        if let Some(twin) = &mut self.twins[usize::from(at)] {
            twin.part.confirm(to, seq);
        }
    }
}
