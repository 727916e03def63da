//! The clocks of one machine over virtual time: a monotonic one that starts anywhere and drifts,
//! and a wall clock that is off and jumps. Virtual time itself is the simulator's and is never
//! shown to the engine.

use crate::rng::Rng;
use embergrid::types::Monotonic;

/// A point of virtual time or a span of it, in microseconds.
pub type Time = u64;
pub const MS: Time = 1_000;
pub const SECOND: Time = 1_000_000;

/// Parts per million that a monotonic clock may be fast or slow.
const DRIFT_PPM_MAX: u64 = 50;
/// The wall clock at virtual time zero.
const EPOCH: u64 = 1_800_000_000 * SECOND;

#[derive(Clone, Debug)]
pub struct Clock {
    start: u64,
    drift_ppm: i64,
    wall_offset: i64,
}

impl Clock {
    pub fn random(rng: &mut Rng) -> Self {
        Self {
            start: rng.within(SECOND, 1_000_000 * SECOND),
            drift_ppm: rng.within(0, 2 * DRIFT_PPM_MAX) as i64 - DRIFT_PPM_MAX as i64,
            wall_offset: rng.within(0, 120 * SECOND) as i64 - 60 * SECOND as i64,
        }
    }

    /// The monotonic clock.
    pub fn mono(&self, now: Time) -> Monotonic {
        let drift = (now as i64) * self.drift_ppm / 1_000_000;
        Monotonic((self.start + now).saturating_add_signed(drift))
    }

    /// The virtual time at which the monotonic clock has surely reached a point.
    pub fn reached(&self, point: Monotonic) -> Time {
        let ahead = point.0.saturating_sub(self.start);
        let scaled = i128::from(ahead) * 1_000_000 / i128::from(1_000_000 + self.drift_ppm);
        let mut time = Time::try_from(scaled)
            .unwrap_or(Time::MAX / 2)
            .min(Time::MAX / 2);
        while self.mono(time) < point {
            time += 1;
        }
        time
    }

    /// The wall clock.
    pub fn wall(&self, now: Time) -> u64 {
        (EPOCH + now).saturating_add_signed(self.wall_offset)
    }

    /// The wall clock is set to something else.
    pub fn jump(&mut self, by: i64) {
        self.wall_offset += by;
    }
}

#[test]
fn a_point_is_reached_when_the_clock_says_so() {
    let mut rng = Rng::stream(3, "clock");
    for _ in 0..200 {
        let clock = Clock::random(&mut rng);
        let point = clock.mono(rng.below(100 * SECOND)).after(rng.below(SECOND));
        let at = clock.reached(point);
        assert!(clock.mono(at) >= point && clock.mono(at - 2) < point);
    }
}
