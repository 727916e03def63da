//! `[tls]`: this node's certificate and whom it trusts. The files are named here and looked at
//! from outside (there, readable, of the right form); what they say is read by `rpc`.

use super::addresses::{AddressList, is_loopback};
use super::given::Reader;
use super::stores::Store;

/// The most names in `peer-names`.
const PEER_NAMES_MAX: usize = 64;

/// Which versions of TLS are spoken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TlsProtocol {
    /// 1.2 and 1.3.
    #[default]
    Any,
    /// 1.2 only.
    V12,
    /// 1.3 only.
    V13,
}

/// The section `[tls]`. Where `enabled` is true, both stores are present once it is loaded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsSettings {
    /// False is allowed on loopback only.
    pub enabled: bool,
    /// The private key and the chain of this node.
    pub key_store: Option<Store>,
    /// The authorities of nodes.
    pub trust_store: Option<Store>,
    /// The authorities of clients; absent: those of nodes.
    pub client_trust_store: Option<Store>,
    /// Which versions of TLS are spoken.
    pub protocol: TlsProtocol,
    /// The names one of which a peer's certificate must carry besides that of a node; empty:
    /// no further name is asked for.
    pub peer_names: Vec<String>,
}

impl Default for TlsSettings {
    fn default() -> Self {
        Self {
            enabled: true,
            key_store: None,
            trust_store: None,
            client_trust_store: None,
            protocol: TlsProtocol::default(),
            peer_names: Vec::new(),
        }
    }
}

const MAKE_ONE: &str = "name the file, made by `embergrid certs` for a first cluster; on loopback \
                        alone, `enabled = false` does without";

impl TlsSettings {
    /// Reads the section.
    pub(super) fn read(
        reader: &mut Reader<'_>,
        addresses: &AddressList,
        local_address: Option<&str>,
    ) -> Self {
        let mut settings = Self::default();
        let given = reader.boolean("enabled");
        settings.enabled = given.unwrap_or(true);
        settings.key_store = Store::read(reader, "key-store", Some("key-password"), MAKE_ONE);
        settings.trust_store = Store::read(reader, "trust-store", None, MAKE_ONE);
        settings.client_trust_store = Store::read(reader, "client-trust-store", None, MAKE_ONE);
        if reader.misread("enabled", &given) {
            // Nobody knows whether stores are wanted.
        } else if settings.enabled {
            for (name, what) in [
                (
                    "key-store-file-path",
                    "TLS is on, and this node has no key and certificate",
                ),
                ("trust-store-file-path", "TLS is on, and nobody is trusted"),
            ] {
                if !reader.has(name) {
                    // Half a section: the half that is there says where the other belongs.
                    let halves = ["key-store-file-path", "trust-store-file-path", "enabled"];
                    let half = halves.iter().find(|half| reader.has(half));
                    let origin = half.map(|half| reader.origin(half));
                    reader.problem_at(name, origin, what, MAKE_ONE);
                }
            }
        } else {
            let local = local_address.is_none_or(is_loopback);
            if !addresses.loopback_only() || !local {
                reader.problem(
                    "enabled",
                    "plain text is allowed on loopback only, and the address list or \
                     local-address leaves it",
                    "turn TLS on, or use localhost throughout",
                );
            }
            if settings.key_store.is_some() || settings.trust_store.is_some() {
                reader.warning(
                    "enabled",
                    "the key and trust stores are not used while TLS is off",
                    "take out `enabled = false` to use them",
                );
            }
            for name in ["client-trust-store-file-path", "peer-names", "protocol"] {
                if reader.has(name) {
                    let cure = "take it out, or turn TLS on";
                    reader.warning(name, "without effect while TLS is off", cure);
                }
            }
        }
        let protocols = [
            ("TLS", TlsProtocol::Any),
            ("TLSv1.2", TlsProtocol::V12),
            ("TLSv1.3", TlsProtocol::V13),
        ];
        settings.protocol = reader.choice("protocol", &protocols).unwrap_or_default();
        // Both name the one way in which certificates are handled here.
        let _accepted = reader.choice("key-algorithm", &[("SunX509", ()), ("PKIX", ())]);
        settings.peer_names = read_peer_names(reader);
        settings
    }
}

fn read_peer_names(reader: &mut Reader<'_>) -> Vec<String> {
    let Some(names) = reader.list("peer-names") else {
        return Vec::new();
    };
    if names.len() > PEER_NAMES_MAX {
        let cure = format!("{PEER_NAMES_MAX} names at most");
        reader.problem("peer-names", "too many names", cure);
        return Vec::new();
    }
    let mut read = Vec::with_capacity(names.len());
    for (name, origin) in names {
        match super::addresses::parse_host(&name) {
            Ok(name) => read.push(name),
            Err((what, cure)) => reader.problem_at("peer-names", Some(origin), what, cure),
        }
    }
    read
}
