//! Faults: their kinds, and how the world performs each. A process is taken away only where every
//! partition keeps a complete copy elsewhere, unless the run says that it may lose data (then the
//! caches concerned are excused, as promises.md states the condition).

use crate::clock::{MS, SECOND, Time};
use crate::machine::Input;
use crate::world::{Happening, World};
use embergrid::types::CacheMode;

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

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FaultKind {
    Crash,
    CrashCoordinator,
    RestartFast,
    Pause,
    ShortPause,
    Leave,
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

/// A fault that finds no victim tries again so much later.
const RETRY: Time = 400 * MS;

impl World {
    pub fn fault(&mut self, index: usize) {
        let kind = self.plan.faults[index].1;
        if self.now >= self.plan.faults_end {
            return;
        }
        let done = match kind {
            FaultKind::Crash | FaultKind::CrashCoordinator | FaultKind::RestartFast => {
                self.crash(kind)
            }
            FaultKind::Pause | FaultKind::ShortPause => self.stand_still(kind),
            FaultKind::Leave => self.leave(),
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
        } else if matches!(
            kind,
            FaultKind::Crash
                | FaultKind::CrashCoordinator
                | FaultKind::RestartFast
                | FaultKind::Pause
                | FaultKind::Leave
        ) {
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

    /// Whether every partition keeps, in the eyes of every other running node, a complete copy
    /// on another running node.
    fn can_spare(&self, node: usize) -> bool {
        let runs = |member| {
            self.nodes
                .iter()
                .any(|other| other.index != node && other.runs() && other.member() == Some(member))
        };
        let mut seen = false;
        for other in self.nodes.iter().filter(|other| other.runs()) {
            let Some(view) = other.view() else { continue };
            seen |= other.index != node;
            for cache in view.caches.values() {
                if cache.settings.mode == CacheMode::Local {
                    continue;
                }
                let kept = cache.table.iter().all(|partition| {
                    partition
                        .owners
                        .iter()
                        .filter_map(|owner| view.member(*owner))
                        .any(runs)
                });
                if !kept {
                    return false;
                }
            }
        }
        seen
    }

    fn spare(&mut self, coordinator: bool) -> Option<usize> {
        let mut spare: Vec<_> = self
            .running()
            .into_iter()
            .filter(|node| self.can_spare(*node))
            .collect();
        if coordinator {
            spare.retain(|node| {
                let view = self.nodes[*node].view();
                let first = view
                    .as_ref()
                    .and_then(|view| view.coordinator())
                    .map(|info| info.member);
                first == self.nodes[*node].member()
            });
        }
        self.dice.pick(&spare).copied()
    }

    fn crash(&mut self, kind: FaultKind) -> Option<usize> {
        let node = self.spare(kind == FaultKind::CrashCoordinator)?;
        self.kill(node);
        let away = match kind {
            FaultKind::RestartFast => self.dice.within(MS, 150 * MS),
            _ => self.dice.within(500 * MS, 8 * SECOND),
        };
        self.after(away, Happening::Start(node));
        Some(node)
    }

    fn stand_still(&mut self, kind: FaultKind) -> Option<usize> {
        let (node, span) = if kind == FaultKind::ShortPause {
            (self.any_running()?, self.dice.within(50 * MS, 1400 * MS))
        } else {
            let longest = if self.dice.percent(20) { 60 } else { 6 };
            (
                self.spare(false)?,
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
        let node = self.spare(false)?;
        self.nodes[node].leaving = true;
        self.feed(node, Input::Leave);
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
