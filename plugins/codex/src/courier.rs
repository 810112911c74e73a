//! The ways into a session of Codex: its queue where the version has one that was seen to work, then its terminal.

use agent_relay_plugin::session::{
    Attempt, Carrier, Command, FileText, Notice, Observation, RunningSession, Sign, Way,
};
use serde_json::json;

use crate::records::{broken_off, rollout};
use crate::settings::Settings;

/// A session looks into its queue every ten seconds, and once more when a turn ends.
const QUEUE_CONFIRM_MS: u32 = 15_000;

pub(crate) fn deliver(
    settings: &Settings,
    notice: &Notice,
    session: &RunningSession,
    seen: &Observation,
) -> Vec<Attempt> {
    queue(settings, notice, session, seen).into_iter().chain([typed(notice, session, seen)]).collect()
}

/// The queue, if this is a version whose queue is known. It needs no keystroke and waits for the end of a turn or of a
/// dialog, so it breaks into nothing.
fn queue(settings: &Settings, notice: &Notice, session: &RunningSession, seen: &Observation) -> Option<Attempt> {
    let is_known = seen.version.as_ref().is_some_and(|version| settings.queue_versions.contains(version));
    if !is_known || notice.interrupt {
        return None;
    }
    let conversation = seen.conversation.as_ref()?;
    let rollout = rollout(session, conversation);
    if rollout.is_some_and(broken_off) {
        return None;
    }
    let args = ["queue", "--thread", conversation, "--message", &notice.text].map(str::to_owned).to_vec();
    Some(Attempt {
        rung: "queue".to_owned(),
        carrier: Carrier::Queue,
        way: Way::Command(Command { program: settings.executable.clone(), args }),
        evidence: vec![rollout.map_or_else(|| shown(notice), |rollout| taken(&rollout.path, notice))],
        confirm_ms: QUEUE_CONFIRM_MS,
    })
}

fn typed(notice: &Notice, session: &RunningSession, seen: &Observation) -> Attempt {
    let rollout = seen.conversation.as_ref().and_then(|conversation| rollout(session, conversation));
    let in_rollout = rollout.map(|rollout| taken(&rollout.path, notice));
    // A turn may be over before anybody looks.
    let on_screen = (!notice.breaks_into(seen)).then(|| shown(notice));
    let evidence = in_rollout.into_iter().chain(on_screen).chain([Sign::Turn]).collect();
    Attempt::typed(notice.typing(seen, &["Escape"]), evidence)
}

/// The line of a turn that has it as the user's words.
fn taken(path: &str, notice: &Notice) -> Sign {
    let text = format!("\"role\":\"user\",\"content\":[{{\"type\":\"input_text\",\"text\":{}", json!(notice.text));
    Sign::File(FileText { path: path.to_owned(), text })
}

/// The notice among what was said, and not only in the input.
fn shown(notice: &Notice) -> Sign {
    Sign::Screen(format!("› {}", notice.beginning()))
}
