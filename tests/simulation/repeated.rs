//! A request that was answered in one half of a split and is repeated after the merge, at a primary of
//! the other half: it gets the answer that it got, and is not applied again. And one that was refused,
//! of which the network delivers a second copy when it could be done: it stays refused.

use crate::clock::SECOND;
use crate::faults::Profile;
use crate::history::Outcome;
use crate::plan::Plan;
use crate::script::{GET, KEYS, Script, put, replicated};
use crate::world::World;
use embergrid::types::cache::partition_of;
use embergrid::types::{Blob, Change, Condition, Expiry, KeyOperation, Reply};

const ADD: KeyOperation = KeyOperation::Modify {
    change: Change::Increment {
        delta: 1,
        initial: Some(1),
        at_least_zero: false,
        wrap: false,
    },
    expiry: Expiry::Keep,
    condition: Condition::Any,
};

fn key(number: usize) -> String {
    format!("count-{number}")
}

/// The node that leads the partition of a key.
fn primary(script: &Script, number: usize) -> usize {
    let settings = &script.world.plan.caches[script.cache];
    let key = Blob::from(key(number).as_str());
    let partition = partition_of(&key, settings.partitions) as usize;
    let view = script.view(0);
    let owners = &view.caches[&settings.id()].table[partition].owners;
    let places = script.places(&view);
    places[owners[0] as usize]
}

/// Adds to every key once in the half of `node`, alone, and once more under the same ids when all are
/// together again: how many keys that half answered and another one leads now, and how many of those
/// got another answer or another sum.
fn repeated(seed: u64, node: usize) -> (usize, usize) {
    let mut plan = Plan::quiet(seed, Profile::Split, 3, 60 * SECOND);
    plan.without_stopping();
    let mut script = Script::new(plan, replicated);
    script.world.isolate(node);
    script.pass(8 * SECOND);
    let id = |number: usize| Some([number as u8 + 1; 16]);
    let add = |script: &mut Script, at: &dyn Fn(usize) -> usize| -> Vec<Reply> {
        let calls: Vec<usize> = (0..KEYS)
            .map(|number| script.ask(at(number), &key(number), &ADD, id(number)))
            .collect();
        script.pass(3 * SECOND);
        calls.into_iter().map(|call| script.reply(call)).collect()
    };
    let first = add(&mut script, &|_| node);
    // So that the other half has a history of its own, and the merge something to merge.
    script.put((node + 1) % 3, "else");
    script.world.heal();
    script.pass(12 * SECOND);
    let primaries: Vec<usize> = (0..KEYS).map(|number| primary(&script, number)).collect();
    let again = add(&mut script, &|number| primaries[number]);
    let sums = script.each(node, "count", &GET);
    let elsewhere = (0..KEYS).filter(|number| primaries[*number] != node);
    let wrong = elsewhere.clone().filter(|&number| {
        let Reply::Got { entry: Some(entry) } = &sums[number] else {
            return true;
        };
        first[number] != again[number] || &*entry.value != b"1"
    });
    let wrong = wrong.count();
    (elsewhere.count(), wrong)
}

#[test]
fn a_request_of_one_half_is_known_after_the_merge() {
    for (seed, node) in [(1, 0), (2, 1), (3, 2)] {
        let (elsewhere, wrong) = repeated(seed, node);
        assert!(elsewhere > 0, "seed {seed}: n{node} leads everything");
        assert_eq!(wrong, 0, "seed {seed}: {elsewhere} are led by others");
    }
}

#[test]
fn what_was_refused_is_not_done_by_a_second_copy() {
    let plan = Plan::quiet(1, Profile::Split, 3, 60 * SECOND);
    let mut script = Script::new(plan, replicated);
    script.put(0, "count");
    script.world.network.mood.double_ppm = 1_000_000;
    for number in 0..KEYS {
        let leader = primary(&script, number);
        let id = Some([number as u8 + 1; 16]);
        let call = script.ask((leader + 1) % 3, &key(number), &ADD, id);
        let end = script.world.now + SECOND;
        let refused = |world: &World| {
            let outcome = &world.record.history.calls[call].outcome;
            matches!(outcome, Outcome::Failed(_))
        };
        script.world.run_while(end, |world| !refused(world));
        // There was no number to add to, and now there is one.
        assert!(refused(&script.world), "{}", key(number));
        script.ask(leader, &key(number), &put("1"), None);
        script.pass(SECOND);
    }
    for (number, reply) in script.each(0, "count", &GET).into_iter().enumerate() {
        let is_one = matches!(&reply, Reply::Got { entry: Some(entry) } if &*entry.value == b"1");
        assert!(is_one, "{}: {reply:?}", key(number));
    }
}

#[cfg(debug_assertions)]
#[test]
fn a_merge_without_requests_is_caught() {
    use crate::script::Planted;
    let _planted = Planted::new(embergrid::engine::planted::Fault::MoveWithoutRequests);
    let (elsewhere, wrong) = repeated(1, 0);
    assert_eq!(wrong, elsewhere, "the fault did nothing");
}
