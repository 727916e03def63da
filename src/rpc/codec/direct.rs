//! The messages of every write, to and from bytes without the structs of protobuf in between: an
//! update that sets a key, its acknowledgement, and how far all is committed. The bytes are those
//! that the general way makes (a test compares them), and whatever is not exactly of this form takes
//! the general way, as do all other messages.
//!
//! What nests is written from its end to its beginning, so that its length is known where it is
//! written.

use super::limits::{KEY_BYTES_MAX, PARTITIONS_MAX, VALUE_BYTES_MAX};
use crate::types::message::{Body, Data, Message, Replicate, RequestRecord, Update, UpdateEffect};
use crate::types::{
    Blob, CacheId, ClusterTime, Entry, EntryVersion, Incarnation, Live, Member, NodeId, Reply,
    RequestId, TopologyVersion,
};

const VARINT: u64 = 0;
const FIXED64: u64 = 1;
const BYTES: u64 = 2;

/// The most bytes of a number.
const VARINT_MAX: usize = 10;

/// Bytes that are written from the last to the first.
pub struct Backwards {
    /// What is written stands at its end.
    buffer: Vec<u8>,
    /// Where it begins.
    at: usize,
}

impl Backwards {
    /// Nothing yet; about so many bytes are to come.
    pub fn with_capacity(bytes: usize) -> Self {
        let buffer = vec![0; bytes.max(VARINT_MAX)];
        let at = buffer.len();
        Self { buffer, at }
    }

    /// What was written, in order.
    pub fn written(&self) -> &[u8] {
        self.buffer.get(self.at..).unwrap_or_default()
    }

    fn len(&self) -> usize {
        self.buffer.len() - self.at
    }

    /// Puts bytes in front.
    pub fn put(&mut self, bytes: &[u8]) {
        if self.at < bytes.len() {
            self.grow(bytes.len());
        }
        let from = self.at - bytes.len();
        self.buffer[from..self.at].copy_from_slice(bytes);
        self.at = from;
    }

    #[cold]
    fn grow(&mut self, bytes: usize) {
        let more = self.buffer.len().max(bytes);
        let mut buffer = vec![0; more];
        buffer.extend_from_slice(&self.buffer);
        self.buffer = buffer;
        self.at += more;
    }

    fn varint(&mut self, mut number: u64) {
        if self.at < VARINT_MAX {
            self.grow(VARINT_MAX);
        }
        // Seven bits a byte; zero takes one as well.
        let count = (70 - (number | 1).leading_zeros() as usize) / 7;
        self.at -= count;
        let last = self.at + count - 1;
        for byte in &mut self.buffer[self.at..last] {
            *byte = number as u8 | 0x80;
            number >>= 7;
        }
        self.buffer[last] = number as u8;
    }

    fn key(&mut self, field: u64, wire: u64) {
        self.varint(field << 3 | wire);
    }

    /// The fields below leave out what is zero.
    fn number(&mut self, field: u64, number: u64) {
        if number > 0 {
            self.some_number(field, number);
        }
    }

    fn some_number(&mut self, field: u64, number: u64) {
        self.varint(number);
        self.key(field, VARINT);
    }

    fn fixed(&mut self, field: u64, number: u64) {
        if number > 0 {
            self.put(&number.to_le_bytes());
            self.key(field, FIXED64);
        }
    }

    fn bytes(&mut self, field: u64, bytes: &[u8]) {
        if !bytes.is_empty() {
            self.put(bytes);
            self.head(field, bytes.len());
        }
    }

    /// What stands in front of a field of so many bytes that was written.
    pub fn head(&mut self, field: u64, bytes: usize) {
        self.varint(bytes as u64);
        self.key(field, BYTES);
    }

    fn within(&mut self, field: u64, write: impl FnOnce(&mut Self)) {
        let before = self.len();
        write(self);
        self.head(field, self.len() - before);
    }
}

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

/// What is written most: a key is set, with the answer of a plain put, or without one.
fn is_direct(update: &Update) -> bool {
    let answer = update.request.as_ref().map(|(_, record)| &record.reply);
    matches!(update.effect, UpdateEffect::Set { .. })
        && answer.is_none_or(|reply| matches!(reply, Reply::Put { previous: None, .. }))
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
    out.within(3, |out| {
        if let Reply::Put {
            applied, version, ..
        } = &record.reply
        {
            out.within(2, |out| {
                out.fixed(2, *version);
                out.number(1, u64::from(*applied));
            });
        }
    });
    out.number(2, record.at.0);
    out.bytes(1, id);
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

/// Fields in the order of their numbers, each once, as everybody writes them.
struct Fields<'a> {
    rest: &'a [u8],
    last: u64,
}

/// What a field holds.
#[derive(Clone, Copy)]
enum Field<'a> {
    Number(u64),
    Fixed(u64),
    Bytes(&'a [u8]),
}

impl<'a> Fields<'a> {
    fn of(bytes: &'a [u8]) -> Self {
        Self {
            rest: bytes,
            last: 0,
        }
    }

    fn varint(&mut self) -> Option<u64> {
        let mut number = 0;
        for (place, byte) in self.rest.iter().enumerate().take(VARINT_MAX) {
            number |= u64::from(byte & 0x7f).checked_shl(7 * place as u32)?;
            if *byte < 0x80 {
                self.rest = self.rest.get(place + 1..)?;
                // Bits that 64 have no room for are for the general way to judge.
                return (place < VARINT_MAX - 1 || *byte <= 1).then_some(number);
            }
        }
        None
    }

    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.rest.split_at_checked(count)?;
        self.rest = rest;
        Some(taken)
    }

    /// The last field may come once more.
    fn repeated(&mut self) {
        self.last -= 1;
    }

    /// The next field. The outer none: this is not of the form that is read here; the inner one:
    /// there is none.
    fn next(&mut self) -> Option<Option<(u64, Field<'a>)>> {
        if self.rest.is_empty() {
            return Some(None);
        }
        let key = self.varint()?;
        let number = key >> 3;
        if number <= self.last {
            return None;
        }
        self.last = number;
        let field = match key & 7 {
            VARINT => Field::Number(self.varint()?),
            FIXED64 => {
                let bytes = self.take(8)?.try_into().ok()?;
                Field::Fixed(u64::from_le_bytes(bytes))
            }
            BYTES => {
                let count = usize::try_from(self.varint()?).ok()?;
                Field::Bytes(self.take(count)?)
            }
            _ => return None,
        };
        Some(Some((number, field)))
    }
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
    let sound = !key.is_empty() && key.len() <= KEY_BYTES_MAX && fields.rest.is_empty();
    let key = sound.then(|| Blob::from(key))?;
    let entry = decode_entry(entry)?;
    Some(UpdateEffect::Set { key, entry })
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
            (3, Field::Bytes(bytes)) if reply.is_none() => reply = Some(decode_put(bytes)?),
            _ => return None,
        }
    }
    let record = RequestRecord {
        at: ClusterTime(at),
        reply: reply?,
    };
    Some((id?, record))
}

/// The answer of a plain put.
fn decode_put(bytes: &[u8]) -> Option<Reply> {
    let mut fields = Fields::of(bytes);
    let (2, Field::Bytes(put)) = fields.next()?? else {
        return None;
    };
    if !fields.rest.is_empty() {
        return None;
    }
    let mut fields = Fields::of(put);
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
mod tests {
    use super::*;
    use crate::rpc::codec;
    use crate::rpc::proto::PeerMessage;
    use prost::Message as _;

    fn topology(number: u64) -> TopologyVersion {
        TopologyVersion {
            number,
            coordinator: Member {
                id: NodeId(number.wrapping_mul(0x9e37_79b9_7f4a_7c15)),
                incarnation: Incarnation(number * 3),
            },
        }
    }

    fn version(number: u64, counter: u64) -> EntryVersion {
        EntryVersion {
            topology: topology(number),
            counter,
        }
    }

    fn data(cache: i32, body: Body) -> Message {
        Message::Data(Data {
            cache: CacheId(cache),
            partition: 1_023,
            topology: topology(7),
            body,
        })
    }

    fn live(bytes: usize) -> Live {
        Live {
            value: Blob::from(vec![b'v'; bytes]),
            flags: 0,
            value_version: 5,
            expires_at: None,
            time_to_idle: Some(0),
            last_access: ClusterTime(1 << 50),
        }
    }

    fn update(counter: u64, live: Option<Live>) -> Update {
        Update {
            counter,
            topology: topology(counter % 3),
            effect: UpdateEffect::Set {
                key: Blob::from("session-1"),
                entry: Entry {
                    incarnation: version(counter % 2, 9),
                    version: version(1, 9 + counter / 2),
                    created_at: ClusterTime(1 << 50),
                    removed_by_key: live.is_none(),
                    live,
                },
            },
            request: None,
        }
    }

    fn with_request(mut update: Update, reply: Reply) -> Update {
        let at = ClusterTime(1_764_000_000_000_000);
        update.request = Some((*b"sixteen bytes ID", RequestRecord { at, reply }));
        update
    }

    fn put(applied: bool, version: u64) -> Reply {
        Reply::Put {
            applied,
            version,
            previous: None,
        }
    }

    fn replicate(updates: Vec<Update>) -> Body {
        Body::Replicate(Replicate {
            stream: topology(3),
            committed: u64::MAX,
            updates,
        })
    }

    fn samples() -> Vec<Message> {
        let expires = Live {
            expires_at: Some(ClusterTime(u64::MAX)),
            flags: u32::MAX,
            time_to_idle: None,
            ..live(300)
        };
        let updates = vec![
            update(1, Some(live(0))),
            with_request(update(2, Some(expires)), put(true, 77)),
            with_request(update(3, Some(live(70_000))), put(false, 0)),
            update(4, None),
        ];
        let ack = |stream, upto| Body::Ack { stream, upto };
        vec![
            data(-1, replicate(updates)),
            data(i32::MIN, replicate(Vec::new())),
            data(i32::MAX, ack(topology(1 << 40), 127)),
            data(0, ack(TopologyVersion::default(), 0)),
        ]
    }

    #[test]
    fn the_bytes_are_those_of_the_general_way_in_both_directions() {
        for message in samples() {
            let mut out = Backwards::with_capacity(0);
            assert!(encode(&message, &mut out), "{message:?}");
            let general = codec::encode(&message).encode_to_vec();
            assert_eq!(out.written(), general, "{message:?}");
            assert_eq!(decode(&general).as_ref(), Some(&message));
            let read = PeerMessage::decode(general.as_slice()).map(codec::decode);
            assert_eq!(read, Ok(Ok(message)));
        }
    }

    #[test]
    fn what_is_cut_off_or_otherwise_is_left_to_the_general_way() {
        for message in samples() {
            let bytes = codec::encode(&message).encode_to_vec();
            for cut in (0..bytes.len()).step_by(1 + bytes.len() / 500) {
                assert_eq!(decode(&bytes[..cut]), None, "{cut} of {message:?}");
            }
            // A field that is not known.
            let unknown = [bytes.as_slice(), &[0xf8, 0x7f, 0x01]].concat();
            assert_eq!(decode(&unknown), None);
        }
        let other = with_request(update(1, None), Reply::Touched { applied: true });
        let mut out = Backwards::with_capacity(0);
        for message in [
            data(1, replicate(vec![other])),
            data(1, Body::AskTail),
            data(1, Body::Stale),
        ] {
            assert!(!encode(&message, &mut out));
            assert!(out.written().is_empty());
            assert_eq!(decode(&codec::encode(&message).encode_to_vec()), None);
        }
    }

    #[test]
    fn what_any_byte_may_be_changed_to_is_read_alike() {
        for message in samples() {
            let bytes = codec::encode(&message).encode_to_vec();
            for place in (0..bytes.len()).step_by(1 + bytes.len() / 300) {
                for change in [1, 0x80, 0xff] {
                    let mut bytes = bytes.clone();
                    bytes[place] ^= change;
                    let Some(direct) = decode(&bytes) else {
                        continue;
                    };
                    let read = PeerMessage::decode(bytes.as_slice()).map(codec::decode);
                    assert_eq!(read, Ok(Ok(direct)), "{place} ^ {change}");
                }
            }
        }
    }

    #[test]
    fn bounds_are_those_of_the_general_way() {
        let Message::Data(mut sent) = data(
            1,
            Body::Ack {
                stream: topology(1),
                upto: 1,
            },
        ) else {
            unreachable!("built so");
        };
        sent.partition = PARTITIONS_MAX;
        let bytes = codec::encode(&Message::Data(sent)).encode_to_vec();
        assert_eq!(decode(&bytes), None);
    }
}
