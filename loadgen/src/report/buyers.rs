//! What buyers ask of a server; from a run's sums and series. The formulae stand
//! with [`super::capacity`].

use super::capacity::Question;
use super::costs::Costs;
use super::curve::{Curve, Rush};
use super::model::RunReport;
use super::rates::{self, Second};
use super::words::{count, number, ratio, seconds};

/// The peak factor where the run was at a set rate and so says nothing about arrivals.
const ASSUMED_PEAK: f64 = 3.0;

#[derive(Default)]
pub(super) struct Notes {
    pub(super) grounds: Vec<String>,
    pub(super) caveats: Vec<String>,
}

pub(super) fn step_s(report: &RunReport) -> f64 {
    if report.series_step_s > 0.0 { report.series_step_s } else { 1.0 }
}

/// Requests per second that the buyers of a question ask, by how they come.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Demand {
    /// In their busiest second, if they come as the people of the run did; `None` if those came at a set rate.
    pub(super) rush: Option<f64>,
    /// If they come evenly over the minutes asked about; with waves assumed where there is no rush to tell of.
    pub(super) even: f64,
    /// All are to come in less time than the rush takes: then it is the only way to come.
    pub(super) even_is_no_other: bool,
}

impl Demand {
    /// What is planned for: the more demanding of the two.
    pub(super) fn headline(self) -> f64 {
        match self.rush {
            Some(rush) if self.is_rush() => rush,
            _ => self.even,
        }
    }

    /// Whether that is the rush; always, if they cannot come more evenly than in it.
    pub(super) fn is_rush(self) -> bool {
        self.rush.is_some_and(|rush| self.even_is_no_other || rush >= self.even)
    }
}

pub(super) fn demand(report: &RunReport, question: Question, how: Rush, notes: &mut Notes) -> Demand {
    if report.totals.visits == 0 {
        notes.caveats.push("The run had no visits, so requests per buyer are not known.".to_owned());
        return Demand::default();
    }
    let (answered, who) = (report.totals.answered, people(report));
    let per_buyer = ratio(answered as f64, who as f64);
    let mean = ratio(per_buyer * question.buyers as f64, 60.0 * question.minutes);
    let rush = in_rush(report, question, how).map(|asked| {
        notes.grounds.push(rush_words(report, question, asked));
        notes.grounds.extend(which_rush(how));
        asked.per_s
    });
    if question.half_within_s.is_some() && (rush.is_none() || how.half_s.is_none()) {
        notes.caveats.push(
            "`--half-within` was not used: this run has no rush that another could be reckoned from; `frontrow-loadgen onsale` plays one."
                .to_owned(),
        );
    }
    let one = if report.totals.people > 0 { "a buyer" } else { "a visit (people were not counted)" };
    notes.grounds.push(format!(
        "Evenly: {one} made {} requests in all ({} answers for {}; later tries included). {} × {} in {} are {} requests/s.",
        number(per_buyer),
        count(answered),
        count(who),
        count(question.buyers),
        number(per_buyer),
        seconds(60.0 * question.minutes),
        number(mean)
    ));
    let even = if rush.is_some() {
        mean
    } else {
        notes.caveats.push(if report.load.rate_per_s > 0.0 {
            format!(
                "People came at a set rate here, which says nothing about a rush: a busiest second of {ASSUMED_PEAK} times the mean is assumed. `frontrow-loadgen onsale` plays a rush."
            )
        } else {
            format!(
                "The run was too short to tell its busiest second: one of {ASSUMED_PEAK} times the mean is assumed."
            )
        });
        ASSUMED_PEAK * mean
    };
    Demand { rush, even, even_is_no_other: rush.is_some() && !how.beside_even }
}

/// What the buyers ask in the busiest second of a rush, and what that comes from.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asked {
    /// The second of the run that is carried over: that with most to do, connections included.
    busiest: Second,
    /// Whether more requests were due in another.
    for_connections: bool,
    /// How many times the share of the run's busiest second this rush's asks.
    times: f64,
    /// Requests in it.
    requests: f64,
    /// Connections opened in it, if each buyer opens one, and how many answers one is as much as; none where nothing is known
    /// of that.
    opens: Option<(f64, f64)>,
    /// All of it, in requests per second.
    pub(super) per_s: f64,
}

/// `None` if people came at a set rate, or the run was too short to tell.
pub(super) fn in_rush(report: &RunReport, question: Question, how: Rush) -> Option<Asked> {
    if report.load.rate_per_s > 0.0 {
        return None;
    }
    let busiest = rates::busiest(report)?;
    let share = ratio(busiest.due, report.totals.intended as f64);
    let curve = Curve::of(report);
    let times = curve.as_ref().map_or(1.0, |curve| how.times(curve.half_s, share));
    let of = |second: Second| {
        let requests = ratio(times * second.due * question.buyers as f64, people(report) as f64);
        let opens = curve.as_ref().and_then(|curve| opens(report, question, (how, curve), second));
        let per_s = requests + opens.map_or(0.0, |(opens, answers)| opens * answers);
        Asked { busiest: second, for_connections: second != busiest, times, requests, opens, per_s }
    };
    rates::whole(report).into_iter().map(of).max_by(|a, b| a.per_s.total_cmp(&b.per_s))
}

/// Buyers who come in that second, and how many answers it is as much to open a connection: in the run people took turns on
/// those that were opened at its beginning.
fn opens(
    report: &RunReport,
    question: Question,
    (how, curve): (Rush, &Curve),
    busiest: Second,
) -> Option<(f64, f64)> {
    if question.buyers <= u64::from(report.load.connections) {
        return None;
    }
    let costs = Costs::of(report)?;
    let answers = ratio(costs.opening?.us, costs.mean_us);
    let came = curve.share_by(busiest.t_s) - curve.share_by(busiest.t_s - 1.0);
    let faster = how.half_s.map_or(1.0, |half| ratio(curve.half_s, half));
    Some((question.buyers as f64 * came * faster, answers))
}

/// How the busiest second is carried over, with every number it takes.
fn rush_words(report: &RunReport, question: Question, asked: Asked) -> String {
    let Asked { busiest, for_connections, times: times_rush, requests, opens, per_s } = asked;
    let (who, mean) = (people(report), ratio(report.totals.intended as f64, report.duration_s));
    let opened = opens.map_or_else(String::new, |(opens, answers)| {
        format!(
            " If each opens a connection, {} of them come in that second beside, and one is as much to do as {} answers (of the \
             connections opened at this run's beginning): together as much as {} requests.",
            number(opens),
            number(answers),
            number(per_s)
        )
    });
    format!(
        "Rush: {} people asked {} requests in {}, {} times the mean of {}/s over the run's {}. \
         {} buyers{} ask {}{}.{opened}",
        count(who),
        number(busiest.due),
        if for_connections {
            format!(
                "the second at {} (more in another; with the connections that buyers open it asks most)",
                seconds(busiest.t_s.round())
            )
        } else {
            format!("their busiest second (at {})", seconds(busiest.t_s.round()))
        },
        number(ratio(busiest.due, mean)),
        number(mean),
        seconds(report.duration_s),
        count(question.buyers),
        match ratio(question.buyers as f64, who as f64) {
            1.0 => String::new(),
            times => format!(", {} times as many,", number(times)),
        },
        number(requests),
        if (times_rush - 1.0).abs() < 1e-9 {
            String::new()
        } else {
            format!(
                " in the rush that is asked about, {} times the share of this run's (they come at another pace, and go on \
                 asking for as long as people did here)",
                number(times_rush)
            )
        }
    )
}

/// Which rush is meant, and how to ask for another.
fn which_rush(rush: Rush) -> Option<String> {
    let half = seconds(rush.half_s?);
    Some(format!(
        "The rush that is meant: half of the buyers within {half}{}. To have another reckoned add `--half-within 60s` to the command; --minutes is for \
         buyers who come evenly.",
        if rush.as_here { ", as in this run" } else { "" }
    ))
}

/// How the buyers come: `if they rush as this run's people did (half of them within 5 s)`.
pub(super) fn as_here(rush: Rush) -> String {
    match rush.half_s {
        Some(half) if rush.as_here => {
            format!("if they rush as this run's people did (half of them within {})", seconds(half))
        }
        Some(half) => format!("if they rush so that half of them come within {}", seconds(half)),
        None => "if they come as fast as this run's people".to_owned(),
    }
}

/// Who came. Whoever tries again is the same person, but another visit.
pub(super) fn people(report: &RunReport) -> u64 {
    if report.totals.people > 0 { report.totals.people } else { report.totals.visits }
}
