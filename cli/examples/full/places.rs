//! Folders and ports: the usual ones where nobody has them.

use crate::Outcome;
use rustix::fs::{FlockOperation, flock};
use std::fs::File;
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};

/// Where everything is.
pub(crate) struct Places {
    folder: PathBuf,
    /// Nobody else starts anything on this folder while it is held.
    _lock: File,
    /// The `frontrow` that is run.
    pub(crate) program: PathBuf,
    pub(crate) http: u16,
    pub(crate) tcp: u16,
    core_ports: u16,
    pub(crate) replication: u16,
    /// The backup's HTTP and raw TCP.
    pub(crate) backup: u16,
    backup_tcp: u16,
    pub(crate) kafka: u16,
    pub(crate) postgres: u16,
    pub(crate) replica: u16,
    pub(crate) service: u16,
}

/// What a process is told.
pub(crate) type Settings = Vec<(&'static str, String)>;

impl Places {
    pub(crate) fn of(folder: &Path) -> Outcome<Self> {
        std::fs::create_dir_all(folder).map_err(|error| format!("{}: {error}", folder.display()))?;
        let lock = File::create(folder.join("lock"))?;
        flock(&lock, FlockOperation::NonBlockingLockExclusive).map_err(|_| {
            format!("another run-full has {}; end it, or give another folder", folder.display())
        })?;
        let own = std::env::current_exe()?;
        // Examples lie in a folder beside the programs.
        let program = own.parent().and_then(Path::parent).map(|folder| folder.join("frontrow"));
        let program =
            program.filter(|it| it.exists()).ok_or("frontrow is not built: cargo build -p frontrow-cli")?;
        let here = std::env::current_dir()?;
        let program = program.strip_prefix(&here).map(|it| Path::new(".").join(it)).unwrap_or(program);
        let mut taken = Vec::new();
        let mut port = |wanted| free(wanted, &mut taken);
        Ok(Self {
            folder: std::path::absolute(folder)?,
            _lock: lock,
            program,
            http: port(7410)?,
            tcp: port(7411)?,
            // The first of several: if it is somebody else's, any will do.
            core_ports: if is_free(7430) { 7430 } else { 0 },
            replication: port(7415)?,
            backup: port(7510)?,
            backup_tcp: port(7511)?,
            kafka: port(9092)?,
            postgres: port(5432)?,
            replica: port(5433)?,
            service: port(7420)?,
        })
    }

    /// Where one of them keeps what it has.
    pub(crate) fn folder(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// The folder as somebody would type it.
    pub(crate) fn shown(&self) -> String {
        let here = std::env::current_dir().unwrap_or_default();
        match self.folder.strip_prefix(here) {
            Ok(inside) => format!("./{}", inside.display()),
            Err(_) => self.folder.display().to_string(),
        }
    }

    /// What all of them are told.
    fn common(&self, data: &str) -> Settings {
        vec![
            ("FRONTROW_SERVER__DATA", self.folder(data).display().to_string()),
            ("FRONTROW_KAFKA__BROKERS", local(self.kafka)),
            // It shares the machine with all the others.
            ("FRONTROW_SERVER__CORES", "2".to_owned()),
            ("FRONTROW_SERVER__PIN", "false".to_owned()),
            ("FRONTROW_LOG__SEGMENT", "16MiB".to_owned()),
        ]
    }

    pub(crate) fn of_server(&self) -> Settings {
        let mut all = self.common("server");
        all.extend([
            ("FRONTROW_SERVER__HTTP", local(self.http)),
            ("FRONTROW_SERVER__TCP", local(self.tcp)),
            ("FRONTROW_SERVER__CORE_PORTS", self.core_ports.to_string()),
            ("FRONTROW_REPLICATION__LISTEN", local(self.replication)),
            // Not `backup`: without one, which comes after it, it could not put the sample hall on sale.
            ("FRONTROW_REPLICATION__ACKNOWLEDGE", "local".to_owned()),
        ]);
        all
    }

    pub(crate) fn of_backup(&self) -> Settings {
        let mut all = self.common("backup");
        all.extend([
            ("FRONTROW_SERVER__HTTP", local(self.backup)),
            ("FRONTROW_SERVER__TCP", local(self.backup_tcp)),
            ("FRONTROW_SERVER__CORE_PORTS", "0".to_owned()),
        ]);
        all
    }

    /// The server's own folder: its tokens and its operator's key are good here, too.
    pub(crate) fn of_service(&self, database: &str) -> Settings {
        let url = |port| format!("postgres://frontrow@{}/{database}", local(port));
        let mut all = self.common("server");
        all.extend([
            ("FRONTROW_SERVICE__HTTP", local(self.service)),
            ("FRONTROW_SERVICE__POSTGRES", url(self.postgres)),
            ("FRONTROW_SERVICE__REPLICAS", format!("[\"{}\"]", url(self.replica))),
        ]);
        all
    }
}

fn local(port: u16) -> String {
    format!("127.0.0.1:{port}")
}

fn is_free(port: u16) -> bool {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok()
}

/// This port, or one that nobody has if somebody has it. `taken` keeps those that were given out.
fn free(wanted: u16, taken: &mut Vec<u16>) -> Outcome<u16> {
    let mut port = wanted;
    while taken.contains(&port) || !is_free(port) {
        port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port();
    }
    taken.push(port);
    Ok(port)
}
