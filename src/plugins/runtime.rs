//! Running guests: WebAssembly in a fresh instance for each call, within limits, and accounted for.
//!
//! - `engine` is the one WebAssembly engine and all of its configuration; `ticker` lets time pass for running
//!   guests; `threads` are for what may hold a thread up; `cache` keeps compiled components.
//! - `bindings` are the interfaces that every world shares; `host` is what a guest may ask of the relay,
//!   `wasi` what it finds of WASI, `guest_log` what it writes to the log, `memory` the limit on what it may use.
//! - `sandbox` makes one call of one plugin: [`Sandbox::call`] is the only way to run a guest, and `inquiry` what a
//!   call is about. `call_error` is how a call can fail, `ending` says it in words, `failed_questions` what follows from failures, `gate` refuses
//!   calls of a plugin in quarantine, `statistics` counts them.
//!
//! Knows nothing of policies and providers. No other room names wasmtime's engine or its stores' limits.

pub(crate) mod bindings;
mod cache;
mod call_error;
mod ending;
mod engine;
mod failed_questions;
mod gate;
mod guest_log;
mod host;
mod inquiry;
mod memory;
mod sandbox;
mod statistics;
mod threads;
mod ticker;
mod wasi;

pub use call_error::CallError;
pub use gate::Pauses;

pub(crate) use cache::Cache;
pub(crate) use engine::{Compiled, Engine};
pub(crate) use guest_log::clean;
pub(crate) use host::Host;
pub(crate) use inquiry::{Inquiry, Measured};
pub(crate) use sandbox::{FailureReport, Sandbox, Supervision};
