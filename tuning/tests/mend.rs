//! Scripts and applied values on a folder that looks like a machine.

mod common;

use common::Fixture;
use frontrow_tuning::apply::{Outcome, apply};
use frontrow_tuning::{Step, check, script};
use std::path::Path;
use std::process::Command;

const THP: &str = "/sys/kernel/mm/transparent_hugepage/defrag";
const SCHEDULER: &str = "/sys/block/nvme0n1/queue/scheduler";
const PORTS: &str = "/proc/sys/net/ipv4/ip_local_port_range";
const SWAPPINESS: &str = "/proc/sys/vm/swappiness";

/// Some things off, of each kind: a value, a choice, a pair.
fn off() -> Fixture {
    let machine = Fixture::good(2);
    machine.file(THP, "[always] defer madvise never\n");
    machine.file(SCHEDULER, "none [mq-deadline]\n");
    machine.file(PORTS, "40000\t50000\n");
    machine.file(SWAPPINESS, "60\n");
    machine.file("/proc/meminfo", "MemAvailable: 60000000 kB\nSwapTotal: 1048576 kB\nSwapFree: 1048576 kB\n");
    machine
}

#[test]
fn the_script_is_as_it_was_reviewed() {
    let text = script::render(&check(&off().host("[server]\ncores = [1]\n")));
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/render.sh");
    if std::env::var_os("FRONTROW_BLESS").is_some() {
        std::fs::write(&path, &text).expect("written");
    }
    assert_eq!(text, std::fs::read_to_string(&path).expect("there"), "FRONTROW_BLESS=1 writes it anew");
}

fn sh(script: &Path, machine: &Fixture, undo: &Path) -> String {
    let done = Command::new("sh")
        .arg(script)
        .env("FRONTROW_TUNE_ROOT", machine.folder())
        .env("FRONTROW_TUNE_UNDO", undo)
        .output()
        .expect("a shell");
    let text = String::from_utf8_lossy(&done.stdout).into_owned();
    assert!(done.status.success(), "{text}{}", String::from_utf8_lossy(&done.stderr));
    text
}

#[test]
fn the_script_mends_once_and_is_undone() {
    let machine = off();
    let (file, undo) = (machine.folder().join("mend.sh"), machine.folder().join("undo.sh"));
    std::fs::write(&file, script::render(&check(&machine.host("")))).expect("written");
    let text = sh(&file, &machine, &undo);
    assert_eq!(text.matches("changed").count(), 4, "{text}");
    assert_eq!((machine.text(SWAPPINESS), machine.text(SCHEDULER)), ("1".into(), "none".into()));
    let text = sh(&file, &machine, &undo);
    assert_eq!((text.matches("changed").count(), text.matches("already").count()), (0, 4), "{text}");
    let text = sh(&undo, &machine, &undo);
    assert_eq!(text.matches("restored").count(), 4, "{text}");
    assert_eq!((machine.text(THP), machine.text(PORTS)), ("always".into(), "40000 50000".into()));
    assert_eq!((machine.text(SWAPPINESS), machine.text(SCHEDULER)), ("60".into(), "mq-deadline".into()));
}

#[test]
fn values_are_applied_once_reported_and_undone() {
    let machine = off();
    let undo = machine.folder().join("undo.sh");
    let steps = script::all_steps(&check(&machine.host("")));
    assert_eq!(steps.len(), 4, "{steps:?}");
    let done = apply(&machine.root(), &steps, &undo).expect("an undo file");
    assert!(done.iter().all(|it| matches!(it.outcome, Outcome::Changed { .. })), "{done:?}");
    let line = done.iter().find(|it| it.step.path == THP).expect("there").to_string();
    assert_eq!(line, format!("changed  {THP}: always -> madvise"));
    let kept = std::fs::read_to_string(&undo).expect("there");
    let again = apply(&machine.root(), &steps, &undo).expect("an undo file");
    assert!(again.iter().all(|it| it.outcome == Outcome::Already), "{again:?}");
    // A later run must not take today's values for the machine's own.
    machine.file(SWAPPINESS, "30\n");
    apply(&machine.root(), &steps, &undo).expect("an undo file");
    assert_eq!(std::fs::read_to_string(&undo).expect("there"), kept);
    sh(&undo, &machine, &undo);
    assert_eq!((machine.text(SWAPPINESS), machine.text(PORTS)), ("60".into(), "40000 50000".into()));
    assert!(check(&machine.host("")).findings.iter().any(|it| it.id == "swap" && it.can_apply()));
}

#[test]
fn what_cannot_be_written_is_said_and_the_rest_is_done() {
    let machine = off();
    let undo = machine.folder().join("undo.sh");
    let steps = [Step::new("/proc/sys/vm/absent", 1), Step::new("/proc/sys/vm", 1), Step::new(SWAPPINESS, 1)];
    let done = apply(&machine.root(), &steps, &undo).expect("an undo file");
    assert!(matches!(&done[0].outcome, Outcome::Failed { why } if why.contains("no such file")), "{done:?}");
    assert!(
        matches!(done[1].outcome, Outcome::Failed { .. })
            && matches!(done[2].outcome, Outcome::Changed { .. })
    );
    assert!(!machine.path("/proc/sys/vm/absent").exists(), "a setting that is not there is not made up");
    // Without a place for the values of before, nothing is touched.
    machine.file(SWAPPINESS, "60\n");
    let error =
        apply(&machine.root(), &steps[2..], &machine.folder().join("absent/undo.sh")).expect_err("no place");
    assert!(error.to_string().contains("nothing was changed"), "{error}");
    assert_eq!(machine.text(SWAPPINESS), "60");
}
