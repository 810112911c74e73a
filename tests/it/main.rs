//! The one integration binary: each module drives the real thing.

mod agents;
mod cli;
mod components;
mod control;
mod events;
mod main_job;
mod messages;
mod model;
mod plugins;
mod program;
mod readme;
mod real_clis;
mod server;
mod sessions;
mod spawn;
mod tidy;
