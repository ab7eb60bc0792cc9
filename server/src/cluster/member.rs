//! This node's part in the cluster: a thread that talks to etcd, and what the others see of it.

use super::etcd::{Entry, Etcd, EtcdError, Put, Watch};
use super::fence::Fence;
use super::pairing::{Deed, Pairing};
use super::record::{self, Addresses, Own, Primary, Standing};
use crate::config::{Acknowledge, Config};
use crate::replication::Hub;
use frontrow_engine::Clock;
use frontrow_wal::NodeId;
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

/// What etcd has on record.
#[derive(Clone, Debug, Default)]
struct View {
    revision: i64,
    /// With the revision and the lease of its key.
    primary: Option<(Primary, i64, i64)>,
    standing: Option<(Standing, i64)>,
}

/// What a standby is told.
pub(crate) enum Change {
    /// Who is primary has changed.
    Primary,
    /// This node is to become it.
    Won,
}

/// A key, and the revision of its last change.
type Unchanged = (String, i64);
type Tell = Arc<dyn Fn(Change) + Send + Sync>;

#[derive(Default)]
struct State {
    own: Option<Own>,
    view: View,
    /// The epoch that this node may open, once it has won.
    won: Option<u32>,
    at: Option<Addresses>,
    hub: Option<Arc<Hub>>,
    tell: Option<Tell>,
    trouble: Option<String>,
    unfit: Option<String>,
    stop: bool,
}

/// This node's part in the cluster.
pub struct Member {
    prefix: String,
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
            prefix: format!("/frontrow/{}/", cluster.name),
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
        let authorities =
            cluster.etcd.iter().filter_map(|url| super::authority(url)).map(str::to_owned).collect();
        let etcd = Etcd::new(authorities, cluster.lease / 6);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let talking = Talk {
            member: Arc::clone(&member),
            etcd,
            lease: None,
            watch: None,
            news: true,
            pairing: Pairing::default(),
            leading: false,
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

    /// Where the primary is, if there is one that serves, and it is another node.
    pub(crate) fn primary(&self) -> Option<Addresses> {
        let state = self.lock();
        let me = state.own.map(|own| record::name(own.node));
        let (primary, ..) = state.view.primary.as_ref()?;
        (primary.serving && Some(&primary.node) != me.as_ref()).then(|| primary.at.clone())
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
            "primary": state.view.primary.as_ref().map(|(primary, ..)| primary),
            "standing": state.view.standing.as_ref().map(|(standing, _)| standing),
            "node": state.own.map(|own| record::name(own.node)),
            "why_not": state.unfit,
            "trouble": state.trouble,
        })
    }

    fn primary_key(&self) -> String {
        format!("{}primary", self.prefix)
    }

    fn standing_key(&self) -> String {
        format!("{}standing", self.prefix)
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
            self.watch = Some(self.etcd.watch(&self.member.prefix, from).await?);
        }
        let pause = Duration::from_nanos(lease.length_ns / 4);
        if !self.leads(lease) {
            self.campaign(lease).await?;
            return Ok(pause);
        }
        self.publish(lease).await?;
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
        let (revision, entries) = self.etcd.read(&self.member.prefix).await?;
        let mut view = View { revision, ..View::default() };
        for entry in entries {
            if entry.key == self.member.primary_key() {
                view.primary = parsed(&entry).map(|primary| (primary, entry.revision, entry.lease));
            } else if entry.key == self.member.standing_key() {
                view.standing = parsed(&entry).map(|standing| (standing, entry.revision));
            }
        }
        self.news = false;
        let mut state = self.member.lock();
        let place = |view: &View| {
            view.primary.as_ref().map(|(primary, ..)| (primary.node.clone(), primary.at.clone()))
        };
        let moved = place(&state.view) != place(&view);
        state.view = view;
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
                let who = state.view.primary.as_ref().map_or("nobody", |(primary, ..)| primary.node.as_str());
                super::lost(&format!("etcd does not have it as the primary any more, but {who}"));
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
        let mut state = member.lock();
        let own = state.own?;
        if state.view.primary.is_some() || state.tell.is_none() {
            state.unfit = None;
            return None;
        }
        let standing = state.view.standing.clone();
        let key = member.standing_key();
        let waited = Clock::monotonic_ns() - self.since_ns >= lease.length_ns;
        let fit = record::fit(standing.as_ref().map(|(standing, _)| standing), &own, waited, &key);
        if let Err(why) = fit {
            let why = why.to_string();
            if state.unfit.as_ref() != Some(&why) {
                tracing::warn!(%why, "there is no primary, and this node does not become it by itself");
            }
            state.unfit = Some(why);
            return None;
        }
        drop(state);
        let epoch = record::next_epoch(standing.as_ref().map(|(standing, _)| standing), &own)?;
        let node = record::name(own.node);
        let at = Addresses::default();
        let primary = Primary { node: node.clone(), epoch, serving: false, at };
        let alone = Standing { epoch, node, local: member.local, in_sync: None };
        let unchanged =
            vec![(member.primary_key(), 0), (key.clone(), standing.map_or(0, |(_, revision)| revision))];
        let puts = vec![
            Put { key: member.primary_key(), value: text(&primary), lease: lease.id },
            Put { key, value: text(&alone), lease: 0 },
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
        let put = Put { key: self.member.primary_key(), value: text(&primary), lease: lease.id };
        self.news = true;
        self.etcd.swap(&[(self.member.primary_key(), revision)], &[put]).await?;
        self.read().await
    }

    /// Keeps what is recorded of the standby true. Whether there is more to do soon.
    async fn pair(&mut self) -> Result<bool, EtcdError> {
        let (hub, recorded) = {
            let state = self.member.lock();
            let Some(hub) = state.hub.clone() else { return Ok(false) };
            let recorded = state.view.standing.as_ref().and_then(|(standing, _)| standing.in_sync.clone());
            (hub, recorded.and_then(|node| NodeId::from_str_radix(&node, 16).ok()))
        };
        if recorded.is_some() {
            hub.trust(recorded);
        }
        let now_ns = Clock::monotonic_ns();
        let seen = hub.seen(now_ns);
        match self.pairing.next(recorded, &seen, now_ns, self.member.patience_ns) {
            Deed::Nothing => {
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

    /// Records which standby is in sync, if this node is primary. Whether that is on record.
    async fn record(&mut self, in_sync: Option<NodeId>) -> Result<bool, EtcdError> {
        let (unchanged, put) = {
            let state = self.member.lock();
            let (Some((_, primary, _)), Some((standing, revision))) =
                (&state.view.primary, &state.view.standing)
            else {
                return Ok(false);
            };
            let key = self.member.standing_key();
            let standing = Standing { in_sync: in_sync.map(record::name), ..standing.clone() };
            let unchanged = vec![(self.member.primary_key(), *primary), (key.clone(), *revision)];
            (unchanged, Put { key, value: text(&standing), lease: 0 })
        };
        self.news = true;
        let done = self.etcd.swap(&unchanged, &[put]).await?;
        self.read().await?;
        Ok(done)
    }
}

fn parsed<T: serde::de::DeserializeOwned>(entry: &Entry) -> Option<T> {
    match serde_json::from_slice(&entry.value) {
        Ok(value) => Some(value),
        Err(error) => {
            tracing::error!(key = %entry.key, %error, "etcd has something else there than this program writes");
            None
        }
    }
}

fn text(value: &impl serde::Serialize) -> String {
    serde_json::to_string(value).unwrap_or_else(|error| unreachable!("plain fields become JSON: {error}"))
}
