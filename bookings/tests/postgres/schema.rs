use crate::common::{booked, database, drain, name, server, take, upto};
use frontrow_bookings::consume::memory::{CLUSTER, MemoryTopic};
use frontrow_bookings::consume::{ConsumeError, Table, TableError};
use frontrow_bookings::postgres::{PostgresTable, Settings};

fn versions(of: &str) -> String {
    let sql = "SELECT string_agg(version::text, ',' ORDER BY version) FROM frontrow.migrations";
    server().unwrap().sql(of, sql).unwrap()
}

#[test]
fn the_tables_are_made_from_nothing_and_from_every_earlier_version() {
    let Some(settings) = database() else { return };
    let (server, own) = (server().unwrap(), name(&settings));
    let mut table = PostgresTable::new(&settings).unwrap();
    table.begin("t", 4).unwrap();
    table.begin("t", 4).unwrap();
    assert_eq!(versions(own), "1,2,3,4");
    assert_eq!(server.sql(own, "SELECT count(*) FROM frontrow.applied").unwrap(), "4");
    // As the first version left it, or a migration that was cut off before its first step.
    for before in [
        "DROP TABLE frontrow.topics; DROP INDEX frontrow.by_event; DELETE FROM frontrow.migrations WHERE version > 1",
        "DROP SCHEMA frontrow CASCADE; CREATE SCHEMA frontrow; \
         CREATE TABLE frontrow.migrations (version integer PRIMARY KEY, at timestamptz NOT NULL DEFAULT now())",
    ] {
        server.sql(own, before).unwrap();
        table.begin("t", 4).unwrap();
        assert_eq!(versions(own), "1,2,3,4");
        server.sql(own, "SELECT 'frontrow.by_event'::regclass").unwrap();
    }
}

#[test]
fn many_consumers_that_start_at_once_make_them_once() {
    let Some(settings) = database() else { return };
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| PostgresTable::new(&settings).unwrap().begin("t", 8).unwrap());
        }
    });
    assert_eq!(versions(name(&settings)), "1,2,3,4");
}

#[test]
fn tables_of_a_later_version_and_of_another_topic_are_left_alone() {
    let Some(settings) = database() else { return };
    let topic = MemoryTopic::new(1);
    topic.send(&booked(42, 1, 5));
    topic.send(&upto(1, 5));
    take(&settings, &topic);
    let mut table = PostgresTable::new(&settings).unwrap();
    let other = table.begin("other", 1).unwrap_err().to_string();
    assert!(other.contains("frontrow.bookings") && other.contains("give another database"), "{other}");
    server().unwrap().sql(name(&settings), "INSERT INTO frontrow.migrations VALUES (99)").unwrap();
    let Err(ConsumeError::Table(why)) = drain(&settings, topic.reader(&[0])) else { panic!("it is refused") };
    assert!(why.contains("version 99") && why.contains("newer program"), "{why}");
}

/// Tables from before did not say it: the first who tells is believed, and nobody after.
#[test]
fn whose_the_tables_are_is_learnt_once_and_kept() {
    let Some(settings) = database() else { return };
    let topic = MemoryTopic::new(1);
    topic.send(&booked(42, 1, 5));
    topic.send(&upto(1, 5));
    take(&settings, &topic);
    let cluster = || server().unwrap().sql(name(&settings), "SELECT cluster FROM frontrow.topics").unwrap();
    assert_eq!(cluster(), CLUSTER);
    let before = "DROP TABLE frontrow.topics; DELETE FROM frontrow.migrations WHERE version > 2";
    server().unwrap().sql(name(&settings), before).unwrap();
    topic.belongs_to(None);
    take(&settings, &topic);
    assert_eq!(cluster(), "", "nothing has said it yet");
    topic.send(&booked(43, 2, 7));
    take(&settings, &topic);
    assert_eq!(cluster(), CLUSTER);
    topic.belongs_to(Some("another"));
    let Err(ConsumeError::OtherCluster { table, .. }) = drain(&settings, topic.reader(&[0])) else {
        panic!("it is refused")
    };
    assert_eq!((table.as_str(), cluster().as_str()), (CLUSTER, CLUSTER));
}

/// And of which topic its places are.
#[test]
fn the_topics_identity_stands_beside_its_places() {
    let Some(settings) = database() else { return };
    let topic = MemoryTopic::new(1);
    topic.make_anew(None);
    topic.send(&booked(42, 1, 5));
    take(&settings, &topic);
    let id = || server().unwrap().sql(name(&settings), "SELECT id FROM frontrow.topics").unwrap();
    assert_eq!(id(), "", "Kafka gives none");
    topic.make_anew(Some("first"));
    topic.send(&booked(42, 1, 5));
    take(&settings, &topic);
    assert_eq!(id(), "first");
    topic.make_anew(Some("second"));
    topic.send(&booked(42, 1, 5));
    topic.send(&booked(43, 2, 7));
    let Err(error @ ConsumeError::MadeAnew { .. }) = drain(&settings, topic.reader(&[0])) else {
        panic!("it is refused")
    };
    assert!(error.to_string().contains("DROP SCHEMA frontrow CASCADE"), "{error}");
    // What it says helps.
    server().unwrap().sql(name(&settings), "DROP SCHEMA frontrow CASCADE").unwrap();
    assert_eq!(take(&settings, &topic).applied.into_inner(), 2);
    assert_eq!(id(), "second");
}

/// Somebody has to mend it: it is tried on, and told apart from a server that is away.
#[test]
fn who_is_not_let_in_is_told_so() {
    let Some(settings) = database() else { return };
    let begin = |url: String| PostgresTable::new(&Settings::of(url)).unwrap().begin("t", 1).unwrap_err();
    let own = name(&settings);
    let role = settings.primary.split_once("://").unwrap().1.split_once('@').unwrap().0;
    let as_role = |of: &str| settings.primary.replacen(role, of, 1);
    server().unwrap().sql(own, "CREATE ROLE visitor LOGIN").unwrap();
    for (url, code) in [
        (settings.primary.replace(own, "no_such_database"), "3D000"),
        (as_role("no_such_role"), "28000"),
        (as_role("visitor"), "42501"),
    ] {
        let refused = begin(url);
        assert!(matches!(&refused, TableError::Refused(why) if why.contains(code)), "{refused:?}");
    }
    let away = begin("postgres://frontrow@127.0.0.1:1/none".to_owned());
    assert!(matches!(&away, TableError::Away(_)), "{away:?}");
}
