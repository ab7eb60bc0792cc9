//! An event that is over goes to its archive, on a real server: refused while it may not, readable after, also after a
//! crash at any step of it; and a damaged archive stops nothing else.

#![allow(dead_code, reason = "the helpers are shared by several tests, each of which uses some")]

mod common;

use common::{Server, within};
use frontrow_client::http::{Bookings, HttpError, SectionState};
use frontrow_client::{Adjacency, Claim, Client, Code, Held, Http, RowRef, Wish};
use std::path::{Path, PathBuf};

const EVENT: u32 = 1;

fn archive(data: &Path) -> PathBuf {
    data.join(format!("data/events/{EVENT}.archive"))
}

fn refused(error: &HttpError) -> (u16, &str, &str) {
    match error {
        HttpError::Refused { status, code, message, .. } => (*status, code, message),
        other => panic!("not a refusal: {other}"),
    }
}

/// Seats of the first section, in two rows if need be, booked.
async fn buy(client: &Client, count: u8) -> Held {
    let wish = Wish { adjacency: Adjacency::Any, ..Wish::of(count) };
    let section = RowRef::new(EVENT, 0, RowRef::SECTION);
    let Claim::Held(held) = client.claim_section(section, wish).await.expect("there is room") else {
        panic!("nobody waits here");
    };
    client.book(&held).await.expect("it is held")
}

/// What is seen of the event from outside.
async fn look(http: &Http) -> (Vec<SectionState>, Bookings) {
    let event = http.event(EVENT).await.expect("it is known");
    let mut sections = Vec::new();
    for section in 0..event.section_list.len() as u16 {
        sections.push(http.section(EVENT, section).await.expect("its seats are known"));
    }
    (sections, http.bookings(EVENT, None, 0).await.expect("bookings are known"))
}

#[test]
fn an_event_goes_cold_is_read_and_outlives_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path();
    within(120, async {
        let server = Server::start(data, &[]);
        let http = server.operator(data);
        let (first, second) = (server.client(2).await, server.client(3).await);
        let held = buy(&first, 5).await;
        buy(&second, 2).await;
        let row = RowRef::new(EVENT, 0, 0);
        let open = second.claim_best(row, Wish::of(1)).await.expect("there is room");
        let error = http.archive(EVENT).await.expect_err("it is on sale");
        assert_eq!(refused(&error).0, 409);
        assert_eq!(refused(&error).1, "not_closed");
        http.close(EVENT).await.expect("it can be closed");
        let error = http.archive(EVENT).await.expect_err("a hold is running");
        assert_eq!((refused(&error).0, refused(&error).1), (409, "holds_running"));
        let Claim::Held(open) = open else { panic!("nobody waits here") };
        second.book(&open).await.expect("what is held can still be booked");
        let before = look(&http).await;
        assert_eq!((before.1.total, before.1.archived), (3, false));

        let line = http.archive(EVENT).await.expect("nothing runs any more");
        assert_eq!(line.state, "archived");
        assert_eq!(http.archive(EVENT).await.expect("it is done already").state, "archived");
        let after = look(&http).await;
        assert_eq!(after.0, before.0, "the same seats");
        assert_eq!((after.1.bookings, after.1.archived), (before.1.bookings.clone(), true));
        assert_eq!(http.bookings(EVENT, Some(3), 0).await.expect("by user").total, 2);
        assert_eq!(first.cancel(&held).await.expect_err("it is over").refusal(), Some(Code::Closed));
        drop(first);
        server.kill();

        let server = Server::start(data, &[]);
        let http = server.operator(data);
        let again = look(&http).await;
        assert_eq!((again.0, again.1.bookings), (before.0, before.1.bookings));
        let client = server.client(5).await;
        let error = client.claim_best(row, Wish::of(1)).await.expect_err("it is over");
        assert_eq!(error.refusal(), Some(Code::Closed));
    });
}

/// What a crash can leave: the file without the log, and the log without the catalogue.
#[test]
fn archiving_that_was_cut_off_is_ended_or_taken_again() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path();
    within(120, async {
        let server = Server::start(data, &[]);
        let http = server.operator(data);
        buy(&server.client(2).await, 3).await;
        http.close(EVENT).await.expect("it can be closed");
        let head = data.join(format!("data/events/{EVENT}.json"));
        let closed = std::fs::read(&head).unwrap();
        // A file of an attempt that came to nothing.
        std::fs::write(archive(data), b"half of something").unwrap();
        http.archive(EVENT).await.expect("it is taken again");
        let before = look(&http).await;
        server.kill();
        // The catalogue did not hear of it any more.
        std::fs::write(&head, closed).unwrap();
        std::fs::write(data.join(format!("data/events/{EVENT}.archive.new")), b"half").unwrap();
        let server = Server::start(data, &[]);
        let http = server.operator(data);
        assert_eq!(http.archive(EVENT).await.expect("it is ended").state, "archived");
        assert_eq!(look(&http).await, before);
    });
}

#[test]
fn a_damaged_archive_is_named_and_all_else_is_served() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path();
    within(120, async {
        let server = Server::start(data, &[]);
        let http = server.operator(data);
        buy(&server.client(2).await, 3).await;
        http.close(EVENT).await.expect("it can be closed");
        http.archive(EVENT).await.expect("nothing runs");
        server.kill();
        let good = std::fs::read(archive(data)).unwrap();
        let mut bad = good.clone();
        let middle = bad.len() / 2;
        bad[middle] ^= 4;
        for (bytes, code) in [
            (Some(bad), "archive_damaged"),
            (Some(good[..good.len() - 1].to_vec()), "archive_damaged"),
            (
                Some(b"something else altogether, and quite a bit of it, long enough for a header".to_vec()),
                "archive_foreign",
            ),
            (None, "archive_missing"),
        ] {
            match bytes {
                Some(bytes) => std::fs::write(archive(data), bytes).unwrap(),
                None => std::fs::remove_file(archive(data)).unwrap(),
            }
            let server = Server::start(data, &[]);
            let http = server.operator(data);
            let error = http.section(EVENT, 0).await.expect_err("it cannot be read");
            assert_eq!((refused(&error).0, refused(&error).1), (500, code));
            let error = http.bookings(EVENT, None, 0).await.expect_err("it cannot be read");
            assert_eq!(refused(&error).1, code);
            assert_eq!(http.events("").await.expect("the list").len(), 1);
            http.map(EVENT).await.expect("the map is another file");
            server.kill();
        }
        std::fs::write(archive(data), &good).unwrap();
        let server = Server::start(data, &[]);
        let http = server.operator(data);
        assert_eq!(look(&http).await.1.total, 1, "put back, it is read again");
        // And once more while it is in use.
        for bytes in [0, 70] {
            std::fs::File::options().write(true).open(archive(data)).unwrap().set_len(bytes).unwrap();
            let error = http.bookings(EVENT, None, 0).await.expect_err("it is cut short");
            assert_eq!(refused(&error).1, "archive_damaged");
            std::fs::write(archive(data), &good).unwrap();
            assert_eq!(look(&http).await.1.total, 1, "put back, it is read again");
        }
    });
}

#[test]
fn a_closed_event_is_archived_by_itself_when_its_time_has_come() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path();
    within(60, async {
        let server = Server::start(data, &[("FRONTROW_EVENTS__ARCHIVE_AFTER", "1s")]);
        let http = server.operator(data);
        http.close(EVENT).await.expect("it can be closed");
        while http.event(EVENT).await.expect("it is known").event.state != "archived" {
            tokio::task::yield_now().await;
        }
    });
}
