//! The largest set of servers that all reach each other, for when some pairs do not.
//!
//! Who reaches everybody is in it without a search. Of the others it is exact up to `EXACT_MAX`;
//! beyond that, whoever has the most broken pairs goes first.

use crate::types::Member;
use std::collections::{BTreeMap, BTreeSet};

/// Among so many servers that do not reach somebody the search is exact. It takes some ten thousand
/// steps at worst, and a few where one server reaches few.
const EXACT_MAX: usize = 32;

/// The largest set in which no pair of `broken` occurs; of equal ones the one with the oldest.
/// `servers` is oldest first.
pub fn largest(servers: &[Member], broken: &BTreeSet<(Member, Member)>) -> Vec<Member> {
    let places: BTreeMap<Member, usize> = servers.iter().copied().zip(0..).collect();
    let mut apart: BTreeMap<usize, BTreeSet<usize>> = BTreeMap::new();
    for (a, b) in broken {
        if let (Some(a), Some(b)) = (places.get(a), places.get(b))
            && a != b
        {
            apart.entry(*a).or_default().insert(*b);
            apart.entry(*b).or_default().insert(*a);
        }
    }
    let mut out = BTreeSet::new();
    while apart.len() > EXACT_MAX {
        // Of equal ones the youngest, which is the last.
        let worst = apart.iter().max_by_key(|(_, others)| others.len());
        let Some(worst) = worst.map(|(place, _)| *place) else {
            break;
        };
        out.insert(worst);
        apart.remove(&worst);
        apart.retain(|_, others| {
            others.remove(&worst);
            !others.is_empty()
        });
    }
    out.extend(beside_largest(&apart));
    let kept = servers.iter().zip(0..);
    kept.filter(|(_, place)| !out.contains(place))
        .map(|(server, _)| *server)
        .collect()
}

/// The places that are not in the largest set, of [`EXACT_MAX`] at most.
fn beside_largest(apart: &BTreeMap<usize, BTreeSet<usize>>) -> Vec<usize> {
    // One bit for each, the oldest in the highest: of two sets of one size, the greater number has
    // the oldest.
    let bits: BTreeMap<usize, u32> = apart
        .keys()
        .enumerate()
        .map(|(nth, place)| (*place, 1 << (EXACT_MAX - 1 - nth)))
        .collect();
    let mut search = Search {
        apart: [0; EXACT_MAX],
        best: (0, 0),
    };
    for (nth, others) in apart.values().enumerate() {
        search.apart[nth] = others.iter().filter_map(|other| bits.get(other)).sum();
    }
    search.look(0, bits.values().sum());
    let (_, best) = search.best;
    let outside = bits.iter().filter(|(_, bit)| best & **bit == 0);
    outside.map(|(place, _)| *place).collect()
}

/// A search by branches: whoever has the most broken pairs is in the set, or is not.
struct Search {
    /// Whom each does not reach, the oldest first.
    apart: [u32; EXACT_MAX],
    /// The size of the best set, and the set.
    best: (u32, u32),
}

impl Search {
    fn look(&mut self, chosen: u32, free: u32) {
        if (chosen | free).count_ones() < self.best.0 {
            return;
        }
        let left = (0..EXACT_MAX)
            .filter(|nth| free & bit(*nth) != 0)
            .map(|nth| ((self.apart[nth] & free).count_ones(), nth));
        match left.max() {
            Some((pairs, worst)) if pairs > 0 => {
                let without = free & !bit(worst);
                self.look(chosen | bit(worst), without & !self.apart[worst]);
                self.look(chosen, without);
            }
            _ => {
                let set = chosen | free;
                self.best = self.best.max((set.count_ones(), set));
            }
        }
    }
}

fn bit(nth: usize) -> u32 {
    1 << (EXACT_MAX - 1 - nth)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::NodeId;

    fn member(id: u64) -> Member {
        Member {
            id: NodeId(id),
            ..Member::default()
        }
    }

    fn of(count: u64, pairs: &[(u64, u64)]) -> Vec<u64> {
        let servers: Vec<Member> = (1..=count).map(member).collect();
        let broken = pairs.iter().map(|(a, b)| (member(*a), member(*b)));
        let kept = largest(&servers, &broken.collect());
        kept.iter().map(|member| member.id.0).collect()
    }

    #[test]
    fn the_largest_set_wins_and_ties_go_to_the_oldest() {
        assert_eq!(of(5, &[(1, 2), (3, 1)]), [2, 3, 4, 5]);
        assert_eq!(of(5, &[(4, 2)]), [1, 2, 3, 5]);
        assert_eq!(of(4, &[(1, 2), (2, 3), (3, 4)]), [1, 3]);
        assert_eq!(of(5, &[]), [1, 2, 3, 4, 5]);
        // Said from both sides, of oneself, and of one who is not there.
        assert_eq!(of(3, &[(1, 2), (2, 1), (3, 3), (3, 9)]), [1, 3]);
    }

    #[test]
    fn the_oldest_goes_where_it_reaches_few_of_many() {
        for others in [20, 200] {
            let pairs: Vec<(u64, u64)> = (2..others + 2).map(|other| (1, other)).collect();
            let kept: Vec<u64> = (2..=others + 10).collect();
            assert_eq!(of(others + 10, &pairs), kept);
        }
    }

    /// What a search through all sets finds.
    fn through_all(count: u64, pairs: &[(u64, u64)]) -> Vec<u64> {
        let sets = (0u64..1 << count).map(|bits| {
            let set: Vec<u64> = (1..=count)
                .filter(|id| bits & (1 << (count - id)) != 0)
                .collect();
            (set.len(), bits, set)
        });
        let whole = |set: &Vec<u64>| {
            let mut pairs = pairs.iter();
            pairs.all(|(a, b)| a == b || !set.contains(a) || !set.contains(b))
        };
        let (.., best) = sets
            .filter(|(.., set)| whole(set))
            .max()
            .unwrap_or_default();
        best
    }

    #[test]
    fn the_search_finds_what_a_search_through_all_sets_finds() {
        let mut state = 7u64;
        let mut draw = |below: u64| {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            (state >> 33) % below
        };
        for _ in 0..200 {
            let count = 2 + draw(9);
            let pairs: Vec<(u64, u64)> = (0..draw(2 * count))
                .map(|_| (1 + draw(count), 1 + draw(count)))
                .collect();
            assert_eq!(of(count, &pairs), through_all(count, &pairs), "{pairs:?}");
        }
    }

    #[test]
    fn half_against_half_and_more_than_are_searched_end_soon() {
        let halves: Vec<(u64, u64)> = (1..=16)
            .flat_map(|a| (17..=32).map(move |b| (a, b)))
            .collect();
        assert_eq!(of(32, &halves), (1..=16).collect::<Vec<_>>());
        // Three in a circle of broken pairs, again and again: the oldest of each is kept.
        let circles: Vec<(u64, u64)> = (0..40)
            .flat_map(|nth| [(1, 2), (2, 3), (1, 3)].map(|(a, b)| (3 * nth + a, 3 * nth + b)))
            .collect();
        let oldest: Vec<u64> = (0..40).map(|nth| 3 * nth + 1).collect();
        assert_eq!(of(120, &circles), oldest);
    }
}
