//! Many keys in one call, each with an answer of its own.
//!
//! A batch keeps its request id when it is sent again, so what was applied is not applied twice.
//! Keys that met a passing error (their owner was just lost, say) have the whole batch sent again,
//! which answers the others as before.

use super::cache::identified;
use super::retry::{Effect, backoff, jitter};
use super::{Client, cache_service};
use crate::error::{Applied, Error, Result};
use crate::rpc::proto::{
    Entry, GetManyRequest, PutManyRequest, PutResponse, RemoveManyRequest, RemoveResponse,
    get_many_response, put_many_response, remove_many_response,
};
use crate::rpc::status::from_proto;
use std::time::Instant;

impl Client {
    /// Reads several keys: for each, in the order of the request, its entry, none on a miss, or
    /// its own error.
    ///
    /// # Errors
    ///
    /// As any call, for the batch as a whole.
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
    pub async fn get_many(
        &self,
        mut request: GetManyRequest,
    ) -> Result<Vec<Result<Option<Entry>>>> {
        use get_many_response::result::Result as Answer;
        let effect = if request.touch.is_some() {
            identified(&mut request.request_id)?;
            Effect::Write
        } else {
            Effect::Read
        };
        let keys = request.keys.len();
        let once = async || {
            let send = async |channel, message| cache_service(channel).get_many(message).await;
            let reply = self.call(effect, request.clone(), send).await?;
            let answers = reply.results.into_iter().map(|one| match one.result {
                Some(Answer::Get(got)) => Ok(got.entry),
                Some(Answer::Error(error)) => Err(from_proto(error)),
                None => Err(nothing_said()),
            });
            complete(answers.collect(), keys)
        };
        self.until_answered(effect, once).await
    }

    /// Stores several keys: for each, in the order of the request, what came of it. In an ATOMIC
    /// cache each key is for itself.
    ///
    /// # Errors
    ///
    /// As any call, for the batch as a whole: UNKNOWN where some or all may have been stored;
    /// UNIMPLEMENTED in a TRANSACTIONAL cache.
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
    pub async fn put_many(&self, mut request: PutManyRequest) -> Result<Vec<Result<PutResponse>>> {
        use put_many_response::result::Result as Answer;
        identified(&mut request.request_id)?;
        let keys = request.entries.len();
        let once = async || {
            let send = async |channel, message| cache_service(channel).put_many(message).await;
            let reply = self.call(Effect::Write, request.clone(), send).await?;
            let answers = reply.results.into_iter().map(|one| match one.result {
                Some(Answer::Put(put)) => Ok(put),
                Some(Answer::Error(error)) => Err(from_proto(error)),
                None => Err(nothing_said()),
            });
            complete(answers.collect(), keys)
        };
        self.until_answered(Effect::Write, once).await
    }

    /// Removes several keys: for each, in the order of the request, what came of it. In an ATOMIC
    /// cache each key is for itself.
    ///
    /// # Errors
    ///
    /// As any call, for the batch as a whole: UNKNOWN where some or all may have been removed;
    /// UNIMPLEMENTED in a TRANSACTIONAL cache.
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
        mut request: RemoveManyRequest,
    ) -> Result<Vec<Result<RemoveResponse>>> {
        use remove_many_response::result::Result as Answer;
        identified(&mut request.request_id)?;
        let keys = request.keys.len();
        let once = async || {
            let send = async |channel, message| cache_service(channel).remove_many(message).await;
            let reply = self.call(Effect::Write, request.clone(), send).await?;
            let answers = reply.results.into_iter().map(|one| match one.result {
                Some(Answer::Remove(removed)) => Ok(removed),
                Some(Answer::Error(error)) => Err(from_proto(error)),
                None => Err(nothing_said()),
            });
            complete(answers.collect(), keys)
        };
        self.until_answered(Effect::Write, once).await
    }

    /// Sends a batch until no key of it met a passing error, in the bounds of the client's options.
    async fn until_answered<T>(
        &self,
        effect: Effect,
        once: impl AsyncFn() -> Result<Vec<Result<T>>>,
    ) -> Result<Vec<Result<T>>> {
        let options = self.connections.options;
        let deadline = Instant::now() + options.timeout;
        let mut answers = once().await?;
        // Which keys may have been written by an attempt that did not say so.
        let mut tainted = vec![false; answers.len()];
        for attempt in 1..options.attempts_max {
            for (tainted, answer) in tainted.iter_mut().zip(&answers) {
                *tainted |= effect == Effect::Write && is_unknown(answer);
            }
            let wait = backoff(attempt, jitter());
            if !answers.iter().any(is_passing) || Instant::now() + wait >= deadline {
                break;
            }
            tokio::time::sleep(wait).await;
            match once().await {
                Ok(again) => answers = again,
                // What is known of each key is more than this.
                Err(_) => break,
            }
        }
        let last_word = |(answer, tainted): (Result<T>, bool)| match answer {
            Err(error) if tainted && error.applied == Applied::NotApplied => {
                Err(Error::unknown(format!(
                    "an earlier attempt may have been applied; then: {}",
                    error.context
                )))
            }
            answer => answer,
        };
        Ok(answers.into_iter().zip(tainted).map(last_word).collect())
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

fn nothing_said() -> Error {
    Error::unknown("the node did not say what came of this key")
}

/// An answer for each key, or it is none.
fn complete<T>(answers: Vec<Result<T>>, keys: usize) -> Result<Vec<Result<T>>> {
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
    use crate::error::ErrorKind;

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
