//! The file that makes an event exist: everything about it that is small.

use frontrow_shard::{EventId, EventRules, EventState, Fairness, Millis, OrphanRule};
use frontrow_venue::Plan;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::VERSION;

/// What marks the files of this catalogue.
pub(super) const MARK: &str = "event";

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Head {
    pub(super) frontrow: String,
    pub(super) version: u32,
    pub(super) id: EventId,
    pub(super) name: String,
    pub(super) plan: String,
    pub(super) created_ms: Millis,
    /// When an operator closed it, if one has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) closed_ms: Option<Millis>,
    pub(super) state: Standing,
    pub(super) rules: Rules,
    pub(super) sections: Vec<SectionSum>,
    pub(super) categories: Vec<CategorySum>,
    pub(super) plan_file: Stamp,
    pub(super) map_file: Stamp,
    /// First byte and end of each section's object in the map.
    pub(super) map_sections: Vec<(u64, u64)>,
}

/// Length and checksum of a file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Stamp {
    pub(super) bytes: u64,
    pub(super) crc32c: u32,
}

/// An event's state, or that it never came to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Standing {
    Draft,
    Open,
    Paused,
    Closed,
    Archived,
    Abandoned,
}

impl Standing {
    pub(super) fn of(state: EventState) -> Self {
        match state {
            EventState::Draft => Self::Draft,
            EventState::Open => Self::Open,
            EventState::Paused => Self::Paused,
            EventState::Closed | EventState::Archiving => Self::Closed,
            EventState::Archived => Self::Archived,
        }
    }

    pub(super) fn into_state(self) -> EventState {
        match self {
            Self::Draft => EventState::Draft,
            Self::Open => EventState::Open,
            Self::Paused => EventState::Paused,
            Self::Closed | Self::Abandoned => EventState::Closed,
            Self::Archived => EventState::Archived,
        }
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Draft => "draft",
            Self::Open => "open",
            Self::Paused => "paused",
            Self::Closed => "closed",
            Self::Archived => "archived",
            Self::Abandoned => "abandoned",
        }
    }
}

/// A section by name and size.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SectionSum {
    /// Its name; its number is its place in the list.
    pub name: String,
    /// How many rows.
    pub rows: u32,
    /// How many seats.
    pub seats: u32,
}

/// A price category by name and size.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct CategorySum {
    /// Its name; its number is its place in the list.
    pub name: String,
    /// How to draw it (CSS colour).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub color: Option<String>,
    /// How many seats.
    pub seats: u32,
}

/// An event's rules as they stand in files and HTTP answers. Times in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Rules {
    /// How long a claim is held.
    pub hold_ms: u32,
    /// How long an offer from the queue is held.
    pub offer_ms: u32,
    /// How long a payment may pin a hold.
    pub pay_ms: u32,
    /// How often a hold may be extended.
    pub max_extensions: u8,
    /// Most seats in one claim.
    pub max_per_claim: u8,
    /// Most seats one user may hold and have booked; 0 for no limit.
    pub max_per_user: u16,
    /// How often a waiting party may be passed.
    pub max_passes: u16,
    /// `fifo` or `free-for-all`.
    #[serde(with = "FairnessText")]
    #[schema(value_type = String)]
    pub fairness: Fairness,
    /// `off`, `prefer` or `strict`.
    #[serde(with = "OrphansText")]
    #[schema(value_type = String)]
    pub orphans: OrphanRule,
}

/// How [`Fairness`] is written.
#[derive(Serialize, Deserialize)]
#[serde(remote = "Fairness", rename_all = "kebab-case")]
enum FairnessText {
    Fifo,
    FreeForAll,
}

/// How [`OrphanRule`] is written.
#[derive(Serialize, Deserialize)]
#[serde(remote = "OrphanRule", rename_all = "kebab-case")]
enum OrphansText {
    Off,
    Prefer,
    Strict,
}

impl From<EventRules> for Rules {
    fn from(rules: EventRules) -> Self {
        let EventRules {
            hold_ms,
            offer_ms,
            pay_ms,
            max_extensions,
            max_per_claim,
            max_per_user,
            max_passes,
            fairness,
            orphans,
        } = rules;
        Self {
            hold_ms,
            offer_ms,
            pay_ms,
            max_extensions,
            max_per_claim,
            max_per_user,
            max_passes,
            fairness,
            orphans,
        }
    }
}

impl From<Rules> for EventRules {
    fn from(rules: Rules) -> Self {
        let Rules {
            hold_ms,
            offer_ms,
            pay_ms,
            max_extensions,
            max_per_claim,
            max_per_user,
            max_passes,
            fairness,
            orphans,
        } = rules;
        Self {
            hold_ms,
            offer_ms,
            pay_ms,
            max_extensions,
            max_per_claim,
            max_per_user,
            max_passes,
            fairness,
            orphans,
        }
    }
}

impl Head {
    /// The head of a new event; its files are not written yet.
    pub(super) fn new(id: EventId, name: &str, plan: &Plan, rules: EventRules, created_ms: Millis) -> Self {
        let mut per_category = vec![0_u32; plan.categories.len()];
        for (_, seat) in plan.seats() {
            if let Some(count) = per_category.get_mut(usize::from(seat.category)) {
                *count += 1;
            }
        }
        let sections = plan.sections.iter().map(|section| SectionSum {
            name: section.name.clone(),
            rows: section.rows.len() as u32,
            seats: section.rows.iter().map(|row| row.seats.len() as u32).sum(),
        });
        let categories = plan.categories.iter().zip(per_category).map(|(category, seats)| CategorySum {
            name: category.name.clone(),
            color: category.color.clone(),
            seats,
        });
        Self {
            frontrow: MARK.to_owned(),
            version: VERSION,
            id,
            name: name.to_owned(),
            plan: plan.name.clone(),
            created_ms,
            closed_ms: None,
            state: Standing::Draft,
            rules: rules.into(),
            sections: sections.collect(),
            categories: categories.collect(),
            plan_file: Stamp::default(),
            map_file: Stamp::default(),
            map_sections: Vec::new(),
        }
    }
}
