//! Both ends of replication without sockets and threads, for a program that simulates those: bytes go in and come
//! out, and everything that is decided in between is decided by the code that the threads run.

use super::applier::Applier;
use super::hub::{Hub, HubParts};
use super::primary::{Desk, Ended, Shipment, hear_ack};
use super::progress::At;
use super::standby::seeding::Step;
use super::standby::{FollowError, Follower, Leader, Promoted, Standby};
use super::status::{Shared, State};
use crate::cluster::Fence;
use crate::config::{Acknowledge, Config};
use crate::core::Handle;
use frontrow_engine::{Clock, Notifier};
use frontrow_shard::{Limits, Partition};
use frontrow_wal::fs::Disk;
use frontrow_wal::stream::{CONTROL, Heard, Hello, Mirror, Received, Receiver, RefusalCode, StreamError};
use frontrow_wal::{DataDir, History, NodeId, Position, SeedIntake, WalError};
use std::sync::Arc;
use std::time::Duration;

const HEARTBEAT_NS: u64 = 500_000_000;

/// What a primary knows of its standby, as the configuration says; `superseded` is called when somebody has seen a
/// newer epoch, and must end the process.
pub fn hub(
    config: &Config,
    dir: &DataDir,
    history: History,
    superseded: Box<dyn Fn(u32) + Send + Sync>,
) -> Result<Arc<Hub>, WalError> {
    let replication = &config.replication;
    let hub = Hub::new(HubParts {
        dir: dir.clone(),
        history,
        events: config.server.data.join("events"),
        cores: config.server.shard_cpus.len().max(1),
        policy: replication.acknowledge == Acknowledge::Backup,
        busy_after: replication.busy_after,
        check_every: replication.check,
        superseded,
        lacking: Box::new(|_| {}),
        fence: Arc::new(Fence::open()),
        look: None,
    })?;
    Ok(Arc::new(hub))
}

/// The cores serve: the standby goes on from their time.
pub fn start_clock(hub: &Hub, handle: &Handle) {
    hub.set_clock(handle.clock());
}

/// By stream, what the standby has said that it has.
pub fn acked(hub: &Hub) -> Vec<(u16, (u32, Position))> {
    hub.acked_places()
}

/// Whether a primary's standby has all earlier epochs, and all that it was seeded with, as far as the primary was told.
pub fn has_whole_standby(hub: &Hub) -> bool {
    hub.has_whole_standby()
}

/// Makes the log of a standby that does not run fit to be promoted.
pub fn cut_to_causes(dir: &DataDir, limits: Limits) -> Result<(), WalError> {
    super::causes::cut_to_causes(dir, limits)
}

/// Why a primary's connection has ended.
#[derive(Debug)]
pub struct Over {
    /// In words.
    pub why: String,
    /// A newer epoch, if the other end has seen one: this process must end.
    pub newer: Option<u32>,
}

impl From<Ended> for Over {
    fn from(ended: Ended) -> Self {
        let newer = match &ended {
            Ended::Stream(StreamError::Superseded { newer, .. }) => Some(*newer),
            _ => None,
        };
        Self { why: ended.to_string(), newer }
    }
}

/// The primary's end of one connection.
pub struct PrimaryEnd {
    desk: Desk,
    hang_up: Option<Box<dyn Fn() + Send>>,
    at: Stage,
}

/// How far a connection has come.
enum Stage {
    Greeting,
    Asked((u16, u64)),
    Streaming((u16, u64), Box<Shipment>),
    Control(u64),
}

impl PrimaryEnd {
    /// For a connection that has just come in; `hang_up` ends it.
    pub fn new(hub: &Arc<Hub>, hang_up: Box<dyn Fn() + Send>) -> Self {
        Self { desk: Desk::new(Arc::clone(hub)), hang_up: Some(hang_up), at: Stage::Greeting }
    }

    /// Takes in bytes that have arrived, and answers them; `task` is woken when there may be something to send.
    pub fn push(&mut self, bytes: &[u8], task: &Notifier) -> Result<(), Over> {
        self.desk.sender().push(bytes);
        loop {
            let heard = self.desk.sender().hear().map_err(Ended::from)?;
            let Some(heard) = heard else { return Ok(()) };
            self.hear(&heard, task)?;
        }
    }

    fn hear(&mut self, heard: &Heard, task: &Notifier) -> Result<(), Ended> {
        match &mut self.at {
            Stage::Greeting => {
                let Some(hang_up) = self.hang_up.take() else { return Ok(()) };
                let (stream, number) = self.desk.greet(heard, hang_up)?;
                let control = stream == CONTROL;
                self.at = if control { Stage::Control(number) } else { Stage::Asked((stream, number)) };
            }
            Stage::Asked((stream, number)) => {
                let (stream, number) = (*stream, *number);
                let ship = self.desk.shipment(heard, stream, number)?;
                ship.link.sent_by(task.clone());
                self.at = Stage::Streaming((stream, number), Box::new(ship));
            }
            Stage::Streaming(name, ship) => hear_ack(&self.desk.hub, &ship.link, *name, heard),
            Stage::Control(_) => match heard {
                // There are no files here: what the standby has of them does not matter.
                Heard::Files(_) => {
                    let version = self.desk.hub.files_version(0, Duration::ZERO);
                    self.desk.sender().files_done(version);
                }
                Heard::FilesDone { version } => self.desk.hub.files_there(*version),
                Heard::SeedWanted => {
                    let seed = self.desk.hub.dir.seed()?;
                    self.desk.send_seed(&seed, |_| Ok(()))?;
                }
                _ => {}
            },
        }
        Ok(())
    }

    /// Frames what there is to send. Whether there may be more at once.
    pub fn turn(&mut self) -> Result<bool, Over> {
        match &mut self.at {
            Stage::Streaming(_, ship) => {
                self.desk.ship(ship, Duration::ZERO)?;
                Ok(!ship.idle)
            }
            Stage::Control(_) => {
                self.desk.note();
                self.desk.beat(0);
                Ok(false)
            }
            _ => Ok(false),
        }
    }

    /// Bytes to send; also after an error.
    pub fn take_out(&mut self) -> Vec<u8> {
        self.desk.sender().take_out()
    }

    /// The connection is over, and the process lives.
    pub fn note_agreed(&self) {
        self.desk.hub.note_agreed();
    }
}

impl Drop for PrimaryEnd {
    fn drop(&mut self) {
        match self.at {
            Stage::Asked((stream, number)) | Stage::Streaming((stream, number), _) => {
                self.desk.hub.leave(stream, number);
            }
            Stage::Control(number) => self.desk.hub.leave(CONTROL, number),
            Stage::Greeting => {}
        }
    }
}

/// A standby: its directory, what it follows, and what it has applied.
pub struct StandbyEnd {
    standby: Standby<'static>,
    shared: Arc<Shared>,
    applier: Applier,
    broken: bool,
}

/// The standby's end of one connection.
pub struct StandbyChannel {
    receiver: Receiver,
    part: Part,
    beat_ns: u64,
}

enum Part {
    Calling,
    Seeding(Box<(SeedIntake, Hello)>),
    Control,
    Asking(Box<Follower>),
    Streaming(Box<Follower>, Box<Mirror>, At),
}

impl StandbyChannel {
    /// Adds bytes that have arrived.
    pub fn push(&mut self, bytes: &[u8]) {
        self.receiver.push(bytes);
    }

    /// Bytes to send; also after an error. Now and then a word that it lives.
    pub fn take_out(&mut self) -> Vec<u8> {
        let now = Clock::monotonic_ns();
        let have = match &self.part {
            Part::Control | Part::Seeding(_) => Some((0, 0)),
            Part::Streaming(_, _, have) => Some(*have),
            Part::Calling | Part::Asking(_) => None,
        };
        if let Some((epoch, position)) = have.filter(|_| now - self.beat_ns > HEARTBEAT_NS) {
            self.beat_ns = now;
            self.receiver.heartbeat(0, epoch, position);
        }
        self.receiver.take_out()
    }

    /// Takes one thing that has arrived on a stream's connection. Whether there was any.
    pub fn turn(&mut self) -> Result<bool, FollowError> {
        if let Part::Asking(follower) = &self.part {
            let hello = match self.receiver.receive()? {
                None => return Ok(false),
                Some(Received::Hello(hello)) => hello,
                Some(_) => return Err(StreamError::Unexpected("its first word is not its hello").into()),
            };
            follower.welcome(&mut self.receiver, &hello)?;
            let Part::Asking(follower) = std::mem::replace(&mut self.part, Part::Control) else {
                unreachable!("just looked at")
            };
            let (mirror, have) = (follower.mirror(), (follower.from.epoch, follower.from.position));
            self.part = Part::Streaming(follower, Box::new(mirror), have);
            return Ok(true);
        }
        let Part::Streaming(follower, mirror, have) = &mut self.part else { return Ok(false) };
        follower.take_one(&mut self.receiver, mirror, have)
    }
}

impl StandbyEnd {
    /// A standby over the configuration's data directory; `node` is its name if it has none yet.
    pub fn open(
        config: &Config,
        limits: Limits,
        disk: Arc<dyn Disk>,
        node: NodeId,
    ) -> Result<Self, FollowError> {
        let shared = Arc::<Shared>::default();
        let leader = Leader::At(String::new());
        let mut standby = Standby::new(config, leader, limits, Arc::clone(&shared), None, disk)?;
        let named = standby.dir.as_ref().map(DataDir::history).transpose()?.flatten().is_some();
        if !named {
            standby.node = node;
        }
        let applier = Applier::new(Arc::clone(&shared), limits, Arc::default());
        Ok(Self { standby, shared, applier, broken: false })
    }

    /// Begins a session: its control connection.
    pub fn call(&self) -> StandbyChannel {
        let (cluster, seen) = self.standby.dir.as_ref().map_or((0, 0), |dir| (dir.cluster(), dir.epoch()));
        let receiver = Receiver::new(CONTROL, cluster, self.standby.node, seen);
        StandbyChannel { receiver, part: Part::Calling, beat_ns: 0 }
    }

    /// Takes what has arrived on the control connection. Once the directory is fit, the connections of the streams.
    pub fn control(&mut self, channel: &mut StandbyChannel) -> Result<Vec<StandbyChannel>, FollowError> {
        let mut begun = Vec::new();
        loop {
            let receiver = &mut channel.receiver;
            match &mut channel.part {
                Part::Calling => {
                    let hello = match receiver.receive()? {
                        None => return Ok(begun),
                        Some(Received::Hello(hello)) => hello,
                        Some(_) => {
                            return Err(StreamError::Unexpected("its first word is not its hello").into());
                        }
                    };
                    if let Some((dir, resume)) = self.standby.prepare_or_seed(&hello)? {
                        receiver.files(Vec::new());
                        begun = self.begin(&dir, &hello, resume)?;
                        channel.part = Part::Control;
                    } else {
                        let dir = self.standby.join(&hello)?;
                        receiver.files(Vec::new());
                        receiver.want_seed();
                        channel.part = Part::Seeding(Box::new((SeedIntake::begin(&dir)?, hello)));
                    }
                }
                Part::Seeding(seeding) => {
                    let (seed, _) = &mut **seeding;
                    match self.standby.take_seed_piece(receiver, seed)? {
                        None => return Ok(begun),
                        Some(Step::More) => {}
                        Some(Step::Files(version)) => receiver.files_done(version),
                        Some(Step::Whole(files, floor)) => {
                            let Part::Seeding(seeding) = std::mem::replace(&mut channel.part, Part::Control)
                            else {
                                unreachable!("just looked at")
                            };
                            let (seed, hello) = *seeding;
                            self.shared.change(State::hold_on);
                            let _ = self.apply();
                            self.standby.place_seed(seed, (files, floor), &hello)?;
                            let (dir, resume) = self.standby.prepare(&hello)?;
                            begun = self.begin(&dir, &hello, resume)?;
                        }
                    }
                }
                _ => match receiver.receive()? {
                    None => return Ok(begun),
                    Some(Received::FilesDone { version }) => receiver.files_done(version),
                    Some(Received::Heartbeat { time_ms, .. }) if time_ms > 0 => {
                        let now = Clock::monotonic_ns();
                        self.shared.change(|state| state.clock = Some((time_ms, now)));
                    }
                    Some(_) => {}
                },
            }
        }
    }

    fn begin(
        &mut self,
        dir: &DataDir,
        hello: &Hello,
        resume: std::collections::BTreeMap<u16, frontrow_wal::Resume>,
    ) -> Result<Vec<StandbyChannel>, FollowError> {
        if let Some((bytes, count)) = self.standby.spares_wanted() {
            // Without them a promotion takes longer.
            let _ = dir.make_spares(bytes, count);
        }
        let (_, followers) = self.standby.begin_session(dir, hello, resume, "")?;
        let channel = |follower: Follower| StandbyChannel {
            receiver: follower.ask(),
            part: Part::Asking(Box::new(follower)),
            beat_ns: 0,
        };
        Ok(followers.into_iter().map(channel).collect())
    }

    /// A session has ended, for this reason. An error that no other session would mend is given back.
    pub fn ended(&mut self, error: FollowError) -> Result<(), FollowError> {
        if let FollowError::Stream(StreamError::Refused(refusal)) = &error {
            self.standby.seed_needed |= refusal.code == RefusalCode::SnapshotNeeded;
        }
        self.standby.note_what_is_agreed()?;
        self.standby.note(Err(error))
    }

    /// Applies what has come and may be applied. An error is told once; the log is copied all the same.
    pub fn apply(&mut self) -> Result<(), String> {
        if self.broken {
            return Ok(());
        }
        loop {
            match self.applier.turn(Duration::ZERO) {
                Ok(ended) if ended || self.applier.is_idle() => return Ok(()),
                Ok(_) => {}
                Err(error) => {
                    self.broken = true;
                    return Err(error.to_string());
                }
            }
        }
    }

    /// The partitions as far as they are applied.
    pub fn partitions(&self) -> &[Partition] {
        self.applier.partitions()
    }

    /// How many states of partitions were found to be the primary's.
    pub fn compared(&self) -> u64 {
        self.shared.lock().checked
    }

    /// How far each stream is, in words, for who finds it stuck.
    pub fn progress(&self) -> String {
        let state = self.shared.lock();
        let trouble = state.trouble.as_deref().unwrap_or("it follows");
        format!("{:?}; {}; {trouble}", state.streams, self.applier.standing())
    }

    /// An operator makes it the primary: everything that has come is applied, and the next epoch opened. All
    /// connections are over.
    pub fn promote(mut self) -> Result<Promoted, FollowError> {
        self.shared.change(|state| (state.promote, state.finish) = (true, true));
        let applied = loop {
            match self.applier.turn(Duration::ZERO) {
                Ok(false) => {}
                Ok(true) => break Ok(self.applier.into_applied()),
                Err(error) => break Err(error),
            }
        };
        self.standby.take_over(applied)
    }
}
