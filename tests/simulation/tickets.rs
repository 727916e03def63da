//! What clients ask of tickets: sessions of a few users, tickets that descend from them, and their
//! ends. Every id is added once, so that a read tells whose ticket it saw.

use crate::rng::Rng;
use embergrid::types::cache::partition_of;
use embergrid::types::ticket::{
    TicketErrand, TicketFilter, TicketOperation, TicketRecord, TicketsOperation,
};
use embergrid::types::{Blob, CacheSettings, KeyOperation, Operation, Request};

/// How many users there are.
const USERS: u64 = 4;
/// The last so many ids are asked for.
const RECENT: usize = 10;

#[derive(Clone, Debug, Default)]
pub struct Tickets {
    next: u64,
    sessions: Vec<Blob>,
    children: Vec<Blob>,
}

fn blob(text: &str) -> Blob {
    Blob::from(text)
}

/// Whose a session is: its id says so.
fn user_of(id: &Blob) -> Blob {
    let text = String::from_utf8_lossy(id).into_owned();
    blob(text.rsplit('-').next().unwrap_or_default())
}

fn recent(ids: &[Blob], rng: &mut Rng) -> Option<Blob> {
    let first = ids.len().saturating_sub(RECENT);
    rng.pick(&ids[first..]).cloned()
}

fn add(kind: &str, principal: Blob, max_uses: Option<u32>) -> TicketOperation {
    TicketOperation::Add {
        record: Box::new(TicketRecord {
            kind: blob(kind),
            principal,
            payload: blob("payload"),
            max_uses,
            ..TicketRecord::default()
        }),
        created_at: None,
        hard_expire_at: None,
        expires_by: None,
        not_after: None,
    }
}

/// How many sessions there are in a partition.
pub fn count(settings: &CacheSettings, partition: u32) -> Request {
    let filter = TicketFilter {
        kind: blob("TGT"),
        ..TicketFilter::default()
    };
    Request {
        cache: settings.id(),
        partition,
        operation: Operation::Tickets(TicketsOperation::Count { filter }),
        request_id: None,
    }
}

impl Tickets {
    /// The next request of a client.
    pub fn next(&mut self, settings: &CacheSettings, rng: &mut Rng) -> Request {
        let session = recent(&self.sessions, rng);
        let child = recent(&self.children, rng);
        let caches = vec![settings.id()];
        let errand = |errand| (Blob::default(), Operation::Errand(Box::new(errand)));
        let get = |key: Blob| {
            let kind = Blob::default();
            let operation = KeyOperation::Ticket(TicketOperation::Get { kind });
            let of = key.clone();
            (of, Operation::Key { key, operation })
        };
        let (key, operation) = match (rng.below(20), session, child) {
            (0..=3, ..) | (_, None, _) => self.session(rng),
            (4..=8, Some(parent), _) => {
                let from_child = rng.percent(20);
                let parent = self
                    .children
                    .last()
                    .filter(|_| from_child)
                    .cloned()
                    .unwrap_or(parent);
                errand(self.child(settings, parent))
            }
            (9..=11, Some(session), _) => get(session),
            (12..=13, _, Some(child)) => get(child),
            (14..=15, _, Some(key)) => errand(TicketErrand::Use {
                key,
                kind: Blob::default(),
                caches,
            }),
            (16..=17, Some(key), _) => errand(TicketErrand::Delete { key, caches }),
            (18, Some(session), _) => errand(TicketErrand::DeleteForPrincipal {
                principal: user_of(&session),
                caches,
            }),
            (_, Some(session), _) => {
                let partition = partition_of(&session, settings.partitions);
                return count(settings, partition);
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
        let operation = KeyOperation::Ticket(add("TGT", blob(&user), None));
        (key.clone(), Operation::Key { key, operation })
    }

    fn child(&mut self, settings: &CacheSettings, parent: Blob) -> TicketErrand {
        self.next += 1;
        let key = blob(&format!("ST-{}", self.next));
        self.children.push(key.clone());
        TicketErrand::AddChild {
            cache: settings.id(),
            key,
            add: add("ST", Blob::default(), Some(1)),
            parent,
            parent_caches: vec![settings.id()],
            until: None,
        }
    }
}
