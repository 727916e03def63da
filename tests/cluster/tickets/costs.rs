//! What the use of a service ticket costs the nodes, beside a put: on three nodes, REPLICATED and
//! FULL_SYNC, in turns. The sessions are a few that are busy, and then one for each ticket, which was
//! not used for a while. Prints processor time and calls a second; asserts neither. `EMBERGRID_USES`
//! says how many of each in a turn (100 without it).

use super::registry::{child, duration, ticket};
use crate::local::{atomic, started};
use bytes::Bytes;
use embergrid::cli::demo::LocalCluster;
use embergrid::client::messages::{CacheMode, Expiration, PutRequest, Ticket};
use embergrid::client::{Client, Options};
use std::time::{Duration, Instant};

const NODES: usize = 3;
const ROUNDS: usize = 5;
/// Calls under way at a time.
const TOGETHER: usize = 16;
/// Busy sessions: service tickets are for all of them in turn.
const BUSY: usize = 10;
/// Tickets that are added in one call.
const ADDED: usize = 100;
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

/// What calls took: of the nodes' processor time, and on the clock.
#[derive(Clone, Copy, Debug, Default)]
struct Cost {
    calls: u32,
    used: Duration,
    took: Duration,
}

impl Cost {
    fn add(&mut self, other: Self) {
        self.calls += other.calls;
        self.used += other.used;
        self.took += other.took;
    }

    fn beside(&self, put: &Self) -> String {
        let each = self.used / self.calls;
        let speed = |cost: &Self| f64::from(cost.calls) / cost.took.as_secs_f64();
        format!(
            "{each:.0?} of the nodes' processor time, {:.2} ×; {:.0} a second, {:.2} ×",
            self.used.as_secs_f64() / put.used.as_secs_f64().max(0.001),
            speed(self),
            speed(self) / speed(put)
        )
    }
}

/// Makes calls, some at a time.
async fn cost<F: Future<Output = ()> + Send + 'static>(
    cluster: &LocalCluster,
    calls: impl Iterator<Item = F>,
) -> Cost {
    let (before, begun) = (used(cluster), Instant::now());
    let mut count = 0;
    let mut running = tokio::task::JoinSet::new();
    for call in calls {
        if running.len() >= TOGETHER {
            running.join_next().await.expect("one").expect("no error");
        }
        running.spawn(call);
        count += 1;
    }
    while let Some(ended) = running.join_next().await {
        ended.expect("no error");
    }
    Cost {
        calls: count,
        used: used(cluster) - before,
        took: begun.elapsed(),
    }
}

/// Stores tickets, some at a time.
async fn stored(client: &Client, tickets: impl Iterator<Item = Ticket>) {
    let tickets: Vec<Ticket> = tickets.collect();
    for batch in tickets.chunks(ADDED) {
        let added = client.tickets().add_many(batch.to_vec()).await;
        for one in added.expect("answers") {
            one.expect("it is stored");
        }
    }
}

fn service_ticket(id: &str, session: &str) -> Ticket {
    Ticket {
        expiration: Some(Expiration {
            max_time_to_live: Some(duration(Duration::from_secs(600))),
            ..Default::default()
        }),
        ..child(id, "ST", session)
    }
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
    let each: u32 =
        std::env::var("EMBERGRID_USES").map_or(100, |text| text.parse().expect("a number"));
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
    let each = each as usize;
    let sessions = BUSY + ROUNDS * each;
    let all = (0..sessions).map(|number| ticket(&format!("TGT-{number}"), "TGT"));
    stored(&client, all).await;
    let (mut puts, mut busy, mut idle) = (Cost::default(), Cost::default(), Cost::default());
    for round in 0..ROUNDS {
        for (name, sum) in [("busy", &mut busy), ("idle", &mut idle)] {
            let ids = (0..each).map(|number| format!("ST-{name}-{round}-{number}"));
            let session = |number| match name {
                "busy" => number % BUSY,
                _ => BUSY + round * each + number,
            };
            let tickets = ids
                .clone()
                .enumerate()
                .map(|(number, id)| service_ticket(&id, &format!("TGT-{}", session(number))));
            stored(&client, tickets).await;
            sum.add(cost(&cluster, ids.map(|id| present(client.clone(), id))).await);
            let keys = (0..each).map(|number| format!("{name}-{round}-{number}"));
            puts.add(Box::pin(cost(&cluster, keys.map(|key| put(client.clone(), key)))).await);
        }
    }
    println!(
        "over {} puts, and half as many uses each:\n  a put took {}\n  a use with a busy session {}\n  \
         a use with a session of its own {}",
        puts.calls,
        puts.beside(&puts),
        busy.beside(&halved(&puts)),
        idle.beside(&halved(&puts))
    );
}

/// As many puts as there are uses of either sort.
fn halved(puts: &Cost) -> Cost {
    Cost {
        calls: puts.calls / 2,
        used: puts.used / 2,
        took: puts.took / 2,
    }
}
