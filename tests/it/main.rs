//! The one integration binary: each module drives the real thing.

mod access;
mod activity;
mod agents;
mod claims;
mod cli;
mod components;
mod contract;
mod control;
mod conventions;
mod crash;
mod events;
mod main_job;
mod messages;
mod model;
mod openapi;
mod plugins;
mod program;
mod readme;
mod real_clis;
mod server;
mod sessions;
mod spawn;
mod system;
mod tidy;
mod upgrade;
mod workbench;
