//! A real server in a process of its own, killed by its pid whatever happens to the test.

use frontrow_client::{Client, Endpoint, Http, Options};
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Duration;

/// A running `frontrow serve`.
pub(crate) struct Server {
    child: Child,
    /// `http://…`
    pub(crate) url: String,
    /// Raw TCP.
    pub(crate) tcp: String,
    /// Where standbys connect; empty if none can.
    pub(crate) replication: String,
    /// What it says of itself to people.
    pub(crate) banner: String,
    /// What it says on standard output, after the first line.
    lines: BufReader<ChildStdout>,
}

impl Server {
    /// Starts a server on `data` with free ports and these settings besides; returns when it serves.
    pub(crate) fn start(data: &Path, settings: &[(&str, &str)]) -> Self {
        Self::spawn(data, &["serve"], settings, Stdio::inherit())
    }

    /// The same without the sample hall.
    pub(crate) fn empty(data: &Path, settings: &[(&str, &str)]) -> Self {
        Self::spawn(data, &["serve", "--no-demo"], settings, Stdio::inherit())
    }

    /// The same, and its last words are kept for [`Server::ended`].
    pub(crate) fn overheard(data: &Path, settings: &[(&str, &str)]) -> Self {
        Self::spawn(data, &["serve", "--no-demo"], settings, Stdio::piped())
    }

    /// Starts a standby of `primary`; returns when it follows.
    pub(crate) fn standby(data: &Path, primary: &str, settings: &[(&str, &str)]) -> Self {
        Self::spawn(data, &["backup", "--primary", primary], settings, Stdio::inherit())
    }

    fn spawn(data: &Path, words: &[&str], settings: &[(&str, &str)], stderr: Stdio) -> Self {
        let data = data.join("data");
        let mut child = Command::new(env!("CARGO_BIN_EXE_frontrow"))
            .arg("--json")
            .args(words)
            .envs([
                ("FRONTROW_SERVER__TCP", "127.0.0.1:0"),
                ("FRONTROW_SERVER__HTTP", "127.0.0.1:0"),
                ("FRONTROW_SERVER__CORE_PORTS", "0"),
                ("FRONTROW_SERVER__PIN", "false"),
                ("FRONTROW_LOG__SEGMENT", "8MiB"),
                ("FRONTROW_LOG__READY_SEGMENTS", "1"),
                ("FRONTROW_LOG__BACKLOG", "4MiB"),
                ("FRONTROW_LIMITS__CONNECTIONS_PER_ADDRESS", "0"),
            ])
            .env("FRONTROW_SERVER__DATA", &data)
            .envs(settings.iter().copied())
            .stdout(Stdio::piped())
            .stderr(stderr)
            .spawn()
            .expect("the binary is built with this test");
        let lines = BufReader::new(child.stdout.take().expect("piped"));
        let (url, tcp, replication, banner) = Default::default();
        let mut server = Self { child, url, tcp, replication, banner, lines };
        server.hear();
        server
    }

    /// Waits until it says where it is: at its start, and once more when a standby has become the primary.
    pub(crate) fn hear(&mut self) {
        let mut line = String::new();
        self.lines.read_line(&mut line).expect("the server says where it is");
        let said: serde_json::Value = serde_json::from_str(&line)
            .unwrap_or_else(|error| panic!("the server did not start ({error}): {line:?}"));
        let text = |key: &str| said[key].as_str().unwrap_or_default().to_owned();
        self.url = format!("http://{}", text("http"));
        (self.tcp, self.replication, self.banner) = (text("tcp"), text("replication"), text("text"));
    }

    /// HTTP with the operator's key that a development server keeps with its data.
    pub(crate) fn operator(&self, data: &Path) -> Http {
        let key = std::fs::read_to_string(data.join("data/dev-admin.key")).expect("the operator's key");
        self.http().with_admin_key(key.trim())
    }

    /// What an overheard one says on standard error, line by line.
    pub(crate) fn words(&mut self) -> tokio::sync::mpsc::UnboundedReceiver<String> {
        let (say, said) = tokio::sync::mpsc::unbounded_channel();
        let stderr = BufReader::new(self.child.stderr.take().expect("piped"));
        std::thread::spawn(move || {
            // To its end, whoever listens: a pipe that nobody reads would halt the server.
            for line in stderr.lines().map_while(Result::ok) {
                let _ = say.send(line);
            }
        });
        said
    }

    /// Waits until the process has ended by itself: its exit code, and what it said on standard error.
    pub(crate) fn ended(&mut self) -> (Option<i32>, String) {
        let mut words = String::new();
        if let Some(mut stderr) = self.child.stderr.take() {
            stderr.read_to_string(&mut words).expect("text");
        }
        (self.child.wait().expect("it ends").code(), words)
    }

    /// Its exit code, if it has ended.
    pub(crate) fn has_ended(&mut self) -> Option<i32> {
        self.child.try_wait().expect("it is ours").and_then(|status| status.code())
    }

    /// SIGTERM.
    pub(crate) fn terminate(&self) {
        self.signal(rustix::process::Signal::TERM);
    }

    /// SIGSTOP: it does nothing, and knows nothing of it.
    pub(crate) fn pause(&self) {
        self.signal(rustix::process::Signal::STOP);
    }

    /// SIGCONT: it goes on where it was.
    pub(crate) fn wake(&self) {
        self.signal(rustix::process::Signal::CONT);
    }

    fn signal(&self, signal: rustix::process::Signal) {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, signal).expect("it runs");
    }

    /// SIGKILL, and wait until the process is gone.
    pub(crate) fn kill(mut self) {
        self.child.kill().expect("it runs");
        self.child.wait().expect("it ends");
    }

    pub(crate) fn http(&self) -> Http {
        Http::new(&self.url).expect("a good address")
    }

    /// A client of `user`: over raw TCP or, every other one, over WebSocket.
    pub(crate) async fn client(&self, user: u64) -> Client {
        let token = self.http().dev_token(user).await.expect("development mode gives tokens").token;
        let endpoint = if user.is_multiple_of(2) {
            Endpoint::Tcp(self.tcp.clone())
        } else {
            Endpoint::of_http(&self.url)
        };
        let options = Options { connect_timeout: Duration::from_secs(30), ..Options::default() };
        Client::connect_with(endpoint, token, options).await.expect("the server lets the user in")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A small generator of one's own: the same crowd every time.
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    /// A number below `n`.
    pub(crate) fn below(&mut self, n: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % n
    }
}

/// Runs `test` on one thread, and fails it after `seconds` instead of letting it hang.
pub(crate) fn within<T>(seconds: u64, test: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        tokio::time::timeout(Duration::from_secs(seconds), test).await.expect("the test ends in its time")
    })
}

/// Settings of a node that has a standby or is one, and what a test wants beside them.
pub(crate) fn replicated(
    acknowledge: &'static str,
    more: &[(&'static str, &'static str)],
) -> Vec<(&'static str, &'static str)> {
    let mut all = vec![
        ("FRONTROW_SERVER__CORES", "2"),
        ("FRONTROW_PARTITIONS__COUNT", "8"),
        ("FRONTROW_PARTITIONS__REQUESTS_REMEMBERED", "16384"),
        ("FRONTROW_EVENTS__HOLD", "1h"),
        ("FRONTROW_REPLICATION__LISTEN", "127.0.0.1:0"),
        ("FRONTROW_REPLICATION__ACKNOWLEDGE", acknowledge),
        ("FRONTROW_LOG_OUTPUT__LEVEL", "warn"),
    ];
    all.extend_from_slice(more);
    all
}
