//! What a cluster of processes says of itself while it is disturbed: moments at which it was whole,
//! and whether it was divided. Everything here errs on the careful side: a moment that was not
//! whole is never noted, and what may have been a division is noted as one.

use crate::clock::{MS, Time};
use crate::cluster::{Cluster, name};
use crate::pace::pass;
use embergrid::client::{Client, Options, messages as pb};
use parking_lot::Mutex;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Between two rounds.
const ROUND: Duration = Duration::from_millis(60);
/// How long a node may take to answer in a round.
const ANSWER: Duration = Duration::from_secs(2);
/// Views are heard of this much later or earlier than they begin and end.
const HEARD_WITHIN: Time = 50 * MS;

/// What is being done to the cluster.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Situation {
    /// Rises with everything that is done.
    pub number: u64,
    /// Nodes whose processes are there.
    pub up: BTreeSet<usize>,
    /// Whether wires are cut or processes stand still.
    pub disturbed: bool,
}

/// A view as one node had it.
#[derive(Clone, Debug)]
pub struct Heard {
    pub at: Time,
    pub node: usize,
    pub version: pb::TopologyVersion,
    pub members: BTreeSet<String>,
}

#[derive(Default)]
pub struct Seen {
    pub whole: Vec<Time>,
    /// The situation at each of them.
    pub numbers: Vec<u64>,
    pub heard: Vec<Heard>,
}

pub struct Monitor {
    begin: Instant,
    clients: Vec<Client>,
    pub situation: Mutex<Situation>,
    pub seen: Mutex<Seen>,
    stopped: AtomicBool,
}

impl Monitor {
    pub async fn start(cluster: &Cluster, begin: Instant) -> Arc<Self> {
        let options = Options {
            routing: false,
            attempts_max: 1,
            timeout: ANSWER,
            attempt_timeout: ANSWER,
            ..Options::default()
        };
        let mut clients = Vec::new();
        for node in 0..cluster.size() {
            clients.push(cluster.client(&[node], options).await);
        }
        let monitor = Arc::new(Self {
            begin,
            clients,
            situation: Mutex::default(),
            seen: Mutex::default(),
            stopped: AtomicBool::new(false),
        });
        monitor.disturb(cluster, false);
        tokio::spawn(Arc::clone(&monitor).look());
        for node in 0..cluster.size() {
            tokio::spawn(Arc::clone(&monitor).listen(node));
        }
        monitor
    }

    fn now(&self) -> Time {
        self.begin.elapsed().as_micros() as Time
    }

    pub fn stop(&self) {
        self.stopped.store(true, Ordering::Relaxed);
    }

    fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::Relaxed)
    }

    /// Something was done, or is about to be.
    pub fn disturb(&self, cluster: &Cluster, disturbed: bool) {
        let mut situation = self.situation.lock();
        let nodes = 0..cluster.size();
        situation.number += 1;
        situation.up = nodes.clone().filter(|node| cluster.up(*node)).collect();
        let stands_still = |node| cluster.up(node) && !cluster.runs(node);
        situation.disturbed = disturbed || nodes.clone().any(stands_still);
    }

    /// Waits until the cluster is whole as it is now. False: not in time.
    pub async fn wait_until_whole(&self, limit: Duration) -> bool {
        let number = self.situation.lock().number;
        let give_up = Instant::now() + limit;
        loop {
            if self.seen.lock().numbers.last() == Some(&number) {
                return true;
            }
            if Instant::now() > give_up {
                return false;
            }
            pass(Duration::from_millis(10)).await;
        }
    }

    /// Asks all nodes again and again. Versions only rise at a node: all that had the same in two
    /// rounds had it in between.
    async fn look(self: Arc<Self>) {
        let mut last = None;
        while !self.is_stopped() {
            let before = self.situation.lock().clone();
            let begin = self.now();
            let agreed = if before.disturbed {
                None
            } else {
                self.agreed(&before.up).await
            };
            let now = agreed.map(|version| (before.number, version));
            let unchanged = *self.situation.lock() == before;
            if unchanged && now.is_some() && now == last {
                let mut seen = self.seen.lock();
                seen.whole.push(begin);
                seen.numbers.push(before.number);
            }
            last = now.filter(|_| unchanged);
            pass(ROUND).await;
        }
    }

    /// What each node says of the cluster, for people.
    pub async fn describe(&self) -> String {
        let mut lines = Vec::new();
        for (node, client) in self.clients.iter().enumerate() {
            let told = match client.partition_table("").await {
                Err(error) => error.to_string(),
                Ok(table) => {
                    let members = table.nodes.iter().map(|node| node.consistent_id.as_str());
                    let partitions = || table.caches.iter().flat_map(|cache| &cache.partitions);
                    format!(
                        "view {:?} of {:?}, {} partitions load, {} merge, {} are lost",
                        table.version.map(|version| version.number),
                        members.collect::<Vec<_>>(),
                        partitions().filter(|one| !one.loading.is_empty()).count(),
                        partitions().filter(|one| one.merging).count(),
                        partitions().filter(|one| one.lost).count(),
                    )
                }
            };
            lines.push(format!("  {}: {told}", name(node)));
        }
        lines.join("\n")
    }

    /// The version that all these nodes have, if it is a view of all of them in which nothing is on
    /// the move.
    async fn agreed(&self, up: &BTreeSet<usize>) -> Option<pb::TopologyVersion> {
        let mut asked = tokio::task::JoinSet::new();
        for node in up {
            let client = self.clients[*node].clone();
            asked.spawn(async move { client.partition_table("").await });
        }
        let wanted: BTreeSet<String> = up.iter().map(|node| name(*node)).collect();
        let mut version = None;
        for answer in asked.join_all().await {
            let table = answer.ok()?;
            let servers = table.nodes.iter().map(|node| node.consistent_id.clone());
            let settled = table.caches.iter().all(|cache| {
                let mut partitions = cache.partitions.iter();
                partitions.all(|partition| partition.loading.is_empty() && !partition.merging)
            });
            if !settled || servers.collect::<BTreeSet<_>>() != wanted {
                return None;
            }
            if *version.get_or_insert(table.version?) != table.version? {
                return None;
            }
        }
        version
    }

    /// Writes down every view of a node.
    async fn listen(self: Arc<Self>, node: usize) {
        let mut views = self.clients[node].watch_topology();
        while !self.is_stopped() {
            let Ok(view) = views.next().await else {
                pass(Duration::from_millis(20)).await;
                continue;
            };
            let Some(version) = view.version else {
                continue;
            };
            let members = view.nodes.iter().map(|node| node.consistent_id.clone());
            let heard = Heard {
                at: self.now(),
                node,
                version,
                members: members.collect(),
            };
            self.seen.lock().heard.push(heard);
        }
    }
}

/// Pairs of nodes that each had a view without the other at the same time.
pub fn divisions(heard: &[Heard], end: Time) -> Vec<(Time, usize, usize)> {
    let spans: Vec<(&Heard, Time)> = heard
        .iter()
        .enumerate()
        .map(|(place, this)| {
            let mut later = heard[place + 1..].iter();
            let next = later.find(|other| other.node == this.node);
            (this, next.map_or(end, |next| next.at))
        })
        .collect();
    let mut found = Vec::new();
    for (place, (one, one_until)) in spans.iter().enumerate() {
        for (other, other_until) in &spans[place + 1..] {
            let begin = one.at.max(other.at);
            let apart = one.node != other.node
                && !one.members.contains(&name(other.node))
                && !other.members.contains(&name(one.node));
            if apart && begin <= (*one_until).min(*other_until) + HEARD_WITHIN {
                found.push((begin, one.node, other.node));
            }
        }
    }
    found
}

#[test]
fn views_without_each_other_at_one_time_are_a_division() {
    let heard = |at, node, members: &[usize]| Heard {
        at,
        node,
        version: pb::TopologyVersion::default(),
        members: members.iter().map(|node| name(*node)).collect(),
    };
    let apart = [
        heard(0, 0, &[0, 1]),
        heard(0, 1, &[0, 1]),
        heard(1_000_000, 0, &[0]),
        heard(1_100_000, 1, &[1]),
    ];
    assert_eq!(divisions(&apart, 2_000_000), [(1_100_000, 0, 1)]);
    let one_after_the_other = [
        heard(0, 0, &[0]),
        heard(500_000, 0, &[0, 1]),
        heard(1_000_000, 1, &[1]),
    ];
    assert_eq!(divisions(&one_after_the_other, 2_000_000), []);
}
