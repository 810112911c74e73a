//! What the registry knows, behind its lock: every slot, what is being loaded, what drains.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Instant;

use tokio::sync::Notify;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::domain::control::PolicyMode;
use crate::domain::time::Timestamp;

use super::super::kinds::Plugin;
use super::super::kinds::policy::Policy;
use super::super::package::{FOLDERS_MAX, Fingerprint, Origin, Stamp};
use super::lifecycle::{History, PluginStatus, Progress};
use super::serving::{Draining, Missing, Others, PluginSet};
use super::slot::{Generation, Slot, Ticket, counting};

/// The slot of a plugin.
pub(crate) type PluginSlot = Slot<Arc<Plugin>>;

/// What is loaded and what was tried. Locked for a few lines at a time, and never while anything is waited for.
#[derive(Default)]
pub(crate) struct State {
    pub(crate) folders: BTreeMap<String, Folder>,
    pub(crate) built_in: BTreeMap<String, PluginSlot>,
    pub(crate) loads: BTreeMap<Ticket, Load>,
    pub(crate) draining: Draining,
    /// What is kept of operators' decisions has this to say.
    pub(crate) warnings: Vec<String>,
    /// What lasts and is not as it should be, by what it is about.
    pub(crate) troubles: BTreeMap<Trouble, String>,
    /// Policies that are not asked any more though nobody decided that, each with the reason: [`FOLDERS_MAX`] at most.
    pub(crate) lost: BTreeMap<String, String>,
    /// The policies that are asked, and how.
    asked: BTreeMap<String, PolicyMode>,
    /// Policies without which nothing may happen, by the relay's configuration.
    required: Vec<String>,
    /// The latest generation of each id, which only ever rises.
    generations: BTreeMap<String, u64>,
    tickets: Ticket,
}

/// What can be in trouble for long.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Trouble {
    /// Listing the plugin directory.
    Listing,
    /// More folders than are looked at.
    Folders,
    /// Being told of changes.
    Watching,
    /// What the directory lies on.
    FileSystem,
}

/// A folder of the plugin directory.
pub(crate) struct Folder {
    pub(crate) slot: PluginSlot,
    /// As it was when it was last read.
    pub(crate) stamp: Option<Stamp>,
    /// Since when it is not there.
    pub(crate) missing_since: Option<Instant>,
}

/// A candidate that somebody loads.
pub(crate) struct Load {
    pub(crate) id: String,
    pub(crate) progress: Arc<Progress>,
    /// Cancelled when nobody loads it any more, and what followed from it is done.
    pub(crate) done: CancellationToken,
    /// Abandons the candidate when it is dropped.
    pub(crate) _abandon: DropGuard,
}

impl Generation for Arc<Plugin> {
    fn fingerprint(&self) -> &Fingerprint {
        &self.fingerprint
    }

    fn status(&self) -> PluginStatus {
        PluginStatus::of_plugin(self)
    }
}

impl State {
    /// Nothing but what the relay's configuration requires.
    pub(crate) fn new(required: Vec<String>) -> Self {
        Self { required, ..Self::default() }
    }

    /// The folders of what is asked.
    pub(crate) fn folders_in_use(&self) -> BTreeSet<String> {
        let in_use = self.folders.iter().filter(|(_, folder)| folder.slot.incumbent().is_some());
        in_use.map(|(name, _)| name.clone()).collect()
    }

    /// The slot of this origin, if there is one yet.
    pub(crate) fn slot(&self, origin: Origin, id: &str) -> Option<&PluginSlot> {
        match origin {
            Origin::BuiltIn => self.built_in.get(id),
            Origin::Directory => self.folders.get(id).map(|folder| &folder.slot),
        }
    }

    /// Both slots of an id, as far as they are there: that of its folder first.
    pub(crate) fn slots(&self, id: &str) -> impl Iterator<Item = (Origin, &PluginSlot)> {
        let of = |origin| self.slot(origin, id).map(|slot| (origin, slot));
        [of(Origin::Directory), of(Origin::BuiltIn)].into_iter().flatten()
    }

    /// Puts a slot where its like was. A folder that is gone meanwhile stays gone.
    ///
    /// Answers the one that was there, for the caller to drop without the lock: it may be the last to hold
    /// compiled code.
    pub(crate) fn replace(&mut self, origin: Origin, id: &str, slot: PluginSlot) -> Option<PluginSlot> {
        match origin {
            Origin::BuiltIn => self.built_in.insert(id.to_owned(), slot),
            Origin::Directory => self.folders.get_mut(id).map(|folder| std::mem::replace(&mut folder.slot, slot)),
        }
    }

    /// A ticket for one load.
    pub(crate) fn ticket(&mut self) -> Ticket {
        self.tickets += 1;
        self.tickets
    }

    /// Gives a plugin its generation.
    pub(crate) fn numbered(&mut self, mut plugin: Plugin) -> Arc<Plugin> {
        let latest = self.generations.entry(plugin.terms.id.clone()).or_default();
        *latest += 1;
        plugin.sandbox.generation = *latest;
        Arc::new(plugin)
    }

    /// Every plugin that is asked, or would be if nothing of the same id hid it.
    pub(crate) fn incumbents(&self) -> impl Iterator<Item = &Arc<Plugin>> {
        let folders = self.folders.values().map(|folder| &folder.slot);
        folders.chain(self.built_in.values()).filter_map(Slot::incumbent)
    }

    /// What somebody loads, of one plugin or of all: each is cancelled when nobody does any more.
    pub(crate) fn under_way(&self, only: Option<&str>) -> Vec<CancellationToken> {
        let loads = self.loads.values().filter(|load| !load.done.is_cancelled());
        let loads = loads.filter(|load| only.is_none_or(|only| only == load.id));
        loads.map(|load| load.done.clone()).collect()
    }

    /// The set that follows from all this.
    pub(crate) fn next_set(&mut self, history: &History, by: Option<&str>, unused: &Arc<Notify>) -> PluginSet {
        let mut active = Vec::new();
        let mut others = Others::default();
        let mut show = |slot: &PluginSlot| {
            active.extend(slot.incumbent().cloned());
            others.idle.extend(slot.idle().cloned());
            let load = slot.loading().and_then(|ticket| self.loads.get(&ticket));
            others.loading.extend(load.map(|load| Arc::clone(&load.progress)));
        };
        let ids: BTreeSet<&String> = self.folders.keys().chain(self.built_in.keys()).collect();
        for id in ids {
            counting(self.slot(Origin::Directory, id), self.slot(Origin::BuiltIn, id)).for_each(&mut show);
        }
        self.note_losses(&active, by);
        let required = self.required();
        let missing = self.missing(&required, &active);
        others.leaving = self.draining.follow(&active, history, by);
        PluginSet::new(active, required, missing, others, self.lost.clone(), self.all_warnings(), Arc::clone(unused))
    }

    /// Notes the policies that were obeyed and are not any more. Whoever decided that knows it; what happened by itself
    /// stays told until somebody looks.
    fn note_losses(&mut self, active: &[Arc<Plugin>], by: Option<&str>) {
        let policies = active.iter().filter(|plugin| plugin.guest_as::<Policy>().is_some());
        let now: BTreeMap<String, PolicyMode> =
            policies.map(|policy| (policy.terms.id.clone(), policy.terms.mode)).collect();
        let before = std::mem::replace(&mut self.asked, now);
        let is_obeyed = |mode: Option<&PolicyMode>| mode == Some(&PolicyMode::Enforce);
        self.lost.retain(|id, _| !is_obeyed(self.asked.get(id)));
        for (id, mode) in before {
            if by.is_some() || !is_obeyed(Some(&mode)) || is_obeyed(self.asked.get(&id)) {
                continue;
            }
            let why = self.why_not_obeyed(&id);
            self.lose(id, why);
        }
    }

    /// Whether a policy that was found lost before still is. What is lost already stays as it was noted.
    pub(crate) fn lose_again(&mut self, id: &str) -> bool {
        if self.asked.get(id) == Some(&PolicyMode::Enforce) || self.lost.contains_key(id) {
            return false;
        }
        let why = self.why_not_obeyed(id);
        self.lose(id.to_owned(), why);
        true
    }

    fn why_not_obeyed(&self, id: &str) -> String {
        match self.asked.get(id) {
            Some(mode) => format!("its mode is {} now", mode.as_str()),
            None if self.slots(id).next().is_none() => "its folder is gone".to_owned(),
            None => self.why_not(id),
        }
    }

    /// A policy is not obeyed any more, and nobody decided that.
    pub(crate) fn lose(&mut self, id: String, why: String) {
        tracing::warn!(plugin.id = id, "a policy is not obeyed any more, and nobody decided that: {why}");
        if self.lost.len() < FOLDERS_MAX || self.lost.contains_key(&id) {
            self.lost.insert(id, why);
        }
    }

    fn all_warnings(&self) -> Vec<String> {
        let lost = self.lost.iter().map(|(id, why)| {
            format!(
                "policy {id} is not obeyed any more, and nobody decided that: {why}; what it refused is allowed now. Put \
                 it back, or POST /api/plugins/reload if that is meant; `required` in relay.toml has controls refused \
                 instead"
            )
        });
        lost.chain(self.warnings.iter().cloned()).chain(self.troubles.values().cloned()).collect()
    }

    /// Policies without which every control is refused.
    fn required(&self) -> BTreeSet<String> {
        let folders = self.folders.iter().map(|(id, folder)| (id, &folder.slot));
        let built_in = self.built_in.iter().filter(|(id, _)| !self.folders.contains_key(*id));
        let by_manifest = folders.chain(built_in).filter(|(_, slot)| slot.is_required()).map(|(id, _)| id);
        self.required.iter().chain(by_manifest).cloned().collect()
    }

    fn missing(&self, required: &BTreeSet<String>, active: &[Arc<Plugin>]) -> Vec<Missing> {
        let is_there = |id: &String| {
            active.iter().any(|plugin| {
                plugin.terms.id == *id && plugin.guest_as::<Policy>().is_some() && plugin.terms.mode != PolicyMode::Off
            })
        };
        let since = Timestamp::now().as_ms();
        let missing = required.iter().filter(|&id| !is_there(id));
        missing.map(|id| Missing { id: id.clone(), reason: self.why_not(id), since }).collect()
    }

    fn why_not(&self, id: &str) -> String {
        match self.slots(id).find_map(|(_, slot)| slot.idle()) {
            Some(PluginStatus { error: Some(error), .. }) => error.reason.clone(),
            Some(_) => "it is disabled".to_owned(),
            None => "there is no active policy of this id".to_owned(),
        }
    }
}
