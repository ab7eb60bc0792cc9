//! No number of a report is NaN or infinite: JSON would turn it into `null`, and reading would then fail.

use super::model::{Latency, RunReport, Sample, Step};

/// `report` with 0 in place of every number that is not finite.
pub(crate) fn finite(report: &RunReport) -> RunReport {
    let mut report = report.clone();
    mend([&mut report.load.rate_per_s, &mut report.duration_s, &mut report.series_step_s]);
    mend(&mut report.totals.sold_out_at_s);
    mend(&mut report.found_per_s);
    report.latency.values_mut().for_each(latency);
    report.uncorrected.iter_mut().chain(&mut report.lateness).for_each(latency);
    report.lived.iter_mut().flat_map(|lived| [&mut lived.to_booked, &mut lived.queued]).for_each(latency);
    report.series.iter_mut().for_each(sample);
    report.steps.iter_mut().for_each(step);
    for point in &mut report.scaling {
        mend([&mut point.answers_per_s, &mut point.p99_us]);
    }
    for trend in &mut report.trends {
        mend([&mut trend.mean, &mut trend.per_hour, &mut trend.low, &mut trend.high]);
    }
    report
}

fn mend<'a>(numbers: impl IntoIterator<Item = &'a mut f64>) {
    for number in numbers {
        if !number.is_finite() {
            *number = 0.0;
        }
    }
}

fn latency(latency: &mut Latency) {
    mend([&mut latency.mean_us, &mut latency.p50_us, &mut latency.p90_us, &mut latency.p99_us]);
    mend([&mut latency.p999_us, &mut latency.p9999_us, &mut latency.max_us]);
    mend(latency.curve.iter_mut().flat_map(|(percentile, us)| [percentile, us]));
}

fn sample(sample: &mut Sample) {
    mend([&mut sample.t_s, &mut sample.p50_us, &mut sample.p99_us, &mut sample.max_us]);
    mend([&mut sample.load_cpus, &mut sample.others_cpus]);
    mend(&mut sample.server_cpus);
    for core in &mut sample.cores {
        mend(&mut core.busy);
        mend([&mut core.answers_per_s, &mut core.log_bytes_per_s, &mut core.batch, &mut core.commit_p99_us]);
    }
}

fn step(step: &mut Step) {
    mend([&mut step.rate_per_s, &mut step.intended_per_s, &mut step.answered_per_s, &mut step.granted_per_s]);
    mend([&mut step.busy_share]);
    latency(&mut step.latency);
}
