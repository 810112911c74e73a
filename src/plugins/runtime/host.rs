//! What a guest may ask of the relay: its settings, and a line in the log. Nothing else.

use std::sync::Arc;
use std::time::Instant;

use wasmtime_wasi::{WasiCtxView, WasiView};

use super::super::package::Limits;
use super::bindings::{host as host_wit, types as types_wit};
use super::guest_log::{GuestLog, Level};
use super::inquiry::Inquiry;
use super::memory::Memory;
use super::wasi::Wasi;

/// The state of one call: what the guest sees of the host, and what the host counts.
pub(crate) struct Host {
    settings: Arc<str>,
    pub(crate) memory: Memory,
    pub(crate) log: GuestLog,
    /// When the guest had its instance.
    pub(crate) instance_at: Option<Instant>,
    /// Only for guests that import WASI: making it costs more than a whole call of the others.
    wasi: Option<Box<Wasi>>,
}

impl Host {
    /// For a call that is about `inquiry`.
    pub(crate) fn new(plugin: Arc<str>, settings: Arc<str>, limits: Limits, wasi: bool, inquiry: &Inquiry) -> Self {
        let log = GuestLog::new(plugin, limits.log_lines);
        Self {
            settings,
            memory: Memory::new(limits),
            instance_at: None,
            wasi: wasi.then(|| Box::new(Wasi::new(&log, inquiry))),
            log,
        }
    }

    /// Notes that the guest has its instance now.
    pub(crate) fn has_instance(&mut self) {
        self.instance_at = Some(Instant::now());
    }

    /// The guest will say no more: a line that it began ends here.
    pub(crate) fn end_lines(&self) {
        if let Some(wasi) = &self.wasi {
            wasi.end_lines();
        }
    }
}

impl types_wit::Host for Host {}

impl host_wit::Host for Host {
    fn log(&mut self, level: host_wit::Level, message: String) {
        let level = match level {
            host_wit::Level::Trace => Level::Trace,
            host_wit::Level::Debug => Level::Debug,
            host_wit::Level::Info => Level::Info,
            host_wit::Level::Warn => Level::Warn,
            host_wit::Level::Error => Level::Error,
        };
        self.log.line(level, &message);
    }

    fn settings(&mut self) -> String {
        self.settings.to_string()
    }
}

impl WasiView for Host {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        // Only the linker for guests that import WASI leads here, and their hosts have it.
        self.wasi.as_mut().expect("a guest with wasi has its context").view()
    }
}
