//! What ends by its time while a server stands still ends once, for whoever watches, though a third
//! server is out, so that nothing is agreed on by all: a script and not a draw.

use crate::caches::Use;
use crate::clock::SECOND;
use crate::faults::Profile;
use crate::history::Outcome;
use crate::log::Detail;
use crate::plan::Plan;
use crate::record::Seen;
use crate::world::World;
use embergrid::types::cache::partition_of;
use embergrid::types::message::EventKind;
use embergrid::types::{
    Blob, CacheMode, CacheSettings, Condition, Expiry, KeyOperation, Operation, Reply, Request,
};
use std::collections::BTreeMap;

const KEYS: usize = 24;
/// The server whose watchers are asked, the one that stands still, and the one that is out.
const WATCHES: usize = 0;
const STANDS: usize = 1;
const IS_OUT: usize = 2;

/// Three servers; nothing but the script happens.
fn world(seed: u64) -> World {
    let plan = Plan::quiet(seed, Profile::Undivided, 3, 100 * SECOND);
    let mut world = World::new(plan, Detail::Terse);
    world.clients.stopped = true;
    world
}

fn pass(world: &mut World, span: u64) {
    world.run_until(world.now + span);
    assert_eq!(world.broken, Vec::<String>::new());
}

/// A key that lives for three seconds is put at the watching server.
fn put(world: &mut World, cache: usize, settings: &CacheSettings, number: usize) -> usize {
    let key = Blob::from(format!("key-{number}").as_str());
    let operation = KeyOperation::Put {
        value: Blob::from("value"),
        flags: 0,
        expiry: Expiry::Set {
            time_to_live: Some(3 * SECOND),
            time_to_idle: None,
        },
        condition: Condition::Any,
        return_previous: false,
    };
    let request = Request {
        cache: settings.id(),
        partition: partition_of(&key, settings.partitions),
        operation: Operation::Key { key, operation },
        request_id: None,
    };
    world.ask_at(WATCHES, cache, request)
}

/// How often each key was told to begin and to end.
fn told(world: &World, settings: &CacheSettings) -> BTreeMap<Blob, (u32, u32)> {
    let mut told: BTreeMap<Blob, (u32, u32)> = BTreeMap::new();
    let of_node = world.record.watched.iter();
    let of_node = of_node.filter(|((node, _), _)| *node == WATCHES);
    for seen in of_node.flat_map(|(_, seen)| seen) {
        let Seen::Events(delivery) = &seen.1 else {
            continue;
        };
        if delivery.cache != settings.id() {
            continue;
        }
        for event in &delivery.events {
            let told = told.entry(event.entry.key.clone()).or_default();
            match event.kind {
                EventKind::Created => told.0 += 1,
                EventKind::Expired => told.1 += 1,
                other => panic!("{other:?} of {:?}", event.entry.key),
            }
        }
    }
    told
}

#[test]
fn what_ends_while_a_server_stands_still_is_told_once_though_a_third_is_out() {
    for seed in [1, 2, 3] {
        let mut world = world(seed);
        let plan = &world.plan;
        let is_meant = |place: &usize| {
            let cache = &plan.caches[*place];
            plan.uses[*place] == Use::Registers
                && cache.mode == CacheMode::Replicated
                && cache.full_sync()
                && !cache.stops()
        };
        let cache = (0..plan.caches.len()).find(is_meant).expect("there is one");
        let settings = plan.caches[cache].clone();
        pass(&mut world, 5 * SECOND);
        world.pause(IS_OUT, 90 * SECOND);
        pass(&mut world, 8 * SECOND);
        let calls: Vec<usize> = (0..KEYS)
            .map(|number| put(&mut world, cache, &settings, number))
            .collect();
        pass(&mut world, SECOND);
        for call in calls {
            let outcome = &world.record.history.calls[call].outcome;
            let stored = matches!(outcome, Outcome::Ok(Reply::Put { applied: true, .. }));
            assert!(stored, "{outcome:?}");
        }
        world.pause(STANDS, 8 * SECOND);
        pass(&mut world, 20 * SECOND);
        let told = told(&world, &settings);
        assert_eq!(told.len(), KEYS, "seed {seed}: {told:?}");
        assert!(
            told.values().all(|told| *told == (1, 1)),
            "seed {seed}: {told:?}"
        );
    }
}
