//! The gRPC services. A front end decodes, asks the node's handle, and encodes; it decides
//! nothing. Here is what the public services share and how they are put together; who listens and
//! how is in `server.rs`, what nodes say to each other in `peer.rs`.
//!
//! | where | what |
//! |---|---|
//! | `cache/` | `CacheService`: keys and values |
//! | `cluster/` | `ClusterService`: looking at and running the cluster |
//! | `transactions/` | `TransactionService`: several keys at once |
//! | `tickets/` | `TicketService`: the tickets of a single sign-on server |
//! | `health.rs` | `grpc.health.v1` |
//! | `decode.rs`, `encode.rs` | messages ⇄ vocabulary, checked |
//! | `echo.rs` | the floor of the load generator |
//! | `token.rs` | cursors and resume tokens |
//! | `deadline.rs`, `guard.rs`, `limits.rs` | time and bounds |
//! | `open_calls.rs` | which connections serve somebody |
//! | `inquiry.rs` | what a node asks another one for a caller |
//! | `in_flight.rs`, `streams.rs` | several operations in one call; answers that stream |

pub mod cache;
pub mod cluster;
pub mod deadline;
pub mod decode;
pub mod echo;
pub mod encode;
pub mod guard;
pub mod health;
pub mod in_flight;
pub mod inquiry;
pub mod limits;
pub mod open_calls;
pub mod peer;
pub mod server;
pub mod streams;
pub mod tickets;
pub mod token;
pub mod transactions;

use crate::config::LimitSettings;
use crate::error::{Error, ErrorKind, Result};
use crate::node::Handle;
use crate::rpc::proto;
use crate::rpc::proto::cache_service_server::CacheServiceServer;
use crate::rpc::proto::cluster_service_server::ClusterServiceServer;
use crate::rpc::proto::ticket_service_server::TicketServiceServer;
use crate::rpc::proto::transaction_service_server::TransactionServiceServer;
use cache::CacheFront;
use cluster::ClusterFront;
use deadline::CallTime;
use guard::Guarded;
use health::HealthFront;
use limits::{Gate, STREAMS_MAX};
use std::sync::Arc;
use std::time::Instant;
use streams::{Answers, Out};
use tickets::TicketFront;
use tonic::service::Routes;
use transactions::TransactionFront;

/// What the public services share.
#[derive(Clone)]
pub struct Front {
    /// The node.
    pub handle: Handle,
    /// Bounds from the settings.
    pub limits: Arc<LimitSettings>,
    /// The name of the cluster, which callers are told.
    pub cluster_name: Arc<str>,
    /// Streams that are open.
    pub streams: Gate,
}

impl Front {
    /// Starts a call whose answer streams.
    ///
    /// # Errors
    ///
    /// `Overloaded` where too many streams are open.
    pub fn stream<T, W>(
        &self,
        time: CallTime,
        work: impl FnOnce(Out<T>) -> W,
    ) -> Result<tonic::Response<Answers<T>>>
    where
        T: Send + 'static,
        W: Future<Output = Result<()>> + Send + 'static,
    {
        let handle = self.handle.clone();
        streams::start(
            &self.streams,
            time,
            async move { handle.stopped().await },
            work,
        )
    }
}

/// All public services of a node, behind their guards, with health and reflection.
///
/// # Errors
///
/// `Internal` where the descriptors that reflection serves are damaged.
pub fn routes(handle: Handle, cluster_name: &str, limits: &LimitSettings) -> Result<Routes> {
    let calls = Gate::new(limits.requests_in_flight_max as usize, "calls");
    let message_bytes_max = usize::try_from(limits.message_bytes_max).unwrap_or(usize::MAX);
    let health = HealthFront::new(handle.clone());
    let front = Front {
        handle,
        limits: Arc::new(limits.clone()),
        cluster_name: Arc::from(cluster_name),
        streams: Gate::new(STREAMS_MAX, "streams"),
    };
    let cache = CacheServiceServer::new(CacheFront::new(front.clone()))
        .max_decoding_message_size(message_bytes_max);
    let transactions = TransactionServiceServer::new(TransactionFront::new(front.clone()))
        .max_decoding_message_size(message_bytes_max);
    let tickets = TicketServiceServer::new(TicketFront::new(front.clone()))
        .max_decoding_message_size(message_bytes_max);
    let cluster = ClusterServiceServer::new(ClusterFront::new(front))
        .max_decoding_message_size(message_bytes_max);
    let reflection = tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(proto::DESCRIPTOR_SET)
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
        .build_v1()
        .map_err(|error| Error::new(ErrorKind::Internal, format!("reflection: {error}")))?;
    Ok(Routes::new(Guarded::new(cache, calls.clone()))
        .add_service(Guarded::new(transactions, calls.clone()))
        .add_service(Guarded::new(cluster, calls.clone()))
        .add_service(Guarded::new(tickets, calls))
        .add_service(health.into_server())
        .add_service(reflection)
        .prepare())
}

/// The time of a call, as the guard measured it when the call came: to be asked before the call first
/// waits for something, or hands its work to somebody else.
pub fn time_of<T>(_: &tonic::Request<T>) -> CallTime {
    CallTime::current().unwrap_or_else(|| CallTime::of(&http::HeaderMap::new(), Instant::now()))
}
