//! Whether a fence has been given out before.

use std::collections::HashSet;
use std::hash::{BuildHasherDefault, Hasher};

/// Nonces remembered at least; twice as many at most.
const REMEMBERED: usize = 1 << 19;

/// Nonces are as good as random: their bits are their hash.
#[derive(Default)]
pub(crate) struct AsIs(u64);

impl Hasher for AsIs {
    fn finish(&self) -> u64 {
        self.0
    }
    fn write(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.0 = frontrow_shard::mix(self.0 ^ u64::from(byte));
        }
    }
    fn write_u64(&mut self, value: u64) {
        self.0 = frontrow_shard::mix(value);
    }
}

type Set = HashSet<u64, BuildHasherDefault<AsIs>>;

/// The last million or so nonces: two sets, of which the older is forgotten when the younger is full.
#[derive(Debug, Default)]
pub(crate) struct Nonces {
    young: Set,
    old: Set,
}

impl Nonces {
    /// Whether the nonce has not been seen, as far as is remembered.
    pub(crate) fn is_fresh(&mut self, nonce: u64) -> bool {
        if self.young.len() >= REMEMBERED {
            std::mem::swap(&mut self.young, &mut self.old);
            self.young.clear();
        }
        !self.old.contains(&nonce) && self.young.insert(nonce)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_nonce_is_fresh_once_and_memory_is_bounded() {
        let mut nonces = Nonces::default();
        assert!(nonces.is_fresh(5) && !nonces.is_fresh(5));
        let distinct = (0..3 * REMEMBERED as u64).filter(|&n| nonces.is_fresh(n + 10)).count();
        assert_eq!(distinct, 3 * REMEMBERED);
        assert!(nonces.young.len() + nonces.old.len() <= 2 * REMEMBERED);
        assert!(!nonces.is_fresh(3 * REMEMBERED as u64));
    }
}
