//! The way from one node to another.

use super::NetOptions;
use crate::rng::Rng;
use std::collections::BTreeMap;

/// One direction between two nodes.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Link {
    /// Nothing gets through.
    pub(crate) cut: bool,
    /// Added to every latency.
    pub(crate) slower_ns: u64,
    /// The link carries earlier bytes until then.
    pub(crate) busy_until_ns: u64,
}

/// All ways; those that nothing was done to are not kept.
#[derive(Debug, Default)]
pub(crate) struct Links(BTreeMap<(usize, usize), Link>);

impl Links {
    pub(crate) fn get(&self, from: usize, to: usize) -> Link {
        self.0.get(&(from, to)).copied().unwrap_or_default()
    }

    pub(crate) fn get_mut(&mut self, from: usize, to: usize) -> &mut Link {
        self.0.entry((from, to)).or_default()
    }

    /// When `bytes` that leave now are at the other end.
    pub(crate) fn carry(
        &mut self,
        (from, to): (usize, usize),
        now_ns: u64,
        bytes: usize,
        options: &NetOptions,
        rng: &mut Rng,
    ) -> u64 {
        if from == to {
            return now_ns + rng.within(options.loopback_ns.clone());
        }
        let link = self.get_mut(from, to);
        let takes = bytes as u64 * 1_000_000_000 / options.bytes_per_second.max(1);
        link.busy_until_ns = link.busy_until_ns.max(now_ns) + takes;
        let mut at = link.busy_until_ns + rng.within(options.latency_ns.clone()) + link.slower_ns;
        if rng.per_million(options.lost) {
            at += rng.within(options.again_ns.clone());
        }
        at
    }
}
