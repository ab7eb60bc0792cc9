//! What a measurement says: as numbers for programs, as a table for people.

use crate::{LoadError, Machine};
use clap::ValueEnum;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

/// What was loaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Subject {
    /// The bare echo server.
    Echo,
    /// Frontrow, with its log in memory.
    Memory,
    /// Frontrow, with its log durable before an answer leaves.
    Durable,
    /// Frontrow, durable on its own disk and at a standby process before an answer leaves.
    Backup,
    /// The same server as `memory`, over WebSocket.
    Websocket,
    /// The same server as `durable`, everybody wants the same thirty seats.
    DurableHot,
    /// The same with a table of bookings beside the log.
    Bookings,
    /// The same with every change told to Kafka.
    Kafka,
    /// Redis, nothing on disk.
    Redis,
    /// Redis, with every change on disk before its answer.
    RedisAlways,
    /// PostgreSQL, a seat named by its number.
    PostgresId,
    /// PostgreSQL, any free seat of a section.
    PostgresSkipLocked,
    /// PostgreSQL, everybody wants the same thirty seats.
    PostgresHot,
}

impl Subject {
    /// The order of a round of the first table.
    pub const ALL: [Self; 6] =
        [Self::Echo, Self::Memory, Self::Durable, Self::Backup, Self::Bookings, Self::Kafka];

    /// The name in the table.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Echo => "echo",
            Self::Memory => "memory",
            Self::Durable => "durable",
            Self::Backup => "backup",
            Self::Bookings => "bookings",
            Self::Kafka => "kafka",
            Self::Websocket => "websocket",
            Self::DurableHot => "durable-hot",
            Self::Redis => "redis",
            Self::RedisAlways => "redis-always",
            Self::PostgresId => "postgres-id",
            Self::PostgresSkipLocked => "postgres-skip-locked",
            Self::PostgresHot => "postgres-hot",
        }
    }

    /// The least ratio to the echo that the design asks for at this depth, if it says one.
    pub const fn target(self, depth: usize) -> Option<f64> {
        match (self, depth) {
            (Self::Memory, 1) => Some(0.95),
            (Self::Memory, 16) => Some(0.70),
            (Self::Memory, 64) => Some(0.40),
            (Self::Durable, 1) => Some(0.85),
            (Self::Durable, 16) => Some(0.60),
            (Self::Durable, 64) => Some(0.33),
            _ => None,
        }
    }
}

/// One load on one subject in one round.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Run {
    /// Requests answered (or messages echoed) per second.
    pub requests_per_s: f64,
    /// Claims granted per second; 0 for the echo.
    pub claims_per_s: f64,
    /// Holds released per second.
    pub releases_per_s: f64,
    /// Median latency in microseconds.
    pub p50_us: f64,
    /// 99th percentile in microseconds.
    pub p99_us: f64,
    /// 99.9th percentile in microseconds.
    pub p999_us: f64,
    /// Requests per second divided by the echo's of the same round and depth; 1 for the echo, 0 without one.
    pub ratio: f64,
    /// Processor time of the serving core per request, in nanoseconds, system calls included.
    pub serving_ns: f64,
    /// Processor time of the log's threads per request, in nanoseconds.
    pub logging_ns: f64,
    /// Refusals of the whole run, by name.
    pub refused: BTreeMap<String, u64>,
    /// How many CPUs other processes kept busy meanwhile.
    pub others_cpu: f64,
    /// Seconds after the load until those who follow the log had all of it, if that was waited for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub told_after_s: Option<f64>,
}

/// A line of the table: medians over the rounds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Row {
    /// What was loaded.
    pub subject: Subject,
    /// Median of each number over the rounds; refusals and others' CPU time are sums and means.
    pub median: Run,
    /// The lowest and the highest requests per second of all rounds.
    pub requests_range: (f64, f64),
    /// The lowest and the highest ratio of all rounds.
    pub ratio_range: (f64, f64),
    /// The least ratio the design asks for.
    pub target: Option<f64>,
    /// Each round.
    pub rounds: Vec<Run>,
}

impl Row {
    /// The line over `rounds`, of which there is at least one.
    pub(crate) fn of(subject: Subject, depth: usize, rounds: Vec<Run>) -> Self {
        let all = |pick: fn(&Run) -> f64| sorted(rounds.iter().map(pick));
        let mid = |pick| median(&all(pick));
        let range = |pick| {
            let values = all(pick);
            (values.first().copied().unwrap_or(0.0), values.last().copied().unwrap_or(0.0))
        };
        let mut refused = BTreeMap::new();
        for (name, count) in rounds.iter().flat_map(|run| &run.refused) {
            *refused.entry(name.clone()).or_default() += count;
        }
        let median = Run {
            requests_per_s: mid(|run| run.requests_per_s),
            claims_per_s: mid(|run| run.claims_per_s),
            releases_per_s: mid(|run| run.releases_per_s),
            p50_us: mid(|run| run.p50_us),
            p99_us: mid(|run| run.p99_us),
            p999_us: mid(|run| run.p999_us),
            ratio: mid(|run| run.ratio),
            serving_ns: mid(|run| run.serving_ns),
            logging_ns: mid(|run| run.logging_ns),
            refused,
            others_cpu: rounds.iter().map(|run| run.others_cpu).sum::<f64>() / rounds.len().max(1) as f64,
            told_after_s: rounds
                .first()
                .and_then(|run| run.told_after_s)
                .map(|_| mid(|run| run.told_after_s.unwrap_or(0.0))),
        };
        Self {
            subject,
            median,
            requests_range: range(|run| run.requests_per_s),
            ratio_range: range(|run| run.ratio),
            target: subject.target(depth),
            rounds,
        }
    }

    fn verdict(&self) -> &'static str {
        match self.target {
            Some(target) if self.median.ratio >= target => "met",
            Some(_) => "missed",
            None => "",
        }
    }
}

fn sorted(values: impl Iterator<Item = f64>) -> Vec<f64> {
    let mut values: Vec<f64> = values.collect();
    values.sort_unstable_by(f64::total_cmp);
    values
}

/// The middle of sorted values; between the two middle ones if their number is even.
pub(crate) fn median(sorted: &[f64]) -> f64 {
    let (low, high) = (sorted.len().saturating_sub(1) / 2, sorted.len() / 2);
    match (sorted.get(low), sorted.get(high)) {
        (Some(low), Some(high)) => f64::midpoint(*low, *high),
        _ => 0.0,
    }
}

/// All subjects at one depth.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Depth {
    /// Requests in flight per connection.
    pub depth: usize,
    /// One line per subject.
    pub rows: Vec<Row>,
}

/// A whole measurement, described well enough to be repeated.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// The day, UTC.
    pub date: String,
    /// The commit, with `-dirty` if tracked files differed from it.
    pub commit: String,
    /// Whether the program was built with optimisations.
    pub optimised: bool,
    /// The exact command.
    pub command: String,
    /// What it ran on.
    pub machine: Machine,
    /// The engine of server, echo and load.
    pub engine: String,
    /// How the durable server was asked to commit.
    pub durability: String,
    /// The CPU of the servers, if pinned.
    pub server_core: Option<usize>,
    /// The CPU of the load, if pinned.
    pub load_core: Option<usize>,
    /// Connections.
    pub connections: usize,
    /// Milliseconds measured per run.
    pub duration_ms: u64,
    /// Seats on sale.
    pub seats: u32,
    /// Which seats were drawn.
    pub seed: u64,
    /// Bytes of a request, and of the echo's frame.
    pub request_bytes: usize,
    /// Bytes of an answer, and of the echo's reply.
    pub reply_bytes: usize,
    /// The table.
    pub depths: Vec<Depth>,
}

impl Report {
    /// The table in Markdown, with what one has to know to read it.
    pub fn table(&self) -> String {
        let mut out = String::new();
        let pinned = |core: Option<usize>| core.map_or("not pinned".to_owned(), |core| format!("CPU {core}"));
        let rounds =
            self.depths.first().and_then(|depth| depth.rows.first()).map_or(0, |row| row.rounds.len());
        let _ = writeln!(
            out,
            "{} · commit {} · {} connections · {rounds} interleaved rounds of {} ms · {} seats\n\
             {} · server on {}, load on {} · request {} B, reply {} B · durability {}\n",
            self.date,
            self.commit,
            self.connections,
            self.duration_ms,
            self.seats,
            self.engine,
            pinned(self.server_core),
            pinned(self.load_core),
            self.request_bytes,
            self.reply_bytes,
            self.durability,
        );
        lines(&mut out, &self.depths);
        self.to_local(
            &mut out,
            Subject::Backup,
            "with a standby on the same machine (it shares both CPUs and the disk)",
            Some((16, 0.80)),
        );
        let table = "with a table of bookings fed from the log (on the load's CPU and the same disk)";
        self.to_local(&mut out, Subject::Bookings, table, None);
        let kafka = "with every change told to Kafka (writer and broker on the load's CPU)";
        self.to_local(&mut out, Subject::Kafka, kafka, None);
        let refused: u64 = self
            .depths
            .iter()
            .flat_map(|depth| &depth.rows)
            .flat_map(|row| row.median.refused.values())
            .sum();
        let _ = writeln!(
            out,
            "\nAll replies verified: one answer per request, seats as asked, no seat granted while held, the server's view of \
             every seat equal to the clients'. Refused claims in all: {refused}."
        );
        if !self.optimised {
            out.push_str("\nBuilt without optimisations: these are no measurements.\n");
        }
        out
    }

    /// What something beside the durable server costs: the ratio of every round, and the median of these.
    fn to_local(&self, out: &mut String, subject: Subject, what: &str, asked: Option<(usize, f64)>) {
        for depth in &self.depths {
            let row = |subject| depth.rows.iter().find(|row| row.subject == subject);
            let (Some(local), Some(other)) = (row(Subject::Durable), row(subject)) else {
                continue;
            };
            let rounds = || other.rounds.iter().zip(&local.rounds);
            let ratios = sorted(rounds().map(|(other, local)| other.requests_per_s / local.requests_per_s));
            let (least, most) =
                (ratios.first().copied().unwrap_or(0.0), ratios.last().copied().unwrap_or(0.0));
            // What the core would hold if nobody else were on its CPUs: others slow the load down, too.
            let core = sorted(rounds().map(|(other, local)| local.serving_ns / other.serving_ns));
            let target = match asked {
                Some((at, ratio)) if at == depth.depth => format!("; the design asks for {ratio:.2}"),
                _ if matches!(subject, Subject::Bookings | Subject::Kafka) => {
                    "; the design asks for 0.90".to_owned()
                }
                _ => String::new(),
            };
            let told = other
                .median
                .told_after_s
                .map_or(String::new(), |s| format!(" All of it was told {s:.1} s after the load."));
            let _ = writeln!(
                out,
                "\nDepth {}: {what} {:.2} of durable alone ({least:.2} to {most:.2}){target}. By the shard core's own \
                 processor time a request {:.2}.{told}",
                depth.depth,
                median(&ratios),
                median(&core)
            );
        }
    }

    /// Writes `report.json`, `table.md`, `command.txt` and `machine.txt` into `folder`.
    pub fn write(&self, folder: &Path) -> Result<(), LoadError> {
        let mut json = serde_json::to_string_pretty(self)
            .map_err(|error| LoadError::Option(format!("the report has no JSON form: {error}")))?;
        json.push('\n');
        let command = format!("{}\n", self.command);
        let machine = format!("commit        {}\n{}", self.commit, self.machine);
        let files = [
            ("report.json", json),
            ("table.md", self.table()),
            ("command.txt", command),
            ("machine.txt", machine),
        ];
        write_all(folder, &files)
    }
}

/// Writes files into `folder`, which is made if it is not there.
pub(crate) fn write_all(folder: &Path, files: &[(&str, String)]) -> Result<(), LoadError> {
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |source| LoadError::File { path, source }
    };
    std::fs::create_dir_all(folder).map_err(failed(folder))?;
    for (name, text) in files {
        let path = folder.join(name);
        std::fs::write(&path, text).map_err(failed(&path))?;
    }
    Ok(())
}

/// A table with a line per subject and depth.
pub(crate) fn lines(out: &mut String, depths: &[Depth]) {
    out.push_str(
        "| depth | subject | claims/s | requests/s (least to most) | p50 µs | p99 µs | p99.9 µs | to echo (least to most) | target | | core ns per request | log ns per request | others' CPUs |\n\
         | ---: | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | --- | ---: | ---: | ---: |\n",
    );
    for depth in depths {
        for row in &depth.rows {
            line(out, depth.depth, row);
        }
    }
}

fn line(out: &mut String, depth: usize, row: &Row) {
    let Run {
        requests_per_s,
        claims_per_s,
        p50_us,
        p99_us,
        p999_us,
        ratio,
        serving_ns,
        logging_ns,
        others_cpu,
        ..
    } = row.median;
    let claims = if row.subject == Subject::Echo { String::new() } else { format!("{claims_per_s:.0}") };
    let ratio = if row.subject == Subject::Echo || ratio == 0.0 {
        String::new()
    } else {
        format!("{ratio:.2} ({:.2} to {:.2})", row.ratio_range.0, row.ratio_range.1)
    };
    let target = row.target.map_or(String::new(), |target| format!("{target:.2}"));
    let _ = writeln!(
        out,
        "| {depth} | {} | {claims} | {requests_per_s:.0} ({:.0} to {:.0}) | {p50_us:.1} | {p99_us:.1} | {p999_us:.1} | \
         {ratio} | {target} | {} | {serving_ns:.0} | {logging_ns:.0} | {others_cpu:.2} |",
        row.subject.name(),
        row.requests_range.0,
        row.requests_range.1,
        row.verdict(),
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians_are_taken_of_each_number_by_itself() {
        let run = |rate: f64, ratio: f64| Run {
            requests_per_s: rate,
            claims_per_s: rate,
            releases_per_s: 0.0,
            p50_us: 1.0,
            p99_us: 2.0,
            p999_us: 3.0,
            ratio,
            serving_ns: 100.0,
            logging_ns: 0.0,
            refused: BTreeMap::from([("busy".to_owned(), 1)]),
            others_cpu: 0.5,
            told_after_s: None,
        };
        let rounds = vec![run(100.0, 0.9), run(300.0, 0.2), run(200.0, 0.5)];
        let row = Row::of(Subject::Memory, 16, rounds);
        assert_eq!((row.median.requests_per_s, row.median.ratio), (200.0, 0.5));
        assert_eq!((row.ratio_range, row.requests_range), ((0.2, 0.9), (100.0, 300.0)));
        assert_eq!((row.target, row.verdict(), row.median.refused["busy"]), (Some(0.70), "missed", 3));
        assert!((median(&[1.0, 2.0]) - 1.5).abs() < f64::EPSILON);
    }
}
