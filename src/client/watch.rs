//! Watching a cache: its events as a stream that resumes by itself where the connection is lost.
//! Where it cannot, it says so once, and begins again with current entries.
//!
//! Events behind the last checkpoint come again when a watch is resumed; those that were told are
//! known by their partition, counter, kind, key and version and are left out. An event that should
//! have been told before and was not means another history: OUT_OF_RANGE.

use super::retry::{Effect, backoff, jitter};
use super::stream::{Heard, Losses, hear};
use super::{Client, cache_service};
use crate::error::{Error, ErrorKind, Result};
use crate::rpc::proto::watch_event::Type;
use crate::rpc::proto::{WatchEvent, WatchRequest};
use bytes::Bytes;
use std::collections::{HashMap, HashSet, VecDeque};
use std::time::{Duration, Instant};
use tonic::{Request, Streaming};
use xxhash_rust::xxh3::Xxh3;

/// A node says something at least every second, if only that nothing happened. One that is silent
/// for so long is left for another.
const SILENCE_MAX: Duration = Duration::from_secs(10);

/// How long nodes may not know the place that a watch is resumed from, before it is given up.
const STALE_MAX: Duration = Duration::from_secs(3);

/// How often in a row a watch begins again without coming to a checkpoint; then it is over.
const BEGUN_AGAIN_MAX: u32 = 3;

/// How many events may come without a checkpoint; nodes send one after a thousand.
const UNCONFIRMED_MAX: usize = 100_000;

/// The events of a cache. See [`Client::watch`].
///
/// # Example
///
/// ```no_run
/// # async fn example(client: embergrid::client::Client) -> embergrid::error::Result<()> {
/// use embergrid::client::messages::WatchRequest;
///
/// let mut watch = client.watch(WatchRequest {
///     cache: "sessions".into(),
///     ..WatchRequest::default()
/// }).await?;
/// loop {
///     let event = watch.next().await?;
///     println!("{:?} {:?}", event.r#type(), event.entry);
/// }
/// # }
/// ```
#[derive(Debug)]
pub struct Watch {
    client: Client,
    request: WatchRequest,
    stream: Option<Streaming<WatchEvent>>,
    /// What came before the watch was complete.
    ready: VecDeque<WatchEvent>,
    told: Told,
    losses: Losses,
    resumed: u64,
    /// How often it began again since its last checkpoint.
    begun_again: u32,
    /// Whether the next stream begins again, and does not go on.
    anew: bool,
    /// When the stream in use was opened.
    opened: Option<Instant>,
    /// Since when nodes do not know the place to go on from.
    stale_since: Option<Instant>,
    /// Why it cannot go on.
    over: Option<Error>,
}

impl Client {
    /// Watches a cache.
    ///
    /// Without current entries and without a token it returns when every partition is watched:
    /// whatever is written from then on is told. The watch resumes by itself, at another node if
    /// need be, without a gap and without a double.
    ///
    /// # Errors
    ///
    /// OUT_OF_RANGE where the token is too old or of another history: begin again, with current
    /// entries. NOT_FOUND where there is no such cache. Else as any call.
    ///
    /// # Example
    ///
    /// All that lives, then all that happens:
    ///
    /// ```no_run
    /// # async fn example(client: embergrid::client::Client) -> embergrid::error::Result<()> {
    /// use embergrid::client::messages::WatchRequest;
    ///
    /// let mut watch = client.watch(WatchRequest {
    ///     cache: "sessions".into(),
    ///     key_prefix: "TGT-".into(),
    ///     with_current: true,
    ///     ..WatchRequest::default()
    /// }).await?;
    /// let event = watch.next().await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn watch(&self, request: WatchRequest) -> Result<Watch> {
        let deadline = Instant::now() + self.connections.options.timeout;
        let mut watch = Watch {
            client: self.clone(),
            request,
            stream: None,
            ready: VecDeque::new(),
            told: Told::default(),
            losses: Losses::new(self.connections.options.timeout),
            resumed: 0,
            begun_again: 0,
            anew: false,
            opened: None,
            stale_since: None,
            over: None,
        };
        let begun = async {
            watch.stream = Some(watch.open().await?);
            watch.opened = Some(Instant::now());
            if !watch.request.with_current {
                watch.complete().await?;
            }
            Ok(())
        };
        match tokio::time::timeout_at(deadline.into(), begun).await {
            Ok(Ok(())) => Ok(watch),
            Ok(Err(error)) => Err(error),
            Err(_) => Err(Error::unavailable(
                "not every partition could be watched in time",
            )),
        }
    }
}

impl Watch {
    /// The next event; it waits until there is one. Checkpoints are not told: see
    /// [`Watch::resume_token`].
    ///
    /// # Errors
    ///
    /// OUT_OF_RANGE where the watch cannot go on without a gap. It is said once: called again, the
    /// watch begins again with the entries that live then, as CREATED events, and what is not among
    /// them is gone. Behind UNAVAILABLE (no node could be reached for long) and DEADLINE_EXCEEDED
    /// it may be called again to go on without a gap. Any other error ends the watch for good and is
    /// said again at every further call; RESOURCE_EXHAUSTED is one, where the watch began again
    /// three times and was lost each time before the entries that live were told.
    ///
    /// # Cancel safety
    ///
    /// No event is lost when the future is dropped.
    ///
    /// # Example
    ///
    /// ```no_run
    /// # async fn example(mut watch: embergrid::client::Watch) -> embergrid::error::Result<()> {
    /// use embergrid::error::ErrorKind;
    /// use std::collections::HashSet;
    ///
    /// let mut known = HashSet::new();
    /// loop {
    ///     match watch.next().await {
    ///         Ok(event) => known.extend(event.entry.map(|entry| entry.key)),
    ///         // A gap: it begins again with the entries that live.
    ///         Err(error) if error.kind == ErrorKind::OutOfRange => known.clear(),
    ///         Err(error) => return Err(error),
    ///     }
    /// #   if known.len() > 1_000 { return Ok(()); }
    /// }
    /// # }
    /// ```
    pub async fn next(&mut self) -> Result<WatchEvent> {
        loop {
            if let Some(event) = self.ready.pop_front() {
                return Ok(event);
            }
            if let Some(event) = self.advance().await? {
                return Ok(event);
            }
        }
    }

    /// Where the watch can be resumed, also by another process ([`WatchRequest::resume_token`]):
    /// behind the last checkpoint. Events told since then come again there. Empty while current
    /// entries are still being told.
    ///
    /// # Example
    ///
    /// ```no_run
    /// # async fn example(
    /// #     client: embergrid::client::Client,
    /// #     watch: embergrid::client::Watch,
    /// # ) -> embergrid::error::Result<()> {
    /// use embergrid::client::messages::WatchRequest;
    ///
    /// let token = watch.resume_token().clone();
    /// drop(watch);
    /// let watch = client.watch(WatchRequest {
    ///     cache: "sessions".into(),
    ///     resume_token: token,
    ///     ..WatchRequest::default()
    /// }).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn resume_token(&self) -> &Bytes {
        &self.request.resume_token
    }

    /// How often the connection was lost and the watch went on without a gap.
    ///
    /// # Example
    ///
    /// ```no_run
    /// # async fn example(mut watch: embergrid::client::Watch) -> embergrid::error::Result<()> {
    /// let event = watch.next().await?;
    /// println!("{event:?}, after {} resumptions", watch.resumed());
    /// # Ok(())
    /// # }
    /// ```
    pub fn resumed(&self) -> u64 {
        self.resumed
    }

    /// Waits for the first checkpoint; events that come before it are kept for later.
    async fn complete(&mut self) -> Result<()> {
        let mut early = VecDeque::new();
        while self.request.resume_token.is_empty() {
            if let Some(event) = self.advance().await? {
                early.push_back(event);
            }
            if self.stream.is_none() && self.request.resume_token.is_empty() {
                // It begins anew, from a later moment on.
                early.clear();
            }
        }
        self.ready = early;
        self.resumed = 0;
        Ok(())
    }

    /// One step: an event to tell, or none yet.
    async fn advance(&mut self) -> Result<Option<WatchEvent>> {
        if let Some(error) = &self.over {
            return Err(error.clone());
        }
        let Some(stream) = &mut self.stream else {
            match self.open().await {
                Ok(stream) => self.stream = Some(stream),
                Err(error) => return Err(self.refused(error)),
            }
            self.opened = Some(Instant::now());
            self.told.resume();
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
            Heard::Refused(error) => Err(self.refused(error)),
        }
    }

    /// Whether the place that a node does not know may be known a moment later: the watcher was too
    /// slow for the node's queue and finds what it missed behind its token, or the node is an owner
    /// that has not heard of the last commits of one that was lost.
    fn may_catch_up(&mut self, error: &Error) -> bool {
        if error.kind != ErrorKind::OutOfRange || self.request.resume_token.is_empty() {
            return false;
        }
        let now = Instant::now();
        if self.opened.is_some_and(|opened| now - opened > STALE_MAX) {
            // What was not known before was found.
            self.stale_since = None;
        }
        now - *self.stale_since.get_or_insert(now) < STALE_MAX
    }

    fn take(&mut self, event: WatchEvent) -> Result<Option<WatchEvent>> {
        if event.r#type() == Type::Checkpoint {
            self.request.resume_token = event.resume_token;
            self.request.with_current = false;
            self.begun_again = 0;
            self.told.confirm();
            return Ok(None);
        }
        match self.told.tell(&event) {
            Ok(true) => Ok(Some(event)),
            Ok(false) => Ok(None),
            Err(error) => Err(self.refused(error)),
        }
    }

    async fn lost(&mut self, error: Error) -> Result<Option<WatchEvent>> {
        self.stream = None;
        if self.request.resume_token.is_empty() && self.request.with_current {
            let text = format!(
                "the watch was lost while current entries were told: {}",
                error.context
            );
            return Err(self.refused(Error::new(ErrorKind::OutOfRange, text)));
        }
        if self.request.resume_token.is_empty() {
            // Nothing has been told, and nobody was promised anything yet.
            self.told = Told::default();
        }
        self.losses.note(error).await?;
        Ok(None)
    }

    /// What follows an error: the watch goes on, begins again, or is over for good.
    fn refused(&mut self, error: Error) -> Error {
        self.stream = None;
        let last = match error.kind {
            ErrorKind::Unavailable | ErrorKind::DeadlineExceeded | ErrorKind::Overloaded => {
                return error;
            }
            ErrorKind::OutOfRange if self.begun_again < BEGUN_AGAIN_MAX => {
                self.begin_again();
                return error;
            }
            ErrorKind::OutOfRange => Error::overloaded(format!(
                "the watch began again {BEGUN_AGAIN_MAX} times and was lost each time: {}",
                error.context
            )),
            _ => error,
        };
        self.over = Some(last.clone());
        last
    }

    /// The next stream tells what lives, and goes on from there.
    fn begin_again(&mut self) {
        self.begun_again += 1;
        self.anew = true;
        self.stale_since = None;
        self.told = Told::default();
        self.request.resume_token = Bytes::new();
        self.request.with_current = true;
    }

    async fn open(&self) -> Result<Streaming<WatchEvent>> {
        // Without the attempt's deadline, which would end the stream.
        let send = async |channel, message: Request<WatchRequest>| {
            cache_service(channel).watch(message.into_inner()).await
        };
        let request = self.request.clone();
        self.client.call(Effect::Read, request, send).await
    }
}

/// What was told since the last checkpoint.
#[derive(Debug, Default)]
struct Told {
    /// In the stream in use.
    events: HashSet<u128>,
    /// In streams that were lost, and not repeated yet. The first checkpoint of a resumed stream
    /// may be from before them.
    to_come_again: HashSet<u128>,
    /// The greatest counter by partition.
    upto: HashMap<u32, u64>,
}

impl Told {
    /// Whether the event is news.
    fn tell(&mut self, event: &WatchEvent) -> Result<bool> {
        // Entries that lived before the watch have no counter; they come once.
        if event.counter == 0 {
            return Ok(true);
        }
        let digest = digest(event);
        if self.to_come_again.remove(&digest) {
            self.events.insert(digest);
            return Ok(false);
        }
        if self.events.len() + self.to_come_again.len() >= UNCONFIRMED_MAX {
            return Err(Error::new(
                ErrorKind::Internal,
                format!("{UNCONFIRMED_MAX} events came without a checkpoint"),
            ));
        }
        if !self.events.insert(digest) {
            return Ok(false);
        }
        let upto = self.upto.entry(event.partition).or_insert(event.counter);
        if event.counter < *upto {
            return Err(Error::new(
                ErrorKind::OutOfRange,
                "events were told that are not in the history of the cluster any more",
            ));
        }
        *upto = event.counter;
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

fn digest(event: &WatchEvent) -> u128 {
    let mut hash = Xxh3::new();
    hash.update(&event.partition.to_le_bytes());
    hash.update(&event.counter.to_le_bytes());
    hash.update(&event.r#type.to_le_bytes());
    if let Some(entry) = &event.entry {
        hash.update(&entry.version.to_le_bytes());
        hash.update(&entry.key);
    }
    hash.digest128()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rpc::proto::Entry;

    fn event(partition: u32, counter: u64, key: &'static str) -> WatchEvent {
        WatchEvent {
            r#type: Type::Updated.into(),
            entry: Some(Entry {
                key: key.into(),
                version: 7,
                ..Entry::default()
            }),
            partition,
            counter,
            ..WatchEvent::default()
        }
    }

    #[test]
    fn what_comes_again_is_told_once() {
        let mut told = Told::default();
        for again in [true, false] {
            for (counter, key) in [(4, "a"), (5, "b"), (5, "c"), (6, "a")] {
                assert_eq!(told.tell(&event(1, counter, key)), Ok(again), "{key}");
            }
        }
        assert_eq!(told.tell(&event(2, 1, "d")), Ok(true));
        assert_eq!(told.tell(&event(1, 7, "a")), Ok(true));
        told.confirm();
        assert_eq!(told.tell(&event(1, 8, "a")), Ok(true));
    }

    #[test]
    fn a_checkpoint_before_the_repetition_forgets_nothing() {
        let mut told = Told::default();
        for counter in [4, 5] {
            assert_eq!(told.tell(&event(1, counter, "a")), Ok(true));
        }
        told.resume();
        // The first word of a resumed stream: where it begins.
        told.confirm();
        for (counter, news) in [(4, false), (5, false), (6, true)] {
            assert_eq!(told.tell(&event(1, counter, "a")), Ok(news), "{counter}");
        }
        told.confirm();
        assert!(told.events.is_empty() && told.to_come_again.is_empty());
    }

    #[test]
    fn another_history_is_out_of_range() {
        let mut told = Told::default();
        assert_eq!(told.tell(&event(1, 4, "a")), Ok(true));
        assert_eq!(told.tell(&event(1, 5, "b")), Ok(true));
        let error = told.tell(&event(1, 4, "c")).expect_err("not told before");
        assert_eq!(error.kind, ErrorKind::OutOfRange);
    }

    #[test]
    fn current_entries_are_not_remembered() {
        let mut told = Told::default();
        assert_eq!(told.tell(&event(1, 0, "a")), Ok(true));
        assert_eq!(told.events.len(), 0);
    }
}
