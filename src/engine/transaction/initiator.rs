//! One transaction at its initiator, from the first step to the last.

use super::plan::{Answer, Plan};
use super::{Begun, FINISHES_FOR, LOOKS_MAX, Task, cluster_time};
use crate::engine::partition::steps::{is_conflict, step_of};
use crate::error::{Applied, Error, ErrorKind, Result};
use crate::types::time::MILLISECOND;
use crate::types::transaction::{Decide, Prepare};
use crate::types::{
    ClusterTime, Decision, EntryView, Execute, KeyOperation, KeyPlace, Micros, Monotonic, Now,
    Operation, PartitionId, Reply, RequestId, Step, StepReply, TransactionId,
};
use std::collections::{BTreeMap, BTreeSet};

/// Before a step whose outcome is not known is sent again.
const AGAIN: Micros = 50 * MILLISECOND;
/// Before the second attempt; doubled with each, up to 64 times as much.
const BACK_OFF: Micros = 2 * MILLISECOND;

/// How far it is.
enum Phase {
    /// Keys are looked at, for the first (with values) or the second time.
    Looking {
        omit_values: bool,
        first: Option<BTreeMap<PartitionId, Vec<(Option<EntryView>, u64)>>>,
        answers: BTreeMap<PartitionId, Vec<(Option<EntryView>, u64)>>,
    },
    Preparing {
        answers: BTreeMap<PartitionId, Answer>,
        /// Participants that are to be asked again.
        again: BTreeSet<PartitionId>,
    },
    /// Every participant is prepared, and the record is asked to say so; `asks`: what it says,
    /// since the deadline is over.
    Deciding {
        held: bool,
        replies: Vec<Reply>,
        asks: bool,
    },
    Finishing {
        decision: Decision,
        missing: BTreeSet<PartitionId>,
        /// An older one was met: it comes again once its keys are free.
        again: bool,
    },
    /// Waits for its next attempt.
    Pausing,
    Over,
}

/// A transaction that has begun and not ended.
pub struct Running {
    pub id: TransactionId,
    /// When it wants to be called.
    pub due: Monotonic,
    plan: Plan,
    /// Of one that only looks: the keys in order.
    keys: Vec<KeyPlace>,
    status: Option<PartitionId>,
    request_id: Option<RequestId>,
    /// Who waits for it still.
    token: Option<u64>,
    deadline: Monotonic,
    until: ClusterTime,
    phase: Phase,
}

impl Running {
    fn new(id: TransactionId, status: Option<PartitionId>, begun: Begun, now: Now) -> Self {
        Self {
            id,
            due: begun.deadline,
            plan: Plan::default(),
            keys: Vec::new(),
            status,
            request_id: begun.request_id,
            token: Some(begun.token),
            deadline: begun.deadline,
            until: cluster_time(begun.deadline, now),
            phase: Phase::Over,
        }
    }

    pub fn execute(
        id: TransactionId,
        execute: &Execute,
        status: Option<PartitionId>,
        begun: Begun,
        now: Now,
    ) -> (Self, Vec<Task>) {
        let mut running = Self::new(id, status, begun, now);
        running.plan = Plan::of(execute);
        let tasks = running.prepare();
        (running, tasks)
    }

    pub fn look(
        id: TransactionId,
        keys: Vec<KeyPlace>,
        omit_values: bool,
        status: Option<PartitionId>,
        begun: Begun,
        now: Now,
    ) -> (Self, Vec<Task>) {
        let mut running = Self::new(id, status, begun, now);
        let get = KeyOperation::Get {
            touch: None,
            omit_value: omit_values,
        };
        let operations = keys.iter().map(|place| (place.clone(), get.clone()));
        running.plan = Plan::of(&Execute {
            operations: operations.collect(),
            ..Execute::default()
        });
        running.keys = keys;
        let tasks = running.look_at_all(omit_values, None);
        (running, tasks)
    }

    pub fn is_over(&self) -> bool {
        matches!(self.phase, Phase::Over)
    }

    /// Panics where it contradicts itself.
    pub fn check_invariants(&self) {
        match &self.phase {
            Phase::Deciding { .. } => {
                assert!(self.status.is_some(), "decides without a record");
            }
            Phase::Finishing { missing, .. } => assert!(!missing.is_empty(), "finishes nothing"),
            Phase::Looking { answers, .. } => {
                assert!(answers.len() < self.plan.parts.len(), "looks at nothing");
            }
            Phase::Preparing { answers, .. } => {
                assert!(answers.len() < self.plan.parts.len(), "waits for nobody");
                assert!(self.token.is_some(), "prepares for nobody");
            }
            Phase::Pausing => assert!(self.token.is_some(), "comes again for nobody"),
            Phase::Over => assert!(self.token.is_none(), "ends without an answer"),
        }
    }

    fn ask(&self, partition: PartitionId, step: Step, deadline: Option<Monotonic>) -> Task {
        // A repeated request is known where its answer is recorded.
        let knows = matches!(step, Step::Prepare(_) | Step::Decide(_));
        let request_id = self.request_id.filter(|_| knows);
        Task::Ask {
            id: self.id,
            partition,
            operation: Operation::Transaction { id: self.id, step },
            request_id: request_id.filter(|_| self.status == Some(partition)),
            deadline,
        }
    }

    fn answer(&mut self, result: Result<Reply>) -> Option<Task> {
        let token = self.token.take()?;
        Some(Task::Answer { token, result })
    }

    fn look_at_all(
        &mut self,
        omit_values: bool,
        first: Option<BTreeMap<PartitionId, Vec<(Option<EntryView>, u64)>>>,
    ) -> Vec<Task> {
        let second = first.is_some();
        self.phase = Phase::Looking {
            omit_values,
            first,
            answers: BTreeMap::new(),
        };
        let look = |(partition, part): (&PartitionId, &crate::types::transaction::Part)| {
            let keys = part.operations.iter().map(|(key, _)| key.clone());
            let step = Step::Look {
                keys: keys.collect(),
                omit_values: omit_values || second,
            };
            self.ask(*partition, step, Some(self.deadline))
        };
        self.plan.parts.iter().map(look).collect()
    }

    fn prepare(&mut self) -> Vec<Task> {
        self.phase = Phase::Preparing {
            answers: BTreeMap::new(),
            again: BTreeSet::new(),
        };
        self.due = self.deadline;
        let all: Vec<PartitionId> = self.plan.parts.keys().copied().collect();
        all.into_iter()
            .filter_map(|partition| self.prepare_at(partition))
            .collect()
    }

    fn prepare_at(&self, partition: PartitionId) -> Option<Task> {
        let part = self.plan.parts.get(&partition)?.clone();
        let prepare = Prepare {
            part,
            status: self.status,
            deadline: self.until,
        };
        let step = Step::Prepare(Box::new(prepare));
        Some(self.ask(partition, step, Some(self.deadline)))
    }

    /// A participant has answered. What comes doubled or late finds another phase, or the same
    /// answer there.
    pub fn on_answer(
        &mut self,
        partition: PartitionId,
        result: Result<Reply>,
        now: Now,
    ) -> Vec<Task> {
        match &self.phase {
            Phase::Looking { .. } => self.on_looked(partition, result),
            Phase::Preparing { .. } => self.on_prepared(partition, result, now),
            Phase::Deciding { .. } => self.on_decided(partition, result, now),
            Phase::Finishing { .. } => self.on_finished(partition, result, now),
            Phase::Pausing | Phase::Over => Vec::new(),
        }
    }

    fn on_looked(&mut self, partition: PartitionId, result: Result<Reply>) -> Vec<Task> {
        let all = self.plan.parts.len();
        let Phase::Looking {
            omit_values,
            first,
            answers,
        } = &mut self.phase
        else {
            return Vec::new();
        };
        let looked = match step_of(result) {
            Ok(StepReply::Looked(looked)) => looked,
            Ok(_) => return Vec::new(),
            Err(error) => {
                self.phase = Phase::Over;
                return self.answer(Err(error)).into_iter().collect();
            }
        };
        answers.insert(partition, looked);
        if answers.len() < all {
            return Vec::new();
        }
        let (omit_values, answers) = (*omit_values, std::mem::take(answers));
        self.id.attempt += 1;
        let Some(first) = first.take() else {
            if all == 1 {
                return self.looked(answers);
            }
            return self.look_at_all(omit_values, Some(answers));
        };
        let stamps = |all: &BTreeMap<_, Vec<(Option<EntryView>, u64)>>| -> Vec<u64> {
            all.values().flatten().map(|(_, stamp)| *stamp).collect()
        };
        if stamps(&first) == stamps(&answers) {
            return self.looked(first);
        }
        if self.id.attempt >= 2 * LOOKS_MAX {
            return self.prepare();
        }
        self.look_at_all(omit_values, None)
    }

    /// Everything was seen at one moment.
    fn looked(
        &mut self,
        answers: BTreeMap<PartitionId, Vec<(Option<EntryView>, u64)>>,
    ) -> Vec<Task> {
        let entries = |answer: Vec<(Option<EntryView>, u64)>| {
            let got = answer.into_iter().map(|(entry, _)| Reply::Got { entry });
            Answer {
                held: true,
                operations: Ok(got.collect()),
                otherwise: Ok(Vec::new()),
            }
        };
        let answers = answers.into_iter();
        let answers = answers.map(|(partition, answer)| (partition, entries(answer)));
        let outcome = self.plan.outcome(&answers.collect());
        self.phase = Phase::Over;
        let result = outcome.map(|(held, replies)| Reply::Executed { held, replies });
        self.answer(result).into_iter().collect()
    }

    fn on_prepared(
        &mut self,
        partition: PartitionId,
        result: Result<Reply>,
        now: Now,
    ) -> Vec<Task> {
        let Phase::Preparing { answers, again } = &mut self.phase else {
            return Vec::new();
        };
        if answers.contains_key(&partition) {
            return Vec::new();
        }
        if let Ok(Reply::Executed { .. }) = &result {
            // The request was carried out before.
            return self.roll_back(result, false, now);
        }
        match step_of(result) {
            Ok(StepReply::Prepared {
                held,
                operations,
                otherwise,
            }) => {
                let answer = Answer {
                    held,
                    operations,
                    otherwise,
                };
                answers.insert(partition, answer);
                if answers.len() < self.plan.parts.len() {
                    return Vec::new();
                }
                let outcome = self.plan.outcome(answers);
                self.all_prepared(outcome, now)
            }
            Ok(_) => Vec::new(),
            Err(error) if error.applied == Applied::Unknown && now.mono < self.deadline => {
                again.insert(partition);
                self.due = now.mono.after(AGAIN).min(self.deadline);
                Vec::new()
            }
            Err(error) => {
                let again = is_conflict(&error);
                self.roll_back(Err(error.not_applied()), again, now)
            }
        }
    }

    fn all_prepared(&mut self, outcome: Result<(bool, Vec<Reply>)>, now: Now) -> Vec<Task> {
        let (held, replies) = match outcome {
            Ok(outcome) => outcome,
            Err(error) => return self.roll_back(Err(error.not_applied()), false, now),
        };
        if now.mono >= self.deadline {
            return self.roll_back(Err(too_late()), false, now);
        }
        if self.status.is_none() {
            // All participants end with this node.
            let mut tasks = self.finish(Decision::Committed { held }, false, now);
            tasks.extend(self.answer(Ok(Reply::Executed { held, replies })));
            return tasks;
        }
        self.phase = Phase::Deciding {
            held,
            replies,
            asks: false,
        };
        self.decide().into_iter().collect()
    }

    /// Asks the record to say "committed", or, behind the deadline, what it says.
    fn decide(&mut self) -> Option<Task> {
        let status = self.status?;
        let Phase::Deciding {
            held,
            replies,
            asks,
        } = &self.phase
        else {
            return None;
        };
        let deadline = self.until;
        if *asks {
            return Some(self.ask(status, Step::Inquire { deadline }, None));
        }
        let decide = Decide {
            held: *held,
            deadline,
            // Kept for whoever repeats the request.
            replies: if self.request_id.is_some() {
                replies.clone()
            } else {
                Vec::new()
            },
        };
        let step = Step::Decide(Box::new(decide));
        Some(self.ask(status, step, Some(self.deadline)))
    }

    fn on_decided(&mut self, partition: PartitionId, result: Result<Reply>, now: Now) -> Vec<Task> {
        let Phase::Deciding { held, replies, .. } = &mut self.phase else {
            return Vec::new();
        };
        if self.status != Some(partition) {
            return Vec::new();
        }
        let (held, replies) = (*held, replies);
        let decision = match result {
            // Recorded under the request id of this very transaction, which holds the first key.
            Ok(Reply::Executed { .. }) => Decision::Committed { held },
            result => match step_of(result) {
                Ok(StepReply::Decided(decision)) => decision,
                Ok(_) => return Vec::new(),
                Err(_) => {
                    // Not known, or not yet: asked again until it is.
                    self.due = now.mono.after(AGAIN);
                    return Vec::new();
                }
            },
        };
        let result = match decision {
            Decision::Committed { .. } => Ok(Reply::Executed {
                held,
                replies: std::mem::take(replies),
            }),
            Decision::RolledBack => Err(rolled_back()),
        };
        let mut tasks: Vec<Task> = self.answer(result).into_iter().collect();
        tasks.extend(self.finish(decision, false, now));
        tasks
    }

    fn roll_back(&mut self, result: Result<Reply>, again: bool, now: Now) -> Vec<Task> {
        let again = again && now.mono < self.deadline;
        let mut tasks = Vec::new();
        if !again {
            tasks.extend(self.answer(result));
        }
        tasks.extend(self.finish(Decision::RolledBack, again, now));
        tasks
    }

    fn finish(&mut self, decision: Decision, again: bool, now: Now) -> Vec<Task> {
        let missing: BTreeSet<PartitionId> = self.plan.parts.keys().copied().collect();
        self.phase = Phase::Finishing {
            decision,
            missing,
            again,
        };
        self.due = if again {
            self.deadline
        } else {
            now.mono.after(FINISHES_FOR)
        };
        self.finish_all()
    }

    fn finish_all(&self) -> Vec<Task> {
        let Phase::Finishing {
            decision, missing, ..
        } = &self.phase
        else {
            return Vec::new();
        };
        let finish = |partition: &PartitionId| {
            let step = Step::Finish {
                outcome: *decision,
                deadline: self.until,
            };
            self.ask(*partition, step, None)
        };
        missing.iter().map(finish).collect()
    }

    fn on_finished(
        &mut self,
        partition: PartitionId,
        result: Result<Reply>,
        now: Now,
    ) -> Vec<Task> {
        let Phase::Finishing {
            decision,
            missing,
            again,
        } = &mut self.phase
        else {
            return Vec::new();
        };
        match step_of(result) {
            Ok(StepReply::Finished) => {
                missing.remove(&partition);
            }
            Ok(_) => {}
            Err(_) => self.due = self.due.min(now.mono.after(AGAIN)),
        }
        if !missing.is_empty() {
            return Vec::new();
        }
        let (decision, again) = (*decision, *again);
        if again {
            self.phase = Phase::Pausing;
            self.due = now.mono.after(self.back_off()).min(self.deadline);
            return Vec::new();
        }
        self.phase = Phase::Over;
        let recorded = matches!(decision, Decision::Committed { .. });
        let forget = self.status.filter(|_| recorded).map(|status| {
            let deadline = self.until;
            self.ask(status, Step::Forget { deadline }, None)
        });
        forget.into_iter().collect()
    }

    /// Longer with each attempt, and not the same for two that met.
    fn back_off(&self) -> Micros {
        let base = BACK_OFF << self.id.attempt.min(6);
        let bytes = [
            self.id.sequence,
            self.id.initiator.id.0,
            u64::from(self.id.attempt),
        ];
        let bytes = bytes.map(u64::to_le_bytes).concat();
        base + xxhash_rust::xxh3::xxh3_64(&bytes) % base
    }

    /// The time that it wanted to be called at has come.
    pub fn on_timeout(&mut self, now: Now) -> Vec<Task> {
        let late = now.mono >= self.deadline;
        let over = now.mono >= self.deadline.after(FINISHES_FOR);
        self.due = self.deadline.max(now.mono.after(AGAIN));
        match &mut self.phase {
            Phase::Looking { .. } if late => {
                self.phase = Phase::Over;
                self.answer(Err(too_late())).into_iter().collect()
            }
            Phase::Preparing { .. } if late => self.roll_back(Err(too_late()), false, now),
            Phase::Preparing { again, .. } => {
                let again = std::mem::take(again);
                let asks = again.into_iter();
                asks.filter_map(|partition| self.prepare_at(partition))
                    .collect()
            }
            Phase::Deciding { asks, .. } => {
                *asks = late;
                let mut tasks = Vec::new();
                if late {
                    tasks.extend(self.answer(Err(not_known())));
                }
                if over {
                    // Participants ask by themselves.
                    self.phase = Phase::Over;
                    return tasks;
                }
                // Asked again whether or not the last question is on its way still.
                self.due = now.mono.after(FINISHES_FOR / 60);
                tasks.extend(self.decide());
                tasks
            }
            Phase::Finishing { again, .. } => {
                let mut tasks = Vec::new();
                if late {
                    *again = false;
                    tasks.extend(self.answer(Err(gave_way())));
                }
                if over {
                    self.phase = Phase::Over;
                    return tasks;
                }
                self.due = now.mono.after(FINISHES_FOR / 60);
                tasks.extend(self.finish_all());
                tasks
            }
            Phase::Pausing if late => {
                self.phase = Phase::Over;
                self.answer(Err(gave_way())).into_iter().collect()
            }
            Phase::Pausing => {
                self.id.attempt += 1;
                self.prepare()
            }
            Phase::Looking { .. } | Phase::Over => Vec::new(),
        }
    }
}

fn too_late() -> Error {
    let context = "the transaction was not prepared everywhere within the deadline";
    Error::new(ErrorKind::DeadlineExceeded, context).not_applied()
}

fn rolled_back() -> Error {
    let context = "the transaction was rolled back: its initiator was cut off, or too slow";
    Error::new(ErrorKind::Conflict, context).because("TRANSACTION_ROLLED_BACK")
}

fn gave_way() -> Error {
    let context = "the transaction gave way to older ones until its deadline";
    Error::new(ErrorKind::Conflict, context).because(crate::engine::partition::steps::CONFLICT)
}

fn not_known() -> Error {
    let context = "the decision of the transaction was not confirmed within the deadline";
    Error::new(ErrorKind::DeadlineExceeded, context)
}
