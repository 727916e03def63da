//! What is sent again, since it was not acknowledged in time: by a primary the question what owners
//! have, the beginning of its stream, updates, pieces of loads and questions about idle keys; by a
//! source its pieces. A message that is lost or comes too late is made good by that, and a doubled one
//! changes nothing at its receiver.
//!
//! Bounds: a message holds so many updates and bytes, and goes on where the receiver says that it has
//! them; a member that stays silent is sent the same ever more rarely.

use super::lead::Phase;
use super::{Cx, Partition};
use crate::types::message::{Body, Replicate, Reset};
use crate::types::{Member, Monotonic};

/// The most updates in one message that repeats them.
const RESEND_MAX: usize = 256;
/// No further one goes into it once they weigh so many bytes.
const RESEND_BYTES: usize = 256 << 10;
/// To a member that stays silent things are sent again after one turn of the timer, two, four and so
/// on, and then after each so many: it may stand still, with a queue that would fill.
const TURNS_MAX: u32 = 16;

/// What is sent again to a member of the stream.
#[derive(Default)]
pub struct Repeat {
    /// Turns of the timer since it was last heard.
    turns: u32,
    /// The last update that it was sent again, and where the stream was by then.
    pub upto: u64,
    pub end: u64,
    /// The gap that was answered since the timer turned.
    gap: Option<u64>,
}

impl Repeat {
    /// A turn of the timer; whether something is sent in it.
    pub fn is_due(&mut self) -> bool {
        self.turns += 1;
        self.gap = None;
        self.turns.is_power_of_two() || self.turns.is_multiple_of(TURNS_MAX)
    }

    /// The member says that it has nothing behind a place; whether that is news.
    pub fn is_new_gap(&mut self, have: u64) -> bool {
        self.turns = 0;
        self.gap.replace(have) != Some(have)
    }

    /// The member is heard. Whether it has what it was sent again, and lacks what followed.
    pub fn goes_on(&mut self, acked: u64) -> bool {
        self.turns = 0;
        acked >= self.upto && acked < self.end
    }
}

impl Partition {
    /// Sends again what was not acknowledged in time.
    pub(super) fn resend(&mut self, cx: &Cx<'_>) {
        let due = |at: Option<Monotonic>| at.is_some_and(|at| cx.now.mono >= at);
        if let Some(mut outgoing) = self.outgoing.take() {
            if due(outgoing.resend_at) {
                outgoing.resend_at = Some(cx.now.mono.after(cx.resend));
                self.repeat(&mut outgoing, false, cx);
            }
            self.outgoing = Some(outgoing);
        }
        if self.lead.as_ref().is_some_and(|lead| due(lead.resend_at)) {
            self.resend_as_primary(false, cx);
        }
    }

    /// The same for all that a primary has out; also used at once after a change of view, since
    /// what was under way then was dropped.
    pub(super) fn resend_as_primary(&mut self, at_once: bool, cx: &Cx<'_>) {
        let end = self.log.applied;
        let Some(lead) = &mut self.lead else { return };
        lead.resend_at = lead.waits(end).then(|| cx.now.mono.after(cx.resend));
        let mut loads = std::mem::take(&mut lead.loads);
        for load in loads.values_mut() {
            self.repeat(load, at_once, cx);
        }
        let Some(lead) = &mut self.lead else { return };
        lead.loads = loads;
        let mut repeats = std::mem::take(&mut lead.repeats);
        let Some(lead) = &self.lead else { return };
        if let Phase::Asking { missing, .. } = &lead.phase {
            for owner in missing {
                self.send(*owner, Body::AskTail, cx);
            }
        }
        for (member, acked) in &lead.acked {
            let joined = lead.joined.contains(member);
            if joined && *acked >= end {
                repeats.remove(member);
                continue;
            }
            let repeat = repeats.entry(*member).or_default();
            if !repeat.is_due() && !at_once {
                continue;
            }
            if joined {
                repeat.upto = self.repeat_updates(*member, *acked, cx);
                repeat.end = end;
            } else {
                self.send_reset(*member, cx);
            }
        }
        for (key, ask) in &lead.idle_asks {
            for owner in &ask.missing {
                let body = Body::AskIdle {
                    key: key.clone(),
                    incarnation: ask.incarnation,
                };
                self.send(*owner, body, cx);
            }
        }
        if let Some(lead) = &mut self.lead {
            lead.repeats = repeats;
        }
    }

    /// Sends updates behind a place again, as many as fit; returns the last one.
    pub(super) fn repeat_updates(&self, to: Member, behind: u64, cx: &Cx<'_>) -> u64 {
        let mut updates = self.log.behind_counter(behind, RESEND_MAX);
        let mut bytes = 0;
        let fits = updates.iter().take_while(|update| {
            let fits = bytes < RESEND_BYTES;
            bytes += update.effect.bytes();
            fits
        });
        updates.truncate(fits.count());
        let upto = updates.last().map_or(behind, |update| update.counter);
        let (stream, committed) = (self.log.stream, self.log.committed.counter);
        self.send(
            to,
            Body::Replicate(Replicate {
                stream,
                committed,
                updates,
            }),
            cx,
        );
        upto
    }

    /// Begins the stream anew for a member.
    pub(super) fn send_reset(&self, to: Member, cx: &Cx<'_>) {
        let reset = Reset {
            stream: self.log.stream,
            committed: self.log.committed.counter,
            updates: self
                .log
                .behind_counter(self.log.committed.counter, usize::MAX),
        };
        self.send(to, Body::Reset(reset), cx);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_stays_silent_is_sent_the_same_more_and_more_rarely() {
        let mut repeat = Repeat::default();
        let sent: Vec<u32> = (1..=40).filter(|_| repeat.is_due()).collect();
        assert_eq!(sent, [1, 2, 4, 8, 16, 32]);
        (repeat.upto, repeat.end) = (10, 20);
        assert!(!repeat.goes_on(9) && repeat.goes_on(10) && !repeat.goes_on(20));
        assert!(repeat.is_due());
    }

    #[test]
    fn a_gap_is_answered_once_in_a_turn() {
        let mut repeat = Repeat::default();
        let news = [3, 3, 5, 5].map(|have| repeat.is_new_gap(have));
        assert_eq!(news, [true, false, true, false]);
        assert!(repeat.is_due() && repeat.is_new_gap(5));
    }
}
