//! Calls that wait for the engine: each has a token and is answered once, or forgotten when its
//! caller goes away. What the answers mean is not decided here.

use crate::error::{Error, Result};
use foldhash::fast::FixedState;
use hashbrown::HashMap;
use parking_lot::Mutex;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use tokio::sync::oneshot;

/// How many parts the table has, so that callers seldom wait for each other.
const PARTS: usize = 16;

/// By token, which is a number of ours.
type Waiting<T> = HashMap<u64, oneshot::Sender<Result<T>>, FixedState>;

/// Answers that are waited for.
pub struct Pending<T> {
    next: AtomicU64,
    waiting: AtomicUsize,
    waiting_max: usize,
    parts: [Mutex<Waiting<T>>; PARTS],
}

/// One answer to come. Dropping it forgets the token.
pub struct Answer<T> {
    pending: Arc<Pending<T>>,
    token: u64,
    receiver: oneshot::Receiver<Result<T>>,
    came: bool,
}

impl<T> Pending<T> {
    /// At most `waiting_max` answers are waited for at a time.
    pub fn new(waiting_max: usize) -> Self {
        Self {
            next: AtomicU64::new(1),
            waiting: AtomicUsize::new(0),
            waiting_max,
            parts: std::array::from_fn(|_| Mutex::default()),
        }
    }

    /// Whether one more call may wait.
    ///
    /// # Errors
    ///
    /// `Overloaded`, and nothing was applied.
    pub fn admit(&self) -> Result<()> {
        if self.waiting.load(Ordering::Relaxed) < self.waiting_max {
            return Ok(());
        }
        Err(Error::overloaded(
            "too many requests wait for an answer on this node",
        ))
    }

    /// A new token and the answer that it stands for.
    pub fn register(self: &Arc<Self>) -> Answer<T> {
        let token = self.next.fetch_add(1, Ordering::Relaxed);
        let (sender, receiver) = oneshot::channel();
        self.waiting.fetch_add(1, Ordering::Relaxed);
        self.part(token).lock().insert(token, sender);
        Answer {
            pending: Arc::clone(self),
            token,
            receiver,
            came: false,
        }
    }

    /// Answers a token; one that nobody waits for is ignored.
    pub fn complete(&self, token: u64, result: Result<T>) {
        if let Some(sender) = self.take(token) {
            let _ = sender.send(result);
        }
    }

    /// How many answers are waited for.
    pub fn waiting(&self) -> usize {
        self.waiting.load(Ordering::Relaxed)
    }

    fn take(&self, token: u64) -> Option<oneshot::Sender<Result<T>>> {
        let taken = self.part(token).lock().remove(&token);
        if taken.is_some() {
            self.waiting.fetch_sub(1, Ordering::Relaxed);
        }
        taken
    }

    fn part(&self, token: u64) -> &Mutex<Waiting<T>> {
        &self.parts[token as usize % PARTS]
    }
}

impl<T> Answer<T> {
    /// What stands for it at the engine.
    pub fn token(&self) -> u64 {
        self.token
    }

    /// The answer; absent where the engine will never give one.
    ///
    /// # Cancel safety
    ///
    /// Can be awaited again after it was cancelled.
    pub async fn wait(&mut self) -> Option<Result<T>> {
        let answer = (&mut self.receiver).await.ok();
        self.came = true;
        answer
    }
}

impl<T> Drop for Answer<T> {
    fn drop(&mut self) {
        if !self.came {
            self.pending.take(self.token);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_answer_comes_once_and_a_dropped_one_is_forgotten() {
        let pending = Arc::new(Pending::new(2));
        let mut first = pending.register();
        let second = pending.register();
        assert!(pending.admit().is_err());
        pending.complete(first.token(), Ok(7));
        pending.complete(first.token(), Ok(8));
        assert_eq!(first.wait().await, Some(Ok(7)));
        assert_eq!(pending.waiting(), 1);
        drop(second);
        drop(first);
        assert_eq!(pending.waiting(), 0);
        assert!(pending.admit().is_ok());
    }
}
