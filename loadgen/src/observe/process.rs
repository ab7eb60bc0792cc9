//! The server's process, if it runs on this machine: found by the port it listens on.

use procfs::WithCurrentSystemInfo;
use procfs::net::TcpState;
use procfs::process::{FDTarget, Process, all_processes};
use std::collections::HashSet;
use std::net::{IpAddr, SocketAddr, UdpSocket};

/// A process of this machine that is watched.
#[derive(Debug)]
pub struct ServerProcess {
    process: Process,
    /// The server runs inside the load generator (tests do this): only its threads count then.
    inside: bool,
}

/// What a process has used.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Resident memory in bytes.
    pub rss: u64,
    /// CPU time of all its threads (inside this process: of the server's threads), in nanoseconds.
    pub cpu_ns: u64,
    /// CPU time of the thread that serves each core, in nanoseconds.
    pub cores_ns: Vec<u64>,
}

impl ServerProcess {
    /// Who listens at `address`, if that is on this machine and may be looked at.
    pub fn listening_at(address: SocketAddr) -> Option<Self> {
        if !is_here(address.ip()) {
            return None;
        }
        let sockets = listening_sockets(address);
        let owns = |process: &Process| {
            let held = process.fd().into_iter().flatten().flatten();
            held.into_iter()
                .any(|fd| matches!(fd.target, FDTarget::Socket(inode) if sockets.contains(&inode)))
        };
        // Asking this process first spares a walk through all of them when the server is inside.
        let me = Process::myself().ok()?;
        if owns(&me) {
            return Some(Self { process: me, inside: true });
        }
        let process = all_processes().ok()?.flatten().find(owns)?;
        Some(Self { process, inside: false })
    }

    /// Its number.
    pub fn pid(&self) -> i32 {
        self.process.pid
    }

    /// Whether it is this very process.
    pub fn is_inside(&self) -> bool {
        self.inside
    }

    /// Most files it may have open: each connection is one.
    pub fn files_allowed(&self) -> Option<u64> {
        match self.process.limits().ok()?.max_open_files.soft_limit {
            procfs::process::LimitValue::Value(files) => Some(files),
            procfs::process::LimitValue::Unlimited => None,
        }
    }

    /// What it has used so far; `None` once it has ended.
    pub fn usage(&self) -> Option<Usage> {
        let mut usage = Usage { rss: self.process.stat().ok()?.rss_bytes().get(), ..Usage::default() };
        for task in self.process.tasks().ok()?.flatten() {
            let (Ok(stat), Ok(times)) = (task.stat(), task.schedstat()) else { continue };
            let core = stat.comm.strip_prefix("frontrow-").and_then(|core| core.parse::<usize>().ok());
            if let Some(core) = core.filter(|&core| core < 1024) {
                if usage.cores_ns.len() <= core {
                    usage.cores_ns.resize(core + 1, 0);
                }
                usage.cores_ns[core] += times.sum_exec_runtime;
            }
            if !self.inside || core.is_some() || is_servers(&stat.comm) {
                usage.cpu_ns += times.sum_exec_runtime;
            }
        }
        Some(usage)
    }
}

/// Threads of a server besides its cores: HTTP and the log's.
fn is_servers(thread: &str) -> bool {
    thread == "frontrow-http" || thread.starts_with("wal-")
}

/// Whether an address is one of this machine's: only those can be bound.
fn is_here(ip: IpAddr) -> bool {
    ip.is_loopback() || UdpSocket::bind((ip, 0)).is_ok()
}

/// The sockets that listen at an address, or at its port on all addresses.
fn listening_sockets(address: SocketAddr) -> HashSet<u64> {
    let (four, six) = (procfs::net::tcp(), procfs::net::tcp6());
    let entries = four.into_iter().flatten().chain(six.into_iter().flatten());
    let here = entries.filter(|entry| entry.state == TcpState::Listen).filter(|entry| {
        let at = entry.local_address;
        at.port() == address.port() && (at.ip() == address.ip() || at.ip().is_unspecified())
    });
    here.map(|entry| entry.inode).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    #[test]
    fn a_listener_of_this_process_is_found_inside() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let found = ServerProcess::listening_at(listener.local_addr().unwrap()).expect("it listens");
        assert!(found.is_inside());
        assert_eq!(found.pid() as u32, std::process::id());
        assert!(found.files_allowed().is_none_or(|files| files > 0));
        assert!(found.usage().expect("it lives").rss > 0);
    }

    #[test]
    fn nobody_is_found_where_nobody_listens_or_elsewhere() {
        let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        assert!(ServerProcess::listening_at(free).is_none());
        assert!(
            ServerProcess::listening_at("192.0.2.1:80".parse().unwrap()).is_none(),
            "documentation's net"
        );
    }
}
