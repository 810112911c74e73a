//! Asking an observer what it sees, and what of that is believed.

use std::time::Instant;

use wasmtime::Store;

use super::super::super::super::runtime::{CallError, Host, Inquiry, Measured, Sandbox, clean};
use super::super::super::plugin::Plugin;
use super::bindings::session_wit;
use super::loaded::Beside;
use super::recess::{Recess, Tell};
use crate::domain::control::observation::{Doing, Observation, RunningSession, ScreenView};

/// Characters of a text for people.
const TEXT_MAX: usize = 1_000;
/// Bytes of the name of a conversation, and of a version.
const CONVERSATION_BYTES_MAX: usize = 200;
const VERSION_BYTES_MAX: usize = 64;
/// The latest moment that a limit may end: what a client can read as a number.
const UNTIL_MS_MAX: u64 = 1 << 53;

/// What is seen in a session, if the provider observes.
pub(in super::super) async fn observe(
    plugin: &Plugin,
    beside: &Beside,
    session: &RunningSession,
    screen: &ScreenView,
) -> Result<Option<Observation>, CallError> {
    let Some(observes) = &beside.observes else { return Ok(None) };
    observes.recess.admit(Instant::now())?;
    let inquiry = asked_at(session, Measured::of(&(session, screen)));
    let guest = async |store: &mut Store<Host>| {
        let (session, screen) = (session.into(), screen.into());
        let guest = observes.pre.instantiate_async(&mut *store).await?;
        store.data_mut().has_instance();
        guest.agent_relay_plugin_observer().call_observe(store, &session, &screen).await
    };
    let check = |seen: session_wit::Observation| accept(seen.into()).map_err(CallError::Output);
    let answer = plugin.sandbox.call("observe", &inquiry, guest, check).await;
    account(&plugin.sandbox, &observes.recess, "observe", &answer, &plugin.terms.id);
    answer.map(Some)
}

/// A question about a session: of the relay's own, whose failure puts nobody back.
pub(super) fn asked_at(session: &RunningSession, question: Measured) -> Inquiry {
    Inquiry::of(question).at_ms(session.now_ms.try_into().unwrap_or(i64::MAX)).can_be_done_without()
}

/// Notes how a call went, and tells the operator of a failure, once.
pub(super) fn account<T>(sandbox: &Sandbox, recess: &Recess, func: &str, answer: &Result<T, CallError>, plugin: &str) {
    let Err(error) = answer else { return recess.succeeded() };
    let generation = sandbox.generation;
    match recess.failed(Instant::now(), error) {
        Tell::Nothing => {}
        Tell::Failed => tracing::warn!(
            plugin.id = plugin,
            plugin.generation = generation,
            func,
            "plugin {error}; sessions are done without that, and this is not told again until it was well"
        ),
        Tell::Paused => tracing::warn!(
            plugin.id = plugin,
            plugin.generation = generation,
            func,
            "plugin failed on this too often and is not asked it for a minute: {error}"
        ),
    }
}

/// What of an observation is taken for true. Its texts are cut; what names something is not.
fn accept(seen: Observation) -> Result<Observation, String> {
    if let Some(name) = &seen.conversation
        && (name.is_empty() || name.len() > CONVERSATION_BYTES_MAX || name.chars().any(char::is_control))
    {
        return Err(format!(
            "observation.conversation: must be 1 to {CONVERSATION_BYTES_MAX} bytes without control characters"
        ));
    }
    if let Some(version) = &seen.version
        && !((1..=VERSION_BYTES_MAX).contains(&version.len()) && version.bytes().all(|byte| byte.is_ascii_graphic()))
    {
        return Err(format!("observation.version: {:?} is no version", clean(version)));
    }
    let doing = match seen.doing {
        Doing::Dialog(text) => Doing::Dialog(shown(&text)),
        Doing::Approval(text) => Doing::Approval(shown(&text)),
        Doing::Input(text) => Doing::Input(shown(&text)),
        Doing::Limit { until_ms, text } => {
            Doing::Limit { until_ms: until_ms.filter(|ms| *ms < UNTIL_MS_MAX), text: shown(&text) }
        }
        plain => plain,
    };
    Ok(Observation { doing, ..seen })
}

/// A text for people: lines without control characters, cut.
fn shown(text: &str) -> String {
    let kept = text.chars().filter(|letter| *letter == '\n' || !letter.is_control());
    kept.take(TEXT_MAX).collect::<String>().trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(doing: Doing) -> Observation {
        Observation { doing, has_draft: false, conversation: None, version: None }
    }

    #[test]
    fn texts_are_cut_and_say_nothing_to_a_terminal() {
        let hostile = format!("\x1b[2J{}\u{9b}", "é\n".repeat(TEXT_MAX));
        let Ok(Observation { doing: Doing::Dialog(text), .. }) = accept(seen(Doing::Dialog(hostile))) else {
            panic!("a dialog is a dialog");
        };
        assert!(text.starts_with("[2Jé\né") && text.chars().count() <= TEXT_MAX, "{text}");
        let far = accept(seen(Doing::Limit { until_ms: Some(u64::MAX), text: String::new() }));
        assert_eq!(far, Ok(seen(Doing::Limit { until_ms: None, text: String::new() })));
    }

    #[test]
    fn names_are_taken_whole_or_not_at_all() {
        for name in ["", "a\nb", &"x".repeat(CONVERSATION_BYTES_MAX + 1)] {
            let named = Observation { conversation: Some(name.to_owned()), ..seen(Doing::Idle) };
            assert!(accept(named).is_err(), "{name:?}");
        }
        for version in ["", "1 2", "é", &"1".repeat(VERSION_BYTES_MAX + 1)] {
            let named = Observation { version: Some(version.to_owned()), ..seen(Doing::Idle) };
            assert!(accept(named).is_err(), "{version:?}");
        }
        let good = Observation {
            conversation: Some("0190163d-8694-739b-aea5-966c26f8ad91".into()),
            version: Some("2.1.332".into()),
            ..seen(Doing::Busy)
        };
        assert_eq!(accept(good.clone()), Ok(good));
    }
}
