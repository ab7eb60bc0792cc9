//! What a quiet crowd notices when very many holds of other events end at once.
//!
//! A million seats cannot be claimed within one second, and yet their holds are to end within one. So they are
//! spread over many events, made one after another, and each is held for as long as is left until its share of a
//! common second.

use crate::LoadError;
use crate::crowd::SeatState;
use crate::drive::DrivePlan;
use crate::options::LoadOptions;
use crate::report;
use crate::report::words::{plural, were};
use crate::runs::figures::Figure;
use crate::runs::hoard::Hoard;
use crate::runs::interrupt::Interrupt;
use crate::runs::plan::{self, Plan};
use crate::runs::play::{self, Counts, Played, Stage};
use crate::runs::sale::Sale;
use crate::runs::site::Site;
use crate::runs::watch::Watch;
use frontrow_shard::{EventRules, UserId};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;
use tokio::time::sleep;

/// The first of the hoarders: others than the crowds' users.
const FIRST_USER: UserId = 4_000_000_000;
const CONNECTIONS: u32 = 16;
const DEPTH: u32 = 256;
/// Seats of one of the events: few enough that they are claimed within a fraction of a second.
const HALL: u32 = 25_000;
/// So many seats a second are claimed at least, making their events included.
const SLOWEST_PER_S: f64 = 25_000.0;
/// How long the quiet crowd is measured before the storm, in seconds.
const BEFORE_S: f64 = 10.0;
/// How long its people come before that counts.
const WARMUP_S: f64 = 2.0;
/// How long it takes to let them in, at most.
const LETTING_IN_S: f64 = 1.5;
/// Within how many seconds the holds are to end.
const WITHIN_S: f64 = 1.0;
/// What else has to fit in between the last claim and the first end: two crowds that come and go.
const BESIDES_S: f64 = 10.0;
/// How much later than the last hold ends the storm is measured: the server may take so long to be done with them.
const AFTERWARDS_S: f64 = 0.5;
/// How much later than its end the server may have looked at every hold.
const SWEPT_S: f64 = 5.0;
/// Tiny inputs: the holds are made, and not waited for (none may be shorter than ten seconds).
const QUICK_SEATS: u32 = 1000;
/// The shortest hold that a server makes.
const SHORTEST_S: f64 = 10.0;

/// What came of it.
pub(crate) struct Storm {
    /// Holds that ended in the storm, and within how many seconds.
    due: u64,
    within_s: f64,
    /// The quiet crowd before and during the storm; `None` if not waited for.
    noticed: Option<(Noticed, Noticed)>,
    /// Hoarded seats that were not free again afterwards.
    kept: u64,
    violations: u64,
}

/// Latencies of a quiet crowd, in microseconds.
struct Noticed {
    answers: u64,
    p99_us: f64,
    max_us: f64,
}

impl Noticed {
    fn of(played: &Played) -> Self {
        let latency = report::latency(&played.steady.all);
        Self { answers: latency.count, p99_us: latency.p99_us, max_us: latency.max_us }
    }
}

impl Storm {
    /// Whether the server broke a promise.
    pub(crate) fn broken(&self) -> bool {
        self.violations + self.kept > 0
    }

    /// Beside what is wanted.
    pub(crate) fn figure(&self, most: f64) -> Figure {
        let name = "p99 while claims end / before";
        let Some((before, during)) = &self.noticed else {
            return Figure::missing(name, &format!("{} made and not waited for", were(self.due, "hold")));
        };
        if before.answers.min(during.answers) == 0 {
            return Figure::missing(name, "the quiet crowd was not answered; give it a higher --capacity");
        }
        let ratio = during.p99_us / before.p99_us.max(1e-9);
        Figure::at_most(name, ratio, most, "x").noting(format!(
            "{} ended within {:.2} s, {} meanwhile; p99 {:.0} us before, {:.0} us meanwhile; longest \
             {:.1} ms before, {:.1} ms meanwhile; {} of the seats not free afterwards; {}",
            plural(self.due, "hold"),
            self.within_s,
            plural(during.answers, "other answer"),
            before.p99_us,
            during.p99_us,
            before.max_us / 1e3,
            during.max_us / 1e3,
            self.kept,
            plural(self.violations, "violation")
        ))
    }
}

/// Hoards `due` seats, and measures `rate_per_s` quiet visits a second before and while the holds end.
pub(crate) async fn storm(
    options: &LoadOptions,
    due: u32,
    rate_per_s: f64,
    interrupt: &Interrupt,
) -> Result<Storm, LoadError> {
    let mut site = Site::find(options).await?;
    let plan = Plan::settle(options, plan::scenario("steady")?, &site)?;
    let mut watch = Watch::begin(&mut site, options).await;
    let seats = if plan.quick { QUICK_SEATS.min(due) } else { due };
    let quiet = plan.scenario.at_rate(rate_per_s.max(1.0), WARMUP_S + BEFORE_S);
    let before = Sale::open(&site, &plan, plan.seats_for(&quiet), "before").await?;
    let during = Sale::open(&site, &plan, plan.seats_for(&quiet), "during").await?;
    watch.progress.say(&format!("expiry storm: claiming {seats} seats"));
    let hoarded = Hoarded::fill(&site, &plan, seats, &watch, interrupt).await?;
    let mut storm =
        Storm { due: hoarded.granted, within_s: hoarded.within_s(), noticed: None, kept: 0, violations: 0 };
    if plan.quick || interrupt.is_asked() {
        return Ok(storm);
    }
    let counts = Counts::After(WARMUP_S);
    let mut stage = Stage { site: &site, sale: &before, plan: &plan, scenario: &quiet, counts };
    let calm = whole(stage.play(&mut watch, interrupt).await?)?;
    let wait_s = hoarded.first_end_s - LETTING_IN_S - WARMUP_S - watch.seconds();
    if wait_s < 0.0 {
        return Err(LoadError::Option(format!(
            "{seats} seats could not be claimed, and a quiet crowd measured, before the holds end; give a lower --due"
        )));
    }
    sleep(Duration::from_secs_f64(wait_s)).await;
    let (from_s, to_s) = (hoarded.first_end_s, hoarded.last_end_s + AFTERWARDS_S);
    let lasts_s = to_s - from_s + LETTING_IN_S + WARMUP_S;
    let loud = plan.scenario.at_rate(rate_per_s.max(1.0), lasts_s);
    (stage.sale, stage.scenario, stage.counts) = (&during, &loud, Counts::Between(from_s, to_s));
    let stormy = whole(stage.play(&mut watch, interrupt).await?)?;
    storm.noticed = Some((Noticed::of(&calm), Noticed::of(&stormy)));
    storm.violations = calm.verified.violation_count + stormy.verified.violation_count;
    let rest_s = hoarded.last_end_s + SWEPT_S - watch.seconds();
    sleep(Duration::from_secs_f64(rest_s.max(0.0))).await;
    storm.kept = hoarded.kept(&site).await?;
    watch.progress.done();
    for sale in hoarded.sales.iter().chain([&before, &during]) {
        sale.end(&site).await?;
    }
    Ok(storm)
}

/// A stage that lost its server has nothing to compare.
fn whole(mut played: Played) -> Result<Played, LoadError> {
    played.cut_short.take().map_or(Ok(played), Err)
}

/// Events whose seats were all claimed, to be held to the same end. Times are seconds of the watch.
struct Hoarded {
    sales: Vec<Sale>,
    granted: u64,
    first_end_s: f64,
    last_end_s: f64,
}

impl Hoarded {
    /// Makes events with `seats` together, and claims every seat.
    async fn fill(
        site: &Site,
        plan: &Plan,
        seats: u32,
        watch: &Watch,
        interrupt: &Interrupt,
    ) -> Result<Self, LoadError> {
        let time_s = WARMUP_S + BEFORE_S + BESIDES_S + f64::from(seats) / SLOWEST_PER_S;
        let end_s = watch.seconds() + time_s.max(SHORTEST_S);
        let mut hoarded = Self { sales: Vec::new(), granted: 0, first_end_s: f64::INFINITY, last_end_s: 0.0 };
        let mut left = seats;
        while left > 0 && !interrupt.is_asked() {
            let hall = left.min(HALL);
            let share = f64::from(seats - left) / f64::from(seats);
            let hold_s = (end_s + share * WITHIN_S - watch.seconds()).max(SHORTEST_S);
            let rules =
                EventRules { hold_ms: (hold_s * 1000.0) as u32, max_per_user: 0, ..EventRules::default() };
            let name = format!("hoarded {}", hoarded.sales.len() + 1);
            let sale = Sale::make(site, &rules, hall, &name).await?;
            let from_s = watch.seconds();
            hoarded.granted += hoard(site, plan, &sale).await?;
            hoarded.first_end_s = hoarded.first_end_s.min(from_s + hold_s);
            hoarded.last_end_s = hoarded.last_end_s.max(watch.seconds() + hold_s);
            hoarded.sales.push(sale);
            left -= hall;
        }
        Ok(hoarded)
    }

    /// Within how many seconds the holds end, at most.
    fn within_s(&self) -> f64 {
        (self.last_end_s - self.first_end_s).max(0.0)
    }

    /// How many of the seats are not free.
    async fn kept(&self, site: &Site) -> Result<u64, LoadError> {
        let mut kept = 0;
        for sale in &self.sales {
            let seats = sale.seats(site).await?;
            kept += seats.iter().filter(|seat| seat.state != SeatState::Free).count() as u64;
        }
        Ok(kept)
    }
}

/// Claims every seat; gives how many were granted.
async fn hoard(site: &Site, plan: &Plan, sale: &Sale) -> Result<u64, LoadError> {
    let threads = plan.cpus.len().min(CONNECTIONS as usize);
    let granted = Arc::new(AtomicU64::new(0));
    let depth = DEPTH.min(site.welcome.limits.max_in_flight);
    let crowd = |thread: usize| {
        let own = (0..CONNECTIONS).filter(|it| *it as usize % threads == thread).collect();
        let granted = Arc::clone(&granted);
        Hoard::new(Arc::clone(&sale.hall), own, depth as usize, (thread, threads), granted)
    };
    let users = (0..CONNECTIONS).map(|it| FIRST_USER + u64::from(it));
    let drive = DrivePlan {
        cpus: plan.cpus[..threads].to_vec(),
        core_of: (0..CONNECTIONS).map(|it| (it % u32::from(site.cores())) as u16).collect(),
        tokens: site.tokens.many(users).await?,
        depth,
        ..play::drive_plan(site, plan)?
    };
    let driving = play::launch((0..threads).map(crowd).collect(), drive).await?;
    let patient = async {
        while !driving.is_finished() {
            sleep(Duration::from_millis(5)).await;
        }
    };
    if tokio::time::timeout(plan.patience, patient).await.is_err() {
        driving.stop();
    }
    driving.join()?;
    Ok(granted.load(Relaxed))
}
