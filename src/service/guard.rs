//! What stands before every public service: the bound on calls at a time, the caller's deadline,
//! and the wording of refusals that the transport makes on its own. What a call does is not here.
//!
//! The transport has a timer of its own for `grpc-timeout`, which answers CANCELLED without saying
//! whether a write was applied. The timer here is the same or shorter and goes first.

use super::deadline::{CallTime, passed};
use super::limits::{Gate, Pass};
use crate::error::{Error, ErrorKind};
use crate::rpc::status::to_status;
use http::{HeaderName, Request, Response};
use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};
use tokio::time::Sleep;
use tonic::body::Body;
use tonic::server::NamedService;
use tonic::{Code, Status};
use tower::Service;

/// How long before its caller gives up a call is answered, where there is so much time.
const AHEAD: Duration = Duration::from_millis(2);

/// The header of an answer without a body, which is a refusal.
static STATUS_NAME: HeaderName = HeaderName::from_static("grpc-status");

/// Parts of what the transport says of a body that holds no message it can read: it ends too
/// early, is framed wrongly, is empty, or is no protobuf.
const BAD_MESSAGE: [&str; 5] = [
    "failed to decode Protobuf message",
    "Unexpected EOF decoding stream",
    "compressed-flag",
    "compression flag",
    "Missing request message",
];

/// A service behind its guard.
#[derive(Clone, Debug)]
pub struct Guarded<S> {
    inner: S,
    calls: Gate,
}

impl<S> Guarded<S> {
    /// Guards a service; `calls` is shared by all services of the node.
    pub fn new(inner: S, calls: Gate) -> Self {
        Self { inner, calls }
    }
}

impl<S: NamedService> NamedService for Guarded<S> {
    const NAME: &'static str = S::NAME;
}

impl<S> Service<Request<Body>> for Guarded<S>
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible>,
    S::Future: Unpin,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = GuardedCall<S::Future>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let now = Instant::now();
        let time = CallTime::of(request.headers(), now);
        if time.given.is_some_and(|given| given <= now) {
            return GuardedCall::refused(&passed(), time);
        }
        let pass = match self.calls.enter() {
            Ok(pass) => pass,
            Err(error) => return GuardedCall::refused(&error, time),
        };
        let end = time.given.map(|given| {
            if given - now > AHEAD * 4 {
                given - AHEAD
            } else {
                given
            }
        });
        GuardedCall {
            inner: Ok(self.inner.call(request)),
            time,
            end,
            timer: None,
            _pass: Some(pass),
        }
    }
}

/// A call behind the guard: until its answer begins; a stream that follows is on its own.
#[derive(Debug)]
pub struct GuardedCall<F> {
    inner: Result<F, Option<Response<Body>>>,
    time: CallTime,
    /// When it is answered at the latest.
    end: Option<Instant>,
    /// Made when the call must wait, which most need not.
    timer: Option<Pin<Box<Sleep>>>,
    _pass: Option<Pass>,
}

impl<F> GuardedCall<F> {
    fn refused(error: &Error, time: CallTime) -> Self {
        Self {
            inner: Err(Some(to_status(error).into_http())),
            time,
            end: None,
            timer: None,
            _pass: None,
        }
    }
}

impl<F> Future for GuardedCall<F>
where
    F: Future<Output = Result<Response<Body>, Infallible>> + Unpin,
{
    type Output = Result<Response<Body>, Infallible>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        let inner = match &mut this.inner {
            Ok(inner) => inner,
            Err(refused) => {
                let refused = refused.take();
                return Poll::Ready(Ok(refused.unwrap_or_else(|| to_status(&late()).into_http())));
            }
        };
        let polled = this.time.during(|| Pin::new(inner).poll(context));
        if let Poll::Ready(Ok(response)) = polled {
            return Poll::Ready(Ok(worded(response)));
        }
        let Some(end) = this.end else {
            return Poll::Pending;
        };
        let timer = this
            .timer
            .get_or_insert_with(|| Box::pin(tokio::time::sleep_until(end.into())));
        if timer.as_mut().poll(context).is_ready() {
            return Poll::Ready(Ok(to_status(&late()).into_http()));
        }
        Poll::Pending
    }
}

fn late() -> Error {
    Error::new(
        ErrorKind::DeadlineExceeded,
        "no answer within the caller's deadline",
    )
}

/// An answer that is a refusal of the transport gets our words and details.
fn worded(response: Response<Body>) -> Response<Body> {
    if !response.headers().contains_key(&STATUS_NAME) {
        return response;
    }
    match Status::from_header_map(response.headers())
        .as_ref()
        .and_then(transport_error)
    {
        Some(error) => to_status(&error).into_http(),
        None => response,
    }
}

/// The error behind a status that the transport made of a message it could not take: nothing of
/// it has reached the node. None for any other status.
pub fn transport_error(status: &Status) -> Option<Error> {
    if !status.details().is_empty() {
        return None;
    }
    let text = status.message().to_owned();
    match status.code() {
        // Says how long the message is and how long it may be.
        Code::OutOfRange => Some(Error::invalid(text).because("MESSAGE_TOO_LARGE")),
        Code::Internal if BAD_MESSAGE.iter().any(|part| text.contains(part)) => {
            Some(Error::invalid(text).because("BAD_MESSAGE"))
        }
        Code::Unimplemented => Some(Error::new(ErrorKind::Unimplemented, text)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_of_the_transport_get_our_words() {
        let error = |code, text| transport_error(&Status::new(code, text));
        let long = error(Code::OutOfRange, "decoded message length too large").expect("ours");
        assert_eq!(
            (long.kind, long.reason.as_ref()),
            (ErrorKind::InvalidArgument, "MESSAGE_TOO_LARGE")
        );
        for part in BAD_MESSAGE {
            let bad = error(Code::Internal, part).expect("ours");
            assert_eq!(
                (bad.kind, bad.reason.as_ref()),
                (ErrorKind::InvalidArgument, "BAD_MESSAGE")
            );
        }
        assert_eq!(error(Code::Internal, "a bug"), None);
        assert_eq!(error(Code::Unavailable, "gone"), None);
        let said = to_status(&Error::new(ErrorKind::Internal, BAD_MESSAGE[0]));
        assert_eq!(
            transport_error(&said),
            None,
            "what has details is ours already"
        );
    }

    #[tokio::test]
    async fn a_call_whose_time_is_over_never_reaches_the_service() {
        let inner = tower::service_fn(|_: Request<Body>| {
            Box::pin(async { Ok(Response::new(Body::empty())) })
                as Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>
        });
        let mut guarded = Guarded::new(inner, Gate::new(1, "calls"));
        let request = Request::builder()
            .header("grpc-timeout", "0n")
            .body(Body::empty());
        let answer = guarded
            .call(request.expect("a request"))
            .await
            .expect("an answer");
        let status = Status::from_header_map(answer.headers()).expect("a status");
        assert_eq!(status.code(), Code::DeadlineExceeded);
    }

    #[tokio::test]
    async fn a_call_that_takes_too_long_is_answered_for_its_service() {
        let inner = tower::service_fn(|_: Request<Body>| {
            Box::pin(std::future::pending())
                as Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>
        });
        let mut guarded = Guarded::new(inner, Gate::new(1, "calls"));
        let request = Request::builder()
            .header("grpc-timeout", "20m")
            .body(Body::empty());
        let answer = guarded.call(request.expect("a request"));
        let full = guarded
            .call(Request::new(Body::empty()))
            .await
            .expect("an answer");
        let status = Status::from_header_map(full.headers()).expect("a status");
        assert_eq!(status.code(), Code::ResourceExhausted);
        let answer = answer.await.expect("an answer");
        let status = Status::from_header_map(answer.headers()).expect("a status");
        assert_eq!(status.code(), Code::DeadlineExceeded);
    }
}
