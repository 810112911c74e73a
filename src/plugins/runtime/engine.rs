//! The WebAssembly engine: one for all plugins, and all of its configuration.
//!
//! With one engine, code compiled for it cannot meet another's, and one thread can tell every
//! running call that time has passed.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use tokio::sync::Semaphore;
use wasmtime::component::{Component, HasSelf, InstancePre, Linker};
use wasmtime::{Config, Enabled, InstanceAllocationStrategy, PoolingAllocationConfig};

use super::super::package;
use super::bindings;
use super::host::Host;
use super::memory::{INSTANCES_MAX, MEMORIES_MAX, TABLE_ELEMENTS_MAX, TABLES_MAX};
use super::threads::Threads;
use super::ticker::{Ticker, Ticking};
use super::wasi;

/// Calls of all plugins that may run at once. Each needs a stack and memory; more would only wait
/// for a processor.
pub(crate) const CALLS_MAX: usize = package::CALLS_MAX as usize;

/// KiB of the host's stack that the calls of a guest within each other may take. What a guest keeps of its own in its
/// memory is the guest's: compilers give that from 64 KiB to a mebibyte.
pub(crate) const STACK_KB: usize = 1024;
/// KiB of the stack that a call runs on: the guest's, and what the host's own functions need.
const CALL_STACK_KB: usize = STACK_KB + 512;

/// Cheap to clone.
#[derive(Clone)]
pub(crate) struct Engine(Arc<Inner>);

struct Inner {
    wasmtime: wasmtime::Engine,
    /// For guests that import nothing but the relay's own `host`.
    pure: Linker<Host>,
    /// For guests whose language drags WASI in: the same, and an empty WASI.
    wasi: Linker<Host>,
    calls: Semaphore,
    ticker: Ticker,
    threads: Threads,
}

/// A component compiled for the engine.
#[derive(Clone)]
pub(crate) struct Compiled {
    component: Component,
    /// Whether it imports anything of WASI.
    pub(crate) wasi: bool,
}

impl Engine {
    pub(crate) fn new() -> wasmtime::Result<Self> {
        // The pool reserves address space for every possible call at once, and makes an instance
        // in half the time. Where that much cannot be had (a container with an address space
        // limit), memory is reserved call by call.
        let wasmtime = match wasmtime::Engine::new(&pooling()) {
            Ok(engine) => engine,
            Err(error) => {
                tracing::info!("no address space to pool plugin instances in: {error:#}");
                wasmtime::Engine::new(&on_demand())?
            }
        };
        let mut pure = Linker::new(&wasmtime);
        bindings::Shared::add_to_linker::<_, HasSelf<_>>(&mut pure, |host| host)?;
        let mut with_wasi = pure.clone();
        wasi::add_to_linker(&mut with_wasi)?;
        let ticker = Ticker::start(wasmtime.weak())?;
        let threads = Threads::start()?;
        Ok(Self(Arc::new(Inner { wasmtime, pure, wasi: with_wasi, calls: Semaphore::new(CALLS_MAX), ticker, threads })))
    }

    /// Compiles a component. Takes from milliseconds to seconds of one processor: call it off the
    /// reactor.
    pub(crate) fn compile(&self, wasm: &[u8]) -> wasmtime::Result<Compiled> {
        Ok(self.compiled(Component::from_binary(&self.0.wasmtime, wasm)?))
    }

    /// The machine code of a component, for [`Engine::load`].
    pub(crate) fn machine_code(compiled: &Compiled) -> wasmtime::Result<Vec<u8>> {
        compiled.component.serialize()
    }

    /// Takes back machine code that [`Engine::machine_code`] gave, in this process or in an
    /// earlier one. It runs with all the rights of the relay: the caller must have made sure that
    /// not a byte of it changed.
    #[expect(unsafe_code, reason = "machine code cannot be validated; the cache authenticates it instead")]
    pub(crate) fn load(&self, machine_code: &[u8]) -> wasmtime::Result<Compiled> {
        // SAFETY: the cache is the only caller, and only passes bytes which carry a MAC made with
        // the relay's private key over output of `machine_code`. Another version's or
        // configuration's code is refused by wasmtime itself.
        let component = unsafe { Component::deserialize(&self.0.wasmtime, machine_code) }?;
        Ok(self.compiled(component))
    }

    fn compiled(&self, component: Component) -> Compiled {
        let wasi = component.component_type().imports(&self.0.wasmtime).any(|(name, _)| name.starts_with("wasi:"));
        Compiled { component, wasi }
    }

    /// Resolves the imports of a component. Whether its exports have the right types is only
    /// found out by an instance.
    pub(crate) fn link(&self, compiled: &Compiled) -> wasmtime::Result<InstancePre<Host>> {
        let linker = if compiled.wasi { &self.0.wasi } else { &self.0.pure };
        linker.instantiate_pre(&compiled.component)
    }

    /// The relay's own interfaces that a component exports, by their full names.
    pub(crate) fn interfaces(&self, compiled: &Compiled) -> Vec<String> {
        compiled
            .component
            .component_type()
            .exports(&self.0.wasmtime)
            .map(|(name, _)| name)
            .filter(|name| name.starts_with(bindings::PACKAGE))
            .map(str::to_owned)
            .collect()
    }

    /// Everything a component imports, and everything it exports, by full names.
    pub(crate) fn surface(&self, compiled: &Compiled) -> (Vec<String>, Vec<String>) {
        let shape = compiled.component.component_type();
        let imports = shape.imports(&self.0.wasmtime).map(|(name, _)| name.to_owned()).collect();
        let exports = shape.exports(&self.0.wasmtime).map(|(name, _)| name.to_owned()).collect();
        (imports, exports)
    }

    /// Changes with everything that makes machine code of one engine useless to another.
    pub(crate) fn compatibility(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        self.0.wasmtime.precompile_compatibility_hash().hash(&mut hasher);
        hasher.finish()
    }

    /// Room for one more call among those of all plugins.
    pub(crate) fn calls(&self) -> &Semaphore {
        &self.0.calls
    }

    /// For what may hold a thread up.
    pub(crate) fn threads(&self) -> &Threads {
        &self.0.threads
    }

    /// A store for one call.
    pub(crate) fn store(&self, host: Host) -> wasmtime::Store<Host> {
        wasmtime::Store::new(&self.0.wasmtime, host)
    }

    /// Time passes for guests while any of these is held.
    pub(super) fn ticking(&self) -> Ticking<'_> {
        self.0.ticker.resume()
    }
}

fn on_demand() -> Config {
    let mut config = Config::new();
    config
        .epoch_interruption(true)
        // One processor is enough: a compilation must not take all of them from the relay.
        .parallel_compilation(false)
        .max_wasm_stack(STACK_KB * 1024)
        .async_stack_size(CALL_STACK_KB * 1024)
        // The default reserves 4 GiB for each memory, which `ulimit -v` may not allow.
        .memory_reservation(64 << 20)
        .memory_reservation_for_growth(64 << 20);
    config
}

fn pooling() -> Config {
    let calls = u32::try_from(CALLS_MAX).unwrap_or(u32::MAX);
    let [instances, memories, tables] =
        [INSTANCES_MAX, MEMORIES_MAX, TABLES_MAX].map(|max| u32::try_from(max).unwrap_or(u32::MAX));
    let mut pool = PoolingAllocationConfig::new();
    // Every call can have all it may have, so the pool never runs out before the semaphore does.
    pool.total_component_instances(calls)
        .total_core_instances(calls * instances)
        .max_core_instances_per_component(instances)
        .total_memories(calls * memories)
        .max_memories_per_component(memories)
        .max_memory_size((package::MEMORY_MB_MAX as usize) << 20)
        .total_tables(calls * tables)
        .max_tables_per_component(tables)
        .max_tables_per_module(tables)
        .table_elements(TABLE_ELEMENTS_MAX)
        .total_stacks(calls)
        // What a small guest touches is zeroed by hand. Giving pages back would have every processor
        // that runs a thread of the relay forget them, which takes longer than the whole call. Where
        // the kernel tells which pages were touched (Linux 6.7), only those are zeroed.
        .linear_memory_keep_resident(512 * 1024)
        .pagemap_scan(Enabled::Auto)
        .table_keep_resident(16 * 1024)
        .async_stack_keep_resident(32 * 1024);
    let mut config = Config::new();
    config
        .epoch_interruption(true)
        .parallel_compilation(false)
        .max_wasm_stack(STACK_KB * 1024)
        .async_stack_size(CALL_STACK_KB * 1024)
        .allocation_strategy(InstanceAllocationStrategy::Pooling(pool));
    config
}
