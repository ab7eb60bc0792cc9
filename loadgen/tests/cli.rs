//! Bad input to the program: the right exit code, and words that help.

mod cli_ends;
#[path = "runs_common/proxy.rs"]
mod proxy;
mod runs_common;
#[path = "runs_common/sells_twice.rs"]
mod sells_twice;

use proxy::{Mischief, proxy};
use runs_common::{Said, Server, loadgen};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

fn folder() -> TempDir {
    tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a folder")
}

#[test]
fn without_a_server_it_says_how_to_start_one() {
    let at = folder();
    let free = TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("an address");
    let said = loadgen(&["onsale", "--server", &format!("http://{free}")], at.path());
    said.expect(3, &["no server at", "make run", "--server"]);
    let said = loadgen(&["search", "--server", "http://no-such-host.invalid"], at.path());
    let said = said
        .expect(3, &["no server at", "the name `no-such-host.invalid` cannot be resolved", "check the name"]);
    assert!(
        !said.err.contains("make run"),
        "a server that is started there is not found either: {}",
        said.err
    );
    loadgen(&["onsale", "--server", "localhost:7410"], at.path()).expect(2, &["http://host:port"]);
    loadgen(&["onsale", "--server", ""], at.path()).expect(2, &["FRONTROW_URL"]);
    let said = loadgen(&["onsale", "--server", "https://tickets.example.com"], at.path());
    said.expect(2, &["speaks TLS", "--server http://tickets.example.com:7410"]);
}

#[test]
fn wrong_keys_and_tokens_are_named() {
    let server = Server::start();
    server.load(&["onsale", "--quick", "--admin-key", "wrong"]).expect(2, &["operators", "--admin-key"]);
    let elsewhere = server.folder.path().join("elsewhere");
    let said = loadgen(
        &["onsale", "--server", &server.url, "--data", elsewhere.to_str().expect("UTF-8")],
        server.folder.path(),
    );
    said.expect(2, &["no operator's key", "--data", "--admin-key", "--event"]);
    let secret = server.folder.path().join("wrong.secret");
    std::fs::write(&secret, "this is not the secret that the server knows").expect("written");
    let said = server.load(&["onsale", "--quick", "--token-secret-file", secret.to_str().expect("UTF-8")]);
    said.expect(2, &["--token-secret-file"]);
    server.load(&["onsale", "--token-secret-file", "/no/such"]).expect(2, &["/no/such"]);
    server.load(&["onsale", "--token-issuer", "https://id"]).expect(2, &["--token-secret-file"]);
}

#[test]
fn tokens_name_the_issuer_and_the_audience_that_the_server_asks_for() {
    let secret = "a secret that issuer, server and load share";
    let server = Server::start_with(&[
        ("IDENTITY__HS256_SECRET", secret),
        ("IDENTITY__ISSUER", "https://id.example.com"),
        ("IDENTITY__AUDIENCE", "frontrow"),
    ]);
    let file = server.folder.path().join("token.secret");
    std::fs::write(&file, format!("{secret}\n")).expect("written");
    let run = |more: &[&str]| {
        let words = ["steady", "--quick", "--quiet", "--token-secret-file", file.to_str().expect("UTF-8")];
        server.load(&[&words, more].concat())
    };
    run(&[]).expect(2, &["iss", "--token-issuer"]);
    let issuer = ["--token-issuer", "https://id.example.com"];
    run(&issuer).expect(2, &["aud", "--token-audience"]);
    let said = run(&[&issuer[..], &["--token-audience", "frontrow"]].concat());
    assert!(said.code == 0 || said.code == 4, "{said:?}");
}

#[test]
fn impossible_wishes_are_refused_before_anything_is_loaded() {
    let server = Server::start();
    for (words, part) in [
        (&["steady", "--connections", "1000000"][..], "file descriptors"),
        (&["steady", "--depth", "2000"][..], "--depth"),
        (&["steady", "--transport", "websocket", "--routed"][..], "--routed"),
        (&["steady", "--rate", "0"][..], "--rate"),
        (&["steady", "--rate", "-5"][..], "--rate is a positive number of visits per second"),
        (&["search", "--from", "-5"][..], "--from is a positive number of visits per second"),
        (&["steady", "--seats", "2000000"][..], "--seats"),
        (&["search", "--rate", "5"][..], "--rate"),
        (&["search", "--from", "10", "--to", "5"][..], "--to"),
        (&["ramp", "--steps", "1"][..], "--steps"),
        (&["soak", "no-such-scenario"][..], "onsale"),
        (&["run", "/no/such.toml"][..], "/no/such.toml"),
        (&["run", "/no/such.toml"][..], "scenarios onsale > mine.toml"),
        (&["steady", "--quick", "--people", "500"][..], "--rate"),
        (&["steady", "--event", "99"][..], "`frontrow events`"),
        (&["bench", "--frontrow", "/no/such"][..], "--frontrow"),
    ] {
        server.load(&[words, &["--quiet"]].concat()).expect(2, &[part]);
    }
}

#[test]
fn a_scenario_with_a_mistake_names_its_key() {
    let server = Server::start();
    let write = |name: &str, text: String| -> PathBuf {
        let path = server.folder.path().join(name);
        std::fs::write(&path, text).expect("written");
        path
    };
    let good = loadgen(&["scenarios", "steady"], server.folder.path()).expect(0, &["[[group]]"]).out;
    let unknown = write("unknown.toml", format!("colour = \"blue\"\n{good}"));
    let said = server.load(&["run", unknown.to_str().expect("UTF-8"), "--quick"]);
    said.expect(2, &["unknown.toml: ", "colour"]);
    let short = write("short.toml", good.replacen("hold_s = 60", "hold_s = 0", 1));
    let said = server.load(&["run", short.to_str().expect("UTF-8"), "--quick"]);
    said.expect(2, &["short.toml: scenario: event.hold_s is 0; write a number of seconds (10 s to 1 h)"]);
    let own = write("own.toml", good);
    let said = server.load(&["run", own.to_str().expect("UTF-8"), "--quick", "--quiet", "--json"]);
    assert!(said.code == 0 || said.code == 4, "{said:?}");
}

#[test]
fn a_place_that_takes_no_report_is_refused_before_anything_is_loaded() {
    let server = Server::start();
    let blocked = server.folder.path().join("file");
    std::fs::write(&blocked, "in the way").expect("written");
    let out = blocked.join("report");
    let said =
        server.load(&["steady", "--quick", "--out", out.to_str().expect("UTF-8")]).expect(2, &["--out"]);
    assert!(!said.err.contains("free seats"), "nothing was played\n{}", said.err);
}

#[test]
fn a_server_that_takes_too_few_connections_spoils_the_measurement() {
    let server =
        Server::start_with(&[("LIMITS__CONNECTIONS", "50"), ("LIMITS__CONNECTIONS_PER_ADDRESS", "50")]);
    let said = server.load(&["steady", "--quick", "--quiet", "--connections", "80"]);
    said.expect(4, &["`limits.connections_per_address` was hit", "`limits.connections` is 50"]);
}

#[test]
fn a_rate_beyond_the_machine_is_no_measurement() {
    let server = Server::start();
    let words = ["steady", "--quick", "--quiet", "--rate", "5000000", "--for", "500ms"];
    let out = server.folder.path().join("beyond");
    let said = server.load(&[&words[..], &["--out", out.to_str().expect("UTF-8")]].concat());
    let said = said.expect(4, &["DOUBTFUL"]);
    // Which of them it is depends on how much of the machine the load gets.
    let doubts = ["by the plan did begin", "had not left when the run ended", "No request was answered"];
    assert!(doubts.iter().any(|doubt| said.out.contains(doubt)), "{}", said.out);
}

#[test]
fn scenarios_are_listed_and_printed() {
    let at = folder();
    let names =
        ["onsale", "steady", "waitlist", "expiry-storm", "hot-row", "scalper", "reconnect-storm", "mixed"];
    loadgen(&["scenarios"], at.path()).expect(0, &names);
    loadgen(&["scenarios", "concert"], at.path()).expect(2, &["onsale"]);
    loadgen(&["concert"], at.path()).expect(2, &["unrecognized subcommand"]);
    loadgen(&["compare", "a", "b"], at.path()).expect(2, &["a"]);
}

#[test]
fn a_reader_who_has_gone_is_no_reason_to_abort() {
    let mut child = std::process::Command::new(env!("CARGO_BIN_EXE_frontrow-loadgen"))
        .args(["compare", "/no/such", "/no/such/either"])
        .stderr(std::process::Stdio::piped())
        .spawn()
        .expect("it runs");
    drop(child.stderr.take());
    assert_eq!(child.wait().expect("it ends").code(), Some(2), "as if somebody had read it");
}

#[test]
fn a_finished_report_answers_for_another_crowd() {
    let server = Server::start();
    let at = server.folder.path();
    let out = at.join("reports/run");
    let path = out.to_str().expect("UTF-8");
    let words = ["onsale", "--quick", "--people", "150", "--connections", "40", "--out", path];
    let said = server.load(&words);
    assert!(!said.err.contains("--quick plays"), "--quick took nobody away: {}", said.err);
    let played = said.code;
    assert!(played == 0 || played == 4, "{said:?}");
    assert!(said.err.contains(&format!("frontrow-loadgen plan {path} --buyers")), "{}", said.err);
    for words in ["mean nothing", "--quick made everything small: 150 people instead of"] {
        assert!(said.out.contains(words), "{words}: {}", said.out);
    }
    let plan = |more: &[&str]| loadgen(&[&["plan", path], more].concat(), at);
    let said = plan(&["--buyers", "60000", "--minutes", "5"]);
    let asked = "60,000 buyers for 600 seats within 5 min: ";
    let said = said.expect(played, &[asked, "as played", "QUICK: these figures mean nothing"]);
    assert_eq!(said.out.lines().next(), plan(&[]).out.lines().next(), "the verdict comes first");
    let own = plan(&[]).expect(played, &["6,000 buyers for 600 seats", "Nobody asked about this crowd"]);
    assert!(!own.out.contains("60,000 buyers"), "{}", own.out);
    plan(&["--buyers", "60000"]).expect(played, &["within 10 min (the default: --minutes was not given)"]);
    every_answer_is_in_a_table(&out);
    // What is typed by mistake is told what would be right.
    let its_page = out.join("index.html");
    let its_page = loadgen(&["plan", its_page.to_str().expect("UTF-8")], at);
    its_page.expect(2, &[&format!("give the folder it is in: {path}")]);
    plan(&["--people", "60000"]).expect(2, &["did you mean --buyers?"]);
    plan(&["--buyers", "60k"]).expect(2, &["like 60000"]);
    loadgen(&["plan", "no-such"], at).expect(2, &["report.json"]);
    loadgen(&["history", "reports"], at).expect(0, &["1 report was found", "--add reports/run"]);
    assert!(!at.join("reports/index.html").exists(), "nothing is written unasked");
}

/// Refusals and other answers of a report's summary add up to what was answered.
fn every_answer_is_in_a_table(out: &Path) {
    let text = std::fs::read_to_string(out.join("summary.txt")).expect("a summary");
    let tables = text.lines().skip_while(|line| !line.starts_with("refusals: "));
    let rows = tables.take_while(|line| !line.starts_with("news: ") && !line.starts_with("latency"));
    let counts = rows.filter(|line| line.starts_with("  ")).map(|line| {
        line.split_whitespace()
            .nth(1)
            .and_then(|count| count.replace(',', "").parse::<u64>().ok())
            .expect(line)
    });
    let report = frontrow_loadgen::report::read(out).expect("a report");
    assert_eq!(counts.sum::<u64>(), report.totals.answered, "{text}");
}

#[test]
fn the_report_of_an_earlier_run_is_not_overwritten() {
    let server = Server::start();
    let out = server.folder.path().join("kept");
    let path = out.to_str().expect("UTF-8");
    std::fs::create_dir(&out).expect("made");
    std::fs::write(out.join("report.json"), "{}").expect("written");
    std::fs::write(out.join("index.html"), "its page").expect("written");
    server.load(&["steady", "--quick", "--quiet", "--out", path]).expect(2, &["earlier run", "--out"]);
    let at = server.folder.path();
    loadgen(&["history", path], at).expect(2, &["the folder of one run", "load-reports"]);
    for missing in ["no-such", "kept/index.html"] {
        let said = loadgen(&["history", missing], at).expect(2, &["holds the runs' folders"]);
        assert!(!said.err.contains("--out"), "{}", said.err);
    }
    assert_eq!(std::fs::read_to_string(out.join("index.html")).expect("there"), "its page");
}

/// A tiny run over WebSocket, through a proxy that does mischief.
fn run_through(mischief: Mischief) -> Said {
    let server = Server::start();
    let proxy = proxy(&server.url, mischief);
    let words = ["onsale", "--quick", "--quiet", "--transport", "websocket", "--patience", "500ms"];
    server.load_at(&proxy, &words)
}

#[test]
fn a_server_that_stalls_gives_no_measurement() {
    let said = run_through(Mischief::Stall);
    said.expect(4, &["connections were lost"]);
}

#[test]
fn a_server_that_hangs_up_gives_no_measurement() {
    let said = run_through(Mischief::Close);
    said.expect(4, &["connections were lost"]);
}

#[test]
fn a_server_that_sells_twice_fails_the_run_loudly() {
    let said = run_through(Mischief::SellTwice);
    said.expect(1, &["VIOLATIONS", "broke a promise", "two holders at once"]);
}

#[test]
fn a_server_that_forgets_bookings_fails_the_run_loudly() {
    let said = run_through(Mischief::ForgetBookings);
    said.expect(1, &["VIOLATIONS", "broke a promise"]);
}
