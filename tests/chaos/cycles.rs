//! Splits and heals, one after the other, in one run under load: all copies are equal soon after
//! each. `EMBERGRID_CYCLES` sets how many (20 for the bar; a few without it).

use crate::checkers::equal_copies;
use crate::clients::Clients;
use crate::clock::Time;
use crate::cluster::PATIENCE;
use crate::faults::{Profile, between};
use crate::judge::copies;
use crate::monitor::Monitor;
use crate::pace::pass;
use crate::record::Record;
use crate::rng::Rng;
use crate::run::{Plan, begin, compare, empty, finish, settle};
use crate::setting;
use crate::stage::{Ground, on_best_ground};
use crate::table::Table;
use std::sync::Arc;
use std::time::{Duration, Instant};

const FEW: u64 = 2;
const NODES: usize = 4;
/// Clients go on while the halves merge.
const MERGING: Duration = Duration::from_millis(500);
/// What is compared after a heal is what was called since so long before the split.
const BEFORE: Time = 5_000_000;
/// What promises.md allows.
const EQUAL_WITHIN: Duration = Duration::from_secs(10);

#[test]
fn copies_are_equal_after_each_of_many_splits() {
    on_best_ground(
        "cycles::copies_are_equal_after_each_of_many_splits",
        |ground| {
            let runtime = tokio::runtime::Runtime::new().expect("a runtime");
            runtime.block_on(split_and_heal(ground));
        },
    );
}

async fn split_and_heal(ground: Ground) {
    let cycles = setting("EMBERGRID_CYCLES");
    let mut plan = Plan::sample(setting("EMBERGRID_SEED").unwrap_or(3), Profile::Split);
    plan.nodes = NODES;
    if cycles.is_some() {
        plan.spans.most = Duration::from_secs(5);
        plan.ack_timeout = Duration::from_secs(2);
    }
    let mut rng = Rng::stream(plan.seed, "cycles");
    let (mut cluster, monitor, caches, _) = begin(ground, NODES, plan.ack_timeout, None).await;
    let clients = Clients::new(&cluster, &caches, false, plan.think, plan.seed).await;
    let clients = Arc::new(clients);
    monitor.stop();
    let monitor = Monitor::start(&cluster, clients.begin()).await;
    let mut workers = tokio::task::JoinSet::new();
    for number in 0..plan.workers {
        workers.spawn(Arc::clone(&clients).work(number));
    }
    let mut record = empty(&plan, &caches);
    let mut times = Vec::new();
    for cycle in 0..cycles.unwrap_or(FEW) {
        let mut order: Vec<usize> = (0..NODES).collect();
        rng.shuffle(&mut order);
        let half = if cycle % 2 == 0 { NODES / 2 } else { 1 };
        let cut = between(&order[..half], &order[half..]);
        let (least, most) = (plan.spans.least.as_millis(), plan.spans.most.as_millis());
        let span = Duration::from_millis(rng.within(least as u64, most as u64));
        let since = clients.now().saturating_sub(BEFORE);
        monitor.disturb(&cluster, true);
        cluster.set_cuts(&cut, true);
        pass(plan.ack_timeout + span).await;
        cluster.set_cuts(&cut, false);
        let healed = Instant::now();
        monitor.disturb(&cluster, false);
        pass(MERGING).await;
        clients.set_closed(true).await;
        wait_until_equal(&clients, &mut record, since).await;
        times.push(healed.elapsed());
        if cycles.is_some() {
            println!("    cycle {cycle}: equal after {:?}", healed.elapsed());
        }
        clients.set_closed(false).await;
        settle(&mut cluster, &monitor).await;
    }
    let over = Instant::now();
    record.faults_end = clients.now();
    clients.stop();
    workers.join_all().await;
    let broken = compare(&clients, &mut record, plan.patience).await;
    monitor.stop();
    let after = [Duration::ZERO, over.elapsed()];
    let report = finish(plan, ground, record, &monitor, &clients, broken, after);
    let mut table = Table::default();
    table.add(&report);
    let in_time = times.iter().filter(|time| **time <= EQUAL_WITHIN).count();
    let longest = times.iter().max().copied().unwrap_or_default();
    println!(
        "{} splits and heals: all copies equal after {longest:?} at most, {in_time} times within \
         {EQUAL_WITHIN:?}",
        times.len()
    );
    assert_eq!(table.broken, 0, "the run is broken");
}

/// Waits until every node answers the same for every key that was called since then.
async fn wait_until_equal(clients: &Arc<Clients>, record: &mut Record, since: Time) {
    let keys = clients.keys_since(since);
    let deadline = Instant::now() + PATIENCE;
    loop {
        let read = clients.read_everywhere(keys.clone(), false).await;
        let (found, unread) = copies(record, &read);
        record.copies = found;
        if unread.is_empty() && equal_copies::equal(record) {
            return;
        }
        let differences = equal_copies::check(record).violations;
        assert!(
            Instant::now() < deadline,
            "not equal: {unread:?} {differences:?}"
        );
    }
}
