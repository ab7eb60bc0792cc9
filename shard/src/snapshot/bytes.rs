//! Numbers to bytes and back, in parts that know their length.

use crate::snapshot::SnapshotError;
use std::io;

/// Bytes that are collected before they are handed on.
const PIECE: usize = 1 << 16;

/// Writes a snapshot, piece by piece, so that it is never in memory twice.
pub(crate) struct Writer<'a> {
    /// Where the bytes go; without it they are only counted.
    out: Option<&'a mut dyn io::Write>,
    piece: Vec<u8>,
    handed_on: u64,
    /// The first failure; nothing is written after it.
    failed: Option<io::Error>,
}

impl<'a> Writer<'a> {
    pub(crate) fn to(out: &'a mut dyn io::Write) -> Self {
        Self { out: Some(out), ..Self::counting() }
    }

    fn counting() -> Self {
        Self { out: None, piece: Vec::with_capacity(PIECE + 256), handed_on: 0, failed: None }
    }

    /// Writes a part: its tag, its length, and what `body` writes. That is done twice, for the length stands first.
    pub(crate) fn part(&mut self, tag: u32, body: impl Fn(&mut Writer<'_>)) {
        let mut counted = Writer::counting();
        body(&mut counted);
        self.u32(tag);
        self.u64(counted.handed_on + counted.piece.len() as u64);
        body(self);
    }

    /// Hands on what is left, and says whether all of it could be written.
    pub(crate) fn finish(mut self) -> io::Result<()> {
        self.hand_on();
        self.failed.map_or(Ok(()), Err)
    }

    fn hand_on(&mut self) {
        if let (Some(out), None) = (&mut self.out, &self.failed) {
            self.failed = out.write_all(&self.piece).err();
        }
        self.handed_on += self.piece.len() as u64;
        self.piece.clear();
    }

    pub(crate) fn bytes(&mut self, bytes: &[u8]) {
        self.piece.extend_from_slice(bytes);
        if self.piece.len() >= PIECE {
            self.hand_on();
        }
    }

    pub(crate) fn u8(&mut self, n: u8) {
        self.bytes(&[n]);
    }
    pub(crate) fn bool(&mut self, n: bool) {
        self.u8(u8::from(n));
    }
    pub(crate) fn u16(&mut self, n: u16) {
        self.bytes(&n.to_le_bytes());
    }
    pub(crate) fn u32(&mut self, n: u32) {
        self.bytes(&n.to_le_bytes());
    }
    pub(crate) fn u64(&mut self, n: u64) {
        self.bytes(&n.to_le_bytes());
    }
    pub(crate) fn u128(&mut self, n: u128) {
        self.bytes(&n.to_le_bytes());
    }
}

/// Reads a snapshot's part, and says which it was if it cannot be read.
pub(crate) struct Reader<'a> {
    left: &'a [u8],
    part: &'static str,
}

impl<'a> Reader<'a> {
    pub(crate) fn new(bytes: &'a [u8], part: &'static str) -> Self {
        Self { left: bytes, part }
    }

    /// The next part, which must have this tag.
    pub(crate) fn part(&mut self, tag: u32, name: &'static str) -> Result<Self, SnapshotError> {
        let mut head = Self { left: self.left, part: name };
        let found = head.u32()?;
        head.check(found == tag, "another part stands in its place")?;
        let length = head.u64()?;
        let length = usize::try_from(length).map_err(|_| SnapshotError::Truncated { part: name })?;
        let body = head.take(length)?;
        self.left = head.left;
        Ok(Self { left: body, part: name })
    }

    /// Everything must have been read.
    pub(crate) fn finish(&self) -> Result<(), SnapshotError> {
        self.check(self.left.is_empty(), "it is longer than what it says")
    }

    /// An error that names this part, unless `good`.
    pub(crate) fn check(&self, good: bool, what: &'static str) -> Result<(), SnapshotError> {
        if good { Ok(()) } else { Err(self.inconsistent(what)) }
    }

    /// An error that names this part.
    pub(crate) fn inconsistent(&self, what: &'static str) -> SnapshotError {
        SnapshotError::Inconsistent { part: self.part, what }
    }

    pub(crate) fn take(&mut self, bytes: usize) -> Result<&'a [u8], SnapshotError> {
        let (taken, left) =
            self.left.split_at_checked(bytes).ok_or(SnapshotError::Truncated { part: self.part })?;
        self.left = left;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], SnapshotError> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(N)?);
        Ok(array)
    }

    /// How many of something follow, each of at least `least` bytes: no more than there are bytes for.
    pub(crate) fn count(&mut self, least: usize) -> Result<usize, SnapshotError> {
        let count = self.u32()? as usize;
        if count > self.left.len() / least {
            return Err(SnapshotError::Truncated { part: self.part });
        }
        Ok(count)
    }

    /// A number that stands for one of a few things.
    pub(crate) fn choice<T: Copy>(&mut self, all: &[T], what: &'static str) -> Result<T, SnapshotError> {
        let found = all.get(usize::from(self.u8()?)).copied();
        found.ok_or_else(|| self.inconsistent(what))
    }

    pub(crate) fn u8(&mut self) -> Result<u8, SnapshotError> {
        Ok(self.array::<1>()?[0])
    }
    pub(crate) fn bool(&mut self) -> Result<bool, SnapshotError> {
        self.choice(&[false, true], "neither yes nor no")
    }
    pub(crate) fn u16(&mut self) -> Result<u16, SnapshotError> {
        self.array().map(u16::from_le_bytes)
    }
    pub(crate) fn u32(&mut self) -> Result<u32, SnapshotError> {
        self.array().map(u32::from_le_bytes)
    }
    pub(crate) fn u64(&mut self) -> Result<u64, SnapshotError> {
        self.array().map(u64::from_le_bytes)
    }
    pub(crate) fn u128(&mut self) -> Result<u128, SnapshotError> {
        self.array().map(u128::from_le_bytes)
    }
}
