//! Is the machine set up right for a server, and how to mend it.

use crate::args::{Auto, Common, Tune, TuneTarget};
use crate::failure::Failure;
use crate::show::Out;
use frontrow_server::config::{self, Machine};
use frontrow_tuning::apply::{Outcome, apply};
use frontrow_tuning::{Finding, Host, Live, Report, Root, Severity, auto, preset, script};
use serde_json::json;
use std::io::Write;
use std::path::{Path, PathBuf};

/// Where the values of before are kept.
const UNDO: &str = "/var/lib/frontrow-tune-undo.sh";

pub(crate) fn run(common: &Common, tune: &Tune, out: Out) -> Result<(), Failure> {
    match tune {
        Tune::Check(target) => check(common, target, out),
        Tune::Render(target) => {
            let text = script::render(&sound(common, target)?);
            out.say(&json!({"ok": true, "text": text}), text.trim_end());
            Ok(())
        }
        Tune::Apply { target, yes, undo } => change(&sound(common, target)?, *yes, undo.as_deref(), out),
        Tune::Auto(args) => configure(common, args, out),
        Tune::Preset { name } => show_preset(name.as_deref(), out),
    }
}

fn check(common: &Common, target: &TuneTarget, out: Out) -> Result<(), Failure> {
    let report = look(common, target);
    let json = report.json();
    out.say(&json, report.text().trim_end());
    if report.is_bad() {
        return Err(Failure::Told);
    }
    Ok(())
}

/// As [`look`], for what is to be done to the machine: not for a configuration that means something else.
fn sound(common: &Common, target: &TuneTarget) -> Result<Report, Failure> {
    let config = config::read(target.config.as_deref(), config::process_env(), &Machine::probe());
    config.into_result().map_err(|mistakes| Failure::Refused {
        code: "configuration",
        message: format!("{mistakes}Correct what is named; nothing was rendered or changed."),
    })?;
    Ok(look(common, target))
}

/// Measures this machine and holds it against the configuration.
fn look(common: &Common, target: &TuneTarget) -> Report {
    let reading = config::read(target.config.as_deref(), config::process_env(), &Machine::probe());
    let data = if common.data == Path::new("data") {
        reading.config.server.data.clone()
    } else {
        common.data.clone()
    };
    let root = Root::machine();
    let live = Live::measure(&root, &data);
    let host = Host { root, live, config: reading.config };
    let mut report = frontrow_tuning::check(&host);
    if !reading.mistakes.is_empty() {
        let list: Vec<String> = reading.mistakes.iter().map(ToString::to_string).collect();
        let finding = Finding::ok("configuration", list.join("; "), "the file and the environment")
            .because(
                Severity::Bad,
                "the server will not start; the checks took defaults in the place of mistakes",
            )
            .by_hand("correct what is named");
        report.findings.insert(0, finding);
    }
    report
}

fn change(report: &Report, yes: bool, undo: Option<&Path>, out: Out) -> Result<(), Failure> {
    let steps = script::all_steps(report);
    if !yes {
        let lines = steps.iter().map(|step| format!("would write {} to {}", step.value, step.path));
        let lines: Vec<String> = lines.collect();
        let text = if steps.is_empty() {
            "Nothing was found that writing a value would mend.".to_owned()
        } else {
            format!("{}\nNothing was changed. With --yes it is (as root).", lines.join("\n"))
        };
        out.say(&json!({"ok": true, "changed": false, "steps": steps}), text);
        return Ok(());
    }
    if !rustix::process::geteuid().is_root() {
        return Err(Failure::Refused {
            code: "not_root",
            message: "values of the kernel are root's to write: run it with sudo. Nothing was changed"
                .to_owned(),
        });
    }
    let undo = undo.map_or_else(|| PathBuf::from(UNDO), Path::to_path_buf);
    let done = apply(&Root::machine(), &steps, &undo)
        .map_err(|error| Failure::Refused { code: "no_undo", message: error.to_string() })?;
    let failed = done.iter().filter(|it| matches!(it.outcome, Outcome::Failed { .. })).count();
    let lines: Vec<String> = done.iter().map(ToString::to_string).collect();
    let text = format!("{}\nTo undo: sh {}", lines.join("\n"), undo.display());
    out.say(&json!({"ok": failed == 0, "changed": true, "results": lines, "undo": undo}), text);
    if failed > 0 {
        return Err(Failure::Told);
    }
    Ok(())
}

fn configure(common: &Common, args: &Auto, out: Out) -> Result<(), Failure> {
    let text = auto::configure(&Root::machine(), &common.data, Machine::probe().open_files)
        .map_err(|error| Failure::Refused { code: "unknown_machine", message: error.to_string() })?;
    let Some(path) = &args.out else {
        out.say(&json!({"ok": true, "text": text}), text.trim_end());
        return Ok(());
    };
    let written = std::fs::OpenOptions::new().write(true).create_new(true).open(path);
    let written = written.and_then(|mut file| file.write_all(text.as_bytes()));
    written.map_err(|error| {
        let hint = match error.kind() {
            std::io::ErrorKind::AlreadyExists => "it is there already, and is left as it is: name another",
            _ => "name a file in a directory that may be written to",
        };
        Failure::Usage(format!("{} cannot be written ({error}); {hint}", path.display()))
    })?;
    let line = format!("Written to {0}. Look at it: frontrow serve --check --config {0}", path.display());
    out.say(&json!({"ok": true, "file": path}), line);
    Ok(())
}

fn show_preset(name: Option<&str>, out: Out) -> Result<(), Failure> {
    let list = || preset::ALL.iter().map(|it| format!("{:<12}{}", it.name, it.about)).collect::<Vec<_>>();
    let Some(name) = name else {
        let names: Vec<&str> = preset::ALL.iter().map(|it| it.name).collect();
        out.say(&json!({"ok": true, "presets": names}), list().join("\n"));
        return Ok(());
    };
    let Some(found) = preset::find(name) else {
        return Err(Failure::Usage(format!(
            "there is no preset `{name}`; there are\n  {}",
            list().join("\n  ")
        )));
    };
    out.say(&json!({"ok": true, "preset": found.name, "text": found.text}), found.text.trim_end());
    Ok(())
}
