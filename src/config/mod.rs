//! The settings of one node: read, completed with defaults, and checked. Nothing here binds a
//! port, starts a task or touches the network. One file for each section.

pub mod addresses;
pub mod caches;
pub mod cluster;
pub mod discovery;
pub mod duration;
pub mod limits;
pub mod problem;
pub mod size;
pub mod storage;
pub mod tls;

pub use addresses::AddressList;
pub use cluster::ClusterSettings;
pub use discovery::{DiscoverySettings, LocalPort};
pub use limits::LimitSettings;
pub use problem::{Origin, Problem};
pub use storage::StorageSettings;
pub use tls::{Secret, Store, StoreType, TlsProtocol, TlsSettings};

use crate::types::CacheSettings;
use std::path::Path;

/// Everything that one node is told before it starts.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// Which cluster this node belongs to and who it is there.
    pub cluster: ClusterSettings,
    /// How nodes find each other and notice each other's failure.
    pub discovery: DiscoverySettings,
    /// Certificates and whom to trust.
    pub tls: TlsSettings,
    /// What is kept and how much of it.
    pub storage: StorageSettings,
    /// The caches that exist from the start.
    pub caches: Vec<CacheSettings>,
    /// Bounds on what clients and peers may ask for.
    pub limits: LimitSettings,
    /// What is allowed and yet worth a word: print or log each of them once at start.
    pub warnings: Vec<Problem>,
}

impl Settings {
    /// Reads the file (none: defaults), then lays the environment and then the flags over it.
    ///
    /// `environment` are all variables; those that do not begin with `EMBERGRID_` are skipped
    /// (but `SKIP_CONFIG_VALIDATION`). `flags` are pairs such as `discovery.join-timeout`, `2s`.
    ///
    /// # Errors
    ///
    /// All problems at once, never none.
    pub fn load(
        _path: Option<&Path>,
        _environment: impl IntoIterator<Item = (String, String)>,
        _flags: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Self, Vec<Problem>> {
        Ok(Self::default())
    }
}

/// The variables of this process, without those that are not text.
pub fn environment() -> Vec<(String, String)> {
    std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .collect()
}
