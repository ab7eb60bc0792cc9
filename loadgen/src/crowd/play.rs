//! A scenario made ready: what all crowds of a run share.

use super::hall::Hall;
use super::interest::Wishes;
use super::scenario::{Behaviour, Scenario};
use frontrow_protocol::Topology;
use std::sync::Arc;

/// A group, ready to play.
pub(crate) struct Role {
    pub(crate) wishes: Wishes,
    pub(crate) behaviour: Behaviour,
}

/// What all crowds of a run share.
pub(crate) struct Play {
    pub(crate) scenario: Scenario,
    pub(crate) hall: Arc<Hall>,
    pub(crate) roles: Vec<Role>,
    pub(crate) first_user: u64,
    /// Core of each row of the hall, if connections are chosen by it.
    pub(crate) core_of_row: Option<Vec<u16>>,
}

impl Play {
    pub(crate) fn new(
        scenario: &Scenario,
        hall: &Arc<Hall>,
        first_user: u64,
        topology: Option<&Topology>,
    ) -> Self {
        let role = |group| Role { wishes: Wishes::new(group, hall), behaviour: group.behaviour.clone() };
        let core = |topology: &Topology| {
            let rows = hall.rows().iter();
            rows.map(|row| topology.core_of(row.at).unwrap_or(0)).collect()
        };
        Self {
            scenario: scenario.clone(),
            hall: Arc::clone(hall),
            roles: scenario.groups.iter().map(role).collect(),
            first_user,
            core_of_row: topology.map(core),
        }
    }
}
