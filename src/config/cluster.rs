//! `[cluster]`: which cluster this node belongs to and who it is there.

use super::given::Reader;
use std::collections::BTreeMap;
use std::ops::RangeInclusive;

/// The section `[cluster]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClusterSettings {
    /// Nodes of a cluster with another name are refused. 1 to 255 bytes.
    pub name: String,
    /// The name that stays the same across restarts; absent: the address that peers use.
    pub node_name: Option<String>,
    /// Told to peers, for node filters and backup zones; 64 of them at most.
    pub attributes: BTreeMap<String, String>,
    /// The number of servers; required by caches that stop in a minority.
    pub quorum_of: Option<u32>,
    /// The version of the protocol between nodes, where it is not to be the newest: for tests of
    /// nodes of two versions. No file and no variable sets it.
    pub protocol: Option<u32>,
}

impl Default for ClusterSettings {
    fn default() -> Self {
        Self {
            name: "embergrid".to_owned(),
            node_name: None,
            attributes: BTreeMap::new(),
            quorum_of: None,
            protocol: None,
        }
    }
}

/// The bounds of `quorum-of`.
pub const QUORUM_OF: RangeInclusive<u32> = 1..=1024;
/// The most attributes that a node may carry.
pub const ATTRIBUTES_MAX: usize = 64;

impl ClusterSettings {
    /// Reads the section.
    pub(super) fn read(reader: &mut Reader<'_>) -> Self {
        let mut settings = Self::default();
        if let Some(name) = reader.text("name", 1..=255) {
            settings.name = name;
        }
        settings.node_name = reader.text("node-name", 1..=255);
        if let Some(attributes) = reader.pairs("attributes", ATTRIBUTES_MAX) {
            settings.attributes = attributes;
        }
        settings.quorum_of = reader.count("quorum-of", QUORUM_OF);
        settings
    }
}
