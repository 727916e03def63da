//! Cluster time: the monotonic clock plus an offset. The coordinator's clock leads; the others
//! follow the sample of it with the shortest round trip, whose error is at most half of that.

use super::Membership;
use crate::engine::planted::{self, Fault};
use crate::types::message::Heartbeat;
use crate::types::{ClusterTime, Member, Micros, Monotonic};

/// What one heartbeat told of a peer's cluster time.
#[derive(Clone, Copy, Debug)]
pub struct Sample {
    pub base: Member,
    pub round_trip: Micros,
    /// Its cluster time less the own monotonic clock.
    offset: i64,
    taken: Monotonic,
}

impl Sample {
    pub fn new(heartbeat: &Heartbeat, round_trip: Micros, mono: Monotonic) -> Self {
        let then = heartbeat.cluster_time.0.saturating_add(round_trip / 2);
        Self {
            base: heartbeat.time_base,
            round_trip,
            offset: difference(then, mono.0),
            taken: mono,
        }
    }
}

fn difference(a: u64, b: u64) -> i64 {
    i64::try_from(i128::from(a) - i128::from(b)).unwrap_or_default()
}

/// This node's idea of cluster time.
pub struct Clock {
    offset: i64,
    base: Member,
    /// Whose clock is followed, how far the own one was from it at most, and when.
    leader: Member,
    error: Micros,
    error_at: Monotonic,
}

/// How far two monotonic clocks drift apart at most, in parts per million.
const DRIFT_PPM: u64 = 200;

impl Clock {
    /// Before there is a cluster: the wall clock.
    pub fn new(mono: Monotonic, wall: u64, me: Member) -> Self {
        let offset = difference(wall, mono.0);
        Self {
            offset,
            base: me,
            leader: me,
            error: 0,
            error_at: mono,
        }
    }

    pub fn at(&self, mono: Monotonic) -> ClusterTime {
        ClusterTime(mono.0).shifted(self.offset)
    }

    pub fn offset(&self) -> i64 {
        self.offset
    }

    /// Follows a sample where that makes the clock no worse: a long round trip says little.
    fn take(&mut self, sample: Sample, leader: Member, error_max: Micros, mono: Monotonic) {
        if self.leader != leader {
            self.leader = leader;
            self.error = error_max / 2;
            self.error_at = mono;
        }
        let drift = mono.since(self.error_at) * DRIFT_PPM / 1_000_000;
        let aged = mono.since(sample.taken) * DRIFT_PPM / 1_000_000;
        if sample.round_trip / 2 + aged <= self.error + drift {
            let astray = if planted::is(Fault::ClockAstray) {
                300_000
            } else {
                0
            };
            self.offset = sample.offset + astray;
            self.error = sample.round_trip / 2;
            self.error_at = sample.taken;
        }
    }

    /// How far cluster time here is from a peer's at least, by one sample of it.
    fn apart(&self, sample: &Sample, mono: Monotonic) -> Micros {
        let aged = mono.since(sample.taken) * DRIFT_PPM / 1_000_000;
        let unknown = sample.round_trip / 2 + aged;
        let apart = self.offset.abs_diff(sample.offset);
        apart.saturating_sub(unknown)
    }

    /// Who formed the cluster whose time this is.
    pub fn base(&self) -> Member {
        self.base
    }
}

impl Membership {
    /// Follows the coordinator's clock.
    pub(super) fn follow_clock(&mut self, from: Member, mono: Monotonic) {
        let leads = self
            .view
            .coordinator()
            .is_some_and(|node| node.member == from);
        if !leads || self.acting_coordinator() != Some(from) {
            return;
        }
        let sample = self
            .links
            .get(&from)
            .and_then(|link| link.sample(self.clock.base));
        if let Some(sample) = sample {
            self.clock
                .take(sample, from, self.options.clock_error_max, mono);
        }
    }

    /// By how much cluster time here differs from that of the other servers of the view, where that
    /// is more than `clock_error_max`; else 0. Most decide who is astray, and of as many on both
    /// sides the coordinator, whom the others follow. A peer differs where each of its last samples
    /// says so, whatever the round trips hide.
    pub fn clock_apart(&self) -> Micros {
        let mono = self.last_tick;
        let leader = self.view.coordinator().map(|node| node.member);
        let (mut agree, mut apart, mut by) = (1, 0, 0);
        let mut with_leader = leader == Some(self.me);
        for node in self.view.servers() {
            let link = self.links.get(&node.member);
            let Some(link) = link.filter(|link| link.connected) else {
                continue;
            };
            let samples = link.samples_of(self.clock.base);
            let Some(least) = samples.map(|sample| self.clock.apart(sample, mono)).min() else {
                continue;
            };
            if least > self.options.clock_error_max {
                apart += 1;
                by = least.max(by);
            } else {
                agree += 1;
                with_leader |= leader == Some(node.member);
            }
        }
        let astray = apart > agree || (apart == agree && !with_leader);
        if astray { by } else { 0 }
    }

    /// Whether the time of another cluster can be taken over from this peer.
    pub(super) fn knows_time_of(&self, peer: Member, base: Member) -> bool {
        let exact = |sample: Sample| sample.round_trip / 2 <= self.options.clock_error_max / 2;
        base == self.clock.base
            || self
                .links
                .get(&peer)
                .and_then(|link| link.sample(base))
                .is_some_and(exact)
    }

    /// Takes the time of the view over; returns by how much stored points move.
    pub(super) fn take_time(&mut self, base: Member, from: Member) -> i64 {
        if base == self.clock.base {
            return 0;
        }
        let sample = self.links.get(&from).and_then(|link| link.sample(base));
        let old = self.clock.offset;
        self.clock.base = base;
        if let Some(sample) = sample {
            self.clock.offset = sample.offset;
            self.clock.leader = from;
            self.clock.error = sample.round_trip / 2;
            self.clock.error_at = sample.taken;
        }
        self.clock.offset - old
    }
}
