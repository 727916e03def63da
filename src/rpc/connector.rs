//! Dials: a TCP connection with TLS on it, or a clear word why there is none. Every wait is
//! bounded. What is said on the connection is not known here.

use super::connection::{Calls, Connection, Remote};
use super::read_ahead::ReadAhead;
use super::refusals::Reason;
use super::renewal::Renewal;
use super::tls::node_server_name;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout_at};
use tokio_rustls::TlsConnector;
use tonic::transport::{Channel, Endpoint};

/// Bytes on the way on one stream and on one connection between nodes, so that bulk fills fast
/// links: HTTP/2's own default of 64 KiB would make it wait for every round trip.
pub const STREAM_WINDOW_BYTES: u32 = 4 << 20;
/// See [`STREAM_WINDOW_BYTES`].
pub const CONNECTION_WINDOW_BYTES: u32 = 8 << 20;

/// Why a peer cannot be reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DialError {
    /// The connection was refused: nobody listens.
    Refused,
    /// No answer within its time, or no way there.
    Silent(String),
    /// Its name does not resolve, or not in time.
    Unresolved(String),
    /// Something answered that is not a node of this cluster, or may not be linked.
    Foreign(String),
    /// A node of this cluster answered that knows another live node under this one's name.
    NameTaken(String),
    /// A node answered whose cluster has other settings, where this one is in none, or the reverse.
    Unlike(String),
}

impl std::fmt::Display for DialError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Refused => f.write_str("the connection was refused"),
            Self::Silent(why)
            | Self::Unresolved(why)
            | Self::Foreign(why)
            | Self::NameTaken(why)
            | Self::Unlike(why) => f.write_str(why),
        }
    }
}

/// What a connection is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// Heartbeats and membership.
    Control,
    /// All else.
    Data,
}

/// Dials nodes.
#[derive(Clone)]
pub struct Connector {
    tls: Option<Arc<Renewal>>,
    socket_timeout: Duration,
}

impl Connector {
    /// Dials with what is in use at the time, or without TLS. Each step takes `socket_timeout` at
    /// most.
    pub fn new(tls: Option<Arc<Renewal>>, socket_timeout: Duration) -> Self {
        Self {
            tls,
            socket_timeout,
        }
    }

    /// What tells of renewed certificates; absent without TLS.
    pub fn renewal(&self) -> Option<&Arc<Renewal>> {
        self.tls.as_ref()
    }

    /// The longest that one step of a dial takes.
    pub fn socket_timeout(&self) -> Duration {
        self.socket_timeout
    }

    /// Dials all addresses of a peer at once; the first that answers wins.
    ///
    /// # Errors
    ///
    /// What the last of them came to, a refusal only where all refused.
    pub async fn connect(
        &self,
        addresses: &[SocketAddr],
        purpose: Purpose,
    ) -> Result<Connection, DialError> {
        let deadline = Instant::now() + self.socket_timeout;
        let silent = || DialError::Silent("no connection within socket-timeout".to_owned());
        let (tcp, address) = timeout_at(deadline, first_of(addresses))
            .await
            .map_err(|_| silent())??;
        let _ = tcp.set_nodelay(true);
        let Some(renewal) = &self.tls else {
            return Ok(Connection::plain(tcp, address));
        };
        let tls = renewal.current();
        let config = match purpose {
            Purpose::Control => &tls.control,
            Purpose::Data => &tls.client,
        };
        let deadline = Instant::now() + self.socket_timeout;
        let connector = TlsConnector::from(Arc::clone(config));
        let handshake = connector.connect(node_server_name(), ReadAhead::new(tcp));
        let stream = timeout_at(deadline, handshake)
            .await
            .map_err(|_| DialError::Silent("no TLS handshake within socket-timeout".to_owned()))?
            .map_err(|error| {
                renewal.refusals.add_failed(address, &error);
                DialError::Foreign(format!("the TLS handshake failed: {error}"))
            })?;
        let certificates = stream.get_ref().1.peer_certificates().unwrap_or_default();
        if !certificates
            .first()
            .is_some_and(|leaf| tls.nodes.has_peer_name(leaf))
        {
            let why = "the certificate carries none of tls.peer-names".to_owned();
            renewal.refusals.add(Reason::NotANode, address, &why);
            return Err(DialError::Foreign(why));
        }
        let certificates = certificates
            .iter()
            .map(|der| der.clone().into_owned())
            .collect();
        let remote = Remote {
            address,
            certificates,
            is_node: true,
            generation: tls.generation,
            calls: Calls::default(),
        };
        let connection = Connection::tls(stream.into(), remote);
        Ok(match purpose {
            Purpose::Control => connection,
            Purpose::Data => connection.gathering(),
        })
    }
}

/// Opens sockets to all addresses at once and keeps the first that stands.
async fn first_of(addresses: &[SocketAddr]) -> Result<(TcpStream, SocketAddr), DialError> {
    let mut dials = JoinSet::new();
    for address in addresses.iter().copied() {
        dials.spawn(async move { (TcpStream::connect(address).await, address) });
    }
    let mut worst = None;
    while let Some(dialled) = dials.join_next().await {
        let Ok((tcp, address)) = dialled else {
            continue;
        };
        match tcp {
            // A port of the system's choice can connect to itself: nobody listens there.
            Ok(tcp) if tcp.local_addr().is_ok_and(|local| local == address) => {
                worst.get_or_insert(DialError::Refused);
            }
            Ok(tcp) => return Ok((tcp, address)),
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionRefused => {
                worst.get_or_insert(DialError::Refused);
            }
            Err(error) => worst = Some(DialError::Silent(error.to_string())),
        }
    }
    Err(worst.unwrap_or_else(|| DialError::Silent("the name has no address".to_owned())))
}

/// Speaks HTTP/2 on a connection. The channel ends with the connection and never dials again.
///
/// # Errors
///
/// `Foreign` where the other end does not speak it.
pub async fn channel(connection: Connection) -> Result<Channel, DialError> {
    let mut connection = Some(hyper_util::rt::TokioIo::new(connection));
    let once = tower::service_fn(move |_| {
        let taken = connection.take();
        std::future::ready(taken.ok_or_else(|| std::io::Error::other("the connection ended")))
    });
    Endpoint::from_static("http://node.embergrid")
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .connect_with_connector(once)
        .await
        .map_err(|error| DialError::Foreign(format!("no HTTP/2: {error}")))
}
