//! Tickets as plain cache calls: a session is an entry, using a service ticket is taking it.

use crate::cli::outcome::Failure;
use crate::client::Client;
use crate::client::messages::condition::Condition as Choice;
use crate::client::messages::{
    AtomicityMode, CacheMode, CacheSettings, Condition, Expiry, PutRequest, RemoveRequest,
    WriteSynchronizationMode,
};
use std::time::Duration;

/// The cache of ticket-granting tickets: users' sessions.
pub const SESSIONS: &str = "sessions";
/// The cache of service tickets: each good for one use within seconds.
pub const SERVICE_TICKETS: &str = "service-tickets";

/// How long a session lives.
pub const SESSION_LIVES: Duration = Duration::from_secs(8 * 3600);
/// How long a session lives without being used.
pub const SESSION_IDLES: Duration = Duration::from_secs(2 * 3600);
/// How long a service ticket lives.
pub const SERVICE_TICKET_LIVES: Duration = Duration::from_secs(10);

/// How far nodes may differ about the time at which something expires.
pub const CLOCK_ERROR_MAX: Duration = Duration::from_millis(50);

/// Both caches: sessions on every node, service tickets on two nodes each.
pub fn caches() -> Result<[CacheSettings; 2], Failure> {
    let cache = |name: &str, mode: CacheMode| CacheSettings {
        name: name.to_owned(),
        mode: mode.into(),
        atomicity_mode: AtomicityMode::Atomic.into(),
        write_synchronization_mode: WriteSynchronizationMode::FullSync.into(),
        ..CacheSettings::default()
    };
    let mut sessions = cache(SESSIONS, CacheMode::Replicated);
    sessions.time_to_live = Some(wire(SESSION_LIVES)?);
    sessions.time_to_idle = Some(wire(SESSION_IDLES)?);
    let mut tickets = cache(SERVICE_TICKETS, CacheMode::Partitioned);
    tickets.backups = Some(1);
    tickets.time_to_live = Some(wire(SERVICE_TICKET_LIVES)?);
    Ok([sessions, tickets])
}

/// Opens a session; false where it is open already.
pub async fn log_in(client: &Client, session: &str, user: &str) -> Result<bool, Failure> {
    store(client, SESSIONS, session, user, None).await
}

/// Whose session it is; none where there is no such session.
pub async fn user_of(client: &Client, session: &str) -> Result<Option<String>, Failure> {
    let entry = client.get(SESSIONS, session.as_bytes().to_vec()).await?;
    Ok(entry.map(|entry| String::from_utf8_lossy(&entry.value).into_owned()))
}

/// Ends a session; false where there is none.
pub async fn log_out(client: &Client, session: &str) -> Result<bool, Failure> {
    let request = RemoveRequest {
        cache: SESSIONS.to_owned(),
        key: session.as_bytes().to_vec().into(),
        ..RemoveRequest::default()
    };
    Ok(client.remove(request).await?.applied)
}

/// Issues a service ticket for a session; `lives` where it is not the cache's own time.
pub async fn issue(
    client: &Client,
    ticket: &str,
    session: &str,
    lives: Option<Duration>,
) -> Result<bool, Failure> {
    store(client, SERVICE_TICKETS, ticket, session, lives).await
}

/// Uses a service ticket: the session that it was issued for, or none where it was used before,
/// has expired, or never was.
pub async fn use_once(client: &Client, ticket: &str) -> Result<Option<String>, Failure> {
    let request = RemoveRequest {
        cache: SERVICE_TICKETS.to_owned(),
        key: ticket.as_bytes().to_vec().into(),
        return_previous: true,
        ..RemoveRequest::default()
    };
    let reply = client.remove(request).await?;
    let previous = reply.previous.filter(|_| reply.applied);
    Ok(previous.map(|entry| String::from_utf8_lossy(&entry.value).into_owned()))
}

/// Whether a service ticket lives.
pub async fn lives(client: &Client, ticket: &str) -> Result<bool, Failure> {
    Ok(client
        .get(SERVICE_TICKETS, ticket.as_bytes().to_vec())
        .await?
        .is_some())
}

async fn store(
    client: &Client,
    cache: &str,
    key: &str,
    value: &str,
    lives: Option<Duration>,
) -> Result<bool, Failure> {
    let expiry = match lives {
        Some(lives) => Some(Expiry {
            time_to_live: Some(wire(lives)?),
            ..Expiry::default()
        }),
        None => None,
    };
    let request = PutRequest {
        cache: cache.to_owned(),
        key: key.as_bytes().to_vec().into(),
        value: value.as_bytes().to_vec().into(),
        expiry,
        condition: Some(Condition {
            condition: Some(Choice::Absent(true)),
        }),
        ..PutRequest::default()
    };
    Ok(client.put(request).await?.applied)
}

fn wire(duration: Duration) -> Result<prost_types::Duration, Failure> {
    prost_types::Duration::try_from(duration)
        .map_err(|_| Failure::failed("a duration is out of range"))
}
