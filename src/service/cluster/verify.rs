//! `Verify`: all copies of a cache are compared, one partition at a time by its primary.

use super::super::deadline::CallTime;
use super::super::{Front, decode};
use crate::error::{Error, Result};
use crate::node::Handle;
use crate::rpc::proto as pb;
use crate::rpc::proto::verify_response as said;
use crate::types::comparing::{Difference, Held, Verified};
use crate::types::{CacheId, Member, Operation, Reply, Request, View};
use std::collections::BTreeSet;
use std::time::Instant;
use tokio::task::JoinSet;

/// Partitions that are compared at a time.
const UNDER_WAY_MAX: usize = 16;
/// The most keys that an answer names.
const KEYS_MAX: usize = 1_000;
/// The most reasons that an answer gives.
const REASONS_MAX: usize = 16;

/// See `ClusterService.Verify`.
pub async fn verify(
    front: &Front,
    message: &pb::VerifyRequest,
    time: CallTime,
) -> Result<pb::VerifyResponse> {
    time.check(Instant::now())?;
    let handle = &front.handle;
    let (cache, partitions) = {
        let view = handle.view();
        let known = decode::known(&view, &message.cache)?;
        // The table of a LOCAL cache is empty: there is one copy of everything.
        (known.settings.id(), known.table.len() as u32)
    };
    let mut response = pb::VerifyResponse::default();
    let mut reasons = BTreeSet::new();
    let mut under_way = JoinSet::new();
    let mut next = 0..partitions;
    loop {
        while under_way.len() < UNDER_WAY_MAX
            && let Some(partition) = next.next()
        {
            let one = compare(handle.clone(), cache, partition, message.repair, time);
            under_way.spawn(async move { (partition, one.await) });
        }
        let Some(joined) = under_way.join_next().await else {
            break;
        };
        let (partition, compared) = joined.map_err(|_| Error::unavailable("this node stops"))?;
        match compared {
            Ok(verified) => add(&mut response, &handle.view(), partition, *verified),
            Err(error) => {
                response.partitions_failed += 1;
                reasons.insert(error.to_string());
            }
        }
    }
    response
        .keys
        .sort_by(|one, other| (one.partition, &one.key).cmp(&(other.partition, &other.key)));
    response.reasons = reasons.into_iter().take(REASONS_MAX).collect();
    if response.differences > 0 {
        tracing::warn!(
            cache = message.cache,
            differences = response.differences,
            repaired = response.repaired,
            "copies differed"
        );
    }
    Ok(response)
}

async fn compare(
    handle: Handle,
    cache: CacheId,
    partition: u32,
    repair: bool,
    time: CallTime,
) -> Result<Box<Verified>> {
    let request = Request {
        cache,
        partition,
        operation: Operation::Verify { repair },
        request_id: None,
    };
    match handle.execute(request, time.deadline).await? {
        Reply::Verified(verified) => Ok(verified),
        other => Err(super::super::encode::mismatch(&other)),
    }
}

fn add(response: &mut pb::VerifyResponse, view: &View, partition: u32, verified: Verified) {
    response.partitions += 1;
    response.differences += verified.keys;
    response.repaired += verified.repaired;
    let room = KEYS_MAX.saturating_sub(response.keys.len());
    let some = verified.some.into_iter().take(room);
    let named = some.map(|difference| describe(view, partition, difference));
    response.keys.extend(named);
}

fn describe(view: &View, partition: u32, difference: Difference) -> said::Difference {
    let copy = |(member, held): &(Member, Held)| {
        let (version, digest) = match held {
            Held::Nothing => (None, None),
            Held::Tombstone { version } => (Some(*version), None),
            Held::Value { version, sum } => (Some(*version), Some(*sum)),
        };
        let known = view.nodes.iter().find(|node| node.member == *member);
        said::Copy {
            node: known.map_or_else(|| member.to_string(), |node| node.consistent_id.clone()),
            version,
            digest,
        }
    };
    said::Difference {
        key: difference.key.to_vec().into(),
        partition,
        copies: difference.held.iter().map(copy).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::Blob;

    #[test]
    fn what_owners_have_is_told_by_their_names() {
        let view = View {
            nodes: vec![crate::types::NodeInfo {
                consistent_id: "node-1".to_owned(),
                ..Default::default()
            }],
            ..View::default()
        };
        let mut response = pb::VerifyResponse::default();
        let held = vec![
            (Member::default(), Held::Value { version: 7, sum: 8 }),
            (Member::default(), Held::Tombstone { version: 9 }),
            (Member::default(), Held::Nothing),
        ];
        let key = Blob::from("k");
        let verified = Verified {
            copies: 3,
            keys: 1,
            repaired: 0,
            some: vec![Difference { key, held }],
        };
        add(&mut response, &view, 5, verified);
        assert_eq!((response.partitions, response.differences), (1, 1));
        let copies = &response.keys[0].copies;
        assert!(copies.iter().all(|copy| copy.node == "node-1"));
        assert_eq!((copies[0].version, copies[0].digest), (Some(7), Some(8)));
        assert_eq!((copies[1].version, copies[1].digest), (Some(9), None));
        assert_eq!((copies[2].version, copies[2].digest), (None, None));
    }
}
