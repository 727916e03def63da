//! Watching the topology: the view now, and again whenever it changes.

use super::retry::Effect;
use super::stream::{Heard, Losses, hear};
use super::{Client, cluster_service};
use crate::error::{Error, Result};
use crate::rpc::proto::{TopologyResponse, WatchTopologyRequest};
use tonic::{Request, Streaming};

/// Views as they come. See [`Client::watch_topology`].
///
/// # Example
///
/// ```no_run
/// # async fn example(client: embergrid::client::Client) -> embergrid::error::Result<()> {
/// let mut views = client.watch_topology();
/// loop {
///     let view = views.next().await?;
///     println!("{} nodes at {:?}", view.nodes.len(), view.version);
/// }
/// # }
/// ```
#[derive(Debug)]
pub struct TopologyWatch {
    client: Client,
    stream: Option<Streaming<TopologyResponse>>,
    losses: Losses,
}

impl Client {
    /// Watches the topology. Where the connection is lost, it goes on at another node.
    ///
    /// # Example
    ///
    /// ```no_run
    /// # async fn example(client: embergrid::client::Client) -> embergrid::error::Result<()> {
    /// let mut views = client.watch_topology();
    /// while views.next().await?.nodes.len() < 3 {}
    /// println!("all three are here");
    /// # Ok(())
    /// # }
    /// ```
    pub fn watch_topology(&self) -> TopologyWatch {
        TopologyWatch {
            client: self.clone(),
            stream: None,
            losses: Losses::new(self.connections.options.timeout),
        }
    }
}

impl TopologyWatch {
    /// The view as one node knows it: at once the first time, then whenever it changes. Views
    /// that follow each other quickly may be left out, and one may come twice behind a connection
    /// that was lost.
    ///
    /// # Errors
    ///
    /// As any call; it may be called again to go on.
    ///
    /// # Cancel safety
    ///
    /// A view may be told again, and none is lost, when the future is dropped.
    ///
    /// # Example
    ///
    /// ```no_run
    /// # async fn example(mut views: embergrid::client::TopologyWatch) -> embergrid::error::Result<()> {
    /// let view = views.next().await?;
    /// println!("coordinator: {}", view.coordinator);
    /// # Ok(())
    /// # }
    /// ```
    pub async fn next(&mut self) -> Result<TopologyResponse> {
        loop {
            let Some(stream) = &mut self.stream else {
                self.stream = Some(self.open().await?);
                continue;
            };
            let error = match hear(stream, None).await {
                Heard::Message(view) => {
                    self.losses.forget();
                    return Ok(view);
                }
                Heard::End => Error::unavailable("the stream ended"),
                Heard::Lost(error) => error,
                Heard::Refused(error) => {
                    self.stream = None;
                    return Err(error);
                }
            };
            self.stream = None;
            self.losses.note(error).await?;
        }
    }

    async fn open(&self) -> Result<Streaming<TopologyResponse>> {
        // Without the attempt's deadline, which would end the stream.
        let send = async |channel, message: Request<WatchTopologyRequest>| {
            cluster_service(channel)
                .watch_topology(message.into_inner())
                .await
        };
        let request = WatchTopologyRequest::default();
        self.client.call(Effect::Read, request, send).await
    }
}
