//! What each isolation level lets through: anomalies are looked for in the lists of each, found at none
//! that excludes them, and found where they are allowed, so that the search is known to work.

use crate::checkers::serial::{Anomaly, anomalies};
use crate::faults::Profile;
use crate::log::Detail;
use crate::plan::Plan;
use crate::run::run_plan;
use crate::session::STRICT;
use std::collections::BTreeMap;

/// Runs that are looked through.
const SEEDS: u64 = 6;

#[test]
fn anomalies_are_found_where_they_are_allowed_and_nowhere_else() {
    let mut found: BTreeMap<(bool, &str), u64> = BTreeMap::new();
    for seed in 0..SEEDS {
        let mut plan = Plan::of(seed, Profile::Undivided);
        plan.two_versions = false;
        plan.faults = Vec::new();
        plan.clients = 1;
        let report = run_plan(plan, Detail::Terse);
        for strict in [true, false] {
            let of = |list: usize| (list < STRICT) == strict;
            for anomaly in anomalies(&report.record.sessions, of) {
                let name = match anomaly {
                    // Seen and gone, or written over before anybody saw it.
                    Anomaly::LostUpdate { .. } | Anomaly::Missing { .. } => "lost update",
                    Anomaly::Cycle(name, _) => name,
                };
                *found.entry((strict, name)).or_default() += 1;
            }
        }
    }
    for ((strict, name), count) in &found {
        let level = if *strict {
            "REPEATABLE_READ, SERIALIZABLE"
        } else {
            "READ_COMMITTED"
        };
        println!("{level}: {name} {count} times in {SEEDS} runs");
    }
    assert!(found.keys().all(|(strict, _)| !strict), "{found:?}");
    let lost = (false, "lost update");
    assert!(found.contains_key(&lost), "nothing is found: {found:?}");
}
