//! Lists of tickets: one after another, however many there are.

use super::super::listing::{Listing, Paged};
use super::super::ticket_service;
use super::{Result, TicketError, Tickets};
use crate::rpc::proto::{ListTicketsRequest, ListTicketsResponse, Ticket};
use bytes::Bytes;
use tonic::transport::Channel;
use tonic::{Response, Status, Streaming};

/// The tickets that match, one after another. See [`Tickets::list`].
///
/// Each ticket that lives throughout appears once; one that comes or goes meanwhile at most once.
/// Nothing is held here but what is on the way, however many there are.
///
/// # Example
///
/// ```no_run
/// # async fn example(tickets: embergrid::client::Tickets) -> Result<(), embergrid::client::TicketError> {
/// use embergrid::client::messages::ListTicketsRequest;
///
/// let mut sessions = tickets.list(ListTicketsRequest {
///     kind: "TGT".into(),
///     principal: "alice".into(),
///     ..ListTicketsRequest::default()
/// });
/// while let Some(session) = sessions.next().await? {
///     println!("{:?} since {:?}", session.id, session.created_at);
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct TicketList(Listing<ListTicketsRequest>);

impl Tickets {
    /// Begins a list; nothing is asked before the first [`TicketList::next`].
    ///
    /// # Example
    ///
    /// Who is logged in by a second factor, whichever of the two:
    ///
    /// ```no_run
    /// # async fn example(tickets: embergrid::client::Tickets) -> Result<(), embergrid::client::TicketError> {
    /// use embergrid::client::messages::{AttributeValues, ListTicketsRequest};
    ///
    /// let factors = AttributeValues { values: vec!["totp".into(), "webauthn".into()] };
    /// let mut found = tickets.list(ListTicketsRequest {
    ///     attributes: [("factor".to_owned(), factors)].into(),
    ///     ..ListTicketsRequest::default()
    /// });
    /// while let Some(ticket) = found.next().await? {
    ///     println!("{:?}", ticket.principal);
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn list(&self, request: ListTicketsRequest) -> TicketList {
        TicketList(Listing::new(self.client.clone(), request))
    }
}

impl TicketList {
    /// The next ticket; none at the end. Where the connection is lost, the list goes on at another
    /// node, behind the last ticket.
    ///
    /// # Errors
    ///
    /// As any call. Behind UNAVAILABLE and DEADLINE_EXCEEDED it may be called again to go on.
    ///
    /// # Cancel safety
    ///
    /// No ticket is lost when the future is dropped.
    ///
    /// # Example
    ///
    /// ```no_run
    /// # async fn example(mut list: embergrid::client::TicketList) -> Result<(), embergrid::client::TicketError> {
    /// let mut ids = Vec::new();
    /// while let Some(ticket) = list.next().await? {
    ///     ids.push(ticket.id);
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub async fn next(&mut self) -> Result<Option<Ticket>> {
        loop {
            match self.0.next().await.map_err(TicketError::of_read)? {
                None => return Ok(None),
                Some(ListTicketsResponse {
                    ticket: Some(ticket),
                    ..
                }) => return Ok(Some(ticket)),
                Some(_) => {}
            }
        }
    }

    /// Where the list stands: behind the last ticket that was told. Another list with the same
    /// filter can go on from here, also in another process ([`ListTicketsRequest::cursor`]). Empty
    /// before the first ticket of a list that began without one.
    ///
    /// # Example
    ///
    /// A page of a hundred, and the page behind it:
    ///
    /// ```no_run
    /// # async fn example(tickets: embergrid::client::Tickets) -> Result<(), embergrid::client::TicketError> {
    /// use embergrid::client::messages::ListTicketsRequest;
    ///
    /// let page = ListTicketsRequest { limit: 100, ..ListTicketsRequest::default() };
    /// let mut first = tickets.list(page.clone());
    /// while let Some(_ticket) = first.next().await? {}
    /// let second = tickets.list(ListTicketsRequest { cursor: first.cursor().clone(), ..page });
    /// # Ok(())
    /// # }
    /// ```
    pub fn cursor(&self) -> &Bytes {
        &self.0.request.cursor
    }
}

impl Paged for ListTicketsRequest {
    type Item = ListTicketsResponse;

    fn cursor_of(item: &ListTicketsResponse) -> &Bytes {
        &item.cursor
    }

    fn place_mut(&mut self) -> (&mut Bytes, &mut u64) {
        (&mut self.cursor, &mut self.limit)
    }

    async fn open(
        self,
        channel: Channel,
    ) -> std::result::Result<Response<Streaming<ListTicketsResponse>>, Status> {
        ticket_service(channel).list(self).await
    }
}
