//! All that is known of a run when it is over: what the checkers judge. Plain data, so that a
//! checker's own test can make up a bad one by hand.

use crate::clock::Time;
use crate::deal::Deal;
use crate::faults::FaultKind;
use crate::history::{Call, History, Outcome};
use crate::session::Session;
use crate::shell::Delivery;
use embergrid::engine::Notice;
use embergrid::error::ErrorKind;
use embergrid::types::{
    Blob, CacheId, CacheSettings, ClusterTime, Entry, Member, TopologyVersion, View,
};
use std::collections::BTreeMap;
use std::sync::Arc;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Profile {
    /// Crashes, pauses, delay, loss; never a cut.
    #[default]
    Undivided,
    /// Cuts and heals.
    Split,
    /// Two to sixteen nodes that start at about the same time.
    Start,
}

/// One life of one node.
#[derive(Clone, Debug)]
pub struct Life {
    pub node: usize,
    pub member: Member,
    pub from: Time,
    pub until: Option<Time>,
}

/// The cluster clock of a node at a moment.
#[derive(Clone, Copy, Debug)]
pub struct ClockSample {
    pub at: Time,
    pub node: usize,
    pub cluster: ClusterTime,
    pub serving: bool,
    pub view: TopologyVersion,
}

/// A watcher's input, or that it began (anew).
#[derive(Clone, Debug)]
pub enum Seen {
    Began,
    Events(Delivery),
    Lost(CacheId, u32),
}

/// What one node held of one partition at the end.
#[derive(Clone, Debug)]
pub struct Copy {
    pub cache: CacheId,
    pub partition: u32,
    pub node: usize,
    pub entries: Vec<(Blob, Entry)>,
}

/// A change of the catalogue by a client.
#[derive(Clone, Debug)]
pub struct CacheAct {
    pub name: String,
    pub create: bool,
    pub asked: Time,
    pub answered: Option<(Time, Result<(), ErrorKind>)>,
}

#[derive(Clone, Debug, Default)]
pub struct Record {
    pub profile: Profile,
    pub nodes: usize,
    /// How many of them, the last ones, are client nodes.
    pub client_nodes: usize,
    pub settings: Vec<CacheSettings>,
    pub history: History,
    /// The caches that hold accounts.
    pub bank: Vec<usize>,
    /// What tellers did.
    pub deals: Vec<Deal>,
    /// What writers did.
    pub sessions: Vec<Session>,
    pub lives: Vec<Life>,
    pub views: Vec<(Time, usize, Arc<View>)>,
    pub notices: Vec<(Time, usize, Notice)>,
    pub faults: Vec<(Time, FaultKind, usize)>,
    /// (from, until, node).
    pub pauses: Vec<(Time, Time, usize)>,
    /// Moments at which every node that runs was in one view of all of them, nothing loading,
    /// merging or cut.
    pub whole: Vec<Time>,
    /// When two servers both served, each in a view without the other: (at, one, other).
    pub divided: Vec<(Time, usize, usize)>,
    /// When two servers both served caches that stop in a minority, one of them left out of the later
    /// view of the other: (at, one, other).
    pub two_majorities: Vec<(Time, usize, usize)>,
    /// Who led a partition in a topology by its messages, and who else did.
    pub leaders: BTreeMap<(CacheId, u32, TopologyVersion), usize>,
    pub rivals: Vec<(CacheId, u32, TopologyVersion, usize, usize)>,
    pub clocks: Vec<ClockSample>,
    /// By (node, its life): what its watchers saw.
    pub watched: BTreeMap<(usize, Member), Vec<(Time, Seen)>>,
    pub faults_end: Time,
    /// When the comparison of copies was made, and what it saw.
    pub compared_at: Time,
    pub copies: Vec<Copy>,
    /// Messages that the receiver's version of the protocol does not know.
    pub left_out: u64,
    /// How many copies the nodes that are there at the end have compared.
    pub compared: u64,
    /// The committed views at the end.
    pub final_views: Vec<(usize, Arc<View>)>,
    /// From when a cache has lost more than it promises to bear: by cache.
    pub excused: BTreeMap<usize, Time>,
    /// Calls that the engine did not answer though its node ran: (call, node, since).
    pub unanswered: Vec<(usize, usize, Time)>,
    pub cache_acts: Vec<CacheAct>,
    pub messages: u64,
    /// Those of them that are neither heartbeats nor membership.
    pub data_messages: u64,
    pub events: u64,
    pub hash: u64,
}

impl Record {
    /// Whether the cluster was whole at a moment between the two.
    pub fn whole_between(&self, from: Time, until: Time) -> bool {
        let next = self.whole.partition_point(|at| *at < from);
        self.whole.get(next).is_some_and(|at| *at <= until)
    }

    /// Whether a node began a life in that time.
    pub fn begun_between(&self, from: Time, until: Time) -> bool {
        let begun = |life: &Life| (from..=until).contains(&life.from);
        self.lives.iter().any(begun)
    }

    /// Whether the first took effect before the second, on whatever side of a split each was.
    pub fn surely_before(&self, first: &Call, second: &Call) -> bool {
        let whole = self.settings[first.cache].stops();
        first.responded < second.invoked
            && (whole
                || self.whole_between(first.responded, second.invoked)
                || same_view(first, second))
    }

    pub fn settings_of(&self, cache: CacheId) -> Option<&CacheSettings> {
        self.settings.iter().find(|settings| settings.id() == cache)
    }

    /// Whether two sides served while clients were there.
    pub fn was_divided(&self) -> bool {
        let first = self.history.calls.first().map_or(0, |call| call.invoked);
        self.divided.iter().any(|(at, _, _)| *at >= first)
    }

    /// Whether what a cache promises while undivided may be asked of this run up to its end.
    pub fn undivided(&self, cache: usize) -> bool {
        let whole = self.profile != Profile::Split && !self.was_divided();
        (whole || self.settings[cache].stops()) && !self.excused.contains_key(&cache)
    }

    /// A request id is known to one side of a split only: what was sent more than once in a run
    /// that divided, by its client or by the node that forwards it, may have been applied on each
    /// side, whatever the last answer said. No node forwards a second time within
    /// `forwarded_again`, nor where nothing happened meanwhile.
    pub fn doubt_repeated_calls(&mut self, forwarded_again: Time, calm: impl Fn(&Call) -> bool) {
        if self.profile != Profile::Split && !self.was_divided() {
            return;
        }
        for call in self.history.calls.iter_mut() {
            if self.settings[call.cache].stops() {
                continue;
            }
            let waited = call.responded - call.invoked > forwarded_again;
            let again = waited && call.request.request_id.is_some() && !calm(call);
            if call.is_write() && (call.attempts > 1 || again) {
                call.outcome = Outcome::Unknown;
                call.responded = Time::MAX;
            }
        }
    }

    pub fn count_faults(&self) -> BTreeMap<FaultKind, u64> {
        let mut counts = BTreeMap::new();
        for (_, kind, _) in &self.faults {
            *counts.entry(*kind).or_default() += 1;
        }
        counts
    }
}

fn same_view(first: &Call, second: &Call) -> bool {
    let view = first.views.0;
    view.number > 0 && first.views.1 == view && second.views.0 == view && second.views.1 == view
}
