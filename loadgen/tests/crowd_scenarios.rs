//! Scenarios: the presets are sound, mistakes are named with their remedy, and people are distributed as stated.

use frontrow_loadgen::crowd::{
    Action, Carried, CrowdPlan, Hall, Outcome, Scenario, ScenarioError, Shape, Storm, Think, crowds,
};
use frontrow_protocol::Reply;
use frontrow_shard::{Answer, Code, Command, Parts};
use std::collections::BTreeMap;
use std::sync::Arc;

const NAMES: [&str; 8] =
    ["onsale", "steady", "waitlist", "expiry-storm", "hot-row", "scalper", "reconnect-storm", "mixed"];

fn hall() -> Arc<Hall> {
    Arc::new(Hall::new(1, &vec![vec![20; 10]; 4]))
}

#[test]
fn every_preset_is_sound_and_survives_being_written() {
    assert_eq!(Scenario::names().collect::<Vec<_>>(), NAMES);
    for name in NAMES {
        let scenario = Scenario::named(name).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(scenario.name, name);
        assert!(Scenario::text(name).unwrap().starts_with('#') && !scenario.about.is_empty());
        scenario.check(&hall()).unwrap();
        let text = scenario.to_toml().unwrap();
        assert_eq!(Scenario::parse(&text).unwrap(), scenario, "{text}");
        assert!(scenario.event.rules().mistake().is_none() && scenario.visits() > 100.0);
    }
}

/// The error of `steady` with one piece of text replaced.
fn mistake(from: &str, to: &str) -> String {
    let text = Scenario::text("steady").unwrap();
    assert!(text.contains(from), "{from:?} is not in it");
    let error = Scenario::parse(&text.replacen(from, to, 1)).expect_err("a mistake");
    error.to_string()
}

#[test]
fn mistakes_name_the_key_and_the_remedy() {
    let cases = [
        (
            "rate_per_s = 5000.0",
            "rate_per_s = 0.0",
            "arrivals.rate_per_s of group \"people\" is 0; write a number from",
        ),
        ("rate_per_s = 5000.0", "rate_per_s = nan", "arrivals.rate_per_s"),
        ("rate_per_s = 5000.0", "", "arrivals.rate_per_s of group \"people\" is missing"),
        ("rate_per_s = 5000.0", "rate_per_s = 5.0\npeople = 3", "has no use for it: remove it"),
        ("\"poisson\"", "\"burst\"", "has no use for it: remove it"),
        ("\"poisson\"", "\"sometimes\"", "unknown variant `sometimes`, expected one of"),
        (
            "rate_per_s = 5000.0",
            "rate_per_second = 5000.0",
            "unknown field `rate_per_second`, expected one of",
        ),
        ("sizes = [1, 2, 3, 4]", "sizes = [1, 2, 3]", "write one weight for each size"),
        (
            "sizes = [1, 2, 3, 4]",
            "sizes = [0, 2, 3, 4]",
            "write sizes from 1 to 8, which is event.max_per_claim",
        ),
        ("[25.0, 50.0, 10.0, 15.0]", "[0.0, 0.0, 0.0, 0.0]", "let at least one of them be above 0"),
        ("[25.0, 50.0, 10.0, 15.0]", "[25.0, -50.0, 10.0, 15.0]", "party.weights of group \"people\" is -50"),
        ("row_best = 8.0\nnamed = 2.0", "row_best = 0.0", "let at least one of them be above 0"),
        (
            "release = 0.85",
            "release = 1.5",
            "behaviour.release of group \"people\" is 1.5; write a number from 0 to 1",
        ),
        ("release = 0.85", "release = 0.85\nabandon = 0.3", "let both together be at most 1"),
        ("mean_ms = 200.0", "mean_ms = 2.0", "write at least behaviour.hesitate.min_ms, which is 20"),
        ("hold_s = 60", "hold_s = 5", "event.hold_s is 5; write a number of seconds (10 s to 1 h)"),
        ("duration_s = 60.0", "duration_s = -1.0", "duration_s is -1"),
        ("connections = 1000", "connections = 0", "connections is 0"),
        ("sections_zipf = 0.3", "sections_zipf = 99.0", "interest.sections_zipf"),
        (
            "rate_per_s = 5000.0",
            "rate_per_s = 5000.0\nstart_s = 60.0",
            "write less than 60, when arrivals end",
        ),
    ];
    for (from, to, words) in cases {
        let error = mistake(from, to);
        assert!(error.contains(words), "{to:?}: {error:?} does not say {words:?}");
    }
    let unknown = Scenario::named("on-sale").unwrap_err().to_string();
    assert!(unknown.contains("onsale, steady"), "{unknown}");
}

#[test]
fn a_scenario_that_does_not_fit_its_hall_is_refused() {
    let scenario = Scenario::named("steady").unwrap();
    let narrow = Hall::new(1, &[vec![3; 5]]);
    let error = scenario.check(&narrow).unwrap_err();
    assert!(
        matches!(&error, ScenarioError::Value { remedy, .. } if remedy.contains("longest row has 3")),
        "{error}"
    );
    let full = Hall::new(1, &[vec![9; 5]]).only_free(|_, _, _| false);
    assert!(scenario.check(&full).unwrap_err().to_string().contains("use an event with seats left"));
    let strict = frontrow_shard::EventRules { max_per_claim: 2, ..Default::default() };
    let error = scenario.check(&Hall::new(1, &[vec![9; 5]]).with_rules(strict)).unwrap_err();
    assert!(error.to_string().contains("the event allows 2 seats"), "{error}");
}

#[test]
fn a_pace_can_be_set() {
    let paced = Scenario::named("onsale").unwrap().at_rate(300.0, 20.0);
    assert_eq!(paced.groups[0].arrivals.shape, Shape::Poisson);
    assert!((paced.visits() - 6000.0).abs() < 1e-6);
    let mixed = Scenario::named("mixed").unwrap().at_rate(180.0, 10.0);
    let rates: Vec<f64> = mixed.groups.iter().filter_map(|group| group.arrivals.rate_per_s).collect();
    assert!((rates[0] - 150.0).abs() < 1e-6 && (rates[1] - 30.0).abs() < 1e-6, "{rates:?}");
    let mut stormy = Scenario::named("steady").unwrap();
    stormy.storms.push(Storm { at_s: 30.0, share: 0.5, offline: Think::exactly(5.0) });
    assert!(stormy.at_rate(1.0, 10.0).storms.is_empty(), "a storm after the end never comes");
}

/// What a crowd asks for when everything is refused.
fn asked(scenario: &Scenario, hall: &Arc<Hall>) -> Vec<Command> {
    let plan = CrowdPlan { seed: 11, connections: 10, threads: 1, first_user: 1, routing: None };
    let (mut crowds, _) = crowds(scenario, hall, &plan).unwrap();
    let crowd = &mut crowds[0];
    let mut actions = Vec::new();
    crowd.due(0, &mut actions);
    for action in actions.drain(..) {
        if let Action::Connect(connection) = action {
            crowd.connected(connection, 0, 1_700_000_000_000);
        }
    }
    let mut commands = Vec::new();
    crowd.due(10_000_000_000, &mut actions);
    for action in actions.drain(..) {
        if let Action::Request { tag, command, .. } = action {
            let answer = Answer { lsn: 1, epoch: 1, ..Answer::plain(Code::SoldOut) };
            let (time_ms, place) = (1_700_000_000_000, command.place());
            let reply = Reply { id: 1, time_ms, place, answer, parts: Parts::default(), durable: 1 };
            crowd.outcome(tag, Outcome::Answer(&reply), 10_000_000_000);
            commands.push(command);
        }
    }
    commands
}

#[test]
fn rows_are_wanted_by_zipf_and_parties_come_as_stated() {
    let mut scenario = Scenario::named("steady").unwrap().at_rate(10_000.0, 10.0);
    let group = &mut scenario.groups[0];
    (group.interest.sections_zipf, group.interest.rows_zipf) = (1.0, 0.5);
    (group.interest.named, group.interest.row_best) = (0.25, 0.75);
    let commands = asked(&scenario, &hall());
    let n = commands.len() as f64;
    assert!((99_000.0..101_000.0).contains(&n), "{n}");
    let (mut sections, mut rows, mut parties) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
    let mut named = 0.0;
    for command in &commands {
        let count = match command {
            Command::ClaimSeats(claim) => {
                named += 1.0;
                claim.seats.count()
            }
            Command::ClaimBest(claim) => claim.count,
            other => panic!("nobody asked for {other:?}"),
        };
        *parties.entry(count).or_insert(0.0) += 1.0;
        *sections.entry(command.place().section).or_insert(0.0) += 1.0;
        *rows.entry(command.place().row).or_insert(0.0) += 1.0;
    }
    let close = |got: f64, share: f64| (got / n - share).abs() < 0.006;
    let zipf = |ranks: u32, s: f64| {
        let all: f64 = (1..=ranks).map(|rank| f64::from(rank).powf(-s)).sum();
        move |rank: u32| f64::from(rank).powf(-s) / all
    };
    let (of_section, of_row) = (zipf(4, 1.0), zipf(10, 0.5));
    assert!(sections.iter().all(|(&at, &got)| close(got, of_section(u32::from(at) + 1))), "{sections:?}");
    assert!(rows.iter().all(|(&at, &got)| close(got, of_row(u32::from(at) + 1))), "{rows:?}");
    for (size, share) in [(1, 0.25), (2, 0.50), (3, 0.10), (4, 0.15)] {
        assert!(close(parties[&size], share), "{parties:?}");
    }
    assert!(close(named, 0.25), "{named}");
}

#[test]
fn only_the_hottest_rows_are_wanted() {
    let scenario = Scenario::named("hot-row").unwrap().at_rate(2000.0, 10.0);
    let places: std::collections::BTreeSet<_> =
        asked(&scenario, &Arc::new(Hall::new(1, &vec![vec![20; 25]; 4])))
            .iter()
            .map(Command::place)
            .collect();
    assert_eq!(places.len(), 30);
}

#[test]
fn a_crowd_of_another_size_comes_in_the_same_way() {
    let onsale = Scenario::named("onsale").expect("a preset");
    let large = onsale.with_people(60_000).expect("it has a size");
    assert_eq!(large.visits() as u64, 60_000);
    let half = large.come_by(5.0) / 60_000.0;
    assert!((half - 0.5).abs() < 0.001, "half within the half-life: {half}");
    assert_eq!((large.come_by(0.0) as u64, large.come_by(1e9).round() as u64), (0, 60_000));
    let steady = Scenario::named("steady").expect("a preset");
    assert!(steady.with_people(60_000).is_none(), "its people come at a rate");
    assert!((steady.come_by(30.0) / steady.visits() - 0.5).abs() < 1e-9);
}
