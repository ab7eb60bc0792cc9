//! What buyers ask of a server, and how fast they take the seats; from a run's sums and series. The formulae stand
//! with [`super::capacity`].

use super::capacity::Question;
use super::model::{RunKind, RunReport};
use super::rates::{self, Second};
use super::words::{count, number, ratio, seconds};
use crate::crowd::{Scenario, Shape};

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
}

impl Demand {
    /// What is planned for: the more demanding of the two.
    pub(super) fn headline(self) -> f64 {
        self.rush.unwrap_or(0.0).max(self.even)
    }

    /// Whether that is the rush.
    pub(super) fn is_rush(self) -> bool {
        self.rush.is_some_and(|rush| rush >= self.even)
    }
}

pub(super) fn demand(report: &RunReport, question: Question, notes: &mut Notes) -> Demand {
    if report.totals.visits == 0 {
        notes.caveats.push("The run had no visits, so requests per buyer are not known.".to_owned());
        return Demand::default();
    }
    let (answered, who) = (report.totals.answered, people(report));
    let per_buyer = ratio(answered as f64, who as f64);
    let mean = ratio(per_buyer * question.buyers as f64, 60.0 * question.minutes);
    let rush = if report.load.rate_per_s > 0.0 { None } else { rates::busiest(report) };
    let rush = rush.map(|busiest| {
        notes.grounds.push(rush_words(report, question, busiest));
        ratio(busiest.due * question.buyers as f64, who as f64)
    });
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
    Demand { rush, even }
}

/// How the busiest second is carried over, with every number it takes.
fn rush_words(report: &RunReport, question: Question, busiest: Second) -> String {
    let (who, mean) = (people(report), ratio(report.totals.intended as f64, report.duration_s));
    format!(
        "Rush: {} people asked {} requests in their busiest second (at {}), {} times the mean of {}/s over the run's {}. \
         {} buyers are {} times as many, and ask {}.",
        count(who),
        number(busiest.due),
        seconds(busiest.t_s.round()),
        number(ratio(busiest.due, mean)),
        number(mean),
        seconds(report.duration_s),
        count(question.buyers),
        number(ratio(question.buyers as f64, who as f64)),
        number(ratio(busiest.due * question.buyers as f64, who as f64))
    )
}

/// How the people of a run came: `if they rush as this run's people did (half of them within 5 s)`.
pub(super) fn as_here(report: &RunReport) -> String {
    let Ok(scenario) = Scenario::parse(&report.scenario) else {
        return "if they come as fast as this run's people".to_owned();
    };
    let bursts = scenario.groups.iter().filter(|group| group.arrivals.shape == Shape::Burst);
    let most = bursts.max_by_key(|group| group.arrivals.people);
    match most.and_then(|group| group.arrivals.half_life_s) {
        Some(half) => {
            format!("if they rush as this run's people did (half of them within {})", seconds(half))
        }
        None => {
            format!("if they come as fast as this run's people (all within {})", seconds(scenario.duration_s))
        }
    }
}

/// Who came. Whoever tries again is the same person, but another visit.
pub(super) fn people(report: &RunReport) -> u64 {
    if report.totals.people > 0 { report.totals.people } else { report.totals.visits }
}

/// How far the seats go, and how long it takes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Sold {
    /// All of them, after so many seconds.
    Out(f64),
    /// So many, after so many seconds: the run did not sell out either.
    Most(f64, f64),
    /// So many: there are too few buyers for all.
    Few(f64),
    Unknown,
}

/// How fast the seats of a run sold.
pub(super) struct Pace {
    /// People who came for each seat before none was left.
    per_seat: f64,
    /// People of the run for each of its seats.
    pressure: f64,
    /// Share of the seats that were booked at the end, and when the last booking was.
    share: f64,
    last_s: f64,
    /// From when none was left until the last was booked: what is paid, and given back and sold again.
    tail_s: f64,
    sold_out: bool,
}

impl Pace {
    pub(super) fn of(report: &RunReport, notes: &mut Notes) -> Option<Self> {
        let totals = &report.totals;
        if matches!(report.kind, RunKind::Ramp | RunKind::Search) {
            notes.caveats.push(
                "Halls of a search or a ramp have seats enough for everybody: how long until sold out is for \
                 `frontrow-loadgen onsale` to say."
                    .to_owned(),
            );
            return None;
        }
        if totals.seats_booked == 0 || totals.visits == 0 {
            notes.caveats.push("Nobody bought in this run, so how fast seats sell is not known.".to_owned());
            return None;
        }
        let seats = if report.target.seats > 0 { report.target.seats } else { totals.seats_booked };
        let (came, taken) = came_for_the_seats(report, seats);
        let held: f64 = report.series.iter().map(|sample| sample.seats_held as f64 * step_s(report)).sum();
        let hold_s = ratio(held, totals.seats_granted as f64);
        let per_seat = ratio(came, taken);
        let mut before = 0;
        let grew = report.series.iter().filter(|sample| {
            let more = sample.seats_booked > before;
            before = before.max(sample.seats_booked);
            more
        });
        let last_s = totals.sold_out_at_s.or_else(|| grew.last().map(|sample| sample.t_s));
        let last_s = last_s.unwrap_or(report.duration_s);
        let gone = gone_at(report, seats);
        let tail_s = gone.map_or(hold_s, |gone| (last_s - gone).max(hold_s));
        let until = gone
            .map_or_else(|| "the end".to_owned(), |gone| format!("none was left after {}", seconds(gone)));
        notes.grounds.push(format!(
            "Seats: {} people came for {} seats until {until}, {} for each; a seat was held for {} until it was paid or given \
             back, and the last one was booked {} after none was left.",
            number(came),
            number(taken),
            number(per_seat),
            seconds(hold_s),
            seconds(tail_s)
        ));
        notes.caveats.push(as_people_do(report, hold_s));
        Some(Self {
            per_seat,
            pressure: ratio(people(report) as f64, seats as f64),
            share: ratio(totals.seats_booked as f64, seats as f64).min(1.0),
            last_s,
            tail_s,
            sold_out: totals.sold_out_at_s.is_some(),
        })
    }

    fn far(&self, seats: f64, after_s: f64) -> Sold {
        if self.sold_out { Sold::Out(after_s) } else { Sold::Most(self.share * seats, after_s) }
    }

    /// In a rush: with as many for each seat as here, or more, it takes as long as here.
    pub(super) fn rush(&self, question: Question) -> Sold {
        let (buyers, seats) = (question.buyers as f64, question.seats as f64);
        if buyers < self.per_seat * seats {
            return Sold::Few(ratio(buyers, self.per_seat));
        }
        if buyers < self.pressure * seats {
            // Fewer for each seat than here: how long the last seats take is not known.
            return Sold::Unknown;
        }
        self.far(seats, self.last_s)
    }

    /// If they come evenly: when enough have come, and what they gave back has been sold again, as here.
    pub(super) fn even(&self, question: Question) -> Sold {
        let (buyers, needed) = (question.buyers as f64, self.per_seat * question.seats as f64);
        if question.minutes <= 0.0 {
            return Sold::Unknown;
        }
        if buyers < needed {
            return Sold::Few(ratio(buyers, self.per_seat));
        }
        self.far(question.seats as f64, needed / buyers * 60.0 * question.minutes + self.tail_s)
    }
}

/// On what the times until sold out rest.
fn as_people_do(report: &RunReport, hold_s: f64) -> String {
    let most = Scenario::parse(&report.scenario).ok().map(|scenario| scenario.event.hold_s);
    let most =
        most.map_or_else(String::new, |most| format!(", {} at most before they pay", seconds(most.into())));
    format!(
        "How long until sold out is true of people who hold a seat for {} as here{most}. Where holds last minutes, seats that are \
         given back are sold minutes later: set `event` and `behaviour` in a scenario of your own.",
        seconds(hold_s)
    )
}

/// When no seat was left for the first time.
fn gone_at(report: &RunReport, seats: u64) -> Option<f64> {
    let gone = report.series.iter().find(|sample| sample.seats_booked + sample.seats_held >= seats);
    gone.map(|sample| sample.t_s)
}

/// The share of a run's people who had come by `at_s`, as its scenario has it; everybody if that cannot be read.
fn share_come_by(report: &RunReport, at_s: f64) -> f64 {
    let Ok(scenario) = Scenario::parse(&report.scenario) else { return 1.0 };
    let share = ratio(scenario.come_by(at_s), scenario.visits());
    if share > 0.0 { share.min(1.0) } else { 1.0 }
}

/// People who came before none was left, and the seats that they took. Of reports that did not count them: as many as
/// the scenario has come by then.
fn came_for_the_seats(report: &RunReport, seats: u64) -> (f64, f64) {
    let totals = &report.totals;
    if let Some(came) = totals.people_until_gone.filter(|came| *came > 0) {
        return (came as f64, seats as f64);
    }
    match gone_at(report, seats).or(totals.sold_out_at_s) {
        Some(at) => (people(report) as f64 * share_come_by(report, at), seats as f64),
        None => (people(report) as f64, totals.seats_booked as f64),
    }
}
