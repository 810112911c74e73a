//! Following a generation that is no longer asked, until the last request that began with it has
//! ended. A request holds its whole set, so a generation is in use while any set that holds it is.

use std::sync::{Arc, Weak};

use crate::telemetry::metric;

use super::super::super::kinds::Plugin;
use super::super::lifecycle::{History, PluginState, PluginStatus, Step};
use super::set::{Leaving, PluginSet};

/// What is asked, and what was and may still be in use.
#[derive(Default)]
pub(crate) struct Draining {
    /// The plugins of the current set.
    active: Vec<Arc<Plugin>>,
    /// Earlier sets, for as long as requests use them.
    sets: Vec<Weak<PluginSet>>,
    leaving: Vec<(Arc<Plugin>, Arc<Leaving>)>,
}

impl Draining {
    /// Notes what it means for each generation that these are asked from now on. Answers those that
    /// are not any more and may still be in use.
    pub(crate) fn follow(&mut self, active: &[Arc<Plugin>], history: &History, by: Option<&str>) -> Vec<Arc<Leaving>> {
        let note = |plugin: &Plugin, state: PluginState| {
            let step = Step { by: by.map(str::to_owned), ..Step::of(plugin, state) };
            history.note(&plugin.terms.id, step);
        };
        let gauge = |plugin: &Plugin, generation: u64| {
            let id = plugin.terms.id.clone();
            metrics::gauge!(metric::PLUGIN_GENERATION, "plugin" => id).set(generation as f64);
        };
        let before = std::mem::replace(&mut self.active, active.to_vec());
        for plugin in active.iter().filter(|plugin| !is_among(&before, plugin)) {
            // Gone back to while requests of its first time still use it.
            self.leaving.retain(|(leaving, _)| !Arc::ptr_eq(leaving, plugin));
            note(plugin, PluginState::Active);
            gauge(plugin, plugin.sandbox.generation);
        }
        for plugin in before.into_iter().filter(|plugin| !is_among(active, plugin)) {
            note(&plugin, PluginState::Draining);
            if active.iter().all(|other| other.terms.id != plugin.terms.id) {
                gauge(&plugin, 0);
            }
            let leaving = Arc::new(Leaving::new(&plugin));
            self.leaving.push((plugin, leaving));
        }
        self.leaving.iter().map(|(_, leaving)| Arc::clone(leaving)).collect()
    }

    /// Follows a set that is not the current one any more.
    pub(crate) fn leave(&mut self, set: Arc<PluginSet>) {
        self.sets.push(Arc::downgrade(&set));
    }

    /// Lets go of the generations that nobody uses any more, and answers them.
    pub(crate) fn retire(&mut self, history: &History) -> Vec<PluginStatus> {
        self.sets.retain(|set| set.strong_count() > 0);
        let sets: Vec<Arc<PluginSet>> = self.sets.iter().filter_map(Weak::upgrade).collect();
        let unused = self.leaving.extract_if(.., |(plugin, _)| !sets.iter().any(|set| set.holds(plugin)));
        let retired = unused.map(|(_, leaving)| {
            leaving.retire();
            let status = leaving.status();
            history.note(&status.id, Step::to(&status));
            status
        });
        retired.collect()
    }
}

fn is_among(plugins: &[Arc<Plugin>], plugin: &Arc<Plugin>) -> bool {
    plugins.iter().any(|other| Arc::ptr_eq(other, plugin))
}
