//! What is seen of a running session: what a provider is given to look at, and what it says.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::ApprovalMode;

/// The most rows of a screen, and characters of a row, that a provider is given.
pub const ROWS_MAX: usize = 300;
/// See [`ROWS_MAX`].
pub const ROW_CHARACTERS_MAX: usize = 1_000;

/// Where a terminal's cursor stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cursor {
    /// Cells from the left.
    pub column: u32,
    /// Rows from the top.
    pub row: u32,
}

/// What a terminal shows.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct ScreenView {
    /// Its rows, top down: plain text without control characters.
    pub rows: Vec<String>,
    /// Where the cursor is; none without a terminal.
    pub cursor: Option<Cursor>,
    /// The title that the program gave its window.
    pub title: String,
    /// For how many milliseconds nothing on it has changed.
    pub still_ms: u64,
}

/// A file of the program that its provider's manifest was granted to read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct GrantedFile {
    /// Its absolute path.
    pub path: String,
    /// Its text; of a long file the end, from the beginning of a line.
    pub contents: String,
    /// Whether its beginning is left out.
    #[serde(default)]
    pub cut: bool,
    /// When it was last changed, in milliseconds since the epoch.
    #[serde(default)]
    pub modified_ms: u64,
}

/// A session whose program runs, as far as a provider needs to know it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RunningSession {
    /// The id of its agent.
    pub agent_id: String,
    /// Its name for people.
    pub label: Option<String>,
    /// How much it may do without asking.
    pub approval_mode: ApprovalMode,
    /// Its working directory.
    pub cwd: String,
    /// The home directory of the user that it runs as.
    pub home: String,
    /// The directory that its plan's files are in.
    pub session_dir: String,
    /// Its program's process id, then those of what that has started.
    pub pids: Vec<u32>,
    /// What the last observation named as the program's own conversation.
    pub conversation: Option<String>,
    /// Milliseconds since the epoch.
    pub now_ms: u64,
    /// What the host's time zone is ahead of UTC, in minutes.
    pub utc_offset_minutes: i32,
    /// What the manifest was granted, newest first.
    pub files: Vec<GrantedFile>,
    /// Those variables of its program that a granted pattern begins with. The host's alone: no plugin is told.
    #[serde(default)]
    pub variables: BTreeMap<String, String>,
}

/// What a program is doing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Doing {
    /// It is not up yet.
    Starting,
    /// Its input is empty and waits: the one moment for a notice.
    Idle,
    /// A turn runs.
    Busy,
    /// It asks a question of its own before it goes on. The question.
    Dialog(String),
    /// It asks a person for a permission. What for.
    Approval(String),
    /// It asks its user something. The question.
    Input(String),
    /// It does no work until a limit ends.
    #[serde(rename_all = "camelCase")]
    Limit {
        /// When it ends, in milliseconds since the epoch, where the program says so.
        until_ms: Option<u64>,
        /// What the program says.
        text: String,
    },
    /// Nothing that is recognised: on that nothing is claimed and nothing is typed.
    Unknown,
}

/// What was seen of a session.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Observation {
    /// What its program is doing.
    #[serde(rename = "state")]
    pub doing: Doing,
    /// Whether its input holds text that nobody has submitted.
    #[serde(default)]
    pub has_draft: bool,
    /// How the program names its own conversation.
    #[serde(default)]
    pub conversation: Option<String>,
    /// Which version the program says it is.
    #[serde(default)]
    pub version: Option<String>,
}
