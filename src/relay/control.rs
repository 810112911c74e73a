//! Control actions: facts, then policies, then one transaction that records the decision and sends
//! the message. A denial is recorded too.
//!
//! Which policies are asked does not change under a request: it takes the set of plugins once and
//! keeps it to its end.

use serde_json::{Map, Value, json};

use super::Relay;
use crate::domain::activity::{ActivityKind, Entry};
use crate::domain::agent::Agent;
use crate::domain::caller::Caller;
use crate::domain::command::{Command, CommandStatus};
use crate::domain::control::{
    AgentFacts, Context, Control, ControlKind, ControlTarget, Decision, Outcome, Question, RUNNING_MAX, RunningAgent,
    Site, Spawn, VerdictRecord,
};
use crate::domain::id::{AgentId, CommandId};
use crate::domain::message::{Message, MessageType, NewMessage};
use crate::domain::orchestrator::{Orchestrator, OrchestratorStatus};
use crate::domain::path::{PathFacts, is_within};
use crate::domain::refusal::Refusal;
use crate::domain::text::short;
use crate::domain::time::Timestamp;
use crate::store::{Answer, Idempotency, NewCommand, StoreError};

/// A request to start an agent, checked for form.
#[derive(Clone, Debug)]
pub struct SpawnAsk {
    /// The provider that plans it.
    pub provider: String,
    /// What it may do by itself.
    pub approval_mode: crate::domain::control::ApprovalMode,
    /// Where it works; the base directory when left out.
    pub cwd: Option<String>,
    /// A human name for the session.
    pub label: Option<String>,
    /// The first prompt.
    pub prompt: Option<String>,
}

/// Which agents of an orchestrator an action is for.
#[derive(Clone, Debug)]
pub enum ManagedTarget {
    /// This one.
    One(AgentId),
    /// All of them, said in so many words.
    All,
}

/// A decision that lets something happen, with what each policy said.
pub(super) struct Permit {
    /// The control as policies left it.
    pub(super) control: Control,
    pub(super) decided: Decided,
}

/// What is recorded of a decision.
pub(super) struct Decided {
    verdicts: Vec<VerdictRecord>,
    /// What the policies were asked, as JSON; left out above [`QUESTION_BYTES_MAX`].
    question: Option<String>,
}

/// The largest question that is kept with its command: some thousand running agents.
const QUESTION_BYTES_MAX: usize = 256 * 1024;

impl Relay {
    /// Asks an agent to restart or shut down. One that runs on this host is seen to by the relay,
    /// whether or not the caller waits for it.
    pub async fn control_agent(
        &self,
        caller: &Caller,
        id: AgentId,
        kind: ControlKind,
        idempotency: Option<Idempotency>,
    ) -> Result<Answer, StoreError> {
        let (relay, caller) = (self.clone(), caller.clone());
        self.to_its_end(async move { relay.act_on_agent(&caller, id, kind, idempotency).await }).await
    }

    async fn act_on_agent(
        &self,
        caller: &Caller,
        id: AgentId,
        kind: ControlKind,
        idempotency: Option<Idempotency>,
    ) -> Result<Answer, StoreError> {
        let agent = self.store.agent(id).await?;
        if !agent.is_controllable() {
            return Err(Refusal::NotControllable.into());
        }
        if let Some(answer) = self.answered_before(&idempotency).await? {
            return Ok(answer);
        }
        let _place = self.begin_control()?;
        let control = as_control(kind, ControlTarget::Agent(self.agent_facts(&agent).await?));
        let request = json!({"action": kind.as_str(), "agentId": agent.id});
        let permit = self.decide(caller, control, &agent.id, request.clone()).await?;

        let now = Timestamp::now();
        let meta = envelope(
            "agentControl",
            json!({
                "action": kind.as_str(), "requestedBy": caller.name, "requestedAt": now,
            }),
        );
        let subject = format!("Agent {} requested", kind.as_str());
        let body = match kind {
            ControlKind::Restart => "Dashboard requested that this agent restart its relay-managed session now.",
            _ => "Dashboard requested that this agent shut down its relay-managed session now.",
        };
        let new = self.new_command(caller, kind, &agent.id, request, permit.decided).with_message(system_message(
            &agent.id,
            &subject,
            body.to_owned(),
            meta,
        ));
        let agent_id = agent.id.clone();
        let (answer, command) = self
            .store
            .record_command(new, idempotency, move |command, message| {
                let answer = json!({"ok": true, "action": kind.as_str(), "message": message, "command": command});
                let icon = if kind == ControlKind::Restart { "ti-refresh" } else { "ti-power" };
                let message_id = message.map_or_else(Default::default, |message| message.id);
                let id = format!("agent-{}-action-{}-{message_id}", short(&agent_id), kind.as_str());
                let entry = audit(&id, &subject, icon, "agents", command, message)
                    .body(kind.as_str())
                    .meta(&agent_id)
                    .agent(agent_id)
                    .metadata(json!({"action": kind.as_str()}));
                (answer, entry)
            })
            .await?;
        if let Some(command) = command {
            self.see_to_session(command).await?;
        }
        Ok(answer)
    }

    /// Has an orchestrator start an agent.
    pub async fn spawn_through(
        &self,
        caller: &Caller,
        orchestrator: Orchestrator,
        ask: SpawnAsk,
        idempotency: Option<Idempotency>,
        chosen: bool,
    ) -> Result<Answer, StoreError> {
        if let Some(answer) = self.answered_before(&idempotency).await? {
            return Ok(answer);
        }
        let _place = self.begin_control()?;
        let site = site_of(&orchestrator);
        let base = std::path::Path::new(&orchestrator.base_dir);
        let control = Control::Spawn(Spawn {
            provider: ask.provider,
            approval_mode: ask.approval_mode,
            cwd: PathFacts::elsewhere(ask.cwd.as_deref().unwrap_or(&orchestrator.base_dir), base),
            label: ask.label,
            prompt: ask.prompt,
            site,
        });
        let request = spawn_request(&control);
        let permit = self.decide(caller, control, &orchestrator.agent_id, request).await?;
        let request = spawn_request(&permit.control);

        let mut details = request.clone();
        details["requestedBy"] = Value::from(caller.name.as_str());
        details["requestedAt"] = Value::from(Timestamp::now());
        let message = system_message(
            &orchestrator.agent_id,
            "Spawn agent",
            request.to_string(),
            envelope("orchestratorControl", details),
        );
        let new = self
            .new_command(caller, ControlKind::Spawn, &orchestrator.agent_id, request.clone(), permit.decided)
            .with_message(message);
        let announce = move |command: &Command, message: Option<&Message>| {
            let provider = request["provider"].as_str().unwrap_or_default();
            let mut answer =
                json!({"ok": true, "orchestratorId": orchestrator.id, "message": message, "command": command});
            let (id, title, view) = if chosen {
                answer["provider"] = Value::from(provider);
                (
                    format!("agent-spawn-{provider}-{}", command.id),
                    format!("{provider} agent spawn requested (via {})", orchestrator.id),
                    "agents",
                )
            } else {
                (
                    format!("orchestrator-spawn-{}-{}", short(&orchestrator.id), command.id),
                    format!("Spawn {provider} agent requested"),
                    "orchestrators",
                )
            };
            let entry = audit(&id, &title, "ti-plus", view, command, message)
                .body(request["cwd"].as_str().unwrap_or_default())
                .meta(&orchestrator.id)
                .metadata(json!({
                    "orchestratorId": orchestrator.id, "provider": provider,
                    "approvalMode": request["approvalMode"], "label": request["label"],
                }));
            (answer, entry)
        };
        Ok(self.store.record_command(new, idempotency, announce).await?.0)
    }

    /// Has an orchestrator restart or shut down one of its agents, or all.
    pub async fn control_orchestrator(
        &self,
        caller: &Caller,
        orchestrator: Orchestrator,
        kind: ControlKind,
        target: ManagedTarget,
        idempotency: Option<Idempotency>,
    ) -> Result<Answer, StoreError> {
        let agent_id = match &target {
            ManagedTarget::One(id) if !orchestrator.managed_agents.iter().any(|agent| agent.agent_id == *id) => {
                return Err(Refusal::NotFound("managed agent").into());
            }
            ManagedTarget::One(id) => Some(id.clone()),
            ManagedTarget::All => None,
        };
        if let Some(answer) = self.answered_before(&idempotency).await? {
            return Ok(answer);
        }
        let _place = self.begin_control()?;
        let facts = match &agent_id {
            None => ControlTarget::EveryAgentOf(site_of(&orchestrator)),
            Some(id) => ControlTarget::Agent(self.managed_facts(&orchestrator, id).await?),
        };
        let mut request = json!({"action": kind.as_str()});
        match &agent_id {
            Some(id) => request["agentId"] = Value::from(id.as_str()),
            None => request["all"] = Value::from(true),
        }
        let permit = self.decide(caller, as_control(kind, facts), &orchestrator.agent_id, request.clone()).await?;

        let mut details = request.clone();
        details["requestedBy"] = Value::from(caller.name.as_str());
        details["requestedAt"] = Value::from(Timestamp::now());
        let subject = if kind == ControlKind::Restart { "Restart agent" } else { "Shutdown agent" };
        let message = system_message(
            &orchestrator.agent_id,
            subject,
            request.to_string(),
            envelope("orchestratorControl", details),
        );
        let new = self.new_command(caller, kind, &orchestrator.agent_id, request, permit.decided).with_message(message);
        let announce = move |command: &Command, message: Option<&Message>| {
            let answer = json!({"ok": true, "action": kind.as_str(), "message": message, "command": command});
            let icon = if kind == ControlKind::Restart { "ti-refresh" } else { "ti-power" };
            let id = format!("orchestrator-action-{}-{}-{}", short(&orchestrator.id), kind.as_str(), command.id);
            let title = format!("Agent {} requested", kind.as_str());
            let entry = audit(&id, &title, icon, "orchestrators", command, message)
                .body(agent_id.as_deref().unwrap_or("all"))
                .meta(&orchestrator.id)
                .metadata(json!({"orchestratorId": orchestrator.id, "action": kind.as_str(), "agentId": agent_id}))
                .agent(agent_id);
            (answer, entry)
        };
        Ok(self.store.record_command(new, idempotency, announce).await?.0)
    }

    /// The orchestrator that should start this: online, offering the provider, its base directory
    /// holding the working directory; the one with the fewest agents.
    pub async fn choose_orchestrator(&self, ask: &SpawnAsk) -> Result<Option<Orchestrator>, StoreError> {
        let mut candidates = self.store.orchestrators().await?;
        candidates.retain(|orchestrator| {
            let base = std::path::Path::new(&orchestrator.base_dir);
            orchestrator.status == OrchestratorStatus::Online
                && orchestrator.providers.contains(&ask.provider)
                && ask.cwd.as_deref().is_none_or(|cwd| is_within(&base.join(cwd), base))
        });
        Ok(candidates
            .into_iter()
            .min_by(|one, other| (one.managed_agents.len(), &one.id).cmp(&(other.managed_agents.len(), &other.id))))
    }

    /// Asks the policies and changes nothing.
    pub async fn ask_policies(&self, caller: &Caller, control: Control) -> Result<Decision, StoreError> {
        let context = self.context(caller).await?;
        Ok(self.plugins.current().decide(control, &context).await)
    }

    /// Asks the policies. What they refuse is recorded, and answered as a refusal.
    pub(super) async fn decide(
        &self,
        caller: &Caller,
        control: Control,
        target: &AgentId,
        request: Value,
    ) -> Result<Permit, StoreError> {
        let kind = control.kind();
        let context = self.context(caller).await?;
        let Decision { verdicts, narrowed, outcome } = self.plugins.current().decide(control.clone(), &context).await;
        let question = serde_json::to_string(&Question { control, context, narrowed }).ok();
        let decided = Decided { verdicts, question: question.filter(|text| text.len() <= QUESTION_BYTES_MAX) };
        let label = match &outcome {
            Outcome::Allowed(_) => "allowed",
            Outcome::Denied { .. } => "denied",
            Outcome::Failed { .. } => "failed",
        };
        metrics::counter!(crate::telemetry::metric::CONTROLS, "kind" => kind.as_str(), "outcome" => label).increment(1);
        let (plugin, code, reason, failed) = match outcome {
            Outcome::Allowed(control) => return Ok(Permit { control, decided }),
            Outcome::Denied { plugin, code, reason } => (plugin, code, reason, false),
            Outcome::Failed { plugin, reason } => (plugin, "policy_failed".to_owned(), reason, true),
        };
        let mut new = self.new_command(caller, kind, target, request, decided);
        new.status = CommandStatus::Denied;
        new.error = Some(reason.clone());
        let title = format!("{} denied", capitalised(kind.as_str()));
        let (body, by, of) = (reason.clone(), plugin.clone(), target.clone());
        let (_, command) = self
            .store
            .record_command(new, None, move |command, _| {
                let entry = audit(&format!("command-{}-denied", command.id), &title, "ti-ban", "agents", command, None)
                    .body(&body)
                    .meta(&by)
                    .agent(of);
                (Value::Null, entry)
            })
            .await?;
        let command = command.map_or_else(CommandId::default, |command| command.id);
        Err(if failed {
            Refusal::PolicyFailed { plugin, reason, command }.into()
        } else {
            Refusal::Denied { plugin, policy_code: code, reason, command }.into()
        })
    }

    pub(super) async fn answered_before(
        &self,
        idempotency: &Option<Idempotency>,
    ) -> Result<Option<Answer>, StoreError> {
        match idempotency {
            None => Ok(None),
            Some(idempotency) => self.store.earlier_answer(idempotency.clone()).await,
        }
    }

    pub(super) fn new_command(
        &self,
        caller: &Caller,
        kind: ControlKind,
        target: &AgentId,
        request: Value,
        decided: Decided,
    ) -> NewCommand {
        NewCommand {
            kind,
            target: target.clone(),
            request,
            decision: decided.verdicts,
            question: decided.question,
            status: CommandStatus::Pending,
            error: None,
            requested_by: caller.principal().to_owned(),
            lifetime_ms: i64::try_from(self.settings.command_lifetime.as_millis()).unwrap_or(i64::MAX),
            message: None,
        }
    }

    async fn context(&self, caller: &Caller) -> Result<Context, StoreError> {
        let mut running: Vec<RunningAgent> = Vec::new();
        for session in self.store.open_sessions().await? {
            running.push(RunningAgent {
                agent_id: session.start.agent_id.into_string(),
                provider: session.start.provider,
                cwd: session.start.cwd,
                label: session.start.label,
                approval_mode: session.start.approval_mode,
                orchestrator: None,
                started_at: session.started_at.as_ms(),
            });
        }
        for orchestrator in self.store.orchestrators().await? {
            running.extend(orchestrator.managed_agents.into_iter().map(|agent| RunningAgent {
                agent_id: agent.agent_id.into_string(),
                provider: agent.provider,
                cwd: agent.cwd,
                label: agent.label,
                approval_mode: agent.approval_mode,
                orchestrator: Some(orchestrator.id.as_str().to_owned()),
                started_at: agent.started_at.as_ms(),
            }));
        }
        running.sort_by_key(|agent| std::cmp::Reverse(agent.started_at));
        running.truncate(RUNNING_MAX);
        Ok(Context { caller: caller.facts(), now: Timestamp::now().as_ms(), running })
    }

    /// What policies may know of an agent.
    pub async fn agent_facts(&self, agent: &Agent) -> Result<AgentFacts, StoreError> {
        let here = self.store.session(agent.id.clone()).await?.is_some_and(|session| session.ended_at.is_none());
        let site = if here {
            Some(self.host_site())
        } else {
            let orchestrators = self.store.orchestrators().await?;
            let manager = orchestrators
                .iter()
                .find(|orchestrator| orchestrator.managed_agents.iter().any(|managed| managed.agent_id == agent.id));
            manager.map(site_of)
        };
        Ok(AgentFacts {
            id: agent.id.as_str().to_owned(),
            name: agent.name.clone(),
            label: agent.label.clone(),
            tags: agent.tags.clone(),
            capabilities: agent.capabilities.clone(),
            machine: agent.machine.clone(),
            status: agent.status.as_str().to_owned(),
            site,
        })
    }

    /// The facts of a managed agent, which need not have registered.
    pub async fn managed_facts(&self, orchestrator: &Orchestrator, id: &AgentId) -> Result<AgentFacts, StoreError> {
        match self.store.agent(id.clone()).await {
            Ok(agent) => Ok(AgentFacts { site: Some(site_of(orchestrator)), ..self.agent_facts(&agent).await? }),
            Err(StoreError::Refused(Refusal::NotFound(_))) => {
                let managed = orchestrator.managed_agents.iter().find(|agent| agent.agent_id == *id);
                Ok(AgentFacts {
                    id: id.as_str().to_owned(),
                    name: id.as_str().to_owned(),
                    label: managed.and_then(|agent| agent.label.clone()),
                    tags: Vec::new(),
                    capabilities: Vec::new(),
                    machine: Some(orchestrator.hostname.clone()),
                    status: "offline".to_owned(),
                    site: Some(site_of(orchestrator)),
                })
            }
            Err(error) => Err(error),
        }
    }
}

/// The control that acts on a target.
pub fn as_control(kind: ControlKind, target: ControlTarget) -> Control {
    match kind {
        ControlKind::Restart => Control::Restart(target),
        ControlKind::Shutdown | ControlKind::Spawn => Control::Shutdown(target),
    }
}

/// Where an orchestrator starts agents.
pub fn site_of(orchestrator: &Orchestrator) -> Site {
    Site {
        orchestrator: Some(orchestrator.id.as_str().to_owned()),
        hostname: orchestrator.hostname.clone(),
        base_dir: PathFacts::elsewhere(&orchestrator.base_dir, std::path::Path::new("/")),
    }
}

/// A spawn as it is sent and recorded; what was left out stays out.
pub(super) fn spawn_request(control: &Control) -> Value {
    let Control::Spawn(spawn) = control else { return Value::Null };
    let mut request = json!({
        "action": "spawn", "provider": spawn.provider, "cwd": spawn.cwd.effective(),
        "approvalMode": spawn.approval_mode,
    });
    if let Some(label) = &spawn.label {
        request["label"] = Value::from(label.as_str());
    }
    if let Some(prompt) = &spawn.prompt {
        request["prompt"] = Value::from(prompt.as_str());
    }
    request
}

fn envelope(key: &str, details: Value) -> Map<String, Value> {
    let mut meta = Map::new();
    meta.insert(key.to_owned(), details);
    meta.insert("delivery".to_owned(), Value::from("interrupt"));
    meta.insert("priority".to_owned(), Value::from("urgent"));
    meta
}

fn system_message(to: &AgentId, subject: &str, body: String, meta: Map<String, Value>) -> NewMessage {
    NewMessage {
        kind: MessageType::System,
        subject: Some(subject.to_owned()),
        meta,
        ..NewMessage::plain(AgentId::system(), to.as_str(), body)
    }
}

pub(super) fn audit(
    id: &str,
    title: &str,
    icon: &'static str,
    view: &'static str,
    command: &Command,
    message: Option<&Message>,
) -> Entry {
    Entry::new(ActivityKind::Control, id, title)
        .icon(icon)
        .view(view)
        .message(message.map(|message| message.id).or(command.message_id))
}

pub(super) fn object(value: Value) -> Option<Map<String, Value>> {
    match value {
        Value::Object(map) => Some(map),
        _ => None,
    }
}

fn capitalised(word: &str) -> String {
    let mut chars = word.chars();
    chars.next().map_or_else(String::new, |first| first.to_uppercase().collect::<String>() + chars.as_str())
}

impl NewCommand {
    fn with_message(mut self, message: NewMessage) -> Self {
        self.message = Some(message);
        self
    }
}
