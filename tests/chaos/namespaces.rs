//! Each node in a network namespace of its own, with this process's namespace as the router between
//! them. A cut is a routing rule here: packets of one direction vanish, as on a broken wire, and the
//! connections of both ends live on. Clients are on the router and reach every node at all times.

use std::collections::BTreeSet;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

/// Of each node, in its own namespace.
const PORT: u16 = 47_500;

/// A delay and losses of packets, where the kernel has a queue that makes them.
const NETEM: [&str; 5] = ["netem", "delay", "30ms", "10ms", "loss"];
/// Else a link so slow that packets wait, and are dropped where too many do.
const SLOW: [&str; 7] = [
    "tbf", "rate", "1500kbit", "burst", "4kb", "latency", "120ms",
];

pub struct Namespaces {
    nodes: usize,
    cuts: BTreeSet<(usize, usize)>,
}

/// Runs `ip` over many commands at once.
fn ip(namespace: Option<usize>, commands: &[String]) {
    let mut ip = Command::new("ip");
    if let Some(node) = namespace {
        ip.args(["-n", &name(node)]);
    }
    let mut running = ip
        .args(["-batch", "-"])
        .stdin(Stdio::piped())
        .spawn()
        .expect("ip can be run");
    let text = commands.join("\n") + "\n";
    let mut input = running.stdin.take().expect("its input is a pipe");
    input.write_all(text.as_bytes()).expect("ip reads");
    drop(input);
    let status = running.wait().expect("ip ends");
    assert!(status.success(), "ip: {commands:?}");
}

fn name(node: usize) -> String {
    format!("node{}", node + 1)
}

fn host(node: usize) -> String {
    format!("10.77.{}.2", node + 1)
}

fn router(node: usize) -> String {
    format!("10.77.{}.1", node + 1)
}

fn wire(node: usize) -> String {
    format!("wire{}", node + 1)
}

impl Namespaces {
    pub fn new(nodes: usize) -> Self {
        std::fs::write("/proc/sys/net/ipv4/ip_forward", "1").expect("this namespace is ours");
        let mut here = vec!["link set lo up".to_owned()];
        for node in 0..nodes {
            let (name, wire) = (name(node), wire(node));
            here.push(format!("netns add {name}"));
            here.push(format!(
                "link add {wire} type veth peer name e0 netns {name}"
            ));
            here.push(format!("addr add {}/30 dev {wire}", router(node)));
            here.push(format!("link set {wire} up"));
        }
        ip(None, &here);
        for node in 0..nodes {
            let there = [
                "link set lo up".to_owned(),
                format!("addr add {}/30 dev e0", host(node)),
                "link set e0 up".to_owned(),
                format!("route add default via {}", router(node)),
            ];
            ip(Some(node), &there);
        }
        let cuts = BTreeSet::new();
        Self { nodes, cuts }
    }

    pub fn host(&self, node: usize) -> String {
        host(node)
    }

    pub fn port(&self) -> u16 {
        PORT
    }

    /// The beginning of a command that runs in the place of a node. It keeps its process id.
    pub fn command(&self, node: usize, program: &Path) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &name(node)]).arg(program);
        command
    }

    /// Cuts or mends directions.
    pub fn set_cuts(&mut self, pairs: &[(usize, usize)], cut: bool) {
        let act = if cut { "add" } else { "del" };
        let mut rules = Vec::new();
        for &(from, to) in pairs {
            let changes = match cut {
                true => self.cuts.insert((from, to)),
                false => self.cuts.remove(&(from, to)),
            };
            if changes {
                let (from, to) = (host(from), host(to));
                rules.push(format!("rule {act} pref 100 from {from} to {to} blackhole"));
            }
        }
        ip(None, &rules);
    }

    /// Makes all wires slow and lossy, or well again. False: this system has no such queue.
    pub fn set_bad(&self, bad: bool) -> bool {
        let tc = |wire: &str, what: &[&str]| {
            let act = if bad { "add" } else { "del" };
            let mut tc = Command::new("tc");
            tc.args(["qdisc", act, "dev", wire, "root"]).args(what);
            tc.stderr(Stdio::null());
            tc.status().is_ok_and(|status| status.success())
        };
        let mut wires = (0..self.nodes).map(wire);
        match bad {
            true => {
                wires.all(|wire| tc(&wire, &[&NETEM[..], &["1%"]].concat()) || tc(&wire, &SLOW))
            }
            false => wires.all(|wire| tc(&wire, &[])),
        }
    }
}

impl Drop for Namespaces {
    fn drop(&mut self) {
        if std::thread::panicking() {
            return;
        }
        // The names may be wanted by the next cluster of this process.
        let cuts: Vec<_> = self.cuts.iter().copied().collect();
        self.set_cuts(&cuts, false);
        let mut gone = Vec::new();
        for node in 0..self.nodes {
            gone.push(format!("link del {}", wire(node)));
            gone.push(format!("netns del {}", name(node)));
        }
        ip(None, &gone);
    }
}
