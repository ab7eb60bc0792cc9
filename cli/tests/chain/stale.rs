//! A primary that was stopped, replaced and woken goes on as if nothing had happened, and answers, until it hears of it. Where its
//! successor cannot reach it, it hears it from Kafka, which lets it write nothing: what it answered for is in nobody's bookings.

use crate::HALL;
use crate::common::{Server, replicated, within};
use crate::links::Links;
use crate::table;
use frontrow_client::{Claim, Client, Held, RowRef, Wish};
use frontrow_services::kafka::Kafka;
use frontrow_services::postgres::Postgres;

/// Seats of row 3 that the new primary sells, and the old one once more.
const TWICE: usize = 5;

/// Somebody buys seats one by one.
pub(crate) async fn buy(client: &Client, row: u16, count: usize) -> Vec<Held> {
    let mut bought = Vec::new();
    for _ in 0..count {
        let claim = client.claim_best(RowRef::new(HALL, 0, row), Wish::of(1)).await.expect("it sells");
        let Claim::Held(held) = claim else { panic!("there are seats: {claim:?}") };
        bought.push(client.book(&held).await.expect("it is held"));
    }
    bought
}

/// Seats as a server shows them, row by row.
async fn seats(server: &Server) -> Vec<String> {
    let section = server.http().section(HALL, 0).await;
    section.map(|it| it.rows.into_iter().map(|row| row.seats).collect()).unwrap_or_default()
}

pub(crate) fn a_stale_primary_is_shut_out(kafka: Kafka, postgres: Postgres) {
    within(240, async {
        let more = replicated("local", &[]);
        let mut links = Links::start_with(kafka, postgres, &more);
        let client = links.server().client(1).await;
        let held = buy(&client, 0, 20).await;
        client.cancel(&held[0]).await.expect("it is theirs");
        table::alike(&links, HALL).await;
        let (folder, address) = (tempfile::tempdir().expect("a folder"), links.server().replication.clone());
        let standby = Server::standby(folder.path(), &address, &links.settings());
        while seats(&standby).await != seats(links.server()).await {
            tokio::task::yield_now().await;
        }
        links.server().pause();
        standby.kill();

        // It does not reach the old one, neither to follow it nor to tell it: it has another address, and no note of the old one's.
        std::fs::remove_file(folder.path().join("data/FOLLOWED")).expect("it was followed");
        let mut standby = Server::standby(folder.path(), "127.0.0.1:1", &links.settings());
        standby.operator(folder.path()).operate("/v1/admin/promote").await.expect("it obeys");
        standby.hear();
        let (mut old, old_folder) = links.is_served_by(standby, folder);
        let new_client = links.server().client(2).await;
        let sold = buy(&new_client, 3, TWICE).await;
        table::alike(&links, HALL).await;

        links.kafka.pause();
        old.wake();
        // It knows of nothing: whoever asks it is told that the seats are theirs.
        let sold_again = buy(&client, 3, TWICE).await;
        let of = |all: &[Held]| all.iter().map(|held| held.seats).collect::<Vec<_>>();
        assert_eq!(of(&sold_again), of(&sold));
        assert_eq!(
            old.operator(old_folder.path()).bookings(HALL, None, 0).await.expect("known").total,
            19 + TWICE
        );
        // It tells Kafka as soon as that can be, and is told that it is none any more.
        links.kafka.resume();
        let (code, _) = tokio::task::spawn_blocking(move || old.ended()).await.expect("no panic");
        assert_eq!(code, Some(76), "it answers for nothing more");
        buy(&new_client, 2, 3).await;
        let compared = table::alike(&links, HALL).await;
        assert_eq!(compared, 19 + TWICE + 3);
        assert_eq!(links.set_aside(), 0, "nothing of it was to be seen in the topics");
        println!(
            "stopped, replaced, woken: {TWICE} seats sold once more by the old primary, none of them in Kafka or PostgreSQL; \
             {compared} bookings are the new primary's own"
        );
    });
}
