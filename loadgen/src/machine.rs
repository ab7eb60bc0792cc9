//! What a measurement ran on, and what else ran there meanwhile.

use frontrow_engine::Clock;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::fs::read_to_string;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A description of the machine, as far as the system tells.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Machine {
    /// The processor's name.
    pub cpu: String,
    /// CPUs the system has.
    pub cpus: usize,
    /// The kernel's release.
    pub kernel: String,
    /// Memory in MiB.
    pub memory_mib: u64,
    /// Filesystem and device of the data folder.
    pub filesystem: String,
    /// The hypervisor, if the processor says that there is one.
    pub virtualised: bool,
    /// Load averages (1, 5, 15 minutes) when the measurement began.
    pub load_average: String,
}

impl Machine {
    /// This machine, with data under `data`.
    pub fn here(data: &Path) -> Self {
        let cpuinfo = read_to_string("/proc/cpuinfo").unwrap_or_default();
        let field = |name: &str| {
            let line = cpuinfo.lines().find(|line| line.starts_with(name));
            line.and_then(|line| line.split_once(':')).map_or("", |(_, value)| value.trim()).to_owned()
        };
        let memory = read_to_string("/proc/meminfo").unwrap_or_default();
        let memory_kib: u64 =
            memory.split_whitespace().nth(1).and_then(|number| number.parse().ok()).unwrap_or(0);
        let load = read_to_string("/proc/loadavg").unwrap_or_default();
        Self {
            cpu: field("model name"),
            cpus: cpuinfo.lines().filter(|line| line.starts_with("processor")).count(),
            kernel: read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default().trim().to_owned(),
            memory_mib: memory_kib / 1024,
            filesystem: filesystem_of(data),
            virtualised: field("flags").split(' ').any(|flag| flag == "hypervisor"),
            load_average: load.split(' ').take(3).collect::<Vec<_>>().join(" "),
        }
    }
}

impl fmt::Display for Machine {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let virtualised = if self.virtualised { " (virtual machine)" } else { "" };
        writeln!(out, "cpu           {} x {}{virtualised}", self.cpus, self.cpu)?;
        writeln!(out, "kernel        {}", self.kernel)?;
        writeln!(out, "memory        {} MiB", self.memory_mib)?;
        writeln!(out, "data on       {}", self.filesystem)?;
        writeln!(out, "load average  {} (1, 5, 15 min, at the start)", self.load_average)
    }
}

/// Type and device of the filesystem that holds `path`: the longest mount point above it.
fn filesystem_of(path: &Path) -> String {
    let path = path.canonicalize().unwrap_or_else(|_| path.to_owned());
    let mounts = read_to_string("/proc/mounts").unwrap_or_default();
    let fields = mounts.lines().filter_map(|line| {
        let mut fields = line.split(' ');
        Some((fields.next()?, fields.next()?, fields.next()?))
    });
    let under = fields.filter(|(_, point, _)| path.starts_with(point));
    under
        .max_by_key(|(_, point, _)| point.len())
        .map_or_else(String::new, |(device, _, kind)| format!("{kind} on {device}"))
}

/// The commit this program's folder is at, with `-dirty` if tracked files have changed since.
pub(crate) fn commit() -> String {
    let asked =
        Command::new("git").args(["describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]).output();
    let answer = asked.ok().filter(|answer| answer.status.success());
    answer.map_or_else(
        || "unknown".to_owned(),
        |answer| String::from_utf8_lossy(&answer.stdout).trim().to_owned(),
    )
}

/// The day as `YYYY-MM-DD`, UTC. The algorithm is Howard Hinnant's `civil_from_days`.
pub(crate) fn today() -> String {
    let days = (Clock::wall_ms() / 86_400_000).cast_signed() + 719_468;
    let era = days.div_euclid(146_097);
    let day_of_era = days.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02}")
}

/// Processor time that programs have used: everybody's, and that of what is measured.
pub(crate) struct CpuTime {
    watched: Watched,
    all_ticks: u64,
    own_ticks: u64,
    at_ns: u64,
}

impl CpuTime {
    /// So far. What is measured is this process, and `watched`.
    pub(crate) fn now(watched: Watched) -> Self {
        let peers = match watched {
            Watched::Own => 0,
            Watched::Process(pid) => family(pid).into_iter().map(user_ticks).sum(),
        };
        let own_ticks = user_ticks(std::process::id()) + peers;
        Self { watched, all_ticks: all_user_ticks(), own_ticks, at_ns: Clock::monotonic_ns() }
    }

    /// How many CPUs other processes have kept busy since, in user mode; in hundredths of a second, so for
    /// a short time only roughly.
    pub(crate) fn others_since(&self) -> f64 {
        let now = Self::now(self.watched);
        let own = now.own_ticks.saturating_sub(self.own_ticks);
        let others = now.all_ticks.saturating_sub(self.all_ticks).saturating_sub(own);
        let seconds = (now.at_ns - self.at_ns).max(1) as f64 / 1e9;
        others as f64 / ticks_per_second() / seconds
    }
}

/// Names (as the kernel keeps them) of the threads that serve, and of those that write the log.
const SERVING: [&str; 2] = ["frontrow-0", "echo"];
const LOGGING: &str = "wal-";

/// Whose processor time is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Watched {
    /// The servers in this process.
    Own,
    /// Another process and its children.
    Process(u32),
}

/// Processor time of the threads under test, in nanoseconds: unlike a rate, it hardly depends on what else
/// runs on the machine.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct ServerTime {
    /// Of the cores that serve; of another process, all there is.
    pub(crate) serving_ns: u64,
    /// Of the threads that make their log durable.
    pub(crate) logging_ns: u64,
}

impl ServerTime {
    /// So far.
    pub(crate) fn of(watched: Watched) -> Self {
        let mut time = Self::default();
        match watched {
            Watched::Own => {
                for thread in threads(std::process::id()) {
                    let name = read_to_string(thread.join("comm")).unwrap_or_default();
                    if SERVING.contains(&name.trim()) {
                        time.serving_ns += ran_ns(&thread);
                    } else if name.starts_with(LOGGING) {
                        time.logging_ns += ran_ns(&thread);
                    }
                }
            }
            Watched::Process(pid) => {
                let all = family(pid).into_iter().flat_map(threads);
                time.serving_ns = all.map(|thread| ran_ns(&thread)).sum();
            }
        }
        time
    }

    /// From `earlier` to this.
    pub(crate) fn since(self, earlier: Self) -> Self {
        Self {
            serving_ns: self.serving_ns.saturating_sub(earlier.serving_ns),
            logging_ns: self.logging_ns.saturating_sub(earlier.logging_ns),
        }
    }
}

/// A process and its children.
fn family(pid: u32) -> Vec<u32> {
    let parent_of = |pid: u32| -> Option<u32> {
        behind_name(&read_to_string(format!("/proc/{pid}/stat")).ok()?).nth(1)?.parse().ok()
    };
    let all = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let numbers = all.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    numbers.filter(|&other| other == pid || parent_of(other) == Some(pid)).collect()
}

/// The folders of a process's threads.
fn threads(pid: u32) -> Vec<PathBuf> {
    let all = std::fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    all.map(|thread| thread.path()).collect()
}

/// How long a thread has run, system calls included.
fn ran_ns(thread: &Path) -> u64 {
    let scheduled = read_to_string(thread.join("schedstat")).unwrap_or_default();
    scheduled.split(' ').next().and_then(|field| field.parse().ok()).unwrap_or(0)
}

fn all_user_ticks() -> u64 {
    let stat = read_to_string("/proc/stat").unwrap_or_default();
    let fields = stat.lines().next().unwrap_or_default().split_whitespace().skip(1);
    fields.take(2).filter_map(|field| field.parse::<u64>().ok()).sum()
}

/// User time of a process and of those of its children that have ended.
fn user_ticks(pid: u32) -> u64 {
    let stat = read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let field = |at: usize| behind_name(&stat).nth(at).and_then(|field| field.parse::<u64>().ok());
    field(11).unwrap_or(0) + field(13).unwrap_or(0)
}

/// The fields of `/proc/PID/stat` behind the name, which in its parentheses may hold anything.
fn behind_name(stat: &str) -> impl Iterator<Item = &str> {
    stat.rsplit_once(") ").map_or("", |(_, behind)| behind).split(' ')
}

fn ticks_per_second() -> f64 {
    rustix::param::clock_ticks_per_second() as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_machine_says_what_it_is() {
        let here = Machine::here(Path::new("/"));
        assert!(here.cpus > 0 && here.memory_mib > 0 && !here.kernel.is_empty(), "{here:?}");
        let text = here.to_string();
        assert!(text.contains("kernel") && text.contains("data on"), "{text}");
    }

    #[test]
    fn a_day_is_a_date() {
        let today = today();
        let fields: Vec<u32> = today.split('-').map(|field| field.parse().expect("a number")).collect();
        assert!(fields.len() == 3 && fields[0] >= 2024, "{today}");
        assert!((1..=12).contains(&fields[1]) && (1..=31).contains(&fields[2]), "{today}");
    }
}
