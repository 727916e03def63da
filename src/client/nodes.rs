//! The nodes that a client knows, and its connections to them: which node is asked when, and how
//! another one is found when it fails. Every wait is bounded.
//!
//! A call that belongs to a key goes to an owner of it; any other to the *current* node, which is
//! the one that answered first when all were tried at once, so that silent addresses cost nothing.
//! A node that could not be reached is left alone for a moment while others can be asked.

use super::channel::{Options, open};
use super::pipeline::Pipeline;
use super::routes::Routes;
use crate::error::{Error, Result};
use crate::rpc::names::{join_address, split_address};
use parking_lot::Mutex;
use std::collections::HashMap;
use std::fmt::{self, Write as _};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tonic::transport::Channel;

/// How many nodes are known at most; those behind are left out.
const NODES_MAX: usize = 256;

/// The longest time that is waited for anything. Behind it lie points in time that no clock can tell.
pub(super) const TIME_MAX: Duration = Duration::from_secs(24 * 3600);

/// How many reasons are named when no node could be reached.
const REASONS_MAX: usize = 4;

/// How long a node that failed is left alone while others can be asked.
const LEFT_ALONE: Duration = Duration::from_millis(500);

/// A connection with so many calls under way is busy: another one is made if there may be one.
const BUSY: usize = 32;

/// Where a node is reached.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Address {
    host_and_port: Arc<str>,
    /// Whether a node told it, rather than the user.
    pub(super) told: bool,
}

impl Address {
    /// An address that the user named.
    pub(super) fn named(host: &str, port: u16) -> Self {
        Self {
            host_and_port: join_address(host, port).into(),
            told: false,
        }
    }

    /// An address that a node told; none where it is no address.
    pub(super) fn told(text: &str) -> Option<Self> {
        split_address(text)?;
        Some(Self {
            host_and_port: text.into(),
            told: true,
        })
    }

    /// Whether both mean one node, whoever said so.
    pub(super) fn is_same_place(&self, other: &Self) -> bool {
        self.host_and_port == other.host_and_port
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.host_and_port)
    }
}

/// One connection, and what is under way on it.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) address: Address,
    pub(super) channel: Channel,
    in_flight: AtomicUsize,
    pipeline: Mutex<Option<Arc<Pipeline>>>,
    /// Set where the node turned a pipeline away.
    unary_only: AtomicBool,
}

/// One call under way; over when dropped.
pub(super) struct UnderWay<'a>(&'a Connection);

impl Connection {
    fn new(address: Address, channel: Channel) -> Self {
        Self {
            address,
            channel,
            in_flight: AtomicUsize::new(0),
            pipeline: Mutex::new(None),
            unary_only: AtomicBool::new(false),
        }
    }

    /// Counts a call.
    pub(super) fn begin(&self) -> UnderWay<'_> {
        self.in_flight.fetch_add(1, Ordering::Relaxed);
        UnderWay(self)
    }

    /// Calls that are under way.
    pub(super) fn in_flight(&self) -> usize {
        self.in_flight.load(Ordering::Relaxed)
    }

    /// The stream that calls share; none where the node has none to give.
    pub(super) fn pipeline(&self) -> Option<Arc<Pipeline>> {
        if self.unary_only.load(Ordering::Relaxed) {
            return None;
        }
        let mut pipeline = self.pipeline.lock();
        match &*pipeline {
            Some(found) if !found.ended() => Some(Arc::clone(found)),
            Some(found) if found.turned_away() => {
                self.unary_only.store(true, Ordering::Relaxed);
                *pipeline = None;
                None
            }
            _ => Some(Arc::clone(
                pipeline.insert(Pipeline::open(self.channel.clone())),
            )),
        }
    }
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A node and the connections to it.
#[derive(Debug)]
struct Node {
    address: Address,
    state: Mutex<State>,
    /// Held by whoever dials, so that one does it for all.
    dialling: tokio::sync::Mutex<()>,
}

#[derive(Debug, Default)]
struct State {
    open: Vec<Arc<Connection>>,
    /// When it failed last, and why.
    failed: Option<(Instant, String)>,
}

impl Node {
    fn new(address: Address) -> Self {
        Self {
            address,
            state: Mutex::default(),
            dialling: tokio::sync::Mutex::default(),
        }
    }

    /// The connection with the least to do.
    fn idlest(&self) -> Option<Arc<Connection>> {
        let state = self.state.lock();
        let idlest = state
            .open
            .iter()
            .min_by_key(|connection| connection.in_flight());
        idlest.cloned()
    }

    fn has_room(&self, connections_max: usize) -> bool {
        self.state.lock().open.len() < connections_max.max(1)
    }

    fn left_alone(&self) -> bool {
        let state = self.state.lock();
        let failed = state.failed.as_ref();
        failed.is_some_and(|(at, _)| at.elapsed() < LEFT_ALONE)
    }

    fn failed_since(&self, begin: Instant) -> Option<String> {
        let state = self.state.lock();
        let failed = state.failed.as_ref().filter(|(at, _)| *at >= begin);
        failed.map(|(_, reason)| reason.clone())
    }
}

/// All that a client knows about where its cluster is.
#[derive(Debug)]
pub(super) struct Connections {
    pub(super) named: Vec<Address>,
    tls: Option<Arc<rustls::ClientConfig>>,
    pub(super) options: Options,
    pub(super) routes: Routes,
    nodes: Mutex<HashMap<Address, Arc<Node>>>,
    current: Mutex<Option<Address>>,
}

impl Connections {
    pub(super) fn new(
        mut addresses: Vec<(String, u16)>,
        tls: Option<Arc<rustls::ClientConfig>>,
        mut options: Options,
    ) -> Self {
        addresses.truncate(NODES_MAX);
        for time in [
            &mut options.connect_timeout,
            &mut options.attempt_timeout,
            &mut options.timeout,
        ] {
            *time = (*time).min(TIME_MAX);
        }
        let named = addresses
            .iter()
            .map(|(host, port)| Address::named(host, *port))
            .collect();
        Self {
            named,
            tls,
            options,
            routes: Routes::default(),
            nodes: Mutex::default(),
            current: Mutex::new(None),
        }
    }

    pub(super) fn current_address(&self) -> Option<String> {
        let current = self.current.lock();
        current.as_ref().map(ToString::to_string)
    }

    /// A connection that stands and may be used at once: to the first of `owners`, or where there
    /// are none to the current node.
    pub(super) fn at_hand(self: &Arc<Self>, owners: &[Address]) -> Option<Arc<Connection>> {
        let current = self.current.lock().clone();
        let node = self.node(owners.first().or(current.as_ref())?);
        let found = node.idlest()?;
        if found.in_flight() >= BUSY && node.has_room(self.options.connections_per_node) {
            self.widen(node);
        }
        Some(found)
    }

    /// A connection to the first of `owners` that can be reached, else to any node; one that is
    /// among `avoided` only where no other is to be had.
    pub(super) async fn connection(
        self: &Arc<Self>,
        owners: &[Address],
        avoided: &[Address],
    ) -> Result<Arc<Connection>> {
        let may = |address: &Address| !avoided.iter().any(|other| other.is_same_place(address));
        for owner in owners.iter().filter(|owner| may(owner)) {
            let node = self.node(owner);
            if node.left_alone() {
                continue;
            }
            if let Ok(connection) = self.reach(&node).await {
                return Ok(connection);
            }
        }
        let current = self.current.lock().clone();
        if let Some(current) = current.filter(|current| may(current))
            && let Some(connection) = self.node(&current).idlest()
        {
            return Ok(connection);
        }
        let found = match self.race(may).await {
            Ok(found) => found,
            Err(error) if avoided.is_empty() => return Err(error),
            Err(_) => self.race(|_| true).await?,
        };
        *self.current.lock() = Some(found.address.clone());
        Ok(found)
    }

    /// Forgets a connection that broke, or on which nothing came in time. Calls that are under way
    /// on it go on.
    pub(super) fn broken(&self, connection: &Arc<Connection>, reason: &str) {
        let node = self.node(&connection.address);
        {
            let mut state = node.state.lock();
            state.open.retain(|open| !Arc::ptr_eq(open, connection));
            state.failed = Some((Instant::now(), reason.to_owned()));
        }
        let mut current = self.current.lock();
        if current.as_ref() == Some(&connection.address) {
            *current = None;
        }
    }

    fn node(&self, address: &Address) -> Arc<Node> {
        let mut nodes = self.nodes.lock();
        if let Some(node) = nodes.get(address) {
            return Arc::clone(node);
        }
        if nodes.len() >= 2 * NODES_MAX {
            // Nodes that are gone for good make room; a connection in use is held by its calls.
            nodes.retain(|_, node| !node.state.lock().open.is_empty());
        }
        let node = Arc::new(Node::new(address.clone()));
        nodes.insert(address.clone(), Arc::clone(&node));
        node
    }

    /// A connection to a node, made where none stands.
    async fn reach(&self, node: &Node) -> Result<Arc<Connection>, String> {
        if let Some(connection) = node.idlest() {
            return Ok(connection);
        }
        let begin = Instant::now();
        // Whoever dials may not be looked after: its caller may have turned to something else.
        let limit = self.options.connect_timeout;
        let Ok(_dialling) = timeout(limit, node.dialling.lock()).await else {
            return Err(format!("another call has dialled it for {limit:?}"));
        };
        if let Some(connection) = node.idlest() {
            return Ok(connection);
        }
        if let Some(reason) = node.failed_since(begin) {
            return Err(reason);
        }
        self.dial(node).await
    }

    /// Makes a connection; to be called by one at a time.
    async fn dial(&self, node: &Node) -> Result<Arc<Connection>, String> {
        let limit = self.options.connect_timeout;
        match open(&node.address, self.tls.clone(), limit).await {
            Ok(channel) => {
                let connection = Arc::new(Connection::new(node.address.clone(), channel));
                let mut state = node.state.lock();
                state.failed = None;
                state.open.push(Arc::clone(&connection));
                Ok(connection)
            }
            Err(reason) => {
                node.state.lock().failed = Some((Instant::now(), reason.clone()));
                Err(reason)
            }
        }
    }

    /// Makes a further connection to a busy node, while calls go on over those that stand.
    fn widen(self: &Arc<Self>, node: Arc<Node>) {
        if node.dialling.try_lock().is_err() {
            return;
        }
        let connections = Arc::clone(self);
        tokio::spawn(async move {
            let Ok(_dialling) = node.dialling.try_lock() else {
                return;
            };
            if node.has_room(connections.options.connections_per_node) {
                // Without it, calls go on as before.
                let _ = connections.dial(&node).await;
            }
        });
    }

    /// Tries all admitted nodes at once; the first that answers wins.
    async fn race(
        self: &Arc<Self>,
        admitted: impl Fn(&Address) -> bool,
    ) -> Result<Arc<Connection>> {
        let mut attempts = JoinSet::new();
        for address in self.all().into_iter().filter(admitted) {
            let node = self.node(&address);
            if let Some(connection) = node.idlest() {
                return Ok(connection);
            }
            let connections = Arc::clone(self);
            // Of those who race at a time one dials each node.
            attempts.spawn(async move {
                let reached = connections.reach(&node).await;
                reached.map_err(|reason| format!("{}: {reason}", node.address))
            });
        }
        let mut reasons = Vec::new();
        while let Some(ended) = attempts.join_next().await {
            match ended {
                Ok(Ok(connection)) => return Ok(connection),
                Ok(Err(reason)) => reasons.push(reason),
                Err(_) => reasons.push("an attempt ended early".to_owned()),
            }
        }
        Err(out_of_reach(reasons))
    }

    /// The addresses that the user named, and those of other nodes that the table names.
    fn all(&self) -> Vec<Address> {
        let mut all = self.named.clone();
        for told in self.routes.nodes().iter() {
            if all.len() < NODES_MAX && !all.iter().any(|known| known.is_same_place(told)) {
                all.push(told.clone());
            }
        }
        all
    }
}

/// All reasons in one line, a few of them in full.
fn out_of_reach(mut reasons: Vec<String>) -> Error {
    if reasons.is_empty() {
        return Error::unavailable("no address to connect to");
    }
    reasons.sort();
    let mut text = String::from("no node could be reached: ");
    let shown = reasons.len().min(REASONS_MAX);
    text.push_str(&reasons[..shown].join("; "));
    if reasons.len() > shown {
        let _ = write!(text, "; and {} more", reasons.len() - shown);
    }
    Error::unavailable(text).because("UNREACHABLE")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;

    #[tokio::test]
    async fn a_dead_list_is_out_of_reach_and_says_why() {
        let closed = tokio::net::TcpListener::bind("127.0.0.1:0")
            .await
            .expect("a free port");
        let port = closed.local_addr().expect("it is bound").port();
        drop(closed);
        let addresses = vec![("127.0.0.1".to_owned(), port)];
        let connections = Arc::new(Connections::new(addresses, None, Options::default()));
        let error = connections
            .connection(&[], &[])
            .await
            .expect_err("nobody listens");
        assert_eq!(error.kind, ErrorKind::Unavailable);
        assert!(
            error.context.contains(&format!("127.0.0.1:{port}")),
            "{error}"
        );
        assert!(error.context.contains("refused"), "{error}");
    }

    #[tokio::test]
    async fn an_empty_list_is_out_of_reach() {
        let connections = Arc::new(Connections::new(Vec::new(), None, Options::default()));
        assert_eq!(
            connections
                .connection(&[], &[])
                .await
                .expect_err("nothing to try")
                .kind,
            ErrorKind::Unavailable
        );
    }

    #[tokio::test]
    async fn of_many_who_look_for_a_node_at_a_time_one_dials_it() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await;
        let listener = listener.expect("a port");
        let port = listener.local_addr().expect("it is bound").port();
        let accepted = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&accepted);
        tokio::spawn(async move {
            let mut held = Vec::new();
            while let Ok((connection, _)) = listener.accept().await {
                counted.fetch_add(1, Ordering::Relaxed);
                held.push(connection);
            }
        });
        let addresses = vec![("127.0.0.1".to_owned(), port)];
        let connections = Arc::new(Connections::new(addresses, None, Options::default()));
        let looks = (0..100).map(|_| connections.connection(&[], &[]));
        for found in futures_util::future::join_all(looks).await {
            found.expect("somebody listens");
        }
        let node = connections.node(&connections.named[0]);
        assert_eq!(node.state.lock().open.len(), 1);
        assert!(accepted.load(Ordering::Relaxed) <= 1);
    }

    #[test]
    fn times_without_end_are_bounded() {
        let options = Options {
            connect_timeout: Duration::MAX,
            attempt_timeout: Duration::MAX,
            timeout: Duration::MAX,
            ..Options::default()
        };
        let bounded = Connections::new(Vec::new(), None, options).options;
        assert_eq!(
            (
                bounded.connect_timeout,
                bounded.attempt_timeout,
                bounded.timeout
            ),
            (TIME_MAX, TIME_MAX, TIME_MAX)
        );
    }

    #[test]
    fn few_reasons_are_named_and_the_rest_counted() {
        let error = out_of_reach((0..9).map(|n| format!("h:{n}: refused")).collect());
        assert!(error.context.ends_with("and 5 more"), "{error}");
    }

    #[test]
    fn addresses_that_nodes_tell_are_checked() {
        assert!(Address::told("10.0.0.1:47500").is_some());
        assert!(Address::told("[::1]:47500").is_some());
        assert!(Address::told("nowhere").is_none());
        let (told, named) = (Address::told("localhost:1"), Address::named("localhost", 1));
        assert!(told.is_some_and(|told| told != named && told.is_same_place(&named)));
    }
}
