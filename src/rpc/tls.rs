//! TLS: server and client configurations from the settings. Both sides show a certificate, no
//! session is ever resumed (a withdrawn certificate must not come back in by an old session), and
//! HTTP/2 is the only protocol.
//!
//! **Who is a node.** The certificate of a node is issued by an authority of `trust-store`, is
//! good for servers and for clients, and carries [`NODE_CERTIFICATE_NAME`] among its names. Who
//! dials verifies that name, whatever address it dialled. Who accepts admits every certificate
//! that either trust store vouches for, and notes whether it is a node's: only that opens the
//! service between nodes.

use super::pem::{KeyAndChain, dns_names, file_error, read_key_store, read_trust_store};
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
    /// When this node's certificate ends, in seconds since the Unix epoch.
    pub certificate_expires_at: u64,
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
        let Some((leaf, rest)) = chain.split_first() else {
            return false;
        };
        let names = dns_names(leaf);
        let now = UnixTime::since_unix_epoch(since_epoch());
        names.iter().any(|name| name == NODE_CERTIFICATE_NAME)
            && self.names_fit(&names)
            && self.verifier.verify_client_cert(leaf, rest, now).is_ok()
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
/// `InvalidArgument` naming the file and what is wrong with it; `Unimplemented` for files in a
/// form other than PEM.
pub fn node_tls(settings: &TlsSettings) -> Result<Option<NodeTls>> {
    if !settings.enabled {
        return Ok(None);
    }
    let (key_store, trust_store) = both_stores(settings)?;
    let provider = Arc::new(aws_lc_rs::default_provider());
    let own = read_key_store(key_store, since_epoch().as_secs())?;
    let expires_at = own.expires_at;
    let chain = own.chain.clone();
    let key = certified(key_store, own, &provider)?;

    let authorities = Arc::new(read_trust_store(trust_store)?);
    let node_verifier = verifier(trust_store, &authorities, &provider)?;
    let nodes = NodeCertificates {
        verifier: Arc::clone(&node_verifier),
        peer_names: settings.peer_names.clone().into(),
    };
    check_own_chain(key_store, trust_store, &chain, node_verifier.as_ref())?;

    let verifier = match &settings.client_trust_store {
        None => node_verifier,
        Some(store) => {
            let mut all = RootCertStore::clone(&authorities);
            all.extend(read_trust_store(store)?.roots);
            verifier(store, &Arc::new(all), &provider)?
        }
    };
    let server = server_config(settings, &provider, Arc::clone(&key), verifier)?;
    let client = client_config(settings, &provider, &key, &authorities, ALPN_HTTP2)?;
    let control = client_config(settings, &provider, &key, &authorities, ALPN_CONTROL)?;
    Ok(Some(NodeTls {
        server: Arc::new(server),
        client: Arc::new(client),
        control: Arc::new(control),
        nodes,
        certificate_expires_at: expires_at,
    }))
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
    key: Arc<SingleCertAndKey>,
    verifier: Arc<dyn ClientCertVerifier>,
) -> Result<ServerConfig> {
    let mut config = ServerConfig::builder_with_provider(Arc::clone(provider))
        .with_protocol_versions(&versions(settings.protocol))
        .map_err(no_versions)?
        .with_client_cert_verifier(verifier)
        .with_cert_resolver(key);
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
