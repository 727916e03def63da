//! Many keys in one call, each with an answer of its own.
//!
//! In an ATOMIC cache every key is for itself, so a batch is parted by owner: each owner gets its
//! keys in one message, all owners at a time. A batch goes whole, to the owner of its first key,
//! where the table is not known, and where parting it could change what it means: in a
//! TRANSACTIONAL cache, with an affinity key, with a key that comes twice (which is refused), and
//! with a request id of the caller's, who may send it again when owners are others.
//!
//! A part keeps its request id and its keys when it is sent again, so what was applied is not
//! applied twice. Where a key met a passing error (its owner was just lost, say) its part is sent
//! again, which answers the others as before.

use super::cache::identified;
use super::channel::Options;
use super::nodes::Address;
use super::retry::{Effect, backoff, in_doubt, jitter};
use super::routes::{Keyed, Place};
use super::{Client, cache_service};
use crate::error::{Applied, Error, Result};
use crate::rpc::proto as pb;
use crate::rpc::status::from_proto;
use bytes::Bytes;
use futures_util::future::join_all;
use pb::put_many_request::Put;
use pb::remove_many_request::Remove;
use pb::{Entry, GetManyRequest, PutManyRequest, PutResponse, RemoveManyRequest, RemoveResponse};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::convert::identity;
use std::mem;
use std::time::Instant;
use tonic::transport::Channel;
use tonic::{Request, Response, Status};

impl Client {
    /// Reads several keys: for each, in the order of the request, its entry, none on a miss, or
    /// its own error.
    ///
    /// # Errors
    ///
    /// As any call, where no key has an answer.
    ///
    /// # Example
    ///
    /// ```no_run
    /// # async fn example(client: embergrid::client::Client) -> embergrid::error::Result<()> {
    /// use embergrid::client::messages::GetManyRequest;
    ///
    /// let answers = client.get_many(GetManyRequest {
    ///     cache: "sessions".into(),
    ///     keys: vec!["TGT-1".into(), "TGT-2".into()],
    ///     ..GetManyRequest::default()
    /// }).await?;
    /// for answer in answers {
    ///     match answer {
    ///         Ok(Some(entry)) => println!("{:?} = {:?}", entry.key, entry.value),
    ///         Ok(None) => println!("a miss"),
    ///         Err(error) => println!("no answer: {error}"),
    ///     }
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub async fn get_many(&self, request: GetManyRequest) -> Result<Vec<Result<Option<Entry>>>> {
        self.many(request).await
    }

    /// Stores several keys: for each, in the order of the request, what came of it. In an ATOMIC
    /// cache each key is for itself; in a TRANSACTIONAL one all of them are, or none.
    ///
    /// # Errors
    ///
    /// As any call, where no key has an answer: UNKNOWN where some or all may have been stored.
    ///
    /// # Example
    ///
    /// ```no_run
    /// # async fn example(client: embergrid::client::Client) -> embergrid::error::Result<()> {
    /// use embergrid::client::messages::{PutManyRequest, put_many_request::Put};
    ///
    /// let put = |key: &'static str, value: &'static str| Put {
    ///     key: key.into(),
    ///     value: value.into(),
    ///     ..Put::default()
    /// };
    /// let answers = client.put_many(PutManyRequest {
    ///     cache: "names".into(),
    ///     entries: vec![put("1", "alice"), put("2", "bob")],
    ///     ..PutManyRequest::default()
    /// }).await?;
    /// assert!(answers.iter().all(|answer| answer.as_ref().is_ok_and(|put| put.applied)));
    /// # Ok(())
    /// # }
    /// ```
    pub async fn put_many(&self, request: PutManyRequest) -> Result<Vec<Result<PutResponse>>> {
        self.many(request).await
    }

    /// Removes several keys: for each, in the order of the request, what came of it. In an ATOMIC
    /// cache each key is for itself; in a TRANSACTIONAL one all of them are, or none.
    ///
    /// # Errors
    ///
    /// As any call, where no key has an answer: UNKNOWN where some or all may have been removed.
    ///
    /// # Example
    ///
    /// ```no_run
    /// # async fn example(client: embergrid::client::Client) -> embergrid::error::Result<()> {
    /// use embergrid::client::messages::{RemoveManyRequest, remove_many_request::Remove};
    ///
    /// let keys = ["1", "2"].map(|key| Remove { key: key.into(), condition: None });
    /// let answers = client.remove_many(RemoveManyRequest {
    ///     cache: "names".into(),
    ///     keys: keys.into(),
    ///     ..RemoveManyRequest::default()
    /// }).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn remove_many(
        &self,
        request: RemoveManyRequest,
    ) -> Result<Vec<Result<RemoveResponse>>> {
        self.many(request).await
    }

    /// Sends a batch in its parts, and puts the answers in the order of the request.
    async fn many<B: Batch>(&self, request: B) -> Result<Vec<Result<B::Answer>>> {
        let routes = &self.connections.routes;
        let parts = parted(request, |cache, key| routes.owner_if_atomic(cache, key));
        let sent = parts.into_iter().map(|part| {
            Box::pin(async move { (part.places, self.part_answered(part.request).await) })
        });
        gathered(join_all(sent).await)
    }

    /// Sends a part until no key of it met a passing error.
    async fn part_answered<B: Batch>(&self, mut request: B) -> Result<Vec<Result<B::Answer>>> {
        let effect = request.effect();
        if effect == Effect::Write {
            identified(request.id())?;
        }
        let keys = request.keys().len();
        let ask = |options| {
            let (client, request) = (self.clone(), request.clone());
            async move {
                let answered = client.call_with(options, effect, request, B::send).await?;
                Ok((B::answers(answered.reply), answered.tainted))
            }
        };
        self.until_answered(effect, keys, ask).await
    }

    /// Asks until none of so many was answered with a passing error, in the bounds of the client's
    /// options. Each time comes an answer for each, and whether an attempt before it may have been
    /// applied.
    pub(super) async fn until_answered<A, Fut>(
        &self,
        effect: Effect,
        count: usize,
        ask: impl Fn(Options) -> Fut,
    ) -> Result<Vec<Result<A>>>
    where
        Fut: Future<Output = Result<(Vec<Result<A>>, bool)>>,
    {
        let options = self.connections.options;
        let deadline = Instant::now() + options.timeout;
        let mut answers = Vec::new();
        // What may have been applied by an attempt that did not say so.
        let mut tainted = vec![false; count];
        for attempt in 1..=options.attempts_max.max(1) {
            let left = Options {
                timeout: deadline.saturating_duration_since(Instant::now()),
                ..options
            };
            let asked = ask(left).await;
            match asked.and_then(|(said, doubt)| Ok((complete(said, count)?, doubt))) {
                Ok((said, doubt)) => {
                    for (tainted, answer) in tainted.iter_mut().zip(&said) {
                        *tainted |= effect == Effect::Write && (doubt || is_unknown(answer));
                    }
                    answers = match effect {
                        Effect::Read => said,
                        Effect::Write => kept(answers, said),
                    };
                }
                Err(error) if answers.is_empty() => return Err(error),
                // What is known of each is more than this, but that it may have been applied.
                Err(error) => {
                    if effect == Effect::Write && error.applied == Applied::Unknown {
                        tainted.fill(true);
                    }
                    break;
                }
            }
            let wait = backoff(attempt, jitter());
            if !answers.iter().any(is_passing) || Instant::now() + wait >= deadline {
                break;
            }
            tokio::time::sleep(wait).await;
        }
        let last_word = |(answer, tainted): (Result<A>, bool)| match answer {
            Err(error) if tainted => Err(in_doubt(error)),
            answer => answer,
        };
        Ok(answers.into_iter().zip(tainted).map(last_word).collect())
    }
}

/// What is known of each behind another attempt: what was done stays done, whatever came later.
fn kept<A>(before: Vec<Result<A>>, said: Vec<Result<A>>) -> Vec<Result<A>> {
    let mut before = before.into_iter();
    let known = |said| match before.next() {
        Some(Ok(done)) => Ok(done),
        _ => said,
    };
    said.into_iter().map(known).collect()
}

/// A call on many keys.
pub(super) trait Batch: Keyed + Send + Sync + 'static {
    /// What it says of one key.
    type Key: Send + Sync;
    /// What all of them are answered with.
    type Reply: Send;
    /// What one of them is answered with.
    type Answer: Send;

    fn send(
        channel: Channel,
        message: Request<Self>,
    ) -> impl Future<Output = Result<Response<Self::Reply>, Status>> + Send;
    fn answers(reply: Self::Reply) -> Vec<Result<Self::Answer>>;
    fn effect(&self) -> Effect;
    fn id(&mut self) -> &mut Bytes;
    fn cache(&self) -> &str;
    fn keys(&mut self) -> &mut Vec<Self::Key>;
    fn key(of: &Self::Key) -> &Bytes;
    /// Whether the caller said something that holds for the batch as one.
    fn is_one(&self) -> bool;
}

macro_rules! batch {
    ($($request:ident => $call:ident, $reply:ident, $module:ident::$kind:ident as $answer:ty,
       $answer_of:path; $keys:ident: $one:ty, $key_of:path; $effect:path)*) => {$(
        impl Keyed for $request {
            fn place(&self) -> Place<'_> {
                if !self.affinity_key.is_empty() {
                    return Place::Key(&self.cache, &self.affinity_key);
                }
                match self.$keys.first().map($key_of) {
                    Some(first) => Place::Key(&self.cache, first),
                    None => Place::Anywhere,
                }
            }
        }

        impl Batch for $request {
            type Key = $one;
            type Reply = pb::$reply;
            type Answer = $answer;

            async fn send(
                channel: Channel,
                message: Request<Self>,
            ) -> Result<Response<pb::$reply>, Status> {
                cache_service(channel).$call(message).await
            }

            fn answers(reply: pb::$reply) -> Vec<Result<$answer>> {
                use pb::$module::result::Result as Answer;
                let answers = reply.results.into_iter().map(|one| match one.result {
                    Some(Answer::$kind(answer)) => Ok($answer_of(answer)),
                    Some(Answer::Error(error)) => Err(from_proto(error)),
                    None => Err(nothing_said()),
                });
                answers.collect()
            }

            fn effect(&self) -> Effect {
                $effect(self)
            }

            fn id(&mut self) -> &mut Bytes {
                &mut self.request_id
            }

            fn cache(&self) -> &str {
                &self.cache
            }

            fn keys(&mut self) -> &mut Vec<$one> {
                &mut self.$keys
            }

            fn key(of: &$one) -> &Bytes {
                $key_of(of)
            }

            fn is_one(&self) -> bool {
                let apart = self.affinity_key.is_empty() && self.transaction.is_empty();
                !(apart && self.request_id.is_empty())
            }
        }
    )*};
}

batch! {
    GetManyRequest => get_many, GetManyResponse, get_many_response::Get as Option<Entry>,
        entry_of; keys: Bytes, itself; effect_of_get
    PutManyRequest => put_many, PutManyResponse, put_many_response::Put as PutResponse,
        identity; entries: Put, key_of_put; a_write
    RemoveManyRequest => remove_many, RemoveManyResponse, remove_many_response::Remove as RemoveResponse,
        identity; keys: Remove, key_of_remove; a_write
}

fn entry_of(got: pb::GetResponse) -> Option<Entry> {
    got.entry
}

fn itself(key: &Bytes) -> &Bytes {
    key
}

fn key_of_put(put: &Put) -> &Bytes {
    &put.key
}

fn key_of_remove(remove: &Remove) -> &Bytes {
    &remove.key
}

fn effect_of_get(request: &GetManyRequest) -> Effect {
    match request.touch {
        Some(_) => Effect::Write,
        None => Effect::Read,
    }
}

fn a_write<B>(_: &B) -> Effect {
    Effect::Write
}

/// The keys of one owner.
#[derive(Debug)]
struct Part<B> {
    /// Where they stand in the whole.
    places: Vec<usize>,
    request: B,
}

/// A batch by owners, or as a whole.
fn parted<B: Batch>(
    mut request: B,
    owner: impl Fn(&str, &[u8]) -> Option<Address>,
) -> Vec<Part<B>> {
    let keys = mem::take(request.keys());
    let mut seen = HashSet::new();
    let one = request.is_one() || !keys.iter().all(|key| seen.insert(B::key(key)));
    let owners: Option<Vec<Address>> = keys
        .iter()
        .map(|key| owner(request.cache(), B::key(key)).filter(|_| !one))
        .collect();
    let owners = match owners {
        Some(owners) if !owners.is_empty() => owners,
        _ => {
            let places = (0..keys.len()).collect();
            *request.keys() = keys;
            return vec![Part { places, request }];
        }
    };
    let mut parts: HashMap<Address, Part<B>> = HashMap::new();
    for (place, (key, owner)) in keys.into_iter().zip(owners).enumerate() {
        let part = parts.entry(owner).or_insert_with(|| Part {
            places: Vec::new(),
            request: request.clone(),
        });
        part.places.push(place);
        part.request.keys().push(key);
    }
    parts.into_values().collect()
}

/// What came of the keys at these places.
type Outcome<T> = (Vec<usize>, Result<Vec<Result<T>>>);

/// The answers of all parts, in the order of the whole. A part that failed answers with its error
/// for each of its keys; where all failed, so did the batch.
fn gathered<T>(parts: Vec<Outcome<T>>) -> Result<Vec<Result<T>>> {
    let mut answers = BTreeMap::new();
    let mut failed: Option<Error> = None;
    let mut answered = false;
    for (places, outcome) in parts {
        match outcome {
            Ok(said) => {
                answered = true;
                answers.extend(places.into_iter().zip(said));
            }
            Err(error) => {
                let all = places.into_iter().map(|place| (place, Err(error.clone())));
                answers.extend(all);
                // What may have been applied weighs more than what was not.
                if failed.is_none() || error.applied == Applied::Unknown {
                    failed = Some(error);
                }
            }
        }
    }
    match failed {
        Some(error) if !answered => Err(error),
        _ => Ok(answers.into_values().collect()),
    }
}

/// Whether the key may get an answer when it is asked for again.
fn is_passing<T>(answer: &Result<T>) -> bool {
    let kind = answer.as_ref().err().map(|error| error.kind);
    kind.is_some_and(super::retry::worth_repeating)
}

fn is_unknown<T>(answer: &Result<T>) -> bool {
    let applied = answer.as_ref().err().map(|error| error.applied);
    applied == Some(Applied::Unknown)
}

pub(super) fn nothing_said() -> Error {
    Error::unknown("the node did not say what came of it")
}

/// An answer for each key, or it is none.
pub(super) fn complete<T>(answers: Vec<Result<T>>, keys: usize) -> Result<Vec<Result<T>>> {
    if answers.len() == keys {
        return Ok(answers);
    }
    Err(Error::unknown(format!(
        "the node gave {} answers for {keys} keys",
        answers.len()
    )))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::nodes::Connections;
    use crate::error::ErrorKind;
    use parking_lot::Mutex;
    use std::sync::Arc;

    fn batch(keys: &[&'static str]) -> PutManyRequest {
        let put = |key: &&'static str| Put {
            key: Bytes::from_static(key.as_bytes()),
            ..Put::default()
        };
        PutManyRequest {
            cache: "c".to_owned(),
            entries: keys.iter().map(put).collect(),
            ..PutManyRequest::default()
        }
    }

    /// Keys that begin with the same letter have the same owner.
    fn owner(_: &str, key: &[u8]) -> Option<Address> {
        let letter = *key.first()?;
        (letter != b'?').then(|| Address::named("h", u16::from(letter)))
    }

    #[test]
    fn a_batch_is_parted_by_owner_and_gathered_in_order() {
        let parts = parted(batch(&["a1", "b1", "a2", "c1", "b2"]), owner);
        assert_eq!(parts.len(), 3);
        let said = parts.into_iter().map(|part| {
            let keys = part.request.entries.into_iter();
            (part.places, Ok(keys.map(|put| Ok(put.key)).collect()))
        });
        let answers = gathered(said.collect()).expect("every part answered");
        let keys: Vec<Bytes> = answers.into_iter().map(|key| key.expect("a key")).collect();
        assert_eq!(keys, ["a1", "b1", "a2", "c1", "b2"]);
    }

    #[test]
    fn a_batch_that_is_one_goes_whole() {
        let with = |change: fn(&mut PutManyRequest)| {
            let mut request = batch(&["a", "b"]);
            change(&mut request);
            parted(request, owner).len()
        };
        assert_eq!(with(|_| ()), 2);
        assert_eq!(with(|request| request.affinity_key = "x".into()), 1);
        assert_eq!(with(|request| request.transaction = "x".into()), 1);
        assert_eq!(with(|request| request.request_id = "x".into()), 1);
        assert_eq!(parted(batch(&["a", "b", "a"]), owner).len(), 1);
        assert_eq!(parted(batch(&["a", "?"]), owner).len(), 1);
        assert_eq!(parted(batch(&[]), owner).len(), 1);
    }

    #[test]
    fn a_part_that_failed_fails_its_keys_and_no_others() {
        let refused = || Err(Error::unavailable("no owner"));
        let answers = gathered(vec![(vec![1], Ok(vec![Ok(7)])), (vec![0, 2], refused())]);
        let answers = answers.expect("one part answered");
        assert!(answers[0].is_err() && answers[2].is_err());
        assert_eq!(answers[1], Ok(7));
        let doubt = Err(Error::unknown("broke"));
        let failed: Result<Vec<Result<u8>>> =
            gathered(vec![(vec![0], doubt), (vec![1], refused())]);
        assert_eq!(failed.map_err(|error| error.kind), Err(ErrorKind::Unknown));
    }

    /// What comes of several writes that are asked for in this way, time after time.
    async fn answered(
        effect: Effect,
        asked: Vec<Result<(Vec<Result<u8>>, bool)>>,
    ) -> Result<Vec<Result<u8>>> {
        let connections = Connections::new(Vec::new(), None, Options::default());
        let client = Client {
            connections: Arc::new(connections),
        };
        let asked = Mutex::new(asked.into_iter());
        let ask = |_| {
            let said = asked.lock().next().expect("nobody asks that often");
            async move { said }
        };
        client.until_answered(effect, 2, ask).await
    }

    #[tokio::test]
    async fn what_may_have_been_applied_is_never_said_to_have_failed() {
        let passing = || Err(Error::unavailable("no owner"));
        let full = || Err(Error::overloaded("too much"));
        let kinds = |answers: Result<Vec<Result<u8>>>| -> Vec<Result<u8, ErrorKind>> {
            let answers = answers.expect("answers").into_iter();
            answers.map(|one| one.map_err(|error| error.kind)).collect()
        };
        // The first attempt of the call was lost, and the second one refused.
        let lost = vec![Ok((vec![Ok(1), full()], true))];
        assert_eq!(
            kinds(answered(Effect::Write, lost).await),
            [Ok(1), Err(ErrorKind::Unknown)]
        );
        // The call that was to answer what is left ended without a word.
        for (effect, kind) in [
            (Effect::Write, ErrorKind::Unknown),
            (Effect::Read, ErrorKind::Unavailable),
        ] {
            let silent = vec![
                Ok((vec![Ok(1), passing()], false)),
                Err(Error::unknown("no answer")),
            ];
            assert_eq!(kinds(answered(effect, silent).await), [Ok(1), Err(kind)]);
        }
        // What was done stays done, and what was read is read together.
        for (effect, first) in [
            (Effect::Write, Ok(1)),
            (Effect::Read, Err(ErrorKind::Overloaded)),
        ] {
            let twice = vec![
                Ok((vec![Ok(1), passing()], false)),
                Ok((vec![full(), Ok(2)], false)),
            ];
            assert_eq!(kinds(answered(effect, twice).await), [first, Ok(2)]);
        }
        let never = vec![Err(Error::unavailable("nobody"))];
        assert!(answered(Effect::Write, never).await.is_err());
    }

    #[test]
    fn passing_errors_are_told_from_final_ones() {
        assert!(!is_passing(&Ok(1)));
        assert!(is_passing::<()>(&Err(Error::unavailable("no owner"))));
        assert!(!is_passing::<()>(&Err(Error::invalid("too long"))));
        assert!(is_unknown::<()>(&Err(Error::new(
            ErrorKind::DeadlineExceeded,
            "late"
        ))));
    }

    #[test]
    fn every_key_has_an_answer() {
        assert!(complete(vec![Ok(1)], 1).is_ok());
        let error = complete(vec![Ok(1)], 2).expect_err("one is missing");
        assert_eq!(error.applied, Applied::Unknown);
    }
}
