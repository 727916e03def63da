//! Records made by hand, for the tests of the checkers.

use crate::caches::{self, Use};
use crate::clock::Time;
use crate::history::{Call, History, Outcome};
use crate::record::Record;
use embergrid::types::ticket::{TicketErrand, TicketOperation, TicketRecord};
use embergrid::types::{
    Blob, ClusterTime, Condition, EntryView, Expiry, KeyOperation, Operation, Reply, Request,
    TopologyVersion,
};

/// An undivided run of three nodes without calls.
pub fn record() -> Record {
    let (uses, settings): (Vec<Use>, Vec<_>) = caches::all(8)
        .into_iter()
        .chain(caches::stopping(8))
        .unzip();
    let cache_ids = settings.iter().map(|cache| cache.id()).collect();
    let history = History {
        uses,
        cache_ids,
        ..History::default()
    };
    Record {
        nodes: 3,
        settings,
        history,
        faults_end: 1_000,
        compared_at: 1_000_000_000,
        ..Record::default()
    }
}

pub fn entry(key: &str, value: &str, created: u64) -> EntryView {
    EntryView {
        key: Blob::from(key),
        value: Blob::from(value),
        flags: 0,
        version: 1,
        created_at: ClusterTime(created),
        last_access_at: ClusterTime(created),
        expires_at: None,
        idle_expires_at: None,
    }
}

pub fn got(key: &str, value: &str, created: u64) -> Outcome {
    Outcome::Ok(Reply::Got {
        entry: Some(entry(key, value, created)),
    })
}

pub const MISS: Outcome = Outcome::Ok(Reply::Got { entry: None });

pub const GET: KeyOperation = KeyOperation::Get {
    touch: None,
    omit_value: false,
};

pub fn put(value: &str) -> KeyOperation {
    KeyOperation::Put {
        value: Blob::from(value),
        flags: 0,
        expiry: Expiry::Default,
        condition: Condition::Any,
        return_previous: false,
    }
}

pub fn stored() -> Outcome {
    Outcome::Ok(Reply::Put {
        applied: true,
        version: 1,
        previous: None,
    })
}

pub const TAKE: KeyOperation = KeyOperation::Remove {
    condition: Condition::Any,
    return_previous: true,
};

pub fn taken(key: &str, value: &str, created: u64) -> Outcome {
    Outcome::Ok(Reply::Removed {
        applied: true,
        previous: Some(entry(key, value, created)),
    })
}

impl Record {
    /// Adds a call on a key.
    pub fn call(
        &mut self,
        cache: usize,
        key: &str,
        span: (Time, Time),
        operation: KeyOperation,
        outcome: Outcome,
    ) -> &mut Call {
        let operation = Operation::Key {
            key: Blob::from(key),
            operation,
        };
        let request = Request {
            cache: self.history.cache_ids[cache],
            partition: 0,
            operation,
            request_id: None,
        };
        let views = (TopologyVersion::default(), TopologyVersion::default());
        self.history.calls.push(Call {
            client: 0,
            cache,
            request,
            invoked: span.0,
            responded: span.1,
            outcome,
            node: 0,
            attempts: 1,
            views,
        });
        let last = self.history.calls.len() - 1;
        &mut self.history.calls[last]
    }
}

pub fn added(record: TicketRecord) -> TicketOperation {
    TicketOperation::Add {
        record: Box::new(record),
        created_at: None,
        hard_expire_at: None,
        expires_by: None,
        sure_until: None,
        not_after: None,
    }
}

pub fn look() -> TicketOperation {
    TicketOperation::Get {
        kind: Blob::default(),
        vouched: false,
    }
}

pub fn seen(record: &TicketRecord, key: &str) -> Outcome {
    let mut outcome = got(key, "", 0);
    if let Outcome::Ok(Reply::Got { entry: Some(entry) }) = &mut outcome {
        entry.value = record.encode();
    }
    outcome
}

impl Record {
    /// The cache of tickets.
    fn tickets(&self) -> usize {
        let mut uses = self.history.uses.iter();
        uses.position(|known| *known == Use::Tickets)
            .expect("there is one")
    }

    /// Adds a call on a ticket.
    pub fn ticket(
        &mut self,
        key: &str,
        span: (Time, Time),
        operation: TicketOperation,
        outcome: Outcome,
    ) -> &mut Call {
        let operation = KeyOperation::Ticket(operation);
        let cache = self.tickets();
        self.call(cache, key, span, operation, outcome)
    }

    /// Adds a ticket that descends from another one.
    pub fn ticket_child(
        &mut self,
        key: &str,
        parent: &str,
        span: (Time, Time),
        child: TicketRecord,
    ) {
        let cache = self.history.cache_ids[self.tickets()];
        let errand = TicketErrand::AddChild {
            cache,
            key: Blob::from(key),
            add: added(child),
            parent: Blob::from(parent),
            parent_caches: vec![cache],
            until: None,
        };
        let call = self.ticket(key, span, look(), stored());
        call.request.operation = Operation::Errand(Box::new(errand));
    }

    /// Deletes a ticket.
    pub fn ticket_deleted(&mut self, key: &str, span: (Time, Time)) {
        let caches = vec![self.history.cache_ids[self.tickets()]];
        let key_of = Blob::from(key);
        let errand = TicketErrand::Delete {
            key: key_of,
            caches,
        };
        let deleted = Outcome::Ok(Reply::Cleared { removed: 1 });
        let call = self.ticket(key, span, look(), deleted);
        call.request.operation = Operation::Errand(Box::new(errand));
    }
}
