//! Near copies: what a node keeps of keys that it does not own, and what the primary does so that
//! none of them is ever read past a write.
//!
//! The primary grants a lease with each answer that may be kept. A write of the key tells all who
//! hold one; under FULL_SYNC it is committed only after each of them has let go of its copy, or
//! after the last lease has ended, whatever became of the message. A new primary does not know
//! what the old one granted, so it commits nothing until that has ended. Points in time are those
//! of the cluster; the holder stops earlier by more than two nodes may be apart. A lost or late
//! grant is a miss; a lost invalidation costs the rest of the lease; doubled ones change nothing.
//!
//! The copies of all partitions of a cache share one limit. A copy goes at the end of its lease, so
//! the room that it took is free for whichever partition is read next. Where there is none, a
//! partition gives up its own oldest ones, if that helps, and otherwise keeps nothing: the others'
//! are gone half a second later.

use super::{Asker, Caller, Cx, Partition};
use crate::engine::planted::{self, Fault};
use crate::types::message::{Body, UpdateEffect};
use crate::types::time::{ClusterTime, MILLISECOND};
use crate::types::{Blob, EntryView, KeyOperation, Member, Micros, Monotonic, Operation, Reply};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// How long a near copy may be read. A write waits for a silent holder as long at most.
const LEASE: Micros = 500 * MILLISECOND;
/// The holder stops so much earlier, beside `clock-error-max`.
const MARGIN: Micros = 50 * MILLISECOND;
/// The most leases that one partition grants at a time; what is asked beyond is not kept.
const GRANTS_MAX: usize = 4096;
/// What a near copy costs beside key and value.
const COPY_BYTES: u64 = 128;

/// The bytes that all near copies of one cache take on this node.
pub type NearBytes = Arc<AtomicU64>;

/// What a node that does not own the partition keeps of it.
pub struct Copies {
    entries: BTreeMap<Blob, (EntryView, ClusterTime)>,
    /// The oldest first, each with the end of its lease. All leases are of one length, so that they
    /// end in this order, or nearly.
    order: VecDeque<(ClusterTime, Blob)>,
    bytes: u64,
    total: NearBytes,
}

fn cost(entry: &EntryView) -> u64 {
    (entry.key.len() + entry.value.len()) as u64 + COPY_BYTES
}

impl Copies {
    pub fn sharing(total: NearBytes) -> Self {
        Self {
            entries: BTreeMap::new(),
            order: VecDeque::new(),
            bytes: 0,
            total,
        }
    }

    fn remove(&mut self, key: &Blob) {
        if let Some((entry, _)) = self.entries.remove(key) {
            let cost = cost(&entry);
            self.bytes -= cost;
            self.total.fetch_sub(cost, Ordering::Relaxed);
        }
    }

    /// Gives up the oldest. False: there is none.
    fn remove_oldest(&mut self) -> bool {
        let Some((until, key)) = self.order.pop_front() else {
            return false;
        };
        // A key that was let go of and kept again stands in the order twice for a while.
        if self.entries.get(&key).is_some_and(|(_, end)| *end == until) {
            self.remove(&key);
        }
        true
    }

    /// Keeps a copy, at the cost of the oldest ones of this partition where there is no room and
    /// that makes enough. Two threads may go beyond the limit together by one entry each.
    fn keep(&mut self, entry: EntryView, until: ClusterTime, limit: u64) {
        self.remove(&entry.key);
        let cost = cost(&entry);
        let taken = self.total.load(Ordering::Relaxed);
        let of_others = taken.saturating_sub(self.bytes);
        if of_others.saturating_add(cost) > limit {
            return;
        }
        while self.total.load(Ordering::Relaxed).saturating_add(cost) > limit {
            if !self.remove_oldest() {
                return;
            }
        }
        while self.order.len() > 2 * self.entries.len() + 16 && self.remove_oldest() {}
        self.bytes += cost;
        self.total.fetch_add(cost, Ordering::Relaxed);
        self.order.push_back((until, entry.key.clone()));
        self.entries.insert(entry.key.clone(), (entry, until));
    }

    /// Removes those whose lease has ended.
    fn prune(&mut self, now: ClusterTime) {
        while self.order.front().is_some_and(|(until, _)| *until <= now) {
            self.remove_oldest();
        }
    }

    /// When the next lease ends.
    fn next(&self) -> Option<ClusterTime> {
        self.order.front().map(|(until, _)| *until)
    }

    pub fn clear(&mut self) {
        self.total.fetch_sub(self.bytes, Ordering::Relaxed);
        self.bytes = 0;
        self.entries.clear();
        self.order.clear();
    }
}

impl Drop for Copies {
    fn drop(&mut self) {
        self.clear();
    }
}

/// An update that waits for holders.
struct Wait {
    until: ClusterTime,
    missing: BTreeSet<Member>,
}

/// What the primary granted, and which updates wait for it.
#[derive(Default)]
#[repr(C)]
pub struct Grants {
    /// An earlier primary may have granted what ends here.
    quiet_until: Option<ClusterTime>,
    waits: BTreeMap<u64, Wait>,
    leases: BTreeMap<Blob, BTreeMap<Member, ClusterTime>>,
    /// All of them, the one that ends first first.
    order: VecDeque<(ClusterTime, Blob)>,
}

impl Grants {
    /// Forgets what has ended.
    fn prune(&mut self, now: ClusterTime) {
        while self.order.front().is_some_and(|(until, _)| *until <= now) {
            let Some((_, key)) = self.order.pop_front() else {
                break;
            };
            if let Some(holders) = self.leases.get_mut(&key) {
                holders.retain(|_, until| *until > now);
                if holders.is_empty() {
                    self.leases.remove(&key);
                }
            }
        }
        self.waits
            .retain(|_, wait| wait.until > now && !wait.missing.is_empty());
        self.quiet_until = self.quiet_until.filter(|until| *until > now);
    }

    /// Cluster time moved under this node.
    pub fn shift(&mut self, by: i64) {
        for until in self.leases.values_mut().flat_map(BTreeMap::values_mut) {
            *until = until.shifted(by);
        }
        for (until, _) in &mut self.order {
            *until = until.shifted(by);
        }
        for wait in self.waits.values_mut() {
            wait.until = wait.until.shifted(by);
        }
        self.quiet_until = self.quiet_until.map(|until| until.shifted(by));
    }

    /// Whether a copy of any key was granted.
    pub fn any(&self) -> bool {
        !self.leases.is_empty()
    }

    /// When something ends that an update waits for.
    fn next(&self) -> Option<ClusterTime> {
        let waits = self.waits.values().map(|wait| wait.until).min();
        waits.into_iter().chain(self.quiet_until).min()
    }
}

impl Partition {
    /// How many near copies there are here.
    pub fn near_copies(&self) -> usize {
        self.copies.entries.len()
    }

    fn has_near(&self) -> bool {
        self.settings.near_bytes_max > 0
    }

    /// A read at a node that owns nothing of the partition.
    pub(super) fn read_near(&self, operation: &Operation, cx: &Cx<'_>) -> Option<Reply> {
        let Operation::Key {
            key,
            operation:
                KeyOperation::Get {
                    touch: None,
                    omit_value,
                },
        } = operation
        else {
            return None;
        };
        let (entry, until) = self.copies.entries.get(key)?;
        let now = cx.now.cluster;
        let margin = cx.clock_error_max.saturating_add(MARGIN);
        let ended = entry.expires_at.is_some_and(|at| now.after(margin) >= at);
        if now.after(margin) >= *until || ended {
            return None;
        }
        let mut entry = entry.clone();
        if *omit_value {
            entry.value = Blob::default();
        }
        Some(Reply::Got { entry: Some(entry) })
    }

    /// Who asks for a value that it may keep.
    pub(super) fn near_asker(&self, operation: &Operation, caller: &Caller<'_>) -> Option<Member> {
        let whole = matches!(
            operation,
            Operation::Key {
                operation: KeyOperation::Get {
                    touch: None,
                    omit_value: false
                },
                ..
            }
        );
        let Caller::Known(Asker::Remote { node, .. }) = caller else {
            return None;
        };
        let holds = self.place.owners.contains(node) || self.place.loading.contains(node);
        (self.has_near() && whole && !holds && !self.settings.touch_on_read).then_some(*node)
    }

    /// Lets a node keep what it was just answered.
    pub(super) fn grant(&mut self, node: Member, entry: &EntryView, cx: &Cx<'_>) {
        let pending = self.settings.full_sync() && self.log.is_pending(&entry.key);
        let Some(lead) = &mut self.lead else { return };
        let grants = &mut lead.grants;
        grants.prune(cx.now.cluster);
        if pending || entry.idle_expires_at.is_some() || grants.order.len() >= GRANTS_MAX {
            return;
        }
        let until = cx.now.cluster.after(LEASE);
        let holders = grants.leases.entry(entry.key.clone()).or_default();
        holders.insert(node, until);
        grants.order.push_back((until, entry.key.clone()));
        let entry = entry.clone();
        self.send(node, Body::Near { entry, until }, cx);
    }

    /// A value that this node may keep.
    pub(super) fn on_near(
        &mut self,
        from: Member,
        entry: EntryView,
        until: ClusterTime,
        cx: &Cx<'_>,
    ) {
        let stranger = !self.is_owner() && !self.place.loading.contains(&self.me);
        let latest = cx.now.cluster.after(LEASE.saturating_mul(2));
        if stranger && self.has_near() && self.primary() == Some(from) && until <= latest {
            self.copies.prune(cx.now.cluster);
            self.copies.keep(entry, until, self.settings.near_bytes_max);
        }
    }

    /// An update takes its place: whoever may hold a copy of what it changes is told.
    pub(super) fn invalidate(&mut self, counter: u64, effect: &UpdateEffect, cx: &Cx<'_>) {
        let now = cx.now.cluster;
        let Some(lead) = &mut self.lead else { return };
        let grants = &mut lead.grants;
        if !grants.any() {
            return;
        }
        grants.prune(now);
        let (key, told) = match effect {
            UpdateEffect::Set { key, .. } | UpdateEffect::Expire { key, .. } => {
                let holders = grants.leases.remove(key).unwrap_or_default();
                (Some(key.clone()), holders)
            }
            // Copies of what is prepared must not be read either. All copies of their holders go,
            // which is one message.
            UpdateEffect::Prepare(_) | UpdateEffect::Finish { .. } => {
                let mut all = BTreeMap::new();
                for key in effect.keys() {
                    for (member, until) in grants.leases.remove(key).unwrap_or_default() {
                        let latest = all.entry(member).or_insert(until);
                        *latest = until.max(*latest);
                    }
                }
                (None, all)
            }
            UpdateEffect::Clear { .. } => {
                let mut all = BTreeMap::new();
                for holders in std::mem::take(&mut grants.leases).into_values() {
                    for (member, until) in holders {
                        let latest = all.entry(member).or_insert(until);
                        *latest = until.max(*latest);
                    }
                }
                (None, all)
            }
            UpdateEffect::Nothing | UpdateEffect::RaiseFloor { .. } | UpdateEffect::Status(_) => {
                return;
            }
        };
        let Some(until) = told.values().copied().max() else {
            return;
        };
        let missing: BTreeSet<Member> = told.into_keys().collect();
        for member in &missing {
            let key = key.clone();
            self.send(*member, Body::Invalidate { key, counter }, cx);
        }
        if self.settings.full_sync()
            && let Some(lead) = &mut self.lead
        {
            lead.grants.waits.insert(counter, Wait { until, missing });
        }
    }

    /// The primary writes a key, or all: copies of it must not be read any more.
    pub(super) fn on_invalidate(
        &mut self,
        from: Member,
        key: Option<&Blob>,
        counter: u64,
        cx: &Cx<'_>,
    ) {
        if !planted::is(Fault::KeepNear) {
            match key {
                Some(key) => self.copies.remove(key),
                None => self.copies.clear(),
            }
        }
        self.send(from, Body::Invalidated { counter }, cx);
    }

    /// A holder has let go of its copies.
    pub(super) fn on_invalidated(&mut self, from: Member, counter: u64, cx: &Cx<'_>) {
        let Some(lead) = &mut self.lead else { return };
        let waits = &mut lead.grants.waits;
        let Some(wait) = waits.get_mut(&counter) else {
            return;
        };
        wait.missing.remove(&from);
        if wait.missing.is_empty() {
            waits.remove(&counter);
            self.advance(cx);
        }
    }

    /// The last update that may be committed for all that near copies say.
    pub(super) fn near_limit(&self, now: ClusterTime) -> u64 {
        let Some(lead) = &self.lead else {
            return u64::MAX;
        };
        let grants = &lead.grants;
        if grants.quiet_until.is_some_and(|until| until > now) {
            return self.log.committed.counter;
        }
        let mut waits = grants.waits.iter();
        let first = waits.find(|(_, wait)| wait.until > now && !wait.missing.is_empty());
        first.map_or(u64::MAX, |(counter, _)| counter - 1)
    }

    /// Takes over from a primary that may have granted leases.
    pub(super) fn wait_for_old_leases(&mut self, cx: &Cx<'_>) {
        let near = self.has_near();
        if let Some(lead) = self.lead.as_mut().filter(|_| near) {
            let wait = LEASE.saturating_add(cx.clock_error_max);
            lead.grants.quiet_until = Some(cx.now.cluster.after(wait));
        }
    }

    pub(super) fn on_near_timeout(&mut self, cx: &Cx<'_>) {
        self.copies.prune(cx.now.cluster);
        let Some(lead) = &mut self.lead else { return };
        let due = |until: ClusterTime| until <= cx.now.cluster;
        if lead.grants.next().is_some_and(due) {
            lead.grants.prune(cx.now.cluster);
            self.advance(cx);
        }
    }

    pub(super) fn next_near(&self, now: crate::types::Now) -> Option<Monotonic> {
        let lead = self.lead.as_ref().and_then(|lead| lead.grants.next());
        let until = lead.into_iter().chain(self.copies.next()).min()?;
        Some(now.mono.after(until.since(now.cluster)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(key: &str, bytes: usize) -> EntryView {
        EntryView {
            key: Blob::from(key),
            value: Blob::from(vec![0; bytes]),
            flags: 0,
            version: 0,
            created_at: ClusterTime(0),
            last_access_at: ClusterTime(0),
            expires_at: None,
            idle_expires_at: None,
        }
    }

    /// What a copy of one letter and 100 bytes costs.
    const COST: u64 = 101 + COPY_BYTES;

    fn at(milliseconds: u64) -> ClusterTime {
        ClusterTime(milliseconds * MILLISECOND)
    }

    fn keys(copies: &Copies) -> Vec<&[u8]> {
        copies.entries.keys().map(|key| &**key).collect()
    }

    /// The total is what there is, and within its limit.
    fn check(all: &[&Copies], total: &NearBytes, limit: u64) {
        let mut sum = 0;
        for copies in all {
            let bytes = copies.entries.values().map(|(entry, _)| cost(entry));
            assert_eq!(copies.bytes, bytes.sum::<u64>());
            assert!(copies.order.len() <= 2 * copies.entries.len() + 17);
            sum += copies.bytes;
        }
        assert_eq!(total.load(Ordering::Relaxed), sum);
        assert!(sum <= limit, "{sum} of {limit}");
    }

    #[test]
    fn at_the_limit_the_oldest_copies_go() {
        let total = NearBytes::default();
        let mut copies = Copies::sharing(total.clone());
        for (moment, key) in (1..).zip(["a", "b", "c", "a", "d"]) {
            copies.keep(entry(key, 100), at(moment), 3 * COST);
            check(&[&copies], &total, 3 * COST);
        }
        // That `a` was kept again made it younger than `c`.
        assert_eq!(keys(&copies), [b"a", b"c", b"d"]);
        copies.keep(entry("e", 100), at(6), 3 * COST);
        assert_eq!(keys(&copies), [b"a", b"d", b"e"]);
        drop(copies);
        assert_eq!(total.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn what_is_larger_than_the_limit_is_not_kept_and_costs_no_other() {
        let total = NearBytes::default();
        let mut copies = Copies::sharing(total.clone());
        copies.keep(entry("a", 100), at(1), 3 * COST);
        copies.keep(entry("b", 100), at(1), 3 * COST);
        copies.keep(entry("large", 1000), at(1), 3 * COST);
        assert_eq!(keys(&copies), [b"a", b"b"]);
        // What it would have taken the place of is old, and must not be read any more.
        copies.keep(entry("b", 1000), at(2), 3 * COST);
        assert_eq!(keys(&copies), [b"a"]);
        check(&[&copies], &total, 3 * COST);
    }

    #[test]
    fn a_copy_goes_at_the_end_of_its_lease() {
        let total = NearBytes::default();
        let mut copies = Copies::sharing(total.clone());
        copies.keep(entry("a", 100), at(500), 9 * COST);
        copies.keep(entry("b", 100), at(600), 9 * COST);
        copies.keep(entry("a", 100), at(700), 9 * COST);
        assert_eq!(copies.next(), Some(at(500)));
        copies.prune(at(599));
        assert_eq!(keys(&copies), [b"a", b"b"]);
        copies.prune(at(600));
        assert_eq!(keys(&copies), [b"a"]);
        copies.prune(at(700));
        assert!(copies.entries.is_empty() && copies.next().is_none());
        check(&[&copies], &total, 0);
    }

    #[test]
    fn a_partition_that_comes_late_finds_room_once_the_leases_of_others_end() {
        let total = NearBytes::default();
        let (mut one, mut two) = (
            Copies::sharing(total.clone()),
            Copies::sharing(total.clone()),
        );
        for key in ["a", "b", "c"] {
            one.keep(entry(key, 100), at(500), 3 * COST);
        }
        two.keep(entry("x", 100), at(700), 3 * COST);
        assert!(two.entries.is_empty(), "the room is taken");
        assert_eq!(one.entries.len(), 3, "and stays so");
        one.prune(at(500));
        for key in ["x", "y"] {
            two.keep(entry(key, 100), at(1000), 3 * COST);
        }
        assert_eq!(keys(&two), [b"x", b"y"]);
        one.keep(entry("a", 100), at(1000), 3 * COST);
        check(&[&one, &two], &total, 3 * COST);
        assert_eq!(keys(&one), [b"a"]);
    }
}
