//! A primary and another node, one message after the other.

mod alone;
mod histories;
mod loads;

use super::near::NearBytes;
use super::{Ask, Caller, Cx, Partition, Place, Report, Submitted};
use crate::engine::planted::{self, Fault};
use crate::engine::shell::{Notice, Shell};
use crate::engine::tally::{Pace, Tally};
use crate::error::Result;
use crate::types::message::{Body, Chunk, Event, Message, UpdateEffect, WatchPosition};
use crate::types::ticket::{TicketOperation, TicketRecord, TicketsOperation, note};
use crate::types::time::{MILLISECOND, SECOND};
use crate::types::transaction::{Part, Prepare};
use crate::types::{
    AtomicityMode, Blob, CacheId, CacheSettings, ClusterTime, Condition, Entry, EntryVersion,
    Expiry, KeyOperation, Live, Member, Micros, Monotonic, NodeId, NodeInfo, Now, Operation, Reply,
    Step, TopologyVersion, TransactionId, WriteSynchronizationMode,
};
use parking_lot::Mutex;
use std::sync::Arc;

/// Takes what is sent.
#[derive(Default)]
struct Wire(Mutex<Vec<Body>>);

impl Shell for Wire {
    fn send(&self, _to: Member, message: Message) {
        if let Message::Data(data) = message {
            self.0.lock().push(data.body);
        }
    }
    fn send_along(&self, to: Member, message: Message) {
        self.send(to, message);
    }
    fn has_room(&self, _to: Member) -> bool {
        true
    }
    fn knows(&self, _peer: Member, _since: u32) -> bool {
        true
    }
    fn complete(&self, _token: u64, _result: Result<Reply>) {}
    fn view_changed(&self, _token: u64, _result: Result<()>) {}
    fn dial(&self, _peer: &NodeInfo) {}
    fn events(&self, _: CacheId, _: u32, _: u64, _: WatchPosition, _: &[Event]) {}
    fn watch_lost(&self, _: CacheId, _: u32) {}
    fn notice(&self, _: Notice) {}
}

struct Node {
    me: Member,
    partition: Partition,
    wire: Wire,
    pace: Pace,
    tally: Tally,
    now: Micros,
    /// Servers are out, so that nothing is agreed on by all.
    some_out: bool,
    /// How long what is written lives.
    time_to_live: Option<Micros>,
}

const PRIMARY: Member = member(1);
const LOADER: Member = member(2);

const fn member(id: u64) -> Member {
    Member {
        id: NodeId(id),
        incarnation: crate::types::Incarnation(1),
    }
}

fn version(number: u64) -> TopologyVersion {
    TopologyVersion {
        number,
        coordinator: PRIMARY,
    }
}

impl Node {
    fn new(me: Member) -> Self {
        Self::of(
            me,
            CacheSettings {
                write_synchronization: WriteSynchronizationMode::FullSync,
                ..CacheSettings::named("loads")
            },
        )
    }

    fn of(me: Member, settings: CacheSettings) -> Self {
        let settings = Arc::new(settings);
        Self {
            me,
            partition: Partition::new(CacheId(1), 0, settings, me, NearBytes::default()),
            wire: Wire::default(),
            pace: Pace::default(),
            tally: Tally::default(),
            now: SECOND,
            some_out: false,
            time_to_live: None,
        }
    }

    fn with<T>(&mut self, act: impl FnOnce(&mut Partition, &Cx<'_>) -> T) -> T {
        let cx = Cx {
            now: Now {
                mono: Monotonic(self.now),
                cluster: ClusterTime(self.now),
            },
            serving: true,
            serving_primary: true,
            leaving: false,
            shell: &self.wire,
            departed: self.some_out.then_some(ClusterTime(self.now)),
            transactions: true,
            resend: 100 * MILLISECOND,
            network_timeout: SECOND,
            clock_error_max: 0,
            compare_interval: None,
            pace: &self.pace,
            tally: &self.tally,
        };
        let done = act(&mut self.partition, &cx);
        self.partition.check_invariants();
        done
    }

    fn view(&mut self, number: u64, owners: &[Member], loading: &[Member]) {
        self.merging_view(number, owners, loading, &[]);
    }

    fn merging_view(
        &mut self,
        number: u64,
        owners: &[Member],
        loading: &[Member],
        sources: &[Member],
    ) {
        let place = Place {
            topology: version(number),
            owners: owners.to_vec(),
            loading: loading.to_vec(),
            sources: sources.to_vec(),
            ..Place::default()
        };
        self.enter(place);
    }

    fn enter(&mut self, place: Place) {
        self.with(|partition, cx| partition.on_view(place, cx));
    }

    fn set(&mut self, key: Blob, value: Blob) -> EntryVersion {
        self.change(key, None, value)
    }

    /// A write; without a value: the remove of what an earlier one created.
    fn write(&mut self, key: &str, incarnation: Option<EntryVersion>) -> EntryVersion {
        self.change(Blob::from(key), incarnation, Blob::from(key))
    }

    fn change(
        &mut self,
        key: Blob,
        incarnation: Option<EntryVersion>,
        value: Blob,
    ) -> EntryVersion {
        let version = self.partition.next_version();
        let now = ClusterTime(self.now);
        let entry = Entry {
            incarnation: incarnation.unwrap_or(version),
            version,
            created_at: now,
            removed_by_key: incarnation.is_some(),
            live: incarnation.is_none().then_some(Live {
                value,
                flags: 0,
                value_version: 1,
                expires_at: self.time_to_live.map(|span| now.after(span)),
                time_to_idle: None,
                last_access: now,
            }),
        };
        let effect = UpdateEffect::Set { key, entry };
        self.with(|partition, cx| partition.append(effect, None, cx));
        version
    }

    /// What is answered at once, as seen from a view.
    fn ask(&mut self, topology: TopologyVersion, operation: Operation) -> Option<Reply> {
        let ask = Ask {
            operation,
            request_id: None,
            deadline: Monotonic(self.now + SECOND),
            forwarded: false,
            topology,
        };
        let answer = self.with(|partition, cx| {
            let mut token = || 1;
            partition.submit(ask, Caller::Local(&mut token), cx)
        });
        match answer {
            Submitted::Done(reply) => Some(reply.expect("no error")),
            _ => None,
        }
    }

    fn sent(&mut self) -> Vec<Body> {
        std::mem::take(&mut *self.wire.0.lock())
    }

    fn hear(&mut self, from: Member, body: Body) {
        self.with(|partition, cx| partition.on_message(from, body, cx));
    }

    /// The keys that live and those that are remembered as removed.
    fn keys(&self) -> (Vec<String>, Vec<String>) {
        let name = |key: &Blob| String::from_utf8_lossy(key).into_owned();
        let contents = self.partition.contents();
        let of = |lives: bool| {
            let some = contents.iter();
            let some = some.filter(|(_, entry)| entry.live.is_some() == lives);
            some.map(|(key, _)| name(key)).collect()
        };
        (of(true), of(false))
    }

    /// What a proposer is told: as of when the copy is complete, and whether it may be behind.
    fn told(&mut self) -> Option<(u64, bool)> {
        let complete = self.partition.tell()?;
        Some((complete.number, self.partition.retired()))
    }

    fn reports(&mut self) -> Vec<Report> {
        self.partition.take_left_over().reports
    }
}

/// Delivers all that either sends, until both are silent.
fn talk(primary: &mut Node, loader: &mut Node) {
    loop {
        let (asked, answered) = (primary.sent(), loader.sent());
        if asked.is_empty() && answered.is_empty() {
            return;
        }
        asked
            .into_iter()
            .for_each(|body| loader.hear(PRIMARY, body));
        let from = loader.me;
        answered
            .into_iter()
            .for_each(|body| primary.hear(from, body));
    }
}

/// A primary with a copy, and an owner to be that has loaded it in view 2.
fn loaded() -> (Node, Node) {
    loading(Node::new(PRIMARY), Node::new(LOADER))
}

fn loading(mut primary: Node, mut loader: Node) -> (Node, Node) {
    primary.view(1, &[PRIMARY], &[]);
    primary.write("a", None);
    for node in [&mut primary, &mut loader] {
        node.view(2, &[PRIMARY], &[LOADER]);
    }
    talk(&mut primary, &mut loader);
    assert_eq!(loader.told(), Some((2, false)));
    assert_eq!(loader.reports(), [Report::Loaded]);
    (primary, loader)
}

fn put(key: &str, value: &str) -> (Blob, KeyOperation) {
    let put = KeyOperation::Put {
        value: Blob::from(value),
        flags: 0,
        expiry: Expiry::Default,
        condition: Condition::Any,
        return_previous: false,
    };
    (Blob::from(key), put)
}
