//! Writers: clients that read lists and append to them, in transactions of several calls. Every
//! element is appended once, so what is read says whose writes came before: `checkers/serial.rs`
//! makes an order of it, or finds that there is none.

use crate::clock::{MS, SECOND, Time};
use crate::machine::{Act, Input};
use crate::rng::Rng;
use crate::session::{End, STRICT, Session};
use crate::world::{Happening, World};
use embergrid::error::{Applied, Error, Result};
use embergrid::types::transaction::{Begin, Concurrency, Isolation};
use embergrid::types::{Blob, Change, Condition, Expiry, KeyOperation, KeyPlace, Reply};
use std::collections::BTreeMap;

/// Lists that READ_COMMITTED transactions write.
const LOOSE: usize = 4;
/// Tokens of calls: far from those of other clients.
const FIRST_TOKEN: u64 = 1 << 41;
/// An answer may come so much after the deadline, and no later.
const GRACE: Time = SECOND;
/// How often the last look is tried.
const LOOKS_MAX: u32 = 6;

/// What a call is about.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Call {
    Read(usize),
    Append(usize, u64),
    /// The list was not there.
    Found(usize, u64),
    Commit,
    Rollback,
}

/// A call that waits for its answer.
#[derive(Clone, Debug)]
struct Waiting {
    writer: Option<usize>,
    session: usize,
    node: usize,
    call: Call,
    deadline: Time,
    gone: bool,
    /// What is still to do.
    left: Vec<Call>,
    looks: u32,
}

#[derive(Default)]
pub struct Writers {
    rng: Option<Rng>,
    waiting: BTreeMap<u64, Waiting>,
    next: u64,
    element: u64,
}

impl Writers {
    pub fn of(seed: u64) -> Self {
        Self {
            rng: Some(Rng::stream(seed, "writers")),
            next: FIRST_TOKEN,
            ..Self::default()
        }
    }

    fn rng(&mut self) -> &mut Rng {
        self.rng.get_or_insert_with(|| Rng::stream(0, "writers"))
    }

    pub fn node_gone(&mut self, node: usize) -> Vec<u64> {
        let waiting = self.waiting.iter_mut();
        let waiting = waiting.filter(|(_, waiting)| waiting.node == node);
        waiting
            .map(|(token, waiting)| {
                waiting.gone = true;
                *token
            })
            .collect()
    }
}

impl World {
    fn list(&self, list: usize) -> KeyPlace {
        let caches = &self.record.bank;
        let name = format!("list-{list}");
        self.place(caches[list % caches.len()], &name)
    }

    /// All lists.
    pub fn lists(&self) -> Vec<KeyPlace> {
        (0..STRICT + LOOSE).map(|list| self.list(list)).collect()
    }

    pub fn open_lists(&mut self) {
        if self.record.bank.is_empty() {
            return;
        }
        for writer in 0..self.plan.writers {
            let at = self.plan.clients_start + SECOND + self.writers.rng().below(500 * MS);
            self.at(at, Happening::WriterStep(writer));
        }
    }

    pub fn writer_step(&mut self, writer: usize) {
        if self.clients.stopped {
            return;
        }
        let up: Vec<usize> = (0..self.nodes.len())
            .filter(|node| self.nodes[*node].up())
            .collect();
        let rng = self.writers.rng();
        let node = rng.pick(&up).copied().unwrap_or_default();
        let strict = rng.percent(70);
        let isolation = match (strict, rng.percent(50)) {
            (true, true) => Isolation::Serializable,
            (true, false) => Isolation::RepeatableRead,
            (false, _) => Isolation::ReadCommitted,
        };
        let concurrency = if rng.percent(50) {
            Concurrency::Pessimistic
        } else {
            Concurrency::Optimistic
        };
        let concurrency = self.plan.writers_lock.unwrap_or(concurrency);
        let lists = if strict {
            0..STRICT
        } else {
            STRICT..STRICT + LOOSE
        };
        let mut left = Vec::new();
        for _ in 0..rng.within(1, 4) {
            let list = lists.start + rng.index(lists.len());
            if rng.percent(50) {
                left.push(Call::Read(list));
            } else {
                left.push(Call::Append(list, 0));
            }
        }
        let end = if rng.percent(10) {
            Call::Rollback
        } else {
            Call::Commit
        };
        left.push(end);
        for call in &mut left {
            if let Call::Append(_, element) = call {
                self.writers.element += 1;
                *element = self.writers.element;
            }
        }
        self.begin_session(Some(writer), node, (concurrency, isolation), left, 0);
    }

    /// Every node looks at all lists.
    pub fn read_all_lists(&mut self) {
        if self.record.bank.is_empty() {
            return;
        }
        for node in 0..self.nodes.len() {
            self.look_at_lists(node, 0);
        }
    }

    pub fn look_at_lists(&mut self, node: usize, looks: u32) {
        let lists = (0..STRICT + LOOSE).map(Call::Read);
        let left = lists.chain([Call::Commit]).collect();
        let kind = (Concurrency::Optimistic, Isolation::Serializable);
        self.begin_session(None, node, kind, left, looks);
    }

    fn begin_session(
        &mut self,
        writer: Option<usize>,
        node: usize,
        (concurrency, isolation): (Concurrency, Isolation),
        left: Vec<Call>,
        looks: u32,
    ) {
        let session = self.record.sessions.len();
        self.record.sessions.push(Session {
            concurrency,
            isolation,
            reads: Vec::new(),
            appends: Vec::new(),
            end: End::Aborted,
            invoked: self.now,
            responded: Time::MAX,
            last: writer.is_none(),
        });
        let begin = Begin {
            concurrency,
            isolation,
            timeout: 3 * SECOND,
            label: String::new(),
        };
        let act = Act::Begin(begin);
        let token = 0;
        self.feed(
            node,
            Input::Session {
                token,
                session: session as u64,
                act,
                deadline: self.now + SECOND,
            },
        );
        self.next_call(Waiting {
            writer,
            session,
            node,
            call: Call::Commit,
            deadline: 0,
            gone: false,
            left,
            looks,
        });
    }

    fn next_call(&mut self, mut waiting: Waiting) {
        if waiting.left.is_empty() {
            return;
        }
        waiting.call = waiting.left.remove(0);
        waiting.deadline = self.now + crate::workload::patience(self.writers.rng());
        waiting.gone = !self.nodes[waiting.node].up();
        let act = self.act(&waiting.call);
        self.writers.next += 1;
        let token = self.writers.next;
        let until = if waiting.gone {
            self.now + MS
        } else {
            waiting.deadline + GRACE
        };
        let (node, session) = (waiting.node, waiting.session as u64);
        let deadline = waiting.deadline;
        if let Call::Commit = waiting.call {
            // From here on it may be done.
            self.record.sessions[waiting.session].end = End::Unknown;
        }
        self.writers.waiting.insert(token, waiting);
        self.at(until, Happening::WriterTimeout(token));
        self.feed(
            node,
            Input::Session {
                token,
                session,
                act,
                deadline,
            },
        );
    }

    fn act(&self, call: &Call) -> Act {
        let text = |element: u64| Blob::from(format!("{element},").as_str());
        let (list, operation) = match call {
            Call::Commit => return Act::Commit,
            Call::Rollback => return Act::RollBack,
            Call::Read(list) => (
                *list,
                KeyOperation::Get {
                    touch: None,
                    omit_value: false,
                },
            ),
            Call::Append(list, element) => (
                *list,
                KeyOperation::Modify {
                    change: Change::Append(text(*element)),
                    expiry: Expiry::Keep,
                    condition: Condition::Any,
                },
            ),
            Call::Found(list, element) => (
                *list,
                KeyOperation::Put {
                    value: text(*element),
                    flags: 0,
                    expiry: Expiry::Default,
                    condition: Condition::Absent,
                    return_previous: false,
                },
            ),
        };
        Act::Operate(vec![(self.list(list), operation)])
    }

    pub fn writer_timeout(&mut self, token: u64) {
        let Some(waiting) = self.writers.waiting.remove(&token) else {
            return;
        };
        let stood = |&(from, until, node): &(Time, Time, usize)| {
            node == waiting.node
                && from <= waiting.deadline + GRACE
                && until + GRACE >= waiting.deadline
        };
        if !waiting.gone && !self.record.pauses.iter().any(stood) {
            self.broken.push(format!(
                "n{} does not answer a call of a transaction until {} µs",
                waiting.node, waiting.deadline
            ));
        }
        self.session_over(waiting, None);
    }

    /// Whether the answer was for a writer.
    pub fn writer_completed(&mut self, token: u64, result: &Result<Reply>) -> bool {
        let Some(mut waiting) = self.writers.waiting.remove(&token) else {
            return token >= FIRST_TOKEN;
        };
        let replies = match result {
            Ok(Reply::Executed { replies, .. }) => replies,
            Ok(_) => return true,
            Err(error) => {
                self.session_over(waiting, Some(error));
                return true;
            }
        };
        let session = &mut self.record.sessions[waiting.session];
        match (&waiting.call, replies.first()) {
            (Call::Commit, _) => {
                session.end = End::Committed;
                session.responded = self.now;
                self.after_session(&waiting);
                return true;
            }
            (Call::Rollback, _) => {
                self.after_session(&waiting);
                return true;
            }
            (Call::Read(list), Some(Reply::Got { entry })) => {
                let value = entry.as_ref().map(|entry| &entry.value[..]);
                session.read(*list, value.unwrap_or_default());
            }
            (Call::Append(list, element), Some(Reply::Modified { applied, value, .. })) => {
                if *applied {
                    session.appends.push((*list, *element));
                    session.read(*list, value);
                } else {
                    waiting.left.insert(0, Call::Found(*list, *element));
                }
            }
            (Call::Found(list, element), Some(Reply::Put { applied, .. })) => {
                if *applied {
                    session.read(*list, b"");
                    session.appends.push((*list, *element));
                } else {
                    // Somebody was faster, which READ_COMMITTED allows.
                    waiting.left = vec![Call::Rollback];
                }
            }
            _ => self
                .broken
                .push(format!("n{} answers otherwise", waiting.node)),
        }
        self.next_call(waiting);
        true
    }

    fn session_over(&mut self, waiting: Waiting, error: Option<&Error>) {
        let commits = waiting.call == Call::Commit;
        let not_applied = error.is_some_and(|error| error.applied == Applied::NotApplied);
        if commits && not_applied {
            self.record.sessions[waiting.session].end = End::Aborted;
        }
        if !commits && waiting.call != Call::Rollback && !waiting.gone && error.is_some() {
            // It may go on; this one does not.
            self.next_call(Waiting {
                left: vec![Call::Rollback],
                ..waiting
            });
            return;
        }
        self.after_session(&waiting);
    }

    fn after_session(&mut self, waiting: &Waiting) {
        if let Some(writer) = waiting.writer {
            let think = self.writers.rng().below(200 * MS);
            self.after(think, Happening::WriterStep(writer));
            return;
        }
        let done = self.record.sessions[waiting.session].end == End::Committed;
        if !done && !waiting.gone && waiting.looks < LOOKS_MAX {
            // All nodes that look at the same moment are in each other's way.
            let pause = self.writers.rng().below(200 * MS);
            let again = Happening::LookAtLists(waiting.node, waiting.looks + 1);
            self.after(pause, again);
        }
    }
}

impl Session {
    /// What was there of others: its own elements came behind.
    fn read(&mut self, list: usize, value: &[u8]) {
        let own = |element: &u64| self.appends.iter().any(|(_, own)| own == element);
        let text = String::from_utf8_lossy(value);
        let elements = text.split(',').filter_map(|element| element.parse().ok());
        let seen = elements.filter(|element| !own(element)).collect();
        self.reads.push((list, seen));
    }
}
