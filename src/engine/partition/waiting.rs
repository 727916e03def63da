//! Who waits for updates to commit: callers of a primary, until every owner holds their writes.

use super::{Asker, Cx, Partition};
use crate::error::{Error, ErrorKind};
use crate::types::{Monotonic, Reply, TopologyVersion};
use std::collections::VecDeque;

/// Who waits for an update to commit, and what it will be answered.
pub struct Waiter {
    pub asker: Asker,
    pub reply: Reply,
    /// The topology of the update that is waited for.
    pub topology: TopologyVersion,
    /// When it is told that nobody knows yet.
    pub deadline: Monotonic,
}

/// Who waits, by the counter of the update; for the same one first come first served. No more than
/// callers whose calls are under way.
#[derive(Default)]
pub struct Waiters {
    all: VecDeque<(u64, Waiter)>,
    /// The earliest deadline among them, or earlier.
    until: Option<Monotonic>,
}

impl Waiters {
    /// Nearly always the last place: only who repeats a request waits for an older update.
    fn add(&mut self, counter: u64, waiter: Waiter) {
        let until = self.next().unwrap_or(waiter.deadline);
        self.until = Some(until.min(waiter.deadline));
        let behind = self.all.iter().rev().take_while(|(own, _)| *own > counter);
        match behind.count() {
            0 => self.all.push_back((counter, waiter)),
            behind => self.all.insert(self.all.len() - behind, (counter, waiter)),
        }
    }

    /// Takes the first who waits for an update.
    pub fn take(&mut self, counter: u64) -> Option<Waiter> {
        let place = match self.all.front()? {
            (first, _) if *first < counter => self.all.partition_point(|(own, _)| *own < counter),
            _ => 0,
        };
        let waits = self.all.get(place).is_some_and(|(own, _)| *own == counter);
        let taken = if waits { self.all.remove(place) } else { None };
        taken.map(|(_, waiter)| waiter)
    }

    /// Takes all, in order.
    pub fn take_all(&mut self) -> impl Iterator<Item = Waiter> + use<> {
        let all = std::mem::take(&mut self.all);
        all.into_iter().map(|(_, waiter)| waiter)
    }

    /// Takes those whose time is up.
    fn take_late(&mut self, now: Monotonic) -> Vec<Waiter> {
        let all = std::mem::take(&mut self.all).into_iter();
        let (late, left): (Vec<_>, VecDeque<_>) = all.fold(Default::default(), |mut both, one| {
            if now >= one.1.deadline {
                both.0.push(one.1);
            } else {
                both.1.push_back(one);
            }
            both
        });
        self.until = left.iter().map(|(_, waiter)| waiter.deadline).min();
        self.all = left;
        late
    }

    /// Where nobody waits, the memory for those who did is given back.
    pub fn give_back(&mut self) {
        if self.all.is_empty() {
            self.all = VecDeque::new();
        }
    }

    /// When somebody's time is up, or earlier.
    pub fn next(&self) -> Option<Monotonic> {
        self.until.filter(|_| !self.all.is_empty())
    }
}

impl Partition {
    pub(super) fn wait_for(&mut self, counter: u64, waiter: Waiter) {
        self.waiters.add(counter, waiter);
    }

    /// Answers "unknown" to those whose time is up: their writes are on their way to the owners.
    pub(super) fn give_up_late_waiters(&mut self, cx: &Cx<'_>) {
        for waiter in self.waiters.take_late(cx.now.mono) {
            let context = "the write was not confirmed by every owner within the deadline";
            let error = Error::new(ErrorKind::DeadlineExceeded, context);
            self.answer(waiter.asker, Err(error), cx);
        }
    }

    /// Answers "unknown" to those who wait for updates that the new stream does not hold.
    pub(super) fn drop_lost_waiters(&mut self, cx: &Cx<'_>) {
        let all = self.waiters.all.iter();
        let lost: Vec<u64> = all
            .filter(|(counter, waiter)| !self.log.holds(*counter, waiter.topology))
            .map(|(counter, _)| *counter)
            .collect();
        for counter in lost {
            while let Some(waiter) = self.waiters.take(counter) {
                let error = Error::unknown("the primary changed while the write was under way");
                self.answer(waiter.asker, Err(error), cx);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn add(waiters: &mut Waiters, counter: u64, token: u64, deadline: u64) {
        let asker = Asker::Local {
            token,
            tried: false,
        };
        let waiter = Waiter {
            asker,
            reply: Reply::Touched { applied: true },
            topology: TopologyVersion::default(),
            deadline: Monotonic(deadline),
        };
        waiters.add(counter, waiter);
    }

    fn token(waiter: &Waiter) -> u64 {
        match waiter.asker {
            Asker::Local { token, .. } => token,
            Asker::Remote { id, .. } => id,
        }
    }

    #[test]
    fn each_is_found_by_its_update_and_in_its_turn() {
        let mut waiters = Waiters::default();
        for (counter, token, deadline) in [(5, 1, 90), (7, 2, 70), (5, 3, 80), (9, 4, 60)] {
            add(&mut waiters, counter, token, deadline);
        }
        assert_eq!(waiters.next(), Some(Monotonic(60)));
        assert!(waiters.take(6).is_none() && waiters.take(10).is_none());
        assert_eq!(waiters.take(7).as_ref().map(token), Some(2));
        assert!(waiters.take(7).is_none());
        let late = waiters.take_late(Monotonic(80));
        assert_eq!(late.iter().map(token).collect::<Vec<_>>(), [3, 4]);
        assert_eq!(waiters.next(), Some(Monotonic(90)));
        assert_eq!(waiters.take(5).as_ref().map(token), Some(1));
        assert!(waiters.take(5).is_none());
        assert_eq!(waiters.next(), None);
        add(&mut waiters, 3, 6, 10);
        assert_eq!(waiters.take_all().count(), 1);
        assert_eq!(waiters.next(), None);
    }
}
