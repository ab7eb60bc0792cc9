//! What a seed plays: cores, people, the hall and its rules, room, faults. Different seeds draw different ones.

use crate::rng::{Concern, Rng};
use crate::server::Hall;
use frontrow_shard::{EventRules, OrphanRule};

/// What answers wait for, where there is a second node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Acknowledge {
    /// The primary's disk.
    Local,
    /// The standby's, too.
    Backup,
}

/// What is played.
#[derive(Debug, Clone)]
pub struct Scenario {
    /// Cores of the server at its first start.
    pub cores: usize,
    /// Whether later starts may have another number of cores.
    pub moves: bool,
    /// Clients.
    pub people: u64,
    /// How many faults strike, one after the other.
    pub faults: u32,
    /// Whether snapshots are made and the log is trimmed.
    pub snapshots: bool,
    /// Bytes of a segment of the log.
    pub segment: u64,
    /// Whether there is room for few parties, queues and section claims only.
    pub narrow: bool,
    /// A second node follows, and is promoted now and then; what answers wait for. `None`: one node.
    pub pair: Option<Acknowledge>,
    /// Bytes of log that are kept for a standby alone.
    pub keep_log: u64,
    /// Of a million writes: how many the disk acknowledges and loses. Not a fault to survive, but one to find.
    pub lost_writes: u32,
    /// Print every event.
    pub aloud: bool,
}

impl Default for Scenario {
    fn default() -> Self {
        Self {
            cores: 2,
            moves: false,
            people: 10,
            faults: 5,
            snapshots: false,
            segment: 64 << 10,
            narrow: false,
            pair: None,
            keep_log: 1 << 30,
            lost_writes: 0,
            aloud: false,
        }
    }
}

impl Scenario {
    /// What a seed draws.
    pub fn drawn(seed: u64) -> Self {
        let mut rng = Rng::new(seed, Concern::Scenario);
        Self {
            cores: *rng.pick(&[1, 2, 2, 4]),
            moves: rng.below(2) == 0,
            people: rng.within(3..13),
            faults: rng.within(1..6) as u32,
            snapshots: rng.below(2) == 0,
            segment: *rng.pick(&[16 << 10, 32 << 10, 64 << 10]),
            narrow: rng.below(6) == 0,
            pair: *rng.pick(&[
                None,
                None,
                Some(Acknowledge::Local),
                Some(Acknowledge::Backup),
                Some(Acknowledge::Backup),
            ]),
            keep_log: *rng.pick(&[1 << 30, 64 << 10]),
            lost_writes: 0,
            aloud: false,
        }
    }
}

/// A small hall, so that people get in each other's way; some with a limit per user.
pub(crate) fn hall(rng: &mut Rng) -> Hall {
    let ten_seconds = 10_000;
    let rules = EventRules {
        hold_ms: ten_seconds,
        offer_ms: ten_seconds,
        pay_ms: ten_seconds,
        max_extensions: rng.below(3) as u8,
        max_per_claim: 4,
        max_per_user: *rng.pick(&[0, 0, 4, 8]),
        max_passes: *rng.pick(&[0, 1, 3, 100]),
        orphans: *rng.pick(&[OrphanRule::Off, OrphanRule::Prefer, OrphanRule::Strict]),
        ..EventRules::default()
    };
    let sections = vec![rng.within(1..4) as u16, rng.within(1..3) as u16, rng.within(1..5) as u16];
    Hall { event: 1, rules, sections, seats: rng.within(4..10) as u8 }
}
