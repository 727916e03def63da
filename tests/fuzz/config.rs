//! Settings under random text: address lists, durations, sizes, names and whole files. Each is
//! read or refused with a word; none panics, and what is shown is read back.

use crate::damage::damaged;
use crate::random::{Random, for_each_seed};
use embergrid::config::formats::{properties_file, yaml_file};
use embergrid::config::{AddressList, Problem, Settings, addresses, catalogue, duration, size};
use std::path::Path;

/// Text made of pieces that mean something to the parser, and of anything.
fn pieces(random: &mut Random, from: &[&str], most: u64) -> String {
    let parts = random.several(most, |random| match random.below(12) {
        0 => random.text(3),
        1 => random.number().to_string(),
        _ => random.pick(from).to_owned(),
    });
    parts.concat()
}

#[test]
fn address_lists() {
    const PIECES: &[&str] = &[
        "localhost",
        "127.0.0.1",
        "10.0.0.7",
        "::1",
        "[::1]",
        "[",
        "]",
        ":",
        ":",
        "..",
        ".",
        ",",
        "-",
        "0",
        "1",
        "47500",
        "47509",
        "65535",
        "65536",
        "host",
        " ",
        "fe80::1",
        "a.b",
    ];
    for_each_seed("address lists", |seed, random| {
        let text = pieces(random, PIECES, 9);
        match AddressList::parse(&text) {
            Ok(list) => {
                let endpoints = list.endpoints();
                assert!(
                    endpoints.len() <= addresses::ENDPOINTS_MAX,
                    "seed {seed}: {text}"
                );
                assert!(
                    endpoints
                        .iter()
                        .all(|(host, port)| !host.is_empty() && *port > 0)
                );
                let again = AddressList::parse(&list.to_string());
                assert_eq!(again, Ok(list), "seed {seed}: {text}");
            }
            Err(refused) => {
                assert!(!refused.is_empty(), "seed {seed}: {text}");
                assert!(
                    refused
                        .iter()
                        .all(|one| !one.what.is_empty() && !one.cure.is_empty())
                );
            }
        }
    });
}

#[test]
fn durations() {
    const PIECES: &[&str] = &[
        "P",
        "T",
        "PT",
        "1",
        "2",
        "15",
        "S",
        "M",
        "H",
        "D",
        "W",
        "Y",
        "s",
        "ms",
        "us",
        "ns",
        "m",
        "h",
        "days",
        "weeks",
        "months",
        "years",
        "-",
        "+",
        ".",
        ",",
        " ",
        "0",
        "99999999999999",
    ];
    for_each_seed("durations", |seed, random| {
        let text = pieces(random, PIECES, 6);
        match duration::parse(&text) {
            Ok(found) => {
                assert!(found <= duration::DURATION_MAX, "seed {seed}: {text}");
                assert_eq!(
                    duration::parse(&duration::show(found)),
                    Ok(found),
                    "seed {seed}: {text}"
                );
            }
            Err(what) => assert!(!what.is_empty(), "seed {seed}: {text}"),
        }
    });
}

#[test]
fn sizes() {
    const PIECES: &[&str] = &[
        "0",
        "1",
        "64",
        "1024",
        "18446744073709551615",
        "B",
        "KiB",
        "MiB",
        "GiB",
        "TiB",
        "PiB",
        "EiB",
        "k",
        "MB",
        ".",
        "-",
        " ",
        "i",
    ];
    for_each_seed("sizes", |seed, random| {
        let text = pieces(random, PIECES, 4);
        if let Ok(bytes) = size::parse(&text) {
            assert_eq!(
                size::parse(&size::show(bytes)),
                Ok(bytes),
                "seed {seed}: {text}"
            );
        }
    });
}

/// A line of a settings file that may be right.
fn line(random: &mut Random) -> String {
    const VALUES: &[&str] = &[
        "1",
        "-1",
        "0x10",
        "1.5",
        "true",
        "false",
        "\"2s\"",
        "\"PT2S\"",
        "\"64MiB\"",
        "\"-1s\"",
        "\"localhost:1..5\"",
        "[\"localhost\", \"[::1]:5\"]",
        "[]",
        "[1, [2, [3]]]",
        "{ a = \"b\" }",
        "{ a = { b = 1 } }",
        "\"PARTITIONED\"",
        "\"\"",
        "\"\\u0000\"",
        "2020-01-01",
        "nan",
        "'x'",
        "\"\"\"\nx\"\"\"",
        "\"PEM\"",
        "\"examples\"",
    ];
    let known = random.pick(catalogue::SETTINGS);
    match random.below(10) {
        0 => format!("[{}]", known.section),
        1 => "[[caches]]".to_owned(),
        2 => random.text(12),
        3 => format!("{}.{} = {}", known.section, known.name, random.pick(VALUES)),
        4 => format!("{} = {}", random.text(6), random.pick(VALUES)),
        5 => format!("{} = {}", known.name.replace('-', "_"), random.pick(VALUES)),
        6 => format!("{} = \"{}\"", known.name, random.text(8)),
        _ => format!("{} = {}", known.name, random.pick(VALUES)),
    }
}

/// There are problems, and each says what is wrong and how to mend it.
fn are_told(problems: &[Problem], seed: u64, text: &str) {
    assert!(!problems.is_empty(), "seed {seed}: {text}");
    for problem in problems {
        assert!(
            !problem.what.is_empty() && !problem.cure.is_empty(),
            "{problem}"
        );
    }
}

#[test]
fn files_environments_and_flags() {
    for_each_seed("settings", |seed, random| {
        let text = random.several(12, line).join("\n");
        let given = |random: &mut Random, prefix: &str, between: &str| {
            random.several(2, |random| {
                let known = random.pick(catalogue::SETTINGS);
                let index = if known.section == "caches" {
                    format!("{between}0")
                } else {
                    String::new()
                };
                let name = format!("{prefix}{}{index}{between}{}", known.section, known.name);
                (name, random.text(6))
            })
        };
        let environment = given(random, "EMBERGRID_", "__");
        let flags = given(random, "", ".");
        match Settings::from_text(Path::new("embergrid.toml"), &text, environment, flags) {
            Ok(settings) => assert!(settings.discovery.lease < settings.discovery.ack_timeout),
            Err(problems) => {
                are_told(&problems, seed, &text);
            }
        }
    });
}

/// A line of a properties file that may be right.
fn property(random: &mut Random) -> String {
    const VALUES: &[&str] = &[
        "1",
        "-1",
        "2000",
        "PT6D",
        "true",
        "localhost:1..5,[::1]",
        "a,b",
        "zone=a",
        "PARTITIONED",
        "",
        "\\",
        "a\\\n  b",
        "\\u0041",
        "\\ud800",
        "\\u12",
        "64MiB",
        "c:\\\\d",
        "\u{85}",
        "\t",
    ];
    const BETWEEN: &[&str] = &[
        "=", ":", " ", " = ", "\\=", "[0]=", "[1] =", "[x]=", ".a=", "[",
    ];
    const BEFORE: &[&str] = &[
        "",
        "",
        "tickets-cache.",
        "caches[0].",
        "caches[1].",
        "crypto.",
        "limits.",
    ];
    let known = random.pick(catalogue::SETTINGS);
    let line = |random: &mut Random, name: &str| {
        let (before, between) = (random.pick(BEFORE), random.pick(BETWEEN));
        let value = random.pick(VALUES);
        format!("cas.ticket.registry.ignite.{before}{name}{between}{value}")
    };
    match random.below(8) {
        0 => random.text(12),
        1 => format!("# {}\\", random.text(6)),
        2 => format!("{}.{}={}", known.section, known.name, random.pick(VALUES)),
        3 => {
            let name = random.text(6);
            line(random, &name)
        }
        _ => line(random, known.name),
    }
}

/// Loads a file, which is right or refused with a word for each problem.
fn right_or_refused(name: &str, text: &str, seed: u64) -> bool {
    match Settings::from_text(Path::new(name), text, [], []) {
        Ok(_) => true,
        Err(problems) => {
            are_told(&problems, seed, text);
            false
        }
    }
}

#[test]
fn properties_files() {
    for_each_seed("properties files", |seed, random| {
        let text = random.several(10, property).join("\n");
        let found = properties_file::read(Path::new("a.properties"), &text);
        if let Ok(found) = found {
            for property in &found.ours {
                assert!(!property.name.is_empty(), "seed {seed}: {text}");
            }
        }
        right_or_refused("a.properties", &text, seed);
    });
}

#[test]
fn yaml_files() {
    const PIECES: &[&str] = &[
        "discovery",
        "caches",
        "limits",
        "ack-timeout",
        "name",
        ":",
        ": ",
        "- ",
        "\n",
        "\n  ",
        "\n    ",
        "[",
        "]",
        "{",
        "}",
        ", ",
        "&a ",
        "*a",
        "!!str ",
        "!x ",
        "|",
        ">",
        "\"",
        "'",
        "#",
        "---\n",
        "...\n",
        "? ",
        "2s",
        "5",
        "~",
        "true",
        "%YAML 1.2\n",
        "\t",
        "\u{feff}",
        "<<: ",
        "0x1",
        "1e5",
    ];
    let mut read = 0;
    for_each_seed("YAML files", |seed, random| {
        let text = pieces(random, PIECES, 24);
        if yaml_file::read(Path::new("a.yaml"), &text).is_ok() {
            read += 1;
        }
        right_or_refused("a.yaml", &text, seed);
    });
    println!("YAML files: {read} read");
    assert!(read > 0);
}

#[test]
fn deep_and_wide_yaml_is_refused_in_bounded_time() {
    let aliases = (1..40).fold("a0: &a0 [x, x]\n".to_owned(), |text, level| {
        let before = level - 1;
        format!("{text}a{level}: &a{level} [*a{before}, *a{before}]\n")
    });
    for text in [
        "[".repeat(100_000),
        "{a: ".repeat(100_000),
        "- ".repeat(100_000),
        aliases,
    ] {
        assert!(!right_or_refused("a.yaml", &text, 0));
    }
}

#[test]
fn names() {
    for_each_seed("names", |seed, random| {
        let name = random.text(40);
        let once = catalogue::kebab(&name);
        assert_eq!(catalogue::kebab(&once), once, "seed {seed}: {name}");
        assert!(!catalogue::suggest("discovery", &name).is_empty());
        assert!(!catalogue::suggest_section(&name).is_empty());
    });
}

#[test]
fn damaged_files() {
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
    let yaml = r#"
cluster: {name: sso, attributes: {zone: a}}
discovery:
  ignite-address: localhost:47500..47509
tls: {enabled: false}
caches:
  - name: sessions
    cache-mode: PARTITIONED
    time-to-idle: PT2H
limits:
  drain-time: 30s
"#;
    let properties = "\
# as operators have it
cas.ticket.registry.ignite.ignite-address=localhost:47500..47509,\\
    localhost:5
cas.ticket.registry.ignite.ack-timeout=2000
cas.ticket.registry.ignite.tls.enabled=false
cas.ticket.registry.ignite.tickets-cache.cache-mode=REPLICATED
cas.server.name=https://localhost
";
    for (name, whole) in [
        ("embergrid.toml", whole),
        ("embergrid.yaml", yaml),
        ("embergrid.properties", properties),
    ] {
        assert!(right_or_refused(name, whole, 0), "{name}");
        let (mut read, mut refused) = (0, 0);
        for_each_seed(name, |seed, random| {
            let bytes = damaged(random, whole.as_bytes().to_vec());
            let text = String::from_utf8_lossy(&bytes);
            if right_or_refused(name, &text, seed) {
                read += 1;
            } else {
                refused += 1;
            }
        });
        println!("damaged {name}: {read} read, {refused} refused");
    }
}
