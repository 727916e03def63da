//! Moving the contents of a partition: from the primary to an owner that loads, and from a holder
//! of another history to the primary. Pieces are acknowledged; a window of them is under way, and
//! all transfers of a node share a bound of what is under way, so that they leave room on the links
//! for everything else. One that finds no room looks again soon. What is not acknowledged is sent
//! again, but not as soon as an update would be: a full link is slow, and more would make it slower.

use super::{Cx, Partition, Report};
use crate::engine::planted::{self, Fault};
use crate::engine::tally::UnderWay;
use crate::types::message::{
    Body, Chunk, RequestRecord, TransferHeader, TransferKind, WatchPosition,
};
use crate::types::{Blob, EntryVersion, Member, Monotonic, RequestId, TopologyVersion};
use std::collections::{BTreeSet, VecDeque};

/// Pieces under way at once.
const WINDOW: usize = 4;
/// The most entries of a piece.
const CHUNK_ENTRIES_MAX: usize = 512;
/// A piece is closed once its values reach this many bytes.
const CHUNK_BYTES: usize = 256 << 10;
/// What a piece and each thing in it weigh at least, in bytes.
const BASE_BYTES: usize = 64;
/// A piece is sent again after so many times as long as an update.
const REPEAT_AFTER: u64 = 5;

/// The receiving side.
#[derive(Default)]
pub struct Incoming {
    pub session: u64,
    pub next: u32,
    /// Merge: what the sender and the cluster last agreed on.
    pub agreed: EntryVersion,
    /// Merge: the counter up to which all that the sender has was here once, where that is known.
    pub shared: Option<u64>,
    /// Merge: the greatest version whose tombstones may be gone at the sender.
    pub floor: EntryVersion,
    /// Merge, where that may be later than the agreement: the keys that the sender has.
    pub named: Option<BTreeSet<Blob>>,
    /// Merge: the keys that were removed at the sender, and are alive here.
    pub removed: Vec<Blob>,
    /// The last piece, once it is here.
    pub last: Option<u32>,
    /// Load: lives that ended by time meanwhile; a late piece must not bring them back.
    /// Each with whether it leaves a tombstone.
    pub expired: Vec<(Blob, EntryVersion, bool)>,
    /// Load: the view in which a piece of it came last.
    pub heard_in: TopologyVersion,
    /// Load: it ended in an earlier view, and the primary has not said yet that it counts in this
    /// one; it is waited for until then.
    pub confirmed_until: Option<Monotonic>,
}

/// The sending side.
pub struct Outgoing {
    kind: TransferKind,
    to: Member,
    session: u64,
    header: Option<Box<TransferHeader>>,
    keys: VecDeque<Blob>,
    requests: VecDeque<(RequestId, RequestRecord)>,
    next: u32,
    /// The last piece has been cut.
    cut: bool,
    /// Each with what it weighs.
    under_way: VecDeque<(Chunk, usize)>,
    share: UnderWay,
    pub resend_at: Option<Monotonic>,
    repeat_at: Monotonic,
}

impl Outgoing {
    /// Whether it was begun in this view and is not finished.
    pub fn goes_on(&self, topology: u64) -> bool {
        self.session == topology && !self.is_finished()
    }

    /// The view changed, and the receiver is as far as it was: it is told so, until it says that it
    /// has heard it, by a last piece without contents. Doubled ones change nothing.
    pub fn confirm(&mut self) {
        if self.is_finished() && self.next > 0 {
            let piece = Chunk {
                kind: self.kind,
                session: self.session,
                seq: self.next - 1,
                last: true,
                header: None,
                entries: Vec::new(),
                requests: Vec::new(),
            };
            self.under_way.push_back((piece, 0));
        }
    }

    /// The cluster's clock became another one: what is on its way moves with what is stored.
    pub fn shift(&mut self, by: i64) {
        shift_contents(&mut self.header, &mut self.requests, by);
        for (chunk, _) in &mut self.under_way {
            shift_contents(&mut chunk.header, &mut chunk.requests, by);
            let entries = chunk.entries.iter_mut();
            entries.for_each(|(_, entry)| entry.shift(by));
        }
    }

    /// Whether everything has been acknowledged.
    pub fn is_finished(&self) -> bool {
        self.cut && self.under_way.is_empty()
    }
}

fn shift_contents<'a>(
    header: &mut Option<Box<TransferHeader>>,
    requests: impl IntoIterator<Item = &'a mut (RequestId, RequestRecord)>,
    by: i64,
) {
    if let Some(header) = header {
        header.cleared_at = header.cleared_at.map(|at| at.shifted(by));
        super::held::shift_states(&mut header.transactions, by);
    }
    for (_, record) in requests {
        record.at = record.at.shifted(by);
    }
}

impl Partition {
    fn outgoing(&self, kind: TransferKind, to: Member, cx: &Cx<'_>) -> Outgoing {
        let header = TransferHeader {
            stream: self.log.stream,
            position: self.log.committed,
            agreed: match kind {
                TransferKind::Load => self.agreed,
                TransferKind::Merge => self.agreed_with_owners(),
            },
            floor: self.store.floor,
            seen: self.store.seen,
            cleared_at: self.store.cleared_at,
            joined: self.joined,
            transactions: self.transaction_states(),
            parted: self
                .parted
                .iter()
                .map(|(member, at)| (*member, *at))
                .collect(),
        };
        let forgets = planted::is(Fault::MoveWithoutRequests);
        // A receiver of an older protocol could read no piece with an answer that it does not know.
        let reads = |request: &(RequestId, RequestRecord)| {
            !forgets && cx.shell.knows(to, request.1.reply.since())
        };
        Outgoing {
            kind,
            to,
            session: self.place.topology.number,
            header: Some(Box::new(header)),
            keys: self.store.keys().into(),
            requests: self.store.requests.all().filter(reads).collect(),
            next: 0,
            cut: false,
            under_way: VecDeque::new(),
            share: cx.pace.transfer(),
            resend_at: None,
            repeat_at: cx.now.mono.after(REPEAT_AFTER * cx.resend),
        }
    }

    /// The primary starts to load an owner: the member joins the stream where the contents that
    /// it is sent end.
    pub(super) fn begin_load(&mut self, to: Member, cx: &Cx<'_>) {
        let mut outgoing = self.outgoing(TransferKind::Load, to, cx);
        self.pump(&mut outgoing, cx);
        let committed = self.log.committed.counter;
        let Some(lead) = &mut self.lead else { return };
        lead.acked.insert(to, committed);
        lead.joined.insert(to);
        lead.loads.insert(to, outgoing);
        lead.resend_at.get_or_insert(cx.now.mono.after(cx.resend));
        if self.log.applied > committed {
            self.repeat_updates(to, committed, cx);
        }
    }

    /// A source starts to send its history to the primary.
    pub(super) fn begin_merge_out(&mut self, cx: &Cx<'_>) {
        let Some(primary) = self.primary() else {
            return;
        };
        // What waited for owners of the old view may have been answered to somebody: it goes too.
        self.take_back_steps();
        let applied = self.log.applied;
        self.commit_to(applied, cx);
        let mut outgoing = self.outgoing(TransferKind::Merge, primary, cx);
        self.pump(&mut outgoing, cx);
        outgoing.resend_at = Some(cx.now.mono.after(cx.resend));
        self.outgoing = Some(Box::new(outgoing));
    }

    /// Cuts and sends pieces while the window, and the node, have room.
    fn pump(&self, outgoing: &mut Outgoing, cx: &Cx<'_>) {
        while outgoing.under_way.len() < WINDOW && !outgoing.cut && outgoing.share.has_room() {
            let (chunk, bytes) = self.cut(outgoing);
            self.send(outgoing.to, Body::Chunk(chunk.clone()), cx);
            cx.tally.pieces.add(1);
            outgoing.share.add(bytes);
            outgoing.under_way.push_back((chunk, bytes));
        }
    }

    /// Sends again what is not acknowledged, where that is due, and goes on.
    pub(super) fn repeat(&self, outgoing: &mut Outgoing, at_once: bool, cx: &Cx<'_>) {
        if at_once || cx.now.mono >= outgoing.repeat_at {
            outgoing.repeat_at = cx.now.mono.after(REPEAT_AFTER * cx.resend);
            for (chunk, _) in &outgoing.under_way {
                self.send(outgoing.to, Body::Chunk(chunk.clone()), cx);
            }
            cx.tally.pieces_repeated.add(outgoing.under_way.len());
        }
        self.pump(outgoing, cx);
    }

    fn cut(&self, outgoing: &mut Outgoing) -> (Chunk, usize) {
        let (mut entries, mut bytes) = (Vec::new(), BASE_BYTES);
        while entries.len() < CHUNK_ENTRIES_MAX && bytes < CHUNK_BYTES {
            let Some(key) = outgoing.keys.pop_front() else {
                break;
            };
            if let Some(entry) = self.store.get(&key) {
                let value = entry.live.as_ref().map_or(0, |live| live.value.len());
                bytes += BASE_BYTES + key.len() + value;
                entries.push((key, entry.clone()));
            }
        }
        let mut requests = Vec::new();
        while outgoing.keys.is_empty() && requests.len() < CHUNK_ENTRIES_MAX && bytes < CHUNK_BYTES
        {
            let Some(request) = outgoing.requests.pop_front() else {
                break;
            };
            bytes += BASE_BYTES;
            requests.push(request);
        }
        let last = outgoing.keys.is_empty() && outgoing.requests.is_empty();
        let seq = outgoing.next;
        outgoing.next += 1;
        outgoing.cut = last;
        let chunk = Chunk {
            kind: outgoing.kind,
            session: outgoing.session,
            seq,
            last,
            header: outgoing.header.take(),
            entries,
            requests,
        };
        (chunk, bytes)
    }

    pub(super) fn on_chunk(&mut self, from: Member, chunk: Chunk, cx: &Cx<'_>) {
        match chunk.kind {
            TransferKind::Load => self.on_load_chunk(from, chunk, cx),
            TransferKind::Merge => self.on_merge_chunk(from, chunk, cx),
        }
    }

    /// A piece of what this future owner must hold. Pieces come in order; a doubled one is
    /// acknowledged again, one from another session or ahead of its turn is ignored and repeated
    /// by the sender.
    fn on_load_chunk(&mut self, from: Member, chunk: Chunk, cx: &Cx<'_>) {
        let wanted = self.primary() == Some(from)
            && self.place.loading.contains(&self.me)
            && self.outgoing.is_none();
        if !wanted {
            return;
        }
        let (kind, session, seq) = (chunk.kind, chunk.session, chunk.seq);
        let begins = seq == 0
            && self
                .incoming
                .as_ref()
                .is_none_or(|own| own.session != session);
        if begins && let Some(header) = &chunk.header {
            self.set_aside();
            self.feed.forget(header.position);
            self.log = super::Log::behind(header.stream, header.position);
            self.store.raise_floor(header.floor);
            self.store.see(header.seen);
            self.store.cleared_at = header.cleared_at;
            self.begin_with(header.transactions.clone());
            self.agreed = header.agreed;
            self.joined = header.joined;
            self.parted = header.parted.iter().copied().collect();
            self.incoming = Some(Incoming {
                session,
                ..Incoming::default()
            });
        }
        let Some(state) = self
            .incoming
            .as_mut()
            .filter(|state| state.session == session)
        else {
            return;
        };
        if seq > state.next {
            return;
        }
        state.heard_in = self.place.topology;
        if seq == state.next {
            state.next += 1;
            state.last = chunk.last.then_some(seq).or(state.last);
            for (key, entry) in chunk.entries {
                self.expiry.note(&entry);
                self.store.set(&key, entry);
            }
            for (id, record) in chunk.requests {
                self.expiry
                    .note_request(record.at.after(self.settings.request_id_window));
                self.store.requests.insert(id, record);
            }
            if chunk.last {
                self.finish_load();
            }
        } else if chunk.last && state.confirmed_until.take().is_some() {
            self.count_load();
            self.watch_settling(cx);
        }
        self.send(from, Body::ChunkAck { kind, session, seq }, cx);
    }

    pub(super) fn finish_load(&mut self) {
        let expired = self
            .incoming
            .as_mut()
            .map(|state| std::mem::take(&mut state.expired));
        for (key, incarnation, tombstone) in expired.into_iter().flatten() {
            self.end_life(&key, incarnation, tombstone);
        }
        // They are gone where they were told of.
        self.store.take_killed();
        if self.store.tickets.ended_count() > 0 {
            self.expiry.note_floor();
        }
        self.kept = None;
        self.count_load();
    }

    /// The copy has all that the primary has in this view, but for what still comes.
    fn count_load(&mut self) {
        self.complete = Some(self.place.topology);
        // A view in which others own it may have come to be acknowledged since the load began.
        self.retired = self.settings.stops() && self.renounced;
        self.left_over().reports.push(Report::Loaded);
    }

    /// The receiver has taken pieces up to one.
    pub(super) fn on_chunk_ack(
        &mut self,
        from: Member,
        kind: TransferKind,
        session: u64,
        seq: u32,
        cx: &Cx<'_>,
    ) {
        let outgoing = match kind {
            TransferKind::Load => self.lead.as_mut().and_then(|lead| lead.loads.remove(&from)),
            TransferKind::Merge => self.outgoing.take().map(|outgoing| *outgoing),
        };
        let Some(mut outgoing) = outgoing else { return };
        if outgoing.session == session && outgoing.to == from {
            while let Some((chunk, bytes)) = outgoing.under_way.front()
                && chunk.seq <= seq
            {
                outgoing.share.sub(*bytes);
                outgoing.under_way.pop_front();
            }
            self.pump(&mut outgoing, cx);
        }
        match kind {
            TransferKind::Load => {
                if let Some(lead) = &mut self.lead {
                    lead.loads.insert(from, outgoing);
                }
            }
            TransferKind::Merge if outgoing.is_finished() && !self.told => {
                // The primary and all owners hold it now.
                self.set_aside();
            }
            TransferKind::Merge => self.outgoing = Some(Box::new(outgoing)),
        }
    }

    /// Drops the copy.
    pub(super) fn forget(&mut self) {
        self.store.reset();
        self.feed.forget(WatchPosition::default());
        self.log = super::Log::default();
        self.complete = None;
        self.retired = false;
        self.incoming = None;
        self.outgoing = None;
        self.agreed = EntryVersion::default();
        self.parted.clear();
        self.settle_at = None;
        self.held = None;
    }
}
