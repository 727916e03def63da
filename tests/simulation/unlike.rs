//! Caches of one name with other settings on the two sides of a split: neither side ends what the other
//! holds, and whoever coordinates tells both values.

use crate::clock::SECOND;
use crate::faults::Profile;
use crate::history::Outcome;
use crate::plan::Plan;
use crate::script::{GET, Script as Stage, put};
use embergrid::engine::Notice;
use embergrid::types::{Blob, CacheSettings, KeyOperation, Reply};

struct Script {
    stage: Stage,
    /// The place of the first cache that is made.
    made: usize,
}

impl Script {
    fn new() -> Self {
        let plan = Plan::quiet(11, Profile::Split, 3, 300 * SECOND);
        let made = plan.caches.len();
        let stage = Stage::new(plan, |_| true);
        Self { stage, made }
    }

    /// A node makes a cache, known as that of its place here.
    fn make(&mut self, node: usize, partitions: u32) {
        let settings = CacheSettings {
            partitions,
            ..CacheSettings::named("made")
        };
        let same = self.stage.world.plan.uses[0];
        self.stage.world.plan.uses.push(same);
        self.stage.world.plan.caches.push(settings.clone());
        self.stage.world.change_cache(node, settings, true);
        self.stage.pass(3 * SECOND);
    }

    fn drop(&mut self, node: usize) {
        let settings = self.stage.world.plan.caches[self.made].clone();
        self.stage.world.change_cache(node, settings, false);
        self.stage.pass(3 * SECOND);
    }

    fn ask(&mut self, node: usize, cache: usize, operation: &KeyOperation) -> Option<Reply> {
        self.stage.cache = self.made + cache;
        let call = self.stage.ask(node, "key", operation, None);
        self.stage.pass(3 * SECOND);
        match &self.stage.world.record.history.calls[call].outcome {
            Outcome::Ok(reply) => Some(reply.clone()),
            _ => None,
        }
    }

    fn put(&mut self, node: usize, cache: usize, value: &str) {
        let reply = self.ask(node, cache, &put(value));
        assert!(
            matches!(reply, Some(Reply::Put { applied: true, .. })),
            "{reply:?}"
        );
    }

    fn get(&mut self, node: usize, cache: usize) -> Option<Blob> {
        match self.ask(node, cache, &GET) {
            Some(Reply::Got { entry }) => Some(entry?.value),
            _ => None,
        }
    }

    /// How many nodes each of them has in its view.
    fn views(&self) -> Vec<usize> {
        let nodes = self.stage.world.nodes.iter();
        let grids = nodes.filter_map(|node| node.process.as_ref());
        grids
            .map(|process| process.grid.view().nodes.len())
            .collect()
    }

    /// What nodes were told of caches that differ.
    fn differences(&self) -> Vec<String> {
        let notices = self.stage.world.record.notices.iter();
        let told = notices.filter_map(|(_, _, notice)| match notice {
            Notice::SettingsDiffer { difference, .. } => Some(difference.clone()),
            _ => None,
        });
        told.collect()
    }
}

#[test]
fn halves_that_made_a_cache_differently_keep_what_they_hold_until_one_drops_it() {
    let mut script = Script::new();
    script.stage.world.isolate(2);
    script.stage.pass(12 * SECOND);
    script.make(0, 8);
    script.make(2, 16);
    script.put(0, 0, "of the first");
    script.put(2, 1, "of the last");
    script.stage.world.heal();
    script.stage.pass(20 * SECOND);
    assert_eq!(script.views(), [2, 2, 1], "they came together");
    assert_eq!(script.get(1, 0), Some(Blob::from("of the first")));
    assert_eq!(script.get(2, 1), Some(Blob::from("of the last")));
    let told = script.differences();
    let named = "setting partitions of cache made: 8 here, 16 there";
    assert!(told.iter().any(|told| told == named), "{told:?}");
    assert!(told.len() < 8, "told {} times in 20 s", told.len());

    script.drop(2);
    script.stage.pass(20 * SECOND);
    assert_eq!(script.views(), [3, 3, 3], "nothing differs any more");
}

/// What one side dropped and made anew is not what differs: the other side's cache of that name is over.
#[test]
fn a_cache_that_was_dropped_and_made_anew_takes_the_place_of_the_other() {
    let mut script = Script::new();
    script.make(0, 8);
    script.put(0, 0, "of all");
    script.stage.world.isolate(2);
    script.stage.pass(12 * SECOND);
    script.drop(0);
    script.make(0, 16);
    script.put(0, 1, "anew");
    script.stage.world.heal();
    script.stage.pass(20 * SECOND);
    assert_eq!(script.views(), [3, 3, 3]);
    assert_eq!(script.differences(), Vec::<String>::new());
    assert_eq!(script.get(2, 1), Some(Blob::from("anew")));
}

/// That a half loses what it holds is found by the script above.
#[cfg(debug_assertions)]
#[test]
fn halves_that_are_united_all_the_same_are_found() {
    use embergrid::engine::planted::{Fault, plant};
    plant(Some(Fault::UniteUnlike));
    let mut script = Script::new();
    script.stage.world.isolate(2);
    script.stage.pass(12 * SECOND);
    script.make(0, 8);
    script.make(2, 16);
    script.put(2, 1, "of the last");
    script.stage.world.heal();
    script.stage.pass(20 * SECOND);
    let (views, last) = (script.views(), script.get(2, 1));
    plant(None);
    assert_eq!(views, [3, 3, 3]);
    assert_eq!(last, None, "nothing would have been lost");
}
