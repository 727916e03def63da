//! Flags that stand in for settings, alike for every command that reads a settings file as a node
//! does.

use super::connection::tls_flags;
use clap::Args;
use std::path::PathBuf;

/// Settings that are given as flags.
#[derive(Debug, Args)]
pub struct Overrides {
    /// File with the node's private key and its certificate: PEM, or .p12 or .jks
    #[arg(long, value_name = "FILE", env = "EMBERGRID_KEY")]
    key: Option<PathBuf>,
    /// File with the authorities of nodes and clients: PEM, or .p12 or .jks
    #[arg(long, value_name = "FILE", env = "EMBERGRID_TRUST")]
    trust: Option<PathBuf>,
    /// Any other setting, as section.name=value; repeatable
    #[arg(long = "set", value_name = "SETTING", value_parser = assignment)]
    others: Vec<(String, String)>,
}

/// Settings that are given as flags to a node.
#[derive(Debug, Args)]
pub struct NodeOverrides {
    /// Address list, the same on all nodes: host, host:port or host:port1..port2, with commas
    #[arg(long, value_name = "LIST")]
    addresses: Option<String>,
    /// Where this node listens and what it tells peers
    #[arg(long, value_name = "HOST")]
    local_address: Option<String>,
    /// First port to try; -1: the default range, 0: the system chooses
    #[arg(long, value_name = "PORT", allow_negative_numbers = true)]
    local_port: Option<i32>,
    /// The name that stays the same across restarts
    #[arg(long, value_name = "NAME")]
    node_name: Option<String>,
    /// Nodes of a cluster with another name are refused
    #[arg(long, value_name = "NAME")]
    cluster_name: Option<String>,
    /// How long to look for a cluster before forming one, such as 1s; 0s: for ever
    #[arg(long, value_name = "DURATION")]
    join_timeout: Option<String>,
    #[command(flatten)]
    overrides: Overrides,
}

impl NodeOverrides {
    /// The settings and their values.
    pub fn flags(&self) -> Vec<(String, String)> {
        let port = self.local_port.map(|port| port.to_string());
        let given = [
            ("discovery.addresses", &self.addresses),
            ("discovery.local-address", &self.local_address),
            ("discovery.local-port", &port),
            ("discovery.join-timeout", &self.join_timeout),
            ("cluster.node-name", &self.node_name),
            ("cluster.name", &self.cluster_name),
        ];
        let mut flags: Vec<(String, String)> = given
            .into_iter()
            .filter_map(|(name, value)| Some((name.to_owned(), value.clone()?)))
            .collect();
        flags.extend(self.overrides.flags());
        flags
    }
}

impl Overrides {
    /// The settings and their values.
    pub fn flags(&self) -> Vec<(String, String)> {
        let mut flags = tls_flags(self.key.as_ref(), self.trust.as_ref());
        flags.extend(self.others.iter().cloned());
        flags
    }
}

/// A setting and its value, as `--set` takes them.
fn assignment(text: &str) -> Result<(String, String), String> {
    text.split_once('=')
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .ok_or_else(|| "write it as section.name=value".to_owned())
}
