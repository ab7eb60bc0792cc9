//! Plots as inline SVG, with the colours left to the page's style (so that light, dark and print each have theirs).
//!
//! Made here and not by a plotting crate: those bake their colours and fonts in, and the two plots that matter most
//! (the percentile axis and the heat map) would be hand-made in them, too.

use super::words::{bytes, micros, number, seconds};
use std::fmt::Write as _;

const WIDTH: f64 = 640.0;
const HEIGHT: f64 = 300.0;
const LEFT: f64 = 74.0;
const RIGHT: f64 = 16.0;
const TOP: f64 = 12.0;
const BOTTOM: f64 = 46.0;

/// `text` as it may stand in HTML and SVG, in an attribute too.
pub(crate) fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            // Other control characters are not allowed in XML.
            c if c.is_control() && c != '\n' && c != '\t' => out.push('\u{fffd}'),
            c => out.push(c),
        }
    }
    out
}

/// How values become places.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Scale {
    /// Evenly, from 0.
    Linear,
    /// By powers of ten.
    Log,
    /// Percentiles by the powers of ten of 1/(1 − p): each further nine takes the same room.
    Percentile,
}

/// How values are written at the ticks.
#[derive(Clone, Copy)]
pub(crate) enum Unit {
    Plain,
    Micros,
    Bytes,
    Seconds,
    Percentile,
}

impl Unit {
    pub(crate) fn write(self, value: f64) -> String {
        match self {
            Self::Plain => number(value),
            Self::Micros => micros(value),
            Self::Bytes => bytes(value),
            Self::Seconds => seconds(value),
            Self::Percentile => value.to_string(),
        }
    }
}

/// One axis.
pub(crate) struct Axis {
    pub(crate) label: &'static str,
    pub(crate) scale: Scale,
    pub(crate) unit: Unit,
    low: f64,
    high: f64,
}

impl Axis {
    /// An axis wide enough for `values`.
    pub(crate) fn over(
        label: &'static str,
        scale: Scale,
        unit: Unit,
        values: impl Iterator<Item = f64>,
    ) -> Self {
        let shown = |value: &f64| value.is_finite() && (scale != Scale::Log || *value > 0.0);
        let (low, high) = values
            .filter(shown)
            .fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), value| (low.min(value), high.max(value)));
        let (low, high) = match scale {
            _ if low > high => (1.0, 10.0),
            Scale::Linear => (0.0, if high > 0.0 { high * 1.05 } else { 1.0 }),
            Scale::Log => (10_f64.powf(low.log10().floor()), 10_f64.powf((high * 1.001).log10().ceil())),
            Scale::Percentile => (0.0, 100.0 - 10_f64.powf((100.0 - high).max(1e-4).log10().floor())),
        };
        Self { label, scale, unit, low, high }
    }

    /// The same, ending at `high` exactly.
    pub(crate) fn to(mut self, high: f64) -> Self {
        if high > self.low {
            self.high = high;
        }
        self
    }

    /// 0 to 1 along the axis; `None` outside of what it can show.
    fn place(&self, value: f64) -> Option<f64> {
        let map = |value: f64| match self.scale {
            Scale::Linear => value,
            Scale::Log => value.max(1e-12).log10(),
            Scale::Percentile => -((100.0 - value) / 100.0).max(1e-9).log10(),
        };
        let place = (map(value) - map(self.low)) / (map(self.high) - map(self.low));
        let shown = value.is_finite() && (self.scale != Scale::Log || value > 0.0);
        (shown && place.is_finite()).then_some(place.clamp(0.0, 1.0))
    }

    fn ticks(&self) -> Vec<f64> {
        match self.scale {
            Scale::Linear => {
                let step = self.unit.step(self.high / 6.0);
                (0..=12).map(|n| f64::from(n) * step).take_while(|tick| *tick <= self.high).collect()
            }
            Scale::Log => {
                let (first, last) = (self.low.log10().round() as i32, self.high.log10().round() as i32);
                let every = ((last - first) / 8 + 1).max(1) as usize;
                (first..=last).step_by(every).map(|power| 10_f64.powi(power)).collect()
            }
            Scale::Percentile => {
                let all = [0.0, 50.0, 90.0, 99.0, 99.9, 99.99, 99.999, 99.9999];
                all.into_iter().filter(|tick| *tick <= self.high + 1e-9).collect()
            }
        }
    }
}

impl Unit {
    /// The next step from one tick to another that reads well: 1, 2 or 5 times a power of ten; powers of two of a
    /// binary unit; parts of a minute and of an hour.
    fn step(self, least: f64) -> f64 {
        let least = least * 0.999;
        match self {
            Self::Bytes => 2_f64.powf(least.max(1.0).log2().ceil()),
            Self::Seconds if least > 20.0 => [30, 60, 120, 300, 600, 1200, 1800, 3600, 7200, 14_400, 43_200]
                .into_iter()
                .map(f64::from)
                .find(|step| *step >= least)
                .unwrap_or_else(|| (least / 86_400.0).ceil() * 86_400.0),
            _ => {
                let unit = 10_f64.powf(least.log10().floor());
                [1.0, 2.0, 5.0, 10.0].map(|n| n * unit).into_iter().find(|n| *n >= least).unwrap_or(least)
            }
        }
    }
}

/// A series in a plot. `look` chooses colour and dashes: 0 to 5.
pub(crate) struct Line {
    pub(crate) name: String,
    pub(crate) look: usize,
    pub(crate) points: Vec<(f64, f64)>,
    /// Marks instead of a line.
    pub(crate) marks: bool,
}

impl Line {
    pub(crate) fn new(name: &str, look: usize, points: Vec<(f64, f64)>) -> Self {
        Self { name: name.to_owned(), look, points, marks: false }
    }

    pub(crate) fn marks(name: &str, look: usize, points: Vec<(f64, f64)>) -> Self {
        Self { name: name.to_owned(), look, points, marks: true }
    }
}

/// A picture under construction.
pub(crate) struct Picture {
    out: String,
    height: f64,
}

impl Picture {
    /// Begins a picture; `title` is what a screen reader says.
    pub(crate) fn new(title: &str, height: f64) -> Self {
        let title = escape(title);
        let out = format!(
            "<svg viewBox=\"0 0 {WIDTH} {height}\" role=\"img\" aria-label=\"{title}\"><title>{title}</title>\n"
        );
        Self { out, height }
    }

    pub(crate) fn text(&mut self, x: f64, y: f64, class: &str, text: &str) {
        let _ =
            writeln!(self.out, "<text x=\"{x:.1}\" y=\"{y:.1}\" class=\"{class}\">{}</text>", escape(text));
    }

    /// A filled cell, with what it says when pointed at.
    pub(crate) fn cell(&mut self, [x, y, wide, high]: [f64; 4], share: f64, says: &str) {
        let hot = if share >= super::saturation::SATURATED { " hot" } else { "" };
        let _ = writeln!(
            self.out,
            "<rect x=\"{x:.2}\" y=\"{y:.1}\" width=\"{wide:.2}\" height=\"{high:.1}\" class=\"cell{hot}\" fill-opacity=\"{:.2}\"><title>{}</title></rect>",
            0.06 + 0.94 * share.clamp(0.0, 1.0),
            escape(says)
        );
    }

    pub(crate) fn x_axis(&mut self, axis: &Axis) {
        let bottom = self.height - BOTTOM;
        for tick in axis.ticks() {
            if let Some(place) = axis.place(tick) {
                let x = LEFT + place * inner();
                let _ = writeln!(self.out, "<path class=\"grid\" d=\"M{x:.1} {TOP}V{:.1}\"/>", bottom + 4.0);
                // A long word at the right edge would be cut.
                let anchor = if place > 0.97 { "tick end" } else { "tick mid" };
                let shift = if place > 0.97 { RIGHT - 2.0 } else { 0.0 };
                self.text(x + shift, bottom + 18.0, anchor, &axis.unit.write(tick));
            }
        }
        self.text(LEFT + inner() / 2.0, self.height - 8.0, "label mid", axis.label);
    }

    fn y_axis(&mut self, axis: &Axis) {
        for tick in axis.ticks() {
            if let Some(place) = axis.place(tick) {
                let y = self.y(place);
                let _ =
                    writeln!(self.out, "<path class=\"grid\" d=\"M{LEFT} {y:.1}H{:.1}\"/>", WIDTH - RIGHT);
                self.text(LEFT - 6.0, y + 4.0, "tick end", &axis.unit.write(tick));
            }
        }
        let middle = f64::midpoint(TOP, self.height - BOTTOM);
        let _ = writeln!(
            self.out,
            "<text class=\"label mid\" transform=\"translate(13 {middle:.1}) rotate(-90)\">{}</text>",
            escape(axis.label)
        );
    }

    fn y(&self, place: f64) -> f64 {
        self.height - BOTTOM - place * (self.height - BOTTOM - TOP)
    }

    fn line(&mut self, line: &Line, x: &Axis, y: &Axis) {
        let placed =
            |point: &(f64, f64)| Some((LEFT + x.place(point.0)? * inner(), self.y(y.place(point.1)?)));
        if line.marks {
            let mut marks = String::new();
            for (x, y) in line.points.iter().filter_map(placed) {
                let _ = write!(marks, "{}", mark(line.look, x, y));
            }
            self.out.push_str(&marks);
            return;
        }
        let (mut path, mut pen) = (String::new(), 'M');
        for point in &line.points {
            let Some((x, y)) = placed(point) else {
                pen = 'M';
                continue;
            };
            let _ = write!(path, "{pen}{x:.1} {y:.1}");
            pen = 'L';
        }
        if !path.is_empty() {
            let _ = writeln!(
                self.out,
                "<path class=\"line s{}\" d=\"{path}\"><title>{}</title></path>",
                line.look % 6,
                escape(&line.name)
            );
        }
    }

    pub(crate) fn end(mut self) -> String {
        self.out.push_str("</svg>\n");
        self.out
    }
}

/// Room between the left and the right edge of a plot.
pub(crate) fn inner() -> f64 {
    WIDTH - LEFT - RIGHT
}

/// The left edge of a plot.
pub(crate) const fn left() -> f64 {
    LEFT
}

/// The upper edge and what is below the lower edge.
pub(crate) const fn frame() -> (f64, f64) {
    (TOP, BOTTOM)
}

/// Each look has a shape of its own: colour is never the only difference.
fn mark(look: usize, x: f64, y: f64) -> String {
    let d = match look % 3 {
        0 => format!("M{:.1} {y:.1}a4 4 0 1 0 8 0a4 4 0 1 0 -8 0", x - 4.0),
        1 => format!("M{:.1} {:.1}l8 8m0 -8l-8 8", x - 4.0, y - 4.0),
        _ => format!("M{:.1} {:.1}l5 9h-10z", x, y - 5.0),
    };
    format!("<path class=\"mark s{}\" d=\"{d}\"/>\n", look % 6)
}

/// A plot with its legend.
pub(crate) fn plot(title: &str, x: &Axis, y: &Axis, lines: &[Line]) -> String {
    let mut picture = Picture::new(title, HEIGHT);
    picture.x_axis(x);
    picture.y_axis(y);
    for line in lines {
        picture.line(line, x, y);
    }
    format!("{}{}", legend(lines), picture.end())
}

fn legend(lines: &[Line]) -> String {
    let mut out = String::from("<ul class=\"legend\">");
    for line in lines {
        let sample = if line.marks {
            mark(line.look, 15.0, 6.0)
        } else {
            format!("<path class=\"line s{}\" d=\"M1 6H29\"/>", line.look % 6)
        };
        let _ = write!(
            out,
            "<li><svg class=\"key\" viewBox=\"0 0 30 12\" aria-hidden=\"true\">{sample}</svg>{}</li>",
            escape(&line.name)
        );
    }
    out.push_str("</ul>\n");
    out
}
