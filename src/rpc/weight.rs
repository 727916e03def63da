//! How many bytes a message will take in a queue and on the wire, roughly and from above zero:
//! for bounds, not for buffers.

use crate::types::message::{Body, Control, Data, Event, Message, Update, UpdateEffect};
use crate::types::operation::{Change, Condition, EntryView, KeyOperation, Operation, Reply};
use crate::types::{Entry, View};

/// What every message takes besides what it carries.
const BASE: usize = 96;

/// The weight of a message in bytes.
pub fn weight(message: &Message) -> usize {
    BASE + match message {
        Message::Control(control) => control_weight(control),
        Message::Data(data) => data_weight(data),
        Message::Forward(forward) => operation_weight(&forward.request.operation),
        Message::ForwardReply(reply) => reply.result.as_ref().map_or(BASE, reply_weight),
    }
}

fn control_weight(control: &Control) -> usize {
    match control {
        Control::Join(join) => view_weight(&join.view) + join.nodes.len() * BASE,
        Control::Prepare { view } => view_weight(view),
        _ => BASE,
    }
}

fn view_weight(view: &View) -> usize {
    let tables: usize = view
        .caches
        .values()
        .map(|cache| BASE + cache.table.len() * 8)
        .sum();
    tables
        + (view.nodes.len() + view.dropped.len() + view.departed.len() + view.draining.len()) * BASE
}

fn data_weight(data: &Data) -> usize {
    match &data.body {
        Body::Tail(tail) => updates_weight(&tail.updates),
        Body::Reset(reset) => updates_weight(&reset.updates),
        Body::Replicate(replicate) => updates_weight(&replicate.updates),
        Body::Chunk(chunk) => {
            let entries: usize = chunk
                .entries
                .iter()
                .map(|(key, entry)| key.len() + entry_weight(entry))
                .sum();
            let requests: usize = chunk
                .requests
                .iter()
                .map(|(_, record)| BASE + reply_weight(&record.reply))
                .sum();
            entries + requests
        }
        Body::Touches { accesses } => accesses.iter().map(|(key, _, _)| key.len() + BASE).sum(),
        Body::Compared(compared) => compared.sums.len() * 8,
        Body::Holds(holds) => holds.states.iter().map(|(key, _)| key.len() + 16).sum(),
        Body::Differs(differs) => {
            let entries = differs.entries.iter();
            let entries = entries.map(|(key, _, entry)| key.len() + 16 + entry_weight(entry));
            let missing = differs.missing.iter().map(|key| key.len() + 8);
            entries.chain(missing).sum()
        }
        Body::Events { events, .. } => events.iter().map(event_weight).sum(),
        _ => BASE,
    }
}

fn updates_weight(updates: &[Update]) -> usize {
    updates.iter().map(update_weight).sum()
}

fn update_weight(update: &Update) -> usize {
    let effect = match &update.effect {
        UpdateEffect::Set { key, entry } => key.len() + entry_weight(entry),
        UpdateEffect::Expire { key, .. } => key.len(),
        _ => 0,
    };
    let request = update
        .request
        .as_ref()
        .map_or(0, |(_, record)| BASE + reply_weight(&record.reply));
    BASE + effect + request
}

fn entry_weight(entry: &Entry) -> usize {
    BASE + entry
        .live
        .as_ref()
        .map_or(0, |live| live.value.len() + BASE)
}

fn event_weight(event: &Event) -> usize {
    BASE + view_of_entry(&event.entry) + event.previous.as_ref().map_or(0, view_of_entry)
}

fn view_of_entry(entry: &EntryView) -> usize {
    BASE + entry.key.len() + entry.value.len()
}

fn operation_weight(operation: &Operation) -> usize {
    match operation {
        Operation::Key { key, operation } => key.len() + key_operation_weight(operation),
        Operation::Scan { prefix, after, .. } => {
            prefix.len() + after.as_ref().map_or(0, |after| after.len())
        }
        _ => 0,
    }
}

fn key_operation_weight(operation: &KeyOperation) -> usize {
    match operation {
        KeyOperation::Put {
            value, condition, ..
        } => value.len() + condition_weight(condition),
        KeyOperation::Remove { condition, .. } => condition_weight(condition),
        KeyOperation::Modify {
            change, condition, ..
        } => {
            let change = match change {
                Change::Append(value) | Change::Prepend(value) => value.len(),
                Change::Increment { .. } => 0,
            };
            change + condition_weight(condition)
        }
        _ => 0,
    }
}

fn condition_weight(condition: &Condition) -> usize {
    if let Condition::Value(value) = condition {
        value.len()
    } else {
        0
    }
}

fn reply_weight(reply: &Reply) -> usize {
    let optional = |entry: &Option<EntryView>| entry.as_ref().map_or(0, view_of_entry);
    match reply {
        Reply::Got { entry } => optional(entry),
        Reply::Put { previous, .. } | Reply::Removed { previous, .. } => optional(previous),
        Reply::Modified { value, .. } => value.len(),
        Reply::Verified(verified) => {
            let some = verified.some.iter();
            some.map(|one| one.key.len() + one.held.len() * 40).sum()
        }
        Reply::Scanned { entries, .. } => entries.iter().map(view_of_entry).sum(),
        _ => 0,
    }
}
