//! The one integration binary: each module drives the real thing.

mod cli;
mod components;
mod plugins;
mod program;
mod readme;
mod sessions;
mod tidy;
