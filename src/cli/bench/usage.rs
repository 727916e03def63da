//! Processor time and memory of processes of this machine, as Linux tells them.

use std::fs;

/// Processor time of this thread so far, in nanoseconds; none where it cannot be read.
pub fn of_this_thread() -> Option<u64> {
    nanos_of(&fs::read_to_string("/proc/thread-self/schedstat").ok()?)
}

/// What a process has used.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Processor time of its threads so far, in nanoseconds; absent where it cannot be read.
    pub processor_nanos: Option<u64>,
    /// Memory that it holds now, in bytes; absent where it cannot be read.
    pub resident_bytes: Option<u64>,
}

impl Usage {
    /// Of this process.
    pub fn of_this() -> Self {
        Self::of(std::process::id())
    }

    /// Of a process. Threads that have ended are not counted.
    pub fn of(process: u32) -> Self {
        Self {
            processor_nanos: processor_nanos(process),
            resident_bytes: resident_bytes(process),
        }
    }

    /// The processor time between two readings.
    pub fn processor_since(&self, before: &Self) -> Option<u64> {
        Some(
            self.processor_nanos?
                .saturating_sub(before.processor_nanos?),
        )
    }
}

fn processor_nanos(process: u32) -> Option<u64> {
    let mut sum = 0u64;
    for thread in fs::read_dir(format!("/proc/{process}/task")).ok()? {
        // A thread may end between the two readings.
        let Ok(thread) = thread else { continue };
        let Ok(text) = fs::read_to_string(thread.path().join("schedstat")) else {
            continue;
        };
        sum += nanos_of(&text)?;
    }
    Some(sum)
}

/// The first word of a thread's `schedstat`.
fn nanos_of(schedstat: &str) -> Option<u64> {
    schedstat.split_whitespace().next()?.parse().ok()
}

fn resident_bytes(process: u32) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_that_is_not_there_used_nothing_that_is_known() {
        assert_eq!(Usage::of(u32::MAX), Usage::default());
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn this_process_has_used_something() {
        let before = Usage::of_this();
        assert!(before.resident_bytes.is_some_and(|bytes| bytes > 0));
        assert!(of_this_thread() <= Usage::of_this().processor_nanos);
        assert!(Usage::of_this().processor_since(&before).is_some());
    }
}
