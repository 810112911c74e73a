//! The schema's versions. A database remembers the number of the last file applied to it.

use rusqlite::Connection;

use super::super::{StoreError, now_ms};
use crate::domain::agent::{SYSTEM, USER};

/// Every migration, in order. A released file is never changed; a later one adds.
const MIGRATIONS: [&str; 4] = [
    include_str!("../0001_initial.sql"),
    include_str!("../0002_messages_are_events.sql"),
    include_str!("../0003_questions.sql"),
    include_str!("../0004_answers.sql"),
];

/// Applies what is missing, each file in its own transaction.
pub(super) fn apply(connection: &Connection) -> Result<(), StoreError> {
    let version: u32 = connection.query_row("PRAGMA user_version", [], |row| row.get(0))?;
    let version = usize::try_from(version).unwrap_or(usize::MAX);
    if version > MIGRATIONS.len() {
        return Err(StoreError::Unusable(format!(
            "the database has schema version {version} and this program knows {}: start the newer program that wrote it",
            MIGRATIONS.len()
        )));
    }
    for (index, migration) in MIGRATIONS.iter().enumerate().skip(version) {
        let number = index + 1;
        connection.execute_batch(&format!("BEGIN IMMEDIATE; {migration} PRAGMA user_version = {number}; COMMIT;"))?;
        tracing::info!(store.version = number, "schema brought up to date");
    }
    Ok(())
}

/// What every database holds from its first start: the epoch, which is answered, and two agents.
pub(super) fn seed(connection: &Connection) -> Result<String, StoreError> {
    let mut bytes = [0_u8; 4];
    getrandom::fill(&mut bytes).map_err(|error| StoreError::Unusable(format!("no randomness: {error}")))?;
    let fresh = bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    connection.execute("INSERT OR IGNORE INTO meta (key, value) VALUES ('epoch', ?1)", [fresh])?;
    // The human and the relay itself are always there.
    for id in [USER, SYSTEM] {
        connection.execute(
            "INSERT OR IGNORE INTO agents
                 (id, name, tags, capabilities, status, ready, epoch, meta, last_seen, created_at)
             VALUES (?1, ?1, '[]', '[]', 'online', 1, 1, '{}', ?2, ?2)",
            rusqlite::params![id, now_ms()],
        )?;
    }
    Ok(connection.query_row("SELECT value FROM meta WHERE key = 'epoch'", [], |row| row.get(0))?)
}
