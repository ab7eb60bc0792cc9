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
    let codes = &report.totals.codes;
    let mut mixed = mixed(report);
    for (name, &count) in codes {
        let (kind, meaning) = meaning(name);
        let of_both = both_kinds(name).filter(|_| kind == Kind::Refusal && mixed.is_some());
        let (Some(left), Some(news_too)) = (mixed.as_mut(), of_both) else {
            all.push(Told { name: name.strip_prefix(NEWS).unwrap_or(name), count, kind, meaning });
            continue;
        };
        let answers = count.min(*left);
        *left -= answers;
        all.push(Told { name, count: answers, kind, meaning });
        all.push(Told { name, count: count - answers, kind: Kind::News, meaning: news(news_too) });
    }
    all.retain(|told| told.count > 0);
    all.sort_by(|a, b| a.kind.cmp(&b.kind).then(b.count.cmp(&a.count)).then(a.name.cmp(b.name)));
    all
}

/// How many answers were refusals or errors: the sum of those that are told.
pub(super) fn refused(report: &RunReport) -> u64 {
    if report.totals.codes.is_empty() {
        return refused_by_second(report);
    }
    let refusals = told(report).into_iter().filter(|told| told.kind == Kind::Refusal);
    refusals.map(|told| told.count).sum()
}

fn refused_by_second(report: &RunReport) -> u64 {
    report.series.iter().fold(0, |sum, sample| sum.saturating_add(sample.refused))
}

/// Of a report that has answers and news of the same name in one sum: how many answers those sums hold. That is what is
/// left of the refusals, which were counted by the second, without those that have a name of their own.
fn mixed(report: &RunReport) -> Option<u64> {
    let codes = &report.totals.codes;
    if codes.keys().any(|name| name.starts_with(NEWS)) {
        return None;
    }
    let own = codes.iter().filter(|(name, _)| both_kinds(name).is_none() && meaning(name).0 == Kind::Refusal);
    Some(refused_by_second(report).saturating_sub(own.map(|(_, count)| count).sum()))
}

/// The news that are called like an answer, if this is such a name.
fn both_kinds(name: &str) -> Option<NewsKind> {
    let kind = NewsKind::ALL.iter().find(|kind| kind.name() == name)?;
    Code::ALL.iter().any(|code| code.name() == name).then_some(*kind)
}

/// What news are called by.
const NEWS: &str = "news:";

fn meaning(name: &str) -> (Kind, &'static str) {
    if let Some(code) = Code::ALL.iter().find(|code| code.name() == name) {
        let kind = if code.is_refusal() { Kind::Refusal } else { Kind::Done };
        return (kind, advice(*code).meaning);
    }
    let of_news = name.strip_prefix(NEWS).unwrap_or(name);
    if let Some(kind) = NewsKind::ALL.iter().find(|kind| kind.name() == of_news) {
        return (Kind::News, news(*kind));
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
            ("expired", Kind::Refusal),
            ("news:expired", Kind::News),
            ("news:position", Kind::News),
            ("unfillable", Kind::News),
            ("goodbye:slow_consumer", Kind::News),
        ] {
            let (found, words) = meaning(name);
            assert!(found == kind && !words.is_empty(), "{name}: {found:?} {words:?}");
        }
    }
}
