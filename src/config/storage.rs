//! `[storage]`: how much is kept, and where. Neither a limit on memory nor keeping entries on disk
//! is in this version; both are refused by name.

use super::given::Reader;

/// The section `[storage]`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StorageSettings {}

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
        if reader
            .size("default-region-max-size", 0..=u64::MAX)
            .is_some_and(|bytes| bytes > 0)
        {
            reader.not_yet(
                "default-region-max-size",
                "a limit on the memory for entries is",
                "take it out, and give entries a time to live",
            );
        }
        Self::default()
    }
}
