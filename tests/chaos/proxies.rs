//! All nodes on loopback, each behind a proxy: what it tells its peers is the address of the proxy.
//! Who dials is found out from the system's table of sockets, so each pair of nodes can be cut by
//! itself, one way or both. Needs no permission. A cut holds bytes back and lets them go on when it
//! ends, as a broken wire does with those of a connection that lives on.

use crate::cluster::PATIENCE;
use crate::pace::pass;
use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::process::Command;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// How long each piece of bytes takes on a bad wire.
const BAD_DELAY: Duration = Duration::from_millis(30);

/// What holds of the wires.
#[derive(Clone, Default)]
struct Rules {
    cuts: BTreeSet<(usize, usize)>,
    bad: bool,
    /// How often the connections of a pair were reset, the smaller first.
    resets: BTreeMap<(usize, usize), u64>,
    /// The process of each node that runs.
    processes: BTreeMap<usize, u32>,
}

pub struct Proxies {
    rules: watch::Sender<Rules>,
    ports: Vec<u16>,
    accepting: Vec<Option<JoinHandle<()>>>,
}

/// Where a node listens, and where its proxy does.
fn behind(node: usize) -> Ipv4Addr {
    Ipv4Addr::new(127, 77, node as u8 + 1, 1)
}

fn before(node: usize) -> Ipv4Addr {
    Ipv4Addr::new(127, 77, node as u8 + 1, 2)
}

impl Proxies {
    pub fn new(nodes: usize) -> Self {
        let ports = (0..nodes).map(|node| {
            let free = std::net::TcpListener::bind((before(node), 0)).expect("a port");
            free.local_addr().expect("an address").port()
        });
        Self {
            rules: watch::Sender::default(),
            ports: ports.collect(),
            accepting: (0..nodes).map(|_| None).collect(),
        }
    }

    pub fn host(&self, node: usize) -> String {
        before(node).to_string()
    }

    pub fn port(&self, node: usize) -> u16 {
        self.ports[node]
    }

    /// This program once more, as a node: see `node.rs`.
    pub fn command(&self, node: usize) -> Command {
        let mut command = Command::new(std::env::current_exe().expect("this program"));
        let listen = SocketAddrV4::new(behind(node), self.ports[node]);
        command.args(crate::node::ARGUMENTS);
        command.env(crate::node::LISTEN, listen.to_string());
        command
    }

    /// A node runs as this process: its proxy lets others in.
    pub fn open(&mut self, node: usize, process: u32) {
        self.rules.send_modify(|rules| {
            rules.processes.insert(node, process);
        });
        let address = SocketAddrV4::new(before(node), self.ports[node]);
        let listener = bind(address);
        listener.set_nonblocking(true).expect("a socket");
        let wire = Wire {
            node,
            upstream: SocketAddrV4::new(behind(node), self.ports[node]),
            rules: self.rules.subscribe(),
        };
        let accept = async move {
            let listener = TcpListener::from_std(listener).expect("a socket");
            wire.accept(listener).await;
        };
        self.accepting[node] = Some(tokio::spawn(accept));
    }

    /// A node is gone: its proxy refuses, as the system of a dead process does.
    pub fn close(&mut self, node: usize) {
        self.rules.send_modify(|rules| {
            rules.processes.remove(&node);
        });
        if let Some(accepting) = self.accepting[node].take() {
            accepting.abort();
        }
    }

    pub fn set_cuts(&mut self, pairs: &[(usize, usize)], cut: bool) {
        self.rules.send_modify(|rules| {
            for pair in pairs {
                match cut {
                    true => rules.cuts.insert(*pair),
                    false => rules.cuts.remove(pair),
                };
            }
        });
    }

    pub fn set_bad(&self, bad: bool) -> bool {
        self.rules.send_modify(|rules| rules.bad = bad);
        true
    }

    /// Resets all connections between two nodes.
    pub fn reset(&self, one: usize, other: usize) {
        let pair = (one.min(other), one.max(other));
        self.rules
            .send_modify(|rules| *rules.resets.entry(pair).or_default() += 1);
    }
}

/// The port of a proxy that was closed is free when its task is gone.
fn bind(address: SocketAddrV4) -> std::net::TcpListener {
    let give_up = Instant::now() + PATIENCE;
    loop {
        match std::net::TcpListener::bind(address) {
            Ok(listener) => return listener,
            Err(error) => assert!(Instant::now() < give_up, "{address}: {error}"),
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// What leads to one node.
#[derive(Clone)]
struct Wire {
    node: usize,
    upstream: SocketAddrV4,
    rules: watch::Receiver<Rules>,
}

impl Wire {
    async fn accept(self, listener: TcpListener) {
        while let Ok((dialled, from)) = listener.accept().await {
            let wire = self.clone();
            tokio::spawn(async move {
                let processes = wire.rules.borrow().processes.clone();
                let who = tokio::task::spawn_blocking(move || who(from, &processes)).await;
                // Whoever is gone already needs no answer.
                if let Ok(Some(who)) = who {
                    wire.carry(dialled, who).await;
                }
            });
        }
    }

    /// Carries the bytes of one connection until it ends, or is reset.
    async fn carry(mut self, dialled: TcpStream, who: Who) {
        let Who::Node(from) = who else {
            // Clients are on all sides of every cut.
            if let Ok(upstream) = TcpStream::connect(self.upstream).await {
                let (mut one, mut other) = (dialled, upstream);
                let _ = tokio::io::copy_bidirectional(&mut one, &mut other).await;
            }
            return;
        };
        let (to, pair) = (self.node, (from.min(self.node), from.max(self.node)));
        let count = |rules: &Rules| rules.resets.get(&pair).copied().unwrap_or(0);
        let before = count(&self.rules.borrow());
        let both =
            |rules: &Rules| !rules.cuts.contains(&(from, to)) && !rules.cuts.contains(&(to, from));
        if self.rules.wait_for(both).await.is_err() {
            return;
        }
        let Ok(upstream) = TcpStream::connect(self.upstream).await else {
            return;
        };
        let _ = (dialled.set_nodelay(true), upstream.set_nodelay(true));
        let (read_one, write_one) = dialled.into_split();
        let (read_other, write_other) = upstream.into_split();
        let there = pump(read_one, write_other, (from, to), self.rules.clone());
        let back = pump(read_other, write_one, (to, from), self.rules.clone());
        tokio::select! {
            _ = async { tokio::join!(there, back) } => {}
            _ = self.rules.wait_for(|rules| count(rules) > before) => {}
        }
    }
}

/// One direction of one connection.
async fn pump(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    way: (usize, usize),
    mut rules: watch::Receiver<Rules>,
) {
    let mut bytes = vec![0; 16 << 10];
    loop {
        let count = from.read(&mut bytes).await.unwrap_or(0);
        let Ok(bad) = rules
            .wait_for(|rules| !rules.cuts.contains(&way))
            .await
            .map(|rules| rules.bad)
        else {
            return;
        };
        if bad {
            pass(BAD_DELAY).await;
        }
        if count == 0 {
            let _ = to.shutdown().await;
            return;
        }
        if to.write_all(&bytes[..count]).await.is_err() {
            return;
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Who {
    Node(usize),
    Client,
}

/// Who holds the other end of a connection that came from this address: a node, or this process.
fn who(from: SocketAddr, nodes: &BTreeMap<usize, u32>) -> Option<Who> {
    let SocketAddr::V4(from) = from else {
        return None;
    };
    let socket = format!("socket:[{}]", inode(from)?);
    let holds = |process: u32| {
        let files = std::fs::read_dir(format!("/proc/{process}/fd"));
        let mut files = files.into_iter().flatten().flatten();
        files.any(|file| {
            std::fs::read_link(file.path()).is_ok_and(|link| link.as_os_str() == socket.as_str())
        })
    };
    let mut nodes = nodes.iter();
    match nodes.find(|(_, process)| holds(**process)) {
        Some((node, _)) => Some(Who::Node(*node)),
        None => holds(std::process::id()).then_some(Who::Client),
    }
}

/// The number of the socket at a local address, by the system's table.
fn inode(local: SocketAddrV4) -> Option<u64> {
    let address = u32::from_ne_bytes(local.ip().octets());
    let wanted = format!("{address:08X}:{:04X}", local.port());
    let table = std::fs::read_to_string("/proc/net/tcp").ok()?;
    let mut lines = table.lines().map(|line| line.split_whitespace());
    let mut line = lines.find(|line| line.clone().nth(1) == Some(&wanted))?;
    line.nth(9)?.parse().ok()
}

#[test]
fn this_process_is_found_behind_its_connection() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    let _dialled = std::net::TcpStream::connect(address).expect("it listens");
    let (_accepted, from) = listener.accept().expect("a connection");
    assert_eq!(who(from, &BTreeMap::new()), Some(Who::Client));
    let nodes = BTreeMap::from([(3, std::process::id())]);
    assert_eq!(who(from, &nodes), Some(Who::Node(3)));
}
