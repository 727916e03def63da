//! The ticket registry: its calls. A ticket whose kind is named goes straight to an owner of its id.
//!
//! | where | what |
//! |---|---|
//! | `error.rs` | how a call ends otherwise |
//! | `list.rs` | tickets as a stream |
//! | `watch.rs` | what happens to tickets, as it happens |

mod error;
mod list;
mod watch;

pub use error::TicketError;
pub use list::TicketList;
pub use watch::TicketWatch;

use super::batch::nothing_said;
use super::cache::identified;
use super::retry::Effect;
use super::{Client, ticket_service};
use crate::error::{Error, ErrorKind};
use crate::rpc::proto::add_tickets_response;
use crate::rpc::proto::{
    AddTicketRequest, AddTicketResponse, AddTicketsRequest, CountTicketsRequest,
    DeleteAllTicketsRequest, DeleteForPrincipalRequest, DeleteTicketRequest, GetTicketRequest,
    Ticket, UpdateTicketRequest, UseTicketRequest,
};
use crate::rpc::status::from_proto;
use bytes::Bytes;

/// What came of one of several tickets.
fn added(result: add_tickets_response::Result) -> crate::error::Result<AddTicketResponse> {
    use add_tickets_response::result::Result as Said;
    match result.result {
        Some(Said::Add(added)) => Ok(added),
        Some(Said::Error(error)) => Err(from_proto(error)),
        None => Err(nothing_said()),
    }
}

/// What a call on tickets ends with.
type Result<T> = std::result::Result<T, TicketError>;

/// The ticket registry of a cluster. See [`Client::tickets`].
///
/// Every call that changes something has a request id, so that repeating it applies it once.
///
/// # Example
///
/// ```no_run
/// # async fn example(client: embergrid::client::Client) -> Result<(), embergrid::client::TicketError> {
/// use embergrid::client::messages::Ticket;
///
/// let tickets = client.tickets();
/// // alice logs in.
/// tickets.add(Ticket {
///     id: "TGT-1".into(),
///     kind: "TGT".into(),
///     principal: "alice".into(),
///     ..Ticket::default()
/// }).await?;
/// // The mail application gets a ticket, and another server validates it: once.
/// tickets.add(Ticket {
///     id: "ST-1".into(),
///     kind: "ST".into(),
///     parent_id: "TGT-1".into(),
///     service: "https://mail.example.org".into(),
///     ..Ticket::default()
/// }).await?;
/// let used = tickets.use_ticket("ST-1", "ST").await?;
/// assert_eq!(used.root_id, "TGT-1");
/// // alice logs out, everywhere.
/// tickets.delete_for_principal("alice").await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Tickets {
    client: Client,
}

impl Client {
    /// The ticket registry.
    ///
    /// # Example
    ///
    /// ```no_run
    /// # async fn example(client: embergrid::client::Client) -> Result<(), embergrid::client::TicketError> {
    /// let ticket = client.tickets().get("TGT-1", "TGT").await?;
    /// println!("a session of {:?}", ticket.principal);
    /// # Ok(())
    /// # }
    /// ```
    pub fn tickets(&self) -> Tickets {
        Tickets {
            client: self.clone(),
        }
    }
}

impl From<Ticket> for AddTicketRequest {
    fn from(ticket: Ticket) -> Self {
        Self {
            ticket: Some(ticket),
            ..Self::default()
        }
    }
}

impl From<Ticket> for UpdateTicketRequest {
    fn from(ticket: Ticket) -> Self {
        Self {
            ticket: Some(ticket),
            ..Self::default()
        }
    }
}

impl Tickets {
    /// Stores a ticket, or replaces the one that lives under its id. `stored` is false where it has
    /// expired already.
    ///
    /// Takes a [`Ticket`], or an [`AddTicketRequest`] where the request id is your own.
    ///
    /// # Errors
    ///
    /// [`TicketError::ParentGone`]; [`TicketError::Removed`] where a ticket with this id was deleted
    /// a while ago; [`TicketError::Unknown`] where it may be stored or not.
    ///
    /// # Example
    ///
    /// ```no_run
    /// # async fn example(tickets: embergrid::client::Tickets) -> Result<(), embergrid::client::TicketError> {
    /// use embergrid::client::TicketError;
    /// use embergrid::client::messages::{Expiration, Ticket};
    ///
    /// let added = tickets.add(Ticket {
    ///     id: "ST-1".into(),
    ///     kind: "ST".into(),
    ///     parent_id: "TGT-1".into(),
    ///     expiration: Some(Expiration {
    ///         max_time_to_live: Some(prost_types::Duration { seconds: 60, nanos: 0 }),
    ///         ..Expiration::default()
    ///     }),
    ///     ..Ticket::default()
    /// }).await;
    /// match added {
    ///     Err(TicketError::ParentGone) => println!("the session is over: log in again"),
    ///     other => assert!(other?.stored),
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub async fn add(&self, ticket: impl Into<AddTicketRequest>) -> Result<AddTicketResponse> {
        let mut request = ticket.into();
        identified(&mut request.request_id)?;
        let send = async |channel, message| ticket_service(channel).add(message).await;
        Ok(self.client.call(Effect::Write, request, send).await?)
    }

    /// Stores several tickets, each for itself: one result for each, in their order.
    ///
    /// # Errors
    ///
    /// Of the call as a whole; each result may be an error of its own. Where some met a passing error
    /// (their owner was just lost, say) all are sent again, which answers the others as before.
    ///
    /// # Example
    ///
    /// ```no_run
    /// # async fn example(tickets: embergrid::client::Tickets) -> Result<(), embergrid::client::TicketError> {
    /// use embergrid::client::messages::Ticket;
    ///
    /// // A session and its first service ticket: the parent comes first.
    /// let session = Ticket { id: "TGT-1".into(), kind: "TGT".into(), ..Ticket::default() };
    /// let ticket = Ticket {
    ///     id: "ST-1".into(),
    ///     kind: "ST".into(),
    ///     parent_id: "TGT-1".into(),
    ///     ..Ticket::default()
    /// };
    /// for (id, added) in ["TGT-1", "ST-1"].iter().zip(tickets.add_many(vec![session, ticket]).await?) {
    ///     if let Err(error) = added {
    ///         println!("{id}: {error}");
    ///     }
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub async fn add_many(&self, tickets: Vec<Ticket>) -> Result<Vec<Result<AddTicketResponse>>> {
        let mut request = AddTicketsRequest {
            tickets,
            ..AddTicketsRequest::default()
        };
        identified(&mut request.request_id)?;
        let count = request.tickets.len();
        let ask = |options| {
            let (client, request) = (self.client.clone(), request.clone());
            async move {
                let send = async |channel, message| ticket_service(channel).add_many(message).await;
                let answered = client.call_with(options, Effect::Write, request, send);
                let answered = answered.await?;
                let results = answered.reply.results.into_iter().map(added);
                Ok((results.collect(), answered.tainted))
            }
        };
        let client = &self.client;
        let all = client.until_answered(Effect::Write, count, ask).await?;
        Ok(all.into_iter().map(|one| Ok(one?)).collect())
    }

    /// Reads a ticket. That is no use, and moves no idle time. An empty kind means any; where the
    /// kind is named, the call goes straight to an owner.
    ///
    /// # Errors
    ///
    /// [`TicketError::NotFound`], [`TicketError::WrongKind`]; else as any call.
    ///
    /// # Example
    ///
    /// ```no_run
    /// # async fn example(tickets: embergrid::client::Tickets) -> Result<(), embergrid::client::TicketError> {
    /// use embergrid::client::TicketError;
    ///
    /// match tickets.get("TGT-1", "").await {
    ///     Ok(ticket) => println!("a {} of {:?}", ticket.kind, ticket.principal),
    ///     Err(TicketError::NotFound) => println!("no ticket lives under this id"),
    ///     Err(error) => return Err(error),
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub async fn get(&self, id: impl Into<Bytes>, kind: &str) -> Result<Ticket> {
        let request = GetTicketRequest {
            id: id.into(),
            kind: kind.to_owned(),
        };
        let send = async |channel, message| ticket_service(channel).get(message).await;
        let reply = self.client.single(Effect::Read, request, send).await;
        present(reply.map_err(TicketError::of_read)?.ticket)
    }

    /// Replaces a ticket that lives; its new version. Idle time begins anew; its life and its uses
    /// go on. With `expected_version` it is compare-and-set.
    ///
    /// Takes a [`Ticket`] to update it in any case, or an [`UpdateTicketRequest`].
    ///
    /// # Errors
    ///
    /// [`TicketError::NotFound`]; [`TicketError::WrongKind`]; [`TicketError::Conflict`] where it has
    /// another version; [`TicketError::Unknown`] where it may be updated or not.
    ///
    /// # Example
    ///
    /// ```no_run
    /// # async fn example(tickets: embergrid::client::Tickets) -> Result<(), embergrid::client::TicketError> {
    /// use embergrid::client::TicketError;
    /// use embergrid::client::messages::UpdateTicketRequest;
    ///
    /// loop {
    ///     let mut session = tickets.get("TGT-1", "TGT").await?;
    ///     let read = session.version;
    ///     session.payload = [&session.payload[..], b", mail"].concat().into();
    ///     let updated = tickets.update(UpdateTicketRequest {
    ///         ticket: Some(session),
    ///         expected_version: Some(read),
    ///         ..UpdateTicketRequest::default()
    ///     }).await;
    ///     match updated {
    ///         Err(TicketError::Conflict) => continue,
    ///         other => break other.map(|_version| ()),
    ///     }
    /// }
    /// # }
    /// ```
    pub async fn update(&self, ticket: impl Into<UpdateTicketRequest>) -> Result<u64> {
        let mut request = ticket.into();
        identified(&mut request.request_id)?;
        let send = async |channel, message| ticket_service(channel).update(message).await;
        let reply = self.client.call(Effect::Write, request, send).await?;
        Ok(reply.version)
    }

    /// Counts one use of a ticket, and returns it as it is then. Of all callers that present the
    /// last use, one succeeds. An empty kind means any; a ticket of another kind is not used.
    ///
    /// # Errors
    ///
    /// [`TicketError::NotFound`], also where its uses are spent; [`TicketError::WrongKind`];
    /// [`TicketError::Unknown`] where it may have been used or not.
    ///
    /// # Example
    ///
    /// ```no_run
    /// # async fn example(tickets: embergrid::client::Tickets) -> Result<(), embergrid::client::TicketError> {
    /// use embergrid::client::TicketError;
    ///
    /// let used = tickets.use_ticket("ST-1", "ST").await?;
    /// let session = tickets.get(used.root_id, "TGT").await?;
    /// println!("{:?} is logged in", session.principal);
    /// let again = tickets.use_ticket("ST-1", "ST").await;
    /// assert_eq!(again, Err(TicketError::NotFound));
    /// # Ok(())
    /// # }
    /// ```
    pub async fn use_ticket(&self, id: impl Into<Bytes>, kind: &str) -> Result<Ticket> {
        let request = UseTicketRequest {
            id: id.into(),
            kind: kind.to_owned(),
            ..UseTicketRequest::default()
        };
        self.use_as(request).await
    }

    /// Counts one use of a ticket as the request says: with a request id of your own, where the
    /// call may be made again after it has ended.
    ///
    /// # Errors
    ///
    /// As [`Tickets::use_ticket`].
    ///
    /// # Example
    ///
    /// ```no_run
    /// # async fn example(tickets: embergrid::client::Tickets) -> Result<(), Box<dyn std::error::Error>> {
    /// use embergrid::client::messages::UseTicketRequest;
    /// use embergrid::client::{TicketError, request_id};
    ///
    /// let one_use = UseTicketRequest {
    ///     id: "ST-1".into(),
    ///     request_id: request_id()?.to_vec().into(),
    ///     ..UseTicketRequest::default()
    /// };
    /// let ticket = match tickets.use_as(one_use.clone()).await {
    ///     // The same use again, which counts once.
    ///     Err(TicketError::Unknown(_)) => tickets.use_as(one_use).await?,
    ///     other => other?,
    /// };
    /// # Ok(())
    /// # }
    /// ```
    pub async fn use_as(&self, mut request: UseTicketRequest) -> Result<Ticket> {
        identified(&mut request.request_id)?;
        let send = async |channel, message| ticket_service(channel).r#use(message).await;
        let reply = self.client.single(Effect::Write, request, send).await?;
        present(reply.ticket)
    }

    /// Deletes a ticket with all that descend from it; how many they were. 0: none lived.
    ///
    /// # Errors
    ///
    /// [`TicketError::Unknown`] where some or all may have been deleted.
    ///
    /// # Example
    ///
    /// ```no_run
    /// # async fn example(tickets: embergrid::client::Tickets) -> Result<(), embergrid::client::TicketError> {
    /// // alice logs out of this session: her service tickets end with it.
    /// let ended = tickets.delete("TGT-1").await?;
    /// println!("{ended} tickets are gone");
    /// # Ok(())
    /// # }
    /// ```
    pub async fn delete(&self, id: impl Into<Bytes>) -> Result<u64> {
        let mut request = DeleteTicketRequest {
            id: id.into(),
            ..DeleteTicketRequest::default()
        };
        identified(&mut request.request_id)?;
        let send = async |channel, message| ticket_service(channel).delete(message).await;
        let reply = self.client.call(Effect::Write, request, send).await?;
        Ok(reply.deleted)
    }

    /// Ends every session of a user: deletes all tickets of a principal, and all that descend from
    /// them; how many they were. The user may log in again at once.
    ///
    /// # Errors
    ///
    /// [`TicketError::Unknown`] where some or all may have been deleted.
    ///
    /// # Example
    ///
    /// ```no_run
    /// # async fn example(tickets: embergrid::client::Tickets) -> Result<(), embergrid::client::TicketError> {
    /// let ended = tickets.delete_for_principal("alice").await?;
    /// println!("{ended} tickets are gone");
    /// # Ok(())
    /// # }
    /// ```
    pub async fn delete_for_principal(&self, principal: impl Into<Bytes>) -> Result<u64> {
        let mut request = DeleteForPrincipalRequest {
            principal: principal.into(),
            ..DeleteForPrincipalRequest::default()
        };
        identified(&mut request.request_id)?;
        let send =
            async |channel, message| ticket_service(channel).delete_for_principal(message).await;
        let reply = self.client.call(Effect::Write, request, send).await?;
        Ok(reply.deleted)
    }

    /// Deletes all tickets of all kinds; how many they were.
    ///
    /// # Errors
    ///
    /// [`TicketError::Unknown`] where some or all may have been deleted.
    ///
    /// # Example
    ///
    /// ```no_run
    /// # async fn example(tickets: embergrid::client::Tickets) -> Result<(), embergrid::client::TicketError> {
    /// println!("{} tickets are gone", tickets.delete_all().await?);
    /// # Ok(())
    /// # }
    /// ```
    pub async fn delete_all(&self) -> Result<u64> {
        let mut request = DeleteAllTicketsRequest::default();
        identified(&mut request.request_id)?;
        let send = async |channel, message| ticket_service(channel).delete_all(message).await;
        let reply = self.client.call(Effect::Write, request, send).await?;
        Ok(reply.deleted)
    }

    /// Counts the tickets that live and match; what is empty in the request matches all.
    ///
    /// # Errors
    ///
    /// As any call. Nothing is estimated: a partition that does not answer fails the call.
    ///
    /// # Example
    ///
    /// ```no_run
    /// # async fn example(tickets: embergrid::client::Tickets) -> Result<(), embergrid::client::TicketError> {
    /// use embergrid::client::messages::CountTicketsRequest;
    ///
    /// let sessions = tickets.count(CountTicketsRequest {
    ///     kind: "TGT".into(),
    ///     principal: "alice".into(),
    ///     ..CountTicketsRequest::default()
    /// }).await?;
    /// println!("alice has {sessions} sessions");
    /// # Ok(())
    /// # }
    /// ```
    pub async fn count(&self, request: CountTicketsRequest) -> Result<u64> {
        let send = async |channel, message| ticket_service(channel).count(message).await;
        let reply = self.client.call(Effect::Read, request, send).await;
        Ok(reply.map_err(TicketError::of_read)?.count)
    }
}

fn present(ticket: Option<Ticket>) -> Result<Ticket> {
    let missing = || Error::new(ErrorKind::Internal, "the node answered without the ticket");
    Ok(ticket.ok_or_else(missing)?)
}
