//! What is loaded, what was tried, and what follows from a change of the plugin directory, a decision of an
//! operator, or a failure.
//!
//! - `slot` is what a plugin can be loaded from (a folder, the binary) as a state machine without any I/O; `state` is all of them,
//!   behind the registry's lock; `handle` is the registry, and carries out what follows from a transition.
//! - Three reasons for a transition: `look` compares what lies in the folder with what was made of it,
//!   `operate` is what operators do, `failures` what follows when a plugin fails too often.
//! - `loader` takes a candidate through the stages, `load` does so beside everything else, `earlier` takes back
//!   what was active before. `keyed_lock` lets one at a time work on one plugin.
//! - `remembered` is what outlives the relay, `serving` what requests work with, `lifecycle` what operators see and
//!   say. `directory_watch` notices that files changed.

mod blocking;
mod directory_watch;
mod earlier;
mod failures;
mod handle;
mod keyed_lock;
mod lifecycle;
mod load;
mod loader;
mod look;
mod operate;
mod remembered;
mod serving;
mod slot;
mod state;

pub use lifecycle::{Action, ActionError, ChangeKind, PluginChange, PluginState, PluginStatus, Step};
pub use serving::PluginSet;

pub(crate) use directory_watch::keep_up_to_date;
pub(crate) use handle::Registry;
pub(crate) use lifecycle::Progress;
pub(crate) use loader::{Loader, Probe, compilers};
pub(crate) use look::Look;
pub(crate) use remembered::OperatorStates;
