//! Counts the calls that are open on each connection, from their first byte to the end of the
//! answer's body, so that a node that stops knows which connections still serve somebody.

use crate::rpc::connection::{OpenCall, Remote};
use bytes::Bytes;
use http::{Request, Response};
use http_body::{Frame, SizeHint};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tonic::Status;
use tonic::body::Body;
use tower::Service;

/// A service whose calls are counted.
#[derive(Clone, Debug)]
pub struct Counted<S>(pub S);

impl<S> Service<Request<Body>> for Counted<S>
where
    S: Service<Request<Body>, Response = Response<Body>>,
    S::Future: Unpin,
{
    type Response = Response<CountedBody>;
    type Error = S::Error;
    type Future = CountedCall<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let remote = request.extensions().get::<Remote>();
        CountedCall {
            open: remote.map(|remote| remote.calls.open()),
            inner: self.0.call(request),
        }
    }
}

/// A call until its answer begins.
#[derive(Debug)]
pub struct CountedCall<F> {
    inner: F,
    open: Option<OpenCall>,
}

impl<F, E> Future for CountedCall<F>
where
    F: Future<Output = Result<Response<Body>, E>> + Unpin,
{
    type Output = Result<Response<CountedBody>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        let answer = ready!(Pin::new(&mut this.inner).poll(cx))?;
        let open = this.open.take();
        Poll::Ready(Ok(answer.map(|inner| CountedBody { inner, _open: open })))
    }
}

/// An answer until it has been sent.
#[derive(Debug)]
pub struct CountedBody {
    inner: Body,
    _open: Option<OpenCall>,
}

impl http_body::Body for CountedBody {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        Pin::new(&mut self.inner).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::convert::Infallible;
    use std::sync::Arc;

    #[tokio::test]
    async fn a_call_is_open_until_its_answer_is_gone() {
        let remote = Remote {
            address: ([127, 0, 0, 1], 9).into(),
            certificates: Arc::from([]),
            is_node: false,
            generation: 0,
            calls: Default::default(),
        };
        let calls = remote.calls.clone();
        let answer = |_| std::future::ready(Ok::<_, Infallible>(Response::new(Body::empty())));
        let mut counted = Counted(tower::service_fn(answer));
        let mut request = Request::new(Body::empty());
        request.extensions_mut().insert(remote);
        let call = counted.call(request);
        assert_eq!(calls.count(), 1);
        let answer = call.await.expect("an answer");
        assert_eq!(calls.count(), 1);
        drop(answer);
        assert_eq!(calls.count(), 0);
    }
}
