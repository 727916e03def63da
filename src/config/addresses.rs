//! The static address list: which hosts and ports may carry a node of this cluster. Names are
//! not resolved here; that is done anew at each probe.

use std::ops::RangeInclusive;

/// Hosts and ports where peers may be found, in the order of the settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AddressList {
    entries: Vec<Address>,
}

/// One entry of the list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    /// An IP address (v6 without brackets) or a host name.
    pub host: String,
    /// The ports, both ends included.
    pub ports: RangeInclusive<u16>,
}

impl Default for AddressList {
    fn default() -> Self {
        Self {
            entries: vec![Address {
                host: "localhost".to_owned(),
                ports: super::discovery::DEFAULT_PORTS,
            }],
        }
    }
}

impl AddressList {
    /// Reads a comma separated list, such as `localhost:47500..47509, [::1]:47500`.
    pub fn parse(_text: &str) -> Result<Self, Vec<String>> {
        Err(vec!["not read yet".to_owned()])
    }

    /// The entries as they were given.
    pub fn entries(&self) -> &[Address] {
        &self.entries
    }

    /// Every host and port to probe, each once, in the order of the list.
    pub fn endpoints(&self) -> Vec<(String, u16)> {
        let mut endpoints = Vec::new();
        for entry in &self.entries {
            for port in entry.ports.clone() {
                let endpoint = (entry.host.clone(), port);
                if !endpoints.contains(&endpoint) {
                    endpoints.push(endpoint);
                }
            }
        }
        endpoints
    }

    /// Whether every entry is on this machine's loopback interface.
    pub fn loopback_only(&self) -> bool {
        self.entries.iter().all(|entry| {
            entry.host == "localhost"
                || entry
                    .host
                    .parse::<std::net::IpAddr>()
                    .is_ok_and(|ip| ip.is_loopback())
        })
    }
}
