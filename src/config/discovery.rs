//! `[discovery]`: how nodes find each other and notice each other's failure.

use super::addresses::AddressList;
use std::ops::RangeInclusive;
use std::time::Duration;

/// The ports that are meant where none is given.
pub const DEFAULT_PORTS: RangeInclusive<u16> = 47500..=47509;

/// How many ports are tried, from the first one up, where the first is set.
pub const LOCAL_PORTS_TRIED: u16 = 10;

/// Where this node listens.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LocalPort {
    /// The first free port of the default range (`-1`).
    #[default]
    DefaultRange,
    /// Whatever the system chooses (`0`).
    System,
    /// The first free port from this one up, ten at most.
    From(u16),
}

impl LocalPort {
    /// The ports to try in this order; a single 0 leaves the choice to the system.
    pub fn candidates(self) -> RangeInclusive<u16> {
        match self {
            Self::DefaultRange => DEFAULT_PORTS,
            Self::System => 0..=0,
            Self::From(first) => first..=first.saturating_add(LOCAL_PORTS_TRIED - 1),
        }
    }
}

/// The section `[discovery]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DiscoverySettings {
    /// The static address list, the same on all nodes (`ignite-address`).
    pub addresses: AddressList,
    /// Where this node listens and what it tells peers: an IP address or a host name without a
    /// port. Absent: loopback where the list is loopback only, else all interfaces.
    pub local_address: Option<String>,
    /// Which port this node listens on.
    pub local_port: LocalPort,
    /// How long to look for a cluster before forming one or failing; absent: for ever (`0`).
    pub join_timeout: Option<Duration>,
    /// A peer that acknowledges nothing for so long is suspected.
    pub ack_timeout: Duration,
    /// The longest any single network operation may take, retries included.
    pub network_timeout: Duration,
    /// The longest a connect, a handshake or one write to a socket may take.
    pub socket_timeout: Duration,
    /// 1 to 10, for the threads that carry heartbeats and membership.
    pub thread_priority: u8,
    /// How long a server may serve after its last acknowledged heartbeat; below `ack_timeout`.
    pub lease: Duration,
    /// The time between heartbeats; a tenth of `ack_timeout` at most.
    pub heartbeat_interval: Duration,
    /// How far the cluster times of two nodes may be apart before a node is unhealthy.
    pub clock_error_max: Duration,
}

impl Default for DiscoverySettings {
    fn default() -> Self {
        Self {
            addresses: AddressList::default(),
            local_address: None,
            local_port: LocalPort::default(),
            join_timeout: Some(Duration::from_secs(1)),
            ack_timeout: Duration::from_secs(2),
            network_timeout: Duration::from_secs(5),
            socket_timeout: Duration::from_secs(5),
            thread_priority: 10,
            lease: Duration::from_millis(1500),
            heartbeat_interval: Duration::from_millis(200),
            clock_error_max: Duration::from_millis(50),
        }
    }
}
