//! Spawns: what is asked for, and what was approved.
//!
//! A spawn is parsed once, into a [`SpawnAsk`]. Policies see it with the facts of its site, as a
//! [`Spawn`]. What they approve is a [`SpawnSpec`], and that is what the launcher
//! plans and starts, what is stored with the session, and what a restart begins from.

use std::fmt;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::plan::SpawnRequest;
use super::{ApprovalMode, Site, Spawn};
use crate::domain::id::AgentId;
use crate::domain::refusal::Refusal;
use crate::domain::text::path::{PathFacts, is_within};

/// A request to start an agent, checked for form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SpawnAsk {
    /// The provider that plans it, at most [`PROVIDER_MAX`](crate::domain::control::orchestrator::PROVIDER_MAX) characters.
    pub provider: String,
    /// What it may do by itself.
    pub approval_mode: ApprovalMode,
    /// Where it works; the base directory of the site when left out. At most
    /// [`PATH_MAX`](crate::domain::text::PATH_MAX) characters.
    pub cwd: Option<String>,
    /// A human name for the session.
    pub label: Option<String>,
    /// The first prompt, at most [`PROMPT_MAX`](crate::domain::control::orchestrator::PROMPT_MAX) characters.
    pub prompt: Option<String>,
}

impl SpawnAsk {
    /// What the policies are asked about, where `cwd` are the facts of the directory and `site` of the host.
    pub fn at(&self, cwd: PathFacts, site: Site) -> Spawn {
        Spawn {
            provider: self.provider.clone(),
            approval_mode: self.approval_mode,
            cwd,
            label: self.label.clone(),
            prompt: self.prompt.clone(),
            site,
        }
    }

    /// The same at an orchestrator, whose files nobody here can look at: a path is compared by its components.
    pub fn elsewhere(&self, site: Site) -> Spawn {
        let base = site.base_dir.given.clone();
        let cwd = PathFacts::elsewhere(self.cwd.as_deref().unwrap_or(&base), Path::new(&base));
        self.at(cwd, site)
    }
}

/// An approved spawn: which agent is started, how, and where.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SpawnSpec {
    /// The id the agent registers under, chosen by the relay.
    pub agent_id: AgentId,
    /// The provider that plans it.
    pub provider: String,
    /// What it may do by itself.
    pub approval_mode: ApprovalMode,
    /// The approved working directory: absolute, and resolved where the process starts.
    pub cwd: String,
    /// A human name for the session.
    pub label: Option<String>,
    /// The first prompt.
    pub prompt: Option<String>,
    /// Set when an agent is started again; never kept.
    #[serde(skip)]
    pub again: Option<Again>,
}

/// An agent that had a session is started again.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Again {
    /// Its program's own conversation, where the last session was seen to name one.
    pub conversation: Option<String>,
    /// What is left of the last session because it could not be ended.
    pub survivors: Vec<Survivor>,
}

/// A process that did not end when it was ended by force.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Survivor {
    /// Its id.
    pub pid: u32,
    /// What the kernel calls its program.
    pub program: String,
}

impl fmt::Display for Survivor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.pid, self.program)
    }
}

impl SpawnSpec {
    /// What was approved, under the id that the agent gets.
    pub fn approved(agent_id: AgentId, spawn: &Spawn) -> Self {
        Self {
            agent_id,
            provider: spawn.provider.clone(),
            approval_mode: spawn.approval_mode,
            cwd: spawn.cwd.effective().to_owned(),
            label: spawn.label.clone(),
            prompt: spawn.prompt.clone(),
            again: None,
        }
    }

    /// The same for an agent that is started again, in this conversation of its program's if it had one.
    #[must_use]
    pub fn again(&self, conversation: Option<String>) -> Self {
        Self { again: Some(Again { conversation, survivors: Vec::new() }), ..self.clone() }
    }

    /// The same beside what is left of the session before.
    #[must_use]
    pub fn beside(mut self, survivors: Vec<Survivor>) -> Self {
        if let Some(again) = &mut self.again {
            again.survivors = survivors;
        }
        self
    }

    /// What the provider is asked to plan: to go on with a conversation, or to begin one that may be named
    /// `conversation`.
    pub fn request(&self, conversation: Option<String>) -> SpawnRequest {
        let resume = self.again.as_ref().and_then(|again| again.conversation.clone());
        SpawnRequest {
            agent_id: self.agent_id.to_string(),
            approval_mode: self.approval_mode,
            label: self.label.clone(),
            prompt: self.prompt.clone(),
            conversation: conversation.filter(|_| resume.is_none()),
            resume,
        }
    }
}

/// A fresh id for an agent of this provider: `PROVIDER-` and eight hexadecimal digits.
///
/// # Errors
///
/// When the system has no randomness.
pub fn fresh_agent_id(provider: &str) -> Result<AgentId, Refusal> {
    let mut bytes = [0_u8; 4];
    getrandom::fill(&mut bytes).map_err(|error| Refusal::invalid(format!("no randomness for an id: {error}")))?;
    Ok(format!("{provider}-{:08x}", u32::from_be_bytes(bytes)).into())
}

/// Refuses a directory that is not there, unless it lies outside: whether something exists there is for
/// nobody to learn, and for the policies to refuse.
pub fn require_directory(spawn: &Spawn) -> Result<(), Refusal> {
    let outside = !is_within(Path::new(&spawn.cwd.normalised), Path::new(&spawn.site.base_dir.normalised));
    if spawn.cwd.resolved.is_some() || outside {
        return Ok(());
    }
    Err(Refusal::invalid(format!("cwd is not a directory: {}", spawn.cwd.given)))
}
