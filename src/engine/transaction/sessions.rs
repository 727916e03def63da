//! Transactions of several calls, among all that this node has begun: see [`super::session`].

use super::session::{Asked, Commit, Session, no_transaction};
use super::{Begun, Running, Task, Transactions};
use crate::error::{Error, Result};
use crate::types::transaction::{Begin, OpenTransaction};
use crate::types::{KeyPlace, Member, Monotonic, Now, PartitionId, Reply, TransactionId};

/// The most transactions of several calls that one node knows, with those that ended lately.
pub const SESSIONS_MAX: usize = 16_384;

impl Transactions {
    /// Begins a transaction of several calls.
    ///
    /// # Errors
    ///
    /// `Overloaded` where this node knows as many as it may.
    pub fn begin(
        &mut self,
        begin: Begin,
        topology: u64,
        initiator: Member,
        now: Now,
    ) -> Result<TransactionId> {
        if self.sessions.len() >= SESSIONS_MAX {
            let context = "this node has as many transactions open as it may";
            return Err(Error::overloaded(context));
        }
        let id = self.id(topology, initiator);
        self.keep_session(Session::new(id, begin, now));
        Ok(id)
    }

    fn keep_session(&mut self, session: Session) {
        let sequence = session.id.sequence;
        self.sessions_due.insert((session.due(), sequence));
        self.sessions.insert(sequence, session);
    }

    /// Works with one that is known, and keeps it.
    fn with_session<T>(
        &mut self,
        id: TransactionId,
        input: impl FnOnce(&mut Session) -> T,
    ) -> Result<T> {
        let known = self.sessions.get(&id.sequence);
        if known.is_none_or(|session| session.id.age() != id.age()) {
            return Err(no_transaction());
        }
        let Some(mut session) = self.sessions.remove(&id.sequence) else {
            return Err(no_transaction());
        };
        self.sessions_due.remove(&(session.due(), id.sequence));
        let done = input(&mut session);
        self.keep_session(session);
        Ok(done)
    }

    /// Carries operations out in one of them.
    ///
    /// # Errors
    ///
    /// Whatever can be said at once.
    pub fn operate(
        &mut self,
        id: TransactionId,
        asked: Vec<Asked>,
        token: u64,
        deadline: Monotonic,
        now: Now,
    ) -> Result<Vec<Task>> {
        self.with_session(id, |session| session.operate(asked, token, deadline, now))?
    }

    /// Makes visible what one of them wrote.
    ///
    /// # Errors
    ///
    /// Whatever can be said at once.
    pub fn commit(
        &mut self,
        id: TransactionId,
        local: impl Fn(PartitionId) -> bool,
        token: u64,
        deadline: Monotonic,
        now: Now,
    ) -> Result<Vec<Task>> {
        let (commit, id, until) = self.with_session(id, |session| {
            let commit = session.commit(token, deadline, now);
            (commit, session.id, session.deadline)
        })?;
        let execute = match commit? {
            Commit::Tasks(tasks) => return Ok(tasks),
            Commit::Execute(execute) => execute,
        };
        let places = execute.places().map(KeyPlace::partition_id);
        let status = places.into_iter().find(|partition| !local(*partition));
        let begun = Begun {
            token,
            request_id: None,
            deadline: deadline.min(until),
            topology: id.topology,
            initiator: id.initiator,
        };
        let (running, tasks) = Running::execute(id, &execute, status, begun, now);
        self.insert(running);
        Ok(tasks)
    }

    /// Drops what one of them wrote.
    ///
    /// # Errors
    ///
    /// `FailedPrecondition` where it commits, or has; `NotFound` where it is not known.
    pub fn roll_back(&mut self, id: TransactionId, token: u64) -> Result<Vec<Task>> {
        self.with_session(id, |session| session.roll_back(token))?
    }

    /// A partition has answered a call.
    pub(super) fn on_call_answer(
        &mut self,
        id: TransactionId,
        partition: PartitionId,
        result: Result<Reply>,
        now: Now,
    ) -> Vec<Task> {
        self.with_session(id, |session| session.on_answer(id, partition, result, now))
            .unwrap_or_default()
    }

    /// Where a commit has ended, its transaction has.
    pub(super) fn end_session(&mut self, sequence: u64, tasks: Vec<Task>) -> Vec<Task> {
        let Some(id) = self.sessions.get(&sequence).map(|session| session.id) else {
            return tasks;
        };
        let mut all = Vec::with_capacity(tasks.len());
        for task in tasks {
            match task {
                Task::Answer { token, result } => {
                    let ended = self.with_session(id, |session| session.committed(&result));
                    let (result, more) = ended.unwrap_or((result, Vec::new()));
                    all.extend(more);
                    all.push(Task::Answer { token, result });
                }
                ask => all.push(ask),
            }
        }
        all
    }

    /// Everything of them that is due.
    pub(super) fn sessions_timeout(&mut self, now: Now) -> Vec<Task> {
        let mut tasks = Vec::new();
        while let Some((at, sequence)) = self.sessions_due.first().copied()
            && at <= now.mono
        {
            self.sessions_due.pop_first();
            let Some(mut session) = self.sessions.remove(&sequence) else {
                continue;
            };
            let (more, over) = session.on_timeout(now);
            tasks.extend(more);
            if !over {
                self.keep_session(session);
            }
        }
        tasks
    }

    /// Those that can still be used, the oldest first.
    pub fn open(&self, now: Now) -> Vec<OpenTransaction> {
        let open = self.sessions.values().filter(|session| !session.is_over());
        let shown = open.map(|session| OpenTransaction {
            id: session.id,
            begin: session.begin.clone(),
            age: now.mono.since(session.begun_at),
            keys: session.keys(),
        });
        shown.collect()
    }
}
