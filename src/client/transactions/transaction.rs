//! The calls within a transaction.

use super::super::batch::{Batch, complete};
use super::super::cache_service;
use super::run::{Run, Within};
use crate::error::Result;
use crate::rpc::proto::{
    Entry, GetManyRequest, GetRequest, ModifyRequest, ModifyResponse, PutManyRequest, PutRequest,
    PutResponse, RemoveManyRequest, RemoveRequest, RemoveResponse, TouchRequest, TouchResponse,
};
use std::sync::Arc;

/// A transaction, as the closure of [`Client::transaction`](super::Client::transaction) has it.
///
/// It begins with its first call, at an owner of the key of that. Calls that come together are
/// carried out one after the other. Those of its clones belong to it too, and fail once it has ended.
///
/// An error of a call is either the caller's to mend (a cache that is ATOMIC, too long a value, too
/// many keys): the transaction is then what it was before. Or it ends the run (a conflict, a node
/// that is gone): all further calls fail with the same error. Return it, and the closure is run again
/// where that may help. No call says that it may have been applied: nothing is before the commit.
///
/// Requests carry neither `transaction` nor `request_id`.
///
/// # Example
///
/// ```no_run
/// # async fn example(client: embergrid::client::Client) -> embergrid::error::Result<()> {
/// use embergrid::client::TransactionOptions;
/// use embergrid::client::messages::PutRequest;
/// use embergrid::error::Error;
///
/// // Swaps two values.
/// client.transaction(TransactionOptions::default(), async |within| {
///     let (one, other) = (within.get("c", "one").await?, within.get("c", "other").await?);
///     for (key, entry) in [("one", other), ("other", one)] {
///         let value = entry.map(|entry| entry.value).unwrap_or_default();
///         let (cache, key) = ("c".into(), key.into());
///         within.put(PutRequest { cache, key, value, ..PutRequest::default() }).await?;
///     }
///     Ok::<_, Error>(())
/// }).await
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Transaction {
    run: Arc<Run>,
}

impl Transaction {
    pub(super) fn of(run: Arc<Run>) -> Self {
        Self { run }
    }

    /// Reads a key; none on a miss. What the transaction has written itself is seen.
    ///
    /// # Errors
    ///
    /// As any call: see [`Transaction`].
    ///
    /// # Example
    ///
    /// ```no_run
    /// # async fn example(within: embergrid::client::Transaction) -> embergrid::error::Result<()> {
    /// if let Some(entry) = within.get("accounts", "alice").await? {
    ///     println!("{:?}", entry.value);
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

    /// Reads a key as the request says; none on a miss. `touch` sets how long the entry lives, at the commit.
    ///
    /// # Errors
    ///
    /// As any call: see [`Transaction`].
    ///
    /// # Example
    ///
    /// ```no_run
    /// # async fn example(within: embergrid::client::Transaction) -> embergrid::error::Result<()> {
    /// use embergrid::client::messages::GetRequest;
    ///
    /// // Does it live? Its value is not needed.
    /// let found = within.get_as(GetRequest {
    ///     cache: "accounts".into(),
    ///     key: "alice".into(),
    ///     omit_value: true,
    ///     ..GetRequest::default()
    /// }).await?;
    /// println!("{}", found.is_some());
    /// # Ok(())
    /// # }
    /// ```
    pub async fn get_as(&self, request: GetRequest) -> Result<Option<Entry>> {
        let send = async |channel, message| cache_service(channel).get(message).await;
        Ok(self.run.operate(request, send).await?.entry)
    }

    /// Stores a key; others see it once it is committed.
    ///
    /// # Errors
    ///
    /// As any call: see [`Transaction`].
    ///
    /// # Example
    ///
    /// ```no_run
    /// # async fn example(within: embergrid::client::Transaction) -> embergrid::error::Result<()> {
    /// use embergrid::client::messages::{Condition, PutRequest, condition};
    ///
    /// // Only where there is none yet: what the transaction has written itself counts.
    /// let reply = within.put(PutRequest {
    ///     cache: "accounts".into(),
    ///     key: "carol".into(),
    ///     value: "0".into(),
    ///     condition: Some(Condition { condition: Some(condition::Condition::Absent(true)) }),
    ///     ..PutRequest::default()
    /// }).await?;
    /// println!("a new account: {}", reply.applied);
    /// # Ok(())
    /// # }
    /// ```
    pub async fn put(&self, request: PutRequest) -> Result<PutResponse> {
        let send = async |channel, message| cache_service(channel).put(message).await;
        self.run.operate(request, send).await
    }

    /// Removes a key; others see that once it is committed.
    ///
    /// # Errors
    ///
    /// As any call: see [`Transaction`].
    ///
    /// # Example
    ///
    /// ```no_run
    /// # async fn example(within: embergrid::client::Transaction) -> embergrid::error::Result<()> {
    /// use embergrid::client::messages::{PutRequest, RemoveRequest};
    ///
    /// // Moves an entry to another cache: it is in one of them at any moment.
    /// let taken = within.remove(RemoveRequest {
    ///     cache: "waiting".into(),
    ///     key: "job-1".into(),
    ///     return_previous: true,
    ///     ..RemoveRequest::default()
    /// }).await?;
    /// if let Some(job) = taken.previous {
    ///     within.put(PutRequest {
    ///         cache: "running".into(),
    ///         key: "job-1".into(),
    ///         value: job.value,
    ///         ..PutRequest::default()
    ///     }).await?;
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub async fn remove(&self, request: RemoveRequest) -> Result<RemoveResponse> {
        let send = async |channel, message| cache_service(channel).remove(message).await;
        self.run.operate(request, send).await
    }

    /// Sets how long a key lives, counted from the commit on.
    ///
    /// # Errors
    ///
    /// As any call: see [`Transaction`].
    ///
    /// # Example
    ///
    /// ```no_run
    /// # async fn example(within: embergrid::client::Transaction) -> embergrid::error::Result<()> {
    /// use embergrid::client::messages::{Expiry, TouchRequest};
    ///
    /// let reply = within.touch(TouchRequest {
    ///     cache: "running".into(),
    ///     key: "job-1".into(),
    ///     expiry: Some(Expiry {
    ///         time_to_live: Some(prost_types::Duration { seconds: 60, nanos: 0 }),
    ///         ..Expiry::default()
    ///     }),
    ///     ..TouchRequest::default()
    /// }).await?;
    /// println!("it lives: {}", reply.applied);
    /// # Ok(())
    /// # }
    /// ```
    pub async fn touch(&self, request: TouchRequest) -> Result<TouchResponse> {
        let send = async |channel, message| cache_service(channel).touch(message).await;
        self.run.operate(request, send).await
    }

    /// Changes the value of a key in place; others see that once it is committed.
    ///
    /// # Errors
    ///
    /// As any call: see [`Transaction`].
    ///
    /// # Example
    ///
    /// ```no_run
    /// # async fn example(within: embergrid::client::Transaction) -> embergrid::error::Result<()> {
    /// use embergrid::client::messages::ModifyRequest;
    /// use embergrid::client::messages::modify_request::{Change, Increment};
    ///
    /// let reply = within.modify(ModifyRequest {
    ///     cache: "accounts".into(),
    ///     key: "alice".into(),
    ///     change: Some(Change::Increment(Increment { delta: -10, ..Increment::default() })),
    ///     ..ModifyRequest::default()
    /// }).await?;
    /// println!("{:?} left", reply.value);
    /// # Ok(())
    /// # }
    /// ```
    pub async fn modify(&self, request: ModifyRequest) -> Result<ModifyResponse> {
        let send = async |channel, message| cache_service(channel).modify(message).await;
        self.run.operate(request, send).await
    }

    /// Reads several keys in one round trip: for each, in the order of the request, its entry, or none on a miss.
    ///
    /// # Errors
    ///
    /// As any call: see [`Transaction`].
    ///
    /// # Example
    ///
    /// ```no_run
    /// # async fn example(within: embergrid::client::Transaction) -> embergrid::error::Result<()> {
    /// use embergrid::client::messages::GetManyRequest;
    ///
    /// let read = within.get_many(GetManyRequest {
    ///     cache: "accounts".into(),
    ///     keys: vec!["alice".into(), "bob".into()],
    ///     ..GetManyRequest::default()
    /// }).await?;
    /// for entry in read {
    ///     println!("{:?}", entry.map(|entry| entry.value));
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub async fn get_many(&self, request: GetManyRequest) -> Result<Vec<Option<Entry>>> {
        self.many(request).await
    }

    /// Stores several keys in one round trip, each under its own condition.
    ///
    /// # Errors
    ///
    /// As any call: see [`Transaction`].
    ///
    /// # Example
    ///
    /// ```no_run
    /// # async fn example(within: embergrid::client::Transaction) -> embergrid::error::Result<()> {
    /// use embergrid::client::messages::{PutManyRequest, put_many_request::Put};
    ///
    /// let put = |key: &'static str, value: &'static str| Put {
    ///     key: key.into(),
    ///     value: value.into(),
    ///     ..Put::default()
    /// };
    /// within.put_many(PutManyRequest {
    ///     cache: "accounts".into(),
    ///     entries: vec![put("alice", "90"), put("bob", "110")],
    ///     ..PutManyRequest::default()
    /// }).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn put_many(&self, request: PutManyRequest) -> Result<Vec<PutResponse>> {
        self.many(request).await
    }

    /// Removes several keys in one round trip, each under its own condition.
    ///
    /// # Errors
    ///
    /// As any call: see [`Transaction`].
    ///
    /// # Example
    ///
    /// ```no_run
    /// # async fn example(within: embergrid::client::Transaction) -> embergrid::error::Result<()> {
    /// use embergrid::client::messages::{RemoveManyRequest, remove_many_request::Remove};
    ///
    /// let keys = ["alice", "bob"].map(|key| Remove { key: key.into(), condition: None });
    /// within.remove_many(RemoveManyRequest {
    ///     cache: "accounts".into(),
    ///     keys: keys.into(),
    ///     ..RemoveManyRequest::default()
    /// }).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn remove_many(&self, request: RemoveManyRequest) -> Result<Vec<RemoveResponse>> {
        self.many(request).await
    }

    async fn many<B: Batch + Within>(&self, mut request: B) -> Result<Vec<B::Answer>> {
        let keys = request.keys().len();
        let reply = self.run.operate(request, B::send).await?;
        // All of them are carried out, or none.
        complete(B::answers(reply), keys)?.into_iter().collect()
    }
}
