//! The command line against a cluster: what it prints and its exit codes.

use crate::commands::{LIMIT, flags, one_line, with_flags};
use crate::process::{embergrid, program};
use embergrid::cli::demo::{LocalCluster, wait_for_view};
use embergrid::client::messages::CacheSettings;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answers_are_zero_and_no_is_one() {
    let mut cluster = LocalCluster::prepare(program(), 1, false).expect("files and ports");
    cluster.start(0).expect("a node starts");
    let client = cluster.reach(0, LIMIT).await.expect("it is reached");
    wait_for_view(&client, LIMIT, |view| view.nodes.len() == 1)
        .await
        .expect("it serves");
    let settings = CacheSettings {
        name: "sessions".to_owned(),
        partitions: 16,
        ..CacheSettings::default()
    };
    client
        .create_cache(settings)
        .await
        .expect("a cache is created");
    let flags = flags(&cluster);
    let run = |arguments: &[&str]| embergrid(&with_flags(arguments, &flags), LIMIT);

    let expect = |arguments: &[&str], code: i32, word: &str| {
        let ended = run(arguments);
        assert_eq!(ended.code, Some(code), "{arguments:?}: {ended:?}");
        assert!(ended.output.contains(word), "{arguments:?}: {ended:?}");
    };
    expect(&["get", "sessions", "TGT-1"], 1, "no such key");
    expect(
        &["put", "sessions", "TGT-1", "alice", "--if-absent"],
        0,
        "stored",
    );
    expect(
        &["put", "sessions", "TGT-1", "bob", "--if-absent"],
        1,
        "not stored",
    );
    expect(&["get", "sessions", "TGT-1"], 0, "alice");
    expect(&["get", "sessions", "TGT-1", "--raw"], 0, "alice");
    expect(
        &["get", "sessions", "TGT-1", "--output", "json"],
        0,
        "\"value\": \"alice\"",
    );
    expect(&["topology"], 0, "node-1");
    expect(
        &["topology", "--output", "json"],
        0,
        "\"consistent-id\": \"node-1\"",
    );
    expect(&["remove", "sessions", "TGT-1", "--take"], 0, "alice");
    expect(&["remove", "sessions", "TGT-1", "--take"], 1, "no such key");

    let unknown = run(&["get", "no-such-cache", "k"]);
    assert_eq!(unknown.code, Some(2), "{unknown:?}");
    one_line(&unknown);
}
