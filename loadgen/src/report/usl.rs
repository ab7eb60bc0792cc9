//! The universal scalability law, fitted: X(N) = γN / (1 + α(N−1) + βN(N−1)).
//!
//! γ is the throughput of one alone, α the share of work that is serial (contention), β the cost of agreement
//! between all (coherency). N. J. Gunther, "Guerrilla Capacity Planning", Springer 2007, chapters 4 to 6.
//!
//! The fit is by least squares of throughput. It starts from the linear form N/X = (1 + α(N−1) + βN(N−1))/γ and is
//! refined by Levenberg–Marquardt (D. W. Marquardt, "An Algorithm for Least-Squares Estimation of Nonlinear
//! Parameters", SIAM J. 11, 1963), with α and β kept from falling below 0. Confidence: 95 %, from the
//! covariance at the minimum and Student's t.

use super::stats::student_95;
use super::words::{count, number, percent};
use serde::Serialize;
use std::fmt;

/// A parameter with its 95 % confidence interval.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Estimate {
    /// The best value.
    pub value: f64,
    /// Half the width of the interval.
    pub margin: f64,
}

/// A fitted law.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Usl {
    /// Throughput per second of one alone.
    pub gamma: Estimate,
    /// Contention.
    pub alpha: Estimate,
    /// Coherency.
    pub beta: Estimate,
    /// Share of the variance that it explains, at most 1.
    pub r_squared: f64,
    /// Points it rests on.
    pub points: usize,
    /// The largest N among them: what lies beyond is extrapolated.
    pub measured_to: f64,
}

/// Why there is no fit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, thiserror::Error)]
pub enum NoFit {
    /// Three unknowns need at least three sizes, and one point more to tell how good the fit is.
    #[error(
        "{points} measurements at {sizes} different sizes are too few for a scalability fit: it takes at least 4 at 3 sizes; `frontrow-loadgen search` measures 7, without --no-scaling and --quick"
    )]
    TooFew {
        /// Points there are.
        points: usize,
        /// Different N among them.
        sizes: usize,
    },
    /// The points follow no such law.
    #[error(
        "the measurements follow no scalability law (throughput jumps between sizes); measure again on a quiet machine"
    )]
    NoLaw,
}

type Three = [f64; 3];

impl Usl {
    /// Fits (N, throughput per second) points. Points that are not positive and finite are left out.
    pub fn fit(points: &[(f64, f64)]) -> Result<Self, NoFit> {
        let good = |(n, x): &&(f64, f64)| n.is_finite() && x.is_finite() && *n > 0.0 && *x > 0.0;
        let points: Vec<(f64, f64)> = points.iter().filter(good).copied().collect();
        let mut sizes: Vec<f64> = points.iter().map(|point| point.0).collect();
        sizes.sort_by(f64::total_cmp);
        let measured_to = sizes.last().copied().unwrap_or(0.0);
        sizes.dedup();
        if points.len() < 4 || sizes.len() < 3 {
            return Err(NoFit::TooFew { points: points.len(), sizes: sizes.len() });
        }
        // Throughput in units of the best one keeps the three unknowns within reach of each other.
        let unit = points.iter().map(|point| point.1).fold(0.0, f64::max);
        let scaled: Vec<(f64, f64)> = points.iter().map(|(n, x)| (*n, x / unit)).collect();
        let found = refine(&scaled, start(&scaled));
        let errors = squares(&scaled, found);
        let freedom = points.len() - 3;
        let covariance = invert(normal(&scaled, found).0).ok_or(NoFit::NoLaw)?;
        let margin = |place: usize| {
            student_95(freedom) * (covariance[place][place].max(0.0) * errors / freedom.max(1) as f64).sqrt()
        };
        let mean = scaled.iter().map(|point| point.1).sum::<f64>() / scaled.len() as f64;
        let spread: f64 = scaled.iter().map(|point| (point.1 - mean).powi(2)).sum();
        let usl = Self {
            gamma: Estimate { value: found[0] * unit, margin: margin(0) * unit },
            alpha: Estimate { value: found[1], margin: margin(1) },
            beta: Estimate { value: found[2], margin: margin(2) },
            r_squared: if spread > 0.0 { 1.0 - errors / spread } else { 0.0 },
            points: points.len(),
            measured_to,
        };
        let finite =
            [usl.gamma, usl.alpha, usl.beta].iter().all(|e| e.value.is_finite() && e.margin.is_finite());
        if finite && usl.gamma.value > 0.0 && usl.r_squared > 0.0 { Ok(usl) } else { Err(NoFit::NoLaw) }
    }

    /// Throughput per second at `n`.
    pub fn at(&self, n: f64) -> f64 {
        law([self.gamma.value, self.alpha.value, self.beta.value], n)
    }

    /// The N of the highest throughput, √((1−α)/β); `None` if it rises for ever.
    pub fn peak(&self) -> Option<f64> {
        let peak = ((1.0 - self.alpha.value) / self.beta.value).sqrt();
        (self.beta.value > 0.0 && peak.is_finite()).then_some(peak.max(1.0))
    }
}

impl fmt::Display for Usl {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            out,
            "one alone {}/s ± {}, contention α = {} ± {}, coherency β = {} ± {} (95 % confidence, {} points, R² = {:.3}",
            number(self.gamma.value),
            number(self.gamma.margin),
            percent(self.alpha.value),
            percent(self.alpha.margin),
            number(self.beta.value),
            number(self.beta.margin),
            self.points,
            self.r_squared
        )?;
        match self.peak() {
            Some(peak) if peak <= 1e6 => write!(out, "; highest at {})", count(peak.round() as u64)),
            _ => write!(out, "; no highest point in sight)"),
        }
    }
}

fn law([gamma, alpha, beta]: Three, n: f64) -> f64 {
    gamma * n / (1.0 + alpha * (n - 1.0) + beta * n * (n - 1.0))
}

fn squares(points: &[(f64, f64)], at: Three) -> f64 {
    points.iter().map(|(n, x)| (x - law(at, *n)).powi(2)).sum()
}

/// The linear form, weighted by X²/N² so that its errors are about those of X.
fn start(points: &[(f64, f64)]) -> Three {
    let (mut matrix, mut side) = ([[0.0; 3]; 3], [0.0; 3]);
    for (n, x) in points {
        let (row, weight) = ([1.0, n - 1.0, n * (n - 1.0)], (x * x / n).powi(2));
        add(&mut matrix, &mut side, row, n / x, weight);
    }
    let solved = invert(matrix).map(|inverse| times(inverse, side)).filter(|[a, ..]| *a > 0.0);
    let plain = points.iter().map(|(n, x)| x / n).fold(0.0, f64::max);
    solved.map_or([plain, 0.0, 0.0], |[a, b, c]| [1.0 / a, (b / a).max(0.0), (c / a).max(0.0)])
}

fn refine(points: &[(f64, f64)], mut at: Three) -> Three {
    let (mut best, mut damping) = (squares(points, at), 1e-3);
    for _ in 0..500 {
        let (mut matrix, side) = normal(points, at);
        for (place, row) in matrix.iter_mut().enumerate() {
            row[place] = row[place].mul_add(damping, row[place]) + 1e-300;
        }
        let step = invert(matrix).map_or([0.0; 3], |inverse| times(inverse, side));
        let tried = [(at[0] + step[0]).max(1e-12), (at[1] + step[1]).max(0.0), (at[2] + step[2]).max(0.0)];
        let errors = squares(points, tried);
        if errors < best {
            let gained = best - errors;
            (at, best, damping) = (tried, errors, damping / 3.0);
            if gained <= 1e-15 * best {
                break;
            }
        } else {
            damping *= 4.0;
            if damping > 1e12 {
                break;
            }
        }
    }
    at
}

/// JᵀJ and Jᵀr at `at`.
fn normal(points: &[(f64, f64)], at: Three) -> ([Three; 3], Three) {
    let (mut matrix, mut side) = ([[0.0; 3]; 3], [0.0; 3]);
    for (n, x) in points {
        let below = 1.0 + at[1] * (n - 1.0) + at[2] * n * (n - 1.0);
        let by_alpha = -at[0] * n * (n - 1.0) / below.powi(2);
        add(&mut matrix, &mut side, [n / below, by_alpha, by_alpha * n], x - law(at, *n), 1.0);
    }
    (matrix, side)
}

fn add(matrix: &mut [Three; 3], side: &mut Three, row: Three, value: f64, weight: f64) {
    for i in 0..3 {
        side[i] += weight * row[i] * value;
        for j in 0..3 {
            matrix[i][j] += weight * row[i] * row[j];
        }
    }
}

fn times(matrix: [Three; 3], vector: Three) -> Three {
    matrix.map(|row| row.iter().zip(vector).map(|(a, b)| a * b).sum())
}

/// By cofactors of the matrix scaled to a diagonal of ones: its entries lie many powers of ten apart.
fn invert(m: [Three; 3]) -> Option<[Three; 3]> {
    let scale = [0, 1, 2].map(|i: usize| m[i][i].abs().sqrt());
    if scale.iter().any(|s| !s.is_finite() || *s <= 0.0) {
        return None;
    }
    let s = |i: usize, j: usize| m[i % 3][j % 3] / (scale[i % 3] * scale[j % 3]);
    let cofactor = |i: usize, j: usize| s(i + 1, j + 1) * s(i + 2, j + 2) - s(i + 1, j + 2) * s(i + 2, j + 1);
    let determinant: f64 = (0..3).map(|j| s(0, j) * cofactor(0, j)).sum();
    (determinant.abs() > 1e-14)
        .then(|| [0, 1, 2].map(|i| [0, 1, 2].map(|j| cofactor(j, i) / determinant / (scale[i] * scale[j]))))
}
