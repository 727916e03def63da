//! The queue in front of one stream to a peer: bounded by count and by bytes, emptied in batches
//! of whatever is waiting when the connection can take more, never by a timer. What the messages
//! mean is not known here.

use super::weight::weight;
use crate::types::message::Message;
use parking_lot::Mutex;
use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};
use tokio_stream::Stream;

/// The most messages in one batch.
pub const BATCH_MESSAGES_MAX: usize = 512;
/// A batch ends with the message that takes it past so many bytes.
pub const BATCH_BYTES_MAX: usize = 256 << 10;

/// The bounds of one queue.
#[derive(Clone, Copy, Debug)]
pub struct LaneLimits {
    /// The most messages that wait.
    pub messages_max: usize,
    /// A message that takes the queue past so many bytes is refused, unless it is the only one.
    pub bytes_max: usize,
}

/// The queue in front of one stream.
pub struct Lane {
    limits: LaneLimits,
    state: Mutex<State>,
}

struct State {
    queue: VecDeque<(Message, usize)>,
    bytes: usize,
    waker: Option<Waker>,
    /// Something waits that must go; otherwise what waits goes along with the next that must.
    urgent: bool,
    /// When the stream last took something, or when the first message came that must go, if that
    /// is later.
    moved: Instant,
    closed: bool,
}

/// The batches of a lane as a stream that ends when the lane is closed.
pub struct Batches<F> {
    lane: Arc<Lane>,
    first: Option<F>,
    /// The number of the last frame.
    id: u64,
    pack: fn(u64, Vec<Message>) -> F,
}

impl Lane {
    /// An empty queue.
    pub fn new(limits: LaneLimits) -> Arc<Self> {
        Arc::new(Self {
            limits,
            state: Mutex::new(State {
                queue: VecDeque::new(),
                bytes: 0,
                waker: None,
                urgent: false,
                moved: Instant::now(),
                closed: false,
            }),
        })
    }

    /// Queues a message. False: there is no room, or the lane is closed, and it is dropped.
    pub fn push(&self, message: Message) -> bool {
        self.queue(message, true)
    }

    /// Queues a message that goes along with the next one, or with [`Lane::flush`]: it costs no
    /// frame and no wake-up of its own. False: as by [`Lane::push`].
    pub fn push_along(&self, message: Message) -> bool {
        self.queue(message, false)
    }

    /// Sends what waits to go along.
    pub fn flush(&self) {
        let mut state = self.state.lock();
        if state.queue.is_empty() {
            return;
        }
        let waker = state.urge();
        drop(state);
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    fn queue(&self, message: Message, urgent: bool) -> bool {
        let weight = weight(&message);
        let mut state = self.state.lock();
        let full = state.queue.len() >= self.limits.messages_max
            || (state.bytes + weight > self.limits.bytes_max && !state.queue.is_empty());
        if state.closed || full {
            return false;
        }
        state.bytes += weight;
        state.queue.push_back((message, weight));
        let waker = if urgent { state.urge() } else { None };
        drop(state);
        if let Some(waker) = waker {
            waker.wake();
        }
        true
    }

    /// Whether an eighth of the queue is free: room for what writes that were just admitted are
    /// about to send.
    pub fn has_room(&self) -> bool {
        let state = self.state.lock();
        state.queue.len() < self.limits.messages_max - self.limits.messages_max / 8
            && state.bytes < self.limits.bytes_max - self.limits.bytes_max / 8
    }

    /// How long messages have been waiting without the stream taking any.
    pub fn stalled_for(&self) -> Duration {
        let state = self.state.lock();
        if state.urgent {
            state.moved.elapsed()
        } else {
            Duration::ZERO
        }
    }

    /// Ends the stream; what waits is dropped.
    pub fn close(&self) {
        let mut state = self.state.lock();
        state.closed = true;
        state.queue.clear();
        state.bytes = 0;
        state.urgent = false;
        let waker = state.waker.take();
        drop(state);
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// The stream of batches: `first`, which has the number 1, then what waits, packed by `pack`
    /// with the numbers that follow.
    pub fn batches<F>(self: &Arc<Self>, first: F, pack: fn(u64, Vec<Message>) -> F) -> Batches<F> {
        Batches {
            lane: Arc::clone(self),
            first: Some(first),
            id: 1,
            pack,
        }
    }
}

impl State {
    /// What waits must go; whom to wake for it.
    fn urge(&mut self) -> Option<Waker> {
        if !self.urgent {
            self.urgent = true;
            self.moved = Instant::now();
        }
        self.waker.take()
    }

    fn take_batch(&mut self) -> Vec<Message> {
        let mut batch = Vec::with_capacity(self.queue.len().min(BATCH_MESSAGES_MAX));
        let mut bytes = 0;
        while batch.len() < BATCH_MESSAGES_MAX && bytes < BATCH_BYTES_MAX {
            let Some((message, weight)) = self.queue.pop_front() else {
                break;
            };
            bytes += weight;
            self.bytes -= weight;
            batch.push(message);
        }
        if self.queue.is_empty() && self.queue.capacity() > BATCH_MESSAGES_MAX {
            // What one burst took need not stay.
            self.queue = VecDeque::new();
        }
        self.moved = Instant::now();
        self.urgent = !self.queue.is_empty();
        batch
    }
}

impl<F: Unpin> Stream for Batches<F> {
    type Item = F;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<F>> {
        if let Some(first) = self.first.take() {
            return Poll::Ready(Some(first));
        }
        let batch = {
            let mut state = self.lane.state.lock();
            if state.closed {
                return Poll::Ready(None);
            }
            if !state.urgent {
                state.waker = Some(cx.waker().clone());
                return Poll::Pending;
            }
            state.take_batch()
        };
        self.id += 1;
        Poll::Ready(Some((self.pack)(self.id, batch)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::Member;
    use crate::types::message::Control;
    use tokio_stream::StreamExt;

    fn message() -> Message {
        Message::Control(Control::AskReach {
            suspect: Member::default(),
        })
    }

    fn limits() -> LaneLimits {
        LaneLimits {
            messages_max: 8,
            bytes_max: 1 << 20,
        }
    }

    #[tokio::test]
    async fn a_batch_is_whatever_waits() {
        let lane = Lane::new(limits());
        let mut batches = lane.batches((1, 100), |id, batch| (id, batch.len()));
        assert!(lane.push(message()) && lane.push(message()));
        assert_eq!(batches.next().await, Some((1, 100)));
        assert_eq!(batches.next().await, Some((2, 2)));
        let later = Arc::clone(&lane);
        let pushed = tokio::spawn(async move { later.push(message()) });
        assert_eq!(batches.next().await, Some((3, 1)));
        assert!(pushed.await.expect("the task ends"));
        lane.close();
        assert_eq!(batches.next().await, None);
        assert!(!lane.push(message()));
    }

    #[tokio::test]
    async fn what_goes_along_goes_with_the_next_or_when_told() {
        let lane = Lane::new(limits());
        let mut batches = lane.batches(0, |_, batch| batch.len());
        assert_eq!(batches.next().await, Some(0));
        assert!(lane.push_along(message()));
        let mut next = at_once(&mut batches);
        assert!(next.is_none(), "it waits for company");
        assert_eq!(
            lane.stalled_for(),
            Duration::ZERO,
            "and nobody waits for it"
        );
        assert!(lane.push(message()));
        next = at_once(&mut batches);
        assert_eq!(next, Some(2));
        assert!(lane.push_along(message()));
        lane.flush();
        assert_eq!(batches.next().await, Some(1));
    }

    /// What is there at once.
    fn at_once(batches: &mut Batches<usize>) -> Option<usize> {
        let mut context = Context::from_waker(Waker::noop());
        match Pin::new(batches).poll_next(&mut context) {
            Poll::Ready(batch) => batch,
            Poll::Pending => None,
        }
    }

    #[test]
    fn a_full_queue_refuses_and_keeps_the_last_eighth_for_what_was_admitted() {
        let lane = Lane::new(limits());
        for _ in 0..7 {
            assert!(lane.has_room());
            assert!(lane.push(message()));
        }
        assert!(!lane.has_room());
        assert!(lane.push(message()));
        assert!(!lane.push(message()));
    }

    #[test]
    fn a_message_larger_than_the_queue_passes_alone() {
        let lane = Lane::new(LaneLimits {
            messages_max: 8,
            bytes_max: 1,
        });
        assert!(lane.push(message()));
        assert!(!lane.push(message()));
    }
}
