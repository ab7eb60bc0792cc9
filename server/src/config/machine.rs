//! What the configuration has to know of the machine it is checked on.

/// The machine's side of a configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Machine {
    /// CPUs this process may run on, rising.
    pub cpus: Vec<usize>,
    /// How many files and sockets this process may have open at most (hard limit); `None` for no limit.
    pub open_files: Option<u64>,
    /// Bytes of memory, as far as the machine or the container goes; `None` if nothing says.
    pub memory: Option<u64>,
}

impl Machine {
    /// The machine this process runs on.
    pub fn probe() -> Self {
        let cpus = rustix::thread::sched_getaffinity(None)
            .map(|set| {
                (0..rustix::thread::CpuSet::MAX_CPU).filter(|&cpu| set.is_set(cpu)).collect::<Vec<_>>()
            })
            .ok()
            .filter(|cpus| !cpus.is_empty())
            .unwrap_or_else(|| {
                let count = std::thread::available_parallelism().map_or(1, usize::from);
                (0..count).collect()
            });
        let open_files = rustix::process::getrlimit(rustix::process::Resource::Nofile).maximum;
        Self { cpus, open_files, memory: memory() }
    }
}

/// The machine's memory, or the limit of the control group (version 2) that is this process's whole world.
fn memory() -> Option<u64> {
    let machine = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = machine.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let total = line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()? << 10;
    let limit = std::fs::read_to_string("/sys/fs/cgroup/memory.max").ok();
    let limit = limit.and_then(|limit| limit.trim().parse().ok());
    Some(limit.map_or(total, |limit: u64| limit.min(total)))
}
