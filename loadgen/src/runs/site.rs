//! The server under load, found and asked about itself.

use crate::LoadError;
use crate::observe::metrics;
use crate::observe::process::ServerProcess;
use crate::options::{LoadOptions, TransportWord};
use crate::report::model::Target;
use crate::runs::tokens::Tokens;
use frontrow_client::{Client, ClientError, Endpoint, Http, Options, Topology, UserId, Welcome};
use frontrow_server::identity::ADMIN_KEY_FILE;
use frontrow_server::shell::quoted;
use std::net::{SocketAddr, ToSocketAddrs};
use std::time::Duration;

/// The user who asks for the topology: nobody of any crowd.
const SCOUT: UserId = u64::MAX - 1;

/// A server that is slow to begin with is given so long, with however little patience.
const LEAST_PATIENCE: Duration = Duration::from_secs(5);

/// A server that answers.
#[derive(Debug)]
pub(crate) struct Site {
    /// As given.
    pub(crate) url: String,
    /// Its HTTP side, with the operator's key if there is one.
    pub(crate) http: Http,
    /// Where that is.
    pub(crate) address: SocketAddr,
    /// Users' tokens.
    pub(crate) tokens: Tokens,
    /// What it said of itself.
    pub(crate) welcome: Welcome,
    /// Its cores.
    pub(crate) topology: Topology,
    /// Its process, if that is on this machine.
    pub(crate) process: Option<ServerProcess>,
    /// The options by which the `frontrow` command finds it as its operator.
    operator: String,
    /// Connections that it takes, in all and from one address, if it says so.
    pub(crate) limits: (Option<u32>, Option<u32>),
}

impl Site {
    /// Finds the server that the options name; one that says nothing is not waited for longer than patience goes.
    pub(crate) async fn find(options: &LoadOptions) -> Result<Self, LoadError> {
        let waited = options.patience.max(LEAST_PATIENCE);
        let found = tokio::time::timeout(waited, Self::ask(options)).await;
        found.unwrap_or_else(|_| Err(LoadError::Silent { url: options.server.clone(), waited }))
    }

    async fn ask(options: &LoadOptions) -> Result<Self, LoadError> {
        let url = options.server.trim_end_matches('/').to_owned();
        let address = resolve(&url)?;
        let http = Http::new(&url).map_err(LoadError::http)?;
        let page = http.metrics().await.map_err(LoadError::http)?;
        let http = match admin_key(options)? {
            Some(key) => http.with_admin_key(key),
            None => http,
        };
        let tokens = Tokens::of(options, &http)?;
        let token = tokens.one(SCOUT).await?;
        // A server that is slow to let us in is given as long as every other answer.
        let patient = Options { connect_timeout: options.patience.max(LEAST_PATIENCE), ..Options::default() };
        let scout = Client::connect_with(Endpoint::of_http(&url), token, patient).await.map_err(unwelcome)?;
        let (welcome, topology) = (scout.welcome(), scout.topology().await.map_err(unwelcome)?);
        let process = ServerProcess::listening_at(address);
        let limit = |name| metrics::alone(&page, name).map(|limit| limit as u32);
        let limits = (limit("frontrow_connections_limit"), limit("frontrow_connections_per_address_limit"));
        let operator = operator(&url, options, std::env::var("FRONTROW_ADMIN_KEY").ok().as_deref());
        Ok(Self { url, http, address, tokens, welcome, topology, process, operator, limits })
    }

    /// The command that ends an event's sale at this server.
    pub(crate) fn close_command(&self, event: u32) -> String {
        format!("frontrow event close {event}{}", self.operator)
    }

    /// How many cores serve.
    pub(crate) fn cores(&self) -> u16 {
        self.topology.cores.len().max(1) as u16
    }

    /// Where raw TCP clients of each core connect.
    pub(crate) fn tcp(&self) -> Result<Vec<SocketAddr>, LoadError> {
        let doors = self.topology.cores.iter().filter(|core| core.tcp_port != 0);
        let doors: Vec<SocketAddr> =
            doors.map(|core| SocketAddr::new(self.address.ip(), core.tcp_port)).collect();
        if doors.len() == self.topology.cores.len() && !doors.is_empty() {
            return Ok(doors);
        }
        Err(LoadError::Option(
            "this server has no raw TCP port for each core; add --transport websocket".to_owned(),
        ))
    }

    /// Where WebSocket clients of each core connect; one address for all if cores have none of their own.
    pub(crate) fn websocket(&self) -> Vec<String> {
        let of_core = |port: u16| format!("ws://{}/v1/ws", SocketAddr::new(self.address.ip(), port));
        let cores = &self.topology.cores;
        if cores.iter().all(|core| core.ws_port != 0) && !cores.is_empty() {
            return cores.iter().map(|core| of_core(core.ws_port)).collect();
        }
        vec![of_core(self.address.port())]
    }

    /// Whether the transport reaches each core at an address of its own.
    pub(crate) fn routes(&self, transport: TransportWord) -> bool {
        transport == TransportWord::Tcp || self.topology.cores.iter().all(|core| core.ws_port != 0)
    }

    /// For the report; what the sale says is left open.
    pub(crate) fn target(&self) -> Target {
        Target {
            url: self.url.clone(),
            cores: self.cores(),
            partitions: self.welcome.partitions,
            durability: self.welcome.durability.name().to_owned(),
            same_machine: self.process.is_some(),
            connections_limit: self.limits.0,
            address_limit: self.limits.1,
            ..Target::default()
        }
    }
}

/// The host in an address with TLS; `None` for other addresses.
fn encrypted(url: &str) -> Option<&str> {
    let (scheme, rest) = url.split_once("://")?;
    let tls = ["https", "wss"].iter().any(|tls| scheme.eq_ignore_ascii_case(tls));
    let authority = rest.split('/').next().unwrap_or(rest);
    // The port is that of whatever ends TLS; what stands in brackets is an address with colons of its own.
    let port =
        authority.rfind(':').filter(|colon| authority.rfind(']').is_none_or(|bracket| bracket < *colon));
    let host = port.map_or(authority, |colon| &authority[..colon]);
    tls.then_some(if host.is_empty() { "HOST" } else { host })
}

/// `http://host:port` as an address.
fn resolve(url: &str) -> Result<SocketAddr, LoadError> {
    if url.is_empty() {
        return Err(LoadError::Option(
            "the server's address is empty: give --server http://host:port, or set the variable FRONTROW_URL to it (or \
             unset it: then http://127.0.0.1:7410 is meant)"
                .to_owned(),
        ));
    }
    if let Some(host) = encrypted(url) {
        return Err(LoadError::Option(format!(
            "`{url}` is an address with TLS, and neither the load generator nor the server speaks TLS: give the address of the \
             server itself, behind whatever ends TLS before it: --server http://{host}:7410 (server.http in its \
             configuration), with the name or number that its machine has there"
        )));
    }
    let wrong = || LoadError::Option(format!("`{url}` is no address of a server; write http://host:port"));
    let rest = url.strip_prefix("http://").ok_or_else(wrong)?;
    let has_port = rest.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
    let authority = if has_port { rest.to_owned() } else { format!("{rest}:80") };
    let found = authority.to_socket_addrs();
    let found = found.map_err(|error| LoadError::NoHost {
        url: url.to_owned(),
        host: authority.rsplit_once(':').map_or(authority.as_str(), |(host, _)| host).to_owned(),
        reason: error.to_string(),
    })?;
    // Servers on loopback listen on IPv4 unless told otherwise, and `localhost` may name both.
    let mut found: Vec<SocketAddr> = found.collect();
    found.sort_by_key(SocketAddr::is_ipv6);
    found.first().copied().ok_or_else(wrong)
}

/// The operator's key: given, or left by a development server; `None` if there is none to be found.
fn admin_key(options: &LoadOptions) -> Result<Option<String>, LoadError> {
    if let Some(key) = &options.admin_key {
        return Ok(Some(key.trim().to_owned()));
    }
    let path = options.data.join(ADMIN_KEY_FILE);
    match std::fs::read_to_string(&path) {
        Ok(key) => Ok(Some(key.trim().to_owned())),
        // An event that is on sale already needs no operator.
        Err(_) if options.event.is_some() => Ok(None),
        Err(error) => Err(LoadError::NoAdminKey { path, reason: error.to_string() }),
    }
}

/// Options of `frontrow` for what these found: ` --server URL --data DIR`. A key is not repeated; the command finds the one of
/// its variable (`variable`) by itself.
fn operator(url: &str, options: &LoadOptions, variable: Option<&str>) -> String {
    let server = format!(" --server {}", quoted(url));
    match options.admin_key.as_deref() {
        Some(key) if variable == Some(key) => server,
        Some(_) => server + " --admin-key KEY",
        None => format!("{server} --data {}", quoted(&options.data.to_string_lossy())),
    }
}

fn unwelcome(error: ClientError) -> LoadError {
    match error {
        ClientError::Unreachable { endpoint, reason } => LoadError::NoServer { url: endpoint, reason },
        other => LoadError::Unwelcome(other.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_operators_options_are_those_that_the_command_takes() {
        #[derive(clap::Parser)]
        struct Line {
            #[command(flatten)]
            load: LoadOptions,
        }
        let options = |words: &[&str]| {
            let words = ["load"].iter().chain(words);
            <Line as clap::Parser>::parse_from(words).load
        };
        let url = "http://127.0.0.1:7410";
        let data = operator(url, &options(&["--data", "/var/my data"]), None);
        assert_eq!(data, " --server http://127.0.0.1:7410 --data '/var/my data'");
        let keyed = options(&["--admin-key", "secret"]);
        assert_eq!(operator(url, &keyed, None), " --server http://127.0.0.1:7410 --admin-key KEY");
        assert_eq!(operator(url, &keyed, Some("secret")), " --server http://127.0.0.1:7410");
    }

    #[test]
    fn addresses_are_read() {
        for at in ["127.0.0.1:7410", "[::1]:80"] {
            assert_eq!(resolve(&format!("http://{at}")).unwrap().to_string(), at);
        }
        assert_eq!(resolve("http://127.0.0.1").unwrap().port(), 80);
        assert!(resolve("").expect_err("nothing").to_string().contains("FRONTROW_URL"));
        for (tls, instead) in [
            ("https://tickets.example.com", "http://tickets.example.com:7410 "),
            ("https://10.0.0.1:8443/v1", "http://10.0.0.1:7410 "),
            ("wss://[::1]:443/v1/ws", "http://[::1]:7410 "),
            ("HTTPS://", "http://HOST:7410 "),
        ] {
            let error = resolve(tls).expect_err(tls).to_string();
            assert!(error.contains(instead) && error.contains("speaks TLS"), "{tls}: {error}");
        }
        for wrong in ["127.0.0.1:7410", "ftp://x", "http://"] {
            let error = resolve(wrong).expect_err(wrong).to_string();
            assert!(error.contains("http://"), "{error}");
        }
    }
}
