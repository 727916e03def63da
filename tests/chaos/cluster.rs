//! A cluster of processes that can be cut apart, killed, paused and started again.

use crate::namespaces::Namespaces;
use crate::pace::pass;
use crate::proxies::Proxies;
use crate::stage::Ground;
use embergrid::client::{Client, Options};
use embergrid::config::{AddressList, Store, StoreType, TlsSettings};
use embergrid::rpc::certificates::{AUTHORITY_FILE, Wanted, write_all};
use embergrid::rpc::tls::client_tls;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// How long a condition may take on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(180);
/// Between two looks at a condition.
pub const POLL: Duration = Duration::from_millis(20);

/// The program under test.
const PROGRAM: &str = env!("CARGO_BIN_EXE_embergrid");
const CLIENT: &str = "client";
/// How much of a node's log is shown where it ended by itself.
const LOG_BYTES_SHOWN: usize = 4_000;

enum Network {
    Namespaces(Namespaces),
    Proxies(Proxies),
}

pub struct Cluster {
    // Before the network and the folder: nodes end first.
    processes: Vec<Option<Process>>,
    network: Network,
    folder: tempfile::TempDir,
    /// What nodes are given in their environment.
    environment: Vec<(&'static str, String)>,
}

struct Process {
    child: Child,
    paused: bool,
}

impl Drop for Process {
    fn drop(&mut self) {
        // An error means that it is gone already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Set, the nodes' settings and logs stay where they are, and it is told where that is.
const KEEP: &str = "EMBERGRID_KEEP";

impl Cluster {
    /// Certificates, settings and a network for so many nodes; none of them runs.
    pub fn prepare(ground: Ground, size: usize, ack_timeout: Duration) -> Self {
        let network = match ground {
            Ground::Namespaces => Network::Namespaces(Namespaces::new(size)),
            Ground::Proxies => Network::Proxies(Proxies::new(size)),
        };
        let mut cluster = Self {
            processes: (0..size).map(|_| None).collect(),
            network,
            folder: tempfile::tempdir().expect("a folder"),
            environment: Vec::new(),
        };
        if std::env::var_os(KEEP).is_some() {
            cluster.folder.disable_cleanup(true);
            println!("settings and logs: {}", cluster.folder.path().display());
        }
        let nodes = (0..size).map(|node| (name(node), vec![cluster.host(node)]));
        let wanted = Wanted {
            authority: "chaos".to_owned(),
            nodes: nodes.collect(),
            clients: vec![CLIENT.to_owned()],
            days: 1,
        };
        write_all(cluster.folder.path(), &wanted).expect("certificates");
        for node in 0..size {
            let text = cluster.settings(node, ack_timeout);
            std::fs::write(cluster.file(node, "toml"), text).expect("a file");
        }
        cluster
    }

    /// Nodes that start from now on are given this in their environment.
    pub fn give(&mut self, name: &'static str, value: &str) {
        self.environment.push((name, value.to_owned()));
    }

    fn settings(&self, node: usize, ack_timeout: Duration) -> String {
        let addresses: Vec<String> = (0..self.size())
            .map(|node| format!("\"{}\"", self.address(node)))
            .collect();
        // Caches that stop in a minority want three servers or more.
        let quorum = match self.size() {
            ..3 => String::new(),
            servers => format!("quorum-of = {servers}\n"),
        };
        format!(
            "[cluster]\nnode-name = \"{}\"\n{quorum}\n[discovery]\naddresses = [{}]\n\
             local-address = \"{}\"\nlocal-port = {}\nack-timeout = \"{}ms\"\n\n\
             [tls]\nkey-store-file-path = \"{}\"\nkey-store-type = \"PEM\"\n\
             trust-store-file-path = \"{}\"\ntrust-store-type = \"PEM\"\n",
            name(node),
            addresses.join(", "),
            self.host(node),
            self.port(node),
            ack_timeout.as_millis(),
            self.file(node, "key.pem").display(),
            self.folder.path().join(AUTHORITY_FILE).display(),
        )
    }

    pub fn size(&self) -> usize {
        self.processes.len()
    }

    fn file(&self, node: usize, ending: &str) -> PathBuf {
        self.folder.path().join(format!("{}.{ending}", name(node)))
    }

    fn host(&self, node: usize) -> String {
        match &self.network {
            Network::Namespaces(network) => network.host(node),
            Network::Proxies(network) => network.host(node),
        }
    }

    fn port(&self, node: usize) -> u16 {
        match &self.network {
            Network::Namespaces(network) => network.port(),
            Network::Proxies(network) => network.port(node),
        }
    }

    pub fn address(&self, node: usize) -> String {
        format!("{}:{}", self.host(node), self.port(node))
    }

    pub fn start(&mut self, node: usize) {
        let settings = self.file(node, "toml");
        let mut command = match &self.network {
            Network::Namespaces(network) => {
                let mut command = network.command(node, Path::new(PROGRAM));
                command.args(["node", "--stop-with-stdin", "--config"]);
                command.arg(settings);
                command
            }
            Network::Proxies(network) => {
                let mut command = network.command(node);
                command.env(crate::node::SETTINGS, settings);
                command
            }
        };
        let log = File::options()
            .create(true)
            .append(true)
            .open(self.file(node, "log"))
            .expect("a file");
        let child = command
            .envs(self.environment.iter().cloned())
            .env_remove("EMBERGRID_STAGE")
            .stdin(Stdio::piped())
            .stdout(log.try_clone().expect("a file"))
            .stderr(log)
            .spawn()
            .expect("a node starts");
        if let Network::Proxies(network) = &mut self.network {
            network.open(node, child.id());
        }
        self.processes[node] = Some(Process {
            child,
            paused: false,
        });
    }

    /// Ends a node without warning. What it held is gone: the next start of it is empty.
    pub fn kill(&mut self, node: usize) {
        self.processes[node] = None;
        if let Network::Proxies(network) = &mut self.network {
            network.close(node);
        }
    }

    pub fn pause(&mut self, node: usize, paused: bool) {
        if let Some(process) = &mut self.processes[node] {
            let signal = if paused { "-STOP" } else { "-CONT" };
            let id = process.child.id().to_string();
            let told = Command::new("kill").args([signal, &id]).status();
            assert!(told.expect("kill can be run").success());
            process.paused = paused;
        }
    }

    /// Whether a process was started and not killed, paused or not.
    pub fn up(&self, node: usize) -> bool {
        self.processes[node].is_some()
    }

    pub fn runs(&self, node: usize) -> bool {
        let process = self.processes[node].as_ref();
        process.is_some_and(|process| !process.paused)
    }

    /// A node that ended by itself, with its last words.
    pub fn ended(&mut self) -> Option<String> {
        for node in 0..self.size() {
            let Some(process) = &mut self.processes[node] else {
                continue;
            };
            if let Ok(Some(status)) = process.child.try_wait() {
                let log = std::fs::read_to_string(self.file(node, "log")).unwrap_or_default();
                let from = log.len().saturating_sub(LOG_BYTES_SHOWN);
                let tail = log.get(from..).unwrap_or(&log);
                return Some(format!("{} ended ({status}):\n{tail}", name(node)));
            }
        }
        None
    }

    pub fn set_cuts(&mut self, pairs: &[(usize, usize)], cut: bool) {
        match &mut self.network {
            Network::Namespaces(network) => network.set_cuts(pairs, cut),
            Network::Proxies(network) => network.set_cuts(pairs, cut),
        }
    }

    /// Makes all wires slow, or well again. False: this network cannot.
    pub fn set_bad(&mut self, bad: bool) -> bool {
        match &mut self.network {
            Network::Namespaces(network) => network.set_bad(bad),
            Network::Proxies(network) => network.set_bad(bad),
        }
    }

    /// Resets the connections between two nodes, where the network can: behind proxies.
    pub fn reset(&mut self, one: usize, other: usize) -> bool {
        match &mut self.network {
            Network::Namespaces(_) => false,
            Network::Proxies(network) => {
                network.reset(one, other);
                true
            }
        }
    }

    /// A client that begins at these nodes. It is there when one of them answers.
    pub async fn client(&self, nodes: &[usize], options: Options) -> Client {
        let addresses: Vec<String> = nodes.iter().map(|node| self.address(*node)).collect();
        let list = AddressList::of(addresses.iter().map(String::as_str)).expect("addresses");
        let pem = |file: PathBuf| Some(Store::new(file, StoreType::Pem));
        let tls = TlsSettings {
            key_store: pem(self.folder.path().join(format!("{CLIENT}.key.pem"))),
            trust_store: pem(self.folder.path().join(AUTHORITY_FILE)),
            ..TlsSettings::default()
        };
        let tls = client_tls(&tls).expect("certificates");
        let give_up = Instant::now() + PATIENCE;
        loop {
            match Client::connect(&list, tls.clone(), options).await {
                Ok(client) => return client,
                Err(error) => assert!(Instant::now() < give_up, "{addresses:?}: {error}"),
            }
            pass(POLL).await;
        }
    }
}

/// The name that a node keeps through all its lives.
pub fn name(node: usize) -> String {
    format!("node-{}", node + 1)
}

#[test]
fn a_release_carries_no_planted_fault() {
    let program = std::fs::read(PROGRAM).expect("the program");
    let name = b"EMBERGRID_PLANTED";
    let carries = program.windows(name.len()).any(|bytes| bytes == name);
    assert_eq!(carries, cfg!(debug_assertions));
}
