//! The fit, what saturates, and the planner's question.

use crate::made_up::{self, Noise};
use frontrow_loadgen::crowd::Scenario;
use frontrow_loadgen::report::{
    Away, Question, Resource, RunReport, Sample, Saturation, Tone, Totals, Usl, Verdict, capacity, compare,
    page, summary,
};
use frontrow_loadgen::runs;

fn law(gamma: f64, alpha: f64, beta: f64) -> impl Fn(f64) -> f64 {
    move |n| gamma * n / (1.0 + alpha * (n - 1.0) + beta * n * (n - 1.0))
}

#[test]
fn the_fit_finds_the_law_behind_noisy_points() {
    for (gamma, alpha, beta) in [(1000.0, 0.05, 0.0005), (90_000.0, 0.3, 0.002), (5.0, 0.0, 0.01)] {
        let (truth, mut noise) = (law(gamma, alpha, beta), Noise(9));
        let sizes = [1.0, 2.0, 4.0, 8.0, 12.0, 16.0, 24.0, 32.0, 48.0, 64.0];
        let points: Vec<(f64, f64)> =
            sizes.iter().flat_map(|n| [*n; 3]).map(|n| (n, truth(n) * noise.about(0.01))).collect();
        let fit = Usl::fit(&points).expect("a law");
        for (found, truth) in [(fit.gamma, gamma), (fit.alpha, alpha), (fit.beta, beta)] {
            assert!(
                found.margin > 0.0 && (found.value - truth).abs() <= 2.5 * found.margin,
                "{truth}: {fit}"
            );
        }
        assert!((fit.gamma.value / gamma - 1.0).abs() < 0.05 && fit.r_squared > 0.98, "{fit}");
        let peak = ((1.0 - alpha) / beta).sqrt();
        assert!((fit.peak().expect("it falls") / peak - 1.0).abs() < 0.1, "{peak}: {fit}");
    }
}

#[test]
fn points_that_add_up_have_no_peak() {
    let points: Vec<(f64, f64)> = (1..=6).map(|n| (f64::from(n), 100.0 * f64::from(n))).collect();
    let fit = Usl::fit(&points).expect("a law");
    assert!((fit.at(10.0) - 1000.0).abs() < 1.0 && fit.peak().is_none_or(|peak| peak > 1e4), "{fit}");
}

#[test]
fn too_few_points_are_refused_in_words() {
    let two_sizes = [(1.0, 10.0), (2.0, 19.0), (2.0, 19.5), (1.0, 10.1)];
    let bad = [(0.0, 1.0), (f64::NAN, 2.0), (3.0, f64::INFINITY), (1.0, 2.0), (2.0, 3.0)];
    for points in [&[][..], &two_sizes, &bad, &[(1.0, 1.0), (2.0, 2.0), (3.0, 3.0)]] {
        let refused = Usl::fit(points).expect_err("too few");
        assert!(refused.to_string().contains("too few"), "{refused}");
    }
}

#[test]
fn the_saturated_core_is_named_before_what_it_caused() {
    let saturation = Saturation::of(&made_up::report());
    let first = saturation.first().expect("something did");
    assert_eq!(first.resource, Resource::Core(0));
    assert!(saturation.found.iter().any(|one| one.resource == Resource::Bounds), "{saturation:?}");
    assert_eq!(saturation.words(), "first to saturate: core 0");
}

#[test]
fn a_load_that_is_late_was_the_limit() {
    let mut report = made_up::report();
    for sample in &mut report.series[3..20] {
        sample.late = Some(sample.sent / 10);
    }
    let saturation = Saturation::of(&report);
    assert!(saturation.load_was_the_limit(), "{saturation:?}");
    let verdict = Verdict::of(&report, &saturation);
    assert_eq!(verdict.tone, Tone::Doubtful);
    assert!(verdict.line.contains("the load generator was the limit"), "{}", verdict.line);
    assert!(page(&report).contains("the load generator was the limit"));
    // Page, summary and exit code agree.
    assert!(summary(&report).starts_with("DOUBTFUL"));
    assert_eq!(runs::Verdict::of(&report) as u8, 4);
    // And nothing firm is said on it.
    let answer =
        capacity(&report, &Question { buyers: 500_000, seats: 60_000, minutes: 5.0, ..Question::default() });
    assert!(answer.cores.is_none() && !answer.firm, "{answer}");
    for words in
        ["NO FIRM ANSWER, because the load generator was the limit", "Certain is: this server answered "]
    {
        assert!(answer.to_string().contains(words), "{words}: {answer}");
    }
    assert!(!answer.to_string().contains("As it is, with"), "{answer}");
    // Requests that a server makes wait are not the load's doing.
    report.series.iter_mut().for_each(|sample| (sample.late, sample.sent) = (Some(0), sample.intended / 2));
    assert!(!Saturation::of(&report).load_was_the_limit());
    // Threads without a moment's rest are.
    report.series[..10].iter_mut().for_each(|sample| sample.load_cpus = 1.95);
    assert!(Saturation::of(&report).load_was_the_limit());
}

#[test]
fn a_core_that_polls_is_not_called_saturated() {
    let mut report = made_up::report();
    report.series.iter_mut().flat_map(|sample| &mut sample.cores).for_each(|core| core.busy = Some(0.99));
    let saturation = Saturation::of(&report);
    assert_eq!(saturation.first().map(|first| first.resource), Some(Resource::Bounds), "{saturation:?}");
    assert!(saturation.unseen.is_some_and(|why| why.contains("polls")));
}

#[test]
fn a_log_that_falls_behind_and_crowded_machines_are_seen() {
    let mut report = made_up::report();
    for sample in &mut report.series {
        for core in &mut sample.cores {
            core.busy = Some(0.3);
            core.busy_refusals = 0;
        }
    }
    assert_eq!(Saturation::of(&report).words(), "nothing saturated");
    let mut behind = report.clone();
    for (backlog, sample) in (1..).zip(&mut behind.series[20..30]) {
        sample.cores[1].backlog_bytes = backlog * 2_000_000;
    }
    assert_eq!(Saturation::of(&behind).first().map(|s| s.resource), Some(Resource::Log(1)));
    let mut slow = report.clone();
    slow.series[30..40].iter_mut().for_each(|sample| sample.cores[0].commit_p99_us = 20_000.0);
    assert_eq!(Saturation::of(&slow).first().map(|s| s.resource), Some(Resource::Log(0)));
    report.series[10..20].iter_mut().for_each(|sample| sample.others_cpus = 3.9);
    assert_eq!(Saturation::of(&report).first().map(|s| s.resource), Some(Resource::Others));
}

#[test]
fn the_planners_question_is_answered_from_the_run() {
    let report = made_up::report();
    let question = Question { buyers: 150_000, seats: 60_000, minutes: 5.0, ..Question::default() };
    let answer = capacity(&report, &question);
    let cores = answer.cores.expect("it tells");
    // By hand: the least number of cores whose planned share carries the peak, by the same fit.
    let fit = answer.by_cores.law().expect("measured at four sizes");
    let holds = |k: u32| 0.7 * answer.per_core_per_s * 2.0 * fit.at(f64::from(k)) / fit.at(2.0);
    assert!(holds(cores.least) >= answer.demand_per_s, "{answer}");
    assert!(cores.least == 1 || holds(cores.least - 1) < answer.demand_per_s, "{answer}");
    assert!(!cores.extrapolated, "{answer}");
    // 110,000 people for 50,000 seats are 132,000 for 60,000: at 500 a second, and some seconds to pay.
    let sold_out = answer.sold_out_s.expect("they buy all");
    assert!((264.0..300.0).contains(&sold_out), "{answer}");
    assert!(answer.to_string().contains("- As it is, with 2 shard cores, it carries"), "{answer}");
    let bigger = capacity(&report, &Question { buyers: 1_500_000, ..question });
    assert!((bigger.demand_per_s / answer.demand_per_s - 10.0).abs() < 1e-6);
    let none = capacity(&report, &Question { buyers: 20_000, ..question });
    assert!(none.sold_out_s.is_none() && none.sentence.contains("is not known from this run"), "{none}");
}

#[test]
fn a_rush_and_an_even_crowd_are_answered_side_by_side() {
    let mut report = made_up::report();
    report.scenario = Scenario::text("onsale").expect("a preset").to_owned();
    report.scaling.clear();
    let question = Question { buyers: 400_000, seats: 100_000, minutes: 5.0, ..Question::default() };
    let answer = capacity(&report, &question);
    // Twice the people ask twice as much in the busiest second; spread over 300 s, each their share of requests.
    let busiest = report.series.iter().map(|second| second.intended).max().expect("some") as f64;
    assert!((answer.demand_per_s - 2.0 * busiest).abs() < 1.0, "{answer}");
    let per_buyer = report.totals.answered as f64 / 200_000.0;
    assert!((answer.even_per_s - per_buyer * 400_000.0 / 300.0).abs() < 1.0, "{answer}");
    let (rush, even) = (answer.cores.expect("told"), answer.even_cores.expect("told"));
    assert!(rush.least > even.least, "{answer}");
    assert!(
        answer.sentence.contains("if they rush as this run's people did (half of them within 5 s)"),
        "{answer}"
    );
    assert!(answer.sentence.contains("sold out after about 42 s"), "as many for each seat as here: {answer}");
    assert!(answer.more[0].starts_with("Spread evenly over the 5 min instead: "), "{answer}");
    let text = answer.to_string();
    assert_eq!(text.matches("no other margin").count(), 1, "{text}");
    assert!(text.contains("times the mean of ") && text.contains("over the run's 60 s"), "{text}");
    // At a set rate nobody rushes.
    report.load.rate_per_s = 500.0;
    let steady = capacity(&report, &question);
    assert!(
        steady.more.is_empty() && steady.to_string().contains("`frontrow-loadgen onsale` plays"),
        "{steady}"
    );
}

#[test]
fn a_second_is_a_second_however_often_a_run_is_looked_at() {
    let mut report = made_up::report();
    let sample = report.series[5].clone();
    let tenth = |place: u32| Sample {
        t_s: f64::from(place + 1) / 10.0,
        intended: if place == 3 { 5_000 } else { 0 },
        answered: if place == 3 { 5_000 } else { 0 },
        ..sample.clone()
    };
    report.series = (0..20).map(tenth).collect();
    report.series_step_s = 0.1;
    let played = capacity(&report, &Question::of(&report)).played;
    assert!(played.contains("up to 5,000 requests were answered in a second"), "{played}");
    report.series.truncate(8);
    let short = capacity(&report, &Question::of(&report));
    assert!(short.played.contains("the run was too short to tell"), "{short}");
}

/// A run on a machine that others kept busy too.
fn crowded() -> RunReport {
    let mut report = made_up::report();
    for sample in &mut report.series {
        sample.others_cpus = 4.0 - sample.load_cpus - sample.server_cpus.unwrap_or(0.0);
        for core in &mut sample.cores {
            core.busy_refusals = 0;
            core.busy = core.busy.map(|busy| busy * 0.5);
        }
    }
    report
}

#[test]
fn a_crowded_machine_makes_everything_doubtful() {
    let report = crowded();
    assert_eq!(runs::Verdict::of(&report) as u8, 4);
    let words = "4 CPUs busy while none was idle";
    assert!(summary(&report).starts_with("DOUBTFUL") && summary(&report).contains(words));
    assert!(page(&report).contains(words));
    let answer =
        capacity(&report, &Question { buyers: 500_000, seats: 60_000, minutes: 5.0, ..Question::default() });
    assert!(answer.cores.is_none() && !answer.firm, "{answer}");
    assert!(answer.sentence.contains("NO FIRM ANSWER, because other processes kept "), "{answer}");
    assert!(answer.more[0].starts_with("Estimate, from the server's own processor time"), "{answer}");
    let quiet = made_up::report();
    let warnings = compare(&quiet, &report).warnings.join("\n");
    assert!(warnings.contains("The second run is doubtful: The machine was crowded"), "{warnings}");
    // Half a CPU in the mean, and none idle: below that nothing is said.
    let mut some = report;
    some.series.iter_mut().skip(5).for_each(|sample| sample.others_cpus = 0.1);
    assert_eq!(Verdict::of(&some, &Saturation::of(&some)).tone, Tone::Good, "{}", summary(&some));
}

#[test]
fn sold_out_is_promised_only_by_a_run_that_sold_out() {
    let mut report = made_up::report();
    report.totals.sold_out_at_s = None;
    report.totals.seats_booked = 49_000;
    report.seats_left = Some("1,000 seats left: each of them alone, with no free seat beside it.".to_owned());
    let answer =
        capacity(&report, &Question { buyers: 400_000, seats: 100_000, minutes: 5.0, ..Question::default() });
    assert!(answer.played.contains("not sold out") && answer.played.ends_with("beside it."), "{answer}");
    for sentence in [&answer.sentence, &answer.more[0]] {
        assert!(sentence.contains("98,000 of 100,000 seats sold after about "), "{answer}");
        assert!(!sentence.contains("; sold out after"), "{answer}");
    }
    assert_eq!(answer.sold_out_s, None);
    // Four that are left are not rounded away, and all of them are all.
    let own = Question { buyers: 200_000, seats: 50_000, ..Question::of(&report) };
    report.totals.seats_booked = 49_996;
    let nearly = capacity(&report, &own);
    assert!(nearly.sentence.contains("at least 49,996 of 50,000 seats sold"), "{nearly}");
    report.totals.seats_booked = 50_000;
    let all = capacity(&report, &own);
    assert!(all.sentence.contains("; all 50,000 seats sold after"), "{all}");
    assert!(
        all.played.contains("all seats booked in 60 s") && !all.to_string().contains("not sold out"),
        "{all}"
    );
    assert!(summary(&report).contains("all 50,000 seats booked in 60 s"), "{}", summary(&report));
}

#[test]
fn a_quick_run_says_that_it_measures_nothing() {
    let mut report = made_up::report();
    report.quick = vec!["300 people instead of 20,000".to_owned()];
    let verdict = Verdict::of(&report, &Saturation::of(&report));
    assert!(
        verdict.tone == Tone::Quick && verdict.line.starts_with("these figures mean nothing"),
        "{verdict:?}"
    );
    assert_eq!(runs::Verdict::of(&report) as u8, 0, "it worked");
    let answer = capacity(&report, &Question::of(&report)).to_string();
    for text in [summary(&report), page(&report), answer] {
        assert!(text.contains("mean nothing") && text.contains("300 people instead of 20,000"), "{text}");
    }
}

#[test]
fn what_was_not_measured_is_marked() {
    let mut report = made_up::report();
    report.scaling.clear();
    let answer =
        capacity(&report, &Question { buyers: 600_000, seats: 60_000, minutes: 5.0, ..Question::default() });
    assert!(
        answer.by_cores.law().is_none() && answer.cores.is_some_and(|cores| cores.extrapolated),
        "{answer}"
    );
    assert!(
        answer.sentence.contains("extrapolated") && answer.to_string().contains("EXTRAPOLATED"),
        "{answer}"
    );
    report.series.clear();
    report.totals = Totals::default();
    let blind = capacity(&report, &Question { buyers: 1, seats: 1, minutes: 0.0, ..Question::default() });
    assert!(blind.cores.is_none() && blind.sold_out_s.is_none(), "{blind}");
    assert!(!blind.firm && blind.sentence.contains("could not be seen"), "{blind}");
}

#[test]
fn the_crowd_that_was_played_comes_first() {
    let report = made_up::report();
    let own = Question::of(&report);
    let answer = capacity(&report, &own);
    assert_eq!(
        answer.played.split(';').next(),
        Some("These 200,000 people and 50,000 seats, on 2 shard cores: sold out after 42 s"),
        "{answer}"
    );
    let (played, asked) =
        (page(&report).find("These 200,000 people"), page(&report).find("500,000 buyers for"));
    assert!(played.is_some() && played < asked, "{played:?} {asked:?}");
    // A question that nobody asked says where it comes from, and how to ask another.
    for words in [
        "ten buyers (people who want seats) for each of the 50,000 seats",
        "`frontrow-loadgen plan FOLDER --buyers",
    ] {
        assert!(answer.to_string().contains(words), "{words}: {answer}");
    }
    let mut asked = report.clone();
    asked.questions = vec![own];
    let asked = capacity(&asked, &own).to_string();
    assert!(!asked.contains("Nobody asked") && asked.contains("--buyers 500000 --minutes 10"), "{asked}");
    let mut search = made_up::search();
    search.target.cores = 1;
    let played = capacity(&search, &own).played;
    assert_eq!(played, "The rates that were tried on 1 shard core: up to 4,200 visits/s meet p99<=5ms.");
}

#[test]
fn a_buyer_is_a_person_however_often_they_come() {
    let report = made_up::report();
    let question = Question { buyers: 500_000, seats: 60_000, minutes: 5.0, ..Question::default() };
    let once = capacity(&report, &question);
    let mut again = report.clone();
    again.totals.visits *= 3;
    let thrice = capacity(&again, &question);
    assert!((once.demand_per_s - thrice.demand_per_s).abs() < 1e-6, "{once}\n{thrice}");
    let per_buyer = report.totals.answered as f64 / report.totals.people as f64;
    assert!(once.to_string().contains(&format!("a buyer made {per_buyer:.1} requests")), "{once}");
    assert!(once.to_string().contains("for people who behave as in this run"), "{once}");
}

#[test]
fn a_fit_is_spoken_of_where_one_was_measured() {
    let mut report = made_up::report();
    report.scaling.clear();
    let none = capacity(&report, &Question::of(&report));
    assert!(!none.to_string().contains("no fit") && !page(&report).contains("no fit"), "{none}");
    // One server has one number of cores: a fit over those is not what a search is asked for.
    report.scaling = made_up::report().scaling.into_iter().filter(|point| point.cores == 2).take(2).collect();
    let few = capacity(&report, &Question::of(&report)).to_string();
    assert!(few.contains("over requests in flight: no fit: 2 measurements at 2 different sizes"), "{few}");
    assert!(few.contains("`frontrow-loadgen search` measures") && !few.contains("over cores"), "{few}");
    assert!(!few.contains("--scaling"), "{few}");
}

/// The report of a run whose server was away since second 20, until `to_s`.
fn away(to_s: Option<f64>) -> RunReport {
    let mut report = made_up::report();
    report.totals.sold_out_at_s = None;
    report.totals.seats_booked = 31_000;
    report.away =
        vec![Away { from_s: 20.4, to_s, reopened: to_s.map_or(0, |_| 9_990), gave_up_after_s: None }];
    report
}

#[test]
fn a_server_that_is_gone_is_the_headline_and_nothing_is_planned() {
    let report = away(None);
    let line = "the server did not answer from 20 s on; the run was cut short; 31,000 of 50,000 seats booked until then";
    assert!(
        summary(&report).starts_with(&format!("CUT SHORT  {line}; 0 violations until then\n")),
        "{}",
        summary(&report)
    );
    assert!(!summary(&report).contains("saturated"));
    let page = page(&report);
    super::pages::well_formed(&page);
    let at = page.find(line).expect("the headline");
    assert!(at < page.find("<h2>").expect("the rest") && !page.contains("buyers for"), "no answer");
    let answer = capacity(&report, &Question::of(&report));
    assert_eq!((answer.cores, answer.firm), (None, false));
    assert!(answer.to_string().starts_with("There is no planner's answer"), "{answer}");
    assert_eq!(runs::Verdict::of(&report) as u8, 5);
}

#[test]
fn an_interruption_marks_the_planners_answer() {
    let report = away(Some(24.0));
    let words = "away from 20 s to 24 s; 9,990 connections opened again";
    assert!(summary(&report).contains(&format!("the server   {words}")), "{}", summary(&report));
    let answer = capacity(&report, &Question::of(&report));
    assert!(answer.cores.is_none() && answer.sentence.contains("a run with an interruption"), "{answer}");
    assert!(answer.sentence.contains(words), "{answer}");
}

#[test]
fn a_run_that_gave_up_waiting_says_so_and_how_to_wait_longer() {
    let words = "the run waited 10 s for it and gave up (`--patience 30s` waits longer)";
    for to_s in [None, Some(34.0)] {
        let mut report = away(to_s);
        (report.away[0].reopened, report.away[0].gave_up_after_s) = (0, Some(10.0));
        let text = summary(&report);
        let verdict = text.lines().next().expect("a verdict");
        assert!(verdict.contains(words) && page(&report).contains(words), "{text}");
        assert!(!text.contains("0 connections opened again"), "{text}");
    }
}

#[test]
fn one_of_a_thing_is_not_many() {
    let mut report = made_up::report();
    (report.target.cores, report.load.threads, report.target.partitions) = (1, 1, 1);
    let text = format!("{}{}{}", summary(&report), page(&report), capacity(&report, &Question::of(&report)));
    for wrong in ["1 cores", "1 threads", "1 partitions"] {
        assert!(!text.contains(wrong), "{wrong}");
    }
}
