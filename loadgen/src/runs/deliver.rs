//! Where a report goes: the terminal and a folder.

use crate::LoadError;
use crate::options::LoadOptions;
use crate::report::{self, Question, RunReport};
use crate::runs::assemble::{self, Outcome};
use crate::runs::verdict::Verdict;
use std::path::{Path, PathBuf};

/// Where reports go.
const REPORTS: &str = "load-reports";

/// The planner's question: the one asked, as far as it was.
fn question(options: &LoadOptions, report: &RunReport) -> Question {
    let usual = Question::of(report);
    Question {
        buyers: options.buyers.unwrap_or(usual.buyers),
        minutes: options.minutes.unwrap_or(usual.minutes),
        ..usual
    }
}

/// Notes the planner's question in the report, if there was one, and gives it.
pub(crate) fn ask(options: &LoadOptions, report: &mut RunReport) -> Question {
    let question = question(options, report);
    if options.buyers.is_some() || options.minutes.is_some() {
        report.questions.push(question);
    }
    question
}

/// Prints and writes a report; a report that cannot be written is printed all the same.
pub(crate) fn deliver(mut outcome: Outcome, options: &LoadOptions) -> Verdict {
    let question = ask(options, &mut outcome.report);
    let report = &outcome.report;
    let mut verdict = Verdict::of(report);
    if options.json {
        println!("{}", serde_json::to_string_pretty(report).unwrap_or_default());
    } else {
        print!("{}", report::summary(report));
        println!("\n{}", report::capacity(report, &question));
    }
    if let Some(error) = &outcome.cut_short {
        eprintln!("frontrow-loadgen: the run was cut short: {error}");
        verdict = verdict.and(Verdict::from(error));
    }
    if let Some(folder) = folder(options, &report.name) {
        let written = report::write(report, &outcome.histograms, &folder)
            .and_then(|()| remember(options, report, &folder));
        match written {
            Ok(()) => eprintln!("\nThe page: {}", folder.join("index.html").display()),
            Err(error) => {
                eprintln!("frontrow-loadgen: the report is not in {}: {error}", folder.display());
                eprintln!("frontrow-loadgen: what stands above is all there is; try --out FOLDER elsewhere");
                verdict = verdict.and(Verdict::Usage);
            }
        }
    }
    if verdict == Verdict::Violations {
        eprintln!(
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
