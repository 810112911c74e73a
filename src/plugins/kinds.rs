//! The kinds of plugins: for each, one file or folder with everything that the relay knows of it.
//!
//! - [`of`] lists them. A new kind is its world in `wit/`, a file or folder here with a [`Kind`] and a
//!   `Guest`, its name in [`PluginKind`], and its line in [`of`]; the compiler asks for the last two.
//! - `policy` asks whether a control may happen, `provider` what exactly would be run.
//! - `kind` and `plugin` are what every kind does: before and after it is loaded. `question` is what an author
//!   asks, `overlay` completes it from samples. `stages` and `rejection` are why a plugin is not loaded,
//!   `fit` says where a component does not fit.
//!   `shared` converts the values that all kinds share.

mod fit;
mod kind;
mod overlay;
mod plugin;
pub(crate) mod policy;
pub(crate) mod provider;
mod question;
mod rejection;
mod shared;
mod stages;

use super::package::PluginKind;

pub use kind::Guide;
pub use question::Question;
pub use rejection::{Rejection, Stage};

pub(crate) use fit::{INTERFACE, contract_problem, not_a_component, surface_problem};
pub(crate) use kind::{Introduction, Kind, Linked};
pub(crate) use overlay::only;
pub(crate) use plugin::{Asked, Plugin};
pub(crate) use question::Function;
pub(crate) use rejection::{chain, not_linked};

/// What the relay does with plugins of this kind.
pub(crate) fn of(kind: PluginKind) -> &'static dyn Kind {
    match kind {
        PluginKind::Policy => &policy::Policies,
        PluginKind::Provider => &provider::Providers,
    }
}
