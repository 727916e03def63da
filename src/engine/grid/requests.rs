//! Requests: answered here, or carried to the primary once.

use super::{Ask, Asker, Cache, Caches, Grid};
use crate::engine::forwarding::{Forwarded, Forwards};
use crate::engine::partition::{Caller, Submitted, answer};
use crate::engine::shell::Shell;
use crate::error::{Error, ErrorKind, Result};
use crate::types::cache::partition_of;
use crate::types::message::{Forward, ForwardReply, Message};
use crate::types::time::MILLISECOND;
use crate::types::{
    Blob, CacheId, CacheMode, EntryView, KeyOperation, Member, Micros, Monotonic, Operation, Reply,
    Request, Role, WriteSynchronizationMode,
};

/// Before a request is routed anew to a primary that was not ready.
const REROUTE: Micros = 10 * MILLISECOND;

/// The key of a read for this node itself that wants all of an entry and nothing else.
fn plain_read<'a>(ask: &'a Ask, caller: &Caller<'_>) -> Option<&'a Blob> {
    let Operation::Key {
        key,
        operation:
            KeyOperation::Get {
                touch: None,
                omit_value: false,
            },
    } = &ask.operation
    else {
        return None;
    };
    matches!(caller, Caller::Local(_)).then_some(key)
}

impl Grid {
    /// Asks for an operation. Answers at once where this node can; otherwise takes a token from
    /// `token` and calls `Shell::complete` with it, at the latest soon after `deadline`.
    pub fn submit(
        &self,
        request: Request,
        deadline: Monotonic,
        mono: Monotonic,
        token: &mut dyn FnMut() -> u64,
    ) -> Option<Result<Reply>> {
        let done = match request.operation {
            Operation::Errand(errand) => {
                self.begin_errand(*errand, request.request_id, deadline, mono, token)
            }
            _ => self.submit_step(request, deadline, mono, token),
        };
        self.go_on_with_errands(mono);
        done
    }

    /// The same for an operation on one partition.
    pub(super) fn submit_step(
        &self,
        request: Request,
        deadline: Monotonic,
        mono: Monotonic,
        token: &mut dyn FnMut() -> u64,
    ) -> Option<Result<Reply>> {
        let caches = self.caches.load();
        let cache = match self.target(&caches, request.cache, request.partition) {
            Ok(cache) => cache,
            Err(error) => return Some(Err(error)),
        };
        let ask = Ask {
            operation: request.operation,
            request_id: request.request_id,
            deadline,
            forwarded: false,
            topology: self.view.load().version,
        };
        if mono >= deadline {
            let error = Error::new(
                ErrorKind::DeadlineExceeded,
                "the deadline has passed already",
            );
            return Some(Err(error.not_applied()));
        }
        let submitted =
            self.at_partition(cache, request.partition, ask, Caller::Local(token), mono);
        self.flush_reports(mono);
        match submitted {
            Submitted::Done(result) => Some(result),
            Submitted::Pending => None,
            Submitted::Forward(to, mut ask) => {
                ask.operation.own();
                if let Some(reply) = self.blind(cache, request.partition, to, &ask, mono) {
                    return Some(Ok(reply));
                }
                if let Err(error) = self.may_forward(to, &ask.operation) {
                    return Some(Err(error));
                }
                let asker = Asker::Local {
                    token: token(),
                    tried: false,
                };
                self.forward(cache.id, request.partition, to, ask, asker, mono);
                None
            }
        }
    }

    /// A plain read of a key that this node answers at once, and that moves nothing; none where it
    /// must be submitted.
    pub fn glance(
        &self,
        cache: CacheId,
        partition: u32,
        key: &[u8],
        mono: Monotonic,
    ) -> Option<Option<EntryView>> {
        let caches = self.caches.load();
        self.glance_in(caches.get(&cache)?, partition, key, mono)
    }

    /// The same where the key is its own affinity key.
    pub fn glance_at_key(
        &self,
        cache: CacheId,
        key: &[u8],
        mono: Monotonic,
    ) -> Option<Option<EntryView>> {
        let caches = self.caches.load();
        let cache = caches.get(&cache)?;
        self.glance_in(
            cache,
            partition_of(key, cache.settings.partitions),
            key,
            mono,
        )
    }

    fn glance_in(
        &self,
        cache: &Cache,
        partition: u32,
        key: &[u8],
        mono: Monotonic,
    ) -> Option<Option<EntryView>> {
        if self.options.me.role != Role::Server {
            return None;
        }
        let slot = cache.slots.get(partition as usize)?.lock();
        slot.partition.glance(key, &self.cx(mono))
    }

    pub(super) fn target<'a>(
        &self,
        caches: &'a Caches,
        id: CacheId,
        partition: u32,
    ) -> Result<&'a Cache> {
        let Some(cache) = caches.get(&id) else {
            if self.view.load().version.number == 0 {
                let context = "this node has not found its cluster yet";
                return Err(Error::unavailable(context));
            }
            return Err(Error::new(ErrorKind::NotFound, "the cache does not exist"));
        };
        let holds = self.options.me.role == Role::Server;
        if cache.settings.mode == CacheMode::Local && !holds {
            let context = "a client node holds nothing, so a LOCAL cache cannot be used on it";
            return Err(Error::new(ErrorKind::FailedPrecondition, context));
        }
        if partition as usize >= cache.slots.len() {
            let count = cache.slots.len();
            let context = format!("partition {partition} of {count} does not exist");
            return Err(Error::invalid(context));
        }
        Ok(cache)
    }

    fn at_partition(
        &self,
        cache: &Cache,
        index: u32,
        ask: Ask,
        caller: Caller<'_>,
        mono: Monotonic,
    ) -> Submitted {
        let mut slot = cache.slots[index as usize].lock();
        let cx = self.cx(mono);
        if let Some(key) = plain_read(&ask, &caller)
            && let Some(entry) = slot.partition.glance(key, &cx)
        {
            // Nothing has moved, so there is nothing to settle.
            if cfg!(debug_assertions) {
                let submitted = slot.partition.submit(ask, caller, &cx);
                let same = matches!(&submitted,
                    Submitted::Done(Ok(Reply::Got { entry: usual })) if *usual == entry);
                assert!(same, "a glance and the usual way disagree");
            }
            return Submitted::Done(Ok(Reply::Got { entry }));
        }
        let submitted = slot.partition.submit(ask, caller, &cx);
        self.settle(cache, index, slot, mono);
        submitted
    }

    /// A FULL_ASYNC write whose answer does not depend on the key waits for nobody.
    fn blind(
        &self,
        cache: &Cache,
        partition: u32,
        to: Member,
        ask: &Ask,
        mono: Monotonic,
    ) -> Option<Reply> {
        let Operation::Key { operation, .. } = &ask.operation else {
            return None;
        };
        let blind = cache.settings.write_synchronization == WriteSynchronizationMode::FullAsync
            && operation.is_blind()
            && ask.request_id.is_none()
            && matches!(operation, KeyOperation::Put { value, .. }
                if value.len() as u64 <= cache.settings.entry_bytes_max);
        if !blind || !self.shell.has_room(to) {
            return None;
        }
        let id = self.forwards.with(Forwards::id);
        self.send_forward(id, cache.id, partition, to, ask, mono);
        Some(Reply::Put {
            applied: true,
            version: 0,
            previous: None,
        })
    }

    fn may_forward(&self, to: Member, operation: &Operation) -> Result<()> {
        if !self.shell.knows(to, operation.since()) {
            // It would be left out on the way, and be waited for until the deadline.
            let context = format!("{to} leads the partition and speaks an older protocol");
            return Err(Error::new(ErrorKind::Unimplemented, context).not_applied());
        }
        if self.forwards.with(|forwards| forwards.is_full()) {
            return Err(Error::overloaded(
                "too many requests are under way to other nodes",
            ));
        }
        if !self.shell.has_room(to) {
            return Err(Error::overloaded("the queue to the primary is full"));
        }
        Ok(())
    }

    fn send_forward(
        &self,
        id: u64,
        cache: CacheId,
        partition: u32,
        to: Member,
        ask: &Ask,
        mono: Monotonic,
    ) {
        let request = Request {
            cache,
            partition,
            operation: ask.operation.clone(),
            request_id: ask.request_id,
        };
        let topology = self.view.load().version;
        let deadline = self.now(mono).cluster.after(ask.deadline.since(mono));
        self.shell.send(
            to,
            Message::Forward(Forward {
                id,
                topology,
                deadline,
                request,
            }),
        );
    }

    fn forward(
        &self,
        cache: CacheId,
        partition: u32,
        to: Member,
        ask: Ask,
        asker: Asker,
        mono: Monotonic,
    ) {
        // Noted before it is sent: the answer may come at once, on another thread.
        let sent = ask.clone();
        let forwarded = Forwarded {
            asker,
            ask,
            cache,
            partition,
            to,
            due: mono,
            unanswered: true,
        };
        let id = self.forwards.with(|forwards| {
            let id = forwards.id();
            forwards.begin(id, forwarded, mono);
            id
        });
        self.send_forward(id, cache, partition, to, &sent, mono);
    }

    /// Routes a request of this node, or answers a peer that it must route its own anew.
    pub(super) fn route(
        &self,
        cache: &Cache,
        partition: u32,
        ask: Ask,
        asker: Asker,
        mono: Monotonic,
    ) {
        if let Asker::Remote { .. } = asker {
            let error = Error::new(ErrorKind::WrongOwner, "the primary changed");
            answer(asker, Err(error), &*self.shell);
            return;
        }
        if mono >= ask.deadline {
            answer(
                asker,
                Err(super::super::partition::late(&ask)),
                &*self.shell,
            );
            return;
        }
        match self.at_partition(cache, partition, ask, Caller::Known(asker), mono) {
            Submitted::Done(result) => answer(asker, result, &*self.shell),
            Submitted::Pending => {}
            Submitted::Forward(to, ask) => match self.may_forward(to, &ask.operation) {
                Ok(()) => self.forward(cache.id, partition, to, ask, asker, mono),
                Err(error) => answer(asker, Err(error), &*self.shell),
            },
        }
    }

    /// A peer's request for an operation of which this node is the primary.
    pub(super) fn on_forward(&self, from: Member, forward: Forward, mono: Monotonic) {
        let Forward {
            id,
            topology,
            deadline,
            request,
        } = forward;
        let now = self.now(mono).cluster;
        if now > deadline.after(self.options.clock_error_max) {
            return;
        }
        let asker = Asker::Remote { node: from, id };
        // Also with a request id: the first copy may have been refused, which is not remembered.
        let idempotent = request.operation.is_idempotent();
        if !idempotent && !self.forwards.with(|forwards| forwards.arrives(from, id)) {
            return;
        }
        let caches = self.caches.load();
        let cache = request.cache;
        let target = self.target(&caches, cache, request.partition);
        let result = target.map(|cache| {
            let ask = Ask {
                operation: request.operation,
                request_id: request.request_id,
                deadline: mono.after(deadline.since(now)),
                forwarded: true,
                topology,
            };
            self.at_partition(cache, request.partition, ask, Caller::Known(asker), mono)
        });
        match result {
            Ok(Submitted::Done(result)) => answer(asker, result, &*self.shell),
            Ok(Submitted::Pending) => {}
            Ok(Submitted::Forward(..)) => {
                let error = Error::new(ErrorKind::WrongOwner, "this node is not the primary");
                answer(asker, Err(error), &*self.shell);
            }
            Err(error) => {
                // Who asks may know a cache of a view that is not in place here yet: it asks again.
                let early = error.kind == ErrorKind::NotFound
                    && !caches.contains_key(&cache)
                    && topology >= self.view.load().version;
                let later = || Error::new(ErrorKind::WrongOwner, "the view is not in place yet");
                let error = if early { later() } else { error };
                answer(asker, Err(error), &*self.shell);
            }
        }
        self.flush_reports(mono);
    }

    /// The answer to a request under way. A late or doubled one finds nobody who waits for it.
    pub(super) fn on_forward_reply(&self, from: Member, reply: ForwardReply, mono: Monotonic) {
        let taken = self.forwards.with(|forwards| forwards.take(reply.id));
        let Some(mut forwarded) = taken else { return };
        if forwarded.to != from {
            self.forwards
                .with(|forwards| forwards.begin(reply.id, forwarded, mono));
            return;
        }
        forwarded.unanswered = false;
        let again = matches!(&reply.result, Err(error) if error.kind == ErrorKind::WrongOwner);
        if again && mono < forwarded.ask.deadline {
            self.pause(forwarded, mono);
        } else {
            answer(forwarded.asker, reply.result, &*self.shell);
        }
    }

    /// Looks at a request again after a while, under another id.
    fn pause(&self, forwarded: Forwarded, mono: Monotonic) {
        self.forwards.with(|forwards| {
            let id = forwards.id();
            forwards.pause(id, forwarded, mono.after(REROUTE));
        });
    }

    /// The way to some nodes is lost.
    pub(super) fn lose_ways(&self, lost: impl Fn(Member) -> bool, mono: Monotonic) {
        let taken = self.forwards.with(|forwards| forwards.take_lost(lost));
        for (_, forwarded) in taken {
            if forwarded.repeatable() {
                self.pause(forwarded, mono);
            } else {
                let context = "the way to the primary was lost while the write was under way";
                answer(forwarded.asker, Err(Error::unknown(context)), &*self.shell);
            }
        }
    }

    /// Repeats, routes anew, or gives up.
    pub(super) fn forward_timeout(&self, mono: Monotonic) {
        if self.forwards.due().is_none_or(|due| due > mono) {
            return;
        }
        let due = self.forwards.with(|forwards| forwards.take_due(mono));
        for (_, forwarded) in due {
            let asker = forwarded.asker();
            let Forwarded {
                ask,
                cache,
                partition,
                ..
            } = forwarded;
            if mono >= ask.deadline {
                let context = "no answer from the primary within the deadline";
                let error = Error::new(ErrorKind::DeadlineExceeded, context);
                answer(asker, Err(error), &*self.shell);
                continue;
            }
            let caches = self.caches.load();
            match self.target(&caches, cache, partition) {
                Ok(cache) => self.route(cache, partition, ask, asker, mono),
                Err(error) => answer(asker, Err(error), &*self.shell),
            }
        }
    }
}
