//! Lists that are told one item at a time, and go on behind the last cursor when the connection is
//! lost: scans, and lists of tickets. Nothing is held here but what is on the way.

use super::Client;
use super::retry::Effect;
use super::routes::Keyed;
use super::stream::{Heard, Losses, hear};
use crate::error::Result;
use bytes::Bytes;
use std::future::Future;
use tonic::transport::Channel;
use tonic::{Request, Response, Status, Streaming};

/// A request for a list: what is still to come.
pub(super) trait Paged: Keyed {
    /// What comes, one after another.
    type Item;

    /// Where a later list goes on behind the item.
    fn cursor_of(item: &Self::Item) -> &Bytes;

    /// Where the list goes on, and how many items it has still to tell (0: all).
    fn place_mut(&mut self) -> (&mut Bytes, &mut u64);

    /// Asks a node.
    fn open(
        self,
        channel: Channel,
    ) -> impl Future<Output = Result<Response<Streaming<Self::Item>>, Status>> + Send;
}

/// A list under way.
#[derive(Debug)]
pub(super) struct Listing<R: Paged> {
    client: Client,
    /// What is still to come: its cursor and limit move with every item.
    pub(super) request: R,
    limited: bool,
    stream: Option<Streaming<R::Item>>,
    losses: Losses,
    done: bool,
}

impl<R: Paged> Listing<R> {
    /// Nothing is asked before the first `next`.
    pub(super) fn new(client: Client, mut request: R) -> Self {
        Self {
            limited: *request.place_mut().1 > 0,
            losses: Losses::new(client.connections.options.timeout),
            client,
            request,
            stream: None,
            done: false,
        }
    }

    /// The next item; none at the end. No item is lost when the future is dropped.
    pub(super) async fn next(&mut self) -> Result<Option<R::Item>> {
        while !self.done {
            let Some(stream) = &mut self.stream else {
                self.stream = Some(self.open().await?);
                continue;
            };
            match hear(stream, None).await {
                Heard::Message(item) => {
                    self.losses.forget();
                    self.note(&item);
                    return Ok(Some(item));
                }
                Heard::End => self.done = true,
                Heard::Lost(error) => {
                    self.stream = None;
                    self.losses.note(error).await?;
                }
                Heard::Refused(error) => {
                    self.stream = None;
                    return Err(error);
                }
            }
        }
        Ok(None)
    }

    fn note(&mut self, item: &R::Item) {
        let (cursor, left) = self.request.place_mut();
        R::cursor_of(item).clone_into(cursor);
        if self.limited {
            *left = left.saturating_sub(1);
            self.done = *left == 0;
        }
    }

    async fn open(&self) -> Result<Streaming<R::Item>> {
        // Without the attempt's deadline, which would end the stream: what bounds it is the end of
        // the list.
        let send = async |channel, message: Request<R>| message.into_inner().open(channel).await;
        let request = self.request.clone();
        self.client.call(Effect::Read, request, send).await
    }
}
