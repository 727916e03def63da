//! Random messages to the machine of a partition, of every kind.

use crate::comparing;
use crate::random::Random;
use crate::transactions;
use crate::values::{
    cache, entry, key, member, partition, reply, request_id, time, topology, version, view_of_entry,
};
use embergrid::types::RequestId;
use embergrid::types::message::{
    Body, Chunk, Data, Event, EventKind, Parting, Replicate, RequestRecord, Reset, Tail,
    TransferHeader, TransferKind, Update, UpdateEffect, WatchPosition,
};

pub fn data(random: &mut Random) -> Data {
    Data {
        cache: cache(random),
        partition: partition(random),
        topology: topology(random),
        body: body(random),
    }
}

fn body(random: &mut Random) -> Body {
    match random.below(20) {
        0 => Body::AskTail,
        1 => Body::Tail(Tail {
            stream: topology(random),
            applied: random.number(),
            committed: random.number(),
            updates: random.several(4, update),
            floor: version(random),
        }),
        2 => Body::Reset(Reset {
            stream: topology(random),
            committed: random.number(),
            updates: random.several(4, update),
        }),
        3 => Body::Replicate(Replicate {
            stream: topology(random),
            committed: random.number(),
            updates: random.several(4, update),
        }),
        4 => Body::Ack {
            stream: topology(random),
            upto: random.number(),
        },
        5 => Body::Gap {
            stream: topology(random),
            have: random.number(),
        },
        6 => Body::Chunk(chunk(random)),
        7 => Body::ChunkAck {
            kind: transfer(random),
            session: random.number(),
            seq: random.small(),
        },
        8 => Body::Touches {
            accesses: random.several(4, |random| (key(random), version(random), time(random))),
        },
        9 => Body::AskIdle {
            key: key(random),
            incarnation: version(random),
        },
        10 => Body::Idle {
            key: key(random),
            incarnation: version(random),
            last_access: random.maybe(time),
        },
        11 => Body::Subscribe {
            after: random.maybe(position),
        },
        12 => Body::Unsubscribe,
        13 => Body::Events {
            after: random.number(),
            upto: position(random),
            events: random.several(4, event),
        },
        15 => Body::Compare(comparing::compare(random)),
        16 => Body::Compared(comparing::compared(random)),
        17 => Body::Holds(comparing::holds(random)),
        18 => Body::Differs(comparing::differs(random)),
        14 => Body::Watching {
            watched: random.coin(),
        },
        _ => Body::Stale,
    }
}

fn update(random: &mut Random) -> Update {
    let effect = match random.below(9) {
        0 => UpdateEffect::Nothing,
        1 => UpdateEffect::Expire {
            key: key(random),
            incarnation: version(random),
            tombstone: random.coin(),
        },
        2 => UpdateEffect::Clear {
            at: time(random),
            version: version(random),
        },
        3 => UpdateEffect::RaiseFloor {
            floor: version(random),
        },
        4 => UpdateEffect::Prepare(Box::new(transactions::prepared(random))),
        5 => UpdateEffect::Finish {
            id: transactions::id(random),
            until: time(random),
            writes: random.several(3, |random| (key(random), entry(random))),
        },
        6 => UpdateEffect::Status(transactions::status(random)),
        _ => UpdateEffect::Set {
            key: key(random),
            entry: entry(random),
        },
    };
    Update {
        counter: random.number(),
        topology: topology(random),
        effect,
        request: random.maybe(record),
    }
}

fn record(random: &mut Random) -> (RequestId, RequestRecord) {
    (
        request_id(random),
        RequestRecord {
            at: time(random),
            reply: reply(random),
        },
    )
}

fn transfer(random: &mut Random) -> TransferKind {
    random.pick(&[TransferKind::Load, TransferKind::Merge])
}

fn chunk(random: &mut Random) -> Chunk {
    Chunk {
        kind: transfer(random),
        session: random.number(),
        seq: random.small(),
        last: random.coin(),
        header: random.maybe(|random| {
            Box::new(TransferHeader {
                stream: topology(random),
                position: position(random),
                agreed: version(random),
                floor: version(random),
                seen: version(random),
                cleared_at: random.maybe(time),
                joined: topology(random),
                transactions: transactions::states(random),
                parted: random.several(3, |random| {
                    let (agreed, end) = (version(random), version(random));
                    (member(random), Parting { agreed, end })
                }),
            })
        }),
        entries: random.several(4, |random| (key(random), entry(random))),
        requests: random.several(4, record),
    }
}

fn position(random: &mut Random) -> WatchPosition {
    WatchPosition {
        counter: random.number(),
        topology: topology(random),
    }
}

fn event(random: &mut Random) -> Event {
    use EventKind::{Created, Evicted, Expired, Removed, Updated};
    Event {
        kind: random.pick(&[Created, Updated, Removed, Expired, Evicted]),
        counter: random.number(),
        entry: view_of_entry(random),
        previous: random.maybe(view_of_entry),
    }
}
