//! The data directory: its file system, its disk, and how fast a commit can be.

use frontrow_server::config::Durability;

use super::or_unknown;
use crate::need::{self, size};
use crate::{Finding, Host, ReadError, Severity, Step};

const MOUNTS: &str = "/proc/self/mountinfo";
/// Microseconds of a commit of one block at the 99th percentile.
const SLOW_US: f64 = 5_000.0;
const BAD_US: f64 = 30_000.0;
/// CPUs busy with other things from which on a write's time is partly the waiting for a CPU.
const BUSY_CPUS: f64 = 0.5;
/// Free space below so many times the segments at the start is tight.
const SPACE_TIMES: u64 = 4;

pub(super) fn check(host: &Host, found: &mut Vec<Finding>) {
    let mount = mount(host);
    found.push(or_unknown(
        "file-system",
        mount.as_ref().map(|mount| file_system(host, mount)).map_err(Clone::clone),
    ));
    found.push(speed(host));
    found.push(space(host));
    let Some(queue) = mount.ok().and_then(|mount| queue(host, &mount)) else { return };
    found.push(or_unknown("io-scheduler", scheduler(host, &queue)));
    found.push(or_unknown("write-cache", write_cache(host, &queue)));
    found.push(or_unknown("write-throttle", throttle(host, &queue)));
}

/// The mount that holds the data directory.
struct Mount {
    kind: String,
    device: String,
    point: String,
    options: Vec<String>,
    /// Major and minor number.
    number: String,
}

fn mount(host: &Host) -> Result<Mount, ReadError> {
    let text = host.root.text(MOUNTS)?;
    let mut best: Option<Mount> = None;
    for line in text.lines() {
        let Some((left, right)) = line.split_once(" - ") else { continue };
        let left: Vec<&str> = left.split(' ').collect();
        let right: Vec<&str> = right.split(' ').collect();
        let ([_, _, number, _, point, options, ..], [kind, device, supers, ..]) = (&left[..], &right[..])
        else {
            continue;
        };
        let point = point.replace("\\040", " ");
        let nearer = best.as_ref().is_none_or(|best| best.point.len() <= point.len());
        if host.live.data.starts_with(&point) && nearer {
            let options = options.split(',').chain(supers.split(',')).map(str::to_owned).collect();
            let [kind, device, number] = [kind, device, number].map(|it| (*it).to_owned());
            best = Some(Mount { kind, device, point, options, number });
        }
    }
    best.ok_or_else(|| ReadError::text(MOUNTS, &text, "list with the data directory's mount"))
}

fn file_system(host: &Host, mount: &Mount) -> Finding {
    let (data, kind) = (host.live.data.display(), mount.kind.as_str());
    let finding = Finding::ok(
        "file-system",
        format!("{data} is on {kind} ({} at {})", mount.device, mount.point),
        MOUNTS,
    );
    let bad = |finding: Finding, why: &str| {
        finding.because(Severity::Bad, why).by_hand("put server.data on ext4 or xfs")
    };
    match kind {
        "tmpfs" | "ramfs" => bad(finding, "it is memory: a sale does not survive a restart of the machine"),
        "overlay" => {
            let why = "a container's own layer goes with the container, bookings included";
            finding
                .because(Severity::Bad, why)
                .by_hand("mount a volume (ext4 or xfs) and set server.data to it")
        }
        "nfs" | "nfs4" | "cifs" | "9p" | "fuse" | "virtiofs" | "ceph" => {
            bad(finding, "a sync goes over the network and may mean something else at the other end")
        }
        "btrfs" | "zfs" | "bcachefs" => {
            let why = "it copies on write: each rewrite of a log block moves it and writes metadata with it";
            finding
                .because(Severity::Warn, why)
                .by_hand("use ext4 or xfs; on btrfs at least `chattr +C` for the data directory")
        }
        "ext4" | "xfs" | "ext3" | "ext2" | "f2fs" => options(mount, finding),
        _ => finding.because(Severity::Note, "Frontrow has been measured on ext4 only"),
    }
}

fn options(mount: &Mount, finding: Finding) -> Finding {
    let has = |name: &str| mount.options.iter().any(|option| option == name);
    let point = &mount.point;
    if has("nobarrier") || has("barrier=0") {
        let why = "a sync does not reach the disk: acknowledged claims are lost with the power";
        return finding.because(Severity::Bad, why).by_hand(format!("mount -o remount,barrier=1 {point}"));
    }
    if has("sync") || has("data=journal") {
        let why = "every write waits for the disk, segments being prepared and their metadata included";
        return finding
            .because(Severity::Warn, why)
            .by_hand(format!("mount {point} without sync and data=journal"));
    }
    if has("strictatime") {
        let why = "reading a segment writes to the disk";
        return finding.because(Severity::Note, why).by_hand(format!("mount -o remount,relatime {point}"));
    }
    if has("discard") {
        let found = format!("{}, mounted with discard", finding.found);
        let why = "deleting a file trims its blocks within a journal commit, and syncs of other files may wait for that; \
                   Frontrow deletes segments it did not need at a stop";
        return Finding { found, ..finding }
            .because(Severity::Note, why)
            .by_hand(format!("mount -o remount,nodiscard {point}, and fstrim.timer instead"));
    }
    finding
}

fn speed(host: &Host) -> Finding {
    const SOURCE: &str = "writes of 4 KiB in the data directory, 0.7 s each";
    let speed = match &host.live.disk {
        Ok(speed) => speed,
        Err(why) => {
            let finding = Finding { severity: Severity::Unknown, ..Finding::ok("disk-sync", why, SOURCE) };
            return finding.by_hand("make the data directory and let this user write to it");
        }
    };
    let synced = speed.synced;
    let (direct, judged) = match (&speed.direct, host.config.log.durability) {
        (Ok(it), Durability::Mapped) => {
            (format!("O_DIRECT|O_DSYNC p50 {:.0} us, p99 {:.0} us", it.p50_us, it.p99_us), synced)
        }
        (Ok(it), _) => (format!("O_DIRECT|O_DSYNC p50 {:.0} us, p99 {:.0} us", it.p50_us, it.p99_us), *it),
        (Err(why), _) => (format!("O_DIRECT is refused ({why})"), synced),
    };
    let busy = host.live.load.as_ref().map_or(0.0, |load| load.busy);
    let beside = if busy > BUSY_CPUS {
        format!(" (while other things kept {busy:.1} CPUs busy: waiting for a CPU is in it)")
    } else {
        String::new()
    };
    let text = format!(
        "{direct}; write and fdatasync p50 {:.0} us, p99 {:.0} us{beside}",
        synced.p50_us, synced.p99_us
    );
    let finding = Finding::ok("disk-sync", text, SOURCE);
    if host.config.log.durability == Durability::Memory {
        return finding;
    }
    let why = format!(
        "every answer waits for one such write, so no durable claim is faster than {:.1} ms at p50, {:.1} ms at p99",
        judged.p50_us / 1000.0,
        judged.p99_us / 1000.0
    );
    if judged.p99_us > SLOW_US {
        let severity = if judged.p50_us > BAD_US { Severity::Bad } else { Severity::Warn };
        return finding.because(severity, why).by_hand(
            "if others-load is a finding, mend that first and measure again; else a local NVMe disk with power-loss \
             protection, without other writers",
        );
    }
    if speed.direct.is_err() && host.config.log.durability == Durability::Direct {
        return finding
            .because(Severity::Note, "log.durability is direct, and commits will be mapped instead");
    }
    if speed.direct.is_ok()
        && host.config.log.durability == Durability::Direct
        && synced.p99_us * 1.5 < judged.p99_us
    {
        let text =
            "here the other way is quicker; see the measured effect in docs/tuning.md before changing it";
        return finding.because(Severity::Note, text).by_hand("log.durability = \"mapped\"");
    }
    finding
}

fn space(host: &Host) -> Finding {
    const SOURCE: &str = "statvfs of the data directory";
    let space = match &host.live.space {
        Ok(space) => space,
        Err(why) => return Finding { severity: Severity::Unknown, ..Finding::ok("disk-space", why, SOURCE) },
    };
    let first = need::segments_at_start(&host.config);
    let text = format!(
        "{} free of {}; {} of segments are written at each start, and the log grows with the sale",
        size(space.free),
        size(space.total),
        size(first)
    );
    let finding = Finding::ok("disk-space", text, SOURCE);
    let why = "on a full disk whoever wants something new hears `read_only`; a claim takes about 130 B of log until a snapshot trims it";
    let mend = "free space, or lower log.segment and log.ready_segments";
    if space.free < first {
        finding.because(Severity::Bad, why).by_hand(mend)
    } else if space.free < SPACE_TIMES * first {
        finding.because(Severity::Warn, why).by_hand(mend)
    } else {
        finding
    }
}

/// The request queue of the disk, also if the mount is a part of it.
fn queue(host: &Host, mount: &Mount) -> Option<String> {
    let device = format!("/sys/dev/block/{}", mount.number);
    // The disk's own name is what people know; a part of a disk lies below it.
    let link = host.root.link(&device).unwrap_or_default();
    let named = link.rsplit('/').take(2).map(|name| format!("/sys/block/{name}/queue"));
    let numbered = [format!("{device}/queue"), format!("{device}/../queue")];
    named.chain(numbered).find(|path| host.root.has(path))
}

fn scheduler(host: &Host, queue: &str) -> Result<Finding, ReadError> {
    let path = format!("{queue}/scheduler");
    let now = host.root.text(&path)?;
    // A device without a choice says `none` without brackets.
    let chosen = if now == "none" { now.clone() } else { host.root.chosen(&path)? };
    let finding = Finding::ok("io-scheduler", format!("{chosen} ({now})"), &*path);
    let spinning = host.root.number(&format!("{queue}/rotational"))? == 1;
    let virtual_disk = queue.contains("/vd") || queue.contains("/xvd") || queue.contains("/nvme");
    if chosen == "none" || (spinning && !virtual_disk) || !now.contains("none") {
        return Ok(finding);
    }
    let why = "it sorts and holds back requests for the sake of moving heads, and the log has one write in flight; the \
               host or the disk sorts its own";
    Ok(finding.because(Severity::Note, why).by_writing(vec![Step::new(path, "none")]))
}

fn write_cache(host: &Host, queue: &str) -> Result<Finding, ReadError> {
    let (cache, fua) =
        (host.root.text(&format!("{queue}/write_cache"))?, host.root.number(&format!("{queue}/fua"))?);
    let finding =
        Finding::ok("write-cache", format!("{cache}, FUA {fua}"), format!("{queue}/write_cache, fua"));
    if cache == "write through" || fua == 1 {
        return Ok(finding);
    }
    let why = "a durable write is two commands, the write and a flush of the whole cache, which waits for what others \
               wrote; a disk with power-loss protection says `write through`";
    Ok(finding.because(Severity::Note, why))
}

fn throttle(host: &Host, queue: &str) -> Result<Finding, ReadError> {
    let path = format!("{queue}/wbt_lat_usec");
    // Kernels without it throttle nothing.
    let Ok(text) = host.root.text(&path) else {
        return Ok(Finding::ok("write-throttle", "not in this kernel, or not for this disk", &*path));
    };
    let us: i64 = text.parse().map_err(|_| ReadError::text(&path, &text, "whole number"))?;
    let finding = Finding::ok("write-throttle", format!("wbt_lat_usec is {us}"), &*path);
    if us == 0 {
        return Ok(finding);
    }
    let why = "writes in the background are held back when reads take longer than that; the log's own are synchronous \
               and mostly spared";
    Ok(finding.because(Severity::Note, why).by_writing(vec![Step::new(path, 0)]))
}
