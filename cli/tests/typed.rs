//! What is printed to be typed next is typed as it stands, by a shell: it works, and runs nothing that stands in a name.

#![allow(dead_code, reason = "the helpers are shared by several tests, each of which uses some")]

mod common;

use common::{Server, within};
use std::path::Path;
use std::process::Command;

/// A section that would make a file of this name.
const SECTION: &str = "A$(touch hurt) it's \"B\"";

/// What the shell says to a line, which is good.
fn typed(line: &str, folder: &Path) -> String {
    let output =
        Command::new("sh").args(["-c", line]).current_dir(folder).output().expect("there is a shell");
    let said = String::from_utf8(output.stdout).expect("text");
    assert!(output.status.success(), "{line}: {said}{}", String::from_utf8_lossy(&output.stderr));
    said
}

/// The rest of the line that has these words.
fn behind<'a>(text: &'a str, words: &str) -> &'a str {
    let rest = text.split_once(words).unwrap_or_else(|| panic!("no `{words}` in {text}")).1;
    rest.lines().next().expect("a line").trim()
}

#[test]
fn what_is_to_be_typed_next_works_as_it_stands() {
    let folder = tempfile::tempdir().expect("a folder");
    let data = folder.path().join("the server's $(touch hurt)");
    std::fs::create_dir(&data).expect("a folder in it");
    let cell = format!("\"{}\"", SECTION.replace('"', "\"\""));
    let plan = format!("section,row,seat\n{cell},1,1\n{cell},1,2\n{cell},1,3\n{cell},1,4\n");
    std::fs::write(folder.path().join("PLAN.csv"), plan).expect("a plan");

    let settings = [("FRONTROW_LOG_OUTPUT__LEVEL", "warn")];
    let server = Server::empty(&data, &settings);
    let create = behind(&server.banner, "Nothing is on sale yet: ");
    assert!(create.ends_with(" event create PLAN.json --name NAME"), "{create}");
    let said = typed(&create.replace("PLAN.json", "PLAN.csv"), folder.path());
    typed(behind(&said, "It is a draft: ").trim_end_matches(" puts it on sale"), folder.path());
    server.kill();

    let server = Server::empty(&data, &settings);
    let next = server.banner.split_once("Next, in another terminal:\n").expect("what is next").1;
    let said: Vec<String> = next.trim().lines().map(|line| typed(line.trim(), folder.path())).collect();
    let [seats, claim] = &said[..] else { panic!("{said:?}") };
    assert!(seats.contains(SECTION), "{seats}");
    assert!(claim.starts_with("Held for you"), "{claim}");
    let book = behind(claim, "next   ");
    let extended = typed(&book.replace(" book ", " extend "), folder.path());
    let booked = typed(behind(&extended, "next   "), folder.path());
    assert!(typed(behind(&booked, "undo   "), folder.path()).starts_with("Cancelled"));

    // Somebody else, who waits for as many as there are behind one who holds one.
    let user = behind(&server.banner, "Next, in another terminal:\n")
        .replace(" seats ", " claim --user 7 --best 1 ");
    assert!(typed(&user, folder.path()).starts_with("Held for you"));
    let queued = typed(&user.replace("--user 7 --best 1", "--user 8 --best 4 --or-wait"), folder.path());
    let leave = behind(&queued, "next   ").replace("--count 4", "--leave");
    assert!(leave.contains(" --user 8 "), "{leave}");
    assert!(typed(&leave, folder.path()).starts_with("You no longer wait"));
    assert!(!folder.path().join("hurt").exists(), "nothing in a name is run");
}

/// A standby's directory says how it is served from, whoever started what on it.
#[test]
fn a_standby_at_rest_is_promoted_as_it_is_told() {
    let folder = tempfile::tempdir().expect("a folder");
    let own = folder.path().join("it's the second");
    std::fs::create_dir(&own).expect("a folder in it");
    let settings = [("FRONTROW_LOG_OUTPUT__LEVEL", "warn"), ("FRONTROW_REPLICATION__LISTEN", "127.0.0.1:0")];
    let primary = Server::empty(folder.path(), &settings);
    let standby = Server::standby(&own, &primary.replication, &settings);
    within(60, async {
        while standby.http().node().await.expect("it listens")["caught_up"] != true {
            tokio::task::yield_now().await;
        }
    });
    primary.kill();
    standby.kill();
    let program = env!("CARGO_BIN_EXE_frontrow");
    let data = own.join("data");
    let refused = Command::new(program).args(["serve", "--data"]).arg(&data).output().expect("it is built");
    let said = String::from_utf8(refused.stderr).expect("text");
    assert!(said.contains(data.to_str().expect("text")), "it is this one that is served from: {said}");
    let (_, rest) = said.split_once("`frontrow promote").expect("what to do");
    let rest = rest.split_once('`').expect("a command").0;
    let promoted = typed(&format!("{program} promote{rest}"), folder.path());
    let serve = behind(&promoted, "Now: ");
    let quoted = frontrow_server::shell::quoted(data.to_str().expect("text"));
    assert_eq!(serve, format!("{program} serve --data {quoted}"));
}
