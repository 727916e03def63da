//! Named locks in a cluster to which nothing happens but the script: who waits gets a lock in the order
//! of arrival, when it is let go or its holder is dead, and when its primary is.

use crate::caches::CLOCK_ERROR;
use crate::clock::{MS, SECOND, Time};
use crate::faults::Profile;
use crate::history::Outcome;
use crate::loan::Loan;
use crate::log::Detail;
use crate::plan::Plan;
use crate::probing::id_of;
use crate::world::World;
use embergrid::error::ErrorKind;
use embergrid::types::cache::partition_of;
use embergrid::types::{LockOperation, RequestId};

/// Longer than any message takes here, and back.
const TRIP: Time = 30 * MS;
const LOCK: usize = 0;

fn world(nodes: usize) -> World {
    let mut plan = Plan::quiet(5, Profile::Undivided, nodes, 300 * SECOND);
    plan.quorum_of = (nodes >= 3).then_some(nodes as u32);
    plan.with_locks();
    let mut world = World::new(plan, Detail::Terse);
    world.clients.stopped = true;
    pass(&mut world, 6 * SECOND);
    world
}

fn pass(world: &mut World, span: Time) {
    world.run_until(world.now + span);
    assert_eq!(world.broken, Vec::<String>::new());
}

fn id(number: u8) -> Option<RequestId> {
    Some([number; 16])
}

/// Begins to take the lock at a node; the place of the loan.
fn take(
    world: &mut World,
    node: usize,
    (wait, lease): (Time, Time),
    id: Option<RequestId>,
) -> usize {
    let take = LockOperation::Take { lease, spare: 0 };
    world.begin_loan(None, LOCK, take, (id, wait), Some(node))
}

fn ask(world: &mut World, node: usize, operation: LockOperation) -> Loan {
    let loan = world.begin_loan(None, LOCK, operation, (None, 0), Some(node));
    pass(world, TRIP);
    world.record.loans[loan].clone()
}

fn loan(world: &World, place: usize) -> &Loan {
    &world.record.loans[place]
}

fn token(world: &World, place: usize) -> u64 {
    let loan = loan(world, place);
    loan.granted().unwrap_or_else(|| panic!("{loan:?}"))
}

/// Who leads the partition of the lock.
fn primary(world: &World) -> usize {
    let cache = world.plan.locks().expect("locks");
    let settings = &world.plan.caches[cache];
    let partition = partition_of(b"lock-0", settings.partitions);
    let view = world.nodes.iter().find_map(|node| node.view());
    let view = view.expect("a view");
    let owners = &view.caches[&settings.id()].table[partition as usize].owners;
    let member = view.nodes[usize::from(owners[0])].member;
    let nodes = 0..world.nodes.len();
    let mut same = nodes.filter(|node| id_of(*node) == member.id);
    same.next().expect("one of the nodes")
}

#[test]
fn who_waits_gets_the_lock_of_a_dead_holder_in_the_order_of_arrival() {
    for nodes in [1, 3] {
        let mut world = world(nodes);
        let first = take(&mut world, 0, (0, SECOND), None);
        pass(&mut world, TRIP);
        // The holder is never heard of again.
        let mut line = Vec::new();
        for number in 0..5 {
            let node = number % nodes;
            line.push(take(
                &mut world,
                node,
                (20 * SECOND, 200 * MS),
                id(number as u8 + 1),
            ));
            pass(&mut world, TRIP);
        }
        let impatient = take(&mut world, 0, (0, SECOND), None);
        pass(&mut world, TRIP);
        assert_eq!(
            loan(&world, impatient).answered(),
            Some(0),
            "it does not wait"
        );
        let patient = take(&mut world, 0, (300 * MS, SECOND), None);
        pass(&mut world, 300 * MS + TRIP);
        assert_eq!(
            loan(&world, patient).answered(),
            Some(0),
            "its wait is over"
        );
        pass(&mut world, 5 * SECOND);
        let (mut before, mut lease) = (first, SECOND);
        for next in line {
            assert!(token(&world, next) > token(&world, before));
            let [begun, got] = [before, next].map(|place| loan(&world, place).responded);
            let gap = got - begun;
            assert!(gap + TRIP >= lease, "{gap} µs of {lease}");
            assert!(gap <= lease + CLOCK_ERROR + TRIP, "{gap} µs after {lease}");
            (before, lease) = (next, 200 * MS);
        }
    }
}

#[test]
fn a_lock_is_renewed_and_let_go_by_its_token_alone_and_taken_once_by_a_repeated_request() {
    for nodes in [1, 3] {
        let mut world = world(nodes);
        let other = nodes - 1;
        let first = take(&mut world, 0, (0, SECOND), id(1));
        pass(&mut world, TRIP);
        let held = token(&world, first);
        let again = take(&mut world, other, (0, SECOND), id(1));
        pass(&mut world, TRIP);
        assert_eq!(token(&world, again), held);
        let lease = 3 * SECOND;
        let wrong = LockOperation::Renew {
            token: held + 1,
            lease,
        };
        assert_eq!(ask(&mut world, other, wrong).answered(), Some(0));
        let renew = LockOperation::Renew { token: held, lease };
        assert_eq!(ask(&mut world, other, renew).answered(), Some(held));
        let wrong = LockOperation::Release { token: held - 1 };
        assert_eq!(ask(&mut world, 0, wrong).under(), Some((held - 1, false)));
        let waits = take(&mut world, other, (9 * SECOND, SECOND), None);
        pass(&mut world, 2 * SECOND);
        assert_eq!(loan(&world, waits).answered(), None, "it is renewed");
        let release = LockOperation::Release { token: held };
        assert_eq!(ask(&mut world, 0, release).under(), Some((held, true)));
        pass(&mut world, TRIP);
        assert!(token(&world, waits) > held);
        for late in [renew, release] {
            let told = ask(&mut world, 0, late);
            assert_eq!(told.under(), Some((held, false)), "{told:?}");
        }
        // Long behind the lease, when nothing is known of it any more, tokens go on to rise.
        let last = token(&world, waits);
        pass(&mut world, 60 * SECOND);
        let much_later = take(&mut world, 0, (0, SECOND), None);
        pass(&mut world, TRIP);
        assert!(token(&world, much_later) > last);
    }
}

#[test]
fn the_loss_of_the_primary_takes_no_lock_away_and_nobody_out_of_line_for_good() {
    let mut world = world(4);
    let dies = primary(&world);
    let others: Vec<usize> = (0..4).filter(|node| *node != dies).collect();
    let first = take(&mut world, others[0], (0, 20 * SECOND), id(1));
    pass(&mut world, TRIP);
    let held = token(&world, first);
    let waits = take(&mut world, others[1], (30 * SECOND, SECOND), id(2));
    // Sent again meanwhile, it has one place in line.
    pass(&mut world, 2 * SECOND);
    world.kill(dies);
    pass(&mut world, 5 * SECOND);
    assert_eq!(loan(&world, waits).answered(), None, "the lock is held");
    let renew = LockOperation::Renew {
        token: held,
        lease: 2 * SECOND,
    };
    assert_eq!(ask(&mut world, others[2], renew).answered(), Some(held));
    pass(&mut world, 2 * SECOND + CLOCK_ERROR + SECOND);
    let next = token(&world, waits);
    assert!(next > held, "{next} after {held}");
    let gone = take(&mut world, others[0], (5 * SECOND, SECOND), id(3));
    pass(&mut world, 2 * SECOND);
    assert!(token(&world, gone) > next);
}

#[test]
fn of_too_many_who_wait_some_are_refused() {
    let mut world = world(1);
    take(&mut world, 0, (0, 30 * SECOND), None);
    let line: Vec<usize> = (0..130)
        .map(|_| take(&mut world, 0, (SECOND, SECOND), None))
        .collect();
    pass(&mut world, 3 * SECOND);
    let of = |wanted: fn(&Loan) -> bool| {
        let line = line.iter().map(|place| loan(&world, *place));
        line.filter(|loan| wanted(loan)).count()
    };
    assert_eq!(of(|loan| loan.answered() == Some(0)), 128);
    let refused = |loan: &Loan| loan.outcome == Outcome::Failed(ErrorKind::Overloaded);
    assert_eq!(of(refused), 2);
}
