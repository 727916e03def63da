//! Batches in TRANSACTIONAL caches: writes are one transaction, and reads see each transaction whole
//! or not at all.

use super::super::Front;
use super::super::deadline::CallTime;
use super::super::encode::mismatch;
use super::super::transactions::execute::{all_or_nothing, check_count, place};
use super::many::{Budget, run};
use crate::error::{Error, ErrorKind, Result};
use crate::types::{EntryView, KeyPlace, Reply, Request, RequestId, TransactionId};
use std::time::Instant;

/// How often keys are read and looked at again before it is told that they do not stand still.
const TURNS_MAX: usize = 8;

/// Carries a batch of writes out as one transaction; the answers in the order of the requests. Where
/// a condition of one does not hold, none is applied, and each answers with what lives.
///
/// # Errors
///
/// Whatever is wrong with one of them; nothing is applied then.
pub async fn write(
    front: &Front,
    requests: Vec<Result<Request>>,
    id: Option<RequestId>,
    time: CallTime,
) -> Result<Vec<Reply>> {
    if requests.is_empty() {
        return Ok(Vec::new());
    }
    check_count(requests.len())?;
    let requests: Vec<Request> = requests.into_iter().collect::<Result<_>>()?;
    time.check(Instant::now())?;
    let execute = all_or_nothing(requests);
    match front.handle.transact(execute, id, time.deadline).await? {
        Reply::Executed { replies, .. } => Ok(replies),
        other => Err(mismatch(&other)),
    }
}

/// The answer to a put that was not applied because of another one's condition.
pub fn not_put(reply: Reply) -> Reply {
    match reply {
        Reply::Got { entry } => Reply::Put {
            applied: false,
            version: entry.as_ref().map_or(0, |entry| entry.version),
            previous: entry,
        },
        other => other,
    }
}

/// The answer to a remove that was not applied because of another one's condition.
pub fn not_removed(reply: Reply) -> Reply {
    match reply {
        Reply::Got { entry } => Reply::Removed {
            applied: false,
            previous: entry,
        },
        other => other,
    }
}

/// Reads each key, and then looks whether all of them still are what was read: so they were at the
/// moment between, for no key is read while a transaction that is decided has not finished there.
pub async fn read(
    front: &Front,
    requests: Vec<Result<Request>>,
    time: CallTime,
    budget: Budget,
) -> Vec<Result<Reply>> {
    let places: Vec<Option<KeyPlace>> = requests
        .iter()
        .map(|request| Some(place(request.clone().ok()?).0))
        .collect();
    for _ in 0..TURNS_MAX {
        let answers = run(&front.handle, requests.clone(), time, budget).await;
        let read = answers.iter().zip(&places);
        let read = read.filter_map(|(answer, place)| match (answer, place) {
            (Ok(Reply::Got { entry }), Some(place)) => Some((place.clone(), version(entry))),
            _ => None,
        });
        let (keys, versions): (Vec<KeyPlace>, Vec<u64>) = read.unzip();
        if keys.len() < 2 {
            return answers;
        }
        match front.handle.look(keys, true, time.deadline).await {
            Ok(Reply::Executed { replies, .. }) => {
                let same = replies.iter().zip(&versions).all(|(reply, read)| {
                    matches!(reply, Reply::Got { entry } if version(entry) == *read)
                });
                if same {
                    return answers;
                }
            }
            Ok(other) => return all_failed(answers, &mismatch(&other)),
            Err(error) => return all_failed(answers, &error),
        }
    }
    let context = "the keys changed whenever they were read";
    let error = Error::new(ErrorKind::Conflict, context).because("KEYS_CHANGED");
    let none = requests.iter().map(|_| Err(error.clone()));
    none.collect()
}

/// Carries operations out within a transaction of several calls: all of them, or none where one
/// cannot be. The condition of each decides on its own key.
///
/// # Errors
///
/// Whatever is wrong with one of them, or with the transaction.
pub async fn within(
    front: &Front,
    id: TransactionId,
    requests: Vec<Result<Request>>,
    time: CallTime,
) -> Result<Vec<Result<Reply>>> {
    let mut operations = Vec::with_capacity(requests.len());
    for request in requests {
        let (place, operation) = place(request?);
        operations.extend(operation.map(|operation| (place, operation)));
    }
    time.check(Instant::now())?;
    let replies = front.handle.operate(id, operations, time.deadline).await?;
    Ok(replies.into_iter().map(Ok).collect())
}

/// The same with one operation.
///
/// # Errors
///
/// As [`within`].
pub async fn one_within(
    front: &Front,
    id: TransactionId,
    request: Request,
    time: CallTime,
) -> Result<Reply> {
    let mut replies = within(front, id, vec![Ok(request)], time).await?;
    let missing = || Error::new(ErrorKind::Internal, "the answer is missing");
    replies.pop().ok_or_else(missing)?
}

fn all_failed(answers: Vec<Result<Reply>>, error: &Error) -> Vec<Result<Reply>> {
    let failed = answers.into_iter();
    failed
        .map(|answer| answer.and_then(|_| Err(error.clone())))
        .collect()
}

/// The version of a value; 0 where nothing lives, which no value has.
fn version(entry: &Option<EntryView>) -> u64 {
    entry.as_ref().map_or(0, |entry| entry.version)
}
