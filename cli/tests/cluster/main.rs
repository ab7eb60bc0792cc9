//! Two nodes and a real etcd, and a crowd that is served all the time: the primary is killed, stopped and cut off, the
//! standby takes over by itself, the old one comes back by itself, and nothing that anybody was told is lost or doubled.
//!
//! `FRONTROW_FAILOVERS=n` is the long form (`make failovers`). Without etcd it is skipped; without root, cables are not
//! pulled.

#![allow(dead_code, reason = "the helpers are shared by several tests, each of which uses some")]

mod check;
#[path = "../common/mod.rs"]
mod common;
mod crowd;
mod etcd;
mod network;
mod nodes;

use common::{Dice, within};
use crowd::{Crowd, EVENT};
use etcd::Etcd;
use frontrow_client::http::EventQuery;
use frontrow_client::{
    Adjacency, Client, ClientError, Code, Command, Endpoint, HttpError, Options, RowRef, Seats, Update,
    WireCode,
};
use frontrow_shard::{ClaimSeats, Join};
use nodes::Node;
use rustix::process::Signal;
use std::collections::HashMap;
use std::io::Write;
use std::rc::Rc;
use std::time::Duration;
use tokio::time::Instant;

const CLIENTS: u64 = 12;
/// Holds a whole row, for which `WAITERS` wait.
const KEEPER: u64 = 900;
const WAITERS: [u64; 4] = [901, 902, 903, 904];
/// The row they wait for; the crowd leaves it alone.
const ROW: RowRef = RowRef::new(EVENT, 0, 7);
/// Answers between two failovers.
const BETWEEN: usize = 400;

/// What happens to a primary.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    Killed,
    Stopped,
    CutOff,
}

struct Cluster {
    etcd: Etcd,
    nodes: [Node; 2],
    /// The node that is to stay ended, if one is.
    down: Option<usize>,
    crowd: Rc<Crowd>,
    clients: HashMap<u64, Client>,
}

/// What a failover took.
struct Took {
    /// From the fault until the lease was gone.
    lease: Duration,
    /// From then to the first valid answer.
    answer: Duration,
    /// From the fault until the old primary was a standby in sync.
    whole: Duration,
}

/// Looks again after a moment until there is something; the test's own time ends it.
async fn wait_for<T>(mut look: impl FnMut() -> Option<T>) -> T {
    loop {
        if let Some(found) = look() {
            return found;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

impl Cluster {
    async fn start() -> Self {
        let etcd = Etcd::start(network::lay());
        let mut nodes = [Node::new(0), Node::new(1)];
        for node in &mut nodes {
            node.start(&etcd, &[]);
        }
        let mut cluster = Self { etcd, nodes, down: None, crowd: Rc::default(), clients: HashMap::new() };
        cluster.paired().await;
        let first = cluster.primary().expect("there is one");
        let http = cluster.nodes[first].http();
        let query = EventQuery { name: Some("Both have it".into()), ..EventQuery::default() };
        let event = http.create_stadium(&query, 4000, None).await.expect("an event").event.event;
        assert_eq!(event, EVENT);
        http.open(event).await.expect("on sale");
        for user in (1..=CLIENTS).chain([KEEPER]).chain(WAITERS) {
            cluster.clients.insert(user, nodes::client(&cluster.nodes, user).await);
        }
        cluster.line_up().await;
        cluster
    }

    /// Somebody holds all of a row, and others wait for it.
    async fn line_up(&self) {
        for seat in 0..64 {
            let seats = Seats { mask: 1, first: seat };
            let claim = Command::ClaimSeats(ClaimSeats { row: ROW, seats });
            if self.crowd.ask(&self.clients[&KEEPER], KEEPER, claim).await.answer.code == Code::UnknownSeat {
                break;
            }
        }
        for user in WAITERS {
            let join = Join { place: ROW, count: 2, adjacency: Adjacency::Required, accessible: false };
            let reply = self.crowd.ask(&self.clients[&user], user, Command::Join(join)).await;
            assert_eq!(reply.answer.code, Code::Queued);
        }
    }

    /// The node that etcd has as the primary, once it serves.
    fn primary(&self) -> Option<usize> {
        let primary = self.etcd.read("primary");
        let http = primary["http"].as_str().filter(|_| primary["serving"] == true)?;
        self.nodes.iter().position(|node| node.http_at() == http)
    }

    /// Waits until etcd has it on record that the standby is in sync.
    async fn paired(&mut self) {
        self.watch_for(|cluster| cluster.etcd.read("standing")["in_sync"].is_string().then_some(())).await;
    }

    /// The same as [`wait_for`]. A node that could not renew its lease is started again meanwhile, as its unit would.
    async fn watch_for<T>(&mut self, look: impl Fn(&Self) -> Option<T>) -> T {
        loop {
            if let Some(found) = look(self) {
                return found;
            }
            for (number, node) in self.nodes.iter_mut().enumerate() {
                if self.down != Some(number) && node.ended().is_some_and(|status| status.code() == Some(76)) {
                    node.start(&self.etcd, &[]);
                }
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    async fn answers(&self, more: usize) {
        let goal = self.crowd.answers() + more;
        self.crowd.until(|crowd| crowd.answers() >= goal).await;
    }

    /// One failover under load, and the old primary back in sync.
    async fn fail(&mut self, fault: Fault) -> Took {
        self.paired().await;
        let old = self.primary().expect("there is one");
        let epoch = self.etcd.read("standing")["epoch"].as_u64().expect("a number") as u32;
        self.answers(BETWEEN).await;
        while self.etcd.primary_gone().is_some() {}
        self.down = Some(old);
        let starts = self.nodes[1 - old].starts;
        let (begun, from) = (Instant::now(), self.crowd.answers());
        match fault {
            Fault::Killed => self.nodes[old].signal(Signal::KILL),
            Fault::Stopped => self.nodes[old].signal(Signal::STOP),
            Fault::CutOff => self.nodes[old].place.cut(true),
        }
        let gone = self.watch_for(|cluster| cluster.etcd.primary_gone()).await;
        let answered = self.watch_for(|cluster| cluster.crowd.first_above(epoch, from)).await;
        self.answers(BETWEEN / 4).await;
        self.end_of_old(old, fault).await;
        let etcd = &self.etcd;
        self.nodes[old].start(etcd, &[]);
        self.down = None;
        self.paired().await;
        // Unless the new one could not renew its lease either, and the old one was in sync already.
        assert!(
            self.primary() == Some(1 - old) || self.nodes[1 - old].starts > starts,
            "the old primary is the standby"
        );
        let whole = begun.elapsed();
        self.check(from.saturating_sub(BETWEEN)).await;
        Took { lease: gone - begun, answer: answered.saturating_duration_since(gone), whole }
    }

    /// The old primary ends by itself, and answers nobody before it does.
    async fn end_of_old(&mut self, old: usize, fault: Fault) {
        if fault == Fault::Stopped {
            // What it is asked while it sleeps is there when it wakes.
            let mut socket = std::net::TcpStream::connect(self.nodes[old].tcp()).expect("the kernel accepts");
            socket.write_all(&hello()).expect("the kernel takes it");
            self.nodes[old].signal(Signal::CONT);
            let mut heard = Vec::new();
            let _ = socket.set_read_timeout(Some(Duration::from_secs(10)));
            let _ = std::io::Read::read_to_end(&mut socket, &mut heard);
        }
        let code = wait_for(|| self.nodes[old].ended()).await.code();
        match fault {
            Fault::Killed => assert_eq!(code, None),
            Fault::Stopped | Fault::CutOff => {
                let words = self.nodes[old].last_words();
                assert_eq!(code, Some(76), "{words}");
                assert!(words.contains("is not the primary any more"), "{words}");
            }
        }
        if fault == Fault::CutOff {
            self.nodes[old].place.cut(false);
        }
    }

    async fn check(&self, from: usize) {
        self.crowd.hush(CLIENTS as usize).await;
        let told = check::repeated(&self.crowd, &self.clients, from).await;
        assert!(told > BETWEEN);
        let primary = self.primary().expect("there is one");
        check::seats(&self.crowd, &self.nodes[primary].http()).await;
        for (at, user) in WAITERS.into_iter().enumerate() {
            let reply = self.clients[&user].status_of(ROW).await.expect("an answer");
            assert_eq!((reply.answer.code, reply.answer.slot), (Code::Queued, at as u32 + 1));
        }
        self.crowd.go_on();
    }
}

/// The first frame of a client, and a claim, as bytes.
fn hello() -> Vec<u8> {
    use frontrow_protocol::{ClientMessage, Hello, encode_client};
    let mut out = Vec::new();
    let token = std::borrow::Cow::Owned(nodes::token(1));
    encode_client(&ClientMessage::Hello(Hello { token, features: 0 }), &mut out);
    out
}

/// Says it past the test harness, which keeps what good tests print to itself.
fn skip(text: &str) {
    let _ = writeln!(std::io::stderr(), "{text}");
}

/// Whether it is to be run, and here; says why not.
fn is_here(test: &str) -> bool {
    if !etcd::is_installed() {
        skip(&format!("SKIPPED {test}: no etcd; apt-get install etcd-server"));
        return false;
    }
    if network::is_inside() {
        return true;
    }
    if network::enter(test) {
        return false;
    }
    skip(&format!("SKIPPED in {test}: pulling cables needs root and iproute2 (ip netns)"));
    true
}

/// Whoever asks for a standby's view is not sent on.
async fn looked_at(standby: &Node) {
    let http = standby.http();
    while http.section(EVENT, ROW.section).await.is_err() {
        tokio::task::yield_now().await;
    }
    assert!(http.standby_view().is_some());
    let options = Options { standby: true, ..Options::default() };
    let endpoint = Endpoint::of_http(&format!("http://{}", standby.http_at()));
    let client = Client::connect_with(endpoint, nodes::token(5), options).await.expect("it lets us look");
    let mut watch = client.watch(ROW).await.expect("a section to watch");
    assert_eq!(watch.next().await, Ok(Update::Snapshot));
    let refused = client.status_of(ROW).await.expect_err("it is a standby");
    assert!(
        matches!(&refused, ClientError::Wire { code: WireCode::NotPrimary, message, .. } if message.starts_with("ws://")),
        "{refused:?}"
    );
}

#[test]
fn failovers_lose_nothing() {
    if !is_here("failovers_lose_nothing") {
        return;
    }
    let count = std::env::var("FRONTROW_FAILOVERS").ok().and_then(|n| n.parse().ok()).unwrap_or(3);
    let faults: &[Fault] = if network::is_inside() {
        &[Fault::Killed, Fault::Stopped, Fault::CutOff]
    } else {
        &[Fault::Killed, Fault::Stopped]
    };
    within(100 + count as u64 * 30, async {
        let begun = Instant::now();
        let mut cluster = Cluster::start().await;
        let tasks = tokio::task::LocalSet::new();
        for user in 1..=CLIENTS {
            let (crowd, client) = (Rc::clone(&cluster.crowd), cluster.clients[&user].clone());
            tasks.spawn_local(crowd.play(client, user, Dice::new(user)));
        }
        let mut answers = Vec::new();
        tasks
            .run_until(async {
                for (number, &fault) in faults.iter().cycle().take(count).enumerate() {
                    let Took { lease, answer, whole } = cluster.fail(fault).await;
                    println!(
                        "failover {:3} {:8} first valid answer {:5.1} ms after the lease was gone; lease gone after {:4} ms; \
                         two again after {:5} ms",
                        number + 1,
                        format!("{fault:?}"),
                        answer.as_secs_f64() * 1000.0,
                        lease.as_millis(),
                        whole.as_millis()
                    );
                    answers.push(answer.as_secs_f64() * 1000.0);
                }
                cluster.crowd.hush(CLIENTS as usize).await;
            })
            .await;
        let moves = check::order(&cluster.crowd);
        answers.sort_by(f64::total_cmp);
        println!(
            "{count} failovers, {} answers, {moves} seats given and given back: none lost, none doubled. First valid answer \
             after the lease was gone: median {:.1} ms, worst {:.1} ms. {:.0} s",
            cluster.crowd.answers(),
            answers[answers.len() / 2],
            answers[answers.len() - 1],
            begun.elapsed().as_secs_f64()
        );
    });
}

#[test]
fn a_standby_says_who_is_primary_and_one_that_is_not_in_sync_stays_one() {
    if !etcd::is_installed() {
        skip("SKIPPED a_standby_says_who_is_primary: no etcd; apt-get install etcd-server");
        return;
    }
    within(100, async {
        let mut cluster = Cluster::start().await;
        let (first, second) = (cluster.primary().expect("one"), 1 - cluster.primary().expect("one"));
        // Raw TCP and WebSocket: one address is enough.
        let options = Options::default;
        for endpoint in [
            Endpoint::Tcp(cluster.nodes[second].tcp()),
            Endpoint::of_http(&format!("http://{}", cluster.nodes[second].http_at())),
        ] {
            let client =
                Client::connect_with(endpoint, nodes::token(5), options()).await.expect("it follows");
            client.ping().await.expect("the primary answers");
        }
        let refused = cluster.nodes[second].http().open(EVENT).await.expect_err("it is a standby");
        let HttpError::Refused { status, code, error, .. } = refused else { panic!("{refused:?}") };
        assert_eq!((status, code.as_str()), (421, "not_primary"));
        assert_eq!(error["primary"]["http"], cluster.nodes[first].http_at());
        looked_at(&cluster.nodes[second]).await;
        // Without its standby the primary goes on alone, and says so first; then it dies.
        cluster.nodes[second].signal(Signal::KILL);
        cluster.down = Some(second);
        wait_for(|| cluster.nodes[second].ended()).await;
        let claim = ClaimSeats { row: RowRef::new(EVENT, 0, 0), seats: Seats { mask: 1, first: 0 } };
        let reply = cluster.crowd.ask(&cluster.clients[&1], 1, Command::ClaimSeats(claim)).await;
        assert_eq!(reply.answer.code, Code::Granted);
        assert!(cluster.etcd.read("standing")["in_sync"].is_null(), "recorded before the answer left");
        cluster.nodes[first].signal(Signal::KILL);
        wait_for(|| cluster.nodes[first].ended()).await;
        // The standby is not promoted, and says why.
        cluster.nodes[second].start(&cluster.etcd, &[]);
        let why = loop {
            let status = cluster.nodes[second].http().node().await;
            if let Some(why) = status.ok().as_ref().and_then(|status| status["cluster"]["why_not"].as_str()) {
                break why.to_owned();
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        };
        assert!(why.contains("alone"), "{why}");
        assert!(cluster.primary().is_none());
        // The one that was alone goes on, and has what it answered.
        cluster.nodes[first].start(&cluster.etcd, &[]);
        cluster.paired().await;
        assert_eq!(cluster.primary(), Some(first));
        assert_eq!(check::repeated(&cluster.crowd, &cluster.clients, 0).await, cluster.crowd.answers());
        // A planned change: the lease is given back at the end, and not waited for.
        cluster.nodes[first].signal(Signal::TERM);
        assert_eq!(wait_for(|| cluster.nodes[first].ended()).await.code(), Some(0));
        assert_eq!(wait_for(|| cluster.primary()).await, second);
        assert_eq!(check::repeated(&cluster.crowd, &cluster.clients, 0).await, cluster.crowd.answers());
    });
}

impl Cluster {
    /// The primary sells alone; then the standby is back, and has it.
    async fn sell_without(&mut self, standby: usize) {
        for seat in 0..8 {
            let claim = ClaimSeats { row: RowRef::new(EVENT, 0, 0), seats: Seats { mask: 1, first: seat } };
            let reply = self.crowd.ask(&self.clients[&1], 1, Command::ClaimSeats(claim)).await;
            assert_eq!(reply.answer.code, Code::Granted);
        }
        self.nodes[standby].start(&self.etcd, &[]);
        self.down = None;
        self.paired().await;
    }

    async fn kill(&mut self, node: usize) {
        self.nodes[node].signal(Signal::KILL);
        wait_for(|| self.nodes[node].ended()).await;
    }

    /// Why a node that runs is not the primary, once it says something that has `word`.
    async fn why_not(&self, node: usize, word: &str) -> String {
        loop {
            let status = self.nodes[node].http().node().await;
            let why = status.ok().and_then(|it| it["cluster"]["why_not"].as_str().map(str::to_owned));
            match why {
                Some(why) if why.contains(word) => return why,
                _ => tokio::time::sleep(Duration::from_millis(20)).await,
            }
        }
    }

    fn epoch(&self) -> u64 {
        self.etcd.read("standing")["epoch"].as_u64().expect("a number")
    }

    async fn claim(&self, seat: u8) -> Code {
        let claim = ClaimSeats { row: RowRef::new(EVENT, 0, 0), seats: Seats { mask: 1, first: seat } };
        self.crowd.ask(&self.clients[&1], 1, Command::ClaimSeats(claim)).await.answer.code
    }
}

#[test]
fn data_of_a_cluster_whose_record_is_lost_waits_for_an_operator() {
    if !etcd::is_installed() {
        skip("SKIPPED data_of_a_cluster_whose_record_is_lost: no etcd; apt-get install etcd-server");
        return;
    }
    within(180, async {
        let mut cluster = Cluster::start().await;
        let (old, new) = (cluster.primary().expect("one"), 1 - cluster.primary().expect("one"));
        // The primary writes a record anew that somebody has removed.
        cluster.etcd.forget(Some("standing"));
        cluster.paired().await;
        assert_eq!(cluster.primary(), Some(old));
        // An epoch that nobody has on record is opened by no means.
        let refused = cluster.nodes[new].http().operate("/v1/admin/promote?force=true").await;
        let HttpError::Refused { code, message, .. } = refused.expect_err("etcd decides") else { panic!() };
        assert!(code == "elected" && message.contains("SIGTERM"), "{message}");
        // The other one takes over, and sells; then all of it is gone but the data.
        let first = cluster.epoch();
        cluster.kill(old).await;
        cluster.down = Some(old);
        cluster.watch_for(|cluster| cluster.primary().filter(|it| *it == new)).await;
        assert_eq!(cluster.claim(0).await, Code::Granted);
        let second = cluster.epoch();
        cluster.kill(new).await;
        cluster.etcd.forget(None);

        // Another name, or none, is a mistake, and nothing is served.
        for (settings, word) in [
            ([("FRONTROW_CLUSTER__NAME", "tset")], "`tset`"),
            ([("FRONTROW_CLUSTER__ETCD", "[]")], "[cluster]"),
        ] {
            for words in [&["serve"][..], &["backup", "--primary", "127.0.0.1:1"], &["promote", "--offline"]]
            {
                if word == "`tset`" && words[0] != "serve" {
                    continue;
                }
                let (good, said) = cluster.nodes[old].run(&cluster.etcd, words, &settings);
                assert!(!good && said.contains("`test`") && said.contains(word), "{words:?}: {said}");
            }
        }
        let other = [("FRONTROW_PARTITIONS__COUNT", "16")];
        let (good, said) = cluster.nodes[old].run(&cluster.etcd, &["serve"], &other);
        assert!(!good && said.contains("set partitions.count to 8"), "{said}");
        // The right name, and nothing on record: each says what it has, and what to type.
        for (node, epoch) in [(old, first), (new, second)] {
            cluster.nodes[node].start(&cluster.etcd, &[]);
            let why = cluster.why_not(node, "found").await;
            assert!(why.contains(&format!("found --epoch {epoch}`")), "{why}");
            assert!(cluster.primary().is_none());
        }
        // By mistake it is founded on the older data. The newer is not cut, and nobody ends.
        cluster.kill(old).await;
        let found = |cluster: &Cluster, node: usize, words: &[&str]| {
            let words: Vec<&str> = ["cluster", "found"].iter().chain(words).copied().collect();
            cluster.nodes[node].run(&cluster.etcd, &words, &[])
        };
        let (first_epoch, second_epoch) = (first.to_string(), second.to_string());
        let (good, said) = found(&cluster, old, &["--epoch", &second_epoch]);
        assert!(!good && said.contains("ends in epoch"), "{said}");
        let (good, said) = found(&cluster, old, &["--epoch", &first_epoch]);
        assert!(good, "{said}");
        cluster.nodes[old].start(&cluster.etcd, &[]);
        cluster.down = None;
        cluster.watch_for(Cluster::primary).await;
        let (good, said) = found(&cluster, new, &["--epoch", &second_epoch]);
        assert!(!good && said.contains("locked"), "it runs: {said}");
        let founded = cluster.epoch().to_string();
        let here = format!("found --epoch {second_epoch} --replace {founded}` here");
        let why = cluster.why_not(new, &here).await;
        assert!(why.contains(&format!("--above {second_epoch}` there")), "{why}");
        let words = cluster.nodes[old].last_words();
        assert!(!words.contains("has opened a newer epoch"), "it was not told of it: {words}");
        // A unit file that founds at each restart does not.
        cluster.kill(old).await;
        let (good, said) = found(&cluster, old, &["--epoch", &first_epoch]);
        assert!(!good && said.contains("ends in epoch"), "{said}");
        // Then on the newer one, and the other follows.
        cluster.kill(new).await;
        wait_for(|| cluster.etcd.read("primary").is_null().then_some(())).await;
        let (good, said) = found(&cluster, new, &["--epoch", &second_epoch]);
        assert!(!good && said.contains(&format!("--replace {founded}")), "{said}");
        let (good, said) = found(&cluster, new, &["--epoch", &second_epoch, "--replace", &founded]);
        assert!(good, "{said}");
        for node in &mut cluster.nodes {
            node.start(&cluster.etcd, &[]);
        }
        cluster.paired().await;
        assert_eq!(cluster.primary(), Some(new));
        assert_eq!(check::repeated(&cluster.crowd, &cluster.clients, 0).await, cluster.crowd.answers());
        // Taken out of its cluster, data is anybody's to use.
        cluster.kill(old).await;
        let (good, said) = cluster.nodes[old].run(&cluster.etcd, &["cluster", "leave"], &[]);
        assert!(good, "{said}");
    });
}

/// Somebody puts a copy in the place of a standby's directory: etcd knows how far that had been.
#[test]
fn an_older_copy_of_the_standby_does_not_take_over() {
    if !etcd::is_installed() {
        skip("SKIPPED an_older_copy_of_the_standby: no etcd; apt-get install etcd-server");
        return;
    }
    within(100, async {
        let mut cluster = Cluster::start().await;
        let first = cluster.primary().expect("there is one");
        let second = 1 - first;
        cluster.kill(second).await;
        cluster.down = Some(second);
        cluster.nodes[second].copy();
        // What the copy lacks, answered before the standby is back.
        cluster.sell_without(second).await;
        for node in [first, second] {
            cluster.kill(node).await;
        }
        let newer = cluster.nodes[second].put_back();
        cluster.nodes[second].start(&cluster.etcd, &[]);
        let why = cluster.why_not(second, "an older copy").await;
        assert!(why.contains(&format!("--replace {}", cluster.epoch())), "{why}");
        // The copy in its place again, it takes over with everything.
        cluster.kill(second).await;
        cluster.nodes[second].put(&newer);
        cluster.nodes[second].start(&cluster.etcd, &[]);
        assert_eq!(wait_for(|| cluster.primary()).await, second);
        assert_eq!(check::repeated(&cluster.crowd, &cluster.clients, 0).await, cluster.crowd.answers());
    });
}

/// The same of the last primary: the standby takes over, which has what the copy lacks.
#[test]
fn an_older_copy_of_the_primary_leaves_it_to_the_standby() {
    if !etcd::is_installed() {
        skip("SKIPPED an_older_copy_of_the_primary: no etcd; apt-get install etcd-server");
        return;
    }
    within(100, async {
        let mut cluster = Cluster::start().await;
        for node in [0, 1] {
            cluster.kill(node).await;
        }
        for node in [0, 1] {
            cluster.nodes[node].copy();
            cluster.nodes[node].start(&cluster.etcd, &[]);
        }
        cluster.paired().await;
        let first = wait_for(|| cluster.primary()).await;
        let second = 1 - first;
        // What the copy lacks, answered before the standby is back.
        cluster.kill(second).await;
        cluster.down = Some(second);
        cluster.sell_without(second).await;
        for node in [first, second] {
            cluster.kill(node).await;
        }
        cluster.nodes[first].put_back();
        cluster.nodes[first].start(&cluster.etcd, &[]);
        let why = cluster.why_not(first, "an older copy").await;
        assert!(why.contains("is to be primary"), "{why}");
        cluster.nodes[second].start(&cluster.etcd, &[]);
        assert_eq!(wait_for(|| cluster.primary()).await, second);
        assert_eq!(check::repeated(&cluster.crowd, &cluster.clients, 0).await, cluster.crowd.answers());
    });
}

/// Its files went bad while it followed, and nobody could mend them: it does not stand for primary, and says why; nothing it does
/// keeps away the node that can. Mended, it takes over by itself.
#[test]
fn a_standby_with_a_damaged_head_takes_over_once_it_is_put_back() {
    if !etcd::is_installed() {
        skip("SKIPPED a_standby_with_a_damaged_head: no etcd; apt-get install etcd-server");
        return;
    }
    within(100, async {
        let mut cluster = Cluster::start().await;
        let first = cluster.primary().expect("there is one");
        let second = 1 - first;
        assert_eq!(cluster.claim(0).await, Code::Granted);
        cluster.paired().await;
        let (epoch, data) = (cluster.epoch(), cluster.nodes[second].data());
        let manifest = || std::fs::read(data.join("MANIFEST")).expect("a manifest");
        let (before, head) = (manifest(), data.join("events").join(format!("{EVENT}.json")));
        let good = std::fs::read(&head).expect("a head");
        std::fs::write(&head, &good[..good.len() / 2]).expect("written");
        cluster.kill(first).await;
        cluster.down = Some(first);
        // It says that only when it could have asked: there is no primary any more.
        let why = cluster.why_not(second, "is damaged").await;
        assert!(why.contains("cannot be served from the files here") && why.contains("put it back"), "{why}");
        // As one that is started so does.
        cluster.kill(second).await;
        cluster.nodes[second].start(&cluster.etcd, &[]);
        cluster.why_not(second, "is damaged").await;
        assert!(cluster.etcd.read("primary").is_null(), "it holds no lease as the primary");
        assert!(cluster.epoch() == epoch && manifest() == before, "no epoch is on record, nor open");

        std::fs::write(&head, &good).expect("put back");
        assert_eq!(wait_for(|| cluster.primary()).await, second);
        assert!(cluster.epoch() > epoch);
        assert_eq!(check::repeated(&cluster.crowd, &cluster.clients, 0).await, cluster.crowd.answers());
    });
}
