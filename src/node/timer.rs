//! Wakes the task that calls the engine's timeouts, when something earlier became due.

use crate::types::Monotonic;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::sync::Notify;

/// The next time at which the engine will be called.
pub(super) struct Timer {
    armed: AtomicU64,
    earlier: Notify,
}

impl Timer {
    pub(super) fn new() -> Self {
        Self {
            armed: AtomicU64::new(0),
            earlier: Notify::new(),
        }
    }

    /// The engine wants to be called at `next`: rings where that is earlier than what is known.
    pub(super) fn want(&self, next: Monotonic) {
        if next.0 < self.armed.load(Ordering::Acquire)
            && next.0 < self.armed.fetch_min(next.0, Ordering::AcqRel)
        {
            self.earlier.notify_one();
        }
    }

    /// From now on every wish rings.
    pub(super) fn arm(&self) {
        self.armed.store(u64::MAX, Ordering::Release);
    }

    /// The engine will be called at `next`: only earlier wishes ring.
    pub(super) fn expect(&self, next: Monotonic) {
        self.armed.fetch_min(next.0, Ordering::AcqRel);
    }

    /// Returns when it has rung.
    pub(super) async fn earlier(&self) {
        self.earlier.notified().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn only_an_earlier_wish_rings() {
        let timer = Timer::new();
        timer.arm();
        timer.expect(Monotonic(10));
        timer.want(Monotonic(10));
        timer.want(Monotonic(11));
        let wait = std::time::Duration::from_millis(1);
        assert!(tokio::time::timeout(wait, timer.earlier()).await.is_err());
        timer.want(Monotonic(9));
        timer.earlier().await;
    }
}
