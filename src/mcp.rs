//! MCP: the relay's operations as tools for models, by the Model Context Protocol.
//!
//! - `protocol`: what the protocol says of one message: the handshake of its older versions, `server/discover` of the
//!   stateless one, the list of tools, and calls.
//! - `exchange`: one POST: which version it speaks, whether its headers agree with its body, batches, statuses.
//! - `session`: the same for one client beside a relay that may be away: only calls are passed on.
//! - `tools`: the tools. Each calls operations of the relay as whoever sent the request, and answers with a text that
//!   is useful alone.
//!
//! Nothing is kept between two requests: a session that the relay does not know cannot end when the relay does. Knows
//! no HTTP; the front door there hands over what it read. The versions, results and error codes are those of `rmcp`.

mod exchange;
mod protocol;
mod session;
mod tools;

pub use exchange::{BATCH_MAX, Head, Outcome, Reply, exchange};
pub use protocol::ToolServer;
pub use session::{CALL_VERSION, Post, answer_for, overload, refusal};
pub use tools::{ANSWER_BYTES_MAX, Toolbox, WAIT_SECONDS_MAX, WAITS_MAX, Waits};

/// The path at which tools are called.
pub const PATH: &str = "/mcp";
