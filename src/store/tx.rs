//! Transactions, as the verbs see them: a [`Snapshot`] reads, and a [`Tx`] writes as well.

use std::ops::{ControlFlow, Deref};
use std::sync::Arc;

use serde::Serialize;

pub(super) use self::numbers::{Counts, Numbers};
use self::remembered::Remembered;
mod numbers;
mod remembered;
pub(super) mod search;

use super::engine::{Connection, FromSql, Read, Stored, ToSql, stored};
use super::{Batch, Created, Idempotency, Json, Store, StoreError, events};
use crate::domain::agent::Agent;
use crate::domain::event::{Audience, Event, EventName};
use crate::domain::id::{AgentId, CommandId, EventSeq, TokenId};
use crate::domain::message::Message;
use crate::domain::refusal::Refusal;
use crate::domain::time::{Moment, Timestamp};

/// What the database held at one moment.
pub(super) struct Snapshot<'a> {
    connection: &'a Connection,
}

impl<'a> Snapshot<'a> {
    /// Of a connection with a transaction open.
    pub(super) fn new(connection: &'a Connection) -> Self {
        Self { connection }
    }

    /// The row that this end of a `SELECT` leaves, if there is one.
    pub(super) fn row<T: Read>(&self, tail: &str, values: &[&dyn ToSql]) -> Result<Option<T>, StoreError> {
        let mut found = None;
        self.each(tail, values, |row| {
            found = Some(row);
            ControlFlow::Break(())
        })?;
        Ok(found)
    }

    /// The rows that this end of a `SELECT` leaves.
    pub(super) fn rows<T: Read>(&self, tail: &str, values: &[&dyn ToSql]) -> Result<Vec<T>, StoreError> {
        let mut rows = Vec::new();
        self.each(tail, values, |row| {
            rows.push(row);
            ControlFlow::Continue(())
        })?;
        Ok(rows)
    }

    /// Hands on each row that this end of a `SELECT` leaves, until it was enough.
    pub(super) fn each<T: Read>(
        &self,
        tail: &str,
        values: &[&dyn ToSql],
        take: impl FnMut(T) -> ControlFlow<()>,
    ) -> Result<(), StoreError> {
        let select = T::select();
        let mut sql = String::with_capacity(select.len() + tail.len() + 1);
        sql.extend([select, " ", tail]);
        self.each_of(&sql, values, take)
    }

    /// The rows of a whole statement whose columns are those of `T`.
    pub(super) fn rows_of<T: Read>(&self, sql: &str, values: &[&dyn ToSql]) -> Result<Vec<T>, StoreError> {
        let mut rows = Vec::new();
        self.each_of(sql, values, |row| {
            rows.push(row);
            ControlFlow::Continue(())
        })?;
        Ok(rows)
    }

    /// Hands on each row of a whole statement, until it was enough.
    pub(super) fn each_of<T: Read>(
        &self,
        sql: &str,
        values: &[&dyn ToSql],
        take: impl FnMut(T) -> ControlFlow<()>,
    ) -> Result<(), StoreError> {
        self.connection.each(sql, values, take)
    }

    /// The one value of a statement's first row, if there is a row.
    pub(super) fn value<T: FromSql>(&self, sql: &str, values: &[&dyn ToSql]) -> Result<Option<T>, StoreError> {
        Ok(self.values(sql, values)?.pop())
    }

    /// The one value of each row of a statement.
    pub(super) fn values<T: FromSql>(&self, sql: &str, values: &[&dyn ToSql]) -> Result<Vec<T>, StoreError> {
        let mut found = Vec::new();
        self.connection.each_value(sql, values, |value| found.push(value))?;
        Ok(found)
    }

    /// A count.
    pub(super) fn count(&self, sql: &str, values: &[&dyn ToSql]) -> Result<i64, StoreError> {
        Ok(self.value(sql, values)?.unwrap_or(0))
    }

    /// The size of the database, in bytes.
    pub(super) fn size_bytes(&self) -> Result<i64, StoreError> {
        Ok(self.connection.size_bytes()?)
    }
}

/// One transaction that may write.
pub(super) struct Tx<'a> {
    snapshot: Snapshot<'a>,
    /// The time of this transaction.
    pub(super) now: Timestamp,
    /// What is older than its age by this time is old, whatever the wall clock was set to.
    pub(super) proven: Timestamp,
    numbers: &'a mut Numbers,
    epoch: &'a str,
    batch: &'a mut Batch,
}

impl<'a> Deref for Tx<'a> {
    type Target = Snapshot<'a>;

    fn deref(&self) -> &Snapshot<'a> {
        &self.snapshot
    }
}

impl<'a> Tx<'a> {
    pub(super) fn new(
        connection: &'a Connection,
        numbers: &'a mut Numbers,
        epoch: &'a str,
        batch: &'a mut Batch,
        moment: Moment,
    ) -> Self {
        let Moment { now, proven, .. } = moment;
        Self { snapshot: Snapshot::new(connection), now, proven, numbers, epoch, batch }
    }

    /// Runs a statement and answers how many rows it changed.
    pub(super) fn execute(&self, sql: &str, values: &[&dyn ToSql]) -> Result<usize, StoreError> {
        Ok(self.connection.execute(sql, values)?)
    }

    /// Writes a new row.
    pub(super) fn insert<T: Stored>(&self, row: &T) -> Result<(), StoreError> {
        Ok(self.connection.execute_with(T::insert(), row)?)
    }

    /// Writes a row, in place of the one with its key.
    pub(super) fn upsert<T: Stored>(&self, row: &T) -> Result<(), StoreError> {
        Ok(self.connection.execute_with(T::upsert(), row)?)
    }

    /// Writes a new row and answers the number it was given; what it has for one is not looked at.
    pub(super) fn insert_numbered<T: Stored>(&self, row: &T) -> Result<i64, StoreError> {
        Ok(self.connection.insert_numbered(row)?)
    }

    /// The number of the newest event.
    pub(super) fn last_seq(&self) -> EventSeq {
        self.numbers.last
    }

    /// How many pages the database has, and how many of them are free.
    pub(super) fn pages(&self) -> Result<(i64, i64), StoreError> {
        Ok(self.connection.pages()?)
    }

    /// Gives so many free pages back with this transaction, at most. Answers how many: none where the database
    /// cannot.
    pub(super) fn give_back(&self, pages: usize) -> Result<usize, StoreError> {
        let (before, _) = self.connection.pages()?;
        self.connection.give_back(pages)?;
        Ok(usize::try_from(before - self.connection.pages()?.0).unwrap_or(0))
    }

    /// The number of the next event.
    pub(super) fn next_seq(&mut self) -> EventSeq {
        self.numbers.last = self.numbers.last.next();
        self.numbers.last
    }

    /// The counts, to be changed together with the rows.
    pub(super) fn counts(&mut self) -> &mut Counts {
        &mut self.numbers.counts
    }

    /// What the writer remembers of the rows, to be changed together with them.
    pub(super) fn remembered(&mut self) -> &mut Remembered {
        &mut self.numbers.remembered
    }

    /// Writes the counts down with this transaction. Whoever deletes rows does: those are not found by counting
    /// what is new.
    pub(super) fn keep_counts(&mut self) -> Result<(), StoreError> {
        Ok(self.numbers.keep(self.connection)?)
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
        let Audience { to, also, from, host } = &audience;
        match host {
            None => self.execute(
                "INSERT INTO events (seq, at, name, target, also, sender, data) VALUES ($1, $2, $3, $4, $5, $6, $7)",
                &[&seq, &self.now, &name, to, also, from, &data],
            )?,
            Some(host) => self.execute(
                "INSERT INTO events (seq, at, name, target, also, sender, host, data)
                 VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
                &[&seq, &self.now, &name, to, also, from, host, &data],
            )?,
        };
        self.numbers.counts.events += 1;
        self.batch.events.push(Arc::new(Event::new(self.epoch, seq, self.now, name, audience, &data)));
        Ok(())
    }

    /// Has a stored message handed on after the commit. Its row is its event: there is nothing to write.
    pub(super) fn announce(&mut self, message: &Message, json: &Json<Message>) {
        self.batch.events.push(Arc::new(events::of_message(self.epoch, message, json)));
    }

    /// Has this number heard back after the commit.
    pub(super) fn echo(&mut self, number: u64) {
        self.batch.echoes.push(number);
    }

    /// Has the streams of this agent follow its new routes.
    pub(super) fn routes_changed(&mut self, agent: &Agent) {
        self.batch.routes.push((agent.id.clone(), Some(agent.routes())));
    }

    /// Has the streams of an agent that is gone fall back to its bare id.
    pub(super) fn routes_removed(&mut self, agent: AgentId) {
        self.batch.routes.push((agent, None));
    }

    /// Has it forgotten which names of agents look alike.
    pub(super) fn names_changed(&mut self) {
        self.batch.names_changed = true;
    }

    /// Has what is remembered of tokens forgotten, before anybody is answered.
    pub(super) fn tokens_changed(&mut self) {
        self.batch.tokens_changed = true;
    }

    /// The same, and has whoever listens with this token told.
    pub(super) fn token_ended(&mut self, id: TokenId) {
        self.batch.tokens_changed = true;
        self.batch.tokens_ended.push(id);
    }

    /// Has whoever sees to the session of this agent look again after the commit.
    pub(super) fn wake(&mut self, agent: AgentId) {
        self.batch.woken.push(agent);
    }

    /// Has whoever sends what is to be sent look again after the commit.
    pub(super) fn outgoing_changed(&mut self) {
        self.batch.outgoing_changed = true;
    }

    /// Does the work once for each key: a repeat gets the first answer. A refusal is not recorded,
    /// because its transaction is undone.
    pub(super) fn once<T>(
        &mut self,
        idempotency: Option<&Idempotency>,
        work: impl FnOnce(&mut Self) -> Result<Created<T>, StoreError>,
    ) -> Result<Created<T>, StoreError> {
        let Some(idempotency) = idempotency else { return work(self) };
        if let Some(answer) = earlier_answer(self, idempotency)? {
            return Ok(answer);
        }
        let answer = work(self)?;
        self.bind(idempotency, Some(answer.json.as_str()), None)?;
        Ok(answer)
    }

    /// Binds a key to an answer, or to the command that keeps one.
    pub(super) fn bind(
        &self,
        key: &Idempotency,
        answer: Option<&str>,
        command: Option<CommandId>,
    ) -> Result<(), StoreError> {
        self.execute(
            "INSERT INTO idempotency (scope, key, fingerprint, answer, command_id, created_at)
             VALUES ($1, $2, $3, $4, $5, $6)
             ON CONFLICT (scope, key) DO UPDATE SET answer = excluded.answer, command_id = excluded.command_id,
                 created_at = excluded.created_at",
            &[&key.scope, &key.key, &key.fingerprint, &answer, &command, &self.now],
        )?;
        Ok(())
    }
}

impl Store {
    /// Whether a request is the first under its key, for an answer that is not kept.
    pub async fn is_first(&self, key: Idempotency) -> Result<bool, StoreError> {
        self.write(move |tx| {
            let none = || Created::<()>::new(Json::from_text("null".to_owned()));
            Ok(!tx.once(Some(&key), |_| Ok(none()))?.replayed)
        })
        .await
    }
}

/// A first answer as it is kept: here, or with its command.
struct Kept {
    fingerprint: [u8; 32],
    answer: Option<String>,
    command_id: Option<CommandId>,
}

stored! { read Kept in idempotency { fingerprint, answer, command_id } }

/// The first answer given under this key, if there was one. Refuses the key for another request. A key whose
/// command has no answer is free: nothing came of the request.
pub(super) fn earlier_answer<T>(
    snapshot: &Snapshot<'_>,
    idempotency: &Idempotency,
) -> Result<Option<Created<T>>, StoreError> {
    let kept: Option<Kept> = snapshot.row("WHERE scope = $1 AND key = $2", &[&idempotency.scope, &idempotency.key])?;
    let Some(kept) = kept else { return Ok(None) };
    if kept.fingerprint != idempotency.fingerprint {
        return Err(Refusal::KeyReused(idempotency.key.clone()).into());
    }
    let answer = match (kept.answer, kept.command_id) {
        (None, Some(command)) => {
            snapshot.value::<Option<String>>("SELECT answer FROM commands WHERE id = $1", &[&command])?.flatten()
        }
        (answer, _) => answer,
    };
    Ok(answer.map(|text| Created { json: Json::from_text(text), replayed: true, created: false }))
}

/// The JSON of a value of ours: structs with string keys, which cannot fail.
pub(super) fn json(value: &impl Serialize) -> String {
    serde_json::to_string(value).expect("a domain value is JSON")
}
