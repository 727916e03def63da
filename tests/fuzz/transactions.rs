//! Random steps of transactions, their answers, and what owners keep of them.

use crate::random::Random;
use crate::values::{
    cache, condition, entry, error, key, key_operation, member, partition, reply, time,
    view_of_entry,
};
use embergrid::error::Error;
use embergrid::types::transaction::{
    Branch, Decide, Part, Prepare, Prepared, Status, TransactionStates,
};
use embergrid::types::{Blob, Decision, PartitionId, Reply, Step, StepReply, TransactionId};

pub fn id(random: &mut Random) -> TransactionId {
    TransactionId {
        topology: random.number(),
        sequence: random.number(),
        initiator: member(random),
        attempt: random.small(),
    }
}

fn decision(random: &mut Random) -> Decision {
    random.pick(&[
        Decision::RolledBack,
        Decision::Committed { held: true },
        Decision::Committed { held: false },
    ])
}

fn place(random: &mut Random) -> PartitionId {
    (cache(random), partition(random))
}

fn part(random: &mut Random) -> Part {
    Part {
        conditions: random.several(2, |random| (key(random), condition(random))),
        operations: random.several(2, |random| (key(random), key_operation(random))),
        otherwise: random.several(2, |random| (key(random), key_operation(random))),
    }
}

pub fn step(random: &mut Random) -> Step {
    match random.below(9) {
        0 => Step::Alone(Box::new(part(random))),
        1 => Step::Prepare(Box::new(Prepare {
            part: part(random),
            status: random.maybe(place),
            deadline: time(random),
        })),
        2 => Step::Decide(Box::new(Decide {
            held: random.coin(),
            deadline: time(random),
            replies: random.several(2, plain_reply),
        })),
        3 => Step::Inquire {
            deadline: time(random),
        },
        4 => Step::Finish {
            outcome: decision(random),
            deadline: time(random),
        },
        5 => Step::Forget {
            deadline: time(random),
        },
        6 => Step::Lock {
            keys: random.several(3, key),
            deadline: time(random),
        },
        7 => Step::Unlock,
        _ => Step::Look {
            keys: random.several(3, key),
            omit_values: random.coin(),
        },
    }
}

/// Answers within answers are not nested without end.
fn plain_reply(random: &mut Random) -> Reply {
    loop {
        let made = reply(random);
        if !matches!(made, Reply::Executed { .. } | Reply::Step(_)) {
            return made;
        }
    }
}

fn result(random: &mut Random) -> Result<Vec<Reply>, Error> {
    if random.coin() {
        Ok(random.several(2, plain_reply))
    } else {
        Err(error(random))
    }
}

pub fn executed(random: &mut Random) -> Reply {
    Reply::Executed {
        held: random.coin(),
        replies: random.several(3, plain_reply),
    }
}

pub fn step_reply(random: &mut Random) -> Reply {
    Reply::Step(Box::new(match random.below(4) {
        0 => StepReply::Prepared {
            held: random.coin(),
            operations: result(random),
            otherwise: result(random),
        },
        1 => StepReply::Decided(decision(random)),
        2 => StepReply::Finished,
        _ => StepReply::Looked(
            random.several(3, |random| (random.maybe(view_of_entry), random.number())),
        ),
    }))
}

fn branch(random: &mut Random) -> Branch {
    Branch {
        writes: random.several(2, |random| (key(random), entry(random))),
        replies: result(random),
    }
}

pub fn prepared(random: &mut Random) -> Prepared {
    let mut keys: Vec<Blob> = random.several(3, key);
    keys.sort();
    keys.dedup();
    Prepared {
        id: id(random),
        status: random.maybe(place),
        deadline: time(random),
        keys,
        held: random.coin(),
        operations: branch(random),
        otherwise: branch(random),
    }
}

pub fn status(random: &mut Random) -> Status {
    Status {
        id: id(random),
        decision: decision(random),
        until: time(random),
    }
}

pub fn states(random: &mut Random) -> TransactionStates {
    TransactionStates {
        prepared: random.several(2, prepared),
        statuses: random.several(2, status),
        finished: random.several(2, |random| (id(random), time(random))),
    }
}
