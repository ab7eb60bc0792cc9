//! The sentence to act on, above everything else: what to buy, from how many buyers on that is too little, and when it is
//! void; or what a run lacks that says nothing of it.

use super::absence;
use super::answer::range;
use super::buyers::{Demand, as_here};
use super::capacity::Question;
use super::cores::{Basis, Cores, PerCore, most, until};
use super::crowded::Crowded;
use super::curve::Rush;
use super::doors;
use super::enough::too_little;
use super::model::RunReport;
use super::pace::Sold;
use super::room;
use super::saturation::Saturation;
use super::sure;
use super::usl::Usl;
use super::words::{number, number_down, plural, seconds};
use crate::crowd::Scenario;

/// What to buy on a run that bears an answer.
pub(super) fn buy(
    report: &RunReport,
    fit: Option<&Usl>,
    question: Question,
    (per_core, demand, rush): (PerCore, Demand, Rush),
    (cores, even, sold): (Option<Cores>, Option<Cores>, Sold),
) -> String {
    let example = if report.questions.contains(&question) { "" } else { " (an example, nobody asked)" };
    let who = format!("{}{example}", plural(question.buyers, "buyer"));
    let how = if demand.is_rush() {
        as_here(rush)
    } else {
        format!("if they come spread over {} min", number(question.minutes))
    };
    if demand.headline() <= 0.0 {
        return nothing("nobody asked for anything in it", "a run with people in it");
    }
    let Some(cores) = cores else {
        let (k, buyers) = most(report, fit, (per_core, demand.headline()), question);
        return format!(
            "Let in no more than about {} buyers, {how}: {} hold that, and no number of cores that can be forecast from this \
             run holds {who}. Let them in more slowly, or split the sale.",
            number_down(buyers),
            beside(k)
        );
    };
    let k = cores.cautious;
    let mean = if cores.least < k {
        format!(" ({} would hold in this run's mean, and not in its slow seconds)", cores.least)
    } else {
        String::new()
    };
    let first_quote = sure::is_first_quote(report, per_core, Some(cores), demand);
    let (buyers, next) = until(report, fit, (per_core, demand.headline()), question, k);
    let then = match next {
        Some(next) => format!("{next} from about {} buyers on, by the slow end", number_down(buyers)),
        None => format!("for more than about {} buyers no number of cores is forecast", number_down(buyers)),
    };
    let measured = if cores.extrapolated {
        format!(" (extrapolated: measured on {})", plural(report.target.cores.max(1).into(), "shard core"))
    } else {
        String::new()
    };
    format!(
        "{} {}{mean}, {}, for {who} and {}, {how}; {then}{measured}.{}{} {}.{}",
        if first_quote { "Plan with" } else { "Buy" },
        beside(k),
        room::machine(report, question, (k, demand)),
        plural(question.seats, "seat"),
        if demand.is_rush() && !demand.even_is_no_other { evenly(k, even, question) } else { String::new() },
        doors::raise(report, question).map_or_else(String::new, |raise| format!(
            " {}.{}",
            sentence(&raise),
            if report.server_rss_before.is_none() {
                " Memory for so many connections is in no figure here."
            } else {
                ""
            }
        )),
        sentence(&void(report, sold)),
        if first_quote { " This is a first quote: before buying play the run of the last line." } else { "" }
    )
}

/// The other way to come, of buyers for whom `k` shard cores are to be bought if they rush: the minutes are what was asked.
fn evenly(k: u32, even: Option<Cores>, question: Question) -> String {
    let over = format!("if they come evenly over the {} min", number(question.minutes));
    match even.map(|even| even.cautious) {
        Some(even) if even == k => format!(" As many {over}."),
        Some(even) => format!(" {} {over}.", plural(even.into(), "shard core")),
        None => String::new(),
    }
}

/// With a capital letter.
fn sentence(words: &str) -> String {
    let mut letters = words.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}

/// `2 shard cores and one CPU beside them`.
fn beside(k: u32) -> String {
    let them = if k == 1 { "it" } else { "them" };
    format!("{} and one CPU beside {them}", plural(k.into(), "shard core"))
}

/// What the time until sold out rests on, and what makes it void.
fn void(report: &RunReport, sold: Sold) -> String {
    let hold = Scenario::parse(&report.scenario).ok().map(|scenario| seconds(scenario.event.hold_s.into()));
    match (sold, hold) {
        (Sold::Out(times) | Sold::Most(_, times), hold) => {
            let held = hold.map_or_else(|| "as in this run".to_owned(), |hold| format!("{hold} at most"));
            let what = match sold {
                Sold::Most(seats, _) => format!("at least {} of the seats are sold", number_down(seats)),
                _ => "the last seat is sold".to_owned(),
            };
            format!("{what} {}, if holds last {held}, and later if yours last longer", times.words())
        }
        (Sold::Few(_), _) => "they are too few to buy all seats".to_owned(),
        (Sold::Enough | Sold::Unknown, _) => "how soon the seats are sold this run does not tell".to_owned(),
    }
}

/// What to do on a run that bears no answer.
pub(super) fn nothing(why: &str, missing: &str) -> String {
    format!("Buy nothing on this run: {why}. What is missing: {missing}.")
}

/// An estimate, where there is one.
pub(super) fn until_then(cores: Option<Cores>) -> String {
    cores.map_or_else(String::new, |cores| format!(" Until then an estimate is {}.", range(cores)))
}

/// What a run lacks that bears no firm answer: the first thing to see to.
pub(super) fn missing(report: &RunReport, saturation: &Saturation, per_core: &PerCore) -> &'static str {
    match () {
        () if !report.quick.is_empty() => "a run without --quick",
        () if !absence::interruptions(report).is_empty() => {
            "a run through which the server stays: see the end of its log"
        }
        () if saturation.load_was_the_limit() => {
            "more load threads (--threads), or another machine for the load"
        }
        () if Crowded::of(report).is_some() => "the same run on a machine that nothing else uses",
        () if report.interrupted => "the same run to its end",
        () if !report.doubts.is_empty() => "the same run without what is doubted above",
        () if per_core.basis == Basis::AtLeast => {
            "how busy the server's cores were (run the load on the server's machine), or its limit (`frontrow-loadgen search`)"
        }
        () if too_little(report).is_some() => "a longer run (--for), or one with more people (--people)",
        () => "a run whose verdict is OK",
    }
}
