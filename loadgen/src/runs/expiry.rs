//! What a quiet crowd notices when very many holds of another event end at once.

use crate::LoadError;
use crate::crowd::EventWish;
use crate::drive::DrivePlan;
use crate::options::LoadOptions;
use crate::report;
use crate::runs::figures::Figure;
use crate::runs::hoard::Hoard;
use crate::runs::interrupt::Interrupt;
use crate::runs::plan::{self, Plan};
use crate::runs::play::{self, Played, Stage};
use crate::runs::sale::Sale;
use crate::runs::site::Site;
use crate::runs::watch::Watch;
use frontrow_shard::UserId;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;
use tokio::time::sleep;

/// The first of the hoarders: others than the crowds' users.
const FIRST_USER: UserId = 4_000_000_000;
/// How long the hoarded seats are held, in seconds: claiming them and the quiet time before must fit in.
const HOLD_S: u32 = 40;
const CONNECTIONS: u32 = 16;
const DEPTH: u32 = 256;
/// How long the quiet crowd is measured before the storm, in seconds.
const BEFORE_S: f64 = 10.0;
/// How much earlier than the first hold ends, and later than the last, the storm is measured.
const AROUND_S: f64 = 0.5;
/// Before it counts.
const WARMUP_S: f64 = 2.0;
/// Tiny inputs: the holds are made, and not waited for (none may be shorter than ten seconds).
const QUICK_SEATS: u32 = 1000;

/// What came of it.
pub(crate) struct Storm {
    /// Holds that ended in the storm, and within how many seconds.
    due: u64,
    within_s: f64,
    /// The quiet crowd's p99 before and during the storm, in microseconds; `None` if not waited for.
    p99_us: Option<(f64, f64)>,
    violations: u64,
}

impl Storm {
    /// Beside what is wanted.
    pub(crate) fn figure(&self, most: f64) -> Figure {
        let name = "p99 while claims end / before";
        let Some((before, during)) = self.p99_us else {
            return Figure::missing(name, &format!("{} holds were made and not waited for", self.due));
        };
        Figure::at_most(name, during / before.max(1e-9), most, "x").noting(format!(
            "{} holds ended within {:.1} s; p99 {before:.0} us before, {during:.0} us meanwhile; {} violations",
            self.due, self.within_s, self.violations
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
    let wish = EventWish { hold_s: HOLD_S, max_per_user: 0, ..EventWish::default() };
    let hoarded = Sale::make(&site, &wish, seats, "hoarded").await?;
    let quiet = plan.scenario.at_rate(rate_per_s, WARMUP_S + BEFORE_S);
    let before = Sale::open(&site, &plan, plan.seats_for(&quiet), "before").await?;
    let during = Sale::open(&site, &plan, plan.seats_for(&quiet), "during").await?;
    watch.progress.say(&format!("expiry storm: claiming {seats} seats"));
    let from_s = watch.seconds();
    let due = hoard(&site, &plan, &hoarded).await?;
    let within_s = watch.seconds() - from_s;
    let mut storm = Storm { due, within_s, p99_us: None, violations: 0 };
    if plan.quick || interrupt.is_asked() {
        return Ok(storm);
    }
    let first_end_s = from_s + f64::from(HOLD_S);
    let mut stage = Stage { site: &site, sale: &before, plan: &plan, scenario: &quiet, warmup_s: WARMUP_S };
    let calm = stage.play(&mut watch, interrupt).await?;
    let wait_s = first_end_s - AROUND_S - WARMUP_S - watch.seconds();
    if wait_s < 0.0 {
        return Err(LoadError::Option(format!(
            "{due} seats could not be claimed and measured beside within {HOLD_S} s on this machine; give a lower --due"
        )));
    }
    sleep(Duration::from_secs_f64(wait_s)).await;
    let loud = plan.scenario.at_rate(rate_per_s, WARMUP_S + 2.0 * AROUND_S + within_s);
    (stage.sale, stage.scenario) = (&during, &loud);
    let stormy = stage.play(&mut watch, interrupt).await?;
    let p99 = |played: &Played| report::latency(&played.steady.all).p99_us;
    storm.p99_us = Some((p99(&calm), p99(&stormy)));
    storm.violations = calm.verified.violation_count + stormy.verified.violation_count;
    watch.progress.done();
    for sale in [&hoarded, &before, &during] {
        sale.end(&site).await?;
    }
    Ok(storm)
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
    if tokio::time::timeout(Duration::from_secs(HOLD_S.into()), patient).await.is_err() {
        driving.stop();
    }
    driving.join()?;
    Ok(granted.load(Relaxed))
}
