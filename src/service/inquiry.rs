//! What a node asks another one for the sake of a caller: its counters, and what it holds beside
//! primaries. One connection for one question; who asks has all of the caller's time for it.

use super::deadline::CallTime;
use crate::error::{Error, ErrorKind, Result};
use crate::node::Handle;
use crate::rpc::connector;
use crate::rpc::proto as pb;
use crate::rpc::proto::peer_service_client::PeerServiceClient;
use crate::rpc::status::from_status;
use crate::types::{CacheId, Copies, Member, NodeInfo, View};
use std::time::Instant;
use tonic::transport::Channel;
use tonic::{Response, Status};

/// Names that an error lists.
const NAMES_MAX: usize = 16;

/// The node of a name in the view.
///
/// # Errors
///
/// `NotFound`, naming those that are there.
pub fn known_node<'a>(view: &'a View, name: &str) -> Result<&'a NodeInfo> {
    let found = view.nodes.iter().find(|node| node.consistent_id == name);
    found.ok_or_else(|| {
        let names = view.nodes.iter().map(|node| node.consistent_id.as_str());
        let some: Vec<&str> = names.take(NAMES_MAX).collect();
        Error::new(
            ErrorKind::NotFound,
            format!(
                "there is no node {name:?} in the view; it has {}",
                some.join(", ")
            ),
        )
    })
}

/// The counters of another node.
///
/// # Errors
///
/// `Unavailable` where it is not reached, `DeadlineExceeded`, or what it says.
pub async fn stats(
    handle: &Handle,
    node: &NodeInfo,
    time: CallTime,
) -> Result<pb::NodeStatsResponse> {
    let mut peer = connect(handle, node, time).await?;
    let request = pb::PeerStatsRequest {
        node: Some(asked(node.member)),
    };
    within(node, time, peer.stats(request)).await
}

/// The transactions that another node keeps.
///
/// # Errors
///
/// As [`stats`].
pub async fn transactions(
    handle: &Handle,
    node: &NodeInfo,
    limit: u32,
    time: CallTime,
) -> Result<pb::ListTransactionsResponse> {
    let mut peer = connect(handle, node, time).await?;
    let request = pb::PeerTransactionsRequest {
        node: Some(asked(node.member)),
        limit,
    };
    within(node, time, peer.transactions(request)).await
}

/// Rolls back a transaction that another node keeps.
///
/// # Errors
///
/// As [`stats`].
pub async fn end_transaction(
    handle: &Handle,
    node: &NodeInfo,
    transaction: &str,
    time: CallTime,
) -> Result<()> {
    let mut peer = connect(handle, node, time).await?;
    let request = pb::PeerEndTransactionRequest {
        node: Some(asked(node.member)),
        transaction: transaction.to_owned(),
    };
    within(node, time, peer.end_transaction(request)).await?;
    Ok(())
}

/// How many entries another node holds beside primaries.
///
/// # Errors
///
/// As [`stats`].
pub async fn copies(
    handle: &Handle,
    node: &NodeInfo,
    cache: CacheId,
    time: CallTime,
) -> Result<Copies> {
    let mut peer = connect(handle, node, time).await?;
    let request = pb::CopiesRequest {
        node: Some(asked(node.member)),
        cache: cache.0,
    };
    let pb::CopiesResponse { backup, near } = within(node, time, peer.copies(request)).await?;
    Ok(Copies { backup, near })
}

/// How many entries this node holds beside primaries.
///
/// # Errors
///
/// `Unavailable` where this node stops.
pub async fn own_copies(handle: &Handle, cache: CacheId) -> Result<Copies> {
    let handle = handle.clone();
    // It looks at every entry: on a thread that nobody waits for.
    let counting = tokio::task::spawn_blocking(move || handle.copies(cache));
    counting
        .await
        .map_err(|_| Error::unavailable("this node stops"))
}

/// Whether a question is meant for this life of this node.
///
/// # Errors
///
/// `Unavailable`: ask again with a newer view.
pub fn check(me: Member, meant: Option<pb::Member>) -> Result<()> {
    if meant == Some(asked(me)) {
        return Ok(());
    }
    Err(Error::unavailable(
        "another life of a node answers at this address",
    ))
}

fn asked(member: Member) -> pb::Member {
    pb::Member {
        id: member.id.0,
        incarnation: member.incarnation.0,
    }
}

async fn connect(
    handle: &Handle,
    node: &NodeInfo,
    time: CallTime,
) -> Result<PeerServiceClient<Channel>> {
    time.check(Instant::now())?;
    let connection = handle.connect(node, time.deadline).await?;
    let channel = connector::channel(connection).await;
    channel
        .map(PeerServiceClient::new)
        .map_err(|why| Error::unavailable(format!("{} is not reached: {why}", node.consistent_id)))
}

async fn within<T>(
    node: &NodeInfo,
    time: CallTime,
    call: impl Future<Output = Result<Response<T>, Status>>,
) -> Result<T> {
    match tokio::time::timeout_at(time.deadline.into(), call).await {
        Ok(Ok(reply)) => Ok(reply.into_inner()),
        Ok(Err(status)) => Err(from_status(&status).not_applied()),
        Err(_) => Err(Error::new(
            ErrorKind::DeadlineExceeded,
            format!("{} did not answer within the deadline", node.consistent_id),
        )
        .not_applied()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::{Incarnation, NodeId};

    #[test]
    fn a_question_is_for_one_life_of_one_node() {
        let me = Member {
            id: NodeId(7),
            incarnation: Incarnation(2),
        };
        assert_eq!(check(me, Some(asked(me))), Ok(()));
        let before = Member {
            incarnation: Incarnation(1),
            ..me
        };
        assert!(check(me, Some(asked(before))).is_err());
        assert!(check(me, None).is_err());
    }

    #[test]
    fn a_node_that_is_not_there_is_refused_with_those_that_are() {
        let node = NodeInfo {
            consistent_id: "node-1".to_owned(),
            ..NodeInfo::default()
        };
        let view = View {
            nodes: vec![node],
            ..View::default()
        };
        assert!(known_node(&view, "node-1").is_ok());
        let error = known_node(&view, "node-2").expect_err("not there");
        assert_eq!(error.kind, ErrorKind::NotFound);
        assert!(error.context.contains("node-1"), "{error}");
    }
}
