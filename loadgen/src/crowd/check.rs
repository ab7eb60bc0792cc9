//! Whether a scenario makes sense, and, if not, which key is wrong and what to write instead.

use super::hall::Hall;
use super::scenario::{
    Arrivals, Behaviour, EventWish, Group, Interest, PartySizes, Scenario, Shape, Storm, Think,
};

/// Why a scenario cannot be run. Each message names the key and the remedy.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum ScenarioError {
    /// Not one of the presets.
    #[error("there is no scenario {name:?}: take one of {known}, or name a TOML file")]
    UnknownName {
        /// What was asked for.
        name: String,
        /// What there is.
        known: String,
    },
    /// The text is not a scenario.
    #[error("the scenario cannot be read: {0}")]
    Toml(String),
    /// A value that cannot be.
    #[error("scenario: {key} is {got}; {remedy}")]
    Value {
        /// The key, with the group's name.
        key: String,
        /// What stands there.
        got: String,
        /// What to write instead.
        remedy: String,
    },
}

/// Collects where a check is, to name keys fully.
struct At<'a> {
    group: Option<&'a str>,
}

impl At<'_> {
    #[allow(clippy::needless_pass_by_value, reason = "numbers, texts and formatted texts are given alike")]
    fn wrong(&self, key: &str, got: impl ToString, remedy: impl ToString) -> ScenarioError {
        let key = match self.group {
            Some(group) => format!("{key} of group {group:?}"),
            None => key.to_owned(),
        };
        ScenarioError::Value { key, got: got.to_string(), remedy: remedy.to_string() }
    }

    /// A number within bounds; `NaN` is within none.
    fn within(&self, key: &str, got: f64, low: f64, high: f64) -> Result<(), ScenarioError> {
        if got >= low && got <= high {
            return Ok(());
        }
        Err(self.wrong(key, got, format!("write a number from {low} to {high}")))
    }

    fn think(&self, key: &str, think: Think) -> Result<(), ScenarioError> {
        self.within(&format!("{key}.min_ms"), think.min_ms, 0.0, DAY_MS)?;
        self.within(&format!("{key}.mean_ms"), think.mean_ms, 0.0, DAY_MS)?;
        if think.mean_ms < think.min_ms {
            let remedy = format!("write at least {key}.min_ms, which is {}", think.min_ms);
            return Err(self.wrong(&format!("{key}.mean_ms"), think.mean_ms, remedy));
        }
        Ok(())
    }
}

const DAY_MS: f64 = 86_400_000.0;
/// Longest run in seconds: thirty days.
const LONGEST_S: f64 = 2_592_000.0;
const MOST_PER_S: f64 = 10_000_000.0;

impl Scenario {
    /// Checks everything that needs no hall.
    pub fn check_itself(&self) -> Result<(), ScenarioError> {
        let at = At { group: None };
        at.within("duration_s", self.duration_s, 0.001, LONGEST_S)?;
        at.within("connections", f64::from(self.connections), 1.0, 4_000_000.0)?;
        at.within("hall.seats", f64::from(self.hall.seats), 1.0, 1_000_000.0)?;
        check_event(&at, &self.event)?;
        if self.groups.is_empty() || self.groups.len() > 64 {
            return Err(at.wrong("group", self.groups.len(), "write 1 to 64 [[group]] tables"));
        }
        for (i, group) in self.groups.iter().enumerate() {
            if self.groups[..i].iter().any(|other| other.name == group.name) {
                return Err(at.wrong("group.name", &group.name, "give each group a name of its own"));
            }
            self.check_group(group)?;
        }
        self.storms.iter().try_for_each(|storm| check_storm(&at, storm))
    }

    fn check_group(&self, group: &Group) -> Result<(), ScenarioError> {
        let at = At { group: Some(&group.name) };
        at.within("connections", group.connections, 0.000_001, 1_000_000.0)?;
        check_arrivals(&at, &group.arrivals, self.duration_s)?;
        check_party(&at, &group.party, self.event.max_per_claim)?;
        check_interest(&at, &group.interest)?;
        check_behaviour(&at, &group.behaviour)
    }

    /// Checks the scenario, and whether it can be played in this hall.
    pub fn check(&self, hall: &Hall) -> Result<(), ScenarioError> {
        self.check_itself()?;
        let at = At { group: None };
        if hall.free_seats() == 0 {
            return Err(at.wrong(
                "the hall",
                "without a free seat",
                "use an event with seats left, or make a new one",
            ));
        }
        let longest = hall.longest_row();
        let most = hall.rules().map_or(u8::MAX, |rules| rules.max_per_claim);
        for group in &self.groups {
            let at = At { group: Some(&group.name) };
            let largest = group.party.sizes.iter().copied().max().unwrap_or(0);
            if u16::from(largest) > longest {
                let remedy = format!("the hall's longest row has {longest} seats: write no larger party");
                return Err(at.wrong("party.sizes", largest, remedy));
            }
            if largest > most {
                let remedy = format!("the event allows {most} seats to a claim: write no larger party");
                return Err(at.wrong("party.sizes", largest, remedy));
            }
        }
        Ok(())
    }
}

/// The event's rules, by the keys of a scenario: a time is written there in seconds.
fn check_event(at: &At<'_>, event: &EventWish) -> Result<(), ScenarioError> {
    let Some((rule, allowed)) = event.rules().mistake() else { return Ok(()) };
    let (key, got) = match rule {
        "hold" => ("hold_s", u64::from(event.hold_s)),
        "offer" => ("offer_s", event.offer_s.into()),
        "pay" => ("pay_s", event.pay_s.into()),
        "max_extensions" => (rule, event.max_extensions.into()),
        "max_per_claim" => (rule, event.max_per_claim.into()),
        _ => (rule, event.max_per_user.into()),
    };
    let remedy = if key.ends_with("_s") {
        format!("write a number of seconds ({allowed})")
    } else {
        format!("write {allowed}")
    };
    Err(at.wrong(&format!("event.{key}"), got, remedy))
}

fn check_arrivals(at: &At<'_>, arrivals: &Arrivals, duration_s: f64) -> Result<(), ScenarioError> {
    at.within("arrivals.start_s", arrivals.start_s, 0.0, LONGEST_S)?;
    if let Some(end) = arrivals.end_s {
        at.within("arrivals.end_s", end, 0.0, LONGEST_S)?;
    }
    let end = arrivals.end(duration_s);
    if end <= arrivals.start_s {
        let remedy = format!("write less than {end}, when arrivals end");
        return Err(at.wrong("arrivals.start_s", arrivals.start_s, remedy));
    }
    let needs = |key: &str, shape: &str| at.wrong(key, "missing", format!("shape {shape:?} needs it"));
    let useless = |key: &str, shape: &str| {
        at.wrong(key, "given", format!("shape {shape:?} has no use for it: remove it"))
    };
    if arrivals.shape == Shape::Burst {
        if arrivals.rate_per_s.is_some() {
            return Err(useless("arrivals.rate_per_s", "burst"));
        }
        let people = arrivals.people.ok_or_else(|| needs("arrivals.people", "burst"))?;
        at.within("arrivals.people", f64::from(people), 1.0, 100_000_000.0)?;
        let half_life = arrivals.half_life_s.ok_or_else(|| needs("arrivals.half_life_s", "burst"))?;
        return at.within("arrivals.half_life_s", half_life, 0.001, LONGEST_S);
    }
    let shape = if arrivals.shape == Shape::Uniform { "uniform" } else { "poisson" };
    if arrivals.people.is_some() {
        return Err(useless("arrivals.people", shape));
    }
    if arrivals.half_life_s.is_some() {
        return Err(useless("arrivals.half_life_s", shape));
    }
    let rate = arrivals.rate_per_s.ok_or_else(|| needs("arrivals.rate_per_s", shape))?;
    at.within("arrivals.rate_per_s", rate, 0.001, MOST_PER_S)
}

fn check_party(at: &At<'_>, party: &PartySizes, most: u8) -> Result<(), ScenarioError> {
    if party.sizes.is_empty() || party.sizes.len() != party.weights.len() {
        let got = format!("{} sizes and {} weights", party.sizes.len(), party.weights.len());
        return Err(at.wrong("party", got, "write one weight for each size, and at least one of both"));
    }
    for &size in &party.sizes {
        if size == 0 || size > most {
            let remedy = format!("write sizes from 1 to {most}, which is event.max_per_claim");
            return Err(at.wrong("party.sizes", size, remedy));
        }
    }
    check_weights(at, "party.weights", &party.weights)
}

fn check_weights(at: &At<'_>, key: &str, weights: &[f64]) -> Result<(), ScenarioError> {
    for &weight in weights {
        at.within(key, weight, 0.0, 1_000_000_000.0)?;
    }
    if weights.iter().sum::<f64>() <= 0.0 {
        return Err(at.wrong(key, "0 in all", "let at least one of them be above 0"));
    }
    Ok(())
}

fn check_interest(at: &At<'_>, interest: &Interest) -> Result<(), ScenarioError> {
    at.within("interest.sections_zipf", interest.sections_zipf, 0.0, 10.0)?;
    at.within("interest.rows_zipf", interest.rows_zipf, 0.0, 10.0)?;
    at.within("interest.accessible", interest.accessible, 0.0, 1.0)?;
    let Interest { named, row_best, section_best, row_queue, section_queue, .. } = *interest;
    let ways = [named, row_best, section_best, row_queue, section_queue];
    check_weights(at, "interest: the sum of named, row_best, section_best, row_queue, section_queue", &ways)
}

fn check_behaviour(at: &At<'_>, behaviour: &Behaviour) -> Result<(), ScenarioError> {
    let b = behaviour;
    let chances = [
        ("abandon", b.abandon),
        ("release", b.release),
        ("extend", b.extend),
        ("pay", b.pay),
        ("cancel", b.cancel),
        ("queue", b.queue),
        ("queue_behind", b.queue_behind),
        ("come_back", b.come_back),
    ];
    for (key, chance) in chances {
        at.within(&format!("behaviour.{key}"), chance, 0.0, 1.0)?;
    }
    if b.abandon + b.release > 1.0 + 1e-9 {
        let got = b.abandon + b.release;
        return Err(at.wrong(
            "behaviour.abandon + behaviour.release",
            got,
            "let both together be at most 1: the rest books",
        ));
    }
    if b.come_back >= 1.0 && b.away.mean_ms <= 0.0 {
        return Err(at.wrong("behaviour.away.mean_ms", 0, "who always comes back has to be away a while"));
    }
    at.within("behaviour.drops_per_min", b.drops_per_min, 0.0, 6000.0)?;
    let thinks = [
        ("hesitate", b.hesitate),
        ("payment", b.payment),
        ("regret", b.regret),
        ("retry", b.retry),
        ("patience", b.patience),
        ("away", b.away),
        ("offline", b.offline),
    ];
    thinks.iter().try_for_each(|(key, think)| at.think(&format!("behaviour.{key}"), *think))
}

fn check_storm(at: &At<'_>, storm: &Storm) -> Result<(), ScenarioError> {
    at.within("storm.at_s", storm.at_s, 0.0, LONGEST_S)?;
    at.within("storm.share", storm.share, 0.0, 1.0)?;
    at.think("storm.offline", storm.offline)
}
