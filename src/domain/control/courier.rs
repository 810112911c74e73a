//! The ways into a running session, as its provider names them.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::plan::Presentation;
use crate::domain::text::word::words;

/// The most rungs of a ladder.
pub const ATTEMPTS_MAX: usize = 8;
/// The longest a rung may wait for its evidence, in milliseconds.
pub const CONFIRM_MS_MAX: u32 = 60_000;

/// What is to be shown: one line that the relay wrote.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Notice {
    /// The id of the newest message it tells of.
    pub id: u64,
    /// One line of at most 300 characters.
    pub text: String,
    /// Whether it may break into a running turn.
    #[serde(default)]
    pub interrupt: bool,
    /// A fresh id for this attempt, a UUID.
    #[serde(default)]
    pub attempt_id: String,
}

words! {
    /// How a message was handed over.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
    #[serde(rename_all = "lowercase")]
    pub enum Carrier {
        /// Through a queue or inbox of the program.
        Queue = "queue",
        /// By a hook of the program.
        Hook = "hook",
        /// As the answer of a tool that the session was waiting in.
        Mcp = "mcp",
        /// Through its terminal.
        Typed = "typed",
    }
}

/// How a notice gets there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Way {
    /// This program is run; exit status 0 means handed over.
    #[serde(rename = "command")]
    Run {
        /// Among the granted executables.
        program: String,
        /// Its arguments.
        args: Vec<String>,
    },
    /// These lines are written to a granted socket. They may hold a secret: never logged.
    #[serde(rename = "socket")]
    Write {
        /// Its absolute path.
        path: String,
        /// The lines.
        lines: Vec<String>,
    },
    /// This is typed.
    #[serde(rename = "typing")]
    Type(Presentation),
}

/// By what it is seen that a session was shown a notice.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Sign {
    /// A text in a granted file, beyond what that held before.
    File {
        /// Its absolute path.
        path: String,
        /// The text.
        text: String,
    },
    /// A text on the screen.
    Screen(String),
    /// A turn that begins.
    Turn,
}

/// One rung of the ladder.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Attempt {
    /// Its name, for people.
    pub rung: String,
    /// Which kind of way it is.
    pub carrier: Carrier,
    /// How.
    pub way: Way,
    /// Any one of these is evidence.
    pub evidence: Vec<Sign>,
    /// How long evidence is waited for, in milliseconds.
    pub confirm_ms: u32,
}
