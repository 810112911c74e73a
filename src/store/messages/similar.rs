//! Similar targets: what somebody may have meant who wrote to nobody. However many agents there are, so many are looked
//! at: those whose id or name is next to the misspelt one in their order, and some of those that are live.

use std::collections::{BTreeMap, HashMap};
use std::ops::ControlFlow;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::domain::agent::SYSTEM;
use crate::domain::id::AgentId;
use crate::domain::message::{SIMILAR_MAX, is_group};
use crate::store::StoreError;
use crate::store::engine::{ToSql, stored};
use crate::store::tx::Snapshot;

/// How many are looked at on each side of the misspelt name.
const BESIDE: i64 = 48;
/// How many live ones are looked at, whatever they are called.
const LIVE: i64 = 256;
/// How much of a name is compared, in characters: comparing costs the product of two lengths.
const COMPARED_MAX: usize = 64;
/// From 0, nothing in common, to 1: a letter of three may be wrong.
const LIKENESS_MIN: f64 = 0.6;
/// A name of which this many letters are there is like the whole.
const BEGINNING_MIN: usize = 3;
/// Misspelt targets remembered.
const REMEMBERED_MAX: usize = 1_024;

/// An agent by what people call it.
struct Named {
    id: AgentId,
    name: String,
    label: Option<String>,
}

stored! { read Named in agents { id, name, label } }

/// Targets that reach somebody and look like this one, which does not: the likest first.
pub(super) fn find(snapshot: &Snapshot<'_>, to: &str) -> Result<Vec<String>, StoreError> {
    let prefix = if is_group(to) { to.find(':').map_or("", |colon| &to[..=colon]) } else { "" };
    let mut likes = Likes { wanted: comparable(&to[prefix.len()..]), found: BTreeMap::new() };
    if !prefix.is_empty() {
        groups_beside(snapshot, prefix, to, &mut likes)?;
    } else if !is_group(to) {
        agents_beside(snapshot, to, &mut likes)?;
        // Somebody may have left out what kind of name it is.
        for prefix in ["label:", "tag:", "cap:"] {
            let group = format!("{prefix}{to}");
            let sql = "SELECT 1 FROM agent_targets WHERE target = $1 LIMIT 1";
            if snapshot.value::<i64>(sql, &[&group])?.is_some() {
                likes.found.insert(group, 1.0);
            }
        }
        likes.look("broadcast", "broadcast");
    }
    likes.found.remove(to);
    Ok(likes.best())
}

fn agents_beside(snapshot: &Snapshot<'_>, to: &str, likes: &mut Likes) -> Result<(), StoreError> {
    let lower = to.to_lowercase();
    let spellings = if lower == to { vec![to] } else { vec![to, lower.as_str()] };
    for spelling in spellings {
        for tail in [
            "WHERE id >= $1 ORDER BY id LIMIT $2",
            "WHERE id < $1 ORDER BY id DESC LIMIT $2",
            "WHERE name >= $1 ORDER BY name LIMIT $2",
            "WHERE name < $1 ORDER BY name DESC LIMIT $2",
        ] {
            likes.look_at(snapshot, tail, &[&spelling, &BESIDE])?;
        }
    }
    let live = "WHERE status <> 'offline' AND id > $1 ORDER BY id LIMIT $2";
    likes.look_at(snapshot, live, &[&"", &LIVE])
}

/// Leaps from group to group: one may have any number of agents.
fn groups_beside(snapshot: &Snapshot<'_>, prefix: &str, to: &str, likes: &mut Likes) -> Result<(), StoreError> {
    let above = "SELECT target FROM agent_targets WHERE target > $1 ORDER BY target LIMIT 1";
    let below = "SELECT target FROM agent_targets WHERE target < $1 ORDER BY target DESC LIMIT 1";
    for (sql, from) in [(above, to), (below, to), (above, prefix)] {
        let mut at = from.to_owned();
        for _ in 0..BESIDE {
            let next: Option<String> = snapshot.value(sql, &[&at])?;
            let Some(next) = next.filter(|next| next.starts_with(prefix)) else { break };
            likes.look(&next, &next[prefix.len()..]);
            at = next;
        }
    }
    Ok(())
}

/// What was found like a wanted name, with how like it is.
struct Likes {
    wanted: String,
    found: BTreeMap<String, f64>,
}

impl Likes {
    fn look_at(&mut self, snapshot: &Snapshot<'_>, tail: &str, values: &[&dyn ToSql]) -> Result<(), StoreError> {
        snapshot.each(tail, values, |Named { id, name, label }| {
            if id != SYSTEM {
                for called in [Some(id.as_str()), Some(name.as_str()), label.as_deref()].into_iter().flatten() {
                    self.look(id.as_str(), called);
                }
            }
            ControlFlow::Continue(())
        })
    }

    /// Looks at a target and at what it is called.
    fn look(&mut self, target: &str, called: &str) {
        let likeness = likeness(&self.wanted, &comparable(called));
        if likeness >= LIKENESS_MIN {
            let best = self.found.entry(target.to_owned()).or_default();
            *best = best.max(likeness);
        }
    }

    fn best(self) -> Vec<String> {
        let mut found: Vec<_> = self.found.into_iter().collect();
        found.sort_by(|(_, a), (_, b)| b.total_cmp(a));
        found.truncate(SIMILAR_MAX);
        found.into_iter().map(|(target, _)| target).collect()
    }
}

/// What of a name is compared: whatever its case.
fn comparable(name: &str) -> String {
    name.chars().take(COMPARED_MAX).flat_map(char::to_lowercase).take(COMPARED_MAX).collect()
}

/// How like two names are, from 0 to 1: by the letters that are wrong, missing, too many or swapped.
fn likeness(wanted: &str, called: &str) -> f64 {
    let (a, b) = (wanted.chars().count(), called.chars().count());
    let (short, long) = (a.min(b), a.max(b));
    if long == 0 {
        return 0.0;
    }
    let is_beginning = short >= BEGINNING_MIN && (called.starts_with(wanted) || wanted.starts_with(called));
    let least = if is_beginning { LIKENESS_MIN } else { 0.0 };
    // With so much missing it cannot be like enough.
    if (short as f64) < LIKENESS_MIN * long as f64 {
        return least;
    }
    (1.0 - strsim::osa_distance(wanted, called) as f64 / long as f64).max(least)
}

/// What was answered for misspelt targets since an agent came, went or was named anew.
#[derive(Default)]
pub(in crate::store) struct SimilarCache(Mutex<Known>);

#[derive(Default)]
struct Known {
    targets: HashMap<String, Vec<String>>,
    /// Raised by every forgetting. What was read before one may be wrong by now.
    generation: u64,
}

impl SimilarCache {
    /// What is like this target; or else the generation that [`Self::remember`] wants, to be taken before the
    /// database is read.
    pub(super) fn look_up(&self, to: &str) -> Result<Vec<String>, u64> {
        let known = self.known();
        known.targets.get(to).cloned().ok_or(known.generation)
    }

    pub(super) fn remember(&self, to: String, found: Vec<String>, generation: u64) {
        let mut known = self.known();
        if known.generation == generation {
            if known.targets.len() >= REMEMBERED_MAX {
                known.targets.clear();
            }
            known.targets.insert(to, found);
        }
    }

    /// Forgets everything, also what is being read just now.
    pub(in crate::store) fn forget(&self) {
        let mut known = self.known();
        known.generation += 1;
        known.targets.clear();
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_letter_more_less_or_swapped_is_like_and_another_word_is_not() {
        let like = |a: &str, b: &str| likeness(&comparable(a), &comparable(b)) >= LIKENESS_MIN;
        for (wanted, called) in [
            ("revewer", "reviewer"),
            ("Reviewer", "reviewer"),
            ("reveiwer", "reviewer"),
            ("bb", "bob"),
            ("bod", "bob"),
            ("teviewer", "reviewer"),
            ("rev", "reviewer"),
            ("reviewer-2", "reviewer"),
            ("ärzt", "Ärzte"),
        ] {
            assert!(like(wanted, called), "{wanted} {called}");
        }
        for (wanted, called) in [("xyz", "bob"), ("a", "b"), ("host-1", "reviewer"), ("", "a"), ("re", "reviewer")] {
            assert!(!like(wanted, called), "{wanted} {called}");
        }
    }

    #[test]
    fn what_was_read_before_a_forgetting_is_not_remembered_and_memory_is_bounded() {
        let cache = SimilarCache::default();
        let generation = cache.look_up("bb").unwrap_err();
        cache.forget();
        cache.remember("bb".to_owned(), vec!["bob".to_owned()], generation);
        let generation = cache.look_up("bb").expect_err("bob may be gone");
        cache.remember("bb".to_owned(), vec!["bob".to_owned()], generation);
        assert_eq!(cache.look_up("bb").unwrap(), ["bob"]);
        for number in 0..2 * REMEMBERED_MAX {
            cache.remember(number.to_string(), Vec::new(), generation);
            assert!(cache.known().targets.len() <= REMEMBERED_MAX);
        }
    }
}
