//! Samples of a run of any length: when there are too many, neighbours become one.

use crate::report::model::{CoreSample, Sample};

/// The most samples of a report: an hour by the second.
pub const MOST: usize = 3600;

/// What is shorter than this share of a step is only a moment.
const LEAST: f64 = 0.5;

/// Samples at an even distance.
#[derive(Debug)]
pub struct Series {
    /// Seconds per finished sample.
    step_s: f64,
    /// How many samples come in for one that stays.
    fold: usize,
    done: Vec<Sample>,
    pending: Vec<Sample>,
}

impl Series {
    /// For samples that come every `every_s` seconds.
    pub fn new(every_s: f64) -> Self {
        Self { step_s: every_s, fold: 1, done: Vec::new(), pending: Vec::new() }
    }

    /// Takes one more. One of a moment, as the last look at a stage is, goes into the one before it.
    pub fn push(&mut self, sample: Sample) {
        let raw_s = self.step_s / self.fold as f64;
        let before = self.pending.last_mut().or(self.done.last_mut());
        if let Some(before) = before.filter(|before| sample.t_s - before.t_s < LEAST * raw_s) {
            return absorb(before, sample);
        }
        self.pending.push(sample);
        if self.pending.len() < self.fold {
            return;
        }
        self.done.extend(merge(&self.pending));
        self.pending.clear();
        if self.done.len() > MOST {
            self.done = self.done.chunks(2).filter_map(merge).collect();
            self.fold *= 2;
            self.step_s *= 2.0;
        }
    }

    /// All of them, and how many seconds each stands for.
    pub fn finish(mut self) -> (Vec<Sample>, f64) {
        self.done.extend(merge(&self.pending));
        (self.done, self.step_s)
    }
}

/// Adds what a moment brought to the sample before it: counts and levels. Its rates and CPUs say nothing: CPU time comes in
/// hundredths of a second, which over a millisecond would be ten CPUs.
fn absorb(before: &mut Sample, moment: Sample) {
    let rates = before.clone();
    let Some(both) = merge(&[rates.clone(), moment]) else { return };
    let cores = both.cores.into_iter().zip(rates.cores).map(|(both, rates)| CoreSample {
        connections: both.connections,
        backlog_bytes: both.backlog_bytes,
        busy_refusals: both.busy_refusals,
        ..rates
    });
    *before = Sample {
        cores: cores.collect(),
        server_cpus: rates.server_cpus,
        load_cpus: rates.load_cpus,
        others_cpus: rates.others_cpus,
        ..both
    };
}

/// One sample for several: counts are added, levels are the last, CPUs and rates are means. The exact
/// percentiles of the whole are not to be had any more: `p50` and `p99` become means weighted by answers,
/// the maximum stays exact.
fn merge(samples: &[Sample]) -> Option<Sample> {
    let (last, n) = (samples.last()?, samples.len() as f64);
    let sum = |pick: fn(&Sample) -> u64| samples.iter().map(pick).sum::<u64>();
    let mean = |pick: fn(&Sample) -> f64| samples.iter().map(pick).sum::<f64>() / n;
    let answered = sum(|it| it.answered);
    let weighted = |pick: fn(&Sample) -> f64| {
        let weights = samples.iter().map(|it| pick(it) * it.answered as f64);
        weights.sum::<f64>() / answered.max(1) as f64
    };
    let server: Vec<f64> = samples.iter().filter_map(|it| it.server_cpus).collect();
    Some(Sample {
        intended: sum(|it| it.intended),
        sent: sum(|it| it.sent),
        late: samples.iter().map(|it| it.late).sum(),
        answered,
        refused: sum(|it| it.refused),
        granted: sum(|it| it.granted),
        booked: sum(|it| it.booked),
        p50_us: weighted(|it| it.p50_us),
        p99_us: weighted(|it| it.p99_us),
        max_us: samples.iter().map(|it| it.max_us).fold(0.0, f64::max),
        cores: merge_cores(samples),
        server_cpus: (!server.is_empty()).then(|| server.iter().sum::<f64>() / server.len() as f64),
        load_cpus: mean(|it| it.load_cpus),
        others_cpus: mean(|it| it.others_cpus),
        ..last.clone()
    })
}

fn merge_cores(samples: &[Sample]) -> Vec<CoreSample> {
    let cores = samples.iter().map(|it| it.cores.len()).max().unwrap_or(0);
    (0..cores)
        .map(|core| {
            let of: Vec<&CoreSample> = samples.iter().filter_map(|it| it.cores.get(core)).collect();
            let n = of.len() as f64;
            let mean = |pick: fn(&CoreSample) -> f64| of.iter().map(|it| pick(it)).sum::<f64>() / n;
            let busy: Vec<f64> = of.iter().filter_map(|it| it.busy).collect();
            let last = of.last().copied().cloned().unwrap_or_default();
            CoreSample {
                busy: (!busy.is_empty()).then(|| busy.iter().sum::<f64>() / busy.len() as f64),
                answers_per_s: mean(|it| it.answers_per_s),
                log_bytes_per_s: mean(|it| it.log_bytes_per_s),
                batch: mean(|it| it.batch),
                commit_p99_us: of.iter().map(|it| it.commit_p99_us).fold(0.0, f64::max),
                busy_refusals: of.iter().map(|it| it.busy_refusals).sum(),
                ..last
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(second: u64) -> Sample {
        Sample {
            t_s: second as f64,
            answered: 10,
            late: Some(3),
            p99_us: second as f64,
            max_us: second as f64,
            seats_booked: second,
            cores: vec![CoreSample { busy: Some(0.5), answers_per_s: 10.0, ..CoreSample::default() }],
            ..Sample::default()
        }
    }

    #[test]
    fn a_short_run_keeps_every_second() {
        let mut series = Series::new(1.0);
        (1..=5).for_each(|second| series.push(sample(second)));
        let (samples, step) = series.finish();
        assert_eq!((samples.len(), step as u32), (5, 1));
        assert_eq!(samples[4], sample(5));
    }

    #[test]
    fn a_moment_at_the_end_is_no_sample_of_its_own() {
        let mut series = Series::new(1.0);
        (1..=3).for_each(|second| series.push(sample(second)));
        let absurd = vec![CoreSample { busy: Some(1.0), answers_per_s: 9e6, ..CoreSample::default() }];
        series.push(Sample { t_s: 3.001, others_cpus: 500.0, answered: 2, cores: absurd, ..sample(4) });
        series.push(Sample { t_s: 4.0, ..sample(5) });
        let (samples, _) = series.finish();
        assert_eq!(samples.len(), 4);
        let third = &samples[2];
        assert_eq!((third.answered, third.seats_booked, third.others_cpus), (12, 4, 0.0));
        assert_eq!((third.t_s, third.cores[0].answers_per_s), (3.001, 10.0));
    }

    #[test]
    fn a_long_run_is_thinned_and_loses_no_answer() {
        let mut series = Series::new(1.0);
        let seconds = 3 * MOST as u64 + 1;
        (1..=seconds).for_each(|second| series.push(sample(second)));
        let (samples, step) = series.finish();
        assert!(samples.len() <= MOST && samples.len() > MOST / 2, "{}", samples.len());
        assert_eq!(step as u32, 4);
        assert_eq!(samples.iter().map(|it| it.answered).sum::<u64>(), 10 * seconds);
        let (first, last) = (&samples[0], samples.last().unwrap());
        assert_eq!((first.t_s, first.p99_us, first.max_us), (4.0, 2.5, 4.0));
        assert_eq!((last.t_s, last.seats_booked), (seconds as f64, seconds));
        assert_eq!((first.late, first.cores[0].busy), (Some(12), Some(0.5)));
    }
}
