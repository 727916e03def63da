//! Calls on keys and values.

use super::retry::Effect;
use super::{Client, cache_service, request_id};
use crate::error::Result;
use crate::rpc::proto::{
    ClearRequest, Entry, GetRequest, ModifyRequest, ModifyResponse, PutRequest, PutResponse,
    RemoveRequest, RemoveResponse, SizeRequest, TouchRequest, TouchResponse,
};

/// Gives a request an id where it has none.
pub(super) fn identified(id: &mut bytes::Bytes) -> Result<()> {
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
    /// As any call: see [`ErrorKind`](crate::error::ErrorKind).
    ///
    /// # Example
    ///
    /// ```no_run
    /// # async fn example(client: embergrid::client::Client) -> embergrid::error::Result<()> {
    /// if let Some(entry) = client.get("sessions", "TGT-1").await? {
    ///     println!("{:?} until {:?}", entry.value, entry.expires_at);
    /// }
    /// # Ok(())
    /// # }
    /// ```
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
    /// As any call: see [`ErrorKind`](crate::error::ErrorKind).
    ///
    /// # Example
    ///
    /// ```no_run
    /// # async fn example(client: embergrid::client::Client) -> embergrid::error::Result<()> {
    /// use embergrid::client::messages::{Expiry, GetRequest};
    ///
    /// // Read it, and leave its expiry as it is, but count this as an access.
    /// let entry = client.get_as(GetRequest {
    ///     cache: "sessions".into(),
    ///     key: "TGT-1".into(),
    ///     touch: Some(Expiry { keep: true, ..Expiry::default() }),
    ///     ..GetRequest::default()
    /// }).await?;
    /// # Ok(())
    /// # }
    /// ```
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
    ///
    /// # Example
    ///
    /// ```no_run
    /// # async fn example(client: embergrid::client::Client) -> embergrid::error::Result<()> {
    /// use embergrid::client::messages::{Condition, PutRequest, condition};
    ///
    /// // Only where nobody has it yet.
    /// let reply = client.put(PutRequest {
    ///     cache: "sessions".into(),
    ///     key: "TGT-1".into(),
    ///     value: "alice".into(),
    ///     condition: Some(Condition { condition: Some(condition::Condition::Absent(true)) }),
    ///     ..PutRequest::default()
    /// }).await?;
    /// if !reply.applied {
    ///     println!("somebody was first");
    /// }
    /// # Ok(())
    /// # }
    /// ```
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
    ///
    /// # Example
    ///
    /// ```no_run
    /// # async fn example(client: embergrid::client::Client) -> embergrid::error::Result<()> {
    /// use embergrid::client::messages::RemoveRequest;
    ///
    /// // Take: of all callers, one gets the ticket.
    /// let reply = client.remove(RemoveRequest {
    ///     cache: "service-tickets".into(),
    ///     key: "ST-1".into(),
    ///     return_previous: true,
    ///     ..RemoveRequest::default()
    /// }).await?;
    /// if let Some(ticket) = reply.previous.filter(|_| reply.applied) {
    ///     println!("the ticket is ours: {:?}", ticket.value);
    /// }
    /// # Ok(())
    /// # }
    /// ```
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
    ///
    /// # Example
    ///
    /// ```no_run
    /// # async fn example(client: embergrid::client::Client) -> embergrid::error::Result<()> {
    /// use embergrid::client::messages::{Expiry, TouchRequest};
    ///
    /// let reply = client.touch(TouchRequest {
    ///     cache: "sessions".into(),
    ///     key: "TGT-1".into(),
    ///     expiry: Some(Expiry {
    ///         time_to_live: Some(prost_types::Duration { seconds: 3_600, nanos: 0 }),
    ///         ..Expiry::default()
    ///     }),
    ///     ..TouchRequest::default()
    /// }).await?;
    /// assert!(reply.applied, "the session is over");
    /// # Ok(())
    /// # }
    /// ```
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
    ///
    /// # Example
    ///
    /// ```no_run
    /// # async fn example(client: embergrid::client::Client) -> embergrid::error::Result<()> {
    /// use embergrid::client::messages::modify_request::{Change, Increment};
    /// use embergrid::client::messages::ModifyRequest;
    ///
    /// let reply = client.modify(ModifyRequest {
    ///     cache: "counters".into(),
    ///     key: "logins".into(),
    ///     change: Some(Change::Increment(Increment {
    ///         delta: 1,
    ///         initial: Some(1),
    ///         ..Increment::default()
    ///     })),
    ///     ..ModifyRequest::default()
    /// }).await?;
    /// println!("login number {:?}", reply.value);
    /// # Ok(())
    /// # }
    /// ```
    pub async fn modify(&self, mut request: ModifyRequest) -> Result<ModifyResponse> {
        identified(&mut request.request_id)?;
        let send = async |channel, message| cache_service(channel).modify(message).await;
        self.single(Effect::Write, request, send).await
    }

    /// Counts the entries of a cache.
    ///
    /// # Errors
    ///
    /// As any call. Nothing is estimated: a partition that does not answer fails the call.
    ///
    /// # Example
    ///
    /// ```no_run
    /// # async fn example(client: embergrid::client::Client) -> embergrid::error::Result<()> {
    /// use embergrid::client::messages::SizeRequest;
    ///
    /// let sessions = client.size(SizeRequest {
    ///     cache: "sessions".into(),
    ///     ..SizeRequest::default()
    /// }).await?;
    /// println!("{sessions} users are signed on");
    /// # Ok(())
    /// # }
    /// ```
    pub async fn size(&self, request: SizeRequest) -> Result<u64> {
        let send = async |channel, message| cache_service(channel).size(message).await;
        Ok(self.call(Effect::Read, request, send).await?.size)
    }

    /// Removes all entries of a cache, or the keys that are named; how many there were.
    ///
    /// # Errors
    ///
    /// As any call; UNKNOWN where some or all may have been removed.
    ///
    /// # Example
    ///
    /// ```no_run
    /// # async fn example(client: embergrid::client::Client) -> embergrid::error::Result<()> {
    /// use embergrid::client::messages::ClearRequest;
    ///
    /// let removed = client.clear(ClearRequest {
    ///     cache: "sessions".into(),
    ///     ..ClearRequest::default()
    /// }).await?;
    /// println!("{removed} sessions ended");
    /// # Ok(())
    /// # }
    /// ```
    pub async fn clear(&self, mut request: ClearRequest) -> Result<u64> {
        identified(&mut request.request_id)?;
        let send = async |channel, message| cache_service(channel).clear(message).await;
        Ok(self.call(Effect::Write, request, send).await?.removed)
    }
}
