//! Start and stop of a node: binds, makes the engine, starts the control thread, and waits for
//! the end.

use super::certificates;
use super::clock::Clock;
use super::control::{self, Duties};
use super::core::Core;
use super::handle::Handle;
use super::listen::{self, Bound};
use super::memory;
use super::outside::{Life, Outside};
use super::probes::Report;
use super::sealing::Sealing;
use super::sessions::Sessions;
use super::timer::Timer;
use crate::config::Settings;
use crate::engine::{Grid, GridOptions, Shell};
use crate::error::{Error, ErrorKind, Result};
use crate::rpc::acceptor::{Acceptor, Listening};
use crate::rpc::connector::Connector;
use crate::rpc::lane::LaneLimits;
use crate::rpc::link::LinkOptions;
use crate::rpc::names::Names;
use crate::rpc::renewal::Renewal;
use crate::types::hello::Hello;
use crate::types::protocol::{PROTOCOL_VERSION, PROTOCOL_VERSION_MIN};
use crate::types::{Incarnation, Member, Micros, NodeId, NodeInfo, Role, View};
use parking_lot::Mutex;
use std::hash::{BuildHasher, Hasher};
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tokio::runtime::Handle as Runtime;

/// The most data streams that a link has.
const DATA_STREAMS_MAX: usize = 4;

/// The most bytes that wait for one peer, in equal parts for its data streams.
const LINK_QUEUE_BYTES_MAX: usize = 128 << 20;

/// A node that was started. Dropping it stops it at once, as a crash would.
pub struct Node {
    handle: Handle,
    listening: Option<Listening>,
    thread: Option<JoinHandle<()>>,
    leave_timeout: Duration,
    drain_time: Duration,
}

impl Node {
    /// Binds, and begins to join a cluster or to form one. Nothing is accepted until whoever
    /// called this serves what [`Node::listening`] gives. Must be called on a tokio runtime, on
    /// which data links run.
    ///
    /// # Errors
    ///
    /// What is wrong with the certificates, the address or the ports.
    pub fn start(settings: &Settings) -> Result<Self> {
        let tls = Renewal::start(&settings.tls)?;
        let names = Names::default();
        let bound = listen::bind(settings, &names)?;
        Self::start_bound(settings, tls, bound, names)
    }

    /// As [`Node::start`], on a listener that is bound already, with host names looked up by
    /// `names`.
    ///
    /// # Errors
    ///
    /// As [`Node::start`].
    pub fn start_on(settings: &Settings, listener: TcpListener, names: Names) -> Result<Self> {
        let tls = Renewal::start(&settings.tls)?;
        let bound = listen::announce(settings, listener)?;
        Self::start_bound(settings, tls, bound, names)
    }

    fn start_bound(
        settings: &Settings,
        tls: Option<Arc<Renewal>>,
        bound: Bound,
        names: Names,
    ) -> Result<Self> {
        let Bound {
            listener,
            advertised,
        } = bound;
        let unusable = |error| Error::new(ErrorKind::Internal, format!("the listener: {error}"));
        let own = listener.local_addr().map_err(unusable)?;
        let listener = tokio::net::TcpListener::from_std(listener).map_err(unusable)?;
        let endpoints = settings.discovery.addresses.endpoints();
        let me = node_info(settings, tls.as_deref(), advertised);
        let sealing = Sealing::start(&settings.tickets)?;
        let (outside, dials) = Outside::new(settings.limits.requests_in_flight_max as usize);
        let clock = Clock::start();
        let shell = Arc::clone(&outside) as Arc<dyn Shell>;
        let options = grid_options(settings, me.clone(), &endpoints, own);
        let links = link_options(settings, tls.clone());
        let core = Arc::new(Core {
            grid: Grid::new(options, seed(), shell, clock.now(), Clock::wall()),
            outside,
            clock,
            timer: Timer::new(),
            sessions: Sessions::default(),
            report: Report::of(&endpoints),
            renewal: tls.clone(),
            hello: Arc::new(hello(settings, me.clone(), sealing.as_ref())),
            connector: links.connector.clone(),
            names,
            watching: Mutex::default(),
            watch_queue_max: settings.limits.watch_queue_max as usize,
            ticket_kinds: settings.tickets.kinds.clone(),
            sealing,
            region_bytes_max: memory::region_bytes(settings.storage.region_bytes_max),
        });
        let discovery = &settings.discovery;
        let duties = Duties {
            core: Arc::clone(&core),
            links,
            endpoints,
            dials,
            thread_priority: discovery.thread_priority,
        };
        let (control_runtime, thread) = control::start(duties)?;
        tracing::info!(
            address = me.address,
            node = me.consistent_id,
            tls = tls.is_some(),
            "a node has started"
        );
        let connections_max = settings.limits.connections_max as usize;
        if let Some(tls) = &tls {
            tokio::spawn(certificates::watch(Arc::clone(&core), Arc::clone(tls)));
        }
        let acceptor = Acceptor::new(tls, discovery.socket_timeout, connections_max);
        Ok(Self {
            handle: Handle { core },
            listening: Some(Listening {
                listener,
                acceptor,
                control_runtime,
            }),
            thread: Some(thread),
            leave_timeout: discovery.network_timeout,
            drain_time: settings.limits.drain_time,
        })
    }

    /// The node as its users see it.
    pub fn handle(&self) -> Handle {
        self.handle.clone()
    }

    /// What is to be served. Given once.
    pub fn listening(&mut self) -> Option<Listening> {
        self.listening.take()
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
        let core = &self.handle.core;
        let mut life = core.outside.life();
        let ended = life
            .wait_for(|life| *life != Life::Running)
            .await
            .map(|life| life.clone());
        match ended {
            Ok(Life::CannotForm(error)) => {
                let (own, report) = (&core.grid.me().address, core.report.text());
                let context = format!("{error}; this node is at {own} [{report}]");
                Err(Error {
                    context: context.into(),
                    ..error
                })
            }
            _ => Ok(()),
        }
    }

    /// Hands over what this node owns where others can take it, for `drain-time` at most, then
    /// leaves the cluster in order and waits for that, `network-timeout` at most. True: it left.
    pub async fn leave(&self) -> bool {
        self.hand_over().await;
        self.handle.leave();
        let left = tokio::time::timeout(self.leave_timeout, self.run_until_stopped()).await;
        if left.is_err() {
            tracing::warn!("the cluster did not answer in time; stopping all the same");
        }
        left.is_ok()
    }

    async fn hand_over(&self) {
        let handle = &self.handle;
        let owns = |view: &View| view.has_taker() && view.contains(handle.me().member);
        if handle.me().role != Role::Server || !handle.serving() || !owns(&handle.view()) {
            return;
        }
        let deadline = Instant::now() + self.drain_time;
        match handle.drain(handle.me().member, deadline).await {
            Ok(()) => {}
            Err(error) if error.reason == "NO_TAKER" => return,
            Err(error) => tracing::warn!(%error, "nobody confirmed that this node hands over"),
        }
        let mut views = handle.views();
        let done = async {
            tokio::select! {
                () = handle.left() => {}
                // The others leave as well, so that nobody is left to take over.
                _ = views.wait_for(|view| !owns(view)) => {}
            }
        };
        if tokio::time::timeout_at(deadline.into(), done)
            .await
            .is_err()
        {
            tracing::warn!(
                "not everything was handed over within drain-time; leaving all the same"
            );
        }
    }

    /// Ends links, watchers and the control thread. Does not wait for them.
    pub fn stop(&self) {
        let core = &self.handle.core;
        core.outside.stop();
        core.outside.hubs.close();
        core.outside.links.close();
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.stop();
        // Not joined: the thread ends by itself, and whoever drops a node must not wait.
        drop(self.thread.take());
    }
}

fn micros(duration: Duration) -> Micros {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

/// Differs from node to node and from start to start.
fn seed() -> u64 {
    std::hash::RandomState::new().build_hasher().finish()
}

/// What this node says on every link.
fn hello(settings: &Settings, info: NodeInfo, sealing: Option<&Sealing>) -> Hello {
    let spoken = settings.cluster.protocol;
    Hello {
        cluster_name: settings.cluster.name.clone(),
        protocol: spoken.unwrap_or(PROTOCOL_VERSION),
        protocol_min: spoken.map_or(PROTOCOL_VERSION_MIN, |spoken| spoken.max(2) - 1),
        info,
        in_cluster: false,
        caches: settings.caches.clone(),
        quorum_of: settings.cluster.quorum_of,
        ticket_keys: sealing.map(Sealing::names).unwrap_or_default(),
        digest_key: sealing.map(Sealing::digest_name),
    }
}

fn node_info(settings: &Settings, tls: Option<&Renewal>, address: String) -> NodeInfo {
    let consistent_id = settings
        .cluster
        .node_name
        .clone()
        .unwrap_or_else(|| address.clone());
    let started_at = Clock::wall();
    NodeInfo {
        member: Member {
            id: NodeId::of(&consistent_id),
            incarnation: Incarnation(started_at),
        },
        consistent_id,
        address,
        role: if settings.discovery.client_mode {
            Role::Client
        } else {
            Role::Server
        },
        attributes: settings.cluster.attributes.clone(),
        program_version: env!("CARGO_PKG_VERSION").to_owned(),
        started_at,
        certificate_expires_at: tls.map_or(0, |tls| tls.current().certificate_expires_at),
        protocol: settings.cluster.protocol.unwrap_or(PROTOCOL_VERSION),
        lease: micros(settings.discovery.lease),
    }
}

fn grid_options(
    settings: &Settings,
    me: NodeInfo,
    endpoints: &[(String, u16)],
    own: SocketAddr,
) -> GridOptions {
    let discovery = &settings.discovery;
    let elsewhere = endpoints.iter().enumerate();
    let elsewhere = elsewhere.filter(|(_, endpoint)| listen::is_elsewhere(endpoint, own));
    GridOptions {
        force_server_mode: discovery.force_server_mode,
        endpoints: endpoints.len(),
        elsewhere: elsewhere.map(|(place, _)| place).collect(),
        caches: settings.caches.clone(),
        join_timeout: discovery.join_timeout.map(micros),
        ack_timeout: micros(discovery.ack_timeout),
        network_timeout: micros(discovery.network_timeout),
        heartbeat_interval: micros(discovery.heartbeat_interval),
        lease: micros(discovery.lease),
        clock_error_max: micros(discovery.clock_error_max),
        quorum_of: settings.cluster.quorum_of,
        ..GridOptions::of(me)
    }
}

fn link_options(settings: &Settings, tls: Option<Arc<Renewal>>) -> LinkOptions {
    let discovery = &settings.discovery;
    LinkOptions {
        connector: Connector::new(tls, discovery.socket_timeout),
        network_timeout: discovery.network_timeout,
        drain_time: settings.limits.drain_time,
        data_limits: LaneLimits {
            messages_max: settings.limits.link_queue_max as usize,
            bytes_max: LINK_QUEUE_BYTES_MAX / data_streams(),
        },
        data_streams: data_streams(),
        data_runtime: Runtime::current(),
    }
}

/// How many data streams a link has: each is a connection that serialises on a lock of its own, so
/// that more processors need more of them; and what could be gathered into one write is spread over
/// them all, so that more than the processors can use only cost.
fn data_streams() -> usize {
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    (processors / 2).clamp(1, DATA_STREAMS_MAX)
}
