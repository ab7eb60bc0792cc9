//! A preset with every key that can be set, those at their defaults as well, and a word on each: to be changed and run.

use super::check::ScenarioError;
use super::scenario::Scenario;
use std::fmt::Write as _;

/// Each key, where it stands, and what it means. `docs/loadgen.md` says the same at more length.
const KEYS: &[(&str, &str)] = &[
    ("name", "what it is called"),
    ("about", "what it shows"),
    ("duration_s", "for how long people come, in seconds; who is there then may finish"),
    ("connections", "connections opened; each is one user, and people take turns on them"),
    ("hall.seats", "seats of the hall that is made for the run"),
    ("event.hold_s", "how long a claim is held, in seconds, until it is paid"),
    ("event.offer_s", "how long an offer from a queue is held, in seconds"),
    ("event.pay_s", "how long a payment may take, in seconds"),
    ("event.max_extensions", "how often a hold may be extended"),
    ("event.max_per_claim", "most seats in a claim"),
    ("event.max_per_user", "most seats of a user; 0 for no limit"),
    ("event.max_passes", "how often a waiting party may be passed by smaller ones"),
    ("group.name", "what these people are called"),
    ("group.connections", "their share of the connections, relative to the other groups"),
    (
        "group.arrivals.shape",
        "burst (most at once, then ever fewer), poisson (by chance), or uniform (evenly)",
    ),
    ("group.arrivals.rate_per_s", "of poisson and uniform: people per second"),
    ("group.arrivals.people", "of a burst: how many come in all"),
    ("group.arrivals.half_life_s", "of a burst: within so many seconds half of them have come"),
    ("group.arrivals.start_s", "when the first may come, in seconds"),
    ("group.arrivals.end_s", "when nobody comes any more, in seconds; duration_s if it is not set"),
    ("group.party.sizes", "how many seats are wanted together"),
    ("group.party.weights", "how often each of these sizes is wanted, relative to the others"),
    ("group.interest.sections_zipf", "section i is wanted 1 / i^this as often as the first; 0: all alike"),
    ("group.interest.rows_zipf", "the same for the rows of a section"),
    ("group.interest.rows", "only so many of the most wanted rows are wanted at all; 0 for all"),
    ("group.interest.named", "weight of claims that name their seats"),
    ("group.interest.row_best", "weight of claims of the best seats of a row"),
    ("group.interest.section_best", "weight of claims of the best seats of a section"),
    ("group.interest.row_queue", "weight of those who join the queue of a row at once"),
    ("group.interest.section_queue", "weight of those who join the queue of a section at once"),
    ("group.interest.adjacency", "seats of a section: required, preferred (next to each other), or any"),
    ("group.interest.accessible", "share of parties who need an accessible seat among theirs"),
    ("group.behaviour.hesitate", "from having seats to doing something about them"),
    ("group.behaviour.abandon", "probability to walk away without a word: the hold runs out"),
    ("group.behaviour.release", "probability to give the seats back"),
    ("group.behaviour.extend", "probability to extend the hold, and to hesitate once more"),
    ("group.behaviour.pay", "probability to begin a payment before booking"),
    ("group.behaviour.payment", "how long a payment takes"),
    ("group.behaviour.cancel", "probability to cancel the booking"),
    ("group.behaviour.regret", "from booking to cancelling"),
    ("group.behaviour.retries", "how often a refused person tries again elsewhere"),
    ("group.behaviour.retry", "from a refusal to the next try"),
    ("group.behaviour.queue", "probability to join the queue of what was refused"),
    ("group.behaviour.queue_behind", "the same where others wait for it already"),
    ("group.behaviour.patience", "how long a person waits in a queue"),
    ("group.behaviour.come_back", "probability to come again after a visit without a booking"),
    ("group.behaviour.away", "how long such a person stays away"),
    ("group.behaviour.drops_per_min", "how often a connection drops without a word, per minute"),
    ("group.behaviour.offline", "how long it stays away then"),
    ("storm.at_s", "when, in seconds, many connections drop at once"),
    ("storm.share", "which share of all connections, 0 to 1"),
    ("storm.offline", "how long each stays away"),
    ("min_ms", "the least, in milliseconds"),
    ("mean_ms", "the mean, in milliseconds"),
];

/// The meaning of a key; times to think have the same two keys everywhere.
fn meaning(key: &str) -> &'static str {
    let last = key.rsplit('.').next().unwrap_or(key);
    let found = |wanted: &str| KEYS.iter().find(|(known, _)| *known == wanted);
    // A time's own two keys mean the same wherever it stands.
    found(key).or_else(|| found(last).filter(|_| last.ends_with("_ms"))).map_or("", |(_, meaning)| meaning)
}

/// The preset `name` as TOML that [`Scenario::parse`] reads as the same scenario: every key, with a comment on each. Keys
/// that are not set are there as comments.
pub fn annotated(name: &str) -> Result<String, ScenarioError> {
    let scenario = Scenario::named(name)?;
    let preset = Scenario::text(name).unwrap_or_default();
    let mut out: String =
        preset.lines().take_while(|line| line.starts_with('#')).fold(String::new(), |mut head, line| {
            let _ = writeln!(head, "{line}");
            head
        });
    let mut section = String::new();
    for line in scenario.to_toml()?.lines() {
        if line.starts_with('[') {
            line.trim_matches(['[', ']']).clone_into(&mut section);
            match meaning(&section) {
                "" => _ = writeln!(out, "{line}"),
                words => _ = writeln!(out, "{line}  # {words}"),
            }
            if section == "group.arrivals" {
                unset(&mut out, &scenario);
            }
        } else if let Some((key, _)) = line.split_once(" = ") {
            let key = if section.is_empty() { key.to_owned() } else { format!("{section}.{key}") };
            let _ = writeln!(out, "{line}  # {}", meaning(&key));
        } else {
            let _ = writeln!(out, "{line}");
        }
    }
    if scenario.storms.is_empty() {
        out.push_str(
            "\n# A moment at which many connections drop at once; there may be several.\n# [[storm]]\n",
        );
        for (key, value) in
            [("at_s", "20.0"), ("share", "0.5"), ("offline", "{ min_ms = 100.0, mean_ms = 1000.0 }")]
        {
            let _ = writeln!(out, "# {key} = {value}  # {}", meaning(&format!("storm.{key}")));
        }
    }
    Ok(out)
}

/// Keys of arrivals that no group sets: which they are follows from the shape.
fn unset(out: &mut String, scenario: &Scenario) {
    let arrivals = || scenario.groups.iter().map(|group| &group.arrivals);
    for (key, is_set, value) in [
        ("rate_per_s", arrivals().any(|it| it.rate_per_s.is_some()), "500.0"),
        ("people", arrivals().any(|it| it.people.is_some()), "20000"),
        ("half_life_s", arrivals().any(|it| it.half_life_s.is_some()), "5.0"),
        ("end_s", arrivals().any(|it| it.end_s.is_some()), "60.0"),
    ] {
        if !is_set {
            let _ = writeln!(out, "# {key} = {value}  # {}", meaning(&format!("group.arrivals.{key}")));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_is_there_with_a_word_and_reads_as_the_preset() {
        for name in Scenario::names() {
            let text = annotated(name).expect("a preset");
            assert_eq!(Scenario::parse(&text), Scenario::named(name), "{name}\n{text}");
            assert!(text.contains("  # what these people are called"), "{text}");
            for line in text.lines().filter(|line| line.contains(" = ")) {
                let (_, words) =
                    line.rsplit_once("  # ").unwrap_or_else(|| panic!("{name}: no word on {line}"));
                assert!(!words.is_empty(), "{name}: no word on {line}");
            }
            for (key, _) in KEYS {
                let last = key.rsplit('.').next().expect("a key");
                let is_table = |line: &str| line.contains(&format!(".{last}]"));
                let is_key = |line: &str| line.trim_start_matches("# ").starts_with(&format!("{last} = "));
                assert!(text.lines().any(|line| is_key(line) || is_table(line)), "{name}: no {key}\n{text}");
            }
        }
    }
}
