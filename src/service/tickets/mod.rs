//! `TicketService`: every call in a few lines here; messages ⇄ tickets in `decode.rs` and
//! `encode.rs`, what a pipeline carries as well in `one.rs`, what streams in `list.rs` and `watch.rs`.

mod decode;
mod encode;
mod list;
pub mod one;
mod watch;

use super::Front;
use super::deadline::CallTime;
use super::decode::{part_id, request_id};
use super::in_flight::InFlight;
use super::limits::BATCH_IN_FLIGHT_MAX;
use super::streams::Answers;
use super::time_of;
use crate::error::{Error, Result};
use crate::node::Tickets;
use crate::rpc::proto as pb;
use crate::rpc::proto::ticket_service_server::TicketService;
use crate::rpc::status::{to_proto, to_status};
use crate::types::Blob;
use crate::types::ticket::Ticket;
use std::collections::BTreeSet;
use std::time::Instant;
use tonic::{Request, Response, Status};

/// Tickets.
#[derive(Clone)]
pub struct TicketFront {
    front: Front,
}

impl TicketFront {
    /// The service of a node.
    pub fn new(front: Front) -> Self {
        Self { front }
    }

    fn tickets(&self) -> Tickets {
        self.front.handle.tickets()
    }

    async fn add_one(&self, message: pb::AddTicketRequest, time: CallTime) -> Result<(bool, u64)> {
        let id = request_id(&message.request_id)?;
        let ticket = decode::added(message.ticket)?;
        time.check(Instant::now())?;
        self.tickets().add(ticket, id, time.deadline).await
    }

    /// Several tickets: those without a parent among them at the same time, the others after
    /// theirs.
    async fn add_several(
        &self,
        message: pb::AddTicketsRequest,
        time: CallTime,
    ) -> Result<pb::AddTicketsResponse> {
        let id = request_id(&message.request_id)?;
        let most = self.front.limits.batch_keys_max as usize;
        if message.tickets.len() > most {
            let count = message.tickets.len();
            return Err(Error::invalid(format!(
                "{count} tickets in one call, more than batch-keys-max = {most}"
            )));
        }
        let mut known = BTreeSet::new();
        let mut tickets: Vec<(usize, Blob, Result<Ticket>)> = Vec::new();
        for (part, ticket) in message.tickets.into_iter().enumerate() {
            let own = Blob::from(ticket.id.as_ref());
            if !known.insert(own.clone()) {
                return Err(Error::invalid(format!(
                    "ticket {part} has the id of another"
                )));
            }
            tickets.push((part, own, decode::added(Some(ticket))));
        }
        let mut results: Vec<Option<Result<(bool, u64)>>> = vec![None; tickets.len()];
        let ids: Vec<Blob> = tickets.iter().map(|(_, own, _)| own.clone()).collect();
        while !tickets.is_empty() {
            let waiting: BTreeSet<Blob> = tickets.iter().map(|(_, own, _)| own.clone()).collect();
            let waits = |ticket: &Result<Ticket>| {
                let parent = ticket.as_ref().ok().map(|ticket| &ticket.parent_id);
                parent.is_some_and(|parent| waiting.contains(parent))
            };
            let (mut later, mut now): (Vec<_>, Vec<_>) =
                tickets.into_iter().partition(|(.., ticket)| waits(ticket));
            if now.is_empty() {
                // They wait for each other in a circle: each parent is missing.
                std::mem::swap(&mut now, &mut later);
            }
            self.add_wave(now, id, time, &mut results).await;
            tickets = later;
        }
        let results = ids.into_iter().zip(results).map(|(own, result)| {
            let missing = || Err(Error::unknown("the ticket was not reached"));
            let result = match result.unwrap_or_else(missing) {
                Ok((stored, version)) => {
                    pb::add_tickets_response::result::Result::Add(pb::AddTicketResponse {
                        stored,
                        version,
                    })
                }
                Err(error) => pb::add_tickets_response::result::Result::Error(to_proto(&error)),
            };
            pb::add_tickets_response::Result {
                id: super::encode::bytes(own),
                result: Some(result),
            }
        });
        Ok(pb::AddTicketsResponse {
            results: results.collect(),
        })
    }

    async fn add_wave(
        &self,
        wave: Vec<(usize, Blob, Result<Ticket>)>,
        id: Option<[u8; 16]>,
        time: CallTime,
        results: &mut [Option<Result<(bool, u64)>>],
    ) {
        let mut in_flight = InFlight::default();
        let mut note = |(part, result): (usize, Result<(bool, u64)>)| {
            if let Some(place) = results.get_mut(part) {
                *place = Some(result);
            }
        };
        for (part, _, ticket) in wave {
            let tickets = self.tickets();
            let own = part_id(id, part);
            let work = async move {
                match ticket {
                    Ok(ticket) => (part, tickets.add(ticket, own, time.deadline).await),
                    Err(error) => (part, Err(error)),
                }
            };
            if let Some(answer) = in_flight.start(work).await {
                note(answer);
            }
            if in_flight.len() >= BATCH_IN_FLIGHT_MAX
                && let Some(answer) = in_flight.next().await
            {
                note(answer);
            }
        }
        while let Some(answer) = in_flight.next().await {
            note(answer);
        }
    }
}

fn respond<T>(result: Result<T>) -> Result<Response<T>, Status> {
    result.map(Response::new).map_err(|error| to_status(&error))
}

#[tonic::async_trait]
impl TicketService for TicketFront {
    async fn add(
        &self,
        request: Request<pb::AddTicketRequest>,
    ) -> Result<Response<pb::AddTicketResponse>, Status> {
        let time = time_of(&request);
        let added = self.add_one(request.into_inner(), time).await;
        respond(added.map(|(stored, version)| pb::AddTicketResponse { stored, version }))
    }

    async fn add_many(
        &self,
        request: Request<pb::AddTicketsRequest>,
    ) -> Result<Response<pb::AddTicketsResponse>, Status> {
        let time = time_of(&request);
        respond(self.add_several(request.into_inner(), time).await)
    }

    async fn get(
        &self,
        request: Request<pb::GetTicketRequest>,
    ) -> Result<Response<pb::GetTicketResponse>, Status> {
        let time = time_of(&request);
        respond(one::get(&self.tickets(), request.into_inner(), time.deadline).await)
    }

    async fn update(
        &self,
        request: Request<pb::UpdateTicketRequest>,
    ) -> Result<Response<pb::UpdateTicketResponse>, Status> {
        let time = time_of(&request);
        let message = request.into_inner();
        let update = async {
            let id = request_id(&message.request_id)?;
            let ticket = decode::updated(message.ticket)?;
            let tickets = self.tickets();
            tickets
                .update(ticket, message.expected_version, id, time.deadline)
                .await
        };
        respond(
            update
                .await
                .map(|version| pb::UpdateTicketResponse { version }),
        )
    }

    async fn r#use(
        &self,
        request: Request<pb::UseTicketRequest>,
    ) -> Result<Response<pb::UseTicketResponse>, Status> {
        let time = time_of(&request);
        respond(one::use_once(&self.tickets(), request.into_inner(), time.deadline).await)
    }

    async fn delete(
        &self,
        request: Request<pb::DeleteTicketRequest>,
    ) -> Result<Response<pb::DeleteTicketResponse>, Status> {
        let time = time_of(&request);
        let message = request.into_inner();
        let deleted = async {
            let id = request_id(&message.request_id)?;
            self.tickets().delete(&message.id, id, time.deadline).await
        };
        respond(
            deleted
                .await
                .map(|deleted| pb::DeleteTicketResponse { deleted }),
        )
    }

    async fn delete_all(
        &self,
        request: Request<pb::DeleteAllTicketsRequest>,
    ) -> Result<Response<pb::DeleteAllTicketsResponse>, Status> {
        let time = time_of(&request);
        let message = request.into_inner();
        let deleted = async {
            let id = request_id(&message.request_id)?;
            self.tickets().delete_all(id, time.deadline).await
        };
        respond(
            deleted
                .await
                .map(|deleted| pb::DeleteAllTicketsResponse { deleted }),
        )
    }

    async fn delete_for_principal(
        &self,
        request: Request<pb::DeleteForPrincipalRequest>,
    ) -> Result<Response<pb::DeleteForPrincipalResponse>, Status> {
        let time = time_of(&request);
        let message = request.into_inner();
        let deleted = async {
            let id = request_id(&message.request_id)?;
            let principal = decode::principal(&message.principal)?;
            self.tickets()
                .delete_for_principal(&principal, id, time.deadline)
                .await
        };
        respond(
            deleted
                .await
                .map(|deleted| pb::DeleteForPrincipalResponse { deleted }),
        )
    }

    type ListStream = Answers<pb::ListTicketsResponse>;

    async fn list(
        &self,
        request: Request<pb::ListTicketsRequest>,
    ) -> Result<Response<Self::ListStream>, Status> {
        let time = time_of(&request);
        list::start(&self.front, request.into_inner(), time).map_err(|error| to_status(&error))
    }

    async fn count(
        &self,
        request: Request<pb::CountTicketsRequest>,
    ) -> Result<Response<pb::CountTicketsResponse>, Status> {
        let time = time_of(&request);
        let message = request.into_inner();
        let counted = async {
            let wanted = decode::counted(message)?;
            self.tickets().count(&wanted, time.deadline).await
        };
        respond(
            counted
                .await
                .map(|count| pb::CountTicketsResponse { count }),
        )
    }

    type WatchStream = Answers<pb::TicketEvent>;

    async fn watch(
        &self,
        request: Request<pb::WatchTicketsRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        let time = time_of(&request);
        let started = watch::start(&self.front, request.into_inner(), time).await;
        started.map_err(|error| to_status(&error))
    }
}
