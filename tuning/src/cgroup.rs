//! What the control group allows: version 2 (one tree), or version 1 (a tree for each resource).

use crate::{ReadError, Root};

/// Processor time allowed.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Quota {
    /// CPUs' worth of time; `None` for no bound.
    pub(crate) cpus: Option<f64>,
    /// Milliseconds of the period in which it is used up or not.
    pub(crate) period_ms: f64,
    /// Periods in which somebody had to stop, and periods in all.
    pub(crate) throttled: Option<(u64, u64)>,
    /// Where this was read.
    pub(crate) source: String,
}

/// The tightest bound on processor time from this group up to the root.
pub(crate) fn quota(root: &Root) -> Result<Quota, ReadError> {
    let mut tightest: Option<Quota> = None;
    for folder in folders(root, "cpu")? {
        let quota = match version_2(root, &folder)? {
            Some(quota) => quota,
            None => match version_1(root, &folder)? {
                Some(quota) => quota,
                None => continue,
            },
        };
        let less = |a: Option<f64>, b: Option<f64>| a.is_some_and(|a| b.is_none_or(|b| a < b));
        if tightest.as_ref().is_none_or(|it| less(quota.cpus, it.cpus)) {
            tightest = Some(quota);
        }
    }
    let none =
        Quota { cpus: None, period_ms: 100.0, throttled: None, source: "/proc/self/cgroup".to_owned() };
    Ok(tightest.unwrap_or(none))
}

/// The tightest bound on memory in bytes, with the file that says so.
pub(crate) fn memory_limit(root: &Root) -> Result<Option<(u64, String)>, ReadError> {
    let mut least: Option<(u64, String)> = None;
    for folder in folders(root, "memory")? {
        for name in ["memory.max", "memory.limit_in_bytes"] {
            let path = format!("{folder}/{name}");
            let Ok(text) = root.text(&path) else { continue };
            if text == "max" {
                continue;
            }
            let bytes: u64 = text.parse().map_err(|_| ReadError::text(&path, &text, "number of bytes"))?;
            // Version 1 writes "no bound" as a number near the greatest.
            if bytes < 1 << 60 && least.as_ref().is_none_or(|(bound, _)| bytes < *bound) {
                least = Some((bytes, path));
            }
        }
    }
    Ok(least)
}

fn version_2(root: &Root, folder: &str) -> Result<Option<Quota>, ReadError> {
    let source = format!("{folder}/cpu.max");
    let Ok(text) = root.text(&source) else { return Ok(None) };
    let wrong = || ReadError::text(&source, &text, "quota and period");
    let (quota, period) = text.split_once(' ').ok_or_else(wrong)?;
    let period: f64 = period.trim().parse().map_err(|_| wrong())?;
    let cpus = match quota {
        "max" => None,
        quota => Some(quota.parse::<f64>().map_err(|_| wrong())? / period.max(1.0)),
    };
    Ok(Some(Quota { cpus, period_ms: period / 1000.0, throttled: throttled(root, folder), source }))
}

fn version_1(root: &Root, folder: &str) -> Result<Option<Quota>, ReadError> {
    let source = format!("{folder}/cpu.cfs_quota_us");
    if !root.has(&source) {
        return Ok(None);
    }
    let quota: i64 = root.value(&source, "whole number")?;
    let period = root.number(&format!("{folder}/cpu.cfs_period_us"))? as f64;
    let cpus = (quota > 0).then(|| quota as f64 / period.max(1.0));
    Ok(Some(Quota { cpus, period_ms: period / 1000.0, throttled: throttled(root, folder), source }))
}

fn throttled(root: &Root, folder: &str) -> Option<(u64, u64)> {
    let stat = root.text(&format!("{folder}/cpu.stat")).ok()?;
    let field = |name: &str| -> Option<u64> {
        stat.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok())
    };
    Some((field("nr_throttled ")?, field("nr_periods ")?))
}

/// This process's group for `controller` and all above it, as paths below `/sys/fs/cgroup`.
fn folders(root: &Root, controller: &str) -> Result<Vec<String>, ReadError> {
    const OWN: &str = "/proc/self/cgroup";
    let text = root.text(OWN)?;
    let mut found = Vec::new();
    for line in text.lines() {
        let mut fields = line.splitn(3, ':');
        let (Some(_), Some(controllers), Some(path)) = (fields.next(), fields.next(), fields.next()) else {
            return Err(ReadError::text(OWN, line, "control group"));
        };
        let bases: Vec<String> = if controllers.is_empty() {
            vec!["/sys/fs/cgroup".to_owned(), "/sys/fs/cgroup/unified".to_owned()]
        } else if controllers.split(',').any(|it| it == controller) {
            vec![format!("/sys/fs/cgroup/{controllers}"), format!("/sys/fs/cgroup/{controller}")]
        } else {
            continue;
        };
        for base in bases {
            let mut path = path.trim_end_matches('/');
            loop {
                found.push(format!("{base}{path}"));
                let Some((above, _)) = path.rsplit_once('/') else { break };
                path = above;
            }
        }
    }
    Ok(found)
}
