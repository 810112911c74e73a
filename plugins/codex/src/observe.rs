//! What a session of Codex is doing, from its screen, and from the record of its conversation where that is ahead.

use agent_relay_plugin::clock;
use agent_relay_plugin::session::{GrantedFile, Observation, RunningSession, Screen, Seen, UsageLimit};

use crate::records::{in_turn, limited_at, rollout};
use crate::screen::{Input, Question, last_error, loading, version};

/// For how long the record of a turn that begins is believed without a word of it on the screen: a program that was killed
/// in a turn leaves such a record too.
const BEGINS_MS: u64 = 5_000;

/// How long a limit without an end is believed.
const OPEN_LIMIT_MS: u64 = 60 * 60 * 1_000;

pub(crate) fn observe(session: &RunningSession, screen: &Screen) -> Observation {
    let question = Question::find(screen);
    let (None, Some(input)) = (&question, Input::find(screen)) else {
        return Observation { version: version(screen), ..Observation::of(without_input(screen, question)) };
    };
    let turn = input.last_turn();
    // Not by the title: its wheel turns as well while a server of tools does not answer. The rollout has a turn a moment
    // before the screen shows it.
    let rollout = input.conversation().and_then(|id| rollout(session, &id));
    let is_new = |rollout: &GrantedFile| session.now_ms < rollout.modified_ms + BEGINS_MS;
    let busy = input.busy() || rollout.is_some_and(|rollout| is_new(rollout) && in_turn(rollout));
    let limit = turn.filter(|_| !busy).and_then(last_error).and_then(|error| limit(session, screen, rollout, error));
    let state = match limit {
        Some(limit) => Seen::Limit(limit),
        None if busy => Seen::Busy,
        None if loading(screen) => Seen::Starting,
        None => Seen::Idle,
    };
    Observation {
        state,
        has_draft: input.draft,
        // Before its first turn a conversation is not on disk: it can neither be resumed nor written to.
        conversation: input.conversation().filter(|_| busy || turn.is_some()),
        version: input.version().or_else(|| version(screen)),
        extensions: Vec::new(),
    }
}

fn without_input(screen: &Screen, question: Option<Question>) -> Seen {
    match question {
        Some(Question::FromModel(text)) => Seen::Input(text),
        Some(Question::Permission(text)) => Seen::Approval(text),
        Some(Question::Other(text)) => Seen::Dialog(text),
        None if screen.title.contains("Action Required") => Seen::Dialog("Action Required".to_owned()),
        None if loading(screen) => Seen::Starting,
        None => Seen::Unknown,
    }
}

/// The limit that the program spoke of last, while it holds.
fn limit(session: &RunningSession, screen: &Screen, rollout: Option<&GrantedFile>, text: String) -> Option<UsageLimit> {
    if !text.starts_with("You’ve hit your usage limit") {
        return None;
    }
    // It said so at the latest when its screen last changed, and exactly then where the rollout has it.
    let seen_at = session.now_ms.saturating_sub(screen.still_ms);
    let told_at = rollout.and_then(limited_at);
    let said_at = told_at.map_or(seen_at, |told_at| told_at.min(seen_at));
    let after = text.split_once("try again at ").map(|(_, after)| after);
    let until_ms = after.and_then(|after| clock::moment(after, said_at, session.utc_offset_minutes));
    let holds = until_ms.map_or(session.now_ms < said_at + OPEN_LIMIT_MS, |until_ms| session.now_ms < until_ms);
    holds.then_some(UsageLimit { until_ms, text })
}
