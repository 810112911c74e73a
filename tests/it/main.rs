//! The one integration binary: each module drives the real thing.

mod agents;
mod cli;
mod components;
mod events;
mod messages;
mod model;
mod plugins;
mod program;
mod readme;
mod real_clis;
mod server;
mod sessions;
mod tidy;
