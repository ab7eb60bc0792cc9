//! Whether something grew during a soak: a straight line by least squares, and how sure one can be of its slope.
//!
//! The slope's 95 % confidence interval is the textbook one (Student's t, here its limit 1.96 for many points),
//! over means of stretches rather than single seconds: neighbouring seconds resemble each other, and would
//! make the interval look narrower than it is. The first tenth is left out: caches and arenas fill then.

use crate::report::model::{Sample, Trend};

/// Points the line is put through.
const POINTS: usize = 60;
/// The fewest: below, nothing is said.
const FEWEST: usize = 10;
/// The 97.5th percentile of the normal distribution.
const Z: f64 = 1.96;
/// Growth per hour, relative to the mean, that counts as flat even if one is sure of it.
const NEGLIGIBLE: f64 = 0.02;

/// Memory of the server's process and the 99th percentile over time; what cannot be said is left out.
pub(crate) fn of(series: &[Sample]) -> Vec<Trend> {
    let settled = &series[series.len() / 10..];
    let memory: Vec<(f64, f64)> =
        settled.iter().filter_map(|it| Some((it.t_s, it.server_rss? as f64 / f64::from(1 << 20)))).collect();
    let latency: Vec<(f64, f64)> =
        settled.iter().filter(|it| it.answered > 0).map(|it| (it.t_s, it.p99_us)).collect();
    [("server_rss_mib", memory), ("p99_us", latency)]
        .into_iter()
        .filter_map(|(what, points)| line(what, &points))
        .collect()
}

fn line(what: &str, seconds: &[(f64, f64)]) -> Option<Trend> {
    let stretch = seconds.len().div_ceil(POINTS).max(1);
    let mean_of = |part: &[(f64, f64)]| {
        let n = part.len() as f64;
        (part.iter().map(|it| it.0).sum::<f64>() / n / 3600.0, part.iter().map(|it| it.1).sum::<f64>() / n)
    };
    let points: Vec<(f64, f64)> = seconds.chunks(stretch).map(mean_of).collect();
    if points.len() < FEWEST {
        return None;
    }
    let n = points.len() as f64;
    let (x, y) =
        (points.iter().map(|it| it.0).sum::<f64>() / n, points.iter().map(|it| it.1).sum::<f64>() / n);
    let spread: f64 = points.iter().map(|it| (it.0 - x).powi(2)).sum();
    if spread <= 0.0 {
        return None;
    }
    let slope = points.iter().map(|it| (it.0 - x) * (it.1 - y)).sum::<f64>() / spread;
    let rest: f64 = points.iter().map(|it| (it.1 - y - slope * (it.0 - x)).powi(2)).sum();
    let error = (rest / (n - 2.0) / spread).sqrt();
    let (low, high) = (slope - Z * error, slope + Z * error);
    let (flat, why) = judge(slope, low, high, y);
    Some(Trend { what: what.to_owned(), mean: y, per_hour: slope, low, high, flat, why })
}

fn judge(slope: f64, low: f64, high: f64, mean: f64) -> (bool, String) {
    let share = slope / mean.abs().max(f64::MIN_POSITIVE);
    if low <= 0.0 && high >= 0.0 {
        (true, "growth cannot be told from none".to_owned())
    } else if share.abs() <= NEGLIGIBLE {
        (true, format!("it changes by {:.1} % an hour, which does not matter", share * 100.0))
    } else if slope < 0.0 {
        (true, "it falls".to_owned())
    } else {
        (false, format!("it grows by {:.0} % an hour", share * 100.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `p99` by the second, with noise that repeats.
    fn series(seconds: u64, p99: impl Fn(f64) -> f64) -> Vec<Sample> {
        let noise = |second: u64| ((second * 7919) % 101) as f64 - 50.0;
        (1..=seconds)
            .map(|second| Sample {
                t_s: second as f64,
                answered: 1,
                p99_us: p99(second as f64) + noise(second),
                server_rss: Some(500 << 20),
                ..Sample::default()
            })
            .collect()
    }

    #[test]
    fn noise_is_flat_and_growth_is_not() {
        let of = |series: &[Sample]| of(series).into_iter().find(|it| it.what == "p99_us").expect("enough");
        let flat = of(&series(3600, |_| 1000.0));
        assert!(flat.flat && flat.low <= 0.0 && flat.high >= 0.0, "{flat:?}");
        let grows = of(&series(3600, |second| 1000.0 + second));
        assert!(!grows.flat && (grows.per_hour - 3600.0).abs() < 100.0, "{grows:?}");
        assert!(grows.low < 3600.0 && grows.high > 3600.0, "{grows:?}");
        let creeps = of(&series(3600, |second| 1e6 + second / 3.6));
        assert!(creeps.flat && creeps.why.contains("does not matter"), "{creeps:?}");
        assert!(of(&series(3600, |second| 9000.0 - second)).why.contains("falls"));
    }

    #[test]
    fn constant_memory_is_flat_and_too_few_points_say_nothing() {
        let trends = of(&series(600, |_| 1000.0));
        let memory = trends.iter().find(|it| it.what == "server_rss_mib").expect("it was seen");
        assert!(memory.flat && (memory.mean - 500.0).abs() < 1e-6, "{memory:?}");
        assert!(of(&series(5, |_| 1.0)).is_empty());
    }
}
