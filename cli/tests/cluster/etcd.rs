//! A real etcd in a process of its own, and what it says of who is primary.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{IpAddr, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;
use tokio::time::Instant;

/// base64 of `/frontrow/test/` and of what comes behind all keys that begin with it; `/frontrow/test/primary`.
const PREFIX: &str = "L2Zyb250cm93L3Rlc3Qv";
const BEHIND: &str = "L2Zyb250cm93L3Rlc3Qw";
const PRIMARY: &str = "L2Zyb250cm93L3Rlc3QvcHJpbWFyeQ==";

/// Whether there is one to be started.
pub(crate) fn is_installed() -> bool {
    Command::new("etcd").arg("--version").stdout(Stdio::null()).status().is_ok_and(|status| status.success())
}

/// A port that is free now.
pub(crate) fn free_port() -> u16 {
    frontrow_engine::free_port(std::net::Ipv4Addr::LOCALHOST.into()).expect("a port")
}

pub(crate) struct Etcd {
    child: Child,
    /// `host:port`
    pub(crate) address: String,
    /// When the primary's key went.
    gone: mpsc::Receiver<Instant>,
    _folder: tempfile::TempDir,
}

impl Etcd {
    /// Starts one at `ip`; returns when it answers.
    pub(crate) fn start(ip: IpAddr) -> Self {
        // In memory where that can be had: a disk that others keep busy would end leases.
        let folder = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).expect("a folder");
        let (client, peer) =
            (format!("http://{ip}:{}", free_port()), format!("http://127.0.0.1:{}", free_port()));
        let mut child = Command::new("etcd")
            .args(["--name", "one", "--log-level", "error", "--data-dir"])
            .arg(folder.path().join("etcd"))
            .args(["--listen-client-urls", &client, "--advertise-client-urls", &client])
            .args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer])
            .args(["--initial-cluster", &format!("one={peer}")])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("etcd is installed");
        let address = client.trim_start_matches("http://").to_owned();
        while ask(&address, "/v3/maintenance/status", "{}").is_none() {
            assert!(child.try_wait().expect("a child").is_none(), "etcd ended at once");
            std::thread::park_timeout(Duration::from_millis(20));
        }
        let (tell, gone) = mpsc::channel();
        let at = address.clone();
        std::thread::spawn(move || watch(&at, &tell));
        Self { child, address, gone, _folder: folder }
    }

    /// What stands at a key below the cluster's name; nothing if there is nothing.
    pub(crate) fn read(&self, key: &str) -> serde_json::Value {
        use base64::Engine as _;
        let answer =
            ask(&self.address, "/v3/kv/range", &format!(r#"{{"key":"{PREFIX}","range_end":"{BEHIND}"}}"#));
        let answer: serde_json::Value = serde_json::from_str(&answer.expect("etcd answers")).expect("JSON");
        let decode = |text: &serde_json::Value| {
            let engine = base64::engine::general_purpose::STANDARD;
            engine.decode(text.as_str().unwrap_or_default()).unwrap_or_default()
        };
        let wanted = format!("/frontrow/test/{key}");
        let kvs = answer["kvs"].as_array().cloned().unwrap_or_default();
        let found = kvs.iter().find(|kv| decode(&kv["key"]) == wanted.as_bytes());
        found.and_then(|kv| serde_json::from_slice(&decode(&kv["value"])).ok()).unwrap_or_default()
    }

    /// When the primary's key went: the first such moment since the last call, which may be to come.
    pub(crate) fn primary_gone(&self) -> Option<Instant> {
        self.gone.try_recv().ok()
    }
}

impl Drop for Etcd {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn send(address: &str, path: &str, body: &str) -> Option<BufReader<TcpStream>> {
    let mut socket = TcpStream::connect(address).ok()?;
    let head = format!(
        "POST {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    socket.write_all(head.as_bytes()).ok()?;
    socket.write_all(body.as_bytes()).ok()?;
    Some(BufReader::new(socket))
}

/// One request: the body of the answer, if it is a good one.
fn ask(address: &str, path: &str, body: &str) -> Option<String> {
    let mut all = String::new();
    send(address, path, body)?.read_to_string(&mut all).ok()?;
    let (head, body) = all.split_once("\r\n\r\n")?;
    head.starts_with("HTTP/1.1 200").then_some(())?;
    let from = body.find('{')?;
    Some(body[from..=body.rfind('}')?].to_owned())
}

fn watch(address: &str, tell: &mpsc::Sender<Instant>) {
    let body = format!(r#"{{"create_request":{{"key":"{PRIMARY}"}}}}"#);
    let Some(lines) = send(address, "/v3/watch", &body) else { return };
    for line in lines.lines() {
        let Ok(line) = line else { return };
        if line.contains(r#""DELETE""#) && tell.send(Instant::now()).is_err() {
            return;
        }
    }
}
