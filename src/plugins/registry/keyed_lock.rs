//! One lock for each key: who works on one plugin waits for nobody who works on another.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use tokio::sync::OwnedMutexGuard;

/// Locks by key, each there for as long as somebody holds it or waits for it.
#[derive(Default)]
pub(crate) struct KeyedLock(Mutex<BTreeMap<String, Weak<tokio::sync::Mutex<()>>>>);

impl KeyedLock {
    /// Waits until nobody else holds the lock of this key. In the order of asking.
    pub(crate) async fn lock(&self, key: &str) -> OwnedMutexGuard<()> {
        let lock = {
            let mut locks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            locks.retain(|_, lock| lock.strong_count() > 0);
            let held = locks.get(key).and_then(Weak::upgrade);
            held.unwrap_or_else(|| {
                let lock = Arc::default();
                locks.insert(key.to_owned(), Arc::downgrade(&lock));
                lock
            })
        };
        lock.lock_owned().await
    }
}

#[cfg(test)]
mod tests {
    use std::task::Poll;

    use futures_util::poll;

    use super::*;

    #[tokio::test]
    async fn only_the_same_key_waits_and_nothing_is_left_behind() {
        let locks = KeyedLock::default();
        let first = locks.lock("a").await;
        let other = locks.lock("b").await;
        let mut second = Box::pin(locks.lock("a"));
        assert!(poll!(&mut second).is_pending());
        drop(first);
        assert!(matches!(poll!(&mut second), Poll::Ready(_)));
        drop((second, other));
        drop(locks.lock("c").await);
        assert_eq!(locks.0.lock().expect("no panic").len(), 1, "what nobody holds goes with the next");
    }
}
