//! As much of etcd's v3 JSON gateway as deciding who is primary needs: leases, a range, a transaction, a watch.

use crate::config::Cluster;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1::{self, SendRequest};
use hyper::header::{CONTENT_TYPE, HOST};
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::time::timeout;

/// The longest answer that is read.
const ANSWER_BYTES_MAX: usize = 1 << 20;

/// Why etcd has not done what was asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum EtcdError {
    /// None of them answered: whether it was done is not known.
    #[error("etcd at {endpoint}: {why}; check cluster.etcd, and that a majority of etcd's nodes runs")]
    Unreachable { endpoint: String, why: String },
    /// It answered with an error.
    #[error("etcd at {endpoint} refuses: {why}")]
    Refused { endpoint: String, why: String },
    /// It answered with something else.
    #[error("etcd at {endpoint} answers what is not understood ({why}); version 3.4 or newer is needed")]
    Answer { endpoint: String, why: String },
}

/// A key with what stands there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) key: String,
    pub(super) value: Vec<u8>,
    /// The revision of its last change.
    pub(super) revision: i64,
    /// The lease it goes with; 0: none.
    pub(super) lease: i64,
}

/// A value to be put.
pub(super) struct Put {
    pub(super) key: String,
    pub(super) value: String,
    /// The lease it goes with; 0: none.
    pub(super) lease: i64,
}

/// `host:port` of an `http://` address.
pub(crate) fn authority(url: &str) -> Option<&str> {
    let rest = url.strip_prefix("http://")?.trim_end_matches('/');
    let (host, port) = rest.rsplit_once(':')?;
    (!host.is_empty() && port.parse::<u16>().is_ok()).then_some(rest)
}

/// The etcd nodes, and a connection to one of them.
pub(super) struct Etcd {
    authorities: Vec<String>,
    at: usize,
    connection: Option<SendRequest<Full<Bytes>>>,
    /// How long one of them may take.
    patience: Duration,
}

impl Etcd {
    pub(super) fn new(authorities: Vec<String>, patience: Duration) -> Self {
        Self { authorities, at: 0, connection: None, patience }
    }

    /// Those of a cluster.
    pub(super) fn of(cluster: &Cluster) -> Self {
        let authorities = cluster.etcd.iter().filter_map(|url| authority(url)).map(str::to_owned).collect();
        Self::new(authorities, cluster.lease / 6)
    }

    /// A lease of so many seconds: its id, and the seconds that etcd gives it.
    pub(super) async fn grant(&mut self, seconds: u64) -> Result<(i64, u64), EtcdError> {
        let answer = self.ask("/v3/lease/grant", &json!({ "TTL": seconds.to_string() })).await?;
        let id = number(&answer["ID"]).filter(|id| *id != 0);
        let granted = number(&answer["TTL"]).filter(|seconds| *seconds > 0);
        match id.zip(granted) {
            Some((id, granted)) => Ok((id, granted as u64)),
            None => Err(self.strange(&answer)),
        }
    }

    /// Keeps a lease. Its seconds from now on; `None` if it is over.
    pub(super) async fn keep(&mut self, lease: i64) -> Result<Option<u64>, EtcdError> {
        let answer = self.ask("/v3/lease/keepalive", &json!({ "ID": lease.to_string() })).await?;
        // What has the default is left out: no TTL is a TTL of 0.
        Ok(number(&answer["result"]["TTL"]).filter(|seconds| *seconds > 0).map(|seconds| seconds as u64))
    }

    /// Gives a lease back, and what goes with it.
    pub(super) async fn revoke(&mut self, lease: i64) -> Result<(), EtcdError> {
        self.ask("/v3/lease/revoke", &json!({ "ID": lease.to_string() })).await.map(drop)
    }

    /// All keys with this prefix.
    pub(super) async fn read(&mut self, prefix: &str) -> Result<(i64, Vec<Entry>), EtcdError> {
        let answer = self.ask("/v3/kv/range", &range(prefix)).await?;
        let Some(revision) = number(&answer["header"]["revision"]) else { return Err(self.strange(&answer)) };
        let mut entries = Vec::new();
        for kv in answer["kvs"].as_array().into_iter().flatten() {
            let text = |name: &str| kv[name].as_str().and_then(|text| STANDARD.decode(text).ok());
            let entry = text("key").and_then(|key| String::from_utf8(key).ok()).map(|key| Entry {
                key,
                value: text("value").unwrap_or_default(),
                revision: number(&kv["mod_revision"]).unwrap_or(0),
                lease: number(&kv["lease"]).unwrap_or(0),
            });
            entries.push(entry.ok_or_else(|| self.strange(&answer))?);
        }
        Ok((revision, entries))
    }

    /// Puts all of `puts` if every key of `unchanged` was last changed at its revision (0: does not exist). Whether it
    /// did.
    pub(super) async fn swap(
        &mut self,
        unchanged: &[(String, i64)],
        puts: &[Put],
    ) -> Result<bool, EtcdError> {
        let compare: Vec<Value> = unchanged
            .iter()
            .map(|(key, revision)| {
                json!({"target": "MOD", "result": "EQUAL", "key": STANDARD.encode(key), "mod_revision": revision.to_string()})
            })
            .collect();
        let success: Vec<Value> = puts
            .iter()
            .map(|Put { key, value, lease }| {
                json!({"request_put": {
                    "key": STANDARD.encode(key), "value": STANDARD.encode(value), "lease": lease.to_string(),
                }})
            })
            .collect();
        let answer = self.ask("/v3/kv/txn", &json!({ "compare": compare, "success": success })).await?;
        Ok(answer["succeeded"] == true)
    }

    /// Begins to watch a prefix, on a connection of its own.
    pub(super) async fn watch(&self, prefix: &str, from: i64) -> Result<Watch, EtcdError> {
        let mut request = range(prefix);
        request["start_revision"] = from.to_string().into();
        let body = json!({ "create_request": request });
        let mut connection = self.connect().await?;
        let response = self.send(&mut connection, "/v3/watch", &body).await?;
        Ok(Watch { body: response.into_body(), _connection: connection })
    }

    /// Asks one after the other until one answers.
    async fn ask(&mut self, path: &str, body: &Value) -> Result<Value, EtcdError> {
        let mut last = None;
        for _ in 0..self.authorities.len() {
            match self.ask_one(path, body).await {
                Err(error @ EtcdError::Unreachable { .. }) => {
                    self.connection = None;
                    self.at = (self.at + 1) % self.authorities.len();
                    last = Some(error);
                }
                answered => return answered,
            }
        }
        Err(last.unwrap_or_else(|| self.unreachable("there is none")))
    }

    async fn ask_one(&mut self, path: &str, body: &Value) -> Result<Value, EtcdError> {
        let open = self.connection.take().filter(|connection| !connection.is_closed());
        let mut connection = match open {
            Some(connection) => connection,
            None => self.connect().await?,
        };
        let response = self.send(&mut connection, path, body).await?;
        let status = response.status();
        let read = http_body_util::Limited::new(response.into_body(), ANSWER_BYTES_MAX).collect();
        let bytes = match timeout(self.patience, read).await {
            Ok(Ok(body)) => body.to_bytes(),
            Ok(Err(error)) => return Err(self.unreachable(&error.to_string())),
            Err(_) => return Err(self.unreachable("no answer in time")),
        };
        self.connection = Some(connection);
        let text = String::from_utf8_lossy(&bytes);
        // etcd without a majority says so: another node may have one.
        if status.is_server_error() {
            return Err(self.unreachable(&text));
        }
        let endpoint = self.endpoint();
        if !status.is_success() {
            return Err(EtcdError::Refused { endpoint, why: text.into_owned() });
        }
        serde_json::from_slice(&bytes).map_err(|error| EtcdError::Answer { endpoint, why: error.to_string() })
    }

    async fn connect(&self) -> Result<SendRequest<Full<Bytes>>, EtcdError> {
        let shake = async {
            let socket = TcpStream::connect(&self.authorities[self.at]).await.map_err(|e| e.to_string())?;
            socket.set_nodelay(true).map_err(|error| error.to_string())?;
            http1::handshake(TokioIo::new(socket)).await.map_err(|error| error.to_string())
        };
        match timeout(self.patience, shake).await {
            Ok(Ok((sender, connection))) => {
                // It ends when the sender is dropped; what went wrong, the sender says.
                tokio::spawn(async move { drop(connection.await) });
                Ok(sender)
            }
            Ok(Err(why)) => Err(self.unreachable(&why)),
            Err(_) => Err(self.unreachable("no connection in time")),
        }
    }

    async fn send(
        &self,
        connection: &mut SendRequest<Full<Bytes>>,
        path: &str,
        body: &Value,
    ) -> Result<Response<Incoming>, EtcdError> {
        let request = Request::post(path)
            .header(HOST, &self.authorities[self.at])
            .header(CONTENT_TYPE, "application/json")
            .body(Full::new(Bytes::from(body.to_string())))
            .map_err(|error| self.unreachable(&error.to_string()))?;
        let sent = async {
            connection.ready().await?;
            connection.send_request(request).await
        };
        match timeout(self.patience, sent).await {
            Ok(Ok(response)) => Ok(response),
            Ok(Err(error)) => Err(self.unreachable(&error.to_string())),
            Err(_) => Err(self.unreachable("no answer in time")),
        }
    }

    fn endpoint(&self) -> String {
        self.authorities[self.at].clone()
    }

    fn unreachable(&self, why: &str) -> EtcdError {
        EtcdError::Unreachable { endpoint: self.endpoint(), why: why.trim().to_owned() }
    }

    fn strange(&self, answer: &Value) -> EtcdError {
        EtcdError::Answer { endpoint: self.endpoint(), why: answer.to_string().chars().take(200).collect() }
    }
}

/// News of a prefix: that something has changed, not what.
pub(super) struct Watch {
    body: Incoming,
    _connection: SendRequest<Full<Bytes>>,
}

impl Watch {
    /// Waits for a change. `false` once the watch is over.
    pub(super) async fn changed(&mut self) -> bool {
        matches!(self.body.frame().await, Some(Ok(_)))
    }
}

fn range(prefix: &str) -> Value {
    let mut end = prefix.as_bytes().to_vec();
    // The prefix is text: its last byte is not the largest there is.
    if let Some(last) = end.last_mut() {
        *last += 1;
    }
    json!({ "key": STANDARD.encode(prefix), "range_end": STANDARD.encode(end) })
}

/// 64-bit numbers are texts in this JSON.
fn number(value: &Value) -> Option<i64> {
    value.as_i64().or_else(|| value.as_str()?.parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_taken_apart() {
        assert_eq!(authority("http://127.0.0.1:2379/"), Some("127.0.0.1:2379"));
        for wrong in ["127.0.0.1:2379", "http://host", "https://host:2379", "http://:1", "http://h:port"] {
            assert_eq!(authority(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn numbers_may_be_texts() {
        assert_eq!((number(&json!("7")), number(&json!(7)), number(&Value::Null)), (Some(7), Some(7), None));
    }
}
