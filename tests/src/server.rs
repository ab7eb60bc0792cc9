//! A server as a process of its own.

use frontrow_client::{Endpoint, Http};
use frontrow_engine::EngineKind;
use frontrow_server::identity::{Expected, Minter};
use frontrow_shard::UserId;
use rustix::process::{Pid, Resource, Rlimit, Signal, getrlimit, kill_process, setrlimit};
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;
use tempfile::TempDir;

/// What tokens are signed with.
const SECRET: &str = "a secret that is known to every test of this crate";
/// The operator's key.
pub const ADMIN_KEY: &str = "an operator's key that is known to every test";
/// How long a server may take to start.
const START: Duration = Duration::from_secs(20);

/// An engine of the configuration, where it can run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Engine {
    /// monoio over io_uring.
    IoUring,
    /// monoio over epoll.
    Epoll,
    /// glommio.
    Glommio,
}

impl Engine {
    /// As the configuration names it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::IoUring => "io_uring",
            Self::Epoll => "epoll",
            Self::Glommio => "glommio",
        }
    }

    /// Whether it runs here; says so aloud if it does not.
    pub fn runs_here(self, cores: usize) -> bool {
        let kind = match self {
            Self::IoUring => EngineKind::MonoioUring,
            Self::Epoll => EngineKind::MonoioEpoll,
            Self::Glommio => EngineKind::Glommio,
        };
        match frontrow_engine::choose(kind, cores, &frontrow_engine::probe()) {
            Ok(_) => true,
            Err(error) => {
                println!("SKIPPED with engine {}, which cannot run here: {error}", self.name());
                false
            }
        }
    }
}

/// How a server is to be configured. Ports are free ones, tables and segments small.
#[derive(Clone, Debug)]
pub struct Setup {
    /// The engine.
    pub engine: Engine,
    /// How many shard cores.
    pub cores: usize,
    /// How many partitions.
    pub partitions: u16,
    /// Lines of `[limits]`.
    pub limits: String,
    /// Lines of `[events]`.
    pub events: String,
}

impl Setup {
    /// The usual server of these tests.
    pub fn new(engine: Engine, cores: usize) -> Self {
        Self { engine, cores, partitions: 16, limits: String::new(), events: String::new() }
    }

    /// The same with these lines of `[events]`.
    #[must_use]
    pub fn events(self, lines: &str) -> Self {
        Self { events: lines.to_owned(), ..self }
    }

    /// The same with these lines of `[limits]`.
    #[must_use]
    pub fn limits(self, lines: &str) -> Self {
        Self { limits: lines.to_owned(), ..self }
    }

    fn text(&self) -> String {
        let Self { engine, cores, partitions, limits, events } = self;
        format!(
            "[server]\ntcp = \"127.0.0.1:0\"\nhttp = \"127.0.0.1:0\"\ncore_ports = 0\ndata = \"data\"\n\
             engine = \"{}\"\ncores = {cores}\npin = false\n\
             [partitions]\ncount = {partitions}\nrequests_remembered = 16384\nwaiting = 2048\nqueues = 256\n\
             section_claims = 512\n\
             [log]\nsegment = \"4MiB\"\nready_segments = 1\nbacklog = \"4MiB\"\n\
             [limits]\n{limits}\n[identity]\nhs256_secret = \"{SECRET}\"\n[admin]\nkey = \"{ADMIN_KEY}\"\n\
             [events]\n{events}\n[log_output]\nlevel = \"info\"\n",
            engine.name()
        )
    }
}

/// A folder for one server's data and configuration, deleted in the end.
pub struct Home {
    folder: TempDir,
    program: &'static str,
}

impl Home {
    /// A new one below `parent` (`env!("CARGO_TARGET_TMPDIR")`), for servers of `program`
    /// (`env!("CARGO_BIN_EXE_frontrow-test-server")`).
    pub fn new(parent: &str, program: &'static str) -> Self {
        raise_descriptor_limit();
        Self { folder: TempDir::new_in(parent).expect("a folder on disk"), program }
    }

    /// The data directory.
    pub fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Starts a server; panics if it does not start.
    pub async fn start(&self, setup: &Setup) -> ServerProcess {
        match self.try_start(&setup.text()).await {
            Ok(server) => server,
            Err(why) => panic!("the server does not start: {why}"),
        }
    }

    /// The configuration file's text for `setup`, to be changed and given to [`Home::try_start`].
    pub fn text(setup: &Setup) -> String {
        setup.text()
    }

    /// Starts a server with this configuration file; what it said if it did not start.
    pub async fn try_start(&self, text: &str) -> Result<ServerProcess, String> {
        let file = self.folder.path().join("frontrow.toml");
        std::fs::write(&file, text).map_err(|error| error.to_string())?;
        let said = self.folder.path().join("stderr.txt");
        let stderr = std::fs::File::create(&said).map_err(|error| error.to_string())?;
        let spawned = Command::new(self.program)
            .arg(&file)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(stderr)
            .spawn();
        let mut child = spawned.map_err(|error| error.to_string())?;
        let mut stdout = BufReader::new(child.stdout.take().expect("piped above"));
        // Guarded from here on: whatever happens, the process ends with the test.
        let mut server = ServerProcess::new(child, said.clone());
        let line = tokio::task::spawn_blocking(move || {
            let mut line = String::new();
            stdout.read_line(&mut line).map(|_| line)
        });
        let line = tokio::time::timeout(START, line).await.map_err(|_| "it says nothing".to_owned())?;
        let line = line.map_err(|error| error.to_string())?.map_err(|error| error.to_string())?;
        if line.is_empty() {
            let status = server.child.wait().map_err(|error| error.to_string())?;
            return Err(format!("{status}: {}", std::fs::read_to_string(&said).unwrap_or_default()));
        }
        server.read(&line);
        Ok(server)
    }
}

/// A running server, killed when dropped.
pub struct ServerProcess {
    child: Child,
    said: PathBuf,
    /// Where raw TCP clients connect.
    pub tcp: SocketAddr,
    /// Where HTTP and WebSocket clients connect.
    pub http: SocketAddr,
    /// Each core's own port.
    pub cores: Vec<SocketAddr>,
    /// The engine, as the server names it.
    pub engine: String,
    /// Records replayed at the start.
    pub replayed: u64,
}

impl Drop for ServerProcess {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl ServerProcess {
    fn new(child: Child, said: PathBuf) -> Self {
        let nowhere = SocketAddr::from(([127, 0, 0, 1], 0));
        let engine = String::new();
        Self { child, said, tcp: nowhere, http: nowhere, cores: Vec::new(), engine, replayed: 0 }
    }

    fn read(&mut self, line: &str) {
        let value: serde_json::Value = serde_json::from_str(line).expect("the ready line is JSON");
        let address = |text: &serde_json::Value| text.as_str().and_then(|text| text.parse().ok());
        self.tcp = address(&value["tcp"]).expect("an address");
        self.http = address(&value["http"]).expect("an address");
        self.cores = value["cores"].as_array().into_iter().flatten().filter_map(address).collect();
        value["engine"].as_str().unwrap_or_default().clone_into(&mut self.engine);
        self.replayed = value["replayed"].as_u64().unwrap_or_default();
    }

    /// What the server wrote to its standard error.
    pub fn stderr(&self) -> String {
        std::fs::read_to_string(&self.said).unwrap_or_default()
    }

    /// The HTTP side.
    pub fn http(&self) -> Http {
        Http::new(&format!("http://{}", self.http)).expect("an address").with_admin_key(ADMIN_KEY)
    }

    /// The Rust client's name for the TCP door.
    pub fn tcp_endpoint(&self) -> Endpoint {
        Endpoint::Tcp(self.tcp.to_string())
    }

    /// The Rust client's name for the WebSocket door.
    pub fn ws_endpoint(&self) -> Endpoint {
        Endpoint::WebSocket(format!("ws://{}/v1/ws", self.http))
    }

    /// Ends the process without a warning, as a crash does.
    pub fn kill(mut self) {
        self.child.kill().expect("it can be killed");
        self.child.wait().expect("it is our child");
    }

    /// Asks the process to end, and waits until it has.
    pub async fn stop(mut self) -> ExitStatus {
        let pid = Pid::from_raw(self.child.id().cast_signed()).expect("a pid");
        kill_process(pid, Signal::TERM).expect("it can be signalled");
        loop {
            if let Some(status) = self.child.try_wait().expect("it is our child") {
                return status;
            }
            // There is nothing to wait on that does not block this thread; the test's own limit holds.
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    /// The sum over all cores of a metric whose line contains `label` (empty for all lines).
    pub async fn metric(&self, name: &str, label: &str) -> u64 {
        let text = self.get("/metrics").await;
        let named = |line: &&str| line.strip_prefix(name).is_some_and(|rest| rest.starts_with('{'));
        let lines = text.lines().filter(named).filter(|line| line.contains(label));
        lines.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum::<f64>() as u64
    }

    /// The body of a page.
    pub async fn get(&self, path: &str) -> String {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        let mut socket = tokio::net::TcpStream::connect(self.http).await.expect("HTTP answers");
        let request = format!("GET {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n", self.http);
        socket.write_all(request.as_bytes()).await.expect("HTTP reads");
        let mut answer = Vec::new();
        socket.read_to_end(&mut answer).await.expect("HTTP writes");
        let text = String::from_utf8_lossy(&answer);
        text.split_once("\r\n\r\n").map_or_else(String::new, |(_, body)| body.to_owned())
    }
}

/// A user's connection token, good for an hour.
pub fn token(user: UserId) -> String {
    token_from(user, frontrow_engine::Clock::wall_ms() / 1000, 3600)
}

/// A token made at `from_s` for `lasts_s` seconds.
pub fn token_from(user: UserId, from_s: u64, lasts_s: u64) -> String {
    Minter::new(SECRET.as_bytes(), &Expected::default()).mint(user, from_s, lasts_s)
}

/// A crowd needs a descriptor each.
fn raise_descriptor_limit() {
    let limit = getrlimit(Resource::Nofile);
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum });
}
