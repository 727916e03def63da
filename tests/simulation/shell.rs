//! A shell that only writes down what the engine wants; the world performs it after each call.

use embergrid::engine::{Notice, Shell};
use embergrid::error::Result;
use embergrid::types::message::{Event, Message, WatchPosition};
use embergrid::types::{CacheId, Member, NodeInfo, Reply};
use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

/// One wish of the engine.
#[derive(Clone, Debug)]
pub enum Effect {
    Send(Member, Message),
    Complete(u64, Result<Reply>),
    ViewChanged(u64, Result<()>),
    Dial(NodeInfo),
    Events(Delivery),
    WatchLost(CacheId, u32),
    Notice(Notice),
}

/// Events as the watchers of one node get them.
#[derive(Clone, Debug)]
pub struct Delivery {
    pub cache: CacheId,
    pub partition: u32,
    pub after: u64,
    pub upto: WatchPosition,
    pub events: Vec<Event>,
}

#[derive(Default)]
pub struct Recorder {
    effects: Mutex<Vec<Effect>>,
    full: AtomicBool,
    /// The protocol that is spoken with each peer.
    spoken: Mutex<BTreeMap<Member, u32>>,
}

impl Recorder {
    /// What was asked for since the last time, in order.
    pub fn drain(&self) -> Vec<Effect> {
        std::mem::take(&mut *self.effects.lock().expect("nobody panicked"))
    }

    /// Whether all queues to peers say that they are full.
    pub fn set_full(&self, full: bool) {
        self.full.store(full, Ordering::Relaxed);
    }

    /// Hello was exchanged with a peer.
    pub fn note_spoken(&self, peer: Member, protocol: u32) {
        let mut spoken = self.spoken.lock().expect("nobody panicked");
        spoken.insert(peer, protocol);
    }

    fn push(&self, effect: Effect) {
        self.effects.lock().expect("nobody panicked").push(effect);
    }
}

impl Shell for Recorder {
    fn send(&self, to: Member, message: Message) {
        self.push(Effect::Send(to, message));
    }
    // What goes along with the next message goes no later than at once.
    fn send_along(&self, to: Member, message: Message) {
        self.push(Effect::Send(to, message));
    }
    fn has_room(&self, _to: Member) -> bool {
        !self.full.load(Ordering::Relaxed)
    }
    fn knows(&self, peer: Member, since: u32) -> bool {
        let spoken = self.spoken.lock().expect("nobody panicked");
        spoken.get(&peer).is_none_or(|spoken| *spoken >= since)
    }
    fn complete(&self, token: u64, result: Result<Reply>) {
        self.push(Effect::Complete(token, result));
    }
    fn view_changed(&self, token: u64, result: Result<()>) {
        self.push(Effect::ViewChanged(token, result));
    }
    fn dial(&self, peer: &NodeInfo) {
        self.push(Effect::Dial(peer.clone()));
    }
    fn events(
        &self,
        cache: CacheId,
        partition: u32,
        after: u64,
        upto: WatchPosition,
        events: &[Event],
    ) {
        let events = events.to_vec();
        self.push(Effect::Events(Delivery {
            cache,
            partition,
            after,
            upto,
            events,
        }));
    }
    fn watch_lost(&self, cache: CacheId, partition: u32) {
        self.push(Effect::WatchLost(cache, partition));
    }
    fn notice(&self, notice: Notice) {
        self.push(Effect::Notice(notice));
    }
}
