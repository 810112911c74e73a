//! What Claude Code writes down of a session that runs: a file of its own for each process, and the transcript.

use agent_relay_plugin::clock;
use agent_relay_plugin::session::{GrantedFile, RunningSession};
use serde::Deserialize;

/// `sessions/PID.json`, kept current by the process: what is used of it. Versions without it, or with another one, are read
/// from their screen alone.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Status {
    pub(crate) pid: u32,
    pub(crate) session_id: String,
    pub(crate) version: Option<String>,
    /// `idle`, `busy`, `waiting`; absent while the program starts.
    status: Option<String>,
    /// What it waits for: `permission prompt`, `input needed`, `dialog open`.
    pub(crate) waiting_for: Option<String>,
    pub(crate) messaging_socket_path: Option<String>,
    pub(crate) peer_protocol: Option<u32>,
    /// The configuration's directory.
    #[serde(skip)]
    pub(crate) home: String,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Doing {
    Idle,
    Busy,
    Waiting,
}

impl Status {
    /// That of the session's own process.
    pub(crate) fn of(session: &RunningSession) -> Option<Self> {
        session.pids.iter().find_map(|pid| {
            let ending = format!("/sessions/{pid}.json");
            let file = session.file(&ending)?;
            let mut status: Self = serde_json::from_str(&file.contents).ok()?;
            status.home = file.path.strip_suffix(&ending)?.to_owned();
            (status.pid == *pid && is_id(&status.session_id)).then_some(status)
        })
    }

    pub(crate) fn doing(&self) -> Option<Doing> {
        match self.status.as_deref()? {
            "idle" => Some(Doing::Idle),
            "busy" => Some(Doing::Busy),
            "waiting" => Some(Doing::Waiting),
            _ => None,
        }
    }

    /// The transcript of its conversation, which is there once something was said.
    pub(crate) fn transcript<'a>(&self, session: &'a RunningSession) -> Option<&'a GrantedFile> {
        session.file(&format!("/{}.jsonl", self.session_id))
    }

    /// The conversation, once something was said in it: before that there is nothing to be resumed, and the program refuses
    /// to.
    pub(crate) fn conversation(&self, session: &RunningSession, spoken: bool) -> Option<String> {
        (spoken || self.transcript(session).is_some_and(|file| file.cut || file.contents.contains("\"type\":\"user\"")))
            .then(|| self.session_id.clone())
    }

    /// The token that lets in who writes to the inbox, where the program has put one down.
    pub(crate) fn token(&self, session: &RunningSession) -> Option<String> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Key {
            peer_token: String,
        }
        let beginning = format!("{}/sessions/{}.", self.home, self.pid);
        let file =
            session.files.iter().find(|file| file.path.starts_with(&beginning) && file.path.ends_with(".key"))?;
        Some(serde_json::from_str::<Key>(&file.contents).ok()?.peer_token)
    }
}

/// When a transcript was last told of a usage limit.
pub(crate) fn limited_at(transcript: &GrantedFile) -> Option<u64> {
    let line = transcript.contents.lines().rev().find(|line| line.contains("\"error\":\"rate_limit\""))?;
    let (_, after) = line.split_once("\"timestamp\":\"")?;
    clock::time_stamp(after.split_once('"')?.0)
}

/// A UUID as the program writes them; it becomes part of a path and of an argument.
pub(crate) fn is_id(text: &str) -> bool {
    text.len() == 36 && text.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b'-') && !text.starts_with('-')
}
