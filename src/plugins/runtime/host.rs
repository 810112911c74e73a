//! What a guest may ask of the relay: its settings, and a line in the log. Nothing else.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use bytes::Bytes;
use tokio::io::AsyncWrite;
use wasmtime::component::ResourceTable;
use wasmtime_wasi::cli::{IsTerminal, StdoutStream};
use wasmtime_wasi::p2::{OutputStream, Pollable, StreamResult};
use wasmtime_wasi::{WasiCtx, WasiCtxView, WasiView};

use super::super::package::Limits;
use super::bindings::{host as host_wit, types as types_wit};
use super::guest_log::{GuestLog, LINE_BYTES_MAX, Level, LineWriter};
use super::memory::{HANDLES_MAX, Memory};

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

struct Wasi {
    context: WasiCtx,
    table: ResourceTable,
}

impl Host {
    pub(crate) fn new(plugin: Arc<str>, settings: Arc<str>, limits: Limits, wasi: bool) -> Self {
        let log = GuestLog::new(plugin, limits.log_lines);
        Self {
            settings,
            memory: Memory::new(limits),
            instance_at: None,
            wasi: wasi.then(|| Box::new(Wasi::new(&log))),
            log,
        }
    }

    /// Notes that the guest has its instance now.
    pub(crate) fn has_instance(&mut self) {
        self.instance_at = Some(Instant::now());
    }
}

impl Wasi {
    /// A world without files, network, environment or arguments. Compilers for some languages
    /// link parts of WASI whether a program uses them or not; here they find it empty.
    fn new(log: &GuestLog) -> Self {
        let mut table = ResourceTable::new();
        table.set_max_capacity(HANDLES_MAX);
        let context = WasiCtx::builder()
            .stdout(LineWriter::new(log.clone(), Level::Info))
            .stderr(LineWriter::new(log.clone(), Level::Warn))
            .allow_tcp(false)
            .allow_udp(false)
            .max_random_size(64 * 1024)
            .build();
        Self { context, table }
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
        let wasi = self.wasi.as_mut().expect("a guest with wasi has its context");
        WasiCtxView { ctx: &mut wasi.context, table: &mut wasi.table }
    }
}

impl IsTerminal for LineWriter {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl StdoutStream for LineWriter {
    fn async_stream(&self) -> Box<dyn AsyncWrite + Send + Sync> {
        Box::new(self.clone())
    }

    // The default would hand the bytes to a task of its own, which outlives the call.
    fn p2_stream(&self) -> Box<dyn OutputStream> {
        Box::new(self.clone())
    }
}

#[wasmtime_wasi::async_trait]
impl Pollable for LineWriter {
    async fn ready(&mut self) {}
}

impl OutputStream for LineWriter {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        Self::write(self, &bytes);
        Ok(())
    }

    fn flush(&mut self) -> StreamResult<()> {
        Self::flush(self);
        Ok(())
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        Ok(LINE_BYTES_MAX)
    }
}

impl AsyncWrite for LineWriter {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<std::io::Result<usize>> {
        self.write(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        self.flush();
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        self.poll_flush(context)
    }
}
