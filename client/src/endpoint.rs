//! Where to connect.

use crate::error::ClientError;
use crate::link::Link;
use std::fmt;
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;

/// The longest body a server's frame may have, in bytes. The server's own bound is for what clients send;
/// this one keeps a wrong address from making the client allocate.
pub(crate) const MAX_BODY: u32 = 8 << 20;

/// A server's door.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Endpoint {
    /// Binary frames over raw TCP, at `host:port`.
    Tcp(String),
    /// Binary frames in WebSocket messages, at `ws://host:port/v1/ws`.
    WebSocket(String),
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => write!(f, "tcp://{address}"),
            Self::WebSocket(url) => f.write_str(url),
        }
    }
}

impl Endpoint {
    /// The WebSocket of a server known by its HTTP address (`http://host:port`).
    pub fn of_http(url: &str) -> Self {
        let base = url.strip_prefix("http://").unwrap_or(url).trim_end_matches('/');
        Self::WebSocket(format!("ws://{base}/v1/ws"))
    }

    /// Connects. Nothing has been said on the link yet.
    pub(crate) async fn open(&self) -> Result<Link, ClientError> {
        match self {
            Self::Tcp(address) => {
                if !address.contains(':') {
                    return Err(ClientError::Address(address.clone()));
                }
                self.dial(address).await.map(Link::tcp)
            }
            Self::WebSocket(url) => {
                let authority = authority(url).ok_or_else(|| ClientError::Address(url.clone()))?;
                let socket = self.dial(&authority).await?;
                let config = WebSocketConfig::default()
                    .max_message_size(Some(MAX_BODY as usize + 1024))
                    .max_frame_size(Some(MAX_BODY as usize + 1024));
                let shaken =
                    tokio_tungstenite::client_async_with_config(url.as_str(), socket, Some(config)).await;
                match shaken {
                    Ok((socket, _)) => Ok(Link::web_socket(socket)),
                    Err(error) => Err(self.unreachable(format!("the WebSocket handshake failed: {error}"))),
                }
            }
        }
    }

    async fn dial(&self, address: &str) -> Result<TcpStream, ClientError> {
        let socket =
            TcpStream::connect(address).await.map_err(|error| self.unreachable(error.to_string()))?;
        // Whole messages are written at once; waiting to fill a segment only delays them.
        socket.set_nodelay(true).map_err(|error| self.unreachable(error.to_string()))?;
        Ok(socket)
    }

    pub(crate) fn unreachable(&self, reason: String) -> ClientError {
        ClientError::Unreachable { endpoint: self.to_string(), reason }
    }
}

/// `host:port` of a `ws://` address; port 80 if it names none.
fn authority(url: &str) -> Option<String> {
    let rest = url.strip_prefix("ws://")?;
    let authority = rest.split(['/', '?']).next().filter(|text| !text.is_empty())?;
    let has_port = authority.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
    Some(if has_port { authority.to_owned() } else { format!("{authority}:80") })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_taken_apart() {
        assert_eq!(authority("ws://127.0.0.1:7410/v1/ws").as_deref(), Some("127.0.0.1:7410"));
        assert_eq!(authority("ws://seats.example/v1/ws?x").as_deref(), Some("seats.example:80"));
        assert_eq!(authority("ws://[::1]/v1/ws").as_deref(), Some("[::1]:80"));
        assert_eq!(authority("wss://x/v1/ws"), None);
        assert_eq!(authority("ws:///v1/ws"), None);
        let endpoint = Endpoint::of_http("http://127.0.0.1:7410/");
        assert_eq!(endpoint, Endpoint::WebSocket("ws://127.0.0.1:7410/v1/ws".into()));
    }
}
