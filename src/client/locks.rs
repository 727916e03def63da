//! Locks that have a name: taken, renewed, let go.

use super::cache::identified;
use super::retry::Effect;
use super::{Client, transaction_service};
use crate::error::{Error, Result};
use crate::rpc::proto::{LockRequest, RenewRequest, UnlockRequest};
use crate::types::lock::WAIT_MAX;
use std::time::{Duration, Instant};

/// A lock that is held, until its lease is over. Dropping it lets nothing go: nobody can wait for
/// the cluster there.
///
/// # Example
///
/// ```no_run
/// # async fn example(client: embergrid::client::Client) -> embergrid::error::Result<()> {
/// use std::time::Duration;
///
/// let (wait, lease) = (Duration::from_secs(5), Duration::from_secs(30));
/// if let Some(mut lock) = client.lock("nightly-report", wait, lease).await? {
///     println!("the first half, under token {}", lock.token());
///     if lock.renew(lease).await? {
///         println!("the second half");
///     }
///     lock.unlock().await?;
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Lock {
    client: Client,
    name: String,
    token: u64,
    until: Instant,
}

impl Client {
    /// Takes a lock, or waits for it in the order of arrival, up to 50 s; none where others held it
    /// all the time. It is free again when its lease (100 ms to 1 h) is over, whatever became of
    /// its holder.
    ///
    /// A holder may stand still and come back behind the end of its lease, without knowing it. So
    /// hand [`Lock::token`] to whatever the lock protects, and have it refuse a token below the
    /// greatest that it has seen.
    ///
    /// # Errors
    ///
    /// OVERLOADED where too many wait for it; an error whose `applied` is
    /// [`Unknown`](crate::error::Applied::Unknown) where it may have been taken: then it is free
    /// again behind the lease.
    ///
    /// # Example
    ///
    /// ```no_run
    /// # async fn example(client: embergrid::client::Client) -> embergrid::error::Result<()> {
    /// use std::time::Duration;
    ///
    /// let (wait, lease) = (Duration::from_secs(5), Duration::from_secs(30));
    /// match client.lock("nightly-report", wait, lease).await? {
    ///     Some(lock) => {
    ///         println!("write the report under token {}", lock.token());
    ///         lock.unlock().await?;
    ///     }
    ///     None => println!("another server writes it"),
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub async fn lock(&self, name: &str, wait: Duration, lease: Duration) -> Result<Option<Lock>> {
        let mut request = LockRequest {
            name: name.to_owned(),
            wait: Some(of(wait)?),
            lease: Some(of(lease)?),
            ..LockRequest::default()
        };
        identified(&mut request.request_id)?;
        // What is longer is refused by the node that is asked.
        let wait = wait.min(Duration::from_micros(WAIT_MAX));
        let send = async |channel, message| transaction_service(channel).lock(message).await;
        // It may take that much longer.
        let mut options = self.connections.options;
        options.timeout += wait;
        options.attempt_timeout += wait;
        let call = self.call_with(options, Effect::Write, request, send);
        let reply = call.await?.reply;
        let until = Instant::now() + lease;
        Ok(reply.acquired.then(|| Lock {
            client: self.clone(),
            name: name.to_owned(),
            token: reply.token,
            until,
        }))
    }
}

impl Lock {
    /// Greater than that of every earlier holder of the name: whoever has seen a greater one refuses
    /// what comes with this one.
    ///
    /// # Example
    ///
    /// ```no_run
    /// # fn example(lock: &embergrid::client::Lock, greatest: &mut u64) -> bool {
    /// // Where the lock protects something: late words of an earlier holder are refused.
    /// *greatest = lock.token().max(*greatest);
    /// lock.token() == *greatest
    /// # }
    /// ```
    pub fn token(&self) -> u64 {
        self.token
    }

    /// By this machine's clock: from here on the lease has surely ended, unless it was renewed. It was
    /// granted before the answer came, so it ends somewhat earlier: renew it well before.
    ///
    /// # Example
    ///
    /// ```no_run
    /// # fn example(lock: &embergrid::client::Lock) {
    /// let left = lock.until().saturating_duration_since(std::time::Instant::now());
    /// println!("at most {left:?} are left");
    /// # }
    /// ```
    pub fn until(&self) -> Instant {
        self.until
    }

    /// Has the lease begin anew, with this length. False: it is over, and another may hold the lock.
    ///
    /// # Errors
    ///
    /// As of any call; where the outcome is unknown, the lease ends when it would have at the
    /// earliest.
    ///
    /// # Example
    ///
    /// ```no_run
    /// # async fn example(mut lock: embergrid::client::Lock) -> embergrid::error::Result<()> {
    /// use std::time::Duration;
    ///
    /// while lock.renew(Duration::from_secs(30)).await? {
    ///     println!("another piece of the work");
    /// }
    /// println!("too late: stop");
    /// # Ok(())
    /// # }
    /// ```
    pub async fn renew(&mut self, lease: Duration) -> Result<bool> {
        let mut request = RenewRequest {
            name: self.name.clone(),
            token: self.token,
            lease: Some(of(lease)?),
            ..RenewRequest::default()
        };
        identified(&mut request.request_id)?;
        let send = async |channel, message| transaction_service(channel).renew(message).await;
        let reply = self.client.call(Effect::Write, request, send).await?;
        if reply.renewed {
            self.until = Instant::now() + lease;
        }
        Ok(reply.renewed)
    }

    /// Lets it go. False: it was not held any more.
    ///
    /// # Errors
    ///
    /// As of any call; where the outcome is unknown, it is free when its lease is over at the latest.
    ///
    /// # Example
    ///
    /// ```no_run
    /// # async fn example(lock: embergrid::client::Lock) -> embergrid::error::Result<()> {
    /// if !lock.unlock().await? {
    ///     println!("the work took longer than the lease: another may have done it as well");
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub async fn unlock(self) -> Result<bool> {
        let mut request = UnlockRequest {
            name: self.name.clone(),
            token: self.token,
            ..UnlockRequest::default()
        };
        identified(&mut request.request_id)?;
        let send = async |channel, message| transaction_service(channel).unlock(message).await;
        let reply = self.client.call(Effect::Write, request, send).await?;
        Ok(reply.unlocked)
    }
}

fn of(span: Duration) -> Result<prost_types::Duration> {
    prost_types::Duration::try_from(span)
        .map_err(|_| Error::invalid(format!("{span:?} is too long")))
}
