//! pretix's format: every fault with its place and its remedy.

use frontrow_venue::{ImportErrors, pretix};
use serde_json::{Value, json};

/// Two zones of two rows of three seats, with nothing wrong.
fn good() -> Value {
    let seat = |z: usize, r: usize, s: usize| {
        json!({"seat_guid": format!("{z}.{r}.{s}"), "seat_number": format!("{}", s + 1), "category": "A",
               "position": {"x": s * 25, "y": 0}})
    };
    let row = |z, r| {
        json!({"row_number": format!("{}", r + 1), "position": {"x": 0, "y": r * 40},
               "seats": [seat(z, r, 0), seat(z, r, 1), seat(z, r, 2)]})
    };
    let zone = |z| json!({"name": format!("Zone {z}"), "position": {"x": z * 500, "y": 0}, "rows": [row(z, 0), row(z, 1)]});
    json!({"name": "Test", "categories": [{"name": "A"}, {"name": "B"}], "zones": [zone(0), zone(1)]})
}

fn errors(plan: &Value) -> ImportErrors {
    pretix::import(plan.to_string().as_bytes()).expect_err("a faulty plan")
}

/// Sets (null: removes) the value at a JSON pointer and expects exactly this one error.
#[track_caller]
fn check(pointer: &str, value: Value, place: &str, message: &str) {
    let mut plan = good();
    *plan.pointer_mut(pointer).expect("a place in the good plan") = value;
    let found = errors(&plan);
    assert_eq!(found.count(), 1, "{found}");
    assert_eq!(found.errors[0].place, place, "{found}");
    assert_eq!(found.errors[0].kind.to_string(), message);
}

const SEAT: &str = "/zones/1/rows/1/seats/2";
const SEAT_PATH: &str = "zones[1].rows[1].seats[2]";

#[track_caller]
fn check_seat(key: &str, value: Value, message: &str) {
    check(&format!("{SEAT}/{key}"), value, &format!("{SEAT_PATH}.{}", key.replace('/', ".")), message);
}

#[test]
fn the_good_plan_is_good() {
    assert!(pretix::import(good().to_string().as_bytes()).is_ok());
}

#[test]
fn duplicates() {
    check_seat(
        "seat_guid",
        json!("0.0.1"),
        "the guid `0.0.1` is already used at zones[0].rows[0].seats[1]; give each seat its own",
    );
    check_seat(
        "seat_number",
        json!("1"),
        "the seat number `1` is already used in this row at zones[1].rows[1].seats[0]; number the seats of a row \
         apart",
    );
    check(
        "/zones/0/rows/1/row_number",
        json!("1"),
        "zones[0].rows[1].row_number",
        "the row `1` is already used in this section at zones[0].rows[0].row_number; rename one or merge the two",
    );
    check(
        "/zones/1/name",
        json!("Zone 0"),
        "zones[1].name",
        "the section `Zone 0` is already used at zones[0].name; rename one or merge the two",
    );
    check(
        "/categories/1/name",
        json!("A"),
        "categories[1].name",
        "the category `A` is already used at categories[0].name; remove one of the two",
    );
    check_seat(
        "position",
        json!({"x": 25, "y": 0}),
        "stands on the same spot (525, 40) as zones[1].rows[1].seats[1]; move or remove one of the two",
    );
}

#[test]
fn the_same_spot_in_another_row() {
    check(
        "/zones/1/rows/1/position",
        json!({"x": 50, "y": 0}),
        "zones[1].rows[1].seats[0].position",
        "stands on the same spot (550, 0) as zones[1].rows[0].seats[2]; move or remove one of the two",
    );
}

#[test]
fn emptiness() {
    check(
        "/zones/0/rows/0/seats",
        json!([]),
        "zones[0].rows[0].seats",
        "the row has no seats; add seats or remove the row",
    );
    check("/zones", json!([]), "zones", "the plan has no seats; export a plan that has some");
    check("/zones", Value::Null, "zones", "the plan has no seats; export a plan that has some");
}

#[test]
fn missing_values() {
    let missing = "is missing or empty; give it a value";
    for key in ["seat_guid", "seat_number", "category", "position", "position/x", "position/y"] {
        check_seat(key, Value::Null, missing);
    }
    check_seat("seat_guid", json!(""), missing);
    check_seat("seat_number", json!(" "), missing);
    check("/name", Value::Null, "name", missing);
    check("/zones/0/position", Value::Null, "zones[0].position", missing);
    check("/zones/0/position/y", Value::Null, "zones[0].position.y", missing);
    check("/zones/0/rows/0/row_number", json!(""), "zones[0].rows[0].row_number", missing);
    check("/categories/1/name", Value::Null, "categories[1].name", missing);
}

#[test]
fn wrong_types() {
    let wrong = |expected, found| format!("expected {expected}, found {found}; correct the value");
    let text = wrong("a text in quotes", "a number");
    for key in ["seat_guid", "seat_number"] {
        check_seat(key, json!(7), &text);
    }
    check_seat("position", json!([1, 2]), &wrong("an object", "an array"));
    check_seat("position/x", json!("12"), &wrong("a number", "a text"));
    check_seat("position/y", json!(true), &wrong("a number", "true or false"));
    check(SEAT, json!("seat"), SEAT_PATH, &wrong("an object", "a text"));
    check(SEAT, Value::Null, SEAT_PATH, &wrong("an object", "null"));
    check("/name", json!(1), "name", &text);
    check("/zones", json!({}), "zones", &wrong("an array", "an object"));
    check("/zones/0", json!(1), "zones[0]", &wrong("an object", "a number"));
    check("/zones/0/name", json!(1), "zones[0].name", &text);
    check("/zones/0/position", json!(1), "zones[0].position", &wrong("an object", "a number"));
    check("/zones/0/position/x", json!("1"), "zones[0].position.x", &wrong("a number", "a text"));
    check("/zones/0/rows", json!("x"), "zones[0].rows", &wrong("an array", "a text"));
    check("/zones/0/rows/0", json!([]), "zones[0].rows[0]", &wrong("an object", "an array"));
    check("/zones/0/rows/0/row_number", json!(1), "zones[0].rows[0].row_number", &text);
    check("/zones/0/rows/0/seats", json!(3), "zones[0].rows[0].seats", &wrong("an array", "a number"));
    check("/categories", json!("A"), "categories", &wrong("an array", "a text"));
    check("/categories/0", json!("A"), "categories[0]", &wrong("an object", "a text"));
    check("/categories/0/name", json!(1), "categories[0].name", &text);
}

#[test]
fn a_seat_category_or_accessible_key_of_a_wrong_type() {
    let mut plan = good();
    plan["zones"][0]["rows"][0]["seats"][0]["wheelchair"] = json!("yes");
    let found = errors(&plan);
    assert_eq!(
        found.to_string(),
        "zones[0].rows[0].seats[0].wheelchair: expected true or false, found a text; correct the value"
    );
    check_seat("category", json!(1), "expected a text in quotes, found a number; correct the value");
}

#[test]
fn unknown_category() {
    check_seat(
        "category",
        json!("C"),
        "the category `C` is not in the plan's list; add it there or correct the seat",
    );
}

#[test]
fn positions_out_of_bounds() {
    check_seat(
        "position/x",
        json!(1e300),
        &format!("the coordinate {} is not a number between ±16777216; correct the position", 1e300),
    );
    check(
        "/zones/1/rows/1/position",
        json!({"x": 16_776_680, "y": 0}),
        "zones[1].rows[1].seats[2].position",
        "the coordinate 16777230 is not a number between ±16777216; correct the position",
    );
}

#[test]
fn too_many() {
    let mut plan = good();
    let seats: Vec<Value> = (0..300)
        .map(|i| json!({"seat_guid": format!("g{i}"), "seat_number": format!("{i}"), "category": "A", "position": {"x": i, "y": 0}}))
        .collect();
    plan["zones"][0]["rows"][0]["seats"] = json!(seats);
    plan["zones"][0]["rows"][1]["position"]["y"] = json!(900);
    assert_eq!(
        errors(&plan).to_string(),
        "zones[0].rows[0].seats: the row has more than 256 seats; split it into two rows"
    );
    plan["zones"][0]["rows"][0]["seats"] = json!(seats[..256]);
    assert!(pretix::import(plan.to_string().as_bytes()).is_ok());

    let mut plan = good();
    plan["categories"] =
        (0..257).map(|i| json!({"name": if i == 0 { "A".to_owned() } else { format!("c{i}") }})).collect();
    assert_eq!(errors(&plan).to_string(), "categories: the plan has more than 256 categories; merge some");

    let mut plan = good();
    plan["name"] = json!("x".repeat(201));
    assert_eq!(errors(&plan).to_string(), "name: has 201 bytes, at most 200 are allowed; shorten it");
}

#[test]
fn all_errors_come_at_once() {
    let mut plan = good();
    plan["name"] = json!(5);
    plan["zones"][0]["rows"][0]["seats"][1]["seat_guid"] = json!(false);
    plan["zones"][0]["rows"][1]["seats"][0]["category"] = json!("C");
    plan["zones"][1]["rows"][0]["seats"] = json!([]);
    plan["zones"][1]["rows"][1]["seats"][2]["seat_guid"] = json!("0.1.0");
    let places: Vec<String> = errors(&plan).errors.into_iter().map(|error| error.place).collect();
    assert_eq!(
        places,
        [
            "name",
            "zones[0].rows[0].seats[1].seat_guid",
            "zones[0].rows[1].seats[0].category",
            "zones[1].rows[1].seats[2].seat_guid",
            "zones[1].rows[0].seats",
        ]
    );
}

#[test]
fn errors_are_bounded_and_the_rest_is_counted() {
    let mut plan = good();
    plan["zones"][0]["rows"][0]["seats"] = (0..250).map(|i| json!(i)).collect();
    let found = errors(&plan);
    assert_eq!((found.errors.len(), found.more, found.count()), (100, 150, 250));
    assert!(found.to_string().ends_with("\nand 150 more"));
    let json = serde_json::to_value(&found).unwrap();
    assert_eq!(json["more"], 150);
    assert_eq!(
        json["errors"][0],
        json!({"place": "zones[0].rows[0].seats[0]", "code": "wrong_type",
               "message": "expected an object, found a number; correct the value"})
    );
}

/// Malformed text: one error, with line and column.
#[track_caller]
fn check_text(text: &str, place: &str, message: &str) {
    let found = pretix::import(text.as_bytes()).expect_err("no JSON");
    assert_eq!(found.count(), 1, "{found}");
    assert_eq!(found.errors[0].place, place, "{found}");
    let full = format!("{message}; export the plan again or repair the file there");
    assert_eq!(found.errors[0].kind.to_string(), full);
}

#[test]
fn malformed_json() {
    check_text("", "line 1, column 0", "EOF while parsing a value");
    check_text("{\"name\": \"x\",\n \"zones\": [}", "line 2, column 12", "expected value");
    check_text("{\"zones\": [", "line 1, column 11", "EOF while parsing a list");
    check_text("{} {}", "line 1, column 4", "trailing characters");
    check_text("{\"size\": {\"width\": 1e999}}", "line 1, column 24", "number out of range");
    check_text(&"[".repeat(100_000), "line 1, column 100000", "EOF while parsing a list");
}

#[test]
fn a_key_given_twice() {
    let text = good().to_string().replacen("\"name\":\"Test\"", "\"name\":\"Test\",\"name\":\"Again\"", 1);
    let found = pretix::import(text.as_bytes()).unwrap_err();
    assert_eq!(found.to_string(), "name: is given twice in one object; keep one of the two");
}
