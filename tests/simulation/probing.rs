//! The world's side of probing the address list, hello, and links that come and go.

use crate::clock::{MS, SECOND, Time};
use crate::machine::Input;
use crate::world::{Happening, World};
use embergrid::engine::ProbeOutcome;
use embergrid::types::{Member, NodeId, NodeInfo};

/// Between two probes of one endpoint by one node.
const PROBE_INTERVAL: Time = SECOND;
/// How long a probe waits for a silent endpoint.
const PROBE_TIMEOUT: Time = 800 * MS;

/// The id of a node by its place in the address list.
pub fn id_of(index: usize) -> NodeId {
    NodeId::of(&format!("node-{index}"))
}

impl World {
    fn lives(&self, node: usize, member: Member) -> bool {
        self.nodes[node].member() == Some(member)
    }

    pub fn probe_leaves(&mut self, node: usize, member: Member, endpoint: usize) {
        if !self.lives(node, member) {
            return;
        }
        if self.nodes[node].paused {
            self.after(
                50 * MS,
                Happening::ProbeLeaves {
                    node,
                    member,
                    endpoint,
                },
            );
            return;
        }
        let latency = self.network.latency();
        self.after(
            latency,
            Happening::ProbeArrives {
                node,
                member,
                endpoint,
                dial: false,
            },
        );
    }

    /// The request is at the endpoint's machine: it is decided here what comes of it.
    pub fn probe_arrives(&mut self, node: usize, member: Member, endpoint: usize, dial: bool) {
        if !self.lives(node, member) {
            return;
        }
        let open = node == endpoint || self.network.both_open(node, endpoint);
        let outcome = match self.nodes[endpoint].member() {
            _ if !open => ProbeOutcome::Silent,
            None => ProbeOutcome::Refused,
            Some(_) if node == endpoint => ProbeOutcome::Myself,
            Some(_) if self.nodes[endpoint].paused || self.nodes[node].paused => {
                ProbeOutcome::Silent
            }
            Some(peer) => ProbeOutcome::Peer(peer),
        };
        let wait = if outcome == ProbeOutcome::Silent {
            PROBE_TIMEOUT
        } else {
            self.network.latency()
        };
        if let ProbeOutcome::Peer(peer) = outcome {
            self.hello(node, member, endpoint, peer, dial);
        }
        if !dial {
            self.after(
                wait,
                Happening::ProbeEnds {
                    node,
                    member,
                    endpoint,
                    outcome,
                },
            );
        } else if outcome == ProbeOutcome::Refused {
            self.drop_link_of(node, endpoint, true);
        }
    }

    pub fn probe_ends(
        &mut self,
        node: usize,
        member: Member,
        endpoint: usize,
        outcome: ProbeOutcome,
    ) {
        if !self.lives(node, member) {
            return;
        }
        self.feed(node, Input::Probe(endpoint, outcome));
        self.after(
            PROBE_INTERVAL,
            Happening::ProbeLeaves {
                node,
                member,
                endpoint,
            },
        );
    }

    /// Hello was exchanged: a link stands, unless one between these two lives stands already.
    fn hello(&mut self, node: usize, member: Member, endpoint: usize, peer: Member, fresh: bool) {
        let low_first = if node < endpoint {
            [member, peer]
        } else {
            [peer, member]
        };
        let old = self
            .network
            .link(node, endpoint)
            .map(|link| (link.id, link.lives));
        if old.is_some_and(|(_, lives)| lives == low_first) && !fresh {
            return;
        }
        self.network.connect((node, member), (endpoint, peer));
        if let Some((_, lives)) = old {
            let (mine, theirs) = if node < endpoint {
                (lives[0], lives[1])
            } else {
                (lives[1], lives[0])
            };
            if theirs != peer {
                self.feed(node, Input::LinkDown(theirs, false));
            }
            if mine != member {
                self.feed(endpoint, Input::LinkDown(mine, false));
            }
        }
        let infos = (self.nodes[node].info(), self.nodes[endpoint].info());
        let (Some(mine), Some(theirs)) = infos else {
            return;
        };
        let spoken = self.nodes[node].protocol.min(self.nodes[endpoint].protocol);
        for (end, peer) in [(node, theirs.member), (endpoint, mine.member)] {
            if let Some(process) = &self.nodes[end].process {
                process.shell.note_spoken(peer, spoken);
            }
        }
        if self.network.rng.percent(50) {
            self.feed(node, Input::LinkUp(theirs));
            self.feed(endpoint, Input::LinkUp(mine));
        } else {
            self.feed(endpoint, Input::LinkUp(mine));
            self.feed(node, Input::LinkUp(theirs));
        }
    }

    /// The engine wants a fresh connection.
    pub fn dial(&mut self, node: usize, member: Member, peer: &NodeInfo) {
        let endpoint = (0..self.nodes.len()).find(|index| id_of(*index) == peer.member.id);
        let Some(endpoint) = endpoint.filter(|endpoint| *endpoint != node) else {
            return;
        };
        let latency = self.network.latency();
        self.after(
            latency,
            Happening::ProbeArrives {
                node,
                member,
                endpoint,
                dial: true,
            },
        );
    }

    /// The link of a pair ends for one of them, as its system tells it.
    fn drop_link_of(&mut self, node: usize, endpoint: usize, refused: bool) {
        let Some(link) = self.network.link(node, endpoint) else {
            return;
        };
        let (id, lives) = (link.id, link.lives);
        self.network.disconnect(node, endpoint, id);
        let theirs = lives[usize::from(endpoint > node)];
        self.feed(node, Input::LinkDown(theirs, refused));
    }

    /// The link breaks for both.
    pub fn break_link(&mut self, a: usize, b: usize) {
        let Some(link) = self.network.link(a, b) else {
            return;
        };
        let (id, lives) = (link.id, link.lives);
        self.network.disconnect(a, b, id);
        self.log
            .note(self.now, a, 6, format_args!("link to n{b} breaks"));
        for (end, other) in [(a, b), (b, a)] {
            if self.lives(end, lives[usize::from(end > other)]) {
                self.feed(end, Input::LinkDown(lives[usize::from(other > end)], false));
            }
        }
    }

    pub fn link_timeout(&mut self, a: usize, b: usize, link: u64) {
        let current = self.network.link(a, b).is_some_and(|now| now.id == link);
        if current && !self.network.both_open(a, b) {
            self.break_link(a, b);
        }
    }

    pub fn link_reset(&mut self, dead: usize, survivor: usize, link: u64, gone: Member) {
        if self
            .network
            .link(dead, survivor)
            .is_none_or(|now| now.id != link)
        {
            return;
        }
        if !self.network.both_open(dead, survivor) {
            self.after(
                500 * MS,
                Happening::LinkReset {
                    dead,
                    survivor,
                    link,
                    gone,
                },
            );
            return;
        }
        self.network.disconnect(dead, survivor, link);
        let refused = !self.nodes[dead].up();
        self.feed(survivor, Input::LinkDown(gone, refused));
    }
}
