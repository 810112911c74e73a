//! The limiter of a call's memory: over all of it together.

use wasmtime::ResourceLimiter;

use super::super::package::Limits;

/// Table elements of one call together. Interpreters need some 20,000.
pub(crate) const TABLE_ELEMENTS_MAX: usize = 100_000;
/// Core instances of one call. Compiled languages have a handful, CPython with its libraries some forty.
pub(crate) const INSTANCES_MAX: usize = 64;
/// Linear memories of one call: one, one for an adapter, and one for stubs of WASI, as QuickJS comes with.
pub(crate) const MEMORIES_MAX: usize = 3;
/// Tables of one call: one for each core instance is generous.
pub(crate) const TABLES_MAX: usize = 8;
/// Live component-model handles and host resources of one call.
pub(crate) const HANDLES_MAX: usize = 64;

/// Limits the memory of a call as a whole: the engine's own limiter counts each memory by itself,
/// so that a guest with ten memories would get ten times as much.
#[derive(Debug)]
pub(crate) struct Memory {
    limit: usize,
    used: usize,
    table_elements: usize,
    /// The most that was in use at once, in bytes.
    pub(crate) peak: usize,
    /// Whether a request was refused. Languages end in an ordinary trap then, so without this
    /// nobody could tell "out of memory" from a bug.
    pub(crate) denied: bool,
}

impl Memory {
    pub(crate) fn new(limits: Limits) -> Self {
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
