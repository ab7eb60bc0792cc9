//! Who buys at a rate, and who looks for what was bought.

use crate::child::{Outcome, now, rows};
use crate::way::Way;
use frontrow_client::http::EventQuery;
use frontrow_client::{Claim, Client, ClientError, Endpoint, Http, HttpError, Options, RowRef, Wish};
use hdrhistogram::Histogram;
use std::cell::RefCell;
use std::fmt;
use std::rc::Rc;
use std::time::{Duration, Instant};
use tokio::task::{JoinSet, LocalSet};

const CONNECTIONS: u64 = 32;
/// Buyers on each connection.
const BUYERS: u64 = 16;
/// Of so many bookings one is looked for.
const LOOKED_FOR: u64 = 200;
/// Between two looks: a figure may be too high by that. Looking oftener, those who look are a load of their own.
const LOOK: Duration = Duration::from_millis(10);
/// Whatever has not come after this is not coming.
const LOST: Duration = Duration::from_secs(60);
const STADIUM: u32 = 50_000;
/// Seconds at the beginning that do not count: topics are made then, and a broker's code is compiled.
const WARM_UP: u64 = 10;

/// What came out.
pub(crate) struct Seen {
    /// Bookings a second, from the first to the last answer.
    pub(crate) rate: f64,
    /// From a booking's answer to its being seen, in microseconds.
    after: Histogram<u64>,
    asked: f64,
}

impl Seen {
    pub(crate) fn ms(&self, quantile: f64) -> f64 {
        self.after.value_at_quantile(quantile) as f64 / 1000.0
    }
}

impl fmt::Display for Seen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (rate, looks) = (self.rate, self.after.len());
        let [p50, p99, most] = [0.5, 0.99, 1.0].map(|at| self.ms(at));
        write!(
            f,
            "{rate:.0} bookings/s; of {looks} visible after p50 {p50:.1}, p99 {p99:.1}, most {most:.1} ms"
        )?;
        if rate < 0.95 * self.asked {
            write!(f, " (the machine does not make the rate that was asked for)")?;
        }
        Ok(())
    }
}

/// What all buyers share.
struct Fair {
    api: Vec<Http>,
    begun: Instant,
    /// Of one buyer.
    every: Duration,
    each: u64,
    /// Of those the first ones, which nobody looks for.
    warm_up: u64,
    after: RefCell<Histogram<u64>>,
    looking: RefCell<JoinSet<Result<(), String>>>,
}

pub(crate) async fn buy_and_look(way: &Way, asked: u64, seconds: u64) -> Outcome<Seen> {
    let (wanted, buyers) = (asked * (WARM_UP + seconds), CONNECTIONS * BUYERS);
    let mut places = Vec::new();
    // More than are sold: some are for who needs an accessible seat.
    while places.iter().map(|(_, seats)| *seats as u64).sum::<u64>() < wanted + wanted / 10 {
        let made = way.server.http.create_stadium(&EventQuery::default(), STADIUM, None).await?;
        way.server.http.open(made.event.event).await?;
        places.extend(rows(&way.server, made.event.event).await?);
    }
    let (mut clients, mut api) = (Vec::new(), Vec::new());
    for user in 1..=CONNECTIONS {
        let token = way.server.http.dev_token(user).await?.token;
        api.push(way.api.as_user(token.clone()));
        let endpoint = Endpoint::Tcp(way.server.tcp.clone());
        clients.push(Rc::new(Client::connect_with(endpoint, token, Options::default()).await?));
    }
    let fair = Rc::new(Fair {
        api,
        begun: now(),
        every: Duration::from_nanos(buyers * 1_000_000_000 / asked),
        each: wanted / buyers,
        warm_up: asked * WARM_UP / buyers,
        after: RefCell::new(Histogram::new(3)?),
        looking: RefCell::default(),
    });
    let (all, mut buying) = (LocalSet::new(), JoinSet::new());
    for buyer in 0..buyers {
        let (client, fair) = (Rc::clone(&clients[(buyer % CONNECTIONS) as usize]), Rc::clone(&fair));
        let mine: Vec<_> = places.iter().copied().skip(buyer as usize).step_by(buyers as usize).collect();
        buying.spawn_local_on(async move { fair.buy(buyer, &client, &mine).await }, &all);
    }
    all.run_until(async {
        while let Some(bought) = buying.join_next().await {
            bought??;
        }
        let rate = (fair.each * buyers) as f64 / fair.begun.elapsed().as_secs_f64();
        let mut looking = fair.looking.take();
        while let Some(seen) = looking.join_next().await {
            seen??;
        }
        let after = fair.after.borrow().clone();
        Ok(Seen { rate, after, asked: asked as f64 })
    })
    .await
}

impl Fair {
    /// One buyer's bookings, each at its time, or as soon as the one before is done.
    async fn buy(
        self: Rc<Self>,
        buyer: u64,
        client: &Client,
        mine: &[(RowRef, usize)],
    ) -> Result<(), String> {
        let mut seats = mine.iter().flat_map(|(row, seats)| std::iter::repeat_n(*row, *seats));
        for n in 0..self.each {
            let due = self.begun
                + self.every * n as u32
                + self.every * buyer as u32 / (CONNECTIONS * BUYERS) as u32;
            tokio::time::sleep_until(due.into()).await;
            let held = loop {
                let row = seats.next().ok_or("there are too few seats")?;
                match client.claim_best(row, Wish::of(1)).await {
                    Ok(Claim::Held(held)) => break held,
                    // What is left of the row is for who needs an accessible seat.
                    Ok(Claim::Waiting(_)) | Err(ClientError::Refused(_)) => {}
                    Err(error) => return Err(error.to_string()),
                }
            };
            client.book(&held).await.map_err(|error| error.to_string())?;
            if n >= self.warm_up && (n + buyer).is_multiple_of(LOOKED_FOR) {
                let (place, fence) = (held.place, held.fence);
                let name = format!(
                    "{}-{}-{}-{}-{}-{}",
                    place.event, place.section, place.row, fence.epoch, fence.lsn, fence.slot
                );
                let (fair, answered) = (Rc::clone(&self), now());
                let look = async move { fair.look(buyer, &name, answered).await };
                self.looking.borrow_mut().spawn_local(look);
            }
        }
        Ok(())
    }

    async fn look(&self, buyer: u64, name: &str, answered: Instant) -> Result<(), String> {
        loop {
            match self.api[(buyer % CONNECTIONS) as usize].own_booking(name).await {
                Ok(_) => break,
                Err(HttpError::Refused { status: 404 | 503, .. }) if answered.elapsed() < LOST => {}
                Err(error) => return Err(format!("booking {name}: {error}")),
            }
            tokio::time::sleep(LOOK).await;
        }
        let after = answered.elapsed().as_micros() as u64;
        self.after.borrow_mut().record(after).map_err(|error| error.to_string())
    }
}
