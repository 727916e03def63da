//! Several keys together: [`Client::transaction`] runs a closure until what it did can be committed,
//! and [`Client::execute`] carries conditions and two lists of operations out in one round trip.
//!
//! | where | what |
//! |---|---|
//! | `mod.rs` | running a closure, and running it again |
//! | `transaction.rs` | the calls within it |
//! | `run.rs` | one run, from its beginning to its end; what is said of a commit |
//!
//! Nothing of a run is visible before its commit, so whatever goes wrong until then is mended by
//! rolling it back and running it again: a lost connection, a node that is gone, a conflict. The
//! commit alone can end in doubt. It is asked for again at the node that keeps the transaction, which
//! remembers its end; where that cannot be learned, the outcome is unknown, and nothing is run again.

mod run;
mod transaction;

pub use crate::types::transaction::{Concurrency, Isolation};
pub use transaction::Transaction;

use super::cache::identified;
use super::nodes::TIME_MAX;
use super::retry::{Effect, backoff, jitter};
use super::routes::{Keyed, Place};
use super::{Client, transaction_service};
use crate::error::{Error, ErrorKind, Result};
use crate::rpc::proto::execute_request::operation::Operation as Asked;
use crate::rpc::proto::{ExecuteRequest, ExecuteResponse};
use run::{Over, Run, RunGuard};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How a transaction goes about its keys, and what bounds it.
///
/// # Example
///
/// ```
/// use embergrid::client::{Concurrency, Isolation, TransactionOptions};
/// use std::time::Duration;
///
/// // Keys that hardly anybody else changes: take no locks, and look at commit.
/// let options = TransactionOptions {
///     concurrency: Concurrency::Optimistic,
///     isolation: Isolation::Serializable,
///     timeout: Duration::from_secs(5),
///     label: "nightly".into(),
///     ..TransactionOptions::default()
/// };
/// assert!(options.runs_max > 1);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TransactionOptions {
    /// When it takes its locks: at access (the default), or at commit.
    pub concurrency: Concurrency,
    /// What it is kept from seeing. Default: `RepeatableRead`.
    pub isolation: Isolation,
    /// The longest that all runs together may take until the last commit is asked for, 1 ms to
    /// 10 min. Default: 30 s. What is not over by then is rolled back, by the cluster where nobody
    /// else does.
    pub timeout: Duration,
    /// For people who look at transactions (`embergrid transactions`). At most 255 bytes; empty
    /// (the default): none.
    pub label: String,
    /// How often it is run at most. Default: 16. 0 counts as 1.
    pub runs_max: u32,
}

impl Default for TransactionOptions {
    fn default() -> Self {
        Self {
            concurrency: Concurrency::default(),
            isolation: Isolation::default(),
            timeout: Duration::from_secs(30),
            label: String::new(),
            runs_max: 16,
        }
    }
}

impl Client {
    /// Runs a closure within a transaction over keys of TRANSACTIONAL caches, and commits what it
    /// wrote: all of it at once, or nothing.
    ///
    /// The closure is run again, after a pause that grows, where the cluster says that others came
    /// first or that nothing of the run is left, within the bounds of the options. So it should do
    /// nothing that must not be done twice but by the [`Transaction`] that it is handed. Where it
    /// returns an error of its own, everything is rolled back, and the error returned. Where the
    /// transaction could not go on, its error counts for nothing, since it may have come of what was
    /// no more so: it is run again then too, and returned only by the last run.
    ///
    /// # Errors
    ///
    /// The closure's; else, by `E::from`:
    ///
    /// - `Conflict`: nothing was done, in as many runs as there may be.
    /// - [`Applied::Unknown`](crate::error::Applied::Unknown): it may have been committed or not. It is
    ///   never run again then; whoever does so must find out first.
    /// - As any call; nothing was done.
    ///
    /// # Cancel safety
    ///
    /// Where the future is dropped before the commit, all is rolled back: at once within a tokio
    /// runtime, else when its time is over. While the commit is under way, it may be committed or not.
    ///
    /// Where the closure gives a single call up before it is answered (under a timeout of its own, say),
    /// nobody knows what a commit would contain: the run is rolled back and made again, unless the closure
    /// ends with an error of its own.
    ///
    /// # Example
    ///
    /// ```no_run
    /// # async fn example(client: embergrid::client::Client) -> Result<(), embergrid::error::Error> {
    /// use embergrid::client::{Transaction, TransactionOptions};
    /// use embergrid::client::messages::PutRequest;
    /// use embergrid::error::{Applied, Error};
    ///
    /// /// A balance, as text.
    /// async fn balance(of: &'static str, within: &Transaction) -> Result<i64, Error> {
    ///     let entry = within.get("accounts", of).await?;
    ///     let text = entry.map_or_else(String::new, |entry| {
    ///         String::from_utf8_lossy(&entry.value).into_owned()
    ///     });
    ///     Ok(text.parse().unwrap_or(0))
    /// }
    ///
    /// let put = |key: &'static str, balance: i64| PutRequest {
    ///     cache: "accounts".into(),
    ///     key: key.into(),
    ///     value: balance.to_string().into(),
    ///     ..PutRequest::default()
    /// };
    /// let moved = client.transaction(TransactionOptions::default(), async |within| {
    ///     let (alice, bob) = (balance("alice", &within).await?, balance("bob", &within).await?);
    ///     if alice < 10 {
    ///         return Err(Error::invalid("alice has too little"));
    ///     }
    ///     within.put(put("alice", alice - 10)).await?;
    ///     within.put(put("bob", bob + 10)).await?;
    ///     Ok(alice - 10)
    /// }).await;
    /// match moved {
    ///     Ok(left) => println!("alice has {left} left"),
    ///     Err(error) if error.applied == Applied::Unknown => println!("perhaps moved: {error}"),
    ///     Err(error) => println!("not moved: {error}"),
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub async fn transaction<T, E, Fut>(
        &self,
        options: TransactionOptions,
        mut closure: impl FnMut(Transaction) -> Fut,
    ) -> Result<T, E>
    where
        Fut: Future<Output = Result<T, E>>,
        E: From<Error>,
    {
        let deadline = Instant::now() + options.timeout.min(TIME_MAX);
        let mut made = 0;
        loop {
            made += 1;
            let run = Arc::new(Run::new(self.clone(), &options, deadline));
            let _rolled_back_on_drop = RunGuard::of(&run);
            let closure = closure(Transaction::of(Arc::clone(&run)));
            let error = match tokio::time::timeout_at(deadline.into(), closure).await {
                Err(_) => {
                    run.roll_back().await;
                    return Err(late(options.timeout).into());
                }
                Ok(Err(own)) => match run.roll_back().await {
                    Some(Over::Again(_)) => own,
                    _ => return Err(own),
                },
                Ok(Ok(value)) => match run.commit().await {
                    Ok(()) => return Ok(value),
                    Err(Over::Again(error) | Over::Dropped(error)) => error.into(),
                    Err(Over::Failed(error)) => return Err(error.into()),
                },
            };
            let wait = backoff(made, jitter());
            if made >= options.runs_max || Instant::now() + wait >= deadline {
                return Err(error);
            }
            tokio::time::sleep(wait).await;
        }
    }

    /// A whole transaction in one round trip: conditions on entries, what to do where all of them
    /// hold, and what to do otherwise. All of one list is done, or nothing.
    ///
    /// # Errors
    ///
    /// As any call; `Conflict` where it gave way to others until its deadline: nothing was done.
    /// UNKNOWN where it may have been done or not.
    ///
    /// # Example
    ///
    /// ```no_run
    /// # async fn example(client: embergrid::client::Client) -> embergrid::error::Result<()> {
    /// use embergrid::client::messages::execute_request::{
    ///     Check, Operation, operation::Operation as Asked,
    /// };
    /// use embergrid::client::messages::{
    ///     Condition, ExecuteRequest, GetRequest, PutRequest, condition::Condition as Of,
    /// };
    ///
    /// // One of many servers is to do the work: whoever writes its name first.
    /// let reply = client.execute(ExecuteRequest {
    ///     conditions: vec![Check {
    ///         cache: "work".into(),
    ///         key: "leader".into(),
    ///         condition: Some(Condition { condition: Some(Of::Absent(true)) }),
    ///         ..Check::default()
    ///     }],
    ///     operations: vec![Operation { operation: Some(Asked::Put(PutRequest {
    ///         cache: "work".into(),
    ///         key: "leader".into(),
    ///         value: "node-1".into(),
    ///         ..PutRequest::default()
    ///     })) }],
    ///     otherwise: vec![Operation { operation: Some(Asked::Get(GetRequest {
    ///         cache: "work".into(),
    ///         key: "leader".into(),
    ///         ..GetRequest::default()
    ///     })) }],
    ///     ..ExecuteRequest::default()
    /// }).await?;
    /// if !reply.held {
    ///     println!("somebody else leads: {:?}", reply.results);
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub async fn execute(&self, mut request: ExecuteRequest) -> Result<ExecuteResponse> {
        identified(&mut request.request_id)?;
        let send = async |channel, message| transaction_service(channel).execute(message).await;
        self.call(Effect::Write, request, send).await
    }
}

impl Keyed for ExecuteRequest {
    /// At an owner of the first key, which then needs no further node where it is the only one.
    fn place(&self) -> Place<'_> {
        if let Some(check) = self.conditions.first() {
            return by(&check.cache, &check.key, &check.affinity_key);
        }
        let first = self.operations.first().or(self.otherwise.first());
        match first.and_then(|first| first.operation.as_ref()) {
            Some(Asked::Get(request)) => request.place(),
            Some(Asked::Put(request)) => request.place(),
            Some(Asked::Remove(request)) => request.place(),
            Some(Asked::Touch(request)) => request.place(),
            Some(Asked::Modify(request)) => request.place(),
            None => Place::Anywhere,
        }
    }
}

fn by<'a>(cache: &'a str, key: &'a [u8], affinity_key: &'a [u8]) -> Place<'a> {
    let chosen_by = if affinity_key.is_empty() {
        key
    } else {
        affinity_key
    };
    Place::Key(cache, chosen_by)
}

fn late(timeout: Duration) -> Error {
    let context = format!("the transaction was not over within {timeout:?}, and was rolled back");
    Error::new(ErrorKind::DeadlineExceeded, context).not_applied()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rpc::proto::execute_request::{Check, Operation};
    use crate::rpc::proto::{GetRequest, PutRequest};

    #[test]
    fn a_call_goes_to_an_owner_of_its_first_key() {
        let operation = |operation| Operation {
            operation: Some(operation),
        };
        let mut request = ExecuteRequest::default();
        assert_eq!(request.place(), Place::Anywhere);
        request.otherwise.push(operation(Asked::Get(GetRequest {
            cache: "c".into(),
            key: "last".into(),
            ..GetRequest::default()
        })));
        assert_eq!(request.place(), Place::Key("c", b"last"));
        request.operations.push(operation(Asked::Put(PutRequest {
            cache: "c".into(),
            key: "second".into(),
            affinity_key: "together".into(),
            ..PutRequest::default()
        })));
        assert_eq!(request.place(), Place::Key("c", b"together"));
        request.conditions.push(Check {
            cache: "d".into(),
            key: "first".into(),
            ..Check::default()
        });
        assert_eq!(request.place(), Place::Key("d", b"first"));
    }
}
