//! What operators do.

use crate::args::{BlockArgs, BookingsArgs, Create, Event, EventArg};
use crate::browse::say_behind;
use crate::failure::{Failure, look_at_events};
use crate::plan;
use crate::session::Session;
use crate::show::Out;
use frontrow_client::http::{Behind, Event as Line, EventQuery};
use frontrow_client::{Http, HttpError};
use serde_json::{Value, json};
use std::time::Duration;

/// How long an answer may take: a large event is made in one request.
const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) async fn run(session: &Session, event: Event, out: Out) -> Result<(), Failure> {
    let http = session.operator()?.with_patience(PATIENCE);
    match event {
        Event::Create(args) => create(session, &http, &args, out).await,
        Event::Open(args) => {
            let event = number(session, &args).await?;
            say_line(&changed(session, http.open(event)).await?, "is on sale", out);
            Ok(())
        }
        Event::Pause(args) => {
            let event = number(session, &args).await?;
            say_line(&changed(session, http.pause(event)).await?, "is paused", out);
            Ok(())
        }
        Event::Close(args) => {
            let event = number(session, &args).await?;
            say_line(&changed(session, http.close(event)).await?, "is closed", out);
            Ok(())
        }
        Event::Archive(args) => {
            let event = number(session, &args).await?;
            say_line(&changed(session, http.archive(event)).await?, "is archived", out);
            Ok(())
        }
        Event::Sales(args) => sales(session, &http, number(session, &args).await?, out).await,
        Event::Bookings(args) => bookings(session, &http, &args, out).await,
        Event::Block(args) => block(session, &http, &args, true, out).await,
        Event::Unblock(args) => block(session, &http, &args, false, out).await,
    }
}

/// Waits for the answer to what changes events.
async fn changed<T>(
    session: &Session,
    answer: impl Future<Output = Result<T, HttpError>>,
) -> Result<T, Failure> {
    session.operate(look_at_events(&session.common.command()), Box::pin(answer)).await
}

async fn number(session: &Session, args: &EventArg) -> Result<u32, Failure> {
    session.event(&args.event).await
}

async fn create(session: &Session, http: &Http, args: &Create, out: Out) -> Result<(), Failure> {
    let query = query(args);
    let created = match (&args.file, args.stadium) {
        (Some(file), _) => {
            let bytes = plan::read(file)?;
            let kind = file.extension().and_then(|it| it.to_str()).map(str::to_lowercase);
            let kind = kind.filter(|it| it == "csv").map_or("application/json", |_| "text/csv");
            changed(session, http.create_event(&query, Some(kind), bytes)).await?
        }
        (None, Some(seats)) => changed(session, http.create_stadium(&query, seats, args.tiers)).await?,
        (None, None) => return Err(Failure::Usage("give a plan, or --stadium and a number of seats".into())),
    };
    let event = if args.open {
        changed(session, http.open(created.event.event)).await?
    } else {
        created.event.clone()
    };
    let mut json = json!(created);
    json["ok"] = true.into();
    json["state"] = json!(event.state);
    let warnings = created.report.as_ref().and_then(|it| it.get("warnings")).and_then(Value::as_array);
    let warnings = warnings.into_iter().flatten().filter_map(Value::as_str);
    let warnings = warnings.fold(String::new(), |text, it| text + "\n  note: " + it);
    let number = event.event;
    let next = if args.open {
        format!("It is on sale: {} seats {number}", session.common.command())
    } else {
        format!("It is a draft: {} event open {number} puts it on sale", session.common.operating())
    };
    let text = format!(
        "Event {number}: {}, {} seats in {} sections.{warnings}\n{next}",
        event.name, event.seats, event.sections
    );
    out.say(&json, text);
    Ok(())
}

fn query(args: &Create) -> EventQuery {
    let ms = |s: Option<u32>| s.map(|s| (s * 1000).to_string());
    let text = |it: Option<u16>| it.map(|it| it.to_string());
    let rules = [
        ("hold_ms", ms(args.hold_s)),
        ("offer_ms", ms(args.offer_s)),
        ("pay_ms", ms(args.pay_s)),
        ("max_extensions", text(args.max_extensions.map(u16::from))),
        ("max_per_claim", text(args.max_per_claim.map(u16::from))),
        ("max_per_user", text(args.max_per_user)),
        ("max_passes", text(args.max_passes)),
        ("fairness", args.fairness.clone()),
        ("orphans", args.orphans.clone()),
    ];
    let rules = rules.into_iter().filter_map(|(key, value)| Some((key, value?)));
    EventQuery { name: args.name.clone(), rules: rules.collect() }
}

async fn bookings(session: &Session, http: &Http, args: &BookingsArgs, out: Out) -> Result<(), Failure> {
    let event = session.event(&args.event).await?;
    let found = session.ask(http.bookings(event, args.user, args.from)).await?;
    let mut json = json!(found);
    json["ok"] = true.into();
    let lines = found.bookings.iter().map(|it| {
        let rows = it.rows.iter().map(|row| format!("row {} seats {:?}", row.row, row.seats));
        let rows: Vec<String> = rows.collect();
        format!("\n  user {}, section {}, {}", it.user, it.section, rows.join(", "))
    });
    let text = lines.fold(format!("Event {event}: {} bookings.", found.total), |text, line| text + &line);
    out.say(&json, text);
    Ok(())
}

async fn sales(session: &Session, http: &Http, event: u32, out: Out) -> Result<(), Failure> {
    let mut json = session.ask(http.sales(event)).await?;
    let behind: Option<Behind> = serde_json::from_value(json["behind"].clone()).unwrap_or_default();
    json["ok"] = true.into();
    let figures = |of: &Value| {
        let (bookings, seats, cancelled) = (&of["bookings"], &of["seats"], &of["cancelled"]);
        format!("{bookings} bookings of {seats} seats, {cancelled} cancelled")
    };
    let sections = json["sections"].as_array().into_iter().flatten();
    let lines = sections.map(|it| format!("\n  section {}: {}", it["section"], figures(it)));
    let text = lines.fold(format!("Event {event}: {}.", figures(&json)), |text, line| text + &line);
    out.say(&json, text);
    if let Some(behind) = &behind
        && !out.json
    {
        say_behind(session, "Newer bookings may not be counted, for", behind, out).await;
    }
    Ok(())
}

fn say_line(event: &Line, what: &str, out: Out) {
    let mut json = json!(event);
    json["ok"] = true.into();
    out.say(&json, format_args!("Event {} ({}) {what}.", event.event, event.name));
}

async fn block(
    session: &Session,
    http: &Http,
    args: &BlockArgs,
    blocked: bool,
    out: Out,
) -> Result<(), Failure> {
    let at = session.locate(&args.event, &args.section, Some(&args.row)).await?;
    let seats = at.seats(&args.seats, session.common.place)?;
    let done =
        changed(session, http.block(at.place.event, (at.place.section, at.place.row), &seats, blocked))
            .await?;
    let mut json = json!(done);
    json["ok"] = true.into();
    json["places"] = json!(seats);
    let what = if blocked { "out of sale" } else { "back on sale" };
    let labels: Vec<String> = seats.iter().map(|&it| at.labels.seat(at.place.row, it.into())).collect();
    out.say(&json, format_args!("{}, seats {}: {what}.", at.name(), labels.join(", ")));
    Ok(())
}
