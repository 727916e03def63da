//! Who is let in, and as what: nothing of a connection without a valid certificate gets past the
//! handshake, a client's certificate opens the services and never the mesh, and what was refused
//! is counted by its reason.

use crate::rig::{Authorities, PATIENCE, TestNode, listeners, pem, settings, validity, wait_until};
use crate::stopping::connected;
use embergrid::client::{Client, Options};
use embergrid::config::{AddressList, TlsProtocol, TlsSettings};
use embergrid::rpc::certificates::{Identity, Validity};
use embergrid::rpc::connection::{Connection, Remote};
use embergrid::rpc::connector::channel;
use embergrid::rpc::proto::ControlFrame;
use embergrid::rpc::proto::peer_service_client::PeerServiceClient;
use embergrid::rpc::read_ahead::ReadAhead;
use embergrid::rpc::tls::{ALPN_CONTROL, client_tls, node_server_name};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::AsyncReadExt;
use tokio::runtime::{Builder, Runtime};
use tonic::Code;

/// A runtime for the side of a client.
pub fn runtime() -> Runtime {
    Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime")
}

/// The configuration of a client that checks nothing of its own certificate, if it has one.
pub fn unchecked(trust: &Authorities, identity: Option<&Identity>, tls12: bool) -> ClientConfig {
    let mut roots = RootCertStore::empty();
    let authority = trust.authority.identity().certificate_pem.as_bytes();
    roots
        .add(CertificateDer::from_pem_slice(authority).expect("a certificate"))
        .expect("an authority");
    let versions: &[_] = if tls12 {
        &[&rustls::version::TLS12]
    } else {
        &[&rustls::version::TLS13]
    };
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(versions)
        .expect("versions")
        .with_root_certificates(roots);
    let mut config = match identity {
        None => builder.with_no_client_auth(),
        Some(identity) => {
            let certificate = CertificateDer::from_pem_slice(identity.certificate_pem.as_bytes());
            let key = PrivateKeyDer::from_pem_slice(identity.key_pem.as_bytes());
            builder
                .with_client_auth_cert(
                    vec![certificate.expect("a certificate")],
                    key.expect("a key"),
                )
                .expect("they belong together")
        }
    };
    config.alpn_protocols = vec![b"h2".to_vec()];
    config
}

/// Whether a node says a single byte beyond the handshake.
pub async fn let_in(address: SocketAddr, config: &Arc<ClientConfig>) -> bool {
    let tcp = tokio::net::TcpStream::connect(address)
        .await
        .expect("a node listens");
    let connector = tokio_rustls::TlsConnector::from(Arc::clone(config));
    let Ok(mut stream) = connector.connect(node_server_name(), tcp).await else {
        return false;
    };
    // Whoever is let in is greeted with the settings of HTTP/2 at once.
    let mut first = [0; 1];
    let read = tokio::time::timeout(PATIENCE, stream.read(&mut first)).await;
    matches!(read.expect("an answer or the end"), Ok(1))
}

pub fn count(node: &TestNode, name: &str) -> u64 {
    let certificates = node.handle().stats().certificates.expect("TLS is on");
    let mut counts = certificates.connections_refused.into_iter();
    counts
        .find(|(known, _)| *known == name)
        .expect("a known name")
        .1
}

#[test]
fn nothing_gets_past_the_handshake_and_each_reason_is_counted() {
    let ours = Authorities::new("ours");
    let strangers = Authorities::new("strangers");
    let (mut ports, list) = listeners(1);
    let node = TestNode::start(&settings(&list, ours.node("node")), ports.remove(0));
    let node = node.expect("it starts");
    let day = time::Duration::days(1);
    let today = validity();
    let past = Validity {
        not_before: today.not_before - day * 3,
        not_after: today.not_before - day,
    };
    let future = Validity {
        not_before: today.not_after,
        not_after: today.not_after + day,
    };
    let client = |authorities: &Authorities, validity| {
        let made = authorities.authority.client("client", validity);
        made.expect("a certificate")
    };
    let cases = [
        ("connections_refused_no_certificate", None),
        (
            "connections_refused_unknown_authority",
            Some(client(&strangers, today)),
        ),
        ("connections_refused_expired", Some(client(&ours, past))),
        (
            "connections_refused_not_yet_valid",
            Some(client(&ours, future)),
        ),
    ];
    runtime().block_on(async {
        for tls12 in [false, true] {
            for (name, identity) in &cases {
                let before = count(&node, name);
                let config = Arc::new(unchecked(&ours, identity.as_ref(), tls12));
                assert!(!let_in(node.address, &config).await, "{name}");
                wait_until(name, || count(&node, name) == before + 1);
            }
            let good = client(&ours, today);
            let config = Arc::new(unchecked(&ours, Some(&good), tls12));
            assert!(let_in(node.address, &config).await);
        }
    });
}

/// A connection that asks for the service between nodes; what becomes of it.
async fn as_peer(address: SocketAddr, config: ClientConfig) -> Option<Code> {
    let tcp = tokio::net::TcpStream::connect(address)
        .await
        .expect("a node listens");
    let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
    let tcp = ReadAhead::new(tcp);
    let stream = connector.connect(node_server_name(), tcp).await.ok()?;
    let remote = Remote {
        address,
        certificates: Arc::from([]),
        is_node: true,
        generation: 0,
        calls: Default::default(),
    };
    let channel = channel(Connection::tls(stream.into(), remote)).await.ok()?;
    let hello = tokio_stream::iter([ControlFrame::default()]);
    let answer = PeerServiceClient::new(channel).control(hello).await;
    answer.err().map(|status| status.code())
}

#[test]
fn an_authority_of_clients_opens_the_services_and_never_the_mesh() {
    let nodes = Authorities::new("nodes");
    let clients = Authorities::new("clients");
    let tls = TlsSettings {
        client_trust_store: Some(pem(clients.file("authority.pem"))),
        ..nodes.node("node")
    };
    let (mut ports, list) = listeners(1);
    let node = TestNode::start(&settings(&list, tls), ports.remove(0)).expect("it starts");
    wait_until("it serves", || node.handle().serving());
    let client = TlsSettings {
        trust_store: Some(pem(nodes.file("authority.pem"))),
        ..clients.client("client")
    };
    // Its names are those of a node, and its authority is not one of nodes.
    let impostor = clients
        .authority
        .node("impostor", &[], validity())
        .expect("a certificate");
    runtime().block_on(async {
        let tls = client_tls(&client).expect("good files");
        let client = Client::connect(&list, tls.clone(), Options::default()).await;
        let topology = client
            .expect("clients may connect")
            .topology()
            .await
            .expect("a view");
        assert_eq!(topology.nodes.len(), 1);
        assert!(topology.nodes[0].certificate_days_left.is_some());
        let plain = Arc::unwrap_or_clone(tls.expect("TLS is on"));
        let impostor = unchecked(&nodes, Some(&impostor), false);
        for config in [plain, impostor] {
            let before = count(&node, "connections_refused_not_a_node");
            let code = as_peer(node.address, config.clone()).await;
            assert_eq!(code, Some(Code::PermissionDenied));
            let mut control = config;
            control.alpn_protocols = vec![ALPN_CONTROL.to_vec()];
            assert_ne!(
                as_peer(node.address, control).await,
                Some(Code::PermissionDenied)
            );
            wait_until("both were counted", || {
                count(&node, "connections_refused_not_a_node") == before + 2
            });
        }
    });
    assert_eq!(node.handle().stats().links, 0);
}

#[test]
fn nodes_without_an_expected_name_are_not_linked() {
    let authorities = Authorities::new("names");
    let named = |name: &str, expected: &str| {
        let host = [name.to_owned()];
        let made = authorities.authority.node(name, &host, validity());
        TlsSettings {
            peer_names: vec![expected.to_owned()],
            ..authorities.tls(name, &made.expect("a certificate"))
        }
    };
    let (ports, list) = listeners(3);
    let all = [
        named("one.example.org", "two.example.org"),
        named("two.example.org", "one.example.org"),
        named("three.example.org", "one.example.org"),
    ];
    let nodes: Vec<TestNode> = ports
        .into_iter()
        .zip(all)
        .map(|(port, tls)| TestNode::start(&settings(&list, tls), port).expect("it starts"))
        .collect();
    wait_until(
        "the first two are linked, and the third is told why it is not",
        || {
            let linked = |node: usize| nodes[node].handle().stats().links == 1;
            let report = nodes[0].handle().probe_report();
            linked(0) && linked(1) && report.contains("none of tls.peer-names")
        },
    );
    assert_eq!(nodes[2].handle().stats().links, 0);
    assert!(count(&nodes[0], "connections_refused_not_a_node") > 0);
}

#[test]
fn versions_that_the_settings_leave_out_are_refused() {
    let authorities = Authorities::new("versions");
    let client = authorities
        .authority
        .client("client", validity())
        .expect("a certificate");
    for (protocol, old_and_new) in [
        (TlsProtocol::Any, [true, true]),
        (TlsProtocol::V12, [true, false]),
        (TlsProtocol::V13, [false, true]),
    ] {
        let (mut ports, list) = listeners(1);
        let tls = TlsSettings {
            protocol,
            ..authorities.node("node")
        };
        let node = TestNode::start(&settings(&list, tls), ports.remove(0)).expect("it starts");
        runtime().block_on(async {
            for (tls12, expected) in [true, false].into_iter().zip(old_and_new) {
                let config = Arc::new(unchecked(&authorities, Some(&client), tls12));
                assert_eq!(
                    let_in(node.address, &config).await,
                    expected,
                    "{protocol:?}"
                );
            }
        });
        let refused = old_and_new.iter().filter(|let_in| !**let_in).count() as u64;
        wait_until("it is counted", || {
            count(&node, "connections_refused_not_tls") == refused
        });
    }
}

#[test]
fn whoever_is_late_is_refused_and_counted() {
    let authorities = Authorities::new("late");
    let nobody = AddressList::of([]).expect("no address");
    let settings = settings(&nobody, authorities.node("node"));
    let (mut ports, _) = listeners(1);
    let node = TestNode::start(&settings, ports.remove(0)).expect("it starts");
    let late = || count(&node, "connections_refused_late");
    let user = authorities.authority.client("user", validity());
    let config = unchecked(&authorities, Some(&user.expect("a certificate")), false);
    runtime().block_on(async {
        let tcp = tokio::net::TcpStream::connect(node.address).await;
        let mut silent = tcp.expect("it listens");
        // The end comes by itself, whichever way a system tells it.
        let mut rest = Vec::new();
        let ended = tokio::time::timeout(PATIENCE, silent.read_to_end(&mut rest)).await;
        let _ = ended.expect("no handshake comes");
        wait_until("it is counted", || late() == 1);
        // It has shown a good certificate, and says nothing.
        let mut silent = connected(node.address, config).await;
        let ended = tokio::time::timeout(PATIENCE, silent.read_to_end(&mut rest)).await;
        let _ = ended.expect("no HTTP/2 comes");
        wait_until("it is counted", || late() == 2);
    });
}

#[test]
fn one_connection_too_many_is_counted() {
    let authorities = Authorities::new("too-many");
    let nobody = AddressList::of([]).expect("no address");
    let mut settings = settings(&nobody, authorities.node("node"));
    settings.discovery.socket_timeout = Duration::from_secs(600);
    settings.limits.connections_max = 4;
    let (mut ports, _) = listeners(1);
    let node = TestNode::start(&settings, ports.remove(0)).expect("it starts");
    let connect = || std::net::TcpStream::connect(node.address).expect("it listens");
    let all: Vec<_> = (0..6).map(|_| connect()).collect();
    wait_until("two are refused", || {
        count(&node, "connections_refused_too_many") == 2
    });
    drop(all);
}

#[test]
fn who_refuses_the_certificate_of_a_node_is_counted() {
    let ours = Authorities::new("ours");
    let strangers = Authorities::new("strangers");
    let (mut ports, list) = listeners(1);
    let node = TestNode::start(&settings(&list, ours.node("node")), ports.remove(0));
    let node = node.expect("it starts");
    let user = ours.authority.client("user", validity());
    let user = user.expect("a certificate");
    let by_peer = || count(&node, "connections_refused_by_peer");
    let before = by_peer();
    for (place, tls12) in (1..).zip([false, true]) {
        // It trusts others only.
        let config = Arc::new(unchecked(&strangers, Some(&user), tls12));
        assert!(!runtime().block_on(let_in(node.address, &config)));
        wait_until("it is counted", || by_peer() == before + place);
    }
}
