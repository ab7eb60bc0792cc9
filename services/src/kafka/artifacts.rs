//! What a node is made of: fetched once with Maven, compared with the sums in the repository, and kept for every process of
//! this user.

use super::{KafkaError, Size, io};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{FlockOperation, flock};
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use std::fs::{File, create_dir_all, remove_dir_all, rename};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

const POM: &str = include_str!("../../kafka.pom.xml");
const SUMS: &str = include_str!("../../kafka.sha256");
const COPY: &str = "org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy-dependencies";
/// Every node is a cluster of its own, and needs no other name.
const CLUSTER: &str = "MkU3OEVBNTcwNTJENDM2Qg";
/// What a process says of itself, on its standard output.
const LOGGING: [&str; 5] = [
    "-Dorg.slf4j.simpleLogger.logFile=System.out",
    "-Dorg.slf4j.simpleLogger.defaultLogLevel=error",
    "-Dorg.slf4j.simpleLogger.log.kafka.server.KafkaRaftServer=info",
    "-Xlog:cds=off",
    "-Xlog:cds+dynamic=off",
];

/// A folder with `jars/`, a formatted `data/` to begin with, and `classes.jsa`: classes as they are in memory, which halves
/// the time to start.
#[derive(Clone, Debug)]
pub(super) struct Artifacts {
    folder: PathBuf,
}

impl Artifacts {
    /// As they are in the cache; fetched if they are not. Other processes wait for each other.
    pub(super) fn ready() -> Result<Self, KafkaError> {
        run(Command::new("java").arg("-version"), "java")?;
        let cache = cache();
        create_dir_all(&cache).map_err(io(cache.display().to_string()))?;
        let lock = File::create(cache.join("kafka.lock")).map_err(io("the lock of Kafka's cache"))?;
        flock(&lock, FlockOperation::LockExclusive).map_err(|error| io("Kafka's cache")(error.into()))?;
        let found = Self { folder: cache.join("kafka") };
        let sums = std::fs::read_to_string(found.folder.join("sums"));
        if sums.is_ok_and(|sums| sums == SUMS) {
            return Ok(found);
        }
        let new = Self { folder: cache.join("kafka.new") };
        let _ = remove_dir_all(&new.folder);
        new.fetch()?;
        std::fs::write(new.folder.join("sums"), SUMS).map_err(io("Kafka's cache"))?;
        let _ = remove_dir_all(&found.folder);
        rename(&new.folder, &found.folder).map_err(io("Kafka's cache"))?;
        // Whoever cannot make it starts more slowly.
        let _ = found.archive_classes();
        Ok(found)
    }

    fn fetch(&self) -> Result<(), KafkaError> {
        create_dir_all(&self.folder).map_err(io("Kafka's cache"))?;
        let pom = self.folder.join("pom.xml");
        std::fs::write(&pom, POM).map_err(io("Kafka's cache"))?;
        let to = format!("-DoutputDirectory={}", self.jars().display());
        let mut maven = Command::new("mvn");
        maven.args(["-B", "-q", "-f"]).arg(pom).args([COPY, "-DincludeScope=runtime"]).arg(to);
        let said = run(&mut maven, "mvn")?;
        if !said.status.success() {
            return Err(KafkaError::Fetch(text(&said)));
        }
        let sums = self.folder.join("kafka.sha256");
        std::fs::write(&sums, SUMS).map_err(io("Kafka's cache"))?;
        let mut check = Command::new("sha256sum");
        let said = run(check.arg("--check").arg("--quiet").arg(sums).current_dir(self.jars()), "sha256sum")?;
        let files = std::fs::read_dir(self.jars()).map_err(io("Kafka's cache"))?.count();
        if !said.status.success() || files != SUMS.lines().count() {
            return Err(KafkaError::Checksum(format!("{}{files} files", text(&said))));
        }
        let settings = self.folder.join("format.properties");
        let data = self.folder.join("data");
        super::write_settings(&self.folder, 1, 2)?;
        rename(self.folder.join("server.properties"), &settings).map_err(io("Kafka's cache"))?;
        let mut format = Command::new("java");
        format.args(self.flags(Size::Small)).args(["kafka.tools.StorageTool", "format", "-t", CLUSTER, "-c"]);
        let said = run(format.arg(settings), "java")?;
        if !said.status.success() || !data.exists() {
            return Err(KafkaError::Start(text(&said)));
        }
        Ok(())
    }

    /// Runs a node for as long as it takes to serve, and keeps the classes it has loaded.
    fn archive_classes(&self) -> Result<(), KafkaError> {
        let (port, controller) = super::free_ports().map_err(io("ports"))?;
        let folder = tempfile::tempdir().map_err(io("a folder"))?;
        super::write_settings(folder.path(), port, controller)?;
        self.format(&folder.path().join("data"))?;
        let mut command = Command::new("sh");
        command.args(["-c", super::WARDEN, "sh"]).arg(folder.path()).arg("java");
        command
            .args(self.flags(Size::Small))
            .arg(format!("-XX:ArchiveClassesAtExit={}", self.archive().display()));
        command.arg("kafka.Kafka").arg(folder.path().join("server.properties"));
        super::Running::start(command, super::SERVES)?.end(rustix::process::Signal::TERM, false);
        Ok(())
    }

    /// Data of a node that has never run.
    pub(super) fn format(&self, data: &Path) -> Result<(), KafkaError> {
        let said = run(Command::new("cp").arg("-r").arg(self.folder.join("data")).arg(data), "cp")?;
        if said.status.success() { Ok(()) } else { Err(KafkaError::Start(text(&said))) }
    }

    /// The command of a node, but for its class and settings.
    pub(super) fn java(&self, size: Size) -> Vec<String> {
        let mut command = vec!["java".to_owned()];
        command.extend(self.flags(size));
        if size == Size::Small && self.archive().exists() {
            command.push(format!("-XX:SharedArchiveFile={}", self.archive().display()));
        }
        command
    }

    fn flags(&self, size: Size) -> Vec<String> {
        let sized: &[&str] = match size {
            Size::Small => &["-Xmx256m", "-Xms64m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"],
            Size::Large => &["-Xmx1g", "-Xms512m", "-XX:+UseSerialGC"],
        };
        let mut flags: Vec<String> = sized.iter().chain(&LOGGING).map(|&flag| flag.to_owned()).collect();
        flags.extend(["-cp".to_owned(), format!("{}/*", self.jars().display())]);
        flags
    }

    fn jars(&self) -> PathBuf {
        self.folder.join("jars")
    }

    fn archive(&self) -> PathBuf {
        self.folder.join("classes.jsa")
    }
}

/// `$XDG_CACHE_HOME/frontrow` or `~/.cache/frontrow`.
pub(crate) fn cache() -> PathBuf {
    let given = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let home = || given("HOME").map(|home| home.join(".cache"));
    given("XDG_CACHE_HOME").or_else(home).unwrap_or_else(std::env::temp_dir).join("frontrow")
}

pub(crate) fn run(command: &mut Command, name: &'static str) -> Result<Output, KafkaError> {
    command.output().map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => KafkaError::Missing(name),
        _ => io(name)(error),
    })
}

pub(crate) fn text(said: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&said.stdout), String::from_utf8_lossy(&said.stderr))
}

/// Waits until a process has ended, at most this long.
pub(super) fn wait_until_gone(pid: Pid, most: Duration) -> std::io::Result<()> {
    let fd = pidfd_open(pid, PidfdFlags::empty())?;
    let most = Timespec { tv_sec: most.as_secs().cast_signed(), tv_nsec: 0 };
    poll(&mut [PollFd::new(&fd, PollFlags::IN)], Some(&most))?;
    Ok(())
}
