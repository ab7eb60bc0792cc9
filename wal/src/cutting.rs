//! `CUTTING`: a cut that is under way, noted durably before it begins, with the places from which on streams are cut:
//!
//! ```text
//! frontrow-cutting 1
//! cluster 00112233445566778899aabbccddeeff
//! epoch 100000 stream 0 position 7536
//! crc32c 89abcdef
//! ```
//!
//! What is cut is written over with zeros. Power that is lost meanwhile leaves some of it, and that looks like damage: the
//! next start goes on with the cut instead ([`DataDir::erase_torn`]).

use crate::agreed::{Agreed, decode, encode};
use crate::dir::DataDir;
use crate::error::WalError;
use crate::format::Position;
use crate::fs::replace_file;
use crate::regular;

const CUTTING: &str = "CUTTING";
const MAGIC: &str = "frontrow-cutting";

impl DataDir {
    /// Removes what streams have behind a place of the epoch that lasts, by stream: for a standby that is about to be promoted,
    /// and lacks in another stream what that rests on. Nobody writes in the streams meanwhile.
    pub fn cut_streams(&self, cuts: &[(u16, (u32, Position))]) -> Result<(), WalError> {
        if cuts.is_empty() {
            return Ok(());
        }
        let places: Agreed = cuts.iter().map(|&(stream, (epoch, end))| ((epoch, stream), end)).collect();
        let text = encode(MAGIC, self.cluster(), &places);
        replace_file(&**self.disk(), self.path(), CUTTING, text.as_bytes())
            .map_err(WalError::io("cannot note a cut in", self.path()))?;
        self.make_cuts(&places)
    }

    /// Goes on with a cut that was under way.
    pub(crate) fn resume_cuts(&self) -> Result<(), WalError> {
        let path = self.path().join(CUTTING);
        let bytes = match regular::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(WalError::io("cannot read", &path)(error)),
        };
        let bad = |why: &str| WalError::BadCutting { path: path.clone(), why: why.into() };
        let (cluster, places) = decode(MAGIC, &bytes).map_err(bad)?;
        if cluster != self.cluster() {
            return Err(WalError::ForeignCluster { path, found: cluster, expected: self.cluster() });
        }
        self.make_cuts(&places)
    }

    fn make_cuts(&self, places: &Agreed) -> Result<(), WalError> {
        for (&(epoch, stream), &end) in places {
            self.cut_stream(stream, (epoch, end))?;
        }
        let path = self.path().join(CUTTING);
        self.disk().remove(&path).map_err(WalError::io("cannot remove", &path))?;
        self.disk().sync_dir(self.path()).map_err(WalError::io("cannot sync", self.path()))
    }
}
