//! What the first table is made with.

use crate::LoadError;
use clap::Args;
use frontrow_engine::EngineKind;
use std::path::PathBuf;
use std::time::Duration;

/// The least free room of seats per request in flight: below it a connection would wait for itself.
const SEATS_PER_REQUEST: usize = 2;

/// Options of `frontrow-loadgen table`.
#[derive(Args, Clone, Debug)]
pub struct TableOptions {
    /// Connections, each its own user.
    #[arg(long, default_value_t = 16)]
    pub connections: usize,
    /// Requests in flight per connection, one row of the table each.
    #[arg(long, value_delimiter = ',', default_values_t = [1, 16, 64])]
    pub depths: Vec<usize>,
    /// Rounds; the table shows medians.
    #[arg(long, default_value_t = 5)]
    pub rounds: usize,
    /// Milliseconds measured per round, subject and depth.
    #[arg(long, default_value_t = 1000)]
    pub duration_ms: u64,
    /// Seats of the generated stadium.
    #[arg(long, default_value_t = 1_000_000)]
    pub seats: u32,
    /// The CPU of the server under test and of the echo server.
    #[arg(long, default_value_t = 0)]
    pub server_core: usize,
    /// The CPU of the load.
    #[arg(long, default_value_t = 1)]
    pub load_core: usize,
    /// Leave all threads where the system puts them.
    #[arg(long)]
    pub no_pin: bool,
    /// Engine of server, echo and load: auto, io_uring, epoll or glommio.
    #[arg(long, default_value = "auto")]
    pub engine: EngineKind,
    /// How the durable server commits: auto, mapped or direct.
    #[arg(long, default_value = "auto")]
    pub durability: String,
    /// Also measure a server whose answers wait for a standby, which runs as a process on this machine.
    #[arg(long)]
    pub backup: bool,
    /// Also measure a server that keeps a table of bookings beside its log.
    #[arg(long)]
    pub bookings: bool,
    /// Also measure a server that tells a Kafka everything, which is started for it on the CPUs that the server under test
    /// does not have.
    #[arg(long)]
    pub kafka: bool,
    /// With --backup: the `frontrow` program. [default: the one beside this program]
    #[arg(long, value_name = "FILE", requires = "backup")]
    pub frontrow: Option<PathBuf>,
    /// A setting of the servers, like partitions.count=16, over what the other options say; several times.
    #[arg(long = "set", value_name = "KEY=VALUE", value_parser = setting)]
    pub settings: Vec<(String, String)>,
    /// A folder on a local disk for the servers' data; a new folder is made in it, and removed afterwards.
    /// [default: beside this program]
    #[arg(long)]
    pub data: Option<PathBuf>,
    /// Where report.json, table.md, command.txt and machine.txt go.
    /// [default: a folder of bench-results with the day in its name; with --quick nowhere]
    #[arg(long)]
    pub out: Option<PathBuf>,
    /// Which seats are drawn.
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Seconds after which one load counts as stuck.
    #[arg(long, default_value_t = 60)]
    pub patience: u64,
    /// Tiny inputs: shows that everything works, measures nothing.
    #[arg(long)]
    pub quick: bool,
}

impl TableOptions {
    /// What `--quick` makes of the options.
    #[must_use]
    pub fn settled(self) -> Self {
        if !self.quick {
            return self;
        }
        Self {
            connections: 2,
            depths: vec![1, 16],
            rounds: 2,
            duration_ms: 50,
            seats: 3000,
            no_pin: true,
            ..self
        }
    }

    /// An error that names the first option that cannot be.
    pub fn check(&self) -> Result<(), LoadError> {
        let deepest = self.depths.iter().copied().max().unwrap_or(0);
        let needed = self.connections * deepest * SEATS_PER_REQUEST;
        let mistake = if self.depths.is_empty() || self.depths.iter().any(|depth| !(1..=1024).contains(depth))
        {
            "--depths are numbers from 1 to 1024, a server's default limit of requests in flight".to_owned()
        } else if !(1..=10_000).contains(&self.connections) {
            "--connections is a number from 1 to 10000".to_owned()
        } else if !(1..=1000).contains(&self.rounds) {
            "--rounds is a number from 1 to 1000".to_owned()
        } else if !(10..=600_000).contains(&self.duration_ms) {
            "--duration-ms is a number from 10 to 600000".to_owned()
        } else if (self.seats as usize) < needed {
            format!("{} connections at depth {deepest} need --seats of at least {needed}", self.connections)
        } else {
            return Ok(());
        };
        Err(LoadError::Option(mistake))
    }

    pub(crate) fn duration(&self) -> Duration {
        Duration::from_millis(self.duration_ms)
    }

    pub(crate) fn server_cpu(&self) -> Option<usize> {
        (!self.no_pin).then_some(self.server_core)
    }

    pub(crate) fn load_cpu(&self) -> Option<usize> {
        (!self.no_pin).then_some(self.load_core)
    }
}

/// `partitions.count=16` as key and value.
fn setting(text: &str) -> Result<(String, String), String> {
    let form = "give KEY=VALUE, like partitions.count=16";
    let (key, value) = text.split_once('=').ok_or(form)?;
    if !key.contains('.') {
        return Err(format!("`{key}` has no section; {form}"));
    }
    Ok((key.to_owned(), value.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        options: TableOptions,
    }

    #[test]
    fn mistakes_name_the_option() {
        assert!(Line::try_parse_from(["table", "--set", "partitions.count"]).is_err());
        assert!(Line::try_parse_from(["table", "--set", "foo=1"]).is_err());
        let set =
            Line::parse_from(["table", "--set", "partitions.count=16", "--set", "a.b=c=d"]).options.settings;
        assert_eq!((set[0].1.as_str(), set[1].1.as_str()), ("16", "c=d"));
        let check = |line: &str| Line::parse_from(line.split(' ')).options.check();
        assert!(check("table").is_ok());
        assert!(Line::parse_from(["table", "--quick"]).options.settled().check().is_ok());
        for (line, option) in [
            ("table --depths 0", "--depths"),
            ("table --depths 1,2000", "--depths"),
            ("table --connections 0", "--connections"),
            ("table --rounds 0", "--rounds"),
            ("table --duration-ms 1", "--duration-ms"),
            ("table --seats 100", "--seats"),
        ] {
            let error = check(line).expect_err(line).to_string();
            assert!(error.contains(option), "{error}");
        }
    }
}
