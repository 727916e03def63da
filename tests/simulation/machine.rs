//! One simulated node: its machine's clocks, its process (an engine, or none), and what waits for
//! a process that stands still.

use crate::clock::{Clock, Time};
use crate::shell::Recorder;
use embergrid::engine::{Grid, GridOptions, ProbeOutcome};
use embergrid::error::Result;
use embergrid::types::message::{Message, ViewChange};
use embergrid::types::protocol::PROTOCOL_VERSION;
use embergrid::types::transaction::Begin;
use embergrid::types::{
    CacheId, ClusterTime, Execute, Incarnation, KeyOperation, KeyPlace, Member, Monotonic, NodeId,
    NodeInfo, Reply, Request, RequestId, TransactionId, View,
};
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

/// What is asked of a transaction of several calls.
#[derive(Debug)]
pub enum Act {
    Begin(Begin),
    Operate(Vec<(KeyPlace, KeyOperation)>),
    Commit,
    RollBack,
}

/// Does what is asked of a transaction that was opened in this life of the node.
pub fn act_in_session(
    grid: &Grid,
    (opened, session): (&mut BTreeMap<u64, TransactionId>, u64),
    act: Act,
    (deadline, now): (Monotonic, Monotonic),
    token: u64,
) -> Option<Result<Reply>> {
    let mut token = || token;
    if let Act::Begin(begin) = act {
        // Where it is refused, its first operation is.
        if let Ok(id) = grid.begin_transaction(begin, now) {
            opened.insert(session, id);
        }
        return None;
    }
    let id = opened.get(&session).copied().unwrap_or_default();
    match act {
        Act::Operate(operations) => grid.operate(id, operations, deadline, now, &mut token),
        Act::Commit => grid.commit(id, deadline, now, &mut token),
        Act::RollBack => grid.roll_back(id, deadline, now, &mut token),
        Act::Begin(_) => None,
    }
}

/// What can come to an engine.
#[derive(Debug)]
pub enum Input {
    Timeout,
    Probe(usize, ProbeOutcome),
    LinkUp(NodeInfo),
    LinkDown(Member, bool),
    Message(Member, Message),
    /// A request of a client: the token is the attempt's, the time its deadline.
    Submit {
        attempt: u64,
        request: Request,
        deadline: Time,
    },
    /// A transaction of a teller.
    Execute {
        token: u64,
        execute: Execute,
        id: Option<RequestId>,
        deadline: Time,
    },
    Look {
        token: u64,
        keys: Vec<KeyPlace>,
        deadline: Time,
    },
    /// A call of a writer, in a transaction that it numbers.
    Session {
        token: u64,
        session: u64,
        act: Act,
        deadline: Time,
    },
    ChangeView {
        token: u64,
        change: ViewChange,
        deadline: Time,
    },
    Watch {
        cache: CacheId,
        partition: u32,
    },
    Leave,
}

pub struct Process {
    pub grid: Grid,
    pub shell: Arc<Recorder>,
    pub info: NodeInfo,
}

pub struct Machine {
    pub index: usize,
    pub clock: Clock,
    pub process: Option<Process>,
    /// The version of the protocol that its process speaks.
    pub protocol: u32,
    /// The transactions that its process has begun, by their numbers.
    pub opened: BTreeMap<u64, TransactionId>,
    /// How many processes there have been.
    pub lives: u64,
    pub paused: bool,
    /// What waits for a process that stands still.
    pub inbox: VecDeque<Input>,
    /// When the engine is called next for what is due.
    pub wake: Option<Time>,
    /// Calls of `on_timeout` without virtual time passing: an engine that spins.
    pub spins: u32,
    /// Whether the last input was such a call.
    pub timed: bool,
    pub leaving: bool,
    /// It was told to hand over and to leave then.
    pub draining: bool,
}

impl Machine {
    pub fn new(index: usize, clock: Clock) -> Self {
        Self {
            index,
            clock,
            process: None,
            protocol: PROTOCOL_VERSION,
            opened: BTreeMap::new(),
            lives: 0,
            paused: false,
            inbox: VecDeque::new(),
            wake: None,
            spins: 0,
            timed: false,
            draining: false,
            leaving: false,
        }
    }

    /// The cluster time of its process at a moment.
    pub fn cluster_time(&self, now: Time) -> ClusterTime {
        let mono = self.clock.mono(now);
        let process = self.process.as_ref();
        process.map_or_else(ClusterTime::default, |process| {
            process.grid.now(mono).cluster
        })
    }

    /// Starts an empty process under the same id with the next incarnation.
    pub fn start(&mut self, mut options: GridOptions, seed: u64, now: Time) -> Member {
        self.lives += 1;
        self.draining = false;
        self.opened.clear();
        let name = format!("node-{}", self.index);
        let member = Member {
            id: NodeId::of(&name),
            incarnation: Incarnation(self.lives),
        };
        let info = NodeInfo {
            member,
            consistent_id: name,
            address: format!("10.0.0.{}:47500", self.index + 1),
            program_version: "simulated".to_owned(),
            started_at: self.clock.wall(now),
            role: options.me.role,
            protocol: self.protocol,
            lease: options.lease,
            ..NodeInfo::default()
        };
        options.me = info.clone();
        let shell = Arc::new(Recorder::default());
        let mono = self.clock.mono(now);
        let wall = self.clock.wall(now);
        let grid = Grid::new(options, seed, shell.clone(), mono, wall);
        self.process = Some(Process { grid, shell, info });
        self.paused = false;
        self.leaving = false;
        self.wake = None;
        self.inbox.clear();
        member
    }

    /// Ends the process, as a kill does.
    pub fn stop(&mut self) -> Option<Process> {
        self.paused = false;
        self.wake = None;
        self.inbox.clear();
        self.process.take()
    }

    pub fn up(&self) -> bool {
        self.process.is_some()
    }

    /// Whether its process answers.
    pub fn runs(&self) -> bool {
        self.up() && !self.paused
    }

    pub fn member(&self) -> Option<Member> {
        self.process.as_ref().map(|process| process.info.member)
    }

    pub fn info(&self) -> Option<NodeInfo> {
        self.process.as_ref().map(|process| process.info.clone())
    }

    /// The committed view; none without a process or before the first.
    pub fn view(&self) -> Option<Arc<View>> {
        let view = self.process.as_ref()?.grid.view();
        (view.version.number > 0).then_some(view)
    }
}
