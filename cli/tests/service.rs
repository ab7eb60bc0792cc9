//! A bookings service whose Kafka and PostgreSQL are away, from the outside.

use std::io::{BufRead, BufReader, Read};
use std::net::TcpListener;
use std::process::{Child, Command, Stdio};

/// Ended with the test.
struct Ends(Child);

impl Drop for Ends {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn frontrow() -> Command {
    Command::new(env!("CARGO_BIN_EXE_frontrow"))
}

/// Where nobody listens.
fn nobody() -> String {
    TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("it has one").to_string()
}

#[test]
fn its_status_is_words_and_its_log_has_no_colours() {
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a folder");
    let (kafka, postgres) = (nobody(), nobody());
    let mut service = frontrow();
    service
        .args(["--json", "bookings", "serve"])
        .env("FRONTROW_SERVER__DATA", folder.path().join("data"))
        .env("FRONTROW_KAFKA__BROKERS", &kafka)
        .env("FRONTROW_SERVICE__POSTGRES", format!("postgres://u@{postgres}/d"))
        .env("FRONTROW_SERVICE__HTTP", "127.0.0.1:0")
        .env_remove("NO_COLOR");
    let service = service.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let mut service = Ends(service.expect("the binary is built with this test"));
    let mut line = String::new();
    let out = service.0.stdout.take().expect("piped");
    BufReader::new(out).read_line(&mut line).expect("it says where it is");
    let ready: serde_json::Value = serde_json::from_str(&line).expect("one object");
    let url = format!("http://{}", ready["http"].as_str().expect("its address"));
    let mut log = BufReader::new(service.0.stderr.take().expect("piped"));
    let mut first = String::new();
    log.read_line(&mut first).expect("it says that something is away");
    let status = || {
        let done = frontrow().args(["--server", &url, "status"]).output().expect("ran");
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        String::from_utf8(done.stdout).expect("text")
    };
    let waits = (0..200).map(|_| status()).find(|said| said.contains("it waits: ")).expect("Kafka is away");
    assert!(waits.starts_with("Bookings service: ITS TABLE IS BEHIND: "), "{waits}");
    assert!(waits.contains("\nconsumer 1: ") && !waits.contains("null"), "{waits}");
    drop(service);
    log.read_to_string(&mut first).expect("text");
    assert!(first.contains("WARN") && !first.contains('\u{1b}'), "{first}");
}
