//! Machines laid out as folders.
#![allow(dead_code, reason = "each test file uses a part")]

use frontrow_server::config::{self, Machine};
use frontrow_tuning::{DiskSpeed, Finding, Host, Latency, Live, Load, Report, Root, Severity, Space, check};
use std::fmt::Write;
use std::path::{Path, PathBuf};

/// A server that others can reach, so that network cards are looked at.
pub(crate) const OPEN: &str = "[server]\nhttp = \"0.0.0.0:7410\"\ntcp = \"0.0.0.0:7411\"\n";
const KEYS: &str = "[identity]\nhs256_secret = \"0123456789abcdef0123456789abcdef\"\n\
                    [admin]\nkey = \"0123456789abcdef0123456789abcdef\"\n";

pub(crate) struct Fixture {
    folder: tempfile::TempDir,
    pub(crate) cpus: usize,
}

impl Fixture {
    /// A machine of so many cores where everything is as it should be.
    pub(crate) fn good(cpus: usize) -> Self {
        let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a folder");
        let fixture = Self { folder, cpus };
        let last = cpus - 1;
        let all = if cpus == 1 { "0".to_owned() } else { format!("0-{last}") };
        for (path, text) in FILES {
            fixture.file(path, text);
        }
        fixture.file("/sys/devices/system/cpu/online", &all);
        fixture.file(
            "/sys/devices/system/cpu/isolated",
            if cpus == 1 { "" } else { all.trim_start_matches("0-") },
        );
        if cpus > 2 {
            fixture.file("/sys/devices/system/cpu/isolated", format!("1-{last}"));
        }
        fixture.file("/sys/devices/system/node/node0/cpulist", &all);
        fixture.file("/proc/self/status", format!("Name:\tx\nSeccomp:\t0\nCpus_allowed_list:\t{all}\n"));
        let mut interrupts = String::from("           CPU0\n");
        for cpu in 0..cpus {
            let folder = format!("/sys/devices/system/cpu/cpu{cpu}");
            fixture.file(&format!("{folder}/topology/thread_siblings_list"), cpu.to_string());
            fixture.file(&format!("{folder}/cpufreq/scaling_governor"), "performance");
            for (state, name, us, off) in [(0, "POLL", 0, 0), (1, "C1", 2, 0), (2, "C6", 133, 1)] {
                let state = format!("{folder}/cpuidle/state{state}");
                fixture.file(&format!("{state}/name"), name);
                fixture.file(&format!("{state}/latency"), us.to_string());
                fixture.file(&format!("{state}/disable"), off.to_string());
            }
            let _ = writeln!(interrupts, " {}:  7  0  PCI-MSI  eth0-rx-{cpu}", 40 + cpu);
            fixture.file(&format!("/proc/irq/{}/smp_affinity_list", 40 + cpu), cpu.to_string());
            fixture.file(&format!("/sys/class/net/eth0/queues/rx-{cpu}/rps_cpus"), "0");
            fixture.file(&format!("/sys/class/net/eth0/queues/tx-{cpu}/xps_cpus"), "0");
        }
        fixture.file("/proc/interrupts", &interrupts);
        fixture.file("/sys/class/net/eth0/device/vendor", "0x1af4");
        fixture.file("/sys/class/net/lo/queues/rx-0/rps_cpus", "0");
        std::fs::create_dir_all(fixture.path("/sys/dev/block")).expect("made");
        std::os::unix::fs::symlink("../../block/nvme0n1", fixture.path("/sys/dev/block/259:0"))
            .expect("made");
        fixture
    }

    pub(crate) fn root(&self) -> Root {
        Root::at(self.folder.path())
    }

    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) fn path(&self, path: &str) -> PathBuf {
        self.root().path(path)
    }

    pub(crate) fn file(&self, path: &str, text: impl AsRef<[u8]>) {
        let path = self.path(path);
        std::fs::create_dir_all(path.parent().expect("inside")).expect("made");
        std::fs::write(path, text).expect("written");
    }

    pub(crate) fn text(&self, path: &str) -> String {
        std::fs::read_to_string(self.path(path)).expect("there").trim().to_owned()
    }

    pub(crate) fn remove(&self, path: &str) {
        std::fs::remove_file(self.path(path)).expect("was there");
    }

    /// Every file below it.
    pub(crate) fn files(&self) -> Vec<PathBuf> {
        let (mut files, mut folders) = (Vec::new(), vec![self.folder.path().to_path_buf()]);
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).expect("there").flatten() {
                let kind = entry.file_type().expect("known");
                if kind.is_dir() {
                    folders.push(entry.path());
                } else if kind.is_file() {
                    files.push(entry.path());
                }
            }
        }
        files
    }

    /// The machine with a configuration and with what is measured on a good one.
    pub(crate) fn host(&self, toml: &str) -> Host {
        let keys = if toml.contains("0.0.0.0") { KEYS } else { "" };
        let file = self.folder.path().join("frontrow.toml");
        std::fs::write(&file, format!("{toml}{keys}")).expect("written");
        let machine = Machine { cpus: (0..self.cpus).collect(), open_files: None, memory: None };
        let reading = config::read(Some(&file), [], &machine);
        assert_eq!(reading.mistakes, [], "{toml}");
        Host { root: self.root(), live: live(), config: reading.config }
    }
}

/// What is measured on a good machine.
pub(crate) fn live() -> Live {
    let latency = |p50_us, p99_us| Latency { p50_us, p99_us, writes: 1000 };
    Live {
        io_uring: Ok(()),
        disk: Ok(DiskSpeed { direct: Ok(latency(20.0, 90.0)), synced: latency(35.0, 120.0) }),
        space: Ok(Space { free: 400 << 30, total: 500 << 30 }),
        load: Ok(Load { busy: 0.05, stolen: 0.0 }),
        data: PathBuf::from("/var/lib/frontrow"),
    }
}

/// The finding of this name, which must be there once.
pub(crate) fn finding<'r>(report: &'r Report, id: &str) -> &'r Finding {
    let found: Vec<&Finding> = report.findings.iter().filter(|finding| finding.id == id).collect();
    assert_eq!(found.len(), 1, "{id}: {found:#?}");
    found[0]
}

/// Checks, and holds each of `want` (name, severity, a part of what was found or is to be done) against it.
pub(crate) fn expect(host: &Host, want: &[(&str, Severity, &str)]) -> Report {
    let report = check(host);
    for (id, severity, part) in want {
        let finding = finding(&report, id);
        assert_eq!(finding.severity, *severity, "{finding:#?}");
        let text =
            format!("{} | {}", finding.found, finding.mend.as_ref().map_or("", |mend| mend.how.as_str()));
        assert!(text.contains(part), "{id}: `{part}` is not in {text}");
    }
    report
}

const FILES: [(&str, &str); 32] = [
    ("/proc/cpuinfo", "processor\t: 0\nflags\t\t: fpu tsc\n"),
    ("/proc/loadavg", "0.10 0.20 0.30 1/100 4242\n"),
    (
        "/proc/meminfo",
        "MemTotal:       65536000 kB\nMemAvailable:   60000000 kB\nSwapTotal: 0 kB\nSwapFree: 0 kB\n",
    ),
    ("/proc/self/cgroup", "0::/system.slice/frontrow.service\n"),
    ("/sys/fs/cgroup/system.slice/frontrow.service/cpu.max", "max 100000\n"),
    ("/sys/fs/cgroup/system.slice/frontrow.service/memory.max", "max\n"),
    (
        "/proc/self/limits",
        "Limit                     Soft Limit           Hard Limit           Units\n\
         Max open files            1024                 1048576              files\n\
         Max locked memory         8388608              8388608              bytes\n",
    ),
    (
        "/proc/self/mountinfo",
        "22 1 259:0 / / rw,relatime shared:1 - ext4 /dev/nvme0n1 rw,errors=remount-ro\n\
         23 22 0:5 / /proc rw - proc proc rw\n",
    ),
    ("/proc/sys/fs/file-max", "9223372036854775807\n"),
    ("/proc/sys/kernel/io_uring_disabled", "0\n"),
    ("/proc/sys/kernel/sched_autogroup_enabled", "0\n"),
    ("/proc/sys/kernel/numa_balancing", "0\n"),
    ("/proc/sys/kernel/osrelease", "6.12.0-1-amd64\n"),
    ("/proc/sys/kernel/timer_migration", "0\n"),
    ("/proc/sys/net/core/somaxconn", "4096\n"),
    ("/proc/sys/net/ipv4/ip_local_port_range", "32768\t60999\n"),
    ("/proc/sys/net/ipv4/tcp_keepalive_time", "7200\n"),
    ("/proc/sys/net/ipv4/tcp_max_syn_backlog", "4096\n"),
    ("/proc/sys/net/ipv4/tcp_slow_start_after_idle", "0\n"),
    ("/proc/sys/net/ipv4/tcp_syncookies", "1\n"),
    ("/proc/sys/vm/overcommit_memory", "0\n"),
    ("/proc/sys/vm/swappiness", "1\n"),
    ("/sys/block/nvme0n1/queue/fua", "1\n"),
    ("/sys/block/nvme0n1/queue/rotational", "0\n"),
    ("/sys/block/nvme0n1/queue/scheduler", "[none] mq-deadline kyber\n"),
    ("/sys/block/nvme0n1/queue/wbt_lat_usec", "0\n"),
    ("/sys/block/nvme0n1/queue/write_cache", "write through\n"),
    ("/sys/devices/system/clocksource/clocksource0/available_clocksource", "tsc hpet acpi_pm\n"),
    ("/sys/devices/system/clocksource/clocksource0/current_clocksource", "tsc\n"),
    ("/sys/devices/system/cpu/cpuidle/current_driver", "intel_idle\n"),
    ("/sys/kernel/mm/transparent_hugepage/defrag", "always defer defer+madvise [madvise] never\n"),
    ("/sys/kernel/mm/transparent_hugepage/enabled", "[always] madvise never\n"),
];
