//! What the world looks at from outside while it runs and when it is over.

use crate::clock::{MS, Time};
use crate::history::Outcome;
use crate::plan::Plan;
use crate::record::{ClockSample, Copy, Record};
use crate::world::{Happening, World};
use embergrid::types::{CacheMode, Reply, Role, View};
use std::sync::Arc;

const SAMPLE_INTERVAL: Time = 100 * MS;

impl Record {
    pub fn of(plan: &Plan) -> Self {
        let mut record = Self {
            profile: plan.profile,
            nodes: plan.nodes,
            client_nodes: plan.client_nodes,
            two_versions: plan.two_versions,
            settings: plan.caches.clone(),
            compared_at: plan.compare,
            faults_end: plan.faults_end,
            ..Self::default()
        };
        record.history.uses = plan.uses.clone();
        record.history.cache_ids = plan.caches.iter().map(|cache| cache.id()).collect();
        record
    }
}

impl World {
    pub fn sample(&mut self) {
        for index in 0..self.nodes.len() {
            let node = &self.nodes[index];
            let (Some(process), true) = (&node.process, node.runs()) else {
                continue;
            };
            let mono = node.clock.mono(self.now);
            process.grid.check_invariants();
            let view = process.grid.view();
            self.record.clocks.push(ClockSample {
                at: self.now,
                node: index,
                cluster: process.grid.now(mono).cluster,
                serving: process.grid.serving(mono),
                view: view.version,
            });
        }
        for node in 0..self.nodes.len() {
            self.note_two_majorities(node);
        }
        if let Some(view) = self.whole() {
            self.record.whole.push(self.now);
            self.record.whole_of.push(view.time_base);
        }
        self.after(SAMPLE_INTERVAL, Happening::Sample);
    }

    /// Notes a split as promises.md defines it: two servers that serve, each in a view without
    /// the other. It happens without a cut where a node stood still until all that it knew had
    /// been replaced.
    pub fn note_division(&mut self, node: usize) {
        self.note_two_majorities(node);
        let serves = |index: usize| {
            let server = self.plan.role(index) == Role::Server;
            let machine = self
                .nodes
                .get(index)
                .filter(|machine| machine.runs() && server)?;
            let mono = machine.clock.mono(self.now);
            let grid = &machine.process.as_ref()?.grid;
            grid.serving(mono).then(|| (grid.view(), grid.me().member))
        };
        let Some((view, member)) = serves(node) else {
            return;
        };
        let apart = (0..self.nodes.len()).find(|other| {
            serves(*other)
                .is_some_and(|(theirs, them)| !view.contains(them) && !theirs.contains(member))
        });
        if let Some(other) = apart {
            self.record.divided.push((self.now, node, other));
        }
    }

    /// Notes two servers that serve caches which stop in a minority, one of them left out of the later
    /// view of the other.
    fn note_two_majorities(&mut self, node: usize) {
        let serves = |index: usize| {
            let machine = self.nodes.get(index).filter(|machine| machine.runs())?;
            let mono = machine.clock.mono(self.now);
            let grid = &machine.process.as_ref()?.grid;
            let server = self.plan.quorum_of.is_some() && self.plan.role(index) == Role::Server;
            (server && grid.serving_primary(mono)).then(|| (grid.view(), grid.me().member))
        };
        let Some((view, member)) = serves(node) else {
            return;
        };
        let other = (0..self.nodes.len()).find(|other| {
            serves(*other).is_some_and(|(theirs, them)| match theirs.version < view.version {
                true => !view.contains(them),
                false => !theirs.contains(member),
            })
        });
        if let Some(other) = other {
            self.record.two_majorities.push((self.now, node, other));
        }
    }

    /// A read of a cache that allows reads in a minority tells nothing where one may have answered,
    /// but which value a version names: its client may ask for that version.
    fn doubt_reads_in_a_minority(&mut self) {
        let views = &self.record.views;
        for call in &mut self.record.history.calls {
            let settings = &self.record.settings[call.cache];
            if call.is_write() || !settings.stops() || settings.denies_reads() {
                continue;
            }
            let of_node = || views.iter().filter(|(_, node, _)| *node == call.node);
            let before = of_node().rfind(|(at, ..)| *at <= call.invoked);
            let meanwhile =
                of_node().filter(|(at, ..)| *at > call.invoked && *at <= call.responded);
            if before
                .into_iter()
                .chain(meanwhile)
                .any(|(.., view)| !view.primary)
            {
                if let Some(Reply::Got { entry: Some(entry) }) = call.reply() {
                    self.record.maybe_old.push((call.cache, entry.clone()));
                }
                call.outcome = Outcome::Unknown;
            }
        }
    }

    /// One view of all servers that are up, all of them running, nothing on the move. Who has said
    /// that it leaves holds nothing any more, whether or not its process has ended.
    fn whole(&self) -> Option<Arc<View>> {
        let stays = || {
            let up = self.nodes.iter().filter(|node| node.up());
            up.filter(|node| !node.leaving && self.plan.role(node.index) == Role::Server)
        };
        if !self.network.whole() || stays().any(|node| node.paused) {
            return None;
        }
        let views: Vec<Arc<View>> = stays().filter_map(|node| node.view()).collect();
        let first = views.first()?;
        let up = stays().count();
        let agreed = views.len() == up
            && first.servers().count() == up
            && views.iter().all(|view| view.version == first.version);
        let settled = first.caches.values().all(|cache| {
            cache
                .table
                .iter()
                .all(|partition| partition.sources.is_empty() && partition.loading.is_empty())
        });
        let alive = stays()
            .filter_map(|node| node.member())
            .all(|member| first.contains(member));
        (agreed && settled && alive).then(|| first.clone())
    }

    /// What every owner holds of every partition, by the view of the first node.
    pub fn collect_copies(&self) -> Vec<Copy> {
        let mut copies = Vec::new();
        let Some(view) = self.nodes.iter().find_map(|node| node.view()) else {
            return copies;
        };
        for (id, cache) in &view.caches {
            if cache.settings.mode == CacheMode::Local {
                continue;
            }
            for (partition, owners) in cache.table.iter().enumerate() {
                for owner in owners.owners.iter().filter_map(|owner| view.member(*owner)) {
                    let node = self.nodes.iter().find(|node| node.member() == Some(owner));
                    let Some(process) = node.and_then(|node| node.process.as_ref()) else {
                        continue;
                    };
                    let entries = process.grid.contents(*id, partition as u32);
                    let node = node.map_or(0, |node| node.index);
                    copies.push(Copy {
                        cache: *id,
                        partition: partition as u32,
                        node,
                        entries,
                    });
                }
            }
        }
        copies
    }

    pub fn collect_end(&mut self) {
        self.record
            .doubt_repeated_calls(Record::was_forwarded_again);
        self.doubt_reads_in_a_minority();
        let views = self.record.views.iter().map(|(.., view)| view);
        self.record.formed_by = views.map(|view| (view.version, view.time_base)).collect();
        self.record.final_views = self
            .nodes
            .iter()
            .filter_map(|node| node.view().map(|view| (node.index, view)))
            .collect();
        let grids = self.nodes.iter().filter_map(|node| node.process.as_ref());
        self.record.compared = grids
            .map(|process| process.grid.tally().compared.get())
            .sum();
        self.record.events = self.log.events;
        self.record.hash = self.log.hash();
    }
}
