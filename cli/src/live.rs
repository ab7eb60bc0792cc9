//! Following a section's seats.

use crate::args::Watch;
use crate::failure::{Failure, UnderWay};
use crate::places::Labels;
use crate::seatmap::section_text;
use crate::session::{Located, Session};
use crate::show::{Out, view_json, view_text};
use frontrow_client::http::StandbyView;
use frontrow_client::{RowSeats, SectionView, Update};
use serde_json::json;
use std::collections::BTreeMap;

pub(crate) async fn watch(session: &Session, args: &Watch, out: Out) -> Result<(), Failure> {
    let at = session.locate(&args.event, &args.section, None).await?;
    let client = session.connect_to_look().await?;
    let mut watch = session.patiently(Some(&client), client.watch(at.place)).await?;
    // What was wanted is shown from now on, until it is enough.
    session.under_way.set(UnderWay::Answered);
    let mut shown: BTreeMap<u16, String> = BTreeMap::new();
    let mut changes = 0;
    while args.updates.is_none_or(|most| changes < most) {
        let update = tokio::select! {
            update = watch.next() => update?,
            _ = tokio::signal::ctrl_c() => return Ok(()),
        };
        match update {
            Update::Snapshot => {
                shown = all_letters(watch.view());
                let standby = if client.is_at_standby() { view_now(session, &at).await } else { None };
                say_snapshot(&at.labels, watch.view(), &shown, standby.as_ref(), out);
            }
            Update::Row(delta) => {
                let letters = letters(&delta.state);
                let row = delta.row.row;
                let before = shown.insert(row, letters.clone()).unwrap_or_default();
                // Rows that overtake their snapshot are shown with it.
                if watch.view().synced {
                    changes += 1;
                    let json = json!({
                        "type": "delta", "row": row, "label": at.labels.row(row),
                        "version": delta.state.version, "state": letters,
                    });
                    out.say(&json, change_text(&at.labels, row, &before, &letters));
                }
            }
            Update::Lost => out.say(&json!({"type": "lost"}), "The connection is lost; connecting again."),
        }
    }
    Ok(())
}

/// How old a standby's view is now, as it says over HTTP; a standby that has just gone says nothing.
async fn view_now(session: &Session, at: &Located) -> Option<StandbyView> {
    session.http.event(at.place.event).await.ok()?;
    session.http.standby_view()
}

fn say_snapshot(
    labels: &Labels,
    view: &SectionView,
    shown: &BTreeMap<u16, String>,
    standby: Option<&StandbyView>,
    out: Out,
) {
    let rows = view.rows.iter().map(|(row, seats)| {
        json!({"row": row, "label": labels.row(*row), "version": seats.version, "state": shown.get(row)})
    });
    let mut json = json!({
        "type": "snapshot", "event": view.section.event, "section": view.section.section,
        "name": labels.section(), "rows": rows.collect::<Vec<_>>(), "free": view.free(),
    });
    let mut text = section_text(labels, |row| shown.get(&row).map(|it| &**it));
    if let Some(standby) = standby {
        json["standby"] = view_json(standby);
        text = format!("{}\n{text}", view_text(standby));
    }
    out.say(&json, text);
}

fn letters(seats: &RowSeats) -> String {
    (0..seats.seats).map(|place| char::from(seats.letter(place))).collect()
}

fn all_letters(view: &SectionView) -> BTreeMap<u16, String> {
    view.rows.iter().map(|(row, seats)| (*row, letters(seats))).collect()
}

/// `row A: 5, 7 held; 1 free`.
fn change_text(labels: &Labels, row: u16, before: &str, after: &str) -> String {
    let mut parts = Vec::new();
    for (letter, word) in [(b'f', "free"), (b'h', "held"), (b'b', "booked"), (b'x', "blocked")] {
        let changed = (0..after.len()).filter(|&place| {
            after.as_bytes()[place] == letter && before.as_bytes().get(place) != Some(&letter)
        });
        let seats: Vec<String> = changed.map(|place| labels.seat(row, place)).collect();
        if !seats.is_empty() {
            parts.push(format!("{} {word}", seats.join(", ")));
        }
    }
    let parts = if parts.is_empty() { "as before".to_owned() } else { parts.join("; ") };
    format!("row {}: {parts}", labels.row(row))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::places::tests::sample;

    #[test]
    fn changes_are_told_by_seat() {
        let labels = Labels::new(sample());
        for (before, after, text) in [
            ("ffff", "fhhf", "row A: 3, 5 held"),
            ("hhbx", "fbbx", "row A: 1 free; 3 booked"),
            ("ffff", "ffff", "row A: as before"),
            ("", "ffff", "row A: 1, 3, 5, 7 free"),
        ] {
            assert_eq!(change_text(&labels, 0, before, after), text);
        }
    }

    #[test]
    fn letters_are_the_protocols() {
        let seats = RowSeats {
            version: 1,
            seats: 4,
            free: [0b1, 0, 0, 0],
            booked: [0b10, 0, 0, 0],
            blocked: [0b100, 0, 0, 0],
        };
        assert_eq!(letters(&seats), "fbxh");
    }
}
