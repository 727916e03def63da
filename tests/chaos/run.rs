//! One run from its seed to its verdict: a cluster of processes, clients, faults, and the checkers.

use crate::bank::{self, Bank};
use crate::caches::{self, Use};
use crate::checkers::{Findings, equal_copies};
use crate::clients::Clients;
use crate::clock::{MS, Time};
use crate::cluster::{Cluster, PATIENCE};
use crate::faults::{self, FaultKind, Faults, Profile, Spans};
use crate::history::{Call, Outcome};
use crate::judge::{self, Stretch, copies, stretches};
use crate::monitor::{Heard, Monitor, divisions};
use crate::pace::pass;
use crate::record::Record;
use crate::rng::Rng;
use crate::stage::Ground;
use embergrid::service::cluster::settings::encode;
use embergrid::types::{Blob, CacheSettings};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// What a seed stands for, as far as that can be said of processes.
#[derive(Clone, Debug)]
pub struct Plan {
    pub seed: u64,
    pub profile: Profile,
    pub nodes: usize,
    /// The faults, each once before any comes again.
    pub kinds: Vec<FaultKind>,
    /// How long there are faults; absent: until each came once.
    pub time: Option<Duration>,
    pub spans: Spans,
    pub ack_timeout: Duration,
    pub workers: usize,
    pub think: Duration,
    /// How long clients go on after the last fault.
    pub afterwards: Duration,
    /// How long copies may take until they are equal.
    pub patience: Duration,
    /// What nodes are given in their environment.
    pub environment: Option<(&'static str, String)>,
}

/// No node forwards a request a second time within this: it waits for 10 ms before it does.
const FORWARDED_AGAIN: Time = 8 * MS;
const PARTITIONS: u32 = 16;

impl Plan {
    /// A short run with each kind of fault of its profile once.
    pub fn sample(seed: u64, profile: Profile) -> Self {
        Self {
            seed,
            profile,
            nodes: 3,
            kinds: faults::kinds(profile).to_vec(),
            time: None,
            spans: Spans {
                // Longer than it takes to be left out of a view.
                least: Duration::from_millis(1_100),
                most: Duration::from_millis(1_600),
                pause_least: Duration::from_millis(1_200),
                pause: Duration::from_millis(1_800),
            },
            afterwards: Duration::from_millis(300),
            patience: PATIENCE,
            ack_timeout: Duration::from_millis(800),
            workers: 6,
            think: Duration::from_millis(20),
            environment: None,
        }
    }

    /// A long run under the default timeouts.
    pub fn long(seed: u64, time: Duration) -> Self {
        let mut rng = Rng::stream(seed, "plan");
        let profile = if seed.is_multiple_of(2) {
            Profile::Undivided
        } else {
            Profile::Split
        };
        Self {
            nodes: rng.within(3, 5) as usize,
            time: Some(time),
            spans: Spans {
                least: Duration::from_millis(500),
                most: Duration::from_millis(rng.within(2_000, 8_000)),
                pause_least: Duration::from_secs(1),
                pause: Duration::from_millis([3_000, 8_000, 30_000][rng.index(3)]),
            },
            ack_timeout: Duration::from_secs(2),
            workers: rng.within(6, 12) as usize,
            think: Duration::from_millis(rng.within(4, 20)),
            ..Self::sample(seed, profile)
        }
    }
}

pub struct Report {
    pub plan: Plan,
    pub ground: Ground,
    pub record: Record,
    pub findings: Vec<(&'static str, Findings)>,
    /// Writes that clients were told of.
    pub acknowledged: u64,
    pub failed: u64,
    pub unknown: u64,
    /// All calls as clients were answered; the checkers doubt some answers over a split.
    pub calls: Vec<Call>,
    /// Every view that a node told.
    pub heard: Vec<Heard>,
    /// From the last fault until the cluster was whole, and until all copies were equal.
    pub whole_after: Duration,
    pub equal_after: Duration,
}

impl Report {
    /// How many findings the checkers of these names (by how they begin) have.
    pub fn count(&self, names: &[&str]) -> usize {
        let all = self.findings.iter();
        all.filter(|(name, _)| names.iter().any(|wanted| name.starts_with(wanted)))
            .map(|(_, found)| found.violations.len())
            .sum()
    }
}

/// Runs a plan on a runtime of its own.
pub fn run(plan: Plan, ground: Ground) -> Report {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime");
    runtime.block_on(play(plan, ground))
}

/// A cluster with caches, all of it whole.
pub async fn begin(
    ground: Ground,
    nodes: usize,
    ack_timeout: Duration,
    environment: Option<(&'static str, String)>,
) -> (Cluster, Arc<Monitor>, Vec<(Use, CacheSettings)>, Instant) {
    let mut cluster = Cluster::prepare(ground, nodes, ack_timeout);
    if let Some((name, value)) = environment {
        cluster.give(name, &value);
    }
    for node in 0..nodes {
        cluster.start(node);
    }
    let begin = Instant::now();
    let monitor = Monitor::start(&cluster, begin).await;
    settle(&mut cluster, &monitor).await;
    let caches = caches_of(nodes);
    let client = cluster.client(&[0], Default::default()).await;
    for (_, settings) in &caches {
        let made = client.create_cache(encode(settings)).await;
        made.expect("a cache is created");
    }
    settle(&mut cluster, &monitor).await;
    (cluster, monitor, caches, begin)
}

/// All caches; those that stop in a minority where there are servers enough. What reads in a
/// minority show may be old, and clients cannot tell which node was in one: so none allows them.
fn caches_of(nodes: usize) -> Vec<(Use, CacheSettings)> {
    let mut caches = caches::all(PARTITIONS);
    if nodes >= 3 {
        let stopping = caches::stopping(PARTITIONS).into_iter();
        caches.extend(stopping.filter(|(_, settings)| settings.denies_reads()));
    }
    caches.push(bank::locks(PARTITIONS, nodes));
    caches
}

/// Waits until the cluster is whole.
///
/// # Panics
///
/// Where it does not come about, with the last words of a node that ended.
pub async fn settle(cluster: &mut Cluster, monitor: &Monitor) {
    monitor.disturb(cluster, false);
    let whole = monitor.wait_until_whole(PATIENCE).await;
    if let Some(words) = cluster.ended() {
        panic!("{words}");
    }
    if !whole {
        let told = monitor.describe().await;
        panic!("the cluster is not whole {PATIENCE:?} after the fault:\n{told}");
    }
}

async fn play(plan: Plan, ground: Ground) -> Report {
    let environment = plan.environment.clone();
    let (mut cluster, monitor, caches, _) =
        begin(ground, plan.nodes, plan.ack_timeout, environment).await;
    let repeats = plan.profile != Profile::Split;
    let clients = Clients::new(&cluster, &caches, repeats, plan.think, plan.seed).await;
    let clients = Arc::new(clients);
    // From here on one clock, that of the clients.
    monitor.stop();
    let monitor = Monitor::start(&cluster, clients.begin()).await;
    let mut workers = tokio::task::JoinSet::new();
    for number in 0..plan.workers {
        workers.spawn(Arc::clone(&clients).work(number));
    }
    let bank = Bank::open(&cluster, &clients, &caches, plan.profile, plan.seed).await;
    if let Some(bank) = &bank {
        bank.work(&mut workers);
    }
    let mut record = empty(&plan, &caches);
    disturb(&plan, &mut cluster, &monitor, &clients, &mut record).await;
    let over = Instant::now();
    record.faults_end = clients.now();
    settle(&mut cluster, &monitor).await;
    let whole_after = over.elapsed();
    pass(plan.afterwards).await;
    clients.stop();
    workers.join_all().await;
    let broken = compare(&clients, &mut record, plan.patience).await;
    let equal_after = over.elapsed();
    if let Some(bank) = &bank {
        bank.audit().await;
        bank.write_down(&mut record);
    }
    monitor.stop();
    finish(
        plan,
        ground,
        record,
        &monitor,
        &clients,
        broken,
        [whole_after, equal_after],
    )
}

pub fn empty(plan: &Plan, caches: &[(Use, CacheSettings)]) -> Record {
    let mut record = Record {
        profile: plan.profile,
        nodes: plan.nodes,
        ..Record::default()
    };
    for (wanted, settings) in caches {
        record.history.uses.push(*wanted);
        record.history.cache_ids.push(settings.id());
        record.settings.push(settings.clone());
    }
    record
}

/// One fault after the other. What takes a process away begins when the cluster is whole: so nothing
/// is lost by the loss of more nodes than there are copies.
async fn disturb(
    plan: &Plan,
    cluster: &mut Cluster,
    monitor: &Arc<Monitor>,
    clients: &Arc<Clients>,
    record: &mut Record,
) {
    let end = plan.time.map(|time| Instant::now() + time);
    let told = |cluster: &Cluster| {
        let up = (0..cluster.size()).filter(|node| cluster.runs(*node));
        clients.set_up(up.collect());
    };
    let now = || clients.now();
    let mut faults = Faults {
        cluster,
        monitor,
        rng: Rng::stream(plan.seed, "faults"),
        spans: plan.spans,
        now: &now,
        told: &told,
        done: Vec::new(),
        pauses: Vec::new(),
    };
    loop {
        let mut deck: Vec<FaultKind> = plan.kinds.clone();
        faults.rng.shuffle(&mut deck);
        for kind in deck {
            match kind.ends_processes() || plan.profile != Profile::Split {
                true => settle(faults.cluster, monitor).await,
                // Splits may meet a cluster that is still healing.
                false => {
                    let limit = faults.rng.below(plan.spans.most.as_millis() as u64);
                    let limit = Duration::from_millis(limit);
                    monitor.wait_until_whole(limit).await;
                }
            }
            if end.is_some_and(|end| Instant::now() >= end) {
                break;
            }
            if faults.fault(kind).await {
                let (at, ..) = faults.done[faults.done.len() - 1];
                println!("    {:>8} ms  {kind:?}", at / 1_000);
            }
        }
        if end.is_none_or(|end| Instant::now() >= end) {
            break;
        }
    }
    record.faults = faults.done;
    record.pauses = faults.pauses;
}

/// Reads every key at every node until all answer the same, then once more for the history.
pub async fn compare(
    clients: &Arc<Clients>,
    record: &mut Record,
    patience: Duration,
) -> Vec<String> {
    let keys: BTreeSet<(usize, Blob)> = clients.keys_since(0);
    let give_up = Instant::now() + patience;
    let mut broken;
    loop {
        let read = clients.read_everywhere(keys.clone(), false).await;
        (record.copies, broken) = copies(record, &read);
        if broken.is_empty() && equal_copies::equal(record) || Instant::now() > give_up {
            break;
        }
    }
    record.compared_at = clients.now();
    let read = clients.read_everywhere(keys, true).await;
    let (_, unread) = copies(record, &read);
    broken.extend(unread);
    broken.extend(clients.write_everywhere().await);
    broken
}

pub fn finish(
    plan: Plan,
    ground: Ground,
    mut record: Record,
    monitor: &Monitor,
    clients: &Clients,
    broken: Vec<String>,
    [whole_after, equal_after]: [Duration; 2],
) -> Report {
    (record.history.calls, record.history.echoes) = clients.history();
    let seen = monitor.seen.lock();
    record.whole = seen.whole.clone();
    record.divided = divisions(&seen.heard, clients.now());
    let mut counts = [0; 3];
    for call in &record.history.calls {
        match &call.outcome {
            Outcome::Ok(_) => counts[0] += u64::from(call.was_applied()),
            Outcome::Failed(_) => counts[1] += 1,
            Outcome::Unknown => counts[2] += u64::from(call.is_write()),
        }
    }
    let calls = record.history.calls.clone();
    let stretches = stretches(&seen.whole, &seen.numbers);
    record.doubt_repeated_calls(|_, call| {
        let calm = |(from, until): &Stretch| call.invoked >= *from && call.responded <= *until;
        let waited = call.responded - call.invoked > FORWARDED_AGAIN;
        waited && call.request.request_id.is_some() && !stretches.iter().any(calm)
    });
    let mut findings = judge::judge(&record, &stretches);
    let liveness = Findings {
        judged: 1,
        violations: broken,
        ..Findings::default()
    };
    findings.push(("liveness", liveness));
    Report {
        plan,
        ground,
        record,
        findings,
        acknowledged: counts[0],
        failed: counts[1],
        unknown: counts[2],
        calls,
        heard: seen.heard.clone(),
        whole_after,
        equal_after,
    }
}
