//! The sample hall's rows, and what is asked of them.

use crate::server::ServerProcess;
use frontrow_shard::{
    ANY_CATEGORY, Adjacency, CANDIDATES, ClaimBest, ClaimSeats, ClaimSection, Command, EventId, Join, Leave,
    NO_ROW, RowRef, Seats,
};

/// The event that a server of these tests sells.
pub const EVENT: EventId = 1;
/// Seats in the sample hall.
pub const SEATS: u32 = 1222;

/// Every row with its number of seats.
pub async fn rows(server: &ServerProcess) -> Vec<(RowRef, u8)> {
    let map = server.http().map(EVENT).await.expect("the map");
    let sections = map.sections.iter();
    let rows = sections.flat_map(|section| section.rows.iter().map(move |row| (section.section, row)));
    rows.map(|(section, row)| (RowRef::new(EVENT, section, row.row), row.numbers.len() as u8)).collect()
}

/// Every row's seats as the HTTP side tells them: one letter for each.
pub async fn letters(server: &ServerProcess) -> Vec<(RowRef, String)> {
    let mut all = Vec::new();
    for section in 0..server.http().map(EVENT).await.expect("the map").sections.len() as u16 {
        let state = server.http().section(EVENT, section).await.expect("the section");
        all.extend(state.rows.into_iter().map(|row| (RowRef::new(EVENT, section, row.row), row.seats)));
    }
    all
}

/// How many seats have this letter.
pub fn count(letters: &[(RowRef, String)], letter: char) -> u32 {
    letters.iter().map(|(_, row)| row.matches(letter).count() as u32).sum()
}

/// A section as a place.
pub const fn section(section: u16) -> RowRef {
    RowRef::new(EVENT, section, RowRef::SECTION)
}

/// These very seats.
pub fn named(row: RowRef, places: &[u8]) -> Command {
    let seats = Seats::from_places(places).expect("places of one claim");
    Command::ClaimSeats(ClaimSeats { row, seats })
}

/// The best of a row.
pub const fn best(row: RowRef, count: u8, or_join: bool) -> Command {
    Command::ClaimBest(ClaimBest { row, count, category: ANY_CATEGORY, accessible: false, or_join })
}

/// The best of a section.
pub const fn best_of(section: RowRef, count: u8, adjacency: Adjacency, or_join: bool) -> Command {
    let (category, accessible) = (ANY_CATEGORY, false);
    let candidates = [NO_ROW; CANDIDATES];
    let hopeless = false;
    Command::ClaimSection(ClaimSection {
        section,
        count,
        category,
        adjacency,
        accessible,
        or_join,
        hopeless,
        candidates,
    })
}

/// Waiting.
pub const fn join(place: RowRef, count: u8, adjacency: Adjacency) -> Command {
    Command::Join(Join { place, count, adjacency, accessible: false })
}

/// Waiting no more.
pub const fn leave(place: RowRef) -> Command {
    Command::Leave(Leave { place })
}
