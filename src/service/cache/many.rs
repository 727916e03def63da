//! `GetMany`, `PutMany`, `RemoveMany`: in an ATOMIC cache each key for itself, with an answer or an
//! error of its own, in the order of the call; `whole.rs` has what TRANSACTIONAL caches do. Several
//! are carried out at a time, and no more of their answers is held than fits a message.

use super::super::Front;
use super::super::deadline::CallTime;
use super::super::decode;
use super::super::encode::FromReply;
use super::super::in_flight::InFlight;
use super::super::limits::BATCH_IN_FLIGHT_MAX;
use super::whole;
use crate::error::{Applied, Error, ErrorKind, Result};
use crate::node::Handle;
use crate::rpc::proto as pb;
use crate::rpc::status::to_proto;
use crate::types::{
    AtomicityMode, CacheSettings, EntryView, KeyOperation, Reply, Request, RequestId, TransactionId,
};
use bytes::Bytes;
use std::collections::HashSet;
use std::time::Instant;

/// After so many operations that the node answered at once, other calls get their turn.
const TURN: usize = 64;

/// See `CacheService.GetMany`.
pub async fn get(
    front: &Front,
    message: pb::GetManyRequest,
    time: CallTime,
) -> Result<pb::GetManyResponse> {
    let (requests, budget, transactional, within) = {
        let view = front.handle.view();
        let settings = &decode::known(&view, &message.cache)?.settings;
        let call = Call::of(
            settings,
            &message.affinity_key,
            &message.transaction,
            &message.request_id,
        )?;
        check_count(front, message.keys.len())?;
        let operation = decode::get_operation(message.touch, message.omit_value)?;
        let request =
            |(part, key): (usize, &Bytes)| call.request(part, key, || Ok(operation.clone()));
        let requests: Vec<_> = message.keys.iter().enumerate().map(request).collect();
        let budget = Budget::of(front, settings, !message.omit_value);
        (
            requests,
            budget,
            is_transactional(settings),
            call.transaction,
        )
    };
    // While servers of an older protocol take part, each key is read for itself, as they do it.
    let answers = if let Some(id) = within {
        whole::within(front, id, requests, time).await?
    } else if transactional && front.handle.knows_transactions() {
        whole::read(front, requests, time, budget).await
    } else {
        run(&front.handle, requests, time, budget).await
    };
    let results = message.keys.into_iter().zip(answers).map(|(key, answer)| {
        use pb::get_many_response::result::Result as Wire;
        let result = match answer.and_then(pb::GetResponse::from_reply) {
            Ok(response) => Wire::Get(response),
            Err(error) => Wire::Error(to_proto(&error)),
        };
        pb::get_many_response::Result {
            key,
            result: Some(result),
        }
    });
    Ok(pb::GetManyResponse {
        results: results.collect(),
    })
}

/// See `CacheService.PutMany`.
pub async fn put(
    front: &Front,
    message: pb::PutManyRequest,
    time: CallTime,
) -> Result<pb::PutManyResponse> {
    let mut keys = Vec::with_capacity(message.entries.len());
    let (requests, budget, id, transactional, within) = {
        let view = front.handle.view();
        let settings = &decode::known(&view, &message.cache)?.settings;
        let call = Call::of(
            settings,
            &message.affinity_key,
            &message.transaction,
            &message.request_id,
        )?;
        check_count(front, message.entries.len())?;
        check_distinct(message.entries.iter().map(|entry| &entry.key))?;
        let mut requests = Vec::with_capacity(message.entries.len());
        for (part, entry) in message.entries.into_iter().enumerate() {
            requests.push(call.request(part, &entry.key, || {
                Ok(KeyOperation::Put {
                    value: decode::value(&entry.value, settings)?,
                    flags: entry.flags,
                    expiry: decode::expiry(entry.expiry)?,
                    condition: decode::condition(entry.condition, settings)?,
                    return_previous: message.return_previous,
                })
            }));
            keys.push(entry.key);
        }
        (
            requests,
            Budget::of(front, settings, message.return_previous),
            call.id,
            is_transactional(settings),
            call.transaction,
        )
    };
    let answers: Vec<_> = if let Some(id) = within {
        whole::within(front, id, requests, time).await?
    } else if transactional {
        let replies = whole::write(front, requests, id, time).await?;
        replies
            .into_iter()
            .map(|reply| Ok(whole::not_put(reply)))
            .collect()
    } else {
        run(&front.handle, requests, time, budget).await
    };
    let results = keys.into_iter().zip(answers).map(|(key, answer)| {
        use pb::put_many_response::result::Result as Wire;
        let result = match answer.and_then(pb::PutResponse::from_reply) {
            Ok(response) => Wire::Put(response),
            Err(error) => Wire::Error(to_proto(&error)),
        };
        pb::put_many_response::Result {
            key,
            result: Some(result),
        }
    });
    Ok(pb::PutManyResponse {
        results: results.collect(),
    })
}

/// See `CacheService.RemoveMany`.
pub async fn remove(
    front: &Front,
    message: pb::RemoveManyRequest,
    time: CallTime,
) -> Result<pb::RemoveManyResponse> {
    let mut keys = Vec::with_capacity(message.keys.len());
    let (requests, budget, id, transactional, within) = {
        let view = front.handle.view();
        let settings = &decode::known(&view, &message.cache)?.settings;
        let call = Call::of(
            settings,
            &message.affinity_key,
            &message.transaction,
            &message.request_id,
        )?;
        check_count(front, message.keys.len())?;
        check_distinct(message.keys.iter().map(|remove| &remove.key))?;
        let mut requests = Vec::with_capacity(message.keys.len());
        for (part, remove) in message.keys.into_iter().enumerate() {
            requests.push(call.request(part, &remove.key, || {
                Ok(KeyOperation::Remove {
                    condition: decode::condition(remove.condition, settings)?,
                    return_previous: message.return_previous,
                })
            }));
            keys.push(remove.key);
        }
        (
            requests,
            Budget::of(front, settings, message.return_previous),
            call.id,
            is_transactional(settings),
            call.transaction,
        )
    };
    let answers: Vec<_> = if let Some(id) = within {
        whole::within(front, id, requests, time).await?
    } else if transactional {
        let replies = whole::write(front, requests, id, time).await?;
        let replies = replies.into_iter();
        replies.map(|reply| Ok(whole::not_removed(reply))).collect()
    } else {
        run(&front.handle, requests, time, budget).await
    };
    let results = keys.into_iter().zip(answers).map(|(key, answer)| {
        use pb::remove_many_response::result::Result as Wire;
        let result = match answer.and_then(pb::RemoveResponse::from_reply) {
            Ok(response) => Wire::Remove(response),
            Err(error) => Wire::Error(to_proto(&error)),
        };
        pb::remove_many_response::Result {
            key,
            result: Some(result),
        }
    });
    Ok(pb::RemoveManyResponse {
        results: results.collect(),
    })
}

/// What the keys of one call share.
pub(super) struct Call<'a> {
    settings: &'a CacheSettings,
    affinity_key: &'a [u8],
    transaction: Option<TransactionId>,
    id: Option<RequestId>,
}

impl<'a> Call<'a> {
    pub(super) fn of(
        settings: &'a CacheSettings,
        affinity_key: &'a [u8],
        transaction: &str,
        request_id: &[u8],
    ) -> Result<Self> {
        Ok(Self {
            settings,
            affinity_key,
            transaction: decode::transaction(transaction, request_id)?,
            id: decode::request_id(request_id)?,
        })
    }

    pub(super) fn request(
        &self,
        part: usize,
        key: &[u8],
        operation: impl FnOnce() -> Result<KeyOperation>,
    ) -> Result<Request> {
        let id = decode::part_id(self.id, part);
        decode::keyed(self.settings, key, self.affinity_key, id, operation)
    }
}

/// Refuses a call with too many keys.
///
/// # Errors
///
/// `InvalidArgument`, naming the limit.
pub(super) fn check_count(front: &Front, count: usize) -> Result<()> {
    let max = front.limits.batch_keys_max as usize;
    if count <= max {
        return Ok(());
    }
    Err(Error::invalid(format!(
        "one call has at most {max} keys (batch-keys-max), not {count}"
    ))
    .because("TOO_MANY_KEYS"))
}

fn check_distinct<'a>(keys: impl Iterator<Item = &'a Bytes>) -> Result<()> {
    let mut seen = HashSet::new();
    for (part, key) in keys.enumerate() {
        if !seen.insert(key) {
            return Err(
                Error::invalid(format!("the key at place {part} comes twice in the call"))
                    .because("DOUBLED_KEY"),
            );
        }
    }
    Ok(())
}

/// Whether all keys of a call change together.
fn is_transactional(settings: &CacheSettings) -> bool {
    settings.atomicity == AtomicityMode::Transactional
}

/// How much the answers of one call may weigh.
#[derive(Clone, Copy, Debug)]
pub(super) struct Budget {
    left: usize,
    /// The most that one answer may weigh.
    one: usize,
}

impl Budget {
    /// Without a bound: the answers carry no values.
    pub(super) const SMALL: Self = Self {
        left: usize::MAX,
        one: 0,
    };

    fn of(front: &Front, settings: &CacheSettings, values: bool) -> Self {
        if !values {
            return Self::SMALL;
        }
        Self {
            left: usize::try_from(front.limits.message_bytes_max).unwrap_or(usize::MAX),
            one: usize::try_from(settings.entry_bytes_max).unwrap_or(usize::MAX),
        }
    }

    /// Whether one more answer fits beside those that are on their way.
    fn room(&self, on_their_way: usize) -> bool {
        (on_their_way + 1).saturating_mul(self.one) <= self.left
    }

    fn take(&mut self, answer: &Result<Reply>) {
        if self.one > 0 {
            self.left = self.left.saturating_sub(answer.as_ref().map_or(0, weight));
        }
    }
}

fn weight(reply: &Reply) -> usize {
    let of = |entry: &Option<EntryView>| {
        entry
            .as_ref()
            .map_or(0, |entry| entry.key.len() + entry.value.len() + 64)
    };
    match reply {
        Reply::Got { entry } => of(entry),
        Reply::Put { previous, .. } | Reply::Removed { previous, .. } => of(previous),
        _ => 0,
    }
}

/// Carries out what could be decoded, several at a time; answers in the order of `requests`.
pub(super) async fn run(
    handle: &Handle,
    requests: Vec<Result<Request>>,
    time: CallTime,
    mut budget: Budget,
) -> Vec<Result<Reply>> {
    let mut answers: Vec<Option<Result<Reply>>> = Vec::new();
    answers.resize_with(requests.len(), || None);
    let mut in_flight = InFlight::default();
    for (place, request) in requests.into_iter().enumerate() {
        let full = |waiting: usize| waiting >= BATCH_IN_FLIGHT_MAX;
        while full(in_flight.len()) || (!in_flight.is_empty() && !budget.room(in_flight.len())) {
            let Some((place, answer)) = in_flight.next().await else {
                break;
            };
            budget.take(&answer);
            answers[place] = Some(answer);
        }
        let ready = time.check(Instant::now()).and(request).and_then(|request| {
            if budget.room(0) {
                Ok(request)
            } else {
                Err(answer_full())
            }
        });
        let request = match ready {
            Ok(request) => request,
            Err(error) => {
                answers[place] = Some(Err(error));
                continue;
            }
        };
        let handle = handle.clone();
        let work = async move { (place, handle.execute(request, time.deadline).await) };
        if let Some((place, answer)) = in_flight.start(work).await {
            budget.take(&answer);
            answers[place] = Some(answer);
        }
        if place % TURN == TURN - 1 {
            tokio::task::yield_now().await;
        }
    }
    while let Some((place, answer)) = in_flight.next().await {
        answers[place] = Some(answer);
    }
    answers
        .into_iter()
        .map(|answer| answer.unwrap_or_else(|| Err(broken_off())))
        .collect()
}

fn answer_full() -> Error {
    Error::overloaded("the answer to this call is full (message-bytes-max); ask for this key again")
        .because("ANSWER_FULL")
}

fn broken_off() -> Error {
    let error = Error::new(ErrorKind::Internal, "the operation broke off");
    Error {
        applied: Applied::Unknown,
        ..error
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_doubled_key_is_refused_with_its_place() {
        let keys = [Bytes::from("a"), Bytes::from("b"), Bytes::from("a")];
        assert!(check_distinct(keys[..2].iter()).is_ok());
        let error = check_distinct(keys.iter()).expect_err("doubled");
        assert!(error.context.contains("place 2"), "{error}");
    }

    #[test]
    fn the_budget_counts_what_is_on_its_way() {
        let mut budget = Budget { left: 100, one: 40 };
        assert!(budget.room(1));
        assert!(!budget.room(2));
        let entry = EntryView {
            key: "k".into(),
            value: vec![0; 20].into(),
            flags: 0,
            version: 1,
            created_at: crate::types::ClusterTime(0),
            last_access_at: crate::types::ClusterTime(0),
            expires_at: None,
            idle_expires_at: None,
        };
        budget.take(&Ok(Reply::Got { entry: Some(entry) }));
        assert!(!budget.room(0));
        assert!(Budget::SMALL.room(1_000_000));
    }
}
