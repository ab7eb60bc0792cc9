//! The planner's answer in words: first for the crowd that was played, then for the crowd that was asked about; firm
//! where the run bears it, and in another voice where it does not.

use super::absence;
use super::buyers::{Demand, as_here};
use super::capacity::Question;
use super::cores::{Basis, Cores, PerCore};
use super::crowded::Crowded;
use super::curve::Rush;
use super::enough::too_little;
use super::model::{RunKind, RunReport};
use super::pace::Sold;
use super::rates;
use super::saturation::Saturation;
use super::verdict::{outcome, sold_out};
use super::words::{count, number, plural, seconds};

/// What came of the people who were played, in one sentence: nothing in it is computed.
pub(super) fn played(report: &RunReport) -> String {
    let (totals, on) = (&report.totals, plural(report.target.cores.max(1).into(), "shard core"));
    if matches!(report.kind, RunKind::Ramp | RunKind::Search) {
        return format!("The rates that were tried on {on}: {}.", outcome(report));
    }
    let who = if totals.people > 0 {
        if totals.people == 1 {
            "This 1 person".to_owned()
        } else {
            format!("These {} people", count(totals.people))
        }
    } else {
        format!("These {}", plural(totals.visits, "visit"))
    };
    let seats = match report.target.seats {
        0 => String::new(),
        seats => format!(" and {}", plural(seats, "seat")),
    };
    let came = match sold_out(report) {
        Some(sold_out) => sold_out,
        // Reports of earlier versions do not always say when.
        None if report.target.seats > 0 && totals.seats_booked >= report.target.seats => {
            format!("all seats booked in {}", seconds(report.duration_s))
        }
        None => format!(
            "{} booked in {}, not sold out",
            plural(totals.seats_booked, "seat"),
            seconds(report.duration_s)
        ),
    };
    let busiest = match rates::most_answered(report) {
        Some(per_s) => format!("up to {} requests were answered in a second", number(per_s)),
        None => "the run was too short to tell how many requests were answered in a second".to_owned(),
    };
    let left = report.seats_left.as_ref().map_or(String::new(), |why| format!(" {why}"));
    format!("{who}{seats}, on {on}: {came}; {busiest}.{left}")
}

/// What a quick run is worth.
pub(super) fn quick(report: &RunReport) -> String {
    format!("QUICK: these figures mean nothing. --quick made everything small: {}.", report.quick.join(", "))
}

/// What to do about an answer that is not firm.
pub(super) const NOT_FIRM: &str =
    "For a number of cores to rely on, repeat the run so that its verdict is OK.";

/// Why a run bears no firm answer, as the end of a sentence that says `because`; `None` if it does.
pub(super) fn not_firm(report: &RunReport, saturation: &Saturation, per_core: &PerCore) -> Option<String> {
    if !report.quick.is_empty() {
        return Some("this was a --quick run, which measures nothing".to_owned());
    }
    let mut why = Vec::new();
    if let Some(interruption) = absence::interruptions(report).first() {
        why.push(format!("this is a run with an interruption: the server was {interruption}"));
    }
    if let Some(first) = saturation.first().filter(|_| saturation.load_was_the_limit()) {
        why.push(format!("the load generator was the limit, not the server ({})", first.evidence));
    }
    if let Some(crowded) = Crowded::of(report) {
        why.push(crowded.words());
    }
    if !why.is_empty() {
        return Some(why.join("; and "));
    }
    if report.interrupted {
        return Some("the run was ended by hand".to_owned());
    }
    if let Some(doubt) = report.doubts.first() {
        // A doubt goes on with its remedy, which is said elsewhere.
        let what = doubt.split(": ").next().unwrap_or(doubt).trim_end_matches('.');
        let mut letters = what.chars();
        let lower = letters.next().map_or_else(String::new, |first| first.to_lowercase().collect());
        return Some(format!("the run is doubtful: {lower}{}", letters.as_str()));
    }
    if per_core.basis == Basis::AtLeast {
        let unseen = "the server was not brought to its limit, and how busy its cores were could not be seen"
            .to_owned();
        return Some(unseen);
    }
    too_little(report).map(|why| format!("the run is too little to forecast from: {why}"))
}

/// `100,000 buyers for 10,000 seats within 10 min`; or `…, half of them within 20 s`.
fn asked(question: Question) -> String {
    let within = match question.half_within_s {
        Some(half) => format!(", half of them within {}", seconds(half)),
        None => format!(" within {}", minutes(question)),
    };
    format!("{} for {}{within}", plural(question.buyers, "buyer"), plural(question.seats, "seat"))
}

/// The minutes of an even crowd, beside a question that says them itself unless it is about another rush.
fn beside(question: Question) -> String {
    let minutes_unsaid = question.minutes_unsaid && question.half_within_s.is_some();
    minutes(Question { minutes_unsaid, ..question })
}

/// `10 min`, and where they come from if nobody said them.
fn minutes(question: Question) -> String {
    let minutes = number(question.minutes);
    if question.minutes_unsaid {
        format!("{minutes} min (the default: --minutes was not given)")
    } else {
        format!("{minutes} min")
    }
}

/// `2 to 3 shard cores and one CPU beside them (extrapolated)`.
pub(super) fn range(cores: Cores) -> String {
    let range = if cores.cautious > cores.least {
        format!("{} to {}", cores.least, plural(cores.cautious.into(), "shard core"))
    } else {
        plural(cores.least.into(), "shard core")
    };
    let them = if cores.cautious == 1 { "it" } else { "them" };
    let beyond = if cores.extrapolated { " (extrapolated)" } else { "" };
    format!("{range} and one CPU beside {them}{beyond}")
}

fn takes(cores: Option<Cores>) -> String {
    cores.map_or_else(|| "this run does not tell how many cores it takes".to_owned(), range)
}

/// What buyers take who rush as the people of the run did.
fn rushing(cores: Option<Cores>, rush: Rush, per_s: f64, how_far: &str) -> String {
    format!(
        "{} {}: {} requests/s in their busiest second; {how_far}.",
        takes(cores),
        as_here(rush),
        number(per_s)
    )
}

/// What buyers take where nothing is known of a rush, or where they ask more spread out than in a rush.
fn spread(question: Question, cores: Option<Cores>, per_s: f64, how_far: &str) -> String {
    let time = question.half_within_s.map_or_else(|| "that time".to_owned(), |_| beside(question));
    format!(
        "{} if they come spread over {time}, at {} requests/s at most; {how_far}.",
        takes(cores),
        number(per_s)
    )
}

/// What buyers take: the more demanding way to come, and, if that is the rush, the other one.
pub(super) fn both(
    report: &RunReport,
    question: Question,
    (demand, rush): (Demand, Rush),
    cores: (Option<Cores>, Option<Cores>),
    how_far: (Sold, Sold),
) -> (String, Option<String>) {
    let (in_rush, evenly) = (how_far.0.words(report, question), how_far.1.words(report, question));
    if !demand.is_rush() {
        return (spread(question, cores.1, demand.even, &evenly), None);
    }
    let even = format!(
        "Spread evenly over the {} instead: {} for {} requests/s; {evenly}.",
        beside(question),
        takes(cores.1),
        number(demand.even),
    );
    (rushing(cores.0, rush, demand.headline(), &in_rush), (!demand.even_is_no_other).then_some(even))
}

/// The answer of a run that bears one.
pub(super) fn firm(question: Question, first: &str) -> String {
    format!("{}: {first}", asked(question))
}

/// What a crowded machine lets one say all the same.
pub(super) fn estimate(first: &str) -> String {
    format!("Estimate, from the server's own processor time, to be confirmed on a quiet machine: {first}")
}

/// The answer of a run that bears none.
pub(super) fn shaky(question: Question, why: &str) -> String {
    format!("{}: NO FIRM ANSWER, because {why}.", asked(question))
}

/// What is certain all the same, beside what these buyers would ask.
pub(super) fn certain(report: &RunReport, question: Question, demand: Demand, rush: Rush) -> String {
    let best = rates::best_three(report);
    let certain = match best {
        Some(per_s) => format!("this server answered {} requests/s in its best three seconds", number(per_s)),
        None => "nothing, for the run was too short to tell what was answered in three seconds".to_owned(),
    };
    let weigh = |per_s: f64| match best {
        Some(best) if best > 0.0 && per_s <= best => "as much was answered here, so it holds that".to_owned(),
        Some(best) if best > 0.0 => {
            format!("{} times what was answered here: whether it holds that is open", number(per_s / best))
        }
        _ => "whether it holds that is open".to_owned(),
    };
    let how = as_here(rush);
    let rush = demand.rush.filter(|rush| *rush > 0.0).map(|rush| {
        format!(
            "; {how} these buyers ask {} requests/s in their busiest second ({})",
            number(rush),
            weigh(rush)
        )
    });
    let even = (demand.even > 0.0 && !demand.even_is_no_other).then(|| {
        format!(
            "; spread over the {} they ask {} requests/s ({})",
            beside(question),
            number(demand.even),
            weigh(demand.even)
        )
    });
    format!("Certain is: {certain}{}{}.", rush.unwrap_or_default(), even.unwrap_or_default())
}

/// Where a question comes from that nobody asked.
pub(super) fn example(question: Question) -> String {
    format!(
        "Nobody asked about this crowd: it is an example, ten buyers (people who want seats) for each of the {}, within {} \
         minutes. Ask about your own, without another run: `frontrow-loadgen plan FOLDER --buyers 60000 --minutes 5`, \
         with the folder of this report.",
        plural(question.seats, "seat"),
        number(question.minutes)
    )
}
