//! One node in this process, with mutual TLS on a free port, and clients for it.

use crate::rig::{Authorities, PATIENCE, listeners, settings};
use embergrid::config::Settings;
use embergrid::error::Error;
use embergrid::rpc::proto::cache_service_client::CacheServiceClient;
use embergrid::rpc::proto::cluster_service_client::ClusterServiceClient;
use embergrid::rpc::proto::{GetRequest, PutRequest};
use embergrid::rpc::status::from_status;
use embergrid::rpc::tls::client_tls;
use embergrid::service::server::ServingNode;
use embergrid::types::{AtomicityMode, CacheSettings};
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tonic::Status;
use tonic::transport::{Channel, Endpoint, Uri};

/// An ATOMIC cache.
pub const ATOMIC: &str = "atomic";
/// A TRANSACTIONAL one.
pub const TRANSACTIONAL: &str = "transactional";
/// The largest value of both.
pub const VALUE_MAX: usize = 64 << 10;

/// A cluster of one node.
pub struct Alone {
    _authorities: Authorities,
    pub node: ServingNode,
    pub port: u16,
    pub tls: Arc<ClientConfig>,
    pub cache: CacheServiceClient<Channel>,
    pub cluster: ClusterServiceClient<Channel>,
}

impl Alone {
    /// Starts the node and waits until it serves.
    pub async fn start() -> Self {
        Self::start_with(|_| {}).await
    }

    /// As [`Alone::start`], with other settings.
    pub async fn start_with(change: impl FnOnce(&mut Settings)) -> Self {
        let authorities = Authorities::new("services");
        let (mut listeners, list) = listeners(1);
        let listener = listeners.remove(0);
        let port = listener.local_addr().expect("it is bound").port();
        let mut settings = settings(&list, authorities.node("node"));
        settings.caches = vec![
            cache(ATOMIC, AtomicityMode::Atomic),
            cache(TRANSACTIONAL, AtomicityMode::Transactional),
        ];
        change(&mut settings);
        let tls = client_tls(&authorities.client("client"))
            .expect("certificates")
            .expect("TLS is on");
        let node = ServingNode::start_on(&settings, listener).expect("a node");
        let channel = channel(port, Arc::clone(&tls));
        let alone = Self {
            _authorities: authorities,
            node,
            port,
            tls,
            cache: CacheServiceClient::new(channel.clone()),
            cluster: ClusterServiceClient::new(channel),
        };
        until("the node serves", || async {
            alone.node.handle().serving()
        })
        .await;
        alone
    }

    /// A connection of its own.
    pub fn channel(&self) -> Channel {
        channel(self.port, Arc::clone(&self.tls))
    }

    /// A TLS session without anything said on it. Absent protocols: none is offered.
    pub async fn session(&self, protocols: &[&[u8]]) -> std::io::Result<TlsStream<TcpStream>> {
        let mut tls = ClientConfig::clone(&self.tls);
        tls.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
        dial(self.port, Arc::new(tls)).await
    }

    /// The node answers others as if nothing had happened.
    pub async fn is_well(&self) {
        let mut cache = CacheServiceClient::new(self.channel());
        cache
            .put(put(ATOMIC, "well", "yes"))
            .await
            .expect("a write");
        let entry = cache
            .get(get(ATOMIC, "well"))
            .await
            .expect("a read")
            .into_inner()
            .entry;
        assert_eq!(entry.expect("an entry").value, "yes");
    }
}

/// A small cache.
pub fn cache(name: &str, atomicity: AtomicityMode) -> CacheSettings {
    let entry_bytes_max = VALUE_MAX as u64;
    CacheSettings {
        partitions: 16,
        entry_bytes_max,
        atomicity,
        ..CacheSettings::named(name)
    }
}

/// A connection to a node, made when it is needed.
pub fn channel(port: u16, tls: Arc<ClientConfig>) -> Channel {
    let connector = tower::service_fn(move |_: Uri| {
        let tls = Arc::clone(&tls);
        async move { dial(port, tls).await.map(TokioIo::new) }
    });
    Endpoint::from_shared(format!("https://127.0.0.1:{port}"))
        .expect("an address")
        .connect_with_connector_lazy(connector)
}

async fn dial(port: u16, tls: Arc<ClientConfig>) -> std::io::Result<TlsStream<TcpStream>> {
    let tcp = TcpStream::connect(("127.0.0.1", port)).await?;
    tcp.set_nodelay(true)?;
    let name = ServerName::try_from("127.0.0.1").expect("a name");
    TlsConnector::from(tls).connect(name, tcp).await
}

/// Waits for a condition.
pub async fn until<F: Future<Output = bool>>(what: &str, mut holds: impl FnMut() -> F) {
    let give_up = Instant::now() + PATIENCE;
    while !holds().await {
        assert!(Instant::now() < give_up, "not within {PATIENCE:?}: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// What must come before patience ends.
pub async fn soon<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, what).await.expect("in time")
}

/// The error that a call ended with.
pub fn refused<T: std::fmt::Debug>(result: Result<T, Status>) -> Error {
    from_status(&result.expect_err("a refusal"))
}

pub fn get(cache: &str, key: &str) -> GetRequest {
    GetRequest {
        cache: cache.into(),
        key: key.to_owned().into(),
        ..Default::default()
    }
}

pub fn put(cache: &str, key: &str, value: &str) -> PutRequest {
    PutRequest {
        cache: cache.into(),
        key: key.to_owned().into(),
        value: value.to_owned().into(),
        ..Default::default()
    }
}
