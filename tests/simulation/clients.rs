//! Clients: each asks one thing at a time, at a node of its choice, gives up at its deadline, and
//! repeats under the same request id what nobody could answer. All of it goes into the history.

use crate::caches::Use;
use crate::clock::{MS, SECOND, Time};
use crate::faults::Profile;
use crate::history::{Call, Echo, Outcome};
use crate::machine::Input;
use crate::plan::Plan;
use crate::record::CacheAct;
use crate::rng::Rng;
use crate::workload::{Workload, patience};
use crate::world::{Happening, World};
use embergrid::error::{Applied, Error, Result};
use embergrid::types::cache::partition_of;
use embergrid::types::message::ViewChange;
use embergrid::types::{
    Blob, CacheMode, CacheSettings, Condition, Expiry, KeyOperation, Operation, Reply, Request,
    Role, TopologyVersion,
};
use std::collections::{BTreeMap, BTreeSet};

/// An answer may come so much after the deadline, and no later.
const GRACE: Time = SECOND;
/// A write with a request id is tried so often.
const ATTEMPTS_MAX: u32 = 4;

/// How often each cache is used, by its place.
fn cache_of(plan: &Plan, rng: &mut Rng) -> usize {
    let tickets = plan.uses.iter().position(|wanted| *wanted == Use::Tickets);
    if let Some(tickets) = tickets
        && plan.ticket_percent > 0
        && rng.percent(plan.ticket_percent)
    {
        return tickets;
    }
    let others = |place: &usize| matches!(plan.uses[*place], Use::Bank | Use::Locks);
    let stops = |place: &usize| plan.caches[*place].stops() && !others(place);
    let stopping: Vec<usize> = (0..plan.caches.len()).filter(stops).collect();
    let first = stopping.first().copied();
    match rng.below(24) {
        // One in three is about those that stop in a minority, where there are some.
        _ if first == Some(0) || (first.is_some() && rng.percent(33)) => {
            stopping[rng.index(stopping.len())]
        }
        0..=5 => 0,
        6..=10 => 1,
        11..=12 => 2,
        13 => 3,
        14 => 4,
        15..=16 => 5,
        17..=18 => 6,
        19 => 7,
        _ => 8,
    }
}

/// One try of one call at one node.
#[derive(Clone, Copy, Debug)]
struct Attempt {
    client: usize,
    call: usize,
    node: usize,
    deadline: Time,
    echo: bool,
    gone: bool,
}

#[derive(Clone, Debug)]
struct Client {
    node: usize,
    call: Option<usize>,
}

pub struct Clients {
    pub rng: Rng,
    pub workload: Workload,
    pub stopped: bool,
    clients: Vec<Client>,
    attempts: BTreeMap<u64, Attempt>,
    next_attempt: u64,
    cache_acts: BTreeMap<u64, usize>,
    drains: BTreeSet<u64>,
}

impl Clients {
    pub fn new(plan: &Plan) -> Self {
        let mut rng = Rng::stream(plan.seed, "clients");
        let clients = (0..plan.clients).map(|_| Client {
            node: rng.index(plan.nodes),
            call: None,
        });
        Self {
            clients: clients.collect(),
            rng: rng.clone(),
            workload: Workload::default(),
            stopped: false,
            attempts: BTreeMap::new(),
            next_attempt: 1,
            cache_acts: BTreeMap::new(),
            drains: BTreeSet::new(),
        }
    }

    /// Whoever waits for an answer of this node will not get one; returns whose wait is over.
    pub fn node_gone(&mut self, node: usize) -> Vec<u64> {
        let mut over = Vec::new();
        for (token, attempt) in self
            .attempts
            .iter_mut()
            .filter(|(_, attempt)| attempt.node == node)
        {
            attempt.gone = true;
            over.push(*token);
        }
        over
    }

    /// The token of a drain. It may end in any way: a view may be lost, or nobody take over.
    pub fn drain_token(&mut self) -> u64 {
        let token = self.token();
        self.drains.insert(token);
        token
    }

    fn token(&mut self) -> u64 {
        self.next_attempt += 1;
        self.next_attempt
    }
}

impl World {
    fn view_of(&self, node: usize) -> TopologyVersion {
        self.nodes[node]
            .view()
            .map(|view| view.version)
            .unwrap_or_default()
    }

    pub fn client_step(&mut self, client: usize) {
        if self.clients.stopped || self.clients.clients[client].call.is_some() {
            return;
        }
        let mut workload = std::mem::take(&mut self.clients.workload);
        if self.clients.rng.percent(10) || !self.nodes[self.clients.clients[client].node].runs() {
            self.move_client(client);
        }
        let now = self.nodes[self.clients.clients[client].node].cluster_time(self.now);
        let rng = &mut self.clients.rng;
        let cache = cache_of(&self.plan, rng);
        let (wanted, settings) = (self.plan.uses[cache], &self.plan.caches[cache]);
        let request = workload.on(cache, wanted, settings, now, rng);
        self.clients.workload = workload;
        self.ask(client, cache, request);
    }

    /// A client goes to another node that it can see running, if there is one. Clients of LOCAL
    /// caches take what they find.
    fn move_client(&mut self, client: usize) {
        let running: Vec<_> = (0..self.nodes.len())
            .filter(|node| self.nodes[*node].up())
            .collect();
        if let Some(node) = self.clients.rng.pick(&running) {
            self.clients.clients[client].node = *node;
        }
    }

    fn ask(&mut self, client: usize, cache: usize, request: Request) {
        let node = self.clients.clients[client].node;
        let view = self.view_of(node);
        let call = self.record.history.calls.len();
        self.record.history.calls.push(Call {
            client,
            cache,
            request,
            invoked: self.now,
            responded: Time::MAX,
            outcome: Outcome::Unknown,
            node,
            attempts: 0,
            views: (view, TopologyVersion::default()),
        });
        self.clients.clients[client].call = Some(call);
        self.attempt(client, call, false);
    }

    fn attempt(&mut self, client: usize, call: usize, echo: bool) {
        let node = self.clients.clients[client].node;
        // The last readers have all the time that a sound cluster needs.
        let last = client >= self.plan.clients;
        let patience = if last {
            3 * SECOND
        } else {
            patience(&mut self.clients.rng)
        };
        let deadline = self.now + patience;
        let token = self.clients.token();
        let attempt = Attempt {
            client,
            call,
            node,
            deadline,
            echo,
            gone: !self.nodes[node].up(),
        };
        self.clients.attempts.insert(token, attempt);
        let of = &mut self.record.history.calls[call];
        of.attempts += 1;
        of.node = node;
        let request = of.request.clone();
        let until = if self.nodes[node].up() {
            deadline + GRACE
        } else {
            self.now + MS
        };
        self.at(until, Happening::ClientTimeout(token));
        self.feed(
            node,
            Input::Submit {
                attempt: token,
                request,
                deadline,
            },
        );
    }

    /// The client has waited long enough.
    pub fn client_timeout(&mut self, token: u64) {
        let Some(attempt) = self.clients.attempts.remove(&token) else {
            return;
        };
        let stood = |&(from, until, node): &(Time, Time, usize)| {
            node == attempt.node
                && from <= attempt.deadline + GRACE
                && until + GRACE >= attempt.deadline
        };
        if !attempt.gone && !self.record.pauses.iter().any(stood) {
            self.record
                .unanswered
                .push((attempt.call, attempt.node, attempt.deadline));
        }
        if !attempt.echo {
            self.repeat_or_end(attempt, Outcome::Unknown);
        }
    }

    /// The engine answered.
    pub fn completed(&mut self, node: usize, token: u64, result: Result<Reply>) {
        self.log.note(
            self.now,
            node,
            8,
            format_args!("answers {token}: {result:?}"),
        );
        if self.lock_completed(token, &result) || self.bank_completed(token, &result) {
            return;
        }
        let Some(attempt) = self.clients.attempts.remove(&token) else {
            return;
        };
        if attempt.echo {
            if let Ok(reply) = result {
                self.record.history.echoes.push(Echo {
                    call: attempt.call,
                    at: self.now,
                    reply,
                });
            }
            return;
        }
        let retried = self.record.history.calls[attempt.call].attempts > 1;
        let outcome = match result {
            Ok(reply) => Outcome::Ok(reply),
            Err(Error {
                kind,
                applied: Applied::NotApplied,
                ..
            }) if !retried => Outcome::Failed(kind),
            Err(_) => Outcome::Unknown,
        };
        self.repeat_or_end(attempt, outcome);
    }

    fn repeat_or_end(&mut self, attempt: Attempt, outcome: Outcome) {
        let call = &self.record.history.calls[attempt.call];
        let repeatable = call.request.request_id.is_some() && call.attempts < ATTEMPTS_MAX;
        if outcome == Outcome::Unknown && repeatable && !self.clients.stopped {
            self.move_client(attempt.client);
            self.attempt(attempt.client, attempt.call, false);
            return;
        }
        self.end_call(attempt.client, attempt.call, outcome);
    }

    fn end_call(&mut self, client: usize, index: usize, outcome: Outcome) {
        let view = self.view_of(self.record.history.calls[index].node);
        let call = &mut self.record.history.calls[index];
        call.views.1 = view;
        if outcome != Outcome::Unknown || !call.is_write() {
            call.responded = self.now;
        }
        call.outcome = outcome;
        let answered = call.reply().is_some();
        let repeatable = call.request.request_id.is_some();
        self.clients.workload.learn(call);
        if client >= self.clients.clients.len() || self.clients.clients[client].call != Some(index)
        {
            return;
        }
        self.clients.clients[client].call = None;
        let stops = self.plan.caches[self.record.history.calls[index].cache].stops();
        let undivided = self.plan.profile != Profile::Split || stops;
        if answered && repeatable && undivided && self.clients.rng.percent(8) {
            self.move_client(client);
            self.attempt(client, index, true);
        }
        let think = self.clients.rng.below(self.plan.think);
        self.after(think, Happening::ClientStep(client));
    }

    /// Reads every key of the history at every node, as a client beyond the others.
    pub fn read_everything(&mut self) {
        let mut keys = std::collections::BTreeSet::new();
        for call in &self.record.history.calls {
            if let Some(key) = call.key() {
                keys.insert((
                    call.cache,
                    call.request.cache,
                    call.request.partition,
                    key.clone(),
                ));
            }
        }
        for (cache, id, partition, key) in keys {
            if self.plan.caches[cache].mode == CacheMode::Local {
                continue;
            }
            let get = KeyOperation::Get {
                touch: None,
                omit_value: false,
            };
            for node in 0..self.nodes.len() {
                let operation = Operation::Key {
                    key: key.clone(),
                    operation: get.clone(),
                };
                let request = Request {
                    cache: id,
                    partition,
                    operation,
                    request_id: None,
                };
                let reader = Client { node, call: None };
                self.clients.clients.push(reader);
                let client = self.clients.clients.len() - 1;
                self.ask(client, cache, request);
            }
        }
        if self.plan.ticket_percent > 0 {
            self.look_tickets_up();
        }
        self.write_everywhere();
        self.take_all_locks();
        self.verify_everything(self.plan.seed % 2 == 1);
    }

    /// One call at a node, with all the time that it needs; its place in the history.
    pub fn ask_at(&mut self, node: usize, cache: usize, request: Request) -> usize {
        let call = self.record.history.calls.len();
        self.clients.clients.push(Client { node, call: None });
        let client = self.clients.clients.len() - 1;
        self.ask(client, cache, request);
        call
    }

    /// Has every partition's copies compared, each asked of another node.
    pub fn verify_everything(&mut self, repair: bool) {
        for cache in 0..self.plan.caches.len() {
            let settings = self.plan.caches[cache].clone();
            if settings.mode == CacheMode::Local {
                continue;
            }
            for partition in 0..settings.partitions {
                let node = partition as usize % self.nodes.len();
                let request = Request {
                    cache: settings.id(),
                    partition,
                    operation: Operation::Verify { repair },
                    request_id: None,
                };
                self.ask_at(node, cache, request);
            }
        }
    }

    /// Every node looks tickets up in each partition.
    fn look_tickets_up(&mut self) {
        let place = self.plan.uses.iter().position(|one| *one == Use::Tickets);
        let Some(cache) = place else { return };
        let settings = self.plan.caches[cache].clone();
        for node in 0..self.nodes.len() {
            for partition in 0..settings.partitions {
                for request in crate::tickets::look_ups(&settings, partition) {
                    self.ask_at(node, cache, request);
                }
            }
        }
        self.audit();
    }

    /// The last word: every node can still write to every cache.
    fn write_everywhere(&mut self) {
        for cache in 0..self.plan.caches.len() {
            for node in 0..self.nodes.len() {
                let settings = &self.plan.caches[cache];
                let local = settings.mode == CacheMode::Local;
                if local && self.plan.role(node) == Role::Client {
                    continue;
                }
                let key = Blob::from(format!("z{node}").as_str());
                let partition = partition_of(&key, settings.partitions);
                let operation = KeyOperation::Put {
                    value: Blob::from("last"),
                    flags: 0,
                    expiry: Expiry::Default,
                    condition: Condition::Any,
                    return_previous: false,
                };
                let operation = Operation::Key { key, operation };
                let request = Request {
                    cache: settings.id(),
                    partition,
                    operation,
                    request_id: None,
                };
                self.clients.clients.push(Client { node, call: None });
                let client = self.clients.clients.len() - 1;
                self.ask(client, cache, request);
            }
        }
    }

    /// A node is asked to make a cache, or to drop it.
    pub fn change_cache(&mut self, node: usize, settings: CacheSettings, create: bool) {
        let token = self.clients.token();
        let act = self.record.cache_acts.len();
        self.clients.cache_acts.insert(token, act);
        self.record.cache_acts.push(CacheAct {
            name: settings.name.clone(),
            create,
            asked: self.now,
            answered: None,
        });
        let change = match create {
            true => ViewChange::Create(Box::new(settings)),
            false => ViewChange::Drop(settings.id()),
        };
        self.change_view(node, token, change, 5 * SECOND);
    }

    /// A node is asked to change the view within a time.
    pub fn change_view(&mut self, node: usize, token: u64, change: ViewChange, within: Time) {
        let deadline = self.now + within;
        self.feed(
            node,
            Input::ChangeView {
                token,
                change,
                deadline,
            },
        );
    }

    /// A cache is made or dropped while the cluster runs.
    pub fn cache_step(&mut self) {
        if self.clients.stopped {
            return;
        }
        let made = self.record.cache_acts.len();
        let name = format!("made-{}", made / 2);
        let create = made.is_multiple_of(2);
        let running: Vec<_> = (0..self.nodes.len())
            .filter(|node| self.nodes[*node].runs())
            .collect();
        if let Some(&node) = self.clients.rng.pick(&running) {
            let settings = CacheSettings {
                partitions: 8,
                ..CacheSettings::named(&name)
            };
            self.change_cache(node, settings, create);
        }
        let gap = self.clients.rng.within(4 * SECOND, 12 * SECOND);
        self.after(gap, Happening::CacheStep);
    }

    pub fn view_changed(&mut self, node: usize, token: u64, result: Result<()>) {
        self.log.note(
            self.now,
            node,
            9,
            format_args!("change {token}: {result:?}"),
        );
        if self.clients.drains.remove(&token) {
            return;
        }
        let Some(act) = self.clients.cache_acts.remove(&token) else {
            self.broken.push(format!(
                "n{node} answers the cache change {token} twice or unasked"
            ));
            return;
        };
        self.record.cache_acts[act].answered = Some((self.now, result.map_err(|error| error.kind)));
    }
}
