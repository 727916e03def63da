//! The use of a ticket is an access to the session at its root, which is in another partition.
//!
//! A backup that is given the use of a ticket, and the primary that commits it, move the last access of
//! the session in their own copies. Where every owner of the session is given it, that is all: the
//! touch costs no message, and is lost only with the use itself. Elsewhere (another cache, a PARTITIONED one, or while somebody loads
//! the partition of the ticket, to whom the use may come without its update) the primary of the ticket
//! sends a touch behind the use, as one that reads with a touch does.

use super::super::{Cx, Partition};
use crate::engine::planted::{self, Fault};
use crate::types::message::{RequestRecord, UpdateEffect};
use crate::types::ticket::{Link, Stored};
use crate::types::{CacheMode, ClusterTime, Live, Reply, RequestId};

/// The access to a session by the use of what descends from it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Access {
    pub session: Link,
    pub at: ClusterTime,
    /// The copy of this node moves.
    pub here: bool,
    /// The primary of the session must be told.
    pub tell: bool,
}

/// The session whose ticket was used by an update, and when. A use is the one change of a ticket that
/// is answered with the ticket; it always has a request id.
fn session_of(effect: &UpdateEffect, record: &RequestRecord) -> Option<(Link, ClusterTime)> {
    let (UpdateEffect::Set { .. }, Reply::Got { entry: Some(used) }) = (effect, &record.reply)
    else {
        return None;
    };
    let root = Stored::read(&used.value)?.root?;
    Some((Link::from(root), record.at))
}

impl Partition {
    /// Notes the session whose ticket is used by an update that is held or committed now.
    pub(in super::super) fn note_session_of(
        &mut self,
        effect: &UpdateEffect,
        request: Option<&(RequestId, RequestRecord)>,
    ) {
        let used = request.and_then(|(_, record)| session_of(effect, record));
        let Some((session, at)) = used.filter(|_| !planted::is(Fault::ForgetSession)) else {
            return;
        };
        let here = session.cache == self.cache && self.settings.mode != CacheMode::Partitioned;
        let leads = self.local() || self.lead.as_ref().is_some_and(|lead| lead.is_active());
        let all_see = here && self.place.loading.is_empty() && self.place.sources.is_empty();
        let tell = leads && !all_see;
        if here || tell {
            self.left_over().used_below.push(Access {
                session,
                at,
                here,
                tell,
            });
        }
    }

    /// A ticket that descends from this one was used. Every owner does this by itself, so it must not
    /// bring back what has been idle for too long: at the use the session lived, but for one batch.
    /// Whether the timers of the partition have changed.
    pub fn on_used_below(&mut self, access: &Access, cx: &Cx<'_>) -> bool {
        let key = &access.session.key;
        let Some(live) = self.store.get(key).and_then(|entry| entry.live.as_ref()) else {
            return false;
        };
        let batch = self.touch_batch(live.time_to_idle);
        let end = live.idle_expires_at();
        if end.is_some_and(|end| access.at > end.after(batch)) {
            return false;
        }
        // Somebody may be given the session as it was a moment ago.
        let loads = !self.place.loading.is_empty() || !self.place.sources.is_empty();
        if loads && self.lead.is_some() {
            self.touch(key, cx);
            return true;
        }
        let moved = |live: &mut Live| live.last_access = live.last_access.max(access.at);
        if let Some(entry) = self.store.get_mut(key) {
            entry.live.as_mut().into_iter().for_each(moved);
        }
        false
    }
}
