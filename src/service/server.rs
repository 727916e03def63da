//! Serves a node: one TLS listener for the services between nodes and the public ones, and the
//! life of a node from its start to its end. What the services do is not here.

use super::peer::PeerFront;
use crate::config::Settings;
use crate::error::{Error, ErrorKind, Result};
use crate::node::{Handle, Node};
use crate::rpc::acceptor::{ACCEPTED_MAX, Accepted, Listening};
use crate::rpc::connection::Connection;
use crate::rpc::connector::{CONNECTION_WINDOW_BYTES, STREAM_WINDOW_BYTES};
use std::net::TcpListener;
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
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

/// A node that serves. Dropping it stops it at once.
pub struct ServingNode {
    node: Node,
    stop: watch::Sender<bool>,
    servers: Vec<JoinHandle<()>>,
    drain_time: Duration,
}

impl ServingNode {
    /// Starts a node and serves it. Must be called on a tokio runtime.
    ///
    /// # Errors
    ///
    /// What is wrong with the settings' certificates, address or ports.
    pub fn start(settings: &Settings) -> Result<Self> {
        Self::serve(settings, Node::start(settings)?)
    }

    /// As [`ServingNode::start`], on a listener that is bound already.
    ///
    /// # Errors
    ///
    /// As [`ServingNode::start`].
    pub fn start_on(settings: &Settings, listener: TcpListener) -> Result<Self> {
        Self::serve(settings, Node::start_on(settings, listener)?)
    }

    fn serve(settings: &Settings, mut node: Node) -> Result<Self> {
        let handle = node.handle();
        let listening = node
            .listening()
            .ok_or_else(|| Error::new(ErrorKind::Internal, "the node is served already"))?;
        let public = super::routes(handle.clone(), &settings.cluster.name, &settings.limits)?;
        let stop = watch::Sender::new(false);
        let streams_max = settings.limits.streams_per_connection_max;
        let servers = spawn_servers(&handle, listening, public, streams_max, &stop);
        Ok(Self {
            node,
            stop,
            servers,
            drain_time: settings.limits.drain_time,
        })
    }

    /// The node as its users see it.
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
    pub async fn run_until_stopped(&self) -> Result<()> {
        self.node.run_until_stopped().await
    }

    /// Leaves the cluster in order, lets calls in flight end within `drain-time`, and stops.
    pub async fn shut_down(mut self) {
        self.node.leave().await;
        self.stop.send_replace(true);
        self.node.stop();
        let deadline = tokio::time::Instant::now() + self.drain_time;
        for mut server in self.servers.drain(..) {
            if tokio::time::timeout_at(deadline, &mut server)
                .await
                .is_err()
            {
                tracing::warn!("calls were still in flight at the end of drain-time");
                server.abort();
            }
        }
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

/// One server for control links, on their own runtime; one for everything else; one task that
/// accepts for both.
fn spawn_servers(
    handle: &Handle,
    listening: Listening,
    public: Routes,
    streams_max: u32,
    stop: &watch::Sender<bool>,
) -> Vec<JoinHandle<()>> {
    let (control, control_incoming) = mpsc::channel(ACCEPTED_MAX);
    let (general, general_incoming) = mpsc::channel(ACCEPTED_MAX);
    let Listening {
        listener,
        acceptor,
        control_runtime,
    } = listening;
    let accepting = acceptor.run(listener, Accepted { control, general }, told(stop));
    let peers = Routes::new(PeerFront::server(handle.clone()));
    let all = public.add_service(PeerFront::server(handle.clone()));
    vec![
        tokio::spawn(accepting),
        control_runtime.spawn(run(peers, control_incoming, streams_max, told(stop))),
        tokio::spawn(run(all, general_incoming, streams_max, told(stop))),
    ]
}

/// Done when the server is told to stop.
fn told(stop: &watch::Sender<bool>) -> impl Future<Output = ()> + Send + use<> {
    let mut stop = stop.subscribe();
    async move {
        let _ = stop.wait_for(|stop| *stop).await;
    }
}

async fn run(
    routes: Routes,
    incoming: mpsc::Receiver<Connection>,
    streams_max: u32,
    stop: impl Future<Output = ()>,
) {
    let incoming = ReceiverStream::new(incoming).map(Ok::<_, std::io::Error>);
    let served = Server::builder()
        .max_concurrent_streams(streams_max)
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .http2_keepalive_interval(Some(KEEPALIVE))
        .http2_keepalive_timeout(Some(KEEPALIVE_TIMEOUT))
        .http2_max_pending_accept_reset_streams(Some(RESETS_MAX))
        .add_routes(routes)
        .serve_with_incoming_shutdown(incoming, stop)
        .await;
    if let Err(error) = served {
        tracing::error!(%error, "serving ended");
    }
}
