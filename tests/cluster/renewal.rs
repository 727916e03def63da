//! Certificates that are renewed while nodes run: new ones are used and connections move over,
//! bad ones are refused, an authority is replaced by another, what was withdrawn does not come
//! back in, and a certificate that ends is told of.
//!
//! `EMBERGRID_RENEWALS` sets how many renewals the test under load makes (3 without it).

use crate::admission::{count, let_in, runtime, unchecked};
use crate::rig::{Authorities, PATIENCE, TestNode, listeners, pem, settings, validity, wait_until};
use crate::stopping::{connected, stuck_call};
use embergrid::cli::demo::Witness;
use embergrid::client::messages::{AtomicityMode, CacheSettings};
use embergrid::client::{Client, Options};
use embergrid::config::{AddressList, Settings, TlsSettings};
use embergrid::node::CertificateStats;
use embergrid::rpc::certificates::Validity;
use embergrid::rpc::read_ahead::ReadAhead;
use embergrid::rpc::tls::{client_tls, node_server_name};
use embergrid::types::Member;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::runtime::Builder;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

/// How long old connections may stand.
const DRAIN_TIME: Duration = Duration::from_secs(3);

const NAMES: [&str; 3] = ["first", "second", "third"];

fn of(node: &TestNode) -> CertificateStats {
    node.handle().stats().certificates.expect("TLS is on")
}

fn one_view(nodes: &[TestNode]) -> u64 {
    wait_until("all nodes are in one view", || {
        nodes.iter().all(|node| {
            let handle = node.handle();
            handle.serving() && handle.view().nodes.len() == nodes.len()
        })
    });
    nodes[0].handle().view().version.number
}

fn started(authorities: &Authorities, count: usize) -> (Vec<TestNode>, AddressList) {
    let (ports, list) = listeners(count);
    let nodes = ports.into_iter().zip(NAMES).map(|(port, name)| {
        let settings = with_drain(settings(&list, authorities.node(name)));
        TestNode::start(&settings, port).expect("it starts")
    });
    (nodes.collect(), list)
}

fn with_drain(mut settings: Settings) -> Settings {
    settings.limits.drain_time = DRAIN_TIME;
    settings
}

/// Writes new certificates, good for so many days, over those of the nodes.
fn renew(authorities: &Authorities, folder: &Authorities, count: usize, days: u32) {
    for name in &NAMES[..count] {
        let validity = Validity::days(days).expect("few days");
        let made = authorities.authority.node(name, &[], validity);
        folder.tls(name, &made.expect("a certificate"));
    }
}

fn wait_for_renewals(nodes: &[TestNode], renewals: u64) {
    wait_until("all nodes have taken the renewed files", || {
        nodes.iter().all(|node| of(node).renewed == renewals)
    });
}

/// Waits until no connection and no link of before stands.
fn wait_for_moves(nodes: &[TestNode], days: u32) {
    let days = [u64::from(days), u64::from(days) - 1];
    wait_until(
        "everything has moved over to the renewed certificates",
        || {
            nodes.iter().all(|node| {
                let handle = node.handle();
                let moved =
                    |end: Option<(u64, u64)>| end.is_some_and(|(_, left)| days.contains(&left));
                let members = handle
                    .view()
                    .nodes
                    .iter()
                    .map(|node| node.member)
                    .collect::<Vec<_>>();
                of(node).outdated == 0
                    && handle.stats().links == nodes.len() as u64 - 1
                    && members
                        .into_iter()
                        .all(|member| moved(handle.certificate_end(member)))
            })
        },
    );
}

#[test]
fn connections_move_over_under_load() {
    let renewals = std::env::var("EMBERGRID_RENEWALS").ok();
    let renewals: u32 = renewals.and_then(|text| text.parse().ok()).unwrap_or(3);
    let authorities = Authorities::new("ours");
    let (nodes, list) = started(&authorities, 3);
    one_view(&nodes);
    let runtime = Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime");
    let tls = authorities.client("user");
    let witness = runtime.block_on(async {
        let tls = client_tls(&tls).expect("good files");
        let user = Client::connect(&list, tls, Options::default()).await;
        let user = user.expect("a node answers");
        let cache = CacheSettings {
            name: "kept".to_owned(),
            atomicity_mode: AtomicityMode::Atomic.into(),
            ..CacheSettings::default()
        };
        user.create_cache(cache).await.expect("a cache is created");
        Witness::start(user, "kept")
    });
    let members = |node: &TestNode| -> BTreeSet<Member> {
        let view = node.handle().view();
        view.nodes.iter().map(|node| node.member).collect()
    };
    let before = members(&nodes[0]);
    let mut slowest = Duration::ZERO;
    for renewal in 1..=renewals {
        let days = 10 + renewal;
        renew(&authorities, &authorities, 3, days);
        wait_for_renewals(&nodes, u64::from(renewal));
        let begin = Instant::now();
        wait_for_moves(&nodes, days);
        slowest = slowest.max(begin.elapsed());
    }
    let report = runtime.block_on(witness.report()).expect("no call failed");
    for node in &nodes {
        assert_eq!(of(node).refused, 0);
        assert_eq!(members(node), before, "nobody left the view");
    }
    println!(
        "{renewals} renewals on 3 nodes: {} calls, none failed; the longest gap was {:?}; nothing \
         was left on an old certificate after {slowest:?} (drain-time {DRAIN_TIME:?})",
        report.calls, report.longest_gap
    );
    assert!(report.calls > 0);
}

#[test]
fn bad_files_are_refused_and_the_old_one_stays() {
    let authorities = Authorities::new("ours");
    let foreign = Authorities::new("foreign");
    let (nodes, _) = started(&authorities, 1);
    let node = &nodes[0];
    let made = |authorities: &Authorities, validity| {
        let made = authorities.authority.node("first", &[], validity);
        made.expect("a certificate")
    };
    let today = validity();
    let day = time::Duration::days(1);
    let past = Validity {
        not_before: today.not_before - day * 3,
        not_after: today.not_before - day,
    };
    let (good, other) = (made(&authorities, today), made(&authorities, today));
    let user = authorities
        .authority
        .client("user", today)
        .expect("a certificate");
    let user = Arc::new(unchecked(&authorities, Some(&user), false));
    let bad = [
        String::new(),
        "half of a fi".to_owned(),
        format!("{}{}", other.key_pem, good.certificate_pem),
        made(&authorities, past).key_store_pem(),
        made(&foreign, today).key_store_pem(),
        good.key_pem.clone(),
    ];
    for (place, text) in bad.iter().enumerate() {
        authorities.write("first.pem", text);
        wait_until("the bad file was noticed", || {
            of(node).refused == place as u64 + 1
        });
        assert_eq!(of(node).renewed, 0);
        assert!(runtime().block_on(let_in(node.address, &user)), "{place}");
    }
    std::fs::remove_file(authorities.file("first.pem")).expect("it is there");
    wait_until("the missing file was noticed", || of(node).refused == 7);
    authorities.write("first.pem", &good.key_store_pem());
    wait_until("the good file was taken", || of(node).renewed == 1);
}

#[test]
fn an_authority_is_replaced_and_what_it_signed_does_not_come_back() {
    let (old, new) = (Authorities::new("old"), Authorities::new("new"));
    let (nodes, _) = started(&old, 2);
    let number = one_view(&nodes);
    let text = |authorities: &Authorities| authorities.authority.identity().certificate_pem.clone();
    let identity = |authorities: &Authorities| {
        let made = authorities.authority.client("user", validity());
        made.expect("a certificate")
    };
    let address = nodes[0].address;
    // They keep sessions, and offer to go on with them.
    let withdrawn: Vec<_> = [false, true]
        .map(|tls12| Arc::new(unchecked(&old, Some(&identity(&old)), tls12)))
        .into();
    let runtime = runtime();
    for config in &withdrawn {
        assert!(runtime.block_on(let_in(address, config)));
    }
    let mut standing = runtime.block_on(async {
        let tcp = tokio::net::TcpStream::connect(address)
            .await
            .expect("it listens");
        let connector = tokio_rustls::TlsConnector::from(Arc::clone(&withdrawn[0]));
        let stream = connector.connect(node_server_name(), tcp).await;
        stream.expect("it is trusted yet")
    });

    old.write("authority.pem", &format!("{}{}", text(&old), text(&new)));
    wait_for_renewals(&nodes, 1);
    renew(&new, &old, 2, 20);
    // `renew` has put the trust store of the other authority nowhere: both are still trusted.
    wait_for_renewals(&nodes, 2);
    wait_for_moves(&nodes, 20);
    old.write("authority.pem", &text(&new));
    wait_for_renewals(&nodes, 3);
    wait_for_moves(&nodes, 20);
    for node in &nodes {
        assert_eq!(
            node.handle().view().version.number,
            number,
            "nobody left the view"
        );
    }

    runtime.block_on(async {
        use tokio::io::AsyncReadExt;
        let mut rest = Vec::new();
        let ended = tokio::time::timeout(PATIENCE, standing.read_to_end(&mut rest));
        let _ = ended.await.expect("what stood was ended");
    });
    for (tls12, config) in [false, true].into_iter().zip(&withdrawn) {
        // Their own view of whom to trust has to follow, or they would refuse the node first.
        let mut follows = unchecked(&new, Some(&identity(&old)), tls12);
        follows.resumption = config.resumption.clone();
        assert!(!runtime.block_on(let_in(address, &Arc::new(follows))));
        let good = unchecked(&new, Some(&identity(&new)), tls12);
        assert!(runtime.block_on(let_in(address, &Arc::new(good))));
    }
    wait_until("both are counted", || {
        let counts = of(&nodes[0]).connections_refused;
        let mut counts = counts.iter();
        let unknown = counts.find(|(name, _)| *name == "connections_refused_unknown_authority");
        unknown.is_some_and(|(_, count)| *count == 2)
    });
}

#[test]
fn a_certificate_that_ends_is_told_by_health() {
    let authorities = Authorities::new("ours");
    let today = validity();
    let soon = Validity {
        not_before: today.not_before,
        not_after: time::OffsetDateTime::now_utc() + time::Duration::seconds(8),
    };
    let made = authorities
        .authority
        .node("first", &[], soon)
        .expect("a certificate");
    let (mut ports, list) = listeners(1);
    let settings = settings(&list, authorities.tls("first", &made));
    let node = TestNode::start(&settings, ports.remove(0)).expect("it starts in time");
    let nodes = [node];
    one_view(&nodes);
    let user = authorities
        .authority
        .client("user", today)
        .expect("a certificate");
    runtime().block_on(async {
        let tcp = tokio::net::TcpStream::connect(nodes[0].address)
            .await
            .expect("it listens");
        let config = unchecked(&authorities, Some(&user), false);
        let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
        let stream = connector
            .connect(node_server_name(), ReadAhead::new(tcp))
            .await
            .expect("still good");
        let remote = embergrid::rpc::connection::Remote {
            address: nodes[0].address,
            certificates: Arc::from([]),
            is_node: true,
            generation: 0,
            calls: Default::default(),
        };
        let connection = embergrid::rpc::connection::Connection::tls(stream.into(), remote);
        let channel = embergrid::rpc::connector::channel(connection)
            .await
            .expect("HTTP/2");
        let watch = HealthClient::new(channel)
            .watch(HealthCheckRequest::default())
            .await;
        let mut watch = watch.expect("health is watched").into_inner();
        let ended = async {
            loop {
                let said = watch
                    .message()
                    .await
                    .expect("a status")
                    .expect("it goes on");
                if said.status() == ServingStatus::NotServing {
                    return;
                }
            }
        };
        let told = tokio::time::timeout(PATIENCE, ended).await;
        told.expect("NOT_SERVING is told");
    });
    assert!(nodes[0].handle().certificate_expired());
    assert_eq!(of(&nodes[0]).days_left, 0);
}

#[test]
fn a_connection_that_does_not_move_over_is_closed_at_the_drain_time() {
    let authorities = Authorities::new("ours");
    let (nodes, _) = started(&authorities, 1);
    one_view(&nodes);
    let user = authorities.authority.client("user", validity());
    let config = unchecked(&authorities, Some(&user.expect("a certificate")), false);
    let runtime = Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .expect("a runtime");
    let stuck =
        runtime.block_on(async { stuck_call(connected(nodes[0].address, config).await).await });
    assert_eq!(of(&nodes[0]).outdated, 0);
    renew(&authorities, &authorities, 1, 20);
    wait_for_renewals(&nodes, 1);
    runtime.block_on(async {
        let ended = tokio::time::timeout(PATIENCE, stuck.connection).await;
        ended.expect("it is closed").expect("in order");
        assert!(stuck.answer.await.expect("it ends").is_err());
    });
    wait_until("nothing is outdated", || of(&nodes[0]).outdated == 0);
}

#[test]
fn who_is_not_admitted_any_longer_is_cut_off_at_once_and_counted() {
    let (nodes, clients) = (Authorities::new("nodes"), Authorities::new("clients"));
    let text = |authorities: &Authorities| authorities.authority.identity().certificate_pem.clone();
    let tls = TlsSettings {
        client_trust_store: Some(pem(nodes.write("clients.pem", &text(&clients)))),
        ..nodes.node("node")
    };
    let (mut ports, list) = listeners(1);
    let mut settings = settings(&list, tls);
    // By this it would stand for ever.
    settings.limits.drain_time = Duration::from_secs(600);
    let node = TestNode::start(&settings, ports.remove(0)).expect("it starts");
    wait_until("it serves", || node.handle().serving());
    let user = clients.authority.client("user", validity());
    let config = unchecked(&nodes, Some(&user.expect("a certificate")), false);
    let runtime = Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .expect("a runtime");
    let stuck = runtime.block_on(async { stuck_call(connected(node.address, config).await).await });
    nodes.write("clients.pem", &text(&Authorities::new("others")));
    wait_until("it is cut off", || stuck.connection.is_finished());
    wait_until("it is counted", || {
        count(&node, "connections_refused_withdrawn") == 1
    });
}

#[test]
fn the_days_that_a_certificate_is_good_are_counted() {
    let authorities = Authorities::new("ours");
    let days = |days| Validity::days(days).expect("few days");
    let made = |validity| {
        let made = authorities.authority.node("first", &[], validity);
        authorities.tls("first", &made.expect("a certificate"))
    };
    let (mut ports, list) = listeners(1);
    let settings = settings(&list, made(days(20)));
    let nodes = [TestNode::start(&settings, ports.remove(0)).expect("it starts")];
    one_view(&nodes);
    let tls = authorities.client("user");
    runtime().block_on(async {
        let tls = client_tls(&tls).expect("good files");
        let user = Client::connect(&list, tls, Options::default()).await;
        let user = user.expect("a node answers");
        let left = async || {
            let counters = user.node_stats("").await.expect("counters").counters;
            counters["certificate_days_left_now"]
        };
        let first = left().await;
        assert!([19, 20].contains(&first), "{first}");
        made(days(40));
        wait_for_renewals(&nodes, 1);
        let second = left().await;
        assert!([39, 40].contains(&second), "{second}");
    });
}
