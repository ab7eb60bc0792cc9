//! Configurations from topologies.

mod common;

use common::Fixture;
use frontrow_server::config::{self, Config, Machine};
use frontrow_tuning::auto;
use std::path::Path;

/// What `tune auto` writes, read by the server.
fn configured(machine: &Fixture, files: Option<u64>) -> (String, Config) {
    let text = auto::configure(&machine.root(), Path::new("da\"ta"), files).expect("a configuration");
    let path = machine.folder().join("auto.toml");
    std::fs::write(&path, &text).expect("written");
    let cpus = Machine { cpus: (0..machine.cpus).collect(), open_files: files, memory: None };
    let reading = config::read(Some(&path), [], &cpus);
    assert_eq!(reading.mistakes, [], "{text}");
    assert!(reading.config.server.data.ends_with("da\"ta"));
    (text, reading.config)
}

type Cpus<'a> = &'a [usize];

fn places(config: &Config) -> (Cpus<'_>, Cpus<'_>, Cpus<'_>) {
    (&config.server.shard_cpus, &config.server.log_cpus, &config.server.http_cpus)
}

#[test]
fn one_and_two_cpus() {
    let (text, config) = configured(&Fixture::good(1), None);
    assert_eq!(places(&config), (&[0][..], &[][..], &[][..]), "{text}");
    let (text, config) = configured(&Fixture::good(2), Some(4096));
    assert_eq!(places(&config), (&[1][..], &[0][..], &[0][..]), "{text}");
    assert_eq!((config.limits.connections, config.limits.connections_per_address), (3840, 3840));
    assert_eq!((config.partitions.count, config.partitions.requests_remembered), (16, 65_536));
}

#[test]
fn eight_cores_keep_one_for_http_and_one_for_the_log() {
    let machine = Fixture::good(8);
    let (text, config) = configured(&machine, Some(1 << 20));
    assert_eq!(places(&config), (&[2, 3, 4, 5, 6, 7][..], &[1][..], &[0][..]), "{text}");
    assert!(!text.contains("[limits]"), "{text}");
    // With a card whose interrupts go to CPU 5 alone, that is the one to keep free.
    for cpu in 0..8 {
        machine.file(&format!("/proc/irq/{}/smp_affinity_list", 40 + cpu), "5");
    }
    let (text, config) = configured(&machine, None);
    assert_eq!(places(&config), (&[1, 2, 3, 4, 6, 7][..], &[5][..], &[0][..]), "{text}");
}

#[test]
fn little_memory_makes_smaller_arenas() {
    let machine = Fixture::good(2);
    machine.file("/proc/meminfo", "MemTotal: 262144 kB\n");
    let (text, config) = configured(&machine, None);
    assert_eq!(
        (config.partitions.requests_remembered, config.partitions.waiting),
        (16_384, 16_384),
        "{text}"
    );
}

#[test]
fn hyper_threads_and_memory_nodes() {
    let machine = Fixture::good(64);
    for cpu in 0..64 {
        let siblings = format!("{},{}", cpu % 32, cpu % 32 + 32);
        machine.file(&format!("/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list"), siblings);
        machine.file(&format!("/proc/irq/{}/smp_affinity_list", 40 + cpu), "0-63");
    }
    machine.file("/sys/devices/system/node/node0/cpulist", "0-15,32-47");
    machine.file("/sys/devices/system/node/node1/cpulist", "16-31,48-63");
    let (text, config) = configured(&machine, None);
    let (shards, log, http) = places(&config);
    assert_eq!(shards, (2..16).collect::<Vec<_>>(), "{text}");
    assert_eq!((log, http), (&[1, 33][..], &[0, 32][..]), "{text}");
    assert!(text.contains("only node 0 is used") && text.contains("a shard has a whole core"), "{text}");
    assert_eq!(config.partitions.count, 64);
    // One node: all 32 cores, and more partitions for more shards.
    machine.file("/sys/devices/system/node/node0/cpulist", "0-63");
    std::fs::remove_dir_all(machine.path("/sys/devices/system/node/node1")).expect("was there");
    let (text, config) = configured(&machine, None);
    let (shards, log, http) = places(&config);
    assert_eq!((shards.len(), log.len(), http.len()), (28, 6, 2), "{text}");
    assert_eq!(config.partitions.count, 128);
}

#[test]
fn a_quota_counts_and_does_not_pin() {
    let machine = Fixture::good(8);
    machine.file("/sys/fs/cgroup/system.slice/frontrow.service/cpu.max", "400000 100000\n");
    machine.file("/sys/fs/cgroup/system.slice/frontrow.service/memory.max", "536870912\n");
    let (text, config) = configured(&machine, None);
    assert_eq!((config.server.shard_cpus.len(), config.server.pin), (3, false), "{text}");
    assert!(text.contains("the quota is 4.0 of 8 CPUs"), "{text}");
    assert_eq!(config.partitions.requests_remembered, 32_768, "{text}");
}

#[test]
fn a_machine_that_says_nothing_is_an_error_with_a_way_out() {
    let empty = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a folder");
    let error = auto::configure(&frontrow_tuning::Root::at(empty.path()), Path::new("data"), None)
        .expect_err("nothing");
    assert!(error.to_string().contains("frontrow tune preset one-box"), "{error}");
}
