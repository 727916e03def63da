//! Dialling: one connection to one address, bounded in time. Which address is dialled is decided in
//! `nodes.rs`.
//!
//! An address that the user named is verified by its host. One that a node told is verified to be a
//! node's, as nodes verify each other: what a node is told by has not to be what it is reached by.

use super::nodes::Address;
use crate::rpc::gather::Gathered;
use crate::rpc::read_ahead::ReadAhead;
use crate::rpc::tls::node_server_name;
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tonic::transport::{Channel, Endpoint, Uri};

/// Bounds on what a client waits for, and how it goes about its calls.
///
/// # Example
///
/// ```
/// use embergrid::client::Options;
/// use std::time::Duration;
///
/// // For a caller that would rather hear an error than wait.
/// let options = Options {
///     timeout: Duration::from_secs(1),
///     attempt_timeout: Duration::from_millis(300),
///     ..Options::default()
/// };
/// assert!(options.timeout < Options::default().timeout);
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// The longest a connect with its handshake may take.
    pub connect_timeout: Duration,
    /// The longest one attempt of a call may take before it is made again elsewhere.
    pub attempt_timeout: Duration,
    /// The longest a call may take with all its attempts. Keep it well below the caches'
    /// request-id-window (60 s), in which a repeated request is known again.
    pub timeout: Duration,
    /// How often a call is attempted at most.
    pub attempts_max: u32,
    /// Whether calls on a key go straight to an owner of it. Otherwise any node of the list is
    /// asked, and forwards.
    pub routing: bool,
    /// The most connections to one node. A further one is made when all that stand are busy. 0
    /// counts as 1.
    pub connections_per_node: usize,
    /// Whether calls on keys that come together share a stream (see `CacheService.Pipeline`).
    pub pipelining: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            connect_timeout: Duration::from_secs(2),
            attempt_timeout: Duration::from_secs(3),
            timeout: Duration::from_secs(10),
            attempts_max: 24,
            routing: true,
            connections_per_node: 2,
            pipelining: true,
        }
    }
}

/// How long a node is waited for that has the certificate of this client and may like it or not. One that
/// says nothing (as something between it and the client may not) is taken as it is.
const SPEAKS_FIRST_WITHIN: Duration = Duration::from_secs(1);

/// One connection, made eagerly so that a dead address is known at once.
///
/// # Errors
///
/// Why there is none, in the words of the system or of TLS.
pub(super) async fn open(
    address: &Address,
    tls: Option<Arc<rustls::ClientConfig>>,
    limit: Duration,
) -> Result<Channel, String> {
    let scheme = if tls.is_some() { "https" } else { "http" };
    let told = address.told;
    let endpoint = Endpoint::from_shared(format!("{scheme}://{address}"))
        .map_err(|error| reason_of(&error))?
        .connect_timeout(limit)
        .http2_keep_alive_interval(Duration::from_secs(5))
        .keep_alive_timeout(Duration::from_secs(5));
    let connector = tower::service_fn(move |uri: Uri| dial(uri, tls.clone(), told, limit));
    match tokio::time::timeout(limit, endpoint.connect_with_connector(connector)).await {
        Ok(Ok(channel)) => Ok(channel),
        Ok(Err(error)) => Err(reason_of(&error)),
        Err(_) => Err(format!("no answer within {limit:?}")),
    }
}

/// A byte stream, encrypted or not.
trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

async fn dial(
    uri: Uri,
    tls: Option<Arc<rustls::ClientConfig>>,
    told: bool,
    limit: Duration,
) -> io::Result<TokioIo<Gathered<Box<dyn Stream>>>> {
    let late = || {
        io::Error::new(
            io::ErrorKind::TimedOut,
            format!("no answer within {limit:?}"),
        )
    };
    let speaks_first = SPEAKS_FIRST_WITHIN.min(limit / 4);
    let stream = async {
        let host = uri
            .host()
            .unwrap_or_default()
            .trim_matches(['[', ']'])
            .to_owned();
        let tcp = TcpStream::connect((host.as_str(), uri.port_u16().unwrap_or_default())).await?;
        tcp.set_nodelay(true)?;
        let Some(tls) = tls else {
            return Ok(Box::new(tcp) as Box<dyn Stream>);
        };
        let name = if told {
            node_server_name()
        } else {
            ServerName::try_from(host).map_err(io::Error::other)?
        };
        let connected = TlsConnector::from(tls).connect(name, ReadAhead::new(tcp));
        let mut encrypted = connected.await.map_err(refused)?;
        // A node that refuses this client's certificate says so when the handshake is over on this side.
        // Calls that are sent before it does would end without anybody knowing how. One that takes it
        // speaks first, of itself.
        match tokio::time::timeout(speaks_first, encrypted.fill_buf()).await {
            Ok(Ok([])) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(Err(error)) => return Err(refused(error)),
            Ok(Ok(_)) | Err(_) => {}
        }
        Ok(Box::new(encrypted) as Box<dyn Stream>)
    };
    tokio::time::timeout(limit, stream)
        .await
        .map_err(|_| late())?
        .map(|stream| TokioIo::new(Gathered::on(stream)))
}

/// What a node says of the certificate that it was shown, in plainer words.
fn refused(error: io::Error) -> io::Error {
    let inner = error.get_ref();
    let said = inner.and_then(|inner| inner.downcast_ref::<rustls::Error>());
    let Some(rustls::Error::AlertReceived(alert)) = said else {
        return error;
    };
    let text = format!("the node refuses the certificate of this client ({alert:?})");
    io::Error::new(io::ErrorKind::PermissionDenied, text)
}

/// The innermost cause: what the system or TLS said.
fn reason_of(error: &dyn std::error::Error) -> String {
    let mut innermost = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    innermost.to_string()
}
