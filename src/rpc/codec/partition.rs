//! Messages to the machine of one partition.

use super::{blob, comparing, entry, list, operation, required, transfer, update, version};
use crate::error::{Error, Result};
use crate::rpc::proto::{self, data::Body as Sent, watch_event::Type};
use crate::types::message::{Body, Data, Event, EventKind, Replicate, Reset, Tail};
use crate::types::{Blob, CacheId, ClusterTime, EntryVersion, EntryView};

/// A message to a partition.
pub fn encode(data: &Data) -> proto::Data {
    proto::Data {
        cache: data.cache.0,
        partition: data.partition,
        topology: version::some_topology(data.topology),
        body: Some(encode_body(&data.body)),
    }
}

/// A message to a partition.
///
/// # Errors
///
/// `InvalidArgument`, naming what is missing, too long or not known.
pub fn decode(sent: proto::Data) -> Result<Data> {
    Ok(Data {
        cache: CacheId(sent.cache),
        partition: operation::partition(sent.partition)?,
        topology: version::topology(sent.topology),
        body: body(required(sent.body, "body of a known kind")?)?,
    })
}

fn encode_body(body: &Body) -> Sent {
    match body {
        Body::AskTail => Sent::AskTail(proto::AskTail {}),
        Body::Tail(tail) => Sent::Tail(encode_tail(tail)),
        Body::Reset(reset) => Sent::Reset(proto::Reset {
            stream: version::some_topology(reset.stream),
            committed: reset.committed,
            updates: reset.updates.iter().map(update::encode).collect(),
        }),
        Body::Replicate(replicate) => Sent::Replicate(proto::Replicate {
            stream: version::some_topology(replicate.stream),
            committed: replicate.committed,
            updates: replicate.updates.iter().map(update::encode).collect(),
        }),
        Body::Ack { stream, upto } => Sent::Ack(proto::Ack {
            stream: version::some_topology(*stream),
            upto: *upto,
        }),
        Body::Gap { stream, have } => Sent::Gap(proto::Gap {
            stream: version::some_topology(*stream),
            have: *have,
        }),
        Body::Chunk(chunk) => Sent::Chunk(transfer::encode(chunk)),
        Body::ChunkAck { kind, session, seq } => Sent::ChunkAck(proto::ChunkAck {
            kind: transfer::encode_kind(*kind).into(),
            session: *session,
            seq: *seq,
        }),
        Body::Touches { accesses } => Sent::Touches(proto::Touches {
            accesses: accesses.iter().map(encode_access).collect(),
        }),
        Body::AskIdle { key, incarnation } => Sent::AskIdle(proto::AskIdle {
            key: blob::encode(key),
            incarnation: version::some_entry(*incarnation),
        }),
        Body::Idle {
            key,
            incarnation,
            last_access,
        } => Sent::Idle(encode_idle(key, *incarnation, *last_access)),
        Body::Subscribe { after } => Sent::Subscribe(proto::Subscribe {
            after: after.map(version::encode_position),
        }),
        Body::Unsubscribe => Sent::Unsubscribe(proto::Unsubscribe {}),
        Body::Events {
            after,
            upto,
            events,
        } => Sent::Events(proto::Events {
            after: *after,
            upto: Some(version::encode_position(*upto)),
            events: events.iter().map(encode_event).collect(),
        }),
        Body::Stale => Sent::Stale(proto::Stale {}),
        Body::Watching { watched } => Sent::Watching(proto::Watching { watched: *watched }),
        Body::Near { entry, until } => Sent::Near(encode_near(entry, *until)),
        Body::Invalidate { key, counter } => Sent::Invalidate(proto::Invalidate {
            key: key.as_ref().map(blob::encode),
            counter: *counter,
        }),
        Body::Invalidated { counter } => {
            Sent::Invalidated(proto::Invalidated { counter: *counter })
        }
        Body::Compare(sent) => Sent::Compare(comparing::encode_compare(sent)),
        Body::Compared(sent) => Sent::Compared(comparing::encode_compared(sent)),
        Body::Holds(sent) => Sent::Holds(comparing::encode_holds(sent)),
        Body::Differs(sent) => Sent::Differs(comparing::encode_differs(sent)),
    }
}

fn encode_idle(
    key: &Blob,
    incarnation: EntryVersion,
    last_access: Option<ClusterTime>,
) -> proto::Idle {
    proto::Idle {
        key: blob::encode(key),
        incarnation: version::some_entry(incarnation),
        last_access: last_access.map(|point| point.0),
    }
}

fn encode_near(entry: &EntryView, until: ClusterTime) -> proto::Near {
    proto::Near {
        entry: Some(entry::encode_answer(entry)),
        until: until.0,
    }
}

fn body(sent: Sent) -> Result<Body> {
    Ok(match sent {
        Sent::AskTail(_) => Body::AskTail,
        Sent::Tail(sent) => Body::Tail(tail(sent)?),
        Sent::Reset(reset) => Body::Reset(Reset {
            stream: version::topology(reset.stream),
            committed: reset.committed,
            updates: list(reset.updates, "updates", update::decode)?,
        }),
        Sent::Replicate(replicate) => Body::Replicate(Replicate {
            stream: version::topology(replicate.stream),
            committed: replicate.committed,
            updates: list(replicate.updates, "updates", update::decode)?,
        }),
        Sent::Ack(ack) => Body::Ack {
            stream: version::topology(ack.stream),
            upto: ack.upto,
        },
        Sent::Gap(gap) => Body::Gap {
            stream: version::topology(gap.stream),
            have: gap.have,
        },
        Sent::Chunk(chunk) => Body::Chunk(transfer::decode(chunk)?),
        Sent::ChunkAck(ack) => Body::ChunkAck {
            kind: transfer::kind(ack.kind)?,
            session: ack.session,
            seq: ack.seq,
        },
        Sent::Touches(touches) => Body::Touches {
            accesses: list(touches.accesses, "accesses", access)?,
        },
        Sent::AskIdle(ask) => Body::AskIdle {
            key: blob::key(&ask.key, "key")?,
            incarnation: version::entry(ask.incarnation),
        },
        Sent::Idle(idle) => Body::Idle {
            key: blob::key(&idle.key, "key")?,
            incarnation: version::entry(idle.incarnation),
            last_access: idle.last_access.map(ClusterTime),
        },
        Sent::Subscribe(subscribe) => Body::Subscribe {
            after: subscribe.after.map(version::position),
        },
        Sent::Unsubscribe(_) => Body::Unsubscribe,
        Sent::Events(events) => Body::Events {
            after: events.after,
            upto: version::position(required(events.upto, "upto")?),
            events: list(events.events, "events", event)?,
        },
        Sent::Stale(_) => Body::Stale,
        Sent::Near(near) => Body::Near {
            entry: entry::answer(required(near.entry, "entry")?)?,
            until: ClusterTime(near.until),
        },
        Sent::Invalidate(sent) => Body::Invalidate {
            key: sent.key.map(|key| blob::key(&key, "key")).transpose()?,
            counter: sent.counter,
        },
        Sent::Invalidated(sent) => Body::Invalidated {
            counter: sent.counter,
        },
        Sent::Watching(sent) => Body::Watching {
            watched: sent.watched,
        },
        Sent::Compare(sent) => Body::Compare(comparing::compare(sent)?),
        Sent::Compared(sent) => Body::Compared(comparing::compared(sent)?),
        Sent::Holds(sent) => Body::Holds(comparing::holds(sent)?),
        Sent::Differs(sent) => Body::Differs(comparing::differs(sent)?),
    })
}

fn encode_tail(tail: &Tail) -> proto::Tail {
    proto::Tail {
        stream: version::some_topology(tail.stream),
        applied: tail.applied,
        committed: tail.committed,
        updates: tail.updates.iter().map(update::encode).collect(),
        floor: version::some_entry(tail.floor),
    }
}

fn tail(sent: proto::Tail) -> Result<Tail> {
    Ok(Tail {
        stream: version::topology(sent.stream),
        applied: sent.applied,
        committed: sent.committed,
        updates: list(sent.updates, "updates", update::decode)?,
        floor: version::entry(sent.floor),
    })
}

fn encode_access(access: &(Blob, EntryVersion, ClusterTime)) -> proto::touches::Access {
    let (key, incarnation, at) = access;
    proto::touches::Access {
        key: blob::encode(key),
        incarnation: version::some_entry(*incarnation),
        at: at.0,
    }
}

fn access(sent: proto::touches::Access) -> Result<(Blob, EntryVersion, ClusterTime)> {
    let key = blob::key(&sent.key, "key")?;
    Ok((key, version::entry(sent.incarnation), ClusterTime(sent.at)))
}

fn encode_event(event: &Event) -> proto::events::Event {
    proto::events::Event {
        r#type: encode_event_kind(event.kind).into(),
        counter: event.counter,
        entry: Some(entry::encode_answer(&event.entry)),
        previous: event.previous.as_ref().map(entry::encode_answer),
    }
}

fn event(sent: proto::events::Event) -> Result<Event> {
    Ok(Event {
        kind: event_kind(sent.r#type)?,
        counter: sent.counter,
        entry: entry::answer(required(sent.entry, "entry")?)?,
        previous: sent.previous.map(entry::answer).transpose()?,
    })
}

/// The public type of an event.
pub fn encode_event_kind(kind: EventKind) -> Type {
    match kind {
        EventKind::Created => Type::Created,
        EventKind::Updated => Type::Updated,
        EventKind::Removed => Type::Removed,
        EventKind::Expired => Type::Expired,
        EventKind::Evicted => Type::Evicted,
    }
}

/// The kind of an event that speaks of a key.
///
/// # Errors
///
/// `InvalidArgument` for a checkpoint, and for one that is not known or not said.
pub fn event_kind(sent: i32) -> Result<EventKind> {
    match Type::try_from(sent) {
        Ok(Type::Created) => Ok(EventKind::Created),
        Ok(Type::Updated) => Ok(EventKind::Updated),
        Ok(Type::Removed) => Ok(EventKind::Removed),
        Ok(Type::Expired) => Ok(EventKind::Expired),
        Ok(Type::Evicted) => Ok(EventKind::Evicted),
        Ok(Type::Unspecified | Type::Checkpoint) | Err(_) => Err(Error::invalid(format!(
            "event type: {sent} is not one of a key"
        ))),
    }
}
