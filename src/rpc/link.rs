//! A link to one peer: a control stream and several data streams, each on an HTTP/2 connection
//! of its own, so that bulk never delays a heartbeat.
//!
//! **Directions.** Both nodes of a pair dial each other, and each sends on the streams that it
//! opened; what comes back on those is the other's hello and, later, their end. So no two dials
//! have to agree on a winner, and a node that can be heard but not reached is noticed.
//!
//! **Up** is a link only after hello on all of its streams. **Order**: all messages about one
//! partition take one stream. Every link of a node has a greater number than those before; the
//! peer drops what still comes on an older one, so a fresh link never overtakes itself.
//!
//! **Outdated**: a node whose certificates were renewed makes its links anew, and asks its peers to
//! do the same by saying hello once more on the control streams that they have opened. The old
//! link stands until the new one has taken its place.
//!
//! **End**: a stream that ends, or that takes nothing for `socket-timeout` while messages wait,
//! ends the link. Nothing is repeated here; the engine repeats what matters.

use super::connection::{Connection, Remote};
use super::connector::{Connector, DialError, Purpose, channel};
use super::frame::Frame;
use super::lane::{Batches, Lane, LaneLimits};
use super::proto::peer_service_client::PeerServiceClient;
use super::proto::{ControlFrame, DataFrame};
use super::status::from_status;
use super::stores::expires_at;
use crate::types::hello::{CLUSTER_DIFFERS, Hello, NAME_TAKEN};
use crate::types::message::Message;
use crate::types::{CacheId, NodeInfo};
use rustls_pki_types::CertificateDer;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::runtime::Handle as Runtime;
use tokio::sync::watch;
use tokio::time::timeout;
use tonic::transport::Channel;
use tonic::{Request, Status, Streaming};

/// The largest frame between nodes, in bytes.
pub const FRAME_BYTES_MAX: usize = 64 << 20;

/// The metadata that carries the number of a link.
pub const LINK_NUMBER: &str = "embergrid-link";

/// Control messages are few; so many that wait mean that the peer takes none.
const CONTROL_LIMITS: LaneLimits = LaneLimits {
    messages_max: 4_096,
    bytes_max: 64 << 20,
};

/// How a node makes its links.
#[derive(Clone)]
pub struct LinkOptions {
    /// Dials.
    pub connector: Connector,
    /// The longest that opening a link takes, all steps together.
    pub network_timeout: Duration,
    /// How long a link that is to be made anew may stand until it is ended.
    pub drain_time: Duration,
    /// The bounds of the queue of each data stream.
    pub data_limits: LaneLimits,
    /// How many data streams a link has, at least one.
    pub data_streams: usize,
    /// Where data streams run; control streams run where they are opened.
    pub data_runtime: Runtime,
}

/// A peer that answered hello on a control stream. Becomes a link by [`Greeting::complete`].
pub struct Greeting {
    theirs: Hello,
    mine: Arc<Hello>,
    address: SocketAddr,
    number: u64,
    certificates: Arc<[CertificateDer<'static>]>,
    generation: u64,
    control: Opened<ControlFrame>,
}

/// A stream after hello.
struct Opened<F> {
    lane: Arc<Lane>,
    answers: Streaming<F>,
    /// Ends the connection when it is dropped.
    wire: Wire,
}

/// A second handle on the socket of a connection, to end it whatever waits on it.
struct Wire(socket2::Socket);

impl Drop for Wire {
    fn drop(&mut self) {
        let _ = self.0.shutdown(std::net::Shutdown::Both);
    }
}

/// A link that is up, or has been.
pub struct Link {
    peer: NodeInfo,
    address: SocketAddr,
    control: Arc<Lane>,
    data: Vec<Arc<Lane>>,
    certificates: Arc<[CertificateDer<'static>]>,
    /// Of the configurations that it was made by.
    generation: u64,
    /// The protocol that both ends know.
    spoken: u32,
    closed: watch::Sender<bool>,
    /// The peer has asked for another link in its place.
    unwanted: watch::Sender<bool>,
}

/// Opens the control stream to whoever listens at these addresses and exchanges hello.
///
/// # Errors
///
/// Why there is no peer of this cluster there.
pub async fn greet(
    options: &LinkOptions,
    addresses: &[SocketAddr],
    mine: &Arc<Hello>,
    number: u64,
) -> Result<Greeting, DialError> {
    let connection = options
        .connector
        .connect(addresses, Purpose::Control)
        .await?;
    let Remote {
        address,
        certificates,
        generation,
        ..
    } = connection.remote().clone();
    let (client, wire) = client(connection).await?;
    let lane = Lane::new(CONTROL_LIMITS);
    let (opened, theirs) = timeout(
        options.network_timeout,
        open_control(client, wire, lane, mine, number),
    )
    .await
    .map_err(|_| DialError::Silent("no hello within network-timeout".to_owned()))??;
    if theirs.info.member != mine.info.member {
        mine.check(&theirs)
            .map_err(|error| unlike(&error.reason, error.to_string()))?;
    }
    Ok(Greeting {
        theirs,
        mine: Arc::clone(mine),
        address,
        number,
        certificates,
        generation,
        control: opened,
    })
}

impl Greeting {
    /// What the peer said of itself.
    pub fn peer(&self) -> &NodeInfo {
        &self.theirs.info
    }

    /// Opens the data streams: the link is up. `ended` is called once, when it has ended.
    ///
    /// # Errors
    ///
    /// Why the peer, which answered before, cannot be reached any longer.
    pub async fn complete(
        self,
        options: &LinkOptions,
        ended: impl FnOnce(&Arc<Link>) + Send + 'static,
    ) -> Result<Arc<Link>, DialError> {
        let opening = open_all_data(
            options.clone(),
            self.address,
            Arc::clone(&self.mine),
            self.number,
        );
        let opening = options
            .data_runtime
            .spawn(timeout(options.network_timeout, opening));
        let data = opening
            .await
            .map_err(|_| DialError::Silent("this node stops".to_owned()))?
            .map_err(|_| {
                DialError::Silent("no data streams within network-timeout".to_owned())
            })??;
        let link = Arc::new(Link {
            spoken: self.mine.spoken_with(&self.theirs),
            peer: self.theirs.info,
            address: self.address,
            control: Arc::clone(&self.control.lane),
            data: data.iter().map(|opened| Arc::clone(&opened.lane)).collect(),
            certificates: self.certificates,
            generation: self.generation,
            closed: watch::Sender::new(false),
            unwanted: watch::Sender::new(false),
        });
        for opened in data {
            options.data_runtime.spawn(hold(Arc::clone(&link), opened));
        }
        tokio::spawn(hold(Arc::clone(&link), self.control));
        let stall_max = options.connector.socket_timeout();
        let watched = Arc::clone(&link);
        tokio::spawn(async move {
            watched.until_ended(stall_max).await;
            ended(&watched);
        });
        Ok(link)
    }
}

impl Link {
    /// Who is at the other end.
    pub fn peer(&self) -> &NodeInfo {
        &self.peer
    }

    /// Where it was reached.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What the peer has shown, leaf first; empty without TLS.
    pub fn certificates(&self) -> &[CertificateDer<'static>] {
        &self.certificates
    }

    /// When the peer's certificate ends, in seconds since the Unix epoch; absent without TLS.
    pub fn certificate_expires_at(&self) -> Option<u64> {
        self.certificates.iter().filter_map(expires_at).min()
    }

    /// The generation of the configurations that the link was made by.
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// Waits until the peer asks for another link in its place; never ends where it does not.
    pub async fn unwanted(&self) {
        let mut unwanted = self.unwanted.subscribe();
        let _ = unwanted.wait_for(|unwanted| *unwanted).await;
    }

    /// Waits for the end.
    pub async fn ended(&self) {
        let _ = self.closed.subscribe().wait_for(|closed| *closed).await;
    }

    /// Queues a message. False: there is no room, or the link has ended, and it is dropped. One
    /// that the peer would not know is left out, which is no fault.
    pub fn send(&self, message: Message) -> bool {
        if message.since() > self.spoken {
            return true;
        }
        self.lane_of(&message)
            .is_some_and(|lane| lane.push(message))
    }

    /// Queues a message that goes along with the next one on its stream. False: as by
    /// [`Link::send`].
    pub fn send_along(&self, message: Message) -> bool {
        if message.since() > self.spoken {
            return true;
        }
        self.lane_of(&message)
            .is_some_and(|lane| lane.push_along(message))
    }

    /// Sends what waits to go along.
    pub fn flush(&self) {
        self.data.iter().for_each(|lane| lane.flush());
    }

    fn lane_of(&self, message: &Message) -> Option<&Arc<Lane>> {
        let stream = match message {
            Message::Control(_) => return Some(&self.control),
            Message::Data(data) => stream_of(data.cache, data.partition),
            Message::Forward(forward) => {
                stream_of(forward.request.cache, forward.request.partition)
            }
            Message::ForwardReply(reply) => reply.id,
        };
        let place = stream % self.data.len().max(1) as u64;
        self.data.get(place as usize)
    }

    /// The protocol that both ends know.
    pub fn spoken(&self) -> u32 {
        self.spoken
    }

    /// Whether every data stream has room for what a write needs.
    pub fn has_room(&self) -> bool {
        self.data.iter().all(|lane| lane.has_room())
    }

    /// Ends the link.
    pub fn close(&self) {
        self.closed.send_replace(true);
        self.control.close();
        for lane in &self.data {
            lane.close();
        }
    }

    /// Whether it has ended.
    pub fn is_closed(&self) -> bool {
        *self.closed.borrow()
    }

    /// Waits for the end, and looks for streams that take nothing.
    async fn until_ended(&self, stall_max: Duration) {
        let mut closed = self.closed.subscribe();
        loop {
            match timeout(stall_max / 8, closed.wait_for(|closed| *closed)).await {
                Ok(_) => return,
                Err(_) => {
                    let lanes = self.data.iter().chain([&self.control]);
                    if lanes.map(|lane| lane.stalled_for()).max() > Some(stall_max) {
                        tracing::warn!(peer = %self.peer.member, "a link takes nothing and is closed");
                        self.close();
                    }
                }
            }
        }
    }
}

/// The same stream for all messages about a partition.
fn stream_of(cache: CacheId, partition: u32) -> u64 {
    let cache = cache.0 as u32;
    (u64::from(cache).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32).wrapping_add(u64::from(partition))
}

/// Reads a stream until it or the link ends; then ends the other, and the connection.
async fn hold<F: Send + 'static>(link: Arc<Link>, mut opened: Opened<F>) {
    let mut closed = link.closed.subscribe();
    loop {
        tokio::select! {
            _ = closed.wait_for(|closed| *closed) => break,
            answer = opened.answers.message() => match answer {
                Ok(Some(_)) => {
                    link.unwanted.send_replace(true);
                }
                Ok(None) => break,
                Err(status) => {
                    tracing::debug!(peer = %link.peer.member, %status, "a stream ended");
                    break;
                }
            },
        }
    }
    link.close();
    drop(opened.wire);
}

async fn client(connection: Connection) -> Result<(PeerServiceClient<Channel>, Wire), DialError> {
    let socket = socket2::SockRef::from(connection.socket()).try_clone();
    let wire = Wire(socket.map_err(|error| DialError::Silent(error.to_string()))?);
    let client = PeerServiceClient::new(channel(connection).await?)
        .max_decoding_message_size(FRAME_BYTES_MAX)
        .max_encoding_message_size(FRAME_BYTES_MAX);
    Ok((client, wire))
}

/// The frames of a stream: hello, then whatever waits in the lane.
fn batches<F: Frame>(lane: &Arc<Lane>, mine: &Hello) -> Batches<F> {
    let first = F::new(1, Some(mine), Vec::new());
    lane.batches(first, |id, messages| F::new(id, None, messages))
}

fn numbered<S>(stream: S, number: u64) -> Request<S> {
    let mut request = Request::new(stream);
    request.metadata_mut().insert(LINK_NUMBER, number.into());
    request
}

async fn open_control(
    mut client: PeerServiceClient<Channel>,
    wire: Wire,
    lane: Arc<Lane>,
    mine: &Hello,
    number: u64,
) -> Result<(Opened<ControlFrame>, Hello), DialError> {
    let batches = batches::<ControlFrame>(&lane, mine);
    let mut answers = client
        .control(numbered(batches, number))
        .await
        .map_err(refused)?
        .into_inner();
    let first = answers.message().await.map_err(refused)?;
    let theirs = first
        .unwrap_or_default()
        .into_hello()
        .map_err(|error| DialError::Foreign(error.to_string()))?;
    Ok((
        Opened {
            lane,
            answers,
            wire,
        },
        theirs,
    ))
}

async fn open_all_data(
    options: LinkOptions,
    address: SocketAddr,
    mine: Arc<Hello>,
    number: u64,
) -> Result<Vec<Opened<DataFrame>>, DialError> {
    let mut streams = Vec::with_capacity(options.data_streams);
    for _ in 0..options.data_streams.max(1) {
        let connection = options.connector.connect(&[address], Purpose::Data).await?;
        let (mut client, wire) = client(connection).await?;
        let lane = Lane::new(options.data_limits);
        let batches = batches::<DataFrame>(&lane, &mine);
        let mut answers = client
            .data(numbered(batches, number))
            .await
            .map_err(refused)?
            .into_inner();
        let first = answers.message().await.map_err(refused)?;
        first
            .unwrap_or_default()
            .into_hello()
            .map_err(|error| DialError::Foreign(error.to_string()))?;
        streams.push(Opened {
            lane,
            answers,
            wire,
        });
    }
    Ok(streams)
}

fn refused(status: Status) -> DialError {
    match status.code() {
        tonic::Code::Unavailable | tonic::Code::DeadlineExceeded => {
            DialError::Silent(status.message().to_owned())
        }
        _ => unlike(&from_status(&status).reason, status.message().to_owned()),
    }
}

/// Who may not be linked, by the reason of the refusal.
fn unlike(reason: &str, why: String) -> DialError {
    match reason {
        NAME_TAKEN => DialError::NameTaken(why),
        CLUSTER_DIFFERS => DialError::Unlike(why),
        _ => DialError::Foreign(why),
    }
}
