use super::*;
use crate::config::Machine;
use crate::http::Connections;
use crate::identity::Keys;
use crate::replication::view::Shown;
use frontrow_protocol::{
    ClientMessage, FEATURE_STANDBY, Hello, ServerMessage, decode_server, encode_client, split,
};
use std::collections::BTreeMap;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::AtomicUsize;
use tungstenite::protocol::Role;
use tungstenite::{Message, WebSocket};

const ROWS: u16 = 2000;
const SECTION: RowRef = RowRef::new(1, 0, RowRef::SECTION);

fn state(free: u64) -> RowState {
    RowState { seats: 8, free: [free, 0, 0, 0], booked: [0; 4], blocked: [0; 4] }
}

fn all_rows(free: u64) -> HashMap<RowRef, RowState> {
    (0..ROWS).map(|row| (RowRef { row, ..SECTION }, state(free))).collect()
}

/// Watchers with an applier that answers what it is asked, and a client's token.
struct House {
    watchers: Arc<Watchers>,
    token: String,
    _folder: tempfile::TempDir,
}

impl House {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let env = [("FRONTROW_SERVER__DATA".to_owned(), folder.path().display().to_string())];
        let machine = Machine { cpus: vec![0, 1], open_files: None, memory: None };
        let mut config = crate::config::read(None, env, &machine).into_result().unwrap();
        config.limits.output_queue = 64 << 10;
        let keys = Keys::open(&config).unwrap();
        let token = keys.minter.unwrap().mint(7, Clock::wall_ms() / 1000 - 1, 3600);
        let (shared, views) = (Arc::<Shared>::default(), Arc::<Views>::default());
        let watchers = Watchers::new(&config, keys.verifier, None, &shared, &views);
        tokio::spawn(async move {
            loop {
                let wanted = views.wanted();
                for (_, askers) in wanted.sections {
                    let rows = (0..ROWS).map(|row| LiveRow { row, state: state(0xff) }).collect();
                    let shown = Arc::new(Shown { rows, at: BTreeMap::new() });
                    for asker in askers {
                        let _ = asker.send(Some(Arc::clone(&shown)));
                    }
                }
                if wanted.orders.get(&SECTION) == Some(&true) {
                    views.tell(all_rows(0xff).into_iter().collect());
                }
                tokio::task::yield_now().await;
            }
        });
        Self { watchers, token, _folder: folder }
    }

    /// A client whose handshake is done; it has said these.
    fn client(&self, messages: &[ClientMessage<'_>]) -> WebSocket<TcpStream> {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let near = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (socket, peer): (_, SocketAddr) = listener.accept().unwrap();
        socket.set_nonblocking(true).unwrap();
        let place = Connections::new(10, 0).enter(peer.ip()).unwrap();
        let adopted = Adopted { socket, leftover: Vec::new(), identity: None, peer, place };
        Desk(Arc::clone(&self.watchers)).adopt_websocket(adopted);
        let mut client = WebSocket::from_raw_socket(near, Role::Client, None);
        for message in messages {
            let mut frame = Vec::new();
            encode_client(message, &mut frame);
            client.send(Message::Binary(frame.into())).unwrap();
        }
        client
    }

    fn hello(&self) -> ClientMessage<'static> {
        ClientMessage::Hello(Hello { token: Cow::Owned(self.token.clone()), features: FEATURE_STANDBY })
    }

    async fn until(&self, wanted: impl Fn(&Hall) -> bool) {
        while !wanted(&self.watchers.lock()) {
            tokio::task::yield_now().await;
        }
    }
}

const WATCH: ClientMessage<'static> = ClientMessage::Watch { id: 5, section: SECTION };

/// What a client hears until its connection ends, as kinds in their order; counts the changes.
async fn heard(mut client: WebSocket<TcpStream>, changes: Arc<AtomicUsize>) -> Vec<String> {
    let hear = move || {
        let mut kinds = Vec::new();
        while let Ok(message) = client.read() {
            let Message::Binary(bytes) = message else { continue };
            let mut rest = &bytes[..];
            while let Ok(Some((frame, behind))) = split(rest, u32::MAX) {
                kinds.push(match decode_server(frame).unwrap() {
                    ServerMessage::Welcome(_) => "welcome".to_owned(),
                    ServerMessage::Snapshot(snapshot) => format!("snapshot {}", snapshot.last),
                    ServerMessage::Delta(delta) => {
                        changes.fetch_add(1, Ordering::AcqRel);
                        format!("delta {}", delta.state.version)
                    }
                    ServerMessage::Error(error) => format!("error {}", error.code.name()),
                    ServerMessage::Goodbye(goodbye) => format!("goodbye {}", goodbye.code.name()),
                    other => format!("{other:?}"),
                });
                rest = behind;
            }
        }
        kinds.dedup();
        kinds
    };
    tokio::task::spawn_blocking(hear).await.unwrap()
}

#[tokio::test]
async fn a_watcher_gets_a_snapshot_then_changes_and_is_told_to_go_at_the_end() {
    let house = House::new();
    let (stopper, stop) = crate::http::stopper();
    let keeping = tokio::spawn(Arc::clone(&house.watchers).keep(stop));
    let hearing = tokio::spawn(heard(house.client(&[house.hello(), WATCH]), Arc::default()));
    let watched = |hall: &Hall| hall.sections.get(&SECTION).is_some_and(|it| it.watchers.len() == 1);
    house.until(watched).await;
    house.watchers.views.tell(vec![(RowRef { row: 3, ..SECTION }, state(0xf0))]);
    house.until(|hall| hall.sections[&SECTION].rows[&3].version == 1).await;
    stopper.stop();
    keeping.await.unwrap();
    house.watchers.all_gone().await;
    let kinds = hearing.await.unwrap();
    assert_eq!(kinds, ["welcome", "snapshot true", "delta 1", "goodbye shutting_down"]);
    assert!(house.watchers.enter().is_none(), "nobody is let in any more");
}

#[tokio::test]
async fn one_that_does_not_read_is_dropped_and_the_others_go_on() {
    let house = House::new();
    let (_stopper, stop) = crate::http::stopper();
    tokio::spawn(Arc::clone(&house.watchers).keep(stop));
    let lazy = house.client(&[house.hello(), WATCH]);
    let changes = Arc::new(AtomicUsize::new(0));
    let eager = tokio::spawn(heard(house.client(&[house.hello(), WATCH]), Arc::clone(&changes)));
    house.until(|hall| hall.sections.get(&SECTION).is_some_and(|it| it.watchers.len() == 2)).await;
    // One change after the other, each once the eager one has heard the last, until the lazy one is gone.
    let (mut free, mut told) = (1, 0);
    while house.watchers.lock().open.len() == 2 {
        if changes.load(Ordering::Acquire) == told {
            (free, told) = (free % 0x7f + 1, told + 200);
            let some = all_rows(free).into_iter().filter(|(row, _)| row.row < 200).collect();
            house.watchers.tell(some);
        }
        tokio::task::yield_now().await;
    }
    assert_eq!(house.watchers.lock().sections[&SECTION].watchers.len(), 1);
    house.watchers.send_away("the end of the test");
    let kinds = eager.await.unwrap();
    assert_eq!(kinds.last().map(String::as_str), Some("goodbye shutting_down"), "{:?}", kinds.len());
    drop(lazy);
}

#[tokio::test]
async fn whoever_does_not_ask_for_a_standbys_view_is_sent_to_the_primary() {
    let house = House::new();
    let token = Cow::Owned(house.token.clone());
    let hello = ClientMessage::Hello(Hello { token, features: 0 });
    assert_eq!(heard(house.client(&[hello]), Arc::default()).await, ["error not_primary"]);
    assert_eq!(heard(house.client(&[WATCH]), Arc::default()).await, ["error hello_expected"]);
    house.until(|hall| hall.open.is_empty()).await;
}
