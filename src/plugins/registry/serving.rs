//! What requests work with: `set` is the plugins of one moment, `draining` follows those that are no longer asked
//! until the last request that uses them has ended.

mod draining;
mod set;

pub use set::PluginSet;

pub(crate) use draining::Draining;
pub(crate) use set::{Missing, Others};
