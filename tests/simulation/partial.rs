//! Some pairs of servers do not reach each other, while all reach others: the cluster goes on with the
//! largest set of servers that all reach each other, of equal ones that with the oldest, and with all
//! once the wires are back.

use crate::clock::SECOND;
use crate::faults::Profile;
use crate::plan::Plan;
use crate::script::{Script, replicated};
use std::collections::BTreeSet;

/// By age: how many servers, the pairs that are cut, and who goes on.
type Case = (usize, &'static [(usize, usize)], &'static [usize]);

const CASES: &[Case] = &[
    // Of equal sets that with the oldest, whoever it is that cannot reach whom.
    (3, &[(0, 1)], &[0, 2]),
    (4, &[(0, 1)], &[0, 2, 3]),
    (4, &[(2, 3)], &[0, 1, 2]),
    // One that cannot reach two, be it the oldest.
    (5, &[(0, 1), (0, 2)], &[1, 2, 3, 4]),
    (5, &[(0, 3), (0, 4)], &[1, 2, 3, 4]),
    (5, &[(1, 3), (1, 4)], &[0, 2, 3, 4]),
    (6, &[(0, 2), (0, 3), (0, 5)], &[1, 2, 3, 4, 5]),
    // Two pairs apart: one of each goes.
    (6, &[(0, 5), (1, 4)], &[0, 1, 2, 3]),
];

/// Who is in a view together at the end of a partial cut, by age, and for each such view where not
/// everybody in it installed it, that. Then all wires are back, and all servers are in one view.
fn survivors(seed: u64, (servers, cuts, _): &Case) -> BTreeSet<Vec<usize>> {
    let mut plan = Plan::quiet(seed, Profile::Undivided, *servers, 60 * SECOND);
    plan.without_stopping();
    let mut script = Script::new(plan, replicated);
    let order = script.places(&script.view(0));
    assert_eq!(order.len(), *servers, "they have formed one cluster");
    for (a, b) in *cuts {
        script.world.part(&[order[*a]], &[order[*b]]);
    }
    // Those who give a silent link up do so within eight seconds; the detector at two and a quarter.
    script.pass(4 * SECOND);
    let mut views = BTreeSet::new();
    for &node in &order {
        let view = script.view(node);
        let members = script.places(&view);
        let same = |member: &usize| script.view(*member).version == view.version;
        if members.iter().all(same) {
            let age = |place| order.iter().position(|other| *other == place);
            let mut ages: Vec<usize> = members.into_iter().filter_map(age).collect();
            ages.sort_unstable();
            views.insert(ages);
        }
    }
    script.world.heal();
    script.pass(12 * SECOND);
    let version = script.view(0).version;
    for node in 0..*servers {
        assert_eq!(script.view(node).version, version, "seed {seed}: n{node}");
        assert_eq!(script.view(node).nodes.len(), *servers, "seed {seed}");
    }
    views
}

#[test]
fn the_largest_set_of_servers_that_reach_each_other_goes_on() {
    for case in CASES {
        for seed in 1..=3 {
            let views = survivors(seed, case);
            assert!(views.contains(case.2), "seed {seed}, {case:?}: {views:?}");
            let split = views.iter().find(|view| **view != case.2 && view.len() > 1);
            assert_eq!(split, None, "seed {seed}, {case:?}");
        }
    }
}

#[cfg(debug_assertions)]
#[test]
fn a_peer_held_dead_that_others_reach_is_caught() {
    use crate::script::Planted;
    let _planted = Planted::new(embergrid::engine::planted::Fault::ForgetOthersReach);
    let case = &CASES[4];
    let views = survivors(1, case);
    assert!(!views.contains(case.2), "the fault did nothing: {views:?}");
}
