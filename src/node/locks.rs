//! Named locks as front ends see them. What becomes of one is decided by the engine, in the
//! partition of its name.

use super::handle::Handle;
use crate::error::{Error, Result};
use crate::types::cache::partition_of;
use crate::types::lock::{self, Held, check_lease, check_name, check_wait};
use crate::types::{
    Blob, CacheSettings, LockOperation, Micros, Operation, Reply, Request, RequestId,
};
use std::time::{Duration, Instant};

impl Handle {
    /// Takes a lock, or waits for it: until `wait` is over or, where that is earlier, the deadline.
    /// None: others held it all the time.
    ///
    /// # Errors
    ///
    /// `InvalidArgument` for a name or a lease out of bounds; `Overloaded` where too many wait for
    /// it; and what a write may end in.
    ///
    /// # Cancel safety
    ///
    /// A lock whose future is dropped may be taken all the same, or later: its lease runs out.
    ///
    /// # Example
    ///
    /// ```no_run
    /// # async fn example(handle: embergrid::node::Handle) -> embergrid::error::Result<()> {
    /// use embergrid::types::time::SECOND;
    /// use std::time::{Duration, Instant};
    ///
    /// let (wait, deadline) = (Duration::from_secs(5), Instant::now() + Duration::from_secs(8));
    /// match handle.lock(b"nightly-report", (wait, 30 * SECOND), None, deadline).await? {
    ///     Some(held) => println!("write the report under token {}", held.token),
    ///     None => println!("another server writes it"),
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub async fn lock(
        &self,
        name: &[u8],
        (wait, lease): (Duration, Micros),
        id: Option<RequestId>,
        deadline: Instant,
    ) -> Result<Option<Held>> {
        check_name(name)?;
        check_wait(wait)?;
        let lease = check_lease(lease)?;
        let wait_end = Instant::now() + wait;
        let wanted = lock::cache(self.core.grid.quorum_of());
        let cache = self.opened(&wanted, deadline).await?;
        let spare = deadline.saturating_duration_since(wait_end).as_micros();
        let take = LockOperation::Take {
            lease,
            spare: Micros::try_from(spare).unwrap_or(Micros::MAX),
        };
        held(self.on_lock(&cache, name, take, id, deadline).await?)
    }

    /// Has the lease of a lock begin anew. None: it is not held under this token any more.
    ///
    /// # Errors
    ///
    /// As [`Handle::lock`].
    ///
    /// # Cancel safety
    ///
    /// A lock whose future is dropped may be renewed or not.
    ///
    /// # Example
    ///
    /// ```no_run
    /// # async fn example(handle: embergrid::node::Handle, token: u64) -> embergrid::error::Result<()> {
    /// use embergrid::types::time::SECOND;
    /// use std::time::{Duration, Instant};
    ///
    /// let deadline = Instant::now() + Duration::from_secs(5);
    /// let renewal = handle.renew_lock(b"nightly-report", (token, 30 * SECOND), None, deadline);
    /// if renewal.await?.is_none() {
    ///     println!("too late: stop");
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub async fn renew_lock(
        &self,
        name: &[u8],
        (token, lease): (u64, Micros),
        id: Option<RequestId>,
        deadline: Instant,
    ) -> Result<Option<Held>> {
        check_name(name)?;
        let lease = check_lease(lease)?;
        let Some(cache) = self.cache_of_locks()? else {
            return Ok(None);
        };
        let renew = LockOperation::Renew { token, lease };
        held(self.on_lock(&cache, name, renew, id, deadline).await?)
    }

    /// Lets a lock go. False: it was not held under this token any more.
    ///
    /// # Errors
    ///
    /// As [`Handle::lock`].
    ///
    /// # Cancel safety
    ///
    /// A lock whose future is dropped may be free or not.
    ///
    /// # Example
    ///
    /// ```no_run
    /// # async fn example(handle: embergrid::node::Handle, token: u64) -> embergrid::error::Result<()> {
    /// let deadline = std::time::Instant::now() + std::time::Duration::from_secs(5);
    /// if !handle.unlock(b"nightly-report", token, None, deadline).await? {
    ///     println!("the work took longer than the lease");
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub async fn unlock(
        &self,
        name: &[u8],
        token: u64,
        id: Option<RequestId>,
        deadline: Instant,
    ) -> Result<bool> {
        check_name(name)?;
        let Some(cache) = self.cache_of_locks()? else {
            return Ok(false);
        };
        let release = LockOperation::Release { token };
        match self.on_lock(&cache, name, release, id, deadline).await? {
            Reply::Removed { applied, .. } => Ok(applied),
            _ => Err(another()),
        }
    }

    /// None: nobody has ever taken a lock.
    fn cache_of_locks(&self) -> Result<Option<CacheSettings>> {
        let view = self.view();
        if view.version.number == 0 {
            return Err(Error::unavailable(
                "this node has not joined its cluster yet",
            ));
        }
        let known = view.cache_named(lock::CACHE);
        Ok(known.map(|cache| cache.settings.clone()))
    }

    async fn on_lock(
        &self,
        cache: &CacheSettings,
        name: &[u8],
        operation: LockOperation,
        request_id: Option<RequestId>,
        deadline: Instant,
    ) -> Result<Reply> {
        let request = Request {
            cache: cache.id(),
            partition: partition_of(name, cache.partitions),
            operation: Operation::Lock {
                name: Blob::from(name),
                operation,
            },
            request_id,
        };
        self.execute(request, deadline).await
    }
}

fn held(reply: Reply) -> Result<Option<Held>> {
    match reply {
        Reply::Locked { token: 0, .. } => Ok(None),
        Reply::Locked { token, expires_at } => Ok(Some(Held { token, expires_at })),
        _ => Err(another()),
    }
}

fn another() -> Error {
    Error::unknown("the node answered another question")
}
