//! What the launcher reports of one session, told to the relay: the command's progress, the agent's card, its end.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde_json::{Map, Value, json};
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::actions::Part;
use super::link::Failed;
use super::notices::RelayNotices;
use super::records::{Minted, Record};
use super::{Daemon, records};
use crate::client::{Client, Credential};
use crate::domain::agent::{Agent, AgentStatus, ConditionKind, NewCondition, Registration};
use crate::domain::caller::Scope;
use crate::domain::caller::token::{TokenDraft, TokenKind};
use crate::domain::control::command::CommandStatus;
use crate::domain::control::spawn::SpawnSpec;
use crate::domain::id::{AgentId, CommandId};
use crate::domain::message::Draft;
use crate::domain::time::Timestamp;
use crate::launcher::{self, NewSession, Reports, Undelivered, WAITING_MEMBERS, Waiting};
use crate::sessions::{Died, SessionName, Started};

/// How often at most the relay is asked whether an agent says that it is ready.
const ASK_READY_EVERY: Duration = Duration::from_secs(1);

/// Who is told how a start goes.
#[derive(Clone)]
pub(super) enum Outcome {
    /// This command.
    Command(CommandId),
    /// Whoever puts one answer together of several starts.
    Part(mpsc::Sender<Part>),
    /// Nobody: it was told.
    Nobody,
}

/// Tells the relay what happens to one session. Each step is told until the relay has it.
pub(super) struct RelayReports {
    daemon: Daemon,
    /// The command that started it.
    command: CommandId,
    spec: Arc<SpawnSpec>,
    name: SessionName,
    /// Taken once it was told how it went.
    outcome: Mutex<Option<Outcome>>,
    /// How it went, from the moment at which that is known: the program may end before the relay has heard of it.
    went: Mutex<Option<Result<(), String>>>,
    asked_ready: Mutex<Option<Instant>>,
    says_ready: Arc<AtomicBool>,
}

impl RelayReports {
    /// How often an agent shows a sign of life: three times before any relay takes it for gone by default.
    pub(super) const ALIVE_EVERY: Duration = Duration::from_secs(25);

    pub(super) fn new(
        daemon: &Daemon,
        command: CommandId,
        spec: &SpawnSpec,
        name: &SessionName,
        outcome: Outcome,
    ) -> Self {
        Self {
            daemon: daemon.clone(),
            command,
            spec: Arc::new(spec.clone()),
            name: name.clone(),
            outcome: Mutex::new(Some(outcome)),
            went: Mutex::new(None),
            asked_ready: Mutex::new(None),
            says_ready: Arc::default(),
        }
    }

    fn agent(&self) -> &AgentId {
        &self.spec.agent_id
    }

    /// The command that is told how the start goes, if it is one.
    fn command_told(&self) -> Option<CommandId> {
        match &*self.outcome.lock().unwrap_or_else(PoisonError::into_inner) {
            Some(Outcome::Command(id)) => Some(*id),
            _ => None,
        }
    }

    /// The relay as the agent itself asks it. None before there is a token.
    fn as_agent(&self) -> Option<Client> {
        as_agent(&self.daemon, self.agent())
    }

    /// Reports a session that is found running and was never reported to run.
    pub(super) async fn found(&self) {
        let Some(started) = self.daemon.launcher.started(&self.name).await else { return };
        let (pid, attach) = (started.pid, started.attach_command.as_deref());
        let result = json!({"agentId": self.agent(), "session": self.name.as_str(), "pid": pid, "attach": attach});
        // It fails when the daemon ends, and then the next one finds it.
        let _ = self.running(&started, result).await;
    }

    /// Makes the agent's card, so that others find it before it says a word.
    async fn introduce(&self, attach: Option<&str>) -> Result<(), Failed> {
        let Some(client) = self.as_agent() else { return Ok(()) };
        let (spec, host) = (&self.spec, self.daemon.launcher.host());
        let registration = Registration {
            id: Some(spec.agent_id.to_string()),
            name: Some(spec.label.clone().unwrap_or_else(|| spec.agent_id.to_string())),
            label: Some(spec.label.clone()),
            tags: Some(Some(launcher::tags_of(spec))),
            machine: Some(Some(host.hostname.clone())),
            rig: Some(Some(spec.provider.clone())),
            status: Some(AgentStatus::Online.as_str().to_owned()),
            instance_id: Some(self.name.as_str().to_owned()),
            meta: Some(Some(host.meta_of(spec, self.name.as_str(), attach))),
            ..Registration::default()
        };
        self.daemon.link.ask_as(&client, |client| client.agents().register(&registration)).await?;
        Ok(())
    }

    /// Says what keeps the agent from working, or that nothing does any more.
    async fn condition(&self, condition: Option<NewCondition>) -> Result<Agent, Failed> {
        let link = &self.daemon.link;
        link.ask_as(link.client(), |client| client.notices().observed(self.agent(), condition.as_ref())).await
    }

    /// The card when its program is up: in no condition that only a start is in, and ready if it takes work.
    async fn opened(&self, ready: bool) -> Result<(), Failed> {
        let Some(client) = self.as_agent() else { return Ok(()) };
        let link = &self.daemon.link;
        let card = link.ask_as(&client, |client| client.agents().get(self.agent())).await?;
        let of_start = |kind| matches!(kind, ConditionKind::Starting | ConditionKind::Dialog);
        if card.condition.is_some_and(|condition| of_start(condition.kind)) {
            self.condition(None).await?;
        }
        if ready {
            let guard = Daemon::unguarded();
            link.ask_as(&client, |client| client.agents().set_ready(self.agent(), true, &guard)).await?;
        }
        Ok(())
    }

    /// Tells that the session has ended, unless it was told or another one of its agent is there.
    pub(super) async fn has_ended(&self, ending: &str) {
        let records = &self.daemon.records;
        // Whoever ends it waits until it is told, as whoever watches it does.
        let _turn = self.daemon.launcher.turn(&format!("the end of {}", self.name)).await;
        let Some(record) = records.get(self.agent()).filter(|record| self.is_of(record)) else { return };
        if record.ended.is_some() {
            return;
        }
        match self.tell_end(&record, ending).await {
            Ok(()) => {
                if let Err(error) = records.note_end(self.agent(), &record.session, ending).await {
                    tracing::error!(agent.id = %self.agent(), %error, "cannot note that a session has ended");
                }
                self.daemon.list_changed.notify_one();
            }
            // The next start finds it.
            Err(Failed::Ended) => {}
            Err(failed) => tracing::warn!(agent.id = %self.agent(), error = %failed, "an end is not taken"),
        }
    }

    /// Tells that the start came to nothing.
    pub(super) async fn has_failed(&self, reason: &str) {
        self.tell_outcome(Err(reason.to_owned())).await;
    }

    /// What is to be shown to the session.
    pub(super) fn notices(&self) -> RelayNotices {
        RelayNotices::new(&self.daemon, self.agent())
    }

    fn is_of(&self, record: &Record) -> bool {
        record.session == self.name.as_str()
    }

    async fn tell_end(&self, record: &Record, ending: &str) -> Result<(), Failed> {
        let by_itself = !self.daemon.records.is_ending(self.agent());
        let crashed = by_itself.then(|| NewCondition::seen(ConditionKind::Crashed, ending));
        let link = &self.daemon.link;
        let guard = Daemon::unguarded();
        if let Some(client) = self.as_agent() {
            let offline = async {
                link.ask_as(&client, |client| client.agents().set_ready(self.agent(), false, &guard)).await?;
                link.ask_as(&client, |client| client.agents().set_status(self.agent(), AgentStatus::Offline, &guard))
                    .await
            };
            gone_is_fine(offline.await)?;
        }
        gone_is_fine(self.condition(crashed).await)?;
        // Those that an administrator has made do not end with their agent.
        if record.token.kind == TokenKind::Named {
            let token = record.token.id;
            gone_is_fine(link.ask(|client| client.tokens().revoke(token)).await)?;
        }
        Ok(())
    }

    async fn tell_outcome(&self, told: Result<(), String>) {
        let id = self.command_told();
        let result = match id {
            Some(id) => match self.daemon.link.ask(|client| client.control().command(id)).await {
                Ok(command) => without_waiting(command.result.map(|result| result.value())),
                Err(Failed::Ended) => return,
                Err(_) => None,
            },
            None => Some(json!({"session": self.name.as_str()})),
        };
        let outcome = self.outcome.lock().unwrap_or_else(PoisonError::into_inner).clone();
        match outcome {
            Some(Outcome::Command(id)) => match told {
                Ok(()) => self.daemon.report(id, CommandStatus::Succeeded, result, None).await,
                Err(reason) => self.daemon.report(id, CommandStatus::Failed, result, Some(reason)).await,
            },
            Some(Outcome::Part(tell)) => {
                let part = told.map(|()| result.unwrap_or_default());
                let _ = tell.send((self.agent().clone(), part)).await;
            }
            Some(Outcome::Nobody) | None => {}
        }
        // Not before: whoever tells it may be interrupted by the end of the program.
        self.outcome.lock().unwrap_or_else(PoisonError::into_inner).take();
    }
}

impl Reports for RelayReports {
    async fn beginning(&self, session: &NewSession) -> Result<String, String> {
        let agent = session.spec.agent_id.to_string();
        let draft = TokenDraft {
            name: Some(agent.chars().take(120).collect()),
            scopes: Some(vec![Scope::Agent.as_str().to_owned()]),
            agent_id: Some(agent),
            expires_at: None,
        };
        let minted = self.daemon.link.ask(|client| client.tokens().create(&draft)).await;
        let card = minted.map_err(|failed| format!("the relay makes no token for the agent: {failed}"))?;
        let secret = card.token.ok_or("the relay made a token for the agent and did not tell it")?;
        let record = Record {
            spec: session.spec.clone(),
            session: session.name.as_str().to_owned(),
            command: self.command,
            started_at: Timestamp::now().as_ms(),
            token: Minted { id: card.id, kind: card.kind, secret: secret.clone() },
            ended: None,
        };
        self.daemon.records.put(record).await.map_err(|error| format!("what is started cannot be noted: {error}"))?;
        Ok(secret)
    }

    async fn running(&self, started: &Started, mut result: Value) -> Result<(), String> {
        result["host"] = Value::from(self.daemon.launcher.host().hostname.as_str());
        if let Some(id) = self.command_told() {
            self.daemon.report(id, CommandStatus::Running, Some(result), None).await;
        }
        self.daemon.list_changed.notify_one();
        let told = async {
            self.introduce(started.attach_command.as_deref()).await?;
            self.condition(Some(NewCondition::seen(ConditionKind::Starting, ""))).await
        };
        match told.await {
            Ok(_) => {}
            Err(Failed::Ended) => return Err("the daemon ended meanwhile".to_owned()),
            Err(failed) => {
                tracing::warn!(agent.id = %self.agent(), error = %failed, "a started agent cannot be registered");
            }
        }
        if self.daemon.link.until().is_cancelled() {
            return Err("the daemon ended meanwhile".to_owned());
        }
        Ok(())
    }

    async fn waiting(&self, waiting: &Waiting) {
        if let Some(id) = self.command_told() {
            let attach = self.daemon.launcher.find(&self.name).await.and_then(|session| session.attach_command);
            let now = self.daemon.link.ask(|client| client.control().command(id)).await;
            if let Ok(now) = now
                && now.status == CommandStatus::Running
            {
                let mut result = members(now.result.map(|result| result.value()));
                result.extend(waiting.members(attach.as_deref()));
                self.daemon.report(id, CommandStatus::Running, Some(result.into()), None).await;
            }
        }
        let condition = waiting.condition();
        if let Err(Failed::Refused(error)) = self.condition(Some(condition)).await {
            tracing::warn!(agent.id = %self.agent(), %error, "what an agent waits for is not taken");
        }
    }

    /// What the relay said last: nobody waits for it here, since it may be away.
    async fn says_ready(&self) -> bool {
        let is_due = {
            let mut asked = self.asked_ready.lock().unwrap_or_else(PoisonError::into_inner);
            let is_due = asked.is_none_or(|asked| asked.elapsed() >= ASK_READY_EVERY);
            if is_due {
                *asked = Some(Instant::now());
            }
            is_due
        };
        if is_due && let Some(client) = self.as_agent() {
            let (says_ready, agent) = (self.says_ready.clone(), self.agent().clone());
            self.daemon.tasks.spawn(async move {
                if let Ok(card) = client.agents().get(&agent).send().await {
                    says_ready.store(card.ready, Ordering::Relaxed);
                }
            });
        }
        self.says_ready.load(Ordering::Relaxed)
    }

    async fn up(&self, prompt: Result<(), Undelivered>) {
        let (ready, told) = match prompt {
            Ok(()) => (true, Ok(())),
            Err(undelivered) => {
                tracing::warn!(%undelivered, "the prompt did not reach the session");
                let problem = undelivered.problem();
                (undelivered.is_ready, Err(problem))
            }
        };
        *self.went.lock().unwrap_or_else(PoisonError::into_inner) = Some(told.clone());
        match self.opened(ready).await {
            Ok(()) => {}
            Err(Failed::Ended) => return,
            Err(failed) => {
                tracing::warn!(agent.id = %self.agent(), error = %failed, "the card of an agent that is up is not taken");
            }
        }
        self.tell_outcome(told).await;
    }

    async fn died(&self, died: &Died) {
        let went = self.went.lock().unwrap_or_else(PoisonError::into_inner).clone();
        self.tell_outcome(went.unwrap_or_else(|| Err(died.to_string()))).await;
    }

    async fn ended(&self, ending: &str) {
        self.has_ended(ending).await;
    }

    fn alive(&self) {
        let Some(client) = self.as_agent() else { return };
        let (daemon, agent, guard) = (self.daemon.clone(), self.agent().clone(), Daemon::unguarded());
        self.daemon.tasks.spawn(async move {
            // The next one is as good.
            let Err(error) = client.agents().heartbeat(&agent, None, &guard).send().await else { return };
            tracing::debug!(agent.id = %agent, %error, "no sign of life");
            if error.is("not_found") {
                daemon.introduce_again(&agent).await;
            }
        });
    }

    async fn send_prompt(&self, prompt: &str) -> Result<(), String> {
        let client = self.as_agent().ok_or("the agent has no token")?;
        // Nobody else's name may be used from here.
        let agent = || Some(self.agent().to_string());
        let draft = Draft { from: agent(), to: agent(), body: Some(prompt.to_owned()), ..Draft::default() };
        let sent = self.daemon.link.ask_as(&client, |client| client.messages().send(&draft)).await;
        sent.map(drop).map_err(|failed| failed.to_string())
    }
}

impl Daemon {
    /// Makes the card of an agent that runs and that the relay has forgotten.
    async fn introduce_again(&self, agent: &AgentId) {
        let Some(record) = self.records.get(agent).filter(|record| record.ended.is_none()) else { return };
        let Ok(name) = SessionName::parse(&record.session) else { return };
        let attach = self.launcher.find(&name).await.and_then(|session| session.attach_command);
        let reports = RelayReports::new(self, record.command, &record.spec, &name, Outcome::Nobody);
        let told = async {
            reports.introduce(attach.as_deref()).await?;
            reports.opened(true).await
        };
        if let Err(Failed::Refused(error)) = told.await {
            tracing::warn!(agent.id = %agent, %error, "an agent that the relay has forgotten cannot be registered again");
        }
    }
}

/// The relay as this agent asks it.
pub(super) fn as_agent(daemon: &Daemon, agent: &AgentId) -> Option<Client> {
    let records::Record { token, .. } = daemon.records.get(agent)?;
    let credential = Credential::parse(&token.secret).ok()?;
    Some(daemon.link.client().with_credential(Some(credential)))
}

/// What is not there any more need not be changed, and a credential that has ended not be used.
fn gone_is_fine<T>(answered: Result<T, Failed>) -> Result<(), Failed> {
    match answered {
        Err(failed) if failed.is("not_found") || failed.is("unauthorized") => Ok(()),
        answered => answered.map(drop),
    }
}

fn members(result: Option<Value>) -> Map<String, Value> {
    match result {
        Some(Value::Object(members)) => members,
        _ => Map::new(),
    }
}

/// The result of a command without what was told while its program was not up.
fn without_waiting(result: Option<Value>) -> Option<Value> {
    let mut result = members(result);
    for member in WAITING_MEMBERS {
        result.remove(member);
    }
    (!result.is_empty()).then_some(Value::Object(result))
}
