//! TLS: server and client configurations from the settings. Both sides show a certificate, no
//! session is ever resumed (a withdrawn certificate must not come back in by an old session), and
//! HTTP/2 is the only protocol.
//!
//! **Who is a node.** The certificate of a node is issued by an authority of `trust-store`, is
//! good for servers and for clients, and carries [`NODE_CERTIFICATE_NAME`] among its names. Who
//! dials verifies that name, whatever address it dialled. Who accepts admits every certificate
//! that either trust store vouches for, and notes whether it is a node's: only that opens the
//! service between nodes.

use super::stores::{
    EXPIRED, KeyAndChain, dns_names, file_error, read_key_store, read_trust_store,
};
use crate::config::{Store, TlsProtocol, TlsSettings};
use crate::error::{Error, ErrorKind, Result};
use crate::types::node::NODE_CERTIFICATE_NAME;
use rustls::client::danger::ServerCertVerifier;
use rustls::client::{Resumption, WebPkiServerVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{ClientConfig, RootCertStore, ServerConfig, SupportedProtocolVersion};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

/// The protocol of every connection but those that follow.
pub const ALPN_HTTP2: &[u8] = b"h2";

/// Also HTTP/2: asked for by a node for the connection that carries heartbeats and membership,
/// so that whoever accepts it serves it apart from all others.
pub const ALPN_CONTROL: &[u8] = b"embergrid-control";

/// What a node needs to accept and to dial.
#[derive(Clone)]
pub struct NodeTls {
    /// For those who connect.
    pub server: Arc<ServerConfig>,
    /// For data links and users of other nodes.
    pub client: Arc<ClientConfig>,
    /// For control links.
    pub control: Arc<ClientConfig>,
    /// Tells nodes from clients.
    pub nodes: NodeCertificates,
    /// Whom this node admits, nodes and clients.
    all: Arc<dyn ClientCertVerifier>,
    /// When this node's certificate ends, in seconds since the Unix epoch.
    pub certificate_expires_at: u64,
    /// How often the files had changed before these were read.
    pub generation: u64,
}

impl NodeTls {
    /// The same, as that of another generation.
    pub fn of_generation(self, generation: u64) -> Self {
        Self { generation, ..self }
    }

    /// Whether a connection that was admitted with this chain, leaf first, as that of a node or
    /// of a client, would be admitted now.
    pub fn still_admits(&self, chain: &[CertificateDer<'_>], is_node: bool) -> bool {
        let Some((leaf, rest)) = chain.split_first() else {
            return false;
        };
        let now = UnixTime::since_unix_epoch(since_epoch());
        let admitted = self.all.verify_client_cert(leaf, rest, now).is_ok();
        admitted && (!is_node || self.nodes.admit(chain))
    }
}

/// Tells the certificate of a node from that of a client.
#[derive(Clone)]
pub struct NodeCertificates {
    verifier: Arc<dyn ClientCertVerifier>,
    peer_names: Arc<[String]>,
}

impl NodeCertificates {
    /// Whether a chain, leaf first, is that of a node of this cluster.
    pub fn admit(&self, chain: &[CertificateDer<'_>]) -> bool {
        self.why_not(chain).is_none()
    }

    /// Why a chain, leaf first, is not that of a node of this cluster.
    pub fn why_not(&self, chain: &[CertificateDer<'_>]) -> Option<String> {
        let Some((leaf, rest)) = chain.split_first() else {
            return Some("there is no certificate".to_owned());
        };
        let names = dns_names(leaf);
        if !names.iter().any(|name| name == NODE_CERTIFICATE_NAME) {
            return Some(format!(
                "the certificate lacks the DNS name {NODE_CERTIFICATE_NAME}"
            ));
        }
        if !self.names_fit(&names) {
            return Some("the certificate carries none of tls.peer-names".to_owned());
        }
        let now = UnixTime::since_unix_epoch(since_epoch());
        let refused = self.verifier.verify_client_cert(leaf, rest, now).err();
        refused.map(|error| format!("no authority of nodes vouches for the certificate: {error}"))
    }

    /// Whether a leaf carries one of the further names that the settings ask for.
    pub fn has_peer_name(&self, leaf: &CertificateDer<'_>) -> bool {
        self.names_fit(&dns_names(leaf))
    }

    fn names_fit(&self, names: &[String]) -> bool {
        self.peer_names.is_empty() || names.iter().any(|name| self.peer_names.contains(name))
    }
}

/// The name that everyone who dials a node verifies.
pub fn node_server_name() -> ServerName<'static> {
    ServerName::try_from(NODE_CERTIFICATE_NAME).expect("a constant that is a DNS name")
}

/// Configurations of a node; absent where the settings turn TLS off.
///
/// # Errors
///
/// `InvalidArgument` naming every file with something wrong, and what it is.
pub fn node_tls(settings: &TlsSettings) -> Result<Option<NodeTls>> {
    if !settings.enabled {
        return Ok(None);
    }
    both_stores(settings)?;
    let files = Files::read(settings).map_err(all_in_one)?;
    if !files.carries_peer_name {
        tracing::warn!(
            "this node's own certificate carries none of tls.peer-names: peers with the same \
             settings will refuse it"
        );
    }
    let provider = &files.provider;
    let verifier = match &files.clients {
        None => Arc::clone(&files.node_verifier),
        Some((store, clients)) => {
            let mut all = RootCertStore::clone(&files.authorities);
            all.extend(clients.roots.iter().cloned());
            verifier(store, &Arc::new(all), provider)?
        }
    };
    let client =
        |protocol| client_config(settings, provider, &files.key, &files.authorities, protocol);
    Ok(Some(NodeTls {
        server: Arc::new(server_config(
            settings,
            provider,
            &files.key,
            Arc::clone(&verifier),
        )?),
        all: verifier,
        generation: 0,
        client: Arc::new(client(ALPN_HTTP2)?),
        control: Arc::new(client(ALPN_CONTROL)?),
        nodes: NodeCertificates {
            verifier: Arc::clone(&files.node_verifier),
            peer_names: settings.peer_names.clone().into(),
        },
        certificate_expires_at: files.expires_at,
    }))
}

/// Something that is wrong with one of the files.
pub struct FileProblem {
    /// Which store, as its settings begin: `key-store`, `trust-store` or `client-trust-store`.
    pub store: &'static str,
    /// What is wrong with it.
    pub error: Error,
}

/// Everything that is wrong with the files that the settings name; empty where a node may start
/// with them. A file that is not named is not missed here.
pub fn problems(settings: &TlsSettings) -> Vec<FileProblem> {
    if !settings.enabled {
        return Vec::new();
    }
    Files::read(settings).err().unwrap_or_default()
}

/// The same for who only dials: the certificate need not be that of a node.
pub fn client_problems(settings: &TlsSettings) -> Vec<FileProblem> {
    if !settings.enabled {
        return Vec::new();
    }
    let provider = Arc::new(aws_lc_rs::default_provider());
    let own = settings
        .key_store
        .as_ref()
        .map(|store| own(store, &provider));
    let trust = settings.trust_store.as_ref().map(read_trust_store);
    let own = own.and_then(|own| FileProblem::of("key-store", own.err()));
    let trust = trust.and_then(|trust| FileProblem::of("trust-store", trust.err()));
    own.into_iter().chain(trust).collect()
}

impl FileProblem {
    fn of(store: &'static str, error: Option<Error>) -> Option<Self> {
        error.map(|error| Self { store, error })
    }

    /// How to mend it.
    pub fn cure(&self) -> String {
        let store = self.store;
        match &*self.error.reason {
            EXPIRED => "renew the certificate, and look at the clock of this machine".to_owned(),
            MISMATCH => {
                "put a key and its own certificate into one file, that one first".to_owned()
            }
            NOT_A_NODE => {
                "name the key store of a node, as `embergrid certs node` makes it".to_owned()
            }
            UNTRUSTED => {
                "use a certificate by an authority of the trust store, or add its authority there"
                    .to_owned()
            }
            _ if self.store == "key-store" => {
                format!(
                    "mend the file, name another one, or give the {store}-password that opens it"
                )
            }
            _ => format!("mend the file, name another one, or give its {store}-password"),
        }
    }
}

/// The reasons of errors about files that could be read.
const MISMATCH: &str = "TLS_KEY_MISMATCH";
const NOT_A_NODE: &str = "TLS_NOT_A_NODE";
const UNTRUSTED: &str = "TLS_UNTRUSTED";

/// The key of a store as it is used, its chain, and when that ends.
type Own = (Arc<SingleCertAndKey>, Vec<CertificateDer<'static>>, u64);

fn own(store: &Store, provider: &CryptoProvider) -> Result<Own> {
    let own = read_key_store(store, since_epoch().as_secs())?;
    let (chain, expires_at) = (own.chain.clone(), own.expires_at);
    Ok((certified(store, own, provider)?, chain, expires_at))
}

/// What the files of a node hold.
struct Files<'a> {
    provider: Arc<CryptoProvider>,
    key: Arc<SingleCertAndKey>,
    expires_at: u64,
    authorities: Arc<RootCertStore>,
    node_verifier: Arc<dyn ClientCertVerifier>,
    clients: Option<(&'a Store, RootCertStore)>,
    /// Whether the certificate would pass the `peer-names` of these settings.
    carries_peer_name: bool,
}

impl<'a> Files<'a> {
    /// Reads all of them and finds all that is wrong.
    fn read(settings: &'a TlsSettings) -> std::result::Result<Self, Vec<FileProblem>> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let key_store = settings.key_store.as_ref();
        let trust_store = settings.trust_store.as_ref();
        let own = key_store.map(|store| Ok((store, own(store, &provider)?)));
        let trust = trust_store.map(|store| Trust::read(store, &provider));
        let clients = settings.client_trust_store.as_ref();
        let clients = clients.map(|store| Ok((store, read_trust_store(store)?)));
        match (own, trust, clients.transpose()) {
            (Some(Ok((store, own))), Some(Ok(trust)), Ok(clients)) => {
                let (key, chain, expires_at) = own;
                check_own_chain(store, &chain, &trust, &provider).map_err(|error| {
                    let store = "key-store";
                    vec![FileProblem { store, error }]
                })?;
                let names = chain.first().map(dns_names).unwrap_or_default();
                let wanted = &settings.peer_names;
                Ok(Self {
                    provider,
                    key,
                    expires_at,
                    authorities: trust.authorities,
                    node_verifier: trust.verifier,
                    clients,
                    carries_peer_name: wanted.is_empty()
                        || names.iter().any(|name| wanted.contains(name)),
                })
            }
            (own, trust, clients) => {
                let found = [
                    FileProblem::of("key-store", own.and_then(std::result::Result::err)),
                    FileProblem::of("trust-store", trust.and_then(std::result::Result::err)),
                    FileProblem::of("client-trust-store", clients.err()),
                ];
                Err(found.into_iter().flatten().collect())
            }
        }
    }
}

/// The authorities of nodes.
struct Trust<'a> {
    store: &'a Store,
    authorities: Arc<RootCertStore>,
    verifier: Arc<dyn ClientCertVerifier>,
}

impl<'a> Trust<'a> {
    fn read(store: &'a Store, provider: &Arc<CryptoProvider>) -> Result<Self> {
        let authorities = Arc::new(read_trust_store(store)?);
        let verifier = verifier(store, &authorities, provider)?;
        Ok(Self {
            store,
            authorities,
            verifier,
        })
    }
}

/// One error that says what all of them say.
fn all_in_one(found: Vec<FileProblem>) -> Error {
    let all: Vec<String> = found
        .iter()
        .map(|found| found.error.context.to_string())
        .collect();
    Error::new(ErrorKind::InvalidArgument, all.join("; ")).because("TLS_SETTINGS")
}

/// The configuration of a client; absent where the settings turn TLS off.
///
/// # Errors
///
/// As [`node_tls`].
///
/// # Example
///
/// With the files that `embergrid certs client console` writes:
///
/// ```no_run
/// # fn example() -> embergrid::error::Result<()> {
/// use embergrid::config::{Store, StoreType, TlsSettings};
/// use embergrid::rpc::tls::client_tls;
///
/// let pem = |path: &str| Store {
///     path: path.into(),
///     form: StoreType::Pem,
///     password: None,
///     key_password: None,
/// };
/// let tls = client_tls(&TlsSettings {
///     key_store: Some(pem("certs/console.key.pem")),
///     trust_store: Some(pem("certs/authority.pem")),
///     ..TlsSettings::default()
/// })?;
/// assert!(tls.is_some(), "TLS is on unless it is turned off");
/// # Ok(())
/// # }
/// ```
pub fn client_tls(settings: &TlsSettings) -> Result<Option<Arc<ClientConfig>>> {
    if !settings.enabled {
        return Ok(None);
    }
    let (key_store, trust_store) = both_stores(settings)?;
    let provider = Arc::new(aws_lc_rs::default_provider());
    let (key, ..) = own(key_store, &provider)?;
    let authorities = Arc::new(read_trust_store(trust_store)?);
    let config = client_config(settings, &provider, &key, &authorities, ALPN_HTTP2)?;
    Ok(Some(Arc::new(config)))
}

fn since_epoch() -> std::time::Duration {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
}

fn both_stores(settings: &TlsSettings) -> Result<(&Store, &Store)> {
    match (&settings.key_store, &settings.trust_store) {
        (Some(key_store), Some(trust_store)) => Ok((key_store, trust_store)),
        (None, Some(_)) => Err(half("tls.key-store-file-path")),
        (Some(_), None) => Err(half("tls.trust-store-file-path")),
        (None, None) => Err(half(
            "tls.key-store-file-path and tls.trust-store-file-path",
        )),
    }
}

fn half(missing: &str) -> Error {
    Error::new(
        ErrorKind::InvalidArgument,
        format!("TLS is on and {missing} is missing; set it, or tls.enabled = false on loopback"),
    )
    .because("TLS_SETTINGS")
}

fn certified(
    store: &Store,
    own: KeyAndChain,
    provider: &CryptoProvider,
) -> Result<Arc<SingleCertAndKey>> {
    let key =
        CertifiedKey::from_der(own.chain, own.key, provider).map_err(|error| match error {
            rustls::Error::InconsistentKeys(_) => file_error(
                &store.path,
                "the private key does not belong to the first certificate",
            )
            .because(MISMATCH),
            error => file_error(
                &store.path,
                format!("the private key cannot be used: {error}"),
            ),
        })?;
    Ok(Arc::new(SingleCertAndKey::from(key)))
}

fn verifier(
    store: &Store,
    roots: &Arc<RootCertStore>,
    provider: &Arc<CryptoProvider>,
) -> Result<Arc<dyn ClientCertVerifier>> {
    WebPkiClientVerifier::builder_with_provider(Arc::clone(roots), Arc::clone(provider))
        .build()
        .map_err(|error| file_error(&store.path, error))
}

/// A node whose own certificate its peers (which trust the same authorities) would refuse, as that
/// of who dials or of who is dialled, is told so before it starts.
fn check_own_chain(
    key_store: &Store,
    chain: &[CertificateDer<'_>],
    trust: &Trust<'_>,
    provider: &Arc<CryptoProvider>,
) -> Result<()> {
    let Some((leaf, rest)) = chain.split_first() else {
        return Ok(());
    };
    if !dns_names(leaf)
        .iter()
        .any(|name| name == NODE_CERTIFICATE_NAME)
    {
        let what = format!(
            "is not the certificate of a node: it lacks the DNS name {NODE_CERTIFICATE_NAME}"
        );
        return Err(file_error(&key_store.path, what).because(NOT_A_NODE));
    }
    let now = UnixTime::since_unix_epoch(since_epoch());
    let refused = |who: &str, error: rustls::Error| {
        use rustls::CertificateError::{InvalidPurpose, InvalidPurposeContext};
        let purpose = matches!(
            error,
            rustls::Error::InvalidCertificate(InvalidPurpose | InvalidPurposeContext { .. })
        );
        let by = trust.store.path.display();
        let what = format!("no node would accept the certificate from a {who}, by {by}: {error}");
        let reason = if purpose { NOT_A_NODE } else { UNTRUSTED };
        file_error(&key_store.path, what).because(reason)
    };
    let as_client = trust.verifier.verify_client_cert(leaf, rest, now);
    as_client.map_err(|error| refused("client", error))?;
    let server = WebPkiServerVerifier::builder_with_provider(
        Arc::clone(&trust.authorities),
        Arc::clone(provider),
    );
    let server = server
        .build()
        .map_err(|error| file_error(&trust.store.path, error))?;
    server
        .verify_server_cert(leaf, rest, &node_server_name(), &[], now)
        .map(drop)
        .map_err(|error| refused("server", error))
}

fn versions(protocol: TlsProtocol) -> Vec<&'static SupportedProtocolVersion> {
    match protocol {
        TlsProtocol::Any => vec![&rustls::version::TLS13, &rustls::version::TLS12],
        TlsProtocol::V12 => vec![&rustls::version::TLS12],
        TlsProtocol::V13 => vec![&rustls::version::TLS13],
    }
}

fn server_config(
    settings: &TlsSettings,
    provider: &Arc<CryptoProvider>,
    key: &Arc<SingleCertAndKey>,
    verifier: Arc<dyn ClientCertVerifier>,
) -> Result<ServerConfig> {
    let mut config = ServerConfig::builder_with_provider(Arc::clone(provider))
        .with_protocol_versions(&versions(settings.protocol))
        .map_err(no_versions)?
        .with_client_cert_verifier(verifier)
        .with_cert_resolver(Arc::clone(key) as Arc<dyn rustls::server::ResolvesServerCert>);
    config.alpn_protocols = vec![ALPN_CONTROL.to_vec(), ALPN_HTTP2.to_vec()];
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(config)
}

fn client_config(
    settings: &TlsSettings,
    provider: &Arc<CryptoProvider>,
    key: &Arc<SingleCertAndKey>,
    authorities: &Arc<RootCertStore>,
    protocol: &[u8],
) -> Result<ClientConfig> {
    let mut config = ClientConfig::builder_with_provider(Arc::clone(provider))
        .with_protocol_versions(&versions(settings.protocol))
        .map_err(no_versions)?
        .with_root_certificates(Arc::clone(authorities))
        .with_client_cert_resolver(Arc::clone(key) as Arc<dyn rustls::client::ResolvesClientCert>);
    config.alpn_protocols = vec![protocol.to_vec()];
    config.resumption = Resumption::disabled();
    Ok(config)
}

fn no_versions(error: rustls::Error) -> Error {
    Error::new(
        ErrorKind::Internal,
        format!("TLS cannot be set up: {error}"),
    )
}
