//! A plugin that was loaded on the workbench, and its calls.

use std::time::Instant;

use serde::Serialize;
use serde_json::Value;

use super::super::kinds::{Asked, Plugin, Question};
use super::super::package::{Grants, PluginKind};
use super::super::registry::PluginStatus;
use super::super::runtime::CallError;

/// A plugin that went through every stage of loading.
pub struct Loaded {
    pub(super) plugin: Plugin,
}

/// What one call came to.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Called {
    /// `"allow"`, `{"deny": ...}`, `{"amend": ...}`, `{"plan": ...}`, `{"presentation": ...}`,
    /// `{"stopPlan": ...}`, `{"observation": ...}`, `{"attempts": [...]}` or `{"error": "..."}`.
    pub answer: Value,
    /// Whether the plugin wanted to see this question. A policy that did not counts as allowing.
    pub asked: bool,
    /// How long it took, the fresh instance included, in microseconds.
    pub micros: u64,
    /// The most linear memory in use at once, in bytes.
    pub peak_bytes: usize,
}

impl Loaded {
    pub(super) fn new(plugin: Plugin) -> Self {
        Self { plugin }
    }

    /// What a relay would show of it.
    pub fn status(&self) -> PluginStatus {
        PluginStatus::of_plugin(&self.plugin)
    }

    /// What it does.
    pub fn kind(&self) -> PluginKind {
        self.plugin.terms.kind
    }

    /// What it said of itself when it was loaded, beside its id and version.
    pub fn abilities(&self) -> Value {
        self.plugin.guest.abilities()
    }

    /// What it is asked before it goes live, in words.
    pub fn asked_before_it_goes_live(&self) -> Vec<String> {
        let mut asked = vec!["describe".to_owned(), format!("check-settings {}", self.plugin.terms.settings)];
        asked.extend(self.plugin.guest.probed(&self.plugin));
        asked
    }

    /// What its plans may use.
    pub fn grants(&self) -> &Grants {
        &self.plugin.terms.grants
    }

    /// Puts one question to it.
    pub async fn call(&self, question: &Question) -> Called {
        self.plugin.sandbox.take_peak();
        let started = Instant::now();
        let Asked { answer, asked } = self.plugin.guest.ask(&self.plugin, question).await;
        let micros = u64::try_from(started.elapsed().as_micros()).unwrap_or(u64::MAX);
        Called { answer, asked, micros, peak_bytes: self.plugin.sandbox.take_peak() }
    }

    /// Makes one instance and asks it nothing: the microseconds that took.
    ///
    /// # Errors
    /// When it does not come up within its limits.
    pub async fn instantiate(&self) -> Result<u64, CallError> {
        self.plugin.guest.instantiate(&self.plugin.sandbox).await
    }
}
