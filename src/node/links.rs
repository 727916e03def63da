//! The links of this node: one for each peer that answered hello.

use crate::rpc::link::Link;
use crate::types::message::Message;
use crate::types::{Member, NodeInfo};
use parking_lot::RwLock;
use std::collections::BTreeMap;
use std::sync::Arc;

/// The links that are up.
#[derive(Default)]
pub(super) struct Links {
    up: RwLock<BTreeMap<Member, Arc<Link>>>,
}

impl Links {
    /// Queues a message. False: there is no link, or no room in its queue.
    pub(super) fn send(&self, to: Member, message: Message) -> bool {
        self.up
            .read()
            .get(&to)
            .is_some_and(|link| link.send(message))
    }

    /// Queues a message that goes along with the next one. False: as by [`Links::send`].
    pub(super) fn send_along(&self, to: Member, message: Message) -> bool {
        self.up
            .read()
            .get(&to)
            .is_some_and(|link| link.send_along(message))
    }

    /// Sends what waits to go along.
    pub(super) fn flush(&self) {
        self.up.read().values().for_each(|link| link.flush());
    }

    /// Whether a write may count on room in the queue. Without a link there is nothing to be
    /// full: the engine repeats what matters when the link is up again.
    pub(super) fn has_room(&self, to: Member) -> bool {
        self.up.read().get(&to).is_none_or(|link| link.has_room())
    }

    /// Whether there is a link that has not ended.
    pub(super) fn is_up(&self, peer: Member) -> bool {
        self.up
            .read()
            .get(&peer)
            .is_some_and(|link| !link.is_closed())
    }

    /// An earlier life of a peer to which a link stands.
    pub(super) fn older_life(&self, peer: Member) -> Option<NodeInfo> {
        let up = self.up.read();
        let mut older = up
            .iter()
            .filter(|(member, link)| member.id == peer.id && **member < peer && !link.is_closed());
        older.next().map(|(_, link)| link.peer().clone())
    }

    /// The link to a peer.
    pub(super) fn of(&self, peer: Member) -> Option<Arc<Link>> {
        self.up.read().get(&peer).cloned()
    }

    /// Adds a link; an older one to the same peer ends.
    pub(super) fn add(&self, link: Arc<Link>) {
        let replaced = self.up.write().insert(link.peer().member, link);
        if let Some(replaced) = replaced {
            replaced.close();
        }
    }

    /// Takes a link out, unless another has taken its place. True: it was taken out.
    pub(super) fn remove(&self, link: &Arc<Link>) -> bool {
        let mut up = self.up.write();
        let member = link.peer().member;
        let same = up
            .get(&member)
            .is_some_and(|other| Arc::ptr_eq(other, link));
        if same {
            up.remove(&member);
        }
        same
    }

    /// Ends all links.
    pub(super) fn close(&self) {
        for link in std::mem::take(&mut *self.up.write()).into_values() {
            link.close();
        }
    }

    pub(super) fn count(&self) -> usize {
        self.up.read().len()
    }
}
