//! One transaction, as the verbs see it.

use std::sync::Arc;

use rusqlite::{CachedStatement, Connection, OptionalExtension, params};
use serde::Serialize;

use super::super::{Answer, Batch, Idempotency, StoreError, now_ms};
use crate::domain::agent::Agent;
use crate::domain::event::{Audience, Event, EventName};
use crate::domain::refusal::Refusal;

/// The next numbers of what is counted. Only the writer counts, so they live here, and a number that
/// was ever given is never given again.
pub(super) struct Numbers {
    event: i64,
    message: i64,
}

impl Numbers {
    pub(super) fn load(connection: &Connection) -> Result<Self, StoreError> {
        let last = |sql: &str| connection.query_row(sql, [], |row| row.get::<_, i64>(0));
        Ok(Self {
            // Retention always keeps the newest event, so its number is never forgotten.
            event: last("SELECT coalesce(max(seq), 0) FROM events")?,
            message: last(
                "SELECT max((SELECT coalesce(max(id), 0) FROM messages),
                            coalesce((SELECT CAST(value AS INTEGER) FROM meta WHERE key = 'last_message'), 0))",
            )?,
        })
    }
}

pub(super) struct Tx<'a> {
    pub(super) connection: &'a Connection,
    /// The time of this transaction, in milliseconds since the epoch.
    pub(super) now: i64,
    numbers: &'a mut Numbers,
    epoch: &'a str,
    batch: &'a mut Batch,
}

impl<'a> Tx<'a> {
    pub(super) fn new(
        connection: &'a Connection,
        numbers: &'a mut Numbers,
        epoch: &'a str,
        batch: &'a mut Batch,
    ) -> Self {
        Self { connection, now: now_ms(), numbers, epoch, batch }
    }

    pub(super) fn sql(&self, sql: &str) -> Result<CachedStatement<'a>, StoreError> {
        Ok(self.connection.prepare_cached(sql)?)
    }

    pub(super) fn next_message_id(&mut self) -> i64 {
        self.numbers.message += 1;
        self.numbers.message
    }

    /// Remembers the newest message id before messages are deleted, so that it is not given again.
    pub(super) fn remember_last_message(&self) -> Result<(), StoreError> {
        self.sql(
            "INSERT INTO meta (key, value) VALUES ('last_message', ?1)
             ON CONFLICT (key) DO UPDATE SET value = excluded.value",
        )?
        .execute([self.numbers.message.to_string()])?;
        Ok(())
    }

    /// Writes an event and has it handed on after the commit.
    pub(super) fn emit(
        &mut self,
        name: EventName,
        audience: Audience,
        data: &impl Serialize,
    ) -> Result<(), StoreError> {
        self.emit_json(name, audience, None, &json(data))
    }

    /// As [`Self::emit`], for data that is JSON already, and that may be delivered only for a time.
    pub(super) fn emit_json(
        &mut self,
        name: EventName,
        audience: Audience,
        expires_at: Option<i64>,
        data: &str,
    ) -> Result<(), StoreError> {
        self.numbers.event += 1;
        let seq = self.numbers.event;
        self.sql(
            "INSERT INTO events (seq, at, name, target, also, sender, expires, data)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
        )?
        .execute(params![
            seq,
            self.now,
            name.as_str(),
            audience.to.as_deref(),
            audience.also.as_deref(),
            audience.from.as_deref(),
            expires_at,
            data
        ])?;
        let mut event = Event::new(self.epoch, seq, self.now, name, audience, data);
        event.expires_at = expires_at;
        self.batch.events.push(Arc::new(event));
        Ok(())
    }

    /// Has the streams of this agent follow its new routes.
    pub(super) fn routes_changed(&mut self, agent: &Agent) {
        self.batch.routes.push((agent.id.clone(), Some(agent.routes())));
    }

    /// Has the streams of an agent that is gone fall back to its bare id.
    pub(super) fn routes_removed(&mut self, agent: &str) {
        self.batch.routes.push((agent.to_owned(), None));
    }

    /// Does the work once for each key: a repeat gets the first answer. A refusal is not recorded,
    /// because its transaction is undone.
    pub(super) fn once(
        &mut self,
        idempotency: Option<&Idempotency>,
        work: impl FnOnce(&mut Self) -> Result<Answer, StoreError>,
    ) -> Result<Answer, StoreError> {
        let Some(idempotency) = idempotency else { return work(self) };
        let earlier: Option<(Vec<u8>, String)> = self
            .sql("SELECT fingerprint, answer FROM idempotency WHERE scope = ?1 AND key = ?2")?
            .query_row([&idempotency.scope, &idempotency.key], |row| Ok((row.get(0)?, row.get(1)?)))
            .optional()?;
        if let Some((fingerprint, json)) = earlier {
            if fingerprint != idempotency.fingerprint {
                return Err(Refusal::KeyReused(idempotency.key.clone()).into());
            }
            return Ok(Answer { json, replayed: true, created: false });
        }
        let answer = work(self)?;
        self.sql("INSERT INTO idempotency (scope, key, fingerprint, answer, created_at) VALUES (?1, ?2, ?3, ?4, ?5)")?
            .execute(params![
                idempotency.scope,
                idempotency.key,
                &idempotency.fingerprint[..],
                answer.json,
                self.now
            ])?;
        Ok(answer)
    }
}

/// The JSON of a value of ours: structs with string keys, which cannot fail.
pub(super) fn json(value: &impl Serialize) -> String {
    serde_json::to_string(value).expect("a domain value is JSON")
}

/// A JSON column, which only this program writes.
pub(super) fn from_json<T: serde::de::DeserializeOwned>(text: &str) -> Result<T, rusqlite::Error> {
    serde_json::from_str(text)
        .map_err(|error| rusqlite::Error::FromSqlConversionFailure(0, rusqlite::types::Type::Text, Box::new(error)))
}

/// [`json`] of an object, for `Option::map`.
pub(super) fn json_of_map(map: &serde_json::Map<String, serde_json::Value>) -> String {
    json(map)
}
