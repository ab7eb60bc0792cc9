//! What an operator does about a cluster by hand, at a node that does not run: found its record in etcd anew from the
//! data here, or take the data out of it.
//!
//! Founding names the epoch of the data. The node opens the next one when it is started, so the same command does nothing
//! a second time: a unit file cannot found a cluster at each restart.

use super::etcd::{Etcd, EtcdError};
use super::mark::{self, MarkError};
use super::record::{self, Primary, Standing};
use super::view::{Keys, View};
use crate::config::{Acknowledge, Config};
use frontrow_wal::{DataDir, DirOptions, History, NodeId, Role, WalError};
use std::io;

/// What an operator says of the record to be founded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Founding {
    /// The epoch that the data here ends in.
    pub epoch: u32,
    /// The epoch of the record that this one stands in for, if there is one.
    pub replace: Option<u32>,
    /// The highest epoch that any other node has seen.
    pub above: u32,
}

/// Why a cluster is not founded from here, or not left. Each message names the remedy.
#[derive(Debug, thiserror::Error)]
pub enum FoundError {
    /// The data directory, which may be in use.
    #[error(transparent)]
    Log(#[from] WalError),
    /// Its mark.
    #[error(transparent)]
    Mark(#[from] MarkError),
    /// etcd.
    #[error("{0}. Whether the record is founded is not known: give the same command again")]
    Etcd(String),
    /// No event loop.
    #[error("cannot talk to etcd: {0}; raise the limit of open files (ulimit -n)")]
    Runtime(#[from] io::Error),
    /// There is no cluster in the configuration.
    #[error("the configuration has no cluster: give --config with its [cluster] settings")]
    NoCluster,
    /// Other data than was meant.
    #[error(
        "the data here ends in epoch {found}, not {asked}: is this the node, and the data, that you mean? Nothing was changed"
    )]
    Epoch {
        /// As it is.
        found: u32,
        /// As it was said to be.
        asked: u32,
    },
    /// Somebody is primary.
    #[error("node {node} is primary in epoch {epoch}, at {http}: stop it first. Nothing was changed")]
    Serving {
        /// Who.
        node: String,
        /// In which epoch.
        epoch: u32,
        /// Where.
        http: String,
    },
    /// A record stands there.
    #[error(
        "etcd has on record that {node} opened epoch {epoch}{}. If its data is lost, or is not to go on: say so with --replace \
         {epoch}. Nothing was changed", .in_sync.as_ref().map(|it| format!(", and that {it} has everything")).unwrap_or_default()
    )]
    Recorded {
        /// The epoch.
        epoch: u32,
        /// Who opened it.
        node: String,
        /// The standby in sync, if there is one.
        in_sync: Option<String>,
    },
    /// There is no such record.
    #[error(
        "etcd has no record of epoch {0} that could be replaced; leave --replace out, or check cluster.etcd. Nothing was changed"
    )]
    NotRecorded(u32),
    /// Nonsense stands there.
    #[error(
        "etcd has something at {key} that no node has written: etcdctl del {key}, then give the same command again"
    )]
    Odd {
        /// The key.
        key: String,
    },
    /// Somebody else was faster.
    #[error("what etcd has on record has changed meanwhile; look at it, and ask again")]
    Raced,
}

impl From<EtcdError> for FoundError {
    fn from(error: EtcdError) -> Self {
        Self::Etcd(error.to_string())
    }
}

/// Opens a data directory that nobody uses, as it is.
fn directory(config: &Config) -> Result<DataDir, WalError> {
    let path = &config.server.data;
    let Some(found) = DataDir::peek(path)? else {
        return Err(WalError::NotInitialised { path: path.clone() });
    };
    DataDir::attend(path, DirOptions { create: false, ..DirOptions::new(found.partitions) }, 0)
}

/// The directory's name in its history, which is written if there is none yet.
fn node_of(dir: &DataDir) -> Result<NodeId, WalError> {
    if let Some(history) = dir.history()? {
        return Ok(history.node);
    }
    let node = frontrow_wal::new_node()?;
    dir.write_history(&History::new(dir.cluster(), node, Role::Primary))?;
    Ok(node)
}

/// Founds the cluster's record in etcd from the data here, so that this node is primary when it is started. The epoch it
/// goes on from.
pub fn found_cluster(config: &Config, founding: Founding) -> Result<u32, FoundError> {
    let cluster = &config.cluster;
    if cluster.etcd.is_empty() {
        return Err(FoundError::NoCluster);
    }
    mark::admits(&config.server.data, &cluster.name)?;
    let dir = directory(config)?;
    if dir.epoch() != founding.epoch {
        return Err(FoundError::Epoch { found: dir.epoch(), asked: founding.epoch });
    }
    dir.is_whole()?;
    let node = record::name(node_of(&dir)?);
    let local = config.replication.acknowledge == Acknowledge::Local;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut etcd = Etcd::of(cluster);
        let keys = Keys::of(&cluster.name);
        let (revision, entries) = etcd.read(&keys.prefix).await?;
        let view = View::of(revision, &entries, &keys);
        let Some(record) = founded(&view, &keys, &founding, node, local)? else { return Ok(founding.epoch) };
        mark::join(&config.server.data, &dir, &cluster.name)?;
        let unchanged = [(keys.primary(), 0), view.unchanged_standing(&keys)];
        if !etcd.swap(&unchanged, &[record.put(keys.standing())]).await? {
            return Err(FoundError::Raced);
        }
        Ok(record.epoch)
    })
}

/// The record that is to stand in etcd; `None` if it stands there already.
fn founded(
    view: &View,
    keys: &Keys,
    founding: &Founding,
    node: String,
    local: bool,
) -> Result<Option<Standing>, FoundError> {
    if let Some((Primary { node, epoch, at, .. }, ..)) = view.primary.clone() {
        return Err(FoundError::Serving { node, epoch, http: at.http });
    }
    if let Some(odd) = view.odd(keys).and_then(|odd| odd.key().map(str::to_owned)) {
        return Err(FoundError::Odd { key: odd });
    }
    let recorded = view.standing.as_ref().map(|standing| standing.epoch);
    let epoch = founding.epoch.max(founding.above).max(recorded.unwrap_or(0));
    let record = Standing { epoch, node, local, in_sync: None, has: Vec::new() };
    match (&view.standing, founding.replace) {
        (Some(standing), _) if *standing == record => Ok(None),
        (None, None) => Ok(Some(record)),
        (Some(standing), Some(replace)) if standing.epoch == replace => Ok(Some(record)),
        (Some(Standing { epoch, node, in_sync, .. }), _) => {
            let (epoch, node, in_sync) = (*epoch, node.clone(), in_sync.clone());
            Err(FoundError::Recorded { epoch, node, in_sync })
        }
        (None, Some(replace)) => Err(FoundError::NotRecorded(replace)),
    }
}

/// Takes the data directory out of the cluster it has been in. Which one.
pub fn leave_cluster(config: &Config) -> Result<String, FoundError> {
    let dir = directory(config)?;
    Ok(mark::leave(&config.server.data, &dir)?)
}

#[cfg(test)]
mod tests {
    use super::super::etcd::Entry;
    use super::*;

    const ME: &str = "0000000000000002";

    fn view(entries: &[(&str, String)]) -> (View, Keys) {
        let keys = Keys::of("t");
        let entry = |(key, value): &(&str, String)| {
            let (key, value) = (format!("{}{key}", keys.prefix), value.as_bytes().to_vec());
            Entry { key, value, revision: 4, lease: 0 }
        };
        let entries: Vec<Entry> = entries.iter().map(entry).collect();
        (View::of(9, &entries, &keys), keys)
    }

    fn ask(
        entries: &[(&str, String)],
        replace: Option<u32>,
        above: u32,
    ) -> Result<Option<Standing>, FoundError> {
        let (view, keys) = view(entries);
        founded(&view, &keys, &Founding { epoch: 5, replace, above }, ME.into(), false)
    }

    #[test]
    fn a_record_is_founded_where_there_is_none_and_replaced_only_by_name() {
        let record = ask(&[], None, 0).unwrap().expect("founded");
        assert_eq!((record.epoch, record.node.as_str(), &record.in_sync), (5, ME, &None));
        assert_eq!(ask(&[], None, 100_000).unwrap().expect("founded").epoch, 100_000);
        assert!(matches!(ask(&[], Some(3), 0), Err(FoundError::NotRecorded(3))));
        let there =
            |epoch| ("standing", format!(r#"{{"epoch":{epoch},"node":"01","local":false,"in_sync":null}}"#));
        assert!(matches!(ask(&[there(7)], None, 0), Err(FoundError::Recorded { epoch: 7, .. })));
        assert!(matches!(ask(&[there(7)], Some(6), 0), Err(FoundError::Recorded { epoch: 7, .. })));
        assert_eq!(ask(&[there(7)], Some(7), 0).unwrap().expect("founded").epoch, 7, "above both");
        // Asked again, because the answer was lost.
        let mine = record::text(&record);
        assert!(ask(&[("standing", mine)], None, 0).unwrap().is_none());
    }

    #[test]
    fn nothing_is_founded_beside_a_primary_or_over_nonsense() {
        let primary = r#"{"node":"01","epoch":7,"serving":true,"tcp":"","http":"h:1","replication":""}"#;
        assert!(matches!(
            ask(&[("primary", primary.into())], None, 0),
            Err(FoundError::Serving { epoch: 7, .. })
        ));
        for key in ["primary", "standing"] {
            assert!(matches!(ask(&[(key, "nonsense".into())], None, 0), Err(FoundError::Odd { .. })));
        }
    }
}
