//! The sessions of the relay's own host: what the launcher reports goes into the store, and those that run
//! are ended or restarted when somebody asked for it.

use std::sync::Arc;

use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tracing::Instrument as _;

use crate::domain::agent::{AgentStatus, ConditionKind, NewCondition, NewRegistration};
use crate::domain::caller::Scope;
use crate::domain::caller::token::{Token, TokenKind};
use crate::domain::control::ControlKind;
use crate::domain::control::command::{Command, CommandStatus};
use crate::domain::control::order::ControlOrder;
use crate::domain::control::plan::StopReason;
use crate::domain::control::session::{SessionRecord, SessionStart};
use crate::domain::control::spawn::{SpawnSpec, Survivor};
use crate::domain::id::{AgentId, CommandId};
use crate::domain::message::NewMessage;
use crate::domain::refusal::Refusal;
use crate::launcher::{self, LaunchError, Launched, NewSession, Prepared, Reports, Undelivered, Waiting};
use crate::plugins::PluginSet;
use crate::relay::access::fresh_secret;
use crate::relay::messages::notices::StoreNotices;
use crate::relay::{Error, Relay};
use crate::sessions::{Died, Place, Reservation, SessionName, Started};

/// The longest problem of a prompt that is kept, in characters.
const REASON_MAX: usize = 4_000;

/// Writes what happens to one session into the store.
#[derive(Clone)]
pub(in crate::relay) struct StoreReports {
    relay: Relay,
    /// The command that asked for it.
    command: CommandId,
    spec: Arc<SpawnSpec>,
    name: SessionName,
    /// What whoever asked is answered; none for a restart, which was answered before.
    answer: Option<Box<ControlOrder>>,
}

impl StoreReports {
    pub(in crate::relay) fn new(relay: &Relay, command: CommandId, spec: &SpawnSpec, name: &SessionName) -> Self {
        Self { relay: relay.clone(), command, spec: Arc::new(spec.clone()), name: name.clone(), answer: None }
    }

    /// What is to be shown to the session.
    fn notices(&self) -> StoreNotices {
        StoreNotices::new(&self.relay, &self.spec.agent_id)
    }

    /// With an answer that the command keeps once the program runs.
    pub(in crate::relay) fn with_answer(self, order: ControlOrder) -> Self {
        Self { answer: Some(Box::new(order)), ..self }
    }

    /// Reports a session that is found running and was never reported to run.
    pub(in crate::relay) async fn found(&self) {
        let Some(started) = self.relay.launcher.started(&self.name).await else { return };
        let (pid, attach) = (started.pid, started.attach_command.as_deref());
        let result =
            json!({"agentId": self.spec.agent_id, "session": self.name.as_str(), "pid": pid, "attach": attach});
        if let Err(reason) = self.running(&started, result).await {
            tracing::error!(reason, "cannot write down that a session runs");
        }
    }

    /// Makes the agent's card, so that others find it before it says a word.
    async fn introduce(&self, started: &Started) {
        let spec = &self.spec;
        let host = self.relay.launcher.host();
        let meta = host.meta_of(spec, self.name.as_str(), started.attach_command.as_deref());
        let registration = NewRegistration {
            name: Some(spec.label.clone().unwrap_or_else(|| spec.agent_id.to_string())),
            label: Some(spec.label.clone()),
            tags: Some(Some(launcher::tags_of(spec))),
            machine: Some(Some(host.hostname.clone())),
            rig: Some(Some(spec.provider.clone())),
            status: Some(AgentStatus::Online),
            instance_id: Some(self.name.as_str().to_owned()),
            meta: Some(Some(meta)),
            condition: Some(NewCondition::seen(ConditionKind::Starting, "")),
            ..NewRegistration::of(spec.agent_id.clone())
        };
        if let Err(error) = self.relay.store.register(registration, None).await {
            tracing::warn!(%error, "cannot register a started agent");
        }
    }
}

impl Reports for StoreReports {
    async fn beginning(&self, session: &NewSession) -> Result<String, String> {
        let secret = fresh_secret("ar_").map_err(|error| format!("no randomness for a token: {error}"))?;
        let spec = &session.spec;
        let token = Token {
            name: spec.agent_id.to_string(),
            hash: Sha256::digest(secret.as_bytes()).into(),
            scopes: vec![Scope::Agent],
            agent_id: Some(spec.agent_id.clone()),
            kind: TokenKind::Session,
            expires_at: None,
        };
        let start =
            SessionStart { spec: spec.clone(), command_id: self.command, name: session.name.as_str().to_owned() };
        self.relay.store.begin_session(start, token).await.map_err(|error| error.to_string())?;
        Ok(secret)
    }

    async fn running(&self, started: &Started, result: Value) -> Result<(), String> {
        let answer = self.answer.as_deref().map(|order| order.clone().running_as(started.pid));
        let (name, pid) = (self.name.as_str().to_owned(), i64::from(started.pid));
        let up = self.relay.store.session_up(name, pid, self.command, result, answer).await;
        up.map_err(|error| error.to_string())?;
        self.introduce(started).await;
        Ok(())
    }

    async fn waiting(&self, waiting: &Waiting) {
        let attach = self.relay.launcher.find(&self.name).await.and_then(|session| session.attach_command);
        let told = waiting.members(attach.as_deref());
        let condition = waiting.condition();
        let waits = self.relay.store.session_waits(self.command, told, self.spec.agent_id.clone(), condition);
        if let Err(error) = waits.await {
            tracing::warn!(%error, "cannot write down what a session waits for");
        }
    }

    async fn says_ready(&self) -> bool {
        self.relay.store.agent(self.spec.agent_id.clone()).await.is_ok_and(|card| card.ready_otherwise)
    }

    async fn up(&self, prompt: Result<(), Undelivered>) {
        let (ready, problem) = match prompt {
            Ok(()) => (true, None),
            Err(undelivered) => {
                tracing::warn!(%undelivered, "the prompt did not reach the session");
                let problem = undelivered.problem();
                (undelivered.is_ready, Some(problem.chars().take(REASON_MAX).collect()))
            }
        };
        let opened = self.relay.store.session_opened(self.command, self.spec.agent_id.clone(), ready, problem);
        if let Err(error) = opened.await {
            tracing::error!(%error, "cannot write down that a session is up");
        }
    }

    async fn died(&self, died: &Died) {
        self.relay.fail(self.command, &died.to_string()).await;
    }

    async fn ended(&self, ending: &str) {
        let (name, agent) = (self.name.as_str().to_owned(), self.spec.agent_id.clone());
        if let Err(error) = self.relay.store.end_session(name, agent, ending.to_owned()).await {
            tracing::error!(%error, "cannot write down that a session ended");
        }
    }

    fn alive(&self) {
        self.relay.store.touch(&self.spec.agent_id);
    }

    async fn send_prompt(&self, prompt: &str) -> Result<(), String> {
        let message = NewMessage::plain(AgentId::user(), self.spec.agent_id.as_str(), prompt);
        self.relay.store.send(message, None).await.map(drop).map_err(|error| error.to_string())
    }
}

impl Relay {
    /// Starts an approved spawn of a caller on this host, and sees to its session in the background.
    pub(in crate::relay) async fn launch(
        &self,
        plugins: &PluginSet,
        caller: &str,
        spec: &SpawnSpec,
        place: Place,
        reservation: Reservation,
        reports: StoreReports,
    ) -> Result<(), LaunchError> {
        let span = session_span(&reports);
        let launched = self.launcher.launch(plugins, caller, spec, place, reservation, &reports);
        let launched = launched.instrument(span.clone()).await?;
        match launched {
            Launched::Planned(result) => {
                let answer = reports.answer.map(|order| *order);
                let done = self.store.finish_dry_run(reports.command, result, answer).await;
                done.map_err(|error| LaunchError::Report(error.to_string()))
            }
            Launched::Running { follow, .. } => {
                let relay = self.clone();
                let following = async move {
                    follow.run(&reports, &reports.notices(), relay.alive_every(), &relay.draining).await;
                };
                self.tasks.spawn_on(following.instrument(span), &self.runtime);
                Ok(())
            }
        }
    }

    /// Watches a session that an earlier run of the relay started.
    pub(in crate::relay) fn watch(&self, reports: StoreReports) {
        let (relay, span) = (self.clone(), session_span(&reports));
        let watching = async move {
            let (notices, every) = (reports.notices(), relay.alive_every());
            relay.launcher.watch(&reports.name, &reports, &notices, every, &relay.draining).await;
        };
        self.tasks.spawn_on(watching.instrument(span), &self.runtime);
    }

    /// Goes on with a session that an earlier run of the relay started, and whose command was not done.
    pub(in crate::relay) async fn follow(&self, reports: StoreReports) {
        let follow = self.launcher.follow(&reports.name, reports.spec.prompt.clone()).await;
        let (relay, span) = (self.clone(), session_span(&reports));
        let following = async move {
            follow.run(&reports, &reports.notices(), relay.alive_every(), &relay.draining).await;
        };
        self.tasks.spawn_on(following.instrument(span), &self.runtime);
    }

    fn alive_every(&self) -> std::time::Duration {
        self.settings.offline_after / 3
    }

    /// Carries out a restart or shutdown of an agent that runs on this host; others do it themselves.
    pub(in crate::relay) async fn see_to_session(
        &self,
        command: Command,
        plugins: Arc<PluginSet>,
    ) -> Result<(), Error> {
        if self.own_session(&command.target).await?.is_some() {
            let span = tracing::info_span!("control", command.id = %command.id, agent.id = %command.target);
            let relay = self.clone();
            let ending = async move { relay.end_or_restart(command, &plugins).await };
            self.tasks.spawn_on(ending.instrument(span), &self.runtime);
        }
        Ok(())
    }

    /// The session that is this relay's to see to. One that has ended still is, unless the agent has a session
    /// elsewhere by now: there is nothing left to end, and it can be started again.
    pub(in crate::relay) async fn own_session(
        &self,
        agent: &AgentId,
    ) -> Result<Option<(SessionRecord, SessionName)>, Error> {
        let Some(session) = self.store.session(agent.clone()).await? else { return Ok(None) };
        if session.ended_at.is_some() {
            let agent = self.store.agent(agent.clone()).await?;
            let is_last = agent.instance_id.as_deref() == Some(session.start.name.as_str());
            // One whose program never ran was never told of, and its agent is where the one before left it.
            let never_ran = session.pid.is_none() && agent.status == AgentStatus::Offline;
            if !is_last && !never_ran {
                return Ok(None);
            }
        }
        Ok(SessionName::parse(&session.start.name).ok().map(|name| (session, name)))
    }

    /// Refuses to restart an agent of this host whose directory is not there any more: it would be ended and could
    /// not be started again.
    pub(in crate::relay) async fn require_place(&self, kind: ControlKind, agent: &AgentId) -> Result<(), Error> {
        if kind == ControlKind::Restart
            && let Some((session, _)) = self.own_session(agent).await?
        {
            self.place_of(&session.start.spec).await?;
        }
        Ok(())
    }

    /// The directory of a session, open, for it to start again in.
    async fn place_of(&self, spec: &SpawnSpec) -> Result<Place, Refusal> {
        self.launcher.open(&spec.cwd).await.map_err(|_| {
            let problem = "its directory is gone or was exchanged, so it would not start again";
            Refusal::invalid(format!("{problem}: {}", spec.cwd))
        })
    }

    async fn end_or_restart(&self, command: Command, plugins: &PluginSet) {
        let _turn = self.launcher.turn(&command.target).await;
        self.advance(command.id, CommandStatus::Running).await;
        // Whoever had the turn before may have started another session.
        let (session, name) = match self.own_session(&command.target).await {
            Ok(Some(found)) => found,
            Ok(None) => return self.fail(command.id, "the agent has no session on this host any more").await,
            Err(error) => return self.fail(command.id, &error.to_string()).await,
        };
        let spec = session.start.spec;
        // Made sure of before it is ended, and started again in the very directory that was opened.
        let prepared = match command.kind {
            ControlKind::Restart => match self.launcher.prepare(plugins, &command.requested_by, &spec).await {
                Ok(prepared) => Some(prepared),
                Err(problem) => return self.fail(command.id, &problem.to_string()).await,
            },
            ControlKind::Shutdown | ControlKind::Spawn => None,
        };
        let reason = if prepared.is_some() { StopReason::Restart } else { StopReason::Shutdown };
        let exit = match self.launcher.stop(plugins, &spec.provider, &name, reason).await {
            Ok(exit) => exit,
            Err(error) => return self.fail(command.id, &error.to_string()).await,
        };
        StoreReports::new(self, command.id, &spec, &name).ended(&exit.how.to_string()).await;
        let Some(prepared) = prepared else {
            let (status, result, error) = launcher::ended(&exit);
            let done = self.store.report_command(command.id, status, Some(result.into()), error);
            if let Err(error) = done.await {
                tracing::warn!(%error, "cannot report a command");
            }
            return;
        };
        if let Err(error) = self.start_again(&command, &spec, &name, prepared, exit.survivors, plugins).await {
            self.fail(command.id, &error.to_string()).await;
        }
    }

    /// Ends the session of an agent whose card was removed. Whoever watches it writes down that it ended.
    pub(in crate::relay) fn end_without_card(&self, session: SessionRecord, name: SessionName) {
        let relay = self.clone();
        let span = tracing::info_span!("session", session.name = %name, agent.id = %session.start.spec.agent_id);
        let ending = async move {
            let _turn = relay.launcher.turn(&session.start.spec.agent_id).await;
            let (plugins, provider) = (relay.plugins.current(), &session.start.spec.provider);
            if let Err(error) = relay.launcher.stop(&plugins, provider, &name, StopReason::Shutdown).await {
                tracing::error!(%error, "a session whose agent was removed cannot be ended");
            }
        };
        self.tasks.spawn_on(ending.instrument(span), &self.runtime);
    }

    async fn start_again(
        &self,
        command: &Command,
        spec: &SpawnSpec,
        before: &SessionName,
        prepared: Prepared,
        left: Vec<Survivor>,
        plugins: &PluginSet,
    ) -> Result<(), LaunchError> {
        let spec = &spec.again(self.launcher.conversation(before).await).beside(left);
        let Prepared { place, reservation } = prepared;
        let reports = StoreReports::new(self, command.id, spec, reservation.name());
        self.launch(plugins, &command.requested_by, spec, place, reservation, reports).await
    }
}

fn session_span(reports: &StoreReports) -> tracing::Span {
    tracing::info_span!(
        "session",
        session.name = %reports.name,
        agent.id = %reports.spec.agent_id,
        command.id = %reports.command
    )
}
