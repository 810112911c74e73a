//! The nouns of the relay and their rules. Nothing here waits, stores or speaks HTTP, so
//! everything here can be tested by calling it.

pub mod activity;
pub mod agent;
pub mod attention;
pub mod audit;
pub mod caller;
pub mod control;
pub mod event;
pub mod id;
pub mod integration;
pub mod message;
pub mod page;
pub mod pair;
pub mod refusal;
pub mod retention;
pub mod task;
pub mod text;
pub mod time;
