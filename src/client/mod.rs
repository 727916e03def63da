//! A first client of the cluster: it reaches any node of a list over mutual TLS, and repeats what
//! is safe to repeat. Routing straight to owners is not here yet: any node answers any request.

mod cache;
mod channel;
mod cluster;
mod request_id;
mod retry;

pub use channel::Options;
pub use request_id::{random_bytes, request_id};

use crate::config::AddressList;
use crate::error::Result;
use crate::rpc::proto;
use channel::Connections;
use proto::cache_service_client::CacheServiceClient;
use proto::cluster_service_client::ClusterServiceClient;
use std::sync::Arc;
use tonic::transport::Channel;

/// The messages that calls take and answer with.
pub use crate::rpc::proto as messages;

/// A client of one cluster. Clones share their connection.
///
/// Every call is bounded in time and in attempts (see [`Options`]). Calls that change something
/// get a request id where they carry none, so that repeating them applies them once.
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
    pub async fn connect(
        addresses: &AddressList,
        tls: Option<Arc<rustls::ClientConfig>>,
        options: Options,
    ) -> Result<Self> {
        let connections = Arc::new(Connections::new(addresses.endpoints(), tls, options));
        connections.channel(&[]).await?;
        Ok(Self { connections })
    }

    /// The address of the node that answers at present, `host:port`.
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

fn cluster_service(channel: Channel) -> ClusterServiceClient<Channel> {
    ClusterServiceClient::new(channel).max_decoding_message_size(MESSAGE_BYTES_MAX)
}
