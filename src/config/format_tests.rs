//! The same settings as TOML, YAML and properties: what each form adds, and what all must agree on.

use super::catalogue::{Kind, SETTINGS};
use super::formats::properties_file::PREFIX;
use super::*;
use crate::types::{CacheMode, WriteSynchronizationMode};
use std::time::Duration;

fn load(name: &str, text: &str) -> Result<Settings, Vec<String>> {
    let flags = [("tls.enabled".to_owned(), "false".to_owned())];
    Settings::from_text(Path::new(name), text, [], flags)
        .map_err(|problems| problems.iter().map(ToString::to_string).collect())
}

/// A properties file whose lines stand behind the prefix.
fn properties(lines: &[&str]) -> String {
    lines
        .iter()
        .map(|line| format!("{PREFIX}{line}\n"))
        .collect()
}

fn warnings(settings: &Settings) -> Vec<String> {
    settings.warnings.iter().map(ToString::to_string).collect()
}

#[track_caller]
fn has(found: &[String], place: &str, word: &str) {
    assert!(
        found
            .iter()
            .any(|line| line.starts_with(place) && line.contains(word)),
        "{place} {word} in {found:#?}"
    );
}

const TOML: &str = r#"
        [cluster]
        name = "shop"
        attributes = { zone = "a", "rack.row" = "7" }
        [discovery]
        addresses = ["localhost:5000..5002", "[::1]:7"]
        join-timeout = "PT2S"
        ack-timeout = "1500ms"
        local-port = 5000
        [limits]
        message-max-size = "32MiB"
        [[caches]]
        name = "sessions"
        cache-mode = "PARTITIONED"
        backups = 2
        time-to-idle = "2h"
        node-filter = { zone = "a" }
        [[caches]]
        name = "other"
        touch-on-read = true
    "#;

const YAML: &str = r#"
cluster:
  name: shop
  attributes: {zone: a, rack.row: "7"}
discovery:
  addresses:
    - localhost:5000..5002
    - "[::1]:7"
  joinTimeout: PT2S
  ack_timeout: 1500ms
  local-port: 5000
tls:
limits:
  message-max-size: 32MiB
caches:
  - name: sessions
    cacheMode: partitioned
    backups: 2
    time-to-idle: 2h
    node-filter:
      zone: a
  - name: other
    touch-on-read: true
"#;

const PROPERTIES: &[&str] = &[
    "cluster.name=shop",
    "cluster.attributes.zone=a",
    "cluster.attributes.rack.row=7",
    "igniteAddress[1]=[::1]:7",
    "igniteAddress[0]=localhost:5000..5002",
    "join_timeout: 2000",
    "ack-timeout 1500",
    "local-port=5000",
    "limits.message-max-size=32MiB",
    "caches[0].name=sessions",
    "caches[0].cacheMode=Partitioned",
    "caches[0].backups=2",
    "caches[0].time-to-idle=7200000",
    "caches[0].node-filter=zone=a",
    "caches[1].name=other",
    "caches[1].touch-on-read=TRUE",
];

#[test]
fn all_forms_say_the_same() {
    let properties = properties(PROPERTIES);
    let all = [
        ("a.toml", TOML),
        ("a.yaml", YAML),
        ("a.yml", YAML),
        ("a.properties", &properties),
    ];
    let [first, rest @ ..] = all.map(|(name, text)| load(name, text).expect(name));
    assert_eq!(first.caches[0].time_to_idle, Some(7_200_000_000));
    assert_eq!(first.cluster.attributes["rack.row"], "7");
    for other in rest {
        assert_eq!(other.cluster, first.cluster);
        assert_eq!(other.discovery, first.discovery);
        assert_eq!(other.limits, first.limits);
        assert_eq!(other.caches, first.caches);
        assert!(other.warnings.is_empty(), "{:?}", other.warnings);
    }
}

#[test]
fn the_file_of_an_operator_is_read_as_it_is() {
    let text = properties(&[
        "ignite-address=localhost:47500..47509,127.0.0.1",
        "local-address=",
        "ack-timeout=PT2S",
        "join-timeout=1000",
        "network-timeout=5s",
        "clientMode=false",
        "default-persistence-enabled=false",
        "default-region-max-size=0",
        "tickets-cache.cache-mode=PARTITIONED",
        "tickets-cache.write-synchronization-mode=PRIMARY_SYNC",
        "tickets-cache.time-to-live=PT6D",
        "crypto.enabled=false",
        "crypto.signing.key=hush",
        "key-algorithm=SunX509",
    ]) + "cas.server.name=https://sso.example.org\nserver.port=8443\n";
    let settings = load("cas.properties", &text).expect("all of it is right");
    assert_eq!(settings.ignored, 2);
    assert_eq!(
        settings.discovery.join_timeout,
        Some(Duration::from_secs(1))
    );
    assert_eq!(settings.discovery.addresses.entries().len(), 2);
    let cache = &settings.caches[0];
    assert_eq!(cache.name, "tickets");
    assert_eq!(cache.mode, CacheMode::Partitioned);
    assert_eq!(
        cache.write_synchronization,
        WriteSynchronizationMode::PrimarySync
    );
    assert_eq!(cache.time_to_live, Some(6 * 86_400_000_000));
    let warnings = warnings(&settings);
    has(
        &warnings,
        "cas.properties:2: local-address: ",
        "taken as not given",
    );
    has(
        &warnings,
        "cas.properties:13: crypto.signing.key: ",
        "without effect",
    );
    assert_eq!(warnings.len(), 2, "{warnings:#?}");
    assert!(!format!("{settings:?}").contains("hush"));
}

#[test]
fn a_properties_file_has_a_tickets_cache_unless_it_names_its_own() {
    let named = |lines: &[&str]| -> Vec<String> {
        let settings = load("a.properties", &properties(lines)).expect("it is right");
        settings
            .caches
            .into_iter()
            .map(|cache| cache.name)
            .collect()
    };
    assert_eq!(named(&["ack-timeout=2000"]), ["tickets"]);
    assert_eq!(named(&["ticketsCache.name=tgt"]), ["tgt"]);
    assert_eq!(named(&["caches[0].name=own"]), ["own"]);
    let both = ["tickets-cache.backups=1", "caches[0].name=own"];
    assert_eq!(named(&both), ["own", "tickets"]);
    let other = load("a.properties", "server.port=1\n").expect("nothing of ours");
    assert!(other.caches.is_empty());
    has(&warnings(&other), "a.properties: ", "no name begins with");
}

#[test]
fn bad_properties_are_refused_with_their_line() {
    let lines = [
        (
            "ack-timout=2000",
            "ack-timout: unknown name; the nearest known name is `ack-timeout`",
        ),
        ("cache-mode=LOCAL", "write `tickets-cache.cache-mode`"),
        ("name=x", "write `cluster.name`"),
        (
            "tickets-cache.ack-timeout=1",
            "belongs into the section `discovery`",
        ),
        ("caches.name=x", "not the number of a cache"),
        ("caches[9999].name=x", "not the number of a cache"),
        ("ignite-address[0=x", "a name that cannot be read"),
        ("join-timeout[0]=1", "takes one value"),
        ("join-timeout.seconds=1", "takes one value"),
        (
            "network-timeout=2.5",
            "a bare number, which says no unit; write a number with its unit, such as 2s, 500ms or PT2S",
        ),
        ("socket-timeout=-2000", "a negative duration"),
        ("socketTimeout=2000", "given twice in one place"),
        ("peer-names[0]=a", ""),
        ("peer-names[2]=b", "an entry of the list is left out"),
        (
            "thread-priority=high",
            "a text where a whole number belongs",
        ),
        ("client-mode=yes", "true or false"),
        (
            "crypto.enabled=true",
            "the keys of tickets have other names",
        ),
        (
            "tickets-cache.cache-mode=SHARED",
            "tickets-cache.cache-mode: `SHARED` is not known here",
        ),
        ("limits.drain-time=9999999999999999", "hundred years"),
        ("ack_timeout=PT", "ISO 8601"),
    ];
    let text = properties(&lines.map(|(line, _)| line));
    let found = load("a.properties", &text).expect_err("all of it is wrong");
    for (line, word) in lines {
        if !word.is_empty() {
            let number = lines
                .iter()
                .position(|(other, _)| *other == line)
                .unwrap_or(0)
                + 1;
            // What is wrong with a list is said where it begins.
            let number = if word.contains("left out") {
                number - 1
            } else {
                number
            };
            has(&found, &format!("a.properties:{number}: "), word);
        }
    }
    assert_eq!(found.len(), lines.len() - 1, "{found:#?}");
}

#[test]
fn bad_yaml_is_refused_with_its_line() {
    let text = "discovery:\n  ack-timeout: 2\n  join-timeot: 1s\n  client-mode: \"true\"\n\
                limits: 5\ncaches:\n  name: x\nnonsense:\n  a: 1\n";
    let found = load("a.yaml", text).expect_err("all of it is wrong");
    for (line, word) in [
        (2, "discovery.ack-timeout: a bare number"),
        (3, "the nearest known name is `join-timeout`"),
        (4, "unquoted"),
        (5, "write limits: and its settings indented below"),
        (6, "write caches: and below it a list"),
        (8, "nonsense: unknown name"),
    ] {
        has(&found, &format!("a.yaml:{line}: "), word);
    }
    assert_eq!(found.len(), 6, "{found:#?}");
}

#[test]
fn unknown_names_of_any_form_may_be_warnings() {
    let skip = [(SKIP_VALIDATION.to_owned(), "true".to_owned())];
    let flags = [("tls.enabled".to_owned(), "false".to_owned())];
    for (name, text) in [
        ("a.toml", "[discovery]\nx = 1".to_owned()),
        ("a.yaml", "discovery:\n  x: 1".to_owned()),
        ("a.properties", properties(&["x=1"])),
    ] {
        let loaded = Settings::from_text(Path::new(name), &text, skip.clone(), flags.clone());
        assert_eq!(loaded.expect(name).warnings.len(), 1, "{name}");
        assert!(load(name, &text).is_err(), "{name}");
    }
}

#[test]
fn latin_1_is_read_where_java_would() {
    let folder = tempfile::tempdir().expect("a folder");
    let text = properties(&["cluster.name=caf\u{e9}"]);
    let latin: Vec<u8> = text
        .chars()
        .map(|c| u8::try_from(u32::from(c)).expect("latin"))
        .collect();
    for (name, bytes, right) in [
        ("a.properties", latin.clone(), true),
        ("b.properties", text.into_bytes(), true),
        ("a.toml", latin, false),
    ] {
        let path = folder.path().join(name);
        std::fs::write(&path, bytes).expect("a file");
        let flags = [("tls.enabled".to_owned(), "false".to_owned())];
        match Settings::load(Some(&path), [], flags) {
            Ok(settings) => assert_eq!((settings.cluster.name.as_str(), right), ("café", true)),
            Err(problems) => {
                assert!(!right, "{problems:?}");
                assert!(problems[0].to_string().contains("not text in UTF-8"));
            }
        }
    }
}

/// The defaults that the reference tells are those that hold.
#[test]
fn every_default_of_the_reference_holds() {
    let mut text = String::new();
    let mut given = 0;
    for known in SETTINGS {
        let value = match known.kind {
            _ if known.section == "tls" || known.bounds.starts_with("refused") => continue,
            // Where tickets are kept it is always true.
            _ if known.name == "removes-are-final" => continue,
            Kind::Number | Kind::Boolean if known.default.parse::<i64>().is_ok() => known.default,
            Kind::Boolean if known.default == "false" => known.default,
            Kind::Duration if duration::parse(known.default).is_ok() => known.default,
            Kind::Size | Kind::List if !known.default.contains(' ') => known.default,
            Kind::Choice if !known.default.contains(' ') => known.default,
            Kind::Text if known.name == "name" && known.section == "cluster" => known.default,
            _ => continue,
        };
        given += 1;
        let place = match known.section {
            "caches" => "tickets-cache",
            section => section,
        };
        text += &properties(&[&format!("{place}.{}={value}", known.name)]);
    }
    assert!(given > 30, "{given}");
    let mut settings = load("a.properties", &text).expect("the defaults are right");
    let plain = load("a.properties", &properties(&["cluster.name=embergrid"])).expect("defaults");
    assert_eq!(settings.cluster, plain.cluster);
    assert_eq!(settings.discovery, plain.discovery);
    assert_eq!(settings.storage, plain.storage);
    assert_eq!(settings.limits, plain.limits);
    assert_eq!(settings.caches, plain.caches);
    settings
        .warnings
        .retain(|warning| !warning.to_string().contains("no meaning outside"));
    assert!(settings.warnings.is_empty(), "{:?}", settings.warnings);
}

/// Every setting is read by somebody: a value of the wrong kind never passes in silence.
#[test]
fn every_setting_refuses_what_it_cannot_be() {
    for known in SETTINGS {
        let wrong = match known.kind {
            Kind::Text | Kind::Choice | Kind::List => "7",
            Kind::Number | Kind::Boolean | Kind::Duration => "\"?\"",
            Kind::Size => "\"many\"",
            Kind::Pairs => "7",
        };
        let section = match known.section {
            "caches" if known.name == "name" => "[[caches]]\n".to_owned(),
            "caches" => "[[caches]]\nname = \"c\"\n".to_owned(),
            section => format!("[{section}]\n"),
        };
        let text = format!("{section}{} = {wrong}\n", known.name);
        let path = Path::new("embergrid.toml");
        let problems = Settings::from_text(path, &text, [], []).expect_err(&text);
        let line = text.lines().count();
        assert!(
            problems
                .iter()
                .any(|problem| problem.origin.to_string() == format!("embergrid.toml:{line}")),
            "{text}: {problems:?}"
        );
    }
}
