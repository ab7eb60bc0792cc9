//! Throughput by concurrency: closed-loop measurements at several depths, for the universal scalability fit.

use crate::LoadError;
use crate::drive::{DrivePlan, Tally};
use crate::report::model::ScalingPoint;
use crate::runs::plan::Plan;
use crate::runs::play;
use crate::runs::sale::Sale;
use crate::runs::site::Site;
use crate::runs::treadmill::Treadmill;
use crate::runs::watch::Watch;
use frontrow_shard::UserId;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{sleep, timeout};

/// The first of the users: others than the crowds'.
const FIRST_USER: UserId = 3_000_000_000;
/// Connections and requests in flight on each.
const POINTS: [(u32, u32); 7] = [(1, 1), (2, 1), (4, 1), (8, 1), (16, 1), (16, 4), (16, 16)];
const QUICK_POINTS: usize = 2;
/// How long each is held before and while it counts.
const TIMES: (Duration, Duration) = (Duration::from_millis(300), Duration::from_millis(1500));
const QUICK_TIMES: (Duration, Duration) = (Duration::from_millis(20), Duration::from_millis(100));
/// Seats of the hall: enough that no row runs out.
const SEATS: u32 = 50_000;
const QUICK_SEATS: u32 = 2000;

/// Measures all points, on an event of its own.
pub(crate) async fn measure(
    site: &Site,
    plan: &Plan,
    watch: &mut Watch,
) -> Result<Vec<ScalingPoint>, LoadError> {
    watch.progress.say("  throughput by requests in flight, for the scalability fit");
    let (points, seats) =
        if plan.quick { (&POINTS[..QUICK_POINTS], QUICK_SEATS) } else { (&POINTS[..], SEATS) };
    let sale = Sale::make(site, &plan.scenario.event.rules(), seats, "scalability").await?;
    let mut measured = Vec::new();
    for &(connections, depth) in points {
        measured.push(point(site, plan, &sale, (connections, depth.min(plan.depth))).await?);
    }
    sale.end(site).await?;
    Ok(measured)
}

async fn point(
    site: &Site,
    plan: &Plan,
    sale: &Sale,
    (connections, depth): (u32, u32),
) -> Result<ScalingPoint, LoadError> {
    let threads = (plan.cpus.len() as u32).min(connections);
    let crowds = (0..threads)
        .map(|thread| {
            let own = (0..connections).filter(|it| it % threads == thread).collect();
            Treadmill::new(Arc::clone(&sale.hall), FIRST_USER, own, depth as usize)
        })
        .collect();
    let users = (0..connections).map(|it| FIRST_USER + u64::from(it));
    let drive = DrivePlan {
        cpus: plan.cpus[..threads as usize].to_vec(),
        core_of: (0..connections).map(|it| (it % u32::from(site.cores())) as u16).collect(),
        tokens: site.tokens.many(users).await?,
        depth,
        ..play::drive_plan(site, plan)?
    };
    let driving = play::launch(crowds, drive).await?;
    let (before, counted) = if plan.quick { QUICK_TIMES } else { TIMES };
    sleep(before).await;
    driving.take();
    let from = driving.elapsed();
    sleep(counted).await;
    let (tally, seconds): (Tally, f64) =
        (driving.take(), driving.elapsed().saturating_sub(from).as_secs_f64());
    driving.wind_down();
    let finished = async {
        while !driving.is_finished() {
            sleep(Duration::from_millis(5)).await;
        }
    };
    if timeout(plan.patience, finished).await.is_err() {
        driving.stop();
    }
    driving.join()?;
    Ok(ScalingPoint {
        cores: site.cores(),
        in_flight: connections * depth,
        answers_per_s: tally.answered as f64 / seconds.max(1e-3),
        p99_us: crate::report::latency(&tally.all).p99_us,
    })
}
