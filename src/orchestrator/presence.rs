//! Being there: registered, heard of, and listening.

use std::time::Duration;

use tokio::time::{Instant, MissedTickBehavior, interval, sleep, timeout};

use super::Daemon;
use super::link::Failed;
use super::records::Record;
use crate::client::events::{Event, EventFilter};
use crate::client::stream::Received;
use crate::domain::control::command::{Command, CommandStatus};
use crate::domain::control::orchestrator::{ManagedAgent, Orchestrator, OrchestratorRegistration};
use crate::domain::event::EventName;
use crate::domain::message::delivery::DeliveryNews;
use crate::domain::text::json;
use crate::domain::time::Timestamp;
use crate::sessions::{SessionName, SessionState};

/// A third of the shortest silence that a relay takes for an end by default, and more.
const HEARTBEAT: Duration = Duration::from_secs(15);
/// For so long a relay that is away is looked for every half second: it is being started again. After that it is as far
/// away as for anybody else.
const HURRY: Duration = Duration::from_mins(5);
/// How long the relay has to take note of its end.
const LEAVE: Duration = Duration::from_secs(2);
/// How the relay's list of providers begins when it refuses one.
const KNOWN_PROVIDERS: &str = "Must be one of: ";

impl Daemon {
    /// Registers for the first time, whenever there is a relay.
    pub(super) async fn first_registration(&self) -> Result<(), Failed> {
        self.register().await
    }

    async fn register(&self) -> Result<(), Failed> {
        let host = self.launcher.host();
        let mut meta = json::Object::default();
        meta.insert("version", env!("CARGO_PKG_VERSION"));
        meta.insert("maxAgents", self.limits.agents);
        let mut registration = OrchestratorRegistration {
            id: Some(self.id.to_string()),
            hostname: Some(host.hostname.clone()),
            base_dir: Some(host.roots[0].to_string_lossy().into_owned()),
            providers: Some(self.plugins.current().provider_ids()),
            env_keys: None,
            meta: Some(meta),
            instance_id: Some(self.link.instance().to_owned()),
            epoch: self.link.epoch(),
        };
        loop {
            let registered = self.link.ask(|client| client.orchestrators().register(&registration)).await;
            let failed = match registered {
                Ok(Orchestrator { epoch, .. }) => {
                    self.link.set_epoch(epoch);
                    return Ok(());
                }
                Err(failed) => failed,
            };
            // A provider of this host alone is nothing that the relay could be asked for.
            let known = known_providers(&failed);
            let offered = registration.providers.iter_mut().flatten().map(|id| id.clone()).collect::<Vec<_>>();
            let (kept, left): (Vec<_>, Vec<_>) =
                offered.into_iter().partition(|id| known.as_ref().is_none_or(|known| known.contains(id)));
            if left.is_empty() {
                return Err(failed);
            }
            tracing::warn!(providers = left.join(", "), "the relay has no such providers, so they are not offered");
            registration.providers = Some(kept);
        }
    }

    /// Keeps the relay informed until the end: that this daemon is there, what it offers, and what it runs.
    pub(super) async fn stay_present(&self) {
        let mut beat = interval(HEARTBEAT);
        beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut sets = self.plugins.sets();
        loop {
            let done = tokio::select! {
                () = self.link.until().cancelled() => return,
                () = self.greet.notified() => self.greet_relay().await,
                () = self.list_changed.notified() => self.publish_list().await,
                Ok(()) = sets.changed() => self.register().await,
                _ = beat.tick() => self.heartbeat().await,
            };
            match done {
                Ok(()) => {}
                Err(Failed::Ended) => return,
                Err(failed) => tracing::warn!(error = %failed, "the relay does not take what this daemon says"),
            }
        }
    }

    /// Tells the relay that nobody is here to be asked from now on, unless another daemon is. One that cannot be told
    /// notices by the silence.
    pub(super) async fn take_leave(&self) {
        if self.link.epoch().is_none() || self.link.superseded().is_some() {
            return;
        }
        let told = self.link.client().orchestrators().take_leave(&self.id, &self.link.guard()).send();
        match timeout(LEAVE, told).await {
            Ok(Ok(_)) => {}
            Ok(Err(error)) => tracing::info!(%error, "the relay is not told that this daemon ends"),
            Err(_) => tracing::info!("the relay did not answer in time that it knows of this daemon's end"),
        }
    }

    /// After each connection: the relay may be another one, or may have forgotten.
    async fn greet_relay(&self) -> Result<(), Failed> {
        self.register().await?;
        self.publish_list().await?;
        self.look_for_commands().await
    }

    async fn heartbeat(&self) -> Result<(), Failed> {
        let guard = self.link.guard();
        match self.link.ask(|client| client.orchestrators().heartbeat(&self.id, &guard)).await {
            Err(failed) if failed.is("not_found") => self.greet_relay().await,
            answered => answered.map(drop),
        }
    }

    async fn publish_list(&self) -> Result<(), Failed> {
        let mut agents = Vec::new();
        for record in self.records.running() {
            agents.push(self.managed(record).await);
        }
        let guard = self.link.guard();
        self.link.ask(|client| client.orchestrators().set_managed_agents(&self.id, &agents, &guard)).await.map(drop)
    }

    async fn managed(&self, record: Record) -> ManagedAgent {
        let pid = match SessionName::parse(&record.session) {
            Ok(name) => match self.launcher.state(&name).await {
                SessionState::Running { pid } => Some(pid.into()),
                SessionState::Exited(_) | SessionState::Gone => None,
            },
            Err(_) => None,
        };
        let Record { spec, session, started_at, .. } = record;
        ManagedAgent {
            agent_id: spec.agent_id,
            provider: spec.provider,
            tmux_session: session,
            cwd: spec.cwd,
            label: spec.label,
            approval_mode: spec.approval_mode,
            pid,
            started_at: Timestamp::from_ms(started_at),
        }
    }

    /// Listens until the end.
    pub(super) async fn follow_stream(&self) {
        let types = vec![
            EventName::CommandUpdated,
            EventName::MessageDelivery,
            EventName::OrchestratorStatus,
            EventName::OrchestratorRemoved,
        ];
        let filter = EventFilter { types, ..EventFilter::agent(self.agent_id.as_str()) };
        let mut stream = self.link.client().events().follow(filter);
        let mut away: Option<Instant> = None;
        loop {
            let received = tokio::select! {
                () = self.link.until().cancelled() => return,
                received = stream.next() => received,
                // A whole host waits for the relay to come back.
                () = sleep(soon()), if away.is_some_and(|since| since.elapsed() < HURRY) => {
                    stream.retry_now();
                    continue;
                }
            };
            match received {
                Ok(Received::Ready { .. }) => {
                    away = None;
                    self.link.is_back();
                    self.greet.notify_one();
                    self.wakes.wake_all();
                }
                Ok(Received::Event(event)) => self.hear(&event),
                // What it left out is looked for once it is there again.
                Ok(Received::Reset { reason, .. }) => tracing::info!(reason, "the relay does not keep all events"),
                Ok(Received::Disconnected { reason, .. }) if away.is_none() => {
                    away = Some(Instant::now());
                    self.link.is_away(&reason);
                }
                Ok(Received::Disconnected { .. }) => {}
                Err(error) => tracing::warn!(%error, "the relay cannot be listened to"),
            }
        }
    }

    fn hear(&self, event: &Event) {
        match event.kind() {
            Some(EventName::CommandUpdated) => match event.parse::<Command>() {
                Ok(command) if command.status == CommandStatus::Pending => self.take_up(command),
                Ok(_) => {}
                Err(error) => tracing::error!(%error, "a command cannot be read"),
            },
            Some(EventName::OrchestratorStatus) => {
                if let Ok(orchestrator) = event.parse::<Orchestrator>()
                    && orchestrator.instance_id.as_deref().is_some_and(|instance| instance != self.link.instance())
                    && self.link.epoch().is_some_and(|epoch| epoch < orchestrator.epoch)
                {
                    self.link.supersede(format!(" (on host {})", orchestrator.hostname));
                }
            }
            Some(EventName::MessageDelivery) => {
                if let Ok(news) = event.parse::<DeliveryNews>() {
                    self.wakes.wake(&news.delivery.agent_id);
                }
            }
            // Somebody removed it while it lives.
            Some(EventName::OrchestratorRemoved) => self.greet.notify_one(),
            _ => {}
        }
    }
}

/// A moment later, for each daemon another one.
fn soon() -> Duration {
    let mut byte = [0];
    // Without randomness all come at once, of which there are not many.
    let _ = getrandom::fill(&mut byte);
    Duration::from_millis(300 + u64::from(byte[0]))
}

/// Which providers the relay has, where it refused for that.
fn known_providers(failed: &Failed) -> Option<Vec<String>> {
    let Failed::Refused(error) = failed else { return None };
    let (_, known) = error.problem()?.detail.split_once(KNOWN_PROVIDERS)?;
    Some(known.split(", ").map(str::to_owned).collect())
}
