//! Comparing all copies of a partition because somebody asked: with the bytes of values, to the
//! last key, and with an answer. One such request at a time; others wait for it.

use super::{Ask, Asker, Caller, Cx, Partition, Submitted};
use crate::error::Error;
use crate::types::comparing::{Compare, Difference, Held, Verified};
use crate::types::message::Body;
use crate::types::{Blob, Entry, Member, Micros, Monotonic, Operation, Reply};
use std::collections::{BTreeMap, BTreeSet};
use xxhash_rust::xxh3::xxh3_64;

/// The most keys of a partition that are named in an answer.
pub const NAMED_MAX: usize = 64;

/// What is being found out.
pub struct Verifying {
    asker: Asker,
    pub repair: bool,
    deadline: Monotonic,
    /// Owners whose copies are not known to the end.
    waiting: BTreeSet<Member>,
    copies: u32,
    /// The keys that differ, by their digests.
    keys: BTreeSet<u64>,
    some: BTreeMap<Blob, Vec<(Member, Held)>>,
    again_at: Monotonic,
}

impl Verifying {
    /// When something is due.
    pub fn next(&self) -> Monotonic {
        self.again_at.min(self.deadline)
    }
}

fn held(entry: Option<&Entry>, sum: u64) -> Held {
    let Some(entry) = entry else {
        return Held::Nothing;
    };
    let version = entry.version.digest();
    if entry.live.is_some() {
        Held::Value { version, sum }
    } else {
        Held::Tombstone { version }
    }
}

impl Partition {
    /// Compares all copies for somebody.
    pub(super) fn begin_verify(
        &mut self,
        ask: Ask,
        caller: &mut Caller<'_>,
        cx: &Cx<'_>,
    ) -> Submitted {
        let Operation::Verify { repair } = ask.operation else {
            return Submitted::Done(Err(Error::invalid("this compares nothing")));
        };
        if self.verifying.is_some() || !self.may_compare(cx) {
            return self.park(ask, caller, cx);
        }
        // One that has not joined the stream yet is asked again and again until it has.
        let owners = self.place.owners.iter().copied();
        let owners: Vec<Member> = owners.filter(|owner| *owner != self.me).collect();
        let copies = 1 + u32::try_from(owners.len()).unwrap_or_default();
        if owners.is_empty() {
            let alone = Verified {
                copies,
                ..Verified::default()
            };
            return Submitted::Done(Ok(Reply::Verified(Box::new(alone))));
        }
        self.verifying = Some(Box::new(Verifying {
            asker: caller.asker(),
            repair,
            deadline: ask.deadline.min(cx.now.mono.after(cx.network_timeout)),
            waiting: owners.iter().copied().collect(),
            copies,
            keys: BTreeSet::new(),
            some: BTreeMap::new(),
            again_at: cx.now.mono.after(again(cx)),
        }));
        if let Some(lead) = &mut self.lead {
            lead.rounds.clear();
        }
        self.ask_copies(&owners, cx);
        Submitted::Pending
    }

    fn ask_copies(&self, owners: &[Member], cx: &Cx<'_>) {
        let (at, sum) = (self.contents_at(true), self.store.sum_of_values());
        for owner in owners {
            let compare = Compare {
                at,
                sum,
                answer: true,
            };
            self.send(*owner, Body::Compare(compare), cx);
        }
    }

    /// A key differs at an owner.
    pub(super) fn note_difference(
        &mut self,
        owner: Member,
        key: &Blob,
        theirs: Option<&(u64, Entry)>,
    ) {
        if self.verifying.is_none() {
            return;
        }
        let mine = self.store.get(key);
        let sum = mine.map_or(0, |mine| super::sums::of(key, mine, true));
        let primary = (self.me, held(mine, sum));
        let Some(verifying) = &mut self.verifying else {
            return;
        };
        verifying.keys.insert(xxh3_64(key));
        if verifying.some.len() >= NAMED_MAX && !verifying.some.contains_key(key) {
            return;
        }
        let all = verifying.some.entry(key.clone()).or_default();
        if all.is_empty() {
            all.push(primary);
        }
        if !all.iter().any(|(member, _)| *member == owner) {
            let sum = theirs.map_or(0, |(sum, _)| *sum);
            all.push((owner, held(theirs.map(|(_, entry)| entry), sum)));
        }
    }

    /// A copy is equal to the primary's.
    pub(super) fn copy_is_equal(&mut self, owner: Member, cx: &Cx<'_>) {
        let Some(verifying) = &mut self.verifying else {
            return;
        };
        verifying.waiting.remove(&owner);
        if verifying.waiting.is_empty() {
            self.end_verify(cx);
        }
    }

    /// All that differs at an owner has been looked at: what was repaired is compared once more.
    pub(super) fn copy_is_seen(&mut self, owner: Member, cx: &Cx<'_>) {
        match &self.verifying {
            Some(verifying) if !verifying.repair => self.copy_is_equal(owner, cx),
            _ => self.verify_again(owner, cx),
        }
    }

    pub(super) fn verify_again(&self, owner: Member, cx: &Cx<'_>) {
        // While updates wait for owners it would only be asked in vain; the timer asks then.
        if self.verifying.is_some() && self.log.is_settled() {
            self.ask_copies(&[owner], cx);
        }
    }

    fn end_verify(&mut self, cx: &Cx<'_>) {
        let Some(verifying) = self.verifying.take() else {
            return;
        };
        let keys = verifying.keys.len() as u64;
        let difference = |(key, held)| Difference { key, held };
        let verified = Verified {
            copies: verifying.copies,
            keys,
            repaired: if verifying.repair { keys } else { 0 },
            some: verifying.some.into_iter().map(difference).collect(),
        };
        let reply = Reply::Verified(Box::new(verified));
        self.answer(verifying.asker, Ok(reply), cx);
        self.unpark(cx);
    }

    /// The comparison cannot go on: whoever asked must ask again.
    pub(super) fn give_up_verify(&mut self, why: &str, cx: &Cx<'_>) {
        if let Some(verifying) = self.verifying.take() {
            let error = Error::unavailable(format!("the copies were not compared: {why}"));
            self.answer(verifying.asker, Err(error), cx);
        }
    }

    /// Something may have been lost: the owners that have not answered are asked once more.
    pub(super) fn on_verify_timeout(&mut self, cx: &Cx<'_>) {
        let Some(verifying) = &mut self.verifying else {
            return;
        };
        let now = cx.now.mono;
        if now >= verifying.deadline {
            self.give_up_verify("an owner did not answer in time", cx);
            self.unpark(cx);
        } else if now >= verifying.again_at {
            verifying.again_at = now.after(again(cx));
            let waiting: Vec<Member> = verifying.waiting.iter().copied().collect();
            if self.may_compare(cx) {
                self.ask_copies(&waiting, cx);
            }
        }
    }
}

/// How long an answer may take before it is asked for again.
fn again(cx: &Cx<'_>) -> Micros {
    3 * cx.resend
}
