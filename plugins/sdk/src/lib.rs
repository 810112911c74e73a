//! Writes a plugin for agent-relay as a small trait.
//!
//! A plugin is a pure function: it gets the question and its settings, and answers. It runs in a fresh
//! instance for each call, with no file, no network and no clock, so there is nothing to set up and
//! nothing to clean up, and its tests are ordinary tests on the machine they are written on. A panic ends the call;
//! its message and place are in the relay's log.
//!
//! ```
//! use agent_relay_plugin::policy::{Context, Control, Policy, Verdict, deny};
//! use agent_relay_plugin::NoSettings;
//!
//! /// Nobody starts an agent as root's own.
//! struct NotAtHome;
//!
//! impl Policy for NotAtHome {
//!     type Settings = NoSettings;
//!
//!     fn decide(_: &NoSettings, control: &Control, _: &Context) -> Result<Verdict, String> {
//!         Ok(match control {
//!             Control::Spawn(spawn) if spawn.cwd.normalised.starts_with("/root") => {
//!                 deny("not_at_home", "start it somewhere else than below /root")
//!             }
//!             _ => Verdict::Allow,
//!         })
//!     }
//! }
//!
//! agent_relay_plugin::export_policy!(NotAtHome);
//! # fn main() {}
//! ```
//!
//! - [`policy`]: may a spawn, restart or shutdown happen?
//! - [`provider`]: what exactly would be run?
//! - [`session`]: what a provider sees in a running session, and the ways into it; both optional
//! - [`settings`]: what the operator wrote below `[settings]`, read and checked before the plugin goes live
//! - `testing` (with the feature of that name): questions for the plugin's own tests, as values and as JSON
//! - [`log`]: a line in the relay's log, or on standard error in a test
//!
//! The types are those of the WIT package `agent-relay:plugin@0.1.0`, with its names; what each field
//! means stands there.

#[cfg(all(target_arch = "wasm32", feature = "memory"))]
mod memory;

#[doc(hidden)]
pub mod bindings;
pub mod policy;
pub mod provider;
pub mod session;
pub mod settings;
#[cfg(feature = "testing")]
pub mod testing;

pub use bindings::types::{ApprovalMode, Caller, Extension, PathFacts, Site};
pub use settings::{NoSettings, Settings};

/// How much a line of the log matters.
pub use bindings::host::Level;

/// The page for authors: its examples are compiled as tests.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
struct AuthorsPage;

/// Writes a line to the relay's log, under the plugin's id; on the machine a test runs on, to standard
/// error. Lines and their length are limited for each call.
pub fn log(level: Level, message: &str) {
    #[cfg(target_arch = "wasm32")]
    bindings::host::log(level, message);
    #[cfg(not(target_arch = "wasm32"))]
    eprintln!("{level:?}: {message}");
}

/// What every export does first: a panic is to say in the relay's log where and why.
#[doc(hidden)]
pub fn begin() {
    #[cfg(target_arch = "wasm32")]
    std::panic::set_hook(Box::new(|panic| log(Level::Error, &panic.to_string().replacen('\n', " ", 1))));
}
