//! Hello: the first message on every link.

use super::{limits, list, node, required, settings};
use crate::error::Result;
use crate::rpc::proto;
use crate::types::hello::Hello;

/// Hello.
pub fn encode(hello: &Hello) -> proto::Hello {
    proto::Hello {
        cluster_name: hello.cluster_name.clone(),
        protocol: hello.protocol,
        protocol_min: hello.protocol_min,
        info: Some(node::encode(&hello.info)),
        caches: hello.caches.iter().map(settings::encode).collect(),
        quorum_of: hello.quorum_of,
        ticket_keys: hello.ticket_keys.clone(),
        digest_key: hello.digest_key,
        in_cluster: hello.in_cluster,
    }
}

/// Hello.
///
/// # Errors
///
/// `InvalidArgument`, naming what is missing, too long or not known.
pub fn decode(sent: proto::Hello) -> Result<Hello> {
    limits::name(&sent.cluster_name, "cluster_name")?;
    Ok(Hello {
        cluster_name: sent.cluster_name,
        protocol: sent.protocol,
        protocol_min: sent.protocol_min,
        info: node::decode(required(sent.info, "info")?)?,
        caches: list(sent.caches, "caches", settings::decode)?,
        quorum_of: sent.quorum_of,
        ticket_keys: list(sent.ticket_keys, "ticket_keys", Ok)?,
        digest_key: sent.digest_key,
        in_cluster: sent.in_cluster,
    })
}
