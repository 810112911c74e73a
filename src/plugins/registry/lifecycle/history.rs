//! What happened to each plugin, written down as it happens: from the files of a candidate to the end
//! of the last request that used it.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::Serialize;
use utoipa::ToSchema;

use super::super::super::kinds::{Plugin, Stage};
use super::super::super::package::FOLDERS_MAX;
use super::status::{PluginState, PluginStatus};
use crate::domain::time::Timestamp;
use crate::telemetry::metric;

/// Steps kept of each plugin; the oldest go first. A replacement is seven of them.
const STEPS_MAX: usize = 64;
/// Plugins that are remembered: those of a full directory, and as many that are gone.
const PLUGINS_MAX: usize = 2 * FOLDERS_MAX;

/// One step in the life of a plugin.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = PluginStep)]
pub struct Step {
    /// What it became.
    pub state: PluginState,
    /// When, in milliseconds since the epoch.
    pub at: i64,
    /// Which load of this id it is about, once it was active.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub generation: Option<u64>,
    /// SHA-256 of the component, in hexadecimal.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
    /// Of what is not in use, how far it got.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stage: Option<Stage>,
    /// Why, where there is more to say.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Who asked for it, if somebody did.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
}

impl Step {
    /// A plugin came to be as this shows it, now.
    pub(crate) fn to(status: &PluginStatus) -> Self {
        let error = status.error.as_ref();
        Self {
            state: status.state,
            at: Timestamp::now().as_ms(),
            generation: status.generation,
            digest: status.digest.clone(),
            stage: error.map(|error| error.stage),
            reason: error.map(|error| error.reason.clone()),
            by: None,
        }
    }

    /// The generation of a loaded plugin came into this state, now.
    pub(crate) fn of(plugin: &Plugin, state: PluginState) -> Self {
        Self {
            state,
            at: Timestamp::now().as_ms(),
            generation: Some(plugin.sandbox.generation),
            digest: Some(plugin.fingerprint.wasm.clone()),
            stage: None,
            reason: None,
            by: None,
        }
    }
}

/// The latest steps of every plugin. Cheap to clone: clones are the same history.
#[derive(Clone, Default)]
pub(crate) struct History(Arc<Mutex<BTreeMap<String, Life>>>);

#[derive(Default)]
struct Life {
    steps: VecDeque<Step>,
    /// How many of the latest steps nobody was told of.
    untold: usize,
}

impl History {
    /// Writes a step down: here, in the log and in the metrics.
    pub(crate) fn note(&self, id: &str, step: Step) {
        log(id, &step);
        metrics::counter!(metric::PLUGIN_TRANSITIONS, "plugin" => id.to_owned(), "state" => step.state.as_str())
            .increment(1);
        let mut lives = self.lives();
        let life = lives.entry(id.to_owned()).or_default();
        life.steps.push_back(step);
        life.untold += 1;
        if life.steps.len() > STEPS_MAX {
            life.steps.pop_front();
        }
        life.untold = life.untold.min(life.steps.len());
        if lives.len() > PLUGINS_MAX {
            let last = |life: &Life| life.steps.back().map_or(0, |step| step.at);
            let oldest = lives.iter().filter(|(other, _)| *other != id).min_by_key(|(_, life)| last(life));
            if let Some(oldest) = oldest.map(|(oldest, _)| oldest.clone()) {
                lives.remove(&oldest);
            }
        }
    }

    /// The steps of a plugin, the oldest first.
    pub(crate) fn of(&self, id: &str) -> Vec<Step> {
        self.lives().get(id).map(|life| life.steps.iter().cloned().collect()).unwrap_or_default()
    }

    /// Those since this was last asked.
    pub(crate) fn take_untold(&self, id: &str) -> Vec<Step> {
        let mut lives = self.lives();
        let Some(life) = lives.get_mut(id) else {
            return Vec::new();
        };
        let told = life.steps.len() - std::mem::take(&mut life.untold);
        life.steps.iter().skip(told).cloned().collect()
    }

    fn lives(&self) -> MutexGuard<'_, BTreeMap<String, Life>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn log(id: &str, step: &Step) {
    let state = step.state.as_str();
    let stage = step.stage.map(Stage::as_str);
    let (generation, digest, by) = (step.generation, step.digest.as_deref(), step.by.as_deref());
    let reason = step.reason.as_deref().map(|reason| format!(": {reason}")).unwrap_or_default();
    macro_rules! event {
        ($level:ident) => {
            tracing::$level!(
                plugin.id = id,
                plugin.generation = generation,
                plugin.digest = digest,
                stage,
                by,
                "plugin is {state}{reason}"
            )
        };
    }
    match step.state {
        PluginState::Rejected | PluginState::Quarantined => event!(warn),
        PluginState::Staged | PluginState::Inspected | PluginState::Compiled | PluginState::Probed => event!(debug),
        _ => event!(info),
    }
}

/// How far a candidate has come, for whoever looks meanwhile.
pub(crate) struct Progress {
    /// The candidate, as far as its manifest says.
    candidate: PluginStatus,
    by: Option<String>,
    /// Where it is written down; nowhere when an author tries a plugin out.
    history: Option<History>,
    reached: Mutex<(PluginState, i64)>,
}

impl Progress {
    /// Of a candidate whose files have been read.
    pub(crate) fn new(candidate: PluginStatus, by: Option<String>, history: Option<History>) -> Self {
        let progress = Self { candidate, by, history, reached: Mutex::new((PluginState::Staged, 0)) };
        progress.reach(PluginState::Staged);
        progress
    }

    /// Notes that the candidate has come this far.
    pub(crate) fn reach(&self, state: PluginState) {
        let mut reached = self.reached.lock().unwrap_or_else(PoisonError::into_inner);
        *reached = (state, Timestamp::now().as_ms());
        drop(reached);
        if let Some(history) = &self.history {
            history.note(&self.candidate.id, Step { by: self.by.clone(), ..Step::to(&self.status()) });
        }
    }

    /// The candidate as it is now.
    pub(crate) fn status(&self) -> PluginStatus {
        let (state, since) = *self.reached.lock().unwrap_or_else(PoisonError::into_inner);
        PluginStatus { state, since: Some(since), ..self.candidate.clone() }
    }

    /// The stage that it is in.
    pub(crate) fn stage(&self) -> Stage {
        match self.status().state {
            PluginState::Staged => Stage::Signature,
            PluginState::Inspected => Stage::Compile,
            _ => Stage::Probe,
        }
    }

    /// Who asked for it, if somebody did.
    pub(crate) fn by(&self) -> Option<&str> {
        self.by.as_deref()
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::super::package::Origin;
    use super::*;

    fn step(id: &str, at: i64) -> Step {
        let status = PluginStatus::unknown(id, Origin::Directory, PluginState::Retired);
        Step { at, ..Step::to(&status) }
    }

    #[test]
    fn each_step_is_told_once_and_only_so_many_are_kept() {
        let history = History::default();
        let at = |steps: Vec<Step>| steps.into_iter().map(|step| step.at).collect::<Vec<_>>();
        for number in 0..3 {
            history.note("guard", step("guard", number));
        }
        assert_eq!(at(history.take_untold("guard")), [0, 1, 2]);
        assert!(history.take_untold("guard").is_empty());
        for number in 3..100 {
            history.note("guard", step("guard", number));
        }
        let kept: Vec<i64> = (36..100).collect();
        assert_eq!(at(history.of("guard")), kept);
        assert_eq!(at(history.take_untold("guard")), kept);
        assert!(history.of("nobody").is_empty());
        assert!(history.take_untold("nobody").is_empty());
    }

    #[test]
    fn the_longest_unheard_of_is_forgotten() {
        let history = History::default();
        for number in 0..=PLUGINS_MAX {
            let id = number.to_string();
            history.note(&id, step(&id, number as i64));
        }
        assert!(history.of("0").is_empty());
        assert_eq!((history.of("1").len(), history.of(&PLUGINS_MAX.to_string()).len()), (1, 1));
    }
}
