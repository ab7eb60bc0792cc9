//! Memory: enough of it, in pages large enough, and not taken away.

use super::{Setting, or_unknown};
use crate::need::{self, Memory, size};
use crate::{Finding, Host, ReadError, Severity, Step, cgroup};

const MEMINFO: &str = "/proc/meminfo";
const THP: &str = "/sys/kernel/mm/transparent_hugepage/enabled";

pub(super) fn check(host: &Host, found: &mut Vec<Finding>) {
    found.push(or_unknown("memory", enough(host)));
    found.push(or_unknown("huge-pages", huge_pages(host)));
    found.push(or_unknown("thp-defrag", defrag(host)));
    found.push(or_unknown("swap", swap(host)));
    found.push(or_unknown("overcommit", overcommit(host)));
    let balancing = Setting {
        id: "numa-balancing",
        path: "/proc/sys/kernel/numa_balancing",
        severity: Severity::Warn,
        why: "the kernel takes pages away for a moment to see who uses them: page faults in the middle of claims, \
              although a shard's memory and CPU never part",
    };
    if host.root.has(balancing.path) {
        found.push(balancing.exactly(&host.root, 0));
    }
}

/// A line of `/proc/meminfo`, in bytes.
fn meminfo(host: &Host, name: &'static str) -> Result<u64, ReadError> {
    let text = host.root.text(MEMINFO)?;
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    let kib = line.and_then(|line| line.trim().trim_end_matches("kB").trim().parse::<u64>().ok());
    kib.map(|kib| kib << 10).ok_or_else(|| ReadError::text(MEMINFO, line.unwrap_or(name), "number of kB"))
}

fn enough(host: &Host) -> Result<Finding, ReadError> {
    let needs = Memory::of(&host.config);
    let available = meminfo(host, "MemAvailable")?;
    let bound = cgroup::memory_limit(&host.root)?;
    let (have, source) = match bound {
        Some((bound, source)) if bound < available => (bound, source),
        _ => (available, MEMINFO.to_owned()),
    };
    let total = needs.total();
    let seats = have.saturating_sub(total) / need::SEAT_BYTES;
    let text = format!(
        "{} to be had; the configuration can come to {} (arenas {}, log {}, connections {}), and 64 B a seat",
        size(have),
        size(total),
        size(needs.arenas),
        size(needs.log),
        size(needs.connections)
    );
    let finding = Finding::ok("memory", text, source);
    if have >= total + total / 4 {
        let more = format!("{}; room for about {} million claimed seats", finding.found, seats / 1_000_000);
        return Ok(Finding { found: more, ..finding });
    }
    let severity = if have < total { Severity::Bad } else { Severity::Warn };
    let why = "what does not fit is swapped or the process is killed, both in the middle of a sale; arenas are sized by \
               the configuration and filled as they are used";
    Ok(finding.because(severity, why).by_hand(
        "lower partitions.requests_remembered or partitions.waiting (each counts once per partition), or give more memory",
    ))
}

fn huge_pages(host: &Host) -> Result<Finding, ReadError> {
    let mode = host.root.chosen(THP)?;
    let arenas = size(Memory::of(&host.config).arenas);
    let asks = host.config.partitions.huge_pages;
    let finding = Finding::ok("huge-pages", "", THP);
    let found = |text: String| Finding { found: text, ..finding.clone() };
    let why = "claims go about the arenas at random and miss the TLB: with huge pages a claim took a fifth less processor \
               time (docs/tuning.md); they are made resident at the start, in full";
    let setting = "partitions.huge_pages = true".to_owned();
    Ok(match (mode.as_str(), asks) {
        ("always" | "madvise", true) => {
            found(format!("transparent huge pages are `{mode}`, and the configuration asks for them ({arenas})"))
        }
        ("always" | "madvise", false) => found(format!(
            "the configuration does not ask for huge pages: the arenas ({arenas}) are not made of them at the start"
        ))
        .because(Severity::Note, why)
        .by_hand(setting),
        (other, _) => found(format!("transparent huge pages are `{other}`: the arenas ({arenas}) get pages of 4 KiB"))
            .because(Severity::Note, why)
            .by_hand(format!("`echo madvise > {THP}`, then {setting}")),
    })
}

fn defrag(host: &Host) -> Result<Finding, ReadError> {
    const PATH: &str = "/sys/kernel/mm/transparent_hugepage/defrag";
    let mode = host.root.chosen(PATH)?;
    let finding = Finding::ok("thp-defrag", format!("huge pages are made up `{mode}`"), PATH);
    if mode != "always" {
        return Ok(finding);
    }
    let why = "every program that touches new memory may stop to move pages about; arenas ask once, at their first touch";
    Ok(finding.because(Severity::Note, why).by_writing(vec![Step::new(PATH, "madvise")]))
}

fn swap(host: &Host) -> Result<Finding, ReadError> {
    let (total, free) = (meminfo(host, "SwapTotal")?, meminfo(host, "SwapFree")?);
    if total == 0 {
        return Ok(Finding::ok("swap", "there is none", MEMINFO));
    }
    const PATH: &str = "/proc/sys/vm/swappiness";
    let swappiness = host.root.number(PATH)?;
    let used = total - free.min(total);
    let text = format!("{} used of {}, vm.swappiness {swappiness}", size(used), size(total));
    let finding = Finding::ok("swap", text, format!("{MEMINFO}, {PATH}"));
    if swappiness <= 1 && used < 64 << 20 {
        return Ok(finding);
    }
    let why = "a claim that meets a page on the disk waits for it, and all claims of its core with it; memory that a \
               quiet event does not use is what goes first";
    let finding = finding.because(if used < 64 << 20 { Severity::Note } else { Severity::Warn }, why);
    Ok(if swappiness > 1 {
        finding
            .by_writing(vec![Step::new(PATH, 1)])
            .or_else("or `swapoff -a`, or MemorySwapMax=0 in the unit")
    } else {
        finding.by_hand("`swapoff -a`, or MemorySwapMax=0 in the unit")
    })
}

fn overcommit(host: &Host) -> Result<Finding, ReadError> {
    const PATH: &str = "/proc/sys/vm/overcommit_memory";
    let mode = host.root.number(PATH)?;
    let finding = Finding::ok("overcommit", format!("vm.overcommit_memory is {mode}"), PATH);
    if mode != 2 {
        return Ok(finding);
    }
    let (limit, used) = (meminfo(host, "CommitLimit")?, meminfo(host, "Committed_AS")?);
    let (left, total) = (limit.saturating_sub(used), Memory::of(&host.config).total());
    let text = format!(
        "{}: {} may still be promised, {} is wanted at the start",
        finding.found,
        size(left),
        size(total)
    );
    let finding = Finding { found: text, ..finding };
    if left >= total {
        return Ok(finding);
    }
    let why = "arenas are reserved whole at the start and filled later: with strict accounting the server will not start";
    Ok(finding.because(Severity::Bad, why).by_writing(vec![Step::new(PATH, 0)]))
}
