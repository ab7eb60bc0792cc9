//! From a command to its verdict.

use crate::LoadError;
use crate::crowd::{Scenario, annotated};
use crate::options::{Cli, Command, LoadOptions, PlanOptions};
use crate::report::model::RunKind;
use crate::report::words::were;
use crate::report::{self, Question, ReportError};
use crate::runs::assemble::Outcome;
use crate::runs::interrupt::Interrupt;
use crate::runs::verdict::Verdict;
use crate::runs::{bench, deliver, once, plan, search};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How long a soak lasts unless something else is said.
const SOAK: Duration = Duration::from_secs(3600);

/// Does what the command line says. Whatever goes wrong is said on standard error.
pub fn run(cli: Cli) -> Verdict {
    act(cli.command).unwrap_or_else(|error| {
        tell!("frontrow-loadgen: {error}");
        Verdict::from(&error)
    })
}

fn act(command: Command) -> Result<Verdict, LoadError> {
    match command {
        Command::Onsale(load) => scenario("onsale", &load),
        Command::Steady(load) => scenario("steady", &load),
        Command::Waitlist(load) => scenario("waitlist", &load),
        Command::ExpiryStorm(load) => scenario("expiry-storm", &load),
        Command::HotRow(load) => scenario("hot-row", &load),
        Command::Scalper(load) => scenario("scalper", &load),
        Command::ReconnectStorm(load) => scenario("reconnect-storm", &load),
        Command::Mixed(load) => scenario("mixed", &load),
        Command::Run { file, load } => {
            let scenario = plan::from_file(&file)?;
            loaded(&load, async |interrupt| once::once(RunKind::Run, &load, scenario, interrupt).await)
        }
        Command::Soak { scenario, load } => {
            let load = LoadOptions { lasts: load.lasts.or(Some(SOAK)), ..load };
            let scenario = plan::scenario(&scenario)?;
            loaded(&load, async |interrupt| once::once(RunKind::Soak, &load, scenario, interrupt).await)
        }
        Command::Search(options) => {
            loaded(&options.load, async |interrupt| search::search(&options, interrupt).await)
        }
        Command::Ramp(options) => {
            loaded(&options.load, async |interrupt| search::ramp(&options, interrupt).await)
        }
        Command::Bench(options) => runtime()?.block_on(bench::bench(&options, &Interrupt::by_signals)),
        Command::Compare { a, b } => compare(&a, &b),
        Command::Plan(options) => plan_from(&options),
        Command::Scenarios { name } => scenarios(name.as_deref()),
        Command::Selftest => selftest(),
        Command::Table(options) => table(options),
        Command::Peers(options) => peers(options),
        Command::History { folder, add } => history(&folder, &add),
    }
}

fn scenario(name: &str, load: &LoadOptions) -> Result<Verdict, LoadError> {
    let scenario = Scenario::named(name)?;
    loaded(load, async |interrupt| once::once(RunKind::Run, load, scenario, interrupt).await)
}

/// Runs a load to its end and hands over the report.
fn loaded(
    options: &LoadOptions,
    run: impl AsyncFnOnce(&Interrupt) -> Result<Outcome, LoadError>,
) -> Result<Verdict, LoadError> {
    options.check()?;
    if let Some(out) = options.out.as_deref().filter(|out| out.join("report.json").exists()) {
        return Err(ReportError::Taken { path: out.to_owned() }.into());
    }
    if let Some(out) = options.out.as_deref().or((!options.quick).then(|| Path::new(deliver::REPORTS))) {
        report::try_folder(out)?;
    }
    let (outcome, interrupt) = runtime()?.block_on(async {
        let interrupt = Interrupt::by_signals();
        (run(&interrupt).await, interrupt)
    });
    let verdict = outcome.map(|outcome| deliver::deliver(outcome, options));
    // Whatever ended the run before its end: nobody is to find the event open unawares.
    interrupt.tell_open();
    verdict
}

fn runtime() -> Result<tokio::runtime::Runtime, LoadError> {
    let built = tokio::runtime::Builder::new_current_thread().enable_all().build();
    built.map_err(LoadError::connection("starting the runtime"))
}

fn compare(a: &Path, b: &Path) -> Result<Verdict, LoadError> {
    deliver::say(&report::compare(&report::read(a)?, &report::read(b)?).to_string());
    Ok(Verdict::Good)
}

/// Answers from a finished report. The exit code is the report's own: what is planned on it is worth no more than it.
fn plan_from(options: &PlanOptions) -> Result<Verdict, LoadError> {
    if options.people.is_some() {
        let mistake = "`plan` plays nobody, so it has no --people: did you mean --buyers?";
        return Err(LoadError::Option(mistake.to_owned()));
    }
    let mut report = report::read(&options.folder)?;
    let usual = Question::of(&report);
    let asked = Question {
        buyers: options
            .buyers
            .unwrap_or_else(|| options.seats.map_or(usual.buyers, |seats| seats.saturating_mul(10))),
        seats: options.seats.unwrap_or(usual.seats),
        minutes: options.minutes.unwrap_or(usual.minutes),
        half_within_s: options.half_within.map(|it| it.as_secs_f64()),
        minutes_unsaid: options.minutes.is_none(),
    };
    // What was asked when it ran is not what is asked now.
    report.questions.clear();
    if asked != (Question { minutes_unsaid: true, ..usual }) {
        report.questions.push(asked);
    }
    let question = Question::first(&report);
    deliver::say(&format!("{}\n{}", report::headline(&report), report::capacity(&report, &question)));
    Ok(Verdict::of(&report))
}

fn scenarios(name: Option<&str>) -> Result<Verdict, LoadError> {
    if let Some(name) = name {
        deliver::say(annotated(name)?.trim_end());
        return Ok(Verdict::Good);
    }
    for name in Scenario::names() {
        let scenario = Scenario::named(name)?;
        let about = scenario.about.split_whitespace().collect::<Vec<_>>().join(" ");
        deliver::say(&format!("{name:<16} {about}"));
    }
    deliver::say(
        "\n`frontrow-loadgen scenarios NAME` prints one; change it and give it to `frontrow-loadgen run FILE`.",
    );
    Ok(Verdict::Good)
}

fn table(options: crate::table::TableOptions) -> Result<Verdict, LoadError> {
    let command = std::env::args().collect::<Vec<_>>().join(" ");
    let wanted = options.clone();
    let report = crate::table::run(options, command, |line| tell!("{line}"))?;
    deliver::say(&report.table());
    if let Some(folder) = wanted.out_folder(&report.date) {
        report.write(&folder)?;
        deliver::say(&format!("Written to {}", folder.display()));
    }
    Ok(Verdict::Good)
}

fn peers(options: crate::peers::PeersOptions) -> Result<Verdict, LoadError> {
    let command = std::env::args().collect::<Vec<_>>().join(" ");
    let wanted = options.clone();
    let report = crate::peers::run(options, command, |line| tell!("{line}"))?;
    deliver::say(&report.table());
    if let Some(folder) = wanted.out_folder(&report.date) {
        report.write(&folder)?;
        deliver::say(&format!("Written to {}", folder.display()));
    }
    Ok(Verdict::Good)
}

fn selftest() -> Result<Verdict, LoadError> {
    let test = crate::selftest::run()?;
    deliver::say(&test.to_string());
    Ok(if test.passed() { Verdict::Good } else { Verdict::NotAMeasurement })
}

fn history(folder: &Path, add: &[PathBuf]) -> Result<Verdict, LoadError> {
    for run in add {
        report::remember(folder, &report::read(run)?, run)?;
    }
    let past = report::history(folder)?;
    deliver::say(&past.to_string());
    let unlisted = report::unlisted(folder, &past);
    if !unlisted.is_empty() {
        let (is, runs) = (were(unlisted.len() as u64, "report"), unlisted.join(" "));
        deliver::say(&format!(
            "{is} found in {} that its history does not have; to add: frontrow-loadgen history {} --add {runs}",
            folder.display(),
            folder.display()
        ));
    }
    Ok(Verdict::Good)
}
