//! The other owners: take the stream in order without gaps, acknowledge it, and make visible what
//! the primary committed.

use super::transfer::Incoming;
use super::{Cx, Partition};
use crate::engine::planted::{self, Fault};
use crate::types::message::{Body, Replicate, Reset};
use crate::types::time::SECOND;
use crate::types::{Member, Micros, TopologyVersion};

/// How long an owner to be waits for the first piece before it says that it has nothing, and how
/// often it says so.
pub const ASK_LOAD: Micros = SECOND;
/// How long an owner to be that has loaded in an earlier view waits to hear that this load counts,
/// before it has itself loaded anew. The primary says so as soon as it has the view, and again until
/// it is acknowledged.
pub const CONFIRM_LOAD: Micros = 3 * SECOND;

impl Partition {
    /// Updates of the stream. Doubled ones are skipped, a gap is reported, another stream than
    /// the one that is followed is ignored until its `Reset` or first chunk has come.
    pub(super) fn on_replicate(&mut self, from: Member, replicate: Replicate, cx: &Cx<'_>) {
        let follows = self.primary() == Some(from) && self.is_member();
        if !follows || replicate.stream != self.log.stream {
            return;
        }
        let told = !replicate.updates.is_empty();
        let mut gap = false;
        for update in replicate.updates {
            if update.counter <= self.log.applied {
                continue;
            }
            if update.counter != self.log.applied + 1 || self.log.is_full() {
                gap = true;
                break;
            }
            self.note_session_of(&update.effect, update.request.as_ref());
            if !self.settings.full_sync() || planted::is(Fault::ServePending) {
                self.apply(update.clone(), cx);
            }
            self.log.push(update);
        }
        self.commit_to(replicate.committed, cx);
        let stream = self.log.stream;
        if gap {
            self.send(
                from,
                Body::Gap {
                    stream,
                    have: self.log.applied,
                },
                cx,
            );
        } else if told {
            self.send(
                from,
                Body::Ack {
                    stream,
                    upto: self.log.applied,
                },
                cx,
            );
        }
        self.watch_settling(cx);
        self.unpark(cx);
    }

    /// Whether this node is a member of the primary's stream. A source that is to load as well
    /// still has its old copy, and an owner to be may have a load that the primary no longer counts
    /// on: what either acknowledged on top of that would be lost with it.
    fn is_member(&self) -> bool {
        let heard = |state: &Incoming| state.heard_in == self.place.topology;
        self.lead.is_none() && (self.is_owner() || self.incoming.as_ref().is_some_and(heard))
    }

    /// A new primary begins its stream. Its updates contain all that this owner had told it.
    pub(super) fn on_reset(&mut self, from: Member, reset: Reset, cx: &Cx<'_>) {
        if self.primary() != Some(from) || self.lead.is_some() || !self.is_owner() {
            return;
        }
        if reset.stream > self.log.stream {
            self.commit_to(reset.committed, cx);
            let new = self.log.replace(reset.stream, reset.updates);
            for update in &new {
                self.note_session_of(&update.effect, update.request.as_ref());
            }
            if !self.settings.full_sync() {
                for update in new {
                    self.apply(update, cx);
                }
            }
            self.drop_lost_waiters(cx);
        }
        if reset.stream == self.log.stream {
            let (stream, upto) = (self.log.stream, self.log.applied);
            self.send(from, Body::Ack { stream, upto }, cx);
        }
        self.watch_settling(cx);
        self.unpark(cx);
    }

    pub(super) fn watch_settling(&mut self, cx: &Cx<'_>) {
        let confirmed = self.incoming.as_ref();
        let confirmed = confirmed.and_then(|state| state.confirmed_until);
        let settled = (!self.log.is_settled()).then(|| cx.resend_at());
        self.settle_at = [confirmed, settled].into_iter().flatten().min();
    }

    /// The tail does not settle: a commit may have been lost, so the last acknowledgement is
    /// repeated and the primary answers it. Or nothing comes to one that shall load: it was in
    /// other views, and its copy is gone, since the primary last loaded it.
    pub(super) fn settle(&mut self, cx: &Cx<'_>) {
        self.settle_at = None;
        let until = self.incoming.as_ref();
        let until = until.and_then(|state| state.confirmed_until);
        if until.is_some_and(|until| cx.now.mono >= until) {
            self.set_aside();
        }
        let empty = self.place.loading.contains(&self.me)
            && self.incoming.is_none()
            && self.outgoing.is_none();
        if empty && let Some(primary) = self.primary() {
            let stream = TopologyVersion::default();
            self.send(primary, Body::Gap { stream, have: 0 }, cx);
            self.settle_at = Some(cx.now.mono.after(ASK_LOAD));
        } else if let Some(primary) = self.primary().filter(|_| self.is_member()) {
            let (stream, upto) = (self.log.stream, self.log.applied);
            self.send(primary, Body::Ack { stream, upto }, cx);
            self.watch_settling(cx);
        }
    }
}
