//! How far the seats go, and how long that takes: from a run's sums and series. The formulae stand with
//! [`super::capacity`].

use super::buyers::{Notes, people, step_s};
use super::capacity::Question;
use super::curve::{Curve, Rush};
use super::model::{RunKind, RunReport};
use super::words::{count, number, number_down, of_all, percent, plural, ratio, seconds};
use crate::crowd::Scenario;

/// How far the seats go, and how long it takes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Sold {
    /// All of them.
    Out(Times),
    /// At least so many: the run left some, too.
    Most(f64, Times),
    /// So many: there are too few buyers for all.
    Few(f64),
    /// More are wanted than there are, by fewer people for each seat than the run had: when they are gone is open.
    Enough,
    Unknown,
}

/// In seconds from the first buyer.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Times {
    /// When the last seat is booked: at the earliest, and as in the run.
    pub(super) early: f64,
    pub(super) late: f64,
    /// How long that is after no seat was free for the first time: what is held is paid, or given back and sold again.
    pub(super) tail: f64,
    /// How long before the last of them 99 of 100 were booked.
    pub(super) last_hundredth: f64,
}

impl Times {
    /// `after about 34 s (none is free from 3.3 s on)`.
    pub(super) fn words(self) -> String {
        let range = |early: f64, late: f64| {
            if late < 1.05 * early || seconds(early) == seconds(late) {
                seconds(late)
            } else {
                format!("{} to {}", seconds(early), seconds(late))
            }
        };
        let free = |s: f64| (s - self.tail).max(0.0);
        let nearly = |s: f64| (s - self.last_hundredth).max(free(s));
        let ninety_nine = if self.last_hundredth > 0.1 * self.late {
            format!("; 99 % are booked after about {}", range(nearly(self.early), nearly(self.late)))
        } else {
            String::new()
        };
        format!(
            "after about {} (none is free from about {} on; then what is held is paid, or given back and sold again{ninety_nine})",
            range(self.early, self.late),
            range(free(self.early), free(self.late))
        )
    }
}

/// How fast the seats of a run sold.
pub(super) struct Pace {
    /// People who came for each seat before none was left.
    per_seat: f64,
    /// Seats that a buyer ends with where there are plenty; `None` if the scenario cannot be read.
    each: Option<f64>,
    /// People of the run for each of its seats.
    pressure: f64,
    /// Share of the seats that were booked at the end.
    share: f64,
    /// When none was left; `None` if some always were.
    gone_s: Option<f64>,
    /// When the last booking was.
    last_s: f64,
    /// How long a seat was held in the mean.
    hold_s: f64,
    /// From when none was left until the last was booked: what is paid, and given back and sold again.
    tail_s: f64,
    /// How long before the last booking 99 of 100 seats were booked.
    last_hundredth_s: f64,
    sold_out: bool,
    curve: Option<Curve>,
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
        let (gone_s, last_s) = (gone_at(report, seats), last_booking(report));
        let pace = Self {
            per_seat: ratio(came, taken),
            each: each(report),
            pressure: ratio(people(report) as f64, seats as f64),
            share: ratio(totals.seats_booked as f64, seats as f64).min(1.0),
            gone_s,
            last_s,
            hold_s,
            tail_s: gone_s.map_or(hold_s, |gone| (last_s - gone).max(hold_s)),
            last_hundredth_s: (last_s - booked_by(report, 0.99).unwrap_or(last_s)).max(0.0),
            sold_out: totals.sold_out_at_s.is_some(),
            curve: Curve::of(report),
        };
        notes.grounds.push(pace.seats_words((came, taken), hold_s));
        notes.grounds.push(times_words(report, gone_s, last_s));
        notes.grounds.extend(pace.plenty_words(report));
        notes.caveats.push(as_people_do(report, hold_s));
        Some(pace)
    }

    fn seats_words(&self, (came, taken): (f64, f64), hold_s: f64) -> String {
        let until = if self.gone_s.is_some() { "none was left" } else { "the end" };
        format!(
            "Seats: {} people came for {} seats until {until}, {} for each; a seat was held for {} until it was paid or given back.",
            number(came),
            number(taken),
            number(self.per_seat),
            seconds(hold_s)
        )
    }

    /// What people buy where there are seats enough.
    fn plenty_words(&self, report: &RunReport) -> Option<String> {
        let (each, party) = (self.each?, mean_party(report)?);
        Some(format!(
            "With seats enough: a party wants {} seats, and {} of the seats that were held were bought, so a buyer takes {}. \
             That is used where fewer buyers ask for each seat than here, and for the earliest end of a sale.",
            number(party),
            percent(ratio(each, party)),
            number(each)
        ))
    }

    fn far(&self, seats: f64, (early_s, late_s): (f64, f64)) -> Sold {
        let times = Times {
            early: early_s,
            late: late_s,
            tail: self.tail_s.min(early_s),
            last_hundredth: self.last_hundredth_s,
        };
        if self.sold_out {
            Sold::Out(times)
        } else if self.gone_s.is_some() {
            Sold::Most(self.share * seats, times)
        } else {
            Sold::Enough
        }
    }

    /// Too few buyers to sell everything, or as many as may or may not.
    fn scarce(&self, buyers: f64, seats: f64) -> Sold {
        match self.each {
            Some(each) if buyers * each < seats => Sold::Few(buyers * each),
            Some(_) => Sold::Enough,
            None => Sold::Unknown,
        }
    }

    /// In a rush: none is left when as many have come for each seat as here; then it takes as long as here until what is
    /// held is paid, or given back and sold again.
    pub(super) fn rush(&self, question: Question, rush: Rush) -> Sold {
        let (buyers, seats) = (question.buyers as f64, question.seats as f64);
        let needed = self.per_seat * seats;
        if buyers < needed {
            return self.scarce(buyers, seats);
        }
        let (Some(gone), Some(curve)) = (self.gone_s, &self.curve) else {
            // How soon they come is not known: as soon as here, if there are as many for each seat.
            let as_many = buyers >= self.pressure * seats && rush.as_here;
            return if as_many { self.far(seats, (self.last_s, self.last_s)) } else { Sold::Enough };
        };
        let (asked, here) = (curve.until(needed / buyers), curve.until(self.per_seat / self.pressure));
        let (Some(asked), Some(here)) = (asked, here.filter(|here| *here > 0.0)) else { return Sold::Enough };
        let slower = rush.half_s.map_or(1.0, |half| half / curve.half_s);
        let late = (gone * asked / here * slower + self.last_s - gone).max(self.hold_s);
        self.far(seats, (late, late))
    }

    /// If they come evenly: when enough have come, and what they gave back has been sold again, as here. At the earliest
    /// everybody finds what they want, so that fewer are enough.
    pub(super) fn even(&self, question: Question) -> Sold {
        let (buyers, seats) = (question.buyers as f64, question.seats as f64);
        let needed = self.per_seat * seats;
        if question.minutes <= 0.0 {
            return Sold::Unknown;
        }
        if buyers < needed {
            return self.scarce(buyers, seats);
        }
        let after = |needed: f64| needed / buyers * 60.0 * question.minutes + self.tail_s;
        let least = self.each.map_or(needed, |each| ratio(seats, each).min(needed));
        self.far(seats, (after(least), after(needed)))
    }
}

/// How many seats a party wants in the mean, as the run's scenario has it, by who comes.
fn mean_party(report: &RunReport) -> Option<f64> {
    let scenario = Scenario::parse(&report.scenario).ok()?;
    let mean = |sizes: &[u8], weights: &[f64]| {
        let seats: f64 = sizes.iter().zip(weights).map(|(size, weight)| f64::from(*size) * weight).sum();
        ratio(seats, weights.iter().sum())
    };
    let comes = scenario.people_by_group();
    let groups = scenario.groups.iter().zip(&comes);
    let seats: f64 =
        groups.map(|(group, people)| people * mean(&group.party.sizes, &group.party.weights)).sum();
    Some(ratio(seats, comes.iter().sum())).filter(|mean| *mean > 0.0)
}

/// Seats that a buyer ends with where there are plenty: a party's, as often as seats that were held were bought. Who gave
/// them back and comes again is left out, so it is rather too few.
fn each(report: &RunReport) -> Option<f64> {
    let bought = ratio(report.totals.seats_booked as f64, report.totals.seats_granted as f64).min(1.0);
    mean_party(report).map(|party| party * bought).filter(|each| *each > 0.0)
}

/// The times of a run, in one line: how its length, its last booking and its last free seat belong together.
fn times_words(report: &RunReport, gone_s: Option<f64>, last_s: f64) -> String {
    let came = Scenario::parse(&report.scenario).map_or_else(
        |_| String::new(),
        |scenario| format!(" (people came for {})", seconds(scenario.duration_s)),
    );
    let free = match gone_s {
        Some(gone) => format!(
            "no seat was free for the first time after {}, and the last booking came {} later, at {}, because seats that were \
             held had to be paid, or were given back and sold again",
            seconds(gone),
            seconds(last_s - gone),
            seconds(last_s)
        ),
        None => format!("some seat was always free, and the last booking came at {}", seconds(last_s)),
    };
    format!("Times here: {free}; the run went on until {}{came}.", seconds(report.duration_s))
}

/// When the last seat was booked.
fn last_booking(report: &RunReport) -> f64 {
    let mut before = 0;
    let grew = report.series.iter().filter(|sample| {
        let more = sample.seats_booked > before;
        before = before.max(sample.seats_booked);
        more
    });
    let last = report.totals.sold_out_at_s.or_else(|| grew.last().map(|sample| sample.t_s));
    // Else the last ones were booked while the crowd went home, after the last look.
    let seen = report.series.last().map_or(0, |sample| sample.seats_booked);
    let last = last.filter(|_| report.totals.sold_out_at_s.is_some() || seen >= report.totals.seats_booked);
    last.unwrap_or(report.duration_s)
}

/// When so much of the seats that were booked at the end were.
fn booked_by(report: &RunReport, share: f64) -> Option<f64> {
    let enough = share * report.totals.seats_booked as f64;
    report.series.iter().find(|sample| sample.seats_booked as f64 >= enough).map(|sample| sample.t_s)
}

/// On what the times until sold out rest, and how to put them on firmer ground.
fn as_people_do(report: &RunReport, hold_s: f64) -> String {
    let most = Scenario::parse(&report.scenario).ok().map(|scenario| scenario.event.hold_s);
    let most =
        most.map_or_else(String::new, |most| format!(", {} at most before they pay", seconds(most.into())));
    format!(
        "How long until sold out is true of people who hold a seat for {} as here{most}. Where holds last minutes, seats that are \
         given back are sold minutes later. To measure it so: `frontrow-loadgen scenarios {} > mine.toml`; set `hold_s`, `offer_s` and \
         `pay_s` of `[event]` as in your sale, and `hesitate` and `payment` of `[group.behaviour]` to the times that your buyers \
         take; then `frontrow-loadgen run mine.toml{}`.",
        seconds(hold_s),
        report.name,
        super::words::same_server(report)
    )
}

/// When no seat was left for the first time.
pub(super) fn gone_at(report: &RunReport, seats: u64) -> Option<f64> {
    let gone = report.series.iter().find(|sample| sample.seats_booked + sample.seats_held >= seats);
    gone.map(|sample| sample.t_s)
}

/// The share of a run's people who had come by `at_s`, as its scenario has it; everybody if that cannot be read.
fn share_come_by(report: &RunReport, at_s: f64) -> f64 {
    let share = Curve::of(report).map_or(1.0, |curve| curve.share_by(at_s));
    if share > 0.0 { share } else { 1.0 }
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

impl Sold {
    /// The end of a sentence.
    pub(super) fn words(self, report: &RunReport, question: Question) -> String {
        match self {
            Self::Out(times) => format!("sold out {}", times.words()),
            Self::Most(seats, times) => most(report, question, seats, &times.words()),
            Self::Few(seats) => format!(
                "not sold out: they would buy about {} of the {} (seats enough for everybody)",
                number(seats),
                plural(question.seats, "seat")
            ),
            Self::Enough => "they want all seats or more, but when those are gone this run does not tell, which had other people \
                             for each seat: play them (--people)"
                .to_owned(),
            Self::Unknown => "how many seats they would buy, and how soon, is not known from this run".to_owned(),
        }
    }
}

/// So many seats at least, of those that are asked about; all, if all were sold.
fn most(report: &RunReport, question: Question, seats: f64, after: &str) -> String {
    let (booked, here) = (report.totals.seats_booked, report.target.seats);
    if here > 0 && booked >= here {
        return format!("{} sold {after}", of_all(question.seats, question.seats));
    }
    // Of the run's own seats as many as were sold: 19,996 are not 20,000. Else no more than was found.
    let sold = if question.seats == here { count(booked) } else { number_down(seats) };
    format!(
        "at least {sold} of {} sold {after} (in this run {} of {} were left)",
        plural(question.seats, "seat"),
        count(here.saturating_sub(booked)),
        count(here)
    )
}
