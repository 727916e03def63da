//! The client of a cluster. It reaches a node of a list over mutual TLS, learns from it who owns
//! what, and goes straight to owners from then on; any node answers any request, so that is a matter
//! of speed and not of correctness. Calls that come together share a stream. What is safe to repeat
//! is repeated, and what may have been applied is never said to have failed.
//!
//! | where | what |
//! |---|---|
//! | `cache.rs`, `cluster.rs` | the calls |
//! | `retry.rs` | attempts, and what is said at the end |
//! | `routes.rs`, `follow.rs` | the partition table, and keeping it up to date |
//! | `nodes.rs`, `channel.rs` | nodes and connections; dialling one |
//! | `pipeline.rs` | the stream that calls share |
//! | `batch.rs` | many keys in one call, parted by owner |
//! | `scan.rs`, `watch.rs`, `topology.rs` | streams |
//! | `listing.rs`, `watcher.rs`, `stream.rs` | how they go on when they are lost |
//! | `locks.rs` | locks that have a name |
//! | `tickets/` | the ticket registry: its calls, errors, lists and events |
//! | `transactions/` | several keys together: a closure that is run again on conflict, and `Execute` |
//!
//! # Example
//!
//! ```no_run
//! use embergrid::client::{Client, Options, messages::PutRequest};
//! use embergrid::config::AddressList;
//!
//! # async fn example(
//! #     addresses: AddressList,
//! #     tls: std::sync::Arc<rustls::ClientConfig>,
//! # ) -> embergrid::error::Result<()> {
//! // From `AddressList::of(["10.0.0.1:47500", "10.0.0.2:47500"])` and `rpc::tls::client_tls`.
//! let client = Client::connect(&addresses, Some(tls), Options::default()).await?;
//! let put = PutRequest {
//!     cache: "sessions".into(),
//!     key: "TGT-1".into(),
//!     value: "alice".into(),
//!     ..PutRequest::default()
//! };
//! client.put(put).await?;
//! let entry = client.get("sessions", "TGT-1").await?;
//! assert!(entry.is_some_and(|entry| entry.value == "alice"));
//! # Ok(())
//! # }
//! ```

mod batch;
mod cache;
mod channel;
mod cluster;
mod follow;
mod listing;
mod locks;
mod nodes;
mod pipeline;
mod request_id;
mod retry;
mod routes;
mod scan;
mod stream;
mod tickets;
mod topology;
mod transactions;
mod watch;
mod watcher;

pub use channel::Options;
pub use locks::Lock;
pub use request_id::{random_bytes, request_id};
pub use scan::Scan;
pub use tickets::{TicketError, TicketList, TicketWatch, Tickets};
pub use topology::TopologyWatch;
pub use transactions::{Concurrency, Isolation, Transaction, TransactionOptions};
pub use watch::Watch;

use crate::config::AddressList;
use crate::error::Result;
use crate::rpc::proto;
use nodes::Connections;
use proto::cache_service_client::CacheServiceClient;
use proto::cluster_service_client::ClusterServiceClient;
use proto::ticket_service_client::TicketServiceClient;
use proto::transaction_service_client::TransactionServiceClient;
use std::sync::Arc;
use tonic::transport::Channel;

/// The messages that calls take and answer with.
///
/// What is left out has its default, as everywhere in protobuf.
///
/// # Example
///
/// ```
/// use embergrid::client::messages::{Condition, Expiry, PutRequest, condition};
///
/// // Only where nobody has the key, and for a minute.
/// let request = PutRequest {
///     cache: "sessions".into(),
///     key: "TGT-1".into(),
///     value: "alice".into(),
///     condition: Some(Condition { condition: Some(condition::Condition::Absent(true)) }),
///     expiry: Some(Expiry {
///         time_to_live: Some(prost_types::Duration { seconds: 60, nanos: 0 }),
///         ..Expiry::default()
///     }),
///     ..PutRequest::default()
/// };
/// assert!(request.request_id.is_empty(), "the client makes one");
/// ```
pub use crate::rpc::proto as messages;

/// A client of one cluster. Clones share their connections and what they know of the cluster.
///
/// Every call is bounded in time and in attempts (see [`Options`]). Calls that change something
/// get a request id where they carry none, so that repeating them applies them once.
///
/// # Example
///
/// ```no_run
/// # async fn example(client: embergrid::client::Client) -> embergrid::error::Result<()> {
/// // Clones are for tasks of their own.
/// let other = client.clone();
/// let reader = tokio::spawn(async move { other.get("sessions", "TGT-1").await });
/// let here = client.get("sessions", "TGT-2").await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Client {
    connections: Arc<Connections>,
}

impl Client {
    /// Connects to the first node of the list that answers.
    ///
    /// `tls` is this client's side of mutual TLS; without it the connection is plain text, which
    /// nodes offer on loopback only.
    ///
    /// # Errors
    ///
    /// UNAVAILABLE where no node could be reached, with the reason for each address.
    ///
    /// # Example
    ///
    /// With the certificates and the address list of a settings file:
    ///
    /// ```no_run
    /// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
    /// use embergrid::client::{Client, Options};
    /// use embergrid::config::{Settings, environment};
    /// use embergrid::rpc::tls::client_tls;
    ///
    /// let file = Some("embergrid.toml".as_ref());
    /// let settings = Settings::load(file, environment(), Vec::new())
    ///     .map_err(|problems| format!("{problems:?}"))?;
    /// let tls = client_tls(&settings.tls)?;
    /// let addresses = &settings.discovery.addresses;
    /// let client = Client::connect(addresses, tls, Options::default()).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn connect(
        addresses: &AddressList,
        tls: Option<Arc<rustls::ClientConfig>>,
        options: Options,
    ) -> Result<Self> {
        let connections = Arc::new(Connections::new(addresses.endpoints(), tls, options));
        connections.connection(&[], &[]).await?;
        Ok(Self { connections })
    }

    /// The address of the node that answers at present what belongs to no key, `host:port`.
    ///
    /// # Example
    ///
    /// ```no_run
    /// # async fn example(client: embergrid::client::Client) -> embergrid::error::Result<()> {
    /// client.topology().await?;
    /// println!("asked {}", client.address().unwrap_or_default());
    /// # Ok(())
    /// # }
    /// ```
    pub fn address(&self) -> Option<String> {
        self.connections.current_address()
    }
}

/// The largest answer that is taken, in bytes: the largest entry and its key, with room for the
/// rest of the message.
const MESSAGE_BYTES_MAX: usize = 20 << 20;

fn cache_service(channel: Channel) -> CacheServiceClient<Channel> {
    CacheServiceClient::new(channel)
        .max_decoding_message_size(MESSAGE_BYTES_MAX)
        .max_encoding_message_size(MESSAGE_BYTES_MAX)
}

fn ticket_service(channel: Channel) -> TicketServiceClient<Channel> {
    TicketServiceClient::new(channel)
        .max_decoding_message_size(MESSAGE_BYTES_MAX)
        .max_encoding_message_size(MESSAGE_BYTES_MAX)
}

fn transaction_service(channel: Channel) -> TransactionServiceClient<Channel> {
    TransactionServiceClient::new(channel)
        .max_decoding_message_size(MESSAGE_BYTES_MAX)
        .max_encoding_message_size(MESSAGE_BYTES_MAX)
}

fn cluster_service(channel: Channel) -> ClusterServiceClient<Channel> {
    ClusterServiceClient::new(channel).max_decoding_message_size(MESSAGE_BYTES_MAX)
}
