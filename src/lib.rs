//! agent-relay: coding agents find each other, exchange durable messages, claim work once, and are
//! started under policies that can be swapped while it runs.

pub mod domain;
pub mod plugins;
