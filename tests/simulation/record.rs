//! All that is known of a run when it is over: what the checkers judge. Plain data, so that a
//! checker's own test can make up a bad one by hand.

use crate::caches::Use;
use crate::clock::Time;
use crate::deal::Deal;
use crate::faults::FaultKind;
use crate::history::{Call, History, Outcome};
use crate::loan::Loan;
use crate::session::Session;
use crate::shell::Delivery;
use embergrid::engine::Notice;
use embergrid::error::ErrorKind;
use embergrid::types::{
    Blob, CacheId, CacheSettings, ClusterTime, Entry, EntryView, Member, Operation, RequestId,
    TopologyVersion, View,
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
    /// Nodes speak two versions of the protocol.
    pub two_versions: bool,
    pub settings: Vec<CacheSettings>,
    pub history: History,
    /// The caches that hold accounts.
    pub bank: Vec<usize>,
    /// What tellers did.
    pub deals: Vec<Deal>,
    /// What lockers did.
    pub loans: Vec<Loan>,
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
    /// For each of them who formed that cluster. Not known to whoever looks from outside: empty.
    pub whole_of: Vec<Member>,
    /// Who formed the cluster of a view, as its cluster time tells.
    pub formed_by: BTreeMap<TopologyVersion, Member>,
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
    /// Writes that a node forwarded once more, whatever became of the first time.
    pub forwarded_again: Vec<(Time, usize, RequestId)>,
    /// What reads showed that tell nothing else, as they may have been answered in a minority:
    /// (cache, entry).
    pub maybe_old: Vec<(usize, EntryView)>,
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

    /// Whether the first took effect before the second, on whatever side of a split each was.
    pub fn surely_before(&self, first: &Call, second: &Call) -> bool {
        let whole = self.settings[first.cache].stops();
        first.responded < second.invoked
            && (whole || self.whole_before(first.responded, second) || same_view(first, second))
    }

    /// Whether the cluster was whole at a moment between the two, and the call was made in what
    /// became of that cluster: not in one that servers formed apart which began anew since.
    pub fn whole_before(&self, from: Time, call: &Call) -> bool {
        let first = self.whole.partition_point(|at| *at < from);
        let end = self.whole.partition_point(|at| *at <= call.invoked);
        if self.whole_of.is_empty() {
            return first < end;
        }
        let of = self.formed_by.get(&call.views.0);
        let mut moments = self.whole_of.get(first..end).unwrap_or_default().iter();
        of.is_some_and(|of| moments.any(|whole_of| whole_of == of))
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

    /// Whether nothing is asked of a cache any more since all that it held may be lost. Where accounts are
    /// kept, that of another one may hold the record of a transaction, and keys wait for that.
    pub fn excuses(&self, cache: usize) -> bool {
        let bank = |cache: usize| self.history.uses[cache] == Use::Bank;
        let mut excused = self.excused.keys();
        excused.any(|other| *other == cache || (bank(cache) && bank(*other)))
    }

    /// Whether the node that was asked forwarded a write more than once before it answered.
    pub fn was_forwarded_again(&self, call: &Call) -> bool {
        let in_time = |at: Time| (call.invoked..=call.responded).contains(&at);
        let mut again = self.forwarded_again.iter();
        // An errand is carried out by steps with ids of their own.
        let errand = matches!(call.request.operation, Operation::Errand(_));
        again.any(|(at, node, id)| {
            let of_call = Some(*id) == call.request.request_id;
            in_time(*at) && (of_call || (errand && *node == call.node))
        })
    }

    /// A request id is known to one side of a split only: what was sent more than once in a run
    /// that divided, by its client or by the node that forwards it, may have been applied on each
    /// side, whatever the last answer said.
    pub fn doubt_repeated_calls(&mut self, forwarded_again: impl Fn(&Self, &Call) -> bool) {
        if self.profile != Profile::Split && !self.was_divided() {
            return;
        }
        for place in 0..self.history.calls.len() {
            let call = &self.history.calls[place];
            let may_be = call.is_write() && !self.settings[call.cache].stops();
            if may_be && (call.attempts > 1 || forwarded_again(self, call)) {
                let call = &mut self.history.calls[place];
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

/// Whether nothing but one view was known to either of two calls.
pub fn same_view(first: &Call, second: &Call) -> bool {
    let view = first.views.0;
    view.number > 0 && first.views.1 == view && second.views.0 == view && second.views.1 == view
}
