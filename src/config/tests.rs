//! Tests of loading as a whole: names, layers, problems all at once.

use super::*;
use crate::types::{AtomicityMode, CacheMode, ReadFrom, WriteSynchronizationMode};
use std::collections::BTreeMap;
use std::time::Duration;

const NO_TLS: (&str, &str) = ("tls.enabled", "false");

fn pairs(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect()
}

fn load(
    text: &str,
    environment: &[(&str, &str)],
    flags: &[(&str, &str)],
) -> Result<Settings, Vec<String>> {
    let flags = [flags, &[NO_TLS]].concat();
    Settings::from_text(
        Path::new("embergrid.toml"),
        text,
        pairs(environment),
        pairs(&flags),
    )
    .map_err(|problems| problems.iter().map(ToString::to_string).collect())
}

fn problems(text: &str) -> Vec<String> {
    load(text, &[], &[]).expect_err(text)
}

#[test]
fn an_empty_file_gives_the_defaults() {
    let settings = load("", &[], &[]).expect("defaults");
    assert_eq!(settings.cluster, ClusterSettings::default());
    assert_eq!(settings.discovery, DiscoverySettings::default());
    assert_eq!(settings.limits, LimitSettings::default());
    assert!(settings.caches.is_empty() && settings.warnings.is_empty());
    assert!(!settings.tls.enabled);
}

#[test]
fn everything_is_read() {
    let text = r#"
        [cluster]
        name = "shop"
        node-name = "one"
        attributes = { Zone = "a", rack = "7" }
        [discovery]
        addresses = ["localhost:5000..5002", "[::1]:7"]
        local-address = "127.0.0.1"
        local-port = 5000
        join-timeout = 0
        [limits]
        drain-time = "PT1M"
        message-max-size = "32MiB"
        [[caches]]
        name = "sessions"
        cache-mode = "partitioned"
        atomicityMode = "ATOMIC"
        write_synchronization_mode = "primary_sync"
        backups = 2
        time-to-idle = "2h"
        partitions = 64
        node-filter = { Zone = "a" }
        backup-zone = "rack"
        removes-are-final = true
        entry-max-size = 1024
        [[caches]]
        name = "other"
    "#;
    let settings = load(text, &[], &[]).expect("all of it is right");
    assert_eq!(settings.cluster.name, "shop");
    assert_eq!(settings.cluster.node_name.as_deref(), Some("one"));
    assert_eq!(settings.cluster.attributes["Zone"], "a");
    assert_eq!(settings.discovery.addresses.endpoints().len(), 4);
    assert_eq!(settings.discovery.local_port, LocalPort::From(5000));
    assert_eq!(settings.discovery.join_timeout, None);
    assert_eq!(settings.limits.drain_time, Duration::from_secs(60));
    assert_eq!(settings.limits.message_bytes_max, 32 << 20);
    let cache = &settings.caches[0];
    assert_eq!(cache.mode, CacheMode::Partitioned);
    assert_eq!(cache.atomicity, AtomicityMode::Atomic);
    assert_eq!(
        cache.write_synchronization,
        WriteSynchronizationMode::PrimarySync
    );
    assert_eq!((cache.backups, cache.partitions), (2, 64));
    assert_eq!(cache.time_to_idle, Some(7_200_000_000));
    assert!(cache.touch_on_read && cache.removes_are_final);
    assert_eq!(cache.read_from, ReadFrom::Primary);
    assert_eq!(
        cache.node_filter,
        BTreeMap::from([("Zone".to_owned(), "a".to_owned())])
    );
    assert_eq!(cache.backup_zone.as_deref(), Some("rack"));
    assert_eq!(cache.entry_bytes_max, 1024);
    assert_eq!(settings.caches[1], CacheSettings::named("other"));
}

#[test]
fn flags_win_over_the_environment_and_that_over_the_file() {
    let text = "[discovery]\njoin-timeout = \"1s\"\nack-timeout = \"1s\"\nsocket-timeout = \"1s\"";
    let environment = [
        ("EMBERGRID_DISCOVERY__ACK_TIMEOUT", "2s"),
        ("EMBERGRID_DISCOVERY__SOCKET_TIMEOUT", "2s"),
        ("EMBERGRID_DISCOVERY__ADDRESSES", "localhost:1, localhost:2"),
        ("EMBERGRID_CLUSTER__ATTRIBUTES", "zone=a,rack=b"),
        ("EMBERGRID_CACHES__0__NAME", "x"),
        ("EMBERGRID_SEED", "7"),
        ("PATH", "/bin"),
    ];
    let flags = [
        ("discovery.socket-timeout", "3s"),
        ("caches[0].backups", "0"),
    ];
    let settings = load(text, &environment, &flags).expect("all of it is right");
    let discovery = &settings.discovery;
    assert_eq!(discovery.join_timeout, Some(Duration::from_secs(1)));
    assert_eq!(discovery.ack_timeout, Duration::from_secs(2));
    assert_eq!(discovery.socket_timeout, Duration::from_secs(3));
    assert_eq!(discovery.addresses.entries().len(), 2);
    assert_eq!(settings.cluster.attributes.len(), 2);
    assert_eq!(settings.caches[0].name, "x");
}

#[test]
fn lease_and_heartbeats_follow_the_ack_timeout() {
    let settings = load("[discovery]\nack-timeout = \"4s\"", &[], &[]).expect("fine");
    assert_eq!(settings.discovery.lease, Duration::from_secs(3));
    assert_eq!(
        settings.discovery.heartbeat_interval,
        Duration::from_millis(400)
    );
}

#[test]
fn every_problem_comes_at_once_with_its_line_and_cure() {
    let found = problems(
        "[discovery]\njoin-timout = \"2s\"\nack-timeout = 2\nlease = \"-1s\"\n\
         ignite-address = [\n  \"a:5..4\",\n  \"localhost\",\n  \"b:x\",\n]\n\
         [storage]\ndefault-persistence-enabled = true\n\
         [[caches]]\ncache-mode = \"SHARED\"\npartitions = 0\n[nonsense]\n",
    );
    for (line, word) in [
        (
            2,
            "discovery.join-timout: unknown name; the nearest known name is `join-timeout`",
        ),
        (3, "discovery.ack-timeout: a bare number"),
        (4, "discovery.lease: a negative duration"),
        (6, "`a:5..4`: a range that goes down"),
        (8, "`b:x`: a port that is not a number"),
        (11, "not in this version"),
        (12, "a cache without a name"),
        (
            13,
            "`SHARED` is not known here; write one of LOCAL, REPLICATED, PARTITIONED",
        ),
        (14, "caches[0].partitions: 0 is out of bounds"),
        (15, "nonsense: unknown name"),
    ] {
        let place = format!("embergrid.toml:{line}: ");
        assert!(
            found
                .iter()
                .any(|problem| problem.starts_with(&place) && problem.contains(word)),
            "{line} {word} in {found:#?}"
        );
    }
    // Plain text on the hosts of others cannot be told: the list was refused. Nothing else is.
    assert_eq!(found.len(), 10, "{found:#?}");
}

#[test]
fn problems_are_found_wherever_they_come_from() {
    let environment = [
        ("EMBERGRID_DISCOVERY_JOIN_TIMEOUT", "2s"),
        ("EMBERGRID_DISCOVRY__JOIN_TIMEOUT", "2s"),
        ("EMBERGRID_DISCOVERY__ACK_TIMEOUT", "2"),
        ("EMBERGRID_CACHES__9999__NAME", "x"),
    ];
    let flags = [
        ("discovery", "x"),
        ("limits.batch-keys-max", "many"),
        ("a.b.c", "x"),
    ];
    let found = load("", &environment, &flags).expect_err("all of it is wrong");
    assert_eq!(found.len(), 7, "{found:#?}");
    for word in [
        "environment EMBERGRID_DISCOVERY_JOIN_TIMEOUT: ",
        "EMBERGRID_DISCOVERY__JOIN_TIMEOUT",
        "nearest known section is `discovery`",
        "argument limits.batch-keys-max: ",
    ] {
        assert!(
            found.iter().any(|problem| problem.contains(word)),
            "{word} in {found:#?}"
        );
    }
}

fn refused(samples: &[(&str, &str)]) {
    for (text, word) in samples {
        let found = problems(text);
        assert!(
            found.iter().any(|problem| problem.contains(word)),
            "{text}: {found:#?}"
        );
        assert!(
            found.iter().all(|problem| problem.contains("; ")),
            "{found:#?}"
        );
    }
}

#[test]
fn bad_files_are_refused() {
    refused(&[
        ("[discovery", "not TOML"),
        ("discovery = 1", "a value where a section belongs"),
        ("[caches]\nname = \"x\"", "not a list of caches"),
        ("caches = [1]", "not a cache"),
        (
            "ack-timeout = \"2s\"",
            "belongs into the section `discovery`",
        ),
        (
            "[discovery]\nack-timeout = \"2s\"\nackTimeout = \"2s\"",
            "given twice",
        ),
        ("[cluster]\nname = \"\"", "empty"),
        ("[cluster]\nname = 5", "a number where a text belongs"),
        ("[cluster]\nquorum-of = 0", "out of bounds"),
        (
            "[cluster]\nattributes = { a = 1 }",
            "a number where a text belongs",
        ),
        ("[discovery]\nack-timeout = \"0s\"", "out of bounds"),
        (
            "[discovery]\nack-timeout = 1.5",
            "a fraction where a duration belongs",
        ),
        ("[discovery]\nlease = \"2s\"", "not below ack-timeout"),
        (
            "[discovery]\nheartbeat-interval = \"300ms\"",
            "more than a tenth",
        ),
        ("[discovery]\nclient-mode = \"true\"", "unquoted"),
        ("[discovery]\nthread-priority = 11", "out of bounds"),
    ]);
}

#[test]
fn bad_addresses_and_what_is_to_come_are_refused() {
    refused(&[
        ("[discovery]\nlocal-port = 65536", "out of bounds"),
        (
            "[discovery]\nlocal-port = 0x7fffffffffffffffff",
            "out of range",
        ),
        (
            "[discovery]\nlocal-address = \"localhost:5\"",
            "without a port",
        ),
        (
            "[discovery]\nlocal-address = \"0.0.0.0\"",
            "peers cannot connect",
        ),
        (
            "[discovery]\naddresses = [\"10.0.0.1\"]",
            "plain text is allowed on loopback only",
        ),
        (
            "[discovery]\nlocal-address = \"10.0.0.1\"",
            "plain text is allowed on loopback only",
        ),
        (
            "[discovery]\naddresses = [\"localhost\", 5]",
            "a number where a text belongs",
        ),
        ("[discovery]\naddresses = [\"localhost:1..60000\"]", "1024"),
        (
            "[storage]\ndefault-region-max-size = \"-1MiB\"",
            "a negative size",
        ),
        ("[tickets.kinds.TGT]\nmax-uses = 0", "out of bounds"),
        ("[tickets.kinds.TGT]\nlives = \"2s\"", "unknown name"),
        (
            "[tickets]\nencryption-key = [\"short\"]",
            "one that is too short",
        ),
        (
            "[tickets]\ndigest-key = \"0123456789abcdef0123456789abcdef\"",
            "there is no encryption-key",
        ),
        (
            "[[caches]]\nname = \"tickets\"\nremoves-are-final = false",
            "deleted tickets do not come back",
        ),
        ("[limits]\ntransaction-timeout = \"11min\"", "10m"),
    ]);
}

#[test]
fn bad_tls_and_caches_are_refused() {
    refused(&[
        ("[tls]\nkey-algorithm = \"X\"", "SunX509, PKIX"),
        ("[tls]\nprotocol = \"TLSv1.1\"", "TLSv1.3"),
        (
            "[[caches]]\nname = \"a\"\n[[caches]]\nname = \"a\"",
            "embergrid.toml:2 already",
        ),
        (
            "[[caches]]\nname = \"Aa\"\n[[caches]]\nname = \"BB\"",
            "the same id",
        ),
        (
            "[[caches]]\nname = \"a\"\nwhen-split = \"allow-reads\"",
            "write quorum-of, the number of servers, into [cluster]",
        ),
        (
            "[cluster]\nquorum-of = 3\n\
             [[caches]]\nname = \"a\"\ncache-mode = \"LOCAL\"\nwhen-split = \"deny-read-writes\"",
            "never split",
        ),
        (
            "[[caches]]\nname = \"a\"\ntime-to-live = \"0s\"",
            "out of bounds",
        ),
        (
            "[[caches]]\nname = \"a\"\nentry-max-size = \"17MiB\"",
            "out of bounds",
        ),
        ("[[caches]]\nname = \"a\"\nbackups = -1", "out of bounds"),
    ]);
}

#[test]
fn warnings_do_not_stop_a_node() {
    let text = "[[caches]]\nname = \"a\"\nwrite-synchronization-mode = \"PRIMARY_SYNC\"\n\
                [[caches]]\nname = \"b\"\ncache-mode = \"PARTITIONED\"\nbackups = 0\n\
                [[caches]]\nname = \"c\"\ncache-mode = \"PARTITIONED\"\nbackups = 20\n\
                [[caches]]\nname = \"d\"\nbackups = 2\n";
    let settings = load(text, &[], &[]).expect("warnings only");
    let warnings: Vec<_> = settings.warnings.iter().map(ToString::to_string).collect();
    assert_eq!(warnings.len(), 4, "{warnings:#?}");
    for (line, word) in [
        (3, "PRIMARY_SYNC works"),
        (7, "crash of a node loses"),
        (11, "10 nodes"),
        (14, "no meaning"),
    ] {
        let place = format!("embergrid.toml:{line}: ");
        assert!(
            warnings
                .iter()
                .any(|w| w.starts_with(&place) && w.contains(word)),
            "{warnings:#?}"
        );
    }
}

#[test]
fn unknown_names_may_be_warnings() {
    let settings = load(
        "[nonsense]\n[discovery]\nx = 1",
        &[(SKIP_VALIDATION, "true")],
        &[],
    )
    .expect("only unknown names");
    assert_eq!(settings.warnings.len(), 2);
    assert!(
        load(
            "[discovery]\nack-timeout = 1",
            &[(SKIP_VALIDATION, "true")],
            &[]
        )
        .is_err()
    );
}

#[test]
fn files_that_cannot_be_read_are_named() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("embergrid.toml");
    let load = |path: &Path| {
        let problems = Settings::load(Some(path), [], pairs(&[NO_TLS])).expect_err("no such file");
        assert_eq!(problems.len(), 1);
        problems[0].to_string()
    };
    assert!(load(&path).contains("cannot be read"));
    for (name, word) in [
        ("a.yaml", "cannot be read"),
        ("a.properties", "cannot be read"),
        ("a.json", "the extension, which is unknown"),
        ("a", "the extension, which is unknown"),
    ] {
        assert!(load(&folder.path().join(name)).contains(word));
    }
    std::fs::write(&path, vec![b'#'; 2 << 20]).expect("a large file");
    assert!(load(&path).contains("more than"));
    std::fs::write(&path, "[cluster]\nname = \"shop\"\n").expect("a file");
    let settings = Settings::load(Some(&path), [], pairs(&[NO_TLS])).expect("a good file");
    assert_eq!(settings.cluster.name, "shop");
}

#[test]
fn half_of_tls_is_an_error() {
    let load = |text: &str| {
        let loaded = Settings::from_text(Path::new("embergrid.toml"), text, [], []);
        let problems = loaded.expect_err(text);
        problems.iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    for (text, words) in [
        ("", &["no key and certificate", "nobody is trusted"][..]),
        (
            "[tls]\nkey-store-file-path = \"a.pem\"\nkey-store-type = \"PEM\"",
            &["a.pem: cannot be read", "nobody is trusted"],
        ),
        (
            "[tls]\nkey-store-file-path = \"a.jks\"\ntrust-store-file-path = \"b.p12\"\n\
             trust-store-type = \"PKCS12\"\nkey-store-password = \"hush\"\n\
             key-store-password-file = \"no-such-file\"",
            &[
                "a.jks: cannot be read",
                "b.p12: cannot be read",
                "both key-store-password and key-store-password-file",
                "no-such-file: cannot be read",
            ],
        ),
        ("[tls]\nkey-store-type = \"PEM\"", &["file-path is missing"]),
    ] {
        let found = load(text);
        for word in words {
            assert!(
                found.iter().any(|problem| problem.contains(word)),
                "{word} in {found:#?}"
            );
        }
        assert!(!format!("{found:?}").contains("hush"));
    }
}

#[test]
fn stores_are_found_beside_the_file_and_looked_at() {
    let folder = tempfile::tempdir().expect("a folder");
    let certificate = "-----BEGIN CERTIFICATE-----\n";
    for (name, content) in [
        (
            "key.pem",
            format!("-----BEGIN PRIVATE KEY-----\n{certificate}").into_bytes(),
        ),
        ("trust.pem", certificate.as_bytes().to_vec()),
        ("noise.pem", b"noise".to_vec()),
        ("empty.pem", Vec::new()),
    ] {
        std::fs::write(folder.path().join(name), content).expect("a file");
    }
    let path = folder.path().join("embergrid.toml");
    let load = |key: &str| {
        let text = format!(
            "[tls]\nkey-store-file-path = \"{key}\"\nkey-store-type = \"pem\"\n\
             trust-store-file-path = \"trust.pem\"\ntrust-store-type = \"PEM\"\n"
        );
        Settings::from_text(&path, &text, [], [])
    };
    let settings = load("key.pem").expect("both stores are there");
    let key_store = settings.tls.key_store.expect("a key store");
    assert_eq!(key_store.path, folder.path().join("key.pem"));
    for (key, word) in [
        ("noise.pem", "neither JKS nor PKCS12 nor PEM"),
        ("empty.pem", "empty"),
        (".", "not a file"),
    ] {
        let problems = load(key).expect_err(key);
        assert!(
            problems[0].to_string().contains(word),
            "{key}: {}",
            problems[0]
        );
    }
}

#[test]
fn the_examples_are_right() {
    use crate::rpc::certificate_files::{Forms, Wanted, write_stores};
    let folder = tempfile::tempdir().expect("a folder");
    let wanted = Wanted {
        authority: "test".to_owned(),
        nodes: vec![("node-1".to_owned(), Vec::new())],
        clients: Vec::new(),
        days: 1,
    };
    let forms = Forms {
        types: vec![StoreType::Pem, StoreType::Jks],
        password: Some("changeit".into()),
    };
    write_stores(&folder.path().join("certs"), &wanted, &forms).expect("an empty folder");
    std::fs::create_dir(folder.path().join("examples")).expect("a folder");
    let key = folder.path().join("certs/node-1.key.pem");
    let key = key.to_string_lossy();
    let flags = [
        ("tls.key-store-file-path", key.as_ref()),
        ("tls.key-store-type", "PEM"),
    ];
    for (name, caches, warnings, flags) in [
        ("one-node.toml", 1, 0, &[][..]),
        ("three-nodes.toml", 3, 0, &flags[..]),
        ("two-zones.yaml", 3, 0, &flags[..]),
        ("kinds-of-tickets.toml", 2, 0, &flags[..]),
        ("registry.properties", 1, 0, &[][..]),
    ] {
        let name = format!("examples/{name}");
        let text = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(&name))
            .expect("an example");
        let path = folder.path().join(&name);
        let settings = Settings::from_text(&path, &text, [], pairs(flags)).expect("no problems");
        assert_eq!(settings.caches.len(), caches);
        assert_eq!(settings.warnings.len(), warnings, "{:?}", settings.warnings);
        assert!(settings.tls.enabled);
    }
}

/// What operators may have in their files today.
const CATALOGUE: [&str; 25] = [
    "ignite-address",
    "local-address",
    "local-port",
    "join-timeout",
    "ack-timeout",
    "network-timeout",
    "socket-timeout",
    "client-mode",
    "force-server-mode",
    "thread-priority",
    "key-store-file-path",
    "key-store-password",
    "key-store-type",
    "trust-store-file-path",
    "trust-store-password",
    "trust-store-type",
    "key-algorithm",
    "protocol",
    "default-persistence-enabled",
    "default-region-max-size",
    "tickets-cache.cache-mode",
    "tickets-cache.atomicity-mode",
    "tickets-cache.write-synchronization-mode",
    "tickets-cache.backups",
    "crypto.enabled",
];

#[test]
fn the_properties_example_has_every_setting_that_operators_have() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/registry.properties");
    let text = std::fs::read_to_string(path).expect("the example");
    for name in CATALOGUE {
        let begin = format!("cas.ticket.registry.ignite.{name}=");
        assert!(text.lines().any(|line| line.starts_with(&begin)), "{name}");
    }
}

#[test]
fn key_algorithms_are_accepted_by_name_and_mean_the_same() {
    let of = |name: &str| {
        let text = format!("[tls]\nkey-algorithm = \"{name}\"\n");
        load(&text, &[], &[]).expect(name)
    };
    assert_eq!(of("SunX509").tls, of("pkix").tls);
}
