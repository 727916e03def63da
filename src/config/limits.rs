//! `[limits]`: bounds on what clients and peers may ask for.

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
        }
    }
}
