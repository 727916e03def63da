//! `[storage]`: how much is kept. Keeping entries on disk is not in this version.

/// The section `[storage]`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StorageSettings {
    /// Memory for entries in bytes; 0: 20 % of what this machine or its container has.
    pub region_bytes_max: u64,
}
