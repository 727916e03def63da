//! What all watches have in common: events as a stream that resumes by itself where the connection
//! is lost. Where it cannot, it says so once, and begins again.
//!
//! Events behind the last checkpoint come again when a watch is resumed; those that were told are
//! known by a digest and left out. Where events have a place in a history, one that should have
//! been told before and was not means another history: OUT_OF_RANGE.

use super::Client;
use super::retry::{Effect, backoff, jitter};
use super::routes::Keyed;
use super::stream::{Heard, Losses, hear};
use crate::error::{Error, ErrorKind, Result};
use bytes::Bytes;
use std::collections::{HashMap, HashSet, VecDeque};
use std::future::Future;
use std::time::{Duration, Instant};
use tonic::transport::Channel;
use tonic::{Request, Response, Status, Streaming};

/// A node says something at least every second, if only that nothing happened. One that is silent
/// for so long is left for another.
const SILENCE_MAX: Duration = Duration::from_secs(10);

/// How long nodes may not know the place that a watch is resumed from, before it is given up.
const STALE_MAX: Duration = Duration::from_secs(3);

/// How often in a row a watch begins again without coming to a checkpoint; then it is over.
const BEGUN_AGAIN_MAX: u32 = 3;

/// How many events may come without a checkpoint; nodes send one after a thousand.
const UNCONFIRMED_MAX: usize = 100_000;

/// A request for a watch: where the next stream begins.
pub(super) trait Watched: Keyed {
    /// What is told.
    type Event;

    /// The place to go on from; empty: from now on.
    fn token(&self) -> &Bytes;

    /// The same, to be moved.
    fn token_mut(&mut self) -> &mut Bytes;

    /// Whether the next stream begins with what lives.
    fn tells_current(&self) -> bool;

    /// Has what lives told, or not; whether it will be.
    fn tell_current(&mut self, wanted: bool) -> bool;

    /// The place that a checkpoint stands for.
    fn checkpoint(event: &Self::Event) -> Option<&Bytes>;

    /// By what an event is known again; none where it comes once.
    fn told(event: &Self::Event) -> Option<Told>;

    /// Asks a node.
    fn open(
        self,
        channel: Channel,
    ) -> impl Future<Output = Result<Response<Streaming<Self::Event>>, Status>> + Send;
}

/// By what an event is known again.
#[derive(Clone, Copy, Debug)]
pub(super) struct Told {
    pub(super) digest: u128,
    /// Partition and counter, where events have them.
    pub(super) place: Option<(u32, u64)>,
}

/// A watch under way.
#[derive(Debug)]
pub(super) struct Watcher<R: Watched> {
    client: Client,
    request: R,
    stream: Option<Streaming<R::Event>>,
    /// What came before the watch was complete.
    ready: VecDeque<R::Event>,
    memory: Memory,
    losses: Losses,
    resumed: u64,
    /// How often it began again since its last checkpoint.
    begun_again: u32,
    /// Whether the next stream begins again, and does not go on.
    anew: bool,
    /// A gap that is told when the watch has begun again.
    gap: Option<Error>,
    /// When the stream in use was opened.
    opened: Option<Instant>,
    /// Since when nodes do not know the place to go on from.
    stale_since: Option<Instant>,
    /// Why it cannot go on.
    over: Option<Error>,
}

impl<R: Watched> Watcher<R> {
    /// A watch; without current entries and without a token it is complete.
    pub(super) async fn begin(client: Client, request: R) -> Result<Self> {
        let patience = client.connections.options.timeout;
        let deadline = Instant::now() + patience;
        let mut watcher = Self {
            client,
            request,
            stream: None,
            ready: VecDeque::new(),
            memory: Memory::default(),
            losses: Losses::new(patience),
            resumed: 0,
            begun_again: 0,
            anew: false,
            gap: None,
            opened: None,
            stale_since: None,
            over: None,
        };
        let begun = async {
            watcher.stream = Some(watcher.open().await?);
            watcher.opened = Some(Instant::now());
            if !watcher.request.tells_current() {
                watcher.complete().await?;
                watcher.resumed = 0;
            }
            Ok(())
        };
        match tokio::time::timeout_at(deadline.into(), begun).await {
            Ok(Ok(())) => Ok(watcher),
            Ok(Err(error)) => Err(error),
            Err(_) => Err(Error::unavailable(
                "not every partition could be watched in time",
            )),
        }
    }

    /// The next event. None is lost when the future is dropped.
    pub(super) async fn next(&mut self) -> Result<R::Event> {
        loop {
            if self.gap.is_some() {
                self.complete().await?;
                if let Some(gap) = self.gap.take() {
                    return Err(gap);
                }
            }
            if let Some(event) = self.ready.pop_front() {
                return Ok(event);
            }
            if let Some(event) = self.advance().await? {
                return Ok(event);
            }
        }
    }

    /// The place behind the last checkpoint.
    pub(super) fn resume_token(&self) -> &Bytes {
        self.request.token()
    }

    /// How often the connection was lost and the watch went on without a gap.
    pub(super) fn resumed(&self) -> u64 {
        self.resumed
    }

    /// Waits for the first checkpoint; events that come before it are kept for later.
    async fn complete(&mut self) -> Result<()> {
        while self.request.token().is_empty() {
            if let Some(event) = self.advance().await? {
                self.ready.push_back(event);
            }
            if self.stream.is_none() && self.request.token().is_empty() {
                // It begins anew, from a later moment on.
                self.ready.clear();
            }
        }
        Ok(())
    }

    /// One step: an event to tell, or none yet.
    async fn advance(&mut self) -> Result<Option<R::Event>> {
        if let Some(error) = &self.over {
            return Err(error.clone());
        }
        let Some(stream) = &mut self.stream else {
            match self.open().await {
                Ok(stream) => self.stream = Some(stream),
                Err(error) => return self.refused(error),
            }
            self.opened = Some(Instant::now());
            self.memory.resume();
            if !std::mem::take(&mut self.anew) {
                self.resumed += 1;
            }
            return Ok(None);
        };
        match hear(stream, Some(SILENCE_MAX)).await {
            Heard::Message(event) => {
                self.losses.forget();
                self.take(event)
            }
            Heard::End => self.lost(Error::unavailable("the stream ended")).await,
            Heard::Lost(error) => self.lost(error).await,
            Heard::Refused(error) if self.may_catch_up(&error) => {
                self.stream = None;
                let wait = backoff(u32::MAX, jitter());
                tokio::time::sleep(wait).await;
                Ok(None)
            }
            Heard::Refused(error) => self.refused(error),
        }
    }

    /// Whether the place that a node does not know may be known a moment later: the watcher was too
    /// slow for the node's queue and finds what it missed behind its token, or the node is an owner
    /// that has not heard of the last commits of one that was lost.
    fn may_catch_up(&mut self, error: &Error) -> bool {
        if error.kind != ErrorKind::OutOfRange || self.request.token().is_empty() {
            return false;
        }
        let now = Instant::now();
        if self.opened.is_some_and(|opened| now - opened > STALE_MAX) {
            // What was not known before was found.
            self.stale_since = None;
        }
        now - *self.stale_since.get_or_insert(now) < STALE_MAX
    }

    fn take(&mut self, event: R::Event) -> Result<Option<R::Event>> {
        if let Some(token) = R::checkpoint(&event) {
            self.request.token_mut().clone_from(token);
            self.request.tell_current(false);
            self.begun_again = 0;
            self.memory.confirm();
            return Ok(None);
        }
        match R::told(&event).map_or(Ok(true), |told| self.memory.tell(told)) {
            Ok(true) => Ok(Some(event)),
            Ok(false) => Ok(None),
            Err(error) => self.refused(error),
        }
    }

    async fn lost(&mut self, error: Error) -> Result<Option<R::Event>> {
        self.stream = None;
        if self.request.tells_current() {
            let text = format!(
                "the watch was lost while current entries were told: {}",
                error.context
            );
            return self.refused(Error::new(ErrorKind::OutOfRange, text));
        }
        if self.request.token().is_empty() {
            // Nothing has been told, and nobody was promised anything yet.
            self.memory = Memory::default();
        }
        self.losses.note(error).await?;
        Ok(None)
    }

    /// What follows an error: the watch goes on, begins again, or is over for good.
    fn refused(&mut self, error: Error) -> Result<Option<R::Event>> {
        self.stream = None;
        let last = match error.kind {
            ErrorKind::Unavailable | ErrorKind::DeadlineExceeded | ErrorKind::Overloaded => {
                return Err(error);
            }
            ErrorKind::OutOfRange if self.begun_again < BEGUN_AGAIN_MAX => {
                if self.begin_again() {
                    return Err(error);
                }
                // Whoever hears of the gap looks at what lives: every event from then on is told.
                self.gap = Some(error);
                return Ok(None);
            }
            ErrorKind::OutOfRange => Error::overloaded(format!(
                "the watch began again {BEGUN_AGAIN_MAX} times and was lost each time: {}",
                error.context
            )),
            _ => error,
        };
        self.over = Some(last.clone());
        Err(last)
    }

    /// The next stream begins again; whether it tells what lives first.
    fn begin_again(&mut self) -> bool {
        self.begun_again += 1;
        self.anew = true;
        self.stale_since = None;
        self.memory = Memory::default();
        self.request.token_mut().clear();
        self.request.tell_current(true)
    }

    async fn open(&self) -> Result<Streaming<R::Event>> {
        // Without the attempt's deadline, which would end the stream.
        let send = async |channel, message: Request<R>| message.into_inner().open(channel).await;
        let request = self.request.clone();
        self.client.call(Effect::Read, request, send).await
    }
}

/// What was told since the last checkpoint.
#[derive(Debug, Default)]
struct Memory {
    /// In the stream in use.
    events: HashSet<u128>,
    /// In streams that were lost, and not repeated yet. The first checkpoint of a resumed stream
    /// may be from before them.
    to_come_again: HashSet<u128>,
    /// The greatest counter by partition.
    upto: HashMap<u32, u64>,
}

impl Memory {
    /// Whether the event is news.
    fn tell(&mut self, event: Told) -> Result<bool> {
        if self.to_come_again.remove(&event.digest) {
            self.events.insert(event.digest);
            return Ok(false);
        }
        if self.events.len() + self.to_come_again.len() >= UNCONFIRMED_MAX {
            return Err(Error::new(
                ErrorKind::Internal,
                format!("{UNCONFIRMED_MAX} events came without a checkpoint"),
            ));
        }
        if !self.events.insert(event.digest) {
            return Ok(false);
        }
        let Some((partition, counter)) = event.place else {
            return Ok(true);
        };
        let upto = self.upto.entry(partition).or_insert(counter);
        if counter < *upto {
            return Err(Error::new(
                ErrorKind::OutOfRange,
                "events were told that are not in the history of the cluster any more",
            ));
        }
        *upto = counter;
        Ok(true)
    }

    /// A checkpoint came: what its stream has said is behind it.
    fn confirm(&mut self) {
        self.events.clear();
        if self.to_come_again.is_empty() {
            self.upto.clear();
        }
    }

    /// The stream was lost: what it has said since its last checkpoint comes again.
    fn resume(&mut self) {
        self.to_come_again.extend(self.events.drain());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(partition: u32, counter: u64, key: u8) -> Told {
        Told {
            digest: u128::from(counter) << 40 | u128::from(partition) << 8 | u128::from(key),
            place: Some((partition, counter)),
        }
    }

    #[test]
    fn what_comes_again_is_told_once() {
        let mut memory = Memory::default();
        for again in [true, false] {
            for (counter, key) in [(4, b'a'), (5, b'b'), (5, b'c'), (6, b'a')] {
                assert_eq!(memory.tell(event(1, counter, key)), Ok(again), "{key}");
            }
        }
        assert_eq!(memory.tell(event(2, 1, b'd')), Ok(true));
        assert_eq!(memory.tell(event(1, 7, b'a')), Ok(true));
        memory.confirm();
        assert_eq!(memory.tell(event(1, 8, b'a')), Ok(true));
    }

    #[test]
    fn a_checkpoint_before_the_repetition_forgets_nothing() {
        let mut memory = Memory::default();
        for counter in [4, 5] {
            assert_eq!(memory.tell(event(1, counter, b'a')), Ok(true));
        }
        memory.resume();
        // The first word of a resumed stream: where it begins.
        memory.confirm();
        for (counter, news) in [(4, false), (5, false), (6, true)] {
            assert_eq!(memory.tell(event(1, counter, b'a')), Ok(news), "{counter}");
        }
        memory.confirm();
        assert!(memory.events.is_empty() && memory.to_come_again.is_empty());
    }

    #[test]
    fn another_history_is_out_of_range() {
        let mut memory = Memory::default();
        assert_eq!(memory.tell(event(1, 4, b'a')), Ok(true));
        assert_eq!(memory.tell(event(1, 5, b'b')), Ok(true));
        let error = memory.tell(event(1, 4, b'c')).expect_err("not told before");
        assert_eq!(error.kind, ErrorKind::OutOfRange);
    }

    #[test]
    fn an_event_without_a_place_is_known_by_its_digest() {
        let mut memory = Memory::default();
        let told = |digest| Told {
            digest,
            place: None,
        };
        for (digest, news) in [(2, true), (1, true), (2, false)] {
            assert_eq!(memory.tell(told(digest)), Ok(news));
        }
    }
}
