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
