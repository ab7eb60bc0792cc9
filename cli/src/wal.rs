//! The log on disk, looked at without a server or beside one: reads only, and takes no lock. `repair` and `accept-loss`
//! alone write.

use crate::args::{Dump, Wal};
use crate::failure::Failure;
use crate::show::Out;
use frontrow_shard::record::{self, Decoded, Fact, Facts, Given, Outcome, kind};
use frontrow_shard::{Op, Parts};
use frontrow_wal::{
    Agreed, DataDir, DirOptions, DirView, Finding, LogIndex, Mended, PartitionSpan, Position, Record,
    Segment, SegmentInfo, Snapshot, Tail, Verdict, Verified, WalError, covered, removable, repair, spans,
    verify,
};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::io::{self, BufWriter, Write as _};
use std::path::Path;

pub(crate) fn run(data: &Path, wal: &Wal, out: Out) -> Result<(), Failure> {
    let view = DirView::open(data).map_err(bad)?;
    match wal {
        Wal::Stat => stat(&view, out),
        Wal::Verify => check(&view, out),
        Wal::Repair { from } => mend(&view, &DirView::open(from).map_err(bad)?, out),
        Wal::AcceptLoss { yes } => accept_loss(&view, *yes, out),
        Wal::Dump(filter) => {
            beside(&view, out);
            dump(&view, filter, out)
        }
    }
}

#[allow(clippy::needless_pass_by_value, reason = "made for map_err")]
fn bad(error: WalError) -> Failure {
    let code = match error {
        WalError::NotInitialised { .. } => "no_log",
        WalError::ForeignDirectory { .. }
        | WalError::ForeignFile { .. }
        | WalError::ForeignCluster { .. } => "foreign",
        WalError::ManifestVersion { .. }
        | WalError::SegmentVersion { .. }
        | WalError::SnapshotVersion { .. }
        | WalError::RecordVersion { .. } => "version",
        WalError::SameDirectory { .. } => "same_directory",
        WalError::Io { .. } => "io",
        _ => "damaged",
    };
    Failure::Refused { code, message: error.to_string() }
}

/// Says that what is read may move, on the side where it does not get into a pipe.
fn beside(view: &DirView, out: Out) {
    if let Some(pid) = view.open_by().filter(|_| !out.json) {
        let _ = writeln!(io::stderr(), "process {pid} has this log open: the end of it may move meanwhile");
    }
}

/// One stream's segments of one epoch.
#[derive(Default)]
struct Run {
    segments: Vec<SegmentInfo>,
    records: u64,
    bytes: u64,
    torn_bytes: u64,
}

fn stat(view: &DirView, out: Out) -> Result<(), Failure> {
    let files = view.snapshots().map_err(bad)?;
    let segments = view.segments().map_err(bad)?;
    let mut index = LogIndex::default();
    let mut runs: BTreeMap<(u32, u16), Run> = BTreeMap::new();
    let mut indexes = Vec::new();
    for info in &segments {
        let one = index.of(info).map_err(bad)?;
        let run = runs.entry((info.epoch(), info.stream())).or_default();
        run.segments.push(info.clone());
        run.records += one.records;
        run.bytes += one.bytes;
        if let (Tail::Torn { bytes, .. }, true) = (one.tail, info.is_closed()) {
            run.torn_bytes += bytes;
        }
        indexes.push(one);
    }
    let spans = spans(view.partitions(), indexes.iter().map(|one| &**one));
    let covered = covered(view, &files).map_err(bad)?;
    let goes = removable(&segments, &mut index, &covered, &|_| Position::MAX).map_err(bad)?;
    let goes_bytes: u64 = goes.iter().map(|info| info.segment_bytes()).sum();
    let shots: Vec<_> = files.iter().map(|file| (file, Snapshot::open(view, file))).collect();
    let json = json!({
        "ok": true,
        "directory": view.path(), "cluster": format!("{:032x}", view.cluster()), "epoch": view.epoch(),
        "partitions": view.partitions(), "created_ms": view.created_ms(), "open_by": view.open_by(),
        "runs": runs.iter().map(run_json).collect::<Vec<_>>(),
        "ranges": spans.iter().flatten().map(span_json).collect::<Vec<_>>(),
        "snapshots": shots.iter().map(|(file, shot)| json!({
            "file": file.path(), "partition": file.partition(), "lsn": file.lsn(),
            "bytes": shot.as_ref().ok().map(|shot| shot.body().len()),
            "damage": shot.as_ref().err().map(ToString::to_string),
        })).collect::<Vec<_>>(),
        "could_be_trimmed": {"segments": goes.len(), "bytes": goes_bytes},
    });
    let mut text = heading(view);
    for ((epoch, stream), run) in &runs {
        let _ = writeln!(text, "{}", run_text(*epoch, *stream, run));
    }
    let _ = writeln!(text, "partitions in the log:");
    for span in spans.iter().flatten() {
        let _ = writeln!(
            text,
            "  {:>4}: records {} to {} ({})",
            span.partition, span.first, span.last, span.records
        );
    }
    let _ = writeln!(text, "snapshots: {}", shots.len());
    for (file, shot) in &shots {
        let what = match shot {
            Ok(shot) => format!("{} bytes", shot.body().len()),
            Err(error) => error.to_string(),
        };
        let _ = writeln!(text, "  {:>4}: up to record {}, {what}", file.partition(), file.lsn());
    }
    let _ = write!(text, "could be trimmed: {} segments, {goes_bytes} bytes", goes.len());
    out.say(&json, text);
    Ok(())
}

fn heading(view: &DirView) -> String {
    let mut text = format!(
        "{}: cluster {:032x}, epoch {}, {} partitions\n",
        view.path().display(),
        view.cluster(),
        view.epoch(),
        view.partitions()
    );
    if let Some(pid) = view.open_by() {
        let _ = writeln!(text, "process {pid} has it open: the end of the log may move meanwhile");
    }
    text
}

fn run_text(epoch: u32, stream: u16, run: &Run) -> String {
    let (Some(first), Some(last)) = (run.segments.first(), run.segments.last()) else { return String::new() };
    let torn = if run.torn_bytes > 0 { format!(", {} bytes torn", run.torn_bytes) } else { String::new() };
    format!(
        "epoch {epoch}, stream {stream}: segments {} to {}, positions {} to {}, {} records in {} bytes{torn}",
        first.number(),
        last.number(),
        first.first_position(),
        last.end_position(),
        run.records,
        run.bytes
    )
}

fn run_json(((epoch, stream), run): (&(u32, u16), &Run)) -> Value {
    let (first, last) = (run.segments.first(), run.segments.last());
    json!({
        "epoch": epoch, "stream": stream, "segments": run.segments.len(),
        "first_segment": first.map(SegmentInfo::number), "last_segment": last.map(SegmentInfo::number),
        "first_position": first.map(SegmentInfo::first_position),
        "end_position": last.map(SegmentInfo::end_position),
        "records": run.records, "bytes": run.bytes, "torn_bytes": run.torn_bytes,
        "file_bytes": run.segments.iter().map(SegmentInfo::segment_bytes).sum::<u64>(),
    })
}

fn span_json(span: &PartitionSpan) -> Value {
    json!({"partition": span.partition, "first": span.first, "last": span.last, "records": span.records})
}

fn check(view: &DirView, out: Out) -> Result<(), Failure> {
    let mut verified = verify(view);
    let mut events = catalogue_findings(view, &verified);
    // Beside a running server a file may come or go between two looks.
    if view.open_by().is_some() && events.iter().any(|it| it.verdict == Verdict::Bad) {
        let first = std::mem::replace(&mut events, catalogue_findings(view, &verified));
        events.retain(|it| it.verdict != Verdict::Bad || first.contains(it));
    }
    verified.findings.extend(events);
    let word = |verdict| match verdict {
        Verdict::Good => "good",
        Verdict::Torn => "torn",
        Verdict::Open => "open",
        Verdict::Doubtful => "LOOK",
        Verdict::Bad => "BAD",
    };
    let json = json!({
        "ok": !verified.is_bad(), "records": verified.records, "bytes": verified.bytes,
        "open_by": view.open_by(),
        "findings": verified.findings.iter().map(|it| json!({
            "file": it.path, "offset": it.offset, "verdict": word(it.verdict).to_lowercase(), "text": it.text,
        })).collect::<Vec<_>>(),
    });
    let mut text = heading(view);
    for it in &verified.findings {
        let at = it.offset.map_or(String::new(), |offset| format!(" at byte {offset}"));
        let _ = writeln!(text, "{:<4} {}{at}: {}", word(it.verdict), it.path.display(), of_itself(it));
    }
    let bad = verified.findings.iter().filter(|it| it.verdict == Verdict::Bad).count();
    let _ = write!(text, "{} records in {} bytes read; {bad} bad", verified.records, verified.bytes);
    out.say(&json, text);
    if verified.is_bad() { Err(Failure::Told) } else { Ok(()) }
}

/// What is said of a file after its name, which some errors begin with.
fn of_itself(it: &Finding) -> &str {
    let name = it.path.display().to_string();
    let rest = it.text.strip_prefix(&name);
    rest.and_then(|rest| rest.strip_prefix(": ").or(rest.strip_prefix(' '))).unwrap_or(&it.text)
}

/// The catalogue's files, its archives among them. What the log says that there must be is asked of it if it is good.
fn catalogue_findings(view: &DirView, log: &Verified) -> Vec<Finding> {
    let logged = if log.is_bad() {
        BTreeSet::new()
    } else {
        frontrow_server::catalogue::logged(view).unwrap_or_default()
    };
    let finding = |it: frontrow_server::catalogue::Finding| Finding {
        path: it.path,
        offset: None,
        verdict: match (it.is_bad, it.is_leftover, it.is_doubtful) {
            (true, ..) => Verdict::Bad,
            (false, true, _) => Verdict::Torn,
            (false, false, true) => Verdict::Doubtful,
            (false, false, false) => Verdict::Good,
        },
        text: it.text,
    };
    let found = frontrow_server::catalogue::verify(view.path(), view.cluster(), &logged);
    found.into_iter().map(finding).collect()
}

fn mend(view: &DirView, other: &DirView, out: Out) -> Result<(), Failure> {
    let mended = repair(view, other).map_err(bad)?;
    let mut text = heading(view);
    for one in &mended {
        let _ = match one {
            Mended::Replaced { path, kept: Some(kept) } => {
                writeln!(text, "mended {}; what was there is {} now", path.display(), kept.display())
            }
            Mended::Replaced { path, kept: None } => writeln!(text, "put back {}", path.display()),
            Mended::Left { path, why } => writeln!(text, "LEFT   {}: {why}", path.display()),
        };
    }
    let left = mended.iter().filter(|one| matches!(one, Mended::Left { .. })).count();
    let _ = write!(text, "{} mended, {left} left; now: frontrow wal verify", mended.len() - left);
    let json = json!({
        "ok": left == 0,
        "files": mended.iter().map(|one| match one {
            Mended::Replaced { path, kept } => json!({"file": path, "mended": true, "kept": kept}),
            Mended::Left { path, why } => json!({"file": path, "mended": false, "why": why}),
        }).collect::<Vec<_>>(),
    });
    out.say(&json, text);
    if left == 0 { Ok(()) } else { Err(Failure::Told) }
}

/// What both nodes had is not asked for any more: says what that is, first.
fn accept_loss(view: &DirView, yes: bool, out: Out) -> Result<(), Failure> {
    let agreed = match view.agreed() {
        // One that cannot be read can still be moved away.
        Err(WalError::BadAgreed { .. }) => Agreed::new(),
        agreed => agreed.map_err(bad)?,
    };
    let lack = view.check_agreed().err().map(|error| error.to_string());
    let mut text = heading(view);
    for ((epoch, stream), position) in &agreed {
        let _ = writeln!(text, "epoch {epoch}, stream {stream}: both nodes had it up to position {position}");
    }
    let ended = view.read_ends().err().filter(|error| matches!(error, WalError::EndLost { .. }));
    if let Some(lost) = &ended {
        let _ = writeln!(text, "{lost}");
    }
    let _ = match &lack {
        Some(lack) => writeln!(text, "{lack}"),
        None if ended.is_some() => Ok(()),
        None => writeln!(
            text,
            "all of it is here; this node may then follow one that lacks some of it, and what that one lacks is cut (kept in cut/)"
        ),
    };
    let begun =
        view.check_has_history().err().filter(|error| matches!(error, WalError::HistoryMissing { .. }));
    if let Some(lost) = &begun {
        let _ = writeln!(text, "{lost}");
    }
    let mut kept = None;
    if yes {
        let options = DirOptions { create: false, ..DirOptions::new(view.partitions()) };
        kept = DataDir::attend(view.path(), options, 0).and_then(|dir| dir.accept_loss()).map_err(bad)?;
    }
    let _ = match &kept {
        Some(kept) => write!(text, "given up; the note of it is {} now", kept.display()),
        None if yes && begun.is_some() => {
            write!(
                text,
                "a new history is begun, in the name of a new node: a standby of this one is to be made anew"
            )
        }
        None if yes && ended.is_some() => {
            write!(text, "given up; HISTORY says of each epoch now that it ended where it can be read up to")
        }
        None if yes => write!(text, "nothing was noted, so nothing is given up"),
        None => write!(text, "nothing was changed; to give it up: the same with --yes"),
    };
    let json = json!({
        "ok": true, "given_up": kept.is_some() || (yes && ended.is_some()), "kept": kept, "lacks": lack,
        "ended_early": ended.map(|lost| lost.to_string()), "history_begun": yes && begun.is_some(),
        "both_had": agreed.iter().map(|((epoch, stream), position)| json!({
            "epoch": epoch, "stream": stream, "position": position,
        })).collect::<Vec<_>>(),
    });
    out.say(&json, text);
    Ok(())
}

fn dump(view: &DirView, filter: &Dump, out: Out) -> Result<(), Failure> {
    let mut to = BufWriter::new(io::stdout().lock());
    let mut left = filter.limit.unwrap_or(u64::MAX);
    for info in view.segments().map_err(bad)? {
        if left == 0 || filter.stream.is_some_and(|stream| stream != info.stream()) {
            continue;
        }
        let segment = Segment::open(&info).map_err(bad)?;
        for found in segment.records() {
            let found = match found {
                Ok(found) => found,
                Err(error) => {
                    // What was readable before it is not lost in the buffer.
                    let _ = to.flush();
                    return Err(bad(error));
                }
            };
            let wanted = filter.partition.is_none_or(|partition| partition == found.partition)
                && filter.from_lsn.is_none_or(|from| from <= found.lsn);
            if !wanted {
                continue;
            }
            let line = if out.json { line_json(&info, &found).to_string() } else { line_text(&info, &found) };
            // A reader that has gone (`| head`) is no failure.
            if writeln!(to, "{line}").is_err() {
                return Ok(());
            }
            left -= 1;
            if left == 0 {
                break;
            }
        }
    }
    let _ = to.flush();
    Ok(())
}

fn line_text(info: &SegmentInfo, found: &Record<'_>) -> String {
    let Record { partition, epoch, lsn, time_ms, kind, position, .. } = *found;
    let place = format!("s{} e{epoch} {position:>12}  p{partition} #{lsn} t{time_ms}", info.stream());
    match record::decode(kind, found.payload) {
        Ok(Decoded { op, outcome, facts }) => {
            let outcome = outcome.map_or(String::new(), |it| format!("  => {}", outcome_text(&it)));
            let facts = facts_text(facts).iter().fold(String::new(), |text, fact| text + "  + " + fact);
            format!("{place}  {}{outcome}{facts}", op_text(&op))
        }
        Err(error) => format!("{place}  {} bytes of kind {kind}: {error}", found.payload.len()),
    }
}

fn line_json(info: &SegmentInfo, found: &Record<'_>) -> Value {
    let mut line = json!({
        "stream": info.stream(), "epoch": found.epoch, "segment": info.number(), "position": found.position,
        "partition": found.partition, "lsn": found.lsn, "time_ms": found.time_ms,
        "kind": kind_name(found.kind),
    });
    match record::decode(found.kind, found.payload) {
        Ok(Decoded { op, outcome, facts }) => {
            line["op"] = op_text(&op).into();
            if facts.is_some() {
                line["facts"] = facts_text(facts).into();
            }
            if let Some(it) = outcome {
                line["outcome"] = json!({
                    "code": it.code.name(), "seats": it.seats.places().collect::<Vec<_>>(), "slot": it.slot,
                    "expires_ms": it.expires_ms, "flags": it.flags,
                });
            }
        }
        Err(error) => line["error"] = error.to_string().into(),
    }
    line
}

/// An operation in words. The secret that nonces are drawn from stays in the log.
fn op_text(op: &Op) -> String {
    match op {
        Op::Begin { epoch, .. } => format!("Begin {{ epoch: {epoch} }}"),
        Op::CreateEvent(spec) => format!("CreateEvent {{ event: {} }}", spec.event),
        Op::Request(request) => {
            format!("user {} asks {:032x}: {:?}", request.user, request.id, request.command)
        }
        other => format!("{other:?}"),
    }
}

/// What the operation caused, each in words.
fn facts_text(facts: Option<Facts<'_>>) -> Vec<String> {
    let text = |fact| match fact {
        Ok(Fact::Rows(rows)) => format!("Rows{}", rows_text(&rows)),
        Ok(Fact::Expired { user, place, epoch, rows }) => {
            format!("Expired {{ user: {user}, place: {place:?}, epoch: {epoch}{} }}", rows_text(&rows))
        }
        Ok(Fact::Granted { request, given }) => {
            format!("Granted {{ request: {request:032x}, {} }}", given_text(&given))
        }
        Ok(Fact::Offered(given)) => format!("Offered {{ {} }}", given_text(&given)),
        Ok(Fact::Queued { request, user, place }) => {
            format!("Queued {{ request: {request:032x}, user: {user}, place: {place:?} }}")
        }
        Ok(Fact::Refused { request, user, place, code }) => {
            let code = code.name();
            format!("Refused {{ request: {request:032x}, user: {user}, place: {place:?}, code: {code} }}")
        }
        Ok(fact) => format!("{fact:?}"),
        Err(_) => "and bytes that are no fact".to_owned(),
    };
    facts.iter().flat_map(Facts::iter).map(text).collect()
}

fn given_text(given: &Given) -> String {
    let Given { user, place, hold, seats, expires_ms, rows } = given;
    let places: Vec<u8> = seats.places().collect();
    format!(
        "user: {user}, place: {place:?}, hold: {}/{}/{}, seats: {places:?}, until: {expires_ms}{}",
        hold.epoch,
        hold.lsn,
        hold.slot,
        rows_text(rows)
    )
}

/// The rows of a hold over several; nothing for another one.
fn rows_text(rows: &Parts) -> String {
    let row = |part: &frontrow_shard::Part| {
        let places: Vec<u8> = part.seats.places().collect();
        format!(", row {}: {places:?}", part.row)
    };
    rows.as_slice().iter().map(row).collect()
}

fn outcome_text(it: &Outcome) -> String {
    let mut text = it.code.name().to_owned();
    let places: Vec<String> = it.seats.places().map(|place| place.to_string()).collect();
    if !places.is_empty() {
        let _ = write!(text, " seats {}", places.join(","));
    }
    if it.expires_ms > 0 {
        let _ = write!(text, " until {}", it.expires_ms);
    }
    text
}

fn kind_name(kind: u8) -> &'static str {
    match kind & !kind::FACTS {
        kind::BEGIN => "begin",
        kind::CREATE_EVENT => "create_event",
        kind::SET_EVENT_STATE => "set_event_state",
        kind::BLOCK => "block",
        kind::EXPIRE => "expire",
        kind::DELIVER => "deliver",
        kind::ARCHIVE => "archive",
        kind::CLAIM_SEATS => "claim_seats",
        kind::CLAIM_BEST => "claim_best",
        kind::CLAIM_SECTION => "claim_section",
        kind::EXTEND => "extend",
        kind::BEGIN_PAYMENT => "begin_payment",
        kind::BOOK => "book",
        kind::RELEASE => "release",
        kind::CANCEL => "cancel",
        kind::JOIN => "join",
        kind::LEAVE => "leave",
        _ => "unknown",
    }
}
