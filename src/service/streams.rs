//! Answers that stream: one task each, counted, ended by its own work, by its caller's deadline,
//! by the end of the node, or by its caller going away, which drops what the task holds.

use super::deadline::CallTime;
use super::limits::{Gate, STREAM_QUEUE_MAX};
use crate::error::{Error, ErrorKind, Result};
use crate::rpc::status::to_status;
use std::future::{Future, pending};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Response, Status};

/// What a streaming call returns.
pub type Answers<T> = ReceiverStream<Result<T, Status>>;

/// Where the work of a stream puts its messages.
#[derive(Debug)]
pub struct Out<T>(mpsc::Sender<Result<T, Status>>);

impl<T> Clone for Out<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<T> Out<T> {
    /// Hands over a message; waits while the caller is slow to take them.
    ///
    /// # Errors
    ///
    /// `Cancelled` where the caller is gone.
    pub async fn send(&self, message: T) -> Result<()> {
        let sent = self.0.send(Ok(message)).await;
        sent.map_err(|_| Error::new(ErrorKind::Cancelled, "the caller is gone"))
    }
}

/// Starts a stream. `work` writes the messages; an error that it returns is the last one. When
/// `stopped` is done the stream ends.
///
/// # Errors
///
/// `Overloaded` where too many streams are open.
pub fn start<T, W>(
    gate: &Gate,
    time: CallTime,
    stopped: impl Future<Output = ()> + Send + 'static,
    work: impl FnOnce(Out<T>) -> W,
) -> Result<Response<Answers<T>>>
where
    T: Send + 'static,
    W: Future<Output = Result<()>> + Send + 'static,
{
    let pass = gate.enter()?;
    let (sender, receiver) = mpsc::channel(STREAM_QUEUE_MAX);
    let work = work(Out(sender.clone()));
    tokio::spawn(async move {
        let _pass = pass;
        let ended = tokio::select! {
            ended = work => ended,
            () = sender.closed() => return,
            () = stopped => Err(Error::unavailable("this node stops")),
            () = end(time) => Err(Error::new(
                ErrorKind::DeadlineExceeded,
                "the caller's deadline ended the stream",
            )),
        };
        if let Err(error) = ended {
            // Fails where the caller is gone, who then wants no error either.
            let _ = sender.send(Err(to_status(&error))).await;
        }
    });
    Ok(Response::new(ReceiverStream::new(receiver)))
}

/// Waits for the end of a stream whose caller named one.
async fn end(time: CallTime) {
    match time.given {
        Some(given) => tokio::time::sleep_until(given.into()).await,
        None => pending().await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::{Duration, Instant};
    use tokio_stream::StreamExt;

    const OPEN: fn() -> CallTime = || CallTime::of(&http::HeaderMap::new(), Instant::now());

    #[tokio::test]
    async fn an_error_of_the_work_is_the_last_message() {
        let gate = Gate::new(1, "streams");
        let mut stream = start(&gate, OPEN(), pending(), |out: Out<u32>| async move {
            out.send(1).await?;
            Err(Error::invalid("enough"))
        })
        .expect("a place")
        .into_inner();
        assert!(gate.enter().is_err());
        assert_eq!(stream.next().await.and_then(Result::ok), Some(1));
        let status = stream
            .next()
            .await
            .expect("an error")
            .expect_err("an error");
        assert_eq!(status.code(), tonic::Code::InvalidArgument);
        assert!(stream.next().await.is_none());
    }

    #[tokio::test]
    async fn a_caller_that_goes_ends_the_work() {
        struct Held(Option<tokio::sync::oneshot::Sender<()>>);
        impl Drop for Held {
            fn drop(&mut self) {
                let _ = self.0.take().map(|sender| sender.send(()));
            }
        }
        let gate = Gate::new(1, "streams");
        let (sender, dropped) = tokio::sync::oneshot::channel();
        let held = Held(Some(sender));
        let stream = start(&gate, OPEN(), pending(), |_out: Out<u32>| async move {
            let _held = held;
            pending().await
        });
        drop(stream);
        tokio::time::timeout(Duration::from_secs(5), dropped)
            .await
            .expect("in time")
            .expect("the work was dropped");
    }

    #[tokio::test]
    async fn the_end_of_the_node_ends_the_stream() {
        let mut stream = start(
            &Gate::new(1, "streams"),
            OPEN(),
            async {},
            |_out: Out<u32>| async { pending().await },
        )
        .expect("a place")
        .into_inner();
        let status = stream
            .next()
            .await
            .expect("an error")
            .expect_err("an error");
        assert_eq!(status.code(), tonic::Code::Unavailable);
    }

    #[tokio::test]
    async fn the_deadline_of_the_caller_ends_the_stream() {
        let now = Instant::now();
        let time = CallTime {
            given: Some(now),
            deadline: now,
        };
        let mut stream = start(
            &Gate::new(1, "streams"),
            time,
            pending(),
            |_out: Out<u32>| async { pending().await },
        )
        .expect("a place")
        .into_inner();
        let status = stream
            .next()
            .await
            .expect("an error")
            .expect_err("an error");
        assert_eq!(status.code(), tonic::Code::DeadlineExceeded);
    }
}
