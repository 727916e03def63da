//! `[tls]`: this node's certificate and whom it trusts. Files are named here and read elsewhere.

use std::fmt;
use std::path::PathBuf;

/// The form of a file with keys or certificates.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum StoreType {
    /// A Java key store. Named here to be refused: not in this version.
    #[default]
    Jks,
    /// PKCS #12. Named here to be refused: not in this version.
    Pkcs12,
    /// PEM blocks. A key store holds the private key and the chain, leaf first, in one file.
    Pem,
}

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

/// A password or key: never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

/// A file with keys or certificates.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Store {
    /// Where it is.
    pub path: PathBuf,
    /// What opens it, where it is locked.
    pub password: Option<Secret>,
    /// Its form; always [`StoreType::Pem`] once the settings are loaded.
    pub form: StoreType,
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

impl Secret {
    /// Keeps a secret.
    pub fn new(secret: impl Into<String>) -> Self {
        Self(secret.into())
    }

    /// The secret itself, for those who open something with it.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(not shown)")
    }
}
