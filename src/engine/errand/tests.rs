//! One errand at a time, its steps answered by hand.

use super::*;
use crate::types::ticket::operation::ParentView;
use crate::types::{EntryView, Request};

const CACHE: CacheId = CacheId(7);

fn errand(of: TicketErrand) -> Errand {
    Errand::new(of, [1; 16], Partitions::from([(CACHE, 8)]))
}

/// The one step that is next.
fn step(errand: &mut Errand) -> (u64, Request) {
    let mut steps = errand.take_steps();
    assert_eq!(steps.len(), 1, "{steps:?}");
    steps.remove(0)
}

fn on_ticket(request: &Request) -> (&Blob, &TicketOperation) {
    match &request.operation {
        Operation::Key {
            key,
            operation: KeyOperation::Ticket(operation),
        } => (key, operation),
        other => panic!("{other:?} is on no ticket"),
    }
}

fn link(key: &str) -> Link {
    Link {
        cache: CACHE,
        key: key.into(),
        name: Blob::default(),
    }
}

fn got(record: &TicketRecord) -> Result<Reply> {
    Ok(Reply::Got {
        entry: Some(EntryView {
            key: Blob::default(),
            value: record.encode(),
            flags: 0,
            version: 1,
            created_at: ClusterTime(1),
            last_access_at: ClusterTime(1),
            expires_at: None,
            idle_expires_at: None,
        }),
    })
}

fn unsure() -> Result<Reply> {
    Err(Error::new(ErrorKind::Conflict, "who knows").because(UNSURE))
}

fn looked_up(vouched: bool) -> TicketOperation {
    TicketOperation::Get {
        kind: Blob::default(),
        vouched,
    }
}

fn using(vouched: bool) -> TicketOperation {
    TicketOperation::Use {
        kind: "ST".into(),
        vouched,
    }
}

fn of_child() -> TicketRecord {
    TicketRecord {
        parent: Some(link("PGT-1")),
        anchor: Some(link("PGT-1")),
        root: Some(link("TGT-1")),
        ..TicketRecord::default()
    }
}

/// An errand that uses `ST-1`, which was not sure, up to the question whether `PGT-1` lives.
fn climbing() -> (Errand, u64) {
    let mut errand = errand(TicketErrand::One {
        key: "ST-1".into(),
        operation: using(false),
        caches: vec![CACHE],
    });
    let (asked, request) = step(&mut errand);
    assert_eq!(on_ticket(&request), (&"ST-1".into(), &using(false)));
    assert!(errand.on_reply(asked, unsure()).is_none());
    let (looked, request) = step(&mut errand);
    assert_eq!(on_ticket(&request), (&"ST-1".into(), &looked_up(true)));
    assert!(request.request_id.is_none());
    assert!(errand.on_reply(looked, got(&of_child())).is_none());
    let (climbed, request) = step(&mut errand);
    assert_eq!(on_ticket(&request), (&"PGT-1".into(), &looked_up(false)));
    (errand, climbed)
}

#[test]
fn a_ticket_that_is_not_sure_is_used_when_all_above_it_live() {
    let (mut errand, climbed) = climbing();
    // It is not sure itself: on to the session.
    assert!(errand.on_reply(climbed, unsure()).is_none());
    let (looked, request) = step(&mut errand);
    assert_eq!(on_ticket(&request), (&"PGT-1".into(), &looked_up(true)));
    let above = TicketRecord {
        parent: Some(link("TGT-1")),
        ..TicketRecord::default()
    };
    assert!(errand.on_reply(looked, got(&above)).is_none());
    let (climbed, request) = step(&mut errand);
    assert_eq!(on_ticket(&request), (&"TGT-1".into(), &looked_up(false)));
    let session = TicketRecord::default();
    assert!(errand.on_reply(climbed, got(&session)).is_none());
    let (used, request) = step(&mut errand);
    assert_eq!(on_ticket(&request), (&"ST-1".into(), &using(true)));
    let answer = errand.on_reply(used, got(&of_child()));
    assert!(matches!(answer, Some(Ok(Reply::Got { entry: Some(_) }))));
    // A doubled answer finds nobody who waits.
    assert!(errand.on_reply(used, unsure()).is_none());
    assert!(errand.is_over());
}

#[test]
fn a_ticket_whose_session_is_gone_is_not_used() {
    for gone in [Ok(Reply::Got { entry: None }), Err(not_found())] {
        let (mut errand, climbed) = climbing();
        let answer = errand.on_reply(climbed, gone);
        let refused = answer.expect("an answer").expect_err("it is gone");
        assert_eq!(refused.kind, ErrorKind::NotFound);
        assert!(errand.is_over());
    }
}

fn added(parent: &str) -> Errand {
    errand(TicketErrand::AddChild {
        cache: CACHE,
        key: "PGT-1".into(),
        add: TicketOperation::Add {
            record: Box::default(),
            created_at: None,
            hard_expire_at: None,
            expires_by: Some(ClusterTime(900)),
            sure_until: None,
            not_after: None,
        },
        parent: parent.into(),
        parent_caches: vec![CACHE],
        until: None,
    })
}

/// The bounds with which the ticket is stored: its end, and until when it is sure.
fn bounds(errand: &mut Errand) -> (Option<ClusterTime>, Option<ClusterTime>) {
    match on_ticket(&step(errand).1).1 {
        TicketOperation::Add {
            expires_by,
            sure_until,
            ..
        } => (*expires_by, *sure_until),
        other => panic!("{other:?} stores nothing"),
    }
}

#[test]
fn a_child_ends_with_its_parent_and_what_a_spent_one_granted_with_the_session() {
    let at = |point| Some(ClusterTime(point));
    let session = ParentView {
        expires_at: at(800),
        sure_until: at(300),
        ..ParentView::default()
    };
    let registered = |parent: &ParentView| Reply::Registered {
        parent: Box::new(parent.clone()),
    };
    let mut of_session = added("TGT-1");
    let (register, _) = step(&mut of_session);
    assert!(
        of_session
            .on_reply(register, Ok(registered(&session)))
            .is_none()
    );
    assert_eq!(bounds(&mut of_session), (at(800), at(300)));

    // A service ticket lives for seconds, and is spent then.
    let service = ParentView {
        limited: true,
        anchor: Some(link("TGT-1")),
        expires_at: at(10),
        ..ParentView::default()
    };
    let mut of_service = added("ST-1");
    let (register, _) = step(&mut of_service);
    assert!(
        of_service
            .on_reply(register, Ok(registered(&service)))
            .is_none()
    );
    let (anchored, request) = step(&mut of_service);
    let of = |request: &Request| match &request.operation {
        Operation::Tickets(TicketsOperation::Register { parent, .. }) => parent.clone(),
        other => panic!("{other:?} registers nothing"),
    };
    assert_eq!(of(&request), "TGT-1".into());
    assert!(
        of_service
            .on_reply(anchored, Ok(registered(&session)))
            .is_none()
    );
    assert_eq!(bounds(&mut of_service), (at(800), at(300)));
}

#[test]
fn a_child_registers_with_all_that_granted_its_parent_and_then_with_that_again() {
    let of = |request: &Request| match &request.operation {
        Operation::Tickets(TicketsOperation::Register { parent, .. }) => parent.clone(),
        other => panic!("{other:?} registers nothing"),
    };
    let service = ParentView {
        limited: true,
        anchor: Some(link("TGT-1")),
        granted_by: vec![link("ST-3"), link("ST-2")],
        ..ParentView::default()
    };
    let registered = || {
        let parent = Box::new(service.clone());
        Ok(Reply::Registered { parent })
    };
    let gone = || Err(parent_gone());
    let mut adding = added("ST-4");
    let (number, first) = step(&mut adding);
    assert!(adding.on_reply(number, registered()).is_none());
    // The farthest first. That it is spent is no obstacle.
    for (above, answer) in [("ST-2", gone()), ("ST-3", registered())] {
        let (number, request) = step(&mut adding);
        assert_eq!(of(&request), above.into());
        assert!(adding.on_reply(number, answer).is_none());
    }
    let (number, again) = step(&mut adding);
    assert_eq!(of(&again), "ST-4".into());
    assert_ne!(first.request_id, again.request_id);
    assert!(adding.on_reply(number, registered()).is_none());
    let (number, request) = step(&mut adding);
    assert_eq!(of(&request), "TGT-1".into());
    let session = ParentView::default();
    let anchored = Ok(Reply::Registered {
        parent: Box::new(session),
    });
    assert!(adding.on_reply(number, anchored).is_none());
    let (_, stored) = step(&mut adding);
    let (_, TicketOperation::Add { record, .. }) = on_ticket(&stored) else {
        panic!("{stored:?} adds nothing");
    };
    assert_eq!(record.granted_by, service.granted_by);

    // One of them is being deleted, which has not reached the parent yet.
    let mut adding = added("ST-4");
    let (number, _) = step(&mut adding);
    assert!(adding.on_reply(number, registered()).is_none());
    let (number, _) = step(&mut adding);
    let ending = parent_gone().because(ENDING);
    let answer = adding.on_reply(number, Err(ending));
    let refused = |error: &Error| error.kind == ErrorKind::ParentGone && error.reason != ENDING;
    assert!(answer.is_some_and(|answer| answer.is_err_and(|error| refused(&error))));
}

fn on_tickets(request: &Request) -> &TicketsOperation {
    match &request.operation {
        Operation::Tickets(operation) => operation,
        other => panic!("{other:?} is on one ticket"),
    }
}

fn put(shortened: bool) -> Result<Reply> {
    let previous = match got(&TicketRecord::default()) {
        Ok(Reply::Got { entry }) if shortened => entry,
        _ => None,
    };
    Ok(Reply::Put {
        applied: true,
        version: 5,
        previous,
    })
}

fn is_put(answer: Option<Result<Reply>>) -> bool {
    let stored = Reply::Put {
        applied: true,
        version: 5,
        previous: None,
    };
    answer == Some(Ok(stored))
}

fn updated() -> (Errand, u64) {
    let mut errand = errand(TicketErrand::One {
        key: "TGT-1".into(),
        operation: TicketOperation::Update {
            record: Box::default(),
            hard_expire_at: None,
            keep_expiration: false,
            expected_version: None,
            vouched: false,
        },
        caches: vec![CACHE],
    });
    let (asked, _) = step(&mut errand);
    (errand, asked)
}

#[test]
fn an_update_is_answered_when_all_that_descends_knows_of_a_nearer_end() {
    let (mut errand, asked) = updated();
    assert!(is_put(errand.on_reply(asked, put(false))));
    assert!(errand.is_over());

    let (mut errand, asked) = updated();
    assert!(errand.on_reply(asked, put(true)).is_none());
    let (down, request) = step(&mut errand);
    let TicketsOperation::Narrow { key, within, .. } = on_tickets(&request) else {
        panic!("{request:?} tells nobody");
    };
    assert_eq!((key, within), (&"TGT-1".into(), &None));
    let bounds = Bounds {
        of: "TGT-1".into(),
        end: Some(ClusterTime(9)),
        ..Bounds::default()
    };
    let page = |names: &[&str], more| {
        let links = names
            .iter()
            .map(|name| note::link(b"TGT-1", CACHE, name.as_bytes()));
        Ok(Reply::Narrowed {
            bounds: Some(bounds.clone()),
            left: links.collect(),
            more,
        })
    };
    assert!(
        errand
            .on_reply(down, page(&["AT-1", "AT-2"], true))
            .is_none()
    );
    let mut steps = errand.take_steps();
    assert_eq!(steps.len(), 3);
    for (_, request) in &steps[..2] {
        let TicketsOperation::Narrow { within, .. } = on_tickets(request) else {
            panic!("{request:?} tells nobody");
        };
        assert_eq!(within.as_ref(), Some(&bounds));
    }
    let ids: std::collections::BTreeSet<_> = steps
        .iter()
        .map(|(_, request)| request.request_id)
        .collect();
    assert_eq!(ids.len(), 3, "each step is one of its own");
    let (rest, request) = steps.remove(2);
    assert!(matches!(
        on_tickets(&request),
        TicketsOperation::Narrow { after: Some(after), .. }
            if *after == note::link(b"TGT-1", CACHE, b"AT-2")
    ));
    assert!(errand.on_reply(rest, page(&[], false)).is_none());
    let none = Reply::Narrowed {
        bounds: None,
        left: Vec::new(),
        more: false,
    };
    assert!(errand.on_reply(steps[0].0, Ok(none.clone())).is_none());
    // Doubled, it counts once.
    assert!(errand.on_reply(steps[0].0, Ok(none.clone())).is_none());
    assert!(is_put(errand.on_reply(steps[1].0, Ok(none))));
    assert!(errand.is_over());
}

#[test]
fn an_update_is_unknown_where_some_may_not_know_of_the_nearer_end() {
    let (mut errand, asked) = updated();
    assert!(errand.on_reply(asked, put(true)).is_none());
    let (down, _) = step(&mut errand);
    let refused = Error::overloaded("too much").not_applied();
    let answer = errand.on_reply(down, Err(refused)).expect("an answer");
    assert_eq!(answer.expect_err("it is unknown").applied, Applied::Unknown);
    assert!(errand.is_over());
}

#[test]
fn a_child_that_was_told_an_end_out_of_date_registers_again() {
    let mut errand = added("TGT-1");
    let parent = ParentView::default();
    let registered = || {
        Ok(Reply::Registered {
            parent: Box::new(parent.clone()),
        })
    };
    let mut ids = Vec::new();
    for _ in 0..=ROUNDS_MAX {
        let (register, request) = step(&mut errand);
        ids.push(request.request_id);
        assert!(errand.on_reply(register, registered()).is_none());
        let (store, request) = step(&mut errand);
        ids.push(request.request_id);
        let outdated = Error::new(ErrorKind::Conflict, "late").because(OUTDATED);
        let answer = errand.on_reply(store, Err(outdated));
        if let Some(answer) = answer {
            assert_eq!(answer.expect_err("it gives up").reason, OUTDATED);
            break;
        }
    }
    assert!(errand.is_over());
    let count = ids.len();
    ids.sort();
    ids.dedup();
    assert_eq!((ids.len(), count), (count, 2 * (ROUNDS_MAX as usize + 1)));
}
