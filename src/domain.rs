//! The nouns of the relay and their rules. Nothing here waits, stores or speaks HTTP, so
//! everything here can be tested by calling it.

pub mod control;
pub mod path;
pub mod plan;
