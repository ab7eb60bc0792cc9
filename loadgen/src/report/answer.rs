//! The planner's answer in words: first for the crowd that was played, then for the crowd that was asked about; firm
//! where the run bears it, and in another voice where it does not.

use super::absence;
use super::buyers::SoldOut;
use super::capacity::{Basis, Cores, PerCore, Question};
use super::model::{RunKind, RunReport};
use super::saturation::Saturation;
use super::verdict::outcome;
use super::words::{count, number, plural, ratio, seconds};

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
    let busiest = report.series.iter().map(|sample| sample.answered).max().unwrap_or(0);
    let per_s = ratio(busiest as f64, super::buyers::step_s(report));
    format!("{who}{seats}, on {on}: {came}; up to {} requests were answered in a second.", number(per_s))
}

/// Why a run bears no firm answer, as the end of a sentence that says `because`; `None` if it does.
pub(super) fn not_firm(report: &RunReport, saturation: &Saturation, per_core: &PerCore) -> Option<String> {
    if let Some(interruption) = absence::interruptions(report).first() {
        return Some(format!("it rests on a run with an interruption: the server was {interruption}"));
    }
    if let Some(first) = saturation.first().filter(|_| saturation.load_was_the_limit()) {
        return Some(format!("the load generator was the limit, not the server ({})", first.evidence));
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

/// The answer of a run that bears one.
pub(super) fn firm(
    question: Question,
    cores: Option<Cores>,
    demand: f64,
    per_core: &PerCore,
    sold_out: &SoldOut,
) -> String {
    let cores = match cores {
        None => "this run does not tell how many cores it takes".to_owned(),
        Some(cores) => {
            let range = if cores.cautious > cores.least {
                format!("{} to {}", cores.least, plural(cores.cautious.into(), "core"))
            } else {
                plural(cores.least.into(), "core")
            };
            let holds = match per_core.basis {
                Basis::Measured => "one core held",
                Basis::Computed | Basis::AtLeast => "one core would hold about",
            };
            format!(
                "{range}{} (at the peak {} requests/s; of a load of this shape {holds} {})",
                if cores.extrapolated { ", extrapolated" } else { "" },
                number(demand),
                number(per_core.per_s)
            )
        }
    };
    let sold = match sold_out {
        SoldOut::After(s) => format!("sold out after about {}", seconds(*s)),
        SoldOut::Never(seats) => {
            format!("not sold out: as people behaved here they would buy about {} seats", number(*seats))
        }
        SoldOut::Unknown => "how long until sold out is not known".to_owned(),
    };
    format!("{}: {cores}; {sold}.", asked(question))
}

/// The answer of a run that bears none: what is certain, and why there is no more.
pub(super) fn shaky(question: Question, demand: f64, answered_per_s: f64, why: &str) -> String {
    let peak = match demand / answered_per_s {
        times if !times.is_finite() || demand <= 0.0 => String::new(),
        times if times <= 1.0 => {
            format!(
                " They would ask {} requests/s at their peak, no more than was answered here.",
                number(demand)
            )
        }
        times => format!(
            " They would ask {} requests/s at their peak, {} times what was answered here: whether this server holds that is open.",
            number(demand),
            number(times)
        ),
    };
    format!(
        "{}: NO FIRM ANSWER. At least {} requests/s were answered here, in the best three seconds; how many more could not be found out because {why}.{peak}",
        asked(question),
        number(answered_per_s)
    )
}

/// Where a question comes from that nobody asked.
pub(super) fn example(question: Question) -> String {
    format!(
        "Nobody asked about this crowd: it is an example, ten buyers for each of the {}, within {} minutes. Ask about \
         your own with --buyers N and --minutes T.",
        plural(question.seats, "seat"),
        number(question.minutes)
    )
}
