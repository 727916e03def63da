//! A cluster of node processes on loopback: certificates, ports, starting and killing. What is
//! told with it is in `story`; the cluster tests use it too.

use super::folder::Folder;
use super::process::NodeProcess;
use crate::cli::connection::{connect, tls_flags};
use crate::cli::outcome::Failure;
use crate::client::messages::TopologyResponse;
use crate::client::{Client, Options, random_bytes};
use crate::config::Settings;
use crate::config::discovery::LOCAL_PORTS_TRIED;
use crate::rpc::certificates::{self, AUTHORITY_FILE, Wanted};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// How long the certificates are good: for `--keep`, a week is plenty.
const CERTIFICATE_DAYS: u32 = 7;

/// The name of the client.
const CLIENT: &str = "client";

/// Ports are looked for from here up to [`PORTS_END`], below those that systems give out to
/// outgoing connections.
const PORTS_BEGIN: u16 = 20_000;

/// The end of the ports that are looked at.
const PORTS_END: u16 = 32_000;

/// How many places are tried for a row of free ports.
const PORT_ATTEMPTS: u32 = 100;

/// The pause between two looks at a condition that is waited for.
pub const POLL: Duration = Duration::from_millis(5);

/// Node processes that share one address list.
#[derive(Debug)]
pub struct LocalCluster {
    // Before the folder: nodes end before their files go.
    nodes: Vec<Option<NodeProcess>>,
    ports: Vec<u16>,
    program: PathBuf,
    outlives: bool,
    folder: Folder,
    /// The settings file of all nodes, where they have one.
    settings: Option<PathBuf>,
}

impl LocalCluster {
    /// Makes certificates and finds free ports for `size` nodes of the program; starts none.
    ///
    /// With `outlives`, nodes go on running when this process ends without ending them.
    ///
    /// # Errors
    ///
    /// When the system refuses files or ports.
    pub fn prepare(program: &Path, size: u16, outlives: bool) -> Result<Self, Failure> {
        let folder = Folder::create()?;
        let wanted = Wanted {
            authority: "embergrid demo authority".to_owned(),
            nodes: (0..size)
                .map(|index| (name(index.into()), Vec::new()))
                .collect(),
            clients: vec![CLIENT.to_owned()],
            days: CERTIFICATE_DAYS,
        };
        certificates::write_all(folder.path(), &wanted)?;
        Ok(Self {
            nodes: (0..size).map(|_| None).collect(),
            ports: free_ports(size)?,
            program: program.to_owned(),
            outlives,
            folder,
            settings: None,
        })
    }

    /// Gives a settings file to every node that is started from now on; what the cluster decides by
    /// itself (names, addresses, certificates) goes before it.
    ///
    /// # Errors
    ///
    /// When the file cannot be written.
    pub fn configure(&mut self, text: &str) -> Result<(), Failure> {
        let path = self.folder.path().join("embergrid.toml");
        std::fs::write(&path, text)
            .map_err(|error| Failure::failed(format!("{}: {error}", path.display())))?;
        self.settings = Some(path);
        Ok(())
    }

    /// How many nodes it has, running or not.
    pub fn size(&self) -> usize {
        self.nodes.len()
    }

    /// The name of a node, counted from 0.
    pub fn name(&self, index: usize) -> String {
        name(index)
    }

    /// The address of a node.
    pub fn address(&self, index: usize) -> String {
        format!("127.0.0.1:{}", self.ports[index])
    }

    /// The address list that all nodes share.
    pub fn addresses(&self) -> String {
        match self.ports[..] {
            [only] => format!("127.0.0.1:{only}"),
            [first, .., last] => format!("127.0.0.1:{first}..{last}"),
            [] => String::new(),
        }
    }

    /// The folder with certificates and logs.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// A file of a node or of `client`: `pem` or `key.pem`.
    pub fn file(&self, name: &str, ending: &str) -> PathBuf {
        self.folder.path().join(format!("{name}.{ending}"))
    }

    /// Everybody's trust store.
    pub fn authority(&self) -> PathBuf {
        self.folder.path().join(AUTHORITY_FILE)
    }

    /// Starts a node.
    ///
    /// # Errors
    ///
    /// When the system refuses.
    pub fn start(&mut self, index: usize) -> Result<(), Failure> {
        let name = name(index);
        let mut arguments = vec![
            ("--node-name", name),
            ("--addresses", self.addresses()),
            ("--local-address", "127.0.0.1".to_owned()),
            ("--local-port", self.ports[index].to_string()),
        ];
        if let Some(settings) = &self.settings {
            arguments.push(("--config", settings.to_string_lossy().into_owned()));
        }
        self.start_process(index, "node", arguments)
    }

    /// Starts the floor of the load generator in the place of a node.
    ///
    /// # Errors
    ///
    /// When the system refuses.
    pub fn start_floor(&mut self, index: usize, value_bytes: usize) -> Result<(), Failure> {
        let arguments = [
            ("--listen", self.address(index)),
            ("--value-size", value_bytes.to_string()),
        ];
        self.start_process(index, "bench-floor", arguments.into())
    }

    fn start_process(
        &mut self,
        index: usize,
        command: &str,
        mut flags: Vec<(&str, String)>,
    ) -> Result<(), Failure> {
        let name = name(index);
        let path = |path: PathBuf| path.to_string_lossy().into_owned();
        flags.push(("--key", path(self.file(&name, "key.pem"))));
        flags.push(("--trust", path(self.authority())));
        let arguments: Vec<String> = flags
            .into_iter()
            .flat_map(|(flag, value)| [flag.to_owned(), value])
            .collect();
        let log = self.file(&name, "log");
        let process = NodeProcess::start(&self.program, command, &arguments, &log, self.outlives)?;
        self.nodes[index] = Some(process);
        Ok(())
    }

    /// Kills a node without warning.
    pub fn kill(&mut self, index: usize) {
        self.nodes[index] = None;
    }

    /// Whether the process of a node has ended; then its place is free for another start.
    pub fn ended(&mut self, index: usize) -> bool {
        let runs = self.nodes[index]
            .as_mut()
            .is_some_and(|node| node.running());
        if !runs {
            self.nodes[index] = None;
        }
        !runs
    }

    /// The process ids of the running nodes.
    pub fn process_ids(&self) -> Vec<u32> {
        self.nodes
            .iter()
            .flatten()
            .filter_map(NodeProcess::id)
            .collect()
    }

    /// What a node printed last.
    pub fn last_words(&self, index: usize) -> String {
        self.nodes[index]
            .as_ref()
            .map(NodeProcess::last_words)
            .unwrap_or_default()
    }

    /// Lets all nodes go on without us, with their files.
    pub fn release(mut self) {
        self.folder.keep();
        for node in self.nodes.drain(..).flatten() {
            node.release();
        }
    }

    /// A client that asks the nodes given, and no others: what it hears is what they say.
    ///
    /// # Errors
    ///
    /// When none of them can be reached.
    pub async fn client(&self, indices: &[usize]) -> Result<Client, Failure> {
        let options = Options {
            routing: false,
            ..Options::default()
        };
        self.client_with(self.folder.path(), indices, options).await
    }

    /// A client that begins at the nodes given and goes to whoever owns a key.
    ///
    /// # Errors
    ///
    /// When none of them can be reached.
    pub async fn routing_client(
        &self,
        indices: &[usize],
        options: Options,
    ) -> Result<Client, Failure> {
        self.client_with(self.folder.path(), indices, options).await
    }

    /// A client of one node whose certificate was signed by another authority.
    ///
    /// # Errors
    ///
    /// When it is turned away at once; it may also be turned away at its first call.
    pub async fn stranger(&self, index: usize, options: Options) -> Result<Client, Failure> {
        let folder = self.folder.path().join("stranger");
        let wanted = Wanted {
            authority: "another authority".to_owned(),
            nodes: Vec::new(),
            clients: vec![CLIENT.to_owned()],
            days: CERTIFICATE_DAYS,
        };
        certificates::write_all(&folder, &wanted)?;
        self.client_with(&folder, &[index], options).await
    }

    /// A client with the key in a folder, which trusts the nodes of this cluster.
    async fn client_with(
        &self,
        folder: &Path,
        indices: &[usize],
        options: Options,
    ) -> Result<Client, Failure> {
        let addresses: Vec<String> = indices.iter().map(|&index| self.address(index)).collect();
        let mut flags = vec![("discovery.addresses".to_owned(), addresses.join(","))];
        let key = folder.join(format!("{CLIENT}.key.pem"));
        flags.extend(tls_flags(Some(&key), Some(&self.authority())));
        let settings = Settings::load(None, Vec::new(), flags)
            .map_err(|problems| Failure::settings(&problems))?;
        connect(&settings, options).await
    }

    /// Waits until a node that was started can be reached.
    ///
    /// # Errors
    ///
    /// When it ends, or cannot be reached within the limit.
    pub async fn reach(&mut self, index: usize, limit: Duration) -> Result<Client, Failure> {
        let give_up = Instant::now() + limit;
        loop {
            let failure = match self.client(&[index]).await {
                Ok(client) => return Ok(client),
                Err(failure) => failure,
            };
            let running = self.nodes[index].as_mut().is_some_and(NodeProcess::running);
            if !running || Instant::now() >= give_up {
                let state = if running {
                    "cannot be reached"
                } else {
                    "has ended"
                };
                let words = self.last_words(index);
                let name = name(index);
                return Err(Failure::failed(format!(
                    "{name} {state}: {failure}\n{words}"
                )));
            }
            tokio::time::sleep(POLL).await;
        }
    }
}

/// Waits until the view of the node that `client` asks is as wanted.
///
/// # Errors
///
/// When it is not within the limit; the last view is named.
pub async fn wait_for_view(
    client: &Client,
    limit: Duration,
    wanted: impl Fn(&TopologyResponse) -> bool,
) -> Result<TopologyResponse, Failure> {
    let give_up = Instant::now() + limit;
    loop {
        let topology = client.topology().await?;
        if wanted(&topology) {
            return Ok(topology);
        }
        if Instant::now() >= give_up {
            return Err(Failure::failed(format!(
                "the view of {} is not as it should be after {limit:?}: {}",
                topology.self_,
                names(&topology).join(", ")
            )));
        }
        tokio::time::sleep(POLL).await;
    }
}

/// The names of the nodes in a view.
pub fn names(topology: &TopologyResponse) -> Vec<String> {
    topology
        .nodes
        .iter()
        .map(|node| node.consistent_id.clone())
        .collect()
}

fn name(index: usize) -> String {
    format!("node-{}", index + 1)
}

/// A row of ports that nobody listens on at this moment. A node takes its own a moment later, and
/// gives it up while it is down: rows of one process are dealt one behind the other, from a random
/// one on, so that its clusters do not meet.
fn free_ports(size: u16) -> Result<Vec<u16>, Failure> {
    static DEALT: OnceLock<AtomicU32> = OnceLock::new();
    let mut bytes = [0; 2];
    random_bytes(&mut bytes)?;
    let dealt = DEALT.get_or_init(|| AtomicU32::new(u16::from_le_bytes(bytes).into()));
    let room = u32::from(PORTS_END - PORTS_BEGIN - size);
    for _ in 0..PORT_ATTEMPTS {
        // A node whose port is taken goes on to the next ones.
        let row = dealt.fetch_add(u32::from(size + LOCAL_PORTS_TRIED), Ordering::Relaxed);
        let first = PORTS_BEGIN + u16::try_from(row % room).unwrap_or_default();
        let ports: Vec<u16> = (first..first + size).collect();
        let listeners: Result<Vec<TcpListener>, _> = ports
            .iter()
            .map(|&port| TcpListener::bind(("127.0.0.1", port)))
            .collect();
        if listeners.is_ok() {
            return Ok(ports);
        }
    }
    Err(Failure::failed("no free ports on the loopback interface"))
}
