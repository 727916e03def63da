//! Reads that this node has at hand: answered where the request was read, with nothing made of it
//! but the answer. Everything else takes the usual way, also all that is to be refused, so that an
//! answer never depends on which way was taken.

use super::super::deadline::CallTime;
use super::super::decode::plain_read;
use super::super::encode::entry_under;
use crate::node::Handle;
use crate::rpc::proto as pb;
use std::time::Instant;

/// The answer to a plain read of a key that this node owns; none where it must be executed.
pub fn at_hand(
    handle: &Handle,
    message: &pb::GetRequest,
    time: CallTime,
    now: Instant,
) -> Option<pb::GetResponse> {
    if now >= time.deadline {
        return None;
    }
    let (cache, partition) = {
        let view = handle.look_at_view();
        let (cache, known) = view.find_named(&message.cache)?;
        (cache, plain_read(message, &known.settings)?)
    };
    let found = handle.glance(cache, partition, &message.key, now)?;
    let entry = found.map(|view| entry_under(message.key.clone(), view));
    Some(pb::GetResponse { entry })
}
