//! Asking a provider: for a plan, how to show a message, how to stop.

use wasmtime::Store;

use crate::domain::control::courier::{Attempt, Notice};
use crate::domain::control::observation::{Observation, RunningSession, ScreenView};
use crate::domain::control::plan::{
    IncomingMessage, LaunchSite, Plan, Presentation, SpawnRequest, StopPlan, StopReason,
};

use super::super::super::runtime::{CallError, Host, Inquiry, Measured, clean};
use super::super::plugin::Plugin;
use super::beside;
use super::bindings::provider_wit;
use super::error::PlanRefusal;
use super::guest::Provider;
use super::plan_check::{self, Author, CheckedPlan};
use super::presentation::{accept_presentation, check_keys};

/// Milliseconds a program may take to end.
const GRACE_MS_MAX: u32 = 60_000;

/// What exactly would be run, if the provider makes a plan and the plan is acceptable. Nobody's question is one of
/// the relay's own, or of the plugin's author.
pub(crate) async fn plan(
    plugin: &Plugin,
    provider: &Provider,
    caller: Option<&str>,
    request: &SpawnRequest,
    site: &LaunchSite,
) -> Result<Result<CheckedPlan, PlanRefusal>, CallError> {
    let mut inquiry = Inquiry::of(Measured::of(&(request, site)));
    if let Some(caller) = caller {
        // The agent's id and the session's folder are made up for each.
        let chosen = (request.approval_mode, &request.label, &request.prompt, &site.cwd);
        inquiry = inquiry.by(caller, Measured::of(&("plan", chosen)).digest);
    }
    // Of the host's variables it learns only those it may pass on.
    let mut site = site.clone();
    site.host_variables.retain(|name| plugin.terms.grants.env.contains(name));
    let author = Author {
        provider: &plugin.terms.id,
        version: &plugin.version,
        digest: &plugin.fingerprint.wasm,
        generation: plugin.sandbox.generation,
        executables: &provider.executables,
        grants: &plugin.terms.grants,
    };
    let guest = async |store: &mut Store<Host>| {
        let (request, site) = (request.into(), (&site).into());
        let guest = provider.instance(store).await?;
        guest.agent_relay_plugin_provider().call_plan(store, &request, &site).await
    };
    let check = |answer: Result<provider_wit::LaunchPlan, provider_wit::PlanError>| match answer {
        Ok(plan) => plan_check::check(Plan::from(plan), &site, &author)
            .map(Ok)
            .map_err(|problem| CallError::Output(format!("plan: {}", clean(&problem)))),
        Err(refusal) => Ok(Err(refusal.into())),
    };
    plugin.sandbox.call("plan", &inquiry, guest, check).await
}

/// How a message is typed into a running session. It is a question of its sender's, where there is a `sender`.
pub(crate) async fn present(
    plugin: &Plugin,
    provider: &Provider,
    sender: Option<&str>,
    message: &IncomingMessage,
) -> Result<Presentation, CallError> {
    let guest = async |store: &mut Store<Host>| {
        let message = message.into();
        let guest = provider.instance(store).await?;
        guest.agent_relay_plugin_provider().call_present(store, &message).await
    };
    let mut inquiry = Inquiry::of(Measured::of(message));
    if let Some(sender) = sender {
        let chosen = (&message.subject, &message.body, message.interrupt);
        inquiry = inquiry.by(sender, Measured::of(&("present", chosen)).digest);
    }
    let check = |answer: provider_wit::Presentation| accept_presentation(answer.into()).map_err(CallError::Output);
    plugin.sandbox.call("present", &inquiry, guest, check).await
}

/// What is seen in a running session, if the provider observes.
pub(crate) async fn observe(
    plugin: &Plugin,
    provider: &Provider,
    session: &RunningSession,
    screen: &ScreenView,
) -> Result<Option<Observation>, CallError> {
    beside::observe(plugin, &provider.beside, session, screen).await
}

/// The ways to show a notice in a running session, if the provider knows any.
pub(crate) async fn deliver(
    plugin: &Plugin,
    provider: &Provider,
    notice: &Notice,
    session: &RunningSession,
    seen: &Observation,
) -> Result<Option<Vec<Attempt>>, CallError> {
    beside::deliver(plugin, (&provider.beside, &provider.executables), notice, session, seen).await
}

/// How a running session is asked to end.
pub(crate) async fn stop(plugin: &Plugin, provider: &Provider, reason: StopReason) -> Result<StopPlan, CallError> {
    let guest = async |store: &mut Store<Host>| {
        let guest = provider.instance(store).await?;
        guest.agent_relay_plugin_provider().call_stop(store, reason.into()).await
    };
    let check = |answer: provider_wit::StopPlan| accept_stop_plan(answer.into()).map_err(CallError::Output);
    plugin.sandbox.call("stop", &Inquiry::of_nothing(), guest, check).await
}

fn accept_stop_plan(plan: StopPlan) -> Result<StopPlan, String> {
    check_keys("stop-plan.keys", &plan.keys)?;
    if plan.grace_ms > GRACE_MS_MAX {
        return Err(format!("stop-plan.grace-ms: {} is more than {GRACE_MS_MAX}", plan.grace_ms));
    }
    Ok(plan)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stop_has_an_end() {
        let plan = |grace_ms| StopPlan { keys: vec!["C-d".into()], grace_ms };
        assert!(accept_stop_plan(plan(GRACE_MS_MAX)).is_ok());
        assert!(accept_stop_plan(plan(GRACE_MS_MAX + 1)).is_err());
    }
}
