//! Durations and points in time of the public messages ⇄ microseconds.

use super::limits::DURATION_MAX;
use crate::error::{Error, Result};
use crate::types::{ClusterTime, Micros, time::SECOND};
use prost_types::{Duration, Timestamp};

/// The last second that a timestamp may name: the end of the year 9999.
const TIMESTAMP_SECONDS_MAX: i64 = 253_402_300_799;
const NANOS: i32 = 1_000_000_000;

/// A duration of any length.
pub fn encode_duration(micros: Micros) -> Duration {
    let (seconds, nanos) = parts(micros);
    Duration { seconds, nanos }
}

/// A duration that a client names: 1 µs to 100 years; what is finer than a microsecond is cut off.
///
/// # Errors
///
/// `InvalidArgument` for zero, negative, malformed and longer ones, naming the field.
pub fn duration(duration: &Duration, field: &str) -> Result<Micros> {
    let micros = any_duration(duration, field)?;
    if micros == 0 {
        return Err(Error::invalid(format!("{field} is zero; leave it out for none")));
    }
    if micros > DURATION_MAX {
        let text = format!("{field}: {} s, at most 3153600000 s are allowed", duration.seconds);
        return Err(Error::invalid(text));
    }
    Ok(micros)
}

/// A duration that a peer names: zero and up, as long as it can be counted.
///
/// # Errors
///
/// `InvalidArgument` for negative, malformed and uncountable ones, naming the field.
pub fn any_duration(duration: &Duration, field: &str) -> Result<Micros> {
    if duration.seconds < 0 || duration.nanos < 0 {
        return Err(Error::invalid(format!("{field} is negative")));
    }
    micros(duration.seconds, duration.nanos, field)
}

/// A point in time; one behind the year 9999 is said as its end.
pub fn encode_point(point: ClusterTime) -> Timestamp {
    let (seconds, nanos) = parts(point.0);
    if seconds > TIMESTAMP_SECONDS_MAX {
        return Timestamp { seconds: TIMESTAMP_SECONDS_MAX, nanos: NANOS - 1 };
    }
    Timestamp { seconds, nanos }
}

/// A point in time from 1970 to 9999; what is finer than a microsecond is cut off.
///
/// # Errors
///
/// `InvalidArgument` for any other, naming the field.
pub fn point(timestamp: &Timestamp, field: &str) -> Result<ClusterTime> {
    if !(0..=TIMESTAMP_SECONDS_MAX).contains(&timestamp.seconds) {
        return Err(Error::invalid(format!("{field} is not between the years 1970 and 9999")));
    }
    micros(timestamp.seconds, timestamp.nanos, field).map(ClusterTime)
}

fn parts(micros: u64) -> (i64, i32) {
    let seconds = i64::try_from(micros / SECOND).unwrap_or(i64::MAX);
    let nanos = i32::try_from(micros % SECOND * 1_000).unwrap_or_default();
    (seconds, nanos)
}

fn micros(seconds: i64, nanos: i32, field: &str) -> Result<u64> {
    if !(0..NANOS).contains(&nanos) {
        return Err(Error::invalid(format!("{field}: {nanos} ns is not a part of a second")));
    }
    let fine = u64::from(nanos.unsigned_abs()) / 1_000;
    u64::try_from(seconds)
        .ok()
        .and_then(|seconds| seconds.checked_mul(SECOND)?.checked_add(fine))
        .ok_or_else(|| Error::invalid(format!("{field} is out of range")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(seconds: i64, nanos: i32) -> Duration {
        Duration { seconds, nanos }
    }

    #[test]
    fn a_client_names_durations_within_bounds_only() {
        assert_eq!(duration(&seconds(0, 1_999), "ttl"), Ok(1));
        assert_eq!(duration(&seconds(3_153_600_000, 0), "ttl"), Ok(DURATION_MAX));
        for wrong in [
            seconds(0, 0),
            seconds(0, 999),
            seconds(-1, 0),
            seconds(0, -1),
            seconds(1, -1),
            seconds(1, NANOS),
            seconds(3_153_600_000, 1_000),
            seconds(i64::MAX, 0),
            seconds(i64::MIN, i32::MIN),
        ] {
            let error = duration(&wrong, "ttl").expect_err("out of bounds");
            assert!(error.context.contains("ttl"), "{error}");
        }
    }

    #[test]
    fn every_duration_survives_between_nodes() {
        for micros in [0, 1, SECOND - 1, SECOND, DURATION_MAX + 1, u64::MAX] {
            assert_eq!(any_duration(&encode_duration(micros), "ttl"), Ok(micros));
        }
    }

    #[test]
    fn points_survive_and_are_bounded() {
        for micros in [0, 1, 1_763_000_000_123_456] {
            assert_eq!(point(&encode_point(ClusterTime(micros)), "at"), Ok(ClusterTime(micros)));
        }
        assert!(point(&encode_point(ClusterTime(u64::MAX)), "at").is_ok());
        assert!(point(&Timestamp { seconds: -1, nanos: 0 }, "at").is_err());
        assert!(point(&Timestamp { seconds: i64::MAX, nanos: 0 }, "at").is_err());
    }
}
