//! Members and versions. The ones of all zeros are left out on the wire.

use crate::rpc::proto;
use crate::types::message::WatchPosition;
use crate::types::{EntryVersion, Incarnation, Member, NodeId, TopologyVersion};

/// A member.
pub fn encode_member(member: Member) -> proto::Member {
    proto::Member {
        id: member.id.0,
        incarnation: member.incarnation.0,
    }
}

/// A member, or nothing for the one of all zeros.
pub fn some_member(member: Member) -> Option<proto::Member> {
    (member != Member::default()).then(|| encode_member(member))
}

/// A member.
pub fn member(member: proto::Member) -> Member {
    Member {
        id: NodeId(member.id),
        incarnation: Incarnation(member.incarnation),
    }
}

/// A member; the one of all zeros where there is none.
pub fn member_or_zero(sent: Option<proto::Member>) -> Member {
    sent.map(member).unwrap_or_default()
}

/// A topology version.
pub fn encode_topology(version: TopologyVersion) -> proto::TopologyVersion {
    proto::TopologyVersion {
        number: version.number,
        coordinator_id: version.coordinator.id.0,
        coordinator_incarnation: version.coordinator.incarnation.0,
    }
}

/// A topology version, or nothing for the one of all zeros.
pub fn some_topology(version: TopologyVersion) -> Option<proto::TopologyVersion> {
    (version != TopologyVersion::default()).then(|| encode_topology(version))
}

/// A topology version; the one of all zeros where there is none.
pub fn topology(sent: Option<proto::TopologyVersion>) -> TopologyVersion {
    sent.map_or_else(TopologyVersion::default, |sent| {
        topology_of(
            sent.number,
            sent.coordinator_id,
            sent.coordinator_incarnation,
        )
    })
}

fn topology_of(number: u64, id: u64, incarnation: u64) -> TopologyVersion {
    let coordinator = Member {
        id: NodeId(id),
        incarnation: Incarnation(incarnation),
    };
    TopologyVersion {
        number,
        coordinator,
    }
}

/// An entry version.
pub fn encode_entry(version: EntryVersion) -> proto::EntryVersion {
    proto::EntryVersion {
        number: version.topology.number,
        coordinator_id: version.topology.coordinator.id.0,
        coordinator_incarnation: version.topology.coordinator.incarnation.0,
        counter: version.counter,
    }
}

/// An entry version, or nothing for the one of all zeros.
pub fn some_entry(version: EntryVersion) -> Option<proto::EntryVersion> {
    (version != EntryVersion::default()).then(|| encode_entry(version))
}

/// An entry version; the one of all zeros where there is none.
pub fn entry(sent: Option<proto::EntryVersion>) -> EntryVersion {
    sent.map_or_else(EntryVersion::default, |sent| EntryVersion {
        topology: topology_of(
            sent.number,
            sent.coordinator_id,
            sent.coordinator_incarnation,
        ),
        counter: sent.counter,
    })
}

/// A place in the events of a partition.
pub fn encode_position(position: WatchPosition) -> proto::WatchPosition {
    proto::WatchPosition {
        counter: position.counter,
        topology: some_topology(position.topology),
    }
}

/// A place in the events of a partition.
pub fn position(sent: proto::WatchPosition) -> WatchPosition {
    WatchPosition {
        counter: sent.counter,
        topology: topology(sent.topology),
    }
}
