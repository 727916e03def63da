//! The bounds of the public services that are not settings, and the counter that keeps them.
//! Bounds that operators may change are in `config::limits`.

use crate::error::{Error, Result};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// The longest name of a cache.
pub const CACHE_NAME_BYTES_MAX: usize = 255;
/// How long a call may take whose caller names no deadline.
pub const DEADLINE_DEFAULT: Duration = Duration::from_secs(5);
/// The longest a call may take, whatever its caller says: a caller must give up before a request
/// id is forgotten.
pub const DEADLINE_MAX: Duration = Duration::from_secs(60);
/// Streams (scans, watches, pipelines) at a time on one node; more are answered "overloaded".
pub const STREAMS_MAX: usize = 4_096;
/// Requests of one pipeline that are being carried out; the next one is read when one is answered.
pub const PIPELINE_IN_FLIGHT_MAX: usize = 256;
/// Keys of one batch that are being carried out.
pub const BATCH_IN_FLIGHT_MAX: usize = 32;
/// Partitions that one `Size` or `Clear` asks at a time.
pub const PARTITIONS_IN_FLIGHT_MAX: usize = 32;
/// Messages that wait for the caller of a stream to take them.
pub const STREAM_QUEUE_MAX: usize = 64;
/// Entries in the first page of a scan; later pages fit `SCAN_PAGE_BYTES`.
pub const SCAN_PAGE_ENTRIES_FIRST: u32 = 16;
/// Entries in one page of a scan at most.
pub const SCAN_PAGE_ENTRIES_MAX: u32 = 1_024;
/// What a page of a scan should weigh.
pub const SCAN_PAGE_BYTES: usize = 1 << 20;
/// A checkpoint comes after so many events at the latest,
pub const CHECKPOINT_EVENTS: usize = 1_000;
/// and after so long at the latest.
pub const CHECKPOINT_INTERVAL: Duration = Duration::from_millis(900);
/// Keys that a watch with current entries remembers in order to tell none of them twice.
pub const WATCH_RECENT_KEYS_MAX: usize = 200_000;
/// Events that wait while a watch reads current entries.
pub const WATCH_HELD_EVENTS_MAX: usize = 100_000;
/// What those events may weigh.
pub const WATCH_HELD_BYTES_MAX: usize = 64 << 20;
/// Names that an error lists.
pub const NAMES_IN_ERROR_MAX: usize = 16;

/// Counts what is going on at a time, up to a bound.
#[derive(Clone, Debug)]
pub struct Gate {
    inside: Arc<AtomicUsize>,
    max: usize,
    what: &'static str,
}

/// One place inside; given back when dropped.
#[derive(Debug)]
pub struct Pass(Arc<AtomicUsize>);

impl Gate {
    /// A gate that lets `max` in; `what` they are stands in the error.
    pub fn new(max: usize, what: &'static str) -> Self {
        Self {
            inside: Arc::default(),
            max,
            what,
        }
    }

    /// Goes in.
    ///
    /// # Errors
    ///
    /// `Overloaded` where no place is free; nothing waits.
    pub fn enter(&self) -> Result<Pass> {
        let before = self.inside.fetch_add(1, Ordering::Relaxed);
        let pass = Pass(Arc::clone(&self.inside));
        if before >= self.max {
            return Err(Error::overloaded(format!(
                "this node carries out {} {} already, which is its limit",
                self.max, self.what
            )));
        }
        Ok(pass)
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;

    #[test]
    fn a_gate_lets_in_as_many_as_it_says() {
        let gate = Gate::new(2, "streams");
        let first = gate.enter().expect("a place");
        let second = gate.enter().expect("a place");
        assert_eq!(gate.enter().expect_err("full").kind, ErrorKind::Overloaded);
        assert_eq!(
            gate.enter().expect_err("still full").kind,
            ErrorKind::Overloaded
        );
        drop(first);
        let third = gate.enter().expect("a place is free again");
        drop((second, third));
        assert_eq!(gate.inside.load(Ordering::Relaxed), 0);
    }
}
