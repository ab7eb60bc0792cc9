//! What a comparison says.

use crate::peers::Ratio;
use crate::peers::ratio::TIGERBEETLE_PER_S;
use crate::table::Depth;
use crate::table::report::{lines, write_all};
use crate::{LoadError, Machine};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

/// A whole comparison, described well enough to be repeated.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PeersReport {
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
    /// The engine of Frontrow, echo and load.
    pub engine: String,
    /// How the durable Frontrow was asked to commit.
    pub durability: String,
    /// Versions of the other servers, by name.
    pub versions: BTreeMap<String, String>,
    /// The CPU of the servers, if pinned.
    pub server_core: Option<usize>,
    /// The CPU of the load, if pinned.
    pub load_core: Option<usize>,
    /// Connections, batches excepted.
    pub connections: usize,
    /// Rounds.
    pub rounds: usize,
    /// Milliseconds measured per run.
    pub duration_ms: u64,
    /// Seats on sale.
    pub seats: u32,
    /// Which seats were drawn.
    pub seed: u64,
    /// Seconds that all of it took.
    pub took_s: f64,
    /// What each ratio came to.
    pub ratios: Vec<Ratio>,
    /// What was measured, by depth.
    pub depths: Vec<Depth>,
    /// Claims in flight on one connection to a durable Frontrow.
    pub batches: Vec<Depth>,
}

impl PeersReport {
    /// The tables in Markdown, with what one has to know to read them.
    pub fn table(&self) -> String {
        let mut out = String::new();
        let pinned = |core: Option<usize>| core.map_or("not pinned".to_owned(), |core| format!("CPU {core}"));
        let versions: Vec<String> =
            self.versions.iter().map(|(name, version)| format!("{name} {version}")).collect();
        let _ = writeln!(
            out,
            "{} · commit {} · {} connections · {} interleaved rounds of {} ms · {} seats · {:.0} s in all\n\
             {} · servers on {}, load on {} · durability {} · {}\n",
            self.date,
            self.commit,
            self.connections,
            self.rounds,
            self.duration_ms,
            self.seats,
            self.took_s,
            self.engine,
            pinned(self.server_core),
            pinned(self.load_core),
            self.durability,
            versions.join(", "),
        );
        self.ratio_lines(&mut out);
        out.push_str("\nWhat was measured:\n\n");
        lines(&mut out, &self.depths);
        if !self.batches.is_empty() {
            out.push_str("\nOne connection, this many claims in flight:\n\n");
            lines(&mut out, &self.batches);
        }
        out.push_str(
            "\nAll replies verified: one answer per request, seats as asked, no seat granted while held, winners equal \
             to the seats held at every server, each given back with its fence.\n",
        );
        if !self.optimised {
            out.push_str("\nBuilt without optimisations: these are no measurements.\n");
        }
        out
    }

    fn ratio_lines(&self, out: &mut String) {
        if self.ratios.is_empty() {
            out.push_str("No ratios: for each, both of its sides must be measured (--only).\n");
            return;
        }
        out.push_str(
            "| Frontrow | against | depth | requests/s, ours by theirs (least to most) | target | | processor time per request, theirs by ours |\n\
             | --- | --- | ---: | ---: | ---: | --- | ---: |\n",
        );
        for ratio in &self.ratios {
            let target = ratio.target.map_or(String::new(), |target| format!("≥ {}", number(target)));
            let met = match ratio.met() {
                Some(true) => "met",
                Some(false) => "missed",
                None => "",
            };
            let processor = ratio.processor.map_or(String::new(), number);
            let (least, most) = ratio.rate_range;
            let _ = writeln!(
                out,
                "| {} | {} | {} | {} ({} to {}) | {target} | {met} | {processor} |",
                ratio.of.name(),
                ratio.to,
                ratio.depth,
                number(ratio.rate),
                number(least),
                number(most),
            );
        }
        if !self.batches.is_empty() {
            let _ = writeln!(
                out,
                "\nTigerBeetle is not in Debian and was not run: {TIGERBEETLE_PER_S:.0}/s is its makers' figure for batches of \
                 8189, on other machines and other work; for batches of 100 there is none."
            );
        }
    }

    /// Writes `report.json`, `table.md`, `command.txt` and `machine.txt` into `folder`.
    pub fn write(&self, folder: &Path) -> Result<(), LoadError> {
        let mut json = serde_json::to_string_pretty(self)
            .map_err(|error| LoadError::Option(format!("the report has no JSON form: {error}")))?;
        json.push('\n');
        let files = [
            ("report.json", json),
            ("table.md", self.table()),
            ("command.txt", format!("{}\n", self.command)),
            ("machine.txt", format!("commit        {}\n{}", self.commit, self.machine)),
        ];
        write_all(folder, &files)
    }
}

/// A ratio with three digits or so.
fn number(value: f64) -> String {
    if value < 9.95 { format!("{value:.2}") } else { format!("{value:.0}") }
}
