//! What can go wrong with a measurement.

use frontrow_client::HttpError;
use std::io;
use std::path::PathBuf;

/// Why there is no result. Each message names the remedy.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// An option that cannot be.
    #[error("{0}")]
    Option(String),
    /// The engine refused.
    #[error(transparent)]
    Engine(#[from] frontrow_engine::EngineError),
    /// The server under test did not start.
    #[error("the server under test did not start: {0}")]
    Server(#[from] frontrow_server::StartError),
    /// Its configuration.
    #[error("the server under test cannot be configured: {0}")]
    Config(#[from] frontrow_server::config::Mistakes),
    /// Kafka.
    #[error(transparent)]
    Kafka(#[from] frontrow_services::kafka::KafkaError),
    /// The server refused the event.
    #[error("the server refused the event: {0}; choose fewer seats")]
    Event(String),
    /// A connection failed.
    #[error("a connection failed {doing}: {source}; see what the server says")]
    Connection {
        /// What was being done.
        doing: &'static str,
        /// The system's word.
        source: io::Error,
    },
    /// A file.
    #[error("{}: {source}; check that the folder exists and can be written", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// The system's word.
        source: io::Error,
    },
    /// A scenario's file.
    #[error(
        "{}: {source}; name a scenario's file: `frontrow-loadgen scenarios onsale > mine.toml` makes one to begin with",
        path.display()
    )]
    NoScenario {
        /// Which.
        path: PathBuf,
        /// The system's word.
        source: io::Error,
    },
    /// A reply that must not be. The numbers of such a run are worth nothing.
    #[error("a wrong reply: {0}; this is a fault of the server or of the load generator, not of the machine")]
    Wrong(String),
    /// Replies did not come.
    #[error(
        "no end after {0} s: requests stay unanswered; see what the server says, or give it more --patience"
    )]
    Patience(u64),
    /// A scenario.
    #[error(transparent)]
    Scenario(#[from] crate::crowd::ScenarioError),
    /// A scenario of a file.
    #[error("{}: {source}", path.display())]
    ScenarioFile {
        /// Which.
        path: PathBuf,
        /// What is wrong in it.
        source: crate::crowd::ScenarioError,
    },
    /// The server's name leads nowhere.
    #[error(
        "no server at {url}: the name `{host}` cannot be resolved ({reason}): check the name in --server (or FRONTROW_URL), or give \
         the number of that machine, like http://127.0.0.1:7410"
    )]
    NoHost {
        /// As given.
        url: String,
        /// The name in it.
        host: String,
        /// What the system says.
        reason: String,
    },
    /// Nobody answers.
    #[error(
        "no server at {url} ({reason}): start one with `frontrow serve` (`make run` where there is a Makefile), or name \
         another with --server"
    )]
    NoServer {
        /// Where one was looked for.
        url: String,
        /// What the system says.
        reason: String,
    },
    /// Something else than HTTP listens there.
    #[error(
        "what listens at {url} does not speak HTTP ({reason}): that is another port, such as the raw TCP one; name the \
         server's HTTP address with --server (server.http in its configuration, port 7410 unless it says otherwise)"
    )]
    NotHttp {
        /// Where one was looked for.
        url: String,
        /// What is wrong with what came.
        reason: String,
    },
    /// It takes connections, and says nothing.
    #[error(
        "the server at {url} takes connections and did not answer within {} s (--patience, 5 s at least): it is stopped or stuck; see the \
         end of its log, and start it again",
        waited.as_secs_f64()
    )]
    Silent {
        /// Where.
        url: String,
        /// How long it was waited for.
        waited: std::time::Duration,
    },
    /// The server was there when the run began.
    #[error(
        "the server did not answer from {} on; see the end of its log, start it again, and repeat the run",
        crate::report::words::seconds(*from_s)
    )]
    WentAway {
        /// Since when, in seconds of the run.
        from_s: f64,
    },
    /// The server answers over HTTP, and says no.
    #[error("the server at this address refuses: {0}")]
    HttpRefused(String),
    /// The server does not take the connection.
    #[error(
        "the server does not let the load's users in: {0}; see --token-secret-file, --token-issuer and --token-audience"
    )]
    Unwelcome(String),
    /// The server gives no tokens to whoever asks.
    #[error(
        "this server is not in development mode and gives no tokens; name the file with the secret of \
         identity.hs256_secret_file with --token-secret-file"
    )]
    NoTokens,
    /// Making an event takes the operator's key.
    #[error(
        "no operator's key to make an event for this run: {} cannot be read ({reason}); give --data with the \
         server's data directory, or --admin-key, or an event that is on sale already with --event", path.display()
    )]
    NoAdminKey {
        /// Where a development server leaves it.
        path: PathBuf,
        /// The system's word.
        reason: String,
    },
    /// The bench's own server.
    #[error("{} did not become a server: {reason}; see what stands above", program.display())]
    OwnServer {
        /// The program.
        program: PathBuf,
        /// What is known.
        reason: String,
    },
    /// More connections than the process may have files open.
    #[error(
        "{needed} file descriptors are needed for {connections} connections, the limit is {limit}: raise it \
         (`ulimit -n {needed}`, or LimitNOFILE= of the unit) or ask for fewer connections"
    )]
    Descriptors {
        /// Connections asked for.
        connections: usize,
        /// Descriptors they and the rest of the process need.
        needed: u64,
        /// What the system allows this process at most.
        limit: u64,
    },
    /// The server does not let us in.
    #[error("the server at {server} refuses the connection: {why}; see that address and token are right")]
    Refused {
        /// Where.
        server: String,
        /// Its own words.
        why: String,
    },
    /// A report could not be written or read.
    #[error(transparent)]
    Report(#[from] crate::report::ReportError),
    /// A program to compare with is not there.
    #[error(
        "{0} is not installed: apt-get install redis-server postgresql, or leave it out with --only (see --help)"
    )]
    Missing(&'static str),
    /// A program to compare with failed.
    #[error("{program} failed ({why}); its last word: {last}")]
    Peer {
        /// The program.
        program: String,
        /// How it ended.
        why: String,
        /// The last line it printed.
        last: String,
    },
    /// A thread of the load generator ended.
    #[error("a load thread panicked; this is a fault of the load generator")]
    Panicked,
}

impl LoadError {
    /// A request over HTTP went wrong.
    pub(crate) fn http(error: HttpError) -> Self {
        match error {
            HttpError::Unreachable { url, reason } if reason.contains("HTTP") => {
                Self::NotHttp { url, reason }
            }
            HttpError::Unreachable { url, reason } => Self::NoServer { url, reason },
            HttpError::Silent { url, after } => {
                Self::NoServer { url, reason: format!("no answer within {after:?}") }
            }
            HttpError::Nowhere(_) => {
                Self::NoServer { url: "any of its addresses".to_owned(), reason: error.to_string() }
            }
            HttpError::Address(_) => Self::Option(error.to_string()),
            HttpError::Refused { .. } | HttpError::Answer(_) => {
                Self::HttpRefused(for_this_program(&error.to_string()))
            }
        }
    }

    pub(crate) fn connection(doing: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Connection { doing, source }
    }
}

/// A server's advice is for whoever speaks HTTP: the same in this program's options and commands.
fn for_this_program(message: &str) -> String {
    message.replace("list the events at /v1/events", "`frontrow events` lists them").replace(
        "send Authorization: Bearer <admin key>",
        "give the operator's key with --admin-key, or the data directory of a development server with --data",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn remedies_are_those_of_this_program() {
        let unreachable = |reason: &str| {
            LoadError::http(HttpError::Unreachable { url: "http://x".to_owned(), reason: reason.to_owned() })
        };
        assert!(unreachable("invalid HTTP version parsed").to_string().contains("does not speak HTTP"));
        assert!(unreachable("Connection refused").to_string().contains("`frontrow serve`"));
        let said = for_this_program("there is no event 99; list the events at /v1/events");
        assert_eq!(said, "there is no event 99; `frontrow events` lists them");
        let said = for_this_program("this is for operators: send Authorization: Bearer <admin key>");
        assert!(said.contains("--admin-key") && !said.contains("Bearer"), "{said}");
        let silent = LoadError::Silent { url: String::new(), waited: std::time::Duration::from_secs(10) };
        assert!(silent.to_string().contains("within 10 s (--patience, "), "{silent}");
    }
}
