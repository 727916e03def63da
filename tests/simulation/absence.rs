//! A node that was out for longer than tombstones are kept for it brings nothing back, and takes
//! nothing along that was created since: a script and not a draw, so that every case is there.

use crate::checkers::equal_copies;
use crate::clock::SECOND;
use crate::faults::Profile;
use crate::plan::Plan;
use crate::probing::id_of;
use crate::script::{KEYS, Script, replicated};
use crate::world::Happening;
use embergrid::types::Micros;
use embergrid::types::message::ViewChange;

/// Three servers that keep tombstones for who is absent for so long; nothing but the script happens.
fn plan(seed: u64, retention: Micros) -> Plan {
    let mut plan = Plan::quiet(seed, Profile::Split, 3, 200 * SECOND);
    for cache in &mut plan.caches {
        cache.tombstone_retention = retention;
    }
    plan
}

impl Script {
    fn keeping(seed: u64, retention: Micros) -> Self {
        Self::new(plan(seed, retention), replicated)
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

/// Nothing comes back of what was removed on either side while a node was out, and what was created
/// stays.
fn is_kept(script: &mut Script, node: usize) {
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

#[test]
fn who_was_out_for_long_brings_nothing_back_and_loses_nothing() {
    for (seed, node) in [(1, 0), (2, 1), (3, 2)] {
        is_kept(&mut Script::keeping(seed, SECOND), node);
    }
}

/// The same, where another server is out for good: what is agreed on without it counts for those
/// that are left.
#[test]
fn one_that_never_returns_does_not_stand_in_the_way() {
    let mut script = Script::keeping(5, SECOND);
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

/// A server that is out and has what was removed since: an operator gives up waiting for it, and it
/// returns. What lives is everywhere, what was removed nowhere; returns how many came back, and how
/// many were counted as stale.
fn forgotten(seed: u64) -> (usize, u64) {
    let keys = KEYS as u64;
    let mut script = Script::keeping(seed, 3600 * SECOND);
    for kind in ["kept", "removed-there"] {
        script.put(0, kind);
    }
    script.world.isolate(2);
    script.pass(12 * SECOND);
    script.remove(0, "removed-there");
    script.put(2, "new-there");
    script.pass(30 * SECOND);
    assert_eq!(script.tombstones(), 2 * keys, "one is out that may return");
    script.change(0, ViewChange::Forget(id_of(2)));
    script.pass(15 * SECOND);
    assert_eq!(script.tombstones(), 0, "nobody is waited for any more");
    script.world.heal();
    script.pass(12 * SECOND);
    for kind in ["kept", "new-there"] {
        assert_eq!(script.living(kind), [KEYS; 3], "{kind}");
    }
    script.world.record.copies = script.world.collect_copies();
    assert!(equal_copies::equal(&script.world.record));
    let returned = script.living("removed-there").iter().sum();
    (returned, script.stale())
}

#[test]
fn a_server_that_was_forgotten_brings_nothing_back() {
    for seed in [7, 9] {
        let (returned, stale) = forgotten(seed);
        assert_eq!(returned, 0, "seed {seed}");
        assert!(stale >= KEYS as u64, "seed {seed}: {stale} were counted");
    }
}

#[cfg(debug_assertions)]
#[test]
fn what_a_forgotten_server_brings_is_caught() {
    use crate::script::Planted;
    let _planted = Planted::new(embergrid::engine::planted::Fault::TrustReturned);
    let (returned, _) = forgotten(7);
    assert!(returned > 0, "the fault did nothing");
}

#[cfg(debug_assertions)]
#[test]
fn a_merge_in_one_direction_is_caught() {
    use embergrid::engine::planted::{Fault, plant};
    plant(Some(Fault::MergeOneWay));
    let mut returned = 0;
    for (seed, node) in [(1, 0), (2, 1), (3, 2)] {
        let mut script = Script::keeping(seed, SECOND);
        script.absence(node);
        for kind in ["removed-there", "removed-here"] {
            returned += script.living(kind).iter().sum::<usize>();
        }
    }
    plant(None);
    assert!(returned > 0, "the fault did nothing");
}
