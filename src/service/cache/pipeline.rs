//! `Pipeline`: many calls on one key or one ticket over one stream. Requests for one key, for one
//! ticket, and those within one transaction, are carried out one after the other; others go on beside
//! each other and are answered as they end. Where too many are in flight, the next one is not read.

use super::super::Front;
use super::super::deadline::CallTime;
use super::super::decode::{SingleKey, known, transaction};
use super::super::encode::{FromReply, modified};
use super::super::guard::transport_error;
use super::super::limits::{PIPELINE_IN_FLIGHT_MAX, Pass};
use super::super::tickets::one;
use super::super::transactions::execute;
use super::glance;
use crate::error::{Error, ErrorKind, Result};
use crate::node::{Begun, Handle};
use crate::rpc::proto as pb;
use crate::rpc::status::{from_status, to_proto, to_status};
use crate::types::{Blob, CacheId, Operation, Reply, Request, TransactionId, View};
use bytes::Bytes;
use futures_util::stream::FuturesUnordered;
use pb::pipeline_request::Operation as Asked;
use pb::pipeline_response::Result as Answer;
use std::collections::{HashMap, VecDeque};
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Instant;
use tokio_stream::Stream;
use tonic::{Response, Status, Streaming};

/// See `CacheService.Pipeline`.
pub fn start(
    front: &Front,
    input: Streaming<pb::PipelineRequest>,
    time: CallTime,
) -> Result<Response<Line>> {
    let handle = front.handle.clone();
    let stopped = handle.clone();
    let end = time.given;
    Ok(Response::new(Line {
        input,
        time,
        handle,
        ready: VecDeque::new(),
        in_flight: FuturesUnordered::new(),
        busy: HashMap::new(),
        queued: 0,
        ended: None,
        cut_off: Box::pin(async move {
            tokio::select! {
                () = stopped.stopped() => Error::unavailable("this node stops"),
                () = until(end) => Error::new(
                    ErrorKind::DeadlineExceeded,
                    "the caller's deadline ended the stream",
                ),
            }
        }),
        _pass: front.streams.enter()?,
    }))
}

/// Waits for the end of a stream whose caller named one.
async fn until(end: Option<Instant>) {
    match end {
        Some(end) => tokio::time::sleep_until(end.into()).await,
        None => std::future::pending().await,
    }
}

/// Whether the answer to a `Modify` carries a number.
pub(super) fn is_increment(message: &pb::ModifyRequest) -> bool {
    matches!(
        message.change,
        Some(pb::modify_request::Change::Increment(_))
    )
}

/// Which answer belongs to a request.
#[derive(Clone, Copy, Debug)]
enum Kind {
    Get,
    Put,
    Remove,
    Touch,
    Modify { increment: bool },
}

impl Kind {
    fn answer(self, reply: Reply) -> Result<Answer> {
        Ok(match self {
            Self::Get => Answer::Get(FromReply::from_reply(reply)?),
            Self::Put => Answer::Put(FromReply::from_reply(reply)?),
            Self::Remove => Answer::Remove(FromReply::from_reply(reply)?),
            Self::Touch => Answer::Touch(FromReply::from_reply(reply)?),
            Self::Modify { increment } => Answer::Modify(modified(reply, increment)?),
        })
    }
}

/// What requests wait for each other at.
#[derive(Clone, PartialEq, Eq, Hash)]
enum Place {
    /// The key of an entry across caches: the same bytes under another affinity key are another entry.
    Key(CacheId, u32, Blob),
    /// A ticket, by its id, in whichever cache it is.
    Ticket(Bytes),
    /// A transaction, which takes one call at a time.
    Within(TransactionId),
}

/// One request of the stream, ready to be carried out.
#[derive(Debug)]
struct Item {
    id: u64,
    call: Call,
    deadline: Instant,
}

/// What is asked.
#[derive(Debug)]
enum Call {
    Key(Kind, Part),
    GetTicket(pb::GetTicketRequest),
    UseTicket(pb::UseTicketRequest),
}

/// How an item ended.
struct Done {
    id: u64,
    place: Place,
    answer: Result<Answer>,
}

/// A request, and the transaction that it is part of.
type Part = (Request, Option<TransactionId>);

fn decode(view: &View, operation: Option<Asked>) -> Result<Call> {
    fn of_key(view: &View, kind: Kind, message: impl SingleKey) -> Result<Call> {
        let (name, id) = message.within();
        let within = transaction(name, id)?;
        let settings = &known(view, message.cache())?.settings;
        Ok(Call::Key(kind, (message.request(settings)?, within)))
    }
    match operation {
        None => Err(Error::invalid(
            "one of get, put, remove, touch, modify, get_ticket and use_ticket is required",
        )),
        Some(Asked::Get(message)) => of_key(view, Kind::Get, message),
        Some(Asked::Put(message)) => of_key(view, Kind::Put, message),
        Some(Asked::Remove(message)) => of_key(view, Kind::Remove, message),
        Some(Asked::Touch(message)) => of_key(view, Kind::Touch, message),
        Some(Asked::Modify(message)) => {
            let increment = is_increment(&message);
            of_key(view, Kind::Modify { increment }, message)
        }
        Some(Asked::GetTicket(message)) => Ok(Call::GetTicket(message)),
        Some(Asked::UseTicket(message)) => Ok(Call::UseTicket(message)),
    }
}

/// One stream, as the connection draws answers from it: what can be answered at once is answered
/// where its request is read, without a task or a queue in between.
pub struct Line {
    input: Streaming<pb::PipelineRequest>,
    time: CallTime,
    handle: Handle,
    /// Answers to be taken, no more than requests in flight.
    ready: VecDeque<pb::PipelineResponse>,
    in_flight: FuturesUnordered<Pin<Box<dyn Future<Output = Done> + Send>>>,
    /// Keys with an item in flight, and the items that wait for it, first come first served.
    busy: HashMap<Place, VecDeque<Item>>,
    /// How many items wait in `busy`.
    queued: usize,
    /// How the input ended, until that is told.
    ended: Option<Result<()>>,
    /// What ends the stream whatever is in flight: the node stops, or the caller's deadline.
    cut_off: Pin<Box<dyn Future<Output = Error> + Send>>,
    _pass: Pass,
}

impl Stream for Line {
    type Item = Result<pb::PipelineResponse, Status>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let line = self.get_mut();
        loop {
            if let Some(answer) = line.ready.pop_front() {
                return Poll::Ready(Some(Ok(answer)));
            }
            if let Poll::Ready(Some(done)) = Pin::new(&mut line.in_flight).poll_next(context) {
                line.finish(done);
                continue;
            }
            match &line.ended {
                None if line.has_room() => {
                    if let Poll::Ready(message) = Pin::new(&mut line.input).poll_next(context) {
                        line.take_in(message);
                        continue;
                    }
                }
                Some(_) if line.in_flight.is_empty() => {
                    let ended = line.ended.replace(Ok(())).unwrap_or(Ok(()));
                    let error = ended.err().map(|error| Err(to_status(&error)));
                    return Poll::Ready(error);
                }
                _ => {}
            }
            return match line.cut_off.as_mut().poll(context) {
                Poll::Ready(error) => {
                    line.cut_off = Box::pin(std::future::pending());
                    line.in_flight.clear();
                    line.busy.clear();
                    line.queued = 0;
                    line.ended = Some(Ok(()));
                    Poll::Ready(Some(Err(to_status(&error))))
                }
                Poll::Pending => Poll::Pending,
            };
        }
    }
}

impl Line {
    fn has_room(&self) -> bool {
        self.in_flight.len() + self.queued < PIPELINE_IN_FLIGHT_MAX
    }

    fn take_in(&mut self, message: Option<Result<pb::PipelineRequest, Status>>) {
        match message {
            Some(Ok(message)) => self.accept(message),
            None => self.ended = Some(Ok(())),
            Some(Err(status)) => {
                let error = transport_error(&status).unwrap_or_else(|| from_status(&status));
                self.ended = Some(Err(error));
            }
        }
    }

    /// Starts a request, or puts it behind the one that its key is busy with.
    fn accept(&mut self, message: pb::PipelineRequest) {
        let id = message.id;
        let now = Instant::now();
        let time = CallTime::within(&self.time, now);
        // Where no key is busy, none has to be looked for among those that are.
        if self.busy.is_empty()
            && let Some(Asked::Get(read)) = &message.operation
            && let Some(answer) = glance::at_hand(&self.handle, read, time, now)
        {
            return self.answer(id, Ok(Answer::Get(answer)));
        }
        let decoded = decode(&self.handle.look_at_view(), message.operation)
            .and_then(|decoded| time.check(now).map(|()| decoded));
        let call = match decoded {
            Ok(decoded) => decoded,
            Err(error) => return self.answer(id, Err(error)),
        };
        let mut item = Item {
            id,
            call,
            deadline: time.deadline,
        };
        let Some(place) = place(&item) else {
            let error = Error::new(ErrorKind::Internal, "a pipeline carries single keys only");
            return self.answer(id, Err(error));
        };
        if !self.busy.is_empty()
            && let Some(waiting) = self.busy.get_mut(&place)
        {
            if let Call::Key(_, (request, _)) = &mut item.call {
                request.operation.own();
            }
            waiting.push_back(item);
            self.queued += 1;
            return;
        }
        match self.begin(item, &place) {
            Some(answer) => self.answer(id, answer),
            None => {
                self.busy.insert(place, VecDeque::new());
            }
        }
    }

    /// Answers an item and begins those that waited for its key, until one must wait itself.
    fn finish(&mut self, done: Done) {
        self.answer(done.id, done.answer);
        loop {
            let next = self.busy.get_mut(&done.place).and_then(VecDeque::pop_front);
            let Some(item) = next else {
                self.busy.remove(&done.place);
                return;
            };
            self.queued -= 1;
            let id = item.id;
            match self.begin(item, &done.place) {
                Some(answer) => self.answer(id, answer),
                None => return,
            }
        }
    }

    /// Begins an item: its answer, or none where it must wait.
    fn begin(&mut self, item: Item, place: &Place) -> Option<Result<Answer>> {
        let Item { id, call, deadline } = item;
        let place = place.clone();
        match call {
            Call::Key(kind, (request, Some(transaction))) => {
                let handle = self.handle.clone();
                self.in_flight.push(Box::pin(async move {
                    let reply = operate(&handle, transaction, request, deadline).await;
                    let answer = reply.and_then(|reply| kind.answer(reply));
                    Done { id, place, answer }
                }));
            }
            Call::Key(kind, (request, None)) => {
                let waiting = match self.handle.begin(request, deadline) {
                    Begun::Done(reply) => return Some(reply.and_then(|reply| kind.answer(reply))),
                    Begun::Waiting(waiting) => waiting,
                };
                self.in_flight.push(Box::pin(async move {
                    let answer = waiting.end().await.and_then(|reply| kind.answer(reply));
                    Done { id, place, answer }
                }));
            }
            Call::GetTicket(message) => {
                let tickets = self.handle.tickets();
                self.in_flight.push(Box::pin(async move {
                    let got = one::get(&tickets, message, deadline).await;
                    let answer = got.map(Answer::GetTicket);
                    Done { id, place, answer }
                }));
            }
            Call::UseTicket(message) => {
                let tickets = self.handle.tickets();
                self.in_flight.push(Box::pin(async move {
                    let used = one::use_once(&tickets, message, deadline).await;
                    let answer = used.map(Answer::UseTicket);
                    Done { id, place, answer }
                }));
            }
        }
        None
    }

    fn answer(&mut self, id: u64, answer: Result<Answer>) {
        let answer = answer.unwrap_or_else(|error| Answer::Error(to_proto(&error)));
        self.ready.push_back(pb::PipelineResponse {
            id,
            result: Some(answer),
        });
    }
}

fn place(item: &Item) -> Option<Place> {
    let (request, within) = match &item.call {
        Call::Key(_, (request, within)) => (request, *within),
        Call::GetTicket(message) => return Some(Place::Ticket(message.id.clone())),
        Call::UseTicket(message) => return Some(Place::Ticket(message.id.clone())),
    };
    match (&request.operation, within) {
        (Operation::Key { .. }, Some(transaction)) => Some(Place::Within(transaction)),
        (Operation::Key { key, .. }, None) => {
            Some(Place::Key(request.cache, request.partition, key.clone()))
        }
        _ => None,
    }
}

/// Carries a request out as a part of a transaction.
async fn operate(
    handle: &Handle,
    transaction: TransactionId,
    request: Request,
    deadline: Instant,
) -> Result<Reply> {
    let (place, operation) = execute::place(request);
    let operations = operation.map(|operation| (place, operation));
    let operations = operations.into_iter().collect();
    let mut replies = handle.operate(transaction, operations, deadline).await?;
    let missing = || Error::new(ErrorKind::Internal, "the answer is missing");
    replies.pop().ok_or_else(missing)
}
