//! Answers between nodes.

use super::{blob, comparing, entry, list, required, ticket, transaction};
use crate::error::{Error, Result};
use crate::rpc::proto::forward_reply::Result as Outcome;
use crate::rpc::proto::{self, reply as wire, reply::Reply as Sent};
use crate::rpc::status;
use crate::types::message::ForwardReply;
use crate::types::{ClusterTime, EntryView, Reply, StepReply};

/// The answer to a request that was carried to the primary.
pub fn encode_forward(answer: &ForwardReply) -> proto::ForwardReply {
    let result = match &answer.result {
        Ok(reply) => Outcome::Reply(encode(reply)),
        Err(error) => Outcome::Error(status::to_proto(error)),
    };
    proto::ForwardReply {
        id: answer.id,
        result: Some(result),
    }
}

/// The answer to a request that was carried to the primary.
///
/// # Errors
///
/// `InvalidArgument`, naming what is missing, too long or not known.
pub fn decode_forward(sent: proto::ForwardReply) -> Result<ForwardReply> {
    let result = match required(sent.result, "result of a known kind")? {
        Outcome::Reply(reply) => Ok(decode(reply)?),
        Outcome::Error(error) => Err(status::from_proto(error)),
    };
    Ok(ForwardReply {
        id: sent.id,
        result,
    })
}

/// An answer.
pub fn encode(reply: &Reply) -> proto::Reply {
    let previous = |entry: &Option<EntryView>| entry.as_ref().map(entry::encode_answer);
    let reply = match reply {
        Reply::Got { entry } => Sent::Got(wire::Got {
            entry: previous(entry),
        }),
        Reply::Put {
            applied,
            version,
            previous: before,
        } => Sent::Put(wire::Put {
            applied: *applied,
            version: *version,
            previous: previous(before),
        }),
        Reply::Removed {
            applied,
            previous: before,
        } => Sent::Removed(wire::Removed {
            applied: *applied,
            previous: previous(before),
        }),
        Reply::Touched { applied } => Sent::Touched(wire::Touched { applied: *applied }),
        Reply::Modified {
            applied,
            version,
            value,
        } => Sent::Modified(wire::Modified {
            applied: *applied,
            version: *version,
            value: blob::encode(value),
        }),
        Reply::Scanned { entries, more } => Sent::Scanned(wire::Scanned {
            entries: entries.iter().map(entry::encode_answer).collect(),
            more: *more,
        }),
        Reply::Size { live } => Sent::Size(wire::Size { live: *live }),
        Reply::Cleared { removed } => Sent::Cleared(wire::Cleared { removed: *removed }),
        Reply::Executed { held, replies } => Sent::Executed(wire::Executed {
            held: *held,
            replies: replies.iter().map(encode).collect(),
        }),
        Reply::Step(step) => encode_step(step),
        Reply::Locked { token, expires_at } => Sent::Locked(wire::Locked {
            token: *token,
            expires_at: expires_at.0,
        }),
        Reply::Verified(verified) => Sent::Verified(comparing::encode_verified(verified)),
        Reply::Registered { parent } => Sent::Registered(ticket::encode_parent(parent)),
        Reply::Narrowed { bounds, left, more } => Sent::Narrowed(wire::Narrowed {
            bounds: bounds.as_ref().map(ticket::encode_bounds),
            left: left.iter().map(blob::encode).collect(),
            more: *more,
        }),
        Reply::Deleted {
            removed,
            lived,
            left,
            more,
        } => Sent::Deleted(wire::Deleted {
            removed: *removed,
            lived: *lived,
            left: left.iter().map(blob::encode).collect(),
            more: *more,
        }),
    };
    proto::Reply { reply: Some(reply) }
}

fn encode_step(step: &StepReply) -> Sent {
    match step {
        StepReply::Prepared {
            held,
            operations,
            otherwise,
        } => Sent::Prepared(wire::Prepared {
            held: *held,
            operations: transaction::encode_result(operations),
            otherwise: transaction::encode_result(otherwise),
        }),
        StepReply::Decided(decision) => Sent::Decided(wire::Decided {
            decision: transaction::encode_decision(*decision),
        }),
        StepReply::Finished => Sent::Finished(wire::Finished {}),
        StepReply::Looked(keys) => {
            let key = |(seen, stamp): &(Option<EntryView>, u64)| wire::looked::Key {
                entry: seen.as_ref().map(entry::encode_answer),
                stamp: *stamp,
            };
            Sent::Looked(wire::Looked {
                keys: keys.iter().map(key).collect(),
            })
        }
    }
}

fn step(sent: Sent) -> Result<Reply> {
    let step = match sent {
        Sent::Prepared(prepared) => StepReply::Prepared {
            held: prepared.held,
            operations: transaction::result(prepared.operations)?,
            otherwise: transaction::result(prepared.otherwise)?,
        },
        Sent::Decided(decided) => StepReply::Decided(transaction::decision(decided.decision)?),
        Sent::Finished(_) => StepReply::Finished,
        Sent::Looked(looked) => {
            let key = |key: wire::looked::Key| {
                let seen = key.entry.map(entry::answer).transpose()?;
                Ok((seen, key.stamp))
            };
            StepReply::Looked(list(looked.keys, "keys", key)?)
        }
        _ => return Err(Error::invalid("reply: not one to a step")),
    };
    Ok(Reply::Step(Box::new(step)))
}

/// An answer.
///
/// # Errors
///
/// `InvalidArgument`, naming what is missing, too long or not known.
pub fn decode(sent: proto::Reply) -> Result<Reply> {
    let entry_of = |sent: Option<_>| sent.map(entry::answer).transpose();
    Ok(match required(sent.reply, "reply of a known kind")? {
        Sent::Got(got) => Reply::Got {
            entry: entry_of(got.entry)?,
        },
        Sent::Put(put) => Reply::Put {
            applied: put.applied,
            version: put.version,
            previous: entry_of(put.previous)?,
        },
        Sent::Removed(removed) => Reply::Removed {
            applied: removed.applied,
            previous: entry_of(removed.previous)?,
        },
        Sent::Touched(touched) => Reply::Touched {
            applied: touched.applied,
        },
        Sent::Modified(modified) => Reply::Modified {
            applied: modified.applied,
            version: modified.version,
            value: blob::value(&modified.value, "value")?,
        },
        Sent::Scanned(scanned) => Reply::Scanned {
            entries: list(scanned.entries, "entries", entry::answer)?,
            more: scanned.more,
        },
        Sent::Size(size) => Reply::Size { live: size.live },
        Sent::Cleared(cleared) => Reply::Cleared {
            removed: cleared.removed,
        },
        Sent::Executed(executed) => Reply::Executed {
            held: executed.held,
            replies: list(executed.replies, "replies", decode)?,
        },
        sent @ (Sent::Prepared(_) | Sent::Decided(_) | Sent::Finished(_) | Sent::Looked(_)) => {
            step(sent)?
        }
        Sent::Locked(locked) => Reply::Locked {
            token: locked.token,
            expires_at: ClusterTime(locked.expires_at),
        },
        Sent::Verified(sent) => Reply::Verified(Box::new(comparing::verified(sent)?)),
        Sent::Registered(registered) => Reply::Registered {
            parent: Box::new(ticket::parent(registered)?),
        },
        Sent::Narrowed(narrowed) => Reply::Narrowed {
            bounds: narrowed.bounds.map(ticket::bounds).transpose()?,
            left: list(narrowed.left, "left", |key| blob::key(&key, "left"))?,
            more: narrowed.more,
        },
        Sent::Deleted(deleted) => Reply::Deleted {
            removed: deleted.removed,
            lived: deleted.lived,
            left: list(deleted.left, "left", |key| blob::key(&key, "left"))?,
            more: deleted.more,
        },
    })
}
