//! `[limits]`: bounds on what clients and peers may ask for.

use super::given::Reader;
use std::ops::RangeInclusive;
use std::time::Duration;

/// The section `[limits]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LimitSettings {
    /// Open connections, clients and peers together.
    pub connections_max: u32,
    /// Streams and calls at a time on one connection.
    pub streams_per_connection_max: u32,
    /// Calls at a time on this node; more are answered "overloaded".
    pub requests_in_flight_max: u32,
    /// Frames that wait for one link to a peer; a full queue is answered "overloaded".
    pub link_queue_max: u32,
    /// Events that wait for one watcher; a watcher that is slower is cut off and resumes.
    pub watch_queue_max: u32,
    /// Keys in one call.
    pub batch_keys_max: u32,
    /// The largest message in bytes.
    pub message_bytes_max: u64,
    /// How long calls in flight may go on after the order to stop.
    pub drain_time: Duration,
    /// How long a transaction of several calls may take that does not say so itself.
    pub transaction_timeout: Duration,
}

impl Default for LimitSettings {
    fn default() -> Self {
        Self {
            connections_max: 16_384,
            streams_per_connection_max: 1_024,
            requests_in_flight_max: 16_384,
            link_queue_max: 65_536,
            watch_queue_max: 4_096,
            batch_keys_max: 10_000,
            message_bytes_max: 20 << 20,
            drain_time: Duration::from_secs(30),
            transaction_timeout: Duration::from_secs(30),
        }
    }
}

/// The bounds of `drain-time`.
const DRAIN_TIME: RangeInclusive<Duration> = Duration::ZERO..=Duration::from_secs(3600);

/// The bounds of `transaction-timeout`, and of what a transaction says itself.
pub const TRANSACTION_TIMEOUT: RangeInclusive<Duration> =
    Duration::from_millis(1)..=Duration::from_secs(600);

/// The bounds of `message-max-size`: the largest value (16 MiB) must fit with its key.
const MESSAGE_BYTES: RangeInclusive<u64> = (17 << 20)..=(256 << 20);

impl LimitSettings {
    /// Reads the section.
    pub(super) fn read(reader: &mut Reader<'_>) -> Self {
        let mut settings = Self::default();
        let counts: [(&str, RangeInclusive<u32>, &mut u32); 6] = [
            (
                "connections-max",
                8..=1_000_000,
                &mut settings.connections_max,
            ),
            (
                "streams-per-connection-max",
                8..=100_000,
                &mut settings.streams_per_connection_max,
            ),
            (
                "requests-in-flight-max",
                1..=1_000_000,
                &mut settings.requests_in_flight_max,
            ),
            (
                "link-queue-max",
                64..=4_000_000,
                &mut settings.link_queue_max,
            ),
            (
                "watch-queue-max",
                16..=1_000_000,
                &mut settings.watch_queue_max,
            ),
            ("batch-keys-max", 1..=100_000, &mut settings.batch_keys_max),
        ];
        for (name, bounds, place) in counts {
            if let Some(count) = reader.count(name, bounds) {
                *place = count;
            }
        }
        if let Some(bytes) = reader.size("message-max-size", MESSAGE_BYTES) {
            settings.message_bytes_max = bytes;
        }
        if let Some(time) = reader.duration("drain-time", DRAIN_TIME) {
            settings.drain_time = time;
        }
        if let Some(time) = reader.duration("transaction-timeout", TRANSACTION_TIMEOUT) {
            settings.transaction_timeout = time;
        }
        settings
    }
}
