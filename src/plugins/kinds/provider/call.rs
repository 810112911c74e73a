//! Asking a provider: for a plan, how to show a message, how to stop.

use wasmtime::Store;

use crate::domain::control::plan::{
    IncomingMessage, LaunchSite, Plan, Presentation, SpawnRequest, StopPlan, StopReason,
};

use super::super::super::runtime::{CallError, Host, Inquiry, Measured, clean};
use super::super::plugin::Plugin;
use super::bindings::provider_wit;
use super::error::PlanRefusal;
use super::guest::Provider;
use super::plan_check::{self, Author, CheckedPlan};

/// Keys in each list of them.
const KEYS_MAX: usize = 16;
/// Bytes of a key's name: `C-M-S-PageDown` is a long one.
const KEY_BYTES_MAX: usize = 24;
/// Bytes of a presentation: the largest message, and a frame around it.
const TEXT_BYTES_MAX: usize = 320 * 1024;
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

/// How a running session is asked to end.
pub(crate) async fn stop(plugin: &Plugin, provider: &Provider, reason: StopReason) -> Result<StopPlan, CallError> {
    let guest = async |store: &mut Store<Host>| {
        let guest = provider.instance(store).await?;
        guest.agent_relay_plugin_provider().call_stop(store, reason.into()).await
    };
    let check = |answer: provider_wit::StopPlan| accept_stop_plan(answer.into()).map_err(CallError::Output);
    plugin.sandbox.call("stop", &Inquiry::of_nothing(), guest, check).await
}

pub(super) fn accept_presentation(mut presentation: Presentation) -> Result<Presentation, String> {
    check_keys("presentation.keys-before", &presentation.keys_before)?;
    if presentation.text.len() > TEXT_BYTES_MAX {
        return Err(format!("presentation.text: {} bytes are more than {TEXT_BYTES_MAX}", presentation.text.len()));
    }
    // What the text holds comes from any agent at all. In a terminal a control character is a
    // key: Escape would end the paste, and what follows would be pressed.
    presentation.text.retain(|character| matches!(character, '\n' | '\t') || !character.is_control());
    Ok(presentation)
}

fn accept_stop_plan(plan: StopPlan) -> Result<StopPlan, String> {
    check_keys("stop-plan.keys", &plan.keys)?;
    if plan.grace_ms > GRACE_MS_MAX {
        return Err(format!("stop-plan.grace-ms: {} is more than {GRACE_MS_MAX}", plan.grace_ms));
    }
    Ok(plan)
}

/// Names of keys, as a terminal multiplexer knows them. One that begins with `-` would be read as
/// a flag.
fn check_keys(field: &str, keys: &[String]) -> Result<(), String> {
    if keys.len() > KEYS_MAX {
        return Err(format!("{field}: {} keys are more than {KEYS_MAX}", keys.len()));
    }
    let named = |key: &String| {
        (1..=KEY_BYTES_MAX).contains(&key.len())
            && !key.starts_with('-')
            && key.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
    };
    match keys.iter().find(|key| !named(key)) {
        Some(key) => Err(format!("{field}: {:?} is not the name of a key", clean(key))),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn presentation(keys: &[&str], text: &str) -> Presentation {
        Presentation {
            keys_before: keys.iter().map(|&key| key.to_owned()).collect(),
            text: text.to_owned(),
            submit: true,
        }
    }

    #[test]
    fn escape_sequences_are_taken_out_of_a_message() {
        let shown = accept_presentation(presentation(&["Escape", "C-c"], "a\x1b[201~\rrm -rf\n\tb\u{9b}\0"))
            .expect("acceptable");
        assert_eq!(shown.text, "a[201~rm -rf\n\tb");
    }

    #[test]
    fn keys_are_names_and_not_flags() {
        for key in ["-t", "", "a b", "é", &"x".repeat(KEY_BYTES_MAX + 1)] {
            let error = accept_presentation(presentation(&[key], "text")).expect_err("refused");
            assert!(error.starts_with("presentation.keys-before: "), "{error}");
        }
        assert!(accept_presentation(presentation(&["Enter"; KEYS_MAX + 1], "text")).is_err());
    }

    #[test]
    fn a_stop_has_an_end() {
        let plan = |grace_ms| StopPlan { keys: vec!["C-d".into()], grace_ms };
        assert!(accept_stop_plan(plan(GRACE_MS_MAX)).is_ok());
        assert!(accept_stop_plan(plan(GRACE_MS_MAX + 1)).is_err());
    }
}
