//! Starting agents on the relay's own host, watching them, and ending them.
//!
//! Row first, side effect second, outcome third: the command and the session are written before the
//! process is started, and closed after it ended. What runs goes on when the relay ends, and is
//! found again at its next start.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::{Value, json};

use super::Relay;
use super::access::fresh_secret;
use super::control::{SpawnAsk, audit, object, spawn_request};
use crate::domain::agent::{AgentPatch, AgentStatus, NewRegistration, SessionGuard};
use crate::domain::caller::{Caller, Scope};
use crate::domain::command::{Command, CommandStatus};
use crate::domain::control::{ApprovalMode, Control, ControlKind, Site, Spawn};
use crate::domain::id::{AgentId, CommandId};
use crate::domain::message::NewMessage;
use crate::domain::path::{PathFacts, is_within, normalise};
use crate::domain::plan::{LaunchSite, Presentation, PromptDelivery, SpawnRequest};
use crate::domain::refusal::Refusal;
use crate::domain::session::SessionStart;
use crate::domain::token::Token;
use crate::plugins::{CheckedPlan, PluginError, PluginSet};
use crate::sessions::{Launch, Reservation, SessionName, Started};
use crate::store::{Answer, Idempotency, StoreError};

/// What the relay's own host needs to know to start agents.
#[derive(Clone, Debug)]
pub struct Host {
    /// The directories in which agents may work; the first is the default. Resolved.
    pub roots: Vec<PathBuf>,
    /// The home directory of the relay's user.
    pub home: PathBuf,
    /// The name of this host.
    pub hostname: String,
    /// Where started agents find the relay.
    pub relay_url: String,
    /// Plan and record, but start nothing.
    pub dry_run: bool,
}

/// The variable in which a started agent finds its own token.
const TOKEN_VARIABLE: &str = "AGENT_RELAY_TOKEN";

impl Relay {
    /// Where the relay's own host starts agents unless asked otherwise.
    pub fn host_site(&self) -> Site {
        self.host_site_for(&self.host.roots[0])
    }

    fn host_site_for(&self, path: &Path) -> Site {
        let root = self.host.roots.iter().find(|root| is_within(path, root)).unwrap_or(&self.host.roots[0]);
        let text = root.to_string_lossy().into_owned();
        Site {
            orchestrator: None,
            hostname: self.host.hostname.clone(),
            base_dir: PathFacts { given: text.clone(), normalised: text.clone(), resolved: Some(text) },
        }
    }

    /// A spawn on this host, as the policies see it.
    pub fn host_spawn(&self, ask: &SpawnAsk) -> Control {
        let base = &self.host.roots[0];
        let given = ask.cwd.clone().unwrap_or_else(|| base.to_string_lossy().into_owned());
        let joined = base.join(&given);
        let resolved = std::fs::canonicalize(&joined).ok();
        let normalised = normalise(&joined);
        let site = self.host_site_for(resolved.as_deref().unwrap_or(&normalised));
        Control::Spawn(Spawn {
            provider: ask.provider.clone(),
            approval_mode: ask.approval_mode,
            cwd: PathFacts {
                given,
                normalised: normalised.to_string_lossy().into_owned(),
                resolved: resolved.map(|path| path.to_string_lossy().into_owned()),
            },
            label: ask.label.clone(),
            prompt: ask.prompt.clone(),
            site,
        })
    }

    /// Starts an agent on this host. Answers once its program runs; the command tells whether it
    /// came up. A caller that hangs up changes nothing: what was begun is brought to its end.
    pub async fn spawn_here(
        &self,
        caller: &Caller,
        ask: SpawnAsk,
        idempotency: Option<Idempotency>,
    ) -> Result<Answer, StoreError> {
        let (relay, caller) = (self.clone(), caller.clone());
        self.to_its_end(async move { relay.start_agent(&caller, ask, idempotency).await }).await
    }

    async fn start_agent(
        &self,
        caller: &Caller,
        ask: SpawnAsk,
        idempotency: Option<Idempotency>,
    ) -> Result<Answer, StoreError> {
        let plugins = self.plugins.current();
        if !plugins.provider_ids().contains(&ask.provider) {
            return Err(Refusal::NoOrchestrator(ask.provider).into());
        }
        if let Some(answer) = self.answered_before(&idempotency).await? {
            return Ok(answer);
        }
        let _place = self.begin_control()?;
        let control = self.host_spawn(&ask);
        let agent_id = fresh_agent_id(&ask.provider)?;
        if let Control::Spawn(spawn) = &control {
            require_directory(spawn)?;
        }
        let request = spawn_request(&control);
        let permit = self.decide(caller, control, &agent_id, request).await?;
        let Control::Spawn(spawn) = &permit.control else {
            return Err(Refusal::invalid("a spawn stays a spawn").into());
        };
        if !Path::new(spawn.cwd.effective()).is_dir() {
            return Err(Refusal::invalid(format!("cwd is not a directory: {}", spawn.cwd.given)).into());
        }
        let seed = Seed {
            agent_id,
            provider: spawn.provider.clone(),
            approval_mode: spawn.approval_mode,
            cwd: spawn.cwd.effective().to_owned(),
            label: spawn.label.clone(),
            prompt: spawn.prompt.clone(),
        };
        let mut new = self.new_command(
            caller,
            ControlKind::Spawn,
            &seed.agent_id,
            spawn_request(&permit.control),
            permit.decided,
        );
        new.status = CommandStatus::Accepted;
        let dry_run = self.host.dry_run;
        let place = self.reserve(&seed)?;
        let log_path = place.files_directory().with_file_name("log");
        let answer = json!({
            "ok": true, "provider": seed.provider, "approvalMode": seed.approval_mode, "cwd": seed.cwd,
            "label": seed.label, "agentId": seed.agent_id, "session": place.name().as_str(),
            "logPath": log_path, "dryRun": dry_run,
        });
        let (recorded, at_once) = (answer.clone(), seed.clone());
        let (answer_json, command) = self
            .store
            .record_command(new, idempotency.clone(), move |command, _| {
                let entry = audit(
                    &format!("agent-spawn-{}-{}", at_once.provider, command.id),
                    &format!("{} agent spawn requested (direct)", at_once.provider),
                    "ti-plus",
                    "agents",
                    command,
                    None,
                )
                .body(&at_once.cwd)
                .meta(if dry_run { "dry run" } else { at_once.agent_id.as_str() })
                .agent(at_once.agent_id)
                .metadata(json!({
                    "provider": at_once.provider, "approvalMode": at_once.approval_mode, "logPath": log_path,
                    "dryRun": dry_run,
                }));
                let mut answer = recorded;
                answer["command"] = json!(command);
                (answer, entry)
            })
            .await?;
        // A repeat that came in at the same moment is answered by the one that was first.
        let Some(command) = command else { return Ok(answer_json) };
        match self.carry_out(&plugins, &command, &seed, place).await {
            Ok(started) => {
                let mut answer = answer;
                if let Some(started) = started {
                    answer["pid"] = json!(started.pid);
                }
                answer["command"] = json!(self.store.command(command.id).await?);
                self.store.amend_answer(idempotency, answer.to_string()).await
            }
            Err(failure) => {
                self.store.forget_answer(idempotency).await?;
                self.fail(command.id, &failure.reason).await;
                Err(failure.refusal(seed.provider, command.id).into())
            }
        }
    }

    /// The plan a provider would make for this spawn here. Nothing is started.
    pub async fn plan_here(&self, ask: &SpawnAsk) -> Result<CheckedPlan, Refusal> {
        let Control::Spawn(spawn) = self.host_spawn(ask) else {
            return Err(Refusal::invalid("a spawn stays a spawn"));
        };
        let seed = Seed {
            agent_id: fresh_agent_id(&ask.provider)?,
            provider: ask.provider.clone(),
            approval_mode: ask.approval_mode,
            cwd: spawn.cwd.effective().to_owned(),
            label: ask.label.clone(),
            prompt: ask.prompt.clone(),
        };
        let place = self.reserve(&seed)?;
        let plan = self.plan(&self.plugins.current(), &seed, &place).await;
        plan.map_err(|failure| failure.refusal(seed.provider, CommandId::default()))
    }

    pub(super) fn reserve(&self, seed: &Seed) -> Result<Reservation, Refusal> {
        let label = seed.label.as_deref().unwrap_or("");
        self.sessions.reserve(&seed.provider, label).map_err(|error| Refusal::ProviderFailed {
            plugin: seed.provider.clone(),
            reason: error.to_string(),
            command: CommandId::default(),
        })
    }

    async fn plan(&self, plugins: &PluginSet, seed: &Seed, place: &Reservation) -> Result<CheckedPlan, Failure> {
        let request = SpawnRequest {
            agent_id: seed.agent_id.as_str().to_owned(),
            approval_mode: seed.approval_mode,
            label: seed.label.clone(),
            prompt: seed.prompt.clone(),
        };
        let site = LaunchSite {
            cwd: seed.cwd.clone(),
            home: self.host.home.to_string_lossy().into_owned(),
            hostname: self.host.hostname.clone(),
            session_dir: place.files_directory().to_string_lossy().into_owned(),
            relay_url: self.host.relay_url.clone(),
            token_variable: TOKEN_VARIABLE.to_owned(),
            mcp_url: None,
            host_variables: std::env::vars_os().filter_map(|(name, _)| name.into_string().ok()).collect(),
            root: rustix::process::geteuid().is_root(),
        };
        plugins.plan(&seed.provider, &request, &site).await.map_err(|error| Failure {
            reason: error.to_string(),
            of_request: matches!(error, PluginError::Refused { .. }),
        })
    }

    /// Plans and starts. `None` on a dry run. The reason is for the caller and the command.
    pub(super) async fn carry_out(
        &self,
        plugins: &Arc<PluginSet>,
        command: &Command,
        seed: &Seed,
        place: Reservation,
    ) -> Result<Option<Started>, Failure> {
        // Approved was this directory, and not what its name has come to lead to since.
        if std::fs::canonicalize(&seed.cwd).ok().as_deref() != Some(Path::new(&seed.cwd)) {
            let reason = format!("the working directory {:?} is not the one that was approved any more", seed.cwd);
            return Err(reason.into());
        }
        let plan = self.plan(plugins, seed, &place).await?;
        let record = json!({
            "plan": {"sha256": plan.sha256(), "provider": plan.provider(), "version": plan.version(),
                     "digest": plan.digest()},
            "agentId": seed.agent_id, "session": place.name().as_str(),
        });
        let told = |error: StoreError| Failure::from(error.to_string());
        if self.host.dry_run {
            let mut result = record;
            result["dryRun"] = Value::from(true);
            result["planned"] = json!(plan.plan());
            self.store.report_command(command.id, CommandStatus::Succeeded, Some(result), None).await.map_err(told)?;
            return Ok(None);
        }
        let token = fresh_secret("ar_").map_err(|error| format!("no randomness for a token: {error}"))?;
        let session = SessionStart {
            agent_id: seed.agent_id.clone(),
            command_id: command.id,
            name: place.name().as_str().to_owned(),
            provider: seed.provider.clone(),
            cwd: seed.cwd.clone(),
            label: seed.label.clone(),
            approval_mode: seed.approval_mode,
            prompt: seed.prompt.clone(),
        };
        self.store.begin_session(session, self.token(seed, &token)).await.map_err(told)?;
        let name = place.name().clone();
        let prompt = plan.plan().prompt.clone();
        let ready = plan.plan().ready.clone();
        let launch = Launch {
            agent_id: seed.agent_id.as_str().to_owned(),
            provider: seed.provider.clone(),
            label: seed.label.clone(),
            approval_mode: seed.approval_mode,
            variables: self.variables(seed, token),
            plan: plan.into_plan(),
        };
        let started = match self.sessions.start(place, launch).await {
            Ok(started) => started,
            Err(error) => {
                let reason = error.to_string();
                self.close_session(&name, &seed.agent_id, &reason).await;
                return Err(reason.into());
            }
        };
        let mut result = record;
        result["pid"] = Value::from(started.pid);
        result["attach"] = json!(started.attach_command);
        self.store
            .session_up(name.as_str().to_owned(), i64::from(started.pid), command.id, result)
            .await
            .map_err(told)?;
        self.introduce(seed, &started).await;
        let (relay, id, seed) = (self.clone(), command.id, seed.clone());
        self.tasks.spawn_on(async move { relay.bring_up(id, &seed, name, prompt, ready).await }, &self.runtime);
        Ok(Some(started))
    }

    /// Waits until the program is up, gives it its prompt, and watches it to its end.
    async fn bring_up(
        &self,
        command: CommandId,
        seed: &Seed,
        name: SessionName,
        prompt: PromptDelivery,
        ready: crate::domain::plan::Readiness,
    ) {
        let up = tokio::select! {
            up = self.sessions.wait_ready(&name, &ready) => up,
            // The next start finds the session and settles the command.
            () = self.draining.cancelled() => return,
        };
        if let Err(died) = up {
            self.fail(command, &died.to_string()).await;
            self.close_session(&name, &seed.agent_id, &died.exit.how.to_string()).await;
            return;
        }
        if let Err(reason) = self.deliver_prompt(seed, &name, &prompt).await {
            tracing::warn!(session.name = %name, agent.id = %seed.agent_id, %reason, "the prompt did not reach the session");
            self.fail(command, &format!("the program is up, but its prompt did not reach it: {reason}")).await;
        } else {
            self.report(command, CommandStatus::Succeeded).await;
        }
        self.mark_ready(&seed.agent_id).await;
        self.watch(name, seed.agent_id.clone()).await;
    }

    pub(super) async fn mark_ready(&self, agent: &AgentId) {
        let change = AgentPatch::Ready(true);
        if let Err(error) = self.store.patch_agent(agent.clone(), SessionGuard::default(), change).await {
            tracing::debug!(%error, agent.id = %agent, "the agent is gone already");
        }
    }

    async fn deliver_prompt(&self, seed: &Seed, name: &SessionName, how: &PromptDelivery) -> Result<(), String> {
        let Some(prompt) = &seed.prompt else { return Ok(()) };
        match how {
            PromptDelivery::InArguments | PromptDelivery::InFile(_) => Ok(()),
            PromptDelivery::Typed => {
                let text = Presentation { keys_before: Vec::new(), text: prompt.clone(), submit: true };
                self.sessions.type_text(name, &text).await.map_err(|error| error.to_string())
            }
            PromptDelivery::Message => {
                let message = NewMessage::plain(AgentId::user(), seed.agent_id.as_str(), prompt.as_str());
                self.store.send(message, None).await.map(drop).map_err(|error| error.to_string())
            }
        }
    }

    /// Waits for the end of a session and writes it down.
    pub(super) async fn watch(&self, name: SessionName, agent: AgentId) {
        let alive = async {
            loop {
                // A process that runs is a sign of life.
                self.store.touch(&agent);
                tokio::time::sleep(self.settings.offline_after / 3).await;
            }
        };
        tokio::select! {
            exit = self.sessions.exited(&name) => self.close_session(&name, &agent, &exit.how.to_string()).await,
            () = alive => {}
            () = self.draining.cancelled() => {}
        }
    }

    pub(super) async fn close_session(&self, name: &SessionName, agent: &AgentId, ending: &str) {
        if let Err(error) = self.store.end_session(name.as_str().to_owned(), agent.clone(), ending.to_owned()).await {
            tracing::error!(%error, session.name = %name, "cannot write down that a session ended");
        }
    }

    /// Makes the agent's card, so that others find it before it says a word.
    async fn introduce(&self, seed: &Seed, started: &Started) {
        let registration = NewRegistration {
            name: Some(seed.label.clone().unwrap_or_else(|| seed.agent_id.as_str().to_owned())),
            label: Some(seed.label.clone()),
            tags: Some(Some(vec![seed.provider.clone(), "spawned".to_owned()])),
            machine: Some(Some(self.host.hostname.clone())),
            rig: Some(Some(seed.provider.clone())),
            status: Some(AgentStatus::Online),
            instance_id: Some(started.name.as_str().to_owned()),
            meta: Some(object(json!({
                "provider": seed.provider, "approvalMode": seed.approval_mode, "cwd": seed.cwd,
                "session": started.name.as_str(), "attach": started.attach_command,
            }))),
            ..NewRegistration::of(seed.agent_id.clone())
        };
        if let Err(error) = self.store.register(registration, None).await {
            tracing::warn!(%error, agent.id = %seed.agent_id, "cannot register a started agent");
        }
    }

    fn token(&self, seed: &Seed, token: &str) -> Token {
        use sha2::{Digest, Sha256};
        Token {
            name: seed.agent_id.as_str().to_owned(),
            hash: Sha256::digest(token.as_bytes()).into(),
            scopes: vec![Scope::Agent],
            agent_id: Some(seed.agent_id.clone()),
            expires_at: None,
        }
    }

    fn variables(&self, seed: &Seed, token: String) -> Vec<(String, String)> {
        let mut variables = vec![
            ("AGENT_RELAY_URL".to_owned(), self.host.relay_url.clone()),
            (TOKEN_VARIABLE.to_owned(), token),
            ("AGENT_RELAY_AGENT_ID".to_owned(), seed.agent_id.as_str().to_owned()),
            ("AGENT_RELAY_APPROVAL".to_owned(), seed.approval_mode.as_str().to_owned()),
        ];
        variables.extend(seed.label.clone().map(|label| ("AGENT_RELAY_LABEL".to_owned(), label)));
        variables
    }

    pub(super) async fn report(&self, command: CommandId, status: CommandStatus) {
        if let Err(error) = self.store.report_command(command, status, None, None).await {
            tracing::debug!(%error, command.id = %command, "a command was not moved on");
        }
    }

    pub(super) async fn fail(&self, command: CommandId, reason: &str) {
        let reason = reason.chars().take(4_000).collect();
        if let Err(error) = self.store.report_command(command, CommandStatus::Failed, None, Some(reason)).await {
            tracing::debug!(%error, command.id = %command, "a command was not moved on");
        }
    }
}

/// What an agent is started from, the first time and again.
#[derive(Clone)]
pub(super) struct Seed {
    pub(super) agent_id: AgentId,
    pub(super) provider: String,
    pub(super) approval_mode: ApprovalMode,
    pub(super) cwd: String,
    pub(super) label: Option<String>,
    pub(super) prompt: Option<String>,
}

/// Why a spawn came to nothing.
pub(super) struct Failure {
    pub(super) reason: String,
    /// The provider is well, and the request is not for it.
    of_request: bool,
}

impl From<String> for Failure {
    fn from(reason: String) -> Self {
        Self { reason, of_request: false }
    }
}

impl Failure {
    fn refusal(self, plugin: String, command: CommandId) -> Refusal {
        if self.of_request {
            Refusal::Invalid(self.reason)
        } else {
            Refusal::ProviderFailed { plugin, reason: self.reason, command }
        }
    }
}

/// A directory that is not there is a mistake of the caller, unless it lies outside: what is there
/// is for the policies to say nothing about.
fn require_directory(spawn: &Spawn) -> Result<(), Refusal> {
    let outside = !is_within(Path::new(&spawn.cwd.normalised), Path::new(&spawn.site.base_dir.normalised));
    if spawn.cwd.resolved.is_some() || outside {
        return Ok(());
    }
    Err(Refusal::invalid(format!("cwd is not a directory: {}", spawn.cwd.given)))
}

fn fresh_agent_id(provider: &str) -> Result<AgentId, Refusal> {
    let mut bytes = [0_u8; 4];
    getrandom::fill(&mut bytes).map_err(|error| Refusal::invalid(format!("no randomness for an id: {error}")))?;
    Ok(format!("{provider}-{:08x}", u32::from_be_bytes(bytes)).into())
}
