//! The post between partitions: exactly once, in order, across crashes.
//!
//! A message is part of the state of its sender from the operation that wrote it until its receiver has
//! it in its own log. Messages from one partition to another are numbered without gaps; the receiver
//! applies number `n + 1` after `n` and nothing else. So a sender may repeat what it is not sure of, and
//! after a crash it must: see [`crate::Partition::unconfirmed`].

mod saved;

use crate::ids::PartitionId;
use crate::op::Mail;
use std::collections::VecDeque;

/// A message on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Letter {
    /// The receiver.
    pub to: PartitionId,
    /// Its number on the way from the sender to `to`, from 1.
    pub seq: u64,
    /// The message.
    pub mail: Mail,
}

pub(crate) struct Post {
    /// Number of the last message written to each partition.
    sent: Vec<u64>,
    /// Number of the last message received from each partition.
    received: Vec<u64>,
    /// Written, and not known to be in the receiver's log.
    unconfirmed: VecDeque<Letter>,
}

impl Post {
    pub(crate) fn new(partitions: u16) -> Self {
        let none = vec![0; usize::from(partitions)];
        Self { sent: none.clone(), received: none, unconfirmed: VecDeque::new() }
    }

    pub(crate) fn write(&mut self, to: PartitionId, mail: Mail) -> Letter {
        let seq = &mut self.sent[usize::from(to)];
        *seq += 1;
        let letter = Letter { to, seq: *seq, mail };
        self.unconfirmed.push_back(letter);
        letter
    }

    /// Whether this message is the next one from there. A repetition or one out of turn is not.
    pub(crate) fn receive(&mut self, from: PartitionId, seq: u64) -> bool {
        let Some(last) = self.received.get_mut(usize::from(from)) else { return false };
        let next = seq == *last + 1;
        if next {
            *last = seq;
        }
        next
    }

    pub(crate) fn sent_to(&self, to: PartitionId) -> u64 {
        self.sent.get(usize::from(to)).copied().unwrap_or(0)
    }

    pub(crate) fn received_from(&self, from: PartitionId) -> u64 {
        self.received.get(usize::from(from)).copied().unwrap_or(0)
    }

    /// The receiver `to` has everything up to `seq` in its log.
    pub(crate) fn confirm(&mut self, to: PartitionId, seq: u64) {
        // Confirmations come in about the order of writing, so this nearly always ends at the front.
        while self.unconfirmed.front().is_some_and(|letter| letter.to == to && letter.seq <= seq) {
            self.unconfirmed.pop_front();
        }
        if self.unconfirmed.iter().any(|letter| letter.to == to && letter.seq <= seq) {
            self.unconfirmed.retain(|letter| letter.to != to || letter.seq > seq);
        }
    }

    /// Every receiver has everything up to its entry in the list. How many letters are left.
    pub(crate) fn confirm_all(&mut self, received: &[u64]) -> usize {
        let has = |to: PartitionId| received.get(usize::from(to)).copied().unwrap_or(0);
        self.unconfirmed.retain(|letter| letter.seq > has(letter.to));
        self.unconfirmed.len()
    }

    pub(crate) fn unconfirmed(&self) -> impl Iterator<Item = &Letter> {
        self.unconfirmed.iter()
    }

    /// What of the post is state: the counts, not what has been confirmed.
    pub(crate) fn counts(&self) -> (&[u64], &[u64]) {
        (&self.sent, &self.received)
    }
}
