//! The CPUs of the configuration are those of the threads.

use frontrow_server::config::{self, Machine};
use std::collections::BTreeMap;

/// Affinity masks of this process's threads, by name.
fn masks() -> BTreeMap<String, String> {
    let mut masks = BTreeMap::new();
    for thread in std::fs::read_dir("/proc/self/task").expect("there").flatten() {
        let read = |name: &str| std::fs::read_to_string(thread.path().join(name)).unwrap_or_default();
        let status = read("status");
        let mask = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:\t"));
        masks.insert(read("comm").trim().to_owned(), mask.unwrap_or_default().to_owned());
    }
    masks
}

#[test]
fn threads_run_where_the_configuration_says() {
    let machine = Machine::probe();
    let (first, last) = (machine.cpus[0], machine.cpus[machine.cpus.len() - 1]);
    let data = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a folder");
    let settings = [
        ("SERVER__DATA", data.path().to_str().expect("UTF-8").to_owned()),
        ("SERVER__TCP", "127.0.0.1:0".to_owned()),
        ("SERVER__HTTP", "127.0.0.1:0".to_owned()),
        ("SERVER__CORE_PORTS", "0".to_owned()),
        ("SERVER__CORES", format!("[{first}]")),
        ("SERVER__LOG_CPUS", format!("[{last}]")),
        ("SERVER__HTTP_CPUS", format!("[{last}]")),
        ("PARTITIONS__COUNT", "2".to_owned()),
        ("PARTITIONS__REQUESTS_REMEMBERED", "1024".to_owned()),
        ("LOG__SEGMENT", "1MiB".to_owned()),
    ];
    let env = settings.map(|(key, value)| (format!("{}{key}", config::ENV_PREFIX), value));
    let config = config::read(None, env, &machine).into_result().expect("right");
    let running = frontrow_server::start(&config, false).expect("started");
    // The HTTP thread pins itself; it has answered once it has.
    std::io::Read::read(
        &mut {
            use std::io::Write;
            let mut stream = std::net::TcpStream::connect(running.http).expect("listening");
            stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n").expect("sent");
            stream
        },
        &mut [0; 16],
    )
    .expect("answered");
    let masks = masks();
    running.stop();
    for (thread, cpu) in [("frontrow-0", first), ("wal-prep-0", last), ("frontrow-http", last)] {
        assert_eq!(masks.get(thread), Some(&cpu.to_string()), "{thread}: {masks:?}");
    }
    // A shard that writes by its own ring has no thread that syncs.
    assert!(masks.get("wal-sync-0").is_none_or(|cpu| *cpu == last.to_string()), "{masks:?}");
}
