//! One connection, plain or TLS, accepted or dialled, with what is known of who is at its other
//! end.

use super::admitted::Place;
use super::gather::Gathered;
use rustls_pki_types::CertificateDer;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, oneshot};
use tokio_rustls::TlsStream;
use tonic::transport::server::Connected;

/// A connection on which HTTP/2 is spoken.
pub struct Connection {
    io: Gathered<Io>,
    remote: Remote,
    /// Held for as long as the connection stands, by those who count connections.
    _permit: Option<OwnedSemaphorePermit>,
    /// Its place among those that were admitted and may be told to end.
    place: Option<Place>,
    /// Told once HTTP/2 is spoken; dropped with the connection.
    spoken: Option<oneshot::Sender<()>>,
    /// How much was read until then.
    bytes_read: usize,
}

/// What a client of HTTP/2 says first has so many bytes.
const PREFACE_BYTES: usize = 24;

/// How many calls of a connection are open.
#[derive(Clone, Debug, Default)]
pub struct Calls(Arc<AtomicUsize>);

/// One of them, until this is dropped.
#[derive(Debug)]
pub struct OpenCall(Calls);

impl Calls {
    /// One more.
    pub fn open(&self) -> OpenCall {
        self.0.fetch_add(1, Ordering::Relaxed);
        OpenCall(self.clone())
    }

    /// How many are open now.
    pub fn count(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}

impl Drop for OpenCall {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Ordering::Relaxed);
    }
}

enum Io {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

/// Who is at the other end. Found among the extensions of every request.
#[derive(Clone, Debug)]
pub struct Remote {
    /// Where it connects from.
    pub address: SocketAddr,
    /// Its certificates, leaf first; empty without TLS.
    pub certificates: Arc<[CertificateDer<'static>]>,
    /// Whether it may use the service between nodes. Without TLS (on loopback only) everyone may.
    pub is_node: bool,
    /// Of the configurations that the connection was made by; 0 without TLS.
    pub generation: u64,
    /// Its calls that are open here.
    pub calls: Calls,
}

impl Connection {
    /// A connection without TLS.
    pub fn plain(tcp: TcpStream, address: SocketAddr) -> Self {
        let remote = Remote {
            address,
            certificates: Arc::from([]),
            is_node: true,
            generation: 0,
            calls: Calls::default(),
        };
        Self::of(Io::Plain(tcp), remote)
    }

    /// A connection whose handshake is done.
    pub fn tls(tls: TlsStream<TcpStream>, remote: Remote) -> Self {
        Self::of(Io::Tls(Box::new(tls)), remote)
    }

    fn of(io: Io, remote: Remote) -> Self {
        Self {
            io: Gathered::off(io),
            remote,
            _permit: None,
            place: None,
            spoken: None,
            bytes_read: 0,
        }
    }

    /// The connection counts by this permit until it ends.
    #[must_use]
    pub fn counted(mut self, permit: OwnedSemaphorePermit) -> Self {
        self._permit = Some(permit);
        self
    }

    /// What is written is gathered while other tasks are ready to run.
    #[must_use]
    pub fn gathering(mut self) -> Self {
        self.io = self.io.switched_on();
        self
    }

    /// The connection ends when its place does.
    #[must_use]
    pub fn placed(mut self, place: Place) -> Self {
        self.place = Some(place);
        self
    }

    /// Tells when the first words of HTTP/2 have been read, or the connection is gone.
    #[must_use]
    pub fn telling(mut self, spoken: oneshot::Sender<()>) -> Self {
        self.spoken = Some(spoken);
        self
    }

    /// So much was read.
    fn read(&mut self, bytes: usize) {
        self.bytes_read = self.bytes_read.saturating_add(bytes);
        if self.bytes_read >= PREFACE_BYTES
            && let Some(spoken) = self.spoken.take()
        {
            let _ = spoken.send(());
        }
    }

    /// Whether it was told to end.
    fn ended(&mut self, cx: &mut Context<'_>) -> bool {
        self.place
            .as_mut()
            .is_some_and(|place| place.poll_ended(cx))
    }

    /// Who is at the other end.
    pub fn remote(&self) -> &Remote {
        &self.remote
    }

    /// The socket below.
    pub fn socket(&self) -> &TcpStream {
        match self.io.inner() {
            Io::Plain(tcp) => tcp,
            Io::Tls(tls) => tls.get_ref().0,
        }
    }
}

impl Connected for Connection {
    type ConnectInfo = Remote;

    fn connect_info(&self) -> Remote {
        self.remote.clone()
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.ended(cx) {
            return Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into()));
        }
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.io).poll_read(cx, buffer);
        if self.spoken.is_some() {
            self.read(buffer.filled().len().saturating_sub(before));
        }
        read
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

impl AsyncRead for Io {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match &mut *self {
            Io::Plain(tcp) => Pin::new(tcp).poll_read(cx, buffer),
            Io::Tls(tls) => Pin::new(tls).poll_read(cx, buffer),
        }
    }
}

impl AsyncWrite for Io {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match &mut *self {
            Io::Plain(tcp) => Pin::new(tcp).poll_write(cx, bytes),
            Io::Tls(tls) => Pin::new(tls).poll_write(cx, bytes),
        }
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match &mut *self {
            Io::Plain(tcp) => Pin::new(tcp).poll_write_vectored(cx, slices),
            Io::Tls(tls) => Pin::new(tls).poll_write_vectored(cx, slices),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Io::Plain(tcp) => tcp.is_write_vectored(),
            Io::Tls(tls) => tls.is_write_vectored(),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut *self {
            Io::Plain(tcp) => Pin::new(tcp).poll_flush(cx),
            Io::Tls(tls) => Pin::new(tls).poll_flush(cx),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut *self {
            Io::Plain(tcp) => Pin::new(tcp).poll_shutdown(cx),
            Io::Tls(tls) => Pin::new(tls).poll_shutdown(cx),
        }
    }
}
