//! What a seed stands for: how many nodes, when they start, which faults come when, how busy the
//! clients are. Drawn once, before the world begins.

use crate::caches::{self, Use};
use crate::clock::{MS, SECOND, Time};
use crate::faults::{FaultKind, Profile};
use crate::rng::Rng;
use embergrid::types::transaction::Concurrency;
use embergrid::types::{CacheSettings, Role};

#[derive(Clone, Debug)]
pub struct Plan {
    pub seed: u64,
    pub profile: Profile,
    /// All nodes, client nodes included.
    pub nodes: usize,
    /// How many of them, the last ones, are client nodes.
    pub client_nodes: usize,
    /// The number of servers, where caches stop in a minority.
    pub quorum_of: Option<u32>,
    /// How many of a hundred requests are about tickets. None where some nodes speak an older
    /// protocol, which has no tickets.
    pub ticket_percent: u64,
    pub uses: Vec<Use>,
    pub caches: Vec<CacheSettings>,
    pub starts: Vec<Time>,
    pub faults: Vec<(Time, FaultKind)>,
    pub clients: usize,
    /// The longest a client thinks between two calls.
    pub think: Time,
    /// Nodes speak two versions of the protocol, and with each life the other one.
    pub two_versions: bool,
    /// In every other life a node has this `ack-timeout` and this lease.
    pub unequal: Option<(Time, Time)>,
    /// How many write lists.
    pub writers: usize,
    /// When all of them take their locks; absent: each transaction as it is drawn.
    pub writers_lock: Option<Concurrency>,
    /// Between two comparisons of copies; absent: there are none.
    pub compare_interval: Option<Time>,
    pub clients_start: Time,
    /// From here on nothing breaks and all nodes are up and reachable.
    pub faults_end: Time,
    pub clients_end: Time,
    /// Copies are compared and read for the last time.
    pub compare: Time,
    pub end: Time,
}

/// Whether there are named locks in the run of a seed: in four of seven. (Seeds that have taught something
/// keep the histories in which they did.)
fn with_locks(seed: u64) -> bool {
    matches!(seed % 7, 1 | 2 | 4 | 6)
}

/// Virtual time of a run.
const LENGTH: Time = 60 * SECOND;
/// Copies are byte-equal so long after the last fault.
pub const SETTLED_WITHIN: Time = 10 * SECOND;

impl Plan {
    pub fn of(seed: u64, profile: Profile) -> Self {
        let mut rng = Rng::stream(seed, "plan");
        let nodes = match profile {
            Profile::Start => rng.within(2, 16) as usize,
            Profile::Split => rng.within(2, 6) as usize,
            Profile::Undivided => rng.within(2, 5) as usize,
        };
        let client_nodes = usize::from(Rng::stream(seed, "roles").percent(20));
        let nodes = nodes + client_nodes;
        let partitions = if profile == Profile::Start {
            8
        } else {
            8 + 8 * rng.below(2) as u32
        };
        let servers = (nodes - client_nodes) as u32;
        let quorum_of = (3..=5).contains(&servers).then_some(servers);
        let mut caches = caches::all(partitions);
        if quorum_of.is_some() {
            caches.extend(caches::stopping(partitions));
        }
        if profile == Profile::Split && quorum_of.is_some() && seed.is_multiple_of(2) {
            caches.retain(|(_, cache)| cache.stops());
        }
        if with_locks(seed) {
            caches.push(caches::locks(partitions, quorum_of));
        }
        let (uses, settings) = caches.into_iter().unzip();
        let length = if profile == Profile::Start {
            LENGTH / 2
        } else {
            LENGTH
        };
        let end = length;
        let compare = end - 4 * SECOND;
        let two_versions = Rng::stream(seed, "versions").percent(20);
        let mut plan = Self {
            seed,
            profile,
            nodes,
            client_nodes,
            quorum_of,
            ticket_percent: if two_versions { 0 } else { 14 },
            uses,
            caches: settings,
            starts: starts(profile, nodes, &mut rng),
            faults: Vec::new(),
            clients: rng.within(2, 4) as usize,
            think: rng.within(20, 120) * MS,
            two_versions,
            unequal: Rng::stream(seed, "leases")
                .percent(15)
                .then_some((4 * SECOND, 3 * SECOND)),
            writers: 3,
            writers_lock: None,
            compare_interval: Some(2 * SECOND),
            clients_start: if profile == Profile::Start {
                14 * SECOND
            } else {
                3 * SECOND
            },
            faults_end: compare - SETTLED_WITHIN,
            clients_end: compare - SETTLED_WITHIN / 2,
            compare,
            end,
        };
        plan.faults = plan.draw_faults(&mut rng);
        if profile == Profile::Start && rng.percent(40) {
            // Two clusters form apart and meet.
            plan.faults.push((0, FaultKind::SplitHalf));
            let heal = rng.within(SECOND, 4 * SECOND);
            plan.faults.push((heal, FaultKind::Heal));
        }
        if profile != Profile::Start && rng.percent(8) {
            let at = rng.within(10 * SECOND, plan.faults_end - SECOND);
            plan.faults.push((at, FaultKind::Massacre));
        }
        plan
    }

    /// So many servers that start at once, and to which nothing happens until the end: a stage for
    /// scripts.
    pub fn quiet(seed: u64, profile: Profile, nodes: usize, end: Time) -> Self {
        Self {
            nodes,
            client_nodes: 0,
            starts: vec![0; nodes],
            faults: Vec::new(),
            clients: 0,
            two_versions: false,
            unequal: None,
            faults_end: end,
            clients_end: end,
            compare: end,
            end,
            ..Self::of(seed, profile)
        }
    }

    /// The servers know their number, and some caches stop in a minority.
    pub fn with_stopping(&mut self) {
        self.without_stopping();
        self.quorum_of = Some((self.nodes - self.client_nodes) as u32);
        for (of, cache) in caches::stopping(self.caches[0].partitions) {
            self.uses.push(of);
            self.caches.push(cache);
        }
    }

    /// There are named locks.
    #[cfg(debug_assertions)]
    pub fn with_locks(&mut self) {
        self.uses.retain(|of| *of != Use::Locks);
        self.caches.truncate(self.uses.len());
        let (of, cache) = caches::locks(self.caches[0].partitions, self.quorum_of);
        self.uses.push(of);
        self.caches.push(cache);
    }

    /// Every cache goes on in a minority.
    pub fn without_stopping(&mut self) {
        self.quorum_of = None;
        let caches = caches::all(self.caches[0].partitions);
        (self.uses, self.caches) = caches.into_iter().unzip();
    }

    /// The caches in which accounts are kept: in half of the runs those that stop in a minority, where
    /// there are some. None where nodes speak an older protocol, which has no transactions.
    pub fn bank(&self) -> Vec<usize> {
        if self.two_versions {
            return Vec::new();
        }
        let of = |stops: bool| {
            let wanted = |place: &usize| {
                self.uses[*place] == Use::Bank && self.caches[*place].stops() == stops
            };
            (0..self.caches.len()).filter(wanted).collect::<Vec<_>>()
        };
        let (going_on, stopping) = (of(false), of(true));
        let stops = going_on.is_empty() || self.seed % 4 >= 2;
        if stops && !stopping.is_empty() {
            return stopping;
        }
        going_on
    }

    /// The cache of named locks, where there is one. None where nodes speak an older protocol, which has
    /// no locks.
    pub fn locks(&self) -> Option<usize> {
        let place = self.uses.iter().position(|of| *of == Use::Locks);
        place.filter(|_| !self.two_versions)
    }

    pub fn role(&self, node: usize) -> Role {
        if node + self.client_nodes < self.nodes {
            Role::Server
        } else {
            Role::Client
        }
    }

    fn draw_faults(&self, rng: &mut Rng) -> Vec<(Time, FaultKind)> {
        let menu: &[(u64, FaultKind)] = match self.profile {
            Profile::Undivided => UNDIVIDED,
            Profile::Split if self.caches[0].stops() => SPLIT_AND_RESTART,
            Profile::Split => SPLIT,
            Profile::Start => START,
        };
        let total: u64 = menu.iter().map(|(weight, _)| weight).sum();
        let (first, gap) = match self.profile {
            Profile::Start => (100 * MS, 2 * SECOND),
            Profile::Split => (5 * SECOND, rng.within(1500, 6000) * MS),
            Profile::Undivided => (4 * SECOND, rng.within(500, 5000) * MS),
        };
        let mut faults = Vec::new();
        let mut at = first + rng.below(gap);
        while at < self.faults_end {
            let mut ticket = rng.below(total);
            for (weight, kind) in menu {
                if ticket < *weight {
                    faults.push((at, *kind));
                    break;
                }
                ticket -= weight;
            }
            at += rng.within(gap / 10, gap);
        }
        faults
    }
}

fn starts(profile: Profile, nodes: usize, rng: &mut Rng) -> Vec<Time> {
    let spread = match profile {
        Profile::Start => [0, 2 * MS, 300 * MS, 3 * SECOND][rng.index(4)],
        _ => [0, 500 * MS][rng.index(2)],
    };
    (0..nodes).map(|_| rng.below(spread + 1)).collect()
}

const UNDIVIDED: &[(u64, FaultKind)] = &[
    (8, FaultKind::Crash),
    (4, FaultKind::CrashCoordinator),
    (4, FaultKind::RestartFast),
    (4, FaultKind::CrashLoading),
    (3, FaultKind::CrashTwo),
    (6, FaultKind::Pause),
    (4, FaultKind::ShortPause),
    (3, FaultKind::Leave),
    (4, FaultKind::Drain),
    (3, FaultKind::WallJump),
    (3, FaultKind::WallBack),
    (4, FaultKind::Delay),
    (3, FaultKind::Loss),
    (3, FaultKind::Overtake),
    (3, FaultKind::Double),
    (2, FaultKind::QueueFull),
    (3, FaultKind::LinkReset),
];

const SPLIT: &[(u64, FaultKind)] = &[
    (6, FaultKind::SplitOne),
    (6, FaultKind::SplitHalf),
    (3, FaultKind::SplitThird),
    (3, FaultKind::Overlap),
    (2, FaultKind::OneWay),
    (2, FaultKind::Flap),
    (14, FaultKind::Heal),
    (3, FaultKind::HealOne),
    (2, FaultKind::Delay),
    (1, FaultKind::WallJump),
    (1, FaultKind::Double),
    (1, FaultKind::ShortPause),
    // Servers end and begin anew in the middle of cuts as well; one that begins anew where it is cut
    // off forms a cluster of its own.
    (2, FaultKind::Crash),
    (1, FaultKind::CrashCoordinator),
    (1, FaultKind::CrashLoading),
    (1, FaultKind::CrashTwo),
    (2, FaultKind::RestartFast),
    (1, FaultKind::Leave),
    (1, FaultKind::Drain),
    (1, FaultKind::Pause),
];

/// The same with more of that, where all caches stop in a minority.
const SPLIT_AND_RESTART: &[(u64, FaultKind)] = &[
    (6, FaultKind::SplitOne),
    (6, FaultKind::SplitHalf),
    (3, FaultKind::Overlap),
    (2, FaultKind::OneWay),
    (12, FaultKind::Heal),
    (3, FaultKind::HealOne),
    (3, FaultKind::Crash),
    (2, FaultKind::CrashCoordinator),
    (2, FaultKind::RestartFast),
    (2, FaultKind::Leave),
    (2, FaultKind::Pause),
    (1, FaultKind::Delay),
];

const START: &[(u64, FaultKind)] = &[
    (3, FaultKind::Delay),
    (2, FaultKind::WallJump),
    (1, FaultKind::Double),
    (1, FaultKind::LinkReset),
];
