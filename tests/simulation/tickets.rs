//! What clients ask of tickets: sessions of a few users, tickets that descend from them, and their
//! ends, by a call or by time. Every id is added once, so that a read tells whose ticket it saw.

use crate::clock::{SECOND, Time};
use crate::rng::Rng;
use embergrid::types::cache::partition_of;
use embergrid::types::ticket::{
    TicketErrand, TicketFilter, TicketOperation, TicketRecord, TicketsOperation,
};
use embergrid::types::{Blob, CacheSettings, ClusterTime, KeyOperation, Operation, Request};
use std::collections::BTreeSet;

/// How many users there are, and how many values an attribute has.
const USERS: u64 = 4;
const FACTORS: u64 = 3;
/// The last so many ids are asked for, and so many are used: several want the last use of one.
const RECENT: usize = 10;
const PRESENTED: usize = 3;
/// How long some tickets live, and how long some live without being used.
const LIVES: Time = 4 * SECOND;
const IDLE: Time = 3 * SECOND;

#[derive(Clone, Debug, Default)]
pub struct Tickets {
    next: u64,
    sessions: Vec<Blob>,
    children: Vec<Blob>,
    /// Sessions that an update gave another end.
    limited: BTreeSet<Blob>,
}

fn blob(text: &str) -> Blob {
    Blob::from(text)
}

/// Whose a session is: its id says so.
fn user_of(id: &Blob) -> Blob {
    let text = String::from_utf8_lossy(id).into_owned();
    blob(text.rsplit('-').next().unwrap_or_default())
}

fn recent(ids: &[Blob], count: usize, rng: &mut Rng) -> Option<Blob> {
    let first = ids.len().saturating_sub(count);
    rng.pick(&ids[first..]).cloned()
}

fn factor(number: u64) -> (Blob, Vec<Blob>) {
    (blob("factor"), vec![blob(&format!("f{number}"))])
}

/// A ticket of a kind with some limits of time, or none.
fn record(kind: &str, rng: &mut Rng) -> TicketRecord {
    let some = |rng: &mut Rng, span| rng.percent(25).then_some(span);
    TicketRecord {
        kind: blob(kind),
        payload: blob("payload"),
        attributes: [factor(rng.below(FACTORS))].into(),
        time_to_live: some(rng, LIVES),
        time_to_idle: some(rng, IDLE),
        ..TicketRecord::default()
    }
}

fn add(record: TicketRecord) -> TicketOperation {
    TicketOperation::Add {
        record: Box::new(record),
        created_at: None,
        hard_expire_at: None,
        expires_by: None,
        sure_until: None,
        not_after: None,
    }
}

fn get() -> TicketOperation {
    TicketOperation::Get {
        kind: Blob::default(),
        vouched: false,
    }
}

/// All look-ups that are asked of a partition in the end.
pub fn look_ups(settings: &CacheSettings, partition: u32) -> Vec<Request> {
    let count = |filter| TicketsOperation::Count { filter };
    let list = |filter| TicketsOperation::List {
        filter,
        after: None,
        limit: 1000,
    };
    let of_user = |number: u64| TicketFilter {
        principal: blob(&format!("user{number}")),
        ..TicketFilter::default()
    };
    let with_factor = |number| TicketFilter {
        attributes: vec![factor(number)],
        ..TicketFilter::default()
    };
    let sessions = TicketFilter {
        kind: blob("TGT"),
        ..TicketFilter::default()
    };
    let for_service = TicketFilter {
        service: blob("app1"),
        ..with_factor(1)
    };
    let mut asked = vec![
        count(sessions),
        list(for_service.clone()),
        count(for_service),
    ];
    asked.extend((0..USERS).map(|user| count(of_user(user))));
    asked.extend((0..FACTORS).map(|number| list(with_factor(number))));
    let requests = asked.into_iter().map(|operation| Request {
        cache: settings.id(),
        partition,
        operation: Operation::Tickets(operation),
        request_id: None,
    });
    requests.collect()
}

impl Tickets {
    /// The next request of a client, by the cluster time of the node that it asks.
    pub fn next(&mut self, settings: &CacheSettings, now: ClusterTime, rng: &mut Rng) -> Request {
        let session = recent(&self.sessions, RECENT, rng);
        let child = recent(&self.children, RECENT, rng);
        let presented = recent(&self.children, PRESENTED, rng);
        let caches = vec![settings.id()];
        let errand = |key: Blob, errand| (key, Operation::Errand(Box::new(errand)));
        let one = |key: Blob, operation| {
            let caches = caches.clone();
            let of = key.clone();
            let one = TicketErrand::One {
                key,
                operation,
                caches,
            };
            errand(of, one)
        };
        let (key, operation) = match (rng.below(24), session, child) {
            (0..=3, ..) | (_, None, _) => self.session(rng),
            (4..=8, Some(parent), _) => {
                let from_child = rng.percent(25);
                let parent = self
                    .children
                    .last()
                    .filter(|_| from_child)
                    .cloned()
                    .unwrap_or(parent);
                let (key, child) = self.child(settings, parent, now, rng);
                errand(key, child)
            }
            (9..=11, Some(key), _) | (12..=14, _, Some(key)) if rng.percent(70) => one(key, get()),
            (9..=11, Some(key), _) | (12..=14, _, Some(key)) => {
                let operation = KeyOperation::Ticket(get());
                let of = key.clone();
                (of, Operation::Key { key, operation })
            }
            (15..=17, _, Some(_)) => {
                let key = presented.unwrap_or_default();
                let kind = Blob::default();
                let vouched = false;
                one(key, TicketOperation::Use { kind, vouched })
            }
            (18, Some(key), _) => {
                let update = self.update(&key, rng);
                one(key, update)
            }
            (19, Some(key), _) | (20, _, Some(key)) => {
                errand(key.clone(), TicketErrand::Delete { key, caches })
            }
            (21, Some(session), _) if rng.percent(50) => {
                let principal = user_of(&session);
                errand(
                    session,
                    TicketErrand::DeleteForPrincipal { principal, caches },
                )
            }
            (_, Some(session), _) => {
                let partition = partition_of(&session, settings.partitions);
                let mut asked = look_ups(settings, partition);
                return asked.swap_remove(rng.index(asked.len()));
            }
        };
        let write = !operation.is_read();
        let request_id = (write && rng.percent(50)).then(|| {
            let mut id = [0u8; 16];
            id[..8].copy_from_slice(&rng.next().to_le_bytes());
            id[8..].copy_from_slice(&rng.next().to_le_bytes());
            id
        });
        Request {
            cache: settings.id(),
            partition: partition_of(&key, settings.partitions),
            operation,
            request_id,
        }
    }

    fn session(&mut self, rng: &mut Rng) -> (Blob, Operation) {
        self.next += 1;
        let user = format!("user{}", rng.below(USERS));
        let key = blob(&format!("TGT-{}-{user}", self.next));
        self.sessions.push(key.clone());
        let principal = blob(&user);
        let add = add(TicketRecord {
            principal,
            ..record("TGT", rng)
        });
        let operation = KeyOperation::Ticket(add);
        (key.clone(), Operation::Key { key, operation })
    }

    fn update(&mut self, key: &Blob, rng: &mut Rng) -> TicketOperation {
        // Once for each, so that it is known which end counts.
        let limits = rng.percent(50) && self.limited.insert(key.clone());
        TicketOperation::Update {
            record: Box::new(TicketRecord {
                principal: user_of(key),
                attributes: [factor(rng.below(FACTORS))].into(),
                payload: blob("updated"),
                time_to_live: limits.then_some(LIVES / 2),
                time_to_idle: (limits && rng.percent(50)).then_some(IDLE / 2),
                ..TicketRecord::default()
            }),
            hard_expire_at: None,
            keep_expiration: !limits,
            expected_version: None,
            vouched: false,
        }
    }

    fn child(
        &mut self,
        settings: &CacheSettings,
        parent: Blob,
        now: ClusterTime,
        rng: &mut Rng,
    ) -> (Blob, TicketErrand) {
        self.next += 1;
        let key = blob(&format!("ST-{}", self.next));
        self.children.push(key.clone());
        let max_uses = match rng.below(10) {
            0..=5 => Some(1),
            6 => Some(2),
            _ => None,
        };
        let child = TicketRecord {
            service: blob(&format!("app{}", rng.below(3))),
            max_uses,
            ..record("ST", rng)
        };
        let until = child.time_to_live.map(|ttl| now.after(ttl));
        let errand = TicketErrand::AddChild {
            cache: settings.id(),
            key: key.clone(),
            add: add(child),
            parent,
            parent_caches: vec![settings.id()],
            until,
        };
        (key, errand)
    }
}
