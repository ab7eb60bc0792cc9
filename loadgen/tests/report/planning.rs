//! The planner's answer for crowds unlike the one that was played: fewer, more, faster, and what it says beside cores.

use crate::made_up;
use frontrow_loadgen::crowd::Scenario;
use frontrow_loadgen::report::{
    Capacity, Latency, Lived, Question, RunReport, Saturation, capacity, page, refused_connections, summary,
};

/// A run of the preset, so that parties and arrivals can be reckoned with: 20,000 people, 10,000 seats.
pub(crate) fn preset() -> RunReport {
    let mut report = made_up::report();
    Scenario::text("onsale").expect("a preset").clone_into(&mut report.scenario);
    report.scaling.clear();
    for core in report.series.iter_mut().flat_map(|sample| &mut sample.cores) {
        core.busy_refusals = 0;
        core.busy = core.busy.map(|busy| busy * 0.5);
    }
    report
}

fn ask(buyers: u64, seats: u64, minutes: f64) -> Question {
    Question { buyers, seats, minutes, ..Question::default() }
}

#[test]
fn few_buyers_buy_what_their_parties_want() {
    let report = preset();
    // 25 x 1, 48 x 2, 10 x 3, 14 x 4 and 3 x 6 seats of 100 parties: 2.25; 50,000 of 54,600 seats held were bought.
    let each = 2.25 * 50_000.0 / 54_600.0;
    let answer = capacity(&report, &ask(10_000, 50_000, 10.0));
    assert!(
        (each - 2.06_f64).abs() < 0.01 && answer.sentence.contains("about 20,600 of the 50,000 seats"),
        "{answer}"
    );
    assert!(answer.more[0].contains("about 20,600 of the 50,000 seats"), "{answer}");
    assert!(answer.to_string().contains("a party wants 2.2 seats"), "{answer}");
    // 30,000 want 61,800 seats; 110,000 people for 50,000 seats were played: nothing is said about when.
    let between = capacity(&report, &ask(30_000, 50_000, 10.0));
    assert!(between.sentence.contains("when those are gone this run does not tell"), "{between}");
    // Evenly: at the earliest when 50,000 / 2.06 have come, as picky as here when 110,000 have.
    let enough = capacity(&report, &ask(200_000, 50_000, 10.0));
    let (early, late) = (50_000.0 / each / 200_000.0 * 600.0, 110_000.0 / 200_000.0 * 600.0);
    let tail = enough.sold_out_s.expect("it sells out") - late;
    assert!(tail > 5.0, "{enough}");
    let words = format!("after about {} s to ", (early + tail).round());
    assert!(enough.more[0].contains(&words), "{words} {enough}");
}

#[test]
fn a_larger_crowd_takes_the_seats_sooner() {
    let report = preset();
    let after = |buyers: u64| {
        let answer = capacity(&report, &ask(buyers, 50_000, 10.0));
        let at = answer.sentence.split("sold out after about ").nth(1).expect("a time");
        at.split(' ').next().expect("seconds").parse::<f64>().expect(&answer.sentence)
    };
    let (here, ten) = (after(200_000), after(2_000_000));
    assert!((here - 42.0).abs() < 0.5, "the run's own crowd takes the run's own time: {here}");
    assert!(ten < here - 2.0 && ten > 5.0, "what is held is paid no sooner: {ten}");
    let times = capacity(&report, &ask(200_000, 50_000, 10.0)).to_string();
    assert!(
        times.contains("the last booking came ") && times.contains("the run went on until 60 s"),
        "{times}"
    );
}

#[test]
fn another_rush_is_asked_for_by_its_half() {
    let report = preset();
    let rush = |half: f64| {
        let question = Question { half_within_s: Some(half), ..ask(200_000, 50_000, 10.0) };
        capacity(&report, &question)
    };
    let own = capacity(&report, &ask(200_000, 50_000, 10.0));
    assert!((rush(5.0).demand_per_s - own.demand_per_s).abs() < 1.0, "{}", rush(5.0));
    assert!(rush(1.0).demand_per_s > own.demand_per_s && rush(60.0).demand_per_s < own.demand_per_s);
    let slow = rush(60.0);
    assert!(slow.sentence.contains("if they rush so that half of them come within 60 s"), "{slow}");
    assert!(
        slow.to_string().contains("To have another reckoned add `--half-within 60s` to the command"),
        "{slow}"
    );
    // Minutes shorter than the rush: half of them within three seconds, and no other answer.
    let short = capacity(&report, &ask(200_000, 50_000, 0.1));
    assert!(short.sentence.contains("half of them come within 3 s") && short.more.is_empty(), "{short}");
}

#[test]
fn what_it_carries_and_how_many_cores_agree() {
    let mut report = preset();
    report.target.cores = 1;
    let text = capacity(&report, &ask(200_000, 50_000, 10.0)).to_string();
    let carries = text.lines().find(|line| line.contains("As it is, with 1 shard core")).expect("told");
    let number = |word: &str| word.replace(',', "").parse::<u64>().expect(word);
    let words: Vec<&str> = carries.split("it carries ").nth(1).expect("a range").split(' ').collect();
    let (low, high) = (number(words[0]), number(words[2]));
    assert!(words[1] == "to" && low < high, "{carries}");
    for buyers in [low, low / 2, 1_000] {
        let cores = capacity(&report, &ask(buyers, 50_000, 10.0)).cores.expect("told");
        assert_eq!((cores.least, cores.cautious), (1, 1), "{buyers} of {carries}");
    }
    let between = capacity(&report, &ask(high - 1, 50_000, 10.0)).cores.expect("told");
    assert_eq!((between.least, between.cautious), (1, 2), "{carries}");
    let beyond = capacity(&report, &ask(high + high / 50, 50_000, 10.0)).cores.expect("told");
    assert_eq!((beyond.least, beyond.cautious), (2, 2), "{carries}");
    // The sum shows each number that was looked at, at both ends.
    let sum = capacity(&report, &ask(3 * high, 50_000, 10.0)).to_string();
    let sum = sum.lines().find(|line| line.contains("- The sum: ")).expect("told");
    for part in [
        "70 % of what shard cores give",
        ": 1 core ",
        ", 2 cores ",
        ", 3 cores ",
        "the first number that holds it",
    ] {
        assert!(sum.contains(part), "{part}: {sum}");
    }
}

#[test]
fn connections_are_part_of_the_answer() {
    let mut report = preset();
    let words = |report: &RunReport, buyers: u64| capacity(report, &ask(buyers, 50_000, 10.0)).connections;
    let unknown = words(&report, 60_000);
    assert!(unknown.contains("60,000 buyers may be as many at once"), "{unknown}");
    assert!(unknown.contains("the default is 20,000") && unknown.contains("LimitNOFILE"), "{unknown}");
    (report.target.connections_limit, report.target.address_limit) = (Some(50_000), Some(10_000));
    let few = words(&report, 60_000);
    assert!(few.contains("this server takes 50,000, 10,000 of them from one address: TOO FEW"), "{few}");
    let behind = words(&report, 40_000);
    assert!(
        behind.contains(": TOO FEW behind a proxy: raise `limits.connections_per_address` from"),
        "{behind}"
    );
    assert!(words(&report, 9_000).contains(": enough, also if all"), "{}", words(&report, 9_000));
    report.target.address_limit = None;
    assert!(words(&report, 40_000).contains(": enough, if"), "{}", words(&report, 40_000));
    assert!(page(&report).contains("Connections: 500,000 buyers"), "the page has it, too");
}

#[test]
fn what_to_do_names_each_limit_of_connections_that_is_too_low() {
    let mut report = preset();
    let act = |report: &RunReport| capacity(report, &ask(60_000, 50_000, 10.0)).act;
    (report.target.connections_limit, report.target.address_limit) = (Some(20_000), Some(10_000));
    let both = ". Raise `limits.connections` from 20,000 and `limits.connections_per_address` from 10,000 (this one is hit first: \
                behind a proxy that ends TLS all connections come from one address) to at least 60,000 in the \
                server's frontrow.toml, and the open files (LimitNOFILE) to at least 60,256. ";
    assert!(act(&report).contains(both), "{}", act(&report));
    let first = capacity(&report, &ask(60_000, 50_000, 10.0)).first;
    let bound = "behind a proxy that ends TLS `limits.connections_per_address` lets 10,000 in, 50,000 of them would be refused";
    assert!(first.contains(bound), "{first}");
    report.target.connections_limit = Some(80_000);
    let one = ". Raise `limits.connections_per_address` from 10,000 (behind a proxy that ends TLS";
    assert!(act(&report).contains(one), "{}", act(&report));
    (report.target.connections_limit, report.target.address_limit) = (Some(20_000), Some(0));
    let all = ". Raise `limits.connections` from 20,000 to at least 60,000 in the server's frontrow.toml, and the open files";
    assert!(act(&report).contains(all), "{}", act(&report));
    report.target.connections_limit = Some(60_000);
    assert!(!act(&report).contains("raise"), "{}", act(&report));
}

#[test]
fn refused_connections_are_told_with_the_limit_that_was_hit() {
    let mut report = preset();
    report.load.connections = 15_000;
    report.totals.connect_failed = 5_000;
    let open = |report: &mut RunReport, each: u64| {
        report
            .series
            .iter_mut()
            .flat_map(|second| &mut second.cores)
            .for_each(|core| core.connections = each);
        refused_connections(report).expect("some were")
    };
    let unknown = open(&mut report, 5_000);
    assert!(unknown.starts_with("5,000 connections were refused: see limits.connections, "), "{unknown}");
    (report.target.connections_limit, report.target.address_limit) = (Some(20_000), Some(10_000));
    let values = "`limits.connections` is 20,000, `limits.connections_per_address` 10,000";
    let address = open(&mut report, 4_998);
    let hit = "refused: `limits.connections_per_address` was hit, with 9,996 connections open. ";
    assert!(address.contains(hit) && address.contains(values) && address.contains("15,000"), "{address}");
    let files = open(&mut report, 2_000);
    assert!(files.contains("with 4,000 connections open at most, which neither limit forbids"), "{files}");
    assert!(files.contains(values) && files.contains("LimitNOFILE"), "{files}");
    (report.target.connections_limit, report.target.address_limit) = (Some(10_000), Some(0));
    let all = open(&mut report, 5_000);
    assert!(all.contains("`limits.connections` was hit") && all.contains("no limit of its own"), "{all}");
    report.totals.connect_failed = 0;
    assert_eq!(refused_connections(&report), None);
}

#[test]
fn what_gives_out_first_is_reckoned_for_what_is_asked() {
    let mut report = preset();
    report.target.connections_limit = Some(4_000_000);
    let busiest = Saturation::of(&report).busiest.expect("seen").1;
    let answer = capacity(&report, &ask(2_000_000, 50_000, 10.0));
    assert!((busiest - 0.5).abs() < 0.01, "{busiest}");
    let full = "full at 1.9 times this run's load by the slow end";
    assert!(answer.first.contains("(10 times this run's busiest second)"), "{}", answer.first);
    assert!(
        answer.first.contains("as here: shard core 0, busy for ") && answer.first.contains(full),
        "{}",
        answer.first
    );
    report.target.connections_limit = Some(20_000);
    let first = capacity(&report, &ask(2_000_000, 50_000, 10.0)).first;
    let words = "as here: connections, if all 2,000,000 buyers have one at the same time: `limits.connections` lets 20,000 in, \
                 1,980,000 of them would be refused";
    assert!(first.contains(words), "{first}");
    let few = capacity(&report, &ask(15_000, 50_000, 10.0)).first;
    assert!(few.contains("lets 20,000 in, enough for all of them"), "{few}");
    assert!(page(&report).contains("First to give out at what is asked"), "the page has it, too");
}

#[test]
fn when_a_core_is_full_is_what_the_planner_plans_with() {
    let mut report = preset();
    let answer = capacity(&report, &ask(400_000, 50_000, 10.0));
    let after = |text: &str, words: &str| {
        let rest = text.split(words).nth(1).and_then(|rest| rest.split_whitespace().next()).expect(words);
        rest.replace(',', "").parse::<f64>().expect("a number")
    };
    let words = "by the slow end of what its cores give (an answer costs least at a peak); ";
    assert!(answer.first.contains(words) && answer.first.contains(" times are planned with"), "{answer}");
    // 200,000 people came: so many times as many are what it carries as it is, at the slow end.
    let (full, planned) = (after(&answer.first, ": full at "), after(&answer.first, words));
    let carries = after(&answer.to_string(), "with 2 shard cores, it carries ");
    assert!((planned * 200_000.0 / carries - 1.0).abs() < 0.04, "{planned}, {carries}: {answer}");
    assert!((0.7 * full / planned - 1.0).abs() < 0.04, "{full}, {planned}");
    // The core that has more to do than its part is full sooner.
    for core in report.series.iter_mut().map(|second| &mut second.cores[0]) {
        (core.busy, core.answers_per_s) = (core.busy.map(|busy| busy * 1.5), core.answers_per_s * 1.5);
    }
    let first = capacity(&report, &ask(400_000, 50_000, 10.0)).first;
    assert!(
        first.contains("full at 1.3 times this run's load; had the cores had the same to do, at "),
        "{first}"
    );
}

#[test]
fn how_sure_an_answer_is_stands_before_its_details() {
    let report = preset();
    let text = capacity(&report, &ask(2_000_000, 50_000, 10.0)).to_string();
    let sure = text.lines().position(|line| line.contains("How sure: ")).expect("told");
    let details = text.lines().position(|line| line.starts_with("  - ")).expect("some");
    assert!(sure < details, "{text}");
    for part in [
        "measured on 2 shard cores in one run",
        "extrapolated to 10 times the requests that were played",
        "over raw TCP without TLS",
        "with holds of 15 s at most",
        "Measure before buying",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    assert!(text.contains("`frontrow-loadgen scenarios onsale > mine.toml`"), "{text}");
    assert!(text.contains("one CPU beside them") && text.contains("leave one CPU for HTTP"), "{text}");
}

#[test]
fn people_are_told_of_as_people() {
    let mut report = preset();
    report.totals.visits_won = 23_800;
    let half = |us: f64| Latency { count: 10, p50_us: us, p90_us: 2.0 * us, ..Latency::default() };
    report.lived = Some(Lived { to_booked: half(9e6), queued: half(4e6) });
    for text in [summary(&report), page(&report)] {
        assert!(
            text.contains("23,800 of 200,000 people booked seats; half of these had booked within 9 s"),
            "{text}"
        );
        assert!(text.contains("a stay in a queue lasted 4 s at the median"), "{text}");
    }
    report.totals.codes.insert("cancelled".to_owned(), 52);
    let cancelled = summary(&report);
    assert!(
        cancelled.contains("people booked seats (52 bookings were cancelled later); half"),
        "{cancelled}"
    );
    let people = summary(&report);
    let people = people.lines().find(|line| line.starts_with("people ")).expect("a line");
    assert_eq!(people.split_whitespace().nth(2), Some("each"), "no rate of a burst: {people}");
}

#[test]
fn refusals_are_told_as_they_were() {
    let mut report = preset();
    let text = summary(&report);
    for part in [
        "30 % of the answers were refusals (223,270 of 744,317): 97 % said “Somebody holds a wanted seat” (seat_held), ",
        "2.4 % said “The server has more to do than it can” (error:busy)",
        "of them came before the first moment without a free seat (at ",
        "A person made 3.7 requests in 1.1 visits in the mean.",
    ] {
        assert!(text.contains(part) && page(&report).contains(part), "{part}: {text}");
    }
    // Another run, other refusals: nothing is said that did not happen.
    report.totals.codes.remove("seat_held");
    report.totals.codes.insert("seat_booked".to_owned(), 217_662);
    report.series.iter_mut().for_each(|second| second.seats_held = 0);
    report.series.iter_mut().for_each(|second| second.seats_booked /= 2);
    let text = summary(&report);
    assert!(!text.contains("seat_held") && text.contains("97 % said “A wanted seat is sold”"), "{text}");
    assert!(text.contains("Some seat was free all the time.") && !text.contains("full"), "{text}");
}

/// The same run, where an answer of its first three seconds took so many microseconds, in which most was granted.
fn dear(us: f64) -> RunReport {
    let mut report = preset();
    for sample in &mut report.series {
        let first = sample.t_s < 3.5;
        sample.granted = if first { sample.answered / 2 } else { 1 };
        for core in &mut sample.cores {
            core.connections = 0;
            core.busy = Some(core.answers_per_s * if first { us } else { 10.0 } / 1e6);
        }
    }
    report
}

#[test]
fn a_hall_that_grants_for_longer_is_planned_with_what_granting_cost() {
    let question = ask(200_000, 50_000, 10.0);
    let [same, more] = [10.0, 30.0].map(|us| capacity(&dear(us), &question));
    let cores = |answer: &Capacity| answer.cores.expect("cores").cautious;
    assert!(cores(&more) >= 2 * cores(&same), "{more}\n{same}");
    let words = more.to_string();
    assert!(words.contains("What grants cost: half of them fell in 2 seconds, in which 5"), "{words}");
    assert!(words.contains("An answer took 30 µs there"), "{words}");
    assert!(same.to_string().contains("the slow end, 10 µs, is the highest"), "{same}");
}

/// In the run people take turns on connections that were opened at its beginning; in the sale each opens one as they come.
#[test]
fn connections_that_are_opened_are_work_too() {
    let question = ask(200_000, 50_000, 10.0);
    let closed = dear(10.0);
    let mut opened = closed.clone();
    let first = &mut opened.series[0];
    let (core, answered) = (&mut first.cores[0], first.answered as f64);
    // 4,000 at 50 us each, beside its answers.
    core.busy = core.busy.map(|busy| busy + 4_000.0 * 50e-6);
    opened.series.iter_mut().for_each(|sample| sample.cores[0].connections = 4_000);
    assert!(4_000.0 > answered * 0.1);
    let [without, with] = [&closed, &opened].map(|report| capacity(report, &question));
    assert!(with.demand_per_s > 1.2 * without.demand_per_s, "{with}\n{without}");
    let words = with.to_string();
    assert!(words.contains("of them come in that second beside, and one is as much to do as "), "{words}");
    assert!(!without.to_string().contains("If each opens a connection"), "{without}");
    // The second that asks most need not be that with most requests: more connections may be opened in an earlier one.
    let mut early = opened.clone();
    early.series[0].intended = early.series.iter().map(|sample| sample.intended).max().expect("samples") - 1;
    let early = capacity(&early, &question);
    assert!(
        early.to_string().contains("requests in the second at 1 s (more in another; with the connections that buyers open it asks most)"),
        "{early}"
    );
    assert!(early.demand_per_s > with.demand_per_s, "{early}\n{with}");
    // Who are no more than those of the run open none beside.
    let few = capacity(&opened, &Question { buyers: u64::from(opened.load.connections), ..question });
    assert!(!few.to_string().contains("If each opens a connection"), "{few}");
}

#[test]
fn other_rushes_stand_side_by_side() {
    let answer = capacity(&preset(), &ask(400_000, 50_000, 10.0)).to_string();
    let line = answer.lines().find(|line| line.contains("Shard cores by how fast")).expect("a line");
    for half in ["5 s", "15 s", "30 s", "60 s", "2 min"] {
        assert!(line.contains(&format!(" if within {half}")), "{line}");
    }
    let own = capacity(&preset(), &Question { half_within_s: Some(15.0), ..ask(400_000, 50_000, 10.0) });
    let cores = own.cores.expect("cores");
    let range = if cores.least == cores.cautious {
        cores.least.to_string()
    } else {
        format!("{} to {}", cores.least, cores.cautious)
    };
    assert!(line.contains(&format!("{range} if within 15 s")), "{line}\n{own}");
}

#[test]
fn what_is_unlike_is_put_into_one_command() {
    let answer = capacity(&preset(), &ask(60_000, 20_000, 5.0)).to_string();
    let command = "`frontrow-loadgen run mine.toml --people 60000 --seats 20000 --transport websocket --connections 60000 \
                   --buyers 60000 --minutes 5`, once the server's limits let so many connections in, and";
    assert!(answer.contains(command), "{answer}");
    // Nothing is raised where people need no more connections than there were.
    let few = capacity(&preset(), &ask(10_000, 20_000, 5.0)).to_string();
    assert!(
        few.contains(
            "--people 10000 --seats 20000 --transport websocket --buyers 10000 --minutes 5`. People"
        ),
        "{few}"
    );
}
