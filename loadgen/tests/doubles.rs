//! The carrier against servers that misbehave, and the self-test of what it measures.

mod drive_common;

use drive_common::{Script, plan};
use frontrow_loadgen::drive::{DrivePlan, Tally, Transport, start};
use frontrow_loadgen::selftest::{Behaviour, Double, Fault, Setting, run_with};
use frontrow_shard::RowRef;
use std::collections::BTreeMap;
use std::time::Duration;

fn seats(rows: u16) -> Vec<(RowRef, u8)> {
    (0..rows).map(|row| (RowRef::new(1, 0, row), 0)).collect()
}

/// Claims 40 seats at once on two connections.
fn against(fault: Fault, patience: Duration) -> (Script, Tally, usize) {
    let double = Double::start(Behaviour { fault: Some(fault), ..Behaviour::default() }).expect("a double");
    let script = Script::new(vec![0, 1], 40, Duration::ZERO, seats(40)).keeping();
    let plan = DrivePlan { patience, ..plan(Transport::Tcp, double.addr(), double.addr(), 2) };
    let driving = start(vec![script], plan).expect("a load");
    let (mut scripts, tally) = driving.finish().expect("an end");
    (scripts.remove(0), tally, double.served().len())
}

const LONG: Duration = Duration::from_secs(30);

#[test]
fn a_server_that_closes_leaves_requests_that_are_asked_again() {
    let (script, tally, _) = against(Fault::Closes(10), LONG);
    let answers = script.answers();
    let again = answers["granted"] + answers.get("seat_held").copied().unwrap_or_default();
    assert_eq!(again, 40, "{answers:?}");
    assert_eq!((tally.connections_lost, tally.connected, tally.fault_count), (1, 3, 0));
    assert_eq!(tally.unanswered + tally.unsent, answers["unknown"]);
    assert!(tally.trouble.contains_key("the server closed the connection"), "{:?}", tally.trouble);
}

#[test]
fn a_server_that_falls_silent_is_given_up_when_patience_ends() {
    let double = Double::start(Behaviour { fault: Some(Fault::FallsSilent(11)), ..Behaviour::default() });
    let double = double.expect("a double");
    let script = Script::new(vec![0, 1], 40, Duration::ZERO, seats(40)).keeping();
    let patience = Duration::from_millis(50);
    let plan = DrivePlan { patience, ..plan(Transport::Tcp, double.addr(), double.addr(), 2) };
    let driving = start(vec![script], plan).expect("a load");
    let mut tally = Tally::default();
    while tally.connections_lost < 2 {
        tally.add(&driving.take());
        std::thread::yield_now();
    }
    assert!(!driving.is_finished(), "it asks again, and is not answered");
    driving.stop();
    let (scripts, rest) = driving.finish().expect("an end");
    tally.add(&rest);
    assert_eq!((tally.answered, tally.granted, tally.fault_count), (10, 10, 0));
    let unknown = scripts[0].answers()["unknown"];
    assert_eq!(tally.unanswered + tally.unsent, unknown, "each is told, once for every try");
    assert_eq!(tally.intended, tally.answered + unknown);
    assert!(tally.trouble.keys().any(|why| why.contains("no answer within 50ms")), "{:?}", tally.trouble);
}

#[test]
fn a_second_answer_is_a_fault_and_counts_once() {
    let (script, tally, served) = against(Fault::AnswersTwice(10), LONG);
    assert_eq!(script.answers(), BTreeMap::from([("granted", 40)]));
    assert_eq!((tally.answered, served), (40, 40));
    // The last answer's double may come when the load is over; the tenth of forty does not.
    assert_eq!(tally.fault_count, 1, "{:?}", tally.faults);
    assert!(tally.faults[0].contains("twice"), "{:?}", tally.faults);
}

#[test]
fn bytes_that_are_no_message_are_a_fault_and_end_the_connection() {
    let (script, tally, _) = against(Fault::Babbles(10), LONG);
    assert_eq!((tally.fault_count, tally.connections_lost), (1, 1), "{:?}", tally.faults);
    assert!(script.answers()["granted"] >= 20);
}

#[test]
fn a_double_sells_one_seat_twice_only_if_told_to() {
    let same = vec![(RowRef::new(1, 0, 0), 7); 40];
    for (fault, granted) in [(None, 1), (Some(Fault::SellsTwice), 40)] {
        let double = Double::start(Behaviour { fault, ..Behaviour::default() }).expect("a double");
        let script = Script::new(vec![0, 1], 40, Duration::ZERO, same.clone()).keeping();
        let plan = plan(Transport::Tcp, double.addr(), double.addr(), 2);
        let (_, tally) = start(vec![script], plan).expect("a load").finish().expect("an end");
        assert_eq!((tally.granted, tally.refused), (granted, 40 - granted));
    }
}

/// Half as long as the usual one. The truth is what the double wrote down at its socket, so that a slow machine
/// delays truth and measurement alike.
#[test]
fn corrected_latency_is_right_and_a_closed_loop_is_not() {
    let setting =
        Setting { requests: 360, stall_after: 40, stall: Duration::from_millis(600), ..Setting::default() };
    let test = run_with(setting).expect("a test");
    assert!(test.passed(), "{test}");
    let line = |name| test.lines.iter().find(|line| line.name == name).expect("a line");
    assert!(line("p50").closed_loop_factor() > 5.0 && line("p99").closed_loop_factor() > 5.0, "{test}");
    assert!(line("max").closed_loop >= 600_000_000, "it did see the stall, once: {test}");
    println!("{test}");
}
