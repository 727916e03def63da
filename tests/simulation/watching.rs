//! Watchers of every second node, and what they see.

use crate::caches::Use;
use crate::record::Seen;
use crate::world::World;
use embergrid::types::{CacheId, Member};

impl World {
    /// Watches every partition of the caches with conflicts and of tickets, at every second node, once it knows
    /// them.
    pub fn watch_from(&mut self, node: usize, member: Member) {
        let begun = self.record.watched.contains_key(&(node, member));
        if node % 2 == 1 || begun {
            return;
        }
        self.seen(node, member, Seen::Began);
        for place in 0..self.plan.caches.len() {
            if !matches!(self.plan.uses[place], Use::Registers | Use::Tickets) {
                continue;
            }
            let settings = &self.plan.caches[place];
            let (cache, partitions) = (settings.id(), settings.partitions);
            for partition in 0..partitions {
                self.watch_again(node, cache, partition);
            }
        }
    }

    pub fn watch_again(&mut self, node: usize, cache: CacheId, partition: u32) {
        // The engine must not be called from its own effects: the watch begins after them.
        let member = self.nodes[node].member();
        if let Some(member) = member {
            let delay = 1000;
            self.after(
                delay,
                crate::world::Happening::Rewatch {
                    node,
                    member,
                    cache,
                    partition,
                },
            );
        }
    }

    pub fn seen(&mut self, node: usize, member: Member, what: Seen) {
        let now = self.now;
        match &what {
            Seen::Events(seen) if !seen.events.is_empty() => {
                let place = (seen.cache, seen.partition);
                let ends = seen.after..=seen.upto.counter;
                let events = seen.events.iter();
                let told: Vec<_> = events.map(|event| (event.kind, &event.entry.key)).collect();
                self.log.note(
                    now,
                    node,
                    6,
                    format_args!("sees {place:?} {ends:?} {told:?}"),
                );
            }
            Seen::Lost(cache, partition) => {
                let words = format_args!("cannot go on with {:?}", (cache, partition));
                self.log.note(now, node, 6, words);
            }
            _ => {}
        }
        self.record
            .watched
            .entry((node, member))
            .or_default()
            .push((now, what));
    }
}
