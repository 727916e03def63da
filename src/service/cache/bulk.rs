//! `Size` and `Clear`: every partition is asked, some at a time, and the answers are added up. A
//! partition that does not answer fails the call; nothing is estimated.

use super::super::Front;
use super::super::deadline::CallTime;
use super::super::decode;
use super::super::encode::mismatch;
use super::super::in_flight::InFlight;
use super::super::limits::PARTITIONS_IN_FLIGHT_MAX;
use super::many::{self, Budget, Call};
use crate::error::{Applied, Error, ErrorKind, Result};
use crate::rpc::proto as pb;
use crate::types::{Condition, KeyOperation, Operation, Reply, Request};

/// See `CacheService.Size`.
pub async fn size(
    front: &Front,
    message: pb::SizeRequest,
    time: CallTime,
) -> Result<pb::SizeResponse> {
    let requests = {
        let view = front.handle.view();
        let settings = &decode::known(&view, &message.cache)?.settings;
        check_copies(message.copies)?;
        if !message.node.is_empty() {
            return Err(Error::new(
                ErrorKind::Unimplemented,
                "the size of one node's part is not in this version; it comes with memory accounting",
            ));
        }
        let cache = settings.id();
        let request = move |partition| Request {
            cache,
            partition,
            operation: Operation::Size,
            request_id: None,
        };
        (0..settings.partitions).map(request)
    };
    let mut live = 0u64;
    let (_, failed) = ask_all(front, requests, time, |reply| match reply {
        Reply::Size { live: some } => {
            live += some;
            Ok(())
        }
        other => Err(mismatch(&other)),
    })
    .await;
    match failed {
        Some(error) => Err(error.not_applied()),
        None => Ok(pb::SizeResponse { size: live }),
    }
}

fn check_copies(copies: i32) -> Result<()> {
    use pb::size_request::Copies;
    match Copies::try_from(copies) {
        Ok(Copies::Unspecified | Copies::Primary) => Ok(()),
        Ok(other) => Err(Error::new(
            ErrorKind::Unimplemented,
            format!(
                "copies = {} is not in this version; it comes with memory accounting",
                other.as_str_name()
            ),
        )),
        Err(_) => Err(Error::invalid(format!(
            "copies = {copies} is not a kind of copy"
        ))),
    }
}

/// See `CacheService.Clear`.
pub async fn clear(
    front: &Front,
    message: pb::ClearRequest,
    time: CallTime,
) -> Result<pb::ClearResponse> {
    if !message.keys.is_empty() {
        return clear_keys(front, message, time).await;
    }
    let requests = {
        let view = front.handle.view();
        let settings = &decode::known(&view, &message.cache)?.settings;
        let id = decode::request_id(&message.request_id)?;
        let cache = settings.id();
        let request = move |partition| Request {
            cache,
            partition,
            operation: Operation::Clear,
            request_id: decode::part_id(id, partition as usize),
        };
        (0..settings.partitions).map(request)
    };
    let mut removed = 0u64;
    let (answered, failed) = ask_all(front, requests, time, |reply| match reply {
        Reply::Cleared { removed: some } => {
            removed += some;
            Ok(())
        }
        other => Err(mismatch(&other)),
    })
    .await;
    match failed {
        Some(error) => Err(in_part(error, answered)),
        None => Ok(pb::ClearResponse { removed }),
    }
}

/// Removes the keys that are named, each for itself.
async fn clear_keys(
    front: &Front,
    message: pb::ClearRequest,
    time: CallTime,
) -> Result<pb::ClearResponse> {
    let requests = {
        let view = front.handle.view();
        let settings = &decode::known(&view, &message.cache)?.settings;
        many::check_count(front, message.keys.len())?;
        let call = Call::of(settings, &[], "", &message.request_id)?;
        let operation = || {
            Ok(KeyOperation::Remove {
                condition: Condition::Any,
                return_previous: false,
            })
        };
        // A key that cannot be one fails the call before anything is removed.
        let keys = message.keys.iter().enumerate();
        let requests: Result<Vec<_>> = keys
            .map(|(part, key)| call.request(part, key, operation))
            .collect();
        requests?.into_iter().map(Ok).collect()
    };
    let mut removed = 0u64;
    let mut answered = 0usize;
    let mut failed = None;
    for answer in many::run(&front.handle, requests, time, Budget::SMALL).await {
        match answer {
            Ok(reply) => {
                answered += 1;
                removed += u64::from(matches!(reply, Reply::Removed { applied: true, .. }));
            }
            Err(error) => failed = failed.or(Some(error)),
        }
    }
    match failed {
        Some(error) => Err(in_part(error, answered)),
        None => Ok(pb::ClearResponse { removed }),
    }
}

/// A write of many parts that failed in one: whether anything was applied depends on the others.
fn in_part(error: Error, answered: usize) -> Error {
    if answered == 0 {
        return error;
    }
    Error {
        applied: Applied::Unknown,
        ..error
    }
}

/// Asks for all of `requests`, some at a time, until one fails. How many answered, and the error.
async fn ask_all(
    front: &Front,
    requests: impl Iterator<Item = Request>,
    time: CallTime,
    mut take: impl FnMut(Reply) -> Result<()>,
) -> (usize, Option<Error>) {
    let mut in_flight = InFlight::default();
    let mut answered = 0;
    let mut failed = None;
    let mut note = |answer: Result<Reply>| match answer.and_then(&mut take) {
        Ok(()) => answered += 1,
        Err(error) => failed = failed.take().or(Some(error)),
    };
    let mut stop = false;
    for request in requests {
        if let Err(error) = time.check(std::time::Instant::now()) {
            note(Err(error));
            break;
        }
        let handle = front.handle.clone();
        let work = async move { handle.execute(request, time.deadline).await };
        let mut answer = in_flight.start(work).await;
        if answer.is_none() && in_flight.len() >= PARTITIONS_IN_FLIGHT_MAX {
            answer = in_flight.next().await;
        }
        if let Some(answer) = answer {
            stop = answer.is_err();
            note(answer);
        }
        if stop {
            break;
        }
    }
    while let Some(answer) = in_flight.next().await {
        note(answer);
    }
    (answered, failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn copies_that_cannot_be_counted_are_refused_by_name() {
        use pb::size_request::Copies;
        assert!(check_copies(0).is_ok());
        assert!(check_copies(Copies::Primary as i32).is_ok());
        for copies in [Copies::Backup, Copies::Near, Copies::All] {
            let error = check_copies(copies as i32).expect_err("not yet");
            assert_eq!(error.kind, ErrorKind::Unimplemented);
            assert!(error.context.contains(copies.as_str_name()), "{error}");
        }
        assert_eq!(
            check_copies(99).expect_err("unknown").kind,
            ErrorKind::InvalidArgument
        );
    }

    #[test]
    fn a_clear_that_failed_in_part_is_unknown() {
        let error = Error::unavailable("no owner");
        assert_eq!(in_part(error.clone(), 0).applied, Applied::NotApplied);
        assert_eq!(in_part(error, 3).applied, Applied::Unknown);
    }
}
