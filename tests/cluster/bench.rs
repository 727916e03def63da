//! The load generator: what it reports, that it counts, and that it leaves nothing behind. Not what
//! the figures are: no test asserts a time.

use crate::process::{Running, embergrid, program, run, signal};
use crate::rig::wait_until;
use serde_json::Value;
use std::process::Command;
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(60);

const SHORT: [&str; 8] = [
    "--duration",
    "400ms",
    "--keys",
    "50",
    "--callers",
    "4",
    "--output",
    "json",
];

fn report(arguments: &[&str]) -> (String, Value) {
    let mut line = vec!["bench"];
    line.extend(SHORT);
    line.extend(arguments);
    let ended = embergrid(&line, LIMIT);
    assert_eq!(ended.code, Some(0), "{}", ended.errors);
    let report = serde_json::from_str(&ended.output).expect("a JSON document");
    (ended.output, report)
}

#[test]
fn a_cluster_and_the_floor_are_measured_in_turns_and_compared() {
    let (text, report) = report(&["--floor", "--rounds", "2", "--reads", "50"]);
    for side in ["cluster", "floor"] {
        let rounds = report["rounds"][side].as_array().expect("rounds");
        assert_eq!(rounds.len(), 2);
        assert!(report[side]["answered"].as_u64() > Some(0), "{side}");
        assert!(report[side]["reads"]["p99"].as_u64() > Some(0), "{side}");
        assert!(report[side]["writes"]["p50"].as_u64() > Some(0), "{side}");
    }
    assert_eq!(report["cluster"]["errors"], serde_json::json!({}));
    assert!(report["of_the_floor"]["throughput"].is_number());

    let compared = compared_with_itself(&text);
    assert_eq!(compared["same_load"], true);
    assert_eq!(compared["figures"]["calls/s"]["ratio"], 1.0);
    let of_the_floor = "of the floor, by throughput";
    assert_eq!(compared["figures"][of_the_floor]["ratio"], 1.0);
}

#[test]
fn the_cluster_is_found_by_the_settings_of_the_environment_too() {
    let mut command = Command::new(program());
    command.args(["bench", "--duration", "10ms"]);
    // Nobody listens there; without it a cluster would be started and measured.
    command.env("EMBERGRID_DISCOVERY__ADDRESSES", "127.0.0.1:1");
    command.env("EMBERGRID_TLS__ENABLED", "false");
    let ended = run(&mut command, LIMIT);
    assert_eq!(ended.code, Some(3), "{ended:?}");
}

#[test]
fn an_interrupt_leaves_no_keys_behind() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut command = Command::new(program());
    command.args(["bench", "--duration", "10m"]);
    command.env("TMPDIR", folder.path());
    let mut bench = Running(command.spawn().expect("it starts"));
    let files = || std::fs::read_dir(folder.path()).expect("a folder").count();
    wait_until("it has files of its own", || files() > 0);
    signal(bench.0.id(), "-INT");
    let mut ended = None;
    wait_until("it ends", || {
        ended = bench.0.try_wait().expect("its state can be asked");
        ended.is_some()
    });
    assert_eq!(ended.and_then(|status| status.code()), Some(1));
    assert_eq!(files(), 0);
}

/// A report as both sides of a comparison.
fn compared_with_itself(text: &str) -> Value {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("report.json");
    std::fs::write(&file, text).expect("it can be written");
    let file = file.to_string_lossy();
    let ended = embergrid(
        &["bench", "--compare", &file, &file, "--output", "json"],
        LIMIT,
    );
    assert_eq!(ended.code, Some(0), "{}", ended.errors);
    serde_json::from_str(&ended.output).expect("a JSON document")
}

/// The cluster and another side, in turns; the ratio of the two, and the other's name in a comparison.
fn measured_in_turns(flags: &[&str], other: &str, ratio: &str, name: &str) {
    let (text, report) = report(&[flags, &["--rounds", "2", "--reads", "50"]].concat());
    for side in ["cluster", other] {
        let rounds = report["rounds"][side].as_array().expect("rounds");
        assert_eq!(rounds.len(), 2);
        assert!(report[side]["writes"]["p50"].as_u64() > Some(0), "{side}");
        assert_eq!(report[side]["errors"], serde_json::json!({}), "{side}");
    }
    assert!(report[ratio]["throughput"].is_number());
    let compared = compared_with_itself(&text);
    let figure = format!("{name}: calls/s");
    assert_eq!(compared["figures"][figure]["ratio"], 1.0);
}

#[test]
fn calls_in_caches_of_both_kinds_are_measured_in_turns() {
    let ratio = "transactional_by_atomic";
    measured_in_turns(
        &["--transactional"],
        "transactional",
        ratio,
        "TRANSACTIONAL",
    );
}

#[test]
fn calls_in_a_pipeline_and_one_by_one_are_measured_in_turns() {
    let flags = ["--pipelining", "--unary"];
    measured_in_turns(&flags, "unary", "pipelined_by_unary", "one by one");
}

#[test]
fn transactions_are_measured_by_hot_keys() {
    let arguments = [
        "bench",
        "--transactions",
        "--hot-keys",
        "1,20",
        "--duration",
        "1s",
        "--callers",
        "4",
        "--output",
        "json",
    ];
    let ended = embergrid(&arguments, LIMIT);
    assert_eq!(ended.code, Some(0), "{}", ended.errors);
    let report: Value = serde_json::from_str(&ended.output).expect("a JSON document");
    let by_keys = report["transactions"].as_array().expect("a list");
    let hot_keys: Vec<&Value> = by_keys.iter().map(|one| &one["hot_keys"]).collect();
    assert_eq!(hot_keys, [1, 20]);
    for one in by_keys {
        let number = |value: &Value| value.as_u64().expect("a number");
        let committed = number(&one["measured"]["answered"]);
        assert!(committed > 0, "{one}");
        assert_eq!(one["measured"]["errors"], serde_json::json!({}));
        // Whoever did not commit had a conflict.
        let (runs, conflicts) = (number(&one["runs"]), number(&one["conflicts"]));
        assert_eq!(runs, committed + conflicts, "{one}");
    }
    let compared = compared_with_itself(&ended.output);
    let figures = &compared["figures"];
    assert_eq!(figures["20 hot keys: transactions/s"]["ratio"], 1.0);
}

#[test]
fn an_open_loop_makes_as_many_calls_as_are_due() {
    let (_, report) = report(&["--rate", "100", "--pipelining", "--nodes", "2"]);
    let cluster = &report["cluster"];
    assert_eq!(cluster["errors"], serde_json::json!({}));
    // 0.4 s at 100 a second, however long the answers take.
    assert_eq!(cluster["answered"].as_u64(), Some(40));
}

#[test]
fn a_node_inside_the_process_is_measured() {
    let (_, report) = report(&["--embedded", "--reads", "90"]);
    assert!(report["embedded"]["calls"].as_u64() > Some(0));
}

#[test]
fn what_cannot_be_measured_is_said() {
    let ended = embergrid(&["bench", "--keys", "0", "--callers", "0"], LIMIT);
    assert_eq!(ended.code, Some(2));
    assert!(ended.errors.contains("--keys") && ended.errors.contains("--callers"));
    let ended = embergrid(&["bench", "--hot-keys", "5"], LIMIT);
    assert_eq!(ended.code, Some(2), "{}", ended.errors);
    let ended = embergrid(&["bench", "--compare", "/nowhere/a", "/nowhere/b"], LIMIT);
    assert_eq!(ended.code, Some(2));
    assert!(ended.errors.contains("/nowhere/a"), "{}", ended.errors);
}
