//! Expiry, idle time and the floor of tombstones.
//!
//! The primary decides: it removes what is past its point by an update of the stream; a backup
//! hides it. Nothing depends on when that happens, since every read looks at the point itself.
//! Idle time is agreed before it ends a life: the other owners are asked for their last access.

use super::lead::IdleAsk;
use super::{Cx, Partition};
use crate::engine::planted::{self, Fault};
use crate::types::message::{Body, UpdateEffect};
use crate::types::ticket::note::is_ended;
use crate::types::time::{MILLISECOND, SECOND};
use crate::types::{Blob, ClusterTime, Entry, EntryVersion, Member, Micros, Monotonic, Now};
use std::collections::{BTreeMap, BTreeSet};

/// The most lives that one sweep ends; the next one follows soon.
const SWEEP_MAX: usize = 256;
/// Between two sweeps.
const SWEEP_PAUSE: Micros = 200 * MILLISECOND;
/// Between two looks at the floor of tombstones.
const FLOOR_PAUSE: Micros = 5 * SECOND;
/// Looks at the floor come in such steps, many partitions together: a timer for each tombstone, at
/// once, costs about as much as the remove did.
const FLOOR_STEP: Micros = FLOOR_PAUSE / 20;
/// The longest batch of touches.
const TOUCH_BATCH_MAX: Micros = SECOND;
/// Request ids are forgotten in so many batches a window, each by one batch late at most.
const REQUEST_BATCHES: u64 = 8;
/// The most keys in one batch of touches; more are sent at once.
const TOUCHES_MAX: usize = 1024;

/// When something of time is due.
#[derive(Default)]
#[repr(C)]
pub struct Schedule {
    /// The earliest point at which a life may end.
    earliest: Option<ClusterTime>,
    sweep_not_before: Monotonic,
    requests_end: Option<ClusterTime>,
    touches_due: Option<Monotonic>,
    floor_due: Option<Monotonic>,
    touched: BTreeMap<Blob, (EntryVersion, ClusterTime)>,
    /// Tombstones up to this version may go at the next look.
    floor_mark: Option<EntryVersion>,
}

impl Schedule {
    /// Notes when a state ends.
    pub fn note(&mut self, entry: &Entry) {
        let Some(live) = &entry.live else {
            self.floor_due.get_or_insert(Monotonic::default());
            return;
        };
        for point in [live.expires_at, live.idle_expires_at()]
            .into_iter()
            .flatten()
        {
            self.earliest = Some(self.earliest.map_or(point, |earliest| earliest.min(point)));
        }
    }

    /// Something waits for the floor.
    pub fn note_floor(&mut self) {
        self.floor_due.get_or_insert(Monotonic::default());
    }

    pub fn note_request(&mut self, end: ClusterTime) {
        self.requests_end.get_or_insert(end);
    }

    /// Gives back what touches took that have been sent.
    pub fn give_back(&mut self) {
        if self.touched.is_empty() {
            self.touched = BTreeMap::new();
        }
    }

    /// The cluster's clock became another one. What ends next must be noted again.
    pub fn shift(&mut self, by: i64) {
        self.reset();
        for (_, at) in self.touched.values_mut() {
            *at = at.shifted(by);
        }
    }

    pub fn reset(&mut self) {
        self.earliest = None;
        self.requests_end = None;
    }

    /// When `on_expiry_timeout` wants to be called.
    pub fn next(&self, now: Now, primary: bool) -> Option<Monotonic> {
        let on_mono = |point: ClusterTime| now.mono.after(point.since(now.cluster) + 1);
        let sweep = self.earliest.filter(|_| primary).map(on_mono);
        let sweep = sweep.map(|at| at.max(self.sweep_not_before));
        let requests = self.requests_end.map(on_mono);
        let floor = self.floor_due.filter(|_| primary);
        let floor = floor.map(|due| floor_step(due.max(now.mono)));
        Monotonic::earliest([sweep, requests, self.touches_due, floor])
    }
}

/// The step at a point or behind it.
fn floor_step(at: Monotonic) -> Monotonic {
    Monotonic(at.0.div_ceil(FLOOR_STEP).saturating_mul(FLOOR_STEP))
}

impl Partition {
    pub(super) fn note_all_expiries(&mut self) {
        let schedule = &mut self.expiry;
        self.store
            .entries()
            .for_each(|(_, entry)| schedule.note(entry));
        let window = self.settings.request_id_window;
        if let Some(at) = self.store.requests.oldest() {
            self.expiry.note_request(at.after(window));
        }
        if self.store.tickets.ended_count() > 0 {
            self.expiry.note_floor();
        }
    }

    pub(super) fn touch_batch(&self, idle: Option<Micros>) -> Micros {
        let idle = idle
            .or(self.settings.time_to_idle)
            .unwrap_or(20 * TOUCH_BATCH_MAX);
        (idle / 20).clamp(1, TOUCH_BATCH_MAX)
    }

    /// The last access of a key moves; the other owners hear of it with the next batch.
    pub(super) fn touch(&mut self, key: &Blob, cx: &Cx<'_>) {
        let now = cx.now.cluster;
        let Some(entry) = self.store.get_mut(key) else {
            return;
        };
        let incarnation = entry.incarnation;
        let Some(live) = &mut entry.live else { return };
        let idle = live.time_to_idle;
        let known = live.last_access;
        live.last_access = live.last_access.max(now);
        if self.place.owners.len() + self.place.loading.len() < 2 {
            return;
        }
        let batch = self.touch_batch(idle);
        self.expiry.touched.insert(key.clone(), (incarnation, now));
        // What the others know of the key is never older than one batch: that much is added when
        // an owner is lost, and no more may be lost with it. It goes out after half a batch, so
        // that it has the other half to arrive.
        let age = now.since(known);
        let due = cx.now.mono.after((batch / 2).saturating_sub(age));
        let due = self.expiry.touches_due.map_or(due, |old| old.min(due));
        self.expiry.touches_due = Some(due);
        if self.expiry.touched.len() >= TOUCHES_MAX || age > batch {
            self.send_touches(cx);
        }
    }

    fn send_touches(&mut self, cx: &Cx<'_>) {
        self.expiry.touches_due = None;
        let touched = std::mem::take(&mut self.expiry.touched);
        let accesses: Vec<_> = touched
            .into_iter()
            .map(|(key, (version, at))| (key, version, at))
            .collect();
        if planted::is(Fault::ForgetTouches) {
            return;
        }
        for owner in self.others() {
            self.send(
                owner,
                Body::Touches {
                    accesses: accesses.clone(),
                },
                cx,
            );
        }
    }

    fn others(&self) -> Vec<Member> {
        let all = self.place.owners.iter().chain(&self.place.loading);
        all.filter(|member| **member != self.me).copied().collect()
    }

    /// Last accesses at another owner: merged by maximum, so that doubled and late ones change
    /// nothing.
    pub(super) fn on_touches(&mut self, accesses: &[(Blob, EntryVersion, ClusterTime)]) {
        for (key, incarnation, at) in accesses {
            self.access(key, *incarnation, *at);
        }
    }

    fn access(&mut self, key: &Blob, incarnation: EntryVersion, at: ClusterTime) {
        let entry = self
            .store
            .get_mut(key)
            .filter(|entry| entry.incarnation == incarnation);
        if let Some(live) = entry.and_then(|entry| entry.live.as_mut()) {
            live.last_access = live.last_access.max(at);
        }
        if let Some(kept) = &mut self.kept {
            kept.access(key, incarnation, at);
        }
    }

    /// An owner is gone, and with it perhaps one batch of touches: no life ends early by that.
    pub(super) fn extend_idle(&mut self) {
        let default = self.touch_batch(None);
        self.store.for_each_mut(|entry| {
            if let Some(live) = &mut entry.live
                && let Some(idle) = live.time_to_idle
            {
                let batch = (idle / 20).clamp(1, TOUCH_BATCH_MAX).min(default.max(1));
                live.last_access = live.last_access.after(batch);
            }
        });
    }

    /// While a server that held the partition is out, an idle life is hidden and not ended: the
    /// merge takes the later access and decides then.
    pub(super) fn idle_is_kept(&self, cx: &Cx<'_>) -> bool {
        cx.departed.is_some()
    }

    /// Asks the other owners for the last access of a key; false where there is nobody to ask.
    pub(super) fn ask_idle(&mut self, key: &Blob, cx: &Cx<'_>) -> bool {
        let others = self.others();
        let Some(entry) = self.store.get(key) else {
            return false;
        };
        let Some(live) = &entry.live else {
            return false;
        };
        let (incarnation, latest) = (entry.incarnation, live.last_access);
        let Some(lead) = &mut self.lead else {
            return false;
        };
        if others.is_empty() || planted::is(Fault::ForgetTouches) {
            return false;
        }
        if let Some(ask) = lead
            .idle_asks
            .get(key)
            .filter(|ask| ask.incarnation == incarnation)
        {
            if !ask.missing.is_empty() {
                return true;
            }
            // Everybody has answered and it is past its point still.
            return false;
        }
        let missing: BTreeSet<Member> = others.iter().copied().collect();
        lead.idle_asks.insert(
            key.clone(),
            IdleAsk {
                incarnation,
                missing,
                latest,
            },
        );
        lead.resend_at.get_or_insert(cx.now.mono.after(cx.resend));
        for owner in others {
            self.send(
                owner,
                Body::AskIdle {
                    key: key.clone(),
                    incarnation,
                },
                cx,
            );
        }
        true
    }

    /// The primary asks when a key was last accessed here.
    pub(super) fn on_ask_idle(
        &mut self,
        from: Member,
        key: Blob,
        incarnation: EntryVersion,
        cx: &Cx<'_>,
    ) {
        let entry = self
            .store
            .get(&key)
            .filter(|entry| entry.incarnation == incarnation);
        let last_access = entry.and_then(|entry| Some(entry.live.as_ref()?.last_access));
        self.send(
            from,
            Body::Idle {
                key,
                incarnation,
                last_access,
            },
            cx,
        );
    }

    /// An owner's answer. Once all have answered, the life goes on or ends.
    pub(super) fn on_idle(
        &mut self,
        from: Member,
        key: &Blob,
        incarnation: EntryVersion,
        last_access: Option<ClusterTime>,
        cx: &Cx<'_>,
    ) {
        let Some(lead) = &mut self.lead else { return };
        let Some(ask) = lead.idle_asks.get_mut(key) else {
            return;
        };
        if ask.incarnation != incarnation {
            return;
        }
        ask.missing.remove(&from);
        ask.latest = ask.latest.max(last_access.unwrap_or_default());
        let (done, latest) = (ask.missing.is_empty(), ask.latest);
        if !done {
            return;
        }
        self.access(key, incarnation, latest);
        let live = self.store.get(key).and_then(|entry| entry.live.as_ref());
        let ends = live.is_some_and(|live| live.idle(cx.now.cluster));
        if !ends {
            self.note_key(key);
        } else if !self.idle_is_kept(cx) {
            self.expire(key, cx);
        }
        self.unpark(cx);
        if let Some(lead) = &mut self.lead {
            lead.idle_asks.remove(key);
        }
    }

    fn note_key(&mut self, key: &Blob) {
        if let Some(entry) = self.store.get(key) {
            let entry = entry.clone();
            self.expiry.note(&entry);
        }
    }

    /// Ends a life by time, through the stream. False where that is under way, or has no room.
    pub(super) fn expire(&mut self, key: &Blob, cx: &Cx<'_>) -> bool {
        let Some(entry) = self.store.get(key) else {
            return false;
        };
        let Some(live) = &entry.live else {
            return false;
        };
        if self.is_locked(key) {
            return false;
        }
        if self.log.is_pending(key) || self.log.is_full() {
            return self.log.is_pending(key);
        }
        // Another copy can be alive still where its last access was later, or where it is out and has
        // a state from before an update that brought the end nearer: it needs a tombstone.
        let updated = entry.version != entry.incarnation;
        let out = cx.departed.is_some() || !self.place.sources.is_empty();
        let tombstone = !live.expired(cx.now.cluster) || (updated && out);
        let incarnation = entry.incarnation;
        self.append(
            UpdateEffect::Expire {
                key: key.clone(),
                incarnation,
                tombstone,
            },
            None,
            cx,
        );
        true
    }

    pub(super) fn on_expiry_timeout(&mut self, cx: &Cx<'_>) {
        if self
            .expiry
            .touches_due
            .is_some_and(|due| cx.now.mono >= due)
        {
            self.send_touches(cx);
        }
        if self
            .expiry
            .requests_end
            .is_some_and(|end| cx.now.cluster > end)
        {
            self.forget_requests(cx.now.cluster);
        }
        let active = self.lead.as_ref().is_some_and(|lead| lead.is_active());
        let serving = cx.serving || self.local();
        let (earliest, not_before) = (self.expiry.earliest, self.expiry.sweep_not_before);
        let due = earliest.is_some_and(|point| cx.now.cluster > point);
        if due && cx.now.mono >= not_before {
            self.expiry.sweep_not_before = cx.now.mono.after(SWEEP_PAUSE);
            if active && serving && !self.renounced {
                self.sweep(cx);
            }
        }
        if self.expiry.floor_due.is_some_and(|due| cx.now.mono >= due) {
            self.look_at_floor(active && serving && !self.renounced, cx);
        }
    }

    fn forget_requests(&mut self, now: ClusterTime) {
        let window = self.settings.request_id_window;
        let before = ClusterTime(now.0.saturating_sub(window));
        self.store.requests.forget(before);
        let next = self.store.requests.oldest();
        // Many at a time: one wake-up for each of them would cost as much as the request did.
        let pause = (window / REQUEST_BATCHES).max(SECOND);
        self.expiry.requests_end = next.map(|at| at.after(window).max(now.after(pause)));
    }

    /// Ends lives that are past their point, and finds the next point.
    fn sweep(&mut self, cx: &Cx<'_>) {
        let now = cx.now.cluster;
        let (mut expired, mut idle, mut earliest) = (Vec::new(), Vec::new(), None);
        for (key, entry) in self.store.entries() {
            let Some(live) = &entry.live else { continue };
            for point in [live.expires_at, live.idle_expires_at()]
                .into_iter()
                .flatten()
            {
                earliest = Some(earliest.map_or(point, |old: ClusterTime| old.min(point)));
            }
            if live.expired(now) {
                expired.push(key.clone());
            } else if live.idle(now) {
                idle.push(key.clone());
            }
        }
        self.expiry.earliest = earliest;
        expired.sort_unstable();
        idle.sort_unstable();
        for key in expired.into_iter().take(SWEEP_MAX) {
            self.expire(&key, cx);
        }
        if self.idle_is_kept(cx) {
            return;
        }
        for key in idle.into_iter().take(SWEEP_MAX) {
            if !self.ask_idle(&key, cx) {
                self.expire(&key, cx);
            }
        }
    }

    /// Drops tombstones that every holder has had for at least one look. A server that is out
    /// counts as missing until it returns, is replaced, or the retention has passed.
    fn look_at_floor(&mut self, active: bool, cx: &Cx<'_>) {
        let has = self.store.tombstones() > 0 || self.store.tickets.ended_count() > 0;
        self.expiry.floor_due = has.then(|| floor_step(cx.now.mono.after(FLOOR_PAUSE)));
        let all_here = self.all_here(cx);
        let settled =
            self.place.sources.is_empty() && self.place.loading.is_empty() && self.log.is_settled();
        // What a transaction removes has the version of its prepare.
        let settled = settled && !self.is_locked_under(&[]);
        if !(has && active && all_here && settled) {
            self.expiry.floor_mark = None;
            return;
        }
        let held = self.store.seen;
        if let Some(floor) = self.expiry.floor_mark.replace(held) {
            let some = self.store.entries().any(|(key, entry)| {
                let drops = entry.live.is_none() || is_ended(key);
                drops && entry.version <= floor
            });
            if some {
                self.append(UpdateEffect::RaiseFloor { floor }, None, cx);
            }
        }
    }
}
