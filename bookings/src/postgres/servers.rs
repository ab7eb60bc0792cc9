//! Which server is asked: replicas in turn; one that is away, too old, or has not yet what is asked for is passed over, at last
//! to the primary.

use super::Settings;
use super::connection::{Connection, For, PostgresError, config};
use std::collections::VecDeque;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicU64, AtomicUsize};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio_postgres::Config;

/// How long a server that was away is not asked, in ms.
const AWAY_MS: u64 = 2000;
/// How often a replica's age is looked at.
const LOOK_MS: u64 = 1000;

/// Time in ms, from whatever moment on.
pub(super) type Clock = Box<dyn Fn() -> u64 + Send + Sync>;

/// The primary and its replicas.
pub(super) struct Servers {
    primary: Server,
    replicas: Vec<Server>,
    turn: AtomicUsize,
    behind_ms: u64,
    clock: Clock,
    /// How far the primary's log was, and when; rising.
    written: Mutex<VecDeque<(u64, i64)>>,
}

/// One of them, with connections that are kept.
struct Server {
    config: Config,
    patience: Duration,
    most: usize,
    pool: Mutex<Pool>,
    free: Condvar,
    away_until: AtomicU64,
    looked: AtomicU64,
}

#[derive(Default)]
struct Pool {
    idle: Vec<Connection>,
    open: usize,
}

fn lock<T>(of: &Mutex<T>) -> MutexGuard<'_, T> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Servers {
    pub(super) fn new(settings: &Settings, clock: Clock) -> Result<Self, PostgresError> {
        let replicas = settings.replicas.iter().map(|url| Server::new(url, For::Reading, settings));
        Ok(Self {
            primary: Server::new(&settings.primary, For::Asking, settings)?,
            replicas: replicas.collect::<Result<_, _>>()?,
            turn: AtomicUsize::new(0),
            behind_ms: settings.behind.as_millis() as u64,
            clock,
            written: Mutex::default(),
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
            if now < replica.away_until.load(Relaxed) || !self.is_young(replica, now) {
                continue;
            }
            match replica.ask(&question) {
                Ok(Some(answer)) => return Ok(Some(answer)),
                Ok(None) => {}
                Err(error @ PostgresError::Unfit(_)) => return Err(error),
                Err(error) => replica.is_away(now, &error),
            }
        }
        self.primary.ask(&question)
    }

    /// Asks the primary.
    pub(super) fn ask_primary<T>(
        &self,
        question: impl Fn(&mut Connection) -> Result<T, PostgresError>,
    ) -> Result<T, PostgresError> {
        self.primary.ask(&question)
    }

    /// Whether a replica has what the primary had a while ago.
    fn is_young(&self, replica: &Server, now: u64) -> bool {
        let looked = replica.looked.load(Relaxed);
        let is_due = now >= looked + LOOK_MS || looked == 0;
        if !is_due || replica.looked.compare_exchange(looked, now.max(1), Relaxed, Relaxed).is_err() {
            return true;
        }
        let number = |connection: &mut Connection, sql| -> Result<Option<i64>, PostgresError> {
            Ok(connection.query(sql, &[])?.first().and_then(|row| row.get(0)))
        };
        if now >= self.primary.away_until.load(Relaxed) {
            let written = "SELECT CASE WHEN pg_is_in_recovery() THEN NULL \
                           ELSE pg_wal_lsn_diff(pg_current_wal_lsn(), '0/0')::bigint END";
            match self.primary.ask(&|connection: &mut Connection| number(connection, written)) {
                Ok(written) => lock(&self.written).extend(written.map(|written| (now, written))),
                Err(error) => self.primary.is_away(now, &error),
            }
        }
        let replayed = "SELECT pg_wal_lsn_diff(pg_last_wal_replay_lsn(), '0/0')::bigint";
        match replica.ask(&|connection: &mut Connection| number(connection, replayed)) {
            Ok(Some(replayed)) if replayed < self.wanted(now) => {
                let error = PostgresError::Away("it is too far behind".into());
                // Looked at again after a while.
                replica.is_away(now, &error);
                false
            }
            // One that was promoted says nothing.
            Ok(_) => true,
            Err(error) => {
                replica.is_away(now, &error);
                false
            }
        }
    }

    /// What a replica must have: what the primary had as long ago as a replica may be behind.
    fn wanted(&self, now: u64) -> i64 {
        let mut written = lock(&self.written);
        let is_old = |at: u64| at + self.behind_ms <= now;
        while written.get(1).is_some_and(|(at, _)| is_old(*at)) {
            written.pop_front();
        }
        written.front().filter(|(at, _)| is_old(*at)).map_or(0, |(_, position)| *position)
    }
}

impl Server {
    fn new(url: &str, what: For, settings: &Settings) -> Result<Self, PostgresError> {
        Ok(Self {
            config: config(url, what, settings.patience)?,
            patience: settings.patience,
            most: settings.connections.max(1),
            pool: Mutex::default(),
            free: Condvar::new(),
            away_until: AtomicU64::new(0),
            looked: AtomicU64::new(0),
        })
    }

    fn is_away(&self, now: u64, error: &PostgresError) {
        tracing::warn!(%error, hosts = ?self.config.get_hosts(), "a database is passed over");
        self.away_until.store(now + AWAY_MS, Relaxed);
    }

    fn ask<T>(
        &self,
        question: &impl Fn(&mut Connection) -> Result<T, PostgresError>,
    ) -> Result<T, PostgresError> {
        loop {
            let (mut connection, kept) = self.take()?;
            let answer = question(&mut connection);
            // One that was kept may have ended long ago, and with it all that were: then a new one is asked.
            let again = answer.is_err() && kept && connection.is_closed();
            self.give(connection, answer.is_ok(), again);
            if !again {
                return answer;
            }
        }
    }

    /// A connection, and whether it was kept from an earlier question.
    fn take(&self) -> Result<(Connection, bool), PostgresError> {
        let mut pool = lock(&self.pool);
        while pool.idle.is_empty() && pool.open >= self.most {
            let waited = self.free.wait_timeout(pool, self.patience).unwrap_or_else(PoisonError::into_inner);
            pool = waited.0;
            if waited.1.timed_out() && pool.idle.is_empty() && pool.open >= self.most {
                return Err(PostgresError::Away(format!(
                    "all {} connections for reading are in use",
                    self.most
                )));
            }
        }
        if let Some(connection) = pool.idle.pop() {
            return Ok((connection, true));
        }
        pool.open += 1;
        drop(pool);
        Connection::open(&self.config, self.patience).map(|connection| (connection, false)).inspect_err(
            |_| {
                lock(&self.pool).open -= 1;
                self.free.notify_one();
            },
        )
    }

    fn give(&self, connection: Connection, is_good: bool, are_all_old: bool) {
        let mut pool = lock(&self.pool);
        let mut old = Vec::new();
        if is_good {
            pool.idle.push(connection);
        } else {
            old.push(connection);
        }
        if are_all_old {
            old.append(&mut pool.idle);
        }
        pool.open -= old.len();
        drop(pool);
        self.free.notify_all();
    }
}
