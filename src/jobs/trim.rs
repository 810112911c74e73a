//! Memory that was needed once is given back to the system.

use std::time::Duration;

use super::Rounds;
use crate::relay::Relay;

/// How often it is looked at.
const EVERY: Duration = Duration::from_secs(5);
/// The allocator may keep so much for later, in bytes.
const KEPT_MAX: usize = 16 << 20;

/// Runs until the relay drains.
pub(super) async fn forever(relay: Relay) {
    let mut rounds = Rounds::every(EVERY, &relay);
    // What was free after the last time: the allocator goes on counting what it gave back.
    let mut given_back = 0_usize;
    while rounds.next().await {
        let free = free_bytes();
        given_back = given_back.min(free);
        if free - given_back > KEPT_MAX {
            // It takes a while where there is much, and locks what it looks through.
            let trimmed = tokio::task::spawn_blocking(trim).await;
            given_back = free_bytes();
            tracing::debug!(free, trimmed = trimmed.unwrap_or(false), "gave memory back");
        }
    }
}

/// What the allocator holds and nobody uses.
#[cfg(target_env = "gnu")]
#[expect(unsafe_code, reason = "a question to the C library")]
fn free_bytes() -> usize {
    // SAFETY: it takes nothing, and locks what it looks at.
    unsafe { libc::mallinfo2() }.fordblks
}

#[cfg(target_env = "gnu")]
#[expect(unsafe_code, reason = "a request to the C library")]
fn trim() -> bool {
    // SAFETY: it takes a number, and locks what it changes.
    unsafe { libc::malloc_trim(0) == 1 }
}

#[cfg(not(target_env = "gnu"))]
fn free_bytes() -> usize {
    0
}

#[cfg(not(target_env = "gnu"))]
fn trim() -> bool {
    false
}
