//! Streams that go on elsewhere when their connection is lost: what counts as lost, how long to
//! wait before it is opened again, and when to give up.

use super::retry::{BACKOFF_FIRST, backoff, jitter};
use crate::error::{Error, ErrorKind, Result};
use crate::rpc::status::from_status;
use std::time::{Duration, Instant};
use tonic::{Status, Streaming};

/// What came of listening to a stream.
#[derive(Debug)]
pub(super) enum Heard<T> {
    Message(T),
    /// The node has said all.
    End,
    /// The connection or the node is gone, or does not serve at present: another may go on.
    Lost(Error),
    /// The same would be said anywhere.
    Refused(Error),
}

/// Waits for the next message, no longer than `silence` where there is such a limit. Without one,
/// the keep-alive of the connection notices that nobody is there any more.
///
/// # Cancel safety
///
/// Nothing is lost when the future is dropped.
pub(super) async fn hear<T>(stream: &mut Streaming<T>, silence: Option<Duration>) -> Heard<T> {
    let message = match silence {
        None => stream.message().await,
        Some(limit) => match tokio::time::timeout(limit, stream.message()).await {
            Ok(message) => message,
            Err(_) => {
                return Heard::Lost(Error::unavailable(format!("nothing came in {limit:?}")));
            }
        },
    };
    match message {
        Ok(Some(message)) => Heard::Message(message),
        Ok(None) => Heard::End,
        Err(status) => failed(&status),
    }
}

fn failed<T>(status: &Status) -> Heard<T> {
    // A status with a source was not sent by a node: the connection failed.
    if std::error::Error::source(status).is_some() {
        let text = format!("the connection failed: {}", status.message());
        return Heard::Lost(Error::unavailable(text));
    }
    let error = from_status(status);
    match error.kind {
        ErrorKind::Unavailable
        | ErrorKind::WrongOwner
        | ErrorKind::DeadlineExceeded
        | ErrorKind::Cancelled
        | ErrorKind::Unknown => Heard::Lost(error),
        _ => Heard::Refused(error),
    }
}

/// How often a stream was lost since it last said something.
#[derive(Debug)]
pub(super) struct Losses {
    /// How long a stream may be lost again and again without a message.
    patience: Duration,
    count: u32,
    since: Option<Instant>,
}

impl Losses {
    pub(super) fn new(patience: Duration) -> Self {
        Self {
            patience,
            count: 0,
            since: None,
        }
    }

    /// A message came: all is well.
    pub(super) fn forget(&mut self) {
        self.count = 0;
        self.since = None;
    }

    /// Waits before the stream is opened again.
    ///
    /// # Errors
    ///
    /// The same error again, once patience is at its end; then it begins anew.
    pub(super) async fn note(&mut self, error: Error) -> Result<()> {
        let since = *self.since.get_or_insert_with(Instant::now);
        if since.elapsed() >= self.patience {
            self.forget();
            return Err(error.not_applied());
        }
        self.count = self.count.saturating_add(1);
        let wait = backoff(self.count, jitter()).max(BACKOFF_FIRST);
        tokio::time::sleep(wait).await;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn patience_ends_and_begins_anew() {
        let lost = || Error::unavailable("gone");
        let mut losses = Losses::new(Duration::ZERO);
        assert_eq!(losses.note(lost()).await, Err(lost()));
        let mut losses = Losses::new(Duration::from_secs(60));
        assert_eq!(losses.note(lost()).await, Ok(()));
        assert_eq!(losses.count, 1);
        losses.forget();
        assert_eq!(losses.count, 0);
    }

    #[test]
    fn what_another_node_may_mend_is_lost_and_the_rest_refused() {
        let heard = failed::<()>(&Status::unavailable("this node stops"));
        assert!(matches!(heard, Heard::Lost(_)), "{heard:?}");
        let heard = failed::<()>(&Status::out_of_range("too old"));
        assert!(matches!(heard, Heard::Refused(_)), "{heard:?}");
    }
}
