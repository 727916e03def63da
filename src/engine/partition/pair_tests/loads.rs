//! Loads of a copy: which of them counts in a later view, what a copy counts for while another one is
//! loaded in its place, and how long a subscription does.

use super::*;

#[test]
fn a_copy_lies_aside_until_another_one_is_loaded() {
    let (mut primary, mut loader) = (Node::new(PRIMARY), Node::new(LOADER));
    loader.view(1, &[LOADER], &[]);
    loader.write("mine", None);
    primary.view(2, &[PRIMARY], &[]);
    primary.write("theirs", None);
    for node in [&mut primary, &mut loader] {
        node.view(3, &[PRIMARY], &[LOADER]);
    }
    assert_eq!(loader.told(), Some((1, true)));
    assert!(loader.partition.entry_bytes() > 0);
    talk(&mut primary, &mut loader);
    assert_eq!(loader.told(), Some((3, false)));
    assert_eq!(loader.keys().0, ["theirs"]);
    let bytes = loader.partition.entry_bytes();
    assert_eq!(bytes, primary.partition.entry_bytes(), "one copy is left");
}

#[test]
fn a_copy_is_brought_back_with_what_was_loaded_since() {
    let (mut primary, mut loader) = (Node::new(PRIMARY), Node::new(LOADER));
    loader.view(1, &[LOADER], &[]);
    let life = loader.write("removed", None);
    loader.write("only here", None);
    primary.view(2, &[PRIMARY], &[]);
    primary.write("new", None);
    primary.write("removed", Some(life));
    for node in [&mut primary, &mut loader] {
        node.view(3, &[PRIMARY], &[LOADER]);
    }
    // The load does not come to its end.
    for body in primary.sent() {
        if let Body::Chunk(chunk) = body {
            let chunk = Chunk {
                last: false,
                ..chunk
            };
            loader.hear(PRIMARY, Body::Chunk(chunk));
        }
    }
    assert_eq!(loader.told(), Some((1, true)));
    // Nor does the next one begin.
    loader.view(4, &[member(3)], &[LOADER]);
    assert_eq!(loader.told(), Some((1, true)));
    loader.view(5, &[LOADER], &[]);
    let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
    let (live, dead): (Vec<String>, Vec<String>) =
        (names(&["new", "only here"]), names(&["removed"]));
    assert_eq!(loader.keys(), (live, dead));
    assert_eq!(loader.told(), Some((5, false)));
    // It goes on as any primary does.
    loader.write("later", None);
    assert_eq!(loader.keys().0, ["later", "new", "only here"]);
}

#[test]
fn a_copy_goes_when_the_partition_has_all_its_owners() {
    let mut loader = Node::new(LOADER);
    loader.view(1, &[LOADER], &[]);
    loader.write("mine", None);
    loader.view(2, &[PRIMARY], &[member(3)]);
    assert_eq!(loader.told(), Some((1, true)));
    loader.view(3, &[PRIMARY, member(3)], &[]);
    assert_eq!(loader.told(), None);
    assert_eq!(loader.partition.entry_bytes(), 0);
}

#[test]
fn a_load_counts_in_a_later_view_once_the_primary_says_so() {
    let (mut primary, mut loader) = loaded();
    loader.view(3, &[PRIMARY], &[LOADER]);
    assert_eq!(loader.told(), Some((2, true)));
    primary.view(3, &[PRIMARY], &[LOADER]);
    // The first word is lost, and said again.
    primary.sent();
    assert!(loader.reports().is_empty());
    primary.now += SECOND;
    primary.with(|partition, cx| partition.on_timeout(cx));
    primary.write("b", None);
    talk(&mut primary, &mut loader);
    assert_eq!(loader.told(), Some((3, false)));
    assert_eq!(loader.reports(), [Report::Loaded]);
    assert_eq!(loader.keys().0, ["a", "b"]);
}

#[test]
fn a_load_does_not_count_where_its_receiver_was_left_out_in_between() {
    let (mut primary, mut loader) = loaded();
    primary.view(3, &[PRIMARY], &[]);
    primary.write("missed", None);
    for node in [&mut primary, &mut loader] {
        node.view(4, &[PRIMARY], &[LOADER]);
    }
    assert_eq!(loader.told(), Some((2, true)));
    talk(&mut primary, &mut loader);
    assert_eq!(loader.told(), Some((4, false)));
    assert_eq!(loader.keys().0, ["a", "missed"]);
}

#[test]
fn what_comes_behind_a_load_that_no_longer_counts_is_not_acknowledged() {
    let (mut primary, mut loader) = loaded();
    primary.view(3, &[PRIMARY], &[]);
    for node in [&mut primary, &mut loader] {
        node.view(4, &[PRIMARY], &[LOADER]);
    }
    // The first piece of the other load is lost, and not what comes behind it.
    primary.sent();
    primary.write("later", None);
    for body in primary.sent() {
        loader.hear(PRIMARY, body);
    }
    assert!(loader.sent().is_empty());
    primary.now += 2 * SECOND;
    primary.with(|partition, cx| partition.on_timeout(cx));
    talk(&mut primary, &mut loader);
    assert_eq!(loader.told(), Some((4, false)));
    primary.write("last", None);
    talk(&mut primary, &mut loader);
    assert_eq!(loader.keys().0, ["a", "last", "later"]);
}

#[test]
fn a_load_is_begun_anew_where_the_primary_says_nothing_of_it() {
    let (mut primary, mut loader) = loaded();
    for node in [&mut primary, &mut loader] {
        node.view(3, &[PRIMARY], &[LOADER]);
    }
    primary.sent();
    loader.now += super::super::backup::CONFIRM_LOAD;
    loader.with(|partition, cx| partition.on_timeout(cx));
    assert_eq!(loader.told(), Some((2, true)));
    assert_eq!(loader.sent().len(), 1, "it asks");
}

#[test]
fn what_is_on_its_way_moves_with_the_clock() {
    let [mut primary, mut loader] = [PRIMARY, LOADER].map(Node::new);
    primary.view(1, &[PRIMARY], &[]);
    primary.write("a", None);
    for node in [&mut primary, &mut loader] {
        node.view(2, &[PRIMARY], &[LOADER]);
    }
    let lost = primary.sent();
    assert!(lost.iter().any(|body| matches!(body, Body::Chunk(_))));
    for node in [&mut primary, &mut loader] {
        node.enter(Place {
            topology: version(3),
            owners: vec![PRIMARY],
            loading: vec![LOADER],
            shift: 5 * SECOND.cast_signed(),
            ..Place::default()
        });
        node.now += 5 * SECOND;
        node.with(|partition, cx| partition.on_timeout(cx));
    }
    let pieces = primary.sent().into_iter().filter_map(|body| match body {
        Body::Chunk(piece) => Some(piece.entries),
        _ => None,
    });
    let sent: Vec<ClusterTime> = pieces
        .flatten()
        .map(|(_, entry)| entry.created_at)
        .collect();
    assert!(!sent.is_empty());
    for created_at in sent {
        assert_eq!(created_at, ClusterTime(6 * SECOND));
    }
}

#[test]
fn a_subscription_ends_where_its_node_is_out() {
    let (mut primary, _) = loaded();
    let watcher = member(9);
    let told = |primary: &mut Node, after| {
        primary.hear(watcher, Body::Subscribe { after });
        let sent = primary.sent();
        sent.into_iter().find_map(|body| match body {
            Body::Events { upto, .. } => Some(upto),
            _ => None,
        })
    };
    let upto = told(&mut primary, None);
    assert!(upto.is_some());
    primary.view(3, &[PRIMARY], &[]);
    primary.with(|partition, _| partition.watchers_gone(|node| node == watcher));
    primary.sent();
    primary.write("b", None);
    assert!(primary.sent().is_empty(), "it may be elsewhere by now");
    let next = told(&mut primary, upto);
    assert_eq!(
        next.map(|next| next.counter),
        upto.map(|upto| upto.counter + 1)
    );
    // It watched another history up to the same counter.
    let elsewhere = next.map(|next| WatchPosition {
        topology: version(9),
        ..next
    });
    assert_eq!(told(&mut primary, elsewhere), None);
}
