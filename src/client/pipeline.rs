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
use parking_lot::Mutex;
use pb::pipeline_request::Operation;
use pb::pipeline_response::Result as Answer;
use std::collections::HashMap;
use std::sync::Arc;
use tokio::sync::{mpsc, oneshot};
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Channel;

/// How many requests wait to be sent on one stream; the next caller waits for room, no longer than
/// its attempt may take.
const QUEUE_MAX: usize = 256;

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
    waiting: HashMap<u64, oneshot::Sender<Result<Answer>>>,
    answered: bool,
    ended: bool,
}

/// A place among the callers; given up when dropped.
struct Waiting<'a> {
    callers: &'a Callers,
    id: u64,
    answer: oneshot::Receiver<Result<Answer>>,
}

impl Callers {
    fn wait(&self) -> Result<Waiting<'_>> {
        let (sender, answer) = oneshot::channel();
        let mut table = self.0.lock();
        if table.ended {
            return Err(Error::unavailable("the connection failed"));
        }
        let id = table.next;
        table.next += 1;
        table.waiting.insert(id, sender);
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
            let _ = caller.send(result);
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
            let _ = caller.send(Err(Error::unknown(format!(
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

    /// Sends a request and waits for its answer.
    ///
    /// # Errors
    ///
    /// What the node says; UNKNOWN where the stream ended meanwhile.
    ///
    /// # Cancel safety
    ///
    /// A write whose future is dropped may be applied or not.
    pub(super) async fn call<S: Single>(&self, request: S) -> Result<S::Reply> {
        let mut waiting = self.callers.wait()?;
        let message = pb::PipelineRequest {
            id: waiting.id,
            operation: Some(request.into_operation()),
        };
        if self.requests.send(message).await.is_err() {
            return Err(Error::unavailable("the connection failed"));
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
            loop {
                match answers.message().await {
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
        let mut first = callers.wait().expect("it runs");
        let second = callers.wait().expect("it runs");
        let gone = second.id;
        drop(second);
        callers.answer(response(gone));
        callers.answer(response(first.id));
        let answer = (&mut first.answer).await.expect("an answer");
        assert!(matches!(answer, Ok(Answer::Put(put)) if put.applied));
        assert!(callers.0.lock().waiting.is_empty());
    }

    #[tokio::test]
    async fn who_waits_when_the_stream_ends_is_told_that_the_outcome_is_unknown() {
        let callers = Callers::default();
        let mut waiting = callers.wait().expect("it runs");
        callers.end("reset");
        let error = (&mut waiting.answer)
            .await
            .expect("an answer")
            .expect_err("the stream ended");
        assert_eq!(error.applied, Applied::Unknown);
        let late = callers.wait().err().expect("it has ended");
        assert_eq!(late.applied, Applied::NotApplied, "nothing was sent");
    }
}
