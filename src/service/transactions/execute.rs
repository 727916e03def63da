//! `Execute`: decoded into conditions and two lists of operations, and answered by what came of the
//! one that was done.

use super::super::Front;
use super::super::deadline::CallTime;
use super::super::decode::{self, SingleKey, known};
use super::super::encode::{FromReply, mismatch, modified};
use crate::error::{Error, Result};
use crate::rpc::proto as pb;
use crate::types::transaction::TRANSACTION_KEYS_MAX;
use crate::types::{Condition, Execute, KeyOperation, KeyPlace, Operation, Reply, Request, View};
use pb::execute_request::operation::Operation as Asked;
use pb::execute_response::result::Result as Answer;
use std::collections::BTreeSet;
use std::time::Instant;

/// Which answer belongs to an operation.
#[derive(Clone, Copy, Debug)]
enum Kind {
    Get,
    Put,
    Remove,
    Touch,
    Modify { increment: bool },
}

/// See `TransactionService.Execute`.
pub async fn run(
    front: &Front,
    message: pb::ExecuteRequest,
    time: CallTime,
) -> Result<pb::ExecuteResponse> {
    let request_id = decode::request_id(&message.request_id)?;
    let (execute, kinds) = {
        let view = front.handle.view();
        decode_all(&view, message)?
    };
    time.check(Instant::now())?;
    let reply = front
        .handle
        .transact(execute, request_id, time.deadline)
        .await?;
    let (held, replies) = match reply {
        Reply::Executed { held, replies } => (held, replies),
        other => return Err(mismatch(&other)),
    };
    let kinds = if held { &kinds.0 } else { &kinds.1 };
    let results = kinds.iter().zip(replies);
    let results = results.map(|(kind, reply)| {
        Ok(pb::execute_response::Result {
            result: Some(answer(*kind, reply)?),
        })
    });
    Ok(pb::ExecuteResponse {
        held,
        results: results.collect::<Result<_>>()?,
    })
}

fn answer(kind: Kind, reply: Reply) -> Result<Answer> {
    Ok(match kind {
        Kind::Get => Answer::Get(FromReply::from_reply(reply)?),
        Kind::Put => Answer::Put(FromReply::from_reply(reply)?),
        Kind::Remove => Answer::Remove(FromReply::from_reply(reply)?),
        Kind::Touch => Answer::Touch(FromReply::from_reply(reply)?),
        Kind::Modify { increment } => Answer::Modify(modified(reply, increment)?),
    })
}

fn decode_all(
    view: &View,
    message: pb::ExecuteRequest,
) -> Result<(Execute, (Vec<Kind>, Vec<Kind>))> {
    let lists = message.conditions.len() + message.operations.len() + message.otherwise.len();
    check_count(lists)?;
    let mut execute = Execute::default();
    for check in message.conditions {
        let settings = &known(view, &check.cache)?.settings;
        let get = || decode::get_operation(None, false);
        let request = decode::keyed(settings, &check.key, &check.affinity_key, None, get)?;
        let condition = decode::condition(check.condition, settings)?;
        execute.conditions.push((place(request).0, condition));
    }
    let (operations, kinds) = branch(view, "operations", message.operations)?;
    let (otherwise, other_kinds) = branch(view, "otherwise", message.otherwise)?;
    execute.operations = operations;
    execute.otherwise = otherwise;
    Ok((execute, (kinds, other_kinds)))
}

/// Refuses a transaction of too many keys.
///
/// # Errors
///
/// `InvalidArgument`, naming the limit.
pub fn check_count(count: usize) -> Result<()> {
    if (1..=TRANSACTION_KEYS_MAX).contains(&count) {
        return Ok(());
    }
    let context = format!("a transaction names 1 to {TRANSACTION_KEYS_MAX} keys, not {count}");
    Err(Error::invalid(context).because("TOO_MANY_KEYS"))
}

type Branch = (Vec<(KeyPlace, KeyOperation)>, Vec<Kind>);

fn branch(view: &View, name: &str, asked: Vec<pb::execute_request::Operation>) -> Result<Branch> {
    let (mut operations, mut kinds) = (Vec::new(), Vec::new());
    let mut seen = BTreeSet::new();
    for (number, asked) in asked.into_iter().enumerate() {
        let (kind, request) = operation(view, asked.operation)?;
        let (place, operation) = place(request);
        if !seen.insert(place.clone()) {
            let context = format!("the key at place {number} of {name} comes twice");
            return Err(Error::invalid(context).because("DOUBLED_KEY"));
        }
        operations.extend(operation.map(|operation| (place, operation)));
        kinds.push(kind);
    }
    Ok((operations, kinds))
}

fn operation(view: &View, asked: Option<Asked>) -> Result<(Kind, Request)> {
    fn request(view: &View, message: impl SingleKey) -> Result<Request> {
        let request = {
            decode::no_transaction(message.within().0)?;
            let settings = known(view, message.cache())?.settings.clone();
            message.request(&settings)?
        };
        if request.request_id.is_none() {
            return Ok(request);
        }
        Err(Error::invalid(
            "an operation of a transaction has no request_id of its own",
        ))
    }
    let missing = || Error::invalid("one of get, put, remove, touch and modify is required");
    Ok(match asked.ok_or_else(missing)? {
        Asked::Get(message) => (Kind::Get, request(view, message)?),
        Asked::Put(message) => (Kind::Put, request(view, message)?),
        Asked::Remove(message) => (Kind::Remove, request(view, message)?),
        Asked::Touch(message) => (Kind::Touch, request(view, message)?),
        Asked::Modify(message) => {
            let increment = matches!(
                message.change,
                Some(pb::modify_request::Change::Increment(_))
            );
            (Kind::Modify { increment }, request(view, message)?)
        }
    })
}

/// Where a request on a key goes, and what it asks there.
pub fn place(request: Request) -> (KeyPlace, Option<KeyOperation>) {
    let (key, operation) = match request.operation {
        Operation::Key { key, mut operation } => {
            // A transaction keeps what it writes until it ends.
            operation.own();
            (key, Some(operation))
        }
        _ => (Default::default(), None),
    };
    let place = KeyPlace {
        cache: request.cache,
        partition: request.partition,
        key,
    };
    (place, operation)
}

/// A batch of writes of which all or none are done: the condition of each becomes one of the whole,
/// and where one does not hold, each key is only read.
pub fn all_or_nothing(requests: Vec<Request>) -> Execute {
    let mut execute = Execute::default();
    for request in requests {
        let (place, operation) = place(request);
        let Some(mut operation) = operation else {
            continue;
        };
        if let KeyOperation::Put { condition, .. } | KeyOperation::Remove { condition, .. } =
            &mut operation
        {
            let condition = std::mem::take(condition);
            if condition != Condition::Any {
                execute.conditions.push((place.clone(), condition));
            }
        }
        let get = KeyOperation::Get {
            touch: None,
            omit_value: false,
        };
        execute.otherwise.push((place.clone(), get));
        execute.operations.push((place, operation));
    }
    execute
}
