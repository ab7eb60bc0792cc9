//! What is asked of the machine: descriptors, and CPUs.

use crate::config::Config;
use crate::core;

/// Every connection is a descriptor, and the usual soft limit of 1024 is meant for other programs.
pub(super) fn raise_descriptor_limit() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let wanted = Rlimit { current: limit.maximum, maximum: limit.maximum };
    if limit.current != limit.maximum && setrlimit(Resource::Nofile, wanted).is_err() {
        tracing::warn!("the limit of open files stays low: raise it (ulimit -n) before many clients come");
    }
}

/// The CPUs that are no shard's.
pub(super) fn beside(config: &Config) -> Vec<usize> {
    let server = &config.server;
    rustix::thread::sched_getaffinity(None).map_or_else(
        |_| Vec::new(),
        |all| {
            let own = 0..rustix::thread::CpuSet::MAX_CPU;
            own.filter(|&cpu| all.is_set(cpu) && !(server.pin && server.shard_cpus.contains(&cpu))).collect()
        },
    )
}

pub(super) fn pin(cpus: &[usize]) {
    let Some(set) = core::cpu_set(cpus) else { return };
    if let Err(error) = rustix::thread::sched_setaffinity(None, &set) {
        tracing::warn!(%error, ?cpus, "the HTTP thread stays unpinned");
    }
}
