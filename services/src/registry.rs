//! A schema registry: Apicurio's, which keeps schemas in memory and speaks Confluent's HTTP interface, from Maven's
//! artifacts, pinned and checked.
//!
//! It is a JVM on a free port, watched by a shell as Kafka is: it ends when whoever started it does.

use crate::kafka::artifacts::{cache, run, text};
use crate::kafka::{KafkaError, Running, WARDEN, free_ports, io};
use rustix::fs::{FlockOperation, flock};
use rustix::process::Signal;
use std::fs::{File, create_dir_all, remove_dir_all, remove_file, rename};
use std::path::{Path, PathBuf};
use std::process::Command;

/// All that it is made of, in one archive.
const ARTIFACT: &str = "io.apicurio:apicurio-registry-app:2.6.13.Final:tar.gz:all";
const FILE: &str = "apicurio-registry-app-2.6.13.Final-all.tar.gz";
const SUM: &str = include_str!("../registry.sha256");
const PROGRAM: &str = "apicurio-registry-app-2.6.13.Final-runner.jar";
const COPY: &str = "org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy";
/// What it says when it serves.
const SERVES: &str = "Listening on: ";
/// Where Confluent's interface is.
const ROOT: &str = "/apis/ccompat/v7";
/// Small, and soon there.
const FLAGS: [&str; 4] = ["-Xmx256m", "-Xms64m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"];

/// Why there is no registry.
#[derive(Debug, thiserror::Error)]
#[error("a schema registry: {0}")]
pub struct RegistryError(#[from] KafkaError);

/// A registry. Dropped, it ends, and what it knew with it.
pub struct Registry {
    folder: PathBuf,
    port: u16,
    running: Option<Running>,
}

/// Sees to it that there is one to start: the first time ever it is fetched, 140 MB.
pub fn ready() -> Result<(), RegistryError> {
    Ok(artifacts().map(drop)?)
}

impl Registry {
    /// Starts one that knows nothing, on a free port; the first time ever it is fetched.
    pub fn start() -> Result<Self, RegistryError> {
        let folder = artifacts()?;
        let port = free_ports().map_err(io("a port for the registry"))?.0;
        let mut registry = Self { folder, port, running: None };
        registry.start_again()?;
        Ok(registry)
    }

    /// Where its interface is.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}{ROOT}", self.port)
    }

    /// Starts it on the port it had, after [`Registry::kill`]. It has forgotten everything.
    pub fn start_again(&mut self) -> Result<(), RegistryError> {
        self.kill();
        let mut warden = Command::new("sh");
        warden.args(["-c", WARDEN, "sh", "", "java"]).args(FLAGS).args(self.archive(false));
        self.settle(&mut warden);
        self.running = Some(Running::start(warden, SERVES)?);
        Ok(())
    }

    /// SIGKILL.
    pub fn kill(&mut self) {
        self.end(Signal::KILL);
    }

    fn end(&mut self, signal: Signal) {
        if let Some(running) = self.running.take() {
            running.end(signal, false);
        }
    }

    /// What follows the JVM's flags.
    fn settle(&self, command: &mut Command) {
        let port = format!("-Dquarkus.http.port={}", self.port);
        command.args(["-Dquarkus.http.host=127.0.0.1", &port, "-jar"]).arg(self.folder.join(PROGRAM));
        command.current_dir(&self.folder);
    }

    /// Classes as they are in memory, which saves half of the start: to be made, or to be used if they were.
    fn archive(&self, make: bool) -> Vec<String> {
        let archive = self.folder.join("classes.jsa");
        let flag = if make { "-XX:ArchiveClassesAtExit" } else { "-XX:SharedArchiveFile" };
        let quiet = ["-Xlog:cds=off".to_owned(), "-Xlog:cds+dynamic=off".to_owned()];
        let wanted = make || archive.exists();
        wanted.then(|| format!("{flag}={}", archive.display())).into_iter().chain(quiet).collect()
    }

    /// Runs one for as long as it takes to serve, and keeps the classes it has loaded.
    fn archive_classes(folder: &Path) -> Result<(), KafkaError> {
        let port = free_ports().map_err(io("a port for the registry"))?.0;
        let mut registry = Self { folder: folder.to_owned(), port, running: None };
        let mut warden = Command::new("sh");
        warden.args(["-c", WARDEN, "sh", "", "java"]).args(FLAGS).args(registry.archive(true));
        registry.settle(&mut warden);
        registry.running = Some(Running::start(warden, SERVES)?);
        registry.end(Signal::TERM);
        Ok(())
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        self.kill();
    }
}

/// The folder of its program, in the cache; fetched if it is not there. Other processes wait for each other.
fn artifacts() -> Result<PathBuf, KafkaError> {
    run(Command::new("java").arg("-version"), "java")?;
    let cache = cache();
    let failed = || io("the registry's cache");
    create_dir_all(&cache).map_err(failed())?;
    let lock = File::create(cache.join("registry.lock")).map_err(failed())?;
    flock(&lock, FlockOperation::LockExclusive).map_err(|error| failed()(error.into()))?;
    let found = cache.join("registry");
    if std::fs::read_to_string(found.join("sum")).is_ok_and(|sum| sum == SUM) {
        return Ok(found);
    }
    let new = cache.join("registry.new");
    let _ = remove_dir_all(&new);
    create_dir_all(&new).map_err(failed())?;
    fetch(&new)?;
    std::fs::write(new.join("sum"), SUM).map_err(failed())?;
    let _ = remove_dir_all(&found);
    rename(&new, &found).map_err(failed())?;
    // Whoever cannot make it starts more slowly.
    let _ = Registry::archive_classes(&found);
    Ok(found)
}

fn fetch(folder: &Path) -> Result<(), KafkaError> {
    let mut maven = Command::new("mvn");
    maven.args(["-B", "-q", COPY]).arg(format!("-Dartifact={ARTIFACT}"));
    // The archive is kept once, unpacked.
    maven.arg(format!("-DoutputDirectory={}", folder.display())).current_dir(folder);
    let said = run(&mut maven, "mvn")?;
    if !said.status.success() {
        return Err(KafkaError::Fetch(text(&said)));
    }
    let failed = || io("the registry's cache");
    std::fs::write(folder.join("sums"), SUM).map_err(failed())?;
    let mut check = Command::new("sha256sum");
    let said = run(check.args(["--check", "--quiet", "sums"]).current_dir(folder), "sha256sum")?;
    if !said.status.success() {
        return Err(KafkaError::Checksum(text(&said)));
    }
    let said = run(Command::new("tar").args(["xzf", FILE]).current_dir(folder), "tar")?;
    if !said.status.success() {
        return Err(KafkaError::Fetch(text(&said)));
    }
    remove_file(folder.join(FILE)).map_err(failed())
}

/// What could not be started: left out loudly on somebody's machine, a failure where everything is to be tested (`CI` is
/// set).
///
/// # Panics
///
/// If `CI` is set.
pub fn or_left_out(started: Result<Registry, RegistryError>) -> Option<Registry> {
    match started {
        Ok(started) => Some(started),
        Err(error) => {
            assert!(std::env::var_os("CI").is_none(), "{error}");
            eprintln!("\n!!! LEFT OUT, NOT TESTED WITH A SCHEMA REGISTRY: {error}\n");
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_is_killed_started_again_and_gone_when_dropped() {
        let Some(mut registry) = or_left_out(Registry::start()) else { return };
        let connects = |port| std::net::TcpStream::connect(("127.0.0.1", port)).is_ok();
        assert!(connects(registry.port) && registry.url().contains(&registry.port.to_string()));
        registry.kill();
        assert!(!connects(registry.port));
        registry.start_again().unwrap();
        let port = registry.port;
        assert!(connects(port));
        drop(registry);
        assert!(!connects(port));
    }
}
