//! What has a time at which it is due, behind a lock; the time is read without the lock, since
//! every request asks for it.

use crate::engine::forwarding::Forwards;
use crate::types::{CacheId, Monotonic};
use parking_lot::Mutex;
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};

/// Says when it is due.
pub trait Due {
    fn next(&self) -> Option<Monotonic>;
}

/// Something that is due at some time.
pub struct Timed<T> {
    inner: Mutex<T>,
    /// Written under the lock; the greatest number: never.
    due: AtomicU64,
}

impl<T: Default> Default for Timed<T> {
    fn default() -> Self {
        Self {
            inner: Mutex::default(),
            due: AtomicU64::new(u64::MAX),
        }
    }
}

impl<T: Due> Timed<T> {
    /// Works with it under its lock.
    pub fn with<R>(&self, work: impl FnOnce(&mut T) -> R) -> R {
        let mut inner = self.inner.lock();
        let done = work(&mut inner);
        let due = inner.next().map_or(u64::MAX, |at| at.0);
        self.due.store(due, Ordering::Relaxed);
        done
    }

    /// When it is due.
    pub fn due(&self) -> Option<Monotonic> {
        let due = self.due.load(Ordering::Relaxed);
        (due < u64::MAX).then_some(Monotonic(due))
    }
}

/// A partition that is due at a time.
pub type Alarm = (Monotonic, CacheId, u32);

/// The partitions that have a timer, by time.
#[derive(Default)]
pub struct Timers(BTreeSet<Alarm>);

impl Timers {
    pub fn set(&mut self, alarm: Alarm) {
        self.0.insert(alarm);
    }

    pub fn unset(&mut self, alarm: Alarm) {
        self.0.remove(&alarm);
    }

    /// Takes out all that are due.
    pub fn take_due(&mut self, now: Monotonic) -> Vec<Alarm> {
        let mut due = Vec::new();
        while let Some(alarm) = self.0.first().copied().filter(|(at, ..)| *at <= now) {
            self.0.pop_first();
            due.push(alarm);
        }
        due
    }
}

impl Due for Forwards {
    fn next(&self) -> Option<Monotonic> {
        self.next()
    }
}

impl Due for crate::engine::transaction::Transactions {
    fn next(&self) -> Option<Monotonic> {
        self.next()
    }
}

impl Due for Timers {
    fn next(&self) -> Option<Monotonic> {
        self.0.first().map(|(at, ..)| *at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_due_first_is_known_without_the_lock() {
        let timers = Timed::<Timers>::default();
        assert_eq!(timers.due(), None);
        for at in [7, 5, 9] {
            timers.with(|timers| timers.set((Monotonic(at), CacheId(1), 2)));
        }
        assert_eq!(timers.due(), Some(Monotonic(5)));
        let due = timers.with(|timers| timers.take_due(Monotonic(7)));
        assert_eq!(due.len(), 2);
        timers.with(|timers| timers.unset((Monotonic(9), CacheId(1), 2)));
        assert_eq!(timers.due(), None);
    }
}
