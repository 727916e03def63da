//! The largest set of servers that all reach each other, for when some pairs do not.

use crate::types::Member;
use std::collections::BTreeSet;

/// Above this many servers the search is greedy, oldest first.
const EXACT_MAX: usize = 16;

/// The largest set in which no pair of `broken` occurs; of equal ones the one with the oldest.
/// `servers` is oldest first.
pub fn largest(servers: &[Member], broken: &BTreeSet<(Member, Member)>) -> Vec<Member> {
    let apart = |a: Member, b: Member| broken.contains(&(a, b)) || broken.contains(&(b, a));
    if servers.len() > EXACT_MAX {
        let mut set: Vec<Member> = Vec::new();
        for server in servers {
            if set.iter().all(|member| !apart(*member, *server)) {
                set.push(*server);
            }
        }
        return set;
    }
    let mut best: Vec<Member> = Vec::new();
    for bits in 0u32..(1 << servers.len()) {
        let set: Vec<Member> = (0..servers.len())
            .filter(|place| bits & (1 << place) != 0)
            .map(|place| servers[place])
            .collect();
        let whole = set
            .iter()
            .enumerate()
            .all(|(place, a)| set.iter().skip(place + 1).all(|b| !apart(*a, *b)));
        let older = |set: &[Member], than: &[Member]| {
            servers
                .iter()
                .find(|server| set.contains(server) != than.contains(server))
                .is_some_and(|server| set.contains(server))
        };
        if whole && (set.len() > best.len() || (set.len() == best.len() && older(&set, &best))) {
            best = set;
        }
    }
    best
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

    #[test]
    fn the_largest_set_wins_and_ties_go_to_the_oldest() {
        let servers: Vec<Member> = (1..=5).map(member).collect();
        let broken = BTreeSet::from([(member(1), member(2)), (member(3), member(1))]);
        assert_eq!(largest(&servers, &broken), [2, 3, 4, 5].map(member));
        let broken = BTreeSet::from([(member(4), member(2))]);
        assert_eq!(largest(&servers, &broken), [1, 2, 3, 5].map(member));
        assert_eq!(largest(&servers, &BTreeSet::new()), servers);
    }
}
