//! What a provider may export beside its own interface: `observer`, what is seen in a running session, and `courier`,
//! the ways into one.
//!
//! Either is optional, so its failures are its own: they never put the provider back. One that fails too often is left
//! alone for a while, and whoever asked does without it.
//!
//! - `bindings` are the two worlds, `loaded` what a component has of them, `observe` and `deliver` ask it. `recess` leaves
//!   alone what fails too often.

mod bindings;
mod deliver;
mod loaded;
mod observe;
mod recess;

pub(super) use deliver::deliver;
pub(super) use loaded::Beside;
pub(super) use observe::observe;
