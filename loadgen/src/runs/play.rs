//! One crowd on one event, from the first connection to the last word about every seat.

use crate::LoadError;
use crate::crowd::{
    Books, Carried, Crowd, CrowdPlan, Lived, Routing, Scenario, Verifier, Waited, crowds, spread_cores,
};
use crate::drive::{Doors, DrivePlan, Driving, Tally, start};
use crate::options::TransportWord;
use crate::report::model::{Away, Verified};
use crate::report::words::seconds;
use crate::runs::absence::Absence;
use crate::runs::interrupt::Interrupt;
use crate::runs::plan::Plan;
use crate::runs::sale::Sale;
use crate::runs::site::Site;
use crate::runs::watch::{EVERY_S, Watch};
use frontrow_engine::EngineKind;
use std::time::Duration;
use tokio::time::{MissedTickBehavior, interval};

/// The number of the crowds' first user: beyond any that somebody tries things with by hand.
const FIRST_USER: u64 = 1_000_000;
/// Connections opened per second and thread: a server's listen queue takes so many at once.
const CONNECT_RATE: u32 = 5000;
/// How often it is looked at whether a run is over.
const GLANCES_PER_SAMPLE: u32 = 10;

/// What came of it.
#[derive(Debug)]
pub(crate) struct Played {
    /// All of it.
    pub(crate) total: Tally,
    /// What came after the warm-up, while people still came; and for how many seconds.
    pub(crate) steady: Tally,
    pub(crate) steady_s: f64,
    pub(crate) books: Books,
    pub(crate) verified: Verified,
    pub(crate) duration_s: f64,
    /// When the server was away.
    pub(crate) away: Vec<Away>,
    /// Why seats were left, if any were.
    pub(crate) seats_left: Option<String>,
    /// What people lived through.
    pub(crate) lived: Lived,
    /// Why the end is missing, if it is: the server went away.
    pub(crate) cut_short: Option<LoadError>,
}

/// A crowd at a sale's door.
pub(crate) struct Stage<'a> {
    pub(crate) site: &'a Site,
    pub(crate) sale: &'a Sale,
    pub(crate) plan: &'a Plan,
    pub(crate) scenario: &'a Scenario,
    /// What counts as `steady`.
    pub(crate) counts: Counts,
}

/// Which part of a stage counts.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Counts {
    /// Everything after so many seconds of people coming, until the last one comes.
    After(f64),
    /// What happens between these seconds of the watch; looked at ten times as often.
    Between(f64, f64),
}

impl Stage<'_> {
    /// Lets the crowd in, looks on until it is gone, and holds what it was told against the server's seats.
    pub(crate) async fn play(&self, watch: &mut Watch, interrupt: &Interrupt) -> Result<Played, LoadError> {
        let (driving, verifier) = self.start().await?;
        let mut hand = Hand::new(self, watch.seconds());
        let mut tick = interval(Duration::from_secs_f64(EVERY_S) / GLANCES_PER_SAMPLE);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let closely = self.plan.quick || matches!(self.counts, Counts::Between(..));
        let glances = if closely { 1 } else { GLANCES_PER_SAMPLE };
        for glance in 1_u32.. {
            tick.tick().await;
            let over = driving.is_finished();
            if over || glance.is_multiple_of(glances) {
                hand.look(&driving, &verifier, watch).await;
            }
            if over {
                break;
            }
            hand.mind_server(driving.doors(), watch).await;
            hand.mind(&driving, &verifier, watch, interrupt);
        }
        // What the last of them did is told when the crowds are gone.
        driving.join()?;
        let (books, lived) = (verifier.books(), verifier.lived());
        let (verified, seats_left, cut_short) = self.compare(verifier, &mut hand, watch).await;
        Ok(Played { verified, seats_left, lived, cut_short, ..hand.done(books, watch.seconds()) })
    }

    /// Holds what people were told against the server's seats, if there is still a server.
    async fn compare(
        &self,
        verifier: Verifier,
        hand: &mut Hand<'_>,
        watch: &Watch,
    ) -> (Verified, Option<String>, Option<LoadError>) {
        if let Some(from_s) = hand.absence.since_s() {
            if !watch.server_answers().await {
                return (verifier.so_far(), None, Some(LoadError::WentAway { from_s }));
            }
            hand.absence.back(watch.seconds());
        }
        watch.progress.say("  comparing with the server's own seats");
        match self.sale.seats(self.site).await {
            Ok(seats) => {
                let left = verifier.why_left(&seats, &hand.waited);
                (verifier.finish(&seats), left, None)
            }
            Err(LoadError::NoServer { .. }) => {
                let from_s = watch.seconds();
                hand.absence.gone_at(from_s);
                (verifier.so_far(), None, Some(LoadError::WentAway { from_s }))
            }
            Err(error) => (verifier.so_far(), None, Some(error)),
        }
    }

    async fn start(&self) -> Result<(Driving<Crowd>, Verifier), LoadError> {
        let (plan, site) = (self.plan, self.site);
        let threads = plan.cpus.len() as u16;
        let core_of = spread_cores(plan.connections, threads, site.cores());
        let routing = plan
            .routed
            .then(|| Routing { topology: site.topology.clone(), connection_core: core_of.clone() });
        let crowd_plan = CrowdPlan {
            seed: plan.seed,
            connections: plan.connections,
            threads,
            first_user: FIRST_USER,
            routing,
        };
        let (crowds, verifier) = crowds(self.scenario, &self.sale.hall, &crowd_plan)?;
        let users = (0..plan.connections).map(|connection| FIRST_USER + u64::from(connection));
        let drive = DrivePlan {
            core_of: if site.routes(plan.transport) { core_of } else { Vec::new() },
            tokens: site.tokens.many(users).await?,
            ..drive_plan(site, plan)?
        };
        Ok((launch(crowds, drive).await?, verifier))
    }
}

/// Starts load threads. That waits for a first connection, so not on this thread.
pub(crate) async fn launch<C: Carried + Send + 'static>(
    crowds: Vec<C>,
    drive: DrivePlan,
) -> Result<Driving<C>, LoadError> {
    let started = tokio::task::spawn_blocking(move || start(crowds, drive)).await;
    started.map_err(|_| LoadError::Panicked)?
}

/// Everything about the way to the server that does not depend on who takes it: no tokens, nobody routed.
pub(crate) fn drive_plan(site: &Site, plan: &Plan) -> Result<DrivePlan, LoadError> {
    let tcp = plan.transport == TransportWord::Tcp;
    Ok(DrivePlan {
        transport: plan.transport(),
        engine: EngineKind::Auto,
        cpus: plan.cpus.clone(),
        tcp: if tcp { site.tcp()? } else { Vec::new() },
        ws: if tcp { Vec::new() } else { site.websocket() },
        core_of: Vec::new(),
        tokens: Vec::new(),
        depth: plan.depth,
        patience: plan.patience,
        connect_rate: CONNECT_RATE,
    })
}

/// What is in hand while a stage plays.
struct Hand<'a> {
    stage: &'a Stage<'a>,
    total: Tally,
    steady: Tally,
    steady_from_s: Option<f64>,
    steady_s: f64,
    opened_s: f64,
    began_s: Option<f64>,
    winding_down_s: Option<f64>,
    /// Who waited when nobody came any more.
    waited: Vec<Waited>,
    absence: Absence,
    /// Whether it has been said that the run ends without those who are not done.
    told_end: bool,
}

impl<'a> Hand<'a> {
    fn new(stage: &'a Stage<'a>, opened_s: f64) -> Self {
        Self {
            stage,
            total: Tally::default(),
            steady: Tally::default(),
            steady_from_s: None,
            steady_s: 0.0,
            opened_s,
            began_s: None,
            winding_down_s: None,
            waited: Vec::new(),
            absence: Absence::new(opened_s, stage.plan.patience.as_secs_f64()),
            told_end: false,
        }
    }

    /// Notices that the server is away, and that it is back.
    async fn mind_server(&mut self, fresh: Doors, watch: &Watch) {
        let doors = Doors {
            let_in: self.total.connected + fresh.let_in,
            failed: self.total.connect_failed + self.total.connections_lost + fresh.failed,
            ..fresh
        };
        let was_away = self.absence.since_s().is_some();
        if self.absence.see(watch.seconds(), doors) && !watch.server_answers().await {
            self.absence.confirm();
            watch.progress.say(&format!(
                "  the server does not answer: all connections are lost, and so are its metrics. Waiting {} for it to come back",
                seconds(self.stage.plan.patience.as_secs_f64())
            ));
        } else if was_away && self.absence.since_s().is_none() {
            watch.progress.say("  the server is back");
        }
    }

    /// Takes what was counted since the last look.
    async fn look(&mut self, driving: &Driving<Crowd>, verifier: &Verifier, watch: &mut Watch) {
        let (tally, books) = (driving.take(), verifier.books());
        let now_s = watch.seconds();
        if let (None, Some(began_ns)) = (self.began_s, books.began_ns) {
            self.began_s = Some(self.opened_s + began_ns as f64 / 1e9);
        }
        self.count_steady(&tally, now_s);
        self.total.add(&tally);
        let seats = self.stage.sale.hall.free_seats().into();
        watch.look(&tally, driving.in_flight(), &books, seats, now_s - self.opened_s).await;
    }

    /// Only whole stretches between two looks count.
    fn count_steady(&mut self, tally: &Tally, now_s: f64) {
        let Some(began_s) = self.began_s else { return };
        let (from_s, to_s) = match self.stage.counts {
            Counts::After(warmup_s) => {
                (began_s + warmup_s, began_s + self.stage.scenario.duration_s + EVERY_S / 2.0)
            }
            Counts::Between(from_s, to_s) => (from_s, to_s),
        };
        if let Some(last_s) = self.steady_from_s.filter(|_| now_s <= to_s) {
            self.steady.add(tally);
            self.steady_s += now_s - last_s;
        }
        self.steady_from_s = (now_s >= from_s).then_some(now_s);
    }

    /// Sees that the run ends: after the scenario's time and a grace, or when somebody asks.
    fn mind(&mut self, driving: &Driving<Crowd>, verifier: &Verifier, watch: &Watch, interrupt: &Interrupt) {
        let now_s = watch.seconds();
        let is_away = self.absence.since_s().is_some();
        let is_over = self.absence.is_over(now_s);
        if is_over {
            self.absence.give_up();
        }
        if is_over || (is_away && interrupt.is_asked()) {
            driving.stop();
        }
        let Some(since_s) = self.winding_down_s else {
            let end_s = self.began_s.map(|began_s| began_s + self.stage.scenario.duration_s);
            if interrupt.is_asked() || end_s.is_some_and(|end_s| now_s > end_s) {
                self.winding_down_s = Some(now_s);
                self.waited = verifier.waiting();
                driving.wind_down();
            }
            return;
        };
        let grace = self.stage.plan.grace.as_secs_f64();
        if now_s > since_s + grace && !std::mem::replace(&mut self.told_end, true) {
            watch.progress.say(&format!(
                "  some people are not done {} after the last came: the run ends without them. What is in flight is waited for, for \
                 as long as --patience says",
                seconds(grace)
            ));
            driving.stop();
        }
    }

    fn done(self, books: Books, now_s: f64) -> Played {
        Played {
            away: self.absence.end(self.total.connected),
            total: self.total,
            steady: self.steady,
            steady_s: self.steady_s,
            books,
            verified: Verified::default(),
            seats_left: None,
            lived: Lived::default(),
            cut_short: None,
            duration_s: now_s - self.opened_s,
        }
    }
}
