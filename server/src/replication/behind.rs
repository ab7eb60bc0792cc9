//! Why what is here is known not to be all that was sold. Whoever is promoted all the same sells some of it once more, so it is
//! asked for in so many words; and it is known across restarts, in `BEHIND` beside the log:
//!
//! ```text
//! frontrow-behind 1
//! why another_standby
//! crc32c 89abcdef
//! ```
//!
//! It is durable before anything is done that it speaks of, and taken away once this node has had all that a primary had with its
//! first word. What a node cannot know is not in it: one that was off while another standby followed.

use frontrow_wal::{DataDir, WalError, regular, sealed};
use serde_json::{Value, json};
use std::fmt;
use std::io::ErrorKind;
use std::path::Path;

const FILE: &str = "BEHIND";
const MAGIC: &str = "frontrow-behind 1";

/// Why this node lacks what was sold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Behind {
    /// Its primary was followed by another standby, and this one was turned away.
    Beside,
    /// Another node has opened this epoch.
    Later(u32),
    /// It has begun to follow a primary, and has not had all that was there.
    Begun,
    /// It was primary itself, and has followed nobody since. `HISTORY` says so, and not this file.
    Own,
    /// The file does not say.
    Unreadable(String),
}

impl Behind {
    /// What the directory at `data` is known to lack.
    pub(crate) fn read(data: &Path) -> Option<Self> {
        let path = data.join(FILE);
        let why = match regular::read(&path).map(String::from_utf8) {
            Err(error) if error.kind() == ErrorKind::NotFound => return None,
            Ok(Ok(text)) => match Self::decode(&text) {
                Some(found) => return Some(found),
                None => "it is damaged".to_owned(),
            },
            Ok(Err(_)) => "it is not text".to_owned(),
            Err(error) => error.to_string(),
        };
        Some(Self::Unreadable(format!("{} cannot be read ({why})", path.display())))
    }

    /// Writes it down in `dir`, durably. That a primary was begun to be followed says less than what is there already.
    pub(crate) fn note(&self, dir: &DataDir) -> Result<(), WalError> {
        match Self::read(dir.view().path()) {
            Some(known) if *self == Self::Begun || known == *self => Ok(()),
            // A folder of that name says as much as the file would.
            Some(Self::Unreadable(_)) => dir.note(FILE, self.encode().as_bytes()).or(Ok(())),
            _ => dir.note(FILE, self.encode().as_bytes()),
        }
    }

    /// It lacks nothing any more. `false`: what is there cannot be taken away, and is left to an operator.
    pub(crate) fn forget(dir: &DataDir) -> Result<bool, WalError> {
        match dir.take_note_away(FILE) {
            Err(_) if matches!(Self::read(dir.view().path()), Some(Self::Unreadable(_))) => Ok(false),
            gone => gone.map(|()| true),
        }
    }

    /// A word for machines.
    fn word(&self) -> &'static str {
        match self {
            Self::Beside => "another_standby",
            Self::Later(_) => "later_epoch",
            Self::Begun => "never_caught_up",
            Self::Own => "was_primary",
            Self::Unreadable(_) => "unreadable",
        }
    }

    pub(super) fn json(&self) -> Value {
        json!({"reason": self.word(), "message": self.to_string()})
    }

    fn encode(&self) -> String {
        let epoch = if let Self::Later(epoch) = self { format!(" {epoch}") } else { String::new() };
        sealed(&format!("{MAGIC}\nwhy {}{epoch}\n", self.word()))
    }

    fn decode(text: &str) -> Option<Self> {
        let why = text.lines().nth(1)?.strip_prefix("why ")?;
        let found = match why.split_once(' ') {
            Some((_, epoch)) => Self::Later(epoch.parse().ok()?),
            None if why == Self::Beside.word() => Self::Beside,
            None => Self::Begun,
        };
        // One spelling only: encoding again must give the same bytes, checksum and all.
        (found.encode() == text).then_some(found)
    }
}

/// In words, with what to do.
impl fmt::Display for Behind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Beside => f.write_str(
                "another standby followed the primary while this one was turned away: what was sold since is not here, and would \
                 be sold once more. Promote that other standby",
            ),
            Self::Later(epoch) => write!(
                f,
                "another node was primary in epoch {epoch}, and this one has not had since what was sold there: it would be sold \
                 once more. Start that node again, or promote its standby"
            ),
            Self::Begun => f.write_str(
                "it began to follow a primary that had more than came from it: that is not here, and would be sold once more. \
                 Start that primary again, or promote a standby that had caught up",
            ),
            Self::Own => f.write_str(
                "it was primary itself, and has not followed another one since: what another one sold is not here, and would be \
                 sold once more. If none was promoted since, start this one with `frontrow serve`; else start, or promote, the \
                 one that was",
            ),
            Self::Unreadable(what) => write!(
                f,
                "what it lacks is not known: {what}. If it had caught up with the last primary, remove that file and restart it"
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use frontrow_wal::DirOptions;

    #[test]
    fn what_is_noted_is_known_until_it_is_forgotten_and_damage_is_no_absence() {
        let folder = tempfile::tempdir().unwrap();
        let (data, dir) = (folder.path(), DataDir::open(folder.path(), DirOptions::new(2)).unwrap());
        assert_eq!(Behind::read(data), None);
        for why in [Behind::Begun, Behind::Later(200_000), Behind::Beside] {
            why.note(&dir).unwrap();
            assert_eq!(Behind::read(data), Some(why.clone()));
            let text = why.encode();
            for at in 0..text.len() {
                let mut bytes = text.clone().into_bytes();
                bytes[at] ^= 1;
                std::fs::write(data.join(FILE), &bytes).unwrap();
                assert!(matches!(Behind::read(data), Some(Behind::Unreadable(_))), "{at}");
            }
            std::fs::write(data.join(FILE), &text).unwrap();
        }
        Behind::Begun.note(&dir).unwrap();
        assert_eq!(Behind::read(data), Some(Behind::Beside), "it says more");
        assert!(Behind::forget(&dir).unwrap() && Behind::forget(&dir).unwrap());
        assert_eq!(Behind::read(data), None);
        std::os::unix::fs::symlink("nowhere", data.join(FILE)).unwrap();
        assert!(matches!(Behind::read(data), Some(Behind::Unreadable(why)) if why.contains("leads nowhere")));
        Behind::Beside.note(&dir).unwrap();
        assert_eq!(Behind::read(data), Some(Behind::Beside));
        std::fs::remove_file(data.join(FILE)).unwrap();
        std::fs::create_dir(data.join(FILE)).unwrap();
        Behind::Beside.note(&dir).unwrap();
        assert!(!Behind::forget(&dir).unwrap());
        assert!(matches!(Behind::read(data), Some(Behind::Unreadable(why)) if why.contains("a folder")));
    }
}
