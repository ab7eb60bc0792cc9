//! What the process may have: descriptors, locked memory.

use frontrow_server::config::Engine;

use super::or_unknown;
use crate::{Finding, Host, ReadError, Severity, need};

const LIMITS: &str = "/proc/self/limits";
/// Locked memory of one glommio executor: three rings and registered buffers.
const GLOMMIO_LOCKED_BYTES: u64 = 512 << 10;
/// Until this kernel the memory of rings was counted as locked.
const RINGS_NOT_LOCKED: (u64, u64) = (5, 12);
/// About what one ring of 1024 entries takes.
const RING_BYTES: u64 = 128 << 10;

pub(super) fn check(host: &Host, found: &mut Vec<Finding>) {
    found.push(or_unknown("descriptors", descriptors(host)));
    found.push(or_unknown("file-max", file_max(host)));
    found.push(or_unknown("locked-memory", locked(host)));
}

/// Soft and hard limit; `None` for no limit.
fn limit(host: &Host, name: &'static str) -> Result<[Option<u64>; 2], ReadError> {
    let text = host.root.text(LIMITS)?;
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    let wrong = || ReadError::text(LIMITS, line.unwrap_or("nothing of this limit"), "limit");
    let mut words = line.ok_or_else(wrong)?.split_whitespace();
    let mut next = || match words.next() {
        Some("unlimited") => Ok(None),
        Some(word) => word.parse().map(Some).map_err(|_| wrong()),
        None => Err(wrong()),
    };
    Ok([next()?, next()?])
}

fn descriptors(host: &Host) -> Result<Finding, ReadError> {
    let [_, hard] = limit(host, "Max open files")?;
    let (needed, connections) = (need::files(&host.config), host.config.limits.connections);
    let Some(hard) = hard else {
        return Ok(Finding::ok("descriptors", "no limit on open files", LIMITS));
    };
    let text = format!("up to {hard} open files (hard limit); {connections} connections need {needed}");
    let finding = Finding::ok("descriptors", text, LIMITS);
    if hard >= needed {
        return Ok(finding);
    }
    let severity = if hard < needed / 2 { Severity::Bad } else { Severity::Warn };
    let why = format!(
        "each connection is an open file: from about {} on, new clients are not accepted, although limits.connections \
         promises more",
        hard.saturating_sub(needed - u64::from(connections))
    );
    Ok(finding.because(severity, why).by_hand(format!(
        "LimitNOFILE={limit} in the unit, `ulimit -Hn {limit}` as root, `--ulimit nofile={limit}` for a container; or \
         lower limits.connections",
        limit = needed.next_multiple_of(1024)
    )))
}

fn file_max(host: &Host) -> Result<Finding, ReadError> {
    const PATH: &str = "/proc/sys/fs/file-max";
    let (most, needed) = (host.root.number(PATH)?, need::files(&host.config));
    let finding = Finding::ok("file-max", format!("fs.file-max is {most}"), PATH);
    if most >= needed.saturating_mul(2) {
        return Ok(finding);
    }
    let why = "the whole machine may have so many open files; connections are refused when they are used up";
    Ok(finding.because(Severity::Warn, why).by_writing(vec![crate::Step::new(PATH, needed * 4)]))
}

fn locked(host: &Host) -> Result<Finding, ReadError> {
    let [soft, _] = limit(host, "Max locked memory")?;
    let shards = host.config.server.shard_cpus.len().max(1) as u64;
    let glommio = host.config.server.engine == Engine::Glommio;
    let needed = if glommio {
        shards * GLOMMIO_LOCKED_BYTES
    } else if kernel(host).is_some_and(|version| version < RINGS_NOT_LOCKED) {
        shards * RING_BYTES
    } else {
        0
    };
    let Some(soft) = soft else {
        return Ok(Finding::ok("locked-memory", "no limit on locked memory", LIMITS));
    };
    let text = format!("up to {} locked; {} needed", need::size(soft), need::size(needed));
    let finding = Finding::ok("locked-memory", text, LIMITS);
    if soft >= needed {
        return Ok(finding);
    }
    let why = "rings of this engine and kernel count as locked memory: the server will not start";
    let kib = needed / 1024;
    Ok(finding.because(Severity::Bad, why).by_hand(format!(
        "LimitMEMLOCK={needed} in the unit, `ulimit -l {kib}`, `--ulimit memlock={needed}`"
    )))
}

/// Major and minor of the kernel's release.
fn kernel(host: &Host) -> Option<(u64, u64)> {
    let text = host.root.text("/proc/sys/kernel/osrelease").ok()?;
    let mut numbers = text.split(['.', '-']).map_while(|part| part.parse().ok());
    Some((numbers.next()?, numbers.next()?))
}
