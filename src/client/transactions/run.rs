//! One run of a transaction: begun at an owner of the first key that it asks for, kept by that node
//! until its end, and spoken of to that node alone.
//!
//! A call is sent a second time only where the node has said that it was not carried out. Where no
//! answer came, the run cannot go on: nobody knows what it would commit.

use super::super::nodes::Connection;
use super::super::retry::{Effect, backoff, jitter, worth_repeating};
use super::super::routes::{Keyed, Place};
use super::super::{Client, transaction_service};
use super::{Concurrency, Isolation, TransactionOptions};
use crate::error::{Applied, Error, ErrorKind, Result};
use crate::rpc::proto as pb;
use bytes::Bytes;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::Mutex;
use tonic::transport::Channel;
use tonic::{Request, Response, Status};

/// The reason where a node does not know a transaction.
const NO_TRANSACTION: &str = "NO_TRANSACTION";
/// The reason of a call while another one is under way.
const TRANSACTION_BUSY: &str = "TRANSACTION_BUSY";

/// Why a run cannot go on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Over {
    /// Nothing of it was done: it may be run again.
    Again(Error),
    /// A call was given up before it was answered: it is not committed, and may be run again.
    Dropped(Error),
    /// That is the last word.
    Failed(Error),
}

/// One run.
#[derive(Debug)]
pub struct Run {
    client: Client,
    begin: pb::BeginRequest,
    deadline: Instant,
    /// Held while a call is under way: a node takes one at a time.
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    begun: Option<Begun>,
    /// Set where no further call is made.
    over: Option<Over>,
}

/// What a node keeps.
#[derive(Debug)]
struct Begun {
    name: String,
    connection: Arc<Connection>,
}

/// A request that can be part of a transaction.
pub trait Within: Keyed {
    /// Says of which.
    fn set_transaction(&mut self, name: &str);
}

macro_rules! within {
    ($($request:ident),* $(,)?) => {$(
        impl Within for pb::$request {
            fn set_transaction(&mut self, name: &str) {
                self.transaction = name.to_owned();
            }
        }
    )*};
}

within!(
    GetRequest,
    PutRequest,
    RemoveRequest,
    TouchRequest,
    ModifyRequest,
    GetManyRequest,
    PutManyRequest,
    RemoveManyRequest,
);

/// The beginning of a transaction, near a key.
#[derive(Clone, Debug)]
struct BeginNear {
    request: pb::BeginRequest,
    cache: String,
    key: Option<Bytes>,
}

impl Keyed for BeginNear {
    fn place(&self) -> Place<'_> {
        match &self.key {
            Some(key) => Place::Key(&self.cache, key),
            None => Place::Anywhere,
        }
    }
}

impl Run {
    pub fn new(client: Client, options: &TransactionOptions, deadline: Instant) -> Self {
        let concurrency = match options.concurrency {
            Concurrency::Pessimistic => pb::TransactionConcurrency::Pessimistic,
            Concurrency::Optimistic => pb::TransactionConcurrency::Optimistic,
        };
        let isolation = match options.isolation {
            Isolation::ReadCommitted => pb::TransactionIsolation::ReadCommitted,
            Isolation::RepeatableRead => pb::TransactionIsolation::RepeatableRead,
            Isolation::Serializable => pb::TransactionIsolation::Serializable,
        };
        let begin = pb::BeginRequest {
            concurrency: concurrency.into(),
            isolation: isolation.into(),
            timeout: None,
            label: options.label.clone(),
        };
        Self {
            client,
            begin,
            deadline,
            state: Mutex::default(),
        }
    }

    /// Carries a call out within the transaction, which begins with the first one.
    pub async fn operate<Req: Within, Rep>(
        &self,
        mut request: Req,
        send: impl AsyncFn(Channel, Request<Req>) -> Result<Response<Rep>, Status>,
    ) -> Result<Rep> {
        let mut state = self.state.lock().await;
        if let Some(Over::Again(error) | Over::Dropped(error) | Over::Failed(error)) = &state.over {
            return Err(error.clone());
        }
        let begun = match state.begun.take() {
            Some(begun) => begun,
            None => match self.begin(request.place()).await {
                Ok(begun) => begun,
                Err(error) => {
                    state.over = Some(Over::Failed(error.clone()));
                    return Err(error);
                }
            },
        };
        request.set_transaction(&begun.name);
        let connection = Arc::clone(&begun.connection);
        state.begun = Some(begun);
        // Until it is answered: whoever drops this future does not know what a commit would contain.
        state.over = Some(Over::Dropped(dropped()));
        let mut made = 0;
        loop {
            made += 1;
            let limit = self.limit(self.deadline);
            let sent = self
                .client
                .attempt(&connection, Effect::Write, &request, limit, &send);
            let error = match sent.await {
                Ok(reply) => {
                    state.over = None;
                    return Ok(reply);
                }
                Err(error) => error,
            };
            let next = after_call(&error);
            // Nothing is applied before the commit.
            let error = error.not_applied();
            match next {
                AfterCall::Tell => {
                    state.over = None;
                    return Err(error);
                }
                AfterCall::Repeat if self.may_repeat(made, self.deadline).await => {}
                AfterCall::Repeat | AfterCall::Over => {
                    state.over = Some(Over::Again(error.clone()));
                    return Err(error);
                }
            }
        }
    }

    async fn begin(&self, place: Place<'_>) -> Result<Begun> {
        let (cache, key) = match place {
            Place::Key(cache, by) => (cache.to_owned(), Some(Bytes::copy_from_slice(by))),
            _ => (String::new(), None),
        };
        let left = self.deadline.saturating_duration_since(Instant::now());
        let request = pb::BeginRequest {
            timeout: prost_types::Duration::try_from(left.max(TIMEOUT_MIN)).ok(),
            ..self.begin.clone()
        };
        let near = BeginNear {
            request,
            cache,
            key,
        };
        let send = async |channel, message: Request<BeginNear>| {
            let message = message.map(|near| near.request);
            transaction_service(channel).begin(message).await
        };
        // One that was begun and not answered holds nothing, and ends when its time is over.
        let client = &self.client;
        let options = client.connections.options;
        let answered = client.call_with(options, Effect::Read, near, send).await?;
        Ok(Begun {
            name: answered.reply.transaction,
            connection: answered.connection,
        })
    }

    /// Makes visible what was written.
    ///
    /// # Errors
    ///
    /// Whether it may be run again. What may have been committed may not.
    pub async fn commit(&self) -> Result<(), Over> {
        let mut state = self.state.lock().await;
        let ended = Over::Failed(ended());
        if let Some(over) = state.over.replace(ended) {
            self.drop_what_was_written(&mut state).await;
            return Err(over);
        }
        // It stays there until its end is known: who drops the future has it rolled back, if it can be.
        let Some(begun) = &state.begun else {
            return Ok(());
        };
        let request = pb::CommitRequest {
            transaction: begun.name.clone(),
        };
        let send = async |channel, message| transaction_service(channel).commit(message).await;
        let give_up = Instant::now() + self.client.connections.options.timeout;
        let (mut made, mut tainted) = (0, false);
        let result = loop {
            made += 1;
            let limit = self.limit(give_up);
            let sent =
                self.client
                    .attempt(&begun.connection, Effect::Write, &request, limit, &send);
            let error = match sent.await {
                Ok(_) => break Ok(()),
                Err(error) => error,
            };
            let next = after_commit(&error, tainted);
            tainted |= error.applied == Applied::Unknown;
            match next {
                AfterCommit::Over(over) => break Err(over),
                AfterCommit::Ask if self.may_repeat(made, give_up).await => {}
                AfterCommit::Ask => break Err(Over::Failed(unknown(&error))),
            }
        };
        match result {
            // Where it has not ended, its locks need not last until its time is over.
            Err(Over::Again(_)) => self.drop_what_was_written(&mut state).await,
            _ => state.begun = None,
        }
        result
    }

    /// Drops what was written; tells why the run could not go on, where it could not.
    pub async fn roll_back(&self) -> Option<Over> {
        let mut state = self.state.lock().await;
        let over = state.over.replace(Over::Failed(ended()));
        self.drop_what_was_written(&mut state).await;
        over
    }

    /// Asked once: where that comes to nothing, it ends when its time is over.
    async fn drop_what_was_written(&self, state: &mut State) {
        let Some(begun) = state.begun.as_ref() else {
            return;
        };
        let request = pb::RollbackRequest {
            transaction: begun.name.clone(),
        };
        let send = async |channel, message| transaction_service(channel).rollback(message).await;
        let limit = self.client.connections.options.attempt_timeout;
        let sent = self
            .client
            .attempt(&begun.connection, Effect::Read, &request, limit, &send);
        let _ = sent.await;
        state.begun = None;
    }

    /// How long an attempt may take.
    fn limit(&self, end: Instant) -> Duration {
        let left = end.saturating_duration_since(Instant::now());
        let longest = self.client.connections.options.attempt_timeout;
        left.min(longest).max(TIMEOUT_MIN)
    }

    /// Waits for the next attempt; false where there is none.
    async fn may_repeat(&self, made: u32, end: Instant) -> bool {
        let wait = backoff(made, jitter());
        let attempts_max = self.client.connections.options.attempts_max;
        if made >= attempts_max || Instant::now() + wait >= end {
            return false;
        }
        tokio::time::sleep(wait).await;
        true
    }
}

/// The shortest time that anything is given.
const TIMEOUT_MIN: Duration = Duration::from_millis(1);

/// Has a run rolled back that was left before its end.
#[derive(Debug)]
pub struct RunGuard(Arc<Run>);

impl RunGuard {
    pub fn of(run: &Arc<Run>) -> Self {
        Self(Arc::clone(run))
    }
}

impl Drop for RunGuard {
    fn drop(&mut self) {
        let run = Arc::clone(&self.0);
        let is_over = run
            .state
            .try_lock()
            .is_ok_and(|state| state.begun.is_none());
        if is_over {
            return;
        }
        // Without a runtime it ends when its time is over.
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move { run.roll_back().await });
        }
    }
}

/// What follows a call that failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum AfterCall {
    /// It is told; the transaction is what it was before.
    Tell,
    /// It was not carried out, and may be a moment later.
    Repeat,
    /// The run cannot go on.
    Over,
}

fn after_call(error: &Error) -> AfterCall {
    let over = error.applied == Applied::Unknown
        || error.kind == ErrorKind::Conflict
        || error.reason == NO_TRANSACTION
        || error.reason == TRANSACTION_BUSY;
    if over {
        AfterCall::Over
    } else if worth_repeating(error.kind) {
        AfterCall::Repeat
    } else {
        AfterCall::Tell
    }
}

/// What follows a commit that was not answered with "done".
#[derive(Debug, PartialEq, Eq)]
enum AfterCommit {
    /// What became of it is asked again: its node remembers.
    Ask,
    Over(Over),
}

/// `tainted`: an attempt before may have committed.
fn after_commit(error: &Error, tainted: bool) -> AfterCommit {
    let again = || AfterCommit::Over(Over::Again(error.clone()));
    match error.kind {
        _ if error.applied == Applied::Unknown => AfterCommit::Ask,
        // The node says so of the end of the transaction, whichever attempt brought it about.
        ErrorKind::Conflict => again(),
        // An attempt that was not answered is still under way.
        _ if tainted && error.reason == TRANSACTION_BUSY => AfterCommit::Ask,
        _ if tainted && error.reason == NO_TRANSACTION => {
            AfterCommit::Over(Over::Failed(unknown(error)))
        }
        _ if error.reason == NO_TRANSACTION => again(),
        kind if worth_repeating(kind) && tainted => AfterCommit::Ask,
        kind if worth_repeating(kind) => again(),
        _ if tainted => AfterCommit::Over(Over::Failed(unknown(error))),
        _ => AfterCommit::Over(Over::Failed(error.clone())),
    }
}

fn unknown(last: &Error) -> Error {
    let context = format!(
        "the transaction may have been committed; then: {}",
        last.context
    );
    Error::unknown(context)
}

fn dropped() -> Error {
    let context = "a call within the transaction was given up before it was answered";
    Error::new(ErrorKind::Cancelled, context).not_applied()
}

fn ended() -> Error {
    let context = "the transaction has ended";
    Error::new(ErrorKind::FailedPrecondition, context).because("TRANSACTION_ENDED")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reason(kind: ErrorKind, reason: &'static str) -> Error {
        Error::new(kind, "no").because(reason)
    }

    fn conflict() -> Error {
        reason(ErrorKind::Conflict, "READ_CHANGED")
    }

    #[test]
    fn a_call_is_sent_again_only_where_it_was_surely_not_carried_out() {
        let late = Error::new(ErrorKind::DeadlineExceeded, "no answer");
        for (error, next) in [
            (Error::unavailable("no owner"), AfterCall::Repeat),
            (late.clone().not_applied(), AfterCall::Repeat),
            (late, AfterCall::Over),
            (Error::unknown("broke"), AfterCall::Over),
            (conflict(), AfterCall::Over),
            (reason(ErrorKind::NotFound, NO_TRANSACTION), AfterCall::Over),
            (
                reason(ErrorKind::FailedPrecondition, TRANSACTION_BUSY),
                AfterCall::Over,
            ),
            (
                reason(ErrorKind::FailedPrecondition, "ATOMIC_CACHE"),
                AfterCall::Tell,
            ),
            (Error::invalid("too long"), AfterCall::Tell),
            (Error::overloaded("too many keys"), AfterCall::Tell),
        ] {
            assert_eq!(after_call(&error), next, "{error:?}");
        }
    }

    #[test]
    fn what_may_have_been_committed_is_never_run_again() {
        let gone = reason(ErrorKind::NotFound, NO_TRANSACTION);
        let busy = reason(ErrorKind::FailedPrecondition, TRANSACTION_BUSY);
        for error in [
            gone.clone(),
            busy.clone(),
            Error::unavailable("refused"),
            Error::invalid("refused"),
        ] {
            let next = after_commit(&error, true);
            let again = matches!(next, AfterCommit::Over(Over::Again(_)));
            assert!(!again, "{error:?}: {next:?}");
            if let AfterCommit::Over(Over::Failed(last)) = next {
                assert_eq!(last.applied, Applied::Unknown);
            }
        }
        assert_eq!(
            after_commit(&Error::unknown("broke"), false),
            AfterCommit::Ask
        );
        assert_eq!(after_commit(&busy, true), AfterCommit::Ask);
    }

    #[test]
    fn what_was_surely_not_committed_is_run_again_or_told() {
        let again = |error: Error| AfterCommit::Over(Over::Again(error));
        for error in [
            conflict(),
            reason(ErrorKind::NotFound, NO_TRANSACTION),
            Error::unavailable("no owner"),
        ] {
            assert_eq!(after_commit(&error, false), again(error));
        }
        // A node that remembers says the same of every attempt.
        assert_eq!(after_commit(&conflict(), true), again(conflict()));
        let refused = Error::invalid("refused");
        let told = AfterCommit::Over(Over::Failed(refused.clone()));
        assert_eq!(after_commit(&refused, false), told);
    }
}
