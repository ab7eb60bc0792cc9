//! The scenarios that have a name.

use super::check::ScenarioError;
use super::scenario::Scenario;

/// The presets: name and text.
const PRESETS: &[(&str, &str)] = &[
    ("onsale", include_str!("../../scenarios/onsale.toml")),
    ("steady", include_str!("../../scenarios/steady.toml")),
    ("waitlist", include_str!("../../scenarios/waitlist.toml")),
    ("expiry-storm", include_str!("../../scenarios/expiry-storm.toml")),
    ("hot-row", include_str!("../../scenarios/hot-row.toml")),
    ("scalper", include_str!("../../scenarios/scalper.toml")),
    ("reconnect-storm", include_str!("../../scenarios/reconnect-storm.toml")),
    ("mixed", include_str!("../../scenarios/mixed.toml")),
];

impl Scenario {
    /// The names of the presets.
    pub fn names() -> impl Iterator<Item = &'static str> {
        PRESETS.iter().map(|&(name, _)| name)
    }

    /// A preset's text, with its comments.
    pub fn text(name: &str) -> Option<&'static str> {
        PRESETS.iter().find(|&&(known, _)| known == name).map(|&(_, text)| text)
    }

    /// A preset.
    pub fn named(name: &str) -> Result<Self, ScenarioError> {
        let text = Self::text(name).ok_or_else(|| ScenarioError::UnknownName {
            name: name.to_owned(),
            known: Self::names().collect::<Vec<_>>().join(", "),
        })?;
        Self::parse(text)
    }
}
