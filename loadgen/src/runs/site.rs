//! The server under load, found and asked about itself.

use crate::LoadError;
use crate::observe::process::ServerProcess;
use crate::options::{LoadOptions, TransportWord};
use crate::report::model::Target;
use crate::runs::tokens::Tokens;
use frontrow_client::{Client, ClientError, Endpoint, Http, Topology, UserId, Welcome};
use frontrow_server::identity::ADMIN_KEY_FILE;
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
        http.metrics().await.map_err(LoadError::http)?;
        let http = match admin_key(options)? {
            Some(key) => http.with_admin_key(key),
            None => http,
        };
        let tokens = Tokens::of(options, &http)?;
        let token = tokens.one(SCOUT).await?;
        let scout = Client::connect(Endpoint::of_http(&url), token).await.map_err(unwelcome)?;
        let (welcome, topology) = (scout.welcome(), scout.topology().await.map_err(unwelcome)?);
        let process = ServerProcess::listening_at(address);
        Ok(Self { url, http, address, tokens, welcome, topology, process })
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
            ..Target::default()
        }
    }
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
    let wrong = || LoadError::Option(format!("`{url}` is no address of a server; write http://host:port"));
    let rest = url.strip_prefix("http://").ok_or_else(wrong)?;
    let has_port = rest.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
    let authority = if has_port { rest.to_owned() } else { format!("{rest}:80") };
    let found = authority.to_socket_addrs();
    let found =
        found.map_err(|error| LoadError::NoServer { url: url.to_owned(), reason: error.to_string() })?;
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
    fn addresses_are_read() {
        for at in ["127.0.0.1:7410", "[::1]:80"] {
            assert_eq!(resolve(&format!("http://{at}")).unwrap().to_string(), at);
        }
        assert_eq!(resolve("http://127.0.0.1").unwrap().port(), 80);
        assert!(resolve("").expect_err("nothing").to_string().contains("FRONTROW_URL"));
        for wrong in ["127.0.0.1:7410", "https://x", "http://"] {
            let error = resolve(wrong).expect_err(wrong).to_string();
            assert!(error.contains("http://"), "{error}");
        }
    }
}
