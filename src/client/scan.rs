//! Scans: the entries of a cache as a stream that goes on behind its last cursor when the
//! connection is lost.

use super::retry::Effect;
use super::stream::{Heard, Losses, hear};
use super::{Client, cache_service};
use crate::error::Result;
use crate::rpc::proto::{ScanRequest, ScanResponse};
use bytes::Bytes;
use tonic::{Request, Streaming};

/// The entries of a cache, one after another. See [`Client::scan`].
///
/// Each key that lives throughout appears once; one that comes or goes meanwhile at most once.
/// Nothing is held here but what is on the way, however large the cache.
///
/// # Example
///
/// ```no_run
/// # async fn example(client: embergrid::client::Client) -> embergrid::error::Result<()> {
/// use embergrid::client::messages::ScanRequest;
///
/// let mut scan = client.scan(ScanRequest {
///     cache: "sessions".into(),
///     key_prefix: "TGT-".into(),
///     ..ScanRequest::default()
/// });
/// while let Some(found) = scan.next().await? {
///     println!("{:?}", found.entry);
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Scan {
    client: Client,
    /// What is still to come: its cursor and limit move with every entry.
    request: ScanRequest,
    limited: bool,
    stream: Option<Streaming<ScanResponse>>,
    losses: Losses,
    done: bool,
}

impl Client {
    /// Begins a scan; nothing is asked before the first [`Scan::next`].
    ///
    /// # Example
    ///
    /// One page of a hundred, and the page behind it:
    ///
    /// ```no_run
    /// # async fn example(client: embergrid::client::Client) -> embergrid::error::Result<()> {
    /// use embergrid::client::messages::ScanRequest;
    ///
    /// let page = ScanRequest {
    ///     cache: "sessions".into(),
    ///     limit: 100,
    ///     ..ScanRequest::default()
    /// };
    /// let mut first = client.scan(page.clone());
    /// while let Some(_entry) = first.next().await? {}
    /// let mut second = client.scan(ScanRequest {
    ///     cursor: first.cursor().clone(),
    ///     ..page
    /// });
    /// assert!(second.next().await?.is_none(), "there were no more than a hundred");
    /// # Ok(())
    /// # }
    /// ```
    pub fn scan(&self, request: ScanRequest) -> Scan {
        Scan {
            client: self.clone(),
            limited: request.limit > 0,
            request,
            stream: None,
            losses: Losses::new(self.connections.options.timeout),
            done: false,
        }
    }
}

impl Scan {
    /// The next entry with its cursor; none at the end. Where the connection is lost, the scan
    /// goes on at another node, behind the last entry.
    ///
    /// # Errors
    ///
    /// As any call. Behind UNAVAILABLE and DEADLINE_EXCEEDED it may be called again to go on.
    ///
    /// # Cancel safety
    ///
    /// No entry is lost when the future is dropped.
    ///
    /// # Example
    ///
    /// ```no_run
    /// # async fn example(mut scan: embergrid::client::Scan) -> embergrid::error::Result<()> {
    /// let mut keys = Vec::new();
    /// while let Some(found) = scan.next().await? {
    ///     keys.extend(found.entry.map(|entry| entry.key));
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub async fn next(&mut self) -> Result<Option<ScanResponse>> {
        while !self.done {
            let Some(stream) = &mut self.stream else {
                self.stream = Some(self.open().await?);
                continue;
            };
            match hear(stream, None).await {
                Heard::Message(found) => {
                    self.losses.forget();
                    self.note(&found);
                    return Ok(Some(found));
                }
                Heard::End => self.done = true,
                Heard::Lost(error) => {
                    self.stream = None;
                    self.losses.note(error).await?;
                }
                Heard::Refused(error) => {
                    self.stream = None;
                    return Err(error);
                }
            }
        }
        Ok(None)
    }

    /// Where the scan stands: behind the last entry that was told. Another scan with the same
    /// cache, prefix and partition can go on from here, also in another process. Empty before
    /// the first entry of a scan that began without one.
    ///
    /// # Example
    ///
    /// ```no_run
    /// # async fn example(mut scan: embergrid::client::Scan) -> embergrid::error::Result<()> {
    /// scan.next().await?;
    /// std::fs::write("place", scan.cursor()).expect("a file");
    /// # Ok(())
    /// # }
    /// ```
    pub fn cursor(&self) -> &Bytes {
        &self.request.cursor
    }

    fn note(&mut self, found: &ScanResponse) {
        self.request.cursor = found.cursor.clone();
        if self.limited {
            self.request.limit = self.request.limit.saturating_sub(1);
            self.done = self.request.limit == 0;
        }
    }

    async fn open(&self) -> Result<Streaming<ScanResponse>> {
        // Without the attempt's deadline, which would end the stream: what bounds it is the end of
        // the cache.
        let send = async |channel, message: Request<ScanRequest>| {
            cache_service(channel).scan(message.into_inner()).await
        };
        let request = self.request.clone();
        self.client.call(Effect::Read, request, send).await
    }
}
