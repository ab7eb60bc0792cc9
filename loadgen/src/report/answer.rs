//! The planner's answer in words: first for the crowd that was played, then for the crowd that was asked about; firm
//! where the run bears it, and in another voice where it does not.

use super::absence;
use super::buyers::{Demand, Sold, as_here};
use super::capacity::Question;
use super::cores::{Basis, Cores, PerCore};
use super::crowded::Crowded;
use super::model::{RunKind, RunReport};
use super::rates;
use super::saturation::Saturation;
use super::verdict::outcome;
use super::words::{count, number, plural, seconds};

/// What came of the people who were played, in one sentence: nothing in it is computed.
pub(super) fn played(report: &RunReport) -> String {
    let (totals, on) = (&report.totals, plural(report.target.cores.max(1).into(), "core"));
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
    let came = match totals.sold_out_at_s {
        Some(at) => format!("sold out after {}", seconds(at)),
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
    (per_core.basis == Basis::AtLeast).then(|| {
        "the server was not brought to its limit, and how busy its cores were could not be seen".to_owned()
    })
}

/// `100,000 buyers for 10,000 seats within 10 min`.
fn asked(question: Question) -> String {
    let minutes = number(question.minutes);
    format!(
        "{} for {} within {minutes} min",
        plural(question.buyers, "buyer"),
        plural(question.seats, "seat")
    )
}

/// `2 to 3 cores, extrapolated`.
pub(super) fn range(cores: Cores) -> String {
    let range = if cores.cautious > cores.least {
        format!("{} to {}", cores.least, plural(cores.cautious.into(), "core"))
    } else {
        plural(cores.least.into(), "core")
    };
    if cores.extrapolated { format!("{range}, extrapolated,") } else { range }
}

fn takes(cores: Option<Cores>) -> String {
    cores.map_or_else(|| "this run does not tell how many cores it takes".to_owned(), range)
}

fn sold(sold: Sold, question: Question) -> String {
    match sold {
        Sold::Out(s) => format!("sold out after about {}", seconds(s)),
        Sold::Most(seats, s) => format!(
            "{} of {} sold after about {} (this run did not sell out either)",
            number(seats),
            plural(question.seats, "seat"),
            seconds(s)
        ),
        Sold::Few(seats) => {
            format!("not sold out: as people behaved here they would buy about {} seats", number(seats))
        }
        Sold::Unknown => "how long until sold out is not known".to_owned(),
    }
}

/// What buyers take who rush as the people of the run did.
fn rush(report: &RunReport, question: Question, cores: Option<Cores>, per_s: f64, how_far: Sold) -> String {
    format!(
        "{} {}: {} requests/s in their busiest second; {}.",
        takes(cores),
        as_here(report),
        number(per_s),
        sold(how_far, question)
    )
}

/// What buyers take where nothing is known of a rush, or where they ask more spread out than in a rush.
fn spread(question: Question, cores: Option<Cores>, per_s: f64, how_far: Sold) -> String {
    format!(
        "{} if they come spread over that time, at {} requests/s at most; {}.",
        takes(cores),
        number(per_s),
        sold(how_far, question)
    )
}

/// What buyers take: the more demanding way to come, and, if that is the rush, the other one.
pub(super) fn both(
    report: &RunReport,
    question: Question,
    demand: Demand,
    cores: (Option<Cores>, Option<Cores>),
    how_far: (Sold, Sold),
) -> (String, Option<String>) {
    if !demand.is_rush() {
        return (spread(question, cores.1, demand.even, how_far.1), None);
    }
    let even = format!(
        "Spread evenly over the {} min instead: {} for {} requests/s; {}.",
        number(question.minutes),
        takes(cores.1),
        number(demand.even),
        sold(how_far.1, question)
    );
    (rush(report, question, cores.0, demand.headline(), how_far.0), Some(even))
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
pub(super) fn certain(report: &RunReport, question: Question, demand: Demand) -> String {
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
    let rush = demand.rush.filter(|rush| *rush > 0.0).map(|rush| {
        format!(
            "; {} these buyers ask {} requests/s in their busiest second ({})",
            as_here(report),
            number(rush),
            weigh(rush)
        )
    });
    let even = (demand.even > 0.0).then(|| {
        format!(
            "; spread over the {} min they ask {} requests/s ({})",
            number(question.minutes),
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
