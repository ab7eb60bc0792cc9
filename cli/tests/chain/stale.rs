//! A primary that was stopped, replaced and woken goes on as if nothing had happened, and answers. What it answers for then is
//! in nobody's bookings: Kafka lets it write nothing, so nothing of it reaches PostgreSQL, or is even set aside.

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

async fn trouble(server: &Server) -> String {
    let node = server.http().node().await.expect("a status");
    node["kafka"]["trouble"].as_str().unwrap_or_default().to_owned()
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
        let mut standby = Server::standby(folder.path(), &address, &links.settings());
        while seats(&standby).await != seats(links.server()).await {
            tokio::task::yield_now().await;
        }

        links.server().pause();
        standby.operator(folder.path()).operate("/v1/admin/promote?force=true").await.expect("it obeys");
        standby.hear();
        let (old, old_folder) = links.is_served_by(standby, folder);
        let new_client = links.server().client(2).await;
        let sold = buy(&new_client, 3, TWICE).await;
        table::alike(&links, HALL).await;

        old.wake();
        // It knows of nothing: whoever asks it is told that the seats are theirs.
        let sold_again = buy(&client, 3, TWICE).await;
        let of = |all: &[Held]| all.iter().map(|held| held.seats).collect::<Vec<_>>();
        assert_eq!(of(&sold_again), of(&sold));
        assert_eq!(
            old.operator(old_folder.path()).bookings(HALL, None, 0).await.expect("known").total,
            19 + TWICE
        );
        // It tries to tell Kafka, and is told that it is none any more.
        while !trouble(&old).await.contains("another node is the primary") {
            tokio::task::yield_now().await;
        }
        buy(&new_client, 2, 3).await;
        let compared = table::alike(&links, HALL).await;
        assert_eq!(compared, 19 + TWICE + 3);
        assert_eq!(links.set_aside(), 0, "nothing of it was to be seen in the topics");
        println!(
            "stopped, replaced, woken: {TWICE} seats sold once more by the old primary, none of them in Kafka or PostgreSQL; \
             {compared} bookings are the new primary's own. The old one says: {}",
            trouble(&old).await
        );
    });
}
