//! A cache of a node in the same process: for Rust programs that embed a node. A read of a key that
//! this node owns runs to its end on the calling thread; nothing of it leaves the process. What
//! another node owns is asked there, over the links between nodes; so is the primary by a backup that
//! may not answer (`read-from = primary`, or a key that is being written or is locked).

use super::handle::Handle;
use crate::error::{Error, ErrorKind, Result};
use crate::types::cache::{check_key, partition_of};
use crate::types::{
    Blob, CacheId, CacheSettings, Condition, EntryView, Expiry, KeyOperation, Operation, Reply,
    Request,
};
use std::time::{Duration, Instant};

/// How long a call may take.
const CALL_TIME_MAX: Duration = Duration::from_secs(5);

/// One cache of an embedded node; from [`Handle::cache`]. Cheap to clone.
///
/// # Example
///
/// ```no_run
/// # async fn example(node: &embergrid::Node) -> embergrid::error::Result<()> {
/// let sessions = node.handle().cache("sessions")?;
/// sessions.put(b"TGT-1", b"alice").await?;
/// if let Some(session) = sessions.get(b"TGT-1").await? {
///     println!("{:?}, version {}", session.value, session.version);
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct EmbeddedCache {
    handle: Handle,
    id: CacheId,
}

impl Handle {
    /// A cache, for use within this process.
    ///
    /// # Errors
    ///
    /// `NotFound` where this node knows no cache of the name (yet).
    ///
    /// # Example
    ///
    /// ```no_run
    /// # fn example(node: &embergrid::Node) -> embergrid::error::Result<()> {
    /// let sessions = node.handle().cache("sessions")?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn cache(&self, name: &str) -> Result<EmbeddedCache> {
        let view = self.view();
        let Some(cache) = view.cache_named(name) else {
            let text = format!("there is no cache {name:?}");
            return Err(Error::new(ErrorKind::NotFound, text));
        };
        Ok(EmbeddedCache {
            handle: self.clone(),
            id: cache.settings.id(),
        })
    }
}

impl EmbeddedCache {
    /// Reads a key; none on a miss. The value is shared with the store and not copied.
    ///
    /// # Errors
    ///
    /// As [`Handle::execute`].
    ///
    /// # Example
    ///
    /// ```no_run
    /// # use embergrid::node::EmbeddedCache;
    /// # async fn example(sessions: EmbeddedCache) -> embergrid::error::Result<()> {
    /// if let Some(entry) = sessions.get(b"TGT-1").await? {
    ///     println!("{} bytes", entry.value.len());
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub async fn get(&self, key: &[u8]) -> Result<Option<EntryView>> {
        check_key(key)?;
        if let Some(entry) = self.handle.glance_at_key(self.id, key, Instant::now()) {
            return Ok(entry);
        }
        let operation = KeyOperation::Get {
            touch: None,
            omit_value: false,
        };
        match self.execute(key, operation).await? {
            Reply::Got { entry } => Ok(entry),
            _ => Err(mismatch()),
        }
    }

    /// Stores a key with the cache's expiry.
    ///
    /// # Errors
    ///
    /// As [`Handle::execute`].
    ///
    /// # Example
    ///
    /// ```no_run
    /// # use embergrid::node::EmbeddedCache;
    /// # async fn example(sessions: EmbeddedCache) -> embergrid::error::Result<()> {
    /// sessions.put(b"TGT-1", b"alice").await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn put(&self, key: &[u8], value: &[u8]) -> Result<()> {
        let operation = KeyOperation::Put {
            value: Blob::from(value),
            flags: 0,
            expiry: Expiry::Default,
            condition: Condition::Any,
            return_previous: false,
        };
        self.execute(key, operation).await.map(drop)
    }

    /// Removes a key and gets what was removed: one caller gets it, cluster-wide.
    ///
    /// # Errors
    ///
    /// As [`Handle::execute`].
    ///
    /// # Example
    ///
    /// ```no_run
    /// # use embergrid::node::EmbeddedCache;
    /// # async fn example(sessions: EmbeddedCache) -> embergrid::error::Result<()> {
    /// if sessions.take(b"ST-1").await?.is_none() {
    ///     println!("somebody else has it");
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub async fn take(&self, key: &[u8]) -> Result<Option<EntryView>> {
        let operation = KeyOperation::Remove {
            condition: Condition::Any,
            return_previous: true,
        };
        match self.execute(key, operation).await? {
            Reply::Removed { previous, .. } => Ok(previous),
            _ => Err(mismatch()),
        }
    }

    /// Any operation on a key.
    ///
    /// # Errors
    ///
    /// As [`Handle::execute`].
    ///
    /// # Example
    ///
    /// ```no_run
    /// # use embergrid::node::EmbeddedCache;
    /// # async fn example(sessions: EmbeddedCache) -> embergrid::error::Result<()> {
    /// use embergrid::types::{Expiry, KeyOperation, Reply};
    ///
    /// let touch = KeyOperation::Touch { expiry: Expiry::Default };
    /// let reply = sessions.execute(b"TGT-1", touch).await?;
    /// println!("lives: {}", matches!(reply, Reply::Touched { applied: true }));
    /// # Ok(())
    /// # }
    /// ```
    pub async fn execute(&self, key: &[u8], operation: KeyOperation) -> Result<Reply> {
        // Under its name there may be another cache by now, with other settings.
        let partition = match self.handle.look_at_view().caches.get(&self.id) {
            Some(cache) => {
                check_value(&operation, &cache.settings)?;
                partition_of(key, cache.settings.partitions)
            }
            None => return Err(Error::new(ErrorKind::NotFound, "the cache does not exist")),
        };
        let request = Request {
            cache: self.id,
            partition,
            operation: Operation::Key {
                key: Blob::from(key),
                operation,
            },
            request_id: None,
        };
        let deadline = Instant::now() + CALL_TIME_MAX;
        self.handle.execute(request, deadline).await
    }
}

/// Refuses what the links between nodes would not carry either.
fn check_value(operation: &KeyOperation, settings: &CacheSettings) -> Result<()> {
    match operation {
        KeyOperation::Put { value, .. } => settings.check_value(value),
        _ => Ok(()),
    }
}

fn mismatch() -> Error {
    Error::new(ErrorKind::Internal, "the answer belongs to another call")
}
