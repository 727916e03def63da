//! Addresses behind which something else lives than a node of this cluster: what each timeout
//! bounds, and that nobody else is held up.

use crate::admission::count;
use crate::process::embergrid;
use crate::rig::{
    Authorities, FINDS_ANOTHER, PATIENCE, TestNode, kept_port, listeners, settings, validity,
    wait_until,
};
use embergrid::config::{AddressList, Settings, TlsSettings};
use embergrid::rpc::certificates::{Authority, Identity};
use embergrid::rpc::names::Names;
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use std::net::{SocketAddr, TcpListener as StdListener, TcpStream as StdStream};
use std::sync::{Arc, Mutex, mpsc};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::runtime::{Builder, Runtime};
use tokio_rustls::TlsAcceptor;

/// What lives behind an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Peer {
    /// Nobody.
    Refuses,
    /// Nobody who answers: what is sent there is lost.
    Swallows,
    /// Accepts and says nothing.
    Silent,
    /// Accepts and closes.
    Closes,
    /// Speaks another protocol.
    Foreign,
    /// Begins the handshake and stops.
    Stalls,
    /// Goes on with the handshake, a byte at a time.
    Drips,
    /// Shows a certificate of another authority.
    Stranger,
    /// Has a name that is looked up without end.
    Hangs,
    /// Has a name that nobody knows.
    Unknown,
}

const ALL: [Peer; 10] = [
    Peer::Refuses,
    Peer::Swallows,
    Peer::Silent,
    Peer::Closes,
    Peer::Foreign,
    Peer::Stalls,
    Peer::Drips,
    Peer::Stranger,
    Peer::Hangs,
    Peer::Unknown,
];

/// The head of a TLS record of 16 KiB, and of the server's hello in it.
const RECORD: [u8; 9] = [0x16, 3, 3, 0x40, 0, 2, 0, 0x3f, 0xfc];

/// Such peers, alive as long as this is.
struct BadPeers {
    runtime: Runtime,
    /// Connections that fill the queues of those who swallow.
    held: Vec<StdStream>,
    full: Vec<socket2::Socket>,
    /// Ports on which nobody listens.
    kept: Vec<TcpSocket>,
    /// Names that hang do so until this goes.
    hanging: Hanging,
    named: usize,
}

/// A channel on which nothing is ever sent.
type Hanging = (mpsc::Sender<()>, Arc<Mutex<mpsc::Receiver<()>>>);

impl BadPeers {
    fn new() -> Self {
        let runtime = Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .expect("a runtime");
        Self {
            runtime,
            held: Vec::new(),
            full: Vec::new(),
            kept: Vec::new(),
            hanging: {
                let (sender, receiver) = mpsc::channel();
                (sender, Arc::new(Mutex::new(receiver)))
            },
            named: 0,
        }
    }

    /// Knows the names of all such peers; every other one is this machine.
    fn names(&self) -> Names {
        let hangs = Arc::clone(&self.hanging.1);
        Names::by(Arc::new(move |host| {
            if host.starts_with("hangs") {
                // An error is the end of the test; so is a lock that was poisoned.
                let _ = hangs.lock().map(|hangs| hangs.recv());
            }
            if host.starts_with("unknown") {
                return Err(std::io::ErrorKind::NotFound.into());
            }
            Ok(vec![[127, 0, 0, 1].into()])
        }))
    }

    /// One of each kind, and where they live.
    fn all(&mut self) -> Vec<(Peer, String)> {
        ALL.map(|peer| (peer, self.add(peer))).into()
    }

    /// One more, and where it lives.
    fn add(&mut self, peer: Peer) -> String {
        self.named += 1;
        match peer {
            Peer::Swallows => return self.swallows().to_string(),
            Peer::Hangs => return format!("hangs-{}:1", self.named),
            Peer::Unknown => return format!("unknown-{}:1", self.named),
            _ => {}
        }
        let kept = kept_port(([127, 0, 0, 1], 0).into());
        let address = kept.local_addr().expect("an address");
        if peer == Peer::Refuses {
            self.kept.push(kept);
        } else {
            let _inside = self.runtime.enter();
            let listener = kept.listen(64).expect("a listener");
            self.runtime.spawn(live(listener, peer));
        }
        address.to_string()
    }

    /// One that shows this certificate.
    fn shows(&mut self, identity: &Identity) -> String {
        let listener = StdListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        listener.set_nonblocking(true).expect("a mode of sockets");
        let _inside = self.runtime.enter();
        let listener = TcpListener::from_std(listener).expect("a listener");
        self.runtime.spawn(show(listener, acceptor(identity)));
        address.to_string()
    }

    /// A listener whose queue is full and stays so: the system drops what else arrives.
    fn swallows(&mut self) -> SocketAddr {
        let any: SocketAddr = "127.0.0.1:0".parse().expect("an address");
        let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None)
            .expect("a socket");
        socket.bind(&any.into()).expect("a port");
        socket.listen(0).expect("it listens");
        let address = socket.local_addr().expect("an address");
        let address = address.as_socket().expect("an IP address");
        self.full.push(socket);
        for _ in 0..64 {
            match StdStream::connect_timeout(&address, Duration::from_millis(100)) {
                Ok(stream) => self.held.push(stream),
                Err(_) => return address,
            }
        }
        panic!("the queue of {address} never was full");
    }
}

/// A server with this certificate that asks for none.
fn acceptor(identity: &Identity) -> TlsAcceptor {
    let certificate = CertificateDer::from_pem_slice(identity.certificate_pem.as_bytes());
    let key = PrivateKeyDer::from_pem_slice(identity.key_pem.as_bytes());
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(
            vec![certificate.expect("a certificate")],
            key.expect("a key"),
        );
    TlsAcceptor::from(Arc::new(config.expect("they belong together")))
}

async fn show(listener: TcpListener, acceptor: TlsAcceptor) {
    while let Ok((stream, _)) = listener.accept().await {
        let acceptor = acceptor.clone();
        tokio::spawn(async move {
            if let Ok(mut stream) = acceptor.accept(stream).await {
                // Until the other end goes.
                let mut ignored = [0; 1024];
                while matches!(stream.read(&mut ignored).await, Ok(1..)) {}
            }
        });
    }
}

async fn live(listener: TcpListener, peer: Peer) {
    if peer == Peer::Stranger {
        let stranger = Authority::new("stranger", validity()).expect("an authority");
        let identity = stranger.node("stranger", &[], validity());
        return show(listener, acceptor(&identity.expect("a certificate"))).await;
    }
    while let Ok((stream, _)) = listener.accept().await {
        tokio::spawn(answer(stream, peer));
    }
}

async fn answer(mut stream: TcpStream, peer: Peer) {
    match peer {
        Peer::Closes => return,
        Peer::Foreign => {
            let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
        }
        Peer::Stalls => {
            let _ = stream.write_all(&RECORD).await;
        }
        Peer::Drips => {
            let _ = stream.write_all(&RECORD).await;
            let mut drops = tokio::time::interval(Duration::from_millis(20));
            while stream.write_all(&[0]).await.is_ok() {
                drops.tick().await;
            }
        }
        Peer::Refuses
        | Peer::Swallows
        | Peer::Silent
        | Peer::Stranger
        | Peer::Hangs
        | Peer::Unknown => {}
    }
    // Until the other end goes.
    let mut ignored = [0; 1024];
    while matches!(stream.read(&mut ignored).await, Ok(1..)) {}
}

fn list<T: ToString>(addresses: impl IntoIterator<Item = T>) -> AddressList {
    let addresses: Vec<String> = addresses.into_iter().map(|one| one.to_string()).collect();
    AddressList::of(addresses.iter().map(String::as_str)).expect("addresses")
}

/// Settings without TLS.
fn plain(list: &AddressList) -> Settings {
    let tls = TlsSettings {
        enabled: false,
        ..TlsSettings::default()
    };
    settings(list, tls)
}

/// Long enough that it bounds nothing in these tests.
const LONG: Duration = Duration::from_secs(600);
const SHORT: Duration = Duration::from_millis(400);

/// What the start-up report says of an address.
fn outcome(node: &TestNode, address: &str) -> String {
    let report = node.handle().probe_report();
    let lines = report.split("; ");
    let line = lines.filter_map(|line| line.strip_prefix(&format!("{address}: ")));
    line.map(str::to_owned).collect()
}

/// Waits until the report says of each of these addresses what it should.
fn wait_for_words(node: &TestNode, peers: &[(Peer, String)], word: fn(Peer) -> &'static str) {
    for (peer, address) in peers {
        let word = word(*peer);
        wait_until(&format!("{peer:?}, {address}: {word}"), || {
            outcome(node, address).contains(word)
        });
    }
}

#[test]
fn a_connect_a_handshake_and_a_name_end_at_the_socket_timeout() {
    let authorities = Authorities::new("socket-timeout");
    let mut peers = BadPeers::new();
    let all = peers.all();
    let list = list(all.iter().map(|(_, address)| address));
    let mut settings = settings(&list, authorities.node("node"));
    settings.discovery.socket_timeout = SHORT;
    settings.discovery.network_timeout = LONG;
    settings.discovery.join_timeout = None;
    let (mut ports, _) = listeners(1);
    let node = TestNode::start_resolving(&settings, ports.remove(0), peers.names());
    wait_for_words(&node.expect("it starts"), &all, |peer| match peer {
        Peer::Refuses => "the connection was refused",
        Peer::Swallows => "no connection within socket-timeout",
        Peer::Closes | Peer::Foreign | Peer::Stranger => "the TLS handshake failed",
        Peer::Silent | Peer::Stalls | Peer::Drips => "no TLS handshake within socket-timeout",
        Peer::Hangs => "was not resolved within 400ms",
        Peer::Unknown => "does not resolve",
    });
}

#[test]
fn whatever_a_peer_does_it_ends_at_the_network_timeout() {
    let authorities = Authorities::new("network-timeout");
    let mut peers = BadPeers::new();
    let all = peers.all();
    let list = list(all.iter().map(|(_, address)| address));
    let mut settings = settings(&list, authorities.node("node"));
    settings.discovery.socket_timeout = LONG;
    settings.discovery.network_timeout = SHORT;
    settings.discovery.join_timeout = None;
    let (mut ports, _) = listeners(1);
    let node = TestNode::start_resolving(&settings, ports.remove(0), peers.names());
    wait_for_words(&node.expect("it starts"), &all, |peer| match peer {
        Peer::Refuses => "the connection was refused",
        Peer::Closes | Peer::Foreign | Peer::Stranger => "the TLS handshake failed",
        Peer::Swallows | Peer::Silent | Peer::Stalls | Peer::Drips => "within network-timeout",
        Peer::Hangs => "was not resolved within 400ms",
        Peer::Unknown => "does not resolve",
    });
}

#[test]
fn a_dialled_peer_with_a_certificate_for_another_purpose_is_counted() {
    let authorities = Authorities::new("purpose");
    let mut peers = BadPeers::new();
    let client = authorities.authority.client("client", validity());
    let address = peers.shows(&client.expect("a certificate"));
    let mut settings = settings(&list([&address]), authorities.node("node"));
    settings.discovery.join_timeout = None;
    let (mut ports, _) = listeners(1);
    let node = TestNode::start(&settings, ports.remove(0)).expect("it starts");
    wait_until("it was refused, and counted", || {
        outcome(&node, &address).contains("the TLS handshake failed")
            && count(&node, "connections_refused_wrong_name") > 0
    });
    assert_eq!(count(&node, "connections_refused_unknown_authority"), 0);
}

#[test]
fn a_node_starts_and_stops_in_time_whatever_its_peers_do() {
    let authorities = Authorities::new("start-and-stop");
    let mut peers = BadPeers::new();
    let all = peers.all();
    let (mut ports, own) = listeners(1);
    let addresses = all.iter().map(|(_, address)| address.clone());
    let list = list(addresses.chain([own.entries()[0].to_string()]));
    let mut settings = settings(&list, authorities.node("node"));
    // Nothing else than join-timeout ends a wait here.
    settings.discovery.socket_timeout = LONG;
    settings.discovery.network_timeout = LONG;
    settings.limits.drain_time = LONG;
    let node = TestNode::start_resolving(&settings, ports.remove(0), peers.names());
    let mut node = node.expect("it starts");
    wait_until("it forms a cluster", || node.handle().serving());
    let silent = all.iter().find(|(peer, _)| *peer == Peer::Silent);
    let (_, silent) = silent.expect("one of each kind");
    assert_eq!(outcome(&node, silent), "no answer yet");
    let stopped = std::thread::spawn(move || node.shut_down());
    wait_until("it has stopped", || stopped.is_finished());
    stopped.join().expect("in order");
}

#[test]
fn a_node_that_is_not_in_its_list_fails_at_the_join_timeout_and_says_where_it_is() {
    let authorities = Authorities::new("not-listed");
    let mut peers = BadPeers::new();
    let all = peers.all();
    let mut settings = settings(
        &list(all.iter().map(|(_, address)| address)),
        authorities.node("node"),
    );
    // Nothing else than join-timeout ends a wait here.
    settings.discovery.socket_timeout = LONG;
    settings.discovery.network_timeout = LONG;
    let (mut ports, _) = listeners(1);
    let node = TestNode::start_resolving(&settings, ports.remove(0), peers.names());
    let mut node = node.expect("it starts");
    let error = node.wait_for_end().expect_err("it cannot form a cluster");
    let text = error.to_string();
    assert!(text.contains("not in its address list"), "{text}");
    assert!(
        text.contains(&format!("this node is at {}", node.address)),
        "{text}"
    );
    for (peer, address) in &all {
        assert!(text.contains(&format!("{address}: ")), "{peer:?}: {text}");
    }
    for peer in [Peer::Silent, Peer::Swallows, Peer::Hangs] {
        let (_, address) = all.iter().find(|(kind, _)| *kind == peer).expect("one");
        assert!(
            text.contains(&format!("{address}: no answer yet")),
            "{text}"
        );
    }
}

#[test]
fn a_hello_ends_at_the_network_timeout() {
    let mut peers = BadPeers::new();
    let silent = peers.add(Peer::Silent);
    let mut settings = plain(&list([&silent]));
    settings.discovery.socket_timeout = LONG;
    settings.discovery.network_timeout = SHORT;
    settings.discovery.join_timeout = None;
    let (mut ports, _) = listeners(1);
    let node = TestNode::start(&settings, ports.remove(0)).expect("it starts");
    wait_until("the report says so", || {
        outcome(&node, &silent).contains("within network-timeout")
    });
}

#[test]
fn a_node_waits_for_silent_addresses_until_the_join_timeout_and_with_none_for_ever() {
    let mut peers = BadPeers::new();
    let silent = peers.add(Peer::Silent);
    let start = |join_timeout| {
        let (mut ports, own) = listeners(1);
        let list = list([own.to_string(), silent.clone()]);
        let mut settings = plain(&list);
        settings.discovery.socket_timeout = LONG;
        settings.discovery.network_timeout = LONG;
        settings.discovery.join_timeout = join_timeout;
        TestNode::start(&settings, ports.remove(0)).expect("it starts")
    };
    let patient = start(None);
    let begin = Instant::now();
    let other = start(Settings::default().discovery.join_timeout);
    wait_until("it forms a cluster", || other.handle().serving());
    println!(
        "serving {:?} after the start where the other address is silent, at join-timeout 1s",
        begin.elapsed()
    );
    // It was there before, in the same place.
    assert!(!patient.handle().serving());
    assert_eq!(patient.handle().view().version.number, 0);
}

#[test]
fn a_node_that_is_not_in_its_own_list_gives_up_with_a_word_on_every_address() {
    let mut peers = BadPeers::new();
    let (refuses, silent) = (peers.add(Peer::Refuses), peers.add(Peer::Silent));
    let addresses = format!("{refuses},{silent}");
    let arguments = [
        "node",
        "--addresses",
        &addresses,
        "--local-port",
        "0",
        "--join-timeout",
        // Long enough for a refusal to come, on a busy machine too.
        "3s",
        "--set",
        "tls.enabled=false",
    ];
    let ended = embergrid(&arguments, PATIENCE);
    assert_eq!(ended.code, Some(3), "{ended:?}");
    let last = ended.errors.lines().last().unwrap_or_default();
    for word in [
        format!("{refuses}: the connection was refused"),
        // Whether it is a timeout that has ended by now depends on the machine.
        format!("{silent}: no "),
        "this node is at 127.0.0.1:".to_owned(),
    ] {
        assert!(last.contains(&word), "{word}: {last}");
    }
}

/// `EMBERGRID_STARTS` sets how many nodes join, one after the other.
#[test]
fn a_node_joins_where_fifteen_of_sixteen_addresses_are_bad() {
    let starts = std::env::var("EMBERGRID_STARTS").ok();
    let starts: u32 = starts.and_then(|text| text.parse().ok()).unwrap_or(4);
    let authorities = Authorities::new("bad-addresses");
    let (mut ports, own) = listeners(1);
    let mut founder = settings(&own, authorities.node("founder"));
    founder.cluster.node_name = Some("founder".to_owned());
    let founder = TestNode::start(&founder, ports.remove(0)).expect("it starts");
    wait_until("it serves", || founder.handle().serving());
    let mut peers = BadPeers::new();
    let bad = ALL.into_iter().cycle().take(15).map(|peer| peers.add(peer));
    let mut addresses: Vec<String> = bad.collect();
    // Its name is looked up among those that hang.
    addresses.push(format!("founder:{}", founder.address.port()));
    let mut settings = settings(&list(&addresses), authorities.node("joins"));
    settings.cluster.node_name = Some("joins".to_owned());
    settings.discovery.join_timeout = FINDS_ANOTHER;
    let mut longest = Duration::ZERO;
    for _ in 0..starts {
        let (mut ports, _) = listeners(1);
        let begin = Instant::now();
        let node = TestNode::start_resolving(&settings, ports.remove(0), peers.names());
        let mut node = node.expect("it starts");
        wait_until("it has joined", || {
            node.handle().view().nodes.len() == 2 && node.handle().serving()
        });
        longest = longest.max(begin.elapsed());
        node.shut_down();
        wait_until("it has left", || founder.handle().view().nodes.len() == 1);
    }
    println!("{starts} joins with 15 of 16 addresses bad: {longest:?} at most");
}

#[test]
fn names_that_hang_do_not_keep_a_node_from_its_cluster() {
    let authorities = Authorities::new("hanging-names");
    let (mut ports, own) = listeners(1);
    let founder = settings(&own, authorities.node("founder"));
    let founder = TestNode::start(&founder, ports.remove(0)).expect("it starts");
    wait_until("it serves", || founder.handle().serving());
    let mut peers = BadPeers::new();
    let mut addresses: Vec<String> = (0..100).map(|_| peers.add(Peer::Hangs)).collect();
    addresses.push(format!("founder:{}", founder.address.port()));
    let mut settings = settings(&list(&addresses), authorities.node("joins"));
    // It may find the founder, and never itself.
    settings.discovery.join_timeout = None;
    settings.discovery.socket_timeout = LONG;
    let (mut ports, _) = listeners(1);
    let node = TestNode::start_resolving(&settings, ports.remove(0), peers.names());
    let node = node.expect("it starts");
    wait_until("it has joined", || {
        node.handle().view().nodes.len() == 2 && node.handle().serving()
    });
}
