//! `watch` against a cluster: events as they come, as lines and as JSON, and its ends.

use crate::commands::{LIMIT, one_line};
use crate::console::{CACHE, Console, PARTITIONS, last_told};
use crate::process::program;
use embergrid::client::messages::RemoveRequest;
use serde_json::Value;
use std::io::{BufRead, BufReader};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

const POLL: Duration = Duration::from_millis(5);

/// A command that goes on until it is dropped.
pub struct Watching {
    child: Child,
    lines: mpsc::Receiver<String>,
}

impl Watching {
    pub fn start(console: &Console, arguments: &[&str]) -> Self {
        let mut child = Command::new(program())
            .args(arguments)
            .args(&console.flags)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("it starts");
        let output = child.stdout.take().expect("its output");
        Self {
            lines: lines(output),
            child,
        }
    }

    pub fn next(&self) -> String {
        self.lines.recv_timeout(LIMIT).expect("a line in time")
    }

    /// How it ends.
    pub fn code(&mut self) -> Option<i32> {
        let give_up = Instant::now() + LIMIT;
        loop {
            if let Some(status) = self.child.try_wait().expect("its state can be asked") {
                return status.code();
            }
            assert!(Instant::now() < give_up, "it does not end");
            std::thread::sleep(POLL);
        }
    }

    pub fn document(&self) -> Value {
        serde_json::from_str(&self.next()).expect("a document")
    }
}

impl Drop for Watching {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn lines(output: ChildStdout) -> mpsc::Receiver<String> {
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || {
        for line in BufReader::new(output).lines().map_while(Result::ok) {
            if sender.send(line).is_err() {
                return;
            }
        }
    });
    receiver
}

async fn remove(console: &Console, key: &'static str) {
    let request = RemoveRequest {
        cache: CACHE.to_owned(),
        key: key.into(),
        ..RemoveRequest::default()
    };
    console.client.remove(request).await.expect("a remove");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_are_told_as_they_come() {
    let console = Console::start(1).await;
    // The entry that lives says that the watch has begun; it is the last one to be told, so that
    // the next ones are events.
    let before = last_told("k-before", PARTITIONS);
    console.put(&before, "0").await;
    let arguments = ["watch", CACHE, "--prefix", "k", "--current", "--previous"];
    let table = Watching::start(&console, &arguments);
    let json = Watching::start(&console, &[&arguments[..], &["--output", "json"]].concat());
    assert_eq!(table.next(), format!("created  {before}  0"));
    assert_eq!(json.document()["entry"]["key"], before.as_str());
    console.put("other", "x").await;
    console.put("k", "1").await;
    console.put("k", "2").await;
    remove(&console, "k").await;
    for line in ["created  k  1", "updated  k  2  (was 1)", "removed  k  2"] {
        assert_eq!(table.next(), line);
    }
    let told: Vec<Value> = (0..3).map(|_| json.document()).collect();
    assert_eq!(told[0]["type"], "created");
    assert_eq!(told[1]["previous"]["value"], "1");
    assert_eq!(told[2]["type"], "removed");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_watch_ends_as_it_was_told() {
    let console = Console::start(1).await;
    console.put("a", "1").await;
    console.put("b", "2").await;
    let watch = ["watch", CACHE, "--current", "--limit", "2"];
    assert_eq!(console.json_lines(&watch, 0).len(), 2);
    console.expect(&["watch", CACHE, "--for", "100ms"], 0, "");
    let nowhere = console.run(&["watch", "nowhere"]);
    assert_eq!(nowhere.code, Some(2), "{nowhere:?}");
    one_line(&nowhere);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_watch_that_cannot_go_on_says_so_and_begins_again() {
    let console = Console::start(1).await;
    console.put("a", "1").await;
    console.put("b", "2").await;
    let stale = ["watch", CACHE, "--resume", "00ff", "--limit", "2"];
    let told = console.json_lines(&stale, 0);
    assert_eq!(told[0]["type"], "begun-again");
    let mut keys: Vec<&Value> = told[1..].iter().map(|told| &told["entry"]["key"]).collect();
    keys.sort_by_key(|key| key.to_string());
    assert_eq!(keys, ["a", "b"]);
    console.expect(&stale, 0, "begun again with current entries: ");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_view_is_shown_as_it_comes() {
    let mut console = Console::start(2).await;
    let json = Watching::start(&console, &["topology", "--watch", "--output", "json"]);
    let table = Watching::start(&console, &["topology", "--watch"]);
    let nodes = |view: &Value| view["nodes"].as_array().map_or(0, Vec::len);
    assert_eq!(nodes(&json.document()), 2);
    assert!(
        table
            .next()
            .starts_with("cluster embergrid, topology version")
    );
    console.cluster.kill(1);
    while nodes(&json.document()) != 1 {}
    while !table.next().starts_with("cluster embergrid") {}
}
