//! Channels: what they are called, and counts that are kept with each write, so that nobody counts.

use std::collections::BTreeMap;

use crate::domain::message::{Channel, ChannelFilter, Direction};
use crate::domain::page::{Filling, Page};
use crate::domain::refusal::Refusal;
use crate::domain::time::Timestamp;
use crate::store::engine::stored;
use crate::store::tx::{Snapshot, Tx};
use crate::store::{Created, Idempotency, Json, Store, StoreError};

stored! { read Channel in channels { name, direction, messages, subscribers, last_message_at } }

impl Store {
    /// Declares a channel, or says which way one that is there carries messages.
    pub async fn declare_channel(
        &self,
        name: String,
        direction: Option<Direction>,
        idempotency: Option<Idempotency>,
    ) -> Result<Created<Channel>, StoreError> {
        self.write(move |tx| {
            tx.once(idempotency.as_ref(), |tx| {
                let before = load(tx, &name)?;
                match &before {
                    None => insert(tx, &name, direction.unwrap_or(Direction::Both), Declared::Yes)?,
                    Some(channel) => {
                        let direction = direction.unwrap_or(channel.direction);
                        let update = "UPDATE channels SET direction = $1, declared = 1 WHERE name = $2";
                        tx.execute(update, &[&direction, &name])?;
                    }
                }
                let channel = load(tx, &name)?.ok_or(Refusal::NotFound("channel"))?;
                Ok(Created { json: Json::of(&channel), replayed: false, created: before.is_none() })
            })
        })
        .await
    }

    /// Channels, by name.
    pub async fn channels(&self, filter: ChannelFilter) -> Result<Page<Channel, String>, StoreError> {
        self.read_page(move |snapshot| {
            let mut page = Filling::new(filter.limit);
            let after = filter.after.as_deref().unwrap_or("");
            snapshot.each("WHERE name > $1 ORDER BY name LIMIT $2", &[&after, &filter.limit], |channel: Channel| {
                page.take(channel)
            })?;
            Ok(page.finish(|last| last.name.clone()))
        })
        .await
    }
}

/// How a channel came about.
enum Declared {
    /// Somebody said that there is one.
    Yes,
    /// Somebody sent a message of it.
    BySending(Timestamp),
}

fn load(snapshot: &Snapshot<'_>, name: &str) -> Result<Option<Channel>, StoreError> {
    snapshot.row("WHERE name = $1", &[&name])
}

/// Writes a new channel. Those who are subscribed to it already are counted this once.
fn insert(tx: &Tx<'_>, name: &str, direction: Direction, how: Declared) -> Result<(), StoreError> {
    let target = Channel::target(name);
    let subscribers = tx.count("SELECT count(*) FROM agent_targets WHERE target = $1", &[&target])?;
    let (messages, last, declared) = match how {
        Declared::Yes => (0_i64, None, true),
        Declared::BySending(at) => (1, Some(at), false),
    };
    tx.execute(
        "INSERT INTO channels (name, direction, messages, subscribers, last_message_at, declared)
             VALUES ($1, $2, $3, $4, $5, $6)",
        &[&name, &direction, &messages, &subscribers, &last, &declared],
    )?;
    Ok(())
}

/// Counts a message that was stored; the first one makes its channel.
pub(super) fn count_sent(tx: &Tx<'_>, name: &str) -> Result<(), StoreError> {
    let update = "UPDATE channels SET messages = messages + 1, last_message_at = $1 WHERE name = $2";
    if tx.execute(update, &[&tx.now, &name])? == 0 {
        insert(tx, name, Direction::Both, Declared::BySending(tx.now))?;
    }
    Ok(())
}

/// Counts messages that were deleted, for each channel how many. One that nobody declared goes with its last message.
pub(in crate::store) fn count_deleted(tx: &Tx<'_>, deleted: &BTreeMap<String, i64>) -> Result<(), StoreError> {
    for (name, count) in deleted {
        tx.execute("UPDATE channels SET messages = messages - $1 WHERE name = $2", &[count, name])?;
        tx.execute("DELETE FROM channels WHERE name = $1 AND messages <= 0 AND declared = 0", &[name])?;
    }
    Ok(())
}

/// Counts an agent that subscribed, or does not any more, if the target is a channel.
pub(in crate::store) fn count_subscriber(tx: &Tx<'_>, target: &str, change: i64) -> Result<(), StoreError> {
    if let Some(name) = Channel::of_target(target) {
        tx.execute("UPDATE channels SET subscribers = subscribers + $1 WHERE name = $2", &[&change, &name])?;
    }
    Ok(())
}
