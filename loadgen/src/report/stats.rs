//! The little statistics that comparing and fitting take.

/// Student's t for a two-sided 95 % interval with `freedom` degrees of freedom. Tabled up to 10; beyond, an
/// approximation good to 0.3 %.
pub(crate) fn student_95(freedom: usize) -> f64 {
    const TABLE: [f64; 11] = [12.71, 12.71, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228];
    TABLE.get(freedom).copied().unwrap_or_else(|| 1.96 + 2.6 / freedom as f64)
}

/// The median; 0 of nothing.
pub(crate) fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    match sorted.len() {
        0 => 0.0,
        n => f64::midpoint(sorted[(n - 1) / 2], sorted[n / 2]),
    }
}

/// The value below which the share `q` of `sorted` lies; 0 of nothing.
pub(crate) fn quantile(sorted: &[f64], q: f64) -> f64 {
    let place = (q * sorted.len().saturating_sub(1) as f64).round() as usize;
    sorted.get(place).copied().unwrap_or(0.0)
}

/// Mann–Whitney U test, two-sided, by the normal approximation with the corrections for ties and continuity
/// (H. B. Mann, D. R. Whitney, Ann. Math. Statist. 18, 1947): the probability of values that differ at least this
/// much if both came from one distribution. Good from about 8 values on each side.
pub(crate) fn mann_whitney(a: &[f64], b: &[f64]) -> f64 {
    let (na, nb) = (a.len() as f64, b.len() as f64);
    let mut all: Vec<(f64, bool)> =
        a.iter().map(|v| (*v, true)).chain(b.iter().map(|v| (*v, false))).collect();
    all.sort_by(|x, y| x.0.total_cmp(&y.0));
    let (mut before, mut ranks_of_a, mut ties) = (0.0, 0.0, 0.0);
    for equal in all.chunk_by(|x, y| x.0.total_cmp(&y.0).is_eq()) {
        let size = equal.len() as f64;
        let of_a = equal.iter().filter(|value| value.1).count() as f64;
        ranks_of_a += of_a * (before + f64::midpoint(1.0, size));
        ties += size.powi(3) - size;
        before += size;
    }
    let passed = ranks_of_a - na * (na + 1.0) / 2.0;
    let n = na + nb;
    let variance = na * nb / 12.0 * ((n + 1.0) - ties / (n * (n - 1.0)));
    if variance.is_nan() || variance <= 0.0 {
        return 1.0;
    }
    let z = ((passed - na * nb / 2.0).abs() - 0.5).max(0.0) / variance.sqrt();
    both_tails(z)
}

/// Probability of a normal variable at least `z` from its mean. Abramowitz and Stegun 26.2.17, error below 1e-7.
fn both_tails(z: f64) -> f64 {
    let t = 1.0 / (1.0 + 0.231_641_9 * z);
    let poly = [1.330_274_429, -1.821_255_978, 1.781_477_937, -0.356_563_782, 0.319_381_530];
    let sum = poly.iter().fold(0.0, |sum, factor| (sum + factor) * t);
    (2.0 * sum * (-z * z / 2.0).exp() / (2.0 * std::f64::consts::PI).sqrt()).clamp(0.0, 1.0)
}

/// 95 % interval of median(b)/median(a) − 1 by a moving-block bootstrap (H. R. Künsch, Ann. Statist. 17, 1989):
/// blocks of about ∛n values, for neighbouring seconds are alike and must not count as independent.
pub(crate) fn change_interval(a: &[f64], b: &[f64]) -> (f64, f64) {
    const DRAWS: usize = 2000;
    // A fixed seed: the same two runs always compare alike.
    let mut random = Random(0x5eed);
    let mut changes: Vec<f64> = (0..DRAWS)
        .map(|_| {
            let base = median(&resample(a, &mut random));
            median(&resample(b, &mut random)) / base - 1.0
        })
        .filter(|change| change.is_finite())
        .collect();
    changes.sort_by(f64::total_cmp);
    (quantile(&changes, 0.025), quantile(&changes, 0.975))
}

fn resample(values: &[f64], random: &mut Random) -> Vec<f64> {
    let block = (values.len() as f64).cbrt().ceil() as usize;
    let mut out = Vec::with_capacity(values.len() + block);
    while out.len() < values.len() {
        let from = random.below(values.len() - block.min(values.len()) + 1);
        out.extend(values.iter().skip(from).take(block));
    }
    out.truncate(values.len());
    out
}

/// SplitMix64 (G. Steele et al., OOPSLA 2014): enough for resampling.
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound.max(1) as u64) as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranks_tell_apart_what_differs() {
        let a: Vec<f64> = (1..=10).map(f64::from).collect();
        let b: Vec<f64> = (11..=20).map(f64::from).collect();
        // R: wilcox.test(1:10, 11:20, exact = FALSE)$p.value = 0.0001827
        assert!((mann_whitney(&a, &b) - 0.000_182_7).abs() < 1e-6, "{}", mann_whitney(&a, &b));
        assert!(mann_whitney(&a, &a) > 0.95);
        assert_eq!(mann_whitney(&[1.0; 9], &[1.0; 9]).to_bits(), 1.0_f64.to_bits());
    }

    #[test]
    fn the_interval_holds_the_change() {
        let mut random = Random(7);
        let mut draw = |mean: f64| -> Vec<f64> {
            (0..100).map(|_| mean * (1.0 + 0.05 * (random.below(2001) as f64 / 1000.0 - 1.0))).collect()
        };
        let (low, high) = change_interval(&draw(1000.0), &draw(1100.0));
        assert!(low > 0.07 && low < 0.10 && high > 0.10 && high < 0.13, "{low} to {high}");
    }
}
