//! The tickets of a sign-on: sessions, and service tickets that descend from them.

use crate::cli::outcome::Failure;
use crate::client::messages::{CountTicketsRequest, Expiration, Ticket};
use crate::client::{Client, TicketError};
use std::time::Duration;

/// The kind of sessions (ticket-granting tickets).
pub const SESSION: &str = "TGT";
/// The kind of service tickets: each good for one use within seconds.
pub const SERVICE_TICKET: &str = "ST";

/// The cache of sessions.
pub const SESSIONS: &str = "sessions";
/// The cache of service tickets.
pub const SERVICE_TICKETS: &str = "service-tickets";

/// What all nodes are told: both kinds have a cache of their own, sessions on every node, service
/// tickets on two nodes each. How long tickets live their kinds say by themselves.
pub const SETTINGS: &str = r#"# The settings of all nodes of the demo.
[tickets.kinds.TGT]
cache = "sessions"

[tickets.kinds.ST]
cache = "service-tickets"

[[caches]]
name = "sessions"
cache-mode = "REPLICATED"

[[caches]]
name = "service-tickets"
cache-mode = "PARTITIONED"
backups = 1
"#;

/// How far nodes may differ about the time at which something expires.
pub const CLOCK_ERROR_MAX: Duration = Duration::from_millis(50);

/// Opens a session; false where it has expired before it began.
pub async fn log_in(client: &Client, session: &str, user: &str) -> Result<bool, Failure> {
    let ticket = Ticket {
        id: session.as_bytes().to_vec().into(),
        kind: SESSION.to_owned(),
        principal: user.as_bytes().to_vec().into(),
        ..Ticket::default()
    };
    Ok(client.tickets().add(ticket).await?.stored)
}

/// Whose session it is; none where there is no such session.
pub async fn user_of(client: &Client, session: &str) -> Result<Option<String>, Failure> {
    let found = living(client, session, SESSION).await?;
    Ok(found.map(|found| String::from_utf8_lossy(&found.principal).into_owned()))
}

/// How many sessions there are, of one user or of all.
pub async fn sessions(client: &Client, user: &str) -> Result<u64, Failure> {
    let request = CountTicketsRequest {
        kind: SESSION.to_owned(),
        principal: user.as_bytes().to_vec().into(),
        ..CountTicketsRequest::default()
    };
    Ok(client.tickets().count(request).await?)
}

/// Ends a session; how many tickets went with it, itself included.
pub async fn log_out(client: &Client, session: &str) -> Result<u64, Failure> {
    let id = session.as_bytes().to_vec();
    Ok(client.tickets().delete(id).await?)
}

/// Issues a service ticket for a session; `lives` where it is not the kind's own time. False where
/// the session does not live.
pub async fn issue(
    client: &Client,
    ticket: &str,
    session: &str,
    lives: Option<Duration>,
) -> Result<bool, Failure> {
    let lives = lives.map(crate::cli::key::duration).transpose()?;
    let ticket = Ticket {
        id: ticket.as_bytes().to_vec().into(),
        kind: SERVICE_TICKET.to_owned(),
        parent_id: session.as_bytes().to_vec().into(),
        expiration: lives.map(|lives| Expiration {
            max_time_to_live: Some(lives),
            ..Expiration::default()
        }),
        ..Ticket::default()
    };
    match client.tickets().add(ticket).await {
        Ok(added) => Ok(added.stored),
        Err(TicketError::ParentGone) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// Uses a service ticket: the session that it was issued for, or none where it was used before,
/// has expired, or never was.
pub async fn use_once(client: &Client, ticket: &str) -> Result<Option<String>, Failure> {
    let id = ticket.as_bytes().to_vec();
    match client.tickets().use_ticket(id, SERVICE_TICKET).await {
        Ok(used) => Ok(Some(String::from_utf8_lossy(&used.root_id).into_owned())),
        Err(TicketError::NotFound) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Whether a service ticket lives.
pub async fn lives(client: &Client, ticket: &str) -> Result<bool, Failure> {
    Ok(living(client, ticket, SERVICE_TICKET).await?.is_some())
}

async fn living(client: &Client, id: &str, kind: &str) -> Result<Option<Ticket>, Failure> {
    match client.tickets().get(id.as_bytes().to_vec(), kind).await {
        Ok(found) => Ok(Some(found)),
        Err(TicketError::NotFound) => Ok(None),
        Err(error) => Err(error.into()),
    }
}
