//! The settings of one node: read, completed with defaults, and checked. Nothing here binds a
//! port, starts a task or touches the network. One file for each section.
//!
//! Later sources win: the file, then the environment, then flags. All problems are found in one
//! go, each with where it stands and how to mend it.

pub mod addresses;
#[cfg(test)]
mod bad_input_tests;
pub mod caches;
pub mod catalogue;
pub mod cluster;
pub mod discovery;
pub mod duration;
#[cfg(test)]
mod every_setting_tests;
#[cfg(test)]
mod format_tests;
pub mod formats;
pub mod given;
pub mod limits;
pub mod problem;
pub mod properties;
pub mod reference;
pub mod size;
pub mod source;
pub mod storage;
pub mod stores;
#[cfg(test)]
mod tests;
pub mod tickets;
pub mod tls;

pub use addresses::AddressList;
pub use cluster::ClusterSettings;
pub use discovery::{DiscoverySettings, LocalPort};
pub use limits::{LimitSettings, TRANSACTION_TIMEOUT};
pub use problem::{Origin, Problem};
pub use storage::StorageSettings;
pub use stores::{Password, Store, StoreType};
pub use tickets::{TicketKind, TicketSettings};
pub use tls::{TlsProtocol, TlsSettings};

use crate::types::CacheSettings;
use given::Reader;
use source::Gathered;
use std::collections::BTreeMap;
use std::path::Path;

/// The variable that turns the refusal of unknown names into warnings.
pub const SKIP_VALIDATION: &str = "SKIP_CONFIG_VALIDATION";

/// Everything that one node is told before it starts.
///
/// # Example
///
/// ```
/// use embergrid::config::Settings;
///
/// // Without a file everything has its default.
/// let settings = Settings::default();
/// assert!(settings.tls.enabled);
/// assert!(settings.discovery.addresses.loopback_only());
/// ```
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
    /// The kinds of tickets, and what protects them.
    pub tickets: TicketSettings,
    /// Bounds on what clients and peers may ask for.
    pub limits: LimitSettings,
    /// What is allowed and yet worth a word: print or log each of them once at start.
    pub warnings: Vec<Problem>,
    /// How many names of a `.properties` file were passed over since they are not ours.
    pub ignored: usize,
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
    ///
    /// # Example
    ///
    /// ```no_run
    /// # fn example() -> Result<(), String> {
    /// use embergrid::config::{Settings, environment};
    ///
    /// let flags = [("discovery.join-timeout".to_owned(), "2s".to_owned())];
    /// let settings = Settings::load(Some("embergrid.toml".as_ref()), environment(), flags)
    ///     .map_err(|problems| {
    ///         let lines: Vec<String> = problems.iter().map(ToString::to_string).collect();
    ///         lines.join("\n")
    ///     })?;
    /// println!("{} caches", settings.caches.len());
    /// # Ok(())
    /// # }
    /// ```
    pub fn load(
        path: Option<&Path>,
        environment: impl IntoIterator<Item = (String, String)>,
        flags: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Self, Vec<Problem>> {
        Self::gather(
            |gathered| path.into_iter().for_each(|p| gathered.add_file(p)),
            environment,
            flags,
        )
    }

    /// The same from the text of a file that would stand at `path`, whose extension says its form.
    ///
    /// # Errors
    ///
    /// All problems at once, never none.
    ///
    /// # Example
    ///
    /// ```
    /// use embergrid::config::Settings;
    ///
    /// let text = "[tls]\nenabled = false\n[[caches]]\nname = 'sessions'";
    /// let settings = Settings::from_text("embergrid.toml".as_ref(), text, [], [])
    ///     .map_err(|problems| format!("{problems:?}"))?;
    /// assert_eq!(settings.caches[0].name, "sessions");
    /// # Ok::<(), String>(())
    /// ```
    pub fn from_text(
        path: &Path,
        text: &str,
        environment: impl IntoIterator<Item = (String, String)>,
        flags: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Self, Vec<Problem>> {
        Self::gather(|gathered| gathered.add_text(path, text), environment, flags)
    }

    /// The same as [`Settings::load`], for whoever wants to see all that can be said of them,
    /// warnings included, also where something is wrong.
    pub fn check(
        path: Option<&Path>,
        environment: impl IntoIterator<Item = (String, String)>,
        flags: impl IntoIterator<Item = (String, String)>,
    ) -> Checked {
        Self::examine(Self::lay(
            |gathered| path.into_iter().for_each(|p| gathered.add_file(p)),
            environment,
            flags,
        ))
    }

    fn gather(
        file: impl FnOnce(&mut Gathered),
        environment: impl IntoIterator<Item = (String, String)>,
        flags: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Self, Vec<Problem>> {
        let checked = Self::examine(Self::lay(file, environment, flags));
        if checked.problems.is_empty() {
            Ok(checked.settings)
        } else {
            Err(checked.problems)
        }
    }

    /// Lays the environment and the flags over a file.
    fn lay(
        file: impl FnOnce(&mut Gathered),
        environment: impl IntoIterator<Item = (String, String)>,
        flags: impl IntoIterator<Item = (String, String)>,
    ) -> Gathered {
        let environment: Vec<_> = environment.into_iter().collect();
        let mut gathered = Gathered::default();
        if let Some((name, value)) = environment.iter().find(|(name, _)| name == SKIP_VALIDATION) {
            match value.trim().to_ascii_lowercase().as_str() {
                "true" => gathered.skip_validation = true,
                "false" | "" => {}
                _ => gathered.report.problems.push(Problem {
                    origin: Origin::Environment(name.clone()),
                    setting: String::new(),
                    what: "neither true nor false".to_owned(),
                    cure: "write true to have unknown names as warnings, or take it out".to_owned(),
                }),
            }
        }
        file(&mut gathered);
        gathered.add_environment(environment);
        gathered.add_flags(flags);
        gathered
    }

    fn examine(gathered: Gathered) -> Checked {
        if gathered.unread {
            return Checked {
                problems: gathered.report.problems,
                ..Checked::default()
            };
        }
        let sections = [
            "cluster",
            "discovery",
            "tls",
            "storage",
            "limits",
            "tickets",
        ];
        let [cluster, discovery, tls, storage, limits, tickets] =
            sections.map(|name| gathered.section(name));
        let ignored = gathered.ignored;
        let given = tls.iter();
        let tls_origins = given
            .map(|(name, given)| ((*name).to_owned(), given.origin.clone()))
            .collect();
        let mut report = gathered.report;
        let cluster = ClusterSettings::read(&mut Reader::new("cluster", &cluster, &mut report));
        let discovery =
            DiscoverySettings::read(&mut Reader::new("discovery", &discovery, &mut report));
        let tls = TlsSettings::read(
            &mut Reader::new("tls", &tls, &mut report),
            &discovery.addresses,
            discovery.local_address.as_deref(),
        );
        let storage = StorageSettings::read(&mut Reader::new("storage", &storage, &mut report));
        let limits = LimitSettings::read(&mut Reader::new("limits", &limits, &mut report));
        let tickets_given = !tickets.is_empty();
        let tickets =
            TicketSettings::read(&tickets, &mut Reader::new("tickets", &tickets, &mut report));
        let endpoints = discovery.addresses.endpoints().len();
        let quorum_of = cluster.quorum_of;
        let given = &gathered.caches;
        let mut caches = caches::read_all(given, endpoints, quorum_of, &tickets, &mut report);
        tickets::add_caches(&mut caches, &tickets, tickets_given);
        // In the order of the file, whatever the order of the checks.
        report
            .problems
            .sort_by(|one, other| one.origin.cmp(&other.origin));
        report
            .warnings
            .sort_by(|one, other| one.origin.cmp(&other.origin));
        let settings = Self {
            cluster,
            discovery,
            tls,
            storage,
            caches,
            tickets,
            limits,
            warnings: report.warnings,
            ignored,
        };
        Checked {
            settings,
            problems: report.problems,
            tls_origins,
        }
    }
}

/// All that can be said of settings.
#[derive(Debug, Default)]
pub struct Checked {
    /// What was given, and defaults for what is wrong or absent.
    pub settings: Settings,
    /// What is wrong.
    pub problems: Vec<Problem>,
    /// Where each setting of `[tls]` was given.
    pub tls_origins: BTreeMap<String, Origin>,
}

/// The variables of this process, without those that are not text.
///
/// # Example
///
/// ```
/// let variables = embergrid::config::environment().into_iter();
/// let ours = variables.filter(|(name, _)| name.starts_with("EMBERGRID_"));
/// println!("{} of them are settings", ours.count());
/// ```
pub fn environment() -> Vec<(String, String)> {
    std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .collect()
}
