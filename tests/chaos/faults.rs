//! Faults that real processes meet: their kinds, and how each is done and undone. Each of them ends
//! with all processes up and all wires whole; which follows which is decided in `run.rs`.

use crate::clock::Time;
use crate::cluster::{Cluster, name};
use crate::monitor::Monitor;
use crate::pace::pass;
use crate::rng::Rng;
use std::time::Duration;

pub use crate::record::Profile;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FaultKind {
    /// A process is killed and started again, empty, after it was missed.
    Crash,
    /// The same with the oldest server.
    CrashCoordinator,
    /// Started again at once, before anybody missed it.
    RestartFast,
    /// A process stands still for longer than it may.
    Pause,
    /// And for so short that nobody minds.
    ShortPause,
    /// All wires are slow and drop packets.
    BadWires,
    /// All wires are cut for moments.
    Drops,
    /// Connections between two nodes are reset.
    Reset,
    /// One node against all others.
    SplitOne,
    /// Half of the nodes against the others.
    SplitHalf,
    /// Two nodes are cut off from each other, and both see the others.
    Pair,
    /// Packets get lost from one node to another, and not the other way.
    OneWay,
    /// One node comes and goes once a second.
    Flap,
    /// Wires are cut one by one and healed in another order.
    OneByOne,
    /// The heal of a split is half done when another split comes.
    SecondSplit,
}

use FaultKind::{
    BadWires, Crash, CrashCoordinator, Drops, Flap, OneByOne, OneWay, Pair, Pause, Reset,
    RestartFast, SecondSplit, ShortPause, SplitHalf, SplitOne,
};

impl FaultKind {
    /// Whether what a process held is gone.
    pub fn ends_processes(self) -> bool {
        matches!(self, Crash | CrashCoordinator | RestartFast)
    }
}

/// What a run of a profile has, each kind once before any comes again.
pub fn kinds(profile: Profile) -> &'static [FaultKind] {
    match profile {
        Profile::Split => &[
            SplitOne,
            SplitHalf,
            Pair,
            OneWay,
            Flap,
            OneByOne,
            SecondSplit,
            Crash,
            Reset,
        ],
        _ => &[
            Crash,
            CrashCoordinator,
            RestartFast,
            Pause,
            ShortPause,
            BadWires,
            Drops,
            Reset,
        ],
    }
}

/// How long faults last.
#[derive(Clone, Copy, Debug)]
pub struct Spans {
    /// Of cuts, and of processes that are away.
    pub least: Duration,
    pub most: Duration,
    /// The shortest and the longest that a process stands still.
    pub pause_least: Duration,
    pub pause: Duration,
}

/// Does faults to a cluster, and writes them down.
pub struct Faults<'a> {
    pub cluster: &'a mut Cluster,
    pub monitor: &'a Monitor,
    pub rng: Rng,
    pub spans: Spans,
    pub now: &'a dyn Fn() -> Time,
    pub told: &'a dyn Fn(&Cluster),
    pub done: Vec<(Time, FaultKind, usize)>,
    pub pauses: Vec<(Time, Time, usize)>,
}

/// A cut shorter than any timeout, and the time to the next one.
const DROP: Duration = Duration::from_millis(40);
const DROP_GAP: Duration = Duration::from_millis(200);
/// Between two wires that are cut or healed one by one.
const STEP: Duration = Duration::from_millis(150);

impl Faults<'_> {
    fn span(&mut self) -> Duration {
        let (least, most) = (self.spans.least.as_millis(), self.spans.most.as_millis());
        Duration::from_millis(self.rng.within(least as u64, most as u64))
    }

    /// Tells those who watch before and after something is done.
    fn disturb(&self, disturbed: bool) {
        self.monitor.disturb(self.cluster, disturbed);
        (self.told)(self.cluster);
    }

    fn cut(&mut self, pairs: &[(usize, usize)], cut: bool, rest: bool) {
        self.disturb(true);
        self.cluster.set_cuts(pairs, cut);
        self.disturb(cut || rest);
    }

    /// Does one fault to its end. False: this network cannot.
    pub async fn fault(&mut self, kind: FaultKind) -> bool {
        let nodes = self.cluster.size();
        let mut order: Vec<usize> = (0..nodes).collect();
        self.rng.shuffle(&mut order);
        let node = match kind {
            CrashCoordinator => self.coordinator().unwrap_or(order[0]),
            _ => order[0],
        };
        let span = self.span();
        let at = (self.now)();
        match kind {
            Crash | CrashCoordinator => self.crash(node, span).await,
            RestartFast => self.crash(node, Duration::ZERO).await,
            Pause => {
                let (least, most) = (self.spans.pause_least, self.spans.pause);
                let span = self
                    .rng
                    .within(least.as_millis() as u64, most.as_millis() as u64);
                self.stand_still(node, Duration::from_millis(span)).await;
            }
            ShortPause => {
                let span = self.rng.within(20, 200);
                self.stand_still(node, Duration::from_millis(span)).await;
            }
            BadWires => {
                let bad = self.cluster.set_bad(true);
                if bad {
                    pass(span).await;
                }
                self.cluster.set_bad(false);
                if !bad {
                    return false;
                }
            }
            Drops => self.drops(&order).await,
            Reset => {
                if !self.cluster.reset(order[0], order[1]) {
                    return false;
                }
            }
            SplitOne => self.split(&order[..1], &order[1..], span).await,
            SplitHalf => {
                self.split(&order[..nodes / 2], &order[nodes / 2..], span)
                    .await
            }
            Pair => self.split(&order[..1], &order[1..2], span).await,
            OneWay => {
                let one_way = [(order[0], order[1])];
                self.cut(&one_way, true, false);
                pass(span).await;
                self.cut(&one_way, false, false);
            }
            Flap => {
                for _ in 0..span.as_secs().max(2) {
                    let half = Duration::from_millis(500);
                    self.split(&order[..1], &order[1..], half).await;
                    pass(half).await;
                }
            }
            OneByOne => self.one_by_one(span).await,
            SecondSplit => self.second_split(&order, span).await,
        }
        self.done.push((at, kind, node));
        true
    }

    fn coordinator(&self) -> Option<usize> {
        let seen = self.monitor.seen.lock();
        let oldest = seen.heard.iter().max_by_key(|heard| heard.version.number)?;
        let wanted = oldest.version.coordinator_id;
        (0..self.cluster.size()).find(|node| embergrid::types::NodeId::of(&name(*node)).0 == wanted)
    }

    async fn crash(&mut self, node: usize, away: Duration) {
        self.disturb(true);
        self.cluster.kill(node);
        self.disturb(false);
        pass(away).await;
        self.cluster.start(node);
        self.disturb(false);
    }

    async fn stand_still(&mut self, node: usize, span: Duration) {
        let from = (self.now)();
        self.disturb(true);
        self.cluster.pause(node, true);
        (self.told)(self.cluster);
        pass(span).await;
        self.cluster.pause(node, false);
        self.disturb(false);
        self.pauses.push((from, (self.now)(), node));
    }

    async fn drops(&mut self, order: &[usize]) {
        for _ in 0..4 {
            self.split(&order[..1], &order[1..], DROP).await;
            pass(DROP_GAP).await;
        }
    }

    async fn split(&mut self, left: &[usize], right: &[usize], span: Duration) {
        let pairs = between(left, right);
        self.cut(&pairs, true, false);
        pass(span).await;
        self.cut(&pairs, false, false);
    }

    async fn one_by_one(&mut self, span: Duration) {
        let all: Vec<usize> = (0..self.cluster.size()).collect();
        let mut wires = Vec::new();
        for (place, one) in all.iter().enumerate() {
            wires.extend(
                all[place + 1..]
                    .iter()
                    .map(|other| between(&[*one], &[*other])),
            );
        }
        self.rng.shuffle(&mut wires);
        for wire in &wires {
            self.cut(wire, true, true);
            pass(STEP).await;
        }
        pass(span).await;
        self.rng.shuffle(&mut wires);
        for (place, wire) in wires.iter().enumerate() {
            self.cut(wire, false, place + 1 < wires.len());
            pass(STEP).await;
        }
    }

    async fn second_split(&mut self, order: &[usize], span: Duration) {
        let half = order.len() / 2;
        let mut first = between(&order[..half], &order[half..]);
        self.cut(&first, true, true);
        pass(span).await;
        let healed = first.split_off(first.len() / 2);
        self.cut(&healed, false, true);
        pass(STEP).await;
        let mut again = order.to_vec();
        self.rng.shuffle(&mut again);
        let mut second = between(&again[..1], &again[1..]);
        self.cut(&second, true, true);
        pass(span).await;
        second.extend(first);
        self.cut(&second, false, false);
    }
}

/// Both directions of every wire between two groups.
pub fn between(left: &[usize], right: &[usize]) -> Vec<(usize, usize)> {
    let mut pairs = Vec::new();
    for &one in left {
        pairs.extend(right.iter().flat_map(|&other| [(one, other), (other, one)]));
    }
    pairs
}
