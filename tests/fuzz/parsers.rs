//! Everything that is read but is not protobuf: settings, address lists, durations, sizes, cursors
//! and resume tokens. Made-up and damaged text leads to a value or to a word, and what is shown can
//! be read back.

use crate::damage::damaged;
use crate::random::{Random, for_each_seed};
use crate::values::{cache, key, partition, time, topology};
use embergrid::config::addresses::AddressList;
use embergrid::config::{Settings, duration, size};
use embergrid::service::token::{ResumePoint, ScanIdentity, ScanPlace};
use embergrid::types::message::WatchPosition;
use std::path::Path;
use std::time::Duration;

/// Text of pieces that mean something somewhere, in any order.
fn pieced(random: &mut Random, pieces: &[&str]) -> String {
    (0..=random.below(8)).map(|_| random.pick(pieces)).collect()
}

/// A text with a few of its characters changed.
fn spoiled(random: &mut Random, text: &str) -> String {
    let bytes = damaged(random, text.as_bytes().to_vec());
    String::from_utf8_lossy(&bytes).into_owned()
}

#[test]
fn address_lists_are_read_or_refused() {
    let pieces = [
        "localhost",
        "127.0.0.1",
        "::1",
        "[::1]",
        "[",
        "]",
        ":",
        "..",
        ",",
        "47500",
        "47509",
        "0",
        "65536",
        "99999999999999999999",
        "-1",
        "a.b",
        " ",
        "node-1",
        ".",
        "%",
        "ü",
    ];
    let mut read = 0;
    for_each_seed("address lists", |_, random| {
        if let Ok(list) = AddressList::parse(&pieced(random, &pieces)) {
            read += 1;
            for (host, port) in list.endpoints() {
                assert!(!host.is_empty() && port != 0);
            }
        }
    });
    println!("address lists: {read} read");
}

#[test]
fn durations_and_sizes_are_read_or_refused() {
    let pieces = [
        "1",
        "0",
        "99999999999999999999",
        "s",
        "ms",
        "h",
        "P",
        "T",
        "D",
        "M",
        "S",
        "PT",
        "-",
        "+",
        ".",
        ",",
        " ",
        "1.5",
        "KiB",
        "MiB",
        "GB",
        "TiB",
        "b",
        "µs",
        "ü",
        "e9",
    ];
    for_each_seed("durations and sizes", |_, random| {
        let text = pieced(random, &pieces);
        if let Ok(duration) = duration::parse(&text) {
            assert!(duration <= duration::DURATION_MAX);
        }
        let _ = size::parse(&text);
        let bytes = random.number();
        assert_eq!(size::parse(&size::show(bytes)), Ok(bytes));
        let span = Duration::from_micros(random.below(1 << 51));
        assert_eq!(duration::parse(&duration::show(span)), Ok(span));
    });
}

#[test]
fn settings_files_are_read_or_refused_with_every_problem_named() {
    let whole = r#"
        [cluster]
        name = "sso"
        attributes = { zone = "a" }
        [discovery]
        ignite-address = "localhost:47500..47509"
        join-timeout = "1s"
        [tls]
        enabled = false
        [[caches]]
        name = "sessions"
        cache-mode = "PARTITIONED"
        backups = 2
        time-to-idle = "PT2H"
        entry-max-size = "64KiB"
        [limits]
        drain-time = "30s"
    "#;
    let (mut read, mut refused) = (0, 0);
    for_each_seed("settings files", |_, random| {
        let text = spoiled(random, whole);
        match Settings::from_toml(Path::new("embergrid.toml"), &text, [], []) {
            Ok(_) => read += 1,
            Err(problems) => {
                assert!(!problems.is_empty());
                refused += 1;
            }
        }
    });
    println!("settings files: {read} read, {refused} refused");
}

#[test]
fn cursors_come_back_and_damaged_ones_are_refused() {
    for_each_seed("cursors", |_, random| {
        let prefix = random.bytes(6);
        let identity = ScanIdentity {
            cache: cache(random),
            prefix: &prefix,
            partition: random.maybe(partition),
        };
        let place = ScanPlace {
            partition: partition(random),
            after: key(random),
        };
        let cursor = identity.cursor(place.partition, &place.after);
        assert_eq!(identity.place(&cursor), Ok(place));
        let spoiled = damaged(random, cursor.clone());
        assert!(spoiled == cursor || identity.place(&spoiled).is_err());
    });
}

#[test]
fn resume_tokens_come_back_and_damaged_ones_are_refused() {
    for_each_seed("resume tokens", |_, random| {
        let topologies = [topology(random), topology(random)];
        let point = ResumePoint {
            cache: cache(random),
            created_at: time(random),
            positions: random.several(16, |random| WatchPosition {
                counter: random.number(),
                topology: random.pick(&topologies),
            }),
        };
        let partitions = u32::try_from(point.positions.len()).unwrap();
        let decode =
            |token: &[u8]| ResumePoint::decode(token, point.cache, point.created_at, partitions);
        let token = point.encode();
        assert_eq!(decode(&token).as_ref(), Ok(&point));
        let spoiled = damaged(random, token.clone());
        assert!(spoiled == token || decode(&spoiled).is_err());
    });
}
