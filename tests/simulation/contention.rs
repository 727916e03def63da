//! Transactions that meet on a few keys of a cluster without any fault: each ends soon, since older
//! ones go before younger ones, and none leaves anything locked behind.

use crate::clock::{MS, SECOND, Time};
use crate::crash_points::at_rest;
use crate::deal::Errand;
use crate::rng::Rng;
use embergrid::types::{Blob, Condition, Execute, Expiry, KeyOperation, KeyPlace};

/// How many transactions meet.
const DEALS: u64 = 40;
/// What all of them share.
const KEYS: usize = 3;
/// In the time of the simulation: their deadline is three seconds, and what is left locked is so until
/// then.
const SOON: Time = 1_500 * MS;
/// How many meetings are looked at.
const MEETINGS: u64 = 30;

fn put(place: &KeyPlace) -> (KeyPlace, KeyOperation) {
    let put = KeyOperation::Put {
        value: Blob::from("new"),
        flags: 0,
        expiry: Expiry::Default,
        condition: Condition::Any,
        return_previous: false,
    };
    (place.clone(), put)
}

/// How long the slowest of one meeting took.
fn slowest(seed: u64) -> Time {
    let (mut world, keys, _) = at_rest(KEYS);
    let mut rng = Rng::stream(seed, "contention");
    for _ in 0..DEALS {
        let left_out = rng.below(KEYS as u64) as usize;
        let places = keys.iter().enumerate();
        let two = places.filter(|(number, _)| *number != left_out);
        let execute = Execute {
            operations: two.map(|(_, place)| put(place)).collect(),
            ..Execute::default()
        };
        let errand = Errand::Move {
            execute,
            id: None,
            counted: false,
        };
        world.begin_deal(None, errand, None);
        world.run_until(world.now + rng.below(4 * MS));
    }
    world.run_until(world.now + 6 * SECOND);
    let deals = world.record.deals.iter();
    let took = deals.map(|deal| deal.responded.saturating_sub(deal.invoked));
    took.max().expect("transactions")
}

#[test]
fn transactions_that_meet_end_soon() {
    let slowest: Vec<Time> = (0..MEETINGS).map(slowest).collect();
    let worst = slowest.iter().max().expect("meetings");
    println!(
        "{MEETINGS} meetings of {DEALS} transactions on {KEYS} keys: the slowest took {} ms",
        worst / MS
    );
    assert!(*worst < SOON, "{slowest:?}");
}

/// Keys that nobody holds any more, and that stay locked until a deadline, are found so.
#[cfg(debug_assertions)]
#[test]
fn what_is_prepared_behind_its_end_is_found() {
    use embergrid::engine::planted::{Fault, plant};
    plant(Some(Fault::PrepareBehindEnd));
    let found = (0..MEETINGS).find(|seed| slowest(*seed) >= SOON);
    plant(None);
    println!("PrepareBehindEnd: meeting {found:?}");
    assert!(found.is_some());
}
