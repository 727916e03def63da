//! The graph of transactions, and its cycles by kind (after Adya, and Elle by Kingsbury and Alvaro).
//! Each kind is looked for by itself, so that one of them does not hide another.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// Why one transaction comes before another. Of several reasons the first in this order counts, so
/// that a cycle has the name of the worst that it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Edge {
    /// The other wrote over what it wrote (ww).
    Wrote,
    /// The other read what it wrote (wr).
    Read,
    /// The other wrote over what it read (rw).
    Overwrote,
}

/// The kinds of cycles: the edge that closes one, those of the rest, and whether another "rw" must
/// be among them.
const KINDS: [(&str, Edge, Edge, bool); 4] = [
    ("G0: dirty write", Edge::Wrote, Edge::Wrote, false),
    ("G1c: circular reads", Edge::Read, Edge::Read, false),
    ("G-single: read skew", Edge::Overwrote, Edge::Read, false),
    ("G2: write skew", Edge::Overwrote, Edge::Overwrote, true),
];

/// Transactions by their places in the record.
#[derive(Default)]
pub struct Graph {
    edges: BTreeMap<usize, BTreeMap<usize, Edge>>,
}

impl Graph {
    pub fn add(&mut self, from: usize, to: usize, kind: Edge) {
        if from != to {
            let known = self.edges.entry(from).or_default().entry(to);
            let known = known.or_insert(kind);
            *known = kind.min(*known);
        }
    }

    /// Of each kind that there is, the shortest cycle.
    pub fn cycles(&self) -> Vec<(&'static str, Vec<usize>)> {
        let mut found = Vec::new();
        for (name, closes, rest, more) in KINDS {
            if self.is_acyclic(closes.max(rest)) {
                continue;
            }
            let closing = self.along(closes).filter(|(_, _, kind)| *kind == closes);
            let ways = closing.filter_map(|(from, to, _)| self.way(to, from, rest, more));
            // What goes twice through one place is two shorter ones.
            let simple = |way: &Vec<usize>| way.iter().collect::<BTreeSet<_>>().len() == way.len();
            let shortest = ways.filter(simple).min_by_key(Vec::len);
            found.extend(shortest.map(|way| (name, way)));
        }
        found
    }

    /// All edges up to a kind.
    fn along(&self, most: Edge) -> impl Iterator<Item = (usize, usize, Edge)> {
        let all = self.edges.iter().flat_map(|(from, edges)| {
            let edges = edges.iter();
            edges.map(|(to, kind)| (*from, *to, *kind))
        });
        all.filter(move |(_, _, kind)| *kind <= most)
    }

    /// The shortest way by edges up to a kind; `more`: by one "rw" at least.
    fn way(&self, from: usize, to: usize, most: Edge, more: bool) -> Option<Vec<usize>> {
        let (start, end) = ((from, false), (to, more));
        let mut came = BTreeMap::new();
        let mut queue = VecDeque::from([start]);
        while let Some(at) = queue.pop_front() {
            if at == end {
                let mut way = vec![at.0];
                let mut place = at;
                while let Some(before) = came.get(&place) {
                    place = *before;
                    way.push(place.0);
                }
                way.reverse();
                return Some(way);
            }
            for (next, kind) in self.edges.get(&at.0).into_iter().flatten() {
                let next = (*next, at.1 || (more && *kind == Edge::Overwrote));
                if *kind <= most && next != start && !came.contains_key(&next) {
                    came.insert(next, at);
                    queue.push_back(next);
                }
            }
        }
        None
    }

    /// Whether all can be put in an order, by edges up to a kind.
    fn is_acyclic(&self, most: Edge) -> bool {
        let mut before: BTreeMap<usize, usize> = BTreeMap::new();
        for (from, to, _) in self.along(most) {
            before.entry(from).or_default();
            *before.entry(to).or_default() += 1;
        }
        let free = before.iter().filter(|(_, count)| **count == 0);
        let mut queue: Vec<usize> = free.map(|(place, _)| *place).collect();
        let mut ordered = 0;
        while let Some(at) = queue.pop() {
            ordered += 1;
            for (next, kind) in self.edges.get(&at).into_iter().flatten() {
                if *kind > most {
                    continue;
                }
                if let Some(count) = before.get_mut(next) {
                    *count -= 1;
                    if *count == 0 {
                        queue.push(*next);
                    }
                }
            }
        }
        ordered == before.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kinds(edges: &[(usize, usize, Edge)]) -> Vec<&'static str> {
        let mut graph = Graph::default();
        for (from, to, kind) in edges {
            graph.add(*from, *to, *kind);
        }
        let cycles = graph.cycles().into_iter();
        cycles
            .map(|(name, _)| &name[..name.find(':').unwrap_or(0)])
            .collect()
    }

    #[test]
    fn each_kind_is_found_beside_the_others() {
        use Edge::{Overwrote, Read, Wrote};
        let g2 = [(0, 1, Overwrote), (1, 0, Overwrote)];
        let single = [(2, 3, Overwrote), (3, 4, Wrote), (4, 2, Read)];
        let circular = [(5, 6, Read), (6, 5, Wrote)];
        let dirty = [(7, 8, Wrote), (8, 9, Wrote), (9, 7, Wrote)];
        assert_eq!(kinds(&g2), ["G2"]);
        assert_eq!(kinds(&single), ["G-single"]);
        assert_eq!(kinds(&circular), ["G1c"]);
        assert_eq!(kinds(&dirty), ["G0"]);
        let all = [&g2[..], &single, &circular, &dirty].concat();
        assert_eq!(kinds(&all), ["G0", "G1c", "G-single", "G2"]);
        assert_eq!(
            kinds(&[(0, 1, Wrote), (1, 2, Overwrote), (0, 2, Read)]),
            [""; 0]
        );
    }

    #[test]
    fn a_cycle_is_what_is_worst_of_it_and_no_walk_that_returns() {
        use Edge::{Overwrote, Read, Wrote};
        // Two reasons for one order.
        let both = [(0, 1, Overwrote), (0, 1, Wrote), (1, 0, Read)];
        assert_eq!(kinds(&both), ["G1c"]);
        // Twice around one "rw" is not two of them.
        let single = [(0, 1, Overwrote), (1, 2, Read), (2, 0, Read)];
        assert_eq!(kinds(&single), ["G-single"]);
    }
}
