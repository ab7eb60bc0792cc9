//! Bounds too large to reach from outside, reached with smaller ones.

use crate::errors::{ImportErrorKind as Kind, ImportErrors};
use crate::limits::Limits;
use crate::{SAMPLE_HALL, csv, pretix};

fn only(error: ImportErrors) -> (String, Kind) {
    assert_eq!(error.count(), 1, "{error}");
    let first = error.errors.into_iter().next().unwrap();
    (first.place, first.kind)
}

#[test]
fn too_many_seats() {
    let within = |seats| pretix::import_within(SAMPLE_HALL.as_bytes(), Limits { seats, ..Limits::default() });
    assert!(within(1222).is_ok());
    for seats in [1221, 1000, 100] {
        assert_eq!(only(within(seats).unwrap_err()), ("zones".to_owned(), Kind::TooManySeats));
    }
    let text = "section,row,seat\nA,1,1\nA,1,2\nA,2,1\nA,2,2\nB,1,1\n";
    let within = |seats| csv::import_within(text.as_bytes(), "x", Limits { seats, ..Limits::default() });
    assert!(within(5).is_ok());
    for seats in 1..5 {
        assert_eq!(only(within(seats).unwrap_err()), (String::new(), Kind::TooManySeats));
    }
}

#[test]
fn too_many_rows_and_sections_in_json() {
    let within = |limits| pretix::import_within(SAMPLE_HALL.as_bytes(), limits).unwrap_err();
    let sections = within(Limits { sections: 4, ..Limits::default() });
    assert_eq!(only(sections), ("zones".to_owned(), Kind::TooManySections));
    let rows = within(Limits { rows_per_section: 11, ..Limits::default() });
    assert_eq!(rows.count(), 3);
    assert_eq!(rows.errors[0].place, "zones[3].rows");
    assert_eq!(rows.errors[0].kind, Kind::TooManyRows);
}

#[test]
fn too_many_bytes() {
    let limits = Limits { json_bytes: 1000, csv_bytes: 10, ..Limits::default() };
    let (_, kind) = only(pretix::import_within(SAMPLE_HALL.as_bytes(), limits).unwrap_err());
    assert_eq!(kind, Kind::TooLarge { bytes: SAMPLE_HALL.len(), limit: 1000 });
    let (_, kind) = only(csv::import_within(b"section,row,seat", "x", limits).unwrap_err());
    assert_eq!(kind, Kind::TooLarge { bytes: 16, limit: 10 });
}
