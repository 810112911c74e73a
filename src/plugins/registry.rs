//! What is loaded, what was tried, and what follows from a change of the plugin directory, a decision of an
//! operator, or a failure.
//!
//! - `slot` is a place that a plugin is loaded from, as a state machine without any I/O; `state` is all of them,
//!   behind the registry's lock; `handle` is the registry, and carries out what follows from a transition.
//! - Three reasons for a transition: `look` compares what lies in the folder with what was made of it,
//!   `operate` is what operators do, `failures` what follows when a plugin fails too often.
//! - `loader` takes a candidate through the stages, `load` does so beside everything else, `earlier` takes back
//!   what was active before. `keyed_lock` lets one at a time work on one plugin.
//! - `operator_state` is what is remembered of a plugin, `operator_states` the file of it, `kept_files` the files
//!   of earlier generations.
//! - `set` is what a request works with, `draining` follows what is no longer asked until nobody uses it.
//! - `status`, `history`, `change` and `action` are what operators see and say. `directory_watch` notices that
//!   files changed.

mod action;
mod blocking;
mod candidate;
mod change;
mod directory_watch;
mod draining;
mod earlier;
mod failures;
mod handle;
mod history;
mod kept_files;
mod keyed_lock;
mod load;
mod loader;
mod look;
mod operate;
mod operator_state;
mod operator_states;
mod set;
mod slot;
mod state;
mod status;

pub use action::{Action, ActionError};
pub use change::{ChangeKind, PluginChange};
pub use history::Step;
pub use set::PluginSet;
pub use status::{PluginState, PluginStatus};

pub(crate) use directory_watch::keep;
pub(crate) use handle::Registry;
pub(crate) use history::Progress;
pub(crate) use loader::{Loader, compilers};
pub(crate) use look::Look;
pub(crate) use operator_states::OperatorStates;
