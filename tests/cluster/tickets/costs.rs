//! What the use of a service ticket costs the nodes, beside a put: on three nodes, REPLICATED and
//! FULL_SYNC, in turns. Prints processor time; asserts none. `EMBERGRID_USES` says how many of each
//! in a turn (100 without it).

use super::registry::{child, ticket};
use crate::local::{atomic, started};
use bytes::Bytes;
use embergrid::cli::demo::LocalCluster;
use embergrid::client::messages::{CacheMode, PutRequest};
use embergrid::client::{Client, Options};
use std::time::Duration;

const NODES: usize = 3;
const ROUNDS: usize = 5;
/// Calls under way at a time.
const TOGETHER: usize = 16;
/// Users with a session each; service tickets are for all of them in turn.
const SESSIONS: usize = 10;
/// The clock of processor times, by the interface of the kernel.
const TICKS_A_SECOND: u32 = 100;

/// What all nodes have used of the processors so far.
fn used(cluster: &LocalCluster) -> Duration {
    let ticks = cluster.process_ids().into_iter().map(|process| {
        let text = std::fs::read_to_string(format!("/proc/{process}/stat")).expect("it runs");
        let behind = text.rsplit(')').next().expect("fields");
        let fields: Vec<&str> = behind.split_whitespace().collect();
        let field = |number: usize| fields[number].parse::<u32>().expect("a number");
        field(11) + field(12)
    });
    ticks.sum::<u32>() * Duration::from_secs(1) / TICKS_A_SECOND
}

/// Makes so many calls, some at a time; what they cost the nodes.
async fn cost<F: Future<Output = ()> + Send + 'static>(
    cluster: &LocalCluster,
    calls: impl Iterator<Item = F>,
) -> Duration {
    let before = used(cluster);
    let mut running = tokio::task::JoinSet::new();
    for call in calls {
        if running.len() >= TOGETHER {
            running.join_next().await.expect("one").expect("no error");
        }
        running.spawn(call);
    }
    while let Some(ended) = running.join_next().await {
        ended.expect("no error");
    }
    used(cluster) - before
}

async fn present(client: Client, id: String) {
    client
        .tickets()
        .use_ticket(id, "ST")
        .await
        .expect("its use");
}

async fn put(client: Client, key: String) {
    let request = PutRequest {
        cache: "plain".to_owned(),
        key: key.clone().into(),
        value: Bytes::from(format!("payload of {key}")),
        ..PutRequest::default()
    };
    client.put(request).await.expect("it is stored");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_use_and_a_put_are_compared() {
    let each = std::env::var("EMBERGRID_USES").map_or(100, |text| text.parse().expect("a number"));
    if !std::path::Path::new("/proc/self/stat").exists() {
        println!("this system does not tell what processes cost");
        return;
    }
    let (cluster, _) = started(NODES as u16).await;
    let everyone: Vec<usize> = (0..NODES).collect();
    let client = cluster.routing_client(&everyone, Options::default()).await;
    let client = client.expect("a node is reached");
    let plain = atomic("plain", CacheMode::Replicated);
    client.create_cache(plain).await.expect("a cache");
    let tickets = client.tickets();
    for number in 0..SESSIONS {
        let session = ticket(&format!("TGT-{number}"), "TGT");
        tickets.add(session).await.expect("a session");
    }
    let (mut puts, mut uses) = (Duration::ZERO, Duration::ZERO);
    for round in 0..ROUNDS {
        let names = (0..each).map(|number| format!("ST-{round}-{number}"));
        let batch = names.clone().enumerate().map(|(number, id)| {
            let mut of = child(&id, "ST", &format!("TGT-{}", number % SESSIONS));
            of.expiration = Some(embergrid::client::messages::Expiration {
                max_time_to_live: Some(super::registry::duration(Duration::from_secs(600))),
                ..Default::default()
            });
            of
        });
        tickets.add_many(batch.collect()).await.expect("tickets");
        uses += cost(
            &cluster,
            names.clone().map(|id| present(client.clone(), id)),
        )
        .await;
        puts += Box::pin(cost(&cluster, names.map(|key| put(client.clone(), key)))).await;
    }
    let calls = (ROUNDS * each) as u32;
    println!(
        "a use took {:.0?} of the nodes' processor time, a put {:.0?}: {:.2} ×, over {calls} calls each",
        uses / calls,
        puts / calls,
        uses.as_secs_f64() / puts.as_secs_f64().max(0.001)
    );
}
