//! The machine of one partition on one node: replication, expiry, request ids and watchers.
//!
//! Roles come with the view: *primary* (decides, streams updates to the other owners), *backup*
//! (holds them, serves reads), *loading* (future owner), *source* (holder of another history that
//! is merged into the primary's), or none (released).
//!
//! Messages: every one carries the sender's topology and is dropped by a receiver in another one,
//! so a late message from an older view changes nothing. Lost ones are repeated on a timer by
//! whoever waits: the primary repeats `AskTail`, `Reset`, `Replicate`, chunks and `AskIdle`; a
//! backup whose tail does not settle repeats its `Ack`. Doubled ones are recognised by counter
//! (updates), by session and sequence (chunks), or change nothing (touches, idle answers).
//!
//! Invariants: an update commits only when every owner and every loading owner that joined the
//! stream holds it; under FULL_SYNC a value is visible only once committed, and a key has at most
//! one pending update, so that no answer rests on a pending value.

mod backup;
pub mod evaluate;
mod expiry;
mod feed;
pub mod held;
mod lead;
mod log;
mod merging;
pub mod near;
mod primary;
mod remembered;
mod roles;
pub mod steps;
pub mod store;
mod transfer;

use super::shell::Shell;
use crate::engine::planted::{self, Fault};
use crate::error::{Applied, Error, ErrorKind, Result};
use crate::types::message::{Body, Data, Message};
use crate::types::{
    CacheId, CacheMode, CacheSettings, ClusterTime, Member, Micros, Monotonic, Now, Operation,
    PartitionId, ReadFrom, Reply, RequestId, TopologyVersion, TransactionId,
};
use log::Log;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use store::Store;

/// The most operations that wait in one partition.
const PARKED_MAX: usize = 1024;

/// What surrounds an input: the time, the right to serve, and the way out.
pub struct Cx<'a> {
    pub now: Now,
    /// Whether this node's lease stands.
    pub serving: bool,
    /// This node has said that it leaves, and will not serve again.
    pub leaving: bool,
    pub shell: &'a dyn Shell,
    /// When the last server left that may return with data; absent: none is out.
    pub departed: Option<ClusterTime>,
    /// How long to wait before what is not acknowledged is sent again.
    pub resend: Micros,
    /// The longest a parked operation waits.
    pub network_timeout: Micros,
    /// How far the clocks of two nodes may be apart.
    pub clock_error_max: Micros,
}

/// Who waits for an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asker {
    Local {
        token: u64,
        /// The write was sent to a primary that did not answer: it may have been applied there,
        /// whatever comes of the next attempt.
        tried: bool,
    },
    Remote {
        node: Member,
        id: u64,
    },
    /// A transaction of this node, about one of its participants.
    Step {
        id: TransactionId,
        partition: PartitionId,
    },
    /// A partition of this node that has something prepared.
    Inquiry {
        id: TransactionId,
        partition: PartitionId,
    },
}

/// Who asks, before it is known whether the answer comes at once.
pub enum Caller<'a> {
    Local(&'a mut dyn FnMut() -> u64),
    Known(Asker),
}

impl Caller<'_> {
    fn asker(&mut self) -> Asker {
        match self {
            Self::Local(token) => Asker::Local {
                token: token(),
                tried: false,
            },
            Self::Known(asker) => *asker,
        }
    }
}

/// An operation with what belongs to it.
#[derive(Clone, Debug)]
pub struct Ask {
    pub operation: Operation,
    pub request_id: Option<RequestId>,
    pub deadline: Monotonic,
    /// It has been forwarded once and must be answered here.
    pub forwarded: bool,
}

/// What became of an operation.
pub enum Submitted {
    Done(Result<Reply>),
    /// `Shell::complete` (or a reply to the other node) comes later.
    Pending,
    /// The primary must answer it.
    Forward(Member, Ask),
}

/// Who holds the partition in the current view.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Place {
    pub topology: TopologyVersion,
    /// The primary first.
    pub owners: Vec<Member>,
    pub loading: Vec<Member>,
    pub sources: Vec<Member>,
    /// An owner of the last view is gone.
    pub owner_lost: bool,
    /// By how much cluster time moved.
    pub shift: i64,
    /// The view belongs to a cluster that was formed apart from the one before.
    pub apart: bool,
    /// When a cache of this name was dropped before this one was created.
    pub cleared_at: Option<ClusterTime>,
}

/// Something the coordinator must hear of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Report {
    Loaded,
    Merged,
    /// At most so many writes were lost with the last primary.
    WritesLost(u64),
}

struct Parked {
    ask: Ask,
    asker: Asker,
}

/// One partition on one node.
pub struct Partition {
    cache: CacheId,
    index: u32,
    settings: Arc<CacheSettings>,
    me: Member,
    place: Place,
    /// A view without this node as an owner has been acknowledged.
    renounced: bool,
    /// The copy is complete as of this topology.
    complete: Option<TopologyVersion>,
    /// The greatest version that every holder, also one that is out, is known to hold.
    agreed: crate::types::EntryVersion,
    store: Store,
    log: Log,
    lead: Option<Box<lead::Lead>>,
    incoming: Option<transfer::Incoming>,
    outgoing: Option<Box<transfer::Outgoing>>,
    parked: VecDeque<Parked>,
    parked_until: Option<Monotonic>,
    waiters: BTreeMap<u64, Vec<primary::Waiter>>,
    /// The earliest deadline among them, or earlier.
    waiters_until: Option<Monotonic>,
    redirected: Vec<(Ask, Asker)>,
    reports: Vec<Report>,
    expiry: expiry::Schedule,
    feed: feed::Feed,
    /// What this node keeps of a partition that it does not own.
    copies: near::Copies,
    /// A backup whose tail does not settle asks again at this moment.
    settle_at: Option<Monotonic>,
    /// What is kept of transactions; absent where that is nothing.
    held: Option<Box<held::Held>>,
    /// Answers to transactions of this node, which take them when no lock is held.
    steps: Vec<(Asker, Result<Reply>)>,
}

impl Partition {
    pub fn new(
        cache: CacheId,
        index: u32,
        settings: Arc<CacheSettings>,
        me: Member,
        near: near::NearBytes,
    ) -> Self {
        Self {
            cache,
            index,
            store: Store::new(settings.removes_are_final),
            settings,
            me,
            place: Place::default(),
            renounced: false,
            complete: None,
            agreed: Default::default(),
            log: Log::default(),
            lead: None,
            incoming: None,
            outgoing: None,
            parked: VecDeque::new(),
            parked_until: None,
            waiters: BTreeMap::new(),
            waiters_until: None,
            redirected: Vec::new(),
            reports: Vec::new(),
            expiry: expiry::Schedule::default(),
            feed: feed::Feed::default(),
            copies: near::Copies::sharing(near),
            settle_at: None,
            held: None,
            steps: Vec::new(),
        }
    }

    fn is_primary(&self) -> bool {
        self.place.owners.first() == Some(&self.me)
    }

    fn is_owner(&self) -> bool {
        self.place.owners.contains(&self.me)
    }

    fn primary(&self) -> Option<Member> {
        self.place.owners.first().copied()
    }

    fn local(&self) -> bool {
        self.settings.mode == CacheMode::Local
    }

    /// The topology of the view that was last installed here.
    pub fn topology(&self) -> TopologyVersion {
        self.place.topology
    }

    /// The topology as of which the copy here is complete.
    pub fn complete(&self) -> Option<TopologyVersion> {
        self.complete
    }

    /// Carries an operation out, parks it, or says who must.
    pub fn submit(&mut self, ask: Ask, mut caller: Caller<'_>, cx: &Cx<'_>) -> Submitted {
        if !self.local() && (!cx.serving || self.renounced) {
            return self.park(ask, &mut caller, cx);
        }
        if self.is_primary() {
            if !self.lead.as_ref().is_some_and(|lead| lead.is_active()) {
                return self.park(ask, &mut caller, cx);
            }
            let near = self.near_asker(&ask.operation, &caller);
            let submitted = self.decide(ask, &mut caller, cx);
            if let (Some(node), Submitted::Done(Ok(Reply::Got { entry: Some(entry) }))) =
                (near, &submitted)
            {
                self.grant(node, entry, cx);
            }
            return submitted;
        }
        let Some(primary) = self.primary() else {
            let error = Error::unavailable("all owners of the partition are gone")
                .because("PARTITION_LOST");
            return Submitted::Done(Err(error));
        };
        if self.may_read(&ask.operation, cx)
            && let Some(reply) = self.read(&ask.operation, cx)
        {
            return Submitted::Done(Ok(reply));
        }
        if let Some(reply) = self.read_near(&ask.operation, cx) {
            return Submitted::Done(Ok(reply));
        }
        if ask.forwarded {
            let error = Error::new(ErrorKind::WrongOwner, "this node is not the primary");
            return Submitted::Done(Err(error));
        }
        Submitted::Forward(primary, ask)
    }

    /// Whether this backup may answer a read.
    fn may_read(&self, operation: &Operation, cx: &Cx<'_>) -> bool {
        let allowed = operation.is_read()
            && self.settings.read_from == ReadFrom::Any
            && self.is_owner()
            && self.place.sources.is_empty();
        allowed
            && match operation {
                Operation::Key { key, .. } => {
                    let idle = |key: &[u8]| {
                        let live = self.store.get(key).and_then(|entry| entry.live.as_ref());
                        live.is_some_and(|live| live.idle(cx.now.cluster))
                    };
                    let visible = !self.settings.full_sync()
                        || !self.log.is_pending(key)
                        || planted::is(Fault::ServePending);
                    let held = self.settings.touch_on_read && self.touch_must_be_held(key, cx);
                    visible && !idle(key) && !held && !self.is_locked(key)
                }
                Operation::Scan { prefix, .. } if self.is_locked_under(prefix) => false,
                _ => !self.settings.full_sync() || self.log.is_settled(),
            }
    }

    fn park(&mut self, mut ask: Ask, caller: &mut Caller<'_>, cx: &Cx<'_>) -> Submitted {
        if cx.leaving {
            return Submitted::Done(Err(left(&ask)));
        }
        if self.parked.len() >= PARKED_MAX {
            return Submitted::Done(Err(Error::overloaded("too many operations wait here")));
        }
        let bound = cx.now.mono.after(cx.network_timeout);
        ask.deadline = ask.deadline.min(bound);
        if cx.now.mono >= ask.deadline {
            return Submitted::Done(Err(late(&ask)));
        }
        self.parked_until = Some(
            self.parked_until
                .map_or(ask.deadline, |until| until.min(ask.deadline)),
        );
        self.parked.push_back(Parked {
            ask,
            asker: caller.asker(),
        });
        Submitted::Pending
    }

    /// Runs everything that is parked once more.
    pub fn unpark(&mut self, cx: &Cx<'_>) {
        self.parked_until = None;
        for Parked { ask, asker } in std::mem::take(&mut self.parked) {
            if cx.now.mono >= ask.deadline {
                self.answer(asker, Err(late(&ask)), cx);
                continue;
            }
            match self.submit(ask, Caller::Known(asker), cx) {
                Submitted::Done(result) => self.answer(asker, result, cx),
                Submitted::Pending => {}
                Submitted::Forward(_, ask) => self.redirected.push((ask, asker)),
            }
        }
    }

    /// Operations that another node must answer now.
    pub fn take_redirected(&mut self) -> Vec<(Ask, Asker)> {
        std::mem::take(&mut self.redirected)
    }

    /// What the coordinator must hear of.
    pub fn take_reports(&mut self) -> Vec<Report> {
        std::mem::take(&mut self.reports)
    }

    fn answer(&mut self, asker: Asker, result: Result<Reply>, cx: &Cx<'_>) {
        match asker {
            Asker::Step { .. } | Asker::Inquiry { .. } => self.steps.push((asker, result)),
            Asker::Local { .. } | Asker::Remote { .. } => answer(asker, result, cx.shell),
        }
    }

    /// Answers to transactions of this node.
    pub fn take_steps(&mut self) -> Vec<(Asker, Result<Reply>)> {
        std::mem::take(&mut self.steps)
    }

    fn send(&self, to: Member, body: Body, cx: &Cx<'_>) {
        let data = Data {
            cache: self.cache,
            partition: self.index,
            topology: self.place.topology,
            body,
        };
        cx.shell.send(to, Message::Data(data));
    }

    /// A message from another node, which is in the same topology.
    pub fn on_message(&mut self, from: Member, body: Body, cx: &Cx<'_>) {
        match body {
            Body::AskTail => self.on_ask_tail(from, cx),
            Body::Tail(tail) => self.on_tail(from, tail, cx),
            Body::Reset(reset) => self.on_reset(from, reset, cx),
            Body::Replicate(replicate) => self.on_replicate(from, replicate, cx),
            Body::Ack { stream, upto } => self.on_ack(from, stream, upto, cx),
            Body::Gap { stream, have } => self.on_gap(from, stream, have, cx),
            Body::Chunk(chunk) => self.on_chunk(from, chunk, cx),
            Body::ChunkAck { kind, session, seq } => {
                self.on_chunk_ack(from, kind, session, seq, cx);
            }
            Body::Touches { accesses } => self.on_touches(&accesses),
            Body::AskIdle { key, incarnation } => self.on_ask_idle(from, key, incarnation, cx),
            Body::Idle {
                key,
                incarnation,
                last_access,
            } => {
                self.on_idle(from, &key, incarnation, last_access, cx);
            }
            Body::Subscribe { after } => self.on_subscribe(from, after, cx),
            Body::Unsubscribe => self.on_unsubscribe(from, cx),
            Body::Watching { watched } => self.on_watching(from, watched, cx),
            Body::Events {
                after,
                upto,
                events,
            } => self.on_events(from, after, upto, &events, cx),
            Body::Stale => self.on_stale(from, cx),
            Body::Near { entry, until } => self.on_near(from, entry, until, cx),
            Body::Invalidate { key, counter } => {
                self.on_invalidate(from, key.as_ref(), counter, cx);
            }
            Body::Invalidated { counter } => self.on_invalidated(from, counter, cx),
        }
    }

    /// Everything that is due.
    pub fn on_timeout(&mut self, cx: &Cx<'_>) {
        let now = cx.now.mono;
        if self.parked_until.is_some_and(|until| now >= until) {
            self.unpark(cx);
        }
        if self.waiters_until.is_some_and(|until| now >= until) {
            self.give_up_late_waiters(cx);
        }
        if self.settle_at.is_some_and(|at| now >= at) {
            self.settle(cx);
        }
        self.resend(cx);
        self.on_expiry_timeout(cx);
        self.on_feed_timeout(cx);
        self.on_near_timeout(cx);
        self.on_held_timeout(cx);
    }

    /// When `on_timeout` wants to be called.
    pub fn next_timeout(&self, now: Now) -> Option<Monotonic> {
        let lead = self.lead.as_ref().and_then(|lead| lead.resend_at);
        let outgoing = self
            .outgoing
            .as_ref()
            .and_then(|outgoing| outgoing.resend_at);
        [
            self.parked_until,
            self.waiters_until.filter(|_| !self.waiters.is_empty()),
            self.settle_at,
            lead,
            outgoing,
            self.expiry.next(now, self.is_primary()),
            self.feed.next(),
            self.next_near(now),
            self.next_held(now),
        ]
        .into_iter()
        .flatten()
        .min()
    }

    /// Everything that is stored, in key order.
    pub fn contents(&self) -> Vec<(crate::types::Blob, crate::types::Entry)> {
        let keys = self.store.keys();
        let state =
            |key: crate::types::Blob| self.store.get(&key).cloned().map(|entry| (key, entry));
        keys.into_iter().filter_map(state).collect()
    }

    /// (live and dead entries, tombstones, updates that wait for owners).
    pub fn sizes(&self) -> (usize, usize, usize) {
        (self.store.len(), self.store.tombstones(), self.log.len())
    }

    /// Panics if the machine contradicts itself.
    pub fn check_invariants(&self) {
        assert!(
            self.log.committed.counter <= self.log.applied,
            "committed before it was held"
        );
        assert_eq!(
            self.log.applied - self.log.committed.counter,
            self.log.len() as u64,
            "the tail has a gap"
        );
        let tombstones = self
            .store
            .entries()
            .filter(|(_, entry)| entry.live.is_none())
            .count();
        assert_eq!(
            tombstones,
            self.store.tombstones(),
            "tombstones are miscounted"
        );
        if self.lead.is_some() {
            assert!(self.is_primary(), "leads without being primary");
        }
    }
}

/// Answers whoever asked.
pub fn answer(asker: Asker, result: Result<Reply>, shell: &dyn Shell) {
    match asker {
        Asker::Local { token, tried } => {
            let result = if tried {
                result.map_err(after_attempt)
            } else {
                result
            };
            shell.complete(token, result);
        }
        Asker::Remote { node, id } => {
            let reply = crate::types::message::ForwardReply { id, result };
            shell.send(node, Message::ForwardReply(reply));
        }
        // Nobody outside of this node waits for these.
        Asker::Step { .. } | Asker::Inquiry { .. } => {}
    }
}

/// What an error of a repeated attempt says of the whole: that this one was not applied says
/// nothing of the earlier one.
fn after_attempt(error: Error) -> Error {
    if error.applied == Applied::Unknown || error.kind == ErrorKind::InvalidArgument {
        return error;
    }
    let last = error.context;
    Error::unknown(format!(
        "an earlier attempt was not answered and may have been applied; the last one: {last}"
    ))
}

/// The answer of a node that leaves: a peer routes the operation anew, a client asks elsewhere.
fn left(ask: &Ask) -> Error {
    if ask.forwarded {
        return Error::new(ErrorKind::WrongOwner, "this node leaves");
    }
    Error::unavailable("this node leaves; ask another")
        .because("LEAVING")
        .not_applied()
}

/// The answer to an operation that waited to its end without being carried out.
pub fn late(ask: &Ask) -> Error {
    let waited = "the partition was not ready within the deadline or network-timeout";
    let error = Error::unavailable(waited);
    if ask.operation.is_read() {
        error
    } else {
        error.not_applied()
    }
}
