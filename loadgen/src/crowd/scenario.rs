//! A scenario: who comes, what they want, and how they behave. TOML, with presets by name.

use super::check::ScenarioError;
use frontrow_shard::{Adjacency, EventRules};
use serde::{Deserialize, Serialize};

/// What happens in a run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scenario {
    /// Its name.
    pub name: String,
    /// What it shows, in a sentence or two.
    #[serde(default)]
    pub about: String,
    /// For how long people arrive, in seconds. Who is there then may finish.
    pub duration_s: f64,
    /// Connections to open unless another number is asked for; each is one user.
    pub connections: u32,
    /// The hall it is made for.
    pub hall: HallWish,
    /// The rules wanted of the event.
    #[serde(default)]
    pub event: EventWish,
    /// Kinds of people.
    #[serde(rename = "group")]
    pub groups: Vec<Group>,
    /// Moments at which many connections drop at once.
    #[serde(rename = "storm", default, skip_serializing_if = "Vec::is_empty")]
    pub storms: Vec<Storm>,
}

/// The hall a scenario is made for.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HallWish {
    /// Seats of a generated stadium.
    pub seats: u32,
}

/// The rules a scenario wants of its event; they go into the event when it is made for the run.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct EventWish {
    /// How long a claim is held, in seconds.
    pub hold_s: u32,
    /// How long an offer from a queue is held, in seconds.
    pub offer_s: u32,
    /// How long a payment may take, in seconds.
    pub pay_s: u32,
    /// How often a hold may be extended.
    pub max_extensions: u8,
    /// Most seats in a claim.
    pub max_per_claim: u8,
    /// Most seats of a user; 0 for no limit.
    pub max_per_user: u16,
    /// How often a waiting party may be passed.
    pub max_passes: u16,
}

impl Default for EventWish {
    fn default() -> Self {
        let rules = EventRules::default();
        Self {
            hold_s: rules.hold_ms / 1000,
            offer_s: rules.offer_ms / 1000,
            pay_s: rules.pay_ms / 1000,
            max_extensions: rules.max_extensions,
            max_per_claim: rules.max_per_claim,
            max_per_user: rules.max_per_user,
            max_passes: rules.max_passes,
        }
    }
}

impl EventWish {
    /// The event's rules, everything else as usual.
    pub fn rules(&self) -> EventRules {
        EventRules {
            hold_ms: self.hold_s.saturating_mul(1000),
            offer_ms: self.offer_s.saturating_mul(1000),
            pay_ms: self.pay_s.saturating_mul(1000),
            max_extensions: self.max_extensions,
            max_per_claim: self.max_per_claim,
            max_per_user: self.max_per_user,
            max_passes: self.max_passes,
            ..EventRules::default()
        }
    }
}

/// One kind of people.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Group {
    /// What they are called.
    pub name: String,
    /// Their share of the connections, relative to the other groups'.
    #[serde(default = "one")]
    pub connections: f64,
    /// When they come.
    pub arrivals: Arrivals,
    /// How many come together.
    pub party: PartySizes,
    /// Which seats they want, and how they ask.
    pub interest: Interest,
    /// What they do with what they get.
    #[serde(default)]
    pub behaviour: Behaviour,
}

/// When people come.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Arrivals {
    /// How arrivals are spread over time.
    pub shape: Shape,
    /// Visits per second (`uniform`, `poisson`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate_per_s: Option<f64>,
    /// How many come in all (`burst`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub people: Option<u32>,
    /// The rate halves in this time, in seconds (`burst`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub half_life_s: Option<f64>,
    /// When the first may come, in seconds.
    #[serde(default)]
    pub start_s: f64,
    /// When nobody comes any more, in seconds; the scenario's duration if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub end_s: Option<f64>,
}

/// How arrivals are spread over time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Shape {
    /// At equal distances.
    Uniform,
    /// Independently of each other: exponential distances.
    Poisson,
    /// Most at once, then ever fewer.
    Burst,
}

/// Sizes of parties and how often they occur.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PartySizes {
    /// Sizes.
    pub sizes: Vec<u8>,
    /// How often each occurs, relative to the others.
    pub weights: Vec<f64>,
}

/// Which seats people want, and how they ask for them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Interest {
    /// The section at rank `i` (from 1, in the hall's order) is wanted `1 / i^sections_zipf` as often as the first.
    pub sections_zipf: f64,
    /// The same for the rows within a section.
    pub rows_zipf: f64,
    /// Only so many of the most wanted rows are wanted at all; 0 for all.
    pub rows: u32,
    /// Weight of claims that name their seats.
    pub named: f64,
    /// Weight of claims of the best seats of a row.
    pub row_best: f64,
    /// Weight of claims of the best seats of a section.
    pub section_best: f64,
    /// Weight of those who join the queue of a row straight away.
    pub row_queue: f64,
    /// Weight of those who join the queue of a section straight away.
    pub section_queue: f64,
    /// How close together seats of a section must be.
    pub adjacency: Closeness,
    /// Share of parties that need an accessible seat among theirs.
    pub accessible: f64,
}

impl Default for Interest {
    fn default() -> Self {
        Self {
            sections_zipf: 0.0,
            rows_zipf: 0.0,
            rows: 0,
            named: 0.0,
            row_best: 1.0,
            section_best: 0.0,
            row_queue: 0.0,
            section_queue: 0.0,
            adjacency: Closeness::Required,
            accessible: 0.0,
        }
    }
}

/// [`Adjacency`], as a scenario writes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Closeness {
    /// Next to each other.
    Required,
    /// Next to each other if that can be had.
    Preferred,
    /// Anywhere in the section.
    Any,
}

impl From<Closeness> for Adjacency {
    fn from(closeness: Closeness) -> Self {
        match closeness {
            Closeness::Required => Self::Required,
            Closeness::Preferred => Self::Preferred,
            Closeness::Any => Self::Any,
        }
    }
}

/// A random time: exponential above a least time, and never longer than `min_ms` plus eight times the rest.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Think {
    /// The least, in milliseconds.
    pub min_ms: f64,
    /// The mean, in milliseconds.
    pub mean_ms: f64,
}

impl Think {
    /// Always this long.
    pub const fn exactly(ms: f64) -> Self {
        Self { min_ms: ms, mean_ms: ms }
    }
}

/// What people do with what they get. Numbers without a unit are probabilities.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Behaviour {
    /// Between getting seats and doing something about it.
    pub hesitate: Think,
    /// Walks away without a word, so that the hold runs out.
    pub abandon: f64,
    /// Gives the seats back.
    pub release: f64,
    /// Extends the hold, and hesitates once more.
    pub extend: f64,
    /// Begins a payment before booking.
    pub pay: f64,
    /// How long a payment takes.
    pub payment: Think,
    /// Cancels the booking.
    pub cancel: f64,
    /// After booking, before cancelling.
    pub regret: Think,
    /// How often a refused person tries again elsewhere.
    pub retries: u8,
    /// Between a refusal and the next try.
    pub retry: Think,
    /// Joins the queue of what was refused instead of trying elsewhere.
    pub queue: f64,
    /// The same for a person who is told that others wait for these seats already.
    pub queue_behind: f64,
    /// How long a person waits in a queue before leaving it.
    pub patience: Think,
    /// Comes again after a visit that ended without a booking.
    pub come_back: f64,
    /// How long such a person stays away.
    pub away: Think,
    /// How often a connection drops without a word, per minute.
    pub drops_per_min: f64,
    /// How long it stays away then.
    pub offline: Think,
}

impl Default for Behaviour {
    fn default() -> Self {
        Self {
            hesitate: Think { min_ms: 100.0, mean_ms: 1000.0 },
            abandon: 0.0,
            release: 0.0,
            extend: 0.0,
            pay: 0.0,
            payment: Think { min_ms: 500.0, mean_ms: 2000.0 },
            cancel: 0.0,
            regret: Think { min_ms: 500.0, mean_ms: 2000.0 },
            retries: 0,
            retry: Think { min_ms: 100.0, mean_ms: 500.0 },
            queue: 0.0,
            queue_behind: 0.5,
            patience: Think { min_ms: 5000.0, mean_ms: 30_000.0 },
            come_back: 0.0,
            away: Think { min_ms: 1000.0, mean_ms: 5000.0 },
            drops_per_min: 0.0,
            offline: Think { min_ms: 100.0, mean_ms: 1000.0 },
        }
    }
}

/// Many connections drop at once.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Storm {
    /// When, in seconds.
    pub at_s: f64,
    /// Which share of all connections, 0 to 1.
    pub share: f64,
    /// How long each stays away.
    pub offline: Think,
}

fn one() -> f64 {
    1.0
}

impl Scenario {
    /// Reads a scenario and checks what can be checked without a hall.
    pub fn parse(text: &str) -> Result<Self, ScenarioError> {
        let scenario: Self = toml::from_str(text).map_err(|error| ScenarioError::Toml(error.to_string()))?;
        scenario.check_itself()?;
        Ok(scenario)
    }

    /// The scenario as TOML, as `parse` reads it.
    pub fn to_toml(&self) -> Result<String, ScenarioError> {
        toml::to_string(self).map_err(|error| ScenarioError::Toml(error.to_string()))
    }

    /// The same people at another pace: all groups together bring `visits_per_s`, evenly over `duration_s`, each
    /// group its share of it. A burst becomes a Poisson stream.
    #[must_use]
    pub fn at_rate(&self, visits_per_s: f64, duration_s: f64) -> Self {
        let mut paced = self.clone();
        let rates: Vec<f64> =
            self.groups.iter().map(|group| group.arrivals.visits(self.duration_s)).collect();
        let all: f64 = rates.iter().sum();
        for (group, rate) in paced.groups.iter_mut().zip(rates) {
            let share = if all > 0.0 { rate / all } else { 1.0 / self.groups.len() as f64 };
            let shape = if group.arrivals.shape == Shape::Uniform { Shape::Uniform } else { Shape::Poisson };
            group.arrivals = Arrivals {
                shape,
                rate_per_s: Some(visits_per_s * share),
                people: None,
                half_life_s: None,
                start_s: 0.0,
                end_s: None,
            };
        }
        paced.duration_s = duration_s;
        paced.storms.retain(|storm| storm.at_s < duration_s);
        paced
    }

    /// The same with so many people, each group its share of them; `None` if no group's crowd has a size (it comes at a
    /// rate).
    #[must_use]
    pub fn with_people(&self, people: u64) -> Option<Self> {
        let all: f64 = self.groups.iter().filter_map(|group| group.arrivals.people).map(f64::from).sum();
        let mut sized = self.clone();
        for group in &mut sized.groups {
            let of_all = |own: u32| (f64::from(own) / all * people as f64).round().max(1.0) as u32;
            group.arrivals.people = group.arrivals.people.map(of_all);
        }
        (all > 0.0).then_some(sized)
    }

    /// How many visits are expected in all.
    pub fn visits(&self) -> f64 {
        self.groups.iter().map(|group| group.arrivals.visits(self.duration_s)).sum()
    }

    /// The same of each group.
    pub(crate) fn people_by_group(&self) -> Vec<f64> {
        self.groups.iter().map(|group| group.arrivals.visits(self.duration_s)).collect()
    }

    /// How many of those visits are expected by `at_s`, in seconds.
    pub fn come_by(&self, at_s: f64) -> f64 {
        self.groups.iter().map(|group| group.arrivals.come_by(at_s, self.duration_s)).sum()
    }
}

impl Arrivals {
    /// When nobody comes any more, in seconds.
    pub(crate) fn end(&self, duration_s: f64) -> f64 {
        self.end_s.unwrap_or(duration_s).min(duration_s)
    }

    /// How many visits are expected.
    fn visits(&self, duration_s: f64) -> f64 {
        match self.shape {
            Shape::Burst => f64::from(self.people.unwrap_or(0)),
            _ => self.rate_per_s.unwrap_or(0.0) * (self.end(duration_s) - self.start_s).max(0.0),
        }
    }

    /// How many of them are expected by `at_s`.
    fn come_by(&self, at_s: f64, duration_s: f64) -> f64 {
        let span = self.end(duration_s) - self.start_s;
        let gone = (at_s - self.start_s).clamp(0.0, span.max(0.0));
        if span <= 0.0 || gone <= 0.0 {
            return 0.0;
        }
        let share = match self.shape {
            Shape::Burst => {
                let half = self.half_life_s.unwrap_or(1.0);
                (1.0 - (-gone / half).exp2()) / (1.0 - (-span / half).exp2())
            }
            Shape::Uniform | Shape::Poisson => gone / span,
        };
        share * self.visits(duration_s)
    }
}
