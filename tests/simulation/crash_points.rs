//! Promises 24 and 26, point by point: one transaction over two and over three partitions, each with
//! its primary on another node, and a fourth node that began it. After each message that carries data,
//! each of these nodes is killed in turn. The transaction must then be seen whole or not at all by
//! every node that is left, as its caller was told, and nothing may stay locked.

use crate::caches::{self, Use};
use crate::clock::{MS, SECOND, Time};
use crate::deal::{Deal, Errand};
use crate::faults::Profile;
use crate::history::Outcome;
use crate::log::Detail;
use crate::plan::Plan;
use crate::world::World;
use embergrid::types::cache::partition_of;
use embergrid::types::{Blob, Condition, Execute, Expiry, KeyOperation, KeyPlace, Reply};

/// A transaction over two partitions needs so many messages at least, the last ones included.
const MESSAGES_MIN: u64 = 15;
/// When everything is at rest, and the transaction begins.
pub const BEGINS: Time = 5 * SECOND;
/// Its deadline is three seconds later; a node that is gone is noticed before.
const SETTLED: Time = BEGINS + 12 * SECOND;

fn plan() -> Plan {
    let never = 1_000 * SECOND;
    let mut plan = Plan::quiet(0, Profile::Undivided, 5, never);
    plan.clients_start = never;
    let bank = |(of, settings): &(Use, embergrid::types::CacheSettings)| {
        *of == Use::Bank && settings.name == "bank-partitioned"
    };
    let all = caches::all(16).into_iter().filter(bank);
    (plan.uses, plan.caches) = all.unzip();
    plan
}

/// A cluster at rest, one key on each of so many nodes, and a node that has none of them.
pub fn at_rest(participants: usize) -> (World, Vec<KeyPlace>, Vec<usize>) {
    let mut world = World::new(plan(), Detail::Terse);
    world.run_until(BEGINS);
    let settings = world.plan.caches[0].clone();
    let view = world.nodes[0].view().expect("a view");
    let table = &view.caches[&settings.id()].table;
    let primary = |partition: u32| {
        let first = table[partition as usize].owners.first()?;
        let member = view.member(*first)?;
        world
            .nodes
            .iter()
            .position(|node| node.member() == Some(member))
    };
    let (mut keys, mut nodes) = (Vec::new(), vec![0]);
    for number in 0..1_000 {
        let key = Blob::from(format!("key-{number}").as_str());
        let partition = partition_of(&key, settings.partitions);
        let node = primary(partition).expect("an owner");
        if keys.len() < participants && !nodes.contains(&node) {
            nodes.push(node);
            keys.push(KeyPlace {
                cache: settings.id(),
                partition,
                key,
            });
        }
    }
    assert_eq!(keys.len(), participants, "owners: {nodes:?}");
    (world, keys, nodes)
}

fn puts(keys: &[KeyPlace]) -> Execute {
    let put = KeyOperation::Put {
        value: Blob::from("new"),
        flags: 0,
        expiry: Expiry::Default,
        condition: Condition::Any,
        return_previous: false,
    };
    let absent = |key: &KeyPlace| (key.clone(), Condition::Absent);
    Execute {
        conditions: keys.iter().map(absent).collect(),
        operations: keys.iter().map(|key| (key.clone(), put.clone())).collect(),
        otherwise: Vec::new(),
    }
}

/// Where a run is disturbed.
#[derive(Clone, Copy, Debug)]
struct Point {
    /// After so many messages.
    after: u64,
    /// Who is killed: 0 is the initiator, then the participants.
    role: usize,
    /// To which participant the initiator's way is cut first, a moment earlier.
    mute: Option<usize>,
}

/// Runs the transaction, and disturbs it; returns how many messages came in all.
fn run(participants: usize, point: Option<Point>) -> Result<u64, String> {
    let (mut world, keys, nodes) = at_rest(participants);
    world.bank.ledger = Some(keys.clone());
    let errand = Errand::Move {
        execute: puts(&keys),
        id: None,
        counted: false,
    };
    let before = world.record.data_messages;
    world.begin_deal(None, errand, Some(0));
    if let Some(Point { after, role, mute }) = point {
        world.run_while(SETTLED, |world| world.record.data_messages < before + after);
        if let Some(mute) = mute {
            world.network.set_cut(nodes[0], nodes[mute], true);
            world.run_until(world.now + 30 * MS);
        }
        world.kill(nodes[role]);
    }
    world.run_until(SETTLED);
    let messages = world.record.data_messages - before;
    let told = world.record.deals[0].clone();
    world.audit();
    world.run_until(SETTLED + 5 * SECOND);
    if !world.broken.is_empty() {
        return Err(world.broken.join("; "));
    }
    judge(&told, &world.record.deals[1..], keys.len()).map(|()| messages)
}

fn judge(told: &Deal, looks: &[Deal], keys: usize) -> Result<(), String> {
    let mut applied = Vec::new();
    for look in looks {
        let Outcome::Ok(Reply::Executed { replies, .. }) = &look.outcome else {
            // The node that was killed does not answer.
            if look.outcome == Outcome::Unknown && look.gone {
                continue;
            }
            return Err(format!("keys stay locked: {:?}", look.outcome));
        };
        let new = |reply: &&Reply| matches!(reply, Reply::Got { entry: Some(_) });
        match replies.iter().filter(new).count() {
            0 => applied.push(false),
            all if all == keys => applied.push(true),
            some => return Err(format!("{some} of {keys} keys are written")),
        }
    }
    let expected = match &told.outcome {
        Outcome::Ok(_) => Some(true),
        Outcome::Failed(_) => Some(false),
        Outcome::Unknown => applied.first().copied(),
    };
    if applied.is_empty() || applied.iter().any(|seen| Some(*seen) != expected) {
        return Err(format!("told {:?}, seen {applied:?}", told.outcome));
    }
    Ok(())
}

/// Each role is killed after each message; and the initiator also when it reaches one participant no
/// more.
fn points(participants: usize, messages: u64) -> Vec<Point> {
    let kill = |after| {
        (0..=participants).map(move |role| Point {
            after,
            role,
            mute: None,
        })
    };
    let mute = |after| {
        (1..=participants).map(move |mute| Point {
            after,
            role: 0,
            mute: Some(mute),
        })
    };
    let at = |after| kill(after).chain(mute(after));
    (0..=messages).flat_map(at).collect()
}

fn every_point(participants: usize) {
    let messages = run(participants, None).expect("without a crash");
    assert!(messages >= MESSAGES_MIN, "only {messages} messages");
    let mut broken = Vec::new();
    let points = points(participants, messages);
    for point in &points {
        if let Err(found) = run(participants, Some(*point)) {
            broken.push(format!("{point:?}: {found}"));
        }
    }
    println!(
        "{participants} participants: {} crash points, {} broken",
        points.len(),
        broken.len()
    );
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

/// A participant that rolls back without asking shows at some point, so that the search is known to
/// work.
#[cfg(debug_assertions)]
#[test]
fn a_participant_that_decides_alone_is_found() {
    use embergrid::engine::planted::{Fault, plant};
    let messages = run(2, None).expect("without a crash");
    plant(Some(Fault::DecideAlone));
    let found = points(2, messages)
        .into_iter()
        .find_map(|point| run(2, Some(point)).err());
    plant(None);
    println!("DecideAlone: {}", found.as_deref().unwrap_or("not found"));
    assert!(found.is_some());
}

#[test]
fn every_crash_point_of_two_participants_is_decided_alike() {
    every_point(2);
}

#[test]
fn every_crash_point_of_three_participants_is_decided_alike() {
    every_point(3);
}
