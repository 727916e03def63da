//! Clients of a cluster of processes: each asks one thing at a time, of one node of its choice or of
//! whoever owns the key, and repeats under the same request id what nobody could answer. All of it
//! goes into a history, as in the simulator.

use crate::caches::Use;
use crate::clock::Time;
use crate::cluster::Cluster;
use crate::history::{Call, Echo, Outcome};
use crate::pace::pass;
use crate::rng::Rng;
use crate::wire;
use crate::workload::Workload;
use embergrid::client::{Client, Options};
use embergrid::error::Applied;
use embergrid::types::{
    Blob, CacheSettings, ClusterTime, Condition, Expiry, KeyOperation, Operation, Reply, Request,
    TopologyVersion, cache::partition_of,
};
use parking_lot::Mutex;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// A write with a request id is tried so often by its caller.
const ATTEMPTS_MAX: u32 = 4;
/// Keys that are written with conflicts are others after so long.
const AGE: Duration = Duration::from_secs(4);
/// A client that repeats calls by itself waits at least so long before it does.
const REPEATED_AFTER: Time = 5_000;
/// The last readers have all the time that a sound cluster needs.
const LAST_PATIENCE: Duration = Duration::from_secs(30);
/// So many reads are under way at a time at the end.
const READERS: usize = 16;

/// How a client goes about its calls.
struct Access {
    client: Client,
    /// The only node that it asks; none: whoever owns the key.
    node: Option<usize>,
    /// Whether it repeats calls by itself.
    repeats: bool,
}

/// What all clients of a run share.
pub struct Clients {
    begin: Instant,
    caches: Vec<(Use, CacheSettings)>,
    /// By place in `caches`, how often it is used.
    weights: Vec<u64>,
    accesses: Vec<Access>,
    /// One for each node, patient.
    last: Vec<Client>,
    think: Duration,
    /// Whether there is one side at all times, so that what is repeated is known again.
    repeats: bool,
    state: Mutex<State>,
    /// No call begins while this is closed.
    closed: AtomicBool,
    stopped: AtomicBool,
    up: Mutex<BTreeSet<usize>>,
}

struct State {
    rng: Rng,
    workload: Workload,
    calls: Vec<Call>,
    echoes: Vec<Echo>,
    under_way: usize,
}

/// What is asked once, and no longer than this is waited for.
pub fn single_attempt(patience: Duration) -> Options {
    Options {
        routing: false,
        attempts_max: 1,
        timeout: patience,
        attempt_timeout: patience,
        connect_timeout: patience,
        ..Options::default()
    }
}

impl Clients {
    /// Clients of a cluster all of whose nodes run. With `repeats`, those that go to owners repeat
    /// calls by themselves, as any program's client does, and what was answered is sometimes sent
    /// again.
    pub async fn new(
        cluster: &Cluster,
        caches: &[(Use, CacheSettings)],
        repeats: bool,
        think: Duration,
        seed: u64,
    ) -> Self {
        let nodes = cluster.size();
        let mut accesses = Vec::new();
        for node in 0..nodes {
            for patience in [400, 4_000] {
                let options = single_attempt(Duration::from_millis(patience));
                accesses.push(Access {
                    client: cluster.client(&[node], options).await,
                    node: Some(node),
                    repeats: false,
                });
            }
        }
        let everyone: Vec<usize> = (0..nodes).collect();
        let options = Options {
            attempts_max: if repeats { 24 } else { 1 },
            ..Options::default()
        };
        for _ in 0..nodes {
            accesses.push(Access {
                client: cluster.client(&everyone, options).await,
                node: None,
                repeats,
            });
        }
        let patient = Options {
            routing: false,
            timeout: LAST_PATIENCE,
            ..Options::default()
        };
        let mut last = Vec::new();
        for node in 0..nodes {
            last.push(cluster.client(&[node], patient).await);
        }
        let weight = |(wanted, settings): &(Use, CacheSettings)| match wanted {
            Use::Registers if settings.near_bytes_max == 0 => 6,
            Use::Registers | Use::Final => 4,
            Use::Weak => 1,
            Use::Local | Use::Ttl | Use::Idle | Use::Tickets | Use::Bank | Use::Locks => 0,
        };
        Self {
            begin: Instant::now(),
            weights: caches.iter().map(weight).collect(),
            caches: caches.to_vec(),
            accesses,
            last,
            think,
            repeats,
            state: Mutex::new(State {
                rng: Rng::stream(seed, "clients"),
                workload: Workload::default(),
                calls: Vec::new(),
                echoes: Vec::new(),
                under_way: 0,
            }),
            closed: AtomicBool::new(false),
            stopped: AtomicBool::new(false),
            up: Mutex::new((0..nodes).collect()),
        }
    }

    /// The zero of this history's time.
    pub fn begin(&self) -> Instant {
        self.begin
    }

    pub fn now(&self) -> Time {
        self.begin.elapsed().as_micros() as Time
    }

    /// Which nodes there is any point in asking.
    pub fn set_up(&self, up: BTreeSet<usize>) {
        *self.up.lock() = up;
    }

    /// The nodes that there is any point in asking.
    pub fn up(&self) -> Vec<usize> {
        self.up.lock().iter().copied().collect()
    }

    pub fn stopped(&self) -> bool {
        self.stopped.load(Ordering::Relaxed)
    }

    pub fn stop(&self) {
        self.stopped.store(true, Ordering::Relaxed);
    }

    /// Lets calls begin, or none; closed means that none is under way.
    pub async fn set_closed(&self, closed: bool) {
        self.closed.store(closed, Ordering::SeqCst);
        while closed && self.state.lock().under_way > 0 {
            pass(Duration::from_millis(1)).await;
        }
    }

    /// One client, until all are stopped.
    pub async fn work(self: Arc<Self>, number: usize) {
        while !self.stopped.load(Ordering::Relaxed) {
            if let Some((access, index, patience)) = self.next(number) {
                self.make(access, index, patience).await;
                self.state.lock().under_way -= 1;
            }
            let think = self.state.lock().rng.below(self.think.as_micros() as u64);
            pass(Duration::from_micros(think)).await;
        }
    }

    /// Draws the next call and writes it down.
    fn next(&self, number: usize) -> Option<(usize, usize, u32)> {
        let mut state = self.state.lock();
        if self.closed.load(Ordering::SeqCst) {
            return None;
        }
        let state = &mut *state;
        state.workload.age = 1 + (self.begin.elapsed().as_micros() / AGE.as_micros()) as u64;
        let total: u64 = self.weights.iter().sum();
        let mut ticket = state.rng.below(total);
        let place = self.weights.iter().position(|weight| {
            let found = ticket < *weight;
            ticket = ticket.saturating_sub(*weight);
            found
        })?;
        let (wanted, settings) = &self.caches[place];
        let mut request = loop {
            // Only tickets ask what time it is, and none are asked for here.
            let now = ClusterTime::default();
            let rng = &mut state.rng;
            let request = state.workload.on(place, *wanted, settings, now, rng);
            // Calls on a single partition are not for clients.
            if matches!(request.operation, Operation::Key { .. }) {
                break request;
            }
        };
        let attempts_max = match request.request_id {
            Some(_) => ATTEMPTS_MAX,
            None => 1,
        };
        if !request.operation.is_read() && request.request_id.is_none() {
            // The client would choose one; the history has to know of it.
            let (high, low) = (state.rng.next(), state.rng.next());
            let id = (u128::from(high) << 64) | u128::from(low);
            request.request_id = Some(id.to_le_bytes());
        }
        let access = self.pick(&mut state.rng)?;
        let call = self.call(number, place, request, access);
        state.calls.push(call);
        state.under_way += 1;
        Some((access, state.calls.len() - 1, attempts_max))
    }

    fn call(&self, client: usize, cache: usize, request: Request, access: usize) -> Call {
        let view = TopologyVersion::default();
        Call {
            client,
            cache,
            request,
            invoked: self.now(),
            responded: Time::MAX,
            outcome: Outcome::Unknown,
            node: self.node_of(access),
            attempts: 0,
            views: (view, view),
        }
    }

    /// The node that is asked; one beyond all others where it is whoever owns the key.
    fn node_of(&self, access: usize) -> usize {
        self.accesses[access].node.unwrap_or(self.last.len())
    }

    fn pick(&self, rng: &mut Rng) -> Option<usize> {
        let up = self.up.lock();
        let useful: Vec<usize> = (0..self.accesses.len())
            .filter(|access| {
                let node = self.accesses[*access].node;
                node.is_none_or(|node| up.contains(&node))
            })
            .collect();
        rng.pick(&useful).copied()
    }

    /// Makes a call with its repetitions.
    async fn make(&self, mut access: usize, index: usize, attempts_max: u32) {
        let (request, cache) = {
            let state = self.state.lock();
            let call = &state.calls[index];
            (call.request.clone(), call.cache)
        };
        let name = self.caches[cache].1.name.clone();
        let mut outcome = Outcome::Unknown;
        for attempt in 1..=attempts_max {
            let of = &self.accesses[access];
            let before = self.now();
            let result = wire::call(&of.client, &name, &request).await;
            let again = of.repeats && self.now() - before >= REPEATED_AFTER;
            outcome = match result {
                Ok(reply) => Outcome::Ok(reply),
                Err(error) if attempt == 1 && error.applied == Applied::NotApplied => {
                    Outcome::Failed(error.kind)
                }
                Err(_) => Outcome::Unknown,
            };
            let mut state = self.state.lock();
            let call = &mut state.calls[index];
            call.attempts += 1 + u32::from(again);
            call.node = self.node_of(access);
            let repeatable = request.request_id.is_some() && outcome == Outcome::Unknown;
            if !repeatable || self.stopped.load(Ordering::Relaxed) {
                break;
            }
            access = self.pick(&mut state.rng).unwrap_or(access);
        }
        self.end(index, outcome).await;
    }

    async fn end(&self, index: usize, outcome: Outcome) {
        let echo = {
            let mut state = self.state.lock();
            let state = &mut *state;
            let call = &mut state.calls[index];
            if outcome != Outcome::Unknown || !call.is_write() {
                call.responded = self.now();
            }
            call.outcome = outcome;
            state.workload.learn(call);
            let repeatable = call.reply().is_some() && call.request.request_id.is_some();
            // The other side of a split does not know it.
            let wanted = repeatable && self.repeats && state.rng.percent(8);
            call.attempts += u32::from(wanted);
            let call = wanted.then(|| (call.cache, call.request.clone()));
            call.zip(self.pick(&mut state.rng))
        };
        if let Some(((cache, request), access)) = echo {
            let client = &self.accesses[access].client;
            let name = &self.caches[cache].1.name;
            if let Ok(reply) = wire::call(client, name, &request).await {
                let (at, call) = (self.now(), index);
                let echo = Echo { call, at, reply };
                self.state.lock().echoes.push(echo);
            }
        }
    }

    /// Every key that was called since a point in time: (place of the cache, key).
    pub fn keys_since(&self, since: Time) -> BTreeSet<(usize, Blob)> {
        let state = self.state.lock();
        let calls = state.calls.iter().filter(|call| call.invoked >= since);
        calls
            .filter_map(|call| Some((call.cache, call.key()?.clone())))
            .collect()
    }

    /// Reads keys at every node. Where `noted`, the reads are part of the history.
    pub async fn read_everywhere(
        self: &Arc<Self>,
        keys: BTreeSet<(usize, Blob)>,
        noted: bool,
    ) -> Vec<(usize, usize, Blob, Outcome)> {
        let nodes = self.last.len();
        let mut wanted = Vec::new();
        for (cache, key) in keys {
            wanted.extend((0..nodes).map(|node| (cache, key.clone(), node)));
        }
        let wanted = Arc::new(Mutex::new(wanted));
        let mut readers = tokio::task::JoinSet::new();
        for _ in 0..READERS {
            let (clients, wanted) = (Arc::clone(self), Arc::clone(&wanted));
            readers.spawn(async move {
                let mut found = Vec::new();
                loop {
                    let Some((cache, key, node)) = wanted.lock().pop() else {
                        return found;
                    };
                    let get = KeyOperation::Get {
                        touch: None,
                        omit_value: false,
                    };
                    let call = clients.last_call(cache, &key, get, node).await;
                    found.push((cache, node, key, call.outcome.clone()));
                    if noted {
                        clients.state.lock().calls.push(call);
                    }
                }
            });
        }
        readers.join_all().await.into_iter().flatten().collect()
    }

    /// The last word: every node can still write to every cache. Returns who cannot.
    pub async fn write_everywhere(&self) -> Vec<String> {
        let mut broken = Vec::new();
        for (cache, (_, settings)) in self.caches.iter().enumerate() {
            for node in 0..self.last.len() {
                let put = KeyOperation::Put {
                    value: Blob::from("last"),
                    flags: 0,
                    expiry: Expiry::Default,
                    condition: Condition::Any,
                    return_previous: false,
                };
                let key = Blob::from(format!("z{node}").as_str());
                let call = self.last_call(cache, &key, put, node).await;
                if !matches!(call.outcome, Outcome::Ok(Reply::Put { applied: true, .. })) {
                    let name = &settings.name;
                    broken.push(format!(
                        "n{node} cannot write to {name}: {:?}",
                        call.outcome
                    ));
                }
            }
        }
        broken
    }

    async fn last_call(
        &self,
        cache: usize,
        key: &Blob,
        operation: KeyOperation,
        node: usize,
    ) -> Call {
        let settings = &self.caches[cache].1;
        let request = Request {
            cache: settings.id(),
            partition: partition_of(key, settings.partitions),
            operation: Operation::Key {
                key: key.clone(),
                operation,
            },
            request_id: None,
        };
        let mut call = self.call(usize::MAX, cache, request, 0);
        (call.node, call.attempts) = (node, 1);
        let result = wire::call(&self.last[node], &settings.name, &call.request).await;
        call.responded = self.now();
        call.outcome = match result {
            Ok(reply) => Outcome::Ok(reply),
            Err(error) if error.applied == Applied::NotApplied => Outcome::Failed(error.kind),
            Err(_) => Outcome::Unknown,
        };
        call
    }

    /// What clients asked and what came of it. Taken once, when all have stopped.
    pub fn history(&self) -> (Vec<Call>, Vec<Echo>) {
        let mut state = self.state.lock();
        let state = &mut *state;
        (
            std::mem::take(&mut state.calls),
            std::mem::take(&mut state.echoes),
        )
    }
}
