//! Every kind of run, with tiny inputs, against a real server: verified, nothing timed.

mod runs_common;

use frontrow_loadgen::report::model::{RunKind, RunReport};
use runs_common::{Said, Server};

/// The report that a run printed; a measurement may be doubtful here, but never wrong.
#[track_caller]
fn report(said: &Said) -> RunReport {
    assert!(said.code == 0 || said.code == 4, "{}\n{}", said.out, said.err);
    let report: RunReport = serde_json::from_str(&said.out).expect("a report");
    assert_eq!(report.verified.violation_count, 0, "{:?}", report.verified.violations);
    assert!(report.verified.checks.values().sum::<u64>() > 0, "something was checked");
    assert!(report.totals.answered > 0 && !report.series.is_empty(), "{:?}", report.totals);
    report
}

#[test]
fn every_scenario_runs_and_holds() {
    let server = Server::start();
    for name in
        ["onsale", "steady", "waitlist", "expiry-storm", "hot-row", "scalper", "reconnect-storm", "mixed"]
    {
        let report = report(&server.load(&[name, "--quick", "--quiet", "--json"]));
        assert_eq!((report.kind, report.name.as_str()), (RunKind::Run, name));
        assert!(report.target.same_machine && report.target.cores == 2, "{:?}", report.target);
        assert!(report.totals.visits > 0, "{name}: {:?}", report.totals);
    }
}

#[test]
fn an_on_sale_leaves_a_page_and_a_summary() {
    let server = Server::start();
    let out = server.folder.path().join("report");
    let said = server.load(&["onsale", "--quick", "--people", "5000", "--out", out.to_str().expect("UTF-8")]);
    assert!(said.code == 0 || said.code == 4, "{said:?}");
    assert!(said.err.contains("  --quick plays 300 of the 5,000 of --people: "), "{said:?}");
    assert!(said.err.contains("The page: ") && said.err.contains("free seats"), "{said:?}");
    for file in ["report.json", "index.html", "scenario.toml", "command.txt", "summary.txt"] {
        assert!(out.join(file).metadata().is_ok_and(|it| it.len() > 0), "{file}");
    }
}

#[test]
fn websocket_and_routing_and_threads_are_ways_to_the_same_end() {
    let server = Server::start();
    let quick = |more: &[&str]| {
        report(&server.load(&[&["steady", "--quick", "--quiet", "--json"], more].concat())).load
    };
    assert_eq!(quick(&["--transport", "websocket"]).transport, "websocket");
    let load = quick(&["--routed", "--threads", "2", "--connections", "7", "--depth", "3"]);
    assert!(load.routed, "{load:?}");
    assert_eq!((load.threads, load.connections, load.depth), (2, 7, 3));
}

#[test]
fn a_search_finds_a_rate_or_says_that_there_is_none() {
    let server = Server::start();
    let search = ["search", "steady", "--quick", "--quiet", "--json", "--step", "300ms", "--to", "100"];
    let found = report(&server.load(&[&search[..], &["--objective", "p99<=60s"]].concat()));
    assert_eq!((found.kind, found.found_per_s), (RunKind::Search, Some(100.0)));
    assert!(found.steps.iter().all(|step| step.met) && found.scaling.len() == 2, "{:?}", found.steps);
    let said = server.load(&[&search[..], &["--objective", "max<=1us", "--no-scaling"]].concat());
    let none = report(&said.expect(4, &[]));
    assert_eq!((none.found_per_s, none.steps.len()), (None, 2), "the lowest rate is tried twice");
    assert!(none.steps[0].why.contains("max is"), "{:?}", none.steps[0].why);
}

#[test]
fn a_ramp_and_a_soak_have_their_own_marks() {
    let server = Server::start();
    let ramp = server.load(&["ramp", "--quick", "--quiet", "--json", "--to", "200", "--step", "300ms"]);
    let ramp = report(&ramp);
    assert_eq!(ramp.steps.iter().map(|step| step.rate_per_s as u32).collect::<Vec<_>>(), [100, 200]);
    let soak = report(&server.load(&["soak", "mixed", "--quick", "--quiet", "--json", "--for", "1s"]));
    assert_eq!(soak.kind, RunKind::Soak);
}

#[test]
fn the_stress_bench_prints_its_figures() {
    let server = Server::start();
    let out = server.folder.path().join("stress");
    let words = ["bench", "--quick", "--quiet", "--running", "--objective", "p99<=60s", "--out"];
    let said = server.load(&[&words[..], &[out.to_str().expect("UTF-8")]].concat());
    assert!(said.code == 0 || said.code == 4, "{said:?}");
    for figure in ["capacity", "goodput at twice", "p99 while claims end", "reconnect storm"] {
        assert!(said.out.contains(figure), "{figure} is not in {said:?}");
    }
    for part in ["onsale", "capacity", "overload", "reconnect-storm"] {
        assert!(out.join(part).join("index.html").exists(), "{part}");
    }
    assert!(out.join("figures.md").exists() && out.join("figures.json").exists());
}

#[test]
fn an_event_that_is_on_sale_can_be_loaded_and_its_seats_are_counted() {
    let server = Server::start();
    let first = report(&server.load(&["steady", "--quick", "--quiet", "--json", "--seats", "300"]));
    assert_eq!(first.target.seats, 300);
    let closed = server.load(&["steady", "--quick", "--quiet", "--event", &first.target.event.to_string()]);
    closed.expect(2, &["not on sale", "frontrow event open"]);
}

#[test]
fn a_question_is_answered_in_words() {
    let server = Server::start();
    let said = server.load(&["onsale", "--quick", "--quiet", "--buyers", "5000", "--minutes", "3"]);
    assert!(said.code == 0 || said.code == 4, "{said:?}");
    assert!(said.out.replace([',', ' '], "").contains("5000"), "{}", said.out);
}

#[test]
fn who_came_until_no_seat_was_left_is_counted_and_what_was_left_is_told() {
    let server = Server::start();
    let quick =
        |seats: &str| report(&server.load(&["onsale", "--quick", "--quiet", "--json", "--seats", seats]));
    let few = quick("20");
    let came = few.totals.people_until_gone.expect("300 people are too many for 20 seats");
    assert!(came > 0 && came <= few.totals.people, "{:?}", few.totals);
    assert!(few.quick.iter().any(|small| small.contains("300 people instead of 20,000")), "{:?}", few.quick);
    let many = quick("5000");
    assert_eq!(many.totals.people_until_gone, None, "{:?}", many.totals);
    assert!(many.seats_left.expect("most of them").contains(" seats left"), "{:?}", many.totals);
}
