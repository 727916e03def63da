//! Repeating calls: what may be repeated, how often, and what is said at the end. A write keeps
//! its request id, so the cluster applies it once however often it arrives.
//!
//! An attempt whose outcome is unknown taints the call: unless a later attempt gets an answer, the
//! call ends as unknown, even where later attempts were refused without effect.

use super::Client;
use super::channel::Options;
use super::nodes::{Address, Connection};
use super::pipeline::{NO_ANSWER, Single};
use super::routes::{Keyed, Place};
use crate::error::{Applied, Error, ErrorKind, Result};
use crate::rpc::status::{from_status, never_connected, was_sent};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tonic::transport::Channel;
use tonic::{Request, Response, Status};

/// The first wait between two attempts; it doubles from there.
pub(super) const BACKOFF_FIRST: Duration = Duration::from_millis(10);

/// The longest wait between two attempts.
const BACKOFF_MAX: Duration = Duration::from_millis(500);

/// Callers that wait together on one connection share a stream from this number on; one alone is
/// answered sooner by a call of its own.
const TOGETHER: usize = 2;

/// What a call does to the cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Effect {
    /// Nothing: it may be repeated freely.
    Read,
    /// It changes something and carries a request id.
    Write,
}

/// How a call was answered.
pub(super) struct Answered<Rep> {
    pub reply: Rep,
    /// By whom.
    pub connection: Arc<Connection>,
    /// An attempt before that may have been applied, which this answer need not say.
    pub tainted: bool,
}

/// How an attempt failed.
#[derive(Debug)]
struct Failed {
    error: Error,
    /// Whether its connection is of no more use.
    broken: bool,
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
        Req: Keyed,
    {
        let options = self.connections.options;
        let answered = self.call_with(options, effect, request, send).await?;
        Ok(answered.reply)
    }

    /// The same within these bounds, with all that is known of the answer.
    pub(super) async fn call_with<Req, Rep>(
        &self,
        options: Options,
        effect: Effect,
        request: Req,
        send: impl AsyncFn(Channel, Request<Req>) -> Result<Response<Rep>, Status>,
    ) -> Result<Answered<Rep>>
    where
        Req: Keyed,
    {
        let mut attempts = Attempts::new(effect, options);
        loop {
            let error = match self.begin(&mut attempts, &request).await {
                Ok(connection) => {
                    let limit = attempts.limit();
                    let sent = self.attempt(&connection, effect, &request, limit, &send);
                    match sent.await {
                        Ok(reply) => {
                            return Ok(Answered {
                                reply,
                                connection,
                                tainted: attempts.tainted,
                            });
                        }
                        Err(error) => error,
                    }
                }
                Err(error) => error,
            };
            self.pause(&mut attempts, error).await?;
        }
    }

    /// Makes a call about the node that is asked, once: another node is not meant.
    pub(super) async fn call_once<Req, Rep>(
        &self,
        effect: Effect,
        request: Req,
        send: impl AsyncFn(Channel, Request<Req>) -> Result<Response<Rep>, Status>,
    ) -> Result<Rep>
    where
        Req: Keyed,
    {
        let mut attempts = Attempts::new(effect, self.connections.options);
        let connection = self.begin(&mut attempts, &request).await?;
        let limit = attempts.left();
        self.attempt(&connection, effect, &request, limit, &send)
            .await
    }

    /// One attempt by a call of its own, at one connection; it is not repeated.
    pub(super) async fn attempt<Req: Clone, Rep>(
        &self,
        connection: &Arc<Connection>,
        effect: Effect,
        request: &Req,
        limit: Duration,
        send: &impl AsyncFn(Channel, Request<Req>) -> Result<Response<Rep>, Status>,
    ) -> Result<Rep> {
        let _under_way = connection.begin();
        let sent = unary(connection, request, limit, effect, send);
        let ended = within(limit, sent).await;
        ended.map_err(|failed| self.note(connection, failed))
    }

    /// Makes a call on one key: by itself, or on the stream that callers share.
    pub(super) async fn single<Req>(
        &self,
        effect: Effect,
        request: Req,
        send: impl AsyncFn(Channel, Request<Req>) -> Result<Response<Req::Reply>, Status>,
    ) -> Result<Req::Reply>
    where
        Req: Single,
    {
        let mut attempts = Attempts::new(effect, self.connections.options);
        loop {
            let error = match self.begin(&mut attempts, &request).await {
                Ok(connection) => {
                    let limit = attempts.limit();
                    let _under_way = connection.begin();
                    let together =
                        attempts.options.pipelining && connection.in_flight() >= TOGETHER;
                    let pipeline = together.then(|| connection.pipeline()).flatten();
                    let ended = match pipeline {
                        Some(pipeline) => {
                            let reply = pipeline.call(request.clone(), limit).await;
                            reply.map_err(|error| Failed {
                                broken: pipeline.broke() || error.reason == NO_ANSWER,
                                error,
                            })
                        }
                        None => {
                            let sent = unary(&connection, &request, limit, effect, &send);
                            within(limit, sent).await
                        }
                    };
                    match ended {
                        Ok(reply) => return Ok(reply),
                        Err(failed) => self.note(&connection, failed),
                    }
                }
                Err(error) => error,
            };
            self.pause(&mut attempts, error).await?;
        }
    }

    /// The connection for the next attempt.
    async fn begin(
        &self,
        attempts: &mut Attempts,
        request: &impl Keyed,
    ) -> Result<Arc<Connection>> {
        let connections = &self.connections;
        let owners = if attempts.options.routing {
            self.owners(request.place())
        } else {
            None
        };
        let owners = owners.as_deref().unwrap_or_default();
        let at_hand = if attempts.avoided.is_empty() {
            connections.at_hand(owners)
        } else {
            None
        };
        let connection = match at_hand {
            Some(connection) => connection,
            None => {
                let found = connections.connection(owners, &attempts.avoided);
                tokio::time::timeout(attempts.limit(), found)
                    .await
                    .map_err(|_| Error::unavailable("no connection in time"))??
            }
        };
        attempts.address = Some(connection.address.clone());
        Ok(connection)
    }

    /// The owners of what a call is about, as far as they are known; what is not is asked for.
    fn owners(&self, place: Place<'_>) -> Option<Arc<[Address]>> {
        let connections = &self.connections;
        let routes = &connections.routes;
        let follow = || super::follow::start(connections);
        let of = |cache: &str, by: &[u8]| {
            let owners = routes.owners(cache, by);
            if owners.is_none() {
                routes.want(cache, follow);
            }
            owners
        };
        match place {
            Place::Anywhere => None,
            Place::Key(cache, by) => of(cache, by),
            Place::Ticket(kind, id) => match routes.ticket_cache(kind) {
                Some(cache) => of(&cache, id),
                None => {
                    routes.want_kinds(follow);
                    None
                }
            },
        }
    }

    fn note(&self, connection: &Arc<Connection>, failed: Failed) -> Error {
        if failed.broken {
            let reason = &failed.error.context;
            self.connections.broken(connection, reason);
        }
        failed.error
    }

    /// Waits before the next attempt.
    ///
    /// # Errors
    ///
    /// The last word on the call, where there is no next attempt.
    async fn pause(&self, attempts: &mut Attempts, error: Error) -> Result<()> {
        if error.kind == ErrorKind::WrongOwner {
            self.connections.routes.more_wanted.notify_one();
        }
        match attempts.after(error) {
            Next::GiveUp(error) => Err(error),
            Next::Again(wait) => {
                tokio::time::sleep(wait).await;
                Ok(())
            }
        }
    }
}

/// An attempt by a call of its own.
async fn unary<Req: Clone, Rep>(
    connection: &Connection,
    request: &Req,
    limit: Duration,
    effect: Effect,
    send: &impl AsyncFn(Channel, Request<Req>) -> Result<Response<Rep>, Status>,
) -> Result<Rep, Failed> {
    let mut message = Request::new(request.clone());
    message.set_timeout(limit);
    match send(connection.channel.clone(), message).await {
        Ok(reply) => Ok(reply.into_inner()),
        Err(status) => Err(failed(&status, effect)),
    }
}

/// The end of an attempt, `limit` from now at the latest.
async fn within<Rep>(
    limit: Duration,
    sent: impl Future<Output = Result<Rep, Failed>>,
) -> Result<Rep, Failed> {
    match tokio::time::timeout(limit, sent).await {
        Ok(ended) => ended,
        Err(_) => Err(Failed {
            error: Error::new(
                ErrorKind::DeadlineExceeded,
                format!("no answer within {limit:?}"),
            ),
            broken: true,
        }),
    }
}

/// What a failed attempt means, and whether its connection broke.
fn failed(status: &Status, effect: Effect) -> Failed {
    if was_sent(status) {
        return Failed {
            error: from_status(status),
            broken: false,
        };
    }
    let text = format!("the connection failed: {}", status.message());
    // The code does not tell: a connection that fell silent ends as UNAVAILABLE too, behind
    // requests that were sent.
    let error = match effect {
        Effect::Write if !never_connected(status) => Error::unknown(text),
        _ => Error::unavailable(text),
    };
    Failed {
        error,
        broken: true,
    }
}

/// The attempts of one call so far.
#[derive(Debug)]
struct Attempts {
    effect: Effect,
    options: Options,
    deadline: Instant,
    made: u32,
    /// The address of the attempt under way.
    address: Option<Address>,
    /// Addresses that failed; all are tried before one is tried again.
    avoided: Vec<Address>,
    /// Whether an attempt may have been applied.
    tainted: bool,
    /// Why a read was refused, if a node said more than that it is not the time.
    told: Option<Error>,
}

/// What follows a failed attempt.
#[derive(Debug, PartialEq, Eq)]
enum Next {
    Again(Duration),
    GiveUp(Error),
}

impl Attempts {
    fn new(effect: Effect, options: Options) -> Self {
        Self {
            effect,
            options,
            deadline: Instant::now() + options.timeout,
            made: 0,
            address: None,
            avoided: Vec::new(),
            tainted: false,
            told: None,
        }
    }

    /// How long the attempt under way may still take.
    fn limit(&self) -> Duration {
        self.left().min(self.options.attempt_timeout)
    }

    /// How long the call may still take.
    fn left(&self) -> Duration {
        let left = self.deadline.saturating_duration_since(Instant::now());
        left.max(Duration::from_millis(1))
    }

    fn after(&mut self, error: Error) -> Next {
        self.made += 1;
        self.tainted |= self.effect == Effect::Write && error.applied == Applied::Unknown;
        let wait = backoff(self.made, jitter());
        let time_is_up = Instant::now() + wait >= self.deadline;
        let says_why = error.kind == ErrorKind::Unavailable && !is_of_time(&error);
        if self.effect == Effect::Read && says_why {
            self.told = Some(error.clone());
        }
        if !worth_repeating(error.kind) || self.made >= self.options.attempts_max || time_is_up {
            return Next::GiveUp(self.last_word(error));
        }
        if let Some(address) = self.address.take() {
            if self.avoided.contains(&address) {
                self.avoided.clear();
            }
            self.avoided.push(address);
        }
        // The table of that node is behind; another one, or the same a moment later, knows.
        Next::Again(if error.kind == ErrorKind::WrongOwner {
            BACKOFF_FIRST
        } else {
            wait
        })
    }

    /// "Not applied" is said only where it holds for every attempt. That an attempt was cut off by
    /// the end of the call is no news where an earlier one was told why.
    fn last_word(&self, error: Error) -> Error {
        if let Some(told) = &self.told
            && is_of_time(&error)
        {
            return told.clone();
        }
        if self.tainted { in_doubt(error) } else { error }
    }
}

/// What an error means behind an attempt that may have been applied.
pub(super) fn in_doubt(error: Error) -> Error {
    if error.applied == Applied::Unknown {
        return error;
    }
    Error::unknown(format!(
        "an earlier attempt may have been applied; then: {}",
        error.context
    ))
}

/// Whether an error says no more than that an attempt had no time, or no node to go to.
fn is_of_time(error: &Error) -> bool {
    let unsaid = ErrorKind::Unavailable.reason();
    error.kind == ErrorKind::DeadlineExceeded || error.reason == unsaid
}

/// Whether another attempt may get an answer. A write is known again by its request id.
pub(super) fn worth_repeating(kind: ErrorKind) -> bool {
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
pub(super) fn backoff(attempt: u32, jitter: f64) -> Duration {
    let doublings = attempt.saturating_sub(1).min(16);
    let full = BACKOFF_FIRST
        .saturating_mul(1 << doublings)
        .min(BACKOFF_MAX);
    full.mul_f64(0.5 + 0.5 * jitter.clamp(0.0, 1.0))
}

/// Between 0 and 1; without randomness, the whole wait.
pub(super) fn jitter() -> f64 {
    let mut byte = [u8::MAX];
    // No randomness costs only the spreading.
    let _ = super::random_bytes(&mut byte);
    f64::from(byte[0]) / f64::from(u8::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attempts(effect: Effect) -> Attempts {
        let options = Options {
            timeout: Duration::from_secs(60),
            ..Options::default()
        };
        Attempts::new(effect, options)
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
        let address = |number: u16| Some(Address::named("h", number % 3));
        attempts.address = address(0);
        while let Next::Again(_) = attempts.after(Error::unavailable("not ready")) {
            made += 1;
            attempts.address = address(made);
            assert!(attempts.avoided.len() <= 3);
        }
        assert_eq!(u32::from(made), Options::default().attempts_max);
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
    fn a_read_that_is_cut_off_ends_with_what_it_was_told_before() {
        let options = attempts(Effect::Read).options;
        let lost = Error::unavailable("its partition is lost").because("PARTITION_LOST");
        for last in [
            Error::new(ErrorKind::DeadlineExceeded, "no answer within 1ms"),
            Error::unavailable("no connection in time"),
        ] {
            let mut read = Attempts::new(Effect::Read, options);
            assert!(matches!(read.after(lost.clone()), Next::Again(_)));
            read.deadline = Instant::now();
            assert_eq!(read.after(last.clone()), Next::GiveUp(lost.clone()));
            // Of a write that was cut off nobody knows the outcome.
            let mut write = Attempts::new(Effect::Write, options);
            assert!(matches!(write.after(lost.clone()), Next::Again(_)));
            write.deadline = Instant::now();
            assert_eq!(write.after(last.clone()), Next::GiveUp(last));
        }
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
        let said = failed(&Status::invalid_argument("an empty key"), Effect::Write);
        assert_eq!(
            (said.error.kind, said.broken),
            (ErrorKind::InvalidArgument, false)
        );
    }

    #[test]
    fn a_write_whose_connection_fell_silent_may_have_been_applied() {
        // What tonic makes of a keep-alive that was not answered: the request had been sent.
        let mut status = Status::unavailable("keep-alive timed out");
        status.set_source(Arc::new(std::io::Error::other("operation timed out")));
        let silent = failed(&status, Effect::Write);
        assert_eq!(silent.error.applied, Applied::Unknown);
        let read = failed(&status, Effect::Read);
        assert_eq!(read.error.kind, ErrorKind::Unavailable);
        assert!(silent.broken && read.broken);
    }

    #[test]
    fn a_refusal_behind_an_unanswered_attempt_leaves_the_write_unknown() {
        for first in [
            Error::unknown("broke"),
            Error::new(ErrorKind::DeadlineExceeded, "no answer"),
        ] {
            let mut write = attempts(Effect::Write);
            assert!(matches!(write.after(first), Next::Again(_)));
            assert!(matches!(
                write.after(Error::unavailable("refused")),
                Next::Again(_)
            ));
            let Next::GiveUp(last) = write.after(Error::overloaded("full")) else {
                panic!("a limit is final");
            };
            assert_eq!(last.applied, Applied::Unknown);
        }
    }
}
