//! `AGREED`: how far two nodes have had each stream durable. Answers left on that, so it is never cut silently.
//!
//! ```text
//! frontrow-agreed 1
//! cluster 00112233445566778899aabbccddeeff
//! epoch 1 stream 0 position 81234
//! epoch 2 stream 0 position 90112
//! crc32c 89abcdef
//! ```
//!
//! Both nodes write it now and then, at a session's end and at a clean stop, so it is behind the truth and never ahead
//! of it. Whoever opens an epoch, or takes another node's history over, must have all that it names
//! ([`DataDir::open_epoch`], [`DataDir::follow_history`]); an operator who accepts the loss takes it away
//! ([`DataDir::accept_loss`]).

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::dir::DataDir;
use crate::error::WalError;
use crate::format::{FORMAT_VERSION, Position};
use crate::fs::{create_dir_durably, replace_file};
use crate::history::{History, Role};
use crate::regular;
use crate::sealed::sealed;
use crate::standby::{CUT, end_of};
use crate::view::{DirView, SegmentInfo};

pub(crate) const AGREED: &str = "AGREED";
const MAGIC: &str = "frontrow-agreed";
/// One line for each stream of each epoch.
const BYTES_MAX: usize = 64 << 20;

/// By (epoch, stream), the position up to which both nodes had it.
pub type Agreed = BTreeMap<(u32, u16), Position>;

/// The first place of which less is here, or in a history, than both nodes had.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Lack {
    pub(crate) epoch: u32,
    pub(crate) stream: u16,
    pub(crate) own: Position,
    pub(crate) agreed: Position,
}

impl History {
    /// What two nodes agree on in a stream of which one is at `have` and this history's is durable up to `durable` in
    /// the epoch under way.
    pub fn agreed(&self, stream: u16, have: (u32, Position), durable: Position) -> Agreed {
        let until = |epoch| self.end(epoch, stream).unwrap_or(durable);
        let own = self.epochs.iter().map(|entry| entry.epoch).filter(|epoch| *epoch <= have.0);
        let place = |epoch| {
            let end = if epoch == have.0 { until(epoch).min(have.1) } else { until(epoch) };
            ((epoch, stream), end)
        };
        own.map(place).filter(|(_, end)| *end > 0).collect()
    }
}

/// The first place at which `end` is less than what both nodes had.
pub(crate) fn lack(agreed: &Agreed, end: impl Fn(u32, u16) -> Position) -> Option<Lack> {
    let one = |(&(epoch, stream), &agreed): (&(u32, u16), &Position)| {
        let own = end(epoch, stream);
        (own < agreed).then_some(Lack { epoch, stream, own, agreed })
    };
    agreed.iter().find_map(one)
}

impl Lack {
    pub(crate) fn here(self, path: &Path) -> WalError {
        let Lack { epoch, stream, own, agreed } = self;
        WalError::LacksAgreed { path: path.into(), epoch, stream, own, agreed }
    }

    pub(crate) fn there(self, path: &Path) -> WalError {
        let Lack { epoch, stream, own, agreed } = self;
        WalError::PrimaryLacksAgreed { path: path.into(), epoch, stream, end: own, agreed }
    }
}

impl DataDir {
    /// Notes durably what both nodes have; what was noted before stays. Writes nothing if there is no news.
    pub fn agree(&self, places: &Agreed) -> Result<(), WalError> {
        let _one_at_a_time = self.agreeing();
        let old = self.view().agreed()?;
        let mut all = old.clone();
        for (place, position) in places {
            let so_far = all.entry(*place).or_insert(0);
            *so_far = (*so_far).max(*position);
        }
        if all == old {
            return Ok(());
        }
        let text = encode(MAGIC, self.cluster(), &all);
        replace_file(&**self.disk(), self.path(), AGREED, text.as_bytes())
            .map_err(WalError::io("cannot write what both nodes have in", self.path()))
    }

    /// For an operator who accepts that what both nodes had, or an epoch's end, is given up: it is not asked for any more.
    /// The note itself is kept in `cut/`; where it is now, if there was any. A history that is lost is begun anew, in the
    /// name of a new node.
    pub fn accept_loss(&self) -> Result<Option<PathBuf>, WalError> {
        let _one_at_a_time = self.agreeing();
        match self.history()? {
            None => {
                self.write_history(&History::new(self.cluster(), crate::dir::new_node()?, Role::Primary))?;
            }
            Some(history) if history.role == Role::Primary => self.accept_ends(history)?,
            Some(_) => {}
        }
        let (path, folder) = (self.path().join(AGREED), self.path().join(CUT));
        if !path.exists() {
            return Ok(None);
        }
        create_dir_durably(&**self.disk(), &folder).map_err(WalError::io("cannot create", &folder))?;
        let aside = (1..=u32::MAX).map(|n| folder.join(format!("{AGREED}-{n:04}")));
        let aside = aside.into_iter().find(|aside| !aside.exists());
        let aside = aside.unwrap_or_else(|| folder.join(AGREED));
        self.disk().rename(&path, &aside).map_err(WalError::io("cannot move", &path))?;
        for dir in [&folder, self.path()] {
            self.disk().sync_dir(dir).map_err(WalError::io("cannot sync", dir))?;
        }
        Ok(Some(aside))
    }
}

impl DataDir {
    /// Notes as an epoch's end how far it can be read, wherever that is less than the history says. What later records
    /// rest on cannot be given up: [`WalError::LossInside`], and nothing is changed.
    fn accept_ends(&self, mut history: History) -> Result<(), WalError> {
        let (ends, mark) = (self.ends(|_| true)?, self.view().mark()?);
        let last = ends.keys().map(|(epoch, _)| *epoch).max().unwrap_or(0);
        let mut is_less = false;
        for entry in &mut history.epochs {
            let epoch = entry.epoch;
            for (&stream, end) in &mut entry.ends {
                let own = ends.get(&(epoch, stream)).map_or(0, |own| own.position);
                let own = own.max(mark.up_to(stream, epoch));
                if own < *end && epoch < last {
                    return Err(WalError::LossInside {
                        path: self.path().into(),
                        epoch,
                        stream,
                        later: last,
                    });
                }
                is_less |= own < *end;
                *end = own.min(*end);
            }
        }
        if is_less { self.write_history(&history) } else { Ok(()) }
    }
}

impl DirView {
    /// What both nodes are known to have had; empty if nothing is.
    pub fn agreed(&self) -> Result<Agreed, WalError> {
        let path = self.path().join(AGREED);
        let bytes = match regular::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Agreed::new()),
            Err(error) => return Err(WalError::io("cannot read", &path)(error)),
        };
        let (cluster, agreed) = decode(MAGIC, &bytes)
            .map_err(|why| WalError::BadAgreed { path: path.clone(), why: why.into() })?;
        if cluster != self.cluster() {
            return Err(WalError::ForeignCluster { path, found: cluster, expected: self.cluster() });
        }
        Ok(agreed)
    }

    /// Whether all that both nodes had is here. Of each stream's last epoch the end is read, of earlier ones the
    /// headers are looked at. Errors: [`WalError::LacksAgreed`].
    pub fn check_agreed(&self) -> Result<(), WalError> {
        let agreed = self.agreed()?;
        if agreed.is_empty() {
            return Ok(());
        }
        let history = History::read(self.path(), self.cluster())?;
        let (segments, mark) = (self.segments()?, self.mark()?);
        for (&(epoch, stream), &position) in &agreed {
            let gone = mark.up_to(stream, epoch);
            if gone >= position {
                continue;
            }
            let run: Vec<&SegmentInfo> =
                segments.iter().filter(|info| (info.epoch(), info.stream()) == (epoch, stream)).collect();
            let is_last = !agreed.keys().any(|(later, of)| *of == stream && *later > epoch);
            let mut own =
                if is_last { end_of_run(&run)? } else { run.last().map_or(0, |it| it.end_position()) };
            if let Some(end) = history.as_ref().and_then(|history| history.end(epoch, stream)) {
                own = own.min(end);
            }
            if own.max(gone) < position {
                return Err(Lack { epoch, stream, own, agreed: position }.here(self.path()));
            }
        }
        Ok(())
    }
}

/// Up to where the segments of one epoch and stream have good records.
fn end_of_run(run: &[&SegmentInfo]) -> Result<Position, WalError> {
    for info in run.iter().rev() {
        if let Some((end, _)) = end_of(info)? {
            return Ok(end.position);
        }
    }
    Ok(0)
}

/// Places as text that begins with `magic`.
pub(crate) fn encode(magic: &str, cluster: u128, agreed: &Agreed) -> String {
    use std::fmt::Write;
    let mut body = format!("{magic} {FORMAT_VERSION}\ncluster {cluster:032x}\n");
    for ((epoch, stream), position) in agreed {
        // Writing into a string cannot fail.
        let _ = writeln!(body, "epoch {epoch} stream {stream} position {position}");
    }
    sealed(&body)
}

/// The cluster and its places; an error says what is wrong with the text.
pub(crate) fn decode(magic: &str, bytes: &[u8]) -> Result<(u128, Agreed), &'static str> {
    if bytes.len() > BYTES_MAX {
        return Err("it is too long");
    }
    let text = std::str::from_utf8(bytes).map_err(|_| "it is not text")?;
    let mut lines = text.lines();
    let mut field = |name: &str| lines.next().and_then(|line| line.strip_prefix(name)?.strip_prefix(' '));
    let version = field(magic).ok_or("it does not begin with its name")?;
    if version != FORMAT_VERSION.to_string() {
        return Err("it is of another version");
    }
    let cluster = field("cluster").and_then(|hex| u128::from_str_radix(hex, 16).ok());
    let cluster = cluster.ok_or("the line 'cluster' is missing")?;
    let mut agreed = Agreed::new();
    for line in lines.take_while(|line| line.starts_with("epoch ")) {
        let (place, position) = parse_line(line).ok_or("a line of an epoch does not parse")?;
        agreed.insert(place, position);
    }
    // One spelling only: encoding again must give the same bytes, checksum and all.
    if encode(magic, cluster, &agreed) == text {
        Ok((cluster, agreed))
    } else {
        Err("its checksum does not match")
    }
}

fn parse_line(line: &str) -> Option<((u32, u16), Position)> {
    let words: Vec<&str> = line.split(' ').collect();
    let ["epoch", epoch, "stream", stream, "position", position] = words[..] else { return None };
    Some(((epoch.parse().ok()?, stream.parse().ok()?), position.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::tests::sample;

    #[test]
    fn any_flipped_bit_is_refused() {
        let good = Agreed::from([((2, 0), 81_234), ((100_000, 3), 90_112)]);
        let bytes = encode(MAGIC, 0xfeed, &good).into_bytes();
        assert_eq!(decode(MAGIC, &bytes).unwrap(), (0xfeed, good));
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(decode(MAGIC, &flipped).is_err(), "bit {bit}");
        }
        for cut in 0..bytes.len() {
            assert!(decode(MAGIC, &bytes[..cut]).is_err(), "cut at {cut}");
        }
    }

    #[test]
    fn what_one_has_and_the_other_has_durable_is_agreed_on() {
        let history = sample();
        assert_eq!(history.agreed(0, (2, 500), 0), Agreed::from([((2, 0), 500)]));
        assert_eq!(history.agreed(0, (2, 99_999), 0), Agreed::from([((2, 0), 81_234)]));
        let both = Agreed::from([((2, 3), 90_112), ((100_000, 3), 95_000)]);
        assert_eq!(history.agreed(3, (100_000, 96_000), 95_000), both);
        assert_eq!(history.agreed(3, (0, 0), 95_000), Agreed::new());
    }
}
