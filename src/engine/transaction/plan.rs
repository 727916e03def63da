//! Which partition does what: a transaction divided into its parts, and its answers put together.

use crate::error::{Error, Result};
use crate::types::transaction::Part;
use crate::types::{Execute, PartitionId, Reply};
use std::collections::BTreeMap;

/// The parts of a transaction, and where each answer belongs.
#[derive(Clone, Debug, Default)]
pub struct Plan {
    pub parts: BTreeMap<PartitionId, Part>,
    /// For each operation, in order, its partition; the place there follows from the order.
    operations: Vec<PartitionId>,
    otherwise: Vec<PartitionId>,
}

/// What one participant answered.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    pub held: bool,
    pub operations: Result<Vec<Reply>, Error>,
    pub otherwise: Result<Vec<Reply>, Error>,
}

impl Plan {
    pub fn of(execute: &Execute) -> Self {
        let mut plan = Self::default();
        for (place, condition) in &execute.conditions {
            let part = plan.parts.entry(place.partition_id()).or_default();
            part.conditions.push((place.key.clone(), condition.clone()));
        }
        for (place, operation) in &execute.operations {
            let part = plan.parts.entry(place.partition_id()).or_default();
            part.operations.push((place.key.clone(), operation.clone()));
            plan.operations.push(place.partition_id());
        }
        for (place, operation) in &execute.otherwise {
            let part = plan.parts.entry(place.partition_id()).or_default();
            part.otherwise.push((place.key.clone(), operation.clone()));
            plan.otherwise.push(place.partition_id());
        }
        plan
    }

    /// Whether all conditions held, and the answers of that branch in the order of the call.
    ///
    /// # Errors
    ///
    /// Whatever an operation of the branch could not be done for.
    pub fn outcome(&self, answers: &BTreeMap<PartitionId, Answer>) -> Result<(bool, Vec<Reply>)> {
        let held = answers.values().all(|answer| answer.held);
        let mut of = BTreeMap::new();
        for (partition, answer) in answers {
            let replies = if held {
                &answer.operations
            } else {
                &answer.otherwise
            };
            of.insert(*partition, replies.clone()?.into_iter());
        }
        let order = if held {
            &self.operations
        } else {
            &self.otherwise
        };
        let take = |partition: &PartitionId| of.get_mut(partition).and_then(Iterator::next);
        let replies: Option<Vec<Reply>> = order.iter().map(take).collect();
        let missing = || Error::new(crate::error::ErrorKind::Internal, "an answer is missing");
        Ok((held, replies.ok_or_else(missing)?))
    }
}
