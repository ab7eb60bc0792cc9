//! Replication between two simulated nodes: the connections of both ends, whose decisions are the server's own.
//!
//! The server's threads block on sockets, which a simulation on one thread cannot. So what runs here is everything
//! below them (`frontrow_server::replication::ends`), carried by tasks in place of threads.

use crate::engine::{Reader, Sim, Writer, hang_up};
use crate::world::{ProcessEnded, disk_latency, lingering};
use frontrow_engine::{Clock, Closer, Engine, ListenOptions, Notified, Notifier, notifier};
use frontrow_server::replication::ends::{Over, PrimaryEnd, StandbyChannel, StandbyEnd};
use frontrow_server::replication::{FollowError, Hub, Promoted};
use std::cell::{Cell, RefCell};
use std::io::{Error, ErrorKind};
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

/// Where a primary listens for standbys.
pub(crate) const PORT: u16 = 7415;
/// How often whoever sends looks up if nobody wakes it. Ten times a real server's.
const TICK: Duration = Duration::from_millis(200);
/// Without a word from the other end. A little less than a real server's.
const SILENCE_NS: u64 = 5_000_000_000;
/// Between two attempts of a standby.
const PAUSE: Duration = Duration::from_millis(300);

/// Wakes a task again and again, and ends a connection on which nothing is heard; until it is over.
struct Watch {
    heard_ns: Cell<u64>,
    over: Cell<bool>,
    closer: Closer,
    wake: Notifier,
}

impl Watch {
    /// One for a connection, and the end that waits.
    fn begin(reader: &Reader) -> (Rc<Self>, Notified) {
        let (wake, woken) = notifier();
        let closer = Sim::closer(reader);
        let watch = Rc::new(Self {
            heard_ns: Cell::new(Clock::monotonic_ns()),
            over: Cell::new(false),
            closer,
            wake,
        });
        let own = Rc::clone(&watch);
        Sim::spawn(async move {
            while !own.over.get() {
                Sim::sleep(TICK).await;
                if Clock::monotonic_ns() - own.heard_ns.get() > SILENCE_NS {
                    own.end();
                }
                own.wake.wake();
            }
        });
        (watch, woken)
    }

    fn end(&self) {
        self.over.set(true);
        self.closer.close();
        self.wake.wake();
    }
}

/// Receives until the connection is over; `take` does something with the bytes, and says whether it goes on.
async fn hear(reader: &mut Reader, watch: &Watch, mut take: impl AsyncFnMut(&[u8]) -> bool) {
    let mut buffer = Vec::with_capacity(16 << 10);
    while !watch.over.get() {
        let (result, mut back) = Sim::recv(reader, buffer).await;
        if !result.is_ok_and(|count| count > 0) {
            break;
        }
        watch.heard_ns.set(Clock::monotonic_ns());
        let goes_on = take(&back).await;
        watch.wake.wake();
        if !goes_on {
            break;
        }
        back.clear();
        buffer = back;
    }
}

// ---- the primary's side -------------------------------------------------------------------------

/// Listens for standbys, for as long as the core lives.
pub(crate) async fn listen(hub: Arc<Hub>, address: SocketAddr) {
    let Ok(listener) = Sim::listen(address, ListenOptions::default()) else { return };
    while let Ok((reader, writer, _)) = Sim::accept(&listener).await {
        Sim::spawn(serve(Arc::clone(&hub), reader, writer));
    }
}

/// One connection of a standby.
async fn serve(hub: Arc<Hub>, mut reader: Reader, writer: Writer) {
    let end = Rc::new(RefCell::new(PrimaryEnd::new(&hub, hang_up(&reader))));
    let (watch, woken) = Watch::begin(&reader);
    Sim::spawn(send(Rc::clone(&end), Rc::clone(&watch), writer, woken));
    hear(&mut reader, &watch, async |bytes| {
        let pushed = end.borrow_mut().push(bytes, &watch.wake);
        if let Err(over) = pushed {
            // The last word is sent all the same.
            superseded(&over);
            return false;
        }
        true
    })
    .await;
    watch.over.set(true);
    watch.wake.wake();
}

async fn send(end: Rc<RefCell<PrimaryEnd>>, watch: Rc<Watch>, mut writer: Writer, mut woken: Notified) {
    loop {
        let over = watch.over.get();
        let turned = end.borrow_mut().turn();
        let out = end.borrow_mut().take_out();
        if !out.is_empty() && Sim::send_all(&mut writer, out).await.0.is_err() {
            break;
        }
        match turned {
            Err(over) => {
                superseded(&over);
                break;
            }
            _ if over => {
                end.borrow().note_agreed();
                break;
            }
            Ok(true) => frontrow_engine::yield_now().await,
            Ok(false) => woken.wait().await,
        }
    }
    watch.end();
    // A thread that writes to a connection which is over may hear of it late: its successor is there by then.
    Sim::sleep(lingering()).await;
}

/// A process that hears of a newer epoch ends.
fn superseded(over: &Over) {
    if let Some(newer) = over.newer {
        let word = format!("superseded: another node has opened epoch {newer}");
        std::panic::resume_unwind(Box::new(ProcessEnded(word)));
    }
}

// ---- the standby's side -------------------------------------------------------------------------

/// What is asked of a running standby from outside.
pub(crate) struct Standby {
    /// None once it has been promoted.
    pub(crate) end: RefCell<Option<StandbyEnd>>,
    /// Whom it follows.
    pub(crate) leader: SocketAddr,
    /// An operator wants it to be the primary.
    pub(crate) promote: Cell<bool>,
    /// What it cannot go on from, or must never be.
    pub(crate) troubles: Rc<RefCell<Vec<String>>>,
}

impl Standby {
    fn with<R>(&self, f: impl FnOnce(&mut StandbyEnd) -> R) -> Option<R> {
        self.end.borrow_mut().as_mut().map(f)
    }

    /// Applies what has come.
    fn apply(&self) {
        if let Some(Err(why)) = self.with(StandbyEnd::apply) {
            self.troubles.borrow_mut().push(format!("standby: it does not apply what it has: {why}"));
        }
    }
}

/// Follows until it is promoted; an error is the end of the process.
pub(crate) async fn follow(standby: Rc<Standby>) -> Result<Promoted, FollowError> {
    let applying = Rc::clone(&standby);
    Sim::spawn(async move {
        while !applying.promote.get() {
            applying.apply();
            Sim::sleep(TICK).await;
        }
    });
    while !standby.promote.get() {
        if let Err(error) = session(&standby).await {
            standby.with(|end| end.ended(error)).unwrap_or(Ok(()))?;
        }
        Sim::sleep(PAUSE).await;
    }
    let end = standby.end.borrow_mut().take().unwrap_or_else(|| unreachable!("promoted once"));
    end.promote()
}

/// What the connections of a session have in common: when one ends, all end.
struct Session {
    standby: Rc<Standby>,
    watches: RefCell<Vec<Rc<Watch>>>,
    /// Connections that are not over yet.
    open: Cell<u32>,
    error: RefCell<Option<FollowError>>,
}

impl Session {
    fn end(&self, error: Option<FollowError>) {
        if let Some(error) = error {
            self.error.borrow_mut().get_or_insert(error);
        }
        self.watches.borrow().iter().for_each(|watch| watch.end());
    }

    fn is_over(&self) -> bool {
        self.watches.borrow().iter().any(|watch| watch.over.get()) || self.standby.promote.get()
    }
}

/// One session: returns when all of its connections are over.
async fn session(standby: &Rc<Standby>) -> Result<(), FollowError> {
    let Some(control) = standby.with(|end| end.call()) else { return Ok(()) };
    let session = Rc::new(Session {
        standby: Rc::clone(standby),
        watches: RefCell::default(),
        open: Cell::new(1),
        error: RefCell::default(),
    });
    Sim::spawn(connection(Rc::clone(&session), control, true));
    while session.open.get() > 0 {
        Sim::sleep(TICK).await;
        if standby.promote.get() {
            session.end(None);
        }
    }
    session.error.borrow_mut().take().map_or(Ok(()), Err)
}

/// One connection of a session.
async fn connection(session: Rc<Session>, channel: StandbyChannel, is_control: bool) {
    let error = match Sim::connect(session.standby.leader).await {
        Ok((reader, writer)) if is_control || !session.is_over() => {
            copy(&session, channel, is_control, reader, writer).await
        }
        Ok(_) => Some(lost(&session)),
        Err(source) => Some(FollowError::Socket { primary: session.standby.leader.to_string(), source }),
    };
    session.end(error);
    session.open.set(session.open.get() - 1);
}

fn lost(session: &Session) -> FollowError {
    let source = Error::from(ErrorKind::UnexpectedEof);
    FollowError::Socket { primary: session.standby.leader.to_string(), source }
}

async fn copy(
    session: &Rc<Session>,
    channel: StandbyChannel,
    is_control: bool,
    mut reader: Reader,
    writer: Writer,
) -> Option<FollowError> {
    let channel = Rc::new(RefCell::new(channel));
    let (watch, woken) = Watch::begin(&reader);
    session.watches.borrow_mut().push(Rc::clone(&watch));
    session.open.set(session.open.get() + 1);
    Sim::spawn(answer(Rc::clone(session), Rc::clone(&channel), Rc::clone(&watch), writer, woken));
    let mut error = None;
    hear(&mut reader, &watch, async |bytes| {
        channel.borrow_mut().push(bytes);
        let taken = if is_control { control(session, &channel) } else { stream(&channel, &watch).await };
        error = taken.err();
        error.is_none()
    })
    .await;
    watch.over.set(true);
    watch.wake.wake();
    Some(error.unwrap_or_else(|| lost(session)))
}

/// Takes what has come on the control connection; begins the streams once there is something to go on from.
fn control(session: &Rc<Session>, channel: &RefCell<StandbyChannel>) -> Result<(), FollowError> {
    let begun = session.standby.with(|end| end.control(&mut channel.borrow_mut()));
    for stream in begun.transpose()?.into_iter().flatten() {
        session.open.set(session.open.get() + 1);
        Sim::spawn(connection(Rc::clone(session), stream, false));
    }
    Ok(())
}

/// Takes what has come of a stream, one frame after the other; each waits for the disk.
async fn stream(channel: &RefCell<StandbyChannel>, watch: &Watch) -> Result<(), FollowError> {
    while !watch.over.get() {
        Sim::sleep(disk_latency()).await;
        if !channel.borrow_mut().turn()? {
            break;
        }
        watch.wake.wake();
    }
    Ok(())
}

/// Sends what there is to say, until the connection is over.
async fn answer(
    session: Rc<Session>,
    channel: Rc<RefCell<StandbyChannel>>,
    watch: Rc<Watch>,
    mut writer: Writer,
    mut woken: Notified,
) {
    loop {
        let over = watch.over.get();
        let out = channel.borrow_mut().take_out();
        if !out.is_empty() && Sim::send_all(&mut writer, out).await.0.is_err() {
            break;
        }
        if over {
            break;
        }
        woken.wait().await;
    }
    watch.end();
    session.open.set(session.open.get() - 1);
}
