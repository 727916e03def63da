//! What a primary alone does: what it names where a principal ends, and that a read ends what is over.

use super::*;

/// What the end of a principal names at a primary with one session of hers that is being deleted,
/// one of his, and descendants of a third that is gone.
fn named(ended_before: bool) -> Vec<Blob> {
    let mut primary = Node::new(PRIMARY);
    primary.view(1, &[PRIMARY], &[]);
    for (session, principal) in [("TGT-1", "alice"), ("TGT-2", "bob"), ("TGT-3", "")] {
        let key = Blob::from(session);
        primary.set(note::link(&key, CacheId(1), b"ST-1"), Blob::default());
        let record = TicketRecord {
            kind: Blob::from("TGT"),
            principal: Blob::from(principal),
            ending: true,
            ..TicketRecord::default()
        };
        if !principal.is_empty() {
            primary.set(key, record.encode());
        }
    }
    if ended_before {
        let at = primary.partition.next_version();
        primary.set(note::ended(b"alice", at), Blob::default());
    }
    let principal = Blob::from("alice");
    let end = TicketsOperation::EndPrincipal { principal };
    match primary.ask(version(1), Operation::Tickets(end)) {
        Some(Reply::Deleted { left, .. }) => left,
        _ => panic!("it is answered at once"),
    }
}

#[test]
fn the_end_of_a_principal_names_what_others_began_to_end() {
    assert_eq!(named(false), [Blob::from("TGT-1")]);
    assert_eq!(named(true), [Blob::from("TGT-1"), Blob::from("TGT-3")]);
}

#[test]
fn what_is_over_goes_when_it_is_asked_for() {
    let mut primary = Node::new(PRIMARY);
    primary.view(1, &[PRIMARY], &[]);
    let key = Blob::from("TGT-1");
    let session = TicketRecord {
        kind: Blob::from("TGT"),
        ..TicketRecord::default()
    };
    primary.set(key.clone(), session.encode());
    primary.set(note::link(&key, CacheId(1), b"ST-1"), Blob::default());
    let ends = ClusterTime(primary.now + SECOND);
    let mut entry = primary.partition.store.get(&key).cloned().expect("it");
    entry.version = primary.partition.next_version();
    entry.live.as_mut().expect("it lives").expires_at = Some(ends);
    let effect = UpdateEffect::Set {
        key: key.clone(),
        entry,
    };
    primary.with(|partition, cx| partition.append(effect, None, cx));
    let get = || Operation::Key {
        key: key.clone(),
        operation: KeyOperation::Ticket(TicketOperation::Get {
            kind: Blob::default(),
            vouched: false,
        }),
    };
    primary.now += SECOND;
    let at_the_limit = primary.ask(version(1), get());
    assert!(matches!(at_the_limit, Some(Reply::Got { entry: Some(_) })));
    assert!(primary.partition.store.get(&key).is_some());
    primary.now += 1;
    assert_eq!(
        primary.ask(version(1), get()),
        Some(Reply::Got { entry: None })
    );
    assert!(primary.partition.store.get(&key).is_none());
    assert_eq!(primary.partition.take_left_over().chores, [key]);
}
