//! `frontrow tune` from the outside, on whatever machine this is.

use serde_json::Value;
use std::process::{Command, Output};

fn frontrow(line: &str, folder: &std::path::Path) -> Output {
    let program = env!("CARGO_BIN_EXE_frontrow");
    Command::new(program).args(line.split(' ')).current_dir(folder).output().expect("ran")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn a_configuration_made_for_this_machine_is_one_that_a_server_takes() {
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a folder");
    let made = frontrow("tune auto --data d --out f.toml", folder.path());
    assert!(made.status.success(), "{}", text(&made.stderr));
    let checked = frontrow("serve --check --config f.toml", folder.path());
    assert!(checked.status.success(), "{}", text(&checked.stdout));
    let before = std::fs::read(folder.path().join("f.toml")).expect("there");
    let again = frontrow("tune auto --out f.toml", folder.path());
    assert_eq!(again.status.code(), Some(2));
    assert!(text(&again.stderr).contains("left as it is"), "{}", text(&again.stderr));
    assert_eq!(std::fs::read(folder.path().join("f.toml")).expect("there"), before);
}

#[test]
fn a_check_says_in_its_exit_code_whether_anything_is_bad() {
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a folder");
    let done = frontrow("tune check --json", folder.path());
    let report: Value = serde_json::from_slice(&done.stdout).expect("one object");
    let bad = report["findings"].as_array().expect("findings").iter().any(|it| it["severity"] == "bad");
    assert_eq!(done.status.code(), Some(i32::from(bad)), "{report}");
    assert_eq!(report["ok"], !bad);
    std::fs::write(folder.path().join("f.toml"), "[server]\ntpc = 1\n").expect("written");
    let done = frontrow("tune check --config f.toml", folder.path());
    let said = text(&done.stdout);
    assert!(done.status.code() == Some(1) && said.contains("did you mean server.tcp?"), "{said}");
    assert!(!said.contains("panicked") && done.stderr.is_empty(), "{}", text(&done.stderr));
}

#[test]
fn presets_are_printed_and_nothing_is_changed_unasked() {
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a folder");
    assert!(text(&frontrow("tune preset", folder.path()).stdout).contains("one-box"));
    let laptop = frontrow("tune preset laptop", folder.path());
    std::fs::write(folder.path().join("l.toml"), laptop.stdout).expect("written");
    assert!(frontrow("serve --check --config l.toml", folder.path()).status.success());
    assert_eq!(frontrow("tune preset desktop", folder.path()).status.code(), Some(2));
    let dry = frontrow("tune apply --json --undo u.sh", folder.path());
    assert!(dry.status.success() && text(&dry.stdout).contains("\"changed\":false"), "{}", text(&dry.stdout));
    assert!(!folder.path().join("u.sh").exists());
}
