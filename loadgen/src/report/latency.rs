//! From a histogram to a [`Latency`], and to the text that HdrHistogram's plotter reads.

use super::model::Latency;
use hdrhistogram::Histogram;
use std::fmt::Write as _;

/// Steps per halving of the distance to 100 %: HdrHistogram's own default.
const TICKS: u32 = 5;

/// The distribution in `histogram`, which is in nanoseconds. Empty gives zeros.
pub fn latency(histogram: &Histogram<u64>) -> Latency {
    if histogram.is_empty() {
        return Latency::default();
    }
    let at = |quantile: f64| us(histogram.value_at_quantile(quantile));
    let curve = histogram
        .iter_quantiles(TICKS)
        .map(|step| (step.quantile_iterated_to() * 100.0, us(step.value_iterated_to().min(histogram.max()))));
    Latency {
        count: histogram.len(),
        mean_us: histogram.mean() / 1e3,
        p50_us: at(0.50),
        p90_us: at(0.90),
        p99_us: at(0.99),
        p999_us: at(0.999),
        p9999_us: at(0.9999),
        max_us: us(histogram.max()),
        curve: curve.collect(),
    }
}

/// The percentile output of HdrHistogram (`outputPercentileDistribution` of the Java original), values in
/// microseconds.
pub(crate) fn hgrm(histogram: &Histogram<u64>) -> String {
    let mut out =
        format!("{:>12} {:>14} {:>10} {:>14}\n\n", "Value", "Percentile", "TotalCount", "1/(1-Percentile)");
    let mut counted = 0;
    for step in histogram.iter_quantiles(TICKS) {
        counted += step.count_since_last_iteration();
        let (value, quantile) = (us(step.value_iterated_to()), step.quantile_iterated_to());
        let _ = if quantile < 1.0 {
            writeln!(out, "{value:12.3} {quantile:2.12} {counted:10} {:14.2}", 1.0 / (1.0 - quantile))
        } else {
            writeln!(out, "{value:12.3} {quantile:2.12} {counted:10}")
        };
    }
    let sub_buckets = (2 * 10_u64.pow(u32::from(histogram.sigfig()))).next_power_of_two();
    let _ = write!(
        out,
        "#[Mean    = {:12.3}, StdDeviation   = {:12.3}]\n\
         #[Max     = {:12.3}, Total count    = {:12}]\n\
         #[Buckets = {:12}, SubBuckets     = {sub_buckets:12}]\n",
        histogram.mean() / 1e3,
        histogram.stdev() / 1e3,
        us(histogram.max()),
        histogram.len(),
        histogram.buckets(),
    );
    out
}

fn us(ns: u64) -> f64 {
    ns as f64 / 1e3
}

#[cfg(test)]
mod tests {
    use super::*;

    fn thousand() -> Histogram<u64> {
        let mut histogram = Histogram::new(3).expect("three digits");
        for value in 1..=1000 {
            histogram.record(value * 1000).expect("in range");
        }
        histogram
    }

    #[test]
    fn percentiles_are_those_of_the_values() {
        let latency = latency(&thousand());
        assert_eq!(latency.count, 1000);
        for (found, truth) in [
            (latency.mean_us, 500.5),
            (latency.p50_us, 500.0),
            (latency.p90_us, 900.0),
            (latency.p99_us, 990.0),
            (latency.p999_us, 999.0),
            (latency.max_us, 1000.0),
        ] {
            assert!((found / truth - 1.0).abs() < 0.002, "{found} for {truth}");
        }
        assert!(latency.curve.is_sorted_by(|a, b| a.0 <= b.0 && a.1 <= b.1), "{:?}", latency.curve);
        assert_eq!(latency.curve.last().map(|point| point.0), Some(100.0));
    }

    #[test]
    fn nothing_measured_is_zeros() {
        let empty = Histogram::new(3).expect("three digits");
        assert_eq!(latency(&empty), Latency::default());
        assert!(hgrm(&empty).contains("Total count    =            0"));
    }

    #[test]
    fn the_text_is_hdrhistograms() {
        let text = hgrm(&thousand());
        let mut lines = text.lines();
        assert_eq!(lines.next(), Some("       Value     Percentile TotalCount 1/(1-Percentile)"));
        assert_eq!(lines.next(), Some(""));
        let rows: Vec<Vec<f64>> = lines
            .by_ref()
            .take_while(|line| !line.starts_with('#'))
            .map(|line| line.split_whitespace().map(|field| field.parse().expect("a number")).collect())
            .collect();
        assert!(rows.len() > 20 && rows.is_sorted_by(|a, b| a[0] <= b[0] && a[1] <= b[1] && a[2] <= b[2]));
        let last = rows.last().expect("rows");
        assert_eq!((last.len(), last[1], last[2]), (3, 1.0, 1000.0));
        assert!(text.contains("#[Buckets =") && text.contains("SubBuckets     =         2048]"), "{text}");
    }
}
