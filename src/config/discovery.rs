//! `[discovery]`: how nodes find each other and notice each other's failure.

use super::addresses::{self, AddressList};
use super::given::Reader;
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
    /// Whether this node is a client node: part of the mesh, holding nothing.
    pub client_mode: bool,
    /// Whether a client node takes part in discovery as servers do; it still holds nothing.
    pub force_server_mode: bool,
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
            client_mode: false,
            force_server_mode: false,
            thread_priority: 10,
            lease: Duration::from_millis(1500),
            heartbeat_interval: Duration::from_millis(200),
            clock_error_max: Duration::from_millis(50),
        }
    }
}

/// The bounds of the timeouts: below, a busy machine would look dead; above, a dead one alive.
const TIMEOUT: RangeInclusive<Duration> = Duration::from_millis(20)..=Duration::from_secs(3600);

impl DiscoverySettings {
    /// Reads the section.
    pub(super) fn read(reader: &mut Reader<'_>) -> Self {
        let mut settings = Self::default();
        settings.read_addresses(reader);
        settings.read_timeouts(reader);
        settings.read_lease(reader);
        if let Some(priority) = reader.count("thread-priority", 1..=10) {
            settings.thread_priority = u8::try_from(priority).unwrap_or(10);
        }
        if let Some(client) = reader.boolean("client-mode") {
            settings.client_mode = client;
        }
        if let Some(force) = reader.boolean("force-server-mode") {
            settings.force_server_mode = force;
        }
        if settings.force_server_mode && !settings.client_mode {
            reader.warning(
                "force-server-mode",
                "no meaning without client-mode: a server takes part in discovery",
                "take it out, or set client-mode",
            );
        }
        settings
    }

    fn read_addresses(&mut self, reader: &mut Reader<'_>) {
        if let Some(entries) = reader.list("ignite-address") {
            match AddressList::of(entries.iter().map(|(entry, _)| entry.as_str())) {
                Ok(list) => {
                    for index in list.doubled() {
                        let origin = entries.get(index).map(|(_, origin)| origin.clone());
                        let what = format!("`{}` is named before already", list.entries()[index]);
                        let cure = "take one of them out";
                        reader.warning_at("ignite-address", origin, what, cure);
                    }
                    self.addresses = list;
                }
                Err(refused) => {
                    for error in refused {
                        let origin = entries.get(error.index).map(|(_, origin)| origin.clone());
                        let what = format!("`{}`: {}", error.entry, error.what);
                        reader.problem_at("ignite-address", origin, what, error.cure);
                    }
                }
            }
        }
        if let Some(text) = reader.text("local-address", 1..=255) {
            match addresses::parse_local(text.trim()) {
                Ok(host) => self.local_address = Some(host),
                Err((what, cure)) => reader.problem("local-address", what, cure),
            }
        }
        match reader.integer("local-port", -1..=65535).map(u16::try_from) {
            None => {}
            Some(Err(_)) => self.local_port = LocalPort::DefaultRange,
            Some(Ok(0)) => self.local_port = LocalPort::System,
            Some(Ok(port)) => self.local_port = LocalPort::From(port),
        }
    }

    fn read_timeouts(&mut self, reader: &mut Reader<'_>) {
        let day = Duration::from_secs(24 * 3600);
        if let Some(timeout) = reader.duration("join-timeout", Duration::ZERO..=day) {
            self.join_timeout = (!timeout.is_zero()).then_some(timeout);
        }
        let timeouts: [(&str, &mut Duration); 3] = [
            ("ack-timeout", &mut self.ack_timeout),
            ("network-timeout", &mut self.network_timeout),
            ("socket-timeout", &mut self.socket_timeout),
        ];
        for (name, place) in timeouts {
            if let Some(timeout) = reader.duration(name, TIMEOUT) {
                *place = timeout;
            }
        }
        let given = ["network-timeout", "ack-timeout"];
        if self.network_timeout < self.ack_timeout
            && let Some(name) = given.into_iter().find(|name| reader.has(name))
        {
            let what = "network-timeout is below ack-timeout: what waits for a silent peer gives up \
                        before that one is suspected";
            reader.warning(name, what, "make network-timeout the larger one");
        }
        let error = Duration::from_millis(1)..=Duration::from_secs(10);
        if let Some(error) = reader.duration("clock-error-max", error) {
            self.clock_error_max = error;
        }
    }

    /// Both follow `ack-timeout` where they are not given.
    fn read_lease(&mut self, reader: &mut Reader<'_>) {
        self.lease = self.ack_timeout * 3 / 4;
        self.heartbeat_interval = self.ack_timeout / 10;
        let smallest = Duration::from_millis(1);
        if let Some(interval) = reader.duration("heartbeat-interval", smallest..=*TIMEOUT.end()) {
            if interval > self.ack_timeout / 10 {
                reader.problem(
                    "heartbeat-interval",
                    "more than a tenth of ack-timeout, so that few lost heartbeats look like death",
                    "make it smaller, or ack-timeout larger",
                );
            }
            self.heartbeat_interval = interval;
        }
        if let Some(lease) = reader.duration("lease", smallest..=*TIMEOUT.end()) {
            if lease >= self.ack_timeout {
                reader.problem(
                    "lease",
                    "not below ack-timeout, so that a node could serve after it was replaced",
                    "make it smaller, or ack-timeout larger; three quarters of it are the default",
                );
            } else if lease < self.heartbeat_interval * 2 {
                reader.problem(
                    "lease",
                    "below two heartbeat intervals, so that it would lapse all the time",
                    "make it larger, or heartbeat-interval smaller",
                );
            }
            self.lease = lease;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ports_to_try() {
        assert_eq!(LocalPort::DefaultRange.candidates(), 47500..=47509);
        assert_eq!(LocalPort::System.candidates(), 0..=0);
        assert_eq!(LocalPort::From(5000).candidates(), 5000..=5009);
        assert_eq!(LocalPort::From(65530).candidates(), 65530..=65535);
    }
}
