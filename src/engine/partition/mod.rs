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
mod idle;
mod invariants;
mod kept;
mod lead;
mod locks;
mod log;
mod merging;
mod named;
pub mod near;
#[cfg(test)]
mod pair_tests;
mod primary;
mod reach;
mod remembered;
mod repair;
mod resend;
mod roles;
pub mod steps;
pub mod store;
pub mod sums;
pub(super) mod tickets;
mod transfer;
mod verify;
mod waiting;

use super::shell::Shell;
use super::tally::{Pace, Tally};
use crate::engine::planted::{self, Fault};
use crate::error::{Applied, Error, ErrorKind, Result};
use crate::types::message::{Body, Data, Message, Parting};
use crate::types::ticket::note::is_note;
use crate::types::{
    Blob, CacheId, CacheMode, CacheSettings, ClusterTime, EntryView, Live, Member, Micros,
    Monotonic, Now, Operation, ReadFrom, Reply, RequestId, TopologyVersion,
};
use log::Log;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use store::Store;

/// The most operations that wait in one partition.
const PARKED_MAX: usize = 1024;

/// The reason of a refusal in a view that is not primary.
pub const NO_MAJORITY: &str = "NO_MAJORITY";

/// What surrounds an input: the time, the right to serve, and the way out.
pub struct Cx<'a> {
    pub now: Now,
    /// Whether this node's lease stands.
    pub serving: bool,
    /// Whether it stands for caches that stop in a minority.
    pub serving_primary: bool,
    /// This node has said that it leaves, and will not serve again.
    pub leaving: bool,
    pub shell: &'a dyn Shell,
    /// When the last server left that may return with data; absent: none is out.
    pub departed: Option<ClusterTime>,
    /// Whether every server of the view can read transactions in its streams.
    pub transactions: bool,
    /// How long to wait before what is not acknowledged is sent again.
    pub resend: Micros,
    /// The longest a parked operation waits.
    pub network_timeout: Micros,
    /// How far the clocks of two nodes may be apart.
    pub clock_error_max: Micros,
    /// Between two comparisons of the copies of a partition; absent: they are not compared.
    pub compare_interval: Option<Micros>,
    /// What all partitions of the node share.
    pub pace: &'a Pace,
    pub tally: &'a Tally,
}

impl Cx<'_> {
    /// When what is sent now is sent again: in steps, so that the partitions that wait at a time
    /// have a few timers together and not one each.
    fn resend_at(&self) -> Monotonic {
        let step = (self.resend / 4).max(1);
        let at = self.now.mono.after(self.resend);
        Monotonic(at.0.div_ceil(step).saturating_mul(step))
    }
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
    /// The view of the node that it was asked of.
    pub topology: TopologyVersion,
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
    /// The view is not primary, and the cache stops in such: nothing changes, nothing moves.
    pub resting: bool,
    /// When a cache of this name was dropped before this one was created.
    pub cleared_at: Option<ClusterTime>,
    /// Servers that are out and may return with data.
    pub departed: Arc<[Member]>,
}

/// Something the coordinator must hear of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Report {
    Loaded,
    Merged,
    /// At most so many writes were lost with the last primary.
    WritesLost(u64),
}

/// What a call leaves to be done outside of the partition.
#[derive(Default)]
pub struct LeftOver {
    /// Who must be routed anew.
    pub redirected: Vec<(Ask, Asker)>,
    pub reports: Vec<Report>,
    /// Tickets whose descendants must be looked for elsewhere.
    pub chores: Vec<Blob>,
    /// Sessions whose tickets were used here.
    pub used_below: Vec<tickets::access::Access>,
}

struct Parked {
    ask: Ask,
    asker: Asker,
}

/// One partition on one node. A call finds most of them in no cache, so what every call needs stands
/// together, first what a plain read needs.
#[repr(C)]
pub struct Partition {
    /// A plain read needs nothing but a lease: see `settle_reads`.
    at_hand: bool,
    /// A view without this node as an owner has been acknowledged.
    renounced: bool,
    /// The copy may be behind what others acknowledged: a primary view in which others own it has
    /// been acknowledged (in a cache that stops in a minority), the primary has not said yet whether
    /// it still counts on this load, or it lay aside.
    retired: bool,
    /// Who proposes the next view was told of the copy, and counts on it.
    told: bool,
    /// Something waits for the lease.
    waits_for_lease: bool,
    /// This node is the first owner in `place`, whose owners lie in memory of their own.
    first: bool,
    index: u32,
    cache: CacheId,
    settings: Arc<CacheSettings>,
    store: Store,
    log: Log,
    lead: Option<Box<lead::Lead>>,
    /// What is kept of transactions; absent where that is nothing.
    held: Option<Box<held::Held>>,
    /// A complete copy that lies aside while another one is loaded.
    kept: Option<Box<kept::Kept>>,
    outgoing: Option<Box<transfer::Outgoing>>,
    /// Somebody asked for a comparison of all copies.
    verifying: Option<Box<verify::Verifying>>,
    place: Place,
    me: Member,
    parked_until: Option<Monotonic>,
    /// A backup whose tail does not settle asks again at this moment.
    settle_at: Option<Monotonic>,
    /// When work that tickets leave is looked at.
    chores_at: Option<Monotonic>,
    expiry: expiry::Schedule,
    waiters: waiting::Waiters,
    parked: VecDeque<Parked>,
    left_over: Option<Box<LeftOver>>,
    feed: feed::Feed,
    /// The greatest version that every holder, also one that is out, is known to hold.
    agreed: crate::types::EntryVersion,
    /// The same for holders that are out, as it was when they left, and what else they had.
    parted: BTreeMap<Member, Parting>,
    /// What this node keeps of a partition that it does not own.
    copies: near::Copies,
    /// The copy is complete as of this topology.
    complete: Option<TopologyVersion>,
    /// The view with which the copy came to this cluster from one that was formed apart: what others
    /// agreed on here before says nothing of it.
    joined: TopologyVersion,
    incoming: Option<transfer::Incoming>,
    /// Behind which the next look goes on.
    chores_after: Option<Blob>,
    /// Since when each of it has been known.
    chores_since: BTreeMap<Blob, Monotonic>,
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
            at_hand: false,
            cache,
            index,
            store: Store::new(settings.removes_are_final),
            settings,
            me,
            place: Place::default(),
            renounced: false,
            complete: None,
            retired: false,
            told: false,
            waits_for_lease: false,
            first: false,
            agreed: Default::default(),
            joined: Default::default(),
            parted: BTreeMap::new(),
            log: Log::default(),
            lead: None,
            kept: None,
            incoming: None,
            outgoing: None,
            parked: VecDeque::new(),
            parked_until: None,
            waiters: waiting::Waiters::default(),
            left_over: None,
            expiry: expiry::Schedule::default(),
            feed: feed::Feed::default(),
            copies: near::Copies::sharing(near),
            settle_at: None,
            held: None,
            verifying: None,
            chores_at: None,
            chores_after: None,
            chores_since: BTreeMap::new(),
        }
    }

    fn is_primary(&self) -> bool {
        self.first && !self.place.resting
    }

    /// Whether the lease stands that reads and acknowledgements need here.
    fn has_lease(&self, cx: &Cx<'_>) -> bool {
        let stops = self.settings.stops() && !self.place.resting;
        if stops {
            cx.serving_primary
        } else {
            cx.serving
        }
    }

    /// Whether something has come to wait for the lease since the last time.
    pub fn take_waits_for_lease(&mut self) -> bool {
        std::mem::take(&mut self.waits_for_lease)
    }

    /// The lease stands again: what waits for it goes on.
    pub fn on_lease(&mut self, cx: &Cx<'_>) {
        self.advance(cx);
        self.unpark(cx);
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

    /// Whether the copy may be behind what others acknowledged.
    pub fn retired(&self) -> bool {
        self.retired || (self.complete.is_none() && self.kept.is_some())
    }

    /// Carries an operation out, parks it, or says who must.
    pub fn submit(&mut self, ask: Ask, mut caller: Caller<'_>, cx: &Cx<'_>) -> Submitted {
        self.reach(&ask.operation);
        let stops = !ask.operation.is_read() || self.settings.denies_reads();
        if self.place.resting && (stops || self.place.owners.is_empty()) {
            return Submitted::Done(Err(no_majority(&ask)));
        }
        if !self.local() && (!self.has_lease(cx) || self.renounced) {
            self.waits_for_lease = true;
            return self.park(ask, &mut caller, cx);
        }
        if self.place.resting && ask.forwarded && ask.topology != self.place.topology {
            // Its asker may belong to a part that goes on.
            let error = Error::new(ErrorKind::WrongOwner, "this node is in another view");
            return Submitted::Done(Err(error));
        }
        if self.place.resting && self.is_owner() {
            let missed = || Err(Error::unavailable("the partition cannot be read"));
            return Submitted::Done(self.read(&ask.operation, cx).map_or_else(missed, Ok));
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

    /// A plain read of a key from what is committed here, where nothing has to be asked, parked or
    /// noted for it: the same answer as by `submit`, at less cost. None: it must be submitted.
    pub fn glance(&self, key: &[u8], cx: &Cx<'_>) -> Option<Option<EntryView>> {
        debug_assert!(
            !self.at_hand || self.reads_at_hand(),
            "a change was not settled"
        );
        let serves = self.at_hand || self.reads(key);
        if !serves || is_note(key) || (!self.local() && !self.has_lease(cx)) {
            return None;
        }
        let Some((key, entry)) = self.store.find(key) else {
            return Some(None);
        };
        let ended = |live: &Live| live.expired(cx.now.cluster) || live.idle(cx.now.cluster);
        if entry.live.as_ref().is_some_and(ended) {
            return None;
        }
        Some(evaluate::view(key, entry, false))
    }

    /// Whether a plain read may be answered here, but for the lease.
    fn reads(&self, key: &[u8]) -> bool {
        let fenced = !self.local() && self.renounced;
        if fenced || self.place.resting || self.settings.touch_on_read || self.is_locked(key) {
            return false;
        }
        let pending = self.settings.full_sync() && self.log.is_pending(key);
        if self.is_primary() {
            let active = |lead: &lead::Lead| {
                lead.is_active() && (!pending || self.log.committed.counter >= lead.inherited)
            };
            self.lead.as_deref().is_some_and(active)
        } else {
            !pending && self.may_read_any()
        }
    }

    /// The same whatever the key.
    fn reads_at_hand(&self) -> bool {
        self.log.is_settled() && self.held.is_none() && self.reads(&[])
    }

    /// After every change: notes whether plain reads need look at nothing else.
    pub fn settle_reads(&mut self) {
        self.at_hand = self.reads_at_hand();
    }

    /// Before a change that is not settled at once: plain reads look again.
    pub fn unsettle_reads(&mut self) {
        self.at_hand = false;
    }

    /// Whether there is something to take: who must be routed anew, reports, work elsewhere.
    pub fn has_left_over(&self) -> bool {
        self.left_over.is_some() || self.held.is_some()
    }

    /// Whether this backup may answer reads at all.
    fn may_read_any(&self) -> bool {
        self.settings.read_from == ReadFrom::Any && self.is_owner() && self.place.sources.is_empty()
    }

    /// Whether this backup may answer a read.
    fn may_read(&self, operation: &Operation, cx: &Cx<'_>) -> bool {
        operation.is_read()
            && self.may_read_any()
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
                Operation::Verify { .. } => false,
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
        if !named::takes_lock(&ask.operation) {
            let bound = cx.now.mono.after(cx.network_timeout);
            ask.deadline = ask.deadline.min(bound);
        }
        if cx.now.mono >= ask.deadline {
            return Submitted::Done(Err(late(&ask)));
        }
        let until = ask.deadline;
        self.keep(ask, until, caller);
        Submitted::Pending
    }

    /// Parks an operation that is looked at again at this point at the latest.
    fn keep(&mut self, mut ask: Ask, until: Monotonic, caller: &mut Caller<'_>) {
        ask.operation.own();
        self.wake_parked(until);
        let asker = caller.asker();
        self.parked.push_back(Parked { ask, asker });
    }

    /// What is parked is looked at again at this point at the latest.
    fn wake_parked(&mut self, at: Monotonic) {
        self.parked_until = Some(self.parked_until.map_or(at, |until| until.min(at)));
    }

    /// Runs everything that is parked once more.
    pub fn unpark(&mut self, cx: &Cx<'_>) {
        self.parked_until = None;
        for Parked { ask, asker } in std::mem::take(&mut self.parked) {
            // Who waits for a lock is told that it was not free, where that is so.
            if cx.now.mono >= ask.deadline && !named::takes_lock(&ask.operation) {
                self.answer(asker, Err(late(&ask)), cx);
                continue;
            }
            match self.submit(ask, Caller::Known(asker), cx) {
                Submitted::Done(result) => self.answer(asker, result, cx),
                Submitted::Pending => {}
                Submitted::Forward(_, ask) => self.left_over().redirected.push((ask, asker)),
            }
        }
    }

    /// Takes what there is to do elsewhere.
    pub fn take_left_over(&mut self) -> LeftOver {
        self.left_over
            .take()
            .map_or_else(LeftOver::default, |left| *left)
    }

    fn left_over(&mut self) -> &mut LeftOver {
        self.left_over.get_or_insert_default()
    }

    fn answer(&self, asker: Asker, result: Result<Reply>, cx: &Cx<'_>) {
        answer(asker, result, cx.shell);
    }

    fn send(&self, to: Member, body: Body, cx: &Cx<'_>) {
        cx.shell.send(to, self.message(body));
    }

    fn message(&self, body: Body) -> Message {
        Message::Data(Data {
            cache: self.cache,
            partition: self.index,
            topology: self.place.topology,
            body,
        })
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
            Body::Compare(compare) => self.on_compare(from, compare, cx),
            Body::Compared(compared) => self.on_compared(from, compared, cx),
            Body::Holds(holds) => self.on_holds(from, holds, cx),
            Body::Differs(differs) => self.on_differs(from, differs, cx),
        }
    }

    /// Everything that is due.
    pub fn on_timeout(&mut self, cx: &Cx<'_>) {
        let now = cx.now.mono;
        if self.parked_until.is_some_and(|until| now >= until) {
            self.unpark(cx);
        }
        if self.waiters.next().is_some_and(|until| now >= until) {
            self.give_up_late_waiters(cx);
        }
        if self.settle_at.is_some_and(|at| now >= at) {
            self.settle(cx);
        }
        self.resend(cx);
        self.on_expiry_timeout(cx);
        self.on_feed_timeout(cx);
        self.on_near_timeout(cx);
        self.on_verify_timeout(cx);
        let compare_at = self.lead.as_ref().and_then(|lead| lead.compare_at);
        if compare_at.is_some_and(|at| now >= at) {
            self.compare_copies(cx);
        }
        self.look_at_chores(cx);
        self.on_held_timeout(cx);
        self.give_back();
    }

    /// When `on_timeout` wants to be called.
    pub fn next_timeout(&self, now: Now) -> Option<Monotonic> {
        let lead = self.lead.as_ref().and_then(|lead| lead.resend_at);
        let outgoing = self
            .outgoing
            .as_ref()
            .and_then(|outgoing| outgoing.resend_at);
        Monotonic::earliest([
            self.parked_until,
            self.waiters.next(),
            self.settle_at,
            lead,
            outgoing,
            self.expiry.next(now, self.is_primary()),
            self.feed.next(),
            self.next_near(now),
            self.lead.as_ref().and_then(|lead| lead.compare_at),
            self.verifying.as_ref().map(|verifying| verifying.next()),
            self.next_chores(),
            self.next_held(now),
        ])
    }

    /// Everything that is stored, in key order.
    pub fn contents(&self) -> Vec<(crate::types::Blob, crate::types::Entry)> {
        let keys = self.store.keys();
        let state =
            |key: crate::types::Blob| self.store.get(&key).cloned().map(|entry| (key, entry));
        keys.into_iter().filter_map(state).collect()
    }

    /// What all states of keys take in memory.
    pub fn entry_bytes(&self) -> u64 {
        let kept = self.kept.as_ref().map_or(0, |kept| kept.store.bytes());
        self.store.bytes() + kept
    }

    /// (live and dead entries, tombstones, updates that wait for owners).
    pub fn sizes(&self) -> (usize, usize, usize) {
        (self.store.len(), self.store.tombstones(), self.log.len())
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

/// The answer of a part of the cluster that is not primary, in a cache that stops in such.
fn no_majority(ask: &Ask) -> Error {
    let error = Error::unavailable(
        "this part of the cluster is not primary, and the cache stops in a minority",
    );
    let error = error.because(NO_MAJORITY);
    if ask.operation.is_read() {
        error
    } else {
        error.not_applied()
    }
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
