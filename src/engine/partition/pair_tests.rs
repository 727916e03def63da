//! A primary and another node, one message after the other: what a copy counts for while another one
//! is loaded in its place, which load counts in a later view, how long a subscription does, and what
//! is left of a transaction that nobody heard of. And what a primary alone does: what it names where a
//! principal ends, and that a read ends what is over.

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

#[test]
fn a_copy_lies_aside_until_another_one_is_loaded() {
    let (mut primary, mut loader) = (Node::new(PRIMARY), Node::new(LOADER));
    loader.view(1, &[LOADER], &[]);
    loader.write("mine", None);
    primary.view(2, &[PRIMARY], &[]);
    primary.write("theirs", None);
    for node in [&mut primary, &mut loader] {
        node.view(3, &[PRIMARY], &[LOADER]);
    }
    assert_eq!(loader.told(), Some((1, true)));
    assert!(loader.partition.entry_bytes() > 0);
    talk(&mut primary, &mut loader);
    assert_eq!(loader.told(), Some((3, false)));
    assert_eq!(loader.keys().0, ["theirs"]);
    let bytes = loader.partition.entry_bytes();
    assert_eq!(bytes, primary.partition.entry_bytes(), "one copy is left");
}

#[test]
fn a_copy_is_brought_back_with_what_was_loaded_since() {
    let (mut primary, mut loader) = (Node::new(PRIMARY), Node::new(LOADER));
    loader.view(1, &[LOADER], &[]);
    let life = loader.write("removed", None);
    loader.write("only here", None);
    primary.view(2, &[PRIMARY], &[]);
    primary.write("new", None);
    primary.write("removed", Some(life));
    for node in [&mut primary, &mut loader] {
        node.view(3, &[PRIMARY], &[LOADER]);
    }
    // The load does not come to its end.
    for body in primary.sent() {
        if let Body::Chunk(chunk) = body {
            let chunk = Chunk {
                last: false,
                ..chunk
            };
            loader.hear(PRIMARY, Body::Chunk(chunk));
        }
    }
    assert_eq!(loader.told(), Some((1, true)));
    // Nor does the next one begin.
    loader.view(4, &[member(3)], &[LOADER]);
    assert_eq!(loader.told(), Some((1, true)));
    loader.view(5, &[LOADER], &[]);
    let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
    let (live, dead): (Vec<String>, Vec<String>) =
        (names(&["new", "only here"]), names(&["removed"]));
    assert_eq!(loader.keys(), (live, dead));
    assert_eq!(loader.told(), Some((5, false)));
    // It goes on as any primary does.
    loader.write("later", None);
    assert_eq!(loader.keys().0, ["later", "new", "only here"]);
}

#[test]
fn a_copy_goes_when_the_partition_has_all_its_owners() {
    let mut loader = Node::new(LOADER);
    loader.view(1, &[LOADER], &[]);
    loader.write("mine", None);
    loader.view(2, &[PRIMARY], &[member(3)]);
    assert_eq!(loader.told(), Some((1, true)));
    loader.view(3, &[PRIMARY, member(3)], &[]);
    assert_eq!(loader.told(), None);
    assert_eq!(loader.partition.entry_bytes(), 0);
}

#[test]
fn a_load_counts_in_a_later_view_once_the_primary_says_so() {
    let (mut primary, mut loader) = loaded();
    loader.view(3, &[PRIMARY], &[LOADER]);
    assert_eq!(loader.told(), Some((2, true)));
    primary.view(3, &[PRIMARY], &[LOADER]);
    // The first word is lost, and said again.
    primary.sent();
    assert!(loader.reports().is_empty());
    primary.now += SECOND;
    primary.with(|partition, cx| partition.on_timeout(cx));
    primary.write("b", None);
    talk(&mut primary, &mut loader);
    assert_eq!(loader.told(), Some((3, false)));
    assert_eq!(loader.reports(), [Report::Loaded]);
    assert_eq!(loader.keys().0, ["a", "b"]);
}

#[test]
fn a_load_does_not_count_where_its_receiver_was_left_out_in_between() {
    let (mut primary, mut loader) = loaded();
    primary.view(3, &[PRIMARY], &[]);
    primary.write("missed", None);
    for node in [&mut primary, &mut loader] {
        node.view(4, &[PRIMARY], &[LOADER]);
    }
    assert_eq!(loader.told(), Some((2, true)));
    talk(&mut primary, &mut loader);
    assert_eq!(loader.told(), Some((4, false)));
    assert_eq!(loader.keys().0, ["a", "missed"]);
}

#[test]
fn what_comes_behind_a_load_that_no_longer_counts_is_not_acknowledged() {
    let (mut primary, mut loader) = loaded();
    primary.view(3, &[PRIMARY], &[]);
    for node in [&mut primary, &mut loader] {
        node.view(4, &[PRIMARY], &[LOADER]);
    }
    // The first piece of the other load is lost, and not what comes behind it.
    primary.sent();
    primary.write("later", None);
    for body in primary.sent() {
        loader.hear(PRIMARY, body);
    }
    assert!(loader.sent().is_empty());
    primary.now += 2 * SECOND;
    primary.with(|partition, cx| partition.on_timeout(cx));
    talk(&mut primary, &mut loader);
    assert_eq!(loader.told(), Some((4, false)));
    primary.write("last", None);
    talk(&mut primary, &mut loader);
    assert_eq!(loader.keys().0, ["a", "last", "later"]);
}

#[test]
fn a_subscription_ends_where_its_node_is_out() {
    let (mut primary, _) = loaded();
    let watcher = member(9);
    let told = |primary: &mut Node, after| {
        primary.hear(watcher, Body::Subscribe { after });
        let sent = primary.sent();
        sent.into_iter().find_map(|body| match body {
            Body::Events { upto, .. } => Some(upto),
            _ => None,
        })
    };
    let upto = told(&mut primary, None);
    assert!(upto.is_some());
    primary.view(3, &[PRIMARY], &[]);
    primary.with(|partition, _| partition.watchers_gone(|node| node == watcher));
    primary.sent();
    primary.write("b", None);
    assert!(primary.sent().is_empty(), "it may be elsewhere by now");
    let next = told(&mut primary, upto);
    assert_eq!(
        next.map(|next| next.counter),
        upto.map(|upto| upto.counter + 1)
    );
    // It watched another history up to the same counter.
    let elsewhere = next.map(|next| WatchPosition {
        topology: version(9),
        ..next
    });
    assert_eq!(told(&mut primary, elsewhere), None);
}

/// A primary and two backups; the last write of their view, which lives for a second, comes to one
/// backup behind the view without the other one, or never, and to that one when it is out. What lives
/// at the first one once the other is back.
fn lives_after_a_return(came: bool) -> Vec<String> {
    const STAYS: Member = LOADER;
    const RETURNS: Member = member(3);
    let [mut primary, mut stays, mut returns] = [PRIMARY, STAYS, RETURNS].map(Node::new);
    let place = |number, owners: &[Member], departed: &[Member]| Place {
        topology: version(number),
        owners: owners.to_vec(),
        departed: departed.into(),
        ..Place::default()
    };
    for node in [&mut stays, &mut returns, &mut primary] {
        node.some_out = true;
        node.view(1, &[PRIMARY, STAYS, RETURNS], &[]);
    }
    // What the primary asks, and that its stream begins.
    for _ in 0..2 {
        for body in primary.sent() {
            stays.hear(PRIMARY, body.clone());
            returns.hear(PRIMARY, body);
        }
        for node in [&mut stays, &mut returns] {
            let from = node.me;
            node.sent()
                .into_iter()
                .for_each(|body| primary.hear(from, body));
        }
    }
    primary.sent();
    primary.time_to_live = Some(SECOND);
    primary.write("short", None);
    let last = primary.sent();
    if came {
        for node in [&mut stays, &mut primary] {
            node.enter(place(2, &[PRIMARY, STAYS], &[RETURNS]));
        }
    }
    for body in last {
        if came {
            stays.hear(PRIMARY, body.clone());
        }
        returns.hear(PRIMARY, body);
    }
    if came {
        talk(&mut primary, &mut stays);
    }
    stays.enter(place(3, &[STAYS], &[PRIMARY, RETURNS]));
    assert_eq!(stays.keys().0.len(), usize::from(came));
    stays.write("later", None);
    for node in [&mut stays, &mut returns] {
        node.now += 2 * SECOND;
    }
    stays.with(|partition, cx| partition.on_timeout(cx));
    assert_eq!(stays.keys().0, ["later"]);
    for node in [&mut stays, &mut returns] {
        node.sent();
        node.enter(Place {
            sources: vec![RETURNS],
            ..place(4, &[STAYS], &[PRIMARY])
        });
    }
    assert_eq!(returns.keys().0, ["short"]);
    for body in returns.sent() {
        stays.hear(RETURNS, body);
    }
    assert_eq!(stays.reports(), [Report::Merged]);
    stays.keys().0
}

#[test]
fn what_ended_by_its_time_does_not_begin_again_by_a_return_where_it_came_late_and_does_where_never()
{
    assert_eq!(lives_after_a_return(true), ["later"]);
    // Whoever watched there may have been told that it began.
    assert_eq!(lives_after_a_return(false), ["later", "short"]);
}

#[test]
fn a_load_is_begun_anew_where_the_primary_says_nothing_of_it() {
    let (mut primary, mut loader) = loaded();
    for node in [&mut primary, &mut loader] {
        node.view(3, &[PRIMARY], &[LOADER]);
    }
    primary.sent();
    loader.now += super::backup::CONFIRM_LOAD;
    loader.with(|partition, cx| partition.on_timeout(cx));
    assert_eq!(loader.told(), Some((2, true)));
    assert_eq!(loader.sent().len(), 1, "it asks");
}

/// What the end of a principal names at a primary with one session of hers that is being deleted,
/// one of his, and descendants of a third that is gone.
fn named(ended_before: bool) -> Vec<Blob> {
    let mut primary = Node::new(PRIMARY);
    primary.view(1, &[PRIMARY], &[]);
    for (session, principal) in [("TGT-1", "alice"), ("TGT-2", "bob"), ("TGT-3", "")] {
        let key = Blob::from(session);
        primary.set(note::link(&key, CacheId(1), b"ST-1"), Blob::default());
        let record = TicketRecord {
            kind: Blob::from("TGT"),
            principal: Blob::from(principal),
            ending: true,
            ..TicketRecord::default()
        };
        if !principal.is_empty() {
            primary.set(key, record.encode());
        }
    }
    if ended_before {
        let at = primary.partition.next_version();
        primary.set(note::ended(b"alice", at), Blob::default());
    }
    let principal = Blob::from("alice");
    let end = TicketsOperation::EndPrincipal { principal };
    match primary.ask(version(1), Operation::Tickets(end)) {
        Some(Reply::Deleted { left, .. }) => left,
        _ => panic!("it is answered at once"),
    }
}

#[test]
fn the_end_of_a_principal_names_what_others_began_to_end() {
    assert_eq!(named(false), [Blob::from("TGT-1")]);
    assert_eq!(named(true), [Blob::from("TGT-1"), Blob::from("TGT-3")]);
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

/// A step that its primary could not have confirmed before it was left out, what the other owner
/// wrote since, and a new view in which both histories meet.
fn left_behind(step: Step, mode: WriteSynchronizationMode) -> (Node, Node) {
    let settings = || CacheSettings {
        write_synchronization: mode,
        atomicity: AtomicityMode::Transactional,
        ..CacheSettings::named("accounts")
    };
    let both = [PRIMARY, LOADER].map(|me| Node::of(me, settings()));
    let [first, second] = both;
    let (mut first, mut second) = loading(first, second);
    for node in [&mut first, &mut second] {
        node.view(3, &[PRIMARY, LOADER], &[]);
    }
    talk(&mut first, &mut second);
    let id = TransactionId {
        topology: 3,
        sequence: 1,
        initiator: PRIMARY,
        attempt: 0,
    };
    let answer = first.ask(version(3), Operation::Transaction { id, step });
    assert_eq!(answer, None, "the other owner has not confirmed it");
    first.sent();
    second.view(4, &[LOADER], &[]);
    second.write("a", None);
    for node in [&mut first, &mut second] {
        node.merging_view(5, &[LOADER], &[], &[PRIMARY]);
    }
    talk(&mut second, &mut first);
    assert_eq!(second.reports(), [Report::Merged]);
    (first, second)
}

/// In each mode, and as a source would tell it that does not look at what was confirmed.
fn each_way(step: impl Fn() -> Step, mut judge: impl FnMut(&Partition, bool)) {
    for mode in [
        WriteSynchronizationMode::FullSync,
        WriteSynchronizationMode::FullAsync,
    ] {
        for tells in [false, true] {
            planted::plant(tells.then_some(Fault::TellUnconfirmed));
            let (_, merged) = left_behind(step(), mode);
            planted::plant(None);
            assert!(merged.partition.log.is_settled());
            judge(&merged.partition, tells);
        }
    }
}

#[test]
fn what_was_prepared_and_told_to_nobody_is_not_prepared_in_another_history() {
    let prepare = || {
        Step::Prepare(Box::new(Prepare {
            part: Part {
                operations: vec![put("a", "1"), put("b", "1")],
                ..Part::default()
            },
            status: Some((CacheId(9), 0)),
            deadline: ClusterTime(9 * SECOND),
        }))
    };
    each_way(prepare, |merged, tells| {
        for key in [b"a", b"b"] {
            assert_eq!(merged.is_locked(key), tells);
        }
    });
}

#[test]
fn no_half_of_what_was_done_and_told_to_nobody_reaches_another_history() {
    let alone = || {
        Step::Alone(Box::new(Part {
            operations: vec![put("a", "1"), put("b", "1")],
            ..Part::default()
        }))
    };
    each_way(alone, |merged, tells| {
        let value = |key: &str| {
            let entry = merged.store.get(key.as_bytes());
            entry.and_then(|entry| Some(entry.live.as_ref()?.value.clone()))
        };
        assert_eq!(value("a"), Some(Blob::from("a")));
        assert_eq!(value("b").is_some(), tells);
    });
}

#[test]
fn what_is_over_goes_when_it_is_asked_for() {
    let mut primary = Node::new(PRIMARY);
    primary.view(1, &[PRIMARY], &[]);
    let key = Blob::from("TGT-1");
    let session = TicketRecord {
        kind: Blob::from("TGT"),
        ..TicketRecord::default()
    };
    primary.set(key.clone(), session.encode());
    primary.set(note::link(&key, CacheId(1), b"ST-1"), Blob::default());
    let ends = ClusterTime(primary.now + SECOND);
    let mut entry = primary.partition.store.get(&key).cloned().expect("it");
    entry.version = primary.partition.next_version();
    entry.live.as_mut().expect("it lives").expires_at = Some(ends);
    let effect = UpdateEffect::Set {
        key: key.clone(),
        entry,
    };
    primary.with(|partition, cx| partition.append(effect, None, cx));
    let get = || Operation::Key {
        key: key.clone(),
        operation: KeyOperation::Ticket(TicketOperation::Get {
            kind: Blob::default(),
            vouched: false,
        }),
    };
    primary.now += SECOND;
    let at_the_limit = primary.ask(version(1), get());
    assert!(matches!(at_the_limit, Some(Reply::Got { entry: Some(_) })));
    assert!(primary.partition.store.get(&key).is_some());
    primary.now += 1;
    assert_eq!(
        primary.ask(version(1), get()),
        Some(Reply::Got { entry: None })
    );
    assert!(primary.partition.store.get(&key).is_none());
    assert_eq!(primary.partition.take_left_over().chores, [key]);
}

#[test]
fn what_is_on_its_way_moves_with_the_clock() {
    let [mut primary, mut loader] = [PRIMARY, LOADER].map(Node::new);
    primary.view(1, &[PRIMARY], &[]);
    primary.write("a", None);
    for node in [&mut primary, &mut loader] {
        node.view(2, &[PRIMARY], &[LOADER]);
    }
    let lost = primary.sent();
    assert!(lost.iter().any(|body| matches!(body, Body::Chunk(_))));
    for node in [&mut primary, &mut loader] {
        node.enter(Place {
            topology: version(3),
            owners: vec![PRIMARY],
            loading: vec![LOADER],
            shift: 5 * SECOND.cast_signed(),
            ..Place::default()
        });
        node.now += 5 * SECOND;
        node.with(|partition, cx| partition.on_timeout(cx));
    }
    let pieces = primary.sent().into_iter().filter_map(|body| match body {
        Body::Chunk(piece) => Some(piece.entries),
        _ => None,
    });
    let sent: Vec<ClusterTime> = pieces
        .flatten()
        .map(|(_, entry)| entry.created_at)
        .collect();
    assert!(!sent.is_empty());
    for created_at in sent {
        assert_eq!(created_at, ClusterTime(6 * SECOND));
    }
}
