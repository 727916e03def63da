//! Watching a cache: its events as a stream that resumes by itself where the connection is lost.
//! Where it cannot, it says so once, and begins again with current entries. See `watcher.rs`.

use super::watcher::{Told, Watched, Watcher};
use super::{Client, cache_service};
use crate::error::Result;
use crate::rpc::proto::watch_event::Type;
use crate::rpc::proto::{WatchEvent, WatchRequest};
use bytes::Bytes;
use tonic::transport::Channel;
use tonic::{Response, Status, Streaming};
use xxhash_rust::xxh3::Xxh3;

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
pub struct Watch(Watcher<WatchRequest>);

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
        Ok(Watch(Watcher::begin(self.clone(), request).await?))
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
        self.0.next().await
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
        self.0.resume_token()
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
        self.0.resumed()
    }
}

impl Watched for WatchRequest {
    type Event = WatchEvent;

    fn token(&self) -> &Bytes {
        &self.resume_token
    }

    fn token_mut(&mut self) -> &mut Bytes {
        &mut self.resume_token
    }

    fn tells_current(&self) -> bool {
        self.with_current && self.resume_token.is_empty()
    }

    fn tell_current(&mut self, wanted: bool) -> bool {
        self.with_current = wanted;
        wanted
    }

    fn checkpoint(event: &WatchEvent) -> Option<&Bytes> {
        let is_one = event.r#type() == Type::Checkpoint;
        is_one.then_some(&event.resume_token)
    }

    /// Entries that lived before the watch have no counter; they come once.
    fn told(event: &WatchEvent) -> Option<Told> {
        (event.counter > 0).then(|| Told {
            digest: digest(event),
            place: Some((event.partition, event.counter)),
        })
    }

    async fn open(self, channel: Channel) -> Result<Response<Streaming<WatchEvent>>, Status> {
        cache_service(channel).watch(self).await
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
