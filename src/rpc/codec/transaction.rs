//! Steps of transactions, and what owners keep of them.

use super::{blob, condition, entry, list, operation, reply, required};
use crate::error::{Error, Result};
use crate::rpc::proto::{self, transaction_step as wire, transaction_step::Step as Sent};
use crate::rpc::status as errors;
use crate::types::transaction::{
    Branch, Decide, Part, Prepare, Prepared, Status, TransactionStates,
};
use crate::types::{
    Blob, CacheId, ClusterTime, Condition, Decision, Entry, Incarnation, KeyOperation, Member,
    NodeId, PartitionId, Reply, Step, TransactionId,
};

/// The id of a transaction.
pub fn encode_id(id: &TransactionId) -> Option<proto::TransactionId> {
    Some(proto::TransactionId {
        topology: id.topology,
        sequence: id.sequence,
        initiator_id: id.initiator.id.0,
        initiator_incarnation: id.initiator.incarnation.0,
        attempt: id.attempt,
    })
}

/// The id of a transaction.
///
/// # Errors
///
/// `InvalidArgument` where it is missing.
pub fn id(sent: Option<proto::TransactionId>) -> Result<TransactionId> {
    let sent = required(sent, "transaction id")?;
    Ok(TransactionId {
        topology: sent.topology,
        sequence: sent.sequence,
        initiator: Member {
            id: NodeId(sent.initiator_id),
            incarnation: Incarnation(sent.initiator_incarnation),
        },
        attempt: sent.attempt,
    })
}

/// How it ended.
pub fn encode_decision(decision: Decision) -> i32 {
    let decision = match decision {
        Decision::RolledBack => proto::TransactionDecision::RolledBack,
        Decision::Committed { held: true } => proto::TransactionDecision::Committed,
        Decision::Committed { held: false } => proto::TransactionDecision::CommittedOtherwise,
    };
    decision.into()
}

/// How it ended.
///
/// # Errors
///
/// `InvalidArgument` for a decision that is not known or not said.
pub fn decision(sent: i32) -> Result<Decision> {
    match proto::TransactionDecision::try_from(sent) {
        Ok(proto::TransactionDecision::RolledBack) => Ok(Decision::RolledBack),
        Ok(proto::TransactionDecision::Committed) => Ok(Decision::Committed { held: true }),
        Ok(proto::TransactionDecision::CommittedOtherwise) => {
            Ok(Decision::Committed { held: false })
        }
        Ok(proto::TransactionDecision::Unspecified) | Err(_) => {
            let context = format!("transaction decision: {sent} is not known");
            Err(Error::invalid(context))
        }
    }
}

fn encode_partition((cache, partition): PartitionId) -> proto::StatusPlace {
    proto::StatusPlace {
        cache: cache.0,
        partition,
    }
}

fn partition(sent: proto::StatusPlace) -> Result<PartitionId> {
    Ok((CacheId(sent.cache), operation::partition(sent.partition)?))
}

/// A step.
pub fn encode(id: &TransactionId, step: &Step) -> proto::TransactionStep {
    let step = match step {
        Step::Alone(part) => Sent::Alone(encode_part(part)),
        Step::Prepare(prepare) => Sent::Prepare(wire::Prepare {
            part: Some(encode_part(&prepare.part)),
            status: prepare.status.map(encode_partition),
            deadline: prepare.deadline.0,
        }),
        Step::Decide(decide) => Sent::Decide(wire::Decide {
            held: decide.held,
            deadline: decide.deadline.0,
            replies: decide.replies.iter().map(reply::encode).collect(),
        }),
        Step::Inquire { deadline } => Sent::Inquire(wire::Inquire {
            deadline: deadline.0,
        }),
        Step::Finish { outcome, deadline } => Sent::Finish(wire::Finish {
            outcome: encode_decision(*outcome),
            deadline: deadline.0,
        }),
        Step::Forget { deadline } => Sent::Forget(wire::Forget {
            deadline: deadline.0,
        }),
        Step::Look { keys, omit_values } => Sent::Look(wire::Look {
            keys: keys.iter().map(blob::encode).collect(),
            omit_values: *omit_values,
        }),
        Step::Lock { keys, deadline } => Sent::Lock(wire::Lock {
            keys: keys.iter().map(blob::encode).collect(),
            deadline: deadline.0,
        }),
        Step::Unlock => Sent::Unlock(wire::Unlock {}),
    };
    proto::TransactionStep {
        id: encode_id(id),
        step: Some(step),
    }
}

/// A step.
///
/// # Errors
///
/// `InvalidArgument`, naming what is missing, too long or not known.
pub fn decode(sent: proto::TransactionStep) -> Result<(TransactionId, Step)> {
    let step = match required(sent.step, "step of a known kind")? {
        Sent::Alone(sent) => Step::Alone(Box::new(part(sent)?)),
        Sent::Prepare(prepare) => Step::Prepare(Box::new(Prepare {
            part: part(required(prepare.part, "part")?)?,
            status: prepare.status.map(partition).transpose()?,
            deadline: ClusterTime(prepare.deadline),
        })),
        Sent::Decide(decide) => Step::Decide(Box::new(Decide {
            held: decide.held,
            deadline: ClusterTime(decide.deadline),
            replies: list(decide.replies, "replies", reply::decode)?,
        })),
        Sent::Inquire(inquire) => Step::Inquire {
            deadline: ClusterTime(inquire.deadline),
        },
        Sent::Finish(finish) => Step::Finish {
            outcome: decision(finish.outcome)?,
            deadline: ClusterTime(finish.deadline),
        },
        Sent::Forget(forget) => Step::Forget {
            deadline: ClusterTime(forget.deadline),
        },
        Sent::Unlock(_) => Step::Unlock,
        Sent::Lock(lock) => Step::Lock {
            keys: list(lock.keys, "keys", |key| blob::key(&key, "keys"))?,
            deadline: ClusterTime(lock.deadline),
        },
        Sent::Look(look) => Step::Look {
            keys: list(look.keys, "keys", |key| blob::key(&key, "key"))?,
            omit_values: look.omit_values,
        },
    };
    Ok((id(sent.id)?, step))
}

fn encode_part(part: &Part) -> wire::Part {
    let check = |(key, of): &(Blob, Condition)| wire::part::Check {
        key: blob::encode(key),
        condition: condition::encode(of),
    };
    let all = |operations: &[(Blob, KeyOperation)]| {
        let operations = operations.iter();
        operations
            .map(|(key, of)| operation::encode_on_key(key, of))
            .collect()
    };
    wire::Part {
        conditions: part.conditions.iter().map(check).collect(),
        operations: all(&part.operations),
        otherwise: all(&part.otherwise),
    }
}

fn part(sent: wire::Part) -> Result<Part> {
    let check = |check: wire::part::Check| {
        let key = blob::key(&check.key, "key")?;
        Ok((key, condition::decode(check.condition.as_ref())?))
    };
    Ok(Part {
        conditions: list(sent.conditions, "conditions", check)?,
        operations: list(sent.operations, "operations", operation::on_key)?,
        otherwise: list(sent.otherwise, "otherwise", operation::on_key)?,
    })
}

/// What comes of a branch.
pub fn encode_result(result: &Result<Vec<Reply>>) -> Option<proto::BranchResult> {
    use proto::branch_result::{Replies, Result as Sent};
    let result = match result {
        Ok(replies) => Sent::Replies(Replies {
            replies: replies.iter().map(reply::encode).collect(),
        }),
        Err(error) => Sent::Error(errors::to_proto(error)),
    };
    Some(proto::BranchResult {
        result: Some(result),
    })
}

/// What comes of a branch.
///
/// # Errors
///
/// `InvalidArgument`, naming what is missing, too long or not known.
pub fn result(sent: Option<proto::BranchResult>) -> Result<Result<Vec<Reply>>> {
    use proto::branch_result::Result as Sent;
    let sent = required(sent, "result of a branch")?;
    Ok(match required(sent.result, "result of a known kind")? {
        Sent::Replies(sent) => Ok(list(sent.replies, "replies", reply::decode)?),
        Sent::Error(error) => Err(errors::from_proto(error)),
    })
}

/// States of keys.
pub fn encode_writes(writes: &[(Blob, Entry)]) -> Vec<proto::KeyState> {
    let writes = writes.iter();
    writes
        .map(|(key, state)| entry::encode_key_state(key, state))
        .collect()
}

fn encode_branch(branch: &Branch) -> Option<proto::prepared_transaction::Branch> {
    Some(proto::prepared_transaction::Branch {
        writes: encode_writes(&branch.writes),
        result: encode_result(&branch.replies),
    })
}

fn branch(sent: Option<proto::prepared_transaction::Branch>) -> Result<Branch> {
    let sent = required(sent, "branch")?;
    Ok(Branch {
        writes: list(sent.writes, "writes", entry::key_state)?,
        replies: result(sent.result)?,
    })
}

/// What is prepared.
pub fn encode_prepared(prepared: &Prepared) -> proto::PreparedTransaction {
    proto::PreparedTransaction {
        id: encode_id(&prepared.id),
        status: prepared.status.map(encode_partition),
        deadline: prepared.deadline.0,
        keys: prepared.keys.iter().map(blob::encode).collect(),
        held: prepared.held,
        operations: encode_branch(&prepared.operations),
        otherwise: encode_branch(&prepared.otherwise),
    }
}

/// What is prepared.
///
/// # Errors
///
/// `InvalidArgument`, naming what is missing, too long or not known.
pub fn prepared(sent: proto::PreparedTransaction) -> Result<Prepared> {
    let mut keys = list(sent.keys, "keys", |key| blob::key(&key, "key"))?;
    // They are looked for by halving, whatever was sent.
    keys.sort_unstable();
    keys.dedup();
    Ok(Prepared {
        id: id(sent.id)?,
        status: sent.status.map(partition).transpose()?,
        deadline: ClusterTime(sent.deadline),
        keys,
        held: sent.held,
        operations: branch(sent.operations)?,
        otherwise: branch(sent.otherwise)?,
    })
}

/// The record of a decision.
pub fn encode_status(status: &Status) -> proto::TransactionStatus {
    proto::TransactionStatus {
        id: encode_id(&status.id),
        decision: encode_decision(status.decision),
        until: status.until.0,
    }
}

/// The record of a decision.
///
/// # Errors
///
/// `InvalidArgument`, naming what is missing or not known.
pub fn status(sent: proto::TransactionStatus) -> Result<Status> {
    Ok(Status {
        id: id(sent.id)?,
        decision: decision(sent.decision)?,
        until: ClusterTime(sent.until),
    })
}

/// What a transfer says of transactions that have ended.
pub fn encode_finished(states: &TransactionStates) -> Vec<proto::TransactionEnd> {
    let finished = states.finished.iter();
    let end = |(id, until): &(TransactionId, ClusterTime)| proto::TransactionEnd {
        id: encode_id(id),
        until: until.0,
    };
    finished.map(end).collect()
}

/// A transaction that has ended.
///
/// # Errors
///
/// `InvalidArgument` where its id is missing.
pub fn finished(sent: proto::TransactionEnd) -> Result<(TransactionId, ClusterTime)> {
    Ok((id(sent.id)?, ClusterTime(sent.until)))
}
