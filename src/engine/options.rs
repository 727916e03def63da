//! What the engine of one node is told when it is made.

use crate::types::{CacheSettings, Micros, NodeInfo, time::MILLISECOND, time::SECOND};
use std::collections::BTreeSet;

/// Between two comparisons of the copies of one partition.
const COMPARE_INTERVAL: Micros = 60 * SECOND;

/// The settings that the engine needs.
#[derive(Clone, Debug)]
pub struct GridOptions {
    /// This node.
    pub me: NodeInfo,
    /// Whether a client node tells nodes that look for a cluster of its own, as servers do.
    pub force_server_mode: bool,
    /// How many endpoints the expanded address list has.
    pub endpoints: usize,
    /// Those of them that cannot be this node's own: it does not wait for their outcome to know
    /// whether it is in its list.
    pub elsewhere: BTreeSet<usize>,
    /// Caches of the settings file.
    pub caches: Vec<CacheSettings>,
    /// How long to look for a cluster before forming one or failing; absent: for ever.
    pub join_timeout: Option<Micros>,
    /// How long a peer may be silent before it is suspected.
    pub ack_timeout: Micros,
    /// The longest a read or a parked write waits inside the engine.
    pub network_timeout: Micros,
    /// Between two heartbeats to one peer.
    pub heartbeat_interval: Micros,
    /// How long a lease lasts, counted from the sending of heartbeats that were acknowledged.
    pub lease: Micros,
    /// The number of servers, where caches stop in a minority; absent: every view is primary.
    pub quorum_of: Option<u32>,
    /// How far the clocks of two owners may be apart.
    pub clock_error_max: Micros,
    /// Between two comparisons of the copies of one partition; absent: they are not compared.
    pub compare_interval: Option<Micros>,
}

impl GridOptions {
    /// The defaults of settings.md.
    pub fn of(me: NodeInfo) -> Self {
        Self {
            me,
            force_server_mode: false,
            endpoints: 0,
            elsewhere: BTreeSet::new(),
            caches: Vec::new(),
            join_timeout: Some(SECOND),
            ack_timeout: 2 * SECOND,
            network_timeout: 5 * SECOND,
            heartbeat_interval: 200 * MILLISECOND,
            lease: 1500 * MILLISECOND,
            quorum_of: None,
            clock_error_max: 50 * MILLISECOND,
            compare_interval: Some(COMPARE_INTERVAL),
        }
    }
}
