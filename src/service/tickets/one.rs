//! Calls on one ticket that are made by themselves, and on a pipeline (`cache/pipeline.rs`).

use super::super::decode::request_id;
use super::encode;
use crate::error::Result;
use crate::node::Tickets;
use crate::rpc::proto as pb;
use std::time::Instant;

/// Reads a ticket.
///
/// # Errors
///
/// As [`Tickets::get`].
pub async fn get(
    tickets: &Tickets,
    message: pb::GetTicketRequest,
    deadline: Instant,
) -> Result<pb::GetTicketResponse> {
    let got = tickets.get(&message.id, &message.kind, deadline).await?;
    Ok(pb::GetTicketResponse {
        ticket: Some(encode::ticket(got)),
    })
}

/// Counts a use.
///
/// # Errors
///
/// As [`Tickets::use_ticket`]; `InvalidArgument` where the request id is none.
pub async fn use_once(
    tickets: &Tickets,
    message: pb::UseTicketRequest,
    deadline: Instant,
) -> Result<pb::UseTicketResponse> {
    let id = request_id(&message.request_id)?;
    let used = tickets
        .use_ticket(&message.id, &message.kind, id, deadline)
        .await?;
    Ok(pb::UseTicketResponse {
        ticket: Some(encode::ticket(used)),
    })
}
