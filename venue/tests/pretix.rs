//! pretix's format: the real hall, adjacency, tolerance.

use std::collections::BTreeMap;

use frontrow_venue::{Format, IgnoredKey, Plan, Point, SAMPLE_HALL, Size, pretix};
use serde_json::{Value, json};

fn import(plan: &Value) -> (Plan, frontrow_venue::Report) {
    pretix::import(plan.to_string().as_bytes()).expect("a good plan")
}

/// A plan of one row with seats at these spots, numbered in the order given.
fn one_row(spots: &[(f64, f64)]) -> Value {
    let seats: Vec<Value> = spots
        .iter()
        .enumerate()
        .map(|(i, (x, y))| {
            json!({"seat_guid": format!("g{i}"), "seat_number": format!("{}", i + 1), "category": "A",
                   "position": {"x": x, "y": y}})
        })
        .collect();
    json!({"name": "Test", "categories": [{"name": "A"}],
           "zones": [{"name": "Z", "position": {"x": 0, "y": 0}, "rows": [{"row_number": "1", "seats": seats}]}]})
}

/// The row's seat numbers in order of place, `|` where an aisle is.
fn shown(plan: &Plan) -> String {
    let seats = &plan.sections[0].rows[0].seats;
    seats.iter().flat_map(|seat| [&*seat.number, if seat.aisle_after { "|" } else { " " }]).collect()
}

/// Counts the aisles of each block straight from the file: all its rows stand along x, 25 pixels a seat.
fn aisles_by_hand(file: &Value) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for zone in file["zones"].as_array().unwrap() {
        let count = counts.entry(zone["name"].as_str().unwrap().to_owned()).or_insert(0);
        for row in zone["rows"].as_array().unwrap() {
            let seats = row["seats"].as_array().unwrap();
            let mut xs: Vec<i64> = seats.iter().map(|seat| seat["position"]["x"].as_i64().unwrap()).collect();
            xs.sort_unstable();
            *count += xs.windows(2).filter(|pair| pair[1] - pair[0] != 25).count();
        }
    }
    counts
}

#[test]
fn the_real_hall() {
    let (plan, report) = pretix::import(SAMPLE_HALL.as_bytes()).expect("the sample is good");
    assert_eq!((report.seats, report.rows, report.sections), (1222, 63, 6));
    assert_eq!(plan.name, "Riethsporthalle Erfurt");
    assert_eq!(plan.size, Some(Size { width: 2600.0, height: 1150.0 }));
    assert_eq!(report.accessible, 0);
    assert_eq!(report.warnings, Vec::<String>::new());
    assert_eq!(report.ignored_keys, vec![IgnoredKey { path: "zones[].areas".to_owned(), count: 1 }]);
    assert_eq!(report.categories.iter().map(|category| category.seats).sum::<usize>(), 1222);
    assert_eq!(plan.check(), Ok(()));

    let expected = aisles_by_hand(&serde_json::from_str(SAMPLE_HALL).unwrap());
    let found: BTreeMap<String, usize> = plan
        .sections
        .iter()
        .map(|section| {
            let seats = section.rows.iter().flat_map(|row| &row.seats);
            (section.name.clone(), seats.filter(|seat| seat.aisle_after).count())
        })
        .collect();
    assert_eq!(found, expected);
    assert_eq!(found["Block A"], 8);
    assert_eq!(report.aisles, 53);
    // Block A, row 1: 7 seats, aisle, 12 seats, aisle, 1 seat.
    let row = &plan.sections.iter().find(|section| section.name == "Block A").unwrap().rows[0];
    let breaks: Vec<&str> =
        row.seats.iter().filter(|seat| seat.aisle_after).map(|seat| &*seat.number).collect();
    assert_eq!(breaks, ["7", "19"]);
}

#[test]
fn positions_of_zone_row_and_seat_add_up() {
    let (plan, _) = pretix::import(SAMPLE_HALL.as_bytes()).unwrap();
    let block = plan.sections.iter().find(|section| section.name == "Block B").unwrap();
    assert_eq!(block.position, Point { x: 900.0, y: 600.0 });
    let seat = &block.rows[2].seats[1];
    assert_eq!((seat.x, seat.y), (925.0, 680.0));
}

#[test]
fn positions_count_even_if_they_come_after_the_seats() {
    let text = r#"{"zones": [{"rows": [{"seats": [{"category": "A", "position": {"y": 1, "x": 2.5},
        "seat_number": "1", "seat_guid": "g"}], "row_number": "1", "position": {"x": 10, "y": 20}}],
        "position": {"x": 100, "y": 200}}], "categories": [{"name": "B"}, {"name": "A"}], "name": "Late"}"#;
    let (plan, report) = pretix::import(text.as_bytes()).unwrap();
    let seat = &plan.sections[0].rows[0].seats[0];
    assert_eq!((seat.x, seat.y, seat.category), (112.5, 221.0, 1));
    assert_eq!(plan.sections[0].name, "Zone 1");
    assert_eq!(report.warnings, ["zones[0] has no name; it is called Zone 1", "no seat is in category B"]);
}

#[test]
fn a_row_without_aisles() {
    let (plan, report) = import(&one_row(&[(0.0, 0.0), (25.0, 0.0), (50.0, 0.0), (75.0, 0.0)]));
    assert_eq!(shown(&plan), "1 2 3 4 ");
    assert_eq!(report.aisles, 0);
}

#[test]
fn a_gap_of_one_and_a_half_pitches_is_no_aisle_and_a_little_more_is() {
    let at = |last: f64| one_row(&[(0.0, 0.0), (20.0, 0.0), (40.0, 0.0), (40.0 + last, 0.0)]);
    assert_eq!(shown(&import(&at(30.0)).0), "1 2 3 4 ");
    assert_eq!(shown(&import(&at(30.5)).0), "1 2 3|4 ");
}

#[test]
fn seats_are_sorted_by_place_and_numbers_say_nothing() {
    let xs = [0.0, 75.0, 25.0, 125.0, 150.0, 175.0];
    let (plan, _) = import(&one_row(&xs.map(|x| (x, 0.0))));
    assert_eq!(shown(&plan), "1 3|2|4 5 6 ");
}

#[test]
fn rows_run_in_the_direction_of_the_file() {
    let (plan, _) = import(&one_row(&[(100.0, 0.0), (25.0, 0.0), (75.0, 0.0), (0.0, 0.0)]));
    assert_eq!(shown(&plan), "1 3|2 4 ");
}

#[test]
fn a_row_may_stand_at_any_angle() {
    for degrees in (0..360).step_by(7) {
        let (sin, cos) = f64::from(degrees).to_radians().sin_cos();
        let along = [0.0, 50.0, 25.0, 100.0, 125.0, 150.0];
        let spots: Vec<(f64, f64)> = along.iter().map(|t| (500.0 + t * cos, 500.0 + t * sin)).collect();
        let (plan, _) = import(&one_row(&spots));
        assert_eq!(shown(&plan), "1 3 2|4 5 6 ", "at {degrees} degrees");
    }
}

#[test]
fn a_row_bent_round_a_stage_keeps_its_order() {
    // Three quarters of a circle with an aisle in the middle.
    let spots: Vec<(f64, f64)> = (0..32)
        .map(|i| if i < 16 { i } else { i + 1 })
        .map(|step| f64::from(step) * 8.0_f64.to_radians())
        .map(|angle| (200.0 * angle.cos(), 200.0 * angle.sin()))
        .collect();
    let (plan, report) = import(&one_row(&spots));
    assert_eq!(report.aisles, 1);
    assert!(plan.sections[0].rows[0].seats[15].aisle_after);
    assert!(
        plan.sections[0].rows[0]
            .seats
            .iter()
            .enumerate()
            .all(|(i, seat)| *seat.number == *(i + 1).to_string())
    );
}

#[test]
fn short_rows() {
    assert_eq!(shown(&import(&one_row(&[(3.0, 4.0)])).0), "1 ");
    assert_eq!(shown(&import(&one_row(&[(0.0, 0.0), (50.0, 0.0)])).0), "1 2 ");
    assert_eq!(shown(&import(&one_row(&[(0.0, 0.0), (25.0, 0.0), (75.0, 0.0)])).0), "1 2|3 ");
    // Two seats far apart, in a section whose other rows show the pitch.
    let mut plan = one_row(&[(0.0, 0.0), (50.0, 0.0)]);
    let mut other = one_row(&[(0.0, 40.0), (25.0, 40.0), (50.0, 40.0)])["zones"][0]["rows"][0].clone();
    other["row_number"] = json!("2");
    for seat in other["seats"].as_array_mut().unwrap() {
        seat["seat_guid"] = json!(format!("second {}", seat["seat_number"]));
    }
    plan["zones"][0]["rows"].as_array_mut().unwrap().push(other);
    assert_eq!(shown(&import(&plan).0), "1|2 ");
}

#[test]
fn widely_spaced_rows_are_pointed_out() {
    let mut plan = one_row(&[(0.0, 0.0), (50.0, 0.0), (100.0, 0.0)]);
    for r in 1..3 {
        let y = f64::from(r) * 40.0;
        let mut row = one_row(&[(0.0, y), (25.0, y), (50.0, y)])["zones"][0]["rows"][0].clone();
        row["row_number"] = json!(format!("{}", r + 1));
        for seat in row["seats"].as_array_mut().unwrap() {
            seat["seat_guid"] = json!(format!("{r} {}", seat["seat_number"]));
        }
        plan["zones"][0]["rows"].as_array_mut().unwrap().push(row);
    }
    let (_, report) = import(&plan);
    assert_eq!(report.warnings.len(), 1);
    assert!(report.warnings[0].contains("first: row 1 of Z"), "{:?}", report.warnings);
}

#[test]
fn unknown_keys_and_nulls_are_tolerated_and_counted() {
    let mut plan = one_row(&[(0.0, 0.0), (25.0, 0.0)]);
    plan["uuid"] = json!("…");
    plan["size"] = Value::Null;
    plan["categories"][0]["color"] = Value::Null;
    let zone = &mut plan["zones"][0];
    zone["zone_id"] = json!({"deep": [1, {"deeper": null}]});
    zone["areas"] = json!([]);
    zone["rows"][0]["row_number_position"] = json!("both");
    zone["rows"][0]["position"] = Value::Null;
    for seat in zone["rows"][0]["seats"].as_array_mut().unwrap() {
        seat["uuid"] = json!("u");
        seat["radius"] = json!(10);
        seat["accessible"] = Value::Null;
    }
    let (_, report) = import(&plan);
    let ignored: Vec<String> =
        report.ignored_keys.iter().map(|key| format!("{} ×{}", key.path, key.count)).collect();
    assert_eq!(
        ignored,
        [
            "uuid ×1",
            "zones[].areas ×1",
            "zones[].rows[].row_number_position ×1",
            "zones[].rows[].seats[].radius ×2",
            "zones[].rows[].seats[].uuid ×2",
            "zones[].zone_id ×1",
        ]
    );
    assert!(report.to_string().contains("ignored     zones[].rows[].seats[].radius ×2\n"), "{report}");
}

#[test]
fn very_many_unknown_keys_are_summed_up() {
    let mut plan = one_row(&[(0.0, 0.0)]);
    for i in 0..2000 {
        plan[format!("key{i}")] = json!(i);
    }
    let (_, report) = import(&plan);
    assert!(report.ignored_keys.len() < 300);
    assert_eq!(report.ignored_keys.iter().map(|key| key.count).sum::<usize>(), 2000);
}

#[test]
fn accessible_by_key_or_category() {
    for (category, key, expected) in [
        ("A", json!(null), false),
        ("A", json!({"accessible": true}), true),
        ("A", json!({"wheelchair": true, "accessible": false}), true),
        ("A", json!({"wheelchair": false}), false),
        ("Rollstuhlplatz", json!(null), true),
        ("Kat. 2 (ROLLSTUHL)", json!(null), true),
        ("Wheelchair users", json!(null), true),
        ("Rollstuhl-Begleitperson", json!(null), false),
        ("Wheelchair companion", json!(null), false),
        ("Inaccessible", json!(null), false),
    ] {
        let mut plan = one_row(&[(0.0, 0.0)]);
        plan["categories"][0]["name"] = json!(category);
        let seat = &mut plan["zones"][0]["rows"][0]["seats"][0];
        seat["category"] = json!(category);
        for (name, value) in key.as_object().into_iter().flatten() {
            seat[name] = value.clone();
        }
        let (plan, report) = import(&plan);
        assert_eq!(plan.sections[0].rows[0].seats[0].accessible, expected, "{category} {key}");
        assert_eq!(report.accessible, usize::from(expected));
    }
}

#[test]
fn zones_of_drawing_only_are_left_out() {
    let mut plan = one_row(&[(0.0, 0.0)]);
    let stage = json!({"name": "Z", "position": {"x": 0, "y": 0}, "rows": [], "areas": []});
    plan["zones"].as_array_mut().unwrap().push(json!({"rows": [], "name": "Stage"}));
    plan["zones"].as_array_mut().unwrap().insert(0, stage);
    plan["zones"][0]["name"] = json!("Court");
    let (plan, report) = import(&plan);
    assert_eq!(plan.sections.len(), 1);
    assert_eq!(report.warnings, ["2 zones have no rows and were left out"]);
}

#[test]
fn sections_on_top_of_each_other_are_pointed_out() {
    let mut plan = one_row(&[(0.0, 0.0)]);
    let mut zone = plan["zones"][0].clone();
    zone["name"] = json!("Y");
    zone["rows"][0]["seats"][0]["seat_guid"] = json!("other");
    plan["zones"].as_array_mut().unwrap().push(zone);
    assert!(import(&plan).1.warnings[0].starts_with("1 seats stand on the spot"));
}

#[test]
fn byte_order_mark_and_report_as_json() {
    let text = format!("\u{feff}{SAMPLE_HALL}");
    let (_, report) = pretix::import(text.as_bytes()).unwrap();
    assert_eq!(report.format, Format::Pretix);
    let json = serde_json::to_value(&report).unwrap();
    assert_eq!(json["seats"], 1222);
    assert_eq!(json["format"], "pretix");
}
