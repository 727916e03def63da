//! What is known of one linked peer.

use super::clock::Sample;
use crate::types::message::Heartbeat;
use crate::types::{Member, Micros, Monotonic, NodeInfo, Role, TopologyVersion, View};
use std::collections::VecDeque;

/// How many samples of a peer's clock are kept.
const SAMPLES_MAX: usize = 8;

/// One peer.
pub struct Link {
    pub info: NodeInfo,
    pub connected: bool,
    /// Since when it has stood without a silence as long as `ack-timeout`.
    pub up_since: Monotonic,
    /// When the last message came.
    pub heard: Monotonic,
    /// The last heartbeat, and when it came.
    heartbeat: Option<(Heartbeat, Monotonic)>,
    /// The sending of the latest own heartbeat that the peer has acknowledged while in its view.
    pub acked: Option<Monotonic>,
    /// The same of heartbeats that vouch: they count for caches that stop in a minority.
    pub vouched: Option<Monotonic>,
    /// When it became suspected.
    pub suspected: Option<Monotonic>,
    /// While it is suspected: another server reaches it.
    pub reached_by_others: bool,
    /// Since when its view is what it is now.
    pub behind_since: Monotonic,
    samples: VecDeque<Sample>,
}

impl Link {
    pub fn new(info: NodeInfo, mono: Monotonic) -> Self {
        Self {
            info,
            connected: true,
            up_since: mono,
            heard: mono,
            heartbeat: None,
            acked: None,
            vouched: None,
            suspected: None,
            reached_by_others: false,
            behind_since: mono,
            samples: VecDeque::new(),
        }
    }

    /// Takes a heartbeat; whether the peer's view is another one than before.
    pub fn take_heartbeat(&mut self, heartbeat: Heartbeat, mono: Monotonic) -> bool {
        // A late one, overtaken by a younger.
        if self
            .heartbeat
            .as_ref()
            .is_some_and(|(old, _)| old.sent >= heartbeat.sent)
        {
            return false;
        }
        let news = self
            .heartbeat
            .as_ref()
            .is_none_or(|(old, _)| old.view != heartbeat.view || old.in_view != heartbeat.in_view);
        if news {
            self.behind_since = mono;
        }
        if heartbeat.echo > 0 && heartbeat.echo <= mono.0 {
            let round_trip = (mono.0 - heartbeat.echo).saturating_sub(heartbeat.echo_age);
            let sample = Sample::new(&heartbeat, round_trip, mono);
            self.samples.push_back(sample);
            if self.samples.len() > SAMPLES_MAX {
                self.samples.pop_front();
            }
            if heartbeat.in_view && !heartbeat.renounced {
                self.acked = self.acked.max(Some(Monotonic(heartbeat.echo)));
            }
            if heartbeat.vouches {
                self.vouched = self.vouched.max(Some(Monotonic(heartbeat.echo)));
            }
        }
        self.heartbeat = Some((heartbeat, mono));
        news
    }

    /// The best sample of the peer's cluster time, if it follows this base.
    pub fn sample(&self, base: Member) -> Option<Sample> {
        let samples = self.samples_of(base);
        samples.min_by_key(|sample| sample.round_trip).copied()
    }

    /// The last samples of the peer's cluster time that follow this base.
    pub fn samples_of(&self, base: Member) -> impl Iterator<Item = &Sample> {
        self.samples
            .iter()
            .filter(move |sample| sample.base == base)
    }

    /// What an own heartbeat says of the last one heard: its sending, and its age.
    pub fn echo(&self, mono: Monotonic) -> (u64, Micros) {
        self.heartbeat
            .as_ref()
            .map_or((0, 0), |(heartbeat, at)| (heartbeat.sent, mono.since(*at)))
    }

    /// Whether its view says anything: a client node may be the last of a cluster that is gone.
    pub fn is_server(&self) -> bool {
        self.info.role == Role::Server
    }

    /// The peer's committed view, once heard; number 0: none.
    pub fn view(&self) -> Option<TopologyVersion> {
        self.heartbeat.as_ref().map(|(heartbeat, _)| heartbeat.view)
    }

    pub fn last(&self) -> Option<&Heartbeat> {
        self.heartbeat.as_ref().map(|(heartbeat, _)| heartbeat)
    }

    /// Whether its last heartbeat came at or after a moment.
    pub fn heard_since(&self, moment: Monotonic) -> bool {
        self.heartbeat.as_ref().is_some_and(|(_, at)| *at >= moment)
    }

    /// Whether the peer is a member of this view and has gone on to a later one without this
    /// node.
    pub fn went_on(&self, view: &View) -> bool {
        self.heartbeat
            .as_ref()
            .is_some_and(|(heartbeat, _)| heartbeat.view > view.version && !heartbeat.in_view)
    }
}
