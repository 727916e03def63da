//! `cache`, `partitions`, `stats` and `topology` against a cluster: tables, JSON and exit codes.

use crate::commands::one_line;
use crate::console::{CACHE, Console};
use serde_json::Value;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn caches_are_made_looked_at_and_ended() {
    let console = Console::start(1).await;
    console.expect(&["cache", "describe", "tickets"], 1, "no such cache");
    assert_eq!(
        console.json(&["cache", "describe", "tickets"], 1),
        Value::Null
    );
    let create = [
        "cache",
        "create",
        "tickets",
        "--cache-mode",
        "partitioned",
        "--backups",
        "2",
        "--partitions",
        "8",
        "--time-to-live",
        "10s",
        "--atomicity-mode",
        "ATOMIC",
        "--entry-max-size",
        "64KiB",
    ];
    console.expect(&create, 0, "PARTITIONED");
    let made = console.json(&create, 0);
    assert_eq!(made, console.json(&["cache", "describe", "tickets"], 0));
    assert_eq!(made["backups"], 2);
    assert_eq!(made["time-to-live"], "10s");
    assert_eq!(made["entry-max-size"], "64KiB");
    let other = console.run(&["cache", "create", "tickets", "--cache-mode", "LOCAL"]);
    assert_eq!(other.code, Some(2), "{other:?}");
    one_line(&other);
    console.expect(&["cache", "list"], 0, "tickets");
    let listed = console.json(&["cache", "list"], 0);
    let names: Vec<&Value> = listed
        .as_array()
        .expect("a list")
        .iter()
        .map(|cache| &cache["name"])
        .collect();
    assert_eq!(names, [CACHE, "tickets"]);

    for key in ["a", "b", "c"] {
        console.expect(&["put", CACHE, key, "v"], 0, "stored");
    }
    console.expect(&["cache", "size", CACHE], 0, "3\n");
    assert_eq!(console.json(&["cache", "size", CACHE], 0)["size"], 3);
    console.expect(&["cache", "clear", CACHE, "a", "none"], 0, "1 removed");
    assert_eq!(console.json(&["cache", "clear", CACHE], 0)["removed"], 2);
    console.expect(&["cache", "size", CACHE], 0, "0\n");
    console.expect(&["cache", "drop", "tickets"], 0, "dropped");
    console.expect(&["cache", "drop", "tickets"], 1, "no such cache");
    assert_eq!(
        console.json(&["cache", "drop", "tickets"], 1)["dropped"],
        false
    );
    for arguments in [
        &["cache", "size", "tickets"][..],
        &["cache", "clear", "tickets"],
        &["scan", "tickets"],
        &["watch", "tickets"],
        &["partitions", "tickets"],
    ] {
        let ended = console.run(arguments);
        assert_eq!(ended.code, Some(2), "{arguments:?}: {ended:?}");
        one_line(&ended);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn copies_are_compared() {
    let console = Console::start(2).await;
    for key in ["a", "b", "c"] {
        console.expect(&["put", CACHE, key, "v"], 0, "stored");
    }
    console.expect(&["remove", CACHE, "b"], 0, "removed");
    console.expect(&["verify", CACHE], 0, "0 keys differed");
    let compared = console.json(&["verify", CACHE, "--repair"], 0);
    assert!(compared["partitions"].as_u64() > Some(0), "{compared}");
    for none in ["partitions-failed", "differences", "repaired"] {
        assert_eq!(compared[none], 0, "{compared}");
    }
    let ended = console.run(&["verify", "none"]);
    assert_eq!(ended.code, Some(2), "{ended:?}");
    one_line(&ended);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn partitions_are_shown_as_a_picture() {
    let console = Console::start(2).await;
    // The letters go by age in the view, and either node may be the older one.
    for node in ["  A  node-", "  node-1  primary", "  node-2  primary"] {
        console.expect(&["partitions", CACHE], 0, node);
    }
    console.expect(&["partitions"], 0, "cache sessions: 16 partitions");
    console.expect(
        &["partitions", CACHE, "--node", "node-2"],
        0,
        "P primary, b backup",
    );
    let wrong = console.run(&["partitions", CACHE, "--node", "node-9"]);
    assert_eq!(wrong.code, Some(2), "{wrong:?}");
    one_line(&wrong);
    let table = console.json(&["partitions", CACHE], 0);
    let partitions = table["caches"][0]["partitions"].as_array().expect("a list");
    assert_eq!(partitions.len(), 16);
    let of = |name: &str| {
        partitions
            .iter()
            .filter(|one| one["primary"] == name)
            .count()
    };
    assert_eq!(of("node-1") + of("node-2"), 16, "{table}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_tell_their_counters_whoever_is_asked() {
    let console = Console::start(2).await;
    console.expect(&["stats"], 0, "node-1");
    console.expect(&["stats"], 0, "node-2");
    console.expect(&["stats", "node-1"], 0, "requests_waited");
    let stats = console.json(&["stats"], 0);
    for (place, name) in ["node-1", "node-2"].iter().enumerate() {
        let node = stats
            .as_array()
            .expect("a list")
            .iter()
            .find(|node| node["node"] == *name);
        let node = node.unwrap_or_else(|| panic!("{place}: {stats}"));
        assert_eq!(node["serving"], true);
        assert!(node["counters"]["views"].as_u64() >= Some(1), "{stats}");
    }
    let none = console.run(&["stats", "node-9"]);
    assert_eq!(none.code, Some(2), "{none:?}");
    one_line(&none);
    console.expect(&["topology"], 0, "alive");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn copies_are_counted_by_kind_and_by_node() {
    let console = Console::start(2).await;
    for number in 0..40 {
        console.put(&format!("k{number}"), "v").await;
    }
    console.wait_until_loaded().await;
    let size = |flags: &[&str]| {
        let arguments = [&["cache", "size", CACHE], flags].concat();
        let said = console.json(&arguments, 0);
        said["size"].as_u64().expect("a number")
    };
    assert_eq!(size(&[]), 40);
    assert_eq!(size(&["--copies", "backup"]), 40);
    assert_eq!(size(&["--copies", "near"]), 0);
    assert_eq!(size(&["--copies", "all"]), 80);
    let held = |kind: &str, node: &str| size(&["--copies", kind, "--node", node]);
    assert_eq!(held("primary", "node-1") + held("primary", "node-2"), 40);
    // With two nodes each is the backup of what the other leads.
    assert_eq!(held("backup", "node-1"), held("primary", "node-2"));
    assert_eq!(held("all", "node-1"), 40);
    let none = console.run(&["cache", "size", CACHE, "--node", "node-9"]);
    assert_eq!(none.code, Some(2), "{none:?}");
    one_line(&none);
}
