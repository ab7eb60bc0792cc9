//! The sentence to act on, and where the slow end of latency comes from.

use crate::planning::preset;
use frontrow_loadgen::report::{Question, RunReport, capacity, page, summary};

/// A run of the preset that nothing limited, and that was asked about 200,000 buyers.
fn asked() -> RunReport {
    let mut report = preset();
    report.questions =
        vec![Question { buyers: 200_000, seats: 50_000, minutes: 10.0, ..Question::default() }];
    report
}

fn act(report: &RunReport) -> String {
    capacity(report, &Question::first(report)).act
}

#[test]
fn what_to_buy_stands_on_top_with_from_when_on_it_is_too_little() {
    let report = asked();
    let act = act(&report);
    assert!(
        act.starts_with("Plan with 2 shard cores and one CPU beside them, in all a machine with ")
            && act.contains(", for 200,000 buyers and 50,000 seats, if they rush"),
        "{act}"
    );
    assert!(
        act.contains(". The last seat is sold after about 42 s (none is free from about 37 s on; ")
            && act.contains(", if holds last 15 s at most, and later if yours last longer. ")
            && act.ends_with(" This is a first quote: before buying play the run of the last line."),
        "{act}"
    );
    // From when on the next core is needed is what the planner itself says of such crowds.
    let from = act.split("; 3 from about ").nth(1).and_then(|rest| rest.split(' ').next()).expect("told");
    let from: u64 = from.replace(',', "").parse().expect("a number");
    let needed = |buyers: u64| {
        let question = Question { buyers, ..Question::first(&report) };
        capacity(&report, &question).cores.expect("told").cautious
    };
    assert_eq!((needed(from), needed(from + from / 50)), (2, 3), "{act}");
    let text = summary(&report);
    assert_eq!(text.lines().nth(1), Some(format!("TO DO  {act}").as_str()), "{text}");
    let page = page(&report);
    let at = page.find("<b>To do:</b> Plan with 2 shard cores").expect("on the page");
    assert!(at < page.find("<h2>").expect("the rest"), "on top");
    // A crowd that nobody asked about is called an example, and connections that are too few are part of it.
    let mut example = report;
    example.questions.clear();
    example.target.connections_limit = Some(20_000);
    let act = self::act(&example);
    assert!(act.contains(" for 500,000 buyers (an example, nobody asked) and 50,000 seats, "), "{act}");
    assert!(act.contains(". Raise `limits.connections` from 20,000 and "), "{act}");
}

#[test]
fn the_machine_to_buy_is_told_in_all() {
    let mut report = asked();
    let act = act(&report);
    // The run asked as much as is asked about, so its memory is what it takes.
    let words = "in all a machine with at least 3 CPUs of this run's kind (Example CPU 3000) and 319 MiB of memory for the server \
                 (as here), for 200,000 buyers";
    assert!(act.contains(words), "{act}");
    report.questions[0].buyers = 400_000;
    let act = self::act(&report);
    assert!(
        act.contains("at least 5 CPUs")
            && act.contains(
                "and 341 MiB of memory for the server (319 MiB here, 23 MiB of it since people came), for "
            ),
        "{act}"
    );
    // What it took since before the connections were opened is taken for each of them, where those grow more than the load.
    report.server_rss_before = Some(300_000_000);
    (report.questions[0].buyers, report.load.connections, report.totals.connected) = (100_000, 2_000, 2_000);
    let act = self::act(&report);
    let words = "1.9 GiB of memory for the server (319 MiB here, 32 MiB of it since people came, as much again for each \
                 2,000 connections), for 100,000 buyers";
    assert!(act.contains(words), "{act}");
    report.server_rss_before = None;
    report.questions[0].buyers = 400_000;
    // Of another machine, the load's says nothing.
    report.target.same_machine = false;
    report.series.iter_mut().for_each(|second| second.server_rss = None);
    let act = self::act(&report);
    assert!(act.contains("5 CPUs of the server's kind and memory as this run does not tell, for "), "{act}");
}

#[test]
fn what_to_buy_is_said_for_both_ways_to_come() {
    let mut report = asked();
    report.questions[0].minutes = 5.0;
    let both = "if they rush as this run's people did (half of them within 5 s); 3 from about ";
    let even = " buyers on, by the slow end. 1 shard core if they come evenly over the 5 min. The last seat";
    assert!(act(&report).contains(both) && act(&report).contains(even), "{}", act(&report));
    report.questions[0].minutes = 0.3;
    assert!(act(&report).contains(". As many if they come evenly over the 0.30 min. "), "{}", act(&report));
    // Another rush than the run's has the minutes beside it, too; at a set rate nobody rushes.
    report.load.rate_per_s = 500.0;
    assert!(!act(&report).contains("evenly"), "{}", act(&report));
}

#[test]
fn a_run_that_tells_nothing_says_what_is_missing() {
    let mut quick = asked();
    quick.quick = vec!["300 people instead of 20,000".to_owned()];
    let mut late = asked();
    late.series.iter_mut().for_each(|second| second.late = Some(second.sent / 10));
    let mut crowded = asked();
    crowded.series.iter_mut().for_each(|second| second.others_cpus = 4.0);
    let mut unseen = asked();
    unseen.series.iter_mut().for_each(|second| second.cores.clear());
    let mut short = asked();
    short.series.truncate(3);
    let mut few = asked();
    few.totals.answered = 312;
    for (report, missing) in [
        (quick, "a run without --quick"),
        (late, "another machine for the load"),
        (crowded, "on a machine that nothing else uses"),
        (unseen, "how busy the server's cores were"),
        (short, "a longer run"),
        (few, "one with more people"),
    ] {
        let act = act(&report);
        assert!(act.starts_with("Buy nothing on this run: ") && act.contains(missing), "{missing}: {act}");
    }
}

#[test]
fn too_little_is_no_forecast() {
    let mut report = asked();
    report.series.truncate(3);
    let answer = capacity(&report, &Question::first(&report));
    let why =
        "it had 3 whole seconds and 744,317 answers to look at, and a forecast takes 5 and 1,000 at least";
    assert!(!answer.firm && answer.cores.is_none() && answer.sentence.contains(why), "{answer}");
    assert_eq!(answer.grounds, ["There is no forecast from so little."], "{answer}");
    // Neither is one on a crowded machine, nor one of hundreds of cores from two.
    report.series.iter_mut().for_each(|second| second.others_cpus = 4.0);
    assert!(capacity(&report, &Question::first(&report)).more.is_empty());
    let report = asked();
    let crowd = Question { buyers: 40_000_000, ..Question::first(&report) };
    let answer = capacity(&report, &crowd);
    let words = "No number of cores up to 64 holds the peak on one machine";
    assert!(answer.cores.is_none() && answer.to_string().contains(words), "{answer}");
    // What the most cores hold that are forecast is what may be let in.
    let most = answer.act.split("Let in no more than about ").nth(1).and_then(|rest| rest.split(' ').next());
    let most: u64 = most.expect("told").replace(',', "").parse().expect("a number");
    let hold = capacity(&report, &Question { buyers: most, ..crowd });
    assert_eq!(hold.cores.map(|cores| cores.cautious), Some(64), "{answer}");
    assert!(answer.act.contains("64 shard cores and one CPU beside them hold that"), "{answer}");
}

#[test]
fn moments_of_earlier_reports_are_not_hundreds_of_cpus() {
    let mut report = asked();
    report.series.last_mut().expect("some").others_cpus = 500.0;
    assert!(page(&report).contains("other programs took 4 of 4 CPUs at most"));
}

#[test]
fn only_the_question_that_was_asked_is_shown() {
    let mut report = asked();
    report.command =
        "frontrow-loadgen onsale --server http://h:1 --buyers 777 --minutes 3 --seats 50000".to_owned();
    let text = |question: Question| {
        let report = RunReport { questions: vec![question], ..report.clone() };
        capacity(&report, &question).to_string()
    };
    let slow = text(Question { half_within_s: Some(20.0), minutes_unsaid: true, ..Question::first(&report) });
    assert!(slow.contains("200,000 buyers for 50,000 seats, half of them within 20 s: "), "{slow}");
    assert!(slow.contains("`frontrow-loadgen search onsale --server http://h:1 --seats 50000 --buyers 200000 --half-within 20s`"), "{slow}");
    let own = Question { buyers: 2_000_000, seats: 50_000, minutes: 5.0, ..Question::default() };
    let said = text(own);
    let command = "`frontrow-loadgen onsale --server http://h:1 --seats 50000 --buyers 2000000 --minutes 5 --people 2000000`";
    assert!(said.contains(command) && !said.contains("777"), "{said}");
    // Of other seats than the run's only a run with those can be asked.
    let other = text(Question { seats: 1_000, ..own });
    assert!(other.contains("--people 100000000`") && !other.contains("--buyers 777"), "{other}");
    let with_those = "--seats 1000 --transport websocket --connections 2000000 --buyers 2000000 --minutes 5`";
    assert!(other.contains(with_those), "{other}");
    assert_eq!(other.matches("--buyers 2000000").count(), 1, "{other}");
}

#[test]
fn minutes_that_nobody_said_are_called_so() {
    let report = asked();
    let words = "10 min (the default: --minutes was not given)";
    for half_within_s in [None, Some(60.0)] {
        let unsaid = Question { half_within_s, minutes_unsaid: true, ..Question::first(&report) };
        let said = capacity(&report, &unsaid);
        assert_eq!(said.to_string().matches(words).count(), 1, "{said}");
        let said = capacity(&report, &Question { minutes_unsaid: false, ..unsaid });
        assert!(!said.to_string().contains(words), "{said}");
    }
}

#[test]
fn the_slow_end_is_traced_as_far_as_it_was_recorded() {
    let report = asked();
    let tail = |report: &RunReport| {
        let text = summary(report);
        let line = text.lines().find(|line| line.starts_with("The slow end: ")).map(str::to_owned);
        assert_eq!(page(report).contains("<p>The slow end: "), line.is_some());
        line
    };
    let found = |report: &RunReport| {
        let line = tail(report).expect("told");
        let causes = line.split("It comes from this: ").nth(1).unwrap_or_default();
        causes.split(". ").next().unwrap_or_default().to_owned()
    };
    let line = tail(&report).expect("told");
    assert!(line.contains("one answer in a thousand took 14 ms or more, 33 times the median"), "{line}");
    assert!(line.contains("; such answers came in ") && line.contains("most at "), "{line}");
    let mut late = report.clone();
    late.lateness.as_mut().expect("recorded").p999_us = 12_000.0;
    assert!(found(&late).contains("the load generator's own late sends (12 ms for one"), "{}", found(&late));
    let mut log = report.clone();
    log.series.iter_mut().for_each(|second| second.cores[1].commit_p99_us = 20_000.0);
    assert!(found(&log).contains("p99 of its commits tells (20 ms at most then)"), "{}", found(&log));
    let mut queue = report.clone();
    queue.series.iter_mut().for_each(|second| second.in_flight = second.answered);
    assert!(found(&queue).contains("the queue in the server ("), "{}", found(&queue));
    let mut others = report.clone();
    others.series.iter_mut().for_each(|second| second.others_cpus = 4.0);
    assert!(found(&others).contains("other programs, which kept 4 of 4 CPUs busy"), "{}", found(&others));
    // Where nothing that was recorded is slow enough, it says so; and where nothing is slow, nothing.
    let mut nothing = report.clone();
    nothing.uncorrected.as_mut().expect("recorded").p999_us = 13_900.0;
    let line = tail(&nothing).expect("told");
    assert!(line.contains("Where that comes from it cannot tell; it is none of these: the load"), "{line}");
    nothing.series.iter_mut().for_each(|second| second.cores.clear());
    assert!(tail(&nothing).expect("told").contains("The server's cores and its log were not watched"));
    let mut even = report;
    even.latency.get_mut("all").expect("measured").p999_us = 2_000.0;
    assert_eq!(tail(&even), None);
}
