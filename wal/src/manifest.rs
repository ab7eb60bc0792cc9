//! The `MANIFEST`: what a data directory is, in a few lines an operator can read.
//!
//! ```text
//! frontrow-log 1
//! cluster 00112233445566778899aabbccddeeff
//! partitions 64
//! created_ms 1700000000000
//! epoch 3
//! crc32c 89abcdef
//! ```

use std::path::Path;

use crate::error::WalError;
use crate::format::FORMAT_VERSION;
use crate::regular;
use crate::sealed::sealed;

pub(crate) const MANIFEST: &str = "MANIFEST";
const MAGIC: &str = "frontrow-log";
/// A manifest is a few lines; anything longer is another file.
const BYTES_MAX: usize = 4096;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Manifest {
    pub(crate) cluster: u128,
    pub(crate) partitions: u16,
    pub(crate) created_ms: u64,
    pub(crate) epoch: u32,
}

impl Manifest {
    pub(crate) fn encode(&self) -> String {
        let Manifest { cluster, partitions, created_ms, epoch } = self;
        let body = format!(
            "{MAGIC} {FORMAT_VERSION}\ncluster {cluster:032x}\npartitions {partitions}\ncreated_ms {created_ms}\nepoch {epoch}\n"
        );
        sealed(&body)
    }

    /// Three states: never written (`None`), good, and unreadable (an error).
    pub(crate) fn read(path: &Path) -> Result<Option<Self>, WalError> {
        match regular::read(path) {
            Ok(bytes) => Manifest::decode(&bytes, path).map(Some),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(WalError::io("cannot read", path)(error)),
        }
    }

    /// `path` is only named in errors.
    pub(crate) fn decode(bytes: &[u8], path: &Path) -> Result<Self, WalError> {
        let bad = |why: &str| WalError::BadManifest { path: path.into(), why: why.into() };
        if bytes.len() > BYTES_MAX {
            return Err(bad("it is too long"));
        }
        let text = std::str::from_utf8(bytes).map_err(|_| bad("it is not text"))?;
        let mut lines = text.lines();
        let mut field = |name: &str| {
            let value = lines.next().and_then(|line| line.strip_prefix(name)?.strip_prefix(' '));
            value.ok_or_else(|| bad(&format!("the line '{name}' is missing")))
        };
        // The version comes first: what follows it may look different in another version.
        let version: u32 = field(MAGIC)?.parse().map_err(|_| bad("its version is not a number"))?;
        if version != FORMAT_VERSION {
            return Err(WalError::ManifestVersion {
                path: path.into(),
                found: version,
                expected: FORMAT_VERSION,
            });
        }
        let number = |_| bad("a value is not a number");
        let manifest = Manifest {
            cluster: u128::from_str_radix(field("cluster")?, 16).map_err(number)?,
            partitions: field("partitions")?.parse().map_err(number)?,
            created_ms: field("created_ms")?.parse().map_err(number)?,
            epoch: field("epoch")?.parse().map_err(number)?,
        };
        // One spelling only: encoding again must give the same bytes, checksum and all.
        if manifest.encode() != text {
            return Err(bad("its checksum does not match"));
        }
        if manifest.epoch == 0 {
            return Err(bad("its epoch is 0"));
        }
        Ok(manifest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_flipped_bit_is_refused() {
        let good = Manifest { cluster: 0xfeed, partitions: 64, created_ms: 17, epoch: 3 };
        let bytes = good.encode().into_bytes();
        let path = Path::new("MANIFEST");
        assert_eq!(Manifest::decode(&bytes, path).unwrap(), good);
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(Manifest::decode(&flipped, path).is_err(), "bit {bit}");
        }
        for cut in 0..bytes.len() {
            assert!(Manifest::decode(&bytes[..cut], path).is_err(), "cut at {cut}");
        }
    }
}
