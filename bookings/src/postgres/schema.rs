//! The tables, and how they come to be as this program wants them.

use super::connection::{Connection, PostgresError};

/// Taken while the tables are made or changed: one consumer at a time. "frontrow" in ASCII.
const LOCK: i64 = 0x6672_6f6e_7472_6f77;

/// By version, from 1 on, what leads there from the one before. What has been released is never changed.
pub(super) const MIGRATIONS: &[&str] = &[
    include_str!("sql/1_tables.sql"),
    include_str!("sql/2_by_event.sql"),
    include_str!("sql/3_topics.sql"),
    include_str!("sql/4_topic_id.sql"),
];

/// Makes the tables, or brings them up to this program's version.
pub(super) fn migrate(connection: &mut Connection) -> Result<(), PostgresError> {
    if version(connection)? == Some(MIGRATIONS.len()) {
        return Ok(());
    }
    connection.batch("BEGIN")?;
    connection.at_length(bring_up)?;
    connection.batch("COMMIT")
}

fn bring_up(connection: &mut Connection) -> Result<(), PostgresError> {
    connection.query("SELECT pg_advisory_xact_lock($1)", &[&LOCK])?;
    // Only whoever may make it needs the right to.
    let is_there = "SELECT to_regnamespace('frontrow') IS NOT NULL";
    if !is_true(connection, is_there)? {
        connection.batch("CREATE SCHEMA frontrow")?;
    }
    connection.batch(
        "CREATE TABLE IF NOT EXISTS frontrow.migrations (version integer PRIMARY KEY, at timestamptz NOT NULL DEFAULT now())",
    )?;
    let found = version(connection)?.unwrap_or(0);
    if found > MIGRATIONS.len() {
        let own = MIGRATIONS.len();
        return Err(PostgresError::Unfit(format!(
            "the tables are of version {found}, and this program knows versions up to {own}: run the newer program that made \
             them so"
        )));
    }
    for (n, migration) in MIGRATIONS.iter().enumerate().skip(found) {
        let number = i32::try_from(n + 1).unwrap_or(i32::MAX);
        tracing::info!(version = number, "the tables of bookings are brought to a version");
        connection.batch(migration)?;
        connection.execute("INSERT INTO frontrow.migrations (version) VALUES ($1)", &[&number])?;
    }
    Ok(())
}

/// Of which version the tables are; none if there are none.
pub(super) fn version(connection: &mut Connection) -> Result<Option<usize>, PostgresError> {
    let is_there = "SELECT to_regclass('frontrow.migrations') IS NOT NULL";
    if !is_true(connection, is_there)? {
        return Ok(None);
    }
    let newest = "SELECT max(version) FROM frontrow.migrations";
    let newest: Option<i32> = connection.query(newest, &[])?.first().and_then(|row| row.get(0));
    Ok(newest.map(|version| usize::try_from(version).unwrap_or(0)))
}

fn is_true(connection: &mut Connection, sql: &'static str) -> Result<bool, PostgresError> {
    Ok(connection.query(sql, &[])?.first().is_some_and(|row| row.get(0)))
}
