//! How a load is made: options that every kind of run has.

use crate::LoadError;
use clap::{Args, ValueEnum};
use std::path::PathBuf;
use std::time::Duration;

/// What the server is reached by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum TransportWord {
    /// Binary frames over raw TCP, as box offices and partners do.
    #[default]
    Tcp,
    /// Binary frames in WebSocket messages, as browsers and apps do.
    Websocket,
}

impl TransportWord {
    /// As it stands in a report.
    pub fn name(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Websocket => "websocket",
        }
    }
}

/// Options of every load. What is left out follows from the scenario and the machine.
#[derive(Args, Clone, Debug)]
pub struct LoadOptions {
    /// The server's HTTP address.
    #[arg(long, env = "FRONTROW_URL", default_value = "http://127.0.0.1:7410", help_heading = "Server")]
    pub server: String,
    /// The operator's key. [default: the one a development server left in --data]
    #[arg(long, env = "FRONTROW_ADMIN_KEY", hide_env_values = true, help_heading = "Server")]
    pub admin_key: Option<String>,
    /// The server's data directory, for the operator's key in it.
    #[arg(long, env = "FRONTROW_DATA", default_value = "data", help_heading = "Server")]
    pub data: PathBuf,
    /// The secret (HS256) that users' tokens are signed with. [default: ask a development server]
    #[arg(long, help_heading = "Server")]
    pub token_secret_file: Option<PathBuf>,
    /// The issuer (`iss`) that such tokens name, if the server asks for one: its identity.issuer.
    #[arg(long, requires = "token_secret_file", help_heading = "Server")]
    pub token_issuer: Option<String>,
    /// The audience (`aud`) that such tokens name, if the server asks for one: its identity.audience.
    #[arg(long, requires = "token_secret_file", help_heading = "Server")]
    pub token_audience: Option<String>,
    /// An event that is on sale already; its seats will be sold. [default: a new one for this run]
    #[arg(long, conflicts_with = "seats", help_heading = "Server")]
    pub event: Option<u32>,
    /// Seats of the event made for this run. [default: what the scenario says]
    #[arg(long, allow_negative_numbers = true, help_heading = "Server")]
    pub seats: Option<u32>,

    /// Connections; each is one user at the server, and people take turns on them. [default: the scenario's own]
    #[arg(long, allow_negative_numbers = true, help_heading = "Load")]
    pub connections: Option<u32>,
    /// People who are played, in scenarios whose crowd has a size; each comes once, and again if refused. [default: the
    /// scenario's own]
    #[arg(long, value_parser = super::whole, allow_negative_numbers = true, conflicts_with = "rate", help_heading = "Load")]
    pub people: Option<u64>,
    /// New visits per second, held evenly; a visit makes a few requests. [default: the scenario's own shape]
    #[arg(long, allow_negative_numbers = true, help_heading = "Load")]
    pub rate: Option<f64>,
    /// How long new visits come, like 90s or 1h.
    #[arg(long = "for", value_parser = super::duration, help_heading = "Load")]
    pub lasts: Option<Duration>,
    /// Most requests in flight per connection.
    #[arg(long, default_value_t = 64, help_heading = "Load")]
    pub depth: u32,
    /// Load threads. [default: 1 for every two CPUs]
    #[arg(long, help_heading = "Load")]
    pub threads: Option<u16>,
    /// CPUs that load threads are pinned to, one each, like 2,3. [default: not pinned]
    #[arg(long, value_delimiter = ',', help_heading = "Load")]
    pub cpus: Vec<usize>,
    /// How requests travel.
    #[arg(long, value_enum, default_value_t, help_heading = "Load")]
    pub transport: TransportWord,
    /// Open each connection at the core that owns what it asks for.
    #[arg(long, help_heading = "Load")]
    pub routed: bool,
    /// Which crowd comes: the same seed, the same people.
    #[arg(long, default_value_t = 1, help_heading = "Load")]
    pub seed: u64,
    /// How long an answer may take before its connection counts as stalled, and how long the server may be away
    /// before the run ends.
    #[arg(long, default_value = "10s", value_parser = super::duration, help_heading = "Load")]
    pub patience: Duration,

    /// The planner's question, answered from the run: so many people who want seats, for the seats of this run. It does
    /// not change the crowd that is played (that is --people). A finished report is asked with `frontrow-loadgen plan`.
    /// [default: ten for each seat]
    #[arg(long, value_parser = super::whole, allow_negative_numbers = true, help_heading = "Report")]
    pub buyers: Option<u64>,
    /// … within so many minutes, if they come spread out. [default: 10]
    #[arg(long, value_parser = super::minutes, allow_negative_numbers = true, help_heading = "Report")]
    pub minutes: Option<f64>,
    /// … or in a rush in which half of them come within this time. [default: as the people of the run came]
    #[arg(long, value_parser = super::duration, help_heading = "Report")]
    pub half_within: Option<Duration>,
    /// Where the report goes. [default: load-reports/DATE-TIME-NAME]
    #[arg(long, help_heading = "Report")]
    pub out: Option<PathBuf>,
    /// Say nothing while it runs.
    #[arg(long, help_heading = "Report")]
    pub quiet: bool,
    /// Print the report as JSON instead of the summary.
    #[arg(long, help_heading = "Report")]
    pub json: bool,
    /// Tiny inputs (people, seats, time): shows that everything works, measures nothing, and says so.
    #[arg(long, help_heading = "Report")]
    pub quick: bool,
}

impl LoadOptions {
    /// An error that names the first option that cannot be.
    pub fn check(&self) -> Result<(), LoadError> {
        let number = |it: f64| it.is_finite() && it > 0.0;
        let mistake = if self.connections.is_some_and(|it| !(1..=1_000_000).contains(&it)) {
            "--connections is a number from 1 to 1000000"
        } else if self.rate.is_some_and(|rate| !number(rate) || rate > 1e8) {
            "--rate is a positive number of visits per second (each makes a few requests), at most 100000000: --rate 500"
        } else if !(1..=1024).contains(&self.depth) {
            "--depth is a number from 1 to 1024, a server's default limit of requests in flight"
        } else if self.threads.is_some_and(|it| !(1..=256).contains(&it)) {
            "--threads is a number from 1 to 256"
        } else if self.threads.is_some_and(|it| !self.cpus.is_empty() && usize::from(it) != self.cpus.len()) {
            "--cpus names one CPU for each of --threads; leave one of the two out"
        } else if let Some(away) = self.cpus.iter().find(|cpu| !usable().contains(cpu)) {
            let may: Vec<String> = usable().iter().map(ToString::to_string).collect();
            return Err(LoadError::Option(format!(
                "--cpus {away}: this process may use CPUs {}",
                may.join(",")
            )));
        } else if self.seats.is_some_and(|it| !(1..=1_000_000).contains(&it)) {
            "--seats is a number from 1 to 1000000"
        } else if self.people.is_some_and(|it| it > 100_000_000) {
            "--people is a number from 1 to 100000000"
        } else {
            return Ok(());
        };
        Err(LoadError::Option(mistake.to_owned()))
    }

    /// The CPU of each load thread, as many as there are threads.
    pub(crate) fn cpus(&self) -> Vec<Option<usize>> {
        if !self.cpus.is_empty() {
            return self.cpus.iter().copied().map(Some).collect();
        }
        let cpus = std::thread::available_parallelism().map_or(1, usize::from);
        let threads = self.threads.map_or((cpus / 2).clamp(1, 16), usize::from);
        vec![None; threads]
    }
}

/// CPUs that this process may use.
fn usable() -> Vec<usize> {
    let set = rustix::thread::sched_getaffinity(None);
    set.map_or_else(
        |_| Vec::new(),
        |set| (0..rustix::thread::CpuSet::MAX_CPU).filter(|cpu| set.is_set(*cpu)).collect(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        options: LoadOptions,
    }

    #[test]
    fn mistakes_name_the_option() {
        let check = |line: &str| Line::parse_from(line.split(' ')).options.check();
        check("l").expect("nothing has to be given");
        for (line, option) in [
            ("l --connections 0", "--connections"),
            ("l --rate 0", "--rate"),
            ("l --rate inf", "--rate"),
            ("l --rate -5", "--rate is a positive number of visits per second"),
            ("l --depth 5000", "--depth"),
            ("l --threads 0", "--threads"),
            ("l --threads 3 --cpus 1,2", "--cpus"),
            ("l --people 900000000", "--people"),
        ] {
            let error = check(line).expect_err(line).to_string();
            assert!(error.contains(option), "{error}");
        }
    }

    #[test]
    fn threads_follow_from_cpus() {
        let cpus = |line: &str| Line::parse_from(line.split(' ')).options.cpus();
        assert_eq!(cpus("l --cpus 2,3"), [Some(2), Some(3)]);
        assert_eq!(cpus("l --threads 2"), [None, None]);
        assert!(!cpus("l").is_empty());
    }
}
