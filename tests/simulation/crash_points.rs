//! Promises 24 and 26, point by point: one transaction over two and over three partitions, each with
//! its primary on another node, and a fourth node that began it. After each message that carries data,
//! one thing happens: a node ends, be it the initiator, a primary, a backup or none of them; the
//! initiator reaches a participant no more, and ends a moment later; two of them do not reach each
//! other for a second; one is cut off from all others. The transaction must then be seen
//! whole or not at all by every node that is left, as its caller was told, and nothing may stay locked.
//!
//! The status record is kept in the partition of the first key, so its owner always takes part; there
//! is a stage on which it does no more than that: its key is locked and not written.

use crate::caches::{self, Use};
use crate::clock::{MS, SECOND, Time};
use crate::deal::{Deal, Errand};
use crate::faults::Profile;
use crate::history::Outcome;
use crate::log::Detail;
use crate::machine::Machine;
use crate::plan::Plan;
use crate::world::World;
use embergrid::types::cache::partition_of;
use embergrid::types::{Blob, Condition, Execute, Expiry, KeyOperation, KeyPlace, Reply};

const NODES: usize = 5;
/// A transaction over two partitions needs so many messages at least, the last ones included.
const MESSAGES_MIN: u64 = 15;
/// When everything is at rest, and the transaction begins.
pub const BEGINS: Time = 5 * SECOND;
/// Its time is over. What a dead or silent initiator has locked is free again within that (promise
/// 26): then at the latest each participant asks the status record. A node that ends is noticed at
/// once.
const DEADLINE: Time = BEGINS + 3 * SECOND;
/// A question that is lost is asked again after a second; that, and the way of the answer.
const ASKED_AGAIN: Time = SECOND + 100 * MS;
/// Who is cut off for good is left out by then, and the others serve: `ack-timeout` and the second
/// attempt (2.25 s), whom the others reach, two phases of a view, and the lease of who was left out
/// (1.5 s). Nothing is locked any more from the moment on at which they serve.
const NOTICED: Time = BEGINS + 5 * SECOND;
/// A cut that nobody notices is shorter than `ack-timeout`.
const SHORT: Time = SECOND;
/// Who was left out is back: five seconds after the heal, and a load.
const BACK: Time = 9 * SECOND;

/// In which cache the keys are, and how many.
#[derive(Clone, Copy)]
struct Stage {
    cache: &'static str,
    keys: usize,
    /// The first key is locked and not written.
    keeper: bool,
    /// What happens there.
    happens: fn(&[usize]) -> Vec<Happens>,
}

/// What disturbs a run.
#[derive(Clone, Copy, Debug)]
enum Happens {
    Ends(usize),
    /// What the first sends does not reach the second; a moment later it ends.
    MuteThenEnds(usize, usize),
    /// The two do not reach each other, for a while or for good.
    Apart(usize, usize, Option<Time>),
    CutOff(usize),
}

impl Happens {
    fn is_for_good(self) -> bool {
        matches!(self, Self::Apart(_, _, None) | Self::CutOff(_))
    }
}

/// A run is disturbed after so many messages.
type Point = (u64, Happens);

fn plan(cache: &str) -> Plan {
    let never = 1_000 * SECOND;
    let mut plan = Plan::quiet(0, Profile::Undivided, NODES, never);
    plan.clients_start = never;
    // Nothing but the transaction sends data.
    plan.compare_interval = None;
    plan.quorum_of = None;
    let wanted = |(of, settings): &(Use, embergrid::types::CacheSettings)| {
        *of == Use::Bank && settings.name == cache
    };
    let all = caches::all(16).into_iter().chain(caches::stopping(16));
    (plan.uses, plan.caches) = all.filter(wanted).unzip();
    if plan.caches[0].stops() {
        plan.quorum_of = Some(NODES as u32);
    }
    plan
}

/// A cluster at rest, one key on each of so many nodes, and a node that is the primary of none.
pub fn at_rest(participants: usize) -> (World, Vec<KeyPlace>, Vec<usize>) {
    at_rest_in("bank-partitioned", participants)
}

fn at_rest_in(cache: &str, participants: usize) -> (World, Vec<KeyPlace>, Vec<usize>) {
    let mut world = World::new(plan(cache), Detail::Terse);
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

fn execute(keys: &[KeyPlace], keeper: bool) -> Execute {
    let put = KeyOperation::Put {
        value: Blob::from("new"),
        flags: 0,
        expiry: Expiry::Default,
        condition: Condition::Any,
        return_previous: false,
    };
    let absent = |key: &KeyPlace| (key.clone(), Condition::Absent);
    let written = keys.iter().skip(usize::from(keeper));
    Execute {
        conditions: keys.iter().map(absent).collect(),
        operations: written.map(|key| (key.clone(), put.clone())).collect(),
        otherwise: Vec::new(),
    }
}

impl World {
    fn disturb(&mut self, happens: Happens) {
        match happens {
            Happens::Ends(node) => self.kill(node),
            Happens::MuteThenEnds(from, to) => {
                self.network.set_cut(from, to, true);
                self.run_until(self.now + 30 * MS);
                self.kill(from);
            }
            Happens::Apart(one, other, span) => {
                self.network.set_cut(one, other, true);
                self.network.set_cut(other, one, true);
                if let Some(span) = span {
                    self.run_until(self.now + span);
                    self.heal();
                }
            }
            Happens::CutOff(node) => self.isolate(node),
        }
    }

    /// Which nodes belong to a majority, and serve as such.
    fn majority(&self) -> Vec<bool> {
        let serves = |machine: &Machine| {
            let mono = machine.clock.mono(self.now);
            let process = machine.process.as_ref();
            process.is_some_and(|process| process.grid.serving_primary(mono))
        };
        self.nodes.iter().map(serves).collect()
    }

    /// Nodes look at all keys: those that are named, of those that run.
    fn look(&mut self, who: &[bool], looks: &mut Vec<Deal>) {
        let up = self.nodes.iter().map(Machine::up).zip(who);
        let knows: Vec<bool> = up.map(|(up, named)| up && *named).collect();
        let first = self.record.deals.len();
        self.audit();
        self.run_until(self.now + ASKED_AGAIN);
        let told = self.record.deals[first..].iter().zip(knows);
        looks.extend(
            told.filter(|(_, knows)| *knows)
                .map(|(look, _)| look.clone()),
        );
    }
}

/// Runs the transaction, and disturbs it; returns how many messages came in all.
fn run(stage: &Stage, point: Option<Point>) -> Result<u64, String> {
    let (mut world, keys, _) = at_rest_in(stage.cache, stage.keys);
    world.bank.ledger = Some(keys.clone());
    let execute = execute(&keys, stage.keeper);
    let written = execute.operations.len();
    let errand = Errand::Move {
        execute,
        id: None,
        counted: false,
    };
    let before = world.record.data_messages;
    world.begin_deal(None, errand, Some(0));
    let for_good = point.is_some_and(|(_, happens)| happens.is_for_good());
    if let Some((after, happens)) = point {
        world.run_while(DEADLINE, |world| {
            world.record.data_messages < before + after
        });
        world.disturb(happens);
    }
    world.run_until(DEADLINE);
    let messages = world.record.data_messages - before;
    let mut looks = Vec::new();
    if for_good {
        let left = |world: &World| world.majority().iter().filter(|left| **left).count();
        while left(&world) < NODES - 1 && world.now < NOTICED {
            world.run_until(world.now + 50 * MS);
        }
        if left(&world) < NODES - 1 {
            return Err(format!("{} nodes serve", left(&world)));
        }
        world.look(&world.majority(), &mut looks);
        world.heal();
        world.run_until(world.now + BACK);
    }
    world.look(&[true; NODES], &mut looks);
    if !world.broken.is_empty() {
        return Err(world.broken.join("; "));
    }
    judge(&world.record.deals[0], &looks, written).map(|()| messages)
}

fn judge(told: &Deal, looks: &[Deal], written: usize) -> Result<(), String> {
    let mut applied = Vec::new();
    for look in looks {
        let Outcome::Ok(Reply::Executed { replies, .. }) = &look.outcome else {
            return Err(format!("keys stay locked: {:?}", look.outcome));
        };
        let new = |reply: &&Reply| matches!(reply, Reply::Got { entry: Some(_) });
        match replies.iter().filter(new).count() {
            0 => applied.push(false),
            all if all == written => applied.push(true),
            some => return Err(format!("{some} of {written} keys are written")),
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

/// Each node of the cluster ends.
fn ends(_: &[usize]) -> Vec<Happens> {
    (0..NODES).map(Happens::Ends).collect()
}

/// All pairs of the initiator and the participants.
fn pairs(nodes: &[usize]) -> impl Iterator<Item = (usize, usize)> {
    let later = |(place, one): (usize, &usize)| {
        let one = *one;
        nodes[place + 1..].iter().map(move |other| (one, *other))
    };
    nodes.iter().enumerate().flat_map(later)
}

/// Besides, the initiator is mute first; and any two do not reach each other for a while.
fn ends_and_short_cuts(nodes: &[usize]) -> Vec<Happens> {
    let mute = nodes[1..]
        .iter()
        .map(|to| Happens::MuteThenEnds(nodes[0], *to));
    let apart = pairs(nodes).map(|(one, other)| Happens::Apart(one, other, Some(SHORT)));
    ends(nodes).into_iter().chain(mute).chain(apart).collect()
}

/// Besides, one that has to do with it is cut off.
fn ends_and_long_cuts(nodes: &[usize]) -> Vec<Happens> {
    let off = nodes.iter().map(|node| Happens::CutOff(*node));
    ends(nodes).into_iter().chain(off).collect()
}

fn points(stage: &Stage, messages: u64) -> Vec<Point> {
    let (_, _, nodes) = at_rest_in(stage.cache, stage.keys);
    let all = (stage.happens)(&nodes);
    let at = |after| all.iter().map(move |happens| (after, *happens));
    (0..=messages).flat_map(at).collect()
}

fn every_point(stage: &Stage) {
    let messages = run(stage, None).expect("without a fault");
    assert!(messages >= MESSAGES_MIN, "only {messages} messages");
    let mut broken = Vec::new();
    let points = points(stage, messages);
    for point in &points {
        if let Err(found) = run(stage, Some(*point)) {
            broken.push(format!("{point:?}: {found}"));
        }
    }
    println!(
        "{} keys of {}: {messages} messages, {} points, {} broken",
        stage.keys,
        stage.cache,
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
    let messages = run(&TWO, None).expect("without a fault");
    plant(Some(Fault::DecideAlone));
    let found = points(&TWO, messages)
        .into_iter()
        .find_map(|point| run(&TWO, Some(point)).err());
    plant(None);
    println!("DecideAlone: {}", found.as_deref().unwrap_or("not found"));
    assert!(found.is_some());
}

const TWO: Stage = Stage {
    cache: "bank-partitioned",
    keys: 2,
    keeper: false,
    happens: ends_and_short_cuts,
};

#[test]
fn every_crash_point_of_two_participants_is_decided_alike() {
    every_point(&TWO);
}

#[test]
fn every_crash_point_of_three_participants_is_decided_alike() {
    every_point(&Stage { keys: 3, ..TWO });
}

#[test]
fn every_crash_point_beside_a_keeper_that_writes_nothing_is_decided_alike() {
    every_point(&Stage {
        keys: 3,
        keeper: true,
        happens: ends,
        ..TWO
    });
}

#[test]
fn every_crash_point_with_a_copy_on_every_server_is_decided_alike() {
    every_point(&Stage {
        cache: "bank-replicated",
        happens: ends,
        ..TWO
    });
}

#[test]
fn every_crash_point_where_a_minority_stops_is_decided_alike() {
    every_point(&Stage {
        cache: "bank-stops",
        happens: ends_and_long_cuts,
        ..TWO
    });
}
