//! Nodes: who they are and what they tell of themselves.

use super::time::Micros;
use std::collections::BTreeMap;
use std::fmt;
use xxhash_rust::xxh3::xxh3_64;

/// The DNS name that the certificate of every node carries among its subject alternative names,
/// and that of a client lacks: a link asks for it in both directions, and only who has it may
/// open the service between nodes.
pub const NODE_CERTIFICATE_NAME: &str = "node.embergrid";

/// The identity of a node across restarts: a digest of its consistent id.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(pub u64);

impl NodeId {
    /// The identity that belongs to a consistent id (`node-name`, or the address that peers use).
    pub fn of(consistent_id: &str) -> Self {
        Self(xxh3_64(consistent_id.as_bytes()))
    }
}

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// Tells the lives of one node apart; a later life has a greater one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Incarnation(pub u64);

/// One life of one node. A restarted node is another member.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Member {
    /// Which node.
    pub id: NodeId,
    /// Which of its lives.
    pub incarnation: Incarnation,
}

impl fmt::Display for Member {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.id, self.incarnation.0)
    }
}

/// What a node does in the cluster.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// Holds data and takes part in every decision.
    #[default]
    Server,
    /// Routes requests and holds nothing.
    Client,
}

/// What a node tells its peers of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NodeInfo {
    /// Who it is.
    pub member: Member,
    /// The name that stays the same across restarts.
    pub consistent_id: String,
    /// Where peers and clients reach it, `host:port`.
    pub address: String,
    /// What it does.
    pub role: Role,
    /// Attributes from its settings, for node filters and backup zones.
    pub attributes: BTreeMap<String, String>,
    /// The version of its program.
    pub program_version: String,
    /// When it was started, wall clock, microseconds since the Unix epoch.
    pub started_at: u64,
    /// When its certificate ends, wall clock, seconds since the Unix epoch; 0 without TLS.
    pub certificate_expires_at: u64,
    /// The protocol that it speaks; 0: one from before nodes told it.
    pub protocol: u32,
    /// How long a lease lasts by its settings, which are below its `ack-timeout`; 0: not told.
    pub lease: Micros,
}
