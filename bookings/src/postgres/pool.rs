//! Connections to one server that are kept, and who waits for one.

use super::connection::{Connection, PostgresError};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio_postgres::Config;

/// Connections, up to a number.
pub(super) struct Pool {
    config: Config,
    patience: Duration,
    most: usize,
    state: Mutex<State>,
    /// One is free, or none is to be waited for.
    changed: Condvar,
}

#[derive(Default)]
struct State {
    idle: Vec<Connection>,
    open: usize,
    is_shut: bool,
}

impl Pool {
    pub(super) fn new(config: Config, patience: Duration, most: usize) -> Self {
        Self { config, patience, most: most.max(1), state: Mutex::default(), changed: Condvar::new() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From now on nobody is given one, and whoever waits for one gives up. What is kept may hang, and goes.
    pub(super) fn shut(&self) {
        let mut state = self.state();
        state.is_shut = true;
        let old = std::mem::take(&mut state.idle);
        state.open -= old.len();
        drop(state);
        self.changed.notify_all();
    }

    pub(super) fn reopen(&self) {
        self.state().is_shut = false;
    }

    pub(super) fn ask<T>(
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
        let none_is_free =
            |state: &mut State| !state.is_shut && state.idle.is_empty() && state.open >= self.most;
        let waited = self.changed.wait_timeout_while(self.state(), self.patience, none_is_free);
        let (mut state, late) = waited.unwrap_or_else(PoisonError::into_inner);
        if state.is_shut {
            return Err(PostgresError::Away("it did not answer, and is not asked before it does".into()));
        }
        if late.timed_out() {
            return Err(PostgresError::Away(format!("all {} connections for reading are in use", self.most)));
        }
        if let Some(connection) = state.idle.pop() {
            return Ok((connection, true));
        }
        state.open += 1;
        drop(state);
        Connection::open(&self.config, self.patience).map(|connection| (connection, false)).inspect_err(
            |_| {
                self.state().open -= 1;
                self.changed.notify_one();
            },
        )
    }

    fn give(&self, connection: Connection, is_good: bool, are_all_old: bool) {
        let mut state = self.state();
        let mut old = Vec::new();
        if is_good {
            state.idle.push(connection);
        } else {
            old.push(connection);
        }
        if are_all_old {
            old.append(&mut state.idle);
        }
        state.open -= old.len();
        drop(state);
        self.changed.notify_all();
    }
}
