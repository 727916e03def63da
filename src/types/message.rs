//! What nodes say to each other.
//!
//! Control messages (heartbeats, membership) travel on a stream of their own, so that bulk never
//! delays a heartbeat; all others carry a cache and a partition and travel on data streams, one
//! partition on one stream. Every message may be lost, doubled or late: the machine that takes it
//! says what it does then.

use super::blob::Blob;
use super::cache::{CacheId, CacheSettings};
use super::comparing::{Compare, Compared, Differs, Holds};
use super::entry::Entry;
use super::node::{Member, NodeId, NodeInfo};
use super::operation::{EntryView, Reply, Request, RequestId};
use super::time::{ClusterTime, Micros};
use super::transaction::{Prepared, Status, TransactionId, TransactionStates};
use super::version::{EntryVersion, TopologyVersion};
use super::view::{Primaries, View};
use crate::error::Error;
use std::collections::BTreeSet;

/// One message between two nodes.
#[derive(Clone, Debug, PartialEq)]
pub enum Message {
    Control(Control),
    Data(Data),
    /// A request for an operation that this node cannot answer; carried to the primary once.
    Forward(Forward),
    /// The answer to a forwarded request.
    ForwardReply(ForwardReply),
}

/// Heartbeats and membership.
#[derive(Clone, Debug, PartialEq)]
pub enum Control {
    Heartbeat(Heartbeat),
    /// "Do you hear this peer?", asked while it is suspected.
    AskReach {
        suspect: Member,
    },
    /// The answer: how long ago the suspect was last heard; absent: no link to it.
    Reach {
        suspect: Member,
        heard_ago: Option<Micros>,
    },
    /// To the coordinator of another cluster, or from a node without one: take us in.
    Join(Join),
    /// Before a view: who would belong to it, asking each what it holds. Who answers takes no
    /// lower version any more.
    Collect {
        version: TopologyVersion,
        nodes: Vec<NodeInfo>,
    },
    /// The answer to it.
    Collected(Collected),
    /// First phase of a view, whose table rests on what was collected.
    Prepare {
        view: View,
    },
    /// The answer to it.
    Prepared {
        version: TopologyVersion,
    },
    /// The proposal was not taken, in whichever phase.
    Refused(Refused),
    /// Second phase of a view.
    Commit {
        version: TopologyVersion,
    },
    /// This node leaves in order: it acknowledges every view without it, and nothing else any more.
    Leave(Primaries),
    /// To the coordinator: what changed in the partitions that this node holds.
    Progress(Progress),
    /// To the coordinator: create or drop a cache. Repeated until answered.
    ChangeView {
        id: u64,
        change: ViewChange,
    },
    /// The answer, sent when the view with the change is committed.
    ViewChanged {
        id: u64,
        result: Result<(), Error>,
    },
    /// To the coordinator: peers of the view that this node cannot reach.
    Unreachable {
        peers: Vec<Member>,
    },
}

/// Says that its sender lives, what it knows and what time it is.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Heartbeat {
    /// When it was sent, on the sender's monotonic clock.
    pub sent: u64,
    /// The `sent` of the last heartbeat heard from the receiver; 0 before the first.
    pub echo: u64,
    /// How long ago that one was heard.
    pub echo_age: Micros,
    /// The sender's cluster time.
    pub cluster_time: ClusterTime,
    /// Whose cluster time it is.
    pub time_base: Member,
    /// The sender's committed view; number 0: none yet.
    pub view: TopologyVersion,
    /// Whether the receiver belongs to that view.
    pub in_view: bool,
    /// The servers of that view which are alive in it; none where its sender itself waits to be
    /// taken in by another view, or is a client node that leaves discovery to servers.
    pub servers: u32,
    /// The coordinator of that view.
    pub coordinator: Member,
    /// Whether the sender has acknowledged a proposal that leaves the receiver out: then this
    /// heartbeat renews no lease.
    pub renounced: bool,
    /// Whether every primary view that the sender has acknowledged, and may be in force, holds the
    /// receiver: then this heartbeat renews its lease for caches that stop in a minority.
    pub vouches: bool,
}

/// Two clusters, or a cluster and a node, become one.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Join {
    /// The view that the sender coordinates; its number is 0 for a node without one.
    pub view: View,
    /// The members that join: those of the view that the sender reaches, or itself.
    pub nodes: Vec<NodeInfo>,
}

/// What a server holds of one cache.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Holdings {
    pub cache: CacheId,
    /// Runs of consecutive partitions that are complete as of the same topology version:
    /// (first, count, version).
    pub complete: Vec<(u32, u32, TopologyVersion)>,
    /// Those of them whose holder has acknowledged a primary view in which others own them, of a
    /// cache that stops in a minority: they may be behind.
    pub retired: BTreeSet<u32>,
}

/// What a server holds and knows, told to who proposes a view.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Collected {
    pub version: TopologyVersion,
    /// The last view that the sender committed.
    pub committed: TopologyVersion,
    pub holdings: Vec<Holdings>,
    /// The catalogue as the sender knows it, from its committed and its prepared view.
    pub caches: Vec<KnownCache>,
    pub dropped: Vec<(CacheId, ClusterTime)>,
    pub departed: Vec<super::view::Departed>,
    pub draining: BTreeSet<Member>,
    pub primaries: Primaries,
}

/// A cache of the catalogue.
#[derive(Clone, Debug, PartialEq)]
pub struct KnownCache {
    pub settings: CacheSettings,
    pub created_at: ClusterTime,
    /// Whether a primary view has held it.
    pub founded: bool,
}

/// Turns a proposal down.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Refused {
    pub version: TopologyVersion,
    /// The greatest version that the sender has acknowledged.
    pub promised: TopologyVersion,
    /// Members of the proposal that the sender has no link to.
    pub unreachable: Vec<Member>,
}

/// Partitions whose state changed at a holder.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Progress {
    pub topology: TopologyVersion,
    /// Loaded completely: (cache, partition).
    pub loaded: Vec<(CacheId, u32)>,
    /// All sources merged, said by the primary.
    pub merged: Vec<(CacheId, u32)>,
}

/// A change that somebody asked for, and that goes into the next view.
#[derive(Clone, Debug, PartialEq)]
pub enum ViewChange {
    Create(Box<CacheSettings>),
    Drop(CacheId),
    /// The server hands over what it owns, and leaves then.
    Drain(Member),
    /// Partitions of the cache that are lost begin anew, empty.
    ResetLost(CacheId),
    /// A server that is out is not waited for any longer.
    Forget(NodeId),
    /// The servers of the view are primary from now on, whoever else may have been.
    ForcePrimary,
}

/// A message to the machine of one partition.
#[derive(Clone, Debug, PartialEq)]
pub struct Data {
    pub cache: CacheId,
    pub partition: u32,
    /// The sender's view. A receiver in an older one installs what it has prepared, or drops the
    /// message; a receiver in a newer one drops it.
    pub topology: TopologyVersion,
    pub body: Body,
}

/// What replicas of one partition say to each other.
#[derive(Clone, Debug, PartialEq)]
pub enum Body {
    /// New primary → owner: what do you have? Repeated until answered.
    AskTail,
    /// Owner → new primary: the counter up to which it applied, up to which it knows that all
    /// owners applied, and every update between the two.
    Tail(Tail),
    /// New primary → owner: the stream begins anew with these updates, which replace the tail.
    Reset(Reset),
    /// Primary → owner: updates in order without gaps.
    Replicate(Replicate),
    /// Owner → primary: everything up to this counter is held.
    Ack { stream: TopologyVersion, upto: u64 },
    /// Owner → primary: something is missing behind this counter; without a stream, all of it.
    Gap { stream: TopologyVersion, have: u64 },
    /// Part of a transfer: primary → loading owner, or source → primary.
    Chunk(Chunk),
    /// The receiver of a transfer has taken chunks up to this one.
    ChunkAck {
        kind: TransferKind,
        session: u64,
        seq: u32,
    },
    /// Owner → other owners: last accesses.
    Touches {
        accesses: Vec<(Blob, EntryVersion, ClusterTime)>,
    },
    /// Primary → owners: when was this key, in this life, last accessed?
    AskIdle {
        key: Blob,
        incarnation: EntryVersion,
    },
    /// Owner → primary: the answer; absent where the owner does not hold that life.
    Idle {
        key: Blob,
        incarnation: EntryVersion,
        last_access: Option<ClusterTime>,
    },
    /// A node that serves watchers → primary: send events behind this counter. Repeated until
    /// events or an error come.
    Subscribe { after: Option<WatchPosition> },
    /// No watcher is left there.
    Unsubscribe,
    /// Owner → primary: it has watchers of its own. Primary → owner: somebody watches somewhere,
    /// so that events must be kept.
    Watching { watched: bool },
    /// Primary → such a node.
    Events {
        after: u64,
        upto: WatchPosition,
        events: Vec<Event>,
    },
    /// The position cannot be resumed.
    Stale,
    /// Primary → a node that asked: it may keep this until then.
    Near {
        entry: EntryView,
        until: ClusterTime,
    },
    /// Primary → such a node: a key is written (absent: all are), its copy must go.
    Invalidate { key: Option<Blob>, counter: u64 },
    /// The answer: it is gone.
    Invalidated { counter: u64 },
    /// Primary → owner: the sum over all that it holds. Lost: it comes again some time later.
    Compare(Compare),
    /// Owner → primary: what it has is otherwise, or equal where that was asked.
    Compared(Compared),
    /// Primary → owner: what it holds of the parts that differ.
    Holds(Holds),
    /// The answer.
    Differs(Differs),
}

/// The answer to `AskTail`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Tail {
    /// The stream that the sender last followed; a later one contains all earlier ones.
    pub stream: TopologyVersion,
    pub applied: u64,
    pub committed: u64,
    pub updates: Vec<Update>,
    /// The greatest version whose tombstones may be gone here.
    pub floor: EntryVersion,
}

/// A stream begins.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Reset {
    /// The topology in which this primary took over: names the stream.
    pub stream: TopologyVersion,
    /// The counter before the first update.
    pub committed: u64,
    pub updates: Vec<Update>,
}

/// Part of a stream.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Replicate {
    pub stream: TopologyVersion,
    /// The primary's committed counter.
    pub committed: u64,
    pub updates: Vec<Update>,
}

/// One change of a partition, at one place of its stream.
#[derive(Clone, Debug, PartialEq)]
pub struct Update {
    /// The place: one more than that of the update before.
    pub counter: u64,
    /// The topology in which it was first streamed.
    pub topology: TopologyVersion,
    pub effect: UpdateEffect,
    /// The request that caused it, with the answer it got.
    pub request: Option<(RequestId, RequestRecord)>,
}

/// What a request id stands for.
#[derive(Clone, Debug, PartialEq)]
pub struct RequestRecord {
    pub at: ClusterTime,
    pub reply: Reply,
}

/// What an update does.
#[derive(Clone, Debug, PartialEq)]
pub enum UpdateEffect {
    /// Nothing but remembering the request.
    Nothing,
    /// The key has this state, unless a greater one is known.
    Set { key: Blob, entry: Entry },
    /// The key's life ended by time.
    Expire {
        key: Blob,
        incarnation: EntryVersion,
        tombstone: bool,
    },
    /// All that was created at or before this point is removed.
    Clear {
        at: ClusterTime,
        version: EntryVersion,
    },
    /// Tombstones up to this version are dropped.
    RaiseFloor { floor: EntryVersion },
    /// The keys of a transaction are locked, and what would come of it is kept.
    Prepare(Box<Prepared>),
    /// A transaction has ended here: these states are what it leaves.
    Finish {
        id: TransactionId,
        /// Until when that is remembered.
        until: ClusterTime,
        writes: Vec<(Blob, Entry)>,
    },
    /// The decision of a transaction is recorded; "committed" beats "rolled back".
    Status(Status),
}

impl UpdateEffect {
    /// The states of keys that it makes, at once or later.
    pub(crate) fn states(&self) -> impl Iterator<Item = (&Blob, &Entry)> {
        let (one, many, prepared) = match self {
            Self::Set { key, entry } => (Some((key, entry)), None, None),
            Self::Finish { writes, .. } => (None, Some(writes), None),
            Self::Prepare(prepared) => {
                let both = [&prepared.operations.writes, &prepared.otherwise.writes];
                (None, None, Some(both))
            }
            _ => (None, None, None),
        };
        let lists = many.into_iter().chain(prepared.into_iter().flatten());
        let states = lists.flatten().map(|(key, entry)| (key, entry));
        one.into_iter().chain(states)
    }

    /// What waits for owners keeps no network buffer.
    pub(crate) fn own(&mut self) {
        if let Self::Set { entry, .. } = self
            && let Some(live) = &mut entry.live
        {
            live.value.own(None);
        }
    }

    /// About how much it weighs: the bytes of its keys and values.
    pub fn bytes(&self) -> usize {
        let state = |(key, entry): (&Blob, &Entry)| {
            let value = entry.live.as_ref().map_or(0, |live| live.value.len());
            key.len() + value
        };
        self.states().map(state).sum()
    }

    /// The keys that it concerns; none where it concerns the whole partition, or no key.
    pub fn keys(&self) -> impl Iterator<Item = &Blob> {
        let one = match self {
            Self::Set { key, .. } | Self::Expire { key, .. } => Some(key),
            _ => None,
        };
        let locked = match self {
            Self::Prepare(prepared) => &prepared.keys[..],
            _ => &[],
        };
        let written = match self {
            Self::Finish { writes, .. } => &writes[..],
            _ => &[],
        };
        let written = written.iter().map(|(key, _)| key);
        one.into_iter().chain(locked).chain(written)
    }
}

/// Which transfer a chunk belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum TransferKind {
    /// Primary → loading owner.
    Load,
    /// Holder of another history → primary.
    Merge,
}

/// A piece of a partition's contents.
#[derive(Clone, Debug, PartialEq)]
pub struct Chunk {
    pub kind: TransferKind,
    /// Tells transfers of one pair apart.
    pub session: u64,
    /// From 0, without gaps.
    pub seq: u32,
    pub last: bool,
    /// With the first chunk.
    pub header: Option<Box<TransferHeader>>,
    pub entries: Vec<(Blob, Entry)>,
    pub requests: Vec<(RequestId, RequestRecord)>,
}

/// What the receiver of a transfer must know of its sender.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TransferHeader {
    /// Load: the stream that the receiver joins, and the place behind which updates follow.
    pub stream: TopologyVersion,
    pub position: WatchPosition,
    /// The greatest version that the sender knows all owners of its history to hold.
    pub agreed: EntryVersion,
    pub floor: EntryVersion,
    /// The greatest version that the sender has seen.
    pub seen: EntryVersion,
    /// The latest range tombstone.
    pub cleared_at: Option<ClusterTime>,
    /// Load: the view with which this history came to the cluster that it is in.
    pub joined: TopologyVersion,
    /// What the sender knows of transactions.
    pub transactions: TransactionStates,
    /// Load: what was in common with holders that are out, when they left.
    pub parted: Vec<(Member, Parting)>,
}

/// What a holder that is out had in common with those who stay when it left.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Parting {
    /// The greatest version that all holders were known to hold, also those that were out by then.
    pub agreed: EntryVersion,
    /// The last view of both, and the counter up to which the history was here by then, or came to be
    /// by updates of that view that came later.
    pub end: EntryVersion,
}

/// A place in the events of one partition.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WatchPosition {
    pub counter: u64,
    /// The topology in which the update at that counter was first streamed; tells a branch that
    /// lost a merge.
    pub topology: TopologyVersion,
}

/// What happened to a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum EventKind {
    Created,
    Updated,
    Removed,
    Expired,
    Evicted,
}

/// One event of one partition.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    pub kind: EventKind,
    pub counter: u64,
    /// The entry after a create or update; before a remove or expiry.
    pub entry: EntryView,
    /// What an update replaced.
    pub previous: Option<EntryView>,
}

/// Carried to the primary.
#[derive(Clone, Debug, PartialEq)]
pub struct Forward {
    /// The sender's own id for it.
    pub id: u64,
    pub topology: TopologyVersion,
    /// When the caller's time ends. One that comes later, from a link that was held up, must not
    /// be carried out: the caller has been told that nobody knows, and may have asked elsewhere.
    pub deadline: ClusterTime,
    pub request: Request,
}

/// The answer.
#[derive(Clone, Debug, PartialEq)]
pub struct ForwardReply {
    pub id: u64,
    pub result: Result<Reply, Error>,
}
