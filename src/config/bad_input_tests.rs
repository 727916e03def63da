//! Bad settings: each gets one line that says where it stands and what to do. Bad key and trust
//! stores are tried where they are read.

use super::*;
use std::fmt::Write as _;

/// Loads a file with TLS off, so that only what it says is wrong.
fn load(text: &str) -> Result<Settings, Vec<Problem>> {
    let flags = [("tls.enabled".to_owned(), "false".to_owned())];
    Settings::from_text(Path::new("embergrid.toml"), text, [], flags)
}

/// The one line about one setting in a section.
#[track_caller]
fn refusal(section: &str, line: &str) -> String {
    let problems = load(&format!("[{section}]\n{line}\n")).expect_err(line);
    assert_eq!(problems.len(), 1, "{line}: {problems:?}");
    problems[0].to_string()
}

#[track_caller]
fn addresses_refused(address: &str, expected: &str) {
    let said = refusal("discovery", &format!("ignite-address = [\"{address}\"]"));
    let expected = format!("embergrid.toml:2: discovery.ignite-address: `{address}`: {expected}");
    assert_eq!(said, expected);
}

const RANGE: &str =
    "write port1..port2 with both ports from 1 to 65535, the first below the second";

#[test]
fn port_ranges() {
    addresses_refused("a:5..5", "a range from 5 to itself; write the port alone");
    addresses_refused(
        "a:6..5",
        &format!("a range that goes down from 6 to 5; {RANGE}"),
    );
    addresses_refused("a:0..5", &format!("port 0 in a range; {RANGE}"));
    for half in ["a:5..", "a:..5", "a:.."] {
        addresses_refused(half, &format!("half a range; {RANGE}"));
    }
    addresses_refused(
        "a:1..65535",
        "a range of 65535 ports, where 1024 are allowed; name only the ports that nodes use",
    );
    let many: String = (1..=3).fold(String::new(), |mut text, host| {
        let _ = write!(text, "\"10.0.0.{host}:1..500\", ");
        text
    });
    let said = refusal("discovery", &format!("addresses = [{many}]"));
    assert!(
        said.ends_with("with it the list stands for more than 1024 ports; name fewer ports"),
        "{said}"
    );
}

#[test]
fn single_ports() {
    const PORT: &str = "ports are whole numbers from 0 to 65535";
    addresses_refused("a:-1", &format!("a negative port; {PORT}"));
    addresses_refused("a:65536", &format!("a port above 65535; {PORT}"));
    addresses_refused("a:abc", &format!("a port that is not a number; {PORT}"));
    addresses_refused(
        "a:",
        "a colon without a port; write the port or take out the colon",
    );
    addresses_refused(
        "a:1-3",
        &format!("a range is written with two dots; {RANGE}"),
    );
    const HOST_FIRST: &str = "write host:port, such as localhost:47500";
    addresses_refused("1-3", &format!("ports without a host; {HOST_FIRST}"));
    addresses_refused(":abc", &format!("no host before the colon; {HOST_FIRST}"));
    // Port 0 alone is not wrong: it means the default range.
    let settings = load("[discovery]\naddresses = [\"localhost:0\"]").expect("it is right");
    assert_eq!(settings.discovery.addresses.endpoints().len(), 10);
}

#[test]
fn empty_entries_and_blanks() {
    addresses_refused("", "an empty entry; take out the comma or name a host");
    let said = refusal("discovery", "addresses = \"a,,b\"");
    assert!(said.contains("``: an empty entry"), "{said}");
    addresses_refused(
        "a b",
        "a blank inside an entry; separate entries by commas and write each without blanks",
    );
}

#[test]
fn ipv6() {
    const BRACKETS: &str = "write an IPv6 address with a port as [::1]:47500";
    addresses_refused("[::1", &format!("a bracket that is not closed; {BRACKETS}"));
    addresses_refused(
        "[a]:5",
        &format!("no IPv6 address between the brackets; {BRACKETS}"),
    );
    addresses_refused(
        "[::1]5",
        &format!("something after the bracket that is no port; {BRACKETS}"),
    );
    addresses_refused(
        "fe80::1::2:5",
        "more than one colon, and not an IPv6 address; write host:port, host:port1..port2 or [IPv6]:port",
    );
    let settings = load("[discovery]\naddresses = [\"::1\", \"[::1]:5\"]").expect("it is right");
    assert_eq!(settings.discovery.addresses.endpoints().len(), 11);
}

#[test]
fn doubled_and_own_addresses() {
    let text = "[discovery]\naddresses = [\n\"localhost:5..8\",\n\"LOCALHOST:8\",\n\"127.0.0.1:8\",\n]\n\
                local-address = \"127.0.0.1\"\nlocal-port = 8\n";
    let settings = load(text).expect("a warning only");
    // The node's own address belongs into the list: this is how it knows itself.
    assert_eq!(settings.discovery.addresses.endpoints().len(), 5);
    let warnings: Vec<_> = settings.warnings.iter().map(ToString::to_string).collect();
    assert_eq!(
        warnings,
        [
            "embergrid.toml:4: discovery.ignite-address: `localhost:8` is named before already; \
          take one of them out"
        ]
    );
}

#[test]
fn unknown_keys() {
    assert_eq!(
        refusal("discovery", "join-timout = \"1s\""),
        "embergrid.toml:2: discovery.join-timout: unknown name; the nearest known name is `join-timeout`"
    );
    assert_eq!(
        refusal("discovry", "ack-timeout = \"1s\""),
        "embergrid.toml:1: discovry: unknown name; the nearest known section is `discovery`"
    );
    assert_eq!(
        refusal("cluster", "ack-timeout = \"1s\""),
        "embergrid.toml:2: cluster.ack-timeout: unknown name; `ack-timeout` belongs into the section `discovery`"
    );
}

#[test]
fn durations() {
    const FORM: &str = "write a number with its unit, such as \"2s\", \"500ms\" or \"PT2S\", from \
                        20ms to 1h";
    for (value, what) in [
        ("2", "a bare number, which says no unit"),
        ("\"2\"", "a bare number, which says no unit"),
        ("\"-1s\"", "a negative duration"),
        ("-1", "a negative duration"),
        (
            "\"PT\"",
            "not an ISO 8601 duration such as PT2S or P2DT3H4M",
        ),
        (
            "\"P1M\"",
            "a duration in months or years, whose length varies",
        ),
        (
            "\"P200Y\"",
            "a duration in months or years, whose length varies",
        ),
        ("\"40000d\"", "a duration of more than a hundred years"),
        (
            "\"PT99999999999999999999S\"",
            "not an ISO 8601 duration such as PT2S or P2DT3H4M",
        ),
        (
            "\"99999999999999999999s\"",
            "a duration of more than a hundred years",
        ),
        ("\"\"", "an empty duration"),
        ("true", "true or false where a duration belongs"),
    ] {
        assert_eq!(
            refusal("discovery", &format!("ack-timeout = {value}")),
            format!("embergrid.toml:2: discovery.ack-timeout: {what}; {FORM}"),
        );
    }
}

#[test]
fn zero_timeouts() {
    for name in ["ack-timeout", "network-timeout", "socket-timeout"] {
        assert_eq!(
            refusal("discovery", &format!("{name} = \"0s\"")),
            format!("embergrid.toml:2: discovery.{name}: 0s is out of bounds; write 20ms to 1h")
        );
    }
    let settings = load("[discovery]\njoin-timeout = \"0s\"").expect("it waits for ever");
    assert_eq!(settings.discovery.join_timeout, None);
}

#[test]
fn misspelt_modes() {
    let said = |line: &str| {
        let problems = load(&format!("[[caches]]\nname = \"a\"\n{line}\n")).expect_err(line);
        assert_eq!(problems.len(), 1, "{line}: {problems:?}");
        problems[0].to_string()
    };
    for (name, value, words) in [
        ("cache-mode", "REPLICATD", "LOCAL, REPLICATED, PARTITIONED"),
        ("atomicity-mode", "ATOM", "ATOMIC, TRANSACTIONAL"),
        (
            "write-synchronization-mode",
            "SYNC",
            "FULL_SYNC, PRIMARY_SYNC, FULL_ASYNC",
        ),
        ("read-from", "backup", "any, primary"),
        (
            "when-split",
            "stop",
            "allow-read-writes, allow-reads, deny-read-writes",
        ),
    ] {
        assert_eq!(
            said(&format!("{name} = \"{value}\"")),
            format!(
                "embergrid.toml:3: caches[0].{name}: `{value}` is not known here; write one of {words}"
            )
        );
    }
}

#[test]
fn more_backups_than_nodes() {
    let text = "[discovery]\naddresses = [\"localhost:1..3\"]\n\
                [[caches]]\nname = \"a\"\ncache-mode = \"PARTITIONED\"\nbackups = 3\n";
    let warned = load(text)
        .expect("a warning only: the list need not be whole")
        .warnings;
    assert_eq!(warned.len(), 1);
    assert_eq!(
        warned[0].to_string(),
        "embergrid.toml:6: caches[0].backups: the address list stands for 3 nodes at most, fewer \
         than copies; write fewer backups, or more addresses"
    );
}

#[test]
fn all_of_them_in_one_go() {
    let text = "[discovery]\nignite-address = [\"a:6..5\", \"b:x\", \"c:0..1\"]\nack-timeout = 2\n\
                network-timeout = \"0s\"\nsocket-timout = \"1s\"\nlocal-port = 70000\n\
                [[caches]]\ncache-mode = \"SHARED\"\nbackups = -1\ntime-to-live = \"PT\"\n";
    let problems = load(text).expect_err("all of it is wrong");
    assert_eq!(problems.len(), 11, "{problems:#?}");
    let lines: Vec<_> = problems
        .iter()
        .map(|problem| problem.origin.clone())
        .collect();
    assert!(lines.is_sorted(), "{lines:?}");
}

#[test]
fn a_file_that_is_not_read_says_nothing_of_what_it_lacks() {
    let missing = Settings::load(Some(Path::new("nowhere.toml")), [], []);
    assert_eq!(missing.expect_err("not there").len(), 1);
    let broken = Settings::from_text(Path::new("embergrid.toml"), "[tls", [], []);
    assert_eq!(broken.expect_err("not TOML").len(), 1);
}

#[test]
fn half_of_tls_is_told_where_the_other_half_stands() {
    let text = "[cluster]\nname = \"a\"\n[tls]\ntrust-store-file-path = \"Cargo.toml\"\n";
    let problems = Settings::from_text(Path::new("embergrid.toml"), text, [], []);
    let problems = problems.expect_err("no key");
    let said = problems.iter().map(Problem::to_string);
    let key = said
        .into_iter()
        .find(|line| line.contains("key-store-file-path"));
    let key = key.expect("it is missing");
    assert!(key.starts_with("embergrid.toml:4: tls."), "{key}");
}

#[test]
fn what_has_no_effect_is_told() {
    for (setting, word) in [
        (
            "near-cache-max-size = \"1MiB\"\ntime-to-idle = \"1h\"",
            "never kept so",
        ),
        (
            "near-cache-max-size = \"1MiB\"\ncache-mode = \"LOCAL\"",
            "LOCAL",
        ),
        ("backup-zone = \"zone\"", "outside of PARTITIONED"),
    ] {
        let text = format!("[[caches]]\nname = \"a\"\n{setting}\n");
        let settings = load(&text).expect("it is allowed");
        let warned = settings
            .warnings
            .iter()
            .any(|warning| warning.what.contains(word));
        assert!(warned, "{setting}: {:?}", settings.warnings);
    }
}
