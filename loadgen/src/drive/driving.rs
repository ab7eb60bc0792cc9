//! A load that is under way: its threads, and what the outside may see and say.

use super::plan::{DrivePlan, Transport};
use super::tally::{Meter, Tally};
use super::{carrier::Carrier, probe, tcp, websocket};
use crate::LoadError;
use crate::crowd::{Carried, Nanos};
use frontrow_engine::{Clock, CoreSpec, Engine, WithEngine, choose, dispatch};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

/// What a load thread and the outside share.
pub(super) struct Link {
    /// When the run began, on the monotonic clock.
    origin_ns: u64,
    pub(super) meter: Mutex<Meter>,
    pub(super) stop: AtomicBool,
    pub(super) wind_down: AtomicBool,
    /// Sent and not answered, as of the last turn.
    pub(super) in_flight: AtomicU64,
    /// Due and not sent, as of the last turn.
    pub(super) waiting: AtomicU64,
    /// Connections that are let in and have not ended.
    pub(super) open: AtomicU64,
}

impl Link {
    pub(super) fn new(origin_ns: u64) -> Self {
        Self {
            origin_ns,
            meter: Mutex::default(),
            stop: AtomicBool::new(false),
            wind_down: AtomicBool::new(false),
            in_flight: AtomicU64::new(0),
            waiting: AtomicU64::new(0),
            open: AtomicU64::new(0),
        }
    }

    /// Nanoseconds since the run began.
    pub(super) fn now(&self) -> Nanos {
        Clock::monotonic_ns() - self.origin_ns
    }
}

/// Begins to carry `crowds`, each on a thread of its own. Connections are opened when the crowd asks for them.
///
/// Fails at once if the plan cannot be, if descriptors do not suffice, if the engine does not run here, or if
/// the first connection's server does not let it in.
pub fn start<C: Carried + Send + 'static>(crowds: Vec<C>, plan: DrivePlan) -> Result<Driving<C>, LoadError> {
    plan.check(crowds.len())?;
    if plan.transport == Transport::Tcp {
        choose(plan.engine, crowds.len(), &frontrow_engine::probe())?;
    }
    probe::enter(&plan)?;
    let plan = Arc::new(plan);
    let origin_ns = Clock::monotonic_ns();
    let threads = crowds.len() as u32;
    let mut driving = Driving { links: Vec::new(), threads: Vec::new() };
    for (thread, crowd) in crowds.into_iter().enumerate() {
        let link = Arc::new(Link::new(origin_ns));
        driving.links.push(Arc::clone(&link));
        let (plan, core) = (Arc::clone(&plan), plan.cpus[thread]);
        let named = std::thread::Builder::new().name(format!("load-{thread}"));
        let carry = move || carry(crowd, &plan, link, core, thread as u32, threads);
        match named.spawn(carry).map_err(LoadError::connection("starting a thread")) {
            Ok(handle) => driving.threads.push(handle),
            Err(error) => {
                driving.stop();
                return Err(error);
            }
        }
    }
    Ok(driving)
}

/// One load thread, from beginning to end.
fn carry<C: Carried + 'static>(
    crowd: C,
    plan: &Arc<DrivePlan>,
    link: Arc<Link>,
    core: Option<usize>,
    thread: u32,
    threads: u32,
) -> Result<C, LoadError> {
    let spec = CoreSpec::new(format!("load-{thread}"), core);
    let carrier = Carrier::new(crowd, Arc::clone(plan), link, thread, threads);
    if plan.transport == Transport::WebSocket {
        return websocket::carry(carrier, core);
    }
    dispatch(plan.engine, OnEngine { carrier, spec })
}

/// A carrier on its way to an engine.
struct OnEngine<C> {
    carrier: Carrier<C>,
    spec: CoreSpec,
}

impl<C: Carried + 'static> WithEngine for OnEngine<C> {
    type Out = Result<C, LoadError>;

    fn call<E: Engine>(self) -> Self::Out {
        let Self { carrier, spec } = self;
        E::run(&spec, move || tcp::carry::<E, C>(carrier))?
    }
}

/// How the way to the server stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Doors {
    /// Connections that are open.
    pub open: u64,
    /// Connections let in so far.
    pub let_in: u64,
    /// Connections refused, or lost without the crowd's doing, so far.
    pub failed: u64,
}

/// A load under way. Dropping it leaves its threads to their own end: stop it first.
pub struct Driving<C> {
    links: Vec<Arc<Link>>,
    threads: Vec<JoinHandle<Result<C, LoadError>>>,
}

impl<C> Driving<C> {
    /// What has happened since the last call, on all threads.
    pub fn take(&self) -> Tally {
        let mut sum = Tally::default();
        for link in &self.links {
            let fresh = Meter::default();
            let counted =
                std::mem::replace(&mut *link.meter.lock().unwrap_or_else(PoisonError::into_inner), fresh);
            sum.add(&counted.into_tally());
        }
        sum
    }

    /// Connections that are open now; those let in and those that failed since the last [`Driving::take`].
    pub fn doors(&self) -> Doors {
        self.links.iter().fold(Doors::default(), |sum, link| {
            let meter = link.meter.lock().unwrap_or_else(PoisonError::into_inner);
            Doors {
                open: sum.open + link.open.load(Ordering::Relaxed),
                let_in: sum.let_in + meter.tally.connected,
                failed: sum.failed + meter.tally.connect_failed + meter.tally.connections_lost,
            }
        })
    }

    /// Requests sent and not answered, a few milliseconds ago at most.
    pub fn in_flight(&self) -> u64 {
        self.links.iter().map(|link| link.in_flight.load(Ordering::Relaxed)).sum()
    }

    /// Requests due and not sent, a few milliseconds ago at most: more than its connections may carry.
    pub fn waiting(&self) -> u64 {
        self.links.iter().map(|link| link.waiting.load(Ordering::Relaxed)).sum()
    }

    /// Since the start.
    pub fn elapsed(&self) -> Duration {
        Duration::from_nanos(self.links.first().map_or(0, |link| link.now()))
    }

    /// Lets nobody new come; those under way may end.
    pub fn wind_down(&self) {
        self.set(|link| &link.wind_down);
    }

    /// Ends the load: nothing more is asked, and what is in flight has its patience to be answered.
    pub fn stop(&self) {
        self.set(|link| &link.stop);
    }

    fn set(&self, flag: impl Fn(&Link) -> &AtomicBool) {
        self.links.iter().for_each(|link| flag(link).store(true, Ordering::Relaxed));
    }

    /// Whether every thread has ended.
    pub fn is_finished(&self) -> bool {
        self.threads.iter().all(JoinHandle::is_finished)
    }

    /// Waits for the end and gives the crowds back, in the order they came. Call [`Driving::take`] before for
    /// what was counted, or use [`Driving::finish`].
    pub fn join(self) -> Result<Vec<C>, LoadError> {
        self.finish().map(|(crowds, _)| crowds)
    }

    /// Waits for the end: the crowds, and what happened since the last [`Driving::take`].
    pub fn finish(mut self) -> Result<(Vec<C>, Tally), LoadError> {
        let threads = std::mem::take(&mut self.threads);
        let joined = threads.into_iter().map(|thread| thread.join().map_err(|_| LoadError::Panicked)?);
        // All are waited for before the first error is told.
        let results: Vec<_> = joined.collect();
        let crowds = results.into_iter().collect::<Result<_, LoadError>>()?;
        Ok((crowds, self.take()))
    }
}
