//! The engine's one way out: what whoever runs it must be able to do.
//!
//! Duties of a shell:
//!
//! 1. Calls come from under the engine's locks: do little, never call back into the engine, never
//!    block.
//! 2. Messages to one peer about one partition are delivered in the order of the calls, or not at
//!    all; one that cannot be queued is dropped (the engine repeats what matters).
//! 3. Control messages are never delayed by others.
//! 4. Every endpoint of the address list is probed, again and again, for as long as the node
//!    lives; each outcome is reported to `Grid::on_probe`, and a peer that answered hello is a
//!    link: `Grid::on_link_up`, until `Grid::on_link_down`.
//! 5. `Grid::on_timeout` is called at or soon after `Grid::next_timeout`.

use crate::error::{Error, Result};
use crate::types::message::{Event, Message, WatchPosition};
use crate::types::view::View;
use crate::types::{CacheId, Member, Micros, NodeInfo, Reply, TopologyVersion};
use std::sync::Arc;

/// What whoever runs the engine does for it.
pub trait Shell: Send + Sync {
    /// Queues a message for a peer.
    fn send(&self, to: Member, message: Message);
    /// Queues a message that nobody waits for: it may go along with the next one to the peer about
    /// any partition, in order with those about its own.
    fn send_along(&self, to: Member, message: Message);
    /// Whether the queue to a peer has room for what a write needs.
    fn has_room(&self, to: Member) -> bool;
    /// Whether a peer knows what a version of the protocol added. Also true where no link stands:
    /// what is sent then is lost, and repeated by whom it matters to.
    fn knows(&self, peer: Member, since: u32) -> bool;
    /// A request that was pending is answered. Called once for each token.
    fn complete(&self, token: u64, result: Result<Reply>);
    /// A change of the catalogue is answered. Called once for each token.
    fn view_changed(&self, token: u64, result: Result<()>);
    /// A link to this peer is wanted, on a fresh connection where one seems to exist.
    fn dial(&self, peer: &NodeInfo);
    /// Events of one partition for the watchers of this node, without gaps: they follow the
    /// counter `after` and reach up to `upto`.
    fn events(
        &self,
        cache: CacheId,
        partition: u32,
        after: u64,
        upto: WatchPosition,
        events: &[Event],
    );
    /// The watchers of this partition cannot go on from where they were.
    fn watch_lost(&self, cache: CacheId, partition: u32);
    /// Something that an operator or a test wants to know.
    fn notice(&self, notice: Notice);
}

/// Something that an operator or a test wants to know.
#[derive(Clone, Debug)]
pub enum Notice {
    /// A view was installed.
    View(Arc<View>),
    /// A peer is suspected.
    Suspected(Member),
    /// A peer is held to be dead.
    Failed(Member),
    /// No cluster can be joined or formed: the node must stop.
    CannotForm(Error),
    /// This node serves nothing until its peers have confirmed its view.
    Fenced,
    /// It serves again.
    Unfenced,
    /// Lost partitions of a cache began anew by themselves.
    Reset { cache: CacheId, partitions: u64 },
    /// Writes of a cache that does not wait for every owner may have been lost: at most so many.
    WritesLost {
        cache: CacheId,
        partition: u32,
        at_most: u64,
    },
    /// All owners of a partition are gone.
    Lost {
        cache: CacheId,
        partition: u32,
        topology: TopologyVersion,
    },
    /// Copies of a partition differed, and some keys were sent to where they were missing or old.
    CopiesDiffered {
        cache: CacheId,
        partition: u32,
        owner: Member,
        keys: u64,
        repaired: u64,
    },
    /// A cache has other settings at a node that is to be taken in, which is not: both are named.
    SettingsDiffer { peer: Member, difference: String },
    /// Cluster time here differs by so much from that of the peers, which is more than
    /// `clock_error_max`; 0: not any longer.
    ClockApart { by: Micros },
    /// This node has left the cluster and may stop.
    Left,
}

/// What came of probing one endpoint of the address list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProbeOutcome {
    /// The connection was refused: nobody listens.
    Refused,
    /// No answer within its time.
    Silent,
    /// Something answered that is not a node of this cluster, or may not be linked.
    Foreign,
    /// A node of this cluster answered that knows another live node under this one's name.
    NameTaken,
    /// A cluster answered that has other settings than this node, and does not take it in.
    Unlike,
    /// This node itself answered.
    Myself,
    /// A peer answered hello.
    Peer(Member),
}
