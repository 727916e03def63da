//! How much time a call has: the `grpc-timeout` header as a point on the monotonic clock. Who
//! enforces it is in `guard.rs` and in the node.

use super::limits::{DEADLINE_DEFAULT, DEADLINE_MAX};
use crate::error::{Error, ErrorKind, Result};
use http::{HeaderMap, HeaderName};
use std::cell::Cell;
use std::time::{Duration, Instant};

/// The header of a caller's deadline.
pub const TIMEOUT_HEADER: &str = "grpc-timeout";

/// The same, ready to be looked for.
static TIMEOUT_NAME: HeaderName = HeaderName::from_static(TIMEOUT_HEADER);

thread_local! {
    /// The time of the call that this thread works on.
    static CURRENT: Cell<Option<CallTime>> = const { Cell::new(None) };
}

/// Part of the caller's time that is kept back at its end, so that the node's own answer, which
/// says whether a write was applied, arrives before the caller gives up: an eighth, at most this.
const KEPT_BACK_MAX: Duration = Duration::from_millis(80);

/// The time of one call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CallTime {
    /// When the caller gives up, which also ends a stream; absent: the caller did not say.
    pub given: Option<Instant>,
    /// When the node should give up an operation; no later than the longest deadline.
    pub deadline: Instant,
}

impl CallTime {
    /// From the headers of a call that came at `now`. A header that cannot be read counts as none.
    pub fn of(headers: &HeaderMap, now: Instant) -> Self {
        let timeout = headers
            .get(&TIMEOUT_NAME)
            .and_then(|value| value.to_str().ok())
            .and_then(parse_timeout);
        match timeout {
            None => Self {
                given: None,
                deadline: now + DEADLINE_DEFAULT,
            },
            Some(timeout) => {
                let work = timeout.min(DEADLINE_MAX);
                Self {
                    given: now.checked_add(timeout),
                    deadline: now + work - (work / 8).min(KEPT_BACK_MAX),
                }
            }
        }
    }

    /// Works on a call: what is asked meanwhile finds its time.
    pub fn during<R>(self, work: impl FnOnce() -> R) -> R {
        /// Also where the work breaks off.
        struct End;
        impl Drop for End {
            fn drop(&mut self) {
                CURRENT.set(None);
            }
        }
        CURRENT.set(Some(self));
        let _end = End;
        work()
    }

    /// The time of the call that is worked on. None outside of one.
    pub fn current() -> Option<Self> {
        CURRENT.get()
    }

    /// For a call without headers of its own, such as one request of a pipeline: the default, no
    /// later than the end of `stream`.
    pub fn within(stream: &Self, now: Instant) -> Self {
        let usual = now + DEADLINE_DEFAULT;
        match stream.given {
            Some(end) => Self {
                given: stream.given,
                deadline: usual.min(end),
            },
            None => Self {
                given: None,
                deadline: usual,
            },
        }
    }

    /// Refuses a call whose time is over before anything was done for it.
    ///
    /// # Errors
    ///
    /// `DeadlineExceeded`, not applied.
    pub fn check(&self, now: Instant) -> Result<()> {
        if now < self.deadline {
            return Ok(());
        }
        Err(passed())
    }
}

/// The answer to a call whose deadline had passed when it came.
pub fn passed() -> Error {
    Error::new(
        ErrorKind::DeadlineExceeded,
        "the deadline had passed before the call began",
    )
    .not_applied()
}

/// A value of the header: up to eight digits and a unit.
pub fn parse_timeout(text: &str) -> Option<Duration> {
    let unit = text.chars().last()?;
    let digits = text.strip_suffix(unit)?;
    if digits.is_empty() || digits.len() > 8 || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let count: u64 = digits.parse().ok()?;
    Some(match unit {
        'H' => Duration::from_secs(count * 3_600),
        'M' => Duration::from_secs(count * 60),
        'S' => Duration::from_secs(count),
        'm' => Duration::from_millis(count),
        'u' => Duration::from_micros(count),
        'n' => Duration::from_nanos(count),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    fn headers(timeout: &'static str) -> HeaderMap {
        HeaderMap::from_iter([(
            http::HeaderName::from_static(TIMEOUT_HEADER),
            HeaderValue::from_static(timeout),
        )])
    }

    #[test]
    fn headers_are_read_by_the_letter() {
        assert_eq!(parse_timeout("1S"), Some(Duration::from_secs(1)));
        assert_eq!(parse_timeout("20m"), Some(Duration::from_millis(20)));
        assert_eq!(
            parse_timeout("99999999H"),
            Some(Duration::from_secs(99_999_999 * 3_600))
        );
        assert_eq!(parse_timeout("0n"), Some(Duration::ZERO));
        for bad in ["", "S", "1", "123456789S", "-1S", "1s", "1 S", "+1S", "1é"] {
            assert_eq!(parse_timeout(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn the_default_and_the_cap_hold() {
        let now = Instant::now();
        let none = CallTime::of(&HeaderMap::new(), now);
        assert_eq!(
            none,
            CallTime {
                given: None,
                deadline: now + DEADLINE_DEFAULT
            }
        );
        assert_eq!(CallTime::of(&headers("nonsense"), now), none);
        let long = CallTime::of(&headers("2H"), now);
        assert_eq!(long.given, Some(now + Duration::from_secs(7_200)));
        assert!(long.deadline <= now + DEADLINE_MAX);
        let short = CallTime::of(&headers("80m"), now);
        assert_eq!(short.deadline, now + Duration::from_millis(70));
    }

    #[test]
    fn a_call_is_known_while_it_is_worked_on() {
        let now = Instant::now();
        let time = CallTime::of(&headers("1S"), now);
        assert_eq!(time.during(CallTime::current), Some(time));
        assert_eq!(CallTime::current(), None);
        let broken = std::panic::catch_unwind(|| time.during(|| panic!("it breaks off")));
        assert!(broken.is_err());
        assert_eq!(CallTime::current(), None);
    }

    #[test]
    fn a_deadline_in_the_past_applies_nothing() {
        let now = Instant::now();
        let error = CallTime::of(&headers("0n"), now)
            .check(now)
            .expect_err("passed");
        assert_eq!(error.kind, ErrorKind::DeadlineExceeded);
        assert_eq!(error.applied, crate::error::Applied::NotApplied);
        assert!(CallTime::of(&headers("1S"), now).check(now).is_ok());
    }

    #[test]
    fn a_request_of_a_stream_ends_with_the_stream() {
        let now = Instant::now();
        let stream = CallTime::of(&headers("1S"), now);
        let later = now + Duration::from_millis(500);
        assert_eq!(
            CallTime::within(&stream, later).deadline,
            now + Duration::from_secs(1)
        );
        let open = CallTime::of(&HeaderMap::new(), now);
        assert_eq!(
            CallTime::within(&open, later).deadline,
            later + DEADLINE_DEFAULT
        );
    }
}
