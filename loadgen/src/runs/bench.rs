//! The figures that the design asks for under stress, on a server started for them.
//!
//! - **onsale**: the planner's report.
//! - **capacity**: a search with `steady`.
//! - **overload**: the rate found and twice that rate, in turn, three times; goodput is what was granted per
//!   second, and the ratio is that of the medians. Refusals for want of capacity are timed from the actual send.
//! - **expiry storm**: every seat of some large halls is claimed and left to run out, all at the same time; a quiet
//!   crowd on another event (a quarter of the capacity) is measured before, and while the holds end.
//! - **reconnect storm**: all connections drop at once and come back.

use crate::machine;
use crate::options::{BenchOptions, BenchPart, LoadOptions, SearchOptions};
use crate::report::{self, Saturation, model::RunKind};
use crate::runs::assemble::Outcome;
use crate::runs::expiry;
use crate::runs::figures::{Figure, Figures};
use crate::runs::interrupt::Interrupt;
use crate::runs::own_server::OwnServer;
use crate::runs::steps::Steps;
use crate::runs::verdict::Verdict;
use crate::runs::{deliver, once, plan, search};
use crate::{LoadError, child};
use std::path::{Path, PathBuf};

/// Where evidence goes.
const RESULTS: &str = "bench-results";
/// How often capacity and overload take turns.
const TURNS: usize = 3;
/// Goodput at twice the capacity, relative to that at the capacity.
const GOODPUT: f64 = 0.9;
/// Refusals at twice the capacity, in microseconds.
const REFUSAL_US: f64 = 1000.0;
/// The p99 while a million claims end, relative to the one before.
const STORM: f64 = 2.0;

/// Measures everything, prints the figures, writes the folder.
pub(crate) async fn bench(
    options: &BenchOptions,
    interrupt: impl FnOnce() -> Interrupt,
) -> Result<Verdict, LoadError> {
    if options.capacity.is_some_and(|rate| !rate.is_finite() || rate <= 0.0) {
        return Err(LoadError::Option("--capacity is a positive number of visits per second".to_owned()));
    }
    let interrupt = interrupt();
    let server = if options.running {
        None
    } else {
        let program = child::program(options.frontrow.as_ref())?;
        let above = program.parent().map(Path::to_owned).unwrap_or_default();
        Some(OwnServer::start(&program, &above).await?)
    };
    let load = match &server {
        Some(server) => {
            LoadOptions { server: server.url.clone(), data: server.data(), ..options.load.clone() }
        }
        None => options.load.clone(),
    };
    let result = all(options, &load, &interrupt).await;
    if let Some(server) = server {
        server.stop().await?;
    }
    result
}

async fn all(
    options: &BenchOptions,
    load: &LoadOptions,
    interrupt: &Interrupt,
) -> Result<Verdict, LoadError> {
    let mut bench = Bench { folder: folder(load), figures: Figures::default(), verdict: Verdict::Good };
    let wanted = |part: BenchPart| options.only.is_empty() || options.only.contains(&part);
    if wanted(BenchPart::Onsale) {
        let scenario = plan::scenario("onsale")?;
        let mut onsale = once::once(RunKind::Run, load, scenario, interrupt).await?;
        deliver::ask(load, &mut onsale.report);
        bench.keep("onsale", &onsale)?;
    }
    let (overload, expiry) = (wanted(BenchPart::Overload), wanted(BenchPart::Expiry));
    let found = match options.capacity {
        Some(given) => given,
        None if overload || expiry || wanted(BenchPart::Capacity) => {
            bench.capacity(options, load, interrupt).await?
        }
        None => 0.0,
    };
    if overload {
        bench.overload(options, load, found, interrupt).await?;
    }
    if expiry {
        let storm = expiry::storm(load, options.due, found / 4.0, interrupt).await?;
        bench.storm(&storm);
    }
    if wanted(BenchPart::Reconnect) {
        let scenario = plan::scenario("reconnect-storm")?;
        let mut back = once::once(RunKind::Run, load, scenario, interrupt).await?;
        deliver::ask(load, &mut back.report);
        bench.figures.0.push(Figure::at_most(
            "violations in a reconnect storm",
            back.report.verified.violation_count as f64,
            0.0,
            "",
        ));
        bench.keep("reconnect-storm", &back)?;
    }
    bench.end()
}

/// What has been measured so far.
struct Bench {
    folder: Option<PathBuf>,
    figures: Figures,
    verdict: Verdict,
}

impl Bench {
    /// The highest rate of `steady`; 0 if there is none.
    async fn capacity(
        &mut self,
        options: &BenchOptions,
        load: &LoadOptions,
        interrupt: &Interrupt,
    ) -> Result<f64, LoadError> {
        let search = SearchOptions {
            scenario: "steady".to_owned(),
            objective: options.objective.clone(),
            from: 200.0,
            to: None,
            precision: 10.0,
            step: None,
            no_scaling: false,
            load: load.clone(),
        };
        let mut outcome = search::search(&search, interrupt).await?;
        deliver::ask(load, &mut outcome.report);
        let found = outcome.report.found_per_s;
        let name = format!("capacity: visits/s that meet {}", options.objective);
        self.figures.0.push(Figure::plain(&name, found.unwrap_or(0.0)));
        self.keep("capacity", &outcome)?;
        // With nothing found, the lowest rate tried stands in, and the figures say so.
        Ok(found.unwrap_or(search.from))
    }

    /// Goodput and refusals at twice the capacity.
    async fn overload(
        &mut self,
        options: &BenchOptions,
        load: &LoadOptions,
        found: f64,
        interrupt: &Interrupt,
    ) -> Result<(), LoadError> {
        let mut steps =
            Steps::begin(RunKind::Ramp, load, ("steady", None), &options.objective, interrupt).await?;
        let turns = if load.quick { 1 } else { TURNS };
        for rate in [found, 2.0 * found].into_iter().cycle().take(2 * turns) {
            if steps.is_over() {
                break;
            }
            steps.hold(rate).await?;
        }
        let refusals = report::latency(&steps.busy_latency());
        let mut outcome = steps.end();
        deliver::ask(load, &mut outcome.report);
        let granted = |twice: usize| {
            let own = outcome.report.steps.iter().skip(twice).step_by(2);
            median(own.map(|step| step.granted_per_s).collect())
        };
        let ratio = granted(1) / granted(0).max(1e-9);
        self.figures.0.push(Figure::at_least("goodput at twice the capacity / at it", ratio, GOODPUT, "x"));
        self.figures.0.push(if refusals.count == 0 {
            Figure::missing(
                "p99 of refusals at twice the capacity",
                "nothing was refused for want of capacity",
            )
        } else {
            Figure::at_most("p99 of refusals at twice the capacity", refusals.p99_us, REFUSAL_US, "us")
        });
        self.keep("overload", &outcome)
    }

    /// Notes what a storm did to the quiet crowd.
    fn storm(&mut self, storm: &expiry::Storm) {
        self.figures.0.push(storm.figure(STORM));
        if storm.broken() {
            self.verdict = self.verdict.and(Verdict::Violations);
        }
    }

    /// Notes what a part is worth, and writes its report.
    fn keep(&mut self, part: &str, outcome: &Outcome) -> Result<(), LoadError> {
        self.verdict = self.verdict.and(Verdict::of(&outcome.report));
        if let Some(error) = &outcome.cut_short {
            tell!("frontrow-loadgen: {part} was cut short: {error}");
            self.verdict = self.verdict.and(Verdict::from(error));
        }
        for doubt in report::Verdict::of(&outcome.report, &Saturation::of(&outcome.report)).doubts {
            tell!("frontrow-loadgen: {part}: {doubt}");
        }
        for violation in &outcome.report.verified.violations {
            tell!("frontrow-loadgen: {part}: VIOLATION: {violation}");
        }
        match &self.folder {
            Some(folder) => {
                let own = folder.join(part);
                report::write(&outcome.report, &outcome.histograms, &own)?;
                // Only a folder of the project's own evidence has a history beside it.
                if folder.starts_with(RESULTS) {
                    report::remember(Path::new(RESULTS), &outcome.report, &own)?;
                }
                Ok(())
            }
            None => Ok(()),
        }
    }

    fn end(self) -> Result<Verdict, LoadError> {
        deliver::say(&self.figures.to_string());
        if let Some(folder) = &self.folder {
            self.figures.write(folder)?;
            deliver::say(&format!("Written to {}", folder.display()));
        }
        Ok(self.verdict)
    }
}

fn folder(load: &LoadOptions) -> Option<PathBuf> {
    let default = || (!load.quick).then(|| Path::new(RESULTS).join(format!("{}-stress", machine::today())));
    load.out.clone().or_else(default)
}

/// 0 for none.
fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(0.0)
}
