//! Starting agents: through an orchestrator, or on the relay's own host.

use super::super::{Error, Relay, scopes};
use super::actions::require_online;
use super::facts::site_of;
use super::sessions::StoreReports;
use super::{Begun, Reply, Request, reply};
use crate::domain::caller::Caller;
use crate::domain::control::command::CommandStatus;
use crate::domain::control::orchestrator::{Orchestrator, OrchestratorStatus};
use crate::domain::control::order::{ControlOrder, OrchestratorRef, spawn_request};
use crate::domain::control::spawn::{SpawnAsk, SpawnSpec, fresh_agent_id, require_directory};
use crate::domain::control::{Control, Spawn};
use crate::domain::id::{CommandId, OrchestratorId};
use crate::domain::refusal::Refusal;
use crate::domain::text::path::is_within;
use crate::launcher::{LaunchError, reserved_log};
use crate::store::{Idempotency, Recorded};

impl Relay {
    /// Starts an agent: through the orchestrator that suits, or else on the relay's own host.
    pub async fn spawn_agent(&self, caller: &Caller, ask: SpawnAsk, key: Option<Idempotency>) -> Result<Reply, Error> {
        caller.require(scopes::CONTROL)?;
        match self.choose_orchestrator(&ask).await? {
            Some(orchestrator) => self.spawn_at(caller, orchestrator, ask, key, true).await,
            None => self.spawn_here(caller, ask, key).await,
        }
    }

    /// Has the orchestrator of this id start an agent. It must be online and offer the provider. What is wrong
    /// with the request is told only after that the orchestrator is offline, in the order that clients of this
    /// protocol know.
    pub async fn spawn_through(
        &self,
        caller: &Caller,
        id: OrchestratorId,
        ask: Result<SpawnAsk, Refusal>,
        key: Option<Idempotency>,
    ) -> Result<Reply, Error> {
        caller.require(scopes::CONTROL)?;
        let orchestrator = self.store.orchestrator(id).await?;
        require_online(&orchestrator)?;
        let ask = ask?;
        if !orchestrator.providers.contains(&ask.provider) {
            let text = format!("orchestrator does not support provider: {}", ask.provider);
            return Err(Refusal::invalid(text).into());
        }
        self.spawn_at(caller, orchestrator, ask, key, false).await
    }

    /// The orchestrator that should start this: online, offering the provider, its base directory holding the
    /// working directory; the one with the fewest agents.
    async fn choose_orchestrator(&self, ask: &SpawnAsk) -> Result<Option<Orchestrator>, Error> {
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

    async fn spawn_at(
        &self,
        caller: &Caller,
        orchestrator: Orchestrator,
        ask: SpawnAsk,
        key: Option<Idempotency>,
        chosen: bool,
    ) -> Result<Reply, Error> {
        let request = match self.begin(caller, self.plugins.current(), key).await? {
            Begun::New(request) => request,
            Begun::Answered(reply) => return Ok(reply),
        };
        let spawn = ask.elsewhere(site_of(&orchestrator));
        let wanted = spawn_request(&spawn);
        let permit = self.decide(&request, Control::Spawn(spawn), &orchestrator.agent_id, wanted).await?;
        let spawn = Box::new(as_spawn(&permit.control)?.clone());
        let orchestrator = OrchestratorRef { id: orchestrator.id, agent_id: orchestrator.agent_id };
        let agent_id = fresh_agent_id(&spawn.provider)?;
        let order = ControlOrder::SpawnThrough { orchestrator, agent_id, spawn, chosen };
        Ok(reply(self.record(&request, permit, order, CommandStatus::Pending).await?))
    }

    /// Starts an agent on this host. Answers once its program runs; the command tells whether it came up. A
    /// caller that hangs up changes nothing: what was begun is brought to its end.
    async fn spawn_here(&self, caller: &Caller, ask: SpawnAsk, key: Option<Idempotency>) -> Result<Reply, Error> {
        let plugins = self.plugins.current();
        self.require_provider(&plugins, &ask.provider, Refusal::NoOrchestrator(ask.provider.clone()))?;
        let (relay, caller) = (self.clone(), caller.clone());
        self.to_its_end(async move {
            match relay.begin(&caller, plugins, key).await? {
                Begun::New(request) => relay.start_agent(&request, ask).await,
                Begun::Answered(reply) => Ok(reply),
            }
        })
        .await
    }

    async fn start_agent(&self, request: &Request<'_>, ask: SpawnAsk) -> Result<Reply, Error> {
        let spawn = self.launcher.locate(&ask).await;
        let agent_id = fresh_agent_id(&ask.provider)?;
        require_directory(&spawn)?;
        let wanted = spawn_request(&spawn);
        let permit = self.decide(request, Control::Spawn(spawn), &agent_id, wanted).await?;
        let spawn = as_spawn(&permit.control)?;
        let place = self.launcher.open(spawn.cwd.effective()).await;
        let place = place.map_err(|problem| Refusal::invalid(format!("cwd {problem}: {}", spawn.cwd.given)))?;
        let spec = SpawnSpec::approved(agent_id, spawn);
        let reservation = self.launcher.reserve(&spec.provider, spec.label.as_deref()).await;
        let reservation = reservation.map_err(|error| refusal(error, &spec.provider, None))?;
        let order = ControlOrder::SpawnHere {
            session: reservation.name().as_str().to_owned(),
            log_path: reserved_log(&reservation),
            dry_run: self.launcher.host().dry_run,
            pid: None,
            spec: Box::new(spec.clone()),
        };
        let recorded = self.record(request, permit, order.clone(), CommandStatus::Accepted).await?;
        // A repeat that came in at the same moment is answered by the one that was first.
        let Recorded::First { command, .. } = recorded else { return Ok(reply(recorded)) };
        let reports = StoreReports::new(self, command.id, &spec, reservation.name()).with_answer(order);
        let caller = request.caller.principal();
        match self.launch(&request.plugins, caller, &spec, place, reservation, reports).await {
            // The first answer is what the command keeps from now on, and answers under the same key.
            Ok(()) => Ok(self.store.answer_of(command.id).await?),
            Err(error) => {
                self.store.withdraw_command(command.id, error.to_string()).await?;
                Err(refusal(error, &spec.provider, Some(command.id)).into())
            }
        }
    }
}

fn as_spawn(control: &Control) -> Result<&Spawn, Refusal> {
    match control {
        Control::Spawn(spawn) => Ok(spawn),
        Control::Restart(_) | Control::Shutdown(_) => Err(Refusal::invalid("a spawn stays a spawn")),
    }
}

/// What whoever asked for a spawn is told of a launch that came to nothing. `command` records it, if there is one.
pub(in crate::relay) fn refusal(error: LaunchError, provider: &str, command: Option<CommandId>) -> Refusal {
    match error {
        LaunchError::Refused(reason) => Refusal::Invalid(reason),
        error => Refusal::ProviderFailed { plugin: provider.to_owned(), reason: error.to_string(), command },
    }
}
