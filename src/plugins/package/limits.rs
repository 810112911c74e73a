//! What one call of a plugin may use, and the most that anybody may allow.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// The most memory a manifest or the operator may allow a call, in MiB.
pub const MEMORY_MB_MAX: u32 = 512;
/// The longest a manifest or the operator may let a call take, in milliseconds.
pub const DEADLINE_MS_MAX: u32 = 10_000;

/// The most lines a manifest or the operator may let a call write to the log.
pub const LOG_LINES_MAX: u32 = 1_000;
/// The most that a manifest or the operator may let a call be given, in KiB.
pub const INPUT_KB_MAX: u32 = 1_024;
/// The most that a manifest or the operator may let a call hand to the host, in KiB. The largest honest
/// answer is the presentation of a message of 256 KiB.
pub const OUTPUT_KB_MAX: u32 = 1_024;
/// The most calls of one plugin at once: all that the relay runs of all plugins.
pub const CALLS_MAX: u32 = 64;

/// What one call may use. A call includes making the fresh instance it runs in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Limits {
    /// All linear memory of the call together, in MiB: 1 to [`MEMORY_MB_MAX`].
    pub memory_mb: u32,
    /// Time, in milliseconds: 1 to [`DEADLINE_MS_MAX`].
    pub deadline_ms: u32,
    /// Lines in the relay's log: 1 to [`LOG_LINES_MAX`].
    pub log_lines: u32,
    /// What it is asked, as JSON, in KiB: 1 to [`INPUT_KB_MAX`]. Beyond it the plugin is not called.
    pub input_kb: u32,
    /// What it hands to the host, its answer and its lines in the log, in KiB: 1 to [`OUTPUT_KB_MAX`].
    pub output_kb: u32,
    /// Calls of the plugin at once, so that one cannot take the room of all: 1 to [`CALLS_MAX`].
    pub calls: u32,
}

impl Default for Limits {
    /// 64 MiB hold an interpreter (Python needs 12), 100 ms are a thousand times what a compiled
    /// policy takes.
    fn default() -> Self {
        Self {
            memory_mb: 64,
            deadline_ms: 100,
            log_lines: 64,
            input_kb: INPUT_KB_MAX,
            output_kb: OUTPUT_KB_MAX,
            calls: 16,
        }
    }
}

/// Limits of a call, as far as somebody has an opinion on them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LimitsWanted {
    /// 1 to [`MEMORY_MB_MAX`].
    pub memory_mb: Option<u32>,
    /// 1 to [`DEADLINE_MS_MAX`].
    pub deadline_ms: Option<u32>,
    /// 1 to [`LOG_LINES_MAX`].
    pub log_lines: Option<u32>,
    /// 1 to [`INPUT_KB_MAX`].
    pub input_kb: Option<u32>,
    /// 1 to [`OUTPUT_KB_MAX`].
    pub output_kb: Option<u32>,
    /// 1 to [`CALLS_MAX`].
    pub calls: Option<u32>,
}

impl LimitsWanted {
    /// Checks each against its maximum. Errors name the key and what it may be.
    pub(crate) fn check(self) -> Result<(), String> {
        let check = |key, value: Option<u32>, max| match value {
            Some(value) if !(1..=max).contains(&value) => Err(format!("`{key}` must be 1 to {max}, not {value}")),
            _ => Ok(()),
        };
        check("memory_mb", self.memory_mb, MEMORY_MB_MAX)?;
        check("deadline_ms", self.deadline_ms, DEADLINE_MS_MAX)?;
        check("log_lines", self.log_lines, LOG_LINES_MAX)?;
        check("input_kb", self.input_kb, INPUT_KB_MAX)?;
        check("output_kb", self.output_kb, OUTPUT_KB_MAX)?;
        check("calls", self.calls, CALLS_MAX)
    }

    /// These where they say something, `otherwise` where they do not.
    pub(crate) fn or(self, otherwise: Limits) -> Limits {
        Limits {
            memory_mb: self.memory_mb.unwrap_or(otherwise.memory_mb),
            deadline_ms: self.deadline_ms.unwrap_or(otherwise.deadline_ms),
            log_lines: self.log_lines.unwrap_or(otherwise.log_lines),
            input_kb: self.input_kb.unwrap_or(otherwise.input_kb),
            output_kb: self.output_kb.unwrap_or(otherwise.output_kb),
            calls: self.calls.unwrap_or(otherwise.calls),
        }
    }
}
