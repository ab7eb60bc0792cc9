//! One connection, for a thread that waits. No wait is longer than it may be: a server that hangs keeps nobody.

use std::collections::HashMap;
use std::fmt::Write;
use std::future::Future;
use std::time::Duration;
use tokio::runtime::{Builder, Runtime};
use tokio::time::timeout;
use tokio_postgres::config::{SslMode, TargetSessionAttrs};
use tokio_postgres::error::SqlState;
use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, Config, NoTls, Row, Statement};

/// What a statement is given.
pub(super) type Parameters<'a> = &'a [&'a (dyn ToSql + Sync)];

/// Why PostgreSQL did not do it.
#[derive(Debug, thiserror::Error)]
pub enum PostgresError {
    /// It cannot be reached, or will not do it now: to be tried again.
    #[error("PostgreSQL: {0}")]
    Away(String),
    /// It is there, and does not let this one in: to be tried again, but somebody has to mend it.
    #[error("PostgreSQL: {0}")]
    Refused(String),
    /// There is no such table: none, if nobody has made them yet.
    #[error("PostgreSQL: {0}")]
    NoTable(String),
    /// A row of that name is there already.
    #[error("PostgreSQL: {0}")]
    Doubled(String),
    /// Trying again would not mend it.
    #[error("PostgreSQL: {0}")]
    Unfit(String),
}

impl From<tokio_postgres::Error> for PostgresError {
    fn from(error: tokio_postgres::Error) -> Self {
        let Some(db) = error.as_db_error() else {
            let cause =
                std::error::Error::source(&error).map(|cause| format!(": {cause}")).unwrap_or_default();
            let text = format!("{error}{cause}");
            // The password that it asks for is not in the URL, or it asks in a way that is not spoken here. The error's words are
            // all that tells it apart.
            let is_refused =
                ["invalid configuration", "authentication error"].iter().any(|it| text.starts_with(it));
            return if is_refused { Self::Refused(text) } else { Self::Away(text) };
        };
        let text = format!("{} ({})", db.message(), db.code().code());
        match db.code() {
            code if [SqlState::UNDEFINED_TABLE, SqlState::INVALID_SCHEMA_NAME].contains(code) => {
                Self::NoTable(text)
            }
            code if *code == SqlState::UNIQUE_VIOLATION => Self::Doubled(text),
            // Data that no table of ours can hold: it would be refused again.
            code if code.code().starts_with("22") || code.code().starts_with("23") => Self::Unfit(text),
            // Who it is, with which password; which database; what one may do there.
            code if code.code().starts_with("28")
                || [SqlState::INVALID_CATALOG_NAME, SqlState::INSUFFICIENT_PRIVILEGE].contains(code) =>
            {
                Self::Refused(format!(
                    "{text}; see service.postgres, and that its role may connect, and make or own the schema frontrow"
                ))
            }
            _ => Self::Away(text),
        }
    }
}

/// How long something may take that must be done whole, however much it is: a table's beginning, or its end.
const LONG: Duration = Duration::from_secs(3600);

/// What a connection is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum For {
    /// Reading from a server that may be a replica.
    Reading,
    /// Reading from the one that is written to.
    Asking,
    /// Writing.
    Writing,
}

/// Settings as one URL says them, with ours added.
pub(super) fn config(url: &str, what: For, patience: Duration) -> Result<Config, PostgresError> {
    let mut config: Config = url.parse().map_err(|error: tokio_postgres::Error| {
        let cause = std::error::Error::source(&error).map(|cause| format!(": {cause}")).unwrap_or_default();
        PostgresError::Unfit(format!(
            "the database's URL cannot be used: {error}{cause}; it is postgres://user@host:port/database"
        ))
    })?;
    if config.get_ssl_mode() == SslMode::Require {
        return Err(PostgresError::Unfit(
            "sslmode=require is asked for, and this program speaks no TLS: use a tunnel on this machine (stunnel, ssh), or a \
             private network and sslmode=prefer"
                .into(),
        ));
    }
    if config.get_application_name().is_none() {
        config.application_name("frontrow-bookings");
    }
    if config.get_connect_timeout().is_none() {
        config.connect_timeout(patience);
    }
    if what != For::Reading {
        config.target_session_attrs(TargetSessionAttrs::ReadWrite);
    }
    let mut options = config.get_options().unwrap_or_default().to_owned();
    // It gives up a little before we do, so that nothing goes on there for nobody.
    let _ = write!(
        options,
        " -c statement_timeout={} -c search_path=frontrow",
        patience.as_millis().max(100) * 9 / 10
    );
    if what == For::Writing {
        // A batch is joined with tables whose sizes the planner cannot know: always by the key, never through all of it.
        options.push_str(
            " -c enable_hashjoin=off -c enable_mergejoin=off -c plan_cache_mode=force_generic_plan",
        );
        // One that was halted in the middle, or whose machine is gone, keeps its rows from nobody for long.
        options.push_str(" -c idle_in_transaction_session_timeout=10000 -c tcp_keepalives_idle=10");
        options.push_str(" -c tcp_keepalives_interval=5 -c tcp_keepalives_count=3");
    }
    config.options(options.trim());
    Ok(config)
}

/// The connection. After an error it is of no use any more.
pub(super) struct Connection {
    /// Carries it while somebody waits.
    runtime: Option<Runtime>,
    client: Client,
    statements: HashMap<&'static str, Statement>,
    patience: Duration,
}

impl Connection {
    pub(super) fn open(config: &Config, patience: Duration) -> Result<Self, PostgresError> {
        let runtime = Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| PostgresError::Away(error.to_string()))?;
        let connected = runtime.block_on(async {
            let (client, connection) = within(patience, config.connect(NoTls)).await?;
            // Ends with the client; an error of it is told to whoever waits.
            drop(tokio::spawn(connection));
            Ok::<_, PostgresError>(client)
        });
        match connected {
            Ok(client) => Ok(Self { runtime: Some(runtime), client, statements: HashMap::new(), patience }),
            Err(error) => {
                // A name that is still being looked up is waited for by nobody.
                runtime.shutdown_background();
                Err(error)
            }
        }
    }

    fn runtime(&self) -> &Runtime {
        self.runtime.as_ref().expect("it is there until it is dropped")
    }

    /// Does something, for as long as it may take.
    pub(super) fn run<'a, T, F>(&'a self, act: impl FnOnce(&'a Client) -> F) -> Result<T, PostgresError>
    where
        F: Future<Output = Result<T, tokio_postgres::Error>>,
    {
        self.runtime().block_on(within(self.patience, act(&self.client)))
    }

    /// A statement, prepared once.
    pub(super) fn prepared(&mut self, sql: &'static str) -> Result<Statement, PostgresError> {
        if let Some(known) = self.statements.get(sql) {
            return Ok(known.clone());
        }
        let statement = self.run(|client| client.prepare(sql))?;
        self.statements.insert(sql, statement.clone());
        Ok(statement)
    }

    pub(super) fn query(
        &mut self,
        sql: &'static str,
        parameters: Parameters<'_>,
    ) -> Result<Vec<Row>, PostgresError> {
        let statement = self.prepared(sql)?;
        self.run(|client| async move { client.query(&statement, parameters).await })
    }

    /// How many rows it was about.
    pub(super) fn execute(
        &mut self,
        sql: &'static str,
        parameters: Parameters<'_>,
    ) -> Result<u64, PostgresError> {
        let statement = self.prepared(sql)?;
        self.run(|client| async move { client.execute(&statement, parameters).await })
    }

    /// Does something within a transaction that may take as long as it needs; it would be cut off each time, and never be done.
    pub(super) fn at_length<T>(
        &mut self,
        act: impl FnOnce(&mut Self) -> Result<T, PostgresError>,
    ) -> Result<T, PostgresError> {
        let usual = std::mem::replace(&mut self.patience, LONG);
        let done = self.batch("SET LOCAL statement_timeout = 0").and_then(|()| act(self));
        self.patience = usual;
        done
    }

    /// Whether the server has ended it.
    pub(super) fn is_closed(&self) -> bool {
        self.client.is_closed()
    }

    pub(super) fn batch(&self, sql: &str) -> Result<(), PostgresError> {
        self.run(|client| client.batch_execute(sql))
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        // Also where no thread may be waited for.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

async fn within<T>(
    patience: Duration,
    act: impl Future<Output = Result<T, tokio_postgres::Error>>,
) -> Result<T, PostgresError> {
    let late = |_| PostgresError::Away(format!("no answer for {} ms", patience.as_millis()));
    Ok(timeout(patience, act).await.map_err(late)??)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_done_is_said_with_its_remedy() {
        let refused = |url: &str| config(url, For::Writing, Duration::from_secs(1)).unwrap_err().to_string();
        assert!(refused("postgres://a@b/c?sslmode=require").contains("speaks no TLS"));
        assert!(refused("postgres://a@b/c?sslmode=verify-full").contains("sslmode"));
        assert!(refused("nonsense").contains("postgres://user@host"));
    }

    #[test]
    fn what_a_url_says_is_passed_on() {
        let url = "postgres://a@b,c/d?application_name=x&connect_timeout=7&options=-c%20work_mem%3D8MB&sslmode=disable";
        let config = config(url, For::Writing, Duration::from_secs(10)).unwrap();
        assert_eq!(config.get_hosts().len(), 2);
        assert_eq!((config.get_application_name(), config.get_ssl_mode()), (Some("x"), SslMode::Disable));
        assert_eq!(config.get_connect_timeout(), Some(&Duration::from_secs(7)));
        assert!(config.get_options().unwrap().starts_with("-c work_mem=8MB -c statement_timeout=9000 "));
    }
}
