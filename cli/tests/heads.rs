//! An event's head, the file that makes it exist, is older than the log, without its checksum, or damaged: what a start, a
//! standby and `frontrow wal verify` make of it. And a start that is refused leaves the directory as it was.

#![allow(dead_code, reason = "the helpers are shared by several tests, each of which uses some")]

mod common;

use common::{Server, within};
use frontrow_client::http::EventQuery;
use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

const EVENT: u32 = 1;

fn head(data: &Path) -> PathBuf {
    data.join("data/events/1.json")
}

/// Runs the program to its end, on ports of its own.
fn frontrow(data: &Path, words: &[&str], more: &[(&str, &str)]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_frontrow"))
        .args(words)
        .envs([("FRONTROW_SERVER__TCP", "127.0.0.1:0"), ("FRONTROW_SERVER__HTTP", "127.0.0.1:0")])
        .env("FRONTROW_SERVER__DATA", data.join("data"))
        .env("FRONTROW_LOG__SEGMENT", "8MiB")
        .envs(more.iter().copied())
        .output()
        .expect("the binary is built with this test")
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

/// What a start says that is refused.
fn refused(data: &Path, more: &[(&str, &str)]) -> String {
    let output = frontrow(data, &["serve", "--no-demo"], more);
    assert_eq!(output.status.code(), Some(1), "{}", text(&output));
    text(&output)
}

fn verify(data: &Path) -> Output {
    let data = data.join("data");
    frontrow(&data, &["wal", "verify", "--data", data.to_str().expect("text")], &[])
}

async fn make_event(server: &Server, data: &Path) {
    let http = server.operator(data);
    let query = EventQuery { name: Some("Gala".into()), ..EventQuery::default() };
    assert_eq!(http.create_stadium(&query, 400, None).await.expect("an event").event.event, EVENT);
    http.open(EVENT).await.expect("on sale");
}

async fn state(server: &Server) -> String {
    server.http().event(EVENT).await.expect("the event").event.state
}

/// The same head as an older server wrote it: of version 1, without a checksum.
fn unsealed(path: &Path) -> String {
    let text = fs::read_to_string(path).expect("a head");
    let end = text.rfind(",\"crc32c\"").expect("it has a checksum");
    format!("{}}}", text[..end].replacen("\"version\":2", "\"version\":1", 1))
}

fn harm(path: &Path) {
    let text = fs::read_to_string(path).expect("a head");
    fs::write(path, text.replacen("Gala", "Gola", 1)).expect("written");
}

#[test]
fn an_older_head_does_not_undo_an_operators_word() {
    within(180, async {
        let folder = tempfile::tempdir().expect("a folder");
        let data = folder.path();
        let server = Server::empty(data, &[]);
        make_event(&server, data).await;
        let on_sale = fs::read(head(data)).expect("a head");
        server.operator(data).pause(EVENT).await.expect("paused");
        let paused = fs::read(head(data)).expect("a head");
        server.kill();

        fs::write(head(data), &on_sale).expect("put back");
        let mut server = Server::overheard(data, &[]);
        assert_eq!(state(&server).await, "paused");
        assert_eq!(fs::read(head(data)).expect("a head"), paused, "it is written anew");
        assert!(server.banner.contains("Replayed") && !server.banner.contains("as it was left"));
        server.terminate();
        let (_, said) = server.ended();
        assert!(said.contains("an older head was put back"), "{said}");

        let server = Server::empty(data, &[]);
        assert!(server.banner.contains("; everything is as it was left"), "{}", server.banner);
        server.operator(data).open(EVENT).await.expect("on sale again");
        server.kill();
        fs::write(head(data), &paused).expect("put back");
        let server = Server::empty(data, &[]);
        assert_eq!(state(&server).await, "open");
        server.operator(data).close(EVENT).await.expect("over");
        server.kill();

        // The log has it: nothing is written that would wait for a standby.
        let waits = [
            ("FRONTROW_REPLICATION__LISTEN", "127.0.0.1:0"),
            ("FRONTROW_REPLICATION__ACKNOWLEDGE", "backup"),
        ];
        fs::write(head(data), &on_sale).expect("put back");
        let server = Server::empty(data, &waits);
        assert_eq!(state(&server).await, "closed");
        server.kill();

        for older in [on_sale, paused] {
            fs::write(head(data), older).expect("put back");
            let server = Server::empty(data, &[]);
            assert_eq!(state(&server).await, "closed");
            server.operator(data).close(EVENT).await.expect("it is over already");
            server.kill();
        }
    });
}

#[test]
fn a_refused_start_leaves_the_directory_as_it_was() {
    within(180, async {
        let folder = tempfile::tempdir().expect("a folder");
        let data = folder.path();
        let server = Server::empty(data, &[]);
        make_event(&server, data).await;
        server.kill();
        let of = |name: &str| fs::read(data.join("data").join(name)).expect("a file");
        let before = (of("MANIFEST"), of("HISTORY"));
        let good = fs::read(head(data)).expect("a head");

        harm(&head(data));
        let said = refused(data, &[]);
        assert!(said.contains("1.json is damaged (its checksum does not fit)"), "{said}");
        fs::remove_file(head(data)).expect("it was there");
        let said = refused(data, &[]);
        assert!(said.contains("the log has event 1, and") && said.contains("put it back"), "{said}");
        fs::write(head(data), good).expect("put back");
        let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
        let at = taken.local_addr().expect("an address").to_string();
        for port in ["FRONTROW_SERVER__TCP", "FRONTROW_SERVER__HTTP", "FRONTROW_REPLICATION__LISTEN"] {
            let said = refused(data, &[(port, &at)]);
            assert!(said.contains(&at), "{said}");
        }
        let first = taken.local_addr().expect("an address").port().to_string();
        let said = refused(data, &[("FRONTROW_SERVER__CORE_PORTS", &first)]);
        assert!(said.contains("server.core_ports: a core cannot listen on") && said.contains(&at), "{said}");

        assert!(before == (of("MANIFEST"), of("HISTORY")), "no epoch was begun");
        let found = verify(data);
        assert!(found.status.success() && !text(&found).contains("LOOK"), "{}", text(&found));
        let server = Server::empty(data, &[]);
        assert_eq!(state(&server).await, "open");
        server.kill();
    });
}

/// Its files are there and the log may not have it: to write that waits for a standby, and who gives the standby up needs HTTP.
#[test]
fn a_start_that_waits_for_a_standby_answers_and_can_be_told_to_go_on_alone() {
    within(180, async {
        let folder = tempfile::tempdir().expect("a folder");
        let data = folder.path();
        let waits = [
            ("FRONTROW_REPLICATION__LISTEN", "127.0.0.1:0"),
            ("FRONTROW_REPLICATION__ACKNOWLEDGE", "backup"),
        ];
        let server = Server::empty(data, &waits);
        let http = server.operator(data);
        let query = EventQuery { name: Some("Gala".into()), ..EventQuery::default() };
        let made = http.create_stadium(&query, 400, None);
        let there = async {
            while !head(data).exists() {
                tokio::task::yield_now().await;
            }
        };
        tokio::select! {
            made = made => panic!("nobody acknowledges that: {made:?}"),
            () = there => {}
        }
        server.kill();

        let server = Server::empty(data, &waits);
        let http = server.operator(data);
        http.operate("/v1/admin/replication/alone").await.expect("it answers");
        // In all partitions once it opens; until then it is told why not.
        while http.open(EVENT).await.is_err() {
            tokio::task::yield_now().await;
        }
        assert_eq!(state(&server).await, "open");
        server.kill();
        let server = Server::empty(data, &[]);
        assert_eq!(state(&server).await, "open");
        server.kill();
    });
}

#[test]
fn once_all_heads_have_a_checksum_none_is_taken_without() {
    within(180, async {
        let folder = tempfile::tempdir().expect("a folder");
        let data = folder.path();
        let server = Server::empty(data, &[]);
        make_event(&server, data).await;
        server.kill();
        // As an earlier release has left it.
        let good = fs::read(head(data)).expect("a head");
        let old = unsealed(&head(data));
        fs::write(head(data), &old).expect("written");
        fs::remove_file(data.join("data/HEADS")).expect("the note was there");
        Server::empty(data, &[]).kill();
        assert_eq!(fs::read(head(data)).expect("a head"), good, "it is given a checksum at the start");

        fs::write(head(data), &old).expect("written");
        let said = refused(data, &[]);
        assert!(said.contains("1.json is damaged (it is of version 1, without a checksum"), "{said}");
        let found = verify(data);
        assert!(!found.status.success() && text(&found).contains("without a checksum"), "{}", text(&found));
        fs::write(head(data), good).expect("put back");
        Server::empty(data, &[]).kill();
    });
}

#[test]
fn a_standby_with_a_damaged_head_says_so_and_is_not_promoted() {
    within(180, async {
        let (a, b) = (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder"));
        let settings = common::replicated("local", &[]);
        let primary = Server::empty(a.path(), &settings);
        let standby = Server::standby(b.path(), &primary.replication, &settings);
        make_event(&primary, a.path()).await;
        while standby.http().section(EVENT, 0).await.is_err() || !head(b.path()).exists() {
            tokio::task::yield_now().await;
        }
        let address = primary.replication.clone();
        primary.kill();
        let manifest = || fs::read(b.path().join("data/MANIFEST")).expect("a manifest");
        let (before, good) = (manifest(), fs::read(head(b.path())).expect("a head"));
        let key = fs::read_to_string(b.path().join("data/dev-admin.key")).expect("the operator's key");
        let ask = |standby: &Server, word: &str| {
            let words = [word, "--server", &standby.url, "--admin-key", key.trim()];
            text(&frontrow(b.path(), &words, &[]))
        };
        fs::remove_file(head(b.path())).expect("it was there");
        let answer = ask(&standby, "promote");
        assert!(answer.contains("follows on") && answer.contains("the log has event 1, and"), "{answer}");
        fs::write(head(b.path()), &good).expect("put back");
        harm(&head(b.path()));
        let answer = ask(&standby, "promote");
        assert!(answer.contains("follows on") && answer.contains("1.json is damaged"), "{answer}");
        standby.kill();

        let folder = b.path().join("data");
        let words = ["--data", folder.to_str().expect("text"), "promote", "--offline"];
        let offline = text(&frontrow(b.path(), &words, &[("FRONTROW_PARTITIONS__COUNT", "8")]));
        assert!(offline.contains("1.json is damaged"), "{offline}");

        // Only the log, which nobody has applied, knows that there is such a file.
        let harmed = fs::read(head(b.path())).expect("a head");
        fs::remove_file(head(b.path())).expect("it was there");
        let standby = Server::standby(b.path(), &address, &settings);
        let (status, answer) = (ask(&standby, "status"), ask(&standby, "promote"));
        assert!(
            status.contains("it cannot be promoted") && status.contains("the log has event 1"),
            "{status}"
        );
        assert!(answer.contains("follows on") && answer.contains("the log has event 1, and"), "{answer}");
        assert_eq!(standby.http().node().await.expect("it goes on")["role"], "standby");
        standby.kill();
        fs::write(head(b.path()), harmed).expect("put back");

        let mut standby = Server::standby(b.path(), &address, &settings);
        let (status, answer) = (ask(&standby, "status"), ask(&standby, "promote"));
        assert!(status.contains("it cannot be promoted") && status.contains("1.json is damaged"), "{status}");
        assert!(answer.contains("follows on") && answer.contains("1.json is damaged"), "{answer}");
        assert_eq!(standby.http().node().await.expect("it goes on")["role"], "standby");
        assert!(before == manifest(), "no epoch was opened");

        fs::write(head(b.path()), good).expect("put back");
        standby.operator(b.path()).operate("/v1/admin/promote").await.expect("it obeys");
        standby.hear();
        assert_eq!(state(&standby).await, "open");
    });
}

#[test]
fn a_primary_says_that_its_standby_could_not_take_over() {
    within(180, async {
        let (a, b) = (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder"));
        let settings = common::replicated("local", &[]);
        let primary = Server::empty(a.path(), &settings);
        let standby = Server::standby(b.path(), &primary.replication, &settings);
        make_event(&primary, a.path()).await;
        // It is asked how its files are, and tells its primary by itself.
        let says = async |word: &str| loop {
            standby.http().node().await.expect("a status");
            let node = primary.http().node().await.expect("a status");
            if node["replication"]["fitness"] == word {
                break node["replication"].clone();
            }
        };
        // The last of it, too: what is still on its way would mend what is harmed here.
        while fs::read(head(b.path())).ok() != fs::read(head(a.path())).ok() {
            tokio::task::yield_now().await;
        }
        assert!(says("fit").await["unfit"].is_null());
        assert!(primary.http().metrics().await.expect("metrics").contains("frontrow_backup_fit 1"));
        let good = fs::read(head(b.path())).expect("a head");
        harm(&head(b.path()));
        let said = says("catalogue").await;
        let name = said["standby"].as_str().expect("its name");
        assert!(primary.http().metrics().await.expect("metrics").contains("frontrow_backup_fit 0"));
        let status = text(&frontrow(a.path(), &["status", "--server", &primary.url], &[]));
        let words = format!("The standby ({name}) could not take over: the events' files there are damaged");
        assert!(status.contains(&words), "{status}");
        fs::write(head(b.path()), good).expect("put back");
        assert!(says("fit").await["unfit"].is_null());
    });
}

/// It has all of a head in memory. A plan it has not: that it says until the file is put back.
#[test]
fn a_primary_writes_its_own_head_anew_and_says_what_it_cannot_mend() {
    within(180, async {
        let folder = tempfile::tempdir().expect("a folder");
        let data = folder.path();
        let mut server = Server::overheard(data, &[("FRONTROW_LOG_OUTPUT__LEVEL", "warn")]);
        let mut words = server.words();
        make_event(&server, data).await;
        let good = fs::read(head(data)).expect("a head");
        let catalogue = async || server.http().node().await.expect("a status")["catalogue"].clone();
        assert_eq!(catalogue().await, "ok");
        harm(&head(data));
        let harmed = fs::read(head(data)).expect("a head");
        // A look is a quarter of a second old at most.
        while fs::read(head(data)).expect("a head") != good {
            assert_eq!(catalogue().await, "ok");
        }
        let kept = data.join("data/damaged/events/1.json-0001");
        assert!(fs::read(kept).expect("what was there is kept") == harmed);
        // Nobody asks.
        fs::remove_file(head(data)).expect("it was there");
        while !head(data).exists() {
            tokio::task::yield_now().await;
        }
        assert_eq!(fs::read(head(data)).expect("a head"), good);
        for why in ["its checksum does not fit", "No such file"] {
            let said = words.recv().await.expect("it says so");
            assert!(said.contains("it is written anew, from memory") && said.contains(why), "{said}");
        }
        let metrics = server.http().metrics().await.expect("metrics");
        assert!(metrics.contains("frontrow_catalogue_mended_total 2"), "{metrics}");

        let plan = data.join("data/events/1.plan.json");
        let whole = fs::read(&plan).expect("a plan");
        fs::remove_file(&plan).expect("it was there");
        while catalogue().await == "ok" {}
        let status = text(&frontrow(data, &["status", "--server", &server.url], &[]));
        assert!(
            status.contains("files here are not good") && status.contains("1.plan.json is missing"),
            "{status}"
        );
        let said = words.recv().await.expect("it says so");
        assert!(said.contains("ERROR") && said.contains("1.plan.json is missing; put it back"), "{said}");
        assert!(server.http().metrics().await.expect("metrics").contains("frontrow_catalogue_ok 0"));
        fs::write(&plan, whole).expect("put back");
        while catalogue().await != "ok" {}
        assert!(server.http().metrics().await.expect("metrics").contains("frontrow_catalogue_ok 1"));
        server.kill();
        let server = Server::empty(data, &[]);
        assert_eq!(state(&server).await, "open");
    });
}

/// A file put back is another file of the same name: what was served from the old one would be served on.
#[test]
fn a_seat_map_is_served_as_it_was_written_whatever_becomes_of_its_file() {
    within(180, async {
        let (a, b) = (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder"));
        let settings = common::replicated("local", &[]);
        let primary = Server::empty(a.path(), &settings);
        let standby = Server::standby(b.path(), &primary.replication, &settings);
        make_event(&primary, a.path()).await;
        let written = primary.http().section_map(EVENT, 0).await.expect("a map");
        while standby.http().section_map(EVENT, 0).await.ok().as_ref() != Some(&written) {
            tokio::task::yield_now().await;
        }
        let map = |data: &Path| data.join("data/events/1.map.json");
        let good = fs::read(map(a.path())).expect("a map");
        let text = String::from_utf8(good.clone()).expect("text");
        let harmed = text.replace("\"numbers\":[\"1\",\"2\"", "\"numbers\":[\"2\",\"1\"");
        assert!(harmed != text && harmed.len() == text.len());
        for (number, bytes) in (1..).zip([harmed.as_bytes(), &good[..10]]) {
            // In place: the same file.
            fs::write(map(a.path()), bytes).expect("written");
            while fs::read(map(a.path())).expect("a map") != good {
                assert_eq!(primary.http().section_map(EVENT, 0).await.expect("a map"), written);
                assert_eq!(primary.http().node().await.expect("a status")["catalogue"], "ok");
            }
            let kept = a.path().join(format!("data/damaged/events/1.map.json-{number:04}"));
            assert!(fs::read(kept).expect("what was there is kept") == bytes);

            let catalogue = async || standby.http().node().await.expect("a status")["catalogue"].clone();
            while catalogue().await != "ok" {}
            fs::write(map(b.path()), bytes).expect("written");
            while catalogue().await == "ok" {}
            let why = catalogue().await;
            assert!(why.as_str().is_some_and(|why| why.contains("1.map.json")), "{why}");
            assert_eq!(standby.http().section_map(EVENT, 0).await.expect("a map"), written);
            let aside = b.path().join("1.map.json.part");
            fs::write(&aside, &good).expect("written");
            fs::rename(aside, map(b.path())).expect("put back");
            while catalogue().await != "ok" {}
            assert_eq!(standby.http().section_map(EVENT, 0).await.expect("a map"), written);
        }
        let metrics = primary.http().metrics().await.expect("metrics");
        assert!(metrics.contains("frontrow_catalogue_mended_total 2"), "{metrics}");
    });
}

/// Answers wait for the standby: a file of the catalogue that cannot be read must not end its session.
#[test]
fn a_head_that_leads_in_a_circle_ends_no_session_and_is_written_anew() {
    within(180, async {
        let (a, b) = (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder"));
        let settings = common::replicated("backup", &[("FRONTROW_LOG_OUTPUT__LEVEL", "warn")]);
        let mut primary = Server::overheard(a.path(), &settings);
        let mut words = primary.words();
        let _standby = Server::standby(b.path(), &primary.replication, &settings);
        make_event(&primary, a.path()).await;
        let good = fs::read(head(a.path())).expect("a head");
        fs::remove_file(head(a.path())).expect("it was there");
        std::os::unix::fs::symlink("1.json", head(a.path())).expect("a link");
        // It has the primary look at all files, and send what is new.
        let http = primary.operator(a.path());
        let query = EventQuery { name: Some("Ball".into()), ..EventQuery::default() };
        http.create_stadium(&query, 400, None).await.expect("it is acknowledged");
        while !b.path().join("data/events/2.json").exists()
            || fs::read(head(a.path())).ok().as_ref() != Some(&good)
        {
            tokio::task::yield_now().await;
        }
        http.open(2).await.expect("it is acknowledged");
        assert_eq!(http.replication().await.expect("a status")["following"], 2);
        let kept = a.path().join("data/damaged/events/1.json-0001");
        assert!(kept.symlink_metadata().expect("it is kept").is_symlink());
        let mut is_told = false;
        while let Ok(said) = words.try_recv() {
            assert!(!said.contains("connection has ended"), "{said}");
            is_told |= said.contains("written anew") && said.contains("Too many levels of symbolic links");
        }
        assert!(is_told, "the cause is named");
    });
}

/// Whoever opens a pipe that nobody writes to waits for good.
#[test]
fn a_pipe_in_place_of_a_file_keeps_neither_node_waiting() {
    let pipe = |path: &Path| {
        use rustix::fs::{CWD, Mode, mkfifoat};
        // In one step: what is missing for a moment is written anew.
        let aside = path.parent().and_then(Path::parent).expect("a folder").join("aside");
        mkfifoat(CWD, &aside, Mode::RUSR | Mode::WUSR).expect("a pipe");
        fs::rename(aside, path).expect("it has the name");
    };
    within(180, async {
        let (a, b) = (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder"));
        let settings = common::replicated("local", &[]);
        let mut primary = Server::empty(a.path(), &settings);
        let standby = Server::standby(b.path(), &primary.replication, &settings);
        make_event(&primary, a.path()).await;
        let good = fs::read(head(a.path())).expect("a head");
        while fs::read(head(b.path())).ok().as_ref() != Some(&good) {
            tokio::task::yield_now().await;
        }
        pipe(&head(b.path()));
        let catalogue =
            async |server: &Server| server.http().node().await.expect("a status")["catalogue"].clone();
        while !catalogue(&standby)
            .await
            .as_str()
            .is_some_and(|said| said.contains("it is no file, but a pipe"))
        {}
        let said = verify(b.path());
        assert!(
            !said.status.success() && text(&said).contains("it is no file, but a pipe"),
            "{}",
            text(&said)
        );

        pipe(&head(a.path()));
        while !fs::symlink_metadata(head(a.path())).is_ok_and(|about| about.is_file()) {
            assert_eq!(catalogue(&primary).await, "ok");
        }
        assert_eq!(fs::read(head(a.path())).expect("a head"), good);
        let plan = a.path().join("data/events/1.plan.json");
        pipe(&plan);
        while catalogue(&primary).await == "ok" {}
        let metrics = primary.http().metrics().await.expect("metrics");
        assert!(metrics.contains("frontrow_catalogue_ok 0"), "{metrics}");
        primary.terminate();
        assert_eq!(primary.ended().0, Some(0));
    });
}
