//! The event whose seats the load is after: made for the run, or one that is on sale already.

use crate::LoadError;
use crate::crowd::{FinalSeat, Hall, SeatState};
use crate::report::model::Target;
use crate::runs::plan::Plan;
use crate::runs::site::Site;
use crate::runs::tokens::patiently;
use frontrow_client::http::{EventDetail, EventQuery, EventRulesLine, RowState, SectionMap, SectionState};
use frontrow_client::{EventId, Http};
use frontrow_shard::{EventRules, Fairness, OrphanRule};
use futures_util::{StreamExt, TryStreamExt, stream};
use std::collections::HashMap;
use std::sync::Arc;

/// Sections asked for at one time.
const AT_ONCE: usize = 8;

/// An event on sale.
#[derive(Clone, Debug)]
pub(crate) struct Sale {
    pub(crate) event: EventId,
    pub(crate) name: String,
    /// Its rows, with the seats that were free at the start.
    pub(crate) hall: Arc<Hall>,
    /// Whether it was made for this run.
    pub(crate) own: bool,
}

impl Sale {
    /// Makes an event in a generated stadium, by these rules, and opens its sale.
    pub(crate) async fn make(
        site: &Site,
        rules: &EventRules,
        seats: u32,
        name: &str,
    ) -> Result<Self, LoadError> {
        let query = EventQuery { name: Some(name.to_owned()), rules: words_of(rules) };
        let made = site.http.create_stadium(&query, seats, None).await.map_err(LoadError::http)?;
        let event = made.event.event;
        site.http.open(event).await.map_err(LoadError::http)?;
        Ok(Self { own: true, ..Self::of(site, event).await? })
    }

    /// The event that a plan says: one that is there, or one made for it.
    pub(crate) async fn open(site: &Site, plan: &Plan, seats: u32, when: &str) -> Result<Self, LoadError> {
        if let Ok(event) = plan.event {
            return Self::of(site, event).await;
        }
        let name = format!("load: {} {when}", plan.scenario.name);
        Self::make(site, &plan.scenario.event.rules(), seats, &name).await
    }

    /// An event that is there.
    pub(crate) async fn of(site: &Site, event: EventId) -> Result<Self, LoadError> {
        let detail = site.http.event(event).await.map_err(LoadError::http)?;
        if detail.event.state != "open" {
            return Err(LoadError::Option(format!(
                "event {event} is not on sale but {}; open it (`frontrow event open {event}`), or leave --event out",
                detail.event.state
            )));
        }
        let (maps, states) = tokio::try_join!(maps(&site.http, &detail), states(&site.http, &detail))?;
        let hall = hall(event, &maps, &states).with_rules(rules(&detail.rules));
        Ok(Self { event, name: detail.event.name, hall: Arc::new(hall), own: false })
    }

    /// How every seat stands by the server's own word.
    pub(crate) async fn seats(&self, site: &Site) -> Result<Vec<FinalSeat>, LoadError> {
        let detail = patiently(|| site.http.event(self.event)).await.map_err(LoadError::http)?;
        let states = states(&site.http, &detail).await?;
        let seat = |section: u16, row: &RowState| {
            let number = row.row;
            let seat = move |(place, letter): (usize, char)| FinalSeat {
                section,
                row: number,
                place: place as u8,
                state: state_of(letter),
            };
            row.seats.chars().enumerate().map(seat).collect::<Vec<_>>()
        };
        let rows = states.iter().flat_map(|it| it.rows.iter().map(|row| (it.section, row)));
        Ok(rows.flat_map(|(section, row)| seat(section, row)).collect())
    }

    /// Ends the sale of an event made for the run: nobody is to find it open afterwards.
    pub(crate) async fn end(&self, site: &Site) -> Result<(), LoadError> {
        if self.own {
            site.http.close(self.event).await.map_err(LoadError::http)?;
        }
        Ok(())
    }

    /// Fills in what a report says about the event.
    pub(crate) fn describe(&self, target: &mut Target) {
        target.event = self.event;
        target.event_name.clone_from(&self.name);
        target.seats = self.hall.free_seats().into();
        target.sections = self.hall.sections() as u32;
        target.rows = self.hall.rows().len() as u32;
    }
}

fn words_of(rules: &EventRules) -> Vec<(&'static str, String)> {
    vec![
        ("hold_ms", rules.hold_ms.to_string()),
        ("offer_ms", rules.offer_ms.to_string()),
        ("pay_ms", rules.pay_ms.to_string()),
        ("max_extensions", rules.max_extensions.to_string()),
        ("max_per_claim", rules.max_per_claim.to_string()),
        ("max_per_user", rules.max_per_user.to_string()),
        ("max_passes", rules.max_passes.to_string()),
    ]
}

fn rules(line: &EventRulesLine) -> EventRules {
    EventRules {
        hold_ms: line.hold_ms,
        offer_ms: line.offer_ms,
        pay_ms: line.pay_ms,
        max_extensions: line.max_extensions,
        max_per_claim: line.max_per_claim,
        max_per_user: line.max_per_user,
        max_passes: line.max_passes,
        fairness: if line.fairness == "fifo" { Fairness::Fifo } else { Fairness::FreeForAll },
        orphans: match line.orphans.as_str() {
            "off" => OrphanRule::Off,
            "strict" => OrphanRule::Strict,
            _ => OrphanRule::Prefer,
        },
    }
}

async fn maps(http: &Http, detail: &EventDetail) -> Result<Vec<SectionMap>, LoadError> {
    let one = |section: usize| http.section_map(detail.event.event, section as u16);
    let all = stream::iter((0..detail.section_list.len()).map(one)).buffered(AT_ONCE);
    all.try_collect().await.map_err(LoadError::http)
}

async fn states(http: &Http, detail: &EventDetail) -> Result<Vec<SectionState>, LoadError> {
    let one = |section: usize| patiently(move || http.section(detail.event.event, section as u16));
    let all = stream::iter((0..detail.section_list.len()).map(one)).buffered(AT_ONCE);
    all.try_collect().await.map_err(LoadError::http)
}

/// The hall of a map, with the seats free that the states say are.
fn hall(event: EventId, maps: &[SectionMap], states: &[SectionState]) -> Hall {
    let places = |map: &SectionMap| map.rows.iter().map(|row| row.numbers.len() as u16).collect::<Vec<_>>();
    let mut hall = Hall::new(event, &maps.iter().map(places).collect::<Vec<_>>());
    for map in maps {
        for row in map.rows.iter().filter(|row| !row.aisles_after.is_empty()) {
            let after: Vec<u8> = row.aisles_after.iter().map(|&place| place as u8).collect();
            hall = hall.with_aisles(map.section, row.row, &after);
        }
        for row in map.rows.iter().filter(|row| !row.accessible.is_empty()) {
            let places: Vec<u8> = row.accessible.iter().map(|&place| place as u8).collect();
            hall = hall.with_accessible(map.section, row.row, &places);
        }
    }
    let rows = states.iter().flat_map(|it| it.rows.iter().map(|row| ((it.section, row.row), row)));
    let letters: HashMap<(u16, u16), &[u8]> = rows.map(|(at, row)| (at, row.seats.as_bytes())).collect();
    hall.only_free(|section, row, place| {
        letters.get(&(section, row)).and_then(|row| row.get(usize::from(place))) == Some(&b'f')
    })
}

fn state_of(letter: char) -> SeatState {
    match letter {
        'f' => SeatState::Free,
        'h' => SeatState::Held,
        'b' => SeatState::Booked,
        _ => SeatState::Blocked,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use frontrow_client::http::{Categories, RowMap};

    fn row(number: u16, seats: usize, aisles_after: Vec<usize>) -> RowMap {
        RowMap {
            row: number,
            label: String::new(),
            numbers: vec![String::new(); seats],
            x: Vec::new(),
            y: Vec::new(),
            category: Categories::All(0),
            aisles_after,
            accessible: Vec::new(),
        }
    }

    #[test]
    fn a_hall_has_the_seats_that_are_free() {
        let rows = vec![row(0, 3, Vec::new()), row(1, 4, vec![1])];
        let map = SectionMap { section: 0, name: String::new(), rows };
        let state = |row, seats: &str| RowState { row, seats: seats.to_owned() };
        let states = SectionState { event: 5, section: 0, rows: vec![state(0, "fhb"), state(1, "ffxf")] };
        let hall = hall(5, &[map], &[states]);
        assert_eq!((hall.seats(), hall.free_seats(), hall.sections()), (7, 4, 1));
        assert!(!hall.rows_of(0)[0].is_free(1));
    }
}
