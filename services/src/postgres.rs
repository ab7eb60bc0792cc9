//! PostgreSQL from Debian's packages, with a streaming replica where one is asked for.
//!
//! A shell watches each server: when whoever started it is gone, however it went, the shell ends the server and removes
//! its folder. So nothing is left behind by a test that is killed.

mod process;

use process::Process;
use std::io;
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Who runs it if we are root, which it refuses to be.
const USERS: [&str; 2] = ["postgres", "nobody"];
/// Its superuser.
const ROLE: &str = "frontrow";

/// Why there is no PostgreSQL.
#[derive(Debug, thiserror::Error)]
pub enum PostgresError {
    /// Its programs are not here.
    #[error(
        "PostgreSQL's initdb and postgres are neither in PATH nor in /usr/lib/postgresql/*/bin: apt install postgresql"
    )]
    Missing,
    /// One of its programs failed.
    #[error("{program}: {said}")]
    Failed {
        /// Which.
        program: String,
        /// Its last words.
        said: String,
    },
    /// A file, a port or a process.
    #[error("PostgreSQL in {folder}: {error}")]
    Io {
        /// Its folder.
        folder: PathBuf,
        /// What happened.
        error: io::Error,
    },
}

/// How it runs.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// Where its files are kept; otherwise in a folder under the system's temporary one, removed at the end.
    pub folder: Option<PathBuf>,
    /// Its port on 127.0.0.1; otherwise a free one.
    pub port: Option<u16>,
    /// Whether a commit outlives a loss of power. SIGKILL it outlives either way.
    pub fsync: bool,
    /// Further settings, `name=value`.
    pub further: Vec<String>,
}

/// A PostgreSQL of one's own, ended when dropped.
#[derive(Debug)]
pub struct Postgres {
    settings: Settings,
    programs: PathBuf,
    user: Option<User>,
    folder: PathBuf,
    port: u16,
    process: Option<Process>,
}

/// An unprivileged user.
#[derive(Clone, Copy, Debug)]
struct User {
    uid: u32,
    gid: u32,
}

/// What could not be started for want of PostgreSQL: left out loudly on somebody's machine, a failure where everything is
/// to be tested (`CI` is set).
///
/// # Panics
///
/// If it failed for another reason, or `CI` is set.
pub fn or_left_out<T>(started: Result<T, PostgresError>) -> Option<T> {
    match started {
        Ok(started) => Some(started),
        Err(error @ PostgresError::Missing) if std::env::var_os("CI").is_none() => {
            eprintln!("\n!!! LEFT OUT, NOT TESTED: {error}\n");
            None
        }
        Err(error) => panic!("{error}"),
    }
}

/// Whether there is a PostgreSQL to start.
pub fn ready() -> Result<(), PostgresError> {
    programs().map(drop).ok_or(PostgresError::Missing)
}

impl Postgres {
    /// One for tests: in a temporary folder, on a free port, without waiting for the disk.
    pub fn start() -> Result<Self, PostgresError> {
        Self::start_with(Settings::default())
    }

    /// One as `settings` say. A folder that has a database already is gone on with.
    pub fn start_with(settings: Settings) -> Result<Self, PostgresError> {
        let new = Self::prepared(settings)?;
        if !new.data().join("PG_VERSION").exists() {
            let sync: &[&str] = if new.settings.fsync { &[] } else { &["--no-sync"] };
            let mut initdb = new.command("initdb");
            initdb.args(["--username", ROLE, "--auth=trust", "--encoding=UTF8", "--locale=C"]).args(sync);
            run(initdb.arg("-D").arg(new.data()))?;
        }
        new.started()
    }

    /// A streaming replica, for reading.
    pub fn replica(&self) -> Result<Self, PostgresError> {
        self.replica_with(Settings { fsync: self.settings.fsync, ..Settings::default() })
    }

    /// A streaming replica as `settings` say. A folder that has one already is gone on with.
    pub fn replica_with(&self, settings: Settings) -> Result<Self, PostgresError> {
        let mut new = Self::prepared(settings)?;
        // One that is gone on with may have known the primary at another port.
        let primary = format!("primary_conninfo=host=127.0.0.1 port={} user={ROLE}", self.port);
        new.settings.further.push(primary);
        if !new.data().join("PG_VERSION").exists() {
            let mut copy = new.command("pg_basebackup");
            copy.args(["-h", "127.0.0.1", "-p", &self.port.to_string(), "-U", ROLE]);
            copy.args(["--write-recovery-conf", "--checkpoint=fast", "--no-sync"]);
            run(copy.arg("-D").arg(new.data()))?;
        }
        new.started()
    }

    /// Everything but the process.
    fn prepared(settings: Settings) -> Result<Self, PostgresError> {
        let programs = programs().ok_or(PostgresError::Missing)?;
        let user = rustix::process::geteuid().is_root().then(unprivileged).flatten();
        let folder = match &settings.folder {
            Some(folder) => std::fs::create_dir_all(folder).map(|()| folder.clone()),
            // Removed by the shell that watches.
            None => {
                tempfile::Builder::new().prefix("frontrow-postgres-").tempdir().map(tempfile::TempDir::keep)
            }
        };
        let failed = |error| PostgresError::Io {
            folder: settings.folder.clone().unwrap_or_else(std::env::temp_dir),
            error,
        };
        let folder = folder.and_then(std::path::absolute).map_err(failed)?;
        let own = || {
            if let Some(user) = user {
                chown(&folder, Some(user.uid), Some(user.gid))?;
            }
            std::fs::set_permissions(&folder, std::fs::Permissions::from_mode(0o700))?;
            settings.port.map_or_else(free_port, Ok)
        };
        let port = own().map_err(failed)?;
        Ok(Self { settings, programs, user, folder, port, process: None })
    }

    fn started(mut self) -> Result<Self, PostgresError> {
        self.start_again()?;
        Ok(self)
    }

    /// Starts it after [`Postgres::kill`], on the same port.
    pub fn start_again(&mut self) -> Result<(), PostgresError> {
        let fsync = if self.settings.fsync { "on" } else { "off" };
        let mut arguments = vec![
            format!("port={}", self.port),
            "listen_addresses=127.0.0.1".to_owned(),
            format!("unix_socket_directories={}", self.folder.display()),
            format!("fsync={fsync}"),
            format!("full_page_writes={fsync}"),
            "max_connections=200".to_owned(),
            "lc_messages=C".to_owned(),
            // So that a replica that was stopped for a while finds what it lacks.
            "wal_keep_size=256MB".to_owned(),
        ];
        arguments.extend(self.settings.further.iter().cloned());
        let remove = self.settings.folder.is_none().then_some(&*self.folder);
        let (shell, server) = (self.as_user("sh"), self.programs.join("postgres"));
        let started = Process::start(shell, &server, &self.data(), &arguments, remove);
        self.process = Some(started.map_err(|error| self.failed(error))?);
        Ok(())
    }

    /// Ends all its processes with SIGKILL.
    pub fn kill(&mut self) -> Result<(), PostgresError> {
        let ended = self.process.take().map_or(Ok(()), Process::kill);
        ended.map_err(|error| self.failed(error))
    }

    /// Halts all its processes, until [`Postgres::resume`].
    pub fn pause(&self) -> Result<(), PostgresError> {
        let halted = self.process.as_ref().map_or(Ok(()), Process::pause);
        halted.map_err(|error| self.failed(error))
    }

    /// Lets them go on.
    pub fn resume(&self) -> Result<(), PostgresError> {
        let going = self.process.as_ref().map_or(Ok(()), Process::resume);
        going.map_err(|error| self.failed(error))
    }

    /// CPU time its living processes have used, in seconds.
    pub fn cpu_seconds(&self) -> f64 {
        self.process.as_ref().map_or(0.0, Process::cpu_seconds)
    }

    /// Where a database is, as clients want to know it.
    pub fn url(&self, database: &str) -> String {
        format!("postgres://{ROLE}@127.0.0.1:{}/{database}", self.port)
    }

    /// Its port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Its folder: the database in `data`, its words in `server.log`, its socket.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Says something to a database with `psql`; the answer's rows, fields parted by `|`.
    pub fn sql(&self, database: &str, statement: &str) -> Result<String, PostgresError> {
        let mut psql = self.command("psql");
        psql.args(["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1"]);
        run(psql.args(["-c", statement]).arg(self.url(database)))
    }

    /// Makes a database; where it is.
    pub fn database(&self, name: &str) -> Result<String, PostgresError> {
        self.sql("postgres", &format!("CREATE DATABASE \"{name}\""))?;
        Ok(self.url(name))
    }

    fn data(&self) -> PathBuf {
        self.folder.join("data")
    }

    fn failed(&self, error: io::Error) -> PostgresError {
        PostgresError::Io { folder: self.folder.clone(), error }
    }

    /// One of PostgreSQL's programs.
    fn command(&self, program: &str) -> Command {
        self.as_user(self.programs.join(program))
    }

    /// A program, run by somebody who may run PostgreSQL.
    fn as_user(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = match self.user {
            Some(User { uid, gid }) => {
                let mut command = Command::new("setpriv");
                command.args([format!("--reuid={uid}"), format!("--regid={gid}")]).arg("--clear-groups");
                command.arg(program);
                command
            }
            None => Command::new(program),
        };
        command.current_dir(&self.folder).env("LC_ALL", "C");
        command
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        match self.process.take() {
            Some(process) => process.end(),
            // Killed, and not started again.
            None if self.settings.folder.is_none() => drop(std::fs::remove_dir_all(&self.folder)),
            None => {}
        }
    }
}

/// The folder of PostgreSQL's programs: the newest of Debian's, or what PATH has.
fn programs() -> Option<PathBuf> {
    let has_all = |folder: &PathBuf| folder.join("initdb").exists() && folder.join("pg_basebackup").exists();
    let debian = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let version = |folder: &PathBuf| -> Option<u32> { folder.parent()?.file_name()?.to_str()?.parse().ok() };
    let newest = debian.map(|entry| entry.path().join("bin")).filter(has_all).max_by_key(version);
    let path = std::env::var_os("PATH").unwrap_or_default();
    newest.or_else(|| std::env::split_paths(&path).find(has_all))
}

/// Somebody who is not root.
fn unprivileged() -> Option<User> {
    USERS.iter().find_map(|name| {
        let ask = |what: &str| {
            let said = Command::new("id").args([what, *name]).stderr(Stdio::null()).output().ok()?;
            String::from_utf8(said.stdout).ok()?.trim().parse().ok()
        };
        Some(User { uid: ask("-u")?, gid: ask("-g")? })
    })
}

fn free_port() -> io::Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}

/// Runs a program to its end; what it said.
fn run(command: &mut Command) -> Result<String, PostgresError> {
    let program = format!("{command:?}");
    let failed = |said: String| PostgresError::Failed { program: program.clone(), said };
    let output = command.stdin(Stdio::null()).output().map_err(|error| failed(error.to_string()))?;
    if !output.status.success() {
        return Err(failed(String::from_utf8_lossy(&output.stderr).trim().to_owned()));
    }
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

#[cfg(test)]
mod tests;
