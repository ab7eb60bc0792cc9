use super::*;
use frontrow_services::postgres::{Postgres, or_left_out};
use std::net::TcpListener;
use std::sync::atomic::AtomicU64;
use std::sync::mpsc::channel;

/// With a clock that stands still until it is moved.
fn servers(settings: &Settings) -> (Servers, Arc<AtomicU64>) {
    let clock = Arc::new(AtomicU64::new(1000));
    let now = Arc::clone(&clock);
    (Servers::new(settings, Box::new(move || now.load(Relaxed))).unwrap(), clock)
}

/// Returns when no look is under way.
fn looked(servers: &Servers) {
    let is_looked_at = |it: &Arc<Server>| lock(&it.standing).is_looked_at;
    while servers.replicas.iter().chain([&servers.primary]).any(is_looked_at) {
        std::thread::yield_now();
    }
}

/// Whether a replica answers; none if nobody does.
fn asks_replica(servers: &Servers) -> Option<bool> {
    let question = |connection: &mut Connection| {
        let rows = connection.query("SELECT pg_is_in_recovery()", &[])?;
        Ok(rows.first().map(|row| row.get(0)))
    };
    servers.ask(question).ok().flatten()
}

/// Time goes on, and it is seen how they are.
fn after_a_look(servers: &Servers, clock: &AtomicU64) -> Option<bool> {
    clock.fetch_add(LOOK_MS, Relaxed);
    asks_replica(servers);
    looked(servers);
    asks_replica(servers)
}

fn both(primary: &Postgres, replica: &Postgres, patience: Duration) -> Settings {
    let replicas = vec![replica.url("postgres")];
    Settings { replicas, patience, ..Settings::of(primary.url("postgres")) }
}

#[test]
fn nobody_waits_for_a_replica_that_stands_still_and_it_is_asked_again() {
    const PATIENCE: Duration = Duration::from_secs(4);
    let Some(primary) = or_left_out(Postgres::start()) else { return };
    let replica = primary.replica().unwrap();
    let (servers, clock) = servers(&both(&primary, &replica, PATIENCE));
    assert_eq!(asks_replica(&servers), Some(false), "it was not looked at yet");
    looked(&servers);
    assert_eq!(asks_replica(&servers), Some(true));
    replica.pause().unwrap();
    assert_eq!(asks_replica(&servers), Some(false), "the only one who waits has the primary's answer");
    let (end, ended) = channel::<()>();
    std::thread::scope(|scope| {
        let (servers, clock) = (&servers, &clock);
        for _ in 0..32 {
            let end = end.clone();
            scope.spawn(move || {
                for _ in 0..5 {
                    assert_eq!(asks_replica(servers), Some(false));
                    // It is looked at again and again.
                    clock.fetch_add(LOOK_MS / 4, Relaxed);
                }
                drop(end);
            });
        }
        drop(end);
        let late = ended.recv_timeout(PATIENCE);
        // Or those that wait would be waited for.
        replica.resume().unwrap();
        assert_eq!(late, Err(std::sync::mpsc::RecvTimeoutError::Disconnected), "somebody waits for it");
    });
    looked(&servers);
    assert_eq!(after_a_look(&servers, &clock), Some(true), "it is back");
}

#[test]
fn who_waits_for_a_connection_gives_up_when_it_is_passed_over() {
    let Some(primary) = or_left_out(Postgres::start()) else { return };
    let replica = primary.replica().unwrap();
    let settings = Settings { connections: 2, ..both(&primary, &replica, Duration::from_secs(120)) };
    let (servers, clock) = servers(&settings);
    assert_eq!(after_a_look(&servers, &clock), Some(true));
    replica.pause().unwrap();
    let (say, said) = channel();
    std::thread::scope(|scope| {
        for _ in 0..8 {
            let (say, servers) = (say.clone(), &servers);
            scope.spawn(move || {
                say.send(None).unwrap();
                say.send(Some(asks_replica(servers))).unwrap();
            });
        }
        let next = || said.recv_timeout(Duration::from_secs(60));
        let begun: Vec<_> = (0..8).map(|_| next()).collect();
        servers.look(&servers.replicas[0], clock.fetch_add(LOOK_MS, Relaxed) + LOOK_MS);
        let answers: Vec<_> = (0..6).map(|_| next()).collect();
        replica.resume().unwrap();
        assert_eq!(begun, [const { Ok(None) }; 8], "nobody has an answer");
        assert_eq!(answers, [Ok(Some(Some(false))); 6], "all but two have no connection to it");
    });
    looked(&servers);
    assert_eq!(after_a_look(&servers, &clock), Some(true), "it is back");
}

#[test]
fn a_replica_that_is_too_old_is_passed_over_and_one_of_a_primary_that_is_gone_is_asked() {
    let Some(mut primary) = or_left_out(Postgres::start()) else { return };
    let replica = primary.replica().unwrap();
    let behind = Duration::from_millis(500);
    let (servers, clock) = servers(&Settings { behind, ..both(&primary, &replica, Duration::from_secs(20)) });
    let has = |what: &str| {
        let written = primary.sql("postgres", "SELECT pg_current_wal_lsn()").unwrap();
        let has = format!("SELECT pg_last_wal_{what}_lsn() >= '{written}'");
        while replica.sql("postgres", &has).unwrap() != "t" {}
    };
    assert_eq!(after_a_look(&servers, &clock), Some(true));
    has("replay");
    replica.sql("postgres", "SELECT pg_wal_replay_pause()").unwrap();
    while replica.sql("postgres", "SELECT pg_get_wal_replay_pause_state()").unwrap() != "paused" {}
    primary.sql("postgres", "CREATE TABLE t (n int)").unwrap();
    assert_eq!(after_a_look(&servers, &clock), Some(true), "what is missing is not old yet");
    assert_eq!(after_a_look(&servers, &clock), Some(false), "it is");
    has("receive");
    primary.kill().unwrap();
    assert_eq!(after_a_look(&servers, &clock), None, "the primary is gone, and it is too old");
    replica.sql("postgres", "SELECT pg_wal_replay_resume()").unwrap();
    let replayed = "SELECT pg_last_wal_replay_lsn() >= pg_last_wal_receive_lsn()";
    while replica.sql("postgres", replayed).unwrap() != "t" {}
    assert_eq!(after_a_look(&servers, &clock), Some(true), "it is as far as the primary was");
}

#[test]
fn nobody_waits_for_a_primary_that_hangs_while_a_replica_answers() {
    let Some(primary) = or_left_out(Postgres::start()) else { return };
    let replica = primary.replica().unwrap();
    // It accepts, and says nothing.
    let hanging = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("postgres://frontrow@{}/postgres", hanging.local_addr().unwrap());
    let patience = Duration::from_secs(120);
    let settings = Settings { primary: url, ..both(&primary, &replica, patience) };
    let (servers, clock) = servers(&settings);
    servers.look(&servers.replicas[0], 1000);
    looked(&servers);
    for _ in 0..5 {
        let (end, ended) = channel();
        std::thread::scope(|scope| {
            let (servers, end) = (&servers, end);
            scope.spawn(move || end.send(asks_replica(servers)));
            assert_eq!(ended.recv_timeout(patience / 4), Ok(Some(true)));
        });
        looked(&servers);
        clock.fetch_add(LOOK_MS, Relaxed);
    }
}

#[test]
fn people_are_told_hosts_and_ports() {
    let named = |url: &str| address(&config(url, For::Asking, LOOK_PATIENCE).unwrap());
    assert_eq!(named("postgres://u@a/d"), "a:5432");
    assert_eq!(named("postgres://u@a:7,b:8/d"), "a:7, b:8");
    assert_eq!(named("host=/run/pg,b port=9 user=u"), "/run/pg:9, b:9");
}
