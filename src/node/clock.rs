//! The one clock of a node: a monotonic one that everything is decided by, and the wall clock
//! for the edge. Nothing else in the program reads a clock on behalf of the engine.

use crate::types::Monotonic;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// The clock of a node. Copies agree.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    origin: Instant,
}

impl Clock {
    /// A clock that starts now.
    pub fn start() -> Self {
        // One microsecond in, so that no reading is the zero that means "never".
        let origin = Instant::now();
        Self {
            origin: origin
                .checked_sub(Duration::from_micros(1))
                .unwrap_or(origin),
        }
    }

    /// The monotonic time.
    pub fn now(&self) -> Monotonic {
        self.at(Instant::now())
    }

    /// A moment on this clock; moments before its start are its start.
    pub fn at(&self, moment: Instant) -> Monotonic {
        let micros = moment.saturating_duration_since(self.origin).as_micros();
        Monotonic(u64::try_from(micros).unwrap_or(u64::MAX))
    }

    /// How long it is from now to `point`; zero if that has passed.
    pub fn until(&self, point: Monotonic) -> Duration {
        Duration::from_micros(point.since(self.now()))
    }

    /// The wall clock in microseconds since the Unix epoch.
    pub fn wall() -> u64 {
        let since = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_keep_their_distance() {
        let clock = Clock::start();
        let now = Instant::now();
        let later = clock.at(now + Duration::from_millis(5));
        assert_eq!(later.since(clock.at(now)), 5_000);
        assert_eq!(clock.at(now - Duration::from_secs(3600)), Monotonic(0));
    }
}
