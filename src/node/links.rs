//! The links of this node: one for each peer that answered hello.

use crate::rpc::link::Link;
use crate::types::message::Message;
use crate::types::{Member, NodeInfo};
use arc_swap::ArcSwap;
use std::collections::BTreeMap;
use std::sync::Arc;

type Up = BTreeMap<Member, Arc<Link>>;

/// The links that are up. Every message looks for its own, and seldom is one added.
#[derive(Default)]
pub(super) struct Links {
    up: ArcSwap<Up>,
}

impl Links {
    /// Queues a message. False: there is no link, or no room in its queue.
    pub(super) fn send(&self, to: Member, message: Message) -> bool {
        self.up
            .load()
            .get(&to)
            .is_some_and(|link| link.send(message))
    }

    /// Queues a message that goes along with the next one. False: as by [`Links::send`].
    pub(super) fn send_along(&self, to: Member, message: Message) -> bool {
        self.up
            .load()
            .get(&to)
            .is_some_and(|link| link.send_along(message))
    }

    /// Sends what waits to go along.
    pub(super) fn flush(&self) {
        self.up.load().values().for_each(|link| link.flush());
    }

    /// Whether a write may count on room in the queue. Without a link there is nothing to be
    /// full: the engine repeats what matters when the link is up again.
    pub(super) fn has_room(&self, to: Member) -> bool {
        self.up.load().get(&to).is_none_or(|link| link.has_room())
    }

    /// Whether a peer knows what a version of the protocol added, as far as a link tells.
    pub(super) fn knows(&self, peer: Member, since: u32) -> bool {
        let up = self.up.load();
        up.get(&peer).is_none_or(|link| link.spoken() >= since)
    }

    /// Whether there is a link that has not ended.
    pub(super) fn is_up(&self, peer: Member) -> bool {
        self.up
            .load()
            .get(&peer)
            .is_some_and(|link| !link.is_closed())
    }

    /// An earlier life of a peer to which a link stands.
    pub(super) fn older_life(&self, peer: Member) -> Option<NodeInfo> {
        let up = self.up.load();
        let mut older = up
            .iter()
            .filter(|(member, link)| member.id == peer.id && **member < peer && !link.is_closed());
        older.next().map(|(_, link)| link.peer().clone())
    }

    /// The link to a peer.
    pub(super) fn of(&self, peer: Member) -> Option<Arc<Link>> {
        self.up.load().get(&peer).cloned()
    }

    /// Adds a link; an older one to the same peer ends.
    pub(super) fn add(&self, link: Arc<Link>) {
        let member = link.peer().member;
        let before = self.up.rcu(|up| {
            let mut up = Up::clone(up);
            up.insert(member, Arc::clone(&link));
            up
        });
        if let Some(replaced) = before.get(&member) {
            replaced.close();
        }
    }

    /// Takes a link out, unless another has taken its place. True: it was taken out.
    pub(super) fn remove(&self, link: &Arc<Link>) -> bool {
        let member = link.peer().member;
        let stands = |up: &Up| up.get(&member).is_some_and(|own| Arc::ptr_eq(own, link));
        let before = self.up.rcu(|up| {
            let mut up = Arc::clone(up);
            if stands(&up) {
                Arc::make_mut(&mut up).remove(&member);
            }
            up
        });
        stands(&before)
    }

    /// Ends all links.
    pub(super) fn close(&self) {
        for link in self.up.swap(Arc::default()).values() {
            link.close();
        }
    }

    pub(super) fn count(&self) -> usize {
        self.up.load().len()
    }
}
