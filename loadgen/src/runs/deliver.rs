//! Where a report goes: the terminal and a folder.

use crate::LoadError;
use crate::options::LoadOptions;
use crate::report::{self, Question, RunReport};
use crate::runs::assemble::{self, Outcome};
use crate::runs::verdict::Verdict;
use std::io::Write as _;
use std::path::{Path, PathBuf};

/// Where reports go.
pub(crate) const REPORTS: &str = "load-reports";

/// The planner's question: the one asked, as far as it was.
fn question(options: &LoadOptions, report: &RunReport) -> Question {
    let usual = Question::of(report);
    Question {
        buyers: options.buyers.unwrap_or(usual.buyers),
        minutes: options.minutes.unwrap_or(usual.minutes),
        half_within_s: options.half_within.map(|it| it.as_secs_f64()),
        minutes_unsaid: options.minutes.is_none(),
        ..usual
    }
}

/// Notes the planner's question in the report, if there was one, and gives it.
pub(crate) fn ask(options: &LoadOptions, report: &mut RunReport) -> Question {
    if options.buyers.is_some() || options.minutes.is_some() || options.half_within.is_some() {
        report.questions.push(question(options, report));
    }
    Question::first(report)
}

/// A line, or several, on standard output. Whoever has stopped reading (`| head`) loses nothing else by it.
pub(crate) fn say(text: &str) {
    let _ = writeln!(std::io::stdout(), "{text}");
}

/// Prints and writes a report; a report that cannot be written is printed all the same.
pub(crate) fn deliver(mut outcome: Outcome, options: &LoadOptions) -> Verdict {
    let question = ask(options, &mut outcome.report);
    let report = &outcome.report;
    let mut verdict = Verdict::of(report);
    if options.json {
        say(&serde_json::to_string_pretty(report).unwrap_or_default());
    } else {
        say(&format!("{}\n{}", report::summary(report), report::capacity(report, &question)));
    }
    if let Some(error) = &outcome.cut_short {
        tell!("frontrow-loadgen: the run was cut short: {error}");
        verdict = verdict.and(Verdict::from(error));
    }
    if let Some(folder) = folder(options, &report.name) {
        let written = report::write(report, &outcome.histograms, &folder)
            .and_then(|()| remember(options, report, &folder));
        match written {
            Ok(()) => {
                tell!("\nThe page: {}", folder.join("index.html").display());
                // On a run that was cut short nothing can be planned.
                if outcome.cut_short.is_none() {
                    tell!(
                        "Ask about a crowd of your own: frontrow-loadgen plan {} --buyers 60000 --minutes 5",
                        folder.display()
                    );
                }
            }
            Err(error) => {
                tell!("frontrow-loadgen: the report is not in {}: {error}", folder.display());
                tell!("frontrow-loadgen: what stands above is all there is; try --out FOLDER elsewhere");
                verdict = verdict.and(Verdict::Usage);
            }
        }
    }
    if verdict == Verdict::Violations {
        tell!(
            "frontrow-loadgen: {}: the server broke a promise; the first: {}",
            report::words::violations(report.verified.violation_count),
            report.verified.violations.first().map_or("?", String::as_str)
        );
    }
    verdict
}

/// Notes the run in the history beside it, if its place was not chosen by hand.
fn remember(options: &LoadOptions, report: &RunReport, folder: &Path) -> Result<(), LoadError> {
    if options.out.is_none() {
        report::remember(Path::new(REPORTS), report, folder)?;
    }
    Ok(())
}

/// The folder wanted; a tiny run leaves none unless asked.
pub(crate) fn folder(options: &LoadOptions, name: &str) -> Option<PathBuf> {
    let default = || {
        let time = humantime::format_rfc3339_seconds(assemble::now()).to_string();
        let time: String = time
            .chars()
            .filter_map(|it| if it == 'T' { Some('-') } else { (it != ':' && it != 'Z').then_some(it) })
            .collect();
        (!options.quick).then(|| Path::new(REPORTS).join(format!("{time}-{name}")))
    };
    options.out.clone().or_else(default)
}
