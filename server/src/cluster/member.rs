//! This node's part in the cluster: a thread that talks to etcd, and what the others see of it.

use super::etcd::{Etcd, EtcdError, Put, Watch};
use super::fence::Fence;
use super::pairing::{Deed, Pairing};
use super::record::{self, Addresses, Own, Primary, Reached, Standing, Unfit, text};
use super::settings::{self, Settings};
use super::view::{Keys, Unchanged, View};
use crate::config::{Acknowledge, Config};
use crate::replication::Hub;
use frontrow_engine::Clock;
use frontrow_wal::{NodeId, Position};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::sync::{Notify, watch};

/// How soon it tries again after etcd has failed.
const AGAIN: Duration = Duration::from_millis(50);

/// What is written if nothing has changed: keys and values, and the keys with the revisions they must have.
type Candidacy = (Vec<Put>, Vec<Unchanged>);

/// How often it looks while the standby is about to be recorded.
const NEARLY: Duration = Duration::from_millis(5);

/// From when on a standby that does not answer is looked at often.
const LONG_NS: u64 = 20_000_000;

/// What a standby is told.
pub(crate) enum Change {
    /// Who is primary has changed.
    Primary,
    /// This node is to become it.
    Won,
}

type Tell = Arc<dyn Fn(Change) + Send + Sync>;
type Reach = Arc<dyn Fn() -> Reached + Send + Sync>;
type Unable = Arc<dyn Fn() -> Option<String> + Send + Sync>;

/// How often it is noted how far the standby in sync is.
const NOTE_NS: u64 = 5_000_000_000;

#[derive(Default)]
struct State {
    own: Option<Own>,
    view: View,
    /// The epoch that this node may open, once it has won.
    won: Option<u32>,
    at: Option<Addresses>,
    hub: Option<Arc<Hub>>,
    tell: Option<Tell>,
    reach: Option<Reach>,
    unable: Option<Unable>,
    trouble: Option<String>,
    unfit: Option<String>,
    /// Settings that are not the primary's.
    differs: Vec<String>,
    stop: bool,
}

impl State {
    /// Notes why this node does not become primary, and says it once.
    fn refuse(&mut self, why: &Unfit, own: &Own) {
        let why = why.with(own);
        if self.unfit.as_ref() != Some(&why) {
            tracing::warn!(%why, "this node does not become the primary by itself");
        }
        self.unfit = Some(why);
    }

    /// Says once which settings are not the primary's.
    fn compare(&mut self, own: &Settings) {
        // Without a primary, what was found out last holds.
        let Some((primary, ..)) = &self.view.primary else { return };
        let differs = settings::differences(own, &primary.settings);
        if self.differs != differs {
            for it in &differs {
                tracing::warn!(setting = %it, "the two nodes are to have the same: it will show when this one takes over");
            }
            self.differs = differs;
        }
    }

    /// Whether this node has seen a later epoch than the primary's.
    fn ahead(&self) -> Option<(Own, Unfit)> {
        let own = self.own?;
        let (primary, ..) = self.view.primary.as_ref()?;
        record::ahead(&primary.node, primary.epoch, &own).map(|why| (own, why))
    }
}

/// This node's part in the cluster.
pub struct Member {
    keys: Keys,
    settings: Settings,
    lease_s: u64,
    patience_ns: u64,
    local: bool,
    allow_loss: bool,
    fence: Arc<Fence>,
    state: Mutex<State>,
    wake: Notify,
    /// Rung when who serves may have changed.
    moved: watch::Sender<()>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Member {
    /// Starts the thread. It only watches until [`Member::introduce`] says who this node is.
    pub(crate) fn start(config: &Config) -> std::io::Result<Arc<Self>> {
        let cluster = &config.cluster;
        let member = Arc::new(Self {
            keys: Keys::of(&cluster.name),
            settings: settings::of(config),
            lease_s: cluster.lease.as_secs(),
            patience_ns: cluster.alone_after.as_nanos() as u64,
            local: config.replication.acknowledge == Acknowledge::Local,
            allow_loss: cluster.allow_loss,
            fence: Arc::new(Fence::closed()),
            state: Mutex::default(),
            wake: Notify::new(),
            moved: watch::Sender::new(()),
            thread: Mutex::default(),
        });
        let etcd = Etcd::of(cluster);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let talking = Talk {
            member: Arc::clone(&member),
            etcd,
            lease: None,
            watch: None,
            news: true,
            pairing: Pairing::default(),
            leading: false,
            noted_ns: 0,
            since_ns: Clock::monotonic_ns(),
        };
        let thread = std::thread::Builder::new()
            .name("cluster".into())
            .spawn(move || runtime.block_on(talking.run()))?;
        *member.thread.lock().unwrap_or_else(PoisonError::into_inner) = Some(thread);
        Ok(member)
    }

    /// Who this node is: from now on, or anew, it may become primary.
    pub(crate) fn introduce(&self, own: Own) {
        let own = Own { allow_loss: self.allow_loss, ..own };
        self.lock().own = Some(own);
        self.wake.notify_one();
    }

    /// Has a standby told of what happens.
    pub(crate) fn on_change(&self, tell: impl Fn(Change) + Send + Sync + 'static) {
        self.lock().tell = Some(Arc::new(tell));
        self.wake.notify_one();
    }

    /// Whom to ask how far this node's log goes.
    pub(crate) fn reaches(&self, reach: impl Fn() -> Reached + Send + Sync + 'static) {
        self.lock().reach = Some(Arc::new(reach));
    }

    /// Whom to ask why this node could not serve, each time before it asks to become primary: winning would keep away the
    /// node that can.
    pub(crate) fn unable_if(&self, unable: impl Fn() -> Option<String> + Send + Sync + 'static) {
        self.lock().unable = Some(Arc::new(unable));
    }

    /// Where the primary is, if there is one that serves, and it is another node.
    pub(crate) fn primary(&self) -> Option<Addresses> {
        let state = self.lock();
        let me = state.own.map(|own| record::name(own.node));
        let (primary, ..) = state.view.primary.as_ref()?;
        (primary.serving && Some(&primary.node) != me.as_ref()).then(|| primary.at.clone())
    }

    /// Where the primary is that this node is to follow, if there is one.
    pub(crate) fn to_follow(&self) -> Option<Addresses> {
        let at = self.primary()?;
        let mut state = self.lock();
        match state.ahead() {
            Some((own, why)) => {
                state.refuse(&why, &own);
                None
            }
            None => Some(at),
        }
    }

    /// Who serves, this node included; waits until somebody does.
    pub(crate) async fn whoever_serves(&self) -> Addresses {
        let mut moved = self.moved.subscribe();
        loop {
            let own = self.lock().at.clone();
            if let Some(at) = own.or_else(|| self.primary()) {
                return at;
            }
            // The sender is here: it does not end before this.
            let _ = moved.changed().await;
        }
    }

    /// The epoch this node is to open, once it has won.
    pub(crate) fn won(&self) -> Option<u32> {
        self.lock().won
    }

    /// It serves: others may be told where.
    pub(crate) fn serves(&self, at: Addresses, hub: Arc<Hub>) {
        let mut state = self.lock();
        (state.at, state.hub) = (Some(at), Some(hub));
        drop(state);
        self.moved.send_replace(());
        self.wake.notify_one();
    }

    /// Something has changed about the standby.
    pub(crate) fn look(&self) {
        self.wake.notify_one();
    }

    /// Until when answers may leave.
    pub(crate) fn fence(&self) -> Arc<Fence> {
        Arc::clone(&self.fence)
    }

    /// Gives the lease back, so that the other node need not wait for its end.
    pub(crate) fn resign(&self) {
        self.lock().stop = true;
        self.wake.notify_one();
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread {
            let _ = thread.join();
        }
    }

    /// What an operator sees of it.
    pub(crate) fn json(&self) -> serde_json::Value {
        let state = self.lock();
        serde_json::json!({
            // Its settings are the nodes' own business.
            "primary": state.view.primary.as_ref().map(|(primary, ..)| {
                Primary { settings: Settings::new(), ..primary.clone() }
            }),
            "differs": state.differs,
            "standing": state.view.standing,
            "node": state.own.map(|own| record::name(own.node)),
            "why_not": state.unfit,
            "trouble": state.trouble,
        })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[derive(Clone, Copy)]
struct Lease {
    id: i64,
    length_ns: u64,
    /// When the last word that renewed it was sent.
    sent_ns: u64,
}

impl Lease {
    /// Up to when this node may rely on it: well before it can be over.
    fn deadline_ns(&self) -> u64 {
        self.sent_ns + self.length_ns / 4 * 3
    }
}

/// The conversation with etcd.
struct Talk {
    member: Arc<Member>,
    etcd: Etcd,
    lease: Option<Lease>,
    watch: Option<Watch>,
    /// Whether what is on record may have changed.
    news: bool,
    pairing: Pairing,
    leading: bool,
    /// When it was last noted how far the standby is.
    noted_ns: u64,
    /// When it began.
    since_ns: u64,
}

impl Talk {
    async fn run(mut self) {
        while !self.member.lock().stop {
            let pause = match self.turn().await {
                Ok(pause) => {
                    self.member.lock().trouble = None;
                    pause
                }
                Err(error) => {
                    self.complain(&error);
                    AGAIN
                }
            };
            self.rest(pause).await;
        }
        if let Some(lease) = self.lease {
            // Without etcd it ends by itself.
            let _ = self.etcd.revoke(lease.id).await;
        }
    }

    fn complain(&mut self, error: &EtcdError) {
        self.news = true;
        let text = error.to_string();
        let mut state = self.member.lock();
        if state.trouble.as_ref() != Some(&text) {
            tracing::warn!(trouble = %text, "etcd does not do its part; trying again");
        }
        state.trouble = Some(text);
    }

    /// Waits for something to happen.
    async fn rest(&mut self, pause: Duration) {
        let changed = async {
            match &mut self.watch {
                Some(watch) => watch.changed().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            more = changed => {
                self.news = true;
                if !more {
                    self.watch = None;
                }
            }
            () = self.member.wake.notified() => {}
            () = tokio::time::sleep(pause) => {}
        }
    }

    /// Looks, and does what is to be done. How long nothing more is.
    async fn turn(&mut self) -> Result<Duration, EtcdError> {
        let lease = self.renew().await?;
        if self.news {
            self.read().await?;
        }
        if self.watch.is_none() {
            let from = self.member.lock().view.revision + 1;
            self.watch = Some(self.etcd.watch(&self.member.keys.prefix, from).await?);
        }
        let pause = Duration::from_nanos(lease.length_ns / 4);
        if !self.leads(lease) {
            self.campaign(lease).await?;
            return Ok(pause);
        }
        self.publish(lease).await?;
        self.uphold().await?;
        Ok(if self.pair().await? { NEARLY } else { pause })
    }

    /// A lease that has not been renewed for a quarter of its length is.
    async fn renew(&mut self) -> Result<Lease, EtcdError> {
        let sent_ns = Clock::monotonic_ns();
        if let Some(lease) = &mut self.lease {
            if sent_ns - lease.sent_ns < lease.length_ns / 4 {
                return Ok(*lease);
            }
            // A look now and then, too: a watch may be cut off without a word.
            self.news = true;
            if let Some(seconds) = self.etcd.keep(lease.id).await? {
                *lease = Lease { sent_ns, length_ns: seconds * 1_000_000_000, ..*lease };
                if self.leading && !self.member.fence.until(lease.deadline_ns(), Clock::monotonic_ns()) {
                    super::lost("its lease was not renewed in time");
                }
                return Ok(*lease);
            }
            if self.leading {
                super::lost("its lease is over");
            }
        }
        let (id, seconds) = self.etcd.grant(self.member.lease_s).await?;
        let lease = Lease { id, length_ns: seconds * 1_000_000_000, sent_ns };
        self.lease = Some(lease);
        Ok(lease)
    }

    async fn read(&mut self) -> Result<(), EtcdError> {
        let (revision, entries) = self.etcd.read(&self.member.keys.prefix).await?;
        let view = View::of(revision, &entries, &self.member.keys);
        self.news = false;
        let mut state = self.member.lock();
        let place = |view: &View| {
            view.primary.as_ref().map(|(primary, ..)| (primary.node.clone(), primary.at.clone()))
        };
        let moved = place(&state.view) != place(&view);
        state.view = view;
        state.compare(&self.member.settings);
        let tell = state.tell.clone().filter(|_| moved);
        drop(state);
        if let Some(tell) = tell {
            tell(Change::Primary);
        }
        self.member.moved.send_replace(());
        Ok(())
    }

    /// Whether this node is primary. It ends if it was and is not any more.
    fn leads(&mut self, lease: Lease) -> bool {
        let mut state = self.member.lock();
        let mine = state.view.primary.as_ref().filter(|(.., of)| *of == lease.id);
        let epoch = mine.map(|(primary, ..)| primary.epoch);
        if self.leading {
            if epoch.is_none() {
                let odd = state.view.odd(&self.member.keys).map(|odd| odd.to_string());
                let primary = state.view.primary.as_ref();
                let now = primary.map(|(it, ..)| format!("now it has {}", it.node)).or(odd);
                let now = now.unwrap_or_else(|| "now it has none".to_owned());
                super::lost(&format!("etcd does not have it as the primary any more; {now}"));
            }
            return true;
        }
        let Some(epoch) = epoch else { return false };
        if !self.member.fence.until(lease.deadline_ns(), Clock::monotonic_ns()) {
            return false;
        }
        self.leading = true;
        state.won = Some(epoch);
        let tell = state.tell.clone();
        drop(state);
        tracing::warn!(epoch, "etcd has this node as the primary");
        super::watch_over(&self.member.fence);
        if let Some(tell) = tell {
            tell(Change::Won);
        }
        true
    }

    /// Becomes primary if there is none and this node is fit for it.
    async fn campaign(&mut self, lease: Lease) -> Result<(), EtcdError> {
        let Some((puts, unchanged)) = self.candidacy(lease) else { return Ok(()) };
        // Won or not, or not known: what is on record says it.
        self.news = true;
        self.etcd.swap(&unchanged, &puts).await?;
        self.read().await?;
        self.leads(lease);
        Ok(())
    }

    fn candidacy(&self, lease: Lease) -> Option<Candidacy> {
        let member = &self.member;
        // Asked before: whoever answers has locks of its own.
        let (reach, unable) = {
            let state = member.lock();
            let stands = state.own.is_some() && state.view.primary.is_none();
            (state.reach.clone(), state.unable.clone().filter(|_| stands))
        };
        let reached = reach.map(|reach| reach()).unwrap_or_default();
        let unable = unable.and_then(|unable| unable());
        let mut state = member.lock();
        let own = state.own?;
        if state.view.primary.is_some() || state.tell.is_none() {
            if state.ahead().is_none() {
                state.unfit = None;
            }
            return None;
        }
        let waited = Clock::monotonic_ns() - self.since_ns >= lease.length_ns;
        let keys = &member.keys;
        let fit = state.view.fit(&own, &reached, waited, keys);
        let epoch = match fit.and_then(|epoch| unable.map_or(Ok(epoch), |why| Err(Unfit::Unable { why }))) {
            Ok(epoch) => epoch,
            Err(why) => {
                state.refuse(&why, &own);
                return None;
            }
        };
        let node = record::name(own.node);
        let at = Addresses::default();
        let settings = member.settings.clone();
        let primary = Primary { node: node.clone(), epoch, serving: false, at, settings };
        let alone = Standing { epoch, node, local: member.local, in_sync: None, has: Vec::new() };
        let unchanged = vec![(keys.primary(), 0), state.view.unchanged_standing(keys)];
        let puts = vec![
            Put { key: keys.primary(), value: text(&primary), lease: lease.id },
            alone.put(keys.standing()),
        ];
        Some((puts, unchanged))
    }

    /// Says where this node serves, once it does.
    async fn publish(&mut self, lease: Lease) -> Result<(), EtcdError> {
        let (primary, revision) = {
            let state = self.member.lock();
            let Some((primary, revision, _)) = &state.view.primary else { return Ok(()) };
            let Some(at) = state.at.clone().filter(|at| *at != primary.at) else { return Ok(()) };
            (Primary { serving: true, at, ..primary.clone() }, *revision)
        };
        let put = Put { key: self.member.keys.primary(), value: text(&primary), lease: lease.id };
        self.news = true;
        self.etcd.swap(&[(self.member.keys.primary(), revision)], &[put]).await?;
        self.read().await
    }

    /// A record that somebody has removed, or written over, is written anew.
    async fn uphold(&mut self) -> Result<(), EtcdError> {
        let member = &self.member;
        let restored = member.lock().view.restored(member.local, &member.keys);
        let Some((why, unchanged, put)) = restored else { return Ok(()) };
        tracing::error!(
            key = %put.key,
            why,
            "somebody has changed the record in etcd that says who may take over; this primary writes it anew"
        );
        self.news = true;
        self.etcd.swap(&unchanged, &[put]).await?;
        self.read().await
    }

    /// Keeps what is recorded of the standby true. Whether there is more to do soon.
    async fn pair(&mut self) -> Result<bool, EtcdError> {
        let (hub, recorded) = {
            let state = self.member.lock();
            let Some(hub) = state.hub.clone() else { return Ok(false) };
            let recorded = state.view.standing.as_ref().and_then(|standing| standing.in_sync.clone());
            (hub, recorded.and_then(|node| NodeId::from_str_radix(&node, 16).ok()))
        };
        if recorded.is_some() {
            hub.trust(recorded);
        }
        let now_ns = Clock::monotonic_ns();
        let seen = hub.seen(now_ns);
        match self.pairing.next(recorded, &seen, now_ns, self.member.patience_ns) {
            Deed::Nothing => {
                let due = recorded.is_some() && seen.follower == recorded && now_ns - self.noted_ns > NOTE_NS;
                if due && !self.is_noted(&hub.has()) {
                    self.record(recorded).await?;
                }
                return Ok(seen.waits != recorded.is_some()
                    || (recorded.is_some() && seen.follower.is_none())
                    || seen.stuck_ns > LONG_NS);
            }
            Deed::Wait => hub.set_waits(true),
            Deed::Free => {
                hub.set_waits(false);
                hub.trust(None);
            }
            Deed::Record(Some(node)) => {
                hub.trust(Some(node));
                self.pairing.doubt = true;
                if self.record(Some(node)).await? {
                    self.pairing.doubt = false;
                    tracing::info!(standby = %record::name(node), "etcd has it on record that the standby is in sync");
                }
            }
            Deed::Record(None) => {
                if self.record(None).await? {
                    self.pairing.doubt = false;
                    tracing::warn!(
                        "etcd has it on record that this primary is alone: answers leave without a standby"
                    );
                    hub.set_waits(false);
                    hub.trust(None);
                    if seen.stuck_ns > LONG_NS {
                        // It may come back, and be waited for, when it can be talked to.
                        hub.close();
                    }
                }
            }
        }
        Ok(true)
    }

    fn is_noted(&self, has: &[(u16, Position)]) -> bool {
        self.member.lock().view.standing.as_ref().is_some_and(|standing| standing.has == has)
    }

    /// Records which standby is in sync, if this node is primary. Whether that is on record.
    async fn record(&mut self, in_sync: Option<NodeId>) -> Result<bool, EtcdError> {
        self.noted_ns = Clock::monotonic_ns();
        let (unchanged, put) = {
            let state = self.member.lock();
            let (Some((_, primary, _)), Some(standing)) = (&state.view.primary, &state.view.standing) else {
                return Ok(false);
            };
            let keys = &self.member.keys;
            let has =
                state.hub.as_ref().filter(|_| in_sync.is_some()).map(|hub| hub.has()).unwrap_or_default();
            let standing = Standing { in_sync: in_sync.map(record::name), has, ..standing.clone() };
            let unchanged = vec![(keys.primary(), *primary), state.view.unchanged_standing(keys)];
            (unchanged, standing.put(keys.standing()))
        };
        self.news = true;
        let done = self.etcd.swap(&unchanged, &[put]).await?;
        self.read().await?;
        Ok(done)
    }
}
