//! Expiry and conditions of the public messages.

use super::{blob, time};
use crate::error::{Error, Result};
use crate::rpc::proto::{self, condition::Condition as Sent};
use crate::types::{Condition, Expiry};

/// An expiry: absent for the defaults of the cache.
pub fn encode(expiry: &Expiry) -> Option<proto::Expiry> {
    match *expiry {
        Expiry::Default => None,
        Expiry::Keep => Some(proto::Expiry { keep: true, ..proto::Expiry::default() }),
        Expiry::Set { time_to_live, time_to_idle } => Some(proto::Expiry {
            time_to_live: time_to_live.map(time::encode_duration),
            time_to_idle: time_to_idle.map(time::encode_duration),
            keep: false,
        }),
    }
}

/// An expiry of a client: absent means the defaults of the cache, present and empty none.
///
/// # Errors
///
/// `InvalidArgument` where a duration is out of bounds, or stands beside `keep`.
pub fn decode(sent: Option<&proto::Expiry>) -> Result<Expiry> {
    let Some(sent) = sent else { return Ok(Expiry::Default) };
    if sent.keep {
        if sent.time_to_live.is_some() || sent.time_to_idle.is_some() {
            return Err(Error::invalid("expiry: keep excludes time_to_live and time_to_idle"));
        }
        return Ok(Expiry::Keep);
    }
    let span = |sent: &Option<_>, field| {
        sent.as_ref().map(|sent| time::duration(sent, field)).transpose()
    };
    Ok(Expiry::Set {
        time_to_live: span(&sent.time_to_live, "expiry.time_to_live")?,
        time_to_idle: span(&sent.time_to_idle, "expiry.time_to_idle")?,
    })
}

/// A condition: absent where nothing must hold.
pub fn encode_condition(condition: &Condition) -> Option<proto::Condition> {
    let condition = match condition {
        Condition::Any => return None,
        Condition::Absent => Sent::Absent(true),
        Condition::Present => Sent::Present(true),
        Condition::Version(version) => Sent::Version(*version),
        Condition::Value(value) => Sent::Value(blob::encode(value)),
    };
    Some(proto::Condition { condition: Some(condition) })
}

/// A condition.
///
/// # Errors
///
/// `InvalidArgument` where one is denied (`absent = false`) or its value is too long.
pub fn condition(sent: Option<&proto::Condition>) -> Result<Condition> {
    match sent.and_then(|sent| sent.condition.as_ref()) {
        None | Some(Sent::Any(true)) => Ok(Condition::Any),
        Some(Sent::Absent(true)) => Ok(Condition::Absent),
        Some(Sent::Present(true)) => Ok(Condition::Present),
        Some(Sent::Version(version)) => Ok(Condition::Version(*version)),
        Some(Sent::Value(value)) => Ok(Condition::Value(blob::value(value, "condition.value")?)),
        Some(Sent::Any(false) | Sent::Absent(false) | Sent::Present(false)) => {
            Err(Error::invalid("condition: false says nothing; leave the condition out"))
        }
    }
}
