//! `ticket`, `sessions` and `logout` against a cluster: tables, JSON and exit codes.

use crate::commands::one_line;
use crate::commands_that_watch::Watching;
use crate::console::{Console, last_told};
use embergrid::types::CacheSettings;
use serde_json::{Value, json};
use std::collections::BTreeSet;

fn ids(tickets: &[Value]) -> BTreeSet<&str> {
    let id = |ticket: &'_ Value| ticket["id"].as_str().map(str::len).is_some();
    assert!(tickets.iter().all(id), "{tickets:?}");
    let text = tickets.iter().filter_map(|ticket| ticket["id"].as_str());
    text.collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_ticket_is_added_read_used_and_deleted() {
    let console = Console::start(2).await;
    console.expect(&["ticket", "get", "TGT-1"], 1, "no such ticket");
    assert_eq!(console.json(&["ticket", "get", "TGT-1"], 1), Value::Null);
    let add = ["ticket", "add", "TGT", "TGT-1", "what it carries"];
    let add = [&add[..], &["--principal", "alice", "--attribute", "a=1"]].concat();
    console.expect(&add, 0, "stored\n");
    console.expect(&["ticket", "get", "TGT-1"], 0, "alice");
    console.expect(&["ticket", "get", "TGT-1", "--raw"], 0, "what it carries");
    let session = console.json(&["ticket", "get", "TGT-1", "--kind", "TGT"], 0);
    assert_eq!(session["max-time-to-live"], "8h", "{session}");
    assert_eq!(session["max-time-to-idle"], "2h", "{session}");
    assert_eq!(session["attributes"], json!({ "a": ["1"] }));
    assert_eq!(
        (&session["parent-id"], &session["uses"]),
        (&Value::Null, &json!(0))
    );
    assert!(session["expires-at"].is_string(), "{session}");

    let add = ["ticket", "add", "ST", "ST-1", "--time-to-live", "10m"];
    let orphan = [&add[..], &["--parent", "TGT-none"]].concat();
    console.expect(&orphan, 1, "not stored: the parent");
    assert_eq!(console.json(&orphan, 1)["reason"], "PARENT_GONE");
    let child = [&add[..], &["--parent", "TGT-1", "--service", "mail"]].concat();
    assert_eq!(console.json(&child, 0)["stored"], true);
    for wrong in ["get", "use"] {
        let ended = console.run(&["ticket", wrong, "ST-1", "--kind", "TGT"]);
        assert_eq!(ended.code, Some(1), "{ended:?}");
        one_line(&ended);
        assert!(ended.errors.contains("another kind: ST"), "{ended:?}");
    }
    let used = console.json(&["ticket", "use", "ST-1", "--kind", "ST"], 0);
    assert_eq!((&used["uses"], &used["max-uses"]), (&json!(1), &json!(1)));
    assert_eq!(used["root-id"], "TGT-1");
    console.expect(&["ticket", "use", "ST-1"], 1, "no such ticket");
    assert_eq!(console.json(&["ticket", "use", "ST-1"], 1), Value::Null);

    let child = ["ticket", "add", "ST", "ST-2", "--parent", "TGT-1"];
    console.expect(
        &[&child[..], &["--time-to-live", "10m"]].concat(),
        0,
        "stored",
    );
    console.expect(&["ticket", "delete", "TGT-1"], 0, "2 deleted");
    console.expect(&["ticket", "delete", "TGT-1"], 1, "0 deleted");
    console.expect(&["ticket", "get", "ST-2"], 1, "no such ticket");
    let again = ["ticket", "add", "TGT", "TGT-1"];
    console.expect(&again, 1, "not stored: a ticket with this id was deleted");
    assert_eq!(console.json(&again, 1)["reason"], "REMOVED");
    for wrong in [&["add", "XYZ", "id"][..], &["list", "--kind", "XYZ"]] {
        let ended = console.run(&[&["ticket"], wrong].concat());
        assert_eq!(ended.code, Some(2), "{ended:?}");
        one_line(&ended);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tickets_are_listed_counted_and_ended_by_user() {
    let console = Console::start(2).await;
    console.expect(&["ticket", "list"], 1, "no tickets");
    console.expect(&["ticket", "count"], 0, "0\n");
    console.expect(&["sessions", "alice"], 1, "no sessions");
    console.expect(&["logout", "alice"], 1, "0 deleted");
    for (session, user, factor) in [
        ("TGT-1", "alice", "factor=totp"),
        ("TGT-2", "alice", "factor=none"),
        ("TGT-3", "bob", "factor=key"),
    ] {
        let add = ["ticket", "add", "TGT", session, "--principal", user];
        console.expect(&[&add[..], &["--attribute", factor]].concat(), 0, "stored");
    }
    for number in 0..5 {
        let (ticket, parent) = (format!("ST-{number}"), format!("TGT-{}", 1 + number % 3));
        let add = ["ticket", "add", "ST", &ticket, "--parent", &parent];
        let add = [&add[..], &["--time-to-live", "10m", "--service", "mail"]].concat();
        console.expect(&add, 0, "stored");
    }
    console.expect(&["sessions", "alice"], 0, "TGT-2");
    let sessions = console.json_lines(&["sessions", "alice"], 0);
    assert_eq!(ids(&sessions), BTreeSet::from(["TGT-1", "TGT-2"]));
    console.expect(&["ticket", "count"], 0, "8\n");
    let counted = |flags: &[&str]| console.json(&[&["ticket", "count"], flags].concat(), 0);
    assert_eq!(counted(&["--kind", "ST", "--service", "mail"])["count"], 5);
    assert_eq!(
        counted(&["--principal", "alice", "--kind", "TGT"])["count"],
        2
    );

    let list = |flags: &[&str]| console.json_lines(&[&["ticket", "list"], flags].concat(), 0);
    let either = ["--attribute", "factor=key", "--attribute", "factor=totp"];
    assert_eq!(ids(&list(&either)), BTreeSet::from(["TGT-1", "TGT-3"]));
    let first = list(&["--kind", "ST", "--limit", "2"]);
    let cursor = first[1]["cursor"].as_str().expect("a cursor");
    let rest = list(&["--kind", "ST", "--cursor", cursor]);
    let both: BTreeSet<&str> = ids(&first).union(&ids(&rest)).copied().collect();
    assert_eq!((first.len(), rest.len(), both.len()), (2, 3, 5));
    console.expect(&["ticket", "list", "--service", "wiki"], 1, "no tickets");

    console.expect(&["logout", "alice"], 0, "6 deleted");
    console.expect(&["logout", "alice"], 1, "0 deleted");
    console.expect(&["sessions", "alice"], 1, "no sessions");
    console.expect(&["sessions", "bob"], 0, "TGT-3");
    let add = ["ticket", "add", "TGT", "TGT-4", "--principal", "alice"];
    console.expect(&add, 0, "stored");
    assert_eq!(
        console.json(&["ticket", "delete", "--all"], 0)["deleted"],
        3
    );
    console.expect(&["ticket", "delete", "--all"], 1, "0 deleted");
    console.expect(&["ticket", "count"], 0, "0\n");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_happens_to_tickets_is_told_as_it_happens() {
    let console = Console::start(1).await;
    let add = |id, more: &[&str]| {
        let add = ["ticket", "add", "TGT", id, "--principal", "alice"];
        console.expect(&[&add[..], more].concat(), 0, "stored");
    };
    // Of those that live the last one to be told says that the watch has begun, and will not come
    // upon the next ones.
    let last = last_told("TGT-last", CacheSettings::named("tickets").partitions);
    add("TGT-1", &[]);
    add(&last, &[]);
    let arguments = ["ticket", "watch", "--kind", "TGT", "--current"];
    let table = Watching::start(&console, &arguments);
    let lines = Watching::start(&console, &[&arguments[..], &["--output", "json"]].concat());
    assert_eq!(table.next(), "current  TGT  TGT-1  of alice");
    assert_eq!(table.next(), format!("current  TGT  {last}  of alice"));
    for id in ["TGT-1", &last] {
        let told = lines.document();
        assert_eq!(
            (&told["type"], &told["ticket"]["id"]),
            (&json!("current"), &json!(id))
        );
    }
    add("TGT-2", &[]);
    add("TGT-1", &[]);
    console.expect(&["ticket", "delete", "TGT-1"], 0, "1 deleted");
    for line in [
        "added    TGT  TGT-2",
        "updated  TGT  TGT-1",
        "deleted  TGT  TGT-1",
    ] {
        let told = table.next();
        assert!(told.starts_with(line), "{told:?}, and not {line:?}");
    }
    add("TGT-2", &["--time-to-live", "500ms"]);
    assert_eq!(table.next(), "updated  TGT  TGT-2  of alice");
    assert_eq!(table.next(), "expired  TGT  TGT-2  of alice");
    let told: Vec<Value> = (0..5).map(|_| lines.document()).collect();
    let types: Vec<&Value> = told.iter().map(|event| &event["type"]).collect();
    assert_eq!(types, ["added", "updated", "deleted", "updated", "expired"]);
    assert_eq!(told[3]["incarnation"], told[4]["incarnation"]);
    assert_eq!(told[2]["ticket"]["principal"], "alice");

    console.expect(&["ticket", "watch", "--for", "100ms"], 0, "");
    console.expect(&["ticket", "delete", &last], 0, "1 deleted");
    add("TGT-3", &[]);
    let stale = ["ticket", "watch", "--resume", "00ff", "--limit", "1"];
    let told = console.json_lines(&stale, 0);
    assert_eq!(told[0]["type"], "begun-again");
    assert_eq!(
        (&told[1]["type"], &told[1]["ticket"]["id"]),
        (&json!("current"), &json!("TGT-3"))
    );
    console.expect(&stale, 0, "begun again with current tickets: ");
}
