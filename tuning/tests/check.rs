//! Machines of several kinds, and what is said of them.

mod common;

use common::{Fixture, OPEN, expect, finding};
use frontrow_tuning::Severity::{Bad, Note, Ok as Good, Unknown, Warn};
use frontrow_tuning::{DiskSpeed, Host, Latency, Live, Load, Root, Space, check};
use std::path::PathBuf;

fn placed() -> String {
    format!(
        "{OPEN}cores = [1, 2, 3, 4, 5, 6, 7]\nlog_cpus = [0]\nhttp_cpus = [0]\n[partitions]\nhuge_pages = true\n"
    )
}

#[test]
fn a_good_machine_has_nothing_to_mend() {
    let report = check(&Fixture::good(8).host(&placed()));
    let rest: Vec<_> = report.findings.iter().filter(|finding| finding.severity != Good).collect();
    assert!(rest.is_empty(), "{rest:#?}");
    assert!(report.findings.len() > 30 && !report.is_bad());
    assert!(report.verdict().starts_with("This machine is set up well for Frontrow"), "{}", report.verdict());
}

#[test]
fn a_container_with_a_quota_and_a_filter_is_told_what_stands_in_the_way() {
    let machine = Fixture::good(8);
    machine.file("/proc/self/status", "Seccomp:\t2\nCpus_allowed_list:\t0-7\n");
    let group = "/sys/fs/cgroup/system.slice/frontrow.service";
    machine.file(&format!("{group}/cpu.max"), "150000 100000\n");
    machine.file(&format!("{group}/cpu.stat"), "usage_usec 1\nnr_periods 1000\nnr_throttled 31\n");
    machine.file(&format!("{group}/memory.max"), "536870912\n");
    machine.file("/proc/self/mountinfo", "22 1 0:99 / / rw - overlay overlay rw,lowerdir=/x\n");
    machine.file(
        "/proc/self/limits",
        "Max open files            1024                 4096                 files\n\
         Max locked memory         65536                65536                bytes\n",
    );
    let mut host = machine.host("[server]\ncores = 2\n");
    host.live.io_uring = Err("io_uring is forbidden by seccomp (os error 1)".to_owned());
    let report = expect(
        &host,
        &[
            ("io_uring", Note, "seccomp=tuning/container/seccomp.json"),
            ("seccomp", Note, "a filter"),
            ("cpu-quota", Bad, "1.5 CPUs' time in every 100 ms, stopped in 31 of 1000 periods"),
            ("memory", Bad, "512 MiB to be had"),
            ("file-system", Bad, "mount a volume"),
            ("descriptors", Bad, "--ulimit nofile=20480"),
            ("locked-memory", Good, "0 B needed"),
        ],
    );
    assert!(report.is_bad() && report.json()["ok"] == false);
    // The quota is enough for one shard, but the periods that stopped it are there to see.
    expect(&machine.host("[server]\ncores = 1\n"), &[("cpu-quota", Warn, "fewer shards")]);
}

#[test]
fn control_groups_of_version_1_are_understood() {
    let machine = Fixture::good(2);
    machine.file("/proc/self/cgroup", "4:memory:/a/b\n1:cpu,cpuacct:/a/b\n0::/\n");
    machine.file("/sys/fs/cgroup/cpu,cpuacct/a/cpu.cfs_quota_us", "50000\n");
    machine.file("/sys/fs/cgroup/cpu,cpuacct/a/cpu.cfs_period_us", "100000\n");
    machine.file("/sys/fs/cgroup/cpu,cpuacct/a/b/cpu.cfs_quota_us", "-1\n");
    machine.file("/sys/fs/cgroup/cpu,cpuacct/a/b/cpu.cfs_period_us", "100000\n");
    machine.file("/sys/fs/cgroup/memory/a/b/memory.limit_in_bytes", "9223372036854771712\n");
    let report =
        expect(&machine.host(""), &[("cpu-quota", Bad, "0.5 CPUs"), ("memory", Good, "57 GiB to be had")]);
    assert!(finding(&report, "cpu-quota").source.ends_with("/a/cpu.cfs_quota_us"));
}

#[test]
fn an_old_kernel_has_no_ring() {
    let machine = Fixture::good(4);
    machine.remove("/proc/sys/kernel/io_uring_disabled");
    machine.file("/proc/sys/kernel/osrelease", "4.19.0-27-amd64\n");
    machine
        .file("/proc/self/limits", "Max open files 1 unlimited files\nMax locked memory 65536 65536 bytes\n");
    for (engine, severity) in [("auto", Note), ("io_uring", Bad), ("epoll", Note)] {
        let mut host = machine.host(&format!("[server]\nengine = \"{engine}\"\n"));
        host.live.io_uring = Err("io_uring is not in this kernel".to_owned());
        let report =
            expect(&host, &[("io_uring", severity, "not in this kernel"), ("descriptors", Good, "no limit")]);
        expect(&host, &[("locked-memory", Bad, "LimitMEMLOCK=393216")]);
        assert!(!finding(&report, "io_uring").can_apply());
    }
    // Where the kernel has it and says no, writing a value mends it.
    machine.file("/proc/sys/kernel/io_uring_disabled", "2\n");
    let mut host = machine.host("");
    host.live.io_uring = Err("io_uring is forbidden".to_owned());
    expect(&host, &[("io_uring", Note, "sysctl -w kernel.io_uring_disabled=0")]);
}

#[test]
fn what_is_off_is_found_with_its_remedy() {
    let machine = Fixture::good(8);
    for (path, text) in [
        ("/proc/meminfo", "MemAvailable: 60000000 kB\nSwapTotal: 1048576 kB\nSwapFree: 524288 kB\n"),
        ("/proc/sys/vm/swappiness", "60"),
        ("/proc/sys/kernel/numa_balancing", "1"),
        ("/proc/sys/kernel/timer_migration", "1"),
        ("/proc/sys/net/core/somaxconn", "128"),
        ("/proc/sys/net/ipv4/tcp_max_syn_backlog", "512"),
        ("/proc/sys/net/ipv4/tcp_syncookies", "0"),
        ("/proc/sys/net/ipv4/tcp_slow_start_after_idle", "1"),
        ("/proc/sys/net/ipv4/ip_local_port_range", "1024 9999"),
        ("/sys/kernel/mm/transparent_hugepage/enabled", "always madvise [never]"),
        ("/sys/kernel/mm/transparent_hugepage/defrag", "[always] defer madvise never"),
        ("/sys/devices/system/clocksource/clocksource0/current_clocksource", "hpet"),
        ("/sys/block/nvme0n1/queue/scheduler", "none [mq-deadline]"),
        ("/sys/block/nvme0n1/queue/wbt_lat_usec", "2000"),
        ("/sys/block/nvme0n1/queue/write_cache", "write back"),
        ("/sys/block/nvme0n1/queue/fua", "0"),
        ("/sys/devices/system/cpu/cpu3/cpufreq/scaling_governor", "powersave"),
        ("/sys/devices/system/cpu/cpu3/cpuidle/state2/disable", "0"),
        ("/sys/devices/system/cpu/cpu0/cpuidle/state2/disable", "0"),
        ("/sys/devices/system/cpu/isolated", ""),
        ("/proc/irq/40/smp_affinity_list", "0-7"),
        ("/proc/77/comm", "irqbalance\n"),
        ("/proc/self/mountinfo", "22 1 259:0 / / rw,discard - ext4 /dev/nvme0n1 rw\n"),
    ] {
        machine.file(path, text);
    }
    let mut host = machine.host(&placed());
    host.live.load = Ok(Load { busy: 1.5, stolen: 0.4 });
    let slow = Latency { p50_us: 9000.0, p99_us: 22_000.0, writes: 70 };
    host.live.disk = Ok(DiskSpeed { direct: Err("Invalid argument".to_owned()), synced: slow });
    host.live.space = Ok(Space { free: 1 << 30, total: 2 << 30 });
    expect(
        &host,
        &[
            ("swap", Warn, "sysctl -w vm.swappiness=1"),
            ("numa-balancing", Warn, "kernel.numa_balancing=0"),
            ("timers", Note, "kernel.timer_migration=0"),
            ("somaxconn", Warn, "net.core.somaxconn=4096"),
            ("syn-backlog", Warn, "tcp_max_syn_backlog=4096"),
            ("slow-start", Note, "tcp_slow_start_after_idle=0"),
            ("port-range", Warn, "ip_local_reserved_ports=7411"),
            ("huge-pages", Note, "echo madvise > /sys/kernel/mm/transparent_hugepage/enabled"),
            ("thp-defrag", Note, "echo madvise"),
            ("clock", Warn, "echo tsc > "),
            ("io-scheduler", Note, "echo none > /sys/block/nvme0n1/queue/scheduler"),
            ("write-throttle", Note, "echo 0 > "),
            ("write-cache", Note, "write back, FUA 0"),
            ("governor", Warn, "powersave on 1 of 8 CPUs | echo performance > /sys/devices/system/cpu/cpu3/"),
            ("idle-states", Warn, "C6 (intel_idle) takes 133 us"),
            ("isolation", Note, "isolcpus=1-7"),
            ("irq-affinity", Note, "eth0: 8 interrupts"),
            ("irqbalance", Note, "running"),
            ("file-system", Note, "mounted with discard"),
            ("others-load", Warn, "1.50 CPUs"),
            ("steal", Bad, "0.40 CPUs"),
            ("disk-sync", Warn, "O_DIRECT is refused (Invalid argument); write and fdatasync p50 9000 us"),
            ("disk-sync", Warn, "while other things kept 1.5 CPUs busy"),
            ("disk-space", Bad, "1 GiB free of 2 GiB; 1.3 GiB of segments"),
        ],
    );
}

#[test]
fn sessions_that_share_cpus_as_groups_are_told_of_where_others_run() {
    let machine = Fixture::good(2);
    machine.file("/proc/sys/kernel/sched_autogroup_enabled", "1\n");
    let mut host = machine.host("");
    let report = expect(&host, &[("autogroup", Note, "sysctl -w kernel.sched_autogroup_enabled=0")]);
    assert!(finding(&report, "autogroup").can_apply());
    host.live.load = Ok(Load { busy: 1.5, stolen: 0.0 });
    expect(&host, &[("autogroup", Warn, "each session has an equal share")]);
    machine.remove("/proc/sys/kernel/sched_autogroup_enabled");
    expect(&host, &[("autogroup", Good, "does not group")]);
}

#[test]
fn huge_pages_are_had_by_asking_too() {
    let machine = Fixture::good(2);
    machine.file("/sys/kernel/mm/transparent_hugepage/enabled", "always [madvise] never\n");
    let mut host = machine.host("");
    let report = expect(&host, &[("huge-pages", Note, "partitions.huge_pages = true")]);
    assert!(!finding(&report, "huge-pages").can_apply(), "it is a setting of the server, not of the machine");
    host.config.partitions.huge_pages = true;
    expect(&host, &[("huge-pages", Good, "asks for them")]);
}

#[test]
fn shards_are_held_against_the_topology() {
    let machine = Fixture::good(8);
    for cpu in 0..8 {
        let siblings = format!("{},{}", cpu % 4, cpu % 4 + 4);
        machine.file(&format!("/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list"), siblings);
    }
    machine.file("/sys/devices/system/node/node0/cpulist", "0-1,4-5");
    machine.file("/sys/devices/system/node/node1/cpulist", "2-3,6-7");
    expect(
        &machine.host("[server]\ncores = [0, 3, 4]\n"),
        &[
            ("smt", Warn, "shards on CPUs 0,4 share physical cores | server.cores = [0, 1, 2, 3]"),
            ("numa", Note, "2 memory nodes, shards on 0-1"),
            ("isolation", Warn, "server.cores = [1, 2, 3, 4, 5, 6, 7]"),
        ],
    );
    let host = machine.host("[server]\ncores = [1, 5]\nlog_cpus = [2, 3]\nhttp_cpus = [0]\n");
    expect(&host, &[("isolation", Warn, "give server.log_cpus CPUs that are not isolated")]);
    // A cpuset took CPUs away since the configuration was written.
    machine.file("/proc/self/status", "Seccomp:\t0\nCpus_allowed_list:\t0-3\n");
    expect(&host, &[("cpus", Bad, "change server.cores")]);
    machine.file("/proc/self/status", "Seccomp:\t0\nCpus_allowed_list:\t2\n");
    expect(&machine.host("[server]\ncores = [2]\nhttp_cpus = [2]\n"), &[("cpus", Warn, "two CPUs or more")]);
}

#[test]
fn file_systems_are_told_apart() {
    let machine = Fixture::good(2);
    for (line, severity, part) in [
        ("tmpfs tmpfs rw", Bad, "ext4 or xfs"),
        ("nfs4 nas:/x rw", Bad, "ext4 or xfs"),
        ("btrfs /dev/sda rw", Warn, "chattr +C"),
        ("ext4 /dev/sda rw,nobarrier", Bad, "barrier=1"),
        ("ext4 /dev/sda rw,data=journal", Warn, "data=journal"),
        ("xfs /dev/sda rw", Good, "is on xfs (/dev/sda at /var)"),
        ("newfs /dev/sda rw", Note, "newfs"),
    ] {
        let text =
            format!("22 1 259:0 / / rw - ext4 /dev/x rw\n30 22 8:1 / /var rw,relatime shared:2 - {line}\n");
        machine.file("/proc/self/mountinfo", text);
        expect(&machine.host(""), &[("file-system", severity, part)]);
    }
}

#[test]
fn broken_and_absent_files_are_unknown_and_never_bad() {
    let broken = Fixture::good(8);
    let host = broken.host(&placed());
    for garbage in [
        &b"\xff\xfe garbage \0\n[ - : , 99999999999999999999"[..],
        b"",
        b"-",
        b"0-99999999999",
        b"] [:\n- - -",
    ] {
        for file in broken.files().iter().filter(|path| !path.ends_with("frontrow.toml")) {
            std::fs::write(file, garbage).expect("written");
        }
        let report = check(&host);
        let bad: Vec<_> =
            report.findings.iter().filter(|it| it.severity >= Warn && it.id != "cpus").collect();
        assert!(bad.is_empty(), "{garbage:?}: {bad:#?}");
        assert!(report.findings.iter().filter(|it| it.severity == Unknown).count() > 10, "{garbage:?}");
        assert!(report.findings.iter().all(|it| !it.source.is_empty()));
    }
    let empty = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a folder");
    let live = Live {
        io_uring: Ok(()),
        disk: Err("no such directory".to_owned()),
        space: Err("no such directory".to_owned()),
        load: Err("/proc/stat cannot be read".to_owned()),
        data: PathBuf::from("/"),
    };
    let report = check(&Host { root: Root::at(empty.path()), live, config: host.config });
    assert!(report.findings.iter().all(|it| it.severity <= Note), "{:#?}", report.findings);
    let clock = finding(&report, "clock");
    assert_eq!(clock.severity, Unknown);
    assert!(clock.found.contains("clocksource cannot be read: there is no such file"), "{}", clock.found);
}
