//! What an operator gives up: `ResetLostPartitions` and `ForgetNode`.

use super::super::deadline::CallTime;
use super::super::{Front, decode};
use crate::error::{Error, Result};
use crate::rpc::proto as pb;
use crate::types::CacheId;
use std::time::Instant;

/// The longest name of a node.
const NAME_BYTES_MAX: usize = 255;
/// The most caches that one call names.
const CACHES_MAX: usize = 1024;

/// See `ClusterService.ResetLostPartitions`.
pub async fn reset(
    front: &Front,
    message: &pb::ResetLostPartitionsRequest,
    time: CallTime,
) -> Result<pb::ResetLostPartitionsResponse> {
    time.check(Instant::now())?;
    if message.caches.is_empty() || message.caches.len() > CACHES_MAX {
        return Err(Error::invalid(format!(
            "caches: name 1 to {CACHES_MAX} whose lost partitions shall begin anew"
        )));
    }
    let handle = &front.handle;
    let known = |name: &String| {
        let view = handle.view();
        decode::known(&view, name).map(|cache| cache.settings.id())
    };
    // All names are right before anything is given up.
    let caches: Vec<CacheId> = message.caches.iter().map(known).collect::<Result<_>>()?;
    let mut partitions = 0;
    for (name, cache) in message.caches.iter().zip(caches) {
        let reset = handle.reset_lost(cache, time.deadline).await?;
        if reset > 0 {
            tracing::warn!(cache = name, reset, "lost partitions begin anew, empty");
        }
        partitions += reset;
    }
    Ok(pb::ResetLostPartitionsResponse { partitions })
}

/// See `ClusterService.ForgetNode`.
pub async fn forget(
    front: &Front,
    message: &pb::ForgetNodeRequest,
    time: CallTime,
) -> Result<pb::ForgetNodeResponse> {
    time.check(Instant::now())?;
    if message.node.is_empty() || message.node.len() > NAME_BYTES_MAX {
        return Err(Error::invalid(format!(
            "node: name a server that is out, in 1 to {NAME_BYTES_MAX} bytes"
        )));
    }
    front.handle.forget(&message.node, time.deadline).await?;
    tracing::warn!(
        node = message.node,
        "a server that is out is not waited for any longer"
    );
    Ok(pb::ForgetNodeResponse {})
}
