//! The generator keeps its promises, and what it makes survives storing and CSV.

use std::collections::HashSet;

use frontrow_venue::stadium::{StadiumError, StadiumSpec, WIDE_ROW, generate};
use frontrow_venue::{Plan, csv, native};
use proptest::prelude::*;

fn stadium(seats: u32, tiers: u32) -> Plan {
    generate(&StadiumSpec { tiers, ..StadiumSpec::new(seats) }).expect("a stadium of a legal size")
}

fn assert_promises(plan: &Plan, seats: u32) {
    assert_eq!(plan.seat_count(), seats as usize);
    assert_eq!(plan.check(), Ok(()), "unique labels, numbers and spots");
    let guids: HashSet<_> = plan.seats().map(|(at, _)| plan.guid(at).unwrap()).collect();
    assert_eq!(guids.len(), seats as usize);
    for row in plan.sections.iter().flat_map(|section| &section.rows) {
        assert!(seats < 20 || (20..=40).contains(&row.seats.len()), "a row of {}", row.seats.len());
        let aisles: Vec<usize> =
            row.seats.iter().enumerate().filter(|(_, seat)| seat.aisle_after).map(|(i, _)| i + 1).collect();
        let wide = row.seats.len() >= WIDE_ROW as usize;
        assert_eq!(aisles, if wide { vec![row.seats.len() / 2] } else { vec![] });
    }
    assert!(plan.seats().any(|(_, seat)| seat.accessible));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_size_is_exact_and_unique(seats in 1_u32..20_000, tiers in 1_u32..9) {
        assert_promises(&stadium(seats, tiers), seats);
    }

    #[test]
    fn csv_round_trip(seats in 1_u32..5_000, tiers in 1_u32..5) {
        let plan = Plan { size: None, ..stadium(seats, tiers) };
        let mut text = Vec::new();
        csv::export(&plan, &mut text).unwrap();
        let (mut again, _) = csv::import(&text, &plan.name).unwrap();
        for (category, original) in again.categories.iter_mut().zip(&plan.categories) {
            category.color.clone_from(&original.color);
        }
        prop_assert_eq!(again, plan);
    }
}

#[test]
fn every_small_size() {
    for seats in 1..1500 {
        assert_promises(&stadium(seats, 3), seats);
    }
}

#[test]
fn positions_alone_show_the_aisles() {
    let plan = stadium(50_000, 3);
    let mut text = Vec::new();
    csv::export(&plan, &mut text).unwrap();
    let text = String::from_utf8(text).unwrap().replacen("aisle_after", "other", 1);
    let (again, report) = csv::import(text.as_bytes(), "Test").unwrap();
    assert_eq!(again.sections, plan.sections);
    assert_eq!(report.warnings, Vec::<String>::new());
}

#[test]
fn a_stadium_of_fifty_thousand() {
    let plan = stadium(50_000, 3);
    assert_promises(&plan, 50_000);
    assert_eq!(plan, stadium(50_000, 3), "the same again");
    assert_eq!(plan.sections.len(), 84);
    assert_eq!((&*plan.sections[0].name, &*plan.sections[83].name), ("101", "328"));
    assert_eq!(plan.categories.len(), 3);
    let size = plan.size.unwrap();
    assert!(plan.seats().all(|(_, s)| s.x >= 0.0 && s.y >= 0.0 && s.x <= size.width && s.y <= size.height));
}

#[test]
fn stored_and_read_again() {
    let plan = stadium(10_000, 2);
    let (again, report) = native::import(&serde_json::to_vec(&plan).unwrap()).unwrap();
    assert_eq!(again, plan);
    assert_eq!(report.seats, 10_000);
}

#[test]
fn impossible_stadiums_are_refused() {
    let make = |seats, tiers| generate(&StadiumSpec { tiers, ..StadiumSpec::new(seats) });
    assert_eq!(make(0, 3), Err(StadiumError::Seats(0)));
    assert_eq!(make(20_000_001, 3), Err(StadiumError::Seats(20_000_001)));
    assert_eq!(make(10, 0), Err(StadiumError::Tiers(0)));
    assert_eq!(make(10, 257), Err(StadiumError::Tiers(257)));
    assert_eq!(make(256 * 600, 256).unwrap().categories.len(), 256);
}
