//! Recipients: how many agents a message reaches at the moment it is stored.

use std::collections::HashMap;

use crate::domain::agent::{SYSTEM, USER};
use crate::domain::id::AgentId;
use crate::domain::message::is_group;
use crate::store::StoreError;
use crate::store::tx::Tx;

/// The group that has every agent in it.
const EVERYBODY: &str = "broadcast";
/// A group of so many is counted each time, by its index; how many there are in a larger one is remembered.
const FEW: i64 = 64;
/// Large groups remembered.
const GROUPS_MAX: usize = 1_024;

/// How many agents are in large groups, kept with each that comes or goes.
#[derive(Default)]
pub(in crate::store) struct Members(HashMap<String, i64>);

impl Members {
    /// Somebody came into a group, or went.
    pub(in crate::store) fn change(&mut self, group: &str, by: i64) {
        if let Some(count) = self.0.get_mut(group) {
            *count += by;
        }
    }

    /// An agent was made, or is gone.
    pub(in crate::store) fn change_everybody(&mut self, by: i64) {
        self.change(EVERYBODY, by);
    }

    fn remember(&mut self, group: &str, count: i64) {
        if self.0.len() >= GROUPS_MAX {
            self.0.clear();
        }
        self.0.insert(group.to_owned(), count);
    }
}

/// How many agents a message to this target reaches: one that is registered, or all who are in the group but its
/// sender, `user` and `system`.
pub(super) fn count(tx: &mut Tx<'_>, to: &str, from: &AgentId) -> Result<i64, StoreError> {
    if !is_group(to) {
        let registered: Option<i64> = tx.value("SELECT 1 FROM agents WHERE id = $1", &[&to])?;
        return Ok(registered.unwrap_or(0));
    }
    let not_counted: [&str; 3] = [from, USER, SYSTEM];
    let [from, user, system] = &not_counted;
    let others = if to == EVERYBODY {
        tx.count("SELECT count(*) FROM agents WHERE id IN ($1, $2, $3)", &[from, user, system])?
    } else {
        let sql = "SELECT count(*) FROM agent_targets WHERE target = $1 AND agent_id IN ($2, $3, $4)";
        tx.count(sql, &[&to, from, user, system])?
    };
    Ok(members(tx, to)? - others)
}

fn members(tx: &mut Tx<'_>, group: &str) -> Result<i64, StoreError> {
    if let Some(count) = tx.remembered().members().0.get(group) {
        return Ok(*count);
    }
    let count = if group == EVERYBODY {
        tx.count("SELECT count(*) FROM agents", &[])?
    } else {
        tx.count("SELECT count(*) FROM agent_targets WHERE target = $1", &[&group])?
    };
    if count > FEW {
        tx.remembered().members_mut().remember(group, count);
    }
    Ok(count)
}
