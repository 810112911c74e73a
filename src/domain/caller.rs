//! Who is calling and what they may do.

pub mod token;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::control::CallerFacts;
use super::id::{AgentId, TokenId};
use super::refusal::Refusal;
use super::text::word::words;

words! {
    /// What a credential is good for.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
    #[serde(rename_all = "lowercase")]
    pub enum Scope {
        /// Everything.
        Admin = "admin",
        /// Reading anything.
        Read = "read",
        /// Sending messages.
        Send = "send",
        /// Being an agent: registering, reading its inbox, claiming, sending as itself.
        Agent = "agent",
        /// Starting, restarting and stopping agents.
        Control = "control",
        /// Being an orchestrator.
        Orchestrator = "orchestrator",
        /// Delivering events from outside.
        Integration = "integration",
        /// Reading metrics.
        Metrics = "metrics",
    }
}

/// Which scopes open an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scopes {
    /// It is open to everybody, with a credential or without.
    Public,
    /// It needs a credential with one of these scopes, or with `admin`. None of them: `admin` alone.
    AnyOf(&'static [Scope]),
}

impl Scopes {
    /// The scopes that open it, `admin` last; none where nobody needs any.
    pub fn iter(self) -> impl Iterator<Item = Scope> {
        let (scopes, admin) = match self {
            Self::Public => (&[][..], None),
            Self::AnyOf(scopes) => (scopes, Some(Scope::Admin)),
        };
        scopes.iter().copied().chain(admin)
    }
}

/// The holder of a credential.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// What is recorded: the token's name, or for the administrator `dashboard`, or `cli` from the command line.
    pub name: String,
    /// The agent this credential is bound to. It can act as no other.
    pub agent_id: Option<AgentId>,
    /// What it may do.
    pub scopes: Vec<Scope>,
    /// Whether the request came over the loopback interface.
    pub loopback: bool,
    /// The stored token that it holds. None for the operator's own, and for loopback without one.
    pub token: Option<TokenId>,
}

impl Caller {
    /// The administrator: the operator's token, or anybody on loopback when there is none.
    pub fn administrator(loopback: bool) -> Self {
        Self { name: "dashboard".to_owned(), agent_id: None, scopes: vec![Scope::Admin], loopback, token: None }
    }

    /// The same administrator, at the program's own command line. Others are called what their token is called.
    #[must_use]
    pub fn at_command_line(&self) -> Self {
        let name = if *self == Self::administrator(self.loopback) { "cli" } else { &self.name };
        Self { name: name.to_owned(), ..self.clone() }
    }

    /// Whether this is an administrator.
    pub fn is_administrator(&self) -> bool {
        self.scopes.contains(&Scope::Admin)
    }

    /// Requires one of the scopes that open an operation; `admin` always suffices.
    pub fn require(&self, scopes: Scopes) -> Result<(), Refusal> {
        let Scopes::AnyOf(any_of) = scopes else { return Ok(()) };
        if self.is_administrator() || any_of.iter().any(|scope| self.scopes.contains(scope)) {
            return Ok(());
        }
        let names: Vec<_> = any_of.iter().map(|scope| scope.as_str()).collect();
        let names = if names.is_empty() { Scope::Admin.as_str().to_owned() } else { names.join(" or ") };
        Err(Refusal::NotAllowed(format!("this needs a credential with scope {names}")))
    }

    /// Requires that this caller may act as `agent`: an unbound credential may act as anybody.
    pub fn require_identity(&self, agent: &str) -> Result<(), Refusal> {
        match &self.agent_id {
            Some(bound) if *bound != *agent => {
                Err(Refusal::WrongIdentity { bound: bound.clone(), asked: agent.to_owned() })
            }
            _ => Ok(()),
        }
    }

    /// Who is said to have asked.
    pub fn principal(&self) -> &str {
        self.agent_id.as_deref().unwrap_or(&self.name)
    }

    /// Under which name idempotency keys of this caller are kept apart from others'. Names of tokens are no
    /// one's alone; and where it is not the agent's own, it begins with a space, as no id does.
    pub fn owner_of_keys(&self) -> String {
        match (&self.agent_id, self.token) {
            (Some(agent), _) => agent.to_string(),
            (None, Some(token)) => format!(" token {token}"),
            (None, None) => " administrator".to_owned(),
        }
    }

    /// What policies may know of the caller.
    pub fn facts(&self) -> CallerFacts {
        CallerFacts {
            name: self.name.clone(),
            agent_id: self.agent_id.clone().map(AgentId::into_string),
            administrator: self.is_administrator(),
            scopes: self.scopes.iter().map(|scope| scope.as_str().to_owned()).collect(),
            loopback: self.loopback,
        }
    }
}
