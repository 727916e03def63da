//! What peers send to this node: each stream is bound to the link that it belongs to, and only
//! the newest link of a peer is listened to, so that messages keep their order across a fresh
//! connection.

use super::core::Core;
use super::handle::Handle;
use super::outside::Wanted;
use crate::error::Result;
use crate::types::Member;
use crate::types::hello::Hello;
use crate::types::message::Message;
use parking_lot::{Mutex, RwLock, RwLockWriteGuard};
use std::collections::BTreeMap;
use std::sync::Arc;

/// The newest link of each peer that sends to this node.
#[derive(Default)]
pub(super) struct Sessions {
    newest: Mutex<BTreeMap<Member, Arc<RwLock<u64>>>>,
}

/// One stream from a peer.
pub struct PeerSession {
    core: Arc<Core>,
    from: Member,
    number: u64,
    /// The protocol that both ends know.
    spoken: u32,
    newest: Arc<RwLock<u64>>,
}

impl Sessions {
    fn of(&self, peer: Member) -> Arc<RwLock<u64>> {
        let mut newest = self.newest.lock();
        newest.retain(|member, session| *member == peer || Arc::strong_count(session) > 1);
        Arc::clone(newest.entry(peer).or_default())
    }
}

impl Handle {
    /// What this node says to a peer that said hello.
    pub fn hello(&self) -> Arc<Hello> {
        self.core.hello()
    }

    /// A peer opened a stream of its link `number`. The link is the peer's newest from its first
    /// message on: until then the one before is still in use.
    ///
    /// # Errors
    ///
    /// `FailedPrecondition`, where the two may not be linked.
    pub fn greet(&self, theirs: &Hello, number: u64) -> Result<PeerSession> {
        let core = &self.core;
        let peer = &theirs.info;
        let me = core.grid.me();
        if peer.member == me.member {
            return Ok(self.session(theirs, number));
        }
        core.hello().check(theirs)?;
        core.check_name(peer)?;
        if !core.outside.links.is_up(peer.member) {
            core.outside.want(Wanted::Missing(peer.clone()));
        }
        Ok(self.session(theirs, number))
    }

    fn session(&self, theirs: &Hello, number: u64) -> PeerSession {
        let from = theirs.info.member;
        let newest = self.core.sessions.of(from);
        PeerSession {
            core: Arc::clone(&self.core),
            from,
            number,
            spoken: self.core.hello.spoken_with(theirs),
            newest,
        }
    }
}

impl PeerSession {
    /// Who is at the other end.
    pub fn from(&self) -> Member {
        self.from
    }

    /// Hands messages to the engine, in order. False: the link was replaced, or the node stops,
    /// and the stream should end.
    pub fn deliver(&self, messages: Vec<Message>) -> bool {
        let core = &self.core;
        if core.outside.is_stopping() || self.from == core.grid.me().member {
            return false;
        }
        let mut newest = self.newest.read();
        if *newest < self.number && !messages.is_empty() {
            drop(newest);
            let mut behind = self.newest.write();
            *behind = self.number.max(*behind);
            newest = RwLockWriteGuard::downgrade(behind);
        }
        if *newest > self.number {
            return false;
        }
        core.outside
            .counters
            .messages_received
            .add(messages.len() as u64);
        let now = core.clock.now();
        for message in messages {
            if message.since() > self.spoken {
                // As a node would that does not know it.
                continue;
            }
            core.grid.on_message(self.from, message, now);
        }
        drop(newest);
        core.wake_timer();
        true
    }

    /// Returns when the node stops.
    pub async fn stopped(&self) {
        self.core.outside.stopped().await;
    }
}
