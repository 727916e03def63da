//! The priority of the control thread, mapped to what the system knows.

use thread_priority::{ThreadPriority, ThreadPriorityValue, set_current_thread_priority};

/// The priority that changes nothing.
const NORMAL: i16 = 5;

/// Where "nice" is zero on the scale of 0 to 99 that the library maps to each system's own.
const NORMAL_ON_SCALE: i16 = 48;

/// One step of ours on that scale: a little more than one step of "nice".
const STEP: i16 = 3;

/// Gives the calling thread a priority of 1 to 10, where 5 leaves it as it is. A system that does
/// not permit it draws a warning, and the node goes on.
pub(super) fn apply(priority: u8) {
    let steps = i16::from(priority.clamp(1, 10)) - NORMAL;
    if steps == 0 {
        return;
    }
    let wanted = u8::try_from(NORMAL_ON_SCALE + steps * STEP)
        .ok()
        .and_then(|value| ThreadPriorityValue::try_from(value).ok());
    let Some(wanted) = wanted else { return };
    if let Err(error) = set_current_thread_priority(ThreadPriority::Crossplatform(wanted)) {
        tracing::warn!(
            priority,
            ?error,
            "the system does not permit discovery.thread-priority"
        );
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    /// "Nice" of the calling thread, as the system has it.
    fn nice() -> i32 {
        let text = std::fs::read_to_string("/proc/thread-self/stat").expect("the system tells");
        // Behind the name, which may hold anything, it is the seventeenth field.
        let (_, fields) = text.rsplit_once(')').expect("a name in brackets");
        let nice = fields.split_whitespace().nth(16).expect("so many fields");
        nice.parse().expect("a number")
    }

    fn after(priority: u8) -> i32 {
        let thread = std::thread::spawn(move || {
            apply(priority);
            nice()
        });
        thread.join().expect("the thread ends")
    }

    #[test]
    fn the_thread_gets_another_place_and_the_others_keep_theirs() {
        let own = nice();
        assert_eq!(after(5), own);
        let (first, middle, last) = (after(10), after(3), after(1));
        // Stepping forward may not be permitted: then nothing changes.
        assert!(first <= middle && middle <= last, "{first} {middle} {last}");
        // Everybody may step back, from where all begin unless this process was told otherwise.
        if own == 0 {
            assert!(0 < middle && middle < last, "{middle} {last}");
        }
        assert_eq!(nice(), own);
    }
}
