//! Random values of the vocabulary.

use crate::comparing;
use crate::random::Random;
use crate::transactions;
use embergrid::error::{Applied, Error, ErrorKind};
use embergrid::types::lock::LEASE;
use embergrid::types::ticket::operation::{Bounds, ParentView};
use embergrid::types::ticket::{
    Link, TicketFilter, TicketOperation, TicketRecord, TicketsOperation,
};
use embergrid::types::{
    AtomicityMode, Blob, CacheId, CacheMode, CacheSettings, Change, ClusterTime, Condition, Entry,
    EntryVersion, EntryView, Expiry, Incarnation, KeyOperation, Live, LockOperation, Member,
    NodeId, NodeInfo, Operation, PartitionLoss, ReadFrom, Reply, Request, RequestId, Role,
    TopologyVersion, WhenSplit, WriteSynchronizationMode,
};
use std::collections::BTreeMap;

pub fn key(random: &mut Random) -> Blob {
    let mut bytes = random.bytes(20);
    bytes.push(0);
    Blob::from(bytes)
}

pub fn value(random: &mut Random) -> Blob {
    Blob::from(random.bytes(60))
}

pub fn time(random: &mut Random) -> ClusterTime {
    ClusterTime(random.number())
}

pub fn request_id(random: &mut Random) -> RequestId {
    let (high, low) = (random.next(), random.next());
    (u128::from(high) << 64 | u128::from(low)).to_be_bytes()
}

pub fn member(random: &mut Random) -> Member {
    Member {
        id: NodeId(random.number()),
        incarnation: Incarnation(random.number()),
    }
}

pub fn topology(random: &mut Random) -> TopologyVersion {
    TopologyVersion {
        number: random.number(),
        coordinator: member(random),
    }
}

pub fn version(random: &mut Random) -> EntryVersion {
    match random.below(4) {
        0 => EntryVersion::default(),
        _ => EntryVersion {
            topology: topology(random),
            counter: random.number(),
        },
    }
}

pub fn cache(random: &mut Random) -> CacheId {
    CacheId(random.small().cast_signed())
}

pub fn partition(random: &mut Random) -> u32 {
    random.small() % 65_536
}

pub fn attributes(random: &mut Random) -> BTreeMap<String, String> {
    random
        .several(3, |random| (random.text(8), random.text(8)))
        .into_iter()
        .collect()
}

pub fn node(random: &mut Random) -> NodeInfo {
    NodeInfo {
        member: member(random),
        consistent_id: random.text(20),
        address: random.text(20),
        role: random.pick(&[Role::Server, Role::Client]),
        attributes: attributes(random),
        program_version: random.text(6),
        started_at: random.number(),
        certificate_expires_at: random.number(),
        protocol: random.small(),
        lease: random.number(),
    }
}

pub fn settings(random: &mut Random) -> CacheSettings {
    use WriteSynchronizationMode::{FullAsync, FullSync, PrimarySync};
    CacheSettings {
        name: random.text(12),
        mode: random.pick(&[
            CacheMode::Local,
            CacheMode::Replicated,
            CacheMode::Partitioned,
        ]),
        atomicity: random.pick(&[AtomicityMode::Atomic, AtomicityMode::Transactional]),
        write_synchronization: random.pick(&[FullSync, PrimarySync, FullAsync]),
        backups: random.small() % 65_536,
        partitions: 1 + random.small() % 64,
        time_to_live: random.maybe(Random::number),
        time_to_idle: random.maybe(Random::number),
        touch_on_read: random.coin(),
        read_from: random.pick(&[ReadFrom::Any, ReadFrom::Primary]),
        removes_are_final: random.coin(),
        tombstone_retention: random.number(),
        request_id_window: random.number(),
        entry_bytes_max: 1 + random.number() % (16 << 20),
        near_bytes_max: random.number() % (1 << 40),
        node_filter: attributes(random),
        backup_zone: random.maybe(|random| random.text(8)),
        when_split: random.pick(&[
            WhenSplit::AllowReadWrites,
            WhenSplit::AllowReads,
            WhenSplit::DenyReadWrites,
        ]),
        partition_loss: random.pick(&[PartitionLoss::Reject, PartitionLoss::Reset]),
    }
}

pub fn entry(random: &mut Random) -> Entry {
    let version = version(random);
    Entry {
        incarnation: if random.coin() {
            version
        } else {
            self::version(random)
        },
        version,
        created_at: time(random),
        removed_by_key: random.coin(),
        live: random.maybe(|random| Live {
            value: value(random),
            flags: random.small(),
            value_version: random.number(),
            expires_at: random.maybe(time),
            time_to_idle: random.maybe(Random::number),
            last_access: time(random),
        }),
    }
}

pub fn view_of_entry(random: &mut Random) -> EntryView {
    EntryView {
        key: key(random),
        value: value(random),
        flags: random.small(),
        version: random.number(),
        created_at: time(random),
        last_access_at: time(random),
        expires_at: random.maybe(time),
        idle_expires_at: random.maybe(time),
    }
}

pub fn expiry(random: &mut Random) -> Expiry {
    match random.below(3) {
        0 => Expiry::Default,
        1 => Expiry::Keep,
        _ => Expiry::Set {
            time_to_live: random.maybe(Random::number),
            time_to_idle: random.maybe(Random::number),
        },
    }
}

pub fn condition(random: &mut Random) -> Condition {
    match random.below(5) {
        0 => Condition::Any,
        1 => Condition::Absent,
        2 => Condition::Present,
        3 => Condition::Version(random.number()),
        _ => Condition::Value(value(random)),
    }
}

pub fn change(random: &mut Random) -> Change {
    match random.below(3) {
        0 => Change::Append(value(random)),
        1 => Change::Prepend(value(random)),
        _ => Change::Increment {
            delta: random.number().cast_signed(),
            initial: random.maybe(|random| random.number().cast_signed()),
            at_least_zero: random.coin(),
            wrap: random.coin(),
        },
    }
}

pub fn key_operation(random: &mut Random) -> KeyOperation {
    match random.below(6) {
        5 => KeyOperation::Ticket(ticket_operation(random)),
        0 => KeyOperation::Get {
            touch: random.maybe(expiry),
            omit_value: random.coin(),
        },
        1 => KeyOperation::Put {
            value: value(random),
            flags: random.small(),
            expiry: expiry(random),
            condition: condition(random),
            return_previous: random.coin(),
        },
        2 => KeyOperation::Remove {
            condition: condition(random),
            return_previous: random.coin(),
        },
        3 => KeyOperation::Touch {
            expiry: expiry(random),
        },
        _ => KeyOperation::Modify {
            change: change(random),
            expiry: expiry(random),
            condition: condition(random),
        },
    }
}

fn link(random: &mut Random) -> Link {
    Link {
        cache: cache(random),
        key: key(random),
        name: value(random),
    }
}

fn record(random: &mut Random) -> Box<TicketRecord> {
    Box::new(TicketRecord {
        kind: value(random),
        principal: value(random),
        service: value(random),
        attributes: random
            .several(3, |random| (value(random), random.several(3, value)))
            .into_iter()
            .collect(),
        payload: value(random),
        name: value(random),
        parent: random.maybe(link),
        root: random.maybe(link),
        granted_by: random.several(2, link),
        anchor: random.maybe(link),
        time_to_live: random.maybe(Random::number),
        time_to_idle: random.maybe(Random::number),
        max_uses: random.maybe(Random::small),
        hard_end: random.maybe(|random| random.number().cast_signed()),
        created: random.number().cast_signed(),
        horizon: random.maybe(|random| random.number().cast_signed()),
        sure_until: random.maybe(|random| random.number().cast_signed()),
        uses: random.small(),
        incarnation: random.number(),
        ending: random.coin(),
    })
}

fn ticket_operation(random: &mut Random) -> TicketOperation {
    match random.below(5) {
        0 => TicketOperation::Add {
            record: record(random),
            created_at: random.maybe(time),
            hard_expire_at: random.maybe(time),
            expires_by: random.maybe(time),
            sure_until: random.maybe(time),
            not_after: random.maybe(time),
        },
        1 => TicketOperation::Get {
            kind: value(random),
            vouched: random.coin(),
        },
        2 => TicketOperation::Update {
            record: record(random),
            hard_expire_at: random.maybe(time),
            keep_expiration: random.coin(),
            expected_version: random.maybe(Random::number),
            vouched: random.coin(),
        },
        3 => TicketOperation::Touch,
        _ => TicketOperation::Use {
            kind: value(random),
            vouched: random.coin(),
        },
    }
}

fn filter(random: &mut Random) -> TicketFilter {
    TicketFilter {
        kind: value(random),
        principal: value(random),
        service: value(random),
        attributes: random.several(3, |random| (value(random), random.several(3, value))),
    }
}

fn bounds(random: &mut Random) -> Bounds {
    Bounds {
        of: key(random),
        end: random.maybe(time),
        sure_until: random.maybe(time),
        at: time(random),
    }
}

fn tickets_operation(random: &mut Random) -> TicketsOperation {
    match random.below(6) {
        4 => TicketsOperation::Narrow {
            key: key(random),
            after: random.maybe(key),
            within: random.maybe(bounds),
        },
        0 => TicketsOperation::Register {
            parent: key(random),
            cache: cache(random),
            child: key(random),
            until: random.maybe(time),
        },
        1 => TicketsOperation::Delete {
            key: key(random),
            done: random.several(3, key),
            descends_from: random.maybe(key),
            bar: random.coin(),
        },
        2 => TicketsOperation::EndPrincipal {
            principal: key(random),
        },
        3 => TicketsOperation::List {
            filter: filter(random),
            after: random.maybe(key),
            limit: random.small(),
        },
        _ => TicketsOperation::Count {
            filter: filter(random),
        },
    }
}

fn lock_operation(random: &mut Random) -> LockOperation {
    let token = random.number();
    let lease = LEASE.start() + random.number() % (LEASE.end() - LEASE.start());
    match random.below(3) {
        0 => LockOperation::Take {
            lease,
            spare: random.number(),
        },
        1 => LockOperation::Renew { token, lease },
        _ => LockOperation::Release { token },
    }
}

pub fn request(random: &mut Random) -> Request {
    let operation = match random.below(12) {
        10 => Operation::Lock {
            name: Blob::from(random.text(60).as_bytes()),
            operation: lock_operation(random),
        },
        8 | 9 => Operation::Transaction {
            id: transactions::id(random),
            step: transactions::step(random),
        },
        7 => Operation::Tickets(tickets_operation(random)),
        0 => Operation::Scan {
            prefix: value(random),
            after: random.maybe(key),
            limit: random.small(),
            keys_only: random.coin(),
        },
        1 => Operation::Size,
        2 => Operation::Clear,
        3 => Operation::Verify {
            repair: random.coin(),
        },
        _ => Operation::Key {
            key: key(random),
            operation: key_operation(random),
        },
    };
    Request {
        cache: cache(random),
        partition: partition(random),
        operation,
        request_id: random.maybe(request_id),
    }
}

pub fn reply(random: &mut Random) -> Reply {
    let (applied, version) = (random.coin(), random.number());
    match random.below(15) {
        13 => Reply::Locked {
            token: version,
            expires_at: time(random),
        },
        14 => Reply::Narrowed {
            bounds: random.maybe(bounds),
            left: random.several(3, key),
            more: applied,
        },
        9 => Reply::Registered {
            parent: Box::new(ParentView {
                granted_by: random.several(2, link),
                name: value(random),
                root: random.maybe(link),
                anchor: random.maybe(link),
                limited: applied,
                expires_at: random.maybe(time),
                sure_until: random.maybe(time),
                at: time(random),
            }),
        },
        10 => Reply::Deleted {
            removed: version,
            lived: applied,
            left: random.several(3, key),
            more: random.coin(),
        },
        11 => transactions::executed(random),
        12 => transactions::step_reply(random),
        0 => Reply::Got {
            entry: random.maybe(view_of_entry),
        },
        1 => Reply::Put {
            applied,
            version,
            previous: random.maybe(view_of_entry),
        },
        2 => Reply::Removed {
            applied,
            previous: random.maybe(view_of_entry),
        },
        3 => Reply::Touched { applied },
        4 => Reply::Modified {
            applied,
            version,
            value: value(random),
        },
        5 => Reply::Scanned {
            entries: random.several(3, view_of_entry),
            more: applied,
        },
        6 => Reply::Size { live: version },
        7 => Reply::Verified(Box::new(comparing::verified(random))),
        _ => Reply::Cleared { removed: version },
    }
}

pub fn error(random: &mut Random) -> Error {
    let mut error = Error::new(random.pick(&ErrorKind::ALL), random.text(50));
    if random.coin() {
        error = error.because(random.pick(&["SOMETHING", "WRONG_OWNER", "PARENT_GONE", "X"]));
    }
    error.applied = random.pick(&[Applied::NotApplied, Applied::Unknown]);
    error
}
