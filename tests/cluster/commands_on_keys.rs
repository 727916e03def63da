//! `get`, `put`, `touch`, `modify` and `scan` against a cluster: tables, JSON and exit codes; and
//! the three ways in which commands find it.

use crate::commands::{LIMIT, one_line};
use crate::console::{CACHE, Console};
use crate::process::{program, run};
use std::collections::BTreeSet;
use std::process::Command;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_key_is_touched_and_modified() {
    let console = Console::start(1).await;
    console.expect(&["touch", CACHE, "k", "--keep-expiry"], 1, "no such key");
    assert_eq!(console.json(&["touch", CACHE, "k"], 1)["applied"], false);
    console.expect(
        &["put", CACHE, "k", "alice", "--time-to-live", "1h"],
        0,
        "stored",
    );
    assert!(console.json(&["get", CACHE, "k"], 0)["expires-at"].is_string());
    console.expect(&["touch", CACHE, "k", "--no-expiry"], 0, "touched");
    let entry = console.json(&["get", CACHE, "k"], 0);
    assert!(entry["expires-at"].is_null(), "{entry}");
    let touched = console.json(&["get", CACHE, "k", "--time-to-idle", "2h"], 0);
    assert!(touched["idle-expires-at"].is_string(), "{touched}");
    assert_eq!(touched["version"], entry["version"], "a touch is no write");
    let short = console.json(&["get", CACHE, "k", "--omit-value", "--touch"], 0);
    assert_eq!(short.get("value"), None, "an empty one is a value");

    console.expect(
        &["modify", CACHE, "none", "--append", "x"],
        1,
        "not modified",
    );
    console.expect(&["modify", CACHE, "k", "--append", ", bob"], 0, "modified");
    console.expect(&["modify", CACHE, "k", "--prepend", "eve, "], 0, "modified");
    console.expect(&["get", CACHE, "k", "--raw"], 0, "eve, alice, bob");
    let count = |by: &str| {
        console.json(
            &["modify", CACHE, "n", "--increment", by, "--initial", "5"],
            0,
        )
    };
    assert_eq!(count("1")["value"], 5);
    assert_eq!(count("-2")["value"], 3);
    console.expect(
        &["modify", CACHE, "n", "--increment", "-9", "--at-least-zero"],
        0,
        "0\n",
    );
    console.expect(
        &["modify", CACHE, "n", "--increment", "1", "--if-value", "7"],
        1,
        "not modified",
    );
    let not_a_number = console.run(&["modify", CACHE, "k", "--increment", "1"]);
    assert_eq!(not_a_number.code, Some(2), "{not_a_number:?}");
    one_line(&not_a_number);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_scan_lists_each_entry_once_and_goes_on_at_its_cursor() {
    let console = Console::start(1).await;
    console.expect(&["scan", CACHE], 1, "no entries");
    for number in 0..20 {
        let (key, value) = (format!("k{number:02}"), format!("v{number}"));
        console.expect(&["put", CACHE, &key, &value], 0, "stored");
    }
    console.expect(&["put", CACHE, "other\u{7}", "x"], 0, "stored");
    console.expect(&["scan", CACHE], 0, "other\\u{7}");
    let keys = |flags: &[&str]| -> Vec<(String, String)> {
        let arguments = [&["scan", CACHE, "--prefix", "k"], flags].concat();
        let entries = console.json_lines(&arguments, 0);
        let text = |value: &serde_json::Value| value.as_str().expect("text").to_owned();
        entries
            .iter()
            .map(|entry| (text(&entry["key"]), text(&entry["cursor"])))
            .collect()
    };
    let all = keys(&[]);
    assert_eq!(all.len(), 20);
    let first = keys(&["--limit", "7", "--keys-only"]);
    assert_eq!(first.len(), 7);
    let rest = keys(&["--cursor", &first[6].1]);
    let found: BTreeSet<&str> = first
        .iter()
        .chain(&rest)
        .map(|(key, _)| key.as_str())
        .collect();
    assert_eq!((first.len() + rest.len(), found.len()), (20, 20));
    console.expect(&["scan", CACHE, "--prefix", "none"], 1, "no entries");
    let beyond = console.run(&["scan", CACHE, "--partition", "99"]);
    assert_eq!(beyond.code, Some(2), "{beyond:?}");
    one_line(&beyond);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_cluster_is_found_by_flags_environment_and_settings_file_alike() {
    let console = Console::start(1).await;
    console.expect(&["put", CACHE, "k", "alice"], 0, "stored");
    let [_, address, _, key, _, trust] = &console.flags[..] else {
        panic!("{:?}", console.flags)
    };
    let file = console.cluster.folder().join("embergrid.toml");
    let text = format!(
        "[discovery]\naddresses = [{address:?}]\n[tls]\nkey-store-file-path = {key:?}\n\
         key-store-type = \"PEM\"\ntrust-store-file-path = {trust:?}\ntrust-store-type = \"PEM\"\n"
    );
    std::fs::write(&file, text).expect("a file is written");
    let file = file.to_string_lossy().into_owned();
    let short = [
        ("EMBERGRID_ADDRESS", address),
        ("EMBERGRID_KEY", key),
        ("EMBERGRID_TRUST", trust),
    ];
    let pem = "PEM".to_owned();
    let settings = [
        ("EMBERGRID_DISCOVERY__ADDRESSES", address),
        ("EMBERGRID_TLS__KEY_STORE_FILE_PATH", key),
        ("EMBERGRID_TLS__KEY_STORE_TYPE", &pem),
        ("EMBERGRID_TLS__TRUST_STORE_FILE_PATH", trust),
        ("EMBERGRID_TLS__TRUST_STORE_TYPE", &pem),
    ];
    let by_file = [("EMBERGRID_CONFIG", &file)];
    let ways: [(&[(&str, &String)], &[&str]); 4] = [
        (&short, &[]),
        (&settings, &[]),
        (&by_file, &[]),
        (&[], &["--config", &file]),
    ];
    for (environment, flags) in ways {
        let mut command = Command::new(program());
        command.env_clear().args(["get", CACHE, "k", "--raw"]);
        command.args(flags).envs(environment.iter().copied());
        let ended = run(&mut command, LIMIT);
        assert_eq!(ended.code, Some(0), "{environment:?} {flags:?}: {ended:?}");
        assert_eq!(ended.output, "alice", "{ended:?}");
    }
}
