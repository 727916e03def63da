//! Connections: which address is used, and how another one is found when it fails. Every wait is
//! bounded; all addresses are tried at once, so that silent ones cost nothing while one answers.

use crate::error::{Error, Result};
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use rustls::pki_types::ServerName;
use std::fmt::Write as _;
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio_rustls::TlsConnector;
use tonic::transport::{Channel, Endpoint, Uri};

/// Bounds on what a client waits for.
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
}

impl Default for Options {
    fn default() -> Self {
        Self {
            connect_timeout: Duration::from_secs(2),
            attempt_timeout: Duration::from_secs(3),
            timeout: Duration::from_secs(10),
            attempts_max: 24,
        }
    }
}

/// How many addresses are tried; those behind are left out.
const ADDRESSES_MAX: usize = 256;

/// How many reasons are named when no address could be reached.
const REASONS_MAX: usize = 4;

/// The connection in use and where others may be made.
#[derive(Debug)]
pub(super) struct Connections {
    addresses: Vec<(String, u16)>,
    tls: Option<Arc<rustls::ClientConfig>>,
    pub(super) options: Options,
    current: Mutex<Option<Connected>>,
}

/// A channel and the place of its address in the list.
#[derive(Clone, Debug)]
pub(super) struct Connected {
    pub(super) place: usize,
    pub(super) channel: Channel,
}

impl Connections {
    pub(super) fn new(
        mut addresses: Vec<(String, u16)>,
        tls: Option<Arc<rustls::ClientConfig>>,
        options: Options,
    ) -> Self {
        addresses.truncate(ADDRESSES_MAX);
        Self {
            addresses,
            tls,
            options,
            current: Mutex::new(None),
        }
    }

    pub(super) fn current_address(&self) -> Option<String> {
        let place = self.current.lock().as_ref()?.place;
        self.addresses
            .get(place)
            .map(|(host, port)| format!("{host}:{port}"))
    }

    /// A channel to a node whose place is not among `avoided`, unless all are.
    pub(super) async fn channel(&self, avoided: &[usize]) -> Result<Connected> {
        if let Some(connected) = self.current.lock().clone()
            && !avoided.contains(&connected.place)
        {
            return Ok(connected);
        }
        let connected = match self.race(|place| !avoided.contains(&place)).await {
            Ok(connected) => connected,
            Err(error) if avoided.is_empty() => return Err(error),
            Err(_) => self.race(|_| true).await?,
        };
        *self.current.lock() = Some(connected.clone());
        Ok(connected)
    }

    /// Forgets a connection that broke.
    pub(super) fn broken(&self, place: usize) {
        let mut current = self.current.lock();
        if current
            .as_ref()
            .is_some_and(|connected| connected.place == place)
        {
            *current = None;
        }
    }

    /// Tries all admitted addresses at once; the first that answers wins, the others are dropped.
    async fn race(&self, admitted: impl Fn(usize) -> bool) -> Result<Connected> {
        let mut attempts = JoinSet::new();
        for (place, (host, port)) in self.addresses.iter().enumerate() {
            if admitted(place) {
                let (host, port, tls) = (host.clone(), *port, self.tls.clone());
                let limit = self.options.connect_timeout;
                attempts.spawn(async move {
                    match open(&host, port, tls, limit).await {
                        Ok(channel) => Ok(Connected { place, channel }),
                        Err(reason) => Err(format!("{host}:{port}: {reason}")),
                    }
                });
            }
        }
        let mut reasons = Vec::new();
        while let Some(ended) = attempts.join_next().await {
            match ended {
                Ok(Ok(connected)) => return Ok(connected),
                Ok(Err(reason)) => reasons.push(reason),
                Err(_) => reasons.push("an attempt ended early".to_owned()),
            }
        }
        Err(out_of_reach(reasons))
    }
}

/// All reasons in one line, a few of them in full.
fn out_of_reach(mut reasons: Vec<String>) -> Error {
    if reasons.is_empty() {
        return Error::unavailable("no address to connect to");
    }
    reasons.sort();
    let mut text = String::from("no node could be reached: ");
    let shown = reasons.len().min(REASONS_MAX);
    text.push_str(&reasons[..shown].join("; "));
    if reasons.len() > shown {
        let _ = write!(text, "; and {} more", reasons.len() - shown);
    }
    Error::unavailable(text).because("UNREACHABLE")
}

/// One connection, made eagerly so that a dead address is known at once.
async fn open(
    host: &str,
    port: u16,
    tls: Option<Arc<rustls::ClientConfig>>,
    limit: Duration,
) -> Result<Channel, String> {
    let scheme = if tls.is_some() { "https" } else { "http" };
    let bracketed = if host.contains(':') {
        format!("[{host}]")
    } else {
        host.to_owned()
    };
    let endpoint = Endpoint::from_shared(format!("{scheme}://{bracketed}:{port}"))
        .map_err(|error| reason_of(&error))?
        .connect_timeout(limit)
        .http2_keep_alive_interval(Duration::from_secs(5))
        .keep_alive_timeout(Duration::from_secs(5));
    let connector = tower::service_fn(move |uri: Uri| dial(uri, tls.clone(), limit));
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
    limit: Duration,
) -> io::Result<TokioIo<Box<dyn Stream>>> {
    let late = || {
        io::Error::new(
            io::ErrorKind::TimedOut,
            format!("no answer within {limit:?}"),
        )
    };
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
        let name = ServerName::try_from(host).map_err(io::Error::other)?;
        let encrypted = TlsConnector::from(tls).connect(name, tcp).await?;
        Ok(Box::new(encrypted) as Box<dyn Stream>)
    };
    tokio::time::timeout(limit, stream)
        .await
        .map_err(|_| late())?
        .map(TokioIo::new)
}

/// The innermost cause: what the system or TLS said.
fn reason_of(error: &dyn std::error::Error) -> String {
    let mut innermost = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    innermost.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;

    #[tokio::test]
    async fn a_dead_list_is_out_of_reach_and_says_why() {
        let closed = tokio::net::TcpListener::bind("127.0.0.1:0")
            .await
            .expect("a free port");
        let port = closed.local_addr().expect("it is bound").port();
        drop(closed);
        let addresses = vec![("127.0.0.1".to_owned(), port)];
        let connections = Connections::new(addresses, None, Options::default());
        let error = connections.channel(&[]).await.expect_err("nobody listens");
        assert_eq!(error.kind, ErrorKind::Unavailable);
        assert!(
            error.context.contains(&format!("127.0.0.1:{port}")),
            "{error}"
        );
        assert!(error.context.contains("refused"), "{error}");
    }

    #[tokio::test]
    async fn an_empty_list_is_out_of_reach() {
        let connections = Connections::new(Vec::new(), None, Options::default());
        assert_eq!(
            connections
                .channel(&[])
                .await
                .expect_err("nothing to try")
                .kind,
            ErrorKind::Unavailable
        );
    }

    #[test]
    fn few_reasons_are_named_and_the_rest_counted() {
        let error = out_of_reach((0..9).map(|n| format!("h:{n}: refused")).collect());
        assert!(error.context.ends_with("and 5 more"), "{error}");
    }
}
