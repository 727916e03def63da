//! The world: virtual time, the queue of what happens next, and the nodes. One thread, one seed;
//! every order is that of (time, sequence). Probing, faults, clients and samples are in files of
//! their own, as further methods of the world.

use crate::bank::Bank;
use crate::clients::Clients;
use crate::clock::{Clock, MS, SECOND, Time};
use crate::faults::FaultKind;
use crate::lockers::Lockers;
use crate::log::{Detail, Log};
use crate::machine::{Input, Machine, act_in_session};
use crate::network::{Flight, Network};
use crate::plan::Plan;
use crate::record::{Life, Record, Seen};
use crate::rng::Rng;
use crate::shell::Effect;
use crate::writers::Writers;
use embergrid::engine::{GridOptions, Notice, ProbeOutcome};
use embergrid::types::message::{Body, Message};
use embergrid::types::protocol::PROTOCOL_VERSION;
use embergrid::types::{Member, NodeInfo, RequestId};
use std::collections::{BTreeMap, BTreeSet};

/// What may happen.
#[derive(Debug)]
pub enum Happening {
    Start(usize),
    Resume(usize),
    Wake {
        node: usize,
        member: Member,
    },
    ProbeLeaves {
        node: usize,
        member: Member,
        endpoint: usize,
    },
    ProbeArrives {
        node: usize,
        member: Member,
        endpoint: usize,
        dial: bool,
    },
    ProbeEnds {
        node: usize,
        member: Member,
        endpoint: usize,
        outcome: ProbeOutcome,
    },
    Arrival(Box<Flight>),
    /// A link whose packets do not pass is given up.
    LinkTimeout {
        a: usize,
        b: usize,
        link: u64,
    },
    /// The system of a dead process answers the survivor.
    LinkReset {
        dead: usize,
        survivor: usize,
        link: u64,
        gone: Member,
    },
    ClientStep(usize),
    ClientTimeout(u64),
    TellerStep(usize),
    TellerTimeout(u64),
    LockerStep(usize),
    LockerTimeout(u64),
    WriterStep(usize),
    /// A node looks at all lists; how often it has in vain.
    LookAtLists(usize, u32),
    WriterTimeout(u64),
    CacheStep,
    Rewatch {
        node: usize,
        member: Member,
        cache: embergrid::types::CacheId,
        partition: u32,
    },
    Fault(usize),
    FaultEnds(FaultKind, usize),
    /// An operator gives up a majority that is lost.
    ForcePrimary,
    FaultsEnd,
    ClientsEnd,
    Sample,
}

/// At most so many calls of `on_timeout` at one moment.
const SPINS_MAX: u32 = 200;
/// A run needs some 100,000 messages; who sends so many does not come to rest.
const MESSAGES_MAX: u64 = 2_000_000;

pub struct World {
    pub now: Time,
    pub plan: Plan,
    queue: BTreeMap<(Time, u64), Happening>,
    sequence: u64,
    pub nodes: Vec<Machine>,
    pub network: Network,
    pub clients: Clients,
    pub bank: Bank,
    pub lockers: Lockers,
    pub writers: Writers,
    pub record: Record,
    pub log: Log,
    /// Dice for faults.
    pub dice: Rng,
    engine_seeds: Rng,
    /// Writes that each node has forwarded.
    forwarded: BTreeSet<(usize, RequestId)>,
    /// Contradictions that show while the world runs.
    pub broken: Vec<String>,
}

impl World {
    pub fn new(plan: Plan, detail: Detail) -> Self {
        let seed = plan.seed;
        let mut clocks = Rng::stream(seed, "clocks");
        let nodes = (0..plan.nodes).map(|index| Machine::new(index, Clock::random(&mut clocks)));
        let mut world = Self {
            now: 0,
            queue: BTreeMap::new(),
            sequence: 0,
            nodes: nodes.collect(),
            network: Network::new(plan.nodes, Rng::stream(seed, "network")),
            clients: Clients::new(&plan),
            bank: Bank::of(seed),
            lockers: Lockers::of(seed),
            writers: Writers::of(seed),
            record: Record::of(&plan),
            log: Log::new(detail),
            dice: Rng::stream(seed, "faults"),
            engine_seeds: Rng::stream(seed, "engines"),
            forwarded: BTreeSet::new(),
            broken: Vec::new(),
            plan,
        };
        world.schedule_plan();
        world
    }

    pub fn at(&mut self, time: Time, happening: Happening) {
        self.sequence += 1;
        self.queue
            .insert((time.max(self.now), self.sequence), happening);
    }

    pub fn after(&mut self, span: Time, happening: Happening) {
        self.at(self.now + span, happening);
    }

    fn schedule_plan(&mut self) {
        for (node, at) in self.plan.starts.clone().into_iter().enumerate() {
            self.at(at, Happening::Start(node));
        }
        for index in 0..self.plan.faults.len() {
            self.at(self.plan.faults[index].0, Happening::Fault(index));
        }
        for client in 0..self.plan.clients {
            let at = self.plan.clients_start + self.clients.rng.below(100 * MS);
            self.at(at, Happening::ClientStep(client));
        }
        self.open_bank();
        self.open_locks();
        self.at(self.plan.clients_start + SECOND, Happening::CacheStep);
        self.at(self.plan.faults_end, Happening::FaultsEnd);
        self.at(self.plan.clients_end, Happening::ClientsEnd);
        self.at(100 * MS, Happening::Sample);
    }

    /// Runs until a point of virtual time.
    pub fn run_until(&mut self, end: Time) {
        self.run_while(end, |_| true);
        self.now = self.now.max(end);
    }

    /// Runs until a point of virtual time, as long as something holds.
    pub fn run_while(&mut self, end: Time, holds: impl Fn(&Self) -> bool) {
        while self.broken.is_empty() && holds(self) {
            let Some((&(at, sequence), _)) = self.queue.first_key_value() else {
                break;
            };
            if at > end {
                break;
            }
            let Some(happening) = self.queue.remove(&(at, sequence)) else {
                break;
            };
            self.now = at;
            self.happen(happening);
        }
    }

    fn happen(&mut self, happening: Happening) {
        match happening {
            Happening::Start(node) => self.start(node),
            Happening::Resume(node) => self.resume(node),
            Happening::Wake { node, member } => self.wake(node, member),
            Happening::ProbeLeaves {
                node,
                member,
                endpoint,
            } => self.probe_leaves(node, member, endpoint),
            Happening::ProbeArrives {
                node,
                member,
                endpoint,
                dial,
            } => self.probe_arrives(node, member, endpoint, dial),
            Happening::ProbeEnds {
                node,
                member,
                endpoint,
                outcome,
            } => self.probe_ends(node, member, endpoint, outcome),
            Happening::Arrival(flight) => self.arrival(*flight),
            Happening::LinkTimeout { a, b, link } => self.link_timeout(a, b, link),
            Happening::LinkReset {
                dead,
                survivor,
                link,
                gone,
            } => self.link_reset(dead, survivor, link, gone),
            Happening::ClientStep(client) => self.client_step(client),
            Happening::ClientTimeout(attempt) => self.client_timeout(attempt),
            Happening::TellerStep(teller) => self.teller_step(teller),
            Happening::TellerTimeout(token) => self.teller_timeout(token),
            Happening::LockerStep(locker) => self.locker_step(locker),
            Happening::LockerTimeout(token) => self.locker_timeout(token),
            Happening::WriterStep(writer) => self.writer_step(writer),
            Happening::LookAtLists(node, looks) => self.look_at_lists(node, looks),
            Happening::WriterTimeout(token) => self.writer_timeout(token),
            Happening::CacheStep => self.cache_step(),
            Happening::Rewatch {
                node,
                member,
                cache,
                partition,
            } => {
                if self.nodes[node].member() == Some(member) {
                    self.feed(node, Input::Watch { cache, partition });
                }
            }
            Happening::Fault(index) => self.fault(index),
            Happening::FaultEnds(kind, node) => self.fault_ends(kind, node),
            Happening::ForcePrimary => self.force_primary(),
            Happening::FaultsEnd => self.faults_end(),
            Happening::ClientsEnd => self.clients.stopped = true,
            Happening::Sample => self.sample(),
        }
    }

    fn start(&mut self, node: usize) {
        if self.nodes[node].up() {
            return;
        }
        let mut options = GridOptions::of(NodeInfo {
            role: self.plan.role(node),
            ..NodeInfo::default()
        });
        options.endpoints = self.nodes.len();
        // Client nodes that introduce others in half of the runs.
        options.force_server_mode = self.plan.seed % 4 < 2;
        options.caches = self.plan.caches.clone();
        options.quorum_of = self.plan.quorum_of;
        options.compare_interval = self.plan.compare_interval;
        let other = (node as u64 + self.nodes[node].lives).is_multiple_of(2);
        if let Some(unequal) = self.plan.unequal.filter(|_| other) {
            (options.ack_timeout, options.lease) = unequal;
        }
        let seed = self.engine_seeds.next();
        if self.plan.two_versions {
            let life = self.nodes[node].lives + 1;
            let older = (node as u64 + life).is_multiple_of(2);
            self.nodes[node].protocol = PROTOCOL_VERSION - u32::from(older);
        }
        let member = self.nodes[node].start(options, seed, self.now);
        self.log
            .note(self.now, node, 1, format_args!("starts as {member}"));
        self.record.lives.push(Life {
            node,
            member,
            from: self.now,
            until: None,
        });
        for endpoint in 0..self.nodes.len() {
            let delay = self.network.rng.below(2 * MS);
            self.after(
                delay,
                Happening::ProbeLeaves {
                    node,
                    member,
                    endpoint,
                },
            );
        }
        self.perform(node);
    }

    /// The process ends without a word.
    pub fn kill(&mut self, node: usize) {
        let Some(process) = self.nodes[node].stop() else {
            return;
        };
        let gone = process.info.member;
        self.log.note(self.now, node, 2, format_args!("ends"));
        let now = self.now;
        let life = self.record.lives.iter_mut().rfind(|life| life.node == node);
        if let Some(life) = life {
            life.until = Some(now);
        }
        for token in self.clients.node_gone(node) {
            self.after(MS, Happening::ClientTimeout(token));
        }
        for token in self.bank.node_gone(node) {
            self.after(MS, Happening::TellerTimeout(token));
        }
        for token in self.lockers.node_gone(node) {
            self.after(MS, Happening::LockerTimeout(token));
        }
        for token in self.writers.node_gone(node) {
            self.after(MS, Happening::WriterTimeout(token));
        }
        for survivor in 0..self.nodes.len() {
            if let Some(link) = self.network.link(node, survivor) {
                let link = link.id;
                let latency = self.network.latency();
                self.after(
                    latency,
                    Happening::LinkReset {
                        dead: node,
                        survivor,
                        link,
                        gone,
                    },
                );
            }
        }
    }

    /// The process stands still for a while.
    pub fn pause(&mut self, node: usize, span: Time) {
        self.nodes[node].paused = true;
        self.log.note(
            self.now,
            node,
            3,
            format_args!("stands still for {span} µs"),
        );
        self.record.pauses.push((self.now, self.now + span, node));
        self.after(span, Happening::Resume(node));
    }

    fn resume(&mut self, node: usize) {
        if !self.nodes[node].paused {
            return;
        }
        self.nodes[node].paused = false;
        self.log.note(self.now, node, 4, format_args!("goes on"));
        let timers_first = self.dice.percent(50);
        if timers_first {
            self.feed(node, Input::Timeout);
        }
        while let Some(input) = self.nodes[node].inbox.pop_front() {
            self.feed(node, input);
            if !self.nodes[node].runs() {
                return;
            }
        }
        self.feed(node, Input::Timeout);
        self.note_division(node);
    }

    fn wake(&mut self, node: usize, member: Member) {
        let machine = &mut self.nodes[node];
        if machine.member() != Some(member) || machine.wake != Some(self.now) {
            return;
        }
        machine.wake = None;
        if machine.paused {
            return;
        }
        self.feed(node, Input::Timeout);
    }

    pub fn arrival(&mut self, flight: Flight) {
        let (from, to) = (flight.from, flight.to);
        let lives = self.network.link(from, to).map(|link| link.lives);
        let Some(message) = self.network.arrive(flight) else {
            return;
        };
        let Some(lives) = lives else { return };
        let sender = lives[usize::from(from > to)];
        self.record.messages += 1;
        self.record.data_messages += u64::from(!matches!(message, Message::Control(_)));
        if self.record.messages == MESSAGES_MAX {
            let at = self.now;
            self.broken
                .push(format!("{MESSAGES_MAX} messages until {at} µs"));
        }
        self.feed(to, Input::Message(sender, message));
    }

    /// Hands an input to a node, at once or when it goes on.
    pub fn feed(&mut self, node: usize, input: Input) {
        if !self.nodes[node].up() {
            return;
        }
        if self.nodes[node].paused {
            self.nodes[node].inbox.push_back(input);
            return;
        }
        self.log
            .note(self.now, node, mark(&input), format_args!("{input:?}"));
        self.nodes[node].timed = matches!(input, Input::Timeout);
        let mono = self.nodes[node].clock.mono(self.now);
        let clock = self.nodes[node].clock.clone();
        let Machine {
            process, opened, ..
        } = &mut self.nodes[node];
        let Some(process) = process else {
            return;
        };
        let grid = &process.grid;
        let mut answered = None;
        match input {
            Input::Timeout => grid.on_timeout(mono),
            Input::Probe(endpoint, outcome) => grid.on_probe(endpoint, outcome, mono),
            Input::LinkUp(info) => grid.on_link_up(info, mono),
            Input::LinkDown(peer, refused) => grid.on_link_down(peer, refused, mono),
            Input::Message(from, message) => grid.on_message(from, message, mono),
            Input::Submit {
                attempt,
                request,
                deadline,
            } => {
                let result = grid.submit(request, clock.mono(deadline), mono, &mut || attempt);
                answered = result.map(|result| (attempt, result));
            }
            Input::Execute {
                token,
                execute,
                id,
                deadline,
            } => {
                let result = grid.execute(execute, id, clock.mono(deadline), mono, &mut || token);
                answered = result.map(|result| (token, result));
            }
            Input::Look {
                token,
                keys,
                deadline,
            } => {
                let result = grid.look(keys, false, clock.mono(deadline), mono, &mut || token);
                answered = result.map(|result| (token, result));
            }
            Input::Session {
                token,
                session,
                act,
                deadline,
            } => {
                let at = clock.mono(deadline);
                let result = act_in_session(grid, (opened, session), act, (at, mono), token);
                answered = result.map(|result| (token, result));
            }
            Input::ChangeView {
                token,
                change,
                deadline,
            } => {
                grid.change_view(change, token, clock.mono(deadline), mono);
            }
            Input::Watch { cache, partition } => grid.watch(cache, partition, None, mono),
            Input::Leave => grid.leave(mono),
        }
        self.perform(node);
        if let Some((attempt, result)) = answered {
            self.completed(node, attempt, result);
        }
    }

    /// Does what the engine of a node asked for, and finds out when it wants to be called.
    fn perform(&mut self, node: usize) {
        let Some(process) = &self.nodes[node].process else {
            return;
        };
        let member = process.info.member;
        let shell = process.shell.clone();
        let effects = shell.drain();
        // Whoever gets an answer may ask again at once, and what watchers see of that comes later.
        for effect in &effects {
            match effect {
                Effect::Events(delivery) => {
                    self.seen(node, member, Seen::Events(delivery.clone()));
                }
                Effect::WatchLost(cache, partition) => {
                    self.seen(node, member, Seen::Lost(*cache, *partition));
                }
                _ => {}
            }
        }
        for effect in effects {
            match effect {
                Effect::Send(to, message) => self.send(node, to, message),
                Effect::Complete(token, result) => self.completed(node, token, result),
                Effect::ViewChanged(token, result) => self.view_changed(node, token, result),
                Effect::Dial(peer) => self.dial(node, member, &peer),
                Effect::Events(_) => {}
                Effect::WatchLost(cache, partition) => self.watch_again(node, cache, partition),
                Effect::Notice(notice) => self.notice(node, notice),
            }
        }
        self.plan_wake(node, member);
    }

    fn plan_wake(&mut self, node: usize, member: Member) {
        let machine = &mut self.nodes[node];
        let Some(process) = &machine.process else {
            return;
        };
        let Some(point) = process.grid.next_timeout() else {
            return;
        };
        let mut at = machine.clock.reached(point);
        if at <= self.now {
            machine.spins += u32::from(machine.timed);
            at = self.now + 1;
        } else {
            machine.spins = 0;
        }
        if machine.spins > SPINS_MAX {
            machine.spins = 0;
            self.broken.push(format!(
                "n{node} asks for on_timeout again and again at {} µs",
                self.now
            ));
        }
        if machine
            .wake
            .is_none_or(|wake| at < wake || wake <= self.now)
        {
            machine.wake = Some(at);
            self.at(at, Happening::Wake { node, member });
        }
    }

    fn send(&mut self, node: usize, to: Member, message: Message) {
        self.note_leader(node, &message);
        self.note_forward(node, &message);
        let target = self
            .nodes
            .iter()
            .position(|peer| crate::probing::id_of(peer.index) == to.id);
        let Some(target) = target else {
            self.broken
                .push(format!("n{node} sends to a stranger {to}"));
            return;
        };
        if target == node {
            self.broken
                .push(format!("n{node} sends to itself: {message:?}"));
            return;
        }
        let spoken = self.nodes[node].protocol.min(self.nodes[target].protocol);
        if message.since() > spoken {
            self.record.left_out += 1;
            return;
        }
        for (at, link, lane) in self.network.send(node, target, to, &message, self.now) {
            let flight = Flight {
                link,
                from: node,
                to: target,
                lane,
                message: message.clone(),
            };
            self.at(at, Happening::Arrival(Box::new(flight)));
        }
    }

    /// Some messages only the primary sends: one node for each topology version.
    fn note_leader(&mut self, node: usize, message: &Message) {
        let Message::Data(data) = message else { return };
        if !matches!(
            data.body,
            Body::AskTail | Body::Reset(_) | Body::Replicate(_)
        ) {
            return;
        }
        let place = (data.cache, data.partition, data.topology);
        let leader = *self.record.leaders.entry(place).or_insert(node);
        if leader != node {
            self.record
                .rivals
                .push((place.0, place.1, place.2, leader, node));
        }
    }

    /// A write that a node forwards for the second time may be applied on two sides of a split.
    fn note_forward(&mut self, node: usize, message: &Message) {
        let Message::Forward(forward) = message else {
            return;
        };
        if let Some(id) = forward.request.request_id
            && !self.forwarded.insert((node, id))
        {
            self.record.forwarded_again.push((self.now, node, id));
        }
    }

    fn notice(&mut self, node: usize, notice: Notice) {
        let words = match &notice {
            Notice::View(view) => {
                self.record.views.push((self.now, node, view.clone()));
                let members: Vec<_> = view
                    .nodes
                    .iter()
                    .map(|node| (&node.consistent_id, node.member.incarnation.0))
                    .collect();
                format!("view {:?} of {members:?}", view.version)
            }
            other => format!("{other:?}"),
        };
        self.log
            .note(self.now, node, 5, format_args!("notices {words}"));
        if let (Notice::View(_), Some(member)) = (&notice, self.nodes[node].member()) {
            self.watch_from(node, member);
        }
        if matches!(notice, Notice::View(_) | Notice::Unfenced) {
            self.note_division(node);
        }
        let left = matches!(notice, Notice::Left);
        if !matches!(notice, Notice::View(_)) {
            self.record.notices.push((self.now, node, notice.clone()));
        }
        if matches!(notice, Notice::CannotForm(_)) || left {
            self.kill(node);
            let soon = self.now >= self.plan.faults_end;
            let rest = self
                .dice
                .within(MS, if soon { 200 * MS } else { 3 * SECOND });
            self.after(rest, Happening::Start(node));
        }
    }
}

/// A cheap number of an input for the terse hash.
fn mark(input: &Input) -> u64 {
    match input {
        Input::Timeout => 10,
        Input::Probe(endpoint, _) => 100 + *endpoint as u64,
        Input::LinkUp(_) => 12,
        Input::LinkDown(_, refused) => 13 + u64::from(*refused),
        Input::Message(from, _) => from.id.0,
        Input::Submit { attempt, .. } => 1_000 + attempt,
        Input::Execute { token, .. } => 4_000 + token,
        Input::Look { token, .. } => 5_000 + token,
        Input::Session { token, .. } => 6_000 + token,
        Input::ChangeView { token, .. } => 2_000 + token,
        Input::Watch { partition, .. } => 3_000 + u64::from(*partition),
        Input::Leave => 15,
    }
}
