//! The one integration binary: each module drives the real thing.

mod components;
mod plugins;
mod sessions;
