//! The schema's versions. A database remembers the number of the last file applied to it.

use std::path::Path;

use super::{Connection, Stored as _};
use crate::domain::agent::{Agent, SYSTEM, USER};
use crate::domain::text::hex::hex;
use crate::domain::time::Timestamp;
use crate::store::StoreError;

/// Every migration, in order. A released file is never changed; a later one adds.
const MIGRATIONS: [&str; 20] = [
    include_str!("migrations/0001_initial.sql"),
    include_str!("migrations/0002_messages_are_events.sql"),
    include_str!("migrations/0003_questions.sql"),
    include_str!("migrations/0004_agent_targets.sql"),
    include_str!("migrations/0005_answers.sql"),
    include_str!("migrations/0006_joined_after.sql"),
    include_str!("migrations/0007_searches.sql"),
    include_str!("migrations/0008_tokens.sql"),
    include_str!("migrations/0009_pairs.sql"),
    include_str!("migrations/0010_condition.sql"),
    include_str!("migrations/0011_channels.sql"),
    include_str!("migrations/0012_tasks.sql"),
    include_str!("migrations/0013_truth.sql"),
    include_str!("migrations/0014_claims_of_tasks.sql"),
    include_str!("migrations/0015_integrations.sql"),
    include_str!("migrations/0016_attention.sql"),
    include_str!("migrations/0017_outbox.sql"),
    include_str!("migrations/0018_descents.sql"),
    include_str!("migrations/0019_orchestrator_sessions.sql"),
    include_str!("migrations/0020_deliveries.sql"),
];

/// With more bytes than this, whoever starts the relay is told what it is doing.
const TAKES_A_WHILE: i64 = 64 << 20;

/// How many there are.
pub(super) fn count() -> usize {
    MIGRATIONS.len()
}

/// Applies what is missing, each file in its own transaction.
pub(in crate::store) fn apply(connection: &Connection) -> Result<(), StoreError> {
    let version = connection.schema_version()?;
    if version > MIGRATIONS.len() {
        return Err(StoreError::Unusable(format!(
            "the database has schema version {version} and this program knows {}: start the newer program that wrote it",
            MIGRATIONS.len()
        )));
    }
    let bytes = connection.size_bytes()?;
    if version < MIGRATIONS.len() && bytes > TAKES_A_WHILE {
        let mebibytes = bytes >> 20;
        tracing::warn!(mebibytes, "bringing the schema up to date, which may take minutes with so large a database");
    }
    for (index, migration) in MIGRATIONS.iter().enumerate().skip(version) {
        let number = index + 1;
        connection.migrate(number, migration)?;
        tracing::info!(store.version = number, "schema brought up to date");
    }
    Ok(())
}

/// Has a database of an earlier version give space back, or says how it can be had to.
pub(in crate::store) fn make_room_returnable(connection: &Connection, path: &Path) {
    let path = path.display();
    match connection.can_give_back() {
        Ok(true) => {}
        Ok(false) => tracing::warn!(
            "{path} keeps its size whatever is deleted: an earlier version made it. To have it give space back, stop \
             the relay and run once, with as much free disk as it is large: sqlite3 {path} 'PRAGMA auto_vacuum = \
             INCREMENTAL; VACUUM;'"
        ),
        Err(error) => tracing::warn!(%error, "{path} could not be written anew, and keeps its size"),
    }
}

/// What every database holds from its first start: the epoch, which is answered, and two agents.
pub(in crate::store) fn seed(connection: &Connection, now: Timestamp) -> Result<String, StoreError> {
    connection.execute(
        "INSERT INTO meta (key, value) VALUES ('epoch', $1) ON CONFLICT (key) DO NOTHING",
        &[&random_epoch()?],
    )?;
    // The human and the relay itself are always there.
    for id in [USER, SYSTEM] {
        let agent = Agent { ready: true, ready_otherwise: true, epoch: 1, ..Agent::new(id.into(), now) };
        let insert = format!("{} ON CONFLICT (id) DO NOTHING", Agent::insert());
        connection.execute_with(&insert, &agent)?;
    }
    let mut epoch = None;
    connection.each_value("SELECT value FROM meta WHERE key = 'epoch'", &[], |value: String| epoch = Some(value))?;
    epoch.ok_or_else(|| StoreError::Unusable("the database has no epoch".to_owned()))
}

/// Begins a new epoch: positions in the stream from before mean nothing any more.
pub(in crate::store) fn begin_epoch(connection: &Connection) -> Result<String, StoreError> {
    let epoch = random_epoch()?;
    connection.execute("UPDATE meta SET value = $1 WHERE key = 'epoch'", &[&epoch])?;
    Ok(epoch)
}

fn random_epoch() -> Result<String, StoreError> {
    let mut bytes = [0_u8; 4];
    getrandom::fill(&mut bytes).map_err(|error| StoreError::Unusable(format!("no randomness: {error}")))?;
    Ok(hex(&bytes))
}
