//! The messages of every write, to and from bytes without the structs of protobuf in between: an
//! update that sets a key, its acknowledgement, and how far all is committed. The bytes are those
//! that the general way makes (a test compares them), and whatever is not exactly of this form takes
//! the general way, as do all other messages.

mod backwards;
mod fields;

pub use backwards::Backwards;

use super::limits::{KEY_BYTES_MAX, PARTITIONS_MAX, VALUE_BYTES_MAX};
use crate::types::message::{Body, Data, Message, Replicate, RequestRecord, Update, UpdateEffect};
use crate::types::{
    Blob, CacheId, ClusterTime, Entry, EntryVersion, EntryView, Incarnation, Live, Member, NodeId,
    Reply, RequestId, TopologyVersion,
};
use fields::{Field, Fields};

const VARINT: u64 = 0;
const FIXED64: u64 = 1;
const BYTES: u64 = 2;

/// The most bytes of a number.
const VARINT_MAX: usize = 10;

/// Writes a message in front of what was written. False: it takes the general way.
pub fn encode(message: &Message, out: &mut Backwards) -> bool {
    let Message::Data(data) = message else {
        return false;
    };
    match &data.body {
        Body::Replicate(replicate) if replicate.updates.iter().all(is_direct) => {
            encode_data(data, out, 4, |out| encode_replicate(replicate, out));
        }
        Body::Ack { stream, upto } => encode_data(data, out, 5, |out| {
            out.number(2, *upto);
            encode_topology(1, *stream, out);
        }),
        _ => return false,
    }
    true
}

/// What is written most: a key is set, with the answer of a plain put or of the use of a ticket, or
/// without one.
fn is_direct(update: &Update) -> bool {
    let answer = update.request.as_ref().map(|(_, record)| &record.reply);
    let of_these = |reply: &Reply| {
        matches!(
            reply,
            Reply::Put { previous: None, .. } | Reply::Got { entry: Some(_) }
        )
    };
    matches!(update.effect, UpdateEffect::Set { .. }) && answer.is_none_or(of_these)
}

fn encode_data(data: &Data, out: &mut Backwards, field: u64, body: impl FnOnce(&mut Backwards)) {
    out.within(1, |out| {
        out.within(field, body);
        encode_topology(3, data.topology, out);
        out.number(2, u64::from(data.partition));
        let zigzag = (data.cache.0 << 1) ^ (data.cache.0 >> 31);
        out.number(1, u64::from(zigzag as u32));
    });
}

fn encode_replicate(replicate: &Replicate, out: &mut Backwards) {
    for update in replicate.updates.iter().rev() {
        out.within(3, |out| encode_update(update, out));
    }
    out.number(2, replicate.committed);
    encode_topology(1, replicate.stream, out);
}

fn encode_update(update: &Update, out: &mut Backwards) {
    if let Some((id, record)) = &update.request {
        out.within(8, |out| encode_record(id, record, out));
    }
    if let UpdateEffect::Set { key, entry } = &update.effect {
        out.within(3, |out| {
            out.within(2, |out| encode_entry(entry, out));
            out.bytes(1, key);
        });
    }
    encode_topology(2, update.topology, out);
    out.number(1, update.counter);
}

fn encode_record(id: &RequestId, record: &RequestRecord, out: &mut Backwards) {
    out.within(3, |out| match &record.reply {
        Reply::Put {
            applied, version, ..
        } => out.within(2, |out| {
            out.fixed(2, *version);
            out.number(1, u64::from(*applied));
        }),
        Reply::Got { entry: Some(entry) } => {
            out.within(1, |out| out.within(1, |out| encode_answer(entry, out)));
        }
        _ => {}
    });
    out.number(2, record.at.0);
    out.bytes(1, id);
}

fn encode_answer(entry: &EntryView, out: &mut Backwards) {
    for (field, point) in [(8, entry.idle_expires_at), (7, entry.expires_at)] {
        if let Some(point) = point {
            out.some_number(field, point.0);
        }
    }
    out.number(6, entry.last_access_at.0);
    out.number(5, entry.created_at.0);
    out.fixed(4, entry.version);
    out.number(3, u64::from(entry.flags));
    out.bytes(2, &entry.value);
    out.bytes(1, &entry.key);
}

fn encode_entry(entry: &Entry, out: &mut Backwards) {
    if let Some(live) = &entry.live {
        out.within(5, |out| encode_live(live, out));
    }
    out.number(4, u64::from(entry.removed_by_key));
    out.number(3, entry.created_at.0);
    if entry.incarnation != entry.version {
        out.within(2, |out| encode_version(entry.incarnation, out));
    }
    if entry.version != EntryVersion::default() {
        out.within(1, |out| encode_version(entry.version, out));
    }
}

fn encode_live(live: &Live, out: &mut Backwards) {
    out.number(6, live.last_access.0);
    if let Some(idle) = live.time_to_idle {
        out.some_number(5, idle);
    }
    if let Some(point) = live.expires_at {
        out.some_number(4, point.0);
    }
    out.fixed(3, live.value_version);
    out.number(2, u64::from(live.flags));
    out.bytes(1, &live.value);
}

fn encode_version(version: EntryVersion, out: &mut Backwards) {
    out.number(4, version.counter);
    encode_topology_fields(version.topology, out);
}

fn encode_topology(field: u64, version: TopologyVersion, out: &mut Backwards) {
    if version != TopologyVersion::default() {
        out.within(field, |out| encode_topology_fields(version, out));
    }
}

fn encode_topology_fields(version: TopologyVersion, out: &mut Backwards) {
    out.number(3, version.coordinator.incarnation.0);
    out.fixed(2, version.coordinator.id.0);
    out.number(1, version.number);
}

/// Reads a message of this form; none: the general way must be taken, also to say what is wrong.
pub fn decode(bytes: &[u8]) -> Option<Message> {
    let mut fields = Fields::of(bytes);
    let (1, Field::Bytes(data)) = fields.next()?? else {
        return None;
    };
    if !fields.rest.is_empty() {
        return None;
    }
    decode_data(data).map(Message::Data)
}

fn decode_data(bytes: &[u8]) -> Option<Data> {
    let mut fields = Fields::of(bytes);
    let (mut cache, mut partition, mut topology, mut body) = (0, 0, Default::default(), None);
    while let Some(field) = fields.next()? {
        match field {
            (1, Field::Number(number)) => {
                let zigzag = u32::try_from(number).ok()?;
                cache = (zigzag >> 1) as i32 ^ -((zigzag & 1) as i32);
            }
            (2, Field::Number(number)) => partition = u32::try_from(number).ok()?,
            (3, Field::Bytes(bytes)) => topology = decode_version(bytes)?.topology,
            (4, Field::Bytes(bytes)) if body.is_none() => body = Some(decode_replicate(bytes)?),
            (5, Field::Bytes(bytes)) if body.is_none() => body = Some(decode_ack(bytes)?),
            _ => return None,
        }
    }
    (partition < PARTITIONS_MAX).then_some(Data {
        cache: CacheId(cache),
        partition,
        topology,
        body: body?,
    })
}

fn decode_ack(bytes: &[u8]) -> Option<Body> {
    let mut fields = Fields::of(bytes);
    let (mut stream, mut upto) = (TopologyVersion::default(), 0);
    while let Some(field) = fields.next()? {
        match field {
            (1, Field::Bytes(bytes)) => stream = decode_version(bytes)?.topology,
            (2, Field::Number(number)) => upto = number,
            _ => return None,
        }
    }
    Some(Body::Ack { stream, upto })
}

fn decode_replicate(bytes: &[u8]) -> Option<Body> {
    let mut fields = Fields::of(bytes);
    let mut replicate = Replicate::default();
    while let Some(field) = fields.next()? {
        match field {
            (1, Field::Bytes(bytes)) => replicate.stream = decode_version(bytes)?.topology,
            (2, Field::Number(number)) => replicate.committed = number,
            (3, Field::Bytes(bytes)) if replicate.updates.len() < super::limits::LIST_MAX => {
                // Mostly it is the only one.
                if replicate.updates.is_empty() {
                    replicate.updates.reserve_exact(1);
                }
                replicate.updates.push(decode_update(bytes)?);
                fields.repeated();
            }
            _ => return None,
        }
    }
    Some(Body::Replicate(replicate))
}

fn decode_update(bytes: &[u8]) -> Option<Update> {
    let mut fields = Fields::of(bytes);
    let (mut counter, mut topology) = (0, TopologyVersion::default());
    let (mut effect, mut request) = (None, None);
    while let Some(field) = fields.next()? {
        match field {
            (1, Field::Number(number)) => counter = number,
            (2, Field::Bytes(bytes)) => topology = decode_version(bytes)?.topology,
            (3, Field::Bytes(bytes)) if effect.is_none() => effect = Some(decode_set(bytes)?),
            (8, Field::Bytes(bytes)) if request.is_none() => request = Some(decode_record(bytes)?),
            _ => return None,
        }
    }
    Some(Update {
        counter,
        topology,
        effect: effect?,
        request,
    })
}

fn decode_set(bytes: &[u8]) -> Option<UpdateEffect> {
    let mut fields = Fields::of(bytes);
    let (1, Field::Bytes(key)) = fields.next()?? else {
        return None;
    };
    let (2, Field::Bytes(entry)) = fields.next()?? else {
        return None;
    };
    let sound = is_key(key) && fields.rest.is_empty();
    let key = sound.then(|| Blob::from(key))?;
    let entry = decode_entry(entry)?;
    Some(UpdateEffect::Set { key, entry })
}

fn is_key(bytes: &[u8]) -> bool {
    !bytes.is_empty() && bytes.len() <= KEY_BYTES_MAX
}

fn decode_entry(bytes: &[u8]) -> Option<Entry> {
    let mut fields = Fields::of(bytes);
    let (mut version, mut incarnation) = (None, None);
    let (mut created_at, mut removed_by_key, mut live) = (0, false, None);
    while let Some(field) = fields.next()? {
        match field {
            (1, Field::Bytes(bytes)) if version.is_none() => version = Some(decode_version(bytes)?),
            (2, Field::Bytes(bytes)) if incarnation.is_none() => {
                incarnation = Some(decode_version(bytes)?);
            }
            (3, Field::Number(number)) => created_at = number,
            (4, Field::Number(number)) => removed_by_key = number > 0,
            (5, Field::Bytes(bytes)) if live.is_none() => live = Some(decode_live(bytes)?),
            _ => return None,
        }
    }
    let version = version.unwrap_or_default();
    Some(Entry {
        incarnation: incarnation.unwrap_or(version),
        version,
        created_at: ClusterTime(created_at),
        removed_by_key,
        live,
    })
}

fn decode_live(bytes: &[u8]) -> Option<Live> {
    let mut fields = Fields::of(bytes);
    let mut value: &[u8] = &[];
    let (mut flags, mut value_version, mut last_access) = (0, 0, 0);
    let (mut expires_at, mut time_to_idle) = (None, None);
    while let Some(field) = fields.next()? {
        match field {
            (1, Field::Bytes(bytes)) => value = bytes,
            (2, Field::Number(number)) => flags = u32::try_from(number).ok()?,
            (3, Field::Fixed(number)) => value_version = number,
            (4, Field::Number(number)) => expires_at = Some(ClusterTime(number)),
            (5, Field::Number(number)) => time_to_idle = Some(number),
            (6, Field::Number(number)) => last_access = number,
            _ => return None,
        }
    }
    (value.len() <= VALUE_BYTES_MAX).then(|| Live {
        value: Blob::from(value),
        flags,
        value_version,
        expires_at,
        time_to_idle,
        last_access: ClusterTime(last_access),
    })
}

fn decode_record(bytes: &[u8]) -> Option<(RequestId, RequestRecord)> {
    let mut fields = Fields::of(bytes);
    let (mut id, mut at, mut reply) = (None, 0, None);
    while let Some(field) = fields.next()? {
        match field {
            (1, Field::Bytes(bytes)) => id = Some(RequestId::try_from(bytes).ok()?),
            (2, Field::Number(number)) => at = number,
            (3, Field::Bytes(bytes)) if reply.is_none() => reply = Some(decode_reply(bytes)?),
            _ => return None,
        }
    }
    let record = RequestRecord {
        at: ClusterTime(at),
        reply: reply?,
    };
    Some((id?, record))
}

/// The answer of a plain put, or of the use of a ticket.
fn decode_reply(bytes: &[u8]) -> Option<Reply> {
    let mut fields = Fields::of(bytes);
    let reply = match fields.next()?? {
        (1, Field::Bytes(got)) => decode_got(got)?,
        (2, Field::Bytes(put)) => decode_put(put)?,
        _ => return None,
    };
    fields.rest.is_empty().then_some(reply)
}

fn decode_put(bytes: &[u8]) -> Option<Reply> {
    let mut fields = Fields::of(bytes);
    let (mut applied, mut version) = (false, 0);
    while let Some(field) = fields.next()? {
        match field {
            (1, Field::Number(number)) => applied = number > 0,
            (2, Field::Fixed(number)) => version = number,
            _ => return None,
        }
    }
    Some(Reply::Put {
        applied,
        version,
        previous: None,
    })
}

fn decode_got(bytes: &[u8]) -> Option<Reply> {
    let mut fields = Fields::of(bytes);
    let (1, Field::Bytes(entry)) = fields.next()?? else {
        return None;
    };
    let entry = decode_answer(entry).filter(|_| fields.rest.is_empty())?;
    Some(Reply::Got { entry: Some(entry) })
}

fn decode_answer(bytes: &[u8]) -> Option<EntryView> {
    let mut fields = Fields::of(bytes);
    let (mut key, mut value): (&[u8], &[u8]) = (&[], &[]);
    let (mut flags, mut version, mut created_at, mut last_access_at) = (0, 0, 0, 0);
    let (mut expires_at, mut idle_expires_at) = (None, None);
    while let Some(field) = fields.next()? {
        match field {
            (1, Field::Bytes(bytes)) => key = bytes,
            (2, Field::Bytes(bytes)) => value = bytes,
            (3, Field::Number(number)) => flags = u32::try_from(number).ok()?,
            (4, Field::Fixed(number)) => version = number,
            (5, Field::Number(number)) => created_at = number,
            (6, Field::Number(number)) => last_access_at = number,
            (7, Field::Number(number)) => expires_at = Some(ClusterTime(number)),
            (8, Field::Number(number)) => idle_expires_at = Some(ClusterTime(number)),
            _ => return None,
        }
    }
    let sound = is_key(key) && value.len() <= VALUE_BYTES_MAX;
    sound.then(|| EntryView {
        key: Blob::from(key),
        value: Blob::from(value),
        flags,
        version,
        created_at: ClusterTime(created_at),
        last_access_at: ClusterTime(last_access_at),
        expires_at,
        idle_expires_at,
    })
}

/// A version, of entries or of the topology, which lacks the counter.
fn decode_version(bytes: &[u8]) -> Option<EntryVersion> {
    let mut fields = Fields::of(bytes);
    let mut version = EntryVersion::default();
    let mut coordinator = Member::default();
    while let Some(field) = fields.next()? {
        match field {
            (1, Field::Number(number)) => version.topology.number = number,
            (2, Field::Fixed(number)) => coordinator.id = NodeId(number),
            (3, Field::Number(number)) => coordinator.incarnation = Incarnation(number),
            (4, Field::Number(number)) => version.counter = number,
            _ => return None,
        }
    }
    version.topology.coordinator = coordinator;
    Some(version)
}

#[cfg(test)]
mod tests;
