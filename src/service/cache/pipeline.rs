//! `Pipeline`: many single-key calls over one stream. Requests for one key are carried out one
//! after the other; those for different keys go on beside each other and are answered as they
//! end. Where too many are in flight, the next one is not read.

use super::super::Front;
use super::super::deadline::CallTime;
use super::super::decode::{SingleKey, known};
use super::super::encode::{FromReply, modified};
use super::super::guard::transport_error;
use super::super::in_flight::InFlight;
use super::super::limits::PIPELINE_IN_FLIGHT_MAX;
use super::super::streams::{Answers, Out};
use crate::error::{Error, ErrorKind, Result};
use crate::node::Handle;
use crate::rpc::proto as pb;
use crate::rpc::status::{from_status, to_proto};
use crate::types::{Blob, CacheId, Operation, Reply, Request, View};
use pb::pipeline_request::Operation as Asked;
use pb::pipeline_response::Result as Answer;
use std::collections::{HashMap, VecDeque};
use std::time::Instant;
use tonic::{Response, Streaming};

/// See `CacheService.Pipeline`.
pub fn start(
    front: &Front,
    input: Streaming<pb::PipelineRequest>,
    time: CallTime,
) -> Result<Response<Answers<pb::PipelineResponse>>> {
    let handle = front.handle.clone();
    front.stream(time, |out| {
        let line = Line {
            handle,
            time,
            out,
            in_flight: InFlight::default(),
            busy: HashMap::new(),
            queued: 0,
        };
        line.run(input)
    })
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

/// The key of an entry across caches: the same bytes under another affinity key are another entry.
type Place = (CacheId, u32, Blob);

/// One request of the stream, ready to be carried out.
#[derive(Debug)]
struct Item {
    id: u64,
    kind: Kind,
    request: Request,
    deadline: Instant,
}

/// How an item ended.
struct Done {
    id: u64,
    place: Place,
    answer: Result<Answer>,
}

fn decode(view: &View, operation: Option<Asked>) -> Result<(Kind, Request)> {
    fn request(view: &View, message: impl SingleKey) -> Result<Request> {
        let settings = &known(view, message.cache())?.settings;
        message.request(settings)
    }
    Ok(match operation {
        None => {
            return Err(Error::invalid(
                "one of get, put, remove, touch and modify is required",
            ));
        }
        Some(Asked::Get(message)) => (Kind::Get, request(view, message)?),
        Some(Asked::Put(message)) => (Kind::Put, request(view, message)?),
        Some(Asked::Remove(message)) => (Kind::Remove, request(view, message)?),
        Some(Asked::Touch(message)) => (Kind::Touch, request(view, message)?),
        Some(Asked::Modify(message)) => (
            Kind::Modify {
                increment: is_increment(&message),
            },
            request(view, message)?,
        ),
    })
}

/// One stream.
struct Line {
    handle: Handle,
    time: CallTime,
    out: Out<pb::PipelineResponse>,
    in_flight: InFlight<Done>,
    /// Keys with an item in flight, and the items that wait for it, first come first served.
    busy: HashMap<Place, VecDeque<Item>>,
    /// How many items wait in `busy`.
    queued: usize,
}

impl Line {
    async fn run(mut self, mut input: Streaming<pb::PipelineRequest>) -> Result<()> {
        let mut ended = None;
        while ended.is_none() || !self.in_flight.is_empty() {
            let room = self.in_flight.len() + self.queued < PIPELINE_IN_FLIGHT_MAX;
            tokio::select! {
                biased;
                Some(done) = self.in_flight.next(), if !self.in_flight.is_empty() => {
                    self.finish(done).await?;
                }
                message = input.message(), if ended.is_none() && room => match message {
                    Ok(Some(message)) => self.accept(message).await?,
                    Ok(None) => ended = Some(Ok(())),
                    Err(status) => {
                        let error = transport_error(&status).unwrap_or_else(|| from_status(&status));
                        ended = Some(Err(error));
                    }
                },
            }
        }
        ended.unwrap_or(Ok(()))
    }

    /// Starts a request, or puts it behind the one that its key is busy with.
    async fn accept(&mut self, message: pb::PipelineRequest) -> Result<()> {
        let id = message.id;
        let time = CallTime::within(&self.time, Instant::now());
        let decoded = decode(&self.handle.view(), message.operation)
            .and_then(|decoded| time.check(Instant::now()).map(|()| decoded));
        let (kind, request) = match decoded {
            Ok(decoded) => decoded,
            Err(error) => return self.answer(id, Err(error)).await,
        };
        let item = Item {
            id,
            kind,
            request,
            deadline: time.deadline,
        };
        let Some(place) = place(&item.request) else {
            let error = Error::new(ErrorKind::Internal, "a pipeline carries single keys only");
            return self.answer(id, Err(error)).await;
        };
        if let Some(waiting) = self.busy.get_mut(&place) {
            waiting.push_back(item);
            self.queued += 1;
            return Ok(());
        }
        match self.begin(item, place.clone()).await {
            Some(done) => self.answer(done.id, done.answer).await,
            None => {
                self.busy.insert(place, VecDeque::new());
                Ok(())
            }
        }
    }

    /// Answers an item and begins those that waited for its key, until one must wait itself.
    async fn finish(&mut self, done: Done) -> Result<()> {
        self.answer(done.id, done.answer).await?;
        loop {
            let next = self.busy.get_mut(&done.place).and_then(VecDeque::pop_front);
            let Some(item) = next else {
                self.busy.remove(&done.place);
                return Ok(());
            };
            self.queued -= 1;
            match self.begin(item, done.place.clone()).await {
                Some(done) => self.answer(done.id, done.answer).await?,
                None => return Ok(()),
            }
        }
    }

    async fn begin(&mut self, item: Item, place: Place) -> Option<Done> {
        let handle = self.handle.clone();
        self.in_flight
            .start(async move {
                let reply = handle.execute(item.request, item.deadline).await;
                let answer = reply.and_then(|reply| item.kind.answer(reply));
                Done {
                    id: item.id,
                    place,
                    answer,
                }
            })
            .await
    }

    async fn answer(&self, id: u64, answer: Result<Answer>) -> Result<()> {
        let answer = answer.unwrap_or_else(|error| Answer::Error(to_proto(&error)));
        self.out
            .send(pb::PipelineResponse {
                id,
                result: Some(answer),
            })
            .await
    }
}

fn place(request: &Request) -> Option<Place> {
    match &request.operation {
        Operation::Key { key, .. } => Some((request.cache, request.partition, key.clone())),
        _ => None,
    }
}
