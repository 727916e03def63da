//! Transactions of several calls at their initiator: what comes in, and what it wants done.

use super::*;
use crate::error::ErrorKind;
use crate::types::time::MILLISECOND;
use crate::types::transaction::{Begin, Concurrency, Isolation};
use crate::types::{
    Blob, CacheId, CacheSettings, Change, Condition, EntryView, Expiry, KeyOperation, Step,
    StepReply,
};
use Concurrency::{Optimistic, Pessimistic};
use Isolation::{ReadCommitted, RepeatableRead, Serializable};
use std::sync::Arc;

const NEAR: PartitionId = (CacheId(1), 1);
const FAR: PartitionId = (CacheId(2), 7);
const TIMEOUT: u64 = 3 * SECOND;

fn at(mono: u64) -> Now {
    Now {
        mono: Monotonic(mono),
        cluster: ClusterTime(1_000 * SECOND + mono),
    }
}

/// One transaction and what it asks for.
struct Pair {
    all: Transactions,
    id: TransactionId,
    asked: Vec<(TransactionId, PartitionId, Step)>,
    answered: Vec<Result<Reply>>,
    now: u64,
}

impl Pair {
    fn begin(concurrency: Concurrency, isolation: Isolation) -> Self {
        let mut all = Transactions::default();
        let begin = Begin {
            concurrency,
            isolation,
            timeout: TIMEOUT,
            label: "test".to_owned(),
        };
        let id = all.begin(begin, 4, Member::default(), at(0)).expect("room");
        Self {
            all,
            id,
            asked: Vec::new(),
            answered: Vec::new(),
            now: 0,
        }
    }

    fn take(&mut self, tasks: Vec<Task>) {
        for task in tasks {
            match task {
                Task::Ask {
                    id,
                    partition,
                    operation: Operation::Transaction { step, .. },
                    ..
                } => self.asked.push((id, partition, step)),
                Task::Ask { .. } => panic!("no step"),
                Task::Answer { result, .. } => self.answered.push(result),
            }
        }
    }

    fn operate(&mut self, operations: Vec<(PartitionId, KeyOperation)>) -> Result<()> {
        let asked = operations.into_iter().map(|(partition, operation)| {
            let settings = Arc::new(CacheSettings::named("t"));
            (place(partition), operation, settings)
        });
        let deadline = Monotonic(self.now + SECOND);
        let (id, now) = (self.id, at(self.now));
        let tasks = self.all.operate(id, asked.collect(), 1, deadline, now)?;
        self.take(tasks);
        Ok(())
    }

    /// Answers the oldest question.
    fn answer(&mut self, result: Result<Reply>) {
        let (id, partition, _) = self.asked.remove(0);
        let tasks = self.all.on_answer(id, partition, result, at(self.now));
        self.take(tasks);
    }

    fn commit(&mut self) {
        let deadline = Monotonic(self.now + SECOND);
        let now = at(self.now);
        let tasks = self.all.commit(self.id, |_| false, 2, deadline, now);
        self.take(tasks.expect("a commit"));
    }

    fn roll_back(&mut self) {
        let tasks = self.all.roll_back(self.id, 3).expect("a rollback");
        self.take(tasks);
    }

    fn told(&mut self) -> Result<Vec<Reply>> {
        match self.answered.remove(0)? {
            Reply::Executed { replies, .. } => Ok(replies),
            other => panic!("{other:?}"),
        }
    }
}

fn place((cache, partition): PartitionId) -> KeyPlace {
    KeyPlace {
        cache,
        partition,
        key: "k".into(),
    }
}

fn get() -> KeyOperation {
    KeyOperation::Get {
        touch: None,
        omit_value: false,
    }
}

fn put(value: &str) -> KeyOperation {
    KeyOperation::Put {
        value: value.into(),
        flags: 0,
        expiry: Expiry::Default,
        condition: Condition::Any,
        return_previous: false,
    }
}

fn add() -> KeyOperation {
    KeyOperation::Modify {
        change: Change::Increment {
            delta: 1,
            initial: Some(1),
            at_least_zero: false,
            wrap: false,
        },
        expiry: Expiry::Keep,
        condition: Condition::Any,
    }
}

fn entry(value: &str, version: u64) -> EntryView {
    EntryView {
        key: "k".into(),
        value: value.into(),
        flags: 0,
        version,
        created_at: ClusterTime(1),
        last_access_at: ClusterTime(1),
        expires_at: None,
        idle_expires_at: None,
    }
}

fn looked(entry: Option<EntryView>) -> Result<Reply> {
    Ok(Reply::Step(Box::new(StepReply::Looked(vec![(entry, 9)]))))
}

fn value(replies: &[Reply]) -> Option<Blob> {
    match replies.first() {
        Some(Reply::Got { entry }) => entry.as_ref().map(|entry| entry.value.clone()),
        Some(Reply::Modified { value, .. }) => Some(value.clone()),
        other => panic!("{other:?}"),
    }
}

#[test]
fn it_sees_what_it_wrote_and_nobody_is_asked_twice() {
    let mut pair = Pair::begin(Optimistic, RepeatableRead);
    pair.operate(vec![(NEAR, get())]).expect("open");
    assert!(matches!(pair.asked[0].2, Step::Look { .. }));
    pair.answer(looked(Some(entry("4", 11))));
    assert_eq!(value(&pair.told().expect("read")), Some("4".into()));
    for sum in ["5", "6"] {
        pair.operate(vec![(NEAR, add())]).expect("open");
        assert_eq!(value(&pair.told().expect("added")), Some(sum.into()));
    }
    assert!(pair.asked.is_empty());
    pair.commit();
    let (_, partition, step) = pair.asked[0].clone();
    let Step::Alone(part) = step else {
        panic!("{step:?}");
    };
    assert_eq!(partition, NEAR);
    assert_eq!(part.conditions, [("k".into(), Condition::Version(11))]);
    assert!(matches!(&part.operations[..],
        [(_, KeyOperation::Put { value, expiry: Expiry::Keep, .. })] if *value == Blob::from("6")));
    let held = Reply::Executed {
        held: true,
        replies: Vec::new(),
    };
    pair.answer(Ok(held));
    assert_eq!(pair.told(), Ok(Vec::new()));
    // Asked again, it says the same; it takes no more calls.
    pair.commit();
    assert_eq!(pair.told(), Ok(Vec::new()));
    let refused = pair.operate(vec![(NEAR, get())]).expect_err("ended");
    assert_eq!(refused.kind, ErrorKind::NotFound);
}

#[test]
fn what_changed_meanwhile_aborts_it() {
    let mut pair = Pair::begin(Optimistic, Serializable);
    pair.operate(vec![(NEAR, get())]).expect("open");
    pair.answer(looked(None));
    assert_eq!(value(&pair.told().expect("read")), None);
    pair.operate(vec![(NEAR, put("x"))]).expect("open");
    pair.told().expect("put");
    pair.commit();
    let not_held = Reply::Executed {
        held: false,
        replies: Vec::new(),
    };
    pair.answer(Ok(not_held));
    let error = pair.told().expect_err("aborted");
    assert_eq!(error.kind, ErrorKind::Conflict);
    assert_eq!(error.reason, session::READ_CHANGED);
    assert_eq!(error.applied, crate::error::Applied::NotApplied);
}

#[test]
fn locks_are_taken_at_access_and_given_up_at_the_end() {
    let locks = |isolation, operation| {
        let mut pair = Pair::begin(Pessimistic, isolation);
        pair.operate(vec![(NEAR, operation)]).expect("open");
        let locks = matches!(pair.asked[0].2, Step::Lock { .. });
        pair.answer(looked(None));
        pair.told().expect("done");
        pair.roll_back();
        assert_eq!(pair.told(), Ok(Vec::new()));
        let gives_up = pair.asked.iter().any(|(_, _, step)| *step == Step::Unlock);
        assert_eq!(locks, gives_up);
        locks
    };
    assert!(locks(ReadCommitted, put("x")));
    assert!(!locks(ReadCommitted, get()));
    assert!(locks(RepeatableRead, get()));
    assert!(locks(Serializable, put("x")));
}

#[test]
fn committed_reads_are_read_anew_and_checked_by_nobody() {
    let mut pair = Pair::begin(Optimistic, ReadCommitted);
    for read in ["1", "2"] {
        pair.operate(vec![(NEAR, get())]).expect("open");
        pair.answer(looked(Some(entry(read, 1))));
        assert_eq!(value(&pair.told().expect("read")), Some(read.into()));
    }
    pair.operate(vec![(NEAR, put("x"))]).expect("open");
    pair.told().expect("blind");
    pair.commit();
    assert!(matches!(&pair.asked[0].2, Step::Alone(part) if part.conditions.is_empty()));
}

#[test]
fn several_partitions_commit_by_the_protocol_of_all() {
    let mut pair = Pair::begin(Pessimistic, Serializable);
    pair.operate(vec![(NEAR, put("a")), (FAR, get())])
        .expect("open");
    assert_eq!(pair.asked.len(), 2);
    pair.answer(looked(None));
    assert!(pair.answered.is_empty());
    pair.answer(looked(Some(entry("f", 3))));
    pair.told().expect("both");
    pair.commit();
    let prepares = |(_, _, step): &(TransactionId, PartitionId, Step)| matches!(step, Step::Prepare(prepare) if prepare.part.conditions.len() == 1);
    assert!(pair.asked.len() == 2 && pair.asked.iter().all(prepares));
    let prepared = || {
        Ok(Reply::Step(Box::new(StepReply::Prepared {
            held: true,
            operations: Ok(Vec::new()),
            otherwise: Ok(Vec::new()),
        })))
    };
    let touched = Ok(Reply::Step(Box::new(StepReply::Prepared {
        held: true,
        operations: Ok(vec![Reply::Put {
            applied: true,
            version: 1,
            previous: None,
        }]),
        otherwise: Ok(Vec::new()),
    })));
    pair.answer(touched);
    pair.answer(prepared());
    let decided = StepReply::Decided(crate::types::Decision::Committed { held: true });
    assert!(matches!(pair.asked[0].2, Step::Decide(_)));
    pair.answer(Ok(Reply::Step(Box::new(decided))));
    assert_eq!(pair.told(), Ok(Vec::new()));
    let unlocks = pair.asked.iter().filter(|(.., step)| *step == Step::Unlock);
    assert_eq!(unlocks.count(), 2);
}

#[test]
fn a_call_that_fails_leaves_it_as_it_was() {
    let mut pair = Pair::begin(Optimistic, RepeatableRead);
    pair.operate(vec![(NEAR, get()), (FAR, get())])
        .expect("open");
    let busy = pair
        .operate(vec![(NEAR, get())])
        .expect_err("one at a time");
    assert_eq!(busy.reason, session::TRANSACTION_BUSY);
    let late = pair.asked[1].clone();
    pair.answer(Err(Error::unavailable("no owner")));
    assert!(pair.told().is_err());
    // The other answer comes late, and concerns no call any more.
    let stale = pair.all.on_answer(late.0, late.1, looked(None), at(1));
    assert!(stale.is_empty());
    pair.asked.clear();
    pair.operate(vec![(NEAR, put("no number")), (NEAR, add())])
        .expect("open");
    if let Some((id, partition, _)) = pair.asked.pop() {
        let tasks = pair.all.on_answer(id, partition, looked(None), at(1));
        pair.take(tasks);
    }
    assert!(pair.told().is_err(), "not a number");
    pair.operate(vec![(NEAR, get())]).expect("open");
    if !pair.asked.is_empty() {
        pair.answer(looked(None));
    }
    assert_eq!(value(&pair.told().expect("read")), None, "nothing was put");
}

#[test]
fn its_time_ends_it_and_it_is_forgotten_later() {
    let mut pair = Pair::begin(Pessimistic, RepeatableRead);
    pair.operate(vec![(NEAR, get())]).expect("open");
    assert_eq!(pair.all.next(), Some(Monotonic(SECOND)));
    let tasks = pair.all.on_timeout(at(SECOND));
    pair.take(tasks);
    assert_eq!(
        pair.told().expect_err("late").kind,
        ErrorKind::DeadlineExceeded
    );
    assert_eq!(pair.all.next(), Some(Monotonic(TIMEOUT)));
    pair.asked.clear();
    let tasks = pair.all.on_timeout(at(TIMEOUT));
    pair.take(tasks);
    assert!(matches!(&pair.asked[..], [(_, NEAR, Step::Unlock)]));
    assert!(pair.all.open(at(TIMEOUT)).is_empty());
    pair.now = TIMEOUT + MILLISECOND;
    pair.commit();
    assert_eq!(pair.told().expect_err("over").kind, ErrorKind::Conflict);
    let forgotten = pair.all.next().expect("remembered for a while");
    pair.all.on_timeout(at(forgotten.0));
    assert!(pair.all.next().is_none());
    assert!(pair.all.roll_back(pair.id, 3).is_err());
}

#[test]
fn it_keeps_so_much_and_what_is_read_or_written_anew_counts_once() {
    let mut pair = Pair::begin(Optimistic, RepeatableRead);
    let value = "v".repeat(1 << 20);
    let part = |number| (CacheId(1), number);
    let reads = (0..7).map(|number| (part(number), get()));
    pair.operate(reads.collect()).expect("open");
    for _ in 0..7 {
        pair.answer(looked(Some(entry(&value, 1))));
    }
    assert_eq!(pair.told().expect("they find room").len(), 7);
    for _ in 0..2 {
        let writes = (0..7).map(|number| (part(number), put(&value)));
        pair.operate(writes.collect()).expect("open");
        pair.told().expect("it is no more than before");
    }
    // What finds no room changes nothing, and nothing that was read for it is kept.
    for operation in [put(&value), get()] {
        let more = [7, 8].map(|number| (part(number), operation.clone()));
        pair.operate(more.to_vec()).expect("open");
        while !pair.asked.is_empty() {
            pair.answer(looked(Some(entry(&value, 1))));
        }
        let error = pair.told().expect_err("too large");
        let told = (error.kind, &*error.reason, error.applied);
        let not_applied = crate::error::Applied::NotApplied;
        assert_eq!(
            told,
            (ErrorKind::Overloaded, "TRANSACTION_TOO_LARGE", not_applied)
        );
        assert_eq!(pair.all.open(at(1))[0].keys, 7);
    }
    pair.operate(vec![(part(9), put("small"))]).expect("open");
    pair.told().expect("it finds room");
}

#[test]
fn it_names_so_many_keys() {
    let mut pair = Pair::begin(Optimistic, ReadCommitted);
    let keys = |keys: std::ops::Range<u32>| -> Vec<_> {
        keys.map(|number| ((CacheId(1), number), put("x")))
            .collect()
    };
    let most = crate::types::transaction::TRANSACTION_KEYS_MAX as u32;
    let refused = |error: Error| {
        let told = (error.kind, &*error.reason);
        assert_eq!(told, (ErrorKind::Overloaded, "TOO_MANY_KEYS"));
    };
    refused(pair.operate(keys(0..most + 1)).expect_err("too many"));
    pair.operate(keys(0..most)).expect("just as many");
    pair.told().expect("put");
    refused(pair.operate(keys(most..most + 1)).expect_err("one more"));
    pair.operate(keys(0..1)).expect("it is known");
    pair.told().expect("put");
}

#[test]
fn a_node_knows_so_many_until_they_are_forgotten() {
    let mut all = Transactions::default();
    let begin = || Begin {
        concurrency: Optimistic,
        isolation: Serializable,
        timeout: TIMEOUT,
        label: String::new(),
    };
    let one = |all: &mut Transactions, now| all.begin(begin(), 4, Member::default(), at(now));
    for _ in 0..sessions::SESSIONS_MAX {
        one(&mut all, 0).expect("room");
    }
    let error = one(&mut all, 0).expect_err("full");
    assert_eq!(error.kind, ErrorKind::Overloaded);
    // They end by their time, and are remembered for a while.
    all.on_timeout(at(TIMEOUT));
    assert!(all.open(at(TIMEOUT)).is_empty());
    assert!(one(&mut all, TIMEOUT).is_err());
    let forgotten = TIMEOUT + FINISHES_FOR;
    all.on_timeout(at(forgotten));
    one(&mut all, forgotten).expect("room again");
}
