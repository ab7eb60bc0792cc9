//! One scenario, once.

use crate::LoadError;
use crate::crowd::Scenario;
use crate::options::LoadOptions;
use crate::report::model::RunKind;
use crate::report::words::{count, plural};
use crate::runs::assemble::{self, Outcome};
use crate::runs::doubts;
use crate::runs::interrupt::Interrupt;
use crate::runs::plan::Plan;
use crate::runs::play::{Counts, Stage};
use crate::runs::sale::Sale;
use crate::runs::site::Site;
use crate::runs::trend;
use crate::runs::watch::Watch;

/// Plays a scenario and reports. A soak is the same, and asks besides whether anything grew.
pub(crate) async fn once(
    kind: RunKind,
    options: &LoadOptions,
    scenario: Scenario,
    interrupt: &Interrupt,
) -> Result<Outcome, LoadError> {
    let mut site = Site::find(options).await?;
    let plan = Plan::settle(options, scenario, &site)?;
    let mut report = assemble::blank(kind, options, &site, &plan);
    let mut watch = Watch::begin(&mut site, options).await;
    let sale = Sale::open(&site, &plan, plan.seats(), &report.started).await?;
    if sale.own {
        interrupt.event_is_open(sale.event, &site.close_command(sale.event));
    }
    watch.progress.say(&greeting(&site, &sale, &plan));
    if let Some(fewer) = fewer(options, &plan) {
        watch.progress.say(&fewer);
    }
    let stage =
        Stage { site: &site, sale: &sale, plan: &plan, scenario: &plan.scenario, counts: Counts::After(0.0) };
    report.server_rss_before = watch.server_rss();
    let played = stage.play(&mut watch, interrupt).await?;
    assemble::add(&mut report, &sale, &played);
    let histograms = assemble::latencies(&mut report, &played.total);
    (report.series, report.series_step_s) = watch.end();
    report.interrupted = interrupt.is_asked();
    report.doubts = doubts::of(&report, &played.total);
    if kind == RunKind::Soak {
        report.trends = trend::of(&report.series);
    }
    let cut_short = match played.cut_short {
        None => sale.end(&site).await.map(|()| interrupt.event_is_closed()).err(),
        cut_short => cut_short,
    };
    Ok(Outcome { report, histograms, cut_short })
}

/// Of two options that say how many people come, the smaller number is taken: that is said before they do.
fn fewer(options: &LoadOptions, plan: &Plan) -> Option<String> {
    let (asked, played) = (options.people?, plan.scenario.visits().round() as u64);
    (options.quick && asked > played).then(|| {
        format!(
            "  --quick plays {} of the {} of --people: leave --quick out to play them all.",
            count(played),
            count(asked)
        )
    })
}

/// What is about to happen, in two lines.
fn greeting(site: &Site, sale: &Sale, plan: &Plan) -> String {
    format!(
        "{}: {} over {} to {} ({}, {} durability)\n  event {}, {} in {}; people come for {:.0} s. Ctrl-C ends early, \
         with a report.",
        plan.scenario.name,
        plural(plan.connections.into(), "connection"),
        plan.transport.name(),
        site.url,
        plural(site.cores().into(), "core"),
        site.welcome.durability.name(),
        sale.event,
        plural(sale.hall.free_seats().into(), "free seat"),
        plural(sale.hall.sections() as u64, "section"),
        plan.scenario.duration_s,
    )
}
