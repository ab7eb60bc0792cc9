//! Ids of requests whose answers were lost: they may be asked again, with the same id.

use crate::crowd::Tag;
use frontrow_shard::RequestId;
use std::collections::HashMap;

/// Ids kept in a generation.
const KEPT: usize = 1 << 16;

/// The last ids that were lost, at least [`KEPT`] of them: what nobody asks again for so long is forgotten, so that
/// a load of hours does not grow.
#[derive(Debug, Default)]
pub(super) struct Unknown {
    young: HashMap<Tag, RequestId>,
    old: HashMap<Tag, RequestId>,
}

impl Unknown {
    pub(super) fn insert(&mut self, tag: Tag, id: RequestId) {
        if self.young.len() >= KEPT {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(tag, id);
    }

    pub(super) fn remove(&mut self, tag: Tag) -> Option<RequestId> {
        self.young.remove(&tag).or_else(|| self.old.remove(&tag))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_ones_are_kept_and_the_memory_is_bounded() {
        let mut unknown = Unknown::default();
        let many = 5 * KEPT as u64;
        (0..many).for_each(|tag| unknown.insert(tag, u128::from(tag)));
        assert!(unknown.young.len() + unknown.old.len() <= 2 * KEPT);
        assert_eq!(unknown.remove(many - 1), Some(u128::from(many - 1)));
        assert_eq!(unknown.remove(many - KEPT as u64), Some(u128::from(many - KEPT as u64)));
        assert_eq!((unknown.remove(many - 1), unknown.remove(0)), (None, None));
    }
}
