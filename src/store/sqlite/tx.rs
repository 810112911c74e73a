//! One transaction, as the verbs see it.

use std::sync::Arc;

use rusqlite::{CachedStatement, Connection, OptionalExtension, params};
use serde::Serialize;

use super::super::{Answer, Batch, Idempotency, StoreError, now_ms};
use super::events;
use crate::domain::agent::Agent;
use crate::domain::event::{Audience, Event, EventName};
use crate::domain::message::Message;
use crate::domain::refusal::Refusal;

/// The last number given to an event. Only the writer counts, so it lives here, and a number that was
/// ever given is never given again.
pub(super) struct Numbers {
    last: i64,
}

impl Numbers {
    pub(super) fn load(connection: &Connection) -> Result<Self, StoreError> {
        Ok(Self { last: events::range(connection)?.latest })
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

    /// The number of the next event.
    pub(super) fn next_seq(&mut self) -> i64 {
        self.numbers.last += 1;
        self.numbers.last
    }

    /// Writes an event and has it handed on after the commit.
    pub(super) fn emit(
        &mut self,
        name: EventName,
        audience: Audience,
        data: &impl Serialize,
    ) -> Result<(), StoreError> {
        let data = json(data);
        let seq = self.next_seq();
        self.sql("INSERT INTO events (seq, at, name, target, also, sender, data) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)")?
            .execute(params![
                seq,
                self.now,
                name.as_str(),
                audience.to.as_deref(),
                audience.also.as_deref(),
                audience.from.as_deref(),
                data
            ])?;
        self.batch.events.push(Arc::new(Event::new(self.epoch, seq, self.now, name, audience, &data)));
        Ok(())
    }

    /// Has a stored message handed on after the commit. Its row is its event: there is nothing to write.
    pub(super) fn announce(&mut self, message: &Message, json: &str) {
        self.batch.events.push(Arc::new(events::of_message(self.epoch, message, json)));
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
        if let Some(answer) = earlier_answer(self.connection, idempotency)? {
            return Ok(answer);
        }
        let answer = work(self)?;
        self.bind(idempotency, Some(&answer.json), None)?;
        Ok(answer)
    }

    /// Binds a key to an answer, or to the command that keeps one.
    pub(super) fn bind(
        &self,
        idempotency: &Idempotency,
        answer: Option<&str>,
        command: Option<i64>,
    ) -> Result<(), StoreError> {
        self.sql(
            "INSERT INTO idempotency (scope, key, fingerprint, answer, command_id, created_at)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6)
             ON CONFLICT (scope, key) DO UPDATE SET answer = excluded.answer, command_id = excluded.command_id,
                 created_at = excluded.created_at",
        )?
        .execute(params![
            idempotency.scope,
            idempotency.key,
            &idempotency.fingerprint[..],
            answer,
            command,
            self.now
        ])?;
        Ok(())
    }
}

/// The first answer given under this key, if there was one. Refuses the key for another request.
pub(super) fn earlier_answer(connection: &Connection, idempotency: &Idempotency) -> Result<Option<Answer>, StoreError> {
    let earlier: Option<(Vec<u8>, Option<String>)> = connection
        .prepare_cached(
            "SELECT i.fingerprint, coalesce(i.answer, c.answer)
             FROM idempotency i LEFT JOIN commands c ON c.id = i.command_id WHERE i.scope = ?1 AND i.key = ?2",
        )?
        .query_row([&idempotency.scope, &idempotency.key], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    match earlier {
        None => Ok(None),
        Some((fingerprint, _)) if fingerprint != idempotency.fingerprint => {
            Err(Refusal::KeyReused(idempotency.key.clone()).into())
        }
        // Without an answer nothing came of the request: the key is free.
        Some((_, json)) => Ok(json.map(|json| Answer { json, replayed: true, created: false })),
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
