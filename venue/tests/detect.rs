//! Which importer, and that none of them panics.

use frontrow_venue::stadium::{StadiumSpec, generate};
use frontrow_venue::{Format, Plan, SAMPLE_HALL, Seat, SeatPlace, csv, detect, fuzz_decode, import, native};
use proptest::prelude::*;

#[test]
fn content_decides_and_the_hint_helps() {
    for (text, hint, expected) in [
        (SAMPLE_HALL, Some("hall.csv"), Some(Format::Pretix)),
        (" {\"zones\": []}", None, Some(Format::Pretix)),
        ("\u{feff}{\"name\": \"zones\", \"sections\": [", None, Some(Format::Plan)),
        ("{\"nothing\": 1}", None, Some(Format::Pretix)),
        ("{\"broken", Some("x.json"), Some(Format::Pretix)),
        ("seat;row;section\n", Some("plan.json"), Some(Format::Csv)),
        ("Row\tSection\tSeat\tNote", None, Some(Format::Csv)),
        ("a,b,c\n", Some("PLAN.CSV"), Some(Format::Csv)),
        ("a,b,c\n", Some("text/csv; charset=utf-8"), Some(Format::Csv)),
        ("[]", Some("application/json"), Some(Format::Pretix)),
        ("a,b,c\n", None, None),
        ("", None, None),
    ] {
        assert_eq!(detect(text.as_bytes(), hint), expected, "{text:.30} {hint:?}");
    }
}

#[test]
fn import_uses_what_was_detected() {
    let (plan, report) = import(SAMPLE_HALL.as_bytes(), None, "unused").unwrap();
    assert_eq!((report.format, &*plan.name), (Format::Pretix, "Riethsporthalle Erfurt"));
    let stored = serde_json::to_vec(&plan).unwrap();
    let (again, report) = import(&stored, None, "unused").unwrap();
    assert_eq!((report.format, report.aisles), (Format::Plan, 53));
    assert_eq!(again, plan);
    let (plan, report) = import(b"section,row,seat\nA,1,1\n", None, "Named").unwrap();
    assert_eq!((report.format, &*plan.name), (Format::Csv, "Named"));
    let refused = import(b"hello", None, "x").unwrap_err();
    assert!(refused.to_string().starts_with("this is no seating plan: give"), "{refused}");
}

/// Changes a good stored plan and expects exactly this one error.
#[track_caller]
fn check(change: impl FnOnce(&mut Plan), expected: &str) {
    let (mut plan, _) = import(SAMPLE_HALL.as_bytes(), None, "").unwrap();
    change(&mut plan);
    let found = native::import(&serde_json::to_vec(&plan).unwrap()).expect_err("a faulty plan");
    assert_eq!(found.to_string(), expected);
}

fn seat(plan: &mut Plan) -> &mut Seat {
    &mut plan.sections[1].rows[2].seats[3]
}

#[test]
fn faults_of_a_stored_plan() {
    check(
        |plan| seat(plan).category = 9,
        "sections[1].rows[2].seats[3].category: the category `number 9` is not in the plan's list; add it there or \
         correct the seat",
    );
    check(
        |plan| plan.sections[1].rows[2].seats.last_mut().unwrap().aisle_after = true,
        "sections[1].rows[2].seats[20].aisle_after: the last seat of a row has nothing after it; set `aisle_after` to \
         false",
    );
    check(
        |plan| seat(plan).x = 1e30,
        "sections[1].rows[2].seats[3]: the coordinate 1000000015047466200000000000000 is not a number between \
         ±16777216; correct the position",
    );
    check(
        |plan| plan.sections[0].position.y = -3e7,
        "sections[0].position: the coordinate -30000000 is not a number between ±16777216; correct the position",
    );
    check(
        |plan| plan.sections[3].rows.clear(),
        "sections[3].rows: the section has no rows; add rows or remove the section",
    );
    check(
        |plan| plan.sections[1].rows[0].label = "13".into(),
        "sections[1].rows[1].label: the row `13` is already used in this section at sections[1].rows[0].label; rename \
         one or merge the two",
    );
    let found = native::import(b"{\"name\": \"x\",\n\"sections\": 5}").unwrap_err();
    assert!(found.to_string().starts_with("line 2, column 13: invalid type: integer `5`"), "{found}");
}

#[test]
fn places_as_guids() {
    let place = SeatPlace { section: 3, row: 0, seat: 255 };
    assert_eq!(place.guid(), "3-0-255");
    assert_eq!(SeatPlace::from_guid("3-0-255"), Some(place));
    for other in ["", "3-0", "3-0-255-1", "03-0-1", "+3-0-1", "3-0-x", "-3-0-1", "3-0-99999999999"] {
        assert_eq!(SeatPlace::from_guid(other), None, "{other}");
    }
    let plan = generate(&StadiumSpec::new(100)).unwrap();
    assert_eq!(plan.guid(SeatPlace { section: 0, row: 1, seat: 2 }).unwrap(), "0-1-2");
    assert_eq!(plan.guid(SeatPlace { section: 9, row: 1, seat: 2 }), None);
}

/// Inputs near good ones, where the deep code is.
fn mutated() -> impl Strategy<Value = Vec<u8>> {
    let mut table = Vec::new();
    csv::export(&generate(&StadiumSpec::new(60)).unwrap(), &mut table).unwrap();
    let stored = serde_json::to_vec(&generate(&StadiumSpec::new(60)).unwrap()).unwrap();
    let hall = SAMPLE_HALL.as_bytes()[..6000].to_vec();
    let whole = br#"{"name":"n","categories":[{"name":"A"}],"zones":[{"name":"Z","position":{"x":1,"y":2},"rows":
        [{"row_number":"1","seats":[{"seat_guid":"a","seat_number":"1","position":{"x":1.5,"y":-2},"category":"A"},
        {"seat_guid":"b","seat_number":"2","position":{"x":99,"y":3},"category":"A","accessible":true}]}]}]}"#;
    let base = prop_oneof![Just(table), Just(stored), Just(hall), Just(whole.to_vec())];
    (base, prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4)).prop_map(
        |(mut bytes, edits)| {
            for (at, byte) in edits {
                let at = at.index(bytes.len());
                bytes[at] = if byte < 128 { byte } else { b"0,;\"{}[]\n-.e19"[usize::from(byte) % 14] };
            }
            bytes
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_bytes_make_an_importer_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        fuzz_decode(&bytes);
    }

    #[test]
    fn no_change_to_a_good_input_makes_an_importer_panic(bytes in mutated()) {
        fuzz_decode(&bytes);
    }
}
