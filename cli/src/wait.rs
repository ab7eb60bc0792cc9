//! Waiting in a queue.

use crate::args::{Place, Wait};
use crate::buy::{say_held, say_waiting, with_labels};
use crate::failure::Failure;
use crate::request::Request;
use crate::session::{Located, Session};
use crate::show::Out;
use frontrow_client::{Claim, Client, Code, Held, News, NewsEvent, NewsKind, NewsStream, Waiting};
use serde_json::json;

/// Whether there is more to wait for.
enum Next {
    Wait,
    Over,
}

pub(crate) async fn status(session: &Session, args: &Place) -> Result<(), Failure> {
    let at = session.locate(&args.event, &args.section, args.row.as_deref()).await?;
    let client = session.connect().await?;
    let asked = session.patiently(Some(&client), client.status(at.place)).await;
    let claim = asked.map_err(|error| with_labels(error, &at.labels))?;
    say_claim(session, &claim, &at, &client);
    Ok(())
}

pub(crate) async fn wait(session: &Session, args: &Wait, out: Out) -> Result<(), Failure> {
    let at = session.locate(&args.at.event, &args.at.section, args.at.row.as_deref()).await?;
    let client = session.connect().await?;
    let asking = Request::new(&client, args.repeated.request_id);
    if args.leave {
        session.carry_out(&asking, &at.labels, asking.client.leave(at.place)).await?;
        let json = json!({"ok": true, "code": Code::Left.name()});
        out.say(&json, format_args!("You no longer wait for {}.", at.name()));
        return Ok(());
    }
    // Before joining, so that an offer made at once is not missed.
    let mut news = client.news();
    let joining = async {
        match client.status(at.place).await {
            Err(error) if error.refusal() == Some(Code::NotQueued) => {
                asking.client.join(at.place, args.wish.of(args.count.unwrap_or(1), false)).await
            }
            // Somebody who waits already goes on waiting, at the same place.
            asked => asked,
        }
    };
    let claim = session.carry_out(&asking, &at.labels, joining).await?;
    if let Next::Over = say_claim(session, &claim, &at, &client) {
        return Ok(());
    }
    let position = if let Claim::Waiting(waiting) = claim { waiting.position } else { 0 };
    tokio::select! {
        over = follow(session, &mut news, position, &at, &client) => over,
        interrupted = tokio::signal::ctrl_c() => {
            interrupted.map_err(|error| Failure::Usage(format!("no signals to be had: {error}; use --json and kill")))?;
            let text = "Your place is kept. To go on waiting, run the same command again; to give it up, run it with --leave \
                        instead of --count.";
            out.say(&json!({"ok": true, "code": "interrupted", "message": text}), format_args!("\n{text}"));
            Ok(())
        }
    }
}

async fn follow(
    session: &Session,
    news: &mut NewsStream,
    mut position: u32,
    at: &Located,
    client: &Client,
) -> Result<(), Failure> {
    loop {
        let next = match news.next().await {
            Some(NewsEvent::News(it)) if it.place == at.place => {
                told(session, &it, &mut position, at, client)?
            }
            Some(NewsEvent::News(_)) => Next::Wait,
            Some(NewsEvent::Missed(_) | NewsEvent::Reconnected) => {
                let claim = client.status(at.place).await.map_err(|error| with_labels(error, &at.labels))?;
                say_claim(session, &claim, at, client)
            }
            Some(NewsEvent::Ended(error)) => return Err(error.into()),
            None => return Ok(()),
        };
        if let Next::Over = next {
            return Ok(());
        }
    }
}

fn told(
    session: &Session,
    news: &News,
    position: &mut u32,
    at: &Located,
    client: &Client,
) -> Result<Next, Failure> {
    let gone = |code, message: &str| Err(Failure::Refused { code, message: message.to_owned() });
    match news.kind {
        NewsKind::Position => {
            if news.answer.slot != *position {
                *position = news.answer.slot;
                say_waiting(&Waiting { place: news.place, position: *position }, at, session.out());
            }
            Ok(Next::Wait)
        }
        NewsKind::Offered => {
            if let Some(held) = Held::offered(client.user(), news) {
                say_held(session, "offered", &held, &at.labels, client);
            }
            Ok(Next::Over)
        }
        NewsKind::Unfillable => gone(
            "unfillable",
            "So many seats can never come free here any more, and you no longer wait.\nWhat to do: ask for fewer, or elsewhere.",
        ),
        NewsKind::Closed => {
            gone("closed", "The sale is over, and you no longer wait.\nWhat to do: book what you hold.")
        }
        NewsKind::HoldCap => gone(
            "hold_cap",
            "Seats came free, but you have as many as one user may, and no longer wait.\nWhat to do: release some, and wait again.",
        ),
        // A hold of this user's at the same place, from before.
        NewsKind::Expired => Ok(Next::Wait),
    }
}

fn say_claim(session: &Session, claim: &Claim, at: &Located, client: &Client) -> Next {
    match claim {
        Claim::Held(held) => {
            say_held(session, "granted", held, &at.labels, client);
            Next::Over
        }
        Claim::Waiting(waiting) => {
            say_waiting(waiting, at, session.out());
            Next::Wait
        }
    }
}
