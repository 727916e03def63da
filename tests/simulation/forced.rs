//! An operator gives up a majority that then returns after all: in a cache that stops in a minority,
//! what the lost ones alone had is dropped, and what was made primary by force stays.

use crate::checkers::equal_copies;
use crate::clock::SECOND;
use crate::faults::Profile;
use crate::plan::Plan;
use crate::script::{KEYS, Script, replicated};
use embergrid::types::CacheSettings;
use embergrid::types::message::ViewChange;

/// Forces a server to be primary that is cut off from the two others, has both sides write, and lets
/// them meet: how many keys of each kind live then, at every node.
fn given_up(seed: u64) -> [Vec<usize>; 4] {
    let mut plan = Plan::quiet(seed, Profile::Split, 3, 90 * SECOND);
    plan.with_stopping();
    let stops = |cache: &CacheSettings| cache.stops() && replicated(cache);
    let mut script = Script::new(plan, stops);
    for kind in ["kept", "removed-there"] {
        script.put(0, kind);
    }
    script.world.isolate(0);
    script.pass(8 * SECOND);
    assert!(!script.view(0).primary && script.view(1).primary);
    script.put(1, "new-there");
    script.remove(1, "removed-there");
    script.change(0, ViewChange::ForcePrimary);
    assert!(script.view(0).primary, "seed {seed}");
    script.pass(3 * SECOND);
    script.put(0, "new-here");
    script.world.heal();
    script.pass(15 * SECOND);
    assert!(script.view(1).primary && script.view(1).nodes.len() == 3);
    script.world.record.copies = script.world.collect_copies();
    assert!(equal_copies::equal(&script.world.record), "seed {seed}");
    ["kept", "removed-there", "new-here", "new-there"].map(|kind| script.living(kind))
}

#[test]
fn what_was_given_up_is_dropped_where_it_returns() {
    for seed in 1..=3 {
        let [kept, removed, here, there] = given_up(seed);
        // The remove was acknowledged by those alone who were given up.
        for (kind, living) in [
            ("kept", kept),
            ("removed-there", removed),
            ("new-here", here),
        ] {
            assert_eq!(living, [KEYS; 3], "seed {seed}: {kind}");
        }
        assert_eq!(there, [0; 3], "seed {seed}");
    }
}
