//! TLS: server and client configurations from the settings. Both sides show a certificate, no
//! session is ever resumed (a withdrawn certificate must not come back in by an old session), and
//! HTTP/2 is the only protocol.
//!
//! **Who is a node.** The certificate of a node is issued by an authority of `trust-store`, is
//! good for servers and for clients, and carries [`NODE_CERTIFICATE_NAME`] among its names. Who
//! dials verifies that name, whatever address it dialled. Who accepts admits every certificate
//! that either trust store vouches for, and notes whether it is a node's: only that opens the
//! service between nodes.

use super::stores::{KeyAndChain, dns_names, file_error, read_key_store, read_trust_store};
use crate::config::{Store, TlsProtocol, TlsSettings};
use crate::error::{Error, ErrorKind, Result};
use crate::types::node::NODE_CERTIFICATE_NAME;
use rustls::client::Resumption;
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
    let files = Files::read(settings).map_err(all_in_one)?;
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

/// Everything that is wrong with the files of a node; empty where it may start with them.
pub fn problems(settings: &TlsSettings) -> Vec<Error> {
    if !settings.enabled {
        return Vec::new();
    }
    Files::read(settings).err().unwrap_or_default()
}

/// What the files of a node hold.
struct Files<'a> {
    provider: Arc<CryptoProvider>,
    key: Arc<SingleCertAndKey>,
    expires_at: u64,
    authorities: Arc<RootCertStore>,
    node_verifier: Arc<dyn ClientCertVerifier>,
    clients: Option<(&'a Store, RootCertStore)>,
}

impl<'a> Files<'a> {
    /// Reads all of them and finds all that is wrong.
    fn read(settings: &'a TlsSettings) -> std::result::Result<Self, Vec<Error>> {
        let (key_store, trust_store) = both_stores(settings).map_err(|error| vec![error])?;
        let provider = Arc::new(aws_lc_rs::default_provider());
        let own = read_key_store(key_store, since_epoch().as_secs()).and_then(|own| {
            let (chain, expires_at) = (own.chain.clone(), own.expires_at);
            Ok((certified(key_store, own, &provider)?, chain, expires_at))
        });
        let trust = read_trust_store(trust_store).and_then(|authorities| {
            let authorities = Arc::new(authorities);
            let verifier = verifier(trust_store, &authorities, &provider)?;
            Ok((authorities, verifier))
        });
        let clients = settings.client_trust_store.as_ref();
        let clients = clients.map(|store| Ok((store, read_trust_store(store)?)));
        match (own, trust, clients.transpose()) {
            (Ok((key, chain, expires_at)), Ok((authorities, node_verifier)), Ok(clients)) => {
                check_own_chain(key_store, trust_store, &chain, node_verifier.as_ref())
                    .map_err(|error| vec![error])?;
                Ok(Self {
                    provider,
                    key,
                    expires_at,
                    authorities,
                    node_verifier,
                    clients,
                })
            }
            (own, trust, clients) => {
                let errors = [own.err(), trust.err(), clients.err()];
                Err(errors.into_iter().flatten().collect())
            }
        }
    }
}

/// One error that says what all of them say.
fn all_in_one(errors: Vec<Error>) -> Error {
    let all: Vec<String> = errors
        .iter()
        .map(|error| error.context.to_string())
        .collect();
    Error::new(ErrorKind::InvalidArgument, all.join("; ")).because("TLS_SETTINGS")
}

/// The configuration of a client; absent where the settings turn TLS off.
///
/// # Errors
///
/// As [`node_tls`].
pub fn client_tls(settings: &TlsSettings) -> Result<Option<Arc<ClientConfig>>> {
    if !settings.enabled {
        return Ok(None);
    }
    let (key_store, trust_store) = both_stores(settings)?;
    let provider = Arc::new(aws_lc_rs::default_provider());
    let own = read_key_store(key_store, since_epoch().as_secs())?;
    let key = certified(key_store, own, &provider)?;
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
            ),
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

/// A node whose own certificate its peers (which trust the same authorities) would refuse is
/// told so before it starts.
fn check_own_chain(
    key_store: &Store,
    trust_store: &Store,
    chain: &[CertificateDer<'_>],
    verifier: &dyn ClientCertVerifier,
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
        return Err(file_error(&key_store.path, what));
    }
    let now = UnixTime::since_unix_epoch(since_epoch());
    verifier
        .verify_client_cert(leaf, rest, now)
        .map(drop)
        .map_err(|error| {
            let what = format!(
                "no node would accept the certificate, by {}: {error}",
                trust_store.path.display()
            );
            file_error(&key_store.path, what)
        })
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
