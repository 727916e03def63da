//! What the times in the settings bound, on a clock of the test's own.

use super::*;
use crate::engine::planted;
use crate::types::message::Heartbeat;
use crate::types::time::MILLISECOND;
use crate::types::{Incarnation, Micros, NodeId};

fn node(id: u64) -> NodeInfo {
    NodeInfo {
        member: Member {
            id: NodeId(id),
            incarnation: Incarnation(id),
        },
        ..NodeInfo::default()
    }
}

fn at(milliseconds: u64) -> Monotonic {
    Monotonic(milliseconds * MILLISECOND)
}

/// A node whose list has itself and an address behind which nobody answers.
fn node_with(change: impl FnOnce(&mut GridOptions)) -> Membership {
    let mut options = GridOptions {
        endpoints: 2,
        ..GridOptions::of(node(1))
    };
    change(&mut options);
    let mut node = Membership::new(options, 7, at(0), 0);
    node.on_probe(0, ProbeOutcome::Myself, at(0));
    node.on_probe(1, ProbeOutcome::Silent, at(0));
    node
}

/// Calls the node whenever it wants to be called, up to a moment.
fn run(node: &mut Membership, until: Monotonic) {
    while node.next_timeout() <= until {
        let next = node.next_timeout();
        node.on_timeout(next);
    }
}

#[test]
fn heartbeats_come_at_their_interval() {
    let mut node = node_with(|options| options.heartbeat_interval = 30 * MILLISECOND);
    node.on_link_up(self::node(2), at(0));
    node.take_actions();
    run(&mut node, at(299));
    let sent = node.take_actions();
    let heartbeats = sent
        .iter()
        .filter(|action| matches!(action, Action::Send(_, Control::Heartbeat(_))));
    // At 0, 30, 60 … 270.
    assert_eq!(heartbeats.count(), 10);
}

#[test]
fn a_peer_is_suspected_at_the_ack_timeout_and_failed_250_ms_later() {
    let mut node = node_with(|options| {
        options.ack_timeout = 800 * MILLISECOND;
        options.heartbeat_interval = 80 * MILLISECOND;
        options.lease = 600 * MILLISECOND;
    });
    let peer = self::node(2);
    node.on_link_up(peer.clone(), at(0));
    let suspected = |node: &Membership| node.links[&peer.member].suspected;
    run(&mut node, at(799));
    assert_eq!(suspected(&node), None);
    run(&mut node, at(800));
    assert_eq!(suspected(&node), Some(at(800)));
    let called = node.take_actions();
    let called = called
        .iter()
        .any(|action| matches!(action, Action::Dial(called) if called.member == peer.member));
    assert!(called, "it is called once more");
    run(&mut node, at(1049));
    assert!(!node.failed.contains(&peer.member));
    run(&mut node, at(1050));
    assert!(node.failed.contains(&peer.member));
}

#[test]
fn the_time_of_another_cluster_is_taken_over_where_it_is_known_well_enough() {
    let knows = |round_trip: Micros, error_max: Micros| {
        let mut node = node_with(|options| options.clock_error_max = error_max);
        let peer = self::node(2);
        node.on_link_up(peer.clone(), at(0));
        let heartbeat = Heartbeat {
            sent: 1,
            echo: at(10).0,
            time_base: peer.member,
            ..Heartbeat::default()
        };
        let now = at(10).after(round_trip);
        node.on_control(peer.member, Control::Heartbeat(heartbeat), now);
        node.knows_time_of(peer.member, peer.member)
    };
    assert!(knows(40 * MILLISECOND, 40 * MILLISECOND));
    assert!(!knows(41 * MILLISECOND, 40 * MILLISECOND));
    assert!(knows(41 * MILLISECOND, 50 * MILLISECOND));
}

/// Two servers that form a cluster; messages arrive at once.
fn pair(lease: Micros) -> [Membership; 2] {
    pair_of([lease; 2])
}

/// The same with a lease for each of them.
fn pair_of(leases: [Micros; 2]) -> [Membership; 2] {
    let of = |id: u64, lease: Micros| {
        let options = GridOptions {
            endpoints: 2,
            heartbeat_interval: 50 * MILLISECOND,
            lease,
            ..GridOptions::of(node(id))
        };
        Membership::new(options, id, at(0), 0)
    };
    let mut pair = [of(1, leases[0]), of(2, leases[1])];
    for (own, other) in [(0, 1), (1, 0)] {
        let peer = node(other as u64 + 1);
        pair[own].on_probe(own, ProbeOutcome::Myself, at(0));
        pair[own].on_probe(other, ProbeOutcome::Peer(peer.member), at(0));
        pair[own].on_link_up(peer, at(0));
    }
    pair
}

fn deliver(pair: &mut [Membership; 2], now: Monotonic) {
    loop {
        let mut quiet = true;
        for own in [0, 1] {
            for action in pair[own].take_actions() {
                quiet = false;
                let from = pair[own].me;
                let other = 1 - own;
                match action {
                    Action::Send(_, control) => pair[other].on_control(from, control, now),
                    Action::Collect(to, collected) if to == from => {
                        pair[own].on_collected(from, collected, now);
                    }
                    Action::Collect(_, collected) => {
                        pair[other].on_control(from, Control::Collected(collected), now);
                    }
                    _ => {}
                }
            }
        }
        if quiet {
            return;
        }
    }
}

#[test]
fn a_lease_lasts_as_long_as_it_is_set_from_the_last_heartbeat_that_came_back() {
    let (short, long) = (300 * MILLISECOND, 600 * MILLISECOND);
    // Where they differ, the shortest counts for all: whoever has it goes on first without a peer.
    for (leases, lease) in [
        ([short, short], short),
        ([long, long], long),
        ([short, long], short),
        ([long, short], short),
    ] {
        let mut pair = pair_of(leases);
        let mut now = at(0);
        while now <= at(3000) {
            for own in &mut pair {
                if own.next_timeout() <= now {
                    own.on_timeout(now);
                }
            }
            deliver(&mut pair, now);
            now = now.after(MILLISECOND);
        }
        for own in &pair {
            assert_eq!(own.view.nodes.len(), 2, "one cluster");
            let left = own.lease_until().since(now);
            let heartbeats = 2 * 50 * MILLISECOND;
            assert!(
                left <= lease && left + heartbeats >= lease,
                "{left} of {lease}"
            );
        }
    }
}

/// Lets two servers talk, message by message at once, up to a moment.
fn talk(pair: &mut [Membership; 2], until: Monotonic) {
    let mut now = at(0);
    while now <= until {
        for own in pair.iter_mut() {
            if own.next_timeout() <= now {
                own.on_timeout(now);
            }
        }
        deliver(pair, now);
        now = now.after(MILLISECOND);
    }
}

#[test]
fn whose_clock_is_astray_by_more_than_the_limit_knows_it() {
    for (error_max, astray) in [(50, false), (50, true), (200, true), (400, true)] {
        let mut pair = pair(600 * MILLISECOND);
        for own in &mut pair {
            own.options.clock_error_max = error_max * MILLISECOND;
        }
        // Whoever follows is 300 ms off.
        planted::plant(astray.then_some(planted::Fault::ClockAstray));
        talk(&mut pair, at(3000));
        planted::plant(None);
        let known = astray && error_max < 300;
        for own in &pair {
            assert_eq!(own.view.nodes.len(), 2, "one cluster");
            let follows = own.view.coordinator().map(|node| node.member) != Some(own.me);
            let apart = own.clock_apart();
            if known && follows {
                assert!((250..=300).contains(&(apart / MILLISECOND)), "{apart}");
            } else {
                assert_eq!(apart, 0, "{error_max} {astray} {follows}");
            }
        }
    }
}

#[test]
fn a_node_not_in_its_list_gives_up_at_the_join_timeout_unless_one_may_be_its_own() {
    let told = |unanswered_elsewhere: bool| {
        let mut options = GridOptions {
            endpoints: 2,
            ..GridOptions::of(node(1))
        };
        if unanswered_elsewhere {
            options.elsewhere.insert(1);
        }
        let mut node = Membership::new(options, 7, at(0), 0);
        node.on_probe(0, ProbeOutcome::Refused, at(0));
        run(&mut node, at(900));
        assert!(!node.done);
        run(&mut node, at(1300));
        node
    };
    assert!(told(true).done);
    let mut waits = told(false);
    assert!(!waits.done, "what has not answered may be this node itself");
    waits.on_probe(1, ProbeOutcome::Silent, at(1400));
    assert!(waits.done);
}

/// What a coordinator of a cluster of so many servers says.
fn tells_of(coordinator: &NodeInfo, servers: u32) -> Control {
    Control::Heartbeat(Heartbeat {
        sent: 1,
        view: TopologyVersion {
            number: 1,
            coordinator: coordinator.member,
        },
        servers,
        coordinator: coordinator.member,
        ..Heartbeat::default()
    })
}

/// Whom a node asked to be taken in by, the last time.
fn asked(node: &mut Membership) -> Option<Member> {
    let join = |action: Action| match action {
        Action::Send(to, Control::Join(_)) => Some(to),
        _ => None,
    };
    node.take_actions().into_iter().rev().find_map(join)
}

#[test]
fn whoever_fell_silent_is_not_asked_to_be_taken_in_by_though_its_cluster_was_the_larger_one() {
    let mut node = node_with(|_| {});
    let (larger, smaller) = (self::node(2), self::node(3));
    node.on_link_up(larger.clone(), at(0));
    node.on_link_up(smaller.clone(), at(0));
    node.on_control(larger.member, tells_of(&larger, 3), at(1));
    node.on_control(smaller.member, tells_of(&smaller, 2), at(1));
    run(&mut node, at(200));
    assert_eq!(asked(&mut node), Some(larger.member));
    // The larger one's coordinator stands still, with its connection open.
    for moment in (300..=3000).step_by(100) {
        run(&mut node, at(moment));
        node.on_control(smaller.member, tells_of(&smaller, 2), at(moment));
    }
    node.take_actions();
    run(&mut node, at(3300));
    assert_eq!(asked(&mut node), Some(smaller.member));
    node.on_control(larger.member, tells_of(&larger, 3), at(3300));
    run(&mut node, at(3500));
    assert_eq!(asked(&mut node), Some(larger.member));
}
