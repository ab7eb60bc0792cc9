//! `TRIM`: up to where each stream's log was removed, in lines an operator can read.
//!
//! ```text
//! frontrow-trim 1
//! cluster 00112233445566778899aabbccddeeff
//! stream 0 epoch 5 segment 3 position 1234567 kept
//! stream 1 epoch 4 segment 9 position 7654321 none
//! crc32c 89abcdef
//! ```
//!
//! It is durable before any file it speaks of is removed. All of a stream before the place it names is
//! gone or may go; with `kept`, the segment at that place must exist; with `none`, it need not: the stream had no
//! more, or is a standby's.
//! The position is the first one not used up by what was removed.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::error::WalError;
use crate::format::{FORMAT_VERSION, Position};
use crate::fs::{Disk, replace_file};
use crate::manifest::Manifest;
use crate::regular;
use crate::sealed::sealed;

pub(crate) const TRIM: &str = "TRIM";
const MAGIC: &str = "frontrow-trim";
/// One line for each stream there can be, and then some.
const BYTES_MAX: usize = 8 << 20;

/// Where a stream begins since it was trimmed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Kept {
    pub(crate) epoch: u32,
    pub(crate) number: u32,
    pub(crate) position: Position,
    /// Whether that segment is there, or everything was removed.
    pub(crate) exists: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TrimMark {
    cluster: u128,
    streams: BTreeMap<u16, Kept>,
}

impl TrimMark {
    pub(crate) fn none(cluster: u128) -> Self {
        TrimMark { cluster, streams: BTreeMap::new() }
    }

    pub(crate) fn streams(&self) -> &BTreeMap<u16, Kept> {
        &self.streams
    }

    pub(crate) fn set(&mut self, stream: u16, kept: Kept) {
        self.streams.insert(stream, kept);
    }

    /// True if the stream's segment at that epoch and number was given up.
    pub(crate) fn is_trimmed(&self, stream: u16, place: (u32, u32)) -> bool {
        self.streams.get(&stream).is_some_and(|kept| place < (kept.epoch, kept.number))
    }

    /// The number an epoch's first segment must have.
    pub(crate) fn first_number(&self, stream: u16, epoch: u32) -> u32 {
        self.streams.get(&stream).filter(|kept| kept.epoch == epoch).map_or(0, |kept| kept.number)
    }

    /// The first position that what was removed did not use up.
    pub(crate) fn position(&self, stream: u16) -> Position {
        self.streams.get(&stream).map_or(0, |kept| kept.position)
    }

    /// The position in an epoch up to which all of the stream was removed; nothing of a later epoch was.
    pub(crate) fn up_to(&self, stream: u16, epoch: u32) -> Position {
        match self.streams.get(&stream) {
            Some(kept) if epoch < kept.epoch => Position::MAX,
            Some(kept) if epoch == kept.epoch => kept.position,
            _ => 0,
        }
    }

    /// The same for a log that another node has, or that may be cut: no segment need be there.
    pub(crate) fn without_files(mut self) -> Self {
        self.streams.values_mut().for_each(|kept| kept.exists = false);
        self
    }

    /// The mark in `dir`; one that says nothing if there is none.
    pub(crate) fn read(dir: &Path, manifest: &Manifest) -> Result<Self, WalError> {
        let path = dir.join(TRIM);
        let bytes = match regular::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Ok(TrimMark::none(manifest.cluster));
            }
            Err(error) => return Err(WalError::io("cannot read", &path)(error)),
        };
        TrimMark::decode(&bytes, &path)?.belonging(manifest, path)
    }

    /// Refuses a mark of another cluster, or of an epoch that is ahead of the manifest.
    pub(crate) fn belonging(self, manifest: &Manifest, path: PathBuf) -> Result<Self, WalError> {
        let mark = self;
        if mark.cluster != manifest.cluster {
            return Err(WalError::ForeignCluster { path, found: mark.cluster, expected: manifest.cluster });
        }
        match mark.streams.values().find(|kept| kept.epoch > manifest.epoch) {
            Some(kept) => Err(WalError::EpochAhead { path, found: kept.epoch, manifest: manifest.epoch }),
            None => Ok(mark),
        }
    }

    pub(crate) fn write(&self, disk: &dyn Disk, dir: &Path) -> Result<(), WalError> {
        replace_file(disk, dir, TRIM, self.encode().as_bytes())
            .map_err(WalError::io("cannot write the trim mark in", dir))
    }

    pub(crate) fn encode(&self) -> String {
        use std::fmt::Write;
        let mut body = format!("{MAGIC} {FORMAT_VERSION}\ncluster {:032x}\n", self.cluster);
        for (stream, Kept { epoch, number, position, exists }) in &self.streams {
            let rest = if *exists { "kept" } else { "none" };
            // Writing into a string cannot fail.
            let _ =
                writeln!(body, "stream {stream} epoch {epoch} segment {number} position {position} {rest}");
        }
        sealed(&body)
    }

    /// `path` is only named in errors.
    pub(crate) fn decode(bytes: &[u8], path: &Path) -> Result<Self, WalError> {
        let bad = |why: &str| WalError::BadTrimMark { path: path.into(), why: why.into() };
        if bytes.len() > BYTES_MAX {
            return Err(bad("it is too long"));
        }
        let text = std::str::from_utf8(bytes).map_err(|_| bad("it is not text"))?;
        let mut lines = text.lines();
        let mut field = |name: &str| lines.next().and_then(|line| line.strip_prefix(name)?.strip_prefix(' '));
        let version = field(MAGIC).ok_or_else(|| bad("it does not begin with its name"))?;
        let version: u32 = version.parse().map_err(|_| bad("its version is not a number"))?;
        if version != FORMAT_VERSION {
            let path = path.into();
            return Err(WalError::ManifestVersion { path, found: version, expected: FORMAT_VERSION });
        }
        let cluster = field("cluster").and_then(|hex| u128::from_str_radix(hex, 16).ok());
        let mut mark = TrimMark::none(cluster.ok_or_else(|| bad("the line 'cluster' is missing"))?);
        for line in lines.take_while(|line| line.starts_with("stream ")) {
            let (stream, kept) = parse_line(line).ok_or_else(|| bad("a line of a stream does not parse"))?;
            mark.set(stream, kept);
        }
        // One spelling only: encoding again must give the same bytes, checksum and all.
        if mark.encode() == text { Ok(mark) } else { Err(bad("its checksum does not match")) }
    }
}

fn parse_line(line: &str) -> Option<(u16, Kept)> {
    let words: Vec<&str> = line.split(' ').collect();
    let ["stream", stream, "epoch", epoch, "segment", number, "position", position, rest] = words[..] else {
        return None;
    };
    let (epoch, number) = (epoch.parse().ok()?, number.parse().ok()?);
    let kept = Kept { epoch, number, position: position.parse().ok()?, exists: rest == "kept" };
    Some((stream.parse().ok()?, kept))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_flipped_bit_is_refused() {
        let mut good = TrimMark::none(0xfeed);
        good.set(0, Kept { epoch: 5, number: 3, position: 1_234_567, exists: true });
        good.set(7, Kept { epoch: 4, number: 9, position: 7_654_321, exists: false });
        let (bytes, path) = (good.encode().into_bytes(), Path::new(TRIM));
        assert_eq!(TrimMark::decode(&bytes, path).unwrap(), good);
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(TrimMark::decode(&flipped, path).is_err(), "bit {bit}");
        }
        for cut in 0..bytes.len() {
            assert!(TrimMark::decode(&bytes[..cut], path).is_err(), "cut at {cut}");
        }
    }

    #[test]
    fn it_says_what_is_gone_and_where_an_epoch_begins() {
        let mut mark = TrimMark::none(1);
        mark.set(2, Kept { epoch: 5, number: 3, position: 77, exists: true });
        assert!(mark.is_trimmed(2, (4, 9)) && mark.is_trimmed(2, (5, 2)) && !mark.is_trimmed(2, (5, 3)));
        assert!(!mark.is_trimmed(1, (1, 0)));
        assert_eq!((mark.first_number(2, 5), mark.first_number(2, 6), mark.first_number(1, 5)), (3, 0, 0));
        assert_eq!((mark.position(2), mark.position(1)), (77, 0));
    }
}
