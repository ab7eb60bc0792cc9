//! The command line, as it is typed; checked as far as that goes without a server.

mod load;
mod objective;

pub use load::{LoadOptions, TransportWord};
pub(crate) use objective::micros;
pub use objective::{Condition, Measure, Objective};

use clap::{Args, Parser, Subcommand, ValueEnum};
use std::path::PathBuf;
use std::time::Duration;

/// `frontrow-loadgen`.
#[derive(Parser, Debug)]
#[command(
    name = "frontrow-loadgen",
    version,
    about = "Loads a Frontrow server and says what it holds, and what saturates first",
    after_help = "Begin with `frontrow serve` (or `make run`) in one terminal and `frontrow-loadgen onsale` in another: a minute \
                  later there is a page to open. Then ask about a crowd of your own: `frontrow-loadgen plan FOLDER \
                  --buyers 60000 --minutes 5`.\n\n\
                  Words: a person wants seats, alone or for a party; a visit is one attempt of theirs (who fails may come \
                  again), and makes requests; a connection is one user at the server, on which people take turns; a \
                  buyer of --buyers is a person who wants seats.\n\n\
                  Exit codes: 0 good; 1 the server broke a promise (a seat sold twice, a lost booking, …); \
                  2 an option, file, key or token is wrong; 3 no server to begin with; 4 the run is DOUBTFUL as \
                  a measurement (ended by hand, the load generator was the limit, other processes crowded the machine, the \
                  server was away for a while, no rate met the objective, …); 5 the server went away and the run was cut short; 130 ended by a \
                  second Ctrl-C."
)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Subcommand, Debug)]
pub enum Command {
    /// A crowd arrives within seconds (20,000 people, half of them within 5 s; --people), everybody wants the same rows, and
    /// the hall (10,000 seats; --seats) sells out.
    Onsale(LoadOptions),
    /// Visits at an even rate.
    Steady(LoadOptions),
    /// More people than seats: queues, offers, accepted and left to expire.
    Waitlist(LoadOptions),
    /// Many holds end in the same second.
    ExpiryStorm(LoadOptions),
    /// Everybody wants one row.
    HotRow(LoadOptions),
    /// Bots beside people.
    Scalper(LoadOptions),
    /// All connections break at once, and everybody comes back.
    ReconnectStorm(LoadOptions),
    /// A bit of everything, for as long as wanted.
    Mixed(LoadOptions),
    /// A scenario of your own; `scenarios NAME` prints one to begin with.
    Run {
        /// The scenario, in TOML.
        file: PathBuf,
        /// How the load is made.
        #[command(flatten)]
        load: LoadOptions,
    },
    /// Finds the highest rate that meets an objective, by bisection.
    Search(SearchOptions),
    /// Raises the rate step by step and shows what gives way first.
    Ramp(RampOptions),
    /// Runs a scenario for long and tests whether memory or latency grows.
    Soak {
        /// The scenario's name, or its file.
        #[arg(default_value = "mixed")]
        scenario: String,
        /// How the load is made.
        #[command(flatten)]
        load: LoadOptions,
    },
    /// The figures that the design asks for under stress: twice the capacity, an expiry storm, a reconnect storm.
    Bench(BenchOptions),
    /// Says what changed between two reports, and whether it is noise.
    Compare {
        /// The earlier report's folder.
        a: PathBuf,
        /// The later one's.
        b: PathBuf,
    },
    /// Answers for a crowd of your own from a finished report, without another run: how many cores, how soon sold out.
    Plan(PlanOptions),
    /// Lists the scenarios, or prints one.
    Scenarios {
        /// Which to print.
        name: Option<String>,
    },
    /// Shows that the generator measures right, against a server whose service time and stall are known.
    Selftest,
    /// Claims per second and latency at several depths, beside a bare echo server in the same run.
    Table(crate::table::TableOptions),
    /// The same claims on Frontrow, Redis and PostgreSQL in one run, and the ratios.
    Peers(crate::peers::PeersOptions),
    /// The reports of a folder, oldest first, and what they found.
    History {
        /// The folder of report folders.
        #[arg(default_value = "bench-results")]
        folder: PathBuf,
        /// Note runs that were written elsewhere and moved here: their folders, inside FOLDER.
        #[arg(long, num_args = 1.., value_name = "RUN")]
        add: Vec<PathBuf>,
    },
}

/// Options of `plan`.
#[derive(Args, Clone, Debug)]
pub struct PlanOptions {
    /// The report's folder, the one with report.json in it.
    pub folder: PathBuf,
    /// People who want seats, whether they get some or not. [default: ten for each seat]
    #[arg(long, value_parser = whole, allow_negative_numbers = true)]
    pub buyers: Option<u64>,
    /// Within so many minutes, if they come spread out; a rush is over sooner. [default: 10]
    #[arg(long, value_parser = minutes, allow_negative_numbers = true)]
    pub minutes: Option<f64>,
    /// A rush in which half of the buyers come within this time. [default: as in the run; `onsale`: 5s]
    #[arg(long, value_parser = duration)]
    pub half_within: Option<Duration>,
    /// Not for a plan: said so.
    #[arg(long, hide = true)]
    pub people: Option<String>,
    /// Seats that they are after. [default: as many as in the run]
    #[arg(long, value_parser = whole, allow_negative_numbers = true)]
    pub seats: Option<u64>,
}

/// Options of `search`.
#[derive(Args, Clone, Debug)]
pub struct SearchOptions {
    /// The scenario's name, or its file.
    #[arg(default_value = "steady")]
    pub scenario: String,
    /// What must hold, joined by commas: p50, p90, p99, p999 or max and a time; busy and a share of answers.
    #[arg(long, default_value = "p99<=5ms,busy<=0.1%")]
    pub objective: Objective,
    /// The lowest rate tried, in visits per second.
    #[arg(long, allow_negative_numbers = true, default_value_t = 100.0)]
    pub from: f64,
    /// The highest rate tried. [default: doubled until it fails]
    #[arg(long, allow_negative_numbers = true)]
    pub to: Option<f64>,
    /// Stop when the answer is known this closely, in percent.
    #[arg(long, allow_negative_numbers = true, default_value_t = 5.0)]
    pub precision: f64,
    /// How long each rate is held, without its warm-up. [default: 8s]
    #[arg(long, value_parser = duration)]
    pub step: Option<Duration>,
    /// Leave out the closed-loop measurements that the scalability fit is made from.
    #[arg(long)]
    pub no_scaling: bool,
    /// How the load is made.
    #[command(flatten)]
    pub load: LoadOptions,
}

/// Options of `ramp`.
#[derive(Args, Clone, Debug)]
pub struct RampOptions {
    /// The scenario's name, or its file.
    #[arg(default_value = "steady")]
    pub scenario: String,
    /// The first rate, in visits per second.
    #[arg(long, allow_negative_numbers = true, default_value_t = 100.0)]
    pub from: f64,
    /// The last rate.
    #[arg(long, allow_negative_numbers = true, default_value_t = 5000.0)]
    pub to: f64,
    /// How many rates.
    #[arg(long, default_value_t = 8)]
    pub steps: u32,
    /// How long each rate is held, without its warm-up. [default: 8s]
    #[arg(long, value_parser = duration)]
    pub step: Option<Duration>,
    /// What is noted of each step as met or not.
    #[arg(long, default_value = "p99<=5ms,busy<=0.1%")]
    pub objective: Objective,
    /// How the load is made.
    #[command(flatten)]
    pub load: LoadOptions,
}

/// A part of `bench`.
#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub enum BenchPart {
    /// The planner's report.
    Onsale,
    /// The highest rate that meets the objective.
    Capacity,
    /// Twice that rate.
    Overload,
    /// Very many holds that end in the same second.
    Expiry,
    /// All connections drop and come back.
    Reconnect,
}

/// Options of `bench`.
#[derive(Args, Clone, Debug)]
pub struct BenchOptions {
    /// The `frontrow` program to start. [default: the one beside this program]
    #[arg(long)]
    pub frontrow: Option<PathBuf>,
    /// Load the server at --server; start none.
    #[arg(long)]
    pub running: bool,
    /// What the capacity is: see `search`.
    #[arg(long, default_value = "p99<=5ms,busy<=0.1%")]
    pub objective: Objective,
    /// Only these parts, joined by commas. [default: all]
    #[arg(long, value_enum, value_delimiter = ',')]
    pub only: Vec<BenchPart>,
    /// Visits per second that count as the capacity. [default: searched for, where a part needs it]
    #[arg(long, allow_negative_numbers = true)]
    pub capacity: Option<f64>,
    /// Claims that end in the same second in the expiry storm.
    #[arg(long, default_value_t = 1_000_000)]
    pub due: u32,
    /// How the load is made.
    #[command(flatten)]
    pub load: LoadOptions,
}

/// `250us`, `5ms`, `90s`, `10m`, `1h`, or several of them.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    humantime::parse_duration(text.trim())
        .map_err(|error| format!("{error}; write it like 250us, 5ms, 90s, 10m or 1h"))
        .and_then(|it| if it.is_zero() { Err("it must be longer than nothing".to_owned()) } else { Ok(it) })
}

/// A whole number above 0, in digits: `60000`.
pub(crate) fn whole(text: &str) -> Result<u64, String> {
    let number = text.trim().parse().ok().filter(|number| *number > 0);
    number.ok_or_else(|| "write a whole number above 0, in digits alone, like 60000".to_owned())
}

/// Minutes, without a unit.
pub(crate) fn minutes(text: &str) -> Result<f64, String> {
    let number = text.trim().parse().ok().filter(|number: &f64| number.is_finite() && *number > 0.0);
    number.ok_or_else(|| "write minutes as a number above 0 without a unit, like 5 or 0.5".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn what_the_help_shows_can_be_typed() {
        for line in [
            "l onsale",
            "l expiry-storm --seats 1000 --transport websocket --routed",
            "l search steady --objective p99<=5ms --from 100 --to 5000",
            "l soak mixed --for 1h",
            "l onsale --buyers 20000 --minutes 10 --json",
            "l plan load-reports/x --buyers 60000 --minutes 5",
            "l plan load-reports/x --buyers 60000 --half-within 60s",
            "l onsale --people 60000",
            "l scenarios onsale",
            "l bench --only expiry,reconnect --capacity 5000 --due 1000",
            "l compare a b",
        ] {
            Cli::try_parse_from(line.split(' ')).expect(line);
        }
    }

    #[test]
    fn mistakes_are_told_with_what_would_be_right() {
        for (line, hint) in [
            ("l search steady --objective p98<=5ms", "p99"),
            ("l soak --for yesterday", "1h"),
            ("l soak --for 0s", "longer"),
            ("l onsale --event 1 --seats 5", "--seats"),
            ("l onsale --buyers -5", "--buyers"),
            ("l onsale --buyers 60k", "like 60000"),
            ("l plan x --buyers 60,000", "like 60000"),
            ("l plan x --minutes 5min", "like 5 or 0.5"),
            ("l concert", "unrecognized"),
        ] {
            let error = Cli::try_parse_from(line.split(' ')).expect_err(line).to_string();
            assert!(error.contains(hint), "{line}: {error}");
        }
    }
}
