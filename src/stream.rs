//! The event stream: replay from the store, then live, with no hole and no repeat.
//!
//! The hub knows the open streams, indexed by what they listen to, and is handed each batch by the
//! store's writer after its commit. A feed is one reader's position: it subscribes first, reads the
//! store second, and skips what it saw, so that what commits in between is seen twice and told once.
//! A reader that falls behind its small queue goes back to reading the store at its own pace.

mod feed;
mod hub;

pub use feed::{Feed, Start};
pub use hub::{Echo, Hub, Listen, Subscription, Taken, TooManyStreams};
pub(crate) use hub::{QUEUE_BYTES_MAX, QUEUE_MAX};
