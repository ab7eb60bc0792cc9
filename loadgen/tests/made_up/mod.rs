//! A made-up but plausible run: 50,000 seats sold out within a minute to a crowd that comes at once.

use frontrow_loadgen::Machine;
use frontrow_loadgen::report::{
    CoreSample, Latency, Load, MODEL, RunKind, RunReport, Sample, ScalingPoint, Step, Target, Totals,
    Verified, latency,
};
use hdrhistogram::Histogram;
use std::collections::BTreeMap;

/// Numbers that look like noise and are always the same (SplitMix64).
pub(crate) struct Noise(pub(crate) u64);

impl Noise {
    /// From 0 to 1.
    pub(crate) fn share(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// 1, give or take `by`, roughly normal.
    pub(crate) fn about(&mut self, by: f64) -> f64 {
        let sum: f64 = (0..12).map(|_| self.share()).sum();
        1.0 + by * (sum - 6.0)
    }
}

/// Answers with a long tail, in nanoseconds, around `median_us`.
pub(crate) fn histogram(noise: &mut Noise, count: usize, median_us: f64) -> Histogram<u64> {
    let mut histogram = Histogram::new(3).expect("three digits");
    for _ in 0..count {
        let tail = if noise.share() < 0.01 { 1.0 + 30.0 * noise.share() } else { 1.0 };
        let us = median_us * (noise.about(0.35) - 1.0).exp() * tail;
        histogram.record((us * 1000.0) as u64).expect("in range");
    }
    histogram
}

/// The run's histograms by class.
pub(crate) fn histograms() -> BTreeMap<String, Histogram<u64>> {
    let mut noise = Noise(11);
    let mut all = Histogram::new(3).expect("three digits");
    let mut out = BTreeMap::new();
    for (class, count, median) in
        [("claim", 60_000, 420.0), ("book", 20_000, 380.0), ("release", 4_000, 300.0)]
    {
        let one = histogram(&mut noise, count, median);
        all.add(&one).expect("the same digits");
        out.insert(class.to_owned(), one);
    }
    out.insert("all".to_owned(), all);
    out
}

pub(crate) fn machine() -> Machine {
    Machine {
        cpu: "Example CPU 3000".to_owned(),
        cpus: 4,
        kernel: "6.12.0".to_owned(),
        memory_mib: 16_000,
        filesystem: "ext4 on /dev/vda".to_owned(),
        virtualised: true,
        load_average: "0.10 0.20 0.30".to_owned(),
    }
}

fn series(seconds: u32, noise: &mut Noise) -> Vec<Sample> {
    let mut booked = 0.0_f64;
    let mut held = 0.0_f64;
    (1..=seconds)
        .map(|second| {
            let t = f64::from(second);
            // A crowd comes within ten seconds, and thins out.
            let wave = (t / 6.0) * (1.0 - t / 6.0).exp();
            let due = 46_000.0 * wave * noise.about(0.03) + 300.0;
            let answered = due.min(41_000.0 * noise.about(0.02));
            let got = (answered * 0.12).min(50_000.0 - booked - held);
            let paid = match t {
                t if t < 4.0 => 0.0,
                t if t < 42.0 => held * 0.18,
                _ => held,
            };
            held += got - paid;
            booked = (booked + paid).min(50_000.0);
            let crowded = (due / 41_000.0).min(1.2);
            let core = |share: f64, noise: &mut Noise| CoreSample {
                busy: Some((crowded * share * noise.about(0.02)).clamp(0.01, 1.0)),
                answers_per_s: answered * share / 1.7,
                connections: 5_000,
                log_bytes_per_s: answered * 96.0,
                backlog_bytes: (40_000.0 * noise.share()) as u64,
                batch: 1.0 + 20.0 * crowded,
                commit_p99_us: 900.0 * noise.about(0.1),
                busy_refusals: if crowded > 1.1 { 900 } else { 0 },
            };
            let slow = 1.0 + 9.0 * (crowded - 0.8).max(0.0);
            Sample {
                t_s: t,
                intended: due as u64,
                sent: due as u64,
                late: Some(0),
                answered: answered as u64,
                refused: (answered * 0.3) as u64,
                granted: (got / 2.1) as u64,
                booked: (paid / 2.1) as u64,
                in_flight: (40.0 * slow * crowded) as u64,
                p50_us: 400.0 * slow * noise.about(0.05),
                p99_us: 2_100.0 * slow * noise.about(0.1),
                max_us: 9_000.0 * slow * noise.about(0.2),
                seats_booked: booked as u64,
                seats_held: held as u64,
                waiting: (5_000.0 * (booked / 50_000.0) * (1.0 - t / 90.0)) as u64,
                cores: vec![core(1.0, noise), core(0.7, noise)],
                server_rss: Some(310_000_000 + 400_000 * u64::from(second)),
                server_cpus: Some(1.7 * crowded.min(1.0)),
                load_cpus: 1.1 * crowded.min(1.0),
                others_cpus: 0.05 * noise.about(0.3),
            }
        })
        .collect()
}

/// The run.
pub(crate) fn report() -> RunReport {
    let series = series(60, &mut Noise(5));
    let histograms = histograms();
    let sum = |pick: fn(&Sample) -> u64| series.iter().map(pick).sum::<u64>();
    let counts = |pairs: &[(&str, u64)]| pairs.iter().map(|(name, sum)| ((*name).to_owned(), *sum)).collect();
    let mut scaling = Vec::new();
    for (cores, scale) in [(1_u16, 1.0), (2, 1.86), (3, 2.6), (4, 3.2)] {
        for in_flight in [1_u32, 4, 16, 64, 256] {
            let n = f64::from(in_flight);
            let answers_per_s = scale * 22_000.0 * n / (1.0 + 0.45 * (n - 1.0) + 0.0004 * n * (n - 1.0));
            scaling.push(ScalingPoint { cores, in_flight, answers_per_s, p99_us: 90.0 * n.sqrt() });
        }
    }
    RunReport {
        model: MODEL,
        kind: RunKind::Run,
        name: "onsale".to_owned(),
        started: "2026-11-24T10:00:00Z".to_owned(),
        command: "frontrow-loadgen onsale --url http://127.0.0.1:7070".to_owned(),
        commit: "0123456789abcdef0123456789abcdef01234567".to_owned(),
        machine: machine(),
        target: Target {
            url: "http://127.0.0.1:7070".to_owned(),
            cores: 2,
            partitions: 64,
            durability: "local".to_owned(),
            same_machine: true,
            event: 7,
            event_name: "Example night".to_owned(),
            seats: 50_000,
            sections: 20,
            rows: 1_000,
            connections_limit: None,
            address_limit: None,
        },
        scenario: "name = \"onsale\"\nconnections = 10000\n".to_owned(),
        seed: 42,
        load: Load {
            transport: "tcp".to_owned(),
            connections: 10_000,
            threads: 2,
            depth: 4,
            routed: true,
            rate_per_s: 0.0,
        },
        duration_s: 60.0,
        interrupted: false,
        totals: Totals {
            visits: 210_000,
            visits_won: 23_800,
            people: 200_000,
            people_missed: 0,
            left_over: 0,
            intended: sum(|s| s.intended),
            sent: sum(|s| s.sent),
            answered: sum(|s| s.answered),
            unanswered: 0,
            abandoned: 0,
            // Every answer has a code.
            codes: counts(&[
                ("granted", 26_000),
                ("booked", 23_800),
                ("queued", sum(|s| s.answered) - sum(|s| s.refused) - 49_800),
                ("seat_held", sum(|s| s.refused) - 5_608),
                ("error:busy", 5_400),
                ("expired", 208),
                ("news:expired", 312),
            ]),
            seats_granted: 54_600,
            seats_booked: 50_000,
            connected: 10_000,
            connect_failed: 0,
            connections_lost: 12,
            sold_out_at_s: Some(42.0),
            people_until_gone: Some(110_000),
        },
        latency: histograms.iter().map(|(class, of)| (class.clone(), latency(of))).collect(),
        uncorrected: Some(latency(&histogram(&mut Noise(3), 80_000, 210.0))),
        lateness: Some(latency(&histogram(&mut Noise(4), 80_000, 20.0))),
        server_rss_before: None,
        series,
        series_step_s: 1.0,
        steps: Vec::new(),
        scaling,
        verified: Verified {
            checks: counts(&[
                ("one_owner", 54_600),
                ("answered_once", 900_000),
                ("fifo", 4_100),
                ("final_state", 50_000),
            ]),
            violations: Vec::new(),
            violation_count: 0,
        },
        objective: None,
        found_per_s: None,
        trends: Vec::new(),
        doubts: Vec::new(),
        away: Vec::new(),
        quick: Vec::new(),
        seats_left: None,
        lived: None,
        questions: Vec::new(),
    }
}

/// The same as a search over rates.
pub(crate) fn search() -> RunReport {
    let mut report = report();
    report.kind = RunKind::Search;
    "steady".clone_into(&mut report.name);
    report.objective = Some("p99<=5ms".to_owned());
    report.found_per_s = Some(4_200.0);
    report.totals.sold_out_at_s = None;
    report.steps = [(2_000.0, 1.2), (4_000.0, 3.1), (8_000.0, 42.0), (5_000.0, 6.2), (4_200.0, 4.4)]
        .map(|(rate_per_s, p99_ms)| Step {
            rate_per_s,
            intended_per_s: rate_per_s * 4.0,
            answered_per_s: rate_per_s * 4.0,
            granted_per_s: rate_per_s * 0.9,
            latency: Latency { count: 1000, p99_us: p99_ms * 1e3, p50_us: 400.0, ..Latency::default() },
            busy_share: 0.0,
            met: p99_ms <= 5.0,
            why: if p99_ms <= 5.0 { String::new() } else { format!("p99 was {p99_ms} ms") },
        })
        .into();
    report
}
