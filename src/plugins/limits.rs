//! What one call of a plugin may use, and the limiter that sees to it.

use serde::Serialize;
use utoipa::ToSchema;
use wasmtime::ResourceLimiter;

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

/// Table elements of one call together. Interpreters need some 20,000.
pub(super) const TABLE_ELEMENTS_MAX: usize = 100_000;
/// Core instances of one call. Compiled languages have a handful, CPython with its libraries some forty.
pub(super) const INSTANCES_MAX: usize = 64;
/// Linear memories of one call: one, one for an adapter, and one for stubs of WASI, as QuickJS comes with.
pub(super) const MEMORIES_MAX: usize = 3;
/// Tables of one call: one for each core instance is generous.
pub(super) const TABLES_MAX: usize = 8;
/// Live component-model handles and host resources of one call.
pub(super) const HANDLES_MAX: usize = 64;

/// Limits the memory of a call as a whole: the engine's own limiter counts each memory by itself,
/// so that a guest with ten memories would get ten times as much.
#[derive(Debug)]
pub(super) struct Memory {
    limit: usize,
    used: usize,
    table_elements: usize,
    /// The most that was in use at once, in bytes.
    pub(super) peak: usize,
    /// Whether a request was refused. Languages end in an ordinary trap then, so without this
    /// nobody could tell "out of memory" from a bug.
    pub(super) denied: bool,
}

impl Memory {
    pub(super) fn new(limits: Limits) -> Self {
        Self { limit: limits.memory_mb as usize * (1 << 20), used: 0, table_elements: 0, peak: 0, denied: false }
    }
}

impl ResourceLimiter for Memory {
    fn memory_growing(&mut self, current: usize, desired: usize, _maximum: Option<usize>) -> wasmtime::Result<bool> {
        let wanted = self.used.saturating_add(desired.saturating_sub(current));
        if wanted > self.limit {
            self.denied = true;
            return Ok(false);
        }
        self.used = wanted;
        self.peak = self.peak.max(wanted);
        Ok(true)
    }

    fn table_growing(&mut self, current: usize, desired: usize, _maximum: Option<usize>) -> wasmtime::Result<bool> {
        let wanted = self.table_elements.saturating_add(desired.saturating_sub(current));
        if wanted > TABLE_ELEMENTS_MAX {
            self.denied = true;
            return Ok(false);
        }
        self.table_elements = wanted;
        Ok(true)
    }

    fn instances(&self) -> usize {
        INSTANCES_MAX
    }

    fn tables(&self) -> usize {
        TABLES_MAX
    }

    fn memories(&self) -> usize {
        MEMORIES_MAX
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_is_on_all_memories_together() {
        let mut memory = Memory::new(Limits { memory_mb: 2, ..Limits::default() });
        let mib = 1 << 20;
        assert!(memory.memory_growing(0, mib, None).expect("no trap"));
        assert!(memory.memory_growing(0, mib, None).expect("no trap"));
        assert!(!memory.denied);
        assert!(!memory.memory_growing(mib, mib + 65_536, None).expect("no trap"));
        assert!(memory.denied);
        assert_eq!(memory.peak, 2 * mib);
    }

    #[test]
    fn table_elements_are_counted_together_too() {
        let mut memory = Memory::new(Limits::default());
        assert!(memory.table_growing(0, TABLE_ELEMENTS_MAX, None).expect("no trap"));
        assert!(!memory.table_growing(0, 1, None).expect("no trap"));
    }
}
