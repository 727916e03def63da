//! `transactions` against a cluster: what is open on any node is listed, and can be ended.

use crate::commands::one_line;
use crate::console::Console;
use embergrid::client::messages::{AtomicityMode, CacheSettings, PutRequest};
use embergrid::client::{Transaction, TransactionOptions};
use embergrid::error::{Error, ErrorKind};
use std::time::Duration;

const ACCOUNTS: &str = "accounts";

fn put(key: &'static str) -> PutRequest {
    PutRequest {
        cache: ACCOUNTS.to_owned(),
        key: key.into(),
        ..PutRequest::default()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_open_is_listed_and_ended() {
    let console = Console::start(2).await;
    let settings = CacheSettings {
        name: ACCOUNTS.to_owned(),
        partitions: 16,
        atomicity_mode: AtomicityMode::Transactional.into(),
        ..CacheSettings::default()
    };
    console
        .client
        .create_cache(settings)
        .await
        .expect("a cache");
    console.expect(&["transactions"], 0, "no open transactions");
    assert_eq!(console.json(&["transactions"], 0), serde_json::json!([]));

    let client = console.client.clone();
    let (begun, begins) = tokio::sync::oneshot::channel();
    let (go_on, goes_on) = tokio::sync::oneshot::channel::<()>();
    let user = tokio::spawn(async move {
        let (mut begun, mut goes_on) = (Some(begun), Some(goes_on));
        let options = TransactionOptions {
            label: "nightly".into(),
            timeout: Duration::from_secs(600),
            runs_max: 1,
            ..TransactionOptions::default()
        };
        let closure = |within: Transaction| {
            let (begun, goes_on) = (begun.take(), goes_on.take());
            async move {
                within.put(put("a")).await?;
                within.put(put("b")).await?;
                begun.map(|begun| begun.send(()));
                if let Some(goes_on) = goes_on {
                    goes_on.await.expect("somebody says so");
                }
                within.put(put("c")).await.map(drop)
            }
        };
        client.transaction(options, closure).await
    });
    begins.await.expect("it has begun");
    for word in ["nightly", "PESSIMISTIC, REPEATABLE_READ"] {
        console.expect(&["transactions"], 0, word);
    }
    let listed = console.json(&["transactions"], 0);
    let [only] = &listed.as_array().expect("a list")[..] else {
        panic!("{listed}");
    };
    assert_eq!(only["label"], "nightly");
    assert_eq!(only["keys"], 2);
    assert!(only["timeout-seconds"].as_f64() > Some(60.0), "{only}");
    let (id, node) = (&only["transaction"], &only["node"]);
    let (id, node) = (id.as_str().expect("an id"), node.as_str().expect("a name"));
    let other = match node {
        "node-1" => "node-2",
        _ => "node-1",
    };
    console.expect(&["transactions", "--node", node], 0, id);
    console.expect(
        &["transactions", "--node", other],
        0,
        "no open transactions",
    );
    console.expect(&["transactions", "end", id], 0, "rolled back");
    console.expect(&["transactions"], 0, "no open transactions");
    go_on.send(()).expect("it is waited for");
    let ended: Result<(), Error> = user.await.expect("no panic");
    let error = ended.expect_err("it was ended");
    assert_eq!(error.kind, ErrorKind::NotFound, "{error:?}");

    // One that no node has ever heard of, and what is no id.
    let gone = console.json(&["transactions", "end", "1-1-0000000000000001-1"], 1);
    assert_eq!(gone["ended"], false);
    console.expect(
        &["transactions", "end", "1-1-0000000000000001-1"],
        1,
        "it has ended",
    );
    for arguments in [
        &["transactions", "end", "nonsense"][..],
        &["transactions", "--node", "node-9"],
    ] {
        let ended = console.run(arguments);
        assert_eq!(ended.code, Some(2), "{arguments:?}: {ended:?}");
        one_line(&ended);
    }
}
