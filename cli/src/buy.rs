//! Claiming, and everything that is done with a token.

use crate::args::{Claim, Place, Token};
use crate::failure::Failure;
use crate::places::Labels;
use crate::request::Request;
use crate::session::{Located, Session};
use crate::show::{Out, hold_json, hold_seats, span};
use frontrow_client::{
    Claim as Claimed, Client, ClientError, Code, Held, RowRef, Seats, SeatsError, Waiting,
};
use frontrow_server::shell;
use serde_json::json;
use std::time::Duration;

/// How long `book` and `cancel` stay until the table of bookings has it, at most.
const SEEN_WITHIN: Duration = Duration::from_secs(3);
/// Between two looks at a booking that is being cancelled.
const LOOK: Duration = Duration::from_millis(20);

pub(crate) async fn claim(session: &Session, args: &Claim, out: Out) -> Result<(), Failure> {
    let at = session.locate(&args.at.event, &args.at.section, args.at.row.as_deref()).await?;
    let named = args.seats.as_deref().map(|wanted| at.seats(wanted, session.common.place)).transpose()?;
    let named = named.map(|places| set(&places)).transpose()?;
    let client = session.connect().await?;
    let asking = Request::new(&client, args.repeated.request_id);
    let wish = args.wish.of(args.best.unwrap_or(1), args.or_wait);
    let claiming = async {
        match named {
            Some(seats) => asking.client.claim_seats(at.place, seats).await.map(Claimed::Held),
            None if at.place.is_section() => asking.client.claim_section(at.place, wish).await,
            None => asking.client.claim_best(at.place, wish).await,
        }
    };
    match session.carry_out(&asking, &at.labels, claiming).await? {
        Claimed::Held(held) => say_held(session, "granted", &held, &at.labels, &client),
        Claimed::Waiting(waiting) => {
            say_waiting(&waiting, &at, out);
            if !out.json {
                let next = waiting_for(session, args);
                out.say(
                    &json!({}),
                    format_args!("An offer is made to you while you watch.\n  next   {next}"),
                );
            }
        }
    }
    Ok(())
}

/// The command that waits where a claim has joined the queue.
fn waiting_for(session: &Session, args: &Claim) -> String {
    let Place { event, section, row } = &args.at;
    let operands: Vec<&str> = [event, section].into_iter().chain(row).map(|word| &**word).collect();
    let places = if session.common.place { " --place" } else { "" };
    let options = format!("--count {}{places}", args.best.unwrap_or(1));
    format!("{} {}", session.common.buying(), shell::line("wait", &operands, &options))
}

/// Seats of one claim.
pub(crate) fn set(places: &[u8]) -> Result<Seats, Failure> {
    Seats::from_places(places).map_err(|error| {
        Failure::Usage(match error {
            SeatsError::Empty => "no seat is named; write --seats 4,5".into(),
            SeatsError::Duplicate { .. } => "a seat is named twice; name each once".into(),
            SeatsError::TooFarApart { .. } => {
                "the seats are 64 or more places apart; claim them one after the other".into()
            }
        })
    })
}

/// Names the seats of a refusal as people know them.
pub(crate) fn with_labels(error: ClientError, labels: &Labels) -> Failure {
    let seats = match &error {
        ClientError::Refused(refused) => labels.seats(refused.reply.place.row, refused.seats()),
        _ => Vec::new(),
    };
    Failure::Seats(error, seats)
}

pub(crate) fn say_held(session: &Session, code: &str, held: &Held, labels: &Labels, client: &Client) {
    let now_ms = client.server_time_ms();
    let json = hold_json(code, held, labels, now_ms);
    let token = held.token();
    let left = span(held.expires_ms.saturating_sub(now_ms));
    let together = match (held.together, held.rows().iter().map(|(_, seats)| seats.count()).sum::<u8>()) {
        (_, 0 | 1) => "",
        (true, _) => " (next to each other)",
        (false, _) => " (not next to each other)",
    };
    let seats = hold_seats(held, labels);
    let text = format!(
        "Held for you for {left}: {seats}{together}.\n  token  {token}\n  next   {}\n  \
         or     extend, pay or release in the place of book, with the same token",
        with_hold(session, "book", &token)
    );
    session.out().say(&json, text);
}

/// What is typed to do something with a token.
fn with_hold(session: &Session, deed: &str, token: &str) -> String {
    format!("{} {}", session.common.buying(), shell::line(deed, &[token], ""))
}

pub(crate) fn say_waiting(waiting: &Waiting, at: &Located, out: Out) {
    let Waiting { place, position } = *waiting;
    let row = (!place.is_section()).then_some(place.row);
    let json = json!({
        "ok": true, "code": Code::Queued.name(), "event": place.event, "section": place.section, "row": row,
        "position": position,
    });
    out.say(&json, format_args!("You wait for {}: number {position} in the queue.", at.name()));
}

/// What is done with a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Deed {
    Book,
    Release,
    Extend,
    Pay,
    Cancel,
}

pub(crate) async fn with_token(session: &Session, deed: Deed, args: &Token, out: Out) -> Result<(), Failure> {
    let held = Held::from_token(&args.hold).map_err(|error| Failure::Server(error.into()))?;
    let client = session.connect().await?;
    let labels = session.labels(held.place).await;
    let asking = Request::new(&client, args.repeated.request_id);
    let one = &asking.client;
    match deed {
        Deed::Extend => {
            let held = session.carry_out(&asking, &labels, one.extend(&held)).await?;
            say_held(session, "extended", &held, &labels, &client);
        }
        Deed::Pay => {
            let held = session.carry_out(&asking, &labels, one.begin_payment(&held)).await?;
            say_held(session, "paying", &held, &labels, &client);
        }
        Deed::Book => {
            let held = session.carry_out(&asking, &labels, one.book(&held)).await?;
            let mut json = hold_json("booked", &held, &labels, 0);
            // A booking does not run out.
            for key in ["expires_ms", "expires_in_ms"] {
                json.as_object_mut().map(|object| object.remove(key));
            }
            let (seats, token) = (hold_seats(&held, &labels), held.token());
            out.say(
                &json,
                format_args!(
                    "Booked: {seats}. Keep the token, a cancellation needs it.\n  token  {token}\n  undo   {}",
                    with_hold(session, "cancel", &token)
                ),
            );
            see(session, &held).await;
        }
        Deed::Release => {
            let reply = session.carry_out(&asking, &labels, one.release(&held)).await?;
            say_over(&reply, "Released", &labels, out);
        }
        Deed::Cancel => {
            let reply = session.carry_out(&asking, &labels, one.cancel(&held)).await?;
            say_over(&reply, "Cancelled", &labels, out);
            see_it_gone(session, &held).await;
        }
    }
    Ok(())
}

/// What a booking of these seats is called in the table.
fn booking_id(held: &Held) -> String {
    let (place, fence) = (held.place, &held.fence);
    let row = if place.is_section() { "s".to_owned() } else { place.row.to_string() };
    let (event, section, epoch, lsn, slot) = (place.event, place.section, fence.epoch, fence.lsn, fence.slot);
    format!("{event}-{section}-{row}-{epoch}-{lsn}-{slot}")
}

/// So that `frontrow bookings`, typed next, shows it: the table is some tens of milliseconds behind. Only a courtesy: the
/// booking stands, whatever becomes of this question.
async fn see(session: &Session, held: &Held) {
    let Ok(token) = session.token().await else { return };
    let own = session.http.as_user(token);
    let _ = tokio::time::timeout(SEEN_WITHIN, own.booking_seen(&booking_id(held))).await;
}

/// The same after a cancellation.
async fn see_it_gone(session: &Session, held: &Held) {
    let Ok(token) = session.token().await else { return };
    let (own, id) = (session.http.as_user(token), booking_id(held));
    let gone = async {
        while own.own_booking(&id).await.is_ok_and(|booking| booking.state == "booked") {
            tokio::time::sleep(LOOK).await;
        }
    };
    let _ = tokio::time::timeout(SEEN_WITHIN, gone).await;
}

fn say_over(reply: &frontrow_client::Reply, word: &str, labels: &Labels, out: Out) {
    let RowRef { event, section, row } = reply.place;
    let where_ = if reply.place.is_section() {
        labels.section().to_owned()
    } else {
        format!("{}, row {}", labels.section(), labels.row(row))
    };
    let json = json!({
        "ok": true, "code": reply.answer.code.name(), "event": event, "section": section,
        "row": (!reply.place.is_section()).then_some(row),
    });
    out.say(&json, format_args!("{word}: your seats in {where_} go to whoever waits next, or are free."));
}
