//! The command line.

use clap::{Args, Parser, Subcommand, ValueEnum};
use frontrow_client::{Adjacency, RequestId, parse_id};
use frontrow_server::shell::{self, quoted};
use std::ffi::OsStr;
use std::path::{Path, PathBuf};

/// Where a server is unless something else is said.
const SERVER: &str = "http://127.0.0.1:7410";
/// The same of its data.
const DATA: &str = "data";
/// What may stand in the environment instead of options.
const SERVER_VARIABLE: &str = "FRONTROW_URL";
const TOKEN_VARIABLE: &str = "FRONTROW_TOKEN";
const KEY_VARIABLE: &str = "FRONTROW_ADMIN_KEY";

/// Sells seats: claim them for minutes, buy what you claimed, queue fairly for the rest.
#[derive(Debug, Parser)]
#[command(name = "frontrow", version, propagate_version = true, arg_required_else_help = true)]
#[command(
    after_help = "Try: frontrow serve, then in another terminal: frontrow event create --stadium 1000 --open, \
    frontrow seats 1, frontrow claim 1 <section> --best 2\n\
    Exit codes: 0 done, 1 refused, 2 wrong usage, 3 no server to be reached, 129 SIGHUP, 130 Ctrl-C, \
    143 SIGTERM."
)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) common: Common,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Options of every command.
#[derive(Clone, Debug, Args)]
pub(crate) struct Common {
    /// The server's HTTP address; of two nodes both, with a comma between them.
    #[arg(
        long,
        global = true,
        env = SERVER_VARIABLE,
        default_value = SERVER,
        value_name = "URL"
    )]
    pub(crate) server: String,
    /// Speak raw TCP to this host:port instead of WebSocket; of two nodes to both, with a comma between them.
    #[arg(long, global = true, value_name = "ADDR")]
    pub(crate) tcp: Option<String>,
    /// Be this user, with a token from the server's development mode; 1 if left out.
    #[arg(long, global = true, value_name = "N")]
    pub(crate) user: Option<u64>,
    /// Your token from the issuer (a JWT).
    #[arg(long, global = true, env = TOKEN_VARIABLE, hide_env_values = true, value_name = "JWT")]
    pub(crate) token: Option<String>,
    /// One JSON object per line instead of text.
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// The operator's key; else the one in the data directory.
    #[arg(long, global = true, env = KEY_VARIABLE, hide_env_values = true, value_name = "KEY")]
    pub(crate) admin_key: Option<String>,
    /// The server's data directory, where a development server keeps its operator's key.
    #[arg(long, global = true, default_value = DATA, value_name = "DIR")]
    pub(crate) data: PathBuf,
    /// Take sections, rows and seats as indexes from 0 rather than by their labels.
    #[arg(long, global = true)]
    pub(crate) place: bool,
}

impl Common {
    /// Who one is.
    pub(crate) fn user(&self) -> u64 {
        self.user.unwrap_or(1)
    }

    /// This program for another command at the same server, as somebody types it.
    pub(crate) fn command(&self) -> String {
        let mut text = shell::program();
        // Where a variable names another server, the default has to be typed, too.
        if self.server != SERVER || std::env::var_os(SERVER_VARIABLE).is_some() {
            text = text + " --server " + &quoted(&self.server);
        }
        text
    }

    /// The same for a buyer: as the same user, the same way.
    pub(crate) fn buying(&self) -> String {
        let mut text = self.command();
        if let Some(address) = &self.tcp {
            text = text + " --tcp " + &quoted(address);
        }
        if let Some(user) = self.user {
            text = text + " --user " + &user.to_string();
        }
        text += &secret("--token JWT", self.token.as_deref(), TOKEN_VARIABLE);
        text + &self.data_option()
    }

    /// The same for an operator.
    pub(crate) fn operating(&self) -> String {
        let key = secret("--admin-key KEY", self.admin_key.as_deref(), KEY_VARIABLE);
        self.command() + &key + &self.data_option()
    }

    /// What starts a server from this data.
    pub(crate) fn serving(&self, config: Option<&Path>) -> String {
        let config =
            config.map_or(String::new(), |path| format!(" --config {}", quoted(&path.to_string_lossy())));
        shell::program() + " serve" + &config + &self.data_option()
    }

    fn data_option(&self) -> String {
        if self.data == Path::new(DATA) {
            String::new()
        } else {
            format!(" --data {}", quoted(&self.data.to_string_lossy()))
        }
    }
}

/// An option whose value is not shown on a screen. From its variable the next command has it, too.
fn secret(option: &str, value: Option<&str>, variable: &str) -> String {
    let is_told = value.is_none() || std::env::var_os(variable).as_deref() == value.map(OsStr::new);
    if is_told { String::new() } else { format!(" {option}") }
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run the server.
    Serve(Serve),
    /// Run a standby: keep a copy of everything a primary has, ready to take over.
    Backup(Backup),
    /// Make a standby the primary; the old one must not serve any more.
    Promote(Promote),
    /// For operators: what answers wait for, and how the standby is doing.
    #[command(subcommand)]
    Replication(Replication),
    /// For operators of a cluster: found its record in etcd anew, or take a node's data out of it.
    #[command(subcommand)]
    Cluster(Cluster),
    /// List the events on sale.
    Events(Events),
    /// Show sections, or a section's seats as they are now.
    Seats(SeatsArgs),
    /// Claim seats: named ones, the best of a row, or the best of a section.
    Claim(Claim),
    /// Buy what a token holds.
    Book(Token),
    /// Give a hold back.
    Release(Token),
    /// Hold for longer.
    Extend(Token),
    /// Pin a hold while you pay.
    Pay(Token),
    /// Give a booking back.
    Cancel(Token),
    /// Show what you have booked, newest first; --id shows one booking.
    Bookings(OwnArgs),
    /// Wait in a queue until seats are offered.
    Wait(Wait),
    /// Say where you stand in a queue; without a place, what the server is: primary or standby, and how far.
    Status(Status),
    /// Follow a section's seats as they change.
    Watch(Watch),
    /// Print a token for --user from the server's development mode.
    Token,
    /// Check a seating plan without a server, or make one up.
    Plan(Plan),
    /// Print the schema of the records in Kafka's topics, for kafka.format = "avro".
    Schema,
    /// For operators: make, open, pause and close events, block seats.
    #[command(subcommand)]
    Event(Event),
    /// Check and tune this machine for a server; write a configuration that fits it.
    #[command(subcommand)]
    Tune(Tune),
    /// Look at the log in --data, whether or not a server has it open; only `repair` and `accept-loss --yes` change anything.
    #[command(subcommand)]
    Wal(Wal),
}

#[derive(Debug, Subcommand)]
pub(crate) enum Wal {
    /// Segments, records and snapshots in figures, and what could be trimmed.
    Stat,
    /// Read everything and say of each file whether it is good; exit code 1 if anything is damaged.
    Verify,
    /// Print records in words, oldest first.
    Dump(Dump),
    /// Put another node's good copies in the place of segments that are damaged or missing; the server must not run.
    Repair {
        /// The other node's data directory, or a copy of it: MANIFEST and log/.
        #[arg(long, value_name = "DIR")]
        from: PathBuf,
    },
    /// Go on without acknowledged records that both nodes had and one has lost; without --yes only say what was noted of them.
    /// The server must not run. What is cut by it later is kept in cut/.
    AcceptLoss {
        /// Do it.
        #[arg(long)]
        yes: bool,
    },
}

#[derive(Debug, Args)]
pub(crate) struct Dump {
    /// Only this partition's.
    #[arg(long, value_name = "N")]
    pub(crate) partition: Option<u16>,
    /// Only from this number in a partition's history on.
    #[arg(long, value_name = "LSN")]
    pub(crate) from_lsn: Option<u64>,
    /// Only this stream's (a stream is one core's log).
    #[arg(long, value_name = "N")]
    pub(crate) stream: Option<u16>,
    /// At most so many.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) limit: Option<u64>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Tune {
    /// Say what is wrong with this machine, why it matters and how to mend it; takes two seconds.
    Check(TuneTarget),
    /// Print a script that mends what was found, to be read before it is run.
    Render(TuneTarget),
    /// Mend what can be mended by writing values of the kernel; without --yes only say what it would do.
    Apply {
        #[command(flatten)]
        target: TuneTarget,
        /// Do it.
        #[arg(long)]
        yes: bool,
        /// Where the script that undoes it goes. [default: /var/lib/frontrow-tune-undo.sh]
        #[arg(long, value_name = "FILE")]
        undo: Option<PathBuf>,
    },
    /// Write a configuration from the machine's CPUs, memory and limits; --data becomes its data directory.
    Auto(Auto),
    /// Print a ready configuration; without a name, list them.
    Preset {
        /// laptop, one-box, numa, container or replicated.
        name: Option<String>,
    },
}

/// What the machine is held against.
#[derive(Debug, Args)]
pub(crate) struct TuneTarget {
    /// The configuration file; without it, defaults and the environment. The data directory is its own, unless
    /// --data names another.
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct Auto {
    /// Write it to this file, which must not be there yet.
    #[arg(long, value_name = "FILE")]
    pub(crate) out: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct Serve {
    /// The configuration file; without it, defaults and the environment.
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Only check the configuration and say what it means.
    #[arg(long)]
    pub(crate) check: bool,
    /// Do not put the sample hall on sale when there is nothing else (development mode does).
    #[arg(long)]
    pub(crate) no_demo: bool,
}

fn host_port(text: &str) -> Result<String, String> {
    let port =
        text.rsplit_once(':').filter(|(host, _)| !host.is_empty()).map(|(_, port)| port.parse::<u16>());
    match port {
        Some(Ok(port)) if port > 0 => Ok(text.to_owned()),
        _ => Err("write host:port, as in the primary's replication.listen".to_owned()),
    }
}

#[derive(Debug, Args)]
pub(crate) struct Backup {
    /// The primary's replication.listen.
    #[arg(long, value_name = "HOST:PORT", value_parser = host_port)]
    pub(crate) primary: String,
    /// The configuration file, as for serve: it holds once this node is the primary. --data becomes its data
    /// directory.
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct Promote {
    /// The standby does not run: open the next epoch in its data directory (--data).
    #[arg(long)]
    pub(crate) offline: bool,
    /// Take over from a primary that lives; without this it is refused.
    #[arg(long)]
    pub(crate) force: bool,
    /// With --offline: the configuration file, as for serve.
    #[arg(long, value_name = "FILE", requires = "offline")]
    pub(crate) config: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Replication {
    /// How the standby is doing, and what answers wait for.
    Status,
    /// Answer without the standby from now on. Recorded; holds across restarts.
    Alone,
    /// Let answers wait for the standby again, as the configuration says.
    Backup,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Cluster {
    /// This node does not run, and its data (--data) is what is to go on: put the record in etcd that makes it primary when it
    /// is started. For when etcd's data is lost, or the last primary is.
    Found {
        /// The epoch that the data here ends in, as the refusal to serve says it.
        #[arg(long, value_name = "N")]
        epoch: u32,
        /// Replace the record of this epoch; what only its primary has is given up.
        #[arg(long, value_name = "N")]
        replace: Option<u32>,
        /// The highest epoch that any other node has seen, if that is higher.
        #[arg(long, value_name = "N", default_value_t = 0)]
        above: u32,
        /// The configuration file, as for serve.
        #[arg(long, value_name = "FILE")]
        config: Option<PathBuf>,
    },
    /// This node does not run, and its data (--data) is to be used without the cluster from now on. Recorded there.
    Leave {
        /// The configuration file, as for serve.
        #[arg(long, value_name = "FILE")]
        config: Option<PathBuf>,
    },
}

#[derive(Debug, Args)]
pub(crate) struct Events {
    /// Words of the event's name.
    pub(crate) query: Vec<String>,
}

#[derive(Debug, Args)]
pub(crate) struct SeatsArgs {
    /// The event: its number, or words of its name.
    pub(crate) event: String,
    /// The section: its name, or a word of it.
    pub(crate) section: Option<String>,
}

/// A queue's place, or none.
#[derive(Debug, Args)]
pub(crate) struct Status {
    /// The event: its number, or words of its name.
    #[arg(requires = "section")]
    pub(crate) event: Option<String>,
    /// The section: its name, or a word of it.
    pub(crate) section: Option<String>,
    /// The row's label; without it, the section as a whole.
    pub(crate) row: Option<String>,
}

impl Status {
    /// The place, if there is one.
    pub(crate) fn place(self) -> Option<Place> {
        let Self { event, section, row } = self;
        Some(Place { event: event?, section: section?, row })
    }
}

/// A row, or a whole section.
#[derive(Debug, Args)]
pub(crate) struct Place {
    /// The event: its number, or words of its name.
    pub(crate) event: String,
    /// The section: its name, or a word of it.
    pub(crate) section: String,
    /// The row's label; without it, the section as a whole.
    pub(crate) row: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct Claim {
    #[command(flatten)]
    pub(crate) at: Place,
    /// These seats of the row: 4,5 or 4-6.
    #[arg(long, value_name = "SEATS", required_unless_present = "best", conflicts_with_all = ["best", "or_wait", "adjacency", "accessible"], requires = "row")]
    pub(crate) seats: Option<String>,
    /// The best so many seats.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(1..=32))]
    pub(crate) best: Option<u8>,
    #[command(flatten)]
    pub(crate) wish: Wish,
    /// Join the queue if it cannot be had now.
    #[arg(long)]
    pub(crate) or_wait: bool,
    #[command(flatten)]
    pub(crate) repeated: Repeated,
}

/// A request that may have been carried out already.
#[derive(Debug, Args)]
pub(crate) struct Repeated {
    /// Send it as this request, which got no answer: it is not carried out twice, and is answered as it was decided.
    #[arg(long, value_name = "ID", value_parser = parse_id)]
    pub(crate) request_id: Option<RequestId>,
}

#[derive(Debug, Args)]
pub(crate) struct Wish {
    /// How close together the seats of a section must be.
    #[arg(long, value_enum)]
    pub(crate) adjacency: Option<Near>,
    /// At least one seat for a wheelchair user.
    #[arg(long)]
    pub(crate) accessible: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Near {
    /// Next to each other, or nothing.
    Required,
    /// Next to each other if that can be had.
    Preferred,
    /// Anywhere in the section.
    Any,
}

impl Wish {
    pub(crate) fn of(&self, count: u8, or_join: bool) -> frontrow_client::Wish {
        let adjacency = match self.adjacency {
            None | Some(Near::Required) => Adjacency::Required,
            Some(Near::Preferred) => Adjacency::Preferred,
            Some(Near::Any) => Adjacency::Any,
        };
        let accessible = self.accessible;
        frontrow_client::Wish { adjacency, accessible, or_join, ..frontrow_client::Wish::of(count) }
    }
}

#[derive(Debug, Args)]
pub(crate) struct Token {
    /// The token that the claim, or the last change of it, gave you.
    #[arg(value_name = "TOKEN", allow_hyphen_values = true)]
    pub(crate) hold: String,
    #[command(flatten)]
    pub(crate) repeated: Repeated,
}

#[derive(Debug, Args)]
pub(crate) struct Wait {
    #[command(flatten)]
    pub(crate) at: Place,
    /// How many seats.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(1..=32), required_unless_present = "leave")]
    pub(crate) count: Option<u8>,
    #[command(flatten)]
    pub(crate) wish: Wish,
    /// Give up your place instead.
    #[arg(long, conflicts_with_all = ["count", "adjacency", "accessible"])]
    pub(crate) leave: bool,
    #[command(flatten)]
    pub(crate) repeated: Repeated,
}

#[derive(Debug, Args)]
pub(crate) struct Watch {
    /// The event: its number, or words of its name.
    pub(crate) event: String,
    /// The section: its name, or a word of it.
    pub(crate) section: String,
    /// End after so many changes.
    #[arg(long, value_name = "N")]
    pub(crate) updates: Option<u64>,
}

#[derive(Debug, Args)]
pub(crate) struct Plan {
    /// The plan: pretix JSON, a stored plan or CSV. With --stadium: where to write it.
    #[arg(required_unless_present = "stadium")]
    pub(crate) file: Option<PathBuf>,
    /// It is CSV, and this is the hall's name.
    #[arg(long, value_name = "NAME", conflicts_with = "stadium")]
    pub(crate) csv: Option<String>,
    /// Write a made-up stadium of so many seats as CSV.
    #[arg(long, value_name = "N")]
    pub(crate) stadium: Option<u32>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Event {
    /// Make an event from a seating plan; it is a draft until it is opened.
    Create(Create),
    /// Open the sale, or go on after a pause.
    Open(EventArg),
    /// Pause the sale: nothing new is claimed, holds can be booked.
    Pause(EventArg),
    /// End the sale.
    Close(EventArg),
    /// Put a closed event away: it goes to a file, which is read when somebody asks, and leaves memory.
    Archive(EventArg),
    /// Show what has been sold of an event, section by section.
    Sales(EventArg),
    /// Show an event's bookings, also of an archived one.
    Bookings(BookingsArgs),
    /// Take free seats out of sale.
    Block(BlockArgs),
    /// Put blocked seats back on sale.
    Unblock(BlockArgs),
}

#[derive(Debug, Args)]
pub(crate) struct EventArg {
    /// The event: its number, or words of its name.
    pub(crate) event: String,
}

#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct OwnArgs {
    #[command(subcommand)]
    pub(crate) act: Option<OwnAct>,
    /// Of this event only: its number, or words of its name.
    pub(crate) event: Option<String>,
    /// Only the booking of this name.
    #[arg(long, value_name = "ID", conflicts_with = "event")]
    pub(crate) id: Option<String>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum OwnAct {
    /// Run the bookings service: from Kafka into PostgreSQL, and answers from there (docs/bookings.md).
    Serve(ServiceArgs),
}

#[derive(Debug, Args)]
pub(crate) struct ServiceArgs {
    /// The configuration file, of the same kind as a server's: [kafka], [service], [identity], [admin].
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct BookingsArgs {
    /// The event: its number, or words of its name.
    pub(crate) event: String,
    /// Of this user only; of all, if left out.
    #[arg(long, value_name = "N")]
    pub(crate) user: Option<u64>,
    /// Leave out so many; a thousand are shown.
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(crate) from: usize,
}

#[derive(Debug, Args)]
pub(crate) struct BlockArgs {
    /// The event: its number, or words of its name.
    pub(crate) event: String,
    /// The section: its name, or a word of it.
    pub(crate) section: String,
    /// The row's label.
    pub(crate) row: String,
    /// These seats: 4,5 or 4-6.
    #[arg(long, value_name = "SEATS")]
    pub(crate) seats: String,
}

#[derive(Debug, Args)]
pub(crate) struct Create {
    /// The seating plan: pretix JSON, a stored plan or CSV.
    #[arg(required_unless_present = "stadium", conflicts_with = "stadium")]
    pub(crate) file: Option<PathBuf>,
    /// A made-up stadium of so many seats instead of a plan.
    #[arg(long, value_name = "N")]
    pub(crate) stadium: Option<u32>,
    /// How many tiers the stadium has.
    #[arg(long, value_name = "N", requires = "stadium")]
    pub(crate) tiers: Option<u32>,
    /// The event's name; else the plan's.
    #[arg(long)]
    pub(crate) name: Option<String>,
    /// How long a claim is held, in seconds (10 to 3600).
    #[arg(long, value_name = "S", value_parser = clap::value_parser!(u32).range(10..=3600))]
    pub(crate) hold_s: Option<u32>,
    /// How long an offer from the queue is held, in seconds (10 to 3600).
    #[arg(long, value_name = "S", value_parser = clap::value_parser!(u32).range(10..=3600))]
    pub(crate) offer_s: Option<u32>,
    /// How long a payment may pin a hold, in seconds (10 to 3600).
    #[arg(long, value_name = "S", value_parser = clap::value_parser!(u32).range(10..=3600))]
    pub(crate) pay_s: Option<u32>,
    /// How often a hold may be extended.
    #[arg(long, value_name = "N")]
    pub(crate) max_extensions: Option<u8>,
    /// Most seats in one claim.
    #[arg(long, value_name = "N")]
    pub(crate) max_per_claim: Option<u8>,
    /// Most seats of one user; 0 for no limit.
    #[arg(long, value_name = "N")]
    pub(crate) max_per_user: Option<u16>,
    /// How often a waiting party may be passed by smaller ones.
    #[arg(long, value_name = "N")]
    pub(crate) max_passes: Option<u16>,
    /// Who gets what comes free.
    #[arg(long, value_parser = ["fifo", "free-for-all"])]
    pub(crate) fairness: Option<String>,
    /// Choices that leave a single seat alone.
    #[arg(long, value_parser = ["off", "prefer", "strict"])]
    pub(crate) orphans: Option<String>,
    /// Open the sale at once.
    #[arg(long)]
    pub(crate) open: bool,
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn combinations_that_mean_nothing_are_refused() {
        for (line, good) in [
            ("claim 1 A 3 --seats 4,5", true),
            ("claim 1 A 3 --best 2 --or-wait", true),
            ("claim 1 A --best 2 --adjacency any --json", true),
            ("claim 1 A --seats 4", false),
            ("claim 1 A 3", false),
            ("claim 1 A 3 --best 0", false),
            ("claim 1 A 3 --best 2 --seats 4", false),
            ("wait 1 A --count 2 --user 7", true),
            ("wait 1 A 3 --leave", true),
            ("wait 1 A", false),
            ("plan", false),
            ("plan --stadium 10", true),
            ("event create --stadium 10 --open", true),
            ("event create plan.json --stadium 10", false),
            ("event block 1 A 3", false),
            ("book -AQ", true),
            ("book -- -AQ", true),
            ("claim --best 2 -- 1 --server", true),
            ("tune check --config x --data y --json", true),
            ("tune apply --yes --undo z", true),
            ("tune render --yes", false),
            ("tune", false),
            ("backup --primary 127.0.0.1:7415 --data x", true),
            ("backup", false),
            ("backup --primary foo", false),
            ("backup --primary foo:0", false),
            ("backup --primary [::1]:7415", true),
            ("status", true),
            ("status 1 A", true),
            ("status 1", false),
            ("promote", true),
            ("promote --offline --config x --data y", true),
            ("promote --config x", false),
            ("replication alone", true),
            ("replication", false),
            ("event bookings 1 --user 7", true),
        ] {
            let words = std::iter::once("frontrow").chain(line.split(' '));
            assert_eq!(Cli::try_parse_from(words).is_ok(), good, "{line}");
        }
    }

    #[test]
    fn the_next_command_is_told_what_this_one_was() {
        let common = |line: &str| Cli::try_parse_from(line.split(' ')).expect(line).common;
        let said = common(
            "frontrow claim 1 A --best 1 --server http://h:1 --tcp h:2 --user 7 --token SECRET --data a$b --admin-key SECRET",
        );
        let me = shell::program();
        assert_eq!(said.command(), format!("{me} --server http://h:1"));
        assert_eq!(
            said.buying(),
            format!("{me} --server http://h:1 --tcp h:2 --user 7 --token JWT --data 'a$b'")
        );
        assert_eq!(said.operating(), format!("{me} --server http://h:1 --admin-key KEY --data 'a$b'"));
        assert_eq!(said.serving(Some(Path::new("c d"))), format!("{me} serve --config 'c d' --data 'a$b'"));
        let plain = Common { server: SERVER.into(), ..common("frontrow status") };
        let variable = |name| std::env::var_os(name).is_some();
        if !variable(SERVER_VARIABLE) {
            assert_eq!((plain.command(), plain.buying(), plain.operating()), (me.clone(), me.clone(), me));
        }
    }

    /// `--user` is who one is everywhere else: who that is by default is not whose bookings are wanted.
    #[test]
    fn bookings_are_everybody_s_unless_one_user_s_are_asked_for() {
        for (line, user) in [
            ("frontrow event bookings 1", None),
            ("frontrow event bookings 1 --user 7", Some(7)),
            ("frontrow --user 7 event bookings 1", Some(7)),
        ] {
            let cli = Cli::try_parse_from(line.split(' ')).expect(line);
            let Command::Event(Event::Bookings(args)) = cli.command else { panic!("{line}") };
            assert_eq!((args.user, cli.common.user()), (user, user.unwrap_or(1)), "{line}");
        }
    }
}
