//! Two histories that meet: what a return changes of what has ended, and what is left of a transaction
//! that nobody heard of.

use super::*;

/// A primary and two backups; the last write of their view, which lives for a second, comes to one
/// backup behind the view without the other one, or never, and to that one when it is out. What lives
/// at the first one once the other is back.
fn lives_after_a_return(came: bool) -> Vec<String> {
    const STAYS: Member = LOADER;
    const RETURNS: Member = member(3);
    let [mut primary, mut stays, mut returns] = [PRIMARY, STAYS, RETURNS].map(Node::new);
    let place = |number, owners: &[Member], departed: &[Member]| Place {
        topology: version(number),
        owners: owners.to_vec(),
        departed: departed.into(),
        ..Place::default()
    };
    for node in [&mut stays, &mut returns, &mut primary] {
        node.some_out = true;
        node.view(1, &[PRIMARY, STAYS, RETURNS], &[]);
    }
    // What the primary asks, and that its stream begins.
    for _ in 0..2 {
        for body in primary.sent() {
            stays.hear(PRIMARY, body.clone());
            returns.hear(PRIMARY, body);
        }
        for node in [&mut stays, &mut returns] {
            let from = node.me;
            node.sent()
                .into_iter()
                .for_each(|body| primary.hear(from, body));
        }
    }
    primary.sent();
    primary.time_to_live = Some(SECOND);
    primary.write("short", None);
    let last = primary.sent();
    if came {
        for node in [&mut stays, &mut primary] {
            node.enter(place(2, &[PRIMARY, STAYS], &[RETURNS]));
        }
    }
    for body in last {
        if came {
            stays.hear(PRIMARY, body.clone());
        }
        returns.hear(PRIMARY, body);
    }
    if came {
        talk(&mut primary, &mut stays);
    }
    stays.enter(place(3, &[STAYS], &[PRIMARY, RETURNS]));
    assert_eq!(stays.keys().0.len(), usize::from(came));
    stays.write("later", None);
    for node in [&mut stays, &mut returns] {
        node.now += 2 * SECOND;
    }
    stays.with(|partition, cx| partition.on_timeout(cx));
    assert_eq!(stays.keys().0, ["later"]);
    for node in [&mut stays, &mut returns] {
        node.sent();
        node.enter(Place {
            sources: vec![RETURNS],
            ..place(4, &[STAYS], &[PRIMARY])
        });
    }
    assert_eq!(returns.keys().0, ["short"]);
    for body in returns.sent() {
        stays.hear(RETURNS, body);
    }
    assert_eq!(stays.reports(), [Report::Merged]);
    stays.keys().0
}

#[test]
fn what_ended_by_its_time_does_not_begin_again_by_a_return_where_it_came_late_and_does_where_never()
{
    assert_eq!(lives_after_a_return(true), ["later"]);
    // Whoever watched there may have been told that it began.
    assert_eq!(lives_after_a_return(false), ["later", "short"]);
}

/// A step that its primary could not have confirmed before it was left out, what the other owner
/// wrote since, and a new view in which both histories meet.
fn left_behind(step: Step, mode: WriteSynchronizationMode) -> (Node, Node) {
    let settings = || CacheSettings {
        write_synchronization: mode,
        atomicity: AtomicityMode::Transactional,
        ..CacheSettings::named("accounts")
    };
    let both = [PRIMARY, LOADER].map(|me| Node::of(me, settings()));
    let [first, second] = both;
    let (mut first, mut second) = loading(first, second);
    for node in [&mut first, &mut second] {
        node.view(3, &[PRIMARY, LOADER], &[]);
    }
    talk(&mut first, &mut second);
    let id = TransactionId {
        topology: 3,
        sequence: 1,
        initiator: PRIMARY,
        attempt: 0,
    };
    let answer = first.ask(version(3), Operation::Transaction { id, step });
    assert_eq!(answer, None, "the other owner has not confirmed it");
    first.sent();
    second.view(4, &[LOADER], &[]);
    second.write("a", None);
    for node in [&mut first, &mut second] {
        node.merging_view(5, &[LOADER], &[], &[PRIMARY]);
    }
    talk(&mut second, &mut first);
    assert_eq!(second.reports(), [Report::Merged]);
    (first, second)
}

/// In each mode, and as a source would tell it that does not look at what was confirmed.
fn each_way(step: impl Fn() -> Step, mut judge: impl FnMut(&Partition, bool)) {
    for mode in [
        WriteSynchronizationMode::FullSync,
        WriteSynchronizationMode::FullAsync,
    ] {
        for tells in [false, true] {
            planted::plant(tells.then_some(Fault::TellUnconfirmed));
            let (_, merged) = left_behind(step(), mode);
            planted::plant(None);
            assert!(merged.partition.log.is_settled());
            judge(&merged.partition, tells);
        }
    }
}

#[test]
fn what_was_prepared_and_told_to_nobody_is_not_prepared_in_another_history() {
    let prepare = || {
        Step::Prepare(Box::new(Prepare {
            part: Part {
                operations: vec![put("a", "1"), put("b", "1")],
                ..Part::default()
            },
            status: Some((CacheId(9), 0)),
            deadline: ClusterTime(9 * SECOND),
        }))
    };
    each_way(prepare, |merged, tells| {
        for key in [b"a", b"b"] {
            assert_eq!(merged.is_locked(key), tells);
        }
    });
}

#[test]
fn no_half_of_what_was_done_and_told_to_nobody_reaches_another_history() {
    let alone = || {
        Step::Alone(Box::new(Part {
            operations: vec![put("a", "1"), put("b", "1")],
            ..Part::default()
        }))
    };
    each_way(alone, |merged, tells| {
        let value = |key: &str| {
            let entry = merged.store.get(key.as_bytes());
            entry.and_then(|entry| Some(entry.live.as_ref()?.value.clone()))
        };
        assert_eq!(value("a"), Some(Blob::from("a")));
        assert_eq!(value("b").is_some(), tells);
    });
}
