//! `HISTORY`: which node opened which epoch, and where each epoch ended in each stream.
//!
//! ```text
//! frontrow-history 1
//! cluster 00112233445566778899aabbccddeeff
//! node 8c1f0e55a3b2d907
//! role primary
//! alone no
//! epoch 1 node 8c1f0e55a3b2d907
//! end stream 0 position 81234
//! epoch 2 node 8c1f0e55a3b2d907
//! crc32c 89abcdef
//! ```
//!
//! Two nodes that have been apart compare their histories to find where they parted; see
//! `docs/replication.md`. It is durable before anything of the epoch it opens is written.

use std::collections::BTreeMap;
use std::path::Path;

use crate::error::WalError;
use crate::format::{FORMAT_VERSION, Position};
use crate::fs::{Disk, replace_file};
use crate::regular;
use crate::sealed::sealed;

pub(crate) const HISTORY: &str = "HISTORY";
const MAGIC: &str = "frontrow-history";
/// An epoch is a line, and one more for each stream.
const BYTES_MAX: usize = 64 << 20;

/// A node's name: drawn at random for each data directory.
pub type NodeId = u64;

/// What a data directory may be used for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// It may be served from.
    Primary,
    /// It follows a primary; it must be promoted before it is served from.
    Standby,
}

/// One epoch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EpochEntry {
    /// Its number.
    pub epoch: u32,
    /// Who opened it; 0 if that was before there was a history.
    pub node: NodeId,
    /// By stream, the position behind its last good record. Empty while the epoch lasts.
    pub ends: BTreeMap<u16, Position>,
}

/// All epochs a node knows, oldest first, and what the node is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct History {
    /// The cluster.
    pub cluster: u128,
    /// This node.
    pub node: NodeId,
    /// What its directory may be used for.
    pub role: Role,
    /// Whether an operator has decided that answers do not wait for a backup.
    pub alone: bool,
    /// Oldest first.
    pub epochs: Vec<EpochEntry>,
}

impl History {
    /// The history of a node that knows no epoch.
    pub fn new(cluster: u128, node: NodeId, role: Role) -> Self {
        History { cluster, node, role, alone: false, epochs: Vec::new() }
    }

    /// The last epoch; 0 if there is none.
    pub fn epoch(&self) -> u32 {
        self.epochs.last().map_or(0, |entry| entry.epoch)
    }

    /// The entry of an epoch.
    pub fn entry(&self, epoch: u32) -> Option<&EpochEntry> {
        self.epochs.binary_search_by_key(&epoch, |entry| entry.epoch).ok().map(|at| &self.epochs[at])
    }

    /// Where an epoch ended in a stream; `None` if it lasts. 0 if it wrote nothing there.
    pub fn end(&self, epoch: u32, stream: u16) -> Option<Position> {
        let at = self.epochs.binary_search_by_key(&epoch, |entry| entry.epoch).ok()?;
        let lasts = at + 1 == self.epochs.len();
        (!lasts).then(|| self.epochs[at].ends.get(&stream).copied().unwrap_or(0))
    }

    /// Takes another node's epochs over as the truth; node, role and mode stay.
    pub fn adopt(&mut self, epochs: &[EpochEntry]) {
        self.epochs = epochs.to_vec();
    }

    /// True if the epochs are in order, none twice, and none but the last lasts without a word on how it
    /// ended is required: an epoch may have written nothing.
    pub(crate) fn in_order(epochs: &[EpochEntry]) -> bool {
        epochs.windows(2).all(|pair| pair[0].epoch < pair[1].epoch)
            && epochs.first().is_none_or(|first| first.epoch > 0)
            && epochs.last().is_none_or(|last| last.ends.is_empty())
    }

    /// The history in `dir`; `None` if there is none yet.
    pub(crate) fn read(dir: &Path, cluster: u128) -> Result<Option<Self>, WalError> {
        let path = dir.join(HISTORY);
        let bytes = match regular::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(WalError::io("cannot read", &path)(error)),
        };
        let history = History::decode(&bytes, &path)?;
        if history.cluster != cluster {
            return Err(WalError::ForeignCluster { path, found: history.cluster, expected: cluster });
        }
        Ok(Some(history))
    }

    /// A standby's directory is not served from before it was promoted.
    pub(crate) fn refuse_standby(dir: &Path, cluster: u128) -> Result<(), WalError> {
        match History::read(dir, cluster)? {
            Some(history) if history.role == Role::Standby => Err(WalError::IsStandby { path: dir.into() }),
            _ => Ok(()),
        }
    }

    pub(crate) fn write(&self, disk: &dyn Disk, dir: &Path) -> Result<(), WalError> {
        replace_file(disk, dir, HISTORY, self.encode().as_bytes())
            .map_err(WalError::io("cannot write the history in", dir))
    }

    pub(crate) fn encode(&self) -> String {
        use std::fmt::Write;
        let History { cluster, node, .. } = self;
        let role = if self.role == Role::Primary { "primary" } else { "standby" };
        let alone = if self.alone { "yes" } else { "no" };
        let mut body = format!(
            "{MAGIC} {FORMAT_VERSION}\ncluster {cluster:032x}\nnode {node:016x}\nrole {role}\nalone {alone}\n"
        );
        // Writing into a string cannot fail.
        for entry in &self.epochs {
            let _ = writeln!(body, "epoch {} node {:016x}", entry.epoch, entry.node);
            for (stream, position) in &entry.ends {
                let _ = writeln!(body, "end stream {stream} position {position}");
            }
        }
        sealed(&body)
    }

    /// `path` is only named in errors.
    pub(crate) fn decode(bytes: &[u8], path: &Path) -> Result<Self, WalError> {
        let bad = |why: &str| WalError::BadHistory { path: path.into(), why: why.into() };
        if bytes.len() > BYTES_MAX {
            return Err(bad("it is too long"));
        }
        let text = std::str::from_utf8(bytes).map_err(|_| bad("it is not text"))?;
        let mut lines = text.lines();
        let mut field = |name: &str| {
            let value = lines.next().and_then(|line| line.strip_prefix(name)?.strip_prefix(' '));
            value.ok_or_else(|| bad(&format!("the line '{name}' is missing")))
        };
        let version: u32 = field(MAGIC)?.parse().map_err(|_| bad("its version is not a number"))?;
        if version != FORMAT_VERSION {
            let path = path.into();
            return Err(WalError::ManifestVersion { path, found: version, expected: FORMAT_VERSION });
        }
        let hex = |_| bad("a value is not a number");
        let mut history = History {
            cluster: u128::from_str_radix(field("cluster")?, 16).map_err(hex)?,
            node: u64::from_str_radix(field("node")?, 16).map_err(hex)?,
            role: if field("role")? == "primary" { Role::Primary } else { Role::Standby },
            alone: field("alone")? == "yes",
            epochs: Vec::new(),
        };
        for line in lines.take_while(|line| !line.starts_with("crc32c ")) {
            take_line(&mut history.epochs, line).ok_or_else(|| bad("a line of an epoch does not parse"))?;
        }
        // One spelling only: encoding again must give the same bytes, checksum and all.
        if history.encode() != text {
            return Err(bad("its checksum does not match"));
        }
        if !History::in_order(&history.epochs) {
            return Err(bad("its epochs are not in order"));
        }
        Ok(history)
    }
}

fn take_line(epochs: &mut Vec<EpochEntry>, line: &str) -> Option<()> {
    let words: Vec<&str> = line.split(' ').collect();
    match words[..] {
        ["epoch", epoch, "node", node] => epochs.push(EpochEntry {
            epoch: epoch.parse().ok()?,
            node: u64::from_str_radix(node, 16).ok()?,
            ends: BTreeMap::new(),
        }),
        ["end", "stream", stream, "position", position] => {
            epochs.last_mut()?.ends.insert(stream.parse().ok()?, position.parse().ok()?);
        }
        _ => return None,
    }
    Some(())
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn sample() -> History {
        let mut history = History::new(0xfeed, 7, Role::Primary);
        let ends = BTreeMap::from([(0, 81_234), (3, 90_112)]);
        history.epochs.push(EpochEntry { epoch: 2, node: 7, ends });
        history.epochs.push(EpochEntry { epoch: 100_000, node: 9, ends: BTreeMap::new() });
        history
    }

    #[test]
    fn any_flipped_bit_is_refused() {
        let good = sample();
        let (bytes, path) = (good.encode().into_bytes(), Path::new(HISTORY));
        assert_eq!(History::decode(&bytes, path).unwrap(), good);
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(History::decode(&flipped, path).is_err(), "bit {bit}");
        }
        for cut in 0..bytes.len() {
            assert!(History::decode(&bytes[..cut], path).is_err(), "cut at {cut}");
        }
    }

    #[test]
    fn an_epoch_ends_where_it_says_and_the_last_one_lasts() {
        let history = sample();
        assert_eq!(history.end(2, 3), Some(90_112));
        assert_eq!(history.end(2, 1), Some(0));
        assert_eq!(history.end(100_000, 0), None);
        assert_eq!(history.end(5, 0), None);
    }
}
