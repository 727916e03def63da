//! Several operations of one call at a time. An operation that the node answers at once costs no
//! task; only one that must wait gets its own. Dropping the set drops them all.

use std::future::{Future, poll_fn};
use std::task::Poll;
use tokio::task::JoinSet;

/// Operations that wait for their answers.
#[derive(Debug)]
pub struct InFlight<T> {
    waiting: JoinSet<T>,
}

/// None yet. How many may wait is up to the caller, who sees `len`.
impl<T> Default for InFlight<T> {
    fn default() -> Self {
        Self {
            waiting: JoinSet::new(),
        }
    }
}

impl<T: Send + 'static> InFlight<T> {
    /// Starts one; its answer comes back at once, or later from `next`.
    pub async fn start(
        &mut self,
        operation: impl Future<Output = T> + Send + 'static,
    ) -> Option<T> {
        let mut operation = Box::pin(operation);
        match poll_fn(|context| Poll::Ready(operation.as_mut().poll(context))).await {
            Poll::Ready(answer) => Some(answer),
            Poll::Pending => {
                self.waiting.spawn(operation);
                None
            }
        }
    }

    /// How many wait.
    pub fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Whether none waits.
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// The next answer, in any order; none when nothing waits. One that ended in a panic is
    /// passed over.
    ///
    /// # Cancel safety
    ///
    /// No answer is lost when the future is dropped.
    pub async fn next(&mut self) -> Option<T> {
        loop {
            match self.waiting.join_next().await? {
                Ok(answer) => return Some(answer),
                Err(error) => tracing::error!(%error, "an operation of a call broke off"),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn only_what_must_wait_waits() {
        let mut set = InFlight::default();
        assert_eq!(set.start(async { 1 }).await, Some(1));
        let (sender, receiver) = tokio::sync::oneshot::channel();
        assert_eq!(set.start(async { receiver.await.unwrap_or(0) }).await, None);
        assert_eq!(set.len(), 1);
        assert!(sender.send(2).is_ok());
        assert_eq!(set.next().await, Some(2));
        assert_eq!(set.next().await, None);
    }
}
