//! The connections that were admitted and still stand, so that they can be ended when what they
//! were admitted by is not in use any longer.

use super::connection::Remote;
use parking_lot::Mutex;
use rustls_pki_types::CertificateDer;
use std::collections::BTreeMap;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use tokio::sync::oneshot;

/// All that stand. As many as the acceptor admits.
#[derive(Debug, Default)]
pub struct Admitted {
    standing: Mutex<Table>,
}

#[derive(Debug, Default)]
struct Table {
    next: u64,
    connections: BTreeMap<u64, Standing>,
}

/// One that stands.
#[derive(Debug)]
struct Standing {
    remote: Remote,
    /// Ends it when it is dropped.
    _end: oneshot::Sender<()>,
}

/// The place of a connection among those that stand: it gives it up when it is dropped.
#[derive(Debug)]
pub struct Place {
    admitted: Arc<Admitted>,
    number: u64,
    end: Option<oneshot::Receiver<()>>,
}

impl Admitted {
    /// A place for one more.
    pub fn add(self: &Arc<Self>, remote: Remote) -> Place {
        let (sender, end) = oneshot::channel();
        let mut table = self.standing.lock();
        table.next += 1;
        let number = table.next;
        let standing = Standing {
            remote,
            _end: sender,
        };
        table.connections.insert(number, standing);
        Place {
            admitted: Arc::clone(self),
            number,
            end: Some(end),
        }
    }

    /// Ends all that were admitted before this generation, and tells how many.
    pub fn end_older(&self, generation: u64) -> usize {
        self.end_where(|remote| remote.generation < generation)
            .len()
    }

    /// Ends all whose certificates are refused (by the chain, and whether it is that of a node),
    /// and tells where they came from.
    pub fn end_refused(
        &self,
        refused: impl Fn(&[CertificateDer<'_>], bool) -> bool,
    ) -> Vec<SocketAddr> {
        self.end_where(|remote| refused(&remote.certificates, remote.is_node))
    }

    /// Ends all without an open call.
    pub fn end_idle(&self) {
        self.end_where(|remote| remote.calls.count() == 0);
    }

    /// Ends all, and tells how many stood and how many calls of theirs were open.
    pub fn end_all(&self) -> (usize, usize) {
        let mut calls = 0;
        let ended = {
            let mut table = self.standing.lock();
            let open = table.connections.values();
            calls += open.map(|one| one.remote.calls.count()).sum::<usize>();
            std::mem::take(&mut table.connections)
        };
        (ended.len(), calls)
    }

    /// How many stand that were admitted before this generation.
    pub fn older(&self, generation: u64) -> usize {
        let table = self.standing.lock();
        let standing = table.connections.values();
        standing
            .filter(|one| one.remote.generation < generation)
            .count()
    }

    fn end_where(&self, chosen: impl Fn(&Remote) -> bool) -> Vec<SocketAddr> {
        let mut ended = Vec::new();
        self.standing.lock().connections.retain(|_, standing| {
            let chosen = chosen(&standing.remote);
            if chosen {
                ended.push(standing.remote.address);
            }
            !chosen
        });
        ended
    }
}

impl Place {
    /// Ends the connection when it is dropped, unless it was disarmed before.
    pub fn ends_unless_disarmed(&self) -> EndUnlessDisarmed {
        EndUnlessDisarmed(Some((Arc::clone(&self.admitted), self.number)))
    }

    /// Whether the connection is to end; if not, the task is woken when it is.
    pub fn poll_ended(&mut self, cx: &mut Context<'_>) -> bool {
        let Some(end) = &mut self.end else {
            return true;
        };
        let ended = Pin::new(end).poll(cx) != Poll::Pending;
        if ended {
            self.end = None;
        }
        ended
    }
}

/// See [`Place::ends_unless_disarmed`].
#[derive(Debug)]
pub struct EndUnlessDisarmed(Option<(Arc<Admitted>, u64)>);

impl EndUnlessDisarmed {
    /// The connection stands on.
    pub fn disarm(mut self) {
        self.0 = None;
    }
}

impl Drop for EndUnlessDisarmed {
    fn drop(&mut self) {
        if let Some((admitted, number)) = self.0.take() {
            admitted.standing.lock().connections.remove(&number);
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.admitted
            .standing
            .lock()
            .connections
            .remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rpc::connection::Calls;

    #[tokio::test]
    async fn older_ones_end_and_places_are_given_up() {
        let admitted = Arc::new(Admitted::default());
        let remote = |generation, is_node| Remote {
            address: ([127, 0, 0, 1], 9).into(),
            certificates: Arc::from([]),
            is_node,
            generation,
            calls: Calls::default(),
        };
        let mut old = admitted.add(remote(1, false));
        let mut new = admitted.add(remote(2, true));
        assert_eq!(admitted.older(2), 1);
        let ended = |place: &mut Place| {
            let mut cx = Context::from_waker(std::task::Waker::noop());
            place.poll_ended(&mut cx)
        };
        assert!(!ended(&mut old) && !ended(&mut new));
        assert_eq!(admitted.end_older(2), 1);
        assert!(ended(&mut old) && ended(&mut old) && !ended(&mut new));
        assert_eq!(admitted.end_refused(|_, is_node| is_node).len(), 1);
        assert!(ended(&mut new));
        drop((old, new));
        assert_eq!(admitted.older(u64::MAX), 0);

        let (busy, idle) = (remote(3, false), remote(3, false));
        let call = busy.calls.open();
        let (mut busy, mut idle) = (admitted.add(busy), admitted.add(idle));
        admitted.end_idle();
        assert!(ended(&mut idle) && !ended(&mut busy));
        assert_eq!(admitted.end_all(), (1, 1));
        assert!(ended(&mut busy));
        drop(call);

        let (mut stays, mut ends) = (admitted.add(remote(4, true)), admitted.add(remote(4, true)));
        stays.ends_unless_disarmed().disarm();
        drop(ends.ends_unless_disarmed());
        assert!(ended(&mut ends) && !ended(&mut stays));
        drop(stays);
        assert_eq!(admitted.end_all(), (0, 0));
    }
}
