//! Standing: what waits for an agent, and what it holds.

use super::search;
use crate::domain::agent::{HELD_MAX, Standing, Unread};
use crate::domain::id::AgentId;
use crate::domain::message::{Message, MessageFilter};
use crate::domain::page::Limit;
use crate::domain::task::Task;
use crate::domain::time::Timestamp;
use crate::store::tx::Snapshot;
use crate::store::{Store, StoreError, agents};

impl Store {
    /// Where an agent is with its work. Looks at no message but those that it holds, and counts the others.
    pub async fn standing(&self, agent: AgentId) -> Result<Standing, StoreError> {
        let now = self.now();
        let most = HELD_MAX as i64;
        self.read_page(move |snapshot| {
            let messages: Vec<Message> = snapshot.rows(
                "WHERE claimed_by = $1 AND claim_expires_at IS NOT NULL AND claim_expires_at > $2 ORDER BY id LIMIT $3",
                &[&agent, &now, &most],
            )?;
            let tasks: Vec<Task> = snapshot.rows(
                "WHERE claimed_by = $1 AND finished_at IS NULL AND claim_expires_at > $2 ORDER BY id LIMIT $3",
                &[&agent, &now, &most],
            )?;
            let filter = MessageFilter {
                reaching: Some(agent.clone()),
                unread: true,
                limit: Limit::MAX,
                ..MessageFilter::default()
            };
            let unread = unread(snapshot, &filter, now)?;
            Ok(Standing { agent: agents::load(snapshot, &agent)?, unread, messages, tasks })
        })
        .await
    }

    /// How many messages match, as far as one look goes.
    pub async fn count_messages(&self, filter: MessageFilter) -> Result<Unread, StoreError> {
        let now = self.now();
        self.read(move |snapshot| unread(snapshot, &filter, now)).await
    }
}

fn unread(snapshot: &Snapshot<'_>, filter: &MessageFilter, now: Timestamp) -> Result<Unread, StoreError> {
    let (ids, next) = search::find(snapshot, filter, now)?;
    Ok(Unread { count: ids.len(), more: next.is_some() })
}
