//! The table in PostgreSQL against the server's own state.

use crate::links::Links;
use frontrow_client::http::HttpError;
use std::collections::{BTreeMap, BTreeSet};

/// A booking as both sides can tell it: whose, the grant's epoch and LSN, the section, and the seats.
pub(crate) type Booked = (u64, u32, u64, u16, Vec<(u16, Vec<u8>)>);

/// The server's own state.
pub(crate) async fn state(links: &Links, event: u32) -> BTreeSet<Booked> {
    let (http, mut all) = (links.operator(), BTreeSet::new());
    loop {
        let found = http.bookings(event, None, all.len()).await.expect("bookings are known");
        for it in &found.bookings {
            let mut rows: Vec<_> = it.rows.iter().map(|it| (it.row, it.seats.clone())).collect();
            rows.sort_unstable();
            all.insert((it.user.parse().expect("a user"), it.epoch, it.lsn, it.section, rows));
        }
        if found.bookings.is_empty() || all.len() >= found.total {
            return all;
        }
    }
}

/// What psql says of an array: `{1,2}`.
fn array<T: std::str::FromStr>(text: &str) -> Vec<T> {
    let inner = text.trim_matches(['{', '}']);
    inner.split(',').filter_map(|one| one.parse().ok()).collect()
}

/// The bookings in PostgreSQL that count; none if it cannot be asked.
fn table(links: &Links, event: u32) -> Option<BTreeSet<Booked>> {
    let rows = links.sql(&format!(
        "SELECT user_id, epoch, lsn, section, row, seats, coalesce(seat_rows::text, '') FROM frontrow.bookings \
         WHERE event = {event} AND cancelled_at IS NULL"
    ))?;
    let mut all = BTreeSet::new();
    for line in rows.lines() {
        let [user, epoch, lsn, section, row, seats, seat_rows] =
            line.split('|').collect::<Vec<_>>().try_into().expect("as asked");
        let (seats, of): (Vec<u8>, Vec<u16>) = (array(seats), array(seat_rows));
        let mut by_row = BTreeMap::<u16, Vec<u8>>::new();
        for (n, seat) in seats.into_iter().enumerate() {
            let row = of.get(n).copied().unwrap_or_else(|| row.parse().expect("a row"));
            by_row.entry(row).or_default().push(seat);
        }
        let number = |text: &str| text.parse::<u64>().expect("a number");
        all.insert((
            number(user),
            number(epoch) as u32,
            number(lsn),
            number(section) as u16,
            by_row.into_iter().collect(),
        ));
    }
    Some(all)
}

fn no_seat_twice(all: &BTreeSet<Booked>) {
    let mut seats = BTreeSet::new();
    for (_, _, _, section, rows) in all {
        for (row, places) in rows {
            for place in places {
                assert!(
                    seats.insert((*section, *row, *place)),
                    "section {section}, row {row}, seat {place} twice"
                );
            }
        }
    }
}

/// Waits until the table is what the server has; `within` bounds it. How many there are.
pub(crate) async fn alike(links: &Links, event: u32) -> usize {
    let wanted = state(links, event).await;
    no_seat_twice(&wanted);
    let mut said = 0;
    loop {
        // Meanwhile a seat may be told of twice: each user's bookings come in their order, those of two users as they come.
        let found = table(links, event).unwrap_or_default();
        if found == wanted {
            return found.len();
        }
        said += 1;
        if said % 500 == 0 {
            let (more, less) = (found.difference(&wanted).next(), wanted.difference(&found).next());
            eprintln!(
                "{} of {} so far; only there: {more:?}, only here: {less:?}",
                found.len(),
                wanted.len()
            );
        }
        tokio::task::yield_now().await;
    }
}

/// The service answers what the table has: everybody sees their own.
pub(crate) async fn answers(links: &Links, event: u32) {
    let wanted = state(links, event).await;
    let users: BTreeSet<u64> = wanted.iter().map(|(user, ..)| *user).collect();
    for user in users {
        let token = links.server().http().dev_token(user).await.expect("a token").token;
        let mine = links.service().as_user(token);
        let (mut cursor, mut found) = (None, 0);
        loop {
            let page = match mine.own_bookings(Some(event), cursor.as_deref()).await {
                // It has just been given partitions, and does not know yet that the table has all of them.
                Err(HttpError::Refused { status: 503, code, .. }) if code == "not_there_yet" => {
                    tokio::task::yield_now().await;
                    continue;
                }
                page => page.expect("it answers"),
            };
            found += page.bookings.iter().filter(|it| it.state == "booked").count();
            cursor = page.next;
            if cursor.is_none() {
                break;
            }
        }
        assert_eq!(found, wanted.iter().filter(|(of, ..)| *of == user).count(), "of user {user}");
    }
}
