//! One `frontrow` as a process: started when it says where it is, ended by SIGTERM.

use crate::Outcome;
use crate::places::{Places, Settings};
use frontrow_server::shell::quoted;
use rustix::process::{Pid, Signal, kill_process};
use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, TryRecvError, channel};
use std::time::Duration;

/// One that has not ended by then is killed: its log has everything.
const PATIENCE: Duration = Duration::from_secs(20);
/// How many of its last lines are repeated.
const LINES: usize = 8;

pub(crate) struct Program {
    name: &'static str,
    child: Child,
    /// Nothing ever comes; its end is the process's.
    alive: Receiver<()>,
    log: PathBuf,
}

impl Program {
    pub(crate) fn start(
        places: &Places,
        name: &'static str,
        words: &[&str],
        settings: &Settings,
    ) -> Outcome<Self> {
        let log = places.folder(&format!("{name}.log"));
        let mut file = File::options().create(true).append(true).open(&log)?;
        // It ends with this process, however that goes. A group of its own: an interrupt at the terminal is for this one.
        let mut child = Command::new("setpriv");
        for name in foreign() {
            child.env_remove(name);
        }
        let mut child = child
            .args(["--pdeathsig", "TERM"])
            .arg(&places.program)
            .arg("--json")
            .args(words)
            .envs(settings.iter().map(|(key, value)| (key, value)))
            .env("NO_COLOR", "1")
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(file.try_clone()?)
            .spawn()
            .map_err(|error| format!("setpriv: {error}; apt-get install util-linux"))?;
        let mut lines = BufReader::new(child.stdout.take().ok_or("no output")?).lines();
        let first = lines.next().transpose()?.unwrap_or_default();
        if !first.contains("\"ok\":true") {
            let _ = child.wait();
            return Err(
                format!("it did not start; {} ends with:\n{}{first}", log.display(), last(&log)).into()
            );
        }
        let (end, alive) = channel::<()>();
        std::thread::Builder::new().name(name.to_owned()).spawn(move || {
            for line in lines.map_while(Result::ok) {
                let _ = writeln!(file, "{line}");
            }
            drop(end);
        })?;
        Ok(Self { name, child, alive, log })
    }

    /// Its process.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// How it ended, once it has, and what its log ends with.
    pub(crate) fn ended(mut self) -> (String, String) {
        let ended = self.child.wait().map_or_else(|error| error.to_string(), |status| status.to_string());
        (ended, format!("{} ends with:\n{}", self.log.display(), last(&self.log)))
    }

    /// What to say if it has ended, which nobody asked it to.
    pub(crate) fn has_ended(&self) -> Option<String> {
        let Self { name, log, .. } = self;
        (self.alive.try_recv() == Err(TryRecvError::Disconnected))
            .then(|| format!("{name} has ended by itself; {} ends with:\n{}", log.display(), last(log)))
    }

    /// Returns when it is gone.
    pub(crate) fn end(mut self) {
        // Not waited for yet, so the number is still its own.
        let _ = kill_process(Pid::from_child(&self.child), Signal::TERM);
        if self.alive.recv_timeout(PATIENCE) == Err(RecvTimeoutError::Timeout) {
            eprintln!("{} has not ended after {PATIENCE:?}, and is killed", self.name);
            let _ = self.child.kill();
        }
        let _ = self.child.wait();
    }
}

/// What stands in the environment for a `frontrow`. Each part has its own settings: mixed with these it would be neither as
/// somebody wanted it nor as it is said here.
pub(crate) fn foreign() -> impl Iterator<Item = String> {
    let names = std::env::vars_os().filter_map(|(name, _)| name.into_string().ok());
    names.filter(|name| name.starts_with("FRONTROW_"))
}

/// What starts one in a shell.
pub(crate) fn command(places: &Places, words: &[&str], settings: &Settings) -> String {
    let foreign = foreign().flat_map(|name| ["-u".to_owned(), quoted(&name)]);
    let settings = settings.iter().map(|(key, value)| format!("{key}={}", quoted(value)));
    let program = quoted(&places.program.display().to_string());
    let all = std::iter::once("env".to_owned()).chain(foreign).chain(settings).chain([program]);
    all.chain(words.iter().map(ToString::to_string)).collect::<Vec<_>>().join(" ")
}

/// The last lines of a file.
fn last(log: &Path) -> String {
    let text = std::fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    let last = &lines[lines.len().saturating_sub(LINES)..];
    last.iter().flat_map(|line| ["  ", line, "\n"]).collect()
}
