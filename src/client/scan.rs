//! Scans: the entries of a cache, one after another.

use super::listing::{Listing, Paged};
use super::{Client, cache_service};
use crate::error::Result;
use crate::rpc::proto::{ScanRequest, ScanResponse};
use bytes::Bytes;
use tonic::transport::Channel;
use tonic::{Response, Status, Streaming};

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
pub struct Scan(Listing<ScanRequest>);

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
        Scan(Listing::new(self.clone(), request))
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
        self.0.next().await
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
        &self.0.request.cursor
    }
}

impl Paged for ScanRequest {
    type Item = ScanResponse;

    fn cursor_of(item: &ScanResponse) -> &Bytes {
        &item.cursor
    }

    fn place_mut(&mut self) -> (&mut Bytes, &mut u64) {
        (&mut self.cursor, &mut self.limit)
    }

    async fn open(self, channel: Channel) -> Result<Response<Streaming<ScanResponse>>, Status> {
        cache_service(channel).scan(self).await
    }
}
