//! The initiator alone: what comes in, and what it wants done.

use super::*;
use crate::engine::partition::steps::CONFLICT;
use crate::error::ErrorKind;
use crate::types::time::MILLISECOND;
use crate::types::{CacheId, Condition, Decision, KeyOperation, Step, StepReply};

const ONE: PartitionId = (CacheId(1), 1);
const TWO: PartitionId = (CacheId(2), 7);
const DEADLINE: u64 = 3 * SECOND;

fn at(mono: u64) -> Now {
    Now {
        mono: Monotonic(mono),
        cluster: ClusterTime(1_000 * SECOND + mono),
    }
}

fn get((cache, partition): PartitionId) -> (KeyPlace, KeyOperation) {
    let place = KeyPlace {
        cache,
        partition,
        key: "k".into(),
    };
    let get = KeyOperation::Get {
        touch: None,
        omit_value: false,
    };
    (place, get)
}

fn begun() -> Begun {
    Begun {
        token: 9,
        request_id: Some([3; 16]),
        deadline: Monotonic(DEADLINE),
        topology: 4,
        initiator: Member::default(),
    }
}

fn two_keys(local: bool) -> (Transactions, Vec<Task>) {
    let mut all = Transactions::default();
    let execute = Execute {
        conditions: vec![(get(TWO).0, Condition::Present)],
        operations: vec![get(TWO), get(ONE)],
        otherwise: vec![get(ONE)],
    };
    let tasks = all
        .execute(execute, |_| local, begun(), at(0))
        .expect("room");
    (all, tasks)
}

/// (partition, step, request id or not) of all questions.
fn asked(tasks: &[Task]) -> Vec<(PartitionId, Step, bool, TransactionId)> {
    let ask = |task: &Task| match task {
        Task::Ask {
            id,
            partition,
            operation: Operation::Transaction { step, .. },
            request_id,
            ..
        } => Some((*partition, step.clone(), request_id.is_some(), *id)),
        _ => None,
    };
    tasks.iter().filter_map(ask).collect()
}

fn answers(tasks: &[Task]) -> Vec<&Result<Reply>> {
    fn answer(task: &Task) -> Option<&Result<Reply>> {
        match task {
            Task::Answer { result, .. } => Some(result),
            Task::Ask { .. } => None,
        }
    }
    tasks.iter().filter_map(answer).collect()
}

fn prepared(
    held: bool,
    operations: Result<Vec<Reply>>,
    otherwise: Result<Vec<Reply>>,
) -> Result<Reply> {
    Ok(Reply::Step(Box::new(StepReply::Prepared {
        held,
        operations,
        otherwise,
    })))
}

fn size(live: u64) -> Vec<Reply> {
    vec![Reply::Size { live }]
}

fn step(reply: StepReply) -> Result<Reply> {
    Ok(Reply::Step(Box::new(reply)))
}

fn decided(decision: Decision) -> Result<Reply> {
    step(StepReply::Decided(decision))
}

const COMMITTED: Decision = Decision::Committed { held: true };

/// As far as the question for the decision.
fn deciding() -> (Transactions, TransactionId) {
    let (mut all, tasks) = two_keys(false);
    let id = asked(&tasks)[0].3;
    assert!(
        all.on_answer(id, ONE, prepared(true, Ok(size(1)), Ok(size(3))), at(1))
            .is_empty()
    );
    let tasks = all.on_answer(id, TWO, prepared(true, Ok(size(2)), Ok(vec![])), at(2));
    let asked = asked(&tasks);
    assert!(matches!(&asked[..], [(TWO, Step::Decide(decide), true, _)] if decide.held));
    (all, id)
}

#[test]
fn prepares_everywhere_decides_at_the_first_key_finishes_and_forgets() {
    let (_, tasks) = two_keys(false);
    let steps = asked(&tasks);
    assert!(matches!(&steps[..], [
        (ONE, Step::Prepare(one), false, _),
        (TWO, Step::Prepare(two), true, _),
    ] if one.status == Some(TWO) && two.part.conditions.len() == 1));
    let (mut all, id) = deciding();
    let tasks = all.on_answer(id, TWO, decided(COMMITTED), at(3));
    let replies = [size(2), size(1)].concat();
    assert_eq!(
        answers(&tasks),
        [&Ok(Reply::Executed {
            held: true,
            replies
        })]
    );
    assert!(asked(&tasks).iter().all(|(_, step, ..)| {
        matches!(step, Step::Finish { outcome, .. } if *outcome == COMMITTED)
    }));
    assert_eq!(asked(&tasks).len(), 2);
    assert!(
        all.on_answer(id, ONE, step(StepReply::Finished), at(4))
            .is_empty()
    );
    // A doubled answer changes nothing.
    assert!(
        all.on_answer(id, ONE, step(StepReply::Finished), at(4))
            .is_empty()
    );
    let tasks = all.on_answer(id, TWO, step(StepReply::Finished), at(5));
    assert!(matches!(
        &asked(&tasks)[..],
        [(TWO, Step::Forget { .. }, false, _)]
    ));
    assert!(all.is_empty() && all.next().is_none());
}

#[test]
fn an_older_one_is_given_way_to_under_the_same_age() {
    let (mut all, tasks) = two_keys(false);
    let id = asked(&tasks)[0].3;
    let conflict = Error::new(ErrorKind::Conflict, "older").because(CONFLICT);
    let tasks = all.on_answer(id, ONE, Err(conflict), at(1));
    assert!(answers(&tasks).is_empty());
    assert!(matches!(
        &asked(&tasks)[..],
        [
            (
                ONE,
                Step::Finish {
                    outcome: Decision::RolledBack,
                    ..
                },
                ..
            ),
            (TWO, Step::Finish { .. }, ..),
        ]
    ));
    // The answer to a prepare comes late.
    assert!(
        all.on_answer(id, TWO, prepared(true, Ok(vec![]), Ok(vec![])), at(2))
            .is_empty()
    );
    for partition in [ONE, TWO] {
        assert!(
            all.on_answer(id, partition, step(StepReply::Finished), at(3))
                .is_empty()
        );
    }
    let next = all.next().expect("a pause");
    assert!(next < Monotonic(100 * MILLISECOND));
    let tasks = all.on_timeout(at(next.0));
    let again = asked(&tasks);
    assert!(
        again
            .iter()
            .all(|(_, step, ..)| matches!(step, Step::Prepare(_)))
    );
    assert_eq!((again[0].3.age(), again[0].3.attempt), (id.age(), 1));
    // What the first attempt is answered now concerns nobody.
    let stale = prepared(true, Ok(vec![]), Ok(vec![]));
    assert!(all.on_answer(id, ONE, stale, at(next.0)).is_empty());
}

#[test]
fn an_operation_that_cannot_be_done_counts_only_in_the_branch_that_is() {
    let bad = || Err(Error::invalid("no number"));
    for held in [true, false] {
        let (mut all, tasks) = two_keys(false);
        let id = asked(&tasks)[0].3;
        all.on_answer(id, ONE, prepared(true, bad(), Ok(size(3))), at(1));
        let tasks = all.on_answer(id, TWO, prepared(held, Ok(size(2)), Ok(vec![])), at(2));
        if held {
            assert!(
                matches!(answers(&tasks)[..], [Err(error)] if error.kind == ErrorKind::InvalidArgument)
            );
            assert!(asked(&tasks).iter().all(|(_, step, ..)| {
                matches!(
                    step,
                    Step::Finish {
                        outcome: Decision::RolledBack,
                        ..
                    }
                )
            }));
        } else {
            assert!(
                matches!(&asked(&tasks)[..], [(TWO, Step::Decide(decide), ..)] if !decide.held)
            );
        }
    }
}

#[test]
fn a_decision_that_nobody_confirms_is_unknown_and_asked_for() {
    let (mut all, id) = deciding();
    let unavailable = Error::unavailable("no owner");
    assert!(all.on_answer(id, TWO, Err(unavailable), at(10)).is_empty());
    let tasks = all.on_timeout(at(100 * MILLISECOND));
    assert!(matches!(&asked(&tasks)[..], [(TWO, Step::Decide(_), ..)]));
    let mut now = 100 * MILLISECOND;
    let mut told = Vec::new();
    let mut last = Vec::new();
    while now < DEADLINE + SECOND {
        now = all.next().expect("it goes on").0;
        let tasks = all.on_timeout(at(now));
        told.extend(answers(&tasks).into_iter().cloned());
        last = asked(&tasks);
    }
    assert!(matches!(&told[..], [Err(error)] if error.applied == crate::error::Applied::Unknown));
    assert!(matches!(&last[..], [(TWO, Step::Inquire { .. }, false, _)]));
    let tasks = all.on_answer(id, TWO, decided(Decision::RolledBack), at(now));
    assert!(answers(&tasks).is_empty(), "told already");
    assert_eq!(asked(&tasks).len(), 2);
    // Participants that never answer are left to themselves in the end.
    while let Some(next) = all.next() {
        assert!(next.0 < DEADLINE + FINISHES_FOR + 2 * SECOND);
        all.on_timeout(at(next.0));
    }
}

#[test]
fn behind_the_deadline_nothing_is_decided() {
    let (mut all, tasks) = two_keys(false);
    let id = asked(&tasks)[0].3;
    all.on_answer(id, ONE, prepared(true, Ok(size(1)), Ok(vec![])), at(1));
    let tasks = all.on_timeout(at(DEADLINE));
    let not_applied = |error: &Error| error.applied == crate::error::Applied::NotApplied;
    assert!(matches!(answers(&tasks)[..], [Err(error)] if not_applied(error)));
    let late = prepared(true, Ok(size(2)), Ok(vec![]));
    assert!(all.on_answer(id, TWO, late, at(DEADLINE)).is_empty());
}

#[test]
fn a_repeated_request_is_answered_as_the_first_time_and_frees_its_keys() {
    let (mut all, tasks) = two_keys(false);
    let id = asked(&tasks)[0].3;
    let first = Reply::Executed {
        held: true,
        replies: size(8),
    };
    let tasks = all.on_answer(id, TWO, Ok(first.clone()), at(1));
    assert_eq!(answers(&tasks), [&Ok(first)]);
    assert_eq!(asked(&tasks).len(), 2);
}

#[test]
fn what_is_only_in_local_caches_needs_no_record() {
    let (mut all, tasks) = two_keys(true);
    let id = asked(&tasks)[0].3;
    all.on_answer(id, ONE, prepared(true, Ok(size(1)), Ok(vec![])), at(1));
    let tasks = all.on_answer(id, TWO, prepared(true, Ok(size(2)), Ok(vec![])), at(2));
    assert!(matches!(
        answers(&tasks)[..],
        [Ok(Reply::Executed { held: true, .. })]
    ));
    assert!(
        asked(&tasks)
            .iter()
            .all(|(_, step, ..)| matches!(step, Step::Finish { .. }))
    );
}

#[test]
fn a_local_cache_that_comes_first_keeps_no_record() {
    let mut all = Transactions::default();
    let execute = Execute {
        operations: vec![get(TWO), get(ONE)],
        ..Execute::default()
    };
    let tasks = all
        .execute(execute, |partition| partition == TWO, begun(), at(0))
        .expect("room");
    let id = asked(&tasks)[0].3;
    all.on_answer(id, ONE, prepared(true, Ok(size(1)), Ok(vec![])), at(1));
    let tasks = all.on_answer(id, TWO, prepared(true, Ok(size(2)), Ok(vec![])), at(2));
    let asked = asked(&tasks);
    let [(partition, Step::Decide(_), ..)] = &asked[..] else {
        panic!("{asked:?}");
    };
    assert_eq!(*partition, ONE);
}

#[test]
fn keys_that_do_not_stand_still_are_looked_at_again_and_locked_in_the_end() {
    let mut all = Transactions::default();
    let keys = vec![get(ONE).0, get(TWO).0];
    let mut tasks = all
        .look(keys, false, |_| false, begun(), at(0))
        .expect("room");
    for turn in 0..2 * u64::from(LOOKS_MAX) {
        let steps = asked(&tasks);
        assert!(
            steps
                .iter()
                .all(|(_, step, ..)| matches!(step, Step::Look { .. }))
        );
        let looked = |stamp| step(StepReply::Looked(vec![(None, stamp)]));
        assert!(all.on_answer(steps[0].3, ONE, looked(5), at(1)).is_empty());
        tasks = all.on_answer(steps[0].3, TWO, looked(turn), at(1));
    }
    assert!(
        asked(&tasks)
            .iter()
            .all(|(_, step, ..)| matches!(step, Step::Prepare(_)))
    );
}

#[test]
fn a_node_begins_so_many_until_they_have_ended() {
    let (mut all, _) = two_keys(false);
    let execute = || Execute {
        operations: vec![get(TWO), get(ONE)],
        ..Execute::default()
    };
    let keys = || vec![get(TWO).0, get(ONE).0];
    for _ in 1..RUNNING_MAX {
        all.execute(execute(), |_| false, begun(), at(0))
            .expect("room");
    }
    let refused = [
        all.execute(execute(), |_| false, begun(), at(0)),
        all.look(keys(), false, |_| false, begun(), at(0)),
    ];
    for refused in refused {
        assert_eq!(refused.expect_err("full").kind, ErrorKind::Overloaded);
    }
    // Their time is over, and that of telling the participants.
    for over in [DEADLINE, DEADLINE + FINISHES_FOR] {
        all.on_timeout(at(over));
    }
    assert!(all.is_empty());
    all.look(keys(), false, |_| false, begun(), at(0))
        .expect("room again");
}
