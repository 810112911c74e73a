//! What a session of Claude Code is doing, from its screen and from what it writes down.
//!
//! A question on the screen outranks what the file says, for the file is written a moment later; a turn that either of them
//! shows counts, for a notice must never be typed into one.

use agent_relay_plugin::clock;
use agent_relay_plugin::session::{Observation, RunningSession, Screen, Seen, UsageLimit};

use crate::records::{Doing, Status, limited_at};
use crate::screen::{Input, Kind, Question, last_error, version};

/// A line that tells how long a turn has taken changes each second; a screen that has stood still for so long shows none,
/// whatever a file says that was left as it was.
const STILL_MS: u64 = 15_000;

/// How long a limit without an end is believed.
const OPEN_LIMIT_MS: u64 = 60 * 60 * 1_000;

pub(crate) fn observe(session: &RunningSession, screen: &Screen) -> Observation {
    let status = Status::of(session);
    let input = Input::find(screen);
    let question = if input.is_some() { None } else { Question::find(screen) };
    let above = input.as_ref().map(|input| input.above).unwrap_or_default();
    let spoken = above.iter().any(|row| row.starts_with(['❯', '›']));
    let state = state(session, screen, status.as_ref(), input.as_ref(), question);
    Observation {
        conversation: status.as_ref().and_then(|status| status.conversation(session, spoken)),
        state,
        has_draft: input.is_some_and(|input| input.draft),
        version: status.and_then(|status| status.version).or_else(|| version(screen)),
        extensions: Vec::new(),
    }
}

fn state(
    session: &RunningSession,
    screen: &Screen,
    status: Option<&Status>,
    input: Option<&Input>,
    question: Option<Question>,
) -> Seen {
    let doing = status.and_then(Status::doing);
    let above = input.map(|input| input.above).or(question.as_ref().map(|question| question.above));
    let error = above.and_then(last_error);
    let hint = input.and_then(Input::limit_hint);
    if let Some(limit) = limit(session, screen, status, error.as_deref(), hint) {
        return Seen::Limit(limit);
    }
    if let Some(question) = question {
        return match question.kind {
            Kind::FromModel => Seen::Input(question.text),
            Kind::Permission => Seen::Approval(question.text),
            Kind::Other => Seen::Dialog(question.text),
        };
    }
    let Some(input) = input else {
        return match doing {
            Some(Doing::Waiting) => waiting(status),
            Some(Doing::Busy) => Seen::Busy,
            None if screen.rows.iter().all(|row| row.trim().is_empty()) => Seen::Starting,
            _ => Seen::Unknown,
        };
    };
    if input.busy() || doing == Some(Doing::Busy) && screen.still_ms < STILL_MS {
        return Seen::Busy;
    }
    match error {
        _ if doing == Some(Doing::Waiting) => waiting(status),
        Some(error) if error.contains("Please run /login") => Seen::Dialog(error),
        _ => Seen::Idle,
    }
}

/// It waits for something that is not recognised on its screen.
fn waiting(status: Option<&Status>) -> Seen {
    let what = status.and_then(|status| status.waiting_for.as_deref()).unwrap_or("an answer");
    match what {
        "permission prompt" | "sandbox request" => Seen::Approval(what.to_owned()),
        "input needed" => Seen::Input(what.to_owned()),
        _ => Seen::Dialog(what.to_owned()),
    }
}

/// The limit that the program spoke of last, while it holds.
fn limit(
    session: &RunningSession,
    screen: &Screen,
    status: Option<&Status>,
    error: Option<&str>,
    hint: Option<&str>,
) -> Option<UsageLimit> {
    let text = error.filter(|text| text.starts_with("You've hit your ") && text.contains("limit")).or(hint)?;
    // It said so at the latest when its screen last changed, and exactly then where the transcript has it.
    let told_at = status.and_then(|status| status.transcript(session)).and_then(limited_at);
    let seen_at = session.now_ms.saturating_sub(screen.still_ms);
    let said_at = told_at.map_or(seen_at, |told_at| told_at.min(seen_at));
    let after = text.split_once("resets ").map(|(_, after)| after);
    let until_ms = after.and_then(|after| clock::moment(after, said_at, session.utc_offset_minutes));
    let holds = until_ms.map_or(session.now_ms < said_at + OPEN_LIMIT_MS, |until_ms| session.now_ms < until_ms);
    holds.then(|| UsageLimit { until_ms, text: text.to_owned() })
}
