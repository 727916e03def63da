//! Accepts connections: TLS handshakes run side by side, each bounded in time and all of them in
//! number, so that a client that is silent, slow or wrong costs nobody else anything. Control
//! links of nodes come out apart from all other connections.
//!
//! What is closed here: whatever is not TLS, shows no certificate that is trusted, speaks another
//! protocol than HTTP/2, or asks for a control link without being a node.

use super::connection::{Connection, Remote};
use super::refusals::Reason;
use super::renewal::Renewal;
use super::tls::ALPN_CONTROL;
use std::collections::VecDeque;
use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::task::AbortHandle;
use tokio_rustls::TlsAcceptor;

/// The most handshakes at a time. One more ends the oldest that is still unfinished: those who
/// are silent wait longest, and honest ones take milliseconds.
pub const HANDSHAKES_MAX: usize = 1_024;

/// Accepted connections that wait to be served.
pub const ACCEPTED_MAX: usize = 256;

/// How long to wait after the system could not accept (no file descriptors, mostly).
const PAUSE: Duration = Duration::from_millis(50);

/// Turns sockets into connections.
pub struct Acceptor {
    tls: Option<Arc<Renewal>>,
    socket_timeout: Duration,
    connections: Arc<Semaphore>,
}

/// A bound listener and what is needed to serve it.
pub struct Listening {
    /// Where connections come in.
    pub listener: TcpListener,
    /// Admits them.
    pub acceptor: Arc<Acceptor>,
    /// Where control links are to be served, so that load elsewhere cannot delay heartbeats.
    pub control_runtime: tokio::runtime::Handle,
}

/// Where accepted connections go.
#[derive(Clone)]
pub struct Accepted {
    /// Control links of nodes.
    pub control: mpsc::Sender<Connection>,
    /// All others.
    pub general: mpsc::Sender<Connection>,
}

impl Acceptor {
    /// Each handshake takes `socket_timeout` at most, and at most `connections_max` stand at a
    /// time; one more is closed at once.
    pub fn new(
        tls: Option<Arc<Renewal>>,
        socket_timeout: Duration,
        connections_max: usize,
    ) -> Arc<Self> {
        let connections = Arc::new(Semaphore::new(connections_max.min(Semaphore::MAX_PERMITS)));
        Arc::new(Self {
            tls,
            socket_timeout,
            connections,
        })
    }

    /// What tells of renewed certificates; absent without TLS.
    pub fn renewal(&self) -> Option<&Arc<Renewal>> {
        self.tls.as_ref()
    }

    /// Accepts until `stop` is done.
    pub async fn run(
        self: Arc<Self>,
        listener: TcpListener,
        accepted: Accepted,
        stop: impl Future<Output = ()>,
    ) {
        tokio::pin!(stop);
        let mut handshakes: VecDeque<AbortHandle> = VecDeque::new();
        loop {
            let socket = tokio::select! {
                () = &mut stop => break,
                socket = listener.accept() => socket,
            };
            let (tcp, address) = match socket {
                Ok(socket) => socket,
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a connection");
                    tokio::time::sleep(PAUSE).await;
                    continue;
                }
            };
            let Ok(permit) = Arc::clone(&self.connections).try_acquire_owned() else {
                self.refused(Reason::TooMany, address, "too many connections");
                continue;
            };
            let task =
                tokio::spawn(Arc::clone(&self).admit(tcp, address, permit, accepted.clone()));
            handshakes.push_back(task.abort_handle());
            if handshakes.len() >= HANDSHAKES_MAX {
                handshakes.retain(|handshake| !handshake.is_finished());
            }
            if handshakes.len() >= HANDSHAKES_MAX
                && let Some(oldest) = handshakes.pop_front()
            {
                oldest.abort();
            }
        }
        for handshake in handshakes {
            handshake.abort();
        }
    }

    async fn admit(
        self: Arc<Self>,
        tcp: TcpStream,
        address: SocketAddr,
        permit: OwnedSemaphorePermit,
        accepted: Accepted,
    ) {
        let _ = tcp.set_nodelay(true);
        match tokio::time::timeout(self.socket_timeout, self.handshake(tcp, address)).await {
            Ok(Ok((connection, control))) => {
                let connection = connection.counted(permit);
                let (queue, connection) = if control {
                    (&accepted.control, connection)
                } else {
                    (&accepted.general, connection.gathering())
                };
                let _ = queue.send(connection).await;
            }
            Ok(Err(error)) => {
                if let Some(tls) = &self.tls {
                    tls.refusals.add_failed(address, &error);
                }
            }
            Err(_) => self.refused(Reason::Late, address, "no handshake within socket-timeout"),
        }
    }

    fn refused(&self, reason: Reason, address: SocketAddr, why: &str) {
        match &self.tls {
            Some(tls) => tls.refusals.add(reason, address, why),
            None => tracing::debug!(%address, why, "a connection was refused"),
        }
    }

    /// The connection, and whether it is a control link.
    async fn handshake(
        &self,
        tcp: TcpStream,
        address: SocketAddr,
    ) -> std::io::Result<(Connection, bool)> {
        let Some(renewal) = &self.tls else {
            return Ok((Connection::plain(tcp, address), false));
        };
        let tls = renewal.current();
        let acceptor = TlsAcceptor::from(Arc::clone(&tls.server));
        let stream = acceptor.accept(tcp).await?;
        let session = stream.get_ref().1;
        let certificates: Arc<[_]> = session
            .peer_certificates()
            .unwrap_or_default()
            .iter()
            .map(|certificate| certificate.clone().into_owned())
            .collect();
        let control = session.alpn_protocol() == Some(ALPN_CONTROL);
        let is_node = tls.nodes.admit(&certificates);
        if control && !is_node {
            let why = tls.nodes.why_not(&certificates).unwrap_or_default();
            self.refused(Reason::NotANode, address, &why);
            return Err(std::io::ErrorKind::PermissionDenied.into());
        }
        let remote = Remote {
            address,
            certificates,
            is_node,
            generation: tls.generation,
        };
        let place = renewal.admitted.add(remote.clone());
        if renewal.generation() != tls.generation {
            // The files were renewed during the handshake. By the order of the two steps above,
            // either this is seen here, or the place by who ends what is older.
            return Err(std::io::ErrorKind::ConnectionAborted.into());
        }
        Ok((
            Connection::tls(stream.into(), remote).placed(place),
            control,
        ))
    }
}
