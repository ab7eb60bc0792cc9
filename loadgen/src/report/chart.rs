//! The plots of a page. Each returns nothing where the run has nothing to show.

use super::capacity::{Fit, core_points, depth_points};
use super::model::{RunReport, Sample};
use super::svg::{Axis, Line, Picture, Scale, Unit, frame, inner, left, plot};
use super::verdict::sold_out;
use super::words::{percent, seconds};
use std::fmt::Write as _;

/// Points a line is drawn with at most, and columns of a heat map.
const POINTS: usize = 400;
const COLUMNS: usize = 180;

const TIME: &str = "time since the start";

/// A plot and how to read it.
pub(crate) struct Figure {
    pub(crate) title: &'static str,
    pub(crate) caption: String,
    pub(crate) picture: String,
}

/// All plots that `report` has something for.
pub(crate) fn figures(report: &RunReport, by_depth: &Fit, by_cores: &Fit) -> Vec<Figure> {
    let law = |points: Vec<(f64, f64)>, fit: &Fit, cores: bool| scalability(&points, fit, cores);
    [
        percentiles(report),
        rates(report),
        latency_over_time(report),
        heat(report),
        sold(report),
        waiting(report),
        memory(report),
        cpus(report),
        steps(report),
        law(depth_points(report), by_depth, false),
        law(core_points(report), by_cores, true),
    ]
    .into_iter()
    .flatten()
    .collect()
}

fn percentiles(report: &RunReport) -> Option<Figure> {
    let curve = |name: &str, look, of: Option<&super::model::Latency>| {
        of.filter(|latency| latency.curve.len() > 1)
            .map(|latency| Line::new(name, look, latency.curve.clone()))
    };
    let lines: Vec<Line> = [
        curve("all, from when due (corrected)", 0, report.latency.get("all")),
        curve("all, from when sent (uncorrected)", 1, report.uncorrected.as_ref()),
        curve("claims, from when due", 2, report.latency.get("claim")),
        curve("bookings, from when due", 3, report.latency.get("book")),
    ]
    .into_iter()
    .flatten()
    .collect();
    // The end of a curve (100 %) has no place on this axis: what is shown ends with one answer of all.
    let most = report.latency.values().map(|latency| latency.count).max().unwrap_or(0).max(2) as f64;
    let x = Axis::over(
        "percentile (%)",
        Scale::Percentile,
        Unit::Percentile,
        std::iter::once(100.0 - 100.0 / most),
    );
    let y = Axis::over("latency", Scale::Log, Unit::Micros, values(&lines));
    (!lines.is_empty()).then(|| Figure {
        title: "Latency by percentile",
        caption: "Read up from 99 %: one answer in a hundred took longer than the line there. Each step to the right is ten times rarer. A gap between corrected and uncorrected is waiting that a closed-loop tool would have hidden.".to_owned(),
        picture: plot("Latency by percentile", &x, &y, &lines),
    })
}

fn rates(report: &RunReport) -> Option<Figure> {
    let step = step_s(report);
    let rate = |pick: fn(&Sample) -> u64| over_time(report, Thin::Mean, |s| Some(pick(s) as f64 / step));
    let lines = vec![
        Line::new("due", 4, rate(|s| s.intended)),
        Line::new("answered", 0, rate(|s| s.answered)),
        Line::new("granted", 2, rate(|s| s.granted)),
        Line::new("refused", 1, rate(|s| s.refused)),
    ];
    timed(
        report,
        "Rate",
        "requests per second",
        Scale::Linear,
        Unit::Plain,
        lines,
        "Where answered falls below due, requests wait. Granted and refused are parts of answered."
            .to_owned(),
    )
}

fn latency_over_time(report: &RunReport) -> Option<Figure> {
    let of = |pick: fn(&Sample) -> f64| {
        over_time(report, Thin::Most, |s| Some(pick(s)).filter(|us| s.answered > 0 && *us > 0.0))
    };
    let lines = vec![
        Line::new("slowest", 3, of(|s| s.max_us)),
        Line::new("p99", 1, of(|s| s.p99_us)),
        Line::new("median", 0, of(|s| s.p50_us)),
    ];
    timed(report, "Latency over time", "latency", Scale::Log, Unit::Micros, lines, "Latency of the answers of each moment, from when their requests were due. A hill with a slow end is a queue that drains.".to_owned())
}

fn sold(report: &RunReport) -> Option<Figure> {
    let of = |pick: fn(&Sample) -> u64| over_time(report, Thin::Most, |s| Some(pick(s) as f64));
    let mut lines = vec![
        Line::new("seats booked", 0, of(|s| s.seats_booked)),
        Line::new("seats held, not booked", 4, of(|s| s.seats_held)),
    ];
    let end = report.series.last().map_or(0.0, |sample| sample.t_s);
    let seats = report.target.seats as f64;
    if seats > 0.0 {
        lines.push(Line::new("all seats", 5, vec![(0.0, seats), (end, seats)]));
    }
    let sold_out = sold_out(report).map_or_else(
        || "The run ended before the last seat was sold.".to_owned(),
        |sold_out| format!("This one was {sold_out}."),
    );
    let any = report.series.iter().any(|s| s.seats_booked + s.seats_held > 0);
    let caption = format!("Booked meets all seats when the hall is sold out. {sold_out}");
    timed(report, "Seats", "seats", Scale::Linear, Unit::Plain, lines, caption).filter(|_| any)
}

fn waiting(report: &RunReport) -> Option<Figure> {
    let of = |pick: fn(&Sample) -> u64| over_time(report, Thin::Most, |s| Some(pick(s) as f64));
    let lines = vec![
        Line::new("requests in flight", 0, of(|s| s.in_flight)),
        Line::new("parties waiting in queues", 1, of(|s| s.waiting)),
    ];
    timed(report, "Waiting", "requests, parties", Scale::Linear, Unit::Plain, lines, "Requests that are sent and not yet answered, and parties that wait for seats to come free. In flight should fall back after every burst.".to_owned())
}

fn memory(report: &RunReport) -> Option<Figure> {
    let memory = over_time(report, Thin::Most, |s| s.server_rss.map(|bytes| bytes as f64));
    let backlog = over_time(report, Thin::Most, |s| {
        (!s.cores.is_empty()).then(|| s.cores.iter().map(|core| core.backlog_bytes).sum::<u64>() as f64)
    });
    let lines = vec![Line::new("server, resident", 0, memory), Line::new("log not yet durable", 1, backlog)];
    timed(report, "Memory", "bytes", Scale::Linear, Unit::Bytes, lines, "Resident memory is flat once the arenas are in use; a line that rises for the whole run is a leak or a log kept in memory.".to_owned())
}

fn cpus(report: &RunReport) -> Option<Figure> {
    let lines = vec![
        Line::new("server", 0, over_time(report, Thin::Mean, |s| s.server_cpus)),
        Line::new("load generator", 4, over_time(report, Thin::Mean, |s| Some(s.load_cpus))),
        Line::new("everybody else", 1, over_time(report, Thin::Mean, |s| Some(s.others_cpus))),
    ];
    let caption = format!(
        "The load's machine has {} CPUs. Where server, load and others together come near to that, they take from each other, and the figures are those of a crowded machine.",
        report.machine.cpus
    );
    timed(report, "Processors", "CPUs kept busy", Scale::Linear, Unit::Plain, lines, caption)
}

fn steps(report: &RunReport) -> Option<Figure> {
    let of = |met: bool| {
        let some = report.steps.iter().filter(move |step| step.met == met);
        some.map(|step| (step.rate_per_s, step.latency.p99_us)).collect()
    };
    let lines = vec![Line::marks("objective met", 0, of(true)), Line::marks("missed", 1, of(false))];
    let x = Axis::over(
        "visits per second",
        Scale::Linear,
        Unit::Plain,
        report.steps.iter().map(|s| s.rate_per_s),
    );
    let y = Axis::over("p99 latency", Scale::Log, Unit::Micros, values(&lines));
    (!report.steps.is_empty()).then(|| Figure {
        title: "Steps",
        caption: format!(
            "Each mark is one rate that was tried. The answer is the rightmost circle before the crosses begin{}.",
            report.objective.as_ref().map_or_else(String::new, |objective| format!(" (objective {objective})"))
        ),
        picture: plot("Steps", &x, &y, &lines),
    })
}

fn scalability(points: &[(f64, f64)], fit: &Fit, cores: bool) -> Option<Figure> {
    if points.is_empty() || *fit == Fit::NotAsked {
        return None;
    }
    let mut lines = vec![Line::marks("measured", 0, points.to_vec())];
    let most = points.iter().map(|point| point.0).fold(1.0, f64::max);
    let end = if cores { (2.0 * most).max(4.0) } else { most };
    if let Some(usl) = fit.law() {
        let curve = |from: f64, to: f64| -> Vec<(f64, f64)> {
            (0..=80).map(|n| from + (to - from) * f64::from(n) / 80.0).map(|n| (n, usl.at(n))).collect()
        };
        lines.push(Line::new("fitted law", 1, curve(1.0, most)));
        if end > most {
            lines.push(Line::new("extrapolated", 3, curve(most, end)));
        }
    }
    let (title, label) = if cores {
        ("Scalability over cores", "serving cores")
    } else {
        ("Scalability over requests in flight", "requests in flight")
    };
    let x = Axis::over(label, Scale::Linear, Unit::Plain, std::iter::once(end));
    let y = Axis::over("answers per second", Scale::Linear, Unit::Plain, values(&lines));
    let caption = format!(
        "Universal scalability law: {fit}. Bending means that work waits for work; falling means that it costs more to agree than is gained."
    );
    Some(Figure { title, caption, picture: plot(title, &x, &y, &lines) })
}

/// Busy share by core and time.
fn heat(report: &RunReport) -> Option<Figure> {
    let series = &report.series;
    let cores = series.iter().map(|sample| sample.cores.len()).max().unwrap_or(0);
    if cores == 0 || series.iter().flat_map(|s| &s.cores).all(|core| core.busy.is_none()) {
        return None;
    }
    let (top, bottom) = frame();
    let row = if cores <= 8 { 26.0 } else { (220.0 / cores as f64).max(5.0) };
    let height = top + row * cores as f64 + bottom;
    let mut picture = Picture::new("Busy share of each core", height);
    let end = series.last().map_or(1.0, |sample| sample.t_s);
    let wide = series.len().div_ceil(COLUMNS).max(1);
    let columns = series.len().div_ceil(wide);
    for core in 0..cores {
        let y = top + row * core as f64;
        if cores <= 16 || core % 8 == 0 {
            picture.text(left() - 6.0, y + row / 2.0 + 4.0, "tick end", &format!("core {core}"));
        }
        for (place, some) in series.chunks(wide).enumerate() {
            let shares: Vec<f64> = some.iter().filter_map(|s| s.cores.get(core)?.busy).collect();
            let Some(share) = shares.iter().copied().reduce(f64::max) else { continue };
            let cell = inner() / columns as f64;
            let says = format!(
                "core {core}, {}: {} busy",
                seconds(some.last().map_or(0.0, |s| s.t_s)),
                percent(share)
            );
            picture.cell([left() + cell * place as f64, y, cell, row - 2.0], share, &says);
        }
    }
    picture.x_axis(&Axis::over(TIME, Scale::Linear, Unit::Seconds, std::iter::empty()).to(end));
    let scale: String = [0.0, 0.25, 0.5, 0.75, 1.0].iter().fold(String::new(), |mut out, share| {
        let hot = if *share >= super::saturation::SATURATED { " hot" } else { "" };
        let _ = write!(
            out,
            "<li><svg class=\"key\" viewBox=\"0 0 30 12\" aria-hidden=\"true\"><rect x=\"1\" y=\"1\" width=\"28\" height=\"10\" class=\"cell{hot}\" fill-opacity=\"{:.2}\"/></svg>{}</li>",
            0.06 + 0.94 * share,
            percent(*share)
        );
        out
    });
    Some(Figure {
        title: "Core heat",
        caption: "How much of each moment a core's thread ran. Darker is busier; an outlined cell is at 90 % or more, where a core counts as saturated. One dark row among pale ones is a hot row of seats or an uneven routing.".to_owned(),
        picture: format!("<ul class=\"legend\">{scale}</ul>\n{}", picture.end()),
    })
}

/// A small line without axes, for a table.
pub(crate) fn sparkline(values: &[f64], says: &str) -> String {
    let most = values.iter().copied().filter(|value| value.is_finite()).fold(0.0, f64::max);
    if values.is_empty() || most <= 0.0 {
        return String::new();
    }
    let (wide, high) = (160.0, 32.0);
    let x = |place: usize| 4.0 + (wide - 8.0) * place as f64 / values.len().saturating_sub(1).max(1) as f64;
    let y = |value: f64| high - 4.0 - (high - 8.0) * if value.is_finite() { value / most } else { 0.0 };
    let mut path = String::new();
    for (place, value) in values.iter().enumerate() {
        let _ = write!(path, "{}{:.1} {:.1}", if place == 0 { 'M' } else { 'L' }, x(place), y(*value));
    }
    let (last_x, last_y) = (x(values.len() - 1), y(values[values.len() - 1]));
    format!(
        "<svg class=\"spark\" viewBox=\"0 0 {wide} {high}\" role=\"img\" aria-label=\"{says}\"><path class=\"line s0\" d=\"{path}\"/><path class=\"mark s0\" d=\"M{:.1} {last_y:.1}a2 2 0 1 0 4 0a2 2 0 1 0 -4 0\"/></svg>",
        last_x - 2.0
    )
}

fn timed(
    report: &RunReport,
    title: &'static str,
    label: &'static str,
    scale: Scale,
    unit: Unit,
    lines: Vec<Line>,
    caption: String,
) -> Option<Figure> {
    let lines: Vec<Line> = lines.into_iter().filter(|line| !line.points.is_empty()).collect();
    let seen = lines.iter().flat_map(|line| &line.points).any(|point| point.1 > 0.0);
    let end = report.series.last().map_or(1.0, |sample| sample.t_s);
    let x = Axis::over(TIME, Scale::Linear, Unit::Seconds, std::iter::empty()).to(end);
    let y = Axis::over(label, scale, unit, values(&lines));
    seen.then(|| Figure { title, caption, picture: plot(title, &x, &y, &lines) })
}

fn values(lines: &[Line]) -> impl Iterator<Item = f64> + '_ {
    lines.iter().flat_map(|line| &line.points).map(|point| point.1)
}

fn step_s(report: &RunReport) -> f64 {
    if report.series_step_s > 0.0 { report.series_step_s } else { 1.0 }
}

/// What stands for several moments in a long run.
#[derive(Clone, Copy)]
enum Thin {
    Mean,
    Most,
}

fn over_time(report: &RunReport, thin: Thin, value: impl Fn(&Sample) -> Option<f64>) -> Vec<(f64, f64)> {
    let together = report.series.len().div_ceil(POINTS).max(1);
    let chunks = report.series.chunks(together);
    chunks
        .filter_map(|some| {
            let values: Vec<f64> = some.iter().filter_map(&value).filter(|value| value.is_finite()).collect();
            let one = match thin {
                Thin::Mean => values.iter().sum::<f64>() / values.len() as f64,
                Thin::Most => values.iter().copied().fold(f64::NEG_INFINITY, f64::max),
            };
            Some((some.last()?.t_s, one)).filter(|_| !values.is_empty())
        })
        .collect()
}
