//! The command line without a cluster: exit codes, and one clear line on errors.

use crate::process::{Ended, embergrid, program};
use embergrid::cli::demo::LocalCluster;
use std::time::Duration;

pub const LIMIT: Duration = Duration::from_secs(20);

/// One line on standard error, and nothing on standard output.
pub fn one_line(ended: &Ended) {
    assert_eq!(ended.output, "", "{ended:?}");
    assert_eq!(ended.errors.lines().count(), 1, "{ended:?}");
    assert!(ended.errors.starts_with("embergrid: "), "{ended:?}");
}

#[test]
fn wrong_usage_is_two() {
    for arguments in [
        &[][..],
        &["gte"],
        &["get", "sessions"],
        &["get", "sessions", "TGT-1", "--nonsense"],
        &[
            "put",
            "sessions",
            "TGT-1",
            "alice",
            "--if-absent",
            "--if-present",
        ],
        &["put", "sessions", "TGT-1", "alice", "--time-to-live", "2"],
        &["topology", "--output", "xml"],
        &["topology", "--colour"],
        &["touch", "sessions"],
        &["touch", "c", "k", "--keep-expiry", "--time-to-live", "1s"],
        &["modify", "c", "k"],
        &["modify", "c", "k", "--append", "a", "--prepend", "b"],
        &["modify", "c", "k", "--append", "a", "--wrap"],
        &["modify", "c", "k", "--increment", "many"],
        &["scan"],
        &["scan", "c", "--limit", "0"],
        &["scan", "c", "--cursor", "xyz"],
        &["watch", "c", "--current", "--resume", "00"],
        &["watch", "c", "--for", "5"],
        &["cache"],
        &["cache", "create"],
        &["cache", "create", "c", "--cache-mode", "shared"],
        &["cache", "create", "c", "--partitions", "0"],
        &["cache", "create", "c", "--entry-max-size", "0"],
        &["bench", "--rate", "0"],
        &["bench", "--rate", "4294967295"],
        &["cache", "create", "c", "--node-filter", "disk"],
        &["cache", "describe"],
        &["cache", "drop"],
        &["cache", "size", "c", "--copies", "some"],
        &["cache", "clear"],
        &["ticket"],
        &["ticket", "add", "TGT"],
        &["ticket", "add", "TGT", "TGT-1", "--max-uses", "0"],
        &["ticket", "add", "TGT", "TGT-1", "--attribute", "a"],
        &["ticket", "delete"],
        &["ticket", "delete", "TGT-1", "--all"],
        &["ticket", "watch", "--current", "--resume", "00"],
        &["sessions"],
        &["logout"],
        &["logout", ""],
        &["partitions", "a", "b"],
        &["stats", "--nonsense"],
        &["transactions", "--limit", "0"],
        &["transactions", "end"],
        &["transactions", "end", ""],
        &["completions", "tcsh"],
        &["certs", "node"],
        &["node", "--local-port", "many"],
        &["node", "--set", "nonsense"],
    ] {
        let ended = embergrid(arguments, LIMIT);
        assert_eq!(ended.code, Some(2), "{arguments:?}: {ended:?}");
        one_line(&ended);
    }
}

#[test]
fn help_is_given_with_an_example() {
    for command in [
        "node",
        "demo",
        "certs",
        "config",
        "get",
        "put",
        "remove",
        "touch",
        "modify",
        "scan",
        "watch",
        "cache",
        "cache list",
        "cache create",
        "cache describe",
        "cache drop",
        "cache size",
        "cache clear",
        "ticket add",
        "ticket get",
        "ticket use",
        "ticket delete",
        "ticket list",
        "ticket count",
        "ticket watch",
        "sessions",
        "logout",
        "topology",
        "partitions",
        "stats",
        "transactions",
        "transactions end",
        "bench",
        "certs authority",
        "certs node",
        "certs client",
        "config check",
        "config defaults",
        "config explain",
        "completions",
    ] {
        let words: Vec<&str> = command.split(' ').chain(["--help"]).collect();
        let ended = embergrid(&words, LIMIT);
        assert_eq!(ended.code, Some(0), "{ended:?}");
        assert!(ended.output.contains("Example"), "{ended:?}");
    }
}

#[test]
fn shells_get_their_completions() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let ended = embergrid(&["completions", shell], LIMIT);
        assert_eq!(ended.code, Some(0), "{ended:?}");
        assert!(ended.output.contains("embergrid"), "{shell}: {ended:?}");
        for command in ["partitions", "transactions"] {
            assert!(ended.output.contains(command), "{shell}: {ended:?}");
        }
    }
}

#[test]
fn missing_and_wrong_files_are_settings_errors() {
    let folder = tempfile::tempdir().expect("a folder");
    let wrong = folder.path().join("wrong.toml");
    std::fs::write(&wrong, "[discovery]\njoin-timeot = \"1s\"\n").expect("a file is written");
    let missing = folder.path().join("missing.toml");
    for (file, word) in [(&missing, "missing.toml"), (&wrong, "join-timeout")] {
        let file = file.to_str().expect("a plain path");
        for arguments in [&["topology", "--config", file], &["node", "--config", file]] {
            let ended = embergrid(arguments, LIMIT);
            assert_eq!(ended.code, Some(2), "{ended:?}");
            assert!(ended.errors.contains(word), "{ended:?}");
        }
    }
}

#[test]
fn certificates_are_made_once() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().to_str().expect("a plain path");
    let make = [
        "certs", "node", "node-1", "--host", "10.0.0.7", "--folder", path,
    ];
    let ended = embergrid(&make, LIMIT);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    for file in [
        "authority.pem",
        "authority.key.pem",
        "node-1.pem",
        "node-1.key.pem",
    ] {
        assert!(folder.path().join(file).is_file(), "{file} is missing");
    }
    let again = embergrid(&make, LIMIT);
    assert_eq!(again.code, Some(2), "{again:?}");
    one_line(&again);
    let client = [
        "certs", "client", "console", "--folder", path, "--output", "json",
    ];
    let ended = embergrid(&client, LIMIT);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    let told: serde_json::Value = serde_json::from_str(&ended.output).expect("JSON");
    let written = told["written"].as_array().expect("a list of files");
    assert!(!written.is_empty(), "{told}");
    for file in written {
        let file = std::path::Path::new(file.as_str().expect("a path"));
        assert!(file.is_file(), "{told}");
    }
}

/// The flags by which a command reaches the cluster.
pub fn with_flags<'a>(arguments: &[&'a str], flags: &'a [String]) -> Vec<&'a str> {
    arguments
        .iter()
        .copied()
        .chain(flags.iter().map(String::as_str))
        .collect()
}

/// Address, key store and trust store of a cluster's client.
pub fn flags(cluster: &LocalCluster) -> Vec<String> {
    let path = |path: std::path::PathBuf| path.to_string_lossy().into_owned();
    vec![
        "--address".to_owned(),
        cluster.addresses(),
        "--key".to_owned(),
        path(cluster.file("client", "key.pem")),
        "--trust".to_owned(),
        path(cluster.authority()),
    ]
}

#[test]
fn a_cluster_out_of_reach_is_three() {
    let cluster = LocalCluster::prepare(program(), 1, false).expect("files and ports");
    let flags = flags(&cluster);
    for arguments in [
        &["topology"][..],
        &["get", "c", "k"],
        &["put", "c", "k", "v"],
        &["remove", "c", "k"],
        &["touch", "c", "k"],
        &["modify", "c", "k", "--append", "x"],
        &["scan", "c"],
        &["watch", "c"],
        &["cache", "list"],
        &["cache", "create", "c"],
        &["cache", "describe", "c"],
        &["cache", "drop", "c"],
        &["cache", "size", "c"],
        &["cache", "clear", "c"],
        &["partitions"],
        &["stats"],
        &["transactions"],
        &["transactions", "end", "1-1-1-1"],
    ] {
        let ended = embergrid(&with_flags(arguments, &flags), LIMIT);
        assert_eq!(ended.code, Some(3), "{ended:?}");
        one_line(&ended);
    }
}

#[test]
fn settings_are_checked_and_explained() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).expect("a file is written");
        path.to_string_lossy().into_owned()
    };
    let good = file(
        "good.properties",
        "server.port=1\ncas.ticket.registry.ignite.tls.enabled=false\n",
    );
    let bad = file(
        "bad.yaml",
        "tls:\n  enabled: false\ndiscovery:\n  ack-timeout: 2\nlimits:\n  x: 1\n",
    );
    let checked = embergrid(&["config", "check", &good], LIMIT);
    assert_eq!(checked.code, Some(0), "{checked:?}");
    assert!(
        checked.output.contains("1 name of others passed over"),
        "{checked:?}"
    );
    let checked = embergrid(&["config", "check", &bad], LIMIT);
    assert_eq!(checked.code, Some(2), "{checked:?}");
    let lines: Vec<&str> = checked.errors.lines().collect();
    assert!(
        lines.len() == 2 && lines[0].contains("bad.yaml:4: "),
        "{checked:?}"
    );
    let checked = embergrid(&["config", "check", &bad, "--output", "json"], LIMIT);
    let found: serde_json::Value = serde_json::from_str(&checked.output).expect("JSON");
    assert_eq!(found["problems"][1]["line"], 6);
    let explained = embergrid(&["config", "explain", "ackTimeout"], LIMIT);
    assert_eq!(explained.code, Some(0), "{explained:?}");
    assert!(explained.output.contains("default    2s"), "{explained:?}");
    let unknown = embergrid(&["config", "explain", "ack-timout"], LIMIT);
    assert_eq!(unknown.code, Some(2), "{unknown:?}");
    one_line(&unknown);
    let defaults = embergrid(&["config", "defaults"], LIMIT);
    assert!(
        defaults.output.contains("tombstone-retention"),
        "{defaults:?}"
    );
}
