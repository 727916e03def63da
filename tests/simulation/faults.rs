//! Faults: their kinds, and how the world performs each. A process is taken away only where every
//! partition keeps a complete copy elsewhere, unless the run says that it may lose data (then the
//! caches concerned are excused, as promises.md states the condition).

use crate::clock::{MS, SECOND, Time};
use crate::machine::Input;
pub use crate::record::Profile;
use crate::world::{Happening, World};
use embergrid::types::message::ViewChange;
use embergrid::types::{CacheId, CacheMode, Role};
use std::collections::BTreeSet;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FaultKind {
    Crash,
    CrashCoordinator,
    CrashLoading,
    CrashTwo,
    Massacre,
    RestartFast,
    Pause,
    ShortPause,
    Leave,
    Drain,
    WallJump,
    WallBack,
    Delay,
    Loss,
    Overtake,
    Double,
    QueueFull,
    LinkReset,
    SplitOne,
    SplitHalf,
    SplitThird,
    Overlap,
    OneWay,
    Flap,
    Heal,
    HealOne,
}

/// A majority that is lost for good is given up after so long.
const FORCED_AFTER: Time = 4 * SECOND;
/// A fault that finds no victim tries again so much later.
const RETRY: Time = 400 * MS;

impl World {
    pub fn fault(&mut self, index: usize) {
        let kind = self.plan.faults[index].1;
        if self.now >= self.plan.faults_end {
            return;
        }
        let done = match kind {
            FaultKind::Crash
            | FaultKind::CrashCoordinator
            | FaultKind::CrashLoading
            | FaultKind::RestartFast => self.crash(kind),
            FaultKind::CrashTwo => self.crash_two(),
            FaultKind::Massacre => self.massacre(),
            FaultKind::Pause | FaultKind::ShortPause => self.stand_still(kind),
            FaultKind::Leave => self.leave(),
            FaultKind::Drain => self.drain(),
            FaultKind::WallJump | FaultKind::WallBack => self.set_wall(kind),
            FaultKind::Delay | FaultKind::Loss | FaultKind::Overtake | FaultKind::Double => {
                self.set_mood(kind)
            }
            FaultKind::QueueFull => self.fill_queues(),
            FaultKind::LinkReset => self.reset_link(),
            FaultKind::Heal => self.heal(),
            FaultKind::HealOne => self.heal_one(),
            _ => self.cut(kind),
        };
        if let Some(node) = done {
            self.log
                .note(self.now, node, 7, format_args!("fault {kind:?}"));
            self.record.faults.push((self.now, kind, node));
        } else if kind < FaultKind::WallJump && kind != FaultKind::CrashTwo {
            self.after(RETRY, Happening::Fault(index));
        }
    }

    fn running(&self) -> Vec<usize> {
        (0..self.nodes.len())
            .filter(|node| self.nodes[*node].runs())
            .collect()
    }

    fn any_running(&mut self) -> Option<usize> {
        let running = self.running();
        self.dice.pick(&running).copied()
    }

    /// The caches that would lose data without these nodes: those of which some partition keeps,
    /// in the eyes of some running node, no complete copy on another running node that stays.
    /// Nothing where no such node has a view.
    fn would_lose(&self, gone: &[usize]) -> Option<BTreeSet<CacheId>> {
        let others = || {
            let nodes = self.nodes.iter();
            nodes.filter(|node| node.runs() && !node.leaving && !gone.contains(&node.index))
        };
        let stays = |member| others().any(|other| other.member() == Some(member));
        let mut lost = BTreeSet::new();
        let holds = |member: Option<embergrid::types::Member>| {
            let mut gone = gone.iter().map(|node| self.nodes[*node].member());
            member.is_some() && gone.any(|gone| gone == member)
        };
        others().find_map(|other| other.view())?;
        for view in self
            .nodes
            .iter()
            .filter_map(|node| node.runs().then(|| node.view())?)
        {
            for (id, cache) in &view.caches {
                let kept = cache.table.iter().all(|partition| {
                    let owners = partition.owners.iter();
                    // What a source knows is nowhere else until it is merged.
                    let mut sources = partition.sources.iter();
                    let merging = sources.any(|source| holds(view.member(*source)));
                    owners.filter_map(|owner| view.member(*owner)).any(stays) && !merging
                });
                if !kept && cache.settings.mode != CacheMode::Local {
                    lost.insert(*id);
                }
            }
        }
        Some(lost)
    }

    fn can_spare(&self, gone: &[usize]) -> bool {
        self.would_lose(gone).is_some_and(|lost| lost.is_empty()) && self.keeps_majority(gone)
    }

    /// Whether the servers that run without these hold every primary view that may be in force. Who is
    /// about to leave may be gone before a view without it is.
    fn keeps_majority(&self, gone: &[usize]) -> bool {
        let stay = |member| {
            let mut nodes = self.nodes.iter();
            nodes.any(|node| {
                let stays = node.runs() && !node.leaving && !node.draining;
                stays && !gone.contains(&node.index) && node.member() == Some(member)
            })
        };
        let running = self.nodes.iter().filter(|node| node.runs());
        let known = running.filter_map(|node| node.process.as_ref());
        let mut views = known.flat_map(|process| process.grid.primary_views());
        views.all(|view| view.is_held_by(stay))
    }

    fn is_coordinator(&self, node: usize) -> bool {
        let view = self.nodes[node].view();
        let first = view.as_ref().and_then(|view| view.coordinator());
        first.map(|info| info.member) == self.nodes[node].member()
    }

    fn is_loading(&self, node: usize) -> bool {
        let (Some(view), Some(member)) = (self.nodes[node].view(), self.nodes[node].member())
        else {
            return false;
        };
        let Some(place) = view.index_of(member) else {
            return true;
        };
        let mut tables = view.caches.values().flat_map(|cache| &cache.table);
        tables.any(|partition| partition.loading.contains(&place))
    }

    /// One running node that can be spared and is as wanted.
    fn spare(&mut self, wanted: impl Fn(&Self, usize) -> bool) -> Option<usize> {
        let mut spare = self.running();
        spare.retain(|node| wanted(self, *node) && self.can_spare(&[*node]));
        self.dice.pick(&spare).copied()
    }

    fn crash(&mut self, kind: FaultKind) -> Option<usize> {
        let node = match kind {
            FaultKind::CrashCoordinator => self.spare(Self::is_coordinator)?,
            FaultKind::CrashLoading => self.spare(Self::is_loading)?,
            _ => self.spare(|_, _| true)?,
        };
        let away = match kind {
            FaultKind::RestartFast => self.dice.within(MS, 150 * MS),
            _ => self.dice.within(500 * MS, 8 * SECOND),
        };
        self.kill_for(node, away);
        Some(node)
    }

    fn kill_for(&mut self, node: usize, away: Time) {
        self.kill(node);
        self.after(away, Happening::Start(node));
    }

    /// Two at once, or one just after the other.
    fn crash_two(&mut self) -> Option<usize> {
        let mut running = self.running();
        self.dice.shuffle(&mut running);
        let pair = running.get(..2).filter(|pair| self.can_spare(pair))?;
        let (one, other) = (pair[0], pair[1]);
        let away = self.dice.within(500 * MS, 8 * SECOND);
        self.kill_for(one, away);
        let away = self.dice.within(500 * MS, 8 * SECOND);
        self.kill_for(other, away);
        Some(one)
    }

    /// More nodes than there are backups, up to all: whatever cache has no copy left elsewhere is
    /// excused from here on.
    fn massacre(&mut self) -> Option<usize> {
        let mut running = self.running();
        self.dice.shuffle(&mut running);
        let count = self.dice.within(1, running.len().max(1) as u64) as usize;
        let gone: Vec<usize> = running.into_iter().take(count).collect();
        let lost = self.would_lose(&gone);
        for place in 0..self.plan.caches.len() {
            let id = self.plan.caches[place].id();
            if lost.as_ref().is_none_or(|lost| lost.contains(&id)) {
                self.record.excused.entry(place).or_insert(self.now);
            }
        }
        if !self.keeps_majority(&gone) {
            for place in 0..self.plan.caches.len() {
                if self.plan.caches[place].stops() {
                    self.record.excused.entry(place).or_insert(self.now);
                }
            }
            // Nothing but an operator helps.
            self.after(FORCED_AFTER, Happening::ForcePrimary);
        }
        for &node in &gone {
            let away = self.dice.within(500 * MS, 8 * SECOND);
            self.kill_for(node, away);
        }
        gone.first().copied()
    }

    /// An operator makes what is there primary, if nothing is. One that stands still is not lost for good.
    pub fn force_primary(&mut self) {
        let primary = |node: usize| self.nodes[node].view().is_some_and(|view| view.primary);
        let running = self.running();
        if running.iter().any(|node| primary(*node)) {
            return;
        }
        let still = |node: usize| self.nodes[node].up() && self.nodes[node].paused;
        let returns = (0..self.nodes.len()).any(|node| still(node) && primary(node));
        if let Some(&node) = self.dice.pick(&running).filter(|_| !returns) {
            let token = self.clients.drain_token();
            self.change_view(node, token, ViewChange::ForcePrimary, 2 * SECOND);
        }
        self.after(3 * SECOND, Happening::ForcePrimary);
    }

    fn stand_still(&mut self, kind: FaultKind) -> Option<usize> {
        let (node, span) = if kind == FaultKind::ShortPause {
            (self.any_running()?, self.dice.within(50 * MS, 1400 * MS))
        } else {
            let longest = if self.dice.percent(20) { 60 } else { 6 };
            (
                self.spare(|_, _| true)?,
                self.dice.within(SECOND, longest * SECOND),
            )
        };
        self.pause(
            node,
            span.min(self.plan.faults_end.saturating_sub(self.now)),
        );
        Some(node)
    }

    fn leave(&mut self) -> Option<usize> {
        let node = self.spare(|_, _| true)?;
        self.nodes[node].leaving = true;
        self.feed(node, Input::Leave);
        Some(node)
    }

    /// A server is told to hand over what it owns and to leave then.
    fn drain(&mut self) -> Option<usize> {
        let node = self.spare(|world, node| world.plan.role(node) == Role::Server)?;
        let member = self.nodes[node].member()?;
        self.nodes[node].draining = true;
        let token = self.clients.drain_token();
        self.change_view(node, token, ViewChange::Drain(member), 10 * SECOND);
        Some(node)
    }

    fn set_wall(&mut self, kind: FaultKind) -> Option<usize> {
        let hour = 3600 * SECOND;
        let by = if kind == FaultKind::WallBack {
            -(self.dice.within(1, 10 * SECOND) as i64)
        } else {
            self.dice.within(0, 2 * hour) as i64 - hour as i64
        };
        let node = self.dice.index(self.nodes.len());
        self.nodes[node].clock.jump(by);
        Some(node)
    }

    fn set_mood(&mut self, kind: FaultKind) -> Option<usize> {
        let ppm = self.dice.within(1_000, 60_000);
        let mood = &mut self.network.mood;
        match kind {
            FaultKind::Delay => mood.delay = self.dice.within(MS, 80 * MS),
            FaultKind::Loss => mood.loss_ppm = ppm,
            FaultKind::Overtake => mood.overtake_ppm = ppm,
            _ => mood.double_ppm = ppm,
        }
        let span = self.dice.within(200 * MS, 4 * SECOND);
        self.after(span, Happening::FaultEnds(kind, 0));
        Some(0)
    }

    fn fill_queues(&mut self) -> Option<usize> {
        let node = self.any_running()?;
        if let Some(process) = &self.nodes[node].process {
            process.shell.set_full(true);
        }
        let span = self.dice.within(5 * MS, 500 * MS);
        self.after(span, Happening::FaultEnds(FaultKind::QueueFull, node));
        Some(node)
    }

    fn reset_link(&mut self) -> Option<usize> {
        let linked = self.network.linked();
        let (a, b) = *self.dice.pick(&linked)?;
        self.break_link(a, b);
        Some(a)
    }

    pub fn fault_ends(&mut self, kind: FaultKind, node: usize) {
        let mood = &mut self.network.mood;
        match kind {
            FaultKind::Delay => mood.delay = 0,
            FaultKind::Loss => mood.loss_ppm = 0,
            FaultKind::Overtake => mood.overtake_ppm = 0,
            FaultKind::Double => mood.double_ppm = 0,
            FaultKind::QueueFull => {
                if let Some(process) = &self.nodes[node].process {
                    process.shell.set_full(false);
                }
            }
            FaultKind::Flap => self.flap(),
            _ => {}
        }
    }

    /// All cables in, all processes up, nothing strange from here on.
    pub fn faults_end(&mut self) {
        self.record.faults_end = self.now;
        self.network.mood = Default::default();
        self.heal();
        for node in 0..self.nodes.len() {
            self.fault_ends(FaultKind::QueueFull, node);
            if self.nodes[node].paused {
                self.at(self.now, Happening::Resume(node));
            } else if !self.nodes[node].up() {
                self.at(self.now, Happening::Start(node));
            }
        }
    }
}
