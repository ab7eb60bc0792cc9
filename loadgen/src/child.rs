//! Other servers as children: found, started on their core, ended with us.

use crate::LoadError;
use frontrow_engine::{Clock, free_port};
use rustix::process::{Pid, Signal, kill_process};
use std::ffi::OsString;
use std::fs::File;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

/// How long a server may take to start, and to end when asked to.
const PATIENCE: Duration = Duration::from_secs(30);
/// How often it is looked at meanwhile.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// The program `name` of the search path, or else of the last of `folders` that has it.
pub(crate) fn find(name: &'static str, folders: &[PathBuf]) -> Result<PathBuf, LoadError> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let all = std::env::split_paths(&path).chain(folders.iter().rev().cloned());
    let mut programs = all.map(|folder| folder.join(name));
    programs.find(|program| program.is_file()).ok_or(LoadError::Missing(name))
}

/// The `frontrow` program: the one named, or the one beside this program.
pub(crate) fn program(named: Option<&PathBuf>) -> Result<PathBuf, LoadError> {
    let beside = || Some(std::env::current_exe().ok()?.parent()?.join("frontrow"));
    let path = named.cloned().or_else(beside).unwrap_or_default();
    if path.is_file() {
        return Ok(path);
    }
    Err(LoadError::Option(format!(
        "there is no program {}; build it (`cargo build --release -p frontrow-cli`), name it with --frontrow, or \
         load a server that runs already with --running",
        path.display()
    )))
}

/// A port of the loopback that is free now.
pub(crate) fn free_address() -> Result<SocketAddr, LoadError> {
    let port =
        free_port(Ipv4Addr::LOCALHOST.into()).map_err(LoadError::connection("looking for a free port"))?;
    Ok(SocketAddr::from((Ipv4Addr::LOCALHOST, port)))
}

/// How a program is to run.
#[derive(Clone, Debug)]
pub(crate) struct Spec {
    pub(crate) program: PathBuf,
    pub(crate) args: Vec<OsString>,
    /// The only CPU it may use.
    pub(crate) cpu: Option<usize>,
    /// User and group to run as, if not ours.
    pub(crate) user: Option<(u32, u32)>,
    /// What it prints goes here.
    pub(crate) log: PathBuf,
}

impl Spec {
    /// The command line: the kernel kills the program when the thread that starts it ends.
    fn command(&self) -> Command {
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL"]);
        if let Some((user, group)) = self.user {
            command.args(["--clear-groups", &format!("--reuid={user}"), &format!("--regid={group}")]);
        }
        if let Some(cpu) = self.cpu {
            command.args(["taskset", "--cpu-list", &cpu.to_string()]);
        }
        command.arg(&self.program).args(&self.args).stdin(Stdio::null());
        command
    }

    fn failed(&self, why: impl std::fmt::Display) -> LoadError {
        let program = self.program.display().to_string();
        LoadError::Peer { program, why: why.to_string(), last: last_line(&self.log) }
    }

    fn output(&self) -> Result<(Stdio, Stdio), LoadError> {
        let file = || File::create(&self.log).and_then(|out| Ok((out.try_clone()?.into(), out.into())));
        file().map_err(|source| LoadError::File { path: self.log.clone(), source })
    }

    /// Runs it to its end, which must be a good one.
    pub(crate) fn run(&self) -> Result<(), LoadError> {
        let (out, err) = self.output()?;
        let status = self.command().stdout(out).stderr(err).status().map_err(|error| self.failed(error))?;
        if status.success() { Ok(()) } else { Err(self.failed(status)) }
    }

    /// Starts it; `ready` is asked again and again until it has an answer. `stop` is how it is asked to end.
    pub(crate) fn start<T>(
        self,
        stop: Signal,
        mut ready: impl FnMut() -> Option<T>,
    ) -> Result<(Child, T), LoadError> {
        let (out, err) = self.output()?;
        let process = self.command().stdout(out).stderr(err).spawn();
        let process = process.map_err(|error| self.failed(error))?;
        let mut child = Child { process, stop };
        let mut ended = None;
        let found = wait_until(|| {
            ended = child.process.try_wait().ok().flatten();
            if ended.is_some() { Some(None) } else { ready().map(Some) }
        });
        match (found.flatten(), ended) {
            (Some(found), _) => Ok((child, found)),
            (None, Some(status)) => Err(self.failed(status)),
            (None, None) => Err(self.failed(format!("not ready after {} s", PATIENCE.as_secs()))),
        }
    }
}

/// A running program; ended when dropped.
#[derive(Debug)]
pub(crate) struct Child {
    process: std::process::Child,
    stop: Signal,
}

impl Child {
    pub(crate) fn pid(&self) -> u32 {
        self.process.id()
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        // The process may have ended by itself; then there is nobody to signal.
        let _ = kill_process(Pid::from_child(&self.process), self.stop);
        let ended = wait_until(|| self.process.try_wait().ok().flatten());
        if ended.is_none() {
            let _ = self.process.kill();
            let _ = self.process.wait();
        }
    }
}

/// Looks again and again until there is something, for as long as patience lasts.
fn wait_until<T>(mut look: impl FnMut() -> Option<T>) -> Option<T> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().ok()?;
    let until_ns = Clock::monotonic_ns() + PATIENCE.as_nanos() as u64;
    loop {
        if let Some(found) = look() {
            return Some(found);
        }
        if Clock::monotonic_ns() > until_ns {
            return None;
        }
        runtime.block_on(async { tokio::time::sleep(LOOK_EVERY).await });
    }
}

fn last_line(log: &Path) -> String {
    let text = std::fs::read_to_string(log).unwrap_or_default();
    text.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or("nothing").trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(program: &str, args: &[&str]) -> (Spec, tempfile::TempDir) {
        let folder = tempfile::tempdir().expect("a folder");
        let program = find(if program == "sh" { "sh" } else { "sleep" }, &[]).expect("of every system");
        let args = args.iter().map(OsString::from).collect();
        (Spec { program, args, cpu: None, user: None, log: folder.path().join("log") }, folder)
    }

    #[test]
    fn a_child_ends_with_its_guard() {
        let (spec, _folder) = spec("sleep", &["600"]);
        let (child, ()) = spec.start(Signal::TERM, || Some(())).expect("started");
        let stat = PathBuf::from(format!("/proc/{}/stat", child.pid()));
        assert!(stat.exists());
        drop(child);
        assert!(!stat.exists());
    }

    #[test]
    fn a_child_that_ends_too_soon_says_why() {
        let (spec, _folder) = spec("sh", &["-c", "echo no room; exit 3"]);
        let error = spec.start(Signal::TERM, || None::<()>).expect_err("it ended").to_string();
        assert!(error.contains("exit status: 3") && error.contains("no room"), "{error}");
    }

    #[test]
    fn what_is_missing_is_named_with_its_package() {
        let error = find("no-such-server", &[]).expect_err("there is none").to_string();
        assert!(error.contains("no-such-server") && error.contains("apt-get install"), "{error}");
        assert!(!error.contains('\n'), "{error}");
    }
}
