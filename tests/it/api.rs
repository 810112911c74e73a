//! The API over HTTP, noun by noun, and what holds for all of it.

mod access;
mod activity;
mod agents;
mod attention;
mod connections;
mod control;
mod conventions;
mod deliveries;
mod events;
mod mcp;
mod messages;
mod openapi;
mod pairs;
mod scopes;
mod system;
mod tasks;
mod trust;
