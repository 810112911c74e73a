//! The `agent-relay` program.

fn main() {}
