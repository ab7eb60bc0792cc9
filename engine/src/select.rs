//! Which engine runs: the configured word, what the host allows, and why.

use std::fmt;
use std::io;
use std::str::FromStr;

use rustix::process::{Resource, getrlimit};

use crate::{Engine, EngineError, Glommio, MonoioEpoll, MonoioUring};

/// The engine asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum EngineKind {
    /// io_uring where it works, else epoll.
    Auto,
    /// monoio on io_uring.
    MonoioUring,
    /// monoio on epoll.
    MonoioEpoll,
    /// glommio.
    Glommio,
}

impl FromStr for EngineKind {
    type Err = EngineError;

    fn from_str(word: &str) -> Result<Self, EngineError> {
        match word {
            "auto" => Ok(Self::Auto),
            "io_uring" => Ok(Self::MonoioUring),
            "epoll" => Ok(Self::MonoioEpoll),
            "glommio" => Ok(Self::Glommio),
            other => Err(EngineError::Unknown(other.to_owned())),
        }
    }
}

impl fmt::Display for EngineKind {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::Auto => "auto",
            Self::MonoioUring => MonoioUring::NAME,
            Self::MonoioEpoll => MonoioEpoll::NAME,
            Self::Glommio => Glommio::NAME,
        })
    }
}

/// Locked memory one glommio executor takes, in bytes: three rings and registered buffers.
const GLOMMIO_LOCKED_BYTES: u64 = 512 * 1024;

/// What this host and process allow.
#[derive(Debug, Clone)]
pub struct Probe {
    /// Whether a ring with the operations we need can be made, or why not.
    pub io_uring: Result<(), String>,
    /// `kernel.io_uring_disabled` (0 all may, 1 the privileged, 2 nobody), if the kernel has it.
    pub io_uring_disabled: Option<u32>,
    /// Soft limit on locked memory in bytes; `None` is no limit.
    pub locked_memory_bytes: Option<u64>,
    /// CPUs the affinity mask allows, ascending.
    pub cores: Vec<usize>,
}

/// Asks the kernel.
pub fn probe() -> Probe {
    let disabled = std::fs::read_to_string("/proc/sys/kernel/io_uring_disabled").ok();
    let cores = rustix::thread::sched_getaffinity(None).map_or_else(
        |_| Vec::new(),
        |set| (0..rustix::thread::CpuSet::MAX_CPU).filter(|&core| set.is_set(core)).collect(),
    );
    Probe {
        io_uring: try_ring(),
        io_uring_disabled: disabled.and_then(|text| text.trim().parse().ok()),
        locked_memory_bytes: getrlimit(Resource::Memlock).current,
        cores,
    }
}

/// Makes and drops a small ring: seccomp, sysctl and old kernels all show here.
fn try_ring() -> Result<(), String> {
    use io_uring::opcode::{Accept, AsyncCancel, Connect, Read, Recv, Send, Write};
    let ring = io_uring::IoUring::new(8).map_err(|error| why_no_ring(&error))?;
    let mut known = io_uring::Probe::new();
    ring.submitter().register_probe(&mut known).map_err(|error| why_no_ring(&error))?;
    let needed =
        [Accept::CODE, AsyncCancel::CODE, Connect::CODE, Read::CODE, Recv::CODE, Send::CODE, Write::CODE];
    if needed.iter().all(|&operation| known.is_supported(operation)) {
        Ok(())
    } else {
        Err("the kernel's io_uring lacks operations that we use (needs Linux 5.6)".to_owned())
    }
}

fn why_no_ring(error: &io::Error) -> String {
    let hint = match error.kind() {
        io::ErrorKind::PermissionDenied => "forbidden by seccomp or kernel.io_uring_disabled",
        io::ErrorKind::Unsupported => "not in this kernel",
        io::ErrorKind::OutOfMemory => "not enough locked memory",
        _ => "refused",
    };
    format!("io_uring is {hint} ({error})")
}

/// The engine that will run, in words for the start-up log.
#[derive(Debug, Clone)]
pub struct Choice {
    /// Never [`EngineKind::Auto`].
    pub kind: EngineKind,
    /// Why this one.
    pub why: String,
    /// What would make a faster one possible, if one is missing.
    pub how_to_get_better: Option<String>,
}

impl fmt::Display for Choice {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "engine {}: {}", self.kind, self.why)?;
        self.how_to_get_better.iter().try_for_each(|better| write!(out, "; {better}"))
    }
}

/// How to allow io_uring on this host.
fn io_uring_remedy(found: &Probe) -> String {
    if found.io_uring_disabled.is_some_and(|level| level > 0) {
        "to allow io_uring: sysctl -w kernel.io_uring_disabled=0".to_owned()
    } else {
        "to allow io_uring: in a container run with a seccomp profile that permits io_uring_setup, \
         io_uring_enter and io_uring_register; on a host use Linux 5.6 or newer (6.1 is best)"
            .to_owned()
    }
}

/// Settles `wanted` for `executors` cores. A forced engine that cannot run is an error that names
/// the remedy; only `auto` falls back.
pub fn choose(wanted: EngineKind, executors: usize, found: &Probe) -> Result<Choice, EngineError> {
    let chosen = |kind, why: &str| Choice { kind, why: why.to_owned(), how_to_get_better: None };
    let unavailable =
        |why: &str, remedy: String| EngineError::Unavailable { engine: wanted, why: why.to_owned(), remedy };
    match (wanted, &found.io_uring) {
        (EngineKind::Auto, Ok(())) => Ok(chosen(EngineKind::MonoioUring, "io_uring works here")),
        (EngineKind::Auto, Err(why)) => {
            let better = Some(io_uring_remedy(found));
            Ok(Choice { kind: EngineKind::MonoioEpoll, why: why.clone(), how_to_get_better: better })
        }
        (EngineKind::MonoioEpoll, _) | (EngineKind::MonoioUring, Ok(())) => Ok(chosen(wanted, "asked for")),
        (_, Err(why)) => {
            Err(unavailable(why, format!("{}; or set the engine to `epoll`", io_uring_remedy(found))))
        }
        (EngineKind::Glommio, Ok(())) => {
            let needed = GLOMMIO_LOCKED_BYTES * executors as u64;
            match found.locked_memory_bytes {
                Some(limit) if limit < needed => Err(unavailable(
                    &format!("{executors} executors lock {needed} bytes, the limit is {limit}"),
                    format!(
                        "raise it (ulimit -l {}, LimitMEMLOCK=) or set the engine to `io_uring`",
                        needed / 1024
                    ),
                )),
                _ => Ok(chosen(
                    wanted,
                    "asked for; its cores are woken every 5 ms, for want of a release that needs no such help",
                )),
            }
        }
    }
}

/// Code written once for every engine; see [`dispatch`].
pub trait WithEngine {
    /// What it returns.
    type Out;
    /// Runs with the chosen engine.
    fn call<E: Engine>(self) -> Self::Out;
}

/// Calls `visitor` with the engine `kind` names. `Auto` takes what [`choose`] would.
pub fn dispatch<V: WithEngine>(kind: EngineKind, visitor: V) -> V::Out {
    match kind {
        EngineKind::Auto if try_ring().is_err() => visitor.call::<MonoioEpoll>(),
        EngineKind::Auto | EngineKind::MonoioUring => visitor.call::<MonoioUring>(),
        EngineKind::MonoioEpoll => visitor.call::<MonoioEpoll>(),
        EngineKind::Glommio => visitor.call::<Glommio>(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(io_uring: Result<(), String>, disabled: u32, locked: Option<u64>) -> Probe {
        Probe { io_uring, io_uring_disabled: Some(disabled), locked_memory_bytes: locked, cores: vec![0, 1] }
    }

    #[test]
    fn words_name_engines_both_ways() {
        for word in ["auto", "io_uring", "epoll", "glommio"] {
            let kind: EngineKind = word.parse().expect("a known word");
            assert_eq!(kind.to_string(), word);
        }
        let error = "tokio".parse::<EngineKind>().expect_err("unknown").to_string();
        assert!(error.contains("auto, io_uring, epoll or glommio"), "{error}");
    }

    #[test]
    fn auto_prefers_io_uring_and_falls_back_saying_why() {
        let good = choose(EngineKind::Auto, 2, &host(Ok(()), 0, None)).expect("runs");
        assert_eq!((good.kind, good.how_to_get_better), (EngineKind::MonoioUring, None));
        let forbidden = host(Err("io_uring is forbidden".to_owned()), 2, None);
        let line = choose(EngineKind::Auto, 2, &forbidden).expect("falls back").to_string();
        assert_eq!(
            line,
            "engine epoll: io_uring is forbidden; to allow io_uring: sysctl -w kernel.io_uring_disabled=0"
        );
        let seccomp = host(Err("io_uring is forbidden".to_owned()), 0, None);
        let line = choose(EngineKind::Auto, 2, &seccomp).expect("falls back").to_string();
        assert!(line.contains("seccomp"), "{line}");
    }

    #[test]
    fn a_forced_engine_that_cannot_run_names_the_remedy() {
        let forbidden = host(Err("io_uring is forbidden".to_owned()), 2, None);
        for kind in [EngineKind::MonoioUring, EngineKind::Glommio] {
            let error = choose(kind, 2, &forbidden).expect_err("not here").to_string();
            assert!(error.contains("kernel.io_uring_disabled=0") && error.contains("`epoll`"), "{error}");
        }
        assert!(choose(EngineKind::MonoioEpoll, 2, &forbidden).is_ok());
        let tight = host(Ok(()), 0, Some(1 << 20));
        let error = choose(EngineKind::Glommio, 3, &tight).expect_err("too little").to_string();
        assert!(error.contains("ulimit -l 1536"), "{error}");
        assert!(choose(EngineKind::Glommio, 2, &tight).is_ok());
    }

    #[test]
    fn this_host_is_probed() {
        let found = probe();
        assert!(!found.cores.is_empty());
        assert!(choose(EngineKind::Auto, found.cores.len(), &found).is_ok());
    }
}
