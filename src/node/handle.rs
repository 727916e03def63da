//! The handle: all that front ends see of a node. Cheap to clone, safe to use from any thread.

use super::core::Core;
use super::outside::Life;
use super::pending::Answer;
use super::stats::Stats;
use super::watch::{WatchItem, Watcher};
use crate::engine::Grid;
use crate::error::{Error, ErrorKind, Result};
use crate::types::cache::check_key;
use crate::types::message::{ViewChange, WatchPosition};
use crate::types::transaction::{Begin, OpenTransaction};
use crate::types::{
    Blob, CacheId, CacheSettings, Entry, EntryView, Execute, KeyOperation, KeyPlace, Member,
    Monotonic, NodeId, NodeInfo, Now, Operation, Reply, Request, RequestId, TransactionId, View,
};
use std::ops::Deref;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::watch;

/// How long a call waits behind its deadline for the engine's own answer to it, which says more.
const GRACE: Duration = Duration::from_millis(50);

/// A running node, as its users see it.
///
/// # Example
///
/// ```no_run
/// # async fn example(node: &embergrid::Node) -> Result<(), Box<dyn std::error::Error>> {
/// let handle = node.handle();
/// let mut views = handle.views();
/// views.wait_for(|view| view.cache_named("sessions").is_some()).await?;
/// println!("{} is one of {}", handle.me().consistent_id, handle.view().nodes.len());
/// // Most of what a program does with a node it does with a cache of it.
/// let session = handle.cache("sessions")?.get(b"TGT-1").await?;
/// println!("{session:?} of {} entries here", handle.stats().entries);
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Handle {
    pub(super) core: Arc<Core>,
}

/// The events of one cache, from all of its partitions.
pub struct Watch {
    core: Arc<Core>,
    cache: CacheId,
    watcher: Arc<Watcher>,
    ended: bool,
}

/// An operation that was begun.
pub enum Begun {
    /// It has its answer already.
    Done(Result<Reply>),
    /// Its answer is to come.
    Waiting(Waiting),
}

/// An answer to come.
pub struct Waiting {
    answer: Answer<Reply>,
    deadline: Instant,
    read: bool,
}

impl Begun {
    async fn end(self) -> Result<Reply> {
        match self {
            Self::Done(result) => result,
            Self::Waiting(waiting) => waiting.end().await,
        }
    }
}

impl Waiting {
    /// The answer, soon after the deadline at the latest.
    ///
    /// # Errors
    ///
    /// As [`Handle::execute`].
    ///
    /// # Cancel safety
    ///
    /// A write whose future is dropped may be applied or not.
    pub async fn end(mut self) -> Result<Reply> {
        let limit = (self.deadline + GRACE).into();
        match tokio::time::timeout_at(limit, self.answer.wait()).await {
            Ok(Some(result)) => result,
            Ok(None) => Err(ended(self.read, ErrorKind::Unavailable, "this node stops")),
            Err(_) => Err(ended(
                self.read,
                ErrorKind::DeadlineExceeded,
                "no answer within the deadline",
            )),
        }
    }
}

impl Handle {
    /// Who this node is.
    pub fn me(&self) -> &NodeInfo {
        self.core.grid.me()
    }

    /// The committed view; number 0 before the first.
    pub fn view(&self) -> Arc<View> {
        Arc::clone(&self.look_at_view())
    }

    /// The same, to be looked at for a moment, which costs less.
    pub fn look_at_view(&self) -> impl Deref<Target = Arc<View>> {
        self.core.outside.view()
    }

    /// The committed view and every later one.
    ///
    /// # Example
    ///
    /// ```no_run
    /// # async fn example(handle: embergrid::node::Handle) {
    /// let mut views = handle.views();
    /// loop {
    ///     println!("{} nodes", views.borrow_and_update().nodes.len());
    ///     if views.changed().await.is_err() {
    ///         break;
    ///     }
    /// }
    /// # }
    /// ```
    pub fn views(&self) -> watch::Receiver<Arc<View>> {
        self.core.outside.views()
    }

    /// Whether this node is in a view, which [`Handle::view`] shows, and may serve.
    ///
    /// # Example
    ///
    /// ```no_run
    /// # fn example(handle: &embergrid::node::Handle) {
    /// // For whoever spreads requests over programs.
    /// let status = if handle.serving() { 200 } else { 503 };
    /// # }
    /// ```
    pub fn serving(&self) -> bool {
        self.view().version.number > 0 && self.core.grid.serving(self.core.clock.now())
    }

    /// By how much this node's clock is known to be apart from those of its peers, where that is
    /// more than `clock-error-max`; else zero.
    pub fn clock_apart(&self) -> Duration {
        Duration::from_micros(self.core.grid.clock_apart())
    }

    /// Every key of one partition as this node holds it, tombstones included, in key order: for
    /// comparing copies.
    pub fn contents(&self, cache: CacheId, partition: u32) -> Vec<(Blob, Entry)> {
        self.core.grid.contents(cache, partition)
    }

    /// Both clocks.
    pub fn now(&self) -> Now {
        self.core.grid.now(self.core.clock.now())
    }

    /// Carries out an operation, here or at its owner; ends soon after `deadline` at the latest.
    /// What this node can answer is answered without a hand-over to another task.
    ///
    /// # Errors
    ///
    /// Whatever the engine says; `DeadlineExceeded` where it said nothing in time (the outcome of
    /// a write is unknown then); `Overloaded` where too many calls wait.
    ///
    /// # Cancel safety
    ///
    /// A write whose future is dropped may be applied or not.
    ///
    /// # Example
    ///
    /// ```no_run
    /// # async fn example(handle: embergrid::node::Handle) -> embergrid::error::Result<()> {
    /// use embergrid::types::{CacheId, Operation, Request};
    /// use std::time::{Duration, Instant};
    ///
    /// let count = Request {
    ///     cache: CacheId::of("sessions"),
    ///     partition: 0,
    ///     operation: Operation::Size,
    ///     request_id: None,
    /// };
    /// let reply = handle.execute(count, Instant::now() + Duration::from_secs(5)).await?;
    /// println!("{reply:?}");
    /// # Ok(())
    /// # }
    /// ```
    pub async fn execute(&self, request: Request, deadline: Instant) -> Result<Reply> {
        self.begin(request, deadline).end().await
    }

    /// A plain read of a key that this node owns, answered at once on this thread and without a
    /// copy of key or value; none where it must be executed.
    pub fn glance(
        &self,
        cache: CacheId,
        partition: u32,
        key: &[u8],
        now: Instant,
    ) -> Option<Option<EntryView>> {
        let core = &self.core;
        let answer = core
            .grid
            .glance(cache, partition, key, core.clock.at(now))?;
        core.outside.counters.requests.add_one();
        Some(answer)
    }

    /// The same for a key that stands for itself, in however many partitions its cache has by now.
    pub(super) fn glance_at_key(
        &self,
        cache: CacheId,
        key: &[u8],
        now: Instant,
    ) -> Option<Option<EntryView>> {
        let core = &self.core;
        let answer = core.grid.glance_at_key(cache, key, core.clock.at(now))?;
        core.outside.counters.requests.add_one();
        Some(answer)
    }

    /// Begins an operation, as [`Handle::execute`] does: what this node can answer is answered at
    /// once, and only for the rest there is something to wait for.
    pub fn begin(&self, request: Request, deadline: Instant) -> Begun {
        // Between nodes such a key is not carried, and would be waited for.
        if let Operation::Key { key, .. } = &request.operation
            && let Err(error) = check_key(key)
        {
            return Begun::Done(Err(error));
        }
        let read = request.operation.is_read();
        self.begin_with(read, deadline, |grid, at, now, token| {
            grid.submit(request, at, now, token)
        })
    }

    /// Carries out a transaction; ends soon after `deadline` at the latest.
    ///
    /// # Errors
    ///
    /// As [`Handle::execute`]; `Conflict` where it gave way to others until its deadline;
    /// `FailedPrecondition` where a cache is ATOMIC.
    ///
    /// # Cancel safety
    ///
    /// A transaction whose future is dropped may be carried out, whole, or not.
    ///
    /// # Example
    ///
    /// ```no_run
    /// # use embergrid::types::{KeyOperation, KeyPlace};
    /// # async fn example(
    /// #     handle: embergrid::node::Handle,
    /// #     (leader, write_own_name): (KeyPlace, KeyOperation),
    /// # ) -> embergrid::error::Result<()> {
    /// use embergrid::types::{Condition, Execute, Reply};
    /// use std::time::{Duration, Instant};
    ///
    /// let execute = Execute {
    ///     conditions: vec![(leader.clone(), Condition::Absent)],
    ///     operations: vec![(leader, write_own_name)],
    ///     ..Execute::default()
    /// };
    /// let deadline = Instant::now() + Duration::from_secs(5);
    /// if let Reply::Executed { held: false, .. } = handle.transact(execute, None, deadline).await? {
    ///     println!("somebody else leads");
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub async fn transact(
        &self,
        execute: Execute,
        id: Option<RequestId>,
        deadline: Instant,
    ) -> Result<Reply> {
        let begun = self.begin_with(false, deadline, |grid, at, now, token| {
            grid.execute(execute, id, at, now, token)
        });
        begun.end().await
    }

    /// Reads keys as they were at one moment: an answer for each, within `Reply::Executed`.
    ///
    /// # Errors
    ///
    /// As [`Handle::execute`].
    ///
    /// # Cancel safety
    ///
    /// Nothing is changed.
    pub async fn look(
        &self,
        keys: Vec<KeyPlace>,
        omit_values: bool,
        deadline: Instant,
    ) -> Result<Reply> {
        let begun = self.begin_with(true, deadline, |grid, at, now, token| {
            grid.look(keys, omit_values, at, now, token)
        });
        begun.end().await
    }

    /// Begins a transaction of several calls, which this node keeps until it ends.
    ///
    /// # Errors
    ///
    /// `Overloaded` where it keeps as many as it may; `Unavailable` while a server of an older
    /// protocol takes part.
    ///
    /// # Example
    ///
    /// ```no_run
    /// # use embergrid::types::{KeyOperation, KeyPlace};
    /// # async fn example(
    /// #     handle: embergrid::node::Handle,
    /// #     work: Vec<(KeyPlace, KeyOperation)>,
    /// # ) -> embergrid::error::Result<()> {
    /// use embergrid::types::time::SECOND;
    /// use embergrid::types::transaction::{Begin, Concurrency, Isolation};
    /// use std::time::{Duration, Instant};
    ///
    /// let id = handle.begin_transaction(Begin {
    ///     concurrency: Concurrency::default(),
    ///     isolation: Isolation::default(),
    ///     timeout: 30 * SECOND,
    ///     label: "nightly".into(),
    /// })?;
    /// let deadline = Instant::now() + Duration::from_secs(5);
    /// match handle.operate(id, work, deadline).await {
    ///     Ok(_replies) => handle.commit(id, deadline).await?,
    ///     Err(error) => {
    ///         handle.roll_back(id, deadline).await?;
    ///         return Err(error);
    ///     }
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn begin_transaction(&self, begin: Begin) -> Result<TransactionId> {
        let core = &self.core;
        let begun = core.grid.begin_transaction(begin, core.clock.now());
        core.wake_timer();
        begun
    }

    /// Carries operations out within a transaction: an answer for each, in order. None of them is,
    /// where one cannot be.
    ///
    /// # Errors
    ///
    /// As [`Handle::execute`]; `NotFound` where this node does not keep the transaction (any more).
    ///
    /// # Cancel safety
    ///
    /// The operations may be carried out or not; nobody sees them before the commit.
    ///
    /// # Example
    ///
    /// See [`Handle::begin_transaction`].
    pub async fn operate(
        &self,
        id: TransactionId,
        operations: Vec<(KeyPlace, KeyOperation)>,
        deadline: Instant,
    ) -> Result<Vec<Reply>> {
        let begun = self.begin_with(false, deadline, |grid, at, now, token| {
            grid.operate(id, operations, at, now, token)
        });
        match begun.end().await? {
            Reply::Executed { replies, .. } => Ok(replies),
            _ => Err(Error::new(ErrorKind::Internal, "not the answer to a call")),
        }
    }

    /// Makes visible what a transaction wrote; asked again, it answers the same.
    ///
    /// # Errors
    ///
    /// `Conflict` where what it read has changed, or its time is over: nothing of it was done.
    ///
    /// # Cancel safety
    ///
    /// It may be committed or not.
    ///
    /// # Example
    ///
    /// See [`Handle::begin_transaction`].
    pub async fn commit(&self, id: TransactionId, deadline: Instant) -> Result<()> {
        let begun = self.begin_with(false, deadline, |grid, at, now, token| {
            grid.commit(id, at, now, token)
        });
        begun.end().await.map(|_| ())
    }

    /// Drops what a transaction wrote.
    ///
    /// # Errors
    ///
    /// `FailedPrecondition` where it commits, or has.
    ///
    /// # Cancel safety
    ///
    /// It may be rolled back or not yet.
    ///
    /// # Example
    ///
    /// See [`Handle::begin_transaction`].
    pub async fn roll_back(&self, id: TransactionId, deadline: Instant) -> Result<()> {
        let begun = self.begin_with(true, deadline, |grid, at, now, token| {
            grid.roll_back(id, at, now, token)
        });
        begun.end().await.map(|_| ())
    }

    /// The transactions of several calls that this node keeps and that have not ended.
    pub fn open_transactions(&self) -> Vec<OpenTransaction> {
        self.core.grid.open_transactions(self.core.clock.now())
    }

    /// Whether every server of the view knows transactions, and reads at one moment.
    pub fn knows_transactions(&self) -> bool {
        self.core.grid.knows_transactions()
    }

    fn begin_with(
        &self,
        read: bool,
        deadline: Instant,
        submit: impl FnOnce(
            &Grid,
            Monotonic,
            Monotonic,
            &mut dyn FnMut() -> u64,
        ) -> Option<Result<Reply>>,
    ) -> Begun {
        let core = &self.core;
        core.outside.counters.requests.add_one();
        if let Err(error) = core.outside.replies.admit() {
            core.outside.counters.requests_refused.add_one();
            return Begun::Done(Err(error));
        }
        let mut answer = None;
        let mut token = || answer.insert(core.outside.replies.register()).token();
        let now = core.clock.now();
        let done = submit(&core.grid, core.clock.at(deadline), now, &mut token);
        core.wake_timer();
        if let Some(result) = done {
            return Begun::Done(result);
        }
        let Some(answer) = answer else {
            return Begun::Done(Err(Error::new(
                ErrorKind::Internal,
                "the engine neither answered nor waits",
            )));
        };
        core.outside.counters.requests_waited.add_one();
        Begun::Waiting(Waiting {
            answer,
            deadline,
            read,
        })
    }

    /// Creates a cache; returns when every node knows it.
    ///
    /// # Errors
    ///
    /// `AlreadyExists`, `InvalidArgument`, or that the outcome is unknown at the deadline.
    ///
    /// # Example
    ///
    /// ```no_run
    /// # async fn example(handle: embergrid::node::Handle) -> embergrid::error::Result<()> {
    /// use embergrid::types::{CacheMode, CacheSettings};
    /// use std::time::{Duration, Instant};
    ///
    /// let settings = CacheSettings {
    ///     mode: CacheMode::Partitioned,
    ///     ..CacheSettings::named("carts")
    /// };
    /// handle.create_cache(settings, Instant::now() + Duration::from_secs(5)).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn create_cache(&self, settings: CacheSettings, deadline: Instant) -> Result<()> {
        self.change_view(ViewChange::Create(Box::new(settings)), deadline)
            .await
    }

    /// The settings of a cache, which is created with these where it is not there yet.
    ///
    /// # Errors
    ///
    /// As of creating it; `Unavailable` before the node has joined.
    pub(super) async fn opened(
        &self,
        wanted: &CacheSettings,
        deadline: Instant,
    ) -> Result<CacheSettings> {
        let name = wanted.name.as_str();
        loop {
            let view = self.view();
            if view.version.number == 0 {
                let context = "this node has not joined its cluster yet";
                return Err(Error::unavailable(context));
            }
            if let Some(found) = view.cache_named(name) {
                return Ok(found.settings.clone());
            }
            match self.create_cache(wanted.clone(), deadline).await {
                Err(error) if error.kind == ErrorKind::AlreadyExists => {}
                other => other?,
            }
            // The answer may be a moment ahead of the view.
            let mut views = self.views();
            let seen = views.wait_for(|view| view.cache_named(name).is_some());
            let seen = tokio::time::timeout_at(deadline.into(), seen).await;
            if seen.is_err() {
                let late = format!("cache {name:?} was not seen within the deadline");
                return Err(Error::new(ErrorKind::DeadlineExceeded, late).not_applied());
            }
        }
    }

    /// Drops a cache with all that it holds; returns when every node knows.
    ///
    /// # Errors
    ///
    /// `NotFound`, or that the outcome is unknown at the deadline.
    ///
    /// # Example
    ///
    /// ```no_run
    /// # async fn example(handle: embergrid::node::Handle) -> embergrid::error::Result<()> {
    /// let deadline = std::time::Instant::now() + std::time::Duration::from_secs(5);
    /// handle.drop_cache("carts", deadline).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn drop_cache(&self, name: &str, deadline: Instant) -> Result<()> {
        let view = self.view();
        let Some(cache) = view.cache_named(name) else {
            return Err(Error::new(
                ErrorKind::NotFound,
                format!("there is no cache {name:?}"),
            ));
        };
        self.change_view(ViewChange::Drop(cache.settings.id()), deadline)
            .await
    }

    /// Has a server hand over what it owns, and leave then; returns when every node knows that it
    /// shall, not when it has left.
    ///
    /// # Errors
    ///
    /// `NotFound` where it is not in the view any more, `FailedPrecondition` (NO_TAKER) where no
    /// other server stays, or that the outcome is unknown at the deadline.
    pub async fn drain(&self, server: Member, deadline: Instant) -> Result<()> {
        self.change_view(ViewChange::Drain(server), deadline).await
    }

    /// Has the partitions of a cache that are lost begin anew, empty. What an owner that returns
    /// still has of them is merged in. Returns how many; nothing is done where none is lost.
    ///
    /// # Errors
    ///
    /// `NotFound`, or that the outcome is unknown at the deadline.
    pub async fn reset_lost(&self, cache: CacheId, deadline: Instant) -> Result<u64> {
        let lost = self.view().caches.get(&cache).map_or(0, |cache| {
            let lost = cache.table.iter().filter(|owners| owners.owners.is_empty());
            lost.count() as u64
        });
        if lost > 0 {
            self.change_view(ViewChange::ResetLost(cache), deadline)
                .await?;
            self.core.outside.counters.partitions_reset.add(lost);
        }
        Ok(lost)
    }

    /// Gives up waiting for a server that is out and may return with data.
    ///
    /// # Errors
    ///
    /// `NotFound` where none of this name is out, `FailedPrecondition` where it is in the view, or
    /// that the outcome is unknown at the deadline.
    pub async fn forget(&self, name: &str, deadline: Instant) -> Result<()> {
        self.change_view(ViewChange::Forget(NodeId::of(name)), deadline)
            .await?;
        self.core.outside.counters.nodes_forgotten.add_one();
        Ok(())
    }

    /// Makes the servers of this node's view primary, whoever else may have been: what a lost
    /// majority acknowledged without them is given up.
    ///
    /// # Errors
    ///
    /// `FailedPrecondition` where the view is primary already or the cluster has no `quorum-of`, or
    /// that the outcome is unknown at the deadline.
    pub async fn force_primary(&self, deadline: Instant) -> Result<()> {
        self.change_view(ViewChange::ForcePrimary, deadline).await?;
        self.core.outside.counters.primaries_forced.add_one();
        Ok(())
    }

    async fn change_view(&self, change: ViewChange, deadline: Instant) -> Result<()> {
        let core = &self.core;
        core.outside.changes.admit()?;
        let mut answer = core.outside.changes.register();
        let now = core.clock.now();
        core.grid
            .change_view(change, answer.token(), core.clock.at(deadline), now);
        core.wake_timer();
        match tokio::time::timeout_at((deadline + GRACE).into(), answer.wait()).await {
            Ok(Some(result)) => result,
            Ok(None) => Err(ended(false, ErrorKind::Unavailable, "this node stops")),
            Err(_) => Err(ended(
                false,
                ErrorKind::DeadlineExceeded,
                "no answer within the deadline",
            )),
        }
    }

    /// Watches a cache: from now on, or from one position for each of its partitions.
    ///
    /// # Errors
    ///
    /// `NotFound` for an unknown cache, `OutOfRange` where the positions do not fit it.
    ///
    /// # Example
    ///
    /// ```no_run
    /// # async fn example(handle: embergrid::node::Handle) -> embergrid::error::Result<()> {
    /// let mut watch = handle.watch(embergrid::types::CacheId::of("sessions"), None)?;
    /// while let Some(item) = watch.next().await {
    ///     for event in item?.events {
    ///         println!("{:?} {:?}", event.kind, event.entry.key);
    ///     }
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn watch(&self, cache: CacheId, from: Option<Vec<WatchPosition>>) -> Result<Watch> {
        let core = &self.core;
        let view = self.view();
        let Some(known) = view.caches.get(&cache) else {
            return Err(Error::new(ErrorKind::NotFound, "there is no such cache"));
        };
        let partitions = known.settings.partitions;
        if from
            .as_ref()
            .is_some_and(|from| from.len() != partitions as usize)
        {
            return Err(Error::new(
                ErrorKind::OutOfRange,
                format!("the positions are not those of a cache with {partitions} partitions"),
            ));
        }
        // Held over both steps, so that the engine hears of comings and goings in their order.
        let _order = core.watching.lock();
        let (watcher, wanted) =
            core.outside
                .hubs
                .add(cache, partitions, from, core.watch_queue_max);
        let now = core.clock.now();
        for want in wanted {
            core.grid.watch(cache, want.partition, want.after, now);
        }
        core.wake_timer();
        Ok(Watch {
            core: Arc::clone(core),
            cache,
            watcher,
            ended: false,
        })
    }

    /// A reading of the node's counters.
    ///
    /// # Example
    ///
    /// ```no_run
    /// # fn example(handle: &embergrid::node::Handle) {
    /// let stats = handle.stats();
    /// println!("{} entries take {} bytes", stats.entries, stats.entry_bytes);
    /// # }
    /// ```
    pub fn stats(&self) -> Stats {
        self.core.stats()
    }

    /// Done when the node stops: what would go on without end must end then.
    pub async fn stopped(&self) {
        self.core.outside.stopped().await;
    }

    /// Done when the node has left its cluster, or cannot form one.
    ///
    /// # Example
    ///
    /// ```no_run
    /// # async fn example(handle: embergrid::node::Handle) {
    /// handle.left().await;
    /// println!("{}", handle.probe_report());
    /// # }
    /// ```
    pub async fn left(&self) {
        let mut life = self.core.outside.life();
        // An error means that the node is gone.
        let _ = life.wait_for(|life| *life != Life::Running).await;
    }

    /// What came of each endpoint of the address list, last time that it was probed.
    pub fn probe_report(&self) -> String {
        self.core.report.text()
    }

    /// Leaves the cluster in order, then stops.
    pub fn leave(&self) {
        self.core.leave();
    }
}

/// What ended a call that the engine had not answered.
fn ended(read: bool, kind: ErrorKind, why: &'static str) -> Error {
    let error = Error::new(kind, why);
    if read {
        return error.not_applied();
    }
    Error {
        applied: crate::error::Applied::Unknown,
        ..error
    }
}

impl Watch {
    /// How far each partition has been delivered (absent: nothing is known of it yet), where all
    /// of that has been taken; none while items wait to be taken.
    pub fn positions(&self) -> Option<Vec<Option<WatchPosition>>> {
        self.watcher.positions()
    }

    /// The next events; an error is the last item, and behind it there is nothing.
    ///
    /// # Cancel safety
    ///
    /// Nothing is lost when the future is dropped.
    ///
    /// # Example
    ///
    /// ```no_run
    /// # async fn example(mut watch: embergrid::node::Watch) -> embergrid::error::Result<()> {
    /// while let Some(item) = watch.next().await {
    ///     let item = item?;
    ///     println!("{} events of partition {}", item.events.len(), item.partition);
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub async fn next(&mut self) -> Option<Result<WatchItem>> {
        if self.ended {
            return None;
        }
        let item = self.watcher.next().await;
        self.ended = item.is_err();
        Some(item)
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let _order = self.core.watching.lock();
        let Some(partitions) = self.core.outside.hubs.remove(self.cache, &self.watcher) else {
            return;
        };
        for partition in 0..partitions {
            self.core
                .grid
                .unwatch(self.cache, partition, self.core.clock.now());
        }
    }
}
