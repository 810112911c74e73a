//! What a plugin can be, what it became, what everybody is told of it, and what an operator can do to it.

mod action;
mod change;
mod history;
mod status;

pub use action::{Action, ActionError};
pub use change::{ChangeKind, PluginChange};
pub use history::Step;
pub use status::{PluginState, PluginStatus};

pub(crate) use history::{History, Progress};
