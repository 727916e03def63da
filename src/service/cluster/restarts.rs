//! What a restart of one node after the other needs: `Drain` and `SafeToStop`.

use super::super::Front;
use super::super::deadline::CallTime;
use super::super::inquiry;
use crate::error::{Error, ErrorKind, Result};
use crate::rpc::proto as pb;
use crate::types::{CacheMode, NodeInfo, Role, View};
use std::time::Instant;

/// The node that is meant, where no name means the one that is asked.
fn meant(front: &Front, view: &View, name: &str) -> Result<NodeInfo> {
    if name.is_empty() {
        return Ok(front.handle.me().clone());
    }
    inquiry::known_node(view, name).cloned()
}

/// See `ClusterService.Drain`. Answered when the node is out of the view.
pub async fn drain(
    front: &Front,
    message: pb::DrainRequest,
    time: CallTime,
) -> Result<pb::DrainResponse> {
    time.check(Instant::now())?;
    let handle = &front.handle;
    let node = meant(front, &handle.view(), &message.node)?;
    let me = handle.me().member;
    if node.role == Role::Server {
        match handle.drain(node.member, time.deadline).await {
            // It had left before the answer came: that is what was asked for.
            Err(error) if error.kind == ErrorKind::NotFound => {}
            other => other?,
        }
    } else if node.member == me {
        handle.leave();
    } else {
        return Err(Error::invalid(format!(
            "{} is a client node and owns nothing: stop it as it is",
            node.consistent_id
        )));
    }
    let gone = async {
        let mut views = handle.views();
        let left = views.wait_for(|view| !view.contains(node.member));
        if node.member == me {
            // It installs no view without itself.
            handle.left().await;
        } else {
            left.await.map_err(|_| Error::unknown("this node stops"))?;
        }
        Ok(pb::DrainResponse {})
    };
    match tokio::time::timeout_at(time.deadline.into(), gone).await {
        Ok(answer) => answer,
        Err(_) => Err(Error::unknown(format!(
            "{} still hands over: {}",
            node.consistent_id,
            owned(&handle.view(), &node)
        ))),
    }
}

/// What a node still owns, in words.
fn owned(view: &View, node: &NodeInfo) -> String {
    let Some(place) = view.index_of(node.member) else {
        return "nothing is left".to_owned();
    };
    let caches = view.caches.values().filter_map(|cache| {
        let owns = cache
            .table
            .iter()
            .filter(|partition| partition.owners.contains(&place));
        let count = owns.count();
        (count > 0).then(|| format!("{count} partitions of {:?}", cache.settings.name))
    });
    let some: Vec<String> = caches.collect();
    if some.is_empty() {
        "it owns nothing any more and is about to leave".to_owned()
    } else {
        some.join(", ")
    }
}

/// See `ClusterService.SafeToStop`.
pub async fn safe_to_stop(
    front: &Front,
    message: pb::SafeToStopRequest,
    time: CallTime,
) -> Result<pb::SafeToStopResponse> {
    let handle = &front.handle;
    let view = handle.view();
    let node = meant(front, &view, &message.node)?;
    let mut reasons = reasons(&view, &node);
    if !handle.serving() {
        reasons.push("the node that is asked does not serve: its view is not confirmed".to_owned());
    }
    // The view does not know yet who died or was restarted a moment ago: each is asked itself.
    for other in view.servers() {
        if other.member == node.member || other.member == handle.me().member {
            continue;
        }
        if let Err(error) = inquiry::stats(handle, other, time).await {
            time.check(Instant::now())?;
            reasons.push(format!(
                "{} does not answer: {}",
                other.consistent_id, error.context
            ));
        }
    }
    if handle.view().version != view.version {
        reasons.push("the view changed meanwhile: ask again".to_owned());
    }
    Ok(pb::SafeToStopResponse {
        safe: reasons.is_empty(),
        reasons,
    })
}

/// Why the view itself says that a node must not stop.
fn reasons(view: &View, node: &NodeInfo) -> Vec<String> {
    let Some(place) = view.index_of(node.member) else {
        return vec![format!(
            "{} is not in the view: it has not joined, or its partitions are not loaded",
            node.consistent_id
        )];
    };
    let mut reasons = Vec::new();
    for cache in view.caches.values() {
        let name = &cache.settings.name;
        if cache.settings.mode == CacheMode::Local {
            continue;
        }
        let (mut alone, mut moving, mut lost) = (0u32, 0u32, 0u32);
        for partition in &cache.table {
            alone += u32::from(partition.owners == [place]);
            moving += u32::from(!partition.loading.is_empty() || !partition.sources.is_empty());
            lost += u32::from(partition.owners.is_empty());
        }
        let counts = [
            (alone, "have no other complete owner"),
            (moving, "load or merge"),
            (lost, "are lost"),
        ];
        for (count, what) in counts {
            if count > 0 {
                reasons.push(format!("cache {name:?}: {count} partitions {what}"));
            }
        }
    }
    reasons
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::view::ViewCache;
    use crate::types::{CacheSettings, ClusterTime, Member, NodeId, PartitionOwners};

    fn node(id: u64) -> NodeInfo {
        NodeInfo {
            member: Member {
                id: NodeId(id),
                ..Member::default()
            },
            consistent_id: format!("node-{id}"),
            ..NodeInfo::default()
        }
    }

    fn view(table: Vec<PartitionOwners>) -> View {
        let settings = CacheSettings::named("tickets");
        let cache = ViewCache {
            founded: true,
            settings,
            created_at: ClusterTime(1),
            table,
        };
        View {
            nodes: vec![node(1), node(2)],
            caches: [(cache.settings.id(), cache)].into(),
            ..View::default()
        }
    }

    fn owners(owners: &[u16], loading: &[u16]) -> PartitionOwners {
        PartitionOwners {
            owners: owners.to_vec(),
            loading: loading.to_vec(),
            sources: Vec::new(),
        }
    }

    #[test]
    fn a_node_may_stop_where_each_partition_has_another_owner_and_nothing_moves() {
        let safe = view(vec![owners(&[0, 1], &[]), owners(&[1, 0], &[])]);
        assert!(reasons(&safe, &node(1)).is_empty());
        let alone = view(vec![owners(&[0], &[]), owners(&[1, 0], &[])]);
        assert_eq!(
            reasons(&alone, &node(1)),
            ["cache \"tickets\": 1 partitions have no other complete owner"]
        );
        assert!(reasons(&alone, &node(2)).is_empty());
        let loading = view(vec![owners(&[0], &[1])]);
        assert_eq!(reasons(&loading, &node(2)).len(), 1);
        assert_eq!(reasons(&loading, &node(1)).len(), 2);
        let lost = view(vec![owners(&[], &[])]);
        assert!(reasons(&lost, &node(1))[0].contains("lost"));
        assert!(reasons(&safe, &node(3))[0].contains("not in the view"));
    }

    #[test]
    fn what_is_left_to_hand_over_is_named() {
        let some = view(vec![owners(&[0], &[1]), owners(&[1, 0], &[])]);
        assert_eq!(owned(&some, &node(1)), "2 partitions of \"tickets\"");
        assert!(owned(&view(Vec::new()), &node(1)).contains("about to leave"));
    }
}
