//! A node that is told to stop: clients that say nothing do not hold it up, a call that is open may
//! end, and what does not end is closed at `drain-time`.

use crate::admission::{runtime, unchecked};
use crate::rig::{Authorities, PATIENCE, TestNode, listeners, settings, validity, wait_until};
use bytes::Bytes;
use embergrid::config::TlsSettings;
use embergrid::rpc::tls::node_server_name;
use rustls::ClientConfig;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::runtime::Builder;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// Long enough that it ends nothing in these tests.
const LONG: Duration = Duration::from_secs(600);

/// What a client of HTTP/2 says first, with settings that change nothing.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";

/// The answer of `Health.Check` that says SERVING, in its frame.
const ANSWER_BYTES: usize = 7;

/// A call that is open, since its client does not take the answer.
pub struct Stuck {
    /// Makes room for the answer.
    take: mpsc::Sender<()>,
    /// How many bytes of answer came, once it is complete.
    pub answer: JoinHandle<Result<usize, h2::Error>>,
    /// Ends with the connection.
    pub connection: JoinHandle<()>,
}

/// Asks a node how it is, and takes no answer yet.
pub async fn stuck_call<T>(io: T) -> Stuck
where
    T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let mut builder = h2::client::Builder::new();
    let handshake = builder.initial_window_size(0).handshake::<_, Bytes>(io);
    let (sender, mut connection) = handshake.await.expect("HTTP/2");
    let (take, mut taken) = mpsc::channel(1);
    let connection = tokio::spawn(async move {
        loop {
            tokio::select! {
                _ = &mut connection => return,
                Some(()) = taken.recv() => {
                    connection.set_initial_window_size(1 << 16).expect("a window");
                }
            }
        }
    });
    let request = http::Request::post("http://node.embergrid/grpc.health.v1.Health/Check")
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .body(())
        .expect("a request");
    let mut sender = sender.ready().await.expect("room for a call");
    let (answer, mut body) = sender.send_request(request, false).expect("a call");
    let empty = Bytes::from_static(&[0; 5]);
    body.send_data(empty, true).expect("an empty message");
    // What comes first needs no room: from here on the call is open.
    let mut body = answer.await.expect("an answer").into_body();
    let answer = tokio::spawn(async move {
        let mut bytes = 0;
        while let Some(chunk) = body.data().await {
            bytes += chunk?.len();
        }
        body.trailers().await?;
        Ok(bytes)
    });
    Stuck {
        take,
        answer,
        connection,
    }
}

/// A connection that has shown its certificate, and said nothing else.
pub async fn connected(address: SocketAddr, config: ClientConfig) -> TlsStream<TcpStream> {
    let tcp = TcpStream::connect(address).await.expect("it listens");
    let connector = TlsConnector::from(Arc::new(config));
    let stream = connector.connect(node_server_name(), tcp).await;
    stream.expect("it is trusted")
}

/// A node that would wait for `drain_time` where it has to.
fn node_with(drain_time: Duration, tls: TlsSettings) -> TestNode {
    let (mut ports, list) = listeners(1);
    let mut settings = settings(&list, tls);
    settings.limits.drain_time = drain_time;
    let node = TestNode::start(&settings, ports.remove(0)).expect("it starts");
    wait_until("it serves", || node.handle().serving());
    node
}

fn plain() -> TlsSettings {
    TlsSettings {
        enabled: false,
        ..TlsSettings::default()
    }
}

/// A connection that has begun to speak HTTP/2 and goes on with nothing.
async fn begun(mut io: impl AsyncRead + AsyncWrite + Unpin) -> impl AsyncRead + Unpin {
    io.write_all(PREFACE).await.expect("it can be written");
    // The node's own settings: it has read what was said.
    let mut first = [0; 1];
    io.read_exact(&mut first).await.expect("an answer");
    io
}

#[test]
fn clients_that_say_nothing_hold_up_no_stop() {
    let authorities = Authorities::new("silent-clients");
    let mut node = node_with(LONG, authorities.node("node"));
    let user = authorities.authority.client("user", validity());
    let config = unchecked(&authorities, Some(&user.expect("a certificate")), false);
    let runtime = runtime();
    let held = runtime.block_on(async {
        let tcp = TcpStream::connect(node.address).await.expect("it listens");
        let silent = connected(node.address, config.clone()).await;
        let begun = begun(connected(node.address, config).await).await;
        (tcp, silent, begun)
    });
    let stopped = std::thread::spawn(move || node.shut_down());
    wait_until("it has stopped", || stopped.is_finished());
    stopped.join().expect("in order");
    drop(held);
}

#[test]
fn a_call_that_is_open_may_end_while_its_node_stops() {
    let mut node = node_with(LONG, plain());
    let address = node.address;
    let runtime = Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime");
    let (stuck, mut idle) = runtime.block_on(async {
        let tcp = || TcpStream::connect(address);
        let stuck = stuck_call(tcp().await.expect("it listens")).await;
        (stuck, begun(tcp().await.expect("it listens")).await)
    });
    let stopped = std::thread::spawn(move || node.shut_down());
    runtime.block_on(async {
        // Once this one is closed, so is each that has no open call.
        let mut rest = Vec::new();
        let closed = tokio::time::timeout(PATIENCE, idle.read_to_end(&mut rest));
        let _ = closed.await.expect("the idle one is closed");
        assert!(!stopped.is_finished() && !stuck.connection.is_finished());
        stuck.take.send(()).await.expect("the connection stands");
        let answer = tokio::time::timeout(PATIENCE, stuck.answer).await;
        let answer = answer.expect("it comes").expect("it ends in order");
        assert_eq!(answer.expect("it is complete"), ANSWER_BYTES);
    });
    wait_until("it has stopped", || stopped.is_finished());
    stopped.join().expect("in order");
}

#[test]
fn a_call_that_does_not_end_is_closed_at_the_drain_time() {
    let mut node = node_with(Duration::from_millis(300), plain());
    let runtime = Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime");
    let stuck = runtime.block_on(async {
        let tcp = TcpStream::connect(node.address).await;
        stuck_call(tcp.expect("it listens")).await
    });
    let stopped = std::thread::spawn(move || node.shut_down());
    wait_until("it has stopped", || stopped.is_finished());
    stopped.join().expect("in order");
    runtime.block_on(async {
        let ended = tokio::time::timeout(PATIENCE, stuck.connection).await;
        ended.expect("the connection is closed").expect("in order");
        assert!(stuck.answer.await.expect("it ends").is_err());
    });
}
