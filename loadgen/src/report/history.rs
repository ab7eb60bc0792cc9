//! One line a run in `history.ndjson`, and an index page with the trend.

use super::chart::sparkline;
use super::error::ReportError;
use super::folder::{REPORT, place};
use super::model::{RunKind, RunReport};
use super::saturation::Saturation;
use super::style::document;
use super::svg::escape;
use super::verdict::{Tone, Verdict};
use super::words::{count, micros, number, plural, ratio, seconds};
use crate::LoadError;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt::{self, Write as _};
use std::fs::{self, OpenOptions};
use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::path::Path;

const LINES: &str = "history.ndjson";

/// A run in a line.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// When it began, RFC 3339.
    pub started: String,
    /// The commit.
    pub commit: String,
    /// What kind of run.
    pub kind: RunKind,
    /// The scenario.
    pub name: String,
    /// `OK`, `DOUBTFUL`, `CUT SHORT`, `FAILED`.
    pub verdict: String,
    /// Answers per second over the run.
    pub answered_per_s: f64,
    /// Of a search: visits per second that met the objective.
    #[serde(default)]
    pub found_per_s: Option<f64>,
    /// 99th percentile of a claim (of all answers where nobody claimed), in microseconds.
    pub p99_us: f64,
    /// 99.9th percentile.
    pub p999_us: f64,
    /// Refused as busy.
    pub busy: u64,
    /// Violations.
    pub violations: u64,
    /// When the last seat was booked.
    #[serde(default)]
    pub sold_out_s: Option<f64>,
    /// CPUs of the machine, and its processor: figures of other machines do not belong on one line.
    pub machine: String,
    /// The run's folder, relative to the results'.
    pub folder: String,
}

impl Entry {
    fn of(report: &RunReport, folder: String) -> Self {
        let report = &super::finite::finite(report);
        let verdict = Verdict::of(report, &Saturation::of(report));
        let measured = |class: &str| report.latency.get(class).filter(|latency| latency.count > 0);
        let latency = measured("claim").or_else(|| measured("all")).cloned().unwrap_or_default();
        Self {
            started: report.started.clone(),
            commit: report.commit.clone(),
            kind: report.kind,
            name: report.name.clone(),
            verdict: verdict.tone.word().to_owned(),
            answered_per_s: ratio(report.totals.answered as f64, report.duration_s),
            found_per_s: report.found_per_s,
            p99_us: latency.p99_us,
            p999_us: latency.p999_us,
            busy: report.totals.codes.get("error:busy").copied().unwrap_or(0),
            violations: report.verified.violation_count,
            sold_out_s: report.totals.sold_out_at_s,
            machine: format!("{} x {}", report.machine.cpus, report.machine.cpu),
            folder,
        }
    }
}

/// Adds a line about `report`, whose files are in `folder`, to `history.ndjson` in `results`, and makes
/// `results/index.html` anew.
pub fn remember(results: &Path, report: &RunReport, folder: &Path) -> Result<Entry, LoadError> {
    let relative = folder.strip_prefix(results).unwrap_or(folder).to_string_lossy().into_owned();
    let entry = Entry::of(report, relative);
    fs::create_dir_all(results).map_err(ReportError::writing(results))?;
    let path = results.join(LINES);
    append(&path, &entry).map_err(ReportError::writing(&path))?;
    history(results)?;
    Ok(entry)
}

fn append(path: &Path, entry: &Entry) -> std::io::Result<()> {
    let mut file = OpenOptions::new().create(true).append(true).read(true).open(path)?;
    let mut line = String::new();
    // A line that was cut (a full disk) must not swallow the next one.
    if file.seek(SeekFrom::End(0))? > 0 {
        file.seek(SeekFrom::End(-1))?;
        let mut last = [0];
        file.read_exact(&mut last)?;
        if last != *b"\n" {
            line.push('\n');
        }
    }
    line.push_str(&serde_json::to_string(entry)?);
    line.push('\n');
    file.write_all(line.as_bytes())?;
    file.sync_all()
}

/// What `history.ndjson` remembers.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct History {
    /// The runs, in the order they were remembered.
    pub entries: Vec<Entry>,
    /// Numbers of the lines that could not be read.
    pub damaged: Vec<usize>,
}

/// Reads `results/history.ndjson`, and makes `results/index.html` from it anew.
pub fn history(results: &Path) -> Result<History, LoadError> {
    if !results.is_dir() {
        return Err(ReportError::NoResults { path: results.to_owned() }.into());
    }
    if results.join(REPORT).exists() {
        return Err(ReportError::OneRun { path: results.to_owned() }.into());
    }
    let past = past(results)?;
    place(&results.join("index.html"), &index_page(&past.entries, &past.damaged))?;
    Ok(past)
}

impl fmt::Display for History {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            out,
            "{:<21} {:<18} {:<9} {:>11} {:>9} {:>9}  {:<12}  folder",
            "started", "run", "verdict", "answers/s", "p99", "sold out", "commit"
        )?;
        for entry in &self.entries {
            let commit: String = entry.commit.chars().take(12).collect();
            writeln!(
                out,
                "{:<21} {:<18} {:<9} {:>11} {:>9} {:>9}  {commit:<12}  {}",
                entry.started,
                entry.name,
                entry.verdict,
                number(entry.answered_per_s),
                micros(entry.p99_us),
                entry.sold_out_s.map_or("–".to_owned(), seconds),
                entry.folder
            )?;
        }
        if !self.damaged.is_empty() {
            writeln!(out, "Lines of {LINES} that could not be read: {:?}", self.damaged)?;
        }
        Ok(())
    }
}

fn past(results: &Path) -> Result<History, LoadError> {
    let path = results.join(LINES);
    let text = match fs::read_to_string(&path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
        read => read.map_err(ReportError::reading(&path))?,
    };
    let (mut entries, mut damaged) = (Vec::new(), Vec::new());
    for (number, line) in (1..).zip(text.lines()).filter(|(_, line)| !line.trim().is_empty()) {
        match serde_json::from_str(line) {
            Ok(entry) => entries.push(entry),
            Err(_) => damaged.push(number),
        }
    }
    Ok(History { entries, damaged })
}

fn index_page(entries: &[Entry], damaged: &[usize]) -> String {
    let mut body = String::from("<header><h1>Benchmarks of Frontrow</h1><p class=\"lead\">");
    let _ = write!(
        body,
        "{}, newest first. A line shows one scenario on one kind of machine; each point is a run. Runs that failed are not in the trend.",
        plural(entries.len() as u64, "run")
    );
    body.push_str("</p></header>\n");
    if !damaged.is_empty() {
        let lines = damaged.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        let _ = writeln!(body, "<p class=\"doubt\">Lines that could not be read in {LINES}: {lines}.</p>");
    }
    trends(&mut body, entries);
    body.push_str("<section><h2>Runs</h2><div class=\"wide\"><table><thead><tr><th>started</th><th>run</th><th>verdict</th><th class=\"n\">answers/s</th><th class=\"n\">p99</th><th class=\"n\">p99.9</th><th class=\"n\">busy</th><th class=\"n\">violations</th><th>commit</th></tr></thead><tbody>\n");
    for entry in entries.iter().rev() {
        let commit: String = entry.commit.chars().take(12).collect();
        let _ = writeln!(
            body,
            "<tr><td>{}</td><td><a href=\"{}/index.html\">{}</a></td><td class=\"{}\">{}</td><td class=\"n\">{}</td><td class=\"n\">{}</td><td class=\"n\">{}</td><td class=\"n\">{}</td><td class=\"n\">{}</td><td><code>{}</code></td></tr>",
            escape(&entry.started),
            address(&entry.folder),
            escape(&entry.name),
            class(&entry.verdict),
            escape(&entry.verdict),
            number(entry.answered_per_s),
            micros(entry.p99_us),
            micros(entry.p999_us),
            count(entry.busy),
            count(entry.violations),
            escape(&commit)
        );
    }
    body.push_str("</tbody></table></div></section>\n");
    document("Benchmarks of Frontrow", &body)
}

/// A folder as a relative address: a name with a colon or a scheme must not become an outside link.
fn address(folder: &str) -> String {
    let mut out = String::from("./");
    for byte in folder.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'/' => out.push(byte as char),
            _ => {
                let _ = write!(out, "%{byte:02X}");
            }
        }
    }
    out
}

fn class(verdict: &str) -> &'static str {
    [Tone::Good, Tone::Doubtful, Tone::CutShort, Tone::Bad]
        .into_iter()
        .find(|tone| tone.word() == verdict)
        .map_or("doubtful", Tone::class)
}

fn trends(body: &mut String, entries: &[Entry]) {
    let mut groups: BTreeMap<(&str, &str), Vec<&Entry>> = BTreeMap::new();
    for entry in entries.iter().filter(|entry| entry.violations == 0) {
        groups.entry((&entry.name, &entry.machine)).or_default().push(entry);
    }
    body.push_str("<section><h2>Trend</h2><div class=\"wide\"><table><thead><tr><th>run</th><th class=\"n\">runs</th><th>answers/s (a search: visits/s that meet its objective)</th><th class=\"n\">last</th><th>p99 of a claim</th><th class=\"n\">last</th><th>machine</th></tr></thead><tbody>\n");
    for ((name, machine), group) in groups {
        let rates: Vec<f64> =
            group.iter().map(|entry| entry.found_per_s.unwrap_or(entry.answered_per_s)).collect();
        let tails: Vec<f64> = group.iter().map(|entry| entry.p99_us).collect();
        let _ = writeln!(
            body,
            "<tr><td>{}</td><td class=\"n\">{}</td><td>{}</td><td class=\"n\">{}/s</td><td>{}</td><td class=\"n\">{}</td><td>{}</td></tr>",
            escape(name),
            group.len(),
            sparkline(&rates, "answers per second over runs"),
            rates.last().map_or_else(String::new, |rate| number(*rate)),
            sparkline(&tails, "p99 over runs"),
            tails.last().map_or_else(String::new, |tail| micros(*tail)),
            escape(machine)
        );
    }
    body.push_str("</tbody></table></div></section>\n");
}
