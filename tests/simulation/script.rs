//! A stage for scripts: a world in which nothing happens but what a test asks for, and a cache that it
//! asks at. Every key has a kind; what is asked is asked of all keys of a kind.

pub use crate::checkers::made_up::{GET, put};
use crate::clock::SECOND;
use crate::history::Outcome;
use crate::log::Detail;
use crate::plan::Plan;
use crate::world::World;
use embergrid::types::cache::partition_of;
use embergrid::types::message::ViewChange;
use embergrid::types::{
    Blob, CacheMode, CacheSettings, Condition, KeyOperation, Operation, Reply, Request, RequestId,
    View,
};
use std::sync::Arc;

/// Keys of each kind.
pub const KEYS: usize = 12;

/// A copy on every server, and every write to all of them.
pub fn replicated(cache: &CacheSettings) -> bool {
    cache.mode == CacheMode::Replicated && cache.full_sync()
}

pub struct Script {
    pub world: World,
    /// The cache of all keys.
    pub cache: usize,
}

impl Script {
    /// Begins with the first cache that fits, three seconds after the servers have started.
    pub fn new(plan: Plan, fits: impl Fn(&CacheSettings) -> bool) -> Self {
        let mut world = World::new(plan, Detail::Terse);
        // No clients but those of the script.
        world.clients.stopped = true;
        let cache = world.plan.caches.iter().position(fits);
        let mut script = Self {
            cache: cache.expect("there is one"),
            world,
        };
        script.pass(3 * SECOND);
        script
    }

    pub fn pass(&mut self, span: u64) {
        self.world.run_until(self.world.now + span);
        assert_eq!(self.world.broken, Vec::<String>::new());
    }

    /// Asks for something of one key; the place of the call in the history.
    pub fn ask(
        &mut self,
        node: usize,
        key: &str,
        operation: &KeyOperation,
        request_id: Option<RequestId>,
    ) -> usize {
        let settings = self.world.plan.caches[self.cache].clone();
        let key = Blob::from(key);
        let request = Request {
            cache: settings.id(),
            partition: partition_of(&key, settings.partitions),
            operation: Operation::Key {
                key,
                operation: operation.clone(),
            },
            request_id,
        };
        self.world.ask_at(node, self.cache, request)
    }

    /// The answer to a call.
    pub fn reply(&self, call: usize) -> Reply {
        let call = &self.world.record.history.calls[call];
        match &call.outcome {
            Outcome::Ok(reply) => reply.clone(),
            other => panic!("{other:?} of {:?} at n{}", call.request, call.node),
        }
    }

    /// Does the same with all keys of a kind at a node.
    pub fn each(&mut self, node: usize, kind: &str, operation: &KeyOperation) -> Vec<Reply> {
        let calls: Vec<usize> = (0..KEYS)
            .map(|number| self.ask(node, &format!("{kind}-{number}"), operation, None))
            .collect();
        self.pass(3 * SECOND);
        calls.into_iter().map(|call| self.reply(call)).collect()
    }

    pub fn put(&mut self, node: usize, kind: &str) {
        for reply in self.each(node, kind, &put(kind)) {
            assert!(
                matches!(reply, Reply::Put { applied: true, .. }),
                "{reply:?}"
            );
        }
    }

    pub fn remove(&mut self, node: usize, kind: &str) {
        let remove = KeyOperation::Remove {
            condition: Condition::Any,
            return_previous: false,
        };
        for reply in self.each(node, kind, &remove) {
            assert!(
                matches!(reply, Reply::Removed { applied: true, .. }),
                "{reply:?}"
            );
        }
    }

    /// The nodes whose processes are there.
    fn up(&self) -> Vec<usize> {
        let nodes = 0..self.world.nodes.len();
        nodes.filter(|node| self.world.nodes[*node].up()).collect()
    }

    /// How many keys of a kind live, at every node.
    pub fn living(&mut self, kind: &str) -> Vec<usize> {
        let live = |reply: &Reply| matches!(reply, Reply::Got { entry: Some(_) });
        let mut counts = Vec::new();
        for node in self.up() {
            let replies = self.each(node, kind, &GET);
            counts.push(replies.iter().filter(|reply| live(reply)).count());
        }
        counts
    }

    /// Has a node change the view, and waits until that is done.
    pub fn change(&mut self, node: usize, change: ViewChange) {
        let token = self.world.clients.drain_token();
        self.world.change_view(node, token, change, 2 * SECOND);
        self.pass(3 * SECOND);
    }

    /// The view of a node.
    pub fn view(&self, node: usize) -> Arc<View> {
        self.world.nodes[node].view().expect("it has a view")
    }

    /// The nodes of a view, by their places in the address list, in its order.
    pub fn places(&self, view: &View) -> Vec<usize> {
        let nodes = view.nodes.iter();
        let place = |id| (0..self.world.nodes.len()).find(|n| crate::probing::id_of(*n) == id);
        nodes.filter_map(|node| place(node.member.id)).collect()
    }

    /// How many tombstones there are, at all nodes.
    pub fn tombstones(&self) -> u64 {
        let id = self.world.plan.caches[self.cache].id();
        let nodes = self.world.nodes.iter();
        let processes = nodes.filter_map(|node| node.process.as_ref());
        processes
            .map(|process| process.grid.sizes(id).tombstones)
            .sum()
    }

    /// How many entries ended since they had been removed elsewhere, at all nodes.
    pub fn stale(&self) -> u64 {
        let nodes = self.world.nodes.iter();
        let processes = nodes.filter_map(|node| node.process.as_ref());
        processes
            .map(|process| process.grid.tally().stale_dropped.get())
            .sum()
    }
}

/// A fault on this thread, which is taken away again also where a test fails.
#[cfg(debug_assertions)]
pub struct Planted;

#[cfg(debug_assertions)]
impl Planted {
    pub fn new(fault: embergrid::engine::planted::Fault) -> Self {
        embergrid::engine::planted::plant(Some(fault));
        Self
    }
}

#[cfg(debug_assertions)]
impl Drop for Planted {
    fn drop(&mut self) {
        embergrid::engine::planted::plant(None);
    }
}
