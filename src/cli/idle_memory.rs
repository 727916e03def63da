//! Gives memory back to the system while a node has little to do.
//!
//! The allocator of this program (mimalloc) keeps the pages that a thread took. What other threads free of
//! them it finds when that thread has asked for memory the long way ten thousand times, and what it found
//! goes to the system at such a moment a second later. A busy node asks that often within moments, one
//! that has become idle not for hours: tens of megabytes stayed behind 50,000 sessions that were gone.
//! So a worker that has nothing to run asks so often from time to time, which takes it half a
//! millisecond. Rejected: the allocator's own call for it, which only `unsafe` code can make; its
//! environment variable, which is read before the program begins.

use std::cell::Cell;
use std::hint::black_box;
use std::time::{Duration, Instant};

/// Between two times, of each thread.
const PAUSE: Duration = Duration::from_secs(5);

/// The clock is read when a thread has come to rest so often.
const RESTS: u32 = 16;

/// After so many requests the allocator looks at the pages of the thread.
const REQUESTS: u32 = 10_000;

/// More than it serves the short way (1,024 bytes).
const REQUEST_BYTES: usize = 2_048;

thread_local! {
    static RESTED: Cell<u32> = const { Cell::new(0) };
    static LAST: Cell<Option<Instant>> = const { Cell::new(None) };
}

/// To be called by a worker that has nothing to run.
pub(super) fn give_back() {
    let rested = RESTED.get() + 1;
    RESTED.set(rested % RESTS);
    if rested < RESTS {
        return;
    }
    let now = Instant::now();
    if LAST.get().is_some_and(|last| now - last < PAUSE) {
        return;
    }
    LAST.set(Some(now));
    for _ in 0..REQUESTS {
        drop(black_box(Vec::<u8>::with_capacity(REQUEST_BYTES)));
    }
}
