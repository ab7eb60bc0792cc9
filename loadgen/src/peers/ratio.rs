//! The ratios Frontrow is judged by, and their targets.

use crate::table::report::median;
use crate::table::{Depth, Row, Run, Subject};
use serde::{Deserialize, Serialize};

/// Two-phase transfers per second that TigerBeetle's makers published: batches of 8189, two cores.
pub(crate) const TIGERBEETLE_PER_S: f64 = 171_000.0;

/// How Frontrow stands to something else at one depth.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Ratio {
    /// Which Frontrow.
    pub of: Subject,
    /// To what: a subject's name, or a published figure.
    pub to: String,
    /// Connections.
    pub connections: usize,
    /// Requests in flight per connection.
    pub depth: usize,
    /// Requests per second, ours by theirs: the median of the rounds' ratios.
    pub rate: f64,
    /// The lowest and the highest of the rounds.
    pub rate_range: (f64, f64),
    /// The least that the design asks for, if it says.
    pub target: Option<f64>,
    /// Processor time per request, theirs by ours (serving and log): the median of the rounds' ratios.
    pub processor: Option<f64>,
}

impl Ratio {
    /// Whether the target is met, if there is one.
    pub fn met(&self) -> Option<bool> {
        self.target.map(|target| self.rate >= target)
    }
}

/// A comparison the design asks for: whose, with whom, and its targets by depth.
type Pair = (Subject, Subject, &'static [(usize, f64)]);

const PAIRS: [Pair; 8] = [
    (Subject::Memory, Subject::Echo, &[(1, 0.95), (16, 0.70), (64, 0.40)]),
    (Subject::Durable, Subject::Echo, &[(1, 0.85), (16, 0.60), (64, 0.33)]),
    (Subject::Memory, Subject::Redis, &[(1, 1.8), (16, 8.0), (64, 16.0)]),
    (Subject::Durable, Subject::RedisAlways, &[(1, 2.5), (16, 9.0), (64, 14.0)]),
    (Subject::Durable, Subject::PostgresId, &[(1, 5.0), (16, 60.0)]),
    // The design names no depth: a single request in flight cannot be meant, for the echo is not that far off.
    (Subject::Durable, Subject::PostgresSkipLocked, &[(16, 300.0), (64, 300.0)]),
    (Subject::DurableHot, Subject::PostgresHot, &[]),
    (Subject::Websocket, Subject::Memory, &[(1, 0.9), (16, 0.75)]),
];

/// All ratios of which both sides were measured, by pair and then by depth.
pub(crate) fn of_pairs(depths: &[Depth], connections: usize) -> Vec<Ratio> {
    let mut all = Vec::new();
    for (of, to, targets) in PAIRS {
        for depth in depths {
            let row = |subject| depth.rows.iter().find(|row| row.subject == subject);
            let (Some(ours), Some(theirs)) = (row(of), row(to)) else { continue };
            let target = targets.iter().find(|(at, _)| *at == depth.depth).map(|(_, target)| *target);
            let rates = by_round(ours, theirs, |ours, theirs| ours.requests_per_s / theirs.requests_per_s);
            let times = by_round(ours, theirs, |ours, theirs| processor_ns(theirs) / processor_ns(ours));
            all.push(Ratio {
                of,
                to: to.name().to_owned(),
                connections,
                depth: depth.depth,
                rate: median(&rates),
                rate_range: ends(&rates),
                target,
                processor: Some(median(&times)).filter(|times| *times > 0.0),
            });
        }
    }
    all
}

/// Batches on one connection beside the published figure.
pub(crate) fn to_published(batches: &[Depth]) -> Vec<Ratio> {
    let ratio = |depth: usize, row: &Row| {
        let mut rates: Vec<f64> =
            row.rounds.iter().map(|run| run.requests_per_s / TIGERBEETLE_PER_S).collect();
        rates.sort_unstable_by(f64::total_cmp);
        Ratio {
            of: row.subject,
            to: "TigerBeetle, published".to_owned(),
            connections: 1,
            depth,
            rate: median(&rates),
            rate_range: ends(&rates),
            // For smaller batches the makers publish no figure to compare with.
            target: (depth >= 1000).then_some(3.0),
            processor: None,
        }
    };
    let rows = batches.iter().flat_map(|batch| batch.rows.iter().map(|row| (batch.depth, row)));
    rows.map(|(depth, row)| ratio(depth, row)).collect()
}

fn processor_ns(run: &Run) -> f64 {
    run.serving_ns + run.logging_ns
}

/// A number of each round, sorted; rounds in which it is none are left out.
fn by_round(ours: &Row, theirs: &Row, number: impl Fn(&Run, &Run) -> f64) -> Vec<f64> {
    let pairs = ours.rounds.iter().zip(&theirs.rounds);
    let mut numbers: Vec<f64> =
        pairs.map(|(ours, theirs)| number(ours, theirs)).filter(|number| number.is_finite()).collect();
    numbers.sort_unstable_by(f64::total_cmp);
    numbers
}

fn ends(sorted: &[f64]) -> (f64, f64) {
    (sorted.first().copied().unwrap_or(0.0), sorted.last().copied().unwrap_or(0.0))
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use std::collections::BTreeMap;

    pub(crate) fn row(subject: Subject, depth: usize, rates: &[f64], serving_ns: f64) -> Row {
        let run = |&rate: &f64| Run {
            requests_per_s: rate,
            claims_per_s: rate,
            releases_per_s: 0.0,
            p50_us: 1.0,
            p99_us: 2.0,
            p999_us: 3.0,
            ratio: 0.0,
            serving_ns,
            logging_ns: 0.0,
            refused: BTreeMap::new(),
            others_cpu: 0.0,
            told_after_s: None,
        };
        Row::of(subject, depth, rates.iter().map(run).collect())
    }

    #[test]
    fn ratios_are_made_round_by_round() {
        let rows = vec![
            row(Subject::Memory, 16, &[100.0, 900.0, 400.0], 50.0),
            row(Subject::Redis, 16, &[10.0, 100.0, 100.0], 1000.0),
        ];
        let ratios = of_pairs(&[Depth { depth: 16, rows }], 4);
        assert_eq!(ratios.len(), 1, "only pairs of which both sides were measured");
        let ratio = &ratios[0];
        assert_eq!((ratio.rate, ratio.rate_range, ratio.processor), (9.0, (4.0, 10.0), Some(20.0)));
        assert_eq!((ratio.target, ratio.met(), ratio.connections), (Some(8.0), Some(true), 4));
    }

    #[test]
    fn a_published_figure_is_judged_at_its_own_size_only() {
        let batch = |depth| Depth { depth, rows: vec![row(Subject::Durable, depth, &[342_000.0], 50.0)] };
        let ratios = to_published(&[batch(100), batch(1000)]);
        assert_eq!(ratios.iter().map(|ratio| ratio.rate).collect::<Vec<_>>(), [2.0, 2.0]);
        assert_eq!(ratios.iter().map(Ratio::met).collect::<Vec<_>>(), [None, Some(false)]);
    }
}
