//! Two `frontrow serve` that settle by themselves who is primary.

use super::etcd::{Etcd, free_port};
use super::network::Place;
use frontrow_client::{Client, Endpoint, Http, Options, Retry};
use frontrow_server::identity::{Expected, Minter};
use rustix::process::{Pid, Signal, kill_process};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

const SECRET: &str = "a secret of the test's own, longer than thirty-two bytes";
const KEY: &str = "an operator's key of the test's own, longer than thirty-two bytes";

pub(crate) struct Node {
    pub(crate) place: Place,
    folder: tempfile::TempDir,
    ports: [u16; 3],
    child: Option<Child>,
    /// How often it was started.
    pub(crate) starts: u32,
}

impl Node {
    pub(crate) fn new(number: u8) -> Self {
        let ports = [free_port(), free_port(), free_port()];
        Self {
            place: Place::new(number),
            folder: tempfile::tempdir().expect("a folder"),
            ports,
            child: None,
            starts: 0,
        }
    }

    pub(crate) fn tcp(&self) -> String {
        format!("{}:{}", self.place.ip, self.ports[0])
    }

    pub(crate) fn http_at(&self) -> String {
        format!("{}:{}", self.place.ip, self.ports[1])
    }

    /// With the operator's key.
    pub(crate) fn http(&self) -> Http {
        Http::new(&format!("http://{}", self.http_at())).expect("an address").with_admin_key(KEY)
    }

    /// Starts it, or starts it again. What it says goes to a file.
    pub(crate) fn start(&mut self, etcd: &Etcd, settings: &[(&str, &str)]) {
        self.starts += 1;
        let said = std::fs::File::create(self.said()).expect("a file");
        let mut command = self.command(etcd, &["serve", "--no-demo"], settings);
        self.child =
            Some(command.stdout(Stdio::null()).stderr(said).spawn().expect("it is built with this test"));
    }

    /// Runs a command at this node, with its settings, until it ends: whether it was good, and what it says.
    pub(crate) fn run(&self, etcd: &Etcd, words: &[&str], settings: &[(&str, &str)]) -> (bool, String) {
        let output = self.command(etcd, words, settings).output().expect("it is built with this test");
        let said = [output.stdout, output.stderr].concat();
        (output.status.success(), String::from_utf8_lossy(&said).into_owned())
    }

    fn command(&self, etcd: &Etcd, words: &[&str], settings: &[(&str, &str)]) -> Command {
        let at = |port: u16| format!("{}:{port}", self.place.ip);
        let mut command = self.place.command(env!("CARGO_BIN_EXE_frontrow"));
        command
            .arg("--json")
            .args(words)
            .env("FRONTROW_SERVER__TCP", at(self.ports[0]))
            .env("FRONTROW_SERVER__HTTP", at(self.ports[1]))
            .env("FRONTROW_REPLICATION__LISTEN", at(self.ports[2]))
            .env("FRONTROW_SERVER__DATA", self.data())
            .env("FRONTROW_CLUSTER__ETCD", format!("[http://{}]", etcd.address))
            .env("FRONTROW_IDENTITY__HS256_SECRET", SECRET)
            .env("FRONTROW_ADMIN__KEY", KEY)
            .envs([
                ("FRONTROW_CLUSTER__NAME", "test"),
                ("FRONTROW_CLUSTER__LEASE", "2s"),
                ("FRONTROW_CLUSTER__ALONE_AFTER", "300ms"),
                ("FRONTROW_REPLICATION__ACKNOWLEDGE", "backup"),
                ("FRONTROW_SERVER__CORE_PORTS", "0"),
                ("FRONTROW_SERVER__CORES", "2"),
                ("FRONTROW_SERVER__PIN", "false"),
                ("FRONTROW_PARTITIONS__COUNT", "8"),
                ("FRONTROW_PARTITIONS__REQUESTS_REMEMBERED", "16384"),
                ("FRONTROW_EVENTS__HOLD", "1h"),
                ("FRONTROW_LOG__SEGMENT", "1MiB"),
                ("FRONTROW_LOG__READY_SEGMENTS", "1"),
                ("FRONTROW_LOG__BACKLOG", "4MiB"),
                ("FRONTROW_LIMITS__CONNECTIONS_PER_ADDRESS", "0"),
                ("FRONTROW_LOG_OUTPUT__LEVEL", "debug"),
            ])
            .envs(settings.iter().copied());
        command
    }

    pub(crate) fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// Copies its data directory; it does not run.
    pub(crate) fn copy(&self) {
        let done = Command::new("cp").arg("-r").args([self.data(), self.folder.path().join("copy")]).status();
        assert!(done.expect("cp").success());
    }

    /// Puts the copy in the place of its data; where that is now.
    pub(crate) fn put_back(&self) -> PathBuf {
        let aside = self.folder.path().join("aside");
        std::fs::rename(self.data(), &aside).expect("it does not run");
        std::fs::rename(self.folder.path().join("copy"), self.data()).expect("it was copied");
        aside
    }

    /// Puts a directory in the place of its data.
    pub(crate) fn put(&self, other: &std::path::Path) {
        std::fs::remove_dir_all(self.data()).expect("it does not run");
        std::fs::rename(other, self.data()).expect("a directory of this folder");
    }

    fn said(&self) -> PathBuf {
        self.folder.path().join(format!("said-{}", self.starts))
    }

    /// What it said since it was started last.
    pub(crate) fn last_words(&self) -> String {
        std::fs::read_to_string(self.said()).unwrap_or_default()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        let child = self.child.as_ref().expect("it was started");
        kill_process(Pid::from_child(child), signal).expect("it runs");
    }

    /// How it ended, once it has.
    pub(crate) fn ended(&mut self) -> Option<ExitStatus> {
        let status = self.child.as_mut()?.try_wait().expect("a child")?;
        self.child = None;
        Some(status)
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
        if std::thread::panicking() {
            for start in 1..=self.starts {
                let said = self.folder.path().join(format!("said-{start}"));
                let text = std::fs::read_to_string(said).unwrap_or_default();
                eprintln!("---- node at {}, start {start}:\n{text}", self.tcp());
            }
        }
    }
}

/// A token for anybody.
pub(crate) fn token(user: u64) -> String {
    let minter = Minter::new(SECRET.as_bytes(), &Expected::default());
    minter.mint(user, frontrow_engine::Clock::wall_ms() / 1000 - 10, 86_400)
}

/// A client that finds the primary by itself and repeats what has no answer.
pub(crate) async fn client(nodes: &[Node; 2], user: u64) -> Client {
    let endpoints = nodes.iter().map(|node| Endpoint::Tcp(node.tcp())).collect();
    let (first, longest) = (Duration::from_millis(2), Duration::from_millis(20));
    let options = Options {
        connect_timeout: Duration::from_millis(100),
        request_timeout: Duration::from_secs(120),
        keepalive: Duration::from_millis(500),
        retry: Some(Retry { first, longest, attempts: 100_000 }),
        ..Options::default()
    };
    Client::connect_to(endpoints, token(user), options).await.expect("somebody is primary")
}
