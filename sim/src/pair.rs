//! Two nodes under faults: links between them cut, standbys lost, one promoted when the primary is gone, and old
//! primaries that wake up. An operator decides who is primary, as without a cluster.

use crate::history::History;
use crate::run::Play;
use crate::scenario::Acknowledge;
use crate::server::{Hall, Promotion, Server};
use crate::world::{Crash, Ended};
use frontrow_server::core::Audit;
use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

/// The promotions there were, each with the number of its node.
pub(crate) type Promotions = Rc<RefCell<Vec<(usize, Promotion)>>>;

/// Has every promotion noted, before anybody hears of it.
pub(crate) fn watch(servers: &[Server], hall: &Rc<Hall>, history: &Rc<RefCell<History>>) -> Promotions {
    let all = Promotions::default();
    for (number, server) in servers.iter().enumerate() {
        let (all, hall, history) = (Rc::clone(&all), Rc::clone(hall), Rc::clone(history));
        server.on_promotion(move |promotion| {
            history.borrow_mut().promoted(&hall, promotion.epoch, promotion.kept.clone());
            all.borrow_mut().push((number, promotion));
        });
    }
    all
}

/// A standby that has not all of the epochs before, less than it was seeded with, or nothing at all.
fn is_rightly_refused(why: &str, was: Standing<'_>) -> bool {
    !was.whole && (why.contains("had not caught up") || why.contains("holds no log"))
}

/// How a standby stood, as its primary knew it at the last.
#[derive(Clone, Copy)]
struct Standing<'a> {
    /// By stream, what it had acknowledged for answers that waited for that.
    acked: &'a [(u16, (u32, u64))],
    /// It had all earlier epochs, and what it was seeded with.
    whole: bool,
}

impl<'w> Play<'w> {
    /// The node that is not the primary.
    fn other(&self) -> Option<&'w Server> {
        self.servers.get(self.lead ^ 1)
    }

    /// Starts the standby if it does not run.
    pub(crate) fn restart_standby(&mut self) {
        let Some(other) = self.other() else { return };
        if self.world.runs(other.node()) {
            return;
        }
        self.last_words();
        let (world, leader) = (self.world, self.server().leader_addr());
        world.power_on(other.node());
        if self.rng.below(3) == 0 {
            // It loses power as it cuts its log, or takes in what it lacks.
            let changes = 1 + self.rng.below(60) as u32;
            world.disk(other.node(), |disk| disk.dies_in = changes);
            other.follow(world, leader);
            self.wait(1_500);
            world.disk(other.node(), |disk| disk.dies_in = 0);
            if world.runs(other.node()) {
                return;
            }
            world.power_on(other.node());
            self.count("standby's power lost amid files");
        }
        other.follow(world, leader);
    }

    /// One fault of the two nodes, and its end.
    pub(crate) fn strike_pair(&mut self) {
        self.wait(3_000);
        if self.scenario.snapshots {
            self.server().snapshot(self.world);
            self.wait(1_000);
        }
        let Some(other) = self.other() else { return };
        let (world, lead, standby) = (self.world, self.server().node(), other.node());
        if self.rng.below(3) == 0 {
            world.disk(standby, |disk| disk.latency_ns = 5_000_000..200_000_000);
            self.count("standby's disk slow");
            self.wait(400);
        }
        let what = match self.rng.below(14) {
            0 => {
                world.crash(standby, Crash::Process);
                "standby killed"
            }
            1 => {
                world.crash(standby, Crash::Power);
                "standby's power lost"
            }
            2 => {
                world.cut(lead, standby);
                world.cut(standby, lead);
                "nodes apart"
            }
            3 => {
                world.cut(lead, standby);
                "standby hears nothing"
            }
            4 => {
                world.cut(standby, lead);
                "primary hears nothing"
            }
            5 => {
                world.slow(lead, standby, Duration::from_millis(self.rng.below(800)));
                "link slow"
            }
            6 => {
                world.pause(standby);
                "standby paused"
            }
            7 => {
                self.forgiven = true;
                world.disk(standby, |disk| disk.failing = 300_000);
                "standby's disk fails writes"
            }
            _ => return self.fail_over(),
        };
        self.count(what);
        self.wait(6_000);
        self.mend();
        self.restart();
        self.forgiven = false;
    }

    /// Everything works again; nothing is started.
    fn mend(&self) {
        let world = self.world;
        for one in self.servers {
            for other in self.servers.iter().filter(|other| other.node() != one.node()) {
                world.heal(one.node(), other.node());
                world.slow(one.node(), other.node(), Duration::ZERO);
            }
            world.resume(one.node());
            let usual = crate::disk::DiskOptions::default().latency_ns;
            world.disk(one.node(), |disk| (disk.failing, disk.latency_ns, disk.dies_in) = (0, usual, 0));
        }
    }

    /// The primary is gone, or seems to be: the standby is promoted, clients go there, and the old primary comes back.
    fn fail_over(&mut self) {
        let Some(other) = self.other() else { return };
        let (world, old) = (self.world, self.server());
        let (lead, standby) = (old.node(), other.node());
        if !other.is_standby(world) {
            return self.restart();
        }
        // With answers of its own disk alone, an old primary that lives goes on selling: it must be ended first.
        let ways = if self.scenario.pair == Some(Acknowledge::Backup) { 4 } else { 2 };
        let what = match self.rng.below(ways) {
            0 => {
                world.crash(lead, Crash::Process);
                "failover: primary killed"
            }
            1 => {
                world.crash(lead, Crash::Power);
                "failover: primary's power lost"
            }
            2 => {
                world.cut(lead, standby);
                world.cut(standby, lead);
                "failover: nodes apart"
            }
            _ => {
                world.pause(lead);
                "failover: primary paused"
            }
        };
        let waits = self.scenario.pair == Some(Acknowledge::Backup);
        let acked = if waits { old.acked() } else { Vec::new() };
        let was = Standing { acked: &acked, whole: old.has_whole_standby() };
        self.wait(1_500);
        if !self.promote(other, was) {
            self.mend();
            return self.restart();
        }
        self.count(what);
        self.wait(2_500);
        self.old_one_returns(old);
    }

    /// Promotes the standby. Whether it is the primary now.
    fn promote(&mut self, other: &'w Server, was: Standing<'_>) -> bool {
        let world = self.world;
        let applied: Vec<u64> = other.standby_audit().iter().map(|audit| audit.lsn).collect();
        let before = (other.served(), other.refused().len());
        if self.rng.below(4) == 0 {
            let changes = 1 + self.rng.below(25) as u32;
            world.disk(other.node(), |disk| disk.dies_in = changes);
        }
        other.promote();
        let ended = world.run_until(Duration::from_secs(20), || {
            (other.served(), other.refused().len()) != before || !world.runs(other.node())
        });
        world.disk(other.node(), |disk| disk.dies_in = 0);
        if other.served() == before.0 && other.refused().len() == before.1 && !world.runs(other.node()) {
            return self.promote_at_rest(other, was, &applied);
        }
        if other.served() == before.0 {
            let why = other.refused().last().cloned().unwrap_or_default();
            if ended != Ended::Reached || !is_rightly_refused(&why, was) {
                self.troubles.push(format!("takes over: the standby did not come to serve: {why}"));
            }
            self.count("promotion refused");
            // That it ended by it is as it should be.
            self.forgiven = true;
            self.last_words();
            self.forgiven = false;
            return false;
        }
        self.took_over(was.acked, &applied);
        true
    }

    /// A standby lost its power while it was promoted: that is done again, or ended, before it is started.
    fn promote_at_rest(&mut self, other: &'w Server, was: Standing<'_>, applied: &[u64]) -> bool {
        self.world.power_on(other.node());
        self.count("standby's power lost as it was promoted");
        if let Err(why) = other.promote_at_rest() {
            if !is_rightly_refused(&why, was) {
                self.troubles.push(format!("takes over: a standby at rest could not be promoted: {why}"));
            }
            return false;
        }
        self.took_over(was.acked, applied);
        self.restart();
        true
    }

    /// The other node is the primary from now on, and has everything that it had applied and, where answers waited for
    /// it, acknowledged.
    fn took_over(&mut self, acked: &[(u16, (u32, u64))], applied: &[u64]) {
        self.lead ^= 1;
        self.town.servers.borrow_mut().swap(0, 1);
        let promotions = Rc::clone(&self.promotions);
        let promotions = promotions.borrow();
        let Some((_, promotion)) = promotions.last() else { return };
        if applied.iter().zip(&promotion.kept).any(|(applied, kept)| applied > kept) {
            let why =
                format!("the standby had applied {applied:?}, its promotion keeps {:?}", promotion.kept);
            self.troubles.push(format!("kept: {why}"));
        }
        for &(stream, (epoch, position)) in acked {
            let end = promotion.history.end(epoch, stream);
            if epoch > 0 && end.is_none_or(|end| end < position) {
                self.troubles.push(format!(
                    "kept: the standby had acknowledged stream {stream} of epoch {epoch} up to {position}, its promotion \
                     ends it at {end:?}"
                ));
            }
        }
    }

    /// The old primary wakes, or is started again: in the end it follows.
    fn old_one_returns(&mut self, old: &'w Server) {
        let world = self.world;
        self.mend();
        if world.runs(old.node()) {
            // It lives, and may be asked; nothing that it says may be lost.
            self.wait(3_000);
        } else if self.scenario.pair == Some(Acknowledge::Backup) && self.rng.below(4) == 0 {
            // Somebody starts it as it was: it opens an epoch of its own, and answers nothing.
            world.power_on(old.node());
            old.start(world);
            self.count("old primary started as primary");
            self.wait(3_000);
        }
        if world.runs(old.node()) {
            let how = if self.rng.below(2) == 0 { Crash::Process } else { Crash::Power };
            world.crash(old.node(), how);
        }
        self.restart();
    }

    /// Once nothing is on its way any more, the standby is what the primary is.
    pub(crate) fn compare_standby(&mut self, live: &[Audit]) {
        let Some(other) = self.other() else { return };
        let same = || {
            let there = other.standby_audit();
            let alike = |(one, two): (&Audit, &Audit)| (one.lsn, one.hash) == (two.lsn, two.hash);
            there.len() == live.len() && there.iter().zip(live).all(alike)
        };
        let mut alike = same();
        for _ in 0..100 {
            if alike {
                break;
            }
            self.world.run_for(Duration::from_millis(200));
            alike = same();
        }
        if !alike {
            let (there, standing) = (other.standby_audit(), other.standing());
            self.troubles.push(format!(
                "standby: after 20 s it stands at {standing}; it is {there:?}, the primary {live:?}"
            ));
        }
        for _ in 0..other.compared() {
            self.count("states compared by the standby");
        }
        self.world.crash(other.node(), Crash::Process);
        match other.recover() {
            Ok(partitions) => {
                for (partition, live) in partitions.iter().zip(live) {
                    let own = Audit::of(partition);
                    if (own.lsn, own.hash) != (live.lsn, live.hash) {
                        self.troubles
                            .push(format!("standby: its log gives {own:?}, the primary is {live:?}"));
                    }
                }
            }
            Err(why) => self.troubles.push(format!("standby: its log is not replayed: {why}")),
        }
    }
}
