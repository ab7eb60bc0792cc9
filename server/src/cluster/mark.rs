//! `CLUSTER`, beside the log: in which cluster of etcd's this data directory serves or follows. What is in it may be sold by
//! another node at any time, so it is served from in that cluster only, until an operator takes it out.
//!
//! ```text
//! frontrow-cluster 1
//! cluster 00112233445566778899aabbccddeeff
//! member yes
//! name main
//! crc32c 89abcdef
//! ```
//!
//! It is durable before the directory follows or serves in the cluster for the first time. A directory without it was
//! made before there were marks, or has never been in a cluster. Both nodes' marks have the same bytes.

use frontrow_wal::{DataDir, WalError, regular, sealed};
use std::path::{Path, PathBuf};

/// Its name in the data directory.
const FILE: &str = "CLUSTER";
const MAGIC: &str = "frontrow-cluster 1";

/// Why a data directory may not be used like this. Each message names the remedy.
#[derive(Debug, thiserror::Error)]
pub enum MarkError {
    /// It is a member of a cluster, and the configuration has none.
    #[error(
        "the data in {} belongs to cluster `{name}`, of which another node may sell the same seats, and the configuration has \
         no cluster: give --config with its [cluster] settings, and run `frontrow serve`. To take it out of the cluster for \
         good: `frontrow cluster leave --data {}`", .path.display(), .path.display()
    )]
    Member {
        /// The data directory.
        path: PathBuf,
        /// Its cluster.
        name: String,
    },
    /// It is a member of another cluster than the configuration's.
    #[error(
        "the data in {} belongs to cluster `{name}`, and cluster.name is `{configured}`: correct it. To take the data out of \
         `{name}` for good: `frontrow cluster leave --data {}`", .path.display(), .path.display()
    )]
    Other {
        /// The data directory.
        path: PathBuf,
        /// Its cluster.
        name: String,
        /// What the configuration says.
        configured: String,
    },
    /// It is in none.
    #[error("the data in {} is in no cluster: there is nothing to leave", .path.display())]
    NoMember {
        /// The data directory.
        path: PathBuf,
    },
    /// The mark cannot be believed.
    #[error(
        "{} does not say in which cluster this data is ({why}): copy the file from the other node's data directory", .path.display()
    )]
    Bad {
        /// The mark.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// The directory.
    #[error(transparent)]
    Log(#[from] WalError),
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Mark {
    /// The log's own id.
    id: u128,
    name: String,
    /// `false`: an operator took it out.
    member: bool,
}

impl Mark {
    fn encode(&self) -> String {
        let Self { id, name, member } = self;
        let member = if *member { "yes" } else { "no" };
        let body = format!("{MAGIC}\ncluster {id:032x}\nmember {member}\nname {name}\n");
        sealed(&body)
    }

    fn decode(text: &str) -> Option<Self> {
        let mut lines = text.lines();
        lines.next().filter(|line| *line == MAGIC)?;
        let id = u128::from_str_radix(lines.next()?.strip_prefix("cluster ")?, 16).ok()?;
        let member = lines.next()? == "member yes";
        let name = lines.next()?.strip_prefix("name ")?.to_owned();
        let mark = Self { id, name, member };
        // One spelling only: encoding again must give the same bytes, checksum and all.
        (mark.encode() == text).then_some(mark)
    }

    /// The mark of the data directory at `path`; `None` if it has none, or is none yet.
    fn peek(path: &Path) -> Result<Option<Self>, MarkError> {
        DataDir::peek(path)?.map_or(Ok(None), |found| Self::read(path, found.cluster))
    }

    /// The same of one whose log has this id.
    fn read(path: &Path, id: u128) -> Result<Option<Self>, MarkError> {
        let bad = |why: &str| MarkError::Bad { path: path.join(FILE), why: why.to_owned() };
        let bytes = match regular::read(&path.join(FILE)) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(bad(&format!("it cannot be read: {error}"))),
        };
        let text = std::str::from_utf8(&bytes).map_err(|_| bad("it is not text"))?;
        let mark = Self::decode(text).ok_or_else(|| bad("it is damaged"))?;
        if mark.id != id {
            return Err(bad("it is of another installation"));
        }
        Ok(Some(mark))
    }
}

/// Whether a data directory may be used without a cluster.
pub(crate) fn is_free(path: &Path) -> Result<(), MarkError> {
    match Mark::peek(path)? {
        Some(Mark { name, member: true, .. }) => Err(MarkError::Member { path: path.into(), name }),
        _ => Ok(()),
    }
}

/// Whether a data directory may be used in this cluster, and whether it has ever been in one.
pub(crate) fn admits(path: &Path, configured: &str) -> Result<bool, MarkError> {
    match Mark::peek(path)? {
        Some(Mark { name, member: true, .. }) if name != configured => {
            let configured = configured.to_owned();
            Err(MarkError::Other { path: path.into(), name, configured })
        }
        mark => Ok(mark.is_some()),
    }
}

/// Marks a directory as this cluster's; durable on return.
pub(crate) fn join(path: &Path, dir: &DataDir, name: &str) -> Result<(), MarkError> {
    let mark = Mark { id: dir.cluster(), name: name.to_owned(), member: true };
    if Mark::read(path, mark.id)?.as_ref() == Some(&mark) {
        return Ok(());
    }
    Ok(dir.note(FILE, mark.encode().as_bytes())?)
}

/// Takes a directory out of its cluster; durable on return. Which one it was.
pub(super) fn leave(path: &Path, dir: &DataDir) -> Result<String, MarkError> {
    match Mark::read(path, dir.cluster())? {
        Some(mark) if mark.member => {
            let left = Mark { member: false, ..mark };
            dir.note(FILE, left.encode().as_bytes())?;
            Ok(left.name)
        }
        _ => Err(MarkError::NoMember { path: path.into() }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use frontrow_wal::DirOptions;

    fn directory(path: &Path) -> DataDir {
        DataDir::attend(path, DirOptions::new(4), 1).unwrap()
    }

    #[test]
    fn a_member_is_used_in_its_cluster_only_until_it_is_taken_out() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path();
        assert!(is_free(path).is_ok() && !admits(path, "t").unwrap(), "there is nothing yet");
        let dir = directory(path);
        assert!(is_free(path).is_ok() && !admits(path, "t").unwrap(), "made before there were marks");
        assert!(matches!(leave(path, &dir), Err(MarkError::NoMember { .. })));
        join(path, &dir, "t").unwrap();
        join(path, &dir, "t").unwrap();
        assert!(admits(path, "t").unwrap());
        let free = is_free(path).unwrap_err().to_string();
        assert!(
            free.contains("`t`") && free.contains("--config") && free.contains("cluster leave"),
            "{free}"
        );
        let other = admits(path, "tt").unwrap_err().to_string();
        assert!(other.contains("`t`") && other.contains("`tt`"), "{other}");
        assert_eq!(leave(path, &dir).unwrap(), "t");
        assert!(is_free(path).is_ok() && admits(path, "tt").unwrap(), "it is remembered that it was in one");
        join(path, &dir, "tt").unwrap();
        assert!(is_free(path).is_err());
    }

    #[test]
    fn any_flipped_bit_of_the_mark_is_refused_and_so_is_another_installations() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path();
        let dir = directory(path);
        join(path, &dir, "main").unwrap();
        let bytes = std::fs::read(path.join(FILE)).unwrap();
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            std::fs::write(path.join(FILE), &flipped).unwrap();
            assert!(matches!(is_free(path), Err(MarkError::Bad { .. })), "bit {bit}");
        }
        let foreign = Mark { id: 7, name: "main".into(), member: true };
        std::fs::write(path.join(FILE), foreign.encode()).unwrap();
        assert!(matches!(admits(path, "main"), Err(MarkError::Bad { .. })));
    }
}
