//! Serves a node: one TLS listener for the services between nodes and the public ones, and the
//! life of a node from its start to its end. What the services do is not here.

use super::open_calls::Counted;
use super::peer::PeerFront;
use crate::config::Settings;
use crate::error::{Error, ErrorKind, Result};
use crate::node::{Handle, Node};
use crate::rpc::acceptor::{ACCEPTED_MAX, Accepted, Listening};
use crate::rpc::admitted::Admitted;
use crate::rpc::connection::Connection;
use crate::rpc::connector::{CONNECTION_WINDOW_BYTES, STREAM_WINDOW_BYTES};
use crate::rpc::names::Names;
use crate::rpc::renewal::Renewal;
use std::net::TcpListener;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio::task::{JoinHandle, JoinSet};
use tokio_stream::StreamExt;
use tokio_stream::wrappers::ReceiverStream;
use tonic::service::Routes;
use tonic::transport::Server;

/// A connection on which nothing comes is asked for a sign of life.
const KEEPALIVE: Duration = Duration::from_secs(60);
/// And is closed when none comes.
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(20);
/// Streams of one connection that a client reset before they were answered; more end it.
const RESETS_MAX: usize = 200;

/// How long a connection may take at most to end in order when the node stops and no call of it is
/// open: its client answers a question of HTTP/2, so that no request is lost that is on its way.
const GOODBYE_MAX: Duration = Duration::from_secs(1);
/// How often it is looked which connections have ended their last call since.
const CLOSE_INTERVAL: Duration = Duration::from_millis(50);

/// A node that serves. Dropping it stops it at once.
///
/// # Example
///
/// ```no_run
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// use embergrid::Node;
/// use embergrid::config::{Settings, environment};
///
/// let settings = Settings::load(Some("embergrid.toml".as_ref()), environment(), Vec::new())
///     .map_err(|problems| format!("{problems:?}"))?;
/// let node = Node::start(&settings)?;
/// println!("{} joins its cluster", node.handle().me().consistent_id);
/// tokio::signal::ctrl_c().await?;
/// node.shut_down().await;
/// # Ok(())
/// # }
/// ```
pub struct ServingNode {
    node: Node,
    stop: watch::Sender<bool>,
    servers: Vec<JoinHandle<()>>,
    admitted: Arc<Admitted>,
    drain_time: Duration,
    /// How long a connection without an open call may take to end.
    goodbye: Duration,
}

impl ServingNode {
    /// Starts a node and serves it. Must be called on a tokio runtime.
    ///
    /// # Errors
    ///
    /// What is wrong with the settings' certificates, address or ports.
    ///
    /// # Example
    ///
    /// ```no_run
    /// # async fn example(settings: embergrid::config::Settings) -> embergrid::error::Result<()> {
    /// let node = embergrid::Node::start(&settings)?;
    /// node.run_until_stopped().await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn start(settings: &Settings) -> Result<Self> {
        Self::serve(settings, Node::start(settings)?)
    }

    /// As [`ServingNode::start`], on a listener that is bound already.
    ///
    /// # Errors
    ///
    /// As [`ServingNode::start`].
    ///
    /// # Example
    ///
    /// ```no_run
    /// # async fn example(settings: embergrid::config::Settings) -> Result<(), Box<dyn std::error::Error>> {
    /// let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
    /// let node = embergrid::Node::start_on(&settings, listener)?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn start_on(settings: &Settings, listener: TcpListener) -> Result<Self> {
        Self::start_resolving(settings, listener, Names::default())
    }

    /// As [`ServingNode::start_on`], with the host names of the address list looked up by a
    /// resolver of one's own.
    ///
    /// # Errors
    ///
    /// As [`ServingNode::start`].
    ///
    /// # Example
    ///
    /// ```no_run
    /// # fn example(settings: embergrid::config::Settings) -> Result<(), Box<dyn std::error::Error>> {
    /// use embergrid::rpc::names::Names;
    ///
    /// let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
    /// let loopback = |_: &str| Ok(vec![[127, 0, 0, 1].into()]);
    /// let names = Names::by(std::sync::Arc::new(loopback));
    /// let node = embergrid::Node::start_resolving(&settings, listener, names)?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn start_resolving(
        settings: &Settings,
        listener: TcpListener,
        names: Names,
    ) -> Result<Self> {
        Self::serve(settings, Node::start_on(settings, listener, names)?)
    }

    fn serve(settings: &Settings, mut node: Node) -> Result<Self> {
        let handle = node.handle();
        let listening = node
            .listening()
            .ok_or_else(|| Error::new(ErrorKind::Internal, "the node is served already"))?;
        let public = super::routes(handle.clone(), &settings.cluster.name, &settings.limits)?;
        let admitted = Arc::clone(listening.acceptor.admitted());
        let stop = watch::Sender::new(false);
        let streams_max = settings.limits.streams_per_connection_max;
        let drain_time = settings.limits.drain_time;
        let limits = (streams_max, drain_time);
        let servers = spawn_servers(&handle, listening, public, limits, &stop);
        Ok(Self {
            node,
            stop,
            servers,
            admitted,
            drain_time,
            goodbye: settings.discovery.socket_timeout.min(GOODBYE_MAX),
        })
    }

    /// The node as its users see it.
    ///
    /// # Example
    ///
    /// ```no_run
    /// # fn example(node: &embergrid::Node) {
    /// println!("nodes: {}", node.handle().view().nodes.len());
    /// # }
    /// ```
    pub fn handle(&self) -> Handle {
        self.node.handle()
    }

    /// Waits until the node has left its cluster, or finds that it cannot join or form one.
    ///
    /// # Errors
    ///
    /// Why there is no cluster, naming every address with what came of it.
    ///
    /// # Cancel safety
    ///
    /// Can be called again.
    ///
    /// # Example
    ///
    /// ```no_run
    /// # async fn example(node: embergrid::Node) -> embergrid::error::Result<()> {
    /// tokio::select! {
    ///     stopped = node.run_until_stopped() => stopped?,
    ///     _ = tokio::signal::ctrl_c() => node.shut_down().await,
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub async fn run_until_stopped(&self) -> Result<()> {
        self.node.run_until_stopped().await
    }

    /// Hands over and leaves the cluster in order, then lets calls in flight end, each within
    /// `drain-time`, and stops. Connections on which no call is open are told to end, and those
    /// that do not answer to that (their client is gone, or stands still) are closed soon.
    ///
    /// # Example
    ///
    /// ```no_run
    /// # async fn example(node: embergrid::Node) {
    /// node.shut_down().await;
    /// # }
    /// ```
    pub async fn shut_down(mut self) {
        self.node.leave().await;
        self.stop.send_replace(true);
        self.node.stop();
        let mut servers = std::mem::take(&mut self.servers);
        let ended = async {
            for server in &mut servers {
                let _ = server.await;
            }
        };
        tokio::select! {
            () = ended => return,
            () = close_idle(&self.admitted, self.goodbye) => {}
            () = tokio::time::sleep(self.drain_time) => {}
        }
        let (connections, calls) = self.admitted.end_all();
        if calls > 0 {
            tracing::warn!(calls, "calls were still in flight at the end of drain-time");
        } else if connections > 0 {
            tracing::warn!(connections, "connections did not end within drain-time");
        }
        servers.iter().for_each(JoinHandle::abort);
    }
}

impl Drop for ServingNode {
    fn drop(&mut self) {
        self.stop.send_replace(true);
        for server in &self.servers {
            server.abort();
        }
    }
}

/// Closes connections on which no call is open: at first after `goodbye`, which those need that
/// answer, and then whichever has ended its last call. Does not end.
async fn close_idle(admitted: &Admitted, goodbye: Duration) {
    tokio::time::sleep(goodbye).await;
    let mut looks = tokio::time::interval(CLOSE_INTERVAL);
    loop {
        looks.tick().await;
        admitted.end_idle();
    }
}

/// One server for control links, on their own runtime; one for everything else; one task that
/// accepts for both.
fn spawn_servers(
    handle: &Handle,
    listening: Listening,
    public: Routes,
    (streams_max, drain_time): (u32, Duration),
    stop: &watch::Sender<bool>,
) -> Vec<JoinHandle<()>> {
    let (control, control_incoming) = mpsc::channel(ACCEPTED_MAX);
    let (general, general_incoming) = mpsc::channel(ACCEPTED_MAX);
    let Listening {
        listener,
        acceptor,
        control_runtime,
    } = listening;
    let renewal = acceptor.renewal().cloned();
    let accepting = acceptor.run(listener, Accepted { control, general }, told(stop));
    let peers = Routes::new(PeerFront::server(handle.clone()));
    let all = public.add_service(PeerFront::server(handle.clone()));
    let serve = |routes, incoming| {
        let server = Generations {
            routes,
            streams_max,
            renewal: renewal.clone(),
        };
        server.run(incoming, told(stop))
    };
    let mut servers = vec![
        tokio::spawn(accepting),
        control_runtime.spawn(serve(peers, control_incoming)),
        tokio::spawn(serve(all, general_incoming)),
    ];
    if let Some(renewal) = renewal {
        servers.push(tokio::spawn(end_outdated(renewal, drain_time, told(stop))));
    }
    servers
}

/// Done when the server is told to stop.
fn told(stop: &watch::Sender<bool>) -> impl Future<Output = ()> + Send + use<> {
    let mut stop = stop.subscribe();
    async move {
        let _ = stop.wait_for(|stop| *stop).await;
    }
}

/// A server for the connections of each generation of certificates: when they are renewed, the
/// server of the old ones lets calls in flight end and takes no new ones, which moves its clients
/// over.
struct Generations {
    routes: Routes,
    streams_max: u32,
    renewal: Option<Arc<Renewal>>,
}

impl Generations {
    async fn run(self, mut incoming: mpsc::Receiver<Connection>, stop: impl Future<Output = ()>) {
        let mut renewed = self.renewal.as_ref().map(|renewal| renewal.generations());
        let mut servers = JoinSet::new();
        let mut current = self.begin(&mut servers);
        tokio::pin!(stop);
        loop {
            let changed = async {
                match &mut renewed {
                    Some(renewed) => renewed.changed().await.is_ok(),
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = &mut stop => break,
                accepted = incoming.recv() => match accepted {
                    Some(connection) => { let _ = current.send(connection).await; }
                    None => break,
                },
                true = changed => current = self.begin(&mut servers),
                // Those that have nothing left to serve.
                Some(_) = servers.join_next() => {}
            }
        }
        drop(current);
        while servers.join_next().await.is_some() {}
    }

    /// Begins to serve what is sent, until the sender is dropped and calls in flight have ended.
    fn begin(&self, servers: &mut JoinSet<()>) -> mpsc::Sender<Connection> {
        let (sender, incoming) = mpsc::channel(ACCEPTED_MAX);
        servers.spawn(run(self.routes.clone(), incoming, self.streams_max));
        sender
    }
}

/// Ends what still stands of older generations: at once where the renewed files do not admit it,
/// at the end of `drain_time` where it has not moved over by then.
async fn end_outdated(renewal: Arc<Renewal>, drain_time: Duration, stop: impl Future<Output = ()>) {
    let mut renewed = renewal.generations();
    let mut drains = JoinSet::new();
    tokio::pin!(stop);
    loop {
        tokio::select! {
            () = &mut stop => return,
            changed = renewed.changed() => if changed.is_err() { return },
            Some(_) = drains.join_next() => continue,
        }
        let generation = *renewed.borrow_and_update();
        renewal.end_withdrawn();
        let renewal = Arc::clone(&renewal);
        drains.spawn(async move {
            tokio::time::sleep(drain_time).await;
            let ended = renewal.admitted.end_older(generation);
            if ended > 0 {
                tracing::warn!(
                    ended,
                    "connections had not moved to the renewed certificate"
                );
            }
        });
    }
}

/// Serves connections with the settings of a node's listener, until no more come.
pub(super) async fn run(routes: Routes, incoming: mpsc::Receiver<Connection>, streams_max: u32) {
    let incoming = ReceiverStream::new(incoming).map(Ok::<_, std::io::Error>);
    let served = Server::builder()
        .layer(tower::layer::layer_fn(Counted))
        .max_concurrent_streams(streams_max)
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .http2_keepalive_interval(Some(KEEPALIVE))
        .http2_keepalive_timeout(Some(KEEPALIVE_TIMEOUT))
        .http2_max_pending_accept_reset_streams(Some(RESETS_MAX))
        .add_routes(routes)
        // Where the incoming end, so do the connections, each when its calls have ended.
        .serve_with_incoming_shutdown(incoming, std::future::pending())
        .await;
    if let Err(error) = served {
        tracing::error!(%error, "serving ended");
    }
}
