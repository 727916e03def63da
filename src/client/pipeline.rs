//! Calls that share a stream. Callers that wait together put their requests on one `Pipeline` call
//! of their connection, which carries what is waiting in few frames; each gets its own answer.
//!
//! A request that is lost with the stream may have been applied or not, and its caller is told so.
//! An answer that comes late, or for somebody who went away, is dropped.

use super::cache_service;
use super::routes::Keyed;
use crate::error::{Applied, Error, ErrorKind, Result};
use crate::rpc::proto as pb;
use crate::rpc::status::{from_proto, from_status, was_sent};
use hashbrown::HashMap;
use parking_lot::Mutex;
use pb::pipeline_request::Operation;
use pb::pipeline_response::Result as Answer;
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Interval, timeout};
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;
use tonic::transport::Channel;

/// How many requests wait to be sent on one stream; the next caller waits for room, no longer than
/// its attempt may take.
const QUEUE_MAX: usize = 256;

/// The reason of an error that no node said: nothing came.
pub(super) const NO_ANSWER: &str = "NO_ANSWER";

/// How often those are looked for who have waited too long: one look for all costs less than a
/// timer for each.
const LOOK_INTERVAL: Duration = Duration::from_millis(100);

/// How long the opening of a stream is waited for: on a connection that stands, others may have taken
/// all that it carries.
const OPENING_MAX: Duration = Duration::from_secs(10);

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
    ended: bool,
    /// The node gave no stream, so that nothing was asked on it.
    turned_away: bool,
}

#[derive(Debug)]
struct Caller {
    answer: oneshot::Sender<Result<Answer>>,
    until: Instant,
}

/// How a stream ended, and why.
enum Ended {
    /// The node gave none; what those are told who asked something on it.
    TurnedAway(Error),
    /// What was asked may have been done.
    Broke(String),
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
    fn end(&self, ended: &Ended) {
        let (turned_away, error) = match ended {
            Ended::TurnedAway(error) => (true, error.clone()),
            Ended::Broke(why) => {
                let text = format!("the connection failed: {why}");
                (false, Error::unknown(text))
            }
        };
        let waiting = {
            let mut table = self.0.lock();
            table.ended = true;
            table.turned_away = turned_away;
            std::mem::take(&mut table.waiting)
        };
        for caller in waiting.into_values() {
            let _ = caller.answer.send(Err(error.clone()));
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

    /// Whether the node gave no stream, on a connection that stands.
    pub(super) fn turned_away(&self) -> bool {
        self.callers.0.lock().turned_away
    }

    /// Whether it ended with its connection.
    pub(super) fn broke(&self) -> bool {
        let table = self.callers.0.lock();
        table.ended && !table.turned_away
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
    let mut looks = tokio::time::interval(LOOK_INTERVAL);
    let mut service = cache_service(channel);
    let open = service.pipeline(ReceiverStream::new(outgoing));
    let opened = looking(&mut looks, &callers, timeout(OPENING_MAX, open)).await;
    let ended = match opened {
        Err(_) => Ended::Broke(format!("no stream within {OPENING_MAX:?}")),
        Ok(Err(status)) => refused(&status),
        Ok(Ok(answers)) => {
            let mut answers = answers.into_inner();
            loop {
                match looking(&mut looks, &callers, answers.message()).await {
                    Ok(Some(answer)) => callers.answer(answer),
                    Ok(None) => break Ended::Broke("the node ended the stream".to_owned()),
                    Err(status) => {
                        break Ended::Broke(from_status(&status).context.into_owned());
                    }
                }
            }
        }
    };
    callers.end(&ended);
}

/// Waits for something, and looks meanwhile for callers who have waited too long.
async fn looking<T>(looks: &mut Interval, callers: &Callers, wanted: impl Future<Output = T>) -> T {
    let mut wanted = pin!(wanted);
    loop {
        tokio::select! {
            biased;
            came = &mut wanted => return came,
            at = looks.tick() => callers.expire(at.into_std()),
        }
    }
}

/// What it means that no stream was opened.
fn refused(status: &Status) -> Ended {
    let said = from_status(status);
    if !was_sent(status) {
        return Ended::Broke(said.context.into_owned());
    }
    let text = format!("the node gives no stream: {}", said.context);
    // What is between a node and a client may say the same of a stream that a node has read.
    Ended::TurnedAway(match said.applied {
        Applied::NotApplied => Error::unavailable(text),
        Applied::Unknown => Error::unknown(text),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rpc::status::to_status;
    use tonic::transport::Endpoint;

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
        callers.end(&Ended::Broke("reset".to_owned()));
        let error = (&mut waiting.answer)
            .await
            .expect("an answer")
            .expect_err("the stream ended");
        assert_eq!(error.applied, Applied::Unknown);
        let late = callers.wait(LOOK_INTERVAL).err().expect("it has ended");
        assert_eq!(late.applied, Applied::NotApplied, "nothing was sent");
    }

    #[tokio::test]
    async fn who_is_turned_away_goes_another_way_on_the_same_connection() {
        let ended = refused(&to_status(&Error::overloaded("too many streams")));
        let pipeline = Pipeline {
            requests: mpsc::channel(1).0,
            callers: Arc::default(),
        };
        let mut waiting = pipeline.callers.wait(LOOK_INTERVAL).expect("it runs");
        pipeline.callers.end(&ended);
        let error = (&mut waiting.answer)
            .await
            .expect("an answer")
            .expect_err("there is no stream");
        assert_eq!(
            (error.kind, error.applied),
            (ErrorKind::Unavailable, Applied::NotApplied)
        );
        assert!(pipeline.turned_away() && !pipeline.broke());
        let mut broken = Status::unavailable("broken pipe");
        broken.set_source(Arc::new(std::io::Error::other("broken pipe")));
        assert!(matches!(refused(&broken), Ended::Broke(_)));
        let foreign = refused(&Status::unavailable("upstream connect error"));
        assert!(matches!(foreign, Ended::TurnedAway(error) if error.applied == Applied::Unknown));
    }

    #[tokio::test]
    async fn who_waits_for_a_stream_that_is_never_opened_waits_no_longer_than_its_attempt() {
        let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await;
        let silent = silent.expect("a port");
        let address = silent.local_addr().expect("it is bound");
        let endpoint = Endpoint::from_shared(format!("http://{address}")).expect("an address");
        let pipeline = Pipeline::open(endpoint.connect_lazy());
        let call = pipeline.call(pb::PutRequest::default(), LOOK_INTERVAL);
        let patience = Duration::from_secs(9);
        let ended = timeout(patience, call).await.expect("it ends by itself");
        assert_eq!(ended.expect_err("nobody answers").reason, NO_ANSWER);
    }
}
