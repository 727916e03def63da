//! The first primary view is committed by a few of its servers alone, which are cut off then: what they
//! acknowledge until they stop is there when all have met again.

use crate::clock::{MS, SECOND};
use crate::faults::Profile;
use crate::history::Outcome;
use crate::log::Detail;
use crate::plan::Plan;
use crate::script::{GET, Script, put};
use crate::world::World;
use embergrid::types::{CacheMode, CacheSettings, Reply};

const SERVERS: usize = 5;
/// Keys that are put.
const KEYS: usize = 64;
const SEEDS: u64 = 6;

/// The servers that are in a primary view.
fn founders(world: &World) -> Vec<usize> {
    let primary = |node: &usize| {
        let view = world.nodes[*node].view();
        view.is_some_and(|view| view.primary)
    };
    (0..SERVERS).filter(primary).collect()
}

/// Who owns a partition together with a server, which is in a view.
fn owns_with(world: &World, cache: usize, first: usize) -> Option<usize> {
    let view = world.nodes[first].view()?;
    let table = &view.caches[&world.plan.caches[cache].id()].table;
    let member = |node: usize| world.nodes[node].member();
    let own = view.index_of(member(first)?)?;
    let pairs = table.iter().filter(|owners| owners.owners.contains(&own));
    let others = pairs.flat_map(|owners| owners.owners.iter().filter(|place| **place != own));
    // Not the one that came last: it has not been heard for long enough.
    let named = others
        .filter_map(|place| (0..SERVERS - 1).find(|node| member(*node) == view.member(*place)));
    named.min()
}

/// How many puts were acknowledged by those who committed the first primary view, or one of them and
/// another server, and how many of these are gone when all have met again. Absent: all committed it, or
/// no two of them own anything together.
fn founded(seed: u64) -> Option<(usize, usize)> {
    let mut plan = Plan::quiet(seed, Profile::Split, SERVERS, 90 * SECOND);
    plan.with_stopping();
    // The last one comes to a view of all others, who hear each other by then.
    plan.starts[SERVERS - 1] = 3 * SECOND;
    let fits = |cache: &CacheSettings| {
        cache.stops() && cache.full_sync() && cache.mode == CacheMode::Partitioned
    };
    let cache = plan.caches.iter().position(fits).expect("there is one");
    let mut world = World::new(plan, Detail::Terse);
    world.clients.stopped = true;
    world.run_while(10 * SECOND, |world| founders(world).is_empty());
    let first = *founders(&world).first()?;
    let other = owns_with(&world, cache, first)?;
    let rest: Vec<usize> = (0..SERVERS)
        .filter(|n| *n != first && *n != other)
        .collect();
    // The commit reaches the other one, and what the rest says still reaches both: they vouch for them.
    for (from, to) in rest.iter().flat_map(|to| [(first, *to), (other, *to)]) {
        world.cut_one_way(from, to);
    }
    let mut script = Script { world, cache };
    script.pass(300 * MS);
    if founders(&script.world).len() == SERVERS {
        return None;
    }
    let key = |number: usize| format!("key-{number}");
    let puts: Vec<usize> = (0..KEYS)
        .map(|number| script.ask(first, &key(number), &put("kept"), None))
        .collect();
    script.pass(300 * MS);
    script.world.part(&[first, other], &rest);
    script.pass(12 * SECOND);
    script.world.heal();
    script.pass(15 * SECOND);
    let acknowledged = |call: &usize| {
        let call = &script.world.record.history.calls[*call];
        matches!(call.outcome, Outcome::Ok(Reply::Put { applied: true, .. }))
    };
    let held: Vec<bool> = puts.iter().map(acknowledged).collect();
    let gets: Vec<usize> = (0..KEYS)
        .map(|number| script.ask(rest[0], &key(number), &GET, None))
        .collect();
    script.pass(3 * SECOND);
    let gone = |call: usize| matches!(script.reply(call), Reply::Got { entry: None });
    let lost = gets
        .into_iter()
        .zip(&held)
        .filter(|(_, held)| **held)
        .filter(|(call, _)| gone(*call))
        .count();
    Some((held.into_iter().filter(|held| *held).count(), lost))
}

#[test]
fn what_few_acknowledged_in_the_first_primary_view_is_kept() {
    let seen: Vec<_> = (1..=SEEDS).filter_map(founded).collect();
    assert!(!seen.is_empty(), "nobody was cut off in time");
    assert!(seen.iter().all(|(_, lost)| *lost == 0), "{seen:?}");
}

#[cfg(debug_assertions)]
#[test]
fn who_serves_before_all_have_committed_it_is_found() {
    use crate::script::Planted;
    use embergrid::engine::planted::Fault;
    let _planted = Planted::new(Fault::ServeUnfounded);
    let seen: Vec<_> = (1..=SEEDS).filter_map(founded).collect();
    println!("ServeUnfounded: acknowledged, and lost of them: {seen:?}");
    assert!(seen.iter().any(|(_, lost)| *lost > 0), "{seen:?}");
}
