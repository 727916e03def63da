//! The wires between the nodes: which directions are cut, the links that hello made, and on each
//! link ordered lanes as TCP streams have them: a cut stalls a lane, a reset loses what is in it.
//! Single messages may also be lost, doubled or overtaken while a mood says so. What is not here:
//! who is alive (the world knows).

use crate::clock::{MS, Time};
use crate::rng::Rng;
use embergrid::types::message::Message;
use embergrid::types::{CacheId, Member};
use std::collections::{BTreeMap, VecDeque};

/// What the network does to single messages.
#[derive(Clone, Copy, Debug, Default)]
pub struct Mood {
    pub loss_ppm: u64,
    pub double_ppm: u64,
    pub overtake_ppm: u64,
    /// Added to the latency of every message, at most.
    pub delay: Time,
}

/// An ordered stream of a link in one direction: control, or one partition's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum LaneKey {
    Control,
    Partition(CacheId, u32),
    Forward(u32),
    Reply,
}

impl LaneKey {
    pub fn of(message: &Message) -> Self {
        match message {
            Message::Control(_) => Self::Control,
            Message::Data(data) => Self::Partition(data.cache, data.partition),
            Message::Forward(forward) => Self::Forward(forward.request.partition),
            Message::ForwardReply(_) => Self::Reply,
        }
    }
}

#[derive(Debug, Default)]
struct Lane {
    last_arrival: Time,
    stalled: VecDeque<Message>,
}

/// A connection between two lives of two nodes.
#[derive(Debug)]
pub struct Link {
    pub id: u64,
    /// The lower and the higher node.
    pub lives: [Member; 2],
    lanes: BTreeMap<(usize, LaneKey), Lane>,
}

/// A message on its way.
#[derive(Debug)]
pub struct Flight {
    pub link: u64,
    pub from: usize,
    pub to: usize,
    pub lane: LaneKey,
    pub message: Message,
}

pub struct Network {
    size: usize,
    cut: Vec<bool>,
    links: BTreeMap<(usize, usize), Link>,
    next_link: u64,
    pub mood: Mood,
    pub rng: Rng,
    pub lost: u64,
    pub doubled: u64,
    pub overtaken: u64,
}

/// A pair in the order of the table of links.
pub fn pair(a: usize, b: usize) -> (usize, usize) {
    (a.min(b), a.max(b))
}

impl Network {
    pub fn new(size: usize, rng: Rng) -> Self {
        Self {
            size,
            cut: vec![false; size * size],
            links: BTreeMap::new(),
            next_link: 1,
            mood: Mood::default(),
            rng,
            lost: 0,
            doubled: 0,
            overtaken: 0,
        }
    }

    pub fn latency(&mut self) -> Time {
        let base = self.rng.within(100, 600);
        let tail = if self.rng.percent(3) {
            self.rng.within(0, 10 * MS)
        } else {
            0
        };
        base + tail + self.rng.below(self.mood.delay + 1)
    }

    /// Whether packets from one node reach another.
    pub fn open(&self, from: usize, to: usize) -> bool {
        !self.cut[from * self.size + to]
    }

    pub fn both_open(&self, a: usize, b: usize) -> bool {
        self.open(a, b) && self.open(b, a)
    }

    pub fn whole(&self) -> bool {
        !self.cut.contains(&true)
    }

    pub fn set_cut(&mut self, from: usize, to: usize, cut: bool) {
        self.cut[from * self.size + to] = cut;
    }

    pub fn link(&self, a: usize, b: usize) -> Option<&Link> {
        self.links.get(&pair(a, b))
    }

    /// All pairs that are linked.
    pub fn linked(&self) -> Vec<(usize, usize)> {
        self.links.keys().copied().collect()
    }

    /// A fresh link; an old one of the pair is gone with all that was in it.
    pub fn connect(&mut self, a: (usize, Member), b: (usize, Member)) -> u64 {
        let (low, high) = if a.0 < b.0 { (a, b) } else { (b, a) };
        let id = self.next_link;
        self.next_link += 1;
        let link = Link {
            id,
            lives: [low.1, high.1],
            lanes: BTreeMap::new(),
        };
        self.links.insert((low.0, high.0), link);
        id
    }

    /// The link ends; returns it if it was this one.
    pub fn disconnect(&mut self, a: usize, b: usize, id: u64) -> Option<Link> {
        if self
            .links
            .get(&pair(a, b))
            .is_some_and(|link| link.id == id)
        {
            return self.links.remove(&pair(a, b));
        }
        None
    }

    /// Queues a message: when each copy of it arrives.
    pub fn send(
        &mut self,
        from: usize,
        to: usize,
        target: Member,
        message: &Message,
        now: Time,
    ) -> Vec<(Time, u64, LaneKey)> {
        let mood = self.mood;
        if self.rng.ppm(mood.loss_ppm) {
            self.lost += 1;
            return Vec::new();
        }
        let mut arrivals = [now + self.latency(), 0];
        let overtakes = self.rng.ppm(mood.overtake_ppm);
        let doubles = self.rng.ppm(mood.double_ppm);
        if doubles {
            arrivals[1] = arrivals[0] + self.latency() * 4;
        }
        let Some(link) = self.links.get_mut(&pair(from, to)) else {
            return Vec::new();
        };
        if link.lives[usize::from(to > from)] != target {
            return Vec::new();
        }
        let key = LaneKey::of(message);
        let lane = link.lanes.entry((from, key)).or_default();
        if overtakes {
            self.overtaken += 1;
            arrivals[0] += 3 * MS;
        } else {
            arrivals[0] = arrivals[0].max(lane.last_arrival + 1);
            lane.last_arrival = arrivals[0];
        }
        self.doubled += u64::from(doubles);
        let copies = if doubles { 2 } else { 1 };
        arrivals[..copies]
            .iter()
            .map(|at| (*at, link.id, key))
            .collect()
    }

    /// A message reaches the end of its wire: handed over, or kept where its lane is stalled, or
    /// lost with its link.
    pub fn arrive(&mut self, flight: Flight) -> Option<Message> {
        let stalls = !self.open(flight.from, flight.to);
        let link = self.links.get_mut(&pair(flight.from, flight.to))?;
        if link.id != flight.link {
            return None;
        }
        if stalls {
            let lane = link.lanes.entry((flight.from, flight.lane)).or_default();
            lane.stalled.push_back(flight.message);
            return None;
        }
        Some(flight.message)
    }

    /// What was stalled and may go on, in order.
    pub fn release(&mut self) -> Vec<Flight> {
        let mut released = Vec::new();
        for (&(low, high), link) in &mut self.links {
            for (&(from, key), lane) in &mut link.lanes {
                let to = if from == low { high } else { low };
                if self.cut[from * self.size + to] {
                    continue;
                }
                for message in lane.stalled.drain(..) {
                    released.push(Flight {
                        link: link.id,
                        from,
                        to,
                        lane: key,
                        message,
                    });
                }
            }
        }
        released
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use embergrid::types::message::Control;
    use embergrid::types::{Incarnation, NodeId};

    fn life(id: u64) -> Member {
        Member {
            id: NodeId(id),
            incarnation: Incarnation(1),
        }
    }

    fn network() -> Network {
        let mut network = Network::new(2, Rng::stream(1, "network"));
        network.connect((0, life(10)), (1, life(11)));
        network
    }

    #[test]
    fn a_lane_keeps_its_order() {
        let mut network = network();
        let mut last = 0;
        for _ in 0..1000 {
            let sent = network.send(
                0,
                1,
                life(11),
                &Message::Control(Control::Leave(Default::default())),
                5,
            );
            assert!(sent[0].0 > last);
            last = sent[0].0;
        }
    }

    #[test]
    fn a_cut_stalls_and_a_heal_delivers() {
        let mut network = network();
        let message = Message::Control(Control::Leave(Default::default()));
        let (_, link, lane) = network.send(0, 1, life(11), &message, 5)[0];
        network.set_cut(0, 1, true);
        let flight = Flight {
            link,
            from: 0,
            to: 1,
            lane,
            message,
        };
        assert!(network.arrive(flight).is_none());
        assert!(network.release().is_empty());
        network.set_cut(0, 1, false);
        let mut released = network.release();
        assert_eq!(released.len(), 1);
        assert!(network.arrive(released.remove(0)).is_some());
    }

    #[test]
    fn a_new_link_forgets_what_the_old_one_carried() {
        let mut network = network();
        let message = Message::Control(Control::Leave(Default::default()));
        let (_, link, lane) = network.send(0, 1, life(11), &message, 5)[0];
        network.connect((1, life(11)), (0, life(10)));
        assert!(
            network
                .arrive(Flight {
                    link,
                    from: 0,
                    to: 1,
                    lane,
                    message: message.clone()
                })
                .is_none()
        );
        assert!(network.send(0, 1, life(99), &message, 5).is_empty());
    }
}
