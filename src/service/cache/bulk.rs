//! `Size` and `Clear`: every partition is asked, some at a time, and the answers are added up. A
//! partition that does not answer fails the call; nothing is estimated.

use super::super::Front;
use super::super::deadline::CallTime;
use super::super::decode;
use super::super::encode::mismatch;
use super::super::in_flight::InFlight;
use super::super::inquiry;
use super::super::limits::PARTITIONS_IN_FLIGHT_MAX;
use super::many::{self, Budget, Call};
use crate::error::{Applied, Error, Result};
use crate::rpc::proto as pb;
use crate::types::view::ViewCache;
use crate::types::{
    CacheId, CacheMode, Condition, KeyOperation, NodeInfo, Operation, Reply, Request, View,
};

/// See `CacheService.Size`.
pub async fn size(
    front: &Front,
    message: pb::SizeRequest,
    time: CallTime,
) -> Result<pb::SizeResponse> {
    let (cache, partitions, holders, counted) = {
        let view = front.handle.view();
        let cache = decode::known(&view, &message.cache)?;
        let counted = Copied::of(message.copies)?;
        let node = match message.node.as_str() {
            "" => None,
            name => Some(inquiry::known_node(&view, name)?),
        };
        let partitions = if counted.primary {
            led_partitions(&view, cache, node, front.handle.me())?
        } else {
            Vec::new()
        };
        let holders: Vec<NodeInfo> = match node {
            _ if !(counted.backup || counted.near) || cache.table.is_empty() => Vec::new(),
            Some(node) => vec![node.clone()],
            // Client nodes keep near copies.
            None if counted.near => view.nodes.clone(),
            None => view.servers().cloned().collect(),
        };
        (cache.settings.id(), partitions, holders, counted)
    };
    let mut size = count_primaries(front, cache, partitions, time).await?;
    for holder in &holders {
        let copies = if holder.member == front.handle.me().member {
            inquiry::own_copies(&front.handle, cache).await?
        } else {
            inquiry::copies(&front.handle, holder, cache, time).await?
        };
        size += if counted.backup { copies.backup } else { 0 };
        size += if counted.near { copies.near } else { 0 };
    }
    Ok(pb::SizeResponse { size })
}

/// Which copies are counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Copied {
    primary: bool,
    backup: bool,
    near: bool,
}

impl Copied {
    fn of(copies: i32) -> Result<Self> {
        use pb::size_request::Copies;
        let (primary, backup, near) = match Copies::try_from(copies) {
            Ok(Copies::Unspecified | Copies::Primary) => (true, false, false),
            Ok(Copies::Backup) => (false, true, false),
            Ok(Copies::Near) => (false, false, true),
            Ok(Copies::All) => (true, true, true),
            Err(_) => {
                return Err(Error::invalid(format!(
                    "copies = {copies} is not a kind of copy"
                )));
            }
        };
        Ok(Self {
            primary,
            backup,
            near,
        })
    }
}

/// The partitions that a node is the primary of; without a node, all of them.
fn led_partitions(
    view: &View,
    cache: &ViewCache,
    node: Option<&NodeInfo>,
    me: &NodeInfo,
) -> Result<Vec<u32>> {
    let all = 0..cache.settings.partitions;
    let Some(node) = node else {
        return Ok(all.collect());
    };
    if cache.settings.mode == CacheMode::Local {
        if node.member == me.member {
            return Ok(all.collect());
        }
        return Err(Error::invalid(format!(
            "cache {:?} is LOCAL: ask {} itself for what it holds of it",
            cache.settings.name, node.consistent_id
        )));
    }
    let place = view.index_of(node.member);
    let led = all
        .zip(&cache.table)
        .filter(|(_, owners)| place.is_some() && owners.owners.first() == place.as_ref());
    Ok(led.map(|(partition, _)| partition).collect())
}

async fn count_primaries(
    front: &Front,
    cache: CacheId,
    partitions: Vec<u32>,
    time: CallTime,
) -> Result<u64> {
    let requests = partitions.into_iter().map(|partition| Request {
        cache,
        partition,
        operation: Operation::Size,
        request_id: None,
    });
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
        None => Ok(live),
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
    use crate::error::ErrorKind;

    #[test]
    fn kinds_of_copies_are_told_apart() {
        use pb::size_request::Copies;
        let counted = |copies: Copies| {
            let copied = Copied::of(copies.into()).expect("a kind");
            (copied.primary, copied.backup, copied.near)
        };
        assert_eq!(counted(Copies::Unspecified), (true, false, false));
        assert_eq!(counted(Copies::Primary), (true, false, false));
        assert_eq!(counted(Copies::Backup), (false, true, false));
        assert_eq!(counted(Copies::Near), (false, false, true));
        assert_eq!(counted(Copies::All), (true, true, true));
        let error = Copied::of(99).expect_err("unknown");
        assert_eq!(error.kind, ErrorKind::InvalidArgument);
    }

    #[test]
    fn a_clear_that_failed_in_part_is_unknown() {
        let error = Error::unavailable("no owner");
        assert_eq!(in_part(error.clone(), 0).applied, Applied::NotApplied);
        assert_eq!(in_part(error, 3).applied, Applied::Unknown);
    }
}
