//! WASI as a guest finds it: nothing of the host shows, and nothing changes from one call to the next.
//!
//! Compilers for some languages link parts of WASI whether a program uses them or not. There are no files, network,
//! names, environment, arguments, input or terminal. The wall clock stands at the time of the question; the monotonic
//! clock stands at 0, so that a wait is over as soon as it begins; randomness is drawn from the question. What is
//! printed goes to the log. So a guest remains a function of what it is asked, and the same question gets the same
//! answer.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use rand::SeedableRng;
use rand::rngs::ChaCha12Rng;
use tokio::io::AsyncWrite;
use wasmtime::component::{HasData, Linker, Resource, ResourceTable};
use wasmtime_wasi::cli::{IsTerminal, StdoutStream};
use wasmtime_wasi::p2::bindings::clocks::monotonic_clock;
use wasmtime_wasi::p2::{DynPollable, OutputStream, Pollable, StreamResult, subscribe};
use wasmtime_wasi::{HostMonotonicClock, HostWallClock, WasiCtx, WasiCtxView, WasiView};

use super::guest_log::{GuestLog, LINE_BYTES_MAX, Level, LineWriter};
use super::inquiry::Inquiry;
use super::memory::HANDLES_MAX;

/// KiB of randomness in one request.
pub(super) const RANDOM_KB_MAX: u64 = 64;

/// What one call finds of WASI.
pub(super) struct Wasi {
    context: WasiCtx,
    table: ResourceTable,
    printed: [LineWriter; 2],
}

impl Wasi {
    pub(super) fn new(log: &GuestLog, inquiry: &Inquiry) -> Self {
        let mut table = ResourceTable::new();
        table.set_max_capacity(HANDLES_MAX);
        let printed = [Level::Info, Level::Warn].map(|level| LineWriter::new(log.clone(), level));
        let [stdout, stderr] = printed.clone();
        // Three streams that do not follow from one another.
        let random = |stream: &str| ChaCha12Rng::from_seed(inquiry.seed(stream));
        let seed = inquiry.seed("insecure-seed").first_chunk().map_or(0, |bytes| u128::from_le_bytes(*bytes));
        let context = WasiCtx::builder()
            .stdout(stdout)
            .stderr(stderr)
            .allow_tcp(false)
            .allow_udp(false)
            .allow_ip_name_lookup(false)
            .wall_clock(Still { at: inquiry.at() })
            .monotonic_clock(Still { at: Duration::ZERO })
            .secure_random(random("random"))
            .insecure_random(random("insecure"))
            .insecure_random_seed(seed)
            .max_random_size(RANDOM_KB_MAX * 1024)
            .build();
        Self { context, table, printed }
    }

    pub(super) fn view(&mut self) -> WasiCtxView<'_> {
        WasiCtxView { ctx: &mut self.context, table: &mut self.table }
    }

    /// Lines that were begun and not ended go to the log.
    pub(super) fn end_lines(&self) {
        self.printed.iter().for_each(LineWriter::end);
    }
}

/// Offers WASI to guests whose hosts show it.
pub(super) fn add_to_linker<H: WasiView + 'static>(linker: &mut Linker<H>) -> wasmtime::Result<()> {
    wasmtime_wasi::p2::add_to_linker_async(linker)?;
    // That one waits by the real clock.
    linker.allow_shadowing(true);
    let waits = monotonic_clock::add_to_linker::<H, Waits<'static>>(linker, |host| Waits { table: host.ctx().table });
    linker.allow_shadowing(false);
    waits
}

/// A clock that stands still.
struct Still {
    at: Duration,
}

impl HostWallClock for Still {
    fn resolution(&self) -> Duration {
        Duration::from_millis(1)
    }

    fn now(&self) -> Duration {
        self.at
    }
}

impl HostMonotonicClock for Still {
    fn resolution(&self) -> u64 {
        1
    }

    fn now(&self) -> u64 {
        0
    }
}

/// Waiting by a clock that stands still: whatever is waited for has come. To wait in earnest would only use up the
/// deadline, and make the answer depend on how busy the machine is.
struct Waits<'a> {
    table: &'a mut ResourceTable,
}

impl HasData for Waits<'static> {
    type Data<'a> = Waits<'a>;
}

impl monotonic_clock::Host for Waits<'_> {
    fn now(&mut self) -> wasmtime::Result<u64> {
        Ok(0)
    }

    fn resolution(&mut self) -> wasmtime::Result<u64> {
        Ok(1)
    }

    fn subscribe_instant(&mut self, _when: u64) -> wasmtime::Result<Resource<DynPollable>> {
        let over = self.table.push(Over)?;
        subscribe(self.table, over)
    }

    fn subscribe_duration(&mut self, _duration: u64) -> wasmtime::Result<Resource<DynPollable>> {
        self.subscribe_instant(0)
    }
}

/// A wait that is over.
struct Over;

#[wasmtime_wasi::async_trait]
impl Pollable for Over {
    async fn ready(&mut self) {}
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

    // Languages flush after every few words; a line ends where it ends, or with the call.
    fn flush(&mut self) -> StreamResult<()> {
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
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
