//! Accepts connections: TLS handshakes run side by side, each bounded in time and all of them in
//! number, so that a client that is silent, slow or wrong costs nobody else anything. Control
//! links of nodes come out apart from all other connections.
//!
//! What is closed here: whatever is not TLS, shows no certificate that is trusted, speaks another
//! protocol than HTTP/2 or none, or asks for a control link without being a node.

use super::admitted::{Admitted, Place};
use super::connection::{Calls, Connection, Remote};
use super::refusals::Reason;
use super::renewal::Renewal;
use super::tls::ALPN_CONTROL;
use std::collections::VecDeque;
use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tokio::task::AbortHandle;
use tokio_rustls::TlsAcceptor;

/// The most handshakes at a time, the first words of HTTP/2 included. One more ends the oldest that
/// is still unfinished: those who are silent wait longest, and honest ones take milliseconds.
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
    admitted: Arc<Admitted>,
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
    /// Each handshake takes `socket_timeout` at most, and so do the first words of HTTP/2 behind
    /// it. At most `connections_max` stand at a time; one more is closed at once.
    pub fn new(
        tls: Option<Arc<Renewal>>,
        socket_timeout: Duration,
        connections_max: usize,
    ) -> Arc<Self> {
        let connections = Arc::new(Semaphore::new(connections_max.min(Semaphore::MAX_PERMITS)));
        let admitted = tls.as_ref().map(|tls| Arc::clone(&tls.admitted));
        Arc::new(Self {
            admitted: admitted.unwrap_or_default(),
            tls,
            socket_timeout,
            connections,
        })
    }

    /// What tells of renewed certificates; absent without TLS.
    pub fn renewal(&self) -> Option<&Arc<Renewal>> {
        self.tls.as_ref()
    }

    /// The connections that were admitted and stand.
    pub fn admitted(&self) -> &Arc<Admitted> {
        &self.admitted
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
            Ok(Ok((connection, place, control))) => {
                let (queue, connection) = if control {
                    (&accepted.control, connection)
                } else {
                    (&accepted.general, connection.gathering())
                };
                // Whoever is silent now is no better than before: it ends at its time, with one
                // silent client too many, and when the node stops.
                let end = place.ends_unless_disarmed();
                let (spoken, told) = oneshot::channel();
                let connection = connection.placed(place).counted(permit).telling(spoken);
                let _ = queue.send(connection).await;
                match tokio::time::timeout(self.socket_timeout, told).await {
                    Ok(_) => end.disarm(),
                    Err(_) => {
                        self.refused(Reason::Late, address, "no HTTP/2 within socket-timeout")
                    }
                }
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

    /// The connection, its place, and whether it is a control link.
    async fn handshake(
        &self,
        tcp: TcpStream,
        address: SocketAddr,
    ) -> std::io::Result<(Connection, Place, bool)> {
        let Some(renewal) = &self.tls else {
            let connection = Connection::plain(tcp, address);
            let place = self.admitted.add(connection.remote().clone());
            return Ok((connection, place, false));
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
            calls: Calls::default(),
        };
        let place = self.admitted.add(remote.clone());
        if renewal.generation() != tls.generation {
            // The files were renewed during the handshake. By the order of the two steps above,
            // either this is seen here, or the place by who ends what is older.
            return Err(std::io::ErrorKind::ConnectionAborted.into());
        }
        Ok((Connection::tls(stream.into(), remote), place, control))
    }
}
