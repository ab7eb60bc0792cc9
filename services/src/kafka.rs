//! One Apache Kafka node (KRaft) from Maven artifacts, pinned and checked.
//!
//! A node is a JVM with a folder of its own, on free ports unless one is given. A shell stands between it and this process:
//! when this process ends, in whatever way, the shell's standard input ends, and it takes the node away, and its folder if
//! that is a temporary one.

pub(crate) mod artifacts;

use artifacts::Artifacts;
use rustix::process::{Pid, Signal, kill_process};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::Duration;

/// A node that does not serve by then will not.
const START_UP: Duration = Duration::from_secs(120);
/// A node that was told to end has ended by then.
const STOP: Duration = Duration::from_secs(60);
/// What a node says when it serves.
const SERVES: &str = "Kafka Server started";

/// Takes a node away when nobody is left who wants it: `$1` is the folder to remove, or nothing, the rest its command. It
/// says the node's process id, waits until its own input ends, and leaves the folder if it read a line before.
pub(crate) const WARDEN: &str = "folder=$1; shift; exec 3<&0; \"$@\" </dev/null & pid=$!; echo \"pid $pid\"; \
                      read -r keep <&3; exec 2>/dev/null; kill -9 $pid; wait $pid; [ -n \"$keep\" ] || [ -z \"$folder\" ] || \
                      rm -rf \"$folder\"";

/// Why there is no Kafka.
#[derive(Debug, thiserror::Error)]
pub enum KafkaError {
    /// A program is missing.
    #[error(
        "{0} is missing, so there is neither Kafka nor a schema registry: apt-get install default-jre-headless maven"
    )]
    Missing(&'static str),
    /// Maven could not fetch it.
    #[error(
        "Maven could not fetch it; see whether Maven Central, or the mirror of ~/.m2/settings.xml, can be \
         reached:\n{0}"
    )]
    Fetch(String),
    /// What was fetched is something else.
    #[error("what Maven fetched is not what services/*.sha256 says; nothing of it was run:\n{0}")]
    Checksum(String),
    /// It ended, or did not begin to serve.
    #[error("its process did not begin to serve:\n{0}")]
    Start(String),
    /// Files and processes.
    #[error("{what}: {source}")]
    Io {
        /// What was tried.
        what: String,
        /// What came of it.
        source: std::io::Error,
    },
}

pub(crate) fn io(what: impl Into<String>) -> impl FnOnce(std::io::Error) -> KafkaError {
    move |source| KafkaError::Io { what: what.into(), source }
}

/// How much a node may take.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Size {
    /// Soon there, and small: for tests.
    #[default]
    Small,
    /// Compiled well, with more memory: for figures.
    Large,
}

/// How a node runs.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// How much it may take.
    pub size: Size,
    /// Where its data are kept; otherwise in a temporary folder, removed at the end.
    pub folder: Option<PathBuf>,
    /// Its port on 127.0.0.1; otherwise a free one.
    pub port: Option<u16>,
}

/// A node. Dropped, it ends, and its data with it unless they have a folder of their own.
pub struct Kafka {
    artifacts: Artifacts,
    size: Size,
    folder: PathBuf,
    /// The same, if it is to be removed.
    temporary: Option<tempfile::TempDir>,
    port: u16,
    running: Option<Running>,
}

pub(crate) struct Running {
    warden: Child,
    input: Option<ChildStdin>,
    pid: Pid,
}

/// Sees to it that there is a Kafka to start: the first time ever it is fetched.
pub fn ready() -> Result<(), KafkaError> {
    Artifacts::ready().map(drop)
}

impl Kafka {
    /// Starts a small one; the first time ever it is fetched.
    pub fn start() -> Result<Self, KafkaError> {
        Self::start_with(Settings::default())
    }

    /// Starts one of this size.
    pub fn start_of(size: Size) -> Result<Self, KafkaError> {
        Self::start_with(Settings { size, ..Settings::default() })
    }

    /// Starts one as `settings` say. A folder that has a node's data already is gone on with.
    pub fn start_with(settings: Settings) -> Result<Self, KafkaError> {
        let artifacts = Artifacts::ready()?;
        let Settings { size, folder, port } = settings;
        let (folder, temporary) = place(folder).map_err(io("a folder for Kafka"))?;
        let (free, controller) = free_ports().map_err(io("ports for Kafka"))?;
        let port = port.unwrap_or(free);
        write_settings(&folder, port, controller)?;
        let data = folder.join("data");
        if !data.exists() {
            // Whole or not at all.
            let new = folder.join("data.new");
            let _ = std::fs::remove_dir_all(&new);
            artifacts.format(&new)?;
            std::fs::rename(&new, &data).map_err(io(data.display().to_string()))?;
        }
        let mut kafka = Self { artifacts, size, folder, temporary, port, running: None };
        kafka.start_again()?;
        Ok(kafka)
    }

    /// Where clients connect.
    pub fn brokers(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Starts it on the ports and data it had. Returns when it serves.
    pub fn start_again(&mut self) -> Result<(), KafkaError> {
        self.end(Signal::KILL, true);
        let command = self.artifacts.java(self.size);
        let settings = self.folder.join("server.properties");
        let mut warden = Command::new("sh");
        let remove = self.temporary.as_ref().map_or(Path::new(""), tempfile::TempDir::path);
        warden.args(["-c", WARDEN, "sh"]).arg(remove).args(command);
        warden.arg("kafka.Kafka").arg(settings);
        self.running = Some(Running::start(warden, SERVES)?);
        Ok(())
    }

    /// SIGKILL. Its data stay.
    pub fn kill(&mut self) {
        self.end(Signal::KILL, true);
    }

    /// Ends it cleanly. Its data stay.
    pub fn stop(&mut self) {
        self.end(Signal::TERM, true);
    }

    /// SIGSTOP: it answers nobody, and keeps its connections.
    pub fn pause(&self) {
        self.signal(Signal::STOP);
    }

    /// SIGCONT.
    pub fn resume(&self) {
        self.signal(Signal::CONT);
    }

    fn signal(&self, signal: Signal) {
        if let Some(running) = &self.running {
            let _ = kill_process(running.pid, signal);
        }
    }

    fn end(&mut self, signal: Signal, keep: bool) {
        if let Some(running) = self.running.take() {
            running.end(signal, keep);
        }
    }
}

impl Drop for Kafka {
    fn drop(&mut self) {
        self.end(Signal::KILL, false);
    }
}

impl Running {
    /// Starts the shell with the node under it, and waits until the node says that it serves.
    pub(crate) fn start(mut warden: Command, serves: &'static str) -> Result<Self, KafkaError> {
        // A group of its own: an interrupt at the terminal is for whoever started it.
        let pipes =
            warden.process_group(0).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::inherit());
        let mut child = pipes.spawn().map_err(io("a shell for Kafka"))?;
        let (input, output) = (child.stdin.take(), child.stdout.take());
        let mut output = BufReader::new(output.expect("it is piped"));
        let mut first = String::new();
        output.read_line(&mut first).map_err(io("Kafka's process"))?;
        let pid = first.trim().strip_prefix("pid ").and_then(|pid| pid.parse().ok()).and_then(Pid::from_raw);
        let pid = pid.ok_or(KafkaError::Start(first))?;
        let running = Self { warden: child, input, pid };
        match wait_for(output, serves) {
            Ok(()) => Ok(running),
            Err(said) => {
                running.end(Signal::KILL, true);
                Err(KafkaError::Start(said))
            }
        }
    }

    pub(crate) fn end(mut self, signal: Signal, keep: bool) {
        let _ = kill_process(self.pid, signal);
        if signal != Signal::KILL {
            // Readable when it has ended; and the shell below sees to it if it has not.
            let _ = artifacts::wait_until_gone(self.pid, STOP);
        }
        if let Some(mut input) = self.input.take() {
            let _ = if keep { input.write_all(b"keep\n") } else { Ok(()) };
        }
        let _ = self.warden.wait();
    }
}

/// Reads what the node says until it serves; what it said, if it does not. The rest is read by a thread, so that it never
/// waits for a reader.
fn wait_for(mut output: BufReader<impl Read + Send + 'static>, serves: &str) -> Result<(), String> {
    let (tell, told) = channel();
    std::thread::spawn(move || {
        let mut line = String::new();
        while output.read_line(&mut line).is_ok_and(|bytes| bytes > 0) {
            let _ = tell.send(std::mem::take(&mut line));
        }
    });
    let mut said = String::new();
    loop {
        match told.recv_timeout(START_UP) {
            Ok(line) if line.contains(serves) => return Ok(()),
            Ok(line) => said.push_str(&line),
            Err(RecvTimeoutError::Timeout) => return Err(said + "(nothing more within two minutes)"),
            Err(RecvTimeoutError::Disconnected) => return Err(said + "(it ended)"),
        }
    }
}

/// A node's folder; a temporary one if none is given.
fn place(given: Option<PathBuf>) -> std::io::Result<(PathBuf, Option<tempfile::TempDir>)> {
    if let Some(folder) = given {
        std::fs::create_dir_all(&folder)?;
        return Ok((std::path::absolute(folder)?, None));
    }
    let temporary = tempfile::Builder::new().prefix("frontrow-kafka-").tempdir()?;
    Ok((temporary.path().to_owned(), Some(temporary)))
}

/// Two ports that nobody has. Somebody may take one before the node does: then it does not start.
pub(crate) fn free_ports() -> std::io::Result<(u16, u16)> {
    let free = || TcpListener::bind((Ipv4Addr::LOCALHOST, 0));
    let (one, other) = (free()?, free()?);
    Ok((one.local_addr()?.port(), other.local_addr()?.port()))
}

fn write_settings(folder: &Path, port: u16, controller: u16) -> Result<(), KafkaError> {
    let data: PathBuf = folder.join("data");
    let settings = format!(
        "process.roles=broker,controller\n\
         node.id=1\n\
         controller.quorum.voters=1@127.0.0.1:{controller}\n\
         listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}\n\
         advertised.listeners=PLAINTEXT://127.0.0.1:{port}\n\
         controller.listener.names=CONTROLLER\n\
         log.dirs={}\n\
         auto.create.topics.enable=false\n\
         offsets.topic.replication.factor=1\n\
         offsets.topic.num.partitions=1\n\
         transaction.state.log.replication.factor=1\n\
         transaction.state.log.min.isr=1\n\
         transaction.state.log.num.partitions=1\n\
         share.coordinator.state.topic.replication.factor=1\n\
         share.coordinator.state.topic.min.isr=1\n\
         share.coordinator.state.topic.num.partitions=1\n\
         group.initial.rebalance.delay.ms=0\n\
         log.cleaner.dedupe.buffer.size=4194304\n\
         log.segment.bytes=67108864\n\
         num.io.threads=2\n\
         num.network.threads=2\n",
        data.display()
    );
    let path = folder.join("server.properties");
    std::fs::write(&path, settings).map_err(io(path.display().to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Loud where there is none: nobody is to believe that it was tested.
    #[test]
    fn a_node_is_killed_started_again_and_gone_when_dropped() {
        let mut kafka = match Kafka::start() {
            Ok(kafka) => kafka,
            Err(error) if std::env::var_os("CI").is_none() => {
                eprintln!("NOT TESTED: {error}");
                return;
            }
            Err(error) => panic!("{error}"),
        };
        let connects = |kafka: &Kafka| std::net::TcpStream::connect(kafka.brokers()).is_ok();
        assert!(connects(&kafka));
        kafka.kill();
        assert!(!connects(&kafka));
        kafka.start_again().unwrap();
        assert!(connects(&kafka));
        kafka.stop();
        assert!(!connects(&kafka));
        kafka.start_again().unwrap();
        let (folder, address) = (kafka.folder.clone(), kafka.brokers());
        assert!(folder.exists());
        drop(kafka);
        assert!(!folder.exists() && std::net::TcpStream::connect(address).is_err());
    }

    #[test]
    fn a_folder_of_ones_own_is_kept_and_gone_on_with_on_the_port_that_is_asked_for() {
        let kept = tempfile::tempdir().unwrap();
        let port = free_ports().unwrap().0;
        for _ in 0..2 {
            let settings =
                Settings { folder: Some(kept.path().into()), port: Some(port), ..Settings::default() };
            match Kafka::start_with(settings) {
                Ok(kafka) => assert_eq!(kafka.brokers(), format!("127.0.0.1:{port}")),
                Err(error) if std::env::var_os("CI").is_none() => return eprintln!("NOT TESTED: {error}"),
                Err(error) => panic!("{error}"),
            }
            assert!(kept.path().join("data/meta.properties").exists());
        }
    }
}
