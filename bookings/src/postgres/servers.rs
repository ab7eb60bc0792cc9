//! Which server is asked: replicas in turn; one that is away, too old, or has not yet what is asked for is passed over, at last
//! to the primary.
//!
//! Whether a replica answers and how old it is, is found out by looks in the background, and no question waits for one.

use super::Settings;
use super::connection::{Connection, For, PostgresError, config};
use super::pool::Pool;
use std::collections::VecDeque;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio_postgres::Config;
use tokio_postgres::config::Host;

/// How often a server is looked at, in ms: not while nobody asks.
const LOOK_MS: u64 = 1000;
/// How long it is believed what a look found, in ms.
const BELIEVED_MS: u64 = 3000;
/// How long a step of a look may take.
const LOOK_PATIENCE: Duration = Duration::from_millis(500);

/// How far a primary's log is written; nothing where that is none.
const WRITTEN: &str = "SELECT CASE WHEN pg_is_in_recovery() THEN NULL \
                       ELSE pg_wal_lsn_diff(pg_current_wal_lsn(), '0/0')::bigint END";
/// How far a replica has it; one that was promoted says nothing.
const REPLAYED: &str = "SELECT pg_wal_lsn_diff(pg_last_wal_replay_lsn(), '0/0')::bigint";

/// Time in ms, from whatever moment on.
pub(super) type Clock = Box<dyn Fn() -> u64 + Send + Sync>;

/// The primary and its replicas.
pub(super) struct Servers {
    primary: Arc<Server>,
    replicas: Vec<Arc<Server>>,
    turn: AtomicUsize,
    clock: Clock,
    written: Arc<Written>,
}

/// How far the primary's log was, and when; rising.
struct Written {
    behind_ms: u64,
    known: Mutex<VecDeque<(u64, i64)>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    Primary,
    Replica,
}

/// One of them.
struct Server {
    role: Role,
    /// For people.
    address: String,
    questions: Pool,
    /// The connection of looks.
    looks: Pool,
    standing: Mutex<Standing>,
}

/// What is known of one.
#[derive(Default)]
struct Standing {
    /// When the last look began.
    looked: Option<u64>,
    /// It is under way.
    is_looked_at: bool,
    /// When the look began that found it fit; nothing once it is away.
    fit: Option<u64>,
    /// It did not answer, or is too old.
    is_away: bool,
}

fn lock<T>(of: &Mutex<T>) -> MutexGuard<'_, T> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Servers {
    pub(super) fn new(settings: &Settings, clock: Clock) -> Result<Self, PostgresError> {
        let server = |url: &String, role| Server::new(url, role, settings).map(Arc::new);
        let replicas = settings.replicas.iter().map(|url| server(url, Role::Replica));
        let behind_ms = settings.behind.as_millis() as u64;
        Ok(Self {
            primary: server(&settings.primary, Role::Primary)?,
            replicas: replicas.collect::<Result<_, _>>()?,
            turn: AtomicUsize::new(0),
            clock,
            written: Arc::new(Written { behind_ms, known: Mutex::default() }),
        })
    }

    pub(super) fn now(&self) -> u64 {
        (self.clock)()
    }

    /// Asks until somebody has an answer. What one server does not know (`None`) the next one may; what the primary says is
    /// final.
    pub(super) fn ask<T>(
        &self,
        question: impl Fn(&mut Connection) -> Result<Option<T>, PostgresError>,
    ) -> Result<Option<T>, PostgresError> {
        let first = self.turn.fetch_add(1, Relaxed);
        for n in 0..self.replicas.len() {
            let replica = &self.replicas[(first + n) % self.replicas.len()];
            let now = self.now();
            self.look(&self.primary, now);
            self.look(replica, now);
            if !replica.is_fit(now) {
                continue;
            }
            match replica.questions.ask(&question) {
                Ok(Some(answer)) => return Ok(Some(answer)),
                // A table that was just made it may not have yet.
                Ok(None) | Err(PostgresError::NoTable(_)) => {}
                Err(error @ PostgresError::Unfit(_)) => return Err(error),
                Err(error) => replica.is_away(&error),
            }
        }
        self.primary.questions.ask(&question)
    }

    /// Asks the primary.
    pub(super) fn ask_primary<T>(
        &self,
        question: impl Fn(&mut Connection) -> Result<T, PostgresError>,
    ) -> Result<T, PostgresError> {
        self.primary.questions.ask(&question)
    }

    /// Sees in the background how a server is, once it is time to.
    fn look(&self, server: &Arc<Server>, now: u64) {
        if !server.begin_look(now) {
            return;
        }
        let (own, written) = (Arc::clone(server), Arc::clone(&self.written));
        let look = move || {
            let found = own.position().and_then(|position| written.judge(own.role, now, position));
            own.end_look(now, found);
        };
        if let Err(error) = std::thread::Builder::new().name("postgres-look".into()).spawn(look) {
            server.end_look(now, Err(PostgresError::Away(format!("no thread to look at it: {error}"))));
        }
    }
}

impl Written {
    /// What a server's position says of it.
    fn judge(&self, role: Role, now: u64, position: Option<i64>) -> Result<(), PostgresError> {
        match (role, position) {
            (Role::Primary, position) => {
                lock(&self.known).extend(position.map(|written| (now, written)));
                Ok(())
            }
            (Role::Replica, Some(replayed)) if replayed < self.wanted(now) => {
                Err(PostgresError::Away("it is too far behind".into()))
            }
            (Role::Replica, _) => Ok(()),
        }
    }

    /// What a replica must have: what the primary had as long ago as a replica may be behind.
    fn wanted(&self, now: u64) -> i64 {
        let mut known = lock(&self.known);
        let is_old = |at: u64| at + self.behind_ms <= now;
        while known.get(1).is_some_and(|(at, _)| is_old(*at)) {
            known.pop_front();
        }
        known.front().filter(|(at, _)| is_old(*at)).map_or(0, |(_, position)| *position)
    }
}

impl Server {
    fn new(url: &str, role: Role, settings: &Settings) -> Result<Self, PostgresError> {
        let what = if role == Role::Primary { For::Asking } else { For::Reading };
        let asked = config(url, what, settings.patience)?;
        Ok(Self {
            role,
            address: address(&asked),
            questions: Pool::new(asked, settings.patience, settings.connections),
            looks: Pool::new(config(url, what, LOOK_PATIENCE)?, LOOK_PATIENCE, 1),
            standing: Mutex::default(),
        })
    }

    /// Whether it may be asked. One that was not looked at lately may hang, or be of yesterday.
    fn is_fit(&self, now: u64) -> bool {
        lock(&self.standing).fit.is_some_and(|at| now < at + BELIEVED_MS)
    }

    /// Whether it is time for a look, which is then the caller's.
    fn begin_look(&self, now: u64) -> bool {
        let mut standing = lock(&self.standing);
        let is_due = !standing.is_looked_at && standing.looked.is_none_or(|at| now >= at + LOOK_MS);
        if is_due {
            (standing.looked, standing.is_looked_at) = (Some(now), true);
        }
        is_due
    }

    fn position(&self) -> Result<Option<i64>, PostgresError> {
        let sql = if self.role == Role::Primary { WRITTEN } else { REPLAYED };
        self.looks.ask(&|connection: &mut Connection| {
            Ok(connection.query(sql, &[])?.first().and_then(|row| row.get(0)))
        })
    }

    fn end_look(&self, began: u64, found: Result<(), PostgresError>) {
        match found {
            Ok(()) => self.is_back(began),
            Err(error) => self.is_away(&error),
        }
        lock(&self.standing).is_looked_at = false;
    }

    /// Nobody asks a replica from now on, nor waits for a connection to it, until a look finds it fit. The primary is asked all
    /// the same, for who else has an answer.
    fn is_away(&self, error: &PostgresError) {
        let mut standing = lock(&self.standing);
        standing.fit = None;
        let is_news = !std::mem::replace(&mut standing.is_away, true);
        if self.role == Role::Replica {
            self.questions.shut();
        }
        drop(standing);
        let address = &self.address;
        match self.role {
            _ if !is_news => {}
            Role::Primary => tracing::warn!(%error, address, "the primary of PostgreSQL does not answer"),
            Role::Replica => tracing::warn!(%error, address, "a replica of PostgreSQL is passed over"),
        }
    }

    fn is_back(&self, looked: u64) {
        let mut standing = lock(&self.standing);
        standing.fit = Some(looked);
        let is_news = std::mem::take(&mut standing.is_away);
        self.questions.reopen();
        drop(standing);
        let address = &self.address;
        match self.role {
            _ if !is_news => {}
            Role::Primary => tracing::info!(address, "the primary of PostgreSQL answers again"),
            Role::Replica => tracing::info!(address, "a replica of PostgreSQL is asked again"),
        }
    }
}

/// Where a server is, for people; several hosts if it is one of several.
fn address(config: &Config) -> String {
    let ports = config.get_ports();
    let one = |(n, host): (usize, &Host)| {
        let port = ports.get(n).or(ports.first()).copied().unwrap_or(5432);
        match host {
            Host::Tcp(name) => format!("{name}:{port}"),
            Host::Unix(folder) => format!("{}:{port}", folder.display()),
        }
    };
    config.get_hosts().iter().enumerate().map(one).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests;
