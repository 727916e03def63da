//! A node that was out for longer than tombstones are kept for it brings nothing back, and takes
//! nothing along that was created since: a script and not a draw, so that every case is there.

use crate::clock::SECOND;
use crate::faults::Profile;
use crate::log::Detail;
use crate::plan::Plan;
use crate::world::{Happening, World};
use crate::{checkers::equal_copies, history::Outcome};
use embergrid::types::{
    Blob, CacheMode, Condition, Expiry, KeyOperation, Micros, Operation, Reply, Request,
    cache::partition_of,
};

/// Keys of each kind.
const KEYS: usize = 12;

/// Three servers that keep tombstones for who is absent for so long; nothing but the script happens.
fn plan(seed: u64, retention: Micros) -> Plan {
    let mut plan = Plan::quiet(seed, Profile::Split, 3, 200 * SECOND);
    for cache in &mut plan.caches {
        cache.tombstone_retention = retention;
    }
    plan
}

struct Script {
    world: World,
    /// The cache of all keys.
    cache: usize,
}

impl Script {
    fn new(seed: u64) -> Self {
        Self::keeping(seed, SECOND)
    }

    fn keeping(seed: u64, retention: Micros) -> Self {
        let mut world = World::new(plan(seed, retention), Detail::Terse);
        // No clients but those of the script.
        world.clients.stopped = true;
        let replicated = |cache: &embergrid::types::CacheSettings| {
            cache.mode == CacheMode::Replicated && cache.full_sync()
        };
        let cache = world.plan.caches.iter().position(replicated);
        let mut script = Self {
            cache: cache.expect("there is one"),
            world,
        };
        script.pass(3 * SECOND);
        script
    }

    fn pass(&mut self, span: u64) {
        self.world.run_until(self.world.now + span);
        assert_eq!(self.world.broken, Vec::<String>::new());
    }

    /// Does the same with all keys of a kind at a node.
    fn each(&mut self, node: usize, kind: &str, operation: &KeyOperation) -> Vec<Reply> {
        let settings = self.world.plan.caches[self.cache].clone();
        let calls: Vec<usize> = (0..KEYS)
            .map(|number| {
                let key = Blob::from(format!("{kind}-{number}").as_str());
                let request = Request {
                    cache: settings.id(),
                    partition: partition_of(&key, settings.partitions),
                    operation: Operation::Key {
                        key,
                        operation: operation.clone(),
                    },
                    request_id: None,
                };
                self.world.ask_at(node, self.cache, request)
            })
            .collect();
        self.pass(3 * SECOND);
        let calls = calls
            .iter()
            .map(|call| &self.world.record.history.calls[*call]);
        calls
            .map(|call| match &call.outcome {
                Outcome::Ok(reply) => reply.clone(),
                other => panic!("{other:?} of {:?} at n{node}", call.request),
            })
            .collect()
    }

    fn put(&mut self, node: usize, kind: &str) {
        let put = KeyOperation::Put {
            value: Blob::from(kind),
            flags: 0,
            expiry: Expiry::Default,
            condition: Condition::Any,
            return_previous: false,
        };
        for reply in self.each(node, kind, &put) {
            assert!(
                matches!(reply, Reply::Put { applied: true, .. }),
                "{reply:?}"
            );
        }
    }

    fn remove(&mut self, node: usize, kind: &str) {
        let remove = KeyOperation::Remove {
            condition: Condition::Any,
            return_previous: false,
        };
        for reply in self.each(node, kind, &remove) {
            assert!(
                matches!(reply, Reply::Removed { applied: true, .. }),
                "{reply:?}"
            );
        }
    }

    /// How many keys of a kind live, at every node.
    fn living(&mut self, kind: &str) -> Vec<usize> {
        let get = KeyOperation::Get {
            touch: None,
            omit_value: false,
        };
        let live = |reply: &Reply| matches!(reply, Reply::Got { entry: Some(_) });
        let nodes = 0..self.world.nodes.len();
        nodes
            .filter(|node| self.world.nodes[*node].up())
            .collect::<Vec<_>>()
            .into_iter()
            .map(|node| {
                self.each(node, kind, &get)
                    .iter()
                    .filter(|reply| live(reply))
                    .count()
            })
            .collect()
    }

    fn tombstones(&self) -> u64 {
        let id = self.world.plan.caches[self.cache].id();
        let processes = self
            .world
            .nodes
            .iter()
            .filter_map(|node| node.process.as_ref());
        processes
            .map(|process| process.grid.sizes(id).tombstones)
            .sum()
    }

    fn stale(&self) -> u64 {
        let processes = self
            .world
            .nodes
            .iter()
            .filter_map(|node| node.process.as_ref());
        processes
            .map(|process| process.grid.tally().stale_dropped.get())
            .sum()
    }

    /// Splits `node` off, has things happen on both sides, waits until nobody remembers the
    /// removes, and lets the sides meet.
    fn absence(&mut self, node: usize) {
        let other = (node + 1) % 3;
        for kind in ["kept", "removed-there", "removed-here", "removed-by-both"] {
            self.put(0, kind);
        }
        self.world.isolate(node);
        self.pass(12 * SECOND);
        self.remove(other, "removed-there");
        self.remove(node, "removed-here");
        self.remove(node, "removed-by-both");
        self.remove(other, "removed-by-both");
        self.put(node, "new-here");
        self.put(other, "new-there");
        self.put(node, "come-and-gone");
        self.remove(node, "come-and-gone");
        assert!(self.tombstones() > 0);
        self.pass(15 * SECOND);
        assert_eq!(self.tombstones(), 0, "tombstones are kept for nobody");
        self.world.heal();
        self.pass(12 * SECOND);
        self.world.record.copies = self.world.collect_copies();
        assert!(equal_copies::equal(&self.world.record));
    }
}

#[test]
fn who_was_out_for_long_brings_nothing_back_and_loses_nothing() {
    for (seed, node) in [(1, 0), (2, 1), (3, 2)] {
        let mut script = Script::new(seed);
        script.absence(node);
        for kind in ["kept", "new-here", "new-there"] {
            assert_eq!(script.living(kind), [KEYS; 3], "{kind}, n{node} was out");
        }
        for kind in [
            "removed-there",
            "removed-here",
            "removed-by-both",
            "come-and-gone",
        ] {
            assert_eq!(script.living(kind), [0; 3], "{kind}, n{node} was out");
        }
        assert!(
            script.stale() >= KEYS as u64,
            "what came back was not counted"
        );
    }
}

/// The same, where another server is out for good: what is agreed on without it counts for those
/// that are left.
#[test]
fn one_that_never_returns_does_not_stand_in_the_way() {
    let mut script = Script::new(5);
    script.world.kill(2);
    script.pass(20 * SECOND);
    script.put(0, "kept");
    script.put(0, "removed-there");
    script.world.isolate(1);
    script.pass(12 * SECOND);
    script.remove(0, "removed-there");
    script.put(1, "new-here");
    script.pass(15 * SECOND);
    script.world.heal();
    script.pass(12 * SECOND);
    for (kind, count) in [("kept", KEYS), ("new-here", KEYS), ("removed-there", 0)] {
        assert_eq!(script.living(kind), [count; 2], "{kind}");
    }
}

/// Tombstones are kept while a server is out that may return with what they fight, and no longer.
#[test]
fn tombstones_are_kept_as_long_as_they_may_be_needed_and_counted() {
    let keys = KEYS as u64;
    let mut script = Script::keeping(4, 3600 * SECOND);
    for kind in ["nobody-out", "returns", "begins-anew"] {
        script.put(0, kind);
    }
    script.remove(0, "nobody-out");
    assert_eq!(
        script.tombstones(),
        3 * keys,
        "each server has one for each key"
    );
    script.pass(15 * SECOND);
    assert_eq!(script.tombstones(), 0, "nobody is out");

    script.world.isolate(2);
    script.pass(12 * SECOND);
    script.remove(0, "returns");
    script.pass(30 * SECOND);
    assert_eq!(script.tombstones(), 2 * keys, "one is out that may return");
    script.world.heal();
    script.pass(12 * SECOND);
    assert_eq!(script.living("returns"), [0; 3], "they were still there");
    script.pass(15 * SECOND);
    assert_eq!(script.tombstones(), 0, "it has returned");

    script.world.isolate(2);
    script.pass(12 * SECOND);
    script.remove(0, "begins-anew");
    script.world.kill(2);
    script.pass(20 * SECOND);
    assert_eq!(
        script.tombstones(),
        2 * keys,
        "nobody knows that it has ended"
    );
    script.world.heal();
    script.world.after(0, Happening::Start(2));
    script.pass(25 * SECOND);
    assert_eq!(script.living("begins-anew"), [0; 3], "nothing came back");
    assert_eq!(script.tombstones(), 0, "its new life has no data");
}

#[cfg(debug_assertions)]
#[test]
fn a_merge_in_one_direction_is_caught() {
    use embergrid::engine::planted::{Fault, plant};
    plant(Some(Fault::MergeOneWay));
    let mut returned = 0;
    for (seed, node) in [(1, 0), (2, 1), (3, 2)] {
        let mut script = Script::new(seed);
        script.absence(node);
        for kind in ["removed-there", "removed-here"] {
            returned += script.living(kind).iter().sum::<usize>();
        }
    }
    plant(None);
    assert!(returned > 0, "the fault did nothing");
}
