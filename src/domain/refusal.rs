//! Why the relay says no. One closed list, so that the edge can map each to a status and a code,
//! and so that a caller who branches on one gets its data.

use super::id::{AgentId, CommandId, DeliveryId, MessageId, PairId, TaskId, Work};
use super::time::Timestamp;

/// A request that cannot be done as asked. Nothing was changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// A field is missing, malformed or out of bounds. The text names it and what is allowed.
    #[error("{0}")]
    Invalid(String),
    /// The id belongs to the relay itself.
    #[error("id \"{0}\" is reserved")]
    ReservedId(String),
    /// The `meta` key belongs to the relay itself.
    #[error("meta key \"{0}\" is reserved for the relay")]
    ReservedMeta(&'static str),
    /// The agent is the human, the relay or a channel.
    #[error("agent does not support dashboard control actions")]
    NotControllable,
    /// Neither an orchestrator nor this host can start the provider.
    #[error("no orchestrator available for provider: {0}")]
    NoOrchestrator(String),
    /// The path lies outside the relay's base directory.
    #[error("path must be within base directory: {0}")]
    OutsideBase(String),
    /// Too many requests of this kind are under way.
    #[error("too many control requests are under way")]
    Overloaded,
    /// The thing named is not there.
    #[error("{0} not found")]
    NotFound(&'static str),
    /// The caller's scopes do not allow this.
    #[error("{0}")]
    NotAllowed(String),
    /// The caller's credential ended between being looked at and being used.
    #[error("the credential has ended: it was revoked, or it expired")]
    CredentialEnded,
    /// The caller's credential is bound to another agent.
    #[error("this credential acts as \"{bound}\" and cannot act as \"{asked}\"")]
    WrongIdentity {
        /// The agent the credential is bound to.
        bound: AgentId,
        /// The agent the request names.
        asked: String,
    },
    /// The message or task is not for the agent that wants to claim or read it.
    #[error("{work} is not addressed to \"{agent}\"")]
    NotAddressed {
        /// The message or task.
        work: Work,
        /// The agent that asked.
        agent: AgentId,
    },
    /// The message would reach nobody, and its sender wants it stored only if it reaches somebody.
    #[error("\"{to}\" reaches nobody, so nothing was stored")]
    NoRecipient {
        /// Whom it was for.
        to: String,
        /// Targets that look like it and reach somebody.
        similar: Vec<String>,
    },
    /// Agents answer each other in one thread faster than anybody reads.
    #[error("thread {thread} has had {replies} replies by agents within 10 minutes")]
    LoopSuspected {
        /// The thread.
        thread: MessageId,
        /// How many are allowed.
        replies: usize,
        /// Until the next one is, in milliseconds.
        wait_ms: i64,
    },
    /// The message was not sent as claimable.
    #[error("message {0} is not claimable")]
    NotClaimable(MessageId),
    /// Another agent holds the claim.
    #[error("{work} is claimed by \"{by}\" until {until}")]
    AlreadyClaimed {
        /// The message or task.
        work: Work,
        /// The holder.
        by: AgentId,
        /// When the lease ends, in milliseconds since the epoch.
        until: Timestamp,
    },
    /// The work was finished before.
    #[error("{0} is already completed")]
    AlreadyCompleted(Work),
    /// The question was answered before.
    #[error("task {0} is already answered")]
    AlreadyAnswered(TaskId),
    /// The answer is none of those that there are.
    #[error("the answer must be one of: {}", .0.join(", "))]
    InvalidAnswer(Vec<String>),
    /// The generation is not that of the live claim.
    #[error("the claim of {work} with generation {generation} is no longer held")]
    StaleClaim {
        /// The message or task.
        work: Work,
        /// The generation the caller gave.
        generation: i64,
    },
    /// The agent is in a pair that is pending or active.
    #[error("agent \"{agent}\" is in pair {pair} already")]
    AlreadyPaired {
        /// The agent.
        agent: AgentId,
        /// The pair it is in.
        pair: PairId,
    },
    /// The pair, or this step of it, is somebody else's.
    #[error("this step of pair {id} is not one of \"{agent}\": it is one of {whose}")]
    NotOfPair {
        /// The pair.
        id: PairId,
        /// The agent that asked.
        agent: AgentId,
        /// Who takes this step.
        whose: String,
    },
    /// A newer session of the same agent has registered.
    #[error("session of agent \"{0}\" is stale: a newer one has registered")]
    StaleSession(AgentId),
    /// The idempotency key was used with another body.
    #[error("idempotency key \"{0}\" was used with a different request")]
    KeyReused(String),
    /// The state machine has no such step.
    #[error("a {noun} cannot go from \"{from}\" to \"{to}\"")]
    IllegalTransition {
        /// What has the state.
        noun: &'static str,
        /// The present state.
        from: String,
        /// The state asked for.
        to: String,
    },
    /// What an integration sent could not be read, and was kept.
    #[error("{reason}")]
    Unreadable {
        /// Why.
        reason: String,
        /// What is kept of it.
        delivery: DeliveryId,
    },
    /// A delivery cannot be tried again, because its body was too long to be kept.
    #[error("delivery {0} was kept without the end of its body, so it cannot be tried again")]
    CutDelivery(DeliveryId),
    /// The orchestrator has not been heard from.
    #[error("orchestrator is offline")]
    OrchestratorOffline,
    /// A policy denied the control.
    #[error("{reason}")]
    Denied {
        /// The policy's id.
        plugin: String,
        /// The denial's own code.
        policy_code: String,
        /// Its reason.
        reason: String,
        /// The command that records it.
        command: CommandId,
    },
    /// A policy that must be asked could not be.
    #[error("policy \"{plugin}\" could not decide: {reason}")]
    PolicyFailed {
        /// The policy's id.
        plugin: String,
        /// What went wrong.
        reason: String,
        /// The command that records it.
        command: CommandId,
    },
    /// A provider could not plan, or its plan could not be carried out.
    #[error("provider \"{plugin}\" failed: {reason}")]
    ProviderFailed {
        /// The provider's id.
        plugin: String,
        /// What went wrong.
        reason: String,
        /// The command that records it; none when nothing was to be started.
        command: Option<CommandId>,
    },
    /// The provider is being loaded, and nobody else can start an agent with it.
    #[error("provider \"{0}\" is still being loaded")]
    ProviderLoading(String),
}

impl Refusal {
    /// A field that is missing, malformed or out of bounds.
    pub fn invalid(text: impl Into<String>) -> Self {
        Self::Invalid(text.into())
    }
}
