//! What happens to tickets, as it happens. See `watcher.rs`.

use super::super::ticket_service;
use super::super::watcher::{Told, Watched, Watcher};
use super::Tickets;
use crate::error::Result;
use crate::rpc::proto::ticket_event::Type;
use crate::rpc::proto::{TicketEvent, WatchTicketsRequest};
use bytes::Bytes;
use tonic::transport::Channel;
use tonic::{Response, Status, Streaming};
use xxhash_rust::xxh3::Xxh3;

/// The events of tickets. See [`Tickets::watch`].
///
/// # Example
///
/// Whoever's session ends is logged out of the applications:
///
/// ```no_run
/// # async fn example(tickets: embergrid::client::Tickets) -> Result<(), embergrid::error::Error> {
/// use embergrid::client::messages::ticket_event::Type;
///
/// let mut watch = tickets.watch("TGT").await?;
/// loop {
///     let event = watch.next().await?;
///     if matches!(event.r#type(), Type::Deleted | Type::Expired) {
///         let user = event.ticket.map(|session| session.principal);
///         println!("log {user:?} out");
///     }
/// }
/// # }
/// ```
#[derive(Debug)]
pub struct TicketWatch(Watcher<WatchTicketsRequest>);

impl Tickets {
    /// Watches the tickets of a kind, or with an empty one all, from now on. It returns when every
    /// partition is watched: whatever happens from then on is told. The watch resumes by itself, at
    /// another node if need be, without a gap and without a double.
    ///
    /// # Errors
    ///
    /// As any call.
    ///
    /// # Example
    ///
    /// Every session, those that live and those that come, with nothing between them:
    ///
    /// ```no_run
    /// # async fn example(tickets: embergrid::client::Tickets) -> Result<(), embergrid::error::Error> {
    /// use embergrid::client::messages::ListTicketsRequest;
    ///
    /// let mut watch = tickets.watch("TGT").await?;
    /// let mut living = tickets.list(ListTicketsRequest {
    ///     kind: "TGT".into(),
    ///     ..ListTicketsRequest::default()
    /// });
    /// while let Some(session) = living.next().await? {
    ///     println!("lives: {:?}", session.id);
    /// }
    /// let event = watch.next().await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn watch(&self, kind: &str) -> Result<TicketWatch> {
        self.watch_as(WatchTicketsRequest {
            kind: kind.to_owned(),
            ..WatchTicketsRequest::default()
        })
        .await
    }

    /// Watches as the request says: also from a place on where another watch ended.
    ///
    /// # Errors
    ///
    /// As any call; OUT_OF_RANGE where the token is none of such a watch.
    ///
    /// # Example
    ///
    /// ```no_run
    /// # async fn example(tickets: embergrid::client::Tickets) -> Result<(), embergrid::error::Error> {
    /// use embergrid::client::messages::WatchTicketsRequest;
    ///
    /// let watch = tickets.watch_as(WatchTicketsRequest {
    ///     resume_token: std::fs::read("place").expect("a file").into(),
    ///     ..WatchTicketsRequest::default()
    /// }).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn watch_as(&self, request: WatchTicketsRequest) -> Result<TicketWatch> {
        let watcher = Watcher::begin(self.client.clone(), request).await?;
        Ok(TicketWatch(watcher))
    }
}

impl TicketWatch {
    /// The next event; it waits until there is one. Checkpoints are not told: see
    /// [`TicketWatch::resume_token`].
    ///
    /// # Errors
    ///
    /// OUT_OF_RANGE where the watch cannot go on without a gap. It is said once, and when it is
    /// said, the watch has begun again: list what lives then, and go on; nothing that happens
    /// meanwhile is left out. Behind UNAVAILABLE (no node could be reached for long) and
    /// DEADLINE_EXCEEDED it may be called again to go on without a gap. Any other error ends the
    /// watch for good and is said again at every further call.
    ///
    /// # Cancel safety
    ///
    /// No event is lost when the future is dropped.
    ///
    /// # Example
    ///
    /// ```no_run
    /// # async fn example(mut watch: embergrid::client::TicketWatch) -> Result<(), embergrid::error::Error> {
    /// use embergrid::error::ErrorKind;
    ///
    /// match watch.next().await {
    ///     Ok(event) => println!("{:?} {:?}", event.r#type(), event.ticket),
    ///     Err(error) if error.kind == ErrorKind::OutOfRange => println!("look at what lives"),
    ///     Err(error) => return Err(error),
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub async fn next(&mut self) -> Result<TicketEvent> {
        self.0.next().await
    }

    /// Where the watch can be resumed, also by another process
    /// ([`WatchTicketsRequest::resume_token`]): behind the last checkpoint. Events told since then
    /// come again there.
    ///
    /// # Example
    ///
    /// ```no_run
    /// # async fn example(watch: embergrid::client::TicketWatch) {
    /// std::fs::write("place", watch.resume_token()).expect("a file");
    /// # }
    /// ```
    pub fn resume_token(&self) -> &Bytes {
        self.0.resume_token()
    }

    /// How often the connection was lost and the watch went on without a gap.
    ///
    /// # Example
    ///
    /// ```no_run
    /// # async fn example(mut watch: embergrid::client::TicketWatch) -> Result<(), embergrid::error::Error> {
    /// let event = watch.next().await?;
    /// println!("{event:?}, after {} resumptions", watch.resumed());
    /// # Ok(())
    /// # }
    /// ```
    pub fn resumed(&self) -> u64 {
        self.0.resumed()
    }
}

impl Watched for WatchTicketsRequest {
    type Event = TicketEvent;

    fn token(&self) -> &Bytes {
        &self.resume_token
    }

    fn token_mut(&mut self) -> &mut Bytes {
        &mut self.resume_token
    }

    /// What lives is listed, and not told by a watch.
    fn tells_current(&self) -> bool {
        false
    }

    fn tell_current(&mut self, _wanted: bool) -> bool {
        false
    }

    fn checkpoint(event: &TicketEvent) -> Option<&Bytes> {
        let is_one = event.r#type() == Type::Checkpoint;
        is_one.then_some(&event.resume_token)
    }

    /// An update is known by the version that it gave; what begins or ends a life happens once in
    /// it.
    fn told(event: &TicketEvent) -> Option<Told> {
        let mut hash = Xxh3::new();
        hash.update(&event.r#type.to_le_bytes());
        hash.update(&event.incarnation.to_le_bytes());
        if let Some(ticket) = &event.ticket {
            hash.update(&ticket.version.to_le_bytes());
            hash.update(&ticket.id);
        }
        Some(Told {
            digest: hash.digest128(),
            place: None,
        })
    }

    async fn open(
        self,
        channel: Channel,
    ) -> std::result::Result<Response<Streaming<TicketEvent>>, Status> {
        ticket_service(channel).watch(self).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rpc::proto::Ticket;

    #[test]
    fn events_of_a_ticket_are_told_apart() {
        let event = |kind: Type, incarnation, version| TicketEvent {
            r#type: kind.into(),
            ticket: Some(Ticket {
                id: "TGT-1".into(),
                version,
                ..Ticket::default()
            }),
            incarnation,
            ..TicketEvent::default()
        };
        let digest = |event| WatchTicketsRequest::told(&event).expect("one").digest;
        let mut seen = std::collections::HashSet::new();
        for (kind, incarnation, version) in [
            (Type::Added, 1, 1),
            (Type::Updated, 1, 2),
            (Type::Updated, 1, 3),
            (Type::Deleted, 1, 3),
            (Type::Added, 4, 4),
        ] {
            assert!(seen.insert(digest(event(kind, incarnation, version))));
        }
        assert!(!seen.insert(digest(event(Type::Updated, 1, 3))));
    }
}
