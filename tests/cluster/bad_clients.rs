//! What a bad client may do on the TLS port: nothing, and it costs nobody else anything.

use crate::rig::{Authorities, PATIENCE, TestNode, listeners, settings, wait_until};
use embergrid::config::TlsSettings;
use embergrid::rpc::connection::{Connection, Remote};
use embergrid::rpc::connector::channel;
use embergrid::rpc::proto::peer_service_client::PeerServiceClient;
use embergrid::rpc::proto::{ControlFrame, DataFrame};
use embergrid::rpc::tls::{client_tls, node_server_name};
use rustls::ClientConfig;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;
use tokio::runtime::Builder;
use tonic::Code;

fn client_config(settings: &TlsSettings) -> ClientConfig {
    let config = client_tls(settings)
        .expect("good files")
        .expect("TLS is on");
    Arc::unwrap_or_clone(config)
}

/// A connection with this configuration, if the handshake succeeds on this side.
async fn connect(address: SocketAddr, config: ClientConfig) -> std::io::Result<Connection> {
    let tcp = tokio::net::TcpStream::connect(address).await?;
    let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
    let stream = connector.connect(node_server_name(), tcp).await?;
    let remote = Remote {
        address,
        certificates: Arc::from([]),
        is_node: true,
        generation: 0,
        calls: Default::default(),
    };
    Ok(Connection::tls(stream.into(), remote))
}

fn one_node(authorities: &Authorities, socket_timeout: Duration) -> TestNode {
    let (mut ports, list) = listeners(1);
    let mut settings = settings(&list, authorities.node("node"));
    settings.discovery.socket_timeout = socket_timeout;
    TestNode::start(&settings, ports.remove(0)).expect("it starts")
}

/// Whether a node of the cluster can still reach it.
fn still_serves(authorities: &Authorities, node: &TestNode) {
    let list = embergrid::config::AddressList::of([node.address.to_string().as_str()]);
    let (mut ports, _) = listeners(1);
    let peer = settings(&list.expect("an address"), authorities.node("witness"));
    let peer = TestNode::start(&peer, ports.remove(0)).expect("it starts");
    wait_until("a peer is linked", || peer.handle().stats().links == 1);
}

/// Reads until the other end closes.
fn closed_by_peer(mut tcp: TcpStream) -> bool {
    tcp.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    let mut rest = Vec::new();
    match tcp.read_to_end(&mut rest) {
        Ok(_) => true,
        Err(error) => error.kind() == std::io::ErrorKind::ConnectionReset,
    }
}

#[test]
fn the_certificate_of_a_client_does_not_open_the_service_between_nodes() {
    let authorities = Authorities::new("clients");
    let node = one_node(&authorities, Duration::from_secs(5));
    let client = client_config(&authorities.client("client"));
    let runtime = Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    runtime.block_on(async {
        let connection = connect(node.address, client.clone())
            .await
            .expect("clients may connect");
        let mut peer = PeerServiceClient::new(channel(connection).await.expect("HTTP/2"));
        let control = tokio_stream::iter([ControlFrame::default()]);
        let refused = peer.control(control).await.expect_err("refused");
        assert_eq!(refused.code(), Code::PermissionDenied);
        let data = tokio_stream::iter([DataFrame::default()]);
        let refused = peer.data(data).await.expect_err("refused");
        assert_eq!(refused.code(), Code::PermissionDenied);

        let mut as_control = client;
        as_control.alpn_protocols = vec![embergrid::rpc::tls::ALPN_CONTROL.to_vec()];
        if let Ok(connection) = connect(node.address, as_control).await
            && let Ok(channel) = channel(connection).await
        {
            let control = tokio_stream::iter([ControlFrame::default()]);
            assert!(
                PeerServiceClient::new(channel)
                    .control(control)
                    .await
                    .is_err()
            );
        }
    });
    still_serves(&authorities, &node);
}

#[test]
fn nothing_gets_past_the_handshake_without_a_certificate_that_is_trusted() {
    let authorities = Authorities::new("ours");
    let strangers = Authorities::new("strangers");
    let node = one_node(&authorities, Duration::from_secs(5));
    let mut stranger = strangers.node("stranger");
    stranger.trust_store = authorities.node("trusted").trust_store;
    let runtime = Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    runtime.block_on(async {
        // With TLS 1.3 the refusal comes behind this side's end of the handshake.
        if let Ok(connection) = connect(node.address, client_config(&stranger)).await
            && let Ok(channel) = channel(connection).await
        {
            let control = tokio_stream::iter([ControlFrame::default()]);
            let refused = PeerServiceClient::new(channel).control(control).await;
            assert_ne!(refused.expect_err("refused").code(), Code::PermissionDenied);
        }
    });
    still_serves(&authorities, &node);
}

#[test]
fn plain_text_and_http_1_are_closed() {
    let authorities = Authorities::new("plain");
    let node = one_node(&authorities, Duration::from_secs(5));
    for text in [
        &b"GET / HTTP/1.1\r\nHost: node\r\n\r\n"[..],
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        &[0xff; 64],
    ] {
        let mut tcp = TcpStream::connect(node.address).expect("it listens");
        tcp.write_all(text).expect("it can be written");
        assert!(closed_by_peer(tcp));
    }
    let mut old = client_config(&authorities.client("client"));
    old.alpn_protocols = vec![b"http/1.1".to_vec()];
    let runtime = Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    assert!(runtime.block_on(connect(node.address, old)).is_err());
    still_serves(&authorities, &node);
}

#[test]
fn silence_and_dripping_end_at_the_socket_timeout_and_hold_up_nobody() {
    let authorities = Authorities::new("silent");
    let node = one_node(&authorities, Duration::from_millis(1_500));
    let silent: Vec<TcpStream> = (0..200)
        .map(|_| TcpStream::connect(node.address).expect("it listens"))
        .collect();
    let mut dripping = TcpStream::connect(node.address).expect("it listens");
    // The head of a TLS record that never ends.
    dripping
        .write_all(&[0x16, 0x03, 0x01, 0x02, 0x00, 0x01])
        .expect("it can be written");
    still_serves(&authorities, &node);
    assert!(closed_by_peer(dripping));
    for tcp in silent {
        assert!(closed_by_peer(tcp));
    }
}
