//! Repeating calls: what may be repeated, how often, and what is said at the end. A write keeps
//! its request id, so the cluster applies it once however often it arrives.
//!
//! An attempt whose outcome is unknown taints the call: unless a later attempt gets an answer, the
//! call ends as unknown, even where later attempts were refused without effect.

use super::Client;
use super::channel::Options;
use crate::error::{Applied, Error, ErrorKind, Result};
use crate::rpc::status::from_status;
use std::time::{Duration, Instant};
use tonic::transport::Channel;
use tonic::{Code, Request, Response, Status};

/// The first wait between two attempts; it doubles from there.
const BACKOFF_FIRST: Duration = Duration::from_millis(10);

/// The longest wait between two attempts.
const BACKOFF_MAX: Duration = Duration::from_millis(500);

/// What a call does to the cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Effect {
    /// Nothing: it may be repeated freely.
    Read,
    /// It changes something and carries a request id.
    Write,
}

impl Client {
    /// Makes a call, at other addresses again where that is safe and may help.
    pub(super) async fn call<Req, Rep>(
        &self,
        effect: Effect,
        request: Req,
        send: impl AsyncFn(Channel, Request<Req>) -> Result<Response<Rep>, Status>,
    ) -> Result<Rep>
    where
        Req: Clone,
    {
        let options = self.connections.options;
        let deadline = Instant::now() + options.timeout;
        let mut attempts = Attempts::new(effect, options, deadline);
        loop {
            let error = match self.attempt(&mut attempts, &request, &send).await {
                Ok(reply) => return Ok(reply),
                Err(error) => error,
            };
            match attempts.after(error) {
                Next::GiveUp(error) => return Err(error),
                Next::Again(wait) => tokio::time::sleep(wait).await,
            }
        }
    }

    async fn attempt<Req, Rep>(
        &self,
        attempts: &mut Attempts,
        request: &Req,
        send: &impl AsyncFn(Channel, Request<Req>) -> Result<Response<Rep>, Status>,
    ) -> Result<Rep>
    where
        Req: Clone,
    {
        let limit = attempts.limit();
        let found = tokio::time::timeout(limit, self.connections.channel(&attempts.avoided)).await;
        let connected = found.map_err(|_| Error::unavailable("no connection in time"))??;
        attempts.place = Some(connected.place);
        let mut message = Request::new(request.clone());
        let limit = attempts.limit();
        message.set_timeout(limit);
        match tokio::time::timeout(limit, send(connected.channel, message)).await {
            Ok(Ok(reply)) => Ok(reply.into_inner()),
            Ok(Err(status)) => {
                let (error, broken) = failed(&status, attempts.effect);
                if broken {
                    self.connections.broken(connected.place);
                }
                Err(error)
            }
            Err(_) => {
                self.connections.broken(connected.place);
                Err(Error::new(
                    ErrorKind::DeadlineExceeded,
                    format!("no answer within {limit:?}"),
                ))
            }
        }
    }
}

/// What a failed attempt means, and whether its connection broke.
fn failed(status: &Status, effect: Effect) -> (Error, bool) {
    // A status with a source was not sent by a node: the connection failed.
    if std::error::Error::source(status).is_none() {
        return (from_status(status), false);
    }
    let reached = status.code() != Code::Unavailable;
    let text = format!("the connection failed: {}", status.message());
    let error = match (effect, reached) {
        (Effect::Write, true) => Error::unknown(text),
        _ => Error::unavailable(text),
    };
    (error, true)
}

/// The attempts of one call so far.
#[derive(Debug)]
struct Attempts {
    effect: Effect,
    options: Options,
    deadline: Instant,
    made: u32,
    /// The address of the attempt under way.
    place: Option<usize>,
    /// Addresses that failed; all are tried before one is tried again.
    avoided: Vec<usize>,
    /// Whether an attempt may have been applied.
    tainted: bool,
}

/// What follows a failed attempt.
#[derive(Debug, PartialEq, Eq)]
enum Next {
    Again(Duration),
    GiveUp(Error),
}

impl Attempts {
    fn new(effect: Effect, options: Options, deadline: Instant) -> Self {
        Self {
            effect,
            options,
            deadline,
            made: 0,
            place: None,
            avoided: Vec::new(),
            tainted: false,
        }
    }

    /// How long the attempt under way may still take.
    fn limit(&self) -> Duration {
        let left = self.deadline.saturating_duration_since(Instant::now());
        left.min(self.options.attempt_timeout)
            .max(Duration::from_millis(1))
    }

    fn after(&mut self, error: Error) -> Next {
        self.made += 1;
        self.tainted |= self.effect == Effect::Write && error.applied == Applied::Unknown;
        let wait = backoff(self.made, jitter());
        let time_is_up = Instant::now() + wait >= self.deadline;
        if !worth_repeating(error.kind) || self.made >= self.options.attempts_max || time_is_up {
            return Next::GiveUp(self.last_word(error));
        }
        if let Some(place) = self.place.take() {
            if self.avoided.contains(&place) {
                self.avoided.clear();
            }
            self.avoided.push(place);
        }
        // The table of that node is behind; another one, or the same a moment later, knows.
        Next::Again(if error.kind == ErrorKind::WrongOwner {
            BACKOFF_FIRST
        } else {
            wait
        })
    }

    /// "Not applied" is said only where it holds for every attempt.
    fn last_word(&self, error: Error) -> Error {
        if self.tainted && error.applied == Applied::NotApplied {
            let text = format!(
                "an earlier attempt may have been applied; then: {}",
                error.context
            );
            return Error::unknown(text);
        }
        error
    }
}

/// Whether another attempt may get an answer. A write is known again by its request id.
fn worth_repeating(kind: ErrorKind) -> bool {
    matches!(
        kind,
        ErrorKind::Unavailable
            | ErrorKind::WrongOwner
            | ErrorKind::Unknown
            | ErrorKind::DeadlineExceeded
            | ErrorKind::Cancelled
    )
}

/// Doubles from the first wait to the longest, and takes between half and all of it, so that
/// clients that failed together do not come back together.
fn backoff(attempt: u32, jitter: f64) -> Duration {
    let doublings = attempt.saturating_sub(1).min(16);
    let full = BACKOFF_FIRST
        .saturating_mul(1 << doublings)
        .min(BACKOFF_MAX);
    full.mul_f64(0.5 + 0.5 * jitter.clamp(0.0, 1.0))
}

/// Between 0 and 1; without randomness, the whole wait.
fn jitter() -> f64 {
    let mut byte = [u8::MAX];
    // No randomness costs only the spreading.
    let _ = super::random_bytes(&mut byte);
    f64::from(byte[0]) / f64::from(u8::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attempts(effect: Effect) -> Attempts {
        Attempts::new(
            effect,
            Options::default(),
            Instant::now() + Duration::from_secs(60),
        )
    }

    #[test]
    fn waits_double_up_to_a_bound_and_are_spread() {
        assert_eq!(backoff(1, 1.0), BACKOFF_FIRST);
        assert_eq!(backoff(1, 0.0), BACKOFF_FIRST / 2);
        assert_eq!(backoff(3, 1.0), BACKOFF_FIRST * 4);
        assert_eq!(backoff(60, 1.0), BACKOFF_MAX);
    }

    #[test]
    fn a_mistake_of_the_caller_is_not_repeated() {
        let error = Error::invalid("an empty key");
        assert_eq!(
            attempts(Effect::Write).after(error.clone()),
            Next::GiveUp(error)
        );
    }

    #[test]
    fn attempts_end_and_go_round_the_addresses() {
        let mut attempts = attempts(Effect::Read);
        let mut made = 1;
        attempts.place = Some(0);
        while let Next::Again(_) = attempts.after(Error::unavailable("not ready")) {
            made += 1;
            attempts.place = Some(made as usize % 3);
            assert!(attempts.avoided.len() <= 3);
        }
        assert_eq!(made, Options::default().attempts_max);
    }

    #[test]
    fn a_write_that_may_have_been_applied_never_ends_as_not_applied() {
        let mut write = attempts(Effect::Write);
        assert!(matches!(
            write.after(Error::unknown("broke")),
            Next::Again(_)
        ));
        let Next::GiveUp(error) = write.after(Error::invalid("refused")) else {
            panic!("a refusal is final");
        };
        assert_eq!(error.kind, ErrorKind::Unknown);
        assert_eq!(error.applied, Applied::Unknown);
    }

    #[test]
    fn a_read_is_never_in_doubt() {
        let mut read = attempts(Effect::Read);
        assert!(matches!(
            read.after(Error::unknown("broke")),
            Next::Again(_)
        ));
        let Next::GiveUp(error) = read.after(Error::invalid("refused")) else {
            panic!("a refusal is final");
        };
        assert_eq!(error.kind, ErrorKind::InvalidArgument);
    }

    #[test]
    fn a_status_of_a_node_is_read_and_not_guessed() {
        let (error, broken) = failed(&Status::invalid_argument("an empty key"), Effect::Write);
        assert_eq!((error.kind, broken), (ErrorKind::InvalidArgument, false));
    }
}
