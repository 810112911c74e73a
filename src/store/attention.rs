//! Attention: what waits for a person, kept with what it is about: an item comes and goes in the transaction that
//! changes its cause.
//!
//! Whoever changes a cause calls [`set`] with the item that follows from it, or [`end`] where none does. Nothing here is
//! found by looking for it.

use std::collections::BTreeMap;

use serde_json::json;

use super::engine::stored;
use super::tx::{Snapshot, Tx};
use super::{Store, StoreError, activity};
use crate::domain::agent::Agent;
use crate::domain::attention::{self, Attention, AttentionFilter, AttentionPlace, Cause, LOST, NewAttention};
use crate::domain::audit;
use crate::domain::event::{Audience, EventName};
use crate::domain::id::{AttentionId, CommandId, MessageId};
use crate::domain::page::{Filling, Page};
use crate::domain::refusal::Refusal;
use crate::domain::time::Timestamp;

stored! {
    stored Attention in attention {
        id, kind, title, since, agent_id, task_id, command_id, message_id, plugin_id, hint,
    }
}

/// An item with what is kept of it besides.
struct Kept {
    item: Attention,
    cause: String,
    occasion: String,
    urgency: i64,
    /// Whether its cause lasts, so that its dismissal is remembered.
    lasts: bool,
    dismissed_at: Option<Timestamp>,
}

stored! { stored Kept in attention { item as part Attention, cause, occasion, urgency, lasts, dismissed_at } }

impl Store {
    /// What waits for a person: the most urgent first, and of that what has waited longest.
    pub async fn attention(&self, filter: AttentionFilter) -> Result<Page<Attention, AttentionPlace>, StoreError> {
        self.read_page(move |snapshot| {
            let AttentionPlace { urgency, since, id } = filter.after;
            let mut page = Filling::new(filter.limit);
            snapshot.each(
                "WHERE dismissed_at IS NULL AND (urgency, since, id) > ($1, $2, $3)
                 ORDER BY urgency, since, id LIMIT $4",
                &[&urgency, &since, &id, &filter.limit],
                |item: Attention| page.take(item),
            )?;
            Ok(page.finish(|last| AttentionPlace::from(last)))
        })
        .await
    }

    /// Takes an item off the list, because somebody says so. Until its cause ends, or there is another occasion, it does
    /// not come back. Answers the item.
    pub async fn dismiss_attention(&self, id: AttentionId, by: String) -> Result<Attention, StoreError> {
        self.write(move |tx| {
            let kept: Option<Kept> = tx.row("WHERE id = $1 AND dismissed_at IS NULL", &[&id])?;
            let kept = kept.ok_or(Refusal::NotFound("attention item"))?;
            if kept.lasts {
                tx.execute("UPDATE attention SET dismissed_at = $1 WHERE id = $2", &[&tx.now, &id])?;
                tell_removed(tx, id)?;
            } else {
                remove(tx, &kept)?;
            }
            activity::insert(tx, audit::attention_dismissed(&kept.item, &by))?;
            Ok(kept.item)
        })
        .await
    }

    /// Has the items of plugins be these.
    pub async fn set_plugins_attention(&self, wanted: PluginsAttention) -> Result<(), StoreError> {
        let of_snapshot = wanted.clone();
        // Most often there is nothing to write.
        let is_so =
            self.read(move |snapshot| Ok(of_snapshot.differences(kept_of_plugins(snapshot)?).is_empty())).await?;
        if is_so {
            return Ok(());
        }
        self.write(move |tx| {
            for difference in wanted.differences(kept_of_plugins(tx)?) {
                match difference {
                    Difference::Set(new) => set(tx, new)?,
                    Difference::End(kept) => remove(tx, &kept)?,
                }
            }
            Ok(())
        })
        .await
    }

    /// The policies that were found not to be obeyed any more, which nobody dismissed.
    pub async fn lost_policies(&self) -> Result<Vec<String>, StoreError> {
        self.read(|snapshot| {
            let kept = kept_of_plugins(snapshot)?;
            Ok(kept
                .into_iter()
                .filter(|kept| kept.occasion == LOST && kept.dismissed_at.is_none())
                .filter_map(|kept| kept.item.plugin_id)
                .collect())
        })
        .await
    }
}

/// The items that plugins should have.
#[derive(Clone, Debug, Default)]
pub struct PluginsAttention {
    /// One for each plugin that is not as it should be, by its id.
    pub items: BTreeMap<String, NewAttention>,
    /// Plugins of which it is not known yet: their items stay as they are.
    pub unknown: Vec<String>,
}

/// What is to be changed.
enum Difference {
    Set(NewAttention),
    End(Kept),
}

impl PluginsAttention {
    fn differences(&self, kept: Vec<Kept>) -> Vec<Difference> {
        let (mut wanted, mut differences) = (self.items.clone(), Vec::new());
        for kept in kept {
            let id = kept.item.plugin_id.clone().unwrap_or_default();
            match wanted.remove(&id) {
                Some(new) if kept.says(&new) => {}
                Some(new) => differences.push(Difference::Set(new)),
                None if self.unknown.contains(&id) => {}
                None => differences.push(Difference::End(kept)),
            }
        }
        differences.extend(wanted.into_values().map(Difference::Set));
        differences
    }
}

impl Kept {
    /// Whether it is the same, in the same words.
    fn says(&self, new: &NewAttention) -> bool {
        (&self.occasion, &self.item.title, &self.item.hint) == (&new.occasion, &new.title, &new.hint)
    }
}

fn kept_of_plugins(snapshot: &Snapshot<'_>) -> Result<Vec<Kept>, StoreError> {
    snapshot.rows("WHERE plugin_id IS NOT NULL", &[])
}

/// Keeps an item. The same again changes its words at most, and stays dismissed; another occasion of its cause makes
/// another.
pub(super) fn set(tx: &mut Tx<'_>, new: NewAttention) -> Result<(), StoreError> {
    let (cause, lasts, occasion) = (new.cause.key(), new.cause.lasts(), new.occasion.clone());
    let before: Option<Kept> = tx.row("WHERE cause = $1", &[&cause])?;
    if let Some(before) = before {
        if before.says(&new) {
            return Ok(());
        }
        if before.occasion == occasion {
            let update = "UPDATE attention SET title = $1, hint = $2 WHERE id = $3";
            tx.execute(update, &[&new.title, &new.hint, &before.item.id])?;
            return Ok(());
        }
        remove(tx, &before)?;
    }
    let item = new.stored(AttentionId::default(), tx.now);
    let mut kept = Kept { urgency: item.kind.urgency(), item, cause, occasion, lasts, dismissed_at: None };
    kept.item.id = tx.insert_numbered(&kept)?.into();
    tx.emit(EventName::AttentionAdded, Audience::nobody(), &kept.item)
}

/// The cause is no more, and its item with it.
pub(super) fn end(tx: &mut Tx<'_>, cause: &Cause) -> Result<(), StoreError> {
    match tx.row::<Kept>("WHERE cause = $1", &[&cause.key()])? {
        Some(kept) => remove(tx, &kept),
        None => Ok(()),
    }
}

fn remove(tx: &mut Tx<'_>, kept: &Kept) -> Result<(), StoreError> {
    let id = kept.item.id;
    tx.execute("DELETE FROM attention WHERE id = $1", &[&id])?;
    // Of what was dismissed that was told then.
    if kept.dismissed_at.is_none() { tell_removed(tx, id) } else { Ok(()) }
}

fn tell_removed(tx: &mut Tx<'_>, id: AttentionId) -> Result<(), StoreError> {
    tx.emit(EventName::AttentionRemoved, Audience::nobody(), &json!({"id": id}))
}

/// An agent is in another condition than before, or in none.
pub(super) fn follow_condition(tx: &mut Tx<'_>, agent: &Agent) -> Result<(), StoreError> {
    let attach: Option<Option<String>> = if agent.condition.is_some() {
        tx.value(
            "SELECT attach FROM sessions WHERE agent_id = $1 AND ended_at IS NULL AND pid IS NOT NULL",
            &[&agent.id],
        )?
    } else {
        None
    };
    match attention::of_condition(agent, attach.flatten().as_deref()) {
        Some(new) => set(tx, new),
        None => end(tx, &Cause::Condition(agent.id.clone())),
    }
}

/// Commands that are deleted wait for nobody any more: those which are among the next `limit` that were over before
/// this.
pub(super) fn forget_commands(tx: &mut Tx<'_>, before: Timestamp, limit: i64) -> Result<(), StoreError> {
    let old: Vec<CommandId> = tx.values(
        "SELECT id FROM commands WHERE updated_at < $1 AND status NOT IN ('pending', 'accepted', 'running')
             ORDER BY updated_at LIMIT $2",
        &[&before, &limit],
    )?;
    for id in old {
        if let Some(kept) = tx.row::<Kept>("WHERE command_id = $1", &[&id])? {
            remove(tx, &kept)?;
        }
    }
    Ok(())
}

/// Threads whose first message is deleted wait for nobody any more: those up to this one.
pub(super) fn forget_threads(tx: &mut Tx<'_>, last: MessageId) -> Result<(), StoreError> {
    for kept in tx.rows::<Kept>("WHERE kind = 'loop' AND message_id <= $1", &[&last])? {
        remove(tx, &kept)?;
    }
    Ok(())
}
