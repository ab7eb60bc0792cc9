//! A bookings service that does not follow shows what it has, and never says that this is all.

use crate::HALL;
use crate::common::within;
use crate::links::{Link, Links};
use crate::stale::buy;
use frontrow_client::http::HttpError;
use frontrow_client::{Held, Http};
use frontrow_services::kafka::Kafka;
use frontrow_services::postgres::Postgres;
use serde_json::Value;
use std::process::Command;

/// The service, asked as this user.
async fn own(links: &Links, user: u64) -> Http {
    let token = links.server().http().dev_token(user).await.expect("a token").token;
    links.service().as_user(token)
}

/// What a booking of seats in a row is called.
fn id(held: &Held) -> String {
    let (place, fence) = (held.place, &held.fence);
    format!("{}-{}-{}-{}-{}-{}", place.event, place.section, place.row, fence.epoch, fence.lsn, fence.slot)
}

/// How many changes the server has told Kafka.
async fn told(links: &Links) -> u64 {
    let node = links.server().http().node().await.expect("a status");
    node["kafka"]["changes"].as_u64().expect("a number")
}

/// Asks until the answer is said to be all there is, and until then for nothing that is false. How often it was said to be behind.
async fn whole(links: &Links, (user, id): (u64, &str), wanted: usize) -> usize {
    until(links, &own(links, user).await, (id, wanted), |behind| behind.is_none()).await
}

/// The same until what is said of being behind is what is waited for.
async fn until(
    links: &Links,
    own: &Http,
    (id, wanted): (&str, usize),
    is_over: impl Fn(Option<&str>) -> bool,
) -> usize {
    let mut was_behind = 0;
    let is_later = |error: &HttpError, code: &str| {
        // Or there are no tables yet.
        matches!(error, HttpError::Refused { status: 503, code: said, .. } if [code, "not_there_yet", "bookings_away"].contains(&&**said))
    };
    loop {
        match own.own_booking(id).await {
            Ok(booking) => assert_eq!(booking.id, id),
            Err(_) if wanted == 0 => {}
            Err(error) => assert!(
                is_later(&error, "behind"),
                "of a booking that was made: {error}; {:?}",
                links.service().node().await
            ),
        }
        match own.own_bookings(Some(HALL), None).await {
            Ok(page) => {
                let (code, shown) = (page.behind.map(|behind| behind.code), page.bookings.len());
                assert!(code.is_some() || shown == wanted, "{shown} of {wanted} are shown as all there is");
                was_behind += usize::from(shown < wanted);
                if is_over(code.as_deref()) {
                    return was_behind;
                }
            }
            Err(error) => assert!(is_later(&error, "not_there_yet"), "{error}"),
        }
        tokio::task::yield_now().await;
    }
}

/// Waits until the service says of its table that it is behind, in this way. How many bookings it shows all the same.
async fn behind(links: &Links, user: u64, code: &str) -> usize {
    let own = own(links, user).await;
    loop {
        if let Ok(page) = own.own_bookings(Some(HALL), None).await
            && page.behind.is_some_and(|behind| behind.code == code)
        {
            return page.bookings.len();
        }
        tokio::task::yield_now().await;
    }
}

/// Of a service that takes over no more: what its table has is shown, and not as all there is; of a table that was not whole when
/// that began, nothing is.
pub(crate) async fn shows_no_part(links: &Links, user: u64, code: &str) {
    match own(links, user).await.own_bookings(Some(HALL), None).await {
        Ok(page) => {
            let shown = page.bookings.len();
            assert!(shown > 0 && page.behind.is_some_and(|behind| behind.code == code), "{shown} shown");
        }
        Err(HttpError::Refused { status: 503, code, .. }) => assert_eq!(code, "not_there_yet"),
        Err(error) => panic!("{error}"),
    }
}

/// What a person is told, or a machine.
fn command(links: &Links, user: u64, words: &[&str]) -> String {
    let said = Command::new(env!("CARGO_BIN_EXE_frontrow"))
        .args(["--server", &links.service_url(), "--user", &user.to_string()])
        .arg("--data")
        .arg(links.data())
        .args(words)
        .output()
        .expect("the binary is built with this test");
    assert!(said.status.success(), "{said:?}");
    String::from_utf8(said.stdout).expect("text")
}

pub(crate) fn no_answer_is_a_part_that_looks_whole(kafka: Kafka, postgres: Postgres) {
    within(240, async {
        let mut links = Links::start(kafka, postgres);
        let client = links.server().client(1).await;
        let mut held = buy(&client, 0, 3).await;
        let first = held.last().map(id).expect("three were bought");
        whole(&links, (1, &first), 3).await;

        // Killed, it is no member of its group any more only after a while: until then nobody has the partitions.
        links.kill(Link::Service);
        let before = told(&links).await;
        held.extend(buy(&client, 1, 3).await);
        // Each of them is claimed and booked.
        while told(&links).await < before + 6 {
            tokio::task::yield_now().await;
        }
        links.start_again(Link::Service);
        let last = held.last().map(id).expect("six were bought");
        let was_behind = whole(&links, (1, &last), 6).await;
        assert!(was_behind > 0, "the group gives a killed member's partitions to nobody for ten seconds");
        let nothing = command(&links, 2, &["bookings"]);
        assert!(nothing.contains("You have booked nothing yet"), "{nothing}");
        println!("killed and started again: {was_behind} lists were a part, and said so");

        // One that books for the first time, and asks at once: a service that has just started, and before anything was told.
        links.kill(Link::Service);
        links.start_again(Link::Service);
        let newcomer = links.server().client(3).await;
        let first = buy(&newcomer, 2, 1).await.last().map(id).expect("one was bought");
        whole(&links, (3, &first), 1).await;

        // The server dies, perhaps before it told of that booking. Then nobody can say that there is none.
        let (newcomer, asks) = (links.server().client(4).await, own(&links, 4).await);
        let nobody = own(&links, 5).await;
        let first = buy(&newcomer, 3, 1).await.last().map(id).expect("one was bought");
        links.kill(Link::Server);
        until(&links, &asks, (&first, 1), |behind| behind == Some("untold")).await;
        let page = nobody.own_bookings(Some(HALL), None).await.expect("the service is there");
        assert_eq!((page.bookings.len(), page.behind.map(|it| it.code).as_deref()), (0, Some("untold")));
        links.start_again(Link::Server);
        until(&links, &asks, (&first, 1), |behind| behind.is_none()).await;
        until(&links, &nobody, (&first, 0), |behind| behind.is_none()).await;

        // Nothing comes any more. What is there is shown.
        links.kill(Link::Broker);
        assert_eq!(behind(&links, 1, "waiting").await, 6);
        let text = command(&links, 1, &["bookings"]);
        assert!(text.contains("Newer bookings may be missing here, for the service is behind: "), "{text}");
        assert!(text.lines().count() >= 8 && text.contains("Kafka at 127.0.0.1:"), "six, and why: {text}");
        let text = command(&links, 2, &["bookings"]);
        assert!(text.contains("No booking is known here, but the service is behind: "), "{text}");
        assert!(!text.contains("nothing yet"), "{text}");
        let lines = command(&links, 2, &["--json", "bookings"]);
        let line: Value = serde_json::from_str(&lines).expect("one line");
        assert_eq!(line["behind"]["code"], "waiting", "{line}");
        let text = command(&links, 1, &["event", "sales", "1"]);
        assert!(text.contains("Newer bookings may not be counted"), "{text}");
        links.start_again(Link::Broker);
        whole(&links, (1, &last), 6).await;
    });
}
