//! `[storage]`: how much is kept, and where. The limit on memory is reported and not enforced in
//! this version; keeping entries on disk is refused by name.

use super::given::Reader;

/// The section `[storage]`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StorageSettings {
    /// Memory for entries in bytes; 0: 20 % of what this machine or its container has.
    pub region_bytes_max: u64,
}

impl StorageSettings {
    /// Reads the section.
    pub(super) fn read(reader: &mut Reader<'_>) -> Self {
        if reader.boolean("default-persistence-enabled") == Some(true) {
            reader.not_yet(
                "default-persistence-enabled",
                "keeping entries on disk is",
                "take it out; entries are kept in memory",
            );
        }
        let region = reader.size("default-region-max-size", 0..=u64::MAX);
        let region_bytes_max = region.unwrap_or_default();
        if region_bytes_max > 0 {
            reader.warning(
                "default-region-max-size",
                "reported by NodeStats, and not enforced in this version: entries beyond it are kept",
                "give entries a time to live",
            );
        }
        Self { region_bytes_max }
    }
}
