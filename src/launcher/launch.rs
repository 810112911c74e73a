//! One session: from its plan to the process that runs, and its end.

use std::path::PathBuf;

use serde::Serialize;
use serde_json::{Value, json};

use super::follow::{Follow, Undelivered, Waiting};
use super::{Launcher, TOKEN_VARIABLE, off_the_reactor};
use crate::domain::control::command::CommandStatus;
use crate::domain::control::plan::{LaunchSite, StopPlan, StopReason};
use crate::domain::control::spawn::{SpawnSpec, Survivor};
use crate::domain::text::hex::hex;
use crate::plugins::{CheckedPlan, PluginError, PluginSet};
use crate::sessions::{Died, Exit, Launch, Opening, Place, Reservation, SessionName, StartError, Started, StopError};

/// Told what happens to one session, in this order: `beginning`, `running`, any number of `waiting`, then `up` or
/// `died`, and at the end `ended`. A session whose program never ran is told `beginning` and `ended`.
///
/// A `String` in an error is the reason, for whoever asked for the session.
pub trait Reports: Send + Sync + 'static {
    /// A session is about to be started. Once this is answered it is on record, so that it is found after a
    /// crash. Answers the token with which its agent will call the relay.
    fn beginning(&self, session: &NewSession) -> impl Future<Output = Result<String, String>> + Send;
    /// The session's program runs. Whether it comes up is told next. `result` is what the command that asked
    /// for it records.
    fn running(&self, started: &Started, result: Value) -> impl Future<Output = Result<(), String>> + Send;
    /// The program runs and is not seen to be up.
    fn waiting(&self, waiting: &Waiting) -> impl Future<Output = ()> + Send;
    /// Whether the agent has said itself that it is ready.
    fn says_ready(&self) -> impl Future<Output = bool> + Send;
    /// The program is up, and its prompt reached it or did not.
    fn up(&self, prompt: Result<(), Undelivered>) -> impl Future<Output = ()> + Send;
    /// The program ended before it was up.
    fn died(&self, died: &Died) -> impl Future<Output = ()> + Send;
    /// The session has ended, in these words.
    fn ended(&self, ending: &str) -> impl Future<Output = ()> + Send;
    /// The program still runs: a sign of life of its agent.
    fn alive(&self);
    /// Sends the first prompt as a message to the agent.
    fn send_prompt(&self, prompt: &str) -> impl Future<Output = Result<(), String>> + Send;
}

/// A session about to be started.
#[derive(Clone, Debug)]
pub struct NewSession {
    /// Its name among the host's sessions.
    pub name: SessionName,
    /// What it is started from.
    pub spec: SpawnSpec,
}

/// Which plan a session was started from.
#[derive(Clone, Debug, Serialize)]
pub struct PlanRecord {
    /// SHA-256 of the plan, in hexadecimal.
    pub sha256: String,
    /// The provider that made it.
    pub provider: String,
    /// The version it gave itself.
    pub version: String,
    /// SHA-256 of its component, in hexadecimal.
    pub digest: String,
}

/// Why nothing was started.
#[derive(Debug, thiserror::Error)]
pub enum LaunchError {
    /// The provider is well, and the request is not for it.
    #[error("{0}")]
    Refused(String),
    /// The provider could not make a plan, or none that may be carried out.
    #[error("{0}")]
    Provider(String),
    /// The program could not be started.
    #[error(transparent)]
    Start(#[from] StartError),
    /// Its directory is not there any more.
    #[error("its directory is gone or was exchanged, so it would not start again: {0}")]
    Gone(String),
    /// What happened could not be put on record.
    #[error("{0}")]
    Report(String),
}

/// What became of a launch.
pub enum Launched {
    /// On a dry run: what would have been started, for the command's result.
    Planned(Value),
    /// The program runs.
    Running {
        /// The session.
        started: Started,
        /// What there is left to do.
        follow: Follow,
    },
}

/// When the provider cannot say how its program is asked to end.
const STOP_PLAN_DEFAULT: StopPlan = StopPlan { keys: Vec::new(), grace_ms: 5_000 };

impl Launcher {
    /// Takes a name and a folder for a session to come; dropped unused, they are gone.
    pub async fn reserve(&self, provider: &str, label: Option<&str>) -> Result<Reservation, LaunchError> {
        let sessions = self.sessions().clone();
        let (provider, label) = (provider.to_owned(), label.unwrap_or_default().to_owned());
        Ok(off_the_reactor(move || sessions.reserve(&provider, &label)).await?)
    }

    /// The plan that the provider makes for a caller, checked. Nothing is started.
    pub async fn plan(
        &self,
        plugins: &PluginSet,
        caller: &str,
        spec: &SpawnSpec,
        reservation: &Reservation,
    ) -> Result<CheckedPlan, LaunchError> {
        let host = self.host();
        let site = LaunchSite {
            cwd: spec.cwd.clone(),
            home: host.home.to_string_lossy().into_owned(),
            hostname: host.hostname.clone(),
            session_dir: reservation.files_directory().to_string_lossy().into_owned(),
            relay_url: host.relay_url.clone(),
            token_variable: TOKEN_VARIABLE.to_owned(),
            mcp_url: Some(format!("{}/mcp", host.relay_url.trim_end_matches('/'))),
            host_variables: std::env::vars_os().filter_map(|(name, _)| name.into_string().ok()).collect(),
            root: rustix::process::geteuid().is_root(),
        };
        plugins.plan(caller, &spec.provider, &spec.request(fresh_uuid()), &site).await.map_err(|error| {
            let reason = error.to_string();
            match error {
                PluginError::Refused { .. } => LaunchError::Refused(reason),
                _ => LaunchError::Provider(reason),
            }
        })
    }

    /// Plans and starts an approved spawn of a caller, in the approved directory that was opened. Returns once the
    /// program runs; [`Follow::run`] does the rest.
    pub async fn launch(
        &self,
        plugins: &PluginSet,
        caller: &str,
        spec: &SpawnSpec,
        place: Place,
        reservation: Reservation,
        reports: &impl Reports,
    ) -> Result<Launched, LaunchError> {
        let plan = self.plan(plugins, caller, spec, &reservation).await?;
        let name = reservation.name().clone();
        let mut result = json!({"plan": record(&plan), "agentId": spec.agent_id, "session": name.as_str()});
        if let Some(again) = &spec.again {
            result["resumed"] = Value::from(plan.plan().resumed);
            if !again.survivors.is_empty() {
                result["survivors"] = json!(again.survivors);
            }
        }
        if self.host().dry_run {
            result["dryRun"] = Value::from(true);
            result["planned"] = json!(plan.plan());
            return Ok(Launched::Planned(result));
        }
        let session = NewSession { name: name.clone(), spec: spec.clone() };
        let token = reports.beginning(&session).await.map_err(LaunchError::Report)?;
        let opening = Opening { ready: plan.plan().ready.clone(), prompt: plan.plan().prompt.clone() };
        let follow = Follow::new(self, name, spec.prompt.clone(), opening);
        let variables = self.variables(spec, token);
        let launch = Launch { spec: spec.clone(), variables, place, plan: plan.into_plan() };
        let started = match self.sessions().start(reservation, launch).await {
            Ok(started) => started,
            Err(error) => {
                reports.ended(&error.to_string()).await;
                return Err(error.into());
            }
        };
        result["pid"] = Value::from(started.pid);
        result["attach"] = json!(started.attach_command);
        reports.running(&started, result).await.map_err(LaunchError::Report)?;
        Ok(Launched::Running { started, follow })
    }

    /// Ends a session as its provider says, or without it when it cannot say. Returns when the program is
    /// confirmed to have ended.
    pub async fn stop(
        &self,
        plugins: &PluginSet,
        provider: &str,
        name: &SessionName,
        reason: StopReason,
    ) -> Result<Exit, StopError> {
        let plan = match plugins.stop(provider, reason).await {
            Ok(plan) => plan,
            Err(error) => {
                tracing::warn!(%error, session.name = %name, "ending a session without its provider");
                STOP_PLAN_DEFAULT
            }
        };
        self.sessions().stop(name, &plan).await
    }

    fn variables(&self, spec: &SpawnSpec, token: String) -> Vec<(String, String)> {
        let mut variables = vec![
            ("AGENT_RELAY_URL".to_owned(), self.host().relay_url.clone()),
            (TOKEN_VARIABLE.to_owned(), token),
            ("AGENT_RELAY_AGENT_ID".to_owned(), spec.agent_id.to_string()),
            ("AGENT_RELAY_APPROVAL".to_owned(), spec.approval_mode.as_str().to_owned()),
        ];
        variables.extend(spec.label.clone().map(|label| ("AGENT_RELAY_LABEL".to_owned(), label)));
        variables
    }
}

/// What a shutdown comes to with this end: done, unless something that the program had started is still there.
pub fn ended(exit: &Exit) -> (CommandStatus, Value, Option<String>) {
    let mut result = json!({"exit": exit.how});
    if exit.survivors.is_empty() {
        return (CommandStatus::Succeeded, result, None);
    }
    let named = exit.survivors.iter().map(Survivor::to_string).collect::<Vec<_>>();
    let error =
        format!("the program has ended, and these processes that it had started have not: {}", named.join(", "));
    result["survivors"] = json!(exit.survivors);
    (CommandStatus::Failed, result, Some(error))
}

/// A fresh UUID; none when the system has no randomness, and no program needs one.
pub(super) fn fresh_uuid() -> Option<String> {
    let mut bytes = [0_u8; 16];
    getrandom::fill(&mut bytes).ok()?;
    bytes[6] = bytes[6] & 0x0f | 0x40;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    let digits = hex(&bytes);
    let (a, b, c, d, e) = (&digits[..8], &digits[8..12], &digits[12..16], &digits[16..20], &digits[20..]);
    Some(format!("{a}-{b}-{c}-{d}-{e}"))
}

fn record(plan: &CheckedPlan) -> PlanRecord {
    PlanRecord {
        sha256: plan.sha256().to_owned(),
        provider: plan.provider().to_owned(),
        version: plan.version().to_owned(),
        digest: plan.digest().to_owned(),
    }
}

/// Where the output of a reserved session will be kept.
pub fn reserved_log(reservation: &Reservation) -> PathBuf {
    reservation.files_directory().with_file_name("log")
}
