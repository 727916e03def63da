//! Wakes the task that calls the engine's timeouts, when something earlier became due.

use crate::types::Monotonic;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::sync::Notify;

/// The next time the engine wants to be called.
pub(super) struct Timer {
    armed: AtomicU64,
    earlier: Notify,
}

impl Timer {
    pub(super) fn new() -> Self {
        Self { armed: AtomicU64::new(u64::MAX), earlier: Notify::new() }
    }

    /// The engine wants to be called at `next`.
    pub(super) fn want(&self, next: Monotonic) {
        if next.0 < self.armed.load(Ordering::Acquire)
            && next.0 < self.armed.fetch_min(next.0, Ordering::AcqRel)
        {
            self.earlier.notify_one();
        }
    }

    /// Begins to wait for `next`, or for whatever becomes due earlier.
    pub(super) fn arm(&self, next: Option<Monotonic>) {
        self.armed.store(next.map_or(u64::MAX, |next| next.0), Ordering::Release);
    }

    /// Returns when something became due earlier than was armed.
    pub(super) async fn earlier(&self) {
        self.earlier.notified().await;
    }
}
