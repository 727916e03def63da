//! Calls on keys and values.

use super::retry::Effect;
use super::{Client, cache_service, request_id};
use crate::error::{Error, ErrorKind, Result};
use crate::rpc::proto::{
    Entry, GetRequest, ModifyRequest, ModifyResponse, PutRequest, PutResponse, RemoveRequest,
    RemoveResponse, ScanRequest, ScanResponse, TouchRequest, TouchResponse,
};
use std::time::Instant;

/// How many entries one scan collects at most; go on from the last cursor.
const SCAN_ENTRIES_MAX: u64 = 10_000;

/// Gives a request an id where it has none.
fn identified(id: &mut bytes::Bytes) -> Result<()> {
    if id.is_empty() {
        *id = bytes::Bytes::copy_from_slice(&request_id()?);
    }
    Ok(())
}

impl Client {
    /// Reads a key; none on a miss.
    ///
    /// # Errors
    ///
    /// As any call: see [`ErrorKind`].
    pub async fn get(&self, cache: &str, key: impl Into<bytes::Bytes>) -> Result<Option<Entry>> {
        let request = GetRequest {
            cache: cache.to_owned(),
            key: key.into(),
            ..GetRequest::default()
        };
        self.get_as(request).await
    }

    /// Reads a key as the request says; none on a miss.
    ///
    /// # Errors
    ///
    /// As any call: see [`ErrorKind`].
    pub async fn get_as(&self, mut request: GetRequest) -> Result<Option<Entry>> {
        let effect = if request.touch.is_some() {
            Effect::Write
        } else {
            Effect::Read
        };
        if effect == Effect::Write {
            identified(&mut request.request_id)?;
        }
        let send = async |channel, message| cache_service(channel).get(message).await;
        Ok(self.single(effect, request, send).await?.entry)
    }

    /// Stores a key.
    ///
    /// # Errors
    ///
    /// As any call; UNKNOWN where it may have been applied or not.
    pub async fn put(&self, mut request: PutRequest) -> Result<PutResponse> {
        identified(&mut request.request_id)?;
        let send = async |channel, message| cache_service(channel).put(message).await;
        self.single(Effect::Write, request, send).await
    }

    /// Removes a key; with `return_previous` this is "take": one caller gets it, cluster-wide.
    ///
    /// # Errors
    ///
    /// As any call; UNKNOWN where it may have been applied or not.
    pub async fn remove(&self, mut request: RemoveRequest) -> Result<RemoveResponse> {
        identified(&mut request.request_id)?;
        let send = async |channel, message| cache_service(channel).remove(message).await;
        self.single(Effect::Write, request, send).await
    }

    /// Sets the expiry of a key and moves its last access.
    ///
    /// # Errors
    ///
    /// As any call; UNKNOWN where it may have been applied or not.
    pub async fn touch(&self, mut request: TouchRequest) -> Result<TouchResponse> {
        identified(&mut request.request_id)?;
        let send = async |channel, message| cache_service(channel).touch(message).await;
        self.single(Effect::Write, request, send).await
    }

    /// Changes the value of a key in place.
    ///
    /// # Errors
    ///
    /// As any call; UNKNOWN where it may have been applied or not.
    pub async fn modify(&self, mut request: ModifyRequest) -> Result<ModifyResponse> {
        identified(&mut request.request_id)?;
        let send = async |channel, message| cache_service(channel).modify(message).await;
        self.single(Effect::Write, request, send).await
    }

    /// Entries of a cache with their cursors: as many as the request limits, 10,000 at most. The
    /// cursor of the last one goes on behind it.
    ///
    /// # Errors
    ///
    /// As any call; DEADLINE_EXCEEDED where the stream did not end in time.
    pub async fn scan(&self, mut request: ScanRequest) -> Result<Vec<ScanResponse>> {
        if request.limit == 0 || request.limit > SCAN_ENTRIES_MAX {
            request.limit = SCAN_ENTRIES_MAX;
        }
        let deadline = Instant::now() + self.connections.options.timeout;
        let send = async |channel, message| cache_service(channel).scan(message).await;
        let mut stream = self.call(Effect::Read, request, send).await?;
        let collect = async {
            let mut entries = Vec::new();
            while let Some(found) = stream.message().await? {
                entries.push(found);
            }
            Ok(entries)
        };
        match tokio::time::timeout_at(deadline.into(), collect).await {
            Ok(collected) => {
                collected.map_err(|status: tonic::Status| crate::rpc::status::from_status(&status))
            }
            Err(_) => Err(Error::new(
                ErrorKind::DeadlineExceeded,
                "the scan did not end in time",
            )),
        }
    }
}
