//! The ways into a session of Claude Code: its inbox where the version has one that was seen to work, then its terminal.

use agent_relay_plugin::session::{
    Attempt, Carrier, FileText, Notice, Observation, RunningSession, Sign, SocketLines, Way,
};
use serde_json::json;

use crate::records::Status;
use crate::settings::Settings;

/// A message in the inbox of an idle session was in its transcript 0.2 s later.
const INBOX_CONFIRM_MS: u32 = 10_000;

/// Who writes. The program shows it as `Message from @agent-relay`.
const SENDER: &str = "agent-relay";

pub(crate) fn deliver(
    settings: &Settings,
    notice: &Notice,
    session: &RunningSession,
    seen: &Observation,
) -> Vec<Attempt> {
    let status = Status::of(session);
    let transcript = status.as_ref().and_then(|status| status.transcript(session)).map(|file| file.path.as_str());
    let inbox = status.as_ref().and_then(|status| inbox(settings, notice, session, status, transcript));
    inbox.into_iter().chain([typed(notice, seen, transcript)]).collect()
}

/// The inbox, if this is a version whose inbox is known. It needs no keystroke, leaves a draft alone, and a message in it
/// waits for the end of a turn or of a dialog, unless it may break in.
fn inbox(
    settings: &Settings,
    notice: &Notice,
    session: &RunningSession,
    status: &Status,
    transcript: Option<&str>,
) -> Option<Attempt> {
    let version = status.version.as_ref()?;
    if !settings.inbox_versions.contains(version) || status.peer_protocol != Some(1) {
        return None;
    }
    let path = status.messaging_socket_path.clone()?;
    let content = format!(
        "<cross-session-message from=\"{SENDER}\" from-session=\"{SENDER}\" from-name=\"{SENDER}\">\n{}\n\
         </cross-session-message>",
        plain(&notice.text),
    );
    let message = json!({
        "type": "user",
        "msgV": 1,
        "msg_id": notice.attempt_id,
        "priority": if notice.interrupt { "now" } else { "next" },
        "message": { "role": "user", "content": content },
    });
    let hello = status.token(session).map(|token| json!({ "type": "auth", "token": token }).to_string());
    // In the transcript the line of the turn names the message by its id; that of the queue, written before, does not.
    let written = transcript.map(|path| file_text(path, format!("\"msg_id\":{}", json!(notice.attempt_id))));
    let shown = Sign::Screen(format!("Message from @{SENDER}: {}", plain(&notice.beginning())));
    Some(Attempt {
        rung: "inbox".to_owned(),
        carrier: Carrier::Queue,
        way: Way::Socket(SocketLines { path, lines: hello.into_iter().chain([message.to_string()]).collect() }),
        evidence: vec![written.unwrap_or(shown)],
        confirm_ms: INBOX_CONFIRM_MS,
    })
}

fn typed(notice: &Notice, seen: &Observation, transcript: Option<&str>) -> Attempt {
    // The line of a prompt that only waits in the queue has no role.
    let text = format!("\"role\":\"user\",\"content\":{}", json!(notice.text));
    let in_transcript = transcript.map(|path| file_text(path, text));
    // A turn may be over before anybody looks. During one, what is typed is shown before it is taken.
    let on_screen = (!notice.breaks_into(seen)).then(|| Sign::Screen(format!("❯ {}", notice.beginning())));
    let evidence = in_transcript.into_iter().chain(on_screen).chain([Sign::Turn]).collect();
    Attempt::typed(notice.typing(seen, &["Escape"]), evidence)
}

fn file_text(path: &str, text: String) -> Sign {
    Sign::File(FileText { path: path.to_owned(), text })
}

/// Text in which nothing can be taken for the message's end.
fn plain(text: &str) -> String {
    text.replace('<', "‹").replace('>', "›")
}
