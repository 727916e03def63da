//! Every setting of the catalogue, given a value that is not its default, arrives at its field from
//! each of the three forms. A setting without a line here fails the test.

use super::catalogue::{Kind, Known, SETTINGS};
use super::formats::properties_file::PREFIX;
use super::*;
use std::fmt::Debug;

/// (section, setting, value, how its field shows, and that field).
type Line = (
    &'static str,
    &'static str,
    &'static str,
    &'static str,
    fn(&Settings) -> String,
);

fn shown(value: impl Debug) -> String {
    format!("{value:?}")
}

fn store(store: &Option<Store>) -> &Store {
    store.as_ref().expect("a store")
}

/// The name of a file, wherever the settings stand.
fn file(path: &Path) -> String {
    path.file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned()
}

fn opened_by(password: &Option<Password>) -> String {
    use secrecy::ExposeSecret;
    let read = password.as_ref().expect("a password").read();
    read.expect("it can be read").expose_secret().to_owned()
}

/// As long as a key must be.
const KEY: &str = "0123456789abcdef0123456789abcdef";

const LINES: &[Line] = &[
    ("cluster", "name", "shop", "shop", |s| {
        s.cluster.name.clone()
    }),
    ("cluster", "node-name", "n7", "Some(\"n7\")", |s| {
        shown(&s.cluster.node_name)
    }),
    (
        "cluster",
        "attributes",
        "zone=a",
        "{\"zone\": \"a\"}",
        |s| shown(&s.cluster.attributes),
    ),
    ("cluster", "quorum-of", "3", "Some(3)", |s| {
        shown(s.cluster.quorum_of)
    }),
    (
        "discovery",
        "ignite-address",
        "localhost:5000,127.0.0.1:5001",
        "2",
        |s| shown(s.discovery.addresses.endpoints().len()),
    ),
    (
        "discovery",
        "local-address",
        "127.0.0.1",
        "Some(\"127.0.0.1\")",
        |s| shown(&s.discovery.local_address),
    ),
    ("discovery", "local-port", "5000", "From(5000)", |s| {
        shown(s.discovery.local_port)
    }),
    ("discovery", "join-timeout", "3s", "Some(3s)", |s| {
        shown(s.discovery.join_timeout)
    }),
    ("discovery", "ack-timeout", "PT1S", "1s", |s| {
        shown(s.discovery.ack_timeout)
    }),
    ("discovery", "network-timeout", "7s", "7s", |s| {
        shown(s.discovery.network_timeout)
    }),
    ("discovery", "socket-timeout", "400ms", "400ms", |s| {
        shown(s.discovery.socket_timeout)
    }),
    ("discovery", "client-mode", "true", "true", |s| {
        shown(s.discovery.client_mode)
    }),
    ("discovery", "force-server-mode", "true", "true", |s| {
        shown(s.discovery.force_server_mode)
    }),
    ("discovery", "thread-priority", "3", "3", |s| {
        shown(s.discovery.thread_priority)
    }),
    ("discovery", "lease", "600ms", "600ms", |s| {
        shown(s.discovery.lease)
    }),
    ("discovery", "heartbeat-interval", "50ms", "50ms", |s| {
        shown(s.discovery.heartbeat_interval)
    }),
    ("discovery", "clock-error-max", "20ms", "20ms", |s| {
        shown(s.discovery.clock_error_max)
    }),
    ("tls", "enabled", "true", "true", |s| shown(s.tls.enabled)),
    ("tls", "key-store-file-path", "key.pem", "key.pem", |s| {
        file(&store(&s.tls.key_store).path)
    }),
    ("tls", "key-store-password", "opens", "opens", |s| {
        opened_by(&store(&s.tls.key_store).password)
    }),
    ("tls", "key-store-password-file", "secret", "hush", |s| {
        opened_by(&store(&s.tls.key_store).password)
    }),
    ("tls", "key-store-type", "PEM", "Pem", |s| {
        shown(store(&s.tls.key_store).form)
    }),
    ("tls", "key-password", "opens", "opens", |s| {
        opened_by(&store(&s.tls.key_store).key_password)
    }),
    ("tls", "key-password-file", "secret", "hush", |s| {
        opened_by(&store(&s.tls.key_store).key_password)
    }),
    (
        "tls",
        "trust-store-file-path",
        "trust.pem",
        "trust.pem",
        |s| file(&store(&s.tls.trust_store).path),
    ),
    ("tls", "trust-store-password", "opens", "opens", |s| {
        opened_by(&store(&s.tls.trust_store).password)
    }),
    ("tls", "trust-store-password-file", "secret", "hush", |s| {
        opened_by(&store(&s.tls.trust_store).password)
    }),
    ("tls", "trust-store-type", "PKCS12", "Pkcs12", |s| {
        shown(store(&s.tls.trust_store).form)
    }),
    (
        "tls",
        "client-trust-store-file-path",
        "trust.pem",
        "trust.pem",
        |s| file(&store(&s.tls.client_trust_store).path),
    ),
    (
        "tls",
        "client-trust-store-password",
        "opens",
        "opens",
        |s| opened_by(&store(&s.tls.client_trust_store).password),
    ),
    (
        "tls",
        "client-trust-store-password-file",
        "secret",
        "hush",
        |s| opened_by(&store(&s.tls.client_trust_store).password),
    ),
    ("tls", "client-trust-store-type", "PEM", "Pem", |s| {
        shown(store(&s.tls.client_trust_store).form)
    }),
    // Both words mean the same: that it is taken is all that can be seen.
    ("tls", "key-algorithm", "PKIX", "", |_| String::new()),
    ("tls", "protocol", "TLSv1.3", "V13", |s| {
        shown(s.tls.protocol)
    }),
    (
        "tls",
        "peer-names",
        "a.org,b.org",
        "[\"a.org\", \"b.org\"]",
        |s| shown(&s.tls.peer_names),
    ),
    (
        "storage",
        "default-region-max-size",
        "64MiB",
        "67108864",
        |s| shown(s.storage.region_bytes_max),
    ),
    ("caches", "name", "sessions", "sessions", |s| {
        s.caches[0].name.clone()
    }),
    ("caches", "cache-mode", "PARTITIONED", "Partitioned", |s| {
        shown(s.caches[0].mode)
    }),
    ("caches", "atomicity-mode", "ATOMIC", "Atomic", |s| {
        shown(s.caches[0].atomicity)
    }),
    (
        "caches",
        "write-synchronization-mode",
        "FULL_ASYNC",
        "FullAsync",
        |s| shown(s.caches[0].write_synchronization),
    ),
    ("caches", "backups", "3", "3", |s| {
        shown(s.caches[0].backups)
    }),
    ("caches", "time-to-live", "2h", "Some(7200000000)", |s| {
        shown(s.caches[0].time_to_live)
    }),
    ("caches", "time-to-idle", "PT15M", "Some(900000000)", |s| {
        shown(s.caches[0].time_to_idle)
    }),
    ("caches", "touch-on-read", "true", "true", |s| {
        shown(s.caches[0].touch_on_read)
    }),
    ("caches", "partitions", "17", "17", |s| {
        shown(s.caches[0].partitions)
    }),
    (
        "caches",
        "node-filter",
        "disk=ssd",
        "{\"disk\": \"ssd\"}",
        |s| shown(&s.caches[0].node_filter),
    ),
    ("caches", "backup-zone", "rack", "Some(\"rack\")", |s| {
        shown(&s.caches[0].backup_zone)
    }),
    ("caches", "read-from", "primary", "Primary", |s| {
        shown(s.caches[0].read_from)
    }),
    ("caches", "when-split", "allow-reads", "AllowReads", |s| {
        shown(s.caches[0].when_split)
    }),
    ("caches", "partition-loss", "reset", "Reset", |s| {
        shown(s.caches[0].partition_loss)
    }),
    ("caches", "removes-are-final", "true", "true", |s| {
        shown(s.caches[0].removes_are_final)
    }),
    ("caches", "tombstone-retention", "1h", "3600000000", |s| {
        shown(s.caches[0].tombstone_retention)
    }),
    ("caches", "request-id-window", "90s", "90000000", |s| {
        shown(s.caches[0].request_id_window)
    }),
    ("caches", "near-cache-max-size", "1MiB", "1048576", |s| {
        shown(s.caches[0].near_bytes_max)
    }),
    ("caches", "entry-max-size", "2KiB", "2048", |s| {
        shown(s.caches[0].entry_bytes_max)
    }),
    (
        "tickets",
        "kinds",
        "TGT.max-time-to-live=6h",
        "Some(21600000000)",
        |s| shown(s.tickets.kinds["TGT"].max_time_to_live),
    ),
    ("tickets", "cache", "own", "own", |s| {
        assert_eq!(s.tickets.kinds["ST"].cache, s.tickets.cache);
        s.tickets.cache.clone()
    }),
    ("tickets", "encryption-key", KEY, KEY, |s| {
        opened_by(&s.tickets.encryption_keys.first().cloned())
    }),
    ("tickets", "encryption-key-file", "long-secret", KEY, |s| {
        opened_by(&s.tickets.encryption_keys.first().cloned())
    }),
    ("tickets", "digest-key", KEY, KEY, |s| {
        opened_by(&s.tickets.digest_key)
    }),
    ("tickets", "digest-key-file", "long-secret", KEY, |s| {
        opened_by(&s.tickets.digest_key)
    }),
    ("limits", "connections-max", "99", "99", |s| {
        shown(s.limits.connections_max)
    }),
    ("limits", "streams-per-connection-max", "98", "98", |s| {
        shown(s.limits.streams_per_connection_max)
    }),
    ("limits", "requests-in-flight-max", "97", "97", |s| {
        shown(s.limits.requests_in_flight_max)
    }),
    ("limits", "link-queue-max", "96", "96", |s| {
        shown(s.limits.link_queue_max)
    }),
    ("limits", "watch-queue-max", "95", "95", |s| {
        shown(s.limits.watch_queue_max)
    }),
    ("limits", "batch-keys-max", "94", "94", |s| {
        shown(s.limits.batch_keys_max)
    }),
    ("limits", "message-max-size", "18MiB", "18874368", |s| {
        shown(s.limits.message_bytes_max)
    }),
    ("limits", "drain-time", "4s", "4s", |s| {
        shown(s.limits.drain_time)
    }),
    ("limits", "transaction-timeout", "3s", "3s", |s| {
        shown(s.limits.transaction_timeout)
    }),
];

/// What must stand beside a setting so that it may have its value.
fn companions(name: &str) -> &'static [(&'static str, &'static str, &'static str)] {
    match name {
        "backups" => &[("caches", "cache-mode", "PARTITIONED")],
        "encryption-key" | "encryption-key-file" => &[("tickets", "digest-key", KEY)],
        "digest-key" | "digest-key-file" => &[("tickets", "encryption-key", KEY)],
        "when-split" => &[("cluster", "quorum-of", "3")],
        "lease" | "heartbeat-interval" => &[("discovery", "ack-timeout", "1s")],
        "client-trust-store-password"
        | "client-trust-store-password-file"
        | "client-trust-store-type" => &[("tls", "client-trust-store-file-path", "trust.pem")],
        _ => &[],
    }
}

fn known(section: &str, name: &str) -> &'static Known {
    super::catalogue::find(section, name).unwrap_or_else(|| panic!("{section}.{name} is unknown"))
}

/// A value as TOML and YAML both write it.
fn typed(kind: Kind, value: &str, is_toml: bool) -> String {
    match kind {
        Kind::Number | Kind::Boolean => value.to_owned(),
        Kind::List => format!("[\"{}\"]", value.replace(',', "\", \"")),
        Kind::Pairs => {
            let (name, value) = value.split_once('=').expect("a pair");
            let between = if is_toml { " = " } else { ": " };
            format!("{{ {name}{between}\"{value}\" }}")
        }
        Kind::Text | Kind::Duration | Kind::Size | Kind::Choice => format!("\"{value}\""),
    }
}

/// The settings beside which each one is tried: TLS with its stores, and one cache.
fn given(line: &Line) -> Vec<(&'static str, &'static str, &'static str)> {
    let mut given = vec![(line.0, line.1, line.2)];
    let base = [
        ("tls", "key-store-file-path", "key.pem"),
        ("tls", "trust-store-file-path", "trust.pem"),
        ("caches", "name", "c"),
    ];
    for other in companions(line.1).iter().chain(&base) {
        if !given
            .iter()
            .any(|(section, name, _)| (*section, *name) == (other.0, other.1))
        {
            given.push(*other);
        }
    }
    given.sort_by_key(|(section, ..)| *section);
    given
}

fn text(format: &str, given: &[(&'static str, &'static str, &'static str)]) -> String {
    let (mut text, mut open) = (String::new(), "");
    for (section, name, value) in given {
        let kind = known(section, name).kind;
        let begins = open != *section;
        open = section;
        text += &match (format, *section) {
            ("toml", "caches") if begins => "[[caches]]\n".to_owned(),
            ("toml", _) if begins => format!("[{section}]\n"),
            ("yaml", "caches") if begins => "caches:\n  -\n".to_owned(),
            ("yaml", _) if begins => format!("{section}:\n"),
            _ => String::new(),
        };
        text += &match (format, *section) {
            ("toml", _) => format!("{name} = {}\n", typed(kind, value, true)),
            ("yaml", "caches") => format!("    {name}: {}\n", typed(kind, value, false)),
            ("yaml", _) => format!("  {name}: {}\n", typed(kind, value, false)),
            (_, "caches") if kind == Kind::Pairs => format!("{PREFIX}caches[0].{name}.{value}\n"),
            (_, "caches") => format!("{PREFIX}caches[0].{name}={value}\n"),
            _ if kind == Kind::Pairs => format!("{PREFIX}{section}.{name}.{value}\n"),
            _ => format!("{PREFIX}{section}.{name}={value}\n"),
        };
    }
    text
}

#[test]
fn every_setting_arrives_from_every_form() {
    let folder = tempfile::tempdir().expect("a folder");
    for (name, content) in [
        ("key.pem", "-----BEGIN PRIVATE KEY-----"),
        ("trust.pem", "-----BEGIN CERTIFICATE-----"),
        ("secret", "hush\n"),
        ("long-secret", KEY),
    ] {
        std::fs::write(folder.path().join(name), content).expect("a file");
    }
    for line in LINES {
        for format in ["toml", "yaml", "properties"] {
            let path = folder.path().join("settings").with_extension(format);
            let text = text(format, &given(line));
            let settings = Settings::from_text(&path, &text, [], [])
                .unwrap_or_else(|problems| panic!("{text}\n{problems:#?}"));
            let (section, name, _, expected, field) = line;
            assert_eq!(field(&settings), *expected, "{section}.{name}: {text}");
            if *name != "key-algorithm" && *name != "enabled" {
                let plain = [("tls.enabled".to_owned(), "false".to_owned())];
                let mut default = Settings::from_text(&path, "", [], plain).expect("defaults");
                default.caches.push(crate::types::CacheSettings::named("c"));
                let secret = line.0 == "tls" || expected.contains(KEY);
                let untouched = !secret && field(&default) == *expected;
                assert!(!untouched, "{section}.{name}: {expected} is the default");
            }
        }
    }
}

#[test]
fn no_setting_is_left_out() {
    for known in SETTINGS {
        let listed = LINES
            .iter()
            .any(|(section, name, ..)| (*section, *name) == (known.section, known.name));
        // What is not in this version has tests of its own, that it is refused.
        let refused = known.bounds.contains("refused");
        assert!(
            listed || refused,
            "{}.{} has no line here",
            known.section,
            known.name
        );
    }
}
