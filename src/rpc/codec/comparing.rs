//! Comparing the copies of a partition.

use super::{blob, entry, limits, list, required, version};
use crate::error::Result;
use crate::rpc::proto::{self, reply as wire};
use crate::types::comparing::{
    Compare, Compared, ComparedAt, Difference, Differs, Held, Holds, Verified,
};
use crate::types::{Blob, Entry, Member};

fn encode_at(at: ComparedAt) -> Option<proto::ComparedAt> {
    Some(proto::ComparedAt {
        stream: version::some_topology(at.stream),
        counter: at.counter,
        values: at.values,
    })
}

fn at(sent: Option<proto::ComparedAt>) -> Result<ComparedAt> {
    let sent = required(sent, "at")?;
    Ok(ComparedAt {
        stream: version::topology(sent.stream),
        counter: sent.counter,
        values: sent.values,
    })
}

/// The primary's sum.
pub fn encode_compare(compare: &Compare) -> proto::Compare {
    proto::Compare {
        at: encode_at(compare.at),
        sum: compare.sum,
        answer: compare.answer,
    }
}

/// The primary's sum.
///
/// # Errors
///
/// `InvalidArgument`, naming what is missing or too long, as in all of this file.
pub fn compare(sent: proto::Compare) -> Result<Compare> {
    Ok(Compare {
        at: at(sent.at)?,
        sum: sent.sum,
        answer: sent.answer,
    })
}

/// An owner's sums.
pub fn encode_compared(compared: &Compared) -> proto::Compared {
    proto::Compared {
        at: encode_at(compared.at),
        sums: compared.sums.clone(),
    }
}

/// An owner's sums.
///
/// # Errors
///
/// See [`compare`].
pub fn compared(sent: proto::Compared) -> Result<Compared> {
    limits::at_most(sent.sums.len(), limits::LIST_MAX, "sums", "elements")?;
    Ok(Compared {
        at: at(sent.at)?,
        sums: sent.sums,
    })
}

/// What the primary holds.
pub fn encode_holds(holds: &Holds) -> proto::Holds {
    let state = |(key, sum): &(Blob, u64)| proto::holds::State {
        key: blob::encode(key),
        sum: *sum,
    };
    proto::Holds {
        at: encode_at(holds.at),
        parts: holds.parts,
        picked: holds.picked.clone(),
        states: holds.states.iter().map(state).collect(),
        bare: holds.bare,
    }
}

/// What the primary holds.
///
/// # Errors
///
/// See [`compare`].
pub fn holds(sent: proto::Holds) -> Result<Holds> {
    limits::at_most(sent.picked.len(), limits::LIST_MAX, "picked", "elements")?;
    Ok(Holds {
        at: at(sent.at)?,
        parts: sent.parts,
        picked: sent.picked,
        states: list(sent.states, "states", |sent| {
            Ok((blob::key(&sent.key, "key")?, sent.sum))
        })?,
        bare: sent.bare,
    })
}

/// What is otherwise at an owner.
pub fn encode_differs(differs: &Differs) -> proto::Differs {
    let state = |(key, sum, state): &(Blob, u64, Entry)| proto::differs::State {
        key: blob::encode(key),
        sum: *sum,
        entry: Some(entry::encode_state(state)),
    };
    proto::Differs {
        at: encode_at(differs.at),
        entries: differs.entries.iter().map(state).collect(),
        missing: differs.missing.iter().map(blob::encode).collect(),
        more: differs.more,
    }
}

/// What is otherwise at an owner.
///
/// # Errors
///
/// See [`compare`].
pub fn differs(sent: proto::Differs) -> Result<Differs> {
    Ok(Differs {
        at: at(sent.at)?,
        entries: list(sent.entries, "entries", |sent| {
            let state = entry::state(required(sent.entry, "entry")?)?;
            Ok((blob::key(&sent.key, "key")?, sent.sum, state))
        })?,
        missing: list(sent.missing, "missing", |key| blob::key(&key, "key"))?,
        more: sent.more,
    })
}

/// What came of comparing all copies.
pub fn encode_verified(verified: &Verified) -> wire::Verified {
    let held = |(member, held): &(Member, Held)| {
        let (version, sum) = match held {
            Held::Nothing => (0, None),
            Held::Tombstone { version } => (*version, None),
            Held::Value { version, sum } => (*version, Some(*sum)),
        };
        wire::verified::Held {
            node: version::some_member(*member),
            version,
            sum,
        }
    };
    let difference = |difference: &Difference| wire::verified::Difference {
        key: blob::encode(&difference.key),
        held: difference.held.iter().map(held).collect(),
    };
    wire::Verified {
        copies: verified.copies,
        keys: verified.keys,
        repaired: verified.repaired,
        some: verified.some.iter().map(difference).collect(),
    }
}

/// What came of comparing all copies.
///
/// # Errors
///
/// See [`compare`].
pub fn verified(sent: wire::Verified) -> Result<Verified> {
    let held = |sent: wire::verified::Held| {
        let held = match (sent.version, sent.sum) {
            (version, Some(sum)) => Held::Value { version, sum },
            (0, None) => Held::Nothing,
            (version, None) => Held::Tombstone { version },
        };
        Ok((version::member_or_zero(sent.node), held))
    };
    Ok(Verified {
        copies: sent.copies,
        keys: sent.keys,
        repaired: sent.repaired,
        some: list(sent.some, "some", |sent| {
            Ok(Difference {
                key: blob::key(&sent.key, "key")?,
                held: list(sent.held, "held", held)?,
            })
        })?,
    })
}
