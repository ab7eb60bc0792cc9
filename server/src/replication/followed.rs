//! `FOLLOWED`, beside the log: whom this directory followed, so that whoever is promoted from it calls them, after any restart.
//!
//! ```text
//! frontrow-followed 1
//! node 0011223344556677
//! address 10.0.0.1:7411
//! crc32c 89abcdef
//! ```
//!
//! Whoever is followed takes the place of all before: it calls those itself. A promotion adds the address that was called last if
//! nobody was ever met there, with node 0.

use super::predecessor::Predecessor;
use frontrow_wal::{DataDir, NodeId, WalError, regular, sealed};
use std::fmt::Write;
use std::io::ErrorKind;
use std::path::Path;

const FILE: &str = "FOLLOWED";
const MAGIC: &str = "frontrow-followed 1";

/// Whom the directory at `data` followed, the latest first. Errors: what is wrong with the file, with what to do.
pub(crate) fn read(data: &Path) -> Result<Vec<Predecessor>, String> {
    let path = data.join(FILE);
    let why = match regular::read(&path).map(String::from_utf8) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        Ok(Ok(text)) => match decode(&text) {
            Some(found) => return Ok(found),
            None => "it is damaged".to_owned(),
        },
        Ok(Err(_)) => "it is not text".to_owned(),
        Err(error) => error.to_string(),
    };
    Err(format!(
        "{}, which says where the primary before is told that it is none any more, cannot be read ({why}): put it back from a copy of \
         this node, or remove it if that primary is gone for good",
        path.display()
    ))
}

/// The same for who serves all the same: nobody is called for a file that cannot be read, and it is told of.
pub(crate) fn to_call(data: &Path) -> Vec<Predecessor> {
    read(data).unwrap_or_else(|why| {
        tracing::error!(%why, "nobody is told of the epoch that is served in here");
        Vec::new()
    })
}

/// `of` is followed by `dir` from now on; durable on return.
pub(super) fn note(dir: &DataDir, of: Predecessor) -> Result<(), WalError> {
    let now = vec![of];
    if read(dir.view().path()).is_ok_and(|known| known == now) {
        return Ok(());
    }
    dir.note(FILE, encode(&now).as_bytes())
}

/// `dir` is promoted, and `address` was called last.
pub(super) fn add(dir: &DataDir, address: &str) -> Result<(), WalError> {
    let mut all = read(dir.view().path()).unwrap_or_default();
    if all.iter().any(|known| known.address == address) {
        return Ok(());
    }
    all.insert(0, Predecessor { address: address.to_owned(), node: 0 });
    dir.note(FILE, encode(&all).as_bytes())
}

fn encode(all: &[Predecessor]) -> String {
    let mut body = format!("{MAGIC}\n");
    for Predecessor { address, node } in all {
        // Writing into a string cannot fail.
        let _ = write!(body, "node {node:016x}\naddress {address}\n");
    }
    sealed(&body)
}

fn decode(text: &str) -> Option<Vec<Predecessor>> {
    let mut lines = text.lines();
    lines.next().filter(|line| *line == MAGIC)?;
    let mut all = Vec::new();
    while let Some(node) = lines.next().and_then(|line| line.strip_prefix("node ")) {
        let address = lines.next()?.strip_prefix("address ")?.to_owned();
        all.push(Predecessor { address, node: NodeId::from_str_radix(node, 16).ok()? });
    }
    // One spelling only: encoding again must give the same bytes, checksum and all.
    (encode(&all) == text && !all.is_empty()).then_some(all)
}

#[cfg(test)]
mod tests {
    use super::*;
    use frontrow_wal::DirOptions;

    #[test]
    fn whom_a_directory_followed_is_read_as_it_was_written_or_not_at_all() {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path();
        let dir = DataDir::open(data, DirOptions::new(2)).unwrap();
        assert_eq!(read(data), Ok(Vec::new()));
        let of = |address: &str, node| Predecessor { address: address.into(), node };
        note(&dir, of("a.example:7411", 77)).unwrap();
        note(&dir, of("b.example:7411", 78)).unwrap();
        assert_eq!(read(data), Ok(vec![of("b.example:7411", 78)]), "it calls the one before it");
        add(&dir, "b.example:7411").unwrap();
        add(&dir, "c.example:7411").unwrap();
        let all = vec![of("c.example:7411", 0), of("b.example:7411", 78)];
        assert_eq!(to_call(data), all);
        let text = encode(&all);
        for at in 0..text.len() {
            let mut bytes = text.clone().into_bytes();
            bytes[at] ^= 1;
            std::fs::write(data.join(FILE), &bytes).unwrap();
            assert!(read(data).is_err() && to_call(data).is_empty(), "{at}");
        }
        std::fs::write(data.join(FILE), encode(&[])).unwrap();
        assert!(read(data).is_err(), "whoever writes it names one");
    }
}
