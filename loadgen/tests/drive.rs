//! The carrier against a real server: every request is answered, and counted once.

mod drive_common;

use drive_common::{Script, Server, plan, tokens};
use frontrow_engine::EngineKind;
use frontrow_loadgen::LoadError;
use frontrow_loadgen::drive::{Class, DrivePlan, Tally, Transport, start};
use std::collections::BTreeMap;
use std::net::{SocketAddr, TcpListener};
use std::time::Duration;

const CONNECTIONS: u32 = 6;

fn carry(script: Script, plan: DrivePlan) -> (Script, Tally) {
    let driving = start(vec![script], plan).expect("a load");
    let (mut crowds, tally) = driving.finish().expect("an end");
    (crowds.remove(0), tally)
}

/// Claims 300 seats at 3000/s, and gives each back.
fn whole(transport: Transport, server: EngineKind, load: EngineKind) {
    let server = Server::start(server, 1000);
    let script =
        Script::new((0..CONNECTIONS).collect(), 300, Duration::from_micros(333), server.seats.clone());
    let plan = DrivePlan {
        engine: load,
        ..plan(transport, server.running.core_tcp[0], server.running.http, CONNECTIONS)
    };
    let (script, tally) = carry(script, plan);
    assert_eq!(script.answers(), BTreeMap::from([("granted", 300), ("released", 300)]), "{tally:?}");
    assert!(script.outcomes.values().all(|outcomes| outcomes.len() == 1), "each is told once");
    assert_eq!((tally.intended, tally.sent, tally.answered), (600, 600, 600));
    assert_eq!((tally.granted, tally.refused, tally.unanswered, tally.unsent), (300, 0, 0, 0));
    assert_eq!((tally.connected, tally.connect_failed, tally.connections_lost), (6, 0, 0));
    assert_eq!(tally.codes, BTreeMap::from([("granted".to_owned(), 300), ("released".to_owned(), 300)]));
    assert_eq!((tally.latency(Class::Claim).len(), tally.latency(Class::Release).len()), (300, 300));
    assert_eq!((tally.all.len(), tally.uncorrected.len(), tally.fault_count), (600, 600, 0));
    assert!(tally.late.len() <= 600 && tally.sent_late() <= tally.late.len());
    assert_eq!(tally.by_class().keys().collect::<Vec<_>>(), ["all", "claim", "release"]);
    server.stop();
}

#[test]
fn everything_is_answered_and_counted_over_tcp_on_io_uring() {
    whole(Transport::Tcp, EngineKind::Auto, EngineKind::Auto);
}

#[test]
fn everything_is_answered_and_counted_over_tcp_on_epoll() {
    whole(Transport::Tcp, EngineKind::MonoioEpoll, EngineKind::MonoioEpoll);
}

#[test]
fn everything_is_answered_and_counted_over_websocket() {
    whole(Transport::WebSocket, EngineKind::Auto, EngineKind::Auto);
}

/// All connections drop without a word when 150 of 300 claims were asked: what was in flight is unknown, is
/// asked again with the same ids on new connections, and every seat is granted exactly once.
fn dropped(transport: Transport) {
    let server = Server::start(EngineKind::Auto, 1000);
    let mut script =
        Script::new((0..CONNECTIONS).collect(), 300, Duration::ZERO, server.seats.clone()).keeping();
    script.drop_at = Some(150);
    let plan = DrivePlan {
        depth: 4,
        ..plan(transport, server.running.core_tcp[0], server.running.http, CONNECTIONS)
    };
    let (script, tally) = carry(script, plan);
    let answers = script.answers();
    assert_eq!(answers.get("granted"), Some(&300), "{answers:?}");
    let unknown = answers.get("unknown").copied().unwrap_or_default();
    assert_eq!(tally.abandoned + tally.unsent, unknown, "{tally:?}");
    assert_eq!(tally.unanswered, 0, "who drops a connection is owed no answer: {tally:?}");
    assert!(unknown >= 150, "what was asked before the drop and after it, while there was no connection");
    assert_eq!((tally.granted, tally.refused, tally.answered), (300, 0, 300));
    assert_eq!((tally.intended, tally.sent), (300 + unknown, 300 + tally.abandoned));
    assert_eq!((script.lost, tally.connections_lost), (6, 0), "the load's own wish is no loss");
    assert_eq!((tally.connected, tally.fault_count), (12, 0));
    server.stop();
}

#[test]
fn requests_of_dropped_connections_are_repeated_over_tcp() {
    dropped(Transport::Tcp);
}

#[test]
fn requests_of_dropped_connections_are_repeated_over_websocket() {
    dropped(Transport::WebSocket);
}

#[test]
fn two_threads_share_the_connections_and_keep_the_depth() {
    let server = Server::start(EngineKind::Auto, 1000);
    let (first, second) = server.seats.split_at(500);
    let scripts = vec![
        Script::new(vec![0, 2, 4], 200, Duration::ZERO, first.to_vec()),
        Script::new(vec![1, 3], 200, Duration::ZERO, second.to_vec()),
    ];
    let plan = DrivePlan {
        cpus: vec![None, None],
        depth: 1,
        connect_rate: 1000,
        ..plan(Transport::Tcp, server.running.core_tcp[0], server.running.http, 5)
    };
    let driving = start(scripts, plan).expect("a load");
    let (scripts, tally) = driving.finish().expect("an end");
    for script in &scripts {
        assert_eq!(script.answers(), BTreeMap::from([("granted", 200), ("released", 200)]));
    }
    assert_eq!((tally.connected, tally.answered, tally.refused), (5, 800, 0));
    assert_eq!(tally.late.len(), 800, "each counts once, by when its connection was given it");
    server.stop();
}

#[test]
fn an_unreachable_server_is_told_at_once() {
    let closed = TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("an address");
    for transport in [Transport::Tcp, Transport::WebSocket] {
        let error = refused(transport, closed, closed, None);
        assert!(error.contains(&closed.to_string()) && error.contains("refused"), "{error}");
    }
}

#[test]
fn a_wrong_token_is_told_in_the_servers_words() {
    let server = Server::start(EngineKind::Auto, 100);
    for transport in [Transport::Tcp, Transport::WebSocket] {
        let wrong = Some(vec!["not a token".to_owned()]);
        let error = refused(transport, server.running.core_tcp[0], server.running.http, wrong);
        assert!(error.contains("unauthenticated"), "{error}");
    }
    server.stop();
}

#[test]
fn a_token_that_is_wrong_for_one_connection_only_fails_that_one() {
    let server = Server::start(EngineKind::Auto, 100);
    let mut tokens = tokens(2);
    tokens[1] = "not a token".to_owned();
    let plan =
        DrivePlan { tokens, ..plan(Transport::Tcp, server.running.core_tcp[0], server.running.http, 2) };
    let script = Script::new(vec![0, 1], 10, Duration::ZERO, server.seats.clone());
    let driving = start(vec![script], plan).expect("the first is let in");
    let mut tally = Tally::default();
    while tally.connect_failed == 0 {
        tally.add(&driving.take());
        std::thread::yield_now();
    }
    driving.stop();
    tally.add(&driving.finish().expect("an end").1);
    assert!(tally.trouble.keys().any(|why| why.contains("unauthenticated")), "{:?}", tally.trouble);
    assert_eq!((tally.connected, tally.answered), (1, 0));
    server.stop();
}

#[test]
fn connections_beyond_the_descriptors_name_the_limit() {
    let closed: SocketAddr = "127.0.0.1:1".parse().expect("an address");
    let error = refused(Transport::Tcp, closed, closed, Some(vec![String::new(); 2_000_000]));
    assert!(error.contains("ulimit -n") && error.contains("2000000"), "{error}");
}

#[test]
fn a_plan_that_cannot_be_is_refused() {
    let closed: SocketAddr = "127.0.0.1:1".parse().expect("an address");
    let good = || plan(Transport::Tcp, closed, closed, 2);
    let plans = [
        DrivePlan { cpus: vec![None; 2], ..good() },
        DrivePlan { tcp: Vec::new(), ..good() },
        DrivePlan { depth: 0, ..good() },
        DrivePlan { core_of: vec![0], ..good() },
        DrivePlan { core_of: vec![0, 1], ..good() },
    ];
    for plan in plans {
        let script = Script::new(vec![0, 1], 1, Duration::ZERO, Vec::new());
        let error = start(vec![script], plan.clone()).err();
        assert!(matches!(error, Some(LoadError::Option(_))), "{plan:?}: {error:?}");
    }
}

fn refused(transport: Transport, tcp: SocketAddr, http: SocketAddr, tokens: Option<Vec<String>>) -> String {
    let mut plan = plan(transport, tcp, http, 1);
    plan.tokens = tokens.unwrap_or(plan.tokens);
    let script = Script::new(vec![0], 1, Duration::ZERO, Vec::new());
    start(vec![script], plan).err().expect("no load").to_string()
}
