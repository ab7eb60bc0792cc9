use super::*;
use crate::catalogue::Catalogue;
use crate::catalogue::no_files::{in_time, pipe};
use crate::cold::tests::file_of;
use frontrow_shard::{EventRules, EventState};
use std::fs;
use tempfile::TempDir;

const CLUSTER: u128 = 0x1234_5678_9abc_def0;

/// A data directory with an archived event 1.
fn node(name: &str) -> TempDir {
    node_of(name, 5)
}

fn node_of(name: &str, created_ms: u64) -> TempDir {
    let data = tempfile::tempdir().unwrap();
    let catalogue = Catalogue::open(data.path()).unwrap();
    let (plan, _) = frontrow_venue::pretix::import(frontrow_venue::SAMPLE_HALL.as_bytes()).unwrap();
    catalogue.create(name, &plan, EventRules::default(), created_ms).unwrap();
    catalogue.set_state(1, EventState::Archived, 9).unwrap();
    fs::write(events(&data).join("1.archive"), file_of(CLUSTER, 1)).unwrap();
    data
}

fn events(data: &TempDir) -> PathBuf {
    data.path().join("events")
}

/// What it says that it has.
fn has(data: &TempDir) -> Vec<FileMeta> {
    listed(&mut Shelf::new(CLUSTER), &events(data)).unwrap()
}

fn flip(path: &Path) {
    let mut bytes = fs::read(path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 4;
    fs::write(path, bytes).unwrap();
}

/// Another archive of event 1 that is good.
fn another_archive() -> Vec<u8> {
    let mut bytes = file_of(CLUSTER, 1);
    // When it was read out stands in the body, and nothing depends on it: found by its value.
    let time = 1_700_000_000_000_u64.to_le_bytes();
    let at = (64..bytes.len() - 8).find(|&at| bytes[at..at + 8] == time && at + 200 > bytes.len()).unwrap();
    bytes[at] ^= 1;
    let header = crate::cold::header(CLUSTER, 1, &bytes[64..]);
    bytes[..64].copy_from_slice(&header);
    bytes
}

/// Sends what `from` has and `to` lacks, in pieces; the names of what was sent, and of what was confessed.
fn follow(from: &TempDir, to: &TempDir) -> (Vec<String>, Vec<String>) {
    let there = has(to);
    let there: HashMap<&str, &FileMeta> = there.iter().map(|meta| (meta.name.as_str(), meta)).collect();
    let mut intake = Intake::new(to.path(), CLUSTER);
    let (mut sent, mut confessed) = (Vec::new(), Vec::new());
    for found in Shelf::new(CLUSTER).list(&events(from)).unwrap() {
        match deed(&events(from), &found, there.get(found.name.as_str()).copied()) {
            Deed::Nothing => {}
            Deed::Confess(meta) => {
                intake.take(&meta, 0, &[]).unwrap();
                confessed.push(meta.name);
            }
            Deed::Send(meta) => {
                let bytes = read(&events(from), &meta).unwrap().unwrap();
                send(&mut intake, &meta.name, &bytes);
                sent.push(meta.name);
            }
        }
    }
    (sent, confessed)
}

fn send(intake: &mut Intake, name: &str, bytes: &[u8]) {
    let meta = FileMeta { name: name.into(), len: bytes.len() as u64, crc: crc32c::crc32c(bytes) };
    intake.take(&meta, 0, &bytes[..2]).unwrap();
    intake.take(&meta, 2, &bytes[2..]).unwrap();
}

/// What was kept, and in which folder.
fn kept(data: &TempDir, aside: &str) -> Vec<Vec<u8>> {
    let files = fs::read_dir(data.path().join(aside).join("events")).into_iter().flatten();
    files.map(|entry| fs::read(entry.unwrap().path()).unwrap()).collect()
}

fn nothing() -> Vec<String> {
    Vec::new()
}

#[test]
fn what_is_listed_here_is_taken_in_there() {
    let (from, to) = (node("Gala"), tempfile::tempdir().unwrap());
    fs::write(events(&from).join("2.archive.new"), "half").unwrap();
    let (sent, confessed) = follow(&from, &to);
    assert_eq!(sent, ["1.plan.json", "1.map.json", "1.archive", "1.json"], "the head comes last");
    assert_eq!(confessed, nothing());
    assert_eq!(has(&from), has(&to));
    assert_eq!(follow(&from, &to), (nothing(), nothing()), "once is enough");
    // A state that has moved on replaces the one before, which is not worth keeping.
    Catalogue::open(from.path()).unwrap().set_state(1, EventState::Closed, 9).unwrap();
    assert_eq!(follow(&from, &to).0, ["1.json"]);
    assert!(kept(&to, "cut").is_empty() && kept(&to, "damaged").is_empty());
}

#[test]
fn a_pipe_in_place_of_a_file_is_replaced_by_the_primarys_and_none_is_sent() {
    for name in ["1.plan.json", "1.map.json", "1.archive", "1.json"] {
        let (from, to) = (node("Gala"), node("Gala"));
        let (from, to) = in_time(move || {
            pipe(&events(&to).join(name));
            pipe(&events(&to).join(format!("{name}.new")));
            assert_eq!(follow(&from, &to), (vec![name.to_owned()], nothing()));
            (from, to)
        });
        assert_eq!(has(&from), has(&to));
        let kept = to.path().join(format!("damaged/events/{name}-0001"));
        assert!(!fs::symlink_metadata(kept).unwrap().is_file(), "{name}");
        let (before, meta) = (fs::read(events(&to).join(name)).unwrap(), has(&from));
        let meta = meta.into_iter().find(|meta| meta.name == name).unwrap();
        let to = in_time(move || {
            pipe(&events(&from).join(name));
            assert_eq!(read(&events(&from), &meta).unwrap(), None, "it was another one a moment ago");
            assert_eq!(follow(&from, &to), (nothing(), vec![name.to_owned()]));
            to
        });
        assert_eq!(fs::read(events(&to).join(name)).unwrap(), before);
    }
}

#[test]
fn a_head_without_a_checksum_takes_the_place_of_one_that_has_it_only_beside_a_copy() {
    let (from, to) = (node("Gala"), tempfile::tempdir().unwrap());
    follow(&from, &to);
    let (sent, here) = (events(&from).join("1.json"), events(&to).join("1.json"));
    let good = fs::read(&here).unwrap();
    let text = String::from_utf8(good.clone()).unwrap();
    let old = text[..text.rfind(",\"crc32c\"").unwrap()].replacen("\"version\":2", "\"version\":1", 1) + "}";
    fs::write(&sent, &old).unwrap();
    // The primary knows that every head had one.
    assert_eq!(follow(&from, &to), (nothing(), vec!["1.json".to_owned()]));
    fs::remove_file(from.path().join("HEADS")).unwrap();
    assert_eq!(follow(&from, &to).0, ["1.json"]);
    assert_eq!(fs::read(&here).unwrap(), old.as_bytes());
    assert_eq!(fs::read(to.path().join("cut/events/1.json-0001")).unwrap(), good);
    // A standby that knows it takes none.
    fs::write(&here, &good).unwrap();
    crate::catalogue::note_if_sealed(to.path()).unwrap();
    follow(&from, &to);
    assert_eq!(fs::read(&here).unwrap(), good);
}

#[test]
fn a_damaged_file_of_the_primary_never_replaces_the_standby_s() {
    for name in ["1.archive", "1.plan.json", "1.map.json", "1.json"] {
        let (from, to) = (node("Gala"), tempfile::tempdir().unwrap());
        follow(&from, &to);
        let good = fs::read(events(&from).join(name)).unwrap();
        flip(&events(&from).join(name));
        assert_eq!(follow(&from, &to), (nothing(), vec![name.to_owned()]), "{name}");
        assert_eq!(fs::read(events(&to).join(name)).unwrap(), good, "{name}");
        // The remedy that is logged: the standby's file, moved to its place.
        let aside = from.path().join(format!("{name}.part"));
        fs::copy(events(&to).join(name), &aside).unwrap();
        fs::rename(aside, events(&from).join(name)).unwrap();
        assert_eq!(follow(&from, &to), (nothing(), nothing()), "{name}");
    }
}

#[test]
fn a_damaged_file_of_the_standby_is_healed_and_kept() {
    for name in ["1.archive", "1.plan.json", "1.map.json", "1.json"] {
        let (from, to) = (node("Gala"), tempfile::tempdir().unwrap());
        follow(&from, &to);
        flip(&events(&to).join(name));
        let bad = fs::read(events(&to).join(name)).unwrap();
        assert_eq!(follow(&from, &to), (vec![name.to_owned()], nothing()));
        assert_eq!(fs::read(events(&to).join(name)).unwrap(), fs::read(events(&from).join(name)).unwrap());
        assert_eq!((kept(&to, "damaged"), kept(&to, "cut").len()), (vec![bad], 0), "{name}");
    }
}

#[test]
fn a_good_archive_that_is_another_one_is_kept_aside() {
    let (from, to) = (node("Gala"), tempfile::tempdir().unwrap());
    follow(&from, &to);
    for _ in 0..2 {
        fs::write(events(&to).join("1.archive"), another_archive()).unwrap();
        assert_eq!(follow(&from, &to), (vec!["1.archive".to_owned()], nothing()));
    }
    assert_eq!(kept(&to, "cut"), [another_archive(), another_archive()]);
    assert_eq!(fs::read(events(&to).join("1.archive")).unwrap(), file_of(CLUSTER, 1));
}

/// A primary that does not look at what it sends, or whose memory is bad.
#[test]
fn what_arrives_is_looked_at_before_it_has_a_name() {
    let to = node("Gala");
    let before = has(&to);
    let mut intake = Intake::new(to.path(), CLUSTER);
    for name in ["1.archive", "1.plan.json", "1.map.json", "1.json"] {
        let mut bytes = fs::read(events(&to).join(name)).unwrap();
        let end = bytes.len() - 9;
        bytes.truncate(end);
        send(&mut intake, name, &bytes);
    }
    send(&mut intake, "1.archive", &file_of(CLUSTER, 2));
    send(&mut intake, "1.archive", &file_of(CLUSTER + 1, 1));
    assert_eq!(has(&to), before);
    // A head that is good does not bring a plan with it that is not what it says.
    send(&mut intake, "1.json", &fs::read(events(&to).join("1.json")).unwrap());
    assert_eq!(has(&to), before);
}

#[test]
fn another_event_of_the_same_number_is_taken_as_a_whole() {
    // Made at another time: the plans are the same, the maps have the events' names in them.
    let (from, to) = (node_of("Ball", 6), node("Gala"));
    assert_eq!(follow(&from, &to).0, ["1.map.json", "1.json"]);
    assert_eq!(kept(&to, "cut").len(), 2, "the other event's map and head");
    assert_eq!(Catalogue::open(to.path()).unwrap().get(1).unwrap().name(), "Ball");
}

#[test]
fn a_file_that_is_not_what_it_was_said_to_be_gets_no_name() {
    let to = tempfile::tempdir().unwrap();
    let mut intake = Intake::new(to.path(), CLUSTER);
    let meta = |name: &str, crc| FileMeta { name: name.into(), len: 4, crc };
    assert!(intake.take(&meta("7.json", 1), 0, b"head").is_err());
    assert!(intake.take(&meta("7.json", 1), 2, b"ad").is_err());
    for name in ["MANIFEST", "07.json", "0.json", "../7.json"] {
        assert!(intake.take(&meta(name, crc32c::crc32c(b"head")), 0, b"head").is_err(), "{name}");
    }
    assert!(has(&to).is_empty());
}
