//! `[cluster]`: which cluster this node belongs to and who it is there.

use std::collections::BTreeMap;

/// The section `[cluster]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClusterSettings {
    /// Nodes of a cluster with another name are refused. 1 to 255 bytes.
    pub name: String,
    /// The name that stays the same across restarts; absent: the address that peers use.
    pub node_name: Option<String>,
    /// Told to peers, for node filters and backup zones; 64 of them at most.
    pub attributes: BTreeMap<String, String>,
}

impl Default for ClusterSettings {
    fn default() -> Self {
        Self {
            name: "embergrid".to_owned(),
            node_name: None,
            attributes: BTreeMap::new(),
        }
    }
}
