//! Commands that cannot do what they are told although nothing is wrong with how they are called: what
//! they say, and that nobody takes it for success.

use crate::commands::LIMIT;
use crate::commands_that_watch::Watching;
use crate::console::{CACHE, Console};
use crate::process::{program, run};
use embergrid::client::Options;
use serde_json::Value;
use std::fs::OpenOptions;
use std::path::Path;
use std::process::{Command, Stdio};

/// Before the first call, so that none of them ends without anybody knowing how.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_whose_certificate_nobody_trusts_is_told_so_when_it_connects() {
    let console = Console::start(1).await;
    let stranger = console.cluster.stranger(0, Options::default()).await;
    let failure = stranger.expect_err("nobody trusts it");
    assert_eq!(failure.fault.code(), 3, "{failure}");
    let word = "the node refuses the certificate of this client";
    assert!(failure.message.contains(word), "{failure}");
    assert!(!failure.message.contains("may have been"), "{failure}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_that_cannot_be_written_is_no_success() {
    let full = Path::new("/dev/full");
    if !full.exists() {
        println!("this system has no file that is always full");
        return;
    }
    let console = Console::start(1).await;
    console.put("k", "v").await;
    for arguments in [
        &["get", CACHE, "k"][..],
        &["get", CACHE, "k", "--raw"],
        &["scan", CACHE, "--output", "json"],
        &["completions", "bash"],
    ] {
        let file = OpenOptions::new().write(true).open(full);
        let mut command = Command::new(program());
        command.args(arguments);
        if arguments[0] != "completions" {
            command.args(&console.flags);
        }
        command.stdin(Stdio::null()).stderr(Stdio::piped());
        let ended = command.stdout(file.expect("it opens")).output();
        let ended = ended.expect("it runs");
        let errors = String::from_utf8_lossy(&ended.stderr).into_owned();
        assert_eq!(ended.status.code(), Some(2), "{arguments:?}: {errors}");
        assert!(errors.contains("could not be written"), "{errors}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_not_there_is_not_printed_as_if_it_were() {
    let console = Console::start(1).await;
    let missing = console.run(&["get", CACHE, "k", "--raw"]);
    assert_eq!(missing.code, Some(1));
    assert_eq!((&*missing.output, &*missing.errors), ("", "no such key\n"));
    console.put("k", "").await;
    let empty = console.json(&["get", CACHE, "k"], 0);
    assert_eq!(empty["value"], "");
    let unasked = console.json(&["get", CACHE, "k", "--omit-value"], 0);
    assert_eq!(unasked.get("value"), None);
    let keys = console.json_lines(&["scan", CACHE, "--keys-only"], 0);
    assert_eq!(
        (&keys[0]["key"], keys[0].get("value")),
        (&Value::from("k"), None)
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_watch_that_ends_where_nobody_answers_says_so() {
    let mut console = Console::start(1).await;
    console.put("k", "v").await;
    let arguments = ["watch", CACHE, "--current", "--for", "10s"];
    let mut watch = Watching::start(&console, &arguments);
    assert_eq!(watch.next(), "created  k  v");
    console.cluster.kill(0);
    assert_eq!(watch.code(), Some(3));
    let gone = run(
        Command::new(program())
            .args(["watch", CACHE, "--for", "1s"])
            .args(&console.flags),
        LIMIT,
    );
    assert_eq!(gone.code, Some(3), "{gone:?}");
}
