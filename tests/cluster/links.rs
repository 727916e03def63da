//! Nodes find each other over mutual TLS, and only those that may.

use crate::rig::{Authorities, TestNode, listeners, settings, wait_until};

#[test]
fn two_nodes_link_over_mutual_tls_and_notice_the_end() {
    let authorities = Authorities::new("links");
    let (mut ports, list) = listeners(2);
    let second_port = ports.remove(1);
    let first = settings(&list, authorities.node("first"));
    let second = settings(&list, authorities.node("second"));
    let first = TestNode::start(&first, ports.remove(0)).expect("it starts");
    let mut second = TestNode::start(&second, second_port).expect("it starts");
    wait_until("both are linked", || {
        first.handle().stats().links == 1 && second.handle().stats().links == 1
    });
    assert_ne!(first.handle().me().member, second.handle().me().member);
    assert!(first.handle().me().certificate_expires_at > 0);
    second.kill();
    wait_until("the end is noticed", || first.handle().stats().links == 0);
}

#[test]
fn a_node_of_another_authority_is_refused() {
    let ours = Authorities::new("ours");
    let theirs = Authorities::new("theirs");
    let (mut ports, list) = listeners(2);
    let second_port = ports.remove(1);
    let first =
        TestNode::start(&settings(&list, ours.node("first")), ports.remove(0)).expect("it starts");
    let second =
        TestNode::start(&settings(&list, theirs.node("second")), second_port).expect("it starts");
    wait_until("both were told what came of the other", || {
        [&first, &second].iter().all(|node| {
            node.handle()
                .probe_report()
                .contains("TLS handshake failed")
        })
    });
    assert_eq!(first.handle().stats().links_opened, 0);
    assert_eq!(second.handle().stats().links_opened, 0);
}

#[test]
fn a_node_of_another_cluster_is_refused_with_both_names() {
    let authorities = Authorities::new("names");
    let (mut ports, list) = listeners(2);
    let second_port = ports.remove(1);
    let mut other = settings(&list, authorities.node("second"));
    other.cluster.name = "other".to_owned();
    let first = TestNode::start(&settings(&list, authorities.node("first")), ports.remove(0))
        .expect("it starts");
    let second = TestNode::start(&other, second_port).expect("it starts");
    wait_until("the report names the difference", || {
        let report = first.handle().probe_report();
        report.contains("cluster name differs") && report.contains("other")
    });
    assert_eq!(second.handle().stats().links_opened, 0);
}

#[test]
fn nodes_link_without_tls_on_loopback() {
    let (mut ports, list) = listeners(2);
    let second_port = ports.remove(1);
    let mut plain = settings(&list, Default::default());
    plain.tls.enabled = false;
    let first = TestNode::start(&plain, ports.remove(0)).expect("it starts");
    let second = TestNode::start(&plain, second_port).expect("it starts");
    wait_until("both are linked", || {
        first.handle().stats().links == 1 && second.handle().stats().links == 1
    });
}
