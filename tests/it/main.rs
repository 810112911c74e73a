//! The one integration binary: each module drives the real thing.

mod api;
mod cli;
mod client;
mod crash;
mod plugins;
mod program;
mod readme;
mod real_clis;
mod server;
mod sessions;
mod spawn;
mod store;
mod terminal;
mod tidy;
mod upgrade;
mod workbench;
