//! What must be tried or timed rather than read: a ring, the disk, the load of the machine.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use frontrow_engine::Clock;

use crate::Root;

/// How long each of the two kinds of disk write is timed.
const DISK_TIME_NS: u64 = 700_000_000;
/// Writes of each kind at most.
const DISK_WRITES: usize = 2000;
/// What a commit writes at least, and the alignment of direct writes.
const BLOCK: usize = 4096;
/// The file that is written to, round and round.
const FILE_BYTES: u64 = 4 << 20;
/// How long the load of the machine is watched.
const LOAD_TIME: Duration = Duration::from_millis(400);

/// What was tried and timed.
#[derive(Clone, Debug)]
pub struct Live {
    /// Whether a ring can be set up, or why not.
    pub io_uring: Result<(), String>,
    /// How fast the disk makes a block durable.
    pub disk: Result<DiskSpeed, String>,
    /// Room in the file system of the data directory.
    pub space: Result<Space, String>,
    /// What else runs.
    pub load: Result<Load, String>,
    /// The data directory, or the nearest directory above it that exists; absolute.
    pub data: PathBuf,
}

/// Percentiles of one kind of write, in microseconds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Latency {
    /// The median.
    pub p50_us: f64,
    /// One of a hundred took longer.
    pub p99_us: f64,
    /// How many were timed.
    pub writes: usize,
}

/// How fast a block of 4 KiB becomes durable.
#[derive(Clone, Debug, PartialEq)]
pub struct DiskSpeed {
    /// `O_DIRECT | O_DSYNC`, or why the file system refuses it.
    pub direct: Result<Latency, String>,
    /// A write through the page cache, then `fdatasync`.
    pub synced: Latency,
}

/// Bytes of a file system.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Space {
    /// For whoever is not root.
    pub free: u64,
    /// In all.
    pub total: u64,
}

/// Processor time over a short while, in CPUs.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Load {
    /// CPUs kept busy by everything on the machine.
    pub busy: f64,
    /// CPUs' worth of time that the hypervisor gave to others.
    pub stolen: f64,
}

impl Live {
    /// Tries and times everything; takes about two seconds.
    pub fn measure(root: &Root, data: &Path) -> Self {
        let data = nearest(data);
        let load = load(root);
        Self {
            io_uring: frontrow_engine::probe().io_uring,
            disk: disk(&data).map_err(|error| format!("{} cannot be written to: {error}", data.display())),
            space: space(&data).map_err(|error| error.to_string()),
            load,
            data,
        }
    }
}

fn nearest(data: &Path) -> PathBuf {
    let absolute = std::path::absolute(data).unwrap_or_else(|_| data.to_path_buf());
    let found = absolute.ancestors().find(|path| path.is_dir()).unwrap_or(Path::new("/"));
    found.canonicalize().unwrap_or_else(|_| found.to_path_buf())
}

fn space(data: &Path) -> io::Result<Space> {
    let stat = rustix::fs::statvfs(data)?;
    Ok(Space { free: stat.f_bavail * stat.f_frsize, total: stat.f_blocks * stat.f_frsize })
}

/// A file of its own in `data`, gone when dropped.
fn disk(data: &Path) -> io::Result<DiskSpeed> {
    let scratch = tempfile::Builder::new().prefix(".frontrow-tune-").tempfile_in(data)?;
    let zeros = vec![0; 1 << 20];
    for at in 0..FILE_BYTES / (1 << 20) {
        scratch.as_file().write_all_at(&zeros, at << 20)?;
    }
    scratch.as_file().sync_all()?;
    let flags = rustix::fs::OFlags::DIRECT | rustix::fs::OFlags::DSYNC;
    let direct = OpenOptions::new()
        .write(true)
        .custom_flags(flags.bits().cast_signed())
        .open(scratch.path())
        .and_then(|file| timed(&file, FileExt::write_all_at));
    let synced = timed(scratch.as_file(), |file, block, at| {
        file.write_all_at(block, at)?;
        file.sync_data()
    })?;
    Ok(DiskSpeed { direct: direct.map_err(|error| error.to_string()), synced })
}

fn timed(file: &File, write: impl Fn(&File, &[u8], u64) -> io::Result<()>) -> io::Result<Latency> {
    let buffer = vec![1; 2 * BLOCK];
    // Direct writes want memory as aligned as the file.
    let start = buffer.as_ptr().align_offset(BLOCK).min(BLOCK);
    let block = &buffer[start..start + BLOCK];
    let end = Clock::monotonic_ns() + DISK_TIME_NS;
    let mut times = Vec::with_capacity(DISK_WRITES);
    let mut at = 0;
    while times.len() < DISK_WRITES {
        let before = Clock::monotonic_ns();
        if before > end && !times.is_empty() {
            break;
        }
        write(file, block, at)?;
        times.push(Clock::monotonic_ns() - before);
        at = (at + BLOCK as u64) % FILE_BYTES;
    }
    times.sort_unstable();
    let rank = |share: f64| times[((times.len() - 1) as f64 * share).round() as usize] as f64 / 1000.0;
    Ok(Latency { p50_us: rank(0.5), p99_us: rank(0.99), writes: times.len() })
}

/// Ticks of `/proc/stat`: busy, stolen.
fn ticks(root: &Root) -> Result<[u64; 2], String> {
    const STAT: &str = "/proc/stat";
    let stat = root.text(STAT).map_err(|error| error.to_string())?;
    let line = stat.lines().next().and_then(|line| line.strip_prefix("cpu ")).unwrap_or_default();
    let fields: Vec<u64> = line.split_whitespace().map_while(|field| field.parse().ok()).collect();
    // user nice system idle iowait irq softirq steal
    match fields[..] {
        [user, nice, system, _, _, irq, softirq, steal, ..] => {
            Ok([user + nice + system + irq + softirq, steal])
        }
        _ => Err(format!("{STAT} begins with `{}`, not with the times of all CPUs", line.trim())),
    }
}

#[allow(
    clippy::disallowed_methods,
    reason = "a measurement over time, of a machine that does nothing for it"
)]
fn load(root: &Root) -> Result<Load, String> {
    let (before, started) = (ticks(root)?, Clock::monotonic_ns());
    std::thread::sleep(LOAD_TIME);
    let (after, seconds) = (ticks(root)?, (Clock::monotonic_ns() - started) as f64 / 1e9);
    let hz = rustix::param::clock_ticks_per_second() as f64;
    let cpus = |at: usize| after[at].saturating_sub(before[at]) as f64 / hz / seconds;
    Ok(Load { busy: cpus(0), stolen: cpus(1) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_is_timed_and_left_clean() {
        let folder =
            tempfile::tempdir_in(std::env::current_exe().expect("a program").parent().expect("in a folder"))
                .expect("a folder");
        let speed = disk(folder.path()).expect("writable");
        assert!(speed.synced.writes > 0 && speed.synced.p50_us > 0.0);
        assert!(speed.synced.p50_us <= speed.synced.p99_us);
        assert_eq!(std::fs::read_dir(folder.path()).expect("there").count(), 0);
        assert!(disk(&folder.path().join("absent")).is_err());
        let deep = folder.path().join("a/b");
        assert_eq!(nearest(&deep), folder.path().canonicalize().expect("there"));
        assert!(space(folder.path()).expect("known").total > 0);
    }
}
