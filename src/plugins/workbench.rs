//! One plugin on its author's desk: looked at, checked and called without a relay, by the very code
//! that a relay loads and calls it with.
//!
//! `project` reads a folder or a component, `bench` loads it, `inspection` says what a component is, `check` takes it
//! through everything that a relay does with it, `finding` is what is wrong and what to do about it, `loaded` calls it,
//! `case` is a question with the answer it should have, `bless` makes it expect what is answered, `replay` asks a policy
//! what was asked of its predecessor, `source_watch` notices that the author changed something.

mod bench;
mod bless;
mod case;
mod check;
mod finding;
mod inspection;
mod loaded;
mod project;
mod replay;
mod source_watch;

use super::kinds;
use super::package::PluginKind;

pub use super::kinds::{Guide, Question};
pub use bench::Workbench;
pub use bless::blessed;
pub use case::{Case, Difference, differences};
pub use check::{Checked, Outcome, Report};
pub use finding::{Finding, Level, next_step};
pub use inspection::{Inspection, Tool};
pub use loaded::{Called, Loaded};
pub use project::{Project, check_id, identity};
pub use replay::{Change, Ruled};
pub use source_watch::SourceWatch;

/// The interface that plugins are written against, as this relay speaks it: the files of `wit/`.
pub const INTERFACE: [(&str, &str); 8] = kinds::INTERFACE;

/// What the author of a new plugin of this kind is told and given.
pub fn guide(kind: PluginKind) -> Guide {
    kinds::of(kind).guide()
}
