//! What is on sale.

use crate::args::{Events, OwnArgs, SeatsArgs};
use crate::failure::Failure;
use crate::places::Labels;
use crate::seatmap::section_text;
use crate::session::Session;
use crate::show::{Out, booked_seats, view_json, view_text};
use frontrow_client::http::{Behind, OwnBooking, SectionState};
use frontrow_client::{EventId, RowRef};
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};

pub(crate) async fn events(session: &Session, args: &Events, out: Out) -> Result<(), Failure> {
    let events = session.ask(session.http.events(&args.query.join(" "))).await?;
    if events.is_empty() && !out.json {
        let operating = session.common.operating();
        let text = format!(
            "There are no such events. An operator makes one with: {operating} event create PLAN.json --name NAME"
        );
        out.say(&json!({}), text);
    }
    for event in events {
        let text = format!(
            "{:>4}  {:<7} {}  ({} seats in {} sections, {})",
            event.event, event.state, event.name, event.seats, event.sections, event.plan
        );
        out.say(&json!(event), text);
    }
    Ok(())
}

pub(crate) async fn seats(session: &Session, args: &SeatsArgs, out: Out) -> Result<(), Failure> {
    let Some(section) = &args.section else { return sections(session, &args.event, out).await };
    let at = session.locate(&args.event, section, None).await?;
    let state = session.ask(session.http.section(at.place.event, at.place.section)).await?;
    let letters = |row| state.rows.iter().find(|it| it.row == row).map(|it| &*it.seats);
    let rows = at.labels.rows().iter().map(|row| {
        json!({
            "row": row.row, "label": row.label, "numbers": row.numbers, "state": letters(row.row),
            "aisles_after": row.aisles_after, "accessible": row.accessible,
        })
    });
    let mut json = json!({
        "ok": true, "event": at.place.event, "section": at.place.section, "name": at.labels.section(),
        "rows": rows.collect::<Vec<_>>(), "free": free(&state),
    });
    let text = section_text(&at.labels, letters);
    let text = match &session.http.standby_view() {
        Some(view) => {
            json["standby"] = view_json(view);
            format!("{}\n{text}", view_text(view))
        }
        None => text,
    };
    out.say(&json, text);
    Ok(())
}

/// Every section with how many seats are free.
async fn sections(session: &Session, event: &str, out: Out) -> Result<(), Failure> {
    let detail = session.event_detail(event).await?;
    let event = &detail.event;
    if !out.json {
        if let Some(view) = session.http.standby_view() {
            out.say(&json!({}), view_text(&view));
        }
        out.say(&json!({}), format_args!("{} (event {}, {})", event.name, event.event, event.state));
    }
    let width = detail.section_list.iter().map(|it| it.name.chars().count()).max().unwrap_or(0);
    for (index, section) in detail.section_list.iter().enumerate() {
        let state = session.ask(session.http.section(event.event, index as u16)).await?;
        let free = free(&state);
        let mut json = json!({
            "ok": true, "event": event.event, "section": index, "name": section.name,
            "rows": section.rows, "seats": section.seats, "free": free,
        });
        if let Some(view) = session.http.standby_view() {
            json["standby"] = view_json(&view);
        }
        let text = format!(
            "  {:<width$}  {free:>5} of {:>5} free, {} rows",
            section.name, section.seats, section.rows
        );
        out.say(&json, text);
    }
    Ok(())
}

fn free(state: &SectionState) -> usize {
    state.rows.iter().map(|row| row.seats.bytes().filter(|&it| it == b'f').count()).sum()
}

/// What one has booked.
pub(crate) async fn bookings(session: &Session, args: &OwnArgs, out: Out) -> Result<(), Failure> {
    let http = session.http.as_user(session.token().await?);
    let mut maps = BTreeMap::new();
    if let Some(id) = &args.id {
        let booking = session.ask(http.own_booking(id)).await?;
        say_booking(session, &mut maps, &booking, out).await;
        if let Some(behind) = &booking.behind {
            say_behind(session, "It may have been given back meanwhile, for", behind, out).await;
        }
        return Ok(());
    }
    let event = match &args.event {
        Some(event) => Some(session.event(event).await?),
        None => None,
    };
    let (mut cursor, mut any, mut behind) = (None, false, None);
    loop {
        let page = session.ask(http.own_bookings(event, cursor.as_deref())).await?;
        for booking in &page.bookings {
            say_booking(session, &mut maps, booking, out).await;
        }
        any |= !page.bookings.is_empty();
        behind = page.behind.or(behind);
        cursor = page.next;
        if cursor.is_none() {
            break;
        }
    }
    if let Some(behind) = behind {
        let what =
            if any { "Newer bookings may be missing here, for" } else { "No booking is known here, but" };
        say_behind(session, what, &behind, out).await;
    } else if !any && !out.json {
        let buying = session.common.buying();
        let text = format!("You have booked nothing yet: {buying} events, then claim and book, too");
        out.say(&json!({}), text);
    }
    Ok(())
}

/// That what was said may not be all, and why: the last line.
pub(crate) async fn say_behind(session: &Session, what: &str, behind: &Behind, out: Out) {
    // Buyers are not told what exactly is wrong; whoever runs it reads that in the status.
    let node = session.ask(session.http.node()).await.unwrap_or_default();
    let consumers = node["consumers"].as_array().into_iter().flatten();
    let troubles: BTreeSet<&str> =
        consumers.chain([&node["bookings"]]).filter_map(|it| it["trouble"].as_str()).collect();
    let whose = if node["role"] == "bookings" { "the service" } else { "the table of bookings" };
    let text = format!("{what} {whose} is behind: {}.", behind.reason);
    let text = troubles.iter().fold(text, |text, trouble| text + "\n  " + trouble);
    out.say(&json!({"ok": true, "behind": behind, "trouble": troubles}), text);
}

/// Labels of sections, once they were asked for. The bookings service has none.
type Maps = BTreeMap<(EventId, u16), Labels>;

async fn say_booking(session: &Session, maps: &mut Maps, booking: &OwnBooking, out: Out) {
    let mut json = json!(booking);
    json["ok"] = true.into();
    let (id, state, event, section) = (&booking.id, &booking.state, booking.event, booking.section);
    if !out.json && !maps.contains_key(&(event, section)) {
        let labels = session.labels(RowRef::new(event, section, RowRef::SECTION)).await;
        maps.insert((event, section), labels);
    }
    let seats = maps.get(&(event, section)).map(|labels| booked_seats(&booking.rows, labels));
    out.say(&json, format_args!("{id}  {state}  event {event}, {}", seats.unwrap_or_default()));
}

pub(crate) async fn token(session: &Session, out: Out) -> Result<(), Failure> {
    let token = session.ask(session.http.dev_token(session.common.user())).await?;
    let json = json!({"ok": true, "user": session.common.user(), "token": token.token, "expires_s": token.expires_s});
    out.say(&json, &token.token);
    Ok(())
}
