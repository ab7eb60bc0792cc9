//! The crowd against a server in memory: every scenario runs without a violation, and every lie is found.

mod crowd_server;

use crowd_server::{EVENT, FIRST_USER, Lie, Simulation};
use frontrow_loadgen::crowd::{
    Books, Carried, CrowdPlan, FinalSeat, Hall, Routing, Scenario, SeatState, Verifier, crowds, spread_cores,
};
use frontrow_loadgen::report::model::Verified;
use frontrow_protocol::Topology;
use frontrow_shard::EventRules;
use std::sync::Arc;

const SECOND: u64 = 1_000_000_000;

/// A scenario, made small enough for a test: fewer people, the same behaviour.
fn small(name: &str) -> Scenario {
    let mut scenario = Scenario::named(name).expect("a preset");
    scenario.event.hold_s = 10;
    scenario.event.offer_s = 10;
    scenario.event.pay_s = 10;
    for group in &mut scenario.groups {
        let arrivals = &mut group.arrivals;
        arrivals.rate_per_s = arrivals.rate_per_s.map(|rate| rate / 20.0);
        arrivals.people = arrivals.people.map(|people| people / 20);
        group.behaviour.drops_per_min *= 20.0;
    }
    scenario
}

fn rules_of(scenario: &Scenario) -> EventRules {
    scenario.event.rules()
}

struct Run {
    simulation: Simulation,
    verifier: Verifier,
}

fn prepare(scenario: &Scenario, hall: Hall, connections: u32, seed: u64, routing: Option<Routing>) -> Run {
    let hall = Arc::new(hall.with_rules(rules_of(scenario)));
    let plan = CrowdPlan { seed, connections, threads: 2, first_user: FIRST_USER, routing };
    let (crowds, verifier) = crowds(scenario, &hall, &plan).expect("it fits the hall");
    let simulation = Simulation::new(&hall, rules_of(scenario), crowds, connections);
    Run { simulation, verifier }
}

/// Sections of rows of twenty seats.
fn hall(sections: usize, rows: usize) -> Hall {
    Hall::new(EVENT, &vec![vec![20; rows]; sections])
}

impl Run {
    /// Plays for some seconds, lets everybody finish, and asks for the verdict.
    fn play(mut self, for_s: u64) -> (Verified, Books, Simulation) {
        self.simulation.run(for_s * SECOND);
        self.simulation.wind_down();
        let seats = self.simulation.final_seats();
        self.close(&seats)
    }

    fn close(self, seats: &[FinalSeat]) -> (Verified, Books, Simulation) {
        let Self { mut simulation, verifier } = self;
        simulation.hand_over();
        let books = verifier.books();
        (verifier.finish(seats), books, simulation)
    }
}

/// Plays a preset honestly; nothing may be found, and much must have been checked.
fn is_clean(scenario: &Scenario, hall: Hall, for_s: u64) -> (Verified, Books, Simulation) {
    let (verified, books, simulation) = prepare(scenario, hall, 60, 1, None).play(for_s);
    println!("{}: {} requests, {books:?}", scenario.name, simulation.requests);
    println!("  {:?}\n  {:?}", simulation.codes, verified.checks);
    assert_eq!(verified.violations, Vec::<String>::new(), "{}", scenario.name);
    assert_eq!(verified.violation_count, 0);
    assert_eq!(simulation.under_way(), 0, "everybody went home");
    assert!(simulation.requests > 500 && books.visits > 100 && books.seats_granted > 50);
    for check in
        ["one_owner", "seats_asked", "fence", "fresh_token", "answered_once", "own_hold", "final_state"]
    {
        assert!(verified.checks[check] > 0, "{check} was never checked");
    }
    assert_eq!(verified.checks["winners"], 1);
    (verified, books, simulation)
}

#[test]
fn steady_is_carried_without_a_violation() {
    is_clean(&small("steady"), hall(3, 10), 10);
}

#[test]
fn the_on_sale_sells_the_hall() {
    let (_, books, _) = is_clean(&small("onsale"), hall(2, 8), 60);
    assert!(books.seats_booked >= 310, "of 320 seats a single one or two may be left: {books:?}");
}

#[test]
fn waiting_lists_are_served_in_order() {
    let mut scenario = small("waitlist");
    for group in &mut scenario.groups {
        group.arrivals.rate_per_s = group.arrivals.rate_per_s.map(|rate| rate * 8.0);
    }
    let (verified, _, simulation) = is_clean(&scenario, hall(2, 4), 20);
    assert!(verified.checks["fifo"] > 200, "{:?}", verified.checks);
    assert!(verified.checks["passes"] > 200 && simulation.codes.contains_key("queued"));
}

#[test]
fn a_storm_of_expiries_passes() {
    let (verified, ..) = is_clean(&small("expiry-storm"), hall(4, 20), 25);
    assert!(verified.checks["expiry"] > 900, "{:?}", verified.checks);
}

#[test]
fn everybody_wants_the_same_rows() {
    let (.., simulation) = is_clean(&small("hot-row"), hall(2, 30), 10);
    assert!(simulation.refused > 0);
}

#[test]
fn bots_and_people() {
    is_clean(&small("scalper"), hall(2, 12), 20);
}

#[test]
fn half_of_all_connections_drop_and_come_back() {
    let mut scenario = small("reconnect-storm");
    scenario.storms.iter_mut().for_each(|storm| storm.at_s /= 4.0);
    let (verified, _, simulation) = is_clean(&scenario, hall(3, 10), 12);
    assert!(verified.checks["repeats"] > 0 && simulation.repeated > 0, "{}", simulation.repeated);
}

#[test]
fn everything_at_once() {
    let (_, _, simulation) = is_clean(&small("mixed"), hall(3, 10), 30);
    for code in ["granted", "queued", "extended", "paying", "booked", "released", "cancelled", "left"] {
        assert!(simulation.codes.contains_key(code), "nothing was ever answered {code}");
    }
}

#[test]
fn with_routing_a_row_is_asked_for_where_it_is_owned() {
    let scenario = small("steady");
    let topology = Topology { id: 0, cores: Vec::new(), owners: vec![0, 1, 0, 1] };
    let connection_core = spread_cores(60, 2, 2);
    let routing = Routing { topology: topology.clone(), connection_core: connection_core.clone() };
    let mut run = prepare(&scenario, hall(3, 10), 60, 1, Some(routing));
    run.simulation.routing = Some((topology, connection_core));
    let (verified, _, simulation) = run.play(5);
    assert_eq!(verified.violation_count, 0, "{:?}", verified.violations);
    let (right, wrong) = simulation.routed;
    assert!(right > 1000 && wrong * 100 < right, "{right} right, {wrong} wrong");
}

#[test]
fn the_same_seed_asks_the_same() {
    let scenario = small("mixed");
    let digest = |seed| {
        let (_, _, simulation) = prepare(&scenario, hall(2, 6), 40, seed, None).play(5);
        (simulation.actions, simulation.requests)
    };
    assert_eq!(digest(7), digest(7));
    assert_ne!(digest(7), digest(8));
}

#[test]
fn memory_does_not_grow_with_time() {
    let mut run = prepare(&small("mixed"), hall(2, 6), 40, 3, None);
    run.simulation.run(30 * SECOND);
    let early = run.verifier.remembered();
    run.simulation.run(120 * SECOND);
    let late = run.verifier.remembered();
    assert!(late < early * 2 + 500, "{early} things were remembered after 30 s, {late} after 120 s");
}

// ---- lies ---------------------------------------------------------------------------------------------

/// Plays with a lying server; returns what was found.
fn caught(scenario: &Scenario, hall: Hall, lie: Lie, for_s: u64) -> Vec<String> {
    let mut run = prepare(scenario, hall, 60, 1, None);
    run.simulation.lie = Some(lie);
    let (verified, _, simulation) = run.play(for_s);
    assert!(simulation.lies_told > 0, "the server never found an occasion to lie");
    assert!(verified.violation_count > 0, "{} lies ({lie:?}) and nothing was found", simulation.lies_told);
    verified.violations
}

fn is_found(lie: Lie, scenario: &Scenario, hall: Hall, words: &str) {
    let violations = caught(scenario, hall, lie, 20);
    assert!(violations.iter().any(|violation| violation.contains(words)), "{words:?} not in {violations:#?}");
}

fn crowded() -> Scenario {
    let mut scenario = small("hot-row");
    scenario.groups[0].interest.named = 9.0;
    scenario.groups[0].behaviour.release = 0.2;
    scenario
}

#[test]
fn a_double_sale_is_found() {
    is_found(Lie::DoubleSale, &crowded(), hall(1, 6), "two holders at once");
}

#[test]
fn wrong_seats_are_found() {
    is_found(Lie::WrongSeat, &crowded(), hall(1, 6), "was granted");
    is_found(Lie::FewerSeats, &small("steady"), hall(2, 6), "was granted");
    is_found(Lie::BooksOthers, &crowded(), hall(1, 6), "other seats than were held");
}

#[test]
fn a_token_given_twice_is_found() {
    is_found(Lie::TokenReused, &small("steady"), hall(2, 6), "given out before");
}

#[test]
fn an_answer_given_twice_is_found() {
    is_found(Lie::AnsweredTwice, &small("steady"), hall(2, 6), "answered before");
}

#[test]
fn a_queue_served_from_its_end_is_found() {
    let mut scenario = small("waitlist");
    for group in &mut scenario.groups {
        group.arrivals.rate_per_s = group.arrivals.rate_per_s.map(|rate| rate * 8.0);
    }
    is_found(Lie::LastFirst, &scenario, hall(1, 3), "was served before");
}

#[test]
fn booking_after_the_time_is_found() {
    let mut scenario = small("steady");
    scenario.groups[0].behaviour.hesitate.min_ms = 13_000.0;
    scenario.groups[0].behaviour.hesitate.mean_ms = 13_000.0;
    scenario.groups[0].behaviour.release = 0.0;
    is_found(Lie::BookAfterExpiry, &scenario, hall(2, 6), "done after its time");
}

#[test]
fn holders_deprived_are_found() {
    is_found(Lie::EarlyExpiry, &small("steady"), hall(2, 6), "expired before its time");
    is_found(Lie::RefusesOwner, &small("steady"), hall(2, 6), "a good fence was refused");
}

#[test]
fn a_false_repetition_is_found() {
    is_found(Lie::FalseRepetition, &small("steady"), hall(2, 6), "answered with that of an earlier one");
}

#[test]
fn a_fence_that_ends_too_soon_is_found() {
    is_found(Lie::ShortFence, &small("steady"), hall(2, 6), "not of its time");
}

#[test]
fn a_last_word_that_differs_is_found() {
    let play = |change: fn(&mut Vec<FinalSeat>)| {
        let mut run = prepare(&small("onsale"), hall(2, 8), 60, 1, None);
        run.simulation.run(20 * SECOND);
        run.simulation.wind_down();
        let mut seats = run.simulation.final_seats();
        change(&mut seats);
        run.close(&seats).0.violations.join("\n")
    };
    assert_eq!(play(|_| {}), "");
    let lost = play(|seats| {
        let seat = seats.iter_mut().find(|seat| seat.state == SeatState::Booked).expect("one is booked");
        seat.state = SeatState::Free;
    });
    assert!(lost.contains("is Free at the end, though user"), "{lost}");
    let found = play(|seats| {
        let seat = seats.iter_mut().find(|seat| seat.state != SeatState::Booked).expect("one is not");
        seat.state = SeatState::Booked;
    });
    assert!(found.contains("though nobody booked it"), "{found}");
    let missing = play(|seats| seats.retain(|seat| seat.state != SeatState::Booked));
    assert!(missing.contains("were told to be booked"), "{missing}");
}

#[test]
fn a_crowd_that_is_done_says_so() {
    let mut scenario = small("steady").at_rate(50.0, 2.0);
    scenario.groups[0].behaviour.cancel = 0.0;
    let mut run = prepare(&scenario, hall(3, 10), 20, 1, None);
    run.simulation.run(100 * SECOND);
    assert!(run.simulation.now < 20 * SECOND, "two seconds of arrivals are over soon");
    assert!(run.simulation.crowds().iter().all(Carried::is_done));
}
