//! What a partition is said to need is what it takes. Alone in its process: others would be counted in.

use frontrow_shard::{Limits, Partition};
use frontrow_tuning::need::partition_bytes;

/// Memory that the process has asked for, in bytes.
fn asked_for() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("there");
    let line = status.lines().find_map(|line| line.strip_prefix("VmData:")).expect("there");
    line.trim().trim_end_matches("kB").trim().parse::<u64>().expect("a number") << 10
}

#[test]
fn partitions_take_what_is_said() {
    for (requests, parties, queues) in
        [(65_536, 65_536, 4096), (1 << 20, 64, 64), (1024, 1 << 20, 64), (1024, 64, 1 << 16)]
    {
        let limits = Limits {
            requests: requests as usize,
            parties: parties as usize,
            queues: queues as usize,
            tasks: 4096,
        };
        let before = asked_for();
        let partitions: Vec<Partition> = (0..4).map(|id| Partition::new(id, 4, limits)).collect();
        let taken = (asked_for() - before) as f64 / partitions.len() as f64;
        let said = partition_bytes(requests, parties, queues) as f64;
        assert!(
            (0.85..1.15).contains(&(said / taken)),
            "{requests} {parties} {queues}: said {said}, taken {taken}"
        );
    }
}
