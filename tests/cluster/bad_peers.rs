//! Addresses behind which something else lives than a node of this cluster: what each timeout
//! bounds, and that nobody else is held up.

use crate::process::embergrid;
use crate::rig::{Authorities, PATIENCE, TestNode, listeners, settings, wait_until};
use embergrid::config::{AddressList, Settings, TlsSettings};
use std::net::{SocketAddr, TcpListener as StdListener, TcpStream as StdStream};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::{Builder, Runtime};

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
}

const ALL: [Peer; 7] = [
    Peer::Refuses,
    Peer::Swallows,
    Peer::Silent,
    Peer::Closes,
    Peer::Foreign,
    Peer::Stalls,
    Peer::Drips,
];

/// The head of a TLS record of 16 KiB, and of the server's hello in it.
const RECORD: [u8; 9] = [0x16, 3, 3, 0x40, 0, 2, 0, 0x3f, 0xfc];

/// Such peers, alive as long as this is.
struct BadPeers {
    runtime: Runtime,
    /// Connections that fill the queues of those who swallow.
    held: Vec<StdStream>,
    full: Vec<socket2::Socket>,
}

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
        }
    }

    /// One more, and where it lives.
    fn add(&mut self, peer: Peer) -> SocketAddr {
        if peer == Peer::Swallows {
            return self.swallows();
        }
        let listener = StdListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        if peer != Peer::Refuses {
            listener.set_nonblocking(true).expect("a mode of sockets");
            let _inside = self.runtime.enter();
            let listener = TcpListener::from_std(listener).expect("a listener");
            self.runtime.spawn(live(listener, peer));
        }
        address
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

async fn live(listener: TcpListener, peer: Peer) {
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
        Peer::Refuses | Peer::Swallows | Peer::Silent => {}
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

#[test]
fn a_connect_a_handshake_and_a_name_end_at_the_socket_timeout() {
    let authorities = Authorities::new("socket-timeout");
    let mut peers = BadPeers::new();
    let mut expected: Vec<(String, &str)> = ALL
        .into_iter()
        .map(|peer| {
            let word = match peer {
                Peer::Refuses => "the connection was refused",
                Peer::Swallows => "no connection within socket-timeout",
                Peer::Closes | Peer::Foreign => "the TLS handshake failed",
                Peer::Silent | Peer::Stalls | Peer::Drips => {
                    "no TLS handshake within socket-timeout"
                }
            };
            (peers.add(peer).to_string(), word)
        })
        .collect();
    expected.push(("no-such-host.invalid:1".to_owned(), "resolve"));
    let list = list(expected.iter().map(|(address, _)| address));
    let mut settings = settings(&list, authorities.node("node"));
    settings.discovery.socket_timeout = SHORT;
    settings.discovery.network_timeout = LONG;
    settings.discovery.join_timeout = None;
    let (mut ports, _) = listeners(1);
    let node = TestNode::start(&settings, ports.remove(0)).expect("it starts");
    for (address, word) in expected {
        wait_until(&format!("{address}: {word}"), || {
            outcome(&node, &address).contains(word)
        });
    }
}

#[test]
fn a_hello_ends_at_the_network_timeout() {
    let mut peers = BadPeers::new();
    let silent = peers.add(Peer::Silent).to_string();
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
    let silent = peers.add(Peer::Silent).to_string();
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
        "600ms",
        "--set",
        "discovery.network-timeout=1s",
        "--set",
        "tls.enabled=false",
    ];
    let ended = embergrid(&arguments, PATIENCE);
    assert_eq!(ended.code, Some(3), "{ended:?}");
    let last = ended.errors.lines().last().unwrap_or_default();
    for word in [
        format!("{refuses}: the connection was refused"),
        // Whether the connection or the hello is what takes all the time depends on the machine.
        format!("{silent}: no "),
        "within network-timeout".to_owned(),
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
    let mut addresses: Vec<String> = bad.map(|address| address.to_string()).collect();
    addresses.insert(8, own.to_string());
    let mut settings = settings(&list(&addresses), authorities.node("joins"));
    settings.cluster.node_name = Some("joins".to_owned());
    let mut longest = Duration::ZERO;
    for _ in 0..starts {
        let (mut ports, _) = listeners(1);
        let begin = Instant::now();
        let mut node = TestNode::start(&settings, ports.remove(0)).expect("it starts");
        wait_until("it has joined", || {
            node.handle().view().nodes.len() == 2 && node.handle().serving()
        });
        longest = longest.max(begin.elapsed());
        node.shut_down();
        wait_until("it has left", || founder.handle().view().nodes.len() == 1);
    }
    println!("{starts} joins with 15 of 16 addresses bad: {longest:?} at most");
}
