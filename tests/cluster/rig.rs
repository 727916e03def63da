//! What the tests of this folder share: certificates in a folder that goes away, nodes that can
//! be killed, and waiting for a condition with a deadline.

use embergrid::config::{AddressList, LocalPort, Settings, Store, StoreType, TlsSettings};
use embergrid::error::Result;
use embergrid::node::Handle;
use embergrid::rpc::certificates::{Authority, Identity, Validity};
use embergrid::rpc::names::Names;
use embergrid::service::server::ServingNode;
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::time::{Duration, Instant};
use tokio::net::TcpSocket;
use tokio::runtime::{Builder, Runtime};

/// How long a condition may take on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// The join timeout of a node that must find another one, which a busy machine may make late.
pub const FINDS_ANOTHER: Option<Duration> = Some(Duration::from_secs(3));

/// Waits until a condition holds.
pub fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < deadline, "not within {PATIENCE:?}: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// An authority and a folder for what it signs.
pub struct Authorities {
    pub folder: tempfile::TempDir,
    pub authority: Authority,
}

impl Authorities {
    /// A new one; `name` tells two of a test apart.
    pub fn new(name: &str) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        // It outlives what it signs, whatever a test asks for.
        let long = Validity::days(365).expect("a year");
        let authority = Authority::new(name, long).expect("an authority");
        let made = Self { folder, authority };
        made.write(
            "authority.pem",
            &made.authority.identity().certificate_pem.clone(),
        );
        made
    }

    /// Writes a file into the folder.
    pub fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.folder.path().join(name);
        std::fs::write(&path, text).expect("the folder can be written");
        path
    }

    /// Where a file of the folder is.
    pub fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The TLS settings of a node.
    pub fn node(&self, name: &str) -> TlsSettings {
        let identity = self
            .authority
            .node(name, &[], validity())
            .expect("a certificate");
        self.tls(name, &identity)
    }

    /// The TLS settings of a client.
    pub fn client(&self, name: &str) -> TlsSettings {
        let identity = self
            .authority
            .client(name, validity())
            .expect("a certificate");
        self.tls(name, &identity)
    }

    /// TLS settings with this identity, trusting this authority.
    pub fn tls(&self, name: &str, identity: &Identity) -> TlsSettings {
        let key_store = self.write(&format!("{name}.pem"), &identity.key_store_pem());
        TlsSettings {
            key_store: Some(pem(key_store)),
            trust_store: Some(pem(self.folder.path().join("authority.pem"))),
            ..TlsSettings::default()
        }
    }
}

/// From now on, for a day.
pub fn validity() -> Validity {
    Validity::days(1).expect("a day is allowed")
}

/// A PEM file.
pub fn pem(path: PathBuf) -> Store {
    Store::new(path, StoreType::Pem)
}

/// Listeners that were bound before the nodes are made, so that every address list can name all.
pub fn listeners(count: usize) -> (Vec<TcpListener>, AddressList) {
    let listeners: Vec<TcpListener> = (0..count)
        .map(|_| TcpListener::bind("127.0.0.1:0").expect("a port"))
        .collect();
    let addresses: Vec<String> = listeners
        .iter()
        .map(|listener| listener.local_addr().expect("an address").to_string())
        .collect();
    let list = AddressList::of(addresses.iter().map(String::as_str)).expect("addresses");
    (listeners, list)
}

/// A port that refuses connections. The system gives it to nobody else, and whoever asks for it by
/// its number gets it: it is free again for the one it is kept for.
pub fn kept_port(address: SocketAddr) -> TcpSocket {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.set_reuseaddr(true).expect("an option of sockets");
    socket.bind(address).expect("the port is free");
    socket
}

/// The settings of a node with this list.
pub fn settings(list: &AddressList, tls: TlsSettings) -> Settings {
    let mut settings = Settings::default();
    settings.discovery.addresses = list.clone();
    settings.discovery.local_port = LocalPort::System;
    settings.tls = tls;
    settings
}

/// A node with a runtime of its own.
pub struct TestNode {
    pub address: SocketAddr,
    node: Option<ServingNode>,
    runtime: Option<Runtime>,
}

impl TestNode {
    /// Starts a node on a listener.
    pub fn start(settings: &Settings, listener: TcpListener) -> Result<Self> {
        Self::start_resolving(settings, listener, Names::default())
    }

    /// The same, with host names looked up in this way.
    pub fn start_resolving(
        settings: &Settings,
        listener: TcpListener,
        names: Names,
    ) -> Result<Self> {
        let address = listener.local_addr().expect("an address");
        let runtime = Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .expect("a runtime");
        let node = {
            let _inside = runtime.enter();
            ServingNode::start_resolving(settings, listener, names)?
        };
        Ok(Self {
            address,
            node: Some(node),
            runtime: Some(runtime),
        })
    }

    /// The node as its users see it.
    pub fn handle(&self) -> Handle {
        self.node.as_ref().expect("it runs").handle()
    }

    /// Waits until it ends by itself.
    pub fn wait_for_end(&mut self) -> Result<()> {
        let node = self.node.as_ref().expect("it runs");
        let runtime = self.runtime.as_ref().expect("it runs");
        runtime.block_on(async {
            let ends = tokio::time::timeout(PATIENCE, node.run_until_stopped());
            ends.await.expect("it ends in time")
        })
    }

    /// Ends it without a word, as a crash would.
    pub fn kill(&mut self) {
        drop(self.node.take());
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_timeout(Duration::from_secs(5));
        }
    }

    /// Stops it in order.
    pub fn shut_down(&mut self) {
        if let (Some(node), Some(runtime)) = (self.node.take(), &self.runtime) {
            runtime.block_on(node.shut_down());
        }
        self.kill();
    }
}

impl Drop for TestNode {
    fn drop(&mut self) {
        self.kill();
    }
}
