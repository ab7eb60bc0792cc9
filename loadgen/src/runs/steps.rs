//! Rates held one after the other, each with a warm-up, an event of its own and the full check.

use crate::LoadError;
use crate::drive::Tally;
use crate::options::{LoadOptions, Objective, micros};
use crate::report;
use crate::report::model::{Away, RunKind, RunReport, Step};
use crate::report::words::plural;
use crate::runs::assemble::{self, Outcome};
use crate::runs::doubts;
use crate::runs::interrupt::Interrupt;
use crate::runs::plan::{self, Plan};
use crate::runs::play::{Counts, Played, Stage};
use crate::runs::sale::Sale;
use crate::runs::site::Site;
use crate::runs::watch::Watch;
use hdrhistogram::Histogram;
use std::time::Duration;

/// How long a rate is held unless something else is said, and before that, until it counts.
const HOLD_S: f64 = 8.0;
const WARMUP_S: f64 = 2.0;
/// The same with `--quick`.
const QUICK_S: (f64, f64) = (1.5, 0.5);
/// Wire errors that say: no capacity.
const BUSY: [&str; 2] = ["error:busy", "busy"];

/// A run in steps.
pub(crate) struct Steps<'a> {
    pub(crate) site: Site,
    pub(crate) plan: Plan,
    pub(crate) watch: Watch,
    pub(crate) report: RunReport,
    pub(crate) interrupt: &'a Interrupt,
    objective: Objective,
    hold_s: f64,
    warmup_s: f64,
    /// The tally of the fastest step that met the objective; of the slowest that did not, if none did.
    best: Option<(bool, f64, Tally)>,
    /// Everything, for doubts.
    total: Tally,
    cut_short: Option<LoadError>,
}

impl<'a> Steps<'a> {
    pub(crate) async fn begin(
        kind: RunKind,
        options: &LoadOptions,
        (scenario, step): (&str, Option<Duration>),
        objective: &Objective,
        interrupt: &'a Interrupt,
    ) -> Result<Self, LoadError> {
        let mut site = Site::find(options).await?;
        let plan = Plan::settle(options, plan::scenario(scenario)?, &site)?;
        let mut report = assemble::blank(kind, options, &site, &plan);
        report.objective = Some(objective.to_string());
        let watch = Watch::begin(&mut site, options).await;
        let (hold_s, warmup_s) = if plan.quick { QUICK_S } else { (HOLD_S, WARMUP_S) };
        Ok(Self {
            site,
            plan,
            watch,
            report,
            interrupt,
            objective: objective.clone(),
            hold_s: step.map_or(hold_s, |it| it.as_secs_f64()),
            warmup_s,
            best: None,
            total: Tally::default(),
            cut_short: None,
        })
    }

    /// Whether there is no sense in going on: somebody asked for the end, the server is gone, or it lied.
    pub(crate) fn is_over(&self) -> bool {
        self.interrupt.is_asked() || self.cut_short.is_some() || self.report.verified.violation_count > 0
    }

    /// Holds a rate of visits per second, and notes how it went.
    pub(crate) async fn hold(&mut self, rate_per_s: f64) -> Result<bool, LoadError> {
        let number = self.report.steps.len() + 1;
        self.watch.progress.stage(&format!("{number}. {rate_per_s:.0}/s "));
        let scenario = self.plan.scenario.at_rate(rate_per_s, self.warmup_s + self.hold_s);
        let seats = self.plan.seats_for(&scenario);
        let sale = match Sale::open(&self.site, &self.plan, seats, &self.report.started).await {
            // What has been measured so far is kept.
            Err(LoadError::NoServer { .. }) if number > 1 => return Ok(self.went_away()),
            opened => opened?,
        };
        if sale.own {
            self.interrupt.event_is_open(sale.event, &self.site.close_command(sale.event));
        }
        let stage = Stage {
            site: &self.site,
            sale: &sale,
            plan: &self.plan,
            scenario: &scenario,
            counts: Counts::After(self.warmup_s),
        };
        let played = stage.play(&mut self.watch, self.interrupt).await?;
        let step = self.step(rate_per_s, &played);
        self.watch.progress.say(&line(number, &step));
        let met = step.met;
        self.report.steps.push(step);
        assemble::add(&mut self.report, &sale, &played);
        if !met {
            // A rate that failed was meant to be tried: what it left undone spoils no figure of another.
            self.report.totals.people_missed -= played.books.people_missed;
            self.report.totals.left_over -= played.total.left_over;
        }
        self.total.add(&played.total);
        self.keep_best(met, rate_per_s, played.steady);
        self.cut_short = played.cut_short;
        if self.cut_short.is_none() {
            let ended = sale.end(&self.site).await;
            self.cut_short = ended.map(|()| self.interrupt.event_is_closed()).err();
        }
        Ok(met)
    }

    /// Between two steps there is no server any more.
    fn went_away(&mut self) -> bool {
        let from_s = self.watch.seconds();
        self.report.away.push(Away { from_s, ..Away::default() });
        self.cut_short = Some(LoadError::WentAway { from_s });
        false
    }

    fn step(&self, rate_per_s: f64, played: &Played) -> Step {
        let (tally, seconds) = (&played.steady, played.steady_s.max(1e-3));
        let busy: u64 = BUSY.iter().filter_map(|code| tally.codes.get(*code)).sum();
        let mut step = Step {
            rate_per_s,
            intended_per_s: tally.intended as f64 / seconds,
            answered_per_s: tally.answered as f64 / seconds,
            granted_per_s: tally.granted as f64 / seconds,
            latency: report::latency(&tally.all),
            busy_share: busy as f64 / tally.answered.max(1) as f64,
            ..Step::default()
        };
        step.why = if played.verified.violation_count > 0 {
            plural(played.verified.violation_count, "violation")
        } else if !played.away.is_empty() {
            "the server was away".to_owned()
        } else if tally.answered == 0 {
            "nothing was answered".to_owned()
        } else if doubts::too_few(played.books.people, played.books.people + played.books.people_missed) {
            format!("only {} of the visits due could be made", played.books.people)
        } else {
            self.objective.misses(&step)
        };
        step.met = step.why.is_empty();
        step
    }

    fn keep_best(&mut self, met: bool, rate_per_s: f64, tally: Tally) {
        let better = self.best.as_ref().is_none_or(|&(best_met, best, _)| match (met, best_met) {
            (true, false) => true,
            (false, true) => false,
            (true, true) => rate_per_s > best,
            (false, false) => rate_per_s < best,
        });
        if better {
            self.best = Some((met, rate_per_s, tally));
        }
    }

    /// How long refusals for want of capacity took, from the actual send, in nanoseconds.
    pub(crate) fn busy_latency(&self) -> Histogram<u64> {
        self.total.busy.clone()
    }

    /// The report; latencies are those of the fastest step that met the objective.
    pub(crate) fn end(mut self) -> Outcome {
        let (met, rate, tally) = self.best.unwrap_or_default();
        self.report.found_per_s = met.then_some(rate);
        self.report.load.rate_per_s = rate;
        let at_rate = self.plan.scenario.at_rate(rate.max(1.0), self.warmup_s + self.hold_s);
        self.report.scenario = at_rate.to_toml().unwrap_or_default();
        let histograms = assemble::latencies(&mut self.report, &tally);
        (self.report.series, self.report.series_step_s) = self.watch.end();
        self.report.interrupted = self.interrupt.is_asked();
        self.report.doubts = doubts::of(&self.report, &self.total);
        Outcome { report: self.report, histograms, cut_short: self.cut_short }
    }
}

fn line(number: usize, step: &Step) -> String {
    let judgement = if step.met { "meets it" } else { &step.why };
    format!(
        "{number:>3}. {:>7.0} visits/s: {:>7.0} answers/s, p50 {}, p99 {}: {judgement}",
        step.rate_per_s,
        step.answered_per_s,
        micros(step.latency.p50_us),
        micros(step.latency.p99_us),
    )
}
