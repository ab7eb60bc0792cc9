//! `frontrow wal`: what it says of a good log, of a damaged one, of none, and of one that a server has open.

#![allow(dead_code, reason = "the helpers are shared by several tests, each of which uses some")]

mod common;

use common::{Server, within};
use frontrow_shard::record::Encoder;
use frontrow_shard::{
    Answer, Code, Effects, EventRules, EventSpec, Op, Parts, Push, PushKind, RowRef, RowSpec,
};
use frontrow_wal::{DataDir, DirOptions, LogOptions, SnapshotMeta};
use serde_json::Value;
use std::fs;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::{Command, Output};

/// Two partitions' records over some segments, and a snapshot.
fn make_log(path: &Path) {
    let dir = DataDir::open(path, DirOptions::new(2)).unwrap();
    dir.begin_history(false).unwrap();
    let options = LogOptions { segment_bytes: 16 << 10, max_payload_bytes: 1 << 10, ..LogOptions::small() };
    let (wake, woken) = std::sync::mpsc::channel();
    let wake = std::sync::Mutex::new(wake);
    let told = move || wake.lock().unwrap().send(()).unwrap_or_default();
    let mut log = dir.open_stream(0, &options, told).unwrap();
    let mut encoder = Encoder::default();
    for lsn in 1..=200_u64 {
        let op = match lsn {
            1 => Op::Begin { epoch: 1, secret: 0x005e_c2e7 },
            2 => Op::CreateEvent(Box::new(an_event())),
            _ => Op::Expire { event: 1, slot: lsn as u32, lsn },
        };
        let mut effects = Effects::default();
        if lsn == 200 {
            let answer = Answer { epoch: 1, lsn, slot: 200, ..Answer::plain(Code::Expired) };
            let place = RowRef::new(1, 2, 3);
            let parts = Parts::default();
            effects.pushes.push(Push { user: 77, place, kind: PushKind::Expired, answer, parts });
        }
        let (kind, payload) = encoder.encode(&op, &Answer::plain(Code::Done), &effects);
        for partition in 0..2 {
            while log.append(partition, lsn, 1000 + lsn, kind, payload).is_err() {
                log.commit().unwrap();
                woken.recv().unwrap();
            }
        }
        log.flush().unwrap();
    }
    let meta = SnapshotMeta { partition: 1, lsn: 120, epoch: 1, time_ms: 0, state_hash: 0 };
    dir.write_snapshot(&meta, &[7; 3000]).unwrap();
}

fn an_event() -> EventSpec {
    let (categories, aisles_after, accessible) = (vec![0], Vec::new(), Vec::new());
    let row = RowSpec { section: 0, row: 0, categories, aisles_after, accessible };
    EventSpec {
        event: 1,
        rules: EventRules::default(),
        section_rows: vec![1],
        section_seats: vec![1],
        rows: vec![row],
    }
}

fn wal(data: &Path, args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_frontrow"))
        .args(["wal", "--data"])
        .arg(data)
        .args(args)
        .output()
        .expect("the binary is built with this test")
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

fn json(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {}", text(output)))
}

#[test]
fn a_good_log_is_counted_verified_and_dumped() {
    let folder = tempfile::tempdir().unwrap();
    make_log(folder.path());
    let stat = wal(folder.path(), &["stat", "--json"]);
    let stat = json(&stat);
    assert_eq!((&stat["epoch"], &stat["partitions"]), (&1.into(), &2.into()));
    assert_eq!(stat["runs"][0]["records"], 400);
    assert_eq!(
        stat["ranges"][1],
        serde_json::json!({"partition": 1, "first": 1, "last": 200, "records": 200})
    );
    assert_eq!(stat["snapshots"][0]["lsn"], 120);
    assert_eq!(stat["could_be_trimmed"]["segments"], 0, "one snapshot of one partition is not enough");
    make_event(folder.path());
    let verify = wal(folder.path(), &["verify"]);
    assert!(verify.status.success() && text(&verify).contains("400 records"), "{}", text(&verify));

    let dump = wal(folder.path(), &["dump", "--partition", "1", "--from-lsn", "199", "--json"]);
    let lines: Vec<Value> =
        text(&dump).lines().map(|line| serde_json::from_str(line).expect("a line of JSON")).collect();
    assert_eq!(lines.iter().map(|line| line["lsn"].as_u64().unwrap()).collect::<Vec<_>>(), [199, 200]);
    assert_eq!((&lines[0]["kind"], &lines[0]["outcome"]["code"]), (&"expire".into(), &"done".into()));
    assert_eq!((&lines[0]["facts"], &lines[1]["kind"]), (&Value::Null, &"expire".into()));
    let facts = lines[1]["facts"].as_array().expect("the last one has run out for somebody");
    assert!(facts.len() == 1 && facts[0].as_str().is_some_and(|it| it.contains("user: 77")), "{facts:?}");
    let dump_text = text(&wal(folder.path(), &["dump", "--partition", "1", "--from-lsn", "200"]));
    assert!(dump_text.contains("+ Expired { user: 77"), "{dump_text}");
    let dump = text(&wal(folder.path(), &["dump", "--limit", "1"]));
    assert!(dump.lines().count() == 1 && dump.contains("Begin { epoch: 1 }"), "{dump}");
    assert!(!dump.contains("secret") && !dump.contains("6210279"), "the secret stays in the log: {dump}");
    assert!(text(&wal(folder.path(), &["dump", "--stream", "3"])).is_empty());
    // Looking changes nothing: no epoch was begun.
    assert_eq!(json(&wal(folder.path(), &["stat", "--json"]))["epoch"], 1);
}

#[test]
fn damage_is_named_with_file_and_offset_and_fails() {
    let folder = tempfile::tempdir().unwrap();
    make_log(folder.path());
    let log = folder.path().join("log/s0000-e00000001-00000001.seg");
    let snap = folder.path().join("snap/p0001-0000000000000078.snap");
    for (path, at) in [(&log, 5000), (&snap, 4100)] {
        let file = fs::OpenOptions::new().read(true).write(true).open(path).unwrap();
        let mut byte = [0];
        file.read_exact_at(&mut byte, at).unwrap();
        file.write_all_at(&[byte[0] ^ 4], at).unwrap();
    }
    let verify = wal(folder.path(), &["verify", "--json"]);
    assert_eq!(verify.status.code(), Some(1));
    let said = json(&verify);
    let bad: Vec<&Value> =
        said["findings"].as_array().unwrap().iter().filter(|it| it["verdict"] == "bad").collect();
    assert_eq!(bad.len(), 2, "{bad:?}");
    assert!(bad.iter().any(|it| it["file"] == log.to_str().unwrap() && it["offset"].as_u64() <= Some(5000)));
    assert!(bad.iter().any(|it| it["file"] == snap.to_str().unwrap() && it["offset"] == 4096));
    // A dump gives what is before it, and then says so.
    let dump = wal(folder.path(), &["dump"]);
    assert_eq!(dump.status.code(), Some(1));
    assert!(text(&dump).lines().count() > 50 && text(&dump).contains("damaged at byte"), "{}", text(&dump));
    assert_eq!(wal(folder.path(), &["stat"]).status.code(), Some(1));
}

/// Its part of the catalogue: what `serve` would refuse, and what only somebody who asks would stumble over.
#[test]
fn events_and_archives_are_verified_too() {
    type Harm = fn(&Path);
    let table: [(Harm, &str, &str); 12] = [
        (|it| fs::write(it.join("1.json"), "{}").unwrap(), "1.json", "damaged"),
        (|it| fs::remove_file(it.join("1.json")).unwrap(), "1.json", "missing"),
        (|it| fs::write(it.join("1.plan.json"), "{}").unwrap(), "1.plan.json", "other bytes"),
        (|it| fs::remove_file(it.join("1.map.json")).unwrap(), "1.map.json", "missing"),
        (|it| fs::write(it.join("1.archive"), "x").unwrap(), "1.archive", "damaged"),
        (|it| fs::write(it.join("notes.txt"), "x").unwrap(), "notes.txt", "move it out"),
        (|it| fs::remove_file(it.join("1.archive")).unwrap_or_default(), "1.archive", "missing"),
        (|it| fs::write(it.join("2.archive"), "x").unwrap(), "2.json", "missing"),
        (|it| pipe(&it.join("1.json")), "1.json", "it is no file, but a pipe"),
        (|it| pipe(&it.join("1.map.json")), "1.map.json", "it is no file, but a pipe"),
        (|it| pipe(&it.join("1.archive")), "1.archive", "it is no file, but a pipe"),
        (
            |it| {
                fs::remove_file(it.join("1.plan.json")).unwrap();
                fs::create_dir(it.join("1.plan.json")).unwrap();
            },
            "1.plan.json",
            "it is no file, but a folder",
        ),
    ];
    for (harm, file, why) in table {
        let folder = tempfile::tempdir().unwrap();
        make_log(folder.path());
        make_event(folder.path());
        let events = folder.path().join("events");
        if file == "1.archive" {
            let catalogue = frontrow_server::catalogue::Catalogue::open(folder.path()).unwrap();
            catalogue.set_state(1, frontrow_shard::EventState::Archived, 9).unwrap();
        } else {
            let good = wal(folder.path(), &["verify"]);
            assert!(good.status.success() && text(&good).contains("1.map.json"), "{}", text(&good));
        }
        harm(&events);
        let verify = wal(folder.path(), &["verify", "--json"]);
        assert_eq!(verify.status.code(), Some(1), "{file}: {why}");
        let said = json(&verify);
        let bad = said["findings"].as_array().unwrap().iter().filter(|it| it["verdict"] == "bad");
        let is_named = |it: &Value| {
            it["file"] == events.join(file).to_str().unwrap() && it["text"].as_str().unwrap().contains(why)
        };
        assert!(bad.clone().any(is_named), "{file} {why}: {:?}", bad.collect::<Vec<_>>());
        let said = text(&wal(folder.path(), &["verify"]));
        let line = said.lines().find(|line| line.starts_with("BAD") && line.contains(file)).unwrap();
        assert!(line.matches(file).count() == 1 && !line.contains("check the disk"), "{said}");
        // What only the head could say is not called good.
        let plan = said.lines().find(|line| line.contains("1.plan.json") && line.contains("is not known"));
        assert!(plan.is_none_or(|line| line.starts_with("LOOK")), "{said}");
        assert_eq!(plan.is_some(), file == "1.json", "{said}");
    }
}

fn pipe(path: &Path) {
    use rustix::fs::{CWD, Mode, mkfifoat};
    let _ = fs::remove_file(path);
    mkfifoat(CWD, path, Mode::RUSR | Mode::WUSR).unwrap();
}

/// The log was trimmed behind snapshots, which know the event.
#[test]
fn an_event_that_only_snapshots_know_is_missed() {
    let folder = tempfile::tempdir().unwrap();
    let dir = DataDir::open(folder.path(), DirOptions::new(1)).unwrap();
    dir.begin_history(false).unwrap();
    let limits = frontrow_shard::Limits { requests: 64, parties: 4, queues: 4, tasks: 4 };
    let mut part = frontrow_shard::Partition::new(0, 1, limits);
    let mut out = Effects::default();
    for op in [Op::Begin { epoch: 1, secret: 7 }, Op::CreateEvent(Box::new(an_event()))] {
        assert_eq!(part.apply(1000, &op, &mut out).answer.code, Code::Done);
    }
    let mut body = Vec::new();
    part.save(&mut body).unwrap();
    let state_hash = part.state_hash();
    let meta = SnapshotMeta { partition: 0, lsn: 0, epoch: 1, time_ms: 0, state_hash };
    dir.write_snapshot(&meta, &body).unwrap();
    let verify = wal(folder.path(), &["verify"]);
    assert!(text(&verify).contains("events/1.json: is missing"), "{}", text(&verify));
}

/// An event that the log made, in the catalogue.
fn make_event(path: &Path) {
    let catalogue = frontrow_server::catalogue::Catalogue::open(path).unwrap();
    let (plan, _) = frontrow_venue::pretix::import(frontrow_venue::SAMPLE_HALL.as_bytes()).unwrap();
    catalogue.create("Gala", &plan, EventRules::default(), 5).unwrap();
}

#[test]
fn what_is_no_log_of_ours_is_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let refused = |path: &Path, code: &str| {
        for what in ["stat", "verify", "dump"] {
            let output = wal(path, &[what, "--json"]);
            assert_eq!(output.status.code(), Some(1), "{what}: {}", text(&output));
            assert_eq!(json(&output)["error"]["code"], code, "{what}: {}", text(&output));
        }
    };
    refused(&folder.path().join("missing"), "no_log");
    fs::write(folder.path().join("holiday.jpg"), b"x").unwrap();
    refused(folder.path(), "no_log");
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "nothing was put there");
    let data = folder.path().join("data");
    make_log(&data);
    let manifest = data.join("MANIFEST");
    let good = fs::read_to_string(&manifest).unwrap();
    fs::write(&manifest, good.replace("frontrow-log 1", "frontrow-log 0")).unwrap();
    refused(&data, "version");
    fs::write(&manifest, "hello").unwrap();
    refused(&data, "damaged");
    // Another cluster's manifest: every file is foreign to it.
    let other = folder.path().join("other");
    make_log(&other);
    fs::copy(other.join("MANIFEST"), &manifest).unwrap();
    let verify = wal(&data, &["verify"]);
    assert!(
        verify.status.code() == Some(1) && text(&verify).contains("belongs to cluster"),
        "{}",
        text(&verify)
    );
}

#[test]
fn a_running_server_is_looked_at_and_a_second_one_refused() {
    within(60, async {
        let folder = tempfile::tempdir().unwrap();
        let server = Server::start(folder.path(), &[]);
        let data = folder.path().join("data");
        let stat = json(&wal(&data, &["stat", "--json"]));
        assert!(stat["open_by"].is_u64(), "{stat}");
        for args in [&["verify"][..], &["dump", "--limit", "5"]] {
            let output = wal(&data, args);
            assert!(output.status.success(), "{}", text(&output));
            assert!(text(&output).contains("has"), "it says that a process has it open: {}", text(&output));
        }
        let second = Command::new(env!("CARGO_BIN_EXE_frontrow"))
            .arg("serve")
            .envs([("FRONTROW_SERVER__TCP", "127.0.0.1:0"), ("FRONTROW_SERVER__HTTP", "127.0.0.1:0")])
            .env("FRONTROW_SERVER__DATA", &data)
            .env("FRONTROW_LOG__SEGMENT", "8MiB")
            .output()
            .unwrap();
        assert!(
            !second.status.success() && text(&second).contains("is locked by process"),
            "{}",
            text(&second)
        );
        assert!(server.http().dev_token(1).await.is_ok(), "the first one serves on");
    });
}
