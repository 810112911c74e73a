//! The one integration binary: each module drives the real thing.

mod agents;
mod components;
mod messages;
mod plugins;
mod server;
mod sessions;
