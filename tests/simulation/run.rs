//! One run from its seed to its verdict.

use crate::checkers::{self, Findings, equal_copies};
use crate::clock::MS;
use crate::faults::Profile;
use crate::log::Detail;
use crate::plan::Plan;
use crate::record::Record;
use crate::world::World;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Copies that differ because something is on its way are looked at again so often.
const LOOKS_MAX: u32 = 10;

pub struct Report {
    pub seed: u64,
    pub profile: Profile,
    pub record: Record,
    pub findings: Vec<(&'static str, Findings)>,
}

impl Report {
    pub fn violations(&self) -> impl Iterator<Item = (&'static str, &String)> {
        let all = self.findings.iter();
        all.flat_map(|(name, found)| {
            found
                .violations
                .iter()
                .map(move |violation| (*name, violation))
        })
    }
}

/// The profile of a seed in a sample that is spread over all.
pub fn profile_of(seed: u64) -> Profile {
    match seed % 5 {
        0 | 1 => Profile::Undivided,
        2 | 3 => Profile::Split,
        _ => Profile::Start,
    }
}

/// Runs a seed under the profile that belongs to it.
pub fn run(seed: u64, detail: Detail) -> Report {
    run_plan(Plan::of(seed, profile_of(seed)), detail)
}

pub fn run_plan(plan: Plan, detail: Detail) -> Report {
    let (seed, profile) = (plan.seed, plan.profile);
    let result = catch_unwind(AssertUnwindSafe(|| simulate(plan, detail)));
    let (record, broken) = match result {
        Ok(done) => done,
        Err(panic) => {
            let words = panic.downcast_ref::<String>().cloned();
            let words =
                words.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
            let record = Record {
                profile,
                ..Record::default()
            };
            (
                record,
                vec![format!("panic: {}", words.unwrap_or_default())],
            )
        }
    };
    let findings = if broken.is_empty() {
        checkers::ALL
            .iter()
            .map(|(name, check)| (*name, check(&record)))
            .collect()
    } else {
        vec![(
            "world",
            Findings {
                violations: broken,
                ..Findings::default()
            },
        )]
    };
    Report {
        seed,
        profile,
        record,
        findings,
    }
}

fn simulate(plan: Plan, detail: Detail) -> (Record, Vec<String>) {
    let (compare, end) = (plan.compare, plan.end);
    let mut world = World::new(plan, detail);
    world.run_until(compare);
    if !world.broken.is_empty() {
        return (world.record, world.broken);
    }
    for look in 1..=LOOKS_MAX {
        world.record.copies = world.collect_copies();
        if equal_copies::equal(&world.record) {
            break;
        }
        world.run_until(compare + u64::from(look) * 20 * MS);
    }
    world.record.compared_at = world.now;
    world.read_everything();
    world.run_until(end);
    world.collect_end();
    (world.record, world.broken)
}
