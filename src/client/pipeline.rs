//! Calls that share a stream. Callers that wait together put their requests on one `Pipeline` call
//! of their connection, which carries what is waiting in few frames; each gets its own answer.
//!
//! A request that is lost with the stream may have been applied or not, and its caller is told so.
//! An answer that comes late, or for somebody who went away, is dropped.

use super::cache_service;
use super::routes::Keyed;
use crate::error::{Error, ErrorKind, Result};
use crate::rpc::proto as pb;
use crate::rpc::status::{from_proto, from_status};
use hashbrown::HashMap;
use parking_lot::Mutex;
use pb::pipeline_request::Operation;
use pb::pipeline_response::Result as Answer;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{mpsc, oneshot};
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Channel;

/// How many requests wait to be sent on one stream; the next caller waits for room, no longer than
/// its attempt may take.
const QUEUE_MAX: usize = 256;

/// The reason of an error that no node said: nothing came.
pub(super) const NO_ANSWER: &str = "NO_ANSWER";

/// How often those are looked for who have waited too long: one look for all costs less than a
/// timer for each.
const LOOK_INTERVAL: Duration = Duration::from_millis(100);

/// A call that fits on a pipeline.
pub(super) trait Single: Keyed {
    /// What it is answered with.
    type Reply;

    /// As one of the operations that a pipeline carries.
    fn into_operation(self) -> Operation;

    /// The answer, where it is of the right kind.
    fn reply(answer: Answer) -> Option<Self::Reply>;
}

macro_rules! single {
    ($($request:ident => $reply:ident, $kind:ident;)*) => {$(
        impl Single for pb::$request {
            type Reply = pb::$reply;

            fn into_operation(self) -> Operation {
                Operation::$kind(self)
            }

            fn reply(answer: Answer) -> Option<pb::$reply> {
                match answer {
                    Answer::$kind(reply) => Some(reply),
                    _ => None,
                }
            }
        }
    )*};
}

single! {
    GetRequest => GetResponse, Get;
    PutRequest => PutResponse, Put;
    RemoveRequest => RemoveResponse, Remove;
    TouchRequest => TouchResponse, Touch;
    ModifyRequest => ModifyResponse, Modify;
    GetTicketRequest => GetTicketResponse, GetTicket;
    UseTicketRequest => UseTicketResponse, UseTicket;
}

/// One stream to a node.
#[derive(Debug)]
pub(super) struct Pipeline {
    requests: mpsc::Sender<pb::PipelineRequest>,
    callers: Arc<Callers>,
}

/// Those who wait for answers.
#[derive(Debug, Default)]
struct Callers(Mutex<Table>);

#[derive(Debug, Default)]
struct Table {
    next: u64,
    waiting: HashMap<u64, Caller>,
    answered: bool,
    ended: bool,
}

#[derive(Debug)]
struct Caller {
    answer: oneshot::Sender<Result<Answer>>,
    until: Instant,
}

/// A place among the callers; given up when dropped.
struct Waiting<'a> {
    callers: &'a Callers,
    id: u64,
    answer: oneshot::Receiver<Result<Answer>>,
}

impl Callers {
    fn wait(&self, limit: Duration) -> Result<Waiting<'_>> {
        let until = Instant::now() + limit;
        let (sender, answer) = oneshot::channel();
        let mut table = self.0.lock();
        if table.ended {
            return Err(Error::unavailable("the connection failed"));
        }
        let id = table.next;
        table.next += 1;
        let caller = Caller {
            answer: sender,
            until,
        };
        table.waiting.insert(id, caller);
        Ok(Waiting {
            callers: self,
            id,
            answer,
        })
    }

    fn answer(&self, response: pb::PipelineResponse) {
        let result = match response.result {
            Some(Answer::Error(error)) => Err(from_proto(error)),
            Some(answer) => Ok(answer),
            None => Err(Error::unknown("the node answered nothing")),
        };
        let caller = {
            let mut table = self.0.lock();
            table.answered = true;
            table.waiting.remove(&response.id)
        };
        if let Some(caller) = caller {
            let _ = caller.answer.send(result);
        }
    }

    /// Those who have waited too long get no answer any more.
    fn expire(&self, now: Instant) {
        let late = |_: &u64, caller: &mut Caller| caller.until <= now;
        let late: Vec<_> = self.0.lock().waiting.extract_if(late).collect();
        for (_, caller) in late {
            let error = Error::new(ErrorKind::DeadlineExceeded, "no answer in time");
            let error = error.because(NO_ANSWER);
            let _ = caller.answer.send(Err(error));
        }
    }

    /// Nobody gets an answer any more.
    fn end(&self, reason: &str) {
        let waiting = {
            let mut table = self.0.lock();
            table.ended = true;
            std::mem::take(&mut table.waiting)
        };
        for caller in waiting.into_values() {
            let _ = caller.answer.send(Err(Error::unknown(format!(
                "the connection failed: {reason}"
            ))));
        }
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.callers.0.lock().waiting.remove(&self.id);
    }
}

impl Pipeline {
    /// Begins a stream. It ends with the connection, or when the last holder is gone.
    pub(super) fn open(channel: Channel) -> Arc<Self> {
        let (requests, outgoing) = mpsc::channel(QUEUE_MAX);
        let callers = Arc::new(Callers::default());
        tokio::spawn(carry(channel, outgoing, Arc::clone(&callers)));
        Arc::new(Self { requests, callers })
    }

    /// Whether it carries nothing any more.
    pub(super) fn ended(&self) -> bool {
        self.callers.0.lock().ended
    }

    /// Whether it ended before it ever carried an answer.
    pub(super) fn turned_away(&self) -> bool {
        let table = self.callers.0.lock();
        table.ended && !table.answered
    }

    /// Sends a request and waits for its answer, `limit` and a look at most.
    ///
    /// # Errors
    ///
    /// What the node says; UNKNOWN where the stream ended meanwhile.
    ///
    /// # Cancel safety
    ///
    /// A write whose future is dropped may be applied or not.
    pub(super) async fn call<S: Single>(&self, request: S, limit: Duration) -> Result<S::Reply> {
        let mut waiting = self.callers.wait(limit)?;
        let message = pb::PipelineRequest {
            id: waiting.id,
            operation: Some(request.into_operation()),
        };
        let ended = || Error::unavailable("the connection failed");
        match self.requests.try_send(message) {
            Ok(()) => {}
            Err(TrySendError::Closed(_)) => return Err(ended()),
            Err(TrySendError::Full(message)) => {
                let sent = tokio::time::timeout(limit, self.requests.send(message)).await;
                let late = |_| Error::unavailable("no room on the stream in time");
                sent.map_err(late)?.map_err(|_| ended())?;
            }
        }
        match (&mut waiting.answer).await {
            Ok(answer) => S::reply(answer?).ok_or_else(|| {
                let text = "the node answered another question";
                Error::new(ErrorKind::Unknown, text)
            }),
            Err(_) => Err(Error::unknown("the connection failed")),
        }
    }
}

/// Carries requests and answers until the stream ends.
async fn carry(
    channel: Channel,
    outgoing: mpsc::Receiver<pb::PipelineRequest>,
    callers: Arc<Callers>,
) {
    let opened = cache_service(channel)
        .pipeline(ReceiverStream::new(outgoing))
        .await;
    let reason = match opened {
        Err(status) => from_status(&status).context.into_owned(),
        Ok(answers) => {
            let mut answers = answers.into_inner();
            let mut looks = tokio::time::interval(LOOK_INTERVAL);
            loop {
                let answer = tokio::select! {
                    biased;
                    answer = answers.message() => answer,
                    at = looks.tick() => {
                        callers.expire(at.into_std());
                        continue;
                    }
                };
                match answer {
                    Ok(Some(answer)) => callers.answer(answer),
                    Ok(None) => break "the node ended the stream".to_owned(),
                    Err(status) => break from_status(&status).context.into_owned(),
                }
            }
        }
    };
    callers.end(&reason);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Applied;

    fn response(id: u64) -> pb::PipelineResponse {
        pb::PipelineResponse {
            id,
            result: Some(Answer::Put(pb::PutResponse {
                applied: true,
                ..pb::PutResponse::default()
            })),
        }
    }

    #[tokio::test]
    async fn answers_find_their_callers_and_late_ones_nobody() {
        let callers = Callers::default();
        let mut first = callers.wait(LOOK_INTERVAL).expect("it runs");
        let second = callers.wait(LOOK_INTERVAL).expect("it runs");
        let gone = second.id;
        drop(second);
        callers.answer(response(gone));
        callers.answer(response(first.id));
        let answer = (&mut first.answer).await.expect("an answer");
        assert!(matches!(answer, Ok(Answer::Put(put)) if put.applied));
        assert!(callers.0.lock().waiting.is_empty());
    }

    #[tokio::test]
    async fn who_waits_too_long_is_told_that_the_outcome_is_unknown() {
        let callers = Callers::default();
        let mut short = callers.wait(LOOK_INTERVAL).expect("it runs");
        let _long = callers.wait(LOOK_INTERVAL * 10).expect("it runs");
        callers.expire(Instant::now() + LOOK_INTERVAL * 2);
        let error = (&mut short.answer)
            .await
            .expect("an answer")
            .expect_err("too late");
        assert_eq!(error.kind, ErrorKind::DeadlineExceeded);
        assert_eq!(error.applied, Applied::Unknown);
        assert_eq!(callers.0.lock().waiting.len(), 1);
    }

    #[tokio::test]
    async fn who_waits_when_the_stream_ends_is_told_that_the_outcome_is_unknown() {
        let callers = Callers::default();
        let mut waiting = callers.wait(LOOK_INTERVAL).expect("it runs");
        callers.end("reset");
        let error = (&mut waiting.answer)
            .await
            .expect("an answer")
            .expect_err("the stream ended");
        assert_eq!(error.applied, Applied::Unknown);
        let late = callers.wait(LOOK_INTERVAL).err().expect("it has ended");
        assert_eq!(late.applied, Applied::NotApplied, "nothing was sent");
    }
}
