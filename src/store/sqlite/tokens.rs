//! Tokens: what each credential may do. Only hashes are stored.

use rusqlite::{OptionalExtension, params};

use super::super::{StoreError, now_ms};
use super::Store;
use super::tx::Tx;
use crate::domain::caller::{Caller, Scope};

/// A token to be stored.
#[derive(Clone, Debug)]
pub struct NewToken {
    /// What is recorded for its holder.
    pub name: String,
    /// SHA-256 of the token.
    pub hash: [u8; 32],
    /// What it may do.
    pub scopes: Vec<Scope>,
    /// The agent it is bound to.
    pub agent_id: Option<String>,
    /// When it stops working, in milliseconds since the epoch.
    pub expires_at: Option<i64>,
}

impl Store {
    /// Whoever holds the token with this hash. The look-up is by hash, so its timing tells nothing
    /// about the token.
    pub async fn token_holder(&self, hash: [u8; 32], loopback: bool) -> Result<Option<Caller>, StoreError> {
        self.read(move |connection| {
            let holder = connection
                .prepare_cached(
                    "SELECT name, scopes, agent_id FROM tokens
                     WHERE hash = ?1 AND (expires_at IS NULL OR expires_at > ?2)",
                )?
                .query_row(params![&hash[..], now_ms()], |row| {
                    let scopes: String = row.get(1)?;
                    Ok(Caller {
                        name: row.get(0)?,
                        agent_id: row.get(2)?,
                        scopes: scopes.split(' ').filter_map(Scope::parse).collect(),
                        loopback,
                    })
                })
                .optional()?;
            Ok(holder)
        })
        .await
    }
}

/// Stores the token of an agent in place of its earlier ones.
pub(super) fn replace(tx: &Tx<'_>, token: &NewToken) -> Result<(), StoreError> {
    if let Some(agent) = &token.agent_id {
        tx.sql("DELETE FROM tokens WHERE agent_id = ?1")?.execute([agent])?;
    }
    let scopes: Vec<&str> = token.scopes.iter().map(|scope| scope.as_str()).collect();
    tx.sql(
        "INSERT INTO tokens (name, hash, scopes, agent_id, expires_at, created_at) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
    )?
    .execute(params![token.name, &token.hash[..], scopes.join(" "), token.agent_id, token.expires_at, tx.now])?;
    Ok(())
}
