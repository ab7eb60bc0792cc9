//! What PostgreSQL is asked: see `loadgen/peers/*.sql`.

use crate::table::Subject;

/// The tables.
pub(crate) const SCHEMA: &str = include_str!("../../peers/schema.sql");
const BY_ID: &str = include_str!("../../peers/claim_by_id.sql");
const SKIP_LOCKED: &str = include_str!("../../peers/claim_skip_locked.sql");
const RELEASE: &str = include_str!("../../peers/release.sql");

/// A table of seats, and how they are asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Manner {
    /// By the seat's number.
    Named,
    /// By section: any free seat.
    Section,
    /// By number, of a few that everybody wants.
    Hot,
}

impl Manner {
    pub(crate) const ALL: [Self; 3] = [Self::Named, Self::Section, Self::Hot];

    /// How a subject asks, if it is one of PostgreSQL's.
    pub(crate) const fn of(subject: Subject) -> Option<Self> {
        match subject {
            Subject::PostgresId => Some(Self::Named),
            Subject::PostgresSkipLocked => Some(Self::Section),
            Subject::PostgresHot => Some(Self::Hot),
            _ => None,
        }
    }

    pub(crate) const fn table(self) -> &'static str {
        match self {
            Self::Named => "seat",
            Self::Section => "section_seat",
            Self::Hot => "hot_seat",
        }
    }

    /// `$1` is the seat, or the section; `$2` the owner. A row is seat and fence; none: refused.
    pub(crate) fn claim(self) -> String {
        match self {
            Self::Section => SKIP_LOCKED.to_owned(),
            Self::Named | Self::Hot => self.on_table(BY_ID),
        }
    }

    /// `$1` is the seat, `$2` the owner, `$3` the fence.
    pub(crate) fn release(self) -> String {
        self.on_table(RELEASE)
    }

    /// Everything that is held: seat, owner, fence.
    pub(crate) fn held(self) -> String {
        format!("SELECT id, owner, fence FROM {} WHERE expires > now()", self.table())
    }

    fn on_table(self, text: &str) -> String {
        text.replacen("UPDATE seat ", &format!("UPDATE {} ", self.table()), 1)
    }
}

/// Fills a table: sections of consecutive seats, each with its first and last seat.
pub(crate) fn fill(table: &str, sections: &[(u16, u32, u32)]) -> String {
    let rows: Vec<String> =
        sections.iter().map(|(section, first, last)| format!("({section}, {first}, {last})")).collect();
    format!(
        "INSERT INTO {table} (id, section) SELECT id, section \
         FROM (VALUES {}) sections (section, first, last), generate_series(first, last) id",
        rows.join(", ")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_manner_stays_on_its_table() {
        for manner in Manner::ALL {
            let update = format!("UPDATE {} ", manner.table());
            for text in [manner.claim(), manner.release()] {
                assert!(text.starts_with(&update) && text.contains("RETURNING id, fence"), "{text}");
            }
            assert!(manner.claim().contains("expires <= now()"), "only what is free or expired is claimed");
            let release = manner.release();
            assert!(release.contains("owner = $2 AND fence = $3"), "only who holds releases: {release}");
            assert!(SCHEMA.contains(&format!("CREATE TABLE {} ", manner.table())));
        }
        assert!(Manner::Section.claim().contains("FOR UPDATE SKIP LOCKED"));
        let filled = fill("hot_seat", &[(0, 0, 9), (1, 10, 29)]);
        assert!(filled.contains("hot_seat") && filled.contains("VALUES (0, 0, 9), (1, 10, 29)"), "{filled}");
    }
}
