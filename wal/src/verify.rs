//! Reads everything in a data directory and says what it finds, not stopping at the first damage.
//!
//! Beside a running server some of it moves. What looks bad is looked at again then, and counts only if it
//! is found both times.

use std::path::PathBuf;

use crate::agreed::{AGREED, Agreed};
use crate::error::WalError;
use crate::format::{Position, parse_file_name};
use crate::history::{HISTORY, History};
use crate::index::{SegmentIndex, spans};
use crate::mark::TrimMark;
use crate::reader::{Segment, Tail};
use crate::seeding::SEED;
use crate::snapshot::{Snapshot, SnapshotFile};
use crate::view::{DirView, SegmentInfo, check_chain, follow, list_names, without_unused};
use crate::whole::NO_FILES;

/// What is to be thought of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// All of it reads back.
    Good,
    /// It ends with a commit that never became durable, which is never read.
    Torn,
    /// A server is writing it; what it had written reads back.
    Open,
    /// Nothing here says whether it is whole: somebody must look.
    Doubtful,
    /// It, or something it needs, is damaged, missing or foreign.
    Bad,
}

/// One file, and what was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// The file.
    pub path: PathBuf,
    /// Where in the file, in bytes, if it is one place.
    pub offset: Option<u64>,
    /// What is to be thought of it.
    pub verdict: Verdict,
    /// In words; of what is bad, with the remedy.
    pub text: String,
}

/// What a look at everything gave.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Verified {
    /// By file, in the order they were read.
    pub findings: Vec<Finding>,
    /// Records that read back.
    pub records: u64,
    /// Bytes read.
    pub bytes: u64,
}

impl Verified {
    /// True if something is damaged, missing or foreign.
    pub fn is_bad(&self) -> bool {
        self.findings.iter().any(|finding| finding.verdict == Verdict::Bad)
    }

    fn good(&mut self, path: PathBuf, verdict: Verdict, text: String) {
        self.findings.push(Finding { path, offset: None, verdict, text });
    }

    fn bad(&mut self, path: PathBuf, error: &WalError) {
        let (path, offset) = match error {
            WalError::Corrupt { file, offset, .. } | WalError::RecordVersion { file, offset, .. } => {
                (file.clone(), Some(*offset))
            }
            WalError::BadSnapshot { path, offset, .. } => (path.clone(), Some(*offset)),
            WalError::SegmentMissing { path } | WalError::NoFile { path, .. } => (path.clone(), None),
            _ => (path, None),
        };
        self.findings.push(Finding { path, offset, verdict: Verdict::Bad, text: error.to_string() });
    }
}

/// Reads all segments and snapshots of a directory, whether or not a server has it open.
pub fn verify(view: &DirView) -> Verified {
    let first = look(view);
    if !first.is_bad() || view.open_by().is_none() {
        return first;
    }
    let mut second = look(view);
    let same = |one: &Finding, other: &Finding| (&one.path, one.offset) == (&other.path, other.offset);
    second.findings.retain(|finding| {
        finding.verdict != Verdict::Bad || first.findings.iter().any(|before| same(before, finding))
    });
    second
}

fn look(view: &DirView) -> Verified {
    let mut out = Verified::default();
    // Before the log: it holds whatever a snapshot has that is there now.
    let files = view.snapshots().unwrap_or_else(|error| {
        out.bad(view.snap(), &error);
        Vec::new()
    });
    let log = read_log(view, &mut out);
    let spans = spans(view.partitions(), log.iter().map(|(_, index)| index));
    for file in &files {
        read_snapshot(view, file, &mut out);
    }
    if !out.is_bad()
        && let Err(error) = view.check_against_history()
    {
        let damaged_itself = matches!(error, WalError::BadHistory { .. } | WalError::HistoryMissing { .. });
        out.bad(if damaged_itself { view.path().join(HISTORY) } else { view.log() }, &error);
    }
    if !out.is_bad()
        && let Err(error) = view.check_ends(log.iter().map(|(info, index)| (info, index)))
    {
        out.bad(view.log(), &error);
    }
    // A note that nobody can read is its own finding.
    if !out.is_bad()
        && let Err(error) = view.check_agreed()
    {
        let path =
            if matches!(error, WalError::BadAgreed { .. }) { view.path().join(AGREED) } else { view.log() };
        out.bad(path, &error);
    }
    if !out.is_bad()
        && let Ok(Some(epoch)) = view.without_files()
    {
        let text = format!(
            "epoch {epoch}: {NO_FILES}. If another node has some of it, `frontrow wal repair --from ITS_DIR` brings it back"
        );
        out.good(view.log(), Verdict::Doubtful, text);
    }
    // That of a standby which was just seeded is not as far as its snapshots yet.
    let log_is_whole = !out.is_bad() && !view.path().join(SEED).exists();
    for partition in 0..view.partitions() {
        // Of a log that is known to be damaged, what is missing is said already.
        if log_is_whole && let Err(error) = view.base(&files, partition, spans[usize::from(partition)]) {
            out.bad(view.snap(), &error);
        }
    }
    out
}

fn read_log(view: &DirView, out: &mut Verified) -> Vec<(SegmentInfo, SegmentIndex)> {
    let log = view.log();
    let mark = view.mark().unwrap_or_else(|error| {
        out.bad(view.path().join(crate::mark::TRIM), &error);
        TrimMark::none(view.cluster())
    });
    let names = list_names(&log, parse_file_name).unwrap_or_else(|error| {
        out.bad(log.clone(), &error);
        Vec::new()
    });
    let mut infos: Vec<SegmentInfo> = Vec::new();
    for (path, (stream, epoch, number)) in names {
        if mark.is_trimmed(stream, (epoch, number)) {
            continue;
        }
        match view.read_info(path.clone(), (stream, epoch, number)) {
            Ok(info) => infos.push(info),
            Err(error) => out.bad(path, &error),
        }
    }
    infos.sort_by_key(|info| (info.epoch(), info.stream(), info.number()));
    let linked = without_unused(&infos).and_then(|mut used| {
        follow(&mut used)?;
        let chain = check_chain(&used, &mark, &log);
        infos = used;
        chain
    });
    if let Err(error) = linked {
        out.bad(log, &error);
    }
    let (told, runs) = (told(view), view.open_by().is_some());
    let told = |info: &SegmentInfo| told.get(&(info.epoch(), info.stream())).copied().unwrap_or(0);
    let read = |info: SegmentInfo| read_segment(&info, told(&info), runs, out).map(|index| (info, index));
    infos.into_iter().filter_map(read).collect()
}

/// By (epoch, stream), up to where it is on record that there was something durable. What cannot be read of that is a
/// finding of its own.
fn told(view: &DirView) -> Agreed {
    let mut told = view.agreed().unwrap_or_default();
    let history = History::read(view.path(), view.cluster()).ok().flatten();
    for entry in history.iter().flat_map(|history| &history.epochs) {
        for (&stream, &end) in &entry.ends {
            let so_far = told.entry((entry.epoch, stream)).or_insert(0);
            *so_far = end.max(*so_far);
        }
    }
    told
}

/// What to say of bytes that do not read back behind a segment's last good record, at position `own`.
fn torn_text(bytes: u64, own: Position, told: Position) -> String {
    if told > own {
        return format!(
            "{bytes} bytes of records that were durable and acknowledged: it is on record that the log went on to {told}, \
             and it reads back up to {own}"
        );
    }
    format!(
        "{bytes} bytes of a commit that does not read back: it was cut off before anybody was told of it, or the disk has lost \
         it since, and then it may have been acknowledged"
    )
}

/// `runs`: a server may be writing it, so that its end may be in between.
fn read_segment(info: &SegmentInfo, told: Position, runs: bool, out: &mut Verified) -> Option<SegmentIndex> {
    let scanned = Segment::open(info).and_then(|segment| SegmentIndex::scan(&segment));
    out.bytes += info.segment_bytes();
    let index = match scanned {
        Ok(index) => index,
        Err(error) => {
            out.bad(info.path().into(), &error);
            return None;
        }
    };
    out.records += index.records;
    let records = index.records;
    let (verdict, text) = match index.tail {
        tail if !info.is_closed() && (runs || !matches!(tail, Tail::Torn { .. })) => {
            (Verdict::Open, format!("{records} records, may be written further"))
        }
        Tail::Sealed => (Verdict::Good, format!("{records} records, full")),
        Tail::Clean => (Verdict::Good, format!("{records} records")),
        Tail::Torn { offset, bytes } => {
            let own = info.first_position() + index.bytes;
            (Verdict::Torn, format!("{records} records; at {offset} {}", torn_text(bytes, own, told)))
        }
    };
    out.good(info.path().into(), verdict, text);
    Some(index)
}

fn read_snapshot(view: &DirView, file: &SnapshotFile, out: &mut Verified) {
    match Snapshot::open(view, file) {
        Ok(snapshot) => {
            out.bytes += snapshot.body().len() as u64;
            let text = format!("{} bytes up to record {}", snapshot.body().len(), file.lsn());
            out.good(file.path().into(), Verdict::Good, text);
        }
        Err(error) => out.bad(file.path().into(), &error),
    }
}
