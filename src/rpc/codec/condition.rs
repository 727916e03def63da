//! Conditions: the same message for clients and between nodes.

use super::blob;
use crate::error::{Error, Result};
use crate::rpc::proto::{self, condition::Condition as Sent};
use crate::types::Condition;

/// A condition: absent where nothing must hold.
pub fn encode(condition: &Condition) -> Option<proto::Condition> {
    let condition = match condition {
        Condition::Any => return None,
        Condition::Absent => Sent::Absent(true),
        Condition::Present => Sent::Present(true),
        Condition::Version(version) => Sent::Version(*version),
        Condition::Value(value) => Sent::Value(blob::encode(value)),
    };
    Some(proto::Condition {
        condition: Some(condition),
    })
}

/// A condition.
///
/// # Errors
///
/// `InvalidArgument` where one is denied (`absent = false`) or its value is too long.
pub fn decode(sent: Option<&proto::Condition>) -> Result<Condition> {
    match sent.and_then(|sent| sent.condition.as_ref()) {
        None | Some(Sent::Any(true)) => Ok(Condition::Any),
        Some(Sent::Absent(true)) => Ok(Condition::Absent),
        Some(Sent::Present(true)) => Ok(Condition::Present),
        Some(Sent::Version(version)) => Ok(Condition::Version(*version)),
        Some(Sent::Value(value)) => Ok(Condition::Value(blob::value(value, "condition.value")?)),
        Some(Sent::Any(false) | Sent::Absent(false) | Sent::Present(false)) => Err(Error::invalid(
            "condition: false says nothing; leave the condition out",
        )),
    }
}
