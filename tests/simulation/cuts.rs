//! Cutting the network into parts and joining it again.

use crate::clock::{MS, SECOND, Time};
use crate::faults::FaultKind;
use crate::world::{Happening, World};

/// A link whose packets do not pass is given up after this at the latest, if at all.
const GIVE_UP_MAX: Time = 8 * SECOND;

impl World {
    /// Cuts by one of the patterns; nothing with fewer than two nodes.
    pub fn cut(&mut self, kind: FaultKind) -> Option<usize> {
        let count = self.nodes.len();
        let mut order: Vec<usize> = (0..count).collect();
        self.dice.shuffle(&mut order);
        match kind {
            FaultKind::SplitOne => self.part(&order[..1], &order[1..]),
            FaultKind::SplitHalf => self.part(&order[..count / 2], &order[count / 2..]),
            FaultKind::SplitThird => {
                self.part(&order[..count.div_ceil(3)], &order[count.div_ceil(3)..])
            }
            FaultKind::Overlap => self.part(&order[..1], &order[1..2]),
            FaultKind::OneWay => self.cut_one_way(order[0], order[1]),
            _ => {
                self.part(&order[..1], &order[1..]);
                self.after(500 * MS, Happening::FaultEnds(FaultKind::Flap, 0));
            }
        }
        Some(order[0])
    }

    /// Cuts a node off from all others.
    pub fn isolate(&mut self, node: usize) {
        let others: Vec<usize> = (0..self.nodes.len())
            .filter(|other| *other != node)
            .collect();
        self.part(&[node], &others);
    }

    pub fn part(&mut self, left: &[usize], right: &[usize]) {
        for &a in left {
            for &b in right {
                self.cut_one_way(a, b);
                self.cut_one_way(b, a);
            }
        }
    }

    pub fn cut_one_way(&mut self, from: usize, to: usize) {
        self.network.set_cut(from, to, true);
        if let Some(link) = self.network.link(from, to)
            && self.dice.percent(70)
        {
            let link = link.id;
            let span = self.dice.below(GIVE_UP_MAX);
            self.after(
                span,
                Happening::LinkTimeout {
                    a: from,
                    b: to,
                    link,
                },
            );
        }
    }

    /// Every cable back in.
    pub fn heal(&mut self) -> Option<usize> {
        for from in 0..self.nodes.len() {
            for to in 0..self.nodes.len() {
                self.network.set_cut(from, to, false);
            }
        }
        self.release();
        Some(0)
    }

    /// One cable back in.
    pub fn heal_one(&mut self) -> Option<usize> {
        let count = self.nodes.len();
        let mut cut = Vec::new();
        for a in 0..count {
            for b in a + 1..count {
                if !self.network.both_open(a, b) {
                    cut.push((a, b));
                }
            }
        }
        let (a, b) = *self.dice.pick(&cut)?;
        self.network.set_cut(a, b, false);
        self.network.set_cut(b, a, false);
        self.release();
        Some(a)
    }

    /// One beat of a cable that comes and goes at 1 Hz; it stops by chance, healed.
    pub fn flap(&mut self) {
        if self.now >= self.plan.faults_end {
            return;
        }
        if !self.network.whole() {
            self.heal();
            if self.dice.percent(30) {
                return;
            }
        } else {
            self.cut(FaultKind::SplitOne);
        }
        self.after(500 * MS, Happening::FaultEnds(FaultKind::Flap, 0));
    }

    fn release(&mut self) {
        for flight in self.network.release() {
            self.arrival(flight);
        }
    }
}
