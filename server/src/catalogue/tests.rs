use std::fs;

use frontrow_shard::{EventSpec, RowRef};
use frontrow_venue::stadium::{self, StadiumSpec};
use serde_json::Value;

use super::*;

pub(super) fn hall() -> Plan {
    frontrow_venue::pretix::import(frontrow_venue::SAMPLE_HALL.as_bytes()).unwrap().0
}

pub(super) fn rules() -> EventRules {
    EventRules { hold_ms: 60_000, max_per_user: 12, ..EventRules::default() }
}

#[test]
fn events_outlive_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let catalogue = Catalogue::open(folder.path()).unwrap();
    let first = catalogue.create("Winter Gala", &hall(), rules(), 5).unwrap();
    let second = catalogue.create("Spring Ball", &hall(), EventRules::default(), 6).unwrap();
    assert_eq!((first.id(), second.id()), (1, 2));
    catalogue.set_state(1, EventState::Open, 9).unwrap();

    let again = Catalogue::open(folder.path()).unwrap();
    let event = again.get(1).unwrap();
    assert_eq!((event.name(), event.created_ms(), event.state()), ("Winter Gala", 5, EventState::Open));
    assert_eq!(EventRules::from(event.rules()), rules());
    assert_eq!(event.seats(), 1222);
    assert_eq!(again.map(&event).unwrap(), catalogue.map(&first).unwrap());
    assert_eq!(event.map_tag(), first.map_tag());
    assert_eq!(again.plan(1).unwrap(), hall());
    assert!(again.get(3).is_none());
    assert!(matches!(again.plan(3), Err(CatalogueError::Unknown(3))));
    assert_eq!(again.create("Third", &hall(), rules(), 7).unwrap().id(), 3);
}

#[test]
fn an_abandoned_event_is_gone_but_its_number_stays_used() {
    let folder = tempfile::tempdir().unwrap();
    let catalogue = Catalogue::open(folder.path()).unwrap();
    catalogue.create("Refused", &hall(), rules(), 5).unwrap();
    catalogue.abandon(1).unwrap();
    assert!(catalogue.search("", None).is_empty());
    let again = Catalogue::open(folder.path()).unwrap();
    assert!(again.get(1).is_none());
    assert_eq!(again.create("Next", &hall(), rules(), 6).unwrap().id(), 2);
}

#[test]
fn search_is_by_words_of_the_names_and_by_state() {
    let folder = tempfile::tempdir().unwrap();
    let catalogue = Catalogue::open(folder.path()).unwrap();
    for name in ["Winter Gala", "Winter Ball", "Ärzte live"] {
        catalogue.create(name, &hall(), rules(), 1).unwrap();
    }
    catalogue.set_state(2, EventState::Open, 9).unwrap();
    let ids = |text, state| catalogue.search(text, state).iter().map(|event| event.id()).collect::<Vec<_>>();
    assert_eq!(ids("", None), [1, 2, 3]);
    assert_eq!(ids("winter", None), [1, 2]);
    assert_eq!(ids("ball WINTER", None), [2]);
    assert_eq!(ids("ärzte", None), [3]);
    assert_eq!(ids("winter", Some(EventState::Open)), [2]);
    assert_eq!(ids("nobody", None), [0_u32; 0]);
}

#[test]
fn the_map_names_what_claims_need() {
    let folder = tempfile::tempdir().unwrap();
    let plan = hall();
    let event = Catalogue::open(folder.path()).unwrap().create("Gala \"X\"", &plan, rules(), 5).unwrap();
    let bytes = event.map_in_memory().unwrap();
    let map: Value = serde_json::from_slice(&bytes).unwrap();
    assert_eq!(map["name"], "Gala \"X\"");
    for (s, section) in plan.sections.iter().enumerate() {
        let alone: Value = serde_json::from_slice(&event.section_of(&bytes, s as u16).unwrap()).unwrap();
        assert_eq!(alone, map["sections"][s]);
        assert_eq!(
            (alone["section"].as_u64(), alone["name"].as_str()),
            (Some(s as u64), Some(&*section.name))
        );
        for (r, row) in section.rows.iter().enumerate() {
            let drawn = &alone["rows"][r];
            assert_eq!((drawn["row"].as_u64(), drawn["label"].as_str()), (Some(r as u64), Some(&*row.label)));
            for (place, seat) in row.seats.iter().enumerate() {
                assert_eq!(drawn["numbers"][place], *seat.number);
                assert_eq!(drawn["x"][place].as_f64().map(|x| x as f32), Some(seat.x));
                assert_eq!(drawn["guids"][place].as_str(), seat.guid.as_deref());
                let has =
                    |list: &str| drawn[list].as_array().is_some_and(|list| list.contains(&place.into()));
                assert_eq!((has("aisles_after"), has("accessible")), (seat.aisle_after, seat.accessible));
                let category = drawn["category"].as_u64().or_else(|| drawn["category"][place].as_u64());
                assert_eq!(category, Some(u64::from(seat.category)));
            }
        }
    }
    assert_eq!(event.section_of(&bytes, plan.sections.len() as u16), None);
}

#[test]
fn every_row_goes_to_the_partition_that_owns_it() {
    let plan = hall();
    let specs = specs(7, &plan, &rules(), 16).unwrap();
    assert_eq!(specs.len(), 16);
    let sizes: Vec<u16> = plan.sections.iter().map(|section| section.rows.len() as u16).collect();
    let mut rows = 0;
    for (partition, EventSpec { event, rules: given, section_rows, section_seats, rows: own }) in
        specs.iter().enumerate()
    {
        assert_eq!((*event, *given), (7, rules()));
        assert_eq!(section_rows, &sizes);
        assert_eq!(section_seats.iter().sum::<u32>(), 1222);
        for row in own {
            assert_eq!(usize::from(RowRef::new(7, row.section, row.row).partition(16)), partition);
            let drawn = &plan.sections[usize::from(row.section)].rows[usize::from(row.row)];
            assert!(row.categories.iter().copied().eq(drawn.seats.iter().map(|seat| seat.category)));
            assert!(row.aisles_after.iter().all(|place| drawn.seats[usize::from(*place)].aisle_after));
            assert_eq!(row.aisles_after.len(), drawn.seats.iter().filter(|seat| seat.aisle_after).count());
            assert_eq!(row.accessible.len(), drawn.seats.iter().filter(|seat| seat.accessible).count());
        }
        rows += own.len();
    }
    assert_eq!(rows, plan.row_count());
}

#[test]
fn plans_that_shards_cannot_sell_are_refused() {
    let mut plan = hall();
    plan.sections[1].rows[2].seats[0].category = 255;
    assert_eq!(specs(1, &plan, &rules(), 4), Err(SpecError::Category { section: 1, row: 2 }));
    plan.sections[0].rows[0].seats.clear();
    assert!(sellable(&hall()).is_ok() && sellable(&plan).is_err());
    assert_eq!(specs(1, &plan, &rules(), 4), Err(SpecError::RowSeats { section: 0, row: 0, seats: 0 }));
}

#[test]
fn damaged_and_foreign_files_are_named() {
    type Break = fn(&Path);
    let table: [(&str, Break, &str); 12] = [
        ("a head cut short", |it| cut(&it.join("1.json"), 40), "cut short"),
        ("an empty head", |it| cut(&it.join("1.json"), 0), "cut short"),
        ("a head of nothing", |it| fs::write(it.join("1.json"), "{}").unwrap(), "not marked as an event"),
        (
            "a head of another",
            |it| fs::copy(it.join("1.json"), it.join("2.json")).map(drop).unwrap(),
            "not that of its name",
        ),
        (
            "another version",
            |it| write_again(&it.join("1.json"), "\"version\":2", "\"version\":3"),
            "of version 3, this server reads 1 and 2",
        ),
        (
            "a head with another name in it",
            |it| replace(&it.join("1.json"), "\"name\":\"Gala\"", "\"name\":\"Gbla\""),
            "1.json is damaged (its checksum does not fit)",
        ),
        (
            "a head whose checksum has another name",
            |it| replace(&it.join("1.json"), "\"crc32c\":\"", "\"crc32d\":\""),
            "1.json is damaged (its checksum",
        ),
        (
            "a head said to be too old for a checksum",
            |it| replace(&it.join("1.json"), "\"version\":2", "\"version\":1"),
            "1.json is damaged (its checksum does not fit)",
        ),
        (
            "a plan cut short",
            |it| cut(&it.join("1.plan.json"), 40),
            "1.plan.json is damaged (it has 40 bytes",
        ),
        (
            "a missing map",
            |it| fs::remove_file(it.join("1.map.json")).unwrap(),
            "1.map.json is damaged (it is missing)",
        ),
        (
            "a changed map",
            |it| replace(&it.join("1.map.json"), "\"row\":0", "\"row\":1"),
            "checksum does not fit",
        ),
        (
            "somebody's file",
            |it| fs::write(it.join("notes.txt"), "x").unwrap(),
            "notes.txt is not a file of this catalogue",
        ),
    ];
    for (name, harm, want) in table {
        let folder = tempfile::tempdir().unwrap();
        Catalogue::open(folder.path()).unwrap().create("Gala", &hall(), rules(), 1).unwrap();
        harm(&folder.path().join("events"));
        let error = Catalogue::open(folder.path()).unwrap_err().to_string();
        assert!(error.contains(want), "{name}: {error}");
    }
}

fn cut(path: &Path, bytes: u64) {
    fs::OpenOptions::new().write(true).open(path).unwrap().set_len(bytes).unwrap();
}

fn replace(path: &Path, from: &str, to: &str) {
    let text = fs::read_to_string(path).unwrap();
    assert!(text.contains(from), "{from} is not in {}", path.display());
    fs::write(path, text.replacen(from, to, 1)).unwrap();
}

/// As a server would have written it, without a checksum.
fn unsealed(path: &Path) -> String {
    let text = fs::read_to_string(path).unwrap();
    format!("{}}}", &text[..text.rfind(",\"crc32c\"").unwrap()])
}

fn write_again(path: &Path, from: &str, to: &str) {
    let text = unsealed(path);
    assert!(text.contains(from), "{from} is not in {}", path.display());
    fs::write(path, sealed::seal(text.replacen(from, to, 1).into_bytes())).unwrap();
}

#[test]
fn a_head_from_before_there_were_checksums_is_read_and_gets_one() {
    let folder = tempfile::tempdir().unwrap();
    let first = Catalogue::open(folder.path()).unwrap().create("Gala", &hall(), rules(), 1).unwrap();
    let path = folder.path().join("events/1.json");
    let (old, note) = (without_checksum(&path), folder.path().join("HEADS"));
    fs::write(&path, &old).unwrap();
    fs::remove_file(&note).unwrap();
    Catalogue::check(folder.path(), [1].into_iter()).unwrap();
    assert!(fs::read_to_string(&path).unwrap() == old && !note.exists(), "a look changes nothing");
    let catalogue = Catalogue::open(folder.path()).unwrap();
    assert_eq!(catalogue.get(1).unwrap().head, first.head);
    assert_eq!(sealed::look(&fs::read(&path).unwrap()), sealed::Seal::Whole);
    // Once: from now on there is none of them.
    fs::write(&path, &old).unwrap();
    let error = Catalogue::open(folder.path()).unwrap_err().to_string();
    assert!(error.contains("1.json is damaged (it is of version 1, without a checksum"), "{error}");
}

#[test]
fn what_another_node_writes_is_known_to_have_checksums_once_all_of_it_has() {
    let folder = tempfile::tempdir().unwrap();
    let (events, note) = (folder.path().join("events"), folder.path().join("HEADS"));
    note_if_sealed(folder.path()).unwrap();
    assert!(!note.exists(), "nothing is here yet: its primary may be an older server");
    let catalogue = Catalogue::open(folder.path()).unwrap();
    for name in ["a", "b"] {
        catalogue.create(name, &hall(), rules(), 1).unwrap();
    }
    fs::remove_file(&note).unwrap();
    let (path, good) = (events.join("1.json"), fs::read(events.join("1.json")).unwrap());
    fs::write(&path, without_checksum(&path)).unwrap();
    note_if_sealed(folder.path()).unwrap();
    assert!(!note.exists());
    fs::write(&path, good).unwrap();
    note_if_sealed(folder.path()).unwrap();
    assert!(note.exists());
}

fn without_checksum(path: &Path) -> String {
    unsealed(path).replacen("\"version\":2", "\"version\":1", 1)
}

#[test]
fn a_head_that_the_log_asks_for_and_that_is_missing_is_named_before_anything_is_cleared_away() {
    let folder = tempfile::tempdir().unwrap();
    Catalogue::open(folder.path()).unwrap().create("Gala", &hall(), rules(), 1).unwrap();
    let events = folder.path().join("events");
    fs::remove_file(events.join("1.json")).unwrap();
    let error = Catalogue::of_log(folder.path(), [1, 1].into_iter()).unwrap_err();
    assert!(matches!(error.0[..], [CatalogueError::Lost { event: 1, .. }]), "{error}");
    let error = Catalogue::check(folder.path(), [1].into_iter()).unwrap_err();
    assert!(matches!(error.0[..], [CatalogueError::Lost { event: 1, .. }]), "{error}");
    assert!(events.join("1.plan.json").exists(), "it is needed once the head is back");
}

#[test]
fn what_a_node_is_not_served_from_is_known_without_reading_all_again() {
    type Harm = fn(&Path);
    let table: [(Harm, &str); 6] = [
        (|it| cut(&it.join("events/1.json"), 40), "1.json is damaged"),
        (|it| cut(&it.join("events/1.map.json"), 40), "1.map.json: it has other bytes"),
        (|it| fs::remove_file(it.join("events/1.plan.json")).unwrap(), "1.plan.json is missing"),
        (|it| fs::write(it.join("events/x"), "").unwrap(), "x is not a file of this catalogue"),
        (|it| fs::remove_file(it.join("events/1.json")).unwrap(), "the log has event 1, and"),
        (|it| fs::remove_dir_all(it.join("events")).unwrap(), "the log has event 1, and"),
    ];
    for (harm, want) in table {
        let folder = tempfile::tempdir().unwrap();
        Catalogue::open(folder.path()).unwrap().create("Gala", &hall(), rules(), 1).unwrap();
        let mut shelf = sound::Shelf::new(1);
        let mut look = || damage(&mut shelf, folder.path(), [1].into_iter());
        assert_eq!(look(), [""; 0]);
        harm(folder.path());
        let found = look();
        assert!(found.len() == 1 && found[0].contains(want), "{want}: {found:?}");
        assert!(Catalogue::check(folder.path(), [1].into_iter()).is_err(), "{want}");
    }
}

#[test]
fn the_first_few_faults_are_named_and_the_others_counted() {
    let all = ["a", "b", "c", "d", "e"].map(str::to_owned);
    let said = |count| in_words(&all[..count]);
    assert_eq!((said(0), said(1).unwrap()), (None, "a".to_owned()));
    assert_eq!(said(3).unwrap(), "3 files: a; b; c");
    assert_eq!(said(5).unwrap(), "5 files: a; b; c; and 2 more (`frontrow wal verify` names all)");
}

#[test]
fn all_damage_is_reported_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let catalogue = Catalogue::open(folder.path()).unwrap();
    for name in ["a", "b"] {
        catalogue.create(name, &hall(), rules(), 1).unwrap();
    }
    let events = folder.path().join("events");
    cut(&events.join("1.json"), 10);
    cut(&events.join("2.map.json"), 10);
    fs::write(events.join("x"), "").unwrap();
    assert_eq!(Catalogue::open(folder.path()).unwrap_err().0.len(), 3);
}

#[test]
fn what_a_crash_left_unfinished_is_no_event() {
    let folder = tempfile::tempdir().unwrap();
    let events = folder.path().join("events");
    Catalogue::open(folder.path()).unwrap().create("Gala", &hall(), rules(), 1).unwrap();
    fs::write(events.join("2.plan.json"), "{").unwrap();
    fs::write(events.join("2.json.new"), "{").unwrap();
    let again = Catalogue::open(folder.path()).unwrap();
    assert_eq!(again.search("", None).len(), 1);
    assert!(!events.join("2.plan.json").exists() && !events.join("2.json.new").exists());
}

#[test]
fn a_large_stadium_is_stored_and_its_map_is_shared() {
    let folder = tempfile::tempdir().unwrap();
    let plan = stadium::generate(&StadiumSpec::new(100_000)).unwrap();
    let catalogue = Catalogue::open(folder.path()).unwrap();
    let event = catalogue.create("Final", &plan, rules(), 1).unwrap();
    assert_eq!(event.seats(), 100_000);
    // Two requests share the same bytes.
    let map = || catalogue.map(&event).unwrap().as_ptr();
    assert_eq!(map(), map());
    let seats: usize = specs(1, &plan, &rules(), 64)
        .unwrap()
        .iter()
        .flat_map(|spec| &spec.rows)
        .map(|row| row.categories.len())
        .sum();
    assert_eq!(seats, 100_000);
}

/// In place, and cut: neither reaches what is in memory.
fn harms(map: &Path) -> [Box<dyn Fn() + '_>; 3] {
    [
        Box::new(move || replace(map, "\"row\":0", "\"row\":1")),
        Box::new(move || cut(map, 10)),
        Box::new(move || fs::remove_file(map).unwrap()),
    ]
}

#[test]
fn a_map_on_sale_stays_as_it_was_written_whatever_becomes_of_its_file_and_is_written_anew() {
    let folder = tempfile::tempdir().unwrap();
    let catalogue = Arc::new(Catalogue::open(folder.path()).unwrap());
    let event = catalogue.create("Gala", &hall(), rules(), 1).unwrap();
    let path = folder.path().join("events/1.map.json");
    let good = fs::read(&path).unwrap();
    let keeper = Keeper::new(Arc::clone(&catalogue));
    assert_eq!((keeper.look(), keeper.mended()), (None, 0));
    for (number, harm) in (1..).zip(harms(&path)) {
        harm();
        assert_eq!(catalogue.map(&event).unwrap(), good);
        assert_eq!((keeper.look(), keeper.mended()), (None, number));
        assert_eq!(fs::read(&path).unwrap(), good);
    }
    let cut = fs::read(folder.path().join("damaged/events/1.map.json-0002")).unwrap();
    assert_eq!(cut, good[..10], "what was there is kept");
    assert_eq!(keeper.look(), None);
    let again = Catalogue::open(folder.path()).unwrap();
    assert_eq!(again.get(1).unwrap().map_in_memory().unwrap(), good);
}

#[test]
fn the_map_of_an_archived_event_is_read_when_asked_for_and_only_if_it_is_good() {
    let folder = tempfile::tempdir().unwrap();
    let catalogue = Arc::new(Catalogue::open(folder.path()).unwrap());
    catalogue.create("Gala", &hall(), rules(), 1).unwrap();
    catalogue.set_state(1, EventState::Archived, 2).unwrap();
    let path = folder.path().join("events/1.map.json");
    let good = fs::read(&path).unwrap();
    for catalogue in [Arc::clone(&catalogue), Arc::new(Catalogue::open(folder.path()).unwrap())] {
        let keeper = Keeper::new(Arc::clone(&catalogue));
        let event = catalogue.get(1).unwrap();
        assert_eq!(event.map_in_memory(), None, "it costs no memory");
        for harm in harms(&path) {
            let sent = catalogue.map(&event).unwrap();
            harm();
            assert_eq!(
                catalogue.map(&event).unwrap(),
                good,
                "whoever asks meanwhile shares what is being sent"
            );
            drop(sent);
            assert!(matches!(catalogue.map(&event), Err(CatalogueError::Damaged { .. })));
            let why = keeper.look().unwrap();
            assert!(why.contains("1.map.json") && keeper.mended() == 0, "{why}");
            // By `mv`, as whoever mends it is told to.
            let aside = folder.path().join("1.map.json.part");
            fs::write(&aside, &good).unwrap();
            fs::rename(aside, &path).unwrap();
            assert_eq!((catalogue.map(&event).unwrap(), keeper.look()), (good.clone().into(), None));
        }
    }
}

#[test]
fn a_followed_catalogue_shows_no_map_that_is_damaged_and_shows_it_once_it_is_good() {
    let folder = tempfile::tempdir().unwrap();
    let catalogue = Catalogue::open(folder.path()).unwrap();
    catalogue.create("Gala", &hall(), rules(), 1).unwrap();
    let path = folder.path().join("events/1.map.json");
    let good = fs::read(&path).unwrap();
    for harm in harms(&path) {
        let followed = Catalogue::followed(folder.path());
        harm();
        assert_eq!(followed.refresh().unwrap(), [1], "the event is known all the same");
        let event = followed.get(1).unwrap();
        assert!(followed.map(&event).is_err());
        fs::write(&path, &good).unwrap();
        assert_eq!(followed.map(&event).unwrap(), good);
        assert_eq!(followed.refresh().unwrap(), [1]);
        harm();
        let event = followed.get(1).unwrap();
        assert_eq!(
            (followed.map(&event).unwrap(), followed.refresh().unwrap()),
            (good.clone().into(), vec![])
        );
        fs::write(&path, &good).unwrap();
    }
}

#[test]
fn what_is_in_the_way_of_a_head_is_moved_aside_and_the_head_written_anew() {
    let folder = tempfile::tempdir().unwrap();
    let catalogue = Arc::new(Catalogue::open(folder.path()).unwrap());
    catalogue.create("Gala", &hall(), rules(), 1).unwrap();
    let keeper = Keeper::new(Arc::clone(&catalogue));
    let (head, good) = (catalogue.head_path(1), fs::read(catalogue.head_path(1)).unwrap());
    let mut shelf = sound::Shelf::new(0);
    let table: [(&str, &dyn Fn()); 3] = [
        ("Too many levels of symbolic links", &|| std::os::unix::fs::symlink("1.json", &head).unwrap()),
        ("No such file", &|| std::os::unix::fs::symlink("nowhere", &head).unwrap()),
        ("it is no file, but a folder", &|| fs::create_dir(&head).unwrap()),
    ];
    for (number, (why, harm)) in (1..).zip(table) {
        fs::remove_file(&head).unwrap();
        harm();
        let found = shelf.list(catalogue.folder()).unwrap();
        let it = found.iter().find(|it| it.name == "1.json").unwrap();
        assert!(matches!(&it.verdict, sound::Verdict::Bad(said) if said.contains(why)), "{it:?}");
        let faults = damage(&mut shelf, folder.path(), [1].into_iter());
        assert!(faults.len() == 1 && faults[0].contains(why), "{faults:?}");
        assert!(Catalogue::check(folder.path(), [1].into_iter()).is_err());
        assert_eq!((keeper.look(), keeper.mended()), (None, number));
        assert_eq!(fs::read(&head).unwrap(), good);
        let kept = folder.path().join(format!("damaged/events/1.json-{number:04}"));
        assert!(!kept.symlink_metadata().unwrap().is_file(), "what was in the way is kept");
    }
}

#[test]
fn a_followed_catalogue_takes_in_what_another_writes_and_leaves_what_is_unfinished() {
    let folder = tempfile::tempdir().unwrap();
    let followed = Catalogue::followed(folder.path());
    assert_eq!(followed.refresh().unwrap(), [0_u32; 0], "there is no folder yet");
    let catalogue = Catalogue::open(folder.path()).unwrap();
    let first = catalogue.create("Winter Gala", &hall(), rules(), 5).unwrap();
    // The next event's parts come before its head.
    let on_its_way =
        ["2.plan.json", "2.map.json", "2.map.json.new"].map(|name| folder.path().join("events").join(name));
    for path in &on_its_way {
        fs::write(path, "{}").unwrap();
    }
    assert_eq!(followed.refresh().unwrap(), [1]);
    assert!(on_its_way.iter().all(|path| path.exists()));
    assert_eq!(followed.get(1).unwrap().map_in_memory(), first.map_in_memory());
    assert_eq!(followed.refresh().unwrap(), [0_u32; 0], "nothing is new");
    catalogue.set_state(1, EventState::Open, 9).unwrap();
    assert_eq!(followed.refresh().unwrap(), [1]);
    assert_eq!(followed.get(1).unwrap().state(), EventState::Open);
    // One that cannot be read stays as it was known, and does not keep others from being taken in.
    catalogue.create("Spring Ball", &hall(), rules(), 6).unwrap();
    fs::write(folder.path().join("events").join("1.json"), "{").unwrap();
    assert_eq!(followed.refresh().unwrap_err().0.len(), 1);
    assert_eq!(followed.search("", None).len(), 2);
    catalogue.abandon(2).unwrap();
    let _ = followed.refresh();
    assert!(followed.get(2).is_none());
}
