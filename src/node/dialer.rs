//! Makes links: dials, adds what came up, takes out what ended, and tells the engine of both.
//! Whom to dial is decided by the engine, the address list and the view.

use super::core::Core;
use super::outside::Wanted;
use crate::engine::ProbeOutcome;
use crate::rpc::connector::DialError;
use crate::rpc::link::{Greeting, Link, LinkOptions, greet};
use crate::rpc::names::split_address;
use crate::rpc::refusals::Reason;
use crate::types::{Member, NodeInfo};
use parking_lot::Mutex;
use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::time::timeout;

/// How long it takes at most to learn whether the port of a link that ended refuses.
const REFUSAL_WAIT: Duration = Duration::from_millis(200);

/// How often it is tried to replace a link whose certificates were renewed.
const REPLACE_INTERVAL: Duration = Duration::from_secs(1);

/// Dials peers of one node.
pub(super) struct Dialer {
    core: Arc<Core>,
    options: LinkOptions,
    /// Rises with each dial: of two links to one peer the greater number is the newer.
    numbers: AtomicU64,
    /// Peers to which a link is being made.
    dialling: Mutex<BTreeSet<Member>>,
    /// Makes "the link is in the table" and "the engine knows" one step.
    telling: Mutex<()>,
}

/// A peer is being dialled for as long as this lives.
struct Dialling<'a> {
    dialler: &'a Dialer,
    peer: Member,
}

impl Drop for Dialling<'_> {
    fn drop(&mut self) {
        self.dialler.dialling.lock().remove(&self.peer);
    }
}

impl Dialer {
    pub(super) fn new(core: Arc<Core>, options: LinkOptions) -> Arc<Self> {
        Arc::new(Self {
            core,
            options,
            numbers: AtomicU64::new(1),
            dialling: Mutex::default(),
            telling: Mutex::default(),
        })
    }

    /// Finds out who listens at an endpoint of the address list, and links to it if it is a peer.
    ///
    /// # Errors
    ///
    /// Why there is no peer.
    pub(super) async fn probe(
        self: &Arc<Self>,
        host: &str,
        port: u16,
    ) -> Result<(ProbeOutcome, String), DialError> {
        let greeting = self.greet_at(host, port).await?;
        let peer = greeting.peer().clone();
        if peer.member == self.core.grid.me().member {
            return Ok((ProbeOutcome::Myself, "this node itself".to_owned()));
        }
        self.link(greeting).await?;
        let found = format!("node {}", peer.consistent_id);
        Ok((ProbeOutcome::Peer(peer.member), found))
    }

    /// Makes a fresh link to a peer, wherever it says that it can be reached. A link that stands
    /// is replaced by it.
    pub(super) async fn dial(self: &Arc<Self>, peer: &NodeInfo) {
        self.reach(peer, true).await;
    }

    /// Makes a link to a peer where none stands.
    pub(super) async fn dial_missing(self: &Arc<Self>, peer: &NodeInfo) {
        if !self.core.outside.links.is_up(peer.member) {
            self.reach(peer, false).await;
        }
    }

    async fn reach(self: &Arc<Self>, peer: &NodeInfo, fresh: bool) {
        let Some(_dialling) = self.begin(peer.member) else {
            return;
        };
        let Some((host, port)) = split_address(&peer.address) else {
            tracing::warn!(peer = %peer.member, address = peer.address, "a peer tells no usable address");
            return;
        };
        let failed = match self.greet_at(host, port).await {
            Ok(greeting) => {
                let found = greeting.peer().member;
                if found == peer.member {
                    if !fresh && self.core.outside.links.is_up(found) {
                        return;
                    }
                    self.complete(greeting).await.err()
                } else {
                    if found.id == peer.member.id && found > peer.member {
                        // A later life answers where the peer was: the peer is gone.
                        self.tell_down(peer.member);
                    }
                    self.link(greeting).await.err()
                }
            }
            Err(error) => Some(error),
        };
        match failed {
            None => {}
            Some(DialError::Refused) => self.tell_down(peer.member),
            Some(error) => tracing::debug!(peer = %peer.member, %error, "a peer was not reached"),
        }
    }

    async fn greet_at(&self, host: &str, port: u16) -> Result<Greeting, DialError> {
        let limit = self.options.connector.socket_timeout();
        let limit = limit.min(self.options.network_timeout);
        let addresses = self
            .core
            .names
            .resolve(host, port, limit)
            .await
            .map_err(DialError::Unresolved)?;
        let number = self.numbers.fetch_add(1, Ordering::Relaxed);
        let hello = self.core.hello();
        let greeting = greet(&self.options, &addresses, &hello, number);
        timeout(self.options.network_timeout, greeting)
            .await
            .map_err(|_| DialError::Silent("no answer within network-timeout".to_owned()))?
    }

    fn begin(&self, peer: Member) -> Option<Dialling<'_>> {
        self.dialling.lock().insert(peer).then(|| Dialling {
            dialler: self,
            peer,
        })
    }

    /// Makes a link of a greeting, unless there is one or will be soon.
    async fn link(self: &Arc<Self>, greeting: Greeting) -> Result<(), DialError> {
        let member = greeting.peer().member;
        if member == self.core.grid.me().member || self.core.outside.links.is_up(member) {
            return Ok(());
        }
        let Some(_dialling) = self.begin(member) else {
            return Ok(());
        };
        self.complete(greeting).await
    }

    async fn complete(self: &Arc<Self>, greeting: Greeting) -> Result<(), DialError> {
        let peer = greeting.peer();
        let mine = peer.member.id == self.core.grid.me().member.id;
        self.core.check_name(peer).map_err(|error| match mine {
            true => DialError::NameTaken(error.to_string()),
            false => DialError::Foreign(error.to_string()),
        })?;
        let dialer = Arc::clone(self);
        let link = greeting
            .complete(&self.options, move |link| {
                let link = Arc::clone(link);
                tokio::spawn(async move { dialer.ended(&link).await });
            })
            .await?;
        self.tell_up(&link);
        tokio::spawn(Arc::clone(self).replace_when_outdated(link));
        Ok(())
    }

    /// Makes a link anew when the certificates of either end were renewed: at once, and again
    /// until it was replaced; it ends where that does not come about within `drain-time`, and at
    /// once where its peer is not admitted any longer.
    async fn replace_when_outdated(self: Arc<Self>, link: Arc<Link>) {
        let Some(renewal) = self.options.connector.renewal() else {
            return;
        };
        let mut generations = renewal.generations();
        tokio::select! {
            () = link.ended() => return,
            () = link.unwanted() => {}
            _ = generations.wait_for(|now| *now > link.generation()) => {}
        }
        let peer = link.peer();
        if !renewal.current().nodes.admit(link.certificates()) {
            let why = "the renewed files do not admit its certificate";
            renewal.refusals.add(Reason::Withdrawn, link.address(), why);
            link.close();
            return;
        }
        let give_up = tokio::time::sleep(self.options.drain_time);
        tokio::pin!(give_up);
        loop {
            self.core.outside.want(Wanted::Fresh(peer.clone()));
            tokio::select! {
                () = link.ended() => return,
                () = &mut give_up => break,
                () = tokio::time::sleep(REPLACE_INTERVAL) => {}
            }
        }
        tracing::warn!(
            peer = peer.consistent_id,
            "a link was not made anew in time and is closed"
        );
        link.close();
    }

    fn tell_up(&self, link: &Arc<Link>) {
        let core = &self.core;
        {
            let _telling = self.telling.lock();
            if link.is_closed() || core.outside.is_stopping() {
                link.close();
                return;
            }
            core.outside.links.add(Arc::clone(link));
            core.outside.counters.links_opened.add_one();
            core.grid.on_link_up(link.peer().clone(), core.clock.now());
        }
        core.wake_timer();
        tracing::debug!(peer = link.peer().consistent_id, address = %link.address(), "a link is up");
    }

    async fn ended(&self, link: &Arc<Link>) {
        let core = &self.core;
        let refused = !core.outside.is_stopping() && self.refuses(link.address()).await;
        {
            let _telling = self.telling.lock();
            if !core.outside.links.remove(link) {
                return;
            }
            core.outside.counters.links_closed.add_one();
            core.grid
                .on_link_down(link.peer().member, refused, core.clock.now());
        }
        core.wake_timer();
        tracing::debug!(peer = link.peer().consistent_id, refused, "a link ended");
    }

    /// Tells the engine that the port of a peer without a link refuses connections.
    fn tell_down(&self, peer: Member) {
        let core = &self.core;
        {
            let _telling = self.telling.lock();
            if core.outside.links.is_up(peer) {
                return;
            }
            core.grid.on_link_down(peer, true, core.clock.now());
        }
        core.wake_timer();
    }

    async fn refuses(&self, address: SocketAddr) -> bool {
        let dial = tokio::net::TcpStream::connect(address);
        match timeout(REFUSAL_WAIT, dial).await {
            Ok(Err(error)) => error.kind() == std::io::ErrorKind::ConnectionRefused,
            _ => false,
        }
    }
}
