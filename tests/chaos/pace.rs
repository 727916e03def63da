//! The timetable of faults and clients. What is waited for is a condition with a deadline, here as
//! everywhere; this is for what has to last.

use std::time::{Duration, Instant};

/// Lets a time pass.
pub async fn pass(span: Duration) {
    let end = Instant::now() + span;
    while let Some(left) = end.checked_duration_since(Instant::now()) {
        tokio::time::sleep(left).await;
    }
}
