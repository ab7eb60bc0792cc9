//! Answers and news by code, with what each means.

use super::model::RunReport;
use frontrow_protocol::{NewsKind, WireCode, advice};
use frontrow_shard::Code;

/// What a code is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    /// An answer that says no.
    Refusal,
    /// An answer that says yes.
    Done,
    /// Said unasked: no answer to a request.
    News,
}

impl Kind {
    /// As a table says it.
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Refusal => "refusal",
            Self::Done => "done",
            Self::News => "news",
        }
    }
}

/// A code that occurred.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Told<'a> {
    pub(super) name: &'a str,
    pub(super) count: u64,
    pub(super) kind: Kind,
    pub(super) meaning: &'static str,
}

/// All codes of a run: refusals, then what was done, then news, each with the most frequent first.
pub(super) fn told(report: &RunReport) -> Vec<Told<'_>> {
    let mut all: Vec<Told<'_>> = Vec::new();
    for (name, count) in &report.totals.codes {
        let (kind, meaning) = meaning(name);
        all.push(Told { name, count: *count, kind, meaning });
    }
    all.sort_by(|a, b| a.kind.cmp(&b.kind).then(b.count.cmp(&a.count)).then(a.name.cmp(b.name)));
    all
}

/// How many answers were refusals or errors.
pub(super) fn refused(report: &RunReport) -> u64 {
    report.series.iter().fold(0, |sum, sample| sum.saturating_add(sample.refused))
}

fn meaning(name: &str) -> (Kind, &'static str) {
    // What the server says unasked comes first: a hold that runs out is news, and hardly ever an answer.
    if let Some(kind) = NewsKind::ALL.iter().find(|kind| kind.name() == name) {
        return (Kind::News, news(*kind));
    }
    if let Some(code) = Code::ALL.iter().find(|code| code.name() == name) {
        let kind = if code.is_refusal() { Kind::Refusal } else { Kind::Done };
        return (kind, advice(*code).meaning);
    }
    let wire = |prefix: &str| {
        let name = name.strip_prefix(prefix)?;
        (0..=u8::MAX).filter_map(WireCode::from_number).find(|code| code.name() == name)
    };
    match (wire("error:"), wire("goodbye:")) {
        (Some(code), _) => (Kind::Refusal, code.advice().meaning),
        (_, Some(code)) => (Kind::News, code.advice().meaning),
        _ => (Kind::News, ""),
    }
}

fn news(kind: NewsKind) -> &'static str {
    match kind {
        NewsKind::Offered => "Seats came free for a party that waited, and are held for it",
        NewsKind::Expired => "A hold ran out, and its seats went to who waits, or back on sale",
        NewsKind::Unfillable => "A waiting party can never fit there any more, and is out of the queue",
        NewsKind::Closed => "The sale ended, and the party is out of the queue",
        NewsKind::HoldCap => {
            "An offer would have been more than one user may have; the party is out of the queue"
        }
        NewsKind::Position => "A waiting party moved up",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_has_a_kind_and_a_meaning() {
        for (name, kind) in [
            ("seat_booked", Kind::Refusal),
            ("queued_first", Kind::Refusal),
            ("not_queued", Kind::Refusal),
            ("error:busy", Kind::Refusal),
            ("granted", Kind::Done),
            ("queued", Kind::Done),
            ("position", Kind::News),
            ("unfillable", Kind::News),
            ("goodbye:slow_consumer", Kind::News),
        ] {
            let (found, words) = meaning(name);
            assert!(found == kind && !words.is_empty(), "{name}: {found:?} {words:?}");
        }
    }
}
