//! Heartbeats and membership.

use super::{list, node, operation, required, settings, version, view};
use crate::error::{Error, Result};
use crate::rpc::proto::{self, change_view::Change, peer_message::Message as Sent};
use crate::rpc::status;
use crate::types::message::{
    Collected, Control, Heartbeat, Holdings, Join, KnownCache, Progress, Refused, ViewChange,
};
use crate::types::{CacheId, ClusterTime, Member, NodeId};

/// A control message.
pub fn encode(control: &Control) -> Sent {
    match control {
        Control::Heartbeat(heartbeat) => Sent::Heartbeat(encode_heartbeat(heartbeat)),
        Control::AskReach { suspect } => Sent::AskReach(proto::AskReach {
            suspect: version::some_member(*suspect),
        }),
        Control::Reach { suspect, heard_ago } => Sent::Reach(proto::Reach {
            suspect: version::some_member(*suspect),
            heard_ago: *heard_ago,
        }),
        Control::Join(join) => Sent::Join(proto::Join {
            view: Some(view::encode(&join.view)),
            nodes: join.nodes.iter().map(node::encode).collect(),
        }),
        Control::Collect { version, nodes } => Sent::Collect(proto::Collect {
            version: version::some_topology(*version),
            nodes: nodes.iter().map(node::encode).collect(),
        }),
        Control::Collected(collected) => Sent::Collected(encode_collected(collected)),
        Control::Prepare { view } => Sent::Prepare(proto::Prepare {
            view: Some(view::encode(view)),
        }),
        Control::Prepared { version } => Sent::Prepared(proto::Prepared {
            version: version::some_topology(*version),
        }),
        Control::Refused(refused) => Sent::Refused(proto::Refused {
            version: version::some_topology(refused.version),
            promised: version::some_topology(refused.promised),
            unreachable: encode_members(&refused.unreachable),
        }),
        Control::Commit { version } => Sent::Commit(proto::Commit {
            version: version::some_topology(*version),
        }),
        Control::Leave(primaries) => Sent::Leave(proto::Leave {
            primaries: Some(view::encode_primaries(primaries)),
        }),
        Control::Progress(progress) => Sent::Progress(proto::Progress {
            topology: version::some_topology(progress.topology),
            loaded: progress.loaded.iter().map(encode_partition).collect(),
            merged: progress.merged.iter().map(encode_partition).collect(),
        }),
        Control::ChangeView { id, change } => Sent::ChangeView(proto::ChangeView {
            id: *id,
            change: Some(match change {
                ViewChange::Create(settings) => Change::Create(settings::encode(settings)),
                ViewChange::Drop(cache) => Change::Drop(cache.0),
                ViewChange::ResetLost(cache) => Change::ResetLost(cache.0),
                ViewChange::Forget(node) => Change::Forget(node.0),
                ViewChange::ForcePrimary => Change::ForcePrimary(true),
                ViewChange::Drain(member) => Change::Drain(version::encode_member(*member)),
            }),
        }),
        Control::ViewChanged { id, result } => Sent::ViewChanged(proto::ViewChanged {
            id: *id,
            error: result.as_ref().err().map(status::to_proto),
        }),
        Control::Unreachable { peers } => Sent::Unreachable(proto::Unreachable {
            peers: encode_members(peers),
        }),
    }
}

/// A control message.
///
/// # Errors
///
/// `InvalidArgument`, naming what is missing, too long or not known.
pub fn decode(sent: Sent) -> Result<Control> {
    Ok(match sent {
        Sent::Heartbeat(sent) => Control::Heartbeat(heartbeat(&sent)),
        Sent::AskReach(ask) => Control::AskReach {
            suspect: version::member_or_zero(ask.suspect),
        },
        Sent::Reach(reach) => Control::Reach {
            suspect: version::member_or_zero(reach.suspect),
            heard_ago: reach.heard_ago,
        },
        Sent::Join(join) => Control::Join(Join {
            view: view::decode(required(join.view, "view")?)?,
            nodes: list(join.nodes, "nodes", node::decode)?,
        }),
        Sent::Collect(collect) => Control::Collect {
            version: version::topology(collect.version),
            nodes: list(collect.nodes, "nodes", node::decode)?,
        },
        Sent::Collected(sent) => Control::Collected(collected(sent)?),
        Sent::Prepare(prepare) => Control::Prepare {
            view: view::decode(required(prepare.view, "view")?)?,
        },
        Sent::Prepared(prepared) => Control::Prepared {
            version: version::topology(prepared.version),
        },
        Sent::Refused(refused) => Control::Refused(Refused {
            version: version::topology(refused.version),
            promised: version::topology(refused.promised),
            unreachable: members(refused.unreachable, "unreachable")?,
        }),
        Sent::Commit(commit) => Control::Commit {
            version: version::topology(commit.version),
        },
        Sent::Leave(leave) => Control::Leave(view::primaries(leave.primaries)?),
        Sent::Progress(progress) => Control::Progress(Progress {
            topology: version::topology(progress.topology),
            loaded: list(progress.loaded, "loaded", partition)?,
            merged: list(progress.merged, "merged", partition)?,
        }),
        Sent::ChangeView(sent) => Control::ChangeView {
            id: sent.id,
            change: match required(sent.change, "change of a known kind")? {
                Change::Create(sent) => ViewChange::Create(Box::new(settings::decode(sent)?)),
                Change::Drop(cache) => ViewChange::Drop(CacheId(cache)),
                Change::ResetLost(cache) => ViewChange::ResetLost(CacheId(cache)),
                Change::Forget(node) => ViewChange::Forget(NodeId(node)),
                Change::ForcePrimary(_) => ViewChange::ForcePrimary,
                Change::Drain(member) => ViewChange::Drain(version::member(member)),
            },
        },
        Sent::ViewChanged(changed) => Control::ViewChanged {
            id: changed.id,
            result: changed
                .error
                .map_or(Ok(()), |error| Err(status::from_proto(error))),
        },
        Sent::Unreachable(sent) => Control::Unreachable {
            peers: members(sent.peers, "peers")?,
        },
        Sent::Data(_) | Sent::Forward(_) | Sent::ForwardReply(_) => {
            return Err(Error::invalid("message: not one of control"));
        }
    })
}

fn encode_heartbeat(heartbeat: &Heartbeat) -> proto::Heartbeat {
    proto::Heartbeat {
        sent: heartbeat.sent,
        echo: heartbeat.echo,
        echo_age: heartbeat.echo_age,
        cluster_time: heartbeat.cluster_time.0,
        time_base: version::some_member(heartbeat.time_base),
        view: version::some_topology(heartbeat.view),
        in_view: heartbeat.in_view,
        servers: heartbeat.servers,
        coordinator: version::some_member(heartbeat.coordinator),
        renounced: heartbeat.renounced,
        vouches: heartbeat.vouches,
    }
}

fn heartbeat(sent: &proto::Heartbeat) -> Heartbeat {
    Heartbeat {
        sent: sent.sent,
        echo: sent.echo,
        echo_age: sent.echo_age,
        cluster_time: ClusterTime(sent.cluster_time),
        time_base: version::member_or_zero(sent.time_base),
        view: version::topology(sent.view),
        in_view: sent.in_view,
        servers: sent.servers,
        coordinator: version::member_or_zero(sent.coordinator),
        renounced: sent.renounced,
        vouches: sent.vouches,
    }
}

fn encode_collected(collected: &Collected) -> proto::Collected {
    let known = |known: &KnownCache| proto::KnownCache {
        settings: Some(settings::encode(&known.settings)),
        created_at: known.created_at.0,
        founded: known.founded,
    };
    proto::Collected {
        version: version::some_topology(collected.version),
        committed: version::some_topology(collected.committed),
        holdings: collected.holdings.iter().map(encode_holdings).collect(),
        caches: collected.caches.iter().map(known).collect(),
        dropped: collected
            .dropped
            .iter()
            .map(|(cache, at)| view::encode_dropped(*cache, *at))
            .collect(),
        departed: collected
            .departed
            .iter()
            .map(view::encode_departed)
            .collect(),
        draining: view::encode_draining(&collected.draining),
        primaries: Some(view::encode_primaries(&collected.primaries)),
    }
}

fn collected(sent: proto::Collected) -> Result<Collected> {
    Ok(Collected {
        version: version::topology(sent.version),
        committed: version::topology(sent.committed),
        holdings: list(sent.holdings, "holdings", holdings)?,
        caches: list(sent.caches, "caches", |known| {
            Ok(KnownCache {
                settings: settings::decode(required(known.settings, "settings")?)?,
                created_at: ClusterTime(known.created_at),
                founded: known.founded,
            })
        })?,
        dropped: list(sent.dropped, "dropped", |sent| Ok(view::dropped(sent)))?,
        departed: list(sent.departed, "departed", |sent| Ok(view::departed(sent)))?,
        draining: view::draining(sent.draining)?,
        primaries: view::primaries(sent.primaries)?,
    })
}

fn encode_holdings(holdings: &Holdings) -> proto::Holdings {
    let run = |(first, count, version): &(u32, u32, _)| proto::holdings::Run {
        first: *first,
        count: *count,
        version: version::some_topology(*version),
    };
    proto::Holdings {
        cache: holdings.cache.0,
        complete: holdings.complete.iter().map(run).collect(),
        retired: holdings.retired.iter().copied().collect(),
    }
}

/// Runs end within what any cache may have, so that their ends can be added up safely.
fn holdings(sent: proto::Holdings) -> Result<Holdings> {
    let complete = list(sent.complete, "complete", |run| {
        let last = run.first.checked_add(run.count.saturating_sub(1));
        operation::partition(last.unwrap_or(u32::MAX))?;
        Ok((run.first, run.count, version::topology(run.version)))
    })?;
    Ok(Holdings {
        cache: CacheId(sent.cache),
        complete,
        retired: list(sent.retired, "retired", operation::partition)?
            .into_iter()
            .collect(),
    })
}

fn encode_members(members: &[Member]) -> Vec<proto::Member> {
    members
        .iter()
        .map(|member| version::encode_member(*member))
        .collect()
}

fn members(sent: Vec<proto::Member>, name: &str) -> Result<Vec<Member>> {
    list(sent, name, |sent| Ok(version::member(sent)))
}

fn encode_partition(partition: &(CacheId, u32)) -> proto::PartitionId {
    proto::PartitionId {
        cache: partition.0.0,
        partition: partition.1,
    }
}

fn partition(sent: proto::PartitionId) -> Result<(CacheId, u32)> {
    Ok((CacheId(sent.cache), operation::partition(sent.partition)?))
}
