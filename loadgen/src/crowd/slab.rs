//! Room for things that come and go: no allocation once as many as ever were have been.

/// No slot.
pub(crate) const NONE: u32 = u32::MAX;

/// Things in numbered slots. A slot is used again after its thing has gone; its generation tells the two apart.
#[derive(Debug)]
pub(crate) struct Slab<T> {
    items: Vec<(u32, Option<T>)>,
    free: Vec<u32>,
    live: usize,
}

impl<T> Default for Slab<T> {
    fn default() -> Self {
        Self { items: Vec::new(), free: Vec::new(), live: 0 }
    }
}

impl<T> Slab<T> {
    pub(crate) fn insert(&mut self, item: T) -> u32 {
        self.live += 1;
        if let Some(slot) = self.free.pop() {
            let entry = &mut self.items[slot as usize];
            entry.0 = entry.0.wrapping_add(1);
            entry.1 = Some(item);
            return slot;
        }
        self.items.push((0, Some(item)));
        self.items.len() as u32 - 1
    }

    pub(crate) fn remove(&mut self, slot: u32) -> Option<T> {
        let item = self.items.get_mut(slot as usize)?.1.take()?;
        self.free.push(slot);
        self.live -= 1;
        Some(item)
    }

    pub(crate) fn get(&self, slot: u32) -> Option<&T> {
        self.items.get(slot as usize)?.1.as_ref()
    }

    pub(crate) fn get_mut(&mut self, slot: u32) -> Option<&mut T> {
        self.items.get_mut(slot as usize)?.1.as_mut()
    }

    /// How often the slot has been used before.
    pub(crate) fn generation(&self, slot: u32) -> u32 {
        self.items.get(slot as usize).map_or(0, |entry| entry.0)
    }

    pub(crate) fn len(&self) -> usize {
        self.live
    }

    /// The slots in use, rising.
    pub(crate) fn slots(&self) -> impl Iterator<Item = u32> + '_ {
        self.items.iter().enumerate().filter(|(_, entry)| entry.1.is_some()).map(|(slot, _)| slot as u32)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slot_is_used_again_and_told_apart() {
        let mut slab = Slab::default();
        let (a, b) = (slab.insert('a'), slab.insert('b'));
        assert_eq!(slab.remove(a), Some('a'));
        assert_eq!((slab.remove(a), slab.get(a), slab.len()), (None, None, 1));
        let c = slab.insert('c');
        assert_eq!((c, slab.generation(c), slab.get(b)), (a, 1, Some(&'b')));
        assert_eq!(slab.slots().collect::<Vec<_>>(), [a, b]);
    }
}
