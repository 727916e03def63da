//! Random messages between nodes, of every kind.

use crate::partitions::data;
use crate::random::Random;
use crate::values::{
    cache, error, member, node, partition, reply, request, settings, time, topology,
};
use embergrid::types::hello::Hello;
use embergrid::types::message::{
    Collected, Control, Forward, ForwardReply, Heartbeat, Holdings, Join, KnownCache, Message,
    Progress, Refused, ViewChange,
};
use embergrid::types::view::{Departed, ViewCache};
use embergrid::types::{CacheId, PartitionOwners, Primaries, PrimaryView, View};

pub fn message(random: &mut Random) -> Message {
    match random.below(6) {
        0 | 1 => Message::Control(control(random)),
        2 | 3 => Message::Data(data(random)),
        4 => Message::Forward(Forward {
            id: random.number(),
            topology: topology(random),
            deadline: embergrid::types::ClusterTime(random.number()),
            request: request(random),
        }),
        _ => Message::ForwardReply(ForwardReply {
            id: random.number(),
            result: if random.coin() {
                Ok(reply(random))
            } else {
                Err(error(random))
            },
        }),
    }
}

pub fn hello(random: &mut Random) -> Hello {
    Hello {
        cluster_name: random.text(10),
        protocol: random.small(),
        protocol_min: random.small(),
        info: node(random),
        caches: random.several(3, settings),
        quorum_of: random.maybe(Random::small),
        ticket_keys: random.several(3, Random::number),
        digest_key: random.maybe(Random::number),
        in_cluster: random.maybe(Random::number).is_some(),
    }
}

fn primaries(random: &mut Random) -> Primaries {
    let view = |random: &mut Random| PrimaryView {
        version: topology(random),
        servers: random.several(5, member),
        lease: random.number(),
    };
    Primaries {
        last: random.maybe(view),
        prepared: random.several(3, view),
        leavers: random.several(2, member).into_iter().collect(),
        closed_for: random.number(),
    }
}

fn control(random: &mut Random) -> Control {
    match random.below(15) {
        0 => Control::Heartbeat(heartbeat(random)),
        1 => Control::AskReach {
            suspect: member(random),
        },
        2 => Control::Reach {
            suspect: member(random),
            heard_ago: random.maybe(Random::number),
        },
        3 => Control::Join(Join {
            view: view(random),
            nodes: random.several(4, node),
        }),
        4 => Control::Collect {
            version: topology(random),
            nodes: random.several(4, node),
        },
        5 => Control::Collected(collected(random)),
        6 => Control::Prepare { view: view(random) },
        7 => Control::Prepared {
            version: topology(random),
        },
        8 => Control::Refused(Refused {
            version: topology(random),
            promised: topology(random),
            unreachable: random.several(4, member),
        }),
        9 => Control::Commit {
            version: topology(random),
        },
        10 => Control::Leave(primaries(random)),
        11 => Control::Progress(Progress {
            topology: topology(random),
            loaded: random.several(8, |random| (cache(random), partition(random))),
            merged: random.several(8, |random| (cache(random), partition(random))),
        }),
        12 => Control::ChangeView {
            id: random.number(),
            change: match random.below(6) {
                0 => ViewChange::Create(Box::new(settings(random))),
                1 => ViewChange::Drop(cache(random)),
                2 => ViewChange::ResetLost(cache(random)),
                3 => ViewChange::Forget(member(random).id),
                4 => ViewChange::ForcePrimary,
                _ => ViewChange::Drain(member(random)),
            },
        },
        13 => Control::ViewChanged {
            id: random.number(),
            result: if random.coin() {
                Ok(())
            } else {
                Err(error(random))
            },
        },
        _ => Control::Unreachable {
            peers: random.several(4, member),
        },
    }
}

fn heartbeat(random: &mut Random) -> Heartbeat {
    Heartbeat {
        sent: random.number(),
        echo: random.number(),
        echo_age: random.number(),
        cluster_time: time(random),
        time_base: member(random),
        view: topology(random),
        in_view: random.coin(),
        servers: random.small(),
        coordinator: member(random),
        renounced: random.coin(),
        vouches: random.coin(),
    }
}

fn collected(random: &mut Random) -> Collected {
    let holdings = |random: &mut Random| Holdings {
        cache: cache(random),
        complete: random.several(4, |random| {
            let first = partition(random);
            let count = u32::try_from(random.below(u64::from(65_537 - first))).unwrap();
            (first, count, topology(random))
        }),
        retired: random.several(3, partition).into_iter().collect(),
    };
    Collected {
        version: topology(random),
        committed: topology(random),
        holdings: random.several(3, holdings),
        caches: random.several(3, |random| KnownCache {
            settings: settings(random),
            created_at: time(random),
            founded: random.coin(),
        }),
        dropped: random.several(3, |random| (cache(random), time(random))),
        departed: random.several(3, departed),
        draining: random.several(2, member).into_iter().collect(),
        primaries: primaries(random),
    }
}

fn departed(random: &mut Random) -> Departed {
    Departed {
        member: member(random),
        at: time(random),
    }
}

/// Tables fit their caches and name places that nodes have: another one is refused.
fn view(random: &mut Random) -> View {
    let nodes = random.several(5, node);
    let caches = random.several(3, |random| view_cache(random, nodes.len()));
    View {
        version: topology(random),
        caches: caches
            .into_iter()
            .map(|cache| (cache.settings.id(), cache))
            .collect(),
        dropped: random
            .several(3, |random| {
                (CacheId(random.small().cast_signed()), time(random))
            })
            .into_iter()
            .collect(),
        departed: random.several(3, departed),
        draining: random.several(2, member).into_iter().collect(),
        time_base: member(random),
        primary: random.coin(),
        closed_for: random.number(),
        nodes,
    }
}

fn view_cache(random: &mut Random, nodes: usize) -> ViewCache {
    let settings = settings(random);
    let places = |random: &mut Random| match nodes {
        0 => Vec::new(),
        _ => random.several(3, |random| u16::try_from(random.place(nodes)).unwrap()),
    };
    let full = random.coin();
    let partitions = if random.below(4) == 0 {
        0
    } else {
        settings.partitions
    };
    let table = (0..partitions)
        .map(|_| PartitionOwners {
            owners: places(random),
            loading: if full { places(random) } else { Vec::new() },
            sources: if full { places(random) } else { Vec::new() },
        })
        .collect();
    ViewCache {
        settings,
        created_at: time(random),
        table,
        founded: random.coin(),
    }
}
